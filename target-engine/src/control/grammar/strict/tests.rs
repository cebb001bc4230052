//! Requests that the JSON form refuses, and what the text form makes of them.

use super::*;
use crate::control::grammar::OPERATIONS;
use crate::control::request::UnitChange;
use crate::control::wire::{Form, JSON_LLD, Op};

/// The numbers by tgtadm's short options (`t1 l2`), the strings with their NUL.
fn record(mode: Mode, op: Op, given: &str, payload: &[u8]) -> Record {
    let mut header = RequestHeader { mode: mode as u32, op: op as u32, ..RequestHeader::default() };
    for word in given.split_whitespace() {
        let number = word[1..].parse::<i64>().unwrap();
        match &word[..1] {
            "t" => header.tid = i32::try_from(number).unwrap(),
            "l" => header.lun = number.cast_unsigned(),
            "s" => header.sid = number.cast_unsigned(),
            "c" => header.cid = u32::try_from(number).unwrap(),
            "H" => header.host_no = u32::try_from(number).unwrap(),
            "Y" => header.device_type = u32::try_from(number).unwrap(),
            "O" => header.ac_dir = u32::try_from(number).unwrap(),
            "F" => header.force = u32::try_from(number).unwrap(),
            "p" => header.pack = u32::try_from(number).unwrap(),
            other => panic!("{other}"),
        }
    }
    Record::new(header, payload.to_vec())
}

fn strict(mode: Mode, op: Op, given: &str, payload: &[u8]) -> Result<Request, ControlError> {
    let mut record = record(mode, op, given, payload);
    record.header.lld = JSON_LLD.to_owned();
    Request::parse(&record)
}

/// The minimal request of each operation, as tgtadm sends it.
const WHOLE: &[(Mode, Op, &str, &[u8])] = &[
    (Mode::System, Op::Show, "", b""),
    (Mode::System, Op::Stat, "", b""),
    (Mode::System, Op::Update, "", b"debug=on\0"),
    (
        Mode::System,
        Op::Update,
        "",
        b"iSNS=On,iSNSServerIP=10.0.0.1,iSNSServerPort=3205,iSNSAccessControl=Off\0",
    ),
    (Mode::System, Op::Delete, "", b""),
    (Mode::Target, Op::New, "t1", b"targetname=iqn.x\0"),
    (Mode::Target, Op::Delete, "t1 F1", b""),
    (Mode::Target, Op::Bind, "t1", b"initiator-address=ALL,initiator-name=iqn.a\0"),
    (Mode::Target, Op::Unbind, "t1 H3", b""),
    (Mode::Target, Op::Update, "t1", b"HeaderDigest=None,CRC32C\0"),
    (Mode::Target, Op::Update, "t1", b"RedirectReason=Permanent\0"),
    (Mode::Target, Op::Show, "", b""),
    (Mode::Target, Op::Show, "t1", b""),
    (Mode::Target, Op::Stat, "t1", b""),
    (Mode::LogicalUnit, Op::New, "t1 l1", b"path=/x,bstype=rdwr,bsoflags=direct,blocksize=4096\0"),
    (Mode::LogicalUnit, Op::New, "t1 l1 Y1", b"bstype=ssc\0"),
    (Mode::LogicalUnit, Op::Delete, "t1 l1", b""),
    (Mode::LogicalUnit, Op::Update, "t1 l1", b"targetOps online=0,scsi_id=x,\0"),
    (Mode::LogicalUnit, Op::Stat, "t1 l1 s2", b""),
    (Mode::Portal, Op::New, "", b"portalOps portal=[::1]:7,nop_count=3,\0"),
    (Mode::Portal, Op::Delete, "", b"portalOps portal=10.0.0.1,\0"),
    (Mode::Portal, Op::Show, "", b""),
    (Mode::Lld, Op::Start, "", b""),
    (Mode::Lld, Op::Stop, "", b""),
    (Mode::Lld, Op::Show, "", b""),
    (Mode::Session, Op::Stat, "s1", b""),
    (Mode::Connection, Op::Show, "t1", b""),
    (Mode::Connection, Op::Stat, "s1 c1", b""),
    (Mode::Connection, Op::Delete, "t1 s1", b""),
    (Mode::Account, Op::New, "", b"user=u,password=p,q=r\0"),
    (Mode::Account, Op::Update, "", b"user=u,password=p,q=r\0"),
    (Mode::Account, Op::Delete, "", b"user=u\0"),
    (Mode::Account, Op::Bind, "t1 O1", b"user=u\0"),
    (Mode::Account, Op::Bind, "t1", b"initiator-name=iqn.2026-01.a:b,user=u\0"),
    (Mode::Account, Op::Unbind, "", b"user=u\0"),
    (Mode::Account, Op::Show, "", b""),
];

