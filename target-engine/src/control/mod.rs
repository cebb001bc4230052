//! The control records of the unix socket, and what is done with them.
//!
//! [`wire`] is the bytes, [`request`] makes a [`request::Request`] of them that cannot be wrong, [`error`] is the
//! numbers a reply carries. An admin tool needs these three only. [`report`] is what a reply says, `dispatch` does
//! what is asked, and `pending` keeps what takes time; [`audit`] is what the log says of it.

pub mod audit;
pub mod dispatch;
pub mod error;
#[doc(hidden)]
pub mod fuzzing;
pub mod grammar;
pub mod jobs;
pub mod messages;
pub mod pending;
pub mod report;
pub mod request;
pub mod wire;
