//! The bytes on the unix socket: one request record, one reply record, then the connection is closed.
//!
//! The records are the C structures of a 64-bit little-endian machine; their offsets are part of the
//! interface. This module does not interpret requests.

use zeroize::Zeroizing;

use crate::limits::CONTROL_PAYLOAD_LEN_MAX;

/// Bytes of a request before its payload.
pub const REQUEST_HEADER_LEN: usize = 120;
/// Bytes of the longest request.
const RECORD_LEN_MAX: usize = REQUEST_HEADER_LEN + CONTROL_PAYLOAD_LEN_MAX;
/// Bytes of a reply before its text.
pub const REPLY_HEADER_LEN: usize = 8;
/// Bytes of the driver's name, padded with NULs.
pub const LLD_NAME_LEN: usize = 64;

/// The driver's name in a request for a JSON answer: alone, or followed by `/` and the driver. A daemon without JSON has
/// no such driver.
pub const JSON_LLD: &str = "json.1";

/// The form of a request and its answer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Form {
    /// tgt's: lenient, answered in its texts.
    #[default]
    Text,
    /// Strict, and answered by a JSON document.
    Json,
}

/// A request as it travels.
#[derive(Clone, Eq, PartialEq)]
pub struct Record {
    /// The numbers.
    pub header: RequestHeader,
    /// The strings, comma separated; tgt's tgtadm ends them with a NUL that counts.
    pub payload: Zeroizing<Vec<u8>>,
}

/// The fixed part of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestHeader {
    /// The kind of object; see [`Mode`].
    pub mode: u32,
    /// What is done with it; see [`Op`].
    pub op: u32,
    /// The driver's name; empty for the first driver.
    pub lld: String,
    /// Length of header and payload in bytes.
    pub len: u32,
    /// The target's number; −1 where none was given.
    pub tid: i32,
    /// The session's number (TSIH); 0 where none was given.
    pub sid: u64,
    /// The logical unit's number; all ones where none was given.
    pub lun: u64,
    /// The connection's number.
    pub cid: u32,
    /// A SCSI host's number, for host binding.
    pub host_no: u32,
    /// The peripheral device type of a new unit.
    pub device_type: u32,
    /// 0 for incoming, 1 for outgoing accounts.
    pub ac_dir: u32,
    /// Not used.
    pub pack: u32,
    /// Whether `--force` was given.
    pub force: u32,
}

/// The fixed part of a reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReplyHeader {
    /// 0 or a [`TgtadmError`](super::error::TgtadmError)'s number.
    pub error: u32,
    /// Length of header and text in bytes; the text ends with a NUL that counts.
    pub len: u32,
}

/// Why a record cannot be read. The connection is dropped without a reply, as by tgt.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The length says less than a header.
    #[error("a record of {0} bytes is shorter than its header")]
    TooShort(u32),
    /// The length says more than any request needs.
    #[error("a record of {0} bytes is too long")]
    TooLong(u32),
}

/// The kind of object a request is about.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u32)]
#[allow(missing_docs, reason = "the words of `--mode`")]
pub enum Mode {
    System = 0,
    Target = 1,
    LogicalUnit = 2,
    Portal = 3,
    Lld = 4,
    Session = 5,
    Connection = 6,
    Account = 7,
}

/// What a request wants done.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u32)]
#[allow(missing_docs, reason = "the words of `--op`")]
pub enum Op {
    New = 0,
    Delete = 1,
    Show = 2,
    Bind = 3,
    Unbind = 4,
    Update = 5,
    Stat = 6,
    Start = 7,
    Stop = 8,
}

/// Reads a request from bytes in any chunks. They may have a secret, so no copy of them is left in memory.
#[derive(Default)]
pub struct RecordReader {
    received: Zeroizing<Vec<u8>>,
}

/// Without the strings, which may have a secret.
impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record").field("header", &self.header).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for RecordReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordReader").field("received", &self.received.len()).finish()
    }
}

impl Default for RequestHeader {
    /// The values that a client sends where none was given.
    fn default() -> Self {
        Self {
            mode: 0,
            op: 0,
            lld: String::new(),
            len: REQUEST_HEADER_LEN as u32,
            tid: -1,
            sid: 0,
            lun: u64::MAX,
            cid: 0,
            host_no: 0,
            device_type: 0,
            ac_dir: 0,
            pack: 0,
            force: 0,
        }
    }
}

impl Record {
    /// A record whose length fits its payload.
    #[must_use]
    pub fn new(mut header: RequestHeader, payload: Vec<u8>) -> Self {
        header.len = u32::try_from(REQUEST_HEADER_LEN + payload.len()).unwrap_or(u32::MAX);
        Self { header, payload: Zeroizing::new(payload) }
    }

    /// The bytes for the socket.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.header.encode().to_vec();
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

impl RequestHeader {
    /// Decodes all fields. Only the length can be invalid, which [`RecordReader`] checks. A driver's name
    /// ends at its first NUL, and at byte 63 in any case.
    #[must_use]
    pub fn decode(bytes: &[u8; REQUEST_HEADER_LEN]) -> Self {
        let name = &bytes[8..8 + LLD_NAME_LEN - 1];
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        Self {
            mode: u32_at(bytes, 0),
            op: u32_at(bytes, 4),
            lld: String::from_utf8_lossy(name).into_owned(),
            len: u32_at(bytes, 72),
            tid: u32_at(bytes, 76).cast_signed(),
            sid: u64_at(bytes, 80),
            lun: u64_at(bytes, 88),
            cid: u32_at(bytes, 96),
            host_no: u32_at(bytes, 100),
            device_type: u32_at(bytes, 104),
            ac_dir: u32_at(bytes, 108),
            pack: u32_at(bytes, 112),
            force: u32_at(bytes, 116),
        }
    }

