//! Programs of this workspace, of tgt and of other projects: where they are, and runs of them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::DEADLINE;

/// Origin of a daemon or tool.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Brand {
    /// This workspace.
    Ours,
    /// Upstream tgt, from the Debian package.
    Tgt,
}

impl Brand {
    /// Path of a program.
    pub(crate) fn program(self, name: &str) -> PathBuf {
        match self {
            Self::Ours => binaries().join(name),
            Self::Tgt => tool(name),
        }
    }
}

/// Directory of this workspace's binaries; builds them in the profile of the tests.
pub(crate) fn binaries() -> &'static Path {
    static BINARIES: OnceLock<PathBuf> = OnceLock::new();
    BINARIES.get_or_init(|| {
        let this = std::env::current_exe().expect("path of the test binary");
        let directory = this.parent().and_then(Path::parent).expect("target/PROFILE/deps/daemon-…");
        let profile = match directory.file_name().and_then(OsStr::to_str) {
            Some("debug") | None => "dev",
            Some(name) => name,
        };
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp");
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args([
            "build",
            "--quiet",
            "--profile",
            profile,
            "--package",
            "tgtd-bin",
            "--package",
            "tgtadm-bin",
        ]);
        build.arg("--target-dir").arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(build.status().expect("cannot run cargo").success(), "cannot build the daemon");
        directory.to_owned()
    })
}

/// Path of another project's tool.
///
/// # Panics
/// The tool is missing; the message names its Debian package.
#[track_caller]
pub(crate) fn tool(name: &str) -> PathBuf {
    let package = match name {
        _ if name.starts_with("tgt") => "tgt",
        _ if name.starts_with("qemu-") => "qemu-utils",
        _ => "libiscsi-bin",
    };
    // A tgtd or tgtadm in another directory may be ours.
    let found = ["/usr/sbin", "/usr/bin"]
        .map(|directory| Path::new(directory).join(name))
        .into_iter()
        .find(|path| path.exists());
    found.unwrap_or_else(|| {
        panic!("{name} is missing: install the Debian package {package}, or call tests/run")
    })
}

/// Result of a tool.
#[derive(Debug)]
pub(crate) struct ToolOutput {
    /// The exit status is 0.
    pub(crate) success: bool,
    /// Standard output, then standard error.
    pub(crate) text: String,
}

/// A command that `timeout` kills after [`DEADLINE`].
pub(super) fn timeout(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", &DEADLINE.as_secs().to_string()]).arg(program).stdin(Stdio::null());
    command
}

/// Runs a tool.
///
/// # Panics
/// The tool is missing or does not end within [`DEADLINE`].
#[track_caller]
pub(crate) fn run<S: AsRef<OsStr>>(name: &str, words: impl IntoIterator<Item = S>) -> ToolOutput {
    let mut command = timeout(tool(name));
    let output = command.args(words).output().expect("cannot run timeout (coreutils)");
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(!matches!(output.status.code(), Some(124 | 137)), "{command:?} timed out: {text}");
    assert!(
        !text.contains("Unknown protocol 'iscsi'"),
        "install the Debian package qemu-block-extra in the version of qemu-utils"
    );
    ToolOutput { success: output.status.success(), text }
}

/// Runs a tool that must succeed; returns its output.
#[track_caller]
pub(crate) fn succeed<S: AsRef<OsStr>>(name: &str, words: impl IntoIterator<Item = S>) -> String {
    let output = run(name, words);
    assert!(output.success, "{name}: {}", output.text);
    output.text
}

/// Runs a tool that must fail; returns its output.
#[track_caller]
pub(crate) fn fail<S: AsRef<OsStr>>(name: &str, words: impl IntoIterator<Item = S>) -> String {
    let output = run(name, words);
    assert!(!output.success, "{name} succeeds: {}", output.text);
    output.text
}
