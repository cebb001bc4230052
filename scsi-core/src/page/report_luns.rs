//! REPORT LUNS parameter data (SPC-4 6.33).

use nom::Parser;
use nom::bytes::complete::take;
use nom::number::complete::be_u32;

use super::{PageError, truncated};
use crate::lun::Lun;

/// SELECT REPORT.
pub mod select {
    /// All but well-known logical units.
    pub const ADDRESSED: u8 = 0x00;
    /// Only well-known logical units.
    pub const WELL_KNOWN: u8 = 0x01;
    /// All logical units.
    pub const ALL: u8 = 0x02;
}

/// Encodes the list of logical units; the caller truncates it.
#[must_use]
pub fn encode(luns: &[Lun]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + luns.len() * 8);
    out.extend((luns.len() as u32 * 8).to_be_bytes());
    out.extend([0; 4]);
    out.extend(luns.iter().flat_map(|lun| lun.to_wire()));
    out
}

/// Decodes a list, which may be truncated: the complete entries in wire format, and the number of all entries.
///
/// # Errors
/// [`PageError::Truncated`] if it has less than 8 bytes.
pub fn decode(bytes: &[u8]) -> Result<(Vec<[u8; 8]>, u32), PageError> {
    let (rest, (len, _)) = (be_u32, take(4usize)).parse(bytes).map_err(truncated)?;
    let end = rest.len().min(usize::try_from(len).unwrap_or(usize::MAX));
    Ok((rest[..end].as_chunks().0.to_vec(), len / 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_encode_and_decode() {
        let luns: Vec<_> = [0, 1, 256].into_iter().filter_map(Lun::new).collect();
        let bytes = encode(&luns);
        #[rustfmt::skip]
        assert_eq!(bytes, [
            0, 0, 0, 24, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0,
            0, 1, 0, 0, 0, 0, 0, 0,
            0x41, 0, 0, 0, 0, 0, 0, 0,
        ]);
        let wire: Vec<_> = luns.iter().map(|lun| lun.to_wire()).collect();
        assert_eq!(decode(&bytes), Ok((wire.clone(), 3)));
        assert_eq!(decode(&bytes[..17]), Ok((wire[..1].to_vec(), 3)));
        let longer = [&bytes[..], &[0; 8]].concat();
        assert_eq!(decode(&longer).map(|(luns, _)| luns.len()), Ok(3));
        assert_eq!(decode(&bytes[..7]), Err(PageError::Truncated));
    }
}
