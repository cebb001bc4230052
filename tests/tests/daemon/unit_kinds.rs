//! Kinds of unit: each store on each medium, with each block length, kind of access and number of loops. Each is used by
//! QEMU's tools and by libiscsi's tests.
//!
//! The variable `UNIT_KINDS` selects the kinds to test: a number of them, `all`, or words, as `rdwr loop 4096`.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::harness::{Brand, DISK, Daemon, fail, succeed};
use crate::initiators::{RAW, RAW_UNMAP, assert_same, image, qemu_io};
use crate::libiscsi::nonconformities;

/// A kind of unit. Its words select the rows of `libiscsi-skips.txt`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct UnitKind {
    /// `--bstype`.
    pub(crate) store: &'static str,
    /// What the store is on: `file`, `loop` (a block device), `tmpfs`; `none` for stores that need nothing.
    pub(crate) medium: &'static str,
    /// `plain`, `thin`, `readonly`, or `sync`, the open flag.
    pub(crate) access: &'static str,
    /// Bytes of a block.
    pub(crate) block_len: u32,
    /// Loops of the target.
    pub(crate) loops: u32,
}

impl UnitKind {
    /// A thin unit on a file.
    pub(crate) const fn thin(block_len: u32) -> Self {
        Self { store: "rdwr", medium: "file", access: "thin", block_len, loops: 1 }
    }

    fn all() -> Vec<Self> {
        const FILES: &[&str] = &["file", "loop", "tmpfs"];
        let stores: [(_, _, &[_]); 4] = [
            ("rdwr", FILES, &["plain", "thin", "readonly", "sync"]),
            ("aio", FILES, &["plain", "thin", "readonly"]),
            ("memory", &["none"], &["plain", "thin", "readonly"]),
            ("null", &["none"], &["plain", "thin", "readonly"]),
        ];
        let mut kinds = Vec::new();
        for (store, media, accesses) in stores {
            for medium in media {
                for access in accesses {
                    for (block_len, loops) in [(512, 1), (512, 2), (4096, 1), (4096, 2)] {
                        kinds.push(Self { store, medium, access, block_len, loops });
                    }
                }
            }
        }
        kinds
    }

    /// The kinds that `UNIT_KINDS` selects; a number of them is spread over all.
    fn chosen() -> Vec<Self> {
        let mut all = Self::all();
        let wanted = std::env::var("UNIT_KINDS").unwrap_or_else(|_| DEFAULT_COUNT.to_string());
        let count = match wanted.parse::<usize>() {
            Ok(count) => count.min(all.len()),
            Err(_) if wanted == "all" => all.len(),
            Err(_) => {
                all.retain(|kind| wanted.split_whitespace().all(|word| kind.is(word)));
                assert!(!all.is_empty(), "UNIT_KINDS: there is no kind of unit {wanted:?}");
                return all;
            }
        };
        (0..count).map(|number| all[number * all.len() / count]).collect()
    }

    /// Whether a word of the table is one of this kind.
    pub(crate) fn is(&self, word: &str) -> bool {
        let known = [
            "rdwr", "aio", "memory", "null", "none", "file", "loop", "tmpfs", "plain", "thin", "readonly",
            "sync",
        ];
        assert!(known.contains(&word) || word.parse::<u32>().is_ok(), "{word} is no word of a kind of unit");
        [self.store, self.medium, self.access].contains(&word) || word == self.block_len.to_string()
    }

