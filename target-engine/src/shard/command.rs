//! SCSI commands: from the PDU to the device server (RFC 7143 11.3).

use iscsi_proto::pdu::{self, Bhs, RejectReason, ScsiCommand, TaskAttribute as WireAttribute};
use scsi_core::device::task_set::{Admit, TaskAttribute};
use scsi_core::device::{Outcome, Step, absent};
use scsi_core::status::Status;

use super::TargetShard;
use super::driver::Env;
use super::task::has_medium_data;
use crate::direction::{self, Direction};
use crate::iscsi::connection::data_out::{DataOutProgress, DataOutRules};
use crate::iscsi::connection::receive::{Data, Incoming};
use crate::keys::{ConnectionIndex, TaskKey};
use crate::limits::{DATA_OUT_LEN_MAX, IMMEDIATE_TASKS_MAX, PARAMETER_LIST_LEN_MAX};

impl TargetShard {
    /// A SCSI Command whose turn it is.
    pub(super) fn scsi_command(
        &mut self,
        connection: ConnectionIndex,
        incoming: Incoming<'_>,
        env: &mut Env<'_>,
    ) {
        let bhs = incoming.bhs;
        let Ok(command) = ScsiCommand::decode(&bhs) else {
            self.finish_unstarted(connection, &bhs);
            return self.reject(connection, &bhs, RejectReason::INVALID_PDU_FIELD, incoming.data, env);
        };
        let (session, own) = self.sessions.with_session(connection);
        own.count_command();
        if command.immediate && session.immediate_tasks() >= IMMEDIATE_TASKS_MAX {
            let reason = RejectReason::IMMEDIATE_COMMAND_REJECT;
            return self.reject(connection, &bhs, reason, incoming.data, env);
        }
        session.begin_task(command.immediate);
        let data_len = incoming.data.as_slice().len() as u32;
        let expected_out = if command.write { data_out_len(&command, session.rules()) } else { 0 };
        // An initiator that expects to send nothing has nothing more to send, whatever its F bit.
        let last = command.last || !command.write;
        let started = DataOutProgress::start(expected_out, data_len, last, session.rules());
        let (data_out, fault) = match started {
            Ok(progress) => (progress, None),
            Err(fault) => (DataOutProgress::broken(last), Some(fault)),
        };
        let account = session.account();
        let ids = (connection, own.session(), account);
        let direction = Direction::of(&command);
        let key = self.tasks.insert(ids.1, |task, key| {
            task.begin_command(key, ids, &command, &incoming.ahs, (direction, data_out));
        });
        let admitted = self.admit(key, command.attribute);
        if let Some(fault) = fault {
            incoming.data.discard(env.pool);
            return self.fail_data_out(key, fault, env);
        }
        if direction.is_impossible(command.expected_len, &incoming.ahs) {
            incoming.data.discard(env.pool);
            return self.finish(key, direction::refusal(), env);
        }
        if data_len > 0 && !env.pool.may_take(account, 0) {
            // Data that comes unasked is refused only to a session that has more than its share.
            incoming.data.discard(env.pool);
            let full = Outcome { status: Status::TaskSetFull, sense: None, data_in: Vec::new() };
            return self.finish(key, full, env);
        }
        self.begin_task(key, admitted, incoming.data, env);
    }

    /// A numbered command that does not become a task leaves the command window.
    fn finish_unstarted(&mut self, connection: ConnectionIndex, bhs: &Bhs) {
        if !pdu::is_immediate(bhs) {
            self.sessions.with_session(connection).0.commands().finished();
        }
    }

