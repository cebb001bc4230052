//! RFC 7143 7.8, 4.2.3.3: commands that end before all requested data has arrived. The test initiator panics at a
//! response while data is outstanding.

use std::time::Duration;

use iscsi_proto::ids::{Itt, Ttt};
use iscsi_proto::params::SessionParams;
use iscsi_proto::pdu::{Pdu, ScsiCommand, TaskFunction, TaskResponse};
use iscsi_proto::sn::DataSn;
use scsi_core::store::IoError;
use target_engine::limits::{ABORT_DATA_WAIT, DATA_OUT_WAIT};
use tgt_tests::initiator::{Initiator, Io, LoginOptions};
use tgt_tests::pair::Pair;
use tgt_tests::setup::{DISK, Setup};
use tgt_tests::sim_store::{Behaviour, SimStore};

use super::{READ, TEST_UNIT_READY, login_with};

const BURST: usize = 64 << 10;
const LONG: usize = 1 << 20;
/// WRITE (10) of [`LONG`] bytes: the target writes each burst to the store as it arrives.
const WRITE_LONG: [u8; 10] = [0x2a, 0, 0, 0, 0, 0, 0, 8, 0, 0];
const NOTHING: [&str; 0] = [];

/// Two R2Ts at a time, no unsolicited data.
fn two_r2ts(session: &mut SessionParams) {
    (session.initial_r2t, session.immediate_data) = (true, false);
    (session.max_burst_len, session.first_burst_len) = (BURST as u32, BURST as u32);
    session.max_outstanding_r2t = 2;
}

fn bench() -> (Pair, Initiator, SimStore) {
    let (setup, store) = Setup::sim();
    let pair = Pair::new(setup);
    let session = login_with(&pair, two_r2ts);
    (pair, session, store)
}

/// Sends a write of 1 MiB and receives its first two R2Ts.
#[track_caller]
fn begin(session: &mut Initiator, cdb: &[u8]) -> (Itt, Ttt) {
    let command = session.command(cdb, Io::Write(&[1; LONG]));
    session.send(command, &[]);
    let mut tags = Vec::new();
    for offset in [0, BURST] {
        let (Pdu::R2t(r2t), _) = session.recv() else { panic!("an R2T") };
        assert_eq!((r2t.buffer_offset as usize, r2t.desired_len as usize), (offset, BURST));
        tags.push(r2t.ttt);
    }
    (command.itt, tags[0])
}

/// Sends the part of a burst from `from`, with F at the end of the burst.
fn send(session: &mut Initiator, (itt, ttt): (Itt, Ttt), sn: u32, from: usize) {
    let last = (from + BURST / 2).is_multiple_of(BURST);
    let pdu = session.data_out(itt, Some(ttt), DataSn(sn), from as u32, last);
    session.send(pdu, &[1; BURST / 2]);
}

/// Sends a burst.
fn send_burst(session: &mut Initiator, tags: (Itt, Ttt), from: usize) {
    send(session, tags, 0, from);
    send(session, tags, 1, from + BURST / 2);
}

#[test]
fn failed_write_is_answered_after_the_requested_data() {
    let (pair, mut session, store) = bench();
    store.fail_with(IoError::medium(0));
    store.behave(Behaviour { fail: 1000, ..Behaviour::INLINE });
    let tags = begin(&mut session, &WRITE_LONG);
    send(&mut session, tags, 0, 0);
    assert_eq!(session.lines(), NOTHING, "two bursts are outstanding");
    send(&mut session, tags, 1, BURST / 2);
    send(&mut session, tags, 0, BURST);
    assert_eq!(session.lines(), NOTHING, "one burst is outstanding, without a further R2T");
    assert_eq!(pair.side().pool().reserved_bytes(), 0, "no memory is reserved for discarded data");
    send(&mut session, tags, 1, BURST + BURST / 2);
    let missing = LONG - BURST / 2;
    assert_eq!(session.lines(), [format!("ScsiResponse itt=2 CHECK under={missing} 3/0c/00")]);
    store.behave(Behaviour::INLINE);
    session.run(&READ, Io::Read(2048)).good();
    session.hang_up();
    pair.assert_clean();
}

#[test]
fn write_shorter_than_its_expected_length_is_answered_after_the_requested_data() {
    let (pair, mut session, store) = bench();
    let tags = begin(&mut session, &[0x2a, 0, 0, 0, 0, 0, 0, 0, 4, 0]);
    send_burst(&mut session, tags, 0);
    assert_eq!(session.lines(), NOTHING);
    send_burst(&mut session, tags, BURST);
    assert_eq!(session.lines(), [format!("ScsiResponse itt=2 GOOD under={}", LONG - 2048)]);
    assert_eq!((store.bytes(0, 2048), store.bytes(2048, 1)), (vec![1; 2048], vec![0]));
    session.hang_up();
    pair.assert_clean();
}

