//! The payload buffers of a loop: page-aligned blocks by size class. The block freed last is used first, so that used blocks
//! stay in the cache. Once warm, nothing is allocated.
//!
//! Every session has an [`Account`] of the bytes that it holds. [`Pool::may_take`] is the one rule by which a session gets
//! more of them.

use std::cell::Cell;

use scsi_core::store::Block;

use crate::limits::{PAYLOAD_BYTES_MAX, POOL_IDLE_BYTES_MAX, SEGMENT_LEN_MAX, SESSION_BYTES_MIN};

/// Free blocks of 4 KiB to [`SEGMENT_LEN_MAX`], and how many bytes each account has in use.
#[derive(Debug)]
pub struct Pool {
    classes: [Vec<Block>; CLASSES],
    idle_bytes: usize,
    /// The fewest idle bytes since the last [`Pool::trim`].
    idle_low: usize,
    /// Bytes that went back to the allocator since [`Pool::take_freed`] was called.
    freed_bytes: usize,
    used_bytes: usize,
    /// Bytes of transmit rings that are not in blocks.
    queued_bytes: usize,
    reserved_bytes: usize,
    /// Bytes in use at stores that hang. They do not count against the budget.
    written_off: usize,
    /// Bytes that each account holds, by its index. They may be negative for a moment, while an account is written off.
    /// Those of [`Account::NONE`] do not count against the budget.
    accounts: Vec<isize>,
    /// Indices of closed accounts.
    closed: Vec<u16>,
    /// Accounts that hold something; counted only while memory is short.
    holders: Cell<Option<usize>>,
}

/// The bytes that one session holds: its blocks, and what is set aside for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Account(u16);

impl Account {
    /// No account: what a connection has received and not executed. It has at most two such blocks: the data of a PDU that
    /// is still arriving, and bytes that wait for a later turn.
    pub const NONE: Self = Self(0);
}

/// The allocator is asked to give memory back to the system when so many bytes went back to it.
const FREED_BYTES_MIN: usize = 8 * 1024 * 1024;

const SMALLEST_SHIFT: u32 = 12;
const CLASSES: usize = (SEGMENT_LEN_MAX.ilog2() - SMALLEST_SHIFT + 1) as usize;

impl Default for Pool {
    fn default() -> Self {
        Self {
            classes: Default::default(),
            idle_bytes: 0,
            idle_low: 0,
            freed_bytes: 0,
            used_bytes: 0,
            queued_bytes: 0,
            reserved_bytes: 0,
            written_off: 0,
            accounts: vec![0],
            closed: Vec::new(),
            holders: Cell::new(None),
        }
    }
}

impl Pool {
    /// Opens an account for a session.
    pub fn open(&mut self) -> Account {
        if let Some(index) = self.closed.pop() {
            return Account(index);
        }
        // More sessions than indices cannot be: their handles have 16 bits, too.
        let index = self.accounts.len().min(usize::from(u16::MAX));
        self.accounts.resize(index + 1, 0);
        Account(index as u16)
    }

    /// Closes the account of a session that holds nothing any more.
    pub fn close(&mut self, account: Account) {
        debug_assert_eq!(self.held_by(account), 0, "a session gives everything back before it ends");
        self.count(account, -self.held_by(account));
        self.closed.push(account.0);
    }

    /// Whether a session may hold so many bytes more.
    ///
    /// Half of the budget is for whoever comes. Of the other half a session gets what its share allows: the budget divided
    /// by the sessions that hold something. Whatever others hold, a session has [`SESSION_BYTES_MIN`].
    #[inline]
    #[must_use]
    pub fn may_take(&self, account: Account, bytes: usize) -> bool {
        let all = self.counted_bytes() + self.reserved_bytes + bytes;
        all <= PAYLOAD_BYTES_MAX / 2 || self.may_take_when_short(account, bytes, all)
    }

    #[cold]
    fn may_take_when_short(&self, account: Account, bytes: usize, all: usize) -> bool {
        let held = usize::try_from(self.held_by(account)).unwrap_or(0);
        let own = held + bytes;
        let share = PAYLOAD_BYTES_MAX / (self.holders() + usize::from(held == 0)).max(1);
        own <= SESSION_BYTES_MIN || all <= PAYLOAD_BYTES_MAX && own <= share
    }

    /// How many accounts hold something.
    fn holders(&self) -> usize {
        let holders = self
            .holders
            .get()
            .unwrap_or_else(|| self.accounts.iter().skip(1).filter(|&&held| held > 0).count());
        self.holders.set(Some(holders));
        holders
    }

