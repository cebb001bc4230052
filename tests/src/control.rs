//! A client of the control socket, so that a request needs no process of its own.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use target_engine::control::error;
use target_engine::control::request::Strings;
use target_engine::control::wire::{Mode, Op, REPLY_HEADER_LEN, Record, ReplyHeader, RequestHeader};

/// Sends a request to a daemon, ours or tgt's, and returns the text of its reply.
///
/// # Errors
/// The socket fails, the reply does not come within a minute, is cut or not UTF-8, or the daemon refuses the request
/// ([`io::ErrorKind::Other`]).
pub fn ask(
    socket: &Path,
    mode: Mode,
    op: Op,
    header: &RequestHeader,
    strings: &Strings,
) -> io::Result<String> {
    let header = RequestHeader { mode: mode as u32, op: op as u32, ..header.clone() };
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    stream.write_all(&Record::new(header, strings.payload()).encode())?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    let Some((header, text)) = reply.split_first_chunk::<REPLY_HEADER_LEN>() else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let text = text.strip_suffix(&[0]).unwrap_or(text);
    let text = String::from_utf8(text.to_vec()).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    match ReplyHeader::decode(header).error {
        0 => Ok(text),
        number => {
            let (mode, op, error) = (mode.word(), op.word(), error::text(number));
            Err(io::Error::other(format!("{mode} {op}: {error} {text}")))
        }
    }
}

/// Most time to wait for an answer; only a failure takes this long.
const ANSWER_MAX: Duration = Duration::from_secs(60);
