//! The directives of `targets.conf`, each with what it takes and where it may stand. Names are told apart by case, as
//! stock does.

/// What a directive outside of any block is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Global {
    /// Which driver targets have that name none.
    DefaultDriver,
    /// Go on where the daemon refuses.
    IgnoreErrors,
    /// Which daemon.
    ControlPort,
    /// A setting of the daemon's iSNS client, by its name there.
    Isns,
    /// Whom the daemon answers discovery.
    IncomingDiscoveryUser,
    /// Who the daemon says it is in discovery.
    OutgoingDiscoveryUser,
    /// A target's block.
    Target,
}

/// What a directive of a target is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum TargetKey {
    /// A parameter of the target that the daemon knows by the same name.
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
    /// What its stores have that say nothing else.
    Store(StoreKey),
}

/// What a directive of a store is.
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
    /// `mode_page`, any number of them.
    ModePage,
    /// `params`, any number of them.
    Params,
    /// A parameter of the unit that the daemon knows by the same name.
    Parameter,
}

/// A directive outside of blocks.
pub(super) fn global(name: &str) -> Option<(&'static str, Global)> {
    GLOBALS.into_iter().find(|(known, _)| *known == name)
}

/// A directive in a target's block.
pub(super) fn target(name: &str) -> Option<TargetKey> {
    let parameter = || STOCK_PARAMETERS.iter().chain(&MORE_PARAMETERS).find(|known| **known == name);
    row(&TARGETS, name)
        .or_else(|| parameter().map(|_| TargetKey::Parameter))
        .or_else(|| store(name).map(TargetKey::Store))
}

/// A directive in a store's block.
pub(super) fn store(name: &str) -> Option<StoreKey> {
    row(&STORES, name)
}

fn row<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.iter().find(|(known, _)| *known == name).map(|(_, what)| *what)
}

/// What the writer of an unknown name may have meant: the same but for case, `-` and `_`, or one that belongs
/// elsewhere.
pub(super) fn meant(name: &str) -> Option<String> {
    let folded = |name: &str| name.to_ascii_lowercase().replace('_', "-");
    let like = folded(name);
    let in_a_target = TARGETS.iter().map(|(known, _)| *known);
    let in_a_target = in_a_target.chain(STOCK_PARAMETERS).chain(MORE_PARAMETERS);
    let groups: [(&str, Vec<&str>); 3] = [
        ("outside of blocks", GLOBALS.iter().map(|(known, _)| *known).collect()),
        ("in a <target> block", in_a_target.collect()),
        ("in a <target> or a store's block", STORES.iter().map(|(known, _)| *known).collect()),
    ];
    let found = groups.iter().find_map(|(place, names)| {
        names.iter().find(|known| folded(known) == like).map(|known| (*known, *place))
    });
    found.map(|(known, place)| format!("'{known}' stands {place}"))
}

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

/// What stock hands on to the daemon.
const STOCK_PARAMETERS: [&str; 20] = [
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

/// What the daemon has besides, which stock's tool leaves out without a word.
const MORE_PARAMETERS: [&str; 13] = [
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
    fn the_page_names_every_directive() {
        let page = include_str!("../../../../docs/man/targets.conf.5");
        let words: Vec<&str> = page.split([' ', '\n', '<']).collect();
        let names = GLOBALS.iter().map(|row| row.0).chain(TARGETS.iter().map(|row| row.0));
        let names =
            names.chain(STORES.iter().map(|row| row.0)).chain(STOCK_PARAMETERS).chain(MORE_PARAMETERS);
        for name in names {
            assert!(words.contains(&name), "{name}");
        }
    }
}
