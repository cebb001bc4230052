//! Service actions, scope and type of PERSISTENT RESERVE IN and OUT (SPC-4 6.15, 6.16).

use super::CdbError;

/// Service actions of PERSISTENT RESERVE IN.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum PersistIn {
    /// READ KEYS.
    ReadKeys = 0x00,
    /// READ RESERVATION.
    ReadReservation = 0x01,
    /// REPORT CAPABILITIES.
    ReportCapabilities = 0x02,
    /// READ FULL STATUS.
    ReadFullStatus = 0x03,
}

/// Service actions of PERSISTENT RESERVE OUT, with SCOPE and TYPE unless they ignore them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PersistOut {
    /// REGISTER.
    Register,
    /// RESERVE.
    Reserve(ScopeType),
    /// RELEASE.
    Release(ScopeType),
    /// CLEAR.
    Clear,
    /// PREEMPT.
    Preempt(ScopeType),
    /// PREEMPT AND ABORT.
    PreemptAndAbort(ScopeType),
    /// REGISTER AND IGNORE EXISTING KEY.
    RegisterAndIgnore,
    /// REGISTER AND MOVE.
    RegisterAndMove,
}

impl PersistOut {
    /// Bytes 1 and 2 of the CDB: SERVICE ACTION; SCOPE and TYPE.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 2] {
        match self {
            Self::Register => [0x00, 0],
            Self::Reserve(what) => [0x01, what.0],
            Self::Release(what) => [0x02, what.0],
            Self::Clear => [0x03, 0],
            Self::Preempt(what) => [0x04, what.0],
            Self::PreemptAndAbort(what) => [0x05, what.0],
            Self::RegisterAndIgnore => [0x06, 0],
            Self::RegisterAndMove => [0x07, 0],
        }
    }
}

/// SCOPE and TYPE in wire format. SPC-4 defines only the scope of a logical unit (0).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ScopeType(pub u8);

impl ScopeType {
    /// The type, for the scope of a logical unit.
    ///
    /// # Errors
    /// [`CdbError::InvalidField`] for another scope or an undefined type.
    pub const fn of_unit(self) -> Result<ReservationType, CdbError> {
        if self.0 >> 4 != 0 {
            return Err(CdbError::InvalidField { byte: 2, bit: Some(7) });
        }
        match ReservationType::from_bits(self.0) {
            Some(kind) => Ok(kind),
            None => Err(CdbError::InvalidField { byte: 2, bit: Some(3) }),
        }
    }
}

/// TYPE of a persistent reservation (SPC-4 6.15.3.4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum ReservationType {
    /// Only the holder may write.
    WriteExclusive = 1,
    /// Only the holder may read and write.
    ExclusiveAccess = 3,
    /// Only registrants may write; one of them holds the reservation.
    WriteExclusiveRegistrantsOnly = 5,
    /// Only registrants may read and write; one of them holds the reservation.
    ExclusiveAccessRegistrantsOnly = 6,
    /// Only registrants may write; each of them holds the reservation.
    WriteExclusiveAllRegistrants = 7,
    /// Only registrants may read and write; each of them holds the reservation.
    ExclusiveAccessAllRegistrants = 8,
}

impl ReservationType {
    /// All types.
    pub const ALL: [Self; 6] = [
        Self::WriteExclusive,
        Self::ExclusiveAccess,
        Self::WriteExclusiveRegistrantsOnly,
        Self::ExclusiveAccessRegistrantsOnly,
        Self::WriteExclusiveAllRegistrants,
        Self::ExclusiveAccessAllRegistrants,
    ];

    /// Decodes TYPE; `None` if it is undefined.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            1 => Self::WriteExclusive,
            3 => Self::ExclusiveAccess,
            5 => Self::WriteExclusiveRegistrantsOnly,
            6 => Self::ExclusiveAccessRegistrantsOnly,
            7 => Self::WriteExclusiveAllRegistrants,
            8 => Self::ExclusiveAccessAllRegistrants,
            _ => return None,
        })
    }

    /// Whether nexuses that the reservation does not admit may not read.
    #[must_use]
    pub const fn forbids_reads(self) -> bool {
        matches!(
            self,
            Self::ExclusiveAccess
                | Self::ExclusiveAccessRegistrantsOnly
                | Self::ExclusiveAccessAllRegistrants
        )
    }

    /// Whether all registrants have the access of the holder.
    #[must_use]
    pub const fn admits_registrants(self) -> bool {
        !matches!(self, Self::WriteExclusive | Self::ExclusiveAccess)
    }

    /// Whether all registrants hold the reservation.
    #[must_use]
    pub const fn is_held_by_all(self) -> bool {
        matches!(self, Self::WriteExclusiveAllRegistrants | Self::ExclusiveAccessAllRegistrants)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_their_number_and_access_rules() {
        #[rustfmt::skip]
        let cases = [
            // number, reads forbidden, registrants admitted, all hold
            (1, (false, false, false)),
            (3, (true,  false, false)),
            (5, (false, true,  false)),
            (6, (true,  true,  false)),
            (7, (false, true,  true)),
            (8, (true,  true,  true)),
        ];
        for (kind, (number, facts)) in ReservationType::ALL.into_iter().zip(cases) {
            assert_eq!(ReservationType::from_bits(number), Some(kind));
            assert_eq!(kind as u8, number);
            let found = (kind.forbids_reads(), kind.admits_registrants(), kind.is_held_by_all());
            assert_eq!(found, facts, "{kind:?}");
        }
        for number in [0, 2, 4, 9, 15] {
            assert_eq!(ReservationType::from_bits(number), None);
        }
    }

    #[test]
    fn undefined_scopes_and_types_are_refused() {
        let refused = |bit| Err(CdbError::InvalidField { byte: 2, bit: Some(bit) });
        assert_eq!(ScopeType(0x05).of_unit(), Ok(ReservationType::WriteExclusiveRegistrantsOnly));
        assert_eq!(ScopeType(0x15).of_unit(), refused(7));
        assert_eq!(ScopeType(0x02).of_unit(), refused(3));
    }
}
