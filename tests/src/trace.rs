//! PDUs formatted as lines, printed when a test fails.

use bytes::Bytes;
use iscsi_proto::pdu::{DataIn, Pdu, Residual, ScsiCommand, ScsiResponse, opcode};
use scsi_core::sense::Sense;

/// The PDUs of one connection. Printed when a test fails.
#[derive(Debug, Default)]
pub struct Trace {
    name: String,
    lines: Vec<String>,
}

/// Most lines of a trace that are printed; the last ones are kept.
const PRINTED_MAX: usize = 60;

impl Trace {
    /// An empty trace, printed under this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), lines: Vec::new() }
    }

    /// Records a PDU that the initiator sent.
    pub fn sent(&mut self, pdu: &Pdu, data: &[u8]) {
        self.lines.push(format!("-> {}", line(pdu, data)));
    }

    /// Records a PDU that the initiator received.
    pub fn received(&mut self, pdu: &Pdu, data: &[u8]) {
        self.lines.push(format!("<- {}", line(pdu, data)));
    }

    /// Records another event.
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

/// One PDU as one line, without the numbers that the initiator checks itself.
#[must_use]
pub fn line(pdu: &Pdu, data: &[u8]) -> String {
    let len = data.len();
    match pdu {
        Pdu::NopOut(nop) => format!("NopOut itt={} len={len}", tag(nop.itt.map(|itt| itt.0))),
        Pdu::NopIn(nop) if nop.ttt.is_some() => "NopIn asks".to_owned(),
        Pdu::NopIn(nop) => format!("NopIn itt={} len={len}", tag(nop.itt.map(|itt| itt.0))),
        Pdu::ScsiCommand(command) => command_line(command, len),
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
        Pdu::DataIn(data_in) => data_in_line(data_in, len),
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

fn command_line(command: &ScsiCommand, len: usize) -> String {
    format!(
        "ScsiCommand itt={} sn={} cdb={:02x} expected={} len={len}{}",
        command.itt.0,
        command.cmd_sn.0,
        command.cdb[0],
        command.expected_len,
        flag(command.last, "F")
    )
}

fn data_in_line(data_in: &DataIn, len: usize) -> String {
    let end = data_in.status.map(|end| format!(" {}{}", status(end.status), residual(end.residual)));
    format!(
        "DataIn itt={} sn={} offset={} len={len}{}{}",
        data_in.itt.0,
        data_in.data_sn.0,
        data_in.buffer_offset,
        flag(data_in.last, "F"),
        end.unwrap_or_default()
    )
}

/// A list of PDUs, one line each.
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
    fn line_has_the_fields_of_an_r2t() {
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
