//! A logical unit, shared by all loops: its configuration, medium, reservations and events.
//!
//! The state is an immutable snapshot. A writer locks the state briefly, publishes a new snapshot and increments the
//! generation. Ports get the snapshot only when the generation has changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::answer::Refusal;
use super::attention::{AttentionLog, Pending};
pub use super::config::{DeviceType, ModePage, UnitConfig};
use super::fence::{FenceId, Fences};
use super::reports::StoreReports;
use super::reservation::{Effects, Persistent, Reservations, Restriction, Unchanged};
use super::{ByteRange, Nexus, NexusId, Step};
use crate::sense::{AdditionalSense, Sense};
use crate::store::{Backstore, Capabilities, Geometry, IoError};

/// A logical unit.
pub struct Unit {
    /// Locked to read or replace the snapshot, never during a call to the store.
    state: Mutex<Arc<UnitState>>,
    generation: AtomicU64,
    fences: Fences,
    /// See `set_broken`.
    broken: AtomicBool,
    reports: StoreReports,
}

impl std::fmt::Debug for Unit {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Unit")
    }
}

/// The capacity of a medium.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Capacity {
    /// Number of logical blocks.
    pub blocks: u64,
    /// Length of a logical block in bytes.
    pub block_len: u32,
}

/// Why a change of the configuration is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// An initiator prevents medium removal.
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

/// The state of a unit in one generation.
#[derive(Clone)]
pub(super) struct UnitState {
    config: UnitConfig,
    store: Option<Arc<dyn Backstore>>,
    /// Properties of the store when they were last read.
    properties: StoreProperties,
    reservations: Reservations,
    /// Nexuses that prevent the removal of the medium.
    prevented_by: Vec<NexusId>,
    log: AttentionLog,
    medium: Medium,
}

/// Properties that a store reports.
#[derive(Clone, Copy)]
struct StoreProperties {
    geometry: Geometry,
    capabilities: Capabilities,
}

/// Properties of the medium, derived from configuration and store at each change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Medium {
    /// The store is not empty and the unit is online.
    pub(super) present: bool,
    /// Number of logical blocks; 0 without a store.
    pub(super) blocks: u64,
    /// The block length is 2 to the power of this.
    pub(super) block_shift: u32,
    pub(super) physical_block_len: u32,
    pub(super) capabilities: Capabilities,
    pub(super) write_protected: bool,
    /// WCE: writes complete when they are in the cache of the store.
    pub(super) write_cache: bool,
    /// LBPME: logical block provisioning is supported.
    pub(super) thin: bool,
}

/// MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT of VPD page B0h.
///
/// Hit by: initiator. Scope: command. Over it: UNMAP ends with INVALID FIELD IN PARAMETER LIST. Seen: VPD
/// page B0h.
pub(super) const UNMAP_DESCRIPTORS_MAX: u32 = 256;

/// MAXIMUM TRANSFER LENGTH of VPD page B0h, in bytes.
///
/// Hit by: initiator. Scope: command. Over it: the command ends with INVALID FIELD IN CDB. Seen: VPD page
/// B0h.
pub(super) const TRANSFER_LEN_MAX: u64 = 256 << 20;

impl Unit {
    /// A unit with a store, or without a medium.
    #[must_use]
    pub fn new(config: UnitConfig, store: Option<Arc<dyn Backstore>>) -> Arc<Self> {
        let properties = StoreProperties::of(store.as_deref());
        let medium = Medium::new(&config, properties);
        let (reservations, prevented_by, log) =
            (Reservations::default(), Vec::new(), AttentionLog::default());
        let state = UnitState { config, store, properties, reservations, prevented_by, log, medium };
        Arc::new(Self {
            state: Mutex::new(Arc::new(state)),
            generation: AtomicU64::new(0),
            fences: Fences::default(),
            broken: AtomicBool::new(false),
            reports: StoreReports::default(),
        })
    }

    /// A copy of the configuration.
    #[must_use]
    pub fn config(&self) -> UnitConfig {
        self.snapshot().config.clone()
    }

    /// Calls a function with the configuration, which is not copied.
    pub fn with_config<T>(&self, read: impl FnOnce(&UnitConfig) -> T) -> T {
        read(&self.snapshot().config)
    }

