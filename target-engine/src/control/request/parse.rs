//! Records become requests: the header's numbers and the strings' pairs, mode by mode.

use std::time::Duration;

use super::super::error::{ControlError, TgtadmError};
use super::super::wire::{Form, Mode, Op, REQUEST_HEADER_LEN, Record, RequestHeader};
use super::strings::{after, pairs, text, whole_values};
use super::{Binding, Direction, Driver, Request, Secret, State, SystemChange, UnitStrings, strict, unit};
use crate::limits::DRAIN_MAX;
use crate::model::Tid;
use crate::model::number::c_number;
use crate::model::portal::PortalOptions;

impl Request {
    /// Reads a record.
    ///
    /// # Errors
    /// The number that the reply carries.
    pub fn parse(record: &Record) -> Result<Self, ControlError> {
        let header = &record.header;
        let (form, name) = Form::of(&header.lld);
        let driver = Driver::from_name(name).ok_or_else(|| {
            let known = Driver::ALL.map(Driver::name).join(", ");
            TgtadmError::NoDriver.because(format!("--lld {name:?} is no driver; accepted: {known}"))
        })?;
        let mode = Mode::from_number(header.mode)
            .ok_or_else(|| wrong(format!("mode {} is not known; accepted: 0 to 7", header.mode)))?;
        let op = Op::from_number(header.op)
            .ok_or_else(|| wrong(format!("operation {} is not known; accepted: 0 to 8", header.op)))?;
        if form == Form::Json {
            strict::check(mode, op, record)?;
            let request =
                json_only(mode, op, record).unwrap_or_else(|| Self::of(mode, op, driver, record))?;
            return strict::check_meaning(&request).map(|()| request);
        }
        Self::of(mode, op, driver, record)
    }

    fn of(mode: Mode, op: Op, driver: Driver, record: &Record) -> Result<Self, ControlError> {
        let header = &record.header;
        let payload = text(&record.payload)?;
        match mode {
            Mode::System => system(op, payload),
            Mode::Target => target(op, header, payload),
            Mode::LogicalUnit => logical_unit(op, header, payload),
            Mode::Portal => portal(op, payload),
            Mode::Lld => lld(op, driver),
            Mode::Session => session(op, header),
            Mode::Connection => connection(op, header),
            Mode::Account => account(op, header, payload),
        }
    }
}

/// What stock has no text for.
fn json_only(mode: Mode, op: Op, record: &Record) -> Option<Result<Request, ControlError>> {
    let header = &record.header;
    match (mode, op) {
        (Mode::Account, Op::Show) if !record.payload.is_empty() => {
            let account = text(&record.payload).and_then(user_and_password);
            Some(account.map(|(user, password)| Request::AccountCompare { user, password }))
        }
        (Mode::Session, Op::Show) => {
            Some(Ok(Request::SessionShow { tid: Tid::from_wire(header.tid), sid: header.sid }))
        }
        (Mode::LogicalUnit, Op::Show) => {
            Some(tid(header).map(|tid| Request::UnitShow { tid, lun: header.lun }))
        }
        _ => None,
    }
}

fn tid(header: &RequestHeader) -> Result<Tid, ControlError> {
    Tid::from_wire(header.tid).ok_or_else(|| ControlError { kind: TgtadmError::NoTarget, ..no_tid(header) })
}

fn no_tid(header: &RequestHeader) -> ControlError {
    wrong(match header.tid {
        -1 => "--tid is missing: the target's number, 1 or more".to_owned(),
        number => format!("--tid {number} is no target's number; accepted: 1 to {}", i32::MAX),
    })
}

fn wrong(reason: impl Into<String>) -> ControlError {
    TgtadmError::InvalidRequest.because(reason)
}

/// An operation that a mode does not have.
fn no_operation(mode: Mode, op: Op) -> ControlError {
    let known = match mode {
        Mode::System => "show, stat, update, delete",
        Mode::Target => "new, delete, bind, unbind, update, show, stat",
        Mode::LogicalUnit => "new, delete, update, stat",
        Mode::Portal => "new, delete, show",
        Mode::Lld => "start, stop, show",
        Mode::Session => "stat",
        Mode::Connection => "show, stat, delete",
        Mode::Account => "new, delete, bind, unbind, update, show",
    };
    let kind = match mode {
        Mode::LogicalUnit | Mode::Account => TgtadmError::UnsupportedOperation,
        _ => TgtadmError::InvalidRequest,
    };
    kind.because(format!("--op {} is no operation of mode {}; accepted: {known}", op.word(), mode.word()))
}

/// Whether what is in use may be deleted, and how long what runs there has; no time at all with force alone. A stock
/// daemon does not look at the payload.
fn within(header: &RequestHeader, payload: &str) -> Result<Option<Duration>, ControlError> {
    let Some((_, seconds)) = pairs(payload).find(|(key, _)| *key == "drain") else {
        return Ok((header.force != 0).then_some(Duration::ZERO));
    };
    let time = c_number(seconds).map(Duration::from_secs).filter(|time| *time <= DRAIN_MAX);
    time.map(Some).ok_or_else(|| {
        let most = DRAIN_MAX.as_secs();
        TgtadmError::InvalidRequest
            .because(format!("--drain {seconds:?} is no time; accepted: 0 to {most} seconds"))
    })
}

