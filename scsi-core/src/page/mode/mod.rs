//! Mode parameters (SPC-4 7.5, SBC-3 6.5): headers, block descriptors and pages, as MODE SENSE returns them. [`select`]
//! decodes the list of MODE SELECT.

mod pages;
pub mod select;

pub use pages::{
    Caching, Control, ControlExtension, DisconnectReconnect, InformationalExceptions, ReadWriteErrorRecovery,
};

use nom::bytes::complete::take;
use nom::combinator::map;
use nom::multi::length_data;
use nom::number::complete::{be_u8, be_u16};
use nom::{IResult, Parser};

use super::{PageError, flag, is_set, truncated};

/// PAGE CODE and SUBPAGE CODE. MODE SENSE returns pages in the order of this type.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PageId {
    /// PAGE CODE, 0 to 3eh; 3fh requests all pages.
    pub page: u8,
    /// SUBPAGE CODE, 0 to feh; ffh requests all subpages.
    pub subpage: u8,
}

impl PageId {
    /// PAGE CODE that requests all pages.
    pub const ALL_PAGES: u8 = 0x3f;
    /// SUBPAGE CODE that requests all subpages.
    pub const ALL_SUBPAGES: u8 = 0xff;

    /// A page without subpage.
    #[must_use]
    pub const fn page(page: u8) -> Self {
        Self { page, subpage: 0 }
    }

    /// Whether MODE SENSE with these codes requests this page (SPC-4 table 160). 3fh/00h requests all pages without
    /// subpages.
    #[must_use]
    pub const fn is_requested_by(self, page: u8, subpage: u8) -> bool {
        (page == Self::ALL_PAGES || page == self.page)
            && (subpage == Self::ALL_SUBPAGES || subpage == self.subpage)
    }
}

/// A mode page with its body as bytes. Typed pages, as [`Caching`], convert to it and from its body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ModePage {
    /// Code and subpage code of the page.
    pub id: PageId,
    /// PS: the page can be saved.
    pub saveable: bool,
    /// Bytes after PAGE LENGTH.
    pub body: Vec<u8>,
}

impl ModePage {
    /// Appends the page: in page_0 format for subpage 0, else in sub_page format (SPC-4 7.5.7).
    pub fn encode(&self, out: &mut Vec<u8>) {
        let code = flag(self.saveable, 7) | self.id.page & 0x3f;
        if self.id.subpage == 0 {
            out.extend([code, self.body.len() as u8]);
        } else {
            out.extend([code | 1 << 6, self.id.subpage]);
            out.extend((self.body.len() as u16).to_be_bytes());
        }
        out.extend(&self.body);
    }

    /// Length of the page header in bytes.
    #[must_use]
    pub const fn header_len(&self) -> u16 {
        if self.id.subpage == 0 { 2 } else { 4 }
    }
}

/// The fields of the mode parameter header, without its lengths.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ModeHeader {
    /// MEDIUM TYPE; 0 for disks.
    pub medium_type: u8,
    /// WP: the medium is write-protected.
    pub write_protected: bool,
    /// DPOFUA: DPO and FUA are supported.
    pub dpo_fua: bool,
}

/// A mode parameter block descriptor (SBC-3 6.5.2).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct BlockDescriptor {
    /// NUMBER OF LOGICAL BLOCKS; the short format holds at most ffffffffh.
    pub blocks: u64,
    /// LOGICAL BLOCK LENGTH in bytes.
    pub block_len: u32,
}

/// Format of the header and of the block descriptors.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// MODE SENSE (6): header of 4 bytes.
    Six,
    /// MODE SENSE (10): header of 8 bytes.
    Ten,
    /// MODE SENSE (10) with LLBAA: header of 8 bytes with LONGLBA, long block descriptors.
    TenLongLba,
}

