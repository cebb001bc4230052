//! The operators: management requests at random, the openers of stores, and the replies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use scsi_core::device::NexusId;
use scsi_core::lun::Lun;
use scsi_core::store::Backstore;
use target_engine::control::jobs::{Job, JobDone};
use target_engine::control::pending::ClientId;
use target_engine::control::report::Reply;
use target_engine::control::request::{Binding, Direction, Request, Secret, UnitChange, UnitStrings};
use target_engine::limits::CONTROL_REPLY;
use target_engine::model::Tid;
use target_engine::model::state::State;
use target_engine::model::store::StoreId;
use target_engine::runtime::open_store::{Closer, OpenStore};
use tgt_tests::pair::{Pair, Side};
use tgt_tests::random::Random;
use tgt_tests::setup::DISK;
use tgt_tests::sim_store::SimStore;

/// The account that closes a target to the initiators, which know no secret.
const USER: &str = "user";

/// The name of a target.
pub(super) fn name(target: u32) -> String {
    format!("iqn.2026-01.org.example:disk{target}")
}

pub(super) struct Management {
    pair: Pair,
    stores: Vec<SimStore>,
    /// The clients that wait for a reply.
    waiting: BTreeMap<ClientId, Waiting>,
    last_client: u64,
    /// Results of jobs that have not arrived.
    later: Vec<JobDone>,
    /// The open stores, and their targets.
    open: BTreeMap<StoreId, u32>,
    closer: Arc<Closed>,
    /// The loops that serve all targets.
    shared: usize,
    /// Targets that were removed.
    pub(super) removed: usize,
    /// Logins that were refused as they had to be.
    pub(super) refused: usize,
}

/// A request that waits for its reply.
#[derive(Debug)]
struct Waiting {
    request: Request,
    /// When the reply is due.
    due: Instant,
    /// The sessions of the target that is removed.
    sessions: Vec<NexusId>,
}

/// Stores that were closed, until the control plane is informed.
#[derive(Default)]
struct Closed(Mutex<BTreeSet<u64>>);

impl Closer for Closed {
    fn close(self: Arc<Self>, StoreId(id): StoreId, store: Arc<dyn Backstore>) {
        drop(store);
        assert!(self.0.lock().expect("no panic").insert(id), "store {id} closes once");
    }
}

impl Management {
    /// With `shared`, this many loops serve all targets.
    pub(super) fn new(pair: &Pair, stores: &[SimStore], shared: usize) -> Self {
        let mut side = pair.side();
        let Side { control, world, .. } = &mut *side;
        control.share_loops(shared, world).expect("loops in memory");
        Self {
            shared,
            pair: pair.clone(),
            stores: stores.to_vec(),
            waiting: BTreeMap::new(),
            last_client: 0,
            later: Vec::new(),
            open: BTreeMap::new(),
            closer: Arc::default(),
            removed: 0,
            refused: 0,
        }
    }

    /// Makes a target with its unit, on this many loops if there are as many.
    pub(super) fn make(&mut self, target: u32, loops: usize) {
        let update = |name: &str, value: &str| Request::TargetUpdate {
            tid: tid(target),
            name: name.to_owned(),
            value: value.to_owned(),
        };
        self.new_target(target);
        self.ask(update("loops", &loops.to_string()));
        self.ask(update("nop_interval", "5"));
        self.ask(update("nop_count", "3"));
        self.ask(unit_new(target));
        self.settle(&mut Random::new(0));
    }

    fn new_target(&mut self, target: u32) {
        self.ask(Request::TargetNew { tid: tid(target), name: name(target) });
        let rule = Binding::Initiators { address: Some("ALL".to_owned()), name: None };
        self.ask(Request::TargetBind { tid: tid(target), rule });
    }

