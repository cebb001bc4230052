//! The state of the control plane.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use iscsi_proto::chap::Challenger;

use super::outside::Outside;
use super::proofs::FailedProofs;
use super::redirects::Redirects;
use super::services::Services;
use super::stores::OpenStores;
use super::target_lists::TargetLists;
use super::work::{Resized, Work};
use crate::control::error::ControlError;
use crate::control::pending::Pending;
use crate::control::report::stat::LoginCounts;
use crate::control::report::{Reply, Report};
use crate::model::Model;
use crate::model::portal::PortalSpec;
use crate::model::sessions::SessionDirectory;

/// The configuration, the sessions, and the operations under way. See the [module](super) for its calls.
#[derive(Debug, Default)]
pub struct Control {
    pub(super) model: Model,
    pub(super) sessions: SessionDirectory,
    pub(super) services: Services,
    pub(super) stores: OpenStores,
    pub(super) portals: Portals,
    pub(super) pending: Pending<Work>,
    pub(super) redirects: Redirects,
    /// Units whose sizes wait to be read, each once: there were too many jobs.
    pub(super) resized: VecDeque<Resized>,
    pub(super) login_counts: LoginCounts,
    pub(super) target_lists: TargetLists,
    pub(super) failed_proofs: FailedProofs,
    /// Makes the challenges of all logins; `None` before the first login that needs one.
    pub(super) challenger: Option<Arc<Challenger>>,
}

/// The surroundings of one call.
pub(super) struct Env<'a> {
    /// The time of the call.
    pub(super) now: Instant,
    pub(super) out: &'a mut dyn Outside,
}

/// What is known of portals beside the configuration.
#[derive(Debug, Default)]
pub(super) struct Portals {
    pub(super) last: u32,
    /// Where the driver listens when it is started again.
    pub(super) at_start: Vec<PortalSpec>,
}

impl Control {
    /// Makes a control plane with this configuration, which has no targets.
    #[must_use]
    pub fn new(model: Model) -> Self {
        Self { model, ..Self::default() }
    }

    /// Returns the configuration.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Returns the sessions.
    #[must_use]
    pub fn sessions(&self) -> &SessionDirectory {
        &self.sessions
    }
}

pub(super) fn done<E: Into<ControlError>>(result: Result<(), E>) -> Reply {
    result.map(|()| Report::Done).map_err(E::into)
}
