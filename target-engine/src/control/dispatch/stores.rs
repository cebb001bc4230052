//! The stores that are open.

use std::collections::BTreeMap;

use super::error::StoreError;
use crate::control::error::ControlError;
use crate::model::Tid;
use crate::model::store::StoreId;

/// The stores that are not closed yet; also those that no unit uses any more.
#[derive(Debug, Default)]
pub(super) struct OpenStores(BTreeMap<StoreId, OpenEntry>);

#[derive(Debug)]
struct OpenEntry {
    path: String,
    /// The target that it was opened for; `None` when that has been removed.
    tid: Option<Tid>,
}

impl OpenStores {
    pub(super) fn add(&mut self, id: StoreId, path: String, tid: Option<Tid>) {
        self.0.insert(id, OpenEntry { path, tid });
    }

    /// Removes a store that is closed; returns its path.
    pub(super) fn remove(&mut self, id: StoreId) -> Option<String> {
        self.0.remove(&id).map(|entry| entry.path)
    }

    pub(super) fn is_open(&self, id: StoreId) -> bool {
        self.0.contains_key(&id)
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(|entry| entry.path.as_str())
    }

    /// A target is removed: returns its stores, which include those of units and media that are being removed. They no
    /// longer belong to its number.
    pub(super) fn take_of(&mut self, tid: Tid) -> Vec<StoreId> {
        let entries = self.0.iter_mut().filter(|(_, entry)| entry.tid == Some(tid));
        entries
            .map(|(id, entry)| {
                entry.tid = None;
                *id
            })
            .collect()
    }

    /// The reply for a change that is made while some of these stores have not closed in time; `None`: all are closed.
    pub(super) fn still_open(&self, ids: &[StoreId]) -> Option<ControlError> {
        let paths: Vec<_> =
            ids.iter().filter_map(|id| self.0.get(id)).map(|entry| entry.path.clone()).collect();
        (!paths.is_empty()).then(|| StoreError::StillOpen(paths).into())
    }
}
