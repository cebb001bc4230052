//! One target on one loop. A [`TargetShard`] mediates between connections, which know no units, and units, which know no
//! connections. It has no sockets, no threads and no clock.
//!
//! Parts, each the owner of its fields:
//!
//! - `sessions`: sessions ([`session`]) and connections
//! - `units`: units with their stores; `hang` and `health` are what is known of a store
//! - `tasks`: running commands (`task`, `blocks`, `transfer`); `queues`: tasks that wait for a turn or for memory
//! - [`functions`]: task management functions that wait
//! - `deadlines`: when units and the target end
//!
//! The shard's methods, by topic:
//!
//! - `receive`, `requests`, `connections`: PDUs, sessions and connections
//! - `command`, `data_out`, `r2t`, `run`, `transfer`, `data_in`, `finish`, `early_end`: the path of a command
//! - `waits`: what initiators must send in time
//! - `task_management`, `abort`: how commands are aborted
//! - `closing`, `quarantine`, `store_errors`: units that are removed, hang, or fail

mod abort;
mod blocks;
mod closing;
mod command;
mod connections;
mod data_in;
mod data_out;
mod deadlines;
mod driver;
mod early_end;
mod finish;
pub mod functions;
#[doc(hidden)]
pub mod fuzzing;
mod hang;
mod health;
mod quarantine;
mod queues;
mod r2t;
pub mod receive;
mod requests;
mod run;
pub mod session;
mod sessions;
pub mod settings;
mod store_errors;
mod task;
mod task_management;
mod tasks;
#[cfg(test)]
mod tests;
mod transfer;
mod units;
mod waits;

use std::sync::Arc;
use std::time::Instant;

use scsi_core::device::unit::Unit;
use scsi_core::lun::Lun;
use scsi_core::store::IoError;

use self::deadlines::Deadlines;
pub use self::driver::{Env, ShardEvent};
use self::functions::TaskFunctions;
use self::queues::Queues;
use self::sessions::Sessions;
use self::settings::TargetSettings;
use self::tasks::Tasks;
use self::units::{UnitEntry, Units};
use crate::keys::ConnectionIndex;
use crate::limits::TICK;
use crate::warnings::Warnings;

/// A target's sessions, units and commands on one loop.
///
/// # Driving it
///
/// The driver owns the sockets, the clock, the engines and the buffers, and lends the last three with an [`Env`]. No
/// method blocks, and none calls back.
///
/// Calls that feed the shard:
///
/// - [`receive`](Self::receive): bytes of a connection. Before it, the driver may fill the `space` of the connection's
///   receiver. It reads nothing while [`is_receive_paused`](Self::is_receive_paused) or while the connection
///   [`has_unread`](crate::iscsi::connection::Connection::has_unread).
/// - [`receive_unread`](Self::receive_unread): in a later turn, for a connection that `has_unread` and is not paused
/// - [`complete`](Self::complete): each completion of the engines whose tag names this shard
/// - [`run_ready`](Self::run_ready): once a turn while [`has_ready`](Self::has_ready)
/// - [`handle_timeout`](Self::handle_timeout): when [`poll_timeout`](Self::poll_timeout) is due
/// - [`close_connection`](Self::close_connection): when a socket has ended, or a draining connection has sent everything
/// - [`fail_lost`](Self::fail_lost): when an engine has panicked
/// - [`notice`](Self::notice): each notice of the engines
/// - calls of management: `open`, `join`, `add_unit`, `remove_unit`, `stop_unit`, `end`, `set_settings`, …
///
/// After any of them, and in this order, the driver
///
/// 1. calls `kick` of the engines if [`take_submitted`](Self::take_submitted) returns true. Without it, submitted
///    operations may never begin.
/// 2. takes the connections of [`take_touched`](Self::take_touched) and sends what their transmit rings hold, then calls
///    [`resume_reads`](Self::resume_reads), and sends again, until the ring is empty or the socket takes no more.
///    Without it, responses stay unsent and long reads stand still.
/// 3. acts on the events of [`take_events`](Self::take_events): above all, closes the socket of `ConnectionClosed` and
///    calls [`release`](Self::release). Before that, the index is not used again.
/// 4. asks [`has_ready`](Self::has_ready) and [`poll_timeout`](Self::poll_timeout). The next wait of the loop must not
///    last longer: not at all while `has_ready`.
///
/// Steps 1 and 2 may submit and queue more; the driver repeats them until nothing is left for this turn. Once
/// [`end`](Self::end) was called it calls [`close_if_done`](Self::close_if_done) before step 3, and may drop the shard
/// when [`is_idle`](Self::is_idle).
pub struct TargetShard {
    id: u16,
    settings: Arc<TargetSettings>,
    sessions: Sessions,
    units: Units,
    tasks: Tasks,
    queues: Queues,
    functions: TaskFunctions,
    deadlines: Deadlines,
    warnings: Warnings,
    /// Engines have operations that wait for `kick`.
    submitted: bool,
    /// What was done since `receive` was called beyond the received PDUs: bytes of parameter data and of reads.
    extra_cost: usize,
    events: Vec<ShardEvent>,
    next_tick: Option<Instant>,
}

