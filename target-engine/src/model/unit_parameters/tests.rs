//! Every parameter: parsed, set, read and announced to initiators.

use std::sync::Arc;

use scsi_core::device::port::UnitPort;
use scsi_core::device::task::DeviceTask;
use scsi_core::device::unit::Unit;
use scsi_core::device::{Command, Nexus, NexusId, NexusIndex, Step, TargetView};
use scsi_core::lun::Lun;

use super::*;
use crate::test_store::TestStore;

#[test]
fn every_parameter_is_at_its_row() {
    for (index, row) in ROWS.iter().enumerate() {
        assert_eq!(row.parameter as usize, index, "{}", row.name);
    }
}

fn set(config: &mut UnitConfig, name: &str, value: &str) -> Option<UnitValue> {
    let change = UnitChange::parse(name, value).unwrap();
    change.apply(config, Naming::Compatible);
    change.parameter().get(config)
}

#[test]
fn a_change_is_read_back() {
    let mut config = UnitConfig::disk(1, 3);
    let text = |text: &str| Some(UnitValue::Text(text.to_owned()));
    let number = |number| Some(UnitValue::Number(number));
    let switch = |on| Some(UnitValue::Switch(on));
    let long = "x".repeat(50);
    let cases = [
        ("vendor_id", "ACME", text("ACME")),
        ("product_id", "WHEEL", text("WHEEL")),
        ("product_rev", "9", text("9")),
        ("scsi_id", &long, text(&long[..36])),
        ("scsi_sn", "beaf", text("beaf")),
        ("sense_format", "1", switch(true)),
        ("removable", "7", switch(true)),
        ("readonly", "1", switch(true)),
        ("online", "0", switch(false)),
        ("lbppbe", "3", number(3)),
        ("la_lba", "0xffff", number(0x3fff)),
        ("optimal_xfer_gran", "8", number(8)),
        ("optimal_xfer_len", "4294967295", number(u32::MAX.into())),
        ("thin_provisioning", "1", switch(true)),
        ("rotation_rate", "7200", number(7200)),
    ];
    for (name, value, expected) in cases {
        assert_eq!(set(&mut config, name, value), expected, "{name}");
    }
    assert!(config.sense_descriptor && config.read_only && !config.online && config.thin_provisioning);
    assert_eq!((config.lbppbe, config.la_lba, config.rotation_rate), (Some(3), 0x3fff, 7200));
    assert_eq!(set(&mut config, "lbppbe", "99"), number(3), "READ CAPACITY has four bits");
    assert_eq!(set(&mut config, "scsi_sn", &format!("{}é", "y".repeat(35))), text(&"y".repeat(35)));
    assert_eq!(set(&mut config, "mode_page", "8:0:1:0x10"), None);
    assert!(!config.write_cache, "the caching page is obeyed");
}

#[test]
fn values_out_of_bounds_are_refused() {
    for (name, value, accepted) in [
        ("lbppbe", "256", "0 to 255"),
        ("la_lba", "65536", "0 to 65535"),
        ("optimal_xfer_gran", "-1", "0 to 65535"),
        ("optimal_xfer_len", "4294967296", "0 to 4294967295"),
        ("rotation_rate", "x", "0 to 65535"),
        ("readonly", "yes", "0, 1"),
    ] {
        let (value, accepted) = (value.to_owned(), accepted.to_owned());
        let refused = UnitChange::parse(name, &value);
        assert_eq!(refused, Err(ParameterError::UnitValue { name, value, accepted }));
    }
    assert_eq!(UnitChange::parse("disksize", "7"), Err(ParameterError::DiskSize("7".to_owned())));
    assert_eq!(UnitChange::parse("dump", "1"), Err(ParameterError::OfChangers("dump".to_owned())));
    assert_eq!(UnitChange::parse("colour", "1"), Err(ParameterError::UnknownOfUnit("colour".to_owned())));
}

#[test]
fn mode_pages() {
    let page = |page, subpage, bytes: &[u8]| Some(unit::ModePage { page, subpage, bytes: bytes.to_vec() });
    assert_eq!(mode_page("8:0:3:0x10:0:255"), page(8, 0, &[0x10, 0, 255]));
    assert_eq!(mode_page("0x0a:1:0"), page(10, 1, &[]));
    assert_eq!(mode_page("8:0:2:1"), page(8, 0, &[1, 0]));
    assert_eq!(mode_page("8:0:1:1:2"), page(8, 0, &[1]));
    for wrong in ["", "8", "8:0", "8:0:300", "8:0:1:256", "63:0:0", "8:255:0", "8:0:1:x"] {
        assert_eq!(mode_page(wrong), None, "{wrong}");
    }
}

struct NoLuns;

impl TargetView for NoLuns {
    fn luns(&self) -> &[Lun] {
        &[]
    }
}

/// The additional sense code of TEST UNIT READY; `None` if it ends GOOD.
fn test_unit_ready(port: &mut UnitPort) -> Option<AdditionalSense> {
    let command = Command { nexus: NexusIndex(0), cdb: &[0; 16], data_out_len: 0, data_out: &[] };
    match port.start(&mut DeviceTask::default(), &command, &NoLuns) {
        Step::Done(outcome) => outcome.sense.map(|sense| sense.code),
        step => panic!("{step:?}"),
    }
}

#[test]
fn a_change_raises_the_attention_of_its_row() {
    let changes = [
        ("vendor_id", "ACME"),
        ("product_id", "WHEEL"),
        ("product_rev", "9"),
        ("scsi_id", "x"),
        ("scsi_sn", "y"),
        ("sense_format", "1"),
        ("removable", "1"),
        ("readonly", "1"),
        ("online", "1"),
        ("lbppbe", "3"),
        ("la_lba", "1"),
        ("optimal_xfer_gran", "8"),
        ("optimal_xfer_len", "64"),
        ("thin_provisioning", "1"),
        ("rotation_rate", "7200"),
        ("mode_page", "8:0:1:0"),
    ];
    for (name, value) in changes {
        let mut config = UnitConfig::disk(1, 1);
        // A medium raises its attention when it comes.
        config.online = name != "online";
        let unit = Unit::new(config, Some(Arc::new(TestStore::idle(1 << 20))));
        let mut port = UnitPort::new(Arc::clone(&unit));
        port.attach_nexus(
            NexusIndex(0),
            Nexus { id: NexusId(1), initiator_port: "iqn.a".into(), target_port: 1 },
        );
        assert_eq!(
            test_unit_ready(&mut port),
            Some(AdditionalSense::POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED)
        );
        let change = UnitChange::parse(name, value).unwrap();
        unit.update(|config| change.apply(config, Naming::Compatible)).unwrap();
        assert_eq!(test_unit_ready(&mut port), change.parameter().attention(), "{name}");
        assert_eq!(test_unit_ready(&mut port), None, "{name} raises one attention");
    }
}
