//! Records become requests by the rules of tgt.

use super::*;
use crate::control::error::TgtadmError;
use crate::control::wire::{Mode, Op, Record, RequestHeader};

fn record(mode: Mode, op: Op, payload: &[u8]) -> Record {
    let header = RequestHeader { mode: mode as u32, op: op as u32, tid: 1, ..RequestHeader::default() };
    Record::new(header, payload.to_vec())
}

fn parse(mode: Mode, op: Op, payload: &[u8]) -> Result<Request, ControlError> {
    reasoned(&record(mode, op, payload))
}

/// Every refusal has a reason.
fn reasoned(record: &Record) -> Result<Request, ControlError> {
    let answer = Request::parse(record);
    if let Err(refusal) = &answer {
        assert!(refusal.reason.len() > 10, "{record:?}: {refusal:?} has no reason");
    }
    answer
}

fn tid(number: u32) -> Tid {
    Tid::new(number).unwrap()
}

#[test]
fn every_operation_without_strings_is_accepted_or_refused() {
    use Op::*;
    for mode in Mode::ALL {
        for op in Op::ALL {
            let supported = match mode {
                Mode::System => matches!(op, Show | Stat | Delete),
                Mode::Target => matches!(op, Delete | Show | Stat | Bind | Unbind),
                Mode::LogicalUnit => matches!(op, New | Delete | Update | Stat),
                Mode::Portal => op == Show,
                Mode::Lld => matches!(op, Show | Start | Stop),
                Mode::Session => op == Stat,
                Mode::Connection => matches!(op, Show | Stat | Delete),
                Mode::Account => op == Show,
            };
            let answer = parse(mode, op, b"");
            assert_eq!(answer.is_ok(), supported, "{mode:?} {op:?} without strings: {answer:?}");
        }
    }
}

#[test]
fn unknown_numbers_are_refused() {
    let mut unknown = record(Mode::Target, Op::Show, b"");
    unknown.header.mode = 8;
    assert_eq!(reasoned(&unknown), Err(TgtadmError::InvalidRequest.into()));
    unknown.header.mode = 1;
    unknown.header.op = 9;
    assert_eq!(reasoned(&unknown), Err(TgtadmError::InvalidRequest.into()));
    unknown.header.op = 2;
    unknown.header.lld = "fcoe".to_owned();
    assert_eq!(reasoned(&unknown), Err(TgtadmError::NoDriver.into()));
    unknown.header.lld = String::new();
    assert_eq!(reasoned(&unknown), Ok(Request::TargetShow(tid(1))));
    unknown.header.tid = 0;
    assert_eq!(reasoned(&unknown), Err(TgtadmError::NoTarget.into()));
    unknown.header.tid = -1;
    assert_eq!(reasoned(&unknown), Ok(Request::TargetShowAll));
}

/// tgt's daemon crashes on an update or a new target without strings.
#[test]
fn missing_payload_is_refused() {
    for payload in [&b""[..], b"\0", b",\0", b"=\0", b"targetname\0", b"targetname=\0"] {
        assert_eq!(
            parse(Mode::Target, Op::New, payload),
            Err(TgtadmError::InvalidRequest.into()),
            "{payload:?}"
        );
    }
    assert_eq!(parse(Mode::Target, Op::Update, b""), Err(TgtadmError::InvalidRequest.into()));
    assert_eq!(parse(Mode::Target, Op::Update, b"\0"), Err(TgtadmError::InvalidRequest.into()));
    assert_eq!(parse(Mode::Account, Op::New, b""), Err(TgtadmError::InvalidRequest.into()));
    assert_eq!(parse(Mode::System, Op::Update, b"\0"), Err(TgtadmError::InvalidRequest.into()));
}

