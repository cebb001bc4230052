//! Persistent reservations as initiators see them: commands of a few nexuses, one after the other.

use super::super::bench::*;
use super::super::config::UnitConfig;
use super::super::{NexusIndex, Outcome, Step};
use super::register::REGISTRANTS_MAX;
use crate::cdb::encode::encode;
use crate::cdb::persist::{PersistIn, PersistOut, ReservationType, ScopeType};
use crate::cdb::{Cdb, Extent};
use crate::page::persist::out::{BasicList, MoveList};
use crate::page::persist::transport_id::TransportId;
use crate::page::persist::{Capabilities, decode_full_status, decode_keys, decode_reservation};
use crate::sense::SenseKey;
use crate::status::Status;
use ReservationType::{
    ExclusiveAccess, ExclusiveAccessAllRegistrants, WriteExclusive, WriteExclusiveAllRegistrants,
    WriteExclusiveRegistrantsOnly,
};

/// How a command ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Good,
    Conflict,
    /// Key, code, qualifier.
    Sense(u8, u8, u8),
}

const BAD_CDB: End = End::Sense(SenseKey::IllegalRequest as u8, 0x24, 0);
const BAD_LIST: End = End::Sense(SenseKey::IllegalRequest as u8, 0x26, 0);
const BAD_LEN: End = End::Sense(SenseKey::IllegalRequest as u8, 0x1a, 0);
const PREEMPTED: End = End::Sense(SenseKey::UnitAttention as u8, 0x2a, 3);
const RELEASED: End = End::Sense(SenseKey::UnitAttention as u8, 0x2a, 4);
const UNREGISTERED: End = End::Sense(SenseKey::UnitAttention as u8, 0x2a, 5);

const TUR: &[u8] = &[0; 6];
const RESERVE_6: &[u8] = &[0x16, 0, 0, 0, 0, 0];
const RELEASE_6: &[u8] = &[0x17, 0, 0, 0, 0, 0];

fn end(outcome: &Outcome) -> End {
    match (outcome.status, outcome.sense) {
        (Status::Good, None) => End::Good,
        (Status::ReservationConflict, None) => End::Conflict,
        (Status::CheckCondition, Some(sense)) => End::Sense(sense.key as u8, sense.code.asc, sense.code.ascq),
        other => panic!("{other:?}"),
    }
}

impl Bench {
    /// Nexuses 0 to 3, none of which has anything to be told.
    fn four() -> Self {
        let mut bench = Self::disk(|config| config.thin_provisioning = true, FILE);
        for nexus in 2..4 {
            bench.attach(nexus);
            bench.command(nexus, TUR, &[]);
        }
        bench
    }

    fn out_list(&mut self, nexus: u32, action: PersistOut, list: &[u8]) -> End {
        let cdb = Cdb::PersistentReserveOut { action, parameter_len: list.len() as u32 };
        end(&self.command(nexus, &encode(&cdb).unwrap(), list))
    }

    /// PERSISTENT RESERVE OUT with RESERVATION KEY and SERVICE ACTION RESERVATION KEY.
    fn out(&mut self, nexus: u32, action: PersistOut, (own, other): (u64, u64)) -> End {
        let list = BasicList { reservation_key: own, service_action_key: other, ..BasicList::default() };
        self.out_list(nexus, action, &list.encode())
    }

    fn register(&mut self, nexus: u32, key: u64) {
        assert_eq!(self.out(nexus, PersistOut::Register, (0, key)), End::Good);
    }

    fn reserve(&mut self, nexus: u32, key: u64, kind: ReservationType) -> End {
        self.out(nexus, PersistOut::Reserve(what(kind)), (key, 0))
    }

    fn persist_in(&mut self, action: PersistIn) -> Vec<u8> {
        let cdb = encode(&Cdb::PersistentReserveIn { action, allocation_len: 0xffff }).unwrap();
        let outcome = self.command(3, &cdb, &[]);
        assert_eq!(end(&outcome), End::Good);
        outcome.data_in
    }

