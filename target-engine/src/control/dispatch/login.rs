//! Logins against the configuration: who may come in, on what terms, and to which loop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use iscsi_proto::chap::{Challenger, Secret};
use iscsi_proto::ids::{Cid, Isid, Tsih};
use iscsi_proto::login::LoginStatus;
use iscsi_proto::name::IscsiName;
use iscsi_proto::params::{SessionParams, SessionType};
use iscsi_proto::text::negotiate::Preferences;

use super::redirect::fixed_redirect;
use super::{Control, Outside};
use crate::control::messages::{Attach, AttachMode, ToControl};
use crate::iscsi::login::{
    Answer, AuthRequirement, ChapAccount, ChapTerms, LoggedIn, Question, Refusal, SendTargetsQuestion,
    TargetAddress, TargetAnswer, TargetQuestion, TargetRecord, challenge_from_os, challenger_from_os,
};
use crate::limits::SEGMENT_LEN_MAX;
use crate::model::Tid;
use crate::model::parameters::{Key, Parameters};
use crate::model::portal::PORTAL_GROUP_TAG;
use crate::model::sessions::{Connection, Session, SessionKey};
use crate::model::state::State;
use crate::model::target::Target;
use crate::stats::ConnectionStats;

/// Names a connection that is logging in; never used twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LoginId(pub u64);

/// A connection that cannot be attached. The caller sends the response and closes the connection.
#[derive(Debug)]
pub struct Refused {
    /// The final Login Response.
    pub response: Bytes,
    /// The status in it.
    pub status: LoginStatus,
    /// The reason for the log.
    pub why: &'static str,
}

impl Control {
    /// Answers a login's or discovery session's question. `None`: the answer comes by [`Outside::answer_login`].
    pub fn question(
        &mut self,
        login: LoginId,
        question: Question,
        (peer, local): (SocketAddr, SocketAddr),
        now: Instant,
        out: &mut dyn Outside,
    ) -> Option<Answer> {
        match question {
            Question::SendTargets(question) => Some(Answer::Targets(self.records(&question, peer, local))),
            Question::Target(question) if question.session_type == SessionType::Discovery => {
                Some(self.discovery_terms())
            }
            Question::Target(question) => {
                let target =
                    question.target_name.as_ref().and_then(|name| self.model.find_target(name.as_str()));
                let Some(target) = target else {
                    return Some(refuse_because(LoginStatus::NotFound, NO_TARGET));
                };
                if !target.redirect.callback.is_empty() {
                    return self.ask_redirect(login, question, peer, now, out);
                }
                if let Some(refusal) = fixed_redirect(target, peer.ip()) {
                    return Some(Answer::Refuse(refusal));
                }
                Some(self.terms(&question, peer))
            }
        }
    }

