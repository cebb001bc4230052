//! The format of tape image files, which tgt's store `ssc` and `tgtimg` use.
//!
//! A tape is a chain of objects. Each has a header of 48 bytes and its stored bytes. The first object is the beginning of
//! tape, which stores the attributes of the medium (its MAM, 1104 bytes). Data blocks and filemarks follow. The last object
//! is the end of data, which stores nothing; bytes after it in the file are obsolete. A header holds the offsets of itself
//! and of the previous and next header, in bytes from the start of the file. Numbers are big-endian, except for the checksum,
//! a CRC32C over the rest of the header, which is little-endian.
//!
//! The module only encodes and decodes; callers read and write the file.

/// Length of an object header in bytes.
pub const HEADER_LEN: usize = 48;
/// Length of the MAM area in bytes.
pub const MAM_LEN: usize = 1104;
/// Length of the image of a blank tape, in bytes.
pub const BLANK_LEN: usize = HEADER_LEN + MAM_LEN + HEADER_LEN;
/// Maximum length of a barcode in bytes. The serial number, which contains it, has a field of fixed length.
pub const BARCODE_LEN_MAX: usize = 20;

/// Type of an object, as encoded in the file.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ObjectKind(pub u32);

impl ObjectKind {
    /// No operation.
    pub const NO_OPERATION: Self = Self(0);
    /// A data block, stored without compression.
    pub const DATA: Self = Self(2);
    /// Beginning of tape, the first object.
    pub const BEGINNING_OF_TAPE: Self = Self(16);
    /// End of data, the last object.
    pub const END_OF_DATA: Self = Self(32);
    /// A filemark.
    pub const FILEMARK: Self = Self(64);
}

/// Header of an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ObjectHeader {
    /// Length of the stored bytes; 0 for the beginning of tape, although its MAM follows the header.
    pub stored_len: u32,
    /// Length of the written block in bytes; for the beginning of tape the capacity in MiB.
    pub len: u32,
    /// Type of the object.
    pub kind: ObjectKind,
    /// Index in the chain; 0 for the beginning of tape.
    pub number: u64,
    /// Offset of the previous header, in bytes.
    pub previous: u64,
    /// Offset of this header, in bytes.
    pub at: u64,
    /// Offset of the next header, in bytes; for the end of data, of this one.
    pub next: u64,
}

/// Why a tape image cannot be decoded or made.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TapeImageError {
    /// The checksum does not match: the header is damaged.
    #[error("the header's checksum is {stored:08x}, but that of its bytes is {computed:08x}")]
    Checksum {
        /// Checksum in the header.
        stored: u32,
        /// Checksum of the bytes.
        computed: u32,
    },
    /// The next header does not follow this one.
    #[error("the next header, at byte {0}, does not follow this one")]
    Backward(u64),
    /// The MAM has an unknown format version.
    #[error("media format version {0} is unknown; expected {MAM_VERSION}")]
    Version(u32),
    /// The barcode is longer than [`BARCODE_LEN_MAX`].
    #[error("a barcode has at most {BARCODE_LEN_MAX} bytes, not {0}")]
    Barcode(usize),
}

impl ObjectHeader {
    /// Decodes a header.
    ///
    /// # Errors
    /// [`TapeImageError::Checksum`] if it is damaged.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, TapeImageError> {
        let (stored, computed) = (u32::from_le_bytes(field(bytes, 0)), checksum(bytes));
        if stored != computed {
            return Err(TapeImageError::Checksum { stored, computed });
        }
        Ok(Self::from_fields(bytes))
    }

    /// Decodes a header without checking its checksum.
    pub(crate) fn from_fields(bytes: &[u8; HEADER_LEN]) -> Self {
        Self {
            stored_len: u32::from_be_bytes(field(bytes, 4)),
            len: u32::from_be_bytes(field(bytes, 8)),
            kind: ObjectKind(u32::from_be_bytes(field(bytes, 12))),
            number: u64::from_be_bytes(field(bytes, 16)),
            previous: u64::from_be_bytes(field(bytes, 24)),
            at: u64::from_be_bytes(field(bytes, 32)),
            next: u64::from_be_bytes(field(bytes, 40)),
        }
    }

    /// Encodes the header with its checksum.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        put(&mut bytes, 4, &self.stored_len.to_be_bytes());
        put(&mut bytes, 8, &self.len.to_be_bytes());
        put(&mut bytes, 12, &self.kind.0.to_be_bytes());
        put(&mut bytes, 16, &self.number.to_be_bytes());
        put(&mut bytes, 24, &self.previous.to_be_bytes());
        put(&mut bytes, 32, &self.at.to_be_bytes());
        put(&mut bytes, 40, &self.next.to_be_bytes());
        let checksum = checksum(&bytes);
        put(&mut bytes, 0, &checksum.to_le_bytes());
        bytes
    }

    /// Offset of the next header, if this one was read at offset `at`; `None` at the end of data. The offset increases
    /// with each header, so a reader that follows the chain terminates for any file.
    ///
    /// # Errors
    /// [`TapeImageError::Backward`] if the next header does not follow this one.
    pub fn next_at(&self, at: u64) -> Result<Option<u64>, TapeImageError> {
        match self.kind {
            ObjectKind::END_OF_DATA => Ok(None),
            _ if self.next >= at.saturating_add(HEADER_LEN as u64) => Ok(Some(self.next)),
            _ => Err(TapeImageError::Backward(self.next)),
        }
    }
}

