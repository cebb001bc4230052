//! The units of a shard: each with its port, its store as this loop reaches it, and what is known of that store.

use std::sync::Arc;
use std::time::Instant;

use scsi_core::device::TargetView;
use scsi_core::device::port::UnitPort;
use scsi_core::device::unit::Unit;
use scsi_core::lun::Lun;
use scsi_core::store::{Backstore, Engines, IoError, Port};

use super::hang::HangDetector;
use super::health::{Health, LateLine};
use super::session::Session;
use crate::keys::SessionIndex;

/// The units by their LUNs.
#[derive(Default)]
pub(super) struct Units {
    entries: Vec<Option<UnitEntry>>,
    list: LunList,
    /// Failures of stores wait to be logged.
    has_late_lines: bool,
    /// Units whose stores may shrink were written since the last check of the sizes.
    size_check_due: bool,
}

/// One unit as the shard reaches it.
pub(super) struct UnitEntry {
    port: UnitPort,
    store: Option<Port>,
    medium: Option<Arc<dyn Backstore>>,
    /// Operations must be a multiple of it, in bytes.
    alignment: u32,
    /// Whether the size of the store is checked while it is written.
    may_shrink: bool,
    /// The generation of the unit that `store` is of.
    generation: u64,
    /// Running commands.
    tasks: usize,
    hangs: HangDetector,
    health: Health,
    life: UnitLife,
}

/// What follows when the last command of a unit has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum UnitLife {
    /// Nothing.
    Serving,
    /// `UnitIdle` is reported.
    Stopping,
    /// The unit is removed and `UnitGone` is reported. It takes no new commands.
    Leaving,
}

/// The LUNs for REPORT LUNS.
#[derive(Debug, Default)]
pub(super) struct LunList(Vec<Lun>);

impl TargetView for LunList {
    fn luns(&self) -> &[Lun] {
        &self.0
    }
}

impl Units {
    /// Adds a unit that is attached to the sessions.
    pub(super) fn insert<'a>(
        &mut self,
        lun: Lun,
        mut entry: UnitEntry,
        sessions: impl Iterator<Item = (SessionIndex, &'a Session)>,
    ) {
        for (index, session) in sessions {
            entry.port.attach_nexus(index.nexus(), session.nexus().clone());
            session.stats().begin(lun);
        }
        let index = usize::from(lun.number());
        if self.entries.len() <= index {
            self.entries.resize_with(index + 1, || None);
        }
        self.entries[index] = Some(entry);
        self.update_list();
    }

    /// Removes a unit and detaches its store.
    pub(super) fn remove(&mut self, lun: Lun, engines: &mut Engines) {
        let entry = self.entries.get_mut(usize::from(lun.number())).and_then(Option::take);
        if let Some(mut entry) = entry {
            if let Some(store) = entry.store {
                engines.detach(store);
            }
            entry.health.reset(entry.port.unit());
        }
    }

    /// The unit with this LUN.
    #[inline]
    pub(super) fn get(&self, lun: Lun) -> Option<&UnitEntry> {
        self.entries.get(usize::from(lun.number()))?.as_ref()
    }

    /// The unit with this LUN.
    #[inline]
    pub(super) fn get_mut(&mut self, lun: Lun) -> Option<&mut UnitEntry> {
        self.entries.get_mut(usize::from(lun.number()))?.as_mut()
    }

    /// The unit with this LUN, and the list for REPORT LUNS.
    #[inline]
    pub(super) fn get_with_list(&mut self, lun: Lun) -> Option<(&mut UnitEntry, &LunList)> {
        let entry = self.entries.get_mut(usize::from(lun.number()))?.as_mut()?;
        Some((entry, &self.list))
    }

    /// The list for REPORT LUNS: all units but those that leave.
    pub(super) fn list(&self) -> &LunList {
        &self.list
    }

