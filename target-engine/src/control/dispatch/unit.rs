//! Logical units: opened by an opener, then told to every loop, then there. What fails on the way is rolled back.

use std::sync::Arc;
use std::time::Instant;

use scsi_core::device::unit::DeviceType;
use scsi_core::lun::Lun;
use scsi_core::sense::AdditionalSense;

use super::super::error::{ControlError, TgtadmError};
use super::super::jobs::Job;
use super::super::messages::{LoopError, LoopId, ServiceId, ToLoop};
use super::super::report::Report;
use super::super::request::UnitStrings;
use super::error::{OperationError, TargetError, UnitError};
use super::store::{Ended, Opened, not_opened, store_spec};
use super::{Control, MaybeWaiting, Outside, Waiting, Work};
use crate::model::Tid;
use crate::model::store::{StoreId, StoreSpec};
use crate::model::unit::TargetUnit;

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
    removal: Removal,
}

/// How certain it is that a unit goes.
#[derive(Debug)]
enum Removal {
    /// It stays if a loop has commands for it.
    IfIdle,
    /// It is out of the configuration already.
    Taken(TargetUnit),
    /// It was, before, and the time that its commands have is cut short; its store.
    Hurried(Option<StoreId>),
}

impl RemoveUnit {
    /// Whatever a store or a loop is doing, the unit is no longer there.
    pub(super) fn is_certain(&self) -> bool {
        !matches!(self.removal, Removal::IfIdle)
    }

    /// The store of a unit that goes for certain.
    pub(super) fn store(&self) -> Option<StoreId> {
        match &self.removal {
            Removal::IfIdle => None,
            Removal::Taken(entry) => entry.open,
            Removal::Hurried(store) => *store,
        }
    }
}

