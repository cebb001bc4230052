//! The Data-Out of one command (RFC 7143 11.7, 11.8): what came, what may come, what is to be asked for. Data comes
//! in order and without gaps, because DataPDUInOrder and DataSequenceInOrder are always Yes here.

use iscsi_proto::sn::{DataSn, R2tSn};

/// Where a command's Data-Out stands. Offsets and lengths are bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DataOutProgress {
    /// All that is to come.
    expected: u32,
    /// All that came.
    received: u32,
    /// The end of the sequence that is being received.
    sequence_end: u32,
    /// Everything before this may come without a further R2T.
    asked: u32,
    /// Unsolicited PDUs are still coming.
    unsolicited: bool,
    /// R2Ts that are not answered to their end.
    outstanding: u16,
    next_data_sn: DataSn,
    next_r2t_sn: R2tSn,
}

/// What the session's parameters allow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DataOutRules {
    /// InitialR2T.
    pub initial_r2t: bool,
    /// ImmediateData.
    pub immediate_data: bool,
    /// FirstBurstLength.
    pub first_burst_len: u32,
    /// MaxBurstLength.
    pub max_burst_len: u32,
    /// MaxOutstandingR2T.
    pub max_outstanding_r2t: u16,
}

/// An R2T to be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ask {
    /// R2TSN.
    pub r2t_sn: R2tSn,
    /// Buffer Offset.
    pub offset: u32,
    /// Desired Data Transfer Length.
    pub len: u32,
}

/// What is wrong with a command's data.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DataOutError {
    /// Immediate data where it was negotiated away, or unsolicited data where InitialR2T=Yes.
    #[error("unexpected unsolicited data")]
    Unexpected,
    /// More than FirstBurstLength, than the R2T asked for, or than the command announced.
    #[error("more data than was asked for")]
    TooMuch,
    /// The sequence ended before its length was there.
    #[error("the sequence ended early")]
    TooLittle,
    /// The offset does not follow on what came before.
    #[error("data out of order")]
    Offset,
    /// A DataSN is missing or was repeated.
    #[error("DataSN out of order")]
    DataSn,
}

impl DataOutProgress {
    /// A command that sends nothing.
    pub const NONE: Self = Self {
        expected: 0,
        received: 0,
        sequence_end: 0,
        asked: 0,
        unsolicited: false,
        outstanding: 0,
        next_data_sn: DataSn(0),
        next_r2t_sn: R2tSn(0),
    };

    /// A command whose data breaks the rules from its first PDU on: nothing of it is taken. Unless that was the `last`
    /// PDU of the unsolicited data, more is to come.
    #[must_use]
    pub fn broken(last: bool) -> Self {
        Self { unsolicited: !last, ..Self::NONE }
    }

    /// A write of `expected` bytes whose command PDU brought `immediate` bytes, and which was the last of the
    /// unsolicited data if `last`.
    ///
    /// # Errors
    /// The data is not allowed by the rules.
    #[inline]
    pub fn start(
        expected: u32,
        immediate: u32,
        last: bool,
        rules: &DataOutRules,
    ) -> Result<Self, DataOutError> {
        if immediate > 0 && !rules.immediate_data {
            return Err(DataOutError::Unexpected);
        }
        let first_burst = expected.min(rules.first_burst_len);
        if immediate > first_burst {
            return Err(DataOutError::TooMuch);
        }
        if !last && rules.initial_r2t {
            return Err(DataOutError::Unexpected);
        }
        let unsolicited = !last && immediate < first_burst;
        let asked = if unsolicited { first_burst } else { immediate };
        Ok(Self { expected, received: immediate, sequence_end: asked, asked, unsolicited, ..Self::NONE })
    }

    /// Whether a Data-Out of `len` bytes is the one that must come now, and counts it.
    ///
    /// # Errors
    /// It is not; the command fails.
    pub fn accept(
        &mut self,
        data_sn: DataSn,
        offset: u32,
        len: u32,
        last: bool,
        rules: &DataOutRules,
    ) -> Result<(), DataOutError> {
        if data_sn != self.next_data_sn {
            return Err(DataOutError::DataSn);
        }
        if offset != self.received {
            return Err(DataOutError::Offset);
        }
        if !self.unsolicited && self.outstanding == 0 {
            return Err(DataOutError::Unexpected);
        }
        if len > self.sequence_end - self.received {
            return Err(DataOutError::TooMuch);
        }
        self.received += len;
        self.next_data_sn = data_sn.next();
        if last || self.received == self.sequence_end {
            self.end_sequence(last, rules)?;
        }
        Ok(())
    }

