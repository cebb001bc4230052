//! Stores that fail: what is logged of that, and what becomes of the units of an engine that has panicked. What stores
//! report unasked.

use std::sync::Arc;
use std::time::Instant;

use scsi_core::lun::Lun;
use scsi_core::store::{Completion, IoError, Notice, Port};

use super::TargetShard;
use super::driver::{Env, ShardEvent};
use super::health::{Failure, FailureLine, LateLine};
use super::task::Task;
use super::transfer::kind::TransferKind;
use crate::keys::TaskKey;

impl TargetShard {
    /// A step at the store has failed.
    #[cold]
    pub(super) fn store_failed(&mut self, key: TaskKey, error: IoError, now: Instant) {
        let task = &self.tasks[key];
        let offset = error.offset().unwrap_or(task.transfer().offset());
        let failure = Failure { kind: task.transfer().kind(), offset, error };
        let Some(lun) = task.lun().filter(|_| failure.is_of_the_store()) else { return };
        let Some(unit) = self.units.get_mut(lun) else { return };
        match unit.health().failed(failure, now) {
            Some(line) => {
                let name = unit.store_name();
                self.log_failure(lun, &name, line);
            }
            None => self.units.expect_late_line(),
        }
    }

    /// A step has succeeded after one that failed.
    #[cold]
    pub(super) fn store_succeeded(&mut self, key: TaskKey, lun: Lun) {
        if self.tasks[key].transfer().kind() == TransferKind::Idle {
            return;
        }
        let Some(unit) = self.units.get_mut(lun) else { return };
        if let Some(recovery) = unit.health().succeeded() {
            let name = unit.store_name();
            recovery.left_out.into_iter().for_each(|line| self.log_failure(lun, &name, line));
            self.log_recovery(lun, &name);
        }
    }

    /// Logs the failures that were left out, once the lines before them are old enough.
    pub(super) fn log_late_failures(&mut self, now: Instant) {
        for LateLine { lun, store_name, line, recovered } in self.units.late_lines(now) {
            self.log_failure(lun, &store_name, line);
            if recovered {
                self.log_recovery(lun, &store_name);
            }
        }
    }

    /// A store has reported something unasked.
    #[cold]
    pub fn notice(&mut self, from: Port, notice: Notice, now: Instant) {
        let tid = self.settings.tid;
        let mut has_left_out = false;
        for (lun, unit) in self.units.iter_mut().filter(|(_, unit)| unit.store() == Some(from)) {
            let shared = Arc::clone(unit.unit());
            let line = match notice {
                Notice::Resized => {
                    if shared.reports().resized() {
                        self.events.push(ShardEvent::StoreResized(lun));
                    }
                    continue;
                }
                Notice::Forgotten => match unit.port().forget_writes() {
                    0 => None,
                    nexuses => Some(format!(
                        "writes that were acknowledged and not flushed may be lost with a connection: the next flush of \
                         {nexuses} sessions fails"
                    )),
                },
                Notice::Unreachable => unit.health().set_reached(false, &shared, now),
                Notice::Back => unit.health().set_reached(true, &shared, now),
                _ => None,
            };
            if let Some(line) = line {
                let name = unit.store_name();
                let lines = unit.health().reach_lines();
                lines.warn(now, format_args!("target {tid} LUN {lun}: {name}: {line}"));
                has_left_out |= lines.due().is_some();
            }
        }
        if has_left_out {
            self.units.expect_late_line();
        }
    }

    fn log_failure(&self, lun: Lun, name: &str, line: FailureLine) {
        let tid = self.settings.tid;
        log::error!("target {tid} LUN {lun}: {name}: {line}");
    }

    fn log_recovery(&self, lun: Lun, name: &str) {
        let tid = self.settings.tid;
        log::warn!("target {tid} LUN {lun}: {name}: I/O succeeds again");
    }

    /// A store has completed an operation that it does not have, or has completed before. The block is not the pool's.
    #[cold]
    pub(super) fn unknown_completion(&mut self, completion: &Completion, now: Instant) {
        let text = format_args!(
            "target {}: a store completed an unknown operation, tag {:#x}",
            self.settings.tid, completion.tag.0
        );
        self.warnings.log(now, log::Level::Error, text);
    }

    /// Fails the operations of engines that have panicked, and quarantines their units. Call it when
    /// [`Engines::take_lost`](scsi_core::store::Engines::take_lost) returns true.
    #[cold]
    pub fn fail_lost(&mut self, env: &mut Env<'_>) {
        for lun in self.units.luns() {
            let Some(unit) = self.units.get_mut(lun) else { continue };
            let failure = unit.store().and_then(|port| env.engines.failure(port.engine));
            let Some(message) = failure else { continue };
            if unit.health().set_broken() {
                unit.unit().set_broken();
                log::error!(
                    "target {} LUN {lun}: {}: its store or one of the same kind panicked ({message}): commands fail \
                     until the unit is taken offline and online again",
                    self.settings.tid,
                    unit.store_name()
                );
            }
            let is_lost = |task: &&Task| task.is_of(lun) && task.transfer().is_out();
            loop {
                let lost = self.tasks.iter().find(is_lost).map(Task::key);
                let Some(key) = lost else { break };
                self.fail_lost_task(key, env);
            }
        }
    }

    /// The operations of a task never complete. Where the engine may still write, all loops keep off.
    fn fail_lost_task(&mut self, key: TaskKey, env: &mut Env<'_>) {
        let task = &mut self.tasks[key];
        let changing = task.transfer().changing();
        env.pool.lose(task.transfer_mut().abandon(), task.account());
        let fence = task.take_fence();
        if let Some(unit) = task.lun().and_then(|lun| self.units.get_mut(lun)) {
            let fence = fence.or_else(|| changing.map(|range| unit.unit().fence(range)));
            unit.health().keep_fence(fence);
        }
        if task.is_aborted() {
            self.drop_task(key, env);
        } else {
            self.resume(key, env);
        }
    }
}
