//! Discovers the targets of a portal and their addresses (RFC 7143 appendix C).
//!
//! ```text
//! cargo run -p iscsi-proto --example send_targets -- 192.0.2.7:3260
//! ```

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::BytesMut;
use iscsi_proto::frame::{Digests, Limits, PduReader, RawPdu, encode_pdu};
use iscsi_proto::ids::{Cid, Isid, Itt, Tsih, Ttt};
use iscsi_proto::login::Stage;
use iscsi_proto::params::SessionType;
use iscsi_proto::pdu::{self, LoginRequest, LogoutReason, LogoutRequest, NopIn, NopOut, Pdu, TextRequest};
use iscsi_proto::sn::{CmdSn, StatSn};
use iscsi_proto::text::keys::{Key, Role};
use iscsi_proto::text::negotiate::{Event, Negotiation, Preferences};
use iscsi_proto::text::{TextBuilder, TextLimits, pairs};

const INITIATOR_NAME: &str = "iqn.2001-04.com.example:send-targets";

/// Maximum length of the answer in bytes.
const ANSWER_LEN_MAX: usize = 16 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("usage: send_targets ADDRESS:PORT")?;
    let mut initiator = Initiator::connect(&address)?;
    initiator.login()?;
    let answer = initiator.send_targets()?;
    let limits = TextLimits { text_len_max: ANSWER_LEN_MAX, pairs_max: usize::MAX, ..TextLimits::default() };
    for pair in pairs(&answer, &limits) {
        match pair? {
            ("TargetName", name) => println!("{name}"),
            ("TargetAddress", address) => println!("    {address}"),
            (key, value) => println!("    {key} = {value}"),
        }
    }
    initiator.logout()
}

/// Maximum number of Login Requests.
const LOGIN_REQUESTS_MAX: usize = 16;

/// A discovery session with one connection.
struct Initiator {
    stream: TcpStream,
    reader: PduReader,
    negotiation: Negotiation,
    itt: Itt,
    cmd_sn: CmdSn,
    exp_stat_sn: StatSn,
}

