//! The path of an NBD store: the URI form of the NBD project, the address of a server, or a unix socket.

use std::path::PathBuf;

use crate::remote::Address;

/// Default port of NBD servers (IANA).
pub(super) const PORT: u16 = 10809;

/// Maximum length of a name of an export in bytes (NBD protocol, "String values").
pub(super) const NAME_LEN_MAX: usize = 4096;

/// What a path says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Uri {
    pub(super) address: Address,
    /// Name of the export; the default export has an empty one.
    pub(super) export: String,
    pub(super) tls: Option<TlsOptions>,
}

/// Options of `nbds:` and `nbds+unix:`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct TlsOptions {
    /// Directory of the certificates (`tls-certificates`); `None`: the server's certificate is checked with those of the
    /// system, and the client has none.
    pub(super) certificates: Option<PathBuf>,
    /// The name that the server's certificate must have (`tls-hostname`); by default the host of the URI.
    pub(super) hostname: Option<String>,
    /// Whether the server's certificate is checked (`tls-verify-peer`).
    pub(super) verifies_peer: bool,
}

const FORMS: &str = "accepted: nbd://HOST[:PORT]/EXPORT, nbds://HOST[:PORT]/EXPORT, nbd+unix:///EXPORT?socket=PATH, nbds+unix:///EXPORT?socket=PATH, \
     HOST:PORT, the absolute path of a socket";

impl Uri {
    /// Parses a path.
    ///
    /// # Errors
    /// A text for the operator with what is accepted.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with('/') {
            let address = Address::Unix(PathBuf::from(text));
            return Ok(Self { address, export: String::new(), tls: None });
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            let address = host_and_port(text, None)?;
            return Ok(Self { address, export: String::new(), tls: None });
        };
        let (tls, unix) = match scheme {
            "nbd" => (false, false),
            "nbds" => (true, false),
            "nbd+unix" => (false, true),
            "nbds+unix" => (true, true),
            _ => return Err(format!("unknown scheme '{scheme}'; {FORMS}")),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if rest.contains('#') || query.contains('#') {
            return Err(format!("a URI of NBD has no fragment; {FORMS}"));
        }
        let (authority, export) = rest.split_once('/').unwrap_or((rest, ""));
        let export = decode(export)?;
        if export.len() > NAME_LEN_MAX {
            return Err(format!("the name of an export has at most {NAME_LEN_MAX} bytes"));
        }
        let query = Query::parse(query, tls, unix)?;
        let address = match query.socket {
            Some(_) if !authority.is_empty() => {
                return Err(format!("'{scheme}' has no host, but '{authority}' is given; {FORMS}"));
            }
            Some(socket) => Address::Unix(socket),
            None => host_and_port(authority, Some(PORT))?,
        };
        Ok(Self { address, export, tls: tls.then_some(query.tls) })
    }
}

struct Query {
    socket: Option<PathBuf>,
    tls: TlsOptions,
}

impl Query {
    fn parse(text: &str, tls: bool, unix: bool) -> Result<Self, String> {
        let options = TlsOptions { certificates: None, hostname: None, verifies_peer: true };
        let mut query = Self { socket: None, tls: options };
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value)?;
            match key {
                "socket" if unix => query.socket = Some(PathBuf::from(value)),
                "tls-certificates" if tls => query.tls.certificates = Some(PathBuf::from(value)),
                "tls-hostname" if tls => query.tls.hostname = Some(value),
                "tls-verify-peer" if tls => {
                    query.tls.verifies_peer = match value.as_str() {
                        "1" | "true" | "yes" | "on" => true,
                        "0" | "false" | "no" | "off" => false,
                        _ => return Err(format!("'{key}' has the value '{value}'; accepted: 0, 1")),
                    };
                }
                _ => {
                    let accepted = match (tls, unix) {
                        (false, false) => "none",
                        (false, true) => "socket",
                        (true, false) => "tls-certificates, tls-hostname, tls-verify-peer",
                        (true, true) => "socket, tls-certificates, tls-hostname, tls-verify-peer",
                    };
                    return Err(format!("unknown option '{key}' in the URI; accepted: {accepted}"));
                }
            }
        }
        match &query.socket {
            Some(socket) if !socket.is_absolute() => {
                Err(format!("'socket' needs an absolute path, not '{}'", socket.display()))
            }
            None if unix => Err(format!("'socket' is missing; {FORMS}")),
            _ => Ok(query),
        }
    }
}