fn system(op: Op, payload: &str) -> Result<Request, ControlError> {
    match op {
        Op::Show => Ok(Request::SystemShow),
        Op::Stat => Ok(Request::SystemStat),
        Op::Delete => Ok(Request::SystemDelete),
        Op::Update if payload.is_empty() => {
            Err(wrong(format!("--name and --value are missing; accepted names: {SYSTEM_NAMES}")))
        }
        Op::Update => Ok(Request::SystemUpdate(pairs(payload).map(system_change).collect())),
        _ => Err(no_operation(Mode::System, op)),
    }
}

const SYSTEM_NAMES: &str = "debug, State, iSNS, iSNSServerIP, iSNSServerPort, iSNSAccessControl";

fn system_change((key, value): (&str, &str)) -> Result<SystemChange, ControlError> {
    let wrong_value =
        |accepted| wrong(format!("--name {key} --value {value:?} is not possible; accepted: {accepted}"));
    let on_off = |value: &str| match value {
        "On" => Ok(true),
        "Off" => Ok(false),
        _ => Err(wrong_value("On, Off")),
    };
    Ok(match key {
        "debug" if value.starts_with("on") => SystemChange::Debug(true),
        "debug" if value.starts_with("off") => SystemChange::Debug(false),
        "debug" => return Err(wrong_value("on, off")),
        "State" => SystemChange::State(State::from_word(value).ok_or_else(|| wrong_value("ready, offline"))?),
        "iSNS" => SystemChange::Isns(on_off(value)?),
        "iSNSServerIP" => SystemChange::IsnsServer(value.to_owned()),
        "iSNSServerPort" => SystemChange::IsnsPort(value.parse().map_err(|_| wrong_value("0 to 65535"))?),
        "iSNSAccessControl" => SystemChange::IsnsAccessControl(value == "On"),
        _ => return Err(wrong(format!("--name {key:?} is not known; accepted: {SYSTEM_NAMES}"))),
    })
}

fn target(op: Op, header: &RequestHeader, payload: &str) -> Result<Request, ControlError> {
    match op {
        Op::New => {
            let tid = Tid::from_wire(header.tid).ok_or_else(|| no_tid(header))?;
            let name = pairs(payload).filter(|(key, _)| *key == "targetname").map(|(_, value)| value).last();
            let name = name.ok_or_else(|| wrong("--targetname is missing: the new target's iSCSI name"))?;
            whole_values(payload, &["targetname"])?;
            target_name(name)?;
            Ok(Request::TargetNew { tid, name: name.to_owned() })
        }
        Op::Delete => Ok(Request::TargetDelete { tid: tid(header)?, within: within(header, payload)? }),
        Op::Show if header.tid < 0 => Ok(Request::TargetShowAll),
        Op::Show => Ok(Request::TargetShow(tid(header)?)),
        Op::Stat if header.tid < 0 => Ok(Request::TargetStat(None)),
        Op::Stat => Ok(Request::TargetStat(Some(tid(header)?))),
        Op::Bind => Ok(Request::TargetBind { tid: tid(header)?, rule: binding(header, payload)? }),
        Op::Unbind => Ok(Request::TargetUnbind { tid: tid(header)?, rule: binding(header, payload)? }),
        Op::Update if payload.is_empty() => Err(wrong("--name and --value are missing")),
        Op::Update => {
            let no_value =
                || TgtadmError::UnsupportedOperation.because(format!("--name {payload:?} has no value"));
            let (name, value) = payload.split_once('=').ok_or_else(no_value)?;
            Ok(Request::TargetUpdate { tid: tid(header)?, name: name.to_owned(), value: value.to_owned() })
        }
        Op::Start | Op::Stop => Err(no_operation(Mode::Target, op)),
    }
}

/// What stock takes as a name; whether it is an iSCSI name is not asked here, as it is not there.
fn target_name(name: &str) -> Result<(), ControlError> {
    let allowed = |letter: &char| letter.is_ascii_alphanumeric() || ":.-".contains(*letter);
    if let Some(strange) = name.chars().find(|letter| !allowed(letter)) {
        let reason =
            format!("--targetname {name:?}: {strange:?} is not allowed; accepted: A-Z a-z 0-9 : . -");
        return Err(wrong(reason));
    }
    if !(1..=TARGET_NAME_LEN_MAX).contains(&name.len()) {
        let reason = format!("--targetname has {} letters; accepted: 1 to {TARGET_NAME_LEN_MAX}", name.len());
        return Err(wrong(reason));
    }
    Ok(())
}

/// RFC 7143 4.2.7.1.
const TARGET_NAME_LEN_MAX: usize = 223;

