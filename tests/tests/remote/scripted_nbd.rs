//! `nbd` over a server that does what no real server does, or does it when the test says so.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use backstores::waiting::Waiting;
use scsi_core::store::{Block, BlockOp, Completion, IoError, IoErrorKind, Notice};
use tgt_tests::servers::scripted_nbd::{
    EXPORT, ScriptedConnection, ScriptedExport, ScriptedNbd, ScriptedRequest, chunk, simple,
};

use crate::harness::wait_until;
use crate::nbd::{open, try_open};

const PATIENCE: Duration = Duration::from_secs(30);
/// Flag CAN_MULTI_CONN.
const MULTI_CONN: u16 = 1 << 8;
/// Flag SEND_FLUSH.
const FLUSH: u16 = 1 << 2;

type Disk = Arc<Mutex<Vec<u8>>>;

/// A disk of 1 MiB with bytes that depend on their offset.
fn disk() -> Disk {
    let bytes = (0..1u32 << 18).flat_map(|word| (word.wrapping_mul(2_654_435_761)).to_le_bytes());
    Arc::new(Mutex::new(bytes.collect()))
}

fn part(disk: &Disk, offset: usize, len: usize) -> Vec<u8> {
    disk.lock().unwrap()[offset..offset + len].to_vec()
}

/// A server whose first connection gives its first request to `first`, and whose others are honest.
fn first_connection(
    disk: &Disk,
    exports: [ScriptedExport; 2],
    first: impl Fn(&mut ScriptedConnection, ScriptedRequest, &Disk) -> io::Result<()> + Send + Sync + 'static,
) -> ScriptedNbd {
    let disk = Arc::clone(disk);
    ScriptedNbd::start(move |number, mut connection| {
        connection.handshake(exports[number.min(1)])?;
        if number == 0 {
            let request = connection.request()?;
            return first(&mut connection, request, &disk);
        }
        connection.serve(&disk)
    })
}

/// The notices of a store so far.
fn notices(store: &mut Waiting) -> Vec<Notice> {
    let mut notices = Vec::new();
    store.engine().notices(&mut notices);
    notices.into_iter().map(|(_, notice)| notice).collect()
}

fn read(offset: u64, len: usize) -> BlockOp {
    BlockOp::Read { offset, into: Block::new(len) }
}

fn write(offset: u64, len: usize, fill: u8) -> BlockOp {
    let mut from = Block::new(len);
    from.fill(fill);
    BlockOp::Write { offset, from, fua: false }
}

/// A chunk with data of a read, from byte `from` of the request on.
fn data(request: &ScriptedRequest, disk: &Disk, done: bool, from: u64, len: usize) -> Vec<u8> {
    let offset = request.offset + from;
    chunk(request.cookie, done, 1, &[&offset.to_be_bytes()[..], &part(disk, offset as usize, len)].concat())
}

#[test]
fn request_is_repeated_after_a_violation_of_the_protocol() {
    type Lie = fn(&ScriptedRequest, &Disk) -> Vec<u8>;
    let lies: [(&str, Lie); 8] = [
        ("overlapping chunks", |request, disk| {
            [data(request, disk, false, 0, 4096), data(request, disk, true, 2048, 2048)].concat()
        }),
        ("a chunk behind the last one", |request, disk| {
            [data(request, disk, true, 0, 8192), data(request, disk, true, 0, 8192)].concat()
        }),
        ("half of the data", |request, disk| data(request, disk, true, 0, 4096)),
        ("data outside of the request", |request, disk| data(request, disk, true, 4096, 8192)),
        ("an unknown cookie", |request, _| simple(request.cookie ^ 1 << 40, 0)),
        ("garbage", |_, _| vec![0x55; 100]),
        ("a simple reply to a read", |request, _| simple(request.cookie, 0)),
        ("the server shuts down", |request, _| simple(request.cookie, 108)),
    ];
    for (what, lie) in lies {
        let disk = disk();
        let server = first_connection(&disk, [EXPORT; 2], move |connection, request, disk| {
            connection.send(&lie(&request, disk))?;
            connection.wait_for_end()
        });
        let store = open(&server.uri(), "");
        let mut store = Waiting::new(&*store).unwrap();
        for _ in 0..2 {
            let block = store.read(4096, 8192).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(*block == *part(&disk, 4096, 8192), "{what}");
        }
    }
}

