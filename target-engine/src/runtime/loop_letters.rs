//! What a loop does about its letters, and what it writes in return.

use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use iscsi_proto::ids::{Cid, Tsih};
use iscsi_proto::login::LoginStatus;
use scsi_core::device::Nexus;
use scsi_core::lun::Lun;

use super::letters::{
    Attach, AttachMode, CrossReset, Life, LoopError, NewTarget, ResetId, Ticket, ToControl, ToLoop,
};
use super::poller::Interest;
use super::stream::Stream;
use super::target_loop::{DataLoop, Served, Source};
use crate::iscsi::connection::NewConnection;
use crate::iscsi::text_exchange::{TextExchange, TextSession};
use crate::model::Tid;
use crate::target::session::Session;
use crate::target::shard::{Env, ShardEvent, TargetShard};
use crate::target::task_management::Reach;

/// A ticket whose answer waits for something to end.
#[derive(Debug)]
pub(super) enum Pending {
    /// The unit's last operation.
    Unit(Lun, Ticket),
}

impl DataLoop {
    pub(super) fn open_letter(&mut self, letter: ToLoop) {
        match letter {
            ToLoop::AddTarget(new) => self.add_target(*new),
            ToLoop::UpdateTarget(tid, settings) => {
                if let Some(index) = self.find(tid) {
                    self.shards[index].shard.set_settings(settings);
                    self.note(index);
                }
            }
            ToLoop::Siblings(tid, siblings) => {
                if let Some(index) = self.find(tid) {
                    self.shards[index].shard.set_siblings(siblings.len());
                    self.shards[index].siblings = siblings;
                }
            }
            ToLoop::RemoveTarget(tid, ticket) => self.remove_target(tid, ticket),
            ToLoop::AddUnit(tid, lun, unit, ticket) => {
                let result = self.find(tid).ok_or(LoopError::NoTarget).and_then(|index| {
                    let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
                    let shard = &mut self.shards[index].shard;
                    if shard.unit_tasks(lun).is_some() {
                        return Err(LoopError::UnitExists);
                    }
                    shard.add_unit(lun, unit, &mut env).map_err(LoopError::Store)
                });
                self.answer(ticket, result);
            }
            ToLoop::RemoveUnit { tid, lun, force, ticket } => self.remove_unit(tid, lun, force, ticket),
            ToLoop::Attach(attach) => self.attach(*attach),
            ToLoop::CloseConnection { tid, tsih, cid, ticket } => {
                self.close_connection(tid, tsih, cid, ticket)
            }
            ToLoop::Reset(reset) => self.reset(*reset),
            ToLoop::ResetDone(life, ResetId(id)) => {
                if let Some(index) = self.find_life(life) {
                    self.shards[index].shard.sibling_reset_done(id);
                    self.after(index, None);
                }
            }
            ToLoop::End(time) => self.end(time),
        }
    }

    /// The target's present life here; one that is ending is found only where no other has begun.
    fn find(&self, tid: Tid) -> Option<usize> {
        let lives = self.shards.iter().filter(|(_, served)| served.tid == tid);
        lives.min_by_key(|(_, served)| served.leaving.is_some()).map(|(index, _)| index)
    }

    fn find_life(&self, life: Life) -> Option<usize> {
        self.shards.iter().find(|(_, served)| served.life == life).map(|(index, _)| index)
    }

    fn add_target(&mut self, new: NewTarget) {
        let index = self.shards.vacant_key();
        let mut shard = TargetShard::new(index as u16, new.settings);
        let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
        for (lun, unit) in new.units {
            if let Err(error) = shard.add_unit(lun, unit, &mut env) {
                log::error!("target {}, LUN {lun}: {error}", new.tid);
            }
        }
        self.shards.insert(Served {
            tid: new.tid,
            life: new.life,
            shard,
            streams: Vec::new(),
            pending: Vec::new(),
            siblings: Vec::new(),
            resets: Vec::new(),
            reset_count: 0,
            leaving: None,
            is_ready: false,
            completed: false,
        });
    }

    fn remove_target(&mut self, tid: Tid, ticket: Ticket) {
        let Some(index) = self.find(tid) else { return self.answer(ticket, Err(LoopError::NoTarget)) };
        let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
        let served = &mut self.shards[index];
        served.leaving = Some(ticket);
        served.shard.close_all(&mut env);
        for number in 0..=Lun::MAX {
            match Lun::new(number.into()) {
                Some(lun) if served.shard.unit_tasks(lun).is_some() => {
                    served.shard.remove_unit(lun, &mut env)
                }
                _ => {}
            }
        }
        self.after(index, None);
    }

