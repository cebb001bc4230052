//! What was acknowledged as durable survives a crash, and what was not is lost: nothing is written through by
//! accident, and nothing stays in a cache by mistake. And on a real file: the write or the flush has returned before
//! its response is sent.

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use backstores::layer::OpKind;
use backstores::layer::delay::Delay;
use backstores::layer::log::{Entry, Journal, Log};
use backstores::layer::volatile::Volatile;
use backstores::memory::Memory;
use backstores::registry::{OpenFlags, OpenOptions, Registry};
use scsi_core::store::Backstore;
use tgt_tests::initiator::{Initiator, Io};
use tgt_tests::liar::{Liar, Lie};
use tgt_tests::pair::Pair;
use tgt_tests::random::Random;
use tgt_tests::setup::Setup;

const BLOCKS: usize = 64;
const LEN: usize = 512;

/// What the initiator was promised, block by block.
struct Promise {
    /// What a read returns.
    current: Vec<[u8; LEN]>,
    /// What a crash leaves.
    durable: Vec<[u8; LEN]>,
    /// The write cache is on.
    cached: bool,
}

/// One run of a random workload with crashes; the first promise that is broken.
fn workload(lie: Lie, seed: u64) -> Result<(), String> {
    let volatile = Arc::new(Volatile::new(Arc::new(Memory::new((BLOCKS * LEN) as u64))));
    let setup = Setup::disk(Arc::new(Liar::new(volatile.clone(), lie)));
    let mut session = Initiator::login(&Pair::new(setup));
    let mut random = Random::new(seed);
    let zeroes = vec![[0; LEN]; BLOCKS];
    let mut promise = Promise { current: zeroes.clone(), durable: zeroes, cached: true };
    for step in 0..60 {
        let what = one_command(&mut session, &mut promise, &mut random);
        if random.below(6) == 0 {
            volatile.crash();
            promise.current.clone_from(&promise.durable);
        }
        let read = session
            .run(&[0x28, 0, 0, 0, 0, 0, 0, 0, BLOCKS as u8, 0], Io::Read((BLOCKS * LEN) as u32))
            .good();
        let wrong = read.chunks(LEN).zip(&promise.current).position(|(read, promised)| read != promised);
        if let Some(block) = wrong {
            return Err(format!("seed {seed}, step {step}, {what}: block {block}"));
        }
    }
    Ok(())
}

/// Does something, and keeps the books.
fn one_command(session: &mut Initiator, promise: &mut Promise, random: &mut Random) -> &'static str {
    let first = random.below(BLOCKS as u64 - 8) as u8;
    let count = 1 + random.below(8) as u8;
    let range = usize::from(first)..usize::from(first + count);
    let mut block = [0; LEN];
    block.copy_from_slice(&random.bytes(LEN));
    let data = block.repeat(usize::from(count));
    match random.below(8) {
        0 | 1 => {
            session.run(&[0x2a, 0x08, 0, 0, 0, first, 0, 0, count, 0], Io::Write(&data)).good();
            promise.current[range.clone()].fill(block);
            promise.durable[range].fill(block);
            "WRITE with FUA"
        }
        2 => {
            session.run(&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], Io::None).good();
            promise.durable.clone_from(&promise.current);
            "SYNCHRONIZE CACHE"
        }
        3 => {
            session.run(&[0x41, 0, 0, 0, 0, first, 0, 0, count, 0], Io::Write(&block)).good();
            promise.wrote(range, block);
            "WRITE SAME"
        }
        4 => {
            promise.cached = random.below(2) == 0;
            session.set_write_cache(promise.cached).good();
            if !promise.cached {
                // SBC-3 6.5.6: what the cache holds is written before the command ends.
                promise.durable.clone_from(&promise.current);
            }
            "MODE SELECT of the cache"
        }
        _ => {
            session.run(&[0x2a, 0, 0, 0, 0, first, 0, 0, count, 0], Io::Write(&data)).good();
            promise.wrote(range, block);
            "WRITE"
        }
    }
}

impl Promise {
    /// A write without FUA: durable at once where there is no cache.
    fn wrote(&mut self, range: std::ops::Range<usize>, block: [u8; LEN]) {
        self.current[range.clone()].fill(block);
        if !self.cached {
            self.durable[range].fill(block);
        }
    }
}

#[test]
fn a_crash_loses_what_was_not_flushed_and_nothing_else() {
    for seed in 0..60 {
        workload(Lie::None, seed).unwrap();
    }
}

