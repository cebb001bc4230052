//! The log into pipes that are read, full or gone.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};

use rustix::fs::OFlags;

use super::*;

const WHOLE: Duration = Duration::from_secs(60);

fn pipe() -> (File, File) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    (reader.into(), writer.into())
}

fn is_nonblocking(file: &File) -> bool {
    rustix::fs::fcntl_getfl(file).unwrap().contains(OFlags::NONBLOCK)
}

/// Writes to a pipe until it is full, and leaves it non-blocking if asked to.
fn fill(mut writer: &File, stays_nonblocking: bool) {
    let flags = rustix::fs::fcntl_getfl(writer).unwrap();
    rustix::fs::fcntl_setfl(writer, flags | OFlags::NONBLOCK).unwrap();
    while writer.write(b"fill\n").is_ok() {}
    while writer.write(b"\n").is_ok() {}
    if !stays_nonblocking {
        rustix::fs::fcntl_setfl(writer, flags).unwrap();
    }
}

/// A log whose thread waits for a full pipe with its first line.
fn stuck() -> (StderrLog, impl Iterator<Item = String>) {
    let (reader, writer) = pipe();
    fill(&writer, false);
    let log = StderrLog::start(writer, Format::Journal).unwrap();
    say(&log, Level::Info, "first");
    while !log.queue.lock().writing {
        thread::yield_now();
    }
    let lines = BufReader::new(reader).lines().map(Result::unwrap);
    (log, lines.filter(|line| line != "fill" && !line.is_empty()))
}

fn say(log: &StderrLog, level: Level, text: &str) {
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
        say(&log, Level::Warn, "one\ntwo");
        log.flush_within(WHOLE);
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
fn texts_without_level_have_the_priority_of_each_line_in_the_journal_only() {
    assert_eq!(Format::Plain.raw(Level::Error, "tgtd: no\nmore"), "tgtd: no\nmore\n");
    assert_eq!(Format::Coloured.raw(Level::Error, "tgtd: no"), "tgtd: no\n");
    assert_eq!(Format::Journal.raw(Level::Error, "tgtd: no\n<6>more"), "<3>tgtd: no\n<3><6>more\n");
    let priorities = [Level::Error, Level::Warn, Level::Info, Level::Debug].map(priority);
    assert_eq!(priorities, [3, 4, 6, 7]);
}

#[test]
fn journal_stream_is_compared_with_device_and_inode() {
    let (reader, _writer) = pipe();
    let found = rustix::fs::fstat(&reader).unwrap();
    assert!(is_stream(&reader, &format!("{}:{}", found.st_dev, found.st_ino)));
    for other in
        ["", ":", "0:0", &format!("{}:{}1", found.st_dev, found.st_ino), &format!("{}", found.st_ino)]
    {
        assert!(!is_stream(&reader, other), "{other}");
    }
}

/// Nothing here returns if a call waits for the pipe.
#[test]
fn full_pipe_loses_lines_which_are_counted_and_reported_once_it_is_read() {
    let (log, mut lines) = stuck();
    let text = "x".repeat(1000);
    let mut said = 0_u64;
    while log.queue.lock().lost < 3 {
        say(&log, Level::Info, &text);
        said += 1;
    }
    log.flush_within(Duration::ZERO);
    assert!(log.queue.lock().has_work());
    assert!(log.queue.lock().len <= QUEUE_LEN_MAX);

    assert_eq!(lines.next().unwrap(), "<6>first");
    let whole = format!("<6>{text}");
    for number in 0..said - 3 {
        assert_eq!(lines.next().unwrap(), whole, "line {number} of {said}");
    }
    // Without a further line.
    assert_eq!(lines.next().unwrap(), "<4>3 lines were lost: standard error did not take them");
    say(&log, Level::Info, "again");
    assert_eq!(lines.next().unwrap(), "<6>again");
    log.flush_within(WHOLE);
    assert!(!log.queue.lock().has_work());
}

#[test]
fn report_stands_where_the_lines_were_lost() {
    let (log, lines) = stuck();
    let too_long = "x".repeat(QUEUE_LEN_MAX);
    say(&log, Level::Info, "second");
    say(&log, Level::Info, &too_long);
    say(&log, Level::Info, &too_long);
    say(&log, Level::Info, "last");
    let report = "<4>2 lines were lost: standard error did not take them";
    assert_eq!(lines.take(4).collect::<Vec<_>>(), ["<6>first", "<6>second", report, "<6>last"]);
}

#[test]
fn standard_error_without_reader_loses_lines_and_the_log_goes_on() {
    let (reader, writer) = pipe();
    drop(reader);
    let log = StderrLog::start(writer, Format::Plain).unwrap();
    for lost in 1..4 {
        say(&log, Level::Info, "nobody is there");
        log.flush_within(WHOLE);
        assert_eq!(log.queue.lock().lost, lost);
    }
}

/// The description is shared with other processes: one of them may have made it so, and the log leaves it as it is.
#[test]
fn nonblocking_pipe_is_waited_for_by_the_thread() {
    let (reader, writer) = pipe();
    let log = StderrLog::start(writer.try_clone().unwrap(), Format::Journal).unwrap();
    say(&log, Level::Info, "blocking");
    log.flush_within(WHOLE);
    assert!(!is_nonblocking(&writer));
    fill(&writer, true);
    say(&log, Level::Info, "at last");
    let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "<6>blocking");
    assert!(lines.any(|line| line.ends_with("<6>at last")));
    assert!(is_nonblocking(&writer));
}
