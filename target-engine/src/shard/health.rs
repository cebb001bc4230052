//! What one unit's store has reported: failures to be logged, rate-limited, and whether its engine has panicked.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::time::Instant;

use scsi_core::device::fence::FenceId;
use scsi_core::device::unit::Unit;
use scsi_core::lun::Lun;
use scsi_core::store::{IoError, IoErrorKind};

use super::transfer::kind::TransferKind;
use crate::limits::WARNINGS_PERIOD;
use crate::warnings::Warnings;

/// The health of one unit's store, as seen by one loop.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// The last operation failed. A command that succeeds checks nothing else.
    failing: bool,
    /// When a failure was logged last.
    logged_at: Option<Instant>,
    /// A failure was logged, and no recovery since.
    is_logged: bool,
    /// How many failures were not logged, and the last of them.
    left_out: Option<(u64, Failure)>,
    /// Its engine has panicked.
    broken: bool,
    /// Fences around what the engine that panicked may still write.
    fences: Vec<FenceId>,
    /// The engine reports that it cannot reach the store.
    unreachable: bool,
    /// Limits the lines on that.
    reach_lines: Warnings,
}

/// A failed operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure {
    pub(super) kind: TransferKind,
    /// Byte in the store.
    pub(super) offset: u64,
    pub(super) error: IoError,
}

/// I/O succeeds again after a failure that was logged.
#[derive(Debug)]
pub(super) struct Recovery {
    /// The line for the failures that were not logged; it comes before that of the recovery.
    pub(super) left_out: Option<FailureLine>,
}

/// A line for failures that were not logged when they happened.
#[derive(Debug)]
pub(super) struct LateLine {
    pub(super) lun: Lun,
    pub(super) store_name: String,
    pub(super) line: FailureLine,
    /// I/O has succeeded since.
    pub(super) recovered: bool,
}

impl Health {
    /// Whether the last operation failed.
    #[inline]
    pub(super) fn is_failing(&self) -> bool {
        self.failing
    }

    /// An operation has failed. Returns the line to log now, if it is time for one.
    pub(super) fn failed(&mut self, failure: Failure, now: Instant) -> Option<FailureLine> {
        self.failing = true;
        if self.was_logged_lately(now) {
            let count = self.left_out.map_or(0, |(count, _)| count);
            self.left_out = Some((count + 1, failure));
            return None;
        }
        (self.logged_at, self.is_logged) = (Some(now), true);
        let others = self.left_out.take().map_or(0, |(count, _)| count);
        Some(FailureLine { failure, others })
    }

    /// Returns the line for the failures that were not logged, once the last line is old enough.
    pub(super) fn late_line(&mut self, now: Instant) -> Option<FailureLine> {
        if self.was_logged_lately(now) {
            return None;
        }
        let line = self.take_left_out()?;
        (self.logged_at, self.is_logged) = (Some(now), self.failing);
        Some(line)
    }

    /// Takes the line for the failures that were not logged.
    fn take_left_out(&mut self) -> Option<FailureLine> {
        let (count, failure) = self.left_out.take()?;
        Some(FailureLine { failure, others: count - 1 })
    }

    /// Whether failures wait to be logged.
    pub(super) fn has_left_out(&self) -> bool {
        self.left_out.is_some()
    }

    /// An operation has succeeded after a failure. Returns what to log now, if the failure was logged.
    pub(super) fn succeeded(&mut self) -> Option<Recovery> {
        self.failing = false;
        std::mem::take(&mut self.is_logged).then(|| Recovery { left_out: self.take_left_out() })
    }

    /// The engine has panicked. Returns true the first time.
    pub(super) fn set_broken(&mut self) -> bool {
        !std::mem::replace(&mut self.broken, true)
    }

    /// Keeps a fence until the store is replaced.
    pub(super) fn keep_fence(&mut self, fence: Option<FenceId>) {
        self.fences.extend(fence);
    }

    /// The engine reports whether it can reach the store. Returns the text of the line to log, if that changes for the
    /// unit.
    pub(super) fn set_reached(&mut self, reached: bool, unit: &Unit, now: Instant) -> Option<String> {
        if std::mem::replace(&mut self.unreachable, !reached) != reached {
            return None;
        }
        if !reached {
            return unit.reports().unreachable(now).then(|| "the store cannot be reached".to_owned());
        }
        let since = unit.reports().back()?;
        let seconds = now.saturating_duration_since(since).as_secs();
        Some(format!("the store can be reached again, after {seconds} s"))
    }

