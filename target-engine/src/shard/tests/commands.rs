//! Reads and writes of every shape.

use iscsi_proto::params::SessionParams;
use iscsi_proto::pdu::{DataIn, R2t, Residual, ScsiCommand, ScsiResponse, TaskAttribute};
use iscsi_proto::sn::CmdSn;

use super::*;
use crate::limits::TICK;
use crate::shard::Env;

fn read10(lba: u32, blocks: u16) -> [u8; 10] {
    let (lba, blocks) = (lba.to_be_bytes(), blocks.to_be_bytes());
    [0x28, 0, lba[0], lba[1], lba[2], lba[3], 0, blocks[0], blocks[1], 0]
}

fn write10(lba: u32, blocks: u16) -> [u8; 10] {
    let mut cdb = read10(lba, blocks);
    cdb[0] = 0x2a;
    cdb
}

/// The data of a run of Data-In PDUs, checked for order, and the status of the last.
fn gathered(pdus: &[Out]) -> (Vec<u8>, u8, Residual) {
    let mut data = Vec::new();
    for (at, (bhs, payload)) in pdus.iter().enumerate() {
        let pdu = DataIn::decode(bhs).unwrap();
        assert_eq!((pdu.data_sn.0, pdu.buffer_offset), (at as u32, data.len() as u32));
        data.extend_from_slice(payload);
        assert_eq!(pdu.status.is_some(), at + 1 == pdus.len());
        if let Some(status) = pdu.status {
            return (data, status.status, status.residual);
        }
    }
    panic!("no status among {} PDUs", pdus.len());
}

#[test]
fn a_read_carries_its_status() {
    for mode in [Mode::Inline, Mode::Later] {
        let mut bench = Bench::new();
        bench.set_mode(mode);
        bench.command(&read10(8, 8), Expect::In(4096));
        bench.settle();
        let out = bench.drain();
        assert_eq!(gathered(&out), (bench.bytes(4096, 4096), 0, Residual::None), "{mode:?}");
        assert_eq!(bench.pool.used_bytes(), 0);
    }
}

#[test]
fn a_long_read_is_sent_in_order_whatever_the_order_of_completion() {
    for mode in [Mode::Inline, Mode::Later, Mode::Backwards] {
        let mut bench = Bench::new();
        bench.set_mode(mode);
        bench.command(&read10(0, 4096), Expect::In(2 << 20));
        let mut out = Vec::new();
        for _ in 0..100 {
            bench.settle();
            out.extend(bench.drain());
        }
        let (data, status, residual) = gathered(&out);
        assert!(data == bench.bytes(0, 2 << 20), "{mode:?}");
        assert_eq!((status, residual, out.len()), (0, Residual::None, 32));
        assert_eq!(bench.pool.used_bytes(), 0);
    }
}

#[test]
fn many_long_reads_fill_the_ring_only_so_far() {
    let mut bench = Bench::new();
    for _ in 0..4 {
        bench.command(&read10(0, 4096), Expect::In(2 << 20));
    }
    let queued = bench.shard.connection(bench.connection).unwrap().unsent();
    assert!(queued <= crate::limits::TRANSMIT_BYTES_LOW + 65536 + 100, "{queued}");
    let out = bench.drain();
    assert_eq!(out.iter().map(|(_, data)| data.len()).sum::<usize>(), 8 << 20);
    assert_eq!(bench.shard.running(), 0);
}

#[test]
fn residuals_are_the_difference_to_the_expected_length() {
    #[rustfmt::skip]
    let cases = [
        (8, 4096, Residual::None,              4096),
        (8, 2048, Residual::Overflow(2048),    2048),
        (8, 8192, Residual::Underflow(4096),   4096),
    ];
    for (blocks, expected, residual, len) in cases {
        let mut bench = Bench::new();
        bench.command(&read10(0, blocks), Expect::In(expected));
        let (data, status, told) = gathered(&bench.drain());
        assert_eq!((data.len(), status, told), (len, 0, residual), "{expected}");
    }
    let mut bench = Bench::new();
    bench.command(&write10(0, 2), Expect::Out(512, &[9; 512], true));
    let response = ScsiResponse::decode(&bench.drain()[0].0).unwrap();
    assert_eq!((response.status, response.residual), (0, Residual::Overflow(512)));
    assert_eq!(bench.log(), ["write 0+512"]);
}