    #[inline]
    fn admit(&mut self, key: TaskKey, attribute: WireAttribute) -> Admit {
        let task = &mut self.tasks[key];
        let attribute = match attribute {
            WireAttribute::Untagged | WireAttribute::Simple => TaskAttribute::Simple,
            WireAttribute::Ordered | WireAttribute::Aca => TaskAttribute::Ordered,
            WireAttribute::HeadOfQueue => TaskAttribute::HeadOfQueue,
        };
        let unit = task.lun().and_then(|lun| self.units.get_mut(lun)).filter(|unit| !unit.is_leaving());
        let Some(unit) = unit else {
            // Without a unit there is no task set.
            task.has_no_unit();
            return Admit::Run;
        };
        unit.begin_task();
        unit.port().admit(task.session().nexus(), attribute, key.in_task_set())
    }

    /// Starts a task, or keeps its data until it may start.
    #[inline(always)]
    fn begin_task(&mut self, key: TaskKey, admitted: Admit, data: Data<'_>, env: &mut Env<'_>) {
        let is_enabled = admitted == Admit::Run;
        let task = &mut self.tasks[key];
        if task.has_all_data() {
            if is_enabled {
                return self.start(key, data, env);
            }
            task.keep(data, env.pool);
            task.hold();
        } else if is_enabled && task.is_long() {
            task.stream();
            task.keep(data, env.pool);
            self.expect_unsolicited(key);
            self.stream(key, env);
        } else {
            if is_enabled {
                task.enable();
            }
            task.keep(data, env.pool);
            self.expect_unsolicited(key);
            if !self.ends_without_data(key, env) {
                self.collect(key, env);
            }
        }
    }

    /// Ends a command whose turn has come and that needs none of its data, because its unit refuses it: no data is
    /// asked for. Returns false if the command needs its data. It is started again once that has arrived.
    fn ends_without_data(&mut self, key: TaskKey, env: &mut Env<'_>) -> bool {
        let task = &self.tasks[key];
        task.is_enabled()
            && has_medium_data(task.opcode())
            && self.start_or_try(key, Data::Borrowed(&[]), true, env)
    }

    /// Starts a long write whose turn has come; its data goes to the store as it arrives.
    pub(super) fn stream(&mut self, key: TaskKey, env: &mut Env<'_>) {
        self.tasks[key].stream();
        self.start(key, Data::Borrowed(&[]), env);
        self.request_data_if_alive(key, env);
    }

    /// Hands a command to its unit. `data` is its Data-Out, unless that was kept before.
    #[inline]
    pub(super) fn start(&mut self, key: TaskKey, data: Data<'_>, env: &mut Env<'_>) {
        self.start_or_try(key, data, false, env);
    }

    /// Hands a command to its unit, or only `tries` whether the unit ends it at once. Returns false if it does not.
    fn start_or_try(&mut self, key: TaskKey, data: Data<'_>, tries: bool, env: &mut Env<'_>) -> bool {
        let task = &mut self.tasks[key];
        let stats = self.sessions[task.session()].stats().unit(task.counted_at());
        if !tries {
            task.begin(stats);
        }
        let borrowed = task.keep_or_borrow(data, env.pool);
        let step = match task.lun() {
            None => absent::start(task.cdb(), self.units.list()),
            Some(_) if !self.settings.online => {
                Step::Done(Outcome { status: Status::Busy, sense: None, data_in: Vec::new() })
            }
            Some(lun) => {
                let Some((unit, luns)) = self.units.get_with_list(lun) else { return true };
                unit.refresh_store(env.engines);
                task.start(unit.port(), borrowed, luns)
            }
        };
        if tries {
            if !matches!(step, Step::Done(_)) {
                if let Some(unit) = task.lun().and_then(|lun| self.units.get_mut(lun)) {
                    task.unstart(unit.port());
                }
                return false;
            }
            task.begin(stats);
        }
        self.advance(key, step, borrowed, env);
        true
    }
}

/// How much is asked for: no more than the command can take, whatever the initiator announces. A longer first burst
/// arrives unasked.
fn data_out_len(command: &ScsiCommand, rules: &DataOutRules) -> u32 {
    let most = if has_medium_data(command.cdb[0]) { DATA_OUT_LEN_MAX } else { PARAMETER_LIST_LEN_MAX };
    command.expected_len.min(most.max(rules.first_burst_len))
}
