//! Errors that end the daemon: a message for the operator and an exit code for scripts.

use std::path::PathBuf;

use target_engine::runtime::server::ServerError;

use crate::export::ExportError;

/// An error that ends the daemon, in most cases while it starts. A failed start leaves nothing behind but the directory
/// of the control socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A system call on a file or directory failed.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// The attempted operation, as an infinitive.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error of the system call.
        source: std::io::Error,
    },
    /// A file or device of `--export` cannot be exported.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The server cannot bind its sockets, or cannot go on.
    #[error("{source}{}", hint(source))]
    Server {
        /// The error of the server.
        #[from]
        source: ServerError,
    },
    /// A system call that concerns the process itself failed.
    #[error("cannot {doing}: {source}")]
    Process {
        /// The attempted operation, as an infinitive.
        doing: &'static str,
        /// The error of the system call.
        source: std::io::Error,
    },
}

impl Failure {
    /// Returns a function for `map_err` that adds operation and path.
    pub(crate) fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { doing, path, source }
    }

    /// Returns a function for `map_err` that adds the operation.
    pub(crate) fn process(doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Process { doing, source }
    }

    /// The exit code: the errno of the cause, or 1 if it has none.
    pub(crate) fn exit_code(&self) -> u8 {
        let source = match self {
            Self::File { source, .. } | Self::Process { source, .. } => source,
            Self::Export(ExportError::Unusable { source, .. }) => source,
            Self::Export(ExportError::OtherSize { .. }) => return EEXIST,
            Self::Server { source } => match source {
                ServerError::SocketDirectory { source, .. }
                | ServerError::LockFile { source, .. }
                | ServerError::Socket { source, .. }
                | ServerError::Portal { source, .. }
                | ServerError::Resources(source) => source,
                ServerError::SocketPathTooLong(_) => return ENAMETOOLONG,
                _ => return 1,
            },
        };
        source.raw_os_error().and_then(|errno| u8::try_from(errno).ok()).unwrap_or(1)
    }
}

/// What the operator can do about an error of the server; empty if nothing is known.
fn hint(error: &ServerError) -> &'static str {
    match error {
        ServerError::AnotherDaemon(_) => "; give this one another --control-port",
        ServerError::SocketDirectory { .. } | ServerError::LockFile { .. } | ServerError::Socket { .. } => {
            "; set TGT_IPC_SOCKET to another path"
        }
        ServerError::Portal { .. } => "; choose another one with --iscsi portal=ADDRESS:PORT",
        _ => "",
    }
}

const ENAMETOOLONG: u8 = 36;
const EEXIST: u8 = 17;

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn server_errors_have_a_hint() {
        let busy = Failure::from(ServerError::AnotherDaemon("/run/s.0.lock".into()));
        assert_eq!(busy.exit_code(), 1);
        assert_eq!(
            busy.to_string(),
            "another tgtd is using /run/s.0.lock; give this one another --control-port"
        );
        let portal = "127.0.0.1:3260".parse().unwrap();
        let taken = ServerError::Portal { portal, source: io::Error::from_raw_os_error(98) };
        assert_eq!(Failure::from(taken).exit_code(), 98);
    }

    #[test]
    fn exit_code_is_the_errno() {
        let denied = Failure::file("create", "/x")(io::Error::from_raw_os_error(13));
        assert_eq!(
            (denied.exit_code(), denied.to_string()),
            (13, "cannot create /x: Permission denied (os error 13)".into())
        );
        let odd = Failure::process("start")(io::Error::other("odd"));
        assert_eq!((odd.exit_code(), odd.to_string()), (1, "cannot start: odd".into()));
        let other = ExportError::OtherSize { path: "/x".into(), found: 1, asked: 2 };
        assert_eq!(Failure::from(other).exit_code(), 17);
    }
}
