//! Random requests, with loops and stores that answer late, refuse or hang. All of it follows from a seed.

use std::collections::BTreeSet;

use scsi_core::device::unit::Unit;
use scsi_core::lun::Lun;

use super::targets::log_in_on;
use super::*;
use crate::control::messages::ServiceId;

/// A target on a loop.
struct Served {
    tid: Tid,
    service: ServiceId,
    units: BTreeMap<Lun, Arc<Unit>>,
}

/// Something that happens later, in any order.
enum Later {
    Loop(ToControl),
    Job(JobDone),
    /// A store whose last handle was dropped closes.
    Close(StoreId),
}

impl Later {
    /// The loop that sent it.
    fn from(&self) -> Option<LoopId> {
        match self {
            Self::Loop(ToControl::Answer(id, ..) | ToControl::LoopEnded(id)) => Some(*id),
            Self::Loop(_) | Self::Job(_) | Self::Close(_) => None,
        }
    }
}

struct Simulation {
    bench: Bench,
    seed: u64,
    last_client: u64,
    /// The clients that wait, and when their replies are due.
    waiting: BTreeMap<ClientId, Instant>,
    loops: BTreeMap<LoopId, Vec<Served>>,
    later: Vec<Later>,
    opened: BTreeSet<StoreId>,
    closed: BTreeSet<StoreId>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut bench = Bench::new();
        if seed.is_multiple_of(3) {
            bench.control.share_loops(2, &mut bench.out).unwrap();
        }
        Self {
            bench,
            seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            last_client: 0,
            waiting: BTreeMap::new(),
            loops: BTreeMap::new(),
            later: Vec::new(),
            opened: BTreeSet::new(),
            closed: BTreeSet::new(),
        }
    }

    /// A number below `end` (xorshift).
    fn below(&mut self, end: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % end
    }

    fn target(&mut self) -> Tid {
        tid(1 + u32::try_from(self.below(3)).unwrap())
    }

    fn within(&mut self) -> Option<Duration> {
        match self.below(3) {
            0 => None,
            1 => Some(Duration::ZERO),
            _ => Some(Duration::from_secs(30)),
        }
    }

    fn request(&mut self) -> Request {
        let (tid, lun) = (self.target(), 1 + self.below(2));
        match self.below(12) {
            0 | 1 => Request::TargetNew { tid, name: format!("iqn.x:{tid}") },
            2 => Request::TargetDelete { tid, within: self.within() },
            3..=5 => Request::UnitNew {
                tid,
                lun,
                device_type: 0,
                strings: UnitStrings { path: Some(format!("/{tid}/{lun}")), ..UnitStrings::default() },
            },
            6 => Request::UnitDelete { tid, lun, within: self.within() },
            7 => {
                let online = if self.below(2) == 0 { "0" } else { "1" };
                let changes = vec![Ok(changed("online", online)), Ok(changed("readonly", "1"))];
                Request::UnitUpdate { tid, lun, changes }
            }
            8 => Request::UnitUpdate { tid, lun, changes: vec![Ok(changed("path", "/other"))] },
            9 => Request::UnitUpdate { tid, lun, changes: vec![Ok(changed("disksize", "auto"))] },
            10 => {
                let value = (1 + self.below(2)).to_string();
                Request::TargetUpdate { tid, name: "loops".to_owned(), value }
            }
            _ => Request::ConnectionDelete { tid, sid: 1 + self.below(3), cid: 0 },
        }
    }

    fn ask(&mut self, request: Request) {
        self.last_client += 1;
        let client = ClientId(self.last_client);
        let within = match &request {
            Request::TargetDelete { within, .. } | Request::UnitDelete { within, .. } => *within,
            _ => None,
        };
        let now = self.bench.now;
        self.waiting.insert(client, now + CONTROL_REPLY + within.unwrap_or_default());
        if let Some(reply) = self.bench.control.request(client, request, now, &mut self.bench.out) {
            self.bench.out.reply(client, reply);
        }
    }

    fn log_in(&mut self) {
        let target = self.target();
        let loops = self.bench.control.loops_of(target);
        let alive = |index: &usize| self.bench.out.loops.contains_key(&loops[*index]);
        let alive: Vec<usize> = (0..loops.len()).filter(alive).collect();
        if !alive.is_empty() {
            let index = usize::try_from(self.below(alive.len() as u64)).unwrap();
            log_in_on(&mut self.bench, target.number(), alive[index]);
        }
    }

    /// Lets the loops and openers take what they were sent; their answers come later.
    fn take(&mut self) {
        for id in self.bench.out.loops.keys().copied().collect::<Vec<_>>() {
            for message in self.bench.out.messages(id) {
                self.loop_message(id, message);
            }
        }
        for job in std::mem::take(&mut self.bench.out.jobs) {
            let done = match job {
                Job::Open(ticket, _) if self.below(4) == 0 => {
                    JobDone::Opened(ticket, Err("/x: no such file".to_owned()))
                }
                Job::Open(ticket, _) => {
                    self.opened.insert(StoreId(ticket.0));
                    JobDone::Opened(ticket, Ok(self.bench.store(ticket, blocks(MIB))))
                }
                Job::Refresh(ticket, _) => JobDone::Refreshed(ticket, Ok(())),
                Job::Flush(ticket, _) => JobDone::Flushed(ticket, Ok(())),
                Job::Resolve(ticket, _) => JobDone::Resolved(ticket, Vec::new()),
                Job::Redirect(ticket, _) => JobDone::Redirected(ticket, Err("no command".to_owned())),
            };
            self.later.push(Later::Job(done));
        }
        let dropped = std::mem::take(&mut *self.bench.dropped.lock().unwrap());
        self.later.extend(dropped.into_iter().map(Later::Close));
        for (client, reply) in std::mem::take(&mut self.bench.out.replies) {
            assert!(self.waiting.remove(&client).is_some(), "{client:?} does not wait for {reply:?}");
        }
    }

    fn loop_message(&mut self, id: LoopId, message: ToLoop) {
        let refuses = self.below(4) == 0;
        let served = self.loops.entry(id).or_default();
        let find = |served: &[Served], tid| served.iter().rposition(|served| served.tid == tid);
        let answer = match message {
            ToLoop::AddTarget(new) => {
                let units = new.units.into_iter().collect();
                return served.push(Served { tid: new.tid, service: new.service, units });
            }
            ToLoop::RemoveTarget(tid, _, ticket) => {
                // The present one of several: the loop is asked for it before it gets another one.
                let found = find(served, tid);
                if let Some(index) = found {
                    served.remove(index);
                    self.end_sessions(id, tid);
                }
                Some((ticket, found.map(drop).ok_or(LoopError::NoTarget)))
            }
            ToLoop::AddUnit(tid, lun, unit, ticket) => Some((
                ticket,
                match find(served, tid) {
                    None => Err(LoopError::NoTarget),
                    Some(_) if refuses => Err(LoopError::Store(IoError::NOT_READY)),
                    Some(index) if served[index].units.contains_key(&lun) => Err(LoopError::UnitExists),
                    Some(index) => {
                        served[index].units.insert(lun, unit);
                        Ok(())
                    }
                },
            )),
            ToLoop::RemoveUnit { tid, lun, by, ticket } => {
                let unit = find(served, tid).map(|index| &mut served[index].units);
                Some((
                    ticket,
                    match unit {
                        None => Err(LoopError::NoTarget),
                        Some(units) if !units.contains_key(&lun) => Err(LoopError::NoUnit),
                        Some(_) if by.is_none() && refuses => Err(LoopError::Busy),
                        Some(units) => {
                            units.remove(&lun);
                            Ok(())
                        }
                    },
                ))
            }
            ToLoop::StopUnit(.., ticket) => Some((ticket, Ok(()))),
            ToLoop::CloseConnection { ticket, .. } => Some((ticket, Err(LoopError::NoConnection))),
            ToLoop::UpdateTarget(..) | ToLoop::Siblings(..) | ToLoop::ChangeMedium(..) => None,
            ToLoop::End(_) => {
                assert!(served.is_empty(), "{id:?} serves targets");
                return self.later.push(Later::Loop(ToControl::LoopEnded(id)));
            }
        };
        if let Some((ticket, result)) = answer {
            self.later.push(Later::Loop(ToControl::Answer(id, ticket, result)));
        }
    }

    fn end_sessions(&mut self, id: LoopId, tid: Tid) {
        let sessions = self.bench.control.sessions().of_target(tid);
        let ended: Vec<_> = sessions.map(|session| (session.tsih, session.nexus)).collect();
        for (tsih, nexus) in ended {
            let message = ToControl::SessionEnded(id, tid, tsih, nexus);
            self.bench.control.message(message, self.bench.now, &mut self.bench.out);
        }
    }

    /// A loop that is not shared fails: its answers are lost.
    fn fail_loop(&mut self) {
        let shared = &self.bench.control.services.shared;
        let own: Vec<_> = self.bench.out.loops.keys().filter(|id| !shared.contains(id)).copied().collect();
        if own.is_empty() {
            return;
        }
        let id = own[usize::try_from(self.below(own.len() as u64)).unwrap()];
        self.later.retain(|later| later.from() != Some(id));
        self.loops.remove(&id);
        let (now, out) = (self.bench.now, &mut self.bench.out);
        self.bench.control.message(ToControl::LoopFailed(id), now, out);
    }

    /// Lets one of the things happen that wait.
    fn happen(&mut self) {
        if self.later.is_empty() {
            return;
        }
        let mut index = usize::try_from(self.below(self.later.len() as u64)).unwrap();
        // The messages of a loop arrive in their order.
        if let Some(id) = self.later[index].from() {
            index = self.later.iter().position(|other| other.from() == Some(id)).unwrap();
        }
        let (now, out) = (self.bench.now, &mut self.bench.out);
        match self.later.remove(index) {
            Later::Loop(message) => self.bench.control.message(message, now, out),
            Later::Job(done) => self.bench.control.job_done(done, now, out),
            Later::Close(id) => {
                assert!(self.closed.insert(id), "{id:?} closes once");
                self.bench.control.job_done(JobDone::Closed(id), now, out);
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.bench.now += time;
        let now = self.bench.now;
        self.bench.control.handle_timeout(now, &mut self.bench.out);
        self.take();
        let late: Vec<_> = self.waiting.iter().filter(|(_, due)| **due <= now).collect();
        assert!(late.is_empty(), "replies are late: {late:?}");
    }

    fn settle(&mut self) {
        self.take();
        while !self.later.is_empty() {
            self.happen();
            self.take();
        }
    }

    fn step(&mut self) {
        match self.below(8) {
            0..=2 => {
                let request = self.request();
                self.ask(request);
            }
            3 => self.log_in(),
            4..=6 => self.happen(),
            _ if self.below(20) == 0 => self.fail_loop(),
            _ => {
                let time = Duration::from_millis(self.below(4000));
                self.pass(time);
            }
        }
        self.take();
    }

    /// Removes all targets. Nothing may be left.
    fn end(mut self) {
        self.settle();
        for number in 1..=3 {
            self.ask(Request::TargetDelete { tid: tid(number), within: Some(Duration::ZERO) });
        }
        self.settle();
        assert!(self.waiting.is_empty(), "{:?}", self.waiting);
        assert_eq!(self.bench.control.pending.works().count(), 0, "operations");
        assert_eq!(self.bench.control.open_paths().count(), 0, "open stores");
        assert_eq!(self.closed, self.opened, "stores that were opened are closed");
        assert!(self.bench.control.model().is_empty() && self.bench.control.sessions().is_empty());
        let shared = self.bench.control.services.shared.len();
        assert_eq!(self.bench.out.loops.len(), shared, "loops of removed targets have ended");
        let served = self.loops.values().flatten().map(|served| (served.tid, served.service));
        assert_eq!(served.collect::<Vec<_>>(), [], "targets on loops");
        for number in 1..=3 {
            let request = target_new(number, &format!("iqn.x:{number}"));
            assert_eq!(self.bench.ask(request), Some(Ok(String::new())), "the number is free");
        }
    }
}

#[test]
fn every_request_is_answered_once_in_time_and_nothing_is_left() {
    for seed in 0..200 {
        let mut simulation = Simulation::new(seed);
        for _ in 0..200 {
            simulation.step();
        }
        simulation.end();
    }
}
