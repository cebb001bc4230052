//! What a refusal means for the rest of a run: the other targets are done all the same, a step that another process has
//! done meanwhile is no failure, and a target whose account was refused stays closed.

use target_engine::control::error::TgtadmError;

use super::command::Command;
use super::console::{NO_DAEMON, Stop};
use crate::Refusal;

/// The first failure of a run that goes on.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    first: Option<Stop>,
}

impl Outcome {
    /// Notes how a step ended; whether it failed.
    ///
    /// # Errors
    /// There is no daemon: nothing more can be done.
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

/// Whether the daemon is no longer as it was when it was read: something is there already, or is gone.
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

/// Keeps a target closed that did not get the account which initiators must have, where the run goes on in spite of
/// that (`--ignore-errors`).
#[derive(Debug, Default)]
pub(super) struct Gate {
    closed: bool,
}

impl Gate {
    /// Whether the command may be sent.
    pub(super) fn admits(&self, command: &Command) -> bool {
        !self.closed || !command.binds_a_rule()
    }

    /// A command was refused.
    pub(super) fn refused(&mut self, command: &Command) {
        self.closed |= command.binds_an_incoming_account();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::command::{Commands, Direction, Rule};

    #[test]
    fn the_first_failure_counts_and_a_lost_daemon_ends_the_run() {
        let mut outcome = Outcome::default();
        assert_eq!(outcome.note(Ok(())), Ok(false));
        assert_eq!(outcome.note(Err(Stop(22))), Ok(true));
        assert_eq!(outcome.note(Err(Stop(1))), Ok(true));
        assert_eq!(outcome.note(Err(NO_DAEMON)), Err(NO_DAEMON));
        assert_eq!(outcome.end(), Err(Stop(22)));
        assert_eq!(Outcome::default().end(), Ok(()));
    }

    #[test]
    fn a_refused_account_of_initiators_holds_back_the_rules() {
        let commands = Commands { port: "0".to_owned() };
        let rule = commands.bind("iscsi", 1, &Rule::Address("ALL".to_owned()));
        let account = |direction| commands.target_account("iscsi", "bind", 1, "u", direction);
        let mut gate = Gate::default();
        gate.refused(&account(Direction::Outgoing));
        gate.refused(&commands.parameter("iscsi", 1, "MaxConnections", "0"));
        assert!(gate.admits(&rule));
        gate.refused(&account(Direction::Incoming));
        assert!(!gate.admits(&rule));
        assert!(gate.admits(&account(Direction::Outgoing)));
    }
}
