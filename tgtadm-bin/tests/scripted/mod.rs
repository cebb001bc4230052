//! Runs a tool against a daemon that sends prepared answers, one to each request, and records the requests.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::thread;

use target_engine::control::wire::{Mode, Op, RequestHeader};

/// The answer to one request: a text, or an error number.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Text(String),
    Error(u32),
}
pub(crate) use Answer::{Error, Text};

pub(crate) fn done() -> Answer {
    Text(String::new())
}

/// The results of one run.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The requests: mode, operation, target, unit, strings.
    pub(crate) sent: Vec<String>,
    pub(crate) exit: Option<i32>,
    pub(crate) stdout: String,
}

/// Runs `tool` with these arguments and answers.
pub(crate) fn run(tool: &str, words: &[&str], answers: &[Answer]) -> Ran {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket.0");
    let listener = UnixListener::bind(&path).unwrap();
    let answers = answers.to_vec();
    let daemon = thread::spawn(move || {
        let mut sent = Vec::new();
        for (mut socket, _) in std::iter::from_fn(|| listener.accept().ok()) {
            let Some(request) = request(&mut socket) else { break };
            match answers.get(sent.len()) {
                None => panic!("unexpected request: {request}"),
                Some(Error(number)) => socket.write_all(&reply(*number, &[])).unwrap(),
                Some(Text(text)) if text.is_empty() => socket.write_all(&reply(0, &[])).unwrap(),
                Some(Text(text)) => socket.write_all(&reply(0, format!("{text}\0").as_bytes())).unwrap(),
            }
            sent.push(request);
        }
        sent
    });
    let mut tool = Command::new(tool);
    let output = tool.args(words).env("TGT_IPC_SOCKET", directory.path().join("socket")).output().unwrap();
    drop(UnixStream::connect(&path));
    let sent = daemon.join().unwrap();
    Ran { sent, exit: output.status.code(), stdout: String::from_utf8(output.stdout).unwrap() }
}

fn reply(error: u32, text: &[u8]) -> Vec<u8> {
    [&error.to_le_bytes(), &(8 + text.len() as u32).to_le_bytes(), text].concat()
}

fn request(socket: &mut UnixStream) -> Option<String> {
    let mut bytes = [0; 120];
    socket.read_exact(&mut bytes).ok()?;
    let header = RequestHeader::decode(&bytes);
    let mut strings = vec![0; header.len as usize - bytes.len()];
    socket.read_exact(&mut strings).unwrap();
    let (mode, op) = (Mode::from_number(header.mode).unwrap(), Op::from_number(header.op).unwrap());
    let strings = String::from_utf8(strings).unwrap();
    let force = if header.force == 1 { " force" } else { "" };
    let lun = if header.lun == u64::MAX { String::new() } else { format!(" {}", header.lun) };
    Some(format!(
        "{} {} {}{lun}{force} {}",
        mode.word(),
        op.word(),
        header.tid,
        strings.trim_end_matches('\0')
    ))
}
