//! Rules of RFC 7143 for the PDUs of commands, checked on everything that a connection sends and receives: order and
//! bursts of Data-In (11.7), R2Ts (11.8), and no response while data is outstanding (7.8).

use std::collections::BTreeMap;

use iscsi_proto::params::SessionParams;
use iscsi_proto::pdu::{DataIn, Pdu, R2t, Residual, ScsiResponse};

/// The exchanges of a connection by ITT.
#[derive(Debug, Default)]
pub(super) struct Rules {
    commands: BTreeMap<u32, Exchange>,
}

/// Counters of the PDUs of one command.
#[derive(Debug, Default)]
struct Exchange {
    /// Expected Data Transfer Length; `None` if the command was not sent by this connection.
    expected: Option<u32>,
    reads: bool,
    /// Number of Data-In PDUs.
    data_in: u32,
    /// Bytes of Data-In.
    received: u32,
    /// Bytes of Data-In since the last F bit.
    burst: u32,
    r2ts: u32,
    /// R2Ts whose data is not completely sent.
    outstanding_r2ts: u32,
    /// Unsolicited Data-Out is not completely sent.
    unsolicited: bool,
    ended: bool,
}

impl Rules {
    /// Records a PDU that the initiator sends.
    pub(super) fn sent(&mut self, pdu: &Pdu) {
        match pdu {
            Pdu::ScsiCommand(command) => {
                let exchange = Exchange {
                    expected: Some(command.expected_len),
                    reads: command.read && !command.write,
                    unsolicited: command.write && !command.last,
                    ..Exchange::default()
                };
                self.commands.entry(command.itt.0).or_insert(exchange);
            }
            Pdu::DataOut(data) if data.last => {
                let Some(exchange) = self.commands.get_mut(&data.itt.0) else { return };
                match data.ttt {
                    Some(_) => exchange.outstanding_r2ts = exchange.outstanding_r2ts.saturating_sub(1),
                    None => exchange.unsolicited = false,
                }
            }
            _ => {}
        }
    }

    /// Checks a PDU that the initiator receives.
    ///
    /// # Panics
    /// The PDU violates a rule.
    pub(super) fn received(&mut self, pdu: &Pdu, data: &[u8], session: &SessionParams, max_segment: u32) {
        let itt = match pdu {
            Pdu::DataIn(pdu) => pdu.itt,
            Pdu::R2t(pdu) => pdu.itt,
            Pdu::ScsiResponse(pdu) => pdu.itt,
            _ => return,
        };
        let exchange = self.commands.entry(itt.0).or_default();
        assert!(!exchange.ended, "a PDU after the response: {pdu:?}");
        match pdu {
            Pdu::DataIn(pdu) => {
                assert!(data.len() as u32 <= max_segment, "MaxRecvDataSegmentLength: {pdu:?}");
                exchange.data_in(pdu, data.len() as u32, session.max_burst_len);
            }
            Pdu::R2t(pdu) => exchange.r2t(pdu, session),
            Pdu::ScsiResponse(pdu) => exchange.response(pdu),
            _ => {}
        }
    }
}

impl Exchange {
    fn data_in(&mut self, pdu: &DataIn, len: u32, max_burst: u32) {
        assert_eq!(pdu.data_sn.0, self.data_in, "DataSN: {pdu:?}");
        assert_eq!(pdu.buffer_offset, self.received, "Buffer Offset: {pdu:?}");
        self.data_in += 1;
        self.received += len;
        self.burst += len;
        assert!(self.expected.is_none_or(|expected| self.received <= expected), "too much data: {pdu:?}");
        assert!(self.burst <= max_burst, "MaxBurstLength: {pdu:?}");
        assert!(pdu.last || self.burst < max_burst, "the last PDU of a burst has F: {pdu:?}");
        if pdu.last {
            self.burst = 0;
        }
        if let Some(end) = pdu.status {
            assert!(pdu.last, "the status comes with F: {pdu:?}");
            self.end(end.status, end.residual);
        }
    }

    fn r2t(&mut self, pdu: &R2t, session: &SessionParams) {
        assert_eq!(pdu.r2t_sn.0, self.r2ts, "R2TSN: {pdu:?}");
        assert!(
            pdu.desired_len > 0 && pdu.desired_len <= session.max_burst_len,
            "desired length within MaxBurstLength: {pdu:?}"
        );
        let end = pdu.buffer_offset + pdu.desired_len;
        assert!(self.expected.is_none_or(|expected| end <= expected), "beyond the data: {pdu:?}");
        self.r2ts += 1;
        self.outstanding_r2ts += 1;
        assert!(self.outstanding_r2ts <= session.max_outstanding_r2t.into(), "MaxOutstandingR2T: {pdu:?}");
    }

    fn response(&mut self, pdu: &ScsiResponse) {
        assert_eq!(pdu.exp_data_sn, self.data_in + self.r2ts, "ExpDataSN: {pdu:?}");
        assert_eq!(
            (self.outstanding_r2ts, self.unsolicited),
            (0, false),
            "a response while data is outstanding: {pdu:?}"
        );
        self.end(pdu.status, pdu.residual);
    }

    fn end(&mut self, status: u8, residual: Residual) {
        self.ended = true;
        let Some(expected) = self.expected else { return };
        let missing = match residual {
            Residual::Underflow(count) => count,
            Residual::None | Residual::Overflow(_) => 0,
        };
        assert!(missing <= expected, "{residual:?} of {expected}");
        if self.reads {
            assert_eq!(
                self.received + missing,
                expected,
                "{residual:?} of {expected}, received {}",
                self.received
            );
        }
        if status == 0 {
            assert_eq!(self.burst, 0, "the last Data-In has F");
        }
    }
}
