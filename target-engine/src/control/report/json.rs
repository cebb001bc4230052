//! Reports in JSON. `docs/json.md` is the contract, and the golden files beside the tests are its examples: members may be
//! added; none is removed, renamed or given another type or unit.

use iscsi_proto::params::{ConnectionParams, SessionParams, TaskReporting};
use scsi_core::device::unit::DeviceType;
use serde_json::{Map, Value, json};

use super::stat::{ConnectionRow, LoginCounts, StoreRow, UnitRow};
use super::text::device_type_word;
use super::{
    AccountsReport, AclReport, ConnectionReport, DriverReport, ParametersReport, Reply, Report,
    SessionReport, SystemReport, TargetReport, UnitReport,
};
use crate::control::admission::AdmissionCounts;
use crate::control::error::ControlError;
use crate::control::wire::encode_reply;
use crate::model::parameters;
use crate::model::portal::{PORTAL_GROUP_TAG, PortalSpec};
use crate::model::store::{OpenFlags, StoreKind};
use crate::model::unit_parameters::{UnitParameter, UnitValue};
use crate::stats::{ConnectionCounts, Moved, UnitCounts};

/// The bytes for the socket.
#[must_use]
pub fn encode(reply: &Reply) -> Vec<u8> {
    match reply {
        Ok(report) => encode_reply(0, &document(&self::report(report))),
        Err(error) => encode_reply(error.kind.number(), &document(&refusal(error))),
    }
}

/// One object, its members in the order of the contract.
#[must_use]
pub fn report(report: &Report) -> Value {
    match report {
        Report::Done => json!({}),
        Report::System(report) => json!({ "system": system(report) }),
        Report::Targets(reports) => json!({ "targets": list(reports, target) }),
        Report::Target(report) => json!({ "targets": [target(report)] }),
        Report::Drivers(reports) => json!({ "drivers": list(reports, driver) }),
        Report::Portals(portals) => json!({ "portals": list(portals, portal) }),
        Report::Accounts(users) => json!({ "accounts": list(users, |user| json!({ "user": user })) }),
        Report::Secret { user, same } => json!({ "user": user, "same_secret": same }),
        Report::Sessions(reports) => json!({ "sessions": list(reports, session) }),
        Report::Units(reports) => json!({ "units": list(reports, unit) }),
        Report::UnitCounts(rows, stores) => json!({
            "unit_counters": list(rows, unit_counters),
            "store_counters": list(stores, store_counters),
        }),
        Report::SystemCounts(rows, stores, logins, admission) => json!({
            "unit_counters": list(rows, unit_counters),
            "store_counters": list(stores, store_counters),
            "login_counters": login_counters(logins),
            "admission_counters": admission_counters(admission),
        }),
        Report::SessionCounts(units, connections) => json!({
            "unit_counters": list(units, unit_counters),
            "connection_counters": list(connections, connection_counters),
        }),
        Report::ConnectionCounts(rows) => json!({ "connection_counters": list(rows, connection_counters) }),
    }
}

/// A refusal.
#[must_use]
pub fn refusal(error: &ControlError) -> Value {
    let ControlError { kind, reason } = error;
    json!({ "error": { "number": kind.number(), "name": kind.to_string(), "reason": reason } })
}

/// Writes it with line breaks, for people who read it.
fn document(value: &Value) -> String {
    format!("{value:#}\n")
}

fn list<T>(items: &[T], show: impl Fn(&T) -> Value) -> Vec<Value> {
    items.iter().map(show).collect()
}

fn system(report: &SystemReport) -> Value {
    let driver = |(driver, state): &(super::Driver, super::DriverState)| json!({ "name": driver.name(), "state": state.word() });
    let store = |kind: &StoreKind| {
        let flags: &[&str] = if kind.takes_flags { &["sync", "direct"] } else { &[] };
        json!({ "name": kind.name, "flags": flags })
    };
    json!({
        "version": report.version,
        "state": report.state.word(),
        "debug": report.debug,
        "remark": report.remark,
        "drivers": list(&report.drivers, driver),
        "backing_stores": list(&report.stores, store),
        "device_types": list(&report.device_types, |kind| device_type_word(*kind).into()),
        "accounts": accounts(&report.accounts),
        "isns": {
            "enabled": report.isns.on,
            "server": report.isns.server,
            "port": report.isns.port,
            "access_control": report.isns.access_control,
        },
    })
}