    fn keys(&mut self) -> (u32, Vec<u64>) {
        decode_keys(&self.persist_in(PersistIn::ReadKeys)).unwrap()
    }

    fn reservation(&mut self) -> Option<(u64, ScopeType)> {
        decode_reservation(&self.persist_in(PersistIn::ReadReservation)).unwrap().1
    }

    /// What nexuses 0 to 3 are told next, each once.
    fn told(&mut self) -> [End; 4] {
        [0, 1, 2, 3].map(|nexus| {
            let first = end(&self.command(nexus, TUR, &[]));
            assert_eq!(end(&self.command(nexus, TUR, &[])), End::Good, "nexus {nexus} is told one thing");
            first
        })
    }

    fn try_all(&mut self, nexus: u32, cdb: &[u8]) -> End {
        end(&self.command(nexus, cdb, &[0; 512]))
    }
}

fn what(kind: ReservationType) -> ScopeType {
    ScopeType(kind as u8)
}

fn read() -> Vec<u8> {
    encode(&Cdb::Read(Extent { blocks: 1, ..Extent::default() })).unwrap().to_vec()
}

fn write() -> Vec<u8> {
    encode(&Cdb::Write(Extent { blocks: 1, ..Extent::default() })).unwrap().to_vec()
}

fn port(index: u32) -> TransportId {
    TransportId::Port(format!("iqn.2001-04.com.example:{index},i,0x000000000001"))
}

#[test]
fn a_registration_is_made_changed_and_removed() {
    let mut bench = Bench::four();
    #[rustfmt::skip]
    let cases = [
        // nexus, action, own key, new key: how it ends, generation and keys afterwards
        (0, PersistOut::Register,          (7, 1), End::Conflict, 0, vec![]),
        (0, PersistOut::Register,          (0, 0), End::Good,     0, vec![]),
        (0, PersistOut::Register,          (0, 1), End::Good,     1, vec![1]),
        (0, PersistOut::Register,          (0, 2), End::Conflict, 1, vec![1]),
        (0, PersistOut::Register,          (1, 2), End::Good,     2, vec![2]),
        (1, PersistOut::Register,          (0, 2), End::Good,     3, vec![2, 2]),
        (1, PersistOut::RegisterAndIgnore, (9, 3), End::Good,     4, vec![2, 3]),
        (2, PersistOut::RegisterAndIgnore, (9, 0), End::Good,     4, vec![2, 3]),
        (2, PersistOut::RegisterAndIgnore, (9, 4), End::Good,     5, vec![2, 3, 4]),
        (2, PersistOut::RegisterAndIgnore, (9, 0), End::Good,     6, vec![2, 3]),
        (0, PersistOut::Register,          (1, 0), End::Conflict, 6, vec![2, 3]),
        (0, PersistOut::Register,          (2, 0), End::Good,     7, vec![3]),
    ];
    for (number, (nexus, action, keys, expected, generation, left)) in cases.into_iter().enumerate() {
        assert_eq!(bench.out(nexus, action, keys), expected, "case {number}");
        assert_eq!(bench.keys(), (generation, left), "case {number}");
    }
    assert_eq!(bench.told(), [End::Good; 4], "registrations concern nobody else");
}

#[test]
fn lists_that_cannot_be_obeyed() {
    let mut bench = Bench::four();
    let list = BasicList { service_action_key: 1, ..BasicList::default() };
    let power_loss = BasicList { persist_through_power_loss: true, ..list.clone() };
    let all_ports = BasicList { all_target_ports: true, ..list.clone() };
    for action in [PersistOut::Register, PersistOut::RegisterAndIgnore] {
        assert_eq!(bench.out_list(0, action, &power_loss.encode()), BAD_LIST, "{action:?}");
        assert_eq!(bench.out_list(0, action, &all_ports.encode()), BAD_LIST, "{action:?}");
        for len in [0, 23, 25] {
            assert_eq!(bench.out_list(0, action, &vec![0; len]), BAD_LEN, "{action:?}");
        }
    }
    assert_eq!(bench.keys(), (0, vec![]));
    // The other service actions have no use for these bits.
    bench.register(0, 1);
    let reserve = PersistOut::Reserve(what(WriteExclusive));
    let list = BasicList { reservation_key: 1, all_target_ports: true, ..power_loss };
    assert_eq!(bench.out_list(0, reserve, &list.encode()), End::Good);
}

