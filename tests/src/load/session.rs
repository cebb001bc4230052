//! One session under load: sends commands and data, receives data and responses.

use std::net::TcpStream;

use iscsi_proto::frame::{Cut, Digests, FrameError, Limits, cut, data_digest};
use iscsi_proto::ids::{Itt, Ttt};
use iscsi_proto::pdu::{self, BHS_LEN, Bhs, DataIn, DataOut, NopIn, NopOut, R2t, ScsiCommand, ScsiResponse};
use iscsi_proto::sn::{CmdSn, DataSn, StatSn};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::dial::{Dialled, RECEIVE_MAX};
use super::generator::{Shared, Transfer};
use super::outbox::{Data, Outbox, Sent};
use super::{DIGEST_LEN, LoadError, odd};

/// Length of the receive buffer in bytes: two PDUs with the longest data segment.
const INPUT_LEN: usize = 2 * RECEIVE_MAX as usize + 4096;
/// From this length on in bytes, the kernel discards the unchecked rest of a data segment instead of copying it.
const DISCARD_MIN: usize = 32 << 10;
/// Distance of stamps in bytes.
const STAMP_EVERY: usize = 512;

/// One session with its connection.
pub(super) struct Session {
    pub(super) socket: TcpStream,
    pub(super) unit: usize,
    dialled: Numbers,
    digests: Digests,
    /// Data-In is received whole, to check its digest or stamps.
    whole: bool,
    input: Vec<u8>,
    filled: usize,
    /// Bytes of the current data segment still to discard.
    skip: usize,
    outbox: Outbox,
    pub(super) blocked: bool,
    commands: Vec<Command>,
    free: Vec<u32>,
    /// Buffer 0 serves all writes; with stamps, each command has its own buffer after it.
    buffers: Vec<Vec<u8>>,
    /// The digest of the whole of buffer 0.
    known_digest: [u8; DIGEST_LEN],
    /// Commands that ended since the measurement began.
    pub(super) counted: u64,
    /// Whether latencies are recorded.
    pub(super) timed: bool,
    transfer_len: u32,
}

/// Negotiated parameters, and the sequence numbers.
struct Numbers {
    lun: [u8; 8],
    block_len: u32,
    max_xmit: u32,
    first_burst: u32,
    immediate_data: bool,
    initial_r2t: bool,
    cmd_sn: CmdSn,
    max_cmd_sn: CmdSn,
    exp_stat_sn: StatSn,
}

#[derive(Clone, Copy, Default)]
struct Command {
    transfer: Transfer,
    received: u32,
    submitted: u64,
    running: bool,
}

impl Session {
    pub(super) fn new(dialled: Dialled, unit: usize, depth: usize, stamps: bool, transfer_len: u32) -> Self {
        let digests = dialled.connection.digests();
        let common: Vec<u8> =
            (0..transfer_len).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect();
        let known_digest = data_digest([&common[..]]);
        let stamped = if stamps { depth } else { 0 };
        let mut buffers = vec![common];
        buffers.resize_with(1 + stamped, || vec![0; transfer_len as usize]);
        Self {
            socket: dialled.socket,
            unit,
            dialled: Numbers {
                lun: dialled.lun,
                block_len: dialled.block_len,
                max_xmit: dialled.connection.max_xmit_data_segment_len,
                first_burst: dialled.session.first_burst_len,
                immediate_data: dialled.session.immediate_data,
                initial_r2t: dialled.session.initial_r2t,
                cmd_sn: dialled.next_cmd_sn,
                max_cmd_sn: dialled.max_cmd_sn,
                exp_stat_sn: dialled.exp_stat_sn,
            },
            digests,
            whole: digests.data || stamps,
            input: vec![0; INPUT_LEN],
            filled: 0,
            skip: 0,
            outbox: Outbox::default(),
            blocked: false,
            commands: vec![Command::default(); depth],
            free: (0..depth as u32).rev().collect(),
            buffers,
            known_digest,
            counted: 0,
            timed: true,
            transfer_len,
        }
    }

    /// Commands that wait for their status.
    pub(super) fn outstanding(&self) -> usize {
        self.commands.len() - self.free.len()
    }

