//! INQUIRY (SPC-4 6.6): standard data and vital product data, from the configuration of the unit and the capabilities of
//! its store.

use super::super::answer::{Answer, data_in};
use super::super::unit::{
    DeviceType, Medium, TRANSFER_LEN_MAX, UNMAP_DESCRIPTORS_MAX, UnitConfig, UnitState,
};
use crate::page::inquiry::{StandardInquiry, version};
use crate::page::vpd::{
    self, BlockCharacteristics, BlockLimits, Designator, LogicalBlockProvisioning, ProvisioningType, code,
};
use crate::page::{Peripheral, PeripheralType};
use crate::sense::Sense;

/// VERSION of SPC-4.
const SPC_4: u8 = 6;
const IDENTIFIER_LEN: usize = UnitConfig::IDENTIFIER_LEN;

const COMMON_PAGES: &[u8] = &[code::SUPPORTED_PAGES, code::UNIT_SERIAL_NUMBER, code::DEVICE_IDENTIFICATION];
const DISK_PAGES: &[u8] = &[
    code::SUPPORTED_PAGES,
    code::UNIT_SERIAL_NUMBER,
    code::DEVICE_IDENTIFICATION,
    code::BLOCK_LIMITS,
    code::BLOCK_DEVICE_CHARACTERISTICS,
    code::LOGICAL_BLOCK_PROVISIONING,
];

pub(super) fn inquiry(state: &UnitState, vpd: Option<u8>, allocation_len: u32) -> Answer {
    let data = match vpd {
        None => standard(state.config()),
        Some(page) => vital(state, page).ok_or_else(|| Sense::invalid_field_in_cdb(2, None))?,
    };
    Ok(data_in(data, allocation_len))
}

fn standard(config: &UnitConfig) -> Vec<u8> {
    let command_set = match config.device_type {
        DeviceType::Disk => version::SBC_3,
        DeviceType::Controller => version::SCC_2,
    };
    let inquiry = StandardInquiry {
        peripheral: peripheral(config),
        removable: config.removable,
        version: SPC_4,
        hierarchical: true,
        command_queuing: true,
        vendor_id: config.vendor_id.clone(),
        product_id: config.product_id.clone(),
        product_revision: config.product_rev.clone(),
        version_descriptors: vec![version::SAM_5, version::ISCSI, version::SPC_4, command_set],
        ..StandardInquiry::default()
    };
    inquiry.encode()
}

fn vital(state: &UnitState, page: u8) -> Option<Vec<u8>> {
    let config = state.config();
    let pages = match config.device_type {
        DeviceType::Disk => DISK_PAGES,
        DeviceType::Controller => COMMON_PAGES,
    };
    if !pages.contains(&page) {
        return None;
    }
    let peripheral = peripheral(config);
    Some(match page {
        code::SUPPORTED_PAGES => vpd::supported_pages(peripheral, pages),
        code::UNIT_SERIAL_NUMBER => vpd::unit_serial_number(peripheral, &config.scsi_sn, IDENTIFIER_LEN),
        code::DEVICE_IDENTIFICATION => vpd::device_identification(peripheral, &designators(config)),
        code::BLOCK_LIMITS => block_limits(state).encode(peripheral),
        code::BLOCK_DEVICE_CHARACTERISTICS => {
            let rotation_rate = config.rotation_rate;
            BlockCharacteristics { rotation_rate, ..BlockCharacteristics::default() }.encode(peripheral)
        }
        code::LOGICAL_BLOCK_PROVISIONING => provisioning(state).encode(peripheral),
        _ => return None,
    })
}

fn peripheral(config: &UnitConfig) -> Peripheral {
    Peripheral::connected(PeripheralType(config.device_type as u8))
}

/// The designators that identify the unit.
fn designators(config: &UnitConfig) -> [Designator; 3] {
    let mut text: Vec<u8> = config.scsi_id.bytes().take(IDENTIFIER_LEN).collect();
    text.resize(IDENTIFIER_LEN, 0);
    [
        Designator::t10_vendor_id(&text),
        Designator::naa_locally_assigned(config.naa_local),
        Designator::naa_registered_extended(config.naa_extended),
    ]
}

fn block_limits(state: &UnitState) -> BlockLimits {
    let medium = state.medium();
    // One block is the default; QEMU fails with a reported granularity of one block of 4 KiB.
    let blocks = medium.capabilities.discard_granularity >> medium.block_shift;
    let granularity = if medium.thin && blocks > 1 { blocks } else { 0 };
    BlockLimits {
        write_same_non_zero: false,
        optimal_transfer_granularity: transfer_granularity(state),
        max_transfer: (TRANSFER_LEN_MAX >> medium.block_shift) as u32,
        optimal_transfer: state.config().optimal_xfer_len,
        max_unmap_blocks: if medium.thin { u32::MAX } else { 0 },
        max_unmap_descriptors: if medium.thin { UNMAP_DESCRIPTORS_MAX } else { 0 },
        unmap_granularity: granularity,
        unmap_alignment: (granularity > 0).then_some(0),
        ..BlockLimits::default()
    }
}

/// The configured granularity, else a physical block or the discard granularity of the store, whichever is larger.
fn transfer_granularity(state: &UnitState) -> u16 {
    let &Medium { capabilities, block_shift, .. } = state.medium();
    let physical = 1 << state.physical_exponent().min(15);
    match state.config().optimal_xfer_gran {
        0 => u16::try_from(capabilities.discard_granularity >> block_shift)
            .map_or(physical, |len| len.max(physical)),
        configured => configured,
    }
}

