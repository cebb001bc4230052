//! Admin connections: each sends one request and gets one reply.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use zeroize::Zeroizing;

use super::client::{Client, ClientState};
use super::net::{interest, is_temporary};
use super::peer;
use super::world::{ControlLoop, Source, World};
use crate::control::audit::Change;
use crate::control::pending::ClientId;
use crate::control::report::{self, Reply};
use crate::control::request::Request;
use crate::control::wire::{Form, RecordReader};
use crate::limits::{ACCEPTS_PER_TURN, CONTROL_CONNECTIONS_MAX, CONTROL_IDLE, CONTROL_REPLY, DRAIN_MAX};
use crate::runtime::poller::{Ready, take_urgent_data};

impl World {
    /// Accepts admin connections. Only processes of the daemon's own user and group are served, as in tgt.
    pub(super) fn accept_clients(&mut self, now: Instant) {
        for _ in 0..ACCEPTS_PER_TURN {
            let displaced = displaced(&self.clients);
            if self.clients.len() >= CONTROL_CONNECTIONS_MAX && displaced.is_none() {
                // The others wait in the backlog until a client is closed.
                return self.watch_admin(false);
            }
            let Some((listener, _)) = &self.admin else { return };
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    self.warn(now, format_args!("management socket: {error}"));
                    let Some(stream) = self.accept_client_by_spare(now) else { return };
                    stream
                }
            };
            self.add_client(stream, now);
            if let Some(id) = displaced.filter(|_| self.clients.len() > CONTROL_CONNECTIONS_MAX) {
                self.warn(now, format_args!("management socket: the oldest of too many clients is closed"));
                self.close_client(id);
            }
        }
    }

    /// Accepts a connection with the spare descriptor, see `with_spare`.
    fn accept_client_by_spare(&mut self, now: Instant) -> Option<UnixStream> {
        let (listener, _) = self.admin.as_ref()?;
        self.spare = None;
        let accepted = listener.accept().map(|(stream, _)| stream);
        self.with_spare(accepted, now)
    }

    fn add_client(&mut self, stream: UnixStream, now: Instant) {
        let peer = match peer::credentials(&stream) {
            Ok(peer) if peer::is_trusted(&peer) => peer,
            Ok(peer) => return self.warn(now, format_args!("management socket: permission error: {peer}")),
            Err(error) => return self.warn(now, format_args!("management socket: {error}")),
        };
        self.last_client += 1;
        let id = ClientId(self.last_client);
        let registered = stream
            .set_nonblocking(true)
            .and_then(|()| take_urgent_data(&stream))
            .and_then(|()| self.poller.register(&stream, Source::Client(id), interest(true, false)));
        match registered {
            Ok(key) => {
                let state = ClientState::Reading(RecordReader::default());
                let (form, deadline) = (Form::Text, now + CONTROL_IDLE);
                self.clients.insert(id, Client { stream, peer, key, state, change: None, form, deadline });
            }
            Err(error) => self.warn(now, format_args!("management socket: {error}")),
        }
    }

    pub(super) fn watch_admin(&self, read: bool) {
        if let Some((listener, key)) = &self.admin {
            let _ = self.poller.modify(*key, listener, interest(read, false));
        }
    }

    /// Begins to send a reply, if the client is still connected.
    pub(super) fn send_reply(&mut self, id: ClientId, reply: &Reply) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if let Some(change) = client.change.take() {
            log::info!("{}", change.line(Some(reply)));
        }
        client.state = ClientState::Replying(report::encode(client.form, reply), 0);
        client.deadline = Instant::now() + CONTROL_IDLE;
        self.push_reply(id);
    }

    /// Sends as much as the socket takes, and closes the connection after the last byte.
    fn push_reply(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let ClientState::Replying(bytes, sent) = &mut client.state else { return };
        while let Some(rest) = bytes.get(*sent..).filter(|rest| !rest.is_empty()) {
            match client.stream.write(rest) {
                Ok(count) if count > 0 => *sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let _ = self.poller.modify(client.key, &client.stream, interest(false, true));
                    return;
                }
                _ => break,
            }
        }
        self.close_client(id);
    }

    fn close_client(&mut self, id: ClientId) {
        if let Some(client) = self.clients.remove(&id) {
            if let Some(change) = client.change {
                log::info!("{}", change.line(None));
            }
            self.poller.deregister(client.key, &client.stream);
            self.watch_admin(true);
        }
    }
}

/// The client to close for a new one: the oldest without a whole request, or else the oldest that does not take its reply.
fn displaced(clients: &BTreeMap<ClientId, Client>) -> Option<ClientId> {
    let oldest = |is: fn(&ClientState) -> bool| clients.iter().find(|(_, client)| is(&client.state));
    let reading = oldest(|state| matches!(state, ClientState::Reading(_)));
    let found = reading.or_else(|| oldest(|state| matches!(state, ClientState::Replying(..))))?;
    Some(*found.0)
}

impl ControlLoop {
    pub(super) fn client_event(&mut self, id: ClientId, event: &Ready<Source>, now: Instant) {
        let Some(client) = self.world.clients.get_mut(&id) else { return };
        match &mut client.state {
            ClientState::Replying(..) => self.world.push_reply(id),
            ClientState::Waiting if event.broken => {
                self.control.client_ended(id);
                self.world.close_client(id);
            }
            ClientState::Waiting => {}
            ClientState::Reading(reader) => {
                let mut bytes = Zeroizing::new([0; 4096]);
                let record = match client.stream.read(&mut bytes[..]) {
                    Ok(0) => return self.world.close_client(id),
                    Ok(count) => reader.receive(&bytes[..count]),
                    Err(error) if is_temporary(&error) => return,
                    Err(_) => return self.world.close_client(id),
                };
                match record {
                    Ok(None) => {}
                    Ok(Some(record)) => {
                        client.state = ClientState::Waiting;
                        client.form = Form::of(&record.header.lld).0;
                        client.change = Change::of(&record, || peer::named(&client.peer));
                        client.deadline = now + DRAIN_MAX + CONTROL_REPLY + CONTROL_IDLE;
                        let _ = self.world.poller.modify(client.key, &client.stream, interest(false, false));
                        let admitted = self.control.admit(&record.header);
                        let reply = match admitted.and_then(|()| Request::parse(&record)) {
                            Ok(request) => self.control.request(id, request, now, &mut self.world),
                            Err(error) => Some(Err(error)),
                        };
                        if let Some(reply) = reply {
                            self.world.send_reply(id, &reply);
                        }
                    }
                    Err(error) => {
                        self.world.warn(now, format_args!("management socket: {error}"));
                        self.world.close_client(id);
                    }
                }
            }
        }
    }

    /// Closes the clients that neither send nor receive.
    pub(super) fn client_timeouts(&mut self, now: Instant) {
        let late = |(id, client): (&ClientId, &Client)| (client.deadline <= now).then_some(*id);
        for id in self.world.clients.iter().filter_map(late).collect::<Vec<_>>() {
            self.control.client_ended(id);
            self.world.close_client(id);
        }
    }
}