#[test]
fn export_that_has_another_size_after_a_reconnect_is_reported() {
    let disk = disk();
    let grown = ScriptedExport { size: 2 << 20, ..EXPORT };
    let server = first_connection(&disk, [EXPORT, grown], |_, _, _| Ok(()));
    let store = open(&server.uri(), "");
    let mut waiting = Waiting::new(&*store).unwrap();
    assert_eq!(store.geometry().size, 1 << 20);
    waiting.read(0, 512).unwrap();
    assert!(notices(&mut waiting).contains(&Notice::Resized));
    assert_eq!(store.refresh().unwrap().size, 2 << 20);

    let shrunk = ScriptedExport { size: 1 << 19, ..EXPORT };
    let server = first_connection(&disk, [EXPORT, shrunk], |_, _, _| Ok(()));
    let store = open(&server.uri(), "");
    let mut waiting = Waiting::new(&*store).unwrap();
    let error = waiting.read((1 << 19) - 512, 1024).unwrap_err();
    assert_eq!((error.kind(), error.offset()), (IoErrorKind::OutOfRange, Some(1 << 19)));
    waiting.read(0, 512).unwrap();
}

#[test]
fn flags_are_those_of_the_present_connection() {
    let read_only = ScriptedExport { flags: EXPORT.flags | 2, ..EXPORT };
    let server = first_connection(&disk(), [EXPORT, read_only], |_, _, _| Ok(()));
    let store = open(&server.uri(), "");
    let mut waiting = Waiting::new(&*store).unwrap();
    assert_eq!(waiting.write(0, &[1; 512], false), Err(IoError::READ_ONLY));
    waiting.read(0, 512).unwrap();
    assert!(store.capabilities().read_only);
}

#[test]
fn operations_wait_while_the_export_does_not_fit_the_unit() {
    let disk = disk();
    let shared = Arc::clone(&disk);
    let server = ScriptedNbd::start(move |number, mut connection| {
        let coarse = ScriptedExport { block: Some([4096, 4096, 1 << 20]), ..EXPORT };
        connection.handshake(if matches!(number, 1 | 2) { coarse } else { EXPORT })?;
        if number == 0 { connection.request().map(drop) } else { connection.serve(&shared) }
    });
    let store = open(&server.uri(), "");
    let mut waiting = Waiting::new(&*store).unwrap();
    assert!(*waiting.read(512, 512).unwrap() == *part(&disk, 512, 512));
    let notices = notices(&mut waiting);
    assert!(notices.ends_with(&[Notice::Unreachable, Notice::Back]), "{notices:?}");
}

#[test]
fn only_the_timeout_ends_operations_of_a_silent_server() {
    let server = ScriptedNbd::start(|_, mut connection| {
        connection.handshake(EXPORT)?;
        connection.wait_for_end()
    });
    let store = open(&server.uri(), "timeout=8");
    let mut waiting = Waiting::new(&*store).unwrap();
    let tags = [read(0, 512), write(0, 512, 1), BlockOp::Flush].map(|op| waiting.submit(op));
    waiting.engine().kick();
    let (begun, mut done) = (Instant::now(), Vec::new());
    for second in 0..8 {
        waiting.handle_timeout(begun + Duration::from_secs(second));
        waiting.engine().reap(&mut done);
        assert!(done.is_empty(), "{second}");
    }
    for second in 8..11 {
        waiting.handle_timeout(begun + Duration::from_secs(second));
    }
    waiting.engine().reap(&mut done);
    done.sort_by_key(|completion: &Completion| completion.tag.0);
    let results: Vec<_> = done.iter().map(|completion| (completion.tag, completion.result)).collect();
    let expected = [IoError::UNREACHABLE, IoError::IN_DOUBT, IoError::IN_DOUBT].map(Err);
    assert_eq!(results, tags.into_iter().zip(expected).collect::<Vec<_>>());
}

#[test]
fn operation_that_was_never_sent_times_out_as_unreachable() {
    let server = ScriptedNbd::start(|number, mut connection| {
        if number == 0 { connection.handshake(EXPORT) } else { connection.wait_for_end() }
    });
    let store = open(&server.uri(), "timeout=8");
    let mut waiting = Waiting::new(&*store).unwrap();
    // The server has closed the connection.
    let begun = Instant::now();
    assert!(waiting.wait_for(1, Duration::from_millis(300)).is_err());
    waiting.submit(write(0, 512, 1));
    waiting.engine().kick();
    for second in 1..12 {
        waiting.handle_timeout(begun + Duration::from_secs(second));
    }
    let mut done = Vec::new();
    waiting.engine().reap(&mut done);
    assert_eq!(done.len(), 1);
    assert_eq!(done[0].result, Err(IoError::UNREACHABLE));
}

