//! `longhorn`: a volume of Longhorn, by the data socket of its engine on this host.
//!
//! Longhorn starts the daemon of its target with options of this kind, and replaces its engine under the same path when it
//! is upgraded; requests that the previous one has not answered are sent to the next.

pub mod fuzzing;
mod protocol;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use scsi_core::store::{Backstore, Capabilities, Engines, Geometry, IoError, Port};

use self::protocol::Longhorn;
use crate::registry::{Kind, OpenError, OpenOptions, PathUse};
use crate::remote::{self, Address, Server};

/// A volume of Longhorn.
struct Volume {
    name: String,
    size: u64,
    read_only: bool,
    server: Arc<Server<Longhorn>>,
}

/// The kind `longhorn`.
#[must_use]
pub fn kind() -> Kind {
    Kind {
        name: "longhorn",
        summary: "a volume of Longhorn, by the socket of its engine",
        sync: false,
        direct: false,
        path: PathUse::File,
        options: &["size", "request_timeout"],
        open: Arc::new(open),
    }
}

fn open(options: &OpenOptions) -> Result<Arc<dyn Backstore>, OpenError> {
    let bad = |key, value: &str, why| OpenError::BadOption { key, value: value.to_owned(), why };
    let size = options.size_option()?;
    let size = size.ok_or_else(|| bad("size", "", "expected the size of the volume in bytes"))?;
    let timeout = match options.option("request_timeout") {
        None => Some(TIMEOUT),
        Some(value) => match value.parse::<u32>() {
            Ok(0) => None,
            Ok(seconds) => Some(Duration::from_secs(seconds.into())),
            Err(_) => return Err(bad("request_timeout", value, "expected a number of seconds")),
        },
    };
    let (name, read_only) = (options.path.display().to_string(), options.read_only);
    let server = Server::open(
        remote::Settings {
            name: name.clone(),
            address: Address::Unix(options.path.clone()),
            connections: 1,
            timeout,
            open_timeout: OPEN_TIMEOUT,
            trusts_server: true,
            size_poll: None,
            #[cfg(feature = "nbd-tls")]
            tls: None,
        },
        Box::new(move || Longhorn::new(size, read_only)),
    )
    .map_err(|why| OpenError::refused(&options.path, why))?;
    Ok(Arc::new(Volume { name, size, read_only, server }))
}

impl Backstore for Volume {
    fn kind(&self) -> &'static str {
        "longhorn"
    }

    fn name(&self) -> Cow<'_, str> {
        self.name.as_str().into()
    }

    fn geometry(&self) -> Geometry {
        Geometry { size: self.size, physical_block_len: BLOCK_LEN }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            read_only: self.read_only,
            fua: true,
            discard: !self.read_only,
            alignment: BLOCK_LEN,
            ..Capabilities::NONE
        }
    }

    /// The size is that of the option `size`; the engine does not report another one.
    fn refresh(&self) -> Result<Geometry, IoError> {
        Ok(self.geometry())
    }

    fn attach(&self, engines: &mut Engines) -> Result<Port, IoError> {
        let (engine, all): (_, &mut remote::Engine<Longhorn>) = engines.of_kind(remote::Engine::new)?;
        Ok(Port { engine, slot: all.attach(self.server.clone()) })
    }
}

const BLOCK_LEN: u32 = 512;
/// Longhorn's own default of `request_timeout`.
const TIMEOUT: Duration = Duration::from_secs(15);
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);
