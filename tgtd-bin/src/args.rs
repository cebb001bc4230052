//! The command line of `tgtd`: the options of tgt, and further ones.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser};
use target_engine::limits::{SHARED_LOOPS_MAX, TARGET_LOOPS_MAX};
use target_engine::model::account::Algorithm;
use target_engine::model::connections::{ConnectionBound, ConnectionBounds};
use target_engine::model::number::number_within;
use target_engine::model::portal::PortalOptions;

use crate::export::Export;
use crate::identity::Installation;
use crate::logging;

/// An iSCSI target daemon.
///
/// Without --foreground, --nodaemonize or --export it runs in the background and logs to syslog.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "tgtd",
    disable_version_flag = true,
    infer_long_args = true,
    args_override_self = true,
    after_help = AFTER_HELP
)]
pub(crate) struct Args {
    /// Stay in the foreground and log to standard error
    #[arg(short, long)]
    pub(crate) foreground: bool,

    /// Stay in the foreground and log to syslog
    #[arg(short = 'D', long)]
    pub(crate) nodaemonize: bool,

    /// The number of the control socket, 0 to 32767; each daemon needs its own
    #[arg(short = 'C', long, value_name = "N", default_value_t = 0,
          value_parser = |text: &str| number_within(text, 0_u16, 32767))]
    pub(crate) control_port: u16,

    /// Maximum number of I/O threads for each unit whose store blocks, 1 or more
    #[arg(short = 't', long = "nr_iothreads", value_name = "N",
          value_parser = |text: &str| number_within(text, 1, u16::MAX))]
    pub(crate) io_threads: Option<u16>,

    /// Write the process ID of the daemon to this file; only if it runs in the background
    #[arg(short, long, value_name = "FILE", value_parser = absolute)]
    pub(crate) pid_file: Option<PathBuf>,

    /// 1 logs details
    #[arg(short, long, value_name = "0|1", default_value_t = 0,
          value_parser = |text: &str| number_within(text, 0_u8, 1))]
    debug: u8,

    /// The portals to listen on, and the NOP-In pings.
    #[arg(
        long = "iscsi",
        value_name = "LIST",
        value_parser = PortalOptions::parse,
        action = ArgAction::Append,
        help = "Portals and NOP-In pings: portal=ADDRESS[:PORT],nop_interval=SECONDS,nop_count=N"
    )]
    portal_lists: Vec<PortalOptions>,

    /// Accepted for compatibility: port=, nop=, pool_sz_mb=, buf_sz_kb=, cq_vector=. RDMA is not supported, and a
    /// warning is logged
    #[arg(long, value_name = "LIST", value_parser = crate::iser::check, action = ArgAction::Append)]
    pub(crate) iser: Vec<String>,

    /// Export a file or block device, in the foreground; a file that does not exist is created if a size
    /// (1G, 512M …) is given. May be repeated
    #[arg(long = "export", value_name = "PATH[:SIZE]", value_parser = Export::parse, action = ArgAction::Append)]
    pub(crate) exports: Vec<Export>,

    /// Let all targets share N polling loops, or with auto one per two processors; without this option each target
    /// has its own
    #[arg(long, value_name = "N|auto", value_parser = |text: &str| parse_loops(text, SHARED_LOOPS_MAX))]
    pub(crate) loops: Option<usize>,

    /// Polling loops of each target, or auto for one per two processors
    #[arg(long, value_name = "N|auto", default_value = "1",
          value_parser = |text: &str| parse_loops(text, TARGET_LOOPS_MAX))]
    pub(crate) target_loops: usize,

    /// Give new targets tgt's default parameters, which are slower: 8 KiB data segments, InitialR2T=Yes
    #[arg(long)]
    pub(crate) compat_defaults: bool,

    /// CHAP algorithms in order of preference: the first that the initiator offers is used, and a login that offers
    /// none of them is refused
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "sha3-256,sha256,sha1,md5",
          value_parser = parse_algorithm)]
    pub(crate) chap_algorithms: Vec<Algorithm>,

    /// Connections to one target at most, 0 for any number; by default half of those that are free
    #[arg(long, value_name = "N", value_parser = |text: &str| number_within(text, 0, usize::MAX))]
    max_connections_per_target: Option<usize>,

    /// Connections from one address at most, 0 for any number; by default half of what the target may still have
    #[arg(long, value_name = "N", value_parser = |text: &str| number_within(text, 0, usize::MAX))]
    max_connections_per_address: Option<usize>,

    /// Connections of one initiator name at most, 0 for any number; by default half of what its address may still have
    #[arg(long, value_name = "N", value_parser = |text: &str| number_within(text, 0, usize::MAX))]
    max_connections_per_initiator: Option<usize>,

    /// Derive the SCSI IDs and serial numbers of units that are given none from this UUID, or from the one in this
    /// file, which is created if it does not exist; by default from that of this installation. Hosts that export the
    /// same disks need the same UUID
    #[arg(long, value_name = "UUID|FILE", value_parser = Installation::parse)]
    pub(crate) identity: Option<Installation>,

    /// Give units the SCSI IDs and serial numbers that tgt gives, which are unique only within a host
    #[arg(long, conflicts_with = "identity")]
    pub(crate) compat_ids: bool,

    /// Print the version and exit
    #[arg(short = 'V', long)]
    version: bool,

    /// Passed by the starting process to the one that runs in the background.
    #[arg(long, hide = true)]
    pub(crate) detached: bool,
}

