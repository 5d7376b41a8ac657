//! Who judges a release: the comparison, and what others do. All read the same minutes.

use tidegate_stats::{Tally, Test, Tick};

/// Somebody who looks at a release each minute and may call its candidate bad.
#[derive(Debug, Clone, Copy)]
pub enum Judge {
    /// The comparison of candidate and stable.
    Compare(Test),
    /// An alarm on the whole service: more than 1% of its requests bad in two of three minutes.
    ServiceAlarm,
    /// The same alarm on the candidate's requests alone.
    CandidateAlarm,
    /// Flagger's analysis with `interval: 60s`, `threshold: 5` and a success rate of 99%: five failed checks of the candidate, in a row or
    /// not; one that passes does not take an earlier one back.
    Flagger,
    /// Mann and Whitney's test of the minutes' rates, one-sided at 1%, asked each minute from the eighth.
    MannWhitneyEachMinute,
    /// The same test, asked once, at the end.
    MannWhitneyOnce,
}

/// The rate of bad requests that fixed thresholds allow.
const ALLOWED: f64 = 0.01;
/// The standard normal distribution's 99%.
const Z_99: f64 = 2.326_347_874_040_841;
/// Fewer minutes say nothing in ranks.
const FEWEST: usize = 8;

impl Judge {
    /// After how many minutes the candidate is called bad.
    pub fn caught(&self, minutes: &[Tick]) -> Option<usize> {
        let over = |tick: &Tick| tick.candidate.rate().is_some_and(|rate| rate > ALLOWED);
        match self {
            Self::Compare(test) => compare(test, minutes),
            Self::ServiceAlarm => two_of_three(minutes, |tick| {
                let (one, other) = (tick.candidate, tick.stable);
                (one.bad + other.bad) > ALLOWED * (one.requests + other.requests)
            }),
            Self::CandidateAlarm => two_of_three(minutes, over),
            Self::Flagger => {
                let failed = minutes.iter().enumerate().filter(|(_, tick)| over(tick));
                failed.map(|(at, _)| at + 1).nth(4)
            }
            Self::MannWhitneyEachMinute => {
                (FEWEST..=minutes.len()).find(|until| is_greater(&minutes[..*until]))
            }
            Self::MannWhitneyOnce => is_greater(minutes).then_some(minutes.len()),
        }
    }

    /// What the tables call it.
    pub fn name(&self) -> String {
        match self {
            Self::Compare(test) => format!("comparison, `tolerate: {}`", test.tolerate),
            Self::ServiceAlarm => "alarm on the service, 1%".to_owned(),
            Self::CandidateAlarm => "alarm on the candidate, 1%".to_owned(),
            Self::Flagger => "Flagger's rule, 1%".to_owned(),
            Self::MannWhitneyEachMinute => "Mann-Whitney each minute".to_owned(),
            Self::MannWhitneyOnce => "Mann-Whitney at the end".to_owned(),
        }
    }
}

fn compare(test: &Test, minutes: &[Tick]) -> Option<usize> {
    let mut seen = Tally::default();
    let caught = minutes.iter().position(|tick| {
        seen.add(test, *tick);
        seen.is_bad(test)
    });
    caught.map(|at| at + 1)
}

fn two_of_three(minutes: &[Tick], over: impl Fn(&Tick) -> bool) -> Option<usize> {
    let over: Vec<bool> = minutes.iter().map(over).collect();
    let breached = |at: &usize| over[at.saturating_sub(2)..=*at].iter().filter(|over| **over).count() >= 2;
    (0..over.len()).find(breached).map(|at| at + 1)
}

/// Whether the candidate's rates rank higher than stable's: normal approximation, corrected for ties and for continuity.
fn is_greater(minutes: &[Tick]) -> bool {
    let rates = minutes.iter().filter_map(|tick| Some((tick.candidate.rate()?, tick.stable.rate()?)));
    let mut all: Vec<(f64, bool)> = rates.flat_map(|(one, other)| [(one, true), (other, false)]).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let each = float(all.len()) / 2.0;
    if each < float(FEWEST) {
        return false;
    }
    let (mut rank_sum, mut ties, mut before) = (0.0, 0.0, 0.0);
    for group in all.chunk_by(|a, b| a.0 == b.0) {
        let size = float(group.len());
        rank_sum += float(group.iter().filter(|(_, ours)| *ours).count()) * (before + (size + 1.0) / 2.0);
        ties += size.powi(3) - size;
        before += size;
    }
    let (u, n) = (rank_sum - each * (each + 1.0) / 2.0, 2.0 * each);
    let variance = each * each / 12.0 * (n + 1.0 - ties / (n * (n - 1.0)));
    variance > 0.0 && (u - each * each / 2.0 - 0.5) / variance.sqrt() > Z_99
}

fn float(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

#[cfg(test)]
mod tests {
    use tidegate_stats::Arm;

    use super::*;

    fn minutes(candidate: &[f64], stable: &[f64]) -> Vec<Tick> {
        let tick = |(one, other): (&f64, &f64)| Tick {
            candidate: Arm::new(100.0, *one),
            stable: Arm::new(100.0, *other),
        };
        candidate.iter().zip(stable).map(tick).collect()
    }

    #[test]
    fn ranks_are_what_scipy_makes_of_them() {
        // scipy.stats.mannwhitneyu(a, b, alternative="greater", method="asymptotic"): p = 0.0034 and p = 0.052.
        let b = [0.0, 1.0, 0.0, 2.0, 1.0, 0.0, 1.0, 0.0];
        assert!(is_greater(&minutes(&[2.0, 3.0, 1.0, 2.0, 4.0, 1.0, 2.0, 8.0], &b)));
        assert!(!is_greater(&minutes(&[2.0, 3.0, 1.0, 2.0, 1.0, 0.0, 1.0, 1.0], &b)));
    }

    #[test]
    fn thresholds_count_as_their_rules_say() {
        let quiet = [0.0; 7];
        let one = minutes(&[2.0, 0.0, 0.0, 2.0, 0.0, 2.0, 0.0], &quiet);
        assert_eq!(Judge::CandidateAlarm.caught(&one), Some(6));
        assert_eq!(Judge::ServiceAlarm.caught(&one), None, "exactly 1% of all");
        assert_eq!(Judge::Flagger.caught(&one), None);
        let five = minutes(&[2.0, 2.0, 0.0, 2.0, 2.0, 0.0, 2.0], &quiet);
        assert_eq!(Judge::Flagger.caught(&five), Some(7));
    }
}