/// Parses `HOST:PORT` or `[IPv6]:PORT`; the port may be omitted if there is a default.
fn host_and_port(text: &str, default: Option<u16>) -> Result<Address, String> {
    let bad = || format!("'{text}' is no address of a server; {FORMS}");
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(bad)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
            let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or_else(bad)?) };
            (host, port)
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port > 0),
        None => default,
    };
    let plausible = !host.is_empty() && !host.contains(['@', '/', '?', '#', ' ']);
    match port {
        Some(port) if plausible => Ok(Address::Tcp { host: host.to_owned(), port }),
        _ => Err(bad()),
    }
}

/// Decodes `%XX`.
fn decode(text: &str) -> Result<String, String> {
    let bad = || format!("'{text}' has a wrong %; it is followed by two hexadecimal digits");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or_else(bad)?;
        rest = after;
        let digit = |digit: u8| char::from(digit).to_digit(16).ok_or_else(bad);
        bytes.push((digit(digits[0])? << 4 | digit(digits[1])?) as u8);
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("'{text}' is not UTF-8"))?;
    if text.contains('\0') { Err("a name has no NUL character".to_owned()) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn every_form_is_parsed() {
        let cases = [
            ("nbd://host", tcp("host", 10809), ""),
            ("nbd://host/", tcp("host", 10809), ""),
            ("nbd://host:1/disk/0", tcp("host", 1), "disk/0"),
            ("nbd://[::1]:2/a%2Cb%20c", tcp("::1", 2), "a,b c"),
            ("nbd://[fe80::1]/x", tcp("fe80::1", 10809), "x"),
            ("nbd+unix:///disk?socket=/run/a%20b.sock", Address::Unix("/run/a b.sock".into()), "disk"),
            ("nbd+unix://?socket=/s", Address::Unix("/s".into()), ""),
            ("10.0.0.1:10809", tcp("10.0.0.1", 10809), ""),
            ("/run/nbd.sock", Address::Unix("/run/nbd.sock".into()), ""),
        ];
        for (text, address, export) in cases {
            let uri = Uri::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!((uri.address, uri.export.as_str(), uri.tls), (address, export, None), "{text}");
        }
    }

    #[test]
    fn options_of_tls_are_parsed() {
        let uri = Uri::parse("nbds://host/x?tls-certificates=/etc/pki&tls-hostname=other&tls-verify-peer=0")
            .unwrap();
        let tls = uri.tls.unwrap();
        assert_eq!(tls.certificates, Some("/etc/pki".into()));
        assert_eq!((tls.hostname.as_deref(), tls.verifies_peer), (Some("other"), false));
        let tls = Uri::parse("nbds+unix:///x?socket=/s").unwrap().tls.unwrap();
        assert_eq!((tls.certificates, tls.hostname, tls.verifies_peer), (None, None, true));
    }

    #[test]
    fn wrong_paths_are_refused_with_what_is_accepted() {
        let cases = [
            ("", "accepted: nbd://"),
            ("host", "accepted: nbd://"),
            ("host:port", "accepted: nbd://"),
            ("host:0", "accepted: nbd://"),
            ("nbd://host:65536/", "accepted: nbd://"),
            ("nbd://user@host/", "accepted: nbd://"),
            ("nbd://[::g]/", "accepted: nbd://"),
            ("nbd://[::1]x/", "accepted: nbd://"),
            ("nbd:///x", "accepted: nbd://"),
            ("nbd+vsock://2/x", "unknown scheme 'nbd+vsock'"),
            ("http://host/x", "unknown scheme 'http'"),
            ("nbd://host/x#y", "no fragment"),
            ("nbd+unix:///x", "'socket' is missing"),
            ("nbd+unix:///x?socket=run/s", "absolute path"),
            ("nbd+unix://host/x?socket=/s", "has no host"),
            ("nbd://host/x?socket=/s", "unknown option 'socket' in the URI; accepted: none"),
            ("nbd+unix:///x?socket=/s&tls-hostname=h", "accepted: socket"),
            ("nbds://host/x?tls-psk-file=/f", "accepted: tls-certificates, tls-hostname, tls-verify-peer"),
            ("nbds://host/x?tls-verify-peer=maybe", "accepted: 0, 1"),
            ("nbd://host/%4", "two hexadecimal digits"),
            ("nbd://host/%zz", "two hexadecimal digits"),
            ("nbd://host/%ff", "not UTF-8"),
            ("nbd://host/%00", "NUL"),
        ];
        for (text, part) in cases {
            let why = Uri::parse(text).expect_err(text);
            assert!(why.contains(part), "{text}: {why}");
        }
        assert!(Uri::parse(&format!("nbd://host/{}", "x".repeat(4097))).is_err());
    }
}
