//! The configuration as plain data; owned by the control thread.

pub mod account;
pub mod acl;
pub mod connections;
pub mod error;
pub mod identity;
pub mod number;
pub mod parameters;
pub mod portal;
pub mod secret;
pub mod sessions;
pub mod state;
pub mod store;
pub mod target;
mod tid;
pub mod unit;
pub mod unit_parameters;

use std::collections::BTreeMap;

use scsi_core::device::unit::DeviceType;
use scsi_core::lun::Lun;

use crate::limits::TARGETS_MAX;
use account::{Accounts, Algorithm, BoundAccounts};
use connections::ConnectionBounds;
use error::ModelError;
use identity::Naming;
use parameters::{Defaults, Parameters};
use portal::PortalSpec;
pub use state::DriverState;
use state::{Driver, State};
use target::Target;
pub use tid::Tid;
use unit::TargetUnit;

/// The whole configuration.
#[derive(Debug)]
pub struct Model {
    /// Whether new logins are accepted.
    pub state: State,
    /// Whether debug messages are logged.
    pub debug: bool,
    /// A remark on the I/O interface for `--mode system --op show`.
    pub remark: Option<String>,
    /// The iSCSI driver; stopped it has no portals and no targets.
    pub iscsi: DriverState,
    /// The settings of the iSNS client.
    pub isns: Isns,
    /// The default of [`Target::nop_interval`].
    pub nop_interval: u32,
    /// The default of [`Target::nop_count`].
    pub nop_count: u32,
    /// The default of [`Target::loops`].
    pub loops: usize,
    /// The default of [`Target::parameters`].
    pub defaults: Defaults,
    /// How new units are named; as in tgt unless a server sets it.
    pub naming: Naming,
    /// CHAP accounts.
    pub accounts: Accounts,
    /// The CHAP algorithms that are accepted, the preferred first.
    pub chap_algorithms: Vec<Algorithm>,
    /// How many connections a target, an address and an initiator name may have.
    pub connection_bounds: ConnectionBounds,
    /// The accounts of discovery.
    pub discovery_accounts: BoundAccounts,
    /// The portals, newest first.
    pub portals: Vec<Portal>,
    targets: BTreeMap<Tid, Target>,
    /// See [`Model::generation`].
    generation: u64,
    /// The numbers of the targets, oldest first.
    by_age: Vec<Tid>,
    hosts: BTreeMap<u32, Tid>,
}

/// A portal with its listening socket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Portal {
    /// Identifies its socket; never used twice.
    pub id: PortalId,
    /// Its address, as reported.
    pub spec: PortalSpec,
}

/// Identifies the socket of a portal.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PortalId(pub u32);

/// The settings of the iSNS client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Isns {
    /// Whether targets are registered.
    pub on: bool,
    /// The server's address.
    pub server: String,
    /// The server's port.
    pub port: u16,
    /// Admit only initiators that the server names.
    pub access_control: bool,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            state: State::Ready,
            debug: false,
            remark: None,
            iscsi: DriverState::Ready,
            isns: Isns { on: false, server: String::new(), port: 3205, access_control: false },
            nop_interval: 0,
            nop_count: 0,
            loops: 1,
            defaults: Defaults::default(),
            naming: Naming::default(),
            accounts: Accounts::default(),
            chap_algorithms: Algorithm::ALL.to_vec(),
            connection_bounds: ConnectionBounds::default(),
            discovery_accounts: BoundAccounts::default(),
            portals: Vec::new(),
            targets: BTreeMap::new(),
            generation: 0,
            by_age: Vec::new(),
            hosts: BTreeMap::new(),
        }
    }
}

