//! The server: its lock and control socket, its portals, its first requests, and its end.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::control_loop::ControlLoop;
use super::openers::resolve;
use crate::control::error::ControlError;
use crate::control::messages::LoopId;
use crate::control::request::Request;
use crate::limits::{SHARED_LOOPS_MAX, TARGET_LOOPS_MAX};
use crate::model::Model;
use crate::model::account::Algorithm;
use crate::model::connections::ConnectionBounds;
use crate::model::identity::Identity;
use crate::model::parameters::Defaults;
use crate::model::portal::{DEFAULT_PORT, PortalOptions, PortalSpec};
use crate::model::store::StoreOpener;

/// Bytes of a control socket's path.
pub const SOCKET_PATH_LEN_MAX: usize = 107;

/// A server that holds its sockets, and serves once it runs.
pub struct Server {
    control: ControlLoop,
    requests: Vec<Request>,
    on_ready: Option<OnReady>,
    shared_loops: usize,
    /// Holds the lock of the control socket until the server is dropped.
    _lock: Option<File>,
}

/// The settings of a server.
pub struct Builder {
    opener: Arc<dyn StoreOpener>,
    portals: PortalOptions,
    control_socket: Option<PathBuf>,
    make_directory: bool,
    target_loops: usize,
    shared_loops: usize,
    defaults: Defaults,
    chap_algorithms: Vec<Algorithm>,
    connection_bounds: ConnectionBounds,
    identity: Identity,
    debug: bool,
    requests: Vec<Request>,
    shutdown: Option<UnixStream>,
    on_ready: Option<OnReady>,
}

type OnReady = Box<dyn FnOnce(&[PortalSpec])>;

/// Ends a server, from any thread; from a signal handler by [`ShutdownHandle::stream`].
#[derive(Debug)]
pub struct ShutdownHandle {
    stream: UnixStream,
}

