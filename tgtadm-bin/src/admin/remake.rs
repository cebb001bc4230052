//! Replaces the secret of an account of tgt's daemon: deletes, creates and binds the account again. Its users are
//! offline meanwhile, so that no initiator logs in without authentication.
//!
//! Each step is derived from the daemon's reports and from what has been unbound. If a step is refused because another
//! process has changed the daemon meanwhile, the daemon is read again and the remaining steps are planned again.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::Admin;
use super::command::{Command, Commands, Direction};
use super::config::{Account, Config};
use super::console::{FAILURE, Stop, warn};
use super::outcome::is_outdated;
use super::running::Running;
use crate::Refusal;
use crate::retries::Retries;

/// Limits the accounts that a run may recreate: this run updates all users of the account, and they used it before.
pub(super) struct Scope<'a> {
    pub(super) config: &'a Config,
    /// The state of the daemon before this run.
    pub(super) before: &'a Running,
    /// The only target that is updated; `None` for all targets and discovery.
    pub(super) target: Option<&'a str>,
}

/// A target, or discovery, and the accounts bound to it.
#[derive(Clone, Debug)]
struct Holder {
    /// The target's name; `None` for discovery.
    name: Option<String>,
    tid: u32,
    driver: String,
    is_ready: bool,
    in_use: bool,
    incoming: Vec<String>,
    outgoing: Vec<String>,
}

impl Admin {
    /// Recreates an account whose secret the daemon cannot compare.
    pub(super) fn recreate_account(&self, account: &Account, scope: &Scope<'_>) -> Result<(), Stop> {
        let _alone = if self.pretend { None } else { self.lock() };
        let mut now = self.running()?;
        let mut taken = Vec::new();
        let result = self.unbind_and_delete(account, scope, &mut now, &mut taken);
        if taken.is_empty() {
            return result;
        }
        result.and(self.create_and_bind(account, scope, now, taken))
    }

    /// Waits until no other run with this file recreates an account: it would set targets ready from which this run has
    /// unbound the account. If the lock is not free in time, the retries resolve the conflict.
    fn lock(&self) -> Option<File> {
        let file = Some(&self.conf).filter(|path| Path::new(path).is_file())?;
        let file = File::open(file).ok()?;
        let mut retries = Retries::default();
        while matches!(file.try_lock(), Err(TryLockError::WouldBlock)) && retries.again(false) {}
        Some(file)
    }

    /// Unbinds the account everywhere and deletes it; `taken` gets its users. Does nothing if the account must stay.
    fn unbind_and_delete(
        &self,
        account: &Account,
        scope: &Scope<'_>,
        now: &mut Running,
        taken: &mut Vec<Holder>,
    ) -> Result<(), Stop> {
        let user = &account.user;
        let mut retries = Retries::default();
        loop {
            if self.must_stay(user, scope, now, taken) {
                return Ok(());
            }
            let is_first = taken.is_empty();
            let mut steps = unbind_steps(&self.commands, user, now, taken);
            if taken.is_empty() || !now.accounts.contains(user) {
                return Ok(());
            }
            if is_first {
                self.skip(&[format!(
                    "# This daemon neither shows a secret nor changes it in place: account {user} is deleted and made again; \
                     offline meanwhile: {}",
                    texts(taken)
                )]);
            }
            // Deleting the account also unbinds it, so the daemon has been read again after the other steps.
            let is_last = steps.is_empty();
            if is_last {
                steps.push(self.commands.delete_account(user));
            }
            let result = self.send_steps(&steps);
            let seen = now.clone();
            if self.pretend {
                forget(now, user);
            } else {
                *now = self.running()?;
            }
            match result {
                Ok(()) if is_last => return Ok(()),
                Ok(()) if retries.again(true) => {}
                Ok(()) => {
                    warn(format_args!(
                        "account {user} is not made again: another process binds it each time"
                    ));
                    return Err(FAILURE);
                }
                Err((_, refusal)) if is_outdated(&refusal) && retries.again(*now != seen) => {}
                Err((at, refusal)) => return self.fail_unless_ignored(&steps[at], &refusal),
            }
        }
    }

    /// Whether the account must stay as it is. Prints the reason.
    fn must_stay(&self, user: &str, scope: &Scope<'_>, now: &Running, taken: &[Holder]) -> bool {
        let found = holders(now);
        let is_taken = |holder: &Holder| taken.iter().any(|known| known.name == holder.name);
        let used = found.iter().find(|holder| holder.in_use && (holder.has(user) || is_taken(holder)));
        if let Some(Holder { tid, name: Some(name), .. }) = used.filter(|_| !self.force) {
            self.skip(&[format!(
                "# Target with tid {tid} ({name}) is in use, and this daemon cannot change a secret in place: the one of \
                 account {user} stays as it is. --force changes it."
            )]);
            return true;
        }
        let why = if self.pretend { scope.new_holder(user) } else { None };
        let Some(why) = why.or_else(|| scope.other_holder(user, &found)) else { return false };
        warn(format_args!(
            "the secret of account {user} is not compared with the file: this daemon does not show it, and {why}; \
             'tgt-admin --update ALL' makes the account again with the secret of the file"
        ));
        true
    }

