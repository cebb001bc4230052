//! Stores that report another size: a job reads it, as for `--params disksize=auto`, but no client waits. Each unit has at
//! most one such job.

use std::sync::Arc;

use scsi_core::device::unit::{Capacity, Unit};
use scsi_core::lun::Lun;
use scsi_core::store::IoError;

use super::state::{Control, Env};
use super::work::{Resized, Work};
use crate::control::jobs::Job;
use crate::model::Tid;

impl Control {
    /// Reads the size of a unit's store again.
    pub(super) fn store_resized(&mut self, tid: Tid, lun: Lun, unit: Arc<Unit>, env: &mut Env<'_>) {
        let resized = Resized { tid, lun, unit: Arc::downgrade(&unit), before: unit.capacity() };
        let ticket = self.pending.begin(None, env.now, Vec::new(), Work::Resized(resized));
        if env.out.job(Job::Refresh(ticket, unit)).is_err() {
            let refused = self.pending.take(ticket).map(|operation| operation.work);
            if let Some(Work::Resized(resized)) = refused {
                self.resized.push_back(resized);
            }
        }
    }

    /// The size was read.
    pub(super) fn resize_read(&mut self, resized: Resized, answer: Result<(), IoError>, env: &mut Env<'_>) {
        let Resized { tid, lun, unit, before } = resized;
        let Some(unit) = unit.upgrade() else { return };
        let name = unit.store().map_or_else(String::new, |store| store.name().into_owned());
        let Capacity { blocks, block_len } = unit.capacity();
        match answer {
            Ok(()) if blocks != before.blocks => log::info!(
                "target {tid} LUN {lun}: {name}: resized from {} to {blocks} blocks of {block_len} bytes",
                before.blocks
            ),
            Ok(()) => {}
            Err(error) => log::error!(
                "target {tid} LUN {lun}: {name}: its size has changed and cannot be read: {error}"
            ),
        }
        if unit.reports().resize_handled() {
            self.store_resized(tid, lun, unit, env);
        }
    }

    /// A job has ended: reads the size of a store for which there were too many jobs.
    pub(super) fn retry_resized(&mut self, env: &mut Env<'_>) {
        while let Some(Resized { tid, lun, unit, .. }) = self.resized.pop_front() {
            if let Some(unit) = unit.upgrade() {
                return self.store_resized(tid, lun, unit, env);
            }
        }
    }
}
