//! The table of `tgtadm`'s options and the help text made from it.

use std::fmt::Write;

use crate::getopt::Spec;

/// One option and its line of help.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    spec: Spec,
    /// The value's name in the help; empty where the long form takes none.
    value: &'static str,
    about: &'static str,
}

impl AsRef<Spec> for Row {
    fn as_ref(&self) -> &Spec {
        &self.spec
    }
}

impl Row {
    /// The letter after one dash.
    pub(crate) const fn letter(&self) -> u8 {
        self.spec.short
    }

    /// The name after two dashes.
    pub(crate) const fn long(&self) -> &'static str {
        self.spec.long
    }

    /// Whether the letter wants a value that the long name does not take.
    pub(crate) const fn letter_differs(&self) -> bool {
        self.spec.short_value != self.spec.long_value
    }

    /// The value's name; empty where the long form takes none.
    pub(crate) const fn value(&self) -> &'static str {
        self.value
    }

    /// Its line of help.
    pub(crate) const fn about(&self) -> &'static str {
        self.about
    }

    const fn flag(short: u8, long: &'static str, about: &'static str) -> Self {
        Self { spec: Spec { short, long, short_value: false, long_value: false }, value: "", about }
    }

    const fn valued(short: u8, long: &'static str, value: &'static str, about: &'static str) -> Self {
        Self { spec: Spec { short, long, short_value: true, long_value: true }, value, about }
    }

    /// Stock's letters `-F` and `-O` want a value and ignore it; the long forms take none.
    const fn quirk(short: u8, long: &'static str, about: &'static str) -> Self {
        Self { spec: Spec { short, long, short_value: true, long_value: false }, value: "", about }
    }
}

/// All options, in the order in which an ambiguous abbreviation lists them.
pub const OPTIONS: &[Row] = &[
    Row::flag(b'd', "debug", "say on standard error what is sent"),
    Row::flag(b'j', "json", "be answered in JSON, and strict about what is asked"),
    Row::flag(b'h', "help", "print this help and exit"),
    Row::flag(b'V', "version", "print the version and exit"),
    Row::valued(b'L', "lld", "DRIVER", "the driver: iscsi (default)"),
    Row::valued(b'o', "op", "OP", "new, delete, bind, unbind, show, update, stat, start or stop"),
    Row::valued(
        b'm',
        "mode",
        "MODE",
        "system (sys), target (tgt), logicalunit (lu), portal (pt), session (sess), connection (conn), account or lld",
    ),
    Row::valued(b't', "tid", "N", "the target's number, 1 or more"),
    Row::valued(b's', "sid", "N", "the session's number"),
    Row::valued(b'c', "cid", "N", "the connection's number"),
    Row::valued(b'l', "lun", "N", "the logical unit's number"),
    Row::valued(b'n', "name", "NAME", "the parameter to update"),
    Row::valued(b'v', "value", "VALUE", "its new value"),
    Row::valued(b'b', "backing-store", "PATH", "the file or block device behind a new logical unit"),
    Row::valued(b'E', "bstype", "TYPE", "the kind of backing store; `--mode system --op show` lists them"),
    Row::valued(b'S', "bsopts", "K=V;K=V", "options of that kind of backing store"),
    Row::valued(b'f', "bsoflags", "FLAGS", "how to open it: sync, direct or sync:direct"),
    Row::valued(b'y', "blocksize", "BYTES", "the logical block's size, a power of two from 512; default 512"),
    Row::valued(b'T', "targetname", "IQN", "the new target's name"),
    Row::valued(b'I', "initiator-address", "ADDRESS", "an address, a network (a.b.c.d/n) or ALL"),
    Row::valued(b'Q', "initiator-name", "IQN", "an initiator's name"),
    Row::valued(b'u', "user", "NAME", "an account's name"),
    Row::valued(b'p', "password", "SECRET", "its secret"),
    Row::valued(b'H', "host", "N", "a SCSI host's number, for drivers that have one"),
    Row::quirk(
        b'F',
        "force",
        "delete a target or logical unit that is in use, whatever hangs (the letter wants a word, which is ignored)",
    ),
    Row::valued(b'D', "drain", "SECONDS", "the same, but let what runs finish within this time"),
    Row::valued(b'P', "params", "K=V,K=V", "parameters of a logical unit, or portal=ADDRESS[:PORT]"),
    Row::valued(b'B', "bus", "BUS,ID", "a SCSI host by its place in /sys/bus"),
    Row::valued(b'Y', "device-type", "TYPE", "disk (default), tape, ssc, cd, changer, osd or pt"),
    Row::quirk(
        b'O',
        "outgoing",
        "an account the target uses itself (the letter wants a word, which is ignored)",
    ),
    Row::valued(b'C', "control-port", "N", "which daemon: 0 (default) to 32767"),
];

