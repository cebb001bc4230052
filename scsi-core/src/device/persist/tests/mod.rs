//! Tests of persistent reservations: commands of several nexuses.

mod register;
mod reserve;

use proptest::prelude::*;

use super::super::bench::*;
use super::super::config::UnitConfig;
use super::super::reservation::{REGISTRANTS_MAX, REGISTRANTS_PER_INITIATOR_MAX};
use super::super::{NexusIndex, Outcome, Step};
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

/// Result of a command.
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
    /// A disk with nexuses 0 to 3, without pending unit attentions.
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

    /// The next unit attention of nexuses 0 to 3.
    fn attentions(&mut self) -> [End; 4] {
        [0, 1, 2, 3].map(|nexus| {
            let first = end(&self.command(nexus, TUR, &[]));
            assert_eq!(end(&self.command(nexus, TUR, &[])), End::Good, "nexus {nexus} has one attention");
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
fn registrations_persist_across_sessions_and_resets() {
    let mut bench = Bench::four();
    bench.register(0, 1);
    assert_eq!(bench.reserve(0, 1, ExclusiveAccess), End::Good);
    bench.port.detach_nexus(NexusIndex(0));
    bench.port.reset();
    bench.drain_reset();
    assert_eq!(bench.try_all(1, &read()), End::Conflict);
    bench.attach(0);
    bench.command(0, TUR, &[]);
    assert_eq!(bench.try_all(0, &read()), End::Good);
    assert_eq!(bench.out(0, PersistOut::Register, (1, 0)), End::Good);
    assert_eq!(bench.try_all(1, &read()), End::Good);
}

impl Bench {
    fn drain_reset(&mut self) {
        for nexus in 1..4 {
            assert_eq!(end(&self.command(nexus, TUR, &[])), End::Sense(6, 0x29, 3));
        }
    }
}

/// RESERVE (6) beside persistent reservations: SPC-2 5.5.1 and its exceptions in SPC-4 5.13.3.
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
        bench.drain_attentions();
    }
}

impl Bench {
    fn drain_attentions(&mut self) {
        for nexus in 0..4 {
            self.command(nexus, TUR, &[]);
        }
    }
}

#[test]
fn full_status_lists_registrations_and_holder() {
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
fn capabilities_are_reported_and_data_is_truncated() {
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
fn other_service_actions_and_controllers_are_refused() {
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

fn action() -> impl Strategy<Value = PersistOut> {
    let what = prop_oneof![9 => prop::sample::select(ReservationType::ALL.to_vec()).prop_map(what), 1 => any::<u8>().prop_map(ScopeType)];
    (0..7u8, what).prop_map(|(action, what)| match action {
        0 => PersistOut::Register,
        1 => PersistOut::Reserve(what),
        2 => PersistOut::Release(what),
        3 => PersistOut::Clear,
        4 => PersistOut::Preempt(what),
        5 => PersistOut::PreemptAndAbort(what),
        _ => PersistOut::RegisterAndIgnore,
    })
}

proptest! {
    /// After any commands the holder is registered, no key is 0 and no nexus is registered twice; a refused command
    /// changes nothing.
    #[test]
    fn state_is_consistent_after_any_commands(commands in prop::collection::vec((0..4u32, action(), 0..4u64, 0..4u64), 1..30)) {
        let mut bench = Bench::four();
        for (nexus, action, own, other) in commands {
            bench.drain_attentions();
            let before = (bench.persist_in(PersistIn::ReadFullStatus), bench.reservation());
            let end = bench.out(nexus, action, (own, other));
            bench.drain_attentions();
            let data = bench.persist_in(PersistIn::ReadFullStatus);
            if end != End::Good {
                prop_assert_eq!(&before, &(data.clone(), bench.reservation()), "{:?}", action);
            }
            let (generation, registrations) = decode_full_status(&data).unwrap();
            prop_assert!(generation - decode_full_status(&before.0).unwrap().0 <= 1);
            let holders = registrations.iter().filter(|status| status.holds.is_some()).count();
            match bench.reservation().map(|(key, what)| (key, what.of_unit().unwrap())) {
                None => prop_assert_eq!(holders, 0),
                Some((key, kind)) if kind.is_held_by_all() => {
                    prop_assert_eq!((key, holders), (0, registrations.len()));
                    prop_assert!(holders > 0);
                }
                Some((key, _)) => {
                    prop_assert_eq!(holders, 1);
                    prop_assert!(registrations.iter().any(|status| status.holds.is_some() && status.key == key));
                }
            }
            for (at, status) in registrations.iter().enumerate() {
                prop_assert_ne!(status.key, 0);
                let again = registrations[..at].iter().any(|other| other.initiator == status.initiator);
                prop_assert!(!again);
            }
        }
    }
}
