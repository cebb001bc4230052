//! CHAP values (RFC 7143 12.1.3, RFC 1994), for the side that authenticates and the side that proves its identity.
//!
//! Randomness is an argument: the caller passes an identifier and unpredictable bytes for each [`Challenge`].
//!
//! ```
//! use iscsi_proto::chap::{Algorithm, Challenge, Challenger, Secret, choose};
//!
//! // The initiator offers CHAP_A=5,7; the target chooses by its own preference.
//! let algorithm = choose("5,7", &Algorithm::ALL).expect("one of them is known");
//! assert_eq!(algorithm, Algorithm::Sha256);
//! let secret = Secret::new(*b"at least 96 bits");
//! let challenger = Challenger::new([9; 32]);
//! let asked = challenger.challenge(0x27, [8; 16]);
//!
//! // The initiator parses the challenge and responds.
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
    /// MD5. Not approved by FIPS 140.
    Md5 = 5,
    /// SHA-1.
    Sha1 = 6,
    /// SHA-256.
    Sha256 = 7,
    /// SHA3-256.
    Sha3_256 = 8,
}

impl Algorithm {
    /// All algorithms, strongest first: the default list to offer and to accept.
    pub const ALL: [Self; 4] = [Self::Sha3_256, Self::Sha256, Self::Sha1, Self::Md5];

    /// The algorithm with this number in CHAP_A.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.number() == number)
    }

    /// The number of the algorithm in CHAP_A.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The name of the algorithm in settings and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha3_256 => "sha3-256",
        }
    }

    /// The algorithm with this name, which is case-sensitive.
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

    /// The value of CHAP_A that offers these algorithms.
    pub fn offer(algorithms: &[Self]) -> String {
        let numbers: Vec<String> =
            algorithms.iter().map(|algorithm| algorithm.number().to_string()).collect();
        numbers.join(",")
    }
}

/// Chooses the first algorithm of `accepted` that CHAP_A offers. The order of CHAP_A is ignored, so that an initiator
/// that lists a weak algorithm first does not get it.
pub fn choose(chap_a: &str, accepted: &[Algorithm]) -> Option<Algorithm> {
    let number = |member| u8::try_from(parse_number(member)?).ok();
    accepted
        .iter()
        .find(|algorithm| list(chap_a).any(|member| number(member) == Some(algorithm.number())))
        .copied()
}

/// Why a CHAP value is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ChapError {
    /// CHAP_I is not a number from 0 to 255.
    #[error("CHAP identifier is not a byte")]
    Identifier,
    /// CHAP_C is not a binary value of 1 to 1024 bytes.
    #[error("CHAP challenge is not 1 to 1024 bytes of binary")]
    Challenge,
    /// CHAP_R is not a binary value of at most 32 bytes.
    #[error("CHAP response is not binary")]
    Response,
    /// CHAP_R is not the response that the secret produces.
    #[error("CHAP response is wrong")]
    WrongResponse,
}

/// A CHAP secret. Its memory is zeroed on drop; `Debug` does not print it.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// A secret of these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// Whether the secret is shorter than the 96 bits that RFC 7143 12.1.3 requires without IPsec.
    pub fn is_weak(&self) -> bool {
        self.0.len() < 12
    }

    /// Whether both secrets are equal. Both directions of a login must use different secrets (RFC 7143 12.1.3).
    ///
    /// The time of the comparison depends neither on where the secrets differ nor on whether their lengths do.
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

/// A challenge: CHAP_I and CHAP_C.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Challenge {
    identifier: u8,
    bytes: Vec<u8>,
}

/// Maximum length of a challenge in bytes (RFC 7143 12.1.3).
///
/// Hit by: any peer. Scope: login. Over it: the login is refused with 0200, initiator error. Seen: log.
pub const CHALLENGE_LEN_MAX: usize = 1024;

impl Challenge {
    /// A challenge of these bytes, which must be unpredictable, as those of a [`Challenger`] are.
    ///
    /// # Errors
    /// [`ChapError::Challenge`] unless there are 1 to [`CHALLENGE_LEN_MAX`] bytes.
    pub fn new(identifier: u8, bytes: Vec<u8>) -> Result<Self, ChapError> {
        if bytes.is_empty() || bytes.len() > CHALLENGE_LEN_MAX {
            return Err(ChapError::Challenge);
        }
        Ok(Self { identifier, bytes })
    }

    /// Parses the values of CHAP_I and CHAP_C.
    ///
    /// # Errors
    /// [`ChapError::Identifier`] or [`ChapError::Challenge`].
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

    /// The value of CHAP_R that responds to the challenge.
    pub fn chap_r(&self, algorithm: Algorithm, secret: &Secret) -> String {
        format_hex(&self.response(algorithm, secret))
    }

    /// Checks the CHAP_R of the peer in constant time.
    ///
    /// # Errors
    /// [`ChapError::Response`] or [`ChapError::WrongResponse`].
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

    /// Hash of identifier, secret and challenge (RFC 1994 4.1).
    fn hash<D: Digest>(&self, secret: &Secret) -> Vec<u8> {
        let hash =
            D::new().chain_update([self.identifier]).chain_update(&secret.0[..]).chain_update(&self.bytes);
        hash.finalize().to_vec()
    }
}

