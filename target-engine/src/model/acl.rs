//! Access control: rules on the initiator's address and on its name. As in tgt a match of either kind admits it, unless
//! the target requires both; without rules no initiator is admitted.

use std::net::IpAddr;

use iscsi_proto::name::IscsiName;

use super::error::{AddressRuleError, ModelError, Rule};

/// The rules of a target, each kept as written, for reports and for unbinding.
#[derive(Clone, Debug, Default)]
pub struct Acl {
    addresses: Vec<(String, AddressRule)>,
    names: Vec<(String, IscsiName)>,
    matching: Matching,
}

/// How rules on addresses and rules on names are combined.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Matching {
    /// One matching rule admits.
    #[default]
    Any,
    /// One rule of each kind must match; without rules of either kind no initiator is admitted.
    All,
}

/// A parsed address rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum AddressRule {
    All,
    /// An address with a prefix length.
    Network(IpAddr, u8),
    /// A host name. It is not resolved and matches no address; tgt keeps such rules.
    Host,
}

impl Acl {
    /// Returns whether an initiator may log in. Names are compared without case (RFC 3722 5).
    #[must_use]
    pub fn allows(&self, address: IpAddr, name: &IscsiName) -> bool {
        let address = address.to_canonical();
        let address_matches = || self.addresses.iter().any(|(_, rule)| rule.matches(address));
        let name_matches = || self.names.iter().any(|(_, known)| known == name);
        match self.matching {
            Matching::Any => address_matches() || name_matches(),
            Matching::All => address_matches() && name_matches(),
        }
    }

    /// Returns how the rules are combined.
    #[must_use]
    pub fn matching(&self) -> Matching {
        self.matching
    }

    /// Sets how the rules are combined.
    pub fn set_matching(&mut self, matching: Matching) {
        self.matching = matching;
    }

    /// Adds an address rule.
    ///
    /// # Errors
    /// [`ModelError::RuleExists`] or [`ModelError::AddressRule`]. tgt keeps a rule that is no address; it admits nobody.
    pub fn add_address(&mut self, rule: &str) -> Result<(), ModelError> {
        if self.addresses.iter().any(|(known, _)| known == rule) {
            return Err(ModelError::RuleExists(Rule::Address(rule.to_owned())));
        }
        let parsed = AddressRule::parse(rule)
            .map_err(|error| ModelError::AddressRule { rule: rule.to_owned(), error })?;
        self.addresses.push((rule.to_owned(), parsed));
        Ok(())
    }

    /// Adds a name rule.
    ///
    /// # Errors
    /// [`ModelError::RuleExists`] or [`ModelError::NameRule`].
    pub fn add_name(&mut self, name: &str) -> Result<(), ModelError> {
        if self.names.iter().any(|(known, _)| known == name) {
            return Err(ModelError::RuleExists(Rule::Name(name.to_owned())));
        }
        let parsed = IscsiName::parse_any(name)
            .map_err(|error| ModelError::NameRule { rule: name.to_owned(), error })?;
        self.names.push((name.to_owned(), parsed));
        Ok(())
    }

    /// Removes an address rule, by its text.
    ///
    /// # Errors
    /// [`ModelError::NoRule`].
    pub fn remove_address(&mut self, rule: &str) -> Result<(), ModelError> {
        let found = self.addresses.iter().position(|(known, _)| known == rule);
        self.addresses.remove(found.ok_or_else(|| ModelError::NoRule(Rule::Address(rule.to_owned())))?);
        Ok(())
    }

    /// Removes a name rule, by its text.
    ///
    /// # Errors
    /// [`ModelError::NoRule`].
    pub fn remove_name(&mut self, name: &str) -> Result<(), ModelError> {
        let found = self.names.iter().position(|(known, _)| known == name);
        self.names.remove(found.ok_or_else(|| ModelError::NoRule(Rule::Name(name.to_owned())))?);
        Ok(())
    }

    /// Returns the rules as written: addresses, then names, each kind oldest first.
    pub fn rules(&self) -> impl Iterator<Item = &str> {
        self.addresses().chain(self.names())
    }

    /// Returns the rules on addresses as written, oldest first.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.addresses.iter().map(|(rule, _)| rule.as_str())
    }

    /// Returns the rules on names as written, oldest first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|(name, _)| name.as_str())
    }

    /// Returns a warning if rules have no effect because of others, or of how they are combined.
    #[must_use]
    pub fn shadowed_rule_warning(&self) -> Option<String> {
        let (addresses, names) = (!self.addresses.is_empty(), !self.names.is_empty());
        let open = self.addresses.iter().find(|(_, rule)| rule.is_open());
        match (self.matching, addresses, names) {
            (Matching::Any, true, true) => Some(match open {
                Some((rule, _)) => format!(
                    "address rule {rule} lets everybody in, so the rules on names say nothing; acl-match=all asks for both"
                ),
                None => "an address that matches is enough, whatever the name; acl-match=all asks for both"
                    .to_owned(),
            }),
            (Matching::All, true, false) => {
                Some("acl-match=all, and no rule on names: nobody is let in".to_owned())
            }
            (Matching::All, false, true) => Some(
                "acl-match=all, and no rule on addresses: nobody is let in; ALL is any address".to_owned(),
            ),
            _ => None,
        }
    }
}

