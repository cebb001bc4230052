//! Every operation completes exactly once, with its buffer. The event is readable until the completion is reaped.

use std::collections::HashMap;
use std::time::Duration;

use scsi_core::store::{Block, BlockOp, Completion, IoError, IoTag};

use super::{AREA, Random, Subject, pattern, read, unit};
use crate::waiting::{PATIENCE, run_all, wait};

pub(super) fn check(subject: &Subject) {
    check_reads(subject);
    many_operations_complete_once_each(subject);
    cancelled_operations_complete(subject);
    slots_are_reused(subject);
    engines_can_be_dropped_at_any_time(subject);
}

pub(super) fn check_reads(subject: &Subject) {
    let mut store = subject.open();
    let unit = unit(subject.store().capabilities().alignment);
    let mut into = Block::new(4 * unit);
    into.set_len(unit);
    let tag = store.submit(BlockOp::Read { offset: 0, into });
    let done = store.wait_for(1, PATIENCE).expect("a read completes");
    assert_eq!((done.len(), done[0].tag), (1, tag));
    let block = done[0].block.as_ref().expect("with its buffer");
    assert_eq!((block.len(), block.capacity()), (unit, 4 * unit));
    event_becomes_unreadable(&mut store);
}

/// When all operations have completed, the event may stay readable for some more calls of `event_ready` and `reap`, but not
/// for ever: the loop would spin.
fn event_becomes_unreadable(store: &mut crate::waiting::Waiting) {
    let engine = store.engine();
    if engine.event_fd().is_none() {
        return;
    }
    let mut done = Vec::new();
    for _ in 0..100 {
        engine.kick();
        engine.reap(&mut done);
        assert!(done.is_empty(), "no operation completes twice: {done:?}");
        if !wait(engine, Duration::from_millis(1)) {
            return;
        }
    }
    panic!("the event stays readable with nothing to reap");
}

fn many_operations_complete_once_each(subject: &Subject) {
    let mut store = subject.open();
    let unit = unit(subject.store().capabilities().alignment);
    let mut random = Random(3);
    let mut expected: HashMap<IoTag, Option<Vec<u8>>> = HashMap::new();
    let units = AREA / unit as u64;
    for round in 0..3000 {
        let offset = random.below(units) * unit as u64;
        let (op, content) = match random.below(10) {
            0 => (BlockOp::Flush, None),
            1..5 => (BlockOp::Read { offset, into: Block::new(unit) }, Some(Vec::new())),
            _ => {
                let mut from = Block::new(unit);
                from.copy_from_slice(&pattern(round, unit));
                let content = from.to_vec();
                (BlockOp::Write { offset, from, fua: random.below(50) == 0 }, Some(content))
            }
        };
        let tag = store.submit(op);
        expected.insert(tag, content);
    }
    let done = store.wait_for(expected.len(), PATIENCE).unwrap_or_else(|done| {
        panic!("{} of {} operations completed", done.len(), expected.len());
    });
    for Completion { tag, block, result } in done {
        let content =
            expected.remove(&tag).unwrap_or_else(|| panic!("{tag:?} completed twice, or was not submitted"));
        assert!(result.is_ok(), "{tag:?}: {result:?}");
        match (content, block) {
            (None, None) => {}
            (Some(content), Some(block)) => {
                assert_eq!(block.len(), unit);
                assert!(content.is_empty() || *block == *content, "a written buffer was changed");
            }
            (content, block) => panic!("{tag:?}: buffer {} {}", content.is_some(), block.is_some()),
        }
    }
    assert!(expected.is_empty());
    event_becomes_unreadable(&mut store);
}

fn cancelled_operations_complete(subject: &Subject) {
    let mut store = subject.open();
    let unit = unit(subject.store().capabilities().alignment);
    store.engine().cancel(IoTag(u64::MAX));
    for kick_first in [false, true] {
        let tags: Vec<_> = (0..64)
            .map(|i| match i % 2 {
                0 => store.submit(BlockOp::Read { offset: 0, into: Block::new(unit) }),
                _ => store.submit(BlockOp::Flush),
            })
            .collect();
        if kick_first {
            store.engine().kick();
        }
        for tag in &tags {
            store.engine().cancel(*tag);
        }
        let done = store.wait_for(tags.len(), PATIENCE).expect("cancelled operations complete");
        let mut back: Vec<_> = done.iter().map(|completion| completion.tag).collect();
        back.sort_by_key(|tag| tag.0);
        assert_eq!(back, tags);
        for Completion { block, result, .. } in &done {
            assert!(result.is_ok() || *result == Err(IoError::CANCELLED), "{result:?}");
            assert!(block.as_ref().is_none_or(|block| block.len() == unit));
        }
        event_becomes_unreadable(&mut store);
    }
    let data = pattern(60, unit);
    store.write(0, &data, false).expect("the store works after that");
    assert_eq!(read(&mut store, 0, unit), subject.kept(&data, &vec![0; unit]));
}

fn slots_are_reused(subject: &Subject) {
    let store = subject.store();
    let unit = unit(store.capabilities().alignment);
    let mut engines = (subject.engines)();
    let data = pattern(70, unit);
    let mut engine_count = None;
    for _ in 0..100 {
        let port = store.attach(&mut engines).expect("a store can be attached again");
        let count = *engine_count.get_or_insert(engines.len());
        assert_eq!(engines.len(), count, "one engine per kind and loop");
        let engine = engines.engine(port.engine);
        let mut from = Block::new(unit);
        from.copy_from_slice(&data);
        let write = BlockOp::Write { offset: 0, from, fua: false };
        let done = run_all(engine, vec![(port.slot, IoTag(1), write)]);
        assert_eq!(done.len(), 1);
        assert!(done[0].result.is_ok(), "{:?}", done[0].result);
        engine.detach(port.slot);
        assert!(port.slot.0 < 4, "a free slot is reused: slot {}", port.slot.0);
    }
}

fn engines_can_be_dropped_at_any_time(subject: &Subject) {
    let store = subject.store();
    let unit = unit(store.capabilities().alignment);
    for kick in [false, true] {
        let mut engines = (subject.engines)();
        let port = store.attach(&mut engines).expect("attached");
        let engine = engines.engine(port.engine);
        for i in 0..200 {
            let offset = i % (AREA / unit as u64) * unit as u64;
            engine.submit(port.slot, IoTag(i), BlockOp::Read { offset, into: Block::new(unit) });
        }
        if kick {
            engine.kick();
        }
        drop(engines);
    }
    let mut again = subject.attach(&*store);
    let data = pattern(80, unit);
    again.write(0, &data, false).expect("the store works after that");
    assert_eq!(read(&mut again, 0, unit), subject.kept(&data, &vec![0; unit]));
}
