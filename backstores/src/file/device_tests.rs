//! Block devices: loop devices over a file. The tests need root and `/dev/loop-control`, and fail without them.

use std::path::{Path, PathBuf};
use std::process::Command;

use scsi_core::store::{BlockOp, IoError};

use super::tests::{keep_the_contract, new_file, open, refusal};
use crate::registry::{OpenError, OpenOptions};
use crate::waiting::Waiting;

/// A loop device, detached on drop.
pub(super) struct LoopDevice {
    path: PathBuf,
    backing: PathBuf,
    _dir: Option<tempfile::TempDir>,
}

impl LoopDevice {
    /// Returns a loop device over a new file of `len` bytes.
    ///
    /// # Panics
    /// `losetup` fails.
    pub(super) fn new(len: u64, arguments: &[&str]) -> Self {
        let (dir, options) = new_file(len);
        open("rdwr", &options);
        let mut device = Self::over(&options.path, arguments);
        device._dir = Some(dir);
        device
    }

    /// Returns a loop device over an existing file.
    ///
    /// # Panics
    /// `losetup` fails.
    pub(super) fn over(backing: &Path, arguments: &[&str]) -> Self {
        let made = Command::new("losetup")
            .args(["--find", "--show"])
            .args(arguments)
            .arg(backing)
            .output()
            .expect("losetup is installed");
        let why = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "this test needs root and loop devices: {why}");
        let path = PathBuf::from(String::from_utf8(made.stdout).unwrap().trim());
        Self { path, backing: backing.to_owned(), _dir: None }
    }

    /// Truncates the backing file, and gives the device its size.
    pub(super) fn shrink(&self, len: u64) {
        std::fs::OpenOptions::new().write(true).open(&self.backing).unwrap().set_len(len).unwrap();
        let set = Command::new("losetup").arg("--set-capacity").arg(&self.path).status().unwrap();
        assert!(set.success());
    }

    pub(super) fn options(&self) -> OpenOptions {
        OpenOptions::for_path(&self.path)
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let detached = Command::new("losetup").arg("--detach").arg(&self.path).status();
        if !std::thread::panicking() {
            assert!(detached.unwrap().success(), "{} stays attached", self.path.display());
        }
    }
}

#[test]
fn devices_keep_the_contract() {
    let device = LoopDevice::new(2 << 20, &[]);
    let store = open("rdwr", &device.options());
    assert_eq!(store.geometry().size, 2 << 20);
    assert!(store.capabilities().discard, "a loop device over this file discards");
    assert!(!store.capabilities().allocation && !store.capabilities().discard_zeroes);
    keep_the_contract("rdwr", &device.options());
    keep_the_contract("aio", &device.options());
}

/// As in tgt, the physical block length of a device is not reported.
#[test]
fn device_with_long_blocks_reports_512_physical_bytes_and_refuses_shorter_blocks() {
    let device = LoopDevice::new(1 << 20, &["--sector-size", "4096"]);
    let options = OpenOptions { block_len: 4096, ..device.options() };
    let store = open("aio", &options);
    assert_eq!((store.capabilities().alignment, store.geometry().physical_block_len), (4096, 512));
    assert!(matches!(
        refusal("aio", &device.options()),
        OpenError::Alignment { alignment: 4096, block_len: 512, .. }
    ));
}

#[test]
fn read_only_device_is_opened_read_only() {
    let device = LoopDevice::new(1 << 20, &["--read-only"]);
    assert!(open("rdwr", &device.options()).capabilities().read_only);
    keep_the_contract("rdwr", &device.options());
}

#[test]
fn discard_frees_space_in_the_backing_file() {
    use std::os::unix::fs::MetadataExt;
    let device = LoopDevice::new(1 << 20, &[]);
    let held = || std::fs::metadata(&device.backing).unwrap().blocks() * 512;
    let mut store = Waiting::new(&*open("rdwr", &device.options())).unwrap();
    store.write(0, &[1; 1 << 20], true).unwrap();
    let full = held();
    assert!(full >= 1 << 20, "written to the backing file");
    store.run(BlockOp::Discard { offset: 0, len: 512 << 10 }).unwrap();
    assert!(held() <= full - (512 << 10));
    store.run(BlockOp::WriteZeroes { offset: 512 << 10, len: 512 << 10, may_unmap: false }).unwrap();
    store.flush().unwrap();
    assert!(std::fs::read(&device.backing).unwrap()[512 << 10..].iter().all(|byte| *byte == 0));
}

#[test]
fn range_beyond_the_end_of_a_device_is_out_of_range_not_no_space() {
    let device = LoopDevice::new(1 << 20, &[]);
    let mut store = Waiting::new(&*open("rdwr", &device.options())).unwrap();
    assert_eq!(store.write(1 << 20, &[1; 4096], false), Err(IoError::OUT_OF_RANGE));
    assert_eq!(store.read(1 << 20, 4096).map(drop), Err(IoError::OUT_OF_RANGE));
}
