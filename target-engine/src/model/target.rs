//! A target as the configuration has it.

use std::collections::{BTreeMap, BTreeSet};

use scsi_core::lun::Lun;

use super::Tid;
use super::account::BoundAccounts;
use super::acl::{Acl, Matching};
use super::number::c_number;
use super::parameters::Parameters;
use super::state::State;
use super::unit::TargetUnit;
use crate::control::error::{ControlError, TgtadmError};
use crate::limits::TARGET_LOOPS_MAX;

/// A target.
#[derive(Debug)]
pub struct Target {
    /// Its number.
    pub tid: Tid,
    /// Its iSCSI name as given.
    pub name: String,
    /// Whether it takes logins and commands.
    pub state: State,
    /// Seconds of silence before it pings an initiator; 0 for never.
    pub nop_interval: u32,
    /// Pings without an answer before it gives a connection up.
    pub nop_count: u32,
    /// The keys it negotiates with.
    pub parameters: Parameters,
    /// Where it sends initiators instead.
    pub redirect: Redirect,
    /// Its units; LUN 0 is the controller.
    pub units: BTreeMap<Lun, TargetUnit>,
    /// Units that are being made or removed: their numbers are taken.
    pub busy_units: BTreeSet<Lun>,
    /// Who may log in.
    pub acl: Acl,
    /// What initiators must prove.
    pub accounts: BoundAccounts,
    /// Loops that serve it.
    pub loops: usize,
}

/// Login redirection (RFC 7143 13.8): a fixed address, or a command that tells one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Redirect {
    /// Empty for none.
    pub address: String,
    /// As given.
    pub port: String,
    /// `None` until it is set.
    pub reason: Option<RedirectReason>,
    /// Empty for none.
    pub callback: String,
}

/// For how long initiators shall go elsewhere.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RedirectReason {
    /// This time.
    Temporary,
    /// From now on.
    Permanent,
}

/// What an update changed, for those who must know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Updated {
    /// Only later logins see it.
    Configuration,
    /// The loops must be told.
    Settings,
    /// The number of loops.
    Loops,
}

impl Target {
    /// A new target: ready, open to nobody, with its controller. It pings after `nop_interval` seconds of silence,
    /// `nop_count` times.
    #[must_use]
    pub fn new(
        tid: Tid,
        name: String,
        controller: TargetUnit,
        parameters: Parameters,
        (nop_interval, nop_count): (u32, u32),
        loops: usize,
    ) -> Self {
        Self {
            tid,
            name,
            state: State::Ready,
            nop_interval,
            nop_count,
            parameters,
            redirect: Redirect::default(),
            units: BTreeMap::from([(Lun::ZERO, controller)]),
            busy_units: BTreeSet::new(),
            acl: Acl::default(),
            accounts: BoundAccounts::default(),
            loops: loops.clamp(1, TARGET_LOOPS_MAX),
        }
    }

    /// Changes a parameter by its name.
    ///
    /// # Errors
    /// The name is not known, or the value is none of its values.
    pub fn update(&mut self, name: &str, value: &str) -> Result<Updated, ControlError> {
        match name {
            "state" => {
                let state = State::from_word(value);
                self.state = state.ok_or_else(|| wrong_value(name, value, "ready, offline"))?;
            }
            "nop_interval" => self.nop_interval = up_to_31_bits(name, value)?,
            "nop_count" => self.nop_count = up_to_31_bits(name, value)?,
            "loops" => {
                self.loops = loops(value)?;
                return Ok(Updated::Loops);
            }
            "acl-match" => {
                let matching = Matching::from_word(value);
                self.acl.set_matching(matching.ok_or_else(|| wrong_value(name, value, "any, all"))?);
                return Ok(Updated::Configuration);
            }
            _ if name.starts_with("Redirect") => {
                self.redirect.update(name, value)?;
                return Ok(Updated::Configuration);
            }
            _ => self.parameters.set(name, value)?,
        }
        Ok(Updated::Settings)
    }

    /// Whether the number of a unit is taken, if only for now.
    #[must_use]
    pub fn has_unit(&self, lun: Lun) -> bool {
        self.units.contains_key(&lun) || self.busy_units.contains(&lun)
    }
}

impl Redirect {
    fn update(&mut self, name: &str, value: &str) -> Result<(), ControlError> {
        let value = value.to_owned();
        if name.starts_with("RedirectAddress") {
            self.address = value;
        } else if name.starts_with("RedirectPort") {
            self.port = value;
        } else if name.starts_with("RedirectReason") {
            let reason = RedirectReason::parse(&value);
            self.reason = Some(reason.ok_or_else(|| wrong_value(name, &value, "Temporary, Permanent"))?);
        } else if name.starts_with("RedirectCallback") {
            self.callback = value;
        } else {
            return Err(unknown_name(name));
        }
        Ok(())
    }
}