#[test]
fn cancelled_operation_is_not_sent_again() {
    let disk = disk();
    let (received, close) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let repeated = Arc::new(Mutex::new(Vec::new()));
    let server = {
        let (disk, received, close) = (Arc::clone(&disk), Arc::clone(&received), Arc::clone(&close));
        let repeated = Arc::clone(&repeated);
        ScriptedNbd::start(move |number, mut connection| {
            connection.handshake(EXPORT)?;
            loop {
                if number == 0 && close.load(Ordering::Acquire) {
                    return Ok(());
                }
                if number == 0 && received.load(Ordering::Acquire) == 2 {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                }
                let request = connection.request()?;
                if number == 0 {
                    received.fetch_add(1, Ordering::Release);
                } else {
                    connection.perform(&request, &disk)?;
                    repeated.lock().unwrap().push(request.command);
                }
            }
        })
    };
    let store = open(&server.uri(), "");
    let mut waiting = Waiting::new(&*store).unwrap();
    let written = waiting.submit(write(0, 512, 0xee));
    let read = waiting.submit(read(0, 512));
    waiting.engine().kick();
    wait_until("the server has both requests", || received.load(Ordering::Acquire) == 2);
    waiting.engine().cancel(written);
    let mut done = Vec::new();
    waiting.engine().reap(&mut done);
    assert!(done.is_empty(), "an operation that was sent is waited for");
    close.store(true, Ordering::Release);
    done = waiting.wait_for(2, PATIENCE).unwrap();
    done.sort_by_key(|completion| completion.tag.0);
    assert_eq!((done[0].tag, done[0].result), (written, Err(IoError::CANCELLED)));
    assert_eq!(done[1].tag, read);
    assert!(done[1].result.is_ok());
    wait_until("the read is repeated", || !repeated.lock().unwrap().is_empty());
    assert_eq!(*repeated.lock().unwrap(), [0], "only the read");
}

#[test]
fn writes_that_may_be_lost_are_reported_where_the_server_has_a_cache() {
    let without_flush = ScriptedExport { flags: EXPORT.flags & !FLUSH, ..EXPORT };
    for (export, bsopts, expected) in
        [(EXPORT, "", 1), (EXPORT, "after-reconnect=trust", 0), (without_flush, "", 0)]
    {
        let server = first_connection(&disk(), [export; 2], |connection, request, disk| {
            connection.perform(&request, disk)
        });
        let store = open(&server.uri(), bsopts);
        let mut waiting = Waiting::new(&*store).unwrap();
        waiting.write(0, &[1; 512], false).unwrap();
        waiting.write(512, &[1; 512], false).unwrap();
        waiting.flush().unwrap();
        let forgotten =
            notices(&mut waiting).into_iter().filter(|notice| *notice == Notice::Forgotten).count();
        assert_eq!(forgotten, expected, "{bsopts}");
    }
}

#[test]
fn requests_are_not_longer_than_the_server_accepts() {
    let disk = disk();
    let longest = Arc::new(AtomicUsize::new(0));
    let server = {
        let (disk, longest) = (Arc::clone(&disk), Arc::clone(&longest));
        ScriptedNbd::start(move |_, mut connection| {
            connection.handshake(ScriptedExport { block: Some([512, 4096, 1 << 16]), ..EXPORT })?;
            loop {
                let request = connection.request()?;
                longest.fetch_max(request.len as usize, Ordering::Relaxed);
                connection.perform(&request, &disk)?;
            }
        })
    };
    let store = open(&server.uri(), "");
    let mut waiting = Waiting::new(&*store).unwrap();
    let data: Vec<u8> = (0..300_032u32).map(|byte| (byte * 7) as u8).collect();
    waiting.write(512, &data, false).unwrap();
    assert!(part(&disk, 512, data.len()) == data);
    assert!(*waiting.read(512, data.len()).unwrap() == *data);
    assert_eq!(longest.load(Ordering::Relaxed), 1 << 16);
}

#[test]
fn full_socket_delays_what_is_not_sent() {
    const LEN: usize = 1 << 14;
    let disk = disk();
    let gate = Arc::new(AtomicBool::new(false));
    let server = {
        let (disk, gate) = (Arc::clone(&disk), Arc::clone(&gate));
        ScriptedNbd::start(move |_, mut connection| {
            connection.handshake(EXPORT)?;
            while !gate.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(1));
            }
            connection.serve(&disk)
        })
    };
    let store = open(&server.uri(), "");
    let mut waiting = Waiting::new(&*store).unwrap();
    // More than a socket holds, and each part of the disk many times.
    let rounds = 16u8;
    let tags: Vec<_> = (0..rounds)
        .flat_map(|round| (0..64).map(move |at| write(at * LEN as u64, LEN, round + 1)))
        .map(|op| waiting.submit(op))
        .collect();
    waiting.engine().kick();
    let last = *tags.last().unwrap();
    waiting.engine().cancel(last);
    let mut done = Vec::new();
    waiting.engine().reap(&mut done);
    assert_eq!(done.len(), 1, "what is not sent is cancelled at once");
    assert_eq!((done[0].tag, done[0].result), (last, Err(IoError::CANCELLED)));
    gate.store(true, Ordering::Release);
    let done = waiting.wait_for(tags.len() - 1, PATIENCE).unwrap();
    assert!(done.iter().all(|completion| completion.result.is_ok()));
    let disk = disk.lock().unwrap();
    let (written, rest) = disk.split_at(63 * LEN);
    assert!(written.iter().all(|byte| *byte == rounds), "requests are sent in their order");
    assert!(rest.iter().all(|byte| *byte == rounds - 1), "the last one was cancelled");
}

