//! The table of operations of an engine, and the pieces in which they are sent.

use scsi_core::store::{BlockOp, Completion, IoError, IoTag};
use slab::Slab;

use super::protocol::{Cookie, Request, RequestKind, Requests};
use crate::layer::into_block;

/// All operations of an engine that have not ended.
#[derive(Debug)]
pub(crate) struct Operations<T> {
    slab: Slab<Operation<T>>,
    /// Number of operations so far.
    submitted: u64,
    /// Number of requests so far, in 32 bits.
    requests: u32,
}

/// An operation, and the piece of it that is sent or to be sent next.
#[derive(Debug)]
pub(crate) struct Operation<T> {
    pub(crate) tag: IoTag,
    /// Index of the session.
    pub(crate) session: usize,
    pub(crate) op: BlockOp,
    /// Its number in the order of submission.
    pub(crate) order: u64,
    pub(crate) piece: Request,
    /// What the protocol keeps for the piece.
    progress: T,
    /// High half of the cookie of the piece.
    request: u32,
    pub(crate) location: Location,
    pub(crate) cancelled: bool,
    /// A byte of a piece was sent at any time.
    pub(crate) was_sent: bool,
    /// See [`Protocol::passes_over_requests`](super::Protocol::passes_over_requests).
    pub(crate) repeated: bool,
    /// Count of the session's clock ticks when it was submitted.
    pub(crate) tick: u32,
}

/// Where the present piece of an operation is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Location {
    /// No connection is ready.
    Waiting,
    /// In the queue of this connection; no byte of it is sent.
    Queued(LinkId),
    /// A byte of it was sent on this connection.
    Sent(LinkId),
}

/// Identifies a connection of an engine; never used again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct LinkId(pub(crate) u64);

impl<T> Default for Operations<T> {
    fn default() -> Self {
        Self { slab: Slab::new(), submitted: 0, requests: 0 }
    }
}

impl<T: Default> Operations<T> {
    /// Adds an operation whose first piece has at most `len_max(kind)` bytes.
    pub(crate) fn insert(
        &mut self,
        session: usize,
        tag: IoTag,
        op: BlockOp,
        tick: u32,
        len_max: impl FnOnce(RequestKind) -> u64,
    ) -> Cookie {
        self.submitted += 1;
        self.requests = self.requests.wrapping_add(1);
        let whole = whole(&op);
        let key = self.slab.insert(Operation {
            tag,
            session,
            op,
            order: self.submitted,
            piece: first_piece(whole, len_max(whole.kind)),
            progress: T::default(),
            request: self.requests,
            location: Location::Waiting,
            cancelled: false,
            was_sent: false,
            repeated: false,
            tick,
        });
        cookie(key, self.requests)
    }

    pub(crate) fn get(&mut self, cookie: Cookie) -> Option<&mut Operation<T>> {
        let operation = self.slab.get_mut(key(cookie))?;
        (operation.request == (cookie.0 >> 32) as u32).then_some(operation)
    }

    /// The operation whose present piece has this cookie.
    pub(crate) fn peek(&self, cookie: Cookie) -> Option<&Operation<T>> {
        self.slab.get(key(cookie)).filter(|operation| operation.request == (cookie.0 >> 32) as u32)
    }

    /// Lets an operation continue at byte `at` of the store, with a new cookie. Its piece is in no queue then.
    pub(crate) fn set_piece(
        &mut self,
        old: Cookie,
        at: u64,
        len_max: impl FnOnce(RequestKind) -> u64,
    ) -> Option<Cookie> {
        self.get(old)?;
        self.requests = self.requests.wrapping_add(1);
        let requests = self.requests;
        let operation = self.slab.get_mut(key(old))?;
        let whole = whole(&operation.op);
        let rest = Request { offset: at, len: whole.len - (at - whole.offset), ..whole };
        operation.piece = first_piece(rest, len_max(whole.kind));
        operation.progress = T::default();
        operation.request = requests;
        operation.location = Location::Waiting;
        Some(cookie(key(old), requests))
    }

    /// Removes an operation that has ended.
    pub(crate) fn remove(&mut self, cookie: Cookie) -> Option<Operation<T>> {
        self.get(cookie)?;
        Some(self.slab.remove(key(cookie)))
    }

    /// The operations in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Cookie, &Operation<T>)> {
        self.slab.iter().map(|(key, operation)| (cookie(key, operation.request), operation))
    }

    /// `len` bytes of the block of a read, from byte `at` of its piece on; `None` if no such read was sent on this
    /// connection, or it has no such range.
    pub(crate) fn read_buffer(
        &mut self,
        link: LinkId,
        cookie: Cookie,
        at: usize,
        len: usize,
    ) -> Option<&mut [u8]> {
        let operation = self.get(cookie).filter(|operation| operation.location == Location::Sent(link))?;
        let end = at.checked_add(len).filter(|end| *end as u64 <= operation.piece.len)?;
        let BlockOp::Read { offset, into } = &mut operation.op else { return None };
        let base = (operation.piece.offset - *offset) as usize;
        into.get_mut(base + at..base + end)
    }
}

impl<T> Operation<T> {
    /// The data of the present piece; empty if it is not a write.
    pub(crate) fn data(&self) -> &[u8] {
        let BlockOp::Write { offset, from, .. } = &self.op else { return &[] };
        let base = (self.piece.offset - offset) as usize;
        &from[base..base + self.piece.len as usize]
    }