fn target(report: &TargetReport) -> Value {
    json!({
        "tid": report.tid,
        "name": report.name,
        "driver": report.driver.name(),
        "state": report.state.word(),
        "loops": report.loops,
        "nop": {
            "interval_seconds": report.parameters.nop_interval,
            "count": report.parameters.nop_count,
        },
        "parameters": parameters(&report.parameters),
        "redirect": {
            "address": report.parameters.redirect.address,
            "port": report.parameters.redirect.port,
            "reason": report.parameters.redirect.reason.map(|reason| reason.word()),
            "callback": report.parameters.redirect.callback,
        },
        "sessions": list(&report.sessions, session),
        "units": list(&report.units, unit),
        "accounts": accounts(&report.accounts),
        "acl": acl(&report.acl),
    })
}

/// The keys by their names, each in its own type.
fn parameters(report: &ParametersReport) -> Map<String, Value> {
    let value = |value: &parameters::Value| match value {
        parameters::Value::Number(number) => Value::from(*number),
        parameters::Value::Switch(on) => Value::from(*on),
        parameters::Value::Word(word) => Value::from(*word),
    };
    report.keys.iter().map(|(name, shown)| ((*name).to_owned(), value(shown))).collect()
}

fn accounts(report: &AccountsReport) -> Value {
    let names = |(user, names): &(String, Vec<String>)| json!({ "user": user, "names": names });
    json!({
        "incoming": report.incoming,
        "outgoing": report.outgoing,
        "initiator_names": list(&report.initiator_names, names),
    })
}

fn acl(report: &AclReport) -> Value {
    json!({ "match": report.matching.word(), "addresses": report.addresses, "names": report.names })
}

fn session(report: &SessionReport) -> Value {
    json!({
        "sid": report.sid,
        "tid": report.tid,
        "initiator": report.initiator,
        "alias": report.alias,
        "user": report.user,
        "isid": report.isid.to_string(),
        "loop": report.loop_index,
        "parameters": session_parameters(&report.params),
        "connections": list(&report.connections, connection),
    })
}

/// The negotiated parameters, by the names of RFC 7143 chapter 13.
fn session_parameters(params: &SessionParams) -> Value {
    json!({
        "MaxConnections": params.max_connections,
        "InitialR2T": params.initial_r2t,
        "ImmediateData": params.immediate_data,
        "MaxBurstLength": params.max_burst_len,
        "FirstBurstLength": params.first_burst_len,
        "DefaultTime2Wait": params.default_time2wait,
        "DefaultTime2Retain": params.default_time2retain,
        "MaxOutstandingR2T": params.max_outstanding_r2t,
        "DataPDUInOrder": params.data_pdu_in_order,
        "DataSequenceInOrder": params.data_sequence_in_order,
        "ErrorRecoveryLevel": params.error_recovery_level,
        "TaskReporting": match params.task_reporting {
            TaskReporting::Rfc3720 => "RFC3720",
            TaskReporting::ResponseFence => "ResponseFence",
            TaskReporting::FastAbort => "FastAbort",
        },
        "iSCSIProtocolLevel": params.protocol_level,
    })
}

fn connection(report: &ConnectionReport) -> Value {
    let ConnectionParams { header_digest, data_digest, max_recv_data_segment_len, max_xmit_data_segment_len } =
        report.params;
    let digest = |on: bool| if on { "CRC32C" } else { "None" };
    json!({
        "cid": report.cid,
        "address": report.address.to_string(),
        "parameters": {
            "HeaderDigest": digest(header_digest),
            "DataDigest": digest(data_digest),
            "TargetMaxRecvDataSegmentLength": max_recv_data_segment_len,
            "InitiatorMaxRecvDataSegmentLength": max_xmit_data_segment_len,
        },
    })
}

