//! What is counted of both versions while they have traffic, and what it says: the numbers a release is judged by, as they are kept with it and
//! in its history. Pure and exact: whoever counts the same windows, in whatever order and however often, comes to the same answer.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
pub use tidegate_stats::Arm;
use tidegate_stats::{Interval, Tally, Test, Tick};

use crate::plan::{Bound, Compared, Evidence};
use crate::vocab::cloudwatch::{MetricsSeen, Series};

/// How long numbers may come late. A load balancer's may still grow two minutes after their window.
const LATE_SECS: i64 = 120;
/// So many of the newest windows that count are read again, because they may still have grown.
const READ_AGAIN: i64 = 3;
/// More evidence than this is told as this.
const SURE: f64 = 1e9;
/// So many windows are told in one entry of the history.
const TOLD_AT_ONCE: usize = 10;

/// What both versions did in one window, by comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// When it began.
    pub at: Timestamp,
    /// The counts.
    pub ticks: Vec<Tick>,
}

// Counts are never NaN: what is not a number is nothing.
impl Eq for Window {}

/// As it is stored: a row holds some of them, so each is `[began, [candidate's requests, bad, stable's requests, bad], …]`.
#[derive(Serialize, Deserialize)]
struct Stored(i64, Vec<[f64; 4]>);

impl Serialize for Window {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let flat = |tick: &Tick| {
            [tick.candidate.requests, tick.candidate.bad, tick.stable.requests, tick.stable.bad]
        };
        Stored(self.at.as_second(), self.ticks.iter().map(flat).collect()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Stored(at, flat) = Stored::deserialize(deserializer)?;
        let at = Timestamp::from_second(at).map_err(serde::de::Error::custom)?;
        let tick =
            |[n1, k1, n0, k0]: [f64; 4]| Tick { candidate: Arm::new(n1, k1), stable: Arm::new(n0, k0) };
        Ok(Self { at, ticks: flat.into_iter().map(tick).collect() })
    }
}

/// What has been counted of a release so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Since when both versions have traffic: windows that began before do not count.
    pub since: Timestamp,
    /// Windows that ended by then are counted.
    pub until: Timestamp,
    /// By comparison.
    pub tallies: Vec<Tally>,
    /// Counted windows that are read again, or are not in the history yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recent: Vec<Recent>,
    /// The last look missed something that a bake's end needs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_missing: bool,
    /// A dry run has said what it would have done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_reported: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Recent {
    window: Window,
    /// It is in the history as it is here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    told: bool,
}

/// What the windows counted so far say of one comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Measured {
    pub of: Compared,
    pub candidate: Arm,
    pub stable: Arm,
    /// How many times the stable version's rate the candidate's is, with the bounds it is surely between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Interval>,
    /// How much speaks for more than is tolerated: 100 where a false alarm has a chance of one in a hundred.
    pub evidence: f64,
    /// From how much on it is enough.
    pub enough: f64,
    /// It is enough, and enough bad requests were the candidate's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_bad: bool,
}

// Nothing of it is NaN.
impl Eq for Measured {}

/// A limit that was passed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Passed {
    pub metric: String,
    pub stat: String,
    pub bound: Bound,
    /// The last value that was too far.
    pub value: f64,
    pub lasting_secs: u32,
}

// CloudWatch has no NaN.
impl Eq for Passed {}

/// The end of the last window whose numbers have settled by `at`.
pub fn settled_end(every_secs: u32, at: Timestamp) -> Timestamp {
    let every = i64::from(every_secs.max(1));
    let late = LATE_SECS.min(2 * every);
    second((at.as_second() - late).div_euclid(every) * every)
}

fn second(secs: i64) -> Timestamp {
    Timestamp::from_second(secs).unwrap_or_default()
}