/// Type of a cartridge, as encoded in the MAM.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MediumKind(pub u8);

impl MediumKind {
    /// Not specified.
    pub const UNSPECIFIED: Self = Self(0);
    /// Data cartridge.
    pub const DATA: Self = Self(1);
    /// Cleaning cartridge.
    pub const CLEANING: Self = Self(2);
    /// Diagnostics cartridge.
    pub const DIAGNOSTICS: Self = Self(3);
    /// Write-once cartridge.
    pub const WORM: Self = Self(4);
    /// Cartridge with drive microcode.
    pub const MICROCODE: Self = Self(5);
}

/// The medium auxiliary memory (SPC-4 7.4). It has accessors for some attributes and keeps all others unchanged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mam([u8; MAM_LEN]);

impl Mam {
    /// The attributes of a new cartridge: capacity in MiB, time of manufacture in seconds since 1970.
    ///
    /// # Errors
    /// [`TapeImageError::Barcode`] if the barcode is too long.
    pub fn new(
        barcode: &str,
        capacity_mib: u32,
        kind: MediumKind,
        made_at: u32,
    ) -> Result<Self, TapeImageError> {
        if barcode.len() > BARCODE_LEN_MAX {
            return Err(TapeImageError::Barcode(barcode.len()));
        }
        let capacity = (u64::from(capacity_mib) << 20).to_be_bytes();
        let mut area = [0; MAM_LEN];
        put(&mut area, 0, &MAM_VERSION.to_be_bytes());
        put(&mut area, REMAINING, &capacity);
        put(&mut area, CAPACITY, &capacity);
        put(&mut area, SPACE_REMAINING, &256_u64.to_be_bytes());
        put(&mut area, MANUFACTURER, b"Foo     ");
        put(&mut area, SERIAL, format!("{barcode}_{made_at}").as_bytes());
        put(&mut area, MEDIUM_LENGTH, &384_u32.to_be_bytes());
        put(&mut area, MEDIUM_WIDTH, &127_u32.to_be_bytes());
        area[KIND] = kind.0;
        if kind == MediumKind::CLEANING {
            put(&mut area, KIND_INFORMATION, &CLEANINGS.to_be_bytes());
        }
        put(&mut area, VENDOR, b"Bar     ");
        area[BARCODE..BARCODE + 31].fill(b' ');
        put(&mut area, BARCODE, barcode.as_bytes());
        Ok(Self(area))
    }

    /// Decodes the MAM area.
    ///
    /// # Errors
    /// [`TapeImageError::Version`] unless the format version is 2.
    pub fn decode(area: &[u8; MAM_LEN]) -> Result<Self, TapeImageError> {
        match u32::from_be_bytes(field(area, 0)) {
            MAM_VERSION => Ok(Self(*area)),
            version => Err(TapeImageError::Version(version)),
        }
    }

    /// Encodes the MAM area.
    #[must_use]
    pub const fn encode(&self) -> &[u8; MAM_LEN] {
        &self.0
    }

    /// Maximum capacity in bytes (attribute 0001h).
    #[must_use]
    pub fn capacity(&self) -> u64 {
        u64::from_be_bytes(field(&self.0, CAPACITY))
    }