    /// Changes the configuration and raises unit attentions for the changes that initiators can see.
    ///
    /// # Errors
    /// [`UpdateError`]; nothing was changed.
    pub fn update(&self, change: impl FnOnce(&mut UnitConfig)) -> Result<(), UpdateError> {
        self.update_by(None, |config| {
            change(config);
            Ok(())
        })
    }

    /// [`Self::update`] on behalf of a nexus, which gets no unit attention for it.
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
            state.update_medium(&before, nexus);
            Ok(())
        })
    }

    /// The store of the unit.
    #[must_use]
    pub fn store(&self) -> Option<Arc<dyn Backstore>> {
        self.snapshot().store.clone()
    }

    /// Replaces or removes the store. Initiators see its medium while `UnitConfig::online` is set.
    pub fn set_store(&self, store: Option<Arc<dyn Backstore>>) {
        let properties = StoreProperties::of(store.as_deref());
        self.broken.store(false, Ordering::Release);
        self.change(|state| {
            state.store = store;
            state.set_properties(properties);
        });
    }

    /// Reads the size of the store again, and raises a unit attention if it changed. Returns the value of
    /// [`Self::capacity`].
    ///
    /// # Errors
    /// The store cannot be asked, or there is none ([`IoError::NOT_READY`]).
    pub fn refresh_capacity(&self) -> Result<Capacity, IoError> {
        let store = self.store().ok_or(IoError::NOT_READY)?;
        store.refresh()?;
        let properties = StoreProperties::of(Some(&*store));
        self.change(|state| {
            if state.store.as_ref().is_some_and(|present| Arc::ptr_eq(present, &store)) {
                state.set_properties(properties);
            }
        });
        Ok(self.capacity())
    }

    /// The capacity of the medium; 0 blocks without a store.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        let state = self.snapshot();
        Capacity { blocks: state.medium.blocks, block_len: state.config.block_len }
    }

    /// Marks the store as unusable on a loop, as after a panic of its engine.
    pub fn set_broken(&self) {
        self.broken.store(true, Ordering::Release);
    }

    /// Whether the store is marked as unusable. [`Unit::set_store`] with a reopened store ends that.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// What the loops report of the store.
    #[must_use]
    pub fn reports(&self) -> &StoreReports {
        &self.reports
    }

    /// Raises a unit attention for every nexus.
    pub fn raise(&self, code: AdditionalSense) {
        self.change(|state| state.log.push(code, None));
    }

    /// Fences a range of the store, which an aborted write may still change. Until the fence is removed, no loop starts a
    /// step on it.
    #[must_use]
    pub fn fence(&self, range: ByteRange) -> FenceId {
        self.fences.add(range)
    }

    /// Removes a fence, once its write has completed.
    pub fn remove_fence(&self, fence: FenceId) {
        self.fences.remove(fence);
    }

    /// Whether the range of a step overlaps a fence; the step must not start then.
    #[inline]
    #[must_use]
    pub fn is_fenced(&self, step: &Step) -> bool {
        self.fences.exist() && step.range().is_some_and(|range| self.fences.overlap(range))
    }

    /// Whether any initiator prevents medium removal.
    #[must_use]
    pub fn removal_prevented(&self) -> bool {
        self.snapshot().removal_prevented()
    }

    /// Resets the unit (SAM-5 6.3.3): ends RESERVE (6) and all preventions of medium removal, and raises the unit attention
    /// `code` for every nexus. Persistent reservations stay.
    pub fn reset(&self, code: AdditionalSense) {
        self.change(|state| {
            state.reservations.clear_reserved();
            state.prevented_by.clear();
            state.log.push(code, None);
        });
    }

    /// I_T nexus loss (SAM-5 6.3.4): ends RESERVE (6) and the prevention of medium removal of the nexus.
    pub(super) fn remove_nexus(&self, nexus: NexusId) {
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

    /// PREVENT ALLOW MEDIUM REMOVAL of a nexus.
    pub(super) fn prevent_removal(&self, nexus: NexusId, prevent: bool) {
        self.change(|state| {
            state.prevented_by.retain(|holder| *holder != nexus);
            if prevent {
                state.prevented_by.push(nexus);
            }
        });
    }

    /// Generation of the state: increments with each change of what ports and transports cache, as the store.
    #[must_use]
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn snapshot(&self) -> Arc<UnitState> {
        self.state.lock().clone()
    }

    /// Publishes a changed copy of the state, unless the change returns an error.
    pub(super) fn publish<T, E>(&self, change: impl FnOnce(&mut UnitState) -> Result<T, E>) -> Result<T, E> {
        let mut state = self.state.lock();
        let mut next = UnitState::clone(&state);
        let answer = change(&mut next)?;
        let previous = std::mem::replace(&mut *state, Arc::new(next));
        self.generation.fetch_add(1, Ordering::Release);
        drop(state);
        // It may have the last handle of a store, which takes locks when it is dropped.
        drop(previous);
        Ok(answer)
    }

    /// Whether a thread changes the state.
    #[cfg(test)]
    pub(super) fn is_locked(&self) -> bool {
        self.state.is_locked()
    }

    fn change(&self, change: impl FnOnce(&mut UnitState)) {
        let _: Result<(), std::convert::Infallible> = self.publish(|state| {
            change(state);
            Ok(())
        });
    }
}

