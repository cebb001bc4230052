//! A small initiator with blocking calls and one command at a time: it logs in from an address of choice, never
//! reconnects, and tells how its session ended.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use iscsi_proto::frame::{Digests, Limits, PduReader, encode_pdu};
use iscsi_proto::ids::{Cid, Isid, Itt, Tsih, Ttt};
use iscsi_proto::login::{LoginStatus, Stage};
use iscsi_proto::pdu::{
    AsyncEvent, DataOut, LoginRequest, NopOut, Pdu, ScsiCommand, ScsiResponse, TaskAttribute,
};
use iscsi_proto::sn::{CmdSn, DataSn, StatSn};
use rustix::net::{AddressFamily, SocketType};
use scsi_core::lun::Lun;
use scsi_core::sense::{Sense, SenseKey};

use crate::harness::{DEADLINE, Daemon, target_name};

/// Where initiators usually are.
pub(crate) const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Bytes of a block of every disk here that clients use.
pub(crate) const BLOCK: usize = 512;
/// Why a session or a login ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The target refused the login.
    Refused(LoginStatus),
    /// The connection is gone.
    Closed(#[expect(dead_code, reason = "for messages")] io::Error),
    /// A command's status with its sense, not GOOD.
    Status(#[expect(dead_code, reason = "for messages")] u8, Option<Sense>),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Closed(error)
    }
}

/// The login request that others are made of.
pub(crate) const REQUEST: LoginRequest = LoginRequest {
    next: None,
    continues: false,
    stage: Stage::SecurityNegotiation,
    version_max: 0,
    version_min: 0,
    isid: Isid([0x80, 0, 0, 0, 0, 1]),
    tsih: Tsih::NEW,
    itt: Itt(0),
    cid: Cid(0),
    cmd_sn: CmdSn(0),
    exp_stat_sn: StatSn(0),
};

/// A session in the full feature phase.
pub(crate) struct Client {
    socket: TcpStream,
    reader: PduReader,
    lun: u64,
    cmd_sn: CmdSn,
    exp_stat_sn: StatSn,
    /// The session, once it is made.
    pub(crate) tsih: Tsih,
    /// The target asked for a logout.
    pub(crate) asked_to_leave: bool,
    /// Bytes that came.
    pub(crate) received: u64,
}

impl Client {
    /// A session of its own with a daemon's target.
    ///
    /// # Panics
    /// It is refused.
    #[track_caller]
    pub(crate) fn login(daemon: &Daemon, tid: u32, lun: u16) -> Self {
        Self::login_by(daemon, &next_name(), tid, lun)
    }

    /// The same under a name of choice.
    #[track_caller]
    pub(crate) fn login_by(daemon: &Daemon, name: &str, tid: u32, lun: u16) -> Self {
        match Self::try_login(daemon.portal, LOCALHOST, name, &target_name(tid), lun) {
            Ok(client) => client,
            Err(end) => panic!("no login: {end:?}"),
        }
    }

    /// A session, if the target wants one, from an address of this machine.
    pub(crate) fn try_login(
        portal: SocketAddr,
        from: Ipv4Addr,
        name: &str,
        target: &str,
        lun: u16,
    ) -> Result<Self, End> {
        let mut client = Self::connect(portal, from, lun)?;
        let text = format!("InitiatorName={name}\0TargetName={target}\0SessionType=Normal\0");
        // The target may want to say what it declares before it moves on.
        let mut text = text.into_bytes();
        loop {
            let (next, _) = client.ask(
                Stage::OperationalNegotiation,
                Some(Stage::FullFeature),
                &std::mem::take(&mut text),
            )?;
            if next == Some(Stage::FullFeature) {
                return Ok(client);
            }
        }
    }

    /// A connection on which nothing was said yet.
    pub(crate) fn connect(portal: SocketAddr, from: Ipv4Addr, lun: u16) -> Result<Self, End> {
        Ok(Self {
            socket: connect(portal, from)?,
            reader: PduReader::new(Limits::default()),
            lun: lun.into(),
            cmd_sn: CmdSn(1),
            exp_stat_sn: StatSn(0),
            tsih: Tsih::NEW,
            asked_to_leave: false,
            received: 0,
        })
    }

