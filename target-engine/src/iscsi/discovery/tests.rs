//! Discovery sessions as traces, from the first byte of the login.

use iscsi_proto::ids::{Itt, Ttt};
use iscsi_proto::pdu::{TextResponse, opcode};

use super::*;
use crate::iscsi::login::tests::{
    CHUNKS, DISCOVERY, FULL, INITIATOR, OPERATIONAL, Peer, REQUEST, later, open, pairs, text,
};
use crate::iscsi::login::{LoginConfig, LoginEvent, SendTargetsScope, TargetAddress, TargetRecord};

const TEXT: TextRequest = TextRequest {
    immediate: false,
    last: true,
    continues: false,
    lun: [0; 8],
    itt: Itt(0x30),
    ttt: None,
    cmd_sn: CmdSn(500),
    exp_stat_sn: StatSn(71),
};

/// An initiator that is logged in to a discovery session.
struct Seeker {
    discovery: Discovery,
    now: Instant,
    chunk: usize,
    digests: frame::Digests,
    inbox: BytesMut,
}

impl Seeker {
    fn new(chunk: usize, keys: &[&str]) -> Self {
        let mut peer = Peer::new(chunk, LoginConfig::default());
        let mut pairs = vec![INITIATOR, DISCOVERY];
        pairs.extend(keys);
        peer.send(iscsi_proto::pdu::LoginRequest { stage: OPERATIONAL, next: Some(FULL), ..REQUEST }, &pairs);
        peer.admit(open());
        let LoginEvent::Discovery(mut discovery) = peer.event() else { panic!("no discovery session") };
        assert!(discovery.poll_transmit().is_some(), "the last response comes first");
        let digests = discovery.start.connection.digests();
        Self { discovery: *discovery, now: peer.now, chunk, digests, inbox: BytesMut::new() }
    }

    fn send(&mut self, pdu: impl Into<Pdu>, data: &[u8]) {
        let mut bhs = [0; BHS_LEN];
        pdu.into().encode(&mut bhs);
        self.send_raw(&bhs, data);
    }

    fn send_raw(&mut self, bhs: &Bhs, data: &[u8]) {
        let mut wire = BytesMut::new();
        frame::encode_pdu(&mut wire, bhs, &[], data, self.digests);
        self.send_bytes(&wire);
    }

    fn send_bytes(&mut self, wire: &[u8]) {
        for piece in wire.chunks(self.chunk) {
            self.discovery.receive(piece, self.now);
            self.handle_requests();
        }
    }

    fn handle_requests(&mut self) {
        while self.discovery.has_request() {
            self.discovery.handle_request();
        }
    }

    fn try_recv(&mut self) -> Option<(Pdu, Vec<u8>)> {
        while let Some(bytes) = self.discovery.poll_transmit() {
            self.inbox.extend_from_slice(&bytes);
            self.handle_requests();
        }
        let Cut::Header(header) = frame::cut(&self.inbox, self.digests, &Limits::default()).unwrap() else {
            assert!(self.inbox.is_empty());
            return None;
        };
        let (bhs, header_len, data_len) = (*header.bhs, header.header_len, header.data_len);
        let wire_len = header.wire_len;
        let pdu = self.inbox.split_to(wire_len);
        Some((Pdu::decode(&bhs).unwrap(), pdu[header_len..header_len + data_len].to_vec()))
    }

    fn recv(&mut self) -> (Pdu, Vec<u8>) {
        self.try_recv().expect("the target has something to say")
    }

    fn recv_text(&mut self) -> (TextResponse, Vec<u8>) {
        match self.recv() {
            (Pdu::TextResponse(response), data) => (response, data),
            (other, _) => panic!("not a text response but {other:?}"),
        }
    }

    fn assert_rejected(&mut self, bhs: &Bhs, expected: RejectReason) -> Reject {
        match self.recv() {
            (Pdu::Reject(reject), data) => {
                assert_eq!((reject.reason, &data[..]), (expected, &bhs[..]));
                reject
            }
            (other, _) => panic!("not a reject but {other:?}"),
        }
    }

    fn question(&mut self) -> SendTargetsQuestion {
        match self.discovery.poll_event() {
            Some(DiscoveryEvent::Ask(Question::SendTargets(question))) => *question,
            other => panic!("not a question but {other:?}"),
        }
    }

    fn assert_closed(&mut self, expected: CloseReason) {
        match self.discovery.poll_event() {
            Some(DiscoveryEvent::Closed(reason)) => assert_eq!(reason, expected),
            other => panic!("not closed but {other:?}"),
        }
        assert_eq!(self.discovery.poll_timeout(), None);
    }
}

