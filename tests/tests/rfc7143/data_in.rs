//! RFC 7143 11.7: segments and bursts of Data-In, status in the last PDU, residuals.

use std::sync::Arc;

use iscsi_proto::pdu::{TaskFunction, TaskResponse};
use scsi_core::device::unit::{Unit, UnitConfig};
use scsi_core::store::IoError;
use tgt_tests::initiator::{Initiator, Io, LoginOptions};
use tgt_tests::pair::Pair;
use tgt_tests::random::Random;
use tgt_tests::setup::{Setup, each_chunk};
use tgt_tests::sim_store::{Behaviour, SimStore};

use super::READ;

fn small_segments(pair: &Pair) -> Initiator {
    let mut options = LoginOptions::default();
    options.keys.max_recv_data_segment_len = 512;
    options.keys.session.max_burst_len = 1024;
    options.keys.session.first_burst_len = 1024;
    Initiator::login_as(pair, &options)
}

#[test]
fn data_in_has_segments_bursts_and_final_status() {
    each_chunk(|setup, _| {
        let mut session = small_segments(&Pair::new(setup));
        let command = session.command(&READ, Io::Read(2048));
        session.send(command, &[]);
        assert_eq!(
            session.lines(),
            [
                "DataIn itt=2 sn=0 offset=0 len=512",
                "DataIn itt=2 sn=1 offset=512 len=512 F",
                "DataIn itt=2 sn=2 offset=1024 len=512",
                "DataIn itt=2 sn=3 offset=1536 len=512 F GOOD",
            ]
        );
    });
}

#[test]
fn parameter_data_has_segments_and_bursts() {
    each_chunk(|setup, _| {
        let mut options = LoginOptions::default();
        // Without bursts a segment would hold all of the data.
        options.keys.max_recv_data_segment_len = 1024;
        options.keys.session.max_burst_len = 512;
        options.keys.session.first_burst_len = 512;
        let mut session = Initiator::login_as(&Pair::new(setup), &options);
        // REPORT SUPPORTED OPERATION CODES, all, with timeouts.
        let command = session.command(&[0xa3, 0x0c, 0x80, 0, 0, 0, 0, 0, 4, 88, 0, 0], Io::Read(2048));
        session.send(command, &[]);
        assert_eq!(
            session.lines(),
            [
                "DataIn itt=2 sn=0 offset=0 len=512 F",
                "DataIn itt=2 sn=1 offset=512 len=492 F GOOD under=1044",
            ]
        );
    });
}

/// Direct I/O on a device of 4 KiB blocks, with initiators of short segments.
#[test]
fn store_with_4k_alignment_serves_short_segments() {
    for (segment, burst) in
        [(512, 1024), (1000, 1500), (1024, 1536), (2048, 65_536), (8192, 8192), (65_536, 262_144)]
    {
        let store = SimStore::new(1 << 20, 1);
        store.align(4096);
        let unit = Unit::new(
            UnitConfig { block_len: 4096, ..UnitConfig::disk(1, 1) },
            Some(Arc::new(store.clone())),
        );
        let mut setup = Setup::sim().0;
        setup.units[1].1 = unit;
        let data: Vec<u8> = (0..1 << 20).map(|n| (n % 241) as u8).collect();
        store.put(0, &data);
        let pair = Pair::new(setup);
        let mut options = LoginOptions::default();
        options.keys.max_recv_data_segment_len = segment;
        options.keys.session.max_burst_len = burst;
        options.keys.session.first_burst_len = burst;
        let mut session = Initiator::login_as(&pair, &options);
        let _ = session.run(&[0; 6], Io::None);
        for behaviour in [Behaviour::LATER, Behaviour { reorder: true, ..Behaviour::LATER }] {
            store.behave(behaviour);
            for (blocks, expected) in [(1, 4096), (5, 20_480), (5, 20_000), (5, 700), (100, 409_600)] {
                let cdb = [0x28, 0, 0, 0, 0, 3, 0, 0, blocks, 0];
                let reply = session.run(&cdb, Io::Read(expected));
                assert_eq!((reply.status, reply.sense), (0, None), "{segment} {burst} {expected}");
                assert!(reply.data == data[12_288..][..expected as usize], "{segment} {burst} {expected}");
            }
        }
        session.hang_up();
        pair.assert_clean();
    }
}

#[test]
fn read_residual_is_the_difference_to_the_expected_length() {
    let (setup, _) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    for (expected, line) in [
        (2048, "DataIn itt=2 sn=0 offset=0 len=2048 F GOOD"),
        (4096, "DataIn itt=3 sn=0 offset=0 len=2048 F GOOD under=2048"),
        (512, "DataIn itt=4 sn=0 offset=0 len=512 F GOOD over=1536"),
        (700, "DataIn itt=5 sn=0 offset=0 len=700 F GOOD over=1348"),
        (0, "ScsiResponse itt=6 GOOD over=2048"),
    ] {
        let command = session.command(&READ, Io::Read(expected));
        session.send(command, &[]);
        assert_eq!(session.lines(), [line], "{expected}");
    }
}

