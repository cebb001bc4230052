//! The handshake (NBD protocol, "Fixed newstyle negotiation").

use super::facts::{BlockSize, Facts, flag};
use crate::remote::{Broken, MESSAGE_LEN_MAX};

/// The client's side of the handshake.
#[derive(Debug)]
pub(super) struct Handshake {
    export: String,
    tls: bool,
    awaits: Awaits,
    /// The server omits the zeroes behind the reply to EXPORT_NAME.
    no_zeroes: bool,
    facts: Facts,
    has_export: bool,
    /// The exports that the server lists.
    exports: Vec<String>,
    /// Number and length of the replies so far.
    replies: usize,
    bytes: usize,
}

/// What the server sends next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Awaits {
    Greeting,
    StartTls,
    /// Nothing: the handshake of TLS runs.
    Tls,
    StructuredReply,
    MetaContext,
    Go,
    ExportName,
    List,
}

/// What the handshake has come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// The next message.
    Next,
    StartTls,
    Ready(Facts),
}

const NBDMAGIC: u64 = 0x4e42_444d_4147_4943;
const IHAVEOPT: u64 = 0x4948_4156_454f_5054;
const OLDSTYLE: u64 = 0x4202_8186_1253;
const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const FIXED_NEWSTYLE: u16 = 1 << 0;
const NO_ZEROES: u16 = 1 << 1;

/// Options.
const EXPORT_NAME: u32 = 1;
const LIST: u32 = 3;
const STARTTLS: u32 = 5;
const GO: u32 = 7;
const STRUCTURED_REPLY: u32 = 8;
const SET_META_CONTEXT: u32 = 10;

/// Types of replies.
const ACK: u32 = 1;
const SERVER: u32 = 2;
const INFO: u32 = 3;
const META_CONTEXT: u32 = 4;
const ERROR: u32 = 1 << 31;
const ERR_UNSUP: u32 = ERROR + 1;
const ERR_POLICY: u32 = ERROR + 2;
const ERR_INVALID: u32 = ERROR + 3;
const ERR_PLATFORM: u32 = ERROR + 4;
const ERR_TLS_REQD: u32 = ERROR + 5;
const ERR_UNKNOWN: u32 = ERROR + 6;
const ERR_SHUTDOWN: u32 = ERROR + 7;
const ERR_BLOCK_SIZE_REQD: u32 = ERROR + 8;

/// Types of information.
const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;

const ALLOCATION: &str = "base:allocation";

/// Maximum length of a reply in bytes.
const REPLY_LEN_MAX: usize = 64 << 10;
/// Maximum number of replies of a handshake.
const REPLIES_MAX: usize = 256;
/// Maximum length of all replies of a handshake in bytes.
const BYTES_MAX: usize = 1 << 20;
/// Maximum number of exports that are named.
const NAMED_MAX: usize = 20;

const _: () = assert!(REPLY_LEN_MAX + 20 <= MESSAGE_LEN_MAX);

impl Handshake {
    /// The server speaks first.
    pub(super) fn new(export: String, tls: bool) -> Self {
        Self {
            export,
            tls,
            awaits: Awaits::Greeting,
            no_zeroes: false,
            facts: Facts::default(),
            has_export: false,
            exports: Vec::new(),
            replies: 0,
            bytes: 0,
        }
    }

