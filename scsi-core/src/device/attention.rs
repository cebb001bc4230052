//! Unit attention conditions (SAM-5 5.14).
//!
//! The unit keeps a bounded log of events. When a port sees a new generation of the unit, it copies the new events to the
//! pending conditions of its nexuses. A nexus that missed events, because the log has dropped them, gets a reset condition,
//! which covers all of them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Nexus, NexusId, NexusName};
use crate::sense::AdditionalSense;

/// The latest events of a unit, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct AttentionLog {
    /// Number of the next event.
    next: u64,
    events: VecDeque<Event>,
}

#[derive(Clone, Debug)]
struct Event {
    code: AdditionalSense,
    to: Recipients,
}

#[derive(Clone, Debug)]
enum Recipients {
    /// All nexuses, except for the one that caused the event.
    AllBut(Option<NexusId>),
    /// The nexuses with these names.
    Only(Arc<[NexusName]>),
}

/// The unit attention conditions that are pending for a nexus.
#[derive(Debug)]
pub(super) struct Pending {
    /// Events below this number were copied.
    seen: u64,
    codes: Vec<AdditionalSense>,
}

/// Events of a unit that wait until every nexus has seen them.
///
/// Hit by: initiator. Scope: unit. Over it: the oldest is dropped; a nexus that has not seen it gets POWER ON
/// OCCURRED. Seen: nowhere.
const UNIT_EVENTS_MAX: usize = 64;
/// Unit attention conditions that wait for a nexus.
///
/// Hit by: initiator. Scope: nexus and unit. Over it: all are replaced by one POWER ON OCCURRED. Seen:
/// nowhere.
const PENDING_MAX: usize = 16;
const POWER_ON: AdditionalSense = AdditionalSense::POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED;

impl AttentionLog {
    /// Adds an event for all nexuses, except for the one that caused it.
    pub(super) fn push(&mut self, code: AdditionalSense, except: Option<NexusId>) {
        self.add(Event { code, to: Recipients::AllBut(except) });
    }

    /// Adds an event for the nexuses with these names.
    pub(super) fn push_to(&mut self, code: AdditionalSense, nexuses: Arc<[NexusName]>) {
        if !nexuses.is_empty() {
            self.add(Event { code, to: Recipients::Only(nexuses) });
        }
    }

    fn add(&mut self, event: Event) {
        if self.events.len() == UNIT_EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
        self.next += 1;
    }

    /// Events from number `seen` on; `None` if the log has dropped some of them.
    fn since(&self, seen: u64) -> Option<impl Iterator<Item = &Event>> {
        let behind = usize::try_from(self.next - seen).ok()?;
        Some(self.events.iter().skip(self.events.len().checked_sub(behind)?))
    }
}

impl Recipients {
    fn includes(&self, nexus: &Nexus) -> bool {
        match self {
            Self::AllBut(except) => *except != Some(nexus.id),
            Self::Only(names) => names.iter().any(|name| name.is_of(nexus)),
        }
    }
}

impl Pending {
    /// The conditions of a new nexus: a power on condition, and events from now on.
    pub(super) fn power_on(log: &AttentionLog) -> Self {
        Self { seen: log.next, codes: vec![POWER_ON] }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// Copies the new events that concern the nexus.
    pub(super) fn catch_up(&mut self, log: &AttentionLog, me: &Nexus) {
        match log.since(self.seen) {
            Some(events) => {
                events.filter(|event| event.to.includes(me)).for_each(|event| self.add(event.code))
            }
            None => self.codes = vec![POWER_ON],
        }
        self.seen = log.next;
    }

    /// Removes and returns the condition to report next. Reset conditions precede others (SAM-5 5.14.4).
    pub(super) fn take(&mut self) -> Option<AdditionalSense> {
        let first = self.codes.iter().position(|code| code.asc == POWER_ON.asc).unwrap_or(0);
        if self.codes.is_empty() { None } else { Some(self.codes.remove(first)) }
    }

    /// Clears a condition that a command has reported by other means.
    pub(super) fn forget(&mut self, code: AdditionalSense) {
        self.codes.retain(|pending| *pending != code);
    }

    fn add(&mut self, code: AdditionalSense) {
        if self.codes.contains(&code) {
            return;
        }
        if self.codes.len() == PENDING_MAX {
            self.codes = vec![POWER_ON];
            return;
        }
        self.codes.push(code);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODE: AdditionalSense = AdditionalSense::MODE_PARAMETERS_CHANGED;
    const CAPACITY: AdditionalSense = AdditionalSense::CAPACITY_DATA_HAS_CHANGED;
    const RESET: AdditionalSense = AdditionalSense::BUS_DEVICE_RESET_FUNCTION_OCCURRED;

    fn nexus() -> Nexus {
        Nexus { id: NexusId(1), initiator_port: "a".into(), target_port: 1 }
    }

    fn drain(pending: &mut Pending) -> Vec<AdditionalSense> {
        std::iter::from_fn(|| pending.take()).collect()
    }

    #[test]
    fn event_is_reported_once_and_not_to_its_cause() {
        let mut log = AttentionLog::default();
        log.push(CAPACITY, None);
        let mut pending = Pending::power_on(&log);
        assert_eq!(drain(&mut pending), [POWER_ON], "events before the nexus are not reported");

        log.push(MODE, Some(NexusId(1)));
        log.push(CAPACITY, None);
        log.push(CAPACITY, None);
        pending.catch_up(&log, &nexus());
        assert_eq!(drain(&mut pending), [CAPACITY]);
        pending.catch_up(&log, &nexus());
        assert!(pending.is_empty());
    }

    #[test]
    fn named_nexuses_get_the_event() {
        let mut log = AttentionLog::default();
        let mut pending = Pending::power_on(&log);
        drain(&mut pending);
        let names = |name: &str, target_port| -> Arc<[NexusName]> {
            [NexusName { initiator_port: name.into(), target_port }].into()
        };
        log.push_to(MODE, names("b", 1));
        log.push_to(MODE, names("a", 2));
        log.push_to(CAPACITY, names("a", 1));
        pending.catch_up(&log, &nexus());
        assert_eq!(drain(&mut pending), [CAPACITY]);
    }

    #[test]
    fn reset_conditions_precede_others() {
        let mut log = AttentionLog::default();
        let mut pending = Pending::power_on(&log);
        drain(&mut pending);
        log.push(MODE, None);
        log.push(RESET, None);
        pending.catch_up(&log, &nexus());
        assert_eq!(drain(&mut pending), [RESET, MODE]);
    }

    #[test]
    fn missed_events_become_a_reset_condition() {
        let mut log = AttentionLog::default();
        let mut pending = Pending::power_on(&log);
        drain(&mut pending);
        for _ in 0..=UNIT_EVENTS_MAX {
            log.push(MODE, None);
        }
        pending.catch_up(&log, &nexus());
        assert_eq!(drain(&mut pending), [POWER_ON]);

        for number in 0..=PENDING_MAX {
            log.push(AdditionalSense { asc: 0x3f, ascq: number as u8 }, None);
        }
        pending.catch_up(&log, &nexus());
        assert_eq!(drain(&mut pending), [POWER_ON]);
    }

    #[test]
    fn cleared_condition_is_not_reported() {
        let mut log = AttentionLog::default();
        let mut pending = Pending::power_on(&log);
        drain(&mut pending);
        log.push(AdditionalSense::REPORTED_LUNS_DATA_HAS_CHANGED, None);
        pending.catch_up(&log, &nexus());
        pending.forget(AdditionalSense::REPORTED_LUNS_DATA_HAS_CHANGED);
        assert!(pending.is_empty());
    }
}
