//! The administration tools and the client of the control socket.
//!
//! Scripts and cluster agents call tgt's `tgtadm` and read its messages and exit codes. This `tgtadm` accepts and refuses
//! the same command lines in the same words. [`getopt`] reads options as the C library does, [`args`] makes a record of
//! them, [`rules`] checks them by the engine's table of operations, [`options`] prints the help, [`client`] talks to the
//! daemon, [`completions`] writes the shells' completions. [`setup_lun`] and [`image`] are tools of their own.

pub mod admin;
pub mod args;
pub mod client;
pub mod completions;
pub mod getopt;
pub mod image;
pub mod options;
mod retries;
pub mod rules;
pub mod setup_lun;

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use target_engine::control::error::TgtadmError;

use crate::args::Invocation;

/// A refusal or a failure: the text for standard error and the exit code.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// 1 for an unknown mode or operation, 22 for a request that cannot be sent or that the daemon refused,
    /// 107 when there is no daemon.
    pub exit: u8,
    /// The error number in the daemon's reply; 0 where the tool itself refused.
    pub error: u32,
    /// Whole lines; bytes, because they repeat what the user typed.
    pub text: Vec<u8>,
    /// With `--json`, the daemon's refusal as it was written; for standard output.
    pub document: Vec<u8>,
}

impl Refusal {
    /// One line after the tool's name.
    fn named(exit: u8, message: impl AsRef<[u8]>) -> Self {
        let mut text = b"tgtadm: ".to_vec();
        text.extend_from_slice(message.as_ref());
        text.push(b'\n');
        Self { exit, error: 0, text, document: Vec::new() }
    }

    /// One line as it is, a line on what is accepted, and the advice to ask for help.
    fn with_advice(message: impl AsRef<[u8]>, right: &str) -> Self {
        let text = [message.as_ref(), b"\n"].concat();
        let mut refusal = Self { exit: EINVAL, error: 0, text, document: Vec::new() }.but(right);
        refusal.text.extend_from_slice(b"Try `tgtadm --help' for more information.\n");
        refusal
    }

    /// Whether the daemon answered with this error.
    pub(crate) fn is(&self, error: TgtadmError) -> bool {
        self.error == error.number()
    }

    /// Adds a line on what is accepted. It is indented: tgt's tgtadm prints none.
    fn but(mut self, right: impl AsRef<[u8]>) -> Self {
        self.text.extend_from_slice(&[b"  ", right.as_ref(), b"\n"].concat());
        self
    }
}

/// `tgtadm`, from its arguments (the program's name first) to its exit code.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<Vec<u8>> = arguments.into_iter().map(OsString::into_vec).collect();
    let posixly_correct = std::env::var_os("POSIXLY_CORRECT").is_some();
    match args::parse(&arguments, posixly_correct).and_then(|invocation| execute(&invocation)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            // A closed standard output or error does not change the exit code.
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

/// Exit code of a request that is refused.
const EINVAL: u8 = 22;
/// Exit code where there is no daemon at the control socket.
const NO_DAEMON: u8 = 107;
