//! A nebd-server over files, with the behaviour of Curve's: it keeps the numbers of volumes in a file, so that they stay
//! valid when it is killed and started again, and by default it does not answer requests that fail.
//!
//! The directory of a server contains its socket `nebd.sock`, its table `meta`, and the volumes: the file of a volume has
//! its name with `/` replaced by `+`, and its block length behind a dot.

mod frame;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use self::frame::{Call, Message, read_call, reply};
use super::arrives;

/// A server in this process. Dropping it stops it.
pub struct NebdServer {
    shared: Arc<Shared>,
}

/// What the server does differently from a good one.
#[derive(Clone, Debug, Default)]
pub struct Switches {
    /// Failed requests are answered (`response.returnRpcWhenIoError`).
    pub answer_errors: bool,
    /// Replies are sent in the reverse order of their requests.
    pub reorder: bool,
    /// Reads and writes here fail.
    pub bad: Option<Range<u64>>,
    /// Reads and writes here are neither done nor answered, this often; `u32::MAX`: always.
    pub unanswered: Option<(Range<u64>, u32)>,
    /// Heartbeats are refused, and volumes are closed as after 30 seconds without one.
    pub forget_heartbeats: bool,
    /// Information lacks the block length.
    pub omit_block_len: bool,
}

/// What the server has seen.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Seen {
    /// Connections that it accepted.
    pub connections: usize,
    /// Requests to open a volume.
    pub opened: usize,
    /// Requests to close a volume.
    pub closed: usize,
    /// Closed volumes that a request opened again.
    pub reopened: usize,
    /// The volumes of the last heartbeat.
    pub heartbeat: Vec<(i32, String)>,
    /// Heartbeats.
    pub heartbeats: usize,
    /// Reads that were done.
    pub reads: usize,
    /// Writes that were done.
    pub writes: usize,
    /// Discards.
    pub discards: usize,
    /// Length of the longest read or write.
    pub longest: usize,
    /// Reads and writes that are not multiples of blocks.
    pub unaligned: usize,
    /// Whether the last opening was exclusive.
    pub exclusive: bool,
}

struct Shared {
    directory: PathBuf,
    state: Mutex<State>,
    /// A volume is closed, or the server is stopped.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    switches: Switches,
    seen: Seen,
    volumes: BTreeMap<i32, Volume>,
    /// The last number that was given to a volume.
    last: i32,
    running: Option<Running>,
    /// Increases with each start, so that connections of a previous one end.
    life: u64,
}

struct Running {
    listener: UnixListener,
    connections: Vec<UnixStream>,
}

struct Volume {
    name: String,
    file: Arc<File>,
    block_len: u64,
    open: bool,
    /// A request was not answered: its lock is kept, and closing waits for ever.
    locked: bool,
}

impl NebdServer {
    /// Starts a server in an existing directory.
    ///
    /// # Panics
    /// The socket cannot be made.
    #[must_use]
    pub fn start(directory: &Path) -> Self {
        let shared =
            Shared { directory: directory.to_owned(), state: Mutex::default(), changed: Condvar::new() };
        let server = Self { shared: Arc::new(shared) };
        server.restart();
        server
    }

    /// Path of its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.shared.directory.join("nebd.sock")
    }

    /// Creates a volume of zeroes, or changes its size.
    ///
    /// # Panics
    /// The file cannot be made.
    pub fn volume(&self, name: &str, size: u64, block_len: u32) {
        make_volume(&self.shared.directory, name, size, block_len);
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

    /// Stops as if it were killed: connections end, the table stays.
    pub fn stop(&self) {
        let mut state = self.shared.state();
        state.life += 1;
        state.volumes.clear();
        if let Some(running) = state.running.take() {
            let _ = rustix::net::shutdown(&running.listener, rustix::net::Shutdown::Both);
            for connection in running.connections {
                let _ = connection.shutdown(std::net::Shutdown::Both);
            }
        }
        self.shared.changed.notify_all();
    }

    /// Starts again, with the same numbers for the volumes.
    ///
    /// # Panics
    /// The socket cannot be made.
    pub fn restart(&self) {
        self.stop();
        let socket = self.socket();
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).expect("a socket in a short directory");
        let accepting = listener.try_clone().expect("a descriptor");
        let mut state = self.shared.state();
        state.load(&self.shared.directory);
        state.running = Some(Running { listener, connections: Vec::new() });
        let (life, shared) = (state.life, self.shared.clone());
        drop(state);
        std::thread::spawn(move || shared.accept(&accepting, life));
    }

    /// Closes a volume, as another client does.
    pub fn forget(&self, name: &str) {
        let mut state = self.shared.state();
        state.volumes.retain(|_, volume| volume.name != name);
        state.save(&self.shared.directory);
    }

    /// Forgets the numbers of all volumes at the next start.
    pub fn lose_table(&self) {
        let _ = fs::remove_file(self.shared.directory.join("meta"));
    }
}