fn binding(header: &RequestHeader, payload: &str) -> Result<Binding, ControlError> {
    if header.len as usize == REQUEST_HEADER_LEN {
        return Ok(Binding::Host(header.host_no));
    }
    whole_values(payload, &["initiator-address", "initiator-name"])?;
    let value = |marker| {
        let value = after(payload, marker)?.split(',').next().unwrap_or_default().trim();
        (!value.is_empty()).then(|| value.to_owned())
    };
    match (value("initiator-address="), value("initiator-name=")) {
        (None, None) => {
            let reason = "--initiator-address (an address, a network a.b.c.d/n, or ALL) or --initiator-name is missing";
            Err(wrong(reason))
        }
        (address, name) => Ok(Binding::Initiators { address, name }),
    }
}

fn logical_unit(op: Op, header: &RequestHeader, payload: &str) -> Result<Request, ControlError> {
    let lun = header.lun;
    Ok(match op {
        Op::New => Request::UnitNew {
            tid: tid(header)?,
            lun,
            device_type: header.device_type,
            strings: UnitStrings::parse(payload)?,
        },
        // Stock misses the unit before it misses the target.
        Op::Delete => {
            let tid = tid(header).map_err(|error| ControlError { kind: TgtadmError::NoLun, ..error })?;
            Request::UnitDelete { tid, lun, within: within(header, payload)? }
        }
        Op::Update => Request::UnitUpdate { tid: tid(header)?, lun, changes: unit::changes(payload) },
        Op::Stat => Request::UnitStat { tid: tid(header)?, lun, sid: header.sid },
        _ => return Err(no_operation(Mode::LogicalUnit, op)),
    })
}

fn portal(op: Op, payload: &str) -> Result<Request, ControlError> {
    let options = || {
        let form = "portal=ADDRESS[:PORT], an IPv6 address in brackets";
        let list = payload.find("portal=").map(|at| &payload[at..]);
        let list = list.ok_or_else(|| wrong(format!("--params names no portal; accepted: {form}")))?;
        PortalOptions::parse(list).map_err(|error| wrong(format!("--params {error}; accepted: {form}")))
    };
    match op {
        Op::New => options().map(Request::PortalNew),
        Op::Delete => options().map(Request::PortalDelete),
        Op::Show => Ok(Request::PortalShow),
        _ => Err(no_operation(Mode::Portal, op)),
    }
}

fn lld(op: Op, driver: Driver) -> Result<Request, ControlError> {
    match op {
        Op::Show => Ok(Request::LldShow),
        Op::Start => Ok(Request::LldStart(driver)),
        Op::Stop => Ok(Request::LldStop(driver)),
        _ => Err(no_operation(Mode::Lld, op)),
    }
}

fn session(op: Op, header: &RequestHeader) -> Result<Request, ControlError> {
    match op {
        Op::Stat => Ok(Request::SessionStat { sid: header.sid }),
        _ => Err(no_operation(Mode::Session, op)),
    }
}

fn connection(op: Op, header: &RequestHeader) -> Result<Request, ControlError> {
    let RequestHeader { sid, cid, .. } = *header;
    match op {
        Op::Show => Ok(Request::ConnectionShow(tid(header)?)),
        Op::Stat => Ok(Request::ConnectionStat { sid, cid }),
        Op::Delete => Ok(Request::ConnectionDelete { tid: tid(header)?, sid, cid }),
        _ => Err(no_operation(Mode::Connection, op)),
    }
}

fn account(op: Op, header: &RequestHeader, payload: &str) -> Result<Request, ControlError> {
    let user = || {
        let user = after(payload, "user=");
        user.map(str::to_owned).ok_or_else(|| wrong("--user is missing: the account's name"))
    };
    let scope = || if header.tid == -1 { Ok(None) } else { tid(header).map(Some) };
    let direction = if header.ac_dir == 0 { Direction::Incoming } else { Direction::Outgoing };
    match op {
        Op::New => user_and_password(payload).map(|(user, password)| Request::AccountNew { user, password }),
        Op::Update => {
            user_and_password(payload).map(|(user, password)| Request::AccountUpdate { user, password })
        }
        Op::Delete => Ok(Request::AccountDelete { user: user()? }),
        Op::Show => Ok(Request::AccountShow),
        Op::Bind => Ok(Request::AccountBind { tid: scope()?, user: user()?, direction }),
        Op::Unbind => Ok(Request::AccountUnbind { tid: scope()?, user: user()?, direction }),
        _ => Err(no_operation(Mode::Account, op)),
    }
}

/// The password is the rest, whatever is in it.
fn user_and_password(payload: &str) -> Result<(String, Secret), ControlError> {
    let (user, password) = after(payload, "user=")
        .and_then(|rest| rest.split_once(",password="))
        .filter(|(user, _)| !user.is_empty() && !user.contains(','))
        .ok_or_else(|| wrong("--user (not empty, without a comma) and --password are needed"))?;
    Ok((user.to_owned(), Secret::new(password.to_owned())))
}
