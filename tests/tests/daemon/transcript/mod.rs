//! Compares answers with tgt's, byte for byte: each command of `commands.txt`, by tgt's tgtadm and ours, to tgt's daemon
//! and ours; and each record of `records.txt`, which no tgtadm sends. `differences.txt` and `record-differences.txt`
//! list the intended differences with their reasons.

mod player;
mod recording;
mod records;
mod script;

use crate::harness::Brand;
use player::play;
use recording::{compare, compare_or_record, read, recording};

const TGT: &str = "tgt.txt";
const DIFFERENCES: &str = "differences.txt";
const TGT_RECORDS: &str = "record-tgt.txt";
const RECORD_DIFFERENCES: &str = "record-differences.txt";

#[test]
fn tgt_answers_as_recorded() {
    compare_or_record(TGT, &play(&script::parse(&read("commands.txt")), Brand::Tgt, Brand::Tgt));
}

#[track_caller]
fn assert_answers_as_tgt(daemon: Brand, tool: Brand) {
    let entries = play(&script::parse(&read("commands.txt")), daemon, tool);
    compare(daemon, tool, &entries, &recording(TGT), DIFFERENCES);
}

#[test]
fn our_daemon_answers_tgts_tgtadm_as_tgts_does() {
    assert_answers_as_tgt(Brand::Ours, Brand::Tgt);
}

#[test]
fn our_tgtadm_prints_for_tgts_daemon_as_tgts_does() {
    assert_answers_as_tgt(Brand::Tgt, Brand::Ours);
}

#[test]
fn our_tgtadm_prints_for_our_daemon_as_tgts_for_tgts() {
    assert_answers_as_tgt(Brand::Ours, Brand::Ours);
}

#[test]
fn tgt_answers_records_as_recorded() {
    compare_or_record(TGT_RECORDS, &records::play(Brand::Tgt));
}

#[test]
fn our_daemon_answers_records_as_tgts_does() {
    compare(
        Brand::Ours,
        Brand::Tgt,
        &records::play(Brand::Ours),
        &recording(TGT_RECORDS),
        RECORD_DIFFERENCES,
    );
}
