//! The log on standard error. It may be a pipe, a terminal or journald's socket that is not read: lines are queued, and
//! a thread of their own writes them.
//!
//! The queue is bounded. A line for which there is no room, or which standard error refuses, is lost and counted; a line
//! that says how many were lost is written in their place.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use simplelog::{ConfigBuilder, WriteLogger};

/// How a line looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Format {
    /// Time, level and text.
    Plain,
    /// The same with a coloured level.
    Coloured,
    /// For journald (sd-daemon(3)): the priority before each line, and no time, which the journal has.
    Journal,
}

impl Format {
    /// The format for this process's standard error.
    pub(super) fn of_stderr() -> Self {
        let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
        if is_stream(rustix::stdio::stderr(), &stream) {
            Self::Journal
        } else if io::stderr().is_terminal() && wants_colours() {
            Self::Coloured
        } else {
            Self::Plain
        }
    }

    fn line(self, level: Level, text: &str) -> String {
        match self {
            Self::Plain => simplelog_line(LevelFilter::Error, level, text),
            // simplelog colours lines only where it writes them to the terminal itself.
            Self::Coloured => {
                let text = format!("[\x1b[{}m{level}\x1b[0m] {text}", colour(level));
                simplelog_line(LevelFilter::Off, level, &text)
            }
            Self::Journal => self.raw(level, text),
        }
    }

    /// A text without level and time, but for the journal's priority.
    fn raw(self, level: Level, text: &str) -> String {
        if self != Self::Journal {
            return format!("{text}\n");
        }
        text.split('\n').map(|line| format!("<{}>{line}\n", priority(level))).collect()
    }
}

/// simplelog's line of a text: the time (RFC 3339, UTC), the level if `shown_level` is not `Off`, and the text.
///
/// Each line has a logger of its own: no lock is shared between threads, and none is poisoned.
fn simplelog_line(shown_level: LevelFilter, level: Level, text: &str) -> String {
    let config = ConfigBuilder::new()
        .set_time_format_rfc3339()
        .set_max_level(shown_level)
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .build();
    let line = LineBuffer::default();
    let logger = WriteLogger::new(LevelFilter::Trace, config, line.clone());
    logger.log(&Record::builder().level(level).args(format_args!("{text}")).build());
    line.into_text()
}

/// Takes the pieces of one line, which simplelog writes one by one.
#[derive(Clone, Debug, Default)]
struct LineBuffer(Arc<Mutex<Vec<u8>>>);

impl LineBuffer {
    fn into_text(self) -> String {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        String::from_utf8(bytes).unwrap_or_default()
    }
}

impl Write for LineBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether the descriptor is the stream that `JOURNAL_STREAM` names by device and inode (systemd.exec(5)).
fn is_stream(descriptor: impl AsFd, stream: &str) -> bool {
    rustix::fs::fstat(descriptor).is_ok_and(|found| format!("{}:{}", found.st_dev, found.st_ino) == stream)
}

fn wants_colours() -> bool {
    std::env::var_os("NO_COLOR").is_none() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// SGR parameters (ECMA-48 8.3.117).
fn colour(level: Level) -> u8 {
    match level {
        Level::Error => 31,
        Level::Warn => 33,
        Level::Info => 34,
        Level::Debug | Level::Trace => 36,
    }
}

/// The severity of syslog(3).
pub(super) fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// A log that a thread writes to a descriptor. The thread ends with the process.
#[derive(Debug)]
pub(super) struct StderrLog {
    format: Format,
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    state: Mutex<QueueState>,
    /// There is something to write.
    filled: Condvar,
    /// There is nothing to write.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    lines: VecDeque<Line>,
    /// Bytes of the lines, with [`LINE_OVERHEAD`] for each.
    len: usize,
    /// Lines that were lost and are not reported.
    lost: u64,
    /// The loss is to be reported without waiting for the next line.
    report_due: bool,
    /// The thread writes a line.
    writing: bool,
}

#[derive(Debug)]
struct Line {
    text: String,
    /// Lines that are lost if this one is: of a report, those that it reports.
    counts: u64,
}

impl StderrLog {
    /// Starts the thread that writes to a descriptor.
    ///
    /// # Errors
    /// The system has no thread.
    pub(super) fn start(descriptor: impl AsFd + Send + 'static, format: Format) -> io::Result<Self> {
        let queue =
            Arc::new(Queue { state: Mutex::default(), filled: Condvar::new(), emptied: Condvar::new() });
        let writer = Arc::clone(&queue);
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            loop {
                let line = writer.next(format);
                writer.written(&line, write_all(&descriptor, line.text.as_bytes()).is_ok());
            }
        })?;
        Ok(Self { format, queue })
    }

    /// A text without level and time.
    pub(super) fn print(&self, level: Level, text: &str) {
        self.queue.push(self.format.raw(level, text), self.format);
    }

    /// Waits until all is written, at most for a time.
    pub(super) fn flush_within(&self, time: Duration) {
        let state = self.queue.lock();
        let _ = self.queue.emptied.wait_timeout_while(state, time, |state| state.has_work());
    }
}

