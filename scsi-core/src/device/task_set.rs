//! The order of a nexus' tasks (SAM-5 8): simple, ordered, head of queue. One set per I_T nexus (TST 001b).

use std::collections::VecDeque;

/// Names a task to its task set; the transport's own number.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TaskKey(pub u64);

/// TASK ATTRIBUTE (SAM-5 8.9). An untagged task is simple; without an auto contingent allegiance an ACA task is
/// ordered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TaskAttribute {
    /// In any order among its like.
    Simple,
    /// After all older ones, before all younger ones.
    Ordered,
    /// At once.
    HeadOfQueue,
}

/// What becomes of a task that joins the set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Admit {
    /// Start it.
    Run,
    /// Keep it until `next_ready` names it.
    Held,
}

/// Tasks of one nexus on one unit. While only simple tasks come it is a counter.
#[derive(Debug, Default)]
pub struct TaskSet {
    /// Simple tasks that run. All of them are older than any ordered task that waits.
    simple: usize,
    /// Head of queue and ordered tasks until they finish, simple ones only while they are held; by age, with
    /// heads of queue in front.
    queue: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    key: TaskKey,
    attribute: TaskAttribute,
    runs: bool,
}

impl TaskSet {
    /// Takes a task in.
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

    /// A task is over, or was aborted before or after it was started. Ask `next_ready` afterwards.
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

    /// A held task whose turn has come; ask until `None`.
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

    /// Tasks in the set, running or held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.simple + self.queue.len()
    }

    /// Whether no task is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line per event: `s1` admits simple task 1, `o`, `h` likewise, `f1` finishes it. Answers what was started.
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
    fn order_is_kept() {
        #[rustfmt::skip]
        let cases = [
            // Simple tasks run in any number.
            ("s1 s2 s3",                   "1 2 3"),
            // An ordered task waits for all older ones and holds all younger ones.
            ("s1 s2 o3 s4 s5 f1 f2 f3",    "1 2 . . 3 . 4 5"),
            ("o1 s2 o3 s4 f1 f2 f3",       "1 . 2 . 3 . 4"),
            ("o1 o2 f1",                   "1 . 2"),
            // A head of queue runs at once, even past an ordered one, and holds those that come after it.
            ("s1 o2 h3 f1 f3",             "1 3 . . 2"),
            ("h1 s2 f1",                   "1 . 2"),
            ("o1 h2 f1 f2 ",               "1 2 . ."),
            // Aborting what is held or what holds frees the rest.
            ("s1 o2 s3 f2",                "1 . 3"),
            ("o1 s2 s3 f2 f1",             "1 . . 3"),
        ];
        for (script, expected) in cases {
            assert_eq!(run(script), expected, "{script}");
        }
    }

    #[test]
    fn the_set_is_empty_when_all_is_done() {
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