#[test]
fn initiators_are_registered_by_another_all_or_none() {
    let mut bench = Bench::four();
    let list = |key, ids: &[TransportId]| {
        let list = BasicList { service_action_key: key, ..BasicList::default() };
        BasicList { initiators: Some(ids.to_vec()), ..list }.encode()
    };
    bench.register(1, 5);
    #[rustfmt::skip]
    let cases = [
        (list(1, &[port(2), port(1)]),                                 End::Conflict, vec![5]),
        (list(1, &[port(2), TransportId::Device("iqn.a".to_owned())]), BAD_LIST,      vec![5]),
        (list(0, &[port(2)]),                                          BAD_CDB,       vec![5]),
        (list(1, &[port(2), port(0), port(2)]),                        End::Good,     vec![5, 1, 1]),
        (list(1, &[port(3)]),                                          End::Conflict, vec![5, 1, 1]),
    ];
    for (number, (list, expected, keys)) in cases.into_iter().enumerate() {
        assert_eq!(bench.out_list(0, PersistOut::Register, &list), expected, "case {number}");
        assert_eq!(bench.keys().1, keys, "case {number}");
    }
    let list = BasicList { reservation_key: 1, service_action_key: 1, ..BasicList::default() };
    let list = BasicList { initiators: Some(vec![port(3)]), ..list };
    assert_eq!(bench.out_list(0, PersistOut::Register, &list.encode()), BAD_CDB, "it is registered itself");
    assert_eq!(bench.reserve(2, 1, WriteExclusive), End::Good);
    let list = BasicList { initiators: Some(vec![port(1)]), ..list };
    assert_eq!(bench.out_list(3, PersistOut::RegisterAndIgnore, &list.encode()), End::Good);
    assert_eq!(bench.keys().1, [1, 1, 1, 1]);
}

#[test]
fn registrants_are_bounded() {
    let mut bench = Bench::four();
    let ids: Vec<_> = (10..10 + REGISTRANTS_MAX as u32 - 1).map(port).collect();
    let list = BasicList { service_action_key: 1, initiators: Some(ids), ..BasicList::default() };
    assert_eq!(bench.out_list(0, PersistOut::Register, &list.encode()), End::Good);
    assert_eq!(bench.out(1, PersistOut::Register, (0, 2)), End::Sense(5, 0x55, 4));
    assert_eq!(bench.keys().1.len(), REGISTRANTS_MAX);
    assert_eq!(bench.out(0, PersistOut::Register, (1, 2)), End::Good, "a key may be changed");
}

