//! The running commands of a shard by their keys, and those of each session. A slot keeps its task when that has ended, and
//! the next command begins in it: no task is moved.

use std::ops::{Index, IndexMut};

use iscsi_proto::ids::Ttt;

use super::task::Task;
use crate::keys::{SessionIndex, TaskKey};

/// All tasks of a shard.
#[derive(Debug)]
pub(super) struct Tasks {
    /// By index of a task.
    slots: Vec<Slot>,
    /// The vacant slot that is used next; `older` is the one after it.
    vacant: u32,
    /// How many slots are in use.
    len: usize,
    generation: u16,
    /// By index of a session: its newest task.
    newest: Vec<u32>,
    /// How many tasks its walks have looked at.
    #[cfg(test)]
    pub(super) looked_at: std::cell::Cell<usize>,
}

/// A task, and its neighbours in the list of its session.
#[derive(Debug)]
struct Slot {
    task: Task,
    newer: u32,
    older: u32,
}

/// The end of a list.
const NONE: u32 = u32::MAX;

impl Default for Tasks {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            vacant: NONE,
            len: 0,
            generation: 0,
            newest: Vec::new(),
            #[cfg(test)]
            looked_at: std::cell::Cell::default(),
        }
    }
}

impl Tasks {
    /// Adds a task of a session. `begin` begins it with its key.
    #[inline]
    pub(super) fn insert(
        &mut self,
        session: SessionIndex,
        begin: impl FnOnce(&mut Task, TaskKey),
    ) -> TaskKey {
        if self.vacant == NONE {
            self.add_slot();
        }
        self.len += 1;
        self.generation = self.generation.wrapping_add(1);
        let index = self.vacant;
        let slot = &mut self.slots[index as usize];
        self.vacant = slot.older;
        let key = TaskKey::new(index as usize, self.generation);
        begin(&mut slot.task, key);
        if self.newest.len() <= session.get() {
            self.newest.resize(session.get() + 1, NONE);
        }
        let older = std::mem::replace(&mut self.newest[session.get()], index);
        (slot.newer, slot.older) = (NONE, older);
        if let Some(slot) = self.slots.get_mut(older as usize) {
            slot.newer = index;
        }
        key
    }

    #[cold]
    fn add_slot(&mut self) {
        let index = self.slots.len() as u32;
        self.slots.push(Slot { task: Task::unused(), newer: NONE, older: self.vacant });
        self.vacant = index;
    }

    /// Removes a task.
    #[inline]
    pub(super) fn remove(&mut self, key: TaskKey) {
        let vacant = std::mem::replace(&mut self.vacant, key.index() as u32);
        self.len -= 1;
        let slot = &mut self.slots[key.index()];
        let session = slot.task.session();
        slot.task.end();
        let newer = slot.newer;
        let older = std::mem::replace(&mut slot.older, vacant);
        match self.slots.get_mut(newer as usize) {
            Some(slot) => slot.older = older,
            None => self.newest[session.get()] = older,
        }
        if let Some(slot) = self.slots.get_mut(older as usize) {
            slot.newer = newer;
        }
    }

    /// The tasks of a session, the newest first.
    pub(super) fn of_session(&self, session: SessionIndex) -> impl Iterator<Item = &Task> {
        let slot = |index: u32| self.slots.get(index as usize);
        let newest = self.newest.get(session.get()).and_then(|&index| slot(index));
        std::iter::successors(newest, move |newer| slot(newer.older)).map(|slot| self.look(slot))
    }

    /// The task, if it has not ended.
    #[inline]
    pub(super) fn get(&self, key: TaskKey) -> Option<&Task> {
        self.slots.get(key.index()).map(|slot| &slot.task).filter(|task| task.key() == key)
    }

    /// The task, if it has not ended.
    #[inline]
    pub(super) fn get_mut(&mut self, key: TaskKey) -> Option<&mut Task> {
        self.slots.get_mut(key.index()).map(|slot| &mut slot.task).filter(|task| task.key() == key)
    }

    /// The task that a target transfer tag names, if it has not ended.
    #[inline]
    pub(super) fn find_ttt(&self, ttt: Ttt) -> Option<TaskKey> {
        let key = self.slots.get(TaskKey::index_of_ttt(ttt))?.task.key();
        (key != TaskKey::NONE && key.ttt() == ttt).then_some(key)
    }

