//! The functions of `librados.so.2` and `librbd.so.1` that are used, with their types from the headers of Ceph 16.2.

#![allow(unsafe_code)] // Calls of a C library.

use std::ffi::{c_char, c_int, c_void};
use std::sync::OnceLock;

use crate::library::load;

/// `rados_t`: a connection to a cluster.
pub(super) type Rados = *mut c_void;
/// `rados_ioctx_t`: a pool of a cluster, with a namespace.
pub(super) type IoCtx = *mut c_void;
/// `rbd_image_t`: an open image.
pub(super) type ImageHandle = *mut c_void;
/// `rbd_completion_t`: a call that the library completes by a callback.
pub(super) type CompletionHandle = *mut c_void;
/// `rbd_callback_t`.
pub(super) type Callback = unsafe extern "C" fn(CompletionHandle, *mut c_void);
/// `rbd_update_callback_t`.
pub(super) type UpdateCallback = unsafe extern "C" fn(*mut c_void);
/// The callback of `rbd_diff_iterate2`: offset, length, whether the extent exists, argument.
pub(super) type DiffCallback = unsafe extern "C" fn(u64, usize, c_int, *mut c_void) -> c_int;

/// Defines [`Functions`] and the look-up of each.
macro_rules! functions {
    ($($library:ident($file:literal, $package:literal) { $($name:ident($($argument:ty),*) $(-> $result:ty)?;)* })*) => {
        /// The functions, looked up once. Tests fill it with their own.
        #[derive(Clone, Copy)]
        pub(super) struct Functions {
            $($(pub(super) $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*)*
        }

        impl Functions {
            fn look_up() -> Result<Self, String> {
                $(let $library = load($file, $package)?;)*
                Ok(Self {
                    $($(
                        // SAFETY: the type of the field is that of the header.
                        $name: unsafe { $library.function(stringify!($name), None) }?,
                    )*)*
                })
            }
        }
    };
}

functions! {
    rados("librados.so.2", "librados2") {
        rados_create2(*mut Rados, *const c_char, *const c_char, u64) -> c_int;
        rados_conf_parse_env(Rados, *const c_char) -> c_int;
        rados_conf_read_file(Rados, *const c_char) -> c_int;
        rados_conf_set(Rados, *const c_char, *const c_char) -> c_int;
        rados_conf_get(Rados, *const c_char, *mut c_char, usize) -> c_int;
        rados_connect(Rados) -> c_int;
        rados_shutdown(Rados);
        rados_ioctx_create(Rados, *const c_char, *mut IoCtx) -> c_int;
        rados_ioctx_set_namespace(IoCtx, *const c_char);
        rados_ioctx_destroy(IoCtx);
    }
    rbd("librbd.so.1", "librbd1") {
        rbd_open(IoCtx, *const c_char, *mut ImageHandle, *const c_char) -> c_int;
        rbd_open_read_only(IoCtx, *const c_char, *mut ImageHandle, *const c_char) -> c_int;
        rbd_close(ImageHandle) -> c_int;
        rbd_get_size(ImageHandle, *mut u64) -> c_int;
        rbd_flush(ImageHandle) -> c_int;
        rbd_update_watch(ImageHandle, *mut u64, UpdateCallback, *mut c_void) -> c_int;
        rbd_update_unwatch(ImageHandle, u64) -> c_int;
        rbd_diff_iterate2(ImageHandle, *const c_char, u64, u64, u8, u8, DiffCallback, *mut c_void) -> c_int;
        rbd_aio_create_completion(*mut c_void, Callback, *mut CompletionHandle) -> c_int;
        rbd_aio_get_return_value(CompletionHandle) -> isize;
        rbd_aio_release(CompletionHandle);
        rbd_aio_read(ImageHandle, u64, usize, *mut c_char, CompletionHandle) -> c_int;
        rbd_aio_write(ImageHandle, u64, usize, *const c_char, CompletionHandle) -> c_int;
        rbd_aio_flush(ImageHandle, CompletionHandle) -> c_int;
        rbd_aio_discard(ImageHandle, u64, u64, CompletionHandle) -> c_int;
        rbd_aio_write_zeroes(ImageHandle, u64, usize, CompletionHandle, c_int, c_int) -> c_int;
    }
}

/// Flag of `rbd_aio_write_zeroes`: the zeroes occupy space.
pub(super) const THICK: c_int = 1;

impl Functions {
    /// Loads the libraries on first use.
    ///
    /// # Errors
    /// A library is not installed, or lacks a function. The next call tries again.
    pub(super) fn load() -> Result<&'static Self, String> {
        static FUNCTIONS: OnceLock<Functions> = OnceLock::new();
        if let Some(loaded) = FUNCTIONS.get() {
            return Ok(loaded);
        }
        let functions = Self::look_up()?;
        Ok(FUNCTIONS.get_or_init(|| functions))
    }
}
