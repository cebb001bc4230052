//! Fuzz targets, one for each parser. They accept any bytes and assert what holds for all input.

use bytes::BytesMut;

use crate::chap::{Algorithm, Challenge, Secret, choose};
use crate::frame::{Cut, Digests, Limits, PduReader, RawPdu, cut, encode_pdu};
use crate::name::IscsiName;
use crate::params::{ConnectionParams, SessionParams, SessionType};
use crate::pdu::{BHS_LEN, Pdu, ahs};
use crate::text::keys::Role;
use crate::text::negotiate::{Negotiation, Preferences};
use crate::text::{TextBuilder, TextLimits, pairs};

/// Decodes a header, and the bytes after it as additional header segments.
pub fn pdu(bytes: &[u8]) {
    let Some((bhs, rest)) = bytes.split_first_chunk::<BHS_LEN>() else { return };
    if let Ok(pdu) = Pdu::decode(bhs) {
        let mut out = [0xff; BHS_LEN];
        pdu.encode(&mut out);
        assert_eq!(Pdu::decode(&out), Ok(pdu));
    }
    let segments: Result<Vec<_>, _> = ahs::segments(rest).collect();
    if let Ok(segments) = segments {
        let mut out = Vec::new();
        if segments.iter().all(|segment| segment.encode(&mut out).is_ok()) {
            assert_eq!(ahs::segments(&out).collect::<Result<Vec<_>, _>>(), Ok(segments));
        }
    }
}

/// Reads a stream of PDUs; the first byte selects the digests and the chunk length.
pub fn frame(bytes: &[u8]) {
    let Some((control, stream)) = bytes.split_first() else { return };
    let digests = Digests { header: control & 1 != 0, data: control & 2 != 0 };
    let limits = Limits { max_data_len: 4096, max_ahs_len: 64 };
    match cut(stream, digests, &limits) {
        Ok(Cut::More(needed)) => assert!(needed > stream.len()),
        Ok(Cut::Header(header)) => {
            assert!(header.header_len <= stream.len() && header.data_len <= header.padded_len);
        }
        Err(_) => {}
    }
    let chunk = usize::from(control >> 2) + 1;
    let whole = read_all(stream, stream.len().max(1), digests, limits);
    assert_eq!(read_all(stream, chunk, digests, limits), whole);
    for pdu in whole {
        let mut out = BytesMut::new();
        encode_pdu(&mut out, &pdu.bhs, &pdu.ahs, &pdu.data, digests);
        assert_eq!(read_all(&out, chunk, digests, limits), [pdu]);
    }
}

fn read_all(stream: &[u8], chunk: usize, digests: Digests, limits: Limits) -> Vec<RawPdu> {
    let mut reader = PduReader::new(limits);
    reader.configure(limits, digests);
    let mut read = Vec::new();
    for piece in stream.chunks(chunk) {
        reader.push(piece);
        while let Some(Ok(pdu)) = reader.next_pdu() {
            read.push(pdu);
        }
    }
    read
}

/// Parses a text of key=value pairs.
pub fn text(bytes: &[u8]) {
    let parsed: Result<Vec<_>, _> = pairs(bytes, &TextLimits::default()).collect();
    let Ok(parsed) = parsed else { return };
    let mut text = TextBuilder::new();
    parsed.iter().for_each(|(key, value)| text.pair(key, value));
    let text = text.finish();
    let again: Result<Vec<_>, _> = pairs(&text, &TextLimits::default()).collect();
    assert_eq!(again, Ok(parsed));
}