fn each_chunk(trace: impl Fn(&mut Seeker)) {
    for chunk in CHUNKS {
        trace(&mut Seeker::new(chunk, &[]));
    }
}

fn record(name: &str, portals: &[&str]) -> TargetRecord {
    TargetRecord {
        name: IscsiName::parse(name).unwrap(),
        addresses: portals.iter().map(|p| TargetAddress { portal: p.parse().unwrap(), group: 1 }).collect(),
    }
}

fn header(pdu: impl Into<Pdu>) -> Bhs {
    let mut bhs = [0; BHS_LEN];
    pdu.into().encode(&mut bhs);
    bhs
}

#[test]
fn send_targets_all() {
    each_chunk(|seeker| {
        seeker.send(TEXT, &text(&["SendTargets=All"]));
        let question = seeker.question();
        assert_eq!(question.scope, SendTargetsScope::All);
        assert_eq!(question.initiator_name.as_str(), "iqn.2026-01.org.example:host");
        assert!(seeker.try_recv().is_none());
        seeker.discovery.answer(Answer::Targets(TargetList::new([
            record("iqn.2026-01.org.example:a", &["192.0.2.1:3260", "[2001:db8::1]:3260"]),
            record("iqn.2026-01.org.example:b", &["192.0.2.1:3260"]),
        ])));
        let (response, data) = seeker.recv_text();
        assert_eq!(
            pairs(&data),
            [
                "TargetName=iqn.2026-01.org.example:a",
                "TargetAddress=192.0.2.1:3260,1",
                "TargetAddress=[2001:db8::1]:3260,1",
                "TargetName=iqn.2026-01.org.example:b",
                "TargetAddress=192.0.2.1:3260,1",
            ]
        );
        assert_eq!(
            response,
            TextResponse {
                last: true,
                continues: false,
                lun: [0; 8],
                itt: Itt(0x30),
                ttt: None,
                stat_sn: StatSn(71),
                exp_cmd_sn: CmdSn(501),
                max_cmd_sn: CmdSn(508),
            }
        );
    });
}

#[test]
fn a_long_list_goes_on_over_several_responses() {
    for chunk in CHUNKS {
        let mut seeker = Seeker::new(chunk, &["MaxRecvDataSegmentLength=512"]);
        seeker.send(TEXT, &text(&["SendTargets=All"]));
        seeker.question();
        let names: Vec<String> = (0..100).map(|n| format!("iqn.2026-01.org.example:disk{n}")).collect();
        let records = names.iter().map(|name| record(name, &["192.0.2.1:3260"]));
        seeker.discovery.answer(Answer::Targets(TargetList::new(records)));
        let mut whole = vec![];
        for n in 1.. {
            let (response, data) = seeker.recv_text();
            assert!(data.len() <= 512);
            whole.extend(data);
            assert_eq!(response.stat_sn, StatSn(70 + n));
            assert_eq!((response.last, response.ttt.is_none()), (!response.continues, !response.continues));
            if response.last {
                break;
            }
            let cmd_sn = CmdSn(500 + n);
            seeker.send(TextRequest { ttt: response.ttt, cmd_sn, ..TEXT }, &[]);
        }
        let whole = pairs(&whole);
        assert_eq!(whole.len(), 200);
        assert_eq!(whole[198], "TargetName=iqn.2026-01.org.example:disk99");
    }
}

#[test]
fn pings_and_the_end() {
    each_chunk(|seeker| {
        let nop = NopOut {
            immediate: true,
            lun: [0; 8],
            itt: Some(Itt(5)),
            ttt: None,
            cmd_sn: CmdSn(500),
            exp_stat_sn: StatSn(71),
        };
        seeker.send(NopOut { itt: None, ..nop }, b"");
        assert!(seeker.try_recv().is_none());
        seeker.send(nop, b"anybody?");
        let (answer, data) = seeker.recv();
        let expected = NopIn {
            lun: [0; 8],
            itt: Some(Itt(5)),
            ttt: None,
            stat_sn: StatSn(71),
            exp_cmd_sn: CmdSn(500),
            max_cmd_sn: CmdSn(507),
        };
        assert_eq!((answer, &data[..]), (expected.into(), &b"anybody?"[..]));

        let logout = LogoutRequest {
            immediate: false,
            reason: LogoutReason::CLOSE_CONNECTION,
            itt: Itt(6),
            cid: Cid(4),
            cmd_sn: CmdSn(500),
            exp_stat_sn: StatSn(72),
        };
        for (request, response) in [
            (logout, LogoutResponseCode::CID_NOT_FOUND),
            (
                LogoutRequest { reason: LogoutReason::RECOVERY, ..logout },
                LogoutResponseCode::RECOVERY_NOT_SUPPORTED,
            ),
            (LogoutRequest { cid: Cid(3), ..logout }, LogoutResponseCode::CLOSED),
        ] {
            assert!(seeker.discovery.poll_event().is_none());
            seeker.send(request, b"");
            let (Pdu::LogoutResponse(answer), _) = seeker.recv() else { panic!("no logout response") };
            assert_eq!((answer.response, answer.itt, answer.exp_cmd_sn), (response, Itt(6), CmdSn(501)));
        }
        seeker.assert_closed(CloseReason::LoggedOut);
    });
}

