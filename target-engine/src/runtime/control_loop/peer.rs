//! Who is at the other end of the management socket.

use std::io;
use std::os::unix::net::UnixStream;

use nix::sys::socket::{getsockopt, sockopt};

use crate::control::audit::Peer;

/// User, group and process as they were when the connection was made (SO_PEERCRED).
pub(super) fn credentials(stream: &UnixStream) -> io::Result<Peer> {
    let peer = getsockopt(stream, sockopt::PeerCredentials)?;
    Ok(Peer { uid: peer.uid(), gid: peer.gid(), pid: peer.pid(), command: None })
}

/// Whether a peer runs with the same user and group as the daemon. As in tgt there is no exception for root and no list of groups.
pub(super) fn is_trusted(peer: &Peer) -> bool {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    (peer.uid, peer.gid) == (uid, gid)
}

/// The same peer with the name of its process, which is there as long as it waits for its answer.
pub(super) fn named(peer: &Peer) -> Peer {
    let read = |pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    let command = Some(peer.pid).filter(|pid| *pid > 0).and_then(read);
    Peer { command: command.map(|name| name.trim_end_matches('\n').to_owned()), ..peer.clone() }
}
