//! How units stop and leave, and how a whole target ends: what runs may finish until a given time, then it is aborted.

use std::sync::Arc;
use std::time::Instant;

use scsi_core::lun::Lun;
use scsi_core::store::Engines;

use super::tasks::Aborted;
use super::{Env, ShardEvent, TargetShard, UnitEntry, alignment_of};
use crate::iscsi::connection::ConnectionState;

/// What becomes of a unit when its last command has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum UnitLife {
    /// Nothing.
    Serving,
    /// Somebody waits for that.
    Stopping,
    /// It is forgotten, and takes no new commands until then.
    Leaving,
}

/// By when what ends must have ended.
#[derive(Debug, Default)]
pub(super) struct Closing {
    units: Vec<(Lun, Instant)>,
    target: Option<Instant>,
}

impl Closing {
    /// Nothing ends.
    pub(super) fn is_empty(&self) -> bool {
        self.units.is_empty() && self.target.is_none()
    }
}

impl TargetShard {
    /// Forgets a unit: it takes no new commands; those that run may finish until `by`, then they end early and their
    /// initiators are told. `UnitGone` follows when the last is over.
    pub fn remove_unit(&mut self, lun: Lun, by: Instant, env: &mut Env<'_>) {
        self.close_unit(lun, UnitLife::Leaving, by, env);
        self.luns_changed();
    }

    /// Waits for the end of the commands that run at a unit; after `by` they end early. `UnitIdle` follows. The unit
    /// should be offline, or there is no end to them.
    pub fn stop_unit(&mut self, lun: Lun, by: Instant, env: &mut Env<'_>) {
        self.close_unit(lun, UnitLife::Stopping, by, env);
    }

    /// Attaches the unit's present medium and detaches the one before, without waiting for a command.
    pub fn change_medium(&mut self, lun: Lun, engines: &mut Engines) {
        if let Some(unit) = self.unit_mut(lun) {
            unit.port.refresh();
            unit.seen = unit.port.unit().generation();
            unit.change_store(engines);
        }
    }

    fn close_unit(&mut self, lun: Lun, life: UnitLife, by: Instant, env: &mut Env<'_>) {
        let Some(unit) = self.unit_mut(lun) else { return };
        if unit.life != UnitLife::Leaving {
            unit.life = life;
        }
        self.closing.units.retain(|&(other, _)| other != lun);
        self.closing.units.push((lun, by));
        self.end_late(env);
        self.reap_unit(lun, env);
    }

    /// Ends the target: its units take no new commands, and its sessions are closed when what runs has finished, or
    /// else `by` this time.
    pub fn end(&mut self, by: Instant, env: &mut Env<'_>) {
        for number in 0..self.units.len() {
            if let Some(lun) = Lun::new(number as u64) {
                self.close_unit(lun, UnitLife::Leaving, by, env);
            }
        }
        self.luns_changed();
        self.closing.target = Some(by);
        self.close_if_done(env);
    }

    /// Closes the sessions of a target that ends, as soon as nothing runs; the last answers are sent first.
    pub fn close_if_done(&mut self, env: &mut Env<'_>) {
        let Some(by) = self.closing.target else { return };
        if by <= env.now {
            self.closing.target = None;
            return self.close_all(env);
        }
        if !self.tasks.is_empty() {
            return;
        }
        for place in self.connections.iter().map(|(place, _)| place).collect::<Vec<_>>() {
            let connection = &self.connections[place];
            if connection.state == ConnectionState::Open && !connection.transmit.is_empty() {
                self.drain(place);
            } else if connection.state == ConnectionState::Open {
                self.close_connection(place, env);
            }
        }
    }

    /// Aborts what should have ended by now.
    pub(super) fn end_late(&mut self, env: &mut Env<'_>) {
        while let Some(place) = self.closing.units.iter().position(|&(_, by)| by <= env.now) {
            let (lun, _) = self.closing.units.swap_remove(place);
            let cause = Aborted { unit_gone: true, ..Aborted::default() };
            self.abort_where(|task| task.lun == Some(lun), cause, env);
        }
    }

    /// Forgets a unit that is leaving, and tells of one that has stopped, once nothing runs there.
    pub(super) fn reap_unit(&mut self, lun: Lun, env: &mut Env<'_>) {
        let Some(unit) = self.unit_mut(lun) else { return };
        if unit.life == UnitLife::Serving || unit.tasks > 0 {
            return;
        }
        let was = std::mem::replace(&mut unit.life, UnitLife::Serving);
        let store = unit.store;
        self.closing.units.retain(|&(other, _)| other != lun);
        if was == UnitLife::Stopping {
            return self.events.push(ShardEvent::UnitIdle(lun));
        }
        if let Some(store) = store {
            env.engines.detach(store);
        }
        if let Some(mut unit) = self.units[usize::from(lun.number())].take() {
            unit.health.reset(unit.port.unit());
        }
        self.events.push(ShardEvent::UnitGone(lun));
    }
}

impl UnitEntry {
    /// Reaches the unit's present medium, if it is another one than before.
    pub(super) fn change_store(&mut self, engines: &mut Engines) {
        let medium = self.port.unit().store();
        let same = match (&medium, &self.medium) {
            (Some(new), Some(old)) => Arc::ptr_eq(new, old),
            (None, None) => true,
            _ => false,
        };
        if same {
            return;
        }
        self.pulse.begin_anew();
        self.health.reset(self.port.unit());
        if let Some(old) = self.store.take() {
            engines.detach(old);
        }
        self.store = medium.as_ref().and_then(|store| match engines.attach(&**store) {
            Ok(port) => Some(port),
            Err(error) => {
                log::error!("a new medium cannot be reached: {error}");
                None
            }
        });
        self.alignment = alignment_of(medium.as_ref());
        self.medium = medium;
    }
}
