//! Task sets (SAM-5 8): the order of simple, ordered and head of queue tasks. Each I_T nexus has a set (TST 001b).

use std::collections::VecDeque;

/// Identifies a task in its task set; the transport assigns it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TaskKey(pub u64);

/// Task attribute (SAM-5 8.9). Untagged tasks are handled as simple, and ACA tasks as ordered, because there is no auto
/// contingent allegiance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TaskAttribute {
    /// Runs in any order among simple tasks.
    Simple,
    /// Runs after all older tasks and before all newer ones.
    Ordered,
    /// Runs at once.
    HeadOfQueue,
}

/// What to do with an admitted task.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Admit {
    /// Start it.
    Run,
    /// Hold it until `next_ready` returns it.
    Held,
}

/// The tasks of one nexus on one unit. While all tasks are simple, the set is only a counter.
#[derive(Debug, Default)]
pub struct TaskSet {
    /// Number of running simple tasks. All are older than any held ordered task.
    simple: usize,
    /// Head of queue and ordered tasks until they finish, and held simple tasks; by age, with head of queue tasks first.
    queue: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    key: TaskKey,
    attribute: TaskAttribute,
    runs: bool,
}

impl TaskSet {
    /// Admits a task.
    #[inline]
    pub fn admit(&mut self, attribute: TaskAttribute, key: TaskKey) -> Admit {
        if attribute == TaskAttribute::Simple && self.queue.is_empty() {
            self.simple += 1;
            return Admit::Run;
        }
        self.admit_queued(attribute, key)
    }

    #[cold]
    fn admit_queued(&mut self, attribute: TaskAttribute, key: TaskKey) -> Admit {
        let runs = match attribute {
            TaskAttribute::HeadOfQueue => {
                self.queue.push_front(Entry { key, attribute, runs: true });
                return Admit::Run;
            }
            TaskAttribute::Ordered => self.simple == 0 && self.queue.is_empty(),
            TaskAttribute::Simple => false,
        };
        self.queue.push_back(Entry { key, attribute, runs });
        if runs { Admit::Run } else { Admit::Held }
    }

    /// Removes a task that completed, or was aborted before or after its start. Call `next_ready` afterwards.
    #[inline]
    pub fn finished(&mut self, key: TaskKey) {
        if !self.queue.is_empty()
            && let Some(index) = self.queue.iter().position(|entry| entry.key == key)
        {
            self.queue.remove(index);
            return;
        }
        debug_assert!(self.simple > 0, "a task finishes once");
        self.simple = self.simple.saturating_sub(1);
    }

    /// Returns a held task that must start now. Call it until it returns `None`.
    #[inline]
    pub fn next_ready(&mut self) -> Option<TaskKey> {
        let front = self.queue.front_mut()?;
        match front.attribute {
            TaskAttribute::Simple => {
                self.simple += 1;
                self.queue.pop_front().map(|entry| entry.key)
            }
            TaskAttribute::Ordered if !front.runs && self.simple == 0 => {
                front.runs = true;
                Some(front.key)
            }
            TaskAttribute::Ordered | TaskAttribute::HeadOfQueue => None,
        }
    }

    /// Number of tasks, running or held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.simple + self.queue.len()
    }

    /// Whether the set has no tasks.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs events: `s1` admits simple task 1, `o1` an ordered and `h1` a head of queue task, `f1` finishes task 1. Returns
    /// the started tasks, with a dot for each `f`.
    fn run(script: &str) -> String {
        let mut set = TaskSet::default();
        let mut started = Vec::new();
        for word in script.split_whitespace() {
            let (verb, number) = word.split_at(1);
            let key = TaskKey(number.parse().unwrap());
            let attribute = match verb {
                "s" => TaskAttribute::Simple,
                "o" => TaskAttribute::Ordered,
                "h" => TaskAttribute::HeadOfQueue,
                _ => {
                    set.finished(key);
                    started.push(".".to_owned());
                    while let Some(TaskKey(ready)) = set.next_ready() {
                        started.push(ready.to_string());
                    }
                    continue;
                }
            };
            if set.admit(attribute, key) == Admit::Run {
                started.push(number.to_owned());
            }
        }
        started.join(" ")
    }

    #[test]
    fn task_attributes_determine_the_order() {
        #[rustfmt::skip]
        let cases = [
            // Simple tasks run in any number.
            ("s1 s2 s3",                   "1 2 3"),
            // An ordered task waits for all older tasks and holds all newer ones.
            ("s1 s2 o3 s4 s5 f1 f2 f3",    "1 2 . . 3 . 4 5"),
            ("o1 s2 o3 s4 f1 f2 f3",       "1 . 2 . 3 . 4"),
            ("o1 o2 f1",                   "1 . 2"),
            // A head of queue task runs at once, even before an ordered one, and holds later tasks.
            ("s1 o2 h3 f1 f3",             "1 3 . . 2"),
            ("h1 s2 f1",                   "1 . 2"),
            ("o1 h2 f1 f2 ",               "1 2 . ."),
            // Aborting a held or a holding task releases the others.
            ("s1 o2 s3 f2",                "1 . 3"),
            ("o1 s2 s3 f2 f1",             "1 . . 3"),
        ];
        for (script, expected) in cases {
            assert_eq!(run(script), expected, "{script}");
        }
    }

    #[test]
    fn set_is_empty_when_all_tasks_finished() {
        let mut set = TaskSet::default();
        for (number, attribute) in
            [TaskAttribute::Simple, TaskAttribute::Ordered, TaskAttribute::Simple].into_iter().enumerate()
        {
            let _ = set.admit(attribute, TaskKey(number as u64));
        }
        assert_eq!(set.len(), 3);
        for number in 0..3 {
            set.finished(TaskKey(number));
            while set.next_ready().is_some() {}
        }
        assert!(set.is_empty());
    }
}
