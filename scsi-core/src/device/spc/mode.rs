//! MODE SENSE and MODE SELECT (SPC-4 6.9 to 6.12) of a disk.

use super::super::Step;
use super::super::answer::{Answer, Refusal, data_in, good};
use super::super::request::Request;
use super::super::unit::UnitState;
use crate::cdb::{self, PageControl};
use crate::page::ParameterError;
use crate::page::mode::select::{ModeSelectList, SelectedPage};
use crate::page::mode::{
    self, BlockDescriptor, Caching, Control, ControlExtension, DisconnectReconnect, Form,
    InformationalExceptions, ModeHeader, ModePage, PageId, ReadWriteErrorRecovery,
};
use crate::sense::{AdditionalSense, Sense};

/// Fields of the CDB of MODE SELECT.
#[derive(Clone, Copy, Debug)]
pub(super) struct Select {
    pub(super) long: bool,
    pub(super) page_format: bool,
    pub(super) save: bool,
}

/// The settings that an initiator may change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Settings {
    write_cache: bool,
    swp: bool,
    sense_descriptor: bool,
}

pub(super) fn mode_sense(state: &UnitState, sense: cdb::ModeSense) -> Answer {
    if sense.page == PageId::ALL_PAGES && !matches!(sense.subpage, 0 | PageId::ALL_SUBPAGES) {
        return Err(Sense::invalid_field_in_cdb(3, None).into());
    }
    let mut pages = match sense.control {
        PageControl::Current => values(state, Settings::of(state)),
        PageControl::Default => values(state, Settings::default_of(state)),
        PageControl::Changeable => changeable(state),
        PageControl::Saved => {
            return Err(Sense::illegal_request(AdditionalSense::SAVING_PARAMETERS_NOT_SUPPORTED).into());
        }
    };
    pages.retain(|page| page.id.is_requested_by(sense.page, sense.subpage));
    if pages.is_empty() {
        return Err(Sense::invalid_field_in_cdb(2, Some(5)).into());
    }
    let form = match (sense.long, sense.long_lba) {
        (false, _) => Form::Six,
        (true, false) => Form::Ten,
        (true, true) => Form::TenLongLba,
    };
    let header =
        ModeHeader { medium_type: 0, write_protected: state.medium().write_protected, dpo_fua: true };
    let block = (!sense.no_block_descriptors).then(|| block_descriptor(state));
    Ok(data_in(mode::encode(form, header, block, &pages), sense.allocation_len))
}

/// MODE SELECT. All pages are checked before any takes effect. A cache that is disabled is flushed.
pub(super) fn mode_select(request: &mut Request<'_>, options: Select, parameter_len: u32) -> Answer {
    if options.save {
        return Err(Sense::invalid_field_in_cdb(1, Some(0)).into());
    }
    if parameter_len == 0 {
        return Ok(good());
    }
    if !options.page_format {
        return Err(Sense::invalid_field_in_cdb(1, Some(4)).into());
    }
    let state = request.state;
    let list = ModeSelectList::parse(request.parameter_list(parameter_len)?, options.long)?;
    let before = Settings::of(state);
    let settings = selected(state, &list, options.long)?;
    request.unit.update_by::<Refusal>(Some(request.nexus.id), |config| {
        config.swp = settings.swp;
        config.sense_descriptor = settings.sense_descriptor;
        if settings.write_cache != before.write_cache {
            config.write_cache = settings.write_cache;
        }
        Ok(())
    })?;
    if before.write_cache && !settings.write_cache && state.medium().present {
        request.task.writes();
        return Ok(Step::Flush);
    }
    Ok(good())
}

