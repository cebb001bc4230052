//! What a loop does for its targets after each call: it acts on the events of their shards.

use super::LoopState;
use super::effect::{CrossReset, Effect, ResetId};
use super::served::{Pending, Served};
use super::stream::ByteStream;
use crate::control::messages::ToControl;
use crate::keys::ConnectionIndex;
use crate::shard::ShardEvent;
use crate::shard::functions::Reach;

impl<S: ByteStream, A: Clone> LoopState<S, A> {
    /// Handles the events of a shard.
    pub(super) fn handle_events(&mut self, index: usize) {
        let mut events = std::mem::take(&mut self.events);
        while let Some(served) = self.targets.get_mut(index) {
            if served.is_leaving() {
                served.shard.close_if_done(&mut self.resources.env());
            }
            served.shard.take_events(&mut events);
            if events.is_empty() {
                break;
            }
            for event in events.drain(..) {
                self.event(index, event);
            }
        }
        self.events = events;
        self.remove_if_over(index);
        self.note(index);
    }

    fn event(&mut self, index: usize, event: ShardEvent) {
        let tid = self.targets[index].tid;
        match event {
            ShardEvent::ConnectionClosed(place) => self.close_stream(index, place),
            ShardEvent::ConnectionEnded(tsih, cid) => {
                self.notify(ToControl::ConnectionEnded(self.id, tid, tsih, cid));
            }
            ShardEvent::SessionEnded(tsih, nexus) => {
                self.notify(ToControl::SessionEnded(self.id, tid, tsih, nexus));
            }
            ShardEvent::UnitGone(lun) => self.answer_pending(
                index,
                |pending| matches!(*pending, Pending::Unit(of, _) | Pending::Stop(of, _) if of == lun),
            ),
            ShardEvent::UnitIdle(lun) => {
                self.answer_pending(index, |pending| matches!(*pending, Pending::Stop(of, _) if of == lun));
            }
            ShardEvent::StoreResized(lun) => {
                if let Some(unit) = self.targets[index].shard.unit(lun) {
                    self.notify(ToControl::StoreResized(tid, lun, unit));
                }
            }
            ShardEvent::ResetSiblings(reach, id) => self.reset_siblings(index, &reach, id),
            ShardEvent::ResetDone(id) => {
                let served = &mut self.targets[index];
                if let Some(at) = served.resets.iter().position(|(own, _, _)| *own == id) {
                    let (_, theirs, back) = served.resets.swap_remove(at);
                    self.effects.push_back(Effect::ResetDone(back, served.service, theirs));
                }
            }
        }
    }

    fn answer_pending(&mut self, index: usize, is_over: impl Fn(&Pending) -> bool) {
        let over: Vec<_> = self.targets[index].pending.extract_if(.., |pending| is_over(pending)).collect();
        for Pending::Unit(_, ticket) | Pending::Stop(_, ticket) in over {
            self.answer(ticket, Ok(()));
        }
    }

    fn reset_siblings(&mut self, index: usize, reach: &Reach, id: u64) {
        let served = &self.targets[index];
        for sibling in &served.siblings {
            let (reach, back) = (reach.clone(), self.own.clone());
            let reset = CrossReset { service: served.service, reach, id: ResetId(id), back };
            self.effects.push_back(Effect::Reset(sibling.clone(), Box::new(reset)));
        }
    }

    fn close_stream(&mut self, index: usize, place: ConnectionIndex) {
        let served = &mut self.targets[index];
        if let Some(stream) = served.streams.get_mut(place.get()).and_then(Option::take) {
            self.effects.push_back(Effect::Close(self.streams.remove(stream.0).socket));
        }
        served.shard.release(place);
    }

    fn remove_if_over(&mut self, index: usize) {
        let is_over = |served: &Served<A>| served.is_leaving() && served.shard.is_idle();
        if self.targets.get(index).is_some_and(is_over) {
            for ticket in self.targets.remove(index).leaving {
                self.answer(ticket, Ok(()));
            }
        }
    }
}