/// The beginnings of the whole windows from `from` to `to`.
fn windows(every_secs: u32, from: Timestamp, to: Timestamp) -> impl Iterator<Item = Timestamp> {
    let every = i64::from(every_secs.max(1));
    // A window that had begun before holds what was before.
    let first = from.as_second().div_euclid(every)
        + i64::from(from.as_second().rem_euclid(every) > 0 || from.subsec_nanosecond() > 0);
    let end = to.as_second().div_euclid(every);
    (first..end).map(move |number| second(number * every))
}

/// The sum of what metrics had in a window; `None` when none had anything.
fn value(seen: &MetricsSeen, series: &[Series], every_secs: u32, at: Timestamp) -> Option<f64> {
    let end = at.saturating_add(SignedDuration::from_secs(i64::from(every_secs))).unwrap_or(at);
    let values = series.iter().filter_map(|one| seen.get(one)).flat_map(|points| points.range(at..end));
    values.map(|(_, value)| *value).reduce(|sum, value| sum + value)
}

fn arm(seen: &MetricsSeen, of: &crate::plan::Arm, every_secs: u32, at: Timestamp) -> Arm {
    // A metric of errors is only sent where there are any; without requests there is nothing at all. In thousandths, as they are added up and
    // survive being stored: a statistic that interpolates tells fractions.
    let count = |series| (value(seen, series, every_secs, at).unwrap_or(0.0) * 1000.0).round() / 1000.0;
    Arm::new(count(&of.requests), count(&of.bad))
}

fn ticks(plan: &Evidence, seen: &MetricsSeen, at: Timestamp) -> Vec<Tick> {
    let tick = |comparison: &crate::plan::Comparison| Tick {
        candidate: arm(seen, &comparison.candidate, plan.every_secs, at),
        stable: arm(seen, &comparison.stable, plan.every_secs, at),
    };
    plan.comparisons.iter().map(tick).collect()
}

fn larger(one: Tick, other: Tick) -> Tick {
    let arm = |one: Arm, other: Arm| Arm::new(one.requests.max(other.requests), one.bad.max(other.bad));
    Tick { candidate: arm(one.candidate, other.candidate), stable: arm(one.stable, other.stable) }
}

/// How many requests of the candidate were in the whole windows from `from` to `to`.
pub fn requests(plan: &Evidence, seen: &MetricsSeen, from: Timestamp, to: Timestamp) -> u64 {
    let counts =
        windows(plan.every_secs, from, to).filter_map(|at| value(seen, &plan.requests, plan.every_secs, at));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count; the cast saturates"
    )]
    let whole = counts.sum::<f64>().round() as u64;
    whole
}

impl Counted {
    /// Nothing yet.
    pub fn new(plan: &Evidence, since: Timestamp) -> Self {
        let tallies = vec![Tally::default(); plan.comparisons.len()];
        Self { since, until: since, tallies, recent: Vec::new(), is_missing: false, is_reported: false }
    }

    /// From when on windows have to be read: the newest that count are read again.
    pub fn read_from(&self, every_secs: u32) -> Timestamp {
        let again = SignedDuration::from_secs(READ_AGAIN * i64::from(every_secs));
        self.until.saturating_sub(again).unwrap_or(self.until).max(self.since)
    }

    /// Whether a window has settled since that is not counted yet.
    pub fn is_due(&self, every_secs: u32, at: Timestamp) -> bool {
        settled_end(every_secs, at) > self.until
    }

    /// Counts what has settled, once: what was counted before is taken over as it is now, if it has grown.
    pub fn count(&mut self, plan: &Evidence, seen: &MetricsSeen, at: Timestamp) {
        let end = settled_end(plan.every_secs, at);
        let test = plan.test();
        for at in windows(plan.every_secs, self.read_from(plan.every_secs), end) {
            self.count_window(&test, Window { at, ticks: ticks(plan, seen, at) });
        }
        self.until = self.until.max(end);
        let oldest_read = self.read_from(plan.every_secs);
        self.recent.retain(|recent| !recent.told || recent.window.at >= oldest_read);
    }

