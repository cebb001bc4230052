//! Each operation reaches only the store of its slot, also if its engine has several stores.

use scsi_core::store::{Block, BlockOp, Completion, Engines, InlineOp, IoTag, Now, Port};

use super::{Subject, pattern, unit};
use crate::waiting::run_all;

/// The message when the contents of one store are found in the other.
const SAME: &str = "a store's operation reached the other store of its engine, or `make` gave the same store twice \
                    (then `Subject::beside` must give another one)";

pub(super) fn check(subject: &Subject) {
    let (first, second) = (subject.store(), subject.other());
    let mut engines = (subject.engines)();
    let ports = [&first, &second].map(|store| store.attach(&mut engines).expect("a store can be attached"));
    assert_eq!(ports[0].engine, ports[1].engine, "stores of one kind share the loop's engine");
    assert!(ports[0].slot != ports[1].slot || !subject.keeps_data, "each store has a slot of its own");
    let unit = unit(first.capabilities().alignment.max(second.capabilities().alignment));
    let zeroes = vec![0; unit];

    for (round, inline) in [(0, false), (1, true)] {
        let data = [0, 1].map(|store| pattern(90 + 2 * round + store, unit));
        if inline {
            for store in [0, 1] {
                write_now(&mut engines, ports[store], &data[store]);
            }
        } else {
            // Both in one batch.
            let writes = [0, 1].map(|store| {
                let mut from = Block::new(unit);
                from.copy_from_slice(&data[store]);
                (ports[store], BlockOp::Write { offset: 0, from, fua: false })
            });
            run(&mut engines, writes.into());
        }
        for store in [1, 0] {
            let kept = subject.kept(&data[store], &zeroes);
            assert!(read_now(&mut engines, ports[store], unit) == kept, "inline: {SAME}");
        }
        let reads = ports.map(|port| (port, BlockOp::Read { offset: 0, into: Block::new(unit) }));
        let back = run(&mut engines, reads.into());
        for store in [0, 1] {
            let block = back[store].block.as_ref().expect("with its buffer");
            assert!(**block == *subject.kept(&data[store], &zeroes), "submitted: {SAME}");
        }
    }
    engines.engine(ports[0].engine).detach(ports[0].slot);
    let last = pattern(93, unit);
    assert!(
        read_now(&mut engines, ports[1], unit) == subject.kept(&last, &zeroes),
        "detaching one store changed the other"
    );
}

fn write_now(engines: &mut Engines, port: Port, data: &[u8]) {
    let now = engines.engine(port.engine).try_now(port.slot, InlineOp::Write { offset: 0, from: data });
    match now {
        Some(done) => assert_eq!(done, Ok(Now::Moved), "an inline write"),
        None => {
            let mut from = Block::new(data.len());
            from.copy_from_slice(data);
            run(engines, vec![(port, BlockOp::Write { offset: 0, from, fua: false })]);
        }
    }
}

fn read_now(engines: &mut Engines, port: Port, len: usize) -> Vec<u8> {
    let mut into = Block::new(len);
    match engines.engine(port.engine).try_now(port.slot, InlineOp::Read { offset: 0, into: &mut into }) {
        Some(Ok(Now::Moved)) => into.to_vec(),
        Some(Ok(Now::Zeroes)) => vec![0; len],
        Some(Err(error)) => panic!("an inline read: {error}"),
        None => {
            let done = run(engines, vec![(port, BlockOp::Read { offset: 0, into })]);
            done[0].block.as_ref().expect("with its buffer").to_vec()
        }
    }
}

/// Submits operations in one batch and returns their completions in the order of submission.
fn run(engines: &mut Engines, ops: Vec<(Port, BlockOp)>) -> Vec<Completion> {
    let engine = engines.engine(ops[0].0.engine);
    let tagged = |(number, (port, op)): (usize, (Port, BlockOp))| (port.slot, IoTag(number as u64), op);
    let mut done = run_all(engine, ops.into_iter().enumerate().map(tagged).collect());
    done.sort_by_key(|completion: &Completion| completion.tag.0);
    for Completion { tag, result, .. } in &done {
        assert!(result.is_ok(), "{tag:?}: {result:?}");
    }
    done
}
