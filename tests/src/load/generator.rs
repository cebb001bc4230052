//! The event loop of all sessions, and their shared state.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use super::cost::{own_cpu_time, process_cost};
use super::dial::dial;
use super::histogram::Histogram;
use super::session::Session;
use super::{Cost, LoadError, Outcome, Plan, Shape, Work, odd};

/// Time without any event after which the run fails.
const STALL: Duration = Duration::from_secs(20);
/// Longest sleep between reads of the clock.
const TICK: Duration = Duration::from_millis(50);
const EVENTS: usize = 256;

/// Logs in all sessions, runs the load, measures, and waits until the outstanding commands end.
///
/// # Errors
/// The first error of any session.
pub fn run(plan: &Plan) -> Result<Outcome, LoadError> {
    Generator::log_in(plan)?.run()
}

/// The transfer of one command.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Transfer {
    pub(super) offset: u64,
    pub(super) len: u32,
    pub(super) read: bool,
}

/// State shared by all sessions: offsets, clock, counters.
pub(super) struct Shared {
    pub(super) now: u64,
    epoch: Instant,
    /// For each unit, the number of bytes used and the next sequential offset.
    units: Vec<(u64, u64)>,
    work: Work,
    random: bool,
    verify: bool,
    state: u64,
    counting: bool,
    stopping: bool,
    commands: u64,
    bytes: u64,
    latency: Histogram,
}

impl Shared {
    #[inline]
    pub(super) fn read_clock(&mut self) {
        self.now = self.epoch.elapsed().as_nanos() as u64;
    }

    #[inline]
    pub(super) fn checks_stamps(&self) -> bool {
        self.verify
    }

    /// The next transfer of this length on a unit; `None` if no command may be sent any more.
    #[inline]
    pub(super) fn next_transfer(&mut self, unit: usize, len: u32) -> Option<Transfer> {
        if self.stopping {
            return None;
        }
        let read = match self.work {
            Work::Read => true,
            Work::Write | Work::Fill => false,
            Work::Mixed(percent) => self.random_below(100) < u64::from(percent),
        };
        let (used, next) = self.units[unit];
        let wide = u64::from(len);
        let offset = if self.random {
            self.random_below(used / wide) * wide
        } else if next + wide <= used {
            next
        } else if self.work == Work::Fill {
            return None;
        } else {
            0
        };
        self.units[unit].1 = offset + wide;
        Some(Transfer { offset, len, read })
    }

    #[inline]
    fn random_below(&mut self, bound: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        ((u128::from(self.state) * u128::from(bound)) >> 64) as u64
    }

    #[inline]
    pub(super) fn count(&mut self, len: u32, submitted: Option<u64>) {
        if self.counting {
            self.commands += 1;
            self.bytes += u64::from(len);
            if let Some(submitted) = submitted {
                self.latency.record(self.now.saturating_sub(submitted));
            }
        }
    }
}

/// Sessions that have logged in, ready for the load.
pub struct Generator<'a> {
    plan: &'a Plan,
    /// Ends the measurement in place of [`Plan::time`].
    over: Option<&'a AtomicBool>,
    epoll: OwnedFd,
    sessions: Vec<Session>,
    shared: Shared,
    started: Counted,
    /// Commands of each session at the end of the measurement.
    counts: Vec<u64>,
}

/// Time and costs at the start or end of the measurement.
#[derive(Clone, Copy, Default)]
struct Counted {
    at: u64,
    cost: Cost,
    own_cpu: Duration,
}

