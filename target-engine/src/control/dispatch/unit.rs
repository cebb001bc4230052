//! Logical units: opened by an opener, then told to every loop, then there. What fails on the way is rolled back.

use std::collections::VecDeque;
use std::sync::Arc;

use scsi_core::device::unit::{DeviceType, Unit};
use scsi_core::lun::Lun;
use scsi_core::sense::AdditionalSense;
use scsi_core::store::{Backstore, IoError};

use super::super::error::{ControlError, TgtadmError};
use super::super::report::{Reply, Report};
use super::super::request::{UnitChange, UnitStrings};
use super::store::{close, not_opened, store_spec};
use super::{Control, MaybeWaiting, Outside, Waiting, Work, loop_refused, target_gone, too_busy};
use crate::model::Tid;
use crate::model::store::StoreSpec;
use crate::model::unit::{self, TargetUnit};
use crate::runtime::letters::{Life, LoopError, LoopId, Ticket, ToLoop};
use crate::runtime::openers::Job;

/// A unit on its way into a target.
#[derive(Debug)]
pub struct NewUnit {
    place: Place,
    spec: StoreSpec,
    /// Once its store is open.
    entry: Option<TargetUnit>,
}

/// A unit on its way out.
#[derive(Debug)]
pub struct RemoveUnit {
    place: Place,
}

/// A unit that is being changed, one change after the other.
#[derive(Debug)]
pub struct UpdateUnit {
    place: Place,
    unit: UnitHandle,
    changes: VecDeque<Result<UnitChange, ControlError>>,
    error: Option<ControlError>,
    /// The medium that is being opened.
    spec: Option<StoreSpec>,
}

/// Which unit, in which life of its target.
#[derive(Clone, Copy, Debug)]
struct Place {
    tid: Tid,
    lun: Lun,
    life: Option<Life>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "target {} lun {}", self.tid, self.lun)
    }
}

struct UnitHandle(Arc<Unit>);

impl std::fmt::Debug for UnitHandle {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Unit")
    }
}

type Opened = Result<Arc<dyn Backstore>, String>;
type Answers = [(LoopId, Result<(), LoopError>)];

impl Control {
    pub(super) fn unit_new(
        &mut self,
        (client, due): Waiting,
        tid: Tid,
        lun: u64,
        device_type: u32,
        strings: UnitStrings,
        out: &mut dyn Outside,
    ) -> Result<(), ControlError> {
        self.model.target(tid)?;
        let lun = self::lun(lun).ok_or_else(|| {
            TgtadmError::InvalidRequest
                .because(format!("--lun {lun} is not possible; accepted: 0 to {}", Lun::MAX))
        })?;
        let place = Place { tid, lun, life: self.life_of(tid) };
        if self.model.target(tid)?.has_unit(place.lun) {
            let reason = format!("--lun {lun}: target {tid} has a logical unit of this number");
            return Err(TgtadmError::LunExists.because(reason));
        }
        if device_type != DeviceType::Disk as u32 {
            let reason = format!("--device-type {device_type:#04x} is not served; accepted: disk (0x00)");
            return Err(TgtadmError::InvalidRequest.because(reason));
        }
        let spec = store_spec(strings, out)?;
        self.model.target_mut(tid)?.busy_units.insert(place.lun);
        let new = NewUnit { place, spec, entry: None };
        if new.spec.path.is_empty() {
            self.add_unit((Some(client), due), new, None, out);
            return Ok(());
        }
        let (place, spec) = (new.place, new.spec.clone());
        let ticket = self.pending.begin(Some(client), due, Vec::new(), Work::NewUnit(new));
        if out.job(Job::Open(ticket, spec)).is_err() {
            self.pending.take(ticket);
            self.free(&place);
            return Err(too_busy());
        }
        Ok(())
    }

    /// The opener is done with a new unit's store.
    pub(super) fn unit_opened(
        &mut self,
        waiting: MaybeWaiting,
        new: NewUnit,
        store: Opened,
        out: &mut dyn Outside,
    ) {
        let reply = |out: &mut dyn Outside, error| {
            if let Some(client) = waiting.0 {
                out.reply(client, Err(error));
            }
        };
        match store {
            Ok(store) if self.is_alive(&new.place) => self.add_unit(waiting, new, Some(store), out),
            Ok(store) => {
                close(Some(store), out);
                reply(out, target_gone());
            }
            Err(why) => {
                log::error!("target {} lun {}: {}: {why}", new.place.tid, new.place.lun, new.spec.path);
                self.free(&new.place);
                reply(out, not_opened(&why));
            }
        }
    }

