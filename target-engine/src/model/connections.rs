//! The connections of sessions, counted by target, address and initiator name, and how many each of them may have.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;

use super::tid::Tid;
use crate::limits::CONNECTIONS_MAX;

/// How many connections of sessions a target, an address and an initiator name may have.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ConnectionBounds {
    /// Connections to one target.
    pub per_target: ConnectionBound,
    /// Connections from one IPv4 address or one IPv6 network of 64 bits.
    pub per_address: ConnectionBound,
    /// Connections of one initiator name.
    pub per_initiator: ConnectionBound,
}

/// One of the [`ConnectionBounds`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ConnectionBound {
    /// Half of what would be free without the holder: a target may have half of [`CONNECTIONS_MAX`] if no other has any,
    /// an address half of what its target may still have, and a name half of what its address may still have. A bound
    /// that is given in the place of one of these halves does not halve what the next one has.
    #[default]
    Half,
    /// This many.
    Count(usize),
    /// No bound of its own.
    Unbounded,
}

/// What has the connections that a bound counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Holder {
    /// All sessions.
    Daemon,
    /// The target.
    Target,
    /// The initiator's address.
    Address,
    /// The initiator's name.
    Initiator,
}

/// A bound permits no further connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full {
    /// What has too many.
    pub holder: Holder,
    /// How many it has.
    pub held: usize,
}

/// The connections of all sessions.
#[derive(Debug, Default)]
pub(super) struct ConnectionCounts {
    all: usize,
    of_target: HashMap<Tid, usize>,
    of_address: HashMap<IpAddr, usize>,
    of_initiator: HashMap<String, usize>,
}

impl ConnectionBounds {
    /// Returns whether there is room for one more connection. A holder has room if the one that it belongs to has.
    pub(super) fn check(
        &self,
        counts: &ConnectionCounts,
        tid: Tid,
        peer: IpAddr,
        initiator: &str,
    ) -> Result<(), Full> {
        let held = |count: Option<&usize>| count.copied().unwrap_or(0);
        let mut room = CONNECTIONS_MAX.saturating_sub(counts.all);
        let holders = [
            (Holder::Daemon, counts.all, ConnectionBound::Unbounded),
            (Holder::Target, held(counts.of_target.get(&tid)), self.per_target),
            (Holder::Address, held(counts.of_address.get(&network(peer))), self.per_address),
            (Holder::Initiator, held(counts.of_initiator.get(initiator)), self.per_initiator),
        ];
        for (holder, held, bound) in holders {
            room = bound.room(held, room);
            if room == 0 {
                return Err(Full { holder, held });
            }
        }
        Ok(())
    }
}

impl ConnectionBound {
    /// The bound for a number of connections as an operator gives it; 0 is none.
    #[must_use]
    pub fn from_count(count: usize) -> Self {
        if count == 0 { Self::Unbounded } else { Self::Count(count) }
    }

    /// How many more connections a holder may have that has `held`, and of which those that belong to it take their shares,
    /// if `free` are free where it belongs itself. A given count does not make the shares smaller.
    fn room(self, held: usize, free: usize) -> usize {
        match self {
            Self::Half => free.saturating_sub(held).div_ceil(2),
            Self::Count(max) if held >= max => 0,
            Self::Count(_) | Self::Unbounded => free,
        }
    }
}

impl fmt::Display for Full {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.held;
        match self.holder {
            Holder::Daemon => write!(out, "all {held} connections are in use"),
            Holder::Target => {
                write!(out, "the target has {held} connections, see --max-connections-per-target")
            }
            Holder::Address => {
                write!(out, "the address has {held} connections, see --max-connections-per-address")
            }
            Holder::Initiator => {
                write!(out, "the initiator name has {held} connections, see --max-connections-per-initiator")
            }
        }
    }
}

impl ConnectionCounts {
    pub(super) fn add(&mut self, tid: Tid, peer: IpAddr, initiator: &str) {
        self.all += 1;
        *self.of_target.entry(tid).or_default() += 1;
        *self.of_address.entry(network(peer)).or_default() += 1;
        *self.of_initiator.entry(initiator.to_owned()).or_default() += 1;
    }

    pub(super) fn remove(&mut self, tid: Tid, peer: IpAddr, initiator: &str) {
        self.all = self.all.saturating_sub(1);
        count_down(&mut self.of_target, tid);
        count_down(&mut self.of_address, network(peer));
        count_down(&mut self.of_initiator, initiator.to_owned());
    }

    pub(super) fn all(&self) -> usize {
        self.all
    }
}

/// Removes a counter that has come down to 0, so that the names and addresses of the past take no memory.
fn count_down<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() = count.get().saturating_sub(1);
        if *count.get() == 0 {
            count.remove();
        }
    }
}

