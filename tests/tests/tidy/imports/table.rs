//! The table of modules, crate by crate.

/// The modules of a crate, in layers: a row may name only rows above it.
pub(super) struct Layers {
    pub(super) name: &'static str,
    pub(super) modules: &'static [Module],
}

/// A row of the table. A file belongs to the row with the longest path that leads to it; `crate` is `lib.rs`.
pub(super) struct Module {
    pub(super) path: &'static str,
    /// The other modules of the crate that this one may import.
    pub(super) imports: &'static [&'static str],
}

const fn module(path: &'static str, imports: &'static [&'static str]) -> Module {
    Module { path, imports }
}

/// Every crate whose files import one another in no circle has its table here.
#[rustfmt::skip]
pub(super) const CRATES: &[Layers] = &[
    Layers {
        name: "iscsi-proto",
        modules: &[
            module("crate", &[]),
            module("ids", &[]),
            module("sn", &[]),
            module("name", &[]),
            module("login", &[]),
            module("pdu", &["ids", "sn", "login"]),
            module("frame", &["pdu"]),
            module("params", &["frame"]),
            module("text", &["params"]),
            module("text::keys", &["text", "params"]),
            module("text::negotiate", &["text", "text::keys", "params"]),
            module("chap", &["text"]),
            module("fuzzing", &["chap", "frame", "name", "params", "pdu", "text", "text::keys", "text::negotiate"]),
        ],
    },
    Layers {
        name: "scsi-core",
        modules: &[
            module("crate", &[]),
            module("lun", &[]),
            module("status", &[]),
            module("sense", &[]),
            module("store", &[]),
            module("tape_image", &[]),
            module("cdb", &[]),
            module("page", &["lun", "cdb"]),
            module("page::mode", &["page"]),
            module("page::persist", &["page", "cdb"]),
            module("page::vpd", &["page"]),
            module("device", &["lun", "status", "sense", "store", "cdb", "page"]),
            module("device::answer", &["device", "status", "sense", "cdb", "page"]),
            module("device::task", &["device", "device::answer", "sense"]),
            module("device::reservation", &["device", "device::answer", "sense", "cdb", "page", "page::persist"]),
            module("device::unit", &["device", "device::answer", "device::reservation", "sense", "store"]),
            module("device::request", &["device", "device::answer", "device::task", "device::unit", "sense"]),
            module("device::persist", &["device", "device::answer", "device::reservation", "device::unit", "device::request", "cdb", "page::persist"]),
            module("device::spc", &["device", "device::answer", "device::reservation", "device::unit", "device::request", "device::persist", "sense", "cdb", "page", "page::mode", "page::vpd"]),
            module("device::disk", &["device", "device::answer", "device::task", "device::unit", "device::request", "device::spc", "sense", "cdb", "page"]),
            module("device::controller", &["device", "device::answer", "device::request", "device::spc", "cdb"]),
            module("device::absent", &["device", "device::answer", "sense", "cdb", "page"]),
            module("device::port", &["device", "device::answer", "device::task", "device::reservation", "device::unit", "device::request", "device::spc", "device::disk", "device::controller", "status", "sense", "cdb"]),
            module("fuzzing", &["sense", "tape_image", "cdb", "page", "page::mode", "page::persist"]),
        ],
    },
    Layers {
        name: "backstores",
        modules: &[
            module("crate", &[]),
            module("done", &[]),
            module("waiting", &[]),
            module("workers", &[]),
            module("registry", &[]),
            module("layer", &["done", "waiting"]),
            module("null", &["done", "registry"]),
            module("memory", &["done", "registry"]),
            module("file", &["layer", "registry", "workers"]),
            module("builtin", &["file", "memory", "null", "registry"]),
            module("contract", &[]),
        ],
    },
];

/// The modules of a crate whose other modules still import one another in circles; those have no row.
#[rustfmt::skip]
pub(super) const PARTIAL: &[Layers] = &[
    Layers {
        name: "target-engine",
        modules: &[
            module("limits", &[]),
            module("warnings", &["limits"]),
            module("direction", &[]),
            module("stats", &["direction"]),
            module("keys", &[]),
            module("buffers", &["limits"]),
            module("iscsi::session", &[]),
            module("iscsi::transmit", &["limits", "buffers"]),
            module("iscsi::login::question", &[]),
            module("iscsi::login::close", &[]),
            module("iscsi::text_exchange", &["limits", "iscsi::login::question"]),
            module("iscsi::connection", &["limits", "stats", "keys", "buffers", "iscsi::transmit", "iscsi::text_exchange"]),
            module("iscsi::discovery", &["limits", "iscsi::login::question", "iscsi::login::close", "iscsi::text_exchange"]),
            module("iscsi::login", &["limits", "iscsi::login::question", "iscsi::login::close", "iscsi::text_exchange", "iscsi::discovery"]),
            module("shard", &["limits", "warnings", "direction", "stats", "keys", "buffers", "iscsi::session", "iscsi::transmit", "iscsi::login::question", "iscsi::text_exchange", "iscsi::connection"]),
        ],
    },
];
