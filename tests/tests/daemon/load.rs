//! A verified load: one session writes and reads back in an area of its own and knows what was acknowledged.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::client::{BLOCK, Client, End};
use crate::harness::{DISK, Daemon, wait_until};

/// Blocks of one write: more than travels before the first R2T.
const BLOCKS: u32 = 32;
/// Bytes of one write.
pub(crate) const WRITE_LEN: usize = BLOCKS as usize * BLOCK;
/// Places for writes in an area; after so many rounds each further one is a write and a read.
pub(crate) const PLACES: u64 = 64;
/// Bytes of an area.
const AREA_LEN: u64 = PLACES * WRITE_LEN as u64;
/// What the disk of several loads needs, in bytes.
pub(crate) const LOADED_DISK_LEN: u64 = 16 * AREA_LEN;

/// A load that runs.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: JoinHandle<Outcome>,
}

/// What a load did.
pub(crate) struct Outcome {
    area: u32,
    /// How its session ended, if not by its own will.
    pub(crate) end: Option<End>,
    /// Writes that were acknowledged.
    pub(crate) rounds: u64,
    /// The last acknowledged write of each place.
    acknowledged: Vec<Option<u64>>,
    /// Where a write was on its way at the end.
    open: Option<usize>,
    /// The target asked it to log out.
    pub(crate) asked_to_leave: bool,
}

impl Load {
    /// A load by a new session with a target's disk, in the area of that number.
    #[track_caller]
    pub(crate) fn start(daemon: &Daemon, tid: u32, area: u32) -> Self {
        Self::start_by(Client::login(daemon, tid, DISK), area, Manners::Stubborn)
    }

    /// A load by a session that is there.
    pub(crate) fn start_by(client: Client, area: u32, manners: Manners) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&rounds));
        let thread = std::thread::spawn(move || work(client, area, manners, &stopped, &counter));
        Self { stop, rounds, thread }
    }

    /// Waits until it has done so many more rounds: it is alive.
    #[track_caller]
    pub(crate) fn wait_rounds(&self, more: u64) {
        let wanted = self.rounds.load(Ordering::Relaxed) + more;
        wait_until("a load goes on", || {
            self.thread.is_finished() || self.rounds.load(Ordering::Relaxed) >= wanted
        });
        assert!(self.rounds.load(Ordering::Relaxed) >= wanted, "the load ended");
    }

    /// Ends it; it must have gone well all the time.
    #[track_caller]
    pub(crate) fn finish(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let outcome = self.join();
        assert!(outcome.end.is_none(), "the session ended: {:?}", outcome.end);
        outcome
    }

    /// Waits until its session is ended by the target.
    #[track_caller]
    pub(crate) fn join(self) -> Outcome {
        wait_until("a load's end", || self.thread.is_finished());
        self.thread.join().expect("right data and answers")
    }
}

/// What a load does when it is asked to log out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Manners {
    /// It goes.
    Polite,
    /// It stays until the connection is gone.
    Stubborn,
}

fn work(mut client: Client, area: u32, manners: Manners, stop: &AtomicBool, rounds: &AtomicU64) -> Outcome {
    let acknowledged = vec![None; PLACES as usize];
    let mut outcome = Outcome { area, end: None, rounds: 0, acknowledged, open: None, asked_to_leave: false };
    while !stop.load(Ordering::Relaxed) {
        if manners == Manners::Polite && client.asked_to_leave {
            break;
        }
        if let Err(end) = outcome.round(&mut client) {
            outcome.end = Some(end);
            break;
        }
        rounds.store(outcome.rounds, Ordering::Relaxed);
    }
    outcome.asked_to_leave = client.asked_to_leave;
    outcome
}

impl Outcome {
    /// One write, and one earlier write read back.
    fn round(&mut self, client: &mut Client) -> Result<(), End> {
        let round = self.rounds;
        let place = (round % PLACES) as usize;
        self.open = Some(place);
        client.write(self.lba(place), &pattern(self.area, round))?;
        self.open = None;
        self.acknowledged[place] = Some(round);
        self.rounds += 1;
        let other = (round.wrapping_mul(7) % PLACES) as usize;
        if let Some(written) = self.acknowledged[other] {
            let data = client.read(self.lba(other), BLOCKS)?;
            assert!(data == pattern(self.area, written), "area {} place {other} round {written}", self.area);
        }
        Ok(())
    }

    fn lba(&self, place: usize) -> u32 {
        (self.area * PLACES as u32 + place as u32) * BLOCKS
    }

    /// Every write that was acknowledged is in the file.
    #[track_caller]
    pub(crate) fn assert_in(&self, file: &Path) {
        let file = File::open(file).expect("the disk's file");
        for (place, written) in self.acknowledged.iter().enumerate() {
            let (Some(round), true) = (written, self.open != Some(place)) else { continue };
            let mut data = vec![0; WRITE_LEN];
            file.read_exact_at(&mut data, u64::from(self.lba(place)) * BLOCK as u64)
                .expect("it is long enough");
            assert!(data == pattern(self.area, *round), "area {} place {place} round {round}", self.area);
        }
    }
}

/// What a round writes: other bytes in every area, round and word.
fn pattern(area: u32, round: u64) -> Vec<u8> {
    let words = (0..WRITE_LEN as u64 / 8).map(|word| u64::from(area + 1) << 48 | round << 16 | word);
    words.flat_map(u64::to_be_bytes).collect()
}
