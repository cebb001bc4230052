//! A connection to nebd-server that waits for the reply to each request, for the requests outside loops.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::wire::{HEAD_LEN, Head, Reply, ReplyMeta, Request, WireError};

/// A connection with one request at a time.
#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    /// Correlation ID of the last request.
    last: u64,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the server violates the protocol: {0}")]
    Wire(#[from] WireError),
    #[error("the call failed with code {0}: {1}")]
    Failed(i32, String),
    #[error("refused: {0}")]
    Refused(String),
}

impl Client {
    /// Connects until `deadline`.
    ///
    /// # Errors
    /// Returns the error of the system call.
    pub(super) fn connect(path: &Path, deadline: Instant) -> io::Result<Self> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // Connecting waits while the server does not accept connections.
        set_socket_timeout(&socket, Timeout::Send, Some(left_until(deadline)?))?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(Self { stream: UnixStream::from(socket), last: 0 })
    }

    /// Sends a request without attachment and waits for the reply until `deadline`.
    ///
    /// # Errors
    /// The connection is of no further use except after [`CallError::Failed`] and [`CallError::Refused`].
    pub(super) fn call(&mut self, request: &Request<'_>, deadline: Instant) -> Result<Reply, CallError> {
        self.last += 1;
        let mut frame = Vec::new();
        request.encode(self.last, &mut frame);
        self.stream.set_write_timeout(Some(left_until(deadline)?))?;
        self.stream.write_all(&frame)?;
        let mut head = [0; HEAD_LEN];
        self.read(&mut head, deadline)?;
        let head = Head::decode(&head)?;
        let mut body = vec![0; head.meta_len + head.rest_len];
        self.read(&mut body, deadline)?;
        let (meta, message) = body.split_at(head.meta_len);
        let meta = ReplyMeta::decode(head, meta)?;
        if meta.correlation != self.last || meta.attachment_len != 0 {
            return Err(WireError::Unexpected.into());
        }
        if let Some((code, text)) = meta.failure {
            return Err(CallError::Failed(code, text));
        }
        let reply = Reply::decode(message)?;
        if reply.ok { Ok(reply) } else { Err(CallError::Refused(reply.text)) }
    }

    fn read(&mut self, mut into: &mut [u8], deadline: Instant) -> io::Result<()> {
        while !into.is_empty() {
            self.stream.set_read_timeout(Some(left_until(deadline)?))?;
            match self.stream.read(into) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => into = &mut into[len..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The time until `deadline`, more than 0: a timeout of 0 would mean none.
fn left_until(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left < Duration::from_micros(1) { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}
