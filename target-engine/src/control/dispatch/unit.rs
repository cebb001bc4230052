//! Logical units: opened by a job, then served by every loop of the target, then entered into the configuration. A
//! failure on the way is undone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use scsi_core::device::unit::DeviceType;
use scsi_core::lun::Lun;
use scsi_core::sense::AdditionalSense;

use super::error::{OperationError, TargetError, UnitError};
use super::state::{Control, Env};
use super::store::{not_opened, store_spec};
use super::work::{Ended, NewUnit, Opened, Removal, RemoveUnit, UnitKey, Waiting, Work};
use crate::control::error::{ControlError, TgtadmError};
use crate::control::jobs::Job;
use crate::control::messages::{LoopError, ToLoop};
use crate::control::pending::LoopAnswer;
use crate::control::report::Report;
use crate::control::request::UnitStrings;
use crate::model::Tid;
use crate::model::store::StoreId;
use crate::model::unit::TargetUnit;

impl Control {
    pub(super) fn unit_new(
        &mut self,
        waiting: Waiting,
        tid: Tid,
        number: u64,
        device_type: u32,
        strings: UnitStrings,
        env: &mut Env<'_>,
    ) -> Result<(), ControlError> {
        self.model.target(tid)?;
        let lun = lun(number).ok_or(UnitError::Number(number))?;
        if self.model.target(tid)?.has_unit(lun) {
            return Err(UnitError::Taken { tid, lun }.into());
        }
        if device_type != DeviceType::Disk as u32 {
            return Err(UnitError::DeviceType(device_type).into());
        }
        let spec = store_spec(strings, &env.out.store_kinds())?;
        self.model.target_mut(tid)?.busy_units.insert(lun);
        let key = self.unit_key(tid, lun);
        let new = NewUnit { key, spec: spec.clone(), entry: None };
        if spec.path.is_empty() {
            self.add_unit(waiting, new, None, env);
            return Ok(());
        }
        let ticket = self.pending.begin(waiting.client, waiting.due, Vec::new(), Work::NewUnit(new));
        if env.out.job(Job::Open(ticket, spec)).is_err() {
            self.pending.take(ticket);
            self.free(&key);
            return Err(OperationError::TooBusy.into());
        }
        Ok(())
    }

    /// The store of a new unit was opened, or could not be.
    pub(super) fn unit_opened(
        &mut self,
        waiting: Waiting,
        new: NewUnit,
        store: Result<Opened, String>,
        env: &mut Env<'_>,
    ) {
        let ended = match store {
            Ok(store) => {
                let current = self.is_current(&new.key);
                self.stores.add(store.id, new.spec.path.clone(), current.then_some(new.key.tid));
                let checked = if current {
                    self.check_loops(new.key.tid, &*store.store)
                } else {
                    Err(TargetError::Gone.into())
                };
                match checked {
                    Ok(()) => return self.add_unit(waiting, new, Some(store), env),
                    Err(error) => {
                        self.free(&new.key);
                        Ended { reply: Err(error), closing: vec![store.id] }
                    }
                }
            }
            Err(why) => {
                log::error!("{}: {}: {why}", new.key, new.spec.path);
                self.free(&new.key);
                Ended::from(Err(not_opened(&why)))
            }
        };
        self.reply_when_closed(waiting, ended, env);
    }

    /// Asks the loops to serve a new unit. A target that was removed has none, and [`Self::unit_added`] refuses it.
    fn add_unit(&mut self, waiting: Waiting, mut new: NewUnit, store: Option<Opened>, env: &mut Env<'_>) {
        let UnitKey { tid, lun, .. } = new.key;
        let loops = self.services.loops_of(tid).to_vec();
        let name = self.model.target(tid).map(|target| target.name.clone()).unwrap_or_default();
        let config = self.model.naming.config(DeviceType::Disk, tid, &name, lun);
        let open = store.as_ref().map(|store| store.id);
        let disk = TargetUnit::disk(config, new.spec.clone(), store.map(|store| store.store));
        let entry = TargetUnit { open, ..disk };
        let unit = Arc::clone(&entry.unit);
        new.entry = Some(entry);
        let message = |ticket| ToLoop::AddUnit(tid, lun, Arc::clone(&unit), ticket);
        self.ask_loops(waiting, &loops, Work::NewUnit(new), message, env);
    }

