//! The client's side of NEBD on a connection of a loop.
//!
//! Each connection begins with `OpenFile` and `GetInfo`. The number that `OpenFile` returns stays valid when nebd-server
//! is started again, but a server that has lost its table may give it to another volume; so no request uses the number of
//! a previous connection.

use std::collections::VecDeque;
use std::sync::Arc;

use scsi_core::store::{Completed, IoError};

use super::volumes::Facts;
use super::wire::{self, HEAD_LEN, Head, Info, Reply, ReplyMeta, WireError};
use crate::remote::{Broken, Cookie, Event, Protocol, Request, RequestKind, Requests};

/// A connection to nebd-server for one volume.
#[derive(Debug)]
pub(crate) struct Nebd {
    settings: Arc<Settings>,
    facts: Arc<Facts>,
    stage: Stage,
    /// Number of the volume on this connection.
    fd: i32,
    /// Requests that the server has refused; whether because of the number of the volume is asked with `OpenFile`.
    refused: Vec<Cookie>,
    /// What was found out and is not reported yet.
    events: VecDeque<Event>,
    /// Number of bytes to pass over: the data of a read that has ended.
    skip: usize,
}

/// What does not change while a volume is open.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) exclusive: bool,
    pub(crate) read_only: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// `OpenFile` is sent.
    Opening,
    /// `GetInfo` is sent.
    Asking,
    Ready,
    /// `OpenFile` is sent because of `refused`; requests may be sent.
    Reopening,
}

impl Nebd {
    pub(crate) fn new(settings: Arc<Settings>, facts: Arc<Facts>) -> Self {
        Self {
            settings,
            facts,
            stage: Stage::Opening,
            fd: 0,
            refused: Vec::new(),
            events: VecDeque::new(),
            skip: 0,
        }
    }

    fn open(&self, out: &mut Vec<u8>) {
        let Settings { name, exclusive, .. } = &*self.settings;
        wire::Request::OpenFile { name, exclusive: *exclusive }.encode(OPEN, out);
    }

    /// The answer to `OpenFile`.
    fn opened(
        &mut self,
        reply: &Reply,
        requests: &mut impl Requests<()>,
        out: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        let fd = match reply.fd {
            Some(fd) if reply.ok && fd > 0 => fd,
            _ if reply.ok => return Err(Broken::Violation("OpenFile returned no number")),
            _ => return Err(self.refusal("open", &reply.text)),
        };
        let same = self.fd == fd;
        self.fd = fd;
        self.facts.set_fd(fd);
        match self.stage {
            Stage::Opening => {
                self.stage = Stage::Asking;
                wire::Request::GetInfo { fd }.encode(INFO, out);
            }
            Stage::Asking | Stage::Ready => return Err(Broken::Violation("a second reply to OpenFile")),
            // The number was right, so what the server refused has failed for another reason.
            Stage::Reopening if same => {
                self.stage = Stage::Ready;
                for cookie in self.refused.drain(..) {
                    let Some((request, _)) = requests.get(cookie) else { continue };
                    let result = Err(IoError::medium(request.offset));
                    self.events.push_back(Event::Answer { cookie, result });
                }
            }
            Stage::Reopening => {
                self.stage = Stage::Ready;
                let known = self.refused.drain(..).filter(|cookie| requests.get(*cookie).is_some());
                self.events.extend(known.map(|cookie| Event::Repeat { cookie }));
            }
        }
        Ok(())
    }

    /// The answer to `GetInfo`.
    fn informed(&mut self, reply: &Reply) -> Result<Event, Broken> {
        let info = match reply.info {
            Some(info) if reply.ok => info,
            _ if reply.ok => return Err(Broken::Violation("GetInfo returned nothing")),
            _ => return Err(self.refusal("describe", &reply.text)),
        };
        let Info { size, block_len } = info;
        if !block_len.is_power_of_two() || !BLOCK_LENS.contains(&block_len) {
            return Err(self.refusal("serve", &format!("its blocks have {block_len} bytes")));
        }
        let info = Info { size: size & !u64::from(block_len - 1), block_len };
        let before = self.facts.info();
        if before.block_len != 0 && before.block_len != block_len {
            let text = format!("its blocks have {block_len} bytes instead of {}", before.block_len);
            return Err(self.refusal("serve", &text));
        }
        if self.stage != Stage::Asking {
            return Err(Broken::Violation("a second reply to GetInfo"));
        }
        self.facts.set_info(info);
        self.stage = Stage::Ready;
        Ok(Event::Ready { resized: before.size != 0 && before.size != info.size })
    }

