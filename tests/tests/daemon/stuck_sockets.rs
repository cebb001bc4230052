//! States in which a peer can leave a socket for as long as it likes: none of them costs the daemon CPU time while it lasts.

use std::any::Any;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use iscsi_proto::ids::{Cid, Itt, Tsih};
use iscsi_proto::pdu::{LogoutReason, LogoutRequest, TextRequest};
use iscsi_proto::sn::{CmdSn, StatSn};
use rustix::net::SendFlags;
use target_engine::control::wire::{Mode, Op, Record, RequestHeader};

use crate::client::{Client, next_name};
use crate::harness::{Brand, CONTROL_PORT, DISK, Daemon, Thread, target_name};
use crate::hostile::{PING, REQUEST, dial, header, log_in_on};
use crate::scale::target;

const TARGETS: u32 = 600;
/// Times that the daemon is looked at in a state: all before a deadline of the daemon ends the state.
const SAMPLES: usize = 40;

/// A socket in a state, kept open while the state is measured.
type Held = Box<dyn Any>;

/// Whether no thread of the daemon runs for 100 ms: all sleep before and after, since a thread that only waits for a
/// processor uses no time either.
fn is_idle(daemon: &Daemon) -> bool {
    let sleeps = |thread: &Thread| {
        let path = format!("/proc/{}/task/{}/stat", daemon.pid(), thread.number);
        std::fs::read_to_string(path).is_ok_and(|stat| stat.contains(") S "))
    };
    let sample = || {
        let threads = daemon.threads();
        let asleep = threads.iter().all(sleeps);
        asleep.then(|| threads.into_iter().map(|thread| (thread.number, thread.ran)).collect::<Vec<_>>())
    };
    let before = sample();
    std::thread::sleep(Duration::from_millis(100));
    before.is_some() && sample() == before
}

/// A session of target 1.
fn session(daemon: &Daemon) -> TcpStream {
    let mut stream = dial(daemon);
    let text = format!("InitiatorName={}\0TargetName={}\0", next_name(), target_name(1));
    assert!(log_in_on(&mut stream, &text, Tsih::NEW, Cid(0)).status.is_success());
    stream
}

fn discovery(daemon: &Daemon) -> TcpStream {
    let mut stream = dial(daemon);
    let text = format!("InitiatorName={}\0SessionType=Discovery\0", next_name());
    assert!(log_in_on(&mut stream, &text, Tsih::NEW, Cid(0)).status.is_success());
    stream
}

fn urgent(socket: impl AsFd) {
    rustix::net::send(&socket, b"!", SendFlags::OOB).unwrap();
}

fn half_close(stream: TcpStream) -> Held {
    stream.shutdown(Shutdown::Write).unwrap();
    Box::new(stream)
}

/// Closes a connection with a reset.
fn reset(stream: TcpStream) -> Held {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
    Box::new(())
}

