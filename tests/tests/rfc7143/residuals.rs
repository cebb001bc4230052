//! RFC 7143 11.4.5: residuals of every command of the table with expected lengths below, equal to and above its transfer,
//! for GOOD and for refused commands.

use std::sync::Arc;

use iscsi_proto::pdu::Residual;
use scsi_core::cdb::table::{COMMANDS, Command};
use scsi_core::device::unit::{Unit, UnitConfig};
use scsi_core::page::persist::out::{BasicList, MoveList};
use scsi_core::page::persist::transport_id::TransportId;
use scsi_core::status::Status;
use tgt_tests::initiator::{Initiator, Io, LoginOptions};
use tgt_tests::pair::Pair;
use tgt_tests::setup::{DISK, Setup};
use tgt_tests::sim_store::SimStore;

const GOOD: u8 = Status::Good as u8;
const CHECK: u8 = Status::CheckCondition as u8;
const CONFLICT: u8 = Status::ReservationConflict as u8;
/// NACA in the last byte of a CDB, which every command refuses.
const NACA: u8 = 0x04;
/// Write Exclusive, logical unit scope.
const WRITE_EXCLUSIVE: u8 = 0x01;

/// Data transfer of a command.
enum Transfer {
    Nothing,
    /// Data-In; the length is found by the test.
    In,
    /// Data-Out of up to these bytes; missing bytes are not written.
    Out(Vec<u8>),
    /// A parameter list that must be complete.
    List(Vec<u8>),
    /// Data-Out of exactly these bytes.
    Block(Vec<u8>),
}

/// CDB and transfer of a command that ends with GOOD.
type Row = (Vec<u8>, Transfer);

/// A CDB for the first `blocks` blocks.
fn medium(opcode: u8, flags: u8, blocks: u8) -> Vec<u8> {
    let mut cdb = match opcode >> 5 {
        0 => vec![opcode, 0, 0, 0, blocks, 0],
        1 | 2 => vec![opcode, flags, 0, 0, 0, 0, 0, 0, blocks, 0],
        5 => vec![opcode, flags, 0, 0, 0, 0, 0, 0, 0, blocks, 0, 0],
        _ => vec![0; 16],
    };
    if cdb.len() == 16 {
        (cdb[0], cdb[1], cdb[13]) = (opcode, flags, blocks);
    }
    cdb
}

fn persist_out(action: u8, list: Vec<u8>) -> Row {
    let kind = if matches!(action, 1 | 2 | 4 | 5) { WRITE_EXCLUSIVE } else { 0 };
    (vec![0x5f, action, kind, 0, 0, 0, 0, 0, list.len() as u8, 0], Transfer::List(list))
}

fn keys(own: u64, other: u64) -> Vec<u8> {
    BasicList { reservation_key: own, service_action_key: other, ..BasicList::default() }.encode()
}