    /// Starts as many commands as the depth and the target's window allow.
    #[inline]
    pub(super) fn refill(&mut self, shared: &mut Shared) {
        while !self.dialled.max_cmd_sn.is_before(self.dialled.cmd_sn)
            && let Some(&slot) = self.free.last()
            && let Some(transfer) = shared.next_transfer(self.unit, self.transfer_len)
        {
            self.free.pop();
            let now = shared.now;
            self.commands[slot as usize] = Command { transfer, received: 0, submitted: now, running: true };
            self.submit(slot, transfer);
        }
    }

    fn submit(&mut self, slot: u32, transfer: Transfer) {
        let Transfer { offset, len, read } = transfer;
        let numbers = &mut self.dialled;
        let mut command = ScsiCommand {
            immediate: false,
            last: true,
            read,
            write: !read,
            attribute: pdu::TaskAttribute::Simple,
            lun: numbers.lun,
            itt: Itt(slot),
            expected_len: len,
            cmd_sn: numbers.cmd_sn,
            exp_stat_sn: numbers.exp_stat_sn,
            cdb: cdb(read, offset / u64::from(numbers.block_len), len / numbers.block_len),
        };
        numbers.cmd_sn = numbers.cmd_sn.next();
        let mut bhs = [0; BHS_LEN];
        if read {
            command.encode(&mut bhs);
            return self.push(&mut bhs, Data::default());
        }
        let buffer = self.buffer_of(slot);
        if buffer > 0 {
            stamp(&mut self.buffers[buffer], offset);
        }
        let numbers = &self.dialled;
        let burst = len.min(numbers.first_burst);
        let immediate = if numbers.immediate_data { burst.min(numbers.max_xmit) } else { 0 };
        let unsolicited = if numbers.initial_r2t { 0 } else { burst - immediate };
        command.last = unsolicited == 0;
        command.encode(&mut bhs);
        self.push(&mut bhs, Data { buffer, from: 0, len: immediate as usize });
        self.data_out(slot, None, immediate, unsolicited);
    }

    /// Queues one sequence of Data-Out PDUs.
    fn data_out(&mut self, slot: u32, ttt: Option<Ttt>, from: u32, len: u32) {
        let (buffer, end) = (self.buffer_of(slot), from + len);
        let (mut offset, mut data_sn) = (from, DataSn(0));
        while offset < end {
            let piece = (end - offset).min(self.dialled.max_xmit);
            let data_out = DataOut {
                last: offset + piece == end,
                lun: self.dialled.lun,
                itt: Itt(slot),
                ttt,
                exp_stat_sn: self.dialled.exp_stat_sn,
                data_sn,
                buffer_offset: offset,
            };
            let mut bhs = [0; BHS_LEN];
            data_out.encode(&mut bhs);
            self.push(&mut bhs, Data { buffer, from: offset as usize, len: piece as usize });
            (offset, data_sn) = (offset + piece, data_sn.next());
        }
    }

    #[inline]
    fn push(&mut self, bhs: &mut Bhs, data: Data) {
        let common = data.buffer == 0 && data.len == self.buffers[0].len() && data.len.is_multiple_of(4);
        let known = (self.digests.data && common).then_some(self.known_digest);
        self.outbox.push(bhs, data, self.digests, &self.buffers, known);
    }

    #[inline]
    fn buffer_of(&self, slot: u32) -> usize {
        if self.buffers.len() > 1 { 1 + slot as usize } else { 0 }
    }

    /// Sends the queued PDUs.
    pub(super) fn flush(&mut self) -> Result<Sent, LoadError> {
        let sent =
            if self.outbox.is_empty() { Sent::All } else { self.outbox.send(&self.socket, &self.buffers)? };
        self.blocked = sent == Sent::Partly;
        Ok(sent)
    }

    /// Receives once and handles the PDUs.
    pub(super) fn receive(&mut self, shared: &mut Shared) -> Result<(), LoadError> {
        if self.skip >= DISCARD_MIN && self.filled == 0 {
            let most = self.skip.min(self.input.len());
            let Some(count) = recv(&self.socket, &mut self.input[..most], RecvFlags::TRUNC)? else {
                return Ok(());
            };
            self.skip -= count;
            if self.skip > 0 {
                return Ok(());
            }
        }
        let Some(count) = recv(&self.socket, &mut self.input[self.filled..], RecvFlags::empty())? else {
            return Ok(());
        };
        self.filled += count;
        shared.read_clock();
        let mut from = 0;
        loop {
            let skipped = self.skip.min(self.filled - from);
            (self.skip, from) = (self.skip - skipped, from + skipped);
            match self.next_pdu(from, shared)? {
                0 => break,
                taken => from += taken,
            }
        }
        self.input.copy_within(from..self.filled, 0);
        self.filled -= from;
        Ok(())
    }

