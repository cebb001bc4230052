//! The table of operations.

use super::super::error::ControlError;
use super::super::request::{Asked, Key, Request, parse};
use super::super::wire::{Mode, Op};
use super::Number::{Cid, DeviceType, Force, Host, Lun, Outgoing, Sid, Tid};
use super::StringsForm::{Account, Keys, MaybeAccount, None as NoStrings, Pair, Pairs, Parameters, Portals};
use super::{CD, DISK, Demand, Number, Operation, StringsForm, TAPE, Wording};

type Parser = fn(&Asked<'_>) -> Result<Request, ControlError>;

/// Options that must all be given.
const fn all(options: &'static [u8], message: &'static str) -> Demand {
    Demand { message, options, any: false, accepted: None, spares: |_| false }
}

// The wording of each is tgt's, its slips included: scripts match on it.
const TARGET_NAME: &Demand = &all(b"T", "creating new target requires a name, use --targetname");
const NAME_AND_VALUE: &Demand = &all(b"nv", "update operation requires 'name' and 'value' options");
const USER_AND_PASSWORD: &Demand = &all(b"up", "'user' and 'password' options are required");
const USER: &Demand = &all(b"u", "'user' option is necessary");
const INITIATOR: &Demand =
    &Demand { any: true, ..all(b"IQBH", "{op} operation requires initiator-address, initiator-nameor bus") };
const STORE: &Demand = &Demand {
    spares: |header| matches!(header.device_type, DISK | CD | TAPE),
    ..all(b"b", "'backing-store' option is necessary")
};
const PORTAL: &Demand = &Demand {
    accepted: Some("--params portal=ADDRESS[:PORT], behind --mode portal"),
    ..all(b"P", "you must specify --param portal=<portal>")
};

const TARGET_NAMES: StringsForm = Keys(&[Key::TargetName], &[]);
const INITIATORS: StringsForm = Keys(&[], &[Key::InitiatorAddress, Key::InitiatorName]);
const STORES: StringsForm = Keys(&[], &[Key::Path, Key::Bstype, Key::Bsopts, Key::Bsoflags, Key::Blocksize]);
const DRAIN: StringsForm = Keys(&[], &[Key::Drain]);
const USERS: StringsForm = Keys(&[Key::User], &[]);
const USERS_AND_NAMES: StringsForm = Keys(&[Key::User], &[Key::InitiatorName]);

/// An operation with the numbers it needs and takes.
const fn row(
    mode: Mode,
    op: Op,
    (needs, takes): (&'static [Number], &'static [Number]),
    strings: StringsForm,
    parse: Parser,
) -> Operation {
    Operation {
        mode,
        op,
        json_only: false,
        needs,
        takes,
        record_only: &[],
        strings,
        ignored: &[],
        commas: &[],
        demand: None,
        wording: Wording::NotAllowed,
        parse,
    }
}

impl Operation {
    const fn demands(self, demand: &'static Demand) -> Self {
        Self { demand: Some(demand), ..self }
    }

    const fn worded(self, wording: Wording) -> Self {
        Self { wording, ..self }
    }

    const fn json_only(self) -> Self {
        Self { json_only: true, ..self }
    }

    const fn ignores(self, ignored: &'static [Key]) -> Self {
        Self { ignored, ..self }
    }

    const fn with_commas(self, commas: &'static [Key]) -> Self {
        Self { commas, ..self }
    }
}

/// All operations. Within a mode they are in the order in which a list of what is valid names them.
#[rustfmt::skip]
pub const OPERATIONS: &[Operation] = &[
    row(Mode::System, Op::Show,   (&[], &[]), NoStrings, |_| Ok(Request::SystemShow)).worded(Wording::Unchecked),
    row(Mode::System, Op::Delete, (&[], &[]), NoStrings, |_| Ok(Request::SystemDelete)).worded(Wording::Unchecked),
    row(Mode::System, Op::Stat,   (&[], &[]), NoStrings, |_| Ok(Request::SystemStat)).worded(Wording::Unchecked),
    row(Mode::System, Op::Update, (&[], &[]), Pairs, parse::system_update).demands(NAME_AND_VALUE),

    row(Mode::Target, Op::New,    (&[Tid], &[]), TARGET_NAMES, parse::target_new).demands(TARGET_NAME),
    row(Mode::Target, Op::Delete, (&[Tid], &[Force]), DRAIN, parse::target_delete),
    row(Mode::Target, Op::Show,   (&[], &[Tid]), NoStrings, parse::target_show),
    row(Mode::Target, Op::Stat,   (&[], &[Tid]), NoStrings, parse::target_stat),
    row(Mode::Target, Op::Bind,   (&[Tid], &[Host]), INITIATORS, parse::target_bind).demands(INITIATOR),
    // A rule that tgt's daemon has taken with a comma can be taken back only by the same words.
    row(Mode::Target, Op::Unbind, (&[Tid], &[Host]), INITIATORS, parse::target_unbind).demands(INITIATOR)
        .with_commas(&[Key::InitiatorAddress, Key::InitiatorName]),
    row(Mode::Target, Op::Update, (&[Tid], &[]), Pair, parse::target_update).demands(NAME_AND_VALUE),

    row(Mode::LogicalUnit, Op::New,    (&[Tid, Lun], &[DeviceType]), STORES, parse::unit_new).demands(STORE),
    row(Mode::LogicalUnit, Op::Delete, (&[Tid, Lun], &[Force]), DRAIN, parse::unit_delete),
    Operation {
        record_only: &[Sid],
        ..row(Mode::LogicalUnit, Op::Stat, (&[Tid, Lun], &[]), NoStrings, parse::unit_stat)
    },
    row(Mode::LogicalUnit, Op::Update, (&[Tid, Lun], &[]), Parameters, parse::unit_update)
        .worded(Wording::NotSupported).ignores(&[Key::Bsoflags, Key::Blocksize]),
    row(Mode::LogicalUnit, Op::Show,   (&[Tid], &[Lun]), NoStrings, parse::unit_show).json_only(),

    row(Mode::Portal, Op::New,    (&[], &[]), Portals(&["portal", "nop_interval", "nop_count"]), parse::portal_new).demands(PORTAL),
    row(Mode::Portal, Op::Delete, (&[], &[]), Portals(&["portal"]), parse::portal_delete).demands(PORTAL),
    row(Mode::Portal, Op::Show,   (&[], &[]), NoStrings, |_| Ok(Request::PortalShow)).worded(Wording::NotSupported),

    row(Mode::Lld, Op::Start, (&[], &[]), NoStrings, |asked| Ok(Request::LldStart(asked.driver))),
    row(Mode::Lld, Op::Stop,  (&[], &[]), NoStrings, |asked| Ok(Request::LldStop(asked.driver))),
    row(Mode::Lld, Op::Show,  (&[], &[]), NoStrings, |_| Ok(Request::LldShow)),

    row(Mode::Session, Op::Stat, (&[Sid], &[Tid]), NoStrings, parse::session_stat),
    row(Mode::Session, Op::Show, (&[], &[Tid, Sid]), NoStrings, parse::session_show).json_only(),

    row(Mode::Connection, Op::Show,   (&[Tid], &[]), NoStrings, parse::connection_show),
    row(Mode::Connection, Op::Stat,   (&[Sid], &[Tid, Cid]), NoStrings, parse::connection_stat),
    row(Mode::Connection, Op::Delete, (&[Tid, Sid], &[Cid]), NoStrings, parse::connection_delete),

    row(Mode::Account, Op::New,    (&[], &[]), Account, parse::account_new).demands(USER_AND_PASSWORD)
        .ignores(&[Key::Bsoflags]),
    row(Mode::Account, Op::Update, (&[], &[]), Account, parse::account_update).demands(USER_AND_PASSWORD),
    row(Mode::Account, Op::Show,   (&[], &[]), MaybeAccount, parse::account_show),
    // The name is all that there is.
    row(Mode::Account, Op::Delete, (&[], &[]), USERS, parse::account_delete).with_commas(&[Key::User]),
    row(Mode::Account, Op::Bind,   (&[], &[Tid, Outgoing]), USERS_AND_NAMES, parse::account_bind).demands(USER)
        .with_commas(&[Key::User]),
    row(Mode::Account, Op::Unbind, (&[], &[Tid, Outgoing]), USERS_AND_NAMES, parse::account_unbind).demands(USER)
        .with_commas(&[Key::User]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::grammar::{ModeRule, OPTIONS};
    use crate::control::wire::Form;

    #[test]
    fn each_operation_has_one_row_and_each_mode_its_rule() {
        for (index, row) in OPERATIONS.iter().enumerate() {
            let is_again = |other: &Operation| (other.mode, other.op) == (row.mode, row.op);
            assert!(!OPERATIONS[..index].iter().any(is_again), "{:?} {:?}", row.mode, row.op);
        }
        for mode in Mode::ALL {
            assert_eq!(ModeRule::of(mode).mode, mode);
        }
    }

    #[test]
    fn what_tgtadm_demands_is_an_option_that_it_accepts() {
        for row in OPERATIONS {
            for short in row.demand.map_or(&b""[..], |demand| demand.options) {
                let option = OPTIONS.iter().find(|option| option.short == *short).unwrap();
                assert!(
                    row.takes_option(option, Form::Text),
                    "{:?} {:?}: --{}",
                    row.mode,
                    row.op,
                    option.long
                );
            }
        }
    }
}
