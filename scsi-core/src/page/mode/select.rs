//! The parameter list of MODE SELECT (SPC-4 7.5): header, block descriptors, pages.

use super::{BlockDescriptor, ModeHeader, ModePage, PageId, RawHeader, raw_page};
use crate::page::{ParameterError, length_error};

/// The parameter list of MODE SELECT, in the order of its parts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ModeSelectList<'a> {
    /// The header; WP and DPOFUA are ignored in MODE SELECT.
    pub header: ModeHeader,
    /// The block descriptors.
    pub blocks: Vec<BlockDescriptor>,
    /// Offset of the first block descriptor in the list, also if there is none.
    pub blocks_at: u16,
    /// The pages.
    pub pages: Vec<SelectedPage<'a>>,
}

/// A page of a MODE SELECT list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SelectedPage<'a> {
    /// Code and subpage code of the page.
    pub id: PageId,
    /// Offset of the page header in the list.
    pub at: u16,
    /// Bytes after PAGE LENGTH.
    pub body: &'a [u8],
}

impl<'a> ModeSelectList<'a> {
    /// Decodes the list of MODE SELECT (10) (`long`) or (6). An empty list has no pages.
    ///
    /// # Errors
    /// [`ParameterError::Length`] if a header, block descriptor or page is incomplete; [`ParameterError::InvalidField`] for
    /// a BLOCK DESCRIPTOR LENGTH that is not a multiple of the length of a descriptor, and for subpage codes 00h and ffh in
    /// sub_page format.
    pub fn parse(list: &'a [u8], long: bool) -> Result<Self, ParameterError> {
        if list.is_empty() {
            return Ok(Self::default());
        }
        let (rest, header) = RawHeader::parse(list, long).map_err(length_error)?;
        let blocks_at = (list.len() - rest.len()) as u16;
        if header.blocks_len % if header.long_lba { 16 } else { 8 } != 0 {
            return Err(ParameterError::InvalidField { byte: if long { 6 } else { 3 }, bit: None });
        }
        let (blocks, mut rest) = rest.split_at_checked(header.blocks_len).ok_or(ParameterError::Length)?;
        let mut pages = Vec::new();
        while !rest.is_empty() {
            let at = u16::try_from(list.len() - rest.len()).map_err(|_| ParameterError::Length)?;
            let (after, page) = raw_page(rest).map_err(length_error)?;
            if page.sub_page_format && matches!(page.id.subpage, 0 | PageId::ALL_SUBPAGES) {
                return Err(ParameterError::InvalidField { byte: at + 1, bit: None });
            }
            pages.push(SelectedPage { id: page.id, at, body: page.body });
            rest = after;
        }
        let blocks = BlockDescriptor::all(blocks, header.long_lba);
        Ok(Self { header: header.fields(), blocks, blocks_at, pages })
    }
}

