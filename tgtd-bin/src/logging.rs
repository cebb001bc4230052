//! Where the log goes: standard error in the foreground, syslog otherwise.
//!
//! Both loggers take everything; `log::max_level` decides, because `tgtadm --mode system --op update --name debug`
//! changes it while the daemon runs.

use std::io::IsTerminal;

use log::LevelFilter;
use simplelog::{ColorChoice, ConfigBuilder, TermLogger, TerminalMode, WriteLogger};
use syslog::{BasicLogger, Facility, Formatter3164};

/// Starts the log. Where there is no syslog, lines go to standard error, after one that says so.
pub(crate) fn start(to_stderr: bool, debug: bool) {
    let no_syslog = if to_stderr { None } else { start_syslog().err() };
    if to_stderr || no_syslog.is_some() {
        start_stderr();
    }
    log::set_max_level(if debug { LevelFilter::Debug } else { LevelFilter::Info });
    if let Some(error) = no_syslog {
        log::warn!("no syslog, logging to standard error: {error}");
    }
}

fn start_stderr() {
    let config = ConfigBuilder::new()
        .set_time_format_rfc3339()
        .set_target_level(LevelFilter::Trace)
        .set_location_level(LevelFilter::Off)
        .build();
    // The only failure is a logger that is there already.
    let _ = if std::io::stderr().is_terminal() {
        TermLogger::init(LevelFilter::Trace, config, TerminalMode::Stderr, ColorChoice::Auto)
    } else {
        WriteLogger::init(LevelFilter::Trace, config, std::io::stderr())
    };
}

fn start_syslog() -> Result<(), syslog::Error> {
    let formatter = Formatter3164 {
        facility: Facility::LOG_DAEMON,
        hostname: None,
        process: "tgtd".to_owned(),
        pid: std::process::id(),
    };
    let logger = BasicLogger::new(syslog::unix(formatter)?);
    log::set_boxed_logger(Box::new(logger)).map_err(|error| syslog::Error::Initialization(Box::new(error)))
}
