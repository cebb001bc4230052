//! `tgt-setup-lun`: creates a target with one unit and adds ACL rules.
//!
//! It sends the requests that `tgtadm` sends, so it works with every daemon that `tgtadm` works with. If a step fails,
//! it deletes the target.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use target_engine::control::error::TgtadmError;
use target_engine::model::number::number_within;
use target_engine::system_text::without_numbers;

use crate::args::{self, Invocation};
use crate::client;
use crate::retries::Retries;
use crate::store_kinds::has_file;
use crate::{NO_DAEMON, Refusal};

/// Creates a target with one logical unit and admits initiators to it.
///
/// Prints each step. If a step fails, the target is deleted.
#[derive(Clone, Debug, Parser)]
#[command(name = "tgt-setup-lun", version, args_override_self = true, after_help = AFTER_HELP)]
pub struct Args {
    /// The target's name; a name that does not start with iqn becomes iqn.2001-04.com.HOST-NAME
    #[arg(short = 'n', value_name = "NAME", value_parser = without_comma)]
    name: String,

    /// The file or block device that is exported
    #[arg(short = 'd', value_name = "DEVICE", value_parser = without_comma, value_hint = clap::ValueHint::FilePath)]
    device: String,

    /// The type of backing store; rdwr by default
    #[arg(short = 'b', value_name = "BSTYPE", value_parser = without_comma)]
    bstype: Option<String>,

    /// The logical block size, a power of two from 512; 512 by default
    #[arg(short = 'B', value_name = "BYTES", value_parser = block_size)]
    block_size: Option<u32>,

    /// The driver
    #[arg(short = 't', value_name = "TRANSPORT", default_value = "iscsi")]
    transport: String,

    /// The number of the daemon's control socket, 0 to 32767
    #[arg(short = 'C', value_name = "N", value_parser = |text: &str| number_within(text, 0_u16, 32767))]
    control_port: Option<u16>,

    /// Addresses, networks (a.b.c.d/n) or ALL that may use the target; ALL by default
    #[arg(value_name = "INITIATOR", value_parser = without_comma)]
    initiators: Vec<String>,
}

/// Runs `tgt-setup-lun` with its arguments, of which the first is the program's name.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Args = match crate::parse(arguments, FAILED) {
        Ok(args) => args,
        Err(exit) => return exit,
    };
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let found =
        if has_file(args.bstype.as_deref()) { absolute(&args.device) } else { Ok(args.device.clone()) };
    let path = match found {
        Ok(path) => path,
        Err(why) => {
            say(&format!("Error: {why}"));
            return ExitCode::from(FAILED);
        }
    };
    let setup = Setup { name: target_name(&args.name, &host), path, args };
    match setup.make() {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => exit.into(),
    }
}

/// A target to create.
struct Setup {
    /// The complete name of the target.
    name: String,
    /// The path of the device as it is sent to the daemon.
    path: String,
    args: Args,
}

impl Setup {
    /// Executes all steps.
    ///
    /// # Errors
    /// Returns the exit code.
    fn make(&self) -> Result<(), u8> {
        if let Some(port) = self.args.control_port {
            say(&format!("Control port: {port}"));
        }
        say(&format!("Using transport: {}", self.args.transport));
        let tid = self.target()?;
        let made = self.unit(tid).and_then(|()| self.admit(tid));
        made.map_err(|exit| {
            say(&format!("Deleting new target, tid={tid}"));
            let deleted =
                self.ask(&["--op", "delete", "--mode", "target", "--tid", &tid.to_string(), "--force"]);
            deleted.map_or_else(
                |refusal| {
                    failed(&refusal, &format!("target tid={tid} could not be deleted")).max(TARGET_LEFT)
                },
                |_| exit,
            )
        })
    }