    /// All units.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Lun, &mut UnitEntry)> {
        let units = self.entries.iter_mut().enumerate();
        units.filter_map(|(number, entry)| Some((Lun::new(number as u64)?, entry.as_mut()?)))
    }

    /// The LUNs of all units.
    pub(super) fn luns(&self) -> Vec<Lun> {
        let units = self.entries.iter().enumerate().filter(|(_, entry)| entry.is_some());
        units.filter_map(|(number, _)| Lun::new(number as u64)).collect()
    }

    /// A session begins: it is attached to all units.
    pub(super) fn attach(&mut self, index: SessionIndex, session: &Session) {
        for (lun, unit) in self.iter_mut() {
            unit.port.attach_nexus(index.nexus(), session.nexus().clone());
            session.stats().begin(lun);
        }
    }

    /// A session has ended.
    pub(super) fn detach(&mut self, index: SessionIndex) {
        for unit in self.entries.iter_mut().flatten() {
            unit.port.detach_nexus(index.nexus());
        }
    }

    /// Resets the device servers of all units (SAM-5 6.3.2).
    pub(super) fn reset(&mut self) {
        self.entries.iter_mut().flatten().for_each(|unit| unit.port.reset());
    }

    /// Sets what follows when the last command of a unit has ended; a unit that leaves keeps to that.
    pub(super) fn set_life(&mut self, lun: Lun, life: UnitLife) {
        if let Some(unit) = self.get_mut(lun)
            && unit.life != UnitLife::Leaving
        {
            unit.life = life;
        }
        self.update_list();
    }

    /// What is due at a unit: its last command has ended, and it was stopping or leaving.
    pub(super) fn take_due(&mut self, lun: Lun) -> Option<UnitLife> {
        let unit = self.get_mut(lun)?;
        if unit.life == UnitLife::Serving || unit.tasks > 0 {
            return None;
        }
        Some(std::mem::replace(&mut unit.life, UnitLife::Serving))
    }

    /// A failure was not logged now.
    pub(super) fn expect_late_line(&mut self) {
        self.has_late_lines = true;
    }

    /// Whether failures wait to be logged, or sizes of stores are to be checked.
    pub(super) fn has_due_work(&self) -> bool {
        self.has_late_lines || self.size_check_due
    }

    /// A unit whose store may shrink is written.
    #[inline]
    pub(super) fn expect_size_check(&mut self) {
        self.size_check_due = true;
    }

    /// Has the engines check the sizes of stores that were written since the last call.
    pub(super) fn check_sizes(&mut self, engines: &mut Engines) {
        if std::mem::take(&mut self.size_check_due) {
            let units = self.entries.iter().flatten().filter(|unit| unit.may_shrink);
            let stores = units.filter_map(|unit| unit.store);
            stores.for_each(|store| engines.check_size(store));
        }
    }

    /// The lines for failures that were not logged, as far as they are due.
    pub(super) fn late_lines(&mut self, now: Instant) -> Vec<LateLine> {
        if !std::mem::take(&mut self.has_late_lines) {
            return Vec::new();
        }
        let mut lines = Vec::new();
        let mut left = false;
        for (lun, unit) in self.iter_mut() {
            if let Some(line) = unit.health.late_line(now) {
                let recovered = !unit.health.is_failing();
                lines.push(LateLine { lun, store_name: unit.store_name(), line, recovered });
            }
            unit.health.reach_lines().tick(now);
            left |= unit.health.has_left_out() || unit.health.reach_lines().due().is_some();
        }
        self.has_late_lines = left;
        lines
    }

    fn update_list(&mut self) {
        self.list.0.clear();
        for (number, entry) in self.entries.iter().enumerate() {
            if let (Some(unit), Some(lun)) = (entry, Lun::new(number as u64))
                && unit.life != UnitLife::Leaving
            {
                self.list.0.push(lun);
            }
        }
    }
}

impl UnitEntry {
    /// A unit whose medium is attached to its engine.
    ///
    /// # Errors
    /// The store cannot be reached from this loop.
    pub(super) fn new(unit: Arc<Unit>, engines: &mut Engines) -> Result<Self, IoError> {
        let generation = unit.generation();
        let medium = unit.store();
        let store = medium.as_ref().map(|store| engines.attach(&**store)).transpose()?;
        Ok(Self {
            port: UnitPort::new(unit),
            store,
            alignment: alignment_of(medium.as_ref()),
            may_shrink: may_shrink(medium.as_ref()),
            medium,
            generation,
            tasks: 0,
            hangs: HangDetector::default(),
            health: Health::default(),
            life: UnitLife::Serving,
        })
    }