impl Matching {
    /// All.
    pub const BOTH: [Self; 2] = [Self::Any, Self::All];

    /// Returns the word for it in reports and updates.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::All => "all",
        }
    }

    /// Parses that word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::BOTH.into_iter().find(|matching| matching.word() == word)
    }
}

impl AddressRule {
    /// Parses `ALL`, an address, an address in brackets, or either with `/` and a prefix length.
    fn parse(text: &str) -> Result<Self, AddressRuleError> {
        if text == "ALL" {
            return Ok(Self::All);
        }
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        let Ok(address) = address.parse::<IpAddr>() else {
            if !is_host(text) {
                return Err(AddressRuleError::Form);
            }
            log::warn!("initiator-address {text:?}: names of hosts are not looked up, this lets nobody in");
            return Ok(Self::Host);
        };
        let bits = if address.is_ipv4() { 32 } else { 128 };
        // `parse` accepts a sign.
        let digits = |prefix: &str| prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = match prefix.map(|prefix| prefix.parse().ok().filter(|_| digits(prefix))) {
            None => bits,
            Some(Some(prefix)) if prefix <= bits => prefix,
            Some(_) => return Err(AddressRuleError::Prefix { bits }),
        };
        // Addresses of peers are compared as IPv4 addresses where they are mapped ones.
        match (address, address.to_canonical()) {
            (IpAddr::V6(_), mapped @ IpAddr::V4(_)) if prefix >= 96 => Ok(Self::Network(mapped, prefix - 96)),
            _ => Ok(Self::Network(address, prefix)),
        }
    }

    /// Whether it matches every address of a family.
    fn is_open(self) -> bool {
        matches!(self, Self::All | Self::Network(_, 0))
    }

    fn matches(self, peer: IpAddr) -> bool {
        let (network, peer, prefix) = match (self, peer) {
            (Self::All, _) => return true,
            (Self::Network(IpAddr::V4(network), prefix), IpAddr::V4(peer)) => {
                (network.to_bits().into(), peer.to_bits().into(), prefix + 96)
            }
            (Self::Network(IpAddr::V6(network), prefix), IpAddr::V6(peer)) => {
                (network.to_bits(), peer.to_bits(), prefix)
            }
            _ => return false,
        };
        same_front(network, peer, prefix)
    }
}

/// Whether the text may be a host name; a word without digits or dots is more likely a mistake.
fn is_host(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let last = text.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let is_top = last.starts_with(|first: char| first.is_ascii_alphabetic());
    is_top && text.bytes().all(allowed) && !text.eq_ignore_ascii_case("all")
}

