//! `nbd`: the export of an NBD server, as nbdkit, qemu-nbd and qemu-storage-daemon.
//!
//! | module | contents |
//! | --- | --- |
//! | `uri` | the path of a store |
//! | `options` | `bsopts` |
//! | `fuzzing` | fuzz targets |
//! | `facts` | what a server says about an export |
//! | `handshake` | fixed newstyle negotiation |
//! | `transmission`, `ranges` | requests and replies; the parts of a read that were received |
//! | `protocol` | the protocol of a connection: the handshake, then the transmission |

mod facts;
pub mod fuzzing;
mod handshake;
mod options;
mod protocol;
mod ranges;
mod transmission;
mod uri;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use scsi_core::store::{Backstore, BlockOp, Capabilities, Engines, Geometry, IoError, Port};

use self::options::Options;
use self::protocol::{Export, Nbd};
use self::uri::Uri;
use crate::registry::{Kind, OpenError, OpenOptions, PathUse};
use crate::remote::{Engine, Server, Settings};

const NAME: &str = "nbd";

/// The kind `nbd`.
#[must_use]
pub fn kind() -> Kind {
    Kind {
        name: NAME,
        summary: "the export of an NBD server; the path is its URI",
        sync: false,
        direct: false,
        path: PathUse::Name,
        options: options::NAMES,
        open: Arc::new(|options| Ok(Arc::new(open(options)?))),
    }
}

/// The export of an NBD server.
struct NbdStore {
    /// The path as it was given.
    name: String,
    read_only: bool,
    export: Arc<Export>,
    server: Arc<Server<Nbd>>,
}

fn open(options: &OpenOptions) -> Result<NbdStore, OpenError> {
    let name = options.name()?.to_owned();
    let refused = |why: String| OpenError::refused(&options.path, why);
    let uri = Uri::parse(&name).map_err(refused)?;
    let Options { connections, timeout, open_timeout, trusts_server, size_poll } = Options::parse(options)?;
    #[cfg(feature = "nbd-tls")]
    let tls = uri.tls.as_ref().map(|tls| tls_settings(&uri, tls)).transpose().map_err(refused)?;
    #[cfg(not(feature = "nbd-tls"))]
    if uri.tls.is_some() {
        return Err(refused("this program is built without TLS".to_owned()));
    }
    let export = Arc::new(Export::new(uri.export, uri.tls.is_some(), options.block_len, connections));
    let settings = Settings {
        name: name.clone(),
        address: uri.address,
        connections,
        timeout,
        open_timeout,
        trusts_server,
        size_poll,
        #[cfg(feature = "nbd-tls")]
        tls: tls.map(Arc::new),
    };
    let shared = Arc::clone(&export);
    let server = Server::open(settings, Box::new(move || Nbd::new(Arc::clone(&shared)))).map_err(refused)?;
    Ok(NbdStore { name, read_only: options.read_only, export, server })
}

#[cfg(feature = "nbd-tls")]
fn tls_settings(uri: &Uri, tls: &uri::TlsOptions) -> Result<crate::remote::TlsSettings, String> {
    use crate::remote::{Address, TlsSettings};
    let host = match &uri.address {
        Address::Tcp { host, .. } => host.as_str(),
        Address::Unix(_) => "localhost",
    };
    let host = tls.hostname.as_deref().unwrap_or(host);
    TlsSettings::new(tls.certificates.as_deref(), host, tls.verifies_peer)
}

impl Backstore for NbdStore {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn name(&self) -> Cow<'_, str> {
        self.name.as_str().into()
    }

    fn geometry(&self) -> Geometry {
        self.export.facts().geometry()
    }

    fn capabilities(&self) -> Capabilities {
        self.export.facts().capabilities(self.read_only)
    }

    /// Asks the server on another connection, unless a connection has found another size since the last call.
    fn refresh(&self) -> Result<Geometry, IoError> {
        if !self.export.resized.swap(false, Ordering::AcqRel) {
            self.server.check()?;
            self.export.resized.store(false, Ordering::Release);
        }
        Ok(self.geometry())
    }

    fn flush(&self) -> Result<(), IoError> {
        if self.read_only || !self.export.facts().volatile_cache() {
            return Ok(());
        }
        self.server.run(BlockOp::Flush)
    }

    fn attach(&self, engines: &mut Engines) -> Result<Port, IoError> {
        let (engine, all) = engines.of_kind(Engine::<Nbd>::new)?;
        Ok(Port { engine, slot: all.attach(Arc::clone(&self.server)) })
    }
}