    /// Remaining capacity in bytes (attribute 0000h).
    #[must_use]
    pub fn remaining(&self) -> u64 {
        u64::from_be_bytes(field(&self.0, REMAINING))
    }

    /// Type of the cartridge (attribute 0408h).
    #[must_use]
    pub const fn kind(&self) -> MediumKind {
        MediumKind(self.0[KIND])
    }

    /// Number of uses of a cleaning cartridge (attribute 0409h).
    #[must_use]
    pub fn cleanings(&self) -> u16 {
        u16::from_be_bytes(field(&self.0, KIND_INFORMATION))
    }

    /// The barcode, padded with spaces (attribute 0806h).
    #[must_use]
    pub fn barcode(&self) -> &[u8] {
        text(&self.0[BARCODE..BARCODE + 32])
    }

    /// The serial number (attribute 0401h).
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        text(&self.0[SERIAL..SERIAL + 32])
    }

    /// Time of manufacture in seconds since 1970, from the serial number after the last `_`.
    #[must_use]
    pub fn made_at(&self) -> Option<u64> {
        let serial = self.serial();
        let dash = serial.iter().rposition(|byte| *byte == b'_').filter(|at| *at > 0)?;
        std::str::from_utf8(&serial[dash + 1..]).ok()?.parse().ok()
    }
}

/// Encodes the image of a blank tape.
#[must_use]
pub fn blank(mam: &Mam) -> [u8; BLANK_LEN] {
    let end = (HEADER_LEN + MAM_LEN) as u64;
    let beginning = ObjectHeader {
        stored_len: 0,
        // `Mam::new` takes the capacity in MiB.
        len: u32::try_from(mam.capacity() >> 20).unwrap_or(u32::MAX),
        kind: ObjectKind::BEGINNING_OF_TAPE,
        number: 0,
        previous: 0,
        at: 0,
        next: end,
    };
    let end_of_data = ObjectHeader { len: 0, kind: ObjectKind::END_OF_DATA, number: 1, at: end, ..beginning };
    let mut bytes = [0; BLANK_LEN];
    put(&mut bytes, 0, &beginning.encode());
    put(&mut bytes, HEADER_LEN, mam.encode());
    put(&mut bytes, HEADER_LEN + MAM_LEN, &end_of_data.encode());
    bytes
}

fn checksum(header: &[u8; HEADER_LEN]) -> u32 {
    crc_fast::crc32_iscsi(&header[4..])
}

/// Reads `N` bytes; the constant offsets of the callers are within the area.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// The text before the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

