//! Questions of a login or discovery session to the configuration, and their answers.
//!
//! The driver of a [`Login`](super::Login) owns the configuration and answers at once or later; the login waits. Types
//! that hold a secret have a `Debug` of their own, which does not print it.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use iscsi_proto::chap::{Algorithm, Challenge, Challenger, NONCE_LEN, Secret};
use iscsi_proto::login::LoginStatus;
use iscsi_proto::name::IscsiName;
use iscsi_proto::params::SessionType;
use iscsi_proto::text::TextBuilder;
use iscsi_proto::text::negotiate::Preferences;

/// A question that only the configuration can answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Question {
    /// May this initiator log in, with what keys and what authentication?
    Target(Box<TargetQuestion>),
    /// Which secret must the initiator prove that names this account?
    Account(Box<AccountQuestion>),
    /// Which targets, and at which addresses, may this initiator see?
    SendTargets(Box<SendTargetsQuestion>),
}

/// Who wants to log in, and where. It is asked once in a login, before anything is negotiated. It does not name the session
/// that the connection joins: that is looked up after the login, so that only an authenticated initiator learns of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TargetQuestion {
    /// InitiatorName.
    pub initiator_name: IscsiName,
    /// InitiatorAlias, as the peer wrote it; escape it before it is shown.
    pub initiator_alias: Option<String>,
    /// Whether it is a normal or a discovery session.
    pub session_type: SessionType,
    /// TargetName; `None` only in a discovery session.
    pub target_name: Option<IscsiName>,
}

/// An initiator names the account that it has. It is asked once in a login that requires CHAP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccountQuestion {
    /// The target; `None` in a discovery session.
    pub target_name: Option<IscsiName>,
    /// CHAP_N.
    pub user: String,
}

/// A SendTargets request (RFC 7143 appendix C).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SendTargetsQuestion {
    /// The initiator that asks.
    pub initiator_name: IscsiName,
    /// The account of its CHAP login, if discovery asks for one.
    pub chap_user: Option<String>,
    /// Which targets it asks for.
    pub scope: SendTargetsScope,
}

/// The value of SendTargets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SendTargetsScope {
    /// `All`: every target that the initiator may see; in discovery sessions only.
    All,
    /// One target by its name; an unknown name gets no record.
    Named(IscsiName),
}

impl SendTargetsScope {
    /// Whether the answer includes a target with this name, if access is granted.
    pub fn includes(&self, name: &IscsiName) -> bool {
        match self {
            Self::All => true,
            Self::Named(wanted) => wanted == name,
        }
    }
}

/// One target in the answer to SendTargets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TargetRecord {
    /// TargetName.
    pub name: IscsiName,
    /// One TargetAddress each. Without any, the target is at the address of the discovery session (RFC 7143 appendix C).
    pub addresses: Vec<TargetAddress>,
}

/// The answer to SendTargets as text, made once and shared by the sessions that get it.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct TargetList(Bytes);

impl TargetList {
    /// Writes the records.
    pub fn new(records: impl IntoIterator<Item = TargetRecord>) -> Self {
        let mut text = TextBuilder::new();
        for record in records {
            text.pair("TargetName", record.name.as_str());
            for address in &record.addresses {
                text.pair("TargetAddress", address);
            }
        }
        Self(text.finish())
    }

    /// The pairs.
    pub fn text(&self) -> &Bytes {
        &self.0
    }
}

/// A portal and the group it belongs to, as TargetAddress shows it (RFC 7143 13.8).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TargetAddress {
    /// Address and TCP port.
    pub portal: SocketAddr,
    /// Target portal group tag.
    pub group: u16,
}

impl TargetAddress {
    /// The local address of a connection, which its initiator can reach. `None` for an IPv6 link-local address: it is
    /// useless without the initiator's own name of the link.
    pub fn of_connection(local: SocketAddr, group: u16) -> Option<Self> {
        let portal = SocketAddr::new(local.ip().to_canonical(), local.port());
        let is_link_local = matches!(portal.ip(), IpAddr::V6(address) if address.is_unicast_link_local());
        (!is_link_local).then_some(Self { portal, group })
    }
}

impl fmt::Display for TargetAddress {
    /// `192.0.2.1:3260,1` or `[2001:db8::1]:3260,1`; a scope identifier is of no use to the peer and is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.portal {
            SocketAddr::V4(portal) => write!(f, "{portal},{}", self.group),
            SocketAddr::V6(portal) => write!(f, "[{}]:{},{}", portal.ip(), portal.port(), self.group),
        }
    }
}

/// The answer of the configuration.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To [`Question::Target`]: the login goes on, on these terms.
    Target(Box<TargetAnswer>),
    /// To [`Question::Target`]: the login is refused.
    Refuse(Refusal),
    /// To [`Question::Account`]: its secret; `None` if the initiator cannot authenticate with it.
    Account(Option<Secret>),
    /// To [`Question::SendTargets`].
    Targets(TargetList),
}

/// Why a login ends, and where to try instead.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The status class and detail; never success.
    pub status: LoginStatus,
    /// With the redirecting statuses (RFC 7143 11.13.5): `address:port` without a group, IPv6 in brackets.
    pub target_address: Option<String>,
    /// The reason for the log; it is not sent to the peer.
    pub why: Cow<'static, str>,
    /// A wrong name or secret: the login sends the refusal later, so that guessing takes time.
    pub failed_proof: bool,
}

