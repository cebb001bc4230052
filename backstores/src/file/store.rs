//! The store over a file or block device.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::event::{PollFd, PollFlags};
use scsi_core::store::{Backstore, BlockOp, Capabilities, Engines, Geometry, IoError, Port};

use super::engine::FileEngine;
use super::job::FileJob;
use super::{OpenFile, error, geometry};
use crate::outbox::Outbox;

/// A file or block device.
#[derive(Debug)]
pub struct File {
    pub(super) kind: &'static str,
    pub(super) file: Arc<OpenFile>,
}

impl File {
    /// Returns the path that was opened.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        &self.file.path
    }
}

impl Backstore for File {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            // A partial sector at the end is not part of the store.
            size: self.file.size.load(Ordering::Relaxed) & !511,
            physical_block_len: self.file.physical_block_len,
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.file.capabilities
    }

    fn refresh(&self) -> Result<Geometry, IoError> {
        let size = geometry::size(self.file.fd.as_fd(), self.file.medium)
            .map_err(|errno| error::from_errno(errno, 0))?;
        if size == 0 {
            return Err(IoError::NOT_READY);
        }
        self.file.size.store(size, Ordering::Relaxed);
        self.file.short.clear();
        Ok(self.geometry())
    }

    fn has_lost_writes(&self) -> bool {
        self.file.flushes.have_failed()
    }

    /// Runs in the queue of flushes, after all checks of the size, which have handles of the file.
    fn flush(&self) -> Result<(), IoError> {
        if self.file.mode.read_only {
            return Ok(());
        }
        let outbox = Arc::new(
            Outbox::new()
                .map_err(|error| IoError::NOT_READY.with_errno(error.raw_os_error().unwrap_or(0)))?,
        );
        self.file.flushes.queue.push(Box::new(FileJob {
            key: 0,
            outbox: outbox.clone(),
            work: Some((self.file.clone(), BlockOp::Flush)),
            flush: self.file.flushes.number(),
        }));
        let mut returned = Vec::new();
        while returned.is_empty() {
            let mut ready = [PollFd::from_borrowed_fd(outbox.event_fd(), PollFlags::IN)];
            error::retry(|| rustix::event::poll(&mut ready, None))
                .map_err(|errno| error::from_errno(errno, 0))?;
            outbox.take(&mut returned);
        }
        returned.remove(0).result.map(drop)
    }

    fn attach(&self, engines: &mut Engines) -> Result<Port, IoError> {
        let (engine, files) = engines.of_kind(FileEngine::new)?;
        let slot = files.attach(self.file.clone());
        Ok(Port { engine, slot })
    }
}
