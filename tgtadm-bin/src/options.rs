//! The help text of `tgtadm` and what its messages say of options, made from the engine's table.

use std::fmt::Write;

use target_engine::control::grammar::{OPTIONS, OptionRow};

use crate::getopt::Spec;

/// What the reader of options needs to know of each.
pub(crate) fn specs() -> Vec<Spec> {
    let spec = |row: &OptionRow| Spec {
        short: row.short,
        long: row.long,
        short_value: row.short_takes_value,
        long_value: row.long_takes_value(),
    };
    OPTIONS.iter().map(spec).collect()
}

/// Common uses, one per line.
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

/// The usage of the options that `select` admits: `--tid N: the target's number, 1 or more; --lun N: …`.
pub(crate) fn usage(select: impl Fn(&OptionRow) -> bool) -> String {
    let usage = |row: &OptionRow| {
        let space = if row.value.is_empty() { "" } else { " " };
        format!("--{}{space}{}: {}", row.long, row.value, row.about())
    };
    OPTIONS.iter().filter(|row| select(row)).map(usage).collect::<Vec<_>>().join("; ")
}

/// The long names of the options that `select` admits: `--tid, --lun`.
pub(crate) fn names(select: impl Fn(&OptionRow) -> bool) -> String {
    let rows = OPTIONS.iter().filter(|row| select(row));
    rows.map(|row| format!("--{}", row.long)).collect::<Vec<_>>().join(", ")
}

/// Admits the options with these letters.
pub(crate) fn with_letters(letters: &[u8]) -> impl Fn(&OptionRow) -> bool {
    |row| letters.contains(&row.short)
}

/// What `--help` prints.
#[must_use]
pub fn help() -> String {
    let mut text = format!(
        "tgtadm {}: manages a running tgtd\n\n\
         Usage: tgtadm --mode MODE --op OP [OPTION]...\n\n\
         Options (long ones may be abbreviated if unambiguous):\n",
        env!("CARGO_PKG_VERSION")
    );
    for row in OPTIONS {
        let name = format!("-{}, --{} {}", char::from(row.short), row.long, row.value);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {:<34} {}", name.trim_end(), row.about());
    }
    text.push('\n');
    text.push_str(EXAMPLES);
    text.push_str(
        "\nTGT_IPC_SOCKET is the path of the control socket without its suffix .N; default /var/run/tgtd/socket.\n\
         Exit codes: 0 success; 22 invalid or refused request; 1 unknown mode or operation; 107 no daemon.\n",
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
            let names = format!("-{}, --{}", char::from(row.short), row.long);
            assert!(help.contains(&names), "{names}");
        }
    }
}
