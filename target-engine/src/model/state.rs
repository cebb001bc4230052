//! The states that an operator sets: of the system and its targets, and of the drivers.

/// The state of the system or of a target: whether new logins are accepted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum State {
    /// New logins are accepted.
    #[default]
    Ready,
    /// New logins are refused; sessions that exist go on.
    Offline,
}

/// A low-level driver.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Driver {
    /// iSCSI over TCP.
    Iscsi,
    /// iSCSI over RDMA (iSER). Its name is accepted, but it is not supported.
    Iser,
}

/// A driver's state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DriverState {
    /// The driver serves its targets.
    Ready,
    /// An operator stopped the driver: it has no portals and no targets.
    Stopped,
    /// The driver is not supported.
    Error,
}

/// Whose proof an account is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// The initiator's.
    Incoming,
    /// The target's own.
    Outgoing,
}

impl State {
    /// Returns the word for it in reports and updates.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Offline => "offline",
        }
    }

    /// Parses that word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Ready, Self::Offline].into_iter().find(|state| state.word() == word)
    }
}

impl Driver {
    /// All drivers.
    pub const ALL: [Self; 2] = [Self::Iscsi, Self::Iser];

    /// Returns the name that `--lld` takes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Iscsi => "iscsi",
            Self::Iser => "iser",
        }
    }

    /// Finds a driver by the name that `--lld` takes. The empty name is iSCSI, as in tgt.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        if name.is_empty() {
            return Some(Self::Iscsi);
        }
        Self::ALL.into_iter().find(|driver| driver.name() == name)
    }
}

impl DriverState {
    /// As reports have it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Stopped => "stopped",
            Self::Error => "error",
        }
    }
}