    fn add_unit(
        &mut self,
        (client, due): MaybeWaiting,
        mut new: NewUnit,
        store: Option<Arc<dyn Backstore>>,
        out: &mut dyn Outside,
    ) {
        let Place { tid, lun, .. } = new.place;
        let loops = self.loops_of(tid).to_vec();
        // A target that is gone has no loops, and the unit comes to nothing.
        let name = self.model.target(tid).map(|target| target.name.clone()).unwrap_or_default();
        let config = self.model.identity.config(DeviceType::Disk, tid, &name, lun);
        let entry = TargetUnit::disk(config, new.spec.clone(), store);
        let unit = Arc::clone(&entry.unit);
        new.entry = Some(entry);
        let letter = |ticket| ToLoop::AddUnit(tid, lun, Arc::clone(&unit), ticket);
        self.tell(client, due, &loops, Work::NewUnit(new), letter, out);
    }

    /// Every loop has answered: it is there on all of them, or on none.
    pub(super) fn unit_added(&mut self, new: NewUnit, answers: &Answers, out: &mut dyn Outside) -> Reply {
        let Place { tid, lun, .. } = new.place;
        let failure = answers.iter().find_map(|(_, answer)| answer.err());
        let alive = self.is_alive(&new.place);
        self.free(&new.place);
        match (failure, new.entry) {
            (None, Some(entry)) if alive => {
                self.model.target_mut(tid)?.units.insert(lun, entry);
                self.units_changed(tid);
                log::info!("target {tid} lun {lun}: {} {} made", new.spec.kind, new.spec.path);
                Ok(Report::Done)
            }
            (failure, entry) => {
                // A target that is gone took the unit along.
                let served = answers.iter().filter(|(_, answer)| alive && answer.is_ok());
                let served: Vec<_> = served.map(|(id, _)| *id).collect();
                let letter = |ticket| ToLoop::RemoveUnit { tid, lun, force: true, ticket };
                self.tell(None, std::time::Instant::now(), &served, Work::RestoreUnit, letter, out);
                close(entry.and_then(|entry| entry.unit.store()), out);
                Err(failure.map_or_else(target_gone, loop_refused))
            }
        }
    }

    pub(super) fn unit_delete(
        &mut self,
        (client, due): Waiting,
        tid: Tid,
        lun: u64,
        out: &mut dyn Outside,
    ) -> Result<(), ControlError> {
        // Stock misses the unit before it misses the target.
        let target =
            self.model.target_mut(tid).map_err(|error| ControlError { kind: TgtadmError::NoLun, ..error })?;
        let known = self::lun(lun).filter(|lun| target.units.contains_key(lun));
        let lun = known.ok_or_else(|| no_unit(tid, lun))?;
        if lun == Lun::ZERO {
            let reason = "--lun 0: the controller goes with its target; accepted: the number of another unit";
            return Err(TgtadmError::InvalidRequest.because(reason));
        }
        if !target.busy_units.insert(lun) {
            let reason = format!("--lun {lun}: it is being made or removed");
            return Err(TgtadmError::LunActive.because(reason));
        }
        let place = Place { tid, lun, life: self.life_of(tid) };
        let loops = self.loops_of(tid).to_vec();
        let letter = |ticket| ToLoop::RemoveUnit { tid, lun, force: false, ticket };
        self.tell(Some(client), due, &loops, Work::RemoveUnit(RemoveUnit { place }), letter, out);
        Ok(())
    }

