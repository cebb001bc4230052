//! Which connections stay open before they are part of a session: those that log in, and discovery sessions.
//!
//! A new connection is always accepted. Over a bound, the connection that has gone longest without a whole request is
//! closed instead, so that connections that say nothing do not keep out initiators that speak. Logins and discovery
//! sessions are counted apart. The driver owns the sockets, and closes what these calls return.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use super::messages::LoginId;
use crate::limits::{
    DISCOVERIES_MAX, DISCOVERIES_PER_ADDRESS_MAX, LOGINS_MAX, LOGINS_PER_ADDRESS_MAX,
    LOGINS_PER_ADDRESS_SHARE,
};

/// The connections that are not part of a normal session.
#[derive(Debug)]
pub struct Admission {
    logins: Group,
    discoveries: Group,
}

/// Connections of one kind, and their bounds.
#[derive(Debug)]
struct Group {
    max: usize,
    per_network_max: usize,
    /// The network of each connection, and since when it has sent no whole request.
    members: HashMap<LoginId, (IpAddr, Instant)>,
    /// The connections of each network, the longest silent one first.
    networks: HashMap<IpAddr, BTreeSet<Silence>>,
    /// The networks, last the one that has to close a connection first.
    order: BTreeSet<Rank>,
    /// Connections that were closed over a bound.
    displaced: u64,
}

/// Since when a connection has sent no whole request.
type Silence = (Instant, LoginId);

/// How much a network has above its share, then how long one of its connections has been silent.
type Rank = (usize, Reverse<Silence>, IpAddr);

/// Numbers of connections, for `system stat`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AdmissionCounts {
    /// Connections that log in now.
    pub logins: usize,
    /// Connections closed during their login because others came, since the daemon started.
    pub logins_displaced: u64,
    /// Discovery sessions now.
    pub discoveries: usize,
    /// Discovery sessions closed because others came, since the daemon started.
    pub discoveries_displaced: u64,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            logins: Group::new(LOGINS_MAX, LOGINS_PER_ADDRESS_MAX),
            discoveries: Group::new(DISCOVERIES_MAX, DISCOVERIES_PER_ADDRESS_MAX),
        }
    }
}

impl Admission {
    /// A connection of this network was accepted. Returns the one to close.
    pub fn accepted(&mut self, id: LoginId, network: IpAddr, now: Instant) -> Option<LoginId> {
        self.logins.add(id, network, now)
    }

    /// A connection has sent a whole request.
    pub fn spoke(&mut self, id: LoginId, now: Instant) {
        self.logins.renew(id, now);
        self.discoveries.renew(id, now);
    }

    /// A login has become a discovery session. Returns the session to close.
    pub fn discovers(&mut self, id: LoginId, now: Instant) -> Option<LoginId> {
        let (network, _) = self.logins.remove(id)?;
        self.discoveries.add(id, network, now)
    }

    /// A connection was closed, or has become part of a session.
    pub fn ended(&mut self, id: LoginId) {
        if self.logins.remove(id).is_none() {
            self.discoveries.remove(id);
        }
    }

    /// A new connection finds no descriptor. Returns the login to close for it.
    pub fn displace(&mut self) -> Option<LoginId> {
        self.logins.displace_any()
    }

    /// The numbers of connections.
    #[must_use]
    pub fn counts(&self) -> AdmissionCounts {
        AdmissionCounts {
            logins: self.logins.members.len(),
            logins_displaced: self.logins.displaced,
            discoveries: self.discoveries.members.len(),
            discoveries_displaced: self.discoveries.displaced,
        }
    }
}

impl Group {
    fn new(max: usize, per_network_max: usize) -> Self {
        Self {
            max,
            per_network_max,
            members: HashMap::new(),
            networks: HashMap::new(),
            order: BTreeSet::new(),
            displaced: 0,
        }
    }

