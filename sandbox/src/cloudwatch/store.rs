//! Metric data: what the load balancers carried and what `PutMetricData` brought, in small buckets that any period can be
//! put together from.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

/// The width of a bucket. Alarms with periods of one second need finer data than AWS keeps.
pub(super) const BUCKET_MS: i64 = 200;
/// How long data is kept; AWS keeps high-resolution data three hours.
const KEEP_MS: i64 = 3 * 3600 * 1000;

/// A metric's identity. Dimensions are sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Metric {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) dimensions: Vec<(String, String)>,
}

impl Metric {
    pub(super) fn new(namespace: &str, name: &str, dimensions: &[(&str, &str)]) -> Self {
        let mut dimensions: Vec<_> =
            dimensions.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        dimensions.sort();
        Self { namespace: namespace.to_owned(), name: name.to_owned(), dimensions }
    }
}

/// Who brought a value: 0 for `PutMetricData`, whose values are there at once; else a node of a load balancer, which tells its numbers later.
pub(super) type Node = u8;

/// What has arrived by a moment. The nodes of a load balancer tell the numbers of a period one after the other once it is over, so the newest
/// period is not there yet, and the one before it may still grow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrived {
    pub(super) now_ms: i64,
    /// How long the periods of load balancers are.
    pub(super) period_ms: i64,
    /// How late the last node is.
    pub(super) late_ms: i64,
    /// Values are only known roughly.
    pub(super) interpolates: bool,
}

impl Arrived {
    fn has(&self, bucket: i64, node: Node) -> bool {
        if node == 0 {
            return true;
        }
        let end = ((bucket * BUCKET_MS).div_euclid(self.period_ms) + 1) * self.period_ms;
        end + self.late_ms * i64::from(node) / i64::from(NODES) <= self.now_ms
    }
}

/// How roughly values are known where they are: the part of a value by which it may be less or more. A count between bounds then is a fraction where
/// values lie near a bound.
const ROUGHLY: f64 = 0.05;

/// Nodes of each load balancer: two in each of two zones.
pub(super) const NODES: Node = 4;

/// Values of one stretch of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Summary {
    /// Something was told, if only that there was nothing: 0 is not missing.
    is_told: bool,
    pub(super) count: f64,
    pub(super) sum: f64,
    pub(super) minimum: f64,
    pub(super) maximum: f64,
    /// Each value with how often it came, for percentiles.
    values: Vec<(f64, f64)>,
    /// Values are only known to lie within [`ROUGHLY`] of what is kept.
    is_rough: bool,
}

impl Summary {
    fn add(&mut self, other: &Self) {
        self.is_told |= other.is_told;
        if other.count == 0.0 {
            return;
        }
        let first = self.count == 0.0;
        self.minimum = if first { other.minimum } else { self.minimum.min(other.minimum) };
        self.maximum = if first { other.maximum } else { self.maximum.max(other.maximum) };
        self.count += other.count;
        self.sum += other.sum;
        self.values.extend_from_slice(&other.values);
    }

    /// Equal values are kept once: counters are mostly ones.
    fn add_value(&mut self, value: f64, times: f64) {
        self.is_told = true;
        if times == 0.0 {
            return;
        }
        match self.values.iter_mut().find(|(known, _)| known.to_bits() == value.to_bits()) {
            Some((_, count)) => *count += times,
            None => self.values.push((value, times)),
        }
        let first = self.count == 0.0;
        self.minimum = if first { value } else { self.minimum.min(value) };
        self.maximum = if first { value } else { self.maximum.max(value) };
        self.count += times;
        self.sum += value * times;
    }

    /// A statistic by its CloudWatch name: `Sum`, `p99`, `TC(0.5:)`, …; `None` for one the sandbox does not know, or that has no value.
    pub(super) fn statistic(&self, name: &str) -> Option<f64> {
        match name {
            "Sum" => Some(self.sum),
            "SampleCount" => Some(self.count),
            "Average" if self.count > 0.0 => Some(self.sum / self.count),
            "Minimum" | "Average" => Some(self.minimum),
            "Maximum" => Some(self.maximum),
            _ => match Bounded::parse(name)? {
                Bounded::Percentile(percent) => self.percentile(percent),
                Bounded::Count { above, up_to } => Some(self.within(above, up_to)),
                Bounded::Share { above, up_to } => {
                    (self.count > 0.0).then(|| 100.0 * self.within(above, up_to) / self.count)
                }
            },
        }
    }

