//! The fuzz target of responses.

use super::protocol::Longhorn;
use crate::remote::testing::{SentRequests, feed_chunks};
use crate::remote::{Cookie, Protocol, Request, RequestKind};

/// Reads messages of Longhorn's engine while requests wait for their answers. The first byte is the number of bytes that
/// arrive at once.
pub fn messages(bytes: &[u8]) {
    let Some((chunk, messages)) = bytes.split_first() else { return };
    let mut longhorn = Longhorn::new(1 << 20, false);
    let mut out = Vec::new();
    assert!(longhorn.start(&mut out));
    let mut sent = SentRequests::default();
    let kinds = [RequestKind::Read, RequestKind::Write { fua: true }, RequestKind::Discard];
    for (cookie, kind) in (1..).zip(kinds) {
        let request = Request { kind, offset: 4096, len: 512 };
        assert_eq!(longhorn.request(Cookie(cookie << 32), &request, &mut out), None);
        sent.insert(Cookie(cookie << 32), request);
    }
    let _ = feed_chunks(&mut longhorn, messages, usize::from(*chunk), &mut sent);
}
