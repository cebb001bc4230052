//! A session as its shard keeps it: the nexus, the command window, the connections.

use std::sync::Arc;

use bytes::Bytes;
use iscsi_proto::ids::Tsih;
use iscsi_proto::params::SessionParams;
use iscsi_proto::pdu::{Bhs, NopOut};
use iscsi_proto::sn::{CmdSn, StatSn};
use scsi_core::device::Nexus;
use scsi_core::store::Block;

use super::tasks::TaskIndex;
use crate::buffers::Pool;
use crate::iscsi::connection::data_out::DataOutRules;
use crate::iscsi::connection::respond::Window;
use crate::iscsi::connection::whole_blocks;
use crate::iscsi::session::CommandWindow;
use crate::limits::{BURST_LEN_MAX, OUTSTANDING_R2T_MAX};
use crate::stats::SessionStats;

/// One session.
#[derive(Debug)]
pub struct Session {
    pub(super) tsih: Tsih,
    pub(super) nexus: Nexus,
    pub(super) rules: DataOutRules,
    pub(super) times: (u16, u16),
    pub(super) window: CommandWindow<HeldPdu>,
    /// Places of its connections.
    pub(super) connections: Vec<usize>,
    /// Tasks that wait for unsolicited data, which names them by nothing but their tag.
    pub(super) unsolicited: Vec<TaskIndex>,
    /// Tasks that run, immediate ones among them.
    pub(super) tasks: usize,
    /// Tasks that were given memory for their data.
    pub(super) asking: usize,
    /// Immediate tasks that run.
    pub(super) immediate: usize,
    /// Its last connection is gone.
    pub(super) closing: bool,
    /// What it did to each unit.
    pub(super) stats: Arc<SessionStats>,
}

/// A numbered PDU that came before its turn.
#[derive(Debug)]
pub struct HeldPdu {
    pub(super) connection: usize,
    pub(super) bhs: Bhs,
    pub(super) ahs: Bytes,
    pub(super) block: Option<Block>,
}

impl HeldPdu {
    /// Takes the place of a command that is not to run: a NOP-Out that wants no answer.
    pub(super) fn nothing(connection: usize) -> Self {
        let nop = NopOut {
            immediate: false,
            lun: [0; 8],
            itt: None,
            ttt: None,
            cmd_sn: CmdSn(0),
            exp_stat_sn: StatSn(0),
        };
        let mut bhs = [0; 48];
        nop.encode(&mut bhs);
        Self { connection, bhs, ahs: Bytes::new(), block: None }
    }
}

impl Session {
    /// A session with these parameters, whose first command is `expected` and which may have `depth` outstanding; it
    /// counts in `stats`.
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
            times: (params.default_time2wait, params.default_time2retain),
            window: CommandWindow::new(expected, depth),
            connections: Vec::new(),
            unsolicited: Vec::new(),
            tasks: 0,
            asking: 0,
            immediate: 0,
            closing: false,
            stats,
        }
    }

    /// The command window, as the next response tells it.
    #[inline]
    pub(super) fn window(&mut self) -> Window {
        Window { expected: self.window.expected(), max: self.window.advertise() }
    }

    /// Forgets the held PDUs that `gone` picks, all of them when the session ends.
    pub(super) fn drop_held(&mut self, gone: impl Fn(&HeldPdu) -> bool, pool: &mut Pool) {
        for held in self.window.drop_early(gone) {
            if let Some(block) = held.block {
                pool.give(block);
            }
        }
    }
}
