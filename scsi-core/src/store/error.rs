//! Why an operation of a store failed.

use std::fmt;

/// Why an operation failed: the kind of failure, and if known its offset and the error number of the operating system. The
/// kind determines the sense data; offset and error number are for the log.
///
/// Two errors are equal if they have the same kind; errors of the medium also need the same offset.
#[derive(Clone, Copy, Debug)]
pub struct IoError {
    kind: IoErrorKind,
    /// 0 if unknown.
    errno: u32,
    /// `u64::MAX` if unknown.
    offset: u64,
}

/// Kind of an [`IoError`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[repr(u32)]
pub enum IoErrorKind {
    /// The medium failed.
    #[error("medium error")]
    Medium,
    /// The store has no space for a write.
    #[error("no space left in the store")]
    NoSpace,
    /// The range is beyond the current end, because the store has shrunk. Initiators get MEDIUM ERROR.
    #[error("beyond the end of the store")]
    OutOfRange,
    /// The operation is not among the capabilities of the store.
    #[error("not supported by this store")]
    Unsupported,
    /// A flush failed: acknowledged writes may be lost, and later writes are refused.
    #[error("acknowledged writes may be lost: the store takes no more until it is opened again")]
    Lost,
    /// The store refuses writes.
    #[error("the store is read-only")]
    ReadOnly,
    /// The store is not accessible.
    #[error("the store is not ready")]
    NotReady,
    /// The store cannot be reached over the network, and the operation had no effect: it is a read, or it was never sent.
    /// Initiators get NOT READY, with which multipath software uses another path.
    #[error("the store cannot be reached")]
    Unreachable,
    /// The operation was sent to a store that cannot be reached any more: it may have had its effect, or have it later.
    /// Initiators get ABORTED COMMAND, which they retry with the same data.
    #[error("the store cannot be reached, and whether it has done the operation is unknown")]
    InDoubt,
    /// The store lost its connection, and acknowledged writes that no flush had covered may be lost with it. The device server
    /// fails one flush of each nexus with it after [`Notice::Forgotten`](super::Notice::Forgotten); unlike
    /// [`IoErrorKind::Lost`], later writes are accepted. Initiators get HARDWARE ERROR, which they do not retry, because the
    /// retry would succeed and hide the loss.
    #[error("acknowledged writes may be lost with a connection of the store")]
    Forgotten,
    /// The store refuses this client until it is opened again, as when another client took over. Its method
    /// [`has_lost_writes`](super::Backstore::has_lost_writes) returns `true` then.
    #[error("the store refuses this client until it is opened again")]
    Fenced,
    /// The store cannot do the operation now, and a retry may succeed. Initiators get BUSY.
    #[error("the store is busy")]
    Busy,
    /// The operation was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The engine ended or panicked.
    #[error("abandoned: its engine ended")]
    Abandoned,
    /// The store violates the contract of [`IoEngine`](super::IoEngine).
    #[error(
        "the store misbehaves: it did not give the operation's buffer back as it was lent, or the result is not one of this operation"
    )]
    Misbehaved,
}

