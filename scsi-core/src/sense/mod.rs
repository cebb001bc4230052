//! Sense data (SPC-4 4.5): sense key, additional sense code, and both wire formats.

mod codes;

use nom::Parser;
use nom::bytes::complete::take;
use nom::multi::length_data;
use nom::number::complete::{be_u8, be_u32};

pub use codes::AdditionalSense;

/// SENSE KEY (SPC-4 4.5.6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum SenseKey {
    /// NO SENSE: nothing to report.
    NoSense = 0x0,
    /// RECOVERED ERROR: the command succeeded after recovery.
    RecoveredError = 0x1,
    /// NOT READY: the logical unit is not accessible.
    NotReady = 0x2,
    /// MEDIUM ERROR.
    MediumError = 0x3,
    /// HARDWARE ERROR.
    HardwareError = 0x4,
    /// ILLEGAL REQUEST: the CDB or the parameter list is invalid.
    IllegalRequest = 0x5,
    /// UNIT ATTENTION: the state of the logical unit changed.
    UnitAttention = 0x6,
    /// DATA PROTECT: reading or writing is not permitted.
    DataProtect = 0x7,
    /// BLANK CHECK: a read reached blank medium, or a write reached recorded medium.
    BlankCheck = 0x8,
    /// COPY ABORTED: a third-party copy was aborted.
    CopyAborted = 0xa,
    /// ABORTED COMMAND: the device server aborted the command.
    AbortedCommand = 0xb,
    /// MISCOMPARE: the data differs from the medium.
    Miscompare = 0xe,
}

/// The contents of sense data, in either format.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sense {
    /// SENSE KEY.
    pub key: SenseKey,
    /// ASC and ASCQ.
    pub code: AdditionalSense,
    /// INFORMATION; `None` if not valid.
    pub information: Option<u64>,
    /// SENSE KEY SPECIFIC; `None` if not valid.
    pub specific: Option<SenseSpecific>,
    /// Whether the data is encoded in descriptor format (D_SENSE) or in fixed format.
    pub descriptor: bool,
}

/// SENSE KEY SPECIFIC data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SenseSpecific {
    /// Location of the invalid field (SPC-4 4.5.2.4.2).
    FieldPointer {
        /// C/D: the field is in the CDB, else in the parameter list.
        in_cdb: bool,
        /// FIELD POINTER: offset of the byte.
        byte: u16,
        /// BIT POINTER, the most significant bit of a field of less than a byte.
        bit: Option<u8>,
    },
    /// PROGRESS INDICATION, in units of 1/65536.
    Progress(u16),
}

impl Sense {
    /// Sense data in fixed format, without INFORMATION and SENSE KEY SPECIFIC.
    #[must_use]
    pub const fn new(key: SenseKey, code: AdditionalSense) -> Self {
        Self { key, code, information: None, specific: None, descriptor: false }
    }

    /// NO SENSE, for REQUEST SENSE if there is nothing to report.
    #[must_use]
    pub const fn none() -> Self {
        Self::new(SenseKey::NoSense, AdditionalSense::NO_ADDITIONAL_SENSE)
    }

    /// ILLEGAL REQUEST with this additional sense code.
    #[must_use]
    pub const fn illegal_request(code: AdditionalSense) -> Self {
        Self::new(SenseKey::IllegalRequest, code)
    }

    /// UNIT ATTENTION with this additional sense code.
    #[must_use]
    pub const fn unit_attention(code: AdditionalSense) -> Self {
        Self::new(SenseKey::UnitAttention, code)
    }

    /// NOT READY with this additional sense code.
    #[must_use]
    pub const fn not_ready(code: AdditionalSense) -> Self {
        Self::new(SenseKey::NotReady, code)
    }

    /// INVALID COMMAND OPERATION CODE, with the field pointer at byte 0.
    #[must_use]
    pub const fn invalid_opcode() -> Self {
        Self::illegal_request(AdditionalSense::INVALID_COMMAND_OPERATION_CODE).pointing_at(true, 0, None)
    }

    /// INVALID FIELD IN CDB; `bit` is the most significant bit of a field of less than a byte.
    #[must_use]
    pub const fn invalid_field_in_cdb(byte: u16, bit: Option<u8>) -> Self {
        Self::illegal_request(AdditionalSense::INVALID_FIELD_IN_CDB).pointing_at(true, byte, bit)
    }

