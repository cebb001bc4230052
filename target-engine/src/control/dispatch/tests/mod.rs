//! The control plane with an `Outside` that records what it is asked for.

mod attach;
mod logins;
mod loops;
mod random;
mod redirects;
mod removal;
mod stat;
mod system;
mod targets;
mod units;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use scsi_core::store::{Backstore, IoError};

use super::*;
use crate::control::admission::AdmissionCounts;
use crate::control::error::TgtadmError;
use crate::control::jobs::Job;
use crate::control::jobs::JobDone;
use crate::control::messages::{Addresses, Attach, LoginId, LoopError, Ticket, ToLoop};
use crate::control::report;
use crate::control::request::{UnitChange, UnitStrings};
use crate::iscsi::login::Answer;
use crate::limits::CONTROL_REPLY;
use crate::model::portal::PortalOptions;
use crate::model::store::{StoreId, StoreKind};
use crate::model::{PortalId, Tid};
use crate::test_store::TestStore;

/// A reply as tgtadm prints it.
type Said = Result<String, ControlError>;

fn said(reply: Reply) -> Said {
    if let Err(refusal) = &reply {
        assert!(refusal.reason.len() > 10, "{refusal:?} has no reason");
    }
    reply.map(|answer| report::text::report(&answer))
}

/// Records the effects.
#[derive(Default)]
struct Recorder {
    replies: Vec<(ClientId, Said)>,
    loops: BTreeMap<LoopId, Vec<ToLoop>>,
    names: Vec<String>,
    jobs: Vec<Job>,
    /// Takes no further jobs.
    full: bool,
    listening: BTreeMap<PortalId, SocketAddr>,
    answers: Vec<(LoginId, Answer)>,
    ended_loops: Vec<LoopId>,
    failed_loops: Vec<LoopId>,
    no_threads: bool,
    /// Connections that were handed to loops, if the loops take any.
    attached: Option<Vec<Attach>>,
    notes: Vec<String>,
    debug: bool,
    ending: bool,
    logins_closed: bool,
    ended_logins: Vec<LoginId>,
}

impl Outside for Recorder {
    fn reply(&mut self, client: ClientId, reply: Reply) {
        self.replies.push((client, said(reply)));
    }

