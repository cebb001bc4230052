//! Frames of NEBD: brpc's `baidu_std` with the messages of the services `NebdFileService` and `NebdHeartbeatService`.
//!
//! A frame is `PRPC`, the lengths of body and meta as 32 bits in network byte order, and the body: the meta, a message, and
//! the attachment with the data of a read or write. A reply repeats the correlation ID of its request; replies come in any
//! order.

use super::protobuf::{Fields, Malformed, Value, put_bytes, put_number};

/// A request that carries no data, or that asks for data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Request<'a> {
    /// Opens a volume. The server returns the same number for the same name, until the volume is closed.
    OpenFile { name: &'a str, exclusive: bool },
    /// Closes a volume for all clients.
    CloseFile { fd: i32 },
    /// Reads `len` bytes, which the reply has as attachment.
    Read { fd: i32, offset: u64, len: u32 },
    /// Writes the attachment, which follows the request, of `len` bytes.
    Write { fd: i32, offset: u64, len: u32 },
    /// Tells the store that a range is unused. It may stay readable.
    Discard { fd: i32, offset: u64, len: u64 },
    /// Asks for size and block length.
    GetInfo { fd: i32 },
    /// Names the open volumes, so that the server keeps them open.
    KeepAlive { pid: u32, open: &'a [(i32, String)] },
}

impl Request<'_> {
    /// Appends the frame without its attachment, whose length is part of it.
    pub(crate) fn encode(&self, correlation: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; HEAD_LEN]);
        self.put_meta(correlation, out);
        let meta_len = out.len() - start - HEAD_LEN;
        self.put_message(out);
        let body_len = out.len() - start - HEAD_LEN + self.attachment_len() as usize;
        let head = &mut out[start..start + HEAD_LEN];
        head[..4].copy_from_slice(MAGIC);
        head[4..8].copy_from_slice(&(body_len as u32).to_be_bytes());
        head[8..].copy_from_slice(&(meta_len as u32).to_be_bytes());
    }

    fn attachment_len(&self) -> u32 {
        match *self {
            Self::Write { len, .. } => len,
            _ => 0,
        }
    }

    /// `RpcMeta`: the service and method in its own message (1), the correlation ID (4), the length of the attachment (5).
    fn put_meta(&self, correlation: u64, out: &mut Vec<u8>) {
        let (service, method) = match self {
            Self::OpenFile { .. } => (FILE_SERVICE, "OpenFile"),
            Self::CloseFile { .. } => (FILE_SERVICE, "CloseFile"),
            Self::Read { .. } => (FILE_SERVICE, "Read"),
            Self::Write { .. } => (FILE_SERVICE, "Write"),
            Self::Discard { .. } => (FILE_SERVICE, "Discard"),
            Self::GetInfo { .. } => (FILE_SERVICE, "GetInfo"),
            Self::KeepAlive { .. } => (HEARTBEAT_SERVICE, "KeepAlive"),
        };
        // Both names are short: each length is one byte.
        out.extend_from_slice(&[0x0a, (service.len() + method.len() + 4) as u8]);
        put_bytes(out, 1, service.as_bytes());
        put_bytes(out, 2, method.as_bytes());
        put_number(out, 4, correlation);
        put_number(out, 5, self.attachment_len().into());
    }

    fn put_message(&self, out: &mut Vec<u8>) {
        match *self {
            Self::OpenFile { name, exclusive } => {
                put_bytes(out, 1, name.as_bytes());
                put_bytes(out, 2, &[0x08, exclusive.into()]);
            }
            Self::CloseFile { fd } | Self::GetInfo { fd } => put_fd(out, fd),
            Self::Read { fd, offset, len } | Self::Write { fd, offset, len } => {
                put_range(out, fd, offset, len.into());
            }
            Self::Discard { fd, offset, len } => put_range(out, fd, offset, len),
            Self::KeepAlive { pid, open } => {
                put_number(out, 1, pid.into());
                put_bytes(out, 2, NEBD_VERSION);
                for (fd, name) in open {
                    let mut info = Vec::with_capacity(name.len() + 16);
                    put_fd(&mut info, *fd);
                    put_bytes(&mut info, 2, name.as_bytes());
                    put_bytes(out, 3, &info);
                }
            }
        }
    }
}

