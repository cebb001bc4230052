//! A store as the server holds it: its geometry is checked when it is opened, and a panic in it is an error of the store.

use std::borrow::Cow;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;
use scsi_core::store::{Backstore, Capabilities, Engines, Geometry, IoError, Port, panic_message};

use crate::model::store::StoreSpec;

/// A store and its last answers.
pub(super) struct Guarded {
    /// `None` only while it is dropped.
    below: Option<Arc<dyn Backstore>>,
    kind: &'static str,
    name: String,
    /// Locked to read or write it, never during a call of the store.
    answered: Mutex<(Geometry, Capabilities)>,
}

impl Guarded {
    /// Wraps a store that was opened as `spec`. Called on an opener thread.
    ///
    /// # Errors
    /// A disk cannot have its geometry, or the store panics.
    pub(super) fn new(below: Arc<dyn Backstore>, spec: &StoreSpec) -> Result<Arc<Self>, String> {
        let name = if spec.path.is_empty() { spec.kind.clone() } else { spec.path.clone() };
        let facts = catch(&name, || (below.kind(), below.geometry(), below.capabilities()));
        let Some((kind, geometry, capabilities)) = facts else {
            catch(&name, || drop(below));
            return Err(format!("{name}: the store panicked"));
        };
        let guarded = Self { below: Some(below), kind, name, answered: Mutex::new((geometry, capabilities)) };
        let checked = geometry.check(capabilities.alignment, spec.block_len);
        checked.map_err(|wrong| format!("{}: {wrong}", guarded.name))?;
        Ok(Arc::new(guarded))
    }

    /// Calls the store. `None`: it panicked, which is logged.
    fn call<T>(&self, call: impl FnOnce(&dyn Backstore) -> T) -> Option<T> {
        let below = self.below.as_deref()?;
        catch(&self.name, || call(below))
    }
}

impl Backstore for Guarded {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn name(&self) -> Cow<'_, str> {
        self.name.as_str().into()
    }

    fn geometry(&self) -> Geometry {
        let asked = self.call(|store| store.geometry());
        let mut answered = self.answered.lock();
        // A geometry that a disk cannot have is ignored.
        if let Some(geometry) = asked.filter(|new| new.check(1, 512).is_ok()) {
            answered.0 = geometry;
        }
        answered.0
    }

    fn capabilities(&self) -> Capabilities {
        let asked = self.call(|store| store.capabilities());
        let mut answered = self.answered.lock();
        if let Some(capabilities) = asked {
            // Operations under way rely on it.
            answered.1 = Capabilities { alignment: answered.1.alignment, ..capabilities };
        }
        answered.1
    }

    fn refresh(&self) -> Result<Geometry, IoError> {
        let geometry = self.call(|store| store.refresh()).unwrap_or(Err(IoError::ABANDONED))?;
        if let Err(wrong) = geometry.check(1, 512) {
            log::error!("{}: {wrong}", self.name);
            return Err(IoError::MISBEHAVED);
        }
        Ok(geometry)
    }

    fn has_lost_writes(&self) -> bool {
        self.call(|store| store.has_lost_writes()).unwrap_or(false)
    }

    fn flush(&self) -> Result<(), IoError> {
        self.call(|store| store.flush()).unwrap_or(Err(IoError::ABANDONED))
    }

    fn attach(&self, engines: &mut Engines) -> Result<Port, IoError> {
        // The loop catches its panic: it must know which engine failed.
        self.below.as_deref().ok_or(IoError::NOT_READY)?.attach(engines)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let below = self.below.take();
        catch(&self.name, || drop(below));
    }
}

fn catch<T>(name: &dyn Display, call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call))
        .map_err(|payload| log::error!("{name}: the store panicked: {}", panic_message(payload)))
        .ok()
}
