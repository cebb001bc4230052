//! What initiators are told of changes to a target that they use: a disk's size, and which units there are.

use std::fs::File;

use scsi_core::sense::{AdditionalSense, Sense, SenseKey};

use crate::client::{BLOCK, Client, End};
use crate::harness::{Brand, DISK, Daemon};

const LEN: u64 = 8 << 20;
/// As many on each of two loops.
const INITIATORS: usize = 4;

/// What a command that is refused is told.
#[track_caller]
fn refused(answer: Result<Vec<u8>, End>) -> (SenseKey, AdditionalSense) {
    match answer {
        Err(End::Status(_, Some(Sense { key, code, .. }))) => (key, code),
        other => panic!("not refused: {other:?}"),
    }
}

fn read_capacity(client: &mut Client) -> u64 {
    let data = client.command_once(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8, &[]).unwrap();
    u64::from(u32::from_be_bytes(data[..4].try_into().unwrap())) + 1
}

/// The file grows and shrinks, and `disksize=auto` has the daemon look.
fn grow_and_shrink(options: &[&str]) {
    let daemon = Daemon::start_as(Brand::Ours, Brand::Ours, options);
    let file = File::options().write(true).open(daemon.disk(1, LEN)).unwrap();
    let mut clients = [(); INITIATORS].map(|()| Client::login(&daemon, 1, DISK));
    clients.iter_mut().for_each(|client| drop(client.read(0, 1).unwrap()));
    for len in [2 * LEN, LEN / 2, LEN] {
        file.set_len(len).unwrap();
        daemon.set_unit(1, DISK, "disksize=auto");
        let blocks = len / BLOCK as u64;
        let last = u32::try_from(blocks).unwrap() - 1;
        for client in &mut clients {
            let changed = (SenseKey::UnitAttention, AdditionalSense::CAPACITY_DATA_HAS_CHANGED);
            assert_eq!(refused(client.command_once(&[0; 6], 0, &[])), changed, "{len} bytes");
            client.command_once(&[0; 6], 0, &[]).expect("it is told once");
            assert_eq!(read_capacity(client), blocks);
            client.write(last, &[3; BLOCK]).unwrap();
            assert_eq!(client.read(last, 1).unwrap(), [3; BLOCK]);
            let beyond = (SenseKey::IllegalRequest, AdditionalSense::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE);
            assert_eq!(refused(client.read(last, 2)), beyond, "{len} bytes");
            assert_eq!(refused(client.write(last + 1, &[3; BLOCK]).map(|()| vec![])), beyond, "{len} bytes");
        }
        // The same size again is no news.
        daemon.set_unit(1, DISK, "disksize=auto");
        clients.iter_mut().for_each(|client| drop(client.command_once(&[0; 6], 0, &[]).unwrap()));
    }
}

#[test]
fn all_initiators_learn_once_that_a_disk_has_another_size() {
    grow_and_shrink(&[]);
}

#[test]
fn initiators_of_all_loops_of_a_target_learn_that_a_disk_has_another_size() {
    grow_and_shrink(&["--target-loops", "2"]);
}

#[test]
fn initiators_are_told_of_a_unit_that_comes_and_of_one_that_goes() {
    let daemon = Daemon::start();
    daemon.disk(1, LEN);
    let mut clients = [(); INITIATORS].map(|()| Client::login(&daemon, 1, DISK));
    clients.iter_mut().for_each(|client| drop(client.read(0, 1).unwrap()));
    for comes in [true, false] {
        if comes {
            daemon.unit(1, 5, LEN, &[]);
        } else {
            daemon.adm(&["--mode", "logicalunit", "--op", "delete", "--tid", "1", "--lun", "5"]);
        }
        for client in &mut clients {
            let changed = (SenseKey::UnitAttention, AdditionalSense::REPORTED_LUNS_DATA_HAS_CHANGED);
            assert_eq!(refused(client.command_once(&[0; 6], 0, &[])), changed);
            client.command_once(&[0; 6], 0, &[]).expect("it is told once");
        }
    }
}
