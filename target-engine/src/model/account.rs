//! CHAP accounts, and which of them a target (or discovery) uses for what.

pub use iscsi_proto::chap::Algorithm;

use super::secret::Secret;
use crate::control::error::{ControlError, TgtadmError};
use crate::limits::{ACCOUNT_FIELD_LEN_MAX, ACCOUNTS_MAX};

/// All accounts of the daemon.
#[derive(Debug, Default)]
pub struct Accounts {
    /// From the eldest on.
    accounts: Vec<Account>,
}

/// A name and its secret.
#[derive(Clone, Debug)]
pub struct Account {
    /// CHAP_N.
    pub user: String,
    /// Never shown.
    pub password: Secret,
}

/// The accounts that a target or discovery uses, by name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BoundAccounts {
    /// Any of these lets an initiator in; none: no proof is asked for.
    incoming: Vec<String>,
    /// With what the target proves itself.
    outgoing: Option<String>,
}

/// Whose proof an account is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// The initiator's.
    Incoming,
    /// The target's own.
    Outgoing,
}

impl Accounts {
    /// Adds an account.
    ///
    /// # Errors
    /// The name is taken, too long or no text to be shown, the secret is too long, or there are too many accounts.
    pub fn add(&mut self, user: String, password: Secret) -> Result<(), ControlError> {
        if self.find(&user).is_some() {
            let reason = format!("--user {user:?}: there is an account of this name");
            return Err(TgtadmError::UserExists.because(reason));
        }
        if self.accounts.len() >= ACCOUNTS_MAX {
            let reason = format!("there are {ACCOUNTS_MAX} accounts, and no more can be");
            return Err(TgtadmError::TooManyUsers.because(reason));
        }
        if is_long(&user) || is_long(password.reveal()) || user.contains(char::is_control) {
            let reason = format!(
                "--user and --password: accepted: up to {ACCOUNT_FIELD_LEN_MAX} bytes each (RFC 7143 12.1.3), and no control \
                 characters in the name"
            );
            return Err(TgtadmError::InvalidRequest.because(reason));
        }
        self.accounts.push(Account { user, password });
        Ok(())
    }

    /// Replaces the secret of an account; its bindings stay.
    ///
    /// # Errors
    /// No account has this name, or the secret is too long.
    pub fn update(&mut self, user: &str, password: Secret) -> Result<(), ControlError> {
        let account = self.accounts.iter_mut().find(|account| account.user == user);
        let account = account.ok_or_else(|| no_account(user))?;
        if is_long(password.reveal()) {
            let reason =
                format!("--password: accepted: up to {ACCOUNT_FIELD_LEN_MAX} bytes (RFC 7143 12.1.3)");
            return Err(TgtadmError::InvalidRequest.because(reason));
        }
        account.password = password;
        Ok(())
    }

    /// Removes an account; who unbinds it is the caller.
    ///
    /// # Errors
    /// [`TgtadmError::NoUser`].
    pub fn remove(&mut self, user: &str) -> Result<(), ControlError> {
        let found = self.accounts.iter().position(|account| account.user == user);
        self.accounts.remove(found.ok_or_else(|| no_account(user))?);
        Ok(())
    }

    /// The account of that name.
    #[must_use]
    pub fn find(&self, user: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.user == user)
    }

    /// All names, newest first.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.accounts.iter().rev().map(|account| account.user.as_str())
    }
}

impl BoundAccounts {
    /// Uses an account.
    ///
    /// # Errors
    /// It is used so already, or another is the outgoing one.
    pub fn bind(&mut self, user: &str, direction: Direction) -> Result<(), ControlError> {
        match direction {
            Direction::Incoming if self.incoming.iter().any(|known| known == user) => {
                let reason = format!("--user {user:?}: it is bound here already");
                return Err(TgtadmError::UserExists.because(reason));
            }
            Direction::Incoming => self.incoming.push(user.to_owned()),
            Direction::Outgoing => {
                if let Some(known) = &self.outgoing {
                    let reason = format!("--outgoing: {known:?} is the outgoing account; unbind it first");
                    return Err(TgtadmError::OutgoingAccountExists.because(reason));
                }
                self.outgoing = Some(user.to_owned());
            }
        }
        Ok(())
    }

    /// Uses an account no more.
    ///
    /// # Errors
    /// [`TgtadmError::NoUser`]: it is not bound here as that.
    pub fn unbind(&mut self, user: &str, direction: Direction) -> Result<(), ControlError> {
        let found = match direction {
            Direction::Incoming => {
                let found = self.incoming.iter().position(|known| known == user);
                found.map(|at| self.incoming.remove(at))
            }
            Direction::Outgoing => self.outgoing.take_if(|known| known == user),
        };
        found.map(drop).ok_or_else(|| {
            let (as_what, how) = match direction {
                Direction::Incoming => ("an incoming", "; --outgoing is for the target's own"),
                Direction::Outgoing => ("the outgoing", ""),
            };
            TgtadmError::NoUser
                .because(format!("--user {user:?}: it is not bound here as {as_what} account{how}"))
        })
    }

