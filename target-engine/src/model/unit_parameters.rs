//! The parameters of a logical unit: one row per parameter with its name, its kind of value, how it is read and set in
//! the unit's configuration, and the unit attention that a change raises.

use scsi_core::device::unit::{self, UnitConfig};
use scsi_core::sense::AdditionalSense;

use super::error::ParameterError;
use super::identity::Naming;
use super::number::c_number;

/// A parameter of a logical unit; the discriminant is its row in `ROWS`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs, reason = "the keys of `--params`, by their own names")]
pub enum UnitParameter {
    VendorId,
    ProductId,
    ProductRev,
    ScsiId,
    ScsiSn,
    SenseFormat,
    Removable,
    Readonly,
    Online,
    Lbppbe,
    LaLba,
    OptimalXferGran,
    OptimalXferLen,
    ThinProvisioning,
    RotationRate,
    ModePage,
    Path,
    DiskSize,
}

/// A parameter's value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum UnitValue {
    /// A text as given.
    Text(String),
    /// 0 or not.
    Switch(bool),
    /// A number.
    Number(u64),
    /// A mode page.
    ModePage(unit::ModePage),
    /// The word `auto`.
    Auto,
}

/// One `key=value` of `logicalunit update`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnitChange {
    parameter: UnitParameter,
    value: UnitValue,
}

/// What a change needs done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UnitEffect<'a> {
    /// The configuration changes, and only that.
    Configuration,
    /// The unit goes online, or stays there.
    Online,
    /// Another medium is opened by this path.
    Medium(&'a str),
    /// The store is asked for its size.
    Capacity,
}

struct Row {
    parameter: UnitParameter,
    name: &'static str,
    kind: Kind,
    /// The unit attention that a change raises while the medium is present.
    attention: Option<AdditionalSense>,
}

#[derive(Clone, Copy)]
enum Kind {
    Text {
        get: fn(&UnitConfig) -> &str,
        set: fn(&mut UnitConfig, String),
    },
    /// Cut to [`UnitConfig::IDENTIFIER_LEN`] bytes.
    Identifier {
        get: fn(&UnitConfig) -> &str,
        set: fn(&mut UnitConfig, String, Naming),
    },
    Switch {
        get: fn(&UnitConfig) -> bool,
        set: fn(&mut UnitConfig, bool),
    },
    /// A number up to `max`.
    Number {
        max: u64,
        get: fn(&UnitConfig) -> Option<u64>,
        set: fn(&mut UnitConfig, u64),
    },
    /// `page:subpage:len:b0:b1:…`
    ModePage,
    /// The path of another medium.
    Path,
    /// `auto` only: the size is read again.
    DiskSize,
}

const INQUIRY: Option<AdditionalSense> = Some(AdditionalSense::INQUIRY_DATA_HAS_CHANGED);
const MODE: Option<AdditionalSense> = Some(AdditionalSense::MODE_PARAMETERS_CHANGED);
const CAPACITY: Option<AdditionalSense> = Some(AdditionalSense::CAPACITY_DATA_HAS_CHANGED);
/// A medium that goes raises none; one that comes raises NOT READY TO READY CHANGE.
const MEDIUM: Option<AdditionalSense> = Some(AdditionalSense::NOT_READY_TO_READY_CHANGE);

const fn row(
    parameter: UnitParameter,
    name: &'static str,
    kind: Kind,
    attention: Option<AdditionalSense>,
) -> Row {
    Row { parameter, name, kind, attention }
}

const fn text(get: fn(&UnitConfig) -> &str, set: fn(&mut UnitConfig, String)) -> Kind {
    Kind::Text { get, set }
}

const fn switch(get: fn(&UnitConfig) -> bool, set: fn(&mut UnitConfig, bool)) -> Kind {
    Kind::Switch { get, set }
}

const fn number(max: u64, get: fn(&UnitConfig) -> Option<u64>, set: fn(&mut UnitConfig, u64)) -> Kind {
    Kind::Number { max, get, set }
}

const U8: u64 = u8::MAX as u64;
/// READ CAPACITY (16) has four bits for the exponent of the physical block and 14 for the lowest aligned LBA (SBC-3
/// 5.17.2). tgt accepts more bits and announces these.
const LBPPBE_MAX: u64 = 0x0f;
const LA_LBA_MAX: u64 = 0x3fff;
const U16: u64 = u16::MAX as u64;
const U32: u64 = u32::MAX as u64;

