//! The expected texts were captured from tgt's daemon.

use super::super::samples::{session, system as sample, target, unit};
use super::*;
use crate::control::report::AclReport;
use crate::control::request::{Driver, State};
use crate::model::acl::Matching;
use crate::model::target::RedirectReason;
use crate::model::{DriverState, Isns};

#[test]
fn sizes_are_rounded_as_by_tgt() {
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
fn each_switch_of_a_unit_is_shown() {
    let all_no = {
        let mut report = target();
        report.units = vec![unit(1)];
        report.units[0].config.online = false;
        targets(&[report])
    };
    type Switch = (fn(&mut UnitReport), &'static str);
    let switches: [Switch; 6] = [
        (|unit| unit.config.online = true, "Online: Yes"),
        (|unit| unit.config.removable = true, "Removable media: Yes"),
        (|unit| unit.removal_prevented = true, "Prevent removal: Yes"),
        (|unit| unit.config.read_only = true, "Readonly: Yes"),
        (|unit| unit.config.swp = true, "SWP: Yes"),
        (|unit| unit.config.thin_provisioning = true, "Thin-provisioning: Yes"),
    ];
    for (switch, line) in switches {
        let mut report = target();
        report.units = vec![unit(1)];
        report.units[0].config.online = false;
        switch(&mut report.units[0]);
        assert_eq!(targets(&[report]), all_no.replace(&line.replace("Yes", "No"), line), "{line}");
    }
}

#[test]
fn a_target_without_anything() {
    let mut report = TargetReport {
        state: State::Offline,
        sessions: Vec::new(),
        units: Vec::new(),
        accounts: AccountsReport::default(),
        acl: AclReport::default(),
        ..target()
    };
    report.parameters.nop_interval = 0;
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
    let mut report = target();
    report.parameters.nop_interval = 0;
    report.parameters.nop_count = 0;
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
    report.acl.matching = Matching::All;
    assert_eq!(parameters(&report), format!("{expected}acl-match=all\n"));
    report.parameters.redirect.address = "10.0.0.9".to_owned();
    report.parameters.redirect.port = "3261".to_owned();
    assert_eq!(parameters(&report), "RedirectAddress=10.0.0.9\nRedirectPort=3261\nRedirectReason=Unknown\n");
    report.parameters.redirect.reason = Some(RedirectReason::Temporary);
    assert_eq!(
        parameters(&report),
        "RedirectAddress=10.0.0.9\nRedirectPort=3261\nRedirectReason=Temporary\n"
    );
    report.parameters.redirect.callback = "/bin/x y".to_owned();
    assert_eq!(parameters(&report), "RedirectCallback=/bin/x y\n");
}

#[test]
fn system_with_and_without_discovery_accounts() {
    let mut report = sample();
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
    report.accounts = AccountsReport {
        incoming: vec!["zed".to_owned()],
        outgoing: Some("mike".to_owned()),
        ..AccountsReport::default()
    };
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
