//! Commands that end early: by task management, logout, a lost connection, or removal of their unit.

use iscsi_proto::ids::Itt;
use iscsi_proto::params::SessionParams;
use iscsi_proto::pdu::{
    LogoutReason, LogoutRequest, LogoutResponse, ScsiResponse, TaskFunction, TaskManagementRequest,
    TaskManagementResponse, TaskResponse,
};
use iscsi_proto::sn::{CmdSn, StatSn};
use scsi_core::lun::Lun;

use super::*;
use crate::shard::{Env, ShardEvent};

const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0];

pub(super) fn task_management(bench: &mut Bench, function: TaskFunction, referenced: Option<Itt>) {
    let request = TaskManagementRequest {
        immediate: true,
        function,
        lun: Lun::new(1).unwrap().to_wire(),
        itt: Itt(0x1000),
        referenced_task: referenced,
        cmd_sn: CmdSn(bench.cmd_sn),
        exp_stat_sn: StatSn(0),
        ref_cmd_sn: CmdSn(bench.cmd_sn.wrapping_sub(1)),
        exp_data_sn: 0,
    };
    let mut bhs = [0; 48];
    request.encode(&mut bhs);
    bench.send(&bhs, &[]);
}

fn task_responses(out: &[Out]) -> Vec<TaskResponse> {
    out.iter().map(|(bhs, _)| TaskManagementResponse::decode(bhs).unwrap().response).collect()
}

fn events(bench: &mut Bench) -> Vec<ShardEvent> {
    let mut events = Vec::new();
    bench.shard.take_events(&mut events);
    events
}

#[test]
fn an_aborted_task_ends_without_a_response_and_then_the_function_is_answered() {
    let mut bench = Bench::new();
    bench.set_mode(Mode::Hang);
    let itt = bench.command(&READ, Expect::In(4096));
    task_management(&mut bench, TaskFunction::ABORT_TASK, Some(itt));
    assert_eq!(bench.drain().len(), 0, "its operation is still out");
    bench.settle();
    assert_eq!(task_responses(&bench.drain()), [TaskResponse::COMPLETE]);
    assert_eq!((bench.shard.running(), bench.pool.used_bytes()), (0, 0));
    task_management(&mut bench, TaskFunction::ABORT_TASK, Some(itt));
    assert_eq!(task_responses(&bench.drain()), [TaskResponse::NO_TASK]);
}

#[test]
fn a_unit_reset_ends_the_commands_of_all_sessions() {
    let mut bench = Bench::new();
    let other = bench.connect(2, &SessionParams::default());
    bench.set_mode(Mode::Hang);
    bench.command(&READ, Expect::In(4096));
    let first = std::mem::replace(&mut bench.connection, other);
    let cmd_sn = std::mem::replace(&mut bench.cmd_sn, 1);
    bench.command(&[0x12, 0, 0, 0, 36, 0], Expect::In(36));
    bench.command(&READ, Expect::In(4096));
    bench.drain();
    bench.command(&READ, Expect::In(4096));
    (bench.connection, bench.cmd_sn) = (first, cmd_sn);
    assert_eq!(bench.shard.running(), 2);
    task_management(&mut bench, TaskFunction::LOGICAL_UNIT_RESET, None);
    bench.settle();
    assert_eq!(task_responses(&bench.drain()), [TaskResponse::COMPLETE]);
    assert_eq!(bench.shard.running(), 0);
}

#[test]
fn unsupported_functions_are_refused() {
    let mut bench = Bench::new();
    for (function, response) in [
        (TaskFunction::CLEAR_ACA, TaskResponse::NOT_SUPPORTED),
        (TaskFunction::TASK_REASSIGN, TaskResponse::REASSIGNMENT_NOT_SUPPORTED),
        (TaskFunction::ABORT_TASK_SET, TaskResponse::COMPLETE),
        (TaskFunction::CLEAR_TASK_SET, TaskResponse::COMPLETE),
        (TaskFunction::TARGET_WARM_RESET, TaskResponse::COMPLETE),
    ] {
        task_management(&mut bench, function, None);
        assert_eq!(task_responses(&bench.drain()), [response], "{function:?}");
    }
}

