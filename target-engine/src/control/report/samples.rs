//! Reports for the tests of both forms.

use iscsi_proto::ids::Isid;
use iscsi_proto::params::{ConnectionParams, SessionParams};
use scsi_core::device::unit::UnitConfig;

use super::{
    AccountsReport, AclReport, ConnectionReport, DEVICE_TYPES, ParametersReport, SessionReport, SystemReport,
    TargetReport, UnitReport,
};
use crate::control::request::{Driver, State};
use crate::model::acl::Matching;
use crate::model::parameters::{Defaults, Parameters};
use crate::model::store::{OpenFlags, StoreKind, StoreSpec};
use crate::model::target::Redirect;
use crate::model::{DriverState, Isns};

pub(super) fn unit(lun: u16) -> UnitReport {
    let config = UnitConfig {
        scsi_id: format!("IET     0001{lun:04x}"),
        scsi_sn: format!("beaf1{lun}"),
        ..UnitConfig::controller(1)
    };
    let store = StoreSpec {
        kind: "null".to_owned(),
        path: String::new(),
        options: String::new(),
        flags: OpenFlags::default(),
        block_len: 512,
        read_only: false,
    };
    UnitReport {
        lun,
        config,
        size: 0,
        physical_block_len: None,
        removal_prevented: false,
        lost_writes: false,
        unreachable_seconds: None,
        store,
    }
}

pub(super) fn disk(lun: u16) -> UnitReport {
    let UnitReport { config: UnitConfig { scsi_id, scsi_sn, .. }, store, .. } = unit(lun);
    let flags = OpenFlags { sync: true, direct: true };
    UnitReport {
        config: UnitConfig { block_len: 4096, scsi_id, scsi_sn, ..UnitConfig::disk(1, lun.into()) },
        size: 64 << 20,
        physical_block_len: Some(4096),
        store: StoreSpec { kind: "rdwr".to_owned(), path: "/srv/d2.img".to_owned(), flags, ..store },
        ..unit(lun)
    }
}

pub(super) fn session() -> SessionReport {
    let connection = |cid, address: &str, header_digest| ConnectionReport {
        cid,
        address: address.parse().unwrap(),
        params: ConnectionParams {
            header_digest,
            data_digest: false,
            max_recv_data_segment_len: 262_144,
            max_xmit_data_segment_len: 8192,
        },
    };
    SessionReport {
        sid: 2,
        tid: 1,
        initiator: "iqn.2007-10.com.github:test".to_owned(),
        alias: None,
        user: Some("fujita".to_owned()),
        isid: Isid([0x80, 0, 0, 0x12, 0xab, 0]),
        loop_index: 0,
        params: SessionParams { initial_r2t: false, ..SessionParams::default() },
        connections: vec![connection(0, "127.0.0.1", true), connection(1, "127.0.0.2", false)],
    }
}

pub(super) fn target() -> TargetReport {
    TargetReport {
        tid: 1,
        name: "iqn.2001-04.com.example:storage.disk1.sys1".to_owned(),
        driver: Driver::Iscsi,
        state: State::Ready,
        loops: 1,
        parameters: ParametersReport {
            nop_interval: 5,
            nop_count: 3,
            keys: Parameters::new(Defaults::Tgt).shown().collect(),
            redirect: Redirect::default(),
        },
        sessions: vec![session()],
        units: vec![unit(0), disk(3)],
        accounts: AccountsReport {
            incoming: vec!["fujita".to_owned()],
            outgoing: Some("mike".to_owned()),
            initiator_names: vec![(
                "fujita".to_owned(),
                vec!["iqn.1993-08.org.debian:01:abc".to_owned(), "eui.02004567a425678d".to_owned()],
            )],
        },
        acl: AclReport {
            matching: Matching::Any,
            addresses: ["ALL", "192.168.0.0/24"].map(str::to_owned).to_vec(),
            names: vec!["iqn.1993-08.org.debian:01:abc".to_owned()],
        },
    }
}

pub(super) fn system() -> SystemReport {
    SystemReport {
        version: "0.1.0",
        state: State::Ready,
        debug: false,
        remark: None,
        drivers: vec![(Driver::Iscsi, DriverState::Ready)],
        stores: vec![
            StoreKind { name: "null", takes_flags: false, needs_medium: false },
            StoreKind { name: "rdwr", takes_flags: true, needs_medium: false },
            StoreKind { name: "aio", takes_flags: false, needs_medium: false },
        ],
        device_types: DEVICE_TYPES.to_vec(),
        accounts: AccountsReport::default(),
        isns: Isns { on: false, server: String::new(), port: 3205, access_control: false },
    }
}
