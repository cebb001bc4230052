//! RFC 7143 11.10, 11.11 and appendix C: text requests in a normal session.

use bytes::Bytes;
use iscsi_proto::pdu::{Pdu, TextRequest};
use tgt_tests::initiator::{Initiator, Io};
use tgt_tests::pair::Pair;
use tgt_tests::setup::{Setup, TARGET, each_chunk};

use super::READ;

fn ask(session: &mut Initiator, text: &str) -> (Pdu, Bytes) {
    let request = session.text();
    session.send(request, text.replace(' ', "\0").as_bytes());
    session.recv()
}

#[track_caller]
fn answer(session: &mut Initiator, text: &str) -> String {
    let (pdu, data) = ask(session, text);
    assert!(matches!(pdu, Pdu::TextResponse(response) if response.last && response.ttt.is_none()), "{pdu:?}");
    String::from_utf8_lossy(&data).replace('\0', " ")
}

#[test]
fn send_targets_in_a_session_lists_its_target_only() {
    each_chunk(|setup, _| {
        let mut session = Initiator::login(&Pair::new(setup));
        let own = format!("TargetName={TARGET} TargetAddress=192.0.2.1:3260,1 ");
        assert_eq!(answer(&mut session, "SendTargets= "), own);
        assert_eq!(answer(&mut session, &format!("SendTargets={TARGET} ")), own);
    });
}

#[test]
fn send_targets_all_is_refused_in_a_session() {
    let (setup, _) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    let (pdu, data) = ask(&mut session, "SendTargets=All ");
    let refused = match pdu {
        Pdu::Reject(_) => true,
        Pdu::TextResponse(_) => data == "SendTargets=Reject\0",
        _ => false,
    };
    assert!(refused, "{pdu:?} {data:?}");
    session.run(&READ, Io::Read(2048)).good();
}

#[test]
fn text_request_changes_the_segment_length() {
    let (setup, _) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    assert_eq!(answer(&mut session, "MaxRecvDataSegmentLength=1024 "), "");
    let command = session.command(&READ, Io::Read(2048));
    session.send(command, &[]);
    let lines = ["DataIn itt=3 sn=0 offset=0 len=1024", "DataIn itt=3 sn=1 offset=1024 len=1024 F GOOD"];
    assert_eq!(session.lines(), lines);
}

#[test]
fn unknown_key_is_not_understood() {
    let (setup, _) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    assert_eq!(answer(&mut session, "X-org.example.key=1 "), "X-org.example.key=NotUnderstood ");
}

#[test]
fn text_request_continues_over_several_pdus() {
    let (setup, _) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    let first = TextRequest { last: false, continues: true, ..session.text() };
    session.send(first, b"SendTar");
    let (Pdu::TextResponse(response), data) = session.recv() else { panic!("a text response") };
    assert!(!response.last && data.is_empty() && response.ttt.is_some());
    let rest = TextRequest { ttt: response.ttt, itt: first.itt, ..session.text() };
    session.send(rest, b"gets=\0");
    let (_, data) = session.recv();
    assert!(data.starts_with(format!("TargetName={TARGET}\0").as_bytes()));
}

#[test]
fn invalid_text_is_rejected_and_the_session_continues() {
    let (setup, _) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    for broken in ["no equals sign ", "=value ", "MaxBurstLength=65536 MaxBurstLength=1024 "] {
        let (pdu, data) = ask(&mut session, &broken.replace(' ', "\0"));
        let refused = matches!(pdu, Pdu::Reject(_)) || String::from_utf8_lossy(&data).contains("=Reject");
        assert!(refused, "{broken}: {pdu:?} {data:?}");
    }
    session.run(&READ, Io::Read(2048)).good();
}
