//! A store that hangs delays only its own commands: management answers, initiators log in and out, and no session, task,
//! descriptor or thread leaks.

use std::sync::atomic::{AtomicBool, Ordering};

use target_engine::control::request::Strings;
use target_engine::control::wire::{Mode, Op, RequestHeader};

use crate::client::{Client, End, next_name};
use crate::harness::{Daemon, target_name, wait_until};

const HANGING: u16 = 1;
const GOOD: u16 = 2;
/// Initiators that log in and out at the same time.
const INITIATORS: usize = 10;
/// Logins of each initiator.
const LOGINS: usize = 20;
/// Most growth of resident memory after the same load, in KiB; allocators keep some memory.
const MEMORY: u64 = 16 << 10;

fn show(daemon: &Daemon, mode: Mode) -> String {
    let tid = if mode == Mode::Connection { 1 } else { -1 };
    daemon.ask(mode, Op::Show, &RequestHeader { tid, ..RequestHeader::default() }, &Strings::default())
}

fn sessions(daemon: &Daemon) -> usize {
    daemon.session_count(1)
}

/// Number of running commands.
fn tasks(daemon: &Daemon) -> u64 {
    let text = daemon.ask(Mode::System, Op::Stat, &RequestHeader::default(), &Strings::default());
    let row =
        |line: &str| line.split_whitespace().map(|word| word.parse().unwrap_or(0)).collect::<Vec<u64>>();
    text.lines().skip(1).map(row).map(|row| row[4] - row[6] + row[8] - row[10]).sum()
}

fn resident(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A target with a unit that can hang and one that does not.
fn daemon() -> Daemon {
    let daemon = Daemon::start_with_hanging_stores();
    daemon.target(1);
    for (lun, kind) in [(HANGING, "hang"), (GOOD, "memory")] {
        let lun = lun.to_string();
        let words = ["--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", &lun, "-b", "64M"];
        let options: &[&str] = if kind == "memory" { &["--bsopts", "size=64M"] } else { &[] };
        daemon.adm(&[&words[..], &["--bstype", kind], options].concat());
    }
    daemon
}

/// Runs initiators that log in, write, read and disconnect; calls `watch` repeatedly meanwhile.
fn run_initiators(daemon: &Daemon, mut watch: impl FnMut()) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let initiators = [(); INITIATORS].map(|()| {
            scope.spawn(|| {
                for round in 0..LOGINS {
                    let mut client = Client::login(daemon, 1, GOOD);
                    client.write(0, &[7; 4096]).unwrap();
                    assert_eq!(client.read(0, 8).unwrap(), [7; 4096], "round {round}");
                }
            })
        });
        let done = &over;
        scope.spawn(move || {
            initiators.into_iter().for_each(|initiator| initiator.join().unwrap());
            done.store(true, Ordering::Relaxed);
        });
        while !over.load(Ordering::Relaxed) {
            watch();
        }
    });
}

/// Starts a read that hangs; the thread returns its result.
fn hang(daemon: &Daemon, name: &str) -> std::thread::JoinHandle<Result<Vec<u8>, End>> {
    let before = tasks(daemon);
    let mut client =
        Client::try_login(daemon.portal, crate::client::LOCALHOST, name, &target_name(1), HANGING)
            .unwrap_or_else(|end| panic!("login failed: {end:?}"));
    let reader = std::thread::spawn(move || client.read(0, 8));
    wait_until("the read hangs", || tasks(daemon) > before);
    reader
}

#[test]
fn management_answers_while_a_unit_hangs_and_nothing_leaks() {
    let daemon = daemon();
    // Allocates what the first use allocates once.
    run_initiators(&daemon, || ());
    drop(Client::login(&daemon, 1, HANGING).read(0, 1).unwrap());
    wait_until("all sessions have ended", || sessions(&daemon) == 0);
    let (descriptors, threads) = (daemon.descriptors(), daemon.threads().len());
    let memory = resident(&daemon);
    for _ in 0..3 {
        daemon.hold(true);
        let name = next_name();
        let reader = hang(&daemon, &name);
        let mut shown = 0;
        run_initiators(&daemon, || {
            let targets = show(&daemon, Mode::Target);
            assert!(targets.contains(&name) && targets.contains("LUN: 2"), "{targets}");
            assert!(show(&daemon, Mode::Connection).contains(&name));
            assert!(tasks(&daemon) >= 1);
            shown += 1;
        });
        assert!(shown > 0 && !reader.is_finished());
        wait_until("only the hung session is left", || sessions(&daemon) == 1 && tasks(&daemon) == 1);
        daemon.hold(false);
        assert_eq!(reader.join().unwrap().unwrap(), [0; 4096]);
        wait_until("all sessions have ended", || sessions(&daemon) == 0 && tasks(&daemon) == 0);
        wait_until("descriptors and threads are as before", || {
            daemon.descriptors() == descriptors && daemon.threads().len() == threads
        });
    }
    let now = resident(&daemon);
    assert!(now < memory + MEMORY, "{memory} KiB before, {now} KiB now");
}

