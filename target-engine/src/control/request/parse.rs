//! What each operation's numbers and strings mean. The table of operations says which of these functions reads which.

use std::time::Duration;

use iscsi_proto::name::IscsiName;

use super::super::error::{ControlError, TgtadmError};
use super::super::wire::{Form, REQUEST_HEADER_LEN, RequestHeader};
use super::strings::{after, pairs, whole_values};
use super::{Asked, Binding, Direction, Key, Request, Secret, UnitStrings, settings, unit};
use crate::limits::DRAIN_MAX;
use crate::model::Tid;
use crate::model::error::ModelError;
use crate::model::number::c_number;
use crate::model::portal::PortalOptions;

type Answer = Result<Request, ControlError>;

fn tid(header: &RequestHeader) -> Result<Tid, ControlError> {
    Tid::from_wire(header.tid).ok_or_else(|| ControlError { kind: TgtadmError::NoTarget, ..no_tid(header) })
}

fn no_tid(header: &RequestHeader) -> ControlError {
    wrong(match header.tid {
        -1 => "--tid is missing: the target's number, 1 or more".to_owned(),
        number => format!("--tid {number} is not a target's number; accepted: 1 to {}", i32::MAX),
    })
}

fn wrong(reason: impl Into<String>) -> ControlError {
    TgtadmError::InvalidRequest.because(reason)
}

/// Whether an object in use may be deleted, and how long its commands have to end: no time with `--force` alone. tgt
/// ignores the strings.
fn within(asked: &Asked<'_>) -> Result<Option<Duration>, ControlError> {
    let Some((_, seconds)) = pairs(asked.text).find(|(key, _)| *key == Key::Drain.word()) else {
        return Ok((asked.header.force != 0).then_some(Duration::ZERO));
    };
    let time = c_number(seconds).map(Duration::from_secs).filter(|time| *time <= DRAIN_MAX);
    time.map(Some).ok_or_else(|| {
        let most = DRAIN_MAX.as_secs();
        TgtadmError::InvalidRequest
            .because(format!("--drain {seconds:?} is not possible; accepted: 0 to {most} seconds"))
    })
}

pub(in crate::control) fn system_update(asked: &Asked<'_>) -> Answer {
    if asked.text.is_empty() {
        let names = settings::names();
        return Err(wrong(format!("--name and --value are missing; accepted names: {names}")));
    }
    Ok(Request::SystemUpdate(pairs(asked.text).map(|pair| Ok(settings::change(pair)?)).collect()))
}

pub(in crate::control) fn target_new(asked: &Asked<'_>) -> Answer {
    let tid = Tid::from_wire(asked.header.tid).ok_or_else(|| no_tid(asked.header))?;
    let names = pairs(asked.text).filter(|(key, _)| *key == Key::TargetName.word()).map(|(_, value)| value);
    let name = names.last().ok_or_else(|| wrong("--targetname is missing: the new target's iSCSI name"))?;
    whole_values(asked.text, &[Key::TargetName])?;
    target_name(name)?;
    Ok(Request::TargetNew { tid, name: name.to_owned() })
}

pub(in crate::control) fn target_delete(asked: &Asked<'_>) -> Answer {
    Ok(Request::TargetDelete { tid: tid(asked.header)?, within: within(asked)? })
}

pub(in crate::control) fn target_show(asked: &Asked<'_>) -> Answer {
    if asked.header.tid < 0 {
        return Ok(Request::TargetShowAll);
    }
    tid(asked.header).map(Request::TargetShow)
}

pub(in crate::control) fn target_stat(asked: &Asked<'_>) -> Answer {
    if asked.header.tid < 0 {
        return Ok(Request::TargetStat(None));
    }
    tid(asked.header).map(|tid| Request::TargetStat(Some(tid)))
}

pub(in crate::control) fn target_bind(asked: &Asked<'_>) -> Answer {
    Ok(Request::TargetBind { tid: tid(asked.header)?, rule: binding(asked)? })
}

pub(in crate::control) fn target_unbind(asked: &Asked<'_>) -> Answer {
    Ok(Request::TargetUnbind { tid: tid(asked.header)?, rule: binding(asked)? })
}