impl<'a> Generator<'a> {
    /// Logs in all sessions.
    ///
    /// # Errors
    /// The error of the first login that fails.
    pub fn log_in(plan: &'a Plan) -> Result<Self, LoadError> {
        let fill = plan.work == Work::Fill;
        let per_unit = if fill { 1 } else { plan.sessions };
        let mut sessions = Vec::new();
        let mut units = vec![(0, 0); plan.units.len()];
        for number in 0..plan.units.len() * per_unit {
            let unit = number % plan.units.len();
            let dialled =
                dial(plan.portal, &plan.units[unit], plan.digests, plan.first_port + number as u32)?;
            let block_len = dialled.block_len;
            let whole = Shape { transfer_len: plan.transfer_len, depth: plan.depth };
            let mixed = plan.mix.iter().cycle().nth(number / plan.units.len());
            let Shape { transfer_len, depth } = mixed.copied().unwrap_or(whole);
            if block_len == 0 || !transfer_len.is_multiple_of(block_len) || transfer_len == 0 {
                return Err(odd(format!(
                    "transfer length {transfer_len} is not a multiple of the block length {block_len}"
                )));
            }
            let size = dialled.blocks.saturating_mul(block_len.into());
            let used = if plan.range == 0 { size } else { size.min(plan.range) };
            units[unit].0 = used;
            if used < transfer_len.into() {
                return Err(odd("the unit is smaller than one transfer"));
            }
            let stamps = plan.verify || fill;
            let mut session = Session::new(dialled, unit, depth, stamps, transfer_len);
            session.timed = plan.mix.first().is_none_or(|first| Some(first) == mixed);
            sessions.push(session);
        }
        let shared = Shared {
            now: 0,
            epoch: Instant::now(),
            units,
            work: plan.work,
            random: plan.random && !fill,
            verify: plan.verify,
            state: plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            counting: false,
            stopping: false,
            commands: 0,
            bytes: 0,
            latency: Histogram::default(),
        };
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let started = Counted::default();
        Ok(Self { plan, over: None, epoll, sessions, shared, started, counts: Vec::new() })
    }

    /// Runs the load until the flag is set instead of for [`Plan::time`].
    ///
    /// # Errors
    /// The first error of any session.
    pub fn run_until(mut self, over: &'a AtomicBool) -> Result<Outcome, LoadError> {
        self.over = Some(over);
        self.run()
    }

    /// Runs the load, measures, and waits until the outstanding commands end.
    ///
    /// # Errors
    /// The first error of any session.
    pub fn run(mut self) -> Result<Outcome, LoadError> {
        for (index, session) in self.sessions.iter().enumerate() {
            epoll::add(&self.epoll, &session.socket, EventData::new_u64(index as u64), EventFlags::IN)?;
        }
        let fill = self.plan.work == Work::Fill;
        let warm_up = if fill { Duration::ZERO } else { self.plan.warm_up };
        self.shared.read_clock();
        let begin = self.shared.now + warm_up.as_nanos() as u64;
        if warm_up.is_zero() {
            self.start_counting();
        }
        for index in 0..self.sessions.len() {
            self.shared.read_clock();
            self.sessions[index].refill(&mut self.shared);
            self.flush(index)?;
        }
        let mut counted = None;
        let mut last_event_at = self.shared.now;
        loop {
            if self.turn()? {
                last_event_at = self.shared.now;
            }
            let now = self.shared.now;
            if !self.shared.counting && !self.shared.stopping && now >= begin {
                self.start_counting();
            }
            let is_late = || now >= self.started.at + self.plan.time.as_nanos() as u64;
            let over = if fill {
                self.outstanding() == 0
            } else {
                self.shared.counting && self.over.map_or_else(is_late, |over| over.load(Ordering::Relaxed))
            };
            if over && counted.is_none() {
                counted = Some(self.stop_counting());
            }
            if self.shared.stopping && self.outstanding() == 0 {
                break;
            }
            if now.saturating_sub(last_event_at) > STALL.as_nanos() as u64 {
                return Err(LoadError::Stalled { after: STALL, outstanding: self.outstanding() });
            }
        }
        Ok(self.outcome(counted.unwrap_or_default()))
    }

