//! Logins and discovery sessions, and how a login becomes a session, as in the daemon's control thread.

use std::net::SocketAddr;
use std::sync::Arc;

use iscsi_proto::ids::Tsih;
use iscsi_proto::login::LoginStatus;
use scsi_core::device::{Nexus, NexusId};
use target_engine::iscsi::connection::NewConnection;
use target_engine::iscsi::discovery::DiscoveryEvent;
use target_engine::iscsi::login::{
    Answer, LoggedIn, LoginEvent, Question, Refusal, TargetAddress, TargetAnswer, TargetRecord,
};
use target_engine::iscsi::text_exchange::{TextExchange, TextSession};
use target_engine::keys::ConnectionIndex;
use target_engine::model::Tid;
use target_engine::model::sessions::{Connection as Entry, SessionKey};
use target_engine::shard::session::Session;
use target_engine::stats::{ConnectionStats, SessionStats};

use super::{Phase, Side};
use crate::setup::TARGET;

impl Side {
    pub(super) fn drive_login(&mut self, wire: usize) {
        loop {
            let entry = &mut self.wires[wire];
            let Phase::Login(login) = &mut entry.phase else { return };
            while let Some(bytes) = login.poll_transmit() {
                entry.to_initiator.extend_from_slice(&bytes);
            }
            match login.poll_event() {
                None => return,
                Some(LoginEvent::Ask(question)) => {
                    let answer = self.answer(&question);
                    if let Phase::Login(login) = &mut self.wires[wire].phase {
                        login.answer(answer);
                    }
                }
                Some(LoginEvent::Attach(logged_in)) => return self.attach(wire, &logged_in),
                Some(LoginEvent::Discovery(discovery)) => {
                    entry.phase = Phase::Discovery(discovery);
                    return self.drive_discovery(wire);
                }
                Some(LoginEvent::Closed(_)) => entry.phase = Phase::Closed,
            }
        }
    }

    pub(super) fn drive_discovery(&mut self, wire: usize) {
        loop {
            let entry = &mut self.wires[wire];
            let Phase::Discovery(discovery) = &mut entry.phase else { return };
            while let Some(bytes) = discovery.poll_transmit() {
                entry.to_initiator.extend_from_slice(&bytes);
            }
            match discovery.poll_event() {
                None => return,
                Some(DiscoveryEvent::Ask(question)) => {
                    let answer = self.answer(&question);
                    if let Phase::Discovery(discovery) = &mut self.wires[wire].phase {
                        discovery.answer(answer);
                    }
                }
                Some(DiscoveryEvent::Closed(_)) => entry.phase = Phase::Closed,
            }
        }
    }

    fn answer(&self, question: &Question) -> Answer {
        match question {
            Question::Target(asked) => {
                let discovery = asked.target_name.is_none();
                let known = asked.target_name.as_ref().is_some_and(|name| name.as_str() == TARGET);
                if let Some(refusal) = (self.setup.refuse)(asked) {
                    return Answer::Refuse(refusal);
                }
                if !discovery && !known {
                    return Answer::Refuse(Refusal::because(
                        LoginStatus::NotFound,
                        "there is no such target",
                    ));
                }
                Answer::Target(Box::new(TargetAnswer {
                    keys: self.setup.keys,
                    auth: self.setup.auth.clone(),
                    portal_group_tag: 1,
                }))
            }
            Question::SendTargets(asked) => {
                let name = iscsi_proto::name::IscsiName::parse(TARGET).expect("a good name");
                let own = TargetRecord {
                    name: name.clone(),
                    addresses: vec![TargetAddress { portal: local(), group: 1 }],
                };
                Answer::Targets(if asked.scope.includes(&name) { vec![own] } else { Vec::new() })
            }
        }
    }

