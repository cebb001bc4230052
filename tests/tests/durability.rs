//! Data acknowledged as durable survives a crash and other data does not: the target neither writes through unasked nor
//! leaves data in a cache that it should have flushed. On a real file, a write or flush returns before its response is
//! sent.

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
use tgt_tests::lossy_store::{Loss, LossyStore};
use tgt_tests::pair::Pair;
use tgt_tests::random::Random;
use tgt_tests::setup::Setup;

const BLOCKS: usize = 64;
const LEN: usize = 512;

/// Contents promised to the initiator, block by block.
struct Promise {
    /// Contents that a read returns.
    current: Vec<[u8; LEN]>,
    /// Contents after a crash.
    durable: Vec<[u8; LEN]>,
    /// Whether the write cache is enabled.
    cached: bool,
}

/// Runs a random workload with crashes; the error is the first broken promise.
fn workload(loss: Loss, seed: u64) -> Result<(), String> {
    let volatile = Arc::new(Volatile::new(Arc::new(Memory::new((BLOCKS * LEN) as u64))));
    let setup = Setup::disk(Arc::new(LossyStore::new(volatile.clone(), loss)));
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

/// Runs one random command and updates the promise.
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
                // SBC-3 6.5.6: cached data is written before the command ends.
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
    /// Records a write without FUA, which is durable at once without a write cache.
    fn wrote(&mut self, range: std::ops::Range<usize>, block: [u8; LEN]) {
        self.current[range.clone()].fill(block);
        if !self.cached {
            self.durable[range].fill(block);
        }
    }
}

#[test]
fn crash_loses_exactly_what_was_not_flushed() {
    for seed in 0..60 {
        workload(Loss::None, seed).unwrap();
    }
}

/// Proves that the test above can fail: it detects a store that ignores FUA, and one that ignores flushes.
#[test]
fn lossy_store_is_detected() {
    for loss in [Loss::Fua, Loss::Flush] {
        let found = (0..20).filter(|seed| workload(loss, *seed).is_err()).count();
        assert!(found >= 15, "{loss:?}: {found} of 20 runs");
    }
}

#[test]
fn write_without_fua_stays_in_the_cache_until_synchronized() {
    let volatile = Arc::new(Volatile::new(Arc::new(Memory::new(1 << 20))));
    let mut session = Initiator::login(&Pair::new(Setup::disk(volatile.clone())));
    session.run(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 8, 0], Io::Write(&[7; 4096])).good();
    assert_eq!(volatile.at_risk(), 4096);
    session.run(&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], Io::None).good();
    assert_eq!(volatile.at_risk(), 0);
}

/// A session with a disk on a real file, whose operations are logged and can be delayed.
struct Real {
    _dir: tempfile::TempDir,
    delay: Arc<Delay>,
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
    let delay = Arc::new(Delay::new(file, Duration::ZERO));
    let journal = Journal::shared();
    let log: Arc<dyn Backstore> = Arc::new(Log::new(delay.clone(), journal.clone()));
    let pair = Pair::new(Setup::disk(log));
    let session = Initiator::login(&pair);
    let _ = journal.take();
    Real { _dir: dir, delay, journal, pair, session }
}

impl Real {
    /// Runs a command and returns the order of its operations and its response. Fails if the response is sent while the
    /// store is held.
    fn order(&mut self, cdb: &[u8], data: &[u8]) -> Vec<String> {
        self.delay.hold();
        let itt = self.session.begin(cdb, if data.is_empty() { Io::None } else { Io::Write(data) });
        for _ in 0..5 {
            self.pair.settle();
            self.session.poll();
            assert!(
                self.session.take_reply(itt).is_none(),
                "response before the store has completed the operation"
            );
            sleep(Duration::from_millis(1));
        }
        self.delay.release();
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
        self.journal.take().iter().filter_map(described).collect()
    }
}

fn described(entry: &Entry) -> Option<String> {
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
fn write_with_fua_returns_before_its_response() {
    let mut real = real_file(OpenFlags::default());
    let order = real.order(&[0x2a, 0x08, 0, 0, 0, 0, 0, 0, 8, 0], &[7; 4096]);
    assert_eq!(order, ["Write to the medium returned", "response"]);
}

#[test]
fn flush_returns_before_its_response() {
    let mut real = real_file(OpenFlags::default());
    assert_eq!(real.order(&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]), ["Flush returned", "response"]);
}

#[test]
fn write_without_write_cache_returns_before_its_response() {
    let mut real = real_file(OpenFlags::default());
    real.session.set_write_cache(false).good();
    let _ = real.journal.take();
    let order = real.order(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 8, 0], &[7; 4096]);
    assert_eq!(order, ["Write to the medium returned", "response"]);
}

#[test]
fn write_to_synchronous_file_returns_before_its_response() {
    let mut real = real_file(OpenFlags { sync: true, direct: false });
    let order = real.order(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 8, 0], &[7; 4096]);
    assert_eq!(order.len(), 2, "{order:?}");
    assert!(order[0].starts_with("Write") && order[1] == "response", "{order:?}");
}
