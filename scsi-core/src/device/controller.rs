//! The controller at LUN 0 of every target: a unit without a medium (SCC-2), for what is asked of the target.

use super::answer::{Answer, good};
use super::request::Request;
use super::{TargetView, spc};
use crate::cdb::Cdb;

/// Begins a command; a controller is always ready.
pub(super) fn start(request: &mut Request<'_>, cdb: Cdb, view: &dyn TargetView) -> Answer {
    match cdb {
        Cdb::TestUnitReady => Ok(good()),
        _ => spc::start(request, cdb, view),
    }
}
