//! `records.txt`: requests on the control socket that no tgtadm sends, and their replies.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use super::recording::{Answer, Entry, read};
use crate::harness::{Brand, DEADLINE, DISK, Daemon};

const HEADER_LEN: usize = 120;
const LEN: u64 = 1 << 20;

/// The bytes of a line of `records.txt`.
#[derive(Debug, Default)]
struct Sent {
    bytes: Vec<u8>,
    bytewise: bool,
}

/// Sends each record to a new daemon.
pub(super) fn play(daemon: Brand) -> Vec<Entry> {
    let text = read("records.txt");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| Entry { request: format!("[records] {line}"), answer: answer(daemon, line) }).collect()
}

fn answer(brand: Brand, line: &str) -> Answer {
    let options: &[&str] = if brand == Brand::Ours { super::player::COMPATIBLE } else { &[] };
    let daemon = Daemon::start_at("0", brand, Brand::Tgt, options);
    daemon.adm(&["--mode", "target", "--op", "new", "--tid", "1", "-T", "iqn.a:b"]);
    daemon.unit(1, DISK, LEN, &[]);
    let sent = parse(line).unwrap_or_else(|| panic!("records.txt has a line '{line}'"));
    let mut socket = UnixStream::connect(daemon.path("control.0")).expect("the daemon listens");
    socket.set_read_timeout(Some(DEADLINE)).expect("a socket");
    send(&mut socket, &sent);
    let mut received = Vec::new();
    match socket.read_to_end(&mut received) {
        Ok(_) => {}
        // The daemon closed the socket before it had read all bytes.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{line}: no reply: {error}"),
    }
    let mut answer = decode_reply(&received);
    if !super::player::is_alive(&daemon) {
        answer.line("the daemon is no more");
    }
    let directory = daemon.path("");
    let directory = directory.to_str().expect("text").trim_end_matches('/');
    Answer(answer.0.iter().map(|line| line.replace(directory, "{dir}")).collect())
}

fn send(socket: &mut UnixStream, sent: &Sent) {
    let pieces = if sent.bytewise { 1 } else { sent.bytes.len().max(1) };
    // The daemon may close the socket before all bytes are sent.
    let _ = sent.bytes.chunks(pieces).try_for_each(|piece| socket.write_all(piece));
    let _ = socket.shutdown(Shutdown::Write);
}

/// Error number and text of a reply.
fn decode_reply(received: &[u8]) -> Answer {
    let mut answer = Answer::default();
    let Some((header, text)) = received.split_first_chunk::<8>() else {
        answer.line(if received.is_empty() {
            "closed".to_owned()
        } else {
            format!("{} bytes", received.len())
        });
        return answer;
    };
    let [error, len] =
        [&header[..4], &header[4..]].map(|word| u32::from_ne_bytes(word.try_into().expect("4 bytes")));
    answer.line(format_args!("error {error}"));
    if len as usize != received.len() {
        answer.line(format_args!("len {len} of {}", received.len()));
    }
    let text = String::from_utf8_lossy(text);
    let name = if error == 0 { "out" } else { "reason" };
    answer.text(name, text.strip_suffix('\0').unwrap_or(&text));
    answer
}

fn parse(line: &str) -> Option<Sent> {
    let (fields, payload) = match line.split_once(" payload=") {
        Some((fields, payload)) => (fields, Some(payload)),
        None => (line, None),
    };
    let mut header = [0; HEADER_LEN];
    put(&mut header, 76, &(-1_i32).to_ne_bytes());
    put(&mut header, 88, &u64::MAX.to_ne_bytes());
    let mut sent = Sent::default();
    let mut body = payload.map_or_else(Vec::new, |text| text.as_bytes().to_vec());
    let (mut len, mut cut, mut twice, mut ended) = (None, None, false, payload.is_some());
    for field in fields.split(' ') {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        match key {
            "mode" => put(&mut header, 0, &word(value, MODES)?.to_ne_bytes()),
            "op" => put(&mut header, 4, &word(value, OPS)?.to_ne_bytes()),
            "lld" => put(&mut header, 8, value.as_bytes()),
            "len" => len = Some(value.parse::<u32>().ok()?),
            "tid" => put(&mut header, 76, &value.parse::<i32>().ok()?.to_ne_bytes()),
            "sid" => put(&mut header, 80, &value.parse::<u64>().ok()?.to_ne_bytes()),
            "lun" => put(&mut header, 88, &value.parse::<u64>().ok()?.to_ne_bytes()),
            "cid" | "host" | "type" | "dir" | "pack" | "force" => {
                let at =
                    ["cid", "host", "type", "dir", "pack", "force"].iter().position(|name| *name == key)?;
                put(&mut header, 96 + 4 * at, &value.parse::<u32>().ok()?.to_ne_bytes());
            }
            "pad" => body.resize(value.parse().ok()?, b'x'),
            "cut" => cut = Some(value.parse::<usize>().ok()?),
            "nonul" => ended = false,
            "bytewise" => sent.bytewise = true,
            "twice" => twice = true,
            _ => return None,
        }
    }
    if ended {
        body.push(0);
    }
    let len = len.unwrap_or((HEADER_LEN + body.len()) as u32);
    put(&mut header, 72, &len.to_ne_bytes());
    sent.bytes = [&header[..], &body].concat();
    sent.bytes.truncate(cut.unwrap_or(usize::MAX));
    if twice {
        sent.bytes.extend_from_within(..);
    }
    Some(sent)
}

fn put(header: &mut [u8], at: usize, bytes: &[u8]) {
    header[at..at + bytes.len()].copy_from_slice(bytes);
}

fn word(text: &str, words: &[&str]) -> Option<u32> {
    let known = words.iter().position(|word| *word == text);
    known.map(|number| number as u32).or_else(|| text.parse().ok())
}

const MODES: &[&str] = &["system", "target", "device", "portal", "lld", "session", "connection", "account"];
const OPS: &[&str] = &["new", "delete", "show", "bind", "unbind", "update", "stat", "start", "stop"];

#[test]
fn record_is_built_from_its_line() {
    let sent = parse("mode=device op=update tid=1 lun=2 force=3 bytewise payload=targetOps a=b").unwrap();
    assert!(sent.bytewise);
    assert_eq!(sent.bytes.len(), HEADER_LEN + "targetOps a=b\0".len());
    assert_eq!((sent.bytes[0], sent.bytes[4], sent.bytes[72]), (2, 5, sent.bytes.len() as u8));
    assert_eq!((sent.bytes[76], sent.bytes[88], sent.bytes[116]), (1, 2, 3));
    assert_eq!(parse("mode=target op=show len=7 cut=3").unwrap().bytes.len(), 3);
    assert!(parse("mode=target op=show bogus").is_none());
}
