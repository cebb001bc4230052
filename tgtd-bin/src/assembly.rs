//! Builds the server from the options: backing stores, control socket, portals, exports.

use std::fs::DirBuilder;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backstores::registry::{Kind, OpenFlags, OpenOptions, PathUse, Registry};
use backstores::workers::{Limits, Workers};
use scsi_core::store::Backstore;
use target_engine::control::request::{Binding, Request, UnitStrings};
use target_engine::model::Tid;
use target_engine::model::identity::Identity;
use target_engine::model::parameters::Defaults;
use target_engine::model::portal::{DEFAULT_PORT, PortalSpec};
use target_engine::model::store::{StoreKind, StoreOpener, StoreSpec};
use target_engine::runtime::server::{Server, ShutdownHandle, socket_path};

use crate::args::Args;
use crate::daemon;
use crate::export::{self, Export};
use crate::failure::Failure;
use crate::identity;

/// Opens the engine's stores from a registry of backing stores.
#[derive(Debug)]
pub(crate) struct Stores(pub(crate) Registry);

impl StoreOpener for Stores {
    fn kinds(&self) -> Vec<StoreKind> {
        let kinds = self.0.kinds().iter();
        let kind = |kind: &Kind| StoreKind {
            name: kind.name,
            takes_flags: kind.sync && kind.direct,
            needs_medium: kind.path == PathUse::Name || kind.name == backstores::memory::NAME,
        };
        kinds.map(kind).collect()
    }

    fn remark(&self) -> Option<String> {
        let refused = backstores::file::ring_refused()?;
        log::warn!("worker threads do the I/O of files: {refused}");
        Some(format!("I/O of files: worker threads ({refused})"))
    }

    fn open(&self, spec: &StoreSpec) -> Result<Arc<dyn Backstore>, String> {
        let options = OpenOptions {
            path: PathBuf::from(&spec.path),
            bsopts: spec.options.clone(),
            bsoflags: OpenFlags { sync: spec.flags.sync, direct: spec.flags.direct },
            read_only: spec.read_only,
            block_len: spec.block_len,
            size: None,
        };
        self.0.open(&spec.kind, &options).map_err(|error| error.to_string())
    }
}

/// The path of the control socket without its suffix, and its directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SocketBase {
    /// The path without `.N`.
    pub(crate) path: PathBuf,
    /// The directory to create if it does not exist; `None` if the user chose the path.
    pub(crate) directory: Option<PathBuf>,
    /// The directory has to belong to this user, and no other user may write to it.
    pub(crate) private: bool,
}

impl SocketBase {
    /// Chooses the path: `TGT_IPC_SOCKET` if set; for root the path of tgt; for another user a directory of this user.
    pub(crate) fn choose(
        requested: Option<PathBuf>,
        uid: u32,
        runtime_directory: Option<PathBuf>,
        temporary: &Path,
    ) -> Self {
        let (directory, private) = match (requested, uid, runtime_directory) {
            (Some(path), _, _) => return Self { path, directory: None, private: false },
            (None, 0, _) => (PathBuf::from("/var/run/tgtd"), false),
            (None, _, Some(runtime)) if runtime.is_absolute() => (runtime.join("tgtd"), true),
            (None, uid, _) => (temporary.join(format!("tgtd-{uid}")), true),
        };
        Self { path: directory.join("socket"), directory: Some(directory), private }
    }

    /// Chooses the path by environment and user. It is absolute, because the daemon changes its working directory.
    ///
    /// # Errors
    /// `TGT_IPC_SOCKET` is relative and the current directory is unknown.
    pub(crate) fn from_environment() -> std::io::Result<Self> {
        let requested = std::env::var_os("TGT_IPC_SOCKET").map(std::path::absolute).transpose()?;
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let uid = rustix::process::geteuid().as_raw();
        Ok(Self::choose(requested, uid, runtime, &std::env::temp_dir()))
    }

    /// Creates the directory if it does not exist. A private directory of another user is refused, because that user
    /// could replace the socket.
    ///
    /// # Errors
    /// The directory cannot be created, or is private and belongs to another user.
    pub(crate) fn make_directory(&self) -> Result<(), Failure> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let mode = if self.private { 0o700 } else { 0o755 };
        match DirBuilder::new().mode(mode).create(directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(Failure::file("create the control socket's directory", directory)(error));
            }
            _ => {}
        }
        let found = std::fs::symlink_metadata(directory);
        let found = found.map_err(Failure::file("use the control socket's directory", directory))?;
        let is_own =
            found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0;
        if self.private && !is_own {
            let error = std::io::Error::from_raw_os_error(EACCES);
            return Err(Failure::file("trust the control socket's directory", directory)(error));
        }
        Ok(())
    }
}