/// The reason that the command line starts no daemon.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    /// Help or version was printed.
    Printed,
    /// The command line is invalid: the exit code. An error was printed.
    Invalid(u8),
}

impl Args {
    /// Parses the command line of this process.
    ///
    /// # Errors
    /// Help, the version or an error was printed, and the process has to exit.
    pub(crate) fn from_process() -> Result<Self, Ended> {
        let args = Self::read(std::env::args_os()).map_err(|error| {
            if error.use_stderr() {
                logging::print_usage_error(&error.render());
            } else {
                // A closed standard output does not change the exit code.
                let _ = error.print();
            }
            ended(&error)
        })?;
        if args.version {
            // Without the program's name, as tgt prints it.
            let _ = writeln!(std::io::stdout(), "{}", env!("CARGO_PKG_VERSION"));
            return Err(Ended::Printed);
        }
        Ok(args)
    }

    fn read(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, clap::Error> {
        Self::from_arg_matches(&Self::command().try_get_matches_from(words)?)
    }

    /// Whether this process is the daemon. If not, it starts the daemon in the background.
    pub(crate) fn stays(&self) -> bool {
        self.foreground || self.nodaemonize || self.detached || !self.exports.is_empty()
    }

    /// Whether the log goes to standard error.
    pub(crate) fn logs_to_stderr(&self) -> bool {
        !self.detached && !self.nodaemonize
    }

    /// Whether details are logged.
    pub(crate) fn debug(&self) -> bool {
        self.debug == 1
    }

    /// How many connections a target, an address and an initiator name may have.
    pub(crate) fn connection_bounds(&self) -> ConnectionBounds {
        let bound =
            |count: Option<usize>| count.map_or_else(ConnectionBound::default, ConnectionBound::from_count);
        ConnectionBounds {
            per_target: bound(self.max_connections_per_target),
            per_address: bound(self.max_connections_per_address),
            per_initiator: bound(self.max_connections_per_initiator),
        }
    }

    /// Combines all `--iscsi` lists: all portals, and of each number the last one given.
    pub(crate) fn portals(&self) -> PortalOptions {
        let lists = &self.portal_lists;
        PortalOptions {
            portals: lists.iter().flat_map(|list| list.portals.iter().cloned()).collect(),
            nop_interval: lists.iter().rev().find_map(|list| list.nop_interval),
            nop_count: lists.iter().rev().find_map(|list| list.nop_count),
        }
    }
}

/// Maps errors to the exit codes of tgt: 1 for an unknown or incomplete option, 22 (EINVAL) for an invalid value.
fn ended(error: &clap::Error) -> Ended {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ended::Printed,
        ErrorKind::ValueValidation => Ended::Invalid(EINVAL),
        _ => Ended::Invalid(1),
    }
}

