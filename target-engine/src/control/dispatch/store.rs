//! The stores behind units: how a client describes one, which are open, and replies that wait until they are closed.

use std::collections::BTreeMap;
use std::sync::Arc;

use scsi_core::store::Backstore;

use super::error::StoreError;
use super::work::Work;
use super::{Control, Env};
use crate::control::error::ControlError;
use crate::control::pending::Pending;
use crate::control::report::Reply;
use crate::control::request::UnitStrings;
use crate::model::store::{OpenFlags, StoreId, StoreKind, StoreSpec};
use crate::model::unit::{DEFAULT_BLOCK_LEN, DEFAULT_KIND};

/// The stores that are not closed yet, with their paths; also those that no unit uses any more.
#[derive(Debug, Default)]
pub(super) struct OpenStores {
    paths: BTreeMap<StoreId, String>,
}

impl OpenStores {
    pub(super) fn add(&mut self, id: StoreId, path: String) {
        self.paths.insert(id, path);
    }

    pub(super) fn is_open(&self, id: StoreId) -> bool {
        self.paths.contains_key(&id)
    }

    /// The reply for a change that is made while some of these stores have not closed in time; `None`: all are closed.
    pub(super) fn still_open(&self, ids: &[StoreId]) -> Option<ControlError> {
        let paths: Vec<_> = ids.iter().filter_map(|id| self.paths.get(id)).cloned().collect();
        (!paths.is_empty()).then(|| StoreError::StillOpen(paths).into())
    }
}

/// A store that was just opened. Dropping it has the store closed.
pub(super) struct Opened {
    pub(super) id: StoreId,
    pub(super) store: Arc<dyn Backstore>,
}

/// The result of an operation, and the stores that must be closed before its client gets the reply.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) reply: Reply,
    pub(super) closing: Vec<StoreId>,
}

impl From<Reply> for Ended {
    fn from(reply: Reply) -> Self {
        Self { reply, closing: Vec::new() }
    }
}

/// A reply that waits until stores are closed.
#[derive(Debug)]
pub(super) struct Closing {
    reply: Reply,
    stores: Vec<StoreId>,
}

impl Closing {
    pub(super) fn new(reply: Reply, stores: Vec<StoreId>) -> Self {
        Self { reply, stores }
    }

    /// The reply if the stores have not closed in time.
    pub(super) fn overdue(&self, still_open: Option<ControlError>) -> Reply {
        self.reply.clone().and_then(|report| still_open.map_or(Ok(report), Err))
    }

    pub(super) fn stores(&self) -> &[StoreId] {
        &self.stores
    }
}

impl Control {
    /// A store is closed: sends the replies that waited for it and wait for no other one.
    pub(super) fn store_closed(&mut self, id: StoreId, env: &mut Env<'_>) {
        let Some(path) = self.stores.paths.remove(&id) else { return };
        log::info!("{path}: closed");
        let ended = self.pending.extract(|work| match work {
            Work::Close(closing) => {
                closing.stores.retain(|store| *store != id);
                closing.stores.is_empty()
            }
            _ => false,
        });
        for operation in ended {
            if let (Some(client), Work::Close(closing)) = (operation.client, operation.work) {
                env.out.reply(client, closing.reply);
            }
        }
    }

    /// Drops all units with their stores, and all operations. The last step of a daemon that ends.
    pub fn drop_units(&mut self) {
        for tid in self.model.targets().map(|target| target.tid).collect::<Vec<_>>() {
            self.model.remove_target(tid);
        }
        self.pending = Pending::default();
    }

    /// Returns the paths of the stores that are not closed yet.
    pub fn open_paths(&self) -> impl Iterator<Item = &str> {
        self.stores.paths.values().map(String::as_str)
    }
}

/// `why` is the opener's message, which names the path.
pub(super) fn not_opened(why: &str) -> ControlError {
    StoreError::NotOpened(why.to_owned()).into()
}

/// Makes the description of a store of what a client gave, checked against the kinds that can be opened.
pub(super) fn store_spec(strings: UnitStrings, kinds: &[StoreKind]) -> Result<StoreSpec, ControlError> {
    let kind = strings.bstype.unwrap_or_else(|| DEFAULT_KIND.to_owned());
    let known = kinds.iter().find(|known| known.name == kind).ok_or_else(|| {
        let known = kinds.iter().map(|known| known.name).collect();
        StoreError::Kind { kind: kind.clone(), known }
    })?;
    let flags = OpenFlags::parse(&strings.bsoflags.unwrap_or_default())?;
    if !flags.is_empty() && !known.takes_flags {
        return Err(StoreError::Flags { flags: flags.word(), kind }.into());
    }
    Ok(StoreSpec {
        kind,
        path: strings.path.unwrap_or_default(),
        options: strings.bsopts.unwrap_or_default(),
        flags,
        block_len: strings.block_len.unwrap_or(DEFAULT_BLOCK_LEN),
        read_only: false,
    })
}