/// tgt's daemon reads beyond the end of such a payload.
#[test]
fn payload_without_nul_ends_with_the_record() {
    let expected = Ok(Request::TargetNew { tid: tid(1), name: "iqn.2001-04.com.example:a".to_owned() });
    assert_eq!(parse(Mode::Target, Op::New, b"targetname=iqn.2001-04.com.example:a"), expected);
    assert_eq!(parse(Mode::Target, Op::New, b"targetname=iqn.2001-04.com.example:a\0junk"), expected);
}

#[test]
fn payload_that_is_not_utf8_is_refused() {
    assert_eq!(
        parse(Mode::Target, Op::New, b"targetname=\xff\xfe\0"),
        Err(TgtadmError::InvalidRequest.into())
    );
}

#[test]
fn target_names_have_the_characters_that_tgt_accepts() {
    let name = |name: &str| parse(Mode::Target, Op::New, format!("targetname={name}\0").as_bytes()).is_ok();
    assert!(name("iqn.2001-04.com.example:Disk-1.A"));
    assert!(name("disk1"));
    for wrong in ["", "iqn.x_y", "iqn.x y", "iqn/x", "iqn.\u{e9}"] {
        assert!(!name(wrong), "{wrong}");
    }
    assert!(name(&"a".repeat(223)));
    assert!(!name(&"a".repeat(224)));
    let among_others = parse(Mode::Target, Op::New, b"foo=bar,targetname=iqn.x\0");
    assert_eq!(among_others, Ok(Request::TargetNew { tid: tid(1), name: "iqn.x".to_owned() }));
    let cut = parse(Mode::Target, Op::New, b"targetname=iqn.x,baz\0");
    assert_eq!(cut, Err(TgtadmError::InvalidRequest.into()), "a name with a comma is not another name");
}

#[test]
fn bindings() {
    let bind = |payload: &[u8]| match parse(Mode::Target, Op::Bind, payload)? {
        Request::TargetBind { rule, .. } => Ok::<_, ControlError>(rule),
        other => panic!("{other:?}"),
    };
    let initiators = |address: Option<&str>, name: Option<&str>| {
        Ok(Binding::Initiators { address: address.map(str::to_owned), name: name.map(str::to_owned) })
    };
    assert_eq!(bind(b"initiator-address=ALL\0"), initiators(Some("ALL"), None));
    for cut in ["address=10.0.0.1,10.0.0.2", "address=10.0.0.1,", "name=iqn.a,iqn.b"] {
        let refused = bind(format!("initiator-{cut}\0").as_bytes());
        assert_eq!(refused, Err(TgtadmError::InvalidRequest.into()), "{cut}");
    }
    assert_eq!(bind(b"initiator-name=iqn.a:b\0"), initiators(None, Some("iqn.a:b")));
    assert_eq!(
        bind(b"initiator-address=10.0.0.0/8,initiator-name=iqn.a\0"),
        initiators(Some("10.0.0.0/8"), Some("iqn.a"))
    );
    assert_eq!(bind(b""), Ok(Binding::Host(0)));
    assert_eq!(bind(b"\0"), Err(TgtadmError::InvalidRequest.into()));
    assert_eq!(bind(b"initiator-address=\0"), Err(TgtadmError::InvalidRequest.into()));
}

#[test]
fn target_updates_are_split_at_the_first_equals_sign() {
    let update = |payload: &[u8]| match parse(Mode::Target, Op::Update, payload)? {
        Request::TargetUpdate { name, value, .. } => Ok::<_, ControlError>((name, value)),
        other => panic!("{other:?}"),
    };
    let pair = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
    assert_eq!(update(b"HeaderDigest=None,CRC32C\0"), pair("HeaderDigest", "None,CRC32C"));
    assert_eq!(update(b"RedirectCallback=/bin/x a=b\0"), pair("RedirectCallback", "/bin/x a=b"));
    assert_eq!(update(b"state\0"), Err(TgtadmError::UnsupportedOperation.into()));
}