/// Encodes mode parameter data: header, block descriptor, and pages in the given order. The caller truncates it.
#[must_use]
pub fn encode(form: Form, header: ModeHeader, block: Option<BlockDescriptor>, pages: &[ModePage]) -> Vec<u8> {
    let device_specific = flag(header.write_protected, 7) | flag(header.dpo_fua, 4);
    let block = block.map_or_else(Vec::new, |block| block.to_bytes(form));
    let mut body = Vec::with_capacity(256);
    body.extend(&block);
    pages.iter().for_each(|page| page.encode(&mut body));

    let mut out = Vec::with_capacity(8 + body.len());
    if form == Form::Six {
        let len = u8::try_from(3 + body.len()).unwrap_or(u8::MAX);
        out.extend([len, header.medium_type, device_specific, block.len() as u8]);
    } else {
        out.extend(u16::try_from(6 + body.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend([header.medium_type, device_specific, flag(form == Form::TenLongLba, 0), 0]);
        out.extend((block.len() as u16).to_be_bytes());
    }
    out.extend(body);
    out
}

/// Decoded mode parameter data.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ModeData {
    /// The header.
    pub header: ModeHeader,
    /// The block descriptors.
    pub blocks: Vec<BlockDescriptor>,
    /// The complete pages.
    pub pages: Vec<ModePage>,
}

impl ModeData {
    /// Decodes the data of MODE SENSE (10) (`long`) or (6), which may be truncated.
    ///
    /// # Errors
    /// [`PageError::Truncated`] if the header or a block descriptor is incomplete.
    pub fn decode(bytes: &[u8], long: bool) -> Result<Self, PageError> {
        let (rest, header) = RawHeader::parse(bytes, long).map_err(truncated)?;
        let len = (header.data_len).saturating_sub(if long { 6 } else { 3 });
        let rest = &rest[..rest.len().min(len)];
        let (blocks, mut rest) = rest.split_at_checked(header.blocks_len).ok_or(PageError::Truncated)?;
        let mut pages = Vec::new();
        while let Ok((after, page)) = raw_page(rest) {
            pages.push(ModePage { id: page.id, saveable: page.saveable, body: page.body.to_vec() });
            rest = after;
        }
        Ok(Self { header: header.fields(), blocks: BlockDescriptor::all(blocks, header.long_lba), pages })
    }
}

impl BlockDescriptor {
    fn to_bytes(self, form: Form) -> Vec<u8> {
        if form == Form::TenLongLba {
            let blocks = self.blocks.to_be_bytes();
            return [&blocks[..], &[0; 4], &self.block_len.to_be_bytes()].concat();
        }
        let blocks = u32::try_from(self.blocks).unwrap_or(u32::MAX).to_be_bytes();
        let [_, len @ ..] = self.block_len.to_be_bytes();
        [&blocks[..], &[0], &len].concat()
    }

    fn all(bytes: &[u8], long: bool) -> Vec<Self> {
        if long {
            let long = |[a, b, c, d, e, f, g, h, _, _, _, _, i, j, k, l]: [u8; 16]| Self {
                blocks: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
                block_len: u32::from_be_bytes([i, j, k, l]),
            };
            return bytes.as_chunks().0.iter().copied().map(long).collect();
        }
        let short = |[a, b, c, d, _, f, g, h]: [u8; 8]| Self {
            blocks: u32::from_be_bytes([a, b, c, d]).into(),
            block_len: u32::from_be_bytes([0, f, g, h]),
        };
        bytes.as_chunks().0.iter().copied().map(short).collect()
    }
}

/// A mode parameter header of either length.
struct RawHeader {
    data_len: usize,
    medium_type: u8,
    device_specific: u8,
    long_lba: bool,
    blocks_len: usize,
}

impl RawHeader {
    fn parse(bytes: &[u8], long: bool) -> IResult<&[u8], Self> {
        if long {
            let layout = (be_u16, be_u8, be_u8, be_u8, take(1usize), be_u16);
            let (rest, (len, medium_type, device_specific, flags, _, blocks)) = { layout }.parse(bytes)?;
            let (data_len, blocks_len, long_lba) = (len.into(), blocks.into(), is_set(flags, 0));
            return Ok((rest, Self { data_len, medium_type, device_specific, long_lba, blocks_len }));
        }
        let (rest, (len, medium_type, device_specific, blocks)) =
            (be_u8, be_u8, be_u8, be_u8).parse(bytes)?;
        let (data_len, blocks_len) = (len.into(), blocks.into());
        Ok((rest, Self { data_len, medium_type, device_specific, long_lba: false, blocks_len }))
    }

    const fn fields(&self) -> ModeHeader {
        ModeHeader {
            medium_type: self.medium_type,
            write_protected: is_set(self.device_specific, 7),
            dpo_fua: is_set(self.device_specific, 4),
        }
    }
}

/// A page in page_0 or sub_page format.
struct RawPage<'a> {
    id: PageId,
    saveable: bool,
    sub_page_format: bool,
    body: &'a [u8],
}

