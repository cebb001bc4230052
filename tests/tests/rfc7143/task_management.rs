//! RFC 7143 11.5, 11.6: every function, on commands that wait for data or for a store, which may hang.

use std::time::Duration;

use iscsi_proto::ids::Itt;
use iscsi_proto::pdu::{Pdu, TaskFunction, TaskManagementRequest, TaskResponse};
use scsi_core::sense::AdditionalSense;
use scsi_core::status::Status;
use tgt_tests::initiator::{Initiator, Io, LoginOptions};
use tgt_tests::pair::Pair;
use tgt_tests::setup::{Setup, each_chunk};
use tgt_tests::sim_store::{Behaviour, SimStore};

use super::{READ, TEST_UNIT_READY, WRITE, login_with};

const UNIT_ATTENTION: u8 = 6;

fn two_sessions(setup: Setup) -> (Pair, Initiator, Initiator) {
    let pair = Pair::new(setup);
    let (one, two) = (Initiator::login(&pair), Initiator::login_as(&pair, &LoginOptions::of_host(2)));
    (pair, one, two)
}

/// Receives all pending unit attentions of a session.
fn attentions(session: &mut Initiator) -> Vec<AdditionalSense> {
    let mut said = Vec::new();
    while let Some((key, code)) = session.run(&TEST_UNIT_READY, Io::None).check() {
        assert_eq!(key, UNIT_ATTENTION);
        said.push(code);
    }
    said
}

#[test]
fn abort_task_aborts_a_command_at_the_store() {
    each_chunk(|setup, store| {
        let pair = Pair::new(setup);
        let mut session = Initiator::login(&pair);
        store.behave(Behaviour::HANG);
        let write = session.begin(&WRITE, Io::Write(&[1; 2048]));
        let read = session.begin(&READ, Io::Read(2048));
        let abort = session.manage(TaskFunction::ABORT_TASK, Some(write));
        assert_eq!(session.managed(abort), Some(TaskResponse::COMPLETE));
        store.behave(Behaviour::INLINE);
        store.release();
        pair.settle();
        assert_eq!(
            session.wait(read).good(),
            [0; 2048],
            "the read continues, the aborted write wrote nothing"
        );
        session.poll();
        assert!(session.take_reply(write).is_none(), "an aborted command has no response");
    });
}

#[test]
fn abort_task_aborts_a_command_that_waits_for_data() {
    let (setup, store) = Setup::sim();
    let pair = Pair::new(setup);
    let mut session =
        login_with(&pair, |session| (session.initial_r2t, session.immediate_data) = (true, false));
    let command = session.command(&WRITE, Io::Write(&[1; 2048]));
    session.send(command, &[]);
    let (Pdu::R2t(r2t), _) = session.recv() else { panic!("an R2T") };
    let abort = session.manage(TaskFunction::ABORT_TASK, Some(command.itt));
    assert_eq!(session.managed(abort), Some(TaskResponse::COMPLETE));
    // The data was in flight.
    let data = session.data_out(command.itt, Some(r2t.ttt), iscsi_proto::sn::DataSn(0), 0, true);
    session.send(data, &[1; 2048]);
    assert_eq!(session.lines(), [""; 0]);
    assert_eq!(store.bytes(0, 1), [0]);
    assert_eq!(pair.side().pool().reserved_bytes(), 0);
}

#[test]
fn abort_task_of_an_ended_task_fails_and_of_a_lost_one_completes() {
    let (setup, _) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    session.run(&READ, Io::Read(2048)).good();
    let abort = session.manage(TaskFunction::ABORT_TASK, Some(Itt(2)));
    assert_eq!(session.managed(abort), Some(TaskResponse::NO_TASK));
    // RFC 7143 11.5.5 b): a RefCmdSN within the window that was not received counts as received.
    let lost = session.command(&READ, Io::Read(2048));
    let abort = session.task_management(TaskFunction::ABORT_TASK, Some(lost.itt));
    session.send(TaskManagementRequest { ref_cmd_sn: lost.cmd_sn, ..abort }, &[]);
    assert_eq!(session.managed(abort.itt), Some(TaskResponse::COMPLETE));
    assert_eq!(session.run(&READ, Io::Read(2048)).good().len(), 2048, "the window has advanced");
    session.send(lost, &[]);
    assert_eq!(session.lines(), [""; 0], "the late command is ignored");
}

