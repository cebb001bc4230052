//! The directives of `targets.conf`, their values and where they are valid. Case matters, as with tgt.

/// Directives outside of blocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Global {
    /// `default-driver`: the driver of targets without one.
    DefaultDriver,
    /// `ignore-errors`: continue after refusals of the daemon.
    IgnoreErrors,
    /// `control-port`.
    ControlPort,
    /// A setting of the daemon's iSNS client, by its name there.
    Isns,
    /// `incomingdiscoveryuser`: the account that initiators must use for discovery.
    IncomingDiscoveryUser,
    /// `outgoingdiscoveryuser`: the account with which the daemon authenticates in discovery.
    OutgoingDiscoveryUser,
    /// The block of a target.
    Target,
}

/// Directives of a target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum TargetKey {
    /// A parameter of the target, by its name in the daemon.
    Parameter,
    /// `backing-store`.
    BackingStore,
    /// `direct-store`.
    DirectStore,
    /// `driver`.
    Driver,
    /// `controller_tid`.
    Tid,
    /// `allow-in-use`.
    AllowInUse,
    /// `incominguser`.
    IncomingUser,
    /// `outgoinguser`.
    OutgoingUser,
    /// `initiator-address`.
    InitiatorAddress,
    /// `initiator-name`.
    InitiatorName,
    /// A default for the stores of the target.
    Store(StoreKey),
}

/// Directives of a store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum StoreKey {
    /// `lun`.
    Lun,
    /// `write-cache`.
    WriteCache,
    /// `device-type`.
    DeviceType,
    /// `bs-type`.
    BsType,
    /// `bsopts`.
    BsOpts,
    /// `bsoflags`.
    BsoFlags,
    /// `block-size`.
    BlockSize,
    /// `mode_page`, which may be repeated.
    ModePage,
    /// `params`, which may be repeated.
    Params,
    /// A parameter of the unit, by its name in the daemon.
    Parameter,
}

/// Finds a directive that is valid outside of blocks.
pub(super) fn global(name: &str) -> Option<(&'static str, Global)> {
    GLOBALS.into_iter().find(|(known, _)| *known == name)
}

/// Finds a directive that is valid in a target's block.
pub(super) fn target(name: &str) -> Option<TargetKey> {
    let parameter = || TGT_PARAMETERS.iter().chain(&FURTHER_PARAMETERS).find(|known| **known == name);
    row(&TARGETS, name)
        .or_else(|| parameter().map(|_| TargetKey::Parameter))
        .or_else(|| store(name).map(TargetKey::Store))
}

/// Finds a directive that is valid in a store's block.
pub(super) fn store(name: &str) -> Option<StoreKey> {
    row(&STORES, name)
}

fn row<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.iter().find(|(known, _)| *known == name).map(|(_, what)| *what)
}

/// The directive that an unknown one may stand for: it differs in case, `-` or `_` only, or is valid elsewhere.
pub(super) fn suggestion(name: &str) -> Option<String> {
    let folded = |name: &str| name.to_ascii_lowercase().replace('_', "-");
    let like = folded(name);
    let in_a_target = TARGETS.iter().map(|(known, _)| *known);
    let in_a_target = in_a_target.chain(TGT_PARAMETERS).chain(FURTHER_PARAMETERS);
    let groups: [(&str, Vec<&str>); 3] = [
        ("outside of blocks", GLOBALS.iter().map(|(known, _)| *known).collect()),
        ("in a <target> block", in_a_target.collect()),
        ("in a <target> or a store's block", STORES.iter().map(|(known, _)| *known).collect()),
    ];
    let found = groups.iter().find_map(|(location, names)| {
        names.iter().find(|known| folded(known) == like).map(|known| (*known, *location))
    });
    found.map(|(known, location)| format!("'{known}' is valid {location}"))
}

/// Directives outside of blocks.
const GLOBALS: [(&str, Global); 10] = [
    ("default-driver", Global::DefaultDriver),
    ("ignore-errors", Global::IgnoreErrors),
    ("control-port", Global::ControlPort),
    ("iSNS", Global::Isns),
    ("iSNSServerIP", Global::Isns),
    ("iSNSServerPort", Global::Isns),
    ("iSNSAccessControl", Global::Isns),
    ("incomingdiscoveryuser", Global::IncomingDiscoveryUser),
    ("outgoingdiscoveryuser", Global::OutgoingDiscoveryUser),
    ("target", Global::Target),
];

