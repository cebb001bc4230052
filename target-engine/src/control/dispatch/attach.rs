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
use crate::control::report::stat::LoginCounts;
use crate::iscsi::login::LoggedIn;
use crate::model::Tid;
use crate::model::connections::{Full, Holder};
use crate::model::portal::PORTAL_GROUP_TAG;
use crate::model::sessions::{Connection, Session, SessionKey};
use crate::model::target::Target;
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

/// Why a connection gets no session.
#[derive(Debug, thiserror::Error)]
enum Objection {
    #[error("the target was deleted during the login")]
    TargetRemoved,
    #[error("session {sid} belongs to account {owner:?}, which is bound to the target; proven: {proven}")]
    Account { sid: u16, owner: String, proven: String },
    #[error("account {0:?} is bound to other initiator names at the target")]
    InitiatorName(String),
    #[error("{0}")]
    NoRoomForSession(Full),
    #[error("{0}")]
    NoRoomToJoin(Full),
    #[error("all session handles are in use")]
    NoHandle,
    #[error("TSIH: the initiator port has no such session")]
    NoSession,
    #[error("the session has MaxConnections connections")]
    MaxConnections,
}

impl Objection {
    /// The status of the refusal (RFC 7143 11.13.5).
    fn status(&self) -> LoginStatus {
        match self {
            Self::TargetRemoved => LoginStatus::TargetRemoved,
            Self::Account { .. } | Self::InitiatorName(_) => LoginStatus::AuthorizationFailure,
            Self::NoRoomForSession(_) | Self::NoHandle => LoginStatus::OutOfResources,
            Self::NoRoomToJoin(_) | Self::MaxConnections => LoginStatus::TooManyConnections,
            Self::NoSession => LoginStatus::SessionDoesNotExist,
        }
    }

    fn count(&self, counts: &mut LoginCounts) {
        let counter = match self {
            Self::Account { .. } | Self::InitiatorName(_) => &mut counts.refused_accounts,
            Self::NoRoomForSession(full) | Self::NoRoomToJoin(full) => match full.holder {
                Holder::Daemon => &mut counts.refused_in_all,
                Holder::Target => &mut counts.refused_per_target,
                Holder::Address => &mut counts.refused_per_address,
                Holder::Initiator => &mut counts.refused_per_initiator,
            },
            Self::NoHandle => &mut counts.refused_in_all,
            Self::TargetRemoved | Self::NoSession | Self::MaxConnections => return,
        };
        *counter += 1;
    }
}

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
            let removed = Objection::TargetRemoved;
            return Err(refused(&login, removed.status(), removed.to_string()));
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
        let Assignment { tsih, nexus, loop_index, mode } = assigned.map_err(|objection| {
            objection.count(&mut self.login_counts);
            refused(&login, objection.status(), objection.to_string())
        })?;
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
        let target = self.model.target(tid).map_err(|_| Objection::TargetRemoved)?;
        check_name(login, target)?;
        if let Some(session) = known {
            check_account(session, login, target)?;
        }
        let room = self.sessions.check(&self.model.connection_bounds, &key, connection.peer);
        if login.tsih.is_new() {
            let (loop_index, mode) = match known {
                Some(previous) => (previous.loop_index, AttachMode::Reinstate(previous.tsih)),
                None => {
                    room.map_err(Objection::NoRoomForSession)?;
                    (self.least_loaded(tid), AttachMode::New)
                }
            };
            let alias = login.initiator_alias.clone();
            let session = self.sessions.open(key, loop_index, alias, login.session, connection);
            let session = session.ok_or(Objection::NoHandle)?;
            session.user.clone_from(&login.chap_user);
            return Ok(Assignment { tsih: session.tsih, nexus: session.nexus, loop_index, mode });
        }
        let known = known.filter(|session| session.tsih == login.tsih);
        let session = known.ok_or(Objection::NoSession)?;
        if !accepts(session, login.cid) {
            return Err(Objection::MaxConnections);
        }
        if !has_connection(session, login.cid) {
            room.map_err(Objection::NoRoomToJoin)?;
        }
        let (tsih, nexus, loop_index) = (session.tsih, session.nexus, session.loop_index);
        self.sessions.join(tsih, connection);
        if let Some(session) = self.sessions.get_mut(tsih, Some(nexus)) {
            session.user.clone_from(&login.chap_user);
        }
        Ok(Assignment { tsih, nexus, loop_index, mode: AttachMode::Join })
    }

    fn forget_attach(&mut self, tsih: Tsih, mode: AttachMode, cid: Cid) {
        match (mode, self.sessions.get_mut(tsih, None)) {
            (AttachMode::Join, Some(_)) => self.sessions.join_failed(tsih, cid),
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
        self.sessions.joined(tsih, cid);
    }

    pub(super) fn connection_ended(&mut self, tsih: Tsih, cid: Cid) {
        self.sessions.connection_ended(tsih, cid);
    }

    pub(super) fn attach_failed(&mut self, tsih: Tsih, nexus: NexusId, cid: Cid) {
        let Some(session) = self.sessions.get_mut(tsih, Some(nexus)) else { return };
        if session.pending {
            self.sessions.end(tsih, nexus);
            self.sessions.find_again();
        } else {
            self.sessions.join_failed(tsih, cid);
        }
    }

    pub(super) fn session_ended(&mut self, tid: Tid, tsih: Tsih, nexus: NexusId, env: &mut Env<'_>) {
        if let Some(session) = self.sessions.end(tsih, nexus) {
            let initiator = session.key.initiator_name;
            env.out.note(format_args!("target {tid}: {initiator:?} is gone, session {}", tsih.0));
        }
    }
}

/// Whether a login with this CID replaces a connection of the session.
fn has_connection(session: &Session, cid: Cid) -> bool {
    session.connections.iter().any(|connection| connection.cid == cid)
}

/// Whether the account that a login has proven may be used under its initiator name.
fn check_name(login: &LoggedIn, target: &Target) -> Result<(), Objection> {
    let user = login.chap_user.as_ref();
    let refused = user.filter(|user| !target.accounts.admits(user, &login.initiator_name));
    refused.map_or(Ok(()), |user| Err(Objection::InitiatorName(user.clone())))
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
    Err(Objection::Account { sid: session.tsih.0, owner: owner.to_owned(), proven })
}

/// Whether a session accepts one more connection by the MaxConnections that its first login negotiated (RFC 7143 13.2), or
/// one that replaces another of the same CID (RFC 7143 6.3.4).
fn accepts(session: &Session, cid: Cid) -> bool {
    let others =
        session.connections.iter().chain(&session.joining).filter(|connection| connection.cid != cid);
    others.count() < usize::from(session.params.max_connections)
}

fn session_key(initiator_name: &str, isid: Isid, tid: Tid) -> SessionKey {
    SessionKey { initiator_name: initiator_name.to_owned(), isid, tid, portal_group: PORTAL_GROUP_TAG }
}

fn refused(login: &LoggedIn, status: LoginStatus, why: impl Into<Cow<'static, str>>) -> Refused {
    Refused { response: login.refusal(status), status, why: why.into() }
}