#[test]
fn a_valid_request_means_the_same_in_both_forms() {
    for (mode, op, given, payload) in WHOLE {
        let answer = strict(*mode, *op, given, payload);
        assert!(answer.is_ok(), "{mode:?} {op:?} {given}: {answer:?}");
        assert_eq!(answer, Request::parse(&record(*mode, *op, given, payload)), "{mode:?} {op:?} {given}");
    }
    for row in OPERATIONS {
        let is_tried = WHOLE.iter().any(|(mode, op, ..)| (*mode, *op) == (row.mode, row.op));
        assert!(is_tried || row.json_only, "{:?} {:?}", row.mode, row.op);
    }
}

#[test]
fn json_form_shows_sessions_and_units() {
    let tid = crate::model::Tid::new(1);
    assert_eq!(strict(Mode::Session, Op::Show, "", b""), Ok(Request::SessionShow { tid: None, sid: 0 }));
    assert_eq!(strict(Mode::Session, Op::Show, "t1 s3", b""), Ok(Request::SessionShow { tid, sid: 3 }));
    let unit = |lun| Ok(Request::UnitShow { tid: tid.unwrap(), lun });
    assert_eq!(strict(Mode::LogicalUnit, Op::Show, "t1", b""), unit(u64::MAX));
    assert_eq!(strict(Mode::LogicalUnit, Op::Show, "t1 l3", b""), unit(3));
}

/// tgt's text form lists all accounts whatever else it is sent.
#[test]
fn only_the_json_form_compares_a_secret() {
    let payload = b"user=u,password=p,q\0";
    let secret = crate::control::request::Secret::new("p,q".to_owned());
    let compare = Request::AccountCompare { user: "u".to_owned(), password: secret };
    assert_eq!(strict(Mode::Account, Op::Show, "", payload), Ok(compare));
    assert_eq!(Request::parse(&record(Mode::Account, Op::Show, "", payload)), Ok(Request::AccountShow));
}

/// Each number that an operation does not take, each needed one left out, and each impossible one.
#[test]
fn foreign_missing_and_impossible_numbers_are_refused() {
    for (mode, op, given, payload) in WHOLE {
        let row = Operation::find(*mode, *op, Form::Json).unwrap();
        for (number, word) in Number::ALL.into_iter().zip(["t1", "s1", "l1", "c1", "H1", "Y5", "O1", "F1"]) {
            let short = &word[..1];
            if !row.takes_number(number) {
                let answer = strict(*mode, *op, &format!("{given} {word}"), payload).unwrap_err();
                assert!(answer.reason.contains("does not belong"), "{mode:?} {op:?} {word}: {answer:?}");
            }
            if row.needs.contains(&number) {
                let rest: Vec<_> = given.split(' ').filter(|given| !given.starts_with(short)).collect();
                let answer = strict(*mode, *op, &rest.join(" "), payload).unwrap_err();
                assert!(answer.reason.contains("is missing"), "{mode:?} {op:?} {word}: {answer:?}");
            }
        }
        for (number, word, name) in [
            (Some(Number::Tid), "t0", "--tid 0"),
            (Some(Number::Tid), "t-2", "--tid -2"),
            (Some(Number::Force), "F2", "force 2"),
            (Some(Number::Outgoing), "O2", "ac_dir 2"),
            (None, "p1", "pack 1"),
        ] {
            if number.is_none_or(|number| row.takes_number(number)) {
                let answer = strict(*mode, *op, &format!("{given} {word}"), payload).unwrap_err();
                assert!(answer.reason.contains(name), "{mode:?} {op:?} {word}: {answer:?}");
            }
        }
    }
}

