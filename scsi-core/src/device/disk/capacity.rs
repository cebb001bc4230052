//! READ CAPACITY (10) and (16) (SBC-3 5.16, 5.17).

use super::super::answer::{Answer, data_in};
use super::super::request::Request;
use super::super::unit::UnitState;
use crate::page::read_capacity::ReadCapacity;

/// Length of READ CAPACITY (10) data in bytes; the CDB has no allocation length.
const LEN_10: u32 = 8;

pub(super) fn read_capacity_10(request: &Request<'_>) -> Answer {
    request.needs_medium()?;
    Ok(data_in(capacity(request.state).encode_10(), LEN_10))
}

pub(super) fn read_capacity_16(request: &Request<'_>, allocation_len: u32) -> Answer {
    request.needs_medium()?;
    Ok(data_in(capacity(request.state).encode_16(), allocation_len))
}

fn capacity(state: &UnitState) -> ReadCapacity {
    let medium = state.medium();
    ReadCapacity {
        last_lba: medium.blocks.saturating_sub(1),
        block_len: state.config().block_len,
        physical_exponent: state.physical_exponent(),
        lowest_aligned_lba: state.config().la_lba,
        provisioning: medium.thin,
        zeroes: medium.thin && medium.capabilities.discard_zeroes,
    }
}