    /// How many values lie above one bound and not above the other.
    fn within(&self, above: f64, up_to: f64) -> f64 {
        let part = |value: f64| {
            let (least, most) = (value * (1.0 - ROUGHLY), value * (1.0 + ROUGHLY));
            if self.is_rough && least < most {
                (most.min(up_to) - least.max(above)).max(0.0) / (most - least)
            } else {
                f64::from(u8::from(above < value && value <= up_to))
            }
        };
        self.values.iter().map(|(value, times)| times * part(*value)).sum()
    }

    /// Nearest rank.
    fn percentile(&self, percent: f64) -> Option<f64> {
        if !(0.0..=100.0).contains(&percent) {
            return None;
        }
        let mut values = self.values.clone();
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total: f64 = values.iter().map(|(_, count)| count).sum();
        let rank = (percent / 100.0 * total).ceil().max(1.0);
        let mut seen = 0.0;
        for (value, count) in &values {
            seen += count;
            if seen >= rank {
                return Some(*value);
            }
        }
        values.last().map(|(value, _)| *value)
    }
}

/// A statistic that is not made of sums alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Bounded {
    /// `p99`.
    Percentile(f64),
    /// `TC(0.5:)`: how many values.
    Count { above: f64, up_to: f64 },
    /// `PR(:0.5)`: how many of a hundred.
    Share { above: f64, up_to: f64 },
}

impl Bounded {
    pub(super) fn parse(name: &str) -> Option<Self> {
        if let Some(percent) = name.strip_prefix('p') {
            let percent = percent.parse().ok().filter(|percent| (0.0..=100.0).contains(percent))?;
            return Some(Self::Percentile(percent));
        }
        let (kind, bounds) = name.split_once('(')?;
        let (above, up_to) = bounds.strip_suffix(')')?.split_once(':')?;
        let bound = |text: &str, open: f64| if text.is_empty() { Some(open) } else { text.parse().ok() };
        let (above, up_to) = (bound(above, f64::NEG_INFINITY)?, bound(up_to, f64::INFINITY)?);
        // Without any bound there is nothing to count by.
        if above >= up_to || (above.is_infinite() && up_to.is_infinite()) {
            return None;
        }
        match kind {
            "TC" => Some(Self::Count { above, up_to }),
            "PR" => Some(Self::Share { above, up_to }),
            _ => None,
        }
    }
}

/// All metric data.
#[derive(Debug, Default)]
pub(super) struct Store {
    series: HashMap<Metric, BTreeMap<(i64, Node), Summary>>,
}

impl Store {
    /// Adds a value that came `times` times.
    pub(super) fn add(&mut self, metric: Metric, at: Timestamp, value: f64, times: f64) {
        self.bucket(metric, at, 0).add_value(value, times);
    }

    /// Adds a value of a load balancer's node; one that came no times says that there is nothing to tell.
    pub(super) fn add_of(&mut self, node: Node, metric: Metric, at: Timestamp, value: f64, times: f64) {
        self.bucket(metric, at, node).add_value(value, times);
    }

    /// Adds values of which only the statistics are known.
    pub(super) fn add_set(
        &mut self,
        metric: Metric,
        at: Timestamp,
        count: f64,
        sum: f64,
        min: f64,
        max: f64,
    ) {
        let values = vec![(sum / count, count)];
        let set = Summary { is_told: true, is_rough: false, count, sum, minimum: min, maximum: max, values };
        self.bucket(metric, at, 0).add(&set);
    }