    fn spawn_loop(&mut self, id: LoopId, thread_name: String) -> io::Result<()> {
        if self.no_threads {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.names.push(thread_name);
        self.loops.insert(id, Vec::new());
        Ok(())
    }

    fn send(&mut self, to: LoopId, message: ToLoop) -> Result<(), LoopGone> {
        self.loops.get_mut(&to).ok_or(LoopGone)?.push(message);
        Ok(())
    }

    fn attach(&mut self, _: LoopId, _: LoginId, attach: Box<Attach>) -> Result<(), Box<Attach>> {
        match &mut self.attached {
            None => Err(attach),
            Some(attached) => {
                attached.push(*attach);
                Ok(())
            }
        }
    }

    fn loop_ended(&mut self, id: LoopId) {
        self.loops.remove(&id);
        self.ended_loops.push(id);
    }

    fn loop_failed(&mut self, id: LoopId) {
        self.failed_loops.push(id);
    }

    fn job(&mut self, job: Job) -> Result<(), Job> {
        if self.full {
            return Err(job);
        }
        self.jobs.push(job);
        Ok(())
    }

    fn listen(&mut self, id: PortalId, address: SocketAddr) -> io::Result<SocketAddr> {
        if self.listening.values().any(|taken| *taken == address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        self.listening.insert(id, address);
        Ok(address)
    }

    fn close_portal(&mut self, id: PortalId) {
        self.listening.remove(&id);
    }

    fn admission_counts(&self) -> AdmissionCounts {
        AdmissionCounts { logins: 3, ..AdmissionCounts::default() }
    }

    fn close_logins(&mut self) {
        self.logins_closed = true;
    }

    fn answer_login(&mut self, login: LoginId, answer: Answer) {
        self.answers.push((login, answer));
    }

    fn is_login_waiting(&self, login: LoginId) -> bool {
        !self.ended_logins.contains(&login)
    }

    fn store_kinds(&self) -> Vec<StoreKind> {
        let kinds = [("rdwr", true, false), ("aio", false, false), ("memory", false, true)];
        let kind = |(name, takes_flags, needs_medium)| StoreKind { name, takes_flags, needs_medium };
        kinds.map(kind).to_vec()
    }

    fn note(&mut self, text: std::fmt::Arguments<'_>) {
        self.notes.push(text.to_string());
    }

    fn set_debug(&mut self, on: bool) {
        self.debug = on;
    }

    fn end(&mut self) {
        self.ending = true;
    }
}

impl Recorder {
    /// Takes the messages to a loop.
    fn messages(&mut self, id: LoopId) -> Vec<ToLoop> {
        self.loops.get_mut(&id).map(std::mem::take).unwrap_or_default()
    }
}

/// A store of some size, as that of a file on a file system that cannot discard.
fn blocks(size: u64) -> TestStore {
    let mut store = TestStore::idle(size);
    store.geometry.physical_block_len = 4096;
    let can = &mut store.capabilities;
    (can.discard, can.discard_zeroes, can.write_zeroes, can.allocation) = (false, false, false, false);
    store
}

/// Stores whose last handle was dropped.
type Dropped = Arc<Mutex<Vec<StoreId>>>;

/// The control plane, the recorder and the clock.
struct Bench {
    control: Control,
    out: Recorder,
    dropped: Dropped,
    now: Instant,
}

const CLIENT: ClientId = ClientId(9);
const MIB: u64 = 1 << 20;

impl Bench {
    fn new() -> Self {
        let (control, out, dropped) = (Control::default(), Recorder::default(), Dropped::default());
        Self { control, out, dropped, now: Instant::now() }
    }

    /// With one target, whose only loop is `LoopId(1)` and has read its first message.
    fn with_target() -> Self {
        let mut bench = Self::new();
        assert_eq!(bench.ask(target_new(1, "iqn.x:one")), Some(Ok(String::new())));
        bench.out.messages(LoopId(1));
        bench
    }

    /// And with LUN 1 in it.
    fn with_unit() -> Self {
        let mut bench = Self::with_target();
        assert_eq!(bench.ask(unit_new(1, 1)), None);
        let ticket = bench.opened(Ok(64 * MIB));
        assert_eq!(bench.answer(LoopId(1), ticket, Ok(())), [Ok(String::new())]);
        bench
    }

    /// Makes a request. A flush that follows succeeds.
    fn ask(&mut self, request: Request) -> Option<Said> {
        let said = self.ask_without_flush(request);
        if said.is_none() && matches!(self.out.jobs.last(), Some(Job::Flush(..))) {
            return self.flushed(Ok(())).pop();
        }
        said
    }

    fn ask_without_flush(&mut self, request: Request) -> Option<Said> {
        self.control.request(CLIENT, request, self.now, &mut self.out).map(said)
    }

    /// Completes the last job, a flush. Returns the replies that follow.
    fn flushed(&mut self, result: Result<(), IoError>) -> Vec<Said> {
        let Some(Job::Flush(ticket, _)) = self.out.jobs.pop() else { panic!("no store is to be flushed") };
        self.control.job_done(JobDone::Flushed(ticket, result), self.now, &mut self.out);
        self.replies()
    }

    fn show(&mut self) -> String {
        self.ask(Request::TargetShowAll).unwrap().unwrap()
    }

    /// Completes the only job, an open. Returns the ticket of the next message to the loops, if there is one.
    fn opened(&mut self, store: Result<u64, &str>) -> Ticket {
        let Some(Job::Open(ticket, _)) = self.out.jobs.pop() else { panic!("no store is to be opened") };
        let store = store.map(|size| self.store(ticket, blocks(size))).map_err(str::to_owned);
        self.control.job_done(JobDone::Opened(ticket, store), self.now, &mut self.out);
        Ticket(ticket.0 + 1)
    }

    /// An opened store.
    fn store(&self, ticket: Ticket, store: TestStore) -> Arc<dyn Backstore> {
        let dropped = Arc::clone(&self.dropped);
        Arc::new(store.on_drop(move || dropped.lock().unwrap().push(StoreId(ticket.0))))
    }

    /// Closes the only store that was dropped. Returns the replies that follow.
    #[track_caller]
    fn closed(&mut self) -> Vec<Said> {
        let dropped = std::mem::take(&mut *self.dropped.lock().unwrap());
        assert_eq!(dropped.len(), 1, "one store is to be closed");
        self.control.job_done(JobDone::Closed(dropped[0]), self.now, &mut self.out);
        self.replies()
    }

    /// The only loop has stopped a unit, as it was asked. Returns the replies that follow.
    fn stopped(&mut self) -> Vec<Said> {
        let messages = self.out.messages(LoopId(1));
        let Some(ToLoop::StopUnit(.., ticket)) = messages.last() else { panic!("{messages:?}") };
        self.answer(LoopId(1), *ticket, Ok(()))
    }

    /// A loop answers. Returns the replies that follow.
    fn answer(&mut self, from: LoopId, ticket: Ticket, answer: Result<(), LoopError>) -> Vec<Said> {
        self.control.message(ToControl::Answer(from, ticket, answer), self.now, &mut self.out);
        self.replies()
    }

    fn replies(&mut self) -> Vec<Said> {
        std::mem::take(&mut self.out.replies)
            .into_iter()
            .map(|(client, reply)| {
                assert_eq!(client, CLIENT);
                reply
            })
            .collect()
    }
}

fn tid(number: u32) -> Tid {
    Tid::new(number).unwrap()
}

fn target_new(number: u32, name: &str) -> Request {
    Request::TargetNew { tid: tid(number), name: name.to_owned() }
}

fn unit_new(number: u32, lun: u64) -> Request {
    let strings = UnitStrings { path: Some("/srv/disk.img".to_owned()), ..UnitStrings::default() };
    Request::UnitNew { tid: tid(number), lun, device_type: 0, strings }
}

#[test]
fn all_portals_of_a_request_are_added_or_none() {
    let mut bench = Bench::new();
    let new = |list: &str| Request::PortalNew(PortalOptions::parse(list).unwrap());
    let delete = |list: &str| Request::PortalDelete(PortalOptions::parse(list).unwrap());
    let refused = Some(Err(TgtadmError::InvalidRequest.into()));
    assert_eq!(bench.ask(new("portal=127.0.0.1,portal=[::1]:7,nop_interval=4")), Some(Ok(String::new())));
    assert_eq!(bench.control.model.nop_interval, 4);
    let shown = "Portal: [::1]:7,1\nPortal: 127.0.0.1:3260,1\n";
    assert_eq!(bench.ask(Request::PortalShow), Some(Ok(shown.to_owned())));
    assert_eq!(bench.ask(new("portal=127.0.0.1:9,portal=127.0.0.1")), refused);
    assert_eq!(bench.ask(Request::PortalShow), Some(Ok(shown.to_owned())));
    assert_eq!(bench.out.listening.len(), 2);
    assert_eq!(bench.ask(delete("portal=127.0.0.1:3260")), Some(Ok(String::new())));
    assert_eq!(bench.ask(delete("portal=127.0.0.1:3260")), refused);
    assert_eq!(bench.ask(Request::PortalShow), Some(Ok("Portal: [::1]:7,1\n".to_owned())));
}

#[test]
fn portal_name_is_resolved_by_a_job() {
    let mut bench = Bench::new();
    let request = || Request::PortalNew(PortalOptions::parse("portal=127.0.0.1,portal=storage:7").unwrap());
    for (addresses, reply, listening) in [
        (vec![], Err(TgtadmError::InvalidRequest.into()), 0),
        (vec!["10.0.0.1:7", "[::1]:7"], Ok(String::new()), 3),
    ] {
        assert_eq!(bench.ask(request()), None);
        let Some(Job::Resolve(ticket, spec)) = bench.out.jobs.pop() else { panic!("no name is resolved") };
        assert_eq!(spec.to_string(), "storage:7");
        let addresses = addresses.into_iter().map(|address| address.parse().unwrap()).collect();
        bench.control.job_done(JobDone::Resolved(ticket, addresses), bench.now, &mut bench.out);
        assert_eq!(bench.replies(), [reply]);
        assert_eq!(bench.out.listening.len(), listening);
    }
}

#[test]
fn accounts_are_made_bound_and_deleted() {
    use crate::control::request::{Direction::Incoming, Secret};
    let mut bench = Bench::with_target();
    let user = || "mike".to_owned();
    let new = || Request::AccountNew { user: user(), password: Secret::new("pw".to_owned()) };
    let bind = |tid| Request::AccountBind { tid, user: user(), direction: Incoming, name: None };
    assert_eq!(bench.ask(bind(Some(tid(1)))), Some(Err(TgtadmError::NoUser.into())));
    assert_eq!(bench.ask(new()), Some(Ok(String::new())));
    assert_eq!(bench.ask(new()), Some(Err(TgtadmError::UserExists.into())));
    assert_eq!(bench.ask(bind(Some(tid(2)))), Some(Err(TgtadmError::NoTarget.into())));
    assert_eq!(bench.ask(bind(Some(tid(1)))), Some(Ok(String::new())));
    assert_eq!(bench.ask(bind(None)), Some(Ok(String::new())));
    assert!(bench.show().contains("    Account information:\n        mike\n    ACL"));
    assert!(bench.ask(Request::SystemShow).unwrap().unwrap().contains("Account information:\n\n    mike\n"));
    let same = |bench: &mut Bench, user: &str, password: &str| {
        let password = Secret::new(password.to_owned());
        bench.ask(Request::AccountCompare { user: user.to_owned(), password })
    };
    let says = |answer: &str| Some(Ok(format!("mike: {answer}\n")));
    assert_eq!((same(&mut bench, "mike", "pw"), same(&mut bench, "mike", "pv")), (says("Yes"), says("No")));
    assert_eq!(same(&mut bench, "nobody", "pw"), Some(Err(TgtadmError::NoUser.into())));
    let update = Request::AccountUpdate { user: user(), password: Secret::new("other".to_owned()) };
    assert_eq!(bench.ask(update), Some(Ok(String::new())));
    assert_eq!(
        (same(&mut bench, "mike", "pw"), same(&mut bench, "mike", "other")),
        (says("No"), says("Yes"))
    );
    assert!(bench.show().contains("    Account information:\n        mike\n    ACL"), "it is still bound");
    assert_eq!(bench.ask(Request::AccountDelete { user: user() }), Some(Ok(String::new())));
    assert!(!bench.show().contains("mike"));
    assert_eq!(bench.ask(Request::AccountShow), Some(Ok(String::new())));
}

/// A change of a unit that is valid.
#[track_caller]
fn changed(name: &str, value: &str) -> UnitChange {
    UnitChange::parse(name, value).unwrap()
}
