//! A client of the control socket without a process for each request.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use target_engine::control::error;
use target_engine::control::request::Strings;
use target_engine::control::wire::{Mode, Op, REPLY_HEADER_LEN, Record, ReplyHeader, RequestHeader};

/// Asks a daemon, ours or stock's; the text it answers.
///
/// # Errors
/// Nobody answers, or it refuses.
pub fn ask(
    socket: &Path,
    mode: Mode,
    op: Op,
    header: &RequestHeader,
    strings: &Strings,
) -> io::Result<String> {
    let header = RequestHeader { mode: mode as u32, op: op as u32, ..header.clone() };
    let mut stream = UnixStream::connect(socket)?;
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
