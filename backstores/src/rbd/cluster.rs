//! Connections to clusters.

#![allow(unsafe_code)] // Calls of a C library.

use std::ffi::{CStr, CString, c_char, c_int};
use std::path::Path;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::functions::{Functions, Rados};
use super::name::{Key, Settings};
use crate::library::errno_text;

/// A connection to a cluster. Dropping it blocks.
pub(super) struct Cluster {
    functions: &'static Functions,
    handle: Rados,
    /// Whether the cluster refuses this client: another connection is needed.
    fenced: Arc<AtomicBool>,
}

// SAFETY: librados permits calls with one handle from several threads (librados.h).
unsafe impl Send for Cluster {}
// SAFETY: see above.
unsafe impl Sync for Cluster {}

impl Cluster {
    /// Connects. Blocks as long as librados does.
    ///
    /// # Errors
    /// The text says what librados refuses.
    pub(super) fn connect(functions: &'static Functions, settings: &Settings) -> Result<Self, String> {
        let failed = |what: &str, code: c_int| format!("{what}: {}", errno_text(-code));
        let name = c_text(&format!("client.{}", settings.id))?;
        let cluster = c_text(&settings.cluster)?;
        let mut handle = null_mut();
        // SAFETY: the texts end with a zero byte; the result is written to `handle`.
        match unsafe { (functions.rados_create2)(&mut handle, cluster.as_ptr(), name.as_ptr(), 0) } {
            0 => {}
            code => return Err(failed("rados_create2", code)),
        }
        let made = Self { functions, handle, fenced: Arc::default() };
        // SAFETY: the handle is open; NULL is the default variable.
        match unsafe { (functions.rados_conf_parse_env)(handle, std::ptr::null()) } {
            0 => {}
            code => return Err(failed("the variable CEPH_ARGS", code)),
        }
        made.read_conf(settings.conf.as_deref())?;
        // A loop must not wait in librbd. A version that does not know the option never waits.
        let _ = made.set("rbd_non_blocking_aio", "true");
        match &settings.key {
            Key::Keyring => {}
            Key::File(path) => {
                std::fs::metadata(path).map_err(|error| format!("key file {}: {error}", path.display()))?;
                made.set("keyfile", path.to_str().ok_or("the path of the key file is not UTF-8")?)?;
            }
            Key::Text(key) => made.set("key", key)?,
        }
        if let Some(cache) = settings.cache {
            made.set("rbd_cache", if cache { "true" } else { "false" })?;
        }
        if let Some(seconds) = settings.timeout {
            made.set("rados_osd_op_timeout", &seconds.to_string())?;
            made.set("rados_mon_op_timeout", &seconds.to_string())?;
        }
        // SAFETY: the handle is open and not connected.
        match unsafe { (functions.rados_connect)(handle) } {
            0 => Ok(made),
            code => Err(failed(&format!("cannot connect to the cluster as client.{}", settings.id), code)),
        }
    }

    /// Reads the configuration.
    fn read_conf(&self, path: Option<&Path>) -> Result<(), String> {
        let place =
            path.map_or("the configuration of the cluster".to_owned(), |path| path.display().to_string());
        let text = path.map(|path| c_text(path.to_str().unwrap_or_default())).transpose()?;
        let text = text.as_deref().map_or(std::ptr::null(), CStr::as_ptr);
        // SAFETY: the handle is open, and the path NULL or a text that ends with a zero byte.
        match unsafe { (self.functions.rados_conf_read_file)(self.handle, text) } {
            0 => Ok(()),
            code => Err(format!("{place}: {}", errno_text(-code))),
        }
    }

    /// Sets an option of the client. The error does not contain the value.
    fn set(&self, option: &str, value: &str) -> Result<(), String> {
        let (name, value) = (c_text(option)?, c_text(value)?);
        // SAFETY: the handle is open, and the texts end with a zero byte.
        match unsafe { (self.functions.rados_conf_set)(self.handle, name.as_ptr(), value.as_ptr()) } {
            0 => Ok(()),
            code => Err(format!("option {option} of the client: {}", errno_text(-code))),
        }
    }

    /// Returns a number of the configuration.
    pub(super) fn number(&self, option: &CStr) -> Option<u64> {
        let mut text = [0_u8; 64];
        let at: *mut c_char = text.as_mut_ptr().cast();
        // SAFETY: the handle is open; librados writes at most the given number of bytes, with a zero byte at the end.
        let code = unsafe { (self.functions.rados_conf_get)(self.handle, option.as_ptr(), at, text.len()) };
        let text = CStr::from_bytes_until_nul(&text).ok().filter(|_| code == 0)?;
        text.to_str().ok()?.trim().parse().ok()
    }

    pub(super) fn handle(&self) -> Rados {
        self.handle
    }

    /// Whether the cluster accepts this client.
    pub(super) fn is_usable(&self) -> bool {
        !self.fenced.load(Ordering::Acquire)
    }

    /// Set when the cluster refuses this client: the next image gets a new connection.
    pub(super) fn fenced(&self) -> &Arc<AtomicBool> {
        &self.fenced
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and every pool and image of it is closed, because each keeps the connection.
        unsafe { (self.functions.rados_shutdown)(self.handle) }
    }
}

/// Converts text for the libraries.
///
/// # Errors
/// It contains a zero byte.
pub(super) fn c_text(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| "a text contains a zero byte".to_owned())
}
