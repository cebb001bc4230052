//! How a loop handles its messages, and what it reports to the control plane and to other loops.

use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use iscsi_proto::ids::{Cid, Tsih};
use iscsi_proto::login::LoginStatus;
use scsi_core::device::Nexus;
use scsi_core::lun::Lun;

use super::message::{CrossReset, LoopMessage, ResetId};
use super::poller::Interest;
use super::served::{Pending, Served};
use super::stream::Stream;
use super::target_loop::{DataLoop, Source};
use crate::control::messages::{
    Attach, AttachMode, LoopError, NewTarget, ServiceId, Ticket, ToControl, ToLoop,
};
use crate::iscsi::connection::NewConnection;
use crate::iscsi::login::CloseReason;
use crate::iscsi::text_exchange::{TextExchange, TextSession};
use crate::keys::ConnectionIndex;
use crate::model::Tid;
use crate::shard::functions::Reach;
use crate::shard::session::Session;
use crate::shard::{Env, ShardEvent, TargetShard};

impl DataLoop {
    pub(super) fn handle_message(&mut self, message: LoopMessage) {
        match message {
            LoopMessage::Control(message) => self.handle_control(message),
            LoopMessage::Siblings(tid, siblings) => {
                if let Some(index) = self.find(tid) {
                    self.shards[index].shard.set_siblings(siblings.len());
                    self.shards[index].siblings = siblings;
                }
            }
            LoopMessage::Attach(attach, socket) => self.attach(*attach, socket),
            LoopMessage::Reset(reset) => self.reset(*reset),
            LoopMessage::ResetDone(service, ResetId(id)) => {
                if let Some(index) = self.find_service(service) {
                    self.shards[index].shard.sibling_reset_done(id);
                    self.after(index, None);
                }
            }
        }
    }

    fn handle_control(&mut self, message: ToLoop) {
        match message {
            ToLoop::AddTarget(new) => self.add_target(*new),
            ToLoop::UpdateTarget(tid, settings) => {
                if let Some(index) = self.find(tid) {
                    self.shards[index].shard.set_settings(settings);
                    self.note(index);
                }
            }
            // With their mailboxes they come as `LoopMessage::Siblings`.
            ToLoop::Siblings(..) => {}
            ToLoop::RemoveTarget(tid, by, ticket) => self.remove_target(tid, by, ticket),
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
            ToLoop::RemoveUnit { tid, lun, by, ticket } => self.remove_unit(tid, lun, by, ticket),
            ToLoop::StopUnit(tid, lun, by, ticket) => self.stop_unit(tid, lun, by, ticket),
            ToLoop::ChangeMedium(tid, lun) => {
                if let Some(index) = self.find(tid) {
                    self.shards[index].shard.change_medium(lun, &mut self.engines);
                }
            }
            ToLoop::CloseConnection { tid, tsih, cid, ticket } => {
                self.close_connection(tid, tsih, cid, ticket)
            }
            ToLoop::End(time) => self.end(time),
        }
    }

    /// Finds the target's present service; one that is being removed only if there is no other.
    fn find(&self, tid: Tid) -> Option<usize> {
        let services = self.shards.iter().filter(|(_, served)| served.tid == tid);
        services.min_by_key(|(_, served)| served.is_leaving()).map(|(index, _)| index)
    }

