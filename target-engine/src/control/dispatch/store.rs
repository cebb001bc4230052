//! The stores behind units: what a client says of one, and its opening and closing by the openers.

use std::sync::Arc;

use scsi_core::store::Backstore;

use super::super::error::{ControlError, TgtadmError};
use super::super::request::UnitStrings;
use super::Outside;
use crate::model::store::{OpenFlags, StoreSpec};
use crate::model::unit::{DEFAULT_BLOCK_LEN, DEFAULT_KIND};
use crate::runtime::openers::Job;

/// The opener's own words name the path.
pub(super) fn not_opened(why: &str) -> ControlError {
    TgtadmError::InvalidRequest.because(format!("--backing-store {why}"))
}

/// The last handle on a store may be this one, and closing may take long.
pub(super) fn close(store: Option<Arc<dyn Backstore>>, out: &mut dyn Outside) {
    if let Some(store) = store
        && out.job(Job::Close(store)).is_err()
    {
        log::warn!("too many stores wait to be closed");
    }
}

pub(super) fn store_spec(strings: UnitStrings, out: &mut dyn Outside) -> Result<StoreSpec, ControlError> {
    let kind = strings.bstype.unwrap_or_else(|| DEFAULT_KIND.to_owned());
    let kinds = out.store_kinds();
    let known = kinds.iter().find(|known| known.name == kind).ok_or_else(|| {
        let accepted: Vec<_> = kinds.iter().map(|known| known.name).collect();
        let reason = format!("--bstype {kind:?} is not known; accepted: {}", accepted.join(", "));
        TgtadmError::InvalidRequest.because(reason)
    })?;
    let flags = OpenFlags::parse(&strings.bsoflags.unwrap_or_default())?;
    if !flags.is_empty() && !known.takes_flags {
        let reason = format!("--bsoflags {:?}: stores of the kind {kind} take none", flags.word());
        return Err(TgtadmError::InvalidRequest.because(reason));
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
