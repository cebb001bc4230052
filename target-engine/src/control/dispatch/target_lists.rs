//! Answers to SendTargets. Each is made once per configuration and initiator, and initiators that see the same targets share
//! one text, so that neither requests nor unsent responses cost what the number of targets would.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use iscsi_proto::name::IscsiName;

use crate::control::messages::Addresses;
use crate::iscsi::login::{SendTargetsQuestion, SendTargetsScope, TargetAddress, TargetList, TargetRecord};
use crate::limits::{DISCOVERIES_MAX, TARGET_LISTS_BYTES_MAX};
use crate::model::Model;
use crate::model::portal::PORTAL_GROUP_TAG;
use crate::model::target::Target;

/// The lists of the present configuration.
#[derive(Debug, Default)]
pub(super) struct TargetLists {
    /// [`Model::generation`] when they were made.
    generation: u64,
    of_seekers: HashMap<Seeker, TargetList>,
    lists: HashSet<TargetList>,
    /// Bytes of the `lists`.
    bytes: usize,
    /// How often one was made.
    made: usize,
}

/// Everything that the list of an initiator depends on beside the configuration.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Seeker {
    initiator_name: String,
    /// The account of its login.
    user: Option<String>,
    peer: IpAddr,
    /// The address it connected to: it might not reach any other.
    address: Option<TargetAddress>,
}

impl TargetLists {
    /// The targets that an initiator may log in to.
    pub(super) fn list(
        &mut self,
        model: &Model,
        question: &SendTargetsQuestion,
        addresses: Addresses,
    ) -> TargetList {
        let seeker = Seeker {
            initiator_name: question.initiator_name.normalized().to_owned(),
            user: question.chap_user.clone(),
            peer: addresses.peer.ip().to_canonical(),
            address: TargetAddress::of_connection(addresses.local, PORTAL_GROUP_TAG),
        };
        let SendTargetsScope::Named(wanted) = &question.scope else {
            if let Some(known) = self.find(&seeker, model.generation()) {
                return known;
            }
            let list = written(model, model.targets(), &seeker, &question.initiator_name);
            return self.keep(seeker, list);
        };
        written(model, model.find_target(wanted.as_str()), &seeker, &question.initiator_name)
    }

    fn find(&mut self, seeker: &Seeker, generation: u64) -> Option<TargetList> {
        if self.generation != generation {
            *self = Self { generation, made: self.made, ..Self::default() };
        }
        self.of_seekers.get(seeker).cloned()
    }

    fn keep(&mut self, seeker: Seeker, list: TargetList) -> TargetList {
        self.made += 1;
        if self.of_seekers.len() >= DISCOVERIES_MAX || self.bytes + list.text().len() > TARGET_LISTS_BYTES_MAX
        {
            *self = Self { generation: self.generation, made: self.made, ..Self::default() };
        }
        let list = self.lists.get(&list).cloned().unwrap_or(list);
        if self.lists.insert(list.clone()) {
            self.bytes += list.text().len();
        }
        self.of_seekers.insert(seeker, list.clone());
        list
    }
}

/// Writes those of the targets that are visible to an initiator.
fn written<'a>(
    model: &Model,
    targets: impl IntoIterator<Item = &'a Target>,
    seeker: &Seeker,
    name: &IscsiName,
) -> TargetList {
    let user = seeker.user.as_deref().filter(|user| is_of_targets(model, user));
    TargetList::new(targets.into_iter().filter_map(|target| {
        let is_visible = target.acl.allows(seeker.peer, name) && is_open_to(target, user, name);
        let name = IscsiName::parse_any(&target.name).ok().filter(|_| is_visible)?;
        Some(TargetRecord { name, addresses: seeker.address.into_iter().collect() })
    }))
}

/// Whether a target uses the account; some are for discovery only.
fn is_of_targets(model: &Model, user: &str) -> bool {
    model.targets().any(|target| target.accounts.has_incoming(user))
}

/// Whether an initiator of this name that authenticated as this user in discovery can log in to a target.
fn is_open_to(target: &Target, user: Option<&str>, name: &IscsiName) -> bool {
    let accounts = &target.accounts;
    let admits = |user| accounts.has_incoming(user) && accounts.admits(user, name);
    user.is_none_or(|user| !accounts.requires_proof() || admits(user))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Tid;

    fn ask(lists: &mut TargetLists, model: &Model, name: &str, peer: &str) -> TargetList {
        let question = SendTargetsQuestion {
            initiator_name: IscsiName::parse_any(name).unwrap(),
            chap_user: None,
            scope: SendTargetsScope::All,
        };
        let addresses = Addresses { peer: peer.parse().unwrap(), local: "10.0.0.1:3260".parse().unwrap() };
        lists.list(model, &question, addresses)
    }

    fn tid(number: u32) -> Tid {
        Tid::new(number).unwrap()
    }

    /// So many targets; the first is open to one address only.
    fn model(targets: u32) -> Model {
        let mut model = Model::default();
        for number in 1..=targets {
            let target = model.add_target(tid(number), &format!("iqn.x:{number}")).unwrap();
            target.acl.add_address(if number == 1 { "10.0.0.9" } else { "ALL" }).unwrap();
        }
        model
    }

    #[test]
    fn list_is_made_once_per_configuration_and_shared() {
        let (mut model, mut lists) = (model(1000), TargetLists::default());
        let first = ask(&mut lists, &model, "iqn.i:0", "10.0.0.5:1");
        assert!(first.text().starts_with(b"TargetName=iqn.x:2\0"));
        for at in 0..100 {
            let again = ask(&mut lists, &model, &format!("iqn.i:{}", at % 10), "10.0.0.5:9");
            assert_eq!(again.text().as_ptr(), first.text().as_ptr());
        }
        assert_eq!(lists.made, 10, "once for each name");
        let other = ask(&mut lists, &model, "iqn.i:0", "10.0.0.9:1");
        assert!(other.text().starts_with(b"TargetName=iqn.x:1\0"));

        model.target_mut(tid(2)).unwrap().acl.remove_address("ALL").unwrap();
        let changed = ask(&mut lists, &model, "iqn.i:0", "10.0.0.5:1");
        assert!(changed.text().starts_with(b"TargetName=iqn.x:3\0"));
        model.remove_target(tid(3));
        let changed = ask(&mut lists, &model, "iqn.i:0", "10.0.0.5:1");
        assert!(changed.text().starts_with(b"TargetName=iqn.x:4\0"));
    }

    #[test]
    fn lists_are_bounded() {
        let (model, mut lists) = (model(100), TargetLists::default());
        for at in 0..3 * DISCOVERIES_MAX {
            ask(&mut lists, &model, &format!("iqn.i:{at}"), "10.0.0.5:1");
            assert!(lists.of_seekers.len() <= DISCOVERIES_MAX);
        }
        assert_eq!((lists.lists.len(), lists.made), (1, 3 * DISCOVERIES_MAX));
        let portal = "10.0.0.1:3260".parse().unwrap();
        for at in 0..10_u16 {
            let addresses = vec![TargetAddress { portal, group: at }; 1 << 16];
            let list =
                TargetList::new([TargetRecord { name: IscsiName::parse_any("a").unwrap(), addresses }]);
            let (user, peer, address) = (Some(at.to_string()), [10, 0, 0, 5].into(), None);
            lists.keep(Seeker { initiator_name: String::new(), user, peer, address }, list);
            assert!(lists.bytes <= TARGET_LISTS_BYTES_MAX);
        }
    }
}
