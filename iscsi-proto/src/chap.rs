//! CHAP values (RFC 7143 12.1.3, RFC 1994), for either side: the one that asks and the one that answers.
//!
//! Randomness is an argument: who makes a [`Challenge`] brings an identifier and bytes nobody can foresee.
//!
//! ```
//! use iscsi_proto::chap::{Algorithm, Challenge, Challenger, Secret, choose};
//!
//! // The initiator offers CHAP_A=5,7; the target takes the one it likes best.
//! let algorithm = choose("5,7", &Algorithm::ALL).expect("one of them is known");
//! assert_eq!(algorithm, Algorithm::Sha256);
//! let secret = Secret::new(*b"at least 96 bits");
//! let challenger = Challenger::new([9; 32]);
//! let asked = challenger.challenge(0x27, [8; 16]);
//!
//! // What the initiator sees and answers.
//! let seen = Challenge::parse(&asked.chap_i(), &asked.chap_c())?;
//! let chap_r = seen.chap_r(algorithm, &secret);
//! assert_eq!(asked.verify(algorithm, &secret, &chap_r), Ok(()));
//! # Ok::<(), iscsi_proto::chap::ChapError>(())
//! ```

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use sha3::Sha3_256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::text::value::{format_hex, list, parse_binary, parse_number};

/// Hash algorithm, by its number in CHAP_A (IANA's "PPP Authentication Algorithms").
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Algorithm {
    /// Refused where FIPS 140 rules.
    Md5 = 5,
    /// SHA-1.
    Sha1 = 6,
    /// SHA-256.
    Sha256 = 7,
    /// SHA3-256.
    Sha3_256 = 8,
}

impl Algorithm {
    /// All, the strongest first: what to offer, and what to accept unless something is refused.
    pub const ALL: [Self; 4] = [Self::Sha3_256, Self::Sha256, Self::Sha1, Self::Md5];

    /// From its number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.number() == number)
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Its name in settings and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha3_256 => "sha3-256",
        }
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Length of a response in bytes.
    pub fn response_len(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 | Self::Sha3_256 => 32,
        }
    }

    /// The list to offer as CHAP_A.
    pub fn offer(algorithms: &[Self]) -> String {
        let numbers: Vec<String> =
            algorithms.iter().map(|algorithm| algorithm.number().to_string()).collect();
        numbers.join(",")
    }
}

/// Chooses from the value of CHAP_A the one that stands first in `accepted`: the initiator's list says what it can,
/// not what is good for it.
pub fn choose(chap_a: &str, accepted: &[Algorithm]) -> Option<Algorithm> {
    let number = |member| u8::try_from(parse_number(member)?).ok();
    accepted
        .iter()
        .find(|algorithm| list(chap_a).any(|member| number(member) == Some(algorithm.number())))
        .copied()
}

/// A value that is not what CHAP wants, or a proof that fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ChapError {
    /// CHAP_I is no number from 0 to 255.
    #[error("CHAP identifier is not a byte")]
    Identifier,
    /// CHAP_C is not binary, empty, or longer than 1024 bytes.
    #[error("CHAP challenge is not 1 to 1024 bytes of binary")]
    Challenge,
    /// CHAP_R is not binary.
    #[error("CHAP response is not binary")]
    Response,
    /// CHAP_R is not what the secret gives.
    #[error("CHAP response is wrong")]
    WrongResponse,
}

