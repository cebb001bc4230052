//! The running commands of a shard by their keys.

use std::ops::{Index, IndexMut};

use iscsi_proto::ids::Ttt;
use slab::Slab;

use super::task::Task;
use crate::keys::TaskKey;

/// All tasks of a shard.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    slab: Slab<Task>,
    generation: u16,
}

impl Tasks {
    /// Adds the task that `make` makes for its key.
    #[inline]
    pub(super) fn insert(&mut self, make: impl FnOnce(TaskKey) -> Task) -> TaskKey {
        self.generation = self.generation.wrapping_add(1);
        let key = TaskKey::new(self.slab.vacant_key(), self.generation);
        self.slab.insert(make(key));
        key
    }

    /// Removes a task.
    #[inline]
    pub(super) fn remove(&mut self, key: TaskKey) -> Task {
        self.slab.remove(key.index())
    }

    /// The task, if it has not ended.
    #[inline]
    pub(super) fn get(&self, key: TaskKey) -> Option<&Task> {
        self.slab.get(key.index()).filter(|task| task.key() == key)
    }

    /// The task, if it has not ended.
    #[inline]
    pub(super) fn get_mut(&mut self, key: TaskKey) -> Option<&mut Task> {
        self.slab.get_mut(key.index()).filter(|task| task.key() == key)
    }

    /// The task that a target transfer tag names, if it has not ended.
    #[inline]
    pub(super) fn find_ttt(&self, ttt: Ttt) -> Option<TaskKey> {
        let key = self.slab.get(TaskKey::index_of_ttt(ttt))?.key();
        (key.ttt() == ttt).then_some(key)
    }

    /// All tasks.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Task> {
        self.slab.iter().map(|(_, task)| task)
    }

    /// All tasks.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Task> {
        self.slab.iter_mut().map(|(_, task)| task)
    }

    /// How many tasks there are.
    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether there is no task.
    pub(super) fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }
}

/// The caller knows that the task has not ended.
impl Index<TaskKey> for Tasks {
    type Output = Task;

    #[inline]
    fn index(&self, key: TaskKey) -> &Task {
        let task = &self.slab[key.index()];
        debug_assert_eq!(task.key(), key, "the task has not ended");
        task
    }
}

impl IndexMut<TaskKey> for Tasks {
    #[inline]
    fn index_mut(&mut self, key: TaskKey) -> &mut Task {
        let task = &mut self.slab[key.index()];
        debug_assert_eq!(task.key(), key, "the task has not ended");
        task
    }
}