    /// All loops have answered. If one refused, those that serve the unit are asked to drop it again.
    pub(super) fn unit_added(&mut self, new: NewUnit, answers: &[LoopAnswer], env: &mut Env<'_>) -> Ended {
        let UnitKey { tid, lun, .. } = new.key;
        let failure = answers.iter().find_map(|answer| answer.result.err());
        let current = self.is_current(&new.key);
        self.free(&new.key);
        let target = self.model.target_mut(tid);
        match (failure, new.entry, target) {
            (None, Some(entry), Ok(target)) if current => {
                target.units.insert(lun, entry);
                self.units_changed(tid);
                log::info!("target {tid} lun {lun}: {} {} made", new.spec.kind, new.spec.path);
                Ok(Report::Done).into()
            }
            (failure, entry, _) => {
                // The loops of a service that has ended have dropped the unit with the target.
                let served = answers.iter().filter(|answer| current && answer.result.is_ok());
                let served: Vec<_> = served.map(|answer| answer.from).collect();
                let by = Some(env.now);
                let message = |ticket| ToLoop::RemoveUnit { tid, lun, by, ticket };
                self.ask_loops(Waiting::none(env.now), &served, Work::RestoreUnit, message, env);
                let reply = Err(failure.map_or_else(|| TargetError::Gone.into(), ControlError::from));
                Ended { reply, closing: entry.into_iter().filter_map(|entry| entry.open).collect() }
            }
        }
    }

    /// Removes a unit. Without `within` only if no commands run on it; with it commands may finish for this long, and
    /// the unit is removed at once.
    pub(super) fn unit_delete(
        &mut self,
        mut waiting: Waiting,
        tid: Tid,
        number: u64,
        within: Option<Duration>,
        env: &mut Env<'_>,
    ) -> Result<(), ControlError> {
        waiting.due += within.unwrap_or_default();
        let by = within.map(|time| env.now + time);
        // As tgt, which looks for the unit before it looks for the target.
        self.model.target(tid).map_err(|error| ControlError { kind: TgtadmError::NoLun, ..error.into() })?;
        let lun = lun(number).ok_or_else(|| no_unit(tid, number))?;
        if lun == Lun::ZERO {
            return Err(UnitError::Controller.into());
        }
        let key = self.unit_key(tid, lun);
        let removal = self.begin_removal(&key, number, by)?;
        let loops = self.services.loops_of(tid).to_vec();
        let message = |ticket| ToLoop::RemoveUnit { tid, lun, by, ticket };
        self.ask_loops(waiting, &loops, Work::RemoveUnit(RemoveUnit { key, removal }), message, env);
        Ok(())
    }

    /// Marks a unit as busy, and with `by` removes it from the configuration.
    fn begin_removal(
        &mut self,
        key: &UnitKey,
        number: u64,
        by: Option<Instant>,
    ) -> Result<Removal, ControlError> {
        let UnitKey { tid, lun, .. } = *key;
        let taken = if by.is_some() { self.taken(key) } else { None };
        let target = self.model.target_mut(tid)?;
        if !target.units.contains_key(&lun) && taken.is_none() {
            return Err(no_unit(tid, number));
        }
        if !target.busy_units.insert(lun) && taken.is_none() {
            return Err(UnitError::Busy(number).into());
        }
        let entry = if by.is_some() { target.units.remove(&lun) } else { None };
        Ok(match (entry, taken) {
            (Some(entry), _) => Removal::Taken(entry),
            (None, Some(store)) => Removal::Hastened(store),
            (None, None) => Removal::IfIdle,
        })
    }

