//! The protocol of a connection: the handshake, then the transmission.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use scsi_core::store::{Completed, IoError};

use super::facts::{Facts, misfit};
use super::handshake::{Handshake, Step};
use super::transmission::{Progress, Transmission};
use crate::remote::{Broken, Cookie, Event, Protocol, Request, RequestKind, Requests};

/// An export, as its connections and the store share it.
pub(super) struct Export {
    name: String,
    tls: bool,
    block_len: u32,
    connections: usize,
    /// What the server said last; `None` while the store is opened.
    facts: Mutex<Option<Facts>>,
    /// A connection has found another size.
    pub(super) resized: AtomicBool,
}

impl Export {
    /// An export that is served with blocks of `block_len` bytes.
    pub(super) fn new(name: String, tls: bool, block_len: u32, connections: usize) -> Self {
        Self { name, tls, block_len, connections, facts: Mutex::default(), resized: AtomicBool::new(false) }
    }

    /// What the server said last.
    pub(super) fn facts(&self) -> Facts {
        self.facts.lock().unwrap_or_default()
    }

    /// Notes what the server says; returns whether the size has changed.
    fn update(&self, facts: Facts) -> Result<bool, Broken> {
        if let Some(why) = misfit(&facts, self.block_len, self.connections) {
            return Err(Broken::Refused(why));
        }
        let mut known = self.facts.lock();
        if known.is_some_and(|known| known.multi_conn()) && !facts.multi_conn() {
            return Err(Broken::Refused(
                "the server does not permit several connections any more (CAN_MULTI_CONN); set the unit offline and online"
                    .to_owned(),
            ));
        }
        let resized = known.is_some_and(|known| known.size != facts.size);
        *known = Some(facts);
        self.resized.fetch_or(resized, Ordering::AcqRel);
        Ok(resized)
    }
}

/// The client's side of a connection.
pub(super) struct Nbd {
    export: Arc<Export>,
    state: State,
}

enum State {
    Handshake(Box<Handshake>),
    Transmission(Transmission),
}

impl Nbd {
    pub(super) fn new(export: Arc<Export>) -> Self {
        let state = State::Handshake(Box::new(Handshake::new(export.name.clone(), export.tls)));
        Self { export, state }
    }
}

impl Protocol for Nbd {
    type Progress = Progress;

    fn start(&mut self, _: &mut Vec<u8>) -> bool {
        *self = Self::new(Arc::clone(&self.export));
        false
    }

    fn len_max(&self, kind: RequestKind) -> u64 {
        match &self.state {
            State::Handshake(_) => u64::MAX,
            State::Transmission(transmission) => transmission.len_max(kind),
        }
    }

    fn request(
        &mut self,
        cookie: Cookie,
        request: &Request,
        out: &mut Vec<u8>,
    ) -> Option<Result<Completed, IoError>> {
        match &mut self.state {
            State::Handshake(_) => Some(Err(IoError::NOT_READY)),
            State::Transmission(transmission) => transmission.request(cookie, request, out),
        }
    }

    fn received(
        &mut self,
        bytes: &[u8],
        requests: &mut impl Requests<Progress>,
        out: &mut Vec<u8>,
    ) -> Result<(usize, Event), Broken> {
        let handshake = match &mut self.state {
            State::Handshake(handshake) => handshake,
            State::Transmission(transmission) => return transmission.received(bytes, requests),
        };
        let (used, step) = handshake.received(bytes, out)?;
        let event = match step {
            Step::Next => Event::None,
            Step::StartTls => Event::StartTls,
            Step::Ready(facts) => {
                let resized = self.export.update(facts)?;
                self.state = State::Transmission(Transmission::new(facts));
                Event::Ready { resized }
            }
        };
        Ok((used, event))
    }

    fn has_volatile_cache(&self) -> bool {
        match &self.state {
            State::Handshake(_) => false,
            State::Transmission(transmission) => transmission.facts().volatile_cache(),
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if let State::Transmission(_) = &self.state {
            Transmission::end(out);
        }
    }
}
