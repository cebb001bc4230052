//! The strings of mode logicalunit: what a new unit is made of, and what may be changed on one.

use super::super::error::{ControlError, TgtadmError};
use super::strings::{Key, cut, pairs, whole_values};
use crate::model::number::c_number;
use crate::model::unit::{ModePage, UnitChange, is_block_len};

/// What `logicalunit new` says of the unit's store.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UnitStrings {
    /// `path=`; a unit without one has no medium.
    pub path: Option<String>,
    /// `bstype=`.
    pub bstype: Option<String>,
    /// `bsopts=`.
    pub bsopts: Option<String>,
    /// `bsoflags=`.
    pub bsoflags: Option<String>,
    /// `blocksize=`, a power of two from 512; what is none is taken as not given.
    pub block_len: Option<u32>,
}

/// The keys of a new unit.
const STORE_KEYS: [Key; 5] = [Key::Path, Key::Bstype, Key::Bsopts, Key::Bsoflags, Key::Blocksize];

/// All keys of an update.
const KEYS: [&str; 18] = [
    "vendor_id",
    "product_id",
    "product_rev",
    "scsi_id",
    "scsi_sn",
    "sense_format",
    "removable",
    "readonly",
    "online",
    "lbppbe",
    "la_lba",
    "optimal_xfer_gran",
    "optimal_xfer_len",
    "thin_provisioning",
    "rotation_rate",
    "mode_page",
    "path",
    "disksize",
];

/// Stock's keys that only its media changers know.
const CHANGER_KEYS: [&str; 12] = [
    "element_type",
    "start_address",
    "quantity",
    "sides",
    "clear_slot",
    "address",
    "barcode",
    "volume_tag",
    "tid",
    "lun",
    "dump",
    "media_home",
];

impl UnitStrings {
    /// Of a key that comes twice the last counts.
    ///
    /// # Errors
    /// A value had a comma.
    pub(super) fn parse(text: &str) -> Result<Self, ControlError> {
        whole_values(text, &STORE_KEYS)?;
        let mut unit = Self::default();
        for (word, value) in pairs(text) {
            let value = value.to_owned();
            match STORE_KEYS.into_iter().find(|key| key.word() == word) {
                Some(Key::Path) => unit.path = Some(value).filter(|path| !path.is_empty()),
                Some(Key::Bstype) => unit.bstype = Some(value),
                Some(Key::Bsopts) => unit.bsopts = Some(value),
                Some(Key::Bsoflags) => unit.bsoflags = Some(value),
                Some(Key::Blocksize) => unit.block_len = block_len(&value),
                _ => {}
            }
        }
        Ok(unit)
    }
}

/// The changes of one update, in their order. A key that is wrong is the error it gives; those around it count, but for
/// a path before a key that is none: the path had a comma, and is another file without its rest.
pub(super) fn changes(text: &str) -> Vec<Result<UnitChange, ControlError>> {
    let text = text.strip_prefix("targetOps ").unwrap_or(text);
    let mut items = pairs(text).map(|(key, value)| (key.trim_start(), value)).peekable();
    let mut found = Vec::new();
    while let Some((key, value)) = items.next() {
        let is_key = |key: &str| KEYS.contains(&key) || CHANGER_KEYS.contains(&key);
        let rest = items.peek().filter(|(next, _)| key == "path" && !is_key(next));
        found.push(rest.map_or_else(|| change(key, value), |(rest, _)| Err(cut(key, rest))));
    }
    found
}

