//! Portals: listening sockets, and which connections they accept.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::net::{interest, is_rejected};
use super::world::{ControlLoop, Listener, Source, World, open_spare};
use crate::limits::{ACCEPT_PAUSE, ACCEPTS_PER_TURN, UNSENT_LEN_MAX};
use crate::model::PortalId;
use crate::model::state::State;
use crate::runtime::poller::{Interest, take_urgent_data};

impl World {
    pub(super) fn open_portal(&mut self, id: PortalId, address: SocketAddr) -> io::Result<SocketAddr> {
        let socket = listen(address)?;
        let taken = socket.local_addr()?;
        let key = self.poller.register(&socket, Source::Portal(id), Interest::Read)?;
        self.listeners.insert(id, Listener { socket, key });
        Ok(taken)
    }

    /// Accepts a connection with the spare descriptor, for which another one that logs in is closed. If there is none, closes
    /// it, so that it does not wake the poller again and again.
    fn accept_by_spare(&mut self, id: PortalId, now: Instant) -> Option<(TcpStream, SocketAddr)> {
        let listener = self.listeners.get(&id)?;
        self.spare = None;
        let accepted = listener.socket.accept();
        self.with_spare(accepted, now)
    }

    /// Takes over what was accepted with the spare descriptor, and opens a new one.
    pub(super) fn with_spare<T>(&mut self, accepted: io::Result<T>, now: Instant) -> Option<T> {
        let is_rejected = is_rejected(&accepted);
        // Dropped if it is rejected, before the spare descriptor is opened.
        let accepted = accepted.ok().filter(|_| self.displace_login(now));
        self.spare = open_spare();
        if !is_rejected {
            self.pause_accepting(now);
        }
        accepted
    }

    /// Accepts nothing for a while: connections that wait can be neither accepted nor closed, and would wake the poller
    /// again and again.
    pub(super) fn pause_accepting(&mut self, now: Instant) {
        self.watch_listeners(false);
        self.paused_until = Some(now + ACCEPT_PAUSE);
    }

    /// Accepts again when the pause is over.
    pub(super) fn resume_accepting(&mut self, now: Instant) {
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
            self.spare = self.spare.take().or_else(open_spare);
            self.watch_listeners(true);
        }
    }

    fn watch_listeners(&self, read: bool) {
        self.watch_admin(read);
        for Listener { socket, key } in self.listeners.values() {
            let _ = self.poller.modify(*key, socket, interest(read, false));
        }
    }

    /// Closes a connection that logs in, for another one that finds no descriptor. `false`: none logs in.
    fn displace_login(&mut self, now: Instant) -> bool {
        let displaced = self.admission.displace();
        self.close_displaced(displaced, now);
        displaced.is_some()
    }
}

impl ControlLoop {
    /// Accepts some of the connections that wait at a portal. Without any target, and while the system is offline, they
    /// are closed at once, as in tgt.
    pub(super) fn accept_initiators(&mut self, id: PortalId, now: Instant) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = self.world.listeners.get(&id) else { return };
            match listener.socket.accept() {
                Ok((socket, peer)) => self.admit(socket, peer, now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // The peer disconnected while it waited, or a signal came.
                Err(error)
                    if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
                Err(error) => {
                    self.world.warn(now, format_args!("portal: {error}"));
                    let Some((socket, peer)) = self.world.accept_by_spare(id, now) else { return };
                    self.admit(socket, peer, now);
                }
            }
        }
    }

    fn admit(&mut self, socket: TcpStream, peer: SocketAddr, now: Instant) {
        let model = self.control.model();
        if model.is_empty() || model.state == State::Offline {
            log::debug!("{peer}: closed, there is nothing to log in to");
            return;
        }
        if let Err(error) = set_options(&socket).and_then(|()| self.world.begin_login(socket, peer, now)) {
            self.world.warn(now, format_args!("{peer}: {error}"));
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    // The kernel limits it to net.core.somaxconn.
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Sets the options that tgt sets: no delay, and keepalive to detect dead peers. Bounds the memory that the kernel holds for
/// a peer that does not read.
fn set_options(socket: &TcpStream) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    take_urgent_data(socket)?;
    SockRef::from(socket).set_tcp_notsent_lowat(UNSENT_LEN_MAX)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(1800))
        .with_interval(Duration::from_secs(300))
        .with_retries(6);
    SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn kernel_takes_little_for_a_peer_that_does_not_read() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let theirs = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        theirs.set_recv_buffer_size(4096).unwrap();
        theirs.connect(&listener.local_addr().unwrap().into()).unwrap();
        let (mut ours, _) = listener.accept().unwrap();
        set_options(&ours).unwrap();
        let block = vec![0; UNSENT_LEN_MAX as usize / 4];
        let taken: usize = std::iter::from_fn(|| ours.write(&block).ok()).sum();
        assert!(taken <= 4 * UNSENT_LEN_MAX as usize, "{taken}");
    }
}