fn put_range(out: &mut Vec<u8>, fd: i32, offset: u64, len: u64) {
    put_fd(out, fd);
    put_number(out, 2, offset);
    put_number(out, 3, len);
}

fn put_fd(out: &mut Vec<u8>, fd: i32) {
    put_number(out, 1, i64::from(fd).cast_unsigned());
}

/// The lengths at the start of a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Head {
    pub(crate) meta_len: usize,
    /// Length of message and attachment together.
    pub(crate) rest_len: usize,
}

/// Why a frame cannot be a reply of nebd-server. The connection is of no use then.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", self.text())]
pub(crate) enum WireError {
    Magic,
    Lengths,
    Attachment,
    MessageLen,
    Malformed,
    Compressed,
    Unexpected,
}

impl WireError {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Magic => "a frame does not begin with PRPC",
            Self::Lengths => "a frame is too long, or its meta is longer than the frame",
            Self::Attachment => "the attachment exceeds its frame",
            Self::MessageLen => "a message is too long",
            Self::Malformed => "a message is malformed",
            Self::Compressed => "a message is compressed",
            Self::Unexpected => "a reply belongs to no request",
        }
    }
}

impl From<Malformed> for WireError {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

impl Head {
    pub(crate) fn decode(bytes: &[u8; HEAD_LEN]) -> Result<Self, WireError> {
        let [magic @ .., b0, b1, b2, b3, m0, m1, m2, m3] = *bytes;
        if magic != *MAGIC {
            return Err(WireError::Magic);
        }
        let (body, meta) = (u32::from_be_bytes([b0, b1, b2, b3]), u32::from_be_bytes([m0, m1, m2, m3]));
        if meta > body || meta > META_LEN_MAX || body - meta > REST_LEN_MAX {
            return Err(WireError::Lengths);
        }
        Ok(Self { meta_len: meta as usize, rest_len: (body - meta) as usize })
    }
}

/// The meta of a reply.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ReplyMeta {
    pub(crate) correlation: u64,
    pub(crate) message_len: usize,
    pub(crate) attachment_len: usize,
    /// Code and text if the call itself failed; there is no message then.
    pub(crate) failure: Option<(i32, String)>,
}

impl ReplyMeta {
    pub(crate) fn decode(head: Head, bytes: &[u8]) -> Result<Self, WireError> {
        let (mut correlation, mut attachment, mut failure) = (0, 0, None);
        for field in Fields::new(bytes) {
            match field? {
                (2, Value::Bytes(response)) => failure = failure_of(response)?,
                (3, Value::Number(kind)) if kind != 0 => return Err(WireError::Compressed),
                (4, Value::Number(number)) => correlation = number,
                (5, Value::Number(len)) => attachment = len,
                _ => {}
            }
        }
        let attachment_len = usize::try_from(attachment).map_err(|_| WireError::Attachment)?;
        let message_len = head.rest_len.checked_sub(attachment_len).ok_or(WireError::Attachment)?;
        if message_len > MESSAGE_LEN_MAX {
            return Err(WireError::MessageLen);
        }
        Ok(Self { correlation, message_len, attachment_len, failure })
    }
}

fn failure_of(response: &[u8]) -> Result<Option<(i32, String)>, WireError> {
    let (mut code, mut text) = (0, String::new());
    for field in Fields::new(response) {
        match field? {
            (1, Value::Number(number)) => code = number as i32,
            (2, Value::Bytes(bytes)) => text = printable(bytes),
            _ => {}
        }
    }
    Ok((code != 0).then_some((code, text)))
}

/// The message of a reply, of any method.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Reply {
    /// The method succeeded (`kOK`).
    pub(crate) ok: bool,
    /// What the server says about it.
    pub(crate) text: String,
    /// Of `OpenFile`: number of the volume.
    pub(crate) fd: Option<i32>,
    /// Of `GetInfo`.
    pub(crate) info: Option<Info>,
}

/// Size and block length of a volume. The other fields of the message are uninitialized memory in the real server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Info {
    /// Size in bytes.
    pub(crate) size: u64,
    /// Reads and writes are multiples of this number of bytes.
    pub(crate) block_len: u32,
}