/// Builds the server and binds control socket and portals. Files of `--export` are created after that, so that a start
/// that fails for another reason creates none.
///
/// # Errors
/// A socket cannot be bound, a file cannot be exported, or the identity cannot be read or written.
pub(crate) fn bind(args: &Args) -> Result<(Server, ShutdownHandle), Failure> {
    if let Some(threads) = args.io_threads {
        // It fails only if the pool is in use already.
        let _ = Workers::limit_shared(worker_limits(threads.into()));
    }
    let base = SocketBase::from_environment().map_err(Failure::process("find the current directory"))?;
    base.make_directory()?;
    let names = export::target_names(&args.exports);
    let exports: Vec<(Export, String)> = args.exports.iter().cloned().zip(names).collect();
    let mut portals = args.portals();
    if portals.portals.is_empty() && !exports.is_empty() {
        portals.portals = vec![PortalSpec { host: "127.0.0.1".to_owned(), port: DEFAULT_PORT }];
    }
    let requests = export_requests(&exports, &portals.portals);
    let (detached, control_port) = (args.detached, args.control_port);
    let mut builder = Server::builder(Arc::new(Stores(Registry::builtin())))
        .control_socket(socket_path(Some(base.path.as_os_str()), args.control_port))
        .portals(portals)
        .target_loops(args.target_loops)
        .shared_loops(args.loops.unwrap_or(0))
        .defaults(if args.compat_defaults { Defaults::Tgt } else { Defaults::Fast })
        .chap_algorithms(args.chap_algorithms.clone())
        .connection_bounds(args.connection_bounds())
        .identity(if args.compat_ids {
            Identity::Compatible
        } else {
            identity::resolve(args.identity.as_ref())?
        })
        .debug(args.debug())
        .requests(requests)
        .on_ready(move |portals| {
            if !exports.is_empty() {
                print_in_background(export::instructions(&exports, portals, &base.path, control_port));
            }
            ready(detached);
        });
    let shutdown = builder.shutdown_handle().map_err(Failure::process("create a pipe"))?;
    let server = builder.bind()?;
    args.exports.iter().try_for_each(Export::prepare)?;
    Ok((server, shutdown))
}

/// Limits of the pool of worker threads. As in tgt, `--nr_iothreads` is the number of each unit; the pool has at least
/// as many.
fn worker_limits(threads_per_unit_max: usize) -> Limits {
    let defaults = Limits::default();
    Limits { threads_per_unit_max, threads_max: defaults.threads_max.max(threads_per_unit_max), ..defaults }
}

/// Prints a text to standard output from a new thread, because standard output may be a pipe that nobody reads.
fn print_in_background(text: String) {
    let print = move || {
        let mut out = std::io::stdout();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    };
    if let Err(error) = std::thread::Builder::new().name("instructions".to_owned()).spawn(print) {
        log::warn!("cannot print the instructions: {error}");
    }
}

/// Notifies systemd and the process that started this one that the daemon serves.
fn ready(detached: bool) {
    daemon::notify_ready();
    if detached && let Err(failure) = daemon::release_starter() {
        log::warn!("{failure}");
    }
}

/// The requests that create a target with one unit for each export and bind the admitted addresses.
pub(crate) fn export_requests(exports: &[(Export, String)], portals: &[PortalSpec]) -> Vec<Request> {
    let admitted = export::admitted(portals);
    let mut requests = Vec::new();
    for (tid, (export, name)) in (1..).filter_map(Tid::new).zip(exports) {
        requests.push(Request::TargetNew { tid, name: name.clone() });
        let path = export.path.to_string_lossy().into_owned();
        let strings = UnitStrings { path: Some(path), ..UnitStrings::default() };
        requests.push(Request::UnitNew { tid, lun: 1, device_type: DISK, strings });
        requests.extend(admitted.iter().map(|address| {
            let rule = Binding::Initiators { address: Some(address.clone()), name: None };
            Request::TargetBind { tid, rule }
        }));
    }
    requests
}

/// Direct-access block device (SPC-4 6.6.2).
const DISK: u32 = 0x00;
const EACCES: i32 = 13;

#[cfg(test)]
mod tests {
    use target_engine::model::store::OpenFlags as SpecFlags;

