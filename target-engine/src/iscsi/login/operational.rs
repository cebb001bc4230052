//! The operational stage: the keys that the target offers without being asked.

use iscsi_proto::text::TextBuilder;
use iscsi_proto::text::keys::{KEYS, Key, Pick, Row, Rule};
use iscsi_proto::text::negotiate::{DigestChoice, Negotiation, Preferences};

/// Declares MaxRecvDataSegmentLength with the first answer of the stage, once.
pub(super) fn declare(negotiation: &mut Negotiation, answer: &mut TextBuilder) {
    negotiation.offer(Key::MaxRecvDataSegmentLength, answer);
}

/// Offers, before the stage is left, the keys that the initiator has not mentioned and whose default exceeds what the
/// target allows. A mere preference is not worth another round trip.
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

/// Whether the present value exceeds what the target allows.
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

/// Whether the key belongs to this stage (RFC 7143 6.3.2).
pub(super) fn is_operational(name: &str) -> bool {
    Key::by_name(name)
        .is_some_and(|key| !matches!(key.row().rule, Rule::Security | Rule::Declared | Rule::Request))
}