/// A secret: wiped when dropped, never printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// From its bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// Whether it is shorter than the 96 bits RFC 7143 12.1.3 asks for.
    pub fn is_weak(&self) -> bool {
        self.0.len() < 12
    }

    /// Whether both are the same. One secret must not serve both directions (RFC 7143 12.1.3).
    ///
    /// The time of the comparison tells neither where they differ nor whether their lengths do.
    pub fn is_same(&self, other: &Self) -> bool {
        let hash = |secret: &Self| Zeroizing::new(<[u8; 32]>::from(Sha256::digest(&secret.0[..])));
        hash(self)[..].ct_eq(&hash(other)[..]).into()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What one side asks the other: CHAP_I and CHAP_C.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Challenge {
    identifier: u8,
    bytes: Vec<u8>,
}

/// Longest challenge in bytes (RFC 7143 12.1.3).
pub const CHALLENGE_LEN_MAX: usize = 1024;

impl Challenge {
    /// From bytes that nobody can foresee; [`Challenger`] makes such.
    ///
    /// # Errors
    /// [`ChapError::Challenge`] if there are none or more than [`CHALLENGE_LEN_MAX`].
    pub fn new(identifier: u8, bytes: Vec<u8>) -> Result<Self, ChapError> {
        if bytes.is_empty() || bytes.len() > CHALLENGE_LEN_MAX {
            return Err(ChapError::Challenge);
        }
        Ok(Self { identifier, bytes })
    }

    /// From the values of CHAP_I and CHAP_C.
    pub fn parse(chap_i: &str, chap_c: &str) -> Result<Self, ChapError> {
        let identifier = parse_number(chap_i).and_then(|number| u8::try_from(number).ok());
        let bytes = parse_binary(chap_c, CHALLENGE_LEN_MAX).ok_or(ChapError::Challenge)?;
        Self::new(identifier.ok_or(ChapError::Identifier)?, bytes)
    }

    /// The value of CHAP_I.
    pub fn chap_i(&self) -> String {
        self.identifier.to_string()
    }

    /// The value of CHAP_C.
    pub fn chap_c(&self) -> String {
        format_hex(&self.bytes)
    }

    /// The value of CHAP_R: the proof that one knows the secret.
    pub fn chap_r(&self, algorithm: Algorithm, secret: &Secret) -> String {
        format_hex(&self.response(algorithm, secret))
    }

    /// Checks the peer's CHAP_R, in a time that does not tell how much of it is right.
    pub fn verify(&self, algorithm: Algorithm, secret: &Secret, chap_r: &str) -> Result<(), ChapError> {
        let response = parse_binary(chap_r, RESPONSE_LEN_MAX).ok_or(ChapError::Response)?;
        let expected = self.response(algorithm, secret);
        if bool::from(expected.ct_eq(&response)) { Ok(()) } else { Err(ChapError::WrongResponse) }
    }

    fn response(&self, algorithm: Algorithm, secret: &Secret) -> Vec<u8> {
        match algorithm {
            Algorithm::Md5 => self.hash::<Md5>(secret),
            Algorithm::Sha1 => self.hash::<Sha1>(secret),
            Algorithm::Sha256 => self.hash::<Sha256>(secret),
            Algorithm::Sha3_256 => self.hash::<Sha3_256>(secret),
        }
    }

    /// RFC 1994 4.1: the identifier, the secret, the challenge.
    fn hash<D: Digest>(&self, secret: &Secret) -> Vec<u8> {
        let hash =
            D::new().chain_update([self.identifier]).chain_update(&secret.0[..]).chain_update(&self.bytes);
        hash.finalize().to_vec()
    }
}

/// Makes the challenges of one side and knows them again, however many connections they went out on: a peer that
/// sends one back wants us to make the very proof we asked of it (RFC 7143 12.1.3).
pub struct Challenger {
    key: Zeroizing<[u8; 32]>,
}

impl Challenger {
    /// From random bytes that nobody else knows.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key: Zeroizing::new(key) }
    }

    /// A challenge of 32 bytes: random ones, and a mark that only this challenger can make.
    pub fn challenge(&self, identifier: u8, nonce: [u8; NONCE_LEN]) -> Challenge {
        Challenge { identifier, bytes: [nonce, self.mark(&nonce)].concat() }
    }

    /// Whether a challenge is one of ours.
    pub fn has_made(&self, challenge: &Challenge) -> bool {
        let Some((nonce, mark)) = challenge.bytes.split_first_chunk::<NONCE_LEN>() else { return false };
        self.mark(nonce)[..].ct_eq(mark).into()
    }

    /// SHA-3 needs no more than a secret prefix to be a message authentication code.
    fn mark(&self, nonce: &[u8; NONCE_LEN]) -> [u8; NONCE_LEN] {
        let hash = Sha3_256::new().chain_update(&self.key[..]).chain_update(nonce).finalize();
        std::array::from_fn(|at| hash[at])
    }
}