/// In the order in which a refusal lists them.
#[rustfmt::skip]
const ROWS: [Row; 18] = [
    row(UnitParameter::VendorId, "vendor_id", text(|c| &c.vendor_id, |c, v| c.vendor_id = v), INQUIRY),
    row(UnitParameter::ProductId, "product_id", text(|c| &c.product_id, |c, v| c.product_id = v), INQUIRY),
    row(UnitParameter::ProductRev, "product_rev", text(|c| &c.product_rev, |c, v| c.product_rev = v), INQUIRY),
    row(UnitParameter::ScsiId, "scsi_id",
        Kind::Identifier { get: |c| &c.scsi_id, set: |c, v, naming| naming.rename(c, v) }, INQUIRY),
    row(UnitParameter::ScsiSn, "scsi_sn",
        Kind::Identifier { get: |c| &c.scsi_sn, set: |c, v, _| c.scsi_sn = v }, INQUIRY),
    row(UnitParameter::SenseFormat, "sense_format",
        switch(|c| c.sense_descriptor, |c, v| c.sense_descriptor = v), MODE),
    row(UnitParameter::Removable, "removable", switch(|c| c.removable, |c, v| c.removable = v), INQUIRY),
    row(UnitParameter::Readonly, "readonly", switch(|c| c.read_only, |c, v| c.read_only = v), MODE),
    row(UnitParameter::Online, "online", switch(|c| c.online, |c, v| c.online = v), MEDIUM),
    row(UnitParameter::Lbppbe, "lbppbe",
        number(U8, |c| c.lbppbe.map(u64::from), |c, v| c.lbppbe = Some((v & LBPPBE_MAX) as u8)), CAPACITY),
    row(UnitParameter::LaLba, "la_lba", number(U16, |c| Some(c.la_lba.into()), |c, v| c.la_lba = (v & LA_LBA_MAX) as u16), CAPACITY),
    row(UnitParameter::OptimalXferGran, "optimal_xfer_gran",
        number(U16, |c| Some(c.optimal_xfer_gran.into()), |c, v| c.optimal_xfer_gran = v as u16), INQUIRY),
    row(UnitParameter::OptimalXferLen, "optimal_xfer_len",
        number(U32, |c| Some(c.optimal_xfer_len.into()), |c, v| c.optimal_xfer_len = v as u32), INQUIRY),
    row(UnitParameter::ThinProvisioning, "thin_provisioning",
        switch(|c| c.thin_provisioning, |c, v| c.thin_provisioning = v), CAPACITY),
    row(UnitParameter::RotationRate, "rotation_rate",
        number(U16, |c| Some(c.rotation_rate.into()), |c, v| c.rotation_rate = v as u16), INQUIRY),
    row(UnitParameter::ModePage, "mode_page", Kind::ModePage, MODE),
    row(UnitParameter::Path, "path", Kind::Path, MEDIUM),
    row(UnitParameter::DiskSize, "disksize", Kind::DiskSize, CAPACITY),
];

/// The keys that only tgt's media changers have.
const CHANGER_NAMES: [&str; 12] = [
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

impl UnitParameter {
    fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// Returns its key in `--params`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Returns the keys of all parameters.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ROWS.iter().map(|row| row.name)
    }

    /// Whether a word is a key, of a disk or of tgt's media changers.
    #[must_use]
    pub fn is_name(word: &str) -> bool {
        Self::names().any(|name| name == word) || CHANGER_NAMES.contains(&word)
    }

    /// Whether it is a switch: 0 or 1.
    #[must_use]
    pub fn is_switch(name: &str) -> bool {
        ROWS.iter().any(|row| row.name == name && matches!(row.kind, Kind::Switch { .. }))
    }

    /// The highest value that initiators see unchanged, if the text form accepts higher ones.
    #[must_use]
    pub fn exact_max(name: &str) -> Option<u64> {
        [("lbppbe", LBPPBE_MAX), ("la_lba", LA_LBA_MAX)]
            .into_iter()
            .find(|row| row.0 == name)
            .map(|row| row.1)
    }

    /// Whether initiators tell units apart by it.
    #[must_use]
    pub fn is_identifier(self) -> bool {
        matches!(self.row().kind, Kind::Identifier { .. })
    }

    /// Returns its value in a configuration; `None` for a number that is not set, and for parameters that are not in the
    /// configuration.
    #[must_use]
    pub fn get(self, config: &UnitConfig) -> Option<UnitValue> {
        match self.row().kind {
            Kind::Text { get, .. } | Kind::Identifier { get, .. } => {
                Some(UnitValue::Text(get(config).to_owned()))
            }
            Kind::Switch { get, .. } => Some(UnitValue::Switch(get(config))),
            Kind::Number { get, .. } => get(config).map(UnitValue::Number),
            Kind::ModePage | Kind::Path | Kind::DiskSize => None,
        }
    }

    /// Returns the unit attention that a change raises.
    #[must_use]
    pub fn attention(self) -> Option<AdditionalSense> {
        self.row().attention
    }
}

