//! Fairness of the rates of sessions.

/// How equal the shares of several sessions are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fairness {
    /// Jain's index: the square of the sum, divided by n times the sum of the squares. 1 if all shares are equal, 1/n
    /// if one of n sessions has everything.
    pub jain: f64,
    /// The least share divided by the greatest; 0 if a session gets nothing.
    pub least: f64,
}

impl Fairness {
    /// The fairness of these shares; perfect if there are none.
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
    fn fairness_is_1_for_equal_shares_and_1_nth_for_one_taker() {
        assert_eq!(Fairness::of(&[3.0; 16]), Fairness { jain: 1.0, least: 1.0 });
        assert_eq!(Fairness::of(&[1.0, 0.0, 0.0, 0.0]), Fairness { jain: 0.25, least: 0.0 });
        assert_eq!(Fairness::of(&[1.0, 3.0]), Fairness { jain: 0.8, least: 1.0 / 3.0 });
        assert_eq!(Fairness::of(&[]), Fairness { jain: 1.0, least: 1.0 });
    }
}
