//! Numbers of targets.

/// A target's number, as `tgtadm --tid` has it; more than 0.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Tid(u32);

impl Tid {
    /// `None` for 0 and for what the wire cannot carry.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if number == 0 || number > i32::MAX as u32 { None } else { Some(Self(number)) }
    }

    /// From the wire, where −1 stands for none.
    #[must_use]
    pub const fn from_wire(number: i32) -> Option<Self> {
        if number > 0 { Some(Self(number.cast_unsigned())) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl std::fmt::Display for Tid {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(out)
    }
}
