//! Fuzz targets. They accept any bytes of a server and assert what holds for all input.

use scsi_core::store::Completed;

use super::facts::{BlockSize, Facts};
use super::handshake::{Handshake, Step};
use super::transmission::{Progress, Transmission};
use crate::remote::{Cookie, Event, Request, RequestKind, Requests};

/// A handshake with a server that sends these bytes; the first one selects TLS and the length of chunks.
pub fn handshake(bytes: &[u8]) {
    let Some((control, stream)) = bytes.split_first() else { return };
    let mut handshake = Handshake::new("disk".to_owned(), control & 1 != 0);
    let (mut held, mut out) = (Vec::new(), Vec::new());
    for chunk in stream.chunks(usize::from(control >> 1).max(1)) {
        held.extend_from_slice(chunk);
        loop {
            let Ok((used, step)) = handshake.received(&held, &mut out) else { return };
            assert!(used <= held.len());
            held.drain(..used);
            match step {
                Step::Next if used == 0 => break,
                Step::Next => {}
                Step::StartTls => assert_eq!(handshake.received(&[], &mut out), Ok((0, Step::Next))),
                Step::Ready(facts) => return assert!(facts.block.is_valid()),
            }
        }
    }
    assert!(out.len() < 1 << 20, "the client sends little");
}

/// Requests that were sent, by their cookies.
struct Sent(Vec<Option<(Request, Progress)>>);

impl Requests<Progress> for Sent {
    fn get(&mut self, Cookie(cookie): Cookie) -> Option<(&Request, &mut Progress)> {
        let (request, progress) = self.0.get_mut(usize::try_from(cookie).ok()?)?.as_mut()?;
        Some((request, progress))
    }
}

/// The requests have the cookies 0 to 5.
fn sent() -> Sent {
    let request = |kind, offset, len| Some((Request { kind, offset, len }, Progress::default()));
    Sent(vec![
        request(RequestKind::Read, 0, 16),
        request(RequestKind::Read, 1 << 40, 4096),
        request(RequestKind::Write { fua: true }, 512, 512),
        request(RequestKind::Flush, 0, 0),
        request(RequestKind::Discard, 0, 1 << 30),
        request(RequestKind::Allocation, 4096, 8192),
    ])
}

/// Replies of a server that sends these bytes; the first one selects chunks, and the length in which the bytes arrive.
pub fn reply(bytes: &[u8]) {
    let Some((control, stream)) = bytes.split_first() else { return };
    let block = BlockSize { minimum: 1, preferred: 4096, maximum: 1 << 20 };
    let structured = control & 1 != 0;
    let facts = Facts { size: 1 << 50, flags: 0x16d, block, structured, allocation: structured.then_some(9) };
    let (mut transmission, mut requests) = (Transmission::new(facts), sent());
    let mut received = vec![Vec::new(); requests.0.len()];
    let (mut held, mut payload) = (Vec::new(), 0);
    for chunk in stream.chunks(usize::from(control >> 1).max(1)) {
        held.extend_from_slice(chunk);
        loop {
            let taken = held.len().min(payload);
            held.drain(..taken);
            payload -= taken;
            if payload > 0 {
                break;
            }
            let Ok((used, event)) = transmission.received(&held, &mut requests) else { return };
            assert!(used <= held.len());
            held.drain(..used);
            if (used, event) == (0, Event::None) {
                break;
            }
            if let Event::Payload { len, .. } = event {
                payload = len;
            }
            check(event, &mut requests, &mut received);
        }
    }
}

/// Each byte of a read comes once and within its request; a read that succeeds has all.
fn check(event: Event, requests: &mut Sent, received: &mut [Vec<bool>]) {
    match event {
        Event::None => {}
        Event::Ready { .. } | Event::StartTls => unreachable!("the handshake is over"),
        Event::Payload { cookie, at, len } | Event::Zeroes { cookie, at, len } => {
            let (request, _) = requests.get(cookie).expect("a request that was sent");
            assert_eq!(request.kind, RequestKind::Read);
            let bytes = &mut received[cookie.0 as usize];
            bytes.resize(request.len as usize, false);
            assert!(len > 0 && bytes[at..at + len].iter().all(|known| !known), "each byte comes once");
            bytes[at..at + len].fill(true);
        }
        Event::Repeat { cookie } => assert!(requests.get(cookie).is_some()),
        Event::Answer { cookie, result } => {
            let (request, _) = requests.0[cookie.0 as usize].take().expect("a request is answered once");
            match (request.kind, result) {
                (RequestKind::Read, Ok(_)) => {
                    let bytes = &received[cookie.0 as usize];
                    assert!(bytes.len() == request.len as usize && bytes.iter().all(|known| *known));
                }
                (RequestKind::Allocation, Ok(done)) => {
                    let Completed::Allocation { len, .. } = done else { panic!("{done:?}") };
                    assert!(len > 0 && len <= request.len);
                }
                _ => {}
            }
        }
    }
}
