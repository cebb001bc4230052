//! Connects, logs in and reads the capacity, with blocking calls, before the load starts.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use iscsi_proto::frame::{Digests, Limits, PduReader, encode_pdu};
use iscsi_proto::ids::{Cid, Isid, Itt, Tsih};
use iscsi_proto::login::Stage;
use iscsi_proto::params::{ConnectionParams, SessionParams, SessionType};
use iscsi_proto::pdu::{BHS_LEN, LoginRequest, NopOut, Pdu, ScsiCommand, TaskAttribute};
use iscsi_proto::sn::{CmdSn, StatSn};
use iscsi_proto::text::keys::{Key, Role};
use iscsi_proto::text::negotiate::{DigestChoice, Event, Negotiation, Preferences};
use iscsi_proto::text::{TextBuilder, TextLimits, pairs};
use rustix::net::{AddressFamily, SocketType, sockopt};
use scsi_core::cdb::Cdb;
use scsi_core::cdb::encode::{CdbBytes, encode};
use scsi_core::lun::Lun;
use scsi_core::page::read_capacity::ReadCapacity;

use super::{LoadError, UnitName, odd};

/// A session in the full feature phase, ready for commands.
#[derive(Debug)]
pub(super) struct Dialled {
    pub(super) socket: TcpStream,
    pub(super) session: SessionParams,
    pub(super) connection: ConnectionParams,
    pub(super) lun: [u8; 8],
    pub(super) next_cmd_sn: CmdSn,
    pub(super) max_cmd_sn: CmdSn,
    pub(super) exp_stat_sn: StatSn,
    /// Length of a block in bytes.
    pub(super) block_len: u32,
    pub(super) blocks: u64,
}

/// An initiator port, and the socket with which it connects.
#[derive(Clone, Debug)]
pub struct InitiatorPort {
    /// Value of InitiatorName.
    pub name: String,
    /// Number in the ISID.
    pub number: u32,
    /// Local address; `None`: the system chooses one.
    pub from: Option<IpAddr>,
    /// Size of the socket's receive buffer in bytes; `None`: as the system sets it.
    pub receive_buffer: Option<usize>,
    /// Size of the socket's send buffer in bytes; `None`: as the system sets it.
    pub send_buffer: Option<usize>,
    /// Most time to wait for one response.
    pub timeout: Duration,
}

impl InitiatorPort {
    /// A port with a name of its own in this process.
    pub(super) fn of_load(number: u32) -> Self {
        Self::new(format!("iqn.2001-04.com.example:load-{}-{number}", std::process::id()), number)
    }

    /// A port that connects from any address.
    #[must_use]
    pub fn new(name: String, number: u32) -> Self {
        Self { name, number, from: None, receive_buffer: None, send_buffer: None, timeout: RESPONSE_TIMEOUT }
    }

    /// Connects to a portal.
    ///
    /// # Errors
    /// The connection is refused, or the local address cannot be used.
    pub fn connect(&self, portal: SocketAddr) -> io::Result<TcpStream> {
        let family = if portal.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
        if let Some(from) = self.from {
            rustix::net::bind(&socket, &SocketAddr::from((from, 0)))?;
        }
        if let Some(len) = self.receive_buffer {
            sockopt::set_socket_recv_buffer_size(&socket, len)?;
        }
        if let Some(len) = self.send_buffer {
            sockopt::set_socket_send_buffer_size(&socket, len)?;
        }
        rustix::net::connect(&socket, &portal)?;
        let socket = TcpStream::from(socket);
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(self.timeout))?;
        socket.set_write_timeout(Some(self.timeout))?;
        Ok(socket)
    }
}

/// Most time to wait for one response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);
/// Most requests of a login.
const LOGIN_REQUESTS_MAX: usize = 16;
/// Most unit attentions that [`Dialler::settle`] receives.
const ATTENTIONS_MAX: usize = 16;
/// MaxRecvDataSegmentLength of the generator in bytes; long PDUs make long reads cheapest.
pub(super) const RECEIVE_MAX: u32 = 256 << 10;

/// Connects, logs in as the initiator port `number`, and reads the capacity of the unit.
pub(super) fn dial(
    portal: SocketAddr,
    unit: &UnitName,
    digests: Digests,
    number: u32,
) -> Result<Dialled, LoadError> {
    let mut dialler = Dialler::connect(portal, digests, InitiatorPort::of_load(number))?;
    dialler.login(Some(unit))?;
    let settled = dialler.negotiation.connection().digests();
    if settled != digests {
        return Err(odd(format!("requested digests {digests:?}, negotiated {settled:?}")));
    }
    let capacity = dialler.settle()?;
    let Dialler { socket, negotiation, lun, cmd_sn, max_cmd_sn, exp_stat_sn, .. } = dialler;
    socket.set_read_timeout(None)?;
    socket.set_nonblocking(true)?;
    Ok(Dialled {
        socket,
        session: negotiation.session(),
        connection: negotiation.connection(),
        lun,
        next_cmd_sn: cmd_sn,
        max_cmd_sn,
        exp_stat_sn,
        block_len: capacity.block_len,
        blocks: capacity.last_lba + 1,
    })
}

