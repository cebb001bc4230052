//! Requests against the configuration: answered at once, or begun and answered later.
//!
//! [`Control`] is plain state; what it needs done in the world goes through [`Outside`]. It never waits: a store is
//! opened by an opener, a loop answers by letter, and both come back with the ticket they were given.

mod account;
pub mod error;
mod login;
mod loops;
mod names;
mod portal;
mod redirect;
mod stat;
mod store;
mod system;
mod target;
mod unit;
mod update;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use iscsi_proto::chap::Challenger;

use super::error::{ControlError, TgtadmError};
use super::jobs::{Job, JobDone};
use super::messages::{Attach, LoopError, LoopId, Ticket, ToControl, ToLoop};
use super::pending::{ClientId, Operation, Pending};
use super::report::{self, Reply, Report};
use super::request::Request;
use crate::iscsi::login::Answer;
use crate::limits::CONTROL_REPLY;
use crate::model::sessions::SessionDirectory;
use crate::model::store::{StoreId, StoreKind};
use crate::model::{Model, PortalId, Tid};

use self::error::{MediumError, OperationError};
pub use login::{LoginId, Refused};
use store::{Opened, still_open};

/// The configuration, the sessions, and what is under way.
#[derive(Debug, Default)]
pub struct Control {
    /// The configuration.
    pub model: Model,
    /// The sessions.
    pub sessions: SessionDirectory,
    pending: Pending<Work>,
    /// Stores that are not closed yet, with their paths; those that no unit has any more among them.
    open_stores: BTreeMap<StoreId, String>,
    loops: BTreeMap<Tid, loops::Service>,
    /// Loops that serve all targets; none: each has loops of its own.
    shared: Vec<LoopId>,
    /// Targets that are removed but not gone: their loops have not answered. Their numbers are taken.
    leaving: BTreeSet<Tid>,
    /// Of all logins; from the first that needs one on.
    challenger: Option<Arc<Challenger>>,
    last_loop: u32,
    last_service: u64,
    last_portal: u32,
    /// Where the driver listens when it is started again.
    startup_portals: Vec<crate::model::portal::PortalSpec>,
}

/// What a [`Control`] needs done. Nothing here may block.
pub trait Outside {
    /// Sends a reply that was not given at once.
    fn reply(&mut self, client: ClientId, reply: Reply);

    /// Starts a loop's thread.
    ///
    /// # Errors
    /// There is no memory or no descriptor for it.
    fn spawn_loop(&mut self, id: LoopId, thread_name: String) -> io::Result<()>;

    /// Sends a message to a loop. It must arrive unless the loop has ended: the number of messages is bounded by the
    /// requests under way. Messages to one loop arrive in the order in which they were sent.
    ///
    /// # Errors
    /// The loop has ended.
    fn send(&mut self, to: LoopId, message: ToLoop) -> Result<(), LoopGone>;

    /// Hands a connection that has logged in to its loop, with the socket of this login.
    ///
    /// # Errors
    /// The loop has ended, or too many messages wait for it. The login keeps its socket.
    fn attach(&mut self, to: LoopId, login: LoginId, attach: Box<Attach>) -> Result<(), Box<Attach>>;

    /// A loop has said its last word.
    fn loop_ended(&mut self, id: LoopId);

    /// A loop ended that was not asked to: the server ends, too.
    fn loop_failed(&mut self, id: LoopId);

    /// Gives a job to the openers.
    ///
    /// # Errors
    /// The job: too many wait.
    fn job(&mut self, job: Job) -> Result<(), Job>;

    /// Listens; the address that was taken, which tells a chosen port.
    ///
    /// # Errors
    /// The address is taken or not ours.
    fn listen(&mut self, id: PortalId, address: SocketAddr) -> io::Result<SocketAddr>;

    /// Listens there no more.
    fn close_portal(&mut self, id: PortalId);

    /// Closes what is logging in and what discovers.
    fn close_logins(&mut self);

    /// Answers a question that could not be answered at once.
    fn answer_login(&mut self, login: LoginId, answer: Answer);

    /// The kinds of stores that can be opened.
    fn store_kinds(&self) -> Vec<StoreKind>;

