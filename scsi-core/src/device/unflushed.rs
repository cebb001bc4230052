//! The writes of a nexus that no flush has covered, for stores that may lose them with a connection.

use crate::store::IoError;

/// The writes of a nexus that no flush has covered.
#[derive(Debug, Default)]
pub(super) struct Unflushed {
    /// Number of flushes that have begun.
    begun: u32,
    /// How many flushes had begun when the last write ended that no flush has covered.
    written: Option<u32>,
    /// Number of writes that have begun and not ended.
    writing: u32,
    /// The next flush fails.
    forgotten: bool,
}

/// What the running step of a command does to the cache of the store.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum CacheUse {
    /// Nothing.
    #[default]
    None,
    /// Writes to the cache, or to the medium.
    Write {
        /// The data is on the medium when the step ends.
        durable: bool,
    },
    /// Flushes the cache; the flush of this number.
    Flush(u32),
}

impl Unflushed {
    /// A write begins.
    #[inline]
    pub(super) fn write_begins(&mut self) {
        self.writing += 1;
    }

    /// A write ends, in any way.
    #[inline]
    pub(super) fn write_ends(&mut self, durable: bool) {
        self.writing = self.writing.saturating_sub(1);
        if !durable {
            self.written = Some(self.begun);
        }
    }

    /// A flush begins. Returns its number.
    pub(super) fn flush_begins(&mut self) -> u32 {
        self.begun = self.begun.wrapping_add(1);
        self.begun
    }

    /// The flush of this number has succeeded at the store: it covers the writes that ended before it began.
    ///
    /// # Errors
    /// [`IoError::FORGOTTEN`] if earlier writes may be lost; only once.
    pub(super) fn flush_ends(&mut self, number: u32) -> Result<(), IoError> {
        if self.written.is_some_and(|written| (number.wrapping_sub(written)).cast_signed() > 0) {
            self.written = None;
        }
        if std::mem::take(&mut self.forgotten) { Err(IoError::FORGOTTEN) } else { Ok(()) }
    }

    /// The cache of the store may be lost. Returns whether the next flush fails because of it.
    pub(super) fn forget(&mut self) -> bool {
        self.forgotten |= self.written.take().is_some() || self.writing > 0;
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A nexus with one write that has ended.
    fn written() -> Unflushed {
        let mut unflushed = Unflushed::default();
        unflushed.write_begins();
        unflushed.write_ends(false);
        unflushed
    }

    fn flush(unflushed: &mut Unflushed) -> Result<(), IoError> {
        let number = unflushed.flush_begins();
        unflushed.flush_ends(number)
    }

    #[test]
    fn one_flush_fails_after_uncovered_writes_were_lost() {
        let mut unflushed = written();
        assert!(unflushed.forget());
        assert_eq!(flush(&mut unflushed), Err(IoError::FORGOTTEN));
        assert_eq!(flush(&mut unflushed), Ok(()));
        assert!(!unflushed.forget(), "nothing was written since");
    }

    #[test]
    fn nothing_is_lost_without_uncovered_writes() {
        assert!(!Unflushed::default().forget());
        let mut flushed = written();
        assert_eq!(flush(&mut flushed), Ok(()));
        assert!(!flushed.forget());
        let mut durable = Unflushed::default();
        durable.write_begins();
        durable.write_ends(true);
        assert!(!durable.forget());
    }

    #[test]
    fn flush_covers_no_write_that_ends_after_its_beginning() {
        let mut unflushed = written();
        unflushed.write_begins();
        let number = unflushed.flush_begins();
        unflushed.write_ends(false);
        assert_eq!(unflushed.flush_ends(number), Ok(()));
        assert!(unflushed.forget());
    }

    #[test]
    fn write_that_runs_when_the_cache_is_lost_counts() {
        let mut unflushed = written();
        unflushed.write_begins();
        assert_eq!(flush(&mut unflushed), Ok(()));
        assert!(unflushed.forget());
        unflushed.write_ends(false);
        assert_eq!(flush(&mut unflushed), Err(IoError::FORGOTTEN));
    }

    #[test]
    fn flush_that_runs_when_the_cache_is_lost_fails_and_no_other() {
        let mut unflushed = written();
        let numbers = [unflushed.flush_begins(), unflushed.flush_begins()];
        assert!(unflushed.forget());
        assert_eq!(unflushed.flush_ends(numbers[1]), Err(IoError::FORGOTTEN));
        assert_eq!(unflushed.flush_ends(numbers[0]), Ok(()));
    }
}