    fn bucket(&mut self, metric: Metric, at: Timestamp, node: Node) -> &mut Summary {
        let index = at.as_millisecond().div_euclid(BUCKET_MS);
        let buckets = self.series.entry(metric).or_default();
        let oldest = index - KEEP_MS / BUCKET_MS;
        while buckets.first_key_value().is_some_and(|((first, _), _)| *first < oldest) {
            buckets.pop_first();
        }
        buckets.entry((index, node)).or_default()
    }

    /// What came in `[from, to)`, both rounded down to buckets, as alarms see it, at once; `None` when nothing did.
    pub(super) fn between(&self, metric: &Metric, from_ms: i64, to_ms: i64) -> Option<Summary> {
        self.total(metric, from_ms, to_ms, |_, _| true)
    }

    /// The same, as far as it has arrived.
    pub(super) fn arrived(&self, metric: &Metric, from_ms: i64, to_ms: i64, by: Arrived) -> Option<Summary> {
        let total = self.total(metric, from_ms, to_ms, |bucket, node| by.has(bucket, node))?;
        Some(Summary { is_rough: by.interpolates, ..total })
    }

    fn total(
        &self,
        metric: &Metric,
        from_ms: i64,
        to_ms: i64,
        counts: impl Fn(i64, Node) -> bool,
    ) -> Option<Summary> {
        let range = (from_ms.div_euclid(BUCKET_MS), 0)..(to_ms.div_euclid(BUCKET_MS), 0);
        if range.is_empty() {
            return None;
        }
        let mut total = Summary::default();
        for ((bucket, node), values) in self.series.get(metric)?.range(range) {
            if counts(*bucket, *node) {
                total.add(values);
            }
        }
        total.is_told.then_some(total)
    }

    /// The metrics there are, in order.
    pub(super) fn metrics(&self) -> Vec<&Metric> {
        let mut metrics: Vec<_> = self.series.keys().collect();
        metrics.sort();
        metrics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_of_a_stretch_of_time() {
        let metric = Metric::new("N", "M", &[("b", "2"), ("a", "1")]);
        let mut store = Store::default();
        for value in 1..=100_i32 {
            let at = Timestamp::from_millisecond(10_000 + i64::from(value)).unwrap();
            store.add(metric.clone(), at, f64::from(value), 1.0);
        }
        store.add(metric.clone(), Timestamp::from_millisecond(11_000).unwrap(), 1000.0, 1.0);
        let same = Metric::new("N", "M", &[("a", "1"), ("b", "2")]);
        let summary = store.between(&same, 10_000, 11_000).unwrap();
        let expected = [
            ("Sum", 5050.0),
            ("Average", 50.5),
            ("SampleCount", 100.0),
            ("Minimum", 1.0),
            ("Maximum", 100.0),
            ("p99", 99.0),
            ("p50", 50.0),
            ("TC(90:)", 10.0),
            ("TC(:90)", 90.0),
            ("TC(10:20)", 10.0),
            ("PR(90:)", 10.0),
        ];
        for (name, value) in expected {
            assert_eq!(summary.statistic(name), Some(value), "{name}");
        }
        for unknown in ["tm90", "p101", "TC(:)", "TC(2:1)", "TC(a:1)", "TC(1:2", "XX(1:2)"] {
            assert_eq!(summary.statistic(unknown), None, "{unknown}");
        }
        assert_eq!(store.between(&same, 11_000, 12_000).unwrap().maximum, 1000.0);
        assert_eq!(store.between(&same, 12_000, 13_000), None);
    }

    #[test]
    fn a_zero_is_told_and_nothing_is_not() {
        let (metric, mut store) = (Metric::new("N", "M", &[]), Store::default());
        store.add_of(1, metric.clone(), Timestamp::from_millisecond(10_000).unwrap(), 0.0, 0.0);
        let told = store.between(&metric, 10_000, 11_000).unwrap();
        assert_eq!((told.statistic("Sum"), told.statistic("Average")), (Some(0.0), Some(0.0)));
        assert_eq!((told.statistic("p99"), told.statistic("PR(1:)")), (None, None));
        assert_eq!(store.between(&metric, 11_000, 12_000), None);
    }
}
