//! The log to syslog at `/dev/log`.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use log::{Level, Log, Metadata, Record};
use target_engine::system_text::without_numbers;

use super::stderr::priority;

/// A logger that sends datagrams to syslog, in the local form of RFC 3164: without time and host, which syslog adds.
///
/// It never waits. A line that syslog does not accept at once is lost and counted; the next accepted line is preceded
/// by a report. Each line is sent to the path, so a restarted syslog receives it.
pub(super) struct Syslog {
    socket: UnixDatagram,
    path: PathBuf,
    lost: AtomicU64,
}

impl Syslog {
    /// Opens a socket that sends to the path.
    ///
    /// # Errors
    /// No socket is bound to the path, or it cannot be connected to.
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        UnixDatagram::unbound()?.connect(path)?;
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path: path.to_owned(), lost: AtomicU64::new(0) })
    }

    /// Sends one line; returns whether syslog accepted it.
    fn send(&self, level: Level, text: std::fmt::Arguments<'_>) -> bool {
        let line = format!("<{}>tgtd[{}]: {text}", DAEMON | priority(level), std::process::id());
        self.socket.send_to(line.as_bytes(), &self.path).is_ok()
    }
}

impl Log for Syslog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0
            && self.send(Level::Warn, format_args!("{lost} lines were lost: syslog did not take them"))
        {
            lost = 0;
        }
        let text = record.args().to_string();
        lost += u64::from(!self.send(record.level(), format_args!("{}", without_numbers(&text))));
        self.lost.fetch_add(lost, Ordering::Relaxed);
    }

    fn flush(&self) {}
}

/// The facility `daemon`, as part of a priority (RFC 3164 4.1.1).
const DAEMON: u8 = 3 << 3;

#[cfg(test)]
mod tests {
    use log::LevelFilter;

    use super::*;

    fn log_line(syslog: &Syslog, level: Level, text: &str) {
        syslog.log(&Record::builder().level(level).args(format_args!("{text}")).build());
    }

    fn received(listener: &UnixDatagram) -> String {
        let mut bytes = [0; 1000];
        let len = listener.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    }

    #[test]
    fn lines_reach_syslog_or_are_counted_as_lost() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        assert!(Syslog::open(&path).is_err(), "no socket is bound");
        let mut listener = UnixDatagram::bind(&path).unwrap();
        let syslog = Syslog::open(&path).unwrap();
        log::set_max_level(LevelFilter::Info);
        let expected = |priority: u8, text: &str| format!("<{priority}>tgtd[{}]: {text}", std::process::id());
        for (level, priority) in [(Level::Error, 27), (Level::Warn, 28), (Level::Info, 30)] {
            log_line(&syslog, level, "text (os error 2)");
            assert_eq!(received(&listener), expected(priority, "text"));
        }
        log_line(&syslog, Level::Debug, "not wanted");
        log::set_max_level(LevelFilter::Debug);
        log_line(&syslog, Level::Debug, "wanted");
        assert_eq!(received(&listener), expected(31, "wanted"));

        // Nothing is received until the queue is full and three lines are lost.
        let mut sent = 0;
        while syslog.lost.load(Ordering::Relaxed) < 3 {
            log_line(&syslog, Level::Info, "more");
            sent += 1;
        }
        (3..sent).for_each(|_| assert_eq!(received(&listener), expected(30, "more")));
        log_line(&syslog, Level::Info, "again");
        assert_eq!(received(&listener), expected(28, "3 lines were lost: syslog did not take them"));
        assert_eq!(received(&listener), expected(30, "again"));

        drop(listener);
        std::fs::remove_file(&path).unwrap();
        log_line(&syslog, Level::Info, "lost");
        listener = UnixDatagram::bind(&path).unwrap();
        log_line(&syslog, Level::Info, "sent again");
        assert_eq!(received(&listener), expected(28, "1 lines were lost: syslog did not take them"));
        assert_eq!(received(&listener), expected(30, "sent again"));
    }
}
