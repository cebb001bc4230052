//! Command lines of tgtadm become records for the daemon, or refusals.
//!
//! tgt's daemon relies on the checks of its client, and takes the strings of a request as one comma-separated text in a
//! fixed order: both are part of the interface.

use target_engine::control::grammar::TAPE;
use target_engine::control::wire::{Form, JSON_LLD, Mode, Op, Record};

use crate::getopt::{Complaint, Getopt, Item};
use crate::given::Given;
use crate::options::{self, with_letters};
use crate::{EINVAL, Refusal, rules};

/// What a command line asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Invocation {
    /// Print the help.
    Help,
    /// Print the version.
    Version,
    /// Send a request.
    Send(Order),
}

/// A request and the daemon it goes to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Order {
    /// The request.
    pub record: Record,
    /// The suffix of the socket's name, which tells several daemons apart; 0 to 32767.
    pub control_port: u16,
    /// Whether to print on standard error how much is sent.
    pub debug: bool,
    /// The form of the answer that is printed. The request that binds an account to an initiator name travels in the JSON
    /// form in any case: a daemon that does not support it would ignore the name in the text form, and bind the account
    /// for any initiator.
    pub form: Form,
}

impl Order {
    fn new(mut given: Given, mode: Mode, op: Op) -> Self {
        given.header.mode = mode as u32;
        given.header.op = op as u32;
        given.strings.name = given.name.map(|name| (name, given.value));
        if given.header.device_type == TAPE {
            given.strings.bstype = Some("ssc".to_owned());
        }
        let has_name = mode == Mode::Account && given.strings.initiator_name.is_some();
        if given.form == Form::Json || has_name {
            let driver = std::mem::take(&mut given.header.lld);
            let name = if driver.is_empty() { JSON_LLD.to_owned() } else { format!("{JSON_LLD}/{driver}") };
            given.header.lld = name;
        }
        let record = Record::new(given.header, given.strings.payload());
        Self { record, control_port: given.control_port, debug: given.debug, form: given.form }
    }

    /// Whether it ends the daemon. Then success means that the daemon has ended.
    #[must_use]
    pub fn ends_the_daemon(&self) -> bool {
        (self.record.header.mode, self.record.header.op) == (Mode::System as u32, Op::Delete as u32)
    }
}

/// Reads the command line, the program's name first. The first error in the order of the words is reported.
///
/// # Errors
/// The message of tgt's tgtadm for the same words, one more line on what is accepted, and tgt's exit code.
pub fn parse(arguments: &[Vec<u8>], posixly_correct: bool) -> Result<Invocation, Refusal> {
    let specs = options::specs();
    let mut getopt = Getopt::new(&specs, arguments, posixly_correct);
    let mut given = Given::default();
    let mut operand = None;
    while let Some(item) = getopt.next_item().map_err(refused_word)? {
        match item {
            Item::Option(b'h', _) => return Ok(Invocation::Help),
            Item::Option(b'V', _) => return Ok(Invocation::Version),
            Item::Option(letter, value) => given.take(letter, value.unwrap_or_default())?,
            Item::Operand(word) => operand = operand.or(Some(word)),
        }
    }
    if let Some(word) = operand {
        let message = [b"tgtadm: unrecognized option '", word, b"'"].concat();
        return Err(Refusal::with_advice(message, &known_options()));
    }
    let missing = |what, letter| Refusal::named(EINVAL, what).but(options::usage(with_letters(&[letter])));
    let op = given.op.ok_or_else(|| missing("specify the operation type", b'o'))?;
    let mode = given.mode.ok_or_else(|| missing("specify the mode", b'm'))?;
    rules::check(mode, op, &given)?;
    Ok(Invocation::Send(Order::new(given, mode, op)))
}

fn refused_word(complaint: Complaint) -> Refusal {
    let right = match complaint.meant.as_slice() {
        [only] => options::usage(with_letters(&[*only])),
        several => format!("accepted: {}", options::names(with_letters(several))),
    };
    Refusal::with_advice(complaint.text, &right)
}

fn known_options() -> String {
    format!("accepted: {}", options::names(|_| true))
}
