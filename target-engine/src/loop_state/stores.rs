//! What a loop does for the engines of its stores: it takes completions and notices, and calls them when their descriptors
//! are readable and their timeouts are due.

use scsi_core::store::{EngineIndex, Engines};

use super::LoopState;
use super::effect::Effect;
use super::stream::ByteStream;
use crate::keys::shard_of;
use crate::limits::REAPS_PER_TURN;

impl<S: ByteStream, A: Clone> LoopState<S, A> {
    /// The engines of the stores. New ones appear with their first store.
    #[must_use]
    pub fn engines(&self) -> &Engines {
        &self.resources.engines
    }

    /// A descriptor that is readable when this engine has completions; see [`Engines::event_fd`].
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn event_fd(&mut self, engine: EngineIndex) -> std::io::Result<Option<std::os::fd::OwnedFd>> {
        self.resources.engines.event_fd(engine)
    }

    /// The event descriptor of an engine is readable. Its completions are taken in this turn.
    pub fn engine_ready(&mut self, engine: EngineIndex) {
        self.resources.engines.set_ready(engine);
    }

    /// Handles completions, until there are none or other connections must have their turn. Returns their number.
    pub(super) fn reap(&mut self) -> usize {
        let mut count = 0;
        self.more_done = false;
        for _ in 0..REAPS_PER_TURN {
            let mut done = std::mem::take(&mut self.done);
            self.resources.engines.reap(self.resources.now, &mut done);
            if done.is_empty() {
                self.done = done;
                if self.resources.engines.take_lost() {
                    self.fail_lost();
                }
                return count;
            }
            count += done.len();
            for completion in done.drain(..) {
                let index = usize::from(shard_of(completion.tag));
                let Some(served) = self.targets.get_mut(index) else {
                    let (id, tag) = (self.id.0, completion.tag.0);
                    let text =
                        format_args!("loop {id}: a store completed an unknown operation, tag {tag:#x}");
                    self.warnings.log(self.resources.now, log::Level::Error, text);
                    continue;
                };
                served.shard.complete(completion, &mut self.resources.env());
                if !std::mem::replace(&mut served.completed, true) {
                    self.completed.push(index);
                }
            }
            self.done = done;
            let mut completed = std::mem::take(&mut self.completed);
            for index in completed.drain(..) {
                if let Some(served) = self.targets.get_mut(index) {
                    served.completed = false;
                }
                self.after(index, None);
            }
            self.completed = completed;
        }
        self.more_done = true;
        count
    }

    /// Engines have panicked: fails their operations.
    #[cold]
    fn fail_lost(&mut self) {
        self.effects.push_back(Effect::EnginesFailed);
        for index in 0..self.targets.capacity() {
            let Some(served) = self.targets.get_mut(index) else { continue };
            served.shard.fail_lost(&mut self.resources.env());
            self.after(index, None);
        }
        // The commands that follow may be lost, too.
        self.more_done = true;
    }

    /// Gives each notice of a store to the units of the store.
    #[cold]
    pub(super) fn forward_notices(&mut self) {
        for (port, notice) in self.resources.engines.take_notices() {
            for index in 0..self.targets.capacity() {
                let Some(served) = self.targets.get_mut(index) else { continue };
                served.shard.notice(port, notice, self.resources.now);
                self.after(index, None);
            }
        }
    }
}
