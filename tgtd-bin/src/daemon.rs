//! The duties of a daemon process: detach from its starter, write the pid file, raise limits, protect its memory, handle
//! signals, notify systemd.
//!
//! To detach, the program starts itself again instead of forking, so that no thread or lock is copied. The starting
//! process exits when the daemon serves, so that a script can call `tgtadm` right after `tgtd`.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{DumpableBehavior, Resource, Rlimit};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::Failure;

/// Starts this program again in the background, waits until it serves or ends, and returns the exit code for this
/// process. The started process prints its errors to the standard error of this one.
///
/// # Errors
/// The program cannot be started.
pub(crate) fn start_detached() -> Result<u8, Failure> {
    let start = || -> std::io::Result<u8> {
        let mut arguments = std::env::args_os();
        let name = arguments.next().unwrap_or_else(|| "tgtd".into());
        let mut child = Command::new(std::env::current_exe()?)
            .arg0(name)
            .arg("--detached")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut message = Vec::new();
        if let Some(mut pipe) = child.stdout.take() {
            pipe.read_to_end(&mut message)?;
        }
        if message == SERVING {
            return Ok(0);
        }
        let status = child.wait()?;
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        Ok(code.and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0).unwrap_or(1))
    };
    start().map_err(Failure::process("start in the background"))
}

/// Makes this process the leader of a new session and changes its working directory to `/`.
///
/// # Errors
/// One of the system calls fails.
pub(crate) fn leave_starter() -> Result<(), Failure> {
    let leave = || -> std::io::Result<()> {
        rustix::process::setsid()?;
        std::env::set_current_dir("/")
    };
    leave().map_err(Failure::process("detach"))
}

/// Notifies the starting process that the daemon serves, and replaces standard output and standard error with
/// `/dev/null`.
///
/// # Errors
/// `/dev/null` cannot be opened.
pub(crate) fn release_starter() -> Result<(), Failure> {
    let mut stdout = std::io::stdout();
    // It fails if the starting process was killed.
    let _ = stdout.write_all(SERVING).and_then(|()| stdout.flush());
    let release = || -> std::io::Result<()> {
        let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(&null)?;
        Ok(())
    };
    release().map_err(Failure::process("detach from the terminal"))
}

/// A file that contains the process ID. It is removed on drop.
#[derive(Debug)]
pub(crate) struct PidFile(PathBuf);

impl PidFile {
    /// Writes the process ID in decimal, without a newline, to the path. A new file has mode 0644.
    ///
    /// # Errors
    /// The file cannot be created or written.
    pub(crate) fn write(path: &Path) -> Result<Self, Failure> {
        let mut options = fs::OpenOptions::new();
        let write = |mut file: fs::File| write!(file, "{}", std::process::id());
        let opened = options.write(true).create(true).truncate(true).mode(0o644).open(path);
        opened.and_then(write).map_err(Failure::file("write the pid file", path))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            log::warn!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Exempts the process from the OOM killer and raises its limit of open files as far as possible. Failures are logged,
/// as warnings if success is `expected`, otherwise for debugging.
pub(crate) fn raise_limits(expected: bool) {
    let level = if expected { log::Level::Warn } else { log::Level::Debug };
    if let Err(error) = fs::write(OOM_SCORE_FILE, "-1000") {
        log::log!(level, "cannot write {OOM_SCORE_FILE}: {error}");
    }
    let highest = fs::read_to_string(NR_OPEN_FILE).ok().and_then(|text| text.trim().parse().ok());
    let Some(highest) = highest else {
        log::log!(level, "cannot read {NR_OPEN_FILE}");
        return;
    };
    let wanted = Rlimit { current: Some(highest), maximum: Some(highest) };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, wanted) {
        let allowed = rustix::process::getrlimit(Resource::Nofile).maximum;
        let level = if suffices(allowed) { log::Level::Debug } else { level };
        log::log!(level, "cannot raise the limit of open files to {highest}: {error}");
        // Up to the hard limit no privilege is needed.
        let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: allowed, maximum: allowed });
    }
}

/// Whether a hard limit of open files is enough: tgt.service sets it, and withholds the privilege to raise it.
fn suffices(open_files: Option<u64>) -> bool {
    open_files.is_none_or(|limit| limit >= OPEN_FILES)
}

/// Makes the kernel write no core of this process, which would contain CHAP secrets, and hide its memory from other
/// processes of its user (PR_SET_DUMPABLE). Processes with CAP_SYS_PTRACE can still read it.
///
/// # Errors
/// The kernel refuses it.
pub(crate) fn protect_memory() -> Result<(), Failure> {
    let set = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    set.map_err(std::io::Error::from).map_err(Failure::process("protect the memory"))
}

