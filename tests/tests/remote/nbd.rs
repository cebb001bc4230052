//! `nbd` over nbdkit, qemu-nbd and qemu-storage-daemon.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use backstores::contract::{self, Subject};
use backstores::registry::{OpenError, OpenOptions, Registry};
use backstores::waiting::Waiting;
use scsi_core::sense::{AdditionalSense, Sense, SenseKey};
use scsi_core::store::Backstore;
use tgt_tests::servers::nbd::NbdServer;

use crate::client::{BLOCK, Client, End};
use crate::harness::{Daemon, free_port, succeed, target_name, wait_until};
use crate::{flush, pattern};

const MIB: u64 = 1 << 20;

/// Opens a store.
pub(crate) fn try_open(uri: &str, bsopts: &str) -> Result<Arc<dyn Backstore>, OpenError> {
    let options = OpenOptions { path: uri.into(), bsopts: bsopts.to_owned(), ..OpenOptions::default() };
    Registry::builtin().open("nbd", &options)
}

/// [`try_open`] of a server that runs.
#[track_caller]
pub(crate) fn open(uri: &str, bsopts: &str) -> Arc<dyn Backstore> {
    try_open(uri, bsopts).unwrap_or_else(|error| panic!("{error}"))
}

fn keeps_the_contract(first: NbdServer, second: NbdServer, bsopts: &'static str) {
    let open_at = move |server: NbdServer| move || open(&server.uri(), bsopts);
    contract::check(&Subject::new(open_at(first)).beside(open_at(second)));
}

#[test]
fn contract_is_kept_over_nbdkit_with_memory() {
    let start = || NbdServer::nbdkit(&["memory", "2M"]);
    keeps_the_contract(start(), start(), "");
}

#[test]
fn contract_is_kept_over_nbdkit_with_a_file_and_several_connections() {
    let start = || NbdServer::nbdkit_file(2 * MIB, &[]);
    keeps_the_contract(start(), start(), "connections=3");
}

#[test]
fn contract_is_kept_over_qemu_nbd() {
    let start = || NbdServer::qemu_nbd(2 * MIB, &["-e", "0"]);
    keeps_the_contract(start(), start(), "");
}

#[test]
fn contract_is_kept_over_qemu_storage_daemon() {
    let start = || NbdServer::storage_daemon(2 * MIB);
    keeps_the_contract(start(), start(), "timeout=60");
}

/// LUN of the NBD unit, and of a unit in memory beside it.
const EXPORT: u16 = 1;
const MEMORY: u16 = 2;

/// A daemon whose target 1 has [`EXPORT`] and [`MEMORY`].
fn daemon(server: &NbdServer, bsopts: &str) -> Daemon {
    let daemon = Daemon::start();
    daemon.target(1);
    add_export(&daemon, server, bsopts);
    daemon.unit_on(1, MEMORY, Path::new("x"), &["--bstype", "memory", "--bsopts", "size=8M"]);
    daemon
}

fn add_export(daemon: &Daemon, server: &NbdServer, bsopts: &str) {
    let uri = server.uri();
    let mut words = vec!["--bstype", "nbd"];
    if !bsopts.is_empty() {
        words.extend(["--bsopts", bsopts]);
    }
    daemon.unit_on(1, EXPORT, Path::new(&uri), &words);
}

