//! The stores behind units: what a client says of one, and replies that wait until a store is closed.

use std::sync::Arc;

use scsi_core::store::Backstore;

use super::super::error::ControlError;
use super::super::report::Reply;
use super::super::request::UnitStrings;
use super::error::StoreError;
use super::{Control, MaybeWaiting, Outside, Work};
use crate::model::store::{OpenFlags, StoreId, StoreSpec};
use crate::model::unit::{DEFAULT_BLOCK_LEN, DEFAULT_KIND};

/// A store that an opener has opened. Dropping it has the store closed.
pub(super) struct Opened {
    pub(super) id: StoreId,
    pub(super) store: Arc<dyn Backstore>,
}

/// How an operation ended, and the stores that must be closed before its client is told.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) reply: Reply,
    pub(super) closing: Vec<StoreId>,
}

/// A reply that waits until stores are closed.
#[derive(Debug)]
pub struct Closing {
    reply: Reply,
    stores: Vec<StoreId>,
}

impl From<Reply> for Ended {
    fn from(reply: Reply) -> Self {
        Self { reply, closing: Vec::new() }
    }
}

impl Closing {
    /// What is told when the stores have not closed in time.
    pub(super) fn overdue(&self, still_open: Option<ControlError>) -> Reply {
        self.reply.clone().and_then(|report| still_open.map_or(Ok(report), Err))
    }

    pub(super) fn stores(&self) -> &[StoreId] {
        &self.stores
    }
}

impl Control {
    /// Replies once the stores are closed that the operation has dropped.
    pub(super) fn reply_when_closed(
        &mut self,
        (client, due): MaybeWaiting,
        Ended { reply, closing }: Ended,
        out: &mut dyn Outside,
    ) {
        let Some(client) = client else { return };
        let stores: Vec<_> = closing.into_iter().filter(|id| self.open_stores.contains_key(id)).collect();
        if stores.is_empty() {
            return out.reply(client, reply);
        }
        self.pending.begin(Some(client), due, Vec::new(), Work::Close(Closing { reply, stores }));
    }

    /// A store is closed: whoever waited for it, and for no other one, gets the reply.
    pub(super) fn store_closed(&mut self, id: StoreId, out: &mut dyn Outside) {
        let Some(path) = self.open_stores.remove(&id) else { return };
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
                out.reply(client, closing.reply);
            }
        }
    }

    /// Drops every unit with its store, and what is under way: the daemon ends.
    pub fn drop_units(&mut self) {
        for tid in self.model.targets().map(|target| target.tid).collect::<Vec<_>>() {
            self.model.remove_target(tid);
        }
        self.pending = super::Pending::default();
    }

    /// The paths of the stores that are open.
    pub fn open_paths(&self) -> impl Iterator<Item = &str> {
        self.open_stores.values().map(String::as_str)
    }
}

/// What is told of stores that do not close in time; `None` where all are closed.
pub(super) fn still_open<'a>(paths: impl Iterator<Item = &'a str>) -> Option<ControlError> {
    let paths: Vec<_> = paths.map(str::to_owned).collect();
    (!paths.is_empty()).then(|| StoreError::StillOpen(paths).into())
}

/// A store that was not opened. The opener's reason has the path.
pub(super) fn not_opened(why: &str) -> ControlError {
    StoreError::NotOpened(why.to_owned()).into()
}

pub(super) fn store_spec(strings: UnitStrings, out: &mut dyn Outside) -> Result<StoreSpec, ControlError> {
    let kind = strings.bstype.unwrap_or_else(|| DEFAULT_KIND.to_owned());
    let kinds = out.store_kinds();
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