/// SPC-4 5.13.1: who may do what under each type. Nexus 0 holds it, 1 is registered, 2 is not.
#[test]
fn each_type_keeps_out_whom_it_is_to_keep_out() {
    #[rustfmt::skip]
    let commands: [(&str, Vec<u8>, bool, bool); 13] = [
        // forbidden under write exclusive, under exclusive access
        ("READ",              read(),                                 false, true),
        ("WRITE",             write(),                                true,  true),
        ("WRITE SAME",        vec![0x41, 0, 0, 0, 0, 0, 0, 0, 1, 0],  true,  true),
        ("UNMAP",             vec![0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0],  true,  true),
        ("SYNCHRONIZE CACHE", vec![0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0],  true,  true),
        ("MODE SELECT",       vec![0x15, 0x10, 0, 0, 0, 0],           true,  true),
        ("MODE SENSE",        vec![0x1a, 0, 0x3f, 0, 255, 0],         false, true),
        ("START",             vec![0x1b, 0, 0, 0, 1, 0],              false, false),
        ("TEST UNIT READY",   TUR.to_vec(),                           false, false),
        ("INQUIRY",           vec![0x12, 0, 0, 0, 36, 0],             false, false),
        ("READ CAPACITY",     vec![0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0],  false, false),
        ("REPORT LUNS",       vec![0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], false, false),
        ("RESERVE(6)",        RESERVE_6.to_vec(),                     true,  true),
    ];
    for kind in ReservationType::ALL {
        let mut bench = Bench::four();
        bench.register(0, 1);
        bench.register(1, 2);
        assert_eq!(bench.reserve(0, 1, kind), End::Good);
        for (name, cdb, under_write, under_access) in &commands {
            let forbidden = if kind.forbids_reads() { *under_access } else { *under_write };
            let expected = |kept_out| if kept_out && forbidden { End::Conflict } else { End::Good };
            assert_eq!(bench.try_all(0, cdb), End::Good, "{kind:?}, holder, {name}");
            let kept_out = !kind.admits_registrants();
            assert_eq!(bench.try_all(1, cdb), expected(kept_out), "{kind:?}, registrant, {name}");
            assert_eq!(bench.try_all(2, cdb), expected(true), "{kind:?}, stranger, {name}");
        }
        let key = if kind.is_held_by_all() { 0 } else { 1 };
        assert_eq!(bench.reservation(), Some((key, what(kind))));
    }
}

#[test]
fn a_reservation_is_made_by_a_registrant_once() {
    let mut bench = Bench::four();
    assert_eq!(bench.reserve(0, 0, WriteExclusive), End::Conflict, "not registered");
    bench.register(0, 1);
    bench.register(1, 2);
    assert_eq!(bench.reserve(0, 2, WriteExclusive), End::Conflict, "another's key");
    for scope_and_type in [0x00, 0x02, 0x04, 0x09, 0x11] {
        let action = PersistOut::Reserve(ScopeType(scope_and_type));
        assert_eq!(bench.out(0, action, (1, 0)), BAD_CDB, "{scope_and_type:02x}");
    }
    assert_eq!(bench.reserve(0, 1, WriteExclusive), End::Good);
    assert_eq!(bench.reserve(0, 1, WriteExclusive), End::Good, "again");
    assert_eq!(bench.reserve(0, 1, ExclusiveAccess), End::Conflict, "as another type");
    assert_eq!(bench.reserve(1, 2, WriteExclusive), End::Conflict, "for another");
    assert_eq!(bench.reservation(), Some((1, what(WriteExclusive))));
    assert_eq!(bench.keys().0, 2, "reservations are no news");

    let mut bench = Bench::four();
    bench.register(0, 1);
    bench.register(1, 2);
    assert_eq!(bench.reserve(0, 1, WriteExclusiveAllRegistrants), End::Good);
    assert_eq!(bench.reserve(1, 2, WriteExclusiveAllRegistrants), End::Good, "all hold it");
}

#[test]
fn only_the_holder_releases_and_registrants_are_told() {
    for kind in ReservationType::ALL {
        let mut bench = Bench::four();
        bench.register(0, 1);
        bench.register(1, 2);
        let release = |kind| PersistOut::Release(what(kind));
        assert_eq!(bench.out(0, release(kind), (1, 0)), End::Good, "there is none");
        assert_eq!(bench.reserve(0, 1, kind), End::Good);
        assert_eq!(bench.out(0, release(kind), (2, 0)), End::Conflict);
        assert_eq!(bench.out(2, release(kind), (0, 0)), End::Conflict);
        let other = ReservationType::ALL[(kind as usize).is_multiple_of(2) as usize * 3];
        let other = if other == kind { ExclusiveAccess } else { other };
        assert_eq!(bench.out(0, release(other), (1, 0)), End::Sense(5, 0x26, 4), "{kind:?}");
        if !kind.is_held_by_all() {
            assert_eq!(bench.out(1, release(kind), (2, 0)), End::Good, "nothing to release");
        }
        assert!(bench.reservation().is_some());
        assert_eq!(bench.out(0, release(kind), (1, 0)), End::Good);
        assert_eq!(bench.reservation(), None);
        let registrant = if kind.admits_registrants() { RELEASED } else { End::Good };
        assert_eq!(bench.told(), [End::Good, registrant, End::Good, End::Good], "{kind:?}");
        assert_eq!(bench.try_all(2, &write()), End::Good);
    }
}

