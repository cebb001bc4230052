//! The control thread: it accepts connections, logs initiators in and serves management. It never waits for a loop or
//! a store.
//!
//! `ControlLoop` drives the plain state ([`Control`]) with the events of the sockets and threads (`World`).

mod client;
mod clients;
mod login_entry;
mod logins;
mod net;
mod peer;
mod portals;
mod world;

use std::io;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::control::dispatch::Control;
use crate::control::error::TgtadmError;
use crate::control::messages::{LoopId, ToLoop};
use crate::control::report::Reply;
use crate::control::request::Request;
use crate::limits::{END_CLOSE, END_GRACE, END_REPLIES};
use crate::model::Model;
use crate::model::store::StoreOpener;
use crate::runtime::poller::Ready;

pub(crate) use world::ControlLoop;
use world::Source;
use world::World;

/// Why the loop ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    /// By `--mode system --op delete`, which requires that there are no targets.
    Asked,
    /// By a signal.
    Signalled,
    /// A loop ended unasked.
    LoopFailed,
}

impl ControlLoop {
    /// Makes a loop that has no listeners yet.
    ///
    /// # Errors
    /// There are no descriptors.
    pub(crate) fn new(opener: Arc<dyn StoreOpener>, model: Model) -> io::Result<Self> {
        Ok(Self { control: Control::new(model), world: World::new(opener)?, ready: Vec::new() })
    }

    /// Takes admin connections from this socket.
    ///
    /// # Errors
    /// It cannot be watched.
    pub(crate) fn serve_admin(&mut self, listener: UnixListener) -> io::Result<()> {
        self.world.serve_admin(listener)
    }

    /// Starts loops that serve all targets.
    ///
    /// # Errors
    /// There are no descriptors or threads.
    pub(crate) fn share_loops(&mut self, count: usize) -> io::Result<()> {
        self.control.share_loops(count, &mut self.world)
    }

    /// Executes one request as if a client had sent it, and waits for the reply until its deadline. To be called before
    /// any client is served.
    pub(crate) fn prepare(&mut self, request: Request) -> io::Result<Reply> {
        let client = self.world.internal_client();
        if let Some(reply) = self.control.request(client, request, Instant::now(), &mut self.world) {
            return Ok(reply);
        }
        loop {
            if let Some(reply) = self.world.internal_reply.take() {
                return Ok(reply);
            }
            if self.world.is_ending() {
                return Ok(Err(TgtadmError::Unknown.because("the daemon ends")));
            }
            self.turn(None)?;
        }
    }

    /// Serves until it is asked to end or a loop fails, then ends all loops, within a bounded time. Returns the loop that
    /// failed.
    ///
    /// # Errors
    /// The kernel refuses to let it wait.
    pub(crate) fn run(mut self) -> io::Result<Option<LoopId>> {
        let end = loop {
            if let Some(end) = self.end_due() {
                break end;
            }
            self.turn(None)?;
        };
        log::info!("ending");
        self.world.stop_listening();
        self.control.forget_portals();
        let grace = if end == End::Asked { Duration::ZERO } else { END_GRACE };
        for mailbox in self.world.mailboxes() {
            let _ = mailbox.send_reserved(ToLoop::End(grace).into());
        }
        let deadline = Instant::now() + grace + END_REPLIES;
        while Instant::now() < deadline && !self.world.is_done() && !self.world.signalled_again() {
            self.turn(Some(deadline))?;
        }
        self.world.join_loops();
        self.close_stores()?;
        Ok(self.world.failed_loop())
    }

    /// Drops all units and waits a bounded time until their stores are closed.
    fn close_stores(&mut self) -> io::Result<()> {
        self.control.drop_units();
        let deadline = Instant::now() + END_CLOSE;
        while self.control.open_paths().next().is_some()
            && Instant::now() < deadline
            && !self.world.signalled_again()
        {
            self.turn(Some(deadline))?;
        }
        for path in self.control.open_paths() {
            log::warn!("{path}: its store has not closed in time");
        }
        Ok(())
    }

    fn end_due(&self) -> Option<End> {
        if self.world.failed_loop().is_some() {
            Some(End::LoopFailed)
        } else if self.world.signalled() {
            Some(End::Signalled)
        } else if self.world.is_ending() {
            Some(End::Asked)
        } else {
            None
        }
    }

    /// Waits for events, at the latest until `until`, and handles them.
    fn turn(&mut self, until: Option<Instant>) -> io::Result<()> {
        let now = Instant::now();
        let deadlines = [until, self.control.next_deadline(), self.world.next_deadline()];
        let timeout = deadlines.into_iter().flatten().min().map(|at| at.saturating_duration_since(now));
        // Rounded up, so that the wait does not end just before the deadline again and again.
        let timeout = timeout.map(|time| time + Duration::from_millis(u64::from(!time.is_zero())));
        let timeout = if self.world.requests.is_empty() { timeout } else { Some(Duration::ZERO) };
        let mut ready = std::mem::take(&mut self.ready);
        self.world.wait(timeout, &mut ready)?;
        let now = Instant::now();
        // A new connection may end one whose request has come, so requests are first.
        ready.sort_by_key(|event| matches!(event.what, Source::Admin | Source::Portal(_)));
        for event in ready.drain(..) {
            self.event(event, now);
        }
        self.ready = ready;
        self.control.handle_timeout(now, &mut self.world);
        self.client_timeouts(now);
        self.login_timeouts(now);
        self.late_answers(now);
        self.discovery_requests(now);
        self.world.resume_accepting(now);
        self.world.log_left_out(now);
        Ok(())
    }

    fn event(&mut self, event: Ready<Source>, now: Instant) {
        match event.what {
            Source::Shutdown => self.world.take_signal(),
            Source::Messages => {
                for message in self.world.take_messages() {
                    self.control.message(message, now, &mut self.world);
                }
            }
            Source::Jobs => {
                for done in self.world.take_jobs() {
                    self.control.job_done(done, now, &mut self.world);
                }
            }
            Source::Admin => self.world.accept_clients(now),
            Source::Client(id) => self.client_event(id, &event, now),
            Source::Portal(id) => self.accept_initiators(id, now),
            Source::Login(id) => self.login_event(id, &event, now),
        }
    }
}

#[cfg(test)]
mod tests;
