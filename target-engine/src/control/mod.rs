//! The management interface: the records of the unix socket and the requests that they carry.
//!
//! [`wire`] encodes records, [`grammar`] is the table of operations that makes a [`request::Request`] of one, [`error`] has
//! the error numbers of replies. The admin tools need these only. `dispatch` carries requests out, `pending` holds those
//! that take time, [`report`] writes the replies, and [`audit`] the lines of the log. [`admission`] chooses which connections
//! stay open before they are part of a session.

pub mod admission;
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
