//! The options of a command line of tgtadm, each read and checked by itself.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use target_engine::control::grammar::{DEVICE_TYPES, Field, OPTIONS, OptionRow, Reading};
use target_engine::control::request::Strings;
use target_engine::control::wire::{Form, Mode, Op, RequestHeader};

use crate::options::{self, with_letters};
use crate::{EINVAL, Refusal};

/// The options given, each checked by itself but not yet together.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) header: RequestHeader,
    pub(crate) strings: Strings,
    pub(crate) name: Option<String>,
    pub(crate) value: Option<String>,
    /// The options in the order given.
    pub(crate) options: Vec<&'static OptionRow>,
    pub(crate) mode: Option<Mode>,
    pub(crate) op: Option<Op>,
    pub(crate) control_port: u16,
    pub(crate) debug: bool,
    pub(crate) form: Form,
}

impl Given {
    /// Takes an option with its value, which is empty for an option without one.
    pub(crate) fn take(&mut self, letter: u8, value: &[u8]) -> Result<(), Refusal> {
        let Some(option) = OPTIONS.iter().find(|option| option.short == letter) else { return Ok(()) };
        match option.field {
            Field::Tool => {
                self.debug |= letter == b'd';
                if letter == b'j' {
                    self.form = Form::Json;
                }
                return Ok(());
            }
            Field::ControlPort => {
                let port = number(letter, value, CONTROL_PORT_MAX.into())?;
                self.control_port = u16::try_from(port).unwrap_or(CONTROL_PORT_MAX);
            }
            Field::Driver => self.header.lld = String::from_utf8_lossy(value).into_owned(),
            Field::Op => self.op = Some(word(letter, value, "operation", Op::from_word)?),
            Field::Mode => self.mode = Some(word(letter, value, "mode", Mode::from_word)?),
            Field::Number(of, reading) => {
                let number = match reading {
                    Reading::Number => number(letter, value, of.max())?,
                    Reading::Switch => 1,
                    Reading::DeviceType => word(letter, value, "target type", device_type)?.into(),
                    Reading::Bus => host_of_bus(value, Path::new("/sys/bus"))?.into(),
                };
                of.set(&mut self.header, number);
            }
            Field::Text(key) => self.strings.set(key, text(letter, value)?),
            Field::Name => self.name = Some(text(letter, value)?),
            Field::Value => self.value = Some(text(letter, value)?),
            Field::Parameters if self.mode == Some(Mode::Portal) => {
                self.strings.portal_ops = Some(text(letter, value)?);
            }
            Field::Parameters => self.strings.target_ops = Some(text(letter, value)?),
        }
        self.options.push(option);
        Ok(())
    }

    /// Whether the request has what this option sets.
    pub(crate) fn has(&self, option: &OptionRow) -> bool {
        match option.field {
            Field::Tool | Field::ControlPort => false,
            Field::Driver => !self.header.lld.is_empty(),
            Field::Mode => self.mode.is_some(),
            Field::Op => self.op.is_some(),
            Field::Number(number, _) => number.is_given(&self.header),
            Field::Text(key) => self.strings.get(key).is_some(),
            Field::Name => self.name.is_some(),
            Field::Value => self.value.is_some(),
            Field::Parameters if self.mode == Some(Mode::Portal) => self.strings.portal_ops.is_some(),
            Field::Parameters => self.strings.target_ops.is_some(),
        }
    }
}

/// A string for the daemon, which refuses strings that are not UTF-8.
fn text(letter: u8, value: &[u8]) -> Result<String, Refusal> {
    let text = String::from_utf8(value.to_vec());
    text.map_err(|_| refused_value(letter, value, "is not UTF-8", "text in UTF-8"))
}

fn refused_value(letter: u8, value: &[u8], why: &str, accepted: &str) -> Refusal {
    let message = [b"-", &[letter][..], b" argument value '", value, b"' ", why.as_bytes()].concat();
    Refusal::with_advice(
        message,
        &format!("{}; accepted: {accepted}", options::names(with_letters(&[letter]))),
    )
}

