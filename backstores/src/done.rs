//! Completions of operations that finish in `submit`.

use scsi_core::store::{Block, Completed, Completion, IoError, IoTag};

/// The completions between `submit` and `reap` of an engine that never waits.
#[derive(Debug, Default)]
pub(crate) struct DoneQueue(Vec<Completion>);

impl DoneQueue {
    pub(crate) fn push(&mut self, tag: IoTag, block: Option<Block>, result: Result<Completed, IoError>) {
        self.0.push(Completion { tag, block, result });
    }

    pub(crate) fn drain_into(&mut self, done: &mut Vec<Completion>) {
        done.append(&mut self.0);
    }
}