fn unit(report: &UnitReport) -> Value {
    let UnitReport { config, store, .. } = report;
    let has_medium = !store.path.is_empty();
    let set = |parameter: UnitParameter| match parameter.get(config) {
        Some(UnitValue::Text(text)) => json!(text),
        Some(UnitValue::Switch(on)) => json!(on),
        Some(UnitValue::Number(number)) => json!(number),
        Some(UnitValue::ModePage(_) | UnitValue::Auto) | None => Value::Null,
    };
    json!({
        "lun": report.lun,
        "type": device_type_word(config.device_type),
        "scsi_id": set(UnitParameter::ScsiId),
        "scsi_sn": set(UnitParameter::ScsiSn),
        "vendor_id": set(UnitParameter::VendorId),
        "product_id": set(UnitParameter::ProductId),
        "product_rev": set(UnitParameter::ProductRev),
        "size_bytes": report.size,
        "block_size_bytes": if config.device_type == DeviceType::Disk { config.block_len } else { 1 },
        "physical_block_size_bytes": report.physical_block_len,
        "online": set(UnitParameter::Online),
        "removable": set(UnitParameter::Removable),
        "removal_prevented": report.removal_prevented,
        "readonly": set(UnitParameter::Readonly),
        "swp": config.swp,
        "write_cache": config.write_cache,
        "thin_provisioning": set(UnitParameter::ThinProvisioning),
        "sense_format": if config.sense_descriptor { "descriptor" } else { "fixed" },
        "rotation_rate": set(UnitParameter::RotationRate),
        "lbppbe": set(UnitParameter::Lbppbe),
        "la_lba": set(UnitParameter::LaLba),
        "optimal_xfer_gran_blocks": set(UnitParameter::OptimalXferGran),
        "optimal_xfer_len_blocks": set(UnitParameter::OptimalXferLen),
        "lost_writes": report.lost_writes,
        "unreachable_seconds": report.unreachable_seconds,
        "backing_store": {
            "type": store.kind,
            "path": has_medium.then_some(&store.path),
            "flags": flags(store.flags),
        },
    })
}

fn flags(flags: OpenFlags) -> Vec<&'static str> {
    let words = [(flags.sync, "sync"), (flags.direct, "direct")];
    words.into_iter().filter(|(is_set, _)| *is_set).map(|(_, word)| word).collect()
}

fn driver(report: &DriverReport) -> Value {
    let target = |(tid, name): &(u32, String)| json!({ "tid": tid, "name": name });
    json!({
        "name": report.driver.name(),
        "state": report.state.word(),
        "targets": list(&report.targets, target),
    })
}

fn portal(portal: &PortalSpec) -> Value {
    json!({ "address": portal.host, "port": portal.port, "portal_group_tag": PORTAL_GROUP_TAG })
}

fn unit_counters(row: &UnitRow) -> Value {
    let UnitCounts { read_submitted, read_done, write_submitted, write_done, errors } = row.counts;
    let moved = |moved: Moved| json!({ "bytes": moved.bytes, "commands": moved.commands });
    json!({
        "tid": row.tid,
        "lun": row.lun,
        "sid": row.sid,
        "read_submitted": moved(read_submitted),
        "read_done": moved(read_done),
        "write_submitted": moved(write_submitted),
        "write_done": moved(write_done),
        "errors": errors,
    })
}

fn store_counters(row: &StoreRow) -> Value {
    json!({ "tid": row.tid, "lun": row.lun, "losses": row.losses })
}

fn login_counters(counts: &LoginCounts) -> Value {
    json!({
        "refused_accounts": counts.refused_accounts,
        "refused_in_all": counts.refused_in_all,
        "refused_per_target": counts.refused_per_target,
        "refused_per_address": counts.refused_per_address,
        "refused_per_initiator": counts.refused_per_initiator,
        "failed_proofs": counts.failed_proofs,
        "failed_proofs_by_address": list(&counts.failed_proofs_by_address, |(address, count)| {
            json!({ "address": address.to_string(), "count": count })
        }),
    })
}

fn admission_counters(counts: &AdmissionCounts) -> Value {
    json!({
        "logins": counts.logins,
        "logins_displaced": counts.logins_displaced,
        "discoveries": counts.discoveries,
        "discoveries_displaced": counts.discoveries_displaced,
    })
}

fn connection_counters(row: &ConnectionRow) -> Value {
    let ConnectionCounts { received, sent, data_out_pdus, command_pdus } = row.counts;
    json!({
        "sid": row.sid,
        "cid": row.cid,
        "received_bytes": received,
        "sent_bytes": sent,
        "data_out_pdus": data_out_pdus,
        "command_pdus": command_pdus,
    })
}

#[cfg(test)]
mod tests;