    /// Takes a block with a length of `len` bytes, which counts for the account. It holds data of its last use, so every
    /// byte must be written before it is sent.
    ///
    /// # Panics
    /// `len` is above [`SEGMENT_LEN_MAX`].
    #[inline]
    pub fn take(&mut self, len: usize, account: Account) -> Block {
        let class = class_of(len);
        let mut block = match self.classes[class].pop() {
            Some(block) => {
                self.idle_bytes -= block.capacity();
                self.idle_low = self.idle_low.min(self.idle_bytes);
                block
            }
            None => Block::new(1 << (class as u32 + SMALLEST_SHIFT)),
        };
        self.used_bytes += block.capacity();
        block.set_len(len);
        block.set_owner(account.0);
        self.count(account, block.capacity() as isize);
        block
    }

    /// Gives a block back.
    #[inline(always)]
    pub fn give(&mut self, block: Block) {
        self.used_bytes = self.used_bytes.saturating_sub(block.capacity());
        self.count(Account(block.owner()), -(block.capacity() as isize));
        let shift = block.capacity().trailing_zeros();
        let blocks = self.classes.get_mut(shift.wrapping_sub(SMALLEST_SHIFT) as usize);
        match blocks.filter(|_| self.idle_bytes < POOL_IDLE_BYTES_MAX && block.capacity() == 1 << shift) {
            Some(blocks) => {
                self.idle_bytes += block.capacity();
                blocks.push(block);
            }
            None => self.freed_bytes += block.capacity(),
        }
    }

    /// Frees as many idle blocks as were never used since the last call, those that were idle longest first.
    pub fn trim(&mut self) {
        let mut unused = self.idle_low;
        for blocks in self.classes.iter_mut().rev() {
            let Some(capacity) = blocks.first().map(Block::capacity) else { continue };
            let count = blocks.len().min(unused / capacity);
            blocks.drain(..count);
            blocks.shrink_to(2 * blocks.len());
            unused -= count * capacity;
            self.idle_bytes -= count * capacity;
            self.freed_bytes += count * capacity;
        }
        self.idle_low = self.idle_bytes;
    }

    /// Whether [`Pool::trim`] or [`Pool::take_freed`] may have something to do later.
    #[must_use]
    pub fn has_excess(&self) -> bool {
        self.idle_bytes > 0 || self.freed_bytes >= FREED_BYTES_MIN
    }

    /// Whether so much memory went back to the allocator, and so little is in use, that the allocator should give it back to
    /// the system. Returns true once.
    pub fn take_freed(&mut self) -> bool {
        let is_much = self.freed_bytes >= FREED_BYTES_MIN && self.used_bytes <= POOL_IDLE_BYTES_MAX;
        if is_much {
            self.freed_bytes = 0;
        }
        is_much
    }

    /// Counts a block of [`Account::NONE`] for an account: its data has arrived.
    #[inline]
    pub fn assign(&mut self, block: &mut Block, account: Account) {
        self.count(Account(block.owner()), -(block.capacity() as isize));
        block.set_owner(account.0);
        self.count(account, block.capacity() as isize);
    }

    #[inline(always)]
    fn count(&mut self, account: Account, bytes: isize) {
        if let Some(held) = self.accounts.get_mut(usize::from(account.0)) {
            *held += bytes;
            if self.holders.get_mut().is_some() {
                self.count_holder(account, bytes);
            }
        }
    }

    /// An account has got so many bytes. Accounts that hold something are counted until little memory is in use.
    #[cold]
    fn count_holder(&mut self, account: Account, bytes: isize) {
        let now = self.held_by(account);
        let is_short = self.counted_bytes() + self.reserved_bytes > PAYLOAD_BYTES_MAX / 4;
        self.holders.set(match self.holders.get() {
            Some(holders) if is_short && account != Account::NONE => {
                Some(holders + usize::from(now > 0) - usize::from(now - bytes > 0))
            }
            holders => holders.filter(|_| is_short),
        });
    }

    /// Counts what a transmit ring holds beside blocks: `now` bytes, `before` at the last call.
    #[inline]
    pub fn count_queued(&mut self, before: usize, now: usize, account: Account) {
        self.queued_bytes = self.queued_bytes.saturating_sub(before) + now;
        self.freed_bytes += before.saturating_sub(now);
        self.count(account, now as isize - before as isize);
    }

    /// Stops counting `bytes` of blocks that were taken and will not be given back.
    pub fn lose(&mut self, bytes: usize, account: Account) {
        self.used_bytes = self.used_bytes.saturating_sub(bytes);
        self.count(account, -(bytes as isize));
    }

