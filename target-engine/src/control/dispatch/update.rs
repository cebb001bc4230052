//! Units that are changed, one change after the other, and media that come and go.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use scsi_core::device::unit::{DeviceType, Unit};
use scsi_core::store::IoError;

use super::super::error::ControlError;
use super::super::jobs::Job;
use super::super::messages::{Ticket, ToLoop};
use super::super::report::{Reply, Report};
use super::error::{MediumError, OperationError};
use super::store::{Ended, Opened, not_opened};
use super::unit::{Place, no_unit};
use super::{Control, MaybeWaiting, Outside, Waiting, Work};
use crate::limits::CONTROL_REPLY;
use crate::model::Tid;
use crate::model::error::ModelError;
use crate::model::store::{StoreId, StoreSpec};
use crate::model::unit::{self, TargetUnit};
use crate::model::unit_parameters::{UnitChange, UnitEffect};

/// A unit that is being changed, one change after the other.
#[derive(Debug)]
pub struct UpdateUnit {
    place: Place,
    /// Weak: an update that waits keeps no store open.
    unit: Weak<Unit>,
    changes: VecDeque<Result<UnitChange, ControlError>>,
    error: Option<ControlError>,
    /// The medium that is being opened.
    spec: Option<StoreSpec>,
    /// Media that were replaced, or opened in vain: the reply waits until they are closed.
    closing: Vec<StoreId>,
}

/// Another medium, opened, while what runs on the present one comes to its end.
pub struct Swap {
    update: UpdateUnit,
    spec: StoreSpec,
    /// `None`: it could not be opened, and the drive will be empty.
    store: Option<Opened>,
}

impl std::fmt::Debug for Swap {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Swap")
            .field("update", &self.update)
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

impl Control {
    pub(super) fn unit_update(
        &mut self,
        (client, due): Waiting,
        tid: Tid,
        lun: u64,
        changes: Vec<Result<UnitChange, ControlError>>,
        out: &mut dyn Outside,
    ) -> Option<Reply> {
        let target = match self.model.target(tid) {
            Ok(target) => target,
            Err(error) => return Some(Err(error.into())),
        };
        let found = super::unit::lun(lun).and_then(|lun| Some((lun, target.units.get(&lun)?)));
        let Some((lun, entry)) = found else { return Some(Err(no_unit(tid, lun))) };
        let update = UpdateUnit {
            unit: Arc::downgrade(&entry.unit),
            place: Place { tid, lun, service: self.service_of(tid) },
            changes: changes.into(),
            error: None,
            spec: None,
            closing: Vec::new(),
        };
        self.change_on((Some(client), due), update, out).map(|ended| ended.reply)
    }

    /// Makes the changes up to the next that takes time. `None`: it is under way.
    fn change_on(
        &mut self,
        waiting: MaybeWaiting,
        mut update: UpdateUnit,
        out: &mut dyn Outside,
    ) -> Option<Ended> {
        while let Some(change) = update.changes.pop_front() {
            let Some(unit) = self.entry(&update).map(|entry| Arc::clone(&entry.unit)) else {
                update.error = Some(unit_gone(&update));
                break;
            };
            let made = match change.as_ref().map(UnitChange::effect) {
                Err(error) => Err(error.clone()),
                Ok(UnitEffect::Medium(path)) => match self.new_medium(&update, path.to_owned()) {
                    Ok(spec) => return self.open_medium(waiting, update, spec, out),
                    Err(error) => Err(error),
                },
                Ok(UnitEffect::Capacity) if unit.store().is_some() => {
                    return self.begin_change(waiting, update, |ticket| Job::Refresh(ticket, unit), out);
                }
                Ok(UnitEffect::Capacity) => Err(MediumError::Missing.into()),
                Ok(effect @ (UnitEffect::Configuration | UnitEffect::Online)) => {
                    // A medium that lost writes is opened again: the operator accepts the loss.
                    if effect == UnitEffect::Online
                        && let Some(spec) = self.lost_medium(&update)
                    {
                        return self.open_medium(waiting, update, spec, out);
                    }
                    change.and_then(|change| {
                        self.own_name(&update, &change)?;
                        Ok(unit::change(&unit, &change, self.model.naming)?)
                    })
                }
            };
            update.error = made.err().or(update.error);
        }
        let reply = update.error.map_or_else(|| Ok(Report::Done), Err);
        Some(Ended { reply, closing: update.closing })
    }

