//! Since when a connection waits for its initiator. Time in which nothing is received from it does not count.

use std::time::Instant;

use crate::limits::{DATA_OUT_WAIT, PDU_WAIT, TICK};

/// What one connection waits for.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// When the incomplete PDU was noticed.
    pdu_since: Option<Instant>,
    /// The connection is checked for an incomplete PDU.
    is_checked: bool,
    data_out: Option<DataOutWait>,
}

/// Commands wait for Data-Out.
#[derive(Clone, Copy, Debug)]
struct DataOutWait {
    since: Instant,
    checked_at: Instant,
}

impl Waits {
    /// A PDU is complete.
    #[inline]
    pub(super) fn pdu_arrived(&mut self) {
        self.pdu_since = None;
    }

    /// A PDU is incomplete. Returns true if the connection is to be checked from now on.
    #[inline]
    pub(super) fn begin_pdu(&mut self, now: Instant) -> bool {
        self.pdu_since.get_or_insert(now);
        !std::mem::replace(&mut self.is_checked, true)
    }

    /// Whether a PDU has been incomplete for [`PDU_WAIT`]; `None`: none is.
    pub(super) fn is_pdu_late(&mut self, is_incomplete: bool, paused: bool, now: Instant) -> Option<bool> {
        if !is_incomplete {
            *self = Self { data_out: self.data_out, ..Self::default() };
            return None;
        }
        if paused {
            self.pdu_since = Some(now);
        }
        let since = *self.pdu_since.get_or_insert(now);
        Some(now.saturating_duration_since(since) >= PDU_WAIT)
    }

    /// Data-Out has arrived.
    #[inline]
    pub(super) fn data_out_arrived(&mut self) {
        self.data_out = None;
    }

    /// Whether commands have waited for Data-Out for [`DATA_OUT_WAIT`]. Call it at each tick at which one waits.
    pub(super) fn is_data_out_late(&mut self, paused: bool, now: Instant) -> bool {
        let wait = self.data_out.get_or_insert(DataOutWait { since: now, checked_at: now });
        // If ticks were left out, no command waited.
        if paused || now.saturating_duration_since(wait.checked_at) > 4 * TICK {
            wait.since = now;
        }
        wait.checked_at = now;
        now.saturating_duration_since(wait.since) >= DATA_OUT_WAIT
    }
}