#[test]
fn abort_task_aborts_a_command_that_waits_for_earlier_cmd_sns() {
    let (setup, store) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    let first = session.command(&READ, Io::Read(2048));
    let second = session.command(&WRITE, Io::Write(&[1; 2048]));
    session.send(second, &[1; 2048]);
    let abort = session.task_management(TaskFunction::ABORT_TASK, Some(second.itt));
    session.send(TaskManagementRequest { ref_cmd_sn: second.cmd_sn, ..abort }, &[]);
    assert_eq!(session.managed(abort.itt), Some(TaskResponse::COMPLETE));
    session.send(first, &[]);
    assert_eq!(session.lines(), ["DataIn itt=2 sn=0 offset=0 len=2048 F GOOD"]);
    assert_eq!(store.bytes(0, 1), [0]);
    session.run(&READ, Io::Read(2048)).good();
}

#[test]
fn task_set_functions_affect_only_their_nexus() {
    for function in [TaskFunction::ABORT_TASK_SET, TaskFunction::CLEAR_TASK_SET] {
        let (setup, store) = Setup::sim();
        let (pair, mut one, mut two) = two_sessions(setup);
        store.behave(Behaviour::HANG);
        let mine: Vec<_> = (0..3).map(|_| one.begin(&READ, Io::Read(2048))).collect();
        let theirs = two.begin(&READ, Io::Read(2048));
        let abort = one.manage(function, None);
        assert_eq!(one.managed(abort), Some(TaskResponse::COMPLETE), "{function:?}");
        store.behave(Behaviour::INLINE);
        store.release();
        pair.settle();
        one.poll();
        assert!(mine.into_iter().all(|itt| one.take_reply(itt).is_none()), "{function:?}");
        assert_eq!(two.wait(theirs).good().len(), 2048, "task sets are per nexus (TST=001b)");
        assert_eq!(pair.side().running(), 0);
    }
}

#[test]
fn lun_reset_ends_commands_of_all_sessions_and_raises_attentions() {
    let (setup, store) = Setup::sim();
    let (pair, mut one, mut two) = two_sessions(setup);
    store.behave(Behaviour::HANG);
    let mine = one.begin(&READ, Io::Read(2048));
    let theirs = two.begin(&READ, Io::Read(2048));
    let reset = one.manage(TaskFunction::LOGICAL_UNIT_RESET, None);
    assert_eq!(one.managed(reset), Some(TaskResponse::COMPLETE));
    store.behave(Behaviour::INLINE);
    store.release();
    pair.settle();
    two.poll();
    assert!(one.take_reply(mine).is_none() && two.take_reply(theirs).is_none());
    let reset = [AdditionalSense::BUS_DEVICE_RESET_FUNCTION_OCCURRED];
    assert_eq!(attentions(&mut one), reset);
    assert_eq!(attentions(&mut two), reset);
    assert_eq!(pair.side().running(), 0);
}

#[test]
fn warm_reset_ends_all_commands_and_keeps_the_sessions() {
    let (setup, store) = Setup::sim();
    let (pair, mut one, mut two) = two_sessions(setup);
    store.behave(Behaviour::HANG);
    one.begin(&READ, Io::Read(2048));
    two.begin(&READ, Io::Read(2048));
    let reset = one.manage(TaskFunction::TARGET_WARM_RESET, None);
    assert_eq!(one.managed(reset), Some(TaskResponse::COMPLETE));
    assert_eq!(pair.side().running(), 0);
    store.behave(Behaviour::INLINE);
    assert_eq!(attentions(&mut one).len(), 1);
    assert_eq!(attentions(&mut two).len(), 1);
    two.run(&READ, Io::Read(2048)).good();
}

#[test]
fn cold_reset_ends_the_sessions() {
    let (setup, store) = Setup::sim();
    let (pair, mut one, mut two) = two_sessions(setup);
    store.behave(Behaviour::HANG);
    two.begin(&READ, Io::Read(2048));
    let reset = one.manage(TaskFunction::TARGET_COLD_RESET, None);
    assert_eq!(one.managed(reset), Some(TaskResponse::COMPLETE));
    assert!(one.is_closed() && two.is_closed());
    two.poll();
    pair.assert_clean();
}