    /// Logs what initiators do, but not as often as they like.
    fn note(&mut self, text: std::fmt::Arguments<'_>);

    /// Logs debug messages, or no more.
    fn set_debug(&mut self, on: bool);

    /// Ends the daemon once its replies are sent.
    fn end(&mut self);
}

/// A message was sent to a loop that has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the loop has ended")]
pub struct LoopGone;

/// What is being done under a ticket.
#[derive(Debug)]
pub enum Work {
    /// A new unit's store is opened, or its loops are told.
    NewUnit(unit::NewUnit),
    /// A unit's loops forget it.
    RemoveUnit(unit::RemoveUnit),
    /// A loop that did forget a unit serves it again, because another would not.
    RestoreUnit,
    /// A unit is changed, one change after the other.
    UpdateUnit(update::UpdateUnit),
    /// A unit's medium is exchanged once nothing runs on it.
    SwapMedium(update::Swap),
    /// A target leaves its loops.
    Retire(loops::Retire),
    /// Stores are closed; all else is done.
    Close(store::Closing),
    /// A connection is closed.
    CloseConnection,
    /// Portals' names are looked up.
    Listen(portal::Listen),
    /// A redirect command runs for a login.
    Redirect(redirect::Redirecting),
}

impl Control {
    /// Does what a client asks. `None`: the reply comes later, at the latest when its deadline is over.
    pub fn request(
        &mut self,
        client: ClientId,
        request: Request,
        now: Instant,
        out: &mut dyn Outside,
    ) -> Option<Reply> {
        let due = now + CONTROL_REPLY;
        match request {
            Request::UnitNew { tid, lun, device_type, strings } => {
                refusal(self.unit_new((client, due), tid, lun, device_type, strings, out))
            }
            Request::UnitDelete { tid, lun, within } => {
                let (by, due) = (within.map(|time| now + time), due + within.unwrap_or_default());
                refusal(self.unit_delete((client, due), tid, lun, by, out))
            }
            Request::UnitUpdate { tid, lun, changes } => {
                self.unit_update((client, due), tid, lun, changes, out)
            }
            Request::TargetDelete { tid, within } => {
                let (by, due) = (within.map(|time| now + time), due + within.unwrap_or_default());
                refusal(self.target_delete((client, due), tid, by, out))
            }
            Request::PortalNew(options) => self.portal_new((client, due), options, out),
            Request::ConnectionDelete { tid, sid, cid } => {
                refusal(self.connection_delete((client, due), tid, sid, cid, out))
            }
            at_once => Some(self.answer_at_once(at_once, out)),
        }
    }

    fn answer_at_once(&mut self, request: Request, out: &mut dyn Outside) -> Reply {
        match request {
            Request::SystemShow => Ok(Report::System(report::system(&self.model, out.store_kinds()))),
            Request::SystemUpdate(changes) => self.system_update(changes, out),
            Request::SystemDelete => self.system_delete(out),
            Request::TargetNew { tid, name } => self.target_new(tid, &name, out),
            Request::TargetShowAll => {
                let targets = self.model.targets().map(|target| report::target(target, &self.sessions));
                Ok(Report::Targets(targets.collect()))
            }
            Request::TargetShow(tid) => {
                let target = self.model.target(tid)?;
                Ok(Report::Target(Box::new(report::target(target, &self.sessions))))
            }
            Request::TargetBind { tid, rule } => self.target_bind(tid, rule),
            Request::TargetUnbind { tid, rule } => self.target_unbind(tid, rule),
            Request::TargetUpdate { tid, name, value } => self.target_update(tid, &name, &value, out),
            Request::PortalDelete(options) => self.portal_delete(&options, out),
            Request::PortalShow => {
                Ok(Report::Portals(self.model.portals.iter().map(|portal| portal.spec.clone()).collect()))
            }
            Request::LldShow => Ok(Report::Drivers(report::drivers(&self.model))),
            Request::LldStart(driver) => self.driver_start(driver, out),
            Request::LldStop(driver) => self.driver_stop(driver, out),
            Request::ConnectionShow(tid) => {
                self.model.target(tid)?;
                Ok(Report::Sessions(report::sessions(self.sessions.of_target(tid))))
            }
            Request::SessionShow { tid, sid } => self.session_show(tid, sid),
            Request::UnitShow { tid, lun } => self.unit_show(tid, lun),
            Request::AccountNew { user, password } => self.account_new(user, password),
            Request::AccountUpdate { user, password } => self.account_update(&user, password),
            Request::AccountCompare { user, password } => self.account_compare(&user, &password),
            Request::AccountDelete { user } => self.account_delete(&user),
            Request::AccountShow => {
                Ok(Report::Accounts(self.model.accounts.users().map(str::to_owned).collect()))
            }
            Request::AccountBind { tid, user, direction } => self.account_bind(tid, &user, direction),
            Request::AccountUnbind { tid, user, direction } => self.account_unbind(tid, &user, direction),
            Request::SystemStat | Request::TargetStat(None) => Ok(Report::UnitCounts(self.system_stat())),
            Request::TargetStat(Some(tid)) => self.target_stat(tid),
            Request::UnitStat { tid, lun, sid } => self.unit_stat(tid, lun, sid),
            Request::SessionStat { sid } => self.session_stat(sid),
            Request::ConnectionStat { sid, cid } => self.connection_stat(sid, cid),
            // Those that take time were dealt with before.
            _ => Err(TgtadmError::UnsupportedOperation.into()),
        }
    }

    /// Takes a loop's letter.
    pub fn letter(&mut self, letter: ToControl, out: &mut dyn Outside) {
        match letter {
            ToControl::Answer(from, ticket, answer) => {
                if let Some(operation) = self.pending.answer(ticket, from, answer) {
                    self.finish(operation, out);
                }
            }
            ToControl::LoopEnded(id) => self.loop_ended(id, out),
            ToControl::LoopFailed(id) => {
                self.loop_ended(id, out);
                out.loop_failed(id);
            }
            about_a_session => self.session_letter(about_a_session, out),
        }
    }