    /// Whether a unit was removed from the configuration and its loops have not answered: its store.
    fn taken(&self, key: &UnitKey) -> Option<Option<StoreId>> {
        self.pending.works().find_map(|work| match work {
            Work::RemoveUnit(RemoveUnit { key: taken, removal: Removal::Taken(entry) }) => {
                (taken == key).then_some(entry.open)
            }
            _ => None,
        })
    }

    /// All loops have answered. If one refused, those that dropped the unit are asked to serve it again.
    pub(super) fn unit_removed(
        &mut self,
        remove: RemoveUnit,
        answers: &[LoopAnswer],
        env: &mut Env<'_>,
    ) -> Ended {
        let UnitKey { tid, lun, .. } = remove.key;
        match remove.removal {
            Removal::Hastened(store) => {
                return Ended { reply: Ok(Report::Done), closing: store.into_iter().collect() };
            }
            Removal::Taken(entry) => {
                self.free(&remove.key);
                return self.forget(&remove.key, entry);
            }
            Removal::IfIdle if !self.is_current(&remove.key) => return Err(TargetError::Gone.into()).into(),
            Removal::IfIdle => self.free(&remove.key),
        }
        let gone = || Err(no_unit(tid, lun.number().into())).into();
        let Ok(target) = self.model.target_mut(tid) else { return gone() };
        if answers.iter().all(|answer| answer.result.is_ok()) {
            let Some(entry) = target.units.remove(&lun) else { return gone() };
            return self.forget(&remove.key, entry);
        }
        let Some(entry) = target.units.get(&lun) else { return gone() };
        let unit = Arc::clone(&entry.unit);
        let dropped = answers.iter().filter(|answer| answer.result.is_ok());
        let dropped: Vec<_> = dropped.map(|answer| answer.from).collect();
        let message = |ticket| ToLoop::AddUnit(tid, lun, Arc::clone(&unit), ticket);
        self.ask_loops(Waiting::none(env.now), &dropped, Work::RestoreUnit, message, env);
        let refused = answers.iter().find_map(|answer| answer.result.err());
        Err(refused.unwrap_or(LoopError::Busy).into()).into()
    }

    fn forget(&mut self, key: &UnitKey, entry: TargetUnit) -> Ended {
        if self.is_current(key) {
            self.units_changed(key.tid);
        }
        log::info!("{key}: removed");
        Ended { reply: Ok(Report::Done), closing: entry.open.into_iter().collect() }
    }

    /// Raises REPORTED LUNS DATA HAS CHANGED (SPC-4 6.33). Without sessions no attention is raised: the time to make
    /// many units would grow with the square of their number.
    fn units_changed(&self, tid: Tid) {
        if self.sessions.of_target(tid).next().is_none() {
            return;
        }
        for entry in self.model.target(tid).into_iter().flat_map(|target| target.units.values()) {
            entry.unit.raise(AdditionalSense::REPORTED_LUNS_DATA_HAS_CHANGED);
        }
    }

    pub(super) fn unit_key(&self, tid: Tid, lun: Lun) -> UnitKey {
        UnitKey { tid, lun, service: self.services.current(tid) }
    }

    /// Whether the target is still in the service in which the operation began.
    fn is_current(&self, key: &UnitKey) -> bool {
        key.service.is_some() && self.services.current(key.tid) == key.service
    }

    /// Marks the number of a unit as no longer busy.
    fn free(&mut self, key: &UnitKey) {
        if self.is_current(key)
            && let Ok(target) = self.model.target_mut(key.tid)
        {
            target.busy_units.remove(&key.lun);
        }
    }
}

pub(super) fn no_unit(tid: Tid, lun: u64) -> ControlError {
    UnitError::Unknown { tid, lun }.into()
}

/// The LUN of a number, if initiators can address it.
pub(super) fn lun(number: u64) -> Option<Lun> {
    Lun::new(number)
}