/// Splits off one page.
fn raw_page(bytes: &[u8]) -> IResult<&[u8], RawPage<'_>> {
    let (rest, code) = be_u8(bytes)?;
    let sub_page_format = is_set(code, 6);
    let (rest, (subpage, body)) = if sub_page_format {
        (be_u8, length_data(be_u16)).parse(rest)?
    } else {
        map(length_data(be_u8), |body| (0, body)).parse(rest)?
    };
    let id = PageId { page: code & 0x3f, subpage };
    Ok((rest, RawPage { id, saveable: is_set(code, 7), sub_page_format, body }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: ModeHeader = ModeHeader { medium_type: 0, write_protected: true, dpo_fua: true };
    const BLOCK: BlockDescriptor = BlockDescriptor { blocks: 0x1_0000_0002, block_len: 4096 };

    fn pages() -> Vec<ModePage> {
        vec![
            ModePage { id: PageId::page(0x08), saveable: true, body: vec![4, 5] },
            ModePage { id: PageId { page: 0x0a, subpage: 1 }, saveable: false, body: vec![6] },
        ]
    }

    #[test]
    fn golden_bytes() {
        let page_bytes = [0x88, 2, 4, 5, 0x4a, 1, 0, 1, 6];
        #[rustfmt::skip]
        let cases: &[(Form, Option<BlockDescriptor>, &[u8])] = &[
            (Form::Six,        None,        &[12, 0, 0x90, 0]),
            (Form::Six,        Some(BLOCK), &[20, 0, 0x90, 8, 0xff, 0xff, 0xff, 0xff, 0, 0, 0x10, 0]),
            (Form::Ten,        None,        &[0, 15, 0, 0x90, 0, 0, 0, 0]),
            (Form::Ten,        Some(BlockDescriptor { blocks: 5, block_len: 512 }),
                                            &[0, 23, 0, 0x90, 0, 0, 0, 8, 0, 0, 0, 5, 0, 0, 2, 0]),
            (Form::TenLongLba, Some(BLOCK), &[0, 31, 0, 0x90, 1, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0x10, 0]),
        ];
        for (form, block, front) in cases {
            let bytes = encode(*form, HEADER, *block, &pages());
            assert_eq!(bytes, [front, &page_bytes[..]].concat(), "{form:?}");
        }
    }

    #[test]
    fn decode_returns_what_was_encoded() {
        for (form, blocks) in [(Form::Six, 7), (Form::Ten, 7), (Form::TenLongLba, u64::MAX)] {
            let block = BlockDescriptor { blocks, block_len: 512 };
            let bytes = encode(form, HEADER, Some(block), &pages());
            let data = ModeData { header: HEADER, blocks: vec![block], pages: pages() };
            assert_eq!(ModeData::decode(&bytes, form != Form::Six), Ok(data), "{form:?}");
        }
        let bytes = encode(Form::Six, HEADER, Some(BLOCK), &pages());
        assert_eq!(ModeData::decode(&bytes[..17], false).map(|data| data.pages.len()), Ok(1));
        assert_eq!(ModeData::decode(&bytes[..11], false), Err(PageError::Truncated));
    }

    #[test]
    fn short_header_limits_its_length_to_255() {
        let long = ModePage { id: PageId { page: 0x0a, subpage: 2 }, saveable: false, body: vec![0; 300] };
        let bytes = encode(Form::Six, HEADER, None, &[long]);
        assert_eq!((bytes[0], bytes.len()), (0xff, 308));
    }

    #[test]
    fn page_codes_select_pages() {
        let extension = PageId { page: 0x0a, subpage: 1 };
        let control = PageId::page(0x0a);
        #[rustfmt::skip]
        let cases = [
            (0x0a, 0x00, true,  false),
            (0x0a, 0x01, false, true),
            (0x0a, 0xff, true,  true),
            (0x3f, 0x00, true,  false),
            (0x3f, 0xff, true,  true),
            (0x08, 0x00, false, false),
            (0x08, 0xff, false, false),
        ];
        for (page, subpage, of_control, of_extension) in cases {
            let asked = (control.is_requested_by(page, subpage), extension.is_requested_by(page, subpage));
            assert_eq!(asked, (of_control, of_extension), "{page:02x}/{subpage:02x}");
        }
    }
}
