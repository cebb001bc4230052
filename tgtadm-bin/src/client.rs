//! The exchange with the daemon: one request, one reply, over the unix socket.

use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use target_engine::control::error;
use target_engine::control::wire::{Form, REPLY_HEADER_LEN, ReplyHeader};
use target_engine::system_text::without_numbers;

use crate::args::Order;
use crate::{EINVAL, Refusal};

/// Sends the request to the daemon that `TGT_IPC_SOCKET` and the control port name. Returns the text to print.
///
/// # Errors
/// There is no daemon (exit code 107), it refused (22), or the connection broke.
pub fn exchange(order: &Order) -> Result<Vec<u8>, Refusal> {
    let base = std::env::var_os("TGT_IPC_SOCKET").unwrap_or_else(|| DEFAULT_BASE.into());
    let path = socket_path(base, order.control_port);
    let text = exchange_at(&path, order)?;
    if order.ends_the_daemon() {
        while UnixStream::connect(&path).is_ok() {
            thread::sleep(END_POLL);
        }
    }
    Ok(text)
}

/// The process of the daemon at this control port; `None` where it cannot be seen, as in another PID namespace.
#[must_use]
pub fn daemon_process(control_port: &str) -> Option<u32> {
    let base = std::env::var_os("TGT_IPC_SOCKET").unwrap_or_else(|| DEFAULT_BASE.into());
    let socket = UnixStream::connect(socket_path(base, control_port.parse().ok()?)).ok()?;
    let process = rustix::net::sockopt::socket_peercred(&socket).ok()?.pid;
    process.as_raw_nonzero().get().try_into().ok()
}

/// `BASE.N`.
fn socket_path(base: OsString, control_port: u16) -> PathBuf {
    let mut path = base.into_vec();
    path.extend_from_slice(format!(".{control_port}").as_bytes());
    OsString::from_vec(path).into()
}

fn exchange_at(path: &Path, order: &Order) -> Result<Vec<u8>, Refusal> {
    let mut socket = connect(path)?;
    let request = order.record.encode();
    // The daemon may have sent a reason even if the write failed.
    let written = socket.write_all(&request);
    if order.debug {
        eprintln!("tgtadm: {} bytes to {}", request.len(), path.display());
    }
    let mut header = [0; REPLY_HEADER_LEN];
    match (fill(&mut socket, &mut header), written) {
        (Ok(REPLY_HEADER_LEN), _) => {}
        (_, Err(error)) => {
            return Err(not_sent(error.raw_os_error().unwrap_or(ENOTCONN), &error.to_string()));
        }
        // tgt's tgtadm exits with 0 where the daemon closed the socket.
        (Ok(0), _) => return Err(Refusal::named(0, "tgtd closed the socket")),
        (Ok(_), _) => return Err(Refusal::named(0, "a partial response")),
        (Err(error), _) => return Err(broken(&error)),
    }
    let header = ReplyHeader::decode(&header);
    let mut text = Vec::new();
    let announced = header.text_len();
    let read = socket.take(announced as u64).read_to_end(&mut text);
    if header.error != 0 {
        return Err(refused(header.error, up_to_nul(&text), order));
    }
    read.map_err(|error| broken(&error))?;
    if text.len() < announced {
        return Err(Refusal::named(EIO, "a partial response"));
    }
    // The text form reports nothing where the JSON form is sent for it.
    let is_printed = Form::of(&order.record.header.lld).0 == order.form;
    text.truncate(if is_printed { up_to_nul(&text).len() } else { 0 });
    Ok(text)
}

