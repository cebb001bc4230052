//! How units stop or are removed, and how a target ends: running commands may finish until a deadline, then they are
//! aborted.

use std::time::Instant;

use scsi_core::lun::Lun;
use scsi_core::store::Engines;

use super::TargetShard;
use super::abort::Whose;
use super::driver::{Env, ShardEvent};
use super::task::Aborted;
use super::units::UnitLife;

impl TargetShard {
    /// Removes a unit: it takes no new commands; those that still run at `deadline` are aborted with a response.
    /// `UnitGone` follows when the last has ended.
    pub fn remove_unit(&mut self, lun: Lun, deadline: Instant, env: &mut Env<'_>) {
        self.close_unit(lun, UnitLife::Leaving, deadline, env);
    }

    /// Waits for the end of a unit's commands; those that still run at `deadline` are aborted with a response.
    /// `UnitIdle` follows. Set the unit offline before, or new commands keep it busy.
    pub fn stop_unit(&mut self, lun: Lun, deadline: Instant, env: &mut Env<'_>) {
        self.close_unit(lun, UnitLife::Stopping, deadline, env);
    }

    /// Attaches the unit's present medium and detaches the previous one, without waiting for a command.
    pub fn change_medium(&mut self, lun: Lun, engines: &mut Engines) {
        if let Some(unit) = self.units.get_mut(lun) {
            unit.change_medium(engines);
        }
    }

    fn close_unit(&mut self, lun: Lun, life: UnitLife, deadline: Instant, env: &mut Env<'_>) {
        if self.units.get(lun).is_none() {
            return;
        }
        self.units.set_life(lun, life);
        self.deadlines.set_unit(lun, deadline);
        self.abort_late(env);
        self.reap_unit(lun, env);
    }

    /// Ends the target: removes its units, and closes its sessions when no command runs any more, at the latest at
    /// `deadline`.
    pub fn end(&mut self, deadline: Instant, env: &mut Env<'_>) {
        for lun in self.units.luns() {
            self.close_unit(lun, UnitLife::Leaving, deadline, env);
        }
        self.deadlines.set_target(deadline);
        self.close_if_done(env);
    }

    /// Closes the sessions of a target that ends, as soon as no command runs; final responses are sent first. Call it
    /// after every other call once `end` was called.
    pub fn close_if_done(&mut self, env: &mut Env<'_>) {
        let Some(deadline) = self.deadlines.target() else { return };
        if deadline <= env.now {
            self.deadlines.remove_target();
            return self.close_all(env);
        }
        if !self.tasks.is_empty() {
            return;
        }
        for index in self.sessions.connection_indices() {
            let connection = &self.sessions[index];
            if !connection.is_open() {
                continue;
            }
            if connection.unsent() == 0 {
                self.close_connection(index, env);
            } else {
                self.sessions.drain(index);
            }
        }
    }

    /// Aborts the commands of units whose deadline has passed.
    pub(super) fn abort_late(&mut self, env: &mut Env<'_>) {
        while let Some(lun) = self.deadlines.take_late_unit(env.now) {
            let cause = Aborted { unit_gone: true, ..Aborted::default() };
            self.abort_where(Whose::All, |task| task.is_of(lun), &cause, env);
        }
    }

    /// Removes a unit that is leaving, and reports one that has stopped, once no command runs there.
    pub(super) fn reap_unit(&mut self, lun: Lun, env: &mut Env<'_>) {
        let Some(life) = self.units.take_due(lun) else { return };
        self.deadlines.remove_unit(lun);
        if life == UnitLife::Stopping {
            return self.events.push(ShardEvent::UnitIdle(lun));
        }
        self.units.remove(lun, env.engines);
        self.events.push(ShardEvent::UnitGone(lun));
    }
}
