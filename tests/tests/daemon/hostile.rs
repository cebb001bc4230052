//! Peers that violate the protocol: each gets the response of RFC 7143 or is disconnected, and another session continues.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use bytes::BytesMut;
use iscsi_proto::frame::{Cut, Digests, Limits, cut, encode_pdu};
use iscsi_proto::ids::{Cid, Itt, Tsih};
use iscsi_proto::login::{LoginStatus, Stage};
use iscsi_proto::pdu::{Bhs, LoginRequest, LoginResponse, NopOut, Pdu, data_len, set_lengths};
use iscsi_proto::sn::{CmdSn, StatSn};

use crate::client::{Client, End, LOCALHOST, LOGIN_REQUEST, next_name};
use crate::harness::{DEADLINE, DISK, Daemon, target_name, wait_until};
use crate::load::{LOADED_DISK_LEN, Load};

/// Rounds of the other session before and after the peers.
const ROUNDS: u64 = 30;

/// Runs `peers` beside a verified load, whose session must continue without an error.
fn beside_a_load(peers: impl FnOnce(&Daemon)) {
    let daemon = Daemon::start();
    let file = daemon.disk(1, LOADED_DISK_LEN);
    let good = Load::start(&daemon, 1, 0);
    good.wait_rounds(ROUNDS);
    peers(&daemon);
    good.wait_rounds(ROUNDS);
    // New sessions are served.
    Client::login(&daemon, 1, DISK).read(0, 1).unwrap();
    good.finish().assert_in(&file);
}

pub(crate) fn dial(daemon: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(daemon.portal).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Receives until the daemon closes the connection.
#[track_caller]
fn receive_until_closed(mut stream: TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    match stream.read_to_end(&mut received) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("not closed: {error}"),
    }
    received
}

/// Sends bytes to a daemon that may close the connection meanwhile.
fn send(stream: &mut TcpStream, bytes: &[u8]) {
    // The daemon may have closed the connection, as it should.
    let _ = stream.write_all(bytes);
}

/// A login request that asks for the full feature phase.
pub(crate) const REQUEST: LoginRequest =
    LoginRequest { next: Some(Stage::FullFeature), stage: Stage::OperationalNegotiation, ..LOGIN_REQUEST };
/// A ping.
pub(crate) const PING: NopOut = NopOut {
    immediate: true,
    lun: [0; 8],
    itt: Some(Itt(7)),
    ttt: None,
    cmd_sn: CmdSn(1),
    exp_stat_sn: StatSn(1),
};

pub(crate) fn header(pdu: impl Into<Pdu>, data_len: usize) -> Bhs {
    let mut bhs = [0; 48];
    pdu.into().encode(&mut bhs);
    set_lengths(&mut bhs, 0, data_len);
    bhs
}

/// Status of the login response at the start of `bytes`.
fn login_status(bytes: &[u8]) -> Option<LoginStatus> {
    let limits = Limits::default();
    let Ok(Cut::Header(header)) = cut(bytes, Digests::NONE, &limits) else { return None };
    match Pdu::decode(header.bhs) {
        Ok(Pdu::LoginResponse(response)) => Some(response.status),
        _ => None,
    }
}

#[test]
fn random_bytes_close_the_connection() {
    beside_a_load(|daemon| {
        let mut state = 1_u32;
        for _ in 0..32 {
            let mut stream = dial(daemon);
            let garbage: Vec<u8> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .take(64 << 10)
            .collect();
            send(&mut stream, &garbage);
            // The bytes may announce a longer PDU.
            let _ = stream.shutdown(Shutdown::Write);
            receive_until_closed(stream);
        }
    });
}

#[test]
fn incomplete_requests_end_with_their_connection() {
    beside_a_load(|daemon| {
        let text = format!("InitiatorName={}\0TargetName={}\0", next_name(), target_name(1));
        let mut whole = header(REQUEST, text.len()).to_vec();
        whole.extend_from_slice(text.as_bytes());
        for len in [0, 1, 47, 48, 49, whole.len() - 1] {
            let mut stream = dial(daemon);
            send(&mut stream, &whole[..len]);
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(receive_until_closed(stream), b"", "no response to {len} bytes");
        }
    });
}

#[test]
fn too_long_segment_closes_the_connection_at_once() {
    beside_a_load(|daemon| {
        for len in [8193, 0x00ff_ffff] {
            let mut stream = dial(daemon);
            send(&mut stream, &header(REQUEST, len));
            receive_until_closed(stream);
        }
        // The same in the full feature phase.
        let mut client = Client::login(daemon, 1, DISK);
        client.send_bytes(&header(PING, 0x00ff_ffff));
        assert!(matches!(client.read(0, 1), Err(End::Closed(_))));
    });
}