#[test]
fn a_holder_that_goes_takes_its_reservation_with_it() {
    for kind in ReservationType::ALL {
        let mut bench = Bench::four();
        bench.register(0, 1);
        bench.register(1, 2);
        assert_eq!(bench.reserve(0, 1, kind), End::Good);
        assert_eq!(bench.out(0, PersistOut::Register, (1, 0)), End::Good);
        assert_eq!(bench.reservation().is_some(), kind.is_held_by_all(), "{kind:?}: the other holds it");
        let told = kind.admits_registrants() && !kind.is_held_by_all();
        let registrant = if told { RELEASED } else { End::Good };
        assert_eq!(bench.told(), [End::Good, registrant, End::Good, End::Good], "{kind:?}");
        assert_eq!(bench.out(1, PersistOut::Register, (2, 0)), End::Good);
        assert_eq!(bench.reservation(), None);
    }
}

#[test]
fn clear_leaves_nothing_and_tells_registrants() {
    let mut bench = Bench::four();
    assert_eq!(bench.out(0, PersistOut::Clear, (0, 0)), End::Conflict);
    bench.register(0, 1);
    bench.register(1, 2);
    assert_eq!(bench.reserve(1, 2, ExclusiveAccess), End::Good);
    assert_eq!(bench.out(0, PersistOut::Clear, (2, 0)), End::Conflict);
    assert_eq!(bench.out(0, PersistOut::Clear, (1, 0)), End::Good);
    assert_eq!((bench.keys(), bench.reservation()), ((3, vec![]), None));
    assert_eq!(bench.told(), [End::Good, PREEMPTED, End::Good, End::Good]);
}

#[test]
fn preempt_takes_the_reservation_over() {
    for (kind, told) in [(WriteExclusive, End::Good), (WriteExclusiveRegistrantsOnly, RELEASED)] {
        let mut bench = Bench::four();
        for (nexus, key) in [(0, 1), (1, 2), (2, 3)] {
            bench.register(nexus, key);
        }
        assert_eq!(bench.reserve(0, 1, WriteExclusive), End::Good);
        let preempt = PersistOut::Preempt(what(kind));
        assert_eq!(bench.out(3, preempt, (0, 1)), End::Conflict, "not registered");
        assert_eq!(bench.out(1, preempt, (3, 1)), End::Conflict, "another's key");
        assert_eq!(bench.out(1, preempt, (2, 9)), End::Conflict, "nobody's key");
        assert_eq!(bench.out(1, preempt, (2, 0)), BAD_LIST);
        assert_eq!(bench.out(1, PersistOut::Preempt(ScopeType(2)), (2, 1)), BAD_CDB);
        assert_eq!(bench.keys().0, 3);
        assert_eq!(bench.out(1, preempt, (2, 1)), End::Good);
        assert_eq!((bench.keys(), bench.reservation()), ((4, vec![2, 3]), Some((2, what(kind)))));
        assert_eq!(bench.told(), [UNREGISTERED, End::Good, told, End::Good], "{kind:?}");
        assert_eq!(bench.try_all(0, &write()), End::Conflict);
        assert_eq!(bench.try_all(1, &write()), End::Good);
        // The holder makes another type of its own.
        assert_eq!(bench.out(1, PersistOut::Preempt(what(ExclusiveAccess)), (2, 2)), End::Good);
        assert_eq!((bench.keys().1, bench.reservation()), (vec![2, 3], Some((2, what(ExclusiveAccess)))));
        assert_eq!(bench.told(), [End::Good, End::Good, RELEASED, End::Good]);
    }
}

