//! Portals, and the grammar of `--iscsi` and `portal=`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The default port of a portal (RFC 7143 4.2.7.1).
pub const DEFAULT_PORT: u16 = 3260;
/// The only portal group.
pub const PORTAL_GROUP_TAG: u16 = 1;

/// A portal as an operator writes it: an address or a name, and a port.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PortalSpec {
    /// An IPv4 address, an IPv6 address without brackets, or a host name.
    pub host: String,
    /// The TCP port; 0 lets the system choose.
    pub port: u16,
}

/// The options of `--iscsi` and `portal=`, one list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PortalOptions {
    /// Each `portal=`, in order.
    pub portals: Vec<PortalSpec>,
    /// `nop_interval=`: seconds of silence before a target pings; 0 for never.
    pub nop_interval: Option<u32>,
    /// `nop_count=`: unanswered pings before a connection is closed.
    pub nop_count: Option<u32>,
}

/// Why a list of portals cannot be parsed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PortalError {
    /// Neither `portal=`, nor `nop_interval=`, nor `nop_count=`.
    #[error("'{0}' is not an option of a portal list")]
    UnknownOption(String),
    /// The port is not a number from 0 to 65535.
    #[error("'{0}' has no valid port")]
    Port(String),
    /// There is no address, or a bracket is not closed.
    #[error("'{0}' has no valid address")]
    Address(String),
    /// The value is not a number.
    #[error("'{0}' is not a number")]
    Number(String),
}

impl PortalOptions {
    /// Parses the comma separated list. Empty items are skipped: tgtadm ends the list with a comma.
    ///
    /// # Errors
    /// The first item that cannot be parsed.
    pub fn parse(list: &str) -> Result<Self, PortalError> {
        let mut options = Self::default();
        for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            match item.split_once('=') {
                Some(("portal", value)) => options.portals.push(value.parse()?),
                Some(("nop_interval", value)) => options.nop_interval = Some(number(value)?),
                Some(("nop_count", value)) => options.nop_count = Some(number(value)?),
                _ => return Err(PortalError::UnknownOption(item.to_owned())),
            }
        }
        Ok(options)
    }
}

impl std::str::FromStr for PortalSpec {
    type Err = PortalError;

    /// Parses `address`, `address:port`, `[v6]` or `[v6]:port`; a bare IPv6 address has no port.
    fn from_str(text: &str) -> Result<Self, PortalError> {
        let no_address = || PortalError::Address(text.to_owned());
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(no_address)?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(no_address()),
            }
        } else if text.parse::<std::net::Ipv6Addr>().is_ok() {
            (text, None)
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        if host.is_empty() || host.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err(no_address());
        }
        let port = match port {
            Some(port) => port.parse().map_err(|_| PortalError::Port(text.to_owned()))?,
            None => DEFAULT_PORT,
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl PortalSpec {
    /// Returns the address; `None` for a name. An address with a scope (`%eth0`) counts as a name: the system resolves it.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.host.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, self.port))
    }
}

impl From<SocketAddr> for PortalSpec {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

impl fmt::Display for PortalSpec {
    /// Formats it as `--mode portal --op show` does, without the portal group: IPv6 in brackets.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(out, "[{}]:{}", self.host, self.port)
        } else {
            write!(out, "{}:{}", self.host, self.port)
        }
    }
}

fn number(text: &str) -> Result<u32, PortalError> {
    text.trim().parse().map_err(|_| PortalError::Number(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portals_of_each_form_are_parsed() {
        let cases = [
            ("0.0.0.0:3260", "0.0.0.0", 3260, "0.0.0.0:3260"),
            ("10.1.2.3", "10.1.2.3", 3260, "10.1.2.3:3260"),
            ("[::]:3260", "::", 3260, "[::]:3260"),
            ("[fe80::1%eth0]:860", "fe80::1%eth0", 860, "[fe80::1%eth0]:860"),
            ("[::1]", "::1", 3260, "[::1]:3260"),
            ("::1", "::1", 3260, "[::1]:3260"),
            ("storage.example.com:3261", "storage.example.com", 3261, "storage.example.com:3261"),
        ];
        for (text, host, port, shown) in cases {
            let spec: PortalSpec = text.parse().unwrap();
            assert_eq!((spec.host.as_str(), spec.port), (host, port), "{text}");
            assert_eq!(spec.to_string(), shown);
        }
        for wrong in ["", ":3260", "[::1", "[::1]x", "[]", "1.2.3.4:", "1.2.3.4:x", "1.2.3.4:65536", "a b"] {
            assert!(wrong.parse::<PortalSpec>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn lists_of_options_are_parsed() {
        let options =
            PortalOptions::parse("portal=1.1.1.1:1,portal=[::2],nop_interval=5,nop_count=3,").unwrap();
        let shown: Vec<_> = options.portals.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["1.1.1.1:1", "[::2]:3260"]);
        assert_eq!((options.nop_interval, options.nop_count), (Some(5), Some(3)));
        assert_eq!(PortalOptions::parse(""), Ok(PortalOptions::default()));
        assert_eq!(PortalOptions::parse("port=1"), Err(PortalError::UnknownOption("port=1".to_owned())));
        assert_eq!(PortalOptions::parse("nop_count=x"), Err(PortalError::Number("x".to_owned())));
    }
}
