//! The strings of mode logicalunit: the store of a new unit, and the changes of an update.

use super::super::error::ControlError;
use super::strings::{Key, cut, pairs, whole_values};
use crate::model::number::c_number;
use crate::model::unit::is_block_len;
use crate::model::unit_parameters::{UnitChange, UnitParameter};

/// The store of a new unit, as `logicalunit new` describes it.
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
    /// `blocksize=`, a power of two from 512; any other value is ignored.
    pub block_len: Option<u32>,
}

/// The keys of a new unit.
const STORE_KEYS: [Key; 5] = [Key::Path, Key::Bstype, Key::Bsopts, Key::Bsoflags, Key::Blocksize];

impl UnitStrings {
    /// Parses them. Where a key comes twice, the last one counts.
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

/// The changes of one update, in their order. A change that is refused does not prevent the others, but for a path that
/// is followed by an unknown key: the path had a comma, and without its rest it names another file.
pub(super) fn changes(text: &str) -> Vec<Result<UnitChange, ControlError>> {
    let text = text.strip_prefix("targetOps ").unwrap_or(text);
    let mut items = pairs(text).map(|(key, value)| (key.trim_start(), value)).peekable();
    let mut found = Vec::new();
    while let Some((key, value)) = items.next() {
        let rest = items
            .peek()
            .filter(|(next, _)| key == UnitParameter::Path.name() && !UnitParameter::is_name(next));
        found.push(match rest {
            Some((rest, _)) => Err(cut(key, rest)),
            None => UnitChange::parse(key, value).map_err(ControlError::from),
        });
    }
    found
}

fn block_len(value: &str) -> Option<u32> {
    let len = c_number(value).filter(|len| is_block_len(*len)).and_then(|len| u32::try_from(len).ok());
    if len.is_none() {
        log::warn!("blocksize {value:?} is not a power of two from 512; using 512");
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::error::TgtadmError;

    fn changed(name: &str, value: &str) -> UnitChange {
        UnitChange::parse(name, value).unwrap()
    }

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
        let cases = [
            ("vendor_id=ACME", changed("vendor_id", "ACME")),
            ("product_id=DISK X", changed("product_id", "DISK X")),
            ("product_rev=1.2", changed("product_rev", "1.2")),
            ("scsi_id=IET 1", changed("scsi_id", "IET 1")),
            ("scsi_sn=0007", changed("scsi_sn", "0007")),
            ("sense_format=1", changed("sense_format", "1")),
            ("removable=1", changed("removable", "1")),
            ("readonly=0", changed("readonly", "0")),
            ("online=0", changed("online", "0")),
            ("lbppbe=3", changed("lbppbe", "3")),
            ("la_lba=1", changed("la_lba", "1")),
            ("optimal_xfer_gran=8", changed("optimal_xfer_gran", "8")),
            ("optimal_xfer_len=65536", changed("optimal_xfer_len", "65536")),
            ("thin_provisioning=1", changed("thin_provisioning", "1")),
            ("rotation_rate=0x1c20", changed("rotation_rate", "7200")),
            ("path=/dev/x", changed("path", "/dev/x")),
            ("disksize=auto", changed("disksize", "auto")),
        ];
        for (item, expected) in cases {
            assert_eq!(changes(item), [Ok(expected.clone())], "{item}");
            assert_eq!(
                changes(&format!("targetOps {item},")),
                [Ok(expected)],
                "{item} as tgt's tgtadm sends it"
            );
        }
    }

    #[test]
    fn a_wrong_key_does_not_hide_its_neighbours() {
        use TgtadmError::{InvalidRequest, UnknownParameter};
        assert_eq!(
            changes("readonly=1,nonsense=2,online=x,lbppbe=300,disksize=7,removable=0"),
            [
                Ok(changed("readonly", "1")),
                Err(InvalidRequest.into()),
                Err(InvalidRequest.into()),
                Err(InvalidRequest.into()),
                Err(UnknownParameter.into()),
                Ok(changed("removable", "0")),
            ]
        );
        assert_eq!(changes(""), []);
        assert_eq!(changes("targetOps ,"), []);
    }

    #[test]
    fn a_path_with_a_comma_does_not_become_another_file() {
        let wrong = || Err(TgtadmError::InvalidRequest.into());
        assert_eq!(changes("path=/a,b.img"), [wrong(), wrong()]);
        assert_eq!(changes("online=0,path=/a,b=c,"), [Ok(changed("online", "0")), wrong(), wrong()]);
        assert_eq!(changes("path=/a,online=1"), [Ok(changed("path", "/a")), Ok(changed("online", "1"))]);
    }

    #[test]
    fn a_media_changers_parameter_is_refused_as_such() {
        for (key, expected) in [
            (
                "element_type",
                "--params \"element_type\" is for media changers, which are not supported; accepted: vendor_id, ",
            ),
            ("nonsense", "--params \"nonsense\" is not a parameter of a unit; accepted: vendor_id, "),
        ] {
            let refused = changes(&format!("{key}=1")).remove(0).unwrap_err();
            assert!(refused.reason.starts_with(expected), "{key}");
        }
    }
}
