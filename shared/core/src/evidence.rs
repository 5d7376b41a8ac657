//! What is counted of both versions while they have traffic, and what it says: the numbers a release is judged by, as they are kept with it and
//! in its history. Pure and exact: whoever counts the same windows, in whatever order and however often, comes to the same answer.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
pub use tidegate_stats::Arm;
use tidegate_stats::{Interval, Tally, Test, Tick};

use crate::plan::{Bound, Compared, Evidence};
use crate::vocab::cloudwatch::{MetricsSeen, Series};
use crate::words::{percent, span};

/// How long numbers may come late. A load balancer's may still grow two minutes after their window.
const LATE_SECS: i64 = 120;
/// So many of the newest windows that count are read again, because they may still have grown.
const READ_AGAIN: i64 = 3;
/// More evidence than this is told as this.
const SURE: f64 = 1e9;
/// So many of the windows in which one version had no number are looked for again: a metric that says nothing for so long says nothing.
const LOOKED_FOR: i64 = 30;
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
    /// When the candidate had all traffic: windows that began later do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Timestamp>,
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
    /// One version had no number in it yet: nothing was seen, which is not that nothing happened.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    lacks: bool,
}

/// What one look says of a window.
struct Look {
    window: Window,
    lacks: bool,
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

/// One of the two versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Version {
    /// The new one.
    Candidate,
    /// The one it is compared with.
    Stable,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Candidate => "the candidate",
            Self::Stable => "the stable version",
        })
    }
}

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

/// How long after its end a window counts, seconds.
pub fn late_secs(every_secs: u32) -> i64 {
    LATE_SECS.min(2 * i64::from(every_secs.max(1)))
}

/// The end of the last window whose numbers have settled by `at`.
pub fn settled_end(every_secs: u32, at: Timestamp) -> Timestamp {
    let every = i64::from(every_secs.max(1));
    second((at.as_second() - late_secs(every_secs)).div_euclid(every) * every)
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
    // A metric of errors is only sent where there are any. In thousandths, as they are added up and survive being stored: a statistic that
    // interpolates tells fractions.
    let count = |series| (value(seen, series, every_secs, at).unwrap_or(0.0) * 1000.0).round() / 1000.0;
    Arm::new(count(&of.requests), count(&of.bad))
}

fn look(plan: &Evidence, seen: &MetricsSeen, at: Timestamp) -> Look {
    let tick = |comparison: &crate::plan::Comparison| Tick {
        candidate: arm(seen, &comparison.candidate, plan.every_secs, at),
        stable: arm(seen, &comparison.stable, plan.every_secs, at),
    };
    let mut arms = plan.comparisons.iter().flat_map(|it| [&it.candidate, &it.stable]);
    let lacks = arms.any(|arm| value(seen, &arm.requests, plan.every_secs, at).is_none());
    Look { window: Window { at, ticks: plan.comparisons.iter().map(tick).collect() }, lacks }
}

fn larger(one: Tick, other: Tick) -> Tick {
    let arm = |one: Arm, other: Arm| Arm::new(one.requests.max(other.requests), one.bad.max(other.bad));
    Tick { candidate: arm(one.candidate, other.candidate), stable: arm(one.stable, other.stable) }
}

/// How many requests of the candidate were in the whole windows from `from` to `to`.
pub fn requests(plan: &Evidence, seen: &MetricsSeen, from: Timestamp, to: Timestamp) -> u64 {
    let counts =
        windows(plan.every_secs, from, to).filter_map(|at| value(seen, &plan.requests, plan.every_secs, at));
    whole(counts.sum())
}

/// A count of requests as a whole number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count; the cast saturates")]
pub(crate) fn whole(count: f64) -> u64 {
    count.round() as u64
}

impl Counted {
    /// Nothing yet.
    pub fn new(plan: &Evidence, since: Timestamp) -> Self {
        let tallies = vec![Tally::default(); plan.comparisons.len()];
        Self {
            since,
            until: since,
            closed_at: None,
            tallies,
            recent: Vec::new(),
            is_missing: false,
            is_reported: false,
        }
    }

    /// From when on the newest windows that count are read again.
    fn again_from(&self, every_secs: u32) -> Timestamp {
        self.back(READ_AGAIN, every_secs)
    }

    fn back(&self, windows: i64, every_secs: u32) -> Timestamp {
        let back = SignedDuration::from_secs(windows * i64::from(every_secs));
        self.until.saturating_sub(back).unwrap_or(self.until).max(self.since)
    }

    /// From when on windows have to be read: the newest again, and those that lack a number.
    pub fn read_from(&self, every_secs: u32) -> Timestamp {
        let lacking = self.recent.iter().find(|recent| recent.lacks).map(|recent| recent.window.at);
        let again = self.again_from(every_secs);
        lacking.map_or(again, |lacking| lacking.min(again))
    }

    /// Whether a window has settled since that is not counted yet.
    pub fn is_due(&self, every_secs: u32, at: Timestamp) -> bool {
        self.end(every_secs, settled_end(every_secs, at)) > self.until
    }

    /// Whether nothing is left to be counted.
    pub fn is_complete(&self, every_secs: u32) -> bool {
        self.closed_at.is_some() && self.end(every_secs, Timestamp::MAX) <= self.until
    }

    /// The candidate has had all traffic since then.
    pub fn close(&mut self, at: Timestamp) {
        self.closed_at.get_or_insert(at);
    }

    /// The end of the last window that counts, or `end` when that is earlier.
    fn end(&self, every_secs: u32, end: Timestamp) -> Timestamp {
        let every = i64::from(every_secs.max(1));
        let last = |closed: Timestamp| second((closed.as_second() + every - 1).div_euclid(every) * every);
        self.closed_at.map_or(end, |closed| last(closed).min(end))
    }

