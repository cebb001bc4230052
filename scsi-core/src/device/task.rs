//! What a running command keeps between its steps. The transport stores it in its own table of tasks.

use std::fmt::Debug;

use super::answer::{Refusal, good};
use super::error::{Access, io_sense};
use super::unflushed::CacheUse;
use super::{IoDone, NexusIndex, Step};
use crate::sense::{AdditionalSense, Sense, SenseKey};
use crate::store::IoError;

/// One command at its unit; `Default` before `UnitPort::start`. READ, WRITE and SYNCHRONIZE CACHE allocate nothing.
#[derive(Debug, Default)]
pub struct DeviceTask {
    /// Bytes that the CDB asks to be transferred.
    transfer_len: u64,
    /// Selects the sense data if the running step fails.
    access: Access,
    /// The nexus that sent the command, once it has made a step.
    nexus: NexusIndex,
    /// What the running step does to the cache of the store.
    pub(super) cache_use: CacheUse,
    then: Then,
}

/// What follows the running step.
#[derive(Debug, Default)]
pub(super) enum Then {
    /// GOOD.
    #[default]
    Finish,
    /// A flush, then GOOD.
    Flush,
    /// A flush, then this check, then GOOD.
    FlushAndCheck(Check),
    /// This check, then GOOD.
    Check(Check),
    /// What the command decides from the result of the step.
    Continue(Box<dyn Continuation>),
}

/// The rest of a command of many steps, as UNMAP with its ranges.
pub(super) trait Continuation: Debug + Send + Sync {
    /// The step after one that ended as `done`; a further step is announced with [`DeviceTask::follow_with`].
    /// `None` if the command made no step with such a result.
    fn next(self: Box<Self>, task: &mut DeviceTask, done: IoDone) -> Option<Step>;
}

/// A comparison of the medium with something else. Offset and length are bytes of the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Check {
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) against: Against,
}

/// What a check compares the medium with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Against {
    /// Nothing; the medium must be readable.
    Nothing,
    /// The data-out, byte for byte.
    DataOut,
    /// The first bytes of the data-out, this many, repeated over the whole length.
    Pattern(u32),
}

impl Check {
    /// The step that makes the check.
    pub(super) fn step(self) -> Step {
        let Self { offset, len, against } = self;
        match against {
            Against::Nothing => Step::Probe { offset, len },
            Against::DataOut => Step::Compare { offset, len, repeat: None },
            Against::Pattern(pattern_len) => Step::Compare { offset, len, repeat: Some(pattern_len) },
        }
    }
}

impl DeviceTask {
    /// Bytes that the CDB asks to be transferred in either direction. The residual is its difference to the
    /// length that the transport expects (SAM-5 5.4.2). 0 for parameter data to the initiator, where the length of
    /// `Outcome::data_in` counts, and 0 for a refused command.
    #[must_use]
    pub fn transfer_len(&self) -> u64 {
        self.transfer_len
    }

    /// The CDB asks for `len` bytes of data to be transferred.
    #[inline]
    pub(super) fn transfers(&mut self, len: u64) {
        self.transfer_len = len;
    }

    /// The command is refused and transfers nothing.
    pub(super) fn refused(&mut self) {
        self.transfer_len = 0;
    }

    /// The steps change the medium: their errors are write errors.
    #[inline]
    pub(super) fn writes(&mut self) {
        self.access = Access::Write;
    }

    /// The end of the command after an error of the running step: BUSY or sense data. The logical block length is 2 to
    /// the power of `block_shift`.
    pub(super) fn refusal_of(&self, error: IoError, block_shift: u32) -> Refusal {
        io_sense(error, self.access, block_shift).map_or(Refusal::Busy, Refusal::Sense)
    }

    /// Sets what follows the step that is about to run.
    #[inline]
    pub(super) fn follow_with(&mut self, then: Then) {
        self.then = then;
    }

    /// Whether the running step writes through a cache that is flushed afterwards.
    pub(super) fn flushes_next(&self) -> bool {
        matches!(self.then, Then::Flush)
    }

    /// Sets the nexus that sent the command.
    #[inline]
    pub(super) fn set_nexus(&mut self, nexus: NexusIndex) {
        self.nexus = nexus;
    }

    /// The nexus that sent the command.
    #[inline]
    pub(super) fn nexus(&self) -> NexusIndex {
        self.nexus
    }

    /// Whether the command ends with GOOD after the running step.
    #[inline]
    pub(super) fn is_last_step(&self) -> bool {
        matches!(self.then, Then::Finish)
    }

    /// The step after one that succeeded.
    ///
    /// # Errors
    /// The sense data that ends the command: MISCOMPARE, or INTERNAL TARGET FAILURE for a result that the step cannot
    /// have.
    pub(super) fn advance(&mut self, done: IoDone) -> Result<Step, Sense> {
        match (std::mem::take(&mut self.then), done) {
            (_, IoDone::Miscompare { at }) => {
                let code = AdditionalSense::MISCOMPARE_DURING_VERIFY_OPERATION;
                Err(Sense::new(SenseKey::Miscompare, code).with_information(at))
            }
            (Then::Finish, IoDone::Done) => Ok(good()),
            (Then::Flush, IoDone::Done) => Ok(Step::Flush),
            (Then::FlushAndCheck(check), IoDone::Done) => {
                self.then = Then::Check(check);
                Ok(Step::Flush)
            }
            (Then::Check(check), IoDone::Done) => {
                self.access = Access::Read;
                Ok(check.step())
            }
            (Then::Continue(rest), done) => rest.next(self, done).ok_or_else(|| unexpected(done)),
            (_, done) => Err(unexpected(done)),
        }
    }
}

/// The transport reported a result that the step before cannot have.
#[cold]
fn unexpected(done: IoDone) -> Sense {
    debug_assert!(false, "{done:?} is not a result of the step before");
    Sense::new(SenseKey::HardwareError, AdditionalSense::INTERNAL_TARGET_FAILURE)
}
