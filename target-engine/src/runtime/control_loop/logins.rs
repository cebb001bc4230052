//! Connections of initiators until they have logged in, and discovery sessions to their end.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Instant;

use bytes::Bytes;
use iscsi_proto::login::StatusClass;
use log::Level;
use socket2::SockRef;

use super::login_entry::{Event, LoginEntry, Next, Phase};
use super::net::{interest, is_temporary, network};
use super::world::{ControlLoop, Source, World};
use crate::control::messages::{Addresses, Attach, LoginId};
use crate::iscsi::login::{CloseReason, LoggedIn, Login, LoginConfig};
use crate::limits::{DISCOVERY_REQUESTS_PER_TURN, DISCOVERY_SEND_BUFFER_LEN, UNSENT_FREE_CONNECTIONS};
use crate::runtime::mailbox::Mailbox;
use crate::runtime::message::LoopMessage;
use crate::runtime::poller::{Interest, Ready};

impl World {
    pub(super) fn begin_login(
        &mut self,
        socket: TcpStream,
        peer: SocketAddr,
        now: Instant,
    ) -> io::Result<()> {
        let local = socket.local_addr()?;
        self.last_login += 1;
        let id = LoginId(self.last_login);
        let interest = Interest::Read;
        let key = self.poller.register(&socket, Source::Login(id), interest)?;
        let phase = Phase::Login(Box::new(Login::new(LoginConfig::default(), now)));
        let (unsent, closing) = (Bytes::new(), None);
        let entry = LoginEntry { peer, local, socket, key, phase, interest, queued: false, unsent, closing };
        self.logins.insert(id, entry);
        let displaced = self.admission.accepted(id, network(peer.ip()), now);
        self.close_displaced(displaced, now);
        Ok(())
    }

    /// Closes a connection in favour of another one.
    pub(super) fn close_displaced(&mut self, displaced: Option<LoginId>, now: Instant) {
        let Some((id, entry)) = displaced.and_then(|id| Some((id, self.logins.get(&id)?))) else { return };
        let (peer, (names, _)) = (entry.peer, entry.phase.described());
        self.warn(now, format_args!("{peer}: {names}closed without a request, too many connections"));
        self.close_login(id);
    }

    /// Logs the end of a connection: a fault of the peer as a warning, else as a debug message.
    fn log_end(&mut self, entry: &LoginEntry, reason: CloseReason, now: Instant) {
        let level = match reason {
            CloseReason::Refused(status) if status.class() == StatusClass::Redirection => Level::Debug,
            CloseReason::TimedOut | CloseReason::LoggedOut => Level::Debug,
            _ => Level::Warn,
        };
        let (names, why) = entry.phase.described();
        let (before, after) = if why.is_empty() { ("", "") } else { (" (", ")") };
        let peer = entry.peer;
        let text = format_args!("{peer}: {names}{reason}{before}{why}{after}");
        match level {
            Level::Debug => log::debug!("{text}"),
            _ => self.warn(now, text),
        }
    }

    /// Sends a connection that has logged in to its loop.
    pub(super) fn send_socket(
        &mut self,
        mailbox: &Mailbox<LoopMessage>,
        id: LoginId,
        attach: Box<Attach>,
    ) -> Result<(), Box<Attach>> {
        let Some(entry) = self.logins.remove(&id) else { return Err(attach) };
        let LoginEntry { socket, .. } = entry;
        match mailbox.send(LoopMessage::Attach(attach, socket)) {
            Err(LoopMessage::Attach(attach, socket)) => {
                self.logins.insert(id, LoginEntry { socket, ..entry });
                Err(attach)
            }
            _ => {
                self.admission.ended(id);
                Ok(())
            }
        }
    }

    pub(super) fn close_login(&mut self, id: LoginId) {
        if let Some(entry) = self.logins.remove(&id) {
            self.poller.deregister(entry.key, &entry.socket);
        }
        self.admission.ended(id);
    }
}

impl ControlLoop {
    pub(super) fn login_event(&mut self, id: LoginId, event: &Ready<Source>, now: Instant) {
        let Some(entry) = self.world.logins.get_mut(&id) else { return };
        if event.readable && entry.closing.is_none() && entry.phase.wants_bytes() {
            let mut bytes = [0; 16 * 1024];
            match entry.socket.read(&mut bytes) {
                Ok(0) => return self.world.close_login(id),
                Ok(count) => {
                    let before = entry.phase.requests();
                    entry.phase.receive(&bytes[..count], now);
                    if entry.phase.requests() != before {
                        self.world.admission.spoke(id, now);
                    }
                }
                Err(error) if is_temporary(&error) => {}
                Err(_) => return self.world.close_login(id),
            }
        } else if event.broken {
            return self.world.close_login(id);
        }
        self.drive(id, now);
    }

    /// Handles requests of discovery sessions, which wait for their turn: one of each, and few in all, after whatever else
    /// has happened.
    pub(super) fn discovery_requests(&mut self, now: Instant) {
        for _ in 0..self.world.requests.len().min(DISCOVERY_REQUESTS_PER_TURN) {
            let Some(id) = self.world.requests.pop_front() else { return };
            let Some(entry) = self.world.logins.get_mut(&id) else { continue };
            entry.queued = false;
            entry.phase.handle_request();
            self.world.admission.spoke(id, now);
            self.drive(id, now);
        }
    }