    /// Creates the target and returns its number, the first that is free. If another process takes the number
    /// meanwhile, tries the next one.
    fn target(&self) -> Result<u32, u8> {
        let (mut tried, mut retries) = (0, Retries::default());
        let mut targets = self.targets()?;
        loop {
            if targets.iter().any(|(_, name)| *name == self.name) {
                say(&format!("Error: target named {} already exists", self.name));
                return Err(FAILED);
            }
            let taken = |tid: u32| targets.iter().any(|(other, _)| *other == tid);
            let Some(tid) = (tried + 1..).find(|tid| !taken(*tid)) else { return Err(FAILED) };
            say(&format!("Creating new target (name={}, tid={tid})", self.name));
            let number = tid.to_string();
            let words = ["--op", "new", "--mode", "target", "--tid", &number, "--targetname", &self.name];
            let Err(refusal) = self.ask(&words) else { return Ok(tid) };
            let failure = format!("failed to create target (name={}, tid={tid})", self.name);
            if !refusal.is(TgtadmError::TargetExists) {
                return Err(failed(&refusal, &failure));
            }
            let now = self.targets()?;
            if !retries.again(now != targets) {
                return Err(failed(&refusal, &failure));
            }
            (tried, targets) = (tid, now);
        }
    }

    fn targets(&self) -> Result<Vec<(u32, String)>, u8> {
        let shown = self.ask(&["--op", "show", "--mode", "target"]);
        shown.map(|text| targets(&text)).map_err(|refusal| failed(&refusal, "the targets cannot be listed"))
    }

    /// Creates the unit with the first LUN that is free.
    fn unit(&self, tid: u32) -> Result<(), u8> {
        let Args { device, bstype, block_size, .. } = &self.args;
        say(&format!("Adding a logical unit ({device}) to target, tid={tid}"));
        let tid_word = tid.to_string();
        let block_size = block_size.map(|bytes| bytes.to_string());
        let mut more = Vec::new();
        if let Some(bstype) = bstype {
            say(&format!("Setting backing store type: {bstype}"));
            more.extend(["--bstype", bstype]);
        }
        if let Some(block_size) = &block_size {
            more.extend(["--blocksize", block_size]);
        }
        let mut lun = 1_u64;
        let mut retries = Retries::default();
        loop {
            let lun_word = lun.to_string();
            let words = ["--op", "new", "--mode", "logicalunit", "--tid", &tid_word, "--lun", &lun_word];
            let Err(refusal) = self.ask(&[&words, &["-b", &self.path][..], &more].concat()) else {
                return Ok(());
            };
            if !refusal.is(TgtadmError::LunExists) || !retries.again(true) {
                let failure = format!("failed to add a logical unit ({device}) to target, tid={tid}");
                return Err(failed(&refusal, &failure));
            }
            lun += 1;
        }
    }

    /// Adds the ACL rules.
    fn admit(&self, tid: u32) -> Result<(), u8> {
        let everybody = ["ALL".to_owned()];
        let mut initiators = self.args.initiators.as_slice();
        if initiators.is_empty() {
            say("Accepting connections from all initiators");
            initiators = &everybody;
        } else {
            say(&format!("Accepting connections from {}", initiators.join(" ")));
        }
        for (index, initiator) in initiators.iter().enumerate() {
            if initiators[..index].contains(initiator) {
                continue;
            }
            let tid = tid.to_string();
            let words = ["--op", "bind", "--mode", "target", "--tid", &tid, "--initiator-address", initiator];
            let failure = format!("could not assign initiator {initiator} to the target");
            self.ask(&words).map_err(|refusal| failed(&refusal, &failure))?;
        }
        Ok(())
    }

    /// Sends the request of a `tgtadm` command line and returns the answer.
    fn ask(&self, words: &[&str]) -> Result<Vec<u8>, Refusal> {
        let port = self.args.control_port.unwrap_or(0).to_string();
        let common = ["tgtadm", "--lld", &self.args.transport, "--control-port", &port];
        let line: Vec<Vec<u8>> = common.iter().chain(words).map(|word| word.as_bytes().to_vec()).collect();
        match args::parse(&line, false)? {
            Invocation::Send(order) => client::exchange(&order),
            Invocation::Help | Invocation::Version => Ok(Vec::new()),
        }
    }
}

/// Prints a step or an error to standard output, where scripts expect both.
fn say(line: &str) {
    // A closed output is ignored so that a run is not left half done.
    let _ = writeln!(std::io::stdout(), "{}", without_numbers(line));
}

/// Prints what failed, and the reason to standard error. Returns the exit code.
fn failed(refusal: &Refusal, what: &str) -> u8 {
    let _ = std::io::stderr().write_all(&refusal.text);
    say(&format!("Error: {what}"));
    if refusal.exit == NO_DAEMON { NO_DAEMON } else { FAILED }
}

