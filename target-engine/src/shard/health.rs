//! What the log says of a unit's store: one line when an operation fails, rate-limited, and one when it works again.
//! And what becomes of the units of an engine that has panicked: the operations that it had fail, and so does every
//! later one, until the unit's store is opened again.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::time::Instant;

use scsi_core::device::fence::FenceId;
use scsi_core::device::unit::Unit;
use scsi_core::lun::Lun;
use scsi_core::store::{Completion, IoError, IoErrorKind};

use super::settings::TargetSettings;
use super::tasks::{Chunks, Kind, Task, TaskIndex};
use super::{Env, TargetShard};
use crate::limits::WARNINGS_PERIOD;

/// A unit's store, as its operations on this loop show it.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// The last operation failed. All that a command that succeeds looks at.
    pub(super) failing: bool,
    /// When a failure was logged last.
    said_at: Option<Instant>,
    /// It was not said since that I/O works again.
    said: bool,
    /// Failures that were not logged, and the last of them.
    left_out: Option<(u64, Failure)>,
    /// Its engine has panicked.
    broken: bool,
    /// What the engine that panicked may still write.
    fences: Vec<FenceId>,
}

/// A failed operation.
#[derive(Clone, Copy, Debug)]
struct Failure {
    kind: Kind,
    offset: u64,
    error: IoError,
}

impl Health {
    /// A failure to be logged now, with the number of those that were left out before it.
    fn failed(&mut self, failure: Failure, now: Instant) -> Option<u64> {
        self.failing = true;
        if self.rests(now) {
            let count = self.left_out.map_or(0, |(count, _)| count);
            self.left_out = Some((count + 1, failure));
            return None;
        }
        (self.said_at, self.said) = (Some(now), true);
        Some(self.left_out.take().map_or(0, |(count, _)| count))
    }

    /// The failures to be logged once the last line is old enough: how many beside this one.
    fn late(&mut self, now: Instant) -> Option<(u64, Failure)> {
        if self.rests(now) {
            return None;
        }
        let (count, failure) = self.left_out.take()?;
        (self.said_at, self.said) = (Some(now), self.failing);
        Some((count - 1, failure))
    }

    /// Whether it is to be logged that I/O works again.
    fn succeeded(&mut self) -> bool {
        self.failing = false;
        std::mem::take(&mut self.said)
    }

    fn rests(&self, now: Instant) -> bool {
        self.said_at.is_some_and(|at| now.saturating_duration_since(at) < WARNINGS_PERIOD)
    }

    /// Another store takes the place of the one there was.
    pub(super) fn reset(&mut self, unit: &Unit) {
        self.fences.drain(..).for_each(|fence| unit.remove_fence(fence));
        *self = Self::default();
    }
}

impl TargetShard {
    /// A step at the store has failed.
    #[cold]
    pub(super) fn store_failed(&mut self, index: TaskIndex, error: IoError, now: Instant) {
        let task = &self.tasks[index];
        let (kind, offset) = (task.transfer.kind, error.offset().unwrap_or(task.transfer.offset));
        // Not the store's doing, or what it was asked for.
        if kind == Kind::Idle || error.kind() == IoErrorKind::Cancelled {
            return;
        }
        let Some(lun) = task.lun else { return };
        let settings = &self.settings;
        let Some(unit) = self.units.get_mut(usize::from(lun.number())).and_then(Option::as_mut) else {
            return;
        };
        let failure = Failure { kind, offset, error };
        match unit.health.failed(failure, now) {
            Some(left_out) => say(settings, lun, unit.port.unit(), failure, left_out),
            None => self.failures_left_out = true,
        }
    }

    /// A step has succeeded, the first after one that failed.
    #[cold]
    pub(super) fn store_succeeded(&mut self, index: TaskIndex, lun: Lun) {
        let tid = self.settings.tid;
        if self.tasks[index].transfer.kind == Kind::Idle {
            return;
        }
        let Some(unit) = self.unit_mut(lun) else { return };
        if unit.health.succeeded() {
            log::warn!("target {tid} LUN {lun}: {}: I/O succeeds again", name_of(unit.port.unit()));
        }
    }

    /// Logs the failures that were left out, once the lines before are old enough.
    pub(super) fn say_late_failures(&mut self, now: Instant) {
        if !std::mem::take(&mut self.failures_left_out) {
            return;
        }
        for (number, unit) in self.units.iter_mut().enumerate() {
            let (Some(unit), Some(lun)) = (unit, Lun::new(number as u64)) else { continue };
            if let Some((more, failure)) = unit.health.late(now) {
                say(&self.settings, lun, unit.port.unit(), failure, more);
            }
            self.failures_left_out |= unit.health.left_out.is_some();
        }
    }

    /// A store has completed what it does not have, or has completed it before. The block is not the pool's.
    #[cold]
    pub(super) fn unknown_completion(&mut self, completion: &Completion, now: Instant) {
        let text = format_args!(
            "target {}: a store completed an unknown operation, tag {:#x}",
            self.settings.tid, completion.tag.0
        );
        self.warnings.say(now, log::Level::Error, text);
    }