#[test]
fn preempt_removes_registrations_and_leaves_the_reservation() {
    let mut bench = Bench::four();
    for (nexus, key) in [(0, 1), (1, 2), (2, 2)] {
        bench.register(nexus, key);
    }
    assert_eq!(bench.reserve(0, 1, ExclusiveAccess), End::Good);
    // SCOPE and TYPE do not count.
    assert_eq!(bench.out(1, PersistOut::Preempt(ScopeType(0)), (2, 2)), End::Good);
    assert_eq!((bench.keys(), bench.reservation()), ((4, vec![1]), Some((1, what(ExclusiveAccess)))));
    assert_eq!(bench.told(), [End::Good, End::Good, UNREGISTERED, End::Good], "who did it is not told");

    let mut bench = Bench::four();
    bench.register(0, 1);
    bench.register(1, 2);
    let preempt = PersistOut::Preempt(what(WriteExclusive));
    assert_eq!(bench.out(0, preempt, (1, 2)), End::Good, "without a reservation");
    assert_eq!((bench.keys().1, bench.reservation()), (vec![1], None));
}

#[test]
fn where_all_hold_the_reservation_key_0_is_all_others() {
    let all = || {
        let mut bench = Bench::four();
        for (nexus, key) in [(0, 1), (1, 2), (2, 3)] {
            bench.register(nexus, key);
        }
        assert_eq!(bench.reserve(0, 1, ExclusiveAccessAllRegistrants), End::Good);
        bench
    };
    let mut bench = all();
    assert_eq!(bench.out(0, PersistOut::Preempt(what(WriteExclusive)), (1, 0)), End::Good);
    assert_eq!((bench.keys().1, bench.reservation()), (vec![1], Some((1, what(WriteExclusive)))));
    assert_eq!(bench.told(), [End::Good, UNREGISTERED, UNREGISTERED, End::Good]);

    let mut bench = all();
    assert_eq!(bench.out(0, PersistOut::Preempt(what(WriteExclusive)), (1, 2)), End::Good);
    let kept = Some((0, what(ExclusiveAccessAllRegistrants)));
    assert_eq!((bench.keys().1, bench.reservation()), (vec![1, 3], kept));
    assert_eq!(bench.told(), [End::Good, UNREGISTERED, End::Good, End::Good]);
    for victim in [3, 1] {
        assert_eq!(bench.out(0, PersistOut::Preempt(what(WriteExclusive)), (1, victim)), End::Good);
    }
    assert_eq!((bench.keys().1, bench.reservation()), (vec![], None), "the last one removes itself");
}

#[test]
fn preempt_and_abort_names_whose_commands_are_to_end() {
    let mut bench = Bench::four();
    for (nexus, key) in [(0, 1), (1, 2), (2, 2)] {
        bench.register(nexus, key);
    }
    let abort = PersistOut::PreemptAndAbort(what(WriteExclusive));
    assert_eq!(bench.out(0, abort, (1, 9)), End::Conflict);
    assert_eq!(bench.steps, []);
    assert_eq!(bench.out(0, abort, (1, 2)), End::Good);
    let [Step::AbortTasks(nexuses)] = &bench.steps[..] else { panic!("{:?}", bench.steps) };
    let names: Vec<_> = nexuses.iter().map(|name| &name.initiator_port[..]).collect();
    let expected = [1, 2].map(|index| format!("iqn.2001-04.com.example:{index},i,0x000000000001"));
    assert_eq!(names, expected);
    assert_eq!(bench.told(), [End::Good, UNREGISTERED, UNREGISTERED, End::Good]);
    // A holder that preempts itself has nobody's commands ended.
    assert_eq!(bench.reserve(0, 1, WriteExclusive), End::Good);
    assert_eq!(bench.out(0, abort, (1, 1)), End::Good);
    assert_eq!(bench.steps, []);
}

