//! Errors of system calls: which error of the store an errno is, and the repetition of interrupted calls.

use rustix::io::Errno;
use scsi_core::store::{IoError, IoErrorKind};

/// Converts the `errno` of an operation at byte `offset`.
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
    fn errno_gives_kind_offset_and_errno_of_the_error() {
        #[rustfmt::skip]
        let cases = [
            // Limits of file system, quota and file.
            (Errno::NOSPC,     IoError::NO_SPACE),
            (Errno::DQUOT,     IoError::NO_SPACE),
            (Errno::FBIG,      IoError::NO_SPACE),
            // Errors of the medium as reported by file system or block layer, and errors of unknown cause.
            (Errno::IO,        IoError::medium(7)),
            (Errno::NODATA,    IoError::medium(7)),
            (Errno::REMOTEIO,  IoError::medium(7)),
            (Errno::ILSEQ,     IoError::medium(7)),
            (Errno::INVAL,     IoError::medium(7)),
            (Errno::OPNOTSUPP, IoError::UNSUPPORTED),
            (Errno::NOSYS,     IoError::UNSUPPORTED),
            // Remounted read-only, or sealed.
            (Errno::ROFS,      IoError::READ_ONLY),
            (Errno::PERM,      IoError::READ_ONLY),
            (Errno::CANCELED,  IoError::CANCELLED),
            // The path to the medium.
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