/// The line of tgt's tgtadm, and below it, indented, the reason that our daemon sends. With JSON the document has it.
fn refused(number: u32, payload: &[u8], order: &Order) -> Refusal {
    let refusal = Refusal { error: number, ..Refusal::named(EINVAL, error::text(number)) };
    let sent = Form::of(&order.record.header.lld).0;
    let reason = match (sent, order.form) {
        (Form::Text, _) if payload.is_empty() => return refusal,
        (Form::Text, _) => payload.to_vec(),
        // A daemon without JSON sends no payload.
        (Form::Json, Form::Json) if payload.is_empty() => NO_JSON.into(),
        (Form::Json, Form::Json) => return Refusal { document: payload.to_vec(), ..refusal },
        (Form::Json, Form::Text) if payload.is_empty() => NO_NAMES.into(),
        (Form::Json, Form::Text) => {
            let document: serde_json::Value = serde_json::from_slice(payload).unwrap_or_default();
            document["error"]["reason"].as_str().unwrap_or_default().into()
        }
    };
    let text = [&refusal.text, &b"  "[..], &reason, b"\n"].concat();
    Refusal { text, ..refusal }
}

const NO_JSON: &str = "--json: this daemon does not speak it; ask without";
const NO_NAMES: &str =
    "--initiator-name: this daemon does not bind accounts to initiator names; nothing was changed";