#[test]
fn a_holder_gives_its_reservation_away() {
    let mut bench = Bench::four();
    let list = MoveList {
        reservation_key: 1,
        service_action_key: 9,
        unregister: false,
        persist_through_power_loss: false,
        target_port: 1,
        initiator: port(2),
    };
    let give = |bench: &mut Bench, nexus, list: &MoveList| {
        bench.out_list(nexus, PersistOut::RegisterAndMove, &list.encode())
    };
    assert_eq!(give(&mut bench, 0, &list), End::Conflict, "not registered");
    bench.register(0, 1);
    bench.register(1, 2);
    assert_eq!(give(&mut bench, 0, &list), BAD_CDB, "no reservation");
    assert_eq!(bench.reserve(0, 1, ExclusiveAccess), End::Good);
    #[rustfmt::skip]
    let cases = [
        (1, MoveList { reservation_key: 2, ..list.clone() },                  BAD_CDB),
        (0, MoveList { reservation_key: 2, ..list.clone() },                  End::Conflict),
        (0, MoveList { service_action_key: 0, ..list.clone() },               BAD_LIST),
        (0, MoveList { persist_through_power_loss: true, ..list.clone() },    BAD_LIST),
        (0, MoveList { target_port: 2, ..list.clone() },                      BAD_LIST),
        (0, MoveList { initiator: TransportId::named("iqn.a"), ..list.clone() }, BAD_LIST),
    ];
    for (number, (nexus, list, expected)) in cases.into_iter().enumerate() {
        assert_eq!(give(&mut bench, nexus, &list), expected, "case {number}");
    }
    assert_eq!((bench.keys(), bench.reservation()), ((2, vec![1, 2]), Some((1, what(ExclusiveAccess)))));

    assert_eq!(give(&mut bench, 0, &list), End::Good);
    assert_eq!((bench.keys(), bench.reservation()), ((3, vec![1, 2, 9]), Some((9, what(ExclusiveAccess)))));
    assert_eq!(bench.try_all(0, &read()), End::Conflict);
    let back = MoveList { reservation_key: 9, unregister: true, initiator: port(1), ..list.clone() };
    assert_eq!(give(&mut bench, 2, &MoveList { initiator: port(2), ..back.clone() }), BAD_LIST, "to itself");
    assert_eq!(give(&mut bench, 2, &back), End::Good);
    assert_eq!((bench.keys(), bench.reservation()), ((4, vec![1, 9]), Some((9, what(ExclusiveAccess)))));
    assert_eq!(bench.try_all(1, &read()), End::Good);

    assert_eq!(bench.out(1, PersistOut::Preempt(what(WriteExclusiveAllRegistrants)), (9, 9)), End::Good);
    let held_by_all = MoveList { reservation_key: 9, ..list };
    assert_eq!(give(&mut bench, 1, &held_by_all), End::Conflict);
}

#[test]
fn registrations_outlive_sessions_and_resets() {
    let mut bench = Bench::four();
    bench.register(0, 1);
    assert_eq!(bench.reserve(0, 1, ExclusiveAccess), End::Good);
    bench.port.detach_nexus(NexusIndex(0));
    bench.port.reset();
    bench.told_reset();
    assert_eq!(bench.try_all(1, &read()), End::Conflict);
    bench.attach(0);
    bench.command(0, TUR, &[]);
    assert_eq!(bench.try_all(0, &read()), End::Good);
    assert_eq!(bench.out(0, PersistOut::Register, (1, 0)), End::Good);
    assert_eq!(bench.try_all(1, &read()), End::Good);
}

impl Bench {
    fn told_reset(&mut self) {
        for nexus in 1..4 {
            assert_eq!(end(&self.command(nexus, TUR, &[])), End::Sense(6, 0x29, 3));
        }
    }
}

