//! One connection: what is sent, and what is received.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};

use rustix::io::Errno;
use scsi_core::store::{Completed, Completion, IoError};

use super::operations::{LinkId, Location, Operations, SentOn};
use super::protocol::{Broken, Cookie, Event, MESSAGE_LEN_MAX, Protocol};
use super::stream::Stream;
#[cfg(feature = "nbd-tls")]
use super::tls::TlsSettings;
use crate::layer::into_block;

/// A connection to a server.
pub(crate) struct Link<P> {
    pub(super) id: LinkId,
    pub(super) stream: Stream,
    pub(super) protocol: P,
    /// Whether requests may be sent.
    pub(super) ready: bool,
    /// What [`Event::Ready`] said; taken by the session.
    pub(super) became_ready: Option<Resized>,
    /// Number of requests that are queued or sent here.
    pub(super) load: usize,
    /// Order of the latest operation of which a request was answered.
    pub(super) answered: u64,
    /// Requests of which no byte was sent. Those whose operation has ended meanwhile are skipped.
    queue: VecDeque<Cookie>,
    /// What the protocol sends by itself.
    own: Vec<u8>,
    batch: Batch,
    /// Received bytes of a message that is not complete.
    rest: Vec<u8>,
    /// The data that comes next.
    payload: Option<Payload>,
    #[cfg(feature = "nbd-tls")]
    tls: Option<std::sync::Arc<TlsSettings>>,
}

/// Whether the size differs from that of the previous connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Resized(pub(crate) bool);

/// Encoded requests that are being sent.
#[derive(Default)]
struct Batch {
    /// The bytes of the requests without their data, behind bytes that the protocol sends by itself.
    bytes: Vec<u8>,
    /// How many of them were sent.
    sent: usize,
    /// The requests that are not sent completely.
    cuts: VecDeque<Cut>,
    /// How many bytes of the data of the first cut were sent.
    data_sent: usize,
}

/// A request of a batch.
struct Cut {
    cookie: Cookie,
    /// Its range in the bytes of the batch.
    start: usize,
    end: usize,
    /// Length of the data behind it.
    data_len: usize,
}

/// Data of a read that is to be received.
struct Payload {
    cookie: Cookie,
    at: usize,
    left: usize,
}

impl Batch {
    /// What is to be sent next. Returns the number of slices.
    fn gather<'a, T: Default>(
        &'a self,
        operations: &'a Operations<T>,
        slices: &mut [IoSlice<'a>; SLICES_MAX],
    ) -> usize {
        let (mut count, mut from, mut data_sent) = (0, self.sent, self.data_sent);
        let mut add = |bytes: &'a [u8]| {
            if !bytes.is_empty() {
                slices[count] = IoSlice::new(bytes);
                count += 1;
            }
        };
        for cut in self.cuts.iter().filter(|cut| cut.data_len > 0) {
            let data = operations.peek(cut.cookie).map_or(&[][..], |operation| operation.data());
            add(&self.bytes[from..cut.end]);
            add(&data[data_sent.min(data.len())..]);
            (from, data_sent) = (cut.end, 0);
        }
        add(&self.bytes[from..]);
        count
    }

    /// Notes that `left` further bytes were sent.
    fn advance<T: Default>(&mut self, mut left: usize, link: LinkId, operations: &mut Operations<T>) {
        while let Some(cut) = self.cuts.front() {
            let step = left.min(cut.end.saturating_sub(self.sent));
            self.sent += step;
            left -= step;
            if self.sent > cut.start
                && let Some(operation) = operations.get(cut.cookie)
            {
                operation.location = Location::Sent(link);
                operation.was_sent = true;
            }
            if self.sent < cut.end {
                return;
            }
            let step = left.min(cut.data_len - self.data_sent);
            self.data_sent += step;
            left -= step;
            if self.data_sent < cut.data_len {
                return;
            }
            self.cuts.pop_front();
            self.data_sent = 0;
        }
        self.sent += left;
    }

    /// The socket is full: requests of which no byte was sent return to the queue.
    fn take_back(&mut self, queue: &mut VecDeque<Cookie>) {
        while let Some(cut) = self.cuts.back().filter(|cut| cut.start >= self.sent) {
            self.bytes.truncate(cut.start);
            queue.push_front(cut.cookie);
            self.cuts.pop_back();
        }
        if self.sent == self.bytes.len() && self.cuts.is_empty() {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.sent = 0;
    }
}

