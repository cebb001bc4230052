//! Portals: listening sockets, and which connections they accept.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::net::{interest, is_rejected, network};
use super::world::{ControlLoop, Listener, Source, World, open_spare};
use crate::limits::{ACCEPT_PAUSE, ACCEPTS_PER_TURN, LOGINS_MAX, LOGINS_PER_ADDRESS_MAX};
use crate::model::PortalId;
use crate::model::state::State;
use crate::runtime::poller::Interest;

impl World {
    pub(super) fn open_portal(&mut self, id: PortalId, address: SocketAddr) -> io::Result<SocketAddr> {
        let socket = listen(address)?;
        let taken = socket.local_addr()?;
        let key = self.poller.register(&socket, Source::Portal(id), Interest::Read)?;
        self.listeners.insert(id, Listener { socket, key });
        Ok(taken)
    }

    /// Accepts a connection with the spare descriptor and closes it, so that it does not wake the poller again and again.
    fn reject(&mut self, id: PortalId, now: Instant) {
        let Some(listener) = self.listeners.get(&id) else { return };
        self.spare = None;
        let is_rejected = is_rejected(&listener.socket.accept());
        self.spare = open_spare();
        if !is_rejected {
            self.pause_accepting(now);
        }
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

    /// Connections of sessions are bounded when they have logged in: one may replace another.
    fn has_capacity_for(&self, peer: IpAddr) -> bool {
        let from_there =
            || self.logins.values().filter(|login| network(login.peer.ip()) == network(peer)).count();
        self.logins.len() < LOGINS_MAX && from_there() < LOGINS_PER_ADDRESS_MAX
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
                    return self.world.reject(id, now);
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
        if !self.world.has_capacity_for(peer.ip()) {
            return self.world.warn(now, format_args!("{peer}: closed, too many connections"));
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

/// Sets the options that tgt sets: no delay, and keepalive to detect dead peers.
fn set_options(socket: &TcpStream) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(1800))
        .with_interval(Duration::from_secs(300))
        .with_retries(6);
    SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one_peer() {
        let of = |address: &str| network(address.parse().unwrap());
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::2"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
    }
}
