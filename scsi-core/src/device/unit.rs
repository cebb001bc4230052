//! A logical unit as all loops share it: its configuration, its medium, and what happened to it.
//!
//! The state is an immutable snapshot. Writers take one short lock, publish a new snapshot and count up
//! `generation`; ports look at the snapshot only when the generation moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::answer::Refusal;
use super::attention::AttentionLog;
pub use super::config::{DeviceType, ModePage, UnitConfig};
use super::fence::{FenceId, Fences};
use super::reservation::Reservations;
use super::{NexusId, Step};
use crate::sense::{AdditionalSense, Sense};
use crate::store::{Backstore, Capabilities, Geometry, IoError};

/// A logical unit.
pub struct Unit {
    /// Taken to read or swap the snapshot, never across a call to the store.
    state: Mutex<Arc<UnitState>>,
    generation: AtomicU64,
    fences: Fences,
    /// See `set_broken`.
    broken: AtomicBool,
}

impl std::fmt::Debug for Unit {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Unit")
    }
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

impl From<UpdateError> for Refusal {
    fn from(error: UpdateError) -> Self {
        Self::Sense(Sense::illegal_request(match error {
            UpdateError::RemovalPrevented => AdditionalSense::MEDIUM_REMOVAL_PREVENTED,
            UpdateError::BlockLength => AdditionalSense::INVALID_FIELD_IN_PARAMETER_LIST,
        }))
    }
}

/// Everything a port must know of the unit, as of one generation.
#[derive(Clone)]
pub(super) struct UnitState {
    pub(super) config: UnitConfig,
    store: Option<Arc<dyn Backstore>>,
    /// What the store said when it was last asked.
    look: Look,
    pub(super) reservations: Reservations,
    /// Nexuses that prevent the removal of the medium.
    prevented_by: Vec<NexusId>,
    pub(super) log: AttentionLog,
    pub(super) medium: Medium,
}

/// What a store says of itself.
#[derive(Clone, Copy)]
struct Look {
    geometry: Geometry,
    capabilities: Capabilities,
}

/// What follows from configuration and store, worked out once per change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Medium {
    /// There is a medium and it is online.
    pub(super) present: bool,
    /// Logical blocks; 0 without a store.
    pub(super) blocks: u64,
    /// The block length is 2 to this.
    pub(super) block_shift: u32,
    pub(super) physical_block_len: u32,
    pub(super) capabilities: Capabilities,
    pub(super) write_protected: bool,
    /// Writes are acknowledged from a cache (WCE).
    pub(super) write_cache: bool,
    /// Logical block provisioning is offered (LBPME).
    pub(super) thin: bool,
}

/// MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT of VPD page B0h.
pub(super) const UNMAP_DESCRIPTORS_MAX: u32 = 256;

/// MAXIMUM TRANSFER LENGTH of VPD page B0h, in bytes.
pub(super) const TRANSFER_LEN_MAX: u64 = 256 << 20;

impl Unit {
    /// A unit over a store, or without a medium.
    #[must_use]
    pub fn new(config: UnitConfig, store: Option<Arc<dyn Backstore>>) -> Arc<Self> {
        let look = Look::at(store.as_deref());
        let medium = Medium::new(&config, look);
        let (reservations, prevented_by, log) =
            (Reservations::default(), Vec::new(), AttentionLog::default());
        let state = UnitState { config, store, look, reservations, prevented_by, log, medium };
        Arc::new(Self {
            state: Mutex::new(Arc::new(state)),
            generation: AtomicU64::new(0),
            fences: Fences::default(),
            broken: AtomicBool::new(false),
        })
    }

    /// The present configuration.
    #[must_use]
    pub fn config(&self) -> UnitConfig {
        self.snapshot().config.clone()
    }

    /// Looks at the present configuration without copying it.
    pub fn look_at_config<T>(&self, look: impl FnOnce(&UnitConfig) -> T) -> T {
        look(&self.snapshot().config)
    }

    /// Changes the configuration for all ports and raises the unit attentions that are due for it.
    ///
    /// # Errors
    /// The change is not allowed now; nothing was changed.
    pub fn update(&self, change: impl FnOnce(&mut UnitConfig)) -> Result<(), UpdateError> {
        self.update_by(None, |config| {
            change(config);
            Ok(())
        })
    }

