//! Targets.

use std::collections::{BTreeMap, BTreeSet};

use scsi_core::lun::Lun;

use super::account::BoundAccounts;
use super::acl::{Acl, Matching};
use super::error::{ModelError, ParameterError};
use super::number::c_number;
use super::parameters::Parameters;
use super::state::State;
use super::tid::Tid;
use super::unit::TargetUnit;
use crate::limits::TARGET_LOOPS_MAX;

/// A target of the configuration.
#[derive(Debug)]
pub struct Target {
    /// Its number.
    pub tid: Tid,
    /// Its iSCSI name as given.
    pub name: String,
    /// Whether it accepts logins and commands.
    pub state: State,
    /// Seconds of silence before it pings an initiator; 0 for never.
    pub nop_interval: u32,
    /// Unanswered pings before it closes a connection.
    pub nop_count: u32,
    /// The parameters that it negotiates with.
    pub parameters: Parameters,
    /// Where logins are redirected to.
    pub redirect: Redirect,
    /// Its units; LUN 0 is the controller.
    pub units: BTreeMap<Lun, TargetUnit>,
    /// Units that are being made or removed: their numbers are in use.
    pub busy_units: BTreeSet<Lun>,
    /// The access rules.
    pub acl: Acl,
    /// The accounts for authentication.
    pub accounts: BoundAccounts,
    /// The number of loops that serve it.
    pub loops: usize,
}

/// Login redirection (RFC 7143 13.8): to a fixed address, or to the one that a command prints.
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

/// For how long a redirection applies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RedirectReason {
    /// This login only.
    Temporary,
    /// All later logins, too.
    Permanent,
}

/// What an update changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Updated {
    /// It applies to later logins only.
    Configuration,
    /// The loops need the new settings.
    Settings,
    /// The number of loops.
    Loops,
}

impl Target {
    /// Makes a target that is ready, admits no initiator, and has its controller only. It pings after `nop_interval`
    /// seconds of silence, `nop_count` times.
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
    /// The name is not known, or the value is not one of its values.
    pub fn update(&mut self, name: &str, value: &str) -> Result<Updated, ModelError> {
        if let Some(row) = OwnRow::find(name) {
            (row.set)(self, value).ok_or_else(|| row.refused(name, value))?;
            return Ok(row.updated);
        }
        let unknown = || {
            let keys = OwnRow::names().chain(Parameters::names()).collect::<Vec<_>>();
            ParameterError::Unknown { name: name.to_owned(), accepted: keys.join(", ") }
        };
        self.parameters.set(name, value).ok_or_else(unknown)??;
        Ok(Updated::Settings)
    }

    /// Returns whether a unit has this number, also one that is being made or removed.
    #[must_use]
    pub fn has_unit(&self, lun: Lun) -> bool {
        self.units.contains_key(&lun) || self.busy_units.contains(&lun)
    }
}

/// A parameter of a target that is not a key of a session.
struct OwnRow {
    /// Its name. tgt compares only the beginning of the names of redirection.
    name: &'static str,
    by_beginning: bool,
    accepted: Accepted,
    updated: Updated,
    set: fn(&mut Target, &str) -> Option<()>,
}

/// The accepted values, for a refusal.
#[derive(Clone, Copy)]
enum Accepted {
    Words(&'static str),
    /// From, to.
    Numbers(u64, u64),
}

use Accepted::{Numbers, Words};

const fn own(
    name: &'static str,
    accepted: Accepted,
    updated: Updated,
    set: fn(&mut Target, &str) -> Option<()>,
) -> OwnRow {
    OwnRow { name, by_beginning: false, accepted, updated, set }
}

const fn redirect(
    name: &'static str,
    accepted: Accepted,
    set: fn(&mut Target, &str) -> Option<()>,
) -> OwnRow {
    OwnRow { by_beginning: true, ..own(name, accepted, Updated::Configuration, set) }
}

const LOOPS: OwnRow = own("loops", Numbers(1, TARGET_LOOPS_MAX as u64), Updated::Loops, |t, v| {
    t.loops = loops(v).ok()?;
    Some(())
});

/// In the order in which a refusal lists them.
#[rustfmt::skip]
const OWN_ROWS: [OwnRow; 9] = [
    own("state", Words("ready, offline"), Updated::Settings, |t, v| { t.state = State::from_word(v)?; Some(()) }),
    own("nop_interval", Numbers(0, i32::MAX as u64), Updated::Settings, |t, v| { t.nop_interval = up_to_31_bits(v)?; Some(()) }),
    own("nop_count", Numbers(0, i32::MAX as u64), Updated::Settings, |t, v| { t.nop_count = up_to_31_bits(v)?; Some(()) }),
    LOOPS,
    own("acl-match", Words("any, all"), Updated::Configuration, |t, v| { t.acl.set_matching(Matching::from_word(v)?); Some(()) }),
    redirect("RedirectAddress", Words(""), |t, v| { v.clone_into(&mut t.redirect.address); Some(()) }),
    redirect("RedirectPort", Numbers(1, u16::MAX as u64), |t, v| { v.clone_into(&mut t.redirect.port); Some(()) }),
    redirect("RedirectReason", Words("Temporary, Permanent"), |t, v| { t.redirect.reason = Some(RedirectReason::parse(v)?); Some(()) }),
    redirect("RedirectCallback", Words(""), |t, v| { v.clone_into(&mut t.redirect.callback); Some(()) }),
];

impl std::fmt::Display for Accepted {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Words(words) => out.write_str(words),
            Numbers(low, high) => write!(out, "{low} to {high}"),
        }
    }
}