/// Why a server did not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Another daemon holds the lock.
    #[error("another tgtd is using {}", .0.display())]
    AnotherDaemon(PathBuf),
    /// The path is longer than the kernel accepts.
    #[error("the management path {} is longer than {SOCKET_PATH_LEN_MAX} bytes", .0.display())]
    SocketPathTooLong(PathBuf),
    /// The directory of the socket does not exist and cannot be made.
    #[error("cannot make the directory {}: {source}", path.display())]
    SocketDirectory {
        /// Its path.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The lock file cannot be opened.
    #[error("cannot open the lock file {}: {source}", path.display())]
    LockFile {
        /// Its path.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The socket cannot be made.
    #[error("cannot listen on the management socket {}: {source}", path.display())]
    Socket {
        /// Its path.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The address of a portal is in use, not local, or unknown.
    #[error("cannot listen on the portal {portal}: {source}")]
    Portal {
        /// Its path.
        portal: PortalSpec,
        /// The error.
        source: io::Error,
    },
    /// One of the first requests was refused.
    #[error("cannot set up {request}: {error}")]
    Request {
        /// A description of the request.
        request: String,
        /// The refusal.
        error: ControlError,
    },
    /// The thread of a loop ended unasked; the other loops were ended in order.
    #[error("loop {0} failed")]
    LoopFailed(u32),
    /// No descriptors, memory or threads.
    #[error("out of resources: {0}")]
    Resources(#[from] io::Error),
}

impl Server {
    /// A server with these stores and tgt's portals, without a control socket.
    pub fn builder(opener: Arc<dyn StoreOpener>) -> Builder {
        Builder {
            opener,
            portals: PortalOptions::default(),
            control_socket: None,
            make_directory: false,
            target_loops: 1,
            shared_loops: 0,
            defaults: Defaults::default(),
            chap_algorithms: Algorithm::ALL.to_vec(),
            connection_bounds: ConnectionBounds::default(),
            identity: Identity::default(),
            debug: false,
            requests: Vec::new(),
            shutdown: None,
            on_ready: None,
        }
    }

    /// Executes the first requests, calls the function of [`Builder::on_ready`], and serves until it is ended.
    ///
    /// # Errors
    /// One of the first requests was refused, a loop failed, or the kernel does not let it wait.
    pub fn run(mut self) -> Result<(), ServerError> {
        self.control.share_loops(self.shared_loops)?;
        for request in self.requests.drain(..) {
            let shown = described(&request);
            let reply = self.control.prepare(request)?;
            reply.map_err(|error| ServerError::Request { request: shown, error })?;
        }
        if let Some(on_ready) = self.on_ready.take() {
            let portals = &self.control.control.model().portals;
            on_ready(&portals.iter().rev().map(|portal| portal.spec.clone()).collect::<Vec<_>>());
        }
        match self.control.run()? {
            None => Ok(()),
            Some(LoopId(number)) => Err(ServerError::LoopFailed(number)),
        }
    }

    /// Returns the portals, oldest first; a port that the system chose is in it.
    #[must_use]
    pub fn portals(&self) -> Vec<PortalSpec> {
        self.control.control.model().portals.iter().rev().map(|portal| portal.spec.clone()).collect()
    }
}

/// Describes a request for an error message.
fn described(request: &Request) -> String {
    match request {
        Request::TargetNew { tid, name } => format!("target {tid}, {name}"),
        Request::UnitNew { tid, lun, strings, .. } => {
            let path = strings.path.as_deref().unwrap_or("no medium");
            format!("logical unit {lun} of target {tid}, {path}")
        }
        Request::TargetBind { tid, .. } => format!("the access to target {tid}"),
        _ => "the server".to_owned(),
    }
}

impl Builder {
    /// Sets the portals (if the list is empty tgt's two wildcards) and how new targets ping their initiators.
    #[must_use]
    pub fn portals(mut self, portals: PortalOptions) -> Self {
        self.portals = portals;
        self
    }

    /// Sets the path of the control socket, see [`socket_path`].
    #[must_use]
    pub fn control_socket(mut self, path: PathBuf) -> Self {
        self.control_socket = Some(path);
        self
    }

    /// Makes the directory of the control socket if it is missing, as tgt does for its default directory only.
    #[must_use]
    pub fn make_socket_directory(mut self, make: bool) -> Self {
        self.make_directory = make;
        self
    }

    /// Sets how many loops serve a new target.
    #[must_use]
    pub fn target_loops(mut self, loops: usize) -> Self {
        self.target_loops = loops.clamp(1, TARGET_LOOPS_MAX);
        self
    }

    /// Sets the number of loops that all targets share; each target is served by [`Builder::target_loops`] of them. With 0,
    /// the default, each target has loops of its own.
    #[must_use]
    pub fn shared_loops(mut self, loops: usize) -> Self {
        self.shared_loops = loops.min(SHARED_LOOPS_MAX);
        self
    }

    /// Sets the parameters that new targets negotiate with.
    #[must_use]
    pub fn defaults(mut self, defaults: Defaults) -> Self {
        self.defaults = defaults;
        self
    }

    /// Sets the CHAP algorithms that are accepted, the preferred first. By default all are, the strongest first. With none
    /// no initiator can authenticate.
    #[must_use]
    pub fn chap_algorithms(mut self, algorithms: Vec<Algorithm>) -> Self {
        self.chap_algorithms = algorithms;
        self
    }

    /// Sets how many connections a target, an address and an initiator name may have; `ConnectionBound::Half` by default.
    #[must_use]
    pub fn connection_bounds(mut self, bounds: ConnectionBounds) -> Self {
        self.connection_bounds = bounds;
        self
    }

    /// Sets how units without a given SCSI ID and serial number are named; [`Identity::Unique`] by default.
    ///
    /// To an initiator a disk is the same after a restart of the server only with [`Identity::Given`] and the same
    /// number, under the same target name and LUN, or with names of its own (`scsi_id`, `scsi_sn`). With
    /// [`Identity::Unique`] each server has other disks: what initiators remember by name, such as multipath maps and
    /// `/dev/disk/by-id`, does not find them again. [`Identity::Compatible`] gives tgt's names, which other hosts give
    /// to other disks.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = identity;
        self
    }

    /// Sets whether `--mode system --op show` reports that debug messages are logged.
    #[must_use]
    pub fn debug(mut self, debug: bool) -> Self {
        self.debug = debug;
        self
    }

    /// Sets the first requests, executed in this order before the server is ready: targets, units, rules.
    #[must_use]
    pub fn requests(mut self, requests: Vec<Request>) -> Self {
        self.requests = requests;
        self
    }

    /// Sets the function that is called once the server is ready, with its portals.
    #[must_use]
    pub fn on_ready(mut self, on_ready: impl FnOnce(&[PortalSpec]) + 'static) -> Self {
        self.on_ready = Some(Box::new(on_ready));
        self
    }

    /// Makes the handle that ends the server.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn shutdown_handle(&mut self) -> io::Result<ShutdownHandle> {
        let (ours, theirs) = UnixStream::pair()?;
        theirs.set_nonblocking(true)?;
        self.shutdown = Some(ours);
        Ok(ShutdownHandle { stream: theirs })
    }

    /// Takes the lock, the control socket and the portals, and makes a unique identity. No thread is started yet: the caller may still fork.
    ///
    /// # Errors
    /// One of these could not be taken.
    pub fn bind(self) -> Result<Server, ServerError> {
        let remark = self.opener.remark();
        let mut model = Model::default();
        model.loops = self.target_loops;
        model.defaults = self.defaults;
        model.chap_algorithms = self.chap_algorithms;
        model.connection_bounds = self.connection_bounds;
        model.naming = self.identity.naming().map_err(no_random_numbers)?;
        model.debug = self.debug;
        model.remark = remark;
        let mut control = ControlLoop::new(self.opener, model)?;
        let lock = match &self.control_socket {
            Some(path) => {
                let (lock, listener) = take_socket(path, self.make_directory)?;
                control.serve_admin(listener)?;
                Some(lock)
            }
            None => None,
        };
        if let Some(shutdown) = self.shutdown {
            control.world.end_by(shutdown)?;
        }
        control.control.set_pings(&self.portals);
        let given = !self.portals.portals.is_empty();
        let portals = if given { self.portals.portals } else { default_portals() };
        for portal in portals {
            // The IPv6 wildcard is a default: a machine without IPv6 has none.
            match listen(&mut control, &portal) {
                Err(_) if !given && portal.host == "::" && !has_ipv6() => {}
                Err(source) => return Err(ServerError::Portal { portal, source }),
                Ok(()) => {}
            }
        }
        control.control.remember_portals();
        let Self { requests, on_ready, shared_loops, .. } = self;
        Ok(Server { control, requests, on_ready, shared_loops, _lock: lock })
    }
}

impl ShutdownHandle {
    /// Ends the server gracefully; a second time, at once.
    pub fn shutdown(&self) {
        // If the buffer is full, it was asked often enough.
        let _ = (&self.stream).write(&[1]);
    }

    /// For a signal handler: each byte written here is one `shutdown`. Non-blocking.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn stream(&self) -> io::Result<UnixStream> {
        self.stream.try_clone()
    }
}