    /// The account is gone.
    pub fn forget(&mut self, user: &str) {
        self.incoming.retain(|known| known != user);
        self.outgoing.take_if(|known| known == user);
    }

    /// From the eldest on.
    #[must_use]
    pub fn incoming(&self) -> &[String] {
        &self.incoming
    }

    /// If there is one.
    #[must_use]
    pub fn outgoing(&self) -> Option<&str> {
        self.outgoing.as_deref()
    }

    /// Nothing is bound.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.incoming.is_empty() && self.outgoing.is_none()
    }
}

/// Whether a name or a secret is longer than CHAP allows.
fn is_long(text: &str) -> bool {
    text.len() > ACCOUNT_FIELD_LEN_MAX
}

/// No account has this name.
pub(crate) fn no_account(user: &str) -> ControlError {
    TgtadmError::NoUser.because(format!("--user {user:?}: no account has this name"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Incoming, Outgoing};

    #[test]
    fn accounts_are_listed_newest_first() {
        let mut accounts = Accounts::default();
        for user in ["mike", "fujita"] {
            accounts.add(user.to_owned(), Secret::new("pw".to_owned())).unwrap();
        }
        assert_eq!(accounts.users().collect::<Vec<_>>(), ["fujita", "mike"]);
        assert_eq!(
            accounts.add("mike".to_owned(), Secret::new(String::new())),
            Err(TgtadmError::UserExists.into())
        );
        let long = "x".repeat(ACCOUNT_FIELD_LEN_MAX + 1);
        assert_eq!(accounts.add(long, Secret::new(String::new())), Err(TgtadmError::InvalidRequest.into()));
        let control = "a\nb".to_owned();
        assert_eq!(
            accounts.add(control, Secret::new(String::new())),
            Err(TgtadmError::InvalidRequest.into())
        );
        let (longest, longer) = ("x".repeat(ACCOUNT_FIELD_LEN_MAX), "x".repeat(ACCOUNT_FIELD_LEN_MAX + 1));
        assert_eq!(
            accounts.add("a".to_owned(), Secret::new(longer)),
            Err(TgtadmError::InvalidRequest.into())
        );
        assert_eq!(accounts.add(longest.clone(), Secret::new(longest.clone())), Ok(()));
        assert_eq!(accounts.remove(&longest), Ok(()));
        assert_eq!(accounts.remove("nobody"), Err(TgtadmError::NoUser.into()));
        assert_eq!(accounts.remove("mike"), Ok(()));
        assert!(accounts.find("mike").is_none());
    }

    #[test]
    fn update_replaces_the_secret_in_place() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let mut accounts = Accounts::default();
        accounts.add("mike".to_owned(), secret("old")).unwrap();
        accounts.add("fujita".to_owned(), secret("other")).unwrap();
        assert_eq!(accounts.update("mike", secret("new")), Ok(()));
        let password = |user| accounts.find(user).unwrap().password.clone();
        assert_eq!((password("mike"), password("fujita")), (secret("new"), secret("other")));
        assert_eq!(accounts.users().collect::<Vec<_>>(), ["fujita", "mike"]);
        assert_eq!(accounts.update("nobody", secret("new")), Err(TgtadmError::NoUser.into()));
        let longer = "x".repeat(ACCOUNT_FIELD_LEN_MAX + 1);
        assert_eq!(accounts.update("mike", secret(&longer)), Err(TgtadmError::InvalidRequest.into()));
        assert_eq!(accounts.find("mike").unwrap().password, secret("new"));
    }

    #[test]
    fn a_name_can_be_bound_both_ways_once() {
        let mut bound = BoundAccounts::default();
        assert_eq!(bound.bind("mike", Incoming), Ok(()));
        assert_eq!(bound.bind("mike", Incoming), Err(TgtadmError::UserExists.into()));
        assert_eq!(bound.bind("mike", Outgoing), Ok(()));
        assert_eq!(bound.bind("fujita", Outgoing), Err(TgtadmError::OutgoingAccountExists.into()));
        assert_eq!(bound.unbind("mike", Incoming), Ok(()));
        assert_eq!((bound.incoming().len(), bound.outgoing()), (0, Some("mike")));
        assert_eq!(bound.unbind("mike", Incoming), Err(TgtadmError::NoUser.into()));
        assert_eq!(bound.unbind("fujita", Outgoing), Err(TgtadmError::NoUser.into()));
        assert_eq!(bound.unbind("mike", Outgoing), Ok(()));
        assert_eq!(bound.unbind("mike", Outgoing), Err(TgtadmError::NoUser.into()));
        assert!(bound.is_empty());
    }

    /// A stock daemon ends when a report is asked for after this.
    #[test]
    fn an_account_that_was_not_bound_last_can_be_unbound() {
        let mut bound = BoundAccounts::default();
        bound.bind("first", Incoming).unwrap();
        bound.bind("second", Incoming).unwrap();
        bound.unbind("first", Incoming).unwrap();
        assert_eq!(bound.incoming(), ["second"]);
        bound.bind("third", Incoming).unwrap();
        bound.forget("second");
        assert_eq!(bound.incoming(), ["third"]);
    }
}
