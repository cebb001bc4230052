//! `curve`: a volume of CurveBS, by the protocol of nebd-server on the same host.
//!
//! NEBD ("network block device") is Curve's own server between clients and the library of the cluster, so that the library
//! can be exchanged while volumes are open. Its clients need no library: they send frames over a unix socket.
//!
//! | module | contents |
//! | --- | --- |
//! | `name` | names of volumes |
//! | `protobuf`, `wire` | frames and messages |
//! | `protocol` | `Nebd`: a volume on a connection of a loop |
//! | `client` | requests that block |
//! | `conf` | the configuration file of NEBD's clients |
//! | `fuzzing` | a fuzz target |
//! | `lock` | the lock files of volumes |
//! | `volumes` | the open volumes of the process, and heartbeats |
//! | `whole_blocks` | `WholeBlocks`: a layer for units with smaller blocks than their volume |

mod client;
mod conf;
pub mod fuzzing;
mod lock;
mod name;
mod protobuf;
mod protocol;
mod volumes;
mod whole_blocks;
mod wire;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use scsi_core::store::{BLOCK_ALIGNMENT, Backstore, Capabilities, Engines, Geometry, IoError, Port};

use self::conf::ClientConf;
use self::name::VolumeName;
use self::protocol::{Nebd, Settings};
use self::volumes::{Key, Mode, Volume, Volumes};
use self::whole_blocks::WholeBlocks;
use crate::registry::{Kind, OpenError, OpenOptions, PathUse};
use crate::remote::{self, Address, Server};

/// A volume of CurveBS.
struct Curve {
    name: String,
    read_only: bool,
    server: Arc<Server<Nebd>>,
    volume: Arc<Volume>,
}

/// The kind `curve`, with a table of open volumes of its own.
#[must_use]
pub fn kind() -> Kind {
    let volumes = Arc::new(Volumes::default());
    Kind {
        name: "curve",
        summary: "a volume of CurveBS, by nebd-server on this host",
        sync: true,
        direct: true,
        path: PathUse::Name,
        options: &["nebd-conf", "socket", "lock-dir", "conf", "exclusive", "timeout", "open-timeout"],
        open: Arc::new(move |options| open(&volumes, options)),
    }
}

fn open(volumes: &Arc<Volumes>, options: &OpenOptions) -> Result<Arc<dyn Backstore>, OpenError> {
    let refused = |why: String| OpenError::refused(&options.path, why);
    let name = VolumeName::parse(options.name()?, options.option("conf"));
    let name = name.map_err(|why| refused(why.to_owned()))?;
    let exclusive = match options.option("exclusive") {
        None | Some("0") => false,
        Some("1") => true,
        Some(value) => return Err(bad("exclusive", value, "expected 0 or 1")),
    };
    let timeout = seconds(options, "timeout", TIMEOUT)?;
    let open_timeout = seconds(options, "open-timeout", OPEN_TIMEOUT)?
        .ok_or_else(|| bad("open-timeout", "0", "expected more than 0 seconds"))?;
    let (socket, lock_directory) = places(options)?;
    let (key, mode) = (Key { socket, name }, Mode { exclusive, lock_directory });
    let deadline = Instant::now() + open_timeout;
    let volume = volumes.open(&key, &mode, deadline).map_err(|error| refused(error.to_string()))?;
    let name = key.name.as_str().to_owned();
    let settings = Arc::new(Settings { name: name.clone(), exclusive, read_only: options.read_only });
    // Every loop keeps the volume open, because it keeps the server.
    let opened = volume.clone();
    let server = Server::open(
        remote::Settings {
            name: name.clone(),
            address: Address::Unix(key.socket),
            connections: 1,
            timeout,
            open_timeout,
            trusts_server: true,
            size_poll: None,
            #[cfg(feature = "nbd-tls")]
            tls: None,
        },
        Box::new(move || Nebd::new(settings.clone(), opened.facts.clone())),
    )
    .map_err(refused)?;
    let store = Arc::new(Curve { name, read_only: options.read_only, server, volume });
    let block_len = store.volume.facts.info().block_len;
    if options.block_len < block_len || block_len > BLOCK_ALIGNMENT as u32 {
        return Ok(Arc::new(WholeBlocks::new(store, block_len)));
    }
    Ok(store)
}

/// Socket and lock directory: from the options, or the configuration file of NEBD's clients, or as in NEBD's packages.
fn places(options: &OpenOptions) -> Result<(PathBuf, PathBuf), OpenError> {
    let named = options.option("nebd-conf").map(Path::new);
    let conf = match ClientConf::read(named.unwrap_or(Path::new(CLIENT_CONF))) {
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            ClientConf::default()
        }
        Err(source) => {
            return Err(OpenError::Io { path: named.unwrap_or(Path::new(CLIENT_CONF)).into(), source });
        }
        Ok(conf) => conf,
    };
    let place = |key, conf: Option<PathBuf>, default: &str| {
        options.option(key).map(PathBuf::from).or(conf).unwrap_or_else(|| default.into())
    };
    Ok((place("socket", conf.socket, SOCKET), place("lock-dir", conf.lock_directory, LOCK_DIRECTORY)))
}

/// An option in seconds; `None`: 0, for ever.
fn seconds(
    options: &OpenOptions,
    key: &'static str,
    default: Duration,
) -> Result<Option<Duration>, OpenError> {
    let Some(value) = options.option(key) else { return Ok(Some(default)) };
    match value.parse::<u32>() {
        Ok(0) => Ok(None),
        Ok(seconds) => Ok(Some(Duration::from_secs(seconds.into()))),
        Err(_) => Err(bad(key, value, "expected a number of seconds")),
    }
}

fn bad(key: &'static str, value: &str, why: &'static str) -> OpenError {
    OpenError::BadOption { key, value: value.to_owned(), why }
}

impl Backstore for Curve {
    fn kind(&self) -> &'static str {
        "curve"
    }

    fn name(&self) -> Cow<'_, str> {
        self.name.as_str().into()
    }

    fn geometry(&self) -> Geometry {
        let info = self.volume.facts.info();
        Geometry { size: info.size, physical_block_len: info.block_len }
    }

    fn capabilities(&self) -> Capabilities {
        let block_len = self.volume.facts.info().block_len;
        Capabilities {
            read_only: self.read_only,
            fua: true,
            discard: !self.read_only,
            alignment: block_len,
            discard_granularity: block_len,
            ..Capabilities::NONE
        }
    }

    fn refresh(&self) -> Result<Geometry, IoError> {
        self.server.check()?;
        Ok(self.geometry())
    }

    fn attach(&self, engines: &mut Engines) -> Result<Port, IoError> {
        let (engine, all): (_, &mut remote::Engine<Nebd>) = engines.of_kind(remote::Engine::new)?;
        Ok(Port { engine, slot: all.attach(self.server.clone()) })
    }
}

/// The configuration file of NEBD's clients.
const CLIENT_CONF: &str = "/etc/nebd/nebd-client.conf";
/// The socket of nebd-server, and the directory of its clients' lock files, as in its packages.
const SOCKET: &str = "/data/nebd/nebd.sock";
const LOCK_DIRECTORY: &str = "/data/nebd/lock";
/// Time after which a request that is not answered fails: nebd-server does not answer failed requests unless it is
/// configured to.
const TIMEOUT: Duration = Duration::from_secs(60);
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);
