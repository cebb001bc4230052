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

use daemon::{client, harness};

use self::client::{Client, End};
use self::harness::Daemon;

/// Bytes that depend on the place and on `seed`.
fn pattern(seed: u32, len: usize) -> Vec<u8> {
    (0..len as u32 / 4).flat_map(|n| (n.wrapping_mul(2_654_435_761) ^ seed).to_le_bytes()).collect()
}

fn flush(client: &mut Client) -> Result<(), End> {
    client.command(&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0, &[]).map(drop)
}

/// Number of commands that run.
fn running_commands(daemon: &Daemon) -> u64 {
    let text = daemon.adm(&["--mode", "sys", "--op", "stat"]);
    let row =
        |line: &str| line.split_whitespace().map(|word| word.parse().unwrap_or(0)).collect::<Vec<u64>>();
    text.lines().skip(1).map(row).map(|row| row[4] - row[6] + row[8] - row[10]).sum()
}
