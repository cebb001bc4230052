//! The administration tools `tgtadm`, `tgt-admin`, `tgt-setup-lun` and `tgtimg`.
//!
//! Scripts and cluster agents call `tgtadm` and parse its messages and exit codes. This implementation therefore accepts
//! the options that tgt's accepts and prints the same messages: [`getopt`] parses options as the C library does,
//! [`options`] prints the help from the engine's table of options, `given` reads their
//! values, [`args`] builds a request, [`rules`] checks it by the
//! engine's table of operations, [`client`] sends the request to the daemon, [`completions`] generates shell completions. [`admin`] is
//! `tgt-admin`, [`setup_lun`] is `tgt-setup-lun`, [`image`] is `tgtimg`.

pub mod admin;
pub mod args;
pub mod client;
pub mod completions;
pub mod getopt;
mod given;
pub mod image;
pub mod options;
mod refusal;
mod retries;
pub mod rules;
pub mod setup_lun;
mod store_kinds;

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use clap::Parser;

pub use crate::refusal::Refusal;
pub(crate) use crate::refusal::{EINVAL, NO_DAEMON};

use crate::args::Invocation;

/// Runs `tgtadm` with its arguments, of which the first is the program's name.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<Vec<u8>> = arguments.into_iter().map(OsString::into_vec).collect();
    let posixly_correct = std::env::var_os("POSIXLY_CORRECT").is_some();
    match args::parse(&arguments, posixly_correct).and_then(|invocation| execute(&invocation)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            // A closed output does not change the exit code.
            print(&refusal.document);
            let _ = std::io::stderr().write_all(&refusal.text);
            ExitCode::from(refusal.exit)
        }
    }
}

fn execute(invocation: &Invocation) -> Result<(), Refusal> {
    match invocation {
        Invocation::Help => print(options::help().as_bytes()),
        Invocation::Version => print(concat!(env!("CARGO_PKG_VERSION"), "\n").as_bytes()),
        Invocation::Send(order) => {
            let text = client::exchange(order)?;
            print(&text);
        }
    }
    Ok(())
}

fn print(text: &[u8]) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text).and_then(|()| out.flush());
}

/// Parses the arguments of a tool that uses clap.
///
/// # Errors
/// clap's message has been printed. The exit code is 0 for `--help` and `--version`, else `usage_error`.
pub(crate) fn parse<T: Parser>(
    arguments: impl IntoIterator<Item = OsString>,
    usage_error: u8,
) -> Result<T, ExitCode> {
    T::try_parse_from(arguments).map_err(|error| {
        // A closed output does not change the exit code.
        let _ = error.print();
        ExitCode::from(if error.use_stderr() { usage_error } else { 0 })
    })
}