/// Whether the first `len` of 128 bits are equal.
fn same_front(one: u128, other: u128, len: u8) -> bool {
    let beyond = 128u32.saturating_sub(len.into());
    (one ^ other).checked_shr(beyond).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> IscsiName {
        IscsiName::parse_any(text).unwrap()
    }

    fn allows(rule: &str, address: &str) -> bool {
        let mut acl = Acl::default();
        acl.add_address(rule).unwrap();
        acl.allows(address.parse().unwrap(), &name("iqn.other"))
    }

    /// In tgt a /32 never matches, and neither does a network that is written with bits of a host.
    #[test]
    fn rules_match_addresses_and_networks() {
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
            ("::/0", "10.0.0.1", false),
            ("::/0", "::ffff:10.0.0.1", false),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("10.0.0.0/24", "::ffff:10.0.0.1", true),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("::ffff:10.0.0.1", "10.0.0.2", false),
            ("::ffff:10.0.0.0/120", "10.0.0.1", true),
            ("::ffff:10.0.0.0/120", "10.0.1.1", false),
            ("storage.example", "10.0.0.1", false),
            ("localhost", "127.0.0.1", false),
        ];
        for (rule, address, expected) in cases {
            assert_eq!(allows(rule, address), expected, "{address} under {rule}");
        }
    }

    #[test]
    fn invalid_address_rules_are_refused() {
        let addresses = [
            "",
            "all",
            "All",
            "*",
            "10.0.0",
            "10.0.0.256",
            "10.0.0.1/33",
            "10.0.0.1/x",
            "10.0.0.1/",
            "10.0.0.1/-1",
            "10.0.0.1/+1",
            "2001:db8::/+32",
            "10.0.0.0/255.0.0.0",
            "10.0.0.1-9",
            "10.0.0.1 10.0.0.2",
            "2001:db8::/129",
            "2001:db8:::1",
            "fe80::1%eth0",
            "[10.0.0.1",
            "host.example/24",
            "two words",
            "a\nb",
        ];
        let mut acl = Acl::default();
        for rule in addresses {
            let refused = acl.add_address(rule);
            assert!(matches!(refused, Err(ModelError::AddressRule { .. })), "{rule:?}: {refused:?}");
        }
        let long = "x".repeat(224);
        for rule in ["", "two words", "a\nb", &long] {
            let refused = acl.add_name(rule);
            assert!(matches!(refused, Err(ModelError::NameRule { .. })), "{rule:?}: {refused:?}");
        }
        assert_eq!(acl.rules().count(), 0);
        assert_eq!(AddressRule::parse("10.0.0.1/33"), Err(AddressRuleError::Prefix { bits: 32 }));
    }

    #[test]
    fn rule_of_either_kind_admits_and_no_rule_admits_none() {
        let address = "10.0.0.1".parse().unwrap();
        let mut acl = Acl::default();
        assert!(!acl.allows(address, &name("iqn.a")));
        acl.add_name("iqn.a").unwrap();
        assert!(acl.allows(address, &name("iqn.a")));
        assert!(acl.allows(address, &name("IQN.A")));
        assert!(!acl.allows(address, &name("iqn.ab")));
        acl.add_address("10.0.0.1").unwrap();
        assert!(acl.allows(address, &name("iqn.b")));
    }

    #[test]
    fn matching_all_requires_one_rule_of_each_kind() {
        let (here, elsewhere) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let mut acl = Acl::default();
        acl.set_matching(Matching::All);
        assert!(!acl.allows(here, &name("iqn.a")));
        acl.add_address("10.0.0.1").unwrap();
        assert!(!acl.allows(here, &name("iqn.a")), "there is no name yet");
        acl.add_name("iqn.a").unwrap();
        acl.add_name("iqn.b").unwrap();
        assert!(acl.allows(here, &name("iqn.a")) && acl.allows(here, &name("iqn.b")));
        assert!(!acl.allows(elsewhere, &name("iqn.a")));
        assert!(!acl.allows(here, &name("iqn.c")));
        acl.remove_address("10.0.0.1").unwrap();
        assert!(!acl.allows(here, &name("iqn.a")), "there is no address any more");
        acl.add_address("ALL").unwrap();
        assert!(acl.allows(elsewhere, &name("iqn.a")) && !acl.allows(elsewhere, &name("iqn.c")));
    }

    #[test]
    fn shadowed_rules_are_warned_of() {
        let warning = |addresses: &[&str], names: &[&str], matching| {
            let mut acl = Acl::default();
            acl.set_matching(matching);
            addresses.iter().for_each(|rule| acl.add_address(rule).unwrap());
            names.iter().for_each(|rule| acl.add_name(rule).unwrap());
            acl.shadowed_rule_warning().unwrap_or_default()
        };
        let (any, all) = (Matching::Any, Matching::All);
        for open in ["ALL", "0.0.0.0/0", "::/0"] {
            let said = warning(&["10.0.0.1", open], &["iqn.a"], any);
            assert!(said.contains("names say nothing") && said.contains(open), "{said}");
        }
        assert!(warning(&["10.0.0.1"], &["iqn.a"], any).contains("whatever the name"));
        assert!(warning(&["ALL"], &[], all).contains("no rule on names"));
        assert!(warning(&[], &["iqn.a"], all).contains("no rule on addresses"));
        for (addresses, names, matching) in [
            (&["ALL"][..], &[][..], any),
            (&[], &["iqn.a"], any),
            (&[], &[], all),
            (&["ALL"], &["iqn.a"], all),
        ] {
            assert_eq!(warning(addresses, names, matching), "");
        }
    }

    #[test]
    fn rules_are_bound_and_unbound_by_their_text() {
        let mut acl = Acl::default();
        acl.add_name("iqn.a").unwrap();
        acl.add_address("ALL").unwrap();
        acl.add_address("10.0.0.1").unwrap();
        assert_eq!(acl.add_address("ALL"), Err(ModelError::RuleExists(Rule::Address("ALL".to_owned()))));
        assert_eq!(acl.add_name("iqn.a"), Err(ModelError::RuleExists(Rule::Name("iqn.a".to_owned()))));
        assert_eq!(acl.rules().collect::<Vec<_>>(), ["ALL", "10.0.0.1", "iqn.a"]);
        let other = "10.0.0.1/32";
        assert_eq!(acl.remove_address(other), Err(ModelError::NoRule(Rule::Address(other.to_owned()))));
        assert_eq!(acl.remove_address("ALL"), Ok(()));
        assert_eq!(acl.remove_name("iqn.b"), Err(ModelError::NoRule(Rule::Name("iqn.b".to_owned()))));
        assert_eq!(acl.remove_name("iqn.a"), Ok(()));
        assert_eq!(acl.rules().collect::<Vec<_>>(), ["10.0.0.1"]);
    }
}
