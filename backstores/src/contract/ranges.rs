//! Discard, write zeroes and allocation do what the capabilities say, to their range only.

use scsi_core::store::{BlockOp, Completed, IoError};

use super::{AREA, Subject, pattern, read, unit};
use crate::waiting::Waiting;

pub(super) fn check(subject: &Subject) {
    let can = subject.store().capabilities();
    for may_unmap in [false, true] {
        let zeroing = move |offset, len| BlockOp::WriteZeroes { offset, len, may_unmap };
        if can.write_zeroes {
            only_the_range_changes(subject, zeroing, true);
        } else {
            refused(subject, zeroing(0, AREA));
        }
    }
    let discarding = |offset, len| BlockOp::Discard { offset, len };
    if can.discard {
        only_the_range_changes(subject, discarding, can.discard_zeroes);
    } else {
        refused(subject, discarding(0, AREA));
    }
    if can.allocation {
        holes_read_as_zeroes(subject);
    } else {
        refused(subject, BlockOp::Allocation { offset: 0, len: AREA });
    }
}

fn refused(subject: &Subject, op: BlockOp) {
    assert_eq!(subject.open().run(op).map(drop), Err(IoError::UNSUPPORTED));
}

fn only_the_range_changes(subject: &Subject, op: impl Fn(u64, u64) -> BlockOp, reads_as_zeroes: bool) {
    let mut store = subject.open();
    let unit = unit(subject.store().capabilities().alignment);
    let data = pattern(40, AREA as usize);
    let zeroes = vec![0; AREA as usize];
    // Unaligned ends; both ends aligned for any file system; one of each; the whole area.
    for (offset, len) in
        [(unit, 3 * unit), (128 << 10, 256 << 10), (unit, (512 << 10) - unit), (0, AREA as usize)]
    {
        store.write(0, &data, false).expect("the area is filled");
        let (_, done) = store.run(op(offset as u64, len as u64)).expect("the range is done");
        assert_eq!(done, Completed::Done);
        let now = read(&mut store, 0, AREA as usize);
        let range = offset..offset + len;
        if reads_as_zeroes {
            assert!(now[range.clone()].iter().all(|byte| *byte == 0), "{len} bytes at {offset} are zeroes");
        }
        let kept = subject.kept(&data, &zeroes);
        assert!(now[..range.start] == kept[..range.start], "before {len} bytes at {offset}");
        assert!(now[range.end..] == kept[range.end..], "after {len} bytes at {offset}");
    }
}

fn holes_read_as_zeroes(subject: &Subject) {
    let mut store = subject.open();
    let can = subject.store().capabilities();
    let data = pattern(50, 256 << 10);
    store.write(256 << 10, &data, false).expect("a quarter is filled");
    if can.discard {
        store.run(BlockOp::Discard { offset: 512 << 10, len: 256 << 10 }).expect("a quarter is discarded");
    }
    let unit = unit(can.alignment) as u64;
    for start in [0, unit, 256 << 10, (512 << 10) - unit] {
        let mut offset = start;
        while offset < AREA {
            let (len, hole) = allocation(&mut store, offset, AREA - offset);
            if hole {
                let held = read(&mut store, offset, len as usize);
                assert!(held.iter().all(|byte| *byte == 0), "a hole of {len} bytes at {offset} has data");
            }
            offset += len;
        }
    }
}

fn allocation(store: &mut Waiting, offset: u64, len: u64) -> (u64, bool) {
    match store.run(BlockOp::Allocation { offset, len }) {
        Ok((None, Completed::Allocation { len: same, hole })) => {
            assert!(same > 0 && same <= len, "{same} of {len} bytes at {offset}");
            (same, hole)
        }
        other => panic!("asked for {len} bytes at {offset}: {other:?}"),
    }
}
