//! A server in this process, on loopback and with its own directory.

use std::io::{BufRead, Read};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, RecvError, Sender, channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use scsi_core::store::Backstore;
use tempfile::TempDir;

use super::*;
use crate::control::request::Binding;
use crate::control::wire::{Mode, Op, REPLY_HEADER_LEN, Record, ReplyHeader, RequestHeader};
use crate::limits::CONTROL_CONNECTIONS_MAX;
use crate::model::Tid;
use crate::model::store::{StoreKind, StoreSpec};
use crate::test_store::TestStore;

struct NoStores;

impl StoreOpener for NoStores {
    fn kinds(&self) -> Vec<StoreKind> {
        vec![StoreKind { name: "rdwr", takes_flags: true, needs_medium: false }]
    }

    fn open(&self, _: &StoreSpec) -> Result<Arc<dyn Backstore>, String> {
        Err("there are none".to_owned())
    }
}

/// A server on its own thread.
struct Running {
    thread: JoinHandle<Result<(), ServerError>>,
    handle: ShutdownHandle,
    path: PathBuf,
    portal: PortalSpec,
    _directory: TempDir,
}

fn builder(path: &Path) -> Builder {
    Server::builder(Arc::new(NoStores))
        .portals(PortalOptions::parse("portal=127.0.0.1:0").unwrap())
        .control_socket(path.to_owned())
}

fn start(requests: Vec<Request>) -> Running {
    start_with(requests, |builder| builder)
}

fn start_with(requests: Vec<Request>, adjust: impl FnOnce(Builder) -> Builder + Send + 'static) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket.0");
    let (send, bound) = channel();
    let own = path.clone();
    let thread = std::thread::spawn(move || {
        let mut builder = adjust(builder(&own).requests(requests));
        let handle = builder.shutdown_handle().unwrap();
        let server = builder.on_ready(|_| {}).bind().unwrap();
        send.send((handle, server.portals())).unwrap();
        server.run()
    });
    let (handle, portals) = bound.recv().unwrap();
    Running { thread, handle, path, portal: portals[0].clone(), _directory: directory }
}

impl Running {
    fn end(self) {
        self.handle.shutdown();
        self.thread.join().unwrap().unwrap();
        assert!(UnixStream::connect(&self.path).is_err(), "no socket listens any more");
        assert!(self.path.exists(), "the socket's name stays, as in tgt");
    }

    /// Sends bytes in pieces of this length. Returns what is received until the server closes.
    fn send(&self, bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut stream = UnixStream::connect(&self.path).unwrap();
        for piece in bytes.chunks(piece) {
            if stream.write_all(piece).is_err() {
                break;
            }
        }
        let mut reply = Vec::new();
        // The server may close before it reads all bytes.
        let _ = stream.read_to_end(&mut reply);
        reply
    }

    fn ask(&self, mode: Mode, op: Op, tid: i32, payload: &[u8]) -> (u32, String) {
        let header = RequestHeader { mode: mode as u32, op: op as u32, tid, ..RequestHeader::default() };
        let reply = self.send(&Record::new(header, payload.to_vec()).encode(), usize::MAX);
        let (header, text) = reply.split_first_chunk::<REPLY_HEADER_LEN>().unwrap();
        let header = ReplyHeader::decode(header);
        assert_eq!(header.text_len(), text.len());
        (header.error, String::from_utf8(text.to_vec()).unwrap())
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect((self.portal.host.as_str(), self.portal.port)).unwrap()
    }

    /// Whether a connection of an initiator is closed without a response.
    fn rejects(&self) -> bool {
        matches!(self.connect().read(&mut [0]), Ok(0) | Err(_))
    }
}

