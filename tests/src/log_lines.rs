//! Collects the log lines of each thread, for tests of the log.

use std::cell::RefCell;
use std::sync::Once;

use log::{LevelFilter, Log, Metadata, Record};

struct Lines;

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("{} {}", record.level(), record.args());
        LINES.with_borrow_mut(|lines| lines.push(line));
    }

    fn flush(&self) {}
}

/// Takes the lines that this thread has logged since the last call; the first call of the process starts collecting.
pub fn take() -> Vec<String> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Fails only if the test has set a logger itself.
        let _ = log::set_logger(&Lines);
        log::set_max_level(LevelFilter::Warn);
    });
    LINES.take()
}
