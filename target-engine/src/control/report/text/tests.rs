//! The expected texts are captures of a stock daemon.

use super::*;
use crate::control::request::{Driver, State};
use crate::model::acl::Matching;
use crate::model::parameters::{Defaults, Parameters};
use crate::model::target::{Redirect, RedirectReason};
use crate::model::{DriverState, Isns};

#[test]
fn sizes_as_stock_rounds_them() {
    let cases = [
        (0, 0),
        (64 << 20, 67),
        (100 << 20, 105),
        (1 << 40, 1_099_512),
        (20 << 30, 21475),
        (511, 0),
        (1 << 20, 1),
    ];
    for (size, expected) in cases {
        assert_eq!(megabytes(size), expected, "{size} bytes");
    }
}

fn unit(lun: u16) -> UnitReport {
    UnitReport {
        lun,
        device_type: DeviceType::Controller,
        scsi_id: format!("IET     0001{lun:04x}"),
        scsi_sn: format!("beaf1{lun}"),
        size: 0,
        block_len: 1,
        online: true,
        removable: false,
        removal_prevented: false,
        read_only: false,
        swp: false,
        thin_provisioning: false,
        store_kind: "null".to_owned(),
        store_path: None,
        store_flags: "",
    }
}

fn session() -> SessionReport {
    SessionReport {
        sid: 2,
        initiator: "iqn.2007-10.com.github:test".to_owned(),
        alias: None,
        connections: vec![(0, "127.0.0.1".parse().unwrap()), (1, "127.0.0.2".parse().unwrap())],
    }
}

fn target() -> TargetReport {
    let disk = UnitReport {
        device_type: DeviceType::Disk,
        size: 64 << 20,
        block_len: 4096,
        store_kind: "rdwr".to_owned(),
        store_path: Some("/srv/d2.img".to_owned()),
        store_flags: "sync:direct",
        ..unit(3)
    };
    TargetReport {
        tid: 1,
        name: "iqn.2001-04.com.example:storage.disk1.sys1".to_owned(),
        driver: Driver::Iscsi,
        state: State::Ready,
        nop: Some((5, 3)),
        sessions: vec![session()],
        units: vec![unit(0), disk],
        accounts: AccountsReport { incoming: vec!["fujita".to_owned()], outgoing: Some("mike".to_owned()) },
        acl: ["ALL", "192.168.0.0/24", "iqn.1993-08.org.debian:01:abc"].map(str::to_owned).to_vec(),
    }
}

#[test]
fn target_tree() {
    let expected = "\
Target 1: iqn.2001-04.com.example:storage.disk1.sys1
    System information:
        Driver: iscsi
        State: ready
        Nop interval: 5
        Nop count: 3
    I_T nexus information:
        I_T nexus: 2
            Initiator: iqn.2007-10.com.github:test alias: none
            Connection: 0
                IP Address: 127.0.0.1
    LUN information:
        LUN: 0
            Type: controller
            SCSI ID: IET     00010000
            SCSI SN: beaf10
            Size: 0 MB, Block size: 1
            Online: Yes
            Removable media: No
            Prevent removal: No
            Readonly: No
            SWP: No
            Thin-provisioning: No
            Backing store type: null
            Backing store path: None
            Backing store flags: \n        LUN: 3
            Type: disk
            SCSI ID: IET     00010003
            SCSI SN: beaf13
            Size: 67 MB, Block size: 4096
            Online: Yes
            Removable media: No
            Prevent removal: No
            Readonly: No
            SWP: No
            Thin-provisioning: No
            Backing store type: rdwr
            Backing store path: /srv/d2.img
            Backing store flags: sync:direct
    Account information:
        fujita
        mike (outgoing)
    ACL information:
        ALL
        192.168.0.0/24
        iqn.1993-08.org.debian:01:abc
";
    assert_eq!(targets(&[target()]), expected);
    assert_eq!(targets(&[target(), target()]), expected.repeat(2));
    assert_eq!(targets(&[]), "");
}