/// CDB and transfer of a command; `None` if this test does not have it.
fn row(command: &Command) -> Option<Row> {
    let opcode = command.opcode;
    let plain = |cdb: &[u8], transfer| (cdb.to_vec(), transfer);
    Some(match (opcode, command.service_action) {
        (0x00 | 0x16 | 0x17, None) => (vec![opcode, 0, 0, 0, 0, 0], Transfer::Nothing),
        (0x1b, None) => plain(&[opcode, 0, 0, 0, 1, 0], Transfer::Nothing),
        (0x1e, None) => plain(&[opcode, 0, 0, 0, 0, 0], Transfer::Nothing),
        (0x1d, None) => plain(&[opcode, 4, 0, 0, 0, 0], Transfer::Nothing),
        (0x34 | 0x35 | 0x90 | 0x91, None) => (medium(opcode, 0, 2), Transfer::Nothing),
        (0x03 | 0x12, None) => plain(&[opcode, 0, 0, 0, 255, 0], Transfer::In),
        (0x1a, None) => plain(&[opcode, 0, 0x3f, 0, 255, 0], Transfer::In),
        (0x5a, None) => plain(&[opcode, 0, 0x3f, 0, 0, 0, 0, 1, 0, 0], Transfer::In),
        (0x25, None) => (vec![opcode, 0, 0, 0, 0, 0, 0, 0, 0, 0], Transfer::In),
        (0x5e, Some(action)) => plain(&[opcode, action as u8, 0, 0, 0, 0, 0, 1, 0, 0], Transfer::In),
        (0xa0, None) => plain(&[opcode, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0], Transfer::In),
        (0xa3, Some(action)) => plain(&[opcode, action as u8, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0], Transfer::In),
        (0x9e, Some(action)) => {
            (vec![opcode, action as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], Transfer::In)
        }
        (0x08 | 0x28 | 0x88 | 0xa8, None) => (medium(opcode, 0, 2), Transfer::In),
        (0x0a | 0x2a | 0x8a | 0xaa, None) => (medium(opcode, 0, 2), Transfer::Out(vec![0; 1024])),
        (0x2e | 0x8e | 0xae, None) => (medium(opcode, 0, 2), Transfer::Out(vec![0; 1024])),
        // BYTCHK 01b.
        (0x2f | 0x8f | 0xaf, None) => (medium(opcode, 2, 2), Transfer::List(vec![0; 1024])),
        (0x41 | 0x93, None) => (medium(opcode, 0, 2), Transfer::Block(vec![0; 512])),
        (0x42, None) => {
            let list = [&[0, 22, 0, 16, 0, 0, 0, 0][..], &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0]];
            plain(&[opcode, 0, 0, 0, 0, 0, 0, 0, 24, 0], Transfer::List(list.concat()))
        }
        (0x15, None) => plain(&[opcode, 0x10, 0, 0, 4, 0], Transfer::List(vec![0; 4])),
        (0x55, None) => plain(&[opcode, 0x10, 0, 0, 0, 0, 0, 0, 8, 0], Transfer::List(vec![0; 8])),
        (0x5f, Some(0)) => persist_out(0, keys(1, 3)),
        (0x5f, Some(6)) => persist_out(6, keys(0, 3)),
        (0x5f, Some(action @ (1..=3))) => persist_out(action as u8, keys(1, 0)),
        (0x5f, Some(action @ (4 | 5))) => persist_out(action as u8, keys(1, 2)),
        (0x5f, Some(7)) => {
            let initiator = TransportId::Port(format!("{},i,0x00023d000002", LoginOptions::of_host(2).name));
            let list = MoveList {
                reservation_key: 1,
                service_action_key: 2,
                target_port: 1,
                initiator,
                unregister: false,
                persist_through_power_loss: false,
            };
            persist_out(7, list.encode())
        }
        _ => return None,
    })
}

/// A thin disk and its sessions; two are registered with the keys 1 and 2.
struct Bench {
    session: Initiator,
    _other: Initiator,
    pair: Pair,
}

impl Bench {
    fn new(command: &Command) -> Self {
        let store = SimStore::new(1 << 20, 1);
        let mut setup = Setup::disk(Arc::new(store.clone()));
        let config = UnitConfig { thin_provisioning: true, ..UnitConfig::disk(1, 1) };
        setup.units.retain(|(lun, _)| *lun != DISK);
        setup.units.push((DISK, Unit::new(config, Some(Arc::new(store)))));
        let pair = Pair::new(setup);
        let (mut session, mut other) =
            (Initiator::login(&pair), Initiator::login_as(&pair, &LoginOptions::of_host(2)));
        if command.opcode == 0x5f {
            must(&mut session, persist_out(6, keys(0, 1)));
            must(&mut other, persist_out(6, keys(0, 2)));
            if matches!(command.service_action, Some(5 | 7)) {
                must(&mut session, persist_out(1, keys(1, 0)));
            }
        }
        Self { session, _other: other, pair }
    }

    /// Runs a command and returns status and residual.
    fn run(&mut self, cdb: &[u8], io: Io<'_>) -> (u8, Residual) {
        let reply = self.session.run(cdb, io);
        (reply.status, reply.residual)
    }
}

#[track_caller]
fn must(session: &mut Initiator, (cdb, transfer): Row) {
    let Transfer::List(list) = transfer else { panic!("a parameter list") };
    session.run(&cdb, Io::Write(&list)).good();
}

/// `data`, cut or padded with zeroes to `len`.
fn of_len(data: &[u8], len: u32) -> Vec<u8> {
    let mut data = data.to_vec();
    data.resize(len as usize, 0);
    data
}

/// Expected status and residual for an expected length of `expected`.
fn answer(command: &Command, cdb: &[u8], transfer: &Transfer, expected: u32) -> (u8, Residual) {
    let mut bench = Bench::new(command);
    match transfer {
        Transfer::Nothing | Transfer::In => bench.run(cdb, Io::Read(expected)),
        Transfer::Out(data) | Transfer::List(data) | Transfer::Block(data) => {
            bench.run(cdb, Io::Write(&of_len(data, expected)))
        }
    }
}

