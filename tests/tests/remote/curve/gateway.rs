//! Volumes of CurveBS behind the daemon: the commands of CurveAdm, and a nebd-server that is killed or stopped.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::process::{Pid, Signal};
use scsi_core::sense::{AdditionalSense, SenseKey};
use tempfile::TempDir;
use tgt_tests::servers::nebd::make_volume;

use crate::client::{BLOCK, Client, End};
use crate::harness::{Daemon, target_name, wait_until};

const SIZE: u64 = 16 << 20;
const VOLUME: &str = "cbd:pool//test03_wine93_";

/// A nebd-server in a process of its own; killed when dropped.
struct Nebd {
    child: Child,
    directory: TempDir,
}

impl Nebd {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("lock")).unwrap();
        let path = directory.path().display();
        let conf = format!("nebdserver.serverAddress={path}/nebd.sock\nmetacache.fileLockPath={path}/lock\n");
        std::fs::write(directory.path().join("client.conf"), conf).unwrap();
        make_volume(directory.path(), VOLUME, SIZE, 4096);
        let child = spawn(directory.path());
        Self { child, directory }
    }

    /// The words of `bsopts` that lead to it.
    fn options(&self) -> String {
        format!("nebd-conf={}", self.directory.path().join("client.conf").display())
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops all its threads.
    fn stop(&self) {
        self.signal(Signal::STOP);
        let tasks = || std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        wait_until("nebd-server is stopped", || {
            tasks().all(|task| {
                let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
                stat.rsplit(')').next().is_none_or(|rest| rest.starts_with(" T"))
            })
        });
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.child = spawn(self.directory.path());
    }

    /// The file of [`VOLUME`].
    fn image(&self) -> PathBuf {
        self.directory.path().join("cbd:pool++test03_wine93_.4096")
    }
}

fn spawn(directory: &Path) -> Child {
    let child = Command::new(env!("CARGO_BIN_EXE_nebd_server")).arg(directory).spawn().unwrap();
    let socket = directory.join("nebd.sock");
    wait_until("nebd-server serves", || UnixStream::connect(&socket).is_ok());
    child
}

impl Drop for Nebd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A daemon with a target, whose units are [`VOLUME`] and one in memory.
fn daemon(nebd: &Nebd, block_len: &str) -> Daemon {
    let daemon = Daemon::start();
    daemon.target(1);
    let options = nebd.options();
    let kind = ["--bstype", "curve", "--bsopts", &options, "--blocksize", block_len];
    daemon.unit_on(1, CURVE, Path::new(VOLUME), &kind);
    daemon.unit_on(1, MEMORY, Path::new("x"), &["--bstype", "memory", "--bsopts", "size=1M"]);
    daemon
}

const CURVE: u16 = 1;
const MEMORY: u16 = 2;

/// What CurveAdm runs to add a target, to list targets and to delete one. Only where its nebd-server is differs.
#[test]
fn curveadm_adds_lists_and_deletes_a_target() {
    let nebd = Nebd::start();
    let daemon = Daemon::start();
    let tgtadm = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        daemon.try_adm(&words)
    };
    let options = nebd.options();
    for tid in 1..3 {
        let name = format!("iqn.2026-12.com.opencurve:curve.{tid}");
        let free =
            (1..).find(|tid| !tgtadm(&format!("--mode target --op show --tid {tid}")).status.success());
        assert_eq!(free, Some(tid));
        for words in [
            format!("--mode target --op new --tid {tid} --targetname {name}"),
            format!(
                "--mode logicalunit --op new --tid {tid} --lun 1 --bstype curve --backing-store {VOLUME} \
                 --blocksize 4096 --bsopts {options}"
            ),
            format!(
                "--mode logicalunit --op update --tid {tid} --lun 1 \
                 --params vendor_id=NetEase,product_id=CurveVolume,product_rev=2.0"
            ),
            format!("--mode target --op bind --tid {tid} -I ALL"),
        ] {
            let output = tgtadm(&words);
            assert!(output.status.success(), "{words}: {output:?}");
        }
    }
    // The expressions of its list: ^Target ([0-9]+): (.+)$ and Backing store path: (cbd:pool//.+)$.
    let text = daemon.adm(&["--mode", "target", "--op", "show"]);
    let titles = text.lines().filter_map(|line| line.strip_prefix("Target ")?.split_once(": "));
    let stores = text.lines().filter_map(|line| line.split_once("Backing store path: cbd:pool//"));
    let expected = ["1", "2"].map(|tid| (tid, format!("iqn.2026-12.com.opencurve:curve.{tid}")));
    assert_eq!(titles.map(|(tid, name)| (tid, name.to_owned())).collect::<Vec<_>>(), expected);
    assert_eq!(stores.map(|(_, name)| name).collect::<Vec<_>>(), ["test03_wine93_"; 2]);
    assert!(text.contains("Backing store type: curve"), "{text}");

    let target = "iqn.2026-12.com.opencurve:curve.1";
    let from = crate::client::LOCALHOST;
    let mut client = Client::try_login(daemon.portal, from, &crate::client::next_name(), target, 1).unwrap();
    let inquiry = client.command(&[0x12, 0, 0, 0, 36, 0], 36, &[]).unwrap();
    assert_eq!(inquiry[8..36], *b"NetEase CurveVolume     2.0 ");
    drop(client);
    wait_until("the session has ended", || daemon.session_count(1) == 0);
    for tid in ["1", "2"] {
        daemon.adm(&["--mode", "target", "--op", "delete", "--tid", tid]);
    }
    let locks = std::fs::read_dir(nebd.directory.path().join("lock")).unwrap().count();
    assert_eq!(locks, 0, "the volume is closed when the deletion is answered");
}