/// The operations of an engine, and those that have ended.
pub(crate) struct Context<'a, T> {
    pub(crate) operations: &'a mut Operations<T>,
    pub(crate) done: &'a mut Vec<Completion>,
}

/// Number of requests that are sent with one system call.
const REQUESTS_AT_ONCE: usize = 64;
/// Each has a header and data, and the bytes of the protocol itself come before.
const SLICES_MAX: usize = 2 * REQUESTS_AT_ONCE + 1;

/// Length of the buffer for [`Link::receive`] in bytes.
pub(crate) const SCRATCH_LEN: usize = 64 * 1024 + MESSAGE_LEN_MAX;

impl<P: Protocol> Link<P> {
    /// A connection over a connected socket, with the first bytes of its protocol queued.
    pub(super) fn new(id: LinkId, stream: Stream, mut protocol: P) -> Self {
        let mut own = Vec::new();
        let ready = protocol.start(&mut own);
        Self {
            id,
            stream,
            protocol,
            ready,
            became_ready: ready.then_some(Resized(false)),
            load: 0,
            answered: 0,
            queue: VecDeque::new(),
            own,
            batch: Batch::default(),
            rest: Vec::new(),
            payload: None,
            #[cfg(feature = "nbd-tls")]
            tls: None,
        }
    }

    #[cfg(feature = "nbd-tls")]
    pub(super) fn with_tls(mut self, settings: Option<std::sync::Arc<TlsSettings>>) -> Self {
        self.tls = settings;
        self
    }

    /// Queues a request.
    pub(super) fn push(&mut self, cookie: Cookie, operations: &mut Operations<P::Progress>) {
        if let Some(operation) = operations.get(cookie) {
            operation.location = Location::Queued(self.id);
            self.queue.push_back(cookie);
            self.load += 1;
        }
    }

    /// Whether `send` has something to do.
    pub(super) fn has_output(&self) -> bool {
        !(self.own.is_empty() && self.batch.bytes.is_empty() && (self.queue.is_empty() || !self.ready))
            || self.stream.has_unsent()
    }

    /// Bytes that the protocol sends by itself.
    pub(super) fn with_own(&mut self, append: impl FnOnce(&mut P, &mut Vec<u8>)) {
        append(&mut self.protocol, &mut self.own);
    }

