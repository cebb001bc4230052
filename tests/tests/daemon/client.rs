//! A small initiator with blocking calls and one command at a time: it logs in from a given address, does not
//! reconnect, and reports how its session ended.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use iscsi_proto::frame::{Digests, Limits, PduReader, encode_pdu};
use iscsi_proto::ids::{Cid, Isid, Itt, Tsih, Ttt};
use iscsi_proto::login::{LoginStatus, Stage};
use iscsi_proto::pdu::{
    AsyncEvent, DataOut, LoginRequest, NopOut, Pdu, ScsiCommand, ScsiResponse, TaskAttribute, TaskFunction,
    TaskManagementRequest, TaskResponse,
};
use iscsi_proto::sn::{CmdSn, DataSn, StatSn};
use rustix::net::{AddressFamily, SocketType};
use scsi_core::lun::Lun;
use scsi_core::sense::{Sense, SenseKey};

use crate::harness::{DEADLINE, Daemon, target_name};

/// Address of most initiators.
pub(crate) const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Block length in bytes of the disks that clients use.
pub(crate) const BLOCK: usize = 512;

/// Why a session, a login or a command failed.
#[derive(Debug)]
pub(crate) enum End {
    /// The target refused the login.
    Refused(LoginStatus),
    /// The connection was closed.
    Closed(#[expect(dead_code, reason = "for panic messages")] io::Error),
    /// Status and sense of a command that did not end with GOOD.
    Status(#[expect(dead_code, reason = "for panic messages")] u8, Option<Sense>),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Closed(error)
    }
}

/// A login request, for the caller to change and send.
pub(crate) const LOGIN_REQUEST: LoginRequest = LoginRequest {
    next: None,
    continues: false,
    stage: Stage::SecurityNegotiation,
    version_max: 0,
    version_min: 0,
    isid: Isid([0x80, 0, 0, 0, 0, 1]),
    tsih: Tsih::NEW,
    itt: Itt(0),
    cid: Cid(0),
    cmd_sn: CmdSn(1),
    exp_stat_sn: StatSn(0),
};

/// A session in the full feature phase.
pub(crate) struct Client {
    socket: TcpStream,
    reader: PduReader,
    lun: u64,
    cmd_sn: CmdSn,
    exp_stat_sn: StatSn,
    /// TSIH of the last login response.
    pub(crate) tsih: Tsih,
    /// The target requested a logout.
    pub(crate) logout_requested: bool,
    /// Bytes received.
    pub(crate) received: u64,
}

impl Client {
    /// Logs in to a target of a daemon under a new name.
    ///
    /// # Panics
    /// The login fails.
    #[track_caller]
    pub(crate) fn login(daemon: &Daemon, tid: u32, lun: u16) -> Self {
        Self::login_by(daemon, &next_name(), tid, lun)
    }

    /// [`Self::login`] under this name.
    #[track_caller]
    pub(crate) fn login_by(daemon: &Daemon, name: &str, tid: u32, lun: u16) -> Self {
        match Self::try_login(daemon.portal, LOCALHOST, name, &target_name(tid), lun) {
            Ok(client) => client,
            Err(end) => panic!("login failed: {end:?}"),
        }
    }

