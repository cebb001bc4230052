//! A TCP connection in memory.

use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read};
use std::rc::Rc;

use target_engine::loop_state::stream::{ByteStream, Readiness, Watch};

/// A connection; clones are the same one.
#[derive(Clone, Debug)]
pub struct Wire(Rc<RefCell<Bytes>>);

#[derive(Debug)]
struct Bytes {
    to_target: VecDeque<u8>,
    to_initiator: Vec<u8>,
    /// Most bytes of one read or write of the target.
    chunk: usize,
    /// The initiator reads nothing.
    stalled: bool,
    /// The initiator has closed it.
    hung_up: bool,
    /// The target has closed it.
    closed: bool,
}

impl Default for Wire {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(Bytes {
            to_target: VecDeque::new(),
            to_initiator: Vec::new(),
            chunk: usize::MAX,
            stalled: false,
            hung_up: false,
            closed: false,
        })))
    }
}

impl Wire {
    fn bytes(&self) -> RefMut<'_, Bytes> {
        self.0.borrow_mut()
    }

    /// Sends bytes to the target.
    pub fn push(&self, sent: &[u8]) {
        let mut bytes = self.bytes();
        if !bytes.closed {
            bytes.to_target.extend(sent);
        }
    }

    /// Sends bytes to the initiator.
    pub fn respond(&self, sent: &[u8]) {
        self.bytes().to_initiator.extend_from_slice(sent);
    }

    /// Reads what the target has sent since the last call.
    pub fn read_all<T>(&self, read: impl FnOnce(&[u8]) -> T) -> T {
        let mut bytes = self.bytes();
        let result = read(&bytes.to_initiator);
        bytes.to_initiator.clear();
        result
    }

    /// Sets the most bytes of one read or write of the target.
    pub fn set_chunk(&self, chunk: usize) {
        self.bytes().chunk = chunk;
    }

    /// The initiator stops reading, or continues.
    pub fn stall(&self, stalled: bool) {
        self.bytes().stalled = stalled;
    }

    /// The initiator closes it.
    pub fn hang_up(&self) {
        self.bytes().hung_up = true;
    }

    /// The target closes it.
    pub fn close(&self) {
        self.bytes().closed = true;
    }

    /// Whether either side has closed it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let bytes = self.bytes();
        bytes.closed || bytes.hung_up
    }

    /// What a poller that watches the target's end would report.
    #[must_use]
    pub fn readiness(&self, watch: Watch) -> Option<Readiness> {
        let bytes = self.bytes();
        let ready = Readiness {
            readable: bytes.hung_up || watch.read && !bytes.to_target.is_empty(),
            writable: watch.write && !bytes.stalled,
            broken: bytes.hung_up,
        };
        (ready != Readiness::default()).then_some(ready)
    }
}

impl ByteStream for Wire {
    fn read(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let mut bytes = self.bytes();
        let mut left = bytes.chunk;
        let mut count = 0;
        for buffer in buffers {
            let len = buffer.len().min(left);
            let read = bytes.to_target.read(&mut buffer[..len])?;
            (left, count) = (left - read, count + read);
        }
        match count {
            0 if !bytes.hung_up => Err(ErrorKind::WouldBlock.into()),
            _ => Ok(count),
        }
    }

    fn write(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut bytes = self.bytes();
        if bytes.stalled {
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut left = bytes.chunk;
        for buffer in buffers {
            let len = buffer.len().min(left);
            bytes.to_initiator.extend_from_slice(&buffer[..len]);
            left -= len;
        }
        Ok(bytes.chunk - left)
    }
}
