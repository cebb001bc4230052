//! Text of logins and text requests (RFC 7143 6): key=value pairs, the keys, and how they are negotiated.

pub mod keys;
pub mod negotiate;
pub mod value;

mod pairs;
mod preferences;

pub use pairs::{Pairs, TextBuilder, TextError, TextLimits, pairs};

/// Answer to a key one does not know (RFC 7143 6.2).
pub const NOT_UNDERSTOOD: &str = "NotUnderstood";
/// Answer to a key that has no meaning here (RFC 7143 6.2).
pub const IRRELEVANT: &str = "Irrelevant";
/// Answer to a value one cannot accept (RFC 7143 6.2).
pub const REJECT: &str = "Reject";
/// The choice of nothing, in lists.
pub const NONE: &str = "None";
/// Asks for a key's value in force.
pub const INQUIRY: &str = "?";
