//! Initiators that break the rules, and stores that do not complete their operations.
//!
//! - `memory`: initiators that make the target hold memory
//! - `waits`: initiators that do not send what they must send

mod memory;
mod waits;

use std::time::Duration;

use iscsi_proto::ids::Itt;
use iscsi_proto::params::SessionParams;
use iscsi_proto::pdu::{
    LogoutReason, LogoutRequest, LogoutResponse, NopOut, R2t, ScsiResponse, TaskAttribute,
    TaskManagementResponse, TaskResponse,
};
use iscsi_proto::sn::{CmdSn, StatSn};
use scsi_core::store::Completion;

use super::management::task_management;
use super::*;
use crate::limits::{DRAIN_TIMEOUT, PAYLOAD_BYTES_MAX};
use crate::shard::{Env, ShardEvent};
use iscsi_proto::pdu::TaskFunction;

const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0];
const WRITE: [u8; 10] = [0x2a, 0, 0, 0, 0, 0, 0, 0, 8, 0];
const WRITE_NEXT: [u8; 10] = [0x2a, 0, 0, 0, 0, 8, 0, 0, 8, 0];
const BUSY: u8 = 8;

fn status(out: &[Out]) -> Vec<u8> {
    out.iter().map(|(bhs, _)| ScsiResponse::decode(bhs).unwrap().status).collect()
}

/// The completions of the engines, without feeding them to the shard.
fn done(bench: &mut Bench) -> Vec<Completion> {
    let mut done = Vec::new();
    bench.engines.reap(bench.now, &mut done);
    done
}

fn complete(bench: &mut Bench, done: Vec<Completion>) {
    let mut env = Env { engines: &mut bench.engines, pool: &mut bench.pool, now: bench.now };
    done.into_iter().for_each(|completion| bench.shard.complete(completion, &mut env));
}

fn wait(bench: &mut Bench, time: Duration) {
    bench.now += time;
    let mut env = Env { engines: &mut bench.engines, pool: &mut bench.pool, now: bench.now };
    bench.shard.handle_timeout(&mut env);
}

fn logout(bench: &mut Bench, immediate: bool, cmd_sn: u32) {
    let logout = LogoutRequest {
        immediate,
        reason: LogoutReason::CLOSE_SESSION,
        itt: Itt(77),
        cid: iscsi_proto::ids::Cid(0),
        cmd_sn: CmdSn(cmd_sn),
        exp_stat_sn: StatSn(0),
    };
    let mut bhs = [0; 48];
    logout.encode(&mut bhs);
    bench.send(&bhs, &[]);
}

#[test]
fn every_function_waits_for_a_command_that_does_not_end() {
    let mut bench = Bench::new();
    bench.set_mode(Mode::Later);
    let itt = bench.command(&WRITE, Expect::Out(4096, &[5; 4096], true));
    let late = done(&mut bench);
    task_management(&mut bench, TaskFunction::ABORT_TASK, Some(itt));
    task_management(&mut bench, TaskFunction::LOGICAL_UNIT_RESET, None);
    assert_eq!(bench.drain().len(), 0, "the write may still reach the medium");
    complete(&mut bench, late);
    let answers = bench.drain();
    let answers = answers.iter().map(|(bhs, _)| TaskManagementResponse::decode(bhs).unwrap().response);
    assert_eq!(answers.collect::<Vec<_>>(), [TaskResponse::COMPLETE; 2]);
}

#[test]
fn functions_that_wait_are_bounded() {
    let mut bench = Bench::new();
    bench.set_mode(Mode::Later);
    bench.command(&WRITE, Expect::Out(4096, &[5; 4096], true));
    let late = done(&mut bench);
    for _ in 0..1000 {
        task_management(&mut bench, TaskFunction::LOGICAL_UNIT_RESET, None);
    }
    let rejected = bench.drain().len();
    assert!((900..1000).contains(&rejected), "{rejected}");
    complete(&mut bench, late);
    assert_eq!(bench.drain().len(), 1000 - rejected);
    assert!(bench.shard.poll_timeout(bench.now).is_none(), "nothing is waited for");
}