fn stays_open(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
    matches!(stream.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

fn target() -> Vec<Request> {
    let tid = Tid::new(1).unwrap();
    let rule = Binding::Initiators { address: Some("ALL".to_owned()), name: None };
    vec![Request::TargetNew { tid, name: "iqn.x:one".to_owned() }, Request::TargetBind { tid, rule }]
}

/// SCSI ID and serial number of target 1's controller, by a server of this identity.
fn names_by(identity: Option<Identity>) -> [String; 2] {
    let server = start_with(target(), move |builder| match identity {
        Some(identity) => builder.identity(identity),
        None => builder,
    });
    let shown = server.ask(Mode::Target, Op::Show, -1, b"").1;
    server.end();
    ["SCSI ID: ", "SCSI SN: "].map(|label| {
        let line = shown.lines().find_map(|line| line.trim_start().strip_prefix(label));
        line.unwrap_or_else(|| panic!("no {label} in {shown}")).to_owned()
    })
}

#[test]
fn servers_without_an_identity_name_their_units_differently() {
    let [one, other] = [names_by(None), names_by(None)];
    assert!(one[0] != other[0] && one[1] != other[1], "{one:?} and {other:?}");
}

#[test]
fn server_with_a_given_identity_names_its_units_as_before() {
    let [first, again, elsewhere] = [7, 7, 8].map(|number| names_by(Some(Identity::Given([number; 16]))));
    assert_eq!(first, again);
    assert!(first[0] != elsewhere[0] && first[1] != elsewhere[1], "{first:?} and {elsewhere:?}");
}

#[test]
fn names_of_tgt_are_used_on_request_only() {
    let names = ["IET     00010000", "beaf10"];
    assert_eq!(names_by(Some(Identity::Compatible)), names);
    assert_ne!(names_by(None), names);
}

#[test]
fn request_may_arrive_in_pieces() {
    let server = start(target());
    let header = RequestHeader { mode: 1, op: 2, ..RequestHeader::default() };
    let record = Record::new(header, Vec::new()).encode();
    let whole = server.send(&record, usize::MAX);
    assert!(whole.ends_with(b"    ACL information:\n        ALL\n\0"));
    for piece in [1, 7, 119] {
        assert_eq!(server.send(&record, piece), whole, "pieces of {piece}");
    }
    server.end();
}

#[test]
fn invalid_records_are_dropped() {
    let server = start(Vec::new());
    let with_len = |len: u32| RequestHeader { len, ..RequestHeader::default() }.encode();
    for record in [with_len(0), with_len(119), with_len(120 + 8193), with_len(u32::MAX)] {
        assert_eq!(server.send(&record, usize::MAX), b"");
    }
    // A client that disconnects in the middle.
    UnixStream::connect(&server.path).unwrap().write_all(&[0; 50]).unwrap();
    let no_name = "--targetname is missing: the new target's iSCSI name\0";
    assert_eq!(server.ask(Mode::Target, Op::New, 1, b""), (17, no_name.to_owned()));
    let no_change = "--name and --value are missing\0";
    assert_eq!(server.ask(Mode::Target, Op::Update, 1, b""), (17, no_change.to_owned()));
    assert_eq!(server.ask(Mode::Target, Op::Show, -1, b""), (0, String::new()));
    server.end();
}

#[test]
fn targets_are_made_and_deleted() {
    let server = start(Vec::new());
    assert_eq!(server.ask(Mode::Target, Op::New, 1, b"targetname=iqn.x:one\0").0, 0);
    assert_eq!(server.ask(Mode::System, Op::Delete, -1, b"").0, 17);
    let unit = server.ask(Mode::LogicalUnit, Op::New, 1, b"path=/nowhere\0");
    assert_eq!(unit.0, 17, "a number that is none");
    assert_eq!(server.ask(Mode::Target, Op::Delete, 1, b"").0, 0);
    assert_eq!(server.ask(Mode::Target, Op::New, 1, b"targetname=iqn.x:one\0").0, 0, "its number is free");
    assert_eq!(server.ask(Mode::Target, Op::Delete, 1, b"").0, 0);
    assert_eq!(server.ask(Mode::System, Op::Delete, -1, b"").0, 0);
    server.thread.join().unwrap().unwrap();
    assert!(UnixStream::connect(&server.path).is_err());
}

#[test]
fn initiators_are_rejected_without_targets() {
    let server = start(Vec::new());
    assert!(server.rejects(), "no target");
    assert_eq!(server.ask(Mode::Target, Op::New, 1, b"targetname=iqn.x:one\0").0, 0);
    assert!(stays_open(&mut server.connect()));
    assert_eq!(server.ask(Mode::System, Op::Update, -1, b"State=offline\0").0, 0);
    assert!(server.rejects(), "offline");
    server.end();
}

#[test]
fn peer_that_is_no_initiator_is_rejected() {
    let server = start(target());
    let (mut waiting, mut scanner) = (server.connect(), server.connect());
    scanner.write_all(b"GET / HTTP/1.1\r\nHost: storage.example.com\r\nAccept: */*\r\n\r\n").unwrap();
    let mut reply = Vec::new();
    let _ = scanner.read_to_end(&mut reply);
    assert!(stays_open(&mut waiting), "somebody else's connection goes on");
    server.end();
}

#[test]
fn failed_first_request_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut requests = target();
    requests.extend(target());
    let server = builder(&directory.path().join("s")).requests(requests).bind().unwrap();
    match server.run() {
        Err(ServerError::Request { request, error }) => {
            assert_eq!(request, "target 1, iqn.x:one");
            assert_eq!(error, crate::control::error::TgtadmError::TargetExists.into());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn failures_to_start_name_their_cause() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket.0");
    let fails = |builder: Builder| builder.bind().map(drop).unwrap_err().to_string();

    let missing = directory.path().join("no/such/socket.0");
    let said = fails(builder(&missing));
    assert!(said.starts_with("cannot open the lock file") && said.contains("socket.0.lock"), "{said}");

    let file = directory.path().join("file");
    File::create(&file).unwrap();
    let said = fails(builder(&file.join("socket.0")).make_socket_directory(true));
    assert!(said.starts_with("cannot make the directory"), "{said}");

    let said = fails(builder(&directory.path().join("x".repeat(108))));
    assert!(said.contains("longer than 107 bytes"), "{said}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let portal = format!("portal={}", taken.local_addr().unwrap());
    let said = fails(builder(&path).portals(PortalOptions::parse(&portal).unwrap()));
    assert!(said.starts_with("cannot listen on the portal 127.0.0.1:"), "{said}");

    let said = fails(builder(&path).portals(PortalOptions::parse("portal=no-such-host.invalid").unwrap()));
    assert!(said.starts_with("cannot listen on the portal no-such-host.invalid:3260"), "{said}");

    let in_the_way = directory.path().join("socket.1");
    std::fs::create_dir(&in_the_way).unwrap();
    let said = fails(builder(&in_the_way));
    assert!(said.starts_with("cannot listen on the management socket"), "{said}");
}

#[test]
fn stale_socket_is_replaced_and_directory_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tgtd/socket.0");
    let server = builder(&path).make_socket_directory(true).bind().unwrap();
    drop(server);
    assert!(path.exists());
    builder(&path).bind().unwrap();
}

/// The lock belongs to a process, so another one must hold it: this one again, with only the next test.
#[test]
fn another_daemon_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket.0");
    let mut other = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "runtime::server::tests::the_other_daemon"])
        .env(HOLD, &path)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = io::BufReader::new(other.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("held")));
    let error = builder(&path).bind().map(drop).unwrap_err().to_string();
    assert_eq!(error, format!("another tgtd is using {}.lock", path.display()));
    drop(other.stdin.take());
    assert!(other.wait().unwrap().success());
    builder(&path).bind().unwrap();
}

