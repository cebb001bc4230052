//! Initiators that make the target hold memory, beside a session that must not notice.

use super::*;
use crate::keys::ConnectionIndex;
use crate::limits::{
    DATA_OUT_LEN_MAX, SEGMENT_LEN_MAX, SESSION_BYTES_MIN, TRANSMIT_BYTES_LOW, TRANSMIT_BYTES_MAX,
    loop_bytes_max,
};

const TASK_SET_FULL: u8 = 0x28;

/// Sends as the session of this connection, whose next CmdSN is given.
fn as_session(bench: &mut Bench, (connection, cmd_sn): (ConnectionIndex, u32), act: impl FnOnce(&mut Bench)) {
    let own = std::mem::replace(&mut bench.connection, connection);
    let own_sn = std::mem::replace(&mut bench.cmd_sn, cmd_sn);
    act(bench);
    (bench.connection, bench.cmd_sn) = (own, own_sn);
}

/// A session whose first command has reported the power-on attention; its next CmdSN is 2.
fn session(bench: &mut Bench, number: u16, params: &SessionParams) -> ConnectionIndex {
    let connection = bench.connect(number, params);
    as_session(bench, (connection, 1), |bench| {
        bench.command(&[0], Expect::Nothing);
        bench.drain();
    });
    connection
}

/// A write with immediate data and a read of the bench's own session.
fn victim_is_served(bench: &mut Bench) {
    bench.command(&WRITE, Expect::Out(4096, &[1; 4096], true));
    assert_eq!(status(&bench.drain()), [0], "a write with immediate data");
    bench.command(&READ, Expect::In(4096));
    assert_eq!(bench.drain()[0].1.len(), 4096, "a read");
}

#[test]
fn unsolicited_data_that_does_not_end_is_refused_only_to_its_session() {
    let mut bench = Bench::new();
    let params = SessionParams { initial_r2t: false, first_burst_len: 256 << 10, ..SessionParams::default() };
    let hogs: Vec<_> = (0..66).map(|number| session(&mut bench, 10 + number, &params)).collect();
    let mut full = 0;
    for &hog in &hogs {
        as_session(&mut bench, (hog, 2), |bench| {
            for _ in 0..31 {
                bench.command(&[0x2a, 0, 0, 0, 0, 0, 0, 2, 0, 0], Expect::Out(256 << 10, &[1; 512], false));
            }
            full += status(&bench.drain()).iter().filter(|status| **status == TASK_SET_FULL).count();
        });
    }
    let bound = PAYLOAD_BYTES_MAX + hogs.len() * (SESSION_BYTES_MIN + SEGMENT_LEN_MAX);
    assert!(bench.pool.used_bytes() <= bound, "{}", bench.pool.used_bytes());
    assert!(bench.pool.used_bytes() > PAYLOAD_BYTES_MAX / 2);
    victim_is_served(&mut bench);
    assert_eq!(full, 0, "refused once all of their unsolicited data has arrived");
}

#[test]
fn announced_data_that_does_not_come_takes_nothing_from_others() {
    let mut bench = Bench::new();
    for number in 0..8300 {
        let hog = bench.connect(10 + number, &SessionParams::default());
        let mut bhs = [0; 48];
        bench.pdu(&WRITE, Expect::Out(65536, &[], true)).encode(&mut bhs);
        iscsi_proto::pdu::set_lengths(&mut bhs, 0, 65536);
        bench.feed(hog, &[&bhs[..], &[1]].concat());
    }
    assert!(bench.pool.used_bytes() > 2 * PAYLOAD_BYTES_MAX);
    victim_is_served(&mut bench);
    let other = bench.pool.open();
    assert!(bench.pool.may_take(other, PAYLOAD_BYTES_MAX / 2), "the budget is free");
}

#[test]
fn a_session_over_its_share_is_refused_data_that_it_sends_unasked() {
    let mut bench = Bench::new();
    let account = bench.account();
    bench.pool.reserve_anyway(PAYLOAD_BYTES_MAX, account);
    bench.command(&WRITE, Expect::Out(4096, &[1; 4096], true));
    assert_eq!(status(&bench.drain()), [0], "nobody else holds anything");
    let other = bench.pool.open();
    bench.pool.reserve_anyway(1, other);
    bench.command(&WRITE, Expect::Out(4096, &[1; 4096], true));
    assert_eq!(status(&bench.drain()), [TASK_SET_FULL]);
    bench.command(&[0], Expect::Nothing);
    assert_eq!(status(&bench.drain()), [0], "a command without data");
}

#[test]
fn data_ahead_of_its_turn_is_bounded() {
    let mut bench = Bench::new();
    let other = bench.pool.open();
    bench.pool.reserve_anyway(PAYLOAD_BYTES_MAX, other);
    bench.cmd_sn += 1;
    for _ in 0..SESSION_BYTES_MIN / 65536 {
        bench.command(&WRITE, Expect::Out(65536, &[1; 65536], true));
    }
    bench.command(&[0], Expect::Nothing);
    assert!(!bench.is_paused(), "without data it may come early");
    bench.command(&WRITE, Expect::Out(4096, &[1; 4096], true));
    assert!(bench.is_paused(), "closed");
    assert_eq!(bench.pool.used_bytes(), 0);
}

