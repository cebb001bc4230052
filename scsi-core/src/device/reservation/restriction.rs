//! What reservations of others forbid to a nexus.

use crate::cdb::table::ReservationClass;

/// The reservation that restricts a nexus. A port works it out once for each change of the unit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::device) enum Restriction {
    /// There is no reservation, or it admits the nexus.
    None,
    /// A persistent reservation of a write exclusive type.
    WriteExclusive,
    /// A persistent reservation of an exclusive access type.
    ExclusiveAccess,
    /// RESERVE (6) of another nexus.
    Reserved,
}

impl Restriction {
    /// Whether a command of this class is a conflict (SPC-2 table 8, SPC-4 5.13.1).
    pub(in crate::device) fn forbids(self, class: ReservationClass) -> bool {
        match class {
            ReservationClass::Always => false,
            ReservationClass::Allowed => self == Self::Reserved,
            ReservationClass::Read => matches!(self, Self::Reserved | Self::ExclusiveAccess),
            ReservationClass::Write => self != Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_restriction_forbids_its_classes() {
        use ReservationClass::{Allowed, Always, Read, Write};
        #[rustfmt::skip]
        let cases = [
            (Restriction::None,            [false, false, false, false]),
            (Restriction::WriteExclusive,  [false, false, false, true]),
            (Restriction::ExclusiveAccess, [false, false, true,  true]),
            (Restriction::Reserved,        [false, true,  true,  true]),
        ];
        for (restriction, forbidden) in cases {
            let found = [Always, Allowed, Read, Write].map(|class| restriction.forbids(class));
            assert_eq!(found, forbidden, "{restriction:?}");
        }
    }
}
