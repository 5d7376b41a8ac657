//! Smooth weighted round robin: in every full cycle each choice is taken exactly as often as its weight says, spread
//! evenly. A canary of 10% gets exactly every tenth request, so that a test can count.

/// The state of one rule's choice between its target groups.
#[derive(Debug, Clone, Default)]
pub(super) struct Rotation {
    weights: Vec<(String, u32)>,
    credit: Vec<i64>,
}

impl Rotation {
    /// The next choice among these weights; `None` when all are zero. New weights start a new cycle.
    pub(super) fn next(&mut self, weights: &[(String, u32)]) -> Option<String> {
        if self.weights != weights {
            self.weights = weights.to_vec();
            self.credit = vec![0; weights.len()];
        }
        let total: i64 = self.weights.iter().map(|(_, weight)| i64::from(*weight)).sum();
        for (credit, (_, weight)) in self.credit.iter_mut().zip(&self.weights) {
            *credit += i64::from(*weight);
        }
        // The first of equals, so that the order of the rule decides; zero weights never have credit to win with.
        let (best, _) = (self.weights.iter().zip(&self.credit).enumerate())
            .filter(|(_, ((_, weight), _))| *weight > 0)
            .map(|(index, (_, credit))| (index, *credit))
            .reduce(|best, next| if next.1 > best.1 { next } else { best })?;
        self.credit[best] -= total;
        Some(self.weights[best].0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(weights: &[(&str, u32)], requests: usize) -> Vec<usize> {
        let weights: Vec<(String, u32)> = weights.iter().map(|(name, w)| ((*name).to_owned(), *w)).collect();
        let mut rotation = Rotation::default();
        let chosen: Vec<String> = (0..requests).filter_map(|_| rotation.next(&weights)).collect();
        weights.iter().map(|(name, _)| chosen.iter().filter(|c| *c == name).count()).collect()
    }

    #[test]
    fn shares_are_exact() {
        assert_eq!(counts(&[("a", 90), ("b", 10)], 10), [9, 1]);
        assert_eq!(counts(&[("a", 90), ("b", 10)], 100), [90, 10]);
        assert_eq!(counts(&[("a", 1), ("b", 2), ("c", 3)], 60), [10, 20, 30]);
        assert_eq!(counts(&[("a", 100), ("b", 0)], 50), [50, 0]);
        assert_eq!(counts(&[("a", 0), ("b", 0)], 5), [0, 0]);
        assert_eq!(counts(&[("a", 999), ("b", 1)], 1000), [999, 1]);
    }

    #[test]
    fn every_window_of_ten_has_one_canary_request() {
        let weights = [("a".to_owned(), 90), ("b".to_owned(), 10)];
        let mut rotation = Rotation::default();
        let chosen: Vec<String> = (0..200).filter_map(|_| rotation.next(&weights)).collect();
        for window in chosen.windows(10) {
            assert_eq!(window.iter().filter(|c| *c == "b").count(), 1);
        }
    }
}