    /// Logs in from an address of this machine.
    pub(crate) fn try_login(
        portal: SocketAddr,
        from: Ipv4Addr,
        name: &str,
        target: &str,
        lun: u16,
    ) -> Result<Self, End> {
        let mut client = Self::connect(portal, from, lun)?;
        let text = format!("InitiatorName={name}\0TargetName={target}\0SessionType=Normal\0");
        // The target may send declarations before it changes the stage.
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

    /// A connection before login.
    pub(crate) fn connect(portal: SocketAddr, from: Ipv4Addr, lun: u16) -> Result<Self, End> {
        Ok(Self {
            socket: connect(portal, from)?,
            reader: PduReader::new(Limits::default()),
            lun: lun.into(),
            cmd_sn: CmdSn(1),
            exp_stat_sn: StatSn(0),
            tsih: Tsih::NEW,
            logout_requested: false,
            received: 0,
        })
    }

    /// Sends one login request; returns the next stage and the text of the response.
    pub(crate) fn ask(
        &mut self,
        stage: Stage,
        next: Option<Stage>,
        text: &[u8],
    ) -> Result<(Option<Stage>, String), End> {
        self.ask_by(LoginRequest { next, stage, ..LOGIN_REQUEST }, text)
    }

    /// [`Self::ask`] with this request, whose sequence numbers are set.
    pub(crate) fn ask_by(
        &mut self,
        request: LoginRequest,
        text: &[u8],
    ) -> Result<(Option<Stage>, String), End> {
        let (cmd_sn, exp_stat_sn) = (self.cmd_sn, self.exp_stat_sn);
        self.send(LoginRequest { cmd_sn, exp_stat_sn, ..request }, text)?;
        self.receive_login()
    }

    /// Receives a login response.
    pub(crate) fn receive_login(&mut self) -> Result<(Option<Stage>, String), End> {
        let (Pdu::LoginResponse(response), text) = self.receive()? else { panic!("no login response") };
        self.exp_stat_sn = response.stat_sn.next();
        self.tsih = response.tsih;
        if !response.status.is_success() {
            return Err(End::Refused(response.status));
        }
        Ok((response.next, String::from_utf8(text.to_vec()).expect("text")))
    }

    /// Runs WRITE (10).
    pub(crate) fn write(&mut self, lba: u32, data: &[u8]) -> Result<(), End> {
        self.command(&cdb_10(0x2a, lba, data.len()), 0, data).map(drop)
    }

    /// Runs READ (10) and returns the data.
    pub(crate) fn read(&mut self, lba: u32, blocks: u32) -> Result<Vec<u8>, End> {
        let len = blocks as usize * BLOCK;
        self.command(&cdb_10(0x28, lba, len), len as u32, &[])
    }

    /// Runs a command, again after each unit attention, and returns the data.
    pub(crate) fn command(&mut self, cdb: &[u8], expected: u32, data: &[u8]) -> Result<Vec<u8>, End> {
        loop {
            match self.command_once(cdb, expected, data) {
                Err(End::Status(_, Some(Sense { key: SenseKey::UnitAttention, .. }))) => {}
                result => return result,
            }
        }
    }

    /// Runs a command once and returns the data.
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
            lun: Lun::new(self.lun).expect("a valid LUN").to_wire(),
            itt,
            expected_len: if data.is_empty() { expected } else { data.len() as u32 },
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            cdb: padded,
        };
        self.cmd_sn = self.cmd_sn.next();
        let immediate = data.len().min(SEGMENT);
        self.send(command, &data[..immediate])?;
        let mut received = Vec::new();
        loop {
            match self.receive()? {
                (Pdu::R2t(r2t), _) => {
                    let (from, len) = (r2t.buffer_offset as usize, r2t.desired_len as usize);
                    self.data_out(itt, r2t.ttt, from, &data[from..from + len])?;
                }
                (Pdu::DataIn(data_in), part) => {
                    assert_eq!(data_in.itt, itt);
                    received.extend_from_slice(&part);
                    if let Some(end) = data_in.status {
                        self.exp_stat_sn = end.stat_sn.next();
                        return if end.status == 0 {
                            Ok(received)
                        } else {
                            Err(End::Status(end.status, None))
                        };
                    }
                }
                (Pdu::ScsiResponse(response), data) => {
                    assert_eq!(response.itt, itt);
                    self.exp_stat_sn = response.stat_sn.next();
                    let sense =
                        ScsiResponse::sense(&data).map(|sense| Sense::decode(sense).expect("sense data"));
                    return if response.status == 0 {
                        Ok(received)
                    } else {
                        Err(End::Status(response.status, sense))
                    };
                }
                (other, _) => panic!("unexpected {other:?}"),
            }
        }
    }

    /// Requests LOGICAL UNIT RESET and returns the response.
    #[allow(dead_code, reason = "tests of remote stores use it")]
    pub(crate) fn reset_unit(&mut self) -> Result<TaskResponse, End> {
        let request = TaskManagementRequest {
            immediate: true,
            function: TaskFunction::LOGICAL_UNIT_RESET,
            lun: Lun::new(self.lun).expect("a valid LUN").to_wire(),
            itt: Itt(u32::MAX - 1),
            referenced_task: None,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            ref_cmd_sn: CmdSn(0),
            exp_data_sn: 0,
        };
        self.send(request, &[])?;
        let (Pdu::TaskManagementResponse(response), _) = self.receive()? else { panic!("no response") };
        self.exp_stat_sn = response.stat_sn.next();
        Ok(response.response)
    }

    /// A handle with which another thread can close the connection.
    #[allow(dead_code, reason = "tests of remote stores use it")]
    pub(crate) fn socket(&self) -> TcpStream {
        self.socket.try_clone().expect("a descriptor")
    }

    /// Local address of the connection.
    pub(crate) fn local(&self) -> SocketAddr {
        self.socket.local_addr().expect("an address")
    }

    /// Sends bytes unchanged.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("the connection is open");
    }

    fn data_out(&mut self, itt: Itt, ttt: Ttt, from: usize, data: &[u8]) -> io::Result<()> {
        let count = data.chunks(SEGMENT).count();
        for (number, piece) in data.chunks(SEGMENT).enumerate() {
            let header = DataOut {
                last: number + 1 == count,
                lun: Lun::new(self.lun).expect("a valid LUN").to_wire(),
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

    /// The next PDU of a login or command. Answers pings and records logout requests.
    fn receive(&mut self) -> io::Result<(Pdu, Bytes)> {
        let mut bytes = [0; 16384];
        loop {
            while let Some(raw) = self.reader.next_pdu() {
                let raw = raw.expect("valid PDUs");
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
                        self.logout_requested |= message.event == AsyncEvent::LOGOUT_REQUEST;
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
                // A timeout is not the end of the connection.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    panic!("no response within the deadline")
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// A name that no other session of this process has.
pub(crate) fn next_name() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    format!("iqn.2026-01.org.example:client{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Connects from an address of this machine.
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

/// Longest data segment in bytes that every target accepts: the default of RFC 7143 13.12.
const SEGMENT: usize = 8192;
