//! Fails selected operations, before or after the store below has done them.

use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;
use scsi_core::store::{Backstore, Completion, Engines, IoError, IoTag, Now, Port};

use super::hook::{self, Hook};
use super::{OpKind, What};

/// A layer that fails operations by rules.
pub struct Fault {
    below: Arc<dyn Backstore>,
    rules: Arc<Rules>,
}

/// Which operations fail, how often, and with which error.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    kind: OpKind,
    error: IoError,
    range: Range<u64>,
    times: u32,
    after: bool,
}

impl Fault {
    /// Returns a layer over `below` without rules.
    #[must_use]
    pub fn new(below: Arc<dyn Backstore>) -> Self {
        Self { below, rules: Arc::default() }
    }

    /// Adds a rule. The first rule that matches an operation is applied.
    pub fn arm(&self, rule: Rule) {
        self.rules.0.lock().push(rule);
    }

    /// Removes all rules.
    pub fn disarm(&self) {
        self.rules.0.lock().clear();
    }

    /// Whether a rule can still fail an operation.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.rules.0.lock().iter().any(|rule| rule.times > 0)
    }
}

impl Rule {
    /// Returns a rule: every operation of `kind` fails with `error` and is not done.
    #[must_use]
    pub fn new(kind: OpKind, error: IoError) -> Self {
        Self { kind, error, range: 0..u64::MAX, times: u32::MAX, after: false }
    }

    /// Limits the rule to operations that touch a byte of `range`. A flush touches byte 0.
    #[must_use]
    pub fn touching(mut self, range: Range<u64>) -> Self {
        self.range = range;
        self
    }

    /// Limits the rule to a number of failures.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// Makes operations fail after the store below has done them.
    #[must_use]
    pub fn after_the_fact(mut self) -> Self {
        self.after = true;
        self
    }

    fn matches(&self, what: What, after: bool) -> bool {
        let end = what.offset.saturating_add(what.len.max(1));
        self.times > 0
            && self.after == after
            && self.kind == what.kind
            && what.offset < self.range.end
            && end > self.range.start
    }
}

impl Backstore for Fault {
    pass_below!();

    fn attach(&self, engines: &mut Engines) -> Result<Port, IoError> {
        hook::attach(&self.rules, &*self.below, engines)
    }
}

impl std::fmt::Debug for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fault").field("rules", &*self.rules.0.lock()).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Rules(Mutex<Vec<Rule>>);

impl Rules {
    fn fault(&self, what: What, after: bool) -> Option<IoError> {
        let mut rules = self.0.lock();
        let rule = rules.iter_mut().find(|rule| rule.matches(what, after))?;
        if rule.times != u32::MAX {
            rule.times -= 1;
        }
        Some(rule.error)
    }
}

impl Hook for Rules {
    fn before_now(&self, what: What) -> Option<Result<Now, IoError>> {
        self.fault(what, false).map(Err)
    }

    fn after_now(&self, what: What, done: &mut Option<Result<Now, IoError>>) {
        if let Some(Ok(_)) = done
            && let Some(error) = self.fault(what, true)
        {
            *done = Some(Err(error));
        }
    }

    fn before(&self, _tag: IoTag, what: What) -> Result<(), IoError> {
        self.fault(what, false).map_or(Ok(()), Err)
    }

    fn after(&self, what: What, completion: &mut Completion) {
        if completion.result.is_ok()
            && let Some(error) = self.fault(what, true)
        {
            completion.result = Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{self, Subject};
    use crate::memory::Memory;
    use crate::waiting::Waiting;
    use scsi_core::store::InlineOp;

    fn fault() -> (Fault, Waiting) {
        let fault = Fault::new(Arc::new(Memory::new(1 << 20)));
        let store = Waiting::new(&fault).unwrap();
        (fault, store)
    }

    #[test]
    fn keeps_the_contract_without_rules() {
        contract::check(&Subject::new(|| Arc::new(Fault::new(Arc::new(Memory::new(1 << 20))))));
    }

    #[test]
    fn rule_fails_operations_in_its_range_as_often_as_it_says() {
        let (fault, mut store) = fault();
        fault.arm(Rule::new(OpKind::Write, IoError::NO_SPACE).touching(4096..4097).times(2));
        assert_eq!(store.write(0, &[1; 4096], false), Ok(()));
        assert_eq!(store.write(2048, &[2; 4096], false), Err(IoError::NO_SPACE));
        assert_eq!(
            store.try_now(InlineOp::Write { offset: 4096, from: &[3; 512] }),
            Some(Err(IoError::NO_SPACE))
        );
        assert!(!fault.is_armed());
        assert_eq!(store.write(4096, &[4; 512], false), Ok(()));
        assert_eq!(store.read(2048, 512).unwrap()[0], 1, "the store below did not do the failed write");
    }

    #[test]
    fn operation_can_fail_after_it_was_done() {
        let (fault, mut store) = fault();
        fault.arm(Rule::new(OpKind::Write, IoError::medium(0)).after_the_fact());
        assert_eq!(store.write(0, &[1; 512], false), Err(IoError::medium(0)));
        fault.disarm();
        assert_eq!(store.read(0, 512).unwrap()[0], 1);
    }
}