    fn find_service(&self, service: ServiceId) -> Option<usize> {
        self.shards.iter().find(|(_, served)| served.service == service).map(|(index, _)| index)
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
            service: new.service,
            shard,
            streams: Vec::new(),
            pending: Vec::new(),
            siblings: Vec::new(),
            resets: Vec::new(),
            reset_count: 0,
            leaving: Vec::new(),
            is_ready: false,
            completed: false,
        });
    }

    fn remove_target(&mut self, tid: Tid, by: Instant, ticket: Ticket) {
        let Some(index) = self.find(tid) else { return self.answer(ticket, Err(LoopError::NoTarget)) };
        let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
        let served = &mut self.shards[index];
        served.leaving.push(ticket);
        served.shard.end(by, &mut env);
        self.after(index, None);
    }

    fn remove_unit(&mut self, tid: Tid, lun: Lun, by: Option<Instant>, ticket: Ticket) {
        let Some(index) = self.find(tid) else { return self.answer(ticket, Err(LoopError::NoTarget)) };
        let served = &mut self.shards[index];
        match (served.shard.unit_tasks(lun), by) {
            (None, _) => self.answer(ticket, Err(LoopError::NoUnit)),
            (Some(tasks), None) if tasks > 0 => self.answer(ticket, Err(LoopError::Busy)),
            (Some(_), by) => {
                served.pending.push(Pending::Unit(lun, ticket));
                let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
                served.shard.remove_unit(lun, by.unwrap_or(self.now), &mut env);
                self.after(index, None);
            }
        }
    }

    fn stop_unit(&mut self, tid: Tid, lun: Lun, by: Instant, ticket: Ticket) {
        let index = self.find(tid).filter(|&index| self.shards[index].shard.unit_tasks(lun).is_some());
        let Some(index) = index else { return self.answer(ticket, Err(LoopError::NoUnit)) };
        let served = &mut self.shards[index];
        served.pending.push(Pending::Stop(lun, ticket));
        let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
        served.shard.stop_unit(lun, by, &mut env);
        self.after(index, None);
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
        let Some(index) = self.find_service(reset.service) else {
            let _ = reset.back.send_reserved(LoopMessage::ResetDone(reset.service, reset.id));
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

    /// Takes over a connection that has logged in, or refuses it.
    fn attach(&mut self, attach: Attach, socket: TcpStream) {
        let index = self.find(attach.tid).filter(|&index| !self.shards[index].is_leaving());
        let Some(index) = index.filter(|_| self.end_by.is_none()) else {
            return self.refuse(&attach, &socket, LoginStatus::TargetRemoved, "the target ends");
        };
        let stream = self.streams.vacant_key();
        let key = match self.poller.register(&socket, Source::Stream(stream), Interest::Read) {
            Ok(key) => key,
            Err(error) => {
                let why = format!("the connection cannot be polled: {error}");
                return self.refuse(&attach, &socket, LoginStatus::OutOfResources, &why);
            }
        };
        let Some(place) = self.make_connection(index, &attach) else {
            self.poller.deregister(key, &socket);
            let why = "TSIH: the session ended during the login";
            return self.refuse(&attach, &socket, LoginStatus::SessionDoesNotExist, why);
        };
        let Attach { tid, login, tsih, nexus, mode, .. } = attach;
        self.streams.insert(Stream::new(socket, key, index, place));
        let served = &mut self.shards[index];
        if served.streams.len() <= place.get() {
            served.streams.resize(place.get() + 1, None);
        }
        served.streams[place.get()] = Some(stream);
        match mode {
            AttachMode::Join => {
                // The end of the connection that it replaces is reported first: they have the same CID.
                self.handle_events(index);
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

    fn make_connection(&mut self, index: usize, attach: &Attach) -> Option<ConnectionIndex> {
        let login = &attach.login;
        let shard = &mut self.shards[index].shard;
        let new = NewConnection {
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

    /// Refuses a login whose target or session has ended meanwhile. The response is sent if the socket takes it at once.
    fn refuse(&mut self, attach: &Attach, socket: &TcpStream, status: LoginStatus, why: &str) {
        let (peer, names, reason) = (attach.peer, attach.login.names(), CloseReason::Refused(status));
        self.warnings.warn(self.now, format_args!("{peer}: {names}{reason} ({why})"));
        let _ = rustix::net::send(socket, &attach.login.refusal(status), rustix::net::SendFlags::NOSIGNAL);
        let _ = TcpStream::shutdown(socket, Shutdown::Write);
        let Attach { tid, tsih, nexus, .. } = *attach;
        self.to_control(ToControl::AttachFailed(self.id, tid, tsih, nexus, attach.login.cid));
    }

    /// Handles the events of a shard.
    pub(super) fn handle_events(&mut self, index: usize) {
        let mut events = self.take_event_list();
        while let Some(served) = self.shards.get_mut(index) {
            if served.is_leaving() {
                let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
                served.shard.close_if_done(&mut env);
            }
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
            ShardEvent::UnitGone(lun) => self.answer_pending(
                index,
                |pending| matches!(*pending, Pending::Unit(of, _) | Pending::Stop(of, _) if of == lun),
            ),
            ShardEvent::UnitIdle(lun) => {
                self.answer_pending(index, |pending| matches!(*pending, Pending::Stop(of, _) if of == lun));
            }
            ShardEvent::ResetSiblings(reach, id) => self.reset_siblings(index, &reach, id),
            ShardEvent::ResetDone(id) => {
                let served = &mut self.shards[index];
                if let Some(at) = served.resets.iter().position(|(own, _, _)| *own == id) {
                    let (_, theirs, back) = served.resets.swap_remove(at);
                    let _ = back.send_reserved(LoopMessage::ResetDone(served.service, theirs));
                }
            }
        }
    }

    fn answer_pending(&mut self, index: usize, is_over: impl Fn(&Pending) -> bool) {
        let over: Vec<_> = self.shards[index].pending.extract_if(.., |pending| is_over(pending)).collect();
        for Pending::Unit(_, ticket) | Pending::Stop(_, ticket) in over {
            self.answer(ticket, Ok(()));
        }
    }

    fn reset_siblings(&mut self, index: usize, reach: &Reach, id: u64) {
        let service = self.shards[index].service;
        let siblings = std::mem::take(&mut self.shards[index].siblings);
        for (_, sibling) in &siblings {
            let reset = CrossReset { service, reach: reach.clone(), id: ResetId(id), back: self.own.clone() };
            // Reserved: a reset that is not delivered would count as done.
            if sibling.send_reserved(LoopMessage::Reset(Box::new(reset))).is_err() {
                // The loop has ended, and its commands with it.
                self.shards[index].shard.sibling_reset_done(id);
            }
        }
        self.shards[index].siblings = siblings;
    }

    fn close_stream(&mut self, index: usize, place: ConnectionIndex) {
        let served = &mut self.shards[index];
        if let Some(stream) = served.streams.get_mut(place.get()).and_then(Option::take) {
            let stream = self.streams.remove(stream);
            self.poller.deregister(stream.key, &stream);
        }
        served.shard.release(place);
    }

    fn remove_if_over(&mut self, index: usize) {
        let is_over = |served: &Served| served.is_leaving() && served.shard.is_idle();
        if self.shards.get(index).is_some_and(is_over) {
            for ticket in self.shards.remove(index).leaving {
                self.answer(ticket, Ok(()));
            }
        }
    }
}
