//! What a negotiation leads to: the operational parameters, with the defaults of RFC 7143 13.

/// Parameters of a session, settled by its leading connection.
///
/// As a side's wishes before the negotiation they say what that side would have; the rule of each key joins
/// the two sides' wishes (see [`text::negotiate`](crate::text::negotiate)).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SessionParams {
    /// MaxConnections: 1 to 65535, the smaller wins.
    pub max_connections: u16,
    /// InitialR2T: a write waits for an R2T before anything but immediate data; one side's Yes suffices.
    pub initial_r2t: bool,
    /// ImmediateData: a write command may carry data itself; takes both sides.
    pub immediate_data: bool,
    /// MaxBurstLength in bytes: 512 to 2^24-1, the smaller wins.
    pub max_burst_len: u32,
    /// FirstBurstLength in bytes: 512 to 2^24-1, the smaller wins; never above `max_burst_len`.
    pub first_burst_len: u32,
    /// DefaultTime2Wait in seconds: 0 to 3600, the larger wins.
    pub default_time2wait: u16,
    /// DefaultTime2Retain in seconds: 0 to 3600, the smaller wins.
    pub default_time2retain: u16,
    /// MaxOutstandingR2T: 1 to 65535, the smaller wins.
    pub max_outstanding_r2t: u16,
    /// DataPDUInOrder: one side's Yes suffices.
    pub data_pdu_in_order: bool,
    /// DataSequenceInOrder: one side's Yes suffices.
    pub data_sequence_in_order: bool,
    /// ErrorRecoveryLevel: 0 to 2, the smaller wins.
    pub error_recovery_level: u8,
    /// TaskReporting: the first of the offerer's list that the other side knows.
    pub task_reporting: TaskReporting,
    /// iSCSIProtocolLevel: 0 to 31, the smaller wins (RFC 7144 7.1.1).
    pub protocol_level: u8,
}

/// How a target reports on terminated tasks of several initiators (RFC 7143 13.23).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum TaskReporting {
    /// As RFC 3720 had it.
    #[default]
    Rfc3720,
    /// With response fences (RFC 7143 4.2.2.3.3).
    ResponseFence,
    /// FastAbort (RFC 7143 4.2.3.3).
    FastAbort,
}

/// Parameters of one connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ConnectionParams {
    /// HeaderDigest is CRC32C, from the full feature phase on.
    pub header_digest: bool,
    /// DataDigest is CRC32C, from the full feature phase on.
    pub data_digest: bool,
    /// Our own MaxRecvDataSegmentLength in bytes: what the peer may send us in one PDU. 512 to 2^24-1.
    pub max_recv_data_segment_len: u32,
    /// The peer's MaxRecvDataSegmentLength in bytes: what we may send it in one PDU. 512 to 2^24-1.
    pub max_xmit_data_segment_len: u32,
}

/// What a session is for (RFC 7143 13.21).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum SessionType {
    /// SCSI commands.
    #[default]
    Normal,
    /// SendTargets only.
    Discovery,
}

impl Default for SessionParams {
    /// The RFC's defaults.
    fn default() -> Self {
        Self {
            max_connections: 1,
            initial_r2t: true,
            immediate_data: true,
            max_burst_len: 262_144,
            first_burst_len: 65_536,
            default_time2wait: 2,
            default_time2retain: 20,
            max_outstanding_r2t: 1,
            data_pdu_in_order: true,
            data_sequence_in_order: true,
            error_recovery_level: 0,
            task_reporting: TaskReporting::Rfc3720,
            protocol_level: 1,
        }
    }
}

impl Default for ConnectionParams {
    /// The RFC's defaults.
    fn default() -> Self {
        Self {
            header_digest: false,
            data_digest: false,
            max_recv_data_segment_len: 8192,
            max_xmit_data_segment_len: 8192,
        }
    }
}

impl TaskReporting {
    /// The value's name (RFC 7143 13.23).
    pub fn name(self) -> &'static str {
        match self {
            Self::Rfc3720 => "RFC3720",
            Self::ResponseFence => "ResponseFence",
            Self::FastAbort => "FastAbort",
        }
    }

    /// By name.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::Rfc3720, Self::ResponseFence, Self::FastAbort].into_iter().find(|value| value.name() == name)
    }

    /// The list to offer: this, else as it ever was.
    pub(crate) fn offer(self) -> &'static str {
        match self {
            Self::Rfc3720 => "RFC3720",
            Self::ResponseFence => "ResponseFence,RFC3720",
            Self::FastAbort => "FastAbort,RFC3720",
        }
    }
}

impl SessionType {
    /// The value's name (RFC 7143 13.21).
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Discovery => "Discovery",
        }
    }

    /// By name.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::Normal, Self::Discovery].into_iter().find(|value| value.name() == name)
    }
}

impl ConnectionParams {
    /// The digests, as framing wants them.
    pub fn digests(&self) -> crate::frame::Digests {
        crate::frame::Digests { header: self.header_digest, data: self.data_digest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_not_mixed_up() {
        let params = ConnectionParams { header_digest: true, ..Default::default() };
        assert_eq!(params.digests(), crate::frame::Digests { header: true, data: false });
    }
}
