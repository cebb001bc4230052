//! Helpers for non-blocking sockets.

use std::io::{self, ErrorKind};
use std::net::IpAddr;

pub(super) use crate::runtime::poller::interest;

/// Whether a call may succeed when the socket is ready again.
pub(super) fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Whether a connection was accepted to be closed, or none waits.
pub(super) fn is_rejected<T>(accepted: &io::Result<T>) -> bool {
    accepted.as_ref().err().is_none_or(is_temporary)
}

/// The unit in which connections are counted: an IPv4 address, or an IPv6 network of 64 bits, since one machine may have
/// all of its addresses.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}
