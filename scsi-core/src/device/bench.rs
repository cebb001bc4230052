//! Test bench for commands: a unit with a small store in memory, and a transport that performs the steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::task::DeviceTask;
use super::unit::{Unit, UnitConfig};
use super::{Command, IoDone, IoResult, Nexus, NexusId, NexusIndex, Outcome, Step, TargetView};
use crate::device::port::UnitPort;
use crate::lun::Lun;
use crate::sense::Sense;
use crate::status::Status;
use crate::store::{Backstore, Capabilities, Engines, Geometry, IoError, Port};

/// Number of blocks of the store.
pub(super) const BLOCKS: u64 = 64;
/// Block length in bytes.
pub(super) const BLOCK_LEN: u64 = 512;

/// Capabilities of a file on a common file system.
pub(super) const FILE: Capabilities = Capabilities {
    volatile_cache: true,
    may_shrink: true,
    discard_granularity: 4096,
    ..Capabilities::ALL_OPERATIONS
};

/// A store that only reports its properties; the bench holds the bytes.
pub(super) struct FakeStore {
    pub(super) size: AtomicU64,
    capabilities: Capabilities,
}

impl Backstore for FakeStore {
    fn kind(&self) -> &'static str {
        "fake"
    }

    fn geometry(&self) -> Geometry {
        Geometry { size: self.size.load(Ordering::Relaxed), physical_block_len: 4096 }
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn refresh(&self) -> Result<Geometry, IoError> {
        Ok(self.geometry())
    }

    fn attach(&self, _: &mut Engines) -> Result<Port, IoError> {
        Err(IoError::UNSUPPORTED)
    }
}

pub(super) struct Bench {
    pub(super) unit: Arc<Unit>,
    pub(super) store: Arc<FakeStore>,
    pub(super) port: UnitPort,
    /// Contents of the store.
    pub(super) bytes: Vec<u8>,
    /// Blocks that are holes, for `Step::Allocation`.
    pub(super) holes: Vec<bool>,
    /// The steps of the last command.
    pub(super) steps: Vec<Step>,
    /// Error of the next step.
    pub(super) fail: Option<IoError>,
    /// `DeviceTask::transfer_len` of the last command.
    pub(super) transfer_len: u64,
}

struct Luns([Lun; 1]);

impl TargetView for Luns {
    fn luns(&self) -> &[Lun] {
        &self.0
    }
}

impl Bench {
    /// A disk with nexuses 0 and 1, without pending unit attentions.
    pub(super) fn disk(change: impl FnOnce(&mut UnitConfig), capabilities: Capabilities) -> Self {
        let mut config = UnitConfig::disk(1, 1);
        change(&mut config);
        Self::new(config, capabilities)
    }

    pub(super) fn new(config: UnitConfig, capabilities: Capabilities) -> Self {
        let len = BLOCKS * BLOCK_LEN;
        let store = Arc::new(FakeStore { size: AtomicU64::new(len), capabilities });
        let unit = Unit::new(config, Some(store.clone()));
        let port = UnitPort::new(unit.clone());
        let mut bench = Self {
            unit,
            store,
            port,
            bytes: (0..len).map(|at| (at / BLOCK_LEN) as u8).collect(),
            holes: vec![false; BLOCKS as usize],
            steps: Vec::new(),
            fail: None,
            transfer_len: 0,
        };
        for index in 0..2 {
            bench.attach(index);
            while bench.command(index, &[0; 6], &[]).status != Status::Good {
                if !bench.unit.config().online {
                    break;
                }
            }
        }
        bench
    }

    pub(super) fn attach(&mut self, index: u32) {
        let nexus = Nexus {
            id: NexusId(100 + u64::from(index)),
            initiator_port: format!("iqn.2001-04.com.example:{index},i,0x000000000001").into(),
            target_port: 1,
        };
        self.port.attach_nexus(NexusIndex(index), nexus);
    }

    /// Runs a command of nexus 0 to its end.
    pub(super) fn run(&mut self, cdb: &[u8], data_out: &[u8]) -> Outcome {
        self.command(0, cdb, data_out)
    }

