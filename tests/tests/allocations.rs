//! Warm commands allocate nothing: a counting allocator counts during 10 000 commands of 4 KiB each.
//!
//! The test drives a loop in memory, with PDUs encoded in advance. It is one test because the allocator counts
//! for the whole process.

#![expect(unsafe_code, reason = "a global allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use backstores::memory::Memory;
use backstores::null::Null;
use iscsi_proto::pdu::{DataOut, ScsiCommand};
use scsi_core::store::Backstore;
use tgt_tests::initiator::{Initiator, Io, LoginOptions};
use tgt_tests::pair::Pair;
use tgt_tests::setup::Setup;
use tgt_tests::sim_store::{Behaviour, SimStore};
use tgt_tests::wire::Wire;

/// The system's allocator, counting allocations.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's obligations are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's obligations are the same.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's obligations are the same.
        unsafe { System.realloc(at, layout, len) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const COMMANDS: usize = 10_000;
const WARM: usize = 500;
const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0];
const WRITE: [u8; 10] = [0x2a, 0, 0, 0, 0, 0, 0, 0, 8, 0];

/// One encoded command, and the Data-Out of a write without unsolicited data.
struct Prepared {
    command: Vec<u8>,
    data_out: Option<Vec<u8>>,
}

fn prepare(session: &mut Initiator, write: bool) -> Prepared {
    let mut bhs = [0; 48];
    let data = [0x5a; 4096];
    if !write {
        session.command(&READ, Io::Read(4096)).encode(&mut bhs);
        return Prepared { command: session.wire_bytes(&bhs, &[], &[]).to_vec(), data_out: None };
    }
    let command: ScsiCommand = session.command(&WRITE, Io::Write(&data));
    command.encode(&mut bhs);
    if session.session.immediate_data {
        return Prepared { command: session.wire_bytes(&bhs, &[], &data).to_vec(), data_out: None };
    }
    let head = session.wire_bytes(&bhs, &[], &[]).to_vec();
    let out: DataOut = session.data_out(command.itt, None, iscsi_proto::sn::DataSn(0), 0, true);
    out.encode(&mut bhs);
    Prepared { command: head, data_out: Some(session.wire_bytes(&bhs, &[], &data).to_vec()) }
}

/// Sends one command. The loop receives it, handles its completions and sends its responses.
fn turn(pair: &Pair, wire: &Wire, prepared: &mut Prepared) {
    pair.deliver(0, &prepared.command);
    if let Some(data_out) = &mut prepared.data_out {
        wire.read_all(|sent| {
            assert_eq!(sent[0] & 0x3f, 0x31, "an R2T");
            data_out[20..24].copy_from_slice(&sent[20..24]);
        });
        pair.deliver(0, data_out);
    }
    wire.read_all(|sent| assert!(sent.len() >= 48, "a response"));
}

/// Number of allocations of 10 000 commands after a warm-up.
fn allocations(store: Arc<dyn Backstore>, options: &LoginOptions, write: bool) -> u64 {
    let pair = Pair::new(Setup::disk(store));
    let mut session = Initiator::login_as(&pair, options);
    let mut commands: Vec<_> = (0..WARM + COMMANDS).map(|_| prepare(&mut session, write)).collect();
    let wire = pair.wire(0);
    let (warm, measured) = commands.split_at_mut(WARM);
    warm.iter_mut().for_each(|prepared| turn(&pair, &wire, prepared));
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    measured.iter_mut().for_each(|prepared| turn(&pair, &wire, prepared));
    let count = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert_eq!(pair.side().running(), 0, "all commands ended");
    assert_eq!(pair.side().pool().used_bytes(), 0);
    count
}

#[test]
fn warm_commands_allocate_nothing() {
    let immediate = LoginOptions::default();
    let mut solicited = LoginOptions::default();
    (solicited.keys.session.initial_r2t, solicited.keys.session.immediate_data) = (true, false);
    let memory = || Arc::new(Memory::new(1 << 20));
    let null = || Arc::new(Null::new(1 << 40));
    assert_eq!(allocations(null(), &immediate, false), 0, "reads of the null store");
    assert_eq!(allocations(null(), &immediate, true), 0, "writes to the null store");
    assert_eq!(allocations(memory(), &immediate, false), 0, "reads of memory");
    assert_eq!(allocations(memory(), &immediate, true), 0, "writes to memory with immediate data");
    assert_eq!(allocations(memory(), &solicited, true), 0, "writes to memory with solicited data");

    // Proves that the counter works, on the path through an engine as well: this store's log allocates.
    let sim = SimStore::new(1 << 20, 1);
    sim.behave(Behaviour::LATER);
    assert!(allocations(Arc::new(sim), &immediate, true) > 0, "the simulated store's log allocates");
}
