//! The state of a connection that logs in, or of a discovery session.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use bytes::{Buf, Bytes};

use crate::iscsi::discovery::{Discovery, DiscoveryEvent};
use crate::iscsi::login::{Answer, CloseReason, LoggedIn, Login, LoginEvent, Question};
use crate::runtime::poller::{Interest, Key};

/// A connection that is not attached to a loop yet.
pub(super) struct LoginEntry {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) socket: TcpStream,
    pub(super) key: Key,
    pub(super) phase: Phase,
    /// What the poller watches it for.
    pub(super) interest: Interest,
    /// It is in `World::requests`.
    pub(super) queued: bool,
    /// Bytes that the socket has not taken.
    pub(super) unsent: Bytes,
    /// Nothing follows the unsent bytes: when the connection is closed at the latest.
    pub(super) closing: Option<Instant>,
}

pub(super) enum Phase {
    Login(Box<Login>),
    Discovery(Box<Discovery>),
}

/// An event of either phase.
pub(super) enum Event {
    Ask(Question),
    ProofFailed,
    Attach(Box<LoggedIn>),
    Discovery(Box<Discovery>),
    Closed(CloseReason),
}

/// What happens to a connection after its events.
pub(super) enum Next {
    Keep,
    Close,
    Attach(Box<LoggedIn>),
}

impl LoginEntry {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.closing.or_else(|| self.phase.poll_timeout())
    }

    /// Sends as much as the socket takes. `false`: the connection is broken.
    pub(super) fn flush(&mut self) -> bool {
        loop {
            if self.unsent.is_empty() {
                match self.phase.poll_transmit() {
                    Some(bytes) => self.unsent = bytes,
                    None => return true,
                }
            }
            match self.socket.write(&self.unsent) {
                Ok(0) => return false,
                Ok(count) => self.unsent.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }
}

impl Phase {
    pub(super) fn receive(&mut self, bytes: &[u8], now: Instant) {
        match self {
            Self::Login(login) => login.receive(bytes, now),
            Self::Discovery(discovery) => discovery.receive(bytes, now),
        }
    }

    /// Whether to receive from the socket.
    pub(super) fn wants_bytes(&self) -> bool {
        match self {
            Self::Login(_) => true,
            Self::Discovery(discovery) => discovery.wants_bytes(),
        }
    }

    /// Whether a request waits for its turn. A login handles its few requests as they come.
    pub(super) fn has_request(&self) -> bool {
        matches!(self, Self::Discovery(discovery) if discovery.has_request())
    }

    pub(super) fn handle_request(&mut self) {
        if let Self::Discovery(discovery) = self {
            discovery.handle_request();
        }
    }

    /// The number of whole requests.
    pub(super) fn requests(&self) -> u64 {
        match self {
            Self::Login(login) => login.requests(),
            Self::Discovery(discovery) => discovery.requests(),
        }
    }

    pub(super) fn answer(&mut self, answer: Answer) {
        match self {
            Self::Login(login) => login.answer(answer),
            Self::Discovery(discovery) => discovery.answer(answer),
        }
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Bytes> {
        match self {
            Self::Login(login) => login.poll_transmit(),
            Self::Discovery(discovery) => discovery.poll_transmit(),
        }
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        Some(match self {
            Self::Login(login) => match login.poll_event()? {
                LoginEvent::Ask(question) => Event::Ask(question),
                LoginEvent::ProofFailed => Event::ProofFailed,
                LoginEvent::Attach(logged_in) => Event::Attach(logged_in),
                LoginEvent::Discovery(discovery) => Event::Discovery(discovery),
                LoginEvent::Closed(reason) => Event::Closed(reason),
            },
            Self::Discovery(discovery) => match discovery.poll_event()? {
                DiscoveryEvent::Ask(question) => Event::Ask(question),
                DiscoveryEvent::Closed(reason) => Event::Closed(reason),
            },
        })
    }

    /// The names of initiator and target, and the reason of a refusal; for the log.
    pub(super) fn described(&self) -> (String, &str) {
        match self {
            Self::Login(login) => (login.names().to_string(), login.why()),
            Self::Discovery(discovery) => (format!("{} in discovery: ", discovery.initiator_name()), ""),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Login(login) => login.poll_timeout(),
            Self::Discovery(discovery) => discovery.poll_timeout(),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Login(login) => login.handle_timeout(now),
            Self::Discovery(discovery) => discovery.handle_timeout(now),
        }
    }
}
