//! The contract: what every backstore must do, as a suite that each store's tests call. Third parties may, too.
//!
//! ```
//! use backstores::contract::{self, Subject};
//! use backstores::memory::Memory;
//!
//! contract::check(&Subject::new(|| std::sync::Arc::new(Memory::new(1 << 20))));
//! ```
//!
//! | room | what is checked |
//! | --- | --- |
//! | `data` | what was written is read, at once or submitted, from one loop or another, also less than a sector |
//! | `slots` | two stores on one engine are apart |
//! | `ranges` | discard, write zeroes, allocation; their neighbours stay |
//! | `tags` | every tag comes back once, with its buffer, and the event tells; cancel, detach, drop |

mod data;
mod ranges;
mod slots;
mod tags;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use scsi_core::store::{BLOCK_ALIGNMENT, Backstore, Block, BlockOp, Engines, IoError};

use crate::waiting::Waiting;

/// What is checked.
pub struct Subject {
    make: Box<dyn Fn() -> Arc<dyn Backstore>>,
    other: Option<Box<dyn Fn() -> Arc<dyn Backstore>>>,
    engines: Box<dyn Fn() -> Engines>,
    keeps_data: bool,
}

impl Subject {
    /// `make` gives a store of at least 1 MiB, all of whose contents may be lost. Each call gives another one; if it gives
    /// the same one, there must be [`Subject::beside`].
    pub fn new(make: impl Fn() -> Arc<dyn Backstore> + 'static) -> Self {
        Self { make: Box::new(make), other: None, engines: Box::new(Engines::default), keeps_data: true }
    }

    /// `make` gives another store of the same engine, with contents of its own.
    #[must_use]
    pub fn beside(mut self, make: impl Fn() -> Arc<dyn Backstore> + 'static) -> Self {
        self.other = Some(Box::new(make));
        self
    }

    /// The store is attached to engines made by `engines`, so that one of several can be chosen.
    #[must_use]
    pub fn with_engines(mut self, engines: impl Fn() -> Engines + 'static) -> Self {
        self.engines = Box::new(engines);
        self
    }

    /// The store forgets what is written, as `null` does: it reads as zeroes.
    #[must_use]
    pub fn forgets(mut self) -> Self {
        self.keeps_data = false;
        self
    }

    fn store(&self) -> Arc<dyn Backstore> {
        (self.make)()
    }

    fn other(&self) -> Arc<dyn Backstore> {
        self.other.as_ref().map_or_else(|| self.store(), |make| make())
    }

    fn attach(&self, store: &dyn Backstore) -> Waiting {
        Waiting::with_engines(store, (self.engines)()).expect("the store can be attached")
    }

    fn open(&self) -> Waiting {
        self.attach(&*self.store())
    }

    /// What a range must read as after `data` was written there.
    fn kept<'a>(&self, data: &'a [u8], zeroes: &'a [u8]) -> &'a [u8] {
        if self.keeps_data { data } else { &zeroes[..data.len()] }
    }
}

/// Checks everything that the store's capabilities promise.
///
/// # Panics
/// The store breaks the contract; the message says how.
pub fn check(subject: &Subject) {
    facts_make_sense(subject);
    if subject.store().capabilities().read_only {
        writes_are_refused(subject);
        tags::check_reads(subject);
        return;
    }
    data::check(subject);
    slots::check(subject);
    ranges::check(subject);
    tags::check(subject);
}

fn facts_make_sense(subject: &Subject) {
    let store = subject.store();
    let geometry = store.geometry();
    assert!(geometry.size >= 1 << 20, "the suite needs 1 MiB, the store has {}", geometry.size);
    assert_eq!(store.refresh(), Ok(geometry), "nothing grew");
    let can = store.capabilities();
    if let Err(wrong) = geometry.check(can.alignment, BLOCK_ALIGNMENT as u32) {
        panic!("no unit can be made of the store: {wrong}");
    }
    assert!(can.discard || !can.discard_zeroes, "zeroes by a discard that is not there");
    assert!(!can.read_only || !(can.discard || can.write_zeroes), "a read-only store changes nothing");
    assert!(!store.kind().is_empty());
}

fn writes_are_refused(subject: &Subject) {
    let mut store = subject.open();
    let can = subject.store().capabilities();
    let len = unit(can.alignment);
    let before = store.read(0, len).expect("a read-only store is read").to_vec();
    let from = Block::new(len);
    if let Some(done) = store.try_now(scsi_core::store::InlineOp::Write { offset: 0, from: &from }) {
        assert_eq!(done, Err(IoError::READ_ONLY));
    }
    let changes = [
        BlockOp::Write { offset: 0, from, fua: false },
        BlockOp::Discard { offset: 0, len: len as u64 },
        BlockOp::WriteZeroes { offset: 0, len: len as u64, may_unmap: true },
    ];
    for op in changes {
        let what = format!("{op:?}").chars().take(12).collect::<String>();
        assert_eq!(store.run(op).map(drop), Err(IoError::READ_ONLY), "{what}");
    }
    assert_eq!(store.flush(), Ok(()), "there is nothing to flush");
    assert_eq!(*store.read(0, len).expect("still"), before);
}

/// The finest piece of the suite's operations, in bytes.
fn unit(alignment: u32) -> usize {
    alignment.max(512) as usize
}

/// Reads, at once if the store likes.
fn read(store: &mut Waiting, offset: u64, len: usize) -> Vec<u8> {
    use scsi_core::store::{InlineOp, Now};
    let mut into = Block::new(len);
    into.fill(0xee);
    match store.try_now(InlineOp::Read { offset, into: &mut into }) {
        Some(Ok(Now::Moved)) => into.to_vec(),
        Some(Ok(Now::Zeroes)) => vec![0; len],
        Some(Err(error)) => panic!("reading {len} at {offset}: {error}"),
        None => store
            .read(offset, len)
            .unwrap_or_else(|error| panic!("reading {len} at {offset}: {error}"))
            .to_vec(),
    }
}

/// Bytes that differ from place to place and from `seed` to `seed`, and are never zero.
fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    (0..len).map(|_| (random.next() >> 40) as u8 | 1).collect()
}

/// xorshift64*: the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Bytes from the start of the store that the suite works on.
const AREA: u64 = 1 << 20;
