//! The log's lines of one thread, for tests of what the log says.

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

/// The lines that this thread logged since the last call; the first call begins to collect them.
pub fn take() -> Vec<String> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Another logger would be one of the same test.
        let _ = log::set_logger(&Lines);
        log::set_max_level(LevelFilter::Warn);
    });
    LINES.take()
}