    /// Limits the lines on reaching the store.
    pub(super) fn reach_lines(&mut self) -> &mut Warnings {
        &mut self.reach_lines
    }

    /// Another store is in use: forgets everything and removes the fences.
    pub(super) fn reset(&mut self, unit: &Unit) {
        if self.unreachable {
            unit.reports().back();
        }
        self.fences.drain(..).for_each(|fence| unit.remove_fence(fence));
        *self = Self::default();
    }

    fn was_logged_lately(&self, now: Instant) -> bool {
        self.logged_at.is_some_and(|at| now.saturating_duration_since(at) < WARNINGS_PERIOD)
    }
}

impl Failure {
    /// Whether the store has failed. A cancelled operation, or a step without I/O, says nothing about the store.
    pub(super) fn is_of_the_store(&self) -> bool {
        self.kind != TransferKind::Idle && self.error.kind() != IoErrorKind::Cancelled
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, offset, error } = *self;
        match kind {
            TransferKind::Flush | TransferKind::Idle => {
                write!(out, "{} failed: {}", kind.name(), reason(error))
            }
            _ => write!(out, "{} at offset {offset} failed: {}", kind.name(), reason(error)),
        }
    }
}

/// The system's text and number if there is one: `Input/output error (5)`.
fn reason(error: IoError) -> Cow<'static, str> {
    let Some(errno) = error.errno() else { return error.kind().to_string().into() };
    let text = io::Error::from_raw_os_error(errno).to_string();
    let text = text.strip_suffix(&format!(" (os error {errno})")).unwrap_or(&text);
    format!("{text} ({errno})").into()
}

/// A failure, and how many others were not logged before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct FailureLine {
    failure: Failure,
    others: u64,
}

impl fmt::Display for FailureLine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(out)?;
        match self.others {
            0 => Ok(()),
            count => write!(out, "; {count} other failures since the last such line"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Failure =
        Failure { kind: TransferKind::Read, offset: 4096, error: IoError::medium(4096).with_errno(5) };

    fn others(line: Option<FailureLine>) -> Option<u64> {
        line.map(|line| line.others)
    }

    #[test]
    fn failures_are_logged_once_a_period_and_counted_in_between() {
        let mut health = Health::default();
        let start = Instant::now();
        assert_eq!(others(health.failed(READ, start)), Some(0));
        assert!((0..5).all(|_| health.failed(READ, start).is_none()));
        assert_eq!(others(health.succeeded().unwrap().left_out), Some(4), "before the recovery");
        assert!(health.succeeded().is_none(), "once");
        assert!(health.failed(READ, start).is_none());
        assert!(health.succeeded().is_none(), "the failure before it was not logged");
        assert!(health.late_line(start).is_none());
        assert_eq!(others(health.failed(READ, start + WARNINGS_PERIOD)), Some(1));
    }

    #[test]
    fn failures_that_were_left_out_are_logged_when_the_period_is_over() {
        let mut health = Health::default();
        let start = Instant::now();
        health.failed(READ, start);
        health.failed(READ, start);
        health.failed(READ, start);
        assert_eq!(others(health.late_line(start + WARNINGS_PERIOD)), Some(1));
        assert!(health.late_line(start + 3 * WARNINGS_PERIOD).is_none());
        assert!(health.succeeded().unwrap().left_out.is_none());
    }

    #[test]
    fn a_failure_names_operation_offset_and_reason() {
        let shown = |kind, error| Failure { kind, offset: 512, error }.to_string();
        let write = TransferKind::Write { fua: true };
        assert_eq!(
            shown(write, IoError::medium(512).with_errno(5)),
            "write at offset 512 failed: Input/output error (5)"
        );
        assert_eq!(
            shown(TransferKind::Flush, IoError::NO_SPACE.with_errno(28)),
            "flush failed: No space left on device (28)"
        );
        assert_eq!(
            shown(TransferKind::Probe, IoError::OUT_OF_RANGE),
            "read at offset 512 failed: beyond the end of the store"
        );
        let line = FailureLine { failure: READ, others: 2 }.to_string();
        assert!(line.ends_with("(5); 2 other failures since the last such line"), "{line}");
    }
}
