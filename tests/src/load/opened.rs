//! Connections of which the caller sends every byte itself.

use std::net::{SocketAddr, TcpStream};

use bytes::BytesMut;
use iscsi_proto::frame::{Digests, encode_pdu};
use iscsi_proto::login::{LoginStatus, Stage};
use iscsi_proto::pdu::{BHS_LEN, Pdu};
use iscsi_proto::sn::{CmdSn, StatSn};
use iscsi_proto::text::TextBuilder;
use iscsi_proto::text::keys::Key;

use super::dial::{Dialler, InitiatorPort};
use super::{LoadError, UnitName, odd};

/// A session in the full feature phase, with a blocking socket and no digests.
#[derive(Debug)]
pub struct Opened {
    /// Its connection.
    pub socket: TcpStream,
    /// The unit's LUN.
    pub lun: [u8; 8],
    /// CmdSN of the next command.
    pub cmd_sn: CmdSn,
    /// StatSN expected next.
    pub exp_stat_sn: StatSn,
    /// The longest data segment that the target accepts, in bytes.
    pub max_data_len: usize,
}

impl Opened {
    /// Logs in to the target of a unit, or for discovery if there is none.
    ///
    /// # Errors
    /// The target refuses the login, or the connection fails.
    pub fn log_in(
        portal: SocketAddr,
        port: InitiatorPort,
        unit: Option<&UnitName>,
    ) -> Result<Self, LoadError> {
        let mut dialler = Dialler::connect(portal, Digests::NONE, port)?;
        dialler.login(unit)?;
        Ok(Self::of(dialler))
    }

    /// Logs in, receives the pending unit attentions and runs a command with this CDB and immediate data, whatever its
    /// status.
    ///
    /// # Errors
    /// As for [`Self::log_in`], and if a command has no response.
    pub fn log_in_and_run(
        portal: SocketAddr,
        port: InitiatorPort,
        unit: &UnitName,
        (cdb, data): ([u8; 16], &[u8]),
    ) -> Result<Self, LoadError> {
        let mut dialler = Dialler::connect(portal, Digests::NONE, port)?;
        dialler.login(Some(unit))?;
        dialler.settle()?;
        dialler.exchange(cdb, 0, data)?;
        Ok(Self::of(dialler))
    }

    fn of(dialler: Dialler) -> Self {
        let max_data_len = dialler.negotiation.connection().max_xmit_data_segment_len as usize;
        let Dialler { socket, lun, cmd_sn, exp_stat_sn, .. } = dialler;
        Self { socket, lun, cmd_sn, exp_stat_sn, max_data_len }
    }
}

/// The bytes of a PDU without digests.
#[must_use]
pub fn encode(pdu: impl Into<Pdu>, data: &[u8]) -> Vec<u8> {
    let (mut bhs, mut bytes) = ([0; BHS_LEN], BytesMut::new());
    pdu.into().encode(&mut bhs);
    encode_pdu(&mut bytes, &bhs, &[], data, Digests::NONE);
    bytes.to_vec()
}

/// Begins a login with CHAP as `user` and sends a wrong proof.
///
/// # Errors
/// The target does not answer with an authentication failure.
pub fn fail_proof(
    portal: SocketAddr,
    port: InitiatorPort,
    target: &str,
    user: &str,
) -> Result<(), LoadError> {
    let name = port.name.clone();
    let mut dialler = Dialler::connect(portal, Digests::NONE, port)?;
    let steps: [&[(Key, &str)]; 3] = [
        &[(Key::InitiatorName, &name), (Key::TargetName, target), (Key::AuthMethod, "CHAP")],
        &[(Key::ChapA, "5")],
        &[(Key::ChapN, user), (Key::ChapR, "0x00000000000000000000000000000000")],
    ];
    for (number, keys) in steps.iter().enumerate() {
        let mut text = TextBuilder::new();
        keys.iter().for_each(|(key, value)| text.pair(key.name(), value));
        let mut request = dialler.login_request(Stage::SecurityNegotiation, Stage::OperationalNegotiation);
        // CHAP_A is sent without transit (RFC 7143 12.1.3).
        request.next = request.next.filter(|_| number != 1);
        dialler.send(request.into(), &text.finish())?;
        let (Pdu::LoginResponse(response), _) = dialler.receive()? else {
            return Err(odd("not a login response"));
        };
        match response.status {
            LoginStatus::AuthenticationFailure => return Ok(()),
            status if status.is_success() => dialler.exp_stat_sn = response.stat_sn.next(),
            status => return Err(LoadError::Refused(status)),
        }
    }
    Err(odd("a wrong proof was accepted"))
}
