//! Hostile connections: threads that open them, send and receive as their scripts say, and open them again when the daemon
//! closes them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use tgt_tests::load::{InitiatorPort, LoadError};

use super::Field;
use super::attacks::Attack;
use super::priority::be_idle;

/// Send buffer of an attacking connection in bytes: memory and time of the generator are not those of the daemon.
const SEND_BUFFER: usize = 64 << 10;
/// How long a thread sleeps when none of its connections can go on.
const PAUSE: Duration = Duration::from_millis(5);
/// Most time until every connection was tried once.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Most time that an attacker waits for a response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes received at once.
const RECEIVE_LEN: usize = 256 << 10;

/// One connection of a crowd, before it is opened.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) field: &'a Field,
    pub(super) number: usize,
    from: IpAddr,
    name: &'static str,
}

impl Place<'_> {
    /// An initiator port of its own.
    pub(super) fn port(&self) -> InitiatorPort {
        self.port_named(&format!("{}-{}", self.name, self.number))
    }

    /// An initiator port with this end of its name.
    pub(super) fn port_named(&self, name: &str) -> InitiatorPort {
        let name = format!("iqn.2001-04.com.example:{name}");
        let port = InitiatorPort::new(name, self.number as u32);
        InitiatorPort {
            from: Some(self.from),
            send_buffer: Some(SEND_BUFFER),
            timeout: RESPONSE_TIMEOUT,
            ..port
        }
    }
}

/// What an open connection does.
pub(super) struct Script {
    socket: TcpStream,
    bytes: Vec<u8>,
    sent: usize,
    end: AtEnd,
    takes: bool,
}

/// What follows the last byte of a script.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum AtEnd {
    /// The connection is kept.
    Keep,
    /// The bytes are sent again.
    Repeat,
    /// The connection is closed, and opened again.
    Close,
}

impl Script {
    /// Sends `bytes`; receives and discards what comes if `takes`.
    pub(super) fn new(socket: TcpStream, bytes: Vec<u8>, end: AtEnd, takes: bool) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket, bytes, sent: 0, end, takes })
    }

    /// Sends and receives what the socket takes and has; returns whether anything moved.
    fn step(&mut self, scratch: &mut [u8]) -> io::Result<bool> {
        let mut moved = false;
        if self.sent < self.bytes.len() {
            match self.socket.write(&self.bytes[self.sent..]) {
                Ok(count) => (self.sent, moved) = (self.sent + count, count > 0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        } else if self.end == AtEnd::Close {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        if self.sent == self.bytes.len() && self.end == AtEnd::Repeat {
            self.sent = 0;
        }
        let received =
            if self.takes { self.socket.read(scratch) } else { self.socket.peek(&mut scratch[..1]) };
        match received {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(moved | self.takes),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(moved),
            Err(error) => Err(error),
        }
    }
}

/// The connections of one attack.
pub(super) struct Crowd<'a> {
    field: &'a Field,
    attack: &'a Attack,
    connections: usize,
    over: &'a AtomicBool,
    /// Connections that were tried at least once.
    tried: AtomicUsize,
}

impl<'a> Crowd<'a> {
    pub(super) fn new(
        field: &'a Field,
        attack: &'a Attack,
        connections: usize,
        over: &'a AtomicBool,
    ) -> Self {
        Self { field, attack, connections, over, tried: AtomicUsize::new(0) }
    }

    /// Starts the threads. They end when the flag is set.
    pub(super) fn spawn<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        for thread in 0..self.attack.threads.min(self.connections) {
            scope.spawn(move || self.run(thread));
        }
    }

    /// Waits until every connection was tried once, for a bounded time.
    pub(super) fn wait_until_tried(&self) {
        let begin = Instant::now();
        while self.tried.load(Ordering::Relaxed) < self.connections && begin.elapsed() < START_TIMEOUT {
            thread::sleep(PAUSE);
        }
    }

    fn run(&self, thread: usize) {
        be_idle();
        let mut scratch = vec![0; RECEIVE_LEN];
        let numbers = (thread..self.connections).step_by(self.attack.threads);
        let mut scripts: Vec<(usize, bool, Option<Script>)> =
            numbers.map(|number| (number, false, None)).collect();
        while !self.over.load(Ordering::Relaxed) {
            let mut moved = false;
            for (number, was_tried, script) in &mut scripts {
                match script {
                    Some(open) => match open.step(&mut scratch) {
                        Ok(some) => moved |= some,
                        Err(_) => *script = None,
                    },
                    None => {
                        *script = self.open(*number).ok();
                        moved |= script.is_some();
                        if !std::mem::replace(was_tried, true) {
                            self.tried.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
                if self.over.load(Ordering::Relaxed) {
                    break;
                }
            }
            if !moved {
                thread::sleep(PAUSE);
            }
        }
    }

    fn open(&self, number: usize) -> Result<Script, LoadError> {
        let from = self.attack.from.address(number);
        let place = Place { field: self.field, number, from, name: self.attack.name };
        (self.attack.open)(place)
    }
}

/// Local addresses of the connections of an attack.
#[derive(Clone, Copy, Debug)]
pub(super) enum From {
    /// This many addresses in turn.
    Addresses(u8),
    /// The address of the new initiators.
    Victims,
}

/// Address of the initiators whose logins are timed.
pub(super) const NEW_INITIATORS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 9, 0, 1));

impl From {
    fn address(self, number: usize) -> IpAddr {
        match self {
            Self::Addresses(count) => {
                Ipv4Addr::new(127, 1, 0, 1 + (number % usize::from(count)) as u8).into()
            }
            Self::Victims => NEW_INITIATORS,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn script(bytes: &[u8], end: AtEnd, takes: bool) -> (Script, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Script::new(near, bytes.to_vec(), end, takes).unwrap(), listener.accept().unwrap().0)
    }

    #[test]
    fn scripts_send_once_repeatedly_or_close() {
        let mut scratch = [0; 16];
        for (end, expected) in [(AtEnd::Keep, &b"ab"[..]), (AtEnd::Repeat, b"ababab"), (AtEnd::Close, b"ab")]
        {
            let (mut script, mut far) = script(b"ab", end, false);
            let closed = (0..3).map(|_| script.step(&mut scratch)).any(|step| step.is_err());
            drop(script);
            let mut received = Vec::new();
            far.read_to_end(&mut received).unwrap();
            assert_eq!((closed, &received[..]), (end == AtEnd::Close, expected), "{end:?}");
        }
    }

    #[test]
    fn closed_connections_end_their_scripts() {
        for takes in [false, true] {
            let (mut script, far) = script(b"", AtEnd::Keep, takes);
            drop(far);
            let mut scratch = [0; 16];
            while script.step(&mut scratch).is_ok() {
                thread::yield_now();
            }
        }
    }

    #[test]
    fn addresses_are_used_in_turn() {
        let of = |number| From::Addresses(4).address(number).to_string();
        assert_eq!([of(0), of(3), of(4)], ["127.1.0.1", "127.1.0.4", "127.1.0.1"]);
    }
}