    /// Adds a connection, and removes and returns another one over a bound: never the new one, which is silent since now.
    fn add(&mut self, id: LoginId, network: IpAddr, now: Instant) -> Option<LoginId> {
        self.members.insert(id, (network, now));
        self.change(network, |members| _ = members.insert((now, id)));
        let of_network = self.networks.get(&network)?;
        if of_network.len() > self.per_network_max {
            let (_, longest) = *of_network.first()?;
            return self.displace(longest);
        }
        if self.members.len() > self.max { self.displace_any() } else { None }
    }

    fn renew(&mut self, id: LoginId, now: Instant) {
        if let Some((network, since)) = self.remove(id) {
            let since = since.max(now);
            self.members.insert(id, (network, since));
            self.change(network, |members| _ = members.insert((since, id)));
        }
    }

    fn remove(&mut self, id: LoginId) -> Option<(IpAddr, Instant)> {
        let (network, since) = self.members.remove(&id)?;
        self.change(network, |members| _ = members.remove(&(since, id)));
        Some((network, since))
    }

    fn displace_any(&mut self) -> Option<LoginId> {
        let (_, Reverse((_, longest)), _) = *self.order.last()?;
        self.displace(longest)
    }

    fn displace(&mut self, id: LoginId) -> Option<LoginId> {
        self.remove(id)?;
        self.displaced += 1;
        Some(id)
    }

    /// Changes the connections of a network, and its rank with them.
    fn change(&mut self, network: IpAddr, change: impl FnOnce(&mut BTreeSet<Silence>)) {
        let members = self.networks.entry(network).or_default();
        if let Some(rank) = rank(network, members) {
            self.order.remove(&rank);
        }
        change(members);
        match rank(network, members) {
            Some(rank) => _ = self.order.insert(rank),
            None => _ = self.networks.remove(&network),
        }
    }
}