    /// One request of a login: where it leads, and what the target says to it.
    pub(crate) fn ask(
        &mut self,
        stage: Stage,
        next: Option<Stage>,
        text: &[u8],
    ) -> Result<(Option<Stage>, String), End> {
        self.ask_by(LoginRequest { next, stage, ..REQUEST }, text)
    }

    /// The same by a request of choice, but for its numbers.
    pub(crate) fn ask_by(
        &mut self,
        request: LoginRequest,
        text: &[u8],
    ) -> Result<(Option<Stage>, String), End> {
        let (cmd_sn, exp_stat_sn) = (self.cmd_sn, self.exp_stat_sn);
        self.send(LoginRequest { cmd_sn, exp_stat_sn, ..request }, text)?;
        self.receive_login()
    }

    /// The answer to a login request.
    pub(crate) fn receive_login(&mut self) -> Result<(Option<Stage>, String), End> {
        let (Pdu::LoginResponse(response), said) = self.receive()? else { panic!("no login response") };
        self.exp_stat_sn = response.stat_sn.next();
        self.tsih = response.tsih;
        if !response.status.is_success() {
            return Err(End::Refused(response.status));
        }
        Ok((response.next, String::from_utf8(said.to_vec()).expect("text")))
    }

    /// WRITE(10); returns when it is acknowledged.
    pub(crate) fn write(&mut self, lba: u32, data: &[u8]) -> Result<(), End> {
        self.command(&cdb_10(0x2a, lba, data.len()), 0, data).map(drop)
    }

    /// READ(10).
    pub(crate) fn read(&mut self, lba: u32, blocks: u32) -> Result<Vec<u8>, End> {
        let len = blocks as usize * BLOCK;
        self.command(&cdb_10(0x28, lba, len), len as u32, &[])
    }

    /// A command, again after news of the unit: what came, if it went well.
    pub(crate) fn command(&mut self, cdb: &[u8], expected: u32, data: &[u8]) -> Result<Vec<u8>, End> {
        loop {
            match self.command_once(cdb, expected, data) {
                Err(End::Status(_, Some(Sense { key: SenseKey::UnitAttention, .. }))) => {}
                result => return result,
            }
        }
    }

    /// A command from its begin to its end.
    pub(crate) fn command_once(&mut self, cdb: &[u8], expected: u32, data: &[u8]) -> Result<Vec<u8>, End> {
        let mut padded = [0; 16];
        padded[..cdb.len()].copy_from_slice(cdb);
        let itt = Itt(self.cmd_sn.0);
        let command = ScsiCommand {
            immediate: false,
            last: true,
            read: expected > 0,
            write: !data.is_empty(),
            attribute: TaskAttribute::Simple,
            lun: Lun::new(self.lun).expect("a number").to_wire(),
            itt,
            expected_len: if data.is_empty() { expected } else { data.len() as u32 },
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            cdb: padded,
        };
        self.cmd_sn = self.cmd_sn.next();
        let immediate = data.len().min(SEGMENT);
        self.send(command, &data[..immediate])?;
        let mut came = Vec::new();
        loop {
            match self.receive()? {
                (Pdu::R2t(r2t), _) => {
                    let (from, len) = (r2t.buffer_offset as usize, r2t.desired_len as usize);
                    self.data_out(itt, r2t.ttt, from, &data[from..from + len])?;
                }
                (Pdu::DataIn(data_in), part) => {
                    assert_eq!(data_in.itt, itt);
                    came.extend_from_slice(&part);
                    if let Some(end) = data_in.status {
                        self.exp_stat_sn = end.stat_sn.next();
                        return if end.status == 0 { Ok(came) } else { Err(End::Status(end.status, None)) };
                    }
                }
                (Pdu::ScsiResponse(response), data) => {
                    assert_eq!(response.itt, itt);
                    self.exp_stat_sn = response.stat_sn.next();
                    let sense =
                        ScsiResponse::sense(&data).map(|sense| Sense::decode(sense).expect("sense data"));
                    return if response.status == 0 {
                        Ok(came)
                    } else {
                        Err(End::Status(response.status, sense))
                    };
                }
                (other, _) => panic!("unexpected {other:?}"),
            }
        }
    }

