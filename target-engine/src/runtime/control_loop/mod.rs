//! The control thread: it accepts, logs in, answers management, and never waits for a loop or a store.
//!
//! `ControlLoop` holds the plain state ([`Control`]) beside the sockets and threads (`World`); each turn hands the
//! one to the other.

mod clients;
mod logins;
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
use crate::model::store::StoreOpener;
use crate::runtime::poller::{Interest, Ready};

use world::Source;
pub(crate) use world::World;

/// The control thread's state.
pub(crate) struct ControlLoop {
    pub(crate) control: Control,
    pub(crate) world: World,
    ready: Vec<Ready<Source>>,
}

/// Why the loop ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    /// `sys delete`: there is no target left.
    Asked,
    /// The daemon was told to end while it serves.
    Signalled,
    /// A loop ended that was not asked to.
    LoopFailed,
}

impl ControlLoop {
    /// A loop that serves nobody yet.
    ///
    /// # Errors
    /// There are no descriptors.
    pub(crate) fn new(opener: Arc<dyn StoreOpener>) -> io::Result<Self> {
        Ok(Self { control: Control::default(), world: World::new(opener)?, ready: Vec::new() })
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

    /// Does one request as if a client had sent it, and waits for its reply, which has its deadline. For the time
    /// before anybody else is served.
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

    /// Serves until it is told to end or a loop fails, then ends all loops, within a bounded time. Returns the loop that
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
        self.world.close_doors();
        self.control.model.portals.clear();
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

    /// Waits for something to happen, at the latest until `until`, and deals with it.
    fn turn(&mut self, until: Option<Instant>) -> io::Result<()> {
        let now = Instant::now();
        let deadlines = [until, self.control.next_deadline(), self.world.next_deadline()];
        let timeout = deadlines.into_iter().flatten().min().map(|at| at.saturating_duration_since(now));
        // Rounded up, lest the wait end just before its time again and again.
        let timeout = timeout.map(|time| time + Duration::from_millis(u64::from(!time.is_zero())));
        let mut ready = std::mem::take(&mut self.ready);
        self.world.wait(timeout, &mut ready)?;
        let now = Instant::now();
        for event in ready.drain(..) {
            self.event(event, now);
        }
        self.ready = ready;
        self.control.handle_timeout(now, &mut self.world);
        self.client_timeouts(now);
        self.login_timeouts(now);
        self.late_answers(now);
        self.world.end_rest(now);
        Ok(())
    }

    fn event(&mut self, event: Ready<Source>, now: Instant) {
        match event.what {
            Source::Shutdown => self.world.take_signal(),
            Source::Letters => {
                for letter in self.world.take_letters() {
                    self.control.letter(letter, &mut self.world);
                }
            }
            Source::Jobs => {
                for done in self.world.take_jobs() {
                    self.control.job_done(done, &mut self.world);
                }
            }
            Source::Admin => self.world.accept_clients(now),
            Source::Client(id) => self.client_event(id, &event, now),
            Source::Portal(id) => self.accept_initiators(id, now),
            Source::Login(id) => self.login_event(id, &event, now),
        }
    }
}

/// What to wait for on a connection that reads unless it is told otherwise.
fn interest(read: bool, write: bool) -> Interest {
    match (read, write) {
        (true, true) => Interest::Both,
        (true, false) => Interest::Read,
        (false, true) => Interest::Write,
        (false, false) => Interest::None,
    }
}
