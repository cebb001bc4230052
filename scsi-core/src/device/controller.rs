//! Commands of the controller at LUN 0 of each target (SCC-2), a unit without a medium.

use super::answer::{Answer, good};
use super::request::Request;
use super::{TargetView, spc};
use crate::cdb::Cdb;

/// Starts a command. A controller is always ready.
pub(super) fn start(request: &mut Request<'_>, cdb: Cdb, view: &dyn TargetView) -> Answer {
    match cdb {
        Cdb::TestUnitReady => Ok(good()),
        _ => spc::start(request, cdb, view),
    }
}
