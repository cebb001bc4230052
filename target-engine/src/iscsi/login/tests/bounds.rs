//! Text over several PDUs, and every bound on size, number and time.

use super::*;

const LAST: LoginRequest = LoginRequest { stage: OPERATIONAL, next: Some(FULL), ..REQUEST };

#[test]
fn a_request_may_go_on_over_several_pdus() {
    each_chunk(|peer| {
        let whole = text(&[INITIATOR, TARGET, "MaxBurstLength=65536"]);
        // Cut within a key and within a value.
        let (first, rest) = whole.split_at(7);
        let (second, third) = rest.split_at(40);
        for (piece, stat_sn) in [(first, 70), (second, 71)] {
            peer.send_text(LoginRequest { continues: true, stage: OPERATIONAL, ..REQUEST }, piece);
            let (response, text) = peer.recv();
            assert_eq!((response.next, response.continues, response.stat_sn), (None, false, StatSn(stat_sn)));
            assert_eq!(text, [""; 0]);
            assert!(peer.is_quiet());
        }
        peer.send_text(LAST, third);
        peer.admit(open());
        let logged_in = peer.logged_in();
        assert_eq!(logged_in.session.max_burst_len, 65536);
        assert_eq!(logged_in.response.stat_sn, StatSn(72));
    });
}

#[test]
fn a_long_answer_goes_on_over_several_pdus() {
    each_chunk(|peer| {
        let keys: Vec<String> = (0..60).map(|n| format!("X-org.example.{n:0>40}=1")).collect();
        let mut asked = vec![INITIATOR, TARGET, "MaxRecvDataSegmentLength=512"];
        asked.extend(keys.iter().map(String::as_str));
        peer.send(LAST, &asked);
        peer.admit(open());
        let mut answer = vec![];
        let mut pieces = 0;
        while let Some((response, data)) = peer.try_recv_raw() {
            assert!(data.len() <= 512, "the peer takes 512 bytes, not {}", data.len());
            assert_eq!((response.next, response.continues), (None, true));
            answer.extend(data);
            pieces += 1;
            peer.send(LAST, &[]);
        }
        assert!(pieces > 5);
        let logged_in = peer.logged_in();
        assert_eq!(logged_in.response.next, Some(FULL));
        answer.extend(&logged_in.response_text);
        let answer = pairs(&answer);
        assert_eq!(answer.len(), 62);
        assert_eq!(answer[60], format!("X-org.example.{:0>40}=NotUnderstood", 59));
    });
}

#[test]
fn a_response_of_a_login_has_at_most_the_default_length() {
    let mut peer = Peer::new(usize::MAX, LoginConfig::default());
    let keys: Vec<String> = (0..240).map(|n| format!("X-org.example.{n:0>40}=1")).collect();
    let mut asked = vec![INITIATOR, TARGET, "MaxRecvDataSegmentLength=65536"];
    asked.extend(keys.iter().map(String::as_str));
    let whole = text(&asked);
    let (first, second) = whole.split_at(8000);
    peer.send_text(LoginRequest { next: None, continues: true, ..LAST }, first);
    peer.recv();
    peer.send_text(LAST, second);
    peer.admit(open());
    let (response, data) = peer.try_recv_raw().unwrap();
    assert!(response.continues && data.len() > 8000 && data.len() <= 8192);
}

#[test]
fn asking_for_the_rest_says_nothing_else() {
    let mut peer = Peer::new(48, LoginConfig::default());
    let keys: Vec<String> = (0..60).map(|n| format!("X-org.example.{n}=1")).collect();
    let mut asked = vec![INITIATOR, TARGET, "MaxRecvDataSegmentLength=512"];
    asked.extend(keys.iter().map(String::as_str));
    peer.send(LAST, &asked);
    peer.admit(open());
    assert!(peer.recv().0.continues);
    peer.send(LAST, &["MaxBurstLength=512"]);
    peer.assert_refused(LoginStatus::InitiatorError);
}