#[test]
fn an_immediate_write_goes_straight_to_the_store() {
    for mode in [Mode::Inline, Mode::Later] {
        let mut bench = Bench::new();
        bench.set_mode(mode);
        bench.command(&write10(8, 8), Expect::Out(4096, &[7; 4096], true));
        bench.settle();
        let response = ScsiResponse::decode(&bench.drain()[0].0).unwrap();
        assert_eq!((response.status, response.residual), (0, Residual::None));
        assert_eq!(bench.bytes(4096, 4096), [7; 4096]);
        assert_eq!(bench.log(), ["write 4096+4096"]);
        assert_eq!(bench.pool.used_bytes(), 0);
    }
}

#[test]
fn a_long_write_is_asked_for_piece_by_piece() {
    for mode in [Mode::Inline, Mode::Later, Mode::Backwards] {
        let mut bench = Bench::new();
        bench.set_mode(mode);
        let data: Vec<u8> = (0..600_000usize.next_multiple_of(512)).map(|n| (n % 241) as u8).collect();
        let blocks = (data.len() / 512) as u16;
        let itt = bench.command(&write10(0, blocks), Expect::Out(data.len() as u32, &data[..8192], false));
        // The rest of the first burst, unsolicited.
        bench.data_out(itt, None, 0, 8192, &data[8192..65536], true);
        loop {
            let out = bench.drain();
            let Some((bhs, _)) = out.first() else { panic!("neither an R2T nor a response") };
            if bhs[0] == ScsiResponse::OPCODE {
                assert_eq!(ScsiResponse::decode(bhs).unwrap().status, 0);
                break;
            }
            let r2t = R2t::decode(bhs).unwrap();
            let all = &data[r2t.buffer_offset as usize..][..r2t.desired_len as usize];
            let pieces: Vec<&[u8]> = all.chunks(50_000).collect();
            for (sn, piece) in pieces.iter().enumerate() {
                let offset = r2t.buffer_offset + sn as u32 * 50_000;
                bench.data_out(itt, Some(&r2t), sn as u32, offset, piece, sn + 1 == pieces.len());
            }
            bench.settle();
        }
        assert!(bench.bytes(0, data.len()) == data, "{mode:?}");
        assert_eq!((bench.pool.used_bytes(), bench.shard.running()), (0, 0));
    }
}

#[test]
fn a_long_write_reaches_the_store_while_it_arrives() {
    for mode in [Mode::Inline, Mode::Later] {
        let mut bench = Bench::new();
        bench.set_mode(mode);
        let data: Vec<u8> = (0..1 << 20).map(|n| (n % 239) as u8).collect();
        let itt = bench.command(&write10(0, 2048), Expect::Out(1 << 20, &data[..65536], true));
        bench.settle();
        assert_eq!(bench.log(), ["write 0+65536"], "{mode:?}");
        loop {
            let out = bench.drain();
            let Some((bhs, _)) = out.iter().find(|(bhs, _)| bhs[0] == R2t::OPCODE) else {
                assert_eq!(ScsiResponse::decode(&out[0].0).unwrap().status, 0);
                break;
            };
            let r2t = R2t::decode(bhs).unwrap();
            let all = &data[r2t.buffer_offset as usize..][..r2t.desired_len as usize];
            // Odd pieces: what is given to the store still ends at multiples of 4 KiB.
            let pieces: Vec<&[u8]> = all.chunks(33_333).collect();
            for (sn, piece) in pieces.iter().enumerate() {
                let offset = r2t.buffer_offset + sn as u32 * 33_333;
                bench.data_out(itt, Some(&r2t), sn as u32, offset, piece, sn + 1 == pieces.len());
                bench.settle();
            }
        }
        assert!(bench.bytes(0, data.len()) == data, "{mode:?}");
        let lens =
            bench.log().into_iter().map(|line| line.split('+').nth(1).unwrap().parse::<usize>().unwrap());
        assert!(lens.into_iter().all(|len| len % 4096 == 0));
        assert_eq!((bench.pool.used_bytes(), bench.pool.reserved_bytes(), bench.shard.running()), (0, 0, 0));
    }
}