    /// Sets `bytes` of the budget aside for data to be asked for. Returns false if the session may not take them; but if
    /// nothing else is set aside, any number is granted.
    pub fn reserve(&mut self, bytes: usize, account: Account) -> bool {
        let fits = self.reserved_bytes == 0 || self.may_take(account, bytes);
        if fits {
            self.reserved_bytes += bytes;
            self.count(account, bytes as isize);
        }
        fits
    }

    /// Sets `bytes` aside even beyond the budget.
    pub fn reserve_anyway(&mut self, bytes: usize, account: Account) {
        self.reserved_bytes += bytes;
        self.count(account, bytes as isize);
    }

    /// Releases bytes that were set aside, because their data has arrived or will not arrive.
    pub fn release(&mut self, bytes: usize, account: Account) {
        debug_assert!(bytes <= self.reserved_bytes, "released bytes were reserved");
        self.reserved_bytes = self.reserved_bytes.saturating_sub(bytes);
        self.count(account, -(bytes as isize));
    }

    /// Stops counting bytes at a store that hangs. Bytes beyond a second budget still count against the budget.
    pub fn write_off(&mut self, bytes: usize, account: Account) {
        self.written_off += bytes;
        self.count(account, -(bytes as isize));
    }

    /// Reverses `write_off`: the store has answered.
    pub fn count_again(&mut self, bytes: usize, account: Account) {
        self.written_off = self.written_off.saturating_sub(bytes);
        self.count(account, bytes as isize);
    }

    /// Bytes in use that count against the budget.
    #[inline]
    #[must_use]
    pub fn counted_bytes(&self) -> usize {
        let written_off = self.written_off.min(PAYLOAD_BYTES_MAX);
        let unexecuted = self.accounts[0].max(0) as usize;
        (self.used_bytes + self.queued_bytes).saturating_sub(written_off + unexecuted)
    }

    /// Bytes of taken blocks.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// Bytes that are set aside.
    #[must_use]
    pub fn reserved_bytes(&self) -> usize {
        self.reserved_bytes
    }

    /// Bytes that an account holds.
    #[must_use]
    pub fn held_by(&self, account: Account) -> isize {
        self.accounts.get(usize::from(account.0)).copied().unwrap_or_default()
    }
}