#[test]
fn unsupported_functions_have_their_response() {
    let (setup, _) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    for (function, response) in [
        (TaskFunction::TASK_REASSIGN, TaskResponse::REASSIGNMENT_NOT_SUPPORTED),
        (TaskFunction::CLEAR_ACA, TaskResponse::NOT_SUPPORTED),
        (TaskFunction(0), TaskResponse::NOT_SUPPORTED),
        (TaskFunction(0x7f), TaskResponse::NOT_SUPPORTED),
    ] {
        let itt = session.manage(function, None);
        assert_eq!(session.managed(itt), Some(response), "{function:?}");
    }
}

#[test]
fn unit_functions_on_an_unknown_lun_are_refused() {
    let (setup, _) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    session.lun = 9;
    for function in
        [TaskFunction::ABORT_TASK_SET, TaskFunction::CLEAR_TASK_SET, TaskFunction::LOGICAL_UNIT_RESET]
    {
        let itt = session.manage(function, None);
        assert_eq!(session.managed(itt), Some(TaskResponse::NO_LUN), "{function:?}");
    }
}

#[test]
fn abort_task_at_a_hung_store_is_rejected_after_a_timeout() {
    let (setup, store) = Setup::sim();
    let pair = Pair::new(setup);
    let mut session = Initiator::login(&pair);
    store.behave(Behaviour::DEAD);
    let write = session.begin(&WRITE, Io::Write(&[1; 2048]));
    let abort = session.manage(TaskFunction::ABORT_TASK, Some(write));
    assert_eq!(session.managed(abort), None, "the command is still running");
    let ping = session.nop();
    session.send(ping, &[]);
    assert_eq!(session.lines(), ["NopIn itt=4 len=0"]);
    pair.advance(Duration::from_secs(11));
    assert_eq!(session.managed(abort), Some(TaskResponse::REJECTED));
    store.release();
    pair.settle();
    session.poll();
    assert!(session.take_reply(write).is_none());
    assert_eq!(pair.side().running(), 0);
    session.hang_up();
    pair.assert_clean();
}

#[test]
fn session_with_a_hung_store_ends_when_the_store_completes() {
    let (setup, store) = Setup::sim();
    let pair = Pair::new(setup);
    let mut session = Initiator::login(&pair);
    store.behave(Behaviour::DEAD);
    session.begin(&WRITE, Io::Write(&[1; 2048]));
    session.hang_up();
    assert_eq!(pair.side().running(), 1, "the command at the store is kept");
    // The initiator logs in to the target again meanwhile.
    store.behave(Behaviour::INLINE);
    let mut again = Initiator::login(&pair);
    let beside = [0x28, 0, 0, 0, 0, 4, 0, 0, 4, 0];
    again.run(&beside, Io::Read(2048)).good();
    // Blocks that the store may still write are busy until it has completed.
    assert_eq!(again.run(&READ, Io::Read(2048)).status, Status::Busy as u8);
    again.hang_up();
    store.release();
    pair.settle();
    pair.assert_clean();
}

/// A function that is not immediate is executed in CmdSN order.
#[test]
fn numbered_function_waits_for_earlier_commands() {
    let (setup, store): (Setup, SimStore) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    store.behave(Behaviour::HANG);
    let read = session.command(&READ, Io::Read(2048));
    let abort = session.task_management(TaskFunction::ABORT_TASK_SET, None);
    let cmd_sn = session.next_cmd_sn();
    session.send(TaskManagementRequest { immediate: false, cmd_sn, ..abort }, &[]);
    assert_eq!(session.lines(), [""; 0]);
    session.send(read, &[]);
    assert_eq!(session.lines(), ["TaskManagementResponse itt=3 COMPLETE"]);
}

