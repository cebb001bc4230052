//! The text of Login and Text PDUs (RFC 7143 6): key=value pairs, the table of keys, negotiation.

pub mod keys;
pub mod negotiate;
pub mod value;

mod pairs;
mod preferences;

pub use pairs::{PairStart, Pairs, TextBuilder, TextError, TextLimits, pairs};

/// Answer to an unknown key (RFC 7143 6.2).
pub const NOT_UNDERSTOOD: &str = "NotUnderstood";
/// Answer to a key that is irrelevant in this session (RFC 7143 6.2).
pub const IRRELEVANT: &str = "Irrelevant";
/// Answer to a value that is not acceptable (RFC 7143 6.2).
pub const REJECT: &str = "Reject";
/// The list value that selects no algorithm.
pub const NONE: &str = "None";
/// The value that inquires for the current value of a key.
pub const INQUIRY: &str = "?";
