//! Keys of what a shard owns: sessions, connections and tasks. A [`TaskKey`] is also the name of a task towards its
//! unit, its store and its initiator; all these encodings are here.

use iscsi_proto::ids::Ttt;
use scsi_core::device::NexusIndex;
use scsi_core::device::task_set;
use scsi_core::store::IoTag;

/// Index of a session in its shard. It is used again once the session has ended.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionIndex(u32);

/// Index of a connection in its shard. It is used again once the connection was released.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnectionIndex(u32);

/// Key of a task: its index in the shard, and a generation that tells it from earlier tasks of the same index. A stale
/// key finds no task.
///
/// Bits 0 to 23 are the index, bits 24 to 39 the generation.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TaskKey(u64);

const INDEX_BITS: u32 = 24;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;
const KEY_MASK: u64 = (1 << 40) - 1;
const CHUNK_SHIFT: u32 = 40;
const SHARD_SHIFT: u32 = 48;
/// Bits of a target transfer tag that are a task's index; 8 bits of its generation follow.
const TTT_INDEX_BITS: u32 = 23;

impl SessionIndex {
    #[inline]
    pub(crate) fn new(index: usize) -> Self {
        Self(index as u32)
    }

    /// The index as a number.
    #[inline]
    #[must_use]
    pub fn get(self) -> usize {
        self.0 as usize
    }

    /// The session's name towards its units.
    #[inline]
    pub(crate) fn nexus(self) -> NexusIndex {
        NexusIndex(self.0)
    }
}

impl ConnectionIndex {
    #[inline]
    pub(crate) fn new(index: usize) -> Self {
        Self(index as u32)
    }

    /// The index as a number.
    #[inline]
    #[must_use]
    pub fn get(self) -> usize {
        self.0 as usize
    }
}

impl TaskKey {
    /// The key of no task.
    pub(crate) const NONE: Self = Self(u64::MAX);

    #[inline]
    pub(crate) fn new(index: usize, generation: u16) -> Self {
        debug_assert!(index as u64 <= INDEX_MASK, "the command windows bound the number of tasks");
        Self(index as u64 & INDEX_MASK | u64::from(generation) << INDEX_BITS)
    }

    #[inline]
    pub(crate) fn index(self) -> usize {
        (self.0 & INDEX_MASK) as usize
    }

    #[inline]
    fn generation(self) -> u16 {
        (self.0 >> INDEX_BITS) as u16
    }

    /// The task's name in its unit's task set.
    #[inline]
    pub(crate) fn in_task_set(self) -> task_set::TaskKey {
        task_set::TaskKey(self.0)
    }

    /// The task that a task set names.
    #[inline]
    pub(crate) fn from_task_set(key: task_set::TaskKey) -> Self {
        Self(key.0)
    }

    /// The tag of operation `chunk` of the task, in the shard with the number `shard`.
    #[inline]
    pub(crate) fn io_tag(self, shard: u16, chunk: u8) -> IoTag {
        IoTag(u64::from(shard) << SHARD_SHIFT | u64::from(chunk) << CHUNK_SHIFT | self.0)
    }

    /// The task and the number of its operation that a tag names.
    #[inline]
    pub(crate) fn from_io_tag(tag: IoTag) -> (Self, u8) {
        (Self(tag.0 & KEY_MASK), (tag.0 >> CHUNK_SHIFT) as u8)
    }

    /// The target transfer tag of the task. Its highest bit is 0, so it is never the reserved value.
    pub(crate) fn ttt(self) -> Ttt {
        let index = self.0 as u32 & ((1 << TTT_INDEX_BITS) - 1);
        Ttt(index | u32::from(self.generation() as u8) << TTT_INDEX_BITS)
    }

    /// The index of the task that a target transfer tag may be of.
    #[inline]
    pub(crate) fn index_of_ttt(ttt: Ttt) -> usize {
        (ttt.0 & ((1 << TTT_INDEX_BITS) - 1)) as usize
    }
}

/// The number of the shard that an operation belongs to.
#[inline]
#[must_use]
pub fn shard_of(tag: IoTag) -> u16 {
    (tag.0 >> SHARD_SHIFT) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_names_its_shard_task_and_operation() {
        let key = TaskKey::new(0x00ab_cdef, 0x1234);
        let tag = key.io_tag(0x5678, 0x9a);
        assert_eq!((shard_of(tag), TaskKey::from_io_tag(tag)), (0x5678, (key, 0x9a)));
        assert_eq!(TaskKey::from_task_set(key.in_task_set()), key);
        assert_eq!((key.index(), key.generation()), (0x00ab_cdef, 0x1234));
    }

    #[test]
    fn a_transfer_tag_names_the_index_and_changes_with_the_generation() {
        let (first, second) = (TaskKey::new(5, 0xffff), TaskKey::new(5, 0));
        assert_ne!(first.ttt(), second.ttt());
        assert_eq!([first, second].map(|key| TaskKey::index_of_ttt(key.ttt())), [5, 5]);
        assert_ne!(TaskKey::new(0x007f_ffff, 0xffff).ttt(), Ttt(u32::MAX), "reserved");
    }
}