    fn count_window(&mut self, test: &Test, window: Window) {
        let place = self.recent.binary_search_by_key(&window.at, |recent| recent.window.at);
        let before = place.ok().map(|index| self.recent[index].window.clone());
        let ticks: Vec<Tick> = match &before {
            Some(before) => {
                window.ticks.iter().zip(&before.ticks).map(|(new, old)| larger(*new, *old)).collect()
            }
            None => window.ticks,
        };
        let nothing = ticks.iter().all(|tick| *tick == Tick::default());
        if nothing || before.as_ref().is_some_and(|before| before.ticks == ticks) {
            return;
        }
        for (tally, tick) in self.tallies.iter_mut().zip(&ticks) {
            tally.add(test, *tick);
        }
        for (tally, tick) in self.tallies.iter_mut().zip(before.iter().flat_map(|before| &before.ticks)) {
            tally.remove(test, *tick);
        }
        let recent = Recent { window: Window { at: window.at, ticks }, told: false };
        match place {
            Ok(index) => self.recent[index] = recent,
            Err(index) => self.recent.insert(index, recent),
        }
    }

    /// What would be counted if the windows that may still grow were as they are now.
    #[must_use]
    pub fn with_hints(&self, plan: &Evidence, seen: &MetricsSeen, at: Timestamp) -> Self {
        let mut ahead = self.clone();
        for at in windows(plan.every_secs, self.until, at) {
            ahead.count_window(&plan.test(), Window { at, ticks: ticks(plan, seen, at) });
        }
        ahead
    }

    /// What it says, by comparison.
    pub fn measured(&self, plan: &Evidence) -> Vec<Measured> {
        let test = plan.test();
        self.tallies.iter().zip(&plan.comparisons).map(|(tally, it)| measured(tally, &test, &it.of)).collect()
    }

    /// Whether a window is counted that the history does not have as it is now.
    pub fn has_something_to_tell(&self) -> bool {
        self.recent.iter().any(|recent| !recent.told)
    }

    /// Whether enough windows wait for an entry of their own in the history.
    pub fn has_much_to_tell(&self) -> bool {
        self.recent.iter().filter(|recent| !recent.told).count() >= TOLD_AT_ONCE
    }

    /// The windows that the history does not have as they are now; it has them from now on.
    pub fn tell(&mut self) -> Vec<Window> {
        let untold = self.recent.iter_mut().filter(|recent| !recent.told);
        untold
            .map(|recent| {
                recent.told = true;
                recent.window.clone()
            })
            .collect()
    }
}

/// In six digits: more say nothing, and would not all survive being stored.
fn short(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

fn measured(tally: &Tally, test: &Test, of: &Compared) -> Measured {
    let ratio = |ratio: Interval| Interval {
        low: short(ratio.low),
        estimate: ratio.estimate.map(short),
        high: ratio.high.map(short),
    };
    Measured {
        of: of.clone(),
        candidate: tally.candidate(),
        stable: tally.stable(),
        ratio: tally.ratio(test).map(ratio),
        evidence: short(tally.evidence().min(SURE)),
        enough: short(1.0 / test.alpha),
        is_bad: tally.is_bad(test),
    }
}

/// What was told in a history up to some entry: counted again from nothing, the windows of every entry in turn.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    windows: BTreeMap<Timestamp, Vec<Tick>>,
}

impl Replay {
    /// One entry more. A window that is told again has grown.
    pub fn add(&mut self, windows: &[Window]) {
        self.windows.extend(windows.iter().map(|window| (window.at, window.ticks.clone())));
    }

