//! Handles of volumes.
#![allow(unsafe_code)] // Calls of a C library.

use std::ffi::CString;
use std::io::Error;

use super::functions::{Functions, VolumeHandle};
use super::name::Settings;

/// A volume. Dropping it takes seconds.
pub(super) struct Volume {
    functions: &'static Functions,
    handle: VolumeHandle,
}

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
        // SAFETY: the text ends with a zero byte.
        let handle = unsafe { (functions.glfs_new)(name.as_ptr()) };
        if handle.is_null() {
            return Err(format!("volume '{}': {}", settings.volume, Error::last_os_error()));
        }
        let volume = Self { functions, handle };
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

impl Drop for Volume {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and every file of it is closed, because each keeps the volume.
        unsafe { (self.functions.glfs_fini)(self.handle) };
    }
}

/// Converts text for the library.
///
/// # Errors
/// It contains a zero byte.
pub(super) fn c_text(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| "a text contains a zero byte".to_owned())
}
