//! SCSI commands, their parameter data, and the device server of a disk (SAM-5, SPC-4, SBC-3), without any I/O.
//!
//! | module | contents |
//! | --- | --- |
//! | [`cdb`], [`page`], [`sense`], [`status`], [`lun`] | wire formats, for initiators and targets |
//! | [`device`] | the device server, for targets over any transport |
//! | [`store`] | traits that a storage product implements |
//! | [`tape_image`] | file format of tape images |
//!
//! The crate depends on no transport, opens no files, starts no threads and reads no clock.

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