#[test]
fn held_long_writes_need_no_memory_until_their_turn() {
    let mut bench = Bench::new();
    bench.set_mode(Mode::Hang);
    bench.command(&read10(0, 8), Expect::In(4096));
    let ordered = ScsiCommand { attribute: TaskAttribute::Ordered, ..bench.pdu(&[0], Expect::Nothing) };
    let mut bhs = [0; 48];
    ordered.encode(&mut bhs);
    bench.send(&bhs, &[]);
    bench.cmd_sn += 1;
    let data: Vec<u8> = (0..1 << 20).map(|n| (n % 233) as u8).collect();
    let write = |bench: &mut Bench, place: u32, immediate, last| {
        bench.command(&write10(place * 2048, 2048), Expect::Out(1 << 20, &data[..immediate], last))
    };
    let held: Vec<_> = (1..4).map(|place| write(&mut bench, place, 8192, true)).collect();
    // One of them has more unsolicited data to come.
    let unsolicited = write(&mut bench, 0, 0, false);
    bench.data_out(unsolicited, None, 0, 0, &data[..65536], true);
    bench.settle();
    assert_eq!(bench.drain().len(), 0, "nothing is asked for");
    assert_eq!(bench.pool.reserved_bytes(), 0);
    assert!(bench.pool.used_bytes() <= (65536 + 4096) + 3 * 16384 + 4096, "{}", bench.pool.used_bytes());

    bench.set_mode(Mode::Later);
    let mut good = Vec::new();
    for _ in 0..100 {
        bench.settle();
        for (bhs, _) in bench.drain() {
            if bhs[0] == ScsiResponse::OPCODE {
                let response = ScsiResponse::decode(&bhs).unwrap();
                assert_eq!(response.status, 0);
                good.push(response.itt);
            } else if let Ok(r2t) = R2t::decode(&bhs) {
                let all = &data[r2t.buffer_offset as usize..][..r2t.desired_len as usize];
                for (sn, piece) in all.chunks(65536).enumerate() {
                    let offset = r2t.buffer_offset + sn as u32 * 65536;
                    let last = (sn + 1) * 65536 >= all.len();
                    bench.data_out(r2t.itt, Some(&r2t), sn as u32, offset, piece, last);
                }
            }
        }
    }
    assert!(held.iter().chain([&unsolicited]).all(|itt| good.contains(itt)), "{good:?}");
    assert!((0..4).all(|place| bench.bytes(place << 20, 1 << 20) == data));
    assert_eq!((bench.pool.used_bytes(), bench.pool.reserved_bytes(), bench.shard.running()), (0, 0, 0));
}

#[test]
fn a_refused_long_write_asks_for_no_data() {
    let mut bench = Bench::new();
    // Beyond the end.
    bench.command(&write10(8000, 2048), Expect::Out(1 << 20, &[0; 65536], true));
    let out = bench.drain();
    assert_eq!(out.len(), 1);
    assert_eq!(ScsiResponse::decode(&out[0].0).unwrap().status, 2);
    assert_eq!((bench.log().len(), bench.pool.used_bytes(), bench.pool.reserved_bytes()), (0, 0, 0));
}

#[test]
fn commands_without_memory_ask_for_their_data_in_turn() {
    const LEN: usize = crate::limits::SESSION_BYTES_MIN;
    let mut bench = Bench::new();
    let other = bench.pool.open();
    let rest = crate::limits::PAYLOAD_BYTES_MAX;
    assert!(bench.pool.reserve(rest, other));
    for _ in 0..3 {
        bench.command(&write10(0, (LEN / 512) as u16), Expect::Out(LEN as u32, &[], true));
    }
    assert_eq!(bench.drain().len(), 1, "no memory, no R2T, but for one of each session");
    let tick = |bench: &mut Bench| {
        assert!(bench.shard.poll_timeout(bench.now).is_some());
        bench.now += TICK * 2;
        let mut env = Env { engines: &mut bench.engines, pool: &mut bench.pool, now: bench.now };
        bench.shard.handle_timeout(&mut env);
    };
    bench.pool.release(2 * LEN, other);
    tick(&mut bench);
    let first: Vec<_> = bench.drain().iter().map(|(bhs, _)| R2t::decode(bhs).unwrap()).collect();
    assert_eq!(
        first.iter().map(|r2t| r2t.itt).collect::<Vec<_>>(),
        [iscsi_proto::ids::Itt(bench.cmd_sn - 2)],
        "there is room for one more"
    );
    for (sn, data) in [[1; 65536]; LEN / 65536].iter().enumerate() {
        let offset = sn * data.len();
        bench.data_out(
            first[0].itt,
            Some(&first[0]),
            sn as u32,
            offset as u32,
            data,
            offset + data.len() == LEN,
        );
    }
    let opcodes: Vec<u8> = bench.drain().iter().map(|(bhs, _)| bhs[0]).collect();
    assert!(opcodes.contains(&R2t::OPCODE), "the second has its turn: {opcodes:02x?}");
}

#[test]
fn fua_reaches_the_store() {
    let mut bench = Bench::new();
    let mut cdb = write10(0, 1);
    cdb[1] = 0x08;
    bench.command(&cdb, Expect::Out(512, &[1; 512], true));
    assert_eq!(bench.drain().len(), 0, "no answer before it is on the medium");
    bench.settle();
    assert_eq!(bench.drain().len(), 1);
    assert_eq!(bench.log(), ["write 0+512 fua"]);
    bench.command(&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], Expect::Nothing);
    assert_eq!(bench.drain().len(), 0);
    bench.settle();
    assert_eq!(bench.log(), ["flush"]);
    assert_eq!(bench.drain().len(), 1);
}

