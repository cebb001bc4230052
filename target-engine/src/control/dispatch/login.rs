//! Questions of logins and discovery sessions: which initiators are admitted, with which authentication and keys.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use iscsi_proto::chap::{Challenger, Secret};
use iscsi_proto::login::LoginStatus;
use iscsi_proto::params::{SessionParams, SessionType};
use iscsi_proto::text::negotiate::Preferences;

use super::outside::Outside;
use super::redirect::fixed_redirect;
use super::state::{Control, Env};
use crate::control::messages::{Addresses, LoginId};
use crate::iscsi::login::{
    AccountQuestion, Answer, AuthRequirement, ChapAccount, ChapTerms, Question, Refusal, TargetAnswer,
    TargetQuestion, challenge_from_os, challenger_from_os,
};
use crate::limits::SEGMENT_LEN_MAX;
use crate::model::Tid;
use crate::model::parameters::{Key, Parameters};
use crate::model::portal::PORTAL_GROUP_TAG;
use crate::model::state::State;

impl Control {
    /// Answers a question of a login or discovery session. `None`: the answer comes by [`Outside::answer_login`].
    pub fn question(
        &mut self,
        login: LoginId,
        question: Question,
        addresses: Addresses,
        now: Instant,
        out: &mut dyn Outside,
    ) -> Option<Answer> {
        let peer = addresses.peer;
        match question {
            Question::Account(question) => Some(Answer::Account(self.secret_of(&question))),
            Question::SendTargets(question) => {
                Some(Answer::Targets(self.target_lists.list(&self.model, &question, addresses)))
            }
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
                    return self.ask_redirect(login, question, peer, &mut Env { now, out });
                }
                if let Some(refusal) = fixed_redirect(target, peer.ip()) {
                    return Some(Answer::Refuse(refusal));
                }
                Some(self.terms(&question, peer))
            }
        }
    }

    /// Counts a proof that has failed; the login delays its refusal.
    pub fn proof_failed(&mut self, peer: IpAddr) {
        self.failed_proofs.count(peer);
    }

    fn discovery_terms(&mut self) -> Answer {
        let auth = match self.authentication(None) {
            Ok(auth) => auth,
            Err(refusal) => return Answer::Refuse(refusal),
        };
        let keys = Preferences::default();
        Answer::Target(Box::new(TargetAnswer { keys, auth, portal_group_tag: PORTAL_GROUP_TAG }))
    }

    /// Checks access and state, in this order; returns the authentication and keys. The session that the initiator wants
    /// to join is checked by [`Self::attach`] only: an initiator that has not authenticated learns nothing of sessions.
    pub(super) fn terms(&mut self, question: &TargetQuestion, peer: SocketAddr) -> Answer {
        let name = question.target_name.as_ref().map_or("", |name| name.as_str());
        let Some(target) = self.model.find_target(name) else {
            return refuse_because(LoginStatus::NotFound, NO_TARGET);
        };
        if !target.acl.allows(peer.ip(), &question.initiator_name) {
            // As in tgt: the target is hidden from initiators that no rule admits.
            return refuse_because(LoginStatus::NotFound, "no rule of access lets it in");
        }
        if target.state == State::Offline {
            return refuse_because(LoginStatus::TargetError, "the target is offline");
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

    /// The authentication that a target, or discovery, requires.
    fn authentication(&mut self, tid: Option<Tid>) -> Result<AuthRequirement, Refusal> {
        let no_randomness = |error: getrandom::Error| {
            let why = format!("no randomness from the operating system: {error}");
            Refusal::because(LoginStatus::TargetError, why)
        };
        let challenger = self.challenger().map_err(no_randomness)?;
        let gone = |_| Refusal::because(LoginStatus::NotFound, NO_TARGET);
        let bound = self.model.accounts_of(tid).map_err(gone)?;
        if !bound.requires_proof() {
            return Ok(AuthRequirement::None);
        }
        let account = |user: &str| Some(ChapAccount { user: user.to_owned(), secret: self.secret(user)? });
        Ok(AuthRequirement::Chap(Box::new(ChapTerms {
            outgoing: bound.outgoing().and_then(account),
            algorithms: self.model.chap_algorithms.clone(),
            challenge: challenge_from_os(&challenger).map_err(no_randomness)?,
            challenger,
        })))
    }

    /// The secret of an account with which initiators of the target, or of discovery, authenticate.
    fn secret_of(&self, question: &AccountQuestion) -> Option<Secret> {
        let bound = match &question.target_name {
            None => &self.model.discovery_accounts,
            Some(name) => &self.model.find_target(name.as_str())?.accounts,
        };
        if bound.has_incoming(&question.user) { self.secret(&question.user) } else { None }
    }

    fn secret(&self, user: &str) -> Option<Secret> {
        self.model.accounts.find(user).map(|account| Secret::new(account.password.reveal()))
    }

    fn challenger(&mut self) -> Result<Arc<Challenger>, getrandom::Error> {
        if let Some(known) = &self.challenger {
            return Ok(Arc::clone(known));
        }
        let new = Arc::new(challenger_from_os()?);
        self.challenger = Some(Arc::clone(&new));
        Ok(new)
    }
}

fn refuse_because(status: LoginStatus, why: &'static str) -> Answer {
    Answer::Refuse(Refusal::because(status, why))
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
            // Out of order data brings no gain. The result is Yes if either side says so.
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
