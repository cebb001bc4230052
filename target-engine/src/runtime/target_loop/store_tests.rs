//! Stores on a loop with a poller: their last handle is never dropped by the loop, and their engines get the events of their
//! descriptors.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::ThreadId;

use rustix::event::{EventfdFlags, eventfd};
use scsi_core::device::unit::{Unit, UnitConfig};
use scsi_core::lun::Lun;
use scsi_core::store::{
    Backstore, BlockOp, Completion, InlineOp, IoEngine, IoError, IoTag, Notice, Now, Port, Slot,
};

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
    let (dropped, by) = channel();
    let store = TestStore::idle(1 << 20).on_drop(move || _ = dropped.send(std::thread::current().id()));
    let (data_loop, unit, own, _) = loop_with(store);
    (data_loop, unit, own, by)
}

/// Makes a loop that serves a unit with this store. Returns it with the unit, the loop's mailbox, and its messages.
fn loop_with(store: TestStore) -> (DataLoop, Arc<Unit>, Mailbox<LoopMessage>, Inbox<ToControl>) {
    let (own, inbox) = mailbox(8).unwrap();
    let (control, messages) = mailbox(8).unwrap();
    let poller = poller_of(&inbox).unwrap();
    let mut data_loop = DataLoop::new(LoopId(1), inbox, own.clone(), control, poller);
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
    (data_loop, unit, own, messages)
}

/// An engine without operations, which reports a resize when its event is readable.
struct EventEngine {
    event: Arc<OwnedFd>,
    resized: bool,
}

impl IoEngine for EventEngine {
    fn try_now(&mut self, _: Slot, _: InlineOp<'_>) -> Option<Result<Now, IoError>> {
        None
    }

    fn submit(&mut self, _: Slot, _: IoTag, _: BlockOp) {
        unreachable!("no command comes")
    }

    fn kick(&mut self) {}

    fn reap(&mut self, _: &mut Vec<Completion>) {}

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.event.as_fd())
    }

    fn event_ready(&mut self) {
        self.resized = rustix::io::read(&*self.event, &mut [0; 8]).is_ok();
    }

    fn notices(&mut self, into: &mut Vec<(Slot, Notice)>) {
        if std::mem::take(&mut self.resized) {
            into.push((Slot(0), Notice::Resized));
        }
    }

    fn cancel(&mut self, _: IoTag) {}

    fn detach(&mut self, _: Slot) {}
}

#[test]
fn notice_reaches_the_control_thread_when_the_event_of_its_engine_is_readable() {
    let event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap());
    let engine_event = Arc::clone(&event);
    let store = TestStore::attached_by(1 << 20, move |engines| {
        let event = Arc::clone(&engine_event);
        let (engine, _) = engines.of_kind(|| Ok(EventEngine { event, resized: false }))?;
        Ok(Port { engine, slot: Slot(0) })
    });
    let (mut data_loop, unit, _own, mut messages) = loop_with(store);
    rustix::io::write(&*event, &1u64.to_ne_bytes()).unwrap();
    assert!(data_loop.turn());
    let mut taken = Vec::new();
    messages.drain(&mut taken);
    let [ToControl::StoreResized(_, lun, resized)] = &taken[..] else { panic!("{taken:?}") };
    assert!(lun.number() == 1 && Arc::ptr_eq(resized, &unit));
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