    /// The unit itself, shared by all loops.
    #[inline]
    pub(super) fn unit(&self) -> &Arc<Unit> {
        self.port.unit()
    }

    /// The unit's device server on this loop.
    #[inline]
    pub(super) fn port(&mut self) -> &mut UnitPort {
        &mut self.port
    }

    /// Where its operations go; `None` without a medium.
    #[inline]
    pub(super) fn store(&self) -> Option<Port> {
        self.store
    }

    /// What its operations must be a multiple of, in bytes.
    #[inline]
    pub(super) fn alignment(&self) -> u32 {
        self.alignment
    }

    /// Whether the size of its store is checked while it is written.
    #[inline]
    pub(super) fn may_shrink(&self) -> bool {
        self.may_shrink
    }

    /// The name of its store, for the log.
    pub(super) fn store_name(&self) -> String {
        self.unit().store().map_or_else(|| "no medium".to_owned(), |store| store.name().into_owned())
    }

    /// Whether the unit is being removed.
    #[inline]
    pub(super) fn is_leaving(&self) -> bool {
        self.life == UnitLife::Leaving
    }

    /// Running commands.
    pub(super) fn tasks(&self) -> usize {
        self.tasks
    }

    /// A command begins.
    #[inline]
    pub(super) fn begin_task(&mut self) {
        self.tasks += 1;
    }

    /// A command has ended. Returns true if `Units::take_due` has something to do.
    #[inline]
    pub(super) fn end_task(&mut self) -> bool {
        self.tasks -= 1;
        self.tasks == 0 && self.life != UnitLife::Serving
    }

    /// The detector of hangs of its store.
    #[inline]
    pub(super) fn hangs(&mut self) -> &mut HangDetector {
        &mut self.hangs
    }

    /// Whether its store hangs.
    #[inline]
    pub(super) fn is_hung(&self) -> bool {
        self.hangs.is_hung()
    }

    /// The outcome of a command that must not go to the store now.
    pub(super) fn refusal(&self, now: Instant) -> scsi_core::device::Outcome {
        self.hangs.refusal(now)
    }

    /// The health of its store.
    #[inline]
    pub(super) fn health(&mut self) -> &mut Health {
        &mut self.health
    }

    /// Attaches the unit's present medium if the unit has changed since the last command.
    #[inline]
    pub(super) fn refresh_store(&mut self, engines: &mut Engines) {
        let generation = self.port.unit().generation();
        if generation != self.generation {
            self.generation = generation;
            self.change_store(engines);
        }
    }

    /// Attaches the unit's present medium now.
    pub(super) fn change_medium(&mut self, engines: &mut Engines) {
        self.port.refresh();
        self.generation = self.port.unit().generation();
        self.change_store(engines);
    }

    fn change_store(&mut self, engines: &mut Engines) {
        let medium = self.port.unit().store();
        let same = match (&medium, &self.medium) {
            (Some(new), Some(old)) => Arc::ptr_eq(new, old),
            (None, None) => true,
            _ => false,
        };
        if same {
            return;
        }
        self.hangs.reset();
        self.health.reset(self.port.unit());
        if let Some(old) = self.store.take() {
            engines.detach(old);
        }
        self.store = medium.as_ref().and_then(|store| match engines.attach(&**store) {
            Ok(port) => Some(port),
            Err(error) => {
                log::error!("a new medium cannot be attached: {error}");
                None
            }
        });
        self.alignment = alignment_of(medium.as_ref());
        self.may_shrink = may_shrink(medium.as_ref());
        self.medium = medium;
    }
}

/// Operations of a medium must be a multiple of it, in bytes.
fn alignment_of(medium: Option<&Arc<dyn Backstore>>) -> u32 {
    medium.map_or(1, |store| store.capabilities().alignment)
}

fn may_shrink(medium: Option<&Arc<dyn Backstore>>) -> bool {
    medium.is_some_and(|store| store.capabilities().may_shrink)
}
