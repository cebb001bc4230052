//! An initiator, its commands, and what it knows of its blocks.

use iscsi_proto::ids::Itt;
use tgt_tests::initiator::{Initiator, Reply};

use super::BLOCK;

/// An initiator and the expected contents of its blocks.
pub(super) struct Host {
    pub(super) number: u8,
    pub(super) session: Option<Initiator>,
    /// The number of its target.
    pub(super) target: u32,
    pub(super) stalled: bool,
    /// The stamps that each block may hold: one, or several after writes with an unknown outcome.
    pub(super) blocks: Vec<Vec<u64>>,
    pub(super) running: Vec<Running>,
}

pub(super) struct Running {
    pub(super) itt: Itt,
    pub(super) first: usize,
    pub(super) count: usize,
    /// The stamp that is written; `None` for a read.
    pub(super) stamp: Option<u64>,
}

impl Host {
    pub(super) fn is_busy(&self, first: usize, count: usize) -> bool {
        self.running.iter().any(|other| first < other.first + other.count && other.first < first + count)
    }

    /// These commands will not be answered.
    pub(super) fn lose_all(&mut self) {
        for lost in std::mem::take(&mut self.running) {
            self.lost(&lost);
        }
    }

    pub(super) fn lost(&mut self, lost: &Running) {
        if let Some(stamp) = lost.stamp {
            self.blocks[lost.first..lost.first + lost.count].iter_mut().for_each(|block| block.push(stamp));
        }
    }

    /// Takes the responses that have arrived. Returns the number of reads that were compared.
    pub(super) fn take_ends(&mut self) -> usize {
        let Some(session) = &mut self.session else { return 0 };
        session.poll();
        let mut ended = Vec::new();
        for (index, running) in self.running.iter().enumerate() {
            if let Some(reply) = session.take_reply(running.itt) {
                ended.push((index, reply));
            }
        }
        let mut compared = 0;
        for (index, reply) in ended.into_iter().rev() {
            let running = self.running.swap_remove(index);
            compared += self.ended(&running, &reply);
        }
        if self.session.as_ref().is_some_and(Initiator::is_closed) {
            self.session = None;
            self.lose_all();
        }
        compared
    }

    fn ended(&mut self, running: &Running, reply: &Reply) -> usize {
        if reply.status != 0 {
            self.lost(running);
            return 0;
        }
        let blocks = &mut self.blocks[running.first..running.first + running.count];
        match running.stamp {
            Some(stamp) => blocks.iter_mut().for_each(|block| *block = vec![stamp]),
            None => {
                assert_eq!(reply.data.len(), running.count * BLOCK);
                for (index, (data, possible)) in reply.data.chunks(BLOCK).zip(blocks).enumerate() {
                    let mut front = [0; 8];
                    front.copy_from_slice(&data[..8]);
                    assert!(
                        data.chunks(8).all(|word| word == front),
                        "a block is written whole or not at all"
                    );
                    let found = u64::from_ne_bytes(front);
                    let lba = running.first + index;
                    assert!(possible.contains(&found), "block {lba}: {found}, not one of {possible:?}");
                    *possible = vec![found];
                }
                return 1;
            }
        }
        0
    }
}
