//! Whether an alarm's data crosses its threshold: M out of N datapoints, with missing ones treated as the alarm says.
//! Pure; see "Configuring how CloudWatch alarms treat missing data" in the CloudWatch user guide.

use crate::ports::AlarmState;

/// How an alarm compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    GreaterOrEqual,
    Greater,
    Less,
    LessOrEqual,
}

impl Comparison {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "GreaterThanOrEqualToThreshold" => Some(Self::GreaterOrEqual),
            "GreaterThanThreshold" => Some(Self::Greater),
            "LessThanThreshold" => Some(Self::Less),
            "LessThanOrEqualToThreshold" => Some(Self::LessOrEqual),
            _ => None,
        }
    }

    fn breaches(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::GreaterOrEqual => value >= threshold,
            Self::Greater => value > threshold,
            Self::Less => value < threshold,
            Self::LessOrEqual => value <= threshold,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::GreaterOrEqual => "greater than or equal to",
            Self::Greater => "greater than",
            Self::Less => "less than",
            Self::LessOrEqual => "less than or equal to",
        }
    }
}

/// What a missing datapoint counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// `missing`: neither breaching nor not.
    Unknown,
    NotBreaching,
    Breaching,
    Ignore,
}

impl Missing {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "missing" => Some(Self::Unknown),
            "notBreaching" => Some(Self::NotBreaching),
            "breaching" => Some(Self::Breaching),
            "ignore" => Some(Self::Ignore),
            _ => None,
        }
    }
}

/// The part of an alarm that evaluation needs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Criteria {
    pub(super) comparison: Comparison,
    pub(super) threshold: f64,
    pub(super) evaluation_periods: usize,
    pub(super) datapoints_to_alarm: usize,
    pub(super) missing: Missing,
}

/// More periods than the alarm evaluates are looked at, to find real datapoints when some are missing.
pub(super) const LOOK_BACK: usize = 2;

/// What an evaluation says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    pub(super) state: AlarmState,
    pub(super) reason: String,
    /// The real datapoints that were evaluated, newest last.
    pub(super) recent: Vec<f64>,
}

/// Evaluates datapoints, newest last: the last [`Criteria::evaluation_periods`] and [`LOOK_BACK`] before them. `None` keeps the
/// present state.
pub(super) fn evaluate(criteria: &Criteria, datapoints: &[Option<f64>]) -> Option<Verdict> {
    let (wanted, needed) = (criteria.evaluation_periods, criteria.datapoints_to_alarm);
    let range = &datapoints[datapoints.len().saturating_sub(wanted + LOOK_BACK)..];
    let mut recent: Vec<f64> = range.iter().rev().filter_map(|point| *point).take(wanted).collect();
    recent.reverse();
    let breaching =
        recent.iter().filter(|value| criteria.comparison.breaches(**value, criteria.threshold)).count();
    let absent = wanted - recent.len();
    let alarm = match criteria.missing {
        Missing::Breaching => breaching + absent >= needed,
        Missing::NotBreaching => breaching >= needed,
        Missing::Ignore if absent > 0 => {
            let (surely, possibly) = (breaching >= needed, breaching + absent >= needed);
            if surely != possibly {
                return None;
            }
            surely
        }
        Missing::Unknown if recent.is_empty() => {
            let reason =
                "Insufficient Data: no datapoints were received for the evaluation range.".to_owned();
            return Some(Verdict { state: AlarmState::InsufficientData, reason, recent });
        }
        // Fewer datapoints than the alarm asks for: those that are there decide.
        Missing::Unknown => breaching >= needed.min(recent.len()),
        Missing::Ignore => breaching >= needed,
    };
    let (state, count, word, way) = if alarm {
        (
            AlarmState::Alarm,
            breaching,
            "was",
            format!("minimum {needed} datapoint(s) for OK -> ALARM transition"),
        )
    } else {
        let back = wanted - needed + 1;
        let way = format!("minimum {back} datapoint(s) for ALARM -> OK transition");
        (AlarmState::Ok, recent.len() - breaching, "was not", way)
    };
    let shown: Vec<String> = recent.iter().map(|value| format!("{value:?}")).collect();
    let treated = match (absent, criteria.missing) {
        (0, _) | (_, Missing::Unknown | Missing::Ignore) => String::new(),
        (absent, Missing::Breaching) => {
            format!(" {absent} missing datapoint(s) were treated as [Breaching].")
        }
        (absent, Missing::NotBreaching) => {
            format!(" {absent} missing datapoint(s) were treated as [NonBreaching].")
        }
    };
    let reason = format!(
        "Threshold Crossed: {count} out of the last {wanted} datapoints [{}] {word} {} the threshold ({:?}) ({way}).{treated}",
        shown.join(", "),
        criteria.comparison.words(),
        criteria.threshold,
    );
    Some(Verdict { state, reason, recent })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `X` breaches, `0` does not, `-` is missing, as in the tables of the user guide.
    fn check(points: &str, m: usize, n: usize, expected: [Option<AlarmState>; 4]) {
        let datapoints: Vec<Option<f64>> = (points.chars())
            .map(|c| match c {
                'X' => Some(10.0),
                '0' => Some(1.0),
                _ => None,
            })
            .collect();
        let ways = [Missing::Unknown, Missing::Ignore, Missing::Breaching, Missing::NotBreaching];
        for (missing, expected) in ways.into_iter().zip(expected) {
            let criteria = Criteria {
                comparison: Comparison::Greater,
                threshold: 5.0,
                evaluation_periods: n,
                datapoints_to_alarm: m,
                missing,
            };
            let state = evaluate(&criteria, &datapoints).map(|verdict| verdict.state);
            assert_eq!(state, expected, "{points} {m} of {n} {missing:?}");
        }
    }

    #[test]
    fn missing_data_as_the_user_guide_says() {
        let (ok, alarm, keep) = (Some(AlarmState::Ok), Some(AlarmState::Alarm), None);
        let insufficient = Some(AlarmState::InsufficientData);
        check("0-X-X", 3, 3, [ok, ok, ok, ok]);
        check("-----", 3, 3, [insufficient, keep, alarm, ok]);
        check("0----", 3, 3, [ok, ok, ok, ok]);
        check("--X--", 3, 3, [alarm, keep, alarm, ok]);
        check("-XX-X", 3, 3, [alarm, alarm, alarm, alarm]);
        check("00X-X", 2, 3, [alarm, alarm, alarm, alarm]);
        check("----X", 2, 3, [alarm, keep, alarm, ok]);
        check("--000", 1, 1, [ok, ok, ok, ok]);
    }

    #[test]
    fn the_reason_tells_the_numbers() {
        let criteria = Criteria {
            comparison: Comparison::GreaterOrEqual,
            threshold: 5.0,
            evaluation_periods: 2,
            datapoints_to_alarm: 1,
            missing: Missing::NotBreaching,
        };
        let verdict = evaluate(&criteria, &[None, None, Some(7.0), None]).unwrap();
        assert_eq!(
            verdict.reason,
            "Threshold Crossed: 1 out of the last 2 datapoints [7.0] was greater than or equal to the threshold (5.0) \
             (minimum 1 datapoint(s) for OK -> ALARM transition). 1 missing datapoint(s) were treated as [NonBreaching]."
        );
    }
}
