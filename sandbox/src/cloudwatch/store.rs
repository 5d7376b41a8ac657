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

/// Values of one stretch of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Summary {
    pub(super) count: f64,
    pub(super) sum: f64,
    pub(super) minimum: f64,
    pub(super) maximum: f64,
    /// Each value with how often it came, for percentiles.
    values: Vec<(f64, f64)>,
}

impl Summary {
    fn add(&mut self, other: &Self) {
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

    /// A statistic by its CloudWatch name: `Sum`, `p99`, …; `None` for one the sandbox does not know.
    pub(super) fn statistic(&self, name: &str) -> Option<f64> {
        match name {
            "Sum" => Some(self.sum),
            "SampleCount" => Some(self.count),
            "Average" => Some(self.sum / self.count),
            "Minimum" => Some(self.minimum),
            "Maximum" => Some(self.maximum),
            _ => self.percentile(name.strip_prefix('p')?.parse().ok()?),
        }
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

/// All metric data.
#[derive(Debug, Default)]
pub(super) struct Store {
    series: HashMap<Metric, BTreeMap<i64, Summary>>,
}

impl Store {
    /// Adds a value that came `times` times.
    pub(super) fn add(&mut self, metric: Metric, at: Timestamp, value: f64, times: f64) {
        self.bucket(metric, at).add_value(value, times);
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
        let set = Summary { count, sum, minimum: min, maximum: max, values: vec![(sum / count, count)] };
        self.bucket(metric, at).add(&set);
    }

    fn bucket(&mut self, metric: Metric, at: Timestamp) -> &mut Summary {
        let index = at.as_millisecond().div_euclid(BUCKET_MS);
        let buckets = self.series.entry(metric).or_default();
        let oldest = index - KEEP_MS / BUCKET_MS;
        while buckets.first_key_value().is_some_and(|(first, _)| *first < oldest) {
            buckets.pop_first();
        }
        buckets.entry(index).or_default()
    }

    /// What came in `[from, to)`, both rounded down to buckets; `None` when nothing did.
    pub(super) fn between(&self, metric: &Metric, from_ms: i64, to_ms: i64) -> Option<Summary> {
        let range = from_ms.div_euclid(BUCKET_MS)..to_ms.div_euclid(BUCKET_MS);
        if range.is_empty() {
            return None;
        }
        let mut total = Summary::default();
        for (_, bucket) in self.series.get(metric)?.range(range) {
            total.add(bucket);
        }
        (total.count > 0.0).then_some(total)
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
        ];
        for (name, value) in expected {
            assert_eq!(summary.statistic(name), Some(value), "{name}");
        }
        assert_eq!(summary.statistic("tm90"), None);
        assert_eq!(store.between(&same, 11_000, 12_000).unwrap().maximum, 1000.0);
        assert_eq!(store.between(&same, 12_000, 13_000), None);
    }
}
