//! Several loops that serve one target: pairs that share its units, and the letters between them.

use std::time::Duration;

use target_engine::target::shard::ShardEvent;

use crate::pair::Pair;
use crate::setup::Setup;

/// The loops of one target. Nothing settles by itself.
pub struct Loops {
    pairs: Vec<Pair>,
    resets: Vec<Reset>,
    reset_count: u64,
}

/// A reset that one loop asked another for.
struct Reset {
    asked: usize,
    id: u64,
    by: usize,
    /// The asker's own number of it.
    theirs: u64,
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

    /// The loop that an initiator is on, by its number.
    #[must_use]
    pub fn of(&self, initiator: usize) -> &Pair {
        &self.pairs[initiator % self.pairs.len()]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Pair> {
        self.pairs.iter()
    }

    /// One turn of each.
    pub fn step(&mut self) {
        for pair in &self.pairs {
            pair.side().step();
        }
        self.deliver();
    }

    /// Until nothing moves and no letter is on its way.
    pub fn settle(&mut self) {
        loop {
            self.pairs.iter().for_each(Pair::settle);
            if !self.deliver() {
                return;
            }
        }
    }

    /// Lets time go by.
    pub fn advance(&mut self, time: Duration) {
        self.pairs.iter().for_each(|pair| pair.advance(time));
        self.deliver();
    }

    /// Whether there were letters.
    fn deliver(&mut self) -> bool {
        let mut letters = Vec::new();
        for (from, pair) in self.pairs.iter().enumerate() {
            letters.extend(std::mem::take(&mut pair.side().events).into_iter().map(|event| (from, event)));
        }
        let any = !letters.is_empty();
        for (from, event) in letters {
            match event {
                ShardEvent::ResetSiblings(reach, theirs) => {
                    for asked in (0..self.pairs.len()).filter(|&other| other != from) {
                        self.reset_count += 1;
                        let id = self.reset_count;
                        self.resets.push(Reset { asked, id, by: from, theirs });
                        let mut side = self.pairs[asked].side();
                        side.with_env(|shard, env| shard.sibling_reset(&reach, id, env));
                        side.step();
                    }
                }
                ShardEvent::ResetDone(id) => {
                    let found = self.resets.iter().position(|reset| (reset.asked, reset.id) == (from, id));
                    let reset = self.resets.swap_remove(found.expect("it was asked for"));
                    let mut side = self.pairs[reset.by].side();
                    side.shard.sibling_reset_done(reset.theirs);
                    side.step();
                }
                _ => {}
            }
        }
        any
    }
}
