//! The data socket of Longhorn's engine: messages in both directions, of a header with little-endian numbers and data.
//!
//! ```text
//! magic u16 = 0x1b01 · sequence number u32 · type u32 · offset u64 · size u32 · length of the data u32 · data
//! ```
//!
//! A response repeats the sequence number of its request; responses come in any order. A response to a read carries the
//! data. There is no flush: an acknowledged write is on its replicas.

use std::collections::HashMap;

use scsi_core::store::{Completed, IoError};

use crate::remote::{Broken, Cookie, Event, Protocol, Request, RequestKind, Requests};

/// A connection to the engine of a Longhorn volume.
#[derive(Debug)]
pub(crate) struct Longhorn {
    size: u64,
    read_only: bool,
    /// The requests by their sequence number, which is the high half of their cookie.
    sent: HashMap<u32, Cookie>,
    /// The answer of the read whose data follows.
    answer: Option<Event>,
    /// Number of bytes to pass over: data that belongs to no request.
    skip: usize,
}

/// The header of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Header {
    sequence: u32,
    kind: u32,
    offset: u64,
    size: u32,
    data_len: u32,
}

impl Longhorn {
    /// A volume of `size` bytes.
    pub(crate) fn new(size: u64, read_only: bool) -> Self {
        Self { size, read_only, sent: HashMap::new(), answer: None, skip: 0 }
    }

    fn response(
        &mut self,
        header: Header,
        text: &[u8],
        requests: &mut impl Requests<()>,
    ) -> Result<Event, Broken> {
        let cookie = self.sent.remove(&header.sequence);
        let Some((cookie, (request, ()))) =
            cookie.and_then(|cookie| requests.get(cookie).map(|found| (cookie, found)))
        else {
            // The operation has ended.
            self.skip = if header.kind == ERROR { 0 } else { header.data_len as usize };
            return Ok(Event::None);
        };
        let answer = |result| Event::Answer { cookie, result };
        match header.kind {
            ERROR => {
                let text = String::from_utf8_lossy(&text[..text.len().min(200)]);
                log::warn!("Longhorn's engine answers with an error at byte {}: {text:?}", request.offset);
                Ok(answer(Err(IoError::medium(request.offset))))
            }
            END_OF_FILE => {
                self.skip = header.data_len as usize;
                Ok(answer(Err(IoError::OUT_OF_RANGE)))
            }
            _ => {
                let expected = if request.kind == RequestKind::Read { request.len } else { 0 };
                if u64::from(header.data_len) != expected {
                    return Err(Broken::Violation("data of another length"));
                }
                let answer = answer(Ok(Completed::Done));
                if expected == 0 {
                    return Ok(answer);
                }
                self.answer = Some(answer);
                Ok(Event::Payload { cookie, at: 0, len: header.data_len as usize })
            }
        }
    }
}

impl Protocol for Longhorn {
    type Progress = ();

    fn start(&mut self, _out: &mut Vec<u8>) -> bool {
        self.sent.clear();
        (self.answer, self.skip) = (None, 0);
        true
    }

    fn len_max(&self, kind: RequestKind) -> u64 {
        match kind {
            RequestKind::Read | RequestKind::Write { .. } => DATA_LEN_MAX,
            _ => UNMAP_LEN_MAX,
        }
    }

    fn request(
        &mut self,
        cookie: Cookie,
        request: &Request,
        out: &mut Vec<u8>,
    ) -> Option<Result<Completed, IoError>> {
        let Request { kind, offset, len } = *request;
        let changes = matches!(
            kind,
            RequestKind::Write { .. } | RequestKind::Discard | RequestKind::WriteZeroes { .. }
        );
        let (kind, data_len) = match kind {
            RequestKind::Flush => return Some(Ok(Completed::Done)),
            _ if changes && self.read_only => return Some(Err(IoError::READ_ONLY)),
            RequestKind::WriteZeroes { .. } | RequestKind::Allocation => {
                return Some(Err(IoError::UNSUPPORTED));
            }
            _ if offset.checked_add(len).is_none_or(|end| end > self.size) => {
                return Some(Err(IoError::OUT_OF_RANGE));
            }
            RequestKind::Read => (READ, 0),
            RequestKind::Write { .. } => (WRITE, len as u32),
            RequestKind::Discard => (UNMAP, 0),
        };
        let sequence = (cookie.0 >> 32) as u32;
        self.sent.insert(sequence, cookie);
        Header { sequence, kind, offset, size: len as u32, data_len }.encode(out);
        None
    }

