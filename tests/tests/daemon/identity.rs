//! Serial numbers and designators of disks: after a restart, on another host, and with `--compat-ids`.

use crate::harness::{Brand, DISK, Daemon, succeed};

const LEN: u64 = 1 << 20;
const HERE: &str = "01234567-89ab-4cde-8f01-23456789abcd";
const THERE: &str = "fedcba98-7654-4210-8edc-ba9876543210";

/// Serial number and designators of a target's disk by libiscsi, and the SCSI lines of `target show`.
fn names(daemon: &Daemon, tid: u32) -> [String; 3] {
    let page = |code| succeed("iscsi-inq", ["-e", "1", "-c", code, &daemon.url(tid)]);
    let shown = daemon.adm(&["--mode", "target", "--op", "show"]);
    let unit = shown.split_once(&format!("LUN: {DISK}\n")).expect("the disk").1;
    let names: Vec<&str> = unit.lines().filter(|line| line.contains("SCSI ")).take(2).collect();
    [page("128"), page("131"), names.join("\n")]
}

fn disk_named_by(options: &[&str]) -> Daemon {
    let daemon = Daemon::start_as(Brand::Ours, Brand::Ours, options);
    daemon.disk(1, LEN);
    daemon
}

#[test]
fn identity_option_determines_the_names_of_disks() {
    let [first, again, elsewhere] =
        [HERE, HERE, THERE].map(|id| names(&disk_named_by(&["--identity", id]), 1));
    assert_eq!(first, again);
    for (here, there) in first.iter().zip(&elsewhere) {
        assert_ne!(here, there);
    }
    let serial = first[2].rsplit(' ').next().expect("a serial number");
    assert!(serial.len() == 28 && first[0].contains(serial) && first[1].contains(serial), "{first:?}");
    assert!(first[2].contains(&format!("SCSI ID: IET     {serial}")));
}

#[test]
fn default_identity_persists_across_restarts() {
    let [first, again] = [(); 2].map(|()| names(&disk_named_by(&[]), 1));
    assert_eq!(first, again);
    assert!(!first[2].contains("beaf"));
}

#[test]
fn compat_ids_gives_tgts_names() {
    let (tgt, ours) = (Daemon::start_as(Brand::Tgt, Brand::Tgt, &[]), disk_named_by(&["--compat-ids"]));
    tgt.disk(1, LEN);
    for name in ["", "scsi_id=volume-1,scsi_sn=serial-1", "scsi_id=6001405abcdef"] {
        for daemon in [&tgt, &ours] {
            daemon.set_unit(1, DISK, name);
        }
        assert_eq!(names(&ours, 1), names(&tgt, 1), "{name}");
    }
}

#[test]
fn serial_number_of_another_unit_is_refused() {
    let daemon = disk_named_by(&[]);
    daemon.unit(1, 2, LEN, &[]);
    daemon.set_unit(1, DISK, "scsi_sn=one");
    let words = ["--mode", "logicalunit", "--op", "update", "--tid", "1", "--lun", "2", "-P", "scsi_sn=one"];
    let refused = daemon.try_adm(&words);
    assert_eq!(refused.status.code(), Some(22));
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(why.contains("target 1 lun 1 has this identity already"), "{why}");
}
