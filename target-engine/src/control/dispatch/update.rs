//! Changes of units, made one after the other, and exchanges of media.

use std::sync::Arc;

use scsi_core::device::unit::{DeviceType, Unit};
use scsi_core::store::{Backstore, IoError};

use super::error::{MediumError, OperationError};
use super::state::{Control, Env};
use super::store::not_opened;
use super::unit::no_unit;
use super::work::{Ended, Opened, Swap, UnitKey, UpdateUnit, Waiting, Work};
use crate::control::error::ControlError;
use crate::control::jobs::Job;
use crate::control::messages::{Ticket, ToLoop};
use crate::control::report::{Reply, Report};
use crate::limits::CONTROL_REPLY;
use crate::model::Tid;
use crate::model::error::ModelError;
use crate::model::store::{StoreId, StoreSpec};
use crate::model::unit::{self, TargetUnit};
use crate::model::unit_parameters::{UnitChange, UnitEffect};

impl Control {
    pub(super) fn unit_update(
        &mut self,
        waiting: Waiting,
        tid: Tid,
        lun: u64,
        changes: Vec<Result<UnitChange, ControlError>>,
        env: &mut Env<'_>,
    ) -> Option<Reply> {
        let target = match self.model.target(tid) {
            Ok(target) => target,
            Err(error) => return Some(Err(error.into())),
        };
        let found = super::unit::lun(lun).and_then(|lun| Some((lun, target.units.get(&lun)?)));
        let Some((lun, entry)) = found else { return Some(Err(no_unit(tid, lun))) };
        let update = UpdateUnit {
            unit: Arc::downgrade(&entry.unit),
            key: self.unit_key(tid, lun),
            changes: changes.into(),
            error: None,
            spec: None,
            closing: Vec::new(),
        };
        self.change_on(waiting, update, env).map(|ended| ended.reply)
    }

    /// Makes the changes up to the next one that takes time. `None`: that one is under way.
    fn change_on(&mut self, waiting: Waiting, mut update: UpdateUnit, env: &mut Env<'_>) -> Option<Ended> {
        while let Some(change) = update.changes.pop_front() {
            let Some(unit) = self.entry(&update).map(|entry| Arc::clone(&entry.unit)) else {
                update.error = Some(unit_gone(&update));
                break;
            };
            let made = match change.as_ref().map(UnitChange::effect) {
                Err(error) => Err(error.clone()),
                Ok(UnitEffect::Medium(path)) => match self.new_medium(&update, path.to_owned()) {
                    Ok(spec) => return self.open_medium(waiting, update, spec, env),
                    Err(error) => Err(error),
                },
                Ok(UnitEffect::Capacity) if unit.store().is_some() => {
                    return self.begin_change(waiting, update, |ticket| Job::Refresh(ticket, unit), env);
                }
                Ok(UnitEffect::Capacity) => Err(MediumError::Missing.into()),
                Ok(effect @ (UnitEffect::Configuration | UnitEffect::Online)) => {
                    // A medium that lost writes is opened again: the operator accepts the loss.
                    if effect == UnitEffect::Online
                        && let Some(spec) = self.lost_medium(&update)
                    {
                        return self.open_medium(waiting, update, spec, env);
                    }
                    let was_online = unit.with_config(|config| config.online);
                    let changed = change.and_then(|change| {
                        self.check_name(&update, &change)?;
                        Ok(unit::change(&unit, &change, self.model.naming)?)
                    });
                    if was_online && let Some(store) = store_to_flush(&unit) {
                        return self.begin_change(waiting, update, |ticket| Job::Flush(ticket, store), env);
                    }
                    changed
                }
            };
            update.error = made.err().or(update.error);
        }
        let reply = update.error.map_or_else(|| Ok(Report::Done), Err);
        Some(Ended { reply, closing: update.closing })
    }

    fn open_medium(
        &mut self,
        waiting: Waiting,
        update: UpdateUnit,
        spec: StoreSpec,
        env: &mut Env<'_>,
    ) -> Option<Ended> {
        let update = UpdateUnit { spec: Some(spec.clone()), ..update };
        self.begin_change(waiting, update, |ticket| Job::Open(ticket, spec), env)
    }

    fn begin_change(
        &mut self,
        waiting: Waiting,
        update: UpdateUnit,
        job: impl FnOnce(Ticket) -> Job,
        env: &mut Env<'_>,
    ) -> Option<Ended> {
        let closing = update.closing.clone();
        let ticket = self.pending.begin(waiting.client, waiting.due, Vec::new(), Work::UpdateUnit(update));
        if env.out.job(job(ticket)).is_err() {
            self.pending.take(ticket);
            return Some(Ended { reply: Err(OperationError::TooBusy.into()), closing });
        }
        None
    }

