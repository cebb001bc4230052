//! Why the daemon does not run: one line for people, one exit code for scripts.

use std::path::PathBuf;

use target_engine::runtime::server::ServerError;

use crate::export::ExportError;

/// A start that failed. Nothing serves, and nothing was left behind but the directory of the control socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A system call on a file or directory said no.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was tried, as a verb.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Something is wrong with an `--export`.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The server cannot take its places, or cannot go on.
    #[error("{source}{}", hint(source))]
    Server {
        /// Which, and why.
        #[from]
        source: ServerError,
    },
    /// The process cannot be what a daemon needs to be.
    #[error("cannot {doing}: {source}")]
    Process {
        /// What was tried, as a verb.
        doing: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl Failure {
    /// For `map_err`: what was done to which path.
    pub(crate) fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { doing, path, source }
    }

    /// For `map_err`: what the process tried.
    pub(crate) fn process(doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Process { doing, source }
    }

    /// The errno behind it; 1 where there is none.
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

/// What would help.
fn hint(error: &ServerError) -> &'static str {
    match error {
        ServerError::AnotherDaemon(_) => "; give this one another --control-port",
        ServerError::SocketDirectory { .. } | ServerError::LockFile { .. } | ServerError::Socket { .. } => {
            "; TGT_IPC_SOCKET names another place for it"
        }
        ServerError::Portal { .. } => "; --iscsi portal=ADDRESS:PORT names another one",
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
    fn what_the_server_says_comes_with_a_hint() {
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
    fn exit_codes_are_the_reasons() {
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