impl Refusal {
    /// A refusal with a reason for the log, which names the key or field.
    pub fn because(status: LoginStatus, why: impl Into<Cow<'static, str>>) -> Self {
        Self { status, target_address: None, why: why.into(), failed_proof: false }
    }

    /// A redirection to another address.
    pub fn redirect(status: LoginStatus, address: String) -> Self {
        let why = format!("the login continues at {address}");
        Self { target_address: Some(address), ..Self::because(status, why) }
    }
}

/// The terms on which an initiator may go on.
#[derive(Clone, Debug)]
pub struct TargetAnswer {
    /// The target's side of the negotiation; the rule of each key combines it with the initiator's value.
    pub keys: Preferences,
    /// What the initiator must prove.
    pub auth: AuthRequirement,
    /// Target portal group tag of the portal that was connected to.
    pub portal_group_tag: u16,
}

/// What the initiator must prove before it leaves the security stage.
#[derive(Clone, Debug)]
pub enum AuthRequirement {
    /// Nothing. An initiator that offers only CHAP is refused, because there is no account to check it against.
    None,
    /// CHAP (RFC 7143 12.1.3).
    Chap(Box<ChapTerms>),
}

/// The challenge of one login. The account that the initiator names is asked for by [`Question::Account`].
#[derive(Clone, Debug)]
pub struct ChapTerms {
    /// The account of the target, for initiators that ask it to authenticate.
    pub outgoing: Option<ChapAccount>,
    /// The accepted algorithms, the best first.
    pub algorithms: Vec<Algorithm>,
    /// Fresh for each login, see [`challenge_from_os`].
    pub challenge: Challenge,
    /// The source of the challenges of all logins.
    pub challenger: Arc<Challenger>,
}

/// A name and its secret.
#[derive(Clone, Debug)]
pub struct ChapAccount {
    /// CHAP_N.
    pub user: String,
    /// Never printed, wiped when dropped.
    pub secret: Secret,
}

/// Makes the source of all challenges of a daemon, with a key from the operating system's generator.
///
/// # Errors
/// The operating system returns no random bytes. The login must be refused then.
pub fn challenger_from_os() -> Result<Challenger, getrandom::Error> {
    let mut key = [0; 32];
    getrandom::fill(&mut key)?;
    Ok(Challenger::new(key))
}

/// A challenge from random bytes of the operating system.
///
/// # Errors
/// Same errors as [`challenger_from_os`].
pub fn challenge_from_os(challenger: &Challenger) -> Result<Challenge, getrandom::Error> {
    let (mut identifier, mut nonce) = ([0], [0; NONCE_LEN]);
    getrandom::fill(&mut identifier)?;
    getrandom::fill(&mut nonce)?;
    Ok(challenger.challenge(identifier[0], nonce))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_the_rfc_shows_them() {
        let v4 = TargetAddress { portal: "192.0.2.7:3260".parse().unwrap(), group: 1 };
        assert_eq!(v4.to_string(), "192.0.2.7:3260,1");
        let v6 = TargetAddress { portal: "[fe80::1%3]:3261".parse().unwrap(), group: 2 };
        assert_eq!(v6.to_string(), "[fe80::1]:3261,2");
    }

    #[test]
    fn the_address_of_a_connection_is_one_that_its_initiator_can_use() {
        let shown = |local: &str| {
            let address = TargetAddress::of_connection(local.parse().unwrap(), 1);
            address.map_or(String::new(), |address| address.to_string())
        };
        assert_eq!(shown("192.0.2.7:3260"), "192.0.2.7:3260,1");
        assert_eq!(shown("[::ffff:192.0.2.7]:3260"), "192.0.2.7:3260,1");
        assert_eq!(shown("[2001:db8::7]:3261"), "[2001:db8::7]:3261,1");
        assert_eq!(shown("[::1]:3260"), "[::1]:3260,1");
        assert_eq!(shown("[fe80::7%2]:3260"), "");
    }

    #[test]
    fn no_secret_is_printed() {
        let account = ChapAccount { user: "joe".into(), secret: Secret::new(*b"twelve bytes or more") };
        let terms = ChapTerms {
            outgoing: Some(account.clone()),
            algorithms: Algorithm::ALL.to_vec(),
            challenge: Challenge::new(1, vec![2; 32]).unwrap(),
            challenger: Arc::new(Challenger::new([3; 32])),
        };
        let answer = Answer::Target(Box::new(TargetAnswer {
            keys: Preferences::default(),
            auth: AuthRequirement::Chap(Box::new(terms)),
            portal_group_tag: 1,
        }));
        let printed = format!("{answer:?}");
        assert!(printed.contains("joe") && !printed.contains("twelve"), "{printed}");
        assert!(!printed.contains("116, 119"), "{printed}");
        let printed = format!("{:?}", Answer::Account(Some(account.secret)));
        assert!(!printed.contains("twelve") && !printed.contains("116, 119"), "{printed}");
    }

    #[test]
    fn two_challenges_differ() {
        let (first, second) = (challenger_from_os().unwrap(), challenger_from_os().unwrap());
        let challenge = challenge_from_os(&first).unwrap();
        assert_ne!(challenge.chap_c(), challenge_from_os(&first).unwrap().chap_c());
        assert!(first.has_made(&challenge) && !second.has_made(&challenge));
    }
}