    fn loop_ended(&mut self, id: LoopId, out: &mut dyn Outside) {
        out.loop_ended(id);
        for operation in self.pending.loop_ended(id) {
            self.finish(operation, out);
        }
        self.forget_sessions_of(id);
    }

    /// Takes an opener's result.
    pub fn job_done(&mut self, done: JobDone, out: &mut dyn Outside) {
        match done {
            JobDone::Opened(ticket, store) => {
                let store = store.map(|store| Opened { id: StoreId(ticket.0), store });
                match self.pending.take(ticket) {
                    Some(Operation { client, deadline, work: Work::NewUnit(new), .. }) => {
                        self.unit_opened((client, deadline), new, store, out);
                    }
                    Some(Operation { client, deadline, work: Work::UpdateUnit(update), .. }) => {
                        self.medium_opened((client, deadline), update, store, out);
                    }
                    _ => {}
                }
            }
            JobDone::Closed(id) => self.store_closed(id, out),
            JobDone::Refreshed(ticket, answer) => {
                if let Some(Operation { client, deadline, work: Work::UpdateUnit(update), .. }) =
                    self.pending.take(ticket)
                {
                    self.size_read((client, deadline), update, answer, out);
                }
            }
            JobDone::Resolved(ticket, addresses) => {
                if let Some(Operation { client, deadline, work: Work::Listen(listen), .. }) =
                    self.pending.take(ticket)
                {
                    self.name_resolved((client, deadline), listen, &addresses, out);
                }
            }
            JobDone::Redirected(ticket, answer) => {
                if let Some(Operation { work: Work::Redirect(redirecting), .. }) = self.pending.take(ticket) {
                    self.redirect_told(redirecting, answer, out);
                }
            }
        }
    }

    /// The last loop has answered.
    fn finish(&mut self, operation: Operation<Work>, out: &mut dyn Outside) {
        let Operation { client, deadline, answers, work, .. } = operation;
        let ended = match work {
            Work::NewUnit(new) => self.unit_added(new, &answers, out),
            Work::RemoveUnit(remove) => self.unit_removed(remove, &answers, out),
            Work::Retire(retire) => self.retired(retire, out),
            Work::SwapMedium(swap) => return self.medium_idle((client, deadline), swap, out),
            Work::CloseConnection => {
                let closed =
                    answers.into_iter().try_for_each(|(_, answer)| answer.map_err(ControlError::from));
                done(closed).into()
            }
            Work::RestoreUnit
            | Work::UpdateUnit(_)
            | Work::Close(_)
            | Work::Listen(_)
            | Work::Redirect(_) => return,
        };
        self.reply_when_closed((client, deadline), ended, out);
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.pending.next_deadline()
    }

    /// Replies to those who have waited long enough.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut dyn Outside) {
        let open = &self.open_stores;
        let still_open =
            |ids: &[StoreId]| still_open(ids.iter().filter_map(|id| open.get(id)).map(String::as_str));
        for (client, work) in self.pending.overdue(now) {
            let reply = match work {
                // What is removed is no longer there, whatever its loops still have to wait for.
                Work::Retire(retire) => still_open(retire.stores()).map_or(Ok(Report::Done), Err),
                Work::RemoveUnit(remove) if remove.is_certain() => {
                    still_open(remove.store().as_slice()).map_or(Ok(Report::Done), Err)
                }
                Work::Close(closing) => closing.overdue(still_open(closing.stores())),
                Work::SwapMedium(_) => Err(MediumError::Busy.into()),
                _ => Err(OperationError::Overdue.into()),
            };
            out.reply(client, reply);
        }
    }

    /// Nobody waits for this client's reply any more.
    pub fn client_ended(&mut self, client: ClientId) {
        self.pending.client_ended(client);
    }

    /// Begins an operation of some loops: mails each its letter. A loop that is gone counts as having answered.
    fn tell(
        &mut self,
        client: Option<ClientId>,
        deadline: Instant,
        loops: &[LoopId],
        work: Work,
        letter: impl Fn(Ticket) -> ToLoop,
        out: &mut dyn Outside,
    ) {
        let ticket = self.pending.begin(client, deadline, loops.to_vec(), work);
        let mut ended = None;
        for id in loops {
            if out.send(*id, letter(ticket)).is_err() {
                ended = ended.or(self.pending.answer(ticket, *id, Err(LoopError::NoTarget)));
            }
        }
        if loops.is_empty() {
            ended = self.pending.take(ticket);
        }
        if let Some(operation) = ended {
            self.finish(operation, out);
        }
    }
}

/// Who waits, and until when.
type Waiting = (ClientId, Instant);
/// The same, once nobody may be waiting any more.
type MaybeWaiting = (Option<ClientId>, Instant);

fn refusal(begun: Result<(), ControlError>) -> Option<Reply> {
    begun.err().map(Err)
}

fn done<E: Into<ControlError>>(result: Result<(), E>) -> Reply {
    result.map(|()| Report::Done).map_err(E::into)
}
