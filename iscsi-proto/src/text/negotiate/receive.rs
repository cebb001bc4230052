//! Handles one pair from the peer: an offer, an inquiry, an answer or a declaration.

use super::{Event, Negotiation, NegotiationError, Phase};
use crate::params::{SessionType, TaskReporting};
use crate::text::keys::{Key, LENGTH_MAX, LENGTH_MIN, Row, Rule, Use};
use crate::text::value::{format_bool, list, parse_bool, parse_number};
use crate::text::{INQUIRY, IRRELEVANT, NOT_UNDERSTOOD, REJECT, TextBuilder};

impl Negotiation {
    /// Handles one pair of the text of the peer and writes the answer, if the pair has one. Pass the pairs in the order of
    /// the text.
    ///
    /// A repeated declaration with the same value is accepted: libiscsi up to 1.15 repeats its names in each stage.
    ///
    /// # Errors
    /// [`NegotiationError`]; the negotiation has failed.
    pub fn receive(
        &mut self,
        name: &str,
        value: &str,
        out: &mut TextBuilder,
    ) -> Result<Event, NegotiationError> {
        let Some(key) = Key::by_name(name) else {
            if !is_reserved(value) {
                out.pair(name, NOT_UNDERSTOOD);
            }
            return Ok(Event::Unknown);
        };
        let row = key.row();
        if self.pending.remove(key) {
            return self.settle(row, value);
        }
        if self.sent.contains(key) && is_reserved(value) {
            // Some initiators and targets answer declarations.
            return Ok(Event::Settled(key));
        }
        if value == INQUIRY && self.inquire(row, out) {
            return Ok(Event::Answered(key));
        }
        if !self.seen.insert(key) && !key.may_repeat() && !self.has_declared(key, value) {
            return Err(NegotiationError::Repeated(key));
        }
        if self.confirms(row, value) {
            self.write_current(row, out);
            return Ok(Event::Answered(key));
        }
        if let Some(refusal) = self.refusal(row) {
            out.pair(row.name, refusal);
            return Ok(Event::Answered(key));
        }
        match row.rule {
            Rule::Security => Ok(Event::Security(key)),
            Rule::Request => Ok(Event::Request(key)),
            Rule::Declared | Rule::ReceiveLimit => self.declared(row, value),
            Rule::Constant(answer) => {
                out.pair(row.name, answer);
                Ok(Event::Answered(key))
            }
            Rule::Boolean { .. } | Rule::Number { .. } | Rule::Digest { .. } | Rule::TaskReporting => {
                self.answer(row, value, out);
                Ok(Event::Answered(key))
            }
        }
    }

    /// Whether the peer, on a further connection, offers a leading-only key again and the result would be the current
    /// value. The standard does not permit that, but some initiators send the same keys on all connections.
    fn confirms(&self, row: &Row, value: &str) -> bool {
        if self.phase != Phase::JoiningLogin || row.usage != Use::LeadingLogin {
            return false;
        }
        match row.rule {
            Rule::Boolean { pick, get, .. } => {
                let current = get(&self.session);
                parse_bool(value).is_some_and(|offered| pick.combine(offered, current) == current)
            }
            Rule::Number { pick, min, max, get, .. } => {
                let current = get(&self.session);
                number_within(value, min, max)
                    .is_some_and(|offered| pick.combine(offered, current) == current)
            }
            Rule::TaskReporting => list(value).any(|member| member == self.session.task_reporting.name()),
            _ => false,
        }
    }

