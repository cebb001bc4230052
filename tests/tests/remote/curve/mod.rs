//! `curve` over a nebd-server of the tests.

mod failures;
mod gateway;
mod opening;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use backstores::contract::{self, Subject};
use backstores::registry::{OpenError, OpenOptions, Registry};
use backstores::waiting::Waiting;
use scsi_core::store::{Backstore, Block, BlockOp, Completed, IoError};
use tempfile::TempDir;
use tgt_tests::servers::nebd::NebdServer;

/// A server with its directory, and a registry whose stores use it.
struct Site {
    registry: Registry,
    server: NebdServer,
    directory: TempDir,
}

/// Size of most volumes in bytes.
const SIZE: u64 = 8 << 20;
const VOLUME: &str = "cbd:pool//dir/vol_user_";

impl Site {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("lock")).unwrap();
        let server = NebdServer::start(directory.path());
        Self { registry: Registry::builtin(), server, directory }
    }

    /// A site with [`VOLUME`], whose blocks have 4096 bytes.
    fn with_volume() -> Self {
        let site = Self::new();
        site.server.volume(VOLUME, SIZE, 4096);
        site
    }

    fn options(&self, name: &str, block_len: u32, more: &str) -> OpenOptions {
        let (socket, lock) = (self.server.socket(), self.directory.path().join("lock"));
        let bsopts = format!("socket={};lock-dir={};{more}", socket.display(), lock.display());
        OpenOptions { path: name.into(), bsopts, block_len, ..OpenOptions::default() }
    }

    fn try_open(&self, name: &str, block_len: u32, more: &str) -> Result<Arc<dyn Backstore>, OpenError> {
        self.registry.open("curve", &self.options(name, block_len, more))
    }

    #[track_caller]
    fn open(&self, name: &str, block_len: u32) -> Arc<dyn Backstore> {
        match self.try_open(name, block_len, "") {
            Ok(store) => store,
            Err(error) => panic!("{error}"),
        }
    }

    /// [`VOLUME`] with blocks of 4096 bytes, attached.
    fn attached(&self, more: &str) -> (Arc<dyn Backstore>, Waiting) {
        let store = self.try_open(VOLUME, 4096, more).unwrap_or_else(|error| panic!("{error}"));
        let waiting = Waiting::new(&*store).unwrap();
        (store, waiting)
    }

    /// The text of a refused opening.
    fn refusal(&self, name: &str, more: &str) -> String {
        match self.try_open(name, 4096, more) {
            Ok(_) => panic!("{name} opened with {more}"),
            Err(error) => error.to_string(),
        }
    }
}

/// A block of this length that is filled with a byte.
fn block(len: usize, byte: u8) -> Block {
    let mut block = Block::new(len);
    block.fill(byte);
    block
}

/// Checks the contract on volumes with blocks of `volume_block_len` bytes.
fn check_contract(volume_block_len: u32, block_len: u32, reorder: bool) {
    let site = Arc::new(Site::new());
    site.server.set(|switches| switches.reorder = reorder);
    let (next, opener) = (AtomicU32::new(0), site.clone());
    contract::check(&Subject::new(move || {
        let name = format!("cbd:pool//vol{}_user_", next.fetch_add(1, Ordering::Relaxed));
        opener.server.volume(&name, SIZE, volume_block_len);
        opener.open(&name, block_len)
    }));
    assert_eq!(site.server.seen().unaligned, 0);
}

#[test]
fn contract_is_kept_with_the_blocks_of_the_volume() {
    check_contract(4096, 4096, false);
}

#[test]
fn contract_is_kept_with_smaller_blocks_than_those_of_the_volume() {
    check_contract(4096, 512, false);
}

#[test]
fn contract_is_kept_on_a_volume_with_small_blocks() {
    check_contract(512, 512, false);
}

#[test]
fn contract_is_kept_when_answers_come_in_another_order() {
    check_contract(4096, 4096, true);
    check_contract(4096, 512, true);
}

#[test]
fn contract_is_kept_read_only() {
    let site = Arc::new(Site::with_volume());
    contract::check(&Subject::new(move || {
        let options = OpenOptions { read_only: true, ..site.options(VOLUME, 512, "") };
        site.registry.open("curve", &options).unwrap_or_else(|error| panic!("{error}"))
    }));
}

