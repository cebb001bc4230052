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
        Errno::NODEV
        | Errno::NXIO
        | Errno::NOMEDIUM
        | Errno::STALE
        | Errno::TIMEDOUT
        | Errno::NOLINK
        | Errno::HOSTDOWN
        | Errno::HOSTUNREACH
        | Errno::NOMEM => IoError::NotReady,
        _ => IoError::Medium(offset),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_stays_what_it_is() {
        #[rustfmt::skip]
        let cases = [
            // The file system, the quota, the file's own limit.
            (Errno::NOSPC,     IoError::NoSpace),
            (Errno::DQUOT,     IoError::NoSpace),
            (Errno::FBIG,      IoError::NoSpace),
            // The medium, as the file system or the block layer has it; also what has no better place.
            (Errno::IO,        IoError::Medium(7)),
            (Errno::NODATA,    IoError::Medium(7)),
            (Errno::REMOTEIO,  IoError::Medium(7)),
            (Errno::ILSEQ,     IoError::Medium(7)),
            (Errno::INVAL,     IoError::Medium(7)),
            (Errno::OPNOTSUPP, IoError::Unsupported),
            (Errno::NOSYS,     IoError::Unsupported),
            // Mounted again read-only, or sealed.
            (Errno::ROFS,      IoError::ReadOnly),
            (Errno::PERM,      IoError::ReadOnly),
            (Errno::CANCELED,  IoError::Cancelled),
            // The way to the medium.
            (Errno::NODEV,     IoError::NotReady),
            (Errno::NXIO,      IoError::NotReady),
            (Errno::STALE,     IoError::NotReady),
            (Errno::TIMEDOUT,  IoError::NotReady),
            (Errno::NOLINK,    IoError::NotReady),
        ];
        for (errno, expected) in cases {
            assert_eq!(from_errno(errno, 7), expected, "{errno}");
        }
    }
}
