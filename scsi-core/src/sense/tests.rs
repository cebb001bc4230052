//! Tests of sense data in both formats: golden bytes and properties.

use proptest::prelude::*;

use super::*;

const LBA: AdditionalSense = AdditionalSense::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE;

#[test]
fn fixed_format() {
    #[rustfmt::skip]
    let cases: &[(Sense, &[u8])] = &[
        (Sense::none(),                            &[0x70, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (Sense::illegal_request(LBA),              &[0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x21, 0, 0, 0, 0, 0]),
        (Sense::invalid_opcode(),                  &[0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x20, 0, 0, 0xc0, 0, 0]),
        (Sense::invalid_field_in_cdb(1, Some(7)),  &[0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0, 0, 0xcf, 0, 1]),
        (Sense::invalid_field_in_parameter_list(0x102, None),
                                                   &[0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x26, 0, 0, 0x80, 1, 2]),
        (Sense::new(SenseKey::MediumError, AdditionalSense::UNRECOVERED_READ_ERROR).with_information(0x0102_0304),
                                                   &[0xf0, 0, 3, 1, 2, 3, 4, 10, 0, 0, 0, 0, 0x11, 0, 0, 0, 0, 0]),
        (Sense::not_ready(AdditionalSense::LOGICAL_UNIT_BECOMING_READY).with_progress(0x8000),
                                                   &[0x70, 0, 2, 0, 0, 0, 0, 10, 0, 0, 0, 0, 4, 1, 0, 0x80, 0x80, 0]),
    ];
    for (sense, bytes) in cases {
        assert_eq!(sense.to_bytes(), *bytes, "{sense:?}");
        assert_eq!(Sense::decode(bytes), Ok(*sense));
    }
}

#[test]
fn descriptor_format() {
    #[rustfmt::skip]
    let cases: &[(Sense, &[u8])] = &[
        (Sense::unit_attention(AdditionalSense::CAPACITY_DATA_HAS_CHANGED),
         &[0x72, 6, 0x2a, 9, 0, 0, 0, 0]),
        (Sense::new(SenseKey::Miscompare, AdditionalSense::MISCOMPARE_DURING_VERIFY_OPERATION).with_information(1 << 40),
         &[0x72, 0xe, 0x1d, 0, 0, 0, 0, 12, 0, 10, 0x80, 0, 0, 0, 1, 0, 0, 0, 0, 0]),
        (Sense::invalid_field_in_cdb(14, None),
         &[0x72, 5, 0x24, 0, 0, 0, 0, 8, 2, 6, 0, 0, 0xc0, 0, 14, 0]),
    ];
    for (sense, bytes) in cases {
        let sense = sense.in_format(true);
        assert_eq!(sense.to_bytes(), *bytes, "{sense:?}");
        assert_eq!(Sense::decode(bytes), Ok(sense));
    }
}

#[test]
fn encode_appends() {
    for descriptor in [false, true] {
        let sense = Sense::illegal_request(LBA).with_information(7).in_format(descriptor);
        let mut out = vec![0xff; 3];
        sense.encode(&mut out);
        assert_eq!(out, [vec![0xff; 3], sense.to_bytes()].concat());
    }
}

#[test]
fn information_beyond_32_bits_is_not_valid_in_fixed_format() {
    let sense = Sense::illegal_request(LBA).with_information(1 << 32);
    assert_eq!(sense.to_bytes()[..7], [0x70, 0, 5, 0, 0, 0, 0]);
}

#[test]
fn truncated_data_decodes_as_far_as_present() {
    let bytes = Sense::invalid_field_in_cdb(2, None).to_bytes();
    assert_eq!(
        Sense::decode(&bytes[..14]).map(|sense| (sense.code, sense.specific)),
        Ok((AdditionalSense::INVALID_FIELD_IN_CDB, None))
    );
    assert_eq!(Sense::decode(&bytes[..7]), Err(SenseError::Truncated));
    let mut without_specific = bytes;
    without_specific[7] = 6;
    assert_eq!(Sense::decode(&without_specific).map(|sense| sense.specific), Ok(None));
    assert_eq!(Sense::decode(&[]), Err(SenseError::Truncated));
}

#[test]
fn unknown_response_codes_and_keys_are_errors() {
    assert_eq!(Sense::decode(&[0x7f, 0, 0, 0, 0, 0, 0, 0]), Err(SenseError::ResponseCode(0x7f)));
    assert_eq!(Sense::decode(&[0x70, 0, 0xf, 0, 0, 0, 0, 0]), Err(SenseError::SenseKey(0xf)));
}

#[test]
fn other_descriptors_are_ignored() {
    let bytes = [0x72, 3, 0x11, 0, 0, 0, 0, 16, 0x80, 2, 1, 2, 0, 10, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 5];
    assert_eq!(Sense::decode(&bytes).map(|sense| sense.information), Ok(Some(5)));
}

fn any_sense() -> impl Strategy<Value = Sense> {
    let key = (0u8..=0xf).prop_filter_map("reserved key", |bits| SenseKey::from_bits(bits).ok());
    (key, any::<(u8, u8)>(), any::<Option<u64>>(), any::<Option<(bool, u16, Option<u8>)>>(), any::<bool>())
        .prop_map(|(key, (asc, ascq), information, specific, descriptor)| Sense {
            key,
            code: AdditionalSense { asc, ascq },
            information: information.map(|value| if descriptor { value } else { value & 0xffff_ffff }),
            specific: specific.and_then(|(in_cdb, byte, bit)| match key {
                SenseKey::IllegalRequest => {
                    Some(SenseSpecific::FieldPointer { in_cdb, byte, bit: bit.map(|bit| bit & 7) })
                }
                SenseKey::NoSense | SenseKey::NotReady => Some(SenseSpecific::Progress(byte)),
                _ => None,
            }),
            descriptor,
        })
}

proptest! {
    #[test]
    fn decode_returns_what_was_encoded(sense in any_sense()) {
        prop_assert_eq!(Sense::decode(&sense.to_bytes()), Ok(sense));
    }

    #[test]
    fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64), front in 0x70u8..0x74) {
        let _ = Sense::decode(&bytes);
        let mut framed = vec![front];
        framed.extend(bytes);
        let _ = Sense::decode(&framed);
    }
}
