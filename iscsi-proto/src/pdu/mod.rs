//! The PDUs' basic header segments (RFC 7143 11), one file per request and its response.
//!
//! `decode` takes what the RFC makes meaningful and ignores what it reserves; `encode` writes all 48 bytes,
//! with both lengths zero: [`set_lengths`] puts them in once the segments behind the header are known.

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
    AHS_LEN_MAX, BHS_LEN, Bhs, DATA_LEN_MAX, PduError, ahs_len, data_len, is_immediate, itt, opcode,
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
        /// Any PDU, for slow paths, initiators and analysers; a hot path looks at [`opcode`] and decodes one.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Pdu {
            $($(#[$doc])* $name($name),)*
        }

        impl Pdu {
            /// Every opcode of RFC 7143 with its PDU's name.
            pub const OPCODES: &[(u8, &str)] = &[$(($name::OPCODE, stringify!($name)),)*];

            /// Decodes by opcode.
            pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
                match opcode(bhs) {
                    $($name::OPCODE => $name::decode(bhs).map(Self::$name),)*
                    unknown => Err(PduError::Opcode(unknown)),
                }
            }

            /// Writes all 48 bytes, with both lengths zero.
            pub fn encode(&self, bhs: &mut Bhs) {
                match self {
                    $(Self::$name(pdu) => pdu.encode(bhs),)*
                }
            }

            /// The PDU's opcode.
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
    /// RFC 7143 11.18.
    NopOut,
    /// RFC 7143 11.3.
    ScsiCommand,
    /// RFC 7143 11.5.
    TaskManagementRequest,
    /// RFC 7143 11.12.
    LoginRequest,
    /// RFC 7143 11.10.
    TextRequest,
    /// RFC 7143 11.7.
    DataOut,
    /// RFC 7143 11.14.
    LogoutRequest,
    /// RFC 7143 11.16.
    SnackRequest,
    /// RFC 7143 11.19.
    NopIn,
    /// RFC 7143 11.4.
    ScsiResponse,
    /// RFC 7143 11.6.
    TaskManagementResponse,
    /// RFC 7143 11.13.
    LoginResponse,
    /// RFC 7143 11.11.
    TextResponse,
    /// RFC 7143 11.7.
    DataIn,
    /// RFC 7143 11.15.
    LogoutResponse,
    /// RFC 7143 11.8.
    R2t,
    /// RFC 7143 11.9.
    AsyncMessage,
    /// RFC 7143 11.17.
    Reject,
}

#[cfg(test)]
mod tests;
