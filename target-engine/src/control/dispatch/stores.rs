//! The stores that are open.

use std::collections::BTreeMap;

use super::error::StoreError;
use crate::control::error::ControlError;
use crate::model::store::StoreId;

/// The stores that are not closed yet, with their paths; also those that no unit uses any more.
#[derive(Debug, Default)]
pub(super) struct OpenStores {
    pub(super) paths: BTreeMap<StoreId, String>,
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