    /// Sends a random request.
    pub(super) fn step(&mut self, random: &mut Random) {
        let target = 1 + random.below(self.stores.len() as u64) as u32;
        let tid = tid(target);
        let update = |name: &str, value: &str| Request::TargetUpdate {
            tid,
            name: name.to_owned(),
            value: value.to_owned(),
        };
        match random.below(24) {
            0 => self.ask(Request::TargetDelete { tid, within: within(random) }),
            1..=4 => self.new_target(target),
            // A hanging write of the previous store could overwrite what is written to the next one.
            5..=8 if !self.open.values().any(|of| *of == target) => self.ask(unit_new(target)),
            5..=8 => self.ask(Request::TargetShowAll),
            9 => self.ask(Request::UnitDelete { tid, lun: DISK, within: within(random) }),
            10 | 11 => self.ask(update("state", "offline")),
            12..=14 => self.ask(update("state", "ready")),
            15 => self.change_unit(target, "online", "0"),
            16 | 17 => self.change_unit(target, "online", "1"),
            18 => self.change_unit(target, "disksize", "auto"),
            19 => self.delete_connection(target, random),
            20 => {
                let secret = Secret::new("a good secret".to_owned());
                self.ask(Request::AccountNew { user: USER.to_owned(), password: secret });
                let (tid, user) = (Some(tid), USER.to_owned());
                self.ask(Request::AccountBind { tid, user, direction: Direction::Incoming, name: None });
            }
            21 | 22 => self.ask(Request::AccountDelete { user: USER.to_owned() }),
            _ => {
                let loops = (1 + random.below(3)).to_string();
                self.ask(update("loops", &loops));
            }
        }
    }

    fn change_unit(&mut self, target: u32, name: &str, value: &str) {
        let change = UnitChange::parse(name, value).expect("a valid change");
        self.ask(Request::UnitUpdate { tid: tid(target), lun: DISK, changes: vec![Ok(change)] });
    }

    fn delete_connection(&mut self, target: u32, random: &mut Random) {
        let sids: Vec<u64> = {
            let side = self.pair.side();
            side.control.sessions().of_target(tid(target)).map(|session| session.tsih.0.into()).collect()
        };
        let chosen = random.below(1 + sids.len() as u64) as usize;
        let sid = sids.get(chosen).copied().unwrap_or(u64::MAX);
        self.ask(Request::ConnectionDelete { tid: tid(target), sid, cid: 0 });
    }

    fn ask(&mut self, request: Request) {
        self.last_client += 1;
        let client = ClientId(self.last_client);
        let within = match &request {
            Request::TargetDelete { within, .. } | Request::UnitDelete { within, .. } => *within,
            _ => None,
        };
        let mut side = self.pair.side();
        let due = side.clock.now() + CONTROL_REPLY + within.unwrap_or_default();
        let sessions = match &request {
            Request::TargetDelete { tid, .. } => {
                side.control.sessions().of_target(*tid).map(|session| session.nexus).collect()
            }
            _ => Vec::new(),
        };
        self.waiting.insert(client, Waiting { request: request.clone(), due, sessions });
        if let Some(reply) = side.request(client, request) {
            side.world.replies.push((client, reply));
        }
        drop(side);
        self.take_replies();
    }

    /// Takes new jobs and replies, and lets some of the results of jobs arrive.
    pub(super) fn take(&mut self, random: &mut Random) {
        self.take_jobs(random);
        while !self.later.is_empty() && random.below(2) == 0 {
            let done = self.later.swap_remove(random.below(self.later.len() as u64) as usize);
            self.pair.side().job_done(done);
        }
        self.take_jobs(random);
        self.take_replies();
    }

    /// Takes new jobs and replies after time has passed: no reply may be late.
    pub(super) fn check_replies(&mut self, random: &mut Random) {
        self.take(random);
        let now = self.pair.side().clock.now();
        let late: Vec<_> = self.waiting.values().filter(|waiting| waiting.due <= now).collect();
        assert!(late.is_empty(), "replies are late: {late:?}");
    }

    /// Lets all jobs end.
    pub(super) fn settle(&mut self, random: &mut Random) {
        loop {
            self.pair.settle();
            self.take_jobs(random);
            self.take_replies();
            let Some(done) = self.later.pop() else { return };
            self.pair.side().job_done(done);
        }
    }

