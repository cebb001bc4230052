//! Counters of sessions and connections. The loop that serves the session writes them; the control thread reads them without
//! asking the loop. A counter has one writer, so it is loaded and stored without a lock. Values read while commands run are
//! approximate.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use scsi_core::lun::Lun;

use crate::direction::Direction;

/// The counters of one session for each unit of its target. They begin with the unit or with the session, whichever is
/// later.
#[derive(Debug, Default)]
pub struct SessionStats {
    /// Each chunk has twice as many units as the one before; it is made with its first unit.
    chunks: [OnceLock<Box<[UnitStats]>>; CHUNKS],
}

/// The counters of one session for one unit, on a cache line of their own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct UnitStats {
    bytes: [AtomicU64; 4],
    commands: [AtomicU32; 4],
    errors: AtomicU32,
}

/// The values of a [`UnitStats`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct UnitCounts {
    /// Reads that have begun.
    pub read_submitted: Moved,
    /// Reads that have ended.
    pub read_done: Moved,
    /// Writes that have begun.
    pub write_submitted: Moved,
    /// Writes that have ended.
    pub write_done: Moved,
    /// Commands that ended with another status than GOOD.
    pub errors: u32,
}

/// Bytes and commands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Moved {
    /// Expected data transfer lengths, in bytes.
    pub bytes: u64,
    /// Commands.
    pub commands: u32,
}

/// The counters of one connection, on a cache line of their own: neighbouring ones may belong to other loops.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct ConnectionStats {
    received: AtomicU64,
    sent: AtomicU64,
    data_out_pdus: AtomicU32,
    command_pdus: AtomicU32,
}

/// The values of a [`ConnectionStats`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ConnectionCounts {
    /// Bytes received, login, headers and padding included.
    pub received: u64,
    /// Bytes sent, likewise.
    pub sent: u64,
    /// Data-Out PDUs received.
    pub data_out_pdus: u32,
    /// SCSI Command PDUs received.
    pub command_pdus: u32,
}

/// Units in the first chunk.
const FIRST_CHUNK: usize = 8;
/// As many chunks as the highest LUN needs.
const CHUNKS: usize = position(Lun::MAX).0 + 1;

const READ: usize = 0;
const WRITE: usize = 2;
const SUBMITTED: usize = 0;
const DONE: usize = 1;

/// The index of a unit's chunk, and of the unit in it.
#[inline]
const fn position(lun: u16) -> (usize, usize) {
    let number = lun as usize + FIRST_CHUNK;
    let chunk = (number / FIRST_CHUNK).ilog2() as usize;
    (chunk, number - (FIRST_CHUNK << chunk))
}

impl SessionStats {
    /// A unit's counters; `None`: the session has none for it.
    #[inline]
    #[must_use]
    pub fn unit(&self, lun: Lun) -> Option<&UnitStats> {
        let (chunk, at) = position(lun.number());
        self.chunks.get(chunk)?.get()?.get(at)
    }

    /// A unit was added: its counters begin at zero, whatever a previous unit with its LUN has counted.
    pub(crate) fn begin(&self, lun: Lun) {
        let (chunk, at) = position(lun.number());
        let units = self.chunks[chunk]
            .get_or_init(|| (0..FIRST_CHUNK << chunk).map(|_| UnitStats::default()).collect());
        units[at].clear();
    }
}

impl UnitStats {
    /// A command goes to its unit.
    #[inline]
    pub(crate) fn submitted(&self, direction: Direction, expected_len: u32) {
        self.moved(SUBMITTED, direction, expected_len);
    }

    /// A command that was `submitted` has ended.
    #[inline]
    pub(crate) fn done(&self, direction: Direction, expected_len: u32) {
        self.moved(DONE, direction, expected_len);
    }

    /// A command has ended with another status than GOOD.
    #[inline]
    pub(crate) fn failed(&self) {
        add_u32(&self.errors, 1);
    }

    #[inline]
    fn moved(&self, stage: usize, direction: Direction, len: u32) {
        let (way, commands) = match direction {
            Direction::None => return,
            Direction::Read => (READ + stage, 1),
            Direction::Write => (WRITE + stage, 1),
            // tgt counts it as neither a read nor a write; the length is that of the Data-Out.
            Direction::Both => (WRITE + stage, 0),
        };
        add_u64(&self.bytes[way], len.into());
        add_u32(&self.commands[way], commands);
    }

    fn clear(&self) {
        self.bytes.iter().for_each(|bytes| bytes.store(0, Relaxed));
        self.commands.iter().chain([&self.errors]).for_each(|count| count.store(0, Relaxed));
    }