    fn refusal(&self, what: &str, why: &str) -> Broken {
        Broken::Refused(format!("nebd-server does not {what} the volume {}: {why}", self.settings.name))
    }

    /// The answer to a read, a write or a discard.
    fn answered(
        &mut self,
        meta: &ReplyMeta,
        reply: &Reply,
        requests: &mut impl Requests<()>,
        out: &mut Vec<u8>,
    ) -> Result<Event, Broken> {
        let cookie = Cookie(meta.correlation);
        let Some((request, ())) = requests.get(cookie) else {
            // The operation has ended, or was sent again on another connection.
            self.skip = meta.attachment_len;
            return Ok(Event::None);
        };
        if !reply.ok {
            self.refused.push(cookie);
            if self.stage == Stage::Ready {
                self.stage = Stage::Reopening;
                self.open(out);
            }
            return Ok(Event::None);
        }
        let answer = Event::Answer { cookie, result: Ok(Completed::Done) };
        let expected = if request.kind == RequestKind::Read { request.len } else { 0 };
        match meta.attachment_len {
            len if len as u64 != expected => Err(Broken::Violation("data of another length")),
            0 => Ok(answer),
            len => {
                self.events.push_back(answer);
                Ok(Event::Payload { cookie, at: 0, len })
            }
        }
    }

    /// A call that failed as such.
    fn failed(&self, correlation: u64, code: i32, text: &str) -> Result<Event, Broken> {
        match code {
            NO_METHOD if correlation as u32 != OPEN as u32 => {
                Ok(Event::Answer { cookie: Cookie(correlation), result: Err(IoError::UNSUPPORTED) })
            }
            _ => Err(Broken::Refused(format!("nebd-server answers with error {code}: {text}"))),
        }
    }
}

impl Protocol for Nebd {
    type Progress = ();

    fn start(&mut self, out: &mut Vec<u8>) -> bool {
        (self.stage, self.fd) = (Stage::Opening, 0);
        (self.skip, self.refused) = (0, Vec::new());
        self.events.clear();
        self.open(out);
        false
    }

    /// By default nebd-server does not answer requests that fail.
    fn passes_over_requests(&self) -> bool {
        true
    }

    fn len_max(&self, kind: RequestKind) -> u64 {
        match kind {
            RequestKind::Read | RequestKind::Write { .. } => DATA_LEN_MAX,
            _ => DISCARD_LEN_MAX,
        }
    }

    fn request(
        &mut self,
        Cookie(correlation): Cookie,
        request: &Request,
        out: &mut Vec<u8>,
    ) -> Option<Result<Completed, IoError>> {
        let Request { kind, offset, len } = *request;
        let Info { size, block_len } = self.facts.info();
        let changes = matches!(kind, RequestKind::Write { .. } | RequestKind::Discard);
        match kind {
            // Acknowledged writes are durable.
            RequestKind::Flush => return Some(Ok(Completed::Done)),
            RequestKind::WriteZeroes { .. } if self.settings.read_only => {
                return Some(Err(IoError::READ_ONLY));
            }
            RequestKind::WriteZeroes { .. } | RequestKind::Allocation => {
                return Some(Err(IoError::UNSUPPORTED));
            }
            _ if changes && self.settings.read_only => return Some(Err(IoError::READ_ONLY)),
            _ if (offset | len) % u64::from(block_len.max(1)) != 0 => return Some(Err(IoError::UNSUPPORTED)),
            _ if offset.checked_add(len).is_none_or(|end| end > size) => {
                return Some(Err(IoError::OUT_OF_RANGE));
            }
            _ => {}
        }
        let fd = self.fd;
        match kind {
            RequestKind::Read => wire::Request::Read { fd, offset, len: len as u32 },
            RequestKind::Write { .. } => wire::Request::Write { fd, offset, len: len as u32 },
            _ => wire::Request::Discard { fd, offset, len },
        }
        .encode(correlation, out);
        None
    }

