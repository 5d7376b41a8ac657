//! How a candidate is judged by its numbers: how much has to be seen of it, what is compared with the stable version, and what has a limit.

use std::collections::BTreeMap;
use std::fmt;

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Span;

/// How a candidate is judged by its numbers: no evidence is not good evidence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// How many requests the candidate must have answered in each bake. Below it the bake is held. 0: none are needed. Default 100 where an
    /// Application Load Balancer shifts the traffic; elsewhere nobody counts requests, so a number above 0 is refused by preflight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_requests: Option<u32>,
    /// How long a bake is held after its end for numbers that are missing. Default 30m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
    /// What happens when they are still missing then. Default roll_back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inconclusive: Option<Inconclusive>,
    /// What of the candidate is compared with the stable version, while both have traffic. Default `[errors]` where an Application Load Balancer
    /// counts them; `[]`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare: Option<Vec<Compare>>,
    /// What must not be passed, whatever the stable version does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
    /// How many times the stable version's rate is no regression, 1 to 100. Default 1.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerate: Option<Ratio>,
    /// How often a release is rolled back by comparisons though its candidate is no worse than is tolerated: at most so often, over all
    /// comparisons of a release, 0.01% to 20%. Default 1%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub false_alarms: Option<Chance>,
    /// How long the windows are that numbers are counted in: 1s, 5s, 10s, 20s, 30s, or whole minutes up to 15m. Load balancers send their
    /// numbers once a minute; below that there are only metrics that are sent in high resolution. Default 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
    /// Comparisons and limits are reported and never act: to see what they would do. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// What happens when numbers are still missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Inconclusive {
    /// The release is rolled back.
    #[default]
    RollBack,
    /// The release is held for a person, as long as Amazon ECS allows; then it is rolled back.
    Hold,
}

/// Something of the candidate that is compared with the stable version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    /// Requests that the target answers with 5xx, or takes no connection for.
    Errors,
    /// Requests that are answered slowly.
    Slow(Slow),
    /// Events of your own.
    Metric(CompareMetric),
}

impl fmt::Display for Compare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errors => f.write_str("errors"),
            Self::Slow(Slow { over: Some(over) }) => write!(f, "requests slower than {over}"),
            Self::Slow(Slow { over: None }) => f.write_str("slow requests"),
            Self::Metric(metric) => f.write_str(&metric.name),
        }
    }
}

/// Requests that are answered slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slow {
    /// From when on a request is slow, 1ms to 60s. Default: the 99th percentile of what runs, in the last three days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Millis>,
}

/// Events of your own, per something that is tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CompareMetric")]
pub struct CompareMetric {
    /// The metric's namespace.
    pub namespace: String,
    /// The metric that counts what is bad.
    pub name: String,
    /// The metric that counts what is tried, with the same dimensions.
    pub per: String,
    /// The dimensions by which both versions are told apart. One of them holds `{digest}`, the digest of the version's image (`{digest:app}` for
    /// one of several containers), or, with the engine `weighted`, `{service}`, the name of the version's ECS service.
    pub dimensions: BTreeMap<String, String>,
}

/// What must not be passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MetricLimit")]
pub struct Limit {
    /// The metric.
    pub metric: LimitMetric,
    /// The statistic: Average, Minimum, Maximum, Sum, SampleCount, a percentile such as p99, or another that Amazon CloudWatch knows.
    pub stat: String,
    /// It must not be above this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Amount>,
    /// It must not be below this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Amount>,
    /// For how long it has to be passed without a break. Default 3m.
    #[serde(default = "three_minutes", rename = "for")]
    pub lasting: Span,
}

/// The metric of a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LimitMetric")]
pub struct LimitMetric {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its dimensions; they may hold the candidate's `{digest}` and `{service}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dimensions: BTreeMap<String, String>,
}

const fn three_minutes() -> Span {
    Span::of_secs(180)
}

impl Evidence {
    const MIN_REQUESTS: u32 = 100;
    const WAIT_SECS: u32 = 30 * 60;
    const EVERY_SECS: u32 = 60;

    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// How many requests have to be seen, where they can be counted.
    pub fn min_requests(&self) -> u32 {
        self.min_requests.unwrap_or(Self::MIN_REQUESTS)
    }

    /// How long a bake is held for what is missing, seconds.
    pub fn wait_secs(&self) -> u32 {
        self.wait.map_or(Self::WAIT_SECS, Span::secs)
    }

