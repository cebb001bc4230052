//! Reports in the texts of tgt, byte for byte: scripts parse them.

use std::fmt::{self, Write};

use scsi_core::device::unit::DeviceType;

use super::{
    AccountsReport, DriverReport, ParametersReport, Reply, Report, SessionReport, SystemReport, TargetReport,
    UnitReport, stat,
};
use crate::control::wire::encode_reply;
use crate::model::acl::Matching;
use crate::model::portal::{PORTAL_GROUP_TAG, PortalSpec};
use crate::model::store::StoreKind;

/// The bytes for the socket; a refusal's text is its reason.
#[must_use]
pub fn encode(reply: &Reply) -> Vec<u8> {
    match reply {
        Ok(report) => encode_reply(0, &self::report(report)),
        Err(error) => encode_reply(error.kind.number(), &error.reason),
    }
}

/// The text that tgt's daemon sends for a report.
#[must_use]
pub fn report(report: &Report) -> String {
    match report {
        Report::Done => String::new(),
        Report::System(report) => system(report),
        Report::Targets(reports) => targets(reports),
        Report::Target(report) => parameters(report),
        Report::Drivers(reports) => drivers(reports),
        Report::Portals(portals) => self::portals(portals),
        Report::Accounts(users) => accounts(users),
        Report::Secret { user, same } => format!("{user}: {}\n", if *same { "Yes" } else { "No" }),
        Report::Sessions(reports) => connections(reports),
        Report::Units(reports) => units(reports),
        Report::UnitCounts(rows, _) | Report::SystemCounts(rows, ..) => stat::units(rows),
        Report::SessionCounts(units, connections) => stat::session(units, connections),
        Report::ConnectionCounts(rows) => stat::connections(rows),
    }
}

/// `sys show`.
#[must_use]
pub fn system(report: &SystemReport) -> String {
    let mut out = Text::default();
    out.line(0, "System:");
    out.line(1, format_args!("State: {}", report.state.word()));
    out.line(1, format_args!("debug: {}", on_off(report.debug)));
    if let Some(remark) = &report.remark {
        out.line(1, remark);
    }
    out.line(0, "LLDs:");
    for (driver, state) in &report.drivers {
        out.line(1, format_args!("{}: {}", driver.name(), state.word()));
    }
    out.line(0, "Backing stores:");
    for StoreKind { name, takes_flags, needs_medium: _ } in &report.stores {
        let flags = if *takes_flags { " (bsoflags sync:direct)" } else { "" };
        out.line(1, format_args!("{name}{flags}"));
    }
    out.line(0, "Device types:");
    for device_type in &report.device_types {
        out.line(1, device_type_word(*device_type));
    }
    if !report.accounts.is_empty() {
        // tgt ends the line twice.
        out.line(1, "Account information:\n");
        out.accounts(1, &report.accounts);
    }
    let isns = &report.isns;
    out.line(0, "iSNS:");
    out.line(1, format_args!("iSNS={}", capital_on_off(isns.on)));
    out.line(1, format_args!("iSNSServerIP={}", isns.server));
    out.line(1, format_args!("iSNSServerPort={}", isns.port));
    out.line(1, format_args!("iSNSAccessControl={}", capital_on_off(isns.access_control)));
    out.0
}

/// `target show`, all of them.
#[must_use]
pub fn targets(reports: &[TargetReport]) -> String {
    let mut out = Text::default();
    for report in reports {
        out.target(report);
    }
    out.0
}

/// `target show --tid`.
#[must_use]
pub fn parameters(target: &TargetReport) -> String {
    let report = &target.parameters;
    let redirect = &report.redirect;
    let mut out = Text::default();
    if !redirect.callback.is_empty() {
        out.line(0, format_args!("RedirectCallback={}", redirect.callback));
    } else if !redirect.address.is_empty() {
        out.line(0, format_args!("RedirectAddress={}", redirect.address));
        out.line(0, format_args!("RedirectPort={}", redirect.port));
        let reason = redirect.reason.map_or("Unknown", |reason| reason.word());
        out.line(0, format_args!("RedirectReason={reason}"));
    } else {
        out.line(0, format_args!("nop_interval={}", report.nop_interval));
        out.line(0, format_args!("nop_count={}", report.nop_count));
        for (key, value) in &report.keys {
            out.line(0, format_args!("{key}={value}"));
        }
        // tgt has one way to match only, and does not report it.
        if target.acl.matching != Matching::default() {
            out.line(0, format_args!("acl-match={}", target.acl.matching.word()));
        }
    }
    out.0
}

/// `lld show`.
#[must_use]
pub fn drivers(reports: &[DriverReport]) -> String {
    let mut out = Text::default();
    out.line(0, "LLDs:");
    for report in reports {
        out.line(1, format_args!("{}: {}", report.driver.name(), report.state.word()));
        for (tid, name) in &report.targets {
            out.line(2, format_args!("Target {tid}: {name}"));
        }
    }
    out.0
}

/// `portal show`, in the order given.
#[must_use]
pub fn portals(portals: &[PortalSpec]) -> String {
    let mut out = Text::default();
    for portal in portals {
        out.line(0, format_args!("Portal: {portal},{PORTAL_GROUP_TAG}"));
    }
    out.0
}

