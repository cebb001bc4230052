//! The options of tgtadm, and the numbers of a record.

use std::borrow::Cow;

use super::super::request::Key;
use super::super::wire::{Mode, Op, RequestHeader};

/// An option of tgtadm.
#[derive(Clone, Copy, Debug)]
pub struct OptionRow {
    /// The character after one dash.
    pub short: u8,
    /// The name after two dashes.
    pub long: &'static str,
    /// The value's name in the help; empty where the long form takes none.
    pub value: &'static str,
    /// Whether the short form takes a value.
    pub short_takes_value: bool,
    /// What it sets.
    pub field: Field,
    about: &'static str,
}

/// What an option sets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Field {
    /// Something of the tool's own that goes with any operation.
    Tool,
    /// Which daemon gets the request.
    ControlPort,
    /// The driver's name.
    Driver,
    /// The kind of object.
    Mode,
    /// What is done with it.
    Op,
    /// A number of the record's header.
    Number(Number, Reading),
    /// A string of the record.
    Text(Key),
    /// The name of a parameter.
    Name,
    /// The value of a parameter.
    Value,
    /// A list of parameters.
    Parameters,
}

/// How an option's value becomes a number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reading {
    /// As C reads a number.
    Number,
    /// It is 1, whatever the value.
    Switch,
    /// A word of [`DEVICE_TYPES`].
    DeviceType,
    /// The SCSI host of a device on a bus.
    Bus,
}

/// A number of the record's header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs, reason = "the options by their names")]
pub enum Number {
    Tid,
    Sid,
    Lun,
    Cid,
    Host,
    DeviceType,
    Outgoing,
    Force,
}

impl OptionRow {
    const fn new(
        short: u8,
        long: &'static str,
        value: &'static str,
        field: Field,
        about: &'static str,
    ) -> Self {
        Self { short, long, value, short_takes_value: !value.is_empty(), field, about }
    }

    /// An option whose short form takes a value and ignores it, as with tgt. The long form takes none.
    const fn quirk(short: u8, long: &'static str, number: Number, about: &'static str) -> Self {
        let field = Field::Number(number, Reading::Switch);
        Self { short_takes_value: true, ..Self::new(short, long, "", field, about) }
    }

    const fn number(short: u8, long: &'static str, number: Number, about: &'static str) -> Self {
        Self::new(short, long, "N", Field::Number(number, Reading::Number), about)
    }

    const fn text(short: u8, key: Key, value: &'static str, about: &'static str) -> Self {
        Self::new(short, key.option(), value, Field::Text(key), about)
    }

    /// Whether the long form takes a value.
    #[must_use]
    pub const fn long_takes_value(&self) -> bool {
        !self.value.is_empty()
    }

    /// Its line of help.
    #[must_use]
    pub fn about(&self) -> Cow<'static, str> {
        let modes = || Mode::ALL.map(|mode| with_remark(mode.word(), mode.short_word()));
        let device_type = |(word, code): (&str, _)| with_remark(word, (code == DISK).then_some("default"));
        match self.field {
            Field::Mode => any_of(&modes()).into(),
            Field::Op => any_of(&Op::ALL.map(|op| op.word().to_owned())).into(),
            Field::Number(_, Reading::DeviceType) => any_of(&DEVICE_TYPES.map(device_type)).into(),
            _ => self.about.into(),
        }
    }
}

fn with_remark(word: &str, remark: Option<&str>) -> String {
    remark.map_or_else(|| word.to_owned(), |remark| format!("{word} ({remark})"))
}

fn any_of(words: &[String]) -> String {
    match words {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        few => few.concat(),
    }
}

/// The device type of a new unit where none is given (SPC-4 6.6.2).
pub const DISK: u32 = 0x00;
/// The device type that always comes with its own kind of store.
pub const TAPE: u32 = 0x01;
/// A device type whose unit may be made without a medium, as may a tape's.
pub const CD: u32 = 0x05;

/// The words for peripheral device types (SPC-4 6.6.2) that a new unit can have.
pub const DEVICE_TYPES: [(&str, u32); 7] = [
    ("disk", DISK),
    ("tape", TAPE),
    ("ssc", TAPE),
    ("cd", CD),
    ("changer", 0x08),
    ("osd", 0x11),
    ("pt", 0xff),
];

