//! The log to pipes that are read, full, or closed by their reader.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::mpsc;

use rustix::fs::OFlags;

use super::*;

const WAIT_MAX: Duration = Duration::from_secs(60);

fn pipe() -> (File, File) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    (reader.into(), writer.into())
}

fn is_nonblocking(file: &File) -> bool {
    rustix::fs::fcntl_getfl(file).unwrap().contains(OFlags::NONBLOCK)
}

/// Fills a pipe, and leaves it non-blocking if `stays_nonblocking`.
fn fill(mut writer: &File, stays_nonblocking: bool) {
    let flags = rustix::fs::fcntl_getfl(writer).unwrap();
    rustix::fs::fcntl_setfl(writer, flags | OFlags::NONBLOCK).unwrap();
    while writer.write(b"fill\n").is_ok() {}
    while writer.write(b"\n").is_ok() {}
    if !stays_nonblocking {
        rustix::fs::fcntl_setfl(writer, flags).unwrap();
    }
}

/// Returns a log whose thread blocks on a full pipe with its first line, and the lines of the log.
fn blocked() -> (StderrLog, impl Iterator<Item = String>) {
    let (reader, writer) = pipe();
    fill(&writer, false);
    let log = StderrLog::start(writer, Format::Journal).unwrap();
    log_line(&log, Level::Info, "first");
    while !log.queue.lock().writing {
        thread::yield_now();
    }
    let lines = BufReader::new(reader).lines().map(Result::unwrap);
    (log, lines.filter(|line| line != "fill" && !line.is_empty()))
}

fn log_line(log: &StderrLog, level: Level, text: &str) {
    log::set_max_level(LevelFilter::Info);
    log.log(&Record::builder().level(level).args(format_args!("{text}")).build());
}

#[test]
fn lines_are_written_in_their_format() {
    let cases = [
        (Format::Plain, "Z [WARN] one\ntwo\n"),
        (Format::Coloured, "Z [\x1b[33mWARN\x1b[0m] one\ntwo\n"),
        (Format::Journal, "<4>one\n<4>two\n"),
    ];
    for (format, expected) in cases {
        let (mut reader, writer) = pipe();
        let log = StderrLog::start(writer, format).unwrap();
        log_line(&log, Level::Warn, "one (os error 2)\ntwo");
        log.flush_within(WAIT_MAX);
        let mut bytes = [0; 1000];
        let len = reader.read(&mut bytes).unwrap();
        let text = std::str::from_utf8(&bytes[..len]).unwrap();
        assert!(text.ends_with(expected), "{text:?}");
        if format == Format::Journal {
            assert_eq!(text, expected);
        } else {
            let time = text.split_once(' ').unwrap().0;
            assert!(time.starts_with("20") && time.contains('T') && time.ends_with('Z'), "{time}");
        }
    }
}

#[test]
fn line_has_only_time_level_and_text_at_every_level() {
    for level in Level::iter() {
        let line = Format::Plain.line(level, "text");
        assert_eq!(line.split_once("Z ").unwrap().1, format!("[{level}] text\n"));
        let line = Format::Coloured.line(level, "text");
        assert_eq!(
            line.split_once("Z ").unwrap().1,
            format!("[\x1b[{}m{level}\x1b[0m] text\n", colour(level))
        );
    }
}

#[test]
fn raw_text_has_a_priority_per_line_in_the_journal_only() {
    assert_eq!(Format::Plain.raw(Level::Error, "tgtd: no\nmore"), "tgtd: no\nmore\n");
    assert_eq!(Format::Coloured.raw(Level::Error, "tgtd: no"), "tgtd: no\n");
    assert_eq!(Format::Journal.raw(Level::Error, "tgtd: no\n<6>more"), "<3>tgtd: no\n<3><6>more\n");
    let priorities = [Level::Error, Level::Warn, Level::Info, Level::Debug].map(priority);
    assert_eq!(priorities, [3, 4, 6, 7]);
}

#[test]
fn journal_stream_names_device_and_inode() {
    let (reader, _writer) = pipe();
    let found = rustix::fs::fstat(&reader).unwrap();
    assert!(is_stream(&reader, &format!("{}:{}", found.st_dev, found.st_ino)));
    for other in
        ["", ":", "0:0", &format!("{}:{}1", found.st_dev, found.st_ino), &format!("{}", found.st_ino)]
    {
        assert!(!is_stream(&reader, other), "{other}");
    }
}

/// This test hangs if a call waits for the pipe.
#[test]
fn full_pipe_loses_lines_and_they_are_reported_once_it_is_read() {
    let (log, mut lines) = blocked();
    let text = "x".repeat(1000);
    let log = Arc::new(log);
    let (own, line) = (Arc::clone(&log), text.clone());
    let (sender, logged) = mpsc::channel();
    thread::spawn(move || {
        let mut logged = 0_u64;
        while own.queue.lock().lost < 3 {
            log_line(&own, Level::Info, &line);
            logged += 1;
        }
        let _ = sender.send(logged);
    });
    let logged = logged.recv_timeout(WAIT_MAX).expect("no line waits for the pipe");
    log.flush_within(Duration::ZERO);
    assert!(log.queue.lock().has_work());
    assert!(log.queue.lock().len <= QUEUE_LEN_MAX);

    assert_eq!(lines.next().unwrap(), "<6>first");
    let whole = format!("<6>{text}");
    for number in 0..logged - 3 {
        assert_eq!(lines.next().unwrap(), whole, "line {number} of {logged}");
    }
    // The report comes without a further line.
    assert_eq!(lines.next().unwrap(), "<4>3 lines were lost: standard error did not take them");
    log_line(&log, Level::Info, "again");
    assert_eq!(lines.next().unwrap(), "<6>again");
    log.flush_within(WAIT_MAX);
    assert!(!log.queue.lock().has_work());
}

#[test]
fn report_is_written_in_place_of_the_lost_lines() {
    let (log, lines) = blocked();
    let too_long = "x".repeat(QUEUE_LEN_MAX);
    log_line(&log, Level::Info, "second");
    log_line(&log, Level::Info, &too_long);
    log_line(&log, Level::Info, &too_long);
    log_line(&log, Level::Info, "last");
    let report = "<4>2 lines were lost: standard error did not take them";
    assert_eq!(lines.take(4).collect::<Vec<_>>(), ["<6>first", "<6>second", report, "<6>last"]);
}

#[test]
fn closed_pipe_loses_lines_and_the_log_goes_on() {
    let (reader, writer) = pipe();
    drop(reader);
    let log = StderrLog::start(writer, Format::Plain).unwrap();
    for lost in 1..4 {
        log_line(&log, Level::Info, "not read");
        log.flush_within(WAIT_MAX);
        assert_eq!(log.queue.lock().lost, lost);
    }
}

/// Other processes share the open file description, and one of them may have made it non-blocking. The log does not
/// change it.
#[test]
fn thread_waits_for_a_nonblocking_pipe() {
    let (reader, writer) = pipe();
    let log = StderrLog::start(writer.try_clone().unwrap(), Format::Journal).unwrap();
    log_line(&log, Level::Info, "blocking");
    log.flush_within(WAIT_MAX);
    assert!(!is_nonblocking(&writer));
    fill(&writer, true);
    log_line(&log, Level::Info, "at last");
    let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "<6>blocking");
    assert!(lines.any(|line| line.ends_with("<6>at last")));
    assert!(is_nonblocking(&writer));
}