    /// INVALID FIELD IN PARAMETER LIST; `byte` is the offset in the list.
    #[must_use]
    pub const fn invalid_field_in_parameter_list(byte: u16, bit: Option<u8>) -> Self {
        Self::illegal_request(AdditionalSense::INVALID_FIELD_IN_PARAMETER_LIST).pointing_at(false, byte, bit)
    }

    /// PARAMETER LIST LENGTH ERROR.
    #[must_use]
    pub const fn parameter_list_length_error() -> Self {
        Self::illegal_request(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR)
    }

    /// Sets INFORMATION; for a disk the LBA of the error.
    #[must_use]
    pub const fn with_information(self, information: u64) -> Self {
        Self { information: Some(information), ..self }
    }

    /// Sets PROGRESS INDICATION, in units of 1/65536.
    #[must_use]
    pub const fn with_progress(self, progress: u16) -> Self {
        Self { specific: Some(SenseSpecific::Progress(progress)), ..self }
    }

    /// Selects descriptor format (true) or fixed format.
    #[must_use]
    pub const fn in_format(self, descriptor: bool) -> Self {
        Self { descriptor, ..self }
    }

    const fn pointing_at(self, in_cdb: bool, byte: u16, bit: Option<u8>) -> Self {
        Self { specific: Some(SenseSpecific::FieldPointer { in_cdb, byte, bit }), ..self }
    }

    /// Appends the sense data (SPC-4 4.5.2, 4.5.3): 18 bytes in fixed format, 8 to 28 in descriptor format.
    ///
    /// Fixed format holds 32 bits of INFORMATION; a larger value is encoded as not valid.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if self.descriptor { self.encode_descriptor(out) } else { self.encode_fixed(out) }
    }

    /// The encoded sense data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        self.encode(&mut out);
        out
    }

    fn encode_fixed(&self, out: &mut Vec<u8>) {
        let information = self.information.and_then(|information| u32::try_from(information).ok());
        out.push(FIXED | u8::from(information.is_some()) << 7);
        out.extend([0, self.key as u8]);
        out.extend(information.unwrap_or(0).to_be_bytes());
        out.extend([10, 0, 0, 0, 0, self.code.asc, self.code.ascq, 0]);
        out.extend(self.specific.map_or([0; 3], SenseSpecific::to_bytes));
    }

    fn encode_descriptor(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend([DESCRIPTOR, self.key as u8, self.code.asc, self.code.ascq, 0, 0, 0, 0]);
        if let Some(information) = self.information {
            out.extend([INFORMATION_DESCRIPTOR, 0x0a, 0x80, 0]);
            out.extend(information.to_be_bytes());
        }
        if let Some(specific) = self.specific {
            out.extend([SPECIFIC_DESCRIPTOR, 6, 0, 0]);
            out.extend(specific.to_bytes());
            out.push(0);
        }
        out[start + 7] = (out.len() - start - 8) as u8;
    }

    /// Decodes sense data of either format, for initiators.
    ///
    /// SENSE KEY SPECIFIC of other keys and other descriptors are ignored, and deferred errors decode as current ones.
    /// Fields that truncated data lacks are 0 or `None` (SPC-4 4.5.1).
    ///
    /// # Errors
    /// [`SenseError`] if the data is shorter than 8 bytes, or response code or sense key are unknown.
    pub fn decode(bytes: &[u8]) -> Result<Self, SenseError> {
        match bytes.first().ok_or(SenseError::Truncated)? & 0x7f {
            0x70 | 0x71 => Self::decode_fixed(bytes),
            0x72 | 0x73 => Self::decode_descriptor(bytes),
            code => Err(SenseError::ResponseCode(code)),
        }
    }

    fn decode_fixed(bytes: &[u8]) -> Result<Self, SenseError> {
        let (_, (valid, _, key, information, _)) =
            (be_u8, be_u8, be_u8, be_u32, be_u8).parse(bytes).map_err(truncated)?;
        let end = bytes.len().min(8 + usize::from(bytes[7]));
        let at = |index: usize| bytes[..end].get(index).copied().unwrap_or(0);
        let key = SenseKey::from_bits(key & 0x0f)?;
        Ok(Self {
            key,
            code: AdditionalSense { asc: at(12), ascq: at(13) },
            information: (valid & 0x80 != 0).then_some(information.into()),
            specific: SenseSpecific::from_bytes(key, [at(15), at(16), at(17)]),
            descriptor: false,
        })
    }

    fn decode_descriptor(bytes: &[u8]) -> Result<Self, SenseError> {
        let (rest, (_, key, asc, ascq, _, len)) =
            (be_u8, be_u8, be_u8, be_u8, take(3usize), be_u8).parse(bytes).map_err(truncated)?;
        let key = SenseKey::from_bits(key & 0x0f)?;
        let mut sense = Self::new(key, AdditionalSense { asc, ascq }).in_format(true);
        let mut rest = &rest[..rest.len().min(len.into())];
        while let Ok((after, (kind, body))) = (be_u8, length_data(be_u8::<&[u8], Failure<'_>>)).parse(rest) {
            match (kind, body) {
                (INFORMATION_DESCRIPTOR, [valid, _, information @ ..]) if valid & 0x80 != 0 => {
                    sense.information = information.first_chunk().copied().map(u64::from_be_bytes);
                }
                (SPECIFIC_DESCRIPTOR, [_, _, first, second, third, ..]) => {
                    sense.specific = SenseSpecific::from_bytes(key, [*first, *second, *third]);
                }
                _ => {}
            }
            rest = after;
        }
        Ok(sense)
    }
}