    /// Counts what has settled, once: what was counted before is taken over as it is now, if it has grown. Says how many requests of the candidate
    /// it has counted more, in windows that began at `from` or later.
    pub fn count(&mut self, plan: &Evidence, seen: &MetricsSeen, at: Timestamp, from: Timestamp) -> f64 {
        let every = plan.every_secs;
        let end = self.end(every, settled_end(every, at));
        let test = plan.test();
        let again = self.again_from(every);
        let mut more = 0.0;
        for at in windows(every, self.read_from(every), end) {
            // What is older than those that are read again, and was whole, is counted and forgotten.
            if at >= again || self.lacks(at) {
                let requests = self.count_window(&test, look(plan, seen, at), plan.judged());
                more += if at >= from { requests } else { 0.0 };
            }
        }
        self.until = self.until.max(end);
        self.forget(every);
        more
    }

    fn place(&self, at: Timestamp) -> Result<usize, usize> {
        self.recent.binary_search_by_key(&at, |recent| recent.window.at)
    }

    fn lacks(&self, at: Timestamp) -> bool {
        self.place(at).is_ok_and(|index| self.recent[index].lacks)
    }

    fn forget(&mut self, every_secs: u32) {
        let (again, given_up) = (self.again_from(every_secs), self.back(LOOKED_FOR, every_secs));
        for recent in &mut self.recent {
            recent.lacks &= recent.window.at >= given_up;
        }
        self.recent.retain(|recent| !recent.told || recent.lacks || recent.window.at >= again);
    }

    /// Counts a window as it is now, and says how many requests of the candidate are counted more by it, in the comparison that judges them.
    fn count_window(&mut self, test: &Test, look: Look, judged: Option<usize>) -> f64 {
        let Look { window, lacks } = look;
        let place = self.place(window.at);
        let nothing = vec![Tick::default(); window.ticks.len()];
        let before = place.map_or_else(|_| nothing.clone(), |index| self.recent[index].window.ticks.clone());
        let ticks: Vec<Tick> =
            window.ticks.iter().zip(&before).map(|(new, old)| larger(*new, *old)).collect();
        let (told, lacks) = match place {
            // Once whole, a window is whole: a later look may not have asked for all of it.
            Ok(index) => (self.recent[index].told && before == ticks, lacks && self.recent[index].lacks),
            Err(_) => (ticks == nothing, lacks),
        };
        for (tally, (tick, before)) in self.tallies.iter_mut().zip(ticks.iter().zip(&before)) {
            if tick != before {
                tally.add(test, *tick);
                tally.remove(test, *before);
            }
        }
        let requests =
            |ticks: &[Tick]| judged.and_then(|of| ticks.get(of)).map_or(0.0, |it| it.candidate.requests);
        let more = requests(&ticks) - requests(&before);
        let recent = Recent { window: Window { at: window.at, ticks }, told, lacks };
        match place {
            Ok(index) => self.recent[index] = recent,
            Err(index) => self.recent.insert(index, recent),
        }
        more
    }

    /// What would be counted if the windows that may still grow were as they are now.
    #[must_use]
    pub fn with_hints(&self, plan: &Evidence, seen: &MetricsSeen, at: Timestamp) -> Self {
        let mut ahead = self.clone();
        let test = plan.test();
        for at in windows(plan.every_secs, self.until, self.end(plan.every_secs, at)) {
            ahead.count_window(&test, look(plan, seen, at), None);
        }
        ahead
    }

    /// What it says, by comparison.
    pub fn measured(&self, plan: &Evidence) -> Vec<Measured> {
        measured(&self.tallies, plan)
    }

    /// The first comparison in which the candidate is worse than is tolerated.
    pub fn worse(&self, plan: &Evidence) -> Option<Measured> {
        let test = plan.test();
        let (tally, it) =
            self.tallies.iter().zip(&plan.comparisons).find(|(tally, _)| tally.is_bad(&test))?;
        Some(one(tally, &test, &it.of))
    }

    /// A metric of the user's own that has said nothing of one of the versions, and of which: nothing was compared by it.
    pub fn without_value<'p>(&self, plan: &'p Evidence) -> Option<(&'p Compared, Version)> {
        let of_own = |it: &&crate::plan::Comparison| matches!(it.of, Compared::Metric(_));
        let mut compared = self.tallies.iter().zip(&plan.comparisons).filter(|(_, it)| of_own(it));
        compared.find_map(|(tally, it)| {
            let nothing = |arm: Arm| arm.requests <= 0.0;
            let version = if nothing(tally.candidate()) {
                Version::Candidate
            } else if nothing(tally.stable()) {
                Version::Stable
            } else {
                return None;
            };
            Some((&it.of, version))
        })
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

fn measured(tallies: &[Tally], plan: &Evidence) -> Vec<Measured> {
    let test = plan.test();
    tallies.iter().zip(&plan.comparisons).map(|(tally, it)| one(tally, &test, &it.of)).collect()
}

fn one(tally: &Tally, test: &Test, of: &Compared) -> Measured {
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
        measured(&tallies, plan)
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
        let rate = |arm: Arm| arm.rate().map_or_else(|| "nothing".to_owned(), percent);
        (rate(self.candidate), rate(self.stable))
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
        let lasting = span(SignedDuration::from_secs(i64::from(self.lasting_secs)));
        write!(f, "{} of {} is {}, {} for {lasting}", self.stat, self.metric, self.value, self.bound)
    }
}
