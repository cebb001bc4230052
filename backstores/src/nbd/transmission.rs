//! Requests and replies (NBD protocol, "Transmission").

use scsi_core::store::{Completed, IoError};

use super::facts::{BlockSize, Facts, flag};
use super::handshake::Fields;
use super::ranges::Ranges;
use crate::remote::{Broken, Cookie, Event, Request, RequestKind, Requests};

const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
const STRUCTURED_REPLY_MAGIC: u32 = 0x668e_33ef;

/// Commands.
const READ: u16 = 0;
const WRITE: u16 = 1;
const DISC: u16 = 2;
const FLUSH: u16 = 3;
const TRIM: u16 = 4;
const WRITE_ZEROES: u16 = 6;
const BLOCK_STATUS: u16 = 7;

/// Flags of commands.
const FUA: u16 = 1 << 0;
const NO_HOLE: u16 = 1 << 1;
const REQ_ONE: u16 = 1 << 3;

/// Flag of a chunk: the last one of its reply.
const DONE: u16 = 1 << 0;

/// Types of chunks.
const CHUNK_NONE: u16 = 0;
const CHUNK_OFFSET_DATA: u16 = 1;
const CHUNK_OFFSET_HOLE: u16 = 2;
const CHUNK_BLOCK_STATUS: u16 = 5;
const CHUNK_ERROR: u16 = (1 << 15) + 1;
const CHUNK_ERROR_OFFSET: u16 = (1 << 15) + 2;
/// Types with this bit are errors, also those that are not known.
const CHUNK_IS_ERROR: u16 = 1 << 15;

/// Flags of `base:allocation`.
const STATE_HOLE: u32 = 1 << 0;
const STATE_ZERO: u32 = 1 << 1;

/// Maximum length of a chunk without data of a read, in bytes.
const CHUNK_LEN_MAX: usize = 64 << 10;
const _: () = assert!(CHUNK_LEN_MAX + 20 <= crate::remote::MESSAGE_LEN_MAX);

/// Errors.
const EPERM: u32 = 1;
const EIO: u32 = 5;
const ENOMEM: u32 = 12;
const EINVAL: u32 = 22;
const ENOSPC: u32 = 28;
const EOVERFLOW: u32 = 75;
const ENOTSUP: u32 = 95;
const ESHUTDOWN: u32 = 108;

/// Maximum length of requests without data in bytes; their length has 32 bits.
const RANGE_LEN_MAX: u64 = 1 << 30;

/// The client's side after the handshake.
#[derive(Debug)]
pub(super) struct Transmission {
    facts: Facts,
    /// Ranges are limited to the length of data, because the server did not accept a longer one.
    short_ranges: bool,
    /// The request whose last data is being received.
    after_data: Option<Cookie>,
}

/// What was received for a request.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The parts of a read that were received, from its start.
    received: Ranges,
    error: Option<IoError>,
    /// The server did not accept the length.
    too_long: bool,
    allocation: Option<Completed>,
}

impl Transmission {
    pub(super) fn new(facts: Facts) -> Self {
        Self { facts, short_ranges: false, after_data: None }
    }

    pub(super) fn facts(&self) -> &Facts {
        &self.facts
    }

    pub(super) fn len_max(&self, kind: RequestKind) -> u64 {
        let data = data_len_max(&self.facts);
        match kind {
            RequestKind::Read | RequestKind::Write { .. } => data,
            RequestKind::Flush => u64::MAX,
            RequestKind::Discard | RequestKind::WriteZeroes { .. } | RequestKind::Allocation => {
                if self.short_ranges { data } else { RANGE_LEN_MAX }
            }
        }
    }

    pub(super) fn request(
        &mut self,
        cookie: Cookie,
        request: &Request,
        out: &mut Vec<u8>,
    ) -> Option<Result<Completed, IoError>> {
        let facts = &self.facts;
        let fua = |asked| if asked && facts.has(flag::SEND_FUA) { FUA } else { 0 };
        let (command, flags, supported) = match request.kind {
            RequestKind::Read => (READ, 0, true),
            RequestKind::Write { fua: asked } => (WRITE, fua(asked), true),
            RequestKind::Flush if !facts.has(flag::SEND_FLUSH) => return Some(Ok(Completed::Done)),
            RequestKind::Flush => (FLUSH, 0, true),
            RequestKind::Discard => (TRIM, 0, facts.has(flag::SEND_TRIM)),
            RequestKind::WriteZeroes { may_unmap } => {
                (WRITE_ZEROES, if may_unmap { 0 } else { NO_HOLE }, facts.has(flag::SEND_WRITE_ZEROES))
            }
            RequestKind::Allocation => (BLOCK_STATUS, REQ_ONE, facts.allocation.is_some()),
        };
        if matches!(command, WRITE | TRIM | WRITE_ZEROES) && facts.read_only() {
            return Some(Err(IoError::READ_ONLY));
        }
        if !supported {
            return Some(Err(IoError::UNSUPPORTED));
        }
        if request.offset.checked_add(request.len).is_none_or(|end| end > facts.size) {
            return Some(Err(IoError::OUT_OF_RANGE.at(request.offset.max(facts.size))));
        }
        encode(out, command, flags, cookie, request.offset, request.len as u32);
        None
    }