/// Writes and reads blocks of a region of its own until the end, with each content once.
fn write_and_verify(
    client: &mut Client,
    region: u32,
    over: &AtomicBool,
    rounds: &AtomicU32,
) -> Result<(), End> {
    let mut round = 0u32;
    while !over.load(Ordering::Relaxed) {
        round += 1;
        let lba = region * REGION + round * 7 % (REGION - 16);
        let blocks = 1 + round % 16;
        let data: Vec<u8> =
            (0..blocks * BLOCK as u32).map(|at| (at / 64 + round * 31 + region) as u8).collect();
        client.write(lba, &data)?;
        assert!(client.read(lba, blocks)? == data, "region {region}, round {round}");
        rounds.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Blocks of 512 bytes of a region. It is no multiple of 4096 bytes, so that regions share a block of the volume.
const REGION: u32 = 1001;

#[test]
fn no_byte_is_lost_when_nebd_server_is_killed_under_load() {
    let mut nebd = Nebd::start();
    let daemon = daemon(&nebd, "512");
    let (over, rounds) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|region| {
                let mut client = Client::login(&daemon, 1, CURVE);
                let (over, rounds) = (&over, &rounds);
                scope.spawn(move || write_and_verify(&mut client, region, over, rounds))
            })
            .collect();
        for _ in 0..3 {
            let before = rounds.load(Ordering::Relaxed);
            wait_until("progress", || rounds.load(Ordering::Relaxed) > before + 40);
            nebd.kill();
            nebd.start_again();
        }
        let before = rounds.load(Ordering::Relaxed);
        wait_until("progress", || rounds.load(Ordering::Relaxed) > before + 40);
        over.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().unwrap().unwrap();
        }
    });
    let mut client = Client::login(&daemon, 1, CURVE);
    let read = client.read(0, 4 * REGION).unwrap();
    let image = std::fs::read(nebd.image()).unwrap();
    assert!(read == image[..read.len()]);
}

#[test]
fn everything_else_works_while_nebd_server_is_stopped() {
    let nebd = Nebd::start();
    let daemon = daemon(&nebd, "4096");
    let mut stuck = Client::login(&daemon, 1, CURVE);
    stuck.command(&write_one_block(0), 0, &[1; 4096]).unwrap();
    nebd.stop();
    let writer = std::thread::spawn(move || stuck.command(&write_one_block(1), 0, &[2; 4096]));
    for _ in 0..10 {
        let mut client = Client::login(&daemon, 1, MEMORY);
        client.write(0, &[3; BLOCK]).unwrap();
        assert_eq!(client.read(0, 1).unwrap(), [3; BLOCK]);
        assert!(daemon.adm(&["--mode", "target", "--op", "show"]).contains(&target_name(1)));
        // Another unit on the same server can neither be opened nor does it delay anything.
        daemon.target(2);
        daemon.adm(&["--mode", "target", "--op", "delete", "--tid", "2"]);
    }
    assert!(!writer.is_finished());
    nebd.signal(Signal::CONT);
    writer.join().unwrap().unwrap();
    let image = std::fs::read(nebd.image()).unwrap();
    assert_eq!((image[0], image[4096]), (1, 2));
}

fn write_one_block(lba: u8) -> [u8; 10] {
    [0x2a, 0, 0, 0, 0, lba, 0, 0, 1, 0]
}

#[test]
fn growth_of_the_volume_is_reported_to_initiators() {
    let nebd = Nebd::start();
    let daemon = daemon(&nebd, "512");
    let mut client = Client::login(&daemon, 1, CURVE);
    let last_block = |client: &mut Client| {
        let capacity = client.command(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8, &[]).unwrap();
        u64::from(u32::from_be_bytes(capacity[..4].try_into().unwrap()))
    };
    assert_eq!(last_block(&mut client), SIZE / 512 - 1);
    make_volume(nebd.directory.path(), VOLUME, 2 * SIZE, 4096);
    daemon.set_unit(1, CURVE, "disksize=auto");
    let end = client.command_once(&[0; 6], 0, &[]).unwrap_err();
    let End::Status(_, Some(sense)) = end else { panic!("{end:?}") };
    let changed = (SenseKey::UnitAttention, AdditionalSense::CAPACITY_DATA_HAS_CHANGED);
    assert_eq!((sense.key, sense.code), changed);
    assert_eq!(last_block(&mut client), 2 * SIZE / 512 - 1);
    client.write((2 * SIZE / 512 - 1) as u32, &[9; BLOCK]).unwrap();
}

#[test]
fn refused_options_are_explained() {
    let daemon = Daemon::start();
    daemon.target(1);
    for (path, options, text) in [
        ("cbd:pool/volume_user_", "timeout=5", "expected cbd:POOL//VOLUME_USER_"),
        (VOLUME, "time=5", "accepts: nebd-conf, socket, lock-dir, conf, exclusive, timeout, open-timeout"),
        (VOLUME, "exclusive=maybe", "expected 0 or 1"),
    ] {
        let words = ["--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", "1", "--bstype", "curve"];
        let output = daemon.try_adm(&[&words[..], &["-b", path, "--bsopts", options]].concat());
        assert!(!output.status.success());
        assert!(daemon.whole_log().contains(text), "{text}");
    }
}