    /// Its own end of the connection.
    pub(crate) fn local(&self) -> SocketAddr {
        self.socket.local_addr().expect("an address")
    }

    /// Sends bytes that no initiator sends.
    pub(crate) fn throw(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("the connection is open");
    }

    fn data_out(&mut self, itt: Itt, ttt: Ttt, from: usize, data: &[u8]) -> io::Result<()> {
        let count = data.chunks(SEGMENT).count();
        for (number, piece) in data.chunks(SEGMENT).enumerate() {
            let header = DataOut {
                last: number + 1 == count,
                lun: Lun::new(self.lun).expect("a number").to_wire(),
                itt,
                ttt: Some(ttt),
                exp_stat_sn: self.exp_stat_sn,
                data_sn: DataSn(number as u32),
                buffer_offset: (from + number * SEGMENT) as u32,
            };
            self.send(header, piece)?;
        }
        Ok(())
    }

    fn send(&mut self, pdu: impl Into<Pdu>, data: &[u8]) -> io::Result<()> {
        let (mut bhs, mut bytes) = ([0; 48], BytesMut::new());
        pdu.into().encode(&mut bhs);
        encode_pdu(&mut bytes, &bhs, &[], data, Digests::NONE);
        self.socket.write_all(&bytes)
    }

    /// The next PDU that belongs to a command; pings are answered and other news kept on the way.
    fn receive(&mut self) -> io::Result<(Pdu, Bytes)> {
        let mut bytes = [0; 16384];
        loop {
            while let Some(raw) = self.reader.next_pdu() {
                let raw = raw.expect("whole PDUs");
                match Pdu::decode(&raw.bhs).expect("a PDU of RFC 7143") {
                    Pdu::NopIn(ping) => {
                        let Some(ttt) = ping.ttt else { continue };
                        let pong = NopOut {
                            immediate: true,
                            lun: ping.lun,
                            itt: None,
                            ttt: Some(ttt),
                            cmd_sn: self.cmd_sn,
                            exp_stat_sn: self.exp_stat_sn,
                        };
                        self.send(pong, &[])?;
                    }
                    Pdu::AsyncMessage(message) => {
                        self.exp_stat_sn = message.stat_sn.next();
                        self.asked_to_leave |= message.event == AsyncEvent::LOGOUT_REQUEST;
                    }
                    pdu => return Ok((pdu, raw.data)),
                }
            }
            match self.socket.read(&mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.received += count as u64;
                    self.reader.push(&bytes[..count]);
                }
                // Silence is no end.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("waited for an answer"),
                Err(error) => return Err(error),
            }
        }
    }
}

/// A name that no other session has.
pub(crate) fn next_name() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    format!("iqn.2026-01.org.example:client{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A connection from an address of this machine.
fn connect(portal: SocketAddr, from: Ipv4Addr) -> io::Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddr::from((from, 0)))?;
    rustix::net::connect(&socket, &portal)?;
    let socket = TcpStream::from(socket);
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(DEADLINE))?;
    socket.set_write_timeout(Some(DEADLINE))?;
    Ok(socket)
}

fn cdb_10(opcode: u8, lba: u32, len: usize) -> [u8; 10] {
    let [a, b, c, d] = lba.to_be_bytes();
    let [high, low] = ((len / BLOCK) as u16).to_be_bytes();
    [opcode, 0, a, b, c, d, 0, high, low, 0]
}

/// What everybody may send in one PDU (RFC 7143 13.12).
const SEGMENT: usize = 8192;