    /// `update` at the word of an initiator, which is not told of its own doing.
    pub(super) fn update_by<E: From<UpdateError>>(
        &self,
        nexus: Option<NexusId>,
        change: impl FnOnce(&mut UnitConfig) -> Result<(), E>,
    ) -> Result<(), E> {
        self.publish(|state| {
            let before = (state.config.clone(), state.medium);
            change(&mut state.config)?;
            if !state.config.block_len.is_power_of_two() || state.config.block_len < 512 {
                return Err(UpdateError::BlockLength.into());
            }
            if before.0.online && !state.config.online && state.removal_prevented() {
                return Err(UpdateError::RemovalPrevented.into());
            }
            state.settle(&before, nexus);
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
        let look = Look::at(store.as_deref());
        self.broken.store(false, Ordering::Release);
        self.change(|state| {
            state.store = store;
            state.look_again(look);
        });
    }

    /// Asks the store for its size again; initiators are told when it changed. Answers what `capacity` does.
    ///
    /// # Errors
    /// The store cannot be asked, or there is none ([`IoError::NOT_READY`]).
    pub fn refresh_capacity(&self) -> Result<(u64, u32), IoError> {
        let store = self.store().ok_or(IoError::NOT_READY)?;
        store.refresh()?;
        let look = Look::at(Some(&*store));
        self.change(|state| {
            if state.store.as_ref().is_some_and(|present| Arc::ptr_eq(present, &store)) {
                state.look_again(look);
            }
        });
        Ok(self.capacity())
    }

    /// Logical blocks and their length in bytes; 0 blocks without a medium.
    #[must_use]
    pub fn capacity(&self) -> (u64, u32) {
        let state = self.snapshot();
        (state.medium.blocks, state.config.block_len)
    }

    /// Notes that a loop cannot use the store any more: its engine has panicked.
    pub fn set_broken(&self) {
        self.broken.store(true, Ordering::Release);
    }

    /// Whether a loop cannot use the store any more, until it is opened again and set by [`Unit::set_store`].
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Establishes a unit attention condition for every nexus.
    pub fn raise(&self, code: AdditionalSense) {
        self.change(|state| state.log.push(code, None));
    }

    /// Keeps all loops off a part of the store, which a write that was aborted may still change: from byte `from` to
    /// before byte `to`.
    #[must_use]
    pub fn fence(&self, from: u64, to: u64) -> FenceId {
        self.fences.put_up(from, to)
    }

    /// The write is over.
    pub fn lift(&self, fence: FenceId) {
        self.fences.lift(fence);
    }

    /// Whether a step would touch what is fenced off; then it is not the time for it.
    #[inline]
    #[must_use]
    pub fn keeps_off(&self, step: &Step) -> bool {
        self.fences.stand()
            && step.range().is_some_and(|(offset, len)| self.fences.cross(offset, offset.saturating_add(len)))
    }

    /// Whether an initiator holds PREVENT ALLOW MEDIUM REMOVAL.
    #[must_use]
    pub fn removal_prevented(&self) -> bool {
        self.snapshot().removal_prevented()
    }

    /// A reset of the unit (SAM-5 6.3.3): RESERVE (6) and preventions are gone, every nexus is told by `code`.
    /// Persistent reservations stay.
    pub fn reset(&self, code: AdditionalSense) {
        self.change(|state| {
            state.reservations.clear_reserved();
            state.prevented_by.clear();
            state.log.push(code, None);
        });
    }

    /// I_T nexus loss (SAM-5 6.3.4): what the nexus reserved or prevented is free again.
    pub(super) fn forget_nexus(&self, nexus: NexusId) {
        let state = self.snapshot();
        if state.reservations.is_held_by(nexus) || state.prevented_by.contains(&nexus) {
            self.change(|state| {
                if state.reservations.is_held_by(nexus) {
                    state.reservations.clear_reserved();
                }
                state.prevented_by.retain(|holder| *holder != nexus);
            });
        }
    }

    /// Sets or ends a nexus' PREVENT ALLOW MEDIUM REMOVAL.
    pub(super) fn prevent_removal(&self, nexus: NexusId, prevent: bool) {
        self.change(|state| {
            state.prevented_by.retain(|holder| *holder != nexus);
            if prevent {
                state.prevented_by.push(nexus);
            }
        });
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

    fn change(&self, change: impl FnOnce(&mut UnitState)) {
        let _: Result<(), std::convert::Infallible> = self.publish(|state| {
            change(state);
            Ok(())
        });
    }
}

impl UnitState {
    /// Whether any nexus prevents the removal of the medium.
    pub(super) fn removal_prevented(&self) -> bool {
        !self.prevented_by.is_empty()
    }

    fn look_again(&mut self, look: Look) {
        let before = (self.config.clone(), self.medium);
        self.look = look;
        self.settle(&before, None);
    }

    /// Works out the medium after a change, and tells initiators of what they see of it.
    fn settle(&mut self, before: &(UnitConfig, Medium), by: Option<NexusId>) {
        self.medium = Medium::new(&self.config, self.look);
        for code in attentions_due(before, self) {
            self.log.push(code, by);
        }
    }
}

impl Look {
    fn at(store: Option<&dyn Backstore>) -> Self {
        store
            .map_or(NO_STORE, |store| Self { geometry: store.geometry(), capabilities: store.capabilities() })
    }
}

impl UnitState {
    /// Logical blocks per physical block, as a power of two: as configured, else as the store says.
    pub(super) fn physical_exponent(&self) -> u8 {
        let of_store = self.medium.physical_block_len.max(1).ilog2().saturating_sub(self.medium.block_shift);
        self.config.lbppbe.unwrap_or(of_store as u8)
    }
}

impl Medium {
    fn new(config: &UnitConfig, Look { geometry, capabilities }: Look) -> Self {
        let block_shift = config.block_len.max(1).ilog2();
        let blocks = geometry.size >> block_shift;
        Self {
            present: config.online && blocks > 0,
            blocks,
            block_shift,
            physical_block_len: geometry.physical_block_len,
            capabilities,
            write_protected: config.read_only || config.swp || capabilities.read_only,
            write_cache: config.write_cache && capabilities.volatile_cache,
            thin: config.thin_provisioning && capabilities.discard,
        }
    }
}

/// What initiators are told when a unit's configuration or medium changed (SPC-4 5.6, SBC-3 4.10).
fn attentions_due((config, medium): &(UnitConfig, Medium), now: &UnitState) -> Vec<AdditionalSense> {
    let inquiry = |config: &UnitConfig| {
        let strings =
            [&config.vendor_id, &config.product_id, &config.product_rev, &config.scsi_id, &config.scsi_sn];
        let limits =
            (config.optimal_xfer_gran, config.optimal_xfer_len, config.rotation_rate, config.removable);
        (strings.map(String::clone), limits)
    };
    let mode = |config: &UnitConfig| {
        (config.mode_pages.clone(), config.sense_descriptor, config.swp, config.read_only, config.write_cache)
    };
    let derived = |medium: &Medium| (medium.write_cache, medium.write_protected);
    let capacity = |config: &UnitConfig, medium: &Medium| {
        (
            medium.blocks,
            medium.block_shift,
            medium.thin,
            config.lbppbe,
            config.la_lba,
            medium.physical_block_len,
        )
    };
    let mut due = Vec::new();
    // Of a medium that comes initiators are told that it may be another one; that says all.
    let stays = medium.present && now.medium.present;
    if stays && capacity(config, medium) != capacity(&now.config, &now.medium) {
        due.push(AdditionalSense::CAPACITY_DATA_HAS_CHANGED);
    }
    if mode(config) != mode(&now.config) || stays && derived(medium) != derived(&now.medium) {
        due.push(AdditionalSense::MODE_PARAMETERS_CHANGED);
    }
    if inquiry(config) != inquiry(&now.config) {
        due.push(AdditionalSense::INQUIRY_DATA_HAS_CHANGED);
    }
    if !medium.present && now.medium.present {
        due.push(AdditionalSense::NOT_READY_TO_READY_CHANGE);
    }
    due
}

/// What is said for a store that is not there.
const NO_STORE: Look = Look {
    geometry: Geometry { size: 0, physical_block_len: 512 },
    capabilities: Capabilities {
        read_only: false,
        volatile_cache: false,
        fua: false,
        discard: false,
        discard_zeroes: false,
        write_zeroes: false,
        allocation: false,
        alignment: 1,
        discard_granularity: 0,
    },
};
