//! One connection of an initiator, written on `iscsi-proto`: login, commands with their data, and any other PDU or
//! bytes. It checks what RFC 7143 promises to every initiator: StatSN, the command window, and the rules for the PDUs of
//! each command.

mod commands;
mod rules;

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use iscsi_proto::frame::{Digests, Limits, PduReader, RawPdu, encode_pdu};
use iscsi_proto::ids::{Cid, Isid, Itt, Tsih};
use iscsi_proto::login::{LoginStatus, Stage};
use iscsi_proto::params::{ConnectionParams, SessionParams, SessionType};
use iscsi_proto::pdu::{
    Bhs, LoginRequest, LogoutReason, LogoutRequest, NopOut, Pdu, TaskFunction, TaskManagementRequest,
    TaskResponse, TextRequest,
};
use iscsi_proto::sn::{CmdSn, StatSn};
use iscsi_proto::text::keys::{Key, Role};
use iscsi_proto::text::negotiate::{Negotiation, Preferences};
use iscsi_proto::text::{TextBuilder, TextLimits, pairs};
use scsi_core::lun::Lun;

use self::commands::Task;
pub use self::commands::{Io, Reply};
use self::rules::Rules;
use crate::pair::Pair;
use crate::setup::{DISK, TARGET};
use crate::trace::{self, Trace};

/// Names, identifiers and preferences of a login.
#[derive(Clone, Debug)]
pub struct LoginOptions {
    /// Value of InitiatorName.
    pub name: String,
    /// The initiator's part of the session identifier.
    pub isid: Isid,
    /// The session to join; [`Tsih::NEW`] for a new one.
    pub tsih: Tsih,
    /// Connection ID.
    pub cid: Cid,
    /// TargetName; `None` for a discovery session.
    pub target: Option<String>,
    /// What the initiator offers and accepts.
    pub keys: Preferences,
    /// CmdSN of the login.
    pub cmd_sn: CmdSn,
}

impl Default for LoginOptions {
    /// A session with [`TARGET`] that offers unsolicited data and 8 outstanding R2Ts.
    fn default() -> Self {
        let session =
            SessionParams { initial_r2t: false, max_outstanding_r2t: 8, ..SessionParams::default() };
        Self {
            name: "iqn.2026-01.org.example:host".to_owned(),
            isid: Isid([0x00, 0x02, 0x3d, 0, 0, 1]),
            tsih: Tsih::NEW,
            cid: Cid(0),
            target: Some(TARGET.to_owned()),
            keys: Preferences { session, max_recv_data_segment_len: 65_536, ..Preferences::default() },
            cmd_sn: CmdSn(1),
        }
    }
}

impl LoginOptions {
    /// Another initiator: its name and ISID contain `number`.
    #[must_use]
    pub fn of_host(number: u8) -> Self {
        let name = format!("iqn.2026-01.org.example:host{number}");
        Self { name, isid: Isid([0x00, 0x02, 0x3d, 0, 0, number]), ..Self::default() }
    }
}

/// One connection of an initiator.
pub struct Initiator {
    pair: Pair,
    /// Index of the connection in the pair.
    pub wire: usize,
    /// Digests of the full feature phase.
    pub digests: Digests,
    /// Negotiated session parameters.
    pub session: SessionParams,
    /// Negotiated connection parameters.
    pub connection: ConnectionParams,
    /// Target session identifying handle.
    pub tsih: Tsih,
    /// LUN of the commands.
    pub lun: u64,
    /// CmdSN of the next command.
    pub cmd_sn: CmdSn,
    /// StatSN expected in the next response.
    pub exp_stat_sn: StatSn,
    /// ExpCmdSN and MaxCmdSN received last.
    pub window: Option<(CmdSn, CmdSn)>,
    /// ITT of the next task.
    pub itt: u32,
    reader: PduReader,
    tasks: BTreeMap<u32, Task>,
    rules: Rules,
    inbox: VecDeque<(Pdu, Bytes)>,
    trace: Trace,
}

