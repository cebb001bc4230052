//! What a server says about an export.

use scsi_core::store::{BLOCK_ALIGNMENT, Capabilities, Geometry};

/// Transmission flags (NBD protocol, "Transmission flags").
pub(super) mod flag {
    pub(in super::super) const HAS_FLAGS: u16 = 1 << 0;
    pub(in super::super) const READ_ONLY: u16 = 1 << 1;
    pub(in super::super) const SEND_FLUSH: u16 = 1 << 2;
    pub(in super::super) const SEND_FUA: u16 = 1 << 3;
    pub(in super::super) const SEND_TRIM: u16 = 1 << 5;
    pub(in super::super) const SEND_WRITE_ZEROES: u16 = 1 << 6;
    pub(in super::super) const CAN_MULTI_CONN: u16 = 1 << 8;
}

/// What a server says about an export in the handshake.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Facts {
    /// Size in bytes.
    pub(super) size: u64,
    /// Transmission flags.
    pub(super) flags: u16,
    /// Minimum, preferred and maximum length of requests, in bytes.
    pub(super) block: BlockSize,
    /// Replies have chunks.
    pub(super) structured: bool,
    /// Identifies `base:allocation` in replies, if the server has it.
    pub(super) allocation: Option<u32>,
}

/// Limits of requests, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct BlockSize {
    pub(super) minimum: u32,
    pub(super) preferred: u32,
    pub(super) maximum: u32,
}

/// What every server accepts that does not say otherwise (NBD protocol, "Block size constraints").
impl Default for BlockSize {
    fn default() -> Self {
        Self { minimum: 512, preferred: 4096, maximum: 32 << 20 }
    }
}

impl BlockSize {
    /// Whether the limits fit each other.
    pub(super) fn is_valid(self) -> bool {
        let Self { minimum, preferred, maximum } = self;
        minimum.is_power_of_two()
            && minimum <= 64 << 10
            && preferred.is_power_of_two()
            && preferred >= minimum
            && (maximum == u32::MAX || maximum >= minimum && maximum.is_multiple_of(minimum))
    }
}

impl Facts {
    pub(super) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn read_only(&self) -> bool {
        self.has(flag::READ_ONLY)
    }

    /// Whether several connections see each other's writes, and a flush on one covers those of all.
    pub(super) fn multi_conn(&self) -> bool {
        self.has(flag::CAN_MULTI_CONN) || self.read_only()
    }

    /// Without flush, every write counts as durable.
    pub(super) fn volatile_cache(&self) -> bool {
        self.has(flag::SEND_FLUSH) && !self.read_only()
    }

    pub(super) fn geometry(&self) -> Geometry {
        let preferred = self.block.preferred.clamp(512, 64 << 10);
        Geometry {
            // A partial sector at the end is not part of the store.
            size: self.size & !511,
            physical_block_len: preferred.max(self.block.minimum),
        }
    }

    pub(super) fn capabilities(&self, read_only: bool) -> Capabilities {
        let read_only = read_only || self.read_only();
        let writable = |flag| !read_only && self.has(flag);
        Capabilities {
            read_only,
            volatile_cache: writable(flag::SEND_FLUSH),
            fua: writable(flag::SEND_FUA) || !self.has(flag::SEND_FLUSH),
            discard: writable(flag::SEND_TRIM),
            write_zeroes: writable(flag::SEND_WRITE_ZEROES),
            allocation: self.allocation.is_some(),
            may_shrink: false,
            alignment: self.block.minimum,
            discard_granularity: self.block.preferred.max(self.block.minimum),
            one_loop: !self.multi_conn() && !read_only,
            ..Capabilities::NONE
        }
    }
}

/// Why an export with these facts cannot be served with blocks of `block_len` bytes and so many connections of a loop.
pub(super) fn misfit(facts: &Facts, block_len: u32, connections: usize) -> Option<String> {
    let least = facts.block.minimum;
    if least > block_len.min(BLOCK_ALIGNMENT as u32) {
        return Some(format!(
            "the server needs multiples of {least} bytes, and a unit has blocks of {block_len}; {}",
            if least as usize > BLOCK_ALIGNMENT {
                format!("at most {BLOCK_ALIGNMENT} is possible")
            } else {
                format!("use --blocksize {least}")
            }
        ));
    }
    if facts.size < u64::from(block_len.max(512)) {
        return Some(format!(
            "the export has {} bytes, and a unit needs at least one block of {block_len}",
            facts.size
        ));
    }
    if connections > 1 && !facts.multi_conn() {
        return Some(
            "the server does not permit several connections of a writer (CAN_MULTI_CONN); use connections=1"
                .to_owned(),
        );
    }
    None
}