impl UnitChange {
    /// Parses a key and its value.
    ///
    /// # Errors
    /// The key is not known, or the value is not one of its values.
    pub fn parse(name: &str, value: &str) -> Result<Self, ParameterError> {
        let Some(row) = ROWS.iter().find(|row| row.name == name) else {
            let name = name.to_owned();
            return Err(if CHANGER_NAMES.contains(&name.as_str()) {
                ParameterError::OfChangers(name)
            } else {
                ParameterError::UnknownOfUnit(name)
            });
        };
        let refused = || {
            let (name, value, accepted) = (row.name, value.to_owned(), row.kind.accepted());
            match row.kind {
                Kind::DiskSize => ParameterError::DiskSize(value),
                _ => ParameterError::UnitValue { name, value, accepted },
            }
        };
        let value = row.kind.parse(value).ok_or_else(refused)?;
        Ok(Self { parameter: row.parameter, value })
    }

    /// Returns the parameter.
    #[must_use]
    pub fn parameter(&self) -> UnitParameter {
        self.parameter
    }

    /// Returns what the change needs done.
    #[must_use]
    pub fn effect(&self) -> UnitEffect<'_> {
        match (self.parameter, &self.value) {
            (UnitParameter::Path, UnitValue::Text(path)) => UnitEffect::Medium(path),
            (UnitParameter::DiskSize, _) => UnitEffect::Capacity,
            (UnitParameter::Online, UnitValue::Switch(true)) => UnitEffect::Online,
            _ => UnitEffect::Configuration,
        }
    }

    /// Makes the change in a configuration. The path and the size of the medium are not in it.
    pub fn apply(&self, config: &mut UnitConfig, naming: Naming) {
        match (self.parameter.row().kind, &self.value) {
            (Kind::Text { set, .. }, UnitValue::Text(text)) => set(config, text.clone()),
            (Kind::Identifier { set, .. }, UnitValue::Text(text)) => set(config, cut(text), naming),
            (Kind::Switch { set, .. }, UnitValue::Switch(on)) => set(config, *on),
            (Kind::Number { set, .. }, UnitValue::Number(number)) => set(config, *number),
            (Kind::ModePage, UnitValue::ModePage(page)) => config.set_mode_page(page.clone()),
            (_, _) => {}
        }
    }
}

impl Kind {
    fn parse(self, value: &str) -> Option<UnitValue> {
        match self {
            Self::Text { .. } | Self::Identifier { .. } | Self::Path => {
                Some(UnitValue::Text(value.to_owned()))
            }
            Self::Switch { .. } => c_number(value).map(|number| UnitValue::Switch(number != 0)),
            Self::Number { max, .. } => {
                c_number(value).filter(|number| *number <= max).map(UnitValue::Number)
            }
            Self::ModePage => mode_page(value).map(UnitValue::ModePage),
            Self::DiskSize => (value == "auto").then_some(UnitValue::Auto),
        }
    }

    /// The accepted values, for a refusal.
    fn accepted(self) -> String {
        match self {
            Self::Text { .. } | Self::Identifier { .. } | Self::Path => "any text".to_owned(),
            Self::Switch { .. } => "0, 1".to_owned(),
            Self::Number { max, .. } => format!("0 to {max}"),
            Self::ModePage => {
                "PAGE:SUBPAGE:LENGTH:BYTE:…, page 0 to 62, subpage 0 to 254, the others 0 to 255".to_owned()
            }
            Self::DiskSize => "auto".to_owned(),
        }
    }
}

/// Parses `page:subpage:len:b0:b1:…`. As in tgt, bytes missing from the announced length are 0, and bytes beyond it are
/// dropped.
fn mode_page(value: &str) -> Option<unit::ModePage> {
    let mut numbers = value.split(':').filter(|number| !number.is_empty()).map(c_number);
    let mut byte = || u8::try_from(numbers.next()??).ok();
    let (page, subpage, len) = (byte()?, byte()?, byte()?);
    let mut bytes: Vec<u8> = numbers.map(|number| u8::try_from(number?).ok()).collect::<Option<_>>()?;
    bytes.resize(len.into(), 0);
    (page < 0x3f && subpage < 0xff).then_some(unit::ModePage { page, subpage, bytes })
}

/// Cuts an identifier to the length that it has in VPD pages.
fn cut(text: &str) -> String {
    let mut end = UnitConfig::IDENTIFIER_LEN.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests;