pub(in crate::control) fn target_update(asked: &Asked<'_>) -> Answer {
    let text = asked.text;
    if text.is_empty() {
        return Err(wrong("--name and --value are missing"));
    }
    let no_value = || TgtadmError::UnsupportedOperation.because(format!("--name {text:?} has no value"));
    let (name, value) = text.split_once('=').ok_or_else(no_value)?;
    Ok(Request::TargetUpdate { tid: tid(asked.header)?, name: name.to_owned(), value: value.to_owned() })
}

/// Refuses a name that tgt refuses. Whether it is an iSCSI name is not checked, as by tgt.
fn target_name(name: &str) -> Result<(), ControlError> {
    let allowed = |c: &char| c.is_ascii_alphanumeric() || ":.-".contains(*c);
    if let Some(strange) = name.chars().find(|c| !allowed(c)) {
        let reason =
            format!("--targetname {name:?}: {strange:?} is not allowed; accepted: A-Z a-z 0-9 : . -");
        return Err(wrong(reason));
    }
    if !(1..=TARGET_NAME_LEN_MAX).contains(&name.len()) {
        let reason =
            format!("--targetname has {} characters; accepted: 1 to {TARGET_NAME_LEN_MAX}", name.len());
        return Err(wrong(reason));
    }
    Ok(())
}

/// RFC 7143 4.2.7.1.
const TARGET_NAME_LEN_MAX: usize = 223;