    pub(super) fn end(out: &mut Vec<u8>) {
        encode(out, DISC, 0, Cookie(0), 0, 0);
    }

    pub(super) fn received(
        &mut self,
        bytes: &[u8],
        requests: &mut impl Requests<Progress>,
    ) -> Result<(usize, Event), Broken> {
        if let Some(cookie) = self.after_data.take() {
            return Ok((0, self.answer(cookie, requests)?));
        }
        let Some((magic, rest)) = bytes.split_first_chunk::<4>() else { return Ok(INCOMPLETE) };
        match u32::from_be_bytes(*magic) {
            SIMPLE_REPLY_MAGIC => {
                let Some((header, _)) = rest.split_first_chunk::<12>() else { return Ok(INCOMPLETE) };
                self.simple(header, requests).map(|event| (16, event))
            }
            STRUCTURED_REPLY_MAGIC if self.facts.structured => {
                let Some((header, rest)) = rest.split_first_chunk::<16>() else { return Ok(INCOMPLETE) };
                self.chunk(header, rest, requests)
            }
            _ => Err(Broken::Violation("a reply with a wrong magic number")),
        }
    }

    fn simple(&mut self, header: &[u8; 12], requests: &mut impl Requests<Progress>) -> Result<Event, Broken> {
        let mut fields = Fields(header);
        let error = fields.u32().unwrap_or_default();
        let cookie = Cookie(fields.u64().unwrap_or_default());
        let (request, progress) = requests.get(cookie).ok_or(UNKNOWN)?;
        if !progress.is_untouched() {
            return Err(Broken::Violation("a simple reply behind chunks"));
        }
        if error != 0 {
            progress.fail(error, request, None)?;
            return self.answer(cookie, requests);
        }
        match request.kind {
            RequestKind::Read if self.facts.structured => {
                Err(Broken::Violation("a simple reply to a read, where replies have chunks"))
            }
            RequestKind::Read => {
                let len = request.len as usize;
                progress.received.insert(0, request.len);
                self.after_data = Some(cookie);
                Ok(Event::Payload { cookie, at: 0, len })
            }
            RequestKind::Allocation => Err(Broken::Violation("a simple reply to a query of the allocation")),
            _ => self.answer(cookie, requests),
        }
    }

    /// A chunk of a structured reply.
    fn chunk(
        &mut self,
        header: &[u8; 16],
        rest: &[u8],
        requests: &mut impl Requests<Progress>,
    ) -> Result<(usize, Event), Broken> {
        let mut fields = Fields(header);
        let (flags, kind) = (fields.u16().unwrap_or_default(), fields.u16().unwrap_or_default());
        let cookie = Cookie(fields.u64().unwrap_or_default());
        let len = fields.u32().unwrap_or_default() as usize;
        let (request, progress) = requests.get(cookie).ok_or(UNKNOWN)?;
        let done = flags & DONE != 0;
        if kind == CHUNK_OFFSET_DATA {
            let Some((offset, _)) = rest.split_first_chunk::<8>() else { return Ok(INCOMPLETE) };
            let data_len = len.checked_sub(8).filter(|len| *len > 0).ok_or(TOO_SHORT)?;
            let at = progress.cover(request, u64::from_be_bytes(*offset), data_len as u64)?;
            if done {
                self.after_data = Some(cookie);
            }
            return Ok((28, Event::Payload { cookie, at, len: data_len }));
        }
        if len > CHUNK_LEN_MAX {
            return Err(Broken::Violation("a chunk is too long"));
        }
        let Some(data) = rest.get(..len) else { return Ok(INCOMPLETE) };
        let mut event = Event::None;
        match kind {
            CHUNK_NONE if done && len == 0 => {}
            CHUNK_OFFSET_HOLE => {
                let mut fields = Fields(data);
                let (Some(offset), Some(hole_len)) = (fields.u64(), fields.u32()) else {
                    return Err(TOO_SHORT);
                };
                let at = progress.cover(request, offset, hole_len.into())?;
                if done {
                    self.after_data = Some(cookie);
                }
                event = Event::Zeroes { cookie, at, len: hole_len as usize };
            }
            CHUNK_BLOCK_STATUS => progress.block_status(request, data, self.facts.allocation)?,
            CHUNK_ERROR | CHUNK_ERROR_OFFSET => progress.error_chunk(request, kind, data)?,
            _ if kind & CHUNK_IS_ERROR != 0 => progress.fail(EIO, request, None)?,
            _ => return Err(Broken::Violation("a chunk of an unknown type")),
        }
        if done && event == Event::None {
            event = self.answer(cookie, requests)?;
        }
        Ok((20 + len, event))
    }

