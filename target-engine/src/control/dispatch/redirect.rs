//! Login redirection (RFC 7143 13.8): to a fixed address, or to the one that a command prints.
//!
//! The command runs before access is checked, as in tgt, so any peer can cause it: few run at a time and in a second, one for
//! each address, and other logins wait.

use std::net::{IpAddr, SocketAddr};

use iscsi_proto::login::LoginStatus;

use super::state::{Control, Env};
use super::work::{Redirecting, Work};
use crate::control::jobs::{Job, RedirectCommand};
use crate::control::messages::LoginId;
use crate::iscsi::login::{Answer, Refusal, TargetQuestion};
use crate::limits::{CONTROL_REPLY, LOGINS_MAX};
use crate::model::connections::network;
use crate::model::target::{RedirectReason, Target};

impl Control {
    /// Has the redirect command run, once those of other logins leave room. `None`: the answer comes later.
    pub(super) fn ask_redirect(
        &mut self,
        login: LoginId,
        question: Box<TargetQuestion>,
        peer: SocketAddr,
        env: &mut Env<'_>,
    ) -> Option<Answer> {
        let name = question.target_name.as_ref().map_or("", |name| name.as_str());
        let target = self.model.find_target(name)?;
        let command = RedirectCommand {
            command: target.redirect.callback.clone(),
            target_name: target.name.clone(),
            initiator: peer.ip().to_canonical(),
        };
        self.run_waiting_redirects(env);
        let waiting = &mut self.redirects.waiting;
        if waiting.len() >= LOGINS_MAX {
            // Logins that have ended do not need theirs any more.
            waiting.retain(|(waiting, _)| env.out.is_login_waiting(waiting.login));
        }
        if waiting.len() >= LOGINS_MAX {
            return Some(busy());
        }
        let redirecting = Redirecting { login, question, peer };
        if self.redirects.has_room(network(peer.ip()), env.now) {
            return self.run_redirect(redirecting, command, env);
        }
        self.redirects.waiting.push_back((redirecting, command));
        None
    }

    /// Runs the redirect command of a login. `None`: the answer comes later.
    fn run_redirect(
        &mut self,
        redirecting: Redirecting,
        command: RedirectCommand,
        env: &mut Env<'_>,
    ) -> Option<Answer> {
        let address = network(redirecting.peer.ip());
        let work = Work::Redirect(redirecting);
        let ticket = self.pending.begin(None, env.now + CONTROL_REPLY, Vec::new(), work);
        if env.out.job(Job::Redirect(ticket, command)).is_err() {
            self.pending.take(ticket);
            return Some(busy());
        }
        self.redirects.begin(address, env.now);
        None
    }

    /// Runs the commands of logins that waited, as far as there is room.
    pub(super) fn run_waiting_redirects(&mut self, env: &mut Env<'_>) {
        while let Some((redirecting, command)) = self.redirects.next(env.now) {
            let login = redirecting.login;
            if env.out.is_login_waiting(login)
                && let Some(answer) = self.run_redirect(redirecting, command, env)
            {
                env.out.answer_login(login, answer);
            }
        }
    }

    /// Answers the login with the redirect command's `address:port:reason`.
    pub(super) fn redirect_done(
        &mut self,
        redirecting: Redirecting,
        output: Result<String, String>,
        env: &mut Env<'_>,
    ) {
        let Redirecting { login, question, peer } = redirecting;
        let parsed = output.and_then(|output| {
            let form = "address:port:Temporary or address:port:Permanent";
            parse_redirect(&output)
                .ok_or_else(|| format!("redirect command: expected {form}, not {output:?}"))
        });
        let answer = match parsed {
            Ok((address, _, _)) if is_peer(&address, peer.ip()) => self.terms(&question, peer),
            Ok((address, port, reason)) => Answer::Refuse(redirection(&address, &port, reason)),
            Err(why) => Answer::Refuse(Refusal::because(LoginStatus::TargetError, why)),
        };
        env.out.answer_login(login, answer);
        self.redirects.end(network(peer.ip()));
        self.run_waiting_redirects(env);
    }
}

fn busy() -> Answer {
    let why = "too many redirect commands wait";
    Answer::Refuse(Refusal::because(LoginStatus::ServiceUnavailable, why))
}

/// The fixed redirection of a target.
pub(super) fn fixed_redirect(target: &Target, peer: IpAddr) -> Option<Refusal> {
    let redirect = &target.redirect;
    let reason = redirect.reason.filter(|_| !redirect.address.is_empty())?;
    (!is_peer(&redirect.address, peer)).then(|| redirection(&redirect.address, &redirect.port, reason))
}

/// Whether the redirection is to the initiator itself: then it is not redirected.
fn is_peer(address: &str, peer: IpAddr) -> bool {
    let address = address.trim_start_matches('[').trim_end_matches(']');
    address.parse::<IpAddr>().is_ok_and(|address| address.to_canonical() == peer.to_canonical())
}

fn redirection(address: &str, port: &str, reason: RedirectReason) -> Refusal {
    let address = if address.contains(':') && !address.starts_with('[') {
        format!("[{address}]")
    } else {
        address.to_owned()
    };
    let address = if port.is_empty() { address } else { format!("{address}:{port}") };
    let status = match reason {
        RedirectReason::Temporary => LoginStatus::TargetMovedTemporarily,
        RedirectReason::Permanent => LoginStatus::TargetMovedPermanently,
    };
    Refusal::redirect(status, address)
}

/// Parses `address:port:Temporary` or `address:port:Permanent`, IPv6 in brackets.
fn parse_redirect(output: &str) -> Option<(String, String, RedirectReason)> {
    let (rest, reason) = output.lines().next()?.trim().rsplit_once(':')?;
    let reason = RedirectReason::parse(reason)?;
    let (address, port) = rest.rsplit_once(':')?;
    port.parse::<u16>().ok().filter(|_| !port.starts_with('+'))?;
    let valid = !address.is_empty() && !address.contains(|c: char| c.is_control() || c.is_whitespace());
    valid.then(|| (address.to_owned(), port.to_owned(), reason))
}