    /// Creates the account if it is missing, binds it, and sets its users ready last: without the account a target
    /// would ask for no authentication, so it stays offline if an earlier step is refused.
    fn create_and_bind(
        &self,
        account: &Account,
        scope: &Scope<'_>,
        mut now: Running,
        mut taken: Vec<Holder>,
    ) -> Result<(), Stop> {
        let mut retries = Retries::default();
        loop {
            scope.add_unbound_targets(&account.user, &now, &mut taken);
            let steps = bind_steps(&self.commands, account, &now, &taken);
            let result = self.send_steps(&steps);
            let Err((at, refusal)) = result else {
                if steps.is_empty() || self.pretend {
                    return Ok(());
                }
                now = self.running()?;
                continue;
            };
            if is_outdated(&refusal)
                && let Ok(next) = self.running()
                && retries.again(next != now)
            {
                now = next;
                continue;
            }
            let left: Vec<String> = steps[at..].iter().map(Command::text_without_secret).collect();
            warn(format_args!(
                "account {} is not as it was, so this stays offline: {}; what is left to do: {}",
                account.user,
                texts(&taken),
                left.join("; ")
            ));
            return self.fail_unless_ignored(&steps[at], &refusal);
        }
    }

    /// Sends steps until one is refused.
    ///
    /// # Errors
    /// Returns the index of the refused step.
    fn send_steps(&self, steps: &[Command]) -> Result<(), (usize, Refusal)> {
        let mut steps = steps.iter().enumerate();
        steps.try_for_each(|(at, command)| self.send_secret(command).map_err(|refusal| (at, refusal)))
    }
}

/// The steps that unbind the account from its current users. It is unbound together with the accounts after it in each
/// list, which are bound again in their order: tgt's daemon crashes at the next report if a list has a gap.
fn unbind_steps(commands: &Commands, user: &str, now: &Running, taken: &mut Vec<Holder>) -> Vec<Command> {
    let mut steps = Vec::new();
    for mut holder in holders(now) {
        let known = taken.iter_mut().find(|known| known.name == holder.name);
        if known.is_none() && !holder.has(user) {
            continue;
        }
        if holder.is_ready {
            steps.push(holder.set_state(commands, "offline"));
        }
        for direction in DIRECTIONS {
            let list = holder.list_mut(direction);
            *list = list.split_off(position(list, user));
            let gone = holder.list(direction).iter().rev();
            steps.extend(gone.map(|user| holder.account(commands, "unbind", user, direction)));
        }
        match known {
            Some(known) => known.merge(holder),
            None => taken.push(holder),
        }
    }
    steps
}

/// The steps that create and bind what is missing, and set its users ready.
fn bind_steps(commands: &Commands, account: &Account, now: &Running, taken: &[Holder]) -> Vec<Command> {
    let Account { user, password, .. } = account;
    let found = holders(now);
    let pairs: Vec<(&Holder, &Holder)> = taken
        .iter()
        .filter_map(|known| Some((known, found.iter().find(|holder| holder.name == known.name)?)))
        .collect();
    let mut steps = Vec::new();
    if !now.accounts.contains(user) {
        steps.push(commands.new_account(None, user, password));
    }
    for ((known, holder), direction) in
        pairs.iter().flat_map(|pair| DIRECTIONS.map(|direction| (pair, direction)))
    {
        let is_missing = |other: &&String| {
            !holder.list(direction).contains(other) && (*other == user || now.accounts.contains(other))
        };
        let missing = known.list(direction).iter().filter(is_missing);
        steps.extend(missing.map(|user| holder.account(commands, "bind", user, direction)));
    }
    let closed = pairs.iter().rev().filter(|(known, holder)| known.is_ready && !holder.is_ready);
    steps.extend(closed.map(|(_, holder)| holder.set_state(commands, "ready")));
    steps
}

