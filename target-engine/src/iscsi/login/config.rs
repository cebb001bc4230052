//! The bounds of a login.

use std::time::Duration;

use iscsi_proto::ids::Tsih;

use crate::limits;

/// What is the same for every login of a daemon.
#[derive(Clone, Debug)]
pub struct LoginConfig {
    /// The time from the first byte to the end of the login, waiting for answers included.
    pub timeout: Duration,
    /// Data bytes of one PDU at most.
    pub pdu_data_len_max: u32,
    /// Text bytes of the whole login at most.
    pub text_len_max: usize,
    /// PDUs of the whole login at most.
    pub pdus_max: u32,
    /// Bytes kept at most while a question waits for its answer.
    pub unread_len_max: usize,
    /// How long the refusal of a failed proof waits, but not longer than the login may take.
    pub proof_delay: Duration,
    /// The handle of all discovery sessions; they are never joined.
    pub discovery_tsih: Tsih,
    /// A discovery session without requests for so long is closed.
    pub discovery_idle: Duration,
}

impl Default for LoginConfig {
    fn default() -> Self {
        Self {
            timeout: limits::LOGIN_TIMEOUT,
            pdu_data_len_max: limits::LOGIN_PDU_DATA_LEN_MAX,
            text_len_max: limits::LOGIN_TEXT_LEN_MAX,
            pdus_max: limits::LOGIN_PDUS_MAX,
            unread_len_max: limits::LOGIN_UNREAD_LEN_MAX,
            proof_delay: limits::PROOF_DELAY,
            discovery_tsih: Tsih(0xffff),
            discovery_idle: limits::DISCOVERY_IDLE,
        }
    }
}
