//! A session: its nexus, its command window, its connections, and counts of its tasks.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use iscsi_proto::ids::Tsih;
use iscsi_proto::params::SessionParams;
use iscsi_proto::pdu::Bhs;
use iscsi_proto::sn::CmdSn;
use scsi_core::device::Nexus;
use scsi_core::store::Block;

use crate::buffers::{Account, Pool};
use crate::iscsi::connection::data_out::DataOutRules;
use crate::iscsi::connection::respond::Window;
use crate::iscsi::connection::whole_blocks;
use crate::iscsi::session::CommandWindow;
use crate::keys::{ConnectionIndex, TaskKey};
use crate::limits::{BURST_LEN_MAX, COMMAND_WAIT, OUTSTANDING_R2T_MAX};
use crate::stats::SessionStats;

/// One session of a shard.
#[derive(Debug)]
pub struct Session {
    tsih: Tsih,
    nexus: Nexus,
    rules: DataOutRules,
    times: (u16, u16),
    /// What its connections and tasks hold.
    account: Account,
    commands: CommandWindow<Held>,
    /// Since when the next command has been missing while others wait for it.
    gap: Option<Gap>,
    connections: Vec<ConnectionIndex>,
    /// Tasks that wait for unsolicited Data-Out, which names its task only by the initiator's tag.
    unsolicited: Vec<TaskKey>,
    /// Running tasks, immediate ones included.
    tasks: usize,
    /// Tasks with memory set aside for data that an R2T asked for.
    reserving: usize,
    /// Running immediate tasks.
    immediate: usize,
    /// Its last connection has ended.
    closing: bool,
    stats: Arc<SessionStats>,
}

/// The command that a session waits for.
#[derive(Debug)]
struct Gap {
    expected: CmdSn,
    since: Instant,
}

/// What holds a command number whose turn has not come.
#[derive(Debug)]
pub enum Held {
    /// A PDU that arrived before its turn.
    Pdu(HeldPdu),
    /// A command that was aborted before its turn, or before it arrived. The number belongs to the session: it is held
    /// whatever connections end.
    Aborted,
}

/// A numbered PDU that arrived before its turn.
#[derive(Debug)]
pub struct HeldPdu {
    pub(super) connection: ConnectionIndex,
    pub(super) bhs: Bhs,
    pub(super) ahs: Bytes,
    pub(super) block: Option<Block>,
}

impl Held {
    /// Gives its data back to the pool.
    pub(super) fn discard(self, pool: &mut Pool) {
        if let Self::Pdu(HeldPdu { block: Some(block), .. }) = self {
            pool.give(block);
        }
    }
}

impl Session {
    /// A session with these parameters. Its first command has the number `expected`, it may have `depth` commands
    /// outstanding, and it counts in `stats`.
    #[must_use]
    pub fn new(
        tsih: Tsih,
        nexus: Nexus,
        params: &SessionParams,
        expected: CmdSn,
        depth: u32,
        stats: Arc<SessionStats>,
    ) -> Self {
        let rules = DataOutRules {
            initial_r2t: params.initial_r2t,
            immediate_data: params.immediate_data,
            first_burst_len: params.first_burst_len,
            max_burst_len: whole_blocks(params.max_burst_len.min(BURST_LEN_MAX)),
            max_outstanding_r2t: params.max_outstanding_r2t.min(OUTSTANDING_R2T_MAX),
        };
        Self {
            tsih,
            nexus,
            rules,
            account: Account::NONE,
            times: (params.default_time2wait, params.default_time2retain),
            commands: CommandWindow::new(expected, depth),
            gap: None,
            connections: Vec::new(),
            unsolicited: Vec::new(),
            tasks: 0,
            reserving: 0,
            immediate: 0,
            closing: false,
            stats,
        }
    }

    /// The session's handle.
    pub(super) fn tsih(&self) -> Tsih {
        self.tsih
    }

    /// The I_T nexus.
    pub(super) fn nexus(&self) -> &Nexus {
        &self.nexus
    }

    /// What was negotiated for Data-Out and bursts.
    #[inline]
    pub(super) fn rules(&self) -> &DataOutRules {
        &self.rules
    }

    /// Time2Wait and Time2Retain, in seconds.
    pub(super) fn times(&self) -> (u16, u16) {
        self.times
    }

    /// The account of what its connections and tasks hold.
    #[inline]
    pub(super) fn account(&self) -> Account {
        self.account
    }