impl Drop for NebdServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Creates a volume of zeroes in the directory of a server, or changes its size.
///
/// # Panics
/// The file cannot be made.
pub fn make_volume(directory: &Path, name: &str, size: u64, block_len: u32) {
    let path = directory.join(format!("{}.{block_len}", name.replace('/', "+")));
    let file = File::options().create(true).truncate(false).write(true).open(path).expect("a file");
    file.set_len(size).expect("a length");
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: Arc<Self>, listener: &UnixListener, life: u64) {
        while let Ok((stream, _)) = listener.accept() {
            let mut state = self.state();
            let Some(running) = state.running.as_mut() else { return };
            running.connections.push(stream.try_clone().expect("a descriptor"));
            state.seen.connections += 1;
            if state.life != life {
                return;
            }
            drop(state);
            let shared = self.clone();
            std::thread::spawn(move || {
                let _ = shared.serve(&stream, life);
                let _ = stream.shutdown(std::net::Shutdown::Both);
            });
        }
    }

    /// Serves a connection until it ends.
    fn serve(&self, stream: &UnixStream, life: u64) -> io::Result<()> {
        let mut held = Vec::new();
        loop {
            let call = read_call(stream)?;
            let message = self.answer(&call, life);
            if let Some((message, data)) = message {
                held.push(reply(&call, &message, &data));
            }
            if self.state().switches.reorder && arrives(stream) {
                continue;
            }
            for frame in held.drain(..).rev() {
                io::Write::write_all(&mut &*stream, &frame)?;
            }
        }
    }

    /// Performs a request; `None`: there is no answer.
    fn answer(&self, call: &Call, life: u64) -> Option<(Message, Vec<u8>)> {
        let mut state = self.state();
        let fd = call.number(1) as i32;
        let done = match call.method.as_str() {
            "OpenFile" => Some((state.open_file(call, &self.directory), Vec::new())),
            "CloseFile" => {
                while state.life == life && state.volumes.get(&fd).is_some_and(|volume| volume.locked) {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Some((state.close_file(fd, &self.directory), Vec::new()))
            }
            "GetInfo" => Some((state.info(fd), Vec::new())),
            "KeepAlive" => Some((state.keep_alive(call), Vec::new())),
            "Flush" | "InvalidateCache" => Some((Message::ok(), Vec::new())),
            "Read" | "Write" | "Discard" => state.transfer(fd, call),
            _ => Some((Message::failed(1002, "Fail to find method"), Vec::new())),
        };
        if state.life == life { done } else { None }
    }
}

impl State {
    /// Reads the table.
    fn load(&mut self, directory: &Path) {
        let text = fs::read_to_string(directory.join("meta")).unwrap_or_default();
        for (fd, name) in text.lines().filter_map(|line| line.split_once(' ')) {
            let fd = fd.parse().expect("a table of this server");
            self.volumes.extend(find(directory, name).map(|volume| (fd, volume)));
        }
        self.last = self.volumes.last_key_value().map_or(0, |(last, _)| *last);
    }

    fn save(&self, directory: &Path) {
        let lines = self.volumes.iter().map(|(fd, volume)| format!("{fd} {}\n", volume.name));
        fs::write(directory.join("meta"), lines.collect::<String>()).expect("a writable directory");
    }

    fn open_file(&mut self, call: &Call, directory: &Path) -> Message {
        self.seen.opened += 1;
        let name = call.text(1);
        self.seen.exclusive = call.message(2).is_none_or(|flags| flags.number(1) != 0);
        let known = self.volumes.iter_mut().find(|(_, volume)| volume.name == name);
        if let Some((fd, volume)) = known {
            volume.open = true;
            return Message::ok().with(3, *fd as u64);
        }
        let Some(volume) = find(directory, &name) else { return Message::refused("no such volume") };
        self.last += 1;
        self.volumes.insert(self.last, volume);
        self.save(directory);
        Message::ok().with(3, self.last as u64)
    }