    fn remove_unit(&mut self, tid: Tid, lun: Lun, force: bool, ticket: Ticket) {
        let Some(index) = self.find(tid) else { return self.answer(ticket, Err(LoopError::NoTarget)) };
        let served = &mut self.shards[index];
        match served.shard.unit_tasks(lun) {
            None => self.answer(ticket, Err(LoopError::NoUnit)),
            Some(tasks) if tasks > 0 && !force => self.answer(ticket, Err(LoopError::Busy)),
            Some(_) => {
                served.pending.push(Pending::Unit(lun, ticket));
                let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
                served.shard.remove_unit(lun, &mut env);
                self.after(index, None);
            }
        }
    }

    fn close_connection(&mut self, tid: Tid, tsih: Tsih, cid: Cid, ticket: Ticket) {
        let found = self
            .find(tid)
            .and_then(|index| Some((index, self.shards[index].shard.find_connection(tsih, cid)?)));
        let Some((index, place)) = found else { return self.answer(ticket, Err(LoopError::NoConnection)) };
        let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
        self.shards[index].shard.close_connection(place, &mut env);
        self.after(index, None);
        self.answer(ticket, Ok(()));
    }

    fn reset(&mut self, reset: CrossReset) {
        let Some(index) = self.find_life(reset.life) else {
            let _ = reset.back.send_reserved(ToLoop::ResetDone(reset.life, reset.id));
            return;
        };
        let served = &mut self.shards[index];
        served.reset_count += 1;
        let id = served.reset_count;
        served.resets.push((id, reset.id, reset.back));
        let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
        served.shard.sibling_reset(&reset.reach, id, &mut env);
        self.after(index, None);
    }

    fn end(&mut self, time: Duration) {
        self.end_by = Some(self.now + time);
        for index in 0..self.shards.capacity() {
            if let Some(served) = self.shards.get_mut(index) {
                served.shard.ask_for_logout(time);
                self.after(index, None);
            }
        }
    }

    /// A connection that has logged in becomes the loop's own, or is refused.
    fn attach(&mut self, attach: Attach) {
        let index = self.find(attach.tid).filter(|&index| self.shards[index].leaving.is_none());
        let Some(index) = index.filter(|_| self.end_by.is_none()) else {
            return self.refuse(&attach, LoginStatus::TargetRemoved);
        };
        let stream = self.streams.vacant_key();
        let key = match self.poller.register(&attach.socket, Source::Stream(stream), Interest::Read) {
            Ok(key) => key,
            Err(error) => {
                let text = format_args!("{}: cannot be watched: {error}", attach.peer);
                self.warnings.say(self.now, log::Level::Error, text);
                return self.refuse(&attach, LoginStatus::OutOfResources);
            }
        };
        let Some(place) = self.make_connection(index, &attach) else {
            self.poller.deregister(key, &attach.socket);
            return self.refuse(&attach, LoginStatus::SessionDoesNotExist);
        };
        let Attach { tid, socket, login, tsih, nexus, mode, .. } = attach;
        self.streams.insert(Stream::new(socket, key, index, place));
        let served = &mut self.shards[index];
        if served.streams.len() <= place {
            served.streams.resize(place + 1, None);
        }
        served.streams[place] = Some(stream);
        match mode {
            AttachMode::Join => {
                // First that the one it replaces has ended: they have the same number.
                self.tell(index);
                self.to_control(ToControl::ConnectionJoined(self.id, tid, tsih, login.cid));
            }
            AttachMode::New | AttachMode::Reinstate(_) => {
                self.to_control(ToControl::SessionStarted(self.id, tid, tsih, nexus));
            }
        }
        let served = &mut self.shards[index];
        if let Some(window) = served.shard.window_of(place)
            && let Some(connection) = served.shard.connection(place)
        {
            connection.send_raw(&login.final_response(tsih, window.max));
        }
        let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
        served.shard.receive(place, &login.unread, &mut env);
        self.after(index, Some(stream));
    }