#[test]
fn geometry_and_capabilities_are_those_of_the_volume() {
    let site = Site::with_volume();
    for (block_len, alignment, one_loop) in [(512, 512, true), (4096, 4096, false)] {
        let store = site.open(VOLUME, block_len);
        assert_eq!((store.geometry().size, store.geometry().physical_block_len), (SIZE, 4096));
        let can = store.capabilities();
        assert_eq!((can.alignment, can.one_loop), (alignment, one_loop));
        assert!(can.fua && can.discard && !can.discard_zeroes && !can.volatile_cache && !can.write_zeroes);
    }
    site.server.volume("cbd:p//b_u_", SIZE, 4096);
    site.server.set(|switches| switches.omit_block_len = true);
    assert_eq!(site.open("cbd:p//b_u_", 4096).geometry().physical_block_len, 4096);
}

#[test]
fn long_operations_are_sent_in_pieces_of_a_mebibyte() {
    let site = Site::with_volume();
    let (_store, mut waiting) = site.attached("");
    let data: Vec<u8> = (0..3 << 20).map(|at: u32| (at >> 9) as u8 | 1).collect();
    waiting.write(4096, &data, false).unwrap();
    assert_eq!(*waiting.read(4096, data.len()).unwrap(), *data);
    let seen = site.server.seen();
    assert_eq!((seen.longest, seen.reads, seen.writes), (1 << 20, 4, 4));
}

/// A write of parts of blocks reads the blocks at its ends only, and concurrent writes of a block do not lose any.
#[test]
fn concurrent_writes_of_parts_of_blocks_are_all_kept() {
    let site = Site::with_volume();
    let store = site.open(VOLUME, 512);
    let mut waiting = Waiting::new(&*store).unwrap();
    let sectors = 64;
    for round in 1..4u8 {
        for sector in (0..sectors).rev() {
            let from = block(512, round * 60 + sector as u8);
            waiting.submit(BlockOp::Write { offset: sector * 512, from, fua: false });
            if sector % 7 == 0 {
                let from = block(4096, 0xee);
                waiting.submit(BlockOp::Write { offset: SIZE - 4096, from, fua: false });
            }
        }
        for completion in waiting.wait_for(74, Duration::from_secs(60)).expect("74 completions") {
            assert_eq!(completion.result, Ok(Completed::Done));
        }
        let read = waiting.read(0, sectors as usize * 512).unwrap();
        for (sector, bytes) in read.chunks(512).enumerate() {
            assert!(
                bytes.iter().all(|byte| *byte == round * 60 + sector as u8),
                "round {round}, sector {sector}"
            );
        }
    }
    let before = site.server.seen();
    waiting.write(512, &[9; 64 << 10], true).unwrap();
    let after = site.server.seen();
    assert_eq!((after.reads - before.reads, after.writes - before.writes), (2, 1));
    let read = waiting.read(0, 66 << 10).unwrap();
    assert!(read[512..][..64 << 10].iter().all(|byte| *byte == 9));
    assert_eq!((read[0], read[511]), (180, 180));
    assert_eq!(after.unaligned, 0);
}

#[test]
fn discard_covers_whole_blocks_only() {
    let site = Site::with_volume();
    let store = site.open(VOLUME, 512);
    let mut waiting = Waiting::new(&*store).unwrap();
    for (offset, len) in [(512, 1024), (512, 7680), (4096, 8192)] {
        waiting.run(BlockOp::Discard { offset, len }).unwrap();
    }
    assert_eq!((site.server.seen().discards, site.server.seen().unaligned), (2, 0));
    let zeroes = BlockOp::WriteZeroes { offset: 0, len: 4096, may_unmap: true };
    assert_eq!(waiting.run(zeroes).map(drop), Err(IoError::UNSUPPORTED));
}

#[test]
fn size_is_read_again_when_the_volume_has_grown() {
    let site = Site::with_volume();
    for block_len in [512, 4096] {
        let store = site.open(VOLUME, block_len);
        let mut waiting = Waiting::new(&*store).unwrap();
        let size = store.geometry().size;
        let bigger = size + (1 << 20);
        site.server.volume(VOLUME, bigger, 4096);
        assert_eq!(waiting.read(size, 4096).map(drop), Err(IoError::OUT_OF_RANGE));
        assert_eq!(store.refresh().unwrap().size, bigger);
        assert_eq!(*waiting.read(size, 4096).unwrap(), [0; 4096]);
    }
}