    /// Whether every request has got its reply, and every job has ended.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.later.is_empty()
    }

    fn take_jobs(&mut self, random: &mut Random) {
        let jobs = std::mem::take(&mut self.pair.side().world.jobs);
        for job in jobs {
            self.later.push(match job {
                Job::Open(ticket, _) if random.below(8) == 1 => {
                    JobDone::Opened(ticket, Err("no such file".to_owned()))
                }
                Job::Open(ticket, spec) => {
                    let target: u32 = spec.path[1..].parse().expect("/<target>");
                    let id = StoreId(ticket.0);
                    self.open.insert(id, target);
                    let store = Arc::new(self.stores[target as usize - 1].clone());
                    let closer: Arc<dyn Closer> = Arc::clone(&self.closer) as _;
                    JobDone::Opened(ticket, Ok(OpenStore::new(id, store, closer)))
                }
                Job::Refresh(ticket, unit) => JobDone::Refreshed(ticket, unit.refresh_capacity().map(drop)),
                Job::Flush(ticket, store) => JobDone::Flushed(ticket, store.flush()),
                Job::Resolve(ticket, _) => JobDone::Resolved(ticket, Vec::new()),
                Job::Redirect(ticket, _) => JobDone::Redirected(ticket, Err("no command".to_owned())),
            });
        }
        let closed = std::mem::take(&mut *self.closer.0.lock().expect("no panic"));
        for id in closed.into_iter().map(StoreId) {
            self.open.remove(&id);
            self.later.push(JobDone::Closed(id));
        }
    }

    fn take_replies(&mut self) {
        let replies = std::mem::take(&mut self.pair.side().world.replies);
        for (client, reply) in replies {
            let waiting = self.waiting.remove(&client).expect("one reply for each request");
            self.replied(&waiting, &reply);
        }
    }

    fn replied(&mut self, waiting: &Waiting, reply: &Reply) {
        let (Request::TargetDelete { tid, .. }, Ok(_)) = (&waiting.request, reply) else { return };
        self.removed += 1;
        let side = self.pair.side();
        let mut left = side.control.sessions().of_target(*tid);
        // Its number is free before its stores are closed: there may be another target already.
        let is_removed = |nexus| waiting.sessions.contains(nexus);
        let left = left.find(|session| is_removed(&session.nexus)).map(|session| session.tsih);
        assert_eq!(left, None, "a session of a removed target");
        if side.control.model().target(*tid).is_err() {
            assert_eq!(side.world.sessions_of(*tid), 0, "sessions of a removed target on its loops");
            assert_eq!(side.world.commands_of(*tid), 0, "commands of a removed target");
        }
    }

    /// Whether a target must admit initiators that know no secret.
    pub(super) fn admits(&self, target: u32) -> bool {
        let side = self.pair.side();
        let target = side.control.model().find_target(&name(target));
        target.is_some_and(|target| {
            let is_open = !target.accounts.requires_proof() && target.acl.rules().next().is_some();
            is_open && target.state == State::Ready
        })
    }

    /// Makes a target usable, whatever was done to it.
    pub(super) fn repair(&mut self, target: u32, random: &mut Random) {
        self.ask(Request::AccountDelete { user: USER.to_owned() });
        self.new_target(target);
        let (tid, name, value) = (tid(target), "state".to_owned(), "ready".to_owned());
        self.ask(Request::TargetUpdate { tid, name, value });
        self.settle(random);
        let lun = Lun::new(DISK).expect("a LUN");
        let has_unit = |management: &Self| {
            let side = management.pair.side();
            let target = side.control.model().find_target(&self::name(target));
            target.is_some_and(|target| target.units.contains_key(&lun))
        };
        while !has_unit(self) {
            self.ask(unit_new(target));
            self.settle(random);
        }
        self.change_unit(target, "online", "1");
        self.settle(random);
    }

    /// Removes all targets. Nothing may be left.
    pub(super) fn end(&mut self, random: &mut Random) {
        for target in 1..=self.stores.len() as u32 {
            self.ask(Request::TargetDelete { tid: tid(target), within: Some(Duration::ZERO) });
        }
        self.settle(random);
        assert!(self.is_idle(), "requests without a reply: {:?}", self.waiting);
        assert!(self.open.is_empty(), "open stores: {:?}", self.open);
        let side = self.pair.side();
        assert_eq!(side.control.open_paths().count(), 0, "open stores that the control plane knows");
        assert!(side.control.model().is_empty() && side.control.sessions().is_empty());
        assert_eq!(side.world.states().count(), self.shared, "loops of removed targets have ended");
        assert_eq!(side.control.next_deadline(), None, "operations");
    }
}

fn tid(target: u32) -> Tid {
    Tid::new(target).expect("a number of a target")
}

fn unit_new(target: u32) -> Request {
    let strings = UnitStrings { path: Some(format!("/{target}")), ..UnitStrings::default() };
    Request::UnitNew { tid: tid(target), lun: DISK, device_type: 0, strings }
}

fn within(random: &mut Random) -> Option<Duration> {
    [None, Some(Duration::ZERO), Some(Duration::from_secs(5))][random.below(3) as usize]
}