/// Uses worth knowing, one a line.
const EXAMPLES: &str = "\
Examples:
  tgtadm --mode target --op new --tid 1 --targetname iqn.2001-04.com.example:disk1
  tgtadm --mode logicalunit --op new --tid 1 --lun 1 --backing-store /srv/disk1.img
  tgtadm --mode target --op bind --tid 1 --initiator-address 192.0.2.0/24
  tgtadm --mode target --op show
  tgtadm --mode target --op show --tid 1
  tgtadm --json --mode target --op show
  tgtadm --mode target --op update --tid 1 --name state --value offline
  tgtadm --mode logicalunit --op update --tid 1 --lun 1 --params readonly=1
  tgtadm --mode account --op new --user alice --password ask-me-not
  tgtadm --mode account --op bind --tid 1 --user alice
  tgtadm --mode account --op update --user alice --password another-secret
  tgtadm --mode portal --op new --param portal=192.0.2.1:3260
  tgtadm --mode connection --op show --tid 1
  tgtadm --mode target --op delete --force --tid 1
  tgtadm --mode logicalunit --op delete --drain 30 --tid 1 --lun 1
  tgtadm --mode system --op delete
";

/// What these options are: `--tid N: the target's number, 1 or more; --lun N: …`.
pub(crate) fn usage(letters: &[u8]) -> String {
    let usage = |row: &Row| {
        let space = if row.value.is_empty() { "" } else { " " };
        format!("--{}{space}{}: {}", row.spec.long, row.value, row.about)
    };
    rows(letters).map(usage).collect::<Vec<_>>().join("; ")
}

/// Their long names: `--tid, --lun`.
pub(crate) fn names(letters: &[u8]) -> String {
    rows(letters).map(|row| format!("--{}", row.spec.long)).collect::<Vec<_>>().join(", ")
}

fn rows(letters: &[u8]) -> impl Iterator<Item = &'static Row> {
    OPTIONS.iter().filter(move |row| letters.contains(&row.spec.short))
}

/// What `--help` prints.
#[must_use]
pub fn help() -> String {
    let mut text = format!(
        "tgtadm {}: administers a running tgtd\n\n\
         Usage: tgtadm --mode MODE --op OP [OPTION]...\n\n\
         Options (a long one may be abbreviated while it stays unique):\n",
        env!("CARGO_PKG_VERSION")
    );
    for row in OPTIONS {
        let name = format!("-{}, --{} {}", char::from(row.spec.short), row.spec.long, row.value);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {:<34} {}", name.trim_end(), row.about);
    }
    text.push('\n');
    text.push_str(EXAMPLES);
    text.push_str(
        "\nTGT_IPC_SOCKET names the daemon's socket without its suffix .N (default /var/run/tgtd/socket).\n\
         Exit codes: 0 done; 22 refused; 1 unknown mode or operation; 107 no daemon.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_option_in_both_forms() {
        let help = help();
        for row in OPTIONS {
            let names = format!("-{}, --{}", char::from(row.spec.short), row.spec.long);
            assert!(help.contains(&names), "{names}");
            assert_eq!(row.spec.long_value, !row.value.is_empty(), "{names}");
        }
    }

    #[test]
    fn letters_and_names_are_unique() {
        for (index, row) in OPTIONS.iter().enumerate() {
            for other in &OPTIONS[..index] {
                assert_ne!(row.spec.short, other.spec.short);
                assert_ne!(row.spec.long, other.spec.long);
            }
        }
    }
}
