//! One-byte codes with named values. A code without a name keeps its number.

/// Declares a one-byte code and the values that the standard names; `Debug` prints the name or the number.
macro_rules! open_code {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $code:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Eq, Hash, PartialEq)]
        pub struct $name(pub u8);

        impl $name {
            $($(#[$value_doc])* pub const $value: Self = Self($code);)*
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match *self {
                    $(Self::$value => f.write_str(stringify!($value)),)*
                    Self(code) => write!(f, concat!(stringify!($name), "({:#04x})"), code),
                }
            }
        }
    };
}

pub(super) use open_code;

#[cfg(test)]
mod tests {
    use crate::pdu::RejectReason;

    #[test]
    fn debug_prints_the_name_or_the_number() {
        let (known, unknown) = (RejectReason::PROTOCOL_ERROR, RejectReason(0xfe));
        assert_eq!(format!("{known:?} {unknown:?}"), "PROTOCOL_ERROR RejectReason(0xfe)");
    }
}