impl Initiator {
    /// A new connection, before login.
    #[must_use]
    pub fn raw(pair: &Pair) -> Self {
        let wire = pair.connect();
        Self {
            pair: pair.clone(),
            wire,
            digests: Digests::NONE,
            session: SessionParams::default(),
            connection: ConnectionParams::default(),
            tsih: Tsih::NEW,
            lun: DISK,
            cmd_sn: CmdSn(1),
            exp_stat_sn: StatSn(0),
            window: None,
            itt: 1,
            reader: PduReader::new(Limits { max_data_len: 1 << 24, max_ahs_len: 0 }),
            tasks: BTreeMap::new(),
            rules: Rules::default(),
            inbox: VecDeque::new(),
            trace: Trace::new(&format!("connection {wire}")),
        }
    }

    /// Logs in with the default options and receives the power-on unit attention.
    ///
    /// # Panics
    /// The login fails.
    #[must_use]
    pub fn login(pair: &Pair) -> Self {
        Self::login_as(pair, &LoginOptions::default())
    }

    /// [`Self::login`] with these options.
    ///
    /// # Panics
    /// The login fails.
    #[must_use]
    pub fn login_as(pair: &Pair, options: &LoginOptions) -> Self {
        let mut initiator = Self::try_login(pair, options).expect("the login succeeds");
        if options.target.is_some() && options.tsih.is_new() {
            let _ = initiator.run(&[0; 6], Io::None);
        }
        initiator
    }

    /// Logs in from the operational stage to the full feature phase.
    ///
    /// # Errors
    /// The target refuses the login.
    pub fn try_login(pair: &Pair, options: &LoginOptions) -> Result<Self, LoginStatus> {
        let mut initiator = Self::raw(pair);
        initiator.exchange_login(options)?;
        Ok(initiator)
    }

    fn exchange_login(&mut self, options: &LoginOptions) -> Result<(), LoginStatus> {
        self.cmd_sn = options.cmd_sn;
        let mut negotiation = Negotiation::new(Role::Initiator, options.keys);
        let mut text = TextBuilder::new();
        text.pair(Key::InitiatorName.name(), &options.name);
        match &options.target {
            Some(target) => text.pair(Key::TargetName.name(), target),
            None => {
                text.pair(Key::SessionType.name(), "Discovery");
                negotiation.set_session_type(SessionType::Discovery);
            }
        }
        if !options.tsih.is_new() {
            negotiation = Negotiation::joining(Role::Initiator, options.keys, options.keys.session);
        }
        negotiation.offer_wanted(&mut text);
        for _ in 0..8 {
            let request = LoginRequest {
                next: Some(Stage::FullFeature),
                continues: false,
                stage: Stage::OperationalNegotiation,
                version_max: 0,
                version_min: 0,
                isid: options.isid,
                tsih: options.tsih,
                itt: Itt(0),
                cid: options.cid,
                cmd_sn: self.cmd_sn,
                exp_stat_sn: self.exp_stat_sn,
            };
            self.send(request, &std::mem::take(&mut text).finish());
            let (Pdu::LoginResponse(response), data) = self.recv() else { panic!("not a login response") };
            if !response.status.is_success() {
                return Err(response.status);
            }
            self.exp_stat_sn = response.stat_sn.next();
            for pair in pairs(&data, &TextLimits::default()) {
                let (key, value) = pair.expect("text of pairs");
                negotiation.receive(key, value, &mut text).expect("an answer that the offer allows");
            }
            if response.next == Some(Stage::FullFeature) {
                self.tsih = response.tsih;
                self.enter(negotiation.session(), negotiation.connection());
                return Ok(());
            }
        }
        panic!("the login does not end");
    }

    /// Enters the full feature phase with these parameters.
    pub fn enter(&mut self, session: SessionParams, connection: ConnectionParams) {
        (self.session, self.connection) = (session, connection);
        self.digests = connection.digests();
        let limits = Limits { max_data_len: connection.max_recv_data_segment_len, max_ahs_len: 0 };
        self.reader.configure(limits, self.digests);
    }

