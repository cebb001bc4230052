//! `glfs`: files on GlusterFS volumes, by libgfapi, which is loaded when the first file is opened.
//!
//! | module | contents |
//! | --- | --- |
//! | `name` | names of files, options |
//! | `functions` | the functions of the library |
//! | `volume` | handles of volumes |
//! | `file` | an open file and the calls on it |
//! | `store` | the store over a file |
//!
//! gfapi connects again by itself after a server was away, and calls fail meanwhile; they are repeated.

mod file;
mod functions;
mod name;
mod store;
mod volume;

use std::sync::{Arc, LazyLock};

use scsi_core::store::Backstore;

use self::functions::Functions;
use self::name::Settings;
use self::store::Glfs;
use self::volume::Volume;
use crate::library::{Shared, WaitError, wait_for};
use crate::registry::{Kind, OpenError, OpenOptions, PathUse};

/// The kind `glfs`.
#[must_use]
pub fn kind() -> Kind {
    Kind {
        name: name::NAME,
        summary: "a file on a GlusterFS volume, by libgfapi",
        sync: true,
        direct: true,
        path: PathUse::Name,
        options: name::OPTIONS,
        open: Arc::new(open),
    }
}

/// The volumes of the process.
static VOLUMES: LazyLock<Shared<Settings, Volume>> = LazyLock::new(Shared::default);

fn open(options: &OpenOptions) -> Result<Arc<dyn Backstore>, OpenError> {
    let refused = |why: String| OpenError::refused(&options.path, why);
    let (settings, file) = name::parse(options)?;
    let deadline = file.open_timeout;
    let functions = Functions::load().map_err(|why| refused(format!("libgfapi is not available: {why}")))?;
    let options = options.clone();
    let opened = wait_for(deadline, move || {
        let volume = VOLUMES.get(&settings, |_| true, || Volume::open(functions, &settings))?;
        if Arc::strong_count(&volume) == 1 {
            // The table must find it again.
            std::mem::forget(volume.clone());
        }
        Glfs::open(volume, functions, file, &options)
    });
    match opened {
        Ok(Ok(store)) => Ok(Arc::new(store)),
        Ok(Err(why)) => Err(refused(why)),
        Err(WaitError::Deadline) => {
            Err(refused(format!("the servers did not answer within {} seconds", deadline.as_secs())))
        }
        Err(other) => Err(refused(other.to_string())),
    }
}
