//! Logins and discovery sessions, as the control thread drives them.

use std::net::SocketAddr;

use target_engine::control::messages::{Addresses, LoginId};
use target_engine::iscsi::discovery::DiscoveryEvent;
use target_engine::iscsi::login::{Answer, LoginEvent, Question};

use super::{Phase, Side};

const ADDRESSES: Addresses = Addresses {
    peer: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)), 50_000),
    local: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 3260),
};

impl Side {
    pub(super) fn drive_login(&mut self, number: usize) {
        loop {
            let connection = &mut self.connections[number];
            let Phase::Login(login) = &mut connection.phase else { return };
            while let Some(bytes) = login.poll_transmit() {
                connection.wire.respond(&bytes);
            }
            match login.poll_event() {
                None => return,
                Some(LoginEvent::Ask(question)) => {
                    let answer = self.answer(number, question);
                    if let Phase::Login(login) = &mut self.connections[number].phase {
                        login.answer(answer);
                    }
                }
                Some(LoginEvent::ProofFailed) => self.control.proof_failed(ADDRESSES.peer.ip()),
                Some(LoginEvent::Attach(logged_in)) => {
                    let id = LoginId(number as u64);
                    self.world.logins.insert(id, connection.wire.clone());
                    connection.phase = Phase::Attached;
                    let attached = self.control.attach(id, logged_in, ADDRESSES, &mut self.world);
                    if let (Err(refused), Some(wire)) = (attached, self.world.logins.remove(&id)) {
                        wire.respond(&refused.response);
                        wire.close();
                    }
                    return;
                }
                Some(LoginEvent::Discovery(discovery)) => {
                    connection.phase = Phase::Discovery(discovery);
                    return self.drive_discovery(number);
                }
                Some(LoginEvent::Closed(_)) => return connection.wire.close(),
            }
        }
    }

    pub(super) fn drive_discovery(&mut self, number: usize) {
        loop {
            let connection = &mut self.connections[number];
            let Phase::Discovery(discovery) = &mut connection.phase else { return };
            while let Some(bytes) = discovery.poll_transmit() {
                connection.wire.respond(&bytes);
            }
            match discovery.poll_event() {
                None if discovery.has_request() => discovery.handle_request(),
                None => return,
                Some(DiscoveryEvent::Ask(question)) => {
                    let answer = self.answer(number, question);
                    if let Phase::Discovery(discovery) = &mut self.connections[number].phase {
                        discovery.answer(answer);
                    }
                }
                Some(DiscoveryEvent::Closed(_)) => return connection.wire.close(),
            }
        }
    }

    /// The control plane's answer, with the keys and the authentication of the setup.
    fn answer(&mut self, number: usize, question: Question) -> Answer {
        if let Question::Target(asked) = &question
            && let Some(refusal) = (self.setup.refuse)(asked)
        {
            return Answer::Refuse(refusal);
        }
        let (id, now) = (LoginId(number as u64), self.clock.now());
        let answer = self.control.question(id, question, ADDRESSES, now, &mut self.world);
        match answer.expect("only redirects take time") {
            Answer::Target(mut target) if self.world.fixed.is_some() => {
                (target.keys, target.auth) = (self.setup.keys, self.setup.auth.clone());
                Answer::Target(target)
            }
            answer => answer,
        }
    }
}
