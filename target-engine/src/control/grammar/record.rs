//! Records become requests by the table of operations.

use super::super::error::{ControlError, TgtadmError};
use super::super::request::{Asked, Driver, Request, text};
use super::super::wire::{Form, Mode, Op, Record};
use super::{ModeRule, Operation, strict};

impl Request {
    /// Reads a record.
    ///
    /// # Errors
    /// The number that the reply carries, and why.
    pub fn parse(record: &Record) -> Result<Self, ControlError> {
        let header = &record.header;
        let (form, name) = Form::of(&header.lld);
        let driver = Driver::from_name(name).ok_or_else(|| {
            let known = Driver::ALL.map(Driver::name).join(", ");
            TgtadmError::NoDriver.because(format!("--lld {name:?} is not a driver; accepted: {known}"))
        })?;
        let wrong = |reason| TgtadmError::InvalidRequest.because(reason);
        let mode = Mode::from_number(header.mode)
            .ok_or_else(|| wrong(format!("mode {} is not known; accepted: 0 to 7", header.mode)))?;
        let op = Op::from_number(header.op)
            .ok_or_else(|| wrong(format!("operation {} is not known; accepted: 0 to 8", header.op)))?;
        let operation = || Operation::find(mode, op, form).ok_or_else(|| no_operation(mode, op, form));
        if form == Form::Json {
            strict::check(operation()?, record)?;
        }
        let text = text(&record.payload)?;
        let request = (operation()?.parse)(&Asked { header, text, driver, form })?;
        if form == Form::Json {
            strict::check_meaning(&request)?;
        }
        Ok(request)
    }
}

/// An operation that a mode does not have.
fn no_operation(mode: Mode, op: Op, form: Form) -> ControlError {
    let kind = match form {
        Form::Text => ModeRule::of(mode).no_operation,
        Form::Json => TgtadmError::InvalidRequest,
    };
    let valid = Operation::words(mode, form);
    kind.because(format!("--op {} is not valid with --mode {}; valid: {valid}", op.word(), mode.word()))
}
