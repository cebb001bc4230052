//! Several initiators, targets and operators under faults: stores that complete late or out of order, fail or hang,
//! are resized or report that they cannot be reached, connections that break anywhere, resets, reinstatements, and management requests meanwhile. One seed determines the
//! whole run and is printed when it fails: `SEED=17 cargo test -p tgt-tests --test simulation` repeats it, `SEEDS=1000`
//! runs that many seeds.
//!
//! Rules checked: a read returns what was written; every command is answered once unless its session ended or it was
//! aborted; every management request gets one reply in time; no session of a removed target is left; no session, command,
//! block, store or loop is left at the end.

mod host;
mod management;

use std::time::Duration;

use iscsi_proto::pdu::{TaskFunction, TaskResponse, set_lengths};
use iscsi_proto::text::negotiate::DigestChoice;
use scsi_core::store::{Backstore, Notice};
use tgt_tests::initiator::{Initiator, Io, LoginOptions};
use tgt_tests::pair::Pair;
use tgt_tests::random::Random;
use tgt_tests::setup::{CHUNKS, Setup};
use tgt_tests::sim_store::{Behaviour, SimStore};

use host::{Host, Running};
use management::Management;

const BLOCK: usize = 512;
/// Blocks that only one initiator writes.
const REGION: usize = 128;
const STEPS: usize = 250;
const IN_FLIGHT_MAX: usize = 8;

