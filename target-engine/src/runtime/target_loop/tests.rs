//! A loop on its thread, and its answers to messages.

use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use scsi_core::device::unit::UnitConfig;
use scsi_core::lun::Lun;

use super::*;
use crate::control::messages::{LoopError, NewTarget, ServiceId, TargetSettings, Ticket, ToLoop};
use crate::loop_state::effect::{CrossReset, ResetId};
use crate::model::Tid;
use crate::model::unit::TargetUnit;
use crate::shard::functions::Reach;

const LOOP: LoopId = LoopId(7);

/// A loop, and the other ends of its mailboxes.
struct Running {
    handle: LoopHandle,
    messages: Inbox<ToControl>,
    sibling: (Mailbox<LoopMessage>, Inbox<LoopMessage>),
    tickets: u64,
}

impl Running {
    fn start(name: &str) -> Self {
        let (control, messages) = mailbox(16).unwrap();
        let handle = spawn(LOOP, name, control).unwrap();
        Self { handle, messages, sibling: mailbox(16).unwrap(), tickets: 0 }
    }

    fn send(&self, message: impl Into<LoopMessage>) {
        self.handle.mailbox.send(message.into()).unwrap();
    }

    fn add(&self, number: u32, service: u64) {
        let settings = TargetSettings {
            tid: number,
            name: format!("iqn.x:{number}"),
            max_queue_cmd: 128,
            nop_interval: Duration::ZERO,
            nop_count: 0,
            online: true,
        };
        let target = NewTarget {
            tid: tid(number),
            service: ServiceId(service),
            settings: Arc::new(settings),
            units: vec![(Lun::ZERO, TargetUnit::controller(UnitConfig::controller(number)).unit)],
        };
        self.send(ToLoop::AddTarget(Box::new(target)));
    }

    /// Sends a message and returns its answer.
    fn ask(&mut self, message: impl Fn(Ticket) -> ToLoop) -> Result<(), LoopError> {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.send(message(ticket));
        match &wait(&mut self.messages)[..] {
            [ToControl::Answer(LOOP, answered, answer)] if *answered == ticket => *answer,
            other => panic!("{other:?}"),
        }
    }

    fn add_unit(&mut self, number: u32) -> Result<(), LoopError> {
        let lun = Lun::new(1).unwrap();
        self.ask(|ticket| {
            ToLoop::AddUnit(tid(number), lun, TargetUnit::controller(UnitConfig::controller(1)).unit, ticket)
        })
    }

    fn remove(&mut self, number: u32) -> Result<(), LoopError> {
        self.ask(|ticket| ToLoop::RemoveTarget(tid(number), Instant::now(), ticket))
    }

    /// Requests a reset as a sibling. Returns the messages to the sibling.
    fn reset(&mut self, service: u64) -> Vec<LoopMessage> {
        let back = self.sibling.0.clone();
        let reset =
            CrossReset { service: ServiceId(service), reach: Reach::default(), id: ResetId(service), back };
        self.send(LoopMessage::Reset(Box::new(reset)));
        wait(&mut self.sibling.1)
    }

    fn end(mut self) {
        self.send(ToLoop::End(Duration::ZERO));
        assert!(matches!(wait(&mut self.messages)[..], [ToControl::LoopEnded(LOOP)]));
        self.handle.thread.join().unwrap();
    }
}

fn wait<T>(inbox: &mut Inbox<T>) -> Vec<T> {
    let mut messages = Vec::new();
    while messages.is_empty() {
        poll(&mut [PollFd::new(&*inbox, PollFlags::IN)], None).unwrap();
        inbox.drain(&mut messages);
    }
    messages
}

fn tid(number: u32) -> Tid {
    Tid::new(number).unwrap()
}

/// Threads of this process by that name.
fn threads(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|known| known.trim_end() == name).count()
}

#[test]
fn loop_outlives_removed_targets() {
    let mut running = Running::start("tgt/s-first");
    running.add(1, 1);
    running.add(2, 2);
    assert_eq!(running.add_unit(1), Ok(()));
    assert_eq!(threads("tgt/s-first"), 1);
    assert_eq!(running.remove(1), Ok(()));
    assert_eq!(running.add_unit(1), Err(LoopError::NoTarget));
    assert_eq!(running.add_unit(2), Ok(()));
    running.add(1, 3);
    assert_eq!(running.add_unit(1), Ok(()), "the units of the previous target are dropped");
    assert_eq!(running.remove(2), Ok(()));
    assert_eq!(running.remove(1), Ok(()));
    assert_eq!(running.remove(1), Err(LoopError::NoTarget));
    running.end();
}

#[test]
fn loop_with_targets_ends() {
    let running = Running::start("tgt/s-second");
    running.add(1, 1);
    running.end();
    assert_eq!(threads("tgt/s-second"), 0);
}

#[test]
fn reset_of_an_ended_service_is_answered_at_once() {
    let mut running = Running::start("tgt/s-third");
    running.add(1, 1);
    running.remove(1).unwrap();
    running.add(1, 2);
    for service in [1, 2] {
        let answers = running.reset(service);
        assert!(
            matches!(answers[..], [LoopMessage::ResetDone(ServiceId(of), ResetId(id))] if (of, id) == (service, service)),
            "{answers:?}"
        );
    }
    running.end();
}
