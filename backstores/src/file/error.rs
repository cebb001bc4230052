//! What the kernel's error numbers mean for a store.

use rustix::io::Errno;
use scsi_core::store::IoError;

/// An operation at byte `offset` failed with `errno`.
pub(crate) fn from_errno(errno: Errno, offset: u64) -> IoError {
    match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => IoError::NoSpace,
        Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS => IoError::Unsupported,
        Errno::ROFS | Errno::BADF | Errno::PERM | Errno::ACCESS => IoError::ReadOnly,
        Errno::CANCELED | Errno::INTR => IoError::Cancelled,
        Errno::NODEV | Errno::NXIO | Errno::NOMEDIUM | Errno::STALE | Errno::TIMEDOUT | Errno::NOMEM => {
            IoError::NotReady
        }
        _ => IoError::Medium(offset),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_stays_what_it_is() {
        let cases = [
            (Errno::NOSPC, IoError::NoSpace),
            (Errno::DQUOT, IoError::NoSpace),
            (Errno::IO, IoError::Medium(7)),
            (Errno::OPNOTSUPP, IoError::Unsupported),
            (Errno::ROFS, IoError::ReadOnly),
            (Errno::CANCELED, IoError::Cancelled),
            (Errno::NODEV, IoError::NotReady),
            (Errno::INVAL, IoError::Medium(7)),
        ];
        for (errno, expected) in cases {
            assert_eq!(from_errno(errno, 7), expected, "{errno}");
        }
    }
}
