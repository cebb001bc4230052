//! Helpers for non-blocking sockets.

use std::io::{self, ErrorKind};

pub(super) use crate::model::connections::network;
pub(super) use crate::runtime::poller::interest;

/// Whether a call may succeed when the socket is ready again.
pub(super) fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Whether a connection was accepted to be closed, or none waits.
pub(super) fn is_rejected<T>(accepted: &io::Result<T>) -> bool {
    accepted.as_ref().err().is_none_or(is_temporary)
}
