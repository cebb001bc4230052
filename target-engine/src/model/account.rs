//! CHAP accounts, and which of them a target or discovery uses in which direction. Each is found by its name at once,
//! however many there are: a login asks for one.

use std::collections::HashMap;

pub use iscsi_proto::chap::Algorithm;
pub use iscsi_proto::name::IscsiName;

use super::error::{AccountNameError, ModelError, NameRefusal};
use super::secret::Secret;
pub use super::state::Direction;
use crate::limits::{ACCOUNT_FIELD_LEN_MAX, ACCOUNT_NAMES_MAX, ACCOUNTS_MAX};

/// All accounts of the daemon.
#[derive(Debug, Default)]
pub struct Accounts {
    by_name: HashMap<String, Account>,
    last: u64,
}

/// A name and its secret.
#[derive(Clone, Debug)]
pub struct Account {
    /// CHAP_N.
    pub user: String,
    /// Never shown.
    pub password: Secret,
    /// Its place in the order in which the accounts were made.
    number: u64,
}

/// The accounts that a target or discovery uses, by name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BoundAccounts {
    /// Initiators authenticate with any of these; empty: without authentication.
    incoming: HashMap<String, Binding>,
    last: u64,
    /// The target authenticates with this one.
    outgoing: Option<String>,
}

/// An account with which initiators authenticate.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Binding {
    /// Its place in the order in which the bindings were made.
    number: u64,
    /// The initiators that may use it, oldest first; empty: any. It never becomes empty.
    names: Vec<IscsiName>,
}

impl Accounts {
    /// Adds an account.
    ///
    /// # Errors
    /// The name is taken, too long or has control characters, the secret is empty or too long, or there are too
    /// many accounts.
    pub fn add(&mut self, user: String, password: Secret) -> Result<(), ModelError> {
        if self.by_name.contains_key(&user) {
            return Err(ModelError::AccountExists(user));
        }
        if self.by_name.len() >= ACCOUNTS_MAX {
            return Err(ModelError::TooManyAccounts);
        }
        if is_long(&user) || is_long(password.reveal()) || user.contains(char::is_control) {
            return Err(ModelError::AccountFields);
        }
        reject_empty(&password)?;
        self.last += 1;
        self.by_name.insert(user.clone(), Account { user, password, number: self.last });
        Ok(())
    }

    /// Replaces the secret of an account; its bindings stay.
    ///
    /// # Errors
    /// No account has this name, or the secret is empty or too long.
    pub fn update(&mut self, user: &str, password: Secret) -> Result<(), ModelError> {
        let account = self.by_name.get_mut(user).ok_or_else(|| no_account(user))?;
        if is_long(password.reveal()) {
            return Err(ModelError::SecretLength);
        }
        reject_empty(&password)?;
        account.password = password;
        Ok(())
    }

    /// Removes an account; the caller unbinds it.
    ///
    /// # Errors
    /// [`ModelError::NoAccount`].
    pub fn remove(&mut self, user: &str) -> Result<(), ModelError> {
        self.by_name.remove(user).map(drop).ok_or_else(|| no_account(user))
    }

    /// Finds an account by its name.
    #[must_use]
    pub fn find(&self, user: &str) -> Option<&Account> {
        self.by_name.get(user)
    }

    /// Returns all names, newest first.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        let mut accounts: Vec<_> = self.by_name.values().collect();
        accounts.sort_by_key(|account| std::cmp::Reverse(account.number));
        accounts.into_iter().map(|account| account.user.as_str())
    }
}

impl BoundAccounts {
    /// Binds an account.
    ///
    /// # Errors
    /// It is bound already, or another one is the outgoing account.
    pub fn bind(&mut self, user: &str, direction: Direction) -> Result<(), ModelError> {
        match direction {
            Direction::Incoming if self.has_incoming(user) => {
                return Err(ModelError::AccountBound(user.to_owned()));
            }
            Direction::Incoming => {
                self.last += 1;
                self.incoming.insert(user.to_owned(), Binding { number: self.last, names: Vec::new() });
            }
            Direction::Outgoing => {
                if let Some(known) = &self.outgoing {
                    return Err(ModelError::OutgoingAccountBound(known.clone()));
                }
                self.outgoing = Some(user.to_owned());
            }
        }
        Ok(())
    }

    /// Unbinds an account.
    ///
    /// # Errors
    /// [`ModelError::AccountNotBound`].
    pub fn unbind(&mut self, user: &str, direction: Direction) -> Result<(), ModelError> {
        let found = match direction {
            Direction::Incoming => self.incoming.remove(user).is_some(),
            Direction::Outgoing => self.outgoing.take_if(|known| known == user).is_some(),
        };
        found.then_some(()).ok_or_else(|| ModelError::AccountNotBound { user: user.to_owned(), direction })
    }

