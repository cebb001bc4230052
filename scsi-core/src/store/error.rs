//! Why an operation of a store failed.

use std::fmt;

/// Why an operation failed: what kind of failure it is, where, and the operating system's error number if there is
/// one. Sense data is made from the kind; offset and number are for the log.
///
/// Two errors are equal if they are of the same kind; errors of the medium also need the same offset.
#[derive(Clone, Copy, Debug)]
pub struct IoError {
    kind: IoErrorKind,
    /// 0: not known.
    errno: u32,
    /// `u64::MAX`: not known.
    offset: u64,
}

/// What kind of failure an [`IoError`] is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[repr(u32)]
pub enum IoErrorKind {
    /// The medium failed.
    #[error("medium error")]
    Medium,
    /// No space for a write.
    #[error("no space left in the store")]
    NoSpace,
    /// Beyond the present end: the store shrank.
    #[error("beyond the end of the store")]
    OutOfRange,
    /// Not among the capabilities.
    #[error("not supported by this store")]
    Unsupported,
    /// A flush failed: writes that were acknowledged may be lost, and no later one is taken.
    #[error("acknowledged writes may be lost: the store takes no more until it is opened again")]
    Lost,
    /// The store refuses writes.
    #[error("the store is read-only")]
    ReadOnly,
    /// The store cannot be reached.
    #[error("the store is not ready")]
    NotReady,
    /// Ended early because it was asked to.
    #[error("cancelled")]
    Cancelled,
    /// Its engine ended, or panicked.
    #[error("abandoned: its engine ended")]
    Abandoned,
    /// The store does not keep the contract of [`IoEngine`](super::IoEngine).
    #[error(
        "the store misbehaves: it did not give the operation's buffer back as it was lent, or the result is not one of this operation"
    )]
    Misbehaved,
}

impl IoError {
    /// No space for a write.
    pub const NO_SPACE: Self = Self::new(IoErrorKind::NoSpace);
    /// Beyond the present end.
    pub const OUT_OF_RANGE: Self = Self::new(IoErrorKind::OutOfRange);
    /// Not among the capabilities.
    pub const UNSUPPORTED: Self = Self::new(IoErrorKind::Unsupported);
    /// Acknowledged writes may be lost.
    pub const LOST: Self = Self::new(IoErrorKind::Lost);
    /// The store refuses writes.
    pub const READ_ONLY: Self = Self::new(IoErrorKind::ReadOnly);
    /// The store cannot be reached.
    pub const NOT_READY: Self = Self::new(IoErrorKind::NotReady);
    /// Ended early because it was asked to.
    pub const CANCELLED: Self = Self::new(IoErrorKind::Cancelled);
    /// Its engine ended, or panicked.
    pub const ABANDONED: Self = Self::new(IoErrorKind::Abandoned);
    /// The store does not keep the contract.
    pub const MISBEHAVED: Self = Self::new(IoErrorKind::Misbehaved);

    /// An error of this kind, with neither offset nor number.
    #[must_use]
    pub const fn new(kind: IoErrorKind) -> Self {
        Self { kind, errno: 0, offset: u64::MAX }
    }

    /// The medium failed at this byte of the store.
    #[must_use]
    pub const fn medium(offset: u64) -> Self {
        Self::new(IoErrorKind::Medium).at(offset)
    }

    /// The same at this byte of the store.
    #[must_use]
    pub const fn at(self, offset: u64) -> Self {
        Self { offset, ..self }
    }

    /// The same with the operating system's number (`EIO` is 5); one that is not positive is left out.
    #[must_use]
    pub const fn with_errno(self, errno: i32) -> Self {
        let errno = if errno > 0 { errno as u32 } else { 0 };
        Self { errno, ..self }
    }

    /// What kind of failure it is.
    #[must_use]
    pub const fn kind(self) -> IoErrorKind {
        self.kind
    }

    /// The byte of the store, if the store said so.
    #[must_use]
    pub const fn offset(self) -> Option<u64> {
        if self.offset == u64::MAX { None } else { Some(self.offset) }
    }

    /// The operating system's error number, if there was one.
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
    fn an_error_keeps_offset_and_number_and_makes_no_result_larger() {
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
    fn errors_are_equal_by_kind_and_those_of_the_medium_by_offset_too() {
        assert_eq!(IoError::NO_SPACE.with_errno(28).at(7), IoError::NO_SPACE);
        assert_eq!(IoError::medium(7).with_errno(5), IoError::medium(7));
        assert_ne!(IoError::medium(7), IoError::medium(8));
        assert_ne!(IoError::LOST, IoError::NO_SPACE);
        assert_eq!(IoError::medium(7).to_string(), "medium error at byte 7");
    }
}
