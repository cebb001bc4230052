//! Records the operations of a store in a journal, so that a test can assert their order: for example, that a flush
//! completed before its response was sent.

use std::sync::Arc;

use parking_lot::Mutex;
use scsi_core::store::{Backstore, Completion, Engines, IoError, IoTag, Now, Port};

use super::What;
use super::hook::{self, Hook};

/// A layer that records operations in a journal.
pub struct Log {
    below: Arc<dyn Backstore>,
    journal: Arc<Journal>,
}

/// A list of events in order. Several layers may share it with the test, which can add notes.
#[derive(Debug, Default)]
pub struct Journal(Mutex<Vec<Entry>>);

/// One event in a journal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Entry {
    /// An inline operation was done or failed.
    Now {
        /// The operation without its payload.
        what: What,
        /// How the operation ended.
        result: Result<(), IoError>,
    },
    /// An operation was submitted.
    Submitted {
        /// The tag of the operation.
        tag: IoTag,
        /// The operation without its payload.
        what: What,
    },
    /// A submitted operation completed.
    Completed {
        /// The tag of the operation.
        tag: IoTag,
        /// The operation without its payload.
        what: What,
        /// How the operation ended.
        result: Result<(), IoError>,
    },
    /// A note of the test.
    Note(String),
}

impl Log {
    /// Returns a layer over `below` that records in `journal`.
    #[must_use]
    pub fn new(below: Arc<dyn Backstore>, journal: Arc<Journal>) -> Self {
        Self { below, journal }
    }
}

impl Journal {
    /// Returns an empty journal.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        Arc::default()
    }

    /// Adds a note.
    pub fn note(&self, text: impl Into<String>) {
        self.add(Entry::Note(text.into()));
    }

    /// Returns a copy of all entries.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.0.lock().clone()
    }

    /// Returns all entries and empties the journal.
    #[must_use]
    pub fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut *self.0.lock())
    }

    /// Returns the index of the first entry that `wanted` accepts.
    #[must_use]
    pub fn position(&self, wanted: impl FnMut(&Entry) -> bool) -> Option<usize> {
        self.0.lock().iter().position(wanted)
    }

    fn add(&self, entry: Entry) {
        self.0.lock().push(entry);
    }
}

impl Backstore for Log {
    pass_below!();

    fn attach(&self, engines: &mut Engines) -> Result<Port, IoError> {
        hook::attach(&self.journal, &*self.below, engines)
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("journal", &self.journal).finish_non_exhaustive()
    }
}

impl Hook for Journal {
    fn before_now(&self, _what: What) -> Option<Result<Now, IoError>> {
        None
    }

    fn after_now(&self, what: What, done: &mut Option<Result<Now, IoError>>) {
        if let Some(done) = done {
            self.add(Entry::Now { what, result: done.map(drop) });
        }
    }

    fn before(&self, tag: IoTag, what: What) -> Result<(), IoError> {
        self.add(Entry::Submitted { tag, what });
        Ok(())
    }

    fn after(&self, what: What, completion: &mut Completion) {
        self.add(Entry::Completed { tag: completion.tag, what, result: completion.result.map(drop) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{self, Subject};
    use crate::layer::OpKind;
    use crate::memory::Memory;
    use crate::waiting::Waiting;
    use scsi_core::store::{BlockOp, InlineOp};

    #[test]
    fn keeps_the_contract() {
        contract::check(&Subject::new(|| {
            Arc::new(Log::new(Arc::new(Memory::new(1 << 20)), Journal::shared()))
        }));
    }

    #[test]
    fn journal_has_operations_and_notes_in_order() {
        let journal = Journal::shared();
        let log = Log::new(Arc::new(Memory::new(1 << 20)), journal.clone());
        let mut store = Waiting::new(&log).unwrap();
        store.write(512, &[1; 1024], true).unwrap();
        journal.note("answered");
        let _ = store.try_now(InlineOp::Read { offset: 0, into: &mut [0; 512] });
        let _ = store.run(BlockOp::Flush);
        let write = What { kind: OpKind::Write, offset: 512, len: 1024, fua: true };
        let read = What { kind: OpKind::Read, offset: 0, len: 512, fua: false };
        let flush = What { kind: OpKind::Flush, offset: 0, len: 0, fua: false };
        let expected = [
            Entry::Submitted { tag: IoTag(1), what: write },
            Entry::Completed { tag: IoTag(1), what: write, result: Ok(()) },
            Entry::Note("answered".into()),
            Entry::Now { what: read, result: Ok(()) },
            Entry::Submitted { tag: IoTag(2), what: flush },
            Entry::Completed { tag: IoTag(2), what: flush, result: Ok(()) },
        ];
        assert_eq!(journal.position(|entry| matches!(entry, Entry::Note(_))), Some(2));
        assert_eq!(journal.take(), expected);
        assert_eq!(journal.entries(), []);
    }
}
