//! tgtd with one loop for all targets and two kinds of store: `bad`, which violates the contract of stores as its path
//! says ([`Fault`]), and `memory`.
//!
//! ```text
//! bad_tgtd CONTROL-SOCKET PORTAL
//! ```
//!
//! It logs to standard error. The logger panics on a failed read of a unit with the path `Error`, which is a panic of a
//! loop outside its stores.

use std::process::ExitCode;
use std::sync::Arc;

use backstores::memory::Memory;
use log::{LevelFilter, Log, Metadata, Record};
use scsi_core::store::Backstore;
use target_engine::model::portal::PortalOptions;
use target_engine::model::store::{StoreKind, StoreOpener, StoreSpec};
use target_engine::runtime::server::Server;
use tgt_tests::bad_store::{BadStore, Fault};

struct Stores;

impl StoreOpener for Stores {
    fn kinds(&self) -> Vec<StoreKind> {
        ["bad", "memory"].map(|name| StoreKind { name, takes_flags: false, needs_medium: false }).to_vec()
    }

    fn open(&self, spec: &StoreSpec) -> Result<Arc<dyn Backstore>, String> {
        if spec.kind == "memory" {
            return Ok(Arc::new(Memory::new(2 << 20)));
        }
        let fault = Fault::named(&spec.path).ok_or_else(|| format!("{}: unknown fault", spec.path))?;
        assert!(fault != Fault::PanicOpen, "open panics");
        Ok(Arc::new(BadStore::new(fault)))
    }
}

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = record.args().to_string();
        eprintln!("{} {line}", record.level());
        assert!(!line.contains("Error: read at"), "the log panics");
    }

    fn flush(&self) {}
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(socket), Some(portal), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        eprintln!("usage: bad_tgtd CONTROL-SOCKET PORTAL");
        return ExitCode::FAILURE;
    };
    let portals = match PortalOptions::parse(&format!("portal={portal}")) {
        Ok(portals) => portals,
        Err(error) => {
            eprintln!("{portal}: {error}");
            return ExitCode::FAILURE;
        }
    };
    // No other logger is set.
    let _ = log::set_logger(&Stderr);
    log::set_max_level(LevelFilter::Info);
    let server = Server::builder(Arc::new(Stores)).portals(portals).control_socket(socket.into());
    match server.shared_loops(1).bind().and_then(Server::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bad_tgtd: {error}");
            ExitCode::FAILURE
        }
    }
}