impl Model {
    /// Makes a target.
    ///
    /// # Errors
    /// The number or the name is taken, or there are too many.
    pub fn add_target(&mut self, tid: Tid, name: &str) -> Result<&mut Target, ModelError> {
        if let Some(known) = self.targets.get(&tid) {
            return Err(ModelError::TidTaken { tid, name: known.name.clone() });
        }
        if let Some(known) = self.find_target(name) {
            return Err(ModelError::TargetNameTaken { name: name.to_owned(), tid: known.tid });
        }
        if self.targets.len() >= TARGETS_MAX {
            return Err(ModelError::TooManyTargets);
        }
        let pings = (self.nop_interval, self.nop_count);
        let controller =
            TargetUnit::controller(self.naming.config(DeviceType::Controller, tid, name, Lun::ZERO));
        let parameters = Parameters::new(self.defaults);
        let target = Target::new(tid, name.to_owned(), controller, parameters, pings, self.loops);
        self.by_age.push(tid);
        self.generation += 1;
        Ok(self.targets.entry(tid).or_insert(target))
    }

    /// Takes a target out, and its hosts' bindings.
    pub fn remove_target(&mut self, tid: Tid) -> Option<Target> {
        self.hosts.retain(|_, bound| *bound != tid);
        self.by_age.retain(|known| *known != tid);
        self.generation += 1;
        self.targets.remove(&tid)
    }

    /// A target by its number.
    ///
    /// # Errors
    /// [`ModelError::NoTarget`].
    pub fn target(&self, tid: Tid) -> Result<&Target, ModelError> {
        self.targets.get(&tid).ok_or(ModelError::NoTarget(tid))
    }

    /// A target by its number, to change it.
    ///
    /// # Errors
    /// [`ModelError::NoTarget`].
    pub fn target_mut(&mut self, tid: Tid) -> Result<&mut Target, ModelError> {
        self.generation += 1;
        self.targets.get_mut(&tid).ok_or(ModelError::NoTarget(tid))
    }

    /// A target by its iSCSI name, in any case (RFC 7143 4.2.7.1).
    #[must_use]
    pub fn find_target(&self, name: &str) -> Option<&Target> {
        self.targets.values().find(|target| target.name.eq_ignore_ascii_case(name))
    }

    /// All targets by their numbers.
    pub fn targets(&self) -> impl ExactSizeIterator<Item = &Target> {
        self.targets.values()
    }

    /// All targets, the oldest first.
    pub fn targets_by_age(&self) -> impl ExactSizeIterator<Item = &Target> {
        self.by_age.iter().map(|tid| &self.targets[tid])
    }

    /// Changes with every change of a target, its access rules and its accounts included.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// There is no target.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Binds a SCSI host.
    ///
    /// # Errors
    /// There is no such target, or the host is bound.
    pub fn bind_host(&mut self, host: u32, tid: Tid) -> Result<(), ModelError> {
        self.target(tid)?;
        if let Some(bound) = self.hosts.get(&host) {
            return Err(ModelError::HostBound { host, tid: *bound });
        }
        self.hosts.insert(host, tid);
        Ok(())
    }

    /// Unbinds a SCSI host; as in tgt, whichever target it is bound to.
    ///
    /// # Errors
    /// It is not bound.
    pub fn unbind_host(&mut self, host: u32) -> Result<(), ModelError> {
        self.hosts.remove(&host).map(drop).ok_or(ModelError::HostNotBound(host))
    }

    /// Removes an account and every use of it.
    ///
    /// # Errors
    /// [`ModelError::NoAccount`].
    pub fn remove_account(&mut self, user: &str) -> Result<(), ModelError> {
        self.accounts.remove(user)?;
        self.generation += 1;
        self.discovery_accounts.forget(user);
        for target in self.targets.values_mut() {
            target.accounts.forget(user);
        }
        Ok(())
    }

    /// The accounts of a target, or those of discovery.
    ///
    /// # Errors
    /// [`ModelError::NoTarget`].
    pub fn accounts_of(&self, tid: Option<Tid>) -> Result<&BoundAccounts, ModelError> {
        match tid {
            None => Ok(&self.discovery_accounts),
            Some(tid) => self.target(tid).map(|target| &target.accounts),
        }
    }