impl IoError {
    /// [`IoErrorKind::NoSpace`].
    pub const NO_SPACE: Self = Self::new(IoErrorKind::NoSpace);
    /// [`IoErrorKind::OutOfRange`].
    pub const OUT_OF_RANGE: Self = Self::new(IoErrorKind::OutOfRange);
    /// [`IoErrorKind::Unsupported`].
    pub const UNSUPPORTED: Self = Self::new(IoErrorKind::Unsupported);
    /// [`IoErrorKind::Lost`].
    pub const LOST: Self = Self::new(IoErrorKind::Lost);
    /// [`IoErrorKind::ReadOnly`].
    pub const READ_ONLY: Self = Self::new(IoErrorKind::ReadOnly);
    /// [`IoErrorKind::NotReady`].
    pub const NOT_READY: Self = Self::new(IoErrorKind::NotReady);
    /// [`IoErrorKind::Unreachable`].
    pub const UNREACHABLE: Self = Self::new(IoErrorKind::Unreachable);
    /// [`IoErrorKind::InDoubt`].
    pub const IN_DOUBT: Self = Self::new(IoErrorKind::InDoubt);
    /// [`IoErrorKind::Forgotten`].
    pub const FORGOTTEN: Self = Self::new(IoErrorKind::Forgotten);
    /// [`IoErrorKind::Fenced`].
    pub const FENCED: Self = Self::new(IoErrorKind::Fenced);
    /// [`IoErrorKind::Busy`].
    pub const BUSY: Self = Self::new(IoErrorKind::Busy);
    /// [`IoErrorKind::Cancelled`].
    pub const CANCELLED: Self = Self::new(IoErrorKind::Cancelled);
    /// [`IoErrorKind::Abandoned`].
    pub const ABANDONED: Self = Self::new(IoErrorKind::Abandoned);
    /// [`IoErrorKind::Misbehaved`].
    pub const MISBEHAVED: Self = Self::new(IoErrorKind::Misbehaved);

    /// An error of this kind, without offset and error number.
    #[must_use]
    pub const fn new(kind: IoErrorKind) -> Self {
        Self { kind, errno: 0, offset: u64::MAX }
    }

    /// An error of the medium at this offset in bytes.
    #[must_use]
    pub const fn medium(offset: u64) -> Self {
        Self::new(IoErrorKind::Medium).at(offset)
    }

    /// Sets the offset in bytes.
    #[must_use]
    pub const fn at(self, offset: u64) -> Self {
        Self { offset, ..self }
    }

    /// Sets the error number of the operating system (`EIO` is 5). Numbers that are not positive are ignored.
    #[must_use]
    pub const fn with_errno(self, errno: i32) -> Self {
        let errno = if errno > 0 { errno as u32 } else { 0 };
        Self { errno, ..self }
    }

    /// Kind of the failure.
    #[must_use]
    pub const fn kind(self) -> IoErrorKind {
        self.kind
    }

    /// Offset of the failure in bytes, if known.
    #[must_use]
    pub const fn offset(self) -> Option<u64> {
        if self.offset == u64::MAX { None } else { Some(self.offset) }
    }

    /// Error number of the operating system, if known.
    #[must_use]
    pub const fn errno(self) -> Option<i32> {
        if self.errno == 0 { None } else { Some(self.errno.cast_signed()) }
    }
}

impl PartialEq for IoError {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && (self.kind != IoErrorKind::Medium || self.offset == other.offset)
    }
}

impl Eq for IoError {}

impl fmt::Display for IoError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, self.offset()) {
            (IoErrorKind::Medium, Some(offset)) => write!(out, "medium error at byte {offset}"),
            (kind, _) => kind.fmt(out),
        }
    }
}

impl std::error::Error for IoError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Now;

    #[test]
    fn error_keeps_offset_and_number_and_results_stay_small() {
        let error = IoError::NOT_READY.with_errno(110).at(4096);
        assert_eq!(
            (error.kind(), error.errno(), error.offset()),
            (IoErrorKind::NotReady, Some(110), Some(4096))
        );
        assert_eq!((IoError::NOT_READY.errno(), IoError::NOT_READY.offset()), (None, None));
        assert_eq!(error.with_errno(-5).errno(), None);
        assert_eq!(size_of::<Option<Result<Now, IoError>>>(), 16);
    }

    #[test]
    fn errors_are_equal_by_kind_and_medium_errors_also_by_offset() {
        assert_eq!(IoError::NO_SPACE.with_errno(28).at(7), IoError::NO_SPACE);
        assert_eq!(IoError::medium(7).with_errno(5), IoError::medium(7));
        assert_ne!(IoError::medium(7), IoError::medium(8));
        assert_ne!(IoError::LOST, IoError::NO_SPACE);
        assert_eq!(IoError::medium(7).to_string(), "medium error at byte 7");
    }
}