    /// The targets that an initiator may see, each at the address that it came in on: any other might be out of its
    /// reach.
    fn records(
        &self,
        question: &SendTargetsQuestion,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Vec<TargetRecord> {
        let name = &question.initiator_name;
        let address = TargetAddress::of_connection(local, PORTAL_GROUP_TAG);
        let user = question.chap_user.as_deref().filter(|user| self.is_of_targets(user));
        let visible = self
            .model
            .targets()
            .filter(|target| target.acl.allows(peer.ip(), name) && is_open_to(target, user));
        let records = visible.filter_map(|target| {
            let name = IscsiName::parse_any(&target.name).ok()?;
            question
                .scope
                .includes(&name)
                .then(|| TargetRecord { name, addresses: address.into_iter().collect() })
        });
        records.collect()
    }

    /// Whether initiators log in to targets with an account; some are for discovery only.
    fn is_of_targets(&self, user: &str) -> bool {
        self.model.targets().any(|target| target.accounts.incoming().iter().any(|known| known == user))
    }

    fn discovery_terms(&mut self) -> Answer {
        let auth = match self.authentication(None) {
            Ok(auth) => auth,
            Err(refusal) => return Answer::Refuse(refusal),
        };
        let keys = Preferences::default();
        Answer::Target(Box::new(TargetAnswer { keys, auth, portal_group_tag: PORTAL_GROUP_TAG }))
    }

    /// After redirection: access, state, session, authentication, keys.
    pub(super) fn terms(&mut self, question: &TargetQuestion, peer: SocketAddr) -> Answer {
        let name = question.target_name.as_ref().map_or("", |name| name.as_str());
        let Some(target) = self.model.find_target(name) else {
            return refuse_because(LoginStatus::NotFound, NO_TARGET);
        };
        if !target.acl.allows(peer.ip(), &question.initiator_name) {
            // As stock says it: who may not see a target is not told that it is there.
            return refuse_because(LoginStatus::NotFound, "no rule of access lets it in");
        }
        if target.state == State::Offline {
            return refuse_because(LoginStatus::TargetError, "the target is offline");
        }
        if !question.tsih.is_new() {
            let key = key(question.initiator_name.normalized(), question.isid, target.tid);
            let session = self.sessions.find(&key).filter(|session| session.tsih == question.tsih);
            match session.map(|session| has_room(session, question.cid, target)) {
                None => return refuse_because(LoginStatus::SessionDoesNotExist, NO_SESSION),
                Some(false) => return refuse_because(LoginStatus::TooManyConnections, TOO_MANY_CONNECTIONS),
                Some(true) => {}
            }
        }
        let (tid, keys) = (target.tid, keys(&target.parameters));
        match self.authentication(Some(tid)) {
            Ok(auth) => {
                let portal_group_tag = PORTAL_GROUP_TAG;
                Answer::Target(Box::new(TargetAnswer { keys, auth, portal_group_tag }))
            }
            Err(refusal) => Answer::Refuse(refusal),
        }
    }

    /// What a target, or discovery, wants proven.
    fn authentication(&mut self, tid: Option<Tid>) -> Result<AuthRequirement, Refusal> {
        let no_randomness = |error: getrandom::Error| {
            let why = format!("no randomness from the operating system: {error}");
            Refusal::because(LoginStatus::TargetError, why)
        };
        let challenger = self.challenger().map_err(no_randomness)?;
        let bound = match tid {
            None => &self.model.discovery_accounts,
            Some(tid) => {
                let gone = |_| Refusal::because(LoginStatus::NotFound, NO_TARGET);
                &self.model.target(tid).map_err(gone)?.accounts
            }
        };
        if bound.incoming().is_empty() {
            return Ok(AuthRequirement::None);
        }
        let account = |user: &str| {
            let account = self.model.accounts.find(user)?;
            let secret = Secret::new(account.password.reveal());
            Some(ChapAccount { user: account.user.clone(), secret })
        };
        Ok(AuthRequirement::Chap(Box::new(ChapTerms {
            incoming: bound.incoming().iter().filter_map(|user| account(user)).collect(),
            outgoing: bound.outgoing().and_then(account),
            algorithms: self.model.chap_algorithms.clone(),
            challenge: challenge_from_os(&challenger).map_err(no_randomness)?,
            challenger,
        })))
    }

    fn challenger(&mut self) -> Result<Arc<Challenger>, getrandom::Error> {
        if let Some(known) = &self.challenger {
            return Ok(Arc::clone(known));
        }
        let new = Arc::new(challenger_from_os()?);
        self.challenger = Some(Arc::clone(&new));
        Ok(new)
    }

    /// Hands a connection that has logged in to its loop, by [`Outside::attach`].
    ///
    /// # Errors
    /// Its target or session has ended, or the loop or session has no capacity; the login keeps its socket.
    pub fn attach(
        &mut self,
        id: LoginId,
        login: Box<LoggedIn>,
        (peer, local): (SocketAddr, SocketAddr),
        out: &mut dyn Outside,
    ) -> Result<(), Refused> {
        let target = self.model.find_target(login.target_name.as_str());
        let Some(target) = target else {
            let why = "the target was deleted during the login";
            return Err(refused(&login, LoginStatus::TargetRemoved, why));
        };
        let tid = target.tid;
        let key = key(login.initiator_name.normalized(), login.isid, tid);
        let known = self.sessions.find(&key).map(|session| (session.tsih, session.nexus, session.loop_index));
        // Others may have joined while this one was logging in.
        if let Some(session) = self.sessions.find(&key)
            && session.tsih == login.tsih
            && !has_room(session, login.cid, target)
        {
            return Err(refused(&login, LoginStatus::TooManyConnections, TOO_MANY_CONNECTIONS));
        }
        let connection_stats = Arc::new(ConnectionStats::after_login(login.received, login.sent));
        let connection = Connection {
            cid: login.cid,
            peer: peer.ip().to_canonical(),
            params: login.connection,
            stats: Arc::clone(&connection_stats),
        };
        let (tsih, nexus, loop_index, mode) = match (login.tsih.is_new(), known) {
            (false, Some((tsih, nexus, loop_index))) if tsih == login.tsih => {
                if let Some(session) = self.sessions.get_mut(tsih, Some(nexus)) {
                    session.joining.push(connection);
                }
                (tsih, nexus, loop_index, AttachMode::Join)
            }
            (false, _) => {
                return Err(refused(&login, LoginStatus::SessionDoesNotExist, NO_SESSION));
            }
            (true, former) => {
                let (loop_index, mode) = match former {
                    Some((former, _, loop_index)) => (loop_index, AttachMode::Reinstate(former)),
                    None => (self.least_loaded(tid), AttachMode::New),
                };
                let alias = login.initiator_alias.clone();
                let params = login.session;
                let Some(session) = self.sessions.open(key, loop_index, alias, params, connection) else {
                    let why = "all session handles are in use";
                    return Err(refused(&login, LoginStatus::OutOfResources, why));
                };
                session.user.clone_from(&login.chap_user);
                (session.tsih, session.nexus, loop_index, mode)
            }
        };
        let session_stats =
            self.sessions.get(tsih).map(|session| Arc::clone(&session.stats)).unwrap_or_default();
        let attach = Attach { tid, peer, local, login, tsih, nexus, mode, session_stats, connection_stats };
        let sent = match self.loops_of(tid).get(loop_index) {
            Some(to) => out.attach(*to, id, Box::new(attach)),
            None => Err(Box::new(attach)),
        };
        let Err(returned) = sent else { return Ok(()) };
        self.forget_attach(tsih, mode, returned.login.cid);
        let why = "the target's loop takes no more connections";
        Err(refused(&returned.login, LoginStatus::OutOfResources, why))
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
        // A session whose successor came to nothing is found by its key again.
        self.sessions.find_again();
    }

    /// A loop's letter about a session.
    pub(super) fn session_letter(&mut self, letter: ToControl, out: &mut dyn Outside) {
        match letter {
            ToControl::SessionStarted(_, tid, tsih, nexus) => {
                if let Some(session) = self.sessions.get_mut(tsih, Some(nexus)) {
                    session.pending = false;
                    let initiator = session.key.initiator_name.as_str();
                    let peer = session.connections.iter().chain(&session.joining).next();
                    let from = peer.map_or(String::new(), |connection| format!(" from {}", connection.peer));
                    let user = session.user.as_ref().map_or(String::new(), |user| format!(" as {user:?}"));
                    out.note(format_args!(
                        "target {tid}: {initiator:?} logged in{from}{user}, session {}",
                        tsih.0
                    ));
                }
            }
            ToControl::ConnectionJoined(_, _, tsih, cid) => {
                if let Some(session) = self.sessions.get_mut(tsih, None) {
                    session.joined(cid);
                }
            }
            ToControl::ConnectionEnded(_, _, tsih, cid) => {
                if let Some(session) = self.sessions.get_mut(tsih, None) {
                    session.connections.retain(|connection| connection.cid != cid);
                }
            }
            ToControl::AttachFailed(_, _, tsih, nexus, cid) => {
                let Some(session) = self.sessions.get_mut(tsih, Some(nexus)) else { return };
                if session.pending {
                    self.sessions.end(tsih, nexus);
                    self.sessions.find_again();
                } else if let Some(place) = session.joining.iter().position(|joining| joining.cid == cid) {
                    session.joining.remove(place);
                }
            }
            ToControl::SessionEnded(_, tid, tsih, nexus) => {
                if let Some(session) = self.sessions.end(tsih, nexus) {
                    let initiator = session.key.initiator_name;
                    out.note(format_args!("target {tid}: {initiator:?} is gone, session {}", tsih.0));
                }
            }
            ToControl::Answer(..) | ToControl::LoopEnded(_) | ToControl::LoopFailed(_) => {}
        }
    }
}

/// Whether a session takes one more connection, or one in place of another of the same number (RFC 7143 6.3.4).
fn has_room(session: &Session, cid: Cid, target: &Target) -> bool {
    let others =
        session.connections.iter().chain(&session.joining).filter(|connection| connection.cid != cid);
    others.count() < target.parameters.number(Key::MaxConnections) as usize
}

/// Whether whoever has proven to be this user at discovery can log in to a target.
fn is_open_to(target: &Target, user: Option<&str>) -> bool {
    let incoming = target.accounts.incoming();
    user.is_none_or(|user| incoming.is_empty() || incoming.iter().any(|known| known == user))
}

fn refuse_because(status: LoginStatus, why: &'static str) -> Answer {
    Answer::Refuse(Refusal::because(status, why))
}

fn refused(login: &LoggedIn, status: LoginStatus, why: &'static str) -> Refused {
    Refused { response: login.refusal(status), status, why }
}

fn key(initiator_name: &str, isid: Isid, tid: Tid) -> SessionKey {
    SessionKey { initiator_name: initiator_name.to_owned(), isid, tid, portal_group: PORTAL_GROUP_TAG }
}

fn keys(parameters: &Parameters) -> Preferences {
    let narrow = |key| u16::try_from(parameters.number(key)).unwrap_or(u16::MAX);
    Preferences {
        session: SessionParams {
            max_connections: narrow(Key::MaxConnections),
            initial_r2t: parameters.flag(Key::InitialR2T),
            immediate_data: parameters.flag(Key::ImmediateData),
            max_burst_len: parameters.number(Key::MaxBurstLength),
            first_burst_len: parameters.number(Key::FirstBurstLength),
            default_time2wait: narrow(Key::DefaultTime2Wait),
            default_time2retain: narrow(Key::DefaultTime2Retain),
            max_outstanding_r2t: narrow(Key::MaxOutstandingR2T),
            // Nobody gains by disorder, and Yes wins whatever the other side says.
            data_pdu_in_order: true,
            data_sequence_in_order: true,
            ..SessionParams::default()
        },
        max_recv_data_segment_len: parameters
            .number(Key::MaxRecvDataSegmentLength)
            .min(SEGMENT_LEN_MAX as u32),
        header_digest: parameters.digests(Key::HeaderDigest),
        data_digest: parameters.digests(Key::DataDigest),
    }
}

const NO_TARGET: &str = "there is no such target";
const NO_SESSION: &str = "TSIH: the initiator port has no such session";
const TOO_MANY_CONNECTIONS: &str = "the session has MaxConnections connections";