    /// Sends bytes unchanged.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.trace.note(&format!("{} bytes", bytes.len()));
        if let Some(Ok(pdu)) = bytes.first_chunk().map(Pdu::decode) {
            self.rules.sent(&pdu);
        }
        self.pair.deliver(self.wire, bytes);
    }

    /// The encoding of a PDU, with digests and padding.
    #[must_use]
    pub fn wire_bytes(&self, bhs: &Bhs, ahs: &[u8], data: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        encode_pdu(&mut out, bhs, ahs, data, self.digests);
        out
    }

    /// Sends a PDU.
    pub fn send(&mut self, pdu: impl Into<Pdu>, data: &[u8]) {
        let pdu = pdu.into();
        self.trace.sent(&pdu, data);
        self.rules.sent(&pdu);
        let mut bhs = [0; 48];
        pdu.encode(&mut bhs);
        let bytes = self.wire_bytes(&bhs, &[], data);
        self.pair.deliver(self.wire, &bytes);
    }

    /// The next PDU.
    ///
    /// # Panics
    /// None has arrived, or its StatSN or window is wrong.
    #[track_caller]
    pub fn recv(&mut self) -> (Pdu, Bytes) {
        match self.try_recv() {
            Some(pdu) => pdu,
            None => panic!("no PDU has arrived"),
        }
    }

    /// The next PDU, if one has arrived.
    pub fn try_recv(&mut self) -> Option<(Pdu, Bytes)> {
        if let Some(pdu) = self.inbox.pop_front() {
            return Some(pdu);
        }
        self.receive()
    }

    /// All PDUs that have arrived, formatted by [`trace::lines`].
    pub fn lines(&mut self) -> Vec<String> {
        let mut pdus = Vec::new();
        while let Some(pdu) = self.try_recv() {
            pdus.push(pdu);
        }
        trace::lines(&pdus)
    }

    /// Whether the target has closed the connection.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.pair.is_closed(self.wire)
    }

    /// Closes the connection without a logout.
    pub fn hang_up(&mut self) {
        self.trace.note("initiator closes the connection");
        self.pair.hang_up(self.wire);
    }

    fn receive(&mut self) -> Option<(Pdu, Bytes)> {
        let arrived = self.pair.take(self.wire);
        // Bytes arrive in deliveries of the same size as at the target.
        let chunk = self.pair.side().setup.chunk;
        arrived.chunks(chunk.min(arrived.len().max(1))).for_each(|piece| self.reader.push(piece));
        let RawPdu { bhs, data, .. } = self.reader.next_pdu()?.expect("PDUs with correct digests");
        let pdu = Pdu::decode(&bhs).expect("a PDU of RFC 7143");
        self.trace.received(&pdu, &data);
        self.check_numbers(&pdu);
        self.rules.received(&pdu, &data, &self.session, self.connection.max_recv_data_segment_len);
        Some((pdu, data))
    }

    /// RFC 7143 4.2.2: each response has the next StatSN, and the window does not shrink.
    fn check_numbers(&mut self, pdu: &Pdu) {
        let (stat_sn, takes, exp, max) = match pdu {
            Pdu::LoginResponse(_) => return,
            Pdu::ScsiResponse(p) => (p.stat_sn, true, p.exp_cmd_sn, p.max_cmd_sn),
            Pdu::TaskManagementResponse(p) => (p.stat_sn, true, p.exp_cmd_sn, p.max_cmd_sn),
            Pdu::TextResponse(p) => (p.stat_sn, true, p.exp_cmd_sn, p.max_cmd_sn),
            Pdu::LogoutResponse(p) => (p.stat_sn, true, p.exp_cmd_sn, p.max_cmd_sn),
            Pdu::AsyncMessage(p) => (p.stat_sn, true, p.exp_cmd_sn, p.max_cmd_sn),
            Pdu::Reject(p) => (p.stat_sn, true, p.exp_cmd_sn, p.max_cmd_sn),
            Pdu::R2t(p) => (p.stat_sn, false, p.exp_cmd_sn, p.max_cmd_sn),
            Pdu::NopIn(p) => (p.stat_sn, p.itt.is_some(), p.exp_cmd_sn, p.max_cmd_sn),
            Pdu::DataIn(p) => {
                let stat_sn = p.status.map(|status| status.stat_sn);
                (stat_sn.unwrap_or(self.exp_stat_sn), stat_sn.is_some(), p.exp_cmd_sn, p.max_cmd_sn)
            }
            other => panic!("a target does not send {other:?}"),
        };
        assert_eq!(stat_sn, self.exp_stat_sn, "StatSN of {pdu:?}");
        if takes {
            self.exp_stat_sn = stat_sn.next();
        }
        if let Some((exp_before, max_before)) = self.window {
            assert!(!exp.is_before(exp_before), "ExpCmdSN does not decrease");
            assert!(!max.is_before(max_before), "MaxCmdSN does not decrease");
        }
        self.window = Some((exp, max));
    }

    /// Takes the next ITT.
    pub fn next_itt(&mut self) -> Itt {
        self.itt += 1;
        Itt(self.itt - 1)
    }

    /// Takes the next CmdSN.
    pub fn next_cmd_sn(&mut self) -> CmdSn {
        let cmd_sn = self.cmd_sn;
        self.cmd_sn = cmd_sn.next();
        cmd_sn
    }

    /// The LUN field of requests.
    ///
    /// # Panics
    /// [`Self::lun`] is not a valid LUN.
    #[must_use]
    pub fn lun_wire(&self) -> [u8; 8] {
        Lun::new(self.lun).expect("a valid LUN").to_wire()
    }

    /// Sends a task management request with the I bit and returns its ITT.
    pub fn manage(&mut self, function: TaskFunction, referenced: Option<Itt>) -> Itt {
        let request = self.task_management(function, referenced);
        self.send(request, &[]);
        request.itt
    }

    /// An immediate task management request, for the caller to change and send.
    pub fn task_management(
        &mut self,
        function: TaskFunction,
        referenced_task: Option<Itt>,
    ) -> TaskManagementRequest {
        TaskManagementRequest {
            immediate: true,
            function,
            lun: self.lun_wire(),
            itt: self.next_itt(),
            referenced_task,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            ref_cmd_sn: CmdSn(0),
            exp_data_sn: 0,
        }
    }

    /// The response to a task management request, if it has arrived.
    pub fn managed(&mut self, itt: Itt) -> Option<TaskResponse> {
        self.poll();
        let found = self.inbox.iter().position(
            |(pdu, _)| matches!(pdu, Pdu::TaskManagementResponse(response) if response.itt == itt),
        )?;
        match self.inbox.remove(found)? {
            (Pdu::TaskManagementResponse(response), _) => Some(response.response),
            _ => None,
        }
    }

    /// A Text Request, for the caller to change and send.
    pub fn text(&mut self) -> TextRequest {
        TextRequest {
            immediate: false,
            last: true,
            continues: false,
            lun: [0; 8],
            itt: self.next_itt(),
            ttt: None,
            cmd_sn: self.next_cmd_sn(),
            exp_stat_sn: self.exp_stat_sn,
        }
    }

    /// A NOP-Out that requests a response, for the caller to change and send.
    pub fn nop(&mut self) -> NopOut {
        NopOut {
            immediate: false,
            lun: [0; 8],
            itt: Some(self.next_itt()),
            ttt: None,
            cmd_sn: self.next_cmd_sn(),
            exp_stat_sn: self.exp_stat_sn,
        }
    }

    /// A Logout Request of this connection, for the caller to change and send.
    pub fn logout(&mut self, reason: LogoutReason) -> LogoutRequest {
        LogoutRequest {
            immediate: false,
            reason,
            itt: self.next_itt(),
            cid: Cid(0),
            cmd_sn: self.next_cmd_sn(),
            exp_stat_sn: self.exp_stat_sn,
        }
    }
}