impl Reply {
    pub(crate) fn decode(message: &[u8]) -> Result<Self, WireError> {
        let mut reply = Self::default();
        let mut known = false;
        for field in Fields::new(message) {
            match field? {
                (1, Value::Number(code)) => (reply.ok, known) = (code == 0, true),
                (2, Value::Bytes(text)) => reply.text = printable(text),
                (3, Value::Number(fd)) => reply.fd = Some(fd as i32),
                (3, Value::Bytes(info)) => reply.info = Some(Info::decode(info)?),
                _ => {}
            }
        }
        if known { Ok(reply) } else { Err(WireError::Malformed) }
    }
}

impl Info {
    fn decode(message: &[u8]) -> Result<Self, WireError> {
        let mut info = Self { size: 0, block_len: DEFAULT_BLOCK_LEN };
        for field in Fields::new(message) {
            match field? {
                (1, Value::Number(size)) => info.size = size,
                (4, Value::Number(len)) => info.block_len = u32::try_from(len).map_err(|_| Malformed)?,
                _ => {}
            }
        }
        Ok(info)
    }
}

/// The start of a text of the server, for a message of one line.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Length of magic number, body length and meta length.
pub(crate) const HEAD_LEN: usize = 12;
const MAGIC: &[u8; 4] = b"PRPC";
/// Longest meta in bytes.
const META_LEN_MAX: u32 = 4096;
/// Longest message without attachment, in bytes.
const MESSAGE_LEN_MAX: usize = 60 << 10;
/// Longest message with attachment, in bytes: more than the longest read.
const REST_LEN_MAX: u32 = 2 << 20;
/// Block length of volumes whose server does not report one.
const DEFAULT_BLOCK_LEN: u32 = 4096;
const FILE_SERVICE: &str = "nebd.client.NebdFileService";
const HEARTBEAT_SERVICE: &str = "nebd.client.NebdHeartbeatService";
/// The version that heartbeats report; the server only logs it.
const NEBD_VERSION: &[u8] = b"1.0";

#[cfg(test)]
mod tests {
    use super::*;

    /// The first request of NEBD's own client (`libnebd` of Curve 1.2 with brpc 1.17). Ours lacks the log ID (1), the
    /// compression (3) and what newer versions of brpc add (10 to 12), all zero; it has the flags that the fork of tgt
    /// opens with.
    const OPEN_OF_LIBNEBD: &[u8] = b"PRPC\0\0\0\x67\0\0\0\x39\
        \x0a\x29\x0a\x1bnebd.client.NebdFileService\x12\x08OpenFile\x18\x01\x18\x00\
        \x20\x82\x80\x80\x80\x10\x50\x00\x58\x00\x62\x00\
        \x0a\x2ccbd:pool1//vol1_test_:/etc/curve/client.conf";
    const NAME: &str = "cbd:pool1//vol1_test_:/etc/curve/client.conf";

    /// Splits a frame into meta and rest.
    fn split(frame: &[u8]) -> (Head, &[u8], &[u8]) {
        let (head, body) = frame.split_first_chunk().unwrap();
        let head = Head::decode(head).unwrap();
        let (meta, rest) = body.split_at(head.meta_len);
        assert_eq!(rest.len(), head.rest_len);
        (head, meta, rest)
    }

