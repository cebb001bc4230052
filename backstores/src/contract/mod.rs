//! A test suite of the contract that every backing store has to keep. The tests of each store call it, also of stores
//! outside this crate.
//!
//! ```
//! use backstores::contract::{self, Subject};
//! use backstores::memory::Memory;
//!
//! contract::check(&Subject::new(|| std::sync::Arc::new(Memory::new(1 << 20))));
//! ```
//!
//! | module | rules |
//! | --- | --- |
//! | `data` | reads return what was written, inline or submitted, by one loop or another, also less than a sector |
//! | `slots` | an operation on one of two stores of an engine does not reach the other |
//! | `ranges` | discard, write zeroes and allocation cover their range, and discard and write zeroes change no other |
//! | `tags` | every operation completes once, with its buffer and the event readable; cancel, detach, drop |
//!
//! Only operations that the [capabilities](scsi_core::store::Capabilities) allow have to work; the suite checks that
//! the store refuses the others with [`IoError::UNSUPPORTED`], or with [`IoError::READ_ONLY`].

mod data;
mod ranges;
mod slots;
mod tags;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use scsi_core::store::{BLOCK_ALIGNMENT, Backstore, Block, BlockOp, Engines, IoError};

use crate::waiting::Waiting;

/// The store that the suite checks.
pub struct Subject {
    make: Box<dyn Fn() -> Arc<dyn Backstore>>,
    other: Option<Box<dyn Fn() -> Arc<dyn Backstore>>>,
    engines: Box<dyn Fn() -> Engines>,
    keeps_data: bool,
}

impl Subject {
    /// Returns a subject whose stores `make` opens. A store has at least 1 MiB, and the suite overwrites it. Each call
    /// has to open another store; if it opens the same one, [`Subject::beside`] is needed.
    pub fn new(make: impl Fn() -> Arc<dyn Backstore> + 'static) -> Self {
        Self { make: Box::new(make), other: None, engines: Box::new(Engines::default), keeps_data: true }
    }

    /// Sets a function that opens another store of the same kind, with other contents.
    #[must_use]
    pub fn beside(mut self, make: impl Fn() -> Arc<dyn Backstore> + 'static) -> Self {
        self.other = Some(Box::new(make));
        self
    }

    /// Sets a function that returns the engines to attach to, so that a store with several engines can be checked with
    /// each.
    #[must_use]
    pub fn with_engines(mut self, engines: impl Fn() -> Engines + 'static) -> Self {
        self.engines = Box::new(engines);
        self
    }

    /// Declares that the store drops writes, as `null` does, and reads as zeroes.
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

    /// Attaches to new engines.
    fn attach(&self, store: &dyn Backstore) -> Waiting {
        Waiting::with_engines(store, (self.engines)()).expect("the store can be attached")
    }

    fn open(&self) -> Opened {
        let store = self.store();
        Opened { waiting: self.attach(&*store), _store: store }
    }

    /// The expected contents of a range after `data` was written there.
    fn kept<'a>(&self, data: &'a [u8], zeroes: &'a [u8]) -> &'a [u8] {
        if self.keeps_data { data } else { &zeroes[..data.len()] }
    }
}

/// A store that is attached. It outlives its engine, as the target ensures.
struct Opened {
    waiting: Waiting,
    _store: Arc<dyn Backstore>,
}

impl std::ops::Deref for Opened {
    type Target = Waiting;

    fn deref(&self) -> &Waiting {
        &self.waiting
    }
}

impl std::ops::DerefMut for Opened {
    fn deref_mut(&mut self) -> &mut Waiting {
        &mut self.waiting
    }
}

/// Checks all rules that apply to the store's capabilities.
///
/// # Panics
/// The store breaks the contract. The message says which rule.
pub fn check(subject: &Subject) {
    geometry_and_capabilities_are_plausible(subject);
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

fn geometry_and_capabilities_are_plausible(subject: &Subject) {
    let store = subject.store();
    let geometry = store.geometry();
    assert!(geometry.size >= 1 << 20, "the suite needs 1 MiB, the store has {}", geometry.size);
    assert_eq!(store.refresh(), Ok(geometry), "refresh returns the geometry");
    let can = store.capabilities();
    if let Err(wrong) = geometry.check(can.alignment, BLOCK_ALIGNMENT as u32) {
        panic!("no unit can be made of the store: {wrong}");
    }
    assert!(can.discard || !can.discard_zeroes, "discard_zeroes without discard");
    assert!(
        !can.read_only || !(can.discard || can.write_zeroes),
        "a read-only store supports neither discard nor write zeroes"
    );
    assert!(!store.kind().is_empty());
}

fn writes_are_refused(subject: &Subject) {
    let mut store = subject.open();
    let can = subject.store().capabilities();
    let len = unit(can.alignment);
    let before = store.read(0, len).expect("a read-only store can be read").to_vec();
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
    assert_eq!(store.flush(), Ok(()), "a read-only store can be flushed");
    assert_eq!(*store.read(0, len).expect("a read-only store can be read"), before);
}

/// The smallest length of most operations of the suite, in bytes.
fn unit(alignment: u32) -> usize {
    alignment.max(512) as usize
}

/// Reads a range, inline if the store accepts that.
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

/// Returns bytes that depend on index and `seed` and are never zero.
fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    (0..len).map(|_| (random.next() >> 40) as u8 | 1).collect()
}

/// A generator of pseudo-random numbers (xorshift64*), the same in every run.
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

/// Number of bytes at the start of the store that the suite uses.
const AREA: u64 = 1 << 20;