    /// Starts a daemon with a unit of this kind as [`DISK`] of target 1.
    pub(crate) fn serve(&self) -> ServedUnit {
        let daemon = Daemon::start_as(Brand::Ours, Brand::Ours, &["--target-loops", &self.loops.to_string()]);
        let (mut device, mut memory) = (None, None);
        let file = match self.medium {
            "tmpfs" => memory.insert(tempfile::tempdir_in("/dev/shm").unwrap()).path().join("unit.img"),
            _ => daemon.path("unit.img"),
        };
        std::fs::File::create(&file).unwrap().set_len(LEN).unwrap();
        let path = match self.medium {
            "loop" => device.insert(LoopDevice::over(&file)).path.clone(),
            _ => file,
        };
        let (block_len, size) = (self.block_len.to_string(), format!("size={LEN}"));
        let mut words = vec!["--bstype", self.store, "--blocksize", &block_len];
        if self.medium == "none" {
            words.extend(["--bsopts", &size]);
        }
        if self.access == "sync" {
            words.extend(["--bsoflags", "sync"]);
        }
        daemon.target(1);
        daemon.unit_on(1, DISK, &path, &words);
        match self.access {
            "thin" => daemon.set_unit(1, DISK, "thin_provisioning=1"),
            "readonly" => daemon.set_unit(1, DISK, "readonly=1"),
            _ => {}
        }
        ServedUnit { daemon, path, _device: device, _memory: memory }
    }

    fn keeps_data(&self) -> bool {
        self.store != "null"
    }

    /// Reads and writes by QEMU's tools.
    fn assert_qemu_agrees(&self) {
        let unit = self.serve();
        let url = unit.daemon.url(1);
        if self.access == "readonly" {
            qemu_io(&["-r", "-f", "raw"], &url, &["read -P 0 0 1M"]);
            fail("qemu-io", ["-f", "raw", "-c", "write -P 1 0 64k", &url]);
            return;
        }
        if !self.keeps_data() {
            qemu_io(RAW, &url, &["write -P 1 0 4M", "read -P 0 0 4M", "flush"]);
            return;
        }
        let source = image(&unit.daemon, IMAGE_LEN);
        let name = source.to_str().unwrap();
        succeed("qemu-img", ["convert", "-n", "-W", "-m", "8", "-f", "raw", "-O", "raw", name, &url]);
        succeed("qemu-img", ["compare", "-f", "raw", "-F", "raw", name, &url]);
        if self.medium != "none" {
            assert_same(&source, &unit.path, IMAGE_LEN);
        }
        // QEMU reads, modifies and writes where a part of a block changes.
        let parts =
            ["write -P 9 0 64k", "write -P 8 1000 3000", "read -P 9 0 1000", "read -P 8 1000 3000", "flush"];
        qemu_io(RAW, &url, &parts);
        if self.access == "thin" {
            let unmapped = [
                "write -P 1 0 8M",
                "discard 1M 2M",
                "write -z -u 4M 2M",
                "read -P 1 0 1M",
                "read -P 0 4M 2M",
            ];
            qemu_io(RAW_UNMAP, &url, &unmapped);
        }
    }
}

/// A daemon with a unit, which is dropped before the medium of the unit.
pub(crate) struct ServedUnit {
    pub(crate) daemon: Daemon,
    /// The file or block device.
    path: PathBuf,
    _device: Option<LoopDevice>,
    _memory: Option<TempDir>,
}

/// A loop device, detached on drop.
struct LoopDevice {
    path: PathBuf,
}

impl LoopDevice {
    fn over(file: &Path) -> Self {
        let made = Command::new("losetup")
            .args(["--find", "--show"])
            .arg(file)
            .output()
            .expect("losetup is installed");
        let why = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "this test needs root and loop devices: {why}");
        Self { path: PathBuf::from(String::from_utf8(made.stdout).unwrap().trim()) }
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
fn chosen_kinds_of_unit_satisfy_qemu_and_libiscsi() {
    let mut wrong = Vec::new();
    for kind in UnitKind::chosen() {
        eprintln!("{kind:?}");
        kind.assert_qemu_agrees();
        for what in nonconformities(kind) {
            eprintln!("    {what}");
            wrong.push(format!("{kind:?}: {what}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Size of each unit in bytes.
const LEN: u64 = 256 << 20;
/// Bytes that QEMU writes from an image.
const IMAGE_LEN: u64 = 16 << 20;
/// Kinds that are tested where `UNIT_KINDS` is not set.
const DEFAULT_COUNT: usize = 2;