#[test]
fn payload_without_nul_or_with_bytes_after_it_is_refused() {
    for (mode, op, given, payload) in WHOLE {
        if let Some((_, bare)) = payload.split_last() {
            assert!(strict(*mode, *op, given, bare).unwrap_err().reason.contains("no NUL"));
        }
        let longer = [payload, &b"\0"[..]].concat();
        let longer = if payload.is_empty() { b"a\0b\0".to_vec() } else { longer };
        let answer = strict(*mode, *op, given, &longer).unwrap_err();
        assert!(answer.reason.contains("left over"), "{mode:?} {op:?}: {answer:?}");
    }
    let answer = strict(Mode::Target, Op::Show, "", b"targetname=x\0").unwrap_err();
    assert!(answer.reason.contains("left over"), "{answer:?}");
}

#[test]
fn misplaced_password_is_refused_and_not_repeated() {
    let takes_it = |op| matches!(op, Op::New | Op::Update | Op::Show);
    for (mode, op, given, payload) in
        WHOLE.iter().filter(|whole| whole.0 != Mode::Account || !takes_it(whole.1))
    {
        let strings = payload.strip_suffix(b"\0").unwrap_or_default();
        for secret in ["hush", "hush,hush,a=hush"] {
            let stray = format!("password={secret}\0").into_bytes();
            let separator = if strings.is_empty() { &b""[..] } else { b"," };
            let behind = [strings, separator, &stray].concat();
            // The value of one pair may have commas.
            let is_value = (*mode, *op) == (Mode::Target, Op::Update);
            for payload in [&stray, if is_value { &stray } else { &behind }] {
                let reason =
                    strict(*mode, *op, given, payload).map_or_else(|error| error.reason, |_| String::new());
                assert!(!reason.contains("hush"), "{mode:?} {op:?}: {reason}");
            }
            let reason = strict(*mode, *op, given, &stray).unwrap_err().reason;
            assert!(reason.contains("--password does not belong"), "{mode:?} {op:?}: {reason}");
        }
    }
}

