//! Several loops that serve one target: pairs that share its units, and the messages between them.

use std::time::Duration;

use target_engine::shard::ShardEvent;

use crate::pair::Pair;
use crate::setup::Setup;

/// The loops of one target. They run only in [`Loops::step`], [`Loops::settle`] and [`Loops::advance`].
pub struct Loops {
    pairs: Vec<Pair>,
    resets: Vec<Reset>,
    reset_count: u64,
}

/// A reset that one loop requested from another.
struct Reset {
    sibling: usize,
    id: u64,
    requester: usize,
    /// The requesting loop's number of the reset.
    requester_id: u64,
}

impl Loops {
    /// `count` loops over the same units.
    #[must_use]
    pub fn new(setup: &Setup, count: usize) -> Self {
        let pairs: Vec<Pair> = (0..count).map(|_| Pair::new(setup.clone())).collect();
        for pair in &pairs {
            let mut side = pair.side();
            side.manual = true;
            side.shard.set_siblings(count - 1);
        }
        Self { pairs, resets: Vec::new(), reset_count: 0 }
    }

    /// The loop that serves the initiator with this number.
    #[must_use]
    pub fn of(&self, initiator: usize) -> &Pair {
        &self.pairs[initiator % self.pairs.len()]
    }

    /// All loops.
    pub fn iter(&self) -> impl Iterator<Item = &Pair> {
        self.pairs.iter()
    }

    /// Runs one turn of each loop.
    pub fn step(&mut self) {
        for pair in &self.pairs {
            pair.side().step();
        }
        self.deliver();
    }

    /// Runs all loops until they are idle and no message between them is pending.
    pub fn settle(&mut self) {
        loop {
            self.pairs.iter().for_each(Pair::settle);
            if !self.deliver() {
                return;
            }
        }
    }

    /// Advances the simulated time of all loops.
    pub fn advance(&mut self, time: Duration) {
        self.pairs.iter().for_each(|pair| pair.advance(time));
        self.deliver();
    }

    /// Delivers the messages between the loops. True if there were any.
    fn deliver(&mut self) -> bool {
        let mut messages = Vec::new();
        for (from, pair) in self.pairs.iter().enumerate() {
            messages.extend(std::mem::take(&mut pair.side().events).into_iter().map(|event| (from, event)));
        }
        let any = !messages.is_empty();
        for (from, event) in messages {
            match event {
                ShardEvent::ResetSiblings(reach, requester_id) => {
                    for sibling in (0..self.pairs.len()).filter(|&other| other != from) {
                        self.reset_count += 1;
                        let id = self.reset_count;
                        self.resets.push(Reset { sibling, id, requester: from, requester_id });
                        let mut side = self.pairs[sibling].side();
                        side.with_env(|shard, env| shard.sibling_reset(&reach, id, env));
                        side.step();
                    }
                }
                ShardEvent::ResetDone(id) => {
                    let found = self.resets.iter().position(|reset| (reset.sibling, reset.id) == (from, id));
                    let reset = self.resets.swap_remove(found.expect("a requested reset"));
                    let mut side = self.pairs[reset.requester].side();
                    side.shard.sibling_reset_done(reset.requester_id);
                    side.step();
                }
                _ => {}
            }
        }
        any
    }
}