    /// What is compared, where a load balancer counts or nobody does.
    pub fn compare(&self, counted: bool) -> &[Compare] {
        const BY_DEFAULT: &[Compare] = &[Compare::Errors];
        match &self.compare {
            Some(compare) => compare,
            None if counted => BY_DEFAULT,
            None => &[],
        }
    }

    /// How long a window is, seconds.
    pub fn every_secs(&self) -> u32 {
        self.every.map_or(Self::EVERY_SECS, Span::secs)
    }

    /// Whether anything may hold a bake beyond its end.
    pub(super) fn may_hold(&self) -> bool {
        self.min_requests() > 0
            || !self.limits.is_empty()
            || self.compare.as_ref().is_none_or(|compare| !compare.is_empty())
    }

    /// What is wrong with it, seen alone. The errors name the field.
    pub(super) fn check(&self, weighted: bool) -> Result<(), String> {
        if let Some(every) = self.every
            && !is_a_period(every.secs())
        {
            return Err(format!(
                "evidence.every: found {every}, allowed 1s, 5s, 10s, 20s, 30s and whole minutes up to 15m"
            ));
        }
        for (index, compare) in self.compare.iter().flatten().enumerate() {
            if let Compare::Metric(metric) = compare {
                let at = format!("evidence.compare[{index}].metric.dimensions");
                let placed =
                    placeholders(&metric.dimensions, weighted).map_err(|why| format!("{at}: {why}"))?;
                if placed == 0 {
                    let service = if weighted { " or {service}" } else { "" };
                    return Err(format!(
                        "{at}: found none that tells the candidate from the stable version, allowed with a value that holds {{digest}}{service}"
                    ));
                }
            }
            if self.compare.iter().flatten().skip(index + 1).any(|other| other == compare) {
                return Err(format!(
                    "evidence.compare[{index}]: found the same comparison twice, allowed once"
                ));
            }
        }
        for (index, limit) in self.limits.iter().enumerate() {
            let at = format!("evidence.limits[{index}]");
            placeholders(&limit.metric.dimensions, weighted)
                .map_err(|why| format!("{at}.metric.dimensions: {why}"))?;
            if limit.max.is_none() == limit.min.is_none() {
                let found = if limit.max.is_none() { "neither" } else { "both" };
                return Err(format!("{at}: exactly one of max and min is needed, found {found}"));
            }
        }
        Ok(())
    }
}

/// The periods Amazon CloudWatch takes, up to 15 minutes.
fn is_a_period(secs: u32) -> bool {
    matches!(secs, 1 | 5 | 10 | 20 | 30) || (secs.is_multiple_of(60) && (60..=900).contains(&secs))
}

/// How many placeholders there are.
fn placeholders(dimensions: &BTreeMap<String, String>, weighted: bool) -> Result<usize, String> {
    let mut found = 0;
    for value in dimensions.values() {
        for part in value.split('{').skip(1) {
            let name = part.split('}').next().unwrap_or(part);
            match name.split(':').next().unwrap_or(name) {
                "digest" => {}
                "service" if weighted => {}
                "service" => {
                    return Err("found {service}, allowed with the engine weighted: otherwise both versions are one ECS service".into());
                }
                _ => return Err(format!("found {{{name}}}, allowed {{digest}} and {{service}}")),
            }
            found += 1;
        }
    }
    Ok(found)
}

impl<'de> Deserialize<'de> for Compare {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// With its settings.
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Set {
            Slow(Slow),
            Metric(CompareMetric),
        }
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Compare;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("errors, slow: { over: 500ms } or metric: { … }")
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<Compare, E> {
                match value {
                    "errors" => Ok(Compare::Errors),
                    "slow" => Err(E::custom(
                        "found slow, allowed slow: { over: 500ms }, or slow: {} for the stable version's own 99th percentile",
                    )),
                    other => Err(E::custom(format!(
                        "found {other:?}, allowed errors, slow: {{ … }} and metric: {{ … }}"
                    ))),
                }
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Compare, A::Error> {
                Set::deserialize(MapAccessDeserializer::new(map)).map(|set| match set {
                    Set::Slow(slow) => Compare::Slow(slow),
                    Set::Metric(metric) => Compare::Metric(metric),
                })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A span of time in whole milliseconds, up to a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(u32);

impl Millis {
    const MAX: u32 = 60_000;

    /// From milliseconds; `None` unless 1 to 60,000.
    pub const fn new(millis: u32) -> Option<Self> {
        if millis >= 1 && millis <= Self::MAX { Some(Self(millis)) } else { None }
    }

    /// In seconds, as Amazon CloudWatch counts them.
    pub fn secs(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            whole if whole.is_multiple_of(1000) => write!(f, "{}s", whole / 1000),
            millis => write!(f, "{millis}ms"),
        }
    }
}

/// A ratio of two rates in hundredths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ratio(u32);

impl Ratio {
    /// One and a half times.
    pub const ONE_AND_A_HALF: Self = Self(150);

    /// From a number; `None` unless 1 to 100 in multiples of 0.01.
    pub fn from_f64(value: f64) -> Option<Self> {
        in_steps(value, 100.0, 100, 10_000).map(Self)
    }

    /// As a number.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_f64())
    }
}

/// A probability in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chance(u32);

impl Chance {
    /// One in a hundred.
    pub const ONE_PERCENT: Self = Self(100);

