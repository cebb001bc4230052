//! The bytes of a reply in the form that the client asked for.

use super::{Reply, json, text};
use crate::control::wire::Form;

/// The bytes for the socket.
#[must_use]
pub fn encode(form: Form, reply: &Reply) -> Vec<u8> {
    match form {
        Form::Text => text::encode(reply),
        Form::Json => json::encode(reply),
    }
}
