//! Units whose store hangs: a network file system that is gone, a dead device.
//!
//! New commands of such a unit get BUSY, and an error after [`HANG_BUSY`](crate::limits::HANG_BUSY). Hung commands go on
//! to wait, but leave the command window and the budget of memory, so that other units and other sessions go on. The
//! unit is as before once all of them have ended.

use iscsi_proto::ids::Ttt;
use scsi_core::lun::Lun;

use super::TargetShard;
use super::driver::Env;
use super::task::Task;
use crate::keys::{ConnectionIndex, TaskKey};
use crate::limits::HANG_AFTER;

impl TargetShard {
    /// Quarantines the units whose store is found to hang.
    pub(super) fn check_hangs(&mut self, env: &mut Env<'_>) {
        let out = |task: &&Task| task.transfer().has_data_out() && !task.is_hung();
        let mut with_data_out: Vec<Lun> = self.tasks.iter().filter(out).filter_map(Task::lun).collect();
        with_data_out.sort_unstable();
        let mut hung = Vec::new();
        for (lun, unit) in self.units.iter_mut() {
            if unit.hangs().check(with_data_out.binary_search(&lun).is_ok(), env.now) {
                hung.push(lun);
            }
        }
        hung.into_iter().for_each(|lun| self.quarantine(lun, env));
    }

    fn quarantine(&mut self, lun: Lun, env: &mut Env<'_>) {
        let mut hung = 0;
        let mut connections = Vec::new();
        for task in self.tasks.iter_mut() {
            let Some(bytes) = task.hang_at(lun) else { continue };
            hung += 1;
            env.pool.write_off(bytes as usize, task.account());
            if !task.is_immediate() {
                self.sessions[task.session()].commands().finished();
                connections.push(task.connection());
            }
        }
        let Some(unit) = self.units.get_mut(lun) else { return };
        unit.hangs().set_hung(hung, env.now);
        let seconds = HANG_AFTER.as_secs();
        let name = &self.settings.name;
        log::error!(
            "{name} lun {lun}: nothing has come from its store for {seconds} s, it takes no commands"
        );
        connections.sort_unstable();
        connections.dedup();
        for connection in connections {
            self.announce_window(connection);
        }
    }

    /// The command window has widened, and perhaps no response follows that announces it: sends a NOP-In.
    fn announce_window(&mut self, connection: ConnectionIndex) {
        // The connection of an aborted command may have been closed.
        if self.sessions.is_open(connection) {
            self.sessions.send(connection, |to, window| to.ping(Ttt(0), window));
        }
    }

    /// A command that hung has ended.
    #[cold]
    pub(super) fn hung_task_ended(&mut self, key: TaskKey, bytes: u32, env: &mut Env<'_>) {
        let task = &self.tasks[key];
        env.pool.count_again(bytes as usize, task.account());
        let lun = task.lun();
        let Some(lun) = lun else { return };
        let Some(unit) = self.units.get_mut(lun) else { return };
        if unit.hangs().task_ended() {
            let name = &self.settings.name;
            log::warn!("{name} lun {lun}: its store has answered all, it takes commands again");
        }
    }
}
