//! The functions of `libgfapi.so.0` that are used, with their types from the headers of GlusterFS 10.3.
#![allow(unsafe_code)] // Calls of a C library.

use std::ffi::{c_char, c_int, c_void};
use std::sync::OnceLock;

use crate::library::load;

/// `glfs_t`: a volume.
pub(super) type VolumeHandle = *mut c_void;
/// `glfs_fd_t`: an open file.
pub(super) type FileHandle = *mut c_void;
/// `glfs_io_cbk` of version 6.0: file, result, attributes before and after, argument. `errno` has the error if the result is
/// −1.
pub(super) type Callback = unsafe extern "C" fn(FileHandle, isize, *const c_void, *const c_void, *mut c_void);

/// `struct iovec`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct IoVec {
    pub(super) base: *mut c_void,
    pub(super) len: usize,
}

/// Defines [`Functions`] and the look-up of each in its version: the library has most functions twice, with other types.
macro_rules! functions {
    ($($version:literal { $($name:ident($($argument:ty),*) -> $result:ty;)* })*) => {
        /// The functions, looked up once. Tests fill it with their own.
        #[derive(Clone, Copy)]
        pub(super) struct Functions {
            $($(pub(super) $name: unsafe extern "C" fn($($argument),*) -> $result,)*)*
        }

        impl Functions {
            fn look_up() -> Result<Self, String> {
                let library = load("libgfapi.so.0", "libgfapi0")?;
                Ok(Self {
                    $($(
                        // SAFETY: the type of the field is that of this version in the header.
                        $name: unsafe { library.function(stringify!($name), Some($version)) }?,
                    )*)*
                })
            }
        }
    };
}

functions! {
    "GFAPI_3.4.0" {
        glfs_new(*const c_char) -> VolumeHandle;
        glfs_set_volfile_server(VolumeHandle, *const c_char, *const c_char, c_int) -> c_int;
        glfs_set_logging(VolumeHandle, *const c_char, c_int) -> c_int;
        glfs_init(VolumeHandle) -> c_int;
        glfs_open(VolumeHandle, *const c_char, c_int) -> FileHandle;
        glfs_close(FileHandle) -> c_int;
        glfs_lseek(FileHandle, i64, c_int) -> i64;
    }
    "GFAPI_6.0" {
        glfs_fdatasync(FileHandle, *mut c_void, *mut c_void) -> c_int;
        glfs_preadv_async(FileHandle, *const IoVec, c_int, i64, c_int, Callback, *mut c_void) -> c_int;
        glfs_pwritev_async(FileHandle, *const IoVec, c_int, i64, c_int, Callback, *mut c_void) -> c_int;
        glfs_fdatasync_async(FileHandle, Callback, *mut c_void) -> c_int;
        glfs_discard_async(FileHandle, i64, usize, Callback, *mut c_void) -> c_int;
        glfs_zerofill_async(FileHandle, i64, i64, Callback, *mut c_void) -> c_int;
    }
}

impl Functions {
    /// Loads the library on first use.
    ///
    /// # Errors
    /// The library is not installed, or lacks a function. The next call tries again.
    pub(super) fn load() -> Result<&'static Self, String> {
        static FUNCTIONS: OnceLock<Functions> = OnceLock::new();
        if let Some(loaded) = FUNCTIONS.get() {
            return Ok(loaded);
        }
        let functions = Self::look_up()?;
        Ok(FUNCTIONS.get_or_init(|| functions))
    }
}