    /// It begins: what its connections and tasks hold counts for this account.
    pub(super) fn set_account(&mut self, account: Account) {
        self.account = account;
    }

    /// The counters of what it did to each unit.
    #[inline]
    pub(super) fn stats(&self) -> &Arc<SessionStats> {
        &self.stats
    }

    /// The commands that have arrived, in order or early.
    #[inline]
    pub(super) fn commands(&mut self) -> &mut CommandWindow<Held> {
        &mut self.commands
    }

    /// Whether a command with a smaller number than this has not arrived.
    pub(super) fn misses_before(&self, cmd_sn: CmdSn) -> bool {
        self.commands.misses_before(cmd_sn)
    }

    /// ExpCmdSN and MaxCmdSN for the next response.
    #[inline]
    pub(super) fn window(&mut self) -> Window {
        Window { expected: self.commands.expected(), max: self.commands.advertise() }
    }

    /// Commands wait for one that has not arrived. Returns true unless this was noted before.
    pub(super) fn begin_gap(&mut self, now: Instant) -> bool {
        let is_new = self.gap.is_none();
        self.gap.get_or_insert(Gap { expected: self.commands.expected(), since: now });
        is_new
    }

    /// Whether the next command has been missing for [`COMMAND_WAIT`] while others wait for it; `None`: none waits.
    pub(super) fn is_gap_late(&mut self, now: Instant) -> Option<bool> {
        let expected = self.commands.expected();
        let gap = self.gap.as_mut()?;
        if !self.commands.has_early() {
            self.gap = None;
            return None;
        }
        if gap.expected != expected {
            *gap = Gap { expected, since: now };
        }
        Some(now.saturating_duration_since(gap.since) >= COMMAND_WAIT)
    }

    /// Drops the held PDUs of a connection.
    pub(super) fn drop_held(&mut self, connection: ConnectionIndex, pool: &mut Pool) {
        let is_its = |held: &Held| matches!(held, Held::Pdu(pdu) if pdu.connection == connection);
        for held in self.commands.drop_early(is_its) {
            held.discard(pool);
        }
    }

    /// Its connections, in the order in which they joined.
    pub(super) fn connections(&self) -> &[ConnectionIndex] {
        &self.connections
    }

    /// A connection joins.
    pub(super) fn add_connection(&mut self, connection: ConnectionIndex) {
        self.connections.push(connection);
    }

    /// A connection has ended. After the last one the session is closing.
    pub(super) fn remove_connection(&mut self, connection: ConnectionIndex) {
        self.connections.retain(|&other| other != connection);
        self.closing |= self.connections.is_empty();
    }

    /// Whether its last connection has ended.
    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Whether nothing is left of it: no connection and no task.
    pub(super) fn is_over(&self) -> bool {
        self.closing && self.tasks == 0
    }

    /// Running immediate tasks.
    #[inline]
    pub(super) fn immediate_tasks(&self) -> usize {
        self.immediate
    }

    /// A task begins.
    #[inline]
    pub(super) fn begin_task(&mut self, immediate: bool) {
        self.tasks += 1;
        self.immediate += usize::from(immediate);
    }

    /// A task ends. `in_window` is false if it has left the command window before.
    #[inline]
    pub(super) fn end_task(&mut self, immediate: bool, in_window: bool) {
        self.tasks -= 1;
        if immediate {
            self.immediate -= 1;
        } else if in_window {
            self.commands.finished();
        }
    }

    /// Tasks with memory set aside, without one task that is among them if `own`.
    pub(super) fn others_reserving(&self, own: bool) -> usize {
        self.reserving - usize::from(own)
    }

    /// The first R2T of a task is sent.
    pub(super) fn begin_reserving(&mut self) {
        self.reserving += 1;
    }

    /// A task that has sent an R2T ends.
    #[inline]
    pub(super) fn end_reserving(&mut self) {
        self.reserving -= 1;
    }

    /// Tasks that wait for unsolicited Data-Out.
    pub(super) fn unsolicited(&self) -> &[TaskKey] {
        &self.unsolicited
    }

    /// Unsolicited Data-Out of this task is still to come.
    pub(super) fn expect_unsolicited(&mut self, key: TaskKey) {
        if !self.unsolicited.contains(&key) {
            self.unsolicited.push(key);
        }
    }

    /// The last unsolicited Data-Out of this task has arrived, or the task ends.
    pub(super) fn end_unsolicited(&mut self, key: TaskKey) {
        self.unsolicited.retain(|&other| other != key);
    }
}
