//! Many targets, and many units of one target: management and initiators list all.

use std::fs::File;

use target_engine::control::request::Strings;
use target_engine::control::wire::{Mode, Op, RequestHeader};

use crate::client::Client;
use crate::harness::{Brand, DISK, Daemon, run, target_name};

const TARGETS: u32 = 500;
const UNITS: u16 = 1000;
const LEN: u64 = 1 << 20;

fn of_target(tid: u32) -> RequestHeader {
    RequestHeader { tid: tid.cast_signed(), ..RequestHeader::default() }
}

fn of_unit(tid: u32, lun: u16) -> RequestHeader {
    RequestHeader { lun: lun.into(), ..of_target(tid) }
}

/// An image that all units share.
fn image(daemon: &Daemon) -> Strings {
    let path = daemon.path("shared.img");
    File::create(&path).expect("a file").set_len(LEN).expect("a length");
    Strings { path: path.to_str().map(str::to_owned), ..Strings::default() }
}

/// Creates a target without units that admits all initiators, without a process.
pub(crate) fn target(daemon: &Daemon, tid: u32) {
    let name = Strings { targetname: Some(target_name(tid)), ..Strings::default() };
    daemon.ask(Mode::Target, Op::New, &of_target(tid), &name);
    let all = Strings { initiator_address: Some("ALL".to_owned()), ..Strings::default() };
    daemon.ask(Mode::Target, Op::Bind, &of_target(tid), &all);
}

fn count(text: &str, line: &str) -> usize {
    text.lines().filter(|other| other.trim_start().starts_with(line)).count()
}

fn assert_many_targets(options: &[&str]) {
    let daemon = Daemon::start_as(Brand::Ours, Brand::Tgt, options);
    let strings = image(&daemon);
    for tid in 1..=TARGETS {
        target(&daemon, tid);
        daemon.ask(Mode::LogicalUnit, Op::New, &of_unit(tid, DISK), &strings);
    }
    let shown = daemon.adm(&["--mode", "target", "--op", "show"]);
    let targets = TARGETS as usize;
    let lines = [("Target ", 1), ("LUN: ", 2), ("Type: disk", 1), ("Backing store path: /", 1), ("ALL", 1)];
    for (line, each) in lines {
        assert_eq!(count(&shown, line), targets * each, "{line}");
    }
    let tids: Vec<u32> = shown
        .lines()
        .filter_map(|line| line.strip_prefix("Target ")?.split(':').next()?.parse().ok())
        .collect();
    assert_eq!(tids, (1..=TARGETS).collect::<Vec<_>>(), "sorted by tid");
    let drivers = daemon.adm(&["--mode", "lld", "--op", "show"]);
    assert_eq!(count(&drivers, "Target "), targets);
    let listed = run("iscsi-ls", [&format!("iscsi://{}", daemon.portal)]);
    assert_eq!(count(&listed.text, "Target:"), targets, "discovery lists all");
    for tid in [1, TARGETS / 2, TARGETS] {
        Client::login(&daemon, tid, DISK).read(0, 1).unwrap();
    }
    for tid in 1..=TARGETS {
        daemon.ask(
            Mode::Target,
            Op::Delete,
            &RequestHeader { force: 1, ..of_target(tid) },
            &Strings::default(),
        );
    }
    assert_eq!(daemon.adm(&["--mode", "target", "--op", "show"]), "");
}

#[test]
fn many_targets_are_listed_and_served() {
    assert_many_targets(&[]);
}

#[test]
fn many_targets_share_two_loops() {
    assert_many_targets(&["--loops", "2"]);
}

#[test]
fn report_luns_lists_many_units() {
    let daemon = Daemon::start_as(Brand::Ours, Brand::Tgt, &[]);
    let strings = image(&daemon);
    target(&daemon, 1);
    for lun in 1..=UNITS {
        daemon.ask(Mode::LogicalUnit, Op::New, &of_unit(1, lun), &strings);
    }
    let shown = daemon.adm(&["--mode", "target", "--op", "show"]);
    assert_eq!(count(&shown, "LUN: "), usize::from(UNITS) + 1);

    let mut client = Client::login(&daemon, 1, UNITS);
    client.read(0, 1).unwrap();
    let allocation_len = 16_384_u32;
    let mut report_luns = [0; 12];
    report_luns[0] = 0xa0;
    report_luns[6..10].copy_from_slice(&allocation_len.to_be_bytes());
    let list = client.command(&report_luns, allocation_len, &[]).unwrap();
    let (header, luns) = list.split_at(8);
    let announced = u32::from_be_bytes(header[..4].try_into().unwrap()) as usize;
    assert_eq!((announced, luns.len()), ((usize::from(UNITS) + 1) * 8, announced));
    // Peripheral and flat addressing (SAM-5 4.7.7.2 and 4.7.7.3).
    let number = |lun: &[u8]| u16::from_be_bytes([lun[0], lun[1]]) & 0x3fff;
    let found: Vec<u16> = luns.chunks(8).map(number).collect();
    assert_eq!(found, (0..=UNITS).collect::<Vec<_>>());
}