impl Log for StderrLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = self.format.line(record.level(), &record.args().to_string());
            self.queue.push(line, self.format);
        }
    }

    fn flush(&self) {
        self.flush_within(super::FLUSH_TIME);
    }
}

impl Queue {
    /// Nothing that can panic runs under the lock.
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, text: String, format: Format) {
        let mut state = self.lock();
        let report = state.report(format);
        let report_len = report.as_ref().map_or(0, Line::len);
        let line = Line { text, counts: 1 };
        if state.len + report_len + line.len() > QUEUE_LEN_MAX {
            state.lost += 1;
            state.report_due = true;
        } else {
            if let Some(report) = report {
                state.lost = 0;
                state.push(report);
            }
            state.push(line);
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Waits for the next line to write.
    fn next(&self, format: Format) -> Line {
        let mut state = self
            .filled
            .wait_while(self.lock(), |state| !state.has_work())
            .unwrap_or_else(PoisonError::into_inner);
        state.writing = true;
        if let Some(line) = state.lines.pop_front() {
            state.len -= line.len();
            return line;
        }
        state.report_due = false;
        let report = state.report(format);
        state.lost = 0;
        report.unwrap_or(Line { text: String::new(), counts: 0 })
    }

    fn written(&self, line: &Line, is_written: bool) {
        let mut state = self.lock();
        state.writing = false;
        if !is_written {
            // Reported with the next line: standard error would refuse the report now, too.
            state.lost += line.counts;
        }
        if !state.has_work() {
            self.emptied.notify_all();
        }
    }
}

impl QueueState {
    fn has_work(&self) -> bool {
        self.writing || !self.lines.is_empty() || (self.report_due && self.lost > 0)
    }

    fn push(&mut self, line: Line) {
        self.len += line.len();
        self.lines.push_back(line);
    }

    fn report(&self, format: Format) -> Option<Line> {
        let text = format!("{} lines were lost: standard error did not take them", self.lost);
        (self.lost > 0).then(|| Line { text: format.line(Level::Warn, &text), counts: self.lost })
    }
}

impl Line {
    fn len(&self) -> usize {
        self.text.len() + LINE_OVERHEAD
    }
}

/// Waits for the descriptor as long as it takes; also where another process made it non-blocking.
fn write_all(descriptor: impl AsFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(&descriptor, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_writable(&descriptor, None)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn wait_writable(descriptor: impl AsFd, timeout: Option<&Timespec>) -> Result<(), Errno> {
    let mut wanted = [PollFd::new(&descriptor, PollFlags::OUT)];
    match poll(&mut wanted, timeout) {
        Ok(0) => Err(Errno::AGAIN),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Without a thread: only if standard error takes it now, and as much as a pipe takes whole (POSIX write()).
pub(super) fn print_at_once(text: &str) {
    let stderr = rustix::stdio::stderr();
    if wait_writable(stderr, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok() {
        let line = format!("{text}\n");
        let _ = rustix::io::write(stderr, &line.as_bytes()[..line.len().min(PIPE_BUF)]);
    }
}

/// Bytes of lines that wait.
const QUEUE_LEN_MAX: usize = 1 << 20;
/// Memory of a line beside its text.
const LINE_OVERHEAD: usize = 64;
/// Linux' limits.h.
const PIPE_BUF: usize = 4096;

#[cfg(test)]
mod tests;
