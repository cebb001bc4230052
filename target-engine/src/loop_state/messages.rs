//! The messages that a loop gets: from the control plane, and from the other loops of a target.

use std::time::{Duration, Instant};

use iscsi_proto::ids::{Cid, Tsih};
use scsi_core::lun::Lun;

use super::LoopState;
use super::effect::{CrossReset, Effect, ResetId};
use super::served::{Pending, Served};
use super::stream::ByteStream;
use crate::control::messages::{LoopError, NewTarget, ServiceId, Ticket, ToLoop};
use crate::model::Tid;

impl<S: ByteStream, A: Clone> LoopState<S, A> {
    /// The addresses of the other loops that serve the same target.
    pub fn set_siblings(&mut self, tid: Tid, siblings: Vec<A>) {
        if let Some(index) = self.find(tid) {
            let served = &mut self.targets[index];
            served.shard.set_siblings(siblings.len());
            served.siblings = siblings;
        }
    }

    /// Takes a message of the control plane. `Siblings` does nothing: the driver translates it to
    /// [`set_siblings`](Self::set_siblings).
    pub fn handle_control(&mut self, message: ToLoop) {
        match message {
            ToLoop::AddTarget(new) => self.add_target(*new),
            ToLoop::UpdateTarget(tid, settings) => {
                if let Some(index) = self.find(tid) {
                    self.targets[index].shard.set_settings(settings);
                    self.note(index);
                }
            }
            // With their addresses they come by `set_siblings`.
            ToLoop::Siblings(..) => {}
            ToLoop::RemoveTarget(tid, by, ticket) => self.remove_target(tid, by, ticket),
            ToLoop::AddUnit(tid, lun, unit, ticket) => {
                let result = self.find(tid).ok_or(LoopError::NoTarget).and_then(|index| {
                    let shard = &mut self.targets[index].shard;
                    if shard.unit_tasks(lun).is_some() {
                        return Err(LoopError::UnitExists);
                    }
                    shard.add_unit(lun, unit, &mut self.resources.env()).map_err(LoopError::Store)
                });
                self.answer(ticket, result);
            }
            ToLoop::RemoveUnit { tid, lun, by, ticket } => self.remove_unit(tid, lun, by, ticket),
            ToLoop::StopUnit(tid, lun, by, ticket) => self.stop_unit(tid, lun, by, ticket),
            ToLoop::ChangeMedium(tid, lun) => {
                if let Some(index) = self.find(tid) {
                    self.targets[index].shard.change_medium(lun, &mut self.resources.engines);
                }
            }
            ToLoop::CloseConnection { tid, tsih, cid, ticket } => {
                self.close_connection(tid, tsih, cid, ticket)
            }
            ToLoop::End(time) => self.end(time),
        }
    }

    fn find_service(&self, service: ServiceId) -> Option<usize> {
        self.targets.iter().find(|(_, served)| served.service == service).map(|(index, _)| index)
    }

    fn add_target(&mut self, new: NewTarget) {
        let mut served = Served::new(self.targets.vacant_key(), &new);
        for (lun, unit) in new.units {
            if let Err(error) = served.shard.add_unit(lun, unit, &mut self.resources.env()) {
                log::error!("target {}, LUN {lun}: {error}", new.tid);
            }
        }
        self.targets.insert(served);
    }

    fn remove_target(&mut self, tid: Tid, by: Instant, ticket: Ticket) {
        let Some(index) = self.find(tid) else { return self.answer(ticket, Err(LoopError::NoTarget)) };
        let served = &mut self.targets[index];
        served.leaving.push(ticket);
        served.shard.end(by, &mut self.resources.env());
        self.after(index, None);
    }

    fn remove_unit(&mut self, tid: Tid, lun: Lun, by: Option<Instant>, ticket: Ticket) {
        let Some(index) = self.find(tid) else { return self.answer(ticket, Err(LoopError::NoTarget)) };
        let served = &mut self.targets[index];
        match (served.shard.unit_tasks(lun), by) {
            (None, _) => self.answer(ticket, Err(LoopError::NoUnit)),
            (Some(tasks), None) if tasks > 0 => self.answer(ticket, Err(LoopError::Busy)),
            (Some(_), by) => {
                served.pending.push(Pending::Unit(lun, ticket));
                served.shard.remove_unit(lun, by.unwrap_or(self.resources.now), &mut self.resources.env());
                self.after(index, None);
            }
        }
    }

    fn stop_unit(&mut self, tid: Tid, lun: Lun, by: Instant, ticket: Ticket) {
        let index = self.find(tid).filter(|&index| self.targets[index].shard.unit_tasks(lun).is_some());
        let Some(index) = index else { return self.answer(ticket, Err(LoopError::NoUnit)) };
        let served = &mut self.targets[index];
        served.pending.push(Pending::Stop(lun, ticket));
        served.shard.stop_unit(lun, by, &mut self.resources.env());
        self.after(index, None);
    }

    fn close_connection(&mut self, tid: Tid, tsih: Tsih, cid: Cid, ticket: Ticket) {
        let found = self
            .find(tid)
            .and_then(|index| Some((index, self.targets[index].shard.find_connection(tsih, cid)?)));
        let Some((index, place)) = found else { return self.answer(ticket, Err(LoopError::NoConnection)) };
        self.targets[index].shard.close_connection(place, &mut self.resources.env());
        self.after(index, None);
        self.answer(ticket, Ok(()));
    }

    /// Takes a reset of another loop of the target. [`Effect::ResetDone`] follows.
    pub fn reset(&mut self, reset: CrossReset<A>) {
        let Some(index) = self.find_service(reset.service) else {
            return self.effects.push_back(Effect::ResetDone(reset.back, reset.service, reset.id));
        };
        let served = &mut self.targets[index];
        served.reset_count += 1;
        let id = served.reset_count;
        served.resets.push((id, reset.id, reset.back));
        served.shard.sibling_reset(&reset.reach, id, &mut self.resources.env());
        self.after(index, None);
    }

    /// Another loop has done a reset that this one requested, or it has ended.
    pub fn reset_done(&mut self, service: ServiceId, ResetId(id): ResetId) {
        if let Some(index) = self.find_service(service) {
            self.targets[index].shard.sibling_reset_done(id);
            self.after(index, None);
        }
    }

    fn end(&mut self, time: Duration) {
        self.end_by = Some(self.resources.now + time);
        for index in 0..self.targets.capacity() {
            if let Some(served) = self.targets.get_mut(index) {
                served.shard.ask_for_logout(time);
                self.after(index, None);
            }
        }
    }
}
