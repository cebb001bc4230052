//! A verified load: one session writes to its own area, reads back, and records the acknowledged writes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::client::{BLOCK, Client, End};
use crate::harness::{DISK, Daemon, wait_until};

/// Blocks of one write: longer than the immediate data, so that R2Ts are needed.
const BLOCKS: u32 = 32;
/// Bytes of one write.
pub(crate) const WRITE_LEN: usize = BLOCKS as usize * BLOCK;
/// Slots of an area, each of one write; after this many rounds each round has a write and a read.
pub(crate) const SLOTS: u64 = 64;
/// Bytes of an area.
const AREA_LEN: u64 = SLOTS * WRITE_LEN as u64;
/// Length of a disk for several loads, in bytes.
pub(crate) const LOADED_DISK_LEN: u64 = 16 * AREA_LEN;

/// A running load.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: JoinHandle<Outcome>,
}

/// The result of a load.
pub(crate) struct Outcome {
    area: u32,
    /// Error that ended its session; `None` if the load ended it.
    pub(crate) end: Option<End>,
    /// Number of acknowledged writes.
    pub(crate) rounds: u64,
    /// Round of the last acknowledged write of each slot.
    acknowledged: Vec<Option<u64>>,
    /// Slot of the write that was outstanding at the end.
    open: Option<usize>,
    /// The target requested a logout.
    pub(crate) logout_requested: bool,
}

impl Load {
    /// Starts a load on an area of a target's disk, with a new session that ignores logout requests.
    #[track_caller]
    pub(crate) fn start(daemon: &Daemon, tid: u32, area: u32) -> Self {
        Self::start_by(Client::login(daemon, tid, DISK), area, OnLogoutRequest::Stay)
    }

    /// Starts a load with an existing session.
    pub(crate) fn start_by(client: Client, area: u32, on_request: OnLogoutRequest) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&rounds));
        let thread = std::thread::spawn(move || work(client, area, on_request, &stopped, &counter));
        Self { stop, rounds, thread }
    }

    /// Waits until the load has done `more` further rounds.
    #[track_caller]
    pub(crate) fn wait_rounds(&self, more: u64) {
        let wanted = self.rounds.load(Ordering::Relaxed) + more;
        wait_until("a load continues", || {
            self.thread.is_finished() || self.rounds.load(Ordering::Relaxed) >= wanted
        });
        assert!(self.rounds.load(Ordering::Relaxed) >= wanted, "the load ended");
    }

    /// Stops the load, which must not have failed.
    #[track_caller]
    pub(crate) fn finish(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let outcome = self.join();
        assert!(outcome.end.is_none(), "the session ended: {:?}", outcome.end);
        outcome
    }

    /// Waits until the target ends the session.
    #[track_caller]
    pub(crate) fn join(self) -> Outcome {
        wait_until("a load ends", || self.thread.is_finished());
        self.thread.join().expect("correct data and responses")
    }
}

/// Reaction of a load to a logout request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum OnLogoutRequest {
    /// Closes the connection.
    Leave,
    /// Continues until the target closes the connection.
    Stay,
}

fn work(
    mut client: Client,
    area: u32,
    on_request: OnLogoutRequest,
    stop: &AtomicBool,
    rounds: &AtomicU64,
) -> Outcome {
    let acknowledged = vec![None; SLOTS as usize];
    let mut outcome =
        Outcome { area, end: None, rounds: 0, acknowledged, open: None, logout_requested: false };
    while !stop.load(Ordering::Relaxed) {
        if on_request == OnLogoutRequest::Leave && client.logout_requested {
            break;
        }
        if let Err(end) = outcome.round(&mut client) {
            outcome.end = Some(end);
            break;
        }
        rounds.store(outcome.rounds, Ordering::Relaxed);
    }
    outcome.logout_requested = client.logout_requested;
    outcome
}

impl Outcome {
    /// Writes one slot and reads back another.
    fn round(&mut self, client: &mut Client) -> Result<(), End> {
        let round = self.rounds;
        let slot = (round % SLOTS) as usize;
        self.open = Some(slot);
        client.write(self.lba(slot), &pattern(self.area, round))?;
        self.open = None;
        self.acknowledged[slot] = Some(round);
        self.rounds += 1;
        let other = (round.wrapping_mul(7) % SLOTS) as usize;
        if let Some(written) = self.acknowledged[other] {
            let data = client.read(self.lba(other), BLOCKS)?;
            assert!(data == pattern(self.area, written), "area {} slot {other} round {written}", self.area);
        }
        Ok(())
    }

    fn lba(&self, slot: usize) -> u32 {
        (self.area * SLOTS as u32 + slot as u32) * BLOCKS
    }

    /// Asserts that every acknowledged write is in the file.
    #[track_caller]
    pub(crate) fn assert_in(&self, file: &Path) {
        let file = File::open(file).expect("the disk's file");
        for (slot, written) in self.acknowledged.iter().enumerate() {
            let (Some(round), true) = (written, self.open != Some(slot)) else { continue };
            let mut data = vec![0; WRITE_LEN];
            file.read_exact_at(&mut data, u64::from(self.lba(slot)) * BLOCK as u64)
                .expect("a file of the full length");
            assert!(data == pattern(self.area, *round), "area {} slot {slot} round {round}", self.area);
        }
    }
}

/// Data of a write, which differs in every area, round and word.
fn pattern(area: u32, round: u64) -> Vec<u8> {
    let words = (0..WRITE_LEN as u64 / 8).map(|word| u64::from(area + 1) << 48 | round << 16 | word);
    words.flat_map(u64::to_be_bytes).collect()
}
