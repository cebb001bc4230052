//! Counts of CHAP proofs that have failed, by address.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::limits::FAILED_PROOF_ADDRESSES_MAX;
use crate::model::connections::network;

/// The failed proofs of the addresses with the latest ones.
#[derive(Debug, Default)]
pub(super) struct FailedProofs {
    all: u64,
    by_address: HashMap<IpAddr, Failures>,
}

#[derive(Debug, Default)]
struct Failures {
    count: u64,
    /// The number of the last one among all failures.
    last: u64,
}

impl FailedProofs {
    pub(super) fn count(&mut self, peer: IpAddr) {
        self.all += 1;
        let address = network(peer);
        if !self.by_address.contains_key(&address) && self.by_address.len() >= FAILED_PROOF_ADDRESSES_MAX {
            let oldest = self.by_address.iter().min_by_key(|(_, failures)| failures.last);
            if let Some(oldest) = oldest.map(|(address, _)| *address) {
                self.by_address.remove(&oldest);
            }
        }
        let failures = self.by_address.entry(address).or_default();
        failures.count += 1;
        failures.last = self.all;
    }

    /// All failures, those of addresses that are forgotten included.
    pub(super) fn all(&self) -> u64 {
        self.all
    }

    pub(super) fn by_address(&self) -> Vec<(IpAddr, u64)> {
        let mut counts: Vec<_> =
            self.by_address.iter().map(|(address, failures)| (*address, failures.count)).collect();
        counts.sort_unstable();
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_address_and_the_oldest_is_forgotten() {
        let mut proofs = FailedProofs::default();
        let address = |number: usize| IpAddr::from([10, 0, (number >> 8) as u8, number as u8]);
        (0..FAILED_PROOF_ADDRESSES_MAX).for_each(|number| proofs.count(address(number)));
        ["10.0.0.0", "::ffff:10.0.0.0"].iter().for_each(|again| proofs.count(again.parse().unwrap()));
        proofs.count("2001:db8::1".parse().unwrap());
        proofs.count("2001:db8::2".parse().unwrap());
        let counts = proofs.by_address();
        assert_eq!((proofs.all(), counts.len()), (1028, FAILED_PROOF_ADDRESSES_MAX));
        assert_eq!(counts[..2], [(address(0), 3), (address(2), 1)], "{} is forgotten", address(1));
        assert_eq!(counts[FAILED_PROOF_ADDRESSES_MAX - 1], ("2001:db8::".parse().unwrap(), 2));
    }
}