    fn received(
        &mut self,
        bytes: &[u8],
        requests: &mut impl Requests<()>,
        out: &mut Vec<u8>,
    ) -> Result<(usize, Event), Broken> {
        if let Some(event) = self.events.pop_front() {
            return Ok((0, event));
        }
        if self.skip > 0 {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            return Ok((skipped, Event::None));
        }
        let Some((head, body)) = bytes.split_first_chunk::<HEAD_LEN>() else { return Ok((0, Event::None)) };
        let head = Head::decode(head)?;
        let Some((meta, rest)) = body.split_at_checked(head.meta_len) else { return Ok((0, Event::None)) };
        let meta = ReplyMeta::decode(head, meta)?;
        let Some(message) = rest.get(..meta.message_len) else { return Ok((0, Event::None)) };
        let used = HEAD_LEN + head.meta_len + meta.message_len;
        if let Some((code, text)) = &meta.failure {
            return Ok((used, self.failed(meta.correlation, *code, text)?));
        }
        let reply = Reply::decode(message)?;
        let event = match meta.correlation {
            OPEN | INFO if meta.attachment_len != 0 => return Err(WireError::Attachment.into()),
            OPEN => {
                self.opened(&reply, requests, out)?;
                self.events.pop_front().unwrap_or(Event::None)
            }
            INFO => self.informed(&reply)?,
            _ => self.answered(&meta, &reply, requests, out)?,
        };
        Ok((used, event))
    }
}

impl From<WireError> for Broken {
    fn from(error: WireError) -> Self {
        Self::Violation(error.text())
    }
}