    fn fields(message: &[u8]) -> Vec<(u64, Value<'_>)> {
        Fields::new(message).collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn open_request_has_the_fields_of_libnebd() {
        let mut ours = Vec::new();
        Request::OpenFile { name: NAME, exclusive: false }.encode(0x1_0000_0002, &mut ours);
        let (_, real_meta, real_message) = split(OPEN_OF_LIBNEBD);
        let (_, meta, message) = split(&ours);
        let (real_meta, meta) = (fields(real_meta), fields(meta));
        let (Value::Bytes(real_call), Value::Bytes(call)) = (real_meta[0].1, meta[0].1) else {
            panic!("the call is a message");
        };
        assert_eq!(fields(real_call)[..2], fields(call));
        assert_eq!(real_meta[2], (4, Value::Number(0x1_0000_0002)));
        assert_eq!(meta[1..], [real_meta[2], (5, Value::Number(0))]);
        assert_eq!(fields(message), [fields(real_message)[0], (2, Value::Bytes(&[0x08, 0]))]);
    }

    #[test]
    fn requests_are_encoded() {
        let mut out = vec![0xff];
        Request::Write { fd: 3, offset: 4096, len: 0x2000 }.encode(9, &mut out);
        assert_eq!(
            out[1..],
            *b"PRPC\0\0\x20\x33\0\0\0\x2b\
              \x0a\x24\x0a\x1bnebd.client.NebdFileService\x12\x05Write\x20\x09\x28\x80\x40\
              \x08\x03\x10\x80\x20\x18\x80\x40"
        );
        let mut out = Vec::new();
        Request::KeepAlive { pid: 7, open: &[(1, "a".into()), (2, "b".into())] }.encode(1, &mut out);
        let (_, meta, message) = split(&out);
        assert!(meta.ends_with(b"NebdHeartbeatService\x12\x09KeepAlive\x20\x01\x28\x00"));
        assert_eq!(*message, *b"\x08\x07\x12\x031.0\x1a\x05\x08\x01\x12\x01a\x1a\x05\x08\x02\x12\x01b");
    }

    #[test]
    fn replies_are_decoded() {
        let frame = b"PRPC\0\0\0\x13\0\0\0\x08\x12\x02\x08\0\x20\x05\x28\x04\x08\0\x12\x01!\x18\x0cDATA";
        let (head, meta, rest) = split(frame);
        let meta = ReplyMeta::decode(head, meta).unwrap();
        let expected = ReplyMeta { correlation: 5, message_len: 7, attachment_len: 4, failure: None };
        assert_eq!(meta, expected);
        let reply = Reply::decode(&rest[..meta.message_len]).unwrap();
        assert_eq!(reply, Reply { ok: true, text: "!".into(), fd: Some(12), info: None });
    }

    /// `kNoOK` is -1, which protocol buffers write with ten bytes.
    #[test]
    fn refusals_are_decoded() {
        let refused = Reply::decode(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x12\x05no\nfd").unwrap();
        assert_eq!((refused.ok, refused.text.as_str()), (false, "no fd"));
        let head = Head { meta_len: 0, rest_len: 0 };
        let failed = ReplyMeta::decode(head, b"\x12\x0a\x08\xea\x07\x12\x05what?\x20\x01").unwrap();
        assert_eq!(failed.failure, Some((1002, "what?".into())));
    }

    #[test]
    fn info_ignores_the_fields_that_the_server_does_not_set() {
        let reply =
            Reply::decode(b"\x08\0\x1a\x0f\x08\x80\x80\x40\x10\xff\xff\xff\xff\xff\xff\x7f\x20\x80\x04");
        assert_eq!(reply.unwrap().info, Some(Info { size: 1 << 20, block_len: 512 }));
        let reply = Reply::decode(b"\x08\0\x1a\x04\x08\x80\x80\x40").unwrap();
        assert_eq!(reply.info, Some(Info { size: 1 << 20, block_len: 4096 }));
    }

    #[test]
    fn implausible_frames_are_errors() {
        let head = |bytes: &[u8; HEAD_LEN]| Head::decode(bytes).unwrap_err();
        assert_eq!(head(b"HTTP\0\0\0\x08\0\0\0\x08"), WireError::Magic);
        assert_eq!(head(b"PRPC\0\0\0\x08\0\0\0\x09"), WireError::Lengths);
        assert_eq!(head(b"PRPC\xff\xff\xff\xff\0\0\0\x09"), WireError::Lengths);
        assert_eq!(head(b"PRPC\0\x20\0\0\0\0\x20\0"), WireError::Lengths);
        let meta = |bytes| ReplyMeta::decode(Head { meta_len: 0, rest_len: 70_000 }, bytes).unwrap_err();
        assert_eq!(meta(b"\x28\xf1\xa2\x04"), WireError::Attachment);
        assert_eq!(meta(b""), WireError::MessageLen);
        assert_eq!(meta(b"\x18\x01"), WireError::Compressed);
        assert_eq!(meta(b"\x12\x01\x08"), WireError::Malformed);
        assert_eq!(Reply::decode(b"").unwrap_err(), WireError::Malformed);
        assert_eq!(
            Reply::decode(b"\x08\0\x1a\x06\x20\xff\xff\xff\xff\x7f").unwrap_err(),
            WireError::Malformed
        );
    }
}
