//! A daemon like tgtd with one more kind of store, `hang`, in memory: it hangs when it is told to.
//!
//! ```text
//! hanging_tgtd CONTROL-SOCKET PORTAL
//! ```
//!
//! On standard input `hold` makes all stores of that kind hang and `release` ends it; a file `held` is there as long.

use std::fs::{self, File};
use std::io::{self, BufRead};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backstores::layer::delay::Delay;
use backstores::registry::{Kind, OpenError, OpenOptions, Registry};
use scsi_core::store::Backstore;
use target_engine::model::portal::PortalOptions;
use target_engine::model::store::{StoreKind, StoreOpener, StoreSpec};
use target_engine::runtime::server::Server;

const HANG: Kind = Kind {
    name: "hang",
    summary: "in memory, and hangs when it is told to",
    sync: false,
    direct: false,
    needs_path: false,
    options: &[],
    open,
};

/// Bytes of each.
const SIZE: u64 = 16 << 20;

/// All that were opened.
static HANGING: Mutex<Vec<Arc<Delay>>> = Mutex::new(Vec::new());

fn open(options: &OpenOptions) -> Result<Arc<dyn Backstore>, OpenError> {
    let options = OpenOptions { size: Some(SIZE), path: PathBuf::new(), ..options.clone() };
    let memory = Registry::builtin().open("memory", &options)?;
    let store = Arc::new(Delay::new(memory, Duration::ZERO));
    HANGING.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&store));
    Ok(store)
}

#[derive(Debug)]
struct Stores(Registry);

impl StoreOpener for Stores {
    fn kinds(&self) -> Vec<StoreKind> {
        let kinds = self.0.kinds().iter();
        kinds.map(|kind| StoreKind { name: kind.name, takes_flags: false }).collect()
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

/// Does what standard input says until it ends.
fn obey() -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        let stores = HANGING.lock().unwrap_or_else(PoisonError::into_inner);
        match line?.as_str() {
            "hold" => {
                stores.iter().for_each(|store| store.hold());
                File::create("held")?;
            }
            "release" => {
                stores.iter().for_each(|store| store.release());
                fs::remove_file("held")?;
            }
            other => eprintln!("hold or release, not {other}"),
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
    registry.add(HANG);
    let portals = match PortalOptions::parse(&format!("portal={portal}")) {
        Ok(portals) => portals,
        Err(error) => {
            eprintln!("{portal}: {error}");
            return ExitCode::FAILURE;
        }
    };
    std::thread::spawn(obey);
    let server = Server::builder(Arc::new(Stores(registry))).portals(portals).control_socket(socket.into());
    match server.bind().and_then(Server::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hanging_tgtd: {error}");
            ExitCode::FAILURE
        }
    }
}
