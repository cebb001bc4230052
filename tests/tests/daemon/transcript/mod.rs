//! Stock's answers, byte for byte: each command of `commands.txt`, by stock's tgtadm and ours, to stock's daemon and
//! ours; and each record of `records.txt`, which no tgtadm sends. What differs on purpose stands in
//! `differences.txt` and `record-differences.txt`, each with its reason.

mod book;
mod player;
mod records;
mod script;

use crate::harness::Brand;
use book::{hold, hold_or_write, read, recording};
use player::play;

const STOCK: &str = "stock.txt";
const DIFFERENCES: &str = "differences.txt";
const STOCK_RECORDS: &str = "record-stock.txt";
const RECORD_DIFFERENCES: &str = "record-differences.txt";

#[test]
fn stock_does_what_its_recording_says() {
    hold_or_write(STOCK, &play(&script::parse(&read("commands.txt")), Brand::Stock, Brand::Stock));
}

#[track_caller]
fn answers_as_stock(daemon: Brand, tool: Brand) {
    let entries = play(&script::parse(&read("commands.txt")), daemon, tool);
    hold(daemon, tool, &entries, &recording(STOCK), DIFFERENCES);
}

#[test]
fn a_stock_tgtadm_cannot_tell_our_daemon_from_stocks() {
    answers_as_stock(Brand::Ours, Brand::Stock);
}

#[test]
fn our_tgtadm_says_of_a_stock_daemon_what_stocks_says() {
    answers_as_stock(Brand::Stock, Brand::Ours);
}

#[test]
fn our_tgtadm_and_our_daemon_are_together_what_stocks_are() {
    answers_as_stock(Brand::Ours, Brand::Ours);
}

#[test]
fn stock_answers_records_as_its_recording_says() {
    hold_or_write(STOCK_RECORDS, &records::play(Brand::Stock));
}

#[test]
fn our_daemon_answers_records_as_stocks_does_where_that_does_not_crash() {
    hold(
        Brand::Ours,
        Brand::Stock,
        &records::play(Brand::Ours),
        &recording(STOCK_RECORDS),
        RECORD_DIFFERENCES,
    );
}
