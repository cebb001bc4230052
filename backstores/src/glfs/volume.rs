//! Handles of volumes.
#![allow(unsafe_code)] // Calls of a C library.

use std::ffi::CString;
use std::io::Error;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::functions::{Functions, VolumeHandle};
use super::name::Settings;

/// A volume. It stays open until the process ends: threads of gfapi go on for a moment after `glfs_fini` has freed what
/// they use, in version 10.3.
pub(super) struct Volume {
    handle: VolumeHandle,
}

/// Volumes that were opened, or could not be: one for each volume, hosts and options. Each failure counts too.
///
/// Hit by: operator. Scope: daemon. Over it: the store is not opened. Seen: reply to the request.
const VOLUMES_MAX: usize = 64;

static VOLUMES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: gfapi permits calls with one handle from several threads.
unsafe impl Send for Volume {}
// SAFETY: see above.
unsafe impl Sync for Volume {}

impl Volume {
    /// Opens a volume. Blocks as long as gfapi does.
    ///
    /// # Errors
    /// The text says what gfapi refuses.
    pub(super) fn open(functions: &'static Functions, settings: &Settings) -> Result<Self, String> {
        let name = c_text(&settings.volume)?;
        if VOLUMES.fetch_add(1, Ordering::Relaxed) >= VOLUMES_MAX {
            VOLUMES.fetch_sub(1, Ordering::Relaxed);
            return Err(format!(
                "libgfapi has opened {VOLUMES_MAX} volumes, those that failed included; restart the daemon to open others"
            ));
        }
        // SAFETY: the text ends with a zero byte.
        let handle = unsafe { (functions.glfs_new)(name.as_ptr()) };
        if handle.is_null() {
            return Err(format!("volume '{}': {}", settings.volume, Error::last_os_error()));
        }
        let volume = Self { handle };
        let (transport, log) = (c_text(settings.transport)?, c_text(&settings.logfile)?);
        // SAFETY: the handle is new, and the texts end with a zero byte.
        if unsafe { (functions.glfs_set_logging)(handle, log.as_ptr(), settings.loglevel) } < 0 {
            return Err(format!("log file {}: {}", settings.logfile, Error::last_os_error()));
        }
        for host in &settings.hosts {
            let (text, port) = (c_text(host)?, settings.port.into());
            // SAFETY: the handle is new, and the texts end with a zero byte.
            let set = unsafe {
                (functions.glfs_set_volfile_server)(handle, transport.as_ptr(), text.as_ptr(), port)
            };
            if set < 0 {
                return Err(format!("host '{host}': {}", Error::last_os_error()));
            }
        }
        // SAFETY: the handle is new and has a server.
        if unsafe { (functions.glfs_init)(handle) } < 0 {
            let (error, hosts) = (Error::last_os_error(), settings.hosts.join("|"));
            return Err(format!("volume '{}' at {hosts} cannot be opened: {error}", settings.volume));
        }
        Ok(volume)
    }

    pub(super) fn handle(&self) -> VolumeHandle {
        self.handle
    }
}

/// Converts text for the library.
///
/// # Errors
/// It contains a zero byte.
pub(super) fn c_text(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| "a text contains a zero byte".to_owned())
}
