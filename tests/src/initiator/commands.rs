//! SCSI commands from request to response: sends Data-Out as R2Ts ask for it and collects Data-In.

use std::collections::VecDeque;
use std::time::Duration;

use iscsi_proto::ids::{Itt, Ttt};
use iscsi_proto::pdu::{
    DataIn, DataOut, NopIn, NopOut, Pdu, R2t, Residual, ScsiCommand, ScsiResponse, TaskAttribute,
};
use iscsi_proto::sn::DataSn;
use scsi_core::sense::{AdditionalSense, Sense};

use super::Initiator;

/// Data transfer of a command.
#[derive(Clone, Copy, Debug)]
pub enum Io<'a> {
    /// No data.
    None,
    /// Data-In of at most this many bytes.
    Read(u32),
    /// Data-Out with these bytes.
    Write(&'a [u8]),
}

/// The result of a command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    /// SCSI status.
    pub status: u8,
    /// Decoded sense data.
    pub sense: Option<Sense>,
    /// Received Data-In.
    pub data: Vec<u8>,
    /// Residual count of the response.
    pub residual: Residual,
}

impl Reply {
    /// Sense key and code, for short assertions; `None` for GOOD.
    #[must_use]
    pub fn check(&self) -> Option<(u8, AdditionalSense)> {
        self.sense.map(|sense| (sense.key as u8, sense.code))
    }

    /// The data of a command that ended with GOOD.
    ///
    /// # Panics
    /// The status is not GOOD.
    #[track_caller]
    pub fn good(self) -> Vec<u8> {
        assert_eq!((self.status, self.sense), (0, None), "GOOD");
        self.data
    }
}

#[derive(Debug, Default)]
pub(super) struct Task {
    write: Vec<u8>,
    read: Vec<u8>,
    reply: Option<Reply>,
}

impl Initiator {
    /// A SCSI Command with the next ITT and CmdSN, for the caller to change and send. It announces no unsolicited data.
    pub fn command(&mut self, cdb: &[u8], io: Io<'_>) -> ScsiCommand {
        let mut padded = [0; 16];
        padded[..cdb.len()].copy_from_slice(cdb);
        ScsiCommand {
            immediate: false,
            last: true,
            read: matches!(io, Io::Read(_)),
            write: matches!(io, Io::Write(_)),
            attribute: TaskAttribute::Simple,
            lun: self.lun_wire(),
            itt: self.next_itt(),
            expected_len: match io {
                Io::None => 0,
                Io::Read(len) => len,
                Io::Write(data) => data.len() as u32,
            },
            cmd_sn: self.next_cmd_sn(),
            exp_stat_sn: self.exp_stat_sn,
            cdb: padded,
        }
    }

    /// Sends a command, with as much immediate and unsolicited data as was negotiated.
    pub fn begin(&mut self, cdb: &[u8], io: Io<'_>) -> Itt {
        let command = self.command(cdb, io);
        let data = if let Io::Write(data) = io { data } else { &[] };
        self.begin_with(command, data)
    }

    /// Like [`Self::begin`], for a command made by [`Self::command`].
    pub fn begin_with(&mut self, command: ScsiCommand, data: &[u8]) -> Itt {
        let (session, segment) = (self.session, self.connection.max_xmit_data_segment_len as usize);
        let first_burst = data.len().min(session.first_burst_len as usize);
        let immediate = if session.immediate_data { first_burst.min(segment) } else { 0 };
        let unsolicited = if session.initial_r2t { immediate } else { first_burst };
        let itt = command.itt;
        self.tasks.insert(itt.0, Task { write: data.to_vec(), ..Task::default() });
        self.send(ScsiCommand { last: unsolicited == immediate, ..command }, &data[..immediate]);
        self.send_data(itt, None, immediate, unsolicited);
        itt
    }

    /// Sends a part of a command's data as Data-Out PDUs, the last one with F.
    fn send_data(&mut self, itt: Itt, ttt: Option<Ttt>, from: usize, to: usize) {
        let segment = self.connection.max_xmit_data_segment_len as usize;
        let mut offset = from;
        let mut data_sn = DataSn(0);
        while offset < to {
            let end = to.min(offset + segment);
            let Some(data) = self.tasks.get(&itt.0).map(|task| task.write[offset..end].to_vec()) else {
                return;
            };
            self.send(self.data_out(itt, ttt, data_sn, offset as u32, end == to), &data);
            (offset, data_sn) = (end, data_sn.next());
        }
    }

