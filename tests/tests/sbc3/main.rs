//! SBC-3 and SPC-4 through the whole stack: what each command returns to the initiator and does to the store.

mod read_verify;
mod several_nexuses;
mod space;
mod write;

use scsi_core::sense::AdditionalSense;
use tgt_tests::initiator::{Initiator, Io, Reply};
use tgt_tests::pair::Pair;
use tgt_tests::setup::Setup;
use tgt_tests::sim_store::SimStore;

const OUT_OF_RANGE: Option<(u8, AdditionalSense)> =
    Some((5, AdditionalSense::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE));
const BAD_FIELD: Option<(u8, AdditionalSense)> = Some((5, AdditionalSense::INVALID_FIELD_IN_CDB));

/// A disk of 4 MiB, 8192 blocks.
fn disk() -> (Pair, SimStore, Initiator) {
    let (setup, store) = Setup::sim();
    let pair = Pair::new(setup);
    let session = Initiator::login(&pair);
    (pair, store, session)
}

/// A 10-byte CDB with a range of blocks.
fn cdb_10(opcode: u8, flags: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let (lba, blocks) = (lba.to_be_bytes(), blocks.to_be_bytes());
    [opcode, flags, lba[0], lba[1], lba[2], lba[3], 0, blocks[0], blocks[1], 0]
}

fn test_unit_ready(session: &mut Initiator) -> Reply {
    session.run(&[0; 6], Io::None)
}