#[test]
fn operations_of_a_lost_connection_use_the_others() {
    let disk = disk();
    let served = Arc::new(Mutex::new(Vec::new()));
    let server = {
        let (disk, served) = (Arc::clone(&disk), Arc::clone(&served));
        ScriptedNbd::start(move |number, mut connection| {
            connection.handshake(EXPORT)?;
            loop {
                let request = connection.request()?;
                served.lock().unwrap().push(number);
                // These connections end at their first requests.
                if matches!(number, 1 | 2) {
                    return Ok(());
                }
                connection.perform(&request, &disk)?;
            }
        })
    };
    let store = open(&server.uri(), "connections=4");
    let mut waiting = Waiting::new(&*store).unwrap();
    let all_have_served = || {
        let served = served.lock().unwrap();
        [0, 1, 2, 3].iter().all(|number| served.contains(number))
    };
    wait_until("the connections share the requests", || {
        (0..16).for_each(|at| _ = waiting.submit(read(at * 4096, 4096)));
        let done = waiting.wait_for(16, PATIENCE).unwrap();
        assert!(done.iter().all(|completion| completion.result.is_ok()));
        all_have_served()
    });
}

#[test]
fn refusals_of_the_opening_say_why() {
    let refusal = |export: ScriptedExport, bsopts: &str| {
        let server = ScriptedNbd::start(move |_, mut connection| {
            connection.handshake(export)?;
            connection.wait_for_end()
        });
        try_open(&server.uri(), bsopts).err().expect("it is refused").to_string()
    };
    let text = refusal(ScriptedExport { size: 0, ..EXPORT }, "");
    assert!(text.contains("the export has 0 bytes"), "{text}");
    let text = refusal(ScriptedExport { block: Some([4096, 4096, 1 << 20]), ..EXPORT }, "");
    assert!(text.contains("use --blocksize 4096"), "{text}");
    let alone = ScriptedExport { flags: EXPORT.flags & !MULTI_CONN, ..EXPORT };
    let text = refusal(alone, "connections=2");
    assert!(text.contains("use connections=1"), "{text}");

    let silent = ScriptedNbd::start(|_, mut connection| connection.wait_for_end());
    let text = try_open(&silent.uri(), "open-timeout=1").err().unwrap().to_string();
    assert!(text.contains("does not answer in time (open-timeout)"), "{text}");
    let closes = ScriptedNbd::start(|_, _| Ok(()));
    let text = try_open(&closes.uri(), "").err().unwrap().to_string();
    assert!(text.contains("the server closes the connection"), "{text}");
    let other = ScriptedNbd::start(|_, mut connection| {
        connection.send(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")?;
        connection.wait_for_end()
    });
    let text = try_open(&other.uri(), "").err().unwrap().to_string();
    assert!(text.contains("it is no NBD server"), "{text}");
    let text = try_open("nbd+unix:///?socket=/nonexistent/socket", "").err().unwrap().to_string();
    assert!(text.contains("/nonexistent/socket: cannot connect: No such file"), "{text}");
    let text = try_open("nbd://nonexistent.invalid/", "open-timeout=5").err().unwrap().to_string();
    assert!(text.starts_with("nbd://nonexistent.invalid/: nonexistent.invalid:10809: "), "{text}");
    let text = try_open("nbd://host/", "conections=2").err().unwrap().to_string();
    assert!(
        text.contains("it accepts: connections, timeout, open-timeout, after-reconnect, size-poll"),
        "{text}"
    );
}

#[test]
fn server_for_one_writer_is_served_by_one_loop_over_the_connection_of_the_opening() {
    let connections = Arc::new(AtomicUsize::new(0));
    let (disk, count) = (disk(), Arc::clone(&connections));
    let server = ScriptedNbd::start(move |_, mut connection| {
        count.fetch_add(1, Ordering::Relaxed);
        connection.handshake(ScriptedExport { flags: EXPORT.flags & !MULTI_CONN, ..EXPORT })?;
        connection.serve(&disk)
    });
    let store = open(&server.uri(), "");
    assert!(store.capabilities().one_loop);
    let mut waiting = Waiting::new(&*store).unwrap();
    waiting.write(0, &[7; 512], false).unwrap();
    let port = waiting.port();
    waiting.engine().detach(port.slot);
    store.flush().unwrap();
    assert_eq!(connections.load(Ordering::Relaxed), 1, "the flush before closing uses it, too");
}