fn change(key: &str, value: &str) -> Result<UnitChange, ControlError> {
    let text = || value.to_owned();
    Ok(match key {
        "vendor_id" => UnitChange::VendorId(text()),
        "product_id" => UnitChange::ProductId(text()),
        "product_rev" => UnitChange::ProductRev(text()),
        "scsi_id" => UnitChange::ScsiId(text()),
        "scsi_sn" => UnitChange::ScsiSn(text()),
        "sense_format" => UnitChange::SenseFormat(flag(key, value)?),
        "removable" => UnitChange::Removable(flag(key, value)?),
        "readonly" => UnitChange::Readonly(flag(key, value)?),
        "online" => UnitChange::Online(flag(key, value)?),
        "lbppbe" => UnitChange::Lbppbe(number(key, value)?),
        "la_lba" => UnitChange::LaLba(number(key, value)?),
        "optimal_xfer_gran" => UnitChange::OptimalXferGran(number(key, value)?),
        "optimal_xfer_len" => UnitChange::OptimalXferLen(number(key, value)?),
        "thin_provisioning" => UnitChange::ThinProvisioning(flag(key, value)?),
        "rotation_rate" => UnitChange::RotationRate(number(key, value)?),
        "mode_page" => {
            let page = mode_page(value);
            UnitChange::ModePage(page.ok_or_else(|| {
                wrong(
                    key,
                    value,
                    "PAGE:SUBPAGE:LENGTH:BYTE:…, page 0 to 62, subpage 0 to 254, the others 0 to 255",
                )
            })?)
        }
        "path" => UnitChange::Path(text()),
        "disksize" if value == "auto" => UnitChange::DiskSize,
        "disksize" => {
            return Err(ControlError { kind: TgtadmError::UnknownParameter, ..wrong(key, value, "auto") });
        }
        _ => {
            let what = if CHANGER_KEYS.contains(&key) {
                "is for changers, which there are none of"
            } else {
                "is no parameter of a unit"
            };
            let reason = format!("--params {key:?} {what}; accepted: {}", KEYS.join(", "));
            return Err(TgtadmError::InvalidRequest.because(reason));
        }
    })
}

fn number<N: TryFrom<u64>>(key: &str, value: &str) -> Result<N, ControlError> {
    let number = c_number(value).and_then(|number| N::try_from(number).ok());
    let max = u64::MAX >> (u64::BITS as usize - 8 * size_of::<N>());
    number.ok_or_else(|| wrong(key, value, &format!("0 to {max}")))
}

fn flag(key: &str, value: &str) -> Result<bool, ControlError> {
    c_number(value).map(|number| number != 0).ok_or_else(|| wrong(key, value, "0, 1"))
}

/// A key that is known, with a value that is none of its.
fn wrong(key: &str, value: &str, accepted: &str) -> ControlError {
    TgtadmError::InvalidRequest
        .because(format!("--params {key}={value:?} is not possible; accepted: {accepted}"))
}

/// As stock: what is missing of the announced length is zero, what is beyond it is cut.
fn mode_page(value: &str) -> Option<ModePage> {
    let mut numbers = value.split(':').filter(|number| !number.is_empty()).map(c_number);
    let mut byte = || u8::try_from(numbers.next()??).ok();
    let (page, subpage) = (byte()?, byte()?);
    let len = byte_count(numbers.next()??)?;
    let mut parameters: Vec<u8> = numbers.map(|number| u8::try_from(number?).ok()).collect::<Option<_>>()?;
    parameters.resize(len, 0);
    (page < 0x3f && subpage < 0xff).then_some(ModePage { page, subpage, parameters })
}

/// What a mode page may announce.
fn byte_count(len: u64) -> Option<usize> {
    u8::try_from(len).ok().map(usize::from)
}

