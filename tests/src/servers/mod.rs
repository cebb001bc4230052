//! Storage servers for tests of remote stores, on loopback: those of other projects, and some of this project. The latter
//! have their own code for their protocols, so that a mistake in the client's is not repeated here.

pub mod ceph;
pub mod gluster;
pub mod longhorn;
pub mod nbd;
pub mod nebd;
mod process;
pub mod scripted_nbd;

use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Whether further requests arrive soon.
fn arrives(stream: &UnixStream) -> bool {
    let timeout = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
    matches!(poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&timeout)), Ok(1))
}
