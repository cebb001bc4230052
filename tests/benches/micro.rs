//! Micro-benchmarks of codecs, digests, negotiation and the engine: `cargo bench -p tgt-tests`.

use std::hint::black_box;

use bytes::BytesMut;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use iscsi_proto::frame::{Digests, Limits, cut, data_digest, encode_pdu};
use iscsi_proto::ids::Itt;
use iscsi_proto::pdu::{BHS_LEN, Bhs, DataIn, DataInStatus, Residual, ScsiCommand, TaskAttribute};
use iscsi_proto::sn::{CmdSn, DataSn, StatSn};
use iscsi_proto::text::keys::Role;
use iscsi_proto::text::negotiate::{Negotiation, Preferences};
use iscsi_proto::text::{TextBuilder, TextLimits, pairs};
use scsi_core::cdb;
use tgt_tests::bare::{BATCH, Bare, Batch, Store};

fn main() {
    divan::main();
}

const READ_10: [u8; 16] = [0x28, 0, 0, 0, 0, 8, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0];
const READ_16: [u8; 16] = [0x88, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0];

fn read_command() -> Bhs {
    let command = ScsiCommand {
        immediate: false,
        last: true,
        read: true,
        write: false,
        attribute: TaskAttribute::Simple,
        lun: [0, 1, 0, 0, 0, 0, 0, 0],
        itt: Itt(7),
        expected_len: 4096,
        cmd_sn: CmdSn(9),
        exp_stat_sn: StatSn(11),
        cdb: READ_10,
    };
    let mut bhs = [0; BHS_LEN];
    command.encode(&mut bhs);
    bhs
}

#[divan::bench(sample_size = 1000)]
fn scsi_command_decode(bencher: Bencher<'_, '_>) {
    let bhs = read_command();
    bencher.counter(ItemsCount::new(1_usize)).bench(|| ScsiCommand::decode(black_box(&bhs)));
}

#[divan::bench(sample_size = 1000)]
fn data_in_encode(bencher: Bencher<'_, '_>) {
    let data_in = DataIn {
        last: true,
        acknowledge: false,
        status: Some(DataInStatus { status: 0, residual: Residual::None, stat_sn: StatSn(3) }),
        lun: [0; 8],
        itt: Itt(7),
        ttt: None,
        exp_cmd_sn: CmdSn(10),
        max_cmd_sn: CmdSn(42),
        data_sn: DataSn(0),
        buffer_offset: 0,
    };
    let mut bhs = [0; BHS_LEN];
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| black_box(&data_in).encode(black_box(&mut bhs)));
}

#[divan::bench(args = [false, true], sample_size = 1000)]
fn frame_cut(bencher: Bencher<'_, '_>, header_digest: bool) {
    let digests = Digests { header: header_digest, data: false };
    let mut bytes = BytesMut::new();
    encode_pdu(&mut bytes, &read_command(), &[], &[], digests);
    let limits = Limits::default();
    bencher.counter(ItemsCount::new(1_usize)).bench(|| cut(black_box(&bytes), digests, &limits).is_ok());
}

#[divan::bench(args = [4 << 10, 128 << 10])]
fn digest(bencher: Bencher<'_, '_>, len: usize) {
    let data: Vec<u8> = (0..len).map(|at| at as u8).collect();
    bencher.counter(BytesCount::new(len)).bench(|| data_digest([black_box(&data[..])]));
}

#[divan::bench(args = [10, 16], sample_size = 1000)]
fn cdb_decode(bencher: Bencher<'_, '_>, width: usize) {
    let cdb = if width == 10 { READ_10 } else { READ_16 };
    bencher.counter(ItemsCount::new(1_usize)).bench(|| cdb::decode(black_box(&cdb)).is_ok());
}

/// The target's side of a negotiation with the offer of a Linux initiator.
#[divan::bench]
fn negotiate(bencher: Bencher<'_, '_>) {
    const OFFER: &[u8] = b"HeaderDigest=None,CRC32C\0DataDigest=None\0InitialR2T=No\0ImmediateData=Yes\0\
        MaxRecvDataSegmentLength=262144\0MaxBurstLength=16776192\0FirstBurstLength=262144\0MaxConnections=1\0\
        MaxOutstandingR2T=1\0DataPDUInOrder=Yes\0DataSequenceInOrder=Yes\0DefaultTime2Wait=2\0\
        DefaultTime2Retain=0\0ErrorRecoveryLevel=0\0";
    bencher.counter(BytesCount::new(OFFER.len())).bench(|| {
        let mut negotiation = Negotiation::new(Role::Target, Preferences::default());
        let mut answer = TextBuilder::new();
        for pair in pairs(black_box(OFFER), &TextLimits::default()).flatten() {
            let _ = black_box(negotiation.receive(pair.0, pair.1, &mut answer));
        }
        answer.finish()
    });
}

/// A batch of commands from the bytes of the requests to the bytes of the responses; counts commands.
fn turn(bencher: Bencher<'_, '_>, store: Store, mut batch: Batch) {
    let mut bare = Bare::new(store);
    // Fills the blocks that are read.
    bare.run(&mut Batch::writes(4096));
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| bare.run(&mut batch));
}

#[divan::bench(args = [Store::Null, Store::Memory])]
fn turn_of_4k_reads(bencher: Bencher<'_, '_>, store: Store) {
    turn(bencher, store, Batch::reads(4096));
}

#[divan::bench(args = [Store::Null, Store::Memory])]
fn turn_of_4k_writes(bencher: Bencher<'_, '_>, store: Store) {
    turn(bencher, store, Batch::writes(4096));
}
