//! What the kernel's error numbers mean for a store.

use rustix::io::Errno;
use scsi_core::store::{IoError, IoErrorKind};

/// An operation at byte `offset` failed with `errno`.
pub(crate) fn from_errno(errno: Errno, offset: u64) -> IoError {
    let kind = match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => IoErrorKind::NoSpace,
        Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS => IoErrorKind::Unsupported,
        Errno::ROFS | Errno::BADF | Errno::PERM | Errno::ACCESS => IoErrorKind::ReadOnly,
        Errno::CANCELED | Errno::INTR => IoErrorKind::Cancelled,
        Errno::NODEV
        | Errno::NXIO
        | Errno::NOMEDIUM
        | Errno::STALE
        | Errno::TIMEDOUT
        | Errno::NOLINK
        | Errno::HOSTDOWN
        | Errno::HOSTUNREACH
        | Errno::NOMEM => IoErrorKind::NotReady,
        _ => IoErrorKind::Medium,
    };
    IoError::new(kind).at(offset).with_errno(errno.raw_os_error())
}

/// Repeats a call that a signal interrupted (`EINTR`).
pub(super) fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            done => return done,
        }
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
            (Errno::NOSPC,     IoError::NO_SPACE),
            (Errno::DQUOT,     IoError::NO_SPACE),
            (Errno::FBIG,      IoError::NO_SPACE),
            // The medium, as the file system or the block layer has it; also what has no better place.
            (Errno::IO,        IoError::medium(7)),
            (Errno::NODATA,    IoError::medium(7)),
            (Errno::REMOTEIO,  IoError::medium(7)),
            (Errno::ILSEQ,     IoError::medium(7)),
            (Errno::INVAL,     IoError::medium(7)),
            (Errno::OPNOTSUPP, IoError::UNSUPPORTED),
            (Errno::NOSYS,     IoError::UNSUPPORTED),
            // Mounted again read-only, or sealed.
            (Errno::ROFS,      IoError::READ_ONLY),
            (Errno::PERM,      IoError::READ_ONLY),
            (Errno::CANCELED,  IoError::CANCELLED),
            // The way to the medium.
            (Errno::NODEV,     IoError::NOT_READY),
            (Errno::NXIO,      IoError::NOT_READY),
            (Errno::STALE,     IoError::NOT_READY),
            (Errno::TIMEDOUT,  IoError::NOT_READY),
            (Errno::NOLINK,    IoError::NOT_READY),
        ];
        for (errno, expected) in cases {
            let error = from_errno(errno, 7);
            assert_eq!(error, expected, "{errno}");
            assert_eq!((error.offset(), error.errno()), (Some(7), Some(errno.raw_os_error())));
        }
    }
}
