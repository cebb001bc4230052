//! SCSI status codes (SAM-5 5.3.1).

/// How a command ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Status {
    /// Done.
    Good = 0x00,
    /// Sense data tells more.
    CheckCondition = 0x02,
    /// A comparison was met.
    ConditionMet = 0x04,
    /// Try later.
    Busy = 0x08,
    /// Somebody else holds a reservation.
    ReservationConflict = 0x18,
    /// No room for another command of this nexus.
    TaskSetFull = 0x28,
    /// An auto contingent allegiance is in force.
    AcaActive = 0x30,
    /// Aborted by another initiator's doing.
    TaskAborted = 0x40,
}