fn up_to_nul(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Connects. Every failure has the exit code that init scripts wait for.
fn connect(path: &Path) -> Result<UnixStream, Refusal> {
    let no_daemon = || not_sent(ENOTCONN, "Transport endpoint is not connected");
    if path.as_os_str().len() > SOCKET_PATH_LEN_MAX {
        let message = [b"management path too long: ", path.as_os_str().as_bytes()].concat();
        let limit = format!("TGT_IPC_SOCKET and its suffix; accepted: up to {SOCKET_PATH_LEN_MAX} bytes");
        let mut refusal = Refusal::named(0, message).but(limit);
        let no_daemon = no_daemon();
        refusal.text.extend_from_slice(&no_daemon.text);
        return Err(Refusal { exit: no_daemon.exit, ..refusal });
    }
    UnixStream::connect(path).map_err(|_| no_daemon())
}

fn not_sent(errno: i32, why: &str) -> Refusal {
    let why = without_numbers(why);
    Refusal::named(exit_code(errno), format!("failed to send request hdr to tgt daemon, {why}"))
}

fn broken(error: &std::io::Error) -> Refusal {
    let errno = error.raw_os_error().unwrap_or(EIO.into());
    Refusal::named(
        exit_code(errno),
        format!("failed to read the response: {}", without_numbers(&error.to_string())),
    )
}

fn exit_code(errno: i32) -> u8 {
    u8::try_from(errno).unwrap_or(EINVAL)
}

/// Reads until `into` is full or the stream ends. Returns the number of bytes read.
fn fill(from: &mut impl Read, into: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match from.read(&mut into[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

const DEFAULT_BASE: &str = "/var/run/tgtd/socket";
/// Bytes of the longest path of a socket, without its NUL.
const SOCKET_PATH_LEN_MAX: usize = 107;
/// Interval of the checks whether the daemon has ended.
const END_POLL: Duration = Duration::from_millis(100);
const ENOTCONN: i32 = 107;
const EIO: u8 = 5;

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use target_engine::control::wire::{JSON_LLD, Record, RequestHeader};

    use super::*;

    fn order() -> Order {
        let record = Record::new(RequestHeader::default(), Vec::new());
        Order { record, control_port: 0, debug: false, form: Form::Text }
    }

    /// The result of an exchange with a daemon that sends these bytes and closes the socket.
    fn answered_by(reply: &[u8]) -> Result<Vec<u8>, Refusal> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.0");
        let listener = UnixListener::bind(&path).unwrap();
        let reply = reply.to_vec();
        let daemon = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = [0; 120];
            socket.read_exact(&mut request).unwrap();
            socket.write_all(&reply).unwrap();
            request
        });
        let answer = exchange_at(&path, &order());
        assert_eq!(daemon.join().unwrap().as_slice(), order().record.encode());
        answer
    }

    fn says(exit: u8, message: &str) -> Result<Vec<u8>, Refusal> {
        Err(Refusal::named(exit, message))
    }

    fn answers(error: u32, message: &str) -> Result<Vec<u8>, Refusal> {
        Err(Refusal { error, ..Refusal::named(22, message) })
    }

    #[test]
    fn replies() {
        type Case = (&'static [u8], Result<Vec<u8>, Refusal>);
        #[rustfmt::skip]
        let cases: &[Case] = &[
            (&[0, 0, 0, 0, 8, 0, 0, 0],                          Ok(Vec::new())),
            (&[0, 0, 0, 0, 11, 0, 0, 0, b'h', b'i', 0],          Ok(b"hi".to_vec())),
            (&[0, 0, 0, 0, 10, 0, 0, 0, b'h', b'i'],             Ok(b"hi".to_vec())),
            (&[0, 0, 0, 0, 11, 0, 0, 0, b'h', 0, b'i', b'x'],    Ok(b"h".to_vec())),
            (&[4, 0, 0, 0, 8, 0, 0, 0],                          answers(4, "can't find the target")),
            (&[24, 0, 0, 0, 8, 0, 0, 0],                         answers(24, "this device has Prevent Removal set")),
            (&[99, 0, 0, 0, 8, 0, 0, 0],                         answers(99, "(unknown tgtadm_errno)")),
            (&[5, 0, 0, 0, 12, 0, 0, 0, b'w', b'h', b'y', 0],    answers(5, "can't find the logical unit\n  why")),
            (&[5, 0, 0, 0, 99, 0, 0, 0, b'w', b'h', b'y'],       answers(5, "can't find the logical unit\n  why")),
            (&[],                                                says(0, "tgtd closed the socket")),
            (&[0, 0, 0],                                         says(0, "a partial response")),
            (&[0, 0, 0, 0, 20, 0, 0, 0, b'h', b'i'],             says(5, "a partial response")),
        ];
        for (reply, expected) in cases {
            assert_eq!(answered_by(reply), *expected, "{reply:?}");
        }
    }

    #[test]
    fn a_refusal_in_a_document_goes_to_standard_output() {
        let order = |form| {
            let header = RequestHeader { lld: JSON_LLD.to_owned(), ..RequestHeader::default() };
            Order { record: Record::new(header, Vec::new()), form, ..order() }
        };
        let document = refused(17, b"{}\n", &order(Form::Json));
        assert_eq!((document.exit, document.document.as_slice()), (22, &b"{}\n"[..]));
        assert_eq!(document.text, b"tgtadm: invalid request\n");
        let why = refused(17, b"{\"error\":{\"reason\":\"why\"}}", &order(Form::Text));
        assert_eq!(
            (why.document.as_slice(), why.text.as_slice()),
            (&b""[..], &b"tgtadm: invalid request\n  why\n"[..])
        );
        for (form, reason) in [(Form::Json, NO_JSON), (Form::Text, NO_NAMES)] {
            let tgt = refused(3, b"", &order(form));
            let text = format!("tgtadm: can't find the driver\n  {reason}\n");
            assert_eq!((tgt.document.as_slice(), tgt.text.as_slice()), (&b""[..], text.as_bytes()));
        }
    }

    #[test]
    fn no_daemon_is_107() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("missing.0");
        let message = "failed to send request hdr to tgt daemon, Transport endpoint is not connected";
        assert_eq!(exchange_at(&path, &order()), says(107, message));

        let long = PathBuf::from(format!("/{}", "x".repeat(SOCKET_PATH_LEN_MAX)));
        let refusal = exchange_at(&long, &order()).unwrap_err();
        assert_eq!(refusal.exit, 107);
        let limit = "  TGT_IPC_SOCKET and its suffix; accepted: up to 107 bytes\n";
        let text =
            format!("tgtadm: management path too long: {}\n{limit}tgtadm: {message}\n", long.display());
        assert_eq!(String::from_utf8(refusal.text).unwrap(), text);
    }

    #[test]
    fn the_socket_is_named_by_base_and_port() {
        assert_eq!(socket_path("/run/x/s".into(), 0), Path::new("/run/x/s.0"));
        assert_eq!(socket_path(OsString::new(), 32767), Path::new(".32767"));
    }
}
