//! A load generator that costs much less than the target that it measures: one thread and one epoll instance.
//!
//! It is not a general initiator: it keeps a number of READ or WRITE commands outstanding on each session, and counts
//! them. It checks that every command transfers all of its data and ends with GOOD, and with [`Plan::verify`] it compares
//! the data.

mod cost;
mod dial;
mod fairness;
mod generator;
mod histogram;
mod opened;
mod outbox;
mod session;
mod visit;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use iscsi_proto::frame::{Digests, FrameError};
use iscsi_proto::login::LoginStatus;
use iscsi_proto::pdu::PduError;
use iscsi_proto::text::TextError;
use iscsi_proto::text::negotiate::NegotiationError;
use rustix::io::Errno;

pub use cost::{Cost, own_cpu_time, process_cost};
pub use dial::InitiatorPort;
pub use fairness::Fairness;
pub use generator::{Generator, run};
pub use histogram::Histogram;
pub use opened::{Opened, encode, fail_proof};
pub use visit::{leave_reads, visit};

/// A load and the target it is run on.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Address of the target's portal.
    pub portal: SocketAddr,
    /// Units to load, each with `sessions` sessions of its own.
    pub units: Vec<UnitName>,
    /// Sessions for each unit.
    pub sessions: usize,
    /// Number of the first session's initiator port; the others follow. Loads at the same time need ports of their own.
    pub first_port: u32,
    /// Commands outstanding on each session, 1 to 65535.
    pub depth: usize,
    /// Bytes of one command: a multiple of the unit's block length.
    pub transfer_len: u32,
    /// Shapes that replace `depth` and `transfer_len`, assigned to the sessions in turn; empty: all sessions use those.
    /// The latency is that of sessions with the first shape.
    pub mix: &'static [Shape],
    /// Kinds of commands.
    pub work: Work,
    /// Random offsets; else sequential ones that wrap at the end of the unit.
    pub random: bool,
    /// Bytes used of each unit, from its start; 0: all.
    pub range: u64,
    /// Digests; the login fails if the target does not accept exactly these.
    pub digests: Digests,
    /// Writes contain stamps of their offsets, and reads are checked for them. The unit must be filled by [`Work::Fill`].
    pub verify: bool,
    /// Time of load before the measurement.
    pub warm_up: Duration,
    /// Time of the measurement; [`Work::Fill`] ignores it.
    pub time: Duration,
    /// Processes of the target, whose cost is measured.
    pub processes: Vec<u32>,
    /// Seed of the random offsets.
    pub seed: u64,
}

/// Transfer length and queue depth of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shape {
    /// See [`Plan::transfer_len`].
    pub transfer_len: u32,
    /// See [`Plan::depth`].
    pub depth: usize,
}

/// A logical unit of a target.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnitName {
    /// The target's iSCSI name.
    pub target: String,
    /// The logical unit number, 0 to 16383.
    pub lun: u16,
}

/// Kinds of commands of a load.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Work {
    /// Only reads.
    Read,
    /// Only writes.
    Write,
    /// This percentage of reads, the others writes.
    Mixed(u8),
    /// Writes every byte of the unit once, with stamps; one session for each unit.
    Fill,
}

/// The result of a load.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Commands that ended during the measurement.
    pub commands: u64,
    /// Bytes transferred by them.
    pub bytes: u64,
    /// Duration of the measurement.
    pub elapsed: Duration,
    /// Time from submission to status of the commands.
    pub latency: Histogram,
    /// Cost of the target's processes during the measurement.
    pub cost: Cost,
    /// CPU time of the generator.
    pub own_cpu: Duration,
    /// Commands of each session that ended during the measurement.
    pub sessions: Vec<u64>,
}

/// Idle sessions; their connections are closed when it is dropped.
pub struct Idle {
    _sessions: Vec<TcpStream>,
}

impl Idle {
    /// Logs in as many sessions as the plan has.
    ///
    /// # Errors
    /// The error of the first login that fails.
    pub fn log_in(plan: &Plan) -> Result<Self, LoadError> {
        let numbers = 0..plan.units.len() * plan.sessions;
        let log_in = |number| {
            let unit = &plan.units[number % plan.units.len()];
            Ok(dial::dial(plan.portal, unit, plan.digests, plan.first_port + number as u32)?.socket)
        };
        Ok(Self { _sessions: numbers.map(log_in).collect::<Result<_, LoadError>>()? })
    }
}

impl Outcome {
    /// Commands per second.
    #[must_use]
    pub fn iops(&self) -> f64 {
        self.commands as f64 / self.elapsed.as_secs_f64()
    }

    /// Millions of bytes per second.
    #[must_use]
    pub fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.elapsed.as_secs_f64() / 1e6
    }

    /// CPU time of the target for one command, in microseconds.
    #[must_use]
    pub fn cpu_per_command(&self) -> f64 {
        self.cost.cpu.as_secs_f64() * 1e6 / self.commands.max(1) as f64
    }

    /// Commands per second of each session.
    #[must_use]
    pub fn rates(&self) -> Vec<f64> {
        self.sessions.iter().map(|&commands| commands as f64 / self.elapsed.as_secs_f64()).collect()
    }

    /// Context switches of the target's threads for one command.
    #[must_use]
    pub fn switches_per_command(&self) -> f64 {
        self.cost.switches as f64 / self.commands.max(1) as f64
    }
}

/// Why a load failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A blocking call on the connection failed.
    #[error("connection: {0}")]
    Io(#[from] io::Error),
    /// A nonblocking call on the connection failed.
    #[error("connection: {0}")]
    System(#[from] Errno),
    /// The target closed the connection.
    #[error("the target closed the connection")]
    Closed,
    /// The login was refused.
    #[error("login refused: {0}")]
    Refused(LoginStatus),
    /// The target sent bytes that are not a PDU.
    #[error("framing: {0}")]
    Frame(#[from] FrameError),
    /// The target sent a header that cannot be decoded.
    #[error("header: {0}")]
    Pdu(#[from] PduError),
    /// The target sent text that is not a list of keys.
    #[error("text: {0}")]
    Text(#[from] TextError),
    /// The negotiation failed.
    #[error("negotiation: {0}")]
    Negotiation(#[from] NegotiationError),
    /// The target violated the protocol.
    #[error("{0}")]
    Protocol(String),
    /// A command did not end with GOOD.
    #[error("SCSI status {status:#04x} for a {what} at byte {offset}")]
    Status {
        /// SCSI status.
        status: u8,
        /// Kind of command.
        what: &'static str,
        /// Offset on the unit in bytes.
        offset: u64,
    },
    /// Data read differs from data written.
    #[error("wrong data at byte {0}")]
    Data(u64),
    /// The target sent nothing for a long time.
    #[error("no answer for {} s, {outstanding} commands outstanding", after.as_secs())]
    Stalled {
        /// Time without an event.
        after: Duration,
        /// Number of outstanding commands.
        outstanding: usize,
    },
}

/// Length of a digest in bytes.
const DIGEST_LEN: usize = 4;

/// A violation of the protocol by the target.
fn odd(what: impl Into<String>) -> LoadError {
    LoadError::Protocol(what.into())
}