#[test]
fn an_expired_function_leaves_nothing_behind() {
    let mut bench = Bench::new();
    bench.set_mode(Mode::Later);
    let itt = bench.command(&WRITE, Expect::Out(4096, &[5; 4096], true));
    let late = done(&mut bench);
    task_management(&mut bench, TaskFunction::ABORT_TASK, Some(itt));
    wait(&mut bench, crate::limits::ABORT_WAIT * 2);
    assert_eq!(bench.drain().len(), 1);
    assert!(bench.shard.functions.is_empty(), "no function waits");
    complete(&mut bench, late);
    assert_eq!((bench.drain().len(), bench.shard.running()), (0, 0));
    assert!(bench.shard.poll_timeout(bench.now).is_none(), "nothing is waited for");
}

#[test]
fn a_sibling_gets_no_answer_before_its_reset_is_done() {
    let mut bench = Bench::new();
    bench.set_mode(Mode::Later);
    bench.command(&WRITE, Expect::Out(4096, &[5; 4096], true));
    let late = done(&mut bench);
    let mut env = Env { engines: &mut bench.engines, pool: &mut bench.pool, now: bench.now };
    bench.shard.sibling_reset(&Default::default(), 7, &mut env);
    wait(&mut bench, crate::limits::ABORT_WAIT * 2);
    let mut events = Vec::new();
    bench.shard.take_events(&mut events);
    assert_eq!(events, []);
    complete(&mut bench, late);
    bench.shard.take_events(&mut events);
    assert_eq!(events, [ShardEvent::ResetDone(7)]);
}

#[test]
fn an_abort_reaches_only_its_own_task_however_many_began_since() {
    let mut bench = Bench::new();
    bench.set_mode(Mode::Hang);
    let first = bench.command(&READ, Expect::In(4096));
    bench.set_mode(Mode::Inline);
    for _ in 1..=u16::MAX {
        bench.command(&[0], Expect::Nothing);
        bench.drain();
    }
    bench.set_mode(Mode::Hang);
    bench.command(&READ, Expect::In(4096));
    task_management(&mut bench, TaskFunction::ABORT_TASK, Some(first));
    bench.settle();
    assert_eq!(bench.shard.running(), 1, "the second read was not meant");
}

#[test]
fn a_write_that_outlives_its_session_is_fenced_off() {
    let mut bench = Bench::new();
    bench.set_mode(Mode::Later);
    bench.command(&WRITE, Expect::Out(4096, &[1; 4096], true));
    let late = done(&mut bench);
    let mut env = Env { engines: &mut bench.engines, pool: &mut bench.pool, now: bench.now };
    bench.shard.close_connection(bench.connection, &mut env);
    bench.set_mode(Mode::Inline);

    // The initiator logs in again and repeats the command.
    let params = SessionParams { initial_r2t: false, ..SessionParams::default() };
    (bench.connection, bench.cmd_sn) = (bench.connect(2, &params), 1);
    bench.command(&[0], Expect::Nothing);
    bench.drain();
    bench.command(&WRITE, Expect::Out(4096, &[2; 4096], true));
    assert_eq!(status(&bench.drain()), [BUSY], "the old one could overwrite it");
    bench.command(&READ, Expect::In(4096));
    assert_eq!(status(&bench.drain()), [BUSY], "what it reads is not settled");
    bench.command(&WRITE_NEXT, Expect::Out(4096, &[2; 4096], true));
    assert_eq!(status(&bench.drain()), [0], "other blocks are none of its business");
    complete(&mut bench, late);
    bench.command(&WRITE, Expect::Out(4096, &[2; 4096], true));
    assert_eq!(status(&bench.drain()), [0]);
}