    pub(super) fn login_timeouts(&mut self, now: Instant) {
        let late = |(id, entry): (&LoginId, &LoginEntry)| {
            entry.deadline().is_some_and(|deadline| deadline <= now).then_some(*id)
        };
        for id in self.world.logins.iter().filter_map(late).collect::<Vec<_>>() {
            let Some(entry) = self.world.logins.get_mut(&id) else { continue };
            if entry.closing.is_some() {
                self.world.close_login(id);
            } else {
                entry.phase.handle_timeout(now);
                self.drive(id, now);
            }
        }
    }

    /// Hands the late answers to their logins.
    pub(super) fn late_answers(&mut self, now: Instant) {
        for (id, answer) in std::mem::take(&mut self.world.answers) {
            if let Some(entry) = self.world.logins.get_mut(&id) {
                entry.phase.answer(answer);
                self.drive(id, now);
            }
        }
    }

    /// Handles all events of a connection.
    fn drive(&mut self, id: LoginId, now: Instant) {
        let Some(mut entry) = self.world.logins.remove(&id) else { return };
        match self.handle_events(id, &mut entry, now) {
            Next::Keep => {
                let reads = entry.closing.is_none() && entry.phase.wants_bytes();
                let wanted = interest(reads, !entry.unsent.is_empty());
                let previous = std::mem::replace(&mut entry.interest, wanted);
                let watched =
                    wanted == previous || self.world.poller.modify(entry.key, &entry.socket, wanted).is_ok();
                if entry.phase.has_request() && !std::mem::replace(&mut entry.queued, true) {
                    self.world.requests.push_back(id);
                }
                self.world.logins.insert(id, entry);
                if !watched {
                    self.world.close_login(id);
                }
            }
            Next::Close => {
                self.world.admission.ended(id);
                self.world.poller.deregister(entry.key, &entry.socket);
                // Shut down first, so that no reset overtakes the final response.
                let _ = entry.socket.shutdown(Shutdown::Write);
            }
            Next::Attach(logged_in) => {
                self.world.poller.deregister(entry.key, &entry.socket);
                self.hand_over(id, entry, logged_in, now);
            }
        }
    }

    fn handle_events(&mut self, id: LoginId, entry: &mut LoginEntry, now: Instant) -> Next {
        loop {
            let intact = entry.flush();
            if !intact || (entry.closing.is_some() && entry.unsent.is_empty()) {
                return Next::Close;
            }
            match entry.phase.poll_event() {
                None => return Next::Keep,
                Some(Event::Ask(question)) => {
                    let addresses = Addresses { peer: entry.peer, local: entry.local };
                    if let Some(answer) = self.control.question(id, question, addresses, now, &mut self.world)
                    {
                        entry.phase.answer(answer);
                    }
                }
                Some(Event::ProofFailed) => self.control.proof_failed(entry.peer.ip()),
                Some(Event::Discovery(discovery)) => {
                    entry.phase = Phase::Discovery(discovery);
                    // A failure leaves the larger buffer that the kernel chooses.
                    let _ = SockRef::from(&entry.socket).set_send_buffer_size(DISCOVERY_SEND_BUFFER_LEN);
                    let displaced = self.world.admission.discovers(id, now);
                    self.world.close_displaced(displaced, now);
                }
                // The initiator has finished the login without reading our responses: it is broken.
                Some(Event::Attach(_)) if !entry.unsent.is_empty() => return Next::Close,
                Some(Event::Attach(logged_in)) => return Next::Attach(logged_in),
                Some(Event::Closed(reason)) => {
                    self.world.log_end(entry, reason, now);
                    entry.closing = Some(now + crate::limits::DRAIN_TIMEOUT);
                }
            }
        }
    }

    /// Gives the connection to its loop, or refuses the login. The entry, which no poller watches any more, holds the
    /// socket meanwhile.
    fn hand_over(&mut self, id: LoginId, entry: LoginEntry, logged_in: Box<LoggedIn>, now: Instant) {
        let (peer, local) = (entry.peer, entry.local);
        let addresses = Addresses { peer, local };
        if self.control.sessions().connections() < UNSENT_FREE_CONNECTIONS {
            // 0 is the kernel's default. A failure leaves the bound.
            let _ = SockRef::from(&entry.socket).set_tcp_notsent_lowat(0);
        }
        self.world.logins.insert(id, entry);
        let names = logged_in.names();
        if let Err(refused) = self.control.attach(id, logged_in, addresses, &mut self.world) {
            let (reason, why) = (CloseReason::Refused(refused.status), refused.why);
            self.world.warn(now, format_args!("{peer}: {names}{reason} ({why})"));
            self.world.admission.ended(id);
            let Some(LoginEntry { mut socket, .. }) = self.world.logins.remove(&id) else { return };
            // The buffer of a new connection takes one PDU; if not, the peer sees the connection close.
            let _ = socket.write(&refused.response);
            let _ = socket.shutdown(Shutdown::Write);
        }
    }
}
