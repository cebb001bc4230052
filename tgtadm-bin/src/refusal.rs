//! The error of the administration tools: what a tool prints and its exit code.

use target_engine::control::error::TgtadmError;

/// Exit code for a request that is not valid.
pub(crate) const EINVAL: u8 = 22;
/// Exit code when no daemon listens on the control socket.
pub(crate) const NO_DAEMON: u8 = 107;

/// A request that failed: the text for standard error and the exit code.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// 1 for an unknown mode or operation, 22 for a request that cannot be sent or that the daemon refused,
    /// 107 if no daemon listens on the control socket.
    pub exit: u8,
    /// The error number that the daemon returned; 0 if the daemon did not refuse the request.
    pub error: u32,
    /// Whole lines for standard error. These are bytes because they repeat the user's input.
    pub text: Vec<u8>,
    /// With `--json`, the daemon's error document for standard output.
    pub document: Vec<u8>,
}

impl Refusal {
    /// An error of one line, which begins with the tool's name.
    pub(crate) fn named(exit: u8, message: impl AsRef<[u8]>) -> Self {
        let mut text = b"tgtadm: ".to_vec();
        text.extend_from_slice(message.as_ref());
        text.push(b'\n');
        Self { exit, error: 0, text, document: Vec::new() }
    }

    /// An error of three lines: the message without the tool's name, what is accepted, and a pointer to `--help`.
    pub(crate) fn with_advice(message: impl AsRef<[u8]>, right: &str) -> Self {
        let text = [message.as_ref(), b"\n"].concat();
        let mut refusal = Self { exit: EINVAL, error: 0, text, document: Vec::new() }.but(right);
        refusal.text.extend_from_slice(b"Try `tgtadm --help' for more information.\n");
        refusal
    }

    /// Whether the daemon returned this error.
    pub(crate) fn is(&self, error: TgtadmError) -> bool {
        self.error == error.number()
    }

    /// Adds an indented line that says what is accepted. tgt does not print such a line.
    pub(crate) fn but(mut self, right: impl AsRef<[u8]>) -> Self {
        self.text.extend_from_slice(&[b"  ", right.as_ref(), b"\n"].concat());
        self
    }
}