impl SelectedPage<'_> {
    /// Offset of the page body in the list.
    #[must_use]
    pub const fn body_at(&self) -> u16 {
        self.at.saturating_add(if self.id.subpage == 0 { 2 } else { 4 })
    }

    /// The new body of the page. It may differ from `current` only in the bits of the mask `changeable`.
    ///
    /// # Errors
    /// [`ParameterError::InvalidField`] at PAGE LENGTH if it differs from that of the page, or at the first bit that must
    /// not change.
    pub fn apply(&self, current: &ModePage, changeable: &[u8]) -> Result<Vec<u8>, ParameterError> {
        if self.body.len() != current.body.len() {
            return Err(ParameterError::InvalidField {
                byte: self.body_at().saturating_sub(self.len_width()),
                bit: None,
            });
        }
        for (index, (new, old)) in self.body.iter().zip(&current.body).enumerate() {
            let refused = (new ^ old) & !changeable.get(index).copied().unwrap_or(0);
            if refused != 0 {
                let byte = self.body_at().saturating_add(index as u16);
                return Err(ParameterError::InvalidField {
                    byte,
                    bit: Some(7 - refused.leading_zeros() as u8),
                });
            }
        }
        Ok(self.body.to_vec())
    }

    const fn len_width(&self) -> u16 {
        if self.id.subpage == 0 { 1 } else { 2 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::page::mode::{self, Control, Form};

    const fn invalid<T>(byte: u16, bit: Option<u8>) -> Result<T, ParameterError> {
        Err(ParameterError::InvalidField { byte, bit })
    }

    #[test]
    fn both_headers_and_both_page_formats() {
        let short = [0, 0, 0x10, 8, 0, 0, 0, 5, 0, 0, 2, 0, 0x88, 1, 4, 0x4a, 1, 0, 2, 6, 7];
        let list = ModeSelectList::parse(&short, false).unwrap();
        assert_eq!(list.blocks, [BlockDescriptor { blocks: 5, block_len: 512 }]);
        assert_eq!((list.blocks_at, list.pages.len()), (4, 2));
        assert_eq!(list.pages[0], SelectedPage { id: PageId::page(8), at: 12, body: &[4] });
        assert_eq!(
            list.pages[1],
            SelectedPage { id: PageId { page: 0x0a, subpage: 1 }, at: 15, body: &[6, 7] }
        );
        assert_eq!((list.pages[0].body_at(), list.pages[1].body_at()), (14, 19));

        let long = [0, 0, 0, 0, 1, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 8, 0];
        let list = ModeSelectList::parse(&long, true).unwrap();
        assert_eq!(list.blocks, [BlockDescriptor { blocks: 1 << 32, block_len: 512 }]);
        assert_eq!(list.pages, [SelectedPage { id: PageId::page(8), at: 24, body: &[] }]);
    }

    #[test]
    fn lengths_and_fields_are_checked() {
        #[rustfmt::skip]
        let cases: &[(&[u8], bool, Result<usize, ParameterError>)] = &[
            (&[],                                 false, Ok(0)),
            (&[0, 0, 0],                          false, Err(ParameterError::Length)),
            (&[0, 0, 0, 0],                       false, Ok(0)),
            (&[0, 0, 0, 0],                       true,  Err(ParameterError::Length)),
            (&[0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0],  false, invalid(3, None)),
            (&[0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0],  false, Err(ParameterError::Length)),
            (&[0, 0, 0, 0, 1, 0, 0, 8],           true,  invalid(6, None)),
            (&[0, 0, 0, 0, 0x08],                 false, Err(ParameterError::Length)),
            (&[0, 0, 0, 0, 0x08, 2, 4],           false, Err(ParameterError::Length)),
            (&[0, 0, 0, 0, 0x4a, 1, 0],           false, Err(ParameterError::Length)),
            (&[0, 0, 0, 0, 0x4a, 1, 0, 1],        false, Err(ParameterError::Length)),
            (&[0, 0, 0, 0, 0x4a, 0, 0, 1, 0],     false, invalid(5, None)),
            (&[0, 0, 0, 0, 0x08, 0, 0x4a, 0xff, 0, 0], false, invalid(7, None)),
        ];
        for (list, long, expected) in cases {
            assert_eq!(
                ModeSelectList::parse(list, *long).map(|list| list.pages.len()),
                *expected,
                "{list:02x?}"
            );
        }
    }

    #[test]
    fn apply_permits_changeable_bits_only() {
        let current = Control { task_set_type: 1, ..Control::default() }.to_page();
        let changeable = Control { software_write_protect: true, ..Control::default() }.to_page().body;
        let selected = |body| SelectedPage { id: Control::ID, at: 12, body };

        let wanted =
            Control { software_write_protect: true, ..Control::from_body(&current.body) }.to_page().body;
        assert_eq!(selected(&wanted).apply(&current, &changeable), Ok(wanted.clone()));

        let sense = Control { descriptor_sense: true, ..Control::from_body(&wanted) }.to_page().body;
        assert_eq!(selected(&sense).apply(&current, &changeable), invalid(14, Some(2)));
        let task_set = Control::from_body(&[0]).to_page().body;
        assert_eq!(selected(&task_set).apply(&current, &changeable), invalid(14, Some(5)));
        assert_eq!(selected(&wanted[1..]).apply(&current, &changeable), invalid(13, None));
        let subpage = SelectedPage { id: PageId { page: 0x0a, subpage: 1 }, at: 12, body: &[] };
        assert_eq!(subpage.apply(&current, &changeable), invalid(14, None));
    }

    proptest! {
        #[test]
        fn no_input_panics(list in proptest::collection::vec(any::<u8>(), 0..96), long: bool) {
            let _ = mode::ModeData::decode(&list, long);
            if let Ok(parsed) = ModeSelectList::parse(&list, long) {
                let current = Control::default().to_page();
                for page in parsed.pages {
                    let _ = page.apply(&current, &[]);
                }
            }
        }

        #[test]
        fn data_of_mode_sense_can_be_selected(bodies in proptest::collection::vec((0u8..0x3f, 0u8..0xff, proptest::collection::vec(any::<u8>(), 0..20)), 0..8), blocks: u32) {
            let pages: Vec<_> = bodies
                .into_iter()
                .map(|(page, subpage, body)| ModePage { id: PageId { page, subpage }, saveable: false, body })
                .collect();
            let block = BlockDescriptor { blocks: blocks.into(), block_len: 512 };
            for form in [Form::Six, Form::Ten, Form::TenLongLba] {
                let bytes = mode::encode(form, ModeHeader::default(), Some(block), &pages);
                let list = ModeSelectList::parse(&bytes, form != Form::Six).unwrap();
                prop_assert_eq!(&list.blocks, &[block]);
                let selected: Vec<_> = list.pages.iter().map(|page| (page.id, page.body.to_vec())).collect();
                let sent: Vec<_> = pages.iter().map(|page| (page.id, page.body.clone())).collect();
                prop_assert_eq!(selected, sent);
            }
        }
    }
}