#[test]
fn a_ping_comes_back_as_long_as_the_peer_can_take_it() {
    let mut seeker = Seeker::new(48, &["MaxRecvDataSegmentLength=1024"]);
    let nop = NopOut {
        immediate: true,
        lun: [0; 8],
        itt: Some(Itt(5)),
        ttt: None,
        cmd_sn: CmdSn(500),
        exp_stat_sn: StatSn(71),
    };
    seeker.send(nop, &[b'x'; 2000]);
    assert_eq!(seeker.recv().1.len(), 1024);
    seeker.send(TEXT, &text(&["MaxRecvDataSegmentLength=512"]));
    assert_eq!(seeker.recv_text().1, b"");
    seeker.send(nop, &[b'x'; 2000]);
    assert_eq!(seeker.recv().1.len(), 512);
}

#[test]
fn everything_else_is_rejected_with_its_header() {
    let mut seeker = Seeker::new(48, &[]);
    for code in
        (0..0x40).filter(|code| ![NopOut::OPCODE, TextRequest::OPCODE, LogoutRequest::OPCODE].contains(code))
    {
        let mut bhs = [0; BHS_LEN];
        bhs[0] = code;
        seeker.send_raw(&bhs, &[]);
        let (Pdu::Reject(reject), data) = seeker.recv() else { panic!("{code:#x} is not rejected") };
        assert_eq!((opcode(data[..].try_into().unwrap()), data.len()), (code, BHS_LEN));
        assert_ne!(reject.reason, RejectReason(0));
    }
    // The session is none the worse for it.
    seeker.send(TEXT, &text(&["SendTargets=iqn.2026-01.org.example:a"]));
    let wanted = IscsiName::parse("iqn.2026-01.org.example:a").unwrap();
    assert_eq!(seeker.question().scope, SendTargetsScope::Named(wanted));
    seeker.discovery.answer(Answer::Targets(TargetList::default()));
    assert_eq!(seeker.recv_text().1, b"");
}

#[test]
fn digests_hold_from_the_first_request_on() {
    for chunk in CHUNKS {
        let mut seeker = Seeker::new(chunk, &["HeaderDigest=CRC32C", "DataDigest=CRC32C"]);
        assert_eq!(seeker.digests, frame::Digests { header: true, data: true });
        let mut wire = BytesMut::new();
        let request = text(&["SendTargets=All"]);
        frame::encode_pdu(&mut wire, &header(TEXT), &[], &request, seeker.digests);
        let mut spoilt = wire.clone();
        spoilt[BHS_LEN + 4] ^= 1;
        seeker.send_bytes(&spoilt);
        let mut rejected = header(TEXT);
        set_lengths(&mut rejected, 0, request.len());
        seeker.assert_rejected(&rejected, RejectReason::DATA_DIGEST_ERROR);
        seeker.send_bytes(&wire);
        seeker.question();
        seeker.discovery.answer(Answer::Targets(TargetList::default()));
        seeker.recv_text();
        wire[1] ^= 1;
        seeker.send_bytes(&wire);
        seeker.assert_closed(CloseReason::Malformed);
    }
}

#[test]
fn what_comes_while_targets_are_asked_for_is_kept_and_bounded() {
    let mut seeker = Seeker::new(4096, &[]);
    seeker.send(TEXT, &text(&["SendTargets=All"]));
    seeker.question();
    seeker.send(TextRequest { itt: Itt(0x31), cmd_sn: CmdSn(501), ..TEXT }, &text(&["X-org.example.a=1"]));
    assert!(seeker.try_recv().is_none());
    seeker.discovery.answer(Answer::Targets(TargetList::default()));
    assert_eq!(seeker.recv_text().0.itt, Itt(0x30));
    let (response, data) = seeker.recv_text();
    assert_eq!((response.itt, pairs(&data)), (Itt(0x31), vec!["X-org.example.a=NotUnderstood".to_owned()]));

    seeker.send(TEXT, &text(&["SendTargets=All"]));
    seeker.question();
    seeker.send_bytes(&vec![0; limits::LOGIN_UNREAD_LEN_MAX + 1]);
    seeker.assert_closed(CloseReason::TooMuch);
}