    /// Takes one message from the front of `bytes`. Returns its length, 0 if it is not complete.
    ///
    /// # Errors
    /// The server refuses, or violates the protocol.
    pub(super) fn received(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(usize, Step), Broken> {
        let (used, step) = match self.awaits {
            Awaits::Greeting => self.greeting(bytes, out)?,
            Awaits::Tls => {
                // Called once at the beginning of the TLS handshake; what is sent now is sent behind it.
                self.ask(Awaits::StructuredReply, out);
                (0, Step::Next)
            }
            Awaits::ExportName => self.export_name(bytes)?,
            _ => self.reply(bytes, out)?,
        };
        self.bytes += used;
        self.replies += usize::from(used > 0);
        if self.bytes > BYTES_MAX || self.replies > REPLIES_MAX {
            return Err(Broken::Violation("the handshake is too long"));
        }
        Ok((used, step))
    }

    fn greeting(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(usize, Step), Broken> {
        let Some((bytes, _)) = bytes.split_first_chunk::<18>() else { return Ok((0, Step::Next)) };
        let mut fields = Fields(bytes);
        let (magic, style, flags) = (fields.u64(), fields.u64(), fields.u16());
        if magic != Some(NBDMAGIC) {
            return Err(Broken::Violation("it is no NBD server"));
        }
        let newstyle = "the server does not offer the fixed newstyle handshake, which this client needs";
        if style == Some(OLDSTYLE) {
            return Err(Broken::Refused(newstyle.to_owned()));
        }
        if style != Some(IHAVEOPT) {
            return Err(Broken::Violation("it is no NBD server"));
        }
        let flags = flags.unwrap_or_default();
        if flags & FIXED_NEWSTYLE == 0 {
            return Err(Broken::Refused(newstyle.to_owned()));
        }
        self.no_zeroes = flags & NO_ZEROES != 0;
        let client = FIXED_NEWSTYLE | flags & NO_ZEROES;
        out.extend(u32::from(client).to_be_bytes());
        self.ask(if self.tls { Awaits::StartTls } else { Awaits::StructuredReply }, out);
        Ok((18, Step::Next))
    }

    /// Sends an option; its reply comes next.
    fn ask(&mut self, awaits: Awaits, out: &mut Vec<u8>) {
        let mut data = Vec::new();
        let name = |data: &mut Vec<u8>, name: &str| {
            data.extend((name.len() as u32).to_be_bytes());
            data.extend(name.as_bytes());
        };
        let option = match awaits {
            Awaits::Greeting | Awaits::Tls => return,
            Awaits::StartTls => STARTTLS,
            Awaits::StructuredReply => STRUCTURED_REPLY,
            Awaits::MetaContext => {
                name(&mut data, &self.export);
                data.extend(1u32.to_be_bytes());
                name(&mut data, ALLOCATION);
                SET_META_CONTEXT
            }
            Awaits::Go => {
                name(&mut data, &self.export);
                data.extend(2u16.to_be_bytes());
                data.extend(INFO_EXPORT.to_be_bytes());
                data.extend(INFO_BLOCK_SIZE.to_be_bytes());
                GO
            }
            Awaits::ExportName => {
                data.extend(self.export.as_bytes());
                EXPORT_NAME
            }
            Awaits::List => LIST,
        };
        out.extend(IHAVEOPT.to_be_bytes());
        out.extend(option.to_be_bytes());
        out.extend((data.len() as u32).to_be_bytes());
        out.extend(data);
        self.awaits = awaits;
    }

    fn option(&self) -> u32 {
        match self.awaits {
            Awaits::StartTls => STARTTLS,
            Awaits::StructuredReply => STRUCTURED_REPLY,
            Awaits::MetaContext => SET_META_CONTEXT,
            Awaits::Go => GO,
            Awaits::List => LIST,
            Awaits::Greeting | Awaits::Tls | Awaits::ExportName => 0,
        }
    }

    fn reply(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(usize, Step), Broken> {
        let Some((header, rest)) = bytes.split_first_chunk::<20>() else { return Ok((0, Step::Next)) };
        let mut fields = Fields(header);
        let (magic, option) = (fields.u64(), fields.u32());
        let (kind, len) = (fields.u32().unwrap_or_default(), fields.u32().unwrap_or_default() as usize);
        if magic != Some(REPLY_MAGIC) || option != Some(self.option()) {
            return Err(Broken::Violation("a reply to no option of the handshake"));
        }
        if len > REPLY_LEN_MAX {
            return Err(Broken::Violation("a reply of the handshake is too long"));
        }
        let Some(data) = rest.get(..len) else { return Ok((0, Step::Next)) };
        Ok((20 + len, self.act(kind, data, out)?))
    }

    fn act(&mut self, kind: u32, data: &[u8], out: &mut Vec<u8>) -> Result<Step, Broken> {
        match (self.awaits, kind) {
            (Awaits::StartTls, ACK) => {
                self.awaits = Awaits::Tls;
                return Ok(Step::StartTls);
            }
            (Awaits::StructuredReply, ACK) => {
                self.facts.structured = true;
                self.ask(Awaits::MetaContext, out);
            }
            (Awaits::MetaContext, META_CONTEXT) => self.meta_context(data),
            (Awaits::MetaContext, ACK) => self.ask(Awaits::Go, out),
            (Awaits::StructuredReply | Awaits::MetaContext, ERROR..) if kind != ERR_TLS_REQD => {
                self.ask(Awaits::Go, out);
            }
            (Awaits::Go, INFO) => self.info(data)?,
            (Awaits::Go, ACK) if self.has_export => return Ok(Step::Ready(self.facts)),
            (Awaits::Go, ERR_UNSUP) => self.ask(Awaits::ExportName, out),
            (Awaits::Go, ERR_UNKNOWN) => self.ask(Awaits::List, out),
            (Awaits::List, SERVER) => {
                let mut fields = Fields(data);
                if let Some(name) = fields.string() {
                    self.exports.push(name);
                }
            }
            (Awaits::List, _) => return Err(self.unknown_export()),
            (_, ERROR..) => return Err(self.refused(kind, data)),
            _ => return Err(Broken::Violation("an unexpected reply in the handshake")),
        }
        Ok(Step::Next)
    }

    fn meta_context(&mut self, data: &[u8]) {
        let mut fields = Fields(data);
        let id = fields.u32();
        if fields.0 == ALLOCATION.as_bytes() {
            self.facts.allocation = id;
        }
    }

    /// Information about the export. Unknown kinds are ignored.
    fn info(&mut self, data: &[u8]) -> Result<(), Broken> {
        let mut fields = Fields(data);
        match fields.u16() {
            Some(INFO_EXPORT) => {
                let (Some(size), Some(flags)) = (fields.u64(), fields.u16()) else {
                    return Err(Broken::Violation("a reply of the handshake is too short"));
                };
                self.set_export(size, flags);
            }
            Some(INFO_BLOCK_SIZE) => {
                let (Some(minimum), Some(preferred), Some(maximum)) =
                    (fields.u32(), fields.u32(), fields.u32())
                else {
                    return Err(Broken::Violation("a reply of the handshake is too short"));
                };
                let block = BlockSize { minimum, preferred, maximum };
                if !block.is_valid() {
                    return Err(Broken::Refused(format!(
                        "the server has block sizes that do not fit each other: {minimum}, {preferred}, {maximum}"
                    )));
                }
                self.facts.block = block;
            }
            _ => {}
        }
        Ok(())
    }

    fn set_export(&mut self, size: u64, flags: u16) {
        self.has_export = true;
        self.facts.size = size;
        self.facts.flags = if flags & flag::HAS_FLAGS != 0 { flags } else { 0 };
    }

    /// The reply to EXPORT_NAME; a server that does not have the export closes the connection instead.
    fn export_name(&mut self, bytes: &[u8]) -> Result<(usize, Step), Broken> {
        let len = if self.no_zeroes { 10 } else { 134 };
        let Some(reply) = bytes.get(..len) else { return Ok((0, Step::Next)) };
        let mut fields = Fields(reply);
        self.set_export(fields.u64().unwrap_or_default(), fields.u16().unwrap_or_default());
        Ok((len, Step::Ready(self.facts)))
    }

    fn unknown_export(&self) -> Broken {
        let export = &self.export;
        let mut names: Vec<String> =
            self.exports.iter().take(NAMED_MAX).map(|name| format!("'{name}'")).collect();
        if self.exports.len() > NAMED_MAX {
            names.push(format!("and {} more", self.exports.len() - NAMED_MAX));
        }
        Broken::Refused(if names.is_empty() {
            format!("the server has no export '{export}' and lists none")
        } else {
            format!("the server has no export '{export}'; it has: {}", names.join(", "))
        })
    }

    fn refused(&self, kind: u32, data: &[u8]) -> Broken {
        let why = match kind {
            ERR_UNSUP if self.awaits == Awaits::StartTls => "the server does not support TLS",
            ERR_UNSUP => "the server does not support an option of the handshake",
            ERR_POLICY if self.awaits == Awaits::StartTls => "the server refuses TLS by its policy",
            ERR_POLICY => "the server refuses this client by its policy",
            ERR_INVALID => "the server does not accept the name of the export",
            ERR_PLATFORM => "the platform of the server does not support the option",
            ERR_TLS_REQD => "the server requires TLS: use nbds: or nbds+unix:",
            ERR_SHUTDOWN => "the server is shutting down",
            ERR_BLOCK_SIZE_REQD => "the server requires a block size that this client does not offer",
            _ => "the server refuses the export",
        };
        let said: String =
            String::from_utf8_lossy(data).chars().filter(|c| !c.is_control()).take(200).collect();
        Broken::Refused(if said.is_empty() { why.to_owned() } else { format!("{why} ({said})") })
    }
}

/// Reads fields from the front of a message.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.bytes().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_be_bytes)
    }

    /// A length and as many bytes; control characters are dropped.
    fn string(&mut self) -> Option<String> {
        let len = self.u32()? as usize;
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(256).collect())
    }
}

#[cfg(test)]
mod tests;
