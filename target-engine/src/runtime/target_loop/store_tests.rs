//! Which thread drops the last handle of a store: never a loop's.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::ThreadId;

use scsi_core::device::unit::{Unit, UnitConfig};
use scsi_core::lun::Lun;
use scsi_core::store::Backstore;

use super::*;
use crate::control::messages::{NewTarget, ServiceId, TargetSettings, Ticket, ToLoop};
use crate::model::Tid;
use crate::model::store::StoreId;
use crate::runtime::open_store::{Closer, OpenStore};
use crate::test_store::TestStore;

/// Drops stores at once, on a thread of their own.
struct OtherThread;

impl Closer for OtherThread {
    fn close(self: Arc<Self>, _: StoreId, store: Arc<dyn Backstore>) {
        std::thread::spawn(move || drop(store)).join().unwrap();
    }
}

const LUN: u64 = 1;

/// Makes a loop that serves a unit. Returns it with the unit, the loop's mailbox, and the thread that drops the store.
fn loop_with_store() -> (DataLoop, Arc<Unit>, Mailbox<LoopMessage>, Receiver<ThreadId>) {
    let (own, inbox) = mailbox(8).unwrap();
    let (control, _) = mailbox(8).unwrap();
    let poller = poller_of(&inbox).unwrap();
    let mut data_loop = DataLoop::new(LoopId(1), inbox, own.clone(), control, poller);
    let (dropped, by) = channel();
    let store = TestStore::idle(1 << 20).on_drop(move || _ = dropped.send(std::thread::current().id()));
    let store = OpenStore::new(StoreId(1), Arc::new(store), Arc::new(OtherThread));
    let unit = Unit::new(UnitConfig::disk(1, LUN as u32), Some(store));
    let tid = Tid::new(1).unwrap();
    let settings = TargetSettings {
        tid: 1,
        name: "iqn.x:t".to_owned(),
        max_queue_cmd: 8,
        nop_interval: Duration::ZERO,
        nop_count: 0,
        online: true,
    };
    let units = vec![(Lun::new(LUN).unwrap(), Arc::clone(&unit))];
    let new = NewTarget { tid, service: ServiceId(1), settings: Arc::new(settings), units };
    own.send(ToLoop::AddTarget(Box::new(new)).into()).unwrap();
    assert!(data_loop.turn());
    (data_loop, unit, own, by)
}

#[track_caller]
fn assert_dropped_on_another_thread(by: &Receiver<ThreadId>) {
    assert_ne!(by.try_recv().expect("the store is dropped"), std::thread::current().id());
}

#[test]
fn removed_unit_drops_its_store_on_another_thread() {
    let (mut data_loop, unit, own, by) = loop_with_store();
    let (tid, lun) = (Tid::new(1).unwrap(), Lun::new(LUN).unwrap());
    drop(unit);
    own.send(ToLoop::RemoveUnit { tid, lun, by: None, ticket: Ticket(1) }.into()).unwrap();
    assert!(data_loop.turn());
    assert_dropped_on_another_thread(&by);
}

#[test]
fn removed_target_drops_its_stores_on_another_thread() {
    let (mut data_loop, unit, own, by) = loop_with_store();
    drop(unit);
    own.send(ToLoop::RemoveTarget(Tid::new(1).unwrap(), Instant::now(), Ticket(1)).into()).unwrap();
    assert!(data_loop.turn());
    assert_dropped_on_another_thread(&by);
}

#[test]
fn replaced_medium_is_dropped_without_a_command() {
    let (mut data_loop, unit, own, by) = loop_with_store();
    unit.set_store(None);
    assert!(by.try_recv().is_err(), "the loop uses it");
    own.send(ToLoop::ChangeMedium(Tid::new(1).unwrap(), Lun::new(LUN).unwrap()).into()).unwrap();
    assert!(data_loop.turn());
    assert_dropped_on_another_thread(&by);
}

#[test]
fn loop_drops_its_stores_on_another_thread() {
    let (data_loop, unit, _, by) = loop_with_store();
    drop(unit);
    drop(data_loop);
    assert_dropped_on_another_thread(&by);
}
