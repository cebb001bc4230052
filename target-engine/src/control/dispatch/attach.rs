//! Connections that have logged in: which session and loop they go to, and what the loops report of them.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use iscsi_proto::ids::{Cid, Isid, Tsih};
use iscsi_proto::login::LoginStatus;
use scsi_core::device::NexusId;

use super::outside::Outside;
use super::state::{Control, Env};
use crate::control::messages::{Addresses, Attach, AttachMode, LoginId};
use crate::iscsi::login::LoggedIn;
use crate::model::Tid;
use crate::model::portal::PORTAL_GROUP_TAG;
use crate::model::sessions::{Connection, Session, SessionKey};
use crate::stats::ConnectionStats;

/// A connection that cannot be attached. The caller sends the response and closes the connection.
#[derive(Debug)]
pub struct Refused {
    /// The final Login Response.
    pub response: Bytes,
    /// The status in it.
    pub status: LoginStatus,
    /// The reason for the log.
    pub why: Cow<'static, str>,
}

/// The status and the reason of a refusal.
type Objection = (LoginStatus, Cow<'static, str>);

/// The session of a new connection.
struct Assignment {
    tsih: Tsih,
    nexus: NexusId,
    loop_index: usize,
    mode: AttachMode,
}

impl Control {
    /// Hands a connection that has logged in to its loop, by [`Outside::attach`].
    ///
    /// # Errors
    /// Its target or session has ended, or the loop or session has no capacity; the login keeps its socket.
    pub fn attach(
        &mut self,
        id: LoginId,
        login: Box<LoggedIn>,
        addresses: Addresses,
        out: &mut dyn Outside,
    ) -> Result<(), Refused> {
        let Some(target) = self.model.find_target(login.target_name.as_str()) else {
            let why = "the target was deleted during the login";
            return Err(refused(&login, LoginStatus::TargetRemoved, why));
        };
        let connection_stats = Arc::new(ConnectionStats::after_login(login.received, login.sent));
        let connection = Connection {
            cid: login.cid,
            peer: addresses.peer.ip().to_canonical(),
            params: login.connection,
            stats: Arc::clone(&connection_stats),
        };
        let tid = target.tid;
        let assigned = self.assign(tid, &login, connection);
        let Assignment { tsih, nexus, loop_index, mode } =
            assigned.map_err(|(status, why)| refused(&login, status, why))?;
        let session_stats =
            self.sessions.get(tsih).map(|session| Arc::clone(&session.stats)).unwrap_or_default();
        let Addresses { peer, local } = addresses;
        let attach = Attach { tid, peer, local, login, tsih, nexus, mode, session_stats, connection_stats };
        let sent = match self.services.loops_of(tid).get(loop_index) {
            Some(to) => out.attach(*to, id, Box::new(attach)),
            None => Err(Box::new(attach)),
        };
        let Err(returned) = sent else { return Ok(()) };
        self.forget_attach(tsih, mode, returned.login.cid);
        let why = "the target's loop takes no more connections";
        Err(refused(&returned.login, LoginStatus::OutOfResources, why))
    }

    /// Enters the connection into its session, or into a new one.
    fn assign(
        &mut self,
        tid: Tid,
        login: &LoggedIn,
        connection: Connection,
    ) -> Result<Assignment, Objection> {
        let key = session_key(login.initiator_name.normalized(), login.isid, tid);
        let known = self.sessions.find(&key);
        let target =
            self.model.target(tid).map_err(|error| (LoginStatus::TargetRemoved, error.to_string().into()))?;
        if let Some(session) = known {
            check_account(session, login, target)?;
        }
        if login.tsih.is_new() {
            let (loop_index, mode) = match known {
                Some(previous) => (previous.loop_index, AttachMode::Reinstate(previous.tsih)),
                None => (self.least_loaded(tid), AttachMode::New),
            };
            let alias = login.initiator_alias.clone();
            let session = self.sessions.open(key, loop_index, alias, login.session, connection);
            let session =
                session.ok_or((LoginStatus::OutOfResources, "all session handles are in use".into()))?;
            session.user.clone_from(&login.chap_user);
            return Ok(Assignment { tsih: session.tsih, nexus: session.nexus, loop_index, mode });
        }
        let known = known.filter(|session| session.tsih == login.tsih);
        let session = known.ok_or((LoginStatus::SessionDoesNotExist, NO_SESSION.into()))?;
        // Others may have joined during the login.
        if !accepts(session, login.cid) {
            return Err((LoginStatus::TooManyConnections, TOO_MANY_CONNECTIONS.into()));
        }
        let (tsih, nexus, loop_index) = (session.tsih, session.nexus, session.loop_index);
        if let Some(session) = self.sessions.get_mut(tsih, Some(nexus)) {
            session.joining.push(connection);
            session.user.clone_from(&login.chap_user);
        }
        Ok(Assignment { tsih, nexus, loop_index, mode: AttachMode::Join })
    }

    fn forget_attach(&mut self, tsih: Tsih, mode: AttachMode, cid: Cid) {
        match (mode, self.sessions.get_mut(tsih, None)) {
            (AttachMode::Join, Some(session)) => {
                session.joining.retain(|connection| connection.cid != cid);
            }
            (_, Some(session)) => {
                let nexus = session.nexus;
                self.sessions.end(tsih, nexus);
            }
            (_, None) => {}
        }
        // A session that was to be reinstated is found by its key again.
        self.sessions.find_again();
    }

    pub(super) fn session_started(&mut self, tid: Tid, tsih: Tsih, nexus: NexusId, env: &mut Env<'_>) {
        let Some(session) = self.sessions.get_mut(tsih, Some(nexus)) else { return };
        session.pending = false;
        let initiator = session.key.initiator_name.as_str();
        let connection = session.connections.iter().chain(&session.joining).next();
        let from = connection.map_or(String::new(), |connection| format!(" from {}", connection.peer));
        let user = session.user.as_ref().map_or(String::new(), |user| format!(" as {user:?}"));
        let number = tsih.0;
        env.out.note(format_args!("target {tid}: {initiator:?} logged in{from}{user}, session {number}"));
    }

    pub(super) fn connection_joined(&mut self, tsih: Tsih, cid: Cid) {
        if let Some(session) = self.sessions.get_mut(tsih, None) {
            session.joined(cid);
        }
    }

    pub(super) fn connection_ended(&mut self, tsih: Tsih, cid: Cid) {
        if let Some(session) = self.sessions.get_mut(tsih, None) {
            session.connections.retain(|connection| connection.cid != cid);
        }
    }

    pub(super) fn attach_failed(&mut self, tsih: Tsih, nexus: NexusId, cid: Cid) {
        let Some(session) = self.sessions.get_mut(tsih, Some(nexus)) else { return };
        if session.pending {
            self.sessions.end(tsih, nexus);
            self.sessions.find_again();
        } else if let Some(index) = session.joining.iter().position(|joining| joining.cid == cid) {
            session.joining.remove(index);
        }
    }

    pub(super) fn session_ended(&mut self, tid: Tid, tsih: Tsih, nexus: NexusId, env: &mut Env<'_>) {
        if let Some(session) = self.sessions.end(tsih, nexus) {
            let initiator = session.key.initiator_name;
            env.out.note(format_args!("target {tid}: {initiator:?} is gone, session {}", tsih.0));
        }
    }
}

/// Whether the account that a login has proven may join or reinstate a session. CHAP proves an account, not the
/// initiator's name: while the account that made the session is bound to the target, the login needs the same one.
///
/// Accounts are compared by name, which is unique. An account that was deleted and made again is the same one once it is
/// bound again.
fn check_account(session: &Session, login: &LoggedIn, target: &Target) -> Result<(), Objection> {
    let owner = session.user.as_deref().filter(|user| target.accounts.has_incoming(user));
    let Some(owner) = owner.filter(|owner| login.chap_user.as_deref() != Some(owner)) else { return Ok(()) };
    let proven = login.chap_user.as_ref().map_or("none".to_owned(), |user| format!("{user:?}"));
    let sid = session.tsih.0;
    let why =
        format!("session {sid} belongs to account {owner:?}, which is bound to the target; proven: {proven}");
    Err((LoginStatus::AuthorizationFailure, why.into()))
}

/// Whether a session accepts one more connection by the MaxConnections that its first login negotiated (RFC 7143 13.2), or
/// one that replaces another of the same CID (RFC 7143 6.3.4).
pub(super) fn accepts(session: &Session, cid: Cid) -> bool {
    let others =
        session.connections.iter().chain(&session.joining).filter(|connection| connection.cid != cid);
    others.count() < usize::from(session.params.max_connections)
}

pub(super) fn session_key(initiator_name: &str, isid: Isid, tid: Tid) -> SessionKey {
    SessionKey { initiator_name: initiator_name.to_owned(), isid, tid, portal_group: PORTAL_GROUP_TAG }
}

fn refused(login: &LoggedIn, status: LoginStatus, why: impl Into<Cow<'static, str>>) -> Refused {
    Refused { response: login.refusal(status), status, why: why.into() }
}

pub(super) const NO_SESSION: &str = "TSIH: the initiator port has no such session";
pub(super) const TOO_MANY_CONNECTIONS: &str = "the session has MaxConnections connections";