fn provisioning(state: &UnitState) -> LogicalBlockProvisioning {
    let thin = state.medium().thin;
    LogicalBlockProvisioning {
        unmap: thin,
        write_same_16: thin,
        write_same_10: thin,
        zeroes: thin && state.medium().capabilities.discard_zeroes,
        provisioning: if thin { ProvisioningType::Thin } else { ProvisioningType::Full },
        ..LogicalBlockProvisioning::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::bench::{BAD_FIELD, Bench, FILE, GOOD, verdict};

    fn disk() -> Bench {
        Bench::disk(|_| {}, FILE)
    }

    fn page(bench: &mut Bench, code: u8) -> Vec<u8> {
        let outcome = bench.run(&[0x12, 1, code, 1, 0, 0], &[]);
        assert_eq!(verdict(&outcome), GOOD, "{code:02x}");
        outcome.data_in
    }

    #[test]
    fn standard_data() {
        let data = disk().run(&[0x12, 0, 0, 0, 255, 0], &[]).data_in;
        assert_eq!(data[..8], [0, 0, 6, 0x12, data.len() as u8 - 5, 0, 0, 2]);
        assert_eq!(&data[8..36], b"IET     VIRTUAL-DISK    0001");
        let data = disk().run(&[0x12, 0, 0, 0, 36, 0], &[]).data_in;
        assert_eq!((data.len(), data[4]), (36, 69), "the allocation length does not change the length field");

        let mut bench = Bench::disk(|config| config.removable = true, FILE);
        assert_eq!(bench.run(&[0x12, 0, 0, 0, 255, 0], &[]).data_in[1], 0x80);
        let mut bench = Bench::new(UnitConfig::controller(1), FILE);
        let data = bench.run(&[0x12, 0, 0, 0, 255, 0], &[]).data_in;
        assert_eq!((data[0], &data[16..32]), (0x0c, &b"Controller      "[..]));
    }

    #[test]
    fn supported_pages_are_exactly_the_listed_ones() {
        for mut bench in [disk(), Bench::new(UnitConfig::controller(1), FILE)] {
            let listed = page(&mut bench, 0)[4..].to_vec();
            for code in 0..=255 {
                let outcome = bench.run(&[0x12, 1, code, 1, 0, 0], &[]);
                let expected = if listed.contains(&code) { GOOD } else { BAD_FIELD };
                assert_eq!(verdict(&outcome), expected, "{code:02x}");
                if expected == GOOD {
                    assert_eq!(outcome.data_in[1], code);
                    let len = usize::from(u16::from_be_bytes([outcome.data_in[2], outcome.data_in[3]]));
                    assert_eq!(outcome.data_in.len(), len + 4);
                }
            }
        }
        assert_eq!(verdict(&disk().run(&[0x12, 0, 0x80, 1, 0, 0], &[])), BAD_FIELD);
    }

    #[test]
    fn identity_matches_tgt() {
        let mut bench = disk();
        assert_eq!(page(&mut bench, 0x80)[4..], *format!("{:>36}", "beaf11").as_bytes());
        let data = page(&mut bench, 0x83);
        assert_eq!(&data[4..24], b"\x02\x01\x00\x24IET     00010001");
        assert_eq!(data[44..56], [1, 3, 0, 8, 0x30, 0, 0, 1, 0, 0, 0, 1]);
        // Linux shows it as 360000000000000000e00000000010001.
        assert_eq!(data[56..60], [1, 3, 0, 16]);
        assert_eq!(data[60..], 0x6000_0000_0000_0000_0e00_0000_0001_0001_u128.to_be_bytes());

        let mut bench = Bench::disk(
            |config| (config.naa_local, config.naa_extended) = (0x0123_4567_89ab_cdef, 0x89),
            FILE,
        );
        let data = page(&mut bench, 0x83);
        assert_eq!(data[44..56], [1, 3, 0, 8, 0x31, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
        assert_eq!(data[60..], 0x6000_0000_0000_0000_0000_0000_0000_0089_u128.to_be_bytes());
    }

    #[test]
    fn block_limits_match_the_unit() {
        let limits = |bench: &mut Bench| BlockLimits::decode(&page(bench, 0xb0)).unwrap();
        let plain = limits(&mut disk());
        assert_eq!(
            (plain.max_transfer, plain.max_unmap_blocks, plain.max_unmap_descriptors),
            (524_288, 0, 0)
        );
        let mut thin = Bench::disk(
            |config| {
                config.thin_provisioning = true;
                config.block_len = 4096;
                (config.optimal_xfer_gran, config.optimal_xfer_len) = (8, 256);
            },
            FILE,
        );
        let thin = limits(&mut thin);
        assert_eq!((thin.max_transfer, thin.max_unmap_blocks, thin.unmap_granularity), (65536, u32::MAX, 0));
        assert_eq!((thin.optimal_transfer_granularity, thin.optimal_transfer), (8, 256));
    }

    #[test]
    fn provisioning_follows_the_store() {
        let of = |thin, discard, zeroes| {
            let mut capabilities = FILE;
            (capabilities.discard, capabilities.discard_zeroes) = (discard, zeroes);
            let mut bench = Bench::disk(|config| config.thin_provisioning = thin, capabilities);
            page(&mut bench, 0xb2)[4..].to_vec()
        };
        assert_eq!(of(true, true, true), [0, 0xe4, 2, 0]);
        assert_eq!(of(true, true, false), [0, 0xe0, 2, 0]);
        assert_eq!(of(true, false, false), [0, 0, 0, 0]);
        assert_eq!(of(false, true, true), [0, 0, 0, 0]);
        let mut bench = Bench::disk(|config| config.rotation_rate = 1, FILE);
        assert_eq!(page(&mut bench, 0xb1)[4..6], [0, 1]);
    }
}
