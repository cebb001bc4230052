//! Parameters and units of the target of a [`Pair`](crate::pair::Pair).

use std::sync::Arc;
use std::time::Duration;

use iscsi_proto::params::SessionParams;
use iscsi_proto::text::negotiate::Preferences;
use scsi_core::device::unit::{Unit, UnitConfig};
use scsi_core::store::Backstore;
use target_engine::iscsi::login::{AuthRequirement, Refusal, TargetQuestion};
use target_engine::shard::settings::TargetSettings;

use crate::sim_store::SimStore;

/// The target's iSCSI name.
pub const TARGET: &str = "iqn.2026-01.org.example:disk";

/// Sizes of the deliveries that [`each_chunk`] tries, in bytes: around the 48 of a BHS, and unlimited.
pub const CHUNKS: [usize; 5] = [1, 47, 48, 49, usize::MAX];

/// LUN of the disk of [`Setup::disk`].
pub const DISK: u64 = 1;

/// Parameters and units of the target.
#[derive(Clone)]
pub struct Setup {
    /// Target parameters.
    pub settings: TargetSettings,
    /// What the target offers and accepts in negotiations.
    pub keys: Preferences,
    /// Units by LUN.
    pub units: Vec<(u64, Arc<Unit>)>,
    /// Refuses logins; none by default.
    pub refuse: fn(&TargetQuestion) -> Option<Refusal>,
    /// Authentication required from initiators.
    pub auth: AuthRequirement,
    /// Most bytes of one delivery, in both directions.
    pub chunk: usize,
}

impl Setup {
    /// A controller at LUN 0 and a disk with this store at LUN 1. The target offers immediate and
    /// unsolicited data.
    #[must_use]
    pub fn disk(store: Arc<dyn Backstore>) -> Self {
        let session = SessionParams {
            initial_r2t: false,
            max_connections: 4,
            max_outstanding_r2t: 8,
            ..Default::default()
        };
        Self {
            settings: TargetSettings {
                tid: 1,
                name: TARGET.to_owned(),
                max_queue_cmd: 32,
                nop_interval: Duration::ZERO,
                nop_count: 0,
                online: true,
            },
            keys: Preferences { session, max_recv_data_segment_len: 65_536, ..Preferences::default() },
            units: vec![
                (0, Unit::new(UnitConfig::controller(1), None)),
                (DISK, Unit::new(UnitConfig::disk(1, 1), Some(store))),
            ],
            refuse: |_| None,
            auth: AuthRequirement::None,
            chunk: usize::MAX,
        }
    }

    /// [`Setup::disk`] with a simulated store of 4 MiB of zeroes.
    #[must_use]
    pub fn sim() -> (Self, SimStore) {
        let store = SimStore::new(4 << 20, 1);
        (Self::disk(Arc::new(store.clone())), store)
    }

    /// The unit with this LUN.
    ///
    /// # Panics
    /// No unit has this LUN.
    #[must_use]
    pub fn unit(&self, lun: u64) -> Arc<Unit> {
        let unit = self.units.iter().find(|(number, _)| *number == lun);
        unit.map(|(_, unit)| unit.clone()).expect("there is such a unit")
    }
}

/// Runs a test once for each size of [`CHUNKS`].
pub fn each_chunk(test: impl Fn(Setup, SimStore)) {
    for chunk in CHUNKS {
        let (setup, store) = Setup::sim();
        test(Setup { chunk, ..setup }, store);
    }
}
