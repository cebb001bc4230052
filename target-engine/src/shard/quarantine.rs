//! Units whose store hangs: a network file system that is gone, a dead device. When nothing has come back from a
//! store for [`HANG_AFTER`] though data is out, its unit takes no more: what is new gets BUSY, and an error after
//! [`HANG_BUSY`]. What hangs goes on to wait, without its place in the command window and in the budget of memory, so
//! that the session's other units, and those of others, go on. When all of it is back the unit is as before.

use std::time::Instant;

use iscsi_proto::ids::Ttt;
use scsi_core::device::Outcome;
use scsi_core::lun::Lun;
use scsi_core::sense::{AdditionalSense, Sense, SenseKey};
use scsi_core::status::Status;

use super::tasks::{State, Task};
use super::{Env, TargetShard};
use crate::iscsi::connection::{Connection, ConnectionState};
use crate::limits::{HANG_AFTER, HANG_BUSY};

/// Whether a unit's store is alive.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// Operations that came back, counted.
    beats: u32,
    /// `beats` when it was last looked at.
    seen: u32,
    /// Data is out, and nothing has come back since.
    still_since: Option<Instant>,
    hangs_since: Option<Instant>,
    /// Tasks that hang.
    hanging: usize,
}

impl Pulse {
    /// An operation came back.
    #[inline]
    pub(super) fn beat(&mut self) {
        self.beats = self.beats.wrapping_add(1);
    }

    /// Whether the unit takes no commands that go to its store.
    #[inline]
    pub(super) fn hangs(&self) -> bool {
        self.hangs_since.is_some()
    }

    /// Another store is in place of the one that may hang.
    pub(super) fn begin_anew(&mut self) {
        (self.still_since, self.hangs_since, self.hanging) = (None, None, 0);
    }

    /// What a command is answered that cannot go to the store now.
    pub(super) fn refusal(&self, now: Instant) -> Outcome {
        let for_long =
            self.hangs_since.is_some_and(|since| now.saturating_duration_since(since) >= HANG_BUSY);
        if !for_long {
            return Outcome { status: Status::Busy, sense: None, data_in: Vec::new() };
        }
        let sense = Sense::new(SenseKey::HardwareError, AdditionalSense::LOGICAL_UNIT_COMMUNICATION_FAILURE);
        Outcome { status: Status::CheckCondition, sense: Some(sense), data_in: Vec::new() }
    }

    /// Looks after a while, `out`: whether data is out. True: it hangs from now on.
    fn look(&mut self, out: bool, now: Instant) -> bool {
        let came_back = std::mem::replace(&mut self.seen, self.beats) != self.beats;
        if !out || came_back {
            self.still_since = out.then_some(now);
            return false;
        }
        let since = *self.still_since.get_or_insert(now);
        !self.hangs() && now.saturating_duration_since(since) >= HANG_AFTER
    }
}

impl TargetShard {
    /// Looks which units hang.
    pub(super) fn feel_pulses(&mut self, env: &mut Env<'_>) {
        let mut out = vec![false; self.units.len()];
        for (_, task) in self.tasks.iter().filter(|(_, task)| is_out(task) && task.hangs.is_none()) {
            if let Some(lun) = task.lun {
                out[usize::from(lun.number())] = true;
            }
        }
        for (place, out) in out.into_iter().enumerate() {
            let Some(unit) = self.units[place].as_mut() else { continue };
            if unit.pulse.look(out, env.now)
                && let Some(lun) = Lun::new(place as u64)
            {
                self.quarantine(lun, env);
            }
        }
    }

    fn quarantine(&mut self, lun: Lun, env: &mut Env<'_>) {
        let mut hanging = 0;
        let mut told = Vec::new();
        let of_unit = |task: &Task| task.lun == Some(lun) && task.hangs.is_none();
        for (_, task) in self.tasks.iter_mut() {
            if !of_unit(task) || task.transfer.in_flight == 0 && task.state != State::Held {
                continue;
            }
            hanging += 1;
            let bytes = task.transfer.begun.saturating_sub(task.transfer.through).min(u32::MAX.into());
            task.hangs = Some(bytes as u32);
            env.pool.write_off(bytes as usize);
            if !task.immediate {
                self.sessions[task.session].window.finished();
                told.push(task.connection);
            }
        }
        let Some(unit) = self.unit_mut(lun) else { return };
        (unit.pulse.hangs_since, unit.pulse.hanging) = (Some(env.now), hanging);
        let seconds = HANG_AFTER.as_secs();
        let name = &self.settings.name;
        log::error!(
            "{name} lun {lun}: nothing has come from its store for {seconds} s, it takes no commands"
        );
        told.sort_unstable();
        told.dedup();
        for place in told {
            self.tell_window(place);
        }
    }

    /// The window is wider, and no response may come that says so.
    fn tell_window(&mut self, place: usize) {
        // Of a command that was aborted the connection may be gone.
        let open = |connection: &&Connection| connection.state == ConnectionState::Open;
        let Some(session) = self.connections.get(place).filter(open).map(|connection| connection.session)
        else {
            return;
        };
        let window = self.window(session);
        self.connections[place].ping(Ttt(0), window);
        self.touch(place);
    }

    /// A command that hung is over.
    #[cold]
    pub(super) fn came_back(&mut self, lun: Option<Lun>, bytes: u32, env: &mut Env<'_>) {
        env.pool.count_again(bytes as usize);
        let name = &self.settings.name;
        let Some(lun) = lun else { return };
        let Some(unit) = self.units.get_mut(usize::from(lun.number())).and_then(Option::as_mut) else {
            return;
        };
        unit.pulse.hanging = unit.pulse.hanging.saturating_sub(1);
        if unit.pulse.hanging == 0 && unit.pulse.hangs() {
            unit.pulse.begin_anew();
            log::warn!("{name} lun {lun}: its store has answered all, it takes commands again");
        }
    }
}

/// Whether its store has a piece of data for it to move, which takes no time where all is well.
fn is_out(task: &Task) -> bool {
    // The others may have much to do.
    task.transfer.kind.moves_data() && task.transfer.in_flight > 0
}
