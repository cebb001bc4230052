//! A connection without a socket, for tests and fuzzing of protocols.

use std::collections::HashMap;

use super::protocol::{Broken, Cookie, Event, MESSAGE_LEN_MAX, Protocol, Request, Requests};

/// Requests that were sent.
#[derive(Default)]
pub(crate) struct SentRequests<T>(HashMap<u64, (Request, T)>);

impl<T: Default> SentRequests<T> {
    pub(crate) fn insert(&mut self, cookie: Cookie, request: Request) {
        self.0.insert(cookie.0, (request, T::default()));
    }
}

impl<T> Requests<T> for SentRequests<T> {
    fn get(&mut self, cookie: Cookie) -> Option<(&Request, &mut T)> {
        self.0.get_mut(&cookie.0).map(|(request, progress)| (&*request, progress))
    }
}

/// Passes received bytes to a protocol as a connection does, `chunk` bytes at a time, and returns the events; requests end
/// with their answer.
///
/// # Errors
/// Returns the error of the protocol, or that of the connection for an event that does not fit the requests.
pub(crate) fn feed_chunks<P: Protocol>(
    protocol: &mut P,
    bytes: &[u8],
    chunk: usize,
    sent: &mut SentRequests<P::Progress>,
) -> Result<Vec<Event>, Broken> {
    let (mut events, mut held, mut payload, mut out) = (Vec::new(), Vec::new(), 0, Vec::new());
    for chunk in bytes.chunks(chunk.max(1)) {
        held.extend_from_slice(chunk);
        let mut rest = held.as_slice();
        loop {
            let taken = rest.len().min(payload);
            payload -= taken;
            rest = &rest[taken..];
            if payload > 0 {
                break;
            }
            let (used, event) = protocol.received(rest, sent, &mut out)?;
            rest = &rest[used..];
            match event {
                Event::None if used == 0 => break,
                Event::None => continue,
                Event::Payload { cookie, at, len } | Event::Zeroes { cookie, at, len } => {
                    let request = sent.get(cookie).map(|(request, _)| *request);
                    let fits =
                        |request: Request| at.checked_add(len).is_some_and(|end| end as u64 <= request.len);
                    if !request.is_some_and(fits) {
                        return Err(UNKNOWN);
                    }
                    if matches!(event, Event::Payload { .. }) {
                        payload = len;
                    }
                }
                Event::Answer { cookie, .. } | Event::Repeat { cookie } => {
                    sent.0.remove(&cookie.0).ok_or(UNKNOWN)?;
                }
                Event::Ready { .. } | Event::StartTls => {}
            }
            events.push(event);
        }
        assert!(rest.len() <= MESSAGE_LEN_MAX, "the protocol waits for a longer message");
        held = rest.to_vec();
    }
    Ok(events)
}

/// [`feed_chunks`] with all bytes at once.
///
/// # Errors
/// As [`feed_chunks`].
#[cfg(test)]
pub(crate) fn feed<P: Protocol>(
    protocol: &mut P,
    bytes: &[u8],
    sent: &mut SentRequests<P::Progress>,
) -> Result<Vec<Event>, Broken> {
    feed_chunks(protocol, bytes, bytes.len(), sent)
}

const UNKNOWN: Broken = Broken::Violation("an answer to an unknown request");
