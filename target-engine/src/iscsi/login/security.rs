//! The security stage: the choice of the method, and the target's side of CHAP (RFC 7143 12, RFC 1994).
//!
//! A failed authentication ends with the same status whether the name or the secret was wrong.

use iscsi_proto::chap::{self, Algorithm, Challenge, Secret};
use iscsi_proto::login::{LoginStatus, Stage};
use iscsi_proto::text::keys::Key;
use iscsi_proto::text::negotiate::choose;
use iscsi_proto::text::{REJECT, TextBuilder};

use super::question::{AuthRequirement, ChapTerms, Refusal};

pub(super) struct Security {
    state: State,
    /// The secret of the account that the initiator has named.
    secret: Option<Secret>,
}

#[derive(Debug)]
enum State {
    /// No method is chosen.
    Start,
    /// AuthMethod=None.
    Nothing,
    /// AuthMethod=CHAP; the initiator sends CHAP_A next.
    Chap,
    /// The initiator sends CHAP_N and CHAP_R next.
    Challenged(Algorithm),
    /// The initiator is authenticated.
    Proven(String),
}

/// The keys of CHAP in one text.
#[derive(Default)]
struct ChapKeys<'a> {
    algorithms: Option<&'a str>,
    name: Option<&'a str>,
    response: Option<&'a str>,
    identifier: Option<&'a str>,
    challenge: Option<&'a str>,
}

impl Security {
    pub(super) fn new() -> Self {
        Self { state: State::Start, secret: None }
    }

    /// The account that the initiator names in reply to the challenge: its secret is needed before the text is answered.
    pub(super) fn named_account<'a>(&self, pairs: &[(&str, &'a str)]) -> Option<&'a str> {
        let is_challenged = matches!(self.state, State::Challenged(_));
        let name = pairs.iter().find(|(key, _)| *key == Key::ChapN.name()).filter(|_| is_challenged);
        name.map(|(_, user)| *user)
    }

    pub(super) fn set_secret(&mut self, secret: Option<Secret>) {
        self.secret = secret;
    }

    /// Answers one text of this stage. Returns whether the stage may be left.
    pub(super) fn negotiate(
        &mut self,
        auth: &AuthRequirement,
        pairs: &[(Key, &str)],
        next: Option<Stage>,
        answer: &mut TextBuilder,
    ) -> Result<bool, Refusal> {
        let mut keys = ChapKeys::default();
        for &(key, value) in pairs {
            match key {
                Key::AuthMethod => answer.pair(key.name(), self.choose_method(auth, value)?),
                Key::ChapA => keys.algorithms = Some(value),
                Key::ChapN => keys.name = Some(value),
                Key::ChapR => keys.response = Some(value),
                Key::ChapI => keys.identifier = Some(value),
                Key::ChapC => keys.challenge = Some(value),
                _ => answer.pair(key.name(), REJECT),
            }
        }
        match auth {
            AuthRequirement::Chap(terms) => self.exchange(terms, &keys, answer)?,
            AuthRequirement::None => keys.none_expected("no proof is asked for")?,
        }
        let passed = self.is_passed(auth);
        if !passed && next.is_some() && matches!(self.state, State::Start) {
            // It would leave the stage without authentication.
            return failed("AuthMethod is missing: a proof is required");
        }
        Ok(passed)
    }

    /// Whether the authentication is complete; true from the start if none is required.
    pub(super) fn is_passed(&self, auth: &AuthRequirement) -> bool {
        match auth {
            AuthRequirement::None => true,
            AuthRequirement::Chap(_) => matches!(self.state, State::Proven(_)),
        }
    }

    /// The authenticated name.
    pub(super) fn take_user(&mut self) -> Option<String> {
        match std::mem::replace(&mut self.state, State::Start) {
            State::Proven(user) => Some(user),
            _ => None,
        }
    }

    /// Chooses the required method from the offered ones.
    fn choose_method(&mut self, auth: &AuthRequirement, offered: &str) -> Result<&'static str, Refusal> {
        let (method, state) = match auth {
            AuthRequirement::None => ("None", State::Nothing),
            AuthRequirement::Chap(_) => ("CHAP", State::Chap),
        };
        if choose(offered, &[method]).is_none() {
            return failed(if method == "CHAP" {
                "AuthMethod does not offer CHAP"
            } else {
                "AuthMethod does not offer None, and no account is bound"
            });
        }
        self.state = state;
        Ok(method)
    }

    /// Takes as many steps of CHAP as the text has keys for (RFC 7143 12.1.3).
    fn exchange(
        &mut self,
        terms: &ChapTerms,
        keys: &ChapKeys<'_>,
        answer: &mut TextBuilder,
    ) -> Result<(), Refusal> {
        if let (State::Chap, Some(offered)) = (&self.state, keys.algorithms) {
            let algorithm = chap::choose(offered, &terms.algorithms)
                .map_or_else(|| failed("CHAP_A offers no algorithm that is allowed"), Ok)?;
            answer.pair("CHAP_A", algorithm.number());
            answer.pair("CHAP_I", terms.challenge.chap_i());
            answer.pair("CHAP_C", terms.challenge.chap_c());
            self.state = State::Challenged(algorithm);
        } else if let (State::Challenged(algorithm), Some(name), Some(response)) =
            (&self.state, keys.name, keys.response)
        {
            let algorithm = *algorithm;
            let secret = verify(algorithm, &terms.challenge, self.secret.take(), response)?;
            prove(algorithm, terms, &secret, keys, answer)?;
            self.state = State::Proven(name.to_owned());
        } else {
            keys.none_expected("not at this step of CHAP")?;
        }
        Ok(())
    }
}