    /// Sends what is queued, until the socket is full. Returns whether everything is sent.
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) fn send(&mut self, context: &mut Context<'_, P::Progress>) -> Result<bool, Broken> {
        loop {
            if self.batch.bytes.is_empty() {
                self.encode(context);
                if self.batch.bytes.is_empty() && !self.stream.has_unsent() {
                    return Ok(true);
                }
            }
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = self.batch.gather(context.operations, &mut slices);
            let len: usize = slices[..count].iter().map(|slice| slice.len()).sum();
            let sent = match self.stream.send(&slices[..count]) {
                Ok(sent) => sent,
                Err(Errno::AGAIN) => 0,
                Err(errno) => return Err(self.broken(errno)),
            };
            self.batch.advance(sent, self.id, context.operations);
            if sent < len || self.stream.has_unsent() {
                self.batch.take_back(&mut self.queue);
                return Ok(false);
            }
            self.batch.clear();
        }
    }

    /// Encodes queued requests.
    fn encode(&mut self, context: &mut Context<'_, P::Progress>) {
        std::mem::swap(&mut self.batch.bytes, &mut self.own);
        while self.ready && self.batch.cuts.len() < REQUESTS_AT_ONCE {
            let Some(cookie) = self.queue.pop_front() else { return };
            let Some(operation) = context.operations.peek(cookie) else { continue };
            let start = self.batch.bytes.len();
            match self.protocol.request(cookie, &operation.piece, &mut self.batch.bytes) {
                None => {
                    let (end, data_len) = (self.batch.bytes.len(), operation.data().len());
                    self.batch.cuts.push_back(Cut { cookie, start, end, data_len });
                }
                Some(result) => {
                    self.batch.bytes.truncate(start);
                    self.end_piece(cookie, result, context);
                }
            }
        }
    }

    /// Receives once, or with TLS all that has come. `scratch` has [`SCRATCH_LEN`] bytes.
    ///
    /// # Errors
    /// The connection is lost, or the server violates the protocol.
    pub(super) fn receive(
        &mut self,
        scratch: &mut [u8],
        context: &mut Context<'_, P::Progress>,
    ) -> Result<(), Broken> {
        loop {
            let held = self.rest.len();
            scratch[..held].copy_from_slice(&self.rest);
            let received = match &self.payload {
                Some(Payload { cookie, at, left }) => {
                    let into = context.operations.read_buffer(self.id, *cookie, *at, *left);
                    let into = into.ok_or(UNKNOWN)?;
                    self.stream.receive(&mut [IoSliceMut::new(into), IoSliceMut::new(scratch)])
                }
                None => self.stream.receive(&mut [IoSliceMut::new(&mut scratch[held..])]),
            };
            let mut received = match received {
                Ok(0) => return Err(Broken::Ended),
                Ok(received) => received,
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno) => return Err(self.broken(errno)),
            };
            if let Some(payload) = &mut self.payload {
                let taken = received.min(payload.left);
                received -= taken;
                (payload.at, payload.left) = (payload.at + taken, payload.left - taken);
            }
            self.rest.clear();
            self.parse(&scratch[..held + received], context)?;
            if !self.stream.holds_data() {
                return Ok(());
            }
        }
    }

    /// Acts on received bytes, and keeps those of a message that is not complete.
    fn parse(&mut self, mut bytes: &[u8], context: &mut Context<'_, P::Progress>) -> Result<(), Broken> {
        loop {
            if let Some(Payload { cookie, at, left }) = &mut self.payload {
                let taken = bytes.len().min(*left);
                if taken > 0 {
                    let into = context.operations.read_buffer(self.id, *cookie, *at, taken);
                    into.ok_or(UNKNOWN)?.copy_from_slice(&bytes[..taken]);
                    bytes = &bytes[taken..];
                    (*at, *left) = (*at + taken, *left - taken);
                }
                if *left > 0 {
                    return Ok(());
                }
                self.payload = None;
            }
            let mut requests = SentOn { operations: context.operations, link: self.id };
            let (used, event) = self.protocol.received(bytes, &mut requests, &mut self.own)?;
            bytes = &bytes[used..];
            if (used, event) == (0, Event::None) {
                break;
            }
            self.act(event, bytes, context)?;
        }
        if bytes.len() > MESSAGE_LEN_MAX {
            return Err(Broken::Violation("a message is too long"));
        }
        self.rest.extend_from_slice(bytes);
        Ok(())
    }

    fn act(
        &mut self,
        event: Event,
        following: &[u8],
        context: &mut Context<'_, P::Progress>,
    ) -> Result<(), Broken> {
        match event {
            Event::None => {}
            Event::Ready { resized } => {
                self.ready = true;
                self.became_ready = Some(Resized(resized));
            }
            Event::StartTls => self.start_tls(following)?,
            Event::Payload { cookie, at, len } => {
                context.operations.read_buffer(self.id, cookie, at, len).ok_or(UNKNOWN)?;
                self.payload = Some(Payload { cookie, at, left: len });
            }
            Event::Zeroes { cookie, at, len } => {
                context.operations.read_buffer(self.id, cookie, at, len).ok_or(UNKNOWN)?.fill(0);
            }
            Event::Answer { cookie, result } => {
                self.check_sent(cookie, context.operations)?;
                self.end_piece(cookie, result, context);
            }
            Event::Repeat { cookie } => {
                self.check_sent(cookie, context.operations)?;
                let at = context.operations.peek(cookie).map_or(0, |operation| operation.piece.offset);
                self.go_on(cookie, at, context);
            }
        }
        Ok(())
    }

    /// An answer is possible only to a request that was sent completely.
    fn check_sent(&self, cookie: Cookie, operations: &mut Operations<P::Progress>) -> Result<(), Broken> {
        let sent =
            |operation: &mut super::operations::Operation<_>| operation.location == Location::Sent(self.id);
        if operations.get(cookie).is_none_or(|operation| !sent(operation)) {
            return Err(UNKNOWN);
        }
        if self.batch.cuts.front().is_some_and(|cut| cut.cookie == cookie) {
            return Err(Broken::Violation("an answer to a request that is not sent completely"));
        }
        Ok(())
    }

    /// Whether a request is sent in part, or its answer is received in part.
    pub(super) fn is_between(&self, cookie: Cookie) -> bool {
        self.batch.cuts.front().is_some_and(|cut| cut.cookie == cookie)
            || self.payload.as_ref().is_some_and(|payload| payload.cookie == cookie)
    }

    /// Sends a request once more that was sent completely.
    pub(super) fn repeat(&mut self, cookie: Cookie, context: &mut Context<'_, P::Progress>) {
        let Some(operation) = context.operations.get(cookie) else { return };
        operation.repeated = true;
        let at = operation.piece.offset;
        self.go_on(cookie, at, context);
    }

    /// A piece has ended: the operation ends, too, or its next piece is queued.
    fn end_piece(
        &mut self,
        cookie: Cookie,
        result: Result<Completed, IoError>,
        context: &mut Context<'_, P::Progress>,
    ) {
        if let Some(operation) = context.operations.get(cookie) {
            self.answered = self.answered.max(operation.order);
            if result.is_ok()
                && let Some(next) = operation.next_offset()
            {
                return self.go_on(cookie, next, context);
            }
        }
        self.finish(cookie, result, context);
    }

    /// Queues the piece at byte `at` of the store, unless the operation was cancelled.
    fn go_on(&mut self, cookie: Cookie, at: u64, context: &mut Context<'_, P::Progress>) {
        if context.operations.get(cookie).is_some_and(|operation| operation.cancelled) {
            return self.finish(cookie, Err(IoError::CANCELLED), context);
        }
        self.load -= 1;
        let len_max = |kind| self.protocol.len_max(kind);
        if let Some(next) = context.operations.set_piece(cookie, at, len_max) {
            self.push(next, context.operations);
        }
    }

    fn finish(
        &mut self,
        cookie: Cookie,
        result: Result<Completed, IoError>,
        context: &mut Context<'_, P::Progress>,
    ) {
        self.load -= 1;
        if let Some(operation) = context.operations.remove(cookie) {
            context.done.push(Completion { tag: operation.tag, block: into_block(operation.op), result });
        }
    }

    fn broken(&self, errno: Errno) -> Broken {
        self.stream.failure().map_or(Broken::Socket(errno), Broken::Refused)
    }

    #[cfg(feature = "nbd-tls")]
    fn start_tls(&mut self, following: &[u8]) -> Result<(), Broken> {
        if !following.is_empty() {
            return Err(Broken::Violation("data before the TLS handshake"));
        }
        let settings = self.tls.clone().ok_or(Broken::Violation("TLS without its settings"))?;
        self.stream.start_tls(&settings).map_err(Broken::Refused)
    }

    #[cfg(not(feature = "nbd-tls"))]
    fn start_tls(&mut self, _: &[u8]) -> Result<(), Broken> {
        Err(Broken::Refused("this program is built without TLS".to_owned()))
    }
}

const UNKNOWN: Broken = Broken::Violation("an answer to an unknown request");
