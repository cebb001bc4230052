//! Puts the daemon together: the stores there are, the control socket's place, portals, exports, the server.

use std::fs::DirBuilder;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backstores::registry::{OpenFlags, OpenOptions, Registry};
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

/// The registry of stores, as the engine asks for stores.
#[derive(Debug)]
pub(crate) struct Stores(pub(crate) Registry);

impl StoreOpener for Stores {
    fn kinds(&self) -> Vec<StoreKind> {
        let kinds = self.0.kinds().iter();
        kinds.map(|kind| StoreKind { name: kind.name, takes_flags: kind.sync && kind.direct }).collect()
    }

    fn remark(&self) -> Option<String> {
        let refused = backstores::file::ring_refused()?;
        log::warn!("file I/O goes by worker threads: {refused}");
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

/// What the control socket's name is without its suffix, and the directory to be made for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SocketBase {
    /// The name without `.N`.
    pub(crate) path: PathBuf,
    /// Made if it is missing; `None` where the user chose the place.
    pub(crate) directory: Option<PathBuf>,
    /// Nobody else may enter the directory.
    pub(crate) private: bool,
}

impl SocketBase {
    /// `TGT_IPC_SOCKET` if set; stock's place for root; else where this user may write.
    pub(crate) fn choose(
        asked: Option<PathBuf>,
        uid: u32,
        runtime_directory: Option<PathBuf>,
        temporary: &Path,
    ) -> Self {
        let (directory, private) = match (asked, uid, runtime_directory) {
            (Some(path), _, _) => return Self { path, directory: None, private: false },
            (None, 0, _) => (PathBuf::from("/var/run/tgtd"), false),
            (None, _, Some(runtime)) if runtime.is_absolute() => (runtime.join("tgtd"), true),
            (None, uid, _) => (temporary.join(format!("tgtd-{uid}")), true),
        };
        Self { path: directory.join("socket"), directory: Some(directory), private }
    }
}

impl SocketBase {
    /// The base by environment and user; absolute, because the daemon may change its directory.
    pub(crate) fn from_environment() -> std::io::Result<Self> {
        let asked = std::env::var_os("TGT_IPC_SOCKET").map(std::path::absolute).transpose()?;
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let uid = rustix::process::geteuid().as_raw();
        Ok(Self::choose(asked, uid, runtime, &std::env::temp_dir()))
    }

    /// Makes the directory where it is missing. A private one that somebody else made first is refused: whoever owns
    /// it could put another socket in our place.
    ///
    /// # Errors
    /// It cannot be made, or it is not ours.
    pub(crate) fn make_directory(&self) -> Result<(), Failure> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let mode = if self.private { 0o700 } else { 0o755 };
        match DirBuilder::new().mode(mode).create(directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(Failure::file("make the control socket's directory", directory)(error));
            }
            _ => {}
        }
        let found = std::fs::symlink_metadata(directory);
        let found = found.map_err(Failure::file("use the control socket's directory", directory))?;
        let ours =
            found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0;
        if self.private && !ours {
            let error = std::io::Error::from_raw_os_error(EACCES);
            return Err(Failure::file("trust the control socket's directory", directory)(error));
        }
        Ok(())
    }
}

/// Takes control socket and portals; what remains is to run it. Exported files are made only after that, so that a
/// start that fails for another reason makes none.
///
/// # Errors
/// What could not be taken, or an export that cannot be.
pub(crate) fn bind(args: &Args) -> Result<(Server, ShutdownHandle), Failure> {
    if let Some(threads) = args.io_threads {
        // Nothing has used the pool yet.
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
        .defaults(if args.compat_defaults { Defaults::Stock } else { Defaults::Fast })
        .chap_algorithms(args.chap_algorithms.clone())
        .identity(if args.compat_ids { Identity::Compatible } else { identity::of(args.identity.as_ref())? })
        .debug(args.debug())
        .requests(requests)
        .on_ready(move |portals| {
            if !exports.is_empty() {
                tell(export::instructions(&exports, portals, &base.path, control_port));
            }
            ready(detached);
        });
    let shutdown = builder.shutdown_handle().map_err(Failure::process("make a pipe"))?;
    let server = builder.bind()?;
    args.exports.iter().try_for_each(Export::prepare)?;
    Ok((server, shutdown))
}

/// Stock's number is that of each unit's threads; the pool has room for at least one unit that uses them all.
fn worker_limits(threads_per_unit_max: usize) -> Limits {
    let defaults = Limits::default();
    Limits { threads_per_unit_max, threads_max: defaults.threads_max.max(threads_per_unit_max), ..defaults }
}

/// Prints it from a thread of its own: standard output may be a full pipe, and need not be read.
fn tell(text: String) {
    let print = move || {
        let mut out = std::io::stdout();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    };
    if let Err(error) = std::thread::Builder::new().name("instructions".to_owned()).spawn(print) {
        log::warn!("the instructions are not printed: {error}");
    }
}

/// Tells everybody who waits that the daemon serves.
fn ready(detached: bool) {
    daemon::notify_ready();
    if detached && let Err(failure) = daemon::release_starter() {
        log::warn!("{failure}");
    }
}

/// What an export asks of a daemon: a target, its unit, and who is let in.
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
    use target_engine::model::store::OpenFlags as AskedFlags;

    use super::*;

    fn spec(kind: &str, path: &Path) -> StoreSpec {
        StoreSpec {
            kind: kind.to_owned(),
            path: path.to_string_lossy().into_owned(),
            options: String::new(),
            flags: AskedFlags::default(),
            block_len: 512,
            read_only: false,
        }
    }

    #[test]
    fn the_engine_opens_stores_of_the_registry() {
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
    fn the_control_socket_is_where_its_user_may_write() {
        let temporary = Path::new("/tmp");
        let choose = |asked: Option<&str>, uid, runtime: Option<&str>| {
            let chosen =
                SocketBase::choose(asked.map(PathBuf::from), uid, runtime.map(PathBuf::from), temporary);
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
    fn a_private_directory_is_made_and_one_of_others_is_refused() {
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
        assert!(base.make_directory().is_err(), "it leads elsewhere");
    }

    #[test]
    fn a_unit_may_use_as_many_threads_as_asked() {
        let (few, many) = (worker_limits(2), worker_limits(500));
        assert_eq!((few.threads_per_unit_max, few.threads_max), (2, Limits::default().threads_max));
        assert_eq!((many.threads_per_unit_max, many.threads_max), (500, 500));
    }

    #[test]
    fn an_export_is_a_target_with_one_unit_open_to_loopback() {
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
