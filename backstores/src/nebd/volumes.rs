//! The volumes that the process has open, each once, and the heartbeats for them.
//!
//! nebd-server has one number for a volume, and closes the volume for all when one client closes it. Units with the same
//! volume therefore share it here.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::client::{CallError, Client};
use super::lock::LockFile;
use super::name::VolumeName;
use super::wire::{Info, Request};

/// All open volumes of a registry.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    state: Mutex<State>,
    /// A volume was closed.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    open: HashMap<Key, Entry>,
    /// Whether the thread for heartbeats runs.
    beating: bool,
}

#[derive(Debug)]
struct Entry {
    mode: Mode,
    facts: Arc<Facts>,
    /// Without a handle while the volume is being closed.
    volume: Weak<Volume>,
}

/// Where a volume is open.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Key {
    pub(super) socket: PathBuf,
    pub(super) name: VolumeName,
}

/// How a volume is opened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Mode {
    /// No other client of the cluster may write the volume.
    pub(super) exclusive: bool,
    pub(super) lock_directory: PathBuf,
}

/// An open volume. Dropping it closes it, which may take [`CLOSE_TIMEOUT`].
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) key: Key,
    mode: Mode,
    pub(super) facts: Arc<Facts>,
    volumes: Arc<Volumes>,
    /// Released after the volume is closed.
    lock: Option<LockFile>,
}

/// What the server has answered last about a volume.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Its number; 0 before it is opened.
    fd: AtomicI32,
    size: AtomicU64,
    block_len: AtomicU32,
}

/// Why a volume cannot be opened; the texts are for the operator.
#[derive(Debug, thiserror::Error)]
pub(super) enum VolumeError {
    #[error("another program on this host has the volume open: it holds {0}")]
    Locked(PathBuf),
    #[error("cannot take the lock file {0}: {1}")]
    LockFile(PathBuf, std::io::Error),
    #[error("another unit has the volume open with other values of exclusive or lock-dir")]
    OtherMode,
    #[error("the volume is still being closed")]
    Closing,
}

impl Volumes {
    /// Returns the volume. If no unit has it, its lock is taken, and connections then open it. Blocks at most until
    /// `deadline` while the volume is being closed.
    ///
    /// # Errors
    /// The volume cannot be locked.
    pub(super) fn open(
        self: &Arc<Self>,
        key: &Key,
        mode: &Mode,
        deadline: Instant,
    ) -> Result<Arc<Volume>, VolumeError> {
        let mut state = self.state.lock();
        while let Some(known) = state.open.get(key) {
            // No handle may be dropped here: the last one takes the lock.
            if known.volume.strong_count() > 0 && known.mode != *mode {
                return Err(VolumeError::OtherMode);
            }
            if let Some(volume) = known.volume.upgrade() {
                return Ok(volume);
            }
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return Err(VolumeError::Closing);
            }
        }
        let lock = take_lock(&mode.lock_directory, key.name.as_str())?;
        let facts = Arc::new(Facts::default());
        let volume = Arc::new(Volume {
            key: key.clone(),
            mode: mode.clone(),
            facts: facts.clone(),
            volumes: self.clone(),
            lock: Some(lock),
        });
        let entry = Entry { mode: mode.clone(), facts, volume: Arc::downgrade(&volume) };
        state.open.insert(key.clone(), entry);
        if !state.beating {
            state.beating = self.start_heartbeats();
        }
        Ok(volume)
    }

    fn start_heartbeats(self: &Arc<Self>) -> bool {
        let volumes = self.clone();
        let beat = move || {
            let mut connections = HashMap::new();
            while volumes.beat(&mut connections) {
                std::thread::sleep(HEARTBEAT_INTERVAL);
            }
        };
        match std::thread::Builder::new().name("tgt-nebd".into()).spawn(beat) {
            Ok(_) => true,
            Err(error) => {
                log::error!("cannot start the thread for heartbeats to nebd-server: {error}");
                false
            }
        }
    }

    /// Sends a heartbeat with all open volumes to each server; returns `false` if none is open, and the thread ends.
    fn beat(&self, connections: &mut HashMap<PathBuf, Client>) -> bool {
        let mut servers: HashMap<PathBuf, Vec<(i32, String)>> = HashMap::new();
        let mut state = self.state.lock();
        if state.open.is_empty() {
            state.beating = false;
            return false;
        }
        for (key, entry) in state.open.iter().filter(|(_, entry)| entry.facts.fd() != 0) {
            let open = (entry.facts.fd(), key.name.as_str().to_owned());
            servers.entry(key.socket.clone()).or_default().push(open);
        }
        drop(state);
        connections.retain(|socket, _| servers.contains_key(socket));
        for (socket, open) in servers {
            match keep_alive(connections.remove(&socket), &socket, &open) {
                Ok(client) => drop(connections.insert(socket, client)),
                Err(error) => log::debug!("{}: heartbeat: {error}", socket.display()),
            }
        }
        true
    }
}

