//! CHAP accounts: made, bound and removed. What tgt accepts is accepted; weaknesses are logged.

use iscsi_proto::name::IscsiName;

use super::state::{Control, done};
use crate::control::report::{Reply, Report};
use crate::model::Tid;
use crate::model::account::{BoundAccounts, Direction, no_account};
use crate::model::secret::Secret;

impl Control {
    pub(super) fn account_new(&mut self, user: String, password: Secret) -> Reply {
        let (is_weak, name) = (password.is_weak(), user.clone());
        let made = self.model.accounts.add(user, password);
        if made.is_ok() && is_weak {
            warn_of_weakness(&name);
        }
        done(made)
    }

    /// Replaces the secret of an account. Logins need the new one from now on; sessions stay.
    pub(super) fn account_update(&mut self, user: &str, password: Secret) -> Reply {
        let is_weak = password.is_weak();
        self.model.accounts.update(user, password)?;
        if is_weak {
            warn_of_weakness(user);
        }
        let targets = self.model.targets().map(|target| (Some(target.tid), &target.accounts));
        for (tid, bound) in targets.chain([(None, &self.model.discovery_accounts)]) {
            if bound.outgoing() == Some(user) || bound.has_incoming(user) {
                self.warn_of_shared_secret(tid, bound);
            }
        }
        Ok(Report::Done)
    }

    /// Reports whether an account has this secret. This discloses nothing: the socket serves only the daemon's own user,
    /// who may replace every secret.
    pub(super) fn account_compare(&self, user: &str, password: &Secret) -> Reply {
        let account = self.model.accounts.find(user).ok_or_else(|| no_account(user))?;
        Ok(Report::Secret { user: user.to_owned(), same: account.password == *password })
    }

    /// Binds an account, or an incoming one to an initiator name. It takes effect with the next login; sessions stay.
    pub(super) fn account_bind(
        &mut self,
        tid: Option<Tid>,
        user: &str,
        direction: Direction,
        name: Option<IscsiName>,
    ) -> Reply {
        self.model.accounts_of(tid)?;
        let account = self.model.accounts.find(user).ok_or_else(|| no_account(user))?;
        let is_weak = account.password.is_weak();
        let bound = self.model.bound_accounts(tid)?;
        match name {
            None => bound.bind(user, direction)?,
            Some(name) => bound.bind_name(user, name)?,
        }
        if is_weak {
            warn_of_weakness(user);
        }
        self.warn_of_shared_secret(tid, self.model.accounts_of(tid)?);
        Ok(Report::Done)
    }

    /// Unbinds an account, or an incoming one from an initiator name.
    pub(super) fn account_unbind(
        &mut self,
        tid: Option<Tid>,
        user: &str,
        direction: Direction,
        name: Option<IscsiName>,
    ) -> Reply {
        let bound = self.model.bound_accounts(tid)?;
        if let Some(name) = name {
            return done(bound.unbind_name(user, name));
        }
        let asked_for_proof = bound.requires_proof();
        bound.unbind(user, direction)?;
        if asked_for_proof && !bound.requires_proof() {
            warn_of_openness(tid);
        }
        Ok(Report::Done)
    }

    pub(super) fn account_delete(&mut self, user: &str) -> Reply {
        let is_last = |bound: &BoundAccounts| bound.has_incoming(user) && bound.incoming().count() == 1;
        let targets = self.model.targets().filter(|target| is_last(&target.accounts));
        let mut opened: Vec<_> = targets.map(|target| Some(target.tid)).collect();
        opened.extend(is_last(&self.model.discovery_accounts).then_some(None));
        self.model.remove_account(user)?;
        opened.into_iter().for_each(warn_of_openness);
        Ok(Report::Done)
    }

    fn warn_of_shared_secret(&self, tid: Option<Tid>, bound: &BoundAccounts) {
        if let Some(incoming) = self.shares_secret(bound) {
            let (outgoing, owner) = (bound.outgoing().unwrap_or_default(), owner(tid));
            log::warn!(
                "{owner}: accounts {incoming:?} and {outgoing:?} have the same secret, which must not prove both sides \
                 (RFC 7143 12.1.3): {incoming:?} is refused where it asks the target to prove itself"
            );
        }
    }

    /// Finds an incoming account that has the secret of the outgoing one.
    fn shares_secret<'a>(&self, bound: &'a BoundAccounts) -> Option<&'a str> {
        let outgoing = &self.model.accounts.find(bound.outgoing()?)?.password;
        let is_same =
            |user: &&str| self.model.accounts.find(user).is_some_and(|account| account.password == *outgoing);
        bound.incoming().find(is_same)
    }
}

fn owner(tid: Option<Tid>) -> String {
    tid.map_or("discovery".to_owned(), |tid| format!("target {tid}"))
}

fn warn_of_openness(tid: Option<Tid>) {
    log::warn!("{}: no incoming account is left, so no proof is asked for any more", owner(tid));
}

fn warn_of_weakness(user: &str) {
    log::warn!("account {user:?}: its secret is shorter than the 12 bytes that RFC 7143 12.1.3 asks for");
}