/// A daemon with a hung read, the thread of the read, and the number of descriptors without it.
fn hung() -> (Daemon, std::thread::JoinHandle<Result<Vec<u8>, End>>, usize) {
    let daemon = daemon();
    drop(Client::login(&daemon, 1, HANGING).read(0, 1).unwrap());
    wait_until("the session has ended", || sessions(&daemon) == 0);
    let descriptors = daemon.descriptors();
    daemon.hold(true);
    let reader = hang(&daemon, &next_name());
    (daemon, reader, descriptors)
}

#[test]
fn connection_with_a_hung_command_is_deleted_and_leaves_nothing() {
    let (daemon, reader, descriptors) = hung();
    let connections = show(&daemon, Mode::Connection);
    let sid = connections.lines().find_map(|line| line.strip_prefix("Session: ")).unwrap();
    daemon.adm(&["--mode", "conn", "--op", "delete", "--tid", "1", "--sid", sid, "--cid", "0"]);
    assert_eq!(show(&daemon, Mode::Connection), "", "the connection is not shown while its command hangs");
    assert!(matches!(reader.join().unwrap(), Err(End::Closed(_))), "closed while the store hangs");
    Client::login(&daemon, 1, GOOD).read(0, 8).unwrap();
    daemon.hold(false);
    Client::login(&daemon, 1, HANGING).read(0, 8).unwrap();
    wait_until("all sessions have ended", || sessions(&daemon) == 0 && tasks(&daemon) == 0);
    wait_until("its descriptors are closed", || daemon.descriptors() == descriptors);
}

#[test]
fn target_with_a_hung_unit_is_deleted_by_force() {
    let (daemon, reader, _) = hung();
    let refused = daemon.try_adm(&["--mode", "logicalunit", "--op", "delete", "--tid", "1", "--lun", "1"]);
    assert_eq!(refused.status.code(), Some(22), "{refused:?}");
    let late = daemon.try_adm(&["--mode", "target", "--op", "delete", "--tid", "1", "--force"]);
    assert_eq!(late.status.code(), Some(22), "{late:?}");
    let said = String::from_utf8(late.stderr).unwrap();
    assert!(said.contains("not closed in time; still open: 64M"), "{said}");
    assert_eq!(show(&daemon, Mode::Target), "", "the target is deleted");
    assert!(matches!(reader.join().unwrap(), Err(End::Closed(_))));
    daemon.hold(false);
    let again = ["--mode", "target", "--op", "new", "--tid", "1", "-T", &target_name(1)];
    wait_until("name and tid are free", || daemon.try_adm(&again).status.success());
}

/// Neither the control thread nor a loop closes a store, and the reply follows the close.
#[test]
fn hung_close_of_a_store_delays_only_the_reply() {
    let unit = ["--mode", "logicalunit", "--op", "delete", "--tid", "1", "--lun", "1"];
    let target = ["--mode", "target", "--op", "delete", "--tid", "1", "--force"];
    let update = ["--mode", "logicalunit", "--op", "update", "--tid", "1", "--lun", "1", "-P"];
    let exchange = [&update[..], &["path=32M"]].concat();
    for words in [&unit[..], &target, &exchange] {
        let daemon = daemon();
        // Another target on the same loops.
        daemon.target(2);
        let options = ["--bstype", "memory", "--bsopts", "size=64M", "-b", "x"];
        let new = ["--mode", "logicalunit", "--op", "new", "--tid", "2", "--lun", "2"];
        daemon.adm(&[&new[..], &options].concat());
        let mut clients = [Client::login(&daemon, 1, GOOD), Client::login(&daemon, 2, GOOD)];
        drop(Client::login(&daemon, 1, HANGING).read(0, 1).unwrap());
        if words == exchange {
            daemon.adm(&[&update[..], &["online=0"]].concat());
        }
        daemon.hold_close(true);
        std::thread::scope(|scope| {
            let answer = scope.spawn(|| daemon.try_adm(words));
            let shown = || daemon.adm(&["--mode", "target", "--op", "show"]);
            // The other unit has the same path.
            wait_until("the change is made", || shown().matches("path: 64M").count() < 2);
            for client in &mut clients[usize::from(words == target)..] {
                assert_eq!(client.read(0, 8).unwrap(), [0; 4096]);
            }
            daemon.target(3);
            daemon.unit(3, 1, 1 << 20, &[]);
            daemon.adm(&["--mode", "logicalunit", "--op", "delete", "--tid", "3", "--lun", "1"]);
            assert!(!answer.is_finished(), "{words:?}");
            daemon.hold_close(false);
            let answer = answer.join().unwrap();
            assert!(answer.status.success(), "{answer:?}");
        });
    }
}