/// Sends `request` until neither side takes any more, and reads nothing.
fn stuff(stream: &mut TcpStream, request: &[u8]) {
    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    loop {
        match stream.write(request) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A session that sends pings and does not read the answers, until the daemon receives nothing from it any more.
fn stuffed(daemon: &Daemon) -> TcpStream {
    let mut stream = session(daemon);
    let mut ping = header(PING, 8192).to_vec();
    ping.resize(48 + 8192, 0);
    stuff(&mut stream, &ping);
    stream
}

/// A request for all targets.
pub(crate) fn send_targets() -> Vec<u8> {
    let text = b"SendTargets=All\0";
    let request = TextRequest {
        immediate: true,
        last: true,
        continues: false,
        lun: [0; 8],
        itt: Itt(9),
        ttt: None,
        cmd_sn: CmdSn(2),
        exp_stat_sn: StatSn(1),
    };
    [&header(request, text.len())[..], text].concat()
}

fn manager(daemon: &Daemon) -> UnixStream {
    UnixStream::connect(daemon.path(&format!("control.{CONTROL_PORT}"))).unwrap()
}

/// A request whose reply is longer than the socket takes.
fn long_report() -> Vec<u8> {
    let (mode, op) = (Mode::Target as u32, Op::Show as u32);
    Record::new(RequestHeader { mode, op, tid: -1, ..RequestHeader::default() }, Vec::new()).encode()
}

/// A name, and how to make a socket enter the state.
type State = (&'static str, fn(&Daemon) -> Held);

const STATES: [State; 20] = [
    ("an initiator says nothing", |daemon| Box::new(dial(daemon))),
    ("urgent data before the login", |daemon| {
        let stream = dial(daemon);
        urgent(&stream);
        Box::new(stream)
    }),
    ("urgent data in a session", |daemon| {
        let stream = session(daemon);
        urgent(&stream);
        Box::new(stream)
    }),
    ("urgent data in a discovery session", |daemon| {
        let stream = discovery(daemon);
        urgent(&stream);
        Box::new(stream)
    }),
    ("half a header before the login", |daemon| {
        let mut stream = dial(daemon);
        stream.write_all(&header(REQUEST, 0)[..24]).unwrap();
        Box::new(stream)
    }),
    ("half a header, then the end of the stream", |daemon| {
        let mut stream = dial(daemon);
        stream.write_all(&header(REQUEST, 0)[..24]).unwrap();
        half_close(stream)
    }),
    ("half closed before the login", |daemon| half_close(dial(daemon))),
    ("half closed in a session", |daemon| half_close(session(daemon))),
    ("half closed in a discovery session", |daemon| half_close(discovery(daemon))),
    ("reset before the login", |daemon| reset(dial(daemon))),
    ("reset in a session", |daemon| reset(session(daemon))),
    ("one byte of an announced segment", |daemon| {
        let mut stream = session(daemon);
        stream.write_all(&header(PING, 8192)).unwrap();
        stream.write_all(&[0]).unwrap();
        Box::new(stream)
    }),
    ("a session that never reads", |daemon| Box::new(stuffed(daemon))),
    ("a session that never reads and has half closed", |daemon| half_close(stuffed(daemon))),
    ("a session that never reads and is reset", |daemon| reset(stuffed(daemon))),
    ("a discovery session that never reads", |daemon| {
        let mut stream = discovery(daemon);
        stuff(&mut stream, &send_targets());
        Box::new(stream)
    }),
    ("a discovery session that ends with unsent data", |daemon| {
        let mut stream = discovery(daemon);
        let logout = LogoutRequest {
            immediate: true,
            reason: LogoutReason::CLOSE_SESSION,
            itt: Itt(10),
            cid: Cid(0),
            cmd_sn: CmdSn(2),
            exp_stat_sn: StatSn(1),
        };
        let mut last = send_targets().repeat(256);
        last.extend_from_slice(&header(logout, 0));
        stream.write_all(&last).unwrap();
        half_close(stream)
    }),
    ("a manager that says nothing, and urgent data", |daemon| {
        let stream = manager(daemon);
        urgent(&stream);
        Box::new(stream)
    }),
    ("a manager that sends half a request and half closes", |daemon| {
        let mut stream = manager(daemon);
        stream.write_all(&long_report()[..100]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        Box::new(stream)
    }),
    ("a manager that does not read its reply", |daemon| {
        let mut stream = manager(daemon);
        stream.write_all(&long_report()).unwrap();
        stream.read_exact(&mut [0]).unwrap();
        Box::new(stream)
    }),
];

#[test]
fn state_of_a_socket_costs_nothing_while_it_lasts() {
    let daemon = Daemon::start_as(Brand::Ours, Brand::Ours, &["--loops", "1"]);
    daemon.disk(1, 1 << 20);
    // So many that a report of them does not fit into a socket.
    (2..=TARGETS).for_each(|tid| target(&daemon, tid));
    for (what, enter) in STATES {
        let held = enter(&daemon);
        assert!((0..SAMPLES).any(|_| is_idle(&daemon)), "the daemon runs on: {what}");
        drop(held);
    }
    Client::login(&daemon, 1, DISK).read(0, 1).unwrap();
}
