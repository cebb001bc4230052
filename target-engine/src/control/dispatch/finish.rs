//! The ends of operations: results of jobs, answers of loops, and replies that are due.

use std::sync::Arc;

use scsi_core::store::Backstore;

use super::error::{MediumError, OperationError};
use super::state::{Control, Env, done};
use super::work::{Closing, Ended, Opened, Waiting, Work};
use crate::control::error::ControlError;
use crate::control::jobs::JobDone;
use crate::control::messages::{LoopError, LoopId, Ticket, ToLoop};
use crate::control::pending::Operation;
use crate::control::report::Report;
use crate::model::store::StoreId;

impl Control {
    /// Handles the result of a job.
    pub(super) fn finish_job(&mut self, result: JobDone, env: &mut Env<'_>) {
        let ticket = match &result {
            JobDone::Closed(id) => return self.store_closed(*id, env),
            JobDone::Opened(ticket, _)
            | JobDone::Refreshed(ticket, _)
            | JobDone::Flushed(ticket, _)
            | JobDone::Resolved(ticket, _)
            | JobDone::Redirected(ticket, _) => *ticket,
        };
        let Some(operation) = self.pending.take(ticket) else { return };
        let waiting = Waiting::of(&operation);
        match (result, operation.work) {
            (JobDone::Opened(_, store), Work::NewUnit(new)) => {
                self.unit_opened(waiting, new, opened(ticket, store), env);
            }
            (JobDone::Opened(_, store), Work::UpdateUnit(update)) => {
                self.medium_opened(waiting, update, opened(ticket, store), env);
            }
            (JobDone::Refreshed(_, answer), Work::UpdateUnit(update)) => {
                self.store_answered(waiting, update, answer, MediumError::Size, env);
            }
            (JobDone::Refreshed(_, answer), Work::Resized(resized)) => {
                self.resize_read(resized, answer, env);
            }
            (JobDone::Flushed(_, answer), Work::UpdateUnit(update)) => {
                self.store_answered(waiting, update, answer, MediumError::Flush, env);
            }
            (JobDone::Resolved(_, addresses), Work::Listen(listen)) => {
                self.name_resolved(waiting, listen, &addresses, env);
            }
            (JobDone::Redirected(_, output), Work::Redirect(redirecting)) => {
                self.redirect_done(redirecting, output, env);
            }
            (_, work) => log::error!("internal: the result of a job does not belong to {work:?}"),
        }
    }

    /// Handles the last answer of a loop to an operation.
    pub(super) fn finish(&mut self, operation: Operation<Work>, env: &mut Env<'_>) {
        let waiting = Waiting::of(&operation);
        let Operation { answers, work, .. } = operation;
        let ended = match work {
            Work::NewUnit(new) => self.unit_added(new, &answers, env),
            Work::RemoveUnit(remove) => self.unit_removed(remove, &answers, env),
            Work::EndService(end) => self.service_ended(end, env),
            Work::SwapMedium(swap) => return self.medium_idle(waiting, swap, env),
            Work::CloseConnection => {
                let closed =
                    answers.into_iter().try_for_each(|answer| answer.result.map_err(ControlError::from));
                done(closed).into()
            }
            Work::RestoreUnit
            | Work::UpdateUnit(_)
            | Work::Close(_)
            | Work::Listen(_)
            | Work::Resized(_)
            | Work::Redirect(_) => return,
        };
        self.reply_when_closed(waiting, ended, env);
    }

    /// Replies to the clients whose reply is due.
    pub(super) fn reply_overdue(&mut self, env: &mut Env<'_>) {
        let stores = &self.stores;
        for (client, work) in self.pending.overdue(env.now) {
            let reply = match work {
                // The object is removed for the client, whatever its loops still wait for.
                Work::EndService(end) => stores.still_open(end.stores()).map_or(Ok(Report::Done), Err),
                Work::RemoveUnit(remove) if remove.is_certain() => {
                    stores.still_open(remove.store().as_slice()).map_or(Ok(Report::Done), Err)
                }
                Work::Close(closing) => closing.overdue(stores.still_open(closing.stores())),
                Work::SwapMedium(_) => Err(MediumError::Busy.into()),
                Work::NewUnit(_)
                | Work::RemoveUnit(_)
                | Work::RestoreUnit
                | Work::UpdateUnit(_)
                | Work::CloseConnection
                | Work::Listen(_)
                | Work::Resized(_)
                | Work::Redirect(_) => Err(OperationError::Overdue.into()),
            };
            env.out.reply(client, reply);
        }
    }

    /// Sends each of these loops a message, and finishes the work when all have answered. A loop that has ended counts
    /// as one that answered [`LoopError::NoTarget`].
    pub(super) fn ask_loops(
        &mut self,
        waiting: Waiting,
        loops: &[LoopId],
        work: Work,
        message: impl Fn(Ticket) -> ToLoop,
        env: &mut Env<'_>,
    ) {
        let ticket = self.pending.begin(waiting.client, waiting.due, loops.to_vec(), work);
        let mut ended = None;
        for id in loops {
            if env.out.send(*id, message(ticket)).is_err() {
                ended = ended.or(self.pending.answer(ticket, *id, Err(LoopError::NoTarget)));
            }
        }
        if loops.is_empty() {
            ended = self.pending.take(ticket);
        }
        if let Some(operation) = ended {
            self.finish(operation, env);
        }
    }

    /// Sends the reply of an operation once the stores are closed that it dropped.
    pub(super) fn reply_when_closed(&mut self, waiting: Waiting, ended: Ended, env: &mut Env<'_>) {
        let Some(client) = waiting.client else { return };
        let Ended { reply, closing } = ended;
        let stores: Vec<_> = closing.into_iter().filter(|id| self.stores.is_open(*id)).collect();
        if stores.is_empty() {
            return env.out.reply(client, reply);
        }
        self.pending.begin(Some(client), waiting.due, Vec::new(), Work::Close(Closing::new(reply, stores)));
    }
}

fn opened(ticket: Ticket, store: Result<Arc<dyn Backstore>, String>) -> Result<Opened, String> {
    store.map(|store| Opened { id: StoreId(ticket.0), store })
}
