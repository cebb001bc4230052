//! Initiators that do not send what they must send.

use super::*;
use crate::keys::ConnectionIndex;
use crate::limits::{COMMAND_WAIT, DATA_OUT_WAIT, PDU_WAIT, TICK};

/// Advances the time tick by tick, with `each` before every tick.
fn ticks(bench: &mut Bench, time: Duration, mut each: impl FnMut(&mut Bench)) {
    let end = bench.now + time;
    while bench.now < end {
        each(bench);
        wait(bench, TICK);
    }
}

fn is_open(bench: &mut Bench, connection: ConnectionIndex) -> bool {
    bench.shard.connection(connection).is_some_and(|own| own.is_open())
}

/// The first bytes of a write with 4096 bytes of immediate data.
fn part_of_a_write(bench: &Bench) -> Vec<u8> {
    let mut bhs = [0; 48];
    bench.pdu(&WRITE, Expect::Out(4096, &[], true)).encode(&mut bhs);
    iscsi_proto::pdu::set_lengths(&mut bhs, 0, 4096);
    [&bhs[..], &[1]].concat()
}

#[test]
fn a_pdu_that_stays_incomplete_closes_its_connection() {
    let mut bench = Bench::new();
    let (connection, part) = (bench.connection, part_of_a_write(&bench));
    bench.feed(connection, &part);
    assert!(bench.shard.poll_timeout(bench.now).is_some(), "it has a deadline");
    ticks(&mut bench, PDU_WAIT - TICK, |_| ());
    assert!(is_open(&mut bench, connection));
    bench.feed(connection, &[1; 4095]);
    assert_eq!(status(&bench.drain()), [0], "it came in time");
    bench.cmd_sn += 1;
    ticks(&mut bench, TICK, |_| ());
    assert!(bench.shard.poll_timeout(bench.now).is_none(), "nothing is waited for");

    bench.feed(connection, &part[..20]);
    ticks(&mut bench, 2 * PDU_WAIT, |_| ());
    assert!(!is_open(&mut bench, connection), "a header counts, too");
    assert_eq!(bench.pool.used_bytes(), 0);
}

#[test]
fn a_connection_that_receives_pdus_stays_open() {
    let mut bench = Bench::new();
    let connection = bench.connection;
    ticks(&mut bench, 2 * PDU_WAIT, |bench| {
        let part = part_of_a_write(bench);
        bench.feed(connection, &part);
        bench.cmd_sn += 1;
        wait(bench, TICK);
        bench.feed(connection, &[1; 4095]);
        bench.drain();
    });
    assert!(is_open(&mut bench, connection));
}

#[test]
fn commands_whose_data_does_not_come_close_their_connection() {
    for (immediate, is_last) in [(&[][..], true), (&[1; 512], false)] {
        let mut bench = Bench::new();
        let connection = bench.connection;
        bench.command(&WRITE, Expect::Out(4096, immediate, is_last));
        ticks(&mut bench, DATA_OUT_WAIT, |_| ());
        assert!(is_open(&mut bench, connection));
        ticks(&mut bench, 2 * TICK, |_| ());
        assert!(!is_open(&mut bench, connection));
        assert_eq!((bench.pool.used_bytes(), bench.pool.reserved_bytes(), bench.shard.running()), (0, 0, 0));
    }
}

#[test]
fn data_for_any_command_of_a_connection_keeps_it_open() {
    let mut bench = Bench::new();
    let connection = bench.connection;
    let waiting = bench.command(&WRITE, Expect::Out(4096, &[], true));
    let r2t = R2t::decode(&bench.drain()[0].0).unwrap();
    let mut count = 0;
    ticks(&mut bench, 2 * DATA_OUT_WAIT, |bench| {
        count += 1;
        if count % 50 == 0 {
            let itt = bench.command(&WRITE_NEXT, Expect::Out(4096, &[], true));
            let r2t = R2t::decode(&bench.drain()[0].0).unwrap();
            bench.data_out(itt, Some(&r2t), 0, 0, &[1; 4096], true);
            assert_eq!(status(&bench.drain()), [0]);
        }
    });
    assert!(is_open(&mut bench, connection));
    bench.data_out(waiting, Some(&r2t), 0, 0, &[1; 4096], true);
    assert_eq!(status(&bench.drain()), [0]);
}

#[test]
fn a_command_that_was_aborted_before_it_arrived_keeps_its_number_when_a_connection_ends() {
    let mut bench = Bench::new();
    let second = bench.connect_as(1, 1, &SessionParams::default());
    let missing = bench.cmd_sn;
    bench.cmd_sn = missing + 2;
    // It refers to the command before the function, whose number is `missing + 1`.
    task_management(&mut bench, TaskFunction::ABORT_TASK, Some(Itt(missing + 1)));
    assert_eq!(TaskManagementResponse::decode(&bench.drain()[0].0).unwrap().response, TaskResponse::COMPLETE);
    let mut env = Env { engines: &mut bench.engines, pool: &mut bench.pool, now: bench.now };
    bench.shard.close_connection(bench.connection, &mut env);
    bench.connection = second;
    for cmd_sn in [missing + 2, missing] {
        bench.cmd_sn = cmd_sn;
        bench.command(&[0], Expect::Nothing);
    }
    assert_eq!(status(&bench.drain_of(second)), [0, 0]);
    ticks(&mut bench, 2 * COMMAND_WAIT, |_| ());
    assert!(is_open(&mut bench, second));
}

#[test]
fn a_command_that_others_wait_for_has_a_deadline() {
    let mut bench = Bench::new();
    let connection = bench.connection;
    bench.cmd_sn += 1;
    bench.command(&WRITE, Expect::Out(4096, &[1; 4096], true));
    assert!(bench.shard.poll_timeout(bench.now).is_some());
    ticks(&mut bench, COMMAND_WAIT - TICK, |_| ());
    assert!(is_open(&mut bench, connection));
    ticks(&mut bench, 2 * TICK, |_| ());
    assert!(!is_open(&mut bench, connection));
    assert_eq!(bench.pool.used_bytes(), 0);
}