impl std::fmt::Debug for Challenger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Challenger(..)")
    }
}

/// Random bytes in a challenge of a [`Challenger`].
pub const NONCE_LEN: usize = 16;

/// Longest response of any [`Algorithm`] in bytes.
const RESPONSE_LEN_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::value::format_base64;

    const IDENTIFIER: u8 = 0x27;
    const SECRET: &[u8] = b"correct horse battery";

    /// Of the identifier, the secret and the bytes 0 to 15; made with another implementation of the hashes.
    const KNOWN_ANSWERS: [(Algorithm, &str); 4] = [
        (Algorithm::Md5, "0x8932cabbad7c42bb3333a152d9788f08"),
        (Algorithm::Sha1, "0x81a18461b50d21082ca558caba48c5b4e84832e0"),
        (Algorithm::Sha256, "0x2d181eac18fb1d54a5a1e39e891eb1aba7a971f8974808a7549b834b912dbb3b"),
        (Algorithm::Sha3_256, "0x2d50da028db8adfeff0497c77b461f7b1646ef0851a699e3ba48f56857697720"),
    ];

    fn challenge() -> Challenge {
        Challenge::new(IDENTIFIER, (0..16).collect()).unwrap()
    }

    #[test]
    fn known_answers() {
        for (algorithm, answer) in KNOWN_ANSWERS {
            let secret = Secret::new(SECRET);
            assert_eq!(challenge().chap_r(algorithm, &secret), answer, "{algorithm:?}");
            assert_eq!(challenge().verify(algorithm, &secret, answer), Ok(()));
            assert_eq!(answer.len(), 2 + 2 * algorithm.response_len());
        }
    }

    #[test]
    fn base64_proves_as_well_as_hex() {
        let secret = Secret::new(SECRET);
        for algorithm in Algorithm::ALL {
            let response = format_base64(&challenge().response(algorithm, &secret));
            assert_eq!(challenge().verify(algorithm, &secret, &response), Ok(()));
        }
    }

    #[test]
    fn what_is_not_the_right_response_fails() {
        let (asked, secret) = (challenge(), Secret::new(SECRET));
        for (algorithm, answer) in KNOWN_ANSWERS {
            let other_secret = Secret::new(*b"correct horse batterz");
            let wrong = Err(ChapError::WrongResponse);
            assert_eq!(asked.verify(algorithm, &other_secret, answer), wrong, "other secret");
            let other = Challenge::new(IDENTIFIER + 1, (0..16).collect()).unwrap();
            assert_eq!(other.verify(algorithm, &secret, answer), wrong, "other identifier");
            let other = Challenge::new(IDENTIFIER, (1..17).collect()).unwrap();
            assert_eq!(other.verify(algorithm, &secret, answer), wrong, "other challenge");
            let short = &answer[..answer.len() - 2];
            assert_eq!(asked.verify(algorithm, &secret, short), wrong, "cut short");
            assert_eq!(asked.verify(algorithm, &secret, "0x00"), wrong, "a byte");
            assert_eq!(
                asked.verify(algorithm, &secret, &format!("{answer}00")),
                if answer.len() == 66 { Err(ChapError::Response) } else { wrong }
            );
            for not_binary in ["", "0x", "zz", &answer[2..]] {
                assert_eq!(asked.verify(algorithm, &secret, not_binary), Err(ChapError::Response));
            }
        }
    }

    #[test]
    fn one_algorithms_response_is_not_anothers() {
        let secret = Secret::new(SECRET);
        for (made_with, answer) in KNOWN_ANSWERS {
            for algorithm in Algorithm::ALL {
                let accepted = challenge().verify(algorithm, &secret, answer).is_ok();
                assert_eq!(accepted, algorithm == made_with, "{made_with:?} for {algorithm:?}");
            }
        }
    }

    #[test]
    fn the_accepted_algorithm_that_stands_first_is_chosen() {
        use Algorithm::{Md5, Sha1, Sha3_256, Sha256};
        assert_eq!(choose("5,6,7,8", &Algorithm::ALL), Some(Sha3_256));
        assert_eq!(choose("8,7,6,5", &[Md5, Sha256]), Some(Md5));
        assert_eq!(choose("8,7", &[Md5, Sha256]), Some(Sha256));
        assert_eq!(choose("9,5", &Algorithm::ALL), Some(Md5));
        assert_eq!(choose("0x6", &Algorithm::ALL), Some(Sha1));
        assert_eq!(choose("5", &[Sha1]), None);
        for none in ["", "4", "261", "MD5", "7;5"] {
            assert_eq!(choose(none, &Algorithm::ALL), None, "{none:?}");
        }
        assert_eq!(Algorithm::offer(&Algorithm::ALL), "8,7,6,5");
    }

    #[test]
    fn algorithms_are_named() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
        }
        assert_eq!(Algorithm::from_name("MD5"), None);
    }

    #[test]
    fn challenges_are_bounded() {
        let long = |len: usize| format_hex(&vec![1; len]);
        assert!(Challenge::parse("255", &long(1024)).is_ok());
        assert_eq!(Challenge::parse("255", &long(1025)), Err(ChapError::Challenge));
        assert_eq!(Challenge::parse("255", "0x"), Err(ChapError::Challenge));
        assert_eq!(Challenge::parse("256", "0x01"), Err(ChapError::Identifier));
        assert_eq!(Challenge::parse("-1", "0x01"), Err(ChapError::Identifier));
        assert_eq!(Challenge::new(0, Vec::new()), Err(ChapError::Challenge));
    }

    #[test]
    fn a_challenger_knows_its_challenges_in_any_notation() {
        let (ours, others) = (Challenger::new([1; 32]), Challenger::new([2; 32]));
        let made = ours.challenge(IDENTIFIER, [3; 16]);
        assert_ne!(made, ours.challenge(IDENTIFIER, [4; 16]));
        let back = Challenge::parse("1", &format_base64(&made.bytes)).unwrap();
        assert!(ours.has_made(&back) && !others.has_made(&back));
        for changed in 0..made.bytes.len() {
            let mut bytes = made.bytes.clone();
            bytes[changed] ^= 1;
            assert!(!ours.has_made(&Challenge::new(1, bytes).unwrap()), "byte {changed}");
        }
        for len in [1, 15, 16, 31] {
            assert!(!ours.has_made(&Challenge::new(1, made.bytes[..len].to_vec()).unwrap()), "{len} bytes");
        }
        assert_eq!(format!("{ours:?}"), "Challenger(..)");
    }

    #[test]
    fn secrets_are_compared_measured_and_not_printed() {
        let secret = Secret::new(*b"twelve bytes");
        assert!(!secret.is_weak() && Secret::new(*b"eleven byte").is_weak());
        assert!(secret.is_same(&secret.clone()) && !secret.is_same(&Secret::new(*b"twelve bytez")));
        assert!(!secret.is_same(&Secret::new(*b"twelve byte")) && !secret.is_same(&Secret::new(Vec::new())));
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    proptest! {
        #[test]
        fn any_values_are_taken_or_refused(chap_i in "\\PC{0,5}", chap_c in "(0[xb])?\\PC{0,20}", chap_r in "\\PC{0,20}") {
            if let Ok(challenge) = Challenge::parse(&chap_i, &chap_c) {
                prop_assert!(challenge.verify(Algorithm::Sha256, &Secret::new(SECRET), &chap_r).is_err());
            }
            let _ = choose(&chap_r, &Algorithm::ALL);
        }
    }
}