/// Negotiates a text; the first byte selects the role and the phase.
pub fn login_keys(bytes: &[u8]) {
    let Some((control, text)) = bytes.split_first() else { return };
    let role = if control & 1 == 0 { Role::Target } else { Role::Initiator };
    let preferences = Preferences::default();
    let (session, connection) = (SessionParams::default(), ConnectionParams::default());
    let mut side = match control >> 1 & 3 {
        0 => Negotiation::joining(role, preferences, session),
        1 => Negotiation::full_feature(role, preferences, SessionType::Discovery, session, connection),
        _ => Negotiation::new(role, preferences),
    };
    let mut out = TextBuilder::new();
    if control & 8 != 0 {
        side.offer_wanted(&mut out);
    }
    for pair in pairs(text, &TextLimits::default()) {
        let Ok((key, value)) = pair else { return };
        if side.receive(key, value, &mut out).is_err() {
            return;
        }
    }
    side.offer_wanted(&mut out);
    let limits = TextLimits { text_len_max: usize::MAX, pairs_max: usize::MAX, ..TextLimits::default() };
    assert!(pairs(&out.finish(), &limits).all(|pair| pair.is_ok()));
    let result = side.session();
    assert!(result.first_burst_len <= result.max_burst_len);
    assert!((512..1 << 24).contains(&side.connection().max_xmit_data_segment_len));
}

/// Parses the values of CHAP_A, CHAP_I, CHAP_C and CHAP_R, separated by NUL.
pub fn chap_values(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let mut values = text.split('\0');
    let mut value = || values.next().unwrap_or_default();
    let (chap_a, chap_i, chap_c, chap_r) = (value(), value(), value(), value());
    let algorithm = choose(chap_a, &Algorithm::ALL).unwrap_or(Algorithm::Md5);
    let Ok(challenge) = Challenge::parse(chap_i, chap_c) else { return };
    assert_eq!(Challenge::parse(&challenge.chap_i(), &challenge.chap_c()).as_ref(), Ok(&challenge));
    let secret = Secret::new(*b"not guessed by a fuzzer");
    assert!(challenge.verify(algorithm, &secret, chap_r).is_err());
    let right = challenge.chap_r(algorithm, &secret);
    assert_eq!(challenge.verify(algorithm, &secret, &right), Ok(()));
}

/// Parses an iSCSI name.
pub fn name(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(name) = IscsiName::parse_any(text) {
        assert_eq!(name.as_str(), text);
        assert_eq!(IscsiName::parse(text).is_ok(), name.kind() != crate::name::NameType::Other);
    }
}

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct FuzzTarget {
    /// Name of the target and of its corpus.
    pub name: &'static str,
    /// Runs the target on an input.
    pub run: fn(&[u8]),
}

/// All fuzz targets.
pub const TARGETS: &[FuzzTarget] = &[
    FuzzTarget { name: "pdu", run: pdu },
    FuzzTarget { name: "frame", run: frame },
    FuzzTarget { name: "text", run: text },
    FuzzTarget { name: "login_keys", run: login_keys },
    FuzzTarget { name: "chap_values", run: chap_values },
    FuzzTarget { name: "name", run: name },
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pdu::Bhs;

    /// Headers with few bits set, which are likely to be valid, each followed by some bytes.
    fn likely_stream() -> impl Strategy<Value = Vec<u8>> {
        let pdu = (any::<u8>(), any::<u8>(), 0u8..3, 0u8..20, prop::collection::vec(any::<u8>(), 0..90));
        (any::<u8>(), prop::collection::vec(pdu, 0..4)).prop_map(|(control, pdus)| {
            let mut stream = vec![control & !3];
            for (opcode, flags, ahs_words, data_len, rest) in pdus {
                let mut bhs: Bhs = [0; BHS_LEN];
                (bhs[0], bhs[1], bhs[4], bhs[7]) = (opcode, flags, ahs_words, data_len);
                stream.extend_from_slice(&bhs);
                stream.extend_from_slice(&rest);
            }
            stream
        })
    }

    proptest! {
        #[test]
        fn targets_accept_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            TARGETS.iter().for_each(|target| (target.run)(&bytes));
        }

        #[test]
        fn targets_accept_likely_streams(stream in likely_stream()) {
            frame(&stream);
            pdu(&stream[1..]);
        }

        #[test]
        fn targets_accept_likely_texts(control in any::<u8>(), text in "([A-Za-z]{1,8}=[ -~]{0,8}\0){0,8}") {
            login_keys(&[&[control], text.as_bytes()].concat());
            super::text(text.as_bytes());
        }

        #[test]
        fn targets_accept_likely_chap_values(text in "[5-8](,[5-8])?\0[0-9]{1,3}\x000x[0-9a-f]{2,40}\x000x[0-9a-f]{0,40}") {
            chap_values(text.as_bytes());
        }
    }
}