/// All options, in the order in which an ambiguous abbreviation lists them.
#[rustfmt::skip]
pub const OPTIONS: &[OptionRow] = &[
    OptionRow::new(b'd', "debug", "", Field::Tool, "print on standard error how many bytes are sent"),
    OptionRow::new(b'j', "json", "", Field::Tool, "print the answer as JSON, and refuse requests that are not exact"),
    OptionRow::new(b'h', "help", "", Field::Tool, "print this help and exit"),
    OptionRow::new(b'V', "version", "", Field::Tool, "print the version and exit"),
    OptionRow::new(b'L', "lld", "DRIVER", Field::Driver, "the driver; default iscsi"),
    OptionRow::new(b'o', "op", "OP", Field::Op, ""),
    OptionRow::new(b'm', "mode", "MODE", Field::Mode, ""),
    OptionRow::number(b't', "tid", Number::Tid, "the target's number, 1 or more"),
    OptionRow::number(b's', "sid", Number::Sid, "the session's number"),
    OptionRow::number(b'c', "cid", Number::Cid, "the connection's number"),
    OptionRow::number(b'l', "lun", Number::Lun, "the logical unit's number"),
    OptionRow::new(b'n', "name", "NAME", Field::Name, "the name of the parameter to change"),
    OptionRow::new(b'v', "value", "VALUE", Field::Value, "the new value of the parameter"),
    OptionRow::text(b'b', Key::Path, "PATH", "the file or block device of a new logical unit"),
    OptionRow::text(b'E', Key::Bstype, "TYPE", "the type of backing store; `--mode system --op show` lists the types"),
    OptionRow::text(b'S', Key::Bsopts, "K=V;K=V", "options for this type of backing store"),
    OptionRow::text(b'f', Key::Bsoflags, "FLAGS", "flags for opening the backing store: sync, direct or sync:direct"),
    OptionRow::text(b'y', Key::Blocksize, "BYTES", "the logical block's size, a power of two from 512; default 512"),
    OptionRow::text(b'T', Key::TargetName, "IQN", "the new target's name"),
    OptionRow::text(b'I', Key::InitiatorAddress, "ADDRESS", "the address or network (a.b.c.d/n) of initiators, or ALL"),
    OptionRow::text(b'Q', Key::InitiatorName, "IQN", "the iSCSI name of an initiator"),
    OptionRow::text(b'u', Key::User, "NAME", "an account's name"),
    OptionRow::text(b'p', Key::Password, "SECRET", "the secret (password) of the account"),
    OptionRow::number(b'H', "host", Number::Host, "the number of a SCSI host; accepted as by tgt, iSCSI has none"),
    OptionRow::quirk(b'F', "force", Number::Force,
        "delete a target or logical unit that is in use, without waiting for its commands (after -F a word is required and ignored)"),
    OptionRow::text(b'D', Key::Drain, "SECONDS", "like --force, but wait up to SECONDS for its commands to end"),
    OptionRow::new(b'P', "params", "K=V,K=V", Field::Parameters, "parameters of a logical unit; with --mode portal: portal=ADDRESS[:PORT]"),
    OptionRow::new(b'B', "bus", "BUS,ID", Field::Number(Number::Host, Reading::Bus), "a SCSI host, by bus and device as below /sys/bus; accepted as by tgt"),
    OptionRow::new(b'Y', "device-type", "TYPE", Field::Number(Number::DeviceType, Reading::DeviceType), ""),
    OptionRow::quirk(b'O', "outgoing", Number::Outgoing,
        "the account with which the target authenticates itself to initiators (after -O a word is required and ignored)"),
    OptionRow::new(b'C', "control-port", "N", Field::ControlPort, "the number of the daemon's control socket, 0 (default) to 32767"),
];

impl Number {
    /// All of them, in the order of the log's lines.
    pub const ALL: [Self; 8] = [
        Self::Tid,
        Self::Sid,
        Self::Lun,
        Self::Cid,
        Self::Host,
        Self::DeviceType,
        Self::Outgoing,
        Self::Force,
    ];

    /// The word in the log.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::DeviceType => "type",
            _ => self.option().map_or("", |row| row.long),
        }
    }

    /// The first option that sets it.
    #[must_use]
    pub fn option(self) -> Option<&'static OptionRow> {
        OPTIONS.iter().find(|row| matches!(row.field, Field::Number(number, _) if number == self))
    }

    /// Whether it is 0 or 1 only.
    #[must_use]
    pub fn is_switch(self) -> bool {
        matches!(self, Self::Outgoing | Self::Force)
    }

    /// The highest value that tgtadm accepts.
    #[must_use]
    pub fn max(self) -> u64 {
        match self {
            Self::Tid => i32::MAX as u64,
            Self::Sid | Self::Lun => u64::MAX - 1,
            Self::Cid | Self::Host | Self::DeviceType => u32::MAX.into(),
            Self::Outgoing | Self::Force => 1,
        }
    }

    /// Its value.
    #[must_use]
    pub fn get(self, header: &RequestHeader) -> i128 {
        match self {
            Self::Tid => header.tid.into(),
            Self::Sid => header.sid.into(),
            Self::Lun => header.lun.into(),
            Self::Cid => header.cid.into(),
            Self::Host => header.host_no.into(),
            Self::DeviceType => header.device_type.into(),
            Self::Outgoing => header.ac_dir.into(),
            Self::Force => header.force.into(),
        }
    }

    /// Sets it. A value above [`Self::max`] is cut to what the field holds.
    pub fn set(self, header: &mut RequestHeader, value: u64) {
        let narrow = u32::try_from(value).unwrap_or(u32::MAX);
        match self {
            Self::Tid => header.tid = i32::try_from(value).unwrap_or(i32::MAX),
            Self::Sid => header.sid = value,
            Self::Lun => header.lun = value,
            Self::Cid => header.cid = narrow,
            Self::Host => header.host_no = narrow,
            Self::DeviceType => header.device_type = narrow,
            Self::Outgoing => header.ac_dir = narrow,
            Self::Force => header.force = narrow,
        }
    }

    /// Whether it differs from what a client sends where nothing was given.
    #[must_use]
    pub fn is_given(self, header: &RequestHeader) -> bool {
        self.get(header) != self.get(&RequestHeader::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_unique() {
        for (index, row) in OPTIONS.iter().enumerate() {
            for other in &OPTIONS[..index] {
                assert_ne!(row.short, other.short);
                assert_ne!(row.long, other.long);
            }
            assert!(!row.about().is_empty(), "--{}", row.long);
        }
    }

    #[test]
    fn numbers_are_set_where_they_are_read() {
        for number in Number::ALL {
            let mut header = RequestHeader::default();
            assert!(!number.is_given(&header) && number.option().is_some(), "{number:?}");
            number.set(&mut header, number.max());
            assert_eq!(number.get(&header), number.max().into(), "{number:?}");
            assert!(Number::ALL.into_iter().all(|other| other.is_given(&header) == (other == number)));
        }
    }
}
