//! RFC 7143 through the whole stack, one module for each part: an initiator and the engine in memory.

mod data_in;
mod data_out;
mod digests;
mod discovery;
mod early_end;
mod framing;
mod login;
mod logout;
mod nop;
mod numbering;
mod reject;
mod residuals;
mod sessions;
mod task_management;
mod text;

use iscsi_proto::params::SessionParams;
use tgt_tests::initiator::{Initiator, LoginOptions};
use tgt_tests::pair::Pair;

/// READ (10) and WRITE (10) of the first four blocks, 2048 bytes.
const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 4, 0];
const WRITE: [u8; 10] = [0x2a, 0, 0, 0, 0, 0, 0, 0, 4, 0];
const TEST_UNIT_READY: [u8; 6] = [0; 6];

/// Logs in with changed session parameters.
fn login_with(pair: &Pair, change: impl FnOnce(&mut SessionParams)) -> Initiator {
    let mut options = LoginOptions::default();
    change(&mut options.keys.session);
    Initiator::login_as(pair, &options)
}
