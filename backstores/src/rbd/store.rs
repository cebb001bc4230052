//! The store over an image.

#![allow(unsafe_code)] // Calls of a C library.

use std::borrow::Cow;
use std::ffi::{CString, c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use scsi_core::store::{Backstore, Capabilities, Engines, Geometry, IoError, Port};

use super::cluster::{Cluster, c_text};
use super::functions::{Functions, ImageHandle, IoCtx};
use super::image::{Image, Opened};
use super::name::{ImageName, NAME, OPEN_TIMEOUT};
use crate::library::{During, Medium, attach, errno_text, wait_for};
use crate::registry::OpenOptions;
use crate::workers::Workers;

/// An image of a Ceph cluster. Dropping it waits for the calls on the image.
pub(super) struct Rbd {
    image: Arc<Image>,
    /// Handle of the watch of the image; `None` for images that cannot change.
    watch: Option<u64>,
    discard_granularity: u32,
    // Dropped in this order, after the image is closed.
    _pool: Pool,
    _cluster: Arc<Cluster>,
}

/// A pool of a cluster.
struct Pool {
    functions: &'static Functions,
    handle: IoCtx,
}

// SAFETY: librados permits calls with one handle from several threads (librados.h).
unsafe impl Send for Pool {}
// SAFETY: see above.
unsafe impl Sync for Pool {}

impl Rbd {
    /// Opens an image. Blocks while the servers do not answer.
    ///
    /// # Errors
    /// The text says what is refused.
    pub(super) fn open(
        cluster: Arc<Cluster>,
        functions: &'static Functions,
        name: &ImageName,
        options: &OpenOptions,
    ) -> Result<Self, String> {
        let pool = Pool::open(&cluster, functions, name)?;
        let (handle, read_only) = open_image(&pool, name, options.read_only)?;
        let image = Arc::new(Image::new(Opened {
            functions,
            handle,
            name: options.path.display().to_string(),
            read_only,
            sync: options.bsoflags.sync,
            cluster_fenced: cluster.fenced().clone(),
            workers: Workers::shared().unit(),
        }));
        let granularity = cluster.number(c"rbd_discard_granularity_bytes").unwrap_or(0);
        let mut store = Self {
            image,
            watch: None,
            discard_granularity: u32::try_from(granularity).unwrap_or(0),
            _pool: pool,
            _cluster: cluster,
        };
        let failed = |errno| format!("the size of the image cannot be read: {}", errno_text(errno));
        let size = store.image.read_size().map_err(failed)?;
        if size < u64::from(options.block_len.max(512)) {
            return Err(format!(
                "has {size} bytes, and a unit needs at least one block of {}",
                options.block_len
            ));
        }
        if !read_only {
            store.watch();
        }
        Ok(store)
    }

    /// Registers for changes of the image.
    fn watch(&mut self) {
        let mut watch = 0;
        let argument = Arc::as_ptr(&self.image).cast_mut().cast();
        let register = self.image.functions.rbd_update_watch;
        // SAFETY: the image is open, and `changed` takes a pointer to it, which is valid until `Drop` ends the watch.
        match self.image.blocking(|image| unsafe { register(image, &mut watch, changed, argument) }) {
            Ok(()) => self.watch = Some(watch),
            Err(errno) => log::warn!(
                "{}: changes of its size are not noticed, because it cannot be watched: {}",
                self.image.name,
                errno_text(errno)
            ),
        }
    }
}

/// The callback of `rbd_update_watch`, on a thread of librbd.
unsafe extern "C" fn changed(argument: *mut c_void) {
    // SAFETY: the argument is the image, and `Rbd`, which has a handle of it, ends the watch before it drops that.
    let image = unsafe { &*argument.cast::<Image>() };
    image.listeners().resized();
}

impl Pool {
    fn open(cluster: &Cluster, functions: &'static Functions, name: &ImageName) -> Result<Self, String> {
        let (pool, namespace) = (c_text(&name.pool)?, c_text(&name.namespace)?);
        let mut handle = null_mut();
        // SAFETY: the connection is open; the result is written to `handle`.
        match unsafe { (functions.rados_ioctx_create)(cluster.handle(), pool.as_ptr(), &mut handle) } {
            0 => {}
            code if -code == Errno::NOENT.raw_os_error() => return Err(format!("no pool '{}'", name.pool)),
            code => return Err(format!("pool '{}': {}", name.pool, errno_text(-code))),
        }
        // SAFETY: the pool is open, and the text ends with a zero byte.
        unsafe { (functions.rados_ioctx_set_namespace)(handle, namespace.as_ptr()) };
        Ok(Self { functions, handle })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: the pool is open, and its image is closed.
        unsafe { (self.functions.rados_ioctx_destroy)(self.handle) }
    }
}

/// Opens the image, for reading only if it is a snapshot, if that is wanted, or if the client has no permission to write.
fn open_image(pool: &Pool, name: &ImageName, read_only: bool) -> Result<(ImageHandle, bool), String> {
    let image = c_text(&name.image)?;
    let snapshot: Option<CString> = name.snapshot.as_deref().map(c_text).transpose()?;
    let snapshot_at = snapshot.as_ref().map_or(null(), |text| text.as_ptr());
    let open = |read_only: bool| {
        let f = pool.functions;
        let open = if read_only { f.rbd_open_read_only } else { f.rbd_open };
        let mut handle = null_mut();
        // SAFETY: the pool is open, and the texts end with a zero byte; the result is written to `handle`.
        let code = unsafe { open(pool.handle, image.as_ptr(), &mut handle, snapshot_at) };
        if code < 0 { Err(-code) } else { Ok(handle) }
    };
    let failed = |errno: c_int| match Errno::from_raw_os_error(errno) {
        Errno::NOENT if snapshot.is_some() => "no such image or snapshot".to_owned(),
        Errno::NOENT => format!("no image '{}' in the pool '{}'", name.image, name.pool),
        _ => format!("the image cannot be opened: {}", errno_text(errno)),
    };
    if read_only || snapshot.is_some() {
        return open(true).map(|handle| (handle, true)).map_err(failed);
    }
    match open(false) {
        Ok(handle) => Ok((handle, false)),
        Err(errno) => match Errno::from_raw_os_error(errno) {
            Errno::PERM | Errno::ACCESS | Errno::ROFS => {
                let handle = open(true).map_err(failed)?;
                log::warn!("{}/{}: no permission to write, opened read-only", name.pool, name.image);
                Ok((handle, true))
            }
            _ => Err(failed(errno)),
        },
    }
}

impl Backstore for Rbd {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn name(&self) -> Cow<'_, str> {
        self.image.name.as_str().into()
    }

    fn geometry(&self) -> Geometry {
        Geometry { size: self.image.size() & !511, physical_block_len: 512 }
    }

    fn capabilities(&self) -> Capabilities {
        let writable = !self.image.read_only;
        Capabilities {
            read_only: !writable,
            // The cache of librbd, whose settings an image can override.
            volatile_cache: writable && !self.image.sync,
            fua: true,
            // Less than the granularity is not discarded, so that discarded blocks may keep their contents.
            discard: writable,
            write_zeroes: writable,
            allocation: true,
            discard_granularity: self.discard_granularity,
            ..Capabilities::NONE
        }
    }

    fn refresh(&self) -> Result<Geometry, IoError> {
        let image = self.image.clone();
        match wait_for(Duration::from_secs(OPEN_TIMEOUT.into()), move || image.read_size()) {
            Ok(Ok(512..)) => Ok(self.geometry()),
            Ok(Ok(_)) => Err(IoError::NOT_READY),
            Ok(Err(errno)) => Err(self.image.error(During::Read, 0, errno)),
            Err(_) => Err(IoError::UNREACHABLE),
        }
    }

    fn has_lost_writes(&self) -> bool {
        self.image.is_fenced()
    }

    fn flush(&self) -> Result<(), IoError> {
        if self.image.read_only {
            return Ok(());
        }
        let flush = self.image.functions.rbd_flush;
        // SAFETY: the image is open.
        let flushed = self.image.blocking(|image| unsafe { flush(image) });
        flushed.map_err(|errno| self.image.error(During::Flush, 0, errno))
    }

    fn attach(&self, engines: &mut Engines) -> Result<Port, IoError> {
        attach(&self.image, engines)
    }
}

impl Drop for Rbd {
    fn drop(&mut self) {
        if let Some(watch) = self.watch {
            let end = self.image.functions.rbd_update_unwatch;
            // SAFETY: the image is open and the watch registered. librbd waits for a callback that runs.
            if let Err(errno) = self.image.blocking(|image| unsafe { end(image, watch) }) {
                log::warn!("{}: the watch cannot be ended: {}", self.image.name, errno_text(errno));
            }
        }
        self.image.close();
    }
}