#[test]
fn data_that_no_command_can_take_is_not_asked_for() {
    for cdb in [&[0u8; 6][..], &[0x15, 0x10, 0, 0, 24, 0], &[0x2e, 0, 0, 0, 0, 0, 0, 0, 8, 0]] {
        let mut bench = Bench::new();
        bench.command(cdb, Expect::Out(u32::MAX, &[], true));
        let r2t = R2t::decode(&bench.drain()[0].0).unwrap();
        let reserved = bench.pool.reserved_bytes();
        assert!(reserved <= PAYLOAD_BYTES_MAX, "{cdb:02x?}: {reserved}");
        assert!(r2t.desired_len as usize <= reserved);
    }
}

#[test]
fn a_draining_connection_is_closed_after_the_drain_timeout() {
    let mut bench = Bench::new();
    let cmd_sn = bench.cmd_sn;
    logout(&mut bench, true, cmd_sn);
    assert!(bench.shard.poll_timeout(bench.now).is_some(), "somebody must look");
    wait(&mut bench, DRAIN_TIMEOUT / 2);
    let mut events = Vec::new();
    bench.shard.take_events(&mut events);
    assert_eq!(events, []);
    wait(&mut bench, DRAIN_TIMEOUT);
    bench.shard.take_events(&mut events);
    assert!(
        matches!(events[..], [ShardEvent::ConnectionClosed(_), ShardEvent::SessionEnded(..)]),
        "{events:?}"
    );
    assert!(bench.shard.is_idle());
}

#[test]
fn early_commands_are_dropped_after_a_logout() {
    let mut bench = Bench::new();
    let logout_sn = bench.cmd_sn;
    bench.cmd_sn += 1;
    bench.command(&WRITE, Expect::Out(4096, &[1; 4096], true));
    logout(&mut bench, false, logout_sn);
    let out = bench.drain();
    assert_eq!(out.len(), 1);
    LogoutResponse::decode(&out[0].0).unwrap();
    assert_eq!(bench.log(), [""; 0]);
}

#[test]
fn an_initiator_that_withholds_data_does_not_block_others() {
    let mut bench = Bench::with(SessionParams { max_outstanding_r2t: 64, ..SessionParams::default() });
    let hog = |bench: &mut Bench, attribute| {
        for _ in 0..31 {
            let mut command =
                bench.pdu(&[0x2a, 0, 0, 0, 0, 0, 0, 0x20, 0, 0], Expect::Out(u32::MAX, &[], true));
            command.attribute = attribute;
            bench.cmd_sn += 1;
            let mut bhs = [0; 48];
            command.encode(&mut bhs);
            bench.send(&bhs, &[]);
        }
    };
    hog(&mut bench, TaskAttribute::Ordered);
    assert!(!bench.drain().is_empty());
    let params = SessionParams { initial_r2t: true, ..SessionParams::default() };
    (bench.connection, bench.cmd_sn) = (bench.connect(2, &params), 1);
    bench.command(&[0], Expect::Nothing);
    bench.drain();
    bench.command(&WRITE, Expect::Out(4096, &[], true));
    assert_eq!(bench.drain().len(), 1, "an R2T");
}

#[test]
fn reads_are_cut_at_multiples_that_direct_io_can_do() {
    let params = SessionParams { max_burst_len: 5001, ..SessionParams::default() };
    for (declared, longest) in [(1000, 512), (4097, 4096), (65536, 4096)] {
        let mut bench = Bench::with(params);
        let place = bench.connection;
        bench.shard.connection(place).unwrap().set_max_xmit_len(declared);
        bench.command(&READ, Expect::In(4096));
        bench.command(&[0x28, 0, 0, 0, 0, 0, 0, 0, 16, 0], Expect::In(8192));
        let lens: Vec<usize> = bench.drain().iter().map(|(_, data)| data.len()).collect();
        assert_eq!(lens, vec![longest; 3 * 4096 / longest], "{declared}");
    }
}
