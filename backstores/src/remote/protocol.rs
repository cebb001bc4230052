//! The protocol of a storage server as plain state: bytes in, bytes out, without sockets and threads.

use std::time::Instant;

use rustix::io::Errno;
use scsi_core::store::{Completed, IoError};

/// The client's side of a protocol, on one connection.
///
/// [`Engine`](super::Engine) connects, calls [`start`](Self::start), and passes every received byte to
/// [`received`](Self::received). When the protocol is ready, the engine calls [`request`](Self::request) for each
/// operation, or for each piece of a long one. It sends the bytes that these methods append to `out`; the data of a write
/// follows directly behind the bytes of its `request`. After a lost connection it connects again, calls `start`, and
/// repeats the requests that were not answered, with new cookies.
///
/// The engine ends an operation only when the server has answered it, or when no byte of it was sent. So an answer must
/// be reported only if the server has given it.
///
/// # Lost connections and volatile caches
///
/// A server may have ended with the connection, and with it writes that it had acknowledged and not yet stored. If
/// [`has_volatile_cache`](Self::has_volatile_cache), the engine reports that by a notice of the store on the loop of the
/// lost connection. The device server then fails the next flush of each I_T nexus that has written on this loop since its
/// last flush, once. The store itself keeps no account of writes: it does not know nexuses, and all commands of a nexus
/// come from one loop and use the connections of that loop.
pub(crate) trait Protocol: Send + 'static {
    /// What the protocol keeps for a request until it is answered, as the parts of a read that have arrived. It has its
    /// default value when [`request`](Self::request) was called.
    type Progress: Default + Send;

    /// A connection is established: drops all state of the previous one and appends the first bytes to send. Returns
    /// whether requests may be sent at once; otherwise they wait for [`Event::Ready`].
    fn start(&mut self, out: &mut Vec<u8>) -> bool;

    /// The maximum length of a request of this kind in bytes; more than 0. Longer operations are split into pieces that
    /// end at multiples of it. One piece is sent when the previous one is answered.
    fn len_max(&self, kind: RequestKind) -> u64;

    /// Appends a request without its data and returns `None`. If it returns a result instead, the request ends with it and
    /// nothing is sent, as a flush where the server has no cache, or a write beyond the present end of the store; `out` must
    /// be unchanged then. It is called again with the same cookie if no byte of the request could be sent.
    fn request(
        &mut self,
        cookie: Cookie,
        request: &Request,
        out: &mut Vec<u8>,
    ) -> Option<Result<Completed, IoError>>;

    /// Takes received bytes. Returns how many of them it has used, and what they mean.
    ///
    /// It is called again with the bytes that were not used, until it returns `(0, Event::None)`: the message is not
    /// complete. It is then called with the same bytes and further ones. A message that has to be complete may have up to
    /// [`MESSAGE_LEN_MAX`] bytes; the data of a read is not among them, see [`Event::Payload`]. Bytes appended to `out`
    /// are sent.
    ///
    /// # Errors
    /// The connection is of no further use. The engine closes it.
    fn received(
        &mut self,
        bytes: &[u8],
        requests: &mut impl Requests<Self::Progress>,
        out: &mut Vec<u8>,
    ) -> Result<(usize, Event), Broken>;

    /// Whether acknowledged writes may be lost with the server until they are flushed.
    fn has_volatile_cache(&self) -> bool {
        false
    }

    /// Whether the server may pass over a request while it answers later ones on the connection. Such a request is sent once
    /// more after half of its timeout, and the connection stays when the operation ends without an answer. The protocol must
    /// ignore late answers: requests that are not among `requests` in [`received`](Self::received).
    fn passes_over_requests(&self) -> bool {
        false
    }

    /// Appends the message that ends the connection; by default there is none.
    fn end(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; `None`: never.
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Appends what is due, such as a heartbeat.
    fn handle_timeout(&mut self, now: Instant, out: &mut Vec<u8>) {
        let _ = (now, out);
    }
}

/// Maximum length of a message that [`Protocol::received`] may wait for, in bytes.
pub(crate) const MESSAGE_LEN_MAX: usize = 68 << 10;

/// Identifies a request among the requests of a loop: the low 32 bits are unique among those that are not answered, the
/// others count the requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Cookie(pub(crate) u64);

/// An operation, or a piece of one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Request {
    pub(crate) kind: RequestKind,
    /// Offset in the store in bytes; 0 for a flush.
    pub(crate) offset: u64,
    /// Length in bytes; 0 for a flush.
    pub(crate) len: u64,
}

/// Kind of a [`Request`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RequestKind {
    Read,
    Write {
        /// The data must be on the medium before the answer.
        fua: bool,
    },
    Flush,
    Discard,
    WriteZeroes {
        /// The store may free the space.
        may_unmap: bool,
    },
    /// Query of how many bytes from the offset are all data or all a hole.
    Allocation,
}

/// The requests that are sent on a connection and not answered.
pub(crate) trait Requests<T> {
    /// The request with this cookie, and what the protocol keeps for it; `None` if there is none.
    fn get(&mut self, cookie: Cookie) -> Option<(&Request, &mut T)>;
}

/// What received bytes mean. The engine closes the connection if a cookie is unknown, or a range is not within its request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Event {
    /// Nothing for the engine.
    None,
    /// Requests may be sent.
    Ready {
        /// The size of the store differs from that of the previous connection.
        resized: bool,
    },
    /// The TLS handshake begins here; `start` is not called again after it, but [`Protocol::received`] is, with no bytes.
    StartTls,
    /// The `len` bytes that follow are data of a read, from byte `at` of the request on. The engine stores them, and then
    /// calls [`Protocol::received`] with what follows them.
    Payload { cookie: Cookie, at: usize, len: usize },
    /// These bytes of a read are zero.
    Zeroes { cookie: Cookie, at: usize, len: usize },
    /// The server has answered the request.
    Answer { cookie: Cookie, result: Result<Completed, IoError> },
    /// The server has not performed the request; the engine sends it again, in pieces of the present
    /// [`Protocol::len_max`].
    Repeat { cookie: Cookie },
}

/// Why a connection is of no further use.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Broken {
    /// The server violates the protocol. Repeated violations delay the next connection.
    #[error("the server violates the protocol: {0}")]
    Violation(&'static str),
    /// The server refuses the client, or what it has does not fit the unit. The text is for the operator.
    #[error("{0}")]
    Refused(String),
    /// The server ends the connection.
    #[error("the server ends the connection")]
    Ended,
    /// The socket failed.
    #[error("{0}")]
    Socket(#[from] Errno),
}
