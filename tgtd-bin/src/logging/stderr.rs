//! The log on standard error: callers queue lines, and one thread writes them, because a write blocks if standard error
//! is a pipe, terminal or socket of journald that nobody reads.
//!
//! The queue is bounded. A line that does not fit, or whose write fails, is lost and counted; a line with the number of
//! lost lines is written in their place.

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
use target_engine::system_text::without_numbers;

/// The format of a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Format {
    /// Time (RFC 3339, UTC), level in brackets, and text.
    Plain,
    /// As `Plain`, with the level in colour.
    Coloured,
    /// Priority (sd-daemon(3)) and text; journald adds the time.
    Journal,
}

impl Format {
    /// Chooses the format for standard error of this process.
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

    /// Returns a text without level and time; for journald, each line of it with the priority.
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

/// Whether the descriptor has the device and inode in `stream`, the value of `JOURNAL_STREAM` (systemd.exec(5)).
fn is_stream(descriptor: impl AsFd, stream: &str) -> bool {
    rustix::fs::fstat(descriptor).is_ok_and(|found| format!("{}:{}", found.st_dev, found.st_ino) == stream)
}

fn wants_colours() -> bool {
    std::env::var_os("NO_COLOR").is_none() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// The SGR parameter of the level's colour (ECMA-48 8.3.117).
fn colour(level: Level) -> u8 {
    match level {
        Level::Error => 31,
        Level::Warn => 33,
        Level::Info => 34,
        Level::Debug | Level::Trace => 36,
    }
}

/// The severity of a level (syslog(3)).
pub(super) fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// A logger whose thread writes to a descriptor. The thread runs until the process ends.
#[derive(Debug)]
pub(super) struct StderrLog {
    format: Format,
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    state: Mutex<QueueState>,
    /// Notified when a line is queued or lost.
    filled: Condvar,
    /// Notified when all lines are written.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    lines: VecDeque<Line>,
    /// Bytes of all queued lines, each with [`LINE_OVERHEAD`].
    len: usize,
    /// Number of lost lines that no queued line reports.
    lost: u64,
    /// The writer reports the loss when the queue is empty; otherwise the next line does.
    report_due: bool,
    /// The writer has taken a line and not finished it.
    writing: bool,
}

#[derive(Debug)]
struct Line {
    text: String,
    /// Number of lines that are lost with this one: 1, or for a report the number in it.
    counts: u64,
}

impl StderrLog {
    /// Starts the thread that writes to the descriptor.
    ///
    /// # Errors
    /// The thread cannot be started.
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

    /// Queues a text that is written without level and time. The level gives its priority in the journal.
    pub(super) fn print(&self, level: Level, text: &str) {
        self.queue.push(self.format.raw(level, text), self.format);
    }

    /// Waits until all queued lines are written, at most `timeout`.
    pub(super) fn flush_within(&self, timeout: Duration) {
        let state = self.queue.lock();
        let _ = self.queue.emptied.wait_timeout_while(state, timeout, |state| state.has_work());
    }
}

impl Log for StderrLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = self.format.line(record.level(), &without_numbers(&record.args().to_string()));
            self.queue.push(line, self.format);
        }
    }

    fn flush(&self) {
        self.flush_within(FLUSH_TIMEOUT);
    }
}

impl Queue {
    /// Locks the state. No code that runs under the lock panics, so a poisoned lock is used as it is.
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a line, after a report of the lines lost before it; counts it as lost if both do not fit.
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

    /// Waits for the next line to write and takes it.
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

    /// Records that the writer has finished a line.
    fn written(&self, line: &Line, is_written: bool) {
        let mut state = self.lock();
        state.writing = false;
        if !is_written {
            // The next line reports it: a report now would fail, too.
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

    /// Returns the line that reports the lost lines, if there are any.
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

/// Writes all bytes and waits for the descriptor without a limit, also if another process has made it non-blocking.
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

/// Waits until the descriptor is writable or has an error; `EAGAIN` after the timeout.
fn wait_writable(descriptor: impl AsFd, timeout: Option<&Timespec>) -> Result<(), Errno> {
    let mut wanted = [PollFd::new(&descriptor, PollFlags::OUT)];
    match poll(&mut wanted, timeout) {
        Ok(0) => Err(Errno::AGAIN),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Prints a text without the thread and without waiting: only if standard error is writable, and at most [`PIPE_BUF`]
/// bytes, which a writable pipe takes at once.
pub(super) fn print_at_once(text: &str) {
    let stderr = rustix::stdio::stderr();
    if wait_writable(stderr, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok() {
        let line = format!("{text}\n");
        let _ = rustix::io::write(stderr, &line.as_bytes()[..line.len().min(PIPE_BUF)]);
    }
}

/// The longest wait for standard error when the process ends.
///
/// Hit by: store. Scope: daemon. Over it: the lines are lost. Seen: nowhere.
pub(super) const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum number of bytes of queued lines.
///
/// Hit by: store. Scope: daemon. Over it: the line is lost. Seen: log, `lines were lost`.
const QUEUE_LEN_MAX: usize = 1 << 20;
/// Memory of a queued line besides its text, in bytes.
const LINE_OVERHEAD: usize = 64;
/// Maximum number of bytes of an atomic write to a pipe (pipe(7)).
const PIPE_BUF: usize = 4096;

#[cfg(test)]
mod tests;