#[test]
fn an_abort_that_waits_too_long_is_rejected() {
    let mut bench = Bench::new();
    bench.set_mode(Mode::Hang);
    let itt = bench.command(&READ, Expect::In(4096));
    task_management(&mut bench, TaskFunction::ABORT_TASK, Some(itt));
    assert!(bench.shard.poll_timeout(bench.now).is_some());
    bench.now += crate::limits::ABORT_WAIT * 2;
    let mut env = Env { engines: &mut bench.engines, pool: &mut bench.pool, now: bench.now };
    bench.shard.handle_timeout(&mut env);
    assert_eq!(task_responses(&bench.drain()), [TaskResponse::REJECTED]);
    bench.settle();
    assert_eq!((bench.drain().len(), bench.shard.running()), (0, 0));
}

#[test]
fn a_logout_is_answered_and_then_the_connection_drains() {
    let mut bench = Bench::new();
    let logout = LogoutRequest {
        immediate: false,
        reason: LogoutReason::CLOSE_SESSION,
        itt: Itt(77),
        cid: iscsi_proto::ids::Cid(0),
        cmd_sn: CmdSn(bench.cmd_sn),
        exp_stat_sn: StatSn(0),
    };
    let mut bhs = [0; 48];
    logout.encode(&mut bhs);
    bench.send(&bhs, &[]);
    let out = bench.drain();
    assert_eq!(LogoutResponse::decode(&out[0].0).unwrap().itt, Itt(77));
    assert!(bench.is_paused());
    let mut env = Env { engines: &mut bench.engines, pool: &mut bench.pool, now: bench.now };
    bench.shard.close_connection(bench.connection, &mut env);
    let ended: Vec<bool> =
        events(&mut bench).iter().map(|event| matches!(event, ShardEvent::SessionEnded(..))).collect();
    assert_eq!(ended, [false, true]);
    assert!(bench.shard.is_idle());
}

#[test]
fn a_session_ends_only_when_its_last_operation_has_completed() {
    let mut bench = Bench::new();
    bench.set_mode(Mode::Later);
    bench.command(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 8, 0], Expect::Out(4096, &[5; 4096], true));
    // The store does not cancel the operation in time: the data is written.
    let mut done = Vec::new();
    bench.engines.reap(bench.now, &mut done);
    let mut env = Env { engines: &mut bench.engines, pool: &mut bench.pool, now: bench.now };
    bench.shard.close_connection(bench.connection, &mut env);
    let gone = events(&mut bench);
    assert!(
        matches!(gone[..], [ShardEvent::ConnectionClosed(_), ShardEvent::ConnectionEnded(..)]),
        "{gone:?}"
    );
    let mut env = Env { engines: &mut bench.engines, pool: &mut bench.pool, now: bench.now };
    done.into_iter().for_each(|completion| bench.shard.complete(completion, &mut env));
    assert!(matches!(events(&mut bench)[..], [ShardEvent::SessionEnded(..)]));
    assert_eq!(bench.pool.used_bytes(), 0);
}

#[test]
fn removing_a_unit_ends_its_commands() {
    let mut bench = Bench::new();
    bench.set_mode(Mode::Hang);
    bench.command(&READ, Expect::In(4096));
    let lun = Lun::new(1).unwrap();
    assert_eq!(bench.shard.unit_tasks(lun), Some(1));
    let mut env = Env { engines: &mut bench.engines, pool: &mut bench.pool, now: bench.now };
    bench.shard.remove_unit(lun, bench.now, &mut env);
    assert_eq!(events(&mut bench), []);
    bench.settle();
    assert_eq!(events(&mut bench), [ShardEvent::UnitGone(lun)]);
    let (bhs, sense) = bench.drain().remove(0);
    assert_eq!(ScsiResponse::decode(&bhs).unwrap().status, 2, "its initiator is told");
    assert_eq!((sense[2 + 2] & 0xf, sense[2 + 12]), (5, 0x25), "LOGICAL UNIT NOT SUPPORTED");
    assert_eq!(bench.shard.unit_tasks(lun), None);
}
