//! Runs an admin tool against a socket that writes down the request and gives one reply.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;

/// The tool under test.
pub(crate) const OURS: &str = env!("CARGO_BIN_EXE_tgtadm");
/// The tool it stands in for.
pub(crate) const TGT: &str = "/usr/sbin/tgtadm";

/// All that can be seen of one run.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Outcome {
    /// The bytes on the socket, if anything was sent.
    pub(crate) record: Option<Vec<u8>>,
    /// `None` when a signal ended it.
    pub(crate) exit: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// One run of `tool` under the name `tgtadm`, with a daemon at control port 0 that answers `reply`.
pub(crate) fn run(tool: &str, words: &[String], reply: &[u8]) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path().join("socket");
    let path = directory.path().join("socket.0");
    let listener = UnixListener::bind(&path).unwrap();
    let reply = reply.to_vec();
    let daemon = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        // No second daemon: a tool that waits for the end of this one sees it now.
        drop(listener);
        let record = request(&mut socket);
        match socket.write_all(&reply) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => panic!("{error}"),
            _ => record,
        }
    });
    let output = Command::new(tool).arg0("tgtadm").args(words).env("TGT_IPC_SOCKET", &base).output().unwrap();
    // No client connected: connect, so that the daemon ends.
    drop(UnixStream::connect(&path));
    let record = daemon.join().unwrap();
    Outcome {
        record: (!record.is_empty()).then_some(record),
        exit: output.status.code(),
        stdout: output.stdout,
        stderr: output.stderr,
    }
}

/// Header and payload, or what came before the end.
fn request(socket: &mut UnixStream) -> Vec<u8> {
    let mut record = vec![0; 120];
    if socket.read_exact(&mut record).is_err() {
        return Vec::new();
    }
    let len = u32::from_le_bytes(record[72..76].try_into().unwrap()) as usize;
    record.resize(len, 0);
    socket.read_exact(&mut record[120..]).unwrap();
    record
}
