//! The byte stream of a connection: a socket that does not block, with or without TLS.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use super::socket;

#[cfg(feature = "nbd-tls")]
use super::tls::{TlsSettings, TlsStream};

/// The byte stream of a connection.
pub(crate) struct Stream {
    fd: OwnedFd,
    #[cfg(feature = "nbd-tls")]
    tls: Option<Box<TlsStream>>,
}

impl Stream {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            #[cfg(feature = "nbd-tls")]
            tls: None,
        }
    }

    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.fd
    }

    /// Whether a read may return less than what was received already, so that it has to be repeated until `EAGAIN`.
    pub(crate) fn holds_data(&self) -> bool {
        #[cfg(feature = "nbd-tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "nbd-tls"))]
        false
    }

    /// Whether bytes that `send` took wait for the socket.
    pub(crate) fn has_unsent(&self) -> bool {
        #[cfg(feature = "nbd-tls")]
        return self.tls.as_ref().is_some_and(|tls| tls.wants_write());
        #[cfg(not(feature = "nbd-tls"))]
        false
    }

    /// Sends bytes; returns how many were taken.
    ///
    /// # Errors
    /// `EAGAIN`: the socket is full. Otherwise the connection is lost.
    pub(crate) fn send(&mut self, from: &[IoSlice<'_>]) -> Result<usize, Errno> {
        #[cfg(feature = "nbd-tls")]
        if let Some(tls) = &mut self.tls {
            return tls.send(self.fd.as_fd(), from);
        }
        socket::send(self.fd.as_fd(), from)
    }

    /// Receives bytes; 0: the server has closed the connection.
    ///
    /// # Errors
    /// `EAGAIN`: nothing is received. Otherwise the connection is lost.
    pub(crate) fn receive(&mut self, into: &mut [IoSliceMut<'_>]) -> Result<usize, Errno> {
        #[cfg(feature = "nbd-tls")]
        if let Some(tls) = &mut self.tls {
            return tls.receive(self.fd.as_fd(), into);
        }
        socket::receive(self.fd.as_fd(), into)
    }

    /// Begins the TLS handshake.
    ///
    /// # Errors
    /// A text for the operator.
    #[cfg(feature = "nbd-tls")]
    pub(crate) fn start_tls(&mut self, settings: &TlsSettings) -> Result<(), String> {
        self.tls = Some(Box::new(settings.stream()?));
        Ok(())
    }

    /// Why the TLS layer has failed.
    pub(crate) fn failure(&self) -> Option<String> {
        #[cfg(feature = "nbd-tls")]
        return self.tls.as_ref().and_then(|tls| tls.failure());
        #[cfg(not(feature = "nbd-tls"))]
        None
    }
}