#[test]
fn reads_wait_for_the_memory_of_their_session() {
    let mut bench = Bench::new();
    let params = SessionParams::default();
    let hogs: Vec<_> = (0..9).map(|number| session(&mut bench, 10 + number, &params)).collect();
    bench.set_mode(Mode::Hang);
    for &hog in &hogs {
        as_session(&mut bench, (hog, 2), |bench| {
            for _ in 0..31 {
                bench.command(&[0x28, 0, 0, 0, 0, 0, 0, 8, 0, 0], Expect::In(1 << 20));
            }
        });
    }
    let used = bench.pool.used_bytes();
    assert!(
        used > PAYLOAD_BYTES_MAX / 2 && used <= PAYLOAD_BYTES_MAX + hogs.len() * SESSION_BYTES_MIN,
        "{used}"
    );
    bench.set_mode(Mode::Inline);
    victim_is_served(&mut bench);
    bench.set_mode(Mode::Later);
    let mut left = hogs.len() * 31;
    while left > 0 {
        let before = left;
        bench.settle();
        for &hog in &hogs {
            bench.shard.memory_freed();
            left -= bench.drain_of(hog).iter().filter(|(bhs, _)| bhs[1] & 1 != 0).count();
        }
        assert!(left < before, "{left} make no progress");
    }
    assert_eq!(
        (left, bench.shard.running(), bench.pool.used_bytes()),
        (0, 0, 0),
        "all end with their status"
    );
}

/// As many pings as one read of a socket returns.
fn pings(bench: &Bench) -> Vec<u8> {
    let ping = |number| {
        let ping = NopOut {
            immediate: true,
            lun: [0; 8],
            itt: Some(Itt(number)),
            ttt: None,
            cmd_sn: CmdSn(bench.cmd_sn),
            exp_stat_sn: StatSn(0),
        };
        let mut bhs = [0; 48];
        ping.encode(&mut bhs);
        bhs
    };
    (0..SEGMENT_LEN_MAX as u32 / 48).flat_map(ping).collect()
}

/// What an initiator has the target hold.
#[derive(Clone, Copy)]
enum Hog {
    /// Reads at a store that hangs.
    Reads,
    /// Unsolicited data that does not end.
    Writes,
    /// Answers that it does not read.
    Pings,
    /// A PDU of which one byte is missing.
    Pdu,
}

#[test]
fn all_that_peers_can_have_a_loop_hold_is_within_the_sum_of_the_bounds() {
    let mut bench = Bench::new();
    bench.set_mode(Mode::Hang);
    let params = SessionParams { initial_r2t: false, first_burst_len: 256 << 10, ..SessionParams::default() };
    let kinds = [Hog::Reads, Hog::Writes, Hog::Pings, Hog::Pdu];
    let hogs: Vec<_> = (0..120).map(|number| session(&mut bench, 10 + number, &params)).collect();
    for (&hog, kind) in hogs.iter().zip(kinds.into_iter().cycle()) {
        as_session(&mut bench, (hog, 2), |bench| match kind {
            Hog::Reads => (0..31).for_each(|_| {
                bench.command(&[0x28, 0, 0, 0, 0, 0, 0, 8, 0, 0], Expect::In(1 << 20));
            }),
            Hog::Writes => (0..31).for_each(|_| {
                bench.command(&[0x2a, 0, 0, 0, 0, 0, 0, 2, 0, 0], Expect::Out(256 << 10, &[1; 512], false));
            }),
            Hog::Pings => {
                let pings = pings(bench);
                while !bench.shard.connection(hog).unwrap().has_unread() {
                    bench.feed(hog, &pings);
                }
            }
            Hog::Pdu => {
                let mut bhs = [0; 48];
                bench.pdu(&WRITE, Expect::Out(65536, &[], true)).encode(&mut bhs);
                iscsi_proto::pdu::set_lengths(&mut bhs, 0, 65536);
                bench.feed(hog, &[&bhs[..], &[1; 65535]].concat());
            }
        });
    }
    let unsent =
        |hog: &ConnectionIndex| bench.shard.connection(*hog).map_or(0, |connection| connection.unsent());
    let unsent: usize = hogs.iter().map(unsent).sum();
    let held = bench.pool.used_bytes() + bench.pool.reserved_bytes() + unsent;
    assert!(held > PAYLOAD_BYTES_MAX / 2, "{held}");
    // No store counts as hanging yet, and no command needs its data complete.
    let bound =
        loop_bytes_max(hogs.len() + 1, hogs.len() + 1) - PAYLOAD_BYTES_MAX - DATA_OUT_LEN_MAX as usize;
    assert!(held <= bound, "{held} of {bound}");
}

#[test]
fn requests_wait_while_their_answers_are_not_read() {
    let held = |bench: &mut Bench| {
        let pings = pings(bench);
        let connection = bench.connection;
        while !bench.shard.connection(connection).unwrap().has_unread() {
            assert!(!bench.is_paused());
            bench.feed(connection, &pings);
        }
        assert!(bench.is_paused());
        bench.pool.counted_bytes() + bench.shard.connection(connection).unwrap().unsent()
    };
    let mut bench = Bench::new();
    let alone = held(&mut bench);
    assert!((TRANSMIT_BYTES_MAX..TRANSMIT_BYTES_MAX + 1024).contains(&alone), "{alone}");

    // A second session while others hold the budget.
    let mut bench = Bench::new();
    let other = bench.pool.open();
    bench.pool.reserve_anyway(PAYLOAD_BYTES_MAX, other);
    let short = held(&mut bench);
    assert!((TRANSMIT_BYTES_LOW..2 * TRANSMIT_BYTES_LOW).contains(&short), "{short}");
}
