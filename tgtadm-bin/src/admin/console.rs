//! Output and exit codes of `tgt-admin`.

use std::fmt::Display;
use std::io::Write;

use target_engine::system_text::without_numbers;

use super::command::Command;
use crate::Refusal;

/// Ends a run with this exit code. The reason has been printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stop(pub(super) u8);

/// An error in the file, an unknown target, or an incomplete dump.
pub(super) const FAILURE: Stop = Stop(1);
/// The file does not exist, or an option is wrong.
pub(super) const USAGE: Stop = Stop(2);

/// No daemon listens on the control socket.
pub(super) const NO_DAEMON: Stop = Stop(crate::NO_DAEMON);

/// `--plan` found differences.
pub(super) const DIFFERENCE: Stop = Stop(3);

/// Prints a line to standard output. A closed output is ignored so that a run is not left half done.
pub(super) fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints a line to standard error.
pub(super) fn print_error(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{}", without_numbers(&line.to_string()));
}

/// Prints a message of `tgt-admin` itself to standard error.
pub(super) fn warn(line: impl Display) {
    print_error(format_args!("tgt-admin: {line}"));
}

/// Prints what tgt prints when a command fails, but without the password: standard output may be the journal.
pub(super) fn refused(command: &Command, refusal: &Refusal) -> Stop {
    let _ = std::io::stderr().write_all(&refusal.text);
    say(format_args!("Command:\n\t{}\nexited with code: {}.", command.text_without_secret(), refusal.exit));
    // `tgtadm` exits with 0 if the daemon closes the connection without an answer, but the request was not executed.
    Stop(refusal.exit.max(FAILURE.0))
}

/// Prints what `tgtadm` prints for a refusal.
pub(super) fn print_refusal(refusal: &Refusal) {
    let _ = std::io::stderr().write_all(&refusal.text);
}
