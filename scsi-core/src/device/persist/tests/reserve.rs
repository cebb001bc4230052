//! Tests of RESERVE, RELEASE, CLEAR and PREEMPT.

use super::*;

/// Access under each type (SPC-4 5.13.1). Nexus 0 holds the reservation, 1 is registered, 2 is not.
#[test]
fn each_type_restricts_other_nexuses() {
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
fn reserve_needs_a_registration_and_no_other_reservation() {
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
fn only_the_holder_releases_and_registrants_get_attention() {
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
        assert_eq!(bench.attentions(), [End::Good, registrant, End::Good, End::Good], "{kind:?}");
        assert_eq!(bench.try_all(2, &write()), End::Good);
    }
}

#[test]
fn unregistering_the_holder_ends_the_reservation() {
    for kind in ReservationType::ALL {
        let mut bench = Bench::four();
        bench.register(0, 1);
        bench.register(1, 2);
        assert_eq!(bench.reserve(0, 1, kind), End::Good);
        assert_eq!(bench.out(0, PersistOut::Register, (1, 0)), End::Good);
        assert_eq!(bench.reservation().is_some(), kind.is_held_by_all(), "{kind:?}: the other holds it");
        let released = kind.admits_registrants() && !kind.is_held_by_all();
        let registrant = if released { RELEASED } else { End::Good };
        assert_eq!(bench.attentions(), [End::Good, registrant, End::Good, End::Good], "{kind:?}");
        assert_eq!(bench.out(1, PersistOut::Register, (2, 0)), End::Good);
        assert_eq!(bench.reservation(), None);
    }
}

#[test]
fn clear_removes_all_and_raises_attention() {
    let mut bench = Bench::four();
    assert_eq!(bench.out(0, PersistOut::Clear, (0, 0)), End::Conflict);
    bench.register(0, 1);
    bench.register(1, 2);
    assert_eq!(bench.reserve(1, 2, ExclusiveAccess), End::Good);
    assert_eq!(bench.out(0, PersistOut::Clear, (2, 0)), End::Conflict);
    assert_eq!(bench.out(0, PersistOut::Clear, (1, 0)), End::Good);
    assert_eq!((bench.keys(), bench.reservation()), ((3, vec![]), None));
    assert_eq!(bench.attentions(), [End::Good, PREEMPTED, End::Good, End::Good]);
}

#[test]
fn preempt_replaces_the_reservation() {
    for (kind, other) in [(WriteExclusive, End::Good), (WriteExclusiveRegistrantsOnly, RELEASED)] {
        let mut bench = Bench::four();
        for (nexus, key) in [(0, 1), (1, 2), (2, 3)] {
            bench.register(nexus, key);
        }
        assert_eq!(bench.reserve(0, 1, WriteExclusive), End::Good);
        let preempt = PersistOut::Preempt(what(kind));
        assert_eq!(bench.out(3, preempt, (0, 1)), End::Conflict, "not registered");
        assert_eq!(bench.out(1, preempt, (3, 1)), End::Conflict, "another's key");
        assert_eq!(bench.out(1, preempt, (2, 9)), End::Conflict, "unregistered key");
        assert_eq!(bench.out(1, preempt, (2, 0)), BAD_LIST);
        assert_eq!(bench.out(1, PersistOut::Preempt(ScopeType(2)), (2, 1)), BAD_CDB);
        assert_eq!(bench.keys().0, 3);
        assert_eq!(bench.out(1, preempt, (2, 1)), End::Good);
        assert_eq!((bench.keys(), bench.reservation()), ((4, vec![2, 3]), Some((2, what(kind)))));
        assert_eq!(bench.attentions(), [UNREGISTERED, End::Good, other, End::Good], "{kind:?}");
        assert_eq!(bench.try_all(0, &write()), End::Conflict);
        assert_eq!(bench.try_all(1, &write()), End::Good);
        // The holder changes the type of its reservation.
        assert_eq!(bench.out(1, PersistOut::Preempt(what(ExclusiveAccess)), (2, 2)), End::Good);
        assert_eq!((bench.keys().1, bench.reservation()), (vec![2, 3], Some((2, what(ExclusiveAccess)))));
        assert_eq!(bench.attentions(), [End::Good, End::Good, RELEASED, End::Good]);
    }
}

#[test]
fn preempt_of_another_key_keeps_the_reservation() {
    let mut bench = Bench::four();
    for (nexus, key) in [(0, 1), (1, 2), (2, 2)] {
        bench.register(nexus, key);
    }
    assert_eq!(bench.reserve(0, 1, ExclusiveAccess), End::Good);
    // SCOPE and TYPE are ignored.
    assert_eq!(bench.out(1, PersistOut::Preempt(ScopeType(0)), (2, 2)), End::Good);
    assert_eq!((bench.keys(), bench.reservation()), ((4, vec![1]), Some((1, what(ExclusiveAccess)))));
    assert_eq!(
        bench.attentions(),
        [End::Good, End::Good, UNREGISTERED, End::Good],
        "no attention for the sender"
    );

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
    assert_eq!(bench.attentions(), [End::Good, UNREGISTERED, UNREGISTERED, End::Good]);

    let mut bench = all();
    assert_eq!(bench.out(0, PersistOut::Preempt(what(WriteExclusive)), (1, 2)), End::Good);
    let kept = Some((0, what(ExclusiveAccessAllRegistrants)));
    assert_eq!((bench.keys().1, bench.reservation()), (vec![1, 3], kept));
    assert_eq!(bench.attentions(), [End::Good, UNREGISTERED, End::Good, End::Good]);
    for victim in [3, 1] {
        assert_eq!(bench.out(0, PersistOut::Preempt(what(WriteExclusive)), (1, victim)), End::Good);
    }
    assert_eq!((bench.keys().1, bench.reservation()), (vec![], None), "the last one removes itself");
}

#[test]
fn preempt_and_abort_aborts_commands_of_preempted_nexuses() {
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
    assert_eq!(bench.attentions(), [End::Good, UNREGISTERED, UNREGISTERED, End::Good]);
    // A holder that preempts itself aborts no commands.
    assert_eq!(bench.reserve(0, 1, WriteExclusive), End::Good);
    assert_eq!(bench.out(0, abort, (1, 1)), End::Good);
    assert_eq!(bench.steps, []);
}