/// The unit in which connections of an address are counted: an IPv4 address, or an IPv6 network of 64 bits, since one
/// machine may have all of its addresses.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tid(number: u32) -> Tid {
        Tid::new(number).unwrap()
    }

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0a00_0000 + number))
    }

    /// Adds connections of one holder until the bounds permit no more; returns how many and what is full.
    fn fill(
        bounds: ConnectionBounds,
        counts: &mut ConnectionCounts,
        (number, peer, name): (u32, u32, &str),
    ) -> (usize, Holder) {
        for added in 0.. {
            match bounds.check(counts, tid(number), address(peer), name) {
                Ok(()) => counts.add(tid(number), address(peer), name),
                Err(full) => return (added, full.holder),
            }
        }
        unreachable!("a bound is reached")
    }

    #[test]
    fn none_takes_more_than_half_of_what_is_free_to_it() {
        let (bounds, mut counts) = (ConnectionBounds::default(), ConnectionCounts::default());
        let mut fill = |holder| fill(bounds, &mut counts, holder);
        assert_eq!(fill((1, 1, "a")), (2048, Holder::Initiator));
        let (other_name, full) = fill((1, 1, "b"));
        assert!((500..2048).contains(&other_name) && full == Holder::Initiator, "{other_name}");
        let (other_address, full) = fill((1, 2, "c"));
        assert!((500..2048).contains(&other_address) && full == Holder::Initiator, "{other_address}");
        let (other_target, full) = fill((2, 1, "a"));
        assert_eq!((other_target, full), (0, Holder::Initiator), "a name counts at all targets");
        let (other_target, full) = fill((2, 3, "d"));
        assert!((500..2048).contains(&other_target) && full == Holder::Initiator, "{other_target}");
    }

    /// Names cost nothing, addresses cost more: neither makes a target, or the daemon, unreachable for the next.
    #[test]
    fn any_number_of_names_leaves_room_for_another_address() {
        let (bounds, mut counts) = (ConnectionBounds::default(), ConnectionCounts::default());
        for number in 0..3000 {
            fill(bounds, &mut counts, (1, 1, &format!("name {number}")));
        }
        assert_eq!(counts.of_address[&address(1)], 4096);
        assert_eq!(bounds.check(&counts, tid(1), address(1), "x").unwrap_err().holder, Holder::Address);
        assert!(fill(bounds, &mut counts, (1, 2, "y")).0 >= 1000);
        for number in 2..100 {
            fill(bounds, &mut counts, (1, number, &format!("name {number}")));
        }
        let full = bounds.check(&counts, tid(1), address(100), "x");
        assert!(full.is_ok() || full.unwrap_err().holder == Holder::Target);
        assert!(counts.of_target[&tid(1)] <= CONNECTIONS_MAX / 2);
        assert!(fill(bounds, &mut counts, (2, 1000, "z")).0 >= 1000, "another target has room");
    }

    #[test]
    fn given_bounds_replace_the_default_and_0_is_none() {
        let none = ConnectionBound::from_count(0);
        let all_none = ConnectionBounds { per_target: none, per_address: none, per_initiator: none };
        let mut counts = ConnectionCounts::default();
        assert_eq!(fill(all_none, &mut counts, (1, 1, "a")), (CONNECTIONS_MAX, Holder::Daemon));
        for (bounds, holder) in [
            (ConnectionBounds { per_target: ConnectionBound::from_count(3), ..all_none }, Holder::Target),
            (ConnectionBounds { per_address: ConnectionBound::from_count(3), ..all_none }, Holder::Address),
            (
                ConnectionBounds { per_initiator: ConnectionBound::from_count(3), ..all_none },
                Holder::Initiator,
            ),
        ] {
            assert_eq!(fill(bounds, &mut ConnectionCounts::default(), (1, 1, "a")), (3, holder));
        }
    }

    #[test]
    fn one_address_may_have_all_connections_that_a_target_is_given() {
        let bounds =
            ConnectionBounds { per_target: ConnectionBound::from_count(4), ..ConnectionBounds::default() };
        assert_eq!(fill(bounds, &mut ConnectionCounts::default(), (1, 1, "a")), (4, Holder::Target));
    }

    #[test]
    fn the_last_connection_is_for_a_newcomer() {
        let mut counts = ConnectionCounts { all: CONNECTIONS_MAX - 1, ..ConnectionCounts::default() };
        assert_eq!(fill(ConnectionBounds::default(), &mut counts, (1, 1, "a")), (1, Holder::Daemon));
    }

    #[test]
    fn counters_come_down_to_nothing() {
        let mut counts = ConnectionCounts::default();
        let peers = ["2001:db8::1", "2001:db8::2:1", "2001:db8:0:1::1", "::ffff:10.0.0.1", "10.0.0.1"];
        let peers = peers.map(|peer| peer.parse().unwrap());
        peers.iter().for_each(|peer| counts.add(tid(1), *peer, "a"));
        assert_eq!((counts.all(), counts.of_address.len(), counts.of_initiator["a"]), (5, 3, 5));
        peers.iter().for_each(|peer| counts.remove(tid(1), *peer, "a"));
        assert!(
            counts.of_target.is_empty() && counts.of_address.is_empty() && counts.of_initiator.is_empty()
        );
    }
}