const MAM_VERSION: u32 = 2;
/// Offsets in the MAM, in bytes.
const REMAINING: usize = 0x08;
const CAPACITY: usize = 0x10;
const SPACE_REMAINING: usize = 0x28;
const MANUFACTURER: usize = 0x100;
const SERIAL: usize = 0x108;
const MEDIUM_LENGTH: usize = 0x128;
const MEDIUM_WIDTH: usize = 0x12c;
const KIND: usize = 0x150;
const KIND_INFORMATION: usize = 0x152;
const VENDOR: usize = 0x158;
const BARCODE: usize = 0x238;
/// Number of uses of a new cleaning cartridge.
const CLEANINGS: u16 = 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Header of an object of eleven bytes after the beginning of tape, as tgt 1.0.85 writes it.
    const HELLO: [u8; HEADER_LEN] = [
        0x59, 0x9b, 0x57, 0xe6, 0, 0, 0, 11, 0, 0, 0, 11, 0, 0, 0, 2, // checksum, lengths, kind
        0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, // number, previous
        0, 0, 0, 0, 0, 0, 0x04, 0x80, 0, 0, 0, 0, 0, 0, 0x04, 0xbb, // this header, next
    ];

    #[test]
    fn golden_header() {
        let header = ObjectHeader::decode(&HELLO).unwrap();
        let data = ObjectKind::DATA;
        let expected = ObjectHeader {
            stored_len: 11,
            len: 11,
            kind: data,
            number: 1,
            previous: 0,
            at: 1152,
            next: 1211,
        };
        assert_eq!(header, expected);
        assert_eq!(header.encode(), HELLO);
        assert_eq!(header.next_at(1152), Ok(Some(1211)));
        assert_eq!(header.next_at(1164), Err(TapeImageError::Backward(1211)));
        assert_eq!(ObjectHeader { kind: ObjectKind::END_OF_DATA, ..header }.next_at(1152), Ok(None));
    }

    #[test]
    fn checksum_detects_any_flipped_bit() {
        for bit in 0..HEADER_LEN * 8 {
            let mut bytes = HELLO;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(ObjectHeader::decode(&bytes), Err(TapeImageError::Checksum { .. })), "{bit}");
        }
    }

    /// The non-zero bytes of an image of tgt 1.0.85 by offset: a cartridge of 10 MiB, "A0001", made at 1795350416.
    const BLANK_OF_TGT: &[(usize, &[u8])] = &[
        (0x00, &[0x4f, 0x20, 0x10, 0x0c]),
        (0x0b, &[10]),
        (0x0f, &[16]),
        (0x2e, &[0x04, 0x80]),
        (0x33, &[2]),
        (0x3d, &[0xa0]),
        (0x45, &[0xa0]),
        (0x5e, &[1]),
        (0x130, b"Foo     A0001_1795350416"),
        (0x15a, &[0x01, 0x80]),
        (0x15f, &[0x7f]),
        (0x180, &[1]),
        (0x188, b"Bar     "),
        (0x268, b"A0001                          "),
        (0x480, &[0x72, 0x95, 0x14, 0x69]),
        (0x48f, &[32]),
        (0x497, &[1]),
        (0x4a6, &[0x04, 0x80]),
        (0x4ae, &[0x04, 0x80]),
    ];

    #[test]
    fn golden_cartridge() {
        let mut expected = [0; BLANK_LEN];
        for (at, bytes) in BLANK_OF_TGT {
            put(&mut expected, *at, bytes);
        }
        let mam = Mam::new("A0001", 10, MediumKind::DATA, 1_795_350_416).unwrap();
        assert_eq!(blank(&mam), expected);
        assert_eq!((mam.capacity(), mam.remaining(), mam.cleanings()), (10 << 20, 10 << 20, 0));
        assert_eq!((mam.kind(), mam.made_at()), (MediumKind::DATA, Some(1_795_350_416)));
        assert_eq!(mam.barcode(), format!("{:<31}", "A0001").as_bytes());
        let cleaning = Mam::new("A0001", 10, MediumKind::CLEANING, 0).unwrap();
        assert_eq!((cleaning.kind(), cleaning.cleanings()), (MediumKind::CLEANING, 20));
    }

    #[test]
    fn barcode_length_is_limited() {
        let made = |barcode: &str| Mam::new(barcode, 1, MediumKind::WORM, u32::MAX);
        let longest = made(&"x".repeat(20)).unwrap();
        assert_eq!(longest.serial().len(), 31);
        assert_eq!(longest.made_at(), Some(u32::MAX.into()));
        assert_eq!(made(&"x".repeat(21)), Err(TapeImageError::Barcode(21)));
        assert_eq!(made("").unwrap().made_at(), None);
        assert_eq!(made("a_b").unwrap().made_at(), Some(u32::MAX.into()));
        assert_eq!(made("ü").unwrap().barcode().len(), 31);
    }

    #[test]
    fn other_versions_are_refused() {
        let mut area = *Mam::new("", 1, MediumKind::DATA, 0).unwrap().encode();
        area[3] = 3;
        assert_eq!(Mam::decode(&area), Err(TapeImageError::Version(3)));
    }

    proptest! {
        #[test]
        fn header_decodes_to_what_was_encoded(
            lengths: [u32; 2], kind: u32, number: u64, places: [u64; 3],
        ) {
            let [stored_len, len] = lengths;
            let [previous, at, next] = places;
            let kind = ObjectKind(kind);
            let header = ObjectHeader { stored_len, len, kind, number, previous, at, next };
            prop_assert_eq!(ObjectHeader::decode(&header.encode()), Ok(header));
        }

        #[test]
        fn mam_decodes_to_what_was_encoded(barcode in "\\PC{0,5}", capacity: u32, kind: u8, made_at: u32) {
            let mam = Mam::new(&barcode, capacity, MediumKind(kind), made_at).unwrap();
            prop_assert_eq!(Mam::decode(mam.encode()), Ok(mam.clone()));
            prop_assert_eq!(mam.capacity(), u64::from(capacity) << 20);
            let image = blank(&mam);
            let header = ObjectHeader::decode(image.first_chunk().unwrap()).unwrap();
            prop_assert_eq!(header.len, capacity);
        }
    }
}