    fn open_medium(
        &mut self,
        waiting: MaybeWaiting,
        update: UpdateUnit,
        spec: StoreSpec,
        out: &mut dyn Outside,
    ) -> Option<Ended> {
        let update = UpdateUnit { spec: Some(spec.clone()), ..update };
        self.begin_change(waiting, update, |ticket| Job::Open(ticket, spec), out)
    }

    fn begin_change(
        &mut self,
        (client, due): MaybeWaiting,
        update: UpdateUnit,
        job: impl FnOnce(Ticket) -> Job,
        out: &mut dyn Outside,
    ) -> Option<Ended> {
        let closing = update.closing.clone();
        let ticket = self.pending.begin(client, due, Vec::new(), Work::UpdateUnit(update));
        if out.job(job(ticket)).is_err() {
            self.pending.take(ticket);
            return Some(Ended { reply: Err(OperationError::TooBusy.into()), closing });
        }
        None
    }

    /// What another medium is opened by; only while the present one is out.
    fn new_medium(&self, update: &UpdateUnit, path: String) -> Result<StoreSpec, ControlError> {
        let entry = self.entry(update).ok_or_else(|| unit_gone(update))?;
        let config = entry.unit.config();
        if config.device_type != DeviceType::Disk {
            return Err(MediumError::OfController(path).into());
        }
        if config.online && entry.has_medium() {
            return Err(MediumError::Present(path).into());
        }
        if path.is_empty() {
            return Err(MediumError::EmptyPath.into());
        }
        let spec = StoreSpec { path: path.clone(), ..entry.store.clone() };
        self.own_medium(update, &path)?;
        Ok(spec)
    }

    /// What a medium that has lost writes, or whose engine has panicked, is opened by once more, when it comes back from
    /// being offline.
    fn lost_medium(&self, update: &UpdateUnit) -> Option<StoreSpec> {
        let entry = self.entry(update)?;
        let lost = entry.unit.store().is_some_and(|store| store.has_lost_writes()) || entry.unit.is_broken();
        (lost && !entry.unit.config().online).then(|| entry.store.clone())
    }

    /// The opener is done with another medium. It goes in when nothing runs on the present one: no command has its
    /// data on two. One that cannot be opened leaves the drive empty, as in stock.
    pub(super) fn medium_opened(
        &mut self,
        waiting: MaybeWaiting,
        mut update: UpdateUnit,
        store: Result<Opened, String>,
        out: &mut dyn Outside,
    ) {
        let (store, opened) = match store {
            Ok(store) => {
                let path = update.spec.as_ref().map_or_else(String::new, |spec| spec.path.clone());
                self.open_stores.insert(store.id, path);
                (Some(store), Ok(()))
            }
            Err(why) => {
                log::error!("{}: {why}", update.place);
                (None, Err(not_opened(&why)))
            }
        };
        update.error = opened.err().or(update.error);
        match (self.entry(&update), update.spec.take()) {
            // The same once more, and it cannot be had: the one there is can still be read.
            (Some(entry), Some(spec)) if store.is_none() && spec == entry.store => {
                self.reply_when_changed(waiting, update, out);
            }
            (Some(entry), Some(spec)) => {
                let Place { tid, lun, .. } = update.place;
                let loops =
                    if entry.unit.store().is_some() { self.loops_of(tid).to_vec() } else { Vec::new() };
                // What hangs is aborted in time for the reply.
                let by = waiting.1 - CONTROL_REPLY / 2;
                let work = Work::SwapMedium(Swap { update, spec, store });
                let letter = |ticket| ToLoop::StopUnit(tid, lun, by, ticket);
                self.tell(waiting.0, waiting.1, &loops, work, letter, out);
            }
            _ => self.give_up(waiting, update, store.map(|store| store.id), out),
        }
    }