#[test]
fn blocks_of_an_aborted_write_are_busy_on_all_loops() {
    let (setup, store) = Setup::sim();
    // Each pair is a loop; they share the unit.
    let loops = [Pair::new(setup.clone()), Pair::new(setup)];
    let (mut one, mut two) =
        (Initiator::login(&loops[0]), Initiator::login_as(&loops[1], &LoginOptions::of_host(2)));
    let _ = (one.run(&TEST_UNIT_READY, Io::None), two.run(&TEST_UNIT_READY, Io::None));
    store.behave(Behaviour::DEAD);
    let read = one.begin(&READ, Io::Read(2048));
    let write = one.begin(&WRITE, Io::Write(&[1; 2048]));
    for aborted in [read, write] {
        one.manage(TaskFunction::ABORT_TASK, Some(aborted));
    }
    store.behave(Behaviour::INLINE);
    let at = |mut cdb: [u8; 10], lba: u8| {
        cdb[5] = lba;
        cdb
    };
    for (lba, status) in [(0, Status::Busy), (3, Status::Busy), (4, Status::Good)] {
        assert_eq!(two.run(&at(READ, lba), Io::Read(2048)).status, status as u8, "read at {lba}");
        assert_eq!(two.run(&at(WRITE, lba), Io::Write(&[2; 2048])).status, status as u8, "write at {lba}");
    }
    store.release();
    loops[0].settle();
    two.run(&WRITE, Io::Write(&[3; 2048])).good();
    assert_eq!(store.bytes(0, 2048), [3; 2048], "the aborted write does not follow");
    one.hang_up();
    two.hang_up();
    loops.iter().for_each(Pair::assert_clean);
}

/// RFC 7143 4.2.3.3 b): an immediate function affects all commands with smaller CmdSNs, late ones included.
#[test]
fn immediate_task_set_function_waits_for_earlier_commands() {
    for function in
        [TaskFunction::ABORT_TASK_SET, TaskFunction::CLEAR_TASK_SET, TaskFunction::LOGICAL_UNIT_RESET]
    {
        let (setup, store) = Setup::sim();
        let pair = Pair::new(setup);
        let mut session = Initiator::login(&pair);
        let _ = session.run(&TEST_UNIT_READY, Io::None);
        store.behave(Behaviour::HANG);
        let (first, second) =
            (session.command(&READ, Io::Read(2048)), session.command(&READ, Io::Read(2048)));
        session.send(second, &[]);
        let itt = session.manage(function, None);
        assert_eq!(session.managed(itt), None, "{function:?}: a command is missing");
        session.send(first, &[]);
        assert_eq!(session.managed(itt), Some(TaskResponse::COMPLETE), "{function:?}");
        assert_eq!(pair.side().running(), 0, "{function:?}: both ended");
        assert_eq!(session.lines(), [""; 0], "{function:?}: no response");

        // A command after the function is not affected.
        store.behave(Behaviour::INLINE);
        let (late, behind) = (session.command(&READ, Io::Read(2048)), session.cmd_sn);
        let itt = session.manage(function, None);
        pair.advance(Duration::from_secs(11));
        assert_eq!(
            session.managed(itt),
            Some(TaskResponse::REJECTED),
            "{function:?}: the command is not received"
        );
        session.send(late, &[]);
        assert_eq!(session.lines().len(), 1, "{function:?}");
        assert_eq!(session.cmd_sn, behind);
    }
}

#[test]
fn target_reset_counts_late_commands_as_received() {
    let (setup, store) = Setup::sim();
    let pair = Pair::new(setup);
    let mut session = Initiator::login(&pair);
    let _ = session.run(&TEST_UNIT_READY, Io::None);
    let (lost, early) =
        (session.command(&WRITE, Io::Write(&[1; 2048])), session.command(&WRITE, Io::Write(&[1; 2048])));
    session.send(early, &[1; 2048]);
    let itt = session.manage(TaskFunction::TARGET_WARM_RESET, None);
    assert_eq!(session.managed(itt), Some(TaskResponse::COMPLETE));
    session.send(lost, &[1; 2048]);
    assert_eq!(session.lines(), [""; 0], "the late command is ignored");
    assert_eq!(store.bytes(0, 2048), [0; 2048], "neither write is executed");
    attentions(&mut session);
    session.run(&WRITE, Io::Write(&[2; 2048])).good();
    session.hang_up();
    pair.assert_clean();
}