const GOOD: u8 = 0;

/// A connection during login and capacity query.
pub(super) struct Dialler {
    pub(super) socket: TcpStream,
    port: InitiatorPort,
    reader: PduReader,
    pub(super) negotiation: Negotiation,
    digests: Digests,
    pub(super) lun: [u8; 8],
    pub(super) cmd_sn: CmdSn,
    max_cmd_sn: CmdSn,
    pub(super) exp_stat_sn: StatSn,
}

impl Dialler {
    pub(super) fn connect(
        portal: SocketAddr,
        digests: Digests,
        port: InitiatorPort,
    ) -> Result<Self, LoadError> {
        let socket = port.connect(portal)?;
        let preferences = Preferences {
            session: SessionParams {
                initial_r2t: false,
                max_burst_len: 16_776_192,
                first_burst_len: RECEIVE_MAX,
                default_time2retain: 0,
                ..SessionParams::default()
            },
            max_recv_data_segment_len: RECEIVE_MAX,
            header_digest: if digests.header { DigestChoice::Crc32c } else { DigestChoice::None },
            data_digest: if digests.data { DigestChoice::Crc32c } else { DigestChoice::None },
        };
        Ok(Self {
            socket,
            port,
            reader: PduReader::new(Limits::default()),
            negotiation: Negotiation::new(Role::Initiator, preferences),
            digests: Digests::NONE,
            lun: [0; 8],
            cmd_sn: CmdSn(1),
            max_cmd_sn: CmdSn(1),
            exp_stat_sn: StatSn(0),
        })
    }

    /// Logs in to the target of a unit; `None`: for discovery.
    pub(super) fn login(&mut self, unit: Option<&UnitName>) -> Result<(), LoadError> {
        let mut text = TextBuilder::new();
        text.pair(Key::InitiatorName.name(), &self.port.name);
        match unit {
            Some(unit) => {
                let lun = Lun::new(unit.lun.into());
                self.lun = lun.ok_or_else(|| odd(format!("{} is not a valid LUN", unit.lun)))?.to_wire();
                text.pair(Key::TargetName.name(), &unit.target);
                text.pair(Key::SessionType.name(), SessionType::Normal.name());
            }
            None => {
                self.negotiation.set_session_type(SessionType::Discovery);
                text.pair(Key::SessionType.name(), SessionType::Discovery.name());
            }
        }
        text.pair(Key::AuthMethod.name(), "None");
        let (mut stage, mut next) = (Stage::SecurityNegotiation, Stage::OperationalNegotiation);
        let mut answer = BytesMut::new();
        for _ in 0..LOGIN_REQUESTS_MAX {
            if stage == Stage::OperationalNegotiation {
                // Offers digests even if they are None: tgt refuses logins in which it has to offer digests itself.
                self.negotiation.offer(Key::HeaderDigest, &mut text);
                self.negotiation.offer(Key::DataDigest, &mut text);
                self.negotiation.offer_wanted(&mut text);
            }
            self.send(self.login_request(stage, next).into(), &std::mem::take(&mut text).finish())?;
            let (Pdu::LoginResponse(response), data) = self.receive()? else {
                return Err(odd("not a login response"));
            };
            if !response.status.is_success() {
                return Err(LoadError::Refused(response.status));
            }
            (self.exp_stat_sn, self.max_cmd_sn) = (response.stat_sn.next(), response.max_cmd_sn);
            answer.extend_from_slice(&data);
            if response.continues {
                continue;
            }
            for pair in pairs(&answer.split(), &TextLimits::default()) {
                let (key, value) = pair?;
                if let Event::Refused(key) = self.negotiation.receive(key, value, &mut text)? {
                    return Err(odd(format!("the target refuses {key}")));
                }
            }
            if let Some(reached) = response.next {
                (stage, next) = (reached, Stage::FullFeature);
            }
            if stage == Stage::FullFeature {
                self.digests = self.negotiation.connection().digests();
                let limits = Limits { max_data_len: RECEIVE_MAX, ..Limits::default() };
                self.reader.configure(limits, self.digests);
                return Ok(());
            }
        }
        Err(odd("the login does not end"))
    }