/// Holds a lock for [`another_daemon_is_named`], which starts it with a path; else it has nothing to do.
#[test]
fn the_other_daemon() {
    if let Some(path) = std::env::var_os(HOLD) {
        let _lock = take_lock(Path::new(&path)).unwrap();
        println!("held");
        let _ = io::stdin().read_to_end(&mut Vec::new());
    }
}

const HOLD: &str = "TGT_TEST_HOLDS_THE_LOCK";

#[test]
fn paths_end_with_the_control_port() {
    assert_eq!(socket_path(None, 0), Path::new("/var/run/tgtd/socket.0"));
    assert_eq!(socket_path(Some(OsStr::new("/run/x/s")), 32767), Path::new("/run/x/s.32767"));
}

/// Opens stores whose close waits for a message, and sends one when it ends.
struct SlowStores {
    go: Arc<Mutex<Receiver<()>>>,
    closed: Sender<()>,
}

impl StoreOpener for SlowStores {
    fn kinds(&self) -> Vec<StoreKind> {
        NoStores.kinds()
    }

    fn open(&self, _: &StoreSpec) -> Result<Arc<dyn Backstore>, String> {
        let (go, closed) = (Arc::clone(&self.go), self.closed.clone());
        Ok(Arc::new(TestStore::idle(1 << 20).on_drop(move || {
            let _ = go.lock().recv();
            let _ = closed.send(());
        })))
    }
}