/// The server answers `kNoOK` if it does not know a volume; the next request for the volume then opens it again.
fn keep_alive(client: Option<Client>, socket: &Path, open: &[(i32, String)]) -> Result<Client, CallError> {
    let deadline = Instant::now() + HEARTBEAT_TIMEOUT;
    let mut client = match client {
        Some(client) => client,
        None => Client::connect(socket, deadline)?,
    };
    match client.call(&Request::KeepAlive { pid: std::process::id(), open }, deadline) {
        Ok(_) => Ok(client),
        Err(CallError::Refused(text)) => {
            log::debug!("{}: heartbeat: refused: {text}", socket.display());
            Ok(client)
        }
        Err(error) => Err(error),
    }
}

impl Facts {
    /// Number of the volume at its server; 0 before it was opened.
    pub(super) fn fd(&self) -> i32 {
        self.fd.load(Ordering::Acquire)
    }

    pub(super) fn set_fd(&self, fd: i32) {
        self.fd.store(fd, Ordering::Release);
    }

    /// Size and block length.
    pub(super) fn info(&self) -> Info {
        Info { size: self.size.load(Ordering::Acquire), block_len: self.block_len.load(Ordering::Acquire) }
    }

    pub(super) fn set_info(&self, info: Info) {
        self.size.store(info.size, Ordering::Release);
        self.block_len.store(info.block_len, Ordering::Release);
    }
}

fn take_lock(directory: &Path, name: &str) -> Result<LockFile, VolumeError> {
    LockFile::take(directory, name).map_err(|error| {
        let path = LockFile::path(directory, name);
        match error.kind() {
            std::io::ErrorKind::WouldBlock => VolumeError::Locked(path),
            _ => VolumeError::LockFile(path, error),
        }
    })
}

impl Volume {
    /// Closes the volume at the server. It is opened once more before: a server that lost its table may have given the
    /// number to another volume.
    fn close(&self) -> Result<(), CallError> {
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        let mut client = Client::connect(&self.key.socket, deadline)?;
        let name = self.key.name.as_str();
        let open = Request::OpenFile { name, exclusive: self.mode.exclusive };
        let reply = client.call(&open, deadline)?;
        let fd = reply.fd.unwrap_or_else(|| self.facts.fd());
        client.call(&Request::CloseFile { fd }, deadline).map(drop)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.facts.fd() != 0
            && let Err(error) = self.close()
        {
            log::warn!("{}: nebd-server did not close the volume: {error}", self.key.name.as_str());
        }
        drop(self.lock.take());
        self.volumes.state.lock().open.remove(&self.key);
        self.volumes.changed.notify_all();
    }
}

/// The server closes a volume after 30 seconds without a heartbeat, and opens it again with the next request.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
const HEARTBEAT_TIMEOUT: Duration = Duration::from_millis(500);
/// The server never answers the close of a volume after a request that it did not answer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