impl Initiator {
    fn connect(address: &str) -> Result<Self, Box<dyn Error>> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let preferences = Preferences { max_recv_data_segment_len: 65_536, ..Preferences::default() };
        let mut negotiation = Negotiation::new(Role::Initiator, preferences);
        negotiation.set_session_type(SessionType::Discovery);
        Ok(Self {
            stream,
            reader: PduReader::new(Limits::default()),
            negotiation,
            itt: Itt(0),
            cmd_sn: CmdSn(1),
            exp_stat_sn: StatSn(0),
        })
    }

    /// Logs in without authentication. Starts in the security stage and ends in the full feature phase.
    fn login(&mut self) -> Result<(), Box<dyn Error>> {
        let mut text = TextBuilder::new();
        text.pair(Key::InitiatorName.name(), INITIATOR_NAME);
        text.pair(Key::SessionType.name(), SessionType::Discovery.name());
        text.pair(Key::AuthMethod.name(), "None");
        let (mut stage, mut next) = (Stage::SecurityNegotiation, Stage::OperationalNegotiation);
        let mut answer = BytesMut::new();
        for _ in 0..LOGIN_REQUESTS_MAX {
            if stage == Stage::OperationalNegotiation {
                self.negotiation.offer_wanted(&mut text);
            }
            self.send(self.login_request(stage, next).into(), &std::mem::take(&mut text).finish())?;
            let (response, data) = self.receive()?;
            let Pdu::LoginResponse(response) = response else {
                return Err(format!("not a login response: {response:?}").into());
            };
            if !response.status.is_success() {
                return Err(format!("login refused: {:?}", response.status).into());
            }
            self.exp_stat_sn = response.stat_sn.next();
            answer.extend_from_slice(&data);
            if response.continues {
                continue;
            }
            for pair in pairs(&answer.split(), &TextLimits::default()) {
                let (key, value) = pair?;
                match self.negotiation.receive(key, value, &mut text)? {
                    Event::Security(Key::AuthMethod) if value != "None" => {
                        return Err("target requires authentication".into());
                    }
                    Event::Refused(key) => return Err(format!("target refused {key}").into()),
                    _ => {}
                }
            }
            if let Some(reached) = response.next {
                (stage, next) = (reached, Stage::FullFeature);
            }
            if stage == Stage::FullFeature {
                self.enter_full_feature();
                return Ok(());
            }
        }
        Err(format!("no success after {LOGIN_REQUESTS_MAX} login requests").into())
    }

    /// Configures the reader with the negotiated parameters.
    fn enter_full_feature(&mut self) {
        let connection = self.negotiation.connection();
        let limits = Limits { max_data_len: connection.max_recv_data_segment_len, ..Limits::default() };
        self.reader.configure(limits, connection.digests());
    }

    fn login_request(&self, stage: Stage, next: Stage) -> LoginRequest {
        LoginRequest {
            next: Some(next),
            continues: false,
            stage,
            version_max: 0,
            version_min: 0,
            isid: Isid([0x80, 0x12, 0x34, 0x56, 0, 0]),
            tsih: Tsih::NEW,
            itt: self.itt,
            cid: Cid(0),
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
        }
    }

    /// Requests the list of all targets. Each further part of a long answer is requested by an empty Text Request.
    fn send_targets(&mut self) -> Result<BytesMut, Box<dyn Error>> {
        let mut text = TextBuilder::new();
        text.pair(Key::SendTargets.name(), "All");
        self.itt = Itt(self.itt.0 + 1);
        let (mut answer, mut ttt): (_, Option<Ttt>) = (BytesMut::new(), None);
        loop {
            let request = TextRequest {
                immediate: false,
                last: true,
                continues: false,
                lun: [0; 8],
                itt: self.itt,
                ttt,
                cmd_sn: self.cmd_sn,
                exp_stat_sn: self.exp_stat_sn,
            };
            self.cmd_sn = self.cmd_sn.next();
            self.send(request.into(), &std::mem::take(&mut text).finish())?;
            let (response, data) = self.receive()?;
            let Pdu::TextResponse(response) = response else {
                return Err(format!("not a text response: {response:?}").into());
            };
            self.exp_stat_sn = response.stat_sn.next();
            answer.extend_from_slice(&data);
            if response.last {
                return Ok(answer);
            }
            if answer.len() > ANSWER_LEN_MAX {
                return Err(format!("answer is longer than {ANSWER_LEN_MAX} bytes").into());
            }
            ttt = response.ttt;
        }
    }

    fn logout(&mut self) -> Result<(), Box<dyn Error>> {
        let request = LogoutRequest {
            immediate: false,
            reason: LogoutReason::CLOSE_SESSION,
            itt: Itt(self.itt.0 + 1),
            cid: Cid(0),
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
        };
        self.send(request.into(), &[])?;
        match self.receive()?.0 {
            Pdu::LogoutResponse(_) => Ok(()),
            other => Err(format!("not a logout response: {other:?}").into()),
        }
    }

    /// Returns the next PDU that is not a ping, and responds to pings.
    fn receive(&mut self) -> Result<(Pdu, bytes::Bytes), Box<dyn Error>> {
        loop {
            let RawPdu { bhs, data, .. } = self.receive_raw()?;
            match Pdu::decode(&bhs)? {
                Pdu::NopIn(ping) if ping.ttt.is_some() => self.send(self.pong(&ping).into(), &data)?,
                Pdu::NopIn(_) => {}
                pdu => return Ok((pdu, data)),
            }
        }
    }

    fn receive_raw(&mut self) -> Result<RawPdu, Box<dyn Error>> {
        let mut chunk = [0; 8192];
        loop {
            if let Some(pdu) = self.reader.next_pdu() {
                return Ok(pdu?);
            }
            match self.stream.read(&mut chunk)? {
                0 => return Err("the target closed the connection".into()),
                len => self.reader.push(&chunk[..len]),
            }
        }
    }

    fn pong(&self, ping: &NopIn) -> NopOut {
        NopOut {
            immediate: true,
            lun: ping.lun,
            itt: None,
            ttt: ping.ttt,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
        }
    }

    fn send(&mut self, pdu: Pdu, data: &[u8]) -> Result<(), Box<dyn Error>> {
        let mut bhs = [0; pdu::BHS_LEN];
        pdu.encode(&mut bhs);
        // Digests are not used before the full feature phase.
        let in_login = matches!(pdu, Pdu::LoginRequest(_));
        let digests = if in_login { Digests::NONE } else { self.negotiation.connection().digests() };
        let mut out = BytesMut::new();
        encode_pdu(&mut out, &bhs, &[], data, digests);
        Ok(self.stream.write_all(&out)?)
    }
}
