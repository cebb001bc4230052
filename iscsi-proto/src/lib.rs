//! RFC 7143 (iSCSI) on the wire, for initiators and targets: PDUs, framing, text keys, login, CHAP.
//!
//! No sockets, no threads, no clock, no SCSI: bytes come and go as arguments.
//!
//! | module | what |
//! | --- | --- |
//! | [`pdu`] | one struct per PDU: the 48 bytes of its header, decoded and encoded |
//! | [`frame`] | PDUs out of a stream of bytes and into it; digests |
//! | [`text`] | key=value pairs, the table of keys, negotiation |
//! | [`login`], [`params`] | stages and statuses; what a negotiation leads to |
//! | [`chap`] | challenges and responses, both sides |
//! | [`name`] | iqn., eui. and naa. names |
//! | [`ids`], [`sn`] | tags, handles and sequence numbers |
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