impl Scope<'_> {
    /// The reason to keep the account: a user of it that this run does not update, or that did not use it before.
    fn other_holder(&self, user: &str, found: &[Holder]) -> Option<String> {
        let mut having = found.iter().filter(|holder| holder.has(user));
        having.find_map(|holder| {
            let is_updated = self.target.is_none_or(|target| holder.name.as_deref() == Some(target));
            if !is_updated {
                return Some(format!("{} has the account too", holder.text()));
            }
            (!self.had(user, holder.name.as_deref()))
                .then(|| format!("{} has not had the account before", holder.text()))
        })
    }

    /// The reason to keep the account with `--pretend`: a user that this run would add.
    fn new_holder(&self, user: &str) -> Option<String> {
        let config = self.config;
        let mut targets = config.targets.iter().filter(|target| {
            self.target.is_none_or(|name| target.name == name)
                && target.accounts().any(|account| account.user == user)
        });
        let mut discovery = config.incoming_discovery.iter().chain(&config.outgoing_discovery);
        if self.target.is_none() && discovery.any(|account| account.user == user) && !self.had(user, None) {
            return Some(format!("{DISCOVERY} has not had the account before"));
        }
        let new = targets.find(|target| !self.had(user, Some(&target.name)))?;
        Some(format!("target {} has not had the account before", new.name))
    }

    /// Whether the holder used the account before this run.
    fn had(&self, user: &str, name: Option<&str>) -> bool {
        holders(self.before).iter().any(|holder| holder.name.as_deref() == name && holder.has(user))
    }

    /// Adds targets that another process bound to the account between the last report and the deletion, which unbound
    /// them. They are in the file, used the account before or are new since this run began, and do not have it now.
    fn add_unbound_targets(&self, user: &str, now: &Running, taken: &mut Vec<Holder>) {
        for target in &self.config.targets {
            let is_meant = (self.before.target(&target.name).is_none() || self.had(user, Some(&target.name)))
                && !taken.iter().any(|known| known.name.as_ref() == Some(&target.name));
            let holder = holders(now).into_iter().find(|holder| holder.name.as_ref() == Some(&target.name));
            let Some(mut holder) = holder.filter(|holder| is_meant && !holder.has(user)) else { continue };
            // The process that set it offline sets it ready.
            holder.is_ready = false;
            let is_user = |account: &&Account| account.user == user;
            holder.incoming = target.incoming.iter().filter(is_user).map(|_| user.to_owned()).collect();
            holder.outgoing =
                target.outgoing.iter().take(1).filter(is_user).map(|_| user.to_owned()).collect();
            if holder.has(user) {
                taken.push(holder);
            }
        }
    }
}

impl Holder {
    fn has(&self, user: &str) -> bool {
        self.incoming.iter().chain(&self.outgoing).any(|known| known == user)
    }

    fn text(&self) -> String {
        self.name.as_ref().map_or(DISCOVERY.to_owned(), |name| format!("target {name} (tid {})", self.tid))
    }

    fn list(&self, direction: Direction) -> &[String] {
        if direction == Direction::Outgoing { &self.outgoing } else { &self.incoming }
    }

    fn list_mut(&mut self, direction: Direction) -> &mut Vec<String> {
        if direction == Direction::Outgoing { &mut self.outgoing } else { &mut self.incoming }
    }

    fn account(&self, commands: &Commands, op: &str, user: &str, direction: Direction) -> Command {
        match self.name {
            Some(_) => commands.target_account(&self.driver, op, self.tid, user, direction),
            None => commands.discovery_account(op, user, direction),
        }
    }

    fn set_state(&self, commands: &Commands, state: &str) -> Command {
        match self.name {
            Some(_) => commands.state(&self.tid.to_string(), None, state),
            None => commands.system_state(state),
        }
    }

    /// Adds the accounts that the same holder has gained since.
    fn merge(&mut self, other: Self) {
        self.is_ready |= other.is_ready;
        for direction in DIRECTIONS {
            let list = self.list_mut(direction);
            let new = other.list(direction).iter().filter(|user| !list.contains(user));
            let new: Vec<String> = new.cloned().collect();
            list.extend(new);
        }
    }
}

/// Discovery and all targets.
fn holders(running: &Running) -> Vec<Holder> {
    let discovery = Holder {
        name: None,
        tid: 0,
        driver: String::new(),
        is_ready: running.state == "ready",
        in_use: false,
        incoming: running.incoming_discovery.clone(),
        outgoing: running.outgoing_discovery.clone(),
    };
    let targets = running.targets.iter().map(|target| Holder {
        name: Some(target.name.clone()),
        tid: target.tid,
        driver: target.driver.clone(),
        is_ready: target.state == "ready",
        in_use: target.in_use(),
        incoming: target.incoming.clone(),
        outgoing: target.outgoing.clone(),
    });
    [discovery].into_iter().chain(targets).collect()
}

/// Removes an account from the state of the daemon, for `--pretend`.
fn forget(now: &mut Running, user: &str) {
    let Running { targets, state, accounts, incoming_discovery, outgoing_discovery, .. } = now;
    accounts.retain(|known| known != user);
    let targets =
        targets.iter_mut().map(|target| (&mut target.state, &mut target.incoming, &mut target.outgoing));
    for (state, incoming, outgoing) in targets.chain([(state, incoming_discovery, outgoing_discovery)]) {
        for list in [incoming, outgoing] {
            let at = position(list, user);
            if at < list.len() {
                list.truncate(at);
                "offline".clone_into(state);
            }
        }
    }
}

/// The index of the account; the length of the list if it is not bound.
fn position(list: &[String], user: &str) -> usize {
    list.iter().position(|known| known == user).unwrap_or(list.len())
}

/// The names of holders, for messages.
fn texts(holders: &[Holder]) -> String {
    holders.iter().map(Holder::text).collect::<Vec<_>>().join(", ")
}

const DIRECTIONS: [Direction; 2] = [Direction::Incoming, Direction::Outgoing];
/// The name of discovery in messages.
const DISCOVERY: &str = "the daemon (for its discovery)";
