//! Sequence numbers (RFC 7143 4.2.2): 32 bits that wrap, ordered as RFC 1982 says.

/// Declares one wrapping 32-bit sequence number.
macro_rules! serial_number {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// There is no `<` between two of them: the order is not total, see [`Self::is_before`].
        #[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
        pub struct $name(pub u32);

        impl $name {
            /// The number after this one.
            #[inline]
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.wrapping_add(1))
            }

            /// The number `count` places after this one.
            #[inline]
            #[must_use]
            pub fn plus(self, count: u32) -> Self {
                Self(self.0.wrapping_add(count))
            }

            /// The number `count` places before this one.
            #[inline]
            #[must_use]
            pub fn minus(self, count: u32) -> Self {
                Self(self.0.wrapping_sub(count))
            }

            /// Serial order (RFC 1982 3.2): half of the number space lies ahead, half behind. The number
            /// exactly half the space away, whose order RFC 1982 leaves undefined, counts as before.
            #[inline]
            pub fn is_before(self, other: Self) -> bool {
                (self.0.wrapping_sub(other.0) as i32) < 0
            }

            /// How many steps of [`Self::next`] lead from `earlier` to this number.
            #[inline]
            pub fn since(self, earlier: Self) -> u32 {
                self.0.wrapping_sub(earlier.0)
            }

            /// Whether the number lies in `first..=last`, in serial order. A `last` one before `first` is an
            /// empty range: the closed command window of RFC 7143 4.2.2.1.
            #[inline]
            pub fn is_within(self, first: Self, last: Self) -> bool {
                self.since(first) < last.next().since(first)
            }
        }
    )*};
}

serial_number! {
    /// Numbers commands across a session (RFC 7143 4.2.2.1).
    CmdSn;
    /// Numbers responses on one connection (RFC 7143 4.2.2.2).
    StatSn;
    /// Numbers Data-In and Data-Out PDUs within one command or one R2T (RFC 7143 4.2.2.3).
    DataSn;
    /// Numbers the R2Ts of one command (RFC 7143 4.2.2.3).
    R2tSn;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_and_plus_wrap() {
        assert_eq!(CmdSn(u32::MAX).next(), CmdSn(0));
        assert_eq!(StatSn(0xffff_fffe).plus(5), StatSn(3));
        assert_eq!(DataSn(3).minus(5), DataSn(0xffff_fffe));
        assert_eq!(R2tSn(3).since(R2tSn(0xffff_fffe)), 5);
    }

    #[test]
    fn order_is_serial_across_the_wrap() {
        assert!(CmdSn(0xffff_fff0).is_before(CmdSn(3)));
        assert!(!CmdSn(3).is_before(CmdSn(0xffff_fff0)));
        assert!(CmdSn(1).is_before(CmdSn(2)));
        assert!(!CmdSn(2).is_before(CmdSn(2)));
    }

    #[test]
    fn windows_include_both_ends_and_may_be_closed() {
        let (first, last) = (CmdSn(0xffff_ffff), CmdSn(1));
        for (sn, inside) in [(0xffff_fffe, false), (0xffff_ffff, true), (0, true), (1, true), (2, false)] {
            assert_eq!(CmdSn(sn).is_within(first, last), inside, "{sn:#x}");
        }
        assert!(!CmdSn(7).is_within(CmdSn(7), CmdSn(6)));
    }
}
