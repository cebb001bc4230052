//! The PDUs' basic header segments (RFC 7143 11), one file per request and its response.
//!
//! `decode` reads the fields that the RFC defines and ignores reserved ones. `encode` writes all 48 bytes, with
//! TotalAHSLength and DataSegmentLength 0; [`set_lengths`] writes these once the segments after the header are known.

pub mod ahs;
mod async_message;
mod code;
mod data_in;
mod data_out;
mod header;
mod login;
mod logout;
mod nop;
mod r2t;
mod reject;
mod scsi_command;
mod scsi_response;
mod snack;
mod task_management;
mod text;

pub use async_message::{AsyncEvent, AsyncMessage};
pub use data_in::{DataIn, DataInStatus};
pub use data_out::DataOut;
pub use header::{
    AHS_LEN_MAX, BHS_LEN, Bhs, DATA_LEN_MAX, PduError, ahs_len, cmd_sn, data_len, is_immediate, itt, opcode,
    set_lengths,
};
pub use login::{LoginRequest, LoginResponse};
pub use logout::{LogoutReason, LogoutRequest, LogoutResponse, LogoutResponseCode};
pub use nop::{NopIn, NopOut};
pub use r2t::R2t;
pub use reject::{Reject, RejectReason};
pub use scsi_command::{ScsiCommand, TaskAttribute};
pub use scsi_response::{Residual, ScsiResponse, ScsiResponseCode};
pub use snack::{SnackRequest, SnackType};
pub use task_management::{TaskFunction, TaskManagementRequest, TaskManagementResponse, TaskResponse};
pub use text::{TextRequest, TextResponse};

/// Makes the enum of all PDUs and its dispatch from one list.
macro_rules! pdus {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The header of any PDU. Hot paths match on [`opcode`] and decode a single type instead.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Pdu {
            $($(#[$doc])* $name($name),)*
        }

        impl Pdu {
            /// Every opcode of RFC 7143 with the name of its PDU.
            pub const OPCODES: &[(u8, &str)] = &[$(($name::OPCODE, stringify!($name)),)*];

            /// Decodes a basic header segment, by its opcode.
            pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
                match opcode(bhs) {
                    $($name::OPCODE => $name::decode(bhs).map(Self::$name),)*
                    unknown => Err(PduError::Opcode(unknown)),
                }
            }

            /// Encodes all 48 bytes of the header; TotalAHSLength and DataSegmentLength are 0.
            pub fn encode(&self, bhs: &mut Bhs) {
                match self {
                    $(Self::$name(pdu) => pdu.encode(bhs),)*
                }
            }

            /// Opcode of the PDU, without the immediate bit.
            pub fn opcode(&self) -> u8 {
                match self {
                    $(Self::$name(_) => $name::OPCODE,)*
                }
            }
        }

        $(impl From<$name> for Pdu {
            fn from(pdu: $name) -> Self {
                Self::$name(pdu)
            }
        })*
    };
}

pdus! {
    /// NOP-Out (RFC 7143 11.18).
    NopOut,
    /// SCSI Command (RFC 7143 11.3).
    ScsiCommand,
    /// Task Management Function Request (RFC 7143 11.5).
    TaskManagementRequest,
    /// Login Request (RFC 7143 11.12).
    LoginRequest,
    /// Text Request (RFC 7143 11.10).
    TextRequest,
    /// SCSI Data-Out (RFC 7143 11.7).
    DataOut,
    /// Logout Request (RFC 7143 11.14).
    LogoutRequest,
    /// SNACK Request (RFC 7143 11.16).
    SnackRequest,
    /// NOP-In (RFC 7143 11.19).
    NopIn,
    /// SCSI Response (RFC 7143 11.4).
    ScsiResponse,
    /// Task Management Function Response (RFC 7143 11.6).
    TaskManagementResponse,
    /// Login Response (RFC 7143 11.13).
    LoginResponse,
    /// Text Response (RFC 7143 11.11).
    TextResponse,
    /// SCSI Data-In (RFC 7143 11.7).
    DataIn,
    /// Logout Response (RFC 7143 11.15).
    LogoutResponse,
    /// Ready To Transfer (RFC 7143 11.8).
    R2t,
    /// Asynchronous Message (RFC 7143 11.9).
    AsyncMessage,
    /// Reject (RFC 7143 11.17).
    Reject,
}

#[cfg(test)]
mod tests;