/// Invalid Data-Out while the store writes earlier valid data.
#[test]
fn write_with_invalid_data_is_answered_after_its_store_and_its_data() {
    let (pair, mut session, store) = bench();
    store.behave(Behaviour::HANG);
    let tags = begin(&mut session, &WRITE_LONG);
    send(&mut session, tags, 0, 0);
    // A gap, up to the end of the first burst.
    send(&mut session, tags, 7, BURST / 2);
    send_burst(&mut session, tags, BURST);
    assert_eq!(session.lines(), NOTHING, "the store has not completed the first piece");
    store.behave(Behaviour::INLINE);
    store.release();
    pair.settle();
    let lines = session.lines();
    assert!(lines[0].contains("CHECK") && lines[0].ends_with("b/47/05"), "{lines:?}");
    session.run(&READ, Io::Read(2048)).good();
    session.hang_up();
    pair.assert_clean();
}

#[test]
fn refused_command_is_answered_after_its_unsolicited_data() {
    const OUT_OF_RANGE: [u8; 10] = [0x2a, 0, 0xff, 0, 0, 0, 0, 8, 0, 0];
    const RESERVE: [u8; 6] = [0x16, 0, 0, 0, 0, 0];
    for (name, cdb, read, reserved, sense) in [
        ("a range beyond the end", OUT_OF_RANGE, false, false, "CHECK under=1048576 5/21/00"),
        ("both directions", WRITE_LONG, true, false, "CHECK under=1048576 5/0e/03"),
        ("a reservation of another initiator", WRITE_LONG, false, true, "CONFLICT under=1048576"),
    ] {
        let (setup, _) = Setup::sim();
        let pair = Pair::new(setup);
        let mut session = login_with(&pair, |session| session.first_burst_len = BURST as u32);
        let mut other = Initiator::login_as(&pair, &LoginOptions::of_host(2));
        if reserved {
            other.run(&RESERVE, Io::None).good();
        }
        let command = session.command(&cdb, Io::Write(&[1; LONG]));
        session.send(ScsiCommand { last: false, read, ..command }, &[1; 512]);
        assert_eq!(session.lines(), NOTHING, "{name}");
        let pdu = session.data_out(command.itt, None, DataSn(0), 512, false);
        session.send(pdu, &[1; 512]);
        assert_eq!(session.lines(), NOTHING, "{name}");
        let pdu = session.data_out(command.itt, None, DataSn(1), 1024, true);
        session.send(pdu, &[1; BURST - 1024]);
        assert_eq!(session.lines(), [format!("ScsiResponse itt=2 {sense}")], "{name}");
        session.hang_up();
        other.hang_up();
        pair.assert_clean();
    }
}

/// A write that is shorter than those that go to the store while their data arrives.
#[test]
fn refused_write_is_answered_without_r2ts() {
    const LEN: usize = 4 * BURST;
    const PAST_THE_END: [u8; 10] = [0x2a, 0, 0xff, 0, 0, 0, 0, 2, 0, 0];
    const WRITE: [u8; 10] = [0x2a, 0, 0, 0, 0, 0, 0, 2, 0, 0];
    const VERIFY: [u8; 10] = [0x2e, 0, 0, 0, 0, 0, 0, 2, 0, 0];
    for (name, cdb, protected, sense) in [
        ("a range beyond the end", PAST_THE_END, false, "5/21/00"),
        ("a write-protected unit", WRITE, true, "7/27/00"),
        ("WRITE AND VERIFY", VERIFY, true, "7/27/00"),
    ] {
        for unsolicited in [false, true] {
            let (setup, store) = Setup::sim();
            setup.unit(DISK).update(|config| config.read_only = protected).unwrap();
            let pair = Pair::new(setup);
            let mut session = login_with(&pair, |session| session.first_burst_len = BURST as u32);
            let command = session.command(&cdb, Io::Write(&[1; LEN]));
            session.send(ScsiCommand { last: !unsolicited, ..command }, &[1; 512]);
            if unsolicited {
                assert_eq!(session.lines(), NOTHING, "{name}: unsolicited data is outstanding");
                let pdu = session.data_out(command.itt, None, DataSn(0), 512, true);
                session.send(pdu, &[1; BURST - 512]);
            }
            assert_eq!(session.lines(), [format!("ScsiResponse itt=2 CHECK under={LEN} {sense}")], "{name}");
            assert_eq!((store.log(), pair.side().pool().reserved_bytes()), (vec![], 0), "{name}");
            session.hang_up();
            pair.assert_clean();
        }
    }
}