    /// Every loop has answered: it is gone from all of them, or stays on all of them.
    pub(super) fn unit_removed(
        &mut self,
        remove: RemoveUnit,
        answers: &Answers,
        out: &mut dyn Outside,
    ) -> Reply {
        let Place { tid, lun, .. } = remove.place;
        if !self.is_alive(&remove.place) {
            return Err(target_gone());
        }
        self.free(&remove.place);
        if answers.iter().all(|(_, answer)| answer.is_ok()) {
            let entry = self.model.target_mut(tid)?.units.remove(&lun);
            close(entry.and_then(|entry| entry.unit.store()), out);
            self.units_changed(tid);
            log::info!("target {tid} lun {lun}: removed");
            return Ok(Report::Done);
        }
        let entry =
            self.model.target(tid)?.units.get(&lun).ok_or_else(|| no_unit(tid, lun.number().into()))?;
        let unit = Arc::clone(&entry.unit);
        let forgot: Vec<_> = answers.iter().filter(|(_, answer)| answer.is_ok()).map(|(id, _)| *id).collect();
        let letter = |ticket| ToLoop::AddUnit(tid, lun, Arc::clone(&unit), ticket);
        self.tell(None, std::time::Instant::now(), &forgot, Work::RestoreUnit, letter, out);
        let refused = answers.iter().find_map(|(_, answer)| answer.err());
        Err(loop_refused(refused.unwrap_or(LoopError::Busy)))
    }

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
            Err(error) => return Some(Err(error)),
        };
        let found = self::lun(lun).and_then(|lun| Some((lun, target.units.get(&lun)?)));
        let Some((lun, entry)) = found else { return Some(Err(no_unit(tid, lun))) };
        let update = UpdateUnit {
            unit: UnitHandle(Arc::clone(&entry.unit)),
            place: Place { tid, lun, life: self.life_of(tid) },
            changes: changes.into(),
            error: None,
            spec: None,
        };
        self.change_on((Some(client), due), update, out)
    }

    /// Makes the changes up to the next that takes time. `None`: it is under way.
    fn change_on(
        &mut self,
        waiting: MaybeWaiting,
        mut update: UpdateUnit,
        out: &mut dyn Outside,
    ) -> Option<Reply> {
        while let Some(change) = update.changes.pop_front() {
            let made =
                match change {
                    Ok(UnitChange::Path(path)) => match self.new_medium(&update, path) {
                        Ok(spec) => return self.open_medium(waiting, update, spec, out),
                        Err(error) => Err(error),
                    },
                    // Putting it online again accepts the loss; what is left is opened anew.
                    Ok(UnitChange::Online(true)) if self.lost_medium(&update).is_some() => {
                        let Some(spec) = self.lost_medium(&update) else { continue };
                        return self.open_medium(waiting, update, spec, out);
                    }
                    Ok(UnitChange::DiskSize) if update.unit.0.store().is_some() => {
                        let unit = Arc::clone(&update.unit.0);
                        return self.begin_change(waiting, update, |ticket| Job::Refresh(ticket, unit), out);
                    }
                    Ok(UnitChange::DiskSize) => Err(TgtadmError::UnsupportedOperation
                        .because("--params disksize: the unit has no medium")),
                    Ok(change) => self
                        .own_name(&update, &change)
                        .and_then(|()| unit::change(&update.unit.0, change, self.model.identity)),
                    Err(error) => Err(error),
                };
            update.error = made.err().or(update.error);
        }
        Some(update.error.map_or_else(|| Ok(Report::Done), Err))
    }

    fn open_medium(
        &mut self,
        waiting: MaybeWaiting,
        update: UpdateUnit,
        spec: StoreSpec,
        out: &mut dyn Outside,
    ) -> Option<Reply> {
        let update = UpdateUnit { spec: Some(spec.clone()), ..update };
        self.begin_change(waiting, update, |ticket| Job::Open(ticket, spec), out)
    }

    fn begin_change(
        &mut self,
        (client, due): MaybeWaiting,
        update: UpdateUnit,
        job: impl FnOnce(Ticket) -> Job,
        out: &mut dyn Outside,
    ) -> Option<Reply> {
        let ticket = self.pending.begin(client, due, Vec::new(), Work::UpdateUnit(update));
        if out.job(job(ticket)).is_err() {
            self.pending.take(ticket);
            return Some(Err(too_busy()));
        }
        None
    }

    /// What another medium is opened by; only while the present one is out.
    fn new_medium(&self, update: &UpdateUnit, path: String) -> Result<StoreSpec, ControlError> {
        let entry = self.entry(update).ok_or_else(|| unit_gone(update))?;
        let config = entry.unit.config();
        let why_not = if config.device_type != DeviceType::Disk {
            Some("a controller has no medium")
        } else if config.online && entry.has_medium() {
            Some("the present medium is in; take it out by --params online=0 first")
        } else if path.is_empty() {
            Some("it is empty; accepted: the path of a file or block device")
        } else {
            None
        };
        if let Some(why_not) = why_not {
            return Err(TgtadmError::InvalidRequest.because(format!("--params path={path:?}: {why_not}")));
        }
        let spec = StoreSpec { path: path.clone(), ..entry.store.clone() };
        self.own_name(update, &UnitChange::Path(path))?;
        Ok(spec)
    }

    /// What a medium that has lost writes is opened by once more, when it comes back from being offline.
    fn lost_medium(&self, update: &UpdateUnit) -> Option<StoreSpec> {
        let entry = self.entry(update)?;
        let lost = entry.unit.store().is_some_and(|store| store.has_lost_writes());
        (lost && !entry.unit.config().online).then(|| entry.store.clone())
    }

    /// The opener is done with another medium. One that cannot be opened leaves the drive empty, as in stock.
    pub(super) fn medium_opened(
        &mut self,
        waiting: MaybeWaiting,
        mut update: UpdateUnit,
        store: Opened,
        out: &mut dyn Outside,
    ) {
        let spec = update.spec.take();
        let (store, opened) = match store {
            Ok(store) => (Some(store), Ok(())),
            Err(why) => {
                log::error!("target {} lun {}: {why}", update.place.tid, update.place.lun);
                (None, Err(not_opened(&why)))
            }
        };
        match (self.entry_mut(&update), spec) {
            // The same once more, and it cannot be had: the one there is can still be read.
            (Some(entry), Some(spec)) if store.is_none() && spec == entry.store => {
                update.error = opened.err().or(update.error);
            }
            (Some(entry), Some(spec)) => {
                let online = store.is_some();
                entry.store.path = if online { spec.path } else { String::new() };
                let unit = Arc::clone(&entry.unit);
                let old = unit.store();
                let read_only = store.as_ref().is_some_and(|store| store.capabilities().read_only);
                unit.set_store(store);
                let changed = unit.update(|config| {
                    config.online = online;
                    config.read_only |= read_only;
                });
                close(old, out);
                let changed = changed.map_err(unit::refused);
                update.error = opened.and(changed).err().or(update.error);
            }
            _ => {
                close(store, out);
                update.error = Some(unit_gone(&update));
                update.changes.clear();
            }
        }
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
            log::error!("target {} lun {}: size: {error}", update.place.tid, update.place.lun);
            TgtadmError::InvalidRequest
                .because(format!("--params disksize: the store does not tell it: {error}"))
        });
        update.error = answer.err().or(update.error);
        self.reply_when_changed(waiting, update, out);
    }

    fn reply_when_changed(&mut self, waiting: MaybeWaiting, update: UpdateUnit, out: &mut dyn Outside) {
        if let Some(reply) = self.change_on(waiting, update, out)
            && let Some(client) = waiting.0
        {
            out.reply(client, reply);
        }
    }

    /// The unit that is being updated, if it is still the same.
    pub(super) fn entry(&self, update: &UpdateUnit) -> Option<&TargetUnit> {
        let entry = self.model.target(update.place.tid).ok()?.units.get(&update.place.lun)?;
        Arc::ptr_eq(&entry.unit, &update.unit.0).then_some(entry)
    }

    fn entry_mut(&mut self, update: &UpdateUnit) -> Option<&mut TargetUnit> {
        let entry = self.model.target_mut(update.place.tid).ok()?.units.get_mut(&update.place.lun)?;
        Arc::ptr_eq(&entry.unit, &update.unit.0).then_some(entry)
    }

    /// Initiators are told that they should ask for the list of units again (SPC-4 6.33).
    fn units_changed(&self, tid: Tid) {
        for entry in self.model.target(tid).into_iter().flat_map(|target| target.units.values()) {
            entry.unit.raise(AdditionalSense::REPORTED_LUNS_DATA_HAS_CHANGED);
        }
    }

    /// Whether the target is still the one that the operation was begun on.
    fn is_alive(&self, place: &Place) -> bool {
        place.life.is_some() && self.life_of(place.tid) == place.life
    }

    fn free(&mut self, place: &Place) {
        if self.is_alive(place)
            && let Ok(target) = self.model.target_mut(place.tid)
        {
            target.busy_units.remove(&place.lun);
        }
    }
}

pub(super) fn no_unit(tid: Tid, lun: u64) -> ControlError {
    TgtadmError::NoLun.because(match lun {
        u64::MAX => "--lun is missing: the logical unit's number".to_owned(),
        _ => format!("--lun {lun}: target {tid} has no logical unit of this number"),
    })
}

pub(super) fn unit_gone(update: &UpdateUnit) -> ControlError {
    no_unit(update.place.tid, update.place.lun.number().into())
}

/// A unit's number as initiators can address it.
pub(super) fn lun(number: u64) -> Option<Lun> {
    Lun::new(number)
}