impl RedirectReason {
    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Temporary, Self::Permanent].into_iter().find(|reason| word.starts_with(reason.word()))
    }

    /// As reports have it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Temporary => "Temporary",
            Self::Permanent => "Permanent",
        }
    }
}

/// How many loops a target may ask for.
pub(crate) fn loops(value: &str) -> Result<usize, ControlError> {
    let loops = c_number(value).and_then(|loops| usize::try_from(loops).ok());
    let loops = loops.filter(|loops| (1..=TARGET_LOOPS_MAX).contains(loops));
    loops.ok_or_else(|| wrong_value("loops", value, &format!("1 to {TARGET_LOOPS_MAX}")))
}

fn up_to_31_bits(name: &str, value: &str) -> Result<u32, ControlError> {
    let number = c_number(value).and_then(|number| u32::try_from(number).ok());
    let number = number.filter(|number| *number <= i32::MAX.cast_unsigned());
    number.ok_or_else(|| wrong_value(name, value, "0 to 2147483647"))
}

/// A name that is known, with a value that is none of its.
pub(super) fn wrong_value(name: &str, value: &str, accepted: &str) -> ControlError {
    let reason = format!("--name {name} --value {value:?} is not possible; accepted: {accepted}");
    TgtadmError::InvalidRequest.because(reason)
}

/// A name that no target parameter has.
pub(super) fn unknown_name(name: &str) -> ControlError {
    let keys = Parameters::names().collect::<Vec<_>>().join(", ");
    TgtadmError::InvalidRequest
        .because(format!("--name {name:?} is not known; accepted: {OWN_NAMES}, {keys}"))
}

/// What a target has besides its keys.
const OWN_NAMES: &str = "state, nop_interval, nop_count, loops, acl-match, RedirectAddress, RedirectPort, RedirectReason, RedirectCallback";

#[cfg(test)]
mod tests {
    use iscsi_proto::name::IscsiName;

    use super::*;
    use TgtadmError::InvalidRequest;

    fn target() -> Target {
        use crate::model::parameters::Defaults;
        use scsi_core::device::unit::UnitConfig;
        let controller = TargetUnit::controller(UnitConfig::controller(1));
        let parameters = Parameters::new(Defaults::Stock);
        Target::new(Tid::new(1).unwrap(), "iqn.x:1".to_owned(), controller, parameters, (5, 3), 1)
    }

    #[test]
    fn updates() {
        let mut target = target();
        assert_eq!(target.update("state", "offline"), Ok(Updated::Settings));
        assert_eq!(target.state, State::Offline);
        assert_eq!(target.update("nop_interval", "7"), Ok(Updated::Settings));
        assert_eq!(target.update("nop_count", "9"), Ok(Updated::Settings));
        assert_eq!((target.nop_interval, target.nop_count), (7, 9));
        assert_eq!(target.update("maxqueuecmd", "7"), Ok(Updated::Settings));
        assert_eq!(target.parameters.number(super::super::parameters::Key::MaxQueueCmd), 7);
        assert_eq!(target.update("loops", "2"), Ok(Updated::Loops));
        assert_eq!(target.loops, 2);
        assert_eq!(target.update("acl-match", "all"), Ok(Updated::Configuration));
        assert_eq!(target.acl.matching(), Matching::All);
        assert_eq!(target.update("RedirectAddress", "10.0.0.9"), Ok(Updated::Configuration));
        assert_eq!(target.update("RedirectPort", "3261"), Ok(Updated::Configuration));
        assert_eq!(target.update("RedirectReason", "Permanently"), Ok(Updated::Configuration));
        assert_eq!(target.update("RedirectCallback", "/bin/x"), Ok(Updated::Configuration));
        let reason = Some(RedirectReason::Permanent);
        assert_eq!((target.redirect.address.as_str(), target.redirect.reason), ("10.0.0.9", reason));
        assert_eq!((target.redirect.port.as_str(), target.redirect.callback.as_str()), ("3261", "/bin/x"));
    }

    #[test]
    fn updates_that_are_refused() {
        let mut target = target();
        let cases = [
            ("state", "readyy"),
            ("State", "ready"),
            ("nop_interval", "x"),
            ("nop_interval", "-1"),
            ("loops", "0"),
            ("loops", "65"),
            ("acl-match", "both"),
            ("RedirectReason", "Perhaps"),
            ("RedirectColour", "red"),
            ("colour", "red"),
            ("", ""),
        ];
        for (name, value) in cases {
            assert_eq!(target.update(name, value), Err(InvalidRequest.into()), "{name}={value}");
        }
        assert_eq!((target.nop_interval, target.loops, target.state), (5, 1, State::Ready));
    }

    #[test]
    fn a_new_target_has_its_controller_and_lets_nobody_in() {
        let target = target();
        assert!(target.has_unit(Lun::ZERO) && !target.has_unit(Lun::new(1).unwrap()));
        assert!(!target.acl.allows("127.0.0.1".parse().unwrap(), &IscsiName::parse_any("iqn.a").unwrap()));
    }
}
