//! One login, and the discovery session it may lead to, driven by arbitrary input; for fuzzers and property tests.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use iscsi_proto::chap::{Algorithm, Challenger, Secret};
use iscsi_proto::frame::{self, Digests};
use iscsi_proto::pdu::{BHS_LEN, Bhs, LoginRequest, TextRequest};

use super::{
    Answer, AuthRequirement, ChapTerms, Login, LoginConfig, LoginEvent, Preferences, Question, TargetAnswer,
    TargetList,
};
use crate::iscsi::discovery::{Discovery, DiscoveryEvent};

/// The first byte chooses the terms, the size of the pieces and how the rest is meant: as raw bytes of the stream,
/// or as flags and texts of well-formed requests. Panics if the target says more than it is asked.
pub fn drive(input: &[u8]) {
    let Some((&choice, rest)) = input.split_first() else { return };
    let now = Instant::now();
    let stream = if choice & 1 == 0 { BytesMut::from(rest) } else { requests(rest) };
    let piece = [1, 47, 48, 49, 4096][usize::from(choice >> 1) % 5];
    let mut side = Side::Login(Box::new(Login::new(LoginConfig::default(), now)));
    for bytes in stream.chunks(piece) {
        side.receive(bytes, now);
        side = side.settle(choice & 0x80 != 0);
    }
    let LoginConfig { timeout, discovery_idle, .. } = LoginConfig::default();
    side.handle_timeout(now + timeout + discovery_idle);
    assert!(matches!(side.settle(false), Side::Over), "time ends whatever goes on");
}

enum Side {
    Login(Box<Login>),
    Discovery(Box<Discovery>),
    Over,
}

impl Side {
    fn receive(&mut self, bytes: &[u8], now: Instant) {
        match self {
            Self::Login(login) => login.receive(bytes, now),
            Self::Discovery(discovery) => discovery.receive(bytes, now),
            Self::Over => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Login(login) => login.handle_timeout(now),
            Self::Discovery(discovery) => discovery.handle_timeout(now),
            Self::Over => {}
        }
    }

    /// Reads and answers until nothing is left to be done.
    fn settle(mut self, chap: bool) -> Self {
        loop {
            let next = match &mut self {
                Self::Login(login) => {
                    while login.poll_transmit().is_some() {}
                    match login.poll_event() {
                        Some(LoginEvent::Ask(question)) => {
                            login.answer(match question {
                                Question::Target(_) => Answer::Target(Box::new(terms(chap))),
                                Question::Account(asked) => {
                                    let secret = Secret::new(*b"not to be guessed");
                                    Answer::Account((asked.user == "u").then_some(secret))
                                }
                                Question::SendTargets(_) => panic!("asked before the login is over"),
                            });
                            continue;
                        }
                        Some(LoginEvent::ProofFailed) => continue,
                        Some(LoginEvent::Discovery(discovery)) => Self::Discovery(discovery),
                        Some(LoginEvent::Attach(logged_in)) => {
                            assert!(!chap || logged_in.chap_user.is_some(), "logged in without a proof");
                            Self::Over
                        }
                        Some(LoginEvent::Closed(_)) => Self::Over,
                        None => return self,
                    }
                }
                Self::Discovery(discovery) => {
                    while discovery.poll_transmit().is_some() {}
                    if discovery.has_request() {
                        discovery.handle_request();
                        continue;
                    }
                    match discovery.poll_event() {
                        Some(DiscoveryEvent::Ask(_)) => {
                            discovery.answer(Answer::Targets(TargetList::default()));
                            continue;
                        }
                        Some(DiscoveryEvent::Closed(_)) => Self::Over,
                        None => return self,
                    }
                }
                Self::Over => return self,
            };
            self = next;
        }
    }
}

fn terms(chap: bool) -> TargetAnswer {
    let challenger = Arc::new(Challenger::new([7; 32]));
    let auth = if chap {
        AuthRequirement::Chap(Box::new(ChapTerms {
            outgoing: None,
            algorithms: Algorithm::ALL.to_vec(),
            challenge: challenger.challenge(1, [7; 16]),
            challenger,
        }))
    } else {
        AuthRequirement::None
    };
    TargetAnswer { keys: Preferences::default(), auth, portal_group_tag: 1 }
}

/// Requests out of lines: a byte of flags, then text up to 0xff.
fn requests(input: &[u8]) -> BytesMut {
    let mut stream = BytesMut::new();
    for line in input.split(|byte| *byte == 0xff) {
        let Some((&flags, text)) = line.split_first() else { continue };
        let mut bhs: Bhs = [0; BHS_LEN];
        bhs[0] = if flags & 0x10 == 0 { LoginRequest::OPCODE } else { TextRequest::OPCODE } | 0x40;
        bhs[1] = flags & 0xcf;
        // As a text request, it starts an exchange.
        bhs[20..24].fill(if flags & 0x10 == 0 { 0 } else { 0xff });
        frame::encode_pdu(&mut stream, &bhs, &[], text, Digests::NONE);
    }
    stream
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(input in prop::collection::vec(any::<u8>(), 0..300)) {
            drive(&input);
        }

        #[test]
        fn any_requests_come_to_an_end(
            choice in any::<u8>(),
            lines in prop::collection::vec((any::<u8>(), "[ -~]{0,20}", prop::collection::vec(PAIR, 0..6)), 0..8),
        ) {
            let mut input = vec![choice | 1];
            for (n, (flags, junk, pairs)) in lines.into_iter().enumerate() {
                input.push(flags & 0xfe);
                if n == 0 {
                    let target: &[u8] = if choice & 0x40 == 0 { b"TargetName=t\0" } else { b"SessionType=Discovery\0" };
                    input.extend([&b"InitiatorName=i\0"[..], target].concat());
                }
                pairs.iter().for_each(|pair| {
                    input.extend(pair.as_bytes());
                    input.push(0);
                });
                input.extend(junk.as_bytes());
                input.push(0xff);
            }
            drive(&input);
        }
    }

    const PAIR: &str = "(InitiatorAlias=i|SessionType=Normal|AuthMethod=(CHAP|None)|\
                        CHAP_A=[5-9]|CHAP_N=u|CHAP_R=0x00|CHAP_I=1|CHAP_C=0x0707|SendTargets=All|\
                        MaxBurstLength=[0-9?]{1,6}|InitialR2T=(Yes|No)|HeaderDigest=(CRC32C|None)|X-a=b)";
}