    pub(super) fn login_request(&self, stage: Stage, next: Stage) -> LoginRequest {
        let [_, high, middle, low] = self.port.number.to_be_bytes();
        LoginRequest {
            next: Some(next),
            continues: false,
            stage,
            version_max: 0,
            version_min: 0,
            isid: Isid([0x80, high, middle, low, 0, 0]),
            tsih: Tsih::NEW,
            itt: Itt(0),
            cid: Cid(0),
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
        }
    }

    /// Receives the pending unit attentions and reads the capacity.
    pub(super) fn settle(&mut self) -> Result<ReadCapacity, LoadError> {
        for _ in 0..ATTENTIONS_MAX {
            if self.command(&cdb(&Cdb::TestUnitReady)?, 0)?.0 == GOOD {
                break;
            }
        }
        self.capacity()
    }

    fn capacity(&mut self) -> Result<ReadCapacity, LoadError> {
        let ask = Cdb::ReadCapacity16 { allocation_len: 32 };
        match self.command(&cdb(&ask)?, 32)? {
            (GOOD, data) => {
                ReadCapacity::decode_16(&data).map_err(|_| odd("READ CAPACITY (16) data is too short"))
            }
            (status, _) => Err(LoadError::Status { status, what: "READ CAPACITY", offset: 0 }),
        }
    }

    /// Runs a command that reads at most `expected_len` bytes; returns its status and data.
    fn command(&mut self, cdb: &CdbBytes, expected_len: u32) -> Result<(u8, Vec<u8>), LoadError> {
        self.exchange(cdb.padded(), expected_len, &[])
    }

    /// Runs a command that reads at most `expected_len` bytes, or writes immediate data; returns its status and data.
    pub(super) fn exchange(
        &mut self,
        cdb: [u8; 16],
        expected_len: u32,
        write: &[u8],
    ) -> Result<(u8, Vec<u8>), LoadError> {
        let command = ScsiCommand {
            immediate: false,
            last: true,
            read: expected_len > 0,
            write: !write.is_empty(),
            attribute: TaskAttribute::Simple,
            lun: self.lun,
            itt: Itt(self.cmd_sn.0),
            expected_len: expected_len.max(write.len() as u32),
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            cdb,
        };
        self.cmd_sn = self.cmd_sn.next();
        self.send(command.into(), write)?;
        let mut data = Vec::new();
        loop {
            match self.receive()? {
                (Pdu::DataIn(data_in), part) => {
                    data.extend_from_slice(&part);
                    self.max_cmd_sn = data_in.max_cmd_sn;
                    if let Some(status) = data_in.status {
                        self.exp_stat_sn = status.stat_sn.next();
                        return Ok((status.status, data));
                    }
                }
                (Pdu::ScsiResponse(response), _) => {
                    (self.exp_stat_sn, self.max_cmd_sn) = (response.stat_sn.next(), response.max_cmd_sn);
                    return Ok((response.status, data));
                }
                (other, _) => return Err(odd(format!("unexpected {other:?}"))),
            }
        }
    }

    pub(super) fn send(&mut self, pdu: Pdu, data: &[u8]) -> Result<(), LoadError> {
        let (mut bhs, mut bytes) = ([0; BHS_LEN], BytesMut::new());
        pdu.encode(&mut bhs);
        encode_pdu(&mut bytes, &bhs, &[], data, self.digests);
        Ok(self.socket.write_all(&bytes)?)
    }

    /// The next PDU that is not a NOP-In; answers pings.
    pub(super) fn receive(&mut self) -> Result<(Pdu, Bytes), LoadError> {
        loop {
            let raw = self.receive_raw()?;
            match Pdu::decode(&raw.bhs)? {
                Pdu::NopIn(ping) => {
                    if let Some(ttt) = ping.ttt {
                        let pong = NopOut {
                            immediate: true,
                            lun: ping.lun,
                            itt: None,
                            ttt: Some(ttt),
                            cmd_sn: self.cmd_sn,
                            exp_stat_sn: self.exp_stat_sn,
                        };
                        self.send(pong.into(), &raw.data)?;
                    }
                }
                pdu => return Ok((pdu, raw.data)),
            }
        }
    }

    fn receive_raw(&mut self) -> Result<iscsi_proto::frame::RawPdu, LoadError> {
        let mut bytes = [0; 8192];
        loop {
            if let Some(raw) = self.reader.next_pdu() {
                return Ok(raw?);
            }
            match self.socket.read(&mut bytes)? {
                0 => return Err(LoadError::Closed),
                count => self.reader.push(&bytes[..count]),
            }
        }
    }
}

pub(super) fn cdb(cdb: &Cdb) -> Result<CdbBytes, LoadError> {
    encode(cdb).ok_or_else(|| odd("a command without a CDB"))
}