    /// Offset of the first byte of the store behind the present piece; `None` if it is the last one.
    pub(crate) fn next_offset(&self) -> Option<u64> {
        let (whole, end) = (whole(&self.op), self.piece.offset + self.piece.len);
        (!matches!(whole.kind, RequestKind::Flush | RequestKind::Allocation)
            && end < whole.offset + whole.len)
            .then_some(end)
    }

    /// The error of an operation that ends without an answer.
    pub(crate) fn unanswered(&self) -> IoError {
        let reads = matches!(self.op, BlockOp::Read { .. } | BlockOp::Allocation { .. });
        if self.was_sent && !reads { IoError::IN_DOUBT } else { IoError::UNREACHABLE }
    }

    /// The completion of the operation with this error.
    pub(crate) fn fail(self, error: IoError) -> Completion {
        Completion { tag: self.tag, block: into_block(self.op), result: Err(error) }
    }
}

fn cookie(key: usize, request: u32) -> Cookie {
    Cookie(u64::from(request) << 32 | key as u64 & u64::from(u32::MAX))
}

fn key(cookie: Cookie) -> usize {
    cookie.0 as u32 as usize
}

/// An operation as one request.
fn whole(op: &BlockOp) -> Request {
    match op {
        BlockOp::Read { offset, into } => {
            Request { kind: RequestKind::Read, offset: *offset, len: into.len() as u64 }
        }
        BlockOp::Write { offset, from, fua } => {
            Request { kind: RequestKind::Write { fua: *fua }, offset: *offset, len: from.len() as u64 }
        }
        BlockOp::Flush => Request { kind: RequestKind::Flush, offset: 0, len: 0 },
        BlockOp::Discard { offset, len } => {
            Request { kind: RequestKind::Discard, offset: *offset, len: *len }
        }
        BlockOp::WriteZeroes { offset, len, may_unmap } => {
            Request { kind: RequestKind::WriteZeroes { may_unmap: *may_unmap }, offset: *offset, len: *len }
        }
        BlockOp::Allocation { offset, len } => {
            Request { kind: RequestKind::Allocation, offset: *offset, len: *len }
        }
    }
}

/// The first piece of a request: it ends at a multiple of `len_max`.
fn first_piece(request: Request, len_max: u64) -> Request {
    if request.len <= len_max {
        return request;
    }
    Request { len: (len_max - request.offset % len_max).min(request.len), ..request }
}

/// The requests that were sent on one connection.
pub(crate) struct SentOn<'a, T> {
    pub(crate) operations: &'a mut Operations<T>,
    pub(crate) link: LinkId,
}

impl<T: Default> Requests<T> for SentOn<'_, T> {
    fn get(&mut self, cookie: Cookie) -> Option<(&Request, &mut T)> {
        let operation = self.operations.get(cookie)?;
        (operation.location == Location::Sent(self.link))
            .then_some((&operation.piece, &mut operation.progress))
    }
}

#[cfg(test)]
mod tests {
    use scsi_core::store::Block;

    use super::*;

    #[test]
    fn long_operation_is_sent_in_pieces_that_end_at_multiples_of_their_length() {
        let mut operations = Operations::<()>::default();
        let op = BlockOp::Discard { offset: 1500, len: 3000 };
        let mut cookie = operations.insert(0, IoTag(1), op, 0, |_| 1000);
        let mut pieces = Vec::new();
        loop {
            let operation = operations.get(cookie).unwrap();
            pieces.push((operation.piece.offset, operation.piece.len));
            let Some(next) = operation.next_offset() else { break };
            cookie = operations.set_piece(cookie, next, |_| 1000).unwrap();
        }
        assert_eq!(pieces, [(1500, 500), (2000, 1000), (3000, 1000), (4000, 500)]);
    }

    #[test]
    fn previous_cookie_of_an_operation_is_unknown() {
        let mut operations = Operations::<()>::default();
        let first = operations.insert(0, IoTag(1), BlockOp::Flush, 0, |_| 1);
        let second = operations.set_piece(first, 0, |_| 1).unwrap();
        assert_ne!(first, second);
        assert!(operations.get(first).is_none() && operations.remove(first).is_none());
        assert!(operations.remove(second).is_some() && operations.iter().count() == 0);
    }

    #[test]
    fn buffer_is_that_of_a_sent_read_and_its_range() {
        let mut operations = Operations::<()>::default();
        let op = BlockOp::Read { offset: 4096, into: Block::new(2048) };
        let read = operations.insert(0, IoTag(1), op, 0, |_| 1024);
        let link = LinkId(7);
        assert!(operations.read_buffer(link, read, 0, 1).is_none(), "not sent");
        operations.get(read).unwrap().location = Location::Sent(link);
        assert!(operations.read_buffer(LinkId(8), read, 0, 1).is_none(), "sent on another connection");
        assert!(operations.read_buffer(link, read, 1, 1024).is_none(), "behind the piece");
        assert!(operations.read_buffer(link, read, usize::MAX, 2).is_none(), "overflow");
        operations.read_buffer(link, read, 0, 1024).unwrap().fill(1);
        let read = operations.set_piece(read, 5120, |_| 1024).unwrap();
        operations.get(read).unwrap().location = Location::Sent(link);
        operations.read_buffer(link, read, 0, 1024).unwrap().fill(2);
        let Some(BlockOp::Read { into, .. }) = operations.remove(read).map(|operation| operation.op) else {
            panic!("the read is there");
        };
        assert!(into[..1024].iter().all(|byte| *byte == 1) && into[1024..].iter().all(|byte| *byte == 2));
    }
}