    use super::*;

    fn spec(kind: &str, path: &Path) -> StoreSpec {
        StoreSpec {
            kind: kind.to_owned(),
            path: path.to_string_lossy().into_owned(),
            options: String::new(),
            flags: SpecFlags::default(),
            block_len: 512,
            read_only: false,
        }
    }

    #[test]
    fn engine_opens_stores_of_the_registry() {
        let stores = Stores(Registry::builtin());
        assert!(stores.kinds().iter().any(|kind| kind.name == "rdwr" && kind.takes_flags));
        assert!(stores.kinds().iter().any(|kind| kind.name == "null" && !kind.takes_flags));

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk.img");
        std::fs::write(&path, [0; 8192]).unwrap();
        let store = stores.open(&spec("rdwr", &path)).unwrap();
        assert_eq!(store.geometry().size, 8192);

        let missing = stores.open(&spec("rdwr", &directory.path().join("none"))).err().unwrap();
        assert!(missing.contains("none"), "{missing}");
        let unknown = stores.open(&spec("floppy", &path)).err().unwrap();
        assert!(unknown.contains("floppy") && unknown.contains("rdwr"), "{unknown}");
        let mut flagged = spec("null", Path::new(""));
        flagged.flags.sync = true;
        assert!(stores.open(&flagged).is_err(), "flags reach the registry");
    }

    #[test]
    fn control_socket_is_in_a_directory_of_its_user() {
        let temporary = Path::new("/tmp");
        let choose = |requested: Option<&str>, uid, runtime: Option<&str>| {
            let chosen =
                SocketBase::choose(requested.map(PathBuf::from), uid, runtime.map(PathBuf::from), temporary);
            (chosen.path.to_string_lossy().into_owned(), chosen.directory.is_some(), chosen.private)
        };
        assert_eq!(choose(Some("/x/s"), 1000, Some("/run/user/1000")), ("/x/s".into(), false, false));
        assert_eq!(choose(None, 0, Some("/run/user/0")), ("/var/run/tgtd/socket".into(), true, false));
        assert_eq!(
            choose(None, 1000, Some("/run/user/1000")),
            ("/run/user/1000/tgtd/socket".into(), true, true)
        );
        assert_eq!(choose(None, 1000, Some("relative")), ("/tmp/tgtd-1000/socket".into(), true, true));
        assert_eq!(choose(None, 1000, None), ("/tmp/tgtd-1000/socket".into(), true, true));
    }

    #[test]
    fn private_directory_is_created_and_that_of_another_user_is_refused() {
        use std::os::unix::fs::PermissionsExt;

        let temporary = tempfile::tempdir().unwrap();
        let base = SocketBase::choose(None, 1000, None, temporary.path());
        base.make_directory().unwrap();
        base.make_directory().unwrap();
        let directory = base.directory.clone().unwrap();
        assert_eq!(std::fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);

        std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o777)).unwrap();
        assert_eq!(base.make_directory().unwrap_err().exit_code(), 13, "others can write there");
        std::fs::remove_dir(&directory).unwrap();
        std::os::unix::fs::symlink(temporary.path(), &directory).unwrap();
        assert!(base.make_directory().is_err(), "it is a symbolic link");
    }

    #[test]
    fn unit_may_use_as_many_threads_as_configured() {
        let (few, many) = (worker_limits(2), worker_limits(500));
        assert_eq!((few.threads_per_unit_max, few.threads_max), (2, Limits::default().threads_max));
        assert_eq!((many.threads_per_unit_max, many.threads_max), (500, 500));
    }

    #[test]
    fn export_is_a_target_with_one_unit_that_admits_loopback() {
        let exports = [(Export { path: "/a".into(), size: None }, "iqn.x:a".to_owned())];
        let requests = export_requests(&exports, &[]);
        let tid = Tid::new(1).unwrap();
        assert_eq!(requests[0], Request::TargetNew { tid, name: "iqn.x:a".into() });
        let strings = UnitStrings { path: Some("/a".to_owned()), ..UnitStrings::default() };
        assert_eq!(requests[1], Request::UnitNew { tid, lun: 1, device_type: 0, strings });
        let admits = |address: &str| {
            let rule = Binding::Initiators { address: Some(address.to_owned()), name: None };
            requests.contains(&Request::TargetBind { tid, rule })
        };
        assert!(admits("127.0.0.0/8") && admits("::1"));
        assert_eq!(requests.len(), 4);
    }
}