/// The settings after a list. It is refused if it changes anything else.
fn selected(state: &UnitState, list: &ModeSelectList<'_>, long: bool) -> Result<Settings, ParameterError> {
    let refused = |byte| Err(ParameterError::InvalidField { byte, bit: None });
    if list.header.medium_type != 0 {
        return refused(if long { 2 } else { 1 });
    }
    let present = block_descriptor(state);
    let same = |block: &BlockDescriptor| {
        let all = block.blocks == 0 || block.blocks == present.blocks || block.blocks == u32::MAX.into();
        all && block.block_len == present.block_len
    };
    if list.blocks.len() > 1 || !list.blocks.iter().all(same) {
        return refused(list.blocks_at);
    }
    let mut settings = Settings::of(state);
    let masks = changeable(state);
    for page in &list.pages {
        // If a page is sent twice, the last one takes effect.
        let current = values(state, settings);
        let known = current.iter().zip(&masks).find(|(known, _)| known.id == page.id);
        let Some((current, mask)) = known else {
            return refused(page.at);
        };
        settings.apply(page, current, mask)?;
    }
    Ok(settings)
}

impl Settings {
    fn of(state: &UnitState) -> Self {
        Self {
            write_cache: state.medium().write_cache,
            swp: state.config().swp,
            sense_descriptor: state.config().sense_descriptor,
        }
    }

    /// The default settings of the unit.
    fn default_of(state: &UnitState) -> Self {
        let given = |id: PageId| {
            state.config().mode_pages.iter().any(|page| (page.page, page.subpage) == (id.page, id.subpage))
        };
        let now = Self::of(state);
        Self {
            write_cache: if given(Caching::ID) {
                now.write_cache
            } else {
                state.medium().capabilities.volatile_cache
            },
            swp: given(Control::ID) && now.swp,
            sense_descriptor: given(Control::ID) && now.sense_descriptor,
        }
    }

    /// Applies one page of MODE SELECT.
    fn apply(
        &mut self,
        page: &SelectedPage<'_>,
        current: &ModePage,
        mask: &ModePage,
    ) -> Result<(), ParameterError> {
        let body = page.apply(current, &mask.body)?;
        match page.id {
            Caching::ID => self.write_cache = Caching::from_body(&body).write_cache,
            Control::ID => {
                let control = Control::from_body(&body);
                self.swp = control.software_write_protect;
                self.sense_descriptor = control.descriptor_sense;
            }
            _ => {}
        }
        Ok(())
    }

    fn caching(self) -> Caching {
        Caching { write_cache: self.write_cache, discontinuity: true, ..Caching::default() }
    }

    /// The control page: one task set per nexus (TST 001b), unrestricted reordering (QUEUE ALGORITHM MODIFIER 1).
    fn control(self) -> Control {
        Control {
            descriptor_sense: self.sense_descriptor,
            software_write_protect: self.swp,
            global_logging_target_save_disabled: true,
            task_set_type: 1,
            queue_algorithm_modifier: 1,
            ..Control::default()
        }
    }
}

/// The built-in pages, in the order of their codes.
fn built_in(settings: Settings) -> Vec<ModePage> {
    vec![
        ReadWriteErrorRecovery::default().to_page(),
        DisconnectReconnect::default().to_page(),
        settings.caching().to_page(),
        settings.control().to_page(),
        ControlExtension::default().to_page(),
        InformationalExceptions { disabled: true, ..InformationalExceptions::default() }.to_page(),
    ]
}

/// All pages with these settings. Configured pages replace built-in ones, except for the settings.
fn values(state: &UnitState, settings: Settings) -> Vec<ModePage> {
    let mut pages = built_in(settings);
    for given in &state.config().mode_pages {
        let id = PageId { page: given.page, subpage: given.subpage };
        let mut body = given.bytes.clone();
        match id {
            Caching::ID => set(&mut body, 0, 0x04, settings.write_cache),
            Control::ID => {
                set(&mut body, 0, 0x04, settings.sense_descriptor);
                set(&mut body, 2, 0x08, settings.swp);
            }
            _ => {}
        }
        pages.retain(|page| page.id != id);
        pages.push(ModePage { id, saveable: false, body });
    }
    pages.sort_by_key(|page| page.id);
    pages
}