    /// The answer to a key that is not allowed, for any value.
    fn refusal(&self, row: &Row) -> Option<&'static str> {
        if !self.is_relevant(row) {
            Some(IRRELEVANT)
        } else if !self.is_allowed(row) || !row.senders.include(self.role.peer()) {
            Some(REJECT)
        } else {
            None
        }
    }

    /// Combines an offer of the peer with our preference and answers with the result.
    fn answer(&mut self, row: &Row, value: &str, out: &mut TextBuilder) {
        if self.adopt(row, value).is_some() {
            self.write_current(row, out);
        } else {
            out.pair(row.name, REJECT);
        }
    }

    fn adopt(&mut self, row: &Row, value: &str) -> Option<()> {
        match row.rule {
            Rule::Boolean { pick, get, set } => {
                let result = pick.combine(get(&self.preferences.session), parse_bool(value)?);
                set(&mut self.session, result);
            }
            Rule::Number { pick, min, max, get, set } => {
                let offered = number_within(value, min, max)?;
                let result = pick.combine(self.preferred_number(row.key, get), offered);
                set(&mut self.session, result);
            }
            Rule::Digest { choice, set, .. } => {
                let choice = choice(&self.preferences);
                set(&mut self.connection, list(value).find_map(|member| choice.accept(member))?);
            }
            Rule::TaskReporting => {
                self.session.task_reporting = list(value).find_map(|member| self.task_reporting(member))?;
            }
            Rule::Security | Rule::Declared | Rule::Request | Rule::ReceiveLimit | Rule::Constant(_) => {}
        }
        Some(())
    }

    fn task_reporting(&self, value: &str) -> Option<TaskReporting> {
        let preferred = self.preferences.session.task_reporting;
        TaskReporting::by_name(value).filter(|value| *value == preferred || *value == TaskReporting::Rfc3720)
    }

    /// Handles the answer of the peer to our offer, which must be a result that the offer permits.
    fn settle(&mut self, row: &Row, value: &str) -> Result<Event, NegotiationError> {
        match value {
            REJECT => return Ok(Event::Refused(row.key)),
            IRRELEVANT | NOT_UNDERSTOOD => return Ok(Event::Settled(row.key)),
            _ => {}
        }
        let answer = match row.rule {
            Rule::Boolean { pick, get, set } => parse_bool(value)
                .filter(|answer| pick.combine(get(&self.preferences.session), *answer) == *answer)
                .map(|answer| set(&mut self.session, answer)),
            Rule::Number { pick, min, max, get, set } => number_within(value, min, max)
                .filter(|answer| pick.combine(self.preferred_number(row.key, get), *answer) == *answer)
                .map(|answer| set(&mut self.session, answer)),
            Rule::Digest { choice, set, .. } => {
                choice(&self.preferences).accept(value).map(|answer| set(&mut self.connection, answer))
            }
            Rule::TaskReporting => {
                self.task_reporting(value).map(|answer| self.session.task_reporting = answer)
            }
            // These are never offered.
            Rule::Security | Rule::Declared | Rule::Request | Rule::ReceiveLimit | Rule::Constant(_) => None,
        };
        answer.map(|()| Event::Settled(row.key)).ok_or(NegotiationError::BadAnswer(row.key))
    }

    fn has_declared(&self, key: Key, value: &str) -> bool {
        self.declared.iter().any(|(declared, before)| *declared == key && **before == *value)
    }

    fn declared(&mut self, row: &Row, value: &str) -> Result<Event, NegotiationError> {
        match row.key {
            Key::MaxRecvDataSegmentLength => {
                // The peer can receive more than a PDU can carry.
                self.connection.max_xmit_data_segment_len = parse_number(value)
                    .filter(|len| *len >= u64::from(LENGTH_MIN))
                    .map(|len| len.min(u64::from(LENGTH_MAX)) as u32)
                    .ok_or(NegotiationError::BadDeclaration(row.key))?;
            }
            Key::SessionType => {
                self.session_type = SessionType::by_name(value).ok_or(NegotiationError::SessionType)?;
            }
            _ => {}
        }
        if !row.key.may_repeat() && !self.has_declared(row.key, value) {
            self.declared.push((row.key, value.into()));
        }
        Ok(Event::Declared(row.key))
    }

    /// Answers an inquiry. Returns false if the value of the key is not a parameter.
    fn inquire(&self, row: &Row, out: &mut TextBuilder) -> bool {
        if !self.is_relevant(row) {
            out.pair(row.name, IRRELEVANT);
            return true;
        }
        self.write_current(row, out)
    }

    /// Writes the current value. Returns false if the value of the key is not a parameter.
    fn write_current(&self, row: &Row, out: &mut TextBuilder) -> bool {
        match row.rule {
            Rule::Boolean { get, .. } => out.pair(row.name, format_bool(get(&self.session))),
            Rule::Number { get, .. } => out.pair(row.name, get(&self.session)),
            Rule::Digest { get, .. } => {
                out.pair(row.name, if get(&self.connection) { "CRC32C" } else { "None" });
            }
            Rule::TaskReporting => out.pair(row.name, self.session.task_reporting.name()),
            Rule::ReceiveLimit => out.pair(row.name, self.connection.max_recv_data_segment_len),
            Rule::Constant(answer) => out.pair(row.name, answer),
            Rule::Security | Rule::Declared | Rule::Request => return false,
        }
        true
    }
}

/// Whether the value is one of the reserved answers (RFC 7143 6.2).
fn is_reserved(value: &str) -> bool {
    matches!(value, NOT_UNDERSTOOD | IRRELEVANT | REJECT)
}

fn number_within(value: &str, min: u32, max: u32) -> Option<u32> {
    u32::try_from(parse_number(value)?).ok().filter(|number| (min..=max).contains(number))
}
