//! What a process does to be a daemon: it detaches, writes its id, raises its limits, minds its signals and tells
//! its supervisor.
//!
//! Detaching is by starting the program again, not by forking: no state is half copied, and the starter waits until
//! the daemon serves, so that a script that goes on after `tgtd` finds a daemon that answers.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::Failure;

/// Starts this program again in the background and waits until it serves; the exit code for the starter.
///
/// # Errors
/// It could not be started at all. What it has to complain about itself, it says on our standard error.
pub(crate) fn start_detached() -> Result<u8, Failure> {
    let start = || -> std::io::Result<u8> {
        let mut words = std::env::args_os();
        let name = words.next().unwrap_or_else(|| "tgtd".into());
        let mut child = Command::new(std::env::current_exe()?)
            .arg0(name)
            .arg("--detached")
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut word = Vec::new();
        if let Some(mut pipe) = child.stdout.take() {
            pipe.read_to_end(&mut word)?;
        }
        if word == SERVING {
            return Ok(0);
        }
        let status = child.wait()?;
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        Ok(code.and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0).unwrap_or(1))
    };
    start().map_err(Failure::process("go to the background"))
}

/// The started process leaves terminal and directory of its starter, before anything else.
///
/// # Errors
/// The system refuses.
pub(crate) fn leave_starter() -> Result<(), Failure> {
    let leave = || -> std::io::Result<()> {
        rustix::process::setsid()?;
        std::env::set_current_dir("/")
    };
    leave().map_err(Failure::process("detach"))
}

/// Tells the starter that the daemon serves, and lets go of its pipe and its standard error.
///
/// # Errors
/// `/dev/null` cannot be opened.
pub(crate) fn release_starter() -> Result<(), Failure> {
    let mut stdout = std::io::stdout();
    // A starter that was killed does not wait.
    let _ = stdout.write_all(SERVING).and_then(|()| stdout.flush());
    let release = || -> std::io::Result<()> {
        let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(&null)?;
        Ok(())
    };
    release().map_err(Failure::process("let go of the terminal"))
}

/// A file that holds the daemon's process id as long as the daemon runs.
#[derive(Debug)]
pub(crate) struct PidFile(PathBuf);

impl PidFile {
    /// Writes it: the number alone, readable by all.
    ///
    /// # Errors
    /// The path cannot be written.
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

/// Asks the kernel to spare the daemon when memory is short, and for as many descriptors as there can be. Where it
/// refuses, that is worth a warning where it was `expected`.
pub(crate) fn raise_limits(expected: bool) {
    let refused = if expected { log::Level::Warn } else { log::Level::Debug };
    if let Err(error) = fs::write(OOM_SCORE_FILE, "-1000") {
        log::log!(refused, "cannot write {OOM_SCORE_FILE}: {error}");
    }
    let highest = fs::read_to_string(NR_OPEN_FILE).ok().and_then(|text| text.trim().parse().ok());
    let Some(highest) = highest else {
        log::log!(refused, "cannot read {NR_OPEN_FILE}");
        return;
    };
    let wanted = Rlimit { current: Some(highest), maximum: Some(highest) };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, wanted) {
        log::log!(refused, "cannot raise the limit of open files to {highest}: {error}");
        let allowed = rustix::process::getrlimit(Resource::Nofile).maximum;
        // Within the hard limit everybody may.
        let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: allowed, maximum: allowed });
    }
}

/// What a signal means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wish {
    /// End: the first time gracefully, the second time at once.
    End,
    /// Whatever the server does, end the process.
    Exit,
    /// There is nothing to do.
    Nothing,
}

/// Watches for signals on a thread of its own; `end` is called for the first two that ask for it. SIGPIPE is ignored
/// by Rust's start code already.
///
/// # Errors
/// The handlers cannot be installed.
pub(crate) fn watch_signals(terminal: bool, end: impl Fn() + Send + 'static) -> Result<(), Failure> {
    let start = || -> std::io::Result<()> {
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let watch = move || {
            let mut asked = 0;
            for signal in signals.forever() {
                match meaning(signal, terminal, asked) {
                    Wish::End => {
                        log::info!("signal {signal}: ending");
                        asked += 1;
                        end();
                    }
                    Wish::Exit => {
                        crate::logging::flush();
                        std::process::exit(128 + signal);
                    }
                    Wish::Nothing => log::info!(
                        "signal {signal}: ignored; tgt-admin --update ALL reads targets.conf again"
                    ),
                }
            }
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(watch).map(drop)
    };
    start().map_err(Failure::process("watch for signals"))
}

/// A terminal that hangs up ends what runs in its foreground; to a daemon SIGHUP means "reload", and it has no
/// configuration of its own.
fn meaning(signal: i32, terminal: bool, asked: u32) -> Wish {
    match signal {
        SIGHUP if !terminal => Wish::Nothing,
        _ if asked < 2 => Wish::End,
        _ => Wish::Exit,
    }
}

/// Tells systemd, if it is there, that the daemon serves.
pub(crate) fn notify_ready() {
    sd(&[NotifyState::Ready, NotifyState::Status("Serving")]);
}

/// Tells systemd, if it is there, that the daemon ends.
pub(crate) fn notify_stopping() {
    sd(&[NotifyState::Stopping]);
}

fn sd(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::warn!("cannot notify systemd: {error}");
    }
}

/// What the daemon writes to its starter.
const SERVING: &[u8] = b"serving\n";
const OOM_SCORE_FILE: &str = "/proc/self/oom_score_adj";
const NR_OPEN_FILE: &str = "/proc/sys/fs/nr_open";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn pid_file_lives_as_long_as_its_value() {
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
    fn a_new_pid_file_is_readable_by_all_and_writable_by_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tgtd.pid");
        let _pid_file = PidFile::write(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7133, 0, "{mode:o}");
    }

    #[test]
    fn signals_end_the_server_twice_and_then_the_process() {
        for signal in [SIGTERM, SIGINT] {
            for terminal in [false, true] {
                let wishes = [0, 1, 2].map(|asked| meaning(signal, terminal, asked));
                assert_eq!(wishes, [Wish::End, Wish::End, Wish::Exit]);
            }
        }
        assert_eq!(meaning(SIGHUP, true, 0), Wish::End);
        assert_eq!(meaning(SIGHUP, false, 0), Wish::Nothing);
        assert_eq!(meaning(SIGHUP, false, 2), Wish::Nothing);
    }

    #[test]
    fn limits_that_cannot_be_raised_are_no_failure() {
        raise_limits(false);
        let limit = rustix::process::getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum, "the soft limit is at the hard one");
    }
}