    /// Attaches a connection that has logged in to the shard, or refuses it.
    fn attach(&mut self, wire: usize, login: &LoggedIn) {
        let key = SessionKey {
            initiator_name: login.initiator_name.to_string(),
            isid: login.isid,
            tid: Tid::new(1).expect("above 0"),
            portal_group: login.portal_group_tag,
        };
        let stats = Arc::new(ConnectionStats::after_login(login.received, login.sent));
        let entry = Entry { cid: login.cid, peer: peer().ip(), params: login.connection, stats };
        let opened =
            if login.tsih.is_new() { self.begin(key, entry, login) } else { self.join(&key, entry, login) };
        let (index, tsih) = match opened {
            Ok(opened) => opened,
            Err(status) => {
                self.wires[wire].to_initiator.extend_from_slice(&login.refusal(status));
                self.wires[wire].phase = Phase::Closed;
                return;
            }
        };
        self.wires[wire].phase = Phase::Full(index);
        if let Some(window) = self.shard.window_of(index)
            && let Some(connection) = self.shard.connection(index)
        {
            connection.send_raw(&login.final_response(tsih, window.max));
        }
        self.flush(wire);
        self.with_env(|shard, env| shard.receive(index, &login.unread, env));
        self.after();
    }

    fn begin(
        &mut self,
        key: SessionKey,
        entry: Entry,
        login: &LoggedIn,
    ) -> Result<(ConnectionIndex, Tsih), LoginStatus> {
        let former = self.directory.find(&key).map(|session| session.tsih);
        let connection = connection(login, &entry);
        let session =
            self.directory.open(key, 0, None, login.session, entry).ok_or(LoginStatus::OutOfResources)?;
        let (tsih, nexus, stats) = (session.tsih, session.nexus, Arc::clone(&session.stats));
        if let Some(former) = former {
            self.with_env(|shard, env| shard.close_session(former, env));
        }
        self.negotiated.insert(tsih.0, login.session);
        let session = self.session(tsih, nexus, login, stats);
        let index = self.shard.open(session, connection, self.clock.now());
        Ok((index, tsih))
    }

    fn join(
        &mut self,
        key: &SessionKey,
        entry: Entry,
        login: &LoggedIn,
    ) -> Result<(ConnectionIndex, Tsih), LoginStatus> {
        let session = self.directory.get_mut(login.tsih, None).filter(|session| session.key == *key);
        let session = session.ok_or(LoginStatus::SessionDoesNotExist)?;
        let most = self.negotiated.get(&login.tsih.0).map_or(1, |session| session.max_connections);
        let others = session.connections.iter().filter(|other| other.cid != entry.cid).count();
        if others >= usize::from(most) {
            return Err(LoginStatus::TooManyConnections);
        }
        let connection = connection(login, &entry);
        let index = self.with_env(|shard, env| shard.join(login.tsih, connection, env));
        let index = index.ok_or(LoginStatus::SessionDoesNotExist)?;
        // The connection that it replaces ends first.
        self.after();
        if let Some(session) = self.directory.get_mut(login.tsih, None) {
            session.connections.push(entry);
        }
        Ok((index, login.tsih))
    }

    fn session(&self, tsih: Tsih, nexus: NexusId, login: &LoggedIn, stats: Arc<SessionStats>) -> Session {
        let initiator_port: Arc<str> = login.initiator_port().into();
        let nexus = Nexus { id: nexus, initiator_port, target_port: login.portal_group_tag };
        let depth = self.shard.settings().max_queue_cmd;
        Session::new(tsih, nexus, &login.session, login.next_cmd_sn, depth, stats)
    }
}

fn connection<'a>(login: &'a LoggedIn, entry: &Entry) -> NewConnection<'a> {
    NewConnection {
        cid: login.cid,
        peer: peer(),
        local: local(),
        params: &login.connection,
        target_name: login.target_name.clone(),
        text: TextExchange::new(
            TextSession::Normal(login.target_name.clone()),
            login.session,
            login.connection,
        ),
        next_stat_sn: login.next_stat_sn,
        stats: Arc::clone(&entry.stats),
    }
}

fn local() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 3260))
}

fn peer() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 2], 50_000))
}