fn binding(asked: &Asked<'_>) -> Result<Binding, ControlError> {
    if asked.header.len as usize == REQUEST_HEADER_LEN {
        return Ok(Binding::Host(asked.header.host_no));
    }
    whole_values(asked.text, &[Key::InitiatorAddress, Key::InitiatorName])?;
    let value = |marker| {
        let value = after(asked.text, marker)?.split(',').next().unwrap_or_default().trim();
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

pub(in crate::control) fn unit_new(asked: &Asked<'_>) -> Answer {
    let RequestHeader { lun, device_type, .. } = *asked.header;
    let (tid, strings) = (tid(asked.header)?, UnitStrings::parse(asked.text)?);
    Ok(Request::UnitNew { tid, lun, device_type, strings })
}

/// Without a target it is the unit that is missing, as with tgt.
pub(in crate::control) fn unit_delete(asked: &Asked<'_>) -> Answer {
    let tid = tid(asked.header).map_err(|error| ControlError { kind: TgtadmError::NoLun, ..error })?;
    Ok(Request::UnitDelete { tid, lun: asked.header.lun, within: within(asked)? })
}

pub(in crate::control) fn unit_update(asked: &Asked<'_>) -> Answer {
    let changes = unit::changes(asked.text);
    Ok(Request::UnitUpdate { tid: tid(asked.header)?, lun: asked.header.lun, changes })
}

pub(in crate::control) fn unit_stat(asked: &Asked<'_>) -> Answer {
    let RequestHeader { lun, sid, .. } = *asked.header;
    Ok(Request::UnitStat { tid: tid(asked.header)?, lun, sid })
}

pub(in crate::control) fn unit_show(asked: &Asked<'_>) -> Answer {
    Ok(Request::UnitShow { tid: tid(asked.header)?, lun: asked.header.lun })
}

pub(in crate::control) fn portal_new(asked: &Asked<'_>) -> Answer {
    portals(asked.text).map(Request::PortalNew)
}

pub(in crate::control) fn portal_delete(asked: &Asked<'_>) -> Answer {
    portals(asked.text).map(Request::PortalDelete)
}

fn portals(text: &str) -> Result<PortalOptions, ControlError> {
    let form = "portal=ADDRESS[:PORT], an IPv6 address in brackets";
    let list = text.find("portal=").map(|at| &text[at..]);
    let list = list.ok_or_else(|| wrong(format!("--params names no portal; accepted: {form}")))?;
    PortalOptions::parse(list).map_err(|error| wrong(format!("--params {error}; accepted: {form}")))
}

pub(in crate::control) fn session_stat(asked: &Asked<'_>) -> Answer {
    Ok(Request::SessionStat { sid: asked.header.sid })
}

pub(in crate::control) fn session_show(asked: &Asked<'_>) -> Answer {
    Ok(Request::SessionShow { tid: Tid::from_wire(asked.header.tid), sid: asked.header.sid })
}

pub(in crate::control) fn connection_show(asked: &Asked<'_>) -> Answer {
    tid(asked.header).map(Request::ConnectionShow)
}

pub(in crate::control) fn connection_stat(asked: &Asked<'_>) -> Answer {
    let RequestHeader { sid, cid, .. } = *asked.header;
    Ok(Request::ConnectionStat { sid, cid })
}

pub(in crate::control) fn connection_delete(asked: &Asked<'_>) -> Answer {
    let RequestHeader { sid, cid, .. } = *asked.header;
    Ok(Request::ConnectionDelete { tid: tid(asked.header)?, sid, cid })
}

pub(in crate::control) fn account_new(asked: &Asked<'_>) -> Answer {
    user_and_password(asked.text).map(|(user, password)| Request::AccountNew { user, password })
}

pub(in crate::control) fn account_update(asked: &Asked<'_>) -> Answer {
    user_and_password(asked.text).map(|(user, password)| Request::AccountUpdate { user, password })
}

/// In the text form a user and a password are ignored, as by tgt.
pub(in crate::control) fn account_show(asked: &Asked<'_>) -> Answer {
    if asked.form == Form::Text || asked.text.is_empty() {
        return Ok(Request::AccountShow);
    }
    user_and_password(asked.text).map(|(user, password)| Request::AccountCompare { user, password })
}

pub(in crate::control) fn account_delete(asked: &Asked<'_>) -> Answer {
    Ok(Request::AccountDelete { user: user(asked)? })
}

pub(in crate::control) fn account_bind(asked: &Asked<'_>) -> Answer {
    let (tid, user, direction) = account_scope(asked)?;
    let name = name_of_account(asked, &user)?;
    Ok(Request::AccountBind { tid, user, direction, name })
}

pub(in crate::control) fn account_unbind(asked: &Asked<'_>) -> Answer {
    let (tid, user, direction) = account_scope(asked)?;
    let name = name_of_account(asked, &user)?;
    Ok(Request::AccountUnbind { tid, user, direction, name })
}

/// The initiator name of an account's binding. It comes before `user=`: everything after that belongs to the account's
/// name.
fn name_of_account(asked: &Asked<'_>, user: &str) -> Result<Option<IscsiName>, ControlError> {
    if asked.form == Form::Json && user.contains(',') {
        return Err(wrong(
            "initiator-name= after user= is not possible; accepted: initiator-name=IQN,user=NAME",
        ));
    }
    let before = asked.text.split_once("user=").map_or("", |(before, _)| before);
    let Some(name) = after(before, "initiator-name=") else { return Ok(None) };
    // A name that is cut here is not the whole value.
    let name = name.strip_suffix(',').unwrap_or_default();
    let parsed =
        IscsiName::parse(name).map_err(|error| ModelError::NameRule { rule: name.to_owned(), error })?;
    if asked.header.tid == -1 || asked.header.ac_dir != 0 {
        return Err(wrong(
            "--initiator-name needs --tid and goes without --outgoing: only a target checks the names of its incoming accounts",
        ));
    }
    Ok(Some(parsed))
}

/// The target, or none for discovery; the account; and who is authenticated by it.
fn account_scope(asked: &Asked<'_>) -> Result<(Option<Tid>, String, Direction), ControlError> {
    let tid = if asked.header.tid == -1 { None } else { Some(tid(asked.header)?) };
    let direction = if asked.header.ac_dir == 0 { Direction::Incoming } else { Direction::Outgoing };
    Ok((tid, user(asked)?, direction))
}

fn user(asked: &Asked<'_>) -> Result<String, ControlError> {
    let user = after(asked.text, "user=");
    user.map(str::to_owned).ok_or_else(|| wrong("--user is missing: the account's name"))
}

/// Everything after `password=` belongs to the password.
fn user_and_password(payload: &str) -> Result<(String, Secret), ControlError> {
    let (user, password) = after(payload, "user=")
        .and_then(|rest| rest.split_once(",password="))
        .filter(|(user, _)| !user.is_empty() && !user.contains(','))
        .ok_or_else(|| wrong("--user (not empty, without a comma) and --password are needed"))?;
    Ok((user.to_owned(), Secret::new(password.to_owned())))
}