/// A unit, in one service of its target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place {
    pub(super) tid: Tid,
    pub(super) lun: Lun,
    pub(super) service: Option<ServiceId>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "target {} lun {}", self.tid, self.lun)
    }
}

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
        let lun = self::lun(lun).ok_or(UnitError::Number(lun))?;
        let place = Place { tid, lun, service: self.service_of(tid) };
        if self.model.target(tid)?.has_unit(place.lun) {
            return Err(UnitError::Taken { tid, lun }.into());
        }
        if device_type != DeviceType::Disk as u32 {
            return Err(UnitError::DeviceType(device_type).into());
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
            return Err(OperationError::TooBusy.into());
        }
        Ok(())
    }

    /// The opener is done with a new unit's store.
    pub(super) fn unit_opened(
        &mut self,
        waiting: MaybeWaiting,
        new: NewUnit,
        store: Result<Opened, String>,
        out: &mut dyn Outside,
    ) {
        let ended = match store {
            Ok(store) => {
                self.open_stores.insert(store.id, new.spec.path.clone());
                if self.is_alive(&new.place) {
                    return self.add_unit(waiting, new, Some(store), out);
                }
                Ended { reply: Err(TargetError::Gone.into()), closing: vec![store.id] }
            }
            Err(why) => {
                log::error!("target {} lun {}: {}: {why}", new.place.tid, new.place.lun, new.spec.path);
                self.free(&new.place);
                Ended::from(Err(not_opened(&why)))
            }
        };
        self.reply_when_closed(waiting, ended, out);
    }

    fn add_unit(
        &mut self,
        (client, due): MaybeWaiting,
        mut new: NewUnit,
        store: Option<Opened>,
        out: &mut dyn Outside,
    ) {
        let Place { tid, lun, .. } = new.place;
        let loops = self.loops_of(tid).to_vec();
        // A target that is gone has no loops, and the unit comes to nothing.
        let name = self.model.target(tid).map(|target| target.name.clone()).unwrap_or_default();
        let config = self.model.naming.config(DeviceType::Disk, tid, &name, lun);
        let open = store.as_ref().map(|store| store.id);
        let disk = TargetUnit::disk(config, new.spec.clone(), store.map(|store| store.store));
        let entry = TargetUnit { open, ..disk };
        let unit = Arc::clone(&entry.unit);
        new.entry = Some(entry);
        let letter = |ticket| ToLoop::AddUnit(tid, lun, Arc::clone(&unit), ticket);
        self.tell(client, due, &loops, Work::NewUnit(new), letter, out);
    }

    /// Every loop has answered: it is there on all of them, or on none.
    pub(super) fn unit_added(&mut self, new: NewUnit, answers: &Answers, out: &mut dyn Outside) -> Ended {
        let Place { tid, lun, .. } = new.place;
        let failure = answers.iter().find_map(|(_, answer)| answer.err());
        let alive = self.is_alive(&new.place);
        self.free(&new.place);
        let target = self.model.target_mut(tid);
        match (failure, new.entry, target) {
            (None, Some(entry), Ok(target)) if alive => {
                target.units.insert(lun, entry);
                self.units_changed(tid);
                log::info!("target {tid} lun {lun}: {} {} made", new.spec.kind, new.spec.path);
                Ok(Report::Done).into()
            }
            (failure, entry, _) => {
                // A target that is gone took the unit along.
                let served = answers.iter().filter(|(_, answer)| alive && answer.is_ok());
                let served: Vec<_> = served.map(|(id, _)| *id).collect();
                let now = Instant::now();
                let letter = |ticket| ToLoop::RemoveUnit { tid, lun, by: Some(now), ticket };
                self.tell(None, now, &served, Work::RestoreUnit, letter, out);
                let reply = Err(failure.map_or_else(|| TargetError::Gone.into(), ControlError::from));
                Ended { reply, closing: entry.into_iter().filter_map(|entry| entry.open).collect() }
            }
        }
    }

    /// Removes a unit. Without `by` it stays if commands run on it; with it they may finish until then, and it goes
    /// whatever happens.
    pub(super) fn unit_delete(
        &mut self,
        (client, due): Waiting,
        tid: Tid,
        lun: u64,
        by: Option<Instant>,
        out: &mut dyn Outside,
    ) -> Result<(), ControlError> {
        // Stock misses the unit before it misses the target.
        self.model.target(tid).map_err(|error| ControlError { kind: TgtadmError::NoLun, ..error.into() })?;
        let number = self::lun(lun).ok_or_else(|| no_unit(tid, lun))?;
        if number == Lun::ZERO {
            return Err(UnitError::Controller.into());
        }
        let place = Place { tid, lun: number, service: self.service_of(tid) };
        let hurried = if by.is_some() { self.taken(&place) } else { None };
        let target = self.model.target_mut(tid)?;
        if !target.units.contains_key(&number) && hurried.is_none() {
            return Err(no_unit(tid, lun));
        }
        if !target.busy_units.insert(number) && hurried.is_none() {
            return Err(UnitError::Busy(lun).into());
        }
        let taken = if by.is_some() { target.units.remove(&number) } else { None };
        let removal = match (taken, hurried) {
            (Some(entry), _) => Removal::Taken(entry),
            (None, Some(store)) => Removal::Hurried(store),
            (None, None) => Removal::IfIdle,
        };
        let loops = self.loops_of(tid).to_vec();
        let letter = |ticket| ToLoop::RemoveUnit { tid, lun: number, by, ticket };
        self.tell(Some(client), due, &loops, Work::RemoveUnit(RemoveUnit { place, removal }), letter, out);
        Ok(())
    }

    /// If the unit is on its way out of the loops already: its store.
    fn taken(&self, place: &Place) -> Option<Option<StoreId>> {
        self.pending.works().find_map(|work| match work {
            Work::RemoveUnit(RemoveUnit { place: taken, removal: Removal::Taken(entry) }) => {
                (taken == place).then_some(entry.open)
            }
            _ => None,
        })
    }

    /// Every loop has answered: it is gone from all of them, or stays on all of them.
    pub(super) fn unit_removed(
        &mut self,
        remove: RemoveUnit,
        answers: &Answers,
        out: &mut dyn Outside,
    ) -> Ended {
        let Place { tid, lun, .. } = remove.place;
        match remove.removal {
            Removal::Hurried(store) => {
                return Ended { reply: Ok(Report::Done), closing: store.into_iter().collect() };
            }
            Removal::Taken(entry) => {
                self.free(&remove.place);
                return self.forget(&remove.place, entry);
            }
            Removal::IfIdle if !self.is_alive(&remove.place) => return Err(TargetError::Gone.into()).into(),
            Removal::IfIdle => self.free(&remove.place),
        }
        let gone = || Err(no_unit(tid, lun.number().into())).into();
        let Ok(target) = self.model.target_mut(tid) else { return gone() };
        if answers.iter().all(|(_, answer)| answer.is_ok()) {
            let Some(entry) = target.units.remove(&lun) else { return gone() };
            return self.forget(&remove.place, entry);
        }
        let Some(entry) = target.units.get(&lun) else { return gone() };
        let unit = Arc::clone(&entry.unit);
        let forgot: Vec<_> = answers.iter().filter(|(_, answer)| answer.is_ok()).map(|(id, _)| *id).collect();
        let letter = |ticket| ToLoop::AddUnit(tid, lun, Arc::clone(&unit), ticket);
        self.tell(None, Instant::now(), &forgot, Work::RestoreUnit, letter, out);
        let refused = answers.iter().find_map(|(_, answer)| answer.err());
        Err(refused.unwrap_or(LoopError::Busy).into()).into()
    }

    fn forget(&mut self, place: &Place, entry: TargetUnit) -> Ended {
        if self.is_alive(place) {
            self.units_changed(place.tid);
        }
        log::info!("{place}: removed");
        Ended { reply: Ok(Report::Done), closing: entry.open.into_iter().collect() }
    }

    /// Initiators are told that they should ask for the list of units again (SPC-4 6.33). Where there is none, nobody is
    /// told: making many units would take the longer the more there are.
    fn units_changed(&self, tid: Tid) {
        if self.sessions.of_target(tid).next().is_none() {
            return;
        }
        for entry in self.model.target(tid).into_iter().flat_map(|target| target.units.values()) {
            entry.unit.raise(AdditionalSense::REPORTED_LUNS_DATA_HAS_CHANGED);
        }
    }

    /// Whether the target is still the one that the operation was begun on.
    fn is_alive(&self, place: &Place) -> bool {
        place.service.is_some() && self.service_of(place.tid) == place.service
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
    UnitError::Unknown { tid, lun }.into()
}

/// A unit's number as initiators can address it.
pub(super) fn lun(number: u64) -> Option<Lun> {
    Lun::new(number)
}