fn block_len(value: &str) -> Option<u32> {
    let len = c_number(value).filter(|len| is_block_len(*len)).and_then(|len| u32::try_from(len).ok());
    if len.is_none() {
        log::warn!("blocksize {value:?} is no power of two from 512; taking 512");
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_unit() {
        let unit =
            UnitStrings::parse("what=ever,path=/srv/a=b.img,bstype=aio,bsoflags=direct,blocksize=4096")
                .unwrap();
        assert_eq!(unit.path.as_deref(), Some("/srv/a=b.img"));
        assert_eq!(unit.bstype.as_deref(), Some("aio"));
        assert_eq!(unit.bsoflags.as_deref(), Some("direct"));
        assert_eq!(unit.block_len, Some(4096));
        assert_eq!(UnitStrings::parse("blocksize=1000").unwrap().block_len, None);
        assert_eq!(UnitStrings::parse("blocksize=256").unwrap().block_len, None);
        assert_eq!(UnitStrings::parse("path="), Ok(UnitStrings::default()));
        assert!(UnitStrings::parse("path=/srv/a,b.img").is_err());
    }

    #[test]
    fn each_key_of_an_update() {
        let text = |value: &str| value.to_owned();
        let cases = [
            ("vendor_id=ACME", UnitChange::VendorId(text("ACME"))),
            ("product_id=DISK X", UnitChange::ProductId(text("DISK X"))),
            ("product_rev=1.2", UnitChange::ProductRev(text("1.2"))),
            ("scsi_id=IET 1", UnitChange::ScsiId(text("IET 1"))),
            ("scsi_sn=0007", UnitChange::ScsiSn(text("0007"))),
            ("sense_format=1", UnitChange::SenseFormat(true)),
            ("removable=1", UnitChange::Removable(true)),
            ("readonly=0", UnitChange::Readonly(false)),
            ("online=0", UnitChange::Online(false)),
            ("lbppbe=3", UnitChange::Lbppbe(3)),
            ("la_lba=1", UnitChange::LaLba(1)),
            ("optimal_xfer_gran=8", UnitChange::OptimalXferGran(8)),
            ("optimal_xfer_len=65536", UnitChange::OptimalXferLen(65536)),
            ("thin_provisioning=1", UnitChange::ThinProvisioning(true)),
            ("rotation_rate=0x1c20", UnitChange::RotationRate(7200)),
            ("path=/dev/x", UnitChange::Path(text("/dev/x"))),
            ("disksize=auto", UnitChange::DiskSize),
        ];
        for (item, expected) in cases {
            assert_eq!(changes(item), [Ok(expected.clone())], "{item}");
            assert_eq!(
                changes(&format!("targetOps {item},")),
                [Ok(expected)],
                "{item} as a stock client sends it"
            );
            assert!(KEYS.contains(&item.split('=').next().unwrap()), "{item} is told as accepted");
        }
    }

    #[test]
    fn a_wrong_key_does_not_hide_its_neighbours() {
        use TgtadmError::{InvalidRequest, UnknownParameter};
        assert_eq!(
            changes("readonly=1,nonsense=2,online=x,lbppbe=300,disksize=7,removable=0"),
            [
                Ok(UnitChange::Readonly(true)),
                Err(InvalidRequest.into()),
                Err(InvalidRequest.into()),
                Err(InvalidRequest.into()),
                Err(UnknownParameter.into()),
                Ok(UnitChange::Removable(false)),
            ]
        );
        assert_eq!(changes(""), []);
        assert_eq!(changes("targetOps ,"), []);
    }

    #[test]
    fn a_path_with_a_comma_does_not_become_another_file() {
        let wrong = || Err(TgtadmError::InvalidRequest.into());
        assert_eq!(changes("path=/a,b.img"), [wrong(), wrong()]);
        assert_eq!(changes("online=0,path=/a,b=c,"), [Ok(UnitChange::Online(false)), wrong(), wrong()]);
        assert_eq!(
            changes("path=/a,online=1"),
            [Ok(UnitChange::Path("/a".to_owned())), Ok(UnitChange::Online(true))]
        );
    }

    #[test]
    fn what_is_a_changers_is_told_so() {
        for (key, told) in [
            (
                "element_type",
                "--params \"element_type\" is for changers, which there are none of; accepted: vendor_id, ",
            ),
            ("nonsense", "--params \"nonsense\" is no parameter of a unit; accepted: vendor_id, "),
        ] {
            let refused = changes(&format!("{key}=1")).remove(0).unwrap_err();
            assert!(refused.reason.starts_with(told), "{key}");
        }
    }

    #[test]
    fn mode_pages() {
        let page = |page, subpage, parameters: &[u8]| {
            Some(ModePage { page, subpage, parameters: parameters.to_vec() })
        };
        assert_eq!(mode_page("8:0:3:0x10:0:255"), page(8, 0, &[0x10, 0, 255]));
        assert_eq!(mode_page("0x0a:1:0"), page(10, 1, &[]));
        assert_eq!(mode_page("8:0:2:1"), page(8, 0, &[1, 0]));
        assert_eq!(mode_page("8:0:1:1:2"), page(8, 0, &[1]));
        for wrong in ["", "8", "8:0", "8:0:300", "8:0:1:256", "63:0:0", "8:255:0", "8:0:1:x"] {
            assert_eq!(mode_page(wrong), None, "{wrong}");
        }
    }
}
