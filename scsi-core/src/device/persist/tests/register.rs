//! Tests of REGISTER, REGISTER AND IGNORE EXISTING KEY and REGISTER AND MOVE.

use super::*;

#[test]
fn registration_is_added_changed_and_removed() {
    let mut bench = Bench::four();
    #[rustfmt::skip]
    let cases = [
        // nexus, action, own key, new key; result, generation and keys afterwards
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
    assert_eq!(bench.attentions(), [End::Good; 4], "registrations raise no attention");
}

#[test]
fn unsupported_lists_are_refused() {
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
    // The other service actions ignore these bits.
    bench.register(0, 1);
    let reserve = PersistOut::Reserve(what(WriteExclusive));
    let list = BasicList { reservation_key: 1, all_target_ports: true, ..power_loss };
    assert_eq!(bench.out_list(0, reserve, &list.encode()), End::Good);
}

#[test]
fn spec_i_pt_registers_all_initiators_or_none() {
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

/// Registers a nexus and `others` names of its choice.
fn register_with(bench: &mut Bench, nexus: u32, others: usize) -> End {
    let first = 1000 * (nexus + 1);
    let ids = (first..).take(others).map(port).collect();
    let list = BasicList { service_action_key: 1, initiators: Some(ids), ..BasicList::default() };
    bench.out_list(nexus, PersistOut::Register, &list.encode())
}

const NO_RESOURCES: End = End::Sense(SenseKey::IllegalRequest as u8, 0x55, 4);

#[test]
fn number_of_registrants_is_limited() {
    let mut bench = Bench::four();
    let initiators = (REGISTRANTS_MAX / REGISTRANTS_PER_INITIATOR_MAX) as u32;
    for nexus in 0..=initiators {
        if nexus > 3 {
            bench.attach(nexus);
            bench.command(nexus, TUR, &[]);
        }
        let expected = if nexus < initiators { End::Good } else { NO_RESOURCES };
        assert_eq!(register_with(&mut bench, nexus, REGISTRANTS_PER_INITIATOR_MAX - 1), expected);
    }
    assert_eq!(bench.out(initiators, PersistOut::Register, (0, 2)), NO_RESOURCES);
    assert_eq!(bench.keys().1.len(), REGISTRANTS_MAX);
    assert_eq!(bench.out(0, PersistOut::Register, (1, 2)), End::Good, "a key may be changed");
}

#[test]
fn one_initiator_leaves_room_for_registrants() {
    let mut bench = Bench::four();
    for others in [REGISTRANTS_PER_INITIATOR_MAX, REGISTRANTS_MAX - 1, 5000] {
        assert_eq!(register_with(&mut bench, 0, others), NO_RESOURCES, "{others}");
    }
    assert_eq!(bench.keys().1.len(), 0);
    assert_eq!(register_with(&mut bench, 0, REGISTRANTS_PER_INITIATOR_MAX - 1), End::Good);
    // Neither does a reservation that is moved on.
    assert_eq!(bench.reserve(0, 1, ExclusiveAccess), End::Good);
    let list = MoveList {
        reservation_key: 1,
        service_action_key: 9,
        unregister: false,
        persist_through_power_loss: false,
        target_port: 1,
        initiator: port(99),
    };
    assert_eq!(bench.out_list(0, PersistOut::RegisterAndMove, &list.encode()), NO_RESOURCES);
    bench.register(1, 2);
    assert_eq!(bench.keys().1.len(), REGISTRANTS_PER_INITIATOR_MAX + 1);
    // A port that registers again is its own initiator's.
    let known = MoveList { initiator: port(1), ..list };
    assert_eq!(bench.out_list(0, PersistOut::RegisterAndMove, &known.encode()), NO_RESOURCES);
}

#[test]
fn register_and_move_moves_the_reservation() {
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
