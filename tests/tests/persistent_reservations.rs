//! Persistent reservations through the whole stack (SPC-4 5.13): which ports a registration belongs to, and which
//! commands preemption aborts.

use iscsi_proto::ids::Isid;
use scsi_core::cdb::Cdb;
use scsi_core::cdb::encode::encode;
use scsi_core::cdb::persist::{PersistIn, PersistOut, ReservationType, ScopeType};
use scsi_core::page::persist::decode_full_status;
use scsi_core::page::persist::out::{BasicList, MoveList};
use scsi_core::page::persist::transport_id::TransportId;
use tgt_tests::initiator::{Initiator, Io, LoginOptions};
use tgt_tests::pair::Pair;
use tgt_tests::setup::Setup;
use tgt_tests::sim_store::Behaviour;

const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 4, 0];
const CONFLICT: u8 = 0x18;
const EXCLUSIVE: ScopeType = ScopeType(ReservationType::ExclusiveAccess as u8);

fn persist_out(initiator: &mut Initiator, action: PersistOut, keys: (u64, u64)) -> u8 {
    let list = BasicList { reservation_key: keys.0, service_action_key: keys.1, ..BasicList::default() };
    send(initiator, action, &list.encode())
}

fn send(initiator: &mut Initiator, action: PersistOut, list: &[u8]) -> u8 {
    let cdb = Cdb::PersistentReserveOut { action, parameter_len: list.len() as u32 };
    let cdb = encode(&cdb).expect("an encodable CDB");
    initiator.run(&cdb, Io::Write(list)).status
}

fn read(initiator: &mut Initiator) -> u8 {
    initiator.run(&READ, Io::Read(2048)).status
}

/// A session that is registered with key 1 and holds an exclusive access reservation.
fn holder(pair: &Pair) -> Initiator {
    let mut holder = Initiator::login(pair);
    assert_eq!(persist_out(&mut holder, PersistOut::Register, (0, 1)), 0);
    assert_eq!(persist_out(&mut holder, PersistOut::Reserve(EXCLUSIVE), (1, 0)), 0);
    holder
}

#[test]
fn port_keeps_its_reservation_across_sessions() {
    let (setup, _) = Setup::sim();
    let pair = Pair::new(setup);
    let mut first = holder(&pair);
    let mut other = Initiator::login_as(&pair, &LoginOptions::of_host(2));
    assert_eq!((read(&mut first), read(&mut other)), (0, CONFLICT));
    first.hang_up();
    assert_eq!(read(&mut other), CONFLICT, "the end of a session does not release the reservation");
    let isid = Isid([0x00, 0x02, 0x3d, 0, 0, 9]);
    let mut other_port = Initiator::login_as(&pair, &LoginOptions { isid, ..LoginOptions::default() });
    assert_eq!(read(&mut other_port), CONFLICT, "another port of the same initiator");
    let name = LoginOptions::default().name.replace("host", "HOST");
    let mut again = Initiator::login_as(&pair, &LoginOptions { name, ..LoginOptions::default() });
    assert_eq!(read(&mut again), 0);
    assert_eq!(persist_out(&mut again, PersistOut::Release(EXCLUSIVE), (1, 0)), 0);
    assert_eq!(read(&mut other), 0);
}

#[test]
fn register_and_move_accepts_the_port_of_full_status() {
    let (setup, _) = Setup::sim();
    let pair = Pair::new(setup);
    let mut first = holder(&pair);
    let mut receiver = Initiator::login_as(&pair, &LoginOptions::of_host(2));
    assert_eq!(persist_out(&mut receiver, PersistOut::Register, (0, 2)), 0);
    let status = Cdb::PersistentReserveIn { action: PersistIn::ReadFullStatus, allocation_len: 1024 };
    let data = receiver.run(&encode(&status).unwrap(), Io::Read(1024)).good();
    let (_, registrations) = decode_full_status(&data).unwrap();
    let expected = format!("{},i,0x00023d000002", LoginOptions::of_host(2).name);
    assert_eq!(registrations[1].initiator, TransportId::Port(expected));
    let list = MoveList {
        reservation_key: 1,
        service_action_key: 2,
        unregister: true,
        persist_through_power_loss: false,
        target_port: registrations[1].target_port,
        initiator: registrations[1].initiator.clone(),
    };
    assert_eq!(send(&mut first, PersistOut::RegisterAndMove, &list.encode()), 0);
    assert_eq!((read(&mut first), read(&mut receiver)), (CONFLICT, 0));
}

#[test]
fn preempt_and_abort_aborts_commands_of_the_holder() {
    let (setup, store) = Setup::sim();
    let pair = Pair::new(setup);
    let mut old = holder(&pair);
    let mut new = Initiator::login_as(&pair, &LoginOptions::of_host(2));
    assert_eq!(persist_out(&mut new, PersistOut::Register, (0, 2)), 0);
    store.behave(Behaviour::HANG);
    let itt = old.begin(&READ, Io::Read(2048));
    assert_eq!(pair.side().running(), 1);
    store.behave(Behaviour::INLINE);
    assert_eq!(persist_out(&mut new, PersistOut::PreemptAndAbort(EXCLUSIVE), (2, 1)), 0);
    assert_eq!(pair.side().running(), 0);
    old.poll();
    assert!(old.take_reply(itt).is_none(), "an aborted command has no response");
    assert_eq!(
        old.run(&[0; 6], Io::None).check().map(|(key, code)| (key, code.asc, code.ascq)),
        Some((6, 0x2a, 5))
    );
    assert_eq!((read(&mut old), read(&mut new)), (CONFLICT, 0));
}
