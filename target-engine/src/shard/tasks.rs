//! The running commands of a shard by their keys, and those of each session.

use std::ops::{Index, IndexMut};

use iscsi_proto::ids::Ttt;
use slab::Slab;

use super::task::Task;
use crate::keys::{SessionIndex, TaskKey};

/// All tasks of a shard.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    slab: Slab<Task>,
    generation: u16,
    /// By index of a task: its neighbours in the list of its session.
    links: Vec<Links>,
    /// By index of a session: its newest task.
    newest: Vec<u32>,
}

/// The neighbours of a task in the list of its session.
#[derive(Clone, Copy, Debug)]
struct Links {
    newer: u32,
    older: u32,
}

/// The end of a list.
const NONE: u32 = u32::MAX;

impl Tasks {
    /// Adds the task of a session that `make` makes for its key.
    #[inline]
    pub(super) fn insert(&mut self, session: SessionIndex, make: impl FnOnce(TaskKey) -> Task) -> TaskKey {
        self.generation = self.generation.wrapping_add(1);
        let key = TaskKey::new(self.slab.vacant_key(), self.generation);
        self.slab.insert(make(key));
        self.link(key.index(), session);
        key
    }

    /// Adds a task to the list of its session.
    #[inline]
    fn link(&mut self, index: usize, session: SessionIndex) {
        if self.links.len() <= index {
            self.links.resize(index + 1, Links { newer: NONE, older: NONE });
        }
        if self.newest.len() <= session.get() {
            self.newest.resize(session.get() + 1, NONE);
        }
        let older = std::mem::replace(&mut self.newest[session.get()], index as u32);
        self.links[index] = Links { newer: NONE, older };
        if let Some(links) = self.links.get_mut(older as usize) {
            links.newer = index as u32;
        }
    }

    /// Removes a task.
    #[inline]
    pub(super) fn remove(&mut self, key: TaskKey) -> Task {
        let session = self[key].session();
        let Links { newer, older } = self.links[key.index()];
        match self.links.get_mut(newer as usize) {
            Some(links) => links.older = older,
            None => self.newest[session.get()] = older,
        }
        if let Some(links) = self.links.get_mut(older as usize) {
            links.newer = newer;
        }
        self.slab.remove(key.index())
    }

    /// The tasks of a session, the newest first.
    pub(super) fn of_session(&self, session: SessionIndex) -> impl Iterator<Item = &Task> {
        let newest = self.newest.get(session.get()).copied();
        let older = |index: &u32| self.links.get(*index as usize).map(|links| links.older);
        std::iter::successors(newest, older).map_while(|index| self.slab.get(index as usize))
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

    /// Gives back the memory of tasks that have ended.
    pub(super) fn shrink(&mut self) {
        if self.slab.len() < self.slab.capacity() / 2 {
            self.slab.shrink_to_fit();
        }
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