impl OwnRow {
    /// Finds the parameter that an update of this name changes.
    fn find(name: &str) -> Option<&'static Self> {
        OWN_ROWS.iter().find(|row| row.name == name || row.by_beginning && name.starts_with(row.name))
    }

    fn refused(&self, name: &str, value: &str) -> ParameterError {
        let accepted = self.accepted.to_string();
        ParameterError::Value { name: name.to_owned(), value: value.to_owned(), accepted }
    }

    /// Returns the names of all of them.
    fn names() -> impl Iterator<Item = &'static str> {
        OWN_ROWS.iter().map(|row| row.name)
    }
}

/// Refuses a name or a value that [`Target::update`] accepts by its beginning.
///
/// # Errors
/// The name begins as a parameter of redirection but is none, or the value is not exactly one of its words.
pub fn check_exact(name: &str, value: &str) -> Result<(), ParameterError> {
    if !name.starts_with("Redirect") {
        return Ok(());
    }
    let Some(row) = OWN_ROWS.iter().find(|row| row.name == name) else {
        let names = OWN_ROWS.iter().filter(|row| row.by_beginning).map(|row| row.name);
        let accepted = names.collect::<Vec<_>>().join(", ");
        return Err(ParameterError::Unknown { name: name.to_owned(), accepted });
    };
    let is_exact = match row.accepted {
        Words(words) => words.is_empty() || words.split(", ").any(|word| word == value),
        Numbers(low, high) => {
            let is_decimal = value.bytes().all(|byte| byte.is_ascii_digit());
            // An empty value is that of a target without redirection.
            value.is_empty()
                || is_decimal && value.parse().is_ok_and(|port: u64| (low..=high).contains(&port))
        }
    };
    if is_exact { Ok(()) } else { Err(row.refused(name, value)) }
}

impl RedirectReason {
    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Temporary, Self::Permanent].into_iter().find(|reason| word.starts_with(reason.word()))
    }

    /// Returns the word for reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Temporary => "Temporary",
            Self::Permanent => "Permanent",
        }
    }
}

/// Parses the number of loops that a target asks for.
///
/// # Errors
/// It is not a number, or out of bounds.
pub(crate) fn loops(value: &str) -> Result<usize, ParameterError> {
    let loops = c_number(value).and_then(|loops| usize::try_from(loops).ok());
    let loops = loops.filter(|loops| (1..=TARGET_LOOPS_MAX).contains(loops));
    loops.ok_or_else(|| LOOPS.refused(LOOPS.name, value))
}

fn up_to_31_bits(value: &str) -> Option<u32> {
    let number = c_number(value).and_then(|number| u32::try_from(number).ok());
    number.filter(|number| *number <= i32::MAX.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use iscsi_proto::name::IscsiName;

    use super::*;

    fn target() -> Target {
        use crate::model::parameters::Defaults;
        use scsi_core::device::unit::UnitConfig;
        let controller = TargetUnit::controller(UnitConfig::controller(1));
        let parameters = Parameters::new(Defaults::Tgt);
        Target::new(Tid::new(1).unwrap(), "iqn.x:1".to_owned(), controller, parameters, (5, 3), 1)
    }

    #[test]
    fn updates_change_parameters() {
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
    fn invalid_updates_are_refused() {
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
            let answer = target.update(name, value);
            assert!(matches!(answer, Err(ModelError::Parameter(_))), "{name}={value}: {answer:?}");
        }
        assert_eq!((target.nop_interval, target.loops, target.state), (5, 1, State::Ready));
    }

    #[test]
    fn new_target_has_its_controller_and_admits_none() {
        let target = target();
        assert!(target.has_unit(Lun::ZERO) && !target.has_unit(Lun::new(1).unwrap()));
        assert!(!target.acl.allows("127.0.0.1".parse().unwrap(), &IscsiName::parse_any("iqn.a").unwrap()));
    }
}
