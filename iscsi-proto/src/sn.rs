//! Sequence numbers (RFC 7143 4.2.2): 32-bit serial numbers with the order of RFC 1982.

/// Declares one wrapping 32-bit sequence number.
macro_rules! serial_number {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// The type has no `Ord`, because serial order is not total; see [`Self::is_before`].
        #[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
        pub struct $name(pub u32);

        impl $name {
            /// The number after this one.
            #[inline]
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.wrapping_add(1))
            }

            /// The number that is `count` after this one.
            #[inline]
            #[must_use]
            pub fn plus(self, count: u32) -> Self {
                Self(self.0.wrapping_add(count))
            }

            /// The number that is `count` before this one.
            #[inline]
            #[must_use]
            pub fn minus(self, count: u32) -> Self {
                Self(self.0.wrapping_sub(count))
            }

            /// Whether this number is before `other` in serial order (RFC 1982 3.2). Two numbers that are 2^31 apart,
            /// whose order RFC 1982 leaves undefined, are each before the other.
            #[inline]
            pub fn is_before(self, other: Self) -> bool {
                (self.0.wrapping_sub(other.0) as i32) < 0
            }

            /// Distance from `earlier` to this number.
            #[inline]
            pub fn since(self, earlier: Self) -> u32 {
                self.0.wrapping_sub(earlier.0)
            }

            /// Whether the number is in `first..=last` in serial order. The range is empty if `last` is one before
            /// `first`, as in the closed command window of RFC 7143 4.2.2.1.
            #[inline]
            pub fn is_within(self, first: Self, last: Self) -> bool {
                self.since(first) < last.next().since(first)
            }
        }
    )*};
}

serial_number! {
    /// Command number within a session (RFC 7143 4.2.2.1).
    CmdSn;
    /// Response number within a connection (RFC 7143 4.2.2.2).
    StatSn;
    /// Number of a Data-In PDU within a command, or of a Data-Out PDU within an R2T (RFC 7143 4.2.2.3).
    DataSn;
    /// Number of an R2T within a command (RFC 7143 4.2.2.3).
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
    fn serial_order_continues_across_the_wrap() {
        assert!(CmdSn(0xffff_fff0).is_before(CmdSn(3)));
        assert!(!CmdSn(3).is_before(CmdSn(0xffff_fff0)));
        assert!(CmdSn(1).is_before(CmdSn(2)));
        assert!(!CmdSn(2).is_before(CmdSn(2)));
    }

    #[test]
    fn window_includes_both_ends_and_may_be_empty() {
        let (first, last) = (CmdSn(0xffff_ffff), CmdSn(1));
        for (sn, inside) in [(0xffff_fffe, false), (0xffff_ffff, true), (0, true), (1, true), (2, false)] {
            assert_eq!(CmdSn(sn).is_within(first, last), inside, "{sn:#x}");
        }
        assert!(!CmdSn(7).is_within(CmdSn(7), CmdSn(6)));
    }
}