/// Directives of a target other than parameters and those of stores.
const TARGETS: [(&str, TargetKey); 9] = [
    ("backing-store", TargetKey::BackingStore),
    ("direct-store", TargetKey::DirectStore),
    ("driver", TargetKey::Driver),
    ("controller_tid", TargetKey::Tid),
    ("allow-in-use", TargetKey::AllowInUse),
    ("incominguser", TargetKey::IncomingUser),
    ("outgoinguser", TargetKey::OutgoingUser),
    ("initiator-address", TargetKey::InitiatorAddress),
    ("initiator-name", TargetKey::InitiatorName),
];

/// Directives of which the beginning of a value is another valid value: a path, an account or an initiator.
pub(super) const CUT_MATTERS: [&str; 9] = [
    "backing-store",
    "direct-store",
    "path",
    "incomingdiscoveryuser",
    "outgoingdiscoveryuser",
    "incominguser",
    "outgoinguser",
    "initiator-address",
    "initiator-name",
];

/// Parameters that tgt's `tgt-admin` sends to the daemon.
const TGT_PARAMETERS: [&str; 20] = [
    "DataDigest",
    "DataPDUInOrder",
    "DataSequenceInOrder",
    "DefaultTime2Retain",
    "DefaultTime2Wait",
    "ErrorRecoveryLevel",
    "FirstBurstLength",
    "HeaderDigest",
    "IFMarkInt",
    "IFMarker",
    "ImmediateData",
    "InitialR2T",
    "MaxBurstLength",
    "MaxConnections",
    "MaxOutstandingR2T",
    "MaxRecvDataSegmentLength",
    "MaxXmitDataSegmentLength",
    "OFMarkInt",
    "OFMarker",
    "state",
];

/// Further parameters of the daemon, which tgt's `tgt-admin` silently ignores.
const FURTHER_PARAMETERS: [&str; 13] = [
    "InitiatorRecvDataSegmentLength",
    "MaxOutstandingUnexpectedPDUs",
    "MaxQueueCmd",
    "RDMAExtensions",
    "RedirectAddress",
    "RedirectCallback",
    "RedirectPort",
    "RedirectReason",
    "TargetRecvDataSegmentLength",
    "acl-match",
    "loops",
    "nop_count",
    "nop_interval",
];

/// Directives of a store.
const STORES: [(&str, StoreKey); 23] = [
    ("lun", StoreKey::Lun),
    ("write-cache", StoreKey::WriteCache),
    ("device-type", StoreKey::DeviceType),
    ("bs-type", StoreKey::BsType),
    ("bsopts", StoreKey::BsOpts),
    ("bsoflags", StoreKey::BsoFlags),
    ("block-size", StoreKey::BlockSize),
    ("mode_page", StoreKey::ModePage),
    ("params", StoreKey::Params),
    ("la_lba", StoreKey::Parameter),
    ("lbppbe", StoreKey::Parameter),
    ("online", StoreKey::Parameter),
    ("optimal_xfer_gran", StoreKey::Parameter),
    ("optimal_xfer_len", StoreKey::Parameter),
    ("path", StoreKey::Parameter),
    ("product_id", StoreKey::Parameter),
    ("product_rev", StoreKey::Parameter),
    ("readonly", StoreKey::Parameter),
    ("removable", StoreKey::Parameter),
    ("scsi_id", StoreKey::Parameter),
    ("scsi_sn", StoreKey::Parameter),
    ("sense_format", StoreKey::Parameter),
    ("vendor_id", StoreKey::Parameter),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn man_page_has_every_directive() {
        let page = include_str!("../../../../docs/man/targets.conf.5");
        let words: Vec<&str> = page.split([' ', '\n', '<']).collect();
        let names = GLOBALS.iter().map(|row| row.0).chain(TARGETS.iter().map(|row| row.0));
        let names =
            names.chain(STORES.iter().map(|row| row.0)).chain(TGT_PARAMETERS).chain(FURTHER_PARAMETERS);
        for name in names {
            assert!(words.contains(&name), "{name}");
        }
    }
}