/// Correlation IDs of `OpenFile` and `GetInfo`; the low 32 bits are those of no operation.
const OPEN: u64 = 0xffff_ffff;
const INFO: u64 = 0x1_ffff_ffff;
/// Longest read or write in bytes. brpc accepts 64 MiB.
const DATA_LEN_MAX: u64 = 1 << 20;
/// Longest discard in bytes: Curve frees space in segments of 1 GiB.
const DISCARD_LEN_MAX: u64 = 1 << 30;
/// Block lengths of volumes.
const BLOCK_LENS: std::ops::RangeInclusive<u32> = 512..=65536;
/// brpc: the server has no such method.
const NO_METHOD: i32 = 1002;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::testing::{SentRequests, feed};

    const READ: Request = Request { kind: RequestKind::Read, offset: 8192, len: 4096 };
    const WRITE: Request = Request { kind: RequestKind::Write { fua: true }, offset: 4096, len: 4096 };

    fn protocol() -> Nebd {
        let settings = Settings { name: "cbd:p//v_u_".into(), exclusive: false, read_only: false };
        Nebd::new(Arc::new(settings), Arc::default())
    }

    /// A reply of the server.
    fn reply(correlation: u64, message: &[u8], data: &[u8]) -> Vec<u8> {
        let mut meta = vec![0x12, 0x02, 0x08, 0x00];
        super::super::protobuf::put_number(&mut meta, 4, correlation);
        super::super::protobuf::put_number(&mut meta, 5, data.len() as u64);
        let body_len = meta.len() + message.len() + data.len();
        let lens = [(body_len as u32).to_be_bytes(), (meta.len() as u32).to_be_bytes()].concat();
        [b"PRPC", lens.as_slice(), &meta, message, data].concat()
    }

    const REFUSED: &[u8] = b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";

    fn opened(fd: u8) -> Vec<u8> {
        reply(OPEN, &[0x08, 0, 0x18, fd], b"")
    }

    /// 16 blocks of 4096 bytes.
    fn informed() -> Vec<u8> {
        reply(INFO, b"\x08\0\x1a\x04\x08\x80\x80\x04", b"")
    }

    /// A protocol that is ready, with the number 5.
    fn ready() -> Nebd {
        let mut nebd = protocol();
        assert!(!nebd.start(&mut Vec::new()));
        let events =
            feed(&mut nebd, &[opened(5), informed()].concat(), &mut SentRequests::default()).unwrap();
        assert_eq!(events, [Event::Ready { resized: false }]);
        nebd
    }

    fn send(nebd: &mut Nebd, cookie: u64, request: Request, sent: &mut SentRequests<()>) -> Vec<u8> {
        let mut out = Vec::new();
        assert_eq!(nebd.request(Cookie(cookie), &request, &mut out), None);
        sent.insert(Cookie(cookie), request);
        out
    }

    #[test]
    fn connection_begins_with_open_and_get_info() {
        let mut nebd = protocol();
        let (mut out, mut sent) = (Vec::new(), SentRequests::default());
        nebd.start(&mut out);
        assert!(out.ends_with(b"OpenFile\x20\xff\xff\xff\xff\x0f\x28\0\x0a\x0bcbd:p//v_u_\x12\x02\x08\0"));
        let (used, event) = nebd.received(&opened(5), &mut sent, &mut out).unwrap();
        assert_eq!((used, event), (opened(5).len(), Event::None));
        assert!(out.ends_with(b"GetInfo\x20\xff\xff\xff\xff\x1f\x28\0\x08\x05"));
        feed(&mut nebd, &informed(), &mut sent).unwrap();
        assert_eq!((nebd.facts.fd(), nebd.facts.info()), (5, Info { size: 65536, block_len: 4096 }));
        let bigger = reply(INFO, b"\x08\0\x1a\x05\x08\x81\x80\x80\x01", b"");
        nebd.start(&mut out);
        let events = feed(&mut nebd, &[opened(6), bigger].concat(), &mut sent).unwrap();
        assert_eq!(events, [Event::Ready { resized: true }]);
        assert_eq!(nebd.facts.info().size, 2 << 20);
    }

    #[test]
    fn volume_that_is_refused_or_has_other_blocks_breaks_the_connection() {
        let mut sent = SentRequests::default();
        let mut nebd = protocol();
        nebd.start(&mut Vec::new());
        let refused = reply(OPEN, &[REFUSED, b"\x12\x07not one"].concat(), b"");
        let error = feed(&mut nebd, &refused, &mut sent).unwrap_err().to_string();
        assert_eq!(error, "nebd-server does not open the volume cbd:p//v_u_: not one");
        let mut nebd = ready();
        nebd.start(&mut Vec::new());
        let other = reply(INFO, b"\x08\0\x1a\x07\x08\x80\x80\x04\x20\x80\x04", b"");
        let error = feed(&mut nebd, &[opened(5), other].concat(), &mut sent).unwrap_err().to_string();
        assert!(error.ends_with("its blocks have 512 bytes instead of 4096"), "{error}");
    }

    #[test]
    fn answers_match_by_correlation_id() {
        let (mut nebd, mut sent) = (ready(), SentRequests::default());
        assert!(send(&mut nebd, 1 << 32, READ, &mut sent).ends_with(b"\x08\x05\x10\x80\x40\x18\x80\x20"));
        send(&mut nebd, 2 << 32, WRITE, &mut sent);
        let done = |cookie| Event::Answer { cookie: Cookie(cookie), result: Ok(Completed::Done) };
        let payload = Event::Payload { cookie: Cookie(1 << 32), at: 0, len: 4096 };
        let bytes = [reply(2 << 32, b"\x08\0", b""), reply(1 << 32, b"\x08\0", &[7; 4096])].concat();
        assert_eq!(feed(&mut nebd, &bytes, &mut sent).unwrap(), [done(2 << 32), payload, done(1 << 32)]);
    }

    #[test]
    fn reply_to_a_request_that_has_ended_is_passed_over() {
        let (mut nebd, mut sent) = (ready(), SentRequests::default());
        let late = reply(1 << 32, b"\x08\0", &[7; 4096]);
        send(&mut nebd, 2 << 32, WRITE, &mut sent);
        let bytes = [late, reply(2 << 32, b"\x08\0", b"")].concat();
        let answer = Event::Answer { cookie: Cookie(2 << 32), result: Ok(Completed::Done) };
        assert_eq!(feed(&mut nebd, &bytes, &mut sent).unwrap(), [answer]);
    }

    #[test]
    fn refused_request_is_an_error_of_the_medium_if_the_volume_keeps_its_number() {
        let (mut nebd, mut sent, mut out) = (ready(), SentRequests::default(), Vec::new());
        send(&mut nebd, 1 << 32, READ, &mut sent);
        send(&mut nebd, 2 << 32, WRITE, &mut sent);
        for cookie in [1 << 32, 2 << 32] {
            let event = nebd.received(&reply(cookie, REFUSED, b""), &mut sent, &mut out).unwrap().1;
            assert_eq!(event, Event::None);
        }
        assert_eq!(out.windows(8).filter(|window| window == b"OpenFile").count(), 1);
        let failed =
            |cookie, offset| Event::Answer { cookie: Cookie(cookie), result: Err(IoError::medium(offset)) };
        let events = feed(&mut nebd, &opened(5), &mut sent).unwrap();
        assert_eq!(events, [failed(1 << 32, 8192), failed(2 << 32, 4096)]);
    }

    #[test]
    fn refused_request_is_repeated_if_the_volume_has_another_number() {
        let (mut nebd, mut sent) = (ready(), SentRequests::default());
        send(&mut nebd, 1 << 32, READ, &mut sent);
        let bytes = [reply(1 << 32, REFUSED, b""), opened(9)].concat();
        let events = feed(&mut nebd, &bytes, &mut sent).unwrap();
        assert_eq!(events, [Event::Repeat { cookie: Cookie(1 << 32) }]);
        assert!(send(&mut nebd, 2 << 32, READ, &mut sent).ends_with(b"\x08\x09\x10\x80\x40\x18\x80\x20"));
        assert_eq!(nebd.facts.fd(), 9);
    }

    #[test]
    fn requests_that_cannot_be_sent_end_at_once() {
        let mut nebd = ready();
        let mut end = |request| {
            let mut out = Vec::new();
            let result = nebd.request(Cookie(1 << 32), &request, &mut out);
            assert!(out.is_empty());
            result.expect("a result").map(drop)
        };
        assert_eq!(end(Request { kind: RequestKind::Flush, offset: 0, len: 0 }), Ok(()));
        assert_eq!(end(Request { kind: RequestKind::Allocation, ..READ }), Err(IoError::UNSUPPORTED));
        assert_eq!(end(Request { offset: 512, ..READ }), Err(IoError::UNSUPPORTED));
        assert_eq!(end(Request { len: 512, ..WRITE }), Err(IoError::UNSUPPORTED));
        assert_eq!(end(Request { offset: 65536, ..WRITE }), Err(IoError::OUT_OF_RANGE));
        let settings = Settings { name: String::new(), exclusive: false, read_only: true };
        nebd.settings = Arc::new(settings);
        let mut end = |request| nebd.request(Cookie(1 << 32), &request, &mut Vec::new());
        assert_eq!(end(WRITE), Some(Err(IoError::READ_ONLY)));
        assert_eq!(end(Request { kind: RequestKind::Discard, ..READ }), Some(Err(IoError::READ_ONLY)));
        assert_eq!(end(READ), None);
    }

    #[test]
    fn frames_that_are_no_replies_break_the_connection() {
        for (bytes, text) in [
            (b"HTTP/1.1 400 ".to_vec(), "does not begin with PRPC"),
            (reply(1 << 32, b"\x08\0", &[7; 512]), "data of another length"),
            (reply(1 << 32, b"", b""), "malformed"),
            (opened(5), "a second reply to OpenFile"),
            (informed(), "a second reply to GetInfo"),
        ] {
            let (mut nebd, mut sent) = (ready(), SentRequests::default());
            send(&mut nebd, 1 << 32, READ, &mut sent);
            let error = feed(&mut nebd, &bytes, &mut sent).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
