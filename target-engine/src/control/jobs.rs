//! Jobs that may block: opening and flushing stores, reading sizes, resolving names, running redirect commands. The
//! control plane gives them away ([`Outside::job`](super::dispatch::Outside::job)) and gets each result back by its
//! ticket.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use scsi_core::device::unit::Unit;
use scsi_core::store::{Backstore, IoError};

use super::messages::Ticket;
use crate::model::portal::PortalSpec;
use crate::model::store::{StoreId, StoreSpec};

/// A job.
pub enum Job {
    /// Open a store. It gets the [`StoreId`] of the ticket's number.
    Open(Ticket, StoreSpec),
    /// Read the size of a unit's store again.
    Refresh(Ticket, Arc<Unit>),
    /// Flush the store of a unit.
    Flush(Ticket, Arc<dyn Backstore>),
    /// Resolve the name of a portal.
    Resolve(Ticket, PortalSpec),
    /// Run a redirect command for a login.
    Redirect(Ticket, RedirectCommand),
}

/// The command of `RedirectCallback` with its arguments.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RedirectCommand {
    /// The command, split at spaces; no shell interprets it.
    pub command: String,
    /// The target's name.
    pub target_name: String,
    /// The initiator's address.
    pub initiator: IpAddr,
}

/// The result of a job.
pub enum JobDone {
    /// The store, or why it could not be opened.
    Opened(Ticket, Result<Arc<dyn Backstore>, String>),
    /// A store was opened by [`Job::Open`], its last handle was dropped, and it is closed now.
    Closed(StoreId),
    /// The unit has the store's size.
    Refreshed(Ticket, Result<(), IoError>),
    /// The store was flushed.
    Flushed(Ticket, Result<(), IoError>),
    /// The addresses of the name; empty if it has none.
    Resolved(Ticket, Vec<SocketAddr>),
    /// The output of the redirect command, or why there is none.
    Redirected(Ticket, Result<String, String>),
}
