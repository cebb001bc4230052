//! Shares of a turn: each connection gets its part of the work, whatever others send.

use super::*;

/// Bytes that each of eight connections may receive and send in a turn.
const EIGHTH: usize = 128 << 10;

#[test]
fn connection_sends_its_share_of_a_turn_at_most() {
    let (mut data_loop, mut sockets) = loop_with_sessions(Zeroes { at_once: true, ..Zeroes::default() }, 8);
    for socket in &mut sockets {
        send(socket, 1, &[0], 0);
    }
    assert!(data_loop.turn());
    sockets.iter_mut().for_each(|socket| assert_eq!(read_all(socket), 2 * 48 + 20));
    for turn in 0..6 {
        // The first asks for more and more, and is ready and unfinished in one; the others ask once.
        for socket in &mut sockets[..if turn == 0 { 8 } else { 1 }] {
            send(socket, 2 + turn, &[0x28, 0, 0, 0, 0, 0, 0, 0x40, 0, 0], 8 << 20);
        }
        assert!(data_loop.turn());
        let shares: Vec<_> = sockets.iter_mut().map(read_all).collect();
        let most = EIGHTH + 100;
        assert!(shares.iter().all(|share| (EIGHTH..most).contains(share)), "turn {turn}: {shares:?}");
    }
}

#[test]
fn few_commands_are_spread_over_turns_while_others_have_more_than_their_shares() {
    const READ_LEN: usize = 4096;
    for (others_have_more, per_turn) in [(false, 4), (true, 2)] {
        let store = Zeroes { at_once: true, ..Zeroes::default() };
        let (mut data_loop, mut sockets) = loop_with_sessions(store, 16);
        for socket in &mut sockets {
            send(socket, 1, &[0], 0);
        }
        assert!(data_loop.turn());
        sockets.iter_mut().for_each(|socket| _ = read_all(socket));
        let (few, others) = sockets.split_first_mut().unwrap();
        if others_have_more {
            // READ of 8 MiB.
            others.iter_mut().for_each(|other| {
                send(other, 2, &[0x28, 0, 0, 0, 0, 0, 0, 0x40, 0, 0], 8 << 20);
            });
            assert!(data_loop.turn());
        }
        let (mut sent, mut answered) = (0, 0);
        for turn in 1..=8 {
            for _ in sent - answered..4 {
                sent += 1;
                send(few, 1 + sent, &[0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0], READ_LEN as u32);
            }
            assert!(data_loop.turn());
            others.iter_mut().for_each(|other| _ = read_all(other));
            answered += (read_all(few) / (48 + READ_LEN)) as u32;
            assert_eq!(answered, turn * per_turn, "others have more: {others_have_more}");
        }
    }
}

/// Sends so many NOP-Outs that want no answer.
fn send_nops(socket: &mut UnixStream, count: usize, payload: usize) {
    let mut bhs = [0; 48];
    (bhs[0], bhs[1]) = (0x40, 0x80);
    bhs[16..24].fill(0xff);
    let mut bytes = BytesMut::new();
    for _ in 0..count {
        encode_pdu(&mut bytes, &bhs, &[], &vec![0; payload], Digests::default());
    }
    let _ = rustix::net::sockopt::set_socket_send_buffer_size_force(&*socket, 64 << 20);
    socket.set_nonblocking(true).unwrap();
    socket.write_all(&bytes).unwrap();
}

#[test]
fn connection_receives_its_share_of_a_turn_at_most() {
    let (mut data_loop, mut sockets) = loop_with_sessions(Zeroes::default(), 8);
    for socket in &mut sockets {
        send_nops(socket, 4, 1 << 18);
    }
    for turn in 0..4 {
        let before = data_loop.state.received();
        assert!(data_loop.turn());
        let after = data_loop.state.received();
        let shares: Vec<_> =
            after.iter().zip(before).map(|(after, before)| (after - before) as usize).collect();
        let fair = EIGHTH - 4096..EIGHTH + 8192;
        assert!(shares.iter().all(|share| fair.contains(share)), "turn {turn}: {shares:?}");
    }
}