    /// Nothing runs on the unit's medium any more: the other one goes in.
    pub(super) fn medium_idle(&mut self, waiting: MaybeWaiting, swap: Swap, out: &mut dyn Outside) {
        let Swap { mut update, spec, store } = swap;
        let Some(entry) = self.entry_mut(&update) else {
            return self.give_up(waiting, update, store.map(|store| store.id), out);
        };
        if entry.has_medium() && entry.unit.with_config(|config| config.online) {
            update.closing.extend(store.map(|store| store.id));
            update.error = Some(MediumError::PutOnline.into());
            return self.reply_when_changed(waiting, update, out);
        }
        let online = store.is_some();
        entry.store.path = if online { spec.path } else { String::new() };
        let replaced = std::mem::replace(&mut entry.open, store.as_ref().map(|store| store.id));
        update.closing.extend(replaced);
        let unit = Arc::clone(&entry.unit);
        let read_only = store.as_ref().is_some_and(|store| store.store.capabilities().read_only);
        unit.set_store(store.map(|store| store.store));
        let changed = unit.update(|config| {
            config.online = online;
            config.read_only |= read_only;
        });
        let Place { tid, lun, .. } = update.place;
        for id in self.loops_of(tid) {
            let _ = out.send(*id, ToLoop::ChangeMedium(tid, lun));
        }
        update.error = changed.map_err(|error| ModelError::from(error).into()).err().or(update.error);
        self.reply_when_changed(waiting, update, out);
    }

    /// The unit is gone, and its changes with it.
    fn give_up(
        &mut self,
        waiting: MaybeWaiting,
        mut update: UpdateUnit,
        opened: Option<StoreId>,
        out: &mut dyn Outside,
    ) {
        update.closing.extend(opened);
        update.error = Some(unit_gone(&update));
        update.changes.clear();
        self.reply_when_changed(waiting, update, out);
    }

    /// The opener has asked the store for its size.
    pub(super) fn size_read(
        &mut self,
        waiting: MaybeWaiting,
        mut update: UpdateUnit,
        answer: Result<(), IoError>,
        out: &mut dyn Outside,
    ) {
        let answer = answer.map_err(|error| {
            log::error!("{}: size: {error}", update.place);
            ControlError::from(MediumError::Size(error))
        });
        update.error = answer.err().or(update.error);
        self.reply_when_changed(waiting, update, out);
    }

    fn reply_when_changed(&mut self, waiting: MaybeWaiting, update: UpdateUnit, out: &mut dyn Outside) {
        if let Some(ended) = self.change_on(waiting, update, out) {
            self.reply_when_closed(waiting, ended, out);
        }
    }

    /// The unit that is being updated, if it is still the same.
    pub(super) fn entry(&self, update: &UpdateUnit) -> Option<&TargetUnit> {
        let entry = self.model.target(update.place.tid).ok()?.units.get(&update.place.lun)?;
        is_of(update, entry).then_some(entry)
    }

    fn entry_mut(&mut self, update: &UpdateUnit) -> Option<&mut TargetUnit> {
        let entry = self.model.target_mut(update.place.tid).ok()?.units.get_mut(&update.place.lun)?;
        is_of(update, entry).then_some(entry)
    }
}

/// Whether the entry's unit is the one that is being changed; another one may have its number by now.
fn is_of(update: &UpdateUnit, entry: &TargetUnit) -> bool {
    std::ptr::eq(update.unit.as_ptr(), Arc::as_ptr(&entry.unit))
}

pub(super) fn unit_gone(update: &UpdateUnit) -> ControlError {
    no_unit(update.place.tid, update.place.lun.number().into())
}