/// `<base>.<control port>`; the base is the value of `TGT_IPC_SOCKET`, or tgt's default.
#[must_use]
pub fn socket_path(base: Option<&OsStr>, control_port: u16) -> PathBuf {
    let mut path = base.unwrap_or_else(|| OsStr::new("/var/run/tgtd/socket")).to_owned();
    path.push(format!(".{control_port}"));
    path.into()
}

fn no_random_numbers(error: getrandom::Error) -> io::Error {
    io::Error::other(format!("no random numbers from the operating system: {error}"))
}

fn default_portals() -> Vec<PortalSpec> {
    ["0.0.0.0", "::"].map(|host| PortalSpec { host: host.to_owned(), port: DEFAULT_PORT }).to_vec()
}

fn has_ipv6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}

fn listen(control: &mut ControlLoop, portal: &PortalSpec) -> io::Result<()> {
    let addresses = resolve(portal)?;
    if addresses.is_empty() {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    }
    for address in addresses {
        control.control.listen(address, &mut control.world)?;
    }
    Ok(())
}

/// Takes the lock first: only its holder may remove a socket that a previous daemon left.
fn take_socket(path: &Path, make_directory: bool) -> Result<(File, UnixListener), ServerError> {
    if path.as_os_str().len() > SOCKET_PATH_LEN_MAX {
        return Err(ServerError::SocketPathTooLong(path.to_owned()));
    }
    if let Some(directory) = path.parent().filter(|_| make_directory) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)
            .map_err(|source| ServerError::SocketDirectory { path: directory.to_owned(), source })?;
    }
    let lock = take_lock(path)?;
    let failed = |source| ServerError::Socket { path: path.to_owned(), source };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    Ok((lock, listener))
}

fn take_lock(path: &Path) -> Result<File, ServerError> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock_path = PathBuf::from(lock_path);
    let failed = |source| ServerError::LockFile { path: lock_path.clone(), source };
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(&lock_path)
        .map_err(failed)?;
    match rustix::fs::fcntl_lock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => {
            Err(ServerError::AnotherDaemon(lock_path))
        }
        Err(error) => Err(failed(error.into())),
    }
}

#[cfg(test)]
mod tests;