    /// All tasks.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Task> {
        self.slots.iter().map(|slot| self.look(slot)).filter(|task| task.key() != TaskKey::NONE)
    }

    /// The task of a slot to which a walk has come.
    #[inline]
    fn look<'a>(&self, slot: &'a Slot) -> &'a Task {
        #[cfg(test)]
        self.looked_at.set(self.looked_at.get() + 1);
        &slot.task
    }

    /// All tasks.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Task> {
        self.slots.iter_mut().map(|slot| &mut slot.task).filter(|task| task.key() != TaskKey::NONE)
    }

    /// Gives back the memory of tasks that have ended.
    pub(super) fn shrink(&mut self) {
        if self.len >= self.slots.capacity() / 2 {
            return;
        }
        while self.slots.pop_if(|slot| slot.task.key() == TaskKey::NONE).is_some() {}
        self.slots.shrink_to_fit();
        self.vacant = NONE;
        for (index, slot) in self.slots.iter_mut().enumerate().rev() {
            if slot.task.key() == TaskKey::NONE {
                slot.task = Task::unused();
                slot.older = std::mem::replace(&mut self.vacant, index as u32);
            }
        }
    }

    /// How many tasks there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no task.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The caller knows that the task has not ended.
impl Index<TaskKey> for Tasks {
    type Output = Task;

    #[inline]
    fn index(&self, key: TaskKey) -> &Task {
        let task = &self.slots[key.index()].task;
        debug_assert_eq!(task.key(), key, "the task has not ended");
        task
    }
}

impl IndexMut<TaskKey> for Tasks {
    #[inline]
    fn index_mut(&mut self, key: TaskKey) -> &mut Task {
        let task = &mut self.slots[key.index()].task;
        debug_assert_eq!(task.key(), key, "the task has not ended");
        task
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use iscsi_proto::ids::Itt;
    use iscsi_proto::pdu::{ScsiCommand, TaskAttribute};
    use iscsi_proto::sn::{CmdSn, StatSn};

    use super::*;
    use crate::buffers::Account;
    use crate::direction::Direction;
    use crate::iscsi::connection::data_out::DataOutProgress;
    use crate::keys::ConnectionIndex;
    use crate::shard::task::State;

    fn begin(tasks: &mut Tasks, session: u32, itt: u32) -> TaskKey {
        let session = SessionIndex::new(session as usize);
        let command = ScsiCommand {
            immediate: false,
            last: true,
            read: false,
            write: false,
            attribute: TaskAttribute::Simple,
            lun: [0; 8],
            itt: Itt(itt),
            expected_len: 0,
            cmd_sn: CmdSn(0),
            exp_stat_sn: StatSn(0),
            cdb: [0; 16],
        };
        let ids = (ConnectionIndex::new(0), session, Account::NONE);
        let data = (Direction::None, DataOutProgress::NONE);
        tasks.insert(session, |task, key| task.begin_command(key, ids, &command, &Bytes::new(), data))
    }

    fn of_session(tasks: &Tasks, session: usize) -> Vec<u32> {
        tasks.of_session(SessionIndex::new(session)).map(|task| task.itt().0).collect()
    }

    #[test]
    fn a_command_begins_in_the_slot_that_was_vacated_last_and_finds_nothing_of_the_task_before() {
        let mut tasks = Tasks::default();
        let keys = [begin(&mut tasks, 0, 1), begin(&mut tasks, 0, 2), begin(&mut tasks, 1, 3)];
        let task = &mut tasks[keys[1]];
        task.hold();
        task.await_data_out(None, std::time::Instant::now());
        task.abort(Default::default(), None);
        tasks.remove(keys[1]);
        assert!(tasks.get(keys[1]).is_none() && tasks.find_ttt(keys[1].ttt()).is_none());
        assert_eq!((of_session(&tasks, 0), of_session(&tasks, 1), tasks.len()), (vec![1], vec![3], 2));
        assert_eq!(tasks.iter().count(), 2);
        let next = begin(&mut tasks, 1, 4);
        assert_eq!((next.index(), of_session(&tasks, 1)), (keys[1].index(), vec![4, 3]));
        assert!(tasks.get(keys[1]).is_none(), "its key is stale");
        assert!(tasks[next].state() == State::Collecting && !tasks[next].is_ending());
    }

    #[test]
    fn lists_and_vacant_slots_outlast_shrinking() {
        let mut tasks = Tasks::default();
        let keys: Vec<_> = (0..100).map(|itt| begin(&mut tasks, itt % 2, itt)).collect();
        for key in keys.iter().filter(|key| !matches!(key.index(), 3 | 10 | 13)) {
            tasks.remove(*key);
        }
        tasks.shrink();
        assert_eq!((tasks.slots.len(), tasks.len()), (14, 3));
        assert_eq!((of_session(&tasks, 0), of_session(&tasks, 1)), (vec![10], vec![13, 3]));
        let indices: Vec<_> = (0..12).map(|itt| begin(&mut tasks, 0, itt).index()).collect();
        assert_eq!(indices, [0, 1, 2, 4, 5, 6, 7, 8, 9, 11, 12, 14]);
        assert_eq!(of_session(&tasks, 0).len(), 13);
    }
}
