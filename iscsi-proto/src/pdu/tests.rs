//! Tests of all PDUs, and of the header fields that they share.

use proptest::prelude::*;

use super::header::request;
use super::*;
use crate::ids::Itt;

/// Asserts that the bytes decode to the PDU, and that the PDU encodes to the bytes over a buffer of ones.
pub(crate) fn assert_golden(golden: &Bhs, pdu: impl Into<Pdu>) {
    let pdu = pdu.into();
    assert_eq!(Pdu::decode(golden), Ok(pdu));
    let mut out = [0xff; BHS_LEN];
    pdu.encode(&mut out);
    assert_eq!(out, *golden, "{pdu:?}");
}

#[test]
fn set_lengths_writes_only_the_length_fields() {
    let mut bhs = [0xff; BHS_LEN];
    set_lengths(&mut bhs, 8, 0x0001_0203);
    assert_eq!(bhs[4..8], [2, 1, 2, 3]);
    assert_eq!((ahs_len(&bhs), data_len(&bhs)), (8, 0x0001_0203));
    assert_eq!((bhs[3], bhs[8]), (0xff, 0xff));
}

#[test]
fn set_lengths_accepts_the_maxima() {
    let mut bhs = [0; BHS_LEN];
    set_lengths(&mut bhs, AHS_LEN_MAX, DATA_LEN_MAX);
    assert_eq!((ahs_len(&bhs), data_len(&bhs)), (AHS_LEN_MAX, DATA_LEN_MAX));
}

#[test]
fn cmd_sn_is_that_of_every_numbered_request() {
    let mut bhs: Bhs = std::array::from_fn(|at| at as u8);
    bhs[1] = 0;
    for (opcode, name) in Pdu::OPCODES.iter().filter(|(opcode, _)| *opcode < 0x20) {
        bhs[0] = *opcode;
        let found = match Pdu::decode(&bhs).unwrap() {
            Pdu::NopOut(pdu) => pdu.cmd_sn,
            Pdu::ScsiCommand(pdu) => pdu.cmd_sn,
            Pdu::TaskManagementRequest(pdu) => pdu.cmd_sn,
            Pdu::LoginRequest(pdu) => pdu.cmd_sn,
            Pdu::TextRequest(pdu) => pdu.cmd_sn,
            Pdu::LogoutRequest(pdu) => pdu.cmd_sn,
            _ => continue,
        };
        assert_eq!(cmd_sn(&bhs), found, "{name}");
    }
}

#[test]
fn opcodes_are_those_of_the_standard() {
    let opcodes: Vec<u8> = Pdu::OPCODES.iter().map(|(opcode, _)| *opcode).collect();
    assert_eq!(
        opcodes,
        [0, 1, 2, 3, 4, 5, 6, 0x10, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x31, 0x32, 0x3f]
    );
}

#[test]
fn vendor_and_unassigned_opcodes_are_errors() {
    for opcode in [0x07, 0x1c, 0x1e, 0x27, 0x30, 0x3c, 0x3e] {
        let mut bhs = [0; BHS_LEN];
        bhs[0] = opcode | 0x40;
        assert_eq!(Pdu::decode(&bhs), Err(PduError::Opcode(opcode)));
    }
}

#[test]
fn decode_refuses_the_opcode_of_another_pdu() {
    let nop = [0x20; BHS_LEN];
    assert_eq!(ScsiCommand::decode(&nop), Err(PduError::Opcode(0x20)));
    assert_eq!(DataOut::decode(&nop), Err(PduError::Opcode(0x20)));
}

#[test]
fn task_tag_of_an_unknown_opcode_is_read() {
    let mut bhs = [0x3e; BHS_LEN];
    bhs[16..20].copy_from_slice(&[0, 0, 1, 2]);
    assert_eq!(itt(&bhs), Some(Itt(0x102)));
}

fn any_header() -> impl Strategy<Value = Bhs> {
    let opcode = prop::sample::select(Pdu::OPCODES.iter().map(|(opcode, _)| *opcode).collect::<Vec<_>>());
    (opcode, any::<bool>(), prop::array::uniform(any::<u8>())).prop_map(
        |(opcode, immediate, mut bhs): (_, _, Bhs)| {
            bhs[0] = request(opcode, immediate);
            bhs
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn decoded_header_encodes_to_itself(header in any_header(), filler in any::<u8>()) {
        if let Ok(pdu) = Pdu::decode(&header) {
            let mut bhs = [filler; BHS_LEN];
            pdu.encode(&mut bhs);
            prop_assert_eq!(Pdu::decode(&bhs), Ok(pdu));
            prop_assert_eq!((ahs_len(&bhs), data_len(&bhs)), (0, 0));
        }
    }

    #[test]
    fn decode_accepts_any_48_bytes_without_panic(header in prop::array::uniform(any::<u8>())) {
        let _ = Pdu::decode(&header);
    }
}
