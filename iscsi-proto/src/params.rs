//! Operational parameters, with the defaults of RFC 7143 13.

/// Parameters of a session, negotiated by its leading connection.
///
/// Before the negotiation each side has preferences of the same type, which the rule of each key combines to the result
/// (see [`text::negotiate`](crate::text::negotiate)).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SessionParams {
    /// MaxConnections: 1 to 65535, the smaller value wins.
    pub max_connections: u16,
    /// InitialR2T: the initiator sends only immediate data before an R2T; Yes if either side says Yes.
    pub initial_r2t: bool,
    /// ImmediateData: a SCSI Command may carry write data; Yes if both sides say Yes.
    pub immediate_data: bool,
    /// MaxBurstLength in bytes: 512 to 2^24-1, the smaller value wins.
    pub max_burst_len: u32,
    /// FirstBurstLength in bytes: 512 to 2^24-1, the smaller value wins; never above `max_burst_len`.
    pub first_burst_len: u32,
    /// DefaultTime2Wait in seconds: 0 to 3600, the larger value wins.
    pub default_time2wait: u16,
    /// DefaultTime2Retain in seconds: 0 to 3600, the smaller value wins.
    pub default_time2retain: u16,
    /// MaxOutstandingR2T: 1 to 65535, the smaller value wins.
    pub max_outstanding_r2t: u16,
    /// DataPDUInOrder: Yes if either side says Yes.
    pub data_pdu_in_order: bool,
    /// DataSequenceInOrder: Yes if either side says Yes.
    pub data_sequence_in_order: bool,
    /// ErrorRecoveryLevel: 0 to 2, the smaller value wins.
    pub error_recovery_level: u8,
    /// TaskReporting: the first value in the list of one side that the other side supports.
    pub task_reporting: TaskReporting,
    /// iSCSIProtocolLevel: 0 to 31, the smaller value wins (RFC 7144 7.1.1).
    pub protocol_level: u8,
}

/// How a target reports tasks that were terminated on behalf of another initiator (RFC 7143 13.23).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum TaskReporting {
    /// As defined in RFC 3720.
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
    /// HeaderDigest is CRC32C. In use from the full feature phase on.
    pub header_digest: bool,
    /// DataDigest is CRC32C. In use from the full feature phase on.
    pub data_digest: bool,
    /// MaxRecvDataSegmentLength of this side, in bytes: the limit of PDUs from the peer. 512 to 2^24-1.
    pub max_recv_data_segment_len: u32,
    /// MaxRecvDataSegmentLength of the peer, in bytes: the limit of PDUs to the peer. 512 to 2^24-1.
    pub max_xmit_data_segment_len: u32,
}

/// SessionType (RFC 7143 13.21).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum SessionType {
    /// The session carries SCSI commands.
    #[default]
    Normal,
    /// The session permits only SendTargets.
    Discovery,
}

impl Default for SessionParams {
    /// The defaults of RFC 7143 13.
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
    /// The defaults of RFC 7143 13.
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
    /// The value as text (RFC 7143 13.23).
    pub fn name(self) -> &'static str {
        match self {
            Self::Rfc3720 => "RFC3720",
            Self::ResponseFence => "ResponseFence",
            Self::FastAbort => "FastAbort",
        }
    }

    /// Parses the value, which is case-sensitive.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::Rfc3720, Self::ResponseFence, Self::FastAbort].into_iter().find(|value| value.name() == name)
    }

    /// The list to offer: this value, then the default.
    pub(crate) fn offer(self) -> &'static str {
        match self {
            Self::Rfc3720 => "RFC3720",
            Self::ResponseFence => "ResponseFence,RFC3720",
            Self::FastAbort => "FastAbort,RFC3720",
        }
    }
}

impl SessionType {
    /// The value as text (RFC 7143 13.21).
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Discovery => "Discovery",
        }
    }

    /// Parses the value, which is case-sensitive.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::Normal, Self::Discovery].into_iter().find(|value| value.name() == name)
    }
}

impl ConnectionParams {
    /// The digests, for [`frame`](crate::frame).
    pub fn digests(&self) -> crate::frame::Digests {
        crate::frame::Digests { header: self.header_digest, data: self.data_digest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_keep_header_and_data_apart() {
        let params = ConnectionParams { header_digest: true, ..Default::default() };
        assert_eq!(params.digests(), crate::frame::Digests { header: true, data: false });
    }
}
