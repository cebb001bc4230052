//! The wire protocol of iSCSI (RFC 7143) for initiators and targets: PDUs, framing, text keys, login, CHAP.
//!
//! The crate does no I/O: callers pass received bytes in and get bytes to send back. It has no threads, reads no
//! clock, and does not interpret SCSI commands.
//!
//! | module | contents |
//! | --- | --- |
//! | [`pdu`] | one struct per PDU, which decodes and encodes the 48 bytes of its header |
//! | [`frame`] | framing of PDUs in a byte stream; digests |
//! | [`text`] | key=value pairs, the table of keys, negotiation |
//! | [`login`], [`params`] | login stages and statuses; negotiated parameters |
//! | [`chap`] | CHAP challenges and responses, for both sides |
//! | [`name`] | names in the iqn., eui. and naa. formats |
//! | [`ids`], [`sn`] | tags, session and connection identifiers, sequence numbers |
//!
//! ```
//! use iscsi_proto::frame::{self, Cut, Digests, Limits};
//! use iscsi_proto::pdu::{NopOut, Pdu};
//!
//! let mut received = [0; 48];
//! received[0] = NopOut::OPCODE | 0x40;
//! let cut = frame::cut(&received, Digests::NONE, &Limits::default())?;
//! let Cut::Header(header) = cut else { panic!("48 bytes are a header") };
//! assert_eq!(header.wire_len, 48);
//! assert!(matches!(Pdu::decode(header.bhs)?, Pdu::NopOut(nop) if nop.immediate));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod chap;
pub mod frame;
#[doc(hidden)]
pub mod fuzzing;
pub mod ids;
pub mod login;
pub mod name;
pub mod params;
pub mod pdu;
pub mod sn;
pub mod text;