    fn close_file(&mut self, fd: i32, directory: &Path) -> Message {
        self.seen.closed += 1;
        match self.volumes.remove(&fd) {
            Some(_) => {
                self.save(directory);
                Message::ok()
            }
            None => Message::refused("unknown fd"),
        }
    }

    fn info(&mut self, fd: i32) -> Message {
        let omit = self.switches.omit_block_len;
        let Some(volume) = self.volumes.get(&fd) else { return Message::refused("unknown fd") };
        let size = volume.file.metadata().map_or(0, |metadata| metadata.len());
        // The second and third field are uninitialized in Curve's server.
        let info = Message::default().with(1, size).with(2, u64::MAX).with(3, 0xdead_beef_0000);
        let info = if omit { info } else { info.with(4, volume.block_len) };
        Message::ok().with_bytes(3, info.bytes())
    }

    fn keep_alive(&mut self, call: &Call) -> Message {
        let volumes = call.messages(3).map(|info| (info.number(1) as i32, info.text(2)));
        self.seen.heartbeat = volumes.collect();
        self.seen.heartbeats += 1;
        if self.switches.forget_heartbeats {
            self.volumes.values_mut().for_each(|volume| volume.open = false);
            return Message::refused("");
        }
        let known = |(fd, name): &(i32, String)| self.volumes.get(fd).is_some_and(|v| v.name == *name);
        if self.seen.heartbeat.iter().all(known) { Message::ok() } else { Message::refused("") }
    }

    /// Reads, writes or discards.
    fn transfer(&mut self, fd: i32, call: &Call) -> Option<(Message, Vec<u8>)> {
        let (offset, len) = (call.number(2), call.number(3));
        let range = offset..offset.saturating_add(len);
        let crosses = |other: &Range<u64>| other.start < range.end && range.start < other.end;
        let Some(volume) = self.volumes.get_mut(&fd) else {
            return Some((Message::refused("unknown fd"), Vec::new()));
        };
        if !std::mem::replace(&mut volume.open, true) {
            self.seen.reopened += 1;
        }
        if let Some((unanswered, times)) = &mut self.switches.unanswered
            && crosses(unanswered)
            && *times > 0
        {
            *times -= u32::from(*times < u32::MAX);
            volume.locked = true;
            return None;
        }
        if call.method != "Discard" {
            self.seen.longest = self.seen.longest.max(len as usize);
            self.seen.unaligned += usize::from((offset | len) % volume.block_len != 0);
        }
        let mut data = Vec::new();
        let bad = self.switches.bad.as_ref().is_some_and(crosses) || (offset | len) % volume.block_len != 0;
        let result = match call.method.as_str() {
            _ if bad => Err(io::ErrorKind::InvalidInput.into()),
            "Read" => {
                self.seen.reads += 1;
                data = vec![0; len as usize];
                volume.file.read_exact_at(&mut data, offset)
            }
            "Write" => {
                self.seen.writes += 1;
                if call.attachment.len() as u64 != len {
                    return Some((Message::refused("attachment"), Vec::new()));
                }
                volume.file.write_all_at(&call.attachment, offset)
            }
            // The data stays readable.
            _ => {
                self.seen.discards += 1;
                Ok(())
            }
        };
        match result {
            Ok(()) => Some((Message::ok(), data)),
            Err(error) if self.switches.answer_errors => {
                Some((Message::refused(&error.to_string()), Vec::new()))
            }
            Err(_) => {
                volume.locked = true;
                None
            }
        }
    }
}

/// The volume of this name.
fn find(directory: &Path, name: &str) -> Option<Volume> {
    let stem = name.replace('/', "+");
    let entries = fs::read_dir(directory).expect("a directory");
    entries.filter_map(Result::ok).find_map(|entry| {
        let block_len = entry.file_name().to_str()?.strip_prefix(&stem)?.strip_prefix('.')?.parse().ok()?;
        let file = File::options().read(true).write(true).open(entry.path()).ok()?;
        Some(Volume { name: name.to_owned(), file: Arc::new(file), block_len, open: true, locked: false })
    })
}
