//! Frames of brpc's `baidu_std` and messages of protocol buffers, as a server reads and writes them.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;

/// A received request.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: String,
    correlation: u64,
    message: Message,
    pub(super) attachment: Vec<u8>,
}

/// A message as its fields.
#[derive(Debug, Default)]
pub(super) struct Message {
    bytes: Vec<u8>,
    /// Code and text of a failed call, which has no message.
    failure: Option<(u64, String)>,
}

impl std::ops::Deref for Call {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

/// Reads a request.
pub(super) fn read_call(mut stream: &UnixStream) -> io::Result<Call> {
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let len = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
    let (body_len, meta_len) = (len(4), len(8));
    if head[..4] != *b"PRPC" || meta_len > body_len || body_len > 64 << 20 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; body_len];
    stream.read_exact(&mut body)?;
    let meta = Message { bytes: body[..meta_len].to_vec(), failure: None };
    let request = meta.message(1).ok_or(io::ErrorKind::InvalidData)?;
    let attachment = body.split_off(body_len - meta.number(5) as usize);
    let message = Message { bytes: body.split_off(meta_len), failure: None };
    Ok(Call { method: request.text(2), correlation: meta.number(4), message, attachment })
}

/// Returns the frame that answers a request.
pub(super) fn reply(call: &Call, message: &Message, attachment: &[u8]) -> Vec<u8> {
    let response = match &message.failure {
        None => Message::default().with(1, 0),
        Some((code, text)) => Message::default().with(1, *code).with_bytes(2, text.as_bytes()),
    };
    let meta = Message::default().with_bytes(2, &response.bytes).with(3, 0).with(4, call.correlation);
    let meta = meta.with(5, attachment.len() as u64).with(10, 0);
    let body_len = meta.bytes.len() + message.bytes.len() + attachment.len();
    let mut frame = b"PRPC".to_vec();
    frame.extend((body_len as u32).to_be_bytes());
    frame.extend((meta.bytes.len() as u32).to_be_bytes());
    frame.extend([&meta.bytes, &message.bytes, attachment].concat());
    frame
}

impl Message {
    /// `kOK`.
    pub(super) fn ok() -> Self {
        Self::default().with(1, 0)
    }

    /// `kNoOK` with a text.
    pub(super) fn refused(text: &str) -> Self {
        Self::default().with(1, u64::MAX).with_bytes(2, text.as_bytes())
    }

    /// A call that failed.
    pub(super) fn failed(code: u64, text: &str) -> Self {
        Self { bytes: Vec::new(), failure: Some((code, text.to_owned())) }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends a number.
    pub(super) fn with(mut self, field: u8, value: u64) -> Self {
        self.bytes.push(field << 3);
        self.put(value);
        self
    }

    /// Appends a string or a message.
    pub(super) fn with_bytes(mut self, field: u8, bytes: &[u8]) -> Self {
        self.bytes.push(field << 3 | 2);
        self.put(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn put(&mut self, mut value: u64) {
        while value > 0x7f {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// The last number of this field; 0 if it is absent.
    pub(super) fn number(&self, field: u64) -> u64 {
        self.fields().filter(|(key, ..)| *key == field << 3).last().map_or(0, |(_, number, _)| number)
    }

    /// The string of this field.
    pub(super) fn text(&self, field: u64) -> String {
        self.messages(field)
            .next()
            .map(|message| String::from_utf8_lossy(&message.bytes).into_owned())
            .unwrap_or_default()
    }

    pub(super) fn message(&self, field: u64) -> Option<Self> {
        self.messages(field).next()
    }

    pub(super) fn messages(&self, field: u64) -> impl Iterator<Item = Self> {
        self.fields()
            .filter(move |(key, ..)| *key == field << 3 | 2)
            .map(|(_, _, bytes)| Self { bytes: bytes.to_vec(), failure: None })
    }

    /// Key, number and bytes of each field, up to the first that is malformed.
    fn fields(&self) -> impl Iterator<Item = (u64, u64, &[u8])> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let key = number(&mut rest)?;
            let value = number(&mut rest)?;
            let len = if key & 7 == 2 { value as usize } else { 0 };
            let (bytes, after) = rest.split_at_checked(len)?;
            rest = after;
            Some((key, value, bytes))
        })
    }
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(number);
        }
    }
    None
}
