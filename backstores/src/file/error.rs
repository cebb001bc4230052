//! Errors of system calls: which error of the store an errno is, and the repetition of interrupted calls and of
//! operations on a busy file.

use std::time::Duration;

use rustix::io::Errno;
use scsi_core::store::{IoError, IoErrorKind};

/// Converts the `errno` of an operation at byte `offset`.
pub(crate) fn from_errno(errno: Errno, offset: u64) -> IoError {
    let kind = match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => IoErrorKind::NoSpace,
        Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS => IoErrorKind::Unsupported,
        Errno::ROFS | Errno::BADF | Errno::PERM | Errno::ACCESS => IoErrorKind::ReadOnly,
        Errno::AGAIN => IoErrorKind::Busy,
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

/// Repeats an operation that the file answers with EAGAIN, after each of [`PAUSES`] in turn, which `pause` spends.
pub(super) fn retry_busy<T>(
    mut operation: impl FnMut() -> Result<T, IoError>,
    mut pause: impl FnMut(Duration),
) -> Result<T, IoError> {
    for nanoseconds in PAUSES {
        match operation() {
            Err(error) if error.kind() == IoErrorKind::Busy => {
                pause(Duration::from_nanos(nanoseconds.into()))
            }
            done => return done,
        }
    }
    operation()
}

/// How often an operation is repeated that the file answers with EAGAIN, after pauses from 1 ms to half a second, one second
/// in all.
///
/// Hit by: store. Scope: operation of a store. Over it: the command gets BUSY. Seen: log, `failed`; the unit's `errors` of
/// `stat`.
pub(super) const BUSY_REPEATS_MAX: usize = 10;

/// Nanoseconds before each repetition of an operation that the file answers with EAGAIN. After the last one the operation
/// fails with [`IoErrorKind::Busy`].
pub(super) const PAUSES: [u32; BUSY_REPEATS_MAX] = {
    let mut pauses = [1_000_000; BUSY_REPEATS_MAX];
    let mut at = 1;
    while at < pauses.len() {
        pauses[at] = pauses[at - 1] * 2;
        at += 1;
    }
    pauses
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_operation_is_repeated_after_doubling_pauses_then_fails() {
        let mut pauses = Vec::new();
        let mut tries = 0;
        let busy = retry_busy(
            || -> Result<(), IoError> {
                tries += 1;
                Err(IoError::BUSY)
            },
            |pause| pauses.push(pause.as_millis()),
        );
        assert_eq!((busy, tries), (Err(IoError::BUSY), 11));
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);

        let mut answers = [Err(IoError::BUSY), Err(IoError::BUSY), Ok(7)].into_iter();
        let mut paused = 0;
        assert_eq!(retry_busy(|| answers.next().unwrap(), |_| paused += 1), Ok(7));
        assert_eq!(paused, 2);
        let failed = retry_busy(|| -> Result<(), _> { Err(IoError::LOST) }, |_| panic!("not busy"));
        assert_eq!(failed, Err(IoError::LOST));
    }

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
            (Errno::AGAIN,     IoError::BUSY),
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