    fn end_sequence(&mut self, last: bool, rules: &DataOutRules) -> Result<(), DataOutError> {
        if !self.unsolicited && self.received < self.sequence_end {
            return Err(DataOutError::TooLittle);
        }
        // A full sequence without its F bit is forgiven: the next PDU could only be a fault of its own.
        let _ = last;
        if self.unsolicited {
            self.unsolicited = false;
            self.asked = self.received;
        } else {
            self.outstanding -= 1;
        }
        self.next_data_sn = DataSn(0);
        self.sequence_end = self.asked.min(self.received.saturating_add(rules.max_burst_len));
        Ok(())
    }

    /// The command ends: no more is asked for than was, and nothing that still comes is taken.
    pub fn stop(&mut self) {
        self.expected = self.asked;
    }

    /// Counts a Data-Out that is not taken: its F bit ends a sequence, whatever its data was.
    pub fn skip(&mut self, last: bool) {
        if last && self.unsolicited {
            self.unsolicited = false;
        } else if last {
            self.outstanding = self.outstanding.saturating_sub(1);
        }
    }

    /// Whether the initiator still sends data: unsolicited, or what an R2T asked for.
    #[must_use]
    #[inline]
    pub fn is_outstanding(&self) -> bool {
        self.unsolicited || self.outstanding > 0
    }

    /// The next R2T that may be sent now; `None`: wait for data, or all was asked for.
    pub fn next_r2t(&mut self, rules: &DataOutRules) -> Option<Ask> {
        let ask = self.peek_r2t(rules)?;
        if self.outstanding == 0 {
            self.sequence_end = ask.offset + ask.len;
        }
        self.asked = ask.offset + ask.len;
        self.outstanding += 1;
        self.next_r2t_sn = ask.r2t_sn.next();
        Some(ask)
    }

    /// What `next_r2t` would say, without counting it as sent.
    #[must_use]
    pub fn peek_r2t(&self, rules: &DataOutRules) -> Option<Ask> {
        let left = self.expected - self.asked;
        if self.unsolicited || left == 0 || self.outstanding >= rules.max_outstanding_r2t.max(1) {
            return None;
        }
        Some(Ask { r2t_sn: self.next_r2t_sn, offset: self.asked, len: left.min(rules.max_burst_len) })
    }

    /// Bytes that came.
    #[must_use]
    pub fn received(&self) -> u32 {
        self.received
    }

