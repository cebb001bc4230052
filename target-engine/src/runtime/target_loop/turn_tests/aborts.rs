//! What aborted commands cost.

use super::*;

/// Sessions that have so many reads of 1 MiB each at a store that hangs.
fn loop_with_hanging_reads(sessions: u16, reads: u32) -> (DataLoop, Vec<UnixStream>, Arc<AtomicUsize>) {
    let store = Zeroes { hangs: true, ..Zeroes::default() };
    let (kicks, begun) = (Arc::clone(&store.kicks), Arc::clone(&store.reads));
    let (mut data_loop, mut sockets) = loop_with_sessions(store, sessions);
    for socket in &mut sockets {
        send(socket, 1, &[0], 0);
        (2..2 + reads).for_each(|number| send(socket, number, &[0x28, 0, 0, 0, 0, 0, 0, 8, 0, 0], 1 << 20));
    }
    while begun.load(Ordering::Relaxed) < usize::from(sessions) * reads as usize * 4 {
        assert!(data_loop.turn());
    }
    (data_loop, sockets, kicks)
}

/// Sends ABORT TASK; `next` is the number of the next command.
fn abort(socket: &mut UnixStream, number: u32, referenced: u32, next: u32) {
    let request = TaskManagementRequest {
        immediate: true,
        function: TaskFunction::ABORT_TASK,
        lun: Lun::new(1).unwrap().to_wire(),
        itt: Itt(1000 + number),
        referenced_task: Some(Itt(referenced)),
        cmd_sn: CmdSn(next),
        exp_stat_sn: StatSn(0),
        ref_cmd_sn: CmdSn(referenced),
        exp_data_sn: 0,
    };
    let mut bhs = [0; 48];
    request.encode(&mut bhs);
    socket.write_all(&bhs).unwrap();
}

#[test]
fn engine_is_kicked_once_for_all_cancelled_operations_of_a_turn() {
    for closes in [true, false] {
        let (mut data_loop, mut sockets, kicks) = loop_with_hanging_reads(1, 7);
        let before = kicks.load(Ordering::Relaxed);
        if closes {
            sockets.clear();
        } else {
            (2..9).for_each(|number| abort(&mut sockets[0], number, number, 9));
        }
        assert!(data_loop.turn());
        assert_eq!(
            kicks.load(Ordering::Relaxed) - before,
            1,
            "28 operations are cancelled; closes: {closes}"
        );
    }
}

#[test]
fn abort_looks_at_the_tasks_of_its_session_only() {
    const READS: u32 = 4;
    let (mut data_loop, mut sockets, _) = loop_with_hanging_reads(16, READS);
    let looked_at =
        |data_loop: &DataLoop| data_loop.state.target(Tid::new(1).unwrap()).unwrap().looked_at_tasks();
    let before = looked_at(&data_loop);
    read_all(&mut sockets[0]);
    (0..8).for_each(|number| abort(&mut sockets[0], number, 9999, 2 + READS));
    abort(&mut sockets[0], 8, 2, 2 + READS);
    while read_all(&mut sockets[0]) == 0 {
        assert!(data_loop.turn());
    }
    let count = looked_at(&data_loop) - before;
    assert!((1..=10 * READS as usize).contains(&count), "{count}");
}