impl UnitState {
    /// The configuration.
    #[inline]
    pub(super) fn config(&self) -> &UnitConfig {
        &self.config
    }

    /// The medium.
    #[inline]
    pub(super) fn medium(&self) -> &Medium {
        &self.medium
    }

    /// What the reservations of others forbid to a nexus.
    pub(super) fn restriction(&self, nexus: &Nexus) -> Restriction {
        self.reservations.restriction(nexus)
    }

    /// RESERVE (6), see [`Reservations::reserve`].
    pub(super) fn reserve(&mut self, nexus: &Nexus) -> Result<(), Unchanged> {
        self.reservations.reserve(nexus)
    }

    /// RELEASE (6), see [`Reservations::release`].
    pub(super) fn release(&mut self, nexus: &Nexus) -> Result<(), Unchanged> {
        self.reservations.release(nexus)
    }

    /// The persistent reservations, see [`Reservations::persistent`].
    pub(super) fn persistent(&self) -> Result<&Persistent, Refusal> {
        self.reservations.persistent()
    }

    /// Changes the persistent reservations and raises the unit attentions for other nexuses.
    ///
    /// # Errors
    /// As [`Reservations::change_persistent`].
    pub(super) fn change_persistent(
        &mut self,
        change: impl FnOnce(&mut Persistent) -> Result<Effects, Refusal>,
    ) -> Result<Effects, Refusal> {
        let effects = self.reservations.change_persistent(change)?;
        for attention in &effects.attentions {
            self.log.push_to(attention.code, attention.nexuses.as_slice().into());
        }
        Ok(effects)
    }

    /// The unit attentions of a nexus that is attached now.
    pub(super) fn pending_at_power_on(&self) -> Pending {
        Pending::power_on(&self.log)
    }

    /// Raises the unit attentions for a nexus that are new to it.
    pub(super) fn raise_new(&self, pending: &mut Pending, nexus: &Nexus) {
        pending.catch_up(&self.log, nexus);
    }

    /// Whether any nexus prevents the removal of the medium.
    pub(super) fn removal_prevented(&self) -> bool {
        !self.prevented_by.is_empty()
    }

    fn set_properties(&mut self, properties: StoreProperties) {
        let before = (self.config.clone(), self.medium);
        self.properties = properties;
        self.update_medium(&before, None);
    }

    /// Derives the medium after a change, and raises unit attentions for what initiators see of it.
    fn update_medium(&mut self, before: &(UnitConfig, Medium), by: Option<NexusId>) {
        self.medium = Medium::new(&self.config, self.properties);
        for code in attentions_due(before, self) {
            self.log.push(code, by);
        }
    }
}

impl StoreProperties {
    fn of(store: Option<&dyn Backstore>) -> Self {
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
    fn new(config: &UnitConfig, properties: StoreProperties) -> Self {
        let StoreProperties { geometry, capabilities } = properties;
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

/// The unit attentions for a change of configuration or medium (SPC-4 5.6, SBC-3 4.10).
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
    // A newly inserted medium reports NOT READY TO READY; no further attention is needed.
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

/// Properties of a unit without a store.
const NO_STORE: StoreProperties = StoreProperties {
    geometry: Geometry { size: 0, physical_block_len: 512 },
    capabilities: Capabilities::NONE,
};
