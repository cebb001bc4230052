//! Stores over a shared library with threads of its own, which completes operations by callbacks: `librbd`, `libgfapi`.
//!
//! The libraries are opened at run time (`dlopen`), so that the program needs them only for units of their kinds.
//!
//! | module | contents |
//! | --- | --- |
//! | `medium` | what an open image or file provides |
//! | `call` | calls of a library |
//! | `engine` | the engine of one loop for all stores of a library |
//! | `request` | an operation at the library, and the way back from its callback |
//! | `listeners` | the loops that learn of a changed size |
//! | `load` | shared libraries |
//! | `shared` | handles that stores with equal settings share |
//! | `gate` | closing a handle when its last call has ended |
//! | `wait` | calls that may never return, with a deadline |

mod call;
mod engine;
mod gate;
mod listeners;
mod load;
mod medium;
mod request;
mod shared;
#[cfg(test)]
mod tests;
mod wait;

use std::ffi::c_int;

pub(crate) use self::call::{Call, During, Ended, Transfer, changes, range};
pub(crate) use self::engine::attach;
pub(crate) use self::gate::Gate;
pub(crate) use self::listeners::Listeners;
pub(crate) use self::load::load;
pub(crate) use self::medium::Medium;
pub(crate) use self::request::Request;
pub(crate) use self::shared::Shared;
pub(crate) use self::wait::{WaitError, wait_for};
use crate::registry::{OpenError, OpenOptions};

/// Returns the value of an option that is a number of seconds, from 1 to 86400.
///
/// # Errors
/// The value is another one.
pub(crate) fn seconds(options: &OpenOptions, key: &'static str) -> Result<Option<u32>, OpenError> {
    let Some(value) = options.option(key) else { return Ok(None) };
    match value.parse() {
        Ok(seconds @ 1..=86400) => Ok(Some(seconds)),
        _ => {
            let why = "expected a number of seconds from 1 to 86400";
            Err(OpenError::BadOption { key, value: value.to_owned(), why })
        }
    }
}

/// Text of an error number.
pub(crate) fn errno_text(errno: c_int) -> String {
    std::io::Error::from_raw_os_error(errno).to_string()
}
