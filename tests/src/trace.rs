//! PDUs as lines, so that a session reads like a log; kept for the report of a test that failed.

use bytes::Bytes;
use iscsi_proto::pdu::{Pdu, Residual, ScsiResponse, opcode};
use scsi_core::sense::Sense;

/// What went over one connection. When a test fails, it is printed.
#[derive(Debug, Default)]
pub struct Trace {
    name: String,
    lines: Vec<String>,
}

/// Lines of a trace that are printed at the most.
const PRINTED_MAX: usize = 60;

impl Trace {
    /// A trace whose lines will be printed under this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), lines: Vec::new() }
    }

    /// The initiator sent something.
    pub fn sent(&mut self, pdu: &Pdu, data: &[u8]) {
        self.lines.push(format!("-> {}", line(pdu, data)));
    }

    /// The initiator received something.
    pub fn received(&mut self, pdu: &Pdu, data: &[u8]) {
        self.lines.push(format!("<- {}", line(pdu, data)));
    }

    /// Something else is worth a line.
    pub fn note(&mut self, what: &str) {
        self.lines.push(format!("-- {what}"));
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let skipped = self.lines.len().saturating_sub(PRINTED_MAX);
            eprintln!("{}: {skipped} lines before", self.name);
            self.lines[skipped..].iter().for_each(|line| eprintln!("  {line}"));
        }
    }
}

/// One PDU as one line: what matters to a reader of a test, without the numbers that are checked anyway.
#[must_use]
pub fn line(pdu: &Pdu, data: &[u8]) -> String {
    let len = data.len();
    match pdu {
        Pdu::NopOut(nop) => format!("NopOut itt={} len={len}", tag(nop.itt.map(|itt| itt.0))),
        Pdu::NopIn(nop) if nop.ttt.is_some() => "NopIn asks".to_owned(),
        Pdu::NopIn(nop) => format!("NopIn itt={} len={len}", tag(nop.itt.map(|itt| itt.0))),
        Pdu::ScsiCommand(command) => format!(
            "ScsiCommand itt={} sn={} cdb={:02x} expected={} len={len}{}",
            command.itt.0,
            command.cmd_sn.0,
            command.cdb[0],
            command.expected_len,
            flag(command.last, "F")
        ),
        Pdu::ScsiResponse(response) => format!(
            "ScsiResponse itt={} {}{}{}",
            response.itt.0,
            status(response.status),
            residual(response.residual),
            sense(data)
        ),
        Pdu::DataOut(out) => format!(
            "DataOut itt={} sn={} offset={} len={len}{}",
            out.itt.0,
            out.data_sn.0,
            out.buffer_offset,
            flag(out.last, "F")
        ),
        Pdu::DataIn(data_in) => format!(
            "DataIn itt={} sn={} offset={} len={len}{}{}",
            data_in.itt.0,
            data_in.data_sn.0,
            data_in.buffer_offset,
            flag(data_in.last, "F"),
            data_in.status.map_or(String::new(), |end| format!(
                " {}{}",
                status(end.status),
                residual(end.residual)
            ))
        ),
        Pdu::R2t(r2t) => format!(
            "R2t itt={} sn={} offset={} len={}",
            r2t.itt.0, r2t.r2t_sn.0, r2t.buffer_offset, r2t.desired_len
        ),
        Pdu::TaskManagementResponse(response) => {
            format!("TaskManagementResponse itt={} {:?}", response.itt.0, response.response)
        }
        Pdu::LogoutResponse(response) => {
            format!("LogoutResponse itt={} {:?}", response.itt.0, response.response)
        }
        Pdu::TextResponse(text) => format!(
            "TextResponse itt={} len={len}{}{}",
            text.itt.0,
            flag(text.last, "F"),
            flag(text.continues, "C")
        ),
        Pdu::Reject(reject) => {
            let of = data.first_chunk::<48>().map_or_else(|| "nothing".to_owned(), opcode_name);
            format!("Reject {:?} of {of}", reject.reason)
        }
        Pdu::AsyncMessage(message) => format!(
            "AsyncMessage {:?} {} {} {}",
            message.event, message.parameter_1, message.parameter_2, message.parameter_3
        ),
        Pdu::LoginResponse(response) => {
            format!("LoginResponse {:?} next={:?}", response.status, response.next)
        }
        other => format!("{other:?} len={len}"),
    }
}

/// A whole list of PDUs.
#[must_use]
pub fn lines(pdus: &[(Pdu, Bytes)]) -> Vec<String> {
    pdus.iter().map(|(pdu, data)| line(pdu, data)).collect()
}

fn opcode_name(bhs: &[u8; 48]) -> String {
    let code = opcode(bhs);
    let known = Pdu::OPCODES.iter().find(|(known, _)| *known == code);
    known.map_or_else(|| format!("{code:#04x}"), |(_, name)| (*name).to_owned())
}

fn flag(set: bool, name: &str) -> String {
    if set { format!(" {name}") } else { String::new() }
}

fn tag(tag: Option<u32>) -> String {
    tag.map_or_else(|| "none".to_owned(), |tag| tag.to_string())
}

fn status(status: u8) -> String {
    match status {
        0x00 => "GOOD".to_owned(),
        0x02 => "CHECK".to_owned(),
        0x08 => "BUSY".to_owned(),
        0x18 => "CONFLICT".to_owned(),
        0x28 => "FULL".to_owned(),
        other => format!("{other:#04x}"),
    }
}

fn residual(residual: Residual) -> String {
    match residual {
        Residual::None => String::new(),
        Residual::Overflow(count) => format!(" over={count}"),
        Residual::Underflow(count) => format!(" under={count}"),
    }
}

fn sense(data: &[u8]) -> String {
    match ScsiResponse::sense(data).map(Sense::decode) {
        Some(Ok(sense)) => format!(" {:x}/{:?}", sense.key as u8, sense.code),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use iscsi_proto::ids::{Itt, Ttt};
    use iscsi_proto::pdu::R2t;
    use iscsi_proto::sn::{CmdSn, R2tSn, StatSn};

    use super::*;

    #[test]
    fn a_line_says_what_matters() {
        let r2t = R2t {
            lun: [0; 8],
            itt: Itt(7),
            ttt: Ttt(9),
            stat_sn: StatSn(1),
            exp_cmd_sn: CmdSn(1),
            max_cmd_sn: CmdSn(1),
            r2t_sn: R2tSn(1),
            buffer_offset: 512,
            desired_len: 1024,
        };
        assert_eq!(line(&r2t.into(), &[]), "R2t itt=7 sn=1 offset=512 len=1024");
    }
}