#[test]
fn request_before_login_closes_the_connection() {
    beside_a_load(|daemon| {
        let mut stream = dial(daemon);
        send(&mut stream, &header(PING, 0));
        let received = receive_until_closed(stream);
        assert!(
            received.is_empty() || login_status(&received).is_some_and(|status| !status.is_success()),
            "{received:?}"
        );
    });
}

#[test]
fn missing_unknown_and_invalid_names_are_refused() {
    beside_a_load(|daemon| {
        let good = format!("InitiatorName={}\0", next_name());
        let cases = [
            (format!("TargetName={}\0", target_name(1)), LoginStatus::MissingParameter),
            (good.clone(), LoginStatus::MissingParameter),
            (format!("{good}TargetName=iqn.2026-01.org.example:nobody\0"), LoginStatus::NotFound),
        ];
        for (text, status) in cases {
            let mut stream = dial(daemon);
            let mut bytes = header(REQUEST, text.len()).to_vec();
            bytes.extend_from_slice(text.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            send(&mut stream, &bytes);
            assert_eq!(login_status(&receive_until_closed(stream)), Some(status), "{text:?}");
        }
        let refused = Client::try_login(daemon.portal, LOCALHOST, "nobody at all", &target_name(1), DISK);
        assert!(matches!(refused, Err(End::Refused(_) | End::Closed(_))), "{:?}", refused.err());
    });
}

#[test]
fn silent_connections_of_an_address_are_limited() {
    beside_a_load(|daemon| {
        let before = daemon.descriptors();
        let bound = target_engine::limits::LOGINS_PER_ADDRESS_MAX;
        let silent: Vec<TcpStream> =
            (0..bound + 64).filter_map(|_| TcpStream::connect(daemon.portal).ok()).collect();
        // Another address is not limited.
        let other = [127, 0, 0, 2].into();
        Client::try_login(daemon.portal, other, &next_name(), &target_name(1), DISK).map_err(drop).unwrap();
        assert!(daemon.descriptors() <= before + bound + 8, "{} descriptors", daemon.descriptors());
        drop(silent);
        wait_until("their descriptors are closed", || daemon.descriptors() <= before);
    });
}

/// Logs in to target 1 on a plain socket; returns the connection and the final response.
fn log_in(daemon: &Daemon, name: &str, tsih: Tsih, cid: Cid) -> (TcpStream, LoginResponse) {
    let mut stream = dial(daemon);
    let text = format!("InitiatorName={name}\0TargetName={}\0", target_name(1));
    let response = log_in_on(&mut stream, &text, tsih, cid);
    (stream, response)
}

/// Logs in on a connection, declaring `text`; returns the final response.
pub(crate) fn log_in_on(stream: &mut TcpStream, text: &str, tsih: Tsih, cid: Cid) -> LoginResponse {
    let mut text = text.as_bytes().to_vec();
    loop {
        let request = LoginRequest { tsih, cid, ..REQUEST };
        let mut bytes = BytesMut::new();
        encode_pdu(&mut bytes, &header(request, 0), &[], &std::mem::take(&mut text), Digests::NONE);
        stream.write_all(&bytes).unwrap();
        let mut bhs = [0; 48];
        stream.read_exact(&mut bhs).unwrap();
        stream.read_exact(&mut vec![0; data_len(&bhs).next_multiple_of(4)]).unwrap();
        let response = LoginResponse::decode(&bhs).unwrap();
        if !response.status.is_success() || response.next == Some(Stage::FullFeature) {
            return response;
        }
    }
}

#[test]
fn reinstated_connections_count_once_towards_max_connections() {
    beside_a_load(|daemon| {
        let name = next_name();
        let (mut stream, response) = log_in(daemon, &name, Tsih::NEW, Cid(0));
        for _ in 0..5 {
            let (next, again) = log_in(daemon, &name, response.tsih, Cid(0));
            assert_eq!((again.status, again.tsih), (LoginStatus::Success, response.tsih));
            receive_until_closed(std::mem::replace(&mut stream, next));
            // The new connection counts.
            wait_until("the new connection is counted", || {
                let (_, further) = log_in(daemon, &name, response.tsih, Cid(1));
                further.status == LoginStatus::TooManyConnections
            });
        }
    });
}