/// `account show`; nothing where there is none.
#[must_use]
pub fn accounts(users: &[String]) -> String {
    let mut out = Text::default();
    for user in users {
        if out.0.is_empty() {
            out.line(0, "Account list:");
        }
        out.line(1, user);
    }
    out.0
}

/// `conn show`: the session's line comes with each of its connections.
#[must_use]
pub fn connections(reports: &[SessionReport]) -> String {
    let mut out = Text::default();
    for report in reports {
        for connection in &report.connections {
            out.line(0, format_args!("Session: {}", report.sid));
            out.line(1, format_args!("Connection: {}", connection.cid));
            out.line(2, format_args!("Initiator: {}", report.initiator));
            out.line(2, format_args!("IP Address: {}", connection.address));
        }
    }
    out.0
}

/// `logicalunit show`, as in a target's tree.
#[must_use]
pub fn units(reports: &[UnitReport]) -> String {
    let mut out = Text::default();
    for report in reports {
        out.unit(report);
    }
    out.0
}

/// Lines, indented by four spaces a step.
#[derive(Default)]
pub(super) struct Text(pub(super) String);

impl Text {
    pub(super) fn line(&mut self, depth: usize, text: impl fmt::Display) {
        // A string takes whatever is written to it.
        let _ = writeln!(self.0, "{:width$}{text}", "", width = depth * 4);
    }

    fn target(&mut self, report: &TargetReport) {
        self.line(0, format_args!("Target {}: {}", report.tid, report.name));
        self.line(1, "System information:");
        self.line(2, format_args!("Driver: {}", report.driver.name()));
        self.line(2, format_args!("State: {}", report.state.word()));
        let ParametersReport { nop_interval, nop_count, .. } = report.parameters;
        if nop_interval != 0 {
            self.line(2, format_args!("Nop interval: {nop_interval}"));
            self.line(2, format_args!("Nop count: {nop_count}"));
        }
        self.line(1, "I_T nexus information:");
        for session in &report.sessions {
            self.nexus(session);
        }
        self.line(1, "LUN information:");
        for unit in &report.units {
            self.unit(unit);
        }
        self.line(1, "Account information:");
        self.accounts(2, &report.accounts);
        self.line(1, "ACL information:");
        for rule in report.acl.addresses.iter().chain(&report.acl.names) {
            self.line(2, rule);
        }
    }

    /// Shows the first connection only: tgt writes this text at login and does not change it.
    fn nexus(&mut self, report: &SessionReport) {
        let alias = report.alias.as_deref().unwrap_or("none");
        self.line(2, format_args!("I_T nexus: {}", report.sid));
        self.line(3, format_args!("Initiator: {} alias: {alias}", report.initiator));
        if let Some(connection) = report.connections.first() {
            self.line(3, format_args!("Connection: {}", connection.cid));
            self.line(4, format_args!("IP Address: {}", connection.address));
        }
    }

    fn unit(&mut self, report: &UnitReport) {
        let UnitReport { config, store, .. } = report;
        self.line(2, format_args!("LUN: {}", report.lun));
        self.line(3, format_args!("Type: {}", device_type_word(config.device_type)));
        self.line(3, format_args!("SCSI ID: {}", config.scsi_id));
        self.line(3, format_args!("SCSI SN: {}", config.scsi_sn));
        // tgt's block length of a unit without blocks is 1.
        let block_len = if config.device_type == DeviceType::Disk { config.block_len } else { 1 };
        self.line(3, format_args!("Size: {} MB, Block size: {block_len}", megabytes(report.size)));
        self.line(3, format_args!("Online: {}", yes_no(config.online)));
        self.line(3, format_args!("Removable media: {}", yes_no(config.removable)));
        self.line(3, format_args!("Prevent removal: {}", yes_no(report.removal_prevented)));
        self.line(3, format_args!("Readonly: {}", yes_no(config.read_only)));
        self.line(3, format_args!("SWP: {}", yes_no(config.swp)));
        self.line(3, format_args!("Thin-provisioning: {}", yes_no(config.thin_provisioning)));
        self.line(3, format_args!("Backing store type: {}", store.kind));
        let path = if store.path.is_empty() { "None" } else { &store.path };
        self.line(3, format_args!("Backing store path: {path}"));
        self.line(3, format_args!("Backing store flags: {}", store.flags.word()));
    }

    fn accounts(&mut self, depth: usize, report: &AccountsReport) {
        for user in &report.incoming {
            self.line(depth, user);
        }
        if let Some(user) = &report.outgoing {
            self.line(depth, format_args!("{user} (outgoing)"));
        }
    }
}

impl AccountsReport {
    fn is_empty(&self) -> bool {
        self.incoming.is_empty() && self.outgoing.is_none()
    }
}

/// Decimal megabytes as tgt computes them from sectors of 512 bytes, with its wrap-around below about 300 MB.
fn megabytes(size: u64) -> u64 {
    let sectors = size >> 9;
    let correction = (sectors / 625).wrapping_sub(974);
    sectors.wrapping_sub(correction) / 1950
}

pub(super) fn device_type_word(device_type: DeviceType) -> &'static str {
    match device_type {
        DeviceType::Disk => "disk",
        DeviceType::Controller => "controller",
    }
}

fn yes_no(yes: bool) -> &'static str {
    if yes { "Yes" } else { "No" }
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

fn capital_on_off(on: bool) -> &'static str {
    if on { "On" } else { "Off" }
}

#[cfg(test)]
mod tests;