/// What the daemon does on a signal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SignalAction {
    /// Shut the server down: the first time gracefully, the second time at once.
    Shutdown,
    /// Exit without waiting for the server.
    Exit,
    /// Log the signal.
    Ignore,
}

/// Starts a thread that handles SIGTERM, SIGINT and SIGHUP. It calls `shutdown` for the first two that end the daemon;
/// the third exits the process. Rust's runtime ignores SIGPIPE already.
///
/// # Errors
/// The handlers cannot be installed, or the thread cannot be started.
pub(crate) fn watch_signals(terminal: bool, shutdown: impl Fn() + Send + 'static) -> Result<(), Failure> {
    let start = || -> std::io::Result<()> {
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let watch = move || {
            let mut shutdowns = 0;
            for signal in signals.forever() {
                match action(signal, terminal, shutdowns) {
                    SignalAction::Shutdown => {
                        log::info!("signal {signal}: ending");
                        shutdowns += 1;
                        shutdown();
                    }
                    SignalAction::Exit => {
                        crate::logging::flush();
                        std::process::exit(128 + signal);
                    }
                    SignalAction::Ignore => log::info!(
                        "signal {signal}: ignored; tgt-admin --update ALL reads targets.conf again"
                    ),
                }
            }
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(watch).map(drop)
    };
    start().map_err(Failure::process("watch for signals"))
}

/// Chooses the action for a signal after `shutdowns` earlier ones that shut the server down. SIGHUP ends a daemon in
/// the foreground of a terminal, which has hung up. Otherwise it asks to reload the configuration, which tgt-admin
/// does.
fn action(signal: i32, terminal: bool, shutdowns: u32) -> SignalAction {
    match signal {
        SIGHUP if !terminal => SignalAction::Ignore,
        _ if shutdowns < 2 => SignalAction::Shutdown,
        _ => SignalAction::Exit,
    }
}

/// Notifies systemd that the daemon serves, if `NOTIFY_SOCKET` is set (sd_notify(3)).
pub(crate) fn notify_ready() {
    notify(&[NotifyState::Ready, NotifyState::Status("Serving")]);
}

/// Notifies systemd that the daemon ends, if `NOTIFY_SOCKET` is set (sd_notify(3)).
pub(crate) fn notify_stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::warn!("cannot notify systemd: {error}");
    }
}

/// The message of the daemon to the process that started it.
const SERVING: &[u8] = b"serving\n";
const OOM_SCORE_FILE: &str = "/proc/self/oom_score_adj";
/// `LimitNOFILE=` of tgt.service.
const OPEN_FILES: u64 = 1 << 20;
const NR_OPEN_FILE: &str = "/proc/sys/fs/nr_open";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn pid_file_is_removed_on_drop() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tgtd.pid");
        fs::write(&path, "an older and longer text").unwrap();
        let pid_file = PidFile::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        drop(pid_file);
        assert!(!path.exists());

        drop(PidFile::write(&path).unwrap());
        let missing = PidFile::write(&directory.path().join("no/such/tgtd.pid")).unwrap_err();
        assert_eq!(missing.exit_code(), 2);
    }

    #[test]
    fn new_pid_file_is_readable_by_all_and_writable_by_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tgtd.pid");
        let _pid_file = PidFile::write(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7133, 0, "{mode:o}");
    }

    #[test]
    fn signals_shut_the_server_down_twice_and_then_exit() {
        for signal in [SIGTERM, SIGINT] {
            for terminal in [false, true] {
                let actions = [0, 1, 2].map(|shutdowns| action(signal, terminal, shutdowns));
                assert_eq!(actions, [SignalAction::Shutdown, SignalAction::Shutdown, SignalAction::Exit]);
            }
        }
        assert_eq!(action(SIGHUP, true, 0), SignalAction::Shutdown);
        assert_eq!(action(SIGHUP, false, 0), SignalAction::Ignore);
        assert_eq!(action(SIGHUP, false, 2), SignalAction::Ignore);
    }

    #[test]
    fn soft_limit_is_raised_to_the_hard_limit_without_privileges() {
        raise_limits(false);
        let limit = rustix::process::getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum, "the soft limit is at the hard one");
    }

    #[test]
    fn limit_of_the_unit_suffices_for_open_files() {
        let unit = include_str!("../../dist/tgt.service");
        assert!(unit.contains(&format!("\nLimitNOFILE={OPEN_FILES}\n")));
        assert!(suffices(None) && suffices(Some(OPEN_FILES)) && !suffices(Some(OPEN_FILES - 1)));
    }
}