#[cfg(all(test, feature = "runtime"))]
impl TargetShard {
    /// How many tasks the walks of its tasks have looked at.
    pub(crate) fn looked_at_tasks(&self) -> usize {
        self.tasks.looked_at.get()
    }
}

impl TargetShard {
    /// A target without units and sessions. `id` is part of the tags of its operations.
    #[must_use]
    pub fn new(id: u16, settings: Arc<TargetSettings>) -> Self {
        Self {
            id,
            settings,
            sessions: Sessions::default(),
            units: Units::default(),
            tasks: Tasks::default(),
            queues: Queues::default(),
            functions: TaskFunctions::default(),
            deadlines: Deadlines::default(),
            warnings: Warnings::default(),
            submitted: false,
            extra_cost: 0,
            events: Vec::new(),
            next_tick: None,
        }
    }

    /// The target's parameters.
    #[must_use]
    pub fn settings(&self) -> &TargetSettings {
        &self.settings
    }

    /// The target's parameters have changed.
    pub fn set_settings(&mut self, settings: Arc<TargetSettings>) {
        self.settings = settings;
    }

    /// Sets how many other loops serve the same target.
    pub fn set_siblings(&mut self, count: usize) {
        self.functions.set_siblings(count);
    }

    /// Adds a unit. The caller raises the unit attention for the changed list of units.
    ///
    /// # Errors
    /// The store cannot be reached from this loop.
    pub fn add_unit(&mut self, lun: Lun, unit: Arc<Unit>, env: &mut Env<'_>) -> Result<(), IoError> {
        let entry = UnitEntry::new(unit, env.engines)?;
        self.units.insert(lun, entry, self.sessions.iter());
        Ok(())
    }

    /// A unit, as all loops share it.
    #[must_use]
    pub fn unit(&self, lun: Lun) -> Option<Arc<Unit>> {
        self.units.get(lun).map(|unit| Arc::clone(unit.unit()))
    }

    /// How many commands run at a unit; `None`: there is no such unit.
    #[must_use]
    pub fn unit_tasks(&self, lun: Lun) -> Option<usize> {
        self.units.get(lun).map(UnitEntry::tasks)
    }

    /// Whether nothing is left: no session and no command.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.sessions.is_empty() && self.tasks.is_empty()
    }

    /// How many commands run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.tasks.len()
    }

    /// How many sessions there are, closing ones included.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Appends the events since the last call to `into`.
    pub fn take_events(&mut self, into: &mut Vec<ShardEvent>) {
        into.append(&mut self.events);
    }

    /// Appends the connections that have something to send, or reads that may be resumed, to `into`.
    pub fn take_touched(&mut self, into: &mut Vec<ConnectionIndex>) {
        self.sessions.take_touched(into);
    }

    /// Whether the engines must be kicked; true once after each submission.
    pub fn take_submitted(&mut self) -> bool {
        std::mem::take(&mut self.submitted)
    }

    /// Gives back memory that ended commands and sent responses leave. Call it now and then.
    pub fn shrink(&mut self) {
        self.tasks.shrink();
        self.sessions.shrink();
    }

    /// When `handle_timeout` must be called; `None`: not before the shard is fed again.
    #[must_use]
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        let pings = !self.settings.nop_interval.is_zero() && self.sessions.has_connections();
        let ends = self.sessions.is_draining() || !self.deadlines.is_empty() || self.units.has_due_work();
        let ends = ends || self.warnings.due().is_some() || self.sessions.awaits_pdus();
        if !pings && !ends && self.functions.is_empty() && self.tasks.is_empty() {
            self.next_tick = None;
            return None;
        }
        Some(*self.next_tick.get_or_insert(now + TICK))
    }

    /// Pings silent initiators, detects hangs and stores that have shrunk, and ends what has taken too long. It does
    /// nothing before its time.
    pub fn handle_timeout(&mut self, env: &mut Env<'_>) {
        if self.next_tick.is_some_and(|tick| env.now < tick) {
            return;
        }
        self.next_tick = Some(env.now + TICK);
        self.expire_data_out(env);
        self.close_late(env);
        self.expire_functions(env);
        self.check_hangs(env);
        self.log_late_failures(env.now);
        self.warnings.tick(env.now);
        self.units.check_sizes(env.engines);
        self.serve_waiting_for_memory(env);
        self.close_drained(env);
        self.abort_late(env);
        self.close_if_done(env);
        self.ping(env);
    }
}
