//! The stores behind units: how a client describes one, which are open, and replies that wait until they are closed.

use super::error::StoreError;
use super::state::{Control, Env};
use super::work::Work;
use crate::control::error::ControlError;
use crate::control::pending::Pending;
use crate::control::request::UnitStrings;
use crate::model::store::{OpenFlags, StoreId, StoreKind, StoreSpec};
use crate::model::unit::{DEFAULT_BLOCK_LEN, DEFAULT_KIND};

impl Control {
    /// A store is closed: sends the replies that waited for it and wait for no other one.
    pub(super) fn store_closed(&mut self, id: StoreId, env: &mut Env<'_>) {
        let Some(path) = self.stores.remove(id) else { return };
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
        self.stores.paths()
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
        if kind == "sheepdog" {
            return StoreError::Sheepdog;
        }
        let known = kinds.iter().map(|known| known.name).collect();
        StoreError::Kind { kind: kind.clone(), known }
    })?;
    let flags = OpenFlags::parse(&strings.bsoflags.unwrap_or_default())?;
    if !flags.is_empty() && !known.takes_flags {
        return Err(StoreError::Flags { flags: flags.word(), kind }.into());
    }
    if known.needs_medium && strings.path.is_none() {
        return Err(StoreError::NoPath(kind).into());
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
