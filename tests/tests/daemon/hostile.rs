//! Peers that send what no initiator sends. Each gets the RFC's answer or is cut off; a session beside them goes on.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use bytes::BytesMut;
use iscsi_proto::frame::{Cut, Digests, Limits, cut, encode_pdu};
use iscsi_proto::ids::{Cid, Isid, Itt, Tsih};
use iscsi_proto::login::{LoginStatus, Stage};
use iscsi_proto::pdu::{Bhs, LoginRequest, LoginResponse, NopOut, Pdu, data_len, set_lengths};
use iscsi_proto::sn::{CmdSn, StatSn};

use crate::client::{Client, End, LOCALHOST, next_name};
use crate::harness::{DEADLINE, DISK, Daemon, target_name, wait_until};
use crate::load::{LOADED_DISK_LEN, Load};

/// Rounds of the session beside, after which it has seen what there is to see.
const ROUNDS: u64 = 30;

/// A daemon with one good session, that must be the same and right at the end whatever `peers` do.
fn beside_a_good_session(peers: impl FnOnce(&Daemon)) {
    let daemon = Daemon::start();
    let file = daemon.disk(1, LOADED_DISK_LEN);
    let good = Load::start(&daemon, 1, 0);
    good.wait_rounds(ROUNDS);
    peers(&daemon);
    good.wait_rounds(ROUNDS);
    // Whoever comes now is served as well.
    Client::login(&daemon, 1, DISK).read(0, 1).unwrap();
    good.finish().assert_in(&file);
}

fn dial(daemon: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(daemon.portal).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// All that comes until the other side closes.
#[track_caller]
fn cut_off(mut stream: TcpStream) -> Vec<u8> {
    let mut came = Vec::new();
    match stream.read_to_end(&mut came) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("not closed: {error}"),
    }
    came
}

/// Sends to a peer that may close at any moment.
fn throw(stream: &mut TcpStream, bytes: &[u8]) {
    // A connection that is closed already is what is wanted.
    let _ = stream.write_all(bytes);
}

fn login_request() -> LoginRequest {
    LoginRequest {
        next: Some(Stage::FullFeature),
        continues: false,
        stage: Stage::OperationalNegotiation,
        version_max: 0,
        version_min: 0,
        isid: Isid([0x80, 0, 0, 0, 0, 9]),
        tsih: Tsih::NEW,
        itt: Itt(0),
        cid: Cid(0),
        cmd_sn: CmdSn(1),
        exp_stat_sn: StatSn(0),
    }
}

fn header(pdu: impl Into<Pdu>, data_len: usize) -> Bhs {
    let mut bhs = [0; 48];
    pdu.into().encode(&mut bhs);
    set_lengths(&mut bhs, 0, data_len);
    bhs
}

/// The status of the login response that the bytes begin with.
fn login_status(bytes: &[u8]) -> Option<LoginStatus> {
    let limits = Limits::default();
    let Ok(Cut::Header(header)) = cut(bytes, Digests::NONE, &limits) else { return None };
    match Pdu::decode(header.bhs) {
        Ok(Pdu::LoginResponse(response)) => Some(response.status),
        _ => None,
    }
}

#[test]
fn garbage_is_cut_off() {
    beside_a_good_session(|daemon| {
        let mut state = 1_u32;
        for _ in 0..32 {
            let mut stream = dial(daemon);
            let garbage: Vec<u8> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .take(64 << 10)
            .collect();
            throw(&mut stream, &garbage);
            // What is no PDU has no end either.
            let _ = stream.shutdown(Shutdown::Write);
            cut_off(stream);
        }
    });
}

#[test]
fn halves_of_requests_are_forgotten_with_their_connection() {
    beside_a_good_session(|daemon| {
        let text = format!("InitiatorName={}\0TargetName={}\0", next_name(), target_name(1));
        let mut whole = header(login_request(), text.len()).to_vec();
        whole.extend_from_slice(text.as_bytes());
        for len in [0, 1, 47, 48, 49, whole.len() - 1] {
            let mut stream = dial(daemon);
            throw(&mut stream, &whole[..len]);
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(cut_off(stream), b"", "no answer to {len} bytes");
        }
    });
}

#[test]
fn a_length_that_nobody_allowed_is_cut_off_without_waiting_for_it() {
    beside_a_good_session(|daemon| {
        for len in [8193, 0x00ff_ffff] {
            let mut stream = dial(daemon);
            throw(&mut stream, &header(login_request(), len));
            cut_off(stream);
        }
        // In the full feature phase too.
        let mut client = Client::login(daemon, 1, DISK);
        let ping = NopOut {
            immediate: true,
            lun: [0; 8],
            itt: Some(Itt(7)),
            ttt: None,
            cmd_sn: CmdSn(1),
            exp_stat_sn: StatSn(1),
        };
        client.throw(&header(ping, 0x00ff_ffff));
        assert!(matches!(client.read(0, 1), Err(End::Closed(_))));
    });
}

