//! Addresses of servers, name look-ups, and connecting without waiting.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

/// Where a server is, as configured.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Address {
    /// Host name or IP address, and port.
    Tcp { host: String, port: u16 },
    /// Path of a unix stream socket.
    Unix(PathBuf),
}

/// An address that a socket can be connected to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Endpoint {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    /// Looks up the name. Blocks while the resolver does.
    ///
    /// # Errors
    /// The name is unknown, or the resolver fails.
    pub(crate) fn resolve(&self) -> std::io::Result<Vec<Endpoint>> {
        match self {
            Self::Unix(path) => Ok(vec![Endpoint::Unix(path.clone())]),
            Self::Tcp { host, port } => {
                let found: Vec<_> = (host.as_str(), *port).to_socket_addrs()?.map(Endpoint::Tcp).collect();
                if found.is_empty() {
                    return Err(std::io::Error::other("the name has no address"));
                }
                Ok(found)
            }
        }
    }

    /// Whether the address is a name, whose look-up may give another answer later.
    pub(crate) fn is_name(&self) -> bool {
        matches!(self, Self::Tcp { host, .. } if host.parse::<std::net::IpAddr>().is_err())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(out, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(out, "{host}:{port}"),
            Self::Unix(path) => write!(out, "{}", path.display()),
        }
    }
}

impl Endpoint {
    /// Returns a socket that does not block and is connected or connecting: it becomes writable, and
    /// [`connect_result`] tells how that ended.
    ///
    /// # Errors
    /// The address cannot be reached. `EAGAIN`: the server accepts no connections at present.
    pub(crate) fn connect(&self) -> rustix::io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = |family| rustix::net::socket_with(family, SocketType::STREAM, flags, None);
        match self {
            Self::Unix(path) => {
                let fd = socket(AddressFamily::UNIX)?;
                rustix::net::connect(&fd, &SocketAddrUnix::new(path)?)?;
                Ok(fd)
            }
            Self::Tcp(address) => {
                let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
                let fd = socket(family)?;
                sockopt::set_tcp_nodelay(&fd, true)?;
                set_keep_alive(&fd)?;
                match rustix::net::connect(&fd, address) {
                    Ok(()) | Err(Errno::INPROGRESS) => Ok(fd),
                    Err(errno) => Err(errno),
                }
            }
        }
    }
}

/// Detects the end of a host while no request is sent: three probes after ten seconds.
fn set_keep_alive(fd: &OwnedFd) -> rustix::io::Result<()> {
    let seconds = std::time::Duration::from_secs;
    sockopt::set_socket_keepalive(fd, true)?;
    sockopt::set_tcp_keepidle(fd, seconds(10))?;
    sockopt::set_tcp_keepintvl(fd, seconds(5))?;
    sockopt::set_tcp_keepcnt(fd, 3)
}

/// How connecting ended, when the socket is writable.
///
/// # Errors
/// The server cannot be reached.
pub(crate) fn connect_result(fd: &OwnedFd) -> rustix::io::Result<()> {
    sockopt::socket_error(fd)?
}
