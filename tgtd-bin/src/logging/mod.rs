//! The log: to standard error in the foreground, otherwise to syslog. No caller waits for either: a line that cannot be
//! written is dropped, counted and reported.
//!
//! Both loggers accept every level. `log::max_level` filters, because `tgtadm --mode system --op update --name debug`
//! changes it while the daemon runs.

mod stderr;
mod syslog;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Display;
use std::path::Path;
use std::sync::OnceLock;
use std::{io, panic, thread};

use clap::builder::StyledStr;
use log::{Level, LevelFilter};
use target_engine::system_text::without_numbers;

use crate::failure::Failure;
use stderr::{FLUSH_TIMEOUT, Format, StderrLog};
use syslog::Syslog;

/// Starts the log and logs panics from then on. If syslog cannot be opened, the log goes to standard error and begins
/// with a warning.
///
/// # Errors
/// The thread that writes to standard error cannot be started.
pub(crate) fn start(to_stderr: bool, debug: bool) -> Result<(), Failure> {
    let syslog = if to_stderr { None } else { Some(Syslog::open(Path::new("/dev/log"))) };
    let no_syslog = match syslog {
        Some(Ok(syslog)) => {
            // It fails only if a logger is set already.
            let _ = log::set_boxed_logger(Box::new(syslog));
            None
        }
        other => {
            let _ = log::set_logger(stderr_log().map_err(Failure::process("start the log's thread"))?);
            other.and_then(Result::err)
        }
    };
    log::set_max_level(if debug { LevelFilter::Debug } else { LevelFilter::Info });
    panic::set_hook(Box::new(log_panic));
    if let Some(error) = no_syslog {
        log::warn!("no syslog, logging to standard error: /dev/log: {error}");
    }
    Ok(())
}

/// Prints an error to standard error, without time and level.
pub(crate) fn print_error(text: &dyn Display) {
    let text = text.to_string();
    let text = without_numbers(&text);
    match stderr_log() {
        Ok(log) => log.print(Level::Error, &text),
        Err(_) => stderr::print_at_once(&text),
    }
}

/// Prints an error of the command line to standard error, on a terminal in colours.
pub(crate) fn print_usage_error(text: &StyledStr) {
    if Format::of_stderr() == Format::Coloured {
        print_error(&text.ansi().to_string().trim_end());
    } else {
        print_error(&text.to_string().trim_end());
    }
}

/// Waits until all queued lines are written to standard error, at most [`FLUSH_TIMEOUT`].
pub(crate) fn flush() {
    if let Some(log) = STDERR.get() {
        log.flush_within(FLUSH_TIMEOUT);
    }
}

/// Flushes the log when dropped, also while the main thread unwinds.
#[derive(Debug)]
pub(crate) struct FlushAtEnd;

impl Drop for FlushAtEnd {
    fn drop(&mut self) {
        flush();
    }
}

/// The panic hook. It logs, because the default hook would wait for standard error.
fn log_panic(info: &panic::PanicHookInfo<'_>) {
    log::error!("{}", panic_text(info));
}

fn panic_text(info: &panic::PanicHookInfo<'_>) -> String {
    let thread = thread::current();
    let name = thread.name().unwrap_or("unnamed");
    let payload = info.payload();
    let literal = payload.downcast_ref::<&str>().copied();
    let message = literal.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let message = message.unwrap_or("the payload is not a string");
    let at = info.location().map_or_else(String::new, |location| format!(" at {location}"));
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        format!("thread {name:?} panicked{at}: {message}\n{backtrace}")
    } else {
        format!("thread {name:?} panicked{at}: {message}")
    }
}

/// Returns the log on standard error. The first call starts its thread.
fn stderr_log() -> io::Result<&'static StderrLog> {
    if let Some(log) = STDERR.get() {
        return Ok(log);
    }
    let new = StderrLog::start(rustix::stdio::stderr(), Format::of_stderr())?;
    Ok(STDERR.get_or_init(|| new))
}

static STDERR: OnceLock<StderrLog> = OnceLock::new();

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn panic_text_has_thread_location_and_message() {
        let (sender, texts) = mpsc::channel();
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let _ = sender.send(panic_text(info));
        }));
        let thread = thread::Builder::new().name("tgt/1".to_owned());
        let ended = thread.spawn(|| panic!("no block {}", 7)).unwrap().join();
        panic::set_hook(before);
        assert!(ended.is_err());
        let expected = "thread \"tgt/1\" panicked at tgtd-bin/src/logging/mod.rs:";
        let text = texts.iter().find(|text| text.contains("tgt/1")).unwrap();
        let first = text.lines().next().unwrap();
        assert!(first.starts_with(expected) && first.ends_with(": no block 7"), "{first}");
    }
}
