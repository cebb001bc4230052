//! A file whose reads hang: the kernel requests its data by the FUSE protocol, and the bench withholds the replies.
//! Every daemon can open it; to the daemon it is a disk that does not respond. Needs root.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// Size of the file in bytes.
const SIZE: u64 = 64 << 20;

/// The mounted file; unmounted and removed when dropped.
pub(super) struct HangingFile {
    path: PathBuf,
    device: File,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    held: bool,
    /// Reads without a reply: FUSE's unique number and the length in bytes.
    waiting: VecDeque<(u64, usize)>,
}

impl HangingFile {
    /// Mounts the file; its reads complete until [`Self::hold`].
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        File::create(path)?;
        let device = File::options().read(true).write(true).open("/dev/fuse")?;
        let options = format!("fd={},rootmode=100644,user_id=0,group_id=0", device.as_raw_fd());
        let options = std::ffi::CString::new(options)?;
        mount("bench", path, "fuse", MountFlags::NOSUID | MountFlags::NODEV, Some(options.as_c_str()))?;
        let state = Arc::new(Mutex::new(State::default()));
        let (server, shared) = (device.try_clone()?, Arc::clone(&state));
        thread::spawn(move || serve(&server, &shared));
        Ok(Self { path: path.to_owned(), device, state })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes reads hang, or lets them complete again, those that hang included.
    pub(super) fn hold(&self, held: bool) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.held = held;
        if !held {
            for (unique, len) in state.waiting.drain(..) {
                reply(&self.device, unique, 0, &vec![0; len])?;
            }
        }
        Ok(())
    }

    /// Number of reads that hang.
    pub(super) fn waiting(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).waiting.len()
    }
}

impl Drop for HangingFile {
    fn drop(&mut self) {
        let _ = self.hold(false);
        let _ = unmount(&self.path, UnmountFlags::DETACH);
        let _ = fs::remove_file(&self.path);
    }
}

/// Length of a request's header in bytes; the operation's arguments follow.
const HEADER_LEN: usize = 40;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;
const ENOSYS: i32 = 38;

/// Replies to the kernel's requests until the file is unmounted.
fn serve(device: &File, state: &Mutex<State>) -> io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    let mut input = device;
    loop {
        let len = match input.read(&mut buffer) {
            Ok(len) => len,
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::NotFound) => {
                continue;
            }
            Err(error) => return Err(error),
        };
        let Some((header, body)) = buffer[..len].split_first_chunk::<HEADER_LEN>() else { continue };
        let unique = u64::from_ne_bytes(std::array::from_fn(|at| header[8 + at]));
        match word(header, 4) {
            FORGET | BATCH_FORGET | INTERRUPT => {}
            INIT => reply(device, unique, 0, &init())?,
            GETATTR => reply(device, unique, 0, &attributes())?,
            // Handle 0; direct I/O, which bypasses the page cache.
            OPEN => reply(device, unique, 0, &words(&[0, 0, 1, 0]))?,
            READ => {
                let len = word(body, 16) as usize;
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                if state.held {
                    state.waiting.push_back((unique, len));
                } else {
                    reply(device, unique, 0, &vec![0; len])?;
                }
            }
            STATFS => reply(device, unique, 0, &file_system())?,
            RELEASE | FLUSH => reply(device, unique, 0, &[])?,
            _ => reply(device, unique, -ENOSYS, &[])?,
        }
    }
}

fn reply(mut device: &File, unique: u64, error: i32, body: &[u8]) -> io::Result<()> {
    let len = 16 + body.len() as u32;
    let head = [&len.to_ne_bytes()[..], &error.to_ne_bytes(), &unique.to_ne_bytes()].concat();
    match device.write(&[&head, body].concat()) {
        // The process of the request was killed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map(drop),
    }
}

/// Version 7.31 without optional features, writes of 128 KiB.
fn init() -> Vec<u8> {
    let mut body = words(&[7, 31, 0, 0, 0, 128 << 10, 1]);
    body.resize(64, 0);
    body
}

/// Attributes of a regular file of [`SIZE`] bytes, valid for an hour.
fn attributes() -> Vec<u8> {
    let long = |value: u64| [value as u32, (value >> 32) as u32];
    let (size, sectors) = (long(SIZE), long(SIZE / 512));
    let mut body = words(&[3600, 0, 0, 0, 1, 0, size[0], size[1], sectors[0], sectors[1]]);
    // The times are 0.
    body.resize(16 + 60, 0);
    body.extend_from_slice(&words(&[0o100_644, 1, 0, 0, 0, 4096, 0]));
    body
}

/// A full file system with blocks and fragments of 4 KiB.
fn file_system() -> Vec<u8> {
    let mut body = vec![0; 40];
    body.extend_from_slice(&words(&[4096, 255, 4096]));
    body.resize(80, 0);
    body
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// The native-endian word at `at`; 0 past the end.
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]))
}