/// Makes a path absolute, because the daemon changes its working directory.
fn absolute(text: &str) -> std::io::Result<PathBuf> {
    std::path::absolute(text)
}

/// Parses a number of loops from 1 to `max`; `auto` is half the number of processors.
fn parse_loops(text: &str, max: usize) -> Result<usize, String> {
    if text == "auto" {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        return Ok((processors / 2).clamp(1, max));
    }
    number_within(text, 1, max).map_err(|expected| expected + ", or auto")
}

fn parse_algorithm(name: &str) -> Result<Algorithm, String> {
    Algorithm::from_name(name).ok_or_else(|| {
        let names = Algorithm::ALL.map(Algorithm::name).join(", ");
        format!("expected one or more of {names}, separated by commas")
    })
}

const EINVAL: u8 = 22;
const AFTER_HELP: &str = "\
Examples:
  tgtd --export disk.img:1G             exports a new disk to this machine, until Ctrl-C
  tgtd -f --iscsi portal=192.0.2.1      runs in the foreground, listens on one address
  tgtadm --mode system --op delete      ends a daemon that has no targets

TGT_IPC_SOCKET is the path of the control socket without the suffix .N. By default it is
/var/run/tgtd/socket for root and $XDG_RUNTIME_DIR/tgtd/socket for others.";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap_complete::Shell;

    use super::*;

    fn read(line: &str) -> Result<Args, clap::Error> {
        Args::read(std::iter::once("tgtd").chain(line.split(' ').filter(|word| !word.is_empty())))
    }

    #[test]
    fn definitions_of_options_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn command_lines_of_tgt_are_accepted() {
        let args = read("").unwrap();
        assert!(!args.stays() && args.portals() == PortalOptions::default() && !args.debug());
        assert_eq!((args.control_port, args.io_threads, args.target_loops), (0, None, 1));

        let args = read("-f -C 3 -t 8 -d 1 -p /run/x.pid").unwrap();
        assert!(args.stays() && args.logs_to_stderr() && args.debug());
        assert_eq!((args.control_port, args.io_threads), (3, Some(8)));
        assert_eq!(args.pid_file, Some(PathBuf::from("/run/x.pid")));

        let args = read("--nodaemon --control-port=32767 --nr_iothreads 1 --debug 0").unwrap();
        assert!(args.stays() && !args.logs_to_stderr());
        assert_eq!(args.control_port, 32767);

        let args = read("-f -D").unwrap();
        assert!(args.stays() && !args.logs_to_stderr());
        assert!(include_str!("../../docs/man/tgtd.8").contains(".Op Fl f\n.Op Fl D\n"));

        assert!(read("-p x.pid").unwrap().pid_file.is_some_and(|path| path.is_absolute()));
        assert_eq!(read("-C 1 -C 2").unwrap().control_port, 2, "the last one is used");
    }

    #[test]
    fn portal_lists_add_up() {
        let line =
            "--iscsi portal=10.0.0.1,nop_interval=5 --iscsi=portal=[::1]:3261,nop_interval=7,nop_count=2";
        let list = read(line).unwrap().portals();
        let shown: Vec<String> = list.portals.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10.0.0.1:3260", "[::1]:3261"]);
        assert_eq!((list.nop_interval, list.nop_count), (Some(7), Some(2)));
    }

    #[test]
    fn export_runs_in_the_foreground() {
        let args = read("--export /srv/a.img:1G --export /dev/sdx").unwrap();
        assert!(args.stays() && args.logs_to_stderr());
        assert_eq!(args.exports.len(), 2);
    }

    #[test]
    fn usage_errors_name_the_option_and_accepted_values() {
        #[rustfmt::skip]
        let cases = [
            ("--bogus",                    1,  "--bogus"),
            ("-z",                         1,  "-z"),
            ("extra",                      1,  "extra"),
            ("-p",                         1,  "--pid-file <FILE>"),
            ("-C 40000",                   22, "expected a number from 0 to 32767"),
            ("-C abc",                     22, "expected a number from 0 to 32767"),
            ("-t 0",                       22, "expected a number from 1 to 65535"),
            ("-d 2",                       22, "expected a number from 0 to 1"),
            ("--iscsi bogus=1",            22, "bogus"),
            ("--iscsi portal=1.2.3.4:x",   22, "1.2.3.4:x"),
            ("--target-loops 0",           22, "1 to 64, or auto"),
            ("--loops 0",                  22, "1 to 256, or auto"),
            ("--chap-algorithms sha256,",  22, "sha3-256, sha256, sha1, md5"),
            ("--chap-algorithms sha-256",  22, "sha3-256, sha256, sha1, md5"),
            ("--max-connections-per-address x", 22, "expected a number from 0 to"),
            ("--iser port=x",              22, "1 to 65535"),
            ("--identity me",              22, "a UUID, or the path of a file"),
            ("--compat-ids --identity /x", 1,  "--identity <UUID|FILE>"),
            ("--export a:1x3 --export :",  22, "--export <PATH[:SIZE]>"),
        ];
        for (line, exit, mention) in cases {
            let error = read(line).unwrap_err();
            assert_eq!(ended(&error), Ended::Invalid(exit), "{line}");
            assert!(error.to_string().contains(mention), "{line}: {error}");
        }
    }

    #[test]
    fn help_lists_all_options_but_hidden_ones() {
        let help = read("--help").unwrap_err();
        assert_eq!(ended(&help), Ended::Printed);
        assert!(
            help.to_string().contains("--target-loops")
                && help.to_string().contains("--loops <N|auto>")
                && !help.to_string().contains("--detached")
        );
    }

    #[test]
    fn chap_algorithms_are_used_in_the_given_order() {
        assert_eq!(read("").unwrap().chap_algorithms, Algorithm::ALL);
        let chosen = read("--chap-algorithms sha1,sha256").unwrap().chap_algorithms;
        assert_eq!(chosen, [Algorithm::Sha1, Algorithm::Sha256]);
    }

    #[test]
    fn bounds_of_connections_are_numbers_and_0_is_none() {
        assert_eq!(read("").unwrap().connection_bounds(), ConnectionBounds::default());
        let line = "--max-connections-per-target 0 --max-connections-per-initiator 7";
        let bounds = read(line).unwrap().connection_bounds();
        let expected = (ConnectionBound::Unbounded, ConnectionBound::Half, ConnectionBound::Count(7));
        assert_eq!((bounds.per_target, bounds.per_address, bounds.per_initiator), expected);
    }

    /// `TGT_WRITE=1 cargo test` writes the files.
    #[test]
    fn completions_match_the_options() {
        let whole = Args::command();
        let shown = whole.get_arguments().filter(|option| !option.is_hide_set());
        let mut command = clap::Command::new("tgtd").disable_version_flag(true).args(shown);
        for (shell, file) in
            [(Shell::Bash, "bash/tgtd"), (Shell::Zsh, "zsh/_tgtd"), (Shell::Fish, "fish/tgtd.fish")]
        {
            let mut generated = Vec::new();
            clap_complete::generate(shell, &mut command, "tgtd", &mut generated);
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/completions").join(file);
            if std::env::var_os("TGT_WRITE").is_some() {
                std::fs::write(&path, &generated).unwrap();
            }
            let same = std::fs::read(&path).unwrap() == generated;
            assert!(same, "{file} does not match the options: TGT_WRITE=1 cargo test writes it again");
        }
    }

    #[test]
    fn loops_are_a_number_within_the_limit_or_auto() {
        assert_eq!(parse_loops("4", 64), Ok(4));
        assert!(parse_loops("auto", 64).is_ok_and(|loops| loops >= 1));
        assert!(parse_loops("65", 64).is_err() && parse_loops("many", 64).is_err());
        assert_eq!(read("").unwrap().loops, None);
        assert_eq!(read("--loops 100").unwrap().loops, Some(100));
        assert!(read("--loops auto").unwrap().loops.is_some());
    }
}