    fn received(
        &mut self,
        bytes: &[u8],
        requests: &mut impl Requests<()>,
        _out: &mut Vec<u8>,
    ) -> Result<(usize, Event), Broken> {
        if let Some(answer) = self.answer.take() {
            return Ok((0, answer));
        }
        if self.skip > 0 {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            return Ok((skipped, Event::None));
        }
        let Some((header, rest)) = bytes.split_first_chunk() else { return Ok((0, Event::None)) };
        let header = Header::decode(header)?;
        match header.kind {
            RESPONSE | END_OF_FILE => Ok((HEADER_LEN, self.response(header, &[], requests)?)),
            ERROR if header.data_len > ERROR_LEN_MAX => Err(Broken::Violation("a long error message")),
            ERROR => match rest.get(..header.data_len as usize) {
                Some(text) => Ok((HEADER_LEN + text.len(), self.response(header, text, requests)?)),
                None => Ok((0, Event::None)),
            },
            CLOSE => Err(Broken::Ended),
            PING => {
                self.skip = header.data_len as usize;
                Ok((HEADER_LEN, Event::None))
            }
            _ => Err(Broken::Violation("a message of an unknown type")),
        }
    }
}

impl Header {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.kind.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&self.data_len.to_le_bytes());
    }

    fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, Broken> {
        #[rustfmt::skip]
        let [m0, m1, s0, s1, s2, s3, k0, k1, k2, k3, offset @ .., z0, z1, z2, z3, d0, d1, d2, d3] = *bytes;
        if u16::from_le_bytes([m0, m1]) != MAGIC {
            return Err(Broken::Violation("a message without the magic number"));
        }
        Ok(Self {
            sequence: u32::from_le_bytes([s0, s1, s2, s3]),
            kind: u32::from_le_bytes([k0, k1, k2, k3]),
            offset: u64::from_le_bytes(offset),
            size: u32::from_le_bytes([z0, z1, z2, z3]),
            data_len: u32::from_le_bytes([d0, d1, d2, d3]),
        })
    }
}