struct World {
    pair: Pair,
    management: Management,
    /// The stores, of target 1, 2 …
    stores: Vec<SimStore>,
    random: Random,
    hosts: Vec<Host>,
    stamp: u64,
    /// Reads whose data was compared.
    compared: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let count = 1 + random.below(4) as usize;
        let targets = 1 + random.below(2) as usize;
        let mut store = || SimStore::new(count * REGION * BLOCK, random.next());
        let stores: Vec<SimStore> = (0..targets).map(|_| store()).collect();
        let pair = Pair::managed(Setup::disk(std::sync::Arc::new(stores[0].clone())));
        // Loops of their own for the targets, or two for all.
        let shared = 2 * random.below(2) as usize;
        let loops = 1 + random.below(3) as usize;
        let mut management = Management::new(&pair, &stores, shared);
        (1..=targets as u32).for_each(|target| management.make(target, loops));
        pair.side().manual = true;
        let hosts = (0..count).map(|number| Host {
            number: number as u8,
            target: (number % targets) as u32 + 1,
            session: None,
            stalled: false,
            blocks: vec![vec![0]; REGION],
            running: Vec::new(),
        });
        let hosts = hosts.collect();
        Self { pair, management, stores, random, hosts, stamp: 0, compared: 0 }
    }

    fn step(&mut self) {
        let host = self.random.below(self.hosts.len() as u64) as usize;
        self.pair.side().setup.chunk = CHUNKS[self.random.below(CHUNKS.len() as u64) as usize];
        if self.hosts[host].session.is_none() {
            self.log_in(host);
        }
        match self.random.below(100) {
            0..55 => self.begin(host),
            55..59 => self.abort(host),
            59..61 => self.reset(host),
            61..64 => self.break_off(host),
            64..66 => self.log_in(host),
            66..70 => self.stall(host),
            70..77 => self.misbehave(host),
            77..79 => self.notice(host),
            79..82 => self.release(),
            82..86 => self.advance(),
            86..96 => self.management.step(&mut self.random),
            _ => self.flush(host),
        }
        for _ in 0..self.random.below(4) {
            self.pair.side().step();
        }
        self.take_ends();
        self.management.take(&mut self.random);
    }

    fn release(&mut self) {
        self.stores.iter().for_each(SimStore::release);
    }

    fn advance(&mut self) {
        self.pair.advance(Duration::from_secs(self.random.below(8)));
        self.management.check_replies(&mut self.random);
    }

    fn take_ends(&mut self) {
        self.compared += self.hosts.iter_mut().map(Host::take_ends).sum::<usize>();
    }

    /// Opens a session, which reinstates an existing one.
    fn log_in(&mut self, host: usize) {
        let mut options = LoginOptions::of_host(self.hosts[host].number);
        let session = &mut options.keys.session;
        session.initial_r2t = self.random.below(2) == 0;
        session.immediate_data = self.random.below(2) == 0;
        session.first_burst_len = [512, 1024, 8192][self.random.below(3) as usize];
        session.max_burst_len =
            [1024, 8192, 65_536][self.random.below(3) as usize].max(session.first_burst_len);
        options.keys.max_recv_data_segment_len = [512, 4096, 65_536][self.random.below(3) as usize];
        if self.random.below(3) == 0 {
            options.keys.header_digest = DigestChoice::Crc32c;
            options.keys.data_digest = DigestChoice::Crc32c;
        }
        self.take_ends();
        let target = self.hosts[host].target;
        options.target = Some(management::name(target));
        let admits = self.management.admits(target);
        let session = Initiator::try_login(&self.pair, &options);
        assert_eq!(session.is_ok(), admits, "{:?}", session.err());
        let Ok(session) = session else {
            self.management.refused += 1;
            return;
        };
        let host = &mut self.hosts[host];
        host.lose_all();
        (host.session, host.stalled) = (Some(session), false);
    }

    fn begin(&mut self, index: usize) {
        let count = 1 + self.random.below(24) as usize;
        let first = self.random.below((REGION - count) as u64) as usize;
        let host = &mut self.hosts[index];
        if host.running.len() >= IN_FLIGHT_MAX || host.is_busy(first, count) {
            return;
        }
        let Some(session) = &mut host.session else { return };
        let write = self.random.below(2) == 0;
        let lba = ((index * REGION + first) as u32).to_be_bytes();
        let mut cdb =
            [if write { 0x2a } else { 0x28 }, 0, lba[0], lba[1], lba[2], lba[3], 0, 0, count as u8, 0];
        let stamp = write.then(|| {
            self.stamp += 1;
            self.stamp
        });
        let data = stamp.unwrap_or(0).to_ne_bytes().repeat(count * BLOCK / 8);
        // A write with FUA takes another path.
        cdb[1] = if self.random.below(4) == 0 { 0x08 } else { 0 };
        let io = if write { Io::Write(&data) } else { Io::Read((count * BLOCK) as u32) };
        let itt = session.begin(&cdb, io);
        host.running.push(Running { itt, first, count, stamp });
    }

    fn flush(&mut self, host: usize) {
        let host = &mut self.hosts[host];
        if let Some(session) = host.session.as_mut().filter(|_| host.running.len() < IN_FLIGHT_MAX) {
            let itt = session.begin(&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], Io::None);
            host.running.push(Running { itt, first: 0, count: 0, stamp: None });
        }
    }

    fn abort(&mut self, host: usize) {
        let host = &mut self.hosts[host];
        if host.running.is_empty() || host.stalled {
            return;
        }
        let victim = self.random.below(host.running.len() as u64) as usize;
        let Some(session) = &mut host.session else { return };
        let itt = host.running[victim].itt;
        let abort = session.manage(TaskFunction::ABORT_TASK, Some(itt));
        self.pair.settle();
        let answer = session.managed(abort);
        if session.is_closed() {
            return;
        }
        match answer {
            Some(TaskResponse::COMPLETE) => {
                if session.take_reply(itt).is_none() {
                    session.forget(itt);
                    let aborted = host.running.swap_remove(victim);
                    host.lost(&aborted);
                } else {
                    panic!("an aborted command was answered");
                }
            }
            Some(TaskResponse::NO_TASK | TaskResponse::NO_LUN) => {}
            // The store is dead: the command is not answered in either case.
            None => {
                session.forget(itt);
                let aborted = host.running.swap_remove(victim);
                host.lost(&aborted);
            }
            other => panic!("ABORT TASK: {other:?}"),
        }
    }

    /// Resets the unit, which ends the commands of all initiators without a response.
    fn reset(&mut self, host: usize) {
        if self.hosts.iter().any(|host| host.stalled) {
            return;
        }
        let target = self.hosts[host].target;
        let Some(session) = &mut self.hosts[host].session else { return };
        let reset = session.manage(TaskFunction::LOGICAL_UNIT_RESET, None);
        self.pair.settle();
        let answer = session.managed(reset);
        self.take_ends();
        // A dead store has not returned everything, so there is no answer yet, but these commands have ended too.
        let gone = self.hosts[host].session.is_none();
        // An operator may have removed the unit.
        if !gone && answer != Some(TaskResponse::NO_LUN) {
            assert!(answer.is_none_or(|answer| answer == TaskResponse::COMPLETE), "{answer:?}");
            for host in self.hosts.iter_mut().filter(|host| host.target == target) {
                if let Some(session) = &mut host.session {
                    host.running.iter().for_each(|running| session.forget(running.itt));
                }
                host.lose_all();
            }
        }
    }

    /// Closes the connection at a random point.
    fn break_off(&mut self, host: usize) {
        let kind = self.random.below(3);
        let cut = self.random.below(48) as usize;
        self.take_ends();
        let host = &mut self.hosts[host];
        let Some(mut session) = host.session.take() else { return };
        let mut bhs = [0; 48];
        session.command(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], Io::Write(&[1; BLOCK])).encode(&mut bhs);
        match kind {
            0 => {}
            1 => session.send_bytes(&bhs[..cut]),
            _ => {
                set_lengths(&mut bhs, 0, 0x00ff_ffff);
                session.send_bytes(&bhs);
            }
        }
        session.hang_up();
        host.lose_all();
    }

    fn stall(&mut self, host: usize) {
        let host = &mut self.hosts[host];
        if let Some(session) = &host.session {
            host.stalled = !host.stalled;
            self.pair.stall(session.wire, host.stalled);
        }
    }

    fn misbehave(&mut self, host: usize) {
        let behaviour = match self.random.below(7) {
            0 => Behaviour::INLINE,
            1 => Behaviour::LATER,
            2 => Behaviour { inline: 300, reorder: true, ..Behaviour::INLINE },
            3 => Behaviour { inline: 200, reorder: true, fail: 100, ..Behaviour::INLINE },
            4 => Behaviour { reorder: true, fail: 20, hang: 300, ..Behaviour::LATER },
            5 => {
                Behaviour { inline: 500, reorder: true, hang: 300, uncancellable: true, ..Behaviour::INLINE }
            }
            _ => {
                Behaviour { latency: Duration::from_millis(1 + self.random.below(3000)), ..Behaviour::LATER }
            }
        };
        self.stores[self.hosts[host].target as usize - 1].behave(behaviour);
    }

    /// A store grows, or reports something that need not be true.
    fn notice(&mut self, host: usize) {
        let store = &self.stores[self.hosts[host].target as usize - 1];
        let notice = match self.random.below(3) {
            0 => Notice::Unreachable,
            1 => Notice::Back,
            _ => {
                store.resize(store.geometry().size as usize + BLOCK);
                Notice::Resized
            }
        };
        store.notice(notice);
    }

    /// Waits until every command and request is answered, then checks the contents of all blocks and that nothing is
    /// left.
    fn end(mut self) -> Counts {
        self.stores.iter().for_each(|store| store.behave(Behaviour::INLINE));
        for host in &mut self.hosts {
            if let Some(session) = &host.session {
                self.pair.stall(session.wire, false);
            }
            host.stalled = false;
        }
        for _ in 0..1000 {
            // This includes aborted operations that the store had not returned.
            self.release();
            self.pair.settle();
            self.take_ends();
            self.management.settle(&mut self.random);
            if self.hosts.iter().all(|host| host.running.is_empty()) && self.management.is_idle() {
                break;
            }
            self.pair.advance(Duration::from_secs(1));
        }
        (1..=self.stores.len() as u32).for_each(|target| self.management.repair(target, &mut self.random));
        for index in 0..self.hosts.len() {
            let left = self.hosts[index].running.len();
            assert_eq!(left, 0, "every command of host {index} is answered");
            self.log_in(index);
            let session = self.hosts[index].session.as_mut().expect("logged in");
            let _ = session.run(&[0; 6], Io::None);
            let lba = ((index * REGION) as u32).to_be_bytes();
            let cdb = [0x28, 0, lba[0], lba[1], lba[2], lba[3], 0, 0, REGION as u8, 0];
            let itt = session.begin(&cdb, Io::Read((REGION * BLOCK) as u32));
            self.hosts[index].running.push(Running { itt, first: 0, count: REGION, stamp: None });
            let before = self.compared;
            self.pair.settle();
            self.take_ends();
            assert_eq!(self.compared, before + 1, "the last read of host {index}");
        }
        for host in &mut self.hosts {
            if let Some(session) = &mut host.session {
                session.hang_up();
            }
        }
        self.pair.settle();
        self.pair.assert_clean();
        self.management.end(&mut self.random);
        Counts { compared: self.compared, removed: self.management.removed, refused: self.management.refused }
    }
}

/// What a run has exercised.
struct Counts {
    compared: usize,
    removed: usize,
    refused: usize,
}

/// Prints the seed if the run fails.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("SEED={}", self.0);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn acknowledged_writes_survive_faults_and_nothing_is_left() {
    let seeds = match (number("SEED"), number("SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(count)) => 0..count,
        (None, None) => 0..12,
    };
    let (mut compared, mut removed, mut refused) = (0, 0, 0);
    for seed in seeds.clone() {
        let _told = Told(seed);
        let mut world = World::new(seed);
        (0..STEPS).for_each(|_| world.step());
        let counts = world.end();
        compared += counts.compared;
        removed += counts.removed;
        refused += counts.refused;
    }
    let runs = (seeds.end - seeds.start) as usize;
    let counts =
        format!("{runs} runs: {compared} reads, {removed} removed targets, {refused} refused logins");
    // A single seed may have little to look at.
    let enough = compared > 10 * runs && removed > runs && refused > runs;
    assert!(enough || runs == 1, "too little was looked at in {counts}");
}