impl ChapKeys<'_> {
    fn none_expected(&self, why: &str) -> Result<(), Refusal> {
        let all = [
            (Key::ChapA, self.algorithms),
            (Key::ChapN, self.name),
            (Key::ChapR, self.response),
            (Key::ChapI, self.identifier),
            (Key::ChapC, self.challenge),
        ];
        match all.iter().find(|(_, value)| value.is_some()) {
            Some((key, _)) => Err(Refusal::because(LoginStatus::InitiatorError, format!("{key}: {why}"))),
            None => Ok(()),
        }
    }
}

/// Checks the initiator's response and returns the secret of the account. Without one the response is compared with that to
/// a secret which no account has, so that neither the result nor the time shows whether the name is known.
fn verify(
    algorithm: Algorithm,
    challenge: &Challenge,
    secret: Option<Secret>,
    response: &str,
) -> Result<Secret, Refusal> {
    let is_known = secret.is_some();
    let secret = secret.unwrap_or_else(|| Secret::new(UNKNOWN));
    let is_right = challenge.verify(algorithm, &secret, response).is_ok();
    if is_right & is_known {
        return Ok(secret);
    }
    let refusal =
        Refusal::because(LoginStatus::AuthenticationFailure, "CHAP_N or CHAP_R: wrong name or secret");
    Err(Refusal { failed_proof: true, ..refusal })
}

/// Makes the target's response if the initiator has sent a challenge. A reflected challenge of any of our connections and a
/// secret that is used in both directions are refused (RFC 7143 12.1.3).
fn prove(
    algorithm: Algorithm,
    terms: &ChapTerms,
    initiators: &Secret,
    keys: &ChapKeys<'_>,
    answer: &mut TextBuilder,
) -> Result<(), Refusal> {
    let theirs = match (keys.identifier, keys.challenge) {
        (None, None) => return Ok(()),
        (Some(identifier), Some(challenge)) => Challenge::parse(identifier, challenge).ok(),
        _ => None,
    };
    let wrong = "CHAP_I and CHAP_C: expected both, a number and a binary value";
    let theirs = theirs.ok_or_else(|| Refusal::because(LoginStatus::InitiatorError, wrong))?;
    let Some(account) = &terms.outgoing else {
        return failed("CHAP_C asks the target for a proof, and no outgoing account is bound");
    };
    if terms.challenger.has_made(&theirs) {
        return failed("CHAP_C is a challenge of this target");
    }
    if account.secret.is_same(initiators) {
        return failed("CHAP_C asks the target for a proof with the same secret");
    }
    answer.pair("CHAP_N", &account.user);
    answer.pair("CHAP_R", theirs.chap_r(algorithm, &account.secret));
    Ok(())
}

fn failed<T>(why: &'static str) -> Result<T, Refusal> {
    Err(Refusal::because(LoginStatus::AuthenticationFailure, why))
}

/// As long as the secrets that RFC 7143 12.1.3 recommends.
const UNKNOWN: [u8; 16] = [0; 16];
