//! How equal shares are.

/// What several sessions got, each as a part of what it would get in a fair world.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fairness {
    /// Jain's index, the square of the sum by the sum of squares and their number: 1 when all shares are equal, 1/n when
    /// one of n sessions has everything.
    pub jain: f64,
    /// The least share by the greatest: 0 when somebody starves.
    pub least: f64,
}

impl Fairness {
    /// Of these shares; of none, it is perfect.
    #[must_use]
    pub fn of(shares: &[f64]) -> Self {
        let (sum, squares) = shares
            .iter()
            .fold((0.0, 0.0), |(sum, squares), share| (sum + share, share.mul_add(*share, squares)));
        let least = shares.iter().copied().fold(f64::INFINITY, f64::min);
        let most = shares.iter().copied().fold(0.0, f64::max);
        if most == 0.0 {
            return Self { jain: 1.0, least: 1.0 };
        }
        Self { jain: sum * sum / (squares * shares.len() as f64), least: least / most }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_shares_are_fair_and_one_that_has_all_is_not() {
        assert_eq!(Fairness::of(&[3.0; 16]), Fairness { jain: 1.0, least: 1.0 });
        assert_eq!(Fairness::of(&[1.0, 0.0, 0.0, 0.0]), Fairness { jain: 0.25, least: 0.0 });
        assert_eq!(Fairness::of(&[1.0, 3.0]), Fairness { jain: 0.8, least: 1.0 / 3.0 });
        assert_eq!(Fairness::of(&[]), Fairness { jain: 1.0, least: 1.0 });
    }
}
