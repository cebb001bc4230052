//! Who may log in: rules on the initiator's address and on its name. One match of either kind is enough, and
//! without any rule nobody may.

use std::net::IpAddr;

use crate::control::error::TgtadmError;

/// A target's rules, each kept as it was written, for reports and for unbinding.
#[derive(Clone, Debug, Default)]
pub struct Acl {
    addresses: Vec<(String, AddressRule)>,
    names: Vec<String>,
}

/// What an address rule means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum AddressRule {
    All,
    Network(IpAddr, u8),
    /// Nothing that an address could match; kept because stock keeps it.
    Never,
}

impl Acl {
    /// Whether an initiator may log in. Names are compared without regard to case (RFC 7143 4.2.7.1).
    #[must_use]
    pub fn allows(&self, address: IpAddr, name: &str) -> bool {
        let address = address.to_canonical();
        self.addresses.iter().any(|(_, rule)| rule.matches(address))
            || self.names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// Adds an address rule.
    ///
    /// # Errors
    /// [`TgtadmError::AclExists`].
    pub fn add_address(&mut self, rule: &str) -> Result<(), TgtadmError> {
        if self.addresses.iter().any(|(known, _)| known == rule) {
            return Err(TgtadmError::AclExists);
        }
        let parsed = AddressRule::parse(rule);
        if parsed == AddressRule::Never {
            log::warn!("access rule {rule:?} is no address; it lets nobody in");
        }
        self.addresses.push((rule.to_owned(), parsed));
        Ok(())
    }

    /// Adds a name rule.
    ///
    /// # Errors
    /// [`TgtadmError::AclExists`].
    pub fn add_name(&mut self, name: &str) -> Result<(), TgtadmError> {
        if self.names.iter().any(|known| known == name) {
            return Err(TgtadmError::AclExists);
        }
        self.names.push(name.to_owned());
        Ok(())
    }

    /// Removes an address rule, by its text.
    ///
    /// # Errors
    /// [`TgtadmError::AclNotFound`].
    pub fn remove_address(&mut self, rule: &str) -> Result<(), TgtadmError> {
        let found = self.addresses.iter().position(|(known, _)| known == rule);
        self.addresses.remove(found.ok_or(TgtadmError::AclNotFound)?);
        Ok(())
    }

    /// Removes a name rule.
    ///
    /// # Errors
    /// [`TgtadmError::AclNotFound`].
    pub fn remove_name(&mut self, name: &str) -> Result<(), TgtadmError> {
        let found = self.names.iter().position(|known| known == name);
        self.names.remove(found.ok_or(TgtadmError::AclNotFound)?);
        Ok(())
    }

    /// The rules as written: addresses, then names, each kind from its eldest on.
    pub fn rules(&self) -> impl Iterator<Item = &str> {
        self.addresses.iter().map(|(rule, _)| rule.as_str()).chain(self.names.iter().map(String::as_str))
    }
}

impl AddressRule {
    /// `ALL`, an address, an address in brackets, or either with `/` and the length of a prefix.
    fn parse(text: &str) -> Self {
        if text == "ALL" {
            return Self::All;
        }
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        let Ok(address) = address.parse::<IpAddr>() else { return Self::Never };
        let bits = if address.is_ipv4() { 32 } else { 128 };
        match prefix.map_or(Ok(bits), str::parse) {
            Ok(prefix) if prefix <= bits => Self::Network(address, prefix),
            _ => Self::Never,
        }
    }

    fn matches(self, peer: IpAddr) -> bool {
        match self {
            Self::All => true,
            Self::Never => false,
            Self::Network(IpAddr::V4(network), prefix) => match peer {
                IpAddr::V4(peer) => same_front(network.to_bits().into(), peer.to_bits().into(), prefix + 96),
                IpAddr::V6(_) => false,
            },
            Self::Network(IpAddr::V6(network), prefix) => {
                let peer = match peer {
                    IpAddr::V4(peer) => peer.to_ipv6_mapped(),
                    IpAddr::V6(peer) => peer,
                };
                same_front(network.to_bits(), peer.to_bits(), prefix)
            }
        }
    }
}

/// Whether the first `len` of 128 bits are equal.
fn same_front(one: u128, other: u128, len: u8) -> bool {
    let beyond = 128u32.saturating_sub(len.into());
    (one ^ other).checked_shr(beyond).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(rule: &str, address: &str) -> bool {
        let mut acl = Acl::default();
        acl.add_address(rule).unwrap();
        acl.allows(address.parse().unwrap(), "iqn.other")
    }

    /// In stock a /32 never matches, and neither does a network that is written with bits of a host.
    #[test]
    fn addresses_and_networks() {
        let cases = [
            ("ALL", "10.0.0.1", true),
            ("ALL", "fe80::1", true),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.1/32", "10.0.0.1", true),
            ("10.0.0.1/32", "10.0.0.2", false),
            ("10.0.0.77/24", "10.0.0.1", true),
            ("10.0.0.0/24", "10.0.1.1", false),
            ("10.0.0.0/8", "10.255.255.255", true),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("[2001:db8::1]", "2001:db8::1", true),
            ("[2001:db8::7]/64", "2001:db8::1", true),
            ("2001:db8::1/128", "2001:db8::1", true),
            ("2001:db8::1/128", "2001:db8::2", false),
            ("::/0", "2001:db8::1", true),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1/33", "10.0.0.1", false),
            ("10.0.0.1/x", "10.0.0.1", false),
            ("all", "10.0.0.1", false),
            ("not an address", "10.0.0.1", false),
        ];
        for (rule, address, expected) in cases {
            assert_eq!(allows(rule, address), expected, "{address} under {rule}");
        }
    }

    #[test]
    fn either_kind_lets_in_and_none_lets_nobody_in() {
        let address = "10.0.0.1".parse().unwrap();
        let mut acl = Acl::default();
        assert!(!acl.allows(address, "iqn.a"));
        acl.add_name("iqn.a").unwrap();
        assert!(acl.allows(address, "iqn.a"));
        assert!(acl.allows(address, "IQN.A"));
        assert!(!acl.allows(address, "iqn.ab"));
        acl.add_address("10.0.0.1").unwrap();
        assert!(acl.allows(address, "iqn.b"));
    }

    #[test]
    fn rules_are_bound_and_unbound_by_their_text() {
        let mut acl = Acl::default();
        acl.add_name("iqn.a").unwrap();
        acl.add_address("ALL").unwrap();
        acl.add_address("10.0.0.1").unwrap();
        assert_eq!(acl.add_address("ALL"), Err(TgtadmError::AclExists));
        assert_eq!(acl.add_name("iqn.a"), Err(TgtadmError::AclExists));
        assert_eq!(acl.rules().collect::<Vec<_>>(), ["ALL", "10.0.0.1", "iqn.a"]);
        assert_eq!(acl.remove_address("10.0.0.1/32"), Err(TgtadmError::AclNotFound));
        assert_eq!(acl.remove_address("ALL"), Ok(()));
        assert_eq!(acl.remove_name("iqn.b"), Err(TgtadmError::AclNotFound));
        assert_eq!(acl.remove_name("iqn.a"), Ok(()));
        assert_eq!(acl.rules().collect::<Vec<_>>(), ["10.0.0.1"]);
    }
}
