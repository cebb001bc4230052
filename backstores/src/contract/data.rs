//! Reads return what was written: inline and submitted, in any order, by every loop.

use scsi_core::store::{Block, BlockOp, InlineOp, Now};

use super::{AREA, Random, Subject, pattern, read, unit};

pub(super) fn check(subject: &Subject) {
    inline_and_submitted_operations_agree(subject);
    random_operations_agree_with_a_model(subject);
    lengths_below_a_sector_are_exact(subject);
    if !subject.store().capabilities().one_loop {
        one_loop_reads_what_another_wrote(subject);
    }
    writes_to_the_medium_are_read(subject);
}

fn inline_and_submitted_operations_agree(subject: &Subject) {
    let mut store = subject.open();
    let unit = unit(subject.store().capabilities().alignment);
    let zeroes = vec![0; 16 * unit];
    for (seed, len) in [(1, unit), (2, 16 * unit)] {
        let data = pattern(seed, len);
        store.write(0, &data, false).expect("a write is done");
        assert_eq!(read(&mut store, 0, len), subject.kept(&data, &zeroes), "submitted, {len} bytes");

        let mut from = Block::new(len);
        from.copy_from_slice(&pattern(seed + 10, len));
        match store.try_now(InlineOp::Write { offset: 0, from: &from }) {
            Some(done) => assert_eq!(done, Ok(Now::Moved), "an inline write"),
            None => store.write(0, &from, false).expect("a write that was declined inline can be submitted"),
        }
        let back = store.read(0, len).expect("a read is done");
        assert_eq!(*back, *subject.kept(&from, &zeroes), "inline, {len} bytes");
    }
}

fn random_operations_agree_with_a_model(subject: &Subject) {
    let mut store = subject.open();
    let unit = unit(subject.store().capabilities().alignment);
    let zeroes = vec![0; AREA as usize];
    store.write(0, &zeroes, false).expect("the area is cleared");
    let mut model = zeroes.clone();
    let mut random = Random(7);
    let units = AREA / unit as u64;
    for round in 0..300 {
        let first = random.below(units);
        let len = unit * (1 + random.below((units - first).min(40)) as usize);
        let offset = first * unit as u64;
        let range = offset as usize..offset as usize + len;
        if random.below(2) == 0 {
            let data = pattern(1000 + round, len);
            match random.below(3) {
                0 => {
                    let done = store.try_now(InlineOp::Write { offset, from: &data });
                    match done {
                        Some(done) => assert_eq!(done, Ok(Now::Moved)),
                        None => store.write(offset, &data, false).expect("declined, submitted"),
                    }
                }
                1 => store.write(offset, &data, true).expect("written through"),
                _ => store.write(offset, &data, false).expect("written"),
            }
            model[range].copy_from_slice(&data);
        } else {
            let expected = subject.kept(&model[range], &zeroes);
            assert!(read(&mut store, offset, len) == expected, "round {round}: {len} bytes at {offset}");
        }
    }
    store.flush().expect("a flush is done");
    assert!(read(&mut store, 0, AREA as usize) == subject.kept(&model, &zeroes), "the whole area");
}

/// An initiator may transfer fewer bytes than its command has blocks for (EDTL).
fn lengths_below_a_sector_are_exact(subject: &Subject) {
    let mut store = subject.open();
    let alignment = subject.store().capabilities().alignment as usize;
    if alignment >= 512 {
        return;
    }
    let zeroes = vec![0; 2048];
    let mut model = pattern(80, 2048);
    store.write(0, &model, false).expect("the sectors are filled");
    for (round, len) in [1, 2, 7, 100, 255, 511, 513, 1000].into_iter().enumerate() {
        let (offset, len) = (512, usize::next_multiple_of(len, alignment));
        let range = offset..offset + len;
        let data = pattern(81 + round as u64, len);
        if round % 2 == 0 {
            store.write(offset as u64, &data, false).expect("a short write is done");
        } else if let Some(done) = store.try_now(InlineOp::Write { offset: offset as u64, from: &data }) {
            assert_eq!(done, Ok(Now::Moved), "a short inline write");
        } else {
            store.write(offset as u64, &data, false).expect("declined, submitted");
        }
        model[range.clone()].copy_from_slice(&data);
        let expected = subject.kept(&model[range], &zeroes);
        assert!(read(&mut store, offset as u64, len) == expected, "{len} bytes at {offset}");
        let block = store.read(offset as u64, len).expect("a short read is done");
        assert!(*block == *expected, "{len} bytes at {offset}, submitted");
        assert!(read(&mut store, 0, 2048) == subject.kept(&model, &zeroes), "around {len} bytes at {offset}");
    }
}

fn one_loop_reads_what_another_wrote(subject: &Subject) {
    let store = subject.store();
    let mut here = subject.attach(&*store);
    let mut there = subject.attach(&*store);
    let unit = unit(store.capabilities().alignment);
    let zeroes = vec![0; unit];
    for seed in 20..24 {
        let data = pattern(seed, unit);
        here.write(0, &data, false).expect("a write is done");
        assert_eq!(read(&mut there, 0, unit), subject.kept(&data, &zeroes));
    }
}

fn writes_to_the_medium_are_read(subject: &Subject) {
    let mut store = subject.open();
    let unit = unit(subject.store().capabilities().alignment);
    let data = pattern(30, 4 * unit);
    store.write(0, &data, true).expect("a write to the medium is done");
    store.run(BlockOp::Flush).expect("a flush is done");
    assert_eq!(read(&mut store, 0, 4 * unit), subject.kept(&data, &vec![0; 4 * unit]));
}
