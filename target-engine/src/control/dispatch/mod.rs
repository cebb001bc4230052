//! The control plane: requests, logins and the messages of loops against the configuration.
//!
//! [`Control`] is plain state. Its driver feeds it, and it acts through [`Outside`]:
//!
//! - [`Control::request`] takes the request of a client. It returns the reply, or `None`: then the reply comes through
//!   [`Outside::reply`], at the latest when [`Control::handle_timeout`] is called at its deadline.
//! - [`Control::message`] takes the messages of the loops, those of one loop in the order in which it sent them.
//! - [`Control::job_done`] takes the results of jobs, in any order.
//! - [`Control::question`] answers what logins and discovery sessions ask; `None`: the answer comes through
//!   [`Outside::answer_login`]. [`Control::attach`] takes over a connection that has logged in.
//! - [`Control::client_ended`]: the client of this id takes no reply any more.
//! - [`Control::next_deadline`] returns when to call [`Control::handle_timeout`]; ask again after every other call.
//!
//! The time is an argument and never goes back. No call blocks, and each does work in proportion to the configuration
//! at most. Ids of clients, logins and loops are never used twice.

mod account;
mod attach;
pub mod error;
mod finish;
mod login;
mod loops;
mod names;
mod outside;
mod portal;
mod proofs;
mod redirect;
mod redirects;
mod resize;
mod services;
mod show;
mod stat;
mod state;
mod store;
mod stores;
mod system;
mod target;
mod target_lists;
mod unit;
mod update;
mod work;

#[cfg(test)]
mod tests;

use std::time::Instant;

use super::error::ControlError;
use super::jobs::JobDone;
use super::messages::{LoopId, ToControl};
use super::pending::ClientId;
use super::report::Reply;
use super::request::Request;
use crate::limits::CONTROL_REPLY;

pub use attach::Refused;
pub use outside::{LoopGone, Outside};
pub use state::Control;
use state::Env;
use work::Waiting;

impl Control {
    /// Executes the request of a client. `None`: the reply comes later, at the latest at its deadline.
    pub fn request(
        &mut self,
        client: ClientId,
        request: Request,
        now: Instant,
        out: &mut dyn Outside,
    ) -> Option<Reply> {
        let waiting = Waiting { client: Some(client), due: now + CONTROL_REPLY };
        self.execute(waiting, request, &mut Env { now, out })
    }

    fn execute(&mut self, waiting: Waiting, request: Request, env: &mut Env<'_>) -> Option<Reply> {
        Some(match request {
            // These take time.
            Request::UnitNew { tid, lun, device_type, strings } => {
                return refusal(self.unit_new(waiting, tid, lun, device_type, strings, env));
            }
            Request::UnitDelete { tid, lun, within } => {
                return refusal(self.unit_delete(waiting, tid, lun, within, env));
            }
            Request::UnitUpdate { tid, lun, changes } => {
                return self.unit_update(waiting, tid, lun, changes, env);
            }
            Request::TargetDelete { tid, within } => {
                return refusal(self.target_delete(waiting, tid, within, env));
            }
            Request::PortalNew(options) => return self.portal_new(waiting, options, env),
            Request::ConnectionDelete { tid, sid, cid } => {
                return refusal(self.connection_delete(waiting, tid, sid, cid, env));
            }
            // These are answered at once.
            Request::SystemShow => self.system_show(env),
            Request::SystemUpdate(changes) => self.system_update(changes, env),
            Request::SystemDelete => self.system_delete(env),
            Request::SystemStat | Request::TargetStat(None) => self.system_stat(env),
            Request::TargetNew { tid, name } => self.target_new(tid, &name, env),
            Request::TargetShowAll => self.target_show_all(env),
            Request::TargetShow(tid) => self.target_show(tid, env),
            Request::TargetStat(Some(tid)) => self.target_stat(tid),
            Request::TargetBind { tid, rule } => self.target_bind(tid, rule),
            Request::TargetUnbind { tid, rule } => self.target_unbind(tid, rule),
            Request::TargetUpdate { tid, name, value } => self.target_update(tid, &name, &value, env),
            Request::PortalDelete(options) => self.portal_delete(&options, env),
            Request::PortalShow => self.portal_show(),
            Request::LldShow => self.driver_show(),
            Request::LldStart(driver) => self.driver_start(driver, env),
            Request::LldStop(driver) => self.driver_stop(driver, env),
            Request::ConnectionShow(tid) => self.connection_show(tid),
            Request::ConnectionStat { sid, cid } => self.connection_stat(sid, cid),
            Request::SessionShow { tid, sid } => self.session_show(tid, sid),
            Request::SessionStat { sid } => self.session_stat(sid),
            Request::UnitShow { tid, lun } => self.unit_show(tid, lun, env),
            Request::UnitStat { tid, lun, sid } => self.unit_stat(tid, lun, sid),
            Request::AccountNew { user, password } => self.account_new(user, password),
            Request::AccountUpdate { user, password } => self.account_update(&user, password),
            Request::AccountCompare { user, password } => self.account_compare(&user, &password),
            Request::AccountDelete { user } => self.account_delete(&user),
            Request::AccountShow => self.account_show(),
            Request::AccountBind { tid, user, direction, name } => {
                self.account_bind(tid, &user, direction, name)
            }
            Request::AccountUnbind { tid, user, direction, name } => {
                self.account_unbind(tid, &user, direction, name)
            }
        })
    }

