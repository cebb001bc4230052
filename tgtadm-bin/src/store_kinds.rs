//! Which types of backing store have a file or device of this machine as their path.

/// Whether the path of a store of this type (`--bstype`, by default `rdwr`) is a file or device of this machine. That of
/// another type is a name which only the daemon understands, as a URI.
pub(crate) fn has_file(bstype: Option<&str>) -> bool {
    bstype.is_none_or(|kind| WITH_FILES.contains(&kind))
}

/// tgt's types and ours whose paths are files or devices.
const WITH_FILES: [&str; 7] = ["aio", "bsg", "mmc", "rdwr", "sg", "smc", "ssc"];