    /// After [`Engines::take_lost`](scsi_core::store::Engines::take_lost): the operations of engines that have
    /// panicked fail, and their units are quarantined.
    #[cold]
    pub fn fail_lost(&mut self, env: &mut Env<'_>) {
        for number in 0..self.units.len() {
            let Some(lun) = Lun::new(number as u64) else { continue };
            let Some(unit) = self.units[number].as_mut() else { continue };
            let failure = unit.store.and_then(|port| env.engines.failure(port.engine));
            let Some(message) = failure else { continue };
            if !std::mem::replace(&mut unit.health.broken, true) {
                let store = unit.port.unit();
                store.set_broken();
                log::error!(
                    "target {} LUN {lun}: {}: its store or one of the same kind panicked ({message}): commands fail \
                     until the unit is taken offline and online again",
                    self.settings.tid,
                    name_of(store)
                );
            }
            let lost = |task: &Task| task.lun == Some(lun) && task.transfer.in_flight > 0;
            loop {
                let found = self.tasks.iter().find(|(_, task)| lost(task)).map(|(index, _)| index);
                let Some(index) = found else { break };
                self.fail_lost_task(index, env);
            }
        }
    }

    /// What a task has at an engine never comes back. Where the engine may still write, all loops keep off.
    fn fail_lost_task(&mut self, index: TaskIndex, env: &mut Env<'_>) {
        let task = &mut self.tasks[index];
        let transfer = &mut task.transfer;
        let (from, to) = transfer.changing();
        transfer.in_flight = 0;
        transfer.out = Chunks::default();
        transfer.error = Some(IoError::ABANDONED);
        env.pool.lose(std::mem::take(&mut transfer.lent) as usize);
        let aborted = task.aborted.is_some();
        let fence = task.aborted.as_mut().and_then(|aborted| aborted.fence.take());
        if let Some(unit) = task.lun.and_then(|lun| self.units[usize::from(lun.number())].as_mut()) {
            let fence = fence.or_else(|| (from < to).then(|| unit.port.unit().fence(from, to)));
            unit.health.fences.extend(fence);
        }
        if aborted {
            self.drop_task(index, env);
        } else {
            self.resume(index, env);
        }
    }
}

fn name_of(unit: &Unit) -> String {
    unit.store().map_or_else(|| "no medium".to_owned(), |store| store.name().into_owned())
}

fn say(settings: &TargetSettings, lun: Lun, unit: &Unit, failure: Failure, left_out: u64) {
    let (tid, name) = (settings.tid, name_of(unit));
    let more = Others(left_out);
    log::error!("target {tid} LUN {lun}: {name}: {failure}{more}");
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            Kind::Read | Kind::Compare { .. } | Kind::Probe => "read",
            Kind::Write { .. } | Kind::Fill { .. } => "write",
            Kind::Zeroes { .. } => "write of zeroes",
            Kind::Discard => "discard",
            Kind::Allocation => "query of allocated space",
            Kind::Flush => "flush",
            Kind::Idle => "command",
        };
        let Self { offset, error, .. } = *self;
        match self.kind {
            Kind::Flush | Kind::Idle => write!(out, "{what} failed: {}", reason(error)),
            _ => write!(out, "{what} at offset {offset} failed: {}", reason(error)),
        }
    }
}

/// The system's text and number where there is one: `Input/output error (5)`.
fn reason(error: IoError) -> Cow<'static, str> {
    let Some(errno) = error.errno() else { return error.kind().to_string().into() };
    let text = io::Error::from_raw_os_error(errno).to_string();
    let text = text.strip_suffix(&format!(" (os error {errno})")).unwrap_or(&text);
    format!("{text} ({errno})").into()
}

/// Failures beside the one in the line.
struct Others(u64);

impl fmt::Display for Others {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(out, "; {count} other failures since the last such line"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Failure =
        Failure { kind: Kind::Read, offset: 4096, error: IoError::medium(4096).with_errno(5) };

    #[test]
    fn failures_are_logged_once_a_period_and_the_others_counted() {
        let mut health = Health::default();
        let start = Instant::now();
        assert_eq!(health.failed(READ, start), Some(0));
        assert!((0..5).all(|_| health.failed(READ, start).is_none()));
        assert!(health.succeeded() && !health.succeeded(), "once");
        assert_eq!(health.failed(READ, start), None);
        assert!(!health.succeeded(), "of what was not logged nothing is said");
        assert!(health.late(start).is_none());
        assert_eq!(health.failed(READ, start + WARNINGS_PERIOD), Some(6));
    }

    #[test]
    fn what_was_left_out_is_logged_when_the_period_is_over() {
        let mut health = Health::default();
        let start = Instant::now();
        health.failed(READ, start);
        health.failed(READ, start);
        health.failed(READ, start);
        assert_eq!(health.late(start + WARNINGS_PERIOD).map(|(more, _)| more), Some(1));
        assert!(health.late(start + 3 * WARNINGS_PERIOD).is_none());
        assert!(health.succeeded());
    }

    #[test]
    fn a_failure_names_operation_offset_and_reason() {
        let shown = |kind, error| Failure { kind, offset: 512, error }.to_string();
        let write = Kind::Write { fua: true };
        assert_eq!(
            shown(write, IoError::medium(512).with_errno(5)),
            "write at offset 512 failed: Input/output error (5)"
        );
        assert_eq!(
            shown(Kind::Flush, IoError::LOST.with_errno(28)),
            "flush failed: No space left on device (28)"
        );
        assert_eq!(
            shown(Kind::Probe, IoError::OUT_OF_RANGE),
            "read at offset 512 failed: beyond the end of the store"
        );
        assert_eq!(
            Others(0).to_string() + &Others(2).to_string(),
            "; 2 other failures since the last such line"
        );
    }
}
