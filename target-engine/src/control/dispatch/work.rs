//! Operations that take time, as data: what each of them does, and who waits for it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Instant;

use scsi_core::device::unit::{Capacity, Unit};
use scsi_core::lun::Lun;
use scsi_core::store::Backstore;

use crate::control::error::ControlError;
use crate::control::messages::{LoginId, LoopId, ServiceId};
use crate::control::pending::{ClientId, Operation};
use crate::control::report::Reply;
use crate::iscsi::login::TargetQuestion;
use crate::model::portal::PortalSpec;
use crate::model::store::{StoreId, StoreSpec};
use crate::model::unit::TargetUnit;
use crate::model::unit_parameters::UnitChange;
use crate::model::{PortalId, Tid};

/// What is done under a ticket.
#[derive(Debug)]
pub(super) enum Work {
    /// A new unit's store is being opened, or its loops are asked to serve it.
    NewUnit(NewUnit),
    /// The loops of a unit are asked to drop it.
    RemoveUnit(RemoveUnit),
    /// Loops that dropped a unit are asked to serve it again, because another loop refused to drop it; or the reverse.
    RestoreUnit,
    /// A store is opened or asked for its size, to change a unit.
    UpdateUnit(UpdateUnit),
    /// The loops are asked to stop a unit before its medium is exchanged.
    SwapMedium(Swap),
    /// The loops of a target are asked to remove it.
    EndService(EndService),
    /// Stores are being closed; all else is done.
    Close(Closing),
    /// A loop is asked to close a connection.
    CloseConnection,
    /// The name of a portal is being resolved.
    Listen(Listen),
    /// A store that reported another size is asked for it.
    Resized(Resized),
    /// The redirect command of a login runs.
    Redirect(Redirecting),
}

/// A unit whose store has reported another size.
#[derive(Clone, Debug)]
pub(super) struct Resized {
    pub(super) tid: Tid,
    pub(super) lun: Lun,
    /// Weak: it must not keep a store open.
    pub(super) unit: Weak<Unit>,
    pub(super) before: Capacity,
}

/// Who waits for the reply of an operation, and until when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// `None`: no client, or none any more.
    pub(super) client: Option<ClientId>,
    /// When the reply is due.
    pub(super) due: Instant,
}

impl Waiting {
    /// No client waits.
    pub(super) const fn none(now: Instant) -> Self {
        Self { client: None, due: now }
    }

    pub(super) fn of(operation: &Operation<Work>) -> Self {
        Self { client: operation.client, due: operation.deadline }
    }
}

/// A unit that is being made.
#[derive(Debug)]
pub(super) struct NewUnit {
    pub(super) key: UnitKey,
    pub(super) spec: StoreSpec,
    /// The unit, once its store is open.
    pub(super) entry: Option<TargetUnit>,
}

/// A unit that is being removed.
#[derive(Debug)]
pub(super) struct RemoveUnit {
    pub(super) key: UnitKey,
    pub(super) removal: Removal,
}

/// How a unit is removed.
#[derive(Debug)]
pub(super) enum Removal {
    /// It stays if a loop has commands for it.
    IfIdle,
    /// It is removed from the configuration already.
    Taken(TargetUnit),
    /// A previous request removed it from the configuration; this one shortens the time that its commands have. The
    /// unit's store.
    Hastened(Option<StoreId>),
}

impl RemoveUnit {
    /// Whether the unit is removed from the configuration, whatever its loops and store do.
    pub(super) fn is_certain(&self) -> bool {
        !matches!(self.removal, Removal::IfIdle)
    }

    /// The store of a unit that is removed for certain.
    pub(super) fn store(&self) -> Option<StoreId> {
        match &self.removal {
            Removal::IfIdle => None,
            Removal::Taken(entry) => entry.open,
            Removal::Hastened(store) => *store,
        }
    }
}

/// Identifies a unit in one service of its target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct UnitKey {
    pub(super) tid: Tid,
    pub(super) lun: Lun,
    /// `None`: no loop serves the target.
    pub(super) service: Option<ServiceId>,
}

impl std::fmt::Display for UnitKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "target {} lun {}", self.tid, self.lun)
    }
}

/// A unit that is being changed.
#[derive(Debug)]
pub(super) struct UpdateUnit {
    pub(super) key: UnitKey,
    /// Weak: an update that waits must not keep a store open.
    pub(super) unit: Weak<Unit>,
    pub(super) changes: VecDeque<Result<UnitChange, ControlError>>,
    pub(super) error: Option<ControlError>,
    /// The medium that is being opened.
    pub(super) spec: Option<StoreSpec>,
    /// Media that were replaced, or opened and not used: the reply waits until they are closed.
    pub(super) closing: Vec<StoreId>,
}

/// Another medium, opened; the commands on the present one are ending.
pub(super) struct Swap {
    pub(super) update: UpdateUnit,
    pub(super) spec: StoreSpec,
    /// `None`: it could not be opened, and the drive becomes empty.
    pub(super) store: Option<Opened>,
}

impl std::fmt::Debug for Swap {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Swap")
            .field("update", &self.update)
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

/// The loops of a target are asked to remove it.
#[derive(Debug)]
pub(super) struct EndService {
    /// The target, if it is removed from the configuration: its number is free afterwards.
    pub(super) target: Option<Tid>,
    /// The loops that served it.
    pub(super) loops: Vec<LoopId>,
    /// The stores of its units, also of those that are being removed; they close when no loop uses them any more.
    pub(super) stores: Vec<StoreId>,
}

impl EndService {
    pub(super) fn stores(&self) -> &[StoreId] {
        &self.stores
    }
}

/// Portals of one request that are being added.
#[derive(Debug)]
pub(super) struct Listen {
    pub(super) rest: VecDeque<PortalSpec>,
    /// Those that are listened on already.
    pub(super) added: Vec<PortalId>,
}

/// A login whose redirect command is running.
#[derive(Debug)]
pub(super) struct Redirecting {
    pub(super) login: LoginId,
    pub(super) question: Box<TargetQuestion>,
    pub(super) peer: SocketAddr,
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
    pub(super) reply: Reply,
    pub(super) stores: Vec<StoreId>,
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