    /// Binds an incoming account to an initiator name, in addition to its other ones. An account that is bound to no
    /// name, and so admits any, admits only this one from now on.
    ///
    /// # Errors
    /// It is bound to this name already, or to [`ACCOUNT_NAMES_MAX`] names.
    pub fn bind_name(&mut self, user: &str, name: IscsiName) -> Result<(), ModelError> {
        let names = self.incoming.get(user).map_or(&[][..], |binding| &binding.names);
        if names.contains(&name) {
            return Err(refused_name(user, name, NameRefusal::Bound));
        }
        if names.len() >= ACCOUNT_NAMES_MAX {
            return Err(refused_name(user, name, NameRefusal::TooMany));
        }
        if !self.has_incoming(user) {
            self.bind(user, Direction::Incoming)?;
        }
        if let Some(binding) = self.incoming.get_mut(user) {
            binding.names.push(name);
        }
        Ok(())
    }

    /// Unbinds an incoming account from an initiator name.
    ///
    /// # Errors
    /// The account is not bound, or not to this name, or to no other one: without names it would admit any.
    pub fn unbind_name(&mut self, user: &str, name: IscsiName) -> Result<(), ModelError> {
        let Some(binding) = self.incoming.get_mut(user) else {
            let direction = Direction::Incoming;
            return Err(ModelError::AccountNotBound { user: user.to_owned(), direction });
        };
        match binding.names.iter().position(|known| *known == name) {
            None => return Err(refused_name(user, name, NameRefusal::NotBound)),
            Some(_) if binding.names.len() == 1 => return Err(refused_name(user, name, NameRefusal::Last)),
            Some(at) => drop(binding.names.remove(at)),
        }
        Ok(())
    }

    /// Removes the bindings of a removed account.
    pub fn forget(&mut self, user: &str) {
        self.incoming.remove(user);
        self.outgoing.take_if(|known| known == user);
    }

    /// Returns the accounts with which initiators authenticate, the binding that was made first coming first.
    pub fn incoming(&self) -> impl Iterator<Item = &str> {
        let mut bound: Vec<_> = self.incoming.iter().collect();
        bound.sort_by_key(|(_, binding)| binding.number);
        bound.into_iter().map(|(user, _)| user.as_str())
    }

    /// Returns whether initiators must authenticate.
    #[must_use]
    pub fn requires_proof(&self) -> bool {
        !self.incoming.is_empty()
    }

    /// Returns whether initiators authenticate with this account.
    #[must_use]
    pub fn has_incoming(&self, user: &str) -> bool {
        self.incoming.contains_key(user)
    }

    /// Returns the initiator names to which an account is bound, oldest first; none if it admits any or is not bound.
    #[must_use]
    pub fn names(&self, user: &str) -> &[IscsiName] {
        self.incoming.get(user).map_or(&[], |binding| &binding.names)
    }

    /// Returns whether an initiator that has proven an account may have this name. Names are compared without case.
    #[must_use]
    pub fn admits(&self, user: &str, name: &IscsiName) -> bool {
        let names = self.names(user);
        names.is_empty() || names.contains(name)
    }

    /// Returns the account with which the target authenticates.
    #[must_use]
    pub fn outgoing(&self) -> Option<&str> {
        self.outgoing.as_deref()
    }

    /// Returns whether no account is bound.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.incoming.is_empty() && self.outgoing.is_none()
    }
}

/// Whether a name or a secret is longer than CHAP allows.
fn is_long(text: &str) -> bool {
    text.len() > ACCOUNT_FIELD_LEN_MAX
}

/// Rejects an empty secret, which tgt accepts.
fn reject_empty(password: &Secret) -> Result<(), ModelError> {
    if password.reveal().is_empty() { Err(ModelError::SecretEmpty) } else { Ok(()) }
}

fn refused_name(user: &str, name: IscsiName, reason: NameRefusal) -> ModelError {
    ModelError::AccountName(AccountNameError { user: user.to_owned(), name, reason })
}