fn set(body: &mut [u8], index: usize, mask: u8, on: bool) {
    if let Some(byte) = body.get_mut(index) {
        *byte = if on { *byte | mask } else { *byte & !mask };
    }
}

/// The masks of changeable bits of the pages that [`values`] returns.
fn changeable(state: &UnitState) -> Vec<ModePage> {
    let caching = Caching { write_cache: state.medium().capabilities.volatile_cache, ..Caching::default() };
    let control = Control { descriptor_sense: true, software_write_protect: true, ..Control::default() };
    let given = |id: PageId| {
        state.config().mode_pages.iter().any(|page| (page.page, page.subpage) == (id.page, id.subpage))
    };
    let mut pages = values(state, Settings::of(state));
    for page in &mut pages {
        page.body = match page.id {
            Caching::ID if !given(Caching::ID) => caching.to_page().body,
            Control::ID if !given(Control::ID) => control.to_page().body,
            _ => vec![0; page.body.len()],
        };
    }
    pages
}

fn block_descriptor(state: &UnitState) -> BlockDescriptor {
    BlockDescriptor { blocks: state.medium().blocks, block_len: state.config().block_len }
}

#[cfg(test)]
mod tests {
    use super::super::super::unit;
    use super::*;
    use crate::device::bench::*;
    use crate::page::mode::ModeData;
    use crate::store::Capabilities;

    const CURRENT: u8 = 0x00;
    const CHANGEABLE: u8 = 0x40;
    const DEFAULT: u8 = 0x80;
    const SAVED: u8 = 0xc0;
    const MODE_CHANGED: Verdict = Some((6, 0x2a, 1));

    fn disk() -> Bench {
        Bench::disk(|_| {}, FILE)
    }

    fn sense(bench: &mut Bench, control: u8, page: u8, subpage: u8) -> ModeData {
        let outcome = bench.run(&[0x1a, 0, control | page, subpage, 255, 0], &[]);
        assert_eq!(verdict(&outcome), GOOD);
        ModeData::decode(&outcome.data_in, false).unwrap()
    }

    fn page(bench: &mut Bench, control: u8, page: u8) -> ModePage {
        sense(bench, control, page, 0).pages.remove(0)
    }

    /// MODE SELECT (6) of one page.
    fn select(bench: &mut Bench, page: &ModePage) -> Verdict {
        let list = mode::encode(Form::Six, ModeHeader::default(), None, std::slice::from_ref(page));
        let list = [&[0; 4], &list[4..]].concat();
        verdict(&bench.run(&[0x15, 0x10, 0, 0, list.len() as u8, 0], &list))
    }

    fn caching(bench: &mut Bench, on: bool) -> ModePage {
        let mut page = page(bench, CURRENT, 8);
        set(&mut page.body, 0, 0x04, on);
        page
    }

    #[test]
    fn all_pages_are_returned_in_order_and_each_alone() {
        let mut bench = disk();
        let all = sense(&mut bench, CURRENT, 0x3f, 0xff);
        let ids: Vec<_> = all.pages.iter().map(|page| (page.id.page, page.id.subpage)).collect();
        assert_eq!(ids, [(1, 0), (2, 0), (8, 0), (0x0a, 0), (0x0a, 1), (0x1c, 0)]);
        assert_eq!(all.blocks, [BlockDescriptor { blocks: BLOCKS, block_len: 512 }]);
        assert!(all.header.dpo_fua && !all.header.write_protected);
        for wanted in &all.pages {
            let alone = sense(&mut bench, CURRENT, wanted.id.page, wanted.id.subpage);
            assert_eq!(alone.pages, std::slice::from_ref(wanted));
        }
        assert_eq!(sense(&mut bench, CURRENT, 0x3f, 0).pages.len(), 5, "without subpages");
        assert_eq!(sense(&mut bench, CURRENT, 0x0a, 0xff).pages.len(), 2);
    }

