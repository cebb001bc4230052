//! SCSI status codes (SAM-5 5.3.1).

/// Status of a completed command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Status {
    /// GOOD: the command succeeded.
    Good = 0x00,
    /// CHECK CONDITION: sense data describes the result.
    CheckCondition = 0x02,
    /// CONDITION MET: a comparison succeeded.
    ConditionMet = 0x04,
    /// BUSY: the logical unit cannot accept the command now.
    Busy = 0x08,
    /// RESERVATION CONFLICT: a reservation of another nexus forbids the command.
    ReservationConflict = 0x18,
    /// TASK SET FULL: the logical unit cannot accept another command of this nexus.
    TaskSetFull = 0x28,
    /// ACA ACTIVE: an auto contingent allegiance condition exists.
    AcaActive = 0x30,
    /// TASK ABORTED: another nexus aborted the command.
    TaskAborted = 0x40,
}