/// Writes and reads a part of the unit again and again, and compares; counts the rounds.
struct Load {
    rounds: Arc<AtomicUsize>,
    end: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(daemon: &Daemon, lun: u16) -> Self {
        let (rounds, end) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let threads = (0..4u32).map(|number| {
            let mut client = Client::login(daemon, 1, lun);
            let (rounds, end) = (Arc::clone(&rounds), Arc::clone(&end));
            std::thread::spawn(move || {
                let mut seed = number;
                while !end.load(Ordering::Relaxed) {
                    let lba = number * 1024 + seed % 61 * 16;
                    let data = pattern(seed, 16 * BLOCK);
                    client.write(lba, &data).unwrap();
                    assert!(client.read(lba, 16).unwrap() == data, "round {seed}");
                    seed += 4;
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let threads = threads.collect();
        Self { rounds, end, threads }
    }

    /// Waits until more rounds have ended than run at present.
    fn go_on(&self) {
        let before = self.rounds.load(Ordering::Relaxed);
        wait_until("the load goes on", || {
            self.rounds.load(Ordering::Relaxed) > before + 2 * self.threads.len()
        });
    }

    /// Waits for the end of the present rounds.
    fn end(self) {
        self.end.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn nothing_is_lost_when_the_server_is_killed_or_stopped_and_only_its_unit_waits() {
    let mut server = NbdServer::nbdkit_file(4 * MIB, &[]);
    let daemon = daemon(&server, "");
    let (load, other) = (Load::start(&daemon, EXPORT), Load::start(&daemon, MEMORY));
    let mut flushes = Client::login(&daemon, 1, EXPORT);
    flushes.write(0x1f00, &[1; BLOCK]).unwrap();
    flush(&mut flushes).unwrap();
    load.go_on();
    for round in 0..2 {
        flushes.write(0x1f00, &[2 + round; BLOCK]).unwrap();
        server.kill();
        other.go_on();
        daemon.adm(&["--mode", "target", "--op", "show"]);
        drop(Client::login(&daemon, 1, MEMORY));
        server.start();
        load.go_on();
        let lost = flush(&mut flushes).unwrap_err();
        let End::Status(_, Some(Sense { key: SenseKey::HardwareError, .. })) = lost else {
            panic!("{lost:?}")
        };
        flush(&mut flushes).unwrap();
        assert_eq!(flushes.read(0x1f00, 1).unwrap(), [2 + round; BLOCK]);
    }
    // A session that has written nothing loses nothing.
    flush(&mut Client::login(&daemon, 1, EXPORT)).unwrap();

    server.stop(true);
    other.go_on();
    daemon.adm(&["--mode", "target", "--op", "show"]);
    drop(Client::login(&daemon, 1, MEMORY));
    server.stop(false);
    load.go_on();
    flush(&mut flushes).unwrap();
    load.end();
    other.end();
    let log = daemon.whole_log();
    assert!(log.contains("the connection to"), "{log}");
    assert!(log.contains("the next flush of"), "{log}");
}

#[test]
fn initiators_write_what_qemu_reads() {
    let server = NbdServer::qemu_nbd(4 * MIB, &["-e", "0"]);
    let daemon = daemon(&server, "connections=2");
    let file = daemon.path("expected");
    std::fs::write(&file, pattern(7, 4 * MIB as usize)).unwrap();
    let (file, url) = (file.to_str().unwrap(), daemon.url_of(&target_name(1), EXPORT));
    succeed("qemu-img", ["convert", "-n", "-f", "raw", "-O", "raw", file, &url]);
    succeed("qemu-img", ["compare", "-f", "raw", "-F", "raw", file, &server.uri()]);
    assert!(std::fs::read(server.path("image")).unwrap() == pattern(7, 4 * MIB as usize));
}

#[test]
fn error_of_the_server_has_its_place() {
    let server = NbdServer::nbdkit_file(
        MIB,
        &["--filter=error", "error=EIO", "error-pread-rate=100%", "error-file={dir}/fail"],
    );
    let daemon = daemon(&server, "");
    let mut client = Client::login(&daemon, 1, EXPORT);
    client.read(100, 8).unwrap();
    std::fs::write(server.path("fail"), "").unwrap();
    let failed = client.read(100, 8).unwrap_err();
    let End::Status(_, Some(sense)) = failed else { panic!("{failed:?}") };
    assert_eq!((sense.key, sense.information), (SenseKey::MediumError, Some(100)));
    std::fs::remove_file(server.path("fail")).unwrap();
    client.read(100, 8).unwrap();
}

#[test]
fn paused_server_delays_only_its_unit() {
    let server = NbdServer::nbdkit_file(4 * MIB, &["--filter=pause", "pause-control={dir}/pause"]);
    let daemon = daemon(&server, "");
    let load = Load::start(&daemon, EXPORT);
    let control = |byte: &[u8]| {
        let mut socket = UnixStream::connect(server.path("pause")).unwrap();
        socket.write_all(byte).unwrap();
        socket.read_exact(&mut [0]).unwrap();
    };
    load.go_on();
    control(b"p");
    let other = Load::start(&daemon, MEMORY);
    other.go_on();
    daemon.adm(&["--mode", "target", "--op", "show"]);
    control(b"r");
    load.go_on();
    load.end();
    other.end();
}

/// Waits for CAPACITY DATA HAS CHANGED, and returns the number of blocks then.
fn wait_for_new_capacity(client: &mut Client) -> u64 {
    wait_until("the attention", || match client.command_once(&[0; 6], 0, &[]) {
        Err(End::Status(_, Some(Sense { code: AdditionalSense { asc: 0x2a, ascq: 9 }, .. }))) => true,
        Ok(_) => false,
        Err(end) => panic!("{end:?}"),
    });
    let capacity = client.command(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8, &[]).unwrap();
    u64::from(u32::from_be_bytes(capacity[..4].try_into().unwrap())) + 1
}

#[test]
fn growth_of_the_export_is_reported_at_a_reconnect_and_by_queries() {
    let mut server = NbdServer::nbdkit_file(4 * MIB, &[]);
    let daemon = daemon(&server, "size-poll=1");
    let mut client = Client::login(&daemon, 1, EXPORT);
    client.command(&[0; 6], 0, &[]).unwrap();
    server.set_len(6 * MIB);
    assert_eq!(wait_for_new_capacity(&mut client), 6 * MIB / 512);
    let last = (6 * MIB / 512 - 1) as u32;
    client.write(last, &[9; BLOCK]).unwrap();
    assert_eq!(client.read(last, 1).unwrap(), [9; BLOCK]);

    server.kill();
    server.set_len(8 * MIB);
    server.start();
    assert_eq!(wait_for_new_capacity(&mut client), 8 * MIB / 512);
}

/// Makes certificates in a directory: of an authority, of the server `localhost` and of a client.
fn make_certificates(directory: &Path) {
    let run = |words: &str| {
        let mut command = Command::new("openssl");
        let output = command.args(words.split(' ')).current_dir(directory).stdin(Stdio::null()).output();
        let output =
            output.expect("openssl is missing: install the Debian package openssl, or call tests/run");
        assert!(output.status.success(), "{words}: {output:?}");
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    run(&format!("req -x509 {key} -keyout ca-key.pem -out ca-cert.pem -days 9 -subj /CN=authority"));
    for (name, subject) in [("server", "localhost"), ("client", "client")] {
        let extension = format!("subjectAltName=DNS:{subject}");
        run(&format!(
            "req {key} -keyout {name}-key.pem -out {name}.csr -subj /CN={subject} -addext {extension}"
        ));
        run(&format!(
            "x509 -req -in {name}.csr -CA ca-cert.pem -CAkey ca-key.pem -CAcreateserial -days 9 -copy_extensions copy \
             -out {name}-cert.pem"
        ));
    }
}

#[test]
fn connection_with_tls_is_as_one_without() {
    let certificates = tempfile::tempdir().unwrap();
    make_certificates(certificates.path());
    let directory = certificates.path().to_str().unwrap().to_owned();
    let words =
        [&format!("--tls-certificates={directory}"), "--tls=require", "--tls-verify-peer", "memory", "2M"];
    let start = || NbdServer::nbdkit(&words);
    let secure = move |server: &NbdServer, options: &str| format!("nbds{}{options}", &server.uri()[3..]);
    let with_directory = format!("&tls-certificates={directory}");

    let server = start();
    let refusal = |uri: String| try_open(&uri, "").err().expect("it is refused").to_string();
    let text = refusal(server.uri());
    assert!(text.contains("requires TLS: use nbds:"), "{text}");
    let text = refusal(secure(&server, &format!("{with_directory}&tls-hostname=other")));
    assert!(text.contains("TLS: invalid peer certificate"), "{text}");
    let text = refusal(secure(&server, "&tls-certificates=/nonexistent"));
    assert!(text.contains("/nonexistent/ca-cert.pem"), "{text}");
    let other = tempfile::tempdir().unwrap();
    make_certificates(other.path());
    let text = refusal(secure(&server, &format!("&tls-certificates={}", other.path().display())));
    assert!(text.contains("TLS: invalid peer certificate"), "{text}");
    let plain = NbdServer::nbdkit(&["memory", "2M"]);
    let text = refusal(secure(&plain, &with_directory));
    assert!(text.contains("TLS"), "{text}");

    let unverified = format!("{with_directory}&tls-hostname=other&tls-verify-peer=0");
    open(&secure(&server, &unverified), "").refresh().unwrap();
    let open_at = move |server: NbdServer| {
        let uri = secure(&server, &with_directory);
        move || {
            let _ = &server;
            open(&uri, "connections=2")
        }
    };
    contract::check(&Subject::new(open_at(server)).beside(open_at(start())));
}

#[test]
fn server_is_reached_by_its_name_over_tcp() {
    let port = free_port().port().to_string();
    let server = NbdServer::nbdkit(&["-i", "127.0.0.1", "-p", &port, "memory", "2M"]);
    let store = open(&format!("nbd://localhost:{port}/"), "");
    let mut waiting = Waiting::new(&*store).unwrap();
    waiting.write(0, &[3; 4096], true).unwrap();
    assert_eq!(*waiting.read(0, 4096).unwrap(), [3; 4096]);
    drop(server);
}