impl SenseKey {
    fn from_bits(bits: u8) -> Result<Self, SenseError> {
        Ok(match bits {
            0x0 => Self::NoSense,
            0x1 => Self::RecoveredError,
            0x2 => Self::NotReady,
            0x3 => Self::MediumError,
            0x4 => Self::HardwareError,
            0x5 => Self::IllegalRequest,
            0x6 => Self::UnitAttention,
            0x7 => Self::DataProtect,
            0x8 => Self::BlankCheck,
            0xa => Self::CopyAborted,
            0xb => Self::AbortedCommand,
            0xe => Self::Miscompare,
            other => return Err(SenseError::SenseKey(other)),
        })
    }
}

impl SenseSpecific {
    fn to_bytes(self) -> [u8; 3] {
        match self {
            Self::FieldPointer { in_cdb, byte, bit } => {
                let bit = bit.map_or(0, |bit| 0x08 | bit & 0x07);
                let [high, low] = byte.to_be_bytes();
                [0x80 | u8::from(in_cdb) << 6 | bit, high, low]
            }
            Self::Progress(progress) => {
                let [high, low] = progress.to_be_bytes();
                [0x80, high, low]
            }
        }
    }

    /// `None` if SKSV is clear, or if the bytes have another meaning for this sense key.
    fn from_bytes(key: SenseKey, [flags, high, low]: [u8; 3]) -> Option<Self> {
        let value = u16::from_be_bytes([high, low]);
        match key {
            _ if flags & 0x80 == 0 => None,
            SenseKey::IllegalRequest => Some(Self::FieldPointer {
                in_cdb: flags & 0x40 != 0,
                byte: value,
                bit: (flags & 0x08 != 0).then_some(flags & 0x07),
            }),
            SenseKey::NoSense | SenseKey::NotReady => Some(Self::Progress(value)),
            _ => None,
        }
    }
}

/// Why sense data was not decoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SenseError {
    /// The data has less than eight bytes.
    #[error("sense data ends early")]
    Truncated,
    /// RESPONSE CODE is not 70h to 73h.
    #[error("unknown response code {0:#04x}")]
    ResponseCode(u8),
    /// The sense key is reserved.
    #[error("reserved sense key {0:#x}")]
    SenseKey(u8),
}

type Failure<'a> = nom::error::Error<&'a [u8]>;

fn truncated(_: nom::Err<Failure<'_>>) -> SenseError {
    SenseError::Truncated
}

const FIXED: u8 = 0x70;
const DESCRIPTOR: u8 = 0x72;
const INFORMATION_DESCRIPTOR: u8 = 0x00;
const SPECIFIC_DESCRIPTOR: u8 = 0x02;

#[cfg(test)]
mod tests;