    /// A Data-Out header.
    #[must_use]
    pub fn data_out(
        &self,
        itt: Itt,
        ttt: Option<Ttt>,
        data_sn: DataSn,
        buffer_offset: u32,
        last: bool,
    ) -> DataOut {
        DataOut {
            last,
            lun: self.lun_wire(),
            itt,
            ttt,
            exp_stat_sn: self.exp_stat_sn,
            data_sn,
            buffer_offset,
        }
    }

    /// Processes all received PDUs: answers R2Ts and pings, collects data and responses; keeps the others for `recv`.
    pub fn poll(&mut self) {
        let mut others = VecDeque::new();
        while let Some((pdu, data)) = self.try_recv() {
            match pdu {
                Pdu::R2t(r2t) => self.on_r2t(r2t),
                Pdu::DataIn(data_in) => self.on_data_in(data_in, &data),
                Pdu::ScsiResponse(response) => self.on_response(response, &data),
                Pdu::NopIn(ping) if ping.ttt.is_some() => self.pong(ping),
                other => others.push_back((other, data)),
            }
        }
        self.inbox = others;
    }

    fn on_r2t(&mut self, r2t: R2t) {
        let task = self.tasks.get(&r2t.itt.0).expect("an R2T for a running task");
        let (from, to) = (r2t.buffer_offset as usize, (r2t.buffer_offset + r2t.desired_len) as usize);
        assert!(to <= task.write.len(), "an R2T within the data");
        self.send_data(r2t.itt, Some(r2t.ttt), from, to);
    }

    fn on_data_in(&mut self, data_in: DataIn, data: &[u8]) {
        let task = self.tasks.get_mut(&data_in.itt.0).expect("Data-In for a running task");
        task.read.extend_from_slice(data);
        if let Some(end) = data_in.status {
            let data = std::mem::take(&mut task.read);
            task.reply = Some(Reply { status: end.status, sense: None, data, residual: end.residual });
        }
    }

    fn on_response(&mut self, response: ScsiResponse, data: &[u8]) {
        let task = self.tasks.get_mut(&response.itt.0).expect("a response for a running task");
        let sense = ScsiResponse::sense(data).map(|sense| Sense::decode(sense).expect("sense data"));
        let data = std::mem::take(&mut task.read);
        task.reply = Some(Reply { status: response.status, sense, data, residual: response.residual });
    }

    fn pong(&mut self, ping: NopIn) {
        let pong = NopOut {
            immediate: true,
            lun: ping.lun,
            itt: None,
            ttt: ping.ttt,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
        };
        self.send(pong, &[]);
    }

    /// Removes and returns the result of a command that has ended.
    pub fn take_reply(&mut self, itt: Itt) -> Option<Reply> {
        self.tasks.get(&itt.0)?.reply.as_ref()?;
        self.tasks.remove(&itt.0)?.reply
    }

    /// Drops a command that will get no response.
    pub fn forget(&mut self, itt: Itt) {
        self.tasks.remove(&itt.0);
    }

    /// Number of commands without a response.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.tasks.values().filter(|task| task.reply.is_none()).count()
    }

    /// Runs the pair until a command has ended.
    ///
    /// # Panics
    /// It does not end.
    #[track_caller]
    pub fn wait(&mut self, itt: Itt) -> Reply {
        for round in 0..2000 {
            self.pair.settle();
            self.poll();
            if let Some(reply) = self.take_reply(itt) {
                return reply;
            }
            if round > 10 {
                // Stores on real files take real time.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        panic!("task {} does not end", itt.0);
    }

    /// Sends a command and waits for its end.
    ///
    /// # Panics
    /// It does not end.
    #[track_caller]
    pub fn run(&mut self, cdb: &[u8], io: Io<'_>) -> Reply {
        let itt = self.begin(cdb, io);
        self.wait(itt)
    }

    /// Current values of a mode page with its page header (MODE SENSE (6), DBD).
    ///
    /// # Panics
    /// The command does not end with GOOD.
    pub fn mode_page(&mut self, page: u8) -> Vec<u8> {
        let data = self.run(&[0x1a, 0x08, page, 0, 255, 0], Io::Read(255)).good();
        data[4..].to_vec()
    }

    /// Sets a mode page (MODE SELECT (6)).
    pub fn set_mode_page(&mut self, page: &[u8]) -> Reply {
        let mut list = vec![0; 4];
        list.extend_from_slice(page);
        // PS is reserved in MODE SELECT (SPC-4 7.5.7).
        list[4] &= 0x7f;
        self.run(&[0x15, 0x10, 0, 0, list.len() as u8, 0], Io::Write(&list))
    }

    /// Sets WCE of the caching mode page.
    pub fn set_write_cache(&mut self, on: bool) -> Reply {
        let mut page = self.mode_page(0x08);
        page[2] = page[2] & !0x04 | u8::from(on) << 2;
        self.set_mode_page(&page)
    }
}