    /// Bytes that are still to come.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.expected - self.received
    }

    /// Bytes that were asked for by R2Ts and did not come yet.
    #[must_use]
    pub fn solicited_left(&self) -> u32 {
        if self.unsolicited { 0 } else { self.asked - self.received }
    }

    /// Whether unsolicited PDUs are still coming.
    #[must_use]
    pub fn is_unsolicited(&self) -> bool {
        self.unsolicited
    }

    /// Whether all is there.
    #[must_use]
    #[inline]
    pub fn is_complete(&self) -> bool {
        self.received == self.expected && !self.unsolicited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: DataOutRules = DataOutRules {
        initial_r2t: false,
        immediate_data: true,
        first_burst_len: 100,
        max_burst_len: 200,
        max_outstanding_r2t: 2,
    };

    fn ask(sn: u32, offset: u32, len: u32) -> Option<Ask> {
        Some(Ask { r2t_sn: R2tSn(sn), offset, len })
    }

    #[test]
    fn immediate_unsolicited_and_solicited_data_follow_one_another() {
        let mut data = DataOutProgress::start(550, 40, false, &RULES).unwrap();
        assert_eq!(data.next_r2t(&RULES), None, "unsolicited data is still to come");
        data.accept(DataSn(0), 40, 60, true, &RULES).unwrap();
        assert_eq!(data.next_r2t(&RULES), ask(0, 100, 200));
        assert_eq!(data.next_r2t(&RULES), ask(1, 300, 200));
        assert_eq!(data.next_r2t(&RULES), None, "two may be outstanding");
        data.accept(DataSn(0), 100, 150, false, &RULES).unwrap();
        data.accept(DataSn(1), 250, 50, true, &RULES).unwrap();
        assert_eq!(data.next_r2t(&RULES), ask(2, 500, 50));
        data.accept(DataSn(0), 300, 200, true, &RULES).unwrap();
        data.accept(DataSn(0), 500, 50, true, &RULES).unwrap();
        assert!(data.is_complete());
        assert_eq!(data.next_r2t(&RULES), None);
    }

    #[test]
    fn unsolicited_data_may_end_before_the_first_burst() {
        let mut data = DataOutProgress::start(150, 0, false, &RULES).unwrap();
        data.accept(DataSn(0), 0, 30, true, &RULES).unwrap();
        assert_eq!(data.next_r2t(&RULES), ask(0, 30, 120));
    }

    #[test]
    fn a_command_with_all_its_data_is_complete_at_once() {
        assert!(DataOutProgress::start(100, 100, true, &RULES).unwrap().is_complete());
        assert!(DataOutProgress::start(100, 100, false, &RULES).unwrap().is_complete());
        assert!(DataOutProgress::NONE.is_complete());
    }

    #[test]
    fn what_the_parameters_forbid_is_an_error() {
        let no_immediate = DataOutRules { immediate_data: false, ..RULES };
        let r2t_first = DataOutRules { initial_r2t: true, ..RULES };
        assert_eq!(DataOutProgress::start(10, 5, true, &no_immediate), Err(DataOutError::Unexpected));
        assert_eq!(DataOutProgress::start(10, 11, true, &RULES), Err(DataOutError::TooMuch));
        assert_eq!(DataOutProgress::start(500, 101, true, &RULES), Err(DataOutError::TooMuch));
        assert_eq!(DataOutProgress::start(500, 0, false, &r2t_first), Err(DataOutError::Unexpected));
    }

    #[test]
    fn a_command_that_ends_waits_for_the_sequences_it_asked_for() {
        let mut data = DataOutProgress::start(900, 40, false, &RULES).unwrap();
        data.stop();
        assert_eq!((data.is_outstanding(), data.next_r2t(&RULES)), (true, None));
        data.skip(true);
        assert!(!data.is_outstanding(), "the unsolicited data has ended");

        let mut data = DataOutProgress::start(900, 100, true, &RULES).unwrap();
        assert!(data.next_r2t(&RULES).is_some() && data.next_r2t(&RULES).is_some());
        data.accept(DataSn(0), 100, 10, false, &RULES).unwrap();
        data.stop();
        for (last, outstanding) in [(false, true), (true, true), (false, true), (true, false), (true, false)]
        {
            data.skip(last);
            assert_eq!((data.is_outstanding(), data.next_r2t(&RULES)), (outstanding, None));
        }
        assert!(DataOutProgress::broken(false).is_outstanding());
        assert!(!DataOutProgress::broken(true).is_outstanding());
    }

    #[test]
    fn data_that_was_not_asked_for_is_an_error() {
        let start = || {
            let mut data = DataOutProgress::start(400, 0, true, &RULES).unwrap();
            data.next_r2t(&RULES).unwrap();
            data
        };
        let mut unasked = DataOutProgress::start(400, 0, true, &RULES).unwrap();
        assert_eq!(unasked.accept(DataSn(0), 0, 10, true, &RULES), Err(DataOutError::Unexpected));
        assert_eq!(start().accept(DataSn(1), 0, 10, false, &RULES), Err(DataOutError::DataSn));
        assert_eq!(start().accept(DataSn(0), 10, 10, false, &RULES), Err(DataOutError::Offset));
        assert_eq!(start().accept(DataSn(0), 0, 201, false, &RULES), Err(DataOutError::TooMuch));
        assert_eq!(start().accept(DataSn(0), 0, 199, true, &RULES), Err(DataOutError::TooLittle));
    }
}