/// Networks with at most their share have one rank, so that an initiator with several connections does not yield to a
/// thousand addresses with one each.
fn rank(network: IpAddr, members: &BTreeSet<Silence>) -> Option<Rank> {
    let above = members.len().saturating_sub(LOGINS_PER_ADDRESS_SHARE);
    Some((above, Reverse(*members.first()?), network))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    const ATTACKER: u32 = 0x0a00_0000;
    const VICTIM: u32 = 0xc000_0201;

    /// An [`Admission`] with a clock that advances a millisecond with each connection.
    struct Bench {
        admission: Admission,
        now: Instant,
        last: u64,
        closed: Vec<LoginId>,
    }

    impl Bench {
        fn new() -> Self {
            Self { admission: Admission::default(), now: Instant::now(), last: 0, closed: Vec::new() }
        }

        fn accept(&mut self, address: u32) -> LoginId {
            self.last += 1;
            self.now += Duration::from_millis(1);
            let (id, network) = (LoginId(self.last), IpAddr::V4(Ipv4Addr::from_bits(address)));
            self.closed.extend(self.admission.accepted(id, network, self.now));
            id
        }

        fn discover(&mut self, address: u32) -> LoginId {
            let id = self.accept(address);
            self.closed.extend(self.admission.discovers(id, self.now));
            id
        }

        fn speak(&mut self, id: LoginId) {
            self.now += Duration::from_millis(1);
            self.admission.spoke(id, self.now);
        }

        fn logins(&self) -> usize {
            self.admission.counts().logins
        }
    }

    #[test]
    fn silent_connections_of_other_addresses_yield_to_a_new_one() {
        let mut bench = Bench::new();
        let silent: Vec<_> = (0..LOGINS_MAX as u32).map(|at| bench.accept(ATTACKER + at % 4)).collect();
        assert_eq!((bench.logins(), &bench.closed[..]), (LOGINS_MAX, &[][..]));
        let victim = bench.accept(VICTIM);
        assert_eq!(bench.closed, silent[..1], "the longest silent one");
        // However often they are renewed, they displace only each other.
        for at in 0..10_000 {
            bench.accept(ATTACKER + at % 4);
        }
        assert_eq!(bench.logins(), LOGINS_MAX);
        assert!(!bench.closed.contains(&victim));
    }

    #[test]
    fn silent_connections_of_the_same_address_yield_to_a_new_one() {
        let mut bench = Bench::new();
        let silent: Vec<_> = (0..LOGINS_PER_ADDRESS_MAX).map(|_| bench.accept(VICTIM)).collect();
        bench.speak(silent[0]);
        let victim = bench.accept(VICTIM);
        assert_eq!(bench.closed, silent[1..2], "the first has spoken since");
        (1..LOGINS_PER_ADDRESS_MAX).for_each(|_| _ = bench.accept(VICTIM));
        assert!(!bench.closed.contains(&victim), "as many as fit came after it");
        bench.speak(victim);
        (1..LOGINS_PER_ADDRESS_MAX).for_each(|_| _ = bench.accept(VICTIM));
        assert!(!bench.closed.contains(&victim), "it has spoken");
        bench.accept(VICTIM);
        assert_eq!(bench.closed.last(), Some(&victim), "it has not spoken since");
        assert_eq!(bench.logins(), LOGINS_PER_ADDRESS_MAX);
    }

    #[test]
    fn address_within_its_share_yields_only_when_it_is_silent_for_longest() {
        let mut bench = Bench::new();
        (0..LOGINS_MAX as u32 - 8).for_each(|at| _ = bench.accept(ATTACKER + at));
        let victims: Vec<_> = (0..8).map(|_| bench.accept(VICTIM)).collect();
        (0..LOGINS_MAX as u32 - 8).for_each(|at| _ = bench.accept(ATTACKER + 0x1_0000 + at));
        assert!(victims.iter().all(|victim| !bench.closed.contains(victim)));
        let more = (0..LOGINS_PER_ADDRESS_SHARE + 1).map(|_| bench.accept(VICTIM)).last();
        assert!(bench.closed.contains(&victims[0]), "more than its share");
        assert!(!bench.closed.contains(&more.unwrap()));
    }

    #[test]
    fn discovery_sessions_are_counted_apart() {
        let mut bench = Bench::new();
        (0..LOGINS_PER_ADDRESS_MAX - 1).for_each(|_| _ = bench.accept(VICTIM));
        let sessions: Vec<_> = (0..DISCOVERIES_PER_ADDRESS_MAX).map(|_| bench.discover(VICTIM)).collect();
        assert_eq!(bench.closed, []);
        bench.speak(sessions[0]);
        bench.discover(VICTIM);
        assert_eq!(bench.closed, sessions[1..2]);
        bench.discover(ATTACKER);
        assert_eq!(bench.closed.len(), 1, "another address is not full");
        (1..DISCOVERIES_MAX as u32).for_each(|at| _ = bench.discover(ATTACKER + at));
        let counts = bench.admission.counts();
        assert_eq!((counts.logins, counts.logins_displaced), (LOGINS_PER_ADDRESS_MAX - 1, 0));
        assert_eq!(counts.discoveries, DISCOVERIES_MAX);
        assert_eq!(counts.discoveries_displaced, DISCOVERIES_PER_ADDRESS_MAX as u64 + 1);
        assert!(bench.closed[1..].iter().all(|id| id.0 < sessions[0].0 + 200), "of the address with most");
    }

    #[test]
    fn ended_connections_leave_nothing() {
        let mut bench = Bench::new();
        let ids: Vec<_> = (0..10).map(|at| bench.accept(ATTACKER + at % 3)).collect();
        let discovery = bench.discover(VICTIM);
        assert_eq!(bench.admission.displace(), Some(ids[0]), "for want of a descriptor");
        for id in ids.into_iter().chain([discovery]) {
            bench.admission.ended(id);
            bench.admission.spoke(id, bench.now);
        }
        for group in [&bench.admission.logins, &bench.admission.discoveries] {
            assert!(group.members.is_empty() && group.networks.is_empty() && group.order.is_empty());
        }
        assert_eq!(bench.admission.displace(), None);
    }
}