    /// Handles one PDU, or only its header if its data is discarded; returns the bytes consumed, 0 if more are needed.
    #[inline]
    fn next_pdu(&mut self, from: usize, shared: &mut Shared) -> Result<usize, LoadError> {
        const LIMITS: Limits = Limits { max_data_len: RECEIVE_MAX, max_ahs_len: 0 };
        let bytes = &self.input[from..self.filled];
        let Cut::Header(header) = cut(bytes, self.digests, &LIMITS)? else { return Ok(0) };
        let (bhs, header_len, data_len, wire_len) =
            (*header.bhs, header.header_len, header.data_len, header.wire_len);
        if !self.whole && pdu::opcode(&bhs) == DataIn::OPCODE {
            self.skip = wire_len - header_len;
            self.data_in(&bhs, data_len, None, shared)?;
            return Ok(header_len);
        }
        if bytes.len() < wire_len {
            return Ok(0);
        }
        let body = from + header_len..from + wire_len;
        if self.digests.data && data_len > 0 {
            let (data, digest) = self.input[body.clone()].split_at(body.len() - DIGEST_LEN);
            if data_digest([data]) != digest {
                return Err(FrameError::DataDigest.into());
            }
        }
        match pdu::opcode(&bhs) {
            DataIn::OPCODE => self.data_in(&bhs, data_len, Some(body.start), shared)?,
            ScsiResponse::OPCODE => {
                let response = ScsiResponse::decode(&bhs)?;
                self.numbers(response.max_cmd_sn, Some(response.stat_sn));
                self.complete(response.itt, response.status, shared)?;
            }
            R2t::OPCODE => {
                let r2t = R2t::decode(&bhs)?;
                self.numbers(r2t.max_cmd_sn, None);
                let command = self.running(r2t.itt)?;
                let end = u64::from(r2t.buffer_offset) + u64::from(r2t.desired_len);
                if command.transfer.read || end > command.transfer.len.into() {
                    return Err(odd("an R2T that does not match a write"));
                }
                self.data_out(r2t.itt.0, Some(r2t.ttt), r2t.buffer_offset, r2t.desired_len);
            }
            NopIn::OPCODE => self.ping(&NopIn::decode(&bhs)?),
            other => return Err(odd(format!("unexpected PDU, opcode {other:#04x}"))),
        }
        Ok(wire_len)
    }

    #[inline]
    fn data_in(
        &mut self,
        bhs: &Bhs,
        data_len: usize,
        data: Option<usize>,
        shared: &mut Shared,
    ) -> Result<(), LoadError> {
        let data_in = DataIn::decode(bhs)?;
        let command = self.running(data_in.itt)?;
        command.received += data_len as u32;
        let at = command.transfer.offset + u64::from(data_in.buffer_offset);
        if let (true, Some(from)) = (shared.checks_stamps(), data) {
            check_stamps(&self.input[from..from + data_len], at)?;
        }
        self.numbers(data_in.max_cmd_sn, data_in.status.map(|status| status.stat_sn));
        match data_in.status {
            Some(status) => self.complete(data_in.itt, status.status, shared),
            None => Ok(()),
        }
    }

    fn ping(&mut self, ping: &NopIn) {
        self.numbers(ping.max_cmd_sn, ping.itt.map(|_| ping.stat_sn));
        if ping.ttt.is_some() {
            let pong = NopOut {
                immediate: true,
                lun: ping.lun,
                itt: None,
                ttt: ping.ttt,
                cmd_sn: self.dialled.cmd_sn,
                exp_stat_sn: self.dialled.exp_stat_sn,
            };
            let mut bhs = [0; BHS_LEN];
            pong.encode(&mut bhs);
            self.push(&mut bhs, Data::default());
        }
    }