#[test]
fn a_request_before_login_is_cut_off() {
    beside_a_good_session(|daemon| {
        let ping = NopOut {
            immediate: true,
            lun: [0; 8],
            itt: Some(Itt(7)),
            ttt: None,
            cmd_sn: CmdSn(1),
            exp_stat_sn: StatSn(1),
        };
        let mut stream = dial(daemon);
        throw(&mut stream, &header(ping, 0));
        let came = cut_off(stream);
        assert!(
            came.is_empty() || login_status(&came).is_some_and(|status| !status.is_success()),
            "{came:?}"
        );
    });
}

#[test]
fn names_that_are_missing_wrong_or_no_names_are_refused() {
    beside_a_good_session(|daemon| {
        let good = format!("InitiatorName={}\0", next_name());
        let cases = [
            (format!("TargetName={}\0", target_name(1)), LoginStatus::MissingParameter),
            (good.clone(), LoginStatus::MissingParameter),
            (format!("{good}TargetName=iqn.2026-01.org.example:nobody\0"), LoginStatus::NotFound),
        ];
        for (text, status) in cases {
            let mut stream = dial(daemon);
            let mut bytes = header(login_request(), text.len()).to_vec();
            bytes.extend_from_slice(text.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            throw(&mut stream, &bytes);
            assert_eq!(login_status(&cut_off(stream)), Some(status), "{text:?}");
        }
        let refused = Client::try_login(daemon.portal, LOCALHOST, "nobody at all", &target_name(1), DISK);
        assert!(matches!(refused, Err(End::Refused(_) | End::Closed(_))), "{:?}", refused.err());
    });
}

#[test]
fn connections_that_say_nothing_are_bounded_and_leave_room() {
    beside_a_good_session(|daemon| {
        let before = daemon.descriptors();
        let bound = target_engine::limits::LOGINS_PER_ADDRESS_MAX;
        let silent: Vec<TcpStream> =
            (0..bound + 64).filter_map(|_| TcpStream::connect(daemon.portal).ok()).collect();
        // From another address the door is open.
        let other = [127, 0, 0, 2].into();
        Client::try_login(daemon.portal, other, &next_name(), &target_name(1), DISK).map_err(drop).unwrap();
        assert!(daemon.descriptors() <= before + bound + 8, "{} descriptors", daemon.descriptors());
        drop(silent);
        wait_until("their descriptors are closed", || daemon.descriptors() <= before);
    });
}

/// Logs in by hand until the target has its last word; the connection and that word.
fn log_in(daemon: &Daemon, name: &str, tsih: Tsih, cid: Cid) -> (TcpStream, LoginResponse) {
    let mut stream = dial(daemon);
    let mut text = format!("InitiatorName={name}\0TargetName={}\0", target_name(1)).into_bytes();
    loop {
        let request = LoginRequest { tsih, cid, ..login_request() };
        let mut bytes = BytesMut::new();
        encode_pdu(&mut bytes, &header(request, 0), &[], &std::mem::take(&mut text), Digests::NONE);
        stream.write_all(&bytes).unwrap();
        let mut bhs = [0; 48];
        stream.read_exact(&mut bhs).unwrap();
        stream.read_exact(&mut vec![0; data_len(&bhs).next_multiple_of(4)]).unwrap();
        let response = LoginResponse::decode(&bhs).unwrap();
        if !response.status.is_success() || response.next == Some(Stage::FullFeature) {
            return (stream, response);
        }
    }
}

#[test]
fn a_session_has_no_more_connections_than_it_may_however_often_one_is_replaced() {
    beside_a_good_session(|daemon| {
        let name = next_name();
        let (mut stream, response) = log_in(daemon, &name, Tsih::NEW, Cid(0));
        for _ in 0..5 {
            let (next, again) = log_in(daemon, &name, response.tsih, Cid(0));
            assert_eq!((again.status, again.tsih), (LoginStatus::Success, response.tsih));
            cut_off(std::mem::replace(&mut stream, next));
            // Nor is its successor forgotten.
            wait_until("the successor is known", || {
                let (_, further) = log_in(daemon, &name, response.tsih, Cid(1));
                further.status == LoginStatus::TooManyConnections
            });
        }
    });
}
