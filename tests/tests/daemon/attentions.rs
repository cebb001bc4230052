//! Unit attentions after changes to a target in use: of the size of a disk, and of the list of units.

use std::fs::File;

use scsi_core::sense::{AdditionalSense, Sense, SenseKey};

use crate::client::{BLOCK, Client, End};
use crate::harness::{Brand, DISK, Daemon};

const LEN: u64 = 8 << 20;
/// Number of initiators, a multiple of the loops.
const INITIATORS: usize = 4;

/// Sense key and code of a command that was refused.
#[track_caller]
fn refused(result: Result<Vec<u8>, End>) -> (SenseKey, AdditionalSense) {
    match result {
        Err(End::Status(_, Some(Sense { key, code, .. }))) => (key, code),
        other => panic!("not refused: {other:?}"),
    }
}

fn read_capacity(client: &mut Client) -> u64 {
    let data = client.command_once(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8, &[]).unwrap();
    u64::from(u32::from_be_bytes(data[..4].try_into().unwrap())) + 1
}

/// Changes the size of a file, and sets `disksize=auto` so that the daemon reads it.
fn assert_size_changes_raise_attentions(options: &[&str]) {
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
            client.command_once(&[0; 6], 0, &[]).expect("one attention");
            assert_eq!(read_capacity(client), blocks);
            client.write(last, &[3; BLOCK]).unwrap();
            assert_eq!(client.read(last, 1).unwrap(), [3; BLOCK]);
            let beyond = (SenseKey::IllegalRequest, AdditionalSense::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE);
            assert_eq!(refused(client.read(last, 2)), beyond, "{len} bytes");
            assert_eq!(refused(client.write(last + 1, &[3; BLOCK]).map(|()| vec![])), beyond, "{len} bytes");
        }
        // The same size raises no attention.
        daemon.set_unit(1, DISK, "disksize=auto");
        clients.iter_mut().for_each(|client| drop(client.command_once(&[0; 6], 0, &[]).unwrap()));
    }
}

#[test]
fn changed_size_raises_one_attention_for_each_session() {
    assert_size_changes_raise_attentions(&[]);
}

#[test]
fn changed_size_raises_attentions_on_all_loops_of_a_target() {
    assert_size_changes_raise_attentions(&["--target-loops", "2"]);
}

#[test]
fn added_and_deleted_units_raise_attentions() {
    let daemon = Daemon::start();
    daemon.disk(1, LEN);
    let mut clients = [(); INITIATORS].map(|()| Client::login(&daemon, 1, DISK));
    clients.iter_mut().for_each(|client| drop(client.read(0, 1).unwrap()));
    for added in [true, false] {
        if added {
            daemon.unit(1, 5, LEN, &[]);
        } else {
            daemon.adm(&["--mode", "logicalunit", "--op", "delete", "--tid", "1", "--lun", "5"]);
        }
        for client in &mut clients {
            let changed = (SenseKey::UnitAttention, AdditionalSense::REPORTED_LUNS_DATA_HAS_CHANGED);
            assert_eq!(refused(client.command_once(&[0; 6], 0, &[])), changed);
            client.command_once(&[0; 6], 0, &[]).expect("one attention");
        }
    }
}