    /// The present values.
    #[must_use]
    pub fn counts(&self) -> UnitCounts {
        let moved = |way: usize| Moved {
            bytes: self.bytes[way].load(Relaxed),
            commands: self.commands[way].load(Relaxed),
        };
        UnitCounts {
            read_submitted: moved(READ + SUBMITTED),
            read_done: moved(READ + DONE),
            write_submitted: moved(WRITE + SUBMITTED),
            write_done: moved(WRITE + DONE),
            errors: self.errors.load(Relaxed),
        }
    }
}

impl ConnectionStats {
    /// The counters of a connection whose login has received and sent so many bytes.
    #[must_use]
    pub fn after_login(received: u64, sent: u64) -> Self {
        Self { received: received.into(), sent: sent.into(), ..Self::default() }
    }

    /// So many bytes were received.
    #[inline]
    pub fn received(&self, count: usize) {
        add_u64(&self.received, count as u64);
    }

    /// So many bytes were sent.
    #[inline]
    pub fn sent(&self, count: usize) {
        add_u64(&self.sent, count as u64);
    }

    /// A Data-Out PDU was received.
    #[inline]
    pub(crate) fn data_out(&self) {
        add_u32(&self.data_out_pdus, 1);
    }

    /// A SCSI Command PDU was received.
    #[inline]
    pub(crate) fn command(&self) {
        add_u32(&self.command_pdus, 1);
    }

    /// The present values.
    #[must_use]
    pub fn counts(&self) -> ConnectionCounts {
        ConnectionCounts {
            received: self.received.load(Relaxed),
            sent: self.sent.load(Relaxed),
            data_out_pdus: self.data_out_pdus.load(Relaxed),
            command_pdus: self.command_pdus.load(Relaxed),
        }
    }
}

/// Only the counter's one writer may call this: what others add at the same time would be lost.
#[inline]
fn add_u64(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(count), Relaxed);
}

/// Likewise.
#[inline]
fn add_u32(counter: &AtomicU32, count: u32) {
    counter.store(counter.load(Relaxed).wrapping_add(count), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_has_its_own_counters() {
        let stats = SessionStats::default();
        let luns = || (0..=Lun::MAX).map(|number| Lun::new(number.into()).unwrap());
        assert!(luns().all(|lun| stats.unit(lun).is_none()));
        luns().for_each(|lun| stats.begin(lun));
        for lun in luns() {
            stats.unit(lun).unwrap().submitted(Direction::Read, lun.number().into());
        }
        for lun in luns() {
            let expected = Moved { bytes: lun.number().into(), commands: 1 };
            assert_eq!(stats.unit(lun).unwrap().counts().read_submitted, expected, "LUN {lun}");
        }
    }

    #[test]
    fn few_units_need_little_memory() {
        let stats = SessionStats::default();
        stats.begin(Lun::ZERO);
        assert!(stats.unit(Lun::new(7).unwrap()).is_some() && stats.unit(Lun::new(8).unwrap()).is_none());
    }

    #[test]
    fn a_unit_that_is_added_again_begins_at_zero() {
        let stats = SessionStats::default();
        stats.begin(Lun::ZERO);
        let unit = stats.unit(Lun::ZERO).unwrap();
        for direction in [Direction::Read, Direction::Write] {
            unit.submitted(direction, 1);
            unit.done(direction, 1);
        }
        unit.failed();
        stats.begin(Lun::ZERO);
        assert_eq!(unit.counts(), UnitCounts::default());
    }

    /// The values that tgt 1.0.85 showed for the same commands.
    #[test]
    fn commands_are_counted_by_the_direction_they_came_with() {
        let moved = |bytes, commands| Moved { bytes, commands };
        let unit = UnitStats::default();
        unit.submitted(Direction::None, 100);
        unit.done(Direction::None, 100);
        assert_eq!(unit.counts(), UnitCounts::default());
        unit.submitted(Direction::Read, 0);
        unit.submitted(Direction::Read, u32::MAX);
        unit.submitted(Direction::Read, u32::MAX);
        unit.done(Direction::Read, 7);
        unit.submitted(Direction::Write, 4096);
        unit.done(Direction::Write, 512);
        unit.submitted(Direction::Both, 1);
        unit.failed();
        let expected = UnitCounts {
            read_submitted: moved(2 * u64::from(u32::MAX), 3),
            read_done: moved(7, 1),
            write_submitted: moved(4097, 1),
            write_done: moved(512, 1),
            errors: 1,
        };
        assert_eq!(unit.counts(), expected);
    }

    #[test]
    fn connections_continue_the_counts_of_their_login() {
        let stats = ConnectionStats::after_login(244, 92);
        stats.received(48);
        stats.sent(4144);
        stats.command();
        stats.data_out();
        stats.data_out();
        let expected = ConnectionCounts { received: 292, sent: 4236, data_out_pdus: 2, command_pdus: 1 };
        assert_eq!(stats.counts(), expected);
    }
}