#[test]
fn connection_executes_its_share_of_a_turn_at_most() {
    for payload in [0, 1 << 10] {
        let (mut data_loop, mut sockets) = loop_with_sessions(Zeroes::default(), 8);
        let count = (1 << 20) / (48 + payload);
        for socket in &mut sockets[1..] {
            send_nops(socket, count, payload);
        }
        let most = EIGHTH / (48 + payload + crate::limits::PDU_COST) + 1;
        let mut executed = 0;
        for number in 1..4 {
            send(&mut sockets[0], number, &[0], 0);
            assert!(data_loop.turn());
            assert!(read_all(&mut sockets[0]) > 0, "the other connection is served in each turn");
            assert!(data_loop.state.commands() <= 7 * most + 1, "{}", data_loop.state.commands());
            executed += data_loop.state.commands();
        }
        assert!(executed > 3 * 6 * most, "{executed}");
        while executed < 7 * count + 3 {
            assert!(data_loop.turn());
            executed += data_loop.state.commands();
        }
        assert_eq!(data_loop.state.pool().used_bytes(), 0, "no connection keeps a buffer");
    }
}

#[test]
fn inline_work_of_a_target_is_bounded_in_a_turn() {
    let store = Zeroes { at_once: true, ..Zeroes::default() };
    let moved = Arc::clone(&store.moved);
    let (mut data_loop, mut sockets) = loop_with_sessions(store, 4);
    for socket in &mut sockets {
        send(socket, 1, &[0], 0);
        for number in 2..6 {
            // VERIFY of 16 MiB.
            send(socket, number, &[0x8f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0], 0);
        }
    }
    let mut before = 0;
    loop {
        assert!(data_loop.turn());
        let now = moved.load(Ordering::Relaxed);
        assert!(now - before <= 2 * crate::limits::INLINE_BYTES_MAX, "from {before} to {now}");
        before = now;
        if is_quiet(&data_loop) {
            break;
        }
    }
    assert_eq!(before, 256 << 20);
    sockets.iter_mut().for_each(|socket| assert_eq!(read_all(socket), 6 * 48 + 20, "all are answered"));
}

#[test]
fn reads_that_a_turn_submits_are_bounded() {
    let store = Zeroes::default();
    let reads = Arc::clone(&store.reads);
    let (mut data_loop, mut sockets) = loop_with_sessions(store, 4);
    for socket in &mut sockets {
        send(socket, 1, &[0], 0);
        for number in 2..8 {
            // READ of 8 MiB.
            send(socket, number, &[0x28, 0, 0, 0, 0, 0, 0, 0x40, 0, 0], 8 << 20);
        }
    }
    let mut before = 0;
    loop {
        assert!(data_loop.turn());
        let now = reads.load(Ordering::Relaxed);
        // Of each session a received command and two that had to wait; and what follows completed operations.
        let most = 4 * 3 * (crate::limits::READ_BYTES_MAX as usize >> 18) + crate::limits::REAPS_PER_TURN;
        assert!(now - before <= most, "from {before} to {now}");
        before = now;
        sockets.iter_mut().for_each(|socket| _ = read_all(socket));
        if is_quiet(&data_loop) {
            break;
        }
    }
    assert_eq!(before, 4 * 6 * 32, "all are done");
}

#[test]
fn connection_with_little_to_do_waits_for_a_mebibyte_of_others() {
    const SESSIONS: usize = 65;
    let (mut data_loop, mut sockets) = loop_with_sessions(Zeroes::default(), SESSIONS as u16);
    for socket in &mut sockets[1..] {
        send_nops(socket, 2000, 0);
    }
    // All that have become ready are served once.
    assert!(data_loop.turn());
    let most = crate::limits::TURN_BYTES_MAX / crate::limits::PDU_COST;
    for number in 1..=32 {
        send(&mut sockets[0], number, &[0], 0);
        assert!(data_loop.turn());
        assert!(read_all(&mut sockets[0]) > 0, "it is served in each turn");
        assert!((2..=most + 1).contains(&data_loop.state.commands()), "{}", data_loop.state.commands());
    }
}
