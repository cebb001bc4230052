//! The redirect commands that run and that wait.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::work::Redirecting;
use crate::control::jobs::RedirectCommand;
use crate::limits::REDIRECTS_MAX;
use crate::model::connections::network;

/// The redirect commands under way.
#[derive(Debug, Default)]
pub(super) struct Redirects {
    /// The addresses whose commands run; each has one.
    pub(super) running: Vec<IpAddr>,
    /// Logins that wait for their command, the first one first.
    pub(super) waiting: VecDeque<(Redirecting, RedirectCommand)>,
}

impl Redirects {
    /// Whether a command of this address may run now.
    pub(super) fn has_room(&self, address: IpAddr) -> bool {
        self.running.len() < REDIRECTS_MAX && !self.running.contains(&address)
    }

    /// Takes the first login whose command may run now.
    pub(super) fn next(&mut self) -> Option<(Redirecting, RedirectCommand)> {
        let index = self.waiting.iter().position(|(login, _)| self.has_room(network(login.peer.ip())))?;
        self.waiting.remove(index)
    }
}