    /// Waits once and handles the ready sessions; true if there were any.
    fn turn(&mut self) -> Result<bool, LoadError> {
        let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; EVENTS];
        let tick = Timespec { tv_sec: 0, tv_nsec: TICK.subsec_nanos().into() };
        let count = match epoll::wait(&self.epoll, &mut events[..], Some(&tick)) {
            Ok(count) => count,
            Err(Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        self.shared.read_clock();
        for event in &events[..count] {
            let index = event.data.u64() as usize;
            let flags = event.flags;
            if flags != EventFlags::OUT {
                self.sessions[index].receive(&mut self.shared)?;
                self.sessions[index].refill(&mut self.shared);
            }
            self.flush(index)?;
        }
        Ok(count > 0)
    }

    /// Sends a session's queued PDUs, and waits for EPOLLOUT while the socket is full.
    #[inline]
    fn flush(&mut self, index: usize) -> Result<(), LoadError> {
        let session = &mut self.sessions[index];
        let blocked_before = session.blocked;
        session.flush()?;
        if session.blocked != blocked_before {
            let out = if session.blocked { EventFlags::OUT } else { EventFlags::empty() };
            epoll::modify(
                &self.epoll,
                &session.socket,
                EventData::new_u64(index as u64),
                EventFlags::IN | out,
            )?;
        }
        Ok(())
    }

    fn outstanding(&self) -> usize {
        self.sessions.iter().map(Session::outstanding).sum()
    }

    fn counted(&self) -> Counted {
        let cost = process_cost(&self.plan.processes);
        Counted { at: self.shared.now, cost, own_cpu: own_cpu_time() }
    }

    fn start_counting(&mut self) {
        self.started = self.counted();
        self.shared.read_clock();
        self.started.at = self.shared.now;
        self.shared.counting = true;
        self.sessions.iter_mut().for_each(|session| session.counted = 0);
    }

    fn stop_counting(&mut self) -> Counted {
        self.shared.read_clock();
        (self.shared.counting, self.shared.stopping) = (false, true);
        self.counts = self.sessions.iter().map(|session| session.counted).collect();
        self.counted()
    }

    fn outcome(self, ended: Counted) -> Outcome {
        Outcome {
            commands: self.shared.commands,
            bytes: self.shared.bytes,
            elapsed: Duration::from_nanos(ended.at.saturating_sub(self.started.at).max(1)),
            cost: ended.cost.since(&self.started.cost),
            own_cpu: ended.own_cpu.saturating_sub(self.started.own_cpu),
            sessions: self.counts,
            latency: self.shared.latency,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(work: Work, random: bool) -> Shared {
        Shared {
            now: 0,
            epoch: Instant::now(),
            units: vec![(2048, 0), (1024, 0)],
            work,
            random,
            verify: false,
            state: 1,
            counting: true,
            stopping: false,
            commands: 0,
            bytes: 0,
            latency: Histogram::default(),
        }
    }

    fn offsets(shared: &mut Shared, unit: usize, count: usize) -> Vec<u64> {
        (0..count).map_while(|_| shared.next_transfer(unit, 512)).map(|transfer| transfer.offset).collect()
    }

    #[test]
    fn sequential_offsets_wrap_and_fill_ends() {
        assert_eq!(offsets(&mut shared(Work::Read, false), 0, 6), [0, 512, 1024, 1536, 0, 512]);
        let mut fill = shared(Work::Fill, false);
        assert_eq!(offsets(&mut fill, 0, 9), [0, 512, 1024, 1536]);
        assert_eq!(offsets(&mut fill, 1, 9), [0, 512], "each unit has its own offset");
    }

    #[test]
    fn random_offsets_cover_exactly_the_unit() {
        let mut seen = offsets(&mut shared(Work::Read, true), 0, 1000);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [0, 512, 1024, 1536]);
    }

    #[test]
    fn commands_of_several_lengths_stay_within_the_unit() {
        let mut in_order = shared(Work::Read, false);
        let mut next = |len| in_order.next_transfer(0, len).map(|transfer| transfer.offset);
        assert_eq!([next(1024), next(512), next(1024), next(2048)], [Some(0), Some(1024), Some(0), Some(0)]);
        let mut random = shared(Work::Read, true);
        let ends =
            (0..100).filter_map(|_| random.next_transfer(0, 1024)).map(|transfer| transfer.offset + 1024);
        assert!(ends.into_iter().all(|end| end <= 2048));
    }

    #[test]
    fn mixed_work_has_the_given_share_of_reads() {
        let mut mixed = shared(Work::Mixed(30), true);
        let reads =
            (0..10_000).filter(|_| mixed.next_transfer(0, 512).is_some_and(|transfer| transfer.read)).count();
        assert!((2500..3500).contains(&reads), "{reads} of 10000");
    }
}
