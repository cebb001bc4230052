//! The audit lines of the log: one for each change that a client asked for, with the client, the request and the result.
//! tgtd(8) describes their form; programs parse them. They have no secrets.

use std::fmt;

use super::grammar::Number;
use super::report::Reply;
use super::wire::{Form, Mode, Op, Record};

/// The client of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Peer {
    /// The user it runs as.
    pub uid: u32,
    /// The group it runs as.
    pub gid: u32,
    /// Its process; 0 where the daemon cannot see it, as in another PID namespace.
    pub pid: i32,
    /// The name of the process, if it could be read.
    pub command: Option<String>,
}

/// A requested change that was not answered yet.
#[derive(Debug)]
pub struct Change {
    peer: Peer,
    what: String,
}

impl Change {
    /// The change that a request asks for; `None` for a request that only reads. `peer` is called for a change only.
    pub fn of(record: &Record, peer: impl FnOnce() -> Peer) -> Option<Self> {
        let op = Op::from_number(record.header.op);
        (!matches!(op, Some(Op::Show | Op::Stat))).then(|| Self { peer: peer(), what: what(record) })
    }

    /// Returns the line. `reply` is `None` where the client did not wait for the result.
    #[must_use]
    pub fn line(&self, reply: Option<&Reply>) -> String {
        let result = match reply {
            Some(Ok(_)) => "success".to_owned(),
            Some(Err(error)) if error.reason.is_empty() => format!("{:?}", error.kind.to_string()),
            Some(Err(error)) => {
                // The reason may repeat strings of the request.
                let reason = without_secret(error.reason.as_bytes());
                format!("{:?} reason={reason:?}", error.kind.to_string())
            }
            None => "unknown".to_owned(),
        };
        format!("audit: {} {} result={result}", self.peer, self.what)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uid, gid, pid, command } = self;
        write!(out, "uid={uid} gid={gid} pid={pid}")?;
        command.iter().try_for_each(|command| write!(out, " comm={command:?}"))
    }
}

/// Mode and operation, each number that was given, and the strings up to a secret.
fn what(record: &Record) -> String {
    let header = &record.header;
    let mode =
        Mode::from_number(header.mode).map_or_else(|| header.mode.to_string(), |mode| mode.word().to_owned());
    let op = Op::from_number(header.op).map_or_else(|| header.op.to_string(), |op| op.word().to_owned());
    let mut text = format!("mode={mode} op={op}");
    let (_, driver) = Form::of(&header.lld);
    if !driver.is_empty() {
        text.push_str(&format!(" lld={driver:?}"));
    }
    for number in Number::ALL.into_iter().filter(|number| number.is_given(header)) {
        text.push(' ');
        text.push_str(number.word());
        if !number.is_switch() {
            text.push_str(&format!("={}", number.get(header)));
        }
    }
    let strings = strings(&record.payload);
    if !strings.is_empty() {
        text.push_str(&format!(" params={strings:?}"));
    }
    text
}

fn strings(payload: &[u8]) -> String {
    without_secret(payload.split(|byte| *byte == 0).next().unwrap_or_default())
}

/// Cuts the text at a secret: everything after `password=` may belong to it, commas included.
fn without_secret(bytes: &[u8]) -> String {
    let end_of = |key: &&[u8]| {
        let at = bytes.windows(key.len()).position(|window| window == *key)?;
        Some(at + key.len())
    };
    let secret = SECRETS.iter().filter_map(end_of).min();
    let shown = secret.unwrap_or(bytes.len());
    let mut text = String::from_utf8_lossy(&bytes[..shown]).into_owned();
    if secret.is_some() {
        text.push_str("***");
    }
    text
}

/// The keys of secrets: of an account, and of a client of a Ceph cluster in `bsopts`.
const SECRETS: [&[u8]; 2] = [b"password=", b"cephx_key="];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::error::TgtadmError;
    use crate::control::report::Report;
    use crate::control::wire::RequestHeader;

    fn line(header: RequestHeader, payload: &[u8], reply: Option<&Reply>) -> Option<String> {
        let peer = || Peer { uid: 0, gid: 7, pid: 42, command: Some("tgt adm".to_owned()) };
        Change::of(&Record::new(header, payload.to_vec()), peer).map(|change| change.line(reply))
    }

    fn header(mode: Mode, op: Op) -> RequestHeader {
        RequestHeader { mode: mode as u32, op: op as u32, ..RequestHeader::default() }
    }

    #[test]
    fn lines() {
        let new = RequestHeader { tid: 1, lun: 3, force: 1, ..header(Mode::LogicalUnit, Op::New) };
        let done = line(new.clone(), b"path=/srv/a b.img,bstype=rdwr\0", Some(&Ok(Report::Done)));
        let expected = "audit: uid=0 gid=7 pid=42 comm=\"tgt adm\" mode=logicalunit op=new tid=1 lun=3 force \
                        params=\"path=/srv/a b.img,bstype=rdwr\" result=success";
        assert_eq!(done.as_deref(), Some(expected));
        let refused = Err(TgtadmError::NoTarget.because("--tid 1: no target has this number"));
        let refused = line(new.clone(), b"", Some(&refused)).unwrap();
        let end = "force result=\"can't find the target\" reason=\"--tid 1: no target has this number\"";
        assert!(refused.ends_with(end), "{refused}");
        assert!(
            line(new, b"x\n\x1b=\xff\0", None)
                .unwrap()
                .ends_with("params=\"x\\n\\u{1b}=\u{fffd}\" result=unknown")
        );
        let strange =
            RequestHeader { mode: 9, op: 99, lld: "json.1/iscsi".to_owned(), ..RequestHeader::default() };
        assert!(line(strange, b"", None).unwrap().ends_with("mode=9 op=99 lld=\"iscsi\" result=unknown"));
    }

    #[test]
    fn password_in_a_reason_is_hidden() {
        let refused = Err(TgtadmError::NoUser.because("--user \"mike,password=hush,hush\": no account"));
        let line = line(header(Mode::Account, Op::Delete), b"user=mike,password=hush,hush\0", Some(&refused))
            .unwrap();
        assert!(
            line.ends_with("reason=\"--user \\\"mike,password=***\"") && !line.contains("hush"),
            "{line}"
        );
    }

    #[test]
    fn requests_that_only_read_have_no_line() {
        for mode in Mode::ALL {
            for op in Op::ALL {
                let is_change = !matches!(op, Op::Show | Op::Stat);
                assert_eq!(line(header(mode, op), b"", None).is_some(), is_change, "{mode:?} {op:?}");
            }
        }
    }

    #[test]
    fn unknown_process_has_no_name() {
        let peer = Peer { uid: 1, gid: 2, pid: 0, command: None };
        assert_eq!(peer.to_string(), "uid=1 gid=2 pid=0");
    }

    proptest::proptest! {
        #[test]
        fn no_secret_is_logged(
            key in "password|cephx_key",
            mode in 0u32..9,
            op in 0u32..10,
            before in "[a-z=, ]{0,30}",
            secret in "[A-Z]{6,40}",
            after in "(,[a-z=]{0,10}){0,2}",
        ) {
            let header = RequestHeader { mode, op, ..RequestHeader::default() };
            let payload = format!("{before}{key}={secret}{after}\0");
            if let Some(line) = line(header, payload.as_bytes(), None) {
                proptest::prop_assert!(!line.contains(&secret), "{line}");
            }
        }
    }
}