    /// What all of it says, by a plan's evidence: the release's own, or one with other settings.
    pub fn measured(&self, plan: &Evidence) -> Vec<Measured> {
        let test = plan.test();
        let mut tallies = vec![Tally::default(); plan.comparisons.len()];
        for ticks in self.windows.values() {
            for (tally, tick) in tallies.iter_mut().zip(ticks) {
                tally.add(&test, *tick);
            }
        }
        tallies.iter().zip(&plan.comparisons).map(|(tally, it)| measured(tally, &test, &it.of)).collect()
    }
}

/// The first limit that was passed for as long as it takes, in windows that have settled.
pub fn passed(plan: &Evidence, seen: &MetricsSeen, from: Timestamp, at: Timestamp) -> Option<Passed> {
    let end = settled_end(plan.every_secs, at);
    plan.limits.iter().find_map(|limit| {
        let needed = limit.lasting_secs.div_ceil(plan.every_secs).max(1);
        let mut without_break = 0;
        windows(plan.every_secs, from, end).find_map(|at| {
            let value = value(seen, std::slice::from_ref(&limit.series), plan.every_secs, at);
            let far = value.filter(|value| limit.bound.is_passed(*value));
            without_break = if far.is_some() { without_break + 1 } else { 0 };
            far.filter(|_| without_break >= needed).map(|value| Passed {
                metric: limit.series.metric.clone(),
                stat: limit.series.stat.clone(),
                bound: limit.bound,
                value,
                lasting_secs: limit.lasting_secs,
            })
        })
    })
}

/// The metric of a limit of which no window has settled with a value: nothing was seen of it.
pub fn without_value<'p>(
    plan: &'p Evidence,
    seen: &MetricsSeen,
    from: Timestamp,
    at: Timestamp,
) -> Option<&'p str> {
    let end = settled_end(plan.every_secs, at);
    let has_value = |series: &Series| {
        windows(plan.every_secs, from, end)
            .any(|at| value(seen, std::slice::from_ref(series), plan.every_secs, at).is_some())
    };
    let limit = plan.limits.iter().find(|limit| !has_value(&limit.series))?;
    Some(&limit.series.metric)
}

/// A rate in percent as people read it: two digits that mean something, at least `0.01%`.
fn percent(arm: Arm) -> String {
    match arm.rate() {
        None => "nothing".to_owned(),
        Some(rate) => {
            let percent = rate * 100.0;
            let digits = if percent == 0.0 || percent >= 10.0 {
                0
            } else if percent >= 1.0 {
                1
            } else {
                2
            };
            format!("{percent:.digits$}%")
        }
    }
}

/// A ratio as people read it.
fn times(ratio: f64) -> String {
    let digits = usize::from(ratio < 10.0);
    format!("{ratio:.digits$}")
}

impl Measured {
    /// `10 times as many (4.2 to 31)`; nothing where neither version has shown anything bad.
    pub fn ratio_words(&self) -> Option<String> {
        let ratio = self.ratio.as_ref()?;
        let low = times(ratio.low);
        let between = match ratio.high {
            Some(high) => format!("{low} to {}", times(high)),
            None => format!("{low} or more"),
        };
        Some(match ratio.estimate {
            Some(estimate) => format!("{} times as many ({between})", times(estimate)),
            None => format!("{low} times as many, or more"),
        })
    }

    /// Both rates: `1.0% against 0.1%`.
    pub fn rates(&self) -> (String, String) {
        (percent(self.candidate), percent(self.stable))
    }
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (candidate, stable) = self.rates();
        write!(f, "{}: {candidate} of the candidate's against {stable}", self.of)?;
        match self.ratio_words() {
            Some(ratio) => write!(f, ", {ratio}"),
            None => Ok(()),
        }
    }
}

impl std::fmt::Display for Passed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (side, bound) = match self.bound {
            Bound::Max(max) => ("above", max),
            Bound::Min(min) => ("below", min),
        };
        let lasting = crate::words::span(SignedDuration::from_secs(i64::from(self.lasting_secs)));
        write!(f, "{} of {} is {}, {side} {bound} for {lasting}", self.stat, self.metric, self.value)
    }
}