    #[test]
    fn unsupported_pages_are_refused() {
        #[rustfmt::skip]
        let cases: [(&[u8], Verdict); 5] = [
            (&[0x1a, 0, 0x07, 0, 255, 0],         BAD_FIELD),
            (&[0x1a, 0, 0x08, 1, 255, 0],         BAD_FIELD),
            (&[0x1a, 0, 0x3f, 1, 255, 0],         BAD_FIELD),
            (&[0x1a, 0, SAVED | 0x08, 0, 255, 0], Some((5, 0x39, 0))),
            (&[0x1a, 0, 0x3f, 0, 4, 0],           GOOD),
        ];
        for (cdb, expected) in cases {
            assert_eq!(verdict(&disk().run(cdb, &[])), expected, "{cdb:02x?}");
        }
    }

    #[test]
    fn header_has_the_requested_format() {
        let mut bench = disk();
        let six = bench.run(&[0x1a, 8, 0x08, 0, 255, 0], &[]).data_in;
        assert_eq!((six.len(), &six[..4]), (24, &[23, 0, 0x10, 0][..]), "DBD: no block descriptor");
        let ten = bench.run(&[0x5a, 0, 0x08, 0, 0, 0, 0, 1, 0, 0], &[]).data_in;
        assert_eq!(ten[..8], [0, 34, 0, 0x10, 0, 0, 0, 8]);
        let long = bench.run(&[0x5a, 0x10, 0x08, 0, 0, 0, 0, 1, 0, 0], &[]).data_in;
        assert_eq!(long[..8], [0, 42, 0, 0x10, 1, 0, 0, 16]);
        let mut bench = Bench::disk(|config| config.read_only = true, FILE);
        assert!(sense(&mut bench, CURRENT, 8, 0).header.write_protected);
    }

    #[test]
    fn write_cache_is_disabled_and_enabled() {
        let mut bench = disk();
        assert_eq!(page(&mut bench, CHANGEABLE, 8).body[0], 0x04);
        assert!(Caching::from_body(&page(&mut bench, CURRENT, 8).body).write_cache);
        let off = caching(&mut bench, false);
        assert_eq!(select(&mut bench, &off), GOOD);
        assert_eq!(bench.steps, [Step::Flush], "what was acknowledged becomes durable");
        assert!(!Caching::from_body(&page(&mut bench, CURRENT, 8).body).write_cache);
        assert!(Caching::from_body(&page(&mut bench, DEFAULT, 8).body).write_cache);
        assert_eq!(
            verdict(&bench.command(1, &[0; 6], &[])),
            MODE_CHANGED,
            "an attention for the other nexus"
        );
        bench.run(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[0; 512]);
        assert_eq!(bench.steps, [Step::Write { offset: 0, len: 512, fua: true }]);

        assert_eq!(select(&mut bench, &off), GOOD);
        assert_eq!(verdict(&bench.command(1, &[0; 6], &[])), GOOD, "nothing changed");
        let on = caching(&mut bench, true);
        assert_eq!(select(&mut bench, &on), GOOD);
        assert!(bench.unit.config().write_cache);
    }

    #[test]
    fn store_without_a_cache_has_no_write_cache() {
        let mut bench = Bench::disk(|_| {}, Capabilities { volatile_cache: false, ..FILE });
        assert_eq!(page(&mut bench, CHANGEABLE, 8).body[0], 0);
        let on = caching(&mut bench, true);
        assert_eq!(select(&mut bench, &on), BAD_LIST);
        let same = caching(&mut bench, false);
        assert_eq!(select(&mut bench, &same), GOOD);
    }

    #[test]
    fn software_write_protect_and_sense_format_take_effect() {
        let mut bench = disk();
        let mut control = page(&mut bench, CURRENT, 0x0a);
        assert_eq!(control.body[0] >> 5, 1, "a task set per nexus");
        control.body[0] |= 0x04;
        control.body[2] |= 0x08;
        assert_eq!(select(&mut bench, &control), GOOD);
        let outcome = bench.run(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[0; 512]);
        assert_eq!(verdict(&outcome), PROTECTED);
        assert_eq!(outcome.sense.unwrap().to_bytes()[0], 0x72);
        assert!(sense(&mut bench, CURRENT, 8, 0).header.write_protected);
        control.body[0] &= !0x04;
        control.body[2] &= !0x08;
        assert_eq!(select(&mut bench, &control), GOOD);
        assert_eq!(verdict(&bench.run(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[0; 512])), GOOD);
    }