    fn parse(text: &str) -> Option<Self> {
        let percent = text.strip_suffix('%')?.trim().parse().ok()?;
        in_steps(percent, 100.0, 1, 2000).map(Self)
    }

    /// As a probability.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

impl std::str::FromStr for Chance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| {
            format!("found {text:?}, allowed 0.01% to 20% in steps of 0.01%, with the percent sign")
        })
    }
}

impl fmt::Display for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 100.0)
    }
}

/// So many parts of one, when it is a whole number of them within the limits.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "held against the limits first")]
fn in_steps(value: f64, parts: f64, least: u32, most: u32) -> Option<u32> {
    let scaled = value * parts;
    let rounded = scaled.round();
    let within = (f64::from(least)..=f64::from(most)).contains(&rounded);
    ((scaled - rounded).abs() < 1e-6 && within).then_some(rounded as u32)
}

/// A number a metric is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Amount(f64);

// It is finite.
impl Eq for Amount {}

impl Amount {
    /// From a number; `None` unless it is finite.
    pub fn new(value: f64) -> Option<Self> {
        value.is_finite().then_some(Self(value))
    }

    /// As a number.
    pub const fn as_f64(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Text that is parsed, for [`Millis`] and [`Chance`]; a number of which it could not be said what it counts is refused.
macro_rules! written {
    ($type:ident, $parse:expr, $allowed:literal, $unitless:literal, $schema:tt) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($allowed)
                    }
                    fn visit_str<E: de::Error>(self, value: &str) -> Result<$type, E> {
                        let parse: fn(&str) -> Option<$type> = $parse;
                        parse(value).ok_or_else(|| {
                            E::custom(format!(concat!("found {:?}, allowed ", $allowed), value))
                        })
                    }
                    fn visit_u64<E: de::Error>(self, value: u64) -> Result<$type, E> {
                        Err(E::custom(format!(concat!("found {} without ", $unitless), value)))
                    }
                    fn visit_f64<E: de::Error>(self, value: f64) -> Result<$type, E> {
                        Err(E::custom(format!(concat!("found {} without ", $unitless), value)))
                    }
                }
                deserializer.deserialize_any(Visitor)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

written!(
    Millis,
    |text| {
        let span: SignedDuration = text.parse().ok()?;
        let millis = u32::try_from(span.as_millis()).ok()?;
        (SignedDuration::from_millis(i64::from(millis)) == span).then(|| Millis::new(millis)).flatten()
    },
    "a span of time such as 500ms or 2s, 1ms to 60s",
    "a unit, allowed for example 500ms or 2s",
    { "type": "string", "pattern": "^[0-9]+ ?(ms|s|m)[0-9ms ]*$", "examples": ["500ms", "2s"],
      "description": "A span of time with its unit, 1ms to 60s." }
);

written!(
    Chance,
    Chance::parse,
    "0.01% to 20% in steps of 0.01%, with the percent sign",
    "a percent sign, allowed 0.01% to 20%, for example 1%",
    { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)? ?%$", "examples": ["1%"],
      "description": "A probability with its percent sign, 0.01% to 20%." }
);

/// Numbers, for [`Ratio`] and [`Amount`].
macro_rules! number {
    ($type:ident, $from:expr, $allowed:literal, $schema:tt) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.as_f64().serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = f64::deserialize(deserializer)?;
                let from: fn(f64) -> Option<$type> = $from;
                from(value)
                    .ok_or_else(|| de::Error::custom(format!(concat!("found {}, allowed ", $allowed), value)))
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

number!(Ratio, Ratio::from_f64, "1 to 100 in steps of 0.01", {
    "type": "number", "minimum": 1, "maximum": 100, "multipleOf": 0.01, "examples": [1.5],
    "description": "How many times as much."
});
number!(Amount, Amount::new, "a finite number", { "type": "number", "description": "A number." });