#[test]
fn unknown_repeated_and_empty_strings_are_refused() {
    use Mode::{Account, LogicalUnit, Portal, System, Target};
    use Op::{Bind, Delete, New, Show, Update};
    #[rustfmt::skip]
    let cases: &[(Mode, Op, &str, &[u8], &str)] = &[
        (Target, New, "t1", b"targetname=iqn.x,colour=red\0", "\"colour\" does not belong"),
        (Target, New, "t1", b"targetname=iqn.x,targetname=iqn.y\0", "targetname comes twice"),
        (Target, New, "t1", b"targetname=\0", "targetname has no value"),
        (Target, New, "t1", b"", "--targetname is missing"),
        (Target, New, "t1", b"targetname=iqn.x,\0", "\"\" is not key=value"),
        (Target, New, "t1", b"targetname=\xff\0", "not UTF-8"),
        (Target, Bind, "t1", b"initiator-adress=ALL\0", "accepted: initiator-address, initiator-name"),
        (Target, Update, "t1", b"RedirectReason=Permanently\0", "accepted: Temporary, Permanent"),
        (Target, Update, "t1", b"RedirectPorts=1\0", "\"RedirectPorts\" is not known"),
        (Target, Update, "t1", b"RedirectPort=70000\0", "accepted: 1 to 65535"),
        (Target, Update, "t1", b"RedirectPort=0\0", "accepted: 1 to 65535"),
        (Target, Update, "t1", b"RedirectPort=x\0", "accepted: 1 to 65535"),
        (Target, Update, "t1", b"RedirectPort=+1\0", "accepted: 1 to 65535"),
        (Target, Update, "t1", b"state\0", "is not name=value"),
        (Target, Update, "t1", b"=x\0", "is not name=value"),
        (LogicalUnit, New, "t1 l1", b"path=/a,b\0", "\"b\" is not key=value"),
        (LogicalUnit, New, "t1 l1", b"path=/x,blocksize=1000\0", "--blocksize \"1000\" is not possible"),
        (LogicalUnit, New, "t1 l1", b"path=/x,blocksize=256\0", "--blocksize \"256\" is not possible"),
        (LogicalUnit, New, "t1 l1", b"path=/x,size=7\0", "\"size\" does not belong"),
        (LogicalUnit, Update, "t1 l1", b"", "--params KEY=VALUE"),
        (LogicalUnit, Update, "t1 l1", b"targetOps ,\0", "--params KEY=VALUE"),
        (LogicalUnit, Update, "t1 l1", b"online=1\0", "--params KEY=VALUE"),
        (LogicalUnit, Update, "t1 l1", b"targetOps online=1,online=0,\0", "online comes twice"),
        (LogicalUnit, Update, "t1 l1", b"targetOps online=2,\0", "accepted: 0, 1"),
        (LogicalUnit, Update, "t1 l1", b"targetOps online,\0", "\"online\" is not key=value"),
        (LogicalUnit, Update, "t1 l1", b"targetOps readonly=1,colour=red,\0", "\"colour\" is not a parameter of a unit"),
        (LogicalUnit, Update, "t1 l1", b"targetOps lbppbe=16,\0", "accepted: 0 to 15"),
        (LogicalUnit, Update, "t1 l1", b"targetOps la_lba=0x4000,\0", "accepted: 0 to 16383"),
        (System, Update, "", b"", "is not name=value"),
        (System, Update, "", b"debug=only\0", "accepted: on, off"),
        (System, Update, "", b"iSNSAccessControl=Maybe\0", "accepted: On, Off"),
        (System, Update, "", b"iSNSServerPort=65536\0", "accepted: 0 to 65535"),
        (System, Update, "", b"colour=red\0", "\"colour\" is not known"),
        (Portal, New, "", b"portal=10.0.0.1\0", "--params portal="),
        (Portal, New, "", b"portalOps nop_count=1,\0", "names no portal"),
        (Portal, New, "", b"portalOps portal=1.2.3.4,colour=red,\0", "\"colour=red\" does not belong"),
        (Portal, New, "", b"portalOps portal=1.2.3.4:99999,\0", "no valid port"),
        (Portal, Delete, "", b"portalOps portal=1.2.3.4,nop_count=1,\0", "accepted: portal="),
        (Account, New, "", b"user=u\0", "--password"),
        (Account, New, "", b"user=u,password=\0", "not empty"),
        (Account, New, "", b"x=y,user=u,password=p\0", "nothing else"),
        (Account, Update, "", b"user=u\0", "--password"),
        (Account, Update, "", b"user=u,password=\0", "not empty"),
        (Account, Show, "", b"user=u\0", "--password"),
        (Account, Show, "", b"password=p\0", "--user"),
        (Account, Delete, "", b"user=u,password=p\0", "--password does not belong"),
        (Account, Bind, "t1", b"user=u,initiator-name=iqn.2026-01.a:b\0", "initiator-name=IQN,user=NAME"),
        (Account, Bind, "t1", b"initiator-name=,user=u\0", "initiator-name has no value"),
    ];
    for (mode, op, given, payload, expected) in cases {
        let answer = strict(*mode, *op, given, payload).unwrap_err();
        assert_eq!(answer.kind, TgtadmError::InvalidRequest, "{answer:?}");
        assert!(answer.reason.contains(expected), "{mode:?} {op:?} {payload:?}: {answer:?}");
    }
}

/// The text form makes the valid changes of an update and reports the error.
#[test]
fn update_with_an_error_changes_nothing() {
    let payload = b"targetOps readonly=1,lbppbe=x,\0";
    let lenient = Request::parse(&record(Mode::LogicalUnit, Op::Update, "t1 l1", payload)).unwrap();
    let Request::UnitUpdate { changes, .. } = lenient else { panic!("{lenient:?}") };
    assert_eq!(
        (&changes[0], changes[1].is_err()),
        (&UnitChange::parse("readonly", "1").map_err(ControlError::from), true)
    );
    assert!(strict(Mode::LogicalUnit, Op::Update, "t1 l1", payload).is_err());
}

#[test]
fn refusal_of_an_operation_lists_the_valid_ones() {
    let answer = strict(Mode::LogicalUnit, Op::Bind, "t1 l1", b"").unwrap_err();
    assert!(answer.reason.ends_with("valid: new, delete, stat, update, show"), "{answer:?}");
    let mut other = record(Mode::Lld, Op::Start, "", b"");
    other.header.lld = "json.1/fcoe".to_owned();
    let answer = Request::parse(&other).unwrap_err();
    assert_eq!(
        (answer.kind, answer.reason.contains("\"fcoe\"")),
        (TgtadmError::NoDriver, true),
        "{answer:?}"
    );
}