#[test]
fn removed_unit_is_released_at_once_and_its_writes_are_answered_after_their_data() {
    let (pair, mut session, store) = bench();
    let tags = begin(&mut session, &WRITE_LONG);
    let removal = pair.side().remove_unit(DISK);
    assert_eq!(pair.side().answer_to(removal), Some(Ok(())), "the unit is released");
    send_burst(&mut session, tags, 0);
    assert_eq!(session.lines(), NOTHING);
    send_burst(&mut session, tags, BURST);
    assert_eq!(session.lines(), [format!("ScsiResponse itt=2 CHECK under={LONG} 5/25/00")]);
    assert_eq!(store.log(), NOTHING);
    session.hang_up();
    pair.assert_clean();
}

#[test]
fn initiator_that_does_not_send_requested_data_is_disconnected() {
    let (pair, mut session, store) = bench();
    store.behave(Behaviour { fail: 1000, ..Behaviour::INLINE });
    let tags = begin(&mut session, &WRITE_LONG);
    send_burst(&mut session, tags, 0);
    pair.advance(DATA_OUT_WAIT - Duration::from_secs(1));
    assert!(!session.is_closed());
    send(&mut session, tags, 0, BURST);
    pair.advance(DATA_OUT_WAIT - Duration::from_secs(1));
    assert!(!session.is_closed(), "the initiator still sends");
    pair.advance(Duration::from_secs(2));
    assert!(session.is_closed());
    pair.assert_clean();
}

#[test]
fn task_set_function_waits_for_the_data_of_its_initiator() {
    for function in [
        TaskFunction::ABORT_TASK_SET,
        TaskFunction::CLEAR_TASK_SET,
        TaskFunction::LOGICAL_UNIT_RESET,
        TaskFunction::TARGET_WARM_RESET,
    ] {
        let (pair, mut session, store) = bench();
        let tags = begin(&mut session, &WRITE_LONG);
        let abort = session.manage(function, None);
        send_burst(&mut session, tags, 0);
        assert_eq!(session.managed(abort), None, "{function:?}");
        send_burst(&mut session, tags, BURST);
        assert_eq!(session.managed(abort), Some(TaskResponse::COMPLETE), "{function:?}");
        assert_eq!(store.log(), NOTHING, "{function:?}");

        // The data does not arrive: the function completes after the timeout.
        let _ = session.run(&TEST_UNIT_READY, Io::None);
        begin(&mut session, &WRITE_LONG);
        let abort = session.manage(function, None);
        assert_eq!(session.managed(abort), None, "{function:?}");
        pair.advance(ABORT_DATA_WAIT + Duration::from_secs(1));
        assert_eq!(session.managed(abort), Some(TaskResponse::COMPLETE), "{function:?}");
        let _ = session.run(&TEST_UNIT_READY, Io::None);

        // A function does not wait for data of other initiators, and ABORT TASK does not wait for data.
        let mut other = Initiator::login_as(&pair, &LoginOptions::of_host(2));
        if matches!(function, TaskFunction::LOGICAL_UNIT_RESET | TaskFunction::TARGET_WARM_RESET) {
            begin(&mut session, &WRITE_LONG);
            let reset = other.manage(function, None);
            assert_eq!(other.managed(reset), Some(TaskResponse::COMPLETE), "{function:?}");
            let _ = session.run(&TEST_UNIT_READY, Io::None);
        }
        let (itt, _) = begin(&mut session, &WRITE_LONG);
        let many = session.manage(function, None);
        let one = session.manage(TaskFunction::ABORT_TASK, Some(itt));
        for abort in [many, one] {
            assert_eq!(session.managed(abort), Some(TaskResponse::COMPLETE), "{function:?}");
        }
        session.hang_up();
        other.hang_up();
        pair.assert_clean();
    }
}

#[test]
fn abort_task_of_a_command_that_waits_for_data_sends_no_response() {
    let (pair, mut session, store) = bench();
    store.behave(Behaviour { fail: 1000, ..Behaviour::INLINE });
    let tags = begin(&mut session, &WRITE_LONG);
    send_burst(&mut session, tags, 0);
    let abort = session.manage(TaskFunction::ABORT_TASK, Some(tags.0));
    assert_eq!(session.managed(abort), Some(TaskResponse::COMPLETE));
    send_burst(&mut session, tags, BURST);
    assert_eq!(session.lines(), NOTHING);
    // The end of its connection aborts it as well.
    let tags = begin(&mut session, &WRITE_LONG);
    send_burst(&mut session, tags, 0);
    session.manage(TaskFunction::ABORT_TASK_SET, None);
    session.hang_up();
    pair.assert_clean();
}