    fn make_connection(&mut self, index: usize, attach: &Attach) -> Option<usize> {
        let login = &attach.login;
        let shard = &mut self.shards[index].shard;
        let new = NewConnection {
            session: 0,
            cid: login.cid,
            peer: attach.peer,
            local: attach.local,
            params: &login.connection,
            target_name: login.target_name.clone(),
            text: TextExchange::new(
                TextSession::Normal(login.target_name.clone()),
                login.session,
                login.connection,
            ),
            next_stat_sn: login.next_stat_sn,
            stats: Arc::clone(&attach.connection_stats),
        };
        if attach.mode == AttachMode::Join {
            let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
            return shard.join(attach.tsih, new, &mut env);
        }
        if let AttachMode::Reinstate(old) = attach.mode {
            let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
            shard.close_session(old, &mut env);
        }
        let initiator_port: Arc<str> = login.initiator_port().into();
        let nexus = Nexus { id: attach.nexus, initiator_port, target_port: login.portal_group_tag };
        let depth = shard.settings().max_queue_cmd;
        let stats = Arc::clone(&attach.session_stats);
        let session = Session::new(attach.tsih, nexus, &login.session, login.next_cmd_sn, depth, stats);
        Some(shard.open(session, new, self.now))
    }

    /// Answers a login that comes too late, best effort: its socket closes with it.
    fn refuse(&self, attach: &Attach, status: LoginStatus) {
        let _ = rustix::net::send(
            &attach.socket,
            &attach.login.refusal(status),
            rustix::net::SendFlags::NOSIGNAL,
        );
        let _ = TcpStream::shutdown(&attach.socket, Shutdown::Write);
        self.to_control(ToControl::AttachFailed(self.id, attach.tid, attach.tsih, attach.nexus));
    }

    /// Acts on what happened in a shard.
    pub(super) fn tell(&mut self, index: usize) {
        let mut events = self.take_event_list();
        while let Some(served) = self.shards.get_mut(index) {
            served.shard.take_events(&mut events);
            if events.is_empty() {
                break;
            }
            for event in events.drain(..) {
                self.event(index, event);
            }
        }
        self.put_event_list(events);
        self.remove_if_over(index);
        self.note(index);
    }

    fn event(&mut self, index: usize, event: ShardEvent) {
        let tid = self.shards[index].tid;
        match event {
            ShardEvent::ConnectionClosed(place) => self.close_stream(index, place),
            ShardEvent::ConnectionEnded(tsih, cid) => {
                self.to_control(ToControl::ConnectionEnded(self.id, tid, tsih, cid));
            }
            ShardEvent::SessionEnded(tsih, nexus) => {
                self.to_control(ToControl::SessionEnded(self.id, tid, tsih, nexus));
            }
            ShardEvent::UnitGone(lun) => {
                let pending = std::mem::take(&mut self.shards[index].pending);
                for Pending::Unit(waits_for, ticket) in pending {
                    if waits_for == lun {
                        self.answer(ticket, Ok(()));
                    } else {
                        self.shards[index].pending.push(Pending::Unit(waits_for, ticket));
                    }
                }
            }
            ShardEvent::ResetSiblings(reach, id) => self.reset_siblings(index, &reach, id),
            ShardEvent::ResetDone(id) => {
                let served = &mut self.shards[index];
                if let Some(at) = served.resets.iter().position(|(own, _, _)| *own == id) {
                    let (_, theirs, back) = served.resets.swap_remove(at);
                    let _ = back.send_reserved(ToLoop::ResetDone(served.life, theirs));
                }
            }
        }
    }

    fn reset_siblings(&mut self, index: usize, reach: &Reach, id: u64) {
        let life = self.shards[index].life;
        let siblings = std::mem::take(&mut self.shards[index].siblings);
        for (_, sibling) in &siblings {
            let reset = CrossReset { life, reach: reach.clone(), id: ResetId(id), back: self.own.clone() };
            // One that is not delivered would pass for done.
            if sibling.send_reserved(ToLoop::Reset(Box::new(reset))).is_err() {
                // The loop has ended, and its commands with it.
                self.shards[index].shard.sibling_reset_done(id);
            }
        }
        self.shards[index].siblings = siblings;
    }

    fn close_stream(&mut self, index: usize, place: usize) {
        let served = &mut self.shards[index];
        if let Some(stream) = served.streams.get_mut(place).and_then(Option::take) {
            let stream = self.streams.remove(stream);
            self.poller.deregister(stream.key, &stream);
        }
        served.shard.release(place);
    }

    fn remove_if_over(&mut self, index: usize) {
        let Some(served) = self.shards.get(index) else { return };
        if let (Some(ticket), true) = (served.leaving, served.shard.is_idle()) {
            self.shards.remove(index);
            self.answer(ticket, Ok(()));
        }
    }
}
