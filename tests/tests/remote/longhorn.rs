//! `longhorn` over an engine of the tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use backstores::contract::{self, Subject};
use backstores::registry::{OpenError, OpenOptions, Registry};
use backstores::waiting::Waiting;
use scsi_core::store::{Backstore, Block, BlockOp, Completed, IoError};
use tempfile::TempDir;
use tgt_tests::servers::longhorn::LonghornServer;

use crate::client::{BLOCK, Client};
use crate::harness::{Daemon, wait_until};

const SIZE: u64 = 4 << 20;

fn try_open(directory: &TempDir, name: &str, bsopts: &str) -> Result<Arc<dyn Backstore>, OpenError> {
    let path = directory.path().join(name);
    let options = OpenOptions { path, bsopts: bsopts.into(), ..OpenOptions::default() };
    Registry::builtin().open("longhorn", &options)
}

/// A server and a store on it.
fn site(bsopts: &str) -> (TempDir, LonghornServer, Arc<dyn Backstore>) {
    let directory = tempfile::tempdir().unwrap();
    let server = LonghornServer::start(&directory.path().join("a.sock"), SIZE);
    let store = try_open(&directory, "a.sock", &format!("size={SIZE};{bsopts}"));
    (directory, server, store.unwrap_or_else(|error| panic!("{error}")))
}

#[test]
fn contract_is_kept() {
    for reorder in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let servers = std::sync::Mutex::new(Vec::new());
        let next = AtomicU32::new(0);
        contract::check(&Subject::new(move || {
            let name = format!("{}.sock", next.fetch_add(1, Ordering::Relaxed));
            let server = LonghornServer::start(&directory.path().join(&name), SIZE);
            server.set(|switches| switches.reorder = reorder);
            servers.lock().unwrap().push(server);
            try_open(&directory, &name, &format!("size={SIZE}")).unwrap_or_else(|error| panic!("{error}"))
        }));
    }
}

#[test]
fn options_are_checked() {
    let (directory, _server, store) = site("request_timeout=15");
    assert_eq!((store.geometry().size, store.kind()), (SIZE, "longhorn"));
    for (name, bsopts, text) in [
        ("a.sock", "", "'size' in bsopts has the value '': expected the size of the volume in bytes"),
        ("a.sock", "size=7", "expected a multiple of the block length"),
        ("a.sock", "size=1M;request_timeout=soon", "expected a number of seconds"),
        ("a.sock", "size=1M;speed=9", "it accepts: size, request_timeout"),
        ("b.sock", "size=1M", "b.sock: cannot connect: No such file"),
    ] {
        let refusal = match try_open(&directory, name, bsopts) {
            Ok(_) => panic!("{name} opened with {bsopts}"),
            Err(error) => error.to_string(),
        };
        assert!(refusal.contains(text), "{refusal}");
    }
}

#[test]
fn errors_and_the_end_of_the_volume_are_reported() {
    let (_directory, server, store) = site("");
    server.set(|switches| switches.bad = Some(4096..8192));
    let mut waiting = Waiting::new(&*store).unwrap();
    assert_eq!(waiting.read(4096, 512).map(drop), Err(IoError::medium(4096)));
    assert_eq!(waiting.write(4096, &[1; 512], false), Err(IoError::medium(4096)));
    assert_eq!(waiting.read(SIZE - 512, 1024).map(drop), Err(IoError::OUT_OF_RANGE));
    waiting.write(0, &[3; 4096], false).unwrap();
    waiting.run(BlockOp::Discard { offset: 0, len: 1024 }).unwrap();
    assert_eq!((server.seen().unmaps, waiting.read(1024, 1).unwrap()[0]), (1, 3));
}

/// The engine is upgraded: another process takes over the path of the socket.
#[test]
fn unanswered_requests_go_to_the_engine_that_takes_over() {
    let (_directory, server, store) = site("request_timeout=0");
    let mut waiting = Waiting::new(&*store).unwrap();
    waiting.write(0, &[1; 512], false).unwrap();
    server.set(|switches| switches.silent = true);
    for at in 0..8 {
        let mut from = Block::new(512);
        from.fill(at as u8);
        waiting.submit(BlockOp::Write { offset: at * 512, from, fua: false });
    }
    assert!(waiting.wait_for(1, Duration::from_millis(50)).is_err());
    server.set(|switches| switches.silent = false);
    server.restart();
    let done = waiting.wait_for(8, Duration::from_secs(60)).expect("8 writes");
    assert!(done.iter().all(|completion| completion.result == Ok(Completed::Done)));
    assert_eq!((waiting.read(7 * 512, 512).unwrap()[0], server.seen().unanswered), (7, 8));
}

#[test]
fn request_without_answer_fails_after_the_timeout() {
    let (_directory, server, store) = site("request_timeout=15");
    let mut waiting = Waiting::new(&*store).unwrap();
    waiting.read(0, 512).unwrap();
    server.set(|switches| switches.silent = true);
    let mut now = Instant::now();
    waiting.submit(BlockOp::Read { offset: 0, into: Block::new(512) });
    waiting.submit(BlockOp::Write { offset: 0, from: Block::new(512), fua: false });
    let mut done = Vec::new();
    for _ in 0..20 {
        now += Duration::from_secs(1);
        let engine = waiting.engine();
        engine.handle_timeout(now);
        engine.kick();
        engine.reap(&mut done);
    }
    let mut errors: Vec<_> = done.iter().map(|completion| (completion.tag.0, completion.result)).collect();
    errors.sort_by_key(|(tag, _)| *tag);
    let results: Vec<_> = errors.into_iter().map(|(_, result)| result).collect();
    assert_eq!(results, [Err(IoError::UNREACHABLE), Err(IoError::IN_DOUBT)]);
}

/// What Longhorn runs for a volume: it looks for its type among the backing stores, makes the target, and deletes it.
#[test]
fn longhorn_makes_and_deletes_its_target() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("longhorn-volume.sock");
    let server = LonghornServer::start(&socket, SIZE);
    let daemon = Daemon::start();
    let run = |words: &str| daemon.adm(&words.split(' ').collect::<Vec<_>>());
    assert!(run("--op show --mode system").contains(" longhorn"));
    run("--op new --mode target --tid 1 -T iqn.2019-10.io.longhorn:volume");
    run(&format!(
        "--op new --mode logicalunit --tid 1 --lun 1 -b {} --bstype longhorn --bsopts size={SIZE};request_timeout=15",
        socket.display()
    ));
    run("--op bind --mode target --tid 1 -I ALL");

    let name = crate::client::next_name();
    let target = "iqn.2019-10.io.longhorn:volume";
    let mut client = Client::try_login(daemon.portal, crate::client::LOCALHOST, &name, target, 1).unwrap();
    client.write(8, &[5; 8 * BLOCK]).unwrap();
    server.restart();
    assert_eq!(client.read(8, 8).unwrap(), [5; 8 * BLOCK]);
    client.command(&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0, &[]).expect("a flush is done at once");

    run("--op unbind --mode target --tid 1 -I ALL");
    let connections = run("--op show --mode conn --tid 1");
    let number = |key: &str| connections.lines().find_map(|line| line.trim().strip_prefix(key)).unwrap();
    run(&format!(
        "--op delete --mode conn --tid 1 --sid {} --cid {}",
        number("Session: "),
        number("Connection: ")
    ));
    wait_until("the session has ended", || daemon.session_count(1) == 0);
    run("--op delete --mode logicalunit --tid 1 --lun 1");
    run("--op delete --mode target --tid 1");
}