    /// Takes the message of a loop.
    pub fn message(&mut self, message: ToControl, now: Instant, out: &mut dyn Outside) {
        let env = &mut Env { now, out };
        match message {
            ToControl::Answer(from, ticket, answer) => {
                if let Some(operation) = self.pending.answer(ticket, from, answer) {
                    self.finish(operation, env);
                }
            }
            ToControl::SessionStarted(_, tid, tsih, nexus) => self.session_started(tid, tsih, nexus, env),
            ToControl::ConnectionJoined(_, _, tsih, cid) => self.connection_joined(tsih, cid),
            ToControl::ConnectionEnded(_, _, tsih, cid) => self.connection_ended(tsih, cid),
            ToControl::AttachFailed(_, _, tsih, nexus, cid) => self.attach_failed(tsih, nexus, cid),
            ToControl::SessionEnded(_, tid, tsih, nexus) => self.session_ended(tid, tsih, nexus, env),
            ToControl::StoreResized(tid, lun, unit) => self.store_resized(tid, lun, unit, env),
            ToControl::LoopEnded(id) => self.loop_ended(id, env),
            ToControl::LoopFailed(id) => {
                self.loop_ended(id, env);
                env.out.loop_failed(id);
            }
        }
    }

    fn loop_ended(&mut self, id: LoopId, env: &mut Env<'_>) {
        env.out.loop_ended(id);
        for operation in self.pending.loop_ended(id) {
            self.finish(operation, env);
        }
        self.forget_sessions_of(id);
    }

    /// Takes the result of a job.
    pub fn job_done(&mut self, result: JobDone, now: Instant, out: &mut dyn Outside) {
        let env = &mut Env { now, out };
        self.finish_job(result, env);
        self.retry_resized(env);
    }

    /// Returns when [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.pending.next_deadline().into_iter().chain(self.redirects.next_deadline()).min()
    }

    /// Replies to the clients whose reply is due, and runs redirect commands whose time has come.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut dyn Outside) {
        self.reply_overdue(&mut Env { now, out });
        self.run_waiting_redirects(&mut Env { now, out });
    }

    /// Forgets a client: it takes no reply any more. What it asked for goes on.
    pub fn client_ended(&mut self, client: ClientId) {
        self.pending.client_ended(client);
    }
}

fn refusal(begun: Result<(), ControlError>) -> Option<Reply> {
    begun.err().map(Err)
}
