//! What is printed, and how it ends.

use std::fmt::Display;
use std::io::Write;

use super::command::Command;
use crate::Refusal;

/// The exit code of what could not be done; why has been printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stop(pub(super) u8);

/// Something outside of the daemon's say is wrong.
pub(super) const MISTAKE: Stop = Stop(1);
/// The file is not there, or an option is wrong.
pub(super) const USAGE: Stop = Stop(2);

/// Nothing can be done without a daemon.
pub(super) const NO_DAEMON: Stop = Stop(crate::NO_DAEMON);

/// `--plan` found a difference.
pub(super) const DIFFERENT: Stop = Stop(3);

/// A line on standard output. A reader that went away is no reason to stop halfway.
pub(super) fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A line on standard error.
pub(super) fn complain(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The tool's own voice among the daemon's.
pub(super) fn warn(line: impl Display) {
    complain(format_args!("tgt-admin: {line}"));
}

/// What stock prints of a command that failed, but for a password: it may be systemd's journal that is printed to.
pub(super) fn refused(command: &Command, refusal: &Refusal) -> Stop {
    let _ = std::io::stderr().write_all(&refusal.text);
    say(format_args!("Command:\n\t{}\nexited with code: {}.", command.text_without_secret(), refusal.exit));
    // `tgtadm` ends with 0 where the daemon went away without an answer; nothing is done all the same.
    Stop(refusal.exit.max(MISTAKE.0))
}

/// Only what `tgtadm` prints.
pub(super) fn passed_over(refusal: &Refusal) {
    let _ = std::io::stderr().write_all(&refusal.text);
}
