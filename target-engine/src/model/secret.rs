//! The secret of a CHAP account.

/// A CHAP secret. It is never printed, and wiped when it is dropped.
#[derive(Clone)]
pub struct Secret(zeroize::Zeroizing<String>);

/// Compares in constant time: the time does not depend on the stored secret.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        let chap = |secret: &Self| iscsi_proto::chap::Secret::new(secret.reveal());
        chap(self).is_same(&chap(other))
    }
}

impl Eq for Secret {}

impl Secret {
    /// Takes the secret over; the string is wiped when this is dropped.
    #[must_use]
    pub fn new(secret: String) -> Self {
        Self(zeroize::Zeroizing::new(secret))
    }

    /// Returns the secret, to compute a CHAP response.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns whether it is shorter than the 96 bits that RFC 7143 12.1.3 requires.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        iscsi_proto::chap::Secret::new(self.reveal()).is_weak()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Secret")
    }
}