#[test]
fn server_closes_its_stores_within_bounded_time() {
    for waits in [true, false] {
        let (go, wait) = channel();
        let (closed, was_closed) = channel();
        let stores = SlowStores { go: Arc::new(Mutex::new(wait)), closed };
        let server = start_with(target(), |builder| Builder { opener: Arc::new(stores), ..builder });
        let header = RequestHeader { mode: 2, op: 0, tid: 1, lun: 1, ..RequestHeader::default() };
        let reply = server.send(&Record::new(header, b"path=/x\0".to_vec()).encode(), usize::MAX);
        let (header, _) = reply.split_first_chunk::<REPLY_HEADER_LEN>().unwrap();
        assert_eq!(ReplyHeader::decode(header).error, 0, "{reply:?}");
        if waits {
            go.send(()).unwrap();
        }
        server.end();
        assert_eq!(was_closed.try_recv().is_ok(), waits);
        drop(go);
        assert_eq!(was_closed.recv(), if waits { Err(RecvError) } else { Ok(()) });
    }
}

#[test]
fn silent_clients_yield_to_a_new_one_and_waiting_ones_do_not() {
    let (go, wait) = channel();
    let (closed, _was_closed) = channel();
    let stores = SlowStores { go: Arc::new(Mutex::new(wait)), closed };
    let server = start_with(target(), |builder| Builder { opener: Arc::new(stores), ..builder });
    let unit = RequestHeader { mode: 2, op: 0, tid: 1, lun: 1, ..RequestHeader::default() };
    server.send(&Record::new(unit.clone(), b"path=/x\0".to_vec()).encode(), usize::MAX);
    // The reply to the deletion waits for the store.
    let deletion = Record::new(RequestHeader { op: 1, ..unit }, Vec::new()).encode();
    let mut waiting = UnixStream::connect(&server.path).unwrap();
    waiting.write_all(&deletion).unwrap();
    let silent: Vec<_> =
        (0..3 * CONTROL_CONNECTIONS_MAX).map(|_| UnixStream::connect(&server.path).unwrap()).collect();
    assert_eq!(server.ask(Mode::Target, Op::Show, -1, b"").0, 0);
    assert!(matches!((&silent[0]).read(&mut [0]), Ok(0)), "the oldest is closed");
    let mut newest = silent.last().unwrap();
    newest.set_nonblocking(true).unwrap();
    let last = newest.read(&mut [0]);
    assert!(last.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock), "the newest is not");
    go.send(()).unwrap();
    let mut reply = Vec::new();
    waiting.read_to_end(&mut reply).unwrap();
    let header = ReplyHeader::decode(reply.first_chunk().unwrap());
    assert_eq!(header.error, 0, "{reply:?}");
    server.end();
}
