//! The log in syslog, at `/dev/log`.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use log::{Level, Log, Metadata, Record};

use super::stderr::priority;

/// The machine's log (RFC 3164, as local daemons write it: without time and host, which whoever reads it knows).
///
/// It never waits: a line that syslog does not take at once is lost, and counted for the next that it takes. A syslog
/// that starts anew is found again.
pub(super) struct Syslog {
    socket: UnixDatagram,
    path: PathBuf,
    lost: AtomicU64,
}

impl Syslog {
    /// # Errors
    /// Nobody listens there.
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        UnixDatagram::unbound()?.connect(path)?;
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path: path.to_owned(), lost: AtomicU64::new(0) })
    }

    /// Whether it was taken.
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
        lost += u64::from(!self.send(record.level(), *record.args()));
        self.lost.fetch_add(lost, Ordering::Relaxed);
    }

    fn flush(&self) {}
}

/// The facility, as it stands before a line.
const DAEMON: u8 = 3 << 3;

#[cfg(test)]
mod tests {
    use log::LevelFilter;

    use super::*;

    fn say(syslog: &Syslog, level: Level, text: &str) {
        syslog.log(&Record::builder().level(level).args(format_args!("{text}")).build());
    }

    fn heard(listener: &UnixDatagram) -> String {
        let mut bytes = [0; 1000];
        let len = listener.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    }

    #[test]
    fn lines_reach_syslog_or_are_counted_and_none_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        assert!(Syslog::open(&path).is_err(), "nobody listens");
        let mut listener = UnixDatagram::bind(&path).unwrap();
        let syslog = Syslog::open(&path).unwrap();
        log::set_max_level(LevelFilter::Info);
        let mine = |priority: u8, text: &str| format!("<{priority}>tgtd[{}]: {text}", std::process::id());
        for (level, priority) in [(Level::Error, 27), (Level::Warn, 28), (Level::Info, 30)] {
            say(&syslog, level, "text");
            assert_eq!(heard(&listener), mine(priority, "text"));
        }
        say(&syslog, Level::Debug, "not wanted");
        log::set_max_level(LevelFilter::Debug);
        say(&syslog, Level::Debug, "wanted");
        assert_eq!(heard(&listener), mine(31, "wanted"));

        // Nobody reads, until the queue is full and longer.
        let mut sent = 0;
        while syslog.lost.load(Ordering::Relaxed) < 3 {
            say(&syslog, Level::Info, "more");
            sent += 1;
        }
        (3..sent).for_each(|_| assert_eq!(heard(&listener), mine(30, "more")));
        say(&syslog, Level::Info, "again");
        assert_eq!(heard(&listener), mine(28, "3 lines were lost: syslog did not take them"));
        assert_eq!(heard(&listener), mine(30, "again"));

        drop(listener);
        std::fs::remove_file(&path).unwrap();
        say(&syslog, Level::Info, "nobody is there");
        listener = UnixDatagram::bind(&path).unwrap();
        say(&syslog, Level::Info, "somebody is");
        assert_eq!(heard(&listener), mine(28, "1 lines were lost: syslog did not take them"));
        assert_eq!(heard(&listener), mine(30, "somebody is"));
    }
}
