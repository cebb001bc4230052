//! The store over a file of a volume.
#![allow(unsafe_code)] // Calls of a C library.

use std::borrow::Cow;
use std::ffi::c_int;
use std::io::Error;
use std::ptr::null_mut;
use std::sync::Arc;
use std::time::Duration;

use scsi_core::store::{Backstore, Capabilities, Engines, Geometry, IoError, Port};

use super::file::{File, Opened};
use super::functions::{FileHandle, Functions};
use super::name::{FileSettings, NAME, OPEN_TIMEOUT};
use super::volume::{Volume, c_text};
use crate::library::{During, Medium, attach, errno_text, wait_for};
use crate::registry::OpenOptions;
use crate::workers::Workers;

/// A file of a GlusterFS volume. Dropping it waits for the calls on the file.
pub(super) struct Glfs {
    file: Arc<File>,
    allocation: bool,
    // Dropped after the file is closed.
    _volume: Arc<Volume>,
}

impl Glfs {
    /// Opens a file. Blocks while the servers do not answer.
    ///
    /// # Errors
    /// The text says what is refused.
    pub(super) fn open(
        volume: Arc<Volume>,
        functions: &'static Functions,
        settings: FileSettings,
        options: &OpenOptions,
    ) -> Result<Self, String> {
        let (handle, read_only) = open_file(&volume, functions, &settings.path, options)?;
        let file = Arc::new(File::new(Opened {
            functions,
            handle,
            name: options.path.display().to_string(),
            read_only,
            sync: options.bsoflags.sync,
            direct: options.bsoflags.direct,
            timeout: settings.timeout,
            trusts_servers: settings.trusts_servers,
            workers: Workers::shared().serial(),
        }));
        let mut store = Self { file, allocation: false, _volume: volume };
        let failed = |errno| format!("the size of the file cannot be read: {}", errno_text(errno));
        let size = store.file.read_size().map_err(failed)?;
        if size < u64::from(options.block_len.max(512)) {
            return Err(format!(
                "has {size} bytes, and a unit needs at least one block of {}",
                options.block_len
            ));
        }
        let data = store.file.seek(0, libc::SEEK_DATA);
        store.allocation = matches!(data, Ok(_) | Err(libc::ENXIO));
        Ok(store)
    }
}

/// Opens the file, for reading only if that is wanted, or if there is no permission to write.
fn open_file(
    volume: &Volume,
    functions: &'static Functions,
    path: &str,
    options: &OpenOptions,
) -> Result<(FileHandle, bool), String> {
    let text = c_text(path)?;
    let direct = if options.bsoflags.direct { libc::O_DIRECT } else { 0 };
    let open = |access: c_int| {
        // SAFETY: the volume is open, and the text ends with a zero byte.
        let handle = unsafe { (functions.glfs_open)(volume.handle(), text.as_ptr(), access | direct) };
        if handle.is_null() { Err(Error::last_os_error()) } else { Ok(handle) }
    };
    let failed = |error: Error| format!("file '{path}': {error}");
    if options.read_only {
        return open(libc::O_RDONLY).map(|handle| (handle, true)).map_err(failed);
    }
    match open(libc::O_RDWR) {
        Ok(handle) => Ok((handle, false)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EROFS)) => {
            let handle = open(libc::O_RDONLY).map_err(failed)?;
            log::warn!("{}: no permission to write, opened read-only", options.path.display());
            Ok((handle, true))
        }
        Err(error) => Err(failed(error)),
    }
}

impl Backstore for Glfs {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn name(&self) -> Cow<'_, str> {
        self.file.opened.name.as_str().into()
    }

    fn geometry(&self) -> Geometry {
        Geometry { size: self.file.size() & !511, physical_block_len: 512 }
    }

    fn capabilities(&self) -> Capabilities {
        let opened = &self.file.opened;
        let writable = !opened.read_only;
        Capabilities {
            read_only: !writable,
            volatile_cache: writable && !opened.sync,
            fua: true,
            discard: writable,
            discard_zeroes: writable,
            write_zeroes: writable,
            allocation: self.allocation,
            alignment: if opened.direct { 512 } else { 1 },
            ..Capabilities::NONE
        }
    }

    fn refresh(&self) -> Result<Geometry, IoError> {
        let file = self.file.clone();
        match wait_for(Duration::from_secs(OPEN_TIMEOUT.into()), move || file.read_size()) {
            Ok(Ok(512..)) => Ok(self.geometry()),
            Ok(Ok(_)) => Err(IoError::NOT_READY),
            Ok(Err(errno)) => Err(self.file.error(During::Read, 0, errno)),
            Err(_) => Err(IoError::UNREACHABLE),
        }
    }

    fn flush(&self) -> Result<(), IoError> {
        if self.file.opened.read_only {
            return Ok(());
        }
        let flush = self.file.opened.functions.glfs_fdatasync;
        // SAFETY: the file is open; the attributes are not wanted.
        let flushed = self.file.blocking(|file| unsafe { flush(file, null_mut(), null_mut()) }.into());
        flushed.map(drop).map_err(|errno| self.file.error(During::Flush, 0, errno))
    }

    fn attach(&self, engines: &mut Engines) -> Result<Port, IoError> {
        attach(&self.file, engines)
    }
}

impl Drop for Glfs {
    fn drop(&mut self) {
        self.file.close();
    }
}