    /// The same, to change them.
    ///
    /// # Errors
    /// [`ModelError::NoTarget`].
    pub fn bound_accounts(&mut self, tid: Option<Tid>) -> Result<&mut BoundAccounts, ModelError> {
        match tid {
            None => Ok(&mut self.discovery_accounts),
            Some(tid) => self.target_mut(tid).map(|target| &mut target.accounts),
        }
    }

    /// A driver's state.
    #[must_use]
    pub fn driver(&self, driver: Driver) -> DriverState {
        match driver {
            Driver::Iscsi => self.iscsi,
            Driver::Iser => DriverState::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use account::Direction;
    use secret::Secret;

    fn tid(number: u32) -> Tid {
        Tid::new(number).unwrap()
    }

    #[test]
    fn numbers_and_names_of_targets_are_unique() {
        let mut model = Model::default();
        model.add_target(tid(2), "iqn.x:a").unwrap();
        assert_eq!(
            model.add_target(tid(2), "iqn.x:b").err(),
            Some(ModelError::TidTaken { tid: tid(2), name: "iqn.x:a".to_owned() })
        );
        assert_eq!(
            model.add_target(tid(1), "IQN.X:A").err(),
            Some(ModelError::TargetNameTaken { name: "IQN.X:A".to_owned(), tid: tid(2) })
        );
        model.add_target(tid(1), "iqn.x:b").unwrap();
        assert_eq!(model.targets().map(|target| target.tid.number()).collect::<Vec<_>>(), [1, 2]);
        let by_age =
            |model: &Model| model.targets_by_age().map(|target| target.tid.number()).collect::<Vec<_>>();
        assert_eq!(by_age(&model), [2, 1]);
        model.remove_target(tid(2)).unwrap();
        assert_eq!(by_age(&model), [1]);
        model.add_target(tid(2), "iqn.x:a").unwrap();
        assert_eq!(by_age(&model), [1, 2]);
        assert_eq!(model.find_target("iqn.X:b").map(|target| target.tid), Some(tid(1)));
        assert!(model.remove_target(tid(1)).is_some() && model.remove_target(tid(1)).is_none());
        assert!(!model.is_empty());
    }

    #[test]
    fn host_is_bound_once() {
        let mut model = Model::default();
        assert_eq!(model.bind_host(0, tid(1)), Err(ModelError::NoTarget(tid(1))));
        model.add_target(tid(1), "iqn.x:a").unwrap();
        assert_eq!(model.bind_host(0, tid(1)), Ok(()));
        assert_eq!(model.bind_host(0, tid(1)), Err(ModelError::HostBound { host: 0, tid: tid(1) }));
        assert_eq!(model.unbind_host(1), Err(ModelError::HostNotBound(1)));
        assert_eq!(model.unbind_host(0), Ok(()));
        model.bind_host(0, tid(1)).unwrap();
        model.remove_target(tid(1));
        model.add_target(tid(1), "iqn.x:a").unwrap();
        assert_eq!(model.bind_host(0, tid(1)), Ok(()), "a removed target keeps no host");
    }

    #[test]
    fn removed_account_is_unbound_everywhere() {
        let mut model = Model::default();
        model.add_target(tid(1), "iqn.x:a").unwrap();
        model.accounts.add("mike".to_owned(), Secret::new("pw".to_owned())).unwrap();
        model.bound_accounts(Some(tid(1))).unwrap().bind("mike", Direction::Incoming).unwrap();
        model.bound_accounts(None).unwrap().bind("mike", Direction::Outgoing).unwrap();
        model.remove_account("mike").unwrap();
        assert!(model.target(tid(1)).unwrap().accounts.is_empty() && model.discovery_accounts.is_empty());
        assert_eq!(model.remove_account("mike"), Err(ModelError::NoAccount("mike".to_owned())));
        assert_eq!(model.bound_accounts(Some(tid(2))).err(), Some(ModelError::NoTarget(tid(2))));
    }
}