/// Makes the challenges of one side and recognizes them on any connection. A peer that sends one of them back tries to
/// make us compute the response for it (reflection, RFC 7143 12.1.3).
pub struct Challenger {
    key: Zeroizing<[u8; 32]>,
}

impl Challenger {
    /// A challenger with a random, secret key.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key: Zeroizing::new(key) }
    }

    /// A challenge of 32 bytes: the random nonce and its authentication tag.
    pub fn challenge(&self, identifier: u8, nonce: [u8; NONCE_LEN]) -> Challenge {
        Challenge { identifier, bytes: [nonce, self.tag(&nonce)].concat() }
    }

    /// Whether this challenger made the challenge, compared in constant time.
    pub fn has_made(&self, challenge: &Challenge) -> bool {
        let Some((nonce, tag)) = challenge.bytes.split_first_chunk::<NONCE_LEN>() else { return false };
        self.tag(nonce)[..].ct_eq(tag).into()
    }

    /// Authentication tag of a nonce. With SHA-3 a hash over key and message is a message authentication code.
    fn tag(&self, nonce: &[u8; NONCE_LEN]) -> [u8; NONCE_LEN] {
        let hash = Sha3_256::new().chain_update(&self.key[..]).chain_update(nonce).finalize();
        std::array::from_fn(|at| hash[at])
    }
}

impl std::fmt::Debug for Challenger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Challenger(..)")
    }
}

/// Length in bytes of the nonce in a challenge of a [`Challenger`].
pub const NONCE_LEN: usize = 16;

/// Maximum response length of all [`Algorithm`]s, in bytes.
const RESPONSE_LEN_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::value::format_base64;

    const IDENTIFIER: u8 = 0x27;
    const SECRET: &[u8] = b"correct horse battery";

    /// Responses to `IDENTIFIER`, `SECRET` and a challenge of the bytes 0 to 15, made with another implementation of
    /// the hashes.
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
    fn algorithms_have_the_numbers_of_chap_a() {
        let numbers = [(5, Some(Algorithm::Md5)), (6, Some(Algorithm::Sha1)), (7, Some(Algorithm::Sha256))];
        for (number, algorithm) in
            numbers.into_iter().chain([(8, Some(Algorithm::Sha3_256)), (4, None), (9, None)])
        {
            assert_eq!(Algorithm::from_number(number), algorithm, "{number}");
        }
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
    fn response_in_base64_is_accepted() {
        let secret = Secret::new(SECRET);
        for algorithm in Algorithm::ALL {
            let response = format_base64(&challenge().response(algorithm, &secret));
            assert_eq!(challenge().verify(algorithm, &secret, &response), Ok(()));
        }
    }

    #[test]
    fn wrong_response_is_refused() {
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
    fn response_of_another_algorithm_is_refused() {
        let secret = Secret::new(SECRET);
        for (made_with, answer) in KNOWN_ANSWERS {
            for algorithm in Algorithm::ALL {
                let accepted = challenge().verify(algorithm, &secret, answer).is_ok();
                assert_eq!(accepted, algorithm == made_with, "{made_with:?} for {algorithm:?}");
            }
        }
    }

    #[test]
    fn choose_follows_the_order_of_the_accepted_algorithms() {
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
    fn algorithms_are_found_by_name() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
        }
        assert_eq!(Algorithm::from_name("MD5"), None);
    }

    #[test]
    fn challenge_length_is_limited() {
        let long = |len: usize| format_hex(&vec![1; len]);
        assert!(Challenge::parse("255", &long(1024)).is_ok());
        assert_eq!(Challenge::parse("255", &long(1025)), Err(ChapError::Challenge));
        assert_eq!(Challenge::parse("255", "0x"), Err(ChapError::Challenge));
        assert_eq!(Challenge::parse("256", "0x01"), Err(ChapError::Identifier));
        assert_eq!(Challenge::parse("-1", "0x01"), Err(ChapError::Identifier));
        assert_eq!(Challenge::new(0, Vec::new()), Err(ChapError::Challenge));
    }

    #[test]
    fn challenger_recognizes_its_challenges_in_any_notation() {
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
    fn secret_is_compared_measured_and_not_printed() {
        let secret = Secret::new(*b"twelve bytes");
        assert!(!secret.is_weak() && Secret::new(*b"eleven byte").is_weak());
        assert!(secret.is_same(&secret.clone()) && !secret.is_same(&Secret::new(*b"twelve bytez")));
        assert!(!secret.is_same(&Secret::new(*b"twelve byte")) && !secret.is_same(&Secret::new(Vec::new())));
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    proptest! {
        #[test]
        fn any_values_are_accepted_or_refused(chap_i in "\\PC{0,5}", chap_c in "(0[xb])?\\PC{0,20}", chap_r in "\\PC{0,20}") {
            if let Ok(challenge) = Challenge::parse(&chap_i, &chap_c) {
                prop_assert!(challenge.verify(Algorithm::Sha256, &Secret::new(SECRET), &chap_r).is_err());
            }
            let _ = choose(&chap_r, &Algorithm::ALL);
        }
    }
}