#[inline]
fn class_of(len: usize) -> usize {
    assert!(len <= SEGMENT_LEN_MAX, "a segment is bounded");
    let bits = usize::BITS - (len.max(1) - 1).leading_zeros();
    bits.saturating_sub(SMALLEST_SHIFT) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> (Pool, Account) {
        let mut pool = Pool::default();
        let account = pool.open();
        (pool, account)
    }

    #[test]
    fn the_block_freed_last_is_taken_first() {
        let (mut pool, account) = pool();
        let (one, two) = (pool.take(4096, account), pool.take(3000, account));
        let at = two.as_ptr();
        assert_eq!((two.len(), two.capacity(), pool.used_bytes()), (3000, 4096, 8192));
        pool.give(one);
        pool.give(two);
        assert_eq!(pool.take(1, account).as_ptr(), at);
    }

    #[test]
    fn a_block_has_the_capacity_of_its_class() {
        for (len, capacity) in
            [(0, 4096), (1, 4096), (4096, 4096), (4097, 8192), (SEGMENT_LEN_MAX, SEGMENT_LEN_MAX)]
        {
            assert_eq!(Pool::default().take(len, Account::NONE).capacity(), capacity, "{len}");
        }
    }

    #[test]
    fn blocks_that_were_not_used_since_the_last_trim_are_freed() {
        let (mut pool, account) = pool();
        let blocks: Vec<_> = (0..4).map(|_| pool.take(SEGMENT_LEN_MAX, account)).collect();
        blocks.into_iter().for_each(|block| pool.give(block));
        pool.trim();
        assert_eq!(pool.idle_bytes, 4 * SEGMENT_LEN_MAX, "all were used lately");
        let block = pool.take(SEGMENT_LEN_MAX, account);
        pool.give(block);
        pool.trim();
        assert_eq!(pool.idle_bytes, SEGMENT_LEN_MAX);
        assert!(pool.has_excess());
        pool.trim();
        assert_eq!((pool.idle_bytes, pool.has_excess()), (0, false));
    }

    #[test]
    fn the_allocator_is_trimmed_once_after_much_was_freed() {
        let (mut pool, account) = pool();
        let count = (POOL_IDLE_BYTES_MAX + FREED_BYTES_MIN) / SEGMENT_LEN_MAX;
        let mut blocks: Vec<_> = (0..count).map(|_| pool.take(SEGMENT_LEN_MAX, account)).collect();
        let last = blocks.pop();
        blocks.into_iter().for_each(|block| pool.give(block));
        assert!(!pool.take_freed());
        last.into_iter().for_each(|block| pool.give(block));
        assert!(pool.has_excess() && pool.take_freed() && !pool.take_freed());
    }

    #[test]
    fn reservations_are_bounded_by_the_budget() {
        let (mut pool, account) = pool();
        assert!(pool.reserve(PAYLOAD_BYTES_MAX, account));
        assert!(!pool.reserve(1, account));
        pool.release(PAYLOAD_BYTES_MAX, account);
        assert!(pool.reserve(1, account));
    }

    #[test]
    fn a_session_gets_its_share_and_always_its_minimum() {
        let (mut pool, first) = pool();
        let (second, third) = (pool.open(), pool.open());
        pool.reserve_anyway(PAYLOAD_BYTES_MAX / 2, first);
        assert!(pool.may_take(first, PAYLOAD_BYTES_MAX / 2), "nobody else holds anything");
        pool.reserve_anyway(1, second);
        assert!(!pool.may_take(first, 1), "half of the budget is its share");
        assert!(pool.may_take(second, PAYLOAD_BYTES_MAX / 2 - 1));
        pool.reserve_anyway(PAYLOAD_BYTES_MAX / 2 - 1, second);
        assert!(!pool.may_take(second, 1));
        assert!(pool.may_take(third, SESSION_BYTES_MIN) && !pool.may_take(third, SESSION_BYTES_MIN + 1));
        pool.release(PAYLOAD_BYTES_MAX / 2, first);
        assert!(
            pool.may_take(third, PAYLOAD_BYTES_MAX / 2) && !pool.may_take(third, PAYLOAD_BYTES_MAX / 2 + 1)
        );
        pool.close(first);
        assert_eq!(pool.open(), first, "its index is used again");
    }

    #[test]
    fn holders_are_counted_while_memory_is_short_and_again_when_it_is_short_again() {
        let (mut pool, first) = pool();
        let others: Vec<_> = (0..3).map(|_| pool.open()).collect();
        for _ in 0..2 {
            pool.reserve_anyway(PAYLOAD_BYTES_MAX / 2, first);
            assert!(pool.may_take(first, 1));
            others.iter().for_each(|&other| pool.reserve_anyway(1, other));
            let share = PAYLOAD_BYTES_MAX / 4 - 1;
            assert!(pool.may_take(others[0], share) && !pool.may_take(others[0], share + 1));
            pool.release(1, others[2]);
            assert!(pool.may_take(others[0], PAYLOAD_BYTES_MAX / 3 - 1), "three hold something");
            pool.release(PAYLOAD_BYTES_MAX / 2, first);
            assert_eq!(pool.holders.get(), None, "memory is not short");
            others[..2].iter().for_each(|&other| pool.release(1, other));
        }
    }

    #[test]
    fn data_that_is_still_arriving_leaves_the_budget_to_others() {
        let (mut pool, account) = pool();
        let arriving: Vec<_> = (0..2 * PAYLOAD_BYTES_MAX / SEGMENT_LEN_MAX)
            .map(|_| pool.take(SEGMENT_LEN_MAX, Account::NONE))
            .collect();
        assert!(pool.may_take(account, PAYLOAD_BYTES_MAX / 2));
        for mut block in arriving {
            pool.assign(&mut block, account);
            assert_eq!(pool.held_by(account), SEGMENT_LEN_MAX as isize);
            pool.give(block);
        }
        assert_eq!((pool.used_bytes(), pool.counted_bytes(), pool.held_by(account)), (0, 0, 0));
    }

    #[test]
    fn written_off_bytes_do_not_count_up_to_a_second_budget() {
        let (mut pool, account) = pool();
        let blocks: Vec<_> =
            (0..PAYLOAD_BYTES_MAX / SEGMENT_LEN_MAX).map(|_| pool.take(SEGMENT_LEN_MAX, account)).collect();
        assert!(pool.reserve(1, account), "the first reservation is never refused");
        assert!(!pool.reserve(1, account));
        pool.write_off(SEGMENT_LEN_MAX, account);
        assert!(pool.reserve(SEGMENT_LEN_MAX - 1, account) && !pool.reserve(1, account));
        pool.write_off(2 * PAYLOAD_BYTES_MAX, account);
        assert_eq!(pool.counted_bytes(), 0);
        pool.count_again(2 * PAYLOAD_BYTES_MAX + SEGMENT_LEN_MAX, account);
        assert_eq!(pool.counted_bytes(), PAYLOAD_BYTES_MAX);
        blocks.into_iter().for_each(|block| pool.give(block));
    }
}