#[test]
fn each_switch_of_a_unit_shows() {
    let all_no = {
        let mut report = target();
        report.units = vec![UnitReport { online: false, ..unit(1) }];
        targets(&[report])
    };
    type Switch = (fn(&mut UnitReport), &'static str);
    let switches: [Switch; 6] = [
        (|unit| unit.online = true, "Online: Yes"),
        (|unit| unit.removable = true, "Removable media: Yes"),
        (|unit| unit.removal_prevented = true, "Prevent removal: Yes"),
        (|unit| unit.read_only = true, "Readonly: Yes"),
        (|unit| unit.swp = true, "SWP: Yes"),
        (|unit| unit.thin_provisioning = true, "Thin-provisioning: Yes"),
    ];
    for (switch, line) in switches {
        let mut report = target();
        report.units = vec![UnitReport { online: false, ..unit(1) }];
        switch(&mut report.units[0]);
        assert_eq!(targets(&[report]), all_no.replace(&line.replace("Yes", "No"), line), "{line}");
    }
}

#[test]
fn a_target_without_anything() {
    let report = TargetReport {
        state: State::Offline,
        nop: None,
        sessions: Vec::new(),
        units: Vec::new(),
        accounts: AccountsReport::default(),
        acl: Vec::new(),
        ..target()
    };
    let expected = "\
Target 1: iqn.2001-04.com.example:storage.disk1.sys1
    System information:
        Driver: iscsi
        State: offline
    I_T nexus information:
    LUN information:
    Account information:
    ACL information:
";
    assert_eq!(targets(&[report]), expected);
}

#[test]
fn target_parameters() {
    let keys = Parameters::new(Defaults::Stock).shown().collect();
    let (acl_match, redirect) = (Matching::Any, Redirect::default());
    let mut report = ParametersReport { nop_interval: 0, nop_count: 0, keys, acl_match, redirect };
    let expected = "\
nop_interval=0
nop_count=0
MaxRecvDataSegmentLength=8192
HeaderDigest=None
DataDigest=None
InitialR2T=Yes
MaxOutstandingR2T=1
ImmediateData=Yes
FirstBurstLength=65536
MaxBurstLength=262144
DataPDUInOrder=Yes
DataSequenceInOrder=Yes
ErrorRecoveryLevel=0
IFMarker=No
OFMarker=No
DefaultTime2Wait=2
DefaultTime2Retain=20
OFMarkInt=Reject
IFMarkInt=Reject
MaxConnections=1
RDMAExtensions=Yes
TargetRecvDataSegmentLength=262144
InitiatorRecvDataSegmentLength=262144
MaxOutstandingUnexpectedPDUs=0
MaxXmitDataSegmentLength=8192
MaxQueueCmd=128
";
    assert_eq!(parameters(&report), expected);
    report.acl_match = Matching::All;
    assert_eq!(parameters(&report), format!("{expected}acl-match=all\n"));
    report.redirect.address = "10.0.0.9".to_owned();
    report.redirect.port = "3261".to_owned();
    assert_eq!(parameters(&report), "RedirectAddress=10.0.0.9\nRedirectPort=3261\nRedirectReason=Unknown\n");
    report.redirect.reason = Some(RedirectReason::Temporary);
    assert_eq!(
        parameters(&report),
        "RedirectAddress=10.0.0.9\nRedirectPort=3261\nRedirectReason=Temporary\n"
    );
    report.redirect.callback = "/bin/x y".to_owned();
    assert_eq!(parameters(&report), "RedirectCallback=/bin/x y\n");
}

#[test]
fn system_with_and_without_discovery_accounts() {
    let mut report = SystemReport {
        state: State::Ready,
        debug: false,
        remark: None,
        drivers: vec![(Driver::Iscsi, DriverState::Ready)],
        stores: vec![
            StoreKind { name: "null", takes_flags: false },
            StoreKind { name: "rdwr", takes_flags: true },
            StoreKind { name: "aio", takes_flags: false },
        ],
        device_types: super::super::DEVICE_TYPES.to_vec(),
        accounts: AccountsReport::default(),
        isns: Isns { on: false, server: String::new(), port: 3205, access_control: false },
    };
    let expected = "\
System:
    State: ready
    debug: off
LLDs:
    iscsi: ready
Backing stores:
    null
    rdwr (bsoflags sync:direct)
    aio
Device types:
    disk
    controller
iSNS:
    iSNS=Off
    iSNSServerIP=
    iSNSServerPort=3205
    iSNSAccessControl=Off
";
    assert_eq!(system(&report), expected);
    report.debug = true;
    report.remark = Some("I/O: by hand".to_owned());
    report.state = State::Offline;
    report.drivers[0].1 = DriverState::Stopped;
    report.accounts = AccountsReport { incoming: vec!["zed".to_owned()], outgoing: Some("mike".to_owned()) };
    report.isns = Isns { on: true, server: "10.9.9.9".to_owned(), port: 99, access_control: true };
    let expected = expected
        .replace("State: ready", "State: offline")
        .replace("debug: off", "debug: on\n    I/O: by hand")
        .replace("iscsi: ready", "iscsi: stopped")
        .replace("iSNS:\n", "    Account information:\n\n    zed\n    mike (outgoing)\niSNS:\n")
        .replace("=Off", "=On")
        .replace("ServerIP=", "ServerIP=10.9.9.9")
        .replace("3205", "99");
    assert_eq!(system(&report), expected);
}

#[test]
fn small_lists() {
    let driver = DriverReport {
        driver: Driver::Iscsi,
        state: DriverState::Ready,
        targets: vec![(1, "iqn.2001-04.com.example:storage.disk1.sys1".to_owned())],
    };
    let expected = "LLDs:\n    iscsi: ready\n        Target 1: iqn.2001-04.com.example:storage.disk1.sys1\n";
    assert_eq!(drivers(&[driver]), expected);

    let shown = portals(&["[::]:3260", "0.0.0.0:3260"].map(|portal| portal.parse().unwrap()));
    assert_eq!(shown, "Portal: [::]:3260,1\nPortal: 0.0.0.0:3260,1\n");

    assert_eq!(accounts(&["mike", "fujita"].map(str::to_owned)), "Account list:\n    mike\n    fujita\n");
    assert_eq!(accounts(&[]), "");

    let expected = "\
Session: 2
    Connection: 0
        Initiator: iqn.2007-10.com.github:test
        IP Address: 127.0.0.1
Session: 2
    Connection: 1
        Initiator: iqn.2007-10.com.github:test
        IP Address: 127.0.0.2
";
    assert_eq!(connections(&[session()]), expected);
}