/// SPC-2 5.5.1 and its exceptions in SPC-4 5.13.3.
#[test]
fn reserve_6_beside_persistent_reservations() {
    let mut bench = Bench::four();
    let keys = encode(&Cdb::PersistentReserveIn { action: PersistIn::ReadKeys, allocation_len: 8 }).unwrap();
    assert_eq!(bench.try_all(0, RESERVE_6), End::Good);
    for nexus in [0, 1] {
        assert_eq!(end(&bench.command(nexus, &keys, &[])), End::Conflict);
        assert_eq!(bench.out(nexus, PersistOut::Register, (0, 1)), End::Conflict);
    }
    assert_eq!(bench.try_all(0, RELEASE_6), End::Good);

    bench.register(0, 1);
    for (nexus, cdb) in [(0, RESERVE_6), (0, RELEASE_6), (1, RESERVE_6), (1, RELEASE_6)] {
        assert_eq!(bench.try_all(nexus, cdb), End::Conflict, "somebody is registered");
    }
    bench.register(1, 2);
    for (kind, registrant) in [(WriteExclusive, End::Conflict), (WriteExclusiveRegistrantsOnly, End::Good)] {
        assert_eq!(bench.reserve(0, 1, kind), End::Good);
        for cdb in [RESERVE_6, RELEASE_6] {
            assert_eq!(bench.try_all(0, cdb), End::Good, "{kind:?}");
            assert_eq!(bench.try_all(1, cdb), registrant, "{kind:?}");
            assert_eq!(bench.try_all(2, cdb), End::Conflict, "{kind:?}");
        }
        assert_eq!(bench.reservation(), Some((1, what(kind))), "no effect");
        assert_eq!(bench.try_all(2, &read()), End::Good, "no effect");
        assert_eq!(bench.out(0, PersistOut::Release(what(kind)), (1, 0)), End::Good);
        bench.told_any();
    }
}

impl Bench {
    fn told_any(&mut self) {
        for nexus in 0..4 {
            self.command(nexus, TUR, &[]);
        }
    }
}

#[test]
fn full_status_tells_who_and_what() {
    let mut bench = Bench::four();
    bench.register(0, 1);
    bench.register(1, 2);
    assert_eq!(bench.reserve(1, 2, WriteExclusive), End::Good);
    let (generation, registrations) =
        decode_full_status(&bench.persist_in(PersistIn::ReadFullStatus)).unwrap();
    let facts: Vec<_> =
        registrations.iter().map(|status| (status.key, status.holds, status.target_port)).collect();
    assert_eq!((generation, facts), (2, vec![(1, None, 1), (2, Some(what(WriteExclusive)), 1)]));
    assert_eq!(registrations[1].initiator, port(1));

    assert_eq!(bench.out(1, PersistOut::Preempt(what(WriteExclusiveAllRegistrants)), (2, 2)), End::Good);
    let (_, registrations) = decode_full_status(&bench.persist_in(PersistIn::ReadFullStatus)).unwrap();
    let held = Some(what(WriteExclusiveAllRegistrants));
    assert!(registrations.iter().all(|status| status.holds == held));
}

#[test]
fn capabilities_are_told_and_data_is_cut() {
    let mut bench = Bench::four();
    let data = bench.persist_in(PersistIn::ReportCapabilities);
    assert_eq!(data, [0, 8, 0x18, 0x80, 0xea, 0x01, 0, 0]);
    assert!(Capabilities::decode(&data).unwrap().compatible_reservations);
    bench.register(0, 1);
    bench.register(1, 2);
    let cut = encode(&Cdb::PersistentReserveIn { action: PersistIn::ReadKeys, allocation_len: 16 }).unwrap();
    assert_eq!(bench.run(&cut, &[]).data_in, [0, 0, 0, 2, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 1]);
}

#[test]
fn there_are_no_other_service_actions_and_no_controller_has_any() {
    let mut bench = Bench::four();
    for action in 0x04..0x20 {
        assert_eq!(end(&bench.run(&[0x5e, action, 0, 0, 0, 0, 0, 0, 8, 0], &[])), BAD_CDB);
    }
    for action in 0x08..0x20 {
        assert_eq!(end(&bench.run(&[0x5f, action, 0, 0, 0, 0, 0, 0, 24, 0], &[0; 24])), BAD_CDB);
    }
    let mut bench = Bench::new(UnitConfig::controller(1), FILE);
    assert_eq!(verdict(&bench.run(&[0x5e, 0, 0, 0, 0, 0, 0, 0, 8, 0], &[])), BAD_OPCODE);
}
