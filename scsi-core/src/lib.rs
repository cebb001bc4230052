//! SCSI commands, their data, and the device server of a disk (SAM-5, SPC-4, SBC-3), without any I/O.
//!
//! The lower floor ([`cdb`], [`page`], [`sense`], [`status`], [`lun`]) is formats, enough for an initiator;
//! [`tape_image`] is one for files. The upper floor ([`device`]) is the device server, enough for a target over any
//! transport. [`store`] is what a storage product implements. Nothing here knows iSCSI, files, threads or clocks.

pub mod cdb;
pub mod device;
#[doc(hidden)]
pub mod fuzzing;
pub mod lun;
pub mod page;
pub mod sense;
pub mod status;
pub mod store;
pub mod tape_image;