#[test]
fn residual_of_every_command_is_the_difference_to_its_transfer() {
    for command in COMMANDS {
        let (cdb, transfer) =
            row(command).unwrap_or_else(|| panic!("{} has no row in this table", command.name));
        assert_eq!(cdb.len(), command.usage.len(), "{}", command.name);
        let len = match &transfer {
            Transfer::Nothing => 0,
            Transfer::In => Bench::new(command).session.run(&cdb, Io::Read(8192)).good().len() as u32,
            Transfer::Out(data) | Transfer::List(data) | Transfer::Block(data) => data.len() as u32,
        };
        assert_eq!(len == 0, matches!(transfer, Transfer::Nothing), "{}", command.name);
        for expected in [0, len / 2, len, len + 512] {
            let short = expected < len;
            let refused = match transfer {
                Transfer::Nothing | Transfer::In | Transfer::Out(_) => false,
                Transfer::List(_) => short,
                Transfer::Block(_) => expected != len,
            };
            let wanted = match expected.cmp(&len) {
                _ if refused && expected == 0 => (CHECK, Residual::None),
                _ if refused => (CHECK, Residual::Underflow(expected)),
                std::cmp::Ordering::Less => (GOOD, Residual::Overflow(len - expected)),
                std::cmp::Ordering::Equal => (GOOD, Residual::None),
                std::cmp::Ordering::Greater => (GOOD, Residual::Underflow(expected - len)),
            };
            let answered = answer(command, &cdb, &transfer, expected);
            assert_eq!(answered, wanted, "{}: {expected} of {len} bytes", command.name);
        }
    }
}

#[test]
fn refused_command_has_an_underflow_of_all_expected_bytes() {
    for command in COMMANDS {
        let (mut cdb, transfer) = row(command).expect("a row");
        *cdb.last_mut().expect("a CDB") |= NACA;
        let refused = |expected| match expected {
            0 => (CHECK, Residual::None),
            expected => (CHECK, Residual::Underflow(expected)),
        };
        for expected in [0, 512, 1024, 2048] {
            let answered = answer(command, &cdb, &transfer, expected);
            assert_eq!(answered, refused(expected), "{}: {expected} bytes", command.name);
        }
    }
}

/// The residual counts the Data-Out that the command does not take.
#[test]
fn read_command_with_w_bit_takes_no_data() {
    for command in COMMANDS {
        let (cdb, Transfer::In) = row(command).expect("a row") else { continue };
        let answered = Bench::new(command).run(&cdb, Io::Write(&[0; 512]));
        assert_eq!(answered, (GOOD, Residual::Underflow(512)), "{}", command.name);
    }
}

#[test]
fn write_command_with_r_bit_is_refused() {
    for command in COMMANDS {
        let (cdb, transfer) = row(command).expect("a row");
        if !matches!(transfer, Transfer::Nothing | Transfer::In) {
            let reply = Bench::new(command).session.run(&cdb, Io::Read(512));
            let answered = (reply.status, reply.residual, reply.data.len());
            assert_eq!(answered, (CHECK, Residual::Underflow(512), 0), "{}", command.name);
        }
    }
}

/// Only complete blocks are written; the residual is that of the transfer length of the CDB.
#[test]
fn write_of_a_part_of_a_block_writes_the_blocks_before_it() {
    for command in COMMANDS {
        let Some((cdb, Transfer::Out(_))) = row(command) else { continue };
        for (expected, written, residual) in [
            (1, 0, Residual::Overflow(1023)),
            (511, 0, Residual::Overflow(513)),
            (700, 512, Residual::Overflow(324)),
            (1023, 512, Residual::Overflow(1)),
            (1025, 1024, Residual::Underflow(1)),
            (1500, 1024, Residual::Underflow(476)),
        ] {
            let (setup, store) = Setup::sim();
            let mut session = Initiator::login(&Pair::new(setup));
            let _ = session.run(&[0; 6], Io::None);
            let reply = session.run(&cdb, Io::Write(&vec![7; expected]));
            assert_eq!((reply.status, reply.residual), (GOOD, residual), "{}: {expected}", command.name);
            let expected_blocks = [vec![7; written], vec![0; 2048 - written]].concat();
            assert_eq!(store.bytes(0, 2048), expected_blocks, "{}: {expected}", command.name);
        }
    }
}

#[test]
fn reservation_conflict_has_an_underflow_of_all_expected_bytes() {
    let register = &COMMANDS.iter().find(|command| command.opcode == 0x5f).expect("PERSISTENT RESERVE OUT");
    let mut bench = Bench::new(register);
    let (cdb, _) = persist_out(3, keys(9, 0));
    assert_eq!(bench.run(&cdb, Io::Write(&keys(9, 0))), (CONFLICT, Residual::Underflow(24)), "a wrong key");
    let mut other = Initiator::login_as(&bench.pair, &LoginOptions::of_host(3));
    must(&mut bench.session, persist_out(1, keys(1, 0)));
    let reply = other.run(&medium(0x2a, 0, 2), Io::Write(&[1; 1024]));
    assert_eq!(
        (reply.status, reply.residual),
        (CONFLICT, Residual::Underflow(1024)),
        "a reservation of another initiator"
    );
}
