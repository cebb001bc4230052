//! The redirect commands that run and that wait.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

use super::work::Redirecting;
use crate::control::jobs::RedirectCommand;
use crate::limits::{REDIRECT_TIME_MIN, REDIRECTS_MAX};
use crate::model::connections::network;

/// The redirect commands under way.
#[derive(Debug, Default)]
pub(super) struct Redirects {
    /// Commands that run, and those that have ended before their [`REDIRECT_TIME_MIN`] was over.
    running: Vec<Running>,
    /// Logins that wait for their command, the first one first.
    pub(super) waiting: VecDeque<(Redirecting, RedirectCommand)>,
}

/// A command that counts as running; each address has at most one.
#[derive(Debug)]
struct Running {
    address: IpAddr,
    /// When another one may take its place, if it has ended.
    until: Instant,
    has_ended: bool,
}

impl Redirects {
    /// Whether a command of this address may run now.
    pub(super) fn has_room(&mut self, address: IpAddr, now: Instant) -> bool {
        self.forget_ended(now);
        self.is_free(address)
    }

    fn forget_ended(&mut self, now: Instant) {
        self.running.retain(|running| !running.has_ended || running.until > now);
    }

    fn is_free(&self, address: IpAddr) -> bool {
        self.running.len() < REDIRECTS_MAX && self.running.iter().all(|running| running.address != address)
    }

    /// A command of this address runs.
    pub(super) fn begin(&mut self, address: IpAddr, now: Instant) {
        self.running.push(Running { address, until: now + REDIRECT_TIME_MIN, has_ended: false });
    }

    /// The command of this address has ended.
    pub(super) fn end(&mut self, address: IpAddr) {
        let running = self.running.iter_mut().find(|running| running.address == address);
        running.into_iter().for_each(|running| running.has_ended = true);
    }

    /// Takes the first login whose command may run now.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Redirecting, RedirectCommand)> {
        self.forget_ended(now);
        let index = self.waiting.iter().position(|(login, _)| self.is_free(network(login.peer.ip())))?;
        self.waiting.remove(index)
    }

    /// When a login that waits may have its command run, unless a command ends before.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let ended = self.running.iter().filter(|running| running.has_ended);
        ended.map(|running| running.until).min().filter(|_| !self.waiting.is_empty())
    }
}
