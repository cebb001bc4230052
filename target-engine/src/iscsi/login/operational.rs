//! The operational stage: what the target offers of itself, beyond answering.

use iscsi_proto::text::TextBuilder;
use iscsi_proto::text::keys::{KEYS, Key, Pick, Row, Rule};
use iscsi_proto::text::negotiate::{DigestChoice, Negotiation, Preferences};

/// Declares what the target receives, with the first answer of the stage; once declared, nothing more.
pub(super) fn declare(negotiation: &mut Negotiation, answer: &mut TextBuilder) {
    negotiation.offer(Key::MaxRecvDataSegmentLength, answer);
}

/// Before the stage is left: offers the keys which nobody has mentioned and whose default goes beyond what the
/// target allows. What the target would merely like better is not worth a round, nor is an initiator that
/// mentions a key in vain worth being confused by an offer of it.
pub(super) fn offer_the_necessary(
    negotiation: &mut Negotiation,
    wishes: &Preferences,
    answer: &mut TextBuilder,
) {
    for row in KEYS {
        if !negotiation.seen().contains(row.key) && goes_beyond(negotiation, wishes, row) {
            negotiation.offer(row.key, answer);
        }
    }
}

/// Whether the value in force is none that the target's wish allows.
fn goes_beyond(negotiation: &Negotiation, wishes: &Preferences, row: &Row) -> bool {
    let (wish, held) = (&wishes.session, &negotiation.session());
    match row.rule {
        Rule::Boolean { pick: Pick::Smaller, get, .. } => get(held) && !get(wish),
        Rule::Boolean { pick: Pick::Larger, get, .. } => !get(held) && get(wish),
        Rule::Number { pick: Pick::Smaller, get, .. } => get(held) > get(wish),
        Rule::Number { pick: Pick::Larger, get, .. } => get(held) < get(wish),
        Rule::Digest { choice, get, .. } => {
            choice(wishes) == DigestChoice::Crc32c && !get(&negotiation.connection())
        }
        Rule::Security
        | Rule::Declared
        | Rule::Request
        | Rule::ReceiveLimit
        | Rule::TaskReporting
        | Rule::Constant(_) => false,
    }
}

/// Whether the key belongs into this stage (RFC 7143 6.3.2).
pub(super) fn is_operational(name: &str) -> bool {
    Key::by_name(name)
        .is_some_and(|key| !matches!(key.row().rule, Rule::Security | Rule::Declared | Rule::Request))
}