const HEADER_LEN: usize = 26;
const MAGIC: u16 = 0x1b01;
const READ: u32 = 0;
const WRITE: u32 = 1;
const RESPONSE: u32 = 2;
const ERROR: u32 = 3;
const END_OF_FILE: u32 = 4;
const CLOSE: u32 = 5;
const PING: u32 = 6;
const UNMAP: u32 = 7;
/// Longest read or write in bytes.
const DATA_LEN_MAX: u64 = 1 << 20;
/// Longest unmap in bytes; the field has 32 bits.
const UNMAP_LEN_MAX: u64 = 1 << 30;
/// Longest text of an error in bytes.
const ERROR_LEN_MAX: u32 = 60 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::testing::{SentRequests, feed};

    const READ_512: Request = Request { kind: RequestKind::Read, offset: 0x0102_0400, len: 512 };
    const WRITE_512: Request = Request { kind: RequestKind::Write { fua: true }, offset: 512, len: 512 };

    fn ready() -> Longhorn {
        let mut longhorn = Longhorn::new(1 << 30, false);
        assert!(longhorn.start(&mut Vec::new()));
        longhorn
    }

    fn send(longhorn: &mut Longhorn, cookie: u64, request: Request, sent: &mut SentRequests<()>) -> Vec<u8> {
        let mut out = Vec::new();
        assert_eq!(longhorn.request(Cookie(cookie), &request, &mut out), None);
        sent.insert(Cookie(cookie), request);
        out
    }

    fn message(sequence: u32, kind: u32, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let header = Header { sequence, kind, offset: 0, size: 0, data_len: data.len() as u32 };
        header.encode(&mut out);
        [out.as_slice(), data].concat()
    }

    fn answer(cookie: u64, result: Result<Completed, IoError>) -> Event {
        Event::Answer { cookie: Cookie(cookie), result }
    }

    #[test]
    fn requests_are_encoded() {
        let (mut longhorn, mut sent) = (ready(), SentRequests::default());
        #[rustfmt::skip]
        assert_eq!(send(&mut longhorn, 7 << 32 | 9, READ_512, &mut sent), [
            0x01, 0x1b, // magic
            7, 0, 0, 0, // sequence number
            0, 0, 0, 0, // read
            0, 4, 2, 1, 0, 0, 0, 0, // offset
            0, 2, 0, 0, // size
            0, 0, 0, 0, // no data
        ]);
        let write = send(&mut longhorn, 8 << 32, WRITE_512, &mut sent);
        assert_eq!((write[6], &write[18..]), (1, &[0, 2, 0, 0, 0, 2, 0, 0][..]));
        let unmap = Request { kind: RequestKind::Discard, offset: 0, len: 1 << 20 };
        let unmap = send(&mut longhorn, 9 << 32, unmap, &mut sent);
        assert_eq!((unmap[6], &unmap[18..]), (7, &[0, 0, 0x10, 0, 0, 0, 0, 0][..]));
    }

    #[test]
    fn responses_match_by_sequence_number() {
        let (mut longhorn, mut sent) = (ready(), SentRequests::default());
        send(&mut longhorn, 1 << 32 | 4, READ_512, &mut sent);
        send(&mut longhorn, 2 << 32 | 5, WRITE_512, &mut sent);
        let bytes = [message(2, RESPONSE, &[]), message(1, RESPONSE, &[7; 512])].concat();
        let done = |cookie| answer(cookie, Ok(Completed::Done));
        let payload = Event::Payload { cookie: Cookie(1 << 32 | 4), at: 0, len: 512 };
        let events = feed(&mut longhorn, &bytes, &mut sent).unwrap();
        assert_eq!(events, [done(2 << 32 | 5), payload, done(1 << 32 | 4)]);
        assert!(longhorn.sent.is_empty());
    }

    #[test]
    fn errors_are_those_of_their_request() {
        let (mut longhorn, mut sent) = (ready(), SentRequests::default());
        send(&mut longhorn, 1 << 32, READ_512, &mut sent);
        send(&mut longhorn, 2 << 32, WRITE_512, &mut sent);
        let bytes = [
            message(1, ERROR, b"replica is gone"),
            message(3, RESPONSE, &[7; 512]), // of a request that has ended
            message(0, PING, b"?"),
            message(2, END_OF_FILE, &[]),
        ];
        let events = feed(&mut longhorn, &bytes.concat(), &mut sent).unwrap();
        let medium = Err(IoError::medium(READ_512.offset));
        assert_eq!(events, [answer(1 << 32, medium), answer(2 << 32, Err(IoError::OUT_OF_RANGE))]);
    }

    #[test]
    fn requests_that_cannot_be_sent_end_at_once() {
        let mut longhorn = ready();
        let mut end = |request| {
            longhorn.request(Cookie(1 << 32), &request, &mut Vec::new()).expect("a result").map(drop)
        };
        assert_eq!(end(Request { kind: RequestKind::Flush, offset: 0, len: 0 }), Ok(()));
        let zeroes = RequestKind::WriteZeroes { may_unmap: true };
        assert_eq!(end(Request { kind: zeroes, ..WRITE_512 }), Err(IoError::UNSUPPORTED));
        assert_eq!(end(Request { offset: 1 << 30, ..READ_512 }), Err(IoError::OUT_OF_RANGE));
        let mut longhorn = Longhorn::new(1 << 30, true);
        let refused = longhorn.request(Cookie(1 << 32), &WRITE_512, &mut Vec::new());
        assert_eq!(refused, Some(Err(IoError::READ_ONLY)));
    }

    #[test]
    fn messages_that_are_no_responses_break_the_connection() {
        let mut long = message(1, ERROR, b"");
        long[22..].copy_from_slice(&(ERROR_LEN_MAX + 1).to_le_bytes());
        for (bytes, text) in [
            (vec![0; 26], "without the magic number"),
            (message(1, RESPONSE, &[1; 511]), "data of another length"),
            (message(1, READ, &[]), "unknown type"),
            (message(0, CLOSE, &[]), "the server ends the connection"),
            (long, "long error message"),
        ] {
            let (mut longhorn, mut sent) = (ready(), SentRequests::default());
            send(&mut longhorn, 1 << 32, READ_512, &mut sent);
            let error = feed(&mut longhorn, &bytes, &mut sent).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
