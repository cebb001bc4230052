//! The Data-Out of one command (RFC 7143 11.7, 11.8): what has arrived, what may arrive, and what is to be asked for. Data
//! arrives in order and without gaps, because DataPDUInOrder and DataSequenceInOrder are always Yes.

use iscsi_proto::sn::{DataSn, R2tSn};

/// The progress of a command's Data-Out. Offsets and lengths are bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DataOutProgress {
    /// Bytes in all.
    expected: u32,
    /// Bytes received.
    received: u32,
    /// The end of the sequence that is being received.
    sequence_end: u32,
    /// Everything before this offset may arrive without a further R2T.
    asked: u32,
    /// Unsolicited PDUs are still to come.
    unsolicited: bool,
    /// R2Ts whose data has not completely arrived.
    outstanding: u16,
    next_data_sn: DataSn,
    next_r2t_sn: R2tSn,
}

/// The session's parameters for data transfer.
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
pub struct R2tRequest {
    /// R2TSN.
    pub r2t_sn: R2tSn,
    /// Buffer Offset.
    pub offset: u32,
    /// Desired Data Transfer Length.
    pub len: u32,
}

/// Why the Data-Out of a command is not accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DataOutError {
    /// Immediate data although ImmediateData=No, or unsolicited data although InitialR2T=Yes.
    #[error("unexpected unsolicited data")]
    Unexpected,
    /// More than FirstBurstLength, than the R2T asked for, or than the command announced.
    #[error("more data than was asked for")]
    TooMuch,
    /// The sequence ended before its length was reached.
    #[error("the sequence ended early")]
    TooLittle,
    /// The offset does not continue the data received before.
    #[error("data out of order")]
    Offset,
    /// A DataSN is missing or repeated.
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

    /// A command whose first PDU breaks the rules: none of its data is taken. More is to come unless that PDU was the
    /// `last` of the unsolicited data.
    #[must_use]
    pub fn broken(last: bool) -> Self {
        Self { unsolicited: !last, ..Self::NONE }
    }

    /// A write of `expected` bytes whose command PDU has `immediate` bytes. With `last` it has all of the unsolicited
    /// data.
    ///
    /// # Errors
    /// The rules do not allow the data.
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

    /// Counts a Data-Out of `len` bytes, which must be the next one.
    ///
    /// # Errors
    /// It is not the next one; the command fails.
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
            self.end_sequence(rules)?;
        }
        Ok(())
    }

    /// Ends a sequence at its F bit, or when its length is reached without one.
    fn end_sequence(&mut self, rules: &DataOutRules) -> Result<(), DataOutError> {
        if !self.unsolicited && self.received < self.sequence_end {
            return Err(DataOutError::TooLittle);
        }
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

    /// The command ends: no further data is asked for.
    pub fn stop(&mut self) {
        self.expected = self.asked;
    }

    /// Counts a Data-Out that is dropped: its F bit ends a sequence.
    pub fn skip(&mut self, last: bool) {
        if last && self.unsolicited {
            self.unsolicited = false;
        } else if last {
            self.outstanding = self.outstanding.saturating_sub(1);
        }
    }

    /// Whether data is still to come: unsolicited, or for an R2T.
    #[must_use]
    #[inline]
    pub fn is_outstanding(&self) -> bool {
        self.unsolicited || self.outstanding > 0
    }

    /// The next R2T to send now; `None`: wait for data, or all data was asked for.
    pub fn next_r2t(&mut self, rules: &DataOutRules) -> Option<R2tRequest> {
        let next = self.peek_r2t(rules)?;
        if self.outstanding == 0 {
            self.sequence_end = next.offset + next.len;
        }
        self.asked = next.offset + next.len;
        self.outstanding += 1;
        self.next_r2t_sn = next.r2t_sn.next();
        Some(next)
    }

    /// The next R2T to send now, without counting it as sent.
    #[must_use]
    pub fn peek_r2t(&self, rules: &DataOutRules) -> Option<R2tRequest> {
        let left = self.expected - self.asked;
        if self.unsolicited || left == 0 || self.outstanding >= rules.max_outstanding_r2t.max(1) {
            return None;
        }
        Some(R2tRequest { r2t_sn: self.next_r2t_sn, offset: self.asked, len: left.min(rules.max_burst_len) })
    }

    /// Bytes in all: those received and those still to come.
    #[must_use]
    #[inline]
    pub fn expected(&self) -> u32 {
        self.expected
    }

    /// Bytes received.
    #[must_use]
    pub fn received(&self) -> u32 {
        self.received
    }

    /// Bytes that are still to come.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.expected - self.received
    }

    /// Bytes that R2Ts have asked for and that have not arrived.
    #[must_use]
    pub fn solicited_left(&self) -> u32 {
        if self.unsolicited { 0 } else { self.asked - self.received }
    }

    /// Whether unsolicited PDUs are still to come.
    #[must_use]
    pub fn is_unsolicited(&self) -> bool {
        self.unsolicited
    }

    /// Whether all data has arrived.
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

    fn r2t(sn: u32, offset: u32, len: u32) -> Option<R2tRequest> {
        Some(R2tRequest { r2t_sn: R2tSn(sn), offset, len })
    }

    #[test]
    fn immediate_unsolicited_and_solicited_data_follow_one_another() {
        let mut data = DataOutProgress::start(550, 40, false, &RULES).unwrap();
        assert_eq!(data.next_r2t(&RULES), None, "unsolicited data is still to come");
        data.accept(DataSn(0), 40, 60, true, &RULES).unwrap();
        assert_eq!(data.next_r2t(&RULES), r2t(0, 100, 200));
        assert_eq!(data.next_r2t(&RULES), r2t(1, 300, 200));
        assert_eq!(data.next_r2t(&RULES), None, "two may be outstanding");
        data.accept(DataSn(0), 100, 150, false, &RULES).unwrap();
        data.accept(DataSn(1), 250, 50, true, &RULES).unwrap();
        assert_eq!(data.next_r2t(&RULES), r2t(2, 500, 50));
        data.accept(DataSn(0), 300, 200, true, &RULES).unwrap();
        data.accept(DataSn(0), 500, 50, true, &RULES).unwrap();
        assert!(data.is_complete());
        assert_eq!(data.next_r2t(&RULES), None);
    }

    #[test]
    fn unsolicited_data_may_end_before_the_first_burst() {
        let mut data = DataOutProgress::start(150, 0, false, &RULES).unwrap();
        data.accept(DataSn(0), 0, 30, true, &RULES).unwrap();
        assert_eq!(data.next_r2t(&RULES), r2t(0, 30, 120));
    }

    #[test]
    fn a_command_with_all_its_data_is_complete_at_once() {
        assert!(DataOutProgress::start(100, 100, true, &RULES).unwrap().is_complete());
        assert!(DataOutProgress::start(100, 100, false, &RULES).unwrap().is_complete());
        assert!(DataOutProgress::NONE.is_complete());
    }

    #[test]
    fn data_that_the_parameters_forbid_is_an_error() {
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
