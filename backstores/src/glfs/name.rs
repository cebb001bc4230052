//! Names of files on volumes and the options of `glfs`.

use std::time::Duration;

use crate::library::seconds;
use crate::registry::{OpenError, OpenOptions};

/// Name of the kind.
pub(super) const NAME: &str = "glfs";

/// The keys in `bsopts`.
pub(super) const OPTIONS: &[&str] =
    &["logfile", "loglevel", "port", "transport", "timeout", "open-timeout", "after-reconnect"];

/// A volume and how it is reached. Files with equal settings share one handle.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Settings {
    pub(super) volume: String,
    /// The hosts that know the volume, in the order in which they are asked; a path for `unix`.
    pub(super) hosts: Vec<String>,
    pub(super) transport: &'static str,
    pub(super) port: u16,
    pub(super) logfile: String,
    pub(super) loglevel: i32,
}

/// What concerns one file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct FileSettings {
    /// Path in the volume.
    pub(super) path: String,
    /// How long operations wait for a connection; `None`: for ever.
    pub(super) timeout: Option<Duration>,
    /// The first flush after a lost connection does not fail.
    pub(super) trusts_servers: bool,
    pub(super) open_timeout: Duration,
}

/// Parses the path of a store, `VOLUME@HOST[|HOST…]:FILE`, and its options.
///
/// # Errors
/// The path is not of that form, or a value is not accepted.
pub(super) fn parse(options: &OpenOptions) -> Result<(Settings, FileSettings), OpenError> {
    let text = |key| options.option(key).filter(|value| !value.is_empty());
    let transport = match text("transport") {
        None | Some("tcp") => "tcp",
        Some("unix") => "unix",
        Some(other) => return Err(bad("transport", other, "expected tcp or unix")),
    };
    let (volume, hosts, path) = split(options.name()?, transport).ok_or_else(|| {
        let why =
            "expected VOLUME@HOST:FILE; several hosts are separated by |, and an IPv6 address is in brackets";
        OpenError::refused(&options.path, why)
    })?;
    let port = match text("port") {
        None => 0,
        Some(value) => match value.parse() {
            Ok(port @ 1..) => port,
            _ => return Err(bad("port", value, "expected a number from 1 to 65535")),
        },
    };
    let loglevel = match text("loglevel").map(|value| (value, value.parse())) {
        None => LOG_LEVEL,
        Some((_, Ok(level @ 0..=9))) => level,
        Some((value, _)) => return Err(bad("loglevel", value, "expected a number from 0 to 9")),
    };
    let trusts_servers = match text("after-reconnect") {
        None | Some("flush-fails") => false,
        Some("trust") => true,
        Some(other) => return Err(bad("after-reconnect", other, "expected flush-fails or trust")),
    };
    let logfile = text("logfile").unwrap_or("/dev/null").to_owned();
    let file = FileSettings {
        path,
        timeout: seconds(options, "timeout")?.map(|seconds| Duration::from_secs(seconds.into())),
        trusts_servers,
        open_timeout: Duration::from_secs(seconds(options, "open-timeout")?.unwrap_or(OPEN_TIMEOUT).into()),
    };
    Ok((Settings { volume, hosts, transport, port, logfile, loglevel }, file))
}

fn bad(key: &'static str, value: &str, why: &'static str) -> OpenError {
    OpenError::BadOption { key, value: value.to_owned(), why }
}

/// Splits a path into volume, hosts and file.
fn split(text: &str, transport: &str) -> Option<(String, Vec<String>, String)> {
    let (volume, rest) = text.split_once('@')?;
    // The address of a host may be in brackets and contain colons.
    let end = rest.rfind(']').unwrap_or(0);
    let colon = end + rest[end..].find(':')?;
    let (hosts, path) = (&rest[..colon], &rest[colon + 1..]);
    let hosts: Vec<String> = match transport {
        "unix" => vec![hosts.to_owned()],
        _ => hosts.split('|').map(|host| host.trim_matches(['[', ']']).to_owned()).collect(),
    };
    let whole = !volume.is_empty() && !path.is_empty() && hosts.iter().all(|host| !host.is_empty());
    whole.then(|| (volume.to_owned(), hosts, path.to_owned()))
}

/// Errors and worse.
const LOG_LEVEL: i32 = 3;
/// Seconds that opening a file may take without the option `open-timeout`.
pub(super) const OPEN_TIMEOUT: u32 = 20;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn names_have_volume_hosts_and_file() {
        let parse = |text: &str| parse(&OpenOptions::for_path(Path::new(text)));
        for (text, volume, hosts, path) in [
            ("vol0@127.0.0.2:disk0", "vol0", &["127.0.0.2"][..], "disk0"),
            ("v@a|b:dir/x:y", "v", &["a", "b"], "dir/x:y"),
            ("v@[::1]|[fe80::1]:/x", "v", &["::1", "fe80::1"], "/x"),
        ] {
            let (settings, file) = parse(text).unwrap();
            assert_eq!((&*settings.volume, &*file.path), (volume, path));
            assert_eq!(settings.hosts, hosts);
            assert_eq!((settings.transport, settings.port, &*settings.logfile), ("tcp", 0, "/dev/null"));
        }
        for text in ["vol0", "vol0@host", "@host:x", "v@:x", "v@a|:x", "v@host:", "v@[::1]"] {
            let refused = parse(text).unwrap_err().to_string();
            assert!(refused.contains("expected VOLUME@HOST:FILE"), "{refused}");
        }
    }

    #[test]
    fn values_that_are_not_accepted_are_named() {
        for (bsopts, expected) in [
            ("transport=rdma", "tcp or unix"),
            ("port=0", "from 1 to 65535"),
            ("loglevel=10", "from 0 to 9"),
            ("after-reconnect=maybe", "flush-fails or trust"),
            ("timeout=x", "from 1 to 86400"),
        ] {
            let options =
                OpenOptions { path: "v@h:f".into(), bsopts: bsopts.into(), ..OpenOptions::default() };
            let refused = parse(&options).unwrap_err().to_string();
            assert!(refused.contains(expected), "{refused}");
        }
    }
}