    #[test]
    fn invalid_list_changes_nothing() {
        let mut bench = disk();
        let mut off = caching(&mut bench, false);
        let mut list = vec![0; 4];
        off.encode(&mut list);
        let whole = list.clone();
        off.body[0] ^= 0x10;
        off.encode(&mut list);
        let len = list.len() as u8;
        let outcome = bench.run(&[0x15, 0x10, 0, 0, len, 0], &list);
        assert_eq!(verdict(&outcome), BAD_LIST);
        assert_eq!(
            outcome.sense.unwrap().to_bytes()[15..],
            [0x8c, 0, 26],
            "the field pointer is at bit 4 of DISC"
        );
        assert!(bench.unit.config().write_cache);

        let select = |bench: &mut Bench, flags: u8, list: &[u8], len: usize| {
            verdict(&bench.run(&[0x15, flags, 0, 0, len as u8, 0], list))
        };
        assert_eq!(select(&mut bench, 0x11, &whole, whole.len()), BAD_FIELD, "SP");
        assert_eq!(select(&mut bench, 0x00, &whole, whole.len()), BAD_FIELD, "PF");
        assert_eq!(select(&mut bench, 0x10, &whole, whole.len() - 1), BAD_LIST_LEN);
        assert_eq!(select(&mut bench, 0x10, &whole, whole.len() + 1), BAD_LIST_LEN);
        assert_eq!(select(&mut bench, 0x10, &[], 0), GOOD);
        assert_eq!(select(&mut bench, 0x10, &[0, 0, 0, 0, 7, 0], 6), BAD_LIST);
        assert!(bench.unit.config().write_cache);
    }

    #[test]
    fn block_descriptor_must_match_the_medium() {
        let mut bench = disk();
        let with = |blocks: [u8; 4], len: [u8; 3]| [&[0, 0, 0, 8][..], &blocks, &[0], &len].concat();
        let cases = [
            (with([0; 4], [0, 2, 0]), GOOD),
            (with([0, 0, 0, 64], [0, 2, 0]), GOOD),
            (with([0; 4], [0, 16, 0]), BAD_LIST),
            (with([0, 0, 0, 63], [0, 2, 0]), BAD_LIST),
        ];
        for (list, expected) in cases {
            assert_eq!(verdict(&bench.run(&[0x15, 0x10, 0, 0, 12, 0], &list)), expected, "{list:02x?}");
        }
    }

    #[test]
    fn configured_mode_page_replaces_builtin() {
        let given = |page, bytes: &[u8]| unit::ModePage { page, subpage: 0, bytes: bytes.to_vec() };
        let mut bench = disk();
        let change = |config: &mut unit::UnitConfig| {
            config.set_mode_page(given(8, &[0x10, 0, 0xff]));
            config.set_mode_page(given(0x20, &[1, 2]));
        };
        bench.unit.update(change).unwrap();
        assert_eq!(verdict(&bench.run(&[0; 6], &[])), MODE_CHANGED);
        assert_eq!(page(&mut bench, CURRENT, 8).body, [0x10, 0, 0xff]);
        assert_eq!(page(&mut bench, CHANGEABLE, 8).body, [0; 3]);
        assert_eq!(page(&mut bench, CURRENT, 0x20).body, [1, 2]);
        let on = caching(&mut bench, true);
        assert_eq!(select(&mut bench, &on), BAD_LIST);
        bench.run(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[0; 512]);
        assert_eq!(bench.steps, [Step::Write { offset: 0, len: 512, fua: true }]);
    }
}