#[test]
fn a_peer_that_does_not_read_is_not_answered_for_ever() {
    let mut seeker = Seeker::new(usize::MAX, &[]);
    let nop = NopOut {
        immediate: true,
        lun: [0; 8],
        itt: Some(Itt(5)),
        ttt: None,
        cmd_sn: CmdSn(500),
        exp_stat_sn: StatSn(71),
    };
    for _ in 0..1000 {
        seeker.send(nop, b"");
    }
    let sent: usize = seeker.discovery.transmit.iter().map(Bytes::len).sum();
    assert_eq!(sent, limits::DISCOVERY_TRANSMIT_BYTES_MAX.next_multiple_of(BHS_LEN));
    assert!(!seeker.discovery.has_request() && !seeker.discovery.wants_bytes());
    for n in 0..1000 {
        let (Pdu::NopIn(answer), _) = seeker.recv() else { panic!("ping {n} is lost") };
        assert_eq!(answer.stat_sn, StatSn(71 + n));
    }
    assert!(seeker.try_recv().is_none());
}

#[test]
fn a_tag_that_was_not_given_is_rejected() {
    let mut seeker = Seeker::new(48, &[]);
    let stray = TextRequest { ttt: Some(Ttt(99)), ..TEXT };
    seeker.send(stray, &[]);
    seeker.assert_rejected(&header(stray), RejectReason::INVALID_PDU_FIELD);
}

#[test]
fn silence_is_bounded() {
    let mut seeker = Seeker::new(48, &[]);
    // Until it speaks, what the login had left of its time is added.
    assert_eq!(seeker.discovery.poll_timeout(), Some(later(seeker.now, 630)));
    let nop = NopOut {
        immediate: true,
        lun: [0; 8],
        itt: None,
        ttt: None,
        cmd_sn: CmdSn(500),
        exp_stat_sn: StatSn(71),
    };
    // Who speaks every now and then is let alone, whatever it says.
    for _ in 0..100 {
        seeker.now = later(seeker.now, 599);
        seeker.discovery.handle_timeout(seeker.now);
        seeker.send(nop, &[]);
        assert!(seeker.discovery.poll_event().is_none());
    }
    assert_eq!(seeker.discovery.poll_timeout(), Some(later(seeker.now, 600)));
    seeker.discovery.handle_timeout(later(seeker.now, 600));
    seeker.assert_closed(CloseReason::TimedOut);
}

#[test]
fn each_call_handles_one_request() {
    let mut seeker = Seeker::new(usize::MAX, &[]);
    let mut wire = BytesMut::new();
    let request = text(&["X-org.example.a=1"]);
    for _ in 0..3 {
        frame::encode_pdu(&mut wire, &header(TEXT), &[], &request, seeker.digests);
    }
    seeker.discovery.receive(&wire, seeker.now);
    for handled in 0..3 {
        assert!(seeker.discovery.has_request() && !seeker.discovery.wants_bytes());
        assert_eq!(
            (seeker.discovery.requests(), seeker.discovery.transmit.len()),
            (handled, handled as usize)
        );
        seeker.discovery.handle_request();
    }
    assert!(!seeker.discovery.has_request() && seeker.discovery.wants_bytes());
}

#[test]
fn sessions_share_the_text_of_the_list() {
    let names: Vec<String> = (0..1000).map(|n| format!("iqn.2026-01.org.example:disk{n}")).collect();
    let list = TargetList::new(names.iter().map(|name| record(name, &["192.0.2.1:3260"])));
    let shared = list.text().as_ptr_range();
    for _ in 0..3 {
        let mut seeker = Seeker::new(usize::MAX, &["MaxRecvDataSegmentLength=262144", "DataDigest=CRC32C"]);
        seeker.send(TEXT, &text(&["SendTargets=All"]));
        seeker.question();
        seeker.discovery.answer(Answer::Targets(list.clone()));
        let is_shared = |bytes: &&Bytes| shared.contains(&bytes.as_ptr());
        let (text, own): (Vec<_>, Vec<_>) = seeker.discovery.transmit.iter().partition(is_shared);
        assert!(text == [list.text()], "the text itself");
        assert!(own.into_iter().map(Bytes::len).sum::<usize>() < 100, "only the header and the digest");
    }
}