    /// Describes another medium; refused while the present one is in.
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
        self.check_medium(update, &path)?;
        Ok(spec)
    }

    /// Describes the present medium, to open it again, if it is offline and has lost writes or its engine has panicked.
    fn lost_medium(&self, update: &UpdateUnit) -> Option<StoreSpec> {
        let entry = self.entry(update)?;
        let lost = entry.unit.store().is_some_and(|store| store.has_lost_writes()) || entry.unit.is_broken();
        (lost && !entry.unit.config().online).then(|| entry.store.clone())
    }

    /// Another medium was opened, or could not be. It is inserted when no command runs on the present one: no command
    /// has its data on two. If it could not be opened the drive becomes empty, as in tgt.
    pub(super) fn medium_opened(
        &mut self,
        waiting: Waiting,
        mut update: UpdateUnit,
        store: Result<Opened, String>,
        env: &mut Env<'_>,
    ) {
        let (store, opened) = match store {
            Ok(store) => {
                let path = update.spec.as_ref().map_or_else(String::new, |spec| spec.path.clone());
                self.stores.add(store.id, path, self.entry(&update).map(|_| update.key.tid));
                (Some(store), Ok(()))
            }
            Err(why) => {
                log::error!("{}: {why}", update.key);
                (None, Err(not_opened(&why)))
            }
        };
        update.error = opened.err().or(update.error);
        match (self.entry(&update), update.spec.take()) {
            // The present medium could not be opened again: it stays, it can still be read.
            (Some(entry), Some(spec)) if store.is_none() && spec == entry.store => {
                self.reply_when_changed(waiting, update, env);
            }
            (Some(entry), Some(spec)) => {
                let UnitKey { tid, lun, .. } = update.key;
                let loops = if entry.unit.store().is_some() {
                    self.services.loops_of(tid).to_vec()
                } else {
                    Vec::new()
                };
                // Commands that hang are aborted before the reply is due.
                let by = waiting.due - CONTROL_REPLY / 2;
                let work = Work::SwapMedium(Swap { update, spec, store });
                let message = |ticket| ToLoop::StopUnit(tid, lun, by, ticket);
                self.ask_loops(waiting, &loops, work, message, env);
            }
            _ => self.give_up(waiting, update, store.map(|store| store.id), env),
        }
    }

    /// No command runs on the present medium any more: the other one is inserted.
    pub(super) fn medium_idle(&mut self, waiting: Waiting, swap: Swap, env: &mut Env<'_>) {
        let Swap { mut update, spec, mut store } = swap;
        if let Some(opened) = &store
            && let Err(error) = self.check_loops(update.key.tid, &*opened.store)
        {
            update.error = Some(error);
            update.closing.extend(store.take().map(|store| store.id));
        }
        let Some(entry) = self.entry_mut(&update) else {
            return self.give_up(waiting, update, store.map(|store| store.id), env);
        };
        if entry.has_medium() && entry.unit.with_config(|config| config.online) {
            update.closing.extend(store.map(|store| store.id));
            update.error = Some(MediumError::PutOnline.into());
            return self.reply_when_changed(waiting, update, env);
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
        let UnitKey { tid, lun, .. } = update.key;
        for id in self.services.loops_of(tid) {
            let _ = env.out.send(*id, ToLoop::ChangeMedium(tid, lun));
        }
        update.error = changed.map_err(|error| ModelError::from(error).into()).err().or(update.error);
        self.reply_when_changed(waiting, update, env);
    }

    /// Ends an update whose unit was removed.
    fn give_up(
        &mut self,
        waiting: Waiting,
        mut update: UpdateUnit,
        opened: Option<StoreId>,
        env: &mut Env<'_>,
    ) {
        update.closing.extend(opened);
        update.error = Some(unit_gone(&update));
        update.changes.clear();
        self.reply_when_changed(waiting, update, env);
    }

    /// The store has answered a query of its size or a flush; `failed` makes the error of the request.
    pub(super) fn store_answered(
        &mut self,
        waiting: Waiting,
        mut update: UpdateUnit,
        answer: Result<(), IoError>,
        failed: fn(IoError) -> MediumError,
        env: &mut Env<'_>,
    ) {
        if let Err(error) = answer {
            let error = ControlError::from(failed(error));
            log::error!("{}: {}", update.key, error.reason);
            update.error = Some(error);
        }
        self.reply_when_changed(waiting, update, env);
    }

    fn reply_when_changed(&mut self, waiting: Waiting, update: UpdateUnit, env: &mut Env<'_>) {
        if let Some(ended) = self.change_on(waiting, update, env) {
            self.reply_when_closed(waiting, ended, env);
        }
    }

    /// The unit that is being updated, if it is still there.
    pub(super) fn entry(&self, update: &UpdateUnit) -> Option<&TargetUnit> {
        let entry = self.model.target(update.key.tid).ok()?.units.get(&update.key.lun)?;
        is_of(update, entry).then_some(entry)
    }

    fn entry_mut(&mut self, update: &UpdateUnit) -> Option<&mut TargetUnit> {
        let entry = self.model.target_mut(update.key.tid).ok()?.units.get_mut(&update.key.lun)?;
        is_of(update, entry).then_some(entry)
    }
}

/// Whether the entry is the unit that is being changed; another unit may have its number by now.
fn is_of(update: &UpdateUnit, entry: &TargetUnit) -> bool {
    std::ptr::eq(update.unit.as_ptr(), Arc::as_ptr(&entry.unit))
}

/// The store of a unit that is offline, if it has a cache to be flushed.
fn store_to_flush(unit: &Unit) -> Option<Arc<dyn Backstore>> {
    if unit.with_config(|config| config.online) {
        return None;
    }
    unit.store().filter(|store| {
        let capabilities = store.capabilities();
        capabilities.volatile_cache && !capabilities.read_only && !store.has_lost_writes()
    })
}

pub(super) fn unit_gone(update: &UpdateUnit) -> ControlError {
    no_unit(update.key.tid, update.key.lun.number().into())
}
