//! tgtd with one more kind of backing store, `hang`: memory whose operations hang on request.
//!
//! ```text
//! hanging_tgtd CONTROL-SOCKET PORTAL
//! ```
//!
//! On standard input, `hold` makes the operations of all stores of that kind hang and `release` lets them complete. The
//! file `held` exists in the working directory while they hang. `hold-close` and `release-close` do the same for the
//! closing of these stores, with the file `close-held`.

use std::fs::{self, File};
use std::io::{self, BufRead};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use backstores::layer::delay::Delay;
use backstores::registry::{Kind, OpenError, OpenOptions, PathUse, Registry};
use scsi_core::store::{Backstore, Capabilities, Engines, Geometry, IoError, Port};
use target_engine::model::portal::PortalOptions;
use target_engine::model::store::{StoreKind, StoreOpener, StoreSpec};
use target_engine::runtime::server::Server;

/// The kind of these stores.
const NAME: &str = "hang";

fn kind() -> Kind {
    Kind {
        name: NAME,
        summary: "memory whose operations hang on request",
        sync: false,
        direct: false,
        path: PathUse::Unused,
        options: &[],
        open: Arc::new(open),
    }
}

/// Size of each store in bytes.
const SIZE: u64 = 16 << 20;

/// All stores of the kind that were opened.
static HANGING: Mutex<Vec<Weak<Delay>>> = Mutex::new(Vec::new());

/// Whether closing of stores hangs.
static CLOSE_HELD: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// A store whose operations and closing can hang.
struct Hanging(Arc<Delay>);

impl Backstore for Hanging {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn refresh(&self) -> Result<Geometry, IoError> {
        self.0.refresh()
    }

    fn attach(&self, engines: &mut Engines) -> Result<Port, IoError> {
        self.0.attach(engines)
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        let held = CLOSE_HELD.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(CLOSE_HELD.1.wait_while(held, |held| *held));
    }
}

fn hold_close(held: bool) {
    *CLOSE_HELD.0.lock().unwrap_or_else(PoisonError::into_inner) = held;
    CLOSE_HELD.1.notify_all();
}

fn open(options: &OpenOptions) -> Result<Arc<dyn Backstore>, OpenError> {
    let options = OpenOptions { size: Some(SIZE), path: PathBuf::new(), ..options.clone() };
    let memory = Registry::builtin().open("memory", &options)?;
    let store = Arc::new(Delay::new(memory, Duration::ZERO));
    HANGING.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&store));
    Ok(Arc::new(Hanging(store)))
}

#[derive(Debug)]
struct Stores(Registry);

impl StoreOpener for Stores {
    fn kinds(&self) -> Vec<StoreKind> {
        let kinds = self.0.kinds().iter();
        kinds.map(|kind| StoreKind { name: kind.name, takes_flags: false, needs_medium: false }).collect()
    }

    fn open(&self, spec: &StoreSpec) -> Result<Arc<dyn Backstore>, String> {
        let options = OpenOptions {
            path: PathBuf::from(&spec.path),
            bsopts: spec.options.clone(),
            bsoflags: backstores::registry::OpenFlags::default(),
            read_only: spec.read_only,
            block_len: spec.block_len,
            size: None,
        };
        self.0.open(&spec.kind, &options).map_err(|error| error.to_string())
    }
}

/// Executes the commands of standard input until its end.
fn run_commands() -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        let stores = HANGING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stores = stores.iter().filter_map(Weak::upgrade);
        match line?.as_str() {
            "hold" => {
                stores.by_ref().for_each(|store| store.hold());
                File::create("held")?;
            }
            "release" => {
                stores.by_ref().for_each(|store| store.release());
                fs::remove_file("held")?;
            }
            "hold-close" => {
                hold_close(true);
                File::create("close-held")?;
            }
            "release-close" => {
                hold_close(false);
                fs::remove_file("close-held")?;
            }
            other => eprintln!(
                "hanging_tgtd: unknown command {other}; valid: hold, release, hold-close, release-close"
            ),
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(socket), Some(portal), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        eprintln!("usage: hanging_tgtd CONTROL-SOCKET PORTAL");
        return ExitCode::FAILURE;
    };
    let mut registry = Registry::builtin();
    registry.add(kind());
    let portals = match PortalOptions::parse(&format!("portal={portal}")) {
        Ok(portals) => portals,
        Err(error) => {
            eprintln!("{portal}: {error}");
            return ExitCode::FAILURE;
        }
    };
    std::thread::spawn(run_commands);
    let server = Server::builder(Arc::new(Stores(registry))).portals(portals).control_socket(socket.into());
    match server.bind().and_then(Server::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hanging_tgtd: {error}");
            ExitCode::FAILURE
        }
    }
}
