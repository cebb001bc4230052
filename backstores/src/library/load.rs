//! Shared libraries that are opened at run time.
#![allow(unsafe_code)] // Calls of the dynamic linker.

use std::ffi::{CStr, CString, c_void};

/// An open library. It stays open until the process ends, because its threads may outlive every store.
pub(crate) struct Loaded {
    file: &'static str,
    handle: *mut c_void,
}

/// Opens a library.
///
/// # Errors
/// It cannot be loaded; the text names the Debian package that has it.
pub(crate) fn load(file: &'static str, package: &str) -> Result<Loaded, String> {
    let name = CString::new(file).map_err(|error| error.to_string())?;
    // SAFETY: the constructors of the libraries that this crate loads set up only their own state.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if handle.is_null() {
        return Err(format!("install the package {package} ({})", linker_error()));
    }
    Ok(Loaded { file, handle })
}

impl Loaded {
    /// Returns the address of a function, in a version if one is given.
    ///
    /// # Errors
    /// The library does not have it.
    ///
    /// # Safety
    /// `F` is the type of the function.
    pub(crate) unsafe fn function<F: Copy>(&self, name: &str, version: Option<&str>) -> Result<F, String> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        let c_text = |text: &str| CString::new(text).map_err(|error| error.to_string());
        let (symbol, version) = (c_text(name)?, version.map(c_text).transpose()?);
        // SAFETY: the library is open, and the texts end with a zero byte.
        let address = unsafe {
            match &version {
                Some(version) => libc::dlvsym(self.handle, symbol.as_ptr(), version.as_ptr()),
                None => libc::dlsym(self.handle, symbol.as_ptr()),
            }
        };
        if address.is_null() {
            return Err(format!("{} is too old or too new ({})", self.file, linker_error()));
        }
        // SAFETY: the caller states the type, which is a pointer to a function.
        Ok(unsafe { std::mem::transmute_copy(&address) })
    }
}

/// Text of the last error of the dynamic linker on this thread.
fn linker_error() -> String {
    // SAFETY: the text, if any, is valid until the next call of the linker on this thread.
    unsafe {
        let text = libc::dlerror();
        if text.is_null() {
            "unknown error".to_owned()
        } else {
            CStr::from_ptr(text).to_string_lossy().into_owned()
        }
    }
}
