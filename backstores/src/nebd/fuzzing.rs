//! The fuzz target of replies.

use std::sync::Arc;

use super::protocol::{Nebd, Settings};
use super::volumes::Facts;
use super::wire::{Head, Info, Reply, ReplyMeta};
use crate::remote::testing::{SentRequests, feed_chunks};
use crate::remote::{Cookie, Event, Protocol, Request, RequestKind};

/// Reads frames of nebd-server while requests wait for their answers. The first byte is the number of bytes that arrive at
/// once.
pub fn frames(bytes: &[u8]) {
    let Some((chunk, frames)) = bytes.split_first() else { return };
    if let Some((head, rest)) = frames.split_first_chunk()
        && let Ok(head) = Head::decode(head)
    {
        let _ = ReplyMeta::decode(head, rest.get(..head.meta_len).unwrap_or(rest));
    }
    let _ = Reply::decode(frames);
    let settings = Settings { name: "cbd:p//v_u_".into(), exclusive: false, read_only: false };
    let facts = Arc::new(Facts::default());
    facts.set_info(Info { size: 1 << 20, block_len: 4096 });
    let mut nebd = Nebd::new(Arc::new(settings), facts.clone());
    let mut out = Vec::new();
    assert!(!nebd.start(&mut out));
    let mut sent = SentRequests::default();
    let kinds = [RequestKind::Read, RequestKind::Write { fua: true }, RequestKind::Discard];
    for (cookie, kind) in (1..).zip(kinds) {
        let request = Request { kind, offset: 4096, len: 4096 };
        assert_eq!(nebd.request(Cookie(cookie << 32), &request, &mut out), None);
        sent.insert(Cookie(cookie << 32), request);
    }
    if let Ok(events) = feed_chunks(&mut nebd, frames, usize::from(*chunk), &mut sent) {
        let ended = |event: &&Event| matches!(event, Event::Answer { .. } | Event::Repeat { .. });
        assert!(events.iter().filter(ended).count() <= 3);
    }
    let Info { size, block_len } = facts.info();
    assert!(block_len.is_power_of_two() && size.is_multiple_of(block_len.into()));
}