    /// The reply is complete.
    fn answer(&mut self, cookie: Cookie, requests: &mut impl Requests<Progress>) -> Result<Event, Broken> {
        let (request, progress) = requests.get(cookie).ok_or(UNKNOWN)?;
        if progress.too_long && request.len > data_len_max(&self.facts) {
            self.short_ranges = true;
            return Ok(Event::Repeat { cookie });
        }
        let result = match (progress.error, request.kind) {
            (Some(error), _) => Err(error),
            (None, RequestKind::Read) if !progress.received.covers(request.len) => {
                return Err(Broken::Violation("a reply without all data of its read"));
            }
            (None, RequestKind::Allocation) => {
                let allocation = progress.allocation;
                Ok(allocation.ok_or(Broken::Violation("a reply without the allocation"))?)
            }
            (None, _) => Ok(Completed::Done),
        };
        Ok(Event::Answer { cookie, result })
    }
}

impl Progress {
    /// Whether no chunk was received.
    fn is_untouched(&self) -> bool {
        self.received.is_empty() && self.error.is_none() && self.allocation.is_none()
    }

    /// Notes that a part of a read is received. Returns its place in the request.
    fn cover(&mut self, request: &Request, offset: u64, len: u64) -> Result<usize, Broken> {
        if request.kind != RequestKind::Read {
            return Err(Broken::Violation("data for a request that is no read"));
        }
        let at = offset.checked_sub(request.offset);
        let at = at.filter(|at| at.checked_add(len).is_some_and(|end| end <= request.len));
        let at = at.ok_or(Broken::Violation("a chunk outside of its request"))?;
        if len == 0 || !self.received.insert(at, len) {
            return Err(Broken::Violation("a chunk that overlaps another one"));
        }
        Ok(at as usize)
    }

    fn block_status(
        &mut self,
        request: &Request,
        data: &[u8],
        allocation: Option<u32>,
    ) -> Result<(), Broken> {
        let mut fields = Fields(data);
        let (Some(context), Some(len), Some(flags)) = (fields.u32(), fields.u32(), fields.u32()) else {
            return Err(TOO_SHORT);
        };
        if request.kind != RequestKind::Allocation || Some(context) != allocation || len == 0 {
            return Err(Broken::Violation("a chunk with an allocation that was not queried"));
        }
        let hole = flags & (STATE_HOLE | STATE_ZERO) == STATE_HOLE | STATE_ZERO;
        let len = u64::from(len).min(request.len);
        self.allocation = Some(Completed::Allocation { len, hole });
        Ok(())
    }

    fn error_chunk(&mut self, request: &Request, kind: u16, data: &[u8]) -> Result<(), Broken> {
        let mut fields = Fields(data);
        let (Some(error), Some(text_len)) = (fields.u32(), fields.u16()) else { return Err(TOO_SHORT) };
        let mut fields = Fields(fields.0.get(usize::from(text_len)..).ok_or(TOO_SHORT)?);
        let offset = if kind == CHUNK_ERROR_OFFSET { Some(fields.u64().ok_or(TOO_SHORT)?) } else { None };
        if error == 0 {
            return Err(Broken::Violation("an error chunk without an error"));
        }
        self.fail(error, request, offset)
    }

    /// The request has failed, if that is known at this byte of the store. The first byte counts.
    fn fail(&mut self, error: u32, request: &Request, offset: Option<u64>) -> Result<(), Broken> {
        let end = request.offset + request.len;
        if offset.is_some_and(|offset| offset < request.offset || offset >= end.max(request.offset + 1)) {
            return Err(Broken::Violation("an error outside of its request"));
        }
        let data = matches!(request.kind, RequestKind::Read | RequestKind::Write { .. } | RequestKind::Flush);
        let at = offset.unwrap_or(request.offset);
        self.too_long |= !data && matches!(error, EINVAL | EOVERFLOW | ENOTSUP);
        let error = match error {
            ESHUTDOWN => return Err(Broken::Ended),
            EPERM if request.kind != RequestKind::Read => IoError::READ_ONLY,
            ENOMEM => IoError::BUSY,
            ENOSPC => IoError::NO_SPACE,
            EINVAL | ENOTSUP if !data => IoError::UNSUPPORTED,
            _ => IoError::medium(at),
        }
        .at(at)
        .with_errno(error.min(4095) as i32);
        if self.error.is_none_or(|known| known.offset() > Some(at)) {
            self.error = Some(error);
        }
        Ok(())
    }
}

/// Maximum length of a request with data in bytes.
fn data_len_max(facts: &Facts) -> u64 {
    facts.block.maximum.min(BlockSize::default().maximum).into()
}

fn encode(out: &mut Vec<u8>, command: u16, flags: u16, cookie: Cookie, offset: u64, len: u32) {
    let mut header = [0; 28];
    header[..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
    header[4..6].copy_from_slice(&flags.to_be_bytes());
    header[6..8].copy_from_slice(&command.to_be_bytes());
    header[8..16].copy_from_slice(&cookie.0.to_be_bytes());
    header[16..24].copy_from_slice(&offset.to_be_bytes());
    header[24..].copy_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&header);
}

const INCOMPLETE: (usize, Event) = (0, Event::None);
const UNKNOWN: Broken = Broken::Violation("a reply to an unknown request");
const TOO_SHORT: Broken = Broken::Violation("a chunk is too short");

#[cfg(test)]
mod tests;