#[test]
fn size_of_a_written_store_that_may_shrink_is_checked_by_the_tick() {
    for may_shrink in [false, true] {
        let mut bench = Bench::over(SessionParams::default(), |contents| {
            let mut store = store(contents);
            store.capabilities.may_shrink = may_shrink;
            store
        });
        let due = |bench: &mut Bench| bench.shard.poll_timeout(bench.now).is_some();
        bench.command(&read10(0, 1), Expect::In(512));
        assert!(!due(&mut bench), "a read needs no check");
        bench.command(&write10(0, 1), Expect::Out(512, &[1; 512], true));
        assert_eq!(bench.log(), ["write 0+512"]);
        assert_eq!(due(&mut bench), may_shrink);
        for checks in [may_shrink, false] {
            bench.now += TICK;
            let mut env = Env { engines: &mut bench.engines, pool: &mut bench.pool, now: bench.now };
            bench.shard.handle_timeout(&mut env);
            assert_eq!(bench.log(), ["check size"][..usize::from(checks)]);
            assert!(!due(&mut bench));
        }
    }
}

#[test]
fn write_same_and_verify_go_piece_by_piece() {
    for mode in [Mode::Inline, Mode::Later] {
        let mut bench = Bench::new();
        bench.set_mode(mode);
        let pattern: Vec<u8> = (0..512).map(|n| (n % 250) as u8 + 1).collect();
        // WRITE SAME (10), 2048 blocks.
        bench.command(&[0x41, 0, 0, 0, 0, 0, 0, 8, 0, 0], Expect::Out(512, &pattern, true));
        bench.settle();
        let answer = bench.drain();
        assert_eq!(ScsiResponse::decode(&answer[0].0).unwrap().status, 0);
        assert!(bench.bytes(0, 1 << 20).chunks(512).all(|block| block == pattern));
        // VERIFY (10) with BYTCHK 11b: one block against all.
        bench.command(&[0x2f, 0x06, 0, 0, 0, 0, 0, 8, 0, 0], Expect::Out(512, &pattern, true));
        bench.settle();
        assert_eq!(ScsiResponse::decode(&bench.drain()[0].0).unwrap().status, 0);
        bench.store.lock().unwrap().bytes[700_000] ^= 1;
        bench.command(&[0x2f, 0x06, 0, 0, 0, 0, 0, 8, 0, 0], Expect::Out(512, &pattern, true));
        bench.settle();
        let (bhs, sense) = bench.drain().remove(0);
        assert_eq!(ScsiResponse::decode(&bhs).unwrap().status, 2);
        assert_eq!(sense[2 + 2] & 0xf, 0xe, "MISCOMPARE");
        assert_eq!((bench.pool.used_bytes(), bench.shard.running()), (0, 0));
    }
}

#[test]
fn commands_outside_the_window_are_ignored_and_early_ones_wait() {
    let mut bench = Bench::new();
    let send = |bench: &mut Bench, cmd_sn: u32| {
        let mut command = bench.pdu(&[0], Expect::Nothing);
        command.cmd_sn = CmdSn(cmd_sn);
        let mut bhs = [0; 48];
        command.encode(&mut bhs);
        bench.send(&bhs, &[]);
        bench.drain().len()
    };
    let next = bench.cmd_sn;
    assert_eq!(send(&mut bench, next - 1), 0, "seen before");
    assert_eq!(send(&mut bench, next + 100), 0, "beyond the window");
    assert_eq!(send(&mut bench, next + 1), 0, "early");
    assert_eq!(send(&mut bench, next), 2, "the gap is filled");
}

#[test]
fn a_lun_without_a_unit_is_refused() {
    let mut bench = Bench::new();
    let mut command = bench.pdu(&read10(0, 1), Expect::In(512));
    command.lun = [0, 77, 0, 0, 0, 0, 0, 0];
    let mut bhs = [0; 48];
    command.encode(&mut bhs);
    bench.send(&bhs, &[]);
    let (bhs, sense) = bench.drain().remove(0);
    let response = ScsiResponse::decode(&bhs).unwrap();
    assert_eq!((response.status, response.residual), (2, Residual::Underflow(512)));
    assert_eq!((sense[2 + 2] & 0xf, sense[2 + 12]), (5, 0x25), "LOGICAL UNIT NOT SUPPORTED");
}