    /// Encodes all bytes. A driver's name longer than 63 bytes is cut.
    #[must_use]
    pub fn encode(&self) -> [u8; REQUEST_HEADER_LEN] {
        let mut bytes = [0; REQUEST_HEADER_LEN];
        let name = self.lld.as_bytes();
        let name = &name[..name.len().min(LLD_NAME_LEN - 1)];
        bytes[8..8 + name.len()].copy_from_slice(name);
        let words = [
            (0, self.mode),
            (4, self.op),
            (72, self.len),
            (76, self.tid.cast_unsigned()),
            (96, self.cid),
            (100, self.host_no),
            (104, self.device_type),
            (108, self.ac_dir),
            (112, self.pack),
            (116, self.force),
        ];
        for (at, word) in words {
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        bytes[80..88].copy_from_slice(&self.sid.to_le_bytes());
        bytes[88..96].copy_from_slice(&self.lun.to_le_bytes());
        bytes
    }
}

impl Form {
    /// The form that a driver's name asks for, and the driver.
    #[must_use]
    pub fn of(lld: &str) -> (Self, &str) {
        match lld.strip_prefix(JSON_LLD) {
            Some("") => (Self::Json, ""),
            Some(rest) if rest.starts_with('/') => (Self::Json, &rest[1..]),
            _ => (Self::Text, lld),
        }
    }
}

impl ReplyHeader {
    /// Reads both words.
    #[must_use]
    pub fn decode(bytes: &[u8; REPLY_HEADER_LEN]) -> Self {
        Self { error: u32_at(bytes, 0), len: u32_at(bytes, 4) }
    }

    /// Writes both words.
    #[must_use]
    pub fn encode(&self) -> [u8; REPLY_HEADER_LEN] {
        let mut bytes = [0; REPLY_HEADER_LEN];
        bytes[..4].copy_from_slice(&self.error.to_le_bytes());
        bytes[4..].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    /// Bytes of text that follow the header, its NUL included.
    #[must_use]
    pub fn text_len(&self) -> usize {
        (self.len as usize).saturating_sub(REPLY_HEADER_LEN)
    }
}

/// The bytes of a reply: a number, 0 for success, and a text, which ends with a NUL; an empty text is nothing at all.
/// With an error the text is its reason: tgt's daemon sends none, and tgt's tgtadm prints none.
#[must_use]
pub fn encode_reply(error: u32, text: &str) -> Vec<u8> {
    let nul = usize::from(!text.is_empty());
    let len = u32::try_from(REPLY_HEADER_LEN + text.len() + nul).unwrap_or(u32::MAX);
    let mut bytes = ReplyHeader { error, len }.encode().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes.extend(std::iter::repeat_n(0, nul));
    bytes
}

impl RecordReader {
    /// Takes received bytes. Returns the request once it is complete; bytes after it are ignored.
    ///
    /// # Errors
    /// The length in the header is one that no request has.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Option<Record>, WireError> {
        // Growing would leave copies in memory.
        let space = RECORD_LEN_MAX.saturating_sub(self.received.len());
        self.received.reserve_exact(space);
        self.received.extend_from_slice(&bytes[..bytes.len().min(space)]);
        let Some((header, rest)) = self.received.split_first_chunk::<REQUEST_HEADER_LEN>() else {
            return Ok(None);
        };
        let header = RequestHeader::decode(header);
        let payload_len =
            (header.len as usize).checked_sub(REQUEST_HEADER_LEN).ok_or(WireError::TooShort(header.len))?;
        if payload_len > CONTROL_PAYLOAD_LEN_MAX {
            return Err(WireError::TooLong(header.len));
        }
        let payload = rest.get(..payload_len).map(|payload| Zeroizing::new(payload.to_vec()));
        Ok(payload.map(|payload| Record { header, payload }))
    }
}

impl Mode {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::System,
        Self::Target,
        Self::LogicalUnit,
        Self::Portal,
        Self::Lld,
        Self::Session,
        Self::Connection,
        Self::Account,
    ];

    /// `None` where the number names none.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }

    /// From the word after `--mode`, the short forms included.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.word() == word || mode.short_word() == Some(word))
    }

    /// The long word.
    #[must_use]
    pub fn word(self) -> &'static str {
        MODE_WORDS[self as usize].0
    }

    /// The short word, where there is one.
    #[must_use]
    pub fn short_word(self) -> Option<&'static str> {
        MODE_WORDS[self as usize].1
    }
}

/// The long and the short words of the modes, in the order of their numbers.
const MODE_WORDS: [(&str, Option<&str>); 8] = [
    ("system", Some("sys")),
    ("target", Some("tgt")),
    ("logicalunit", Some("lu")),
    ("portal", Some("pt")),
    ("lld", None),
    ("session", Some("sess")),
    ("connection", Some("conn")),
    ("account", None),
];

impl Op {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::New,
        Self::Delete,
        Self::Show,
        Self::Bind,
        Self::Unbind,
        Self::Update,
        Self::Stat,
        Self::Start,
        Self::Stop,
    ];

    /// `None` where the number names none.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }

    /// From the word after `--op`.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.word() == word)
    }

    /// The word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Delete => "delete",
            Self::Show => "show",
            Self::Bind => "bind",
            Self::Unbind => "unbind",
            Self::Update => "update",
            Self::Stat => "stat",
            Self::Start => "start",
            Self::Stop => "stop",
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |word| u32::from_le_bytes(*word))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
}

#[cfg(test)]
mod tests;