    /// Runs a command to its end.
    pub(super) fn command(&mut self, nexus: u32, bytes: &[u8], data_out: &[u8]) -> Outcome {
        let mut cdb = [0; 16];
        cdb[..bytes.len()].copy_from_slice(bytes);
        let data_out_len = data_out.len() as u64;
        let command = Command { nexus: NexusIndex(nexus), cdb: &cdb, data_out_len, data_out };
        let mut task = DeviceTask::default();
        self.steps.clear();
        let mut step = self.port.start(&mut task, &command, &Luns([Lun::ZERO]));
        self.transfer_len = task.transfer_len();
        loop {
            if let Step::Done(outcome) = step {
                return outcome;
            }
            assert!(self.steps.len() < 10_000, "a command ends");
            let result = match self.fail.take() {
                Some(error) => Err(error),
                None => self.perform(&step, data_out),
            };
            self.steps.push(step);
            step = self.port.io_done(&mut task, result);
        }
    }

    /// Performs a step on `bytes`, and asserts that it is within bounds.
    fn perform(&mut self, step: &Step, data_out: &[u8]) -> IoResult {
        let range = |offset: u64, len: u64| {
            let end = offset.checked_add(len).expect("no overflow");
            assert!(end <= self.bytes.len() as u64, "{step:?} is within the store");
            assert!(len > 0, "{step:?} does something");
            offset as usize..end as usize
        };
        match *step {
            Step::Read { offset, len } | Step::Probe { offset, len } => {
                range(offset, len);
            }
            Step::Write { offset, len, .. } => {
                let range = range(offset, len);
                self.bytes[range].copy_from_slice(&data_out[..len as usize]);
            }
            Step::Fill { offset, len, pattern_len, .. } => {
                let range = range(offset, len);
                for block in self.bytes[range].chunks_exact_mut(pattern_len as usize) {
                    block.copy_from_slice(&data_out[..pattern_len as usize]);
                }
            }
            Step::WriteZeroes { offset, len, .. } | Step::Discard { offset, len } => {
                let range = range(offset, len);
                self.bytes[range].fill(0);
            }
            Step::Compare { offset, len, repeat } => {
                let stored = &self.bytes[range(offset, len)];
                let pattern = &data_out[..repeat.map_or(len, u64::from) as usize];
                let differs = stored.iter().zip(pattern.iter().cycle()).position(|(one, other)| one != other);
                if let Some(at) = differs {
                    return Ok(IoDone::Miscompare { at: at as u64 });
                }
            }
            Step::Allocation { offset, len } => {
                range(offset, len);
                let blocks = &self.holes[(offset / BLOCK_LEN) as usize..];
                let hole = blocks[0];
                let same = blocks.iter().take_while(|other| **other == hole).count() as u64;
                return Ok(IoDone::Allocation { len: (same * BLOCK_LEN).min(len), hole });
            }
            Step::Flush | Step::AbortTasks(_) => {}
            Step::Done(_) => unreachable!("not a step on the store"),
        }
        Ok(IoDone::Done)
    }
}

/// Result of a command: sense key, code and qualifier of CHECK CONDITION; `None` is GOOD.
pub(super) type Verdict = Option<(u8, u8, u8)>;

pub(super) fn verdict(outcome: &Outcome) -> Verdict {
    match (outcome.status, outcome.sense) {
        (Status::Good, None) => None,
        (Status::CheckCondition, Some(Sense { key, code, .. })) => Some((key as u8, code.asc, code.ascq)),
        other => panic!("neither GOOD nor CHECK CONDITION: {other:?}"),
    }
}

pub(super) const GOOD: Verdict = None;
pub(super) const BAD_OPCODE: Verdict = Some((5, 0x20, 0));
pub(super) const BAD_FIELD: Verdict = Some((5, 0x24, 0));
pub(super) const BAD_LIST: Verdict = Some((5, 0x26, 0));
pub(super) const BAD_LIST_LEN: Verdict = Some((5, 0x1a, 0));
pub(super) const OUT_OF_RANGE: Verdict = Some((5, 0x21, 0));
pub(super) const PROTECTED: Verdict = Some((7, 0x27, 0));
pub(super) const NO_MEDIUM: Verdict = Some((2, 0x3a, 0));
pub(super) const PREVENTED: Verdict = Some((5, 0x53, 2));
