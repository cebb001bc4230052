//! A load generator that costs far less than what it measures: one thread, one epoll, headers built once and patched.
//!
//! It is no general initiator: it logs in as one that takes everything the target offers, keeps a number of READ or
//! WRITE commands outstanding on each session, and counts. What the target sends is followed closely enough to know
//! that every command got all of its data and a good status; with [`Plan::verify`] the data is checked too.

mod cost;
mod dial;
mod fairness;
mod generator;
mod histogram;
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
pub use fairness::Fairness;
pub use generator::run;
pub use histogram::Histogram;
pub use visit::{leave_reads, visit};

/// What to do to which target.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the target listens.
    pub portal: SocketAddr,
    /// Units to load, each with `sessions` sessions of its own.
    pub units: Vec<UnitName>,
    /// Sessions for each unit.
    pub sessions: usize,
    /// Commands outstanding on each session, 1 to 65535.
    pub depth: usize,
    /// Bytes of one command: a multiple of the unit's block length.
    pub transfer_len: u32,
    /// What the sessions do instead of these two, one after the other and again from the first; empty: all do the
    /// same. The latency is then that of the first shape alone.
    pub mix: &'static [Shape],
    /// What the commands are.
    pub work: Work,
    /// Whether offsets are random, or go through the unit from its begin to its end again and again.
    pub random: bool,
    /// Only so many bytes of each unit are used; 0: all.
    pub range: u64,
    /// Digests to insist on.
    pub digests: Digests,
    /// Writes carry a stamp of their place and reads must show it: for a unit that [`Work::Fill`] has been over.
    pub verify: bool,
    /// How long to run before counting begins.
    pub warm_up: Duration,
    /// How long to count. [`Work::Fill`] takes as long as it takes.
    pub time: Duration,
    /// Processes of the target, whose cost is measured.
    pub processes: Vec<u32>,
    /// Of the random offsets.
    pub seed: u64,
}

/// What one session does.
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

/// What the commands are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Work {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// So many reads in a hundred, the rest writes.
    Mixed(u8),
    /// Every byte of the unit once, with its stamp; for one session a unit.
    Fill,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Commands that were counted.
    pub commands: u64,
    /// Bytes they moved.
    pub bytes: u64,
    /// How long was counted.
    pub elapsed: Duration,
    /// Times from a command's submission to its status, in nanoseconds.
    pub latency: Histogram,
    /// What the target's processes spent meanwhile.
    pub cost: Cost,
    /// CPU time the generator itself spent.
    pub own_cpu: Duration,
    /// Commands of each session that were counted.
    pub sessions: Vec<u64>,
}

/// Sessions that are logged in and ask for nothing, until it is dropped.
pub struct Idle {
    _sessions: Vec<TcpStream>,
}

impl Idle {
    /// Logs in as many sessions as the plan says.
    ///
    /// # Errors
    /// The first that does not get in.
    pub fn log_in(plan: &Plan) -> Result<Self, LoadError> {
        let numbers = 0..plan.units.len() * plan.sessions;
        let log_in = |number| {
            let unit = &plan.units[number % plan.units.len()];
            Ok(dial::dial(plan.portal, unit, plan.digests, number as u32)?.socket)
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

/// Why a load could not be put on a target.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The connection failed.
    #[error("connection: {0}")]
    Io(#[from] io::Error),
    /// The connection failed.
    #[error("connection: {0}")]
    System(#[from] Errno),
    /// The target closed the connection.
    #[error("the target closed the connection")]
    Closed,
    /// The login was refused.
    #[error("login refused: {0:?}")]
    Refused(LoginStatus),
    /// What the target sent cannot be taken apart.
    #[error("framing: {0}")]
    Frame(#[from] FrameError),
    /// What the target sent cannot be decoded.
    #[error("header: {0}")]
    Pdu(#[from] PduError),
    /// The target's text is no list of keys.
    #[error("text: {0}")]
    Text(#[from] TextError),
    /// The negotiation failed.
    #[error("negotiation: {0}")]
    Negotiation(#[from] NegotiationError),
    /// The target did something no target does.
    #[error("{0}")]
    Protocol(String),
    /// A command ended with another status than GOOD.
    #[error("SCSI status {status:#04x} for a {what} at byte {offset}")]
    Status {
        /// The status.
        status: u8,
        /// Read or write.
        what: &'static str,
        /// Where.
        offset: u64,
    },
    /// Data differs from what was written.
    #[error("wrong data at byte {0}")]
    Data(u64),
    /// Nothing came for a long time.
    #[error("no answer for {} s, {outstanding} commands outstanding", after.as_secs())]
    Stalled {
        /// How long.
        after: Duration,
        /// How many commands wait.
        outstanding: usize,
    },
}

/// Bytes of a digest on the wire.
const DIGEST_LEN: usize = 4;

/// An error of the target's behaviour.
fn odd(what: impl Into<String>) -> LoadError {
    LoadError::Protocol(what.into())
}
