//! The data socket of a Longhorn engine, over a file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::arrives;

/// A server in this process. Dropping it stops it.
pub struct LonghornServer {
    shared: Arc<Shared>,
}

/// What the server does differently from a good one.
#[derive(Clone, Debug, Default)]
pub struct Switches {
    /// Responses are sent in the reverse order of their requests.
    pub reorder: bool,
    /// Reads and writes here fail.
    pub bad: Option<Range<u64>>,
    /// Requests are neither done nor answered.
    pub silent: bool,
}

/// What the server has seen.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Seen {
    /// Connections that it accepted.
    pub connections: usize,
    /// Reads that were done.
    pub reads: usize,
    /// Writes that were done.
    pub writes: usize,
    /// Unmaps that were done.
    pub unmaps: usize,
    /// Requests that were not answered.
    pub unanswered: usize,
    /// Length of the longest read or write.
    pub longest: usize,
}

struct Shared {
    socket: PathBuf,
    file: File,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    switches: Switches,
    seen: Seen,
    listener: Option<UnixListener>,
    connections: Vec<UnixStream>,
}

/// A message, in either direction.
struct Message {
    sequence: u32,
    kind: u32,
    offset: u64,
    size: u32,
    data: Vec<u8>,
}

impl LonghornServer {
    /// Starts a server at a path, over a file of zeroes beside it.
    ///
    /// # Panics
    /// File or socket cannot be made.
    #[must_use]
    pub fn start(socket: &Path, size: u64) -> Self {
        let path = socket.with_extension("img");
        let options = || File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = options().expect("a file");
        file.set_len(size).expect("a length");
        let shared = Shared { socket: socket.to_owned(), file, state: Mutex::default() };
        let server = Self { shared: Arc::new(shared) };
        server.restart();
        server
    }

    /// Changes the behaviour.
    pub fn set(&self, change: impl FnOnce(&mut Switches)) {
        change(&mut self.shared.state().switches);
    }

    /// What it has seen since it was made.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.shared.state().seen.clone()
    }

    /// Stops; all connections end.
    pub fn stop(&self) {
        let mut state = self.shared.state();
        if let Some(listener) = state.listener.take() {
            let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
        }
        for connection in state.connections.drain(..) {
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Another process takes over the path of the socket, as when the engine is upgraded.
    ///
    /// # Panics
    /// The socket cannot be made.
    pub fn restart(&self) {
        self.stop();
        let _ = std::fs::remove_file(&self.shared.socket);
        let listener = UnixListener::bind(&self.shared.socket).expect("a socket in a short directory");
        self.shared.state().listener = Some(listener.try_clone().expect("a descriptor"));
        let shared = self.shared.clone();
        std::thread::spawn(move || shared.accept(&listener));
    }
}

impl Drop for LonghornServer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: Arc<Self>, listener: &UnixListener) {
        while let Ok((stream, _)) = listener.accept() {
            let mut state = self.state();
            state.connections.push(stream.try_clone().expect("a descriptor"));
            state.seen.connections += 1;
            drop(state);
            let shared = self.clone();
            std::thread::spawn(move || {
                let _ = shared.serve(&stream);
                let _ = stream.shutdown(std::net::Shutdown::Both);
            });
        }
    }

    fn serve(&self, mut stream: &UnixStream) -> io::Result<()> {
        let mut held: Vec<Vec<u8>> = Vec::new();
        loop {
            let request = Message::read(stream)?;
            held.extend(self.answer(request).map(|answer| answer.encode()));
            if self.state().switches.reorder && arrives(stream) {
                continue;
            }
            for answer in held.drain(..).rev() {
                stream.write_all(&answer)?;
            }
        }
    }

    fn answer(&self, request: Message) -> Option<Message> {
        let Message { sequence, kind, offset, size, data } = request;
        let mut state = self.state();
        if state.switches.silent {
            state.seen.unanswered += 1;
            return None;
        }
        let end = offset + u64::from(size);
        let bad = state.switches.bad.as_ref().is_some_and(|bad| bad.start < end && offset < bad.end);
        let mut answer = Message { sequence, kind: RESPONSE, offset, size, data: Vec::new() };
        if kind != UNMAP {
            state.seen.longest = state.seen.longest.max(size as usize);
        }
        if end > self.file.metadata().map_or(0, |metadata| metadata.len()) {
            answer.kind = END_OF_FILE;
            return Some(answer);
        }
        let result = match kind {
            READ | WRITE if bad => Err(io::Error::other("no replica is left")),
            READ => {
                state.seen.reads += 1;
                answer.data = vec![0; size as usize];
                self.file.read_exact_at(&mut answer.data, offset)
            }
            WRITE => {
                state.seen.writes += 1;
                self.file.write_all_at(&data, offset)
            }
            UNMAP => {
                state.seen.unmaps += 1;
                self.file.write_all_at(&vec![0; size as usize], offset)
            }
            _ => Err(io::Error::other("unknown type")),
        };
        if let Err(error) = result {
            (answer.kind, answer.data) = (ERROR, error.to_string().into_bytes());
        }
        Some(answer)
    }
}

impl Message {
    fn read(mut stream: &UnixStream) -> io::Result<Self> {
        let mut header = [0; 26];
        stream.read_exact(&mut header)?;
        let number =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if header[..2] != [0x01, 0x1b] {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut data = vec![0; number(22) as usize];
        stream.read_exact(&mut data)?;
        let offset = u64::from(number(10)) | u64::from(number(14)) << 32;
        Ok(Self { sequence: number(2), kind: number(6), offset, size: number(18), data })
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0x01, 0x1b];
        bytes.extend(self.sequence.to_le_bytes());
        bytes.extend(self.kind.to_le_bytes());
        bytes.extend(self.offset.to_le_bytes());
        bytes.extend(self.size.to_le_bytes());
        bytes.extend((self.data.len() as u32).to_le_bytes());
        bytes.extend(&self.data);
        bytes
    }
}

const READ: u32 = 0;
const WRITE: u32 = 1;
const RESPONSE: u32 = 2;
const ERROR: u32 = 3;
const END_OF_FILE: u32 = 4;
const UNMAP: u32 = 7;