/// The test above can fail: it finds a store that forgets FUA, and one that does not flush.
#[test]
fn a_store_that_lies_is_found_out() {
    for lie in [Lie::Fua, Lie::Flush] {
        let found = (0..20).filter(|seed| workload(lie, *seed).is_err()).count();
        assert!(found >= 15, "{lie:?}: {found} of 20 runs");
    }
}

#[test]
fn nothing_is_written_through_that_nobody_asked_for() {
    let volatile = Arc::new(Volatile::new(Arc::new(Memory::new(1 << 20))));
    let mut session = Initiator::login(&Pair::new(Setup::disk(volatile.clone())));
    session.run(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 8, 0], Io::Write(&[7; 4096])).good();
    assert_eq!(volatile.at_risk(), 4096);
    session.run(&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], Io::None).good();
    assert_eq!(volatile.at_risk(), 0);
}

/// A file with a journal, and under the journal a brake.
struct Real {
    _dir: tempfile::TempDir,
    brake: Arc<Delay>,
    journal: Arc<Journal>,
    pair: Pair,
    session: Initiator,
}

fn real_file(bsoflags: OpenFlags) -> Real {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("image");
    std::fs::write(&path, vec![0; 1 << 20]).expect("a file");
    let options = OpenOptions { bsoflags, size: None, ..OpenOptions::for_path(&path) };
    let file = Registry::builtin().open("rdwr", &options).expect("a store");
    let brake = Arc::new(Delay::new(file, Duration::ZERO));
    let journal = Journal::shared();
    let log: Arc<dyn Backstore> = Arc::new(Log::new(brake.clone(), journal.clone()));
    let pair = Pair::new(Setup::disk(log));
    let session = Initiator::login(&pair);
    let _ = journal.take();
    Real { _dir: dir, brake, journal, pair, session }
}

impl Real {
    /// Runs a command; the order of its operations and its response. While the store is held back, no response
    /// may come.
    fn order(&mut self, cdb: &[u8], data: &[u8]) -> Vec<String> {
        self.brake.hold();
        let itt = self.session.begin(cdb, if data.is_empty() { Io::None } else { Io::Write(data) });
        for _ in 0..5 {
            self.pair.settle();
            self.session.poll();
            assert!(self.session.take_reply(itt).is_none(), "a response before the store has done it");
            sleep(Duration::from_millis(1));
        }
        self.brake.release();
        let reply = loop {
            self.pair.settle();
            self.session.poll();
            if let Some(reply) = self.session.take_reply(itt) {
                self.journal.note("response");
                break reply;
            }
            sleep(Duration::from_micros(100));
        };
        reply.good();
        self.journal.take().iter().filter_map(said).collect()
    }
}

fn said(entry: &Entry) -> Option<String> {
    match entry {
        Entry::Completed { what, result, .. } => {
            assert_eq!(*result, Ok(()));
            let fua = if what.fua { " to the medium" } else { "" };
            Some(format!("{:?}{fua} returned", what.kind))
        }
        Entry::Now { what, .. } if what.kind != OpKind::Read => Some(format!("{:?} at once", what.kind)),
        Entry::Note(text) => Some(text.clone()),
        _ => None,
    }
}

#[test]
fn a_write_with_fua_has_returned_before_its_response() {
    let mut real = real_file(OpenFlags::default());
    let order = real.order(&[0x2a, 0x08, 0, 0, 0, 0, 0, 0, 8, 0], &[7; 4096]);
    assert_eq!(order, ["Write to the medium returned", "response"]);
}

#[test]
fn a_flush_has_returned_before_its_response() {
    let mut real = real_file(OpenFlags::default());
    assert_eq!(real.order(&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]), ["Flush returned", "response"]);
}

#[test]
fn a_write_without_a_cache_has_returned_before_its_response() {
    let mut real = real_file(OpenFlags::default());
    real.session.set_write_cache(false).good();
    let _ = real.journal.take();
    let order = real.order(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 8, 0], &[7; 4096]);
    assert_eq!(order, ["Write to the medium returned", "response"]);
}

#[test]
fn a_write_to_a_synchronous_file_has_returned_before_its_response() {
    let mut real = real_file(OpenFlags { sync: true, direct: false });
    let order = real.order(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 8, 0], &[7; 4096]);
    assert_eq!(order.len(), 2, "{order:?}");
    assert!(order[0].starts_with("Write") && order[1] == "response", "{order:?}");
}