/// Completes a name that does not start with `iqn`.
fn target_name(name: &str, host: &str) -> String {
    if name.starts_with("iqn") { name.to_owned() } else { format!("iqn.2001-04.com.{host}-{name}") }
}

/// The numbers and names in the output of `tgtadm --mode target --op show`.
fn targets(shown: &[u8]) -> Vec<(u32, String)> {
    let shown = String::from_utf8_lossy(shown);
    let target = |line: &str| {
        let (tid, name) = line.strip_prefix("Target ")?.split_once(": ")?;
        Some((tid.parse().ok()?, name.to_owned()))
    };
    shown.lines().filter_map(target).collect()
}

/// The absolute path of a file, because the daemon has another working directory. A name that is not a file is returned
/// as it is.
///
/// # Errors
/// The absolute path contains a comma or is not UTF-8.
fn absolute(device: &str) -> Result<String, String> {
    let path = Path::new(device);
    if !path.exists() {
        return Ok(device.to_owned());
    }
    let whole = std::path::absolute(path).map_err(|error| format!("{device}: {error}"))?;
    match whole.into_os_string().into_string() {
        Ok(whole) if whole.contains(',') => Err(format!(
            "{whole}: a path with a comma cannot be sent to the daemon, which separates by commas"
        )),
        Ok(whole) => Ok(whole),
        Err(whole) => {
            Err(format!("{}: a path that is not UTF-8 cannot be sent to the daemon", whole.display()))
        }
    }
}

/// Rejects a comma, because the daemon splits requests at commas.
fn without_comma(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(',') {
        return Err("expected at least one character and no comma".to_owned());
    }
    Ok(text.to_owned())
}

fn block_size(text: &str) -> Result<u32, String> {
    let size = text.parse().ok().filter(|size: &u32| *size >= 512 && size.is_power_of_two());
    size.ok_or_else(|| "expected a power of two from 512".to_owned())
}

/// Exit code: an option is wrong or the daemon refused a request; no target is left.
const FAILED: u8 = 1;
/// Exit code: a step failed and the target could not be deleted.
const TARGET_LEFT: u8 = 2;
const AFTER_HELP: &str = "\
Examples:
  tgt-setup-lun -n disk1 -d /dev/sdb1 192.0.2.7 192.0.2.8
  tgt-setup-lun -n iqn.2001-04.com.example:disk2 -d /srv/disk2.img -b aio -B 4096

TGT_IPC_SOCKET is the path of the control socket without its suffix .N; default /var/run/tgtd/socket.
Exit codes: 0 success; 1 failed, no target is left; 2 failed, a target is left; 107 no daemon.";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once("tgt-setup-lun").chain(line.split(' ')))
    }

    #[test]
    fn short_names_get_a_prefix_with_the_host_name() {
        assert_eq!(target_name("disk", "box"), "iqn.2001-04.com.box-disk");
        assert_eq!(target_name("iqn.2001-04.com.example:x", "box"), "iqn.2001-04.com.example:x");
        assert_eq!(target_name("IQN.x", "box"), "iqn.2001-04.com.box-IQN.x");
    }

    #[test]
    fn targets_are_parsed_from_the_report() {
        let text =
            b"Target 2: iqn.a:b\n    I_T nexus: 3\n        Target 4: no\nTarget x: no\nTarget 300: iqn.c\n";
        assert_eq!(targets(text), [(2, "iqn.a:b".to_owned()), (300, "iqn.c".to_owned())]);
    }

    #[test]
    fn usage_errors_have_the_option_and_accepted_values() {
        #[rustfmt::skip]
        let cases = [
            ("-n a",                   "-d <DEVICE>"),
            ("-d a",                   "-n <NAME>"),
            ("-n a -d x,y",            "no comma"),
            ("-n a -d x -B 1000",      "a power of two from 512"),
            ("-n a -d x -C 40000",     "expected a number from 0 to 32767"),
            ("-n a -d x -z",           "-z"),
        ];
        for (line, mention) in cases {
            let error = read(line).unwrap_err().to_string();
            assert!(error.contains(mention), "{line}: {error}");
        }
        let args = read("-na -d/x 10.0.0.1 10.0.0.2 -b aio").unwrap();
        assert_eq!((args.initiators.len(), args.bstype.as_deref()), (2, Some("aio")));
    }
}