#[test]
fn parameter_data_has_residuals() {
    let (setup, _) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    // READ CAPACITY (10): eight bytes.
    for (expected, line) in [
        (8, "DataIn itt=2 sn=0 offset=0 len=8 F GOOD"),
        (32, "DataIn itt=3 sn=0 offset=0 len=8 F GOOD under=24"),
        (4, "DataIn itt=4 sn=0 offset=0 len=4 F GOOD over=4"),
    ] {
        let command = session.command(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], Io::Read(expected));
        session.send(command, &[]);
        assert_eq!(session.lines(), [line], "{expected}");
    }
}

#[test]
fn read_without_r_bit_sends_no_data() {
    let (setup, _) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    let command = session.command(&READ, Io::None);
    session.send(command, &[]);
    assert_eq!(session.lines(), ["ScsiResponse itt=2 GOOD over=2048"]);
}

#[test]
fn refused_read_has_an_underflow_of_all_expected_bytes() {
    let (setup, _) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    let command = session.command(&[0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 4, 0], Io::Read(2048));
    session.send(command, &[]);
    assert_eq!(session.lines(), ["ScsiResponse itt=2 CHECK under=2048 5/21/00"]);
}

#[test]
fn medium_error_after_data_in_ends_the_read() {
    let (setup, store) = Setup::sim();
    let mut session = small_segments(&Pair::new(setup));
    store.behave(Behaviour { fail: 500, ..Behaviour::INLINE });
    store.fail_with(IoError::medium(0));
    let mut broken = 0;
    for _ in 0..20 {
        let reply = session.run(&READ, Io::Read(2048));
        if reply.status != 0 {
            broken += 1;
            assert_eq!(reply.check().map(|(key, code)| (key, code.asc)), Some((3, 0x11)));
            assert_eq!(reply.residual, iscsi_proto::pdu::Residual::Underflow(2048 - reply.data.len() as u32));
        }
    }
    assert!(broken > 0);
}

#[test]
fn reordered_completions_are_sent_in_order() {
    for seed in 0..20 {
        let store = SimStore::new(1 << 20, seed);
        let data = Random::new(seed).bytes(1 << 20);
        store.put(0, &data);
        store.behave(Behaviour { reorder: true, ..Behaviour::LATER });
        let pair = Pair::new(Setup::disk(Arc::new(store)));
        let mut session = Initiator::login(&pair);
        assert_eq!(session.run(&[0x28, 0, 0, 0, 0, 0, 0, 8, 0, 0], Io::Read(1 << 20)).good(), data);
        session.hang_up();
        pair.assert_clean();
    }
}

#[test]
fn stalled_initiator_bounds_memory_and_loses_nothing() {
    let (setup, store) = Setup::sim();
    let data = Random::new(9).bytes(4 << 20);
    store.put(0, &data);
    let pair = Pair::new(setup);
    let mut session = Initiator::login(&pair);
    pair.stall(session.wire, true);
    let cdb = [0x28, 0, 0, 0, 0, 0, 0, 0x20, 0, 0];
    let tags: Vec<_> = (0..8).map(|_| session.begin(&cdb, Io::Read(4 << 20))).collect();
    assert!(pair.side().pool().used_bytes() < 4 << 20, "buffered data is bounded");
    pair.stall(session.wire, false);
    for itt in tags {
        assert_eq!(session.wait(itt).good(), data);
    }
    session.hang_up();
    pair.assert_clean();
}

/// A read of many more pieces than may be at the store at once; a few of them are very late.
#[test]
fn very_late_pieces_delay_the_rest_and_keep_the_order() {
    for seed in 0..10 {
        let store = SimStore::new(1 << 20, seed);
        let data = Random::new(seed).bytes(1 << 20);
        store.put(0, &data);
        let pair = Pair::new(Setup::disk(Arc::new(store.clone())));
        let mut session = small_segments(&pair);
        store.behave(Behaviour { hang: 50, reorder: true, ..Behaviour::LATER });
        let cdb = [0x28, 0, 0, 0, 0, 0, 0, 8, 0, 0];
        let read = session.begin(&cdb, Io::Read(1 << 20));
        session.poll();
        assert!(session.take_reply(read).is_none(), "a piece is late");
        assert!(pair.side().pool().used_bytes() <= 64 * 4096, "buffered data is bounded");
        for _ in 0..500 {
            store.release();
            pair.settle();
        }
        assert_eq!(session.wait(read).good(), data, "seed {seed}");

        // A read with a late piece can be aborted.
        let read = session.begin(&cdb, Io::Read(1 << 20));
        session.poll();
        let abort = session.manage(TaskFunction::ABORT_TASK, Some(read));
        assert_eq!(session.managed(abort), Some(TaskResponse::COMPLETE), "seed {seed}");
        session.hang_up();
        pair.assert_clean();
    }
}
