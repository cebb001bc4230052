//! How a refused command affects the rest of a run.
//!
//! The other targets are still configured. A request that another process has executed meanwhile is not a failure. A
//! target whose account was refused gets no ACL rules.

use target_engine::control::error::TgtadmError;

use super::command::Command;
use super::console::{NO_DAEMON, Stop};
use crate::Refusal;

/// The first failure of a run that continues after failures.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    first: Option<Stop>,
}

impl Outcome {
    /// Records the result of a step. Returns whether it failed.
    ///
    /// # Errors
    /// No daemon listens on the control socket, so the run ends.
    pub(super) fn note(&mut self, result: Result<(), Stop>) -> Result<bool, Stop> {
        match result {
            Ok(()) => Ok(false),
            Err(NO_DAEMON) => Err(NO_DAEMON),
            Err(stop) => {
                self.first.get_or_insert(stop);
                Ok(true)
            }
        }
    }

    /// The exit code of the first failure.
    pub(super) fn end(self) -> Result<(), Stop> {
        self.first.map_or(Ok(()), Err)
    }
}

/// Whether the refusal shows that the daemon's state has changed since it was read: an object exists already, or is
/// gone.
pub(super) fn is_outdated(refusal: &Refusal) -> bool {
    use TgtadmError as Error;
    [
        Error::NoTarget,
        Error::NoLun,
        Error::NoSession,
        Error::NoConnection,
        Error::TargetExists,
        Error::LunExists,
        Error::AclExists,
        Error::AclNotFound,
        Error::UserExists,
        Error::NoUser,
        Error::OutgoingAccountExists,
    ]
    .into_iter()
    .any(|error| refusal.is(error))
}

/// Withholds the ACL rules of a target that did not get its incoming account, when the run continues with
/// `--ignore-errors`.
#[derive(Debug, Default)]
pub(super) struct AccessGuard {
    account_refused: bool,
}

impl AccessGuard {
    /// Whether the command may be sent.
    pub(super) fn allows(&self, command: &Command) -> bool {
        !self.account_refused || !command.binds_acl_rule()
    }

    /// Records a refused command.
    pub(super) fn note_refusal(&mut self, command: &Command) {
        self.account_refused |= command.binds_incoming_account();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::command::{Commands, Direction, Rule};

    #[test]
    fn first_failure_is_kept_and_absent_daemon_ends_run() {
        let mut outcome = Outcome::default();
        assert_eq!(outcome.note(Ok(())), Ok(false));
        assert_eq!(outcome.note(Err(Stop(22))), Ok(true));
        assert_eq!(outcome.note(Err(Stop(1))), Ok(true));
        assert_eq!(outcome.note(Err(NO_DAEMON)), Err(NO_DAEMON));
        assert_eq!(outcome.end(), Err(Stop(22)));
        assert_eq!(Outcome::default().end(), Ok(()));
    }

    #[test]
    fn refused_incoming_account_withholds_acl_rules() {
        let commands = Commands { port: "0".to_owned() };
        let rule = commands.bind("iscsi", 1, &Rule::Address("ALL".to_owned()));
        let account = |direction| commands.target_account("iscsi", "bind", 1, "u", direction);
        let mut guard = AccessGuard::default();
        guard.note_refusal(&account(Direction::Outgoing));
        guard.note_refusal(&commands.parameter("iscsi", 1, "MaxConnections", "0"));
        assert!(guard.allows(&rule));
        guard.note_refusal(&account(Direction::Incoming));
        assert!(!guard.allows(&rule));
        assert!(guard.allows(&account(Direction::Outgoing)));
    }
}
