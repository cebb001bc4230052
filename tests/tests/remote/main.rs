//! Stores on servers, over real servers.

#![allow(clippy::unwrap_used, reason = "tests")]

mod curve;
#[allow(dead_code, unused_imports, reason = "the tests of the daemon use the rest")]
#[path = "../daemon"]
mod daemon {
    pub(crate) mod client;
    pub(crate) mod harness;
}
mod glfs;
mod longhorn;
mod nbd;
mod rbd;
mod scripted_nbd;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use daemon::{client, harness};
use scsi_core::sense::{Sense, SenseKey};

use self::client::{Client, End};
use self::harness::Daemon;

/// Bytes that depend on the place and on `seed`.
fn pattern(seed: u32, len: usize) -> Vec<u8> {
    (0..len as u32 / 4).flat_map(|n| (n.wrapping_mul(2_654_435_761) ^ seed).to_le_bytes()).collect()
}

fn flush(client: &mut Client) -> Result<(), End> {
    client.command(&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0, &[]).map(drop)
}

/// Runs a command again, for a minute, while the unit takes none because its store does not answer.
fn until_taken<T>(mut command: impl FnMut() -> Result<T, End>) -> Result<T, End> {
    let begun = Instant::now();
    loop {
        match command() {
            Err(End::Status(_, None | Some(Sense { key: SenseKey::NotReady, .. })))
                if begun.elapsed() < Duration::from_secs(60) =>
            {
                std::thread::sleep(Duration::from_millis(100));
            }
            other => return other,
        }
    }
}

/// What [`Written::while_killing`] has written: the last round of each area.
struct Written(Vec<u32>);

impl Written {
    const AREAS: u32 = 4;
    const BLOCKS: u32 = 512;

    fn data(area: u32, round: u32) -> Vec<u8> {
        pattern(area << 24 | round, Self::BLOCKS as usize * 512)
    }

    /// Writes areas of a unit and reads them back while a server is killed and started again; `flush` decides about the
    /// results of flushes.
    fn while_killing(daemon: &Daemon, lun: u16, flush: fn(&mut Client), kill: impl FnOnce()) -> Self {
        let over = AtomicBool::new(false);
        let write = |area: u32| {
            let mut client = Client::login(daemon, 1, lun);
            let (lba, mut round) = (area * Self::BLOCKS, 0);
            while !over.load(Ordering::Relaxed) {
                round += 1;
                let data = Self::data(area, round);
                until_taken(|| client.write(lba, &data)).unwrap();
                let read = until_taken(|| client.read(lba, Self::BLOCKS)).unwrap();
                assert!(read == data, "area {area}, round {round}");
                if round % 8 == 0 {
                    flush(&mut client);
                }
            }
            flush(&mut client);
            round
        };
        Self(std::thread::scope(|scope| {
            let write = &write;
            let writers: Vec<_> = (0..Self::AREAS).map(|area| scope.spawn(move || write(area))).collect();
            kill();
            over.store(true, Ordering::Relaxed);
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        }))
    }

    /// Checks the bytes of the medium.
    fn check(&self, bytes: &[u8]) {
        for (area, &round) in (0..).zip(&self.0) {
            let expected = Self::data(area, round);
            let at = area as usize * expected.len();
            assert!(bytes[at..][..expected.len()] == expected, "area {area} after {round} rounds");
        }
    }
}

/// Number of commands that run.
fn running_commands(daemon: &Daemon) -> u64 {
    let text = daemon.adm(&["--mode", "sys", "--op", "stat"]);
    let row =
        |line: &str| line.split_whitespace().map(|word| word.parse().unwrap_or(0)).collect::<Vec<u64>>();
    text.lines().skip(1).map(row).map(|row| row[4] - row[6] + row[8] - row[10]).sum()
}