#[test]
fn lengths_are_judged_by_the_header_alone() {
    for (ahs_len, data_len) in [(0, 8193), (0, 0x00ff_ffff), (4, 0), (1020, 8192)] {
        each_chunk(|peer| {
            peer.send_header(LAST, ahs_len, data_len);
            peer.assert_refused(LoginStatus::InitiatorError);
        });
    }
    let mut peer = Peer::new(48, LoginConfig::default());
    peer.send_header(LAST, 0, 8192);
    assert!(peer.try_recv().is_none() && peer.is_quiet());
}

#[test]
fn the_text_of_a_login_is_bounded() {
    let mut peer = Peer::new(usize::MAX, LoginConfig::default());
    let piece = vec![b'x'; 8192];
    for _ in 0..8 {
        peer.send_text(LoginRequest { continues: true, ..REQUEST }, &piece);
        assert_eq!(peer.recv().0.status, LoginStatus::Success);
    }
    peer.send_text(LoginRequest { continues: true, ..REQUEST }, b"x");
    peer.assert_refused(LoginStatus::InitiatorError);
}

#[test]
fn the_number_of_requests_is_bounded() {
    let config = LoginConfig { pdus_max: 5, ..LoginConfig::default() };
    let mut peer = Peer::new(usize::MAX, config);
    peer.send(REQUEST, &[INITIATOR, TARGET]);
    peer.admit(open());
    for _ in 0..4 {
        assert_eq!(peer.recv().0.status, LoginStatus::Success);
        peer.send(REQUEST, &[]);
    }
    assert_eq!(peer.recv().0.status, LoginStatus::Success);
    peer.send(REQUEST, &[]);
    peer.assert_refused(LoginStatus::InitiatorError);
}

#[test]
fn what_arrives_while_an_answer_is_awaited_is_bounded() {
    let mut peer = Peer::new(4096, LoginConfig::default());
    peer.send(LAST, &[INITIATOR, TARGET]);
    peer.question();
    peer.send_bytes(&vec![0; LoginConfig::default().unread_len_max]);
    assert!(peer.is_quiet());
    peer.send_bytes(&[0]);
    peer.assert_closed(CloseReason::TooMuch);
}

#[test]
fn a_silent_peer_is_closed_in_time() {
    let mut peer = Peer::new(48, LoginConfig { timeout: Duration::from_secs(30), ..LoginConfig::default() });
    assert_eq!(peer.login.poll_timeout(), Some(later(peer.now, 30)));
    peer.send(LoginRequest { next: Some(OPERATIONAL), ..REQUEST }, &[INITIATOR, TARGET]);
    peer.admit(open());
    peer.recv();
    // Progress does not prolong it.
    peer.now = later(peer.now, 29);
    peer.login.handle_timeout(peer.now);
    peer.send(LoginRequest { stage: OPERATIONAL, ..REQUEST }, &[]);
    assert_eq!(peer.recv().0.status, LoginStatus::Success);
    peer.now = later(peer.now, 1);
    peer.login.handle_timeout(peer.now);
    peer.assert_closed(CloseReason::TimedOut);
}

#[test]
fn bytes_that_come_too_late_change_nothing() {
    let mut peer = Peer::new(usize::MAX, LoginConfig::default());
    peer.now = later(peer.now, 3600);
    peer.send(LAST, &[INITIATOR, TARGET]);
    peer.assert_closed(CloseReason::TimedOut);
}

#[test]
fn a_peer_that_waits_for_us_is_told_so() {
    let mut peer = Peer::new(48, LoginConfig::default());
    peer.send(LAST, &[INITIATOR, TARGET]);
    peer.question();
    peer.login.handle_timeout(later(peer.now, 3600));
    peer.assert_refused(LoginStatus::ServiceUnavailable);
    peer.login.answer(Answer::Target(Box::new(open())));
    assert!(peer.try_recv().is_none() && peer.is_quiet());
}