#[test]
fn system_updates() {
    let update = |payload: &[u8]| match parse(Mode::System, Op::Update, payload)? {
        Request::SystemUpdate(changes) => changes.into_iter().collect::<Result<Vec<_>, ControlError>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(update(b"debug=on\0"), Ok(vec![SystemChange::Debug(true)]));
    assert_eq!(update(b"debug=offline\0"), Ok(vec![SystemChange::Debug(false)]));
    assert_eq!(update(b"State=offline\0"), Ok(vec![SystemChange::State(State::Offline)]));
    assert_eq!(
        update(b"iSNS=On,iSNSServerIP=10.0.0.1,iSNSServerPort=3205,iSNSAccessControl=Maybe\0"),
        Ok(vec![
            SystemChange::Isns(true),
            SystemChange::IsnsServer("10.0.0.1".to_owned()),
            SystemChange::IsnsPort(3205),
            SystemChange::IsnsAccessControl(false),
        ])
    );
    for wrong in
        [&b"debug=maybe\0"[..], b"State=gone\0", b"iSNS=Maybe\0", b"iSNSServerPort=x\0", b"colour=red\0"]
    {
        assert_eq!(update(wrong), Err(TgtadmError::InvalidRequest.into()));
    }
}

#[test]
fn units() {
    let mut new = record(Mode::LogicalUnit, Op::New, b"path=/dev/x,bstype=rdwr\0");
    new.header.lun = 7;
    new.header.device_type = 5;
    let strings = UnitStrings {
        path: Some("/dev/x".to_owned()),
        bstype: Some("rdwr".to_owned()),
        ..UnitStrings::default()
    };
    assert_eq!(reasoned(&new), Ok(Request::UnitNew { tid: tid(1), lun: 7, device_type: 5, strings }));
    assert_eq!(parse(Mode::LogicalUnit, Op::Show, b""), Err(TgtadmError::UnsupportedOperation.into()));
    let update = parse(Mode::LogicalUnit, Op::Update, b"targetOps online=0,\0");
    assert_eq!(
        update,
        Ok(Request::UnitUpdate {
            tid: tid(1),
            lun: u64::MAX,
            changes: vec![Ok(UnitChange::parse("online", "0").unwrap())]
        })
    );
}

#[test]
fn deletion_has_a_time_for_commands_to_complete() {
    let ask = |mode, force, payload: &[u8]| {
        let mut record = record(mode, Op::Delete, payload);
        (record.header.lun, record.header.force) = (2, force);
        reasoned(&record)
    };
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    for (force, payload, within) in [
        (0, &b""[..], None),
        (1, b"", seconds(0)),
        (0, b"drain=30\0", seconds(30)),
        (1, b"drain=3600\0", seconds(3600)),
    ] {
        assert_eq!(ask(Mode::Target, force, payload), Ok(Request::TargetDelete { tid: tid(1), within }));
        let unit = Request::UnitDelete { tid: tid(1), lun: 2, within };
        assert_eq!(ask(Mode::LogicalUnit, force, payload), Ok(unit));
    }
    for wrong in [&b"drain=\0"[..], b"drain=-1\0", b"drain=3601\0", b"drain=soon\0"] {
        let error = ask(Mode::Target, 1, wrong).unwrap_err();
        assert!(error.reason.contains("0 to 3600 seconds"), "{error:?}");
    }
}

#[test]
fn portals() {
    let new = parse(Mode::Portal, Op::New, b"portalOps portal=[::1]:860,\0");
    let options = PortalOptions::parse("portal=[::1]:860").unwrap();
    assert_eq!(new, Ok(Request::PortalNew(options.clone())));
    assert_eq!(parse(Mode::Portal, Op::Delete, b"portal=[::1]:860\0"), Ok(Request::PortalDelete(options)));
    for wrong in [&b"portalOps 10.0.0.1,\0"[..], b"portal=\0", b"portal=1.2.3.4:99999\0", b""] {
        assert_eq!(parse(Mode::Portal, Op::New, wrong), Err(TgtadmError::InvalidRequest.into()));
    }
}

#[test]
fn accounts() {
    let new = |payload: &[u8]| parse(Mode::Account, Op::New, payload);
    let expected = Request::AccountNew { user: "u".to_owned(), password: Secret::new("p,x=y".to_owned()) };
    assert_eq!(new(b"user=u,password=p,x=y\0"), Ok(expected));
    for wrong in [&b"user=u\0"[..], b"user=,password=p\0", b"password=p,user=u\0", b"user=u,pass=p\0"] {
        assert_eq!(new(wrong), Err(TgtadmError::InvalidRequest.into()), "{wrong:?}");
    }
    let update = parse(Mode::Account, Op::Update, b"user=u,password=p,x=y\0");
    let password = Secret::new("p,x=y".to_owned());
    assert_eq!(update, Ok(Request::AccountUpdate { user: "u".to_owned(), password }));
    let no_password = parse(Mode::Account, Op::Update, b"user=u\0");
    assert_eq!(no_password, Err(TgtadmError::InvalidRequest.into()));
    let mut bind = record(Mode::Account, Op::Bind, b"user=u\0");
    bind.header.ac_dir = 1;
    let direction = Direction::Outgoing;
    let expected = |tid| Request::AccountBind { tid, user: "u".to_owned(), direction, name: None };
    assert_eq!(reasoned(&bind), Ok(expected(Some(tid(1)))));
    bind.header.tid = -1;
    assert_eq!(reasoned(&bind), Ok(expected(None)));
}

#[test]
fn account_of_a_target_is_bound_to_a_name() {
    const PAYLOAD: &[u8] = b"initiator-name=iqn.2026-01.a:b,user=u,initiator-name=c\0";
    let name = IscsiName::parse("iqn.2026-01.a:b").ok();
    let (user, direction) = ("u,initiator-name=c".to_owned(), Direction::Incoming);
    let bound = Request::AccountBind { tid: Some(tid(1)), user: user.clone(), direction, name: name.clone() };
    assert_eq!(parse(Mode::Account, Op::Bind, PAYLOAD), Ok(bound));
    let unbound = Request::AccountUnbind { tid: Some(tid(1)), user, direction, name };
    assert_eq!(parse(Mode::Account, Op::Unbind, PAYLOAD), Ok(unbound));
    for wrong in ["", "iqn", "secret", "iqn.2026-01.a:b c", "iqn.2026-01.a:user=x"] {
        let payload = format!("initiator-name={wrong},user=u\0");
        let refused = parse(Mode::Account, Op::Bind, payload.as_bytes());
        assert_eq!(refused, Err(TgtadmError::InvalidRequest.into()), "{wrong:?}");
    }
    for (tid, ac_dir) in [(-1, 0), (1, 1)] {
        let mut record = record(Mode::Account, Op::Bind, b"initiator-name=iqn.2026-01.a:b,user=u\0");
        (record.header.tid, record.header.ac_dir) = (tid, ac_dir);
        let reason = reasoned(&record).unwrap_err().reason;
        assert!(reason.contains("--initiator-name needs --tid"), "{reason}");
    }
}

#[test]
fn a_secret_is_not_printed() {
    assert_eq!(format!("{:?}", Secret::new("hush".to_owned())), "Secret");
}

proptest::proptest! {
    #[test]
    fn no_record_panics(
        mode in 0u32..10,
        op in 0u32..11,
        tid in proptest::num::i32::ANY,
        payload in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
    ) {
        let header = RequestHeader { mode, op, tid, ..RequestHeader::default() };
        let _ = Request::parse(&Record::new(header, payload));
    }

    #[test]
    fn no_text_panics(
        mode in 0u32..8,
        op in 0u32..9,
        payload in "[a-z=,:\\[\\]0-9]{0,40}(=|,|portal=|user=|mode_page=|,password=)[a-z=,:0-9]{0,40}",
    ) {
        let header = RequestHeader { mode, op, tid: 1, ..RequestHeader::default() };
        let _ = Request::parse(&Record::new(header, payload.into_bytes()));
    }
}
