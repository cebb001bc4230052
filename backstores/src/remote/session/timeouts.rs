//! What a session does when time has passed.

use super::*;

impl<P: Protocol> Session<P> {
    /// When `handle_timeout` is due; `None`: never.
    pub(in super::super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let connections = self.connections.iter().filter_map(|connection| match &connection.state {
            State::Down { due, .. } => Some(due.unwrap_or(now)),
            State::Connecting { deadline, .. } | State::Open { deadline, since: None, .. } => Some(*deadline),
            State::Open { link, .. } => link.protocol.poll_timeout(),
        });
        connections.chain(self.next_tick).chain(self.next_poll).min()
    }

    pub(in super::super) fn handle_timeout(&mut self, resources: &mut Resources<'_, P::Progress>) {
        self.expire(resources);
        if std::mem::take(&mut self.forgotten) {
            self.notices.push(Notice::Forgotten);
        }
        for at in 0..self.connections.len() {
            self.connection_timeout(at, resources);
            while let State::Down { due: None, .. } = self.connections[at].state {
                self.schedule(at, resources);
            }
        }
        self.poll_size(resources);
    }

    fn connection_timeout(&mut self, at: usize, resources: &mut Resources<'_, P::Progress>) {
        let now = resources.now;
        match &mut self.connections[at].state {
            State::Down { due: Some(due), .. } if *due <= now => self.connect(at, resources),
            State::Connecting { deadline, .. } | State::Open { deadline, since: None, .. }
                if *deadline <= now =>
            {
                self.lose(at, &Broken::Socket(rustix::io::Errno::TIMEDOUT), resources);
            }
            State::Open { link, since: Some(_), blocked, .. }
                if link.protocol.poll_timeout().is_some_and(|due| due <= now) =>
            {
                link.with_own(|protocol, out| protocol.handle_timeout(now, out));
                if !*blocked {
                    self.send(at, resources);
                }
            }
            _ => {}
        }
    }

    /// Decides when a lost connection is established again.
    fn schedule(&mut self, at: usize, resources: &mut Resources<'_, P::Progress>) {
        let now = resources.now;
        let Connection { state, backoff, .. } = &mut self.connections[at];
        let State::Down { due, up_since, violation } = state else { return };
        let retry = backoff.lost(now, up_since.take(), *violation);
        *due = Some(now + retry.after);
        if retry.pause {
            let seconds = retry.after.as_secs();
            log::error!(
                "{}: the server has violated the protocol three times in a minute: next connection in {seconds} s",
                self.server.settings.name
            );
        }
        if retry.look_up {
            self.server.resolve_again();
        }
        if retry.after.is_zero() {
            self.connect(at, resources);
        } else if self.idlest().is_none() && !std::mem::replace(&mut self.unreachable, true) {
            self.notices.push(Notice::Unreachable);
        }
    }

    /// Ends operations whose timeout has passed. A connection that owes such an answer is closed, unless its protocol expects
    /// that: the server may not answer at all, and the buffer of a read must not be filled later.
    fn expire(&mut self, resources: &mut Resources<'_, P::Progress>) {
        let (Some(timeout), Some(next)) = (self.server.settings.timeout, self.next_tick) else { return };
        if next > resources.now {
            return;
        }
        self.ticks = self.ticks.wrapping_add(1);
        let operations = &*resources.context.operations;
        let any = operations.iter().any(|(_, operation)| operation.session == self.index);
        self.next_tick = any.then(|| resources.now + timeout / TICKS_PER_TIMEOUT);
        let expired = self.older_than(TICKS_PER_TIMEOUT, operations);
        let late = self.older_than(TICKS_PER_TIMEOUT / 2, operations);
        let mut silent = Vec::new();
        for (cookie, location) in expired {
            match location {
                Location::Waiting => {}
                Location::Queued(id) | Location::Sent(id) => {
                    if let Some(link) = self.link_mut(id) {
                        link.load -= 1;
                        let stays = link.protocol.passes_over_requests() && !link.is_between(cookie);
                        if matches!(location, Location::Sent(_)) && !stays {
                            silent.push(id);
                        }
                    }
                }
            }
            let Context { operations, done } = &mut resources.context;
            done.extend(operations.remove(cookie).map(|operation| {
                let error = operation.unanswered();
                operation.fail(error)
            }));
        }
        self.repeat(&late, resources);
        for at in 0..self.connections.len() {
            if let State::Open { link, .. } = &self.connections[at].state
                && silent.contains(&link.id)
            {
                self.lose(at, &Broken::Socket(rustix::io::Errno::TIMEDOUT), resources);
            }
        }
    }

    /// The operations that were submitted before so many eighths of the timeout.
    fn older_than(&self, ticks: u32, operations: &Operations<P::Progress>) -> Vec<(Cookie, Location)> {
        let old = operations.iter().filter(|(_, operation)| {
            operation.session == self.index && self.ticks.wrapping_sub(operation.tick) > ticks
        });
        old.map(|(cookie, operation)| (cookie, operation.location)).collect()
    }

    /// Sends those of these operations once more that their server has passed over.
    fn repeat(&mut self, late: &[(Cookie, Location)], resources: &mut Resources<'_, P::Progress>) {
        for (cookie, location) in late {
            let Location::Sent(id) = *location else { continue };
            let Some(link) = self.link_mut(id).filter(|link| link.protocol.passes_over_requests()) else {
                continue;
            };
            let passed_over = resources.context.operations.get(*cookie).is_some_and(|operation| {
                operation.order < link.answered && !operation.repeated && !operation.cancelled
            });
            if passed_over && !link.is_between(*cookie) {
                link.repeat(*cookie, &mut resources.context);
            }
        }
        self.kick(resources);
    }

    /// Queries the size from time to time, while the server can be reached.
    fn poll_size(&mut self, resources: &mut Resources<'_, P::Progress>) {
        let (Some(period), now) = (self.server.settings.size_poll, resources.now) else { return };
        let resizes = self.server.resizes.load(Ordering::Relaxed);
        if resizes != std::mem::replace(&mut self.resizes, resizes) {
            self.notices.push(Notice::Resized);
            // A server may serve the new size on new connections only.
            for at in 0..self.connections.len() {
                if let State::Open { renew, .. } = &mut self.connections[at].state {
                    *renew = true;
                }
                self.renew(at, resources);
            }
        }
        match self.next_poll {
            Some(next) if next > now => {}
            first => {
                self.next_poll = Some(now + period);
                if first.is_some() && self.idlest().is_some() {
                    self.server.poll_size();
                }
            }
        }
    }
}