/// The error for an unknown account.
pub(crate) fn no_account(user: &str) -> ModelError {
    ModelError::NoAccount(user.to_owned())
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
            Err(ModelError::AccountExists("mike".to_owned()))
        );
        let long = "x".repeat(ACCOUNT_FIELD_LEN_MAX + 1);
        assert_eq!(accounts.add(long, Secret::new(String::new())), Err(ModelError::AccountFields));
        let control = "a\nb".to_owned();
        assert_eq!(accounts.add(control, Secret::new(String::new())), Err(ModelError::AccountFields));
        let (longest, longer) = ("x".repeat(ACCOUNT_FIELD_LEN_MAX), "x".repeat(ACCOUNT_FIELD_LEN_MAX + 1));
        assert_eq!(accounts.add("a".to_owned(), Secret::new(longer)), Err(ModelError::AccountFields));
        assert_eq!(accounts.add(longest.clone(), Secret::new(longest.clone())), Ok(()));
        assert_eq!(accounts.remove(&longest), Ok(()));
        assert_eq!(accounts.remove("nobody"), Err(ModelError::NoAccount("nobody".to_owned())));
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
        assert_eq!(accounts.update("nobody", secret("new")), Err(ModelError::NoAccount("nobody".to_owned())));
        let longer = "x".repeat(ACCOUNT_FIELD_LEN_MAX + 1);
        assert_eq!(accounts.update("mike", secret(&longer)), Err(ModelError::SecretLength));
        assert_eq!(accounts.find("mike").unwrap().password, secret("new"));
    }

    #[test]
    fn empty_secret_is_refused() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let mut accounts = Accounts::default();
        assert_eq!(accounts.add("mike".to_owned(), secret("")), Err(ModelError::SecretEmpty));
        assert!(accounts.find("mike").is_none());
        accounts.add("mike".to_owned(), secret("x")).unwrap();
        assert_eq!(accounts.update("mike", secret("")), Err(ModelError::SecretEmpty));
        assert_eq!(accounts.find("mike").unwrap().password, secret("x"));
    }

    #[test]
    fn account_is_bound_once_in_each_direction() {
        let mut bound = BoundAccounts::default();
        assert_eq!(bound.bind("mike", Incoming), Ok(()));
        assert_eq!(bound.bind("mike", Incoming), Err(ModelError::AccountBound("mike".to_owned())));
        assert_eq!(bound.bind("mike", Outgoing), Ok(()));
        assert_eq!(bound.bind("fujita", Outgoing), Err(ModelError::OutgoingAccountBound("mike".to_owned())));
        assert_eq!(bound.unbind("mike", Incoming), Ok(()));
        assert_eq!((bound.requires_proof(), bound.outgoing()), (false, Some("mike")));
        let not_bound =
            |user: &str, direction| Err(ModelError::AccountNotBound { user: user.to_owned(), direction });
        assert_eq!(bound.unbind("mike", Incoming), not_bound("mike", Incoming));
        assert_eq!(bound.unbind("fujita", Outgoing), not_bound("fujita", Outgoing));
        assert_eq!(bound.unbind("mike", Outgoing), Ok(()));
        assert_eq!(bound.unbind("mike", Outgoing), not_bound("mike", Outgoing));
        assert!(bound.is_empty());
    }

    #[test]
    fn account_with_names_admits_only_these() {
        let name = |text: &str| IscsiName::parse(text).unwrap();
        let (one, two) = (name("iqn.2026-01.org.example:one"), name("iqn.2026-01.org.example:two"));
        let mut bound = BoundAccounts::default();
        bound.bind("open", Incoming).unwrap();
        assert_eq!(bound.bind_name("mike", one.clone()), Ok(()), "it binds the account");
        assert!(bound.admits("open", &two) && bound.admits("mike", &one) && !bound.admits("mike", &two));
        assert!(bound.admits("mike", &name("IQN.2026-01.org.example:ONE")));
        let user = || "mike".to_owned();
        let again = refused_name("mike", one.clone(), NameRefusal::Bound);
        assert_eq!(bound.bind_name("mike", one.clone()), Err(again));
        assert_eq!(
            bound.bind("mike", Incoming),
            Err(ModelError::AccountBound(user())),
            "it stays bound to names"
        );
        let unknown = refused_name("mike", two.clone(), NameRefusal::NotBound);
        assert_eq!(bound.unbind_name("mike", two.clone()), Err(unknown));
        assert_eq!(bound.bind_name("mike", two.clone()), Ok(()));
        assert_eq!(bound.names("mike"), [one.clone(), two.clone()]);
        assert_eq!(bound.unbind_name("mike", one.clone()), Ok(()));
        let last = refused_name("mike", two.clone(), NameRefusal::Last);
        assert_eq!(bound.unbind_name("mike", two.clone()), Err(last));
        assert!(bound.admits("mike", &two) && !bound.admits("mike", &one));
        assert_eq!(bound.bind_name("open", one.clone()), Ok(()));
        assert!(!bound.admits("open", &two), "an account that admitted any admits the first name only");
        assert_eq!(bound.unbind("mike", Incoming), Ok(()));
        let not_bound = ModelError::AccountNotBound { user: user(), direction: Incoming };
        assert_eq!(bound.unbind_name("mike", one), Err(not_bound));
        assert!(bound.bind("mike", Incoming).is_ok() && bound.names("mike").is_empty());
    }

    #[test]
    fn names_of_an_account_are_bounded() {
        let mut bound = BoundAccounts::default();
        let name = |number: usize| IscsiName::parse(&format!("iqn.2026-01.org.example:{number}")).unwrap();
        (0..ACCOUNT_NAMES_MAX).for_each(|number| bound.bind_name("mike", name(number)).unwrap());
        let more = name(ACCOUNT_NAMES_MAX);
        let refused = refused_name("mike", more.clone(), NameRefusal::TooMany);
        assert_eq!(bound.bind_name("mike", more), Err(refused));
    }

    /// After this tgt ends when a report is requested.
    #[test]
    fn any_account_can_be_unbound() {
        let mut bound = BoundAccounts::default();
        bound.bind("first", Incoming).unwrap();
        bound.bind("second", Incoming).unwrap();
        bound.unbind("first", Incoming).unwrap();
        assert!(bound.incoming().eq(["second"]));
        bound.bind("third", Incoming).unwrap();
        bound.bind("first", Incoming).unwrap();
        assert!(bound.incoming().eq(["second", "third", "first"]));
        bound.forget("second");
        assert!(bound.incoming().eq(["third", "first"]) && bound.has_incoming("third"));
    }
}