    #[inline]
    fn numbers(&mut self, max_cmd_sn: CmdSn, stat_sn: Option<StatSn>) {
        if self.dialled.max_cmd_sn.is_before(max_cmd_sn) {
            self.dialled.max_cmd_sn = max_cmd_sn;
        }
        if let Some(stat_sn) = stat_sn {
            self.dialled.exp_stat_sn = stat_sn.next();
        }
    }

    #[inline]
    fn running(&mut self, itt: Itt) -> Result<&mut Command, LoadError> {
        match self.commands.get_mut(itt.0 as usize) {
            Some(command) if command.running => Ok(command),
            _ => Err(odd(format!("a PDU for unknown task tag {:#x}", itt.0))),
        }
    }

    #[inline]
    fn complete(&mut self, itt: Itt, status: u8, shared: &mut Shared) -> Result<(), LoadError> {
        let command = self.running(itt)?;
        command.running = false;
        let Command { transfer, received, submitted, .. } = *command;
        if status != 0 {
            let what = if transfer.read { "read" } else { "write" };
            return Err(LoadError::Status { status, what, offset: transfer.offset });
        }
        if transfer.read && received != transfer.len {
            return Err(odd(format!("received {received} bytes for a read of {}", transfer.len)));
        }
        self.free.push(itt.0);
        self.counted += 1;
        shared.count(transfer.len, self.timed.then_some(submitted));
        Ok(())
    }
}

/// Receives once; `None` if no bytes are available.
#[inline]
fn recv(socket: &TcpStream, into: &mut [u8], flags: RecvFlags) -> Result<Option<usize>, LoadError> {
    match rustix::net::recv(socket, into, flags | RecvFlags::DONTWAIT) {
        Ok((_, 0)) => Err(LoadError::Closed),
        Ok((_, count)) => Ok(Some(count)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// READ or WRITE (10) if the extent fits, else (16).
#[inline]
fn cdb(read: bool, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    match (u32::try_from(lba), u16::try_from(blocks)) {
        (Ok(lba), Ok(blocks)) => {
            cdb[0] = if read { 0x28 } else { 0x2a };
            cdb[2..6].copy_from_slice(&lba.to_be_bytes());
            cdb[7..9].copy_from_slice(&blocks.to_be_bytes());
        }
        _ => {
            cdb[0] = if read { 0x88 } else { 0x8a };
            cdb[2..10].copy_from_slice(&lba.to_be_bytes());
            cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
        }
    }
    cdb
}

fn stamp_of(at: u64) -> [u8; 8] {
    (at ^ 0x5a5a_5a5a_5a5a_5a5a).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()
}

/// Stamps every 512 bytes with their offset on the unit.
fn stamp(bytes: &mut [u8], at: u64) {
    for (number, sector) in bytes.chunks_mut(STAMP_EVERY).enumerate() {
        sector[..8].copy_from_slice(&stamp_of(at + (number * STAMP_EVERY) as u64));
    }
}

fn check_stamps(bytes: &[u8], at: u64) -> Result<(), LoadError> {
    for (number, sector) in bytes.chunks(STAMP_EVERY).enumerate() {
        let offset = at + (number * STAMP_EVERY) as u64;
        if sector.get(..8) != Some(&stamp_of(offset)[..]) {
            return Err(LoadError::Data(offset));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use scsi_core::cdb::{Cdb, decode};

    #[test]
    fn decoder_reads_the_encoded_cdbs() {
        for (lba, blocks) in [(8, 8), (u64::from(u32::MAX), 1), (1 << 32, 8), (0, 65_536)] {
            let Ok(Cdb::Read(read)) = decode(&cdb(true, lba, blocks)) else { panic!("no read") };
            let Ok(Cdb::Write(write)) = decode(&cdb(false, lba, blocks)) else { panic!("no write") };
            assert_eq!([(read.lba, read.blocks), (write.lba, write.blocks)], [(lba, blocks); 2]);
        }
    }

    #[test]
    fn stamp_is_valid_only_at_its_offset() {
        let mut bytes = vec![0; 4096];
        stamp(&mut bytes, 8192);
        assert!(check_stamps(&bytes, 8192).is_ok());
        assert!(matches!(check_stamps(&bytes, 8704), Err(LoadError::Data(8704))));
        bytes[1024] ^= 1;
        assert!(matches!(check_stamps(&bytes, 8192), Err(LoadError::Data(9216))));
    }
}