fn word<T>(letter: u8, value: &[u8], what: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, Refusal> {
    let exit = if letter == b'Y' { EINVAL } else { 1 };
    let unknown = || Refusal::named(exit, [b"unknown ", what.as_bytes(), b": ", value].concat());
    let found = std::str::from_utf8(value).ok().and_then(read);
    found.ok_or_else(|| unknown().but(options::usage(with_letters(&[letter]))))
}

fn device_type(word: &str) -> Option<u32> {
    DEVICE_TYPES.into_iter().find(|(known, _)| *known == word).map(|(_, code)| code)
}

/// A number as C reads it: the value ends where the digits end, `-2` wraps around, and all ones is invalid.
fn number(letter: u8, value: &[u8], max: u64) -> Result<u64, Refusal> {
    let refused = |why| refused_value(letter, value, why, &format!("0 to {max}"));
    match leading_number(value) {
        None | Some(u64::MAX) => Err(refused("invalid")),
        Some(number) if number > max => Err(refused("out of range")),
        Some(number) => Ok(number),
    }
}

/// C's `strtoull` with base 0: white space, a sign, then decimal, `0x` hexadecimal or `0` octal digits. A number that
/// does not fit becomes all ones; `None` without any digit.
fn leading_number(text: &[u8]) -> Option<u64> {
    let spaces = text.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == 0x0b).count();
    let (negative, text) = match &text[spaces..] {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (base, text) = match text {
        [b'0', b'x' | b'X', rest @ ..] if rest.first().is_some_and(u8::is_ascii_hexdigit) => (16, rest),
        [b'0', ..] => (8, text),
        _ => (10, text),
    };
    let digits: Vec<u32> = text.iter().map_while(|byte| char::from(*byte).to_digit(base)).collect();
    if digits.is_empty() {
        return None;
    }
    let magnitude = digits.iter().try_fold(0_u64, |sum, digit| {
        sum.checked_mul(base.into()).and_then(|sum| sum.checked_add((*digit).into()))
    });
    Some(match magnitude {
        Some(magnitude) if negative => magnitude.wrapping_neg(),
        Some(magnitude) => magnitude,
        None => u64::MAX,
    })
}

/// The SCSI host behind `BUS,ID`: the `hostN` in the device's directory.
fn host_of_bus(value: &[u8], buses: &Path) -> Result<u32, Refusal> {
    let Some(comma) = value.iter().position(|byte| *byte == b',') else {
        return Err(refused_value(b'B', value, "invalid", "BUS,ID"));
    };
    let (bus, id) = (&value[..comma], &value[comma + 1..]);
    let device = buses.join(OsStr::from_bytes(bus)).join("devices").join(OsStr::from_bytes(id));
    let entries = std::fs::read_dir(device).into_iter().flatten().flatten();
    let hosts = entries.filter_map(|entry| entry.file_name().to_str()?.strip_prefix("host")?.parse().ok());
    let unknown = || Refusal::named(EINVAL, [b"can't find bus: ", bus].concat());
    hosts
        .min()
        .ok_or_else(|| unknown().but("--bus; accepted: BUS,ID where /sys/bus/BUS/devices/ID has a SCSI host"))
}

/// tgt keeps the control port in 16 bits with a sign.
const CONTROL_PORT_MAX: u16 = i16::MAX.cast_unsigned();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        #[rustfmt::skip]
        let cases: &[(&[u8], Option<u64>)] = &[
            (b"0",                       Some(0)),
            (b" \t\x0b+12x",             Some(12)),
            (b"010",                     Some(8)),
            (b"09",                      Some(0)),
            (b"0x1F",                    Some(31)),
            (b"0xg",                     Some(0)),
            (b"0x",                      Some(0)),
            (b"-3",                      Some(u64::MAX - 2)),
            (b"-0",                      Some(0)),
            (b"18446744073709551615",    Some(u64::MAX)),
            (b"18446744073709551616",    Some(u64::MAX)),
            (b"-99999999999999999999",   Some(u64::MAX)),
            (b"",                        None),
            (b" ",                       None),
            (b"- 1",                     None),
            (b"x1",                      None),
        ];
        for (text, expected) in cases {
            assert_eq!(leading_number(text), *expected, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn a_bus_address_becomes_its_host_number() {
        let buses = tempfile::tempdir().unwrap();
        let device = buses.path().join("pci/devices/0000:00:1f.2");
        std::fs::create_dir_all(device.join("host12")).unwrap();
        std::fs::create_dir_all(device.join("hostess")).unwrap();
        assert_eq!(host_of_bus(b"pci,0000:00:1f.2", buses.path()), Ok(12));

        let unknown = host_of_bus(b"pci,0000:00:1f.3", buses.path()).unwrap_err();
        assert_eq!(unknown.exit, 22);
        assert!(unknown.text.starts_with(b"tgtadm: can't find bus: pci\n"));
        let no_comma = host_of_bus(b"pci", buses.path()).unwrap_err();
        assert!(no_comma.text.starts_with(b"-B argument value 'pci' invalid\n"));
    }
}
