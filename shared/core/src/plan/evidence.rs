//! What a release is judged by beside its alarms and tasks, as its policy had it when the plan was made: numbers.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tidegate_stats::Test;

use crate::ids::{ContainerName, Digest, FunctionVersion, LambdaAlias, RuleArn, TargetGroupArn};
use crate::policy::{self, Amount, Chance, Compare, CompareMetric, LimitMetric, Millis, Policy, Ratio};
use crate::vocab::cloudwatch::Series;

/// What a release is judged by: numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Evidence {
    /// How many requests the candidate has to answer in each bake; 0: none have to be seen.
    pub min_requests: u32,
    /// Where they are counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<Series>,
    /// Where the requests of both versions are counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<Series>,
    /// How long a bake is held after its end for what is missing, seconds.
    pub wait_secs: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub comparisons: Vec<Comparison>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
    pub tolerate: Ratio,
    pub false_alarms: Chance,
    /// How long a window is, seconds.
    pub every_secs: u32,
    /// Comparisons and limits never act.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// One number of the candidate, beside the stable version's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Comparison {
    pub of: Compared,
    pub candidate: Arm,
    pub stable: Arm,
}

/// What is compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compared {
    /// Requests that failed.
    Errors,
    /// Requests that took longer.
    SlowerThan(Millis),
    /// Events of the user's own.
    Metric(String),
}

impl Compared {
    /// What a policy compares; `None` as long as nobody has said from when on a request is slow.
    pub fn of(compare: &Compare) -> Option<Self> {
        match compare {
            Compare::Errors => Some(Self::Errors),
            Compare::Slow(slow) => slow.over.map(Self::SlowerThan),
            Compare::Metric(metric) => Some(Self::Metric(metric.name.clone())),
        }
    }
}

impl std::fmt::Display for Compared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Errors => f.write_str("errors"),
            Self::SlowerThan(over) => write!(f, "requests slower than {over}"),
            Self::Metric(name) => f.write_str(name),
        }
    }
}

/// Where one version's numbers are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Arm {
    pub requests: Vec<Series>,
    pub bad: Vec<Series>,
}

/// What must not be passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Limit {
    pub series: Series,
    pub bound: Bound,
    /// For how long without a break, seconds.
    pub lasting_secs: u32,
}

/// On which side of it is too far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Above.
    Max(Amount),
    /// Below.
    Min(Amount),
}

impl Bound {
    /// Whether a value is too far.
    pub fn is_passed(self, value: f64) -> bool {
        match self {
            Self::Max(max) => value > max.as_f64(),
            Self::Min(min) => value < min.as_f64(),
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Max(max) => write!(f, "above {max}"),
            Self::Min(min) => write!(f, "below {min}"),
        }
    }
}

/// One of the two versions, by what tells its numbers from the other's. The engines say it: both change roles from release to release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Variant {
    /// The rules that send it requests, and its target group behind each.
    pub(crate) behind: Vec<(RuleArn, TargetGroupArn)>,
    /// The digest of its image in each container, where it is known.
    pub(crate) digests: BTreeMap<ContainerName, Digest>,
    /// The name of the service that runs it.
    pub(crate) service: String,
    /// The alias that invokes it, and its version, where it is one of a function.
    pub(crate) executed: Option<Executed>,
}

/// A version of a Lambda function, as invoked by an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Executed {
    pub(crate) alias: LambdaAlias,
    /// `None`: it is published on the way, and its number is known from then on.
    pub(crate) version: Option<FunctionVersion>,
}

/// Stands in a plan for the version of a candidate that is published on the way.
const TO_BE_PUBLISHED: &str = "{candidate}";

impl Executed {
    /// One of AWS Lambda's metrics of it.
    fn series(&self, metric: &str, stat: &str) -> Series {
        let version = self.version.as_ref().map_or(TO_BE_PUBLISHED, FunctionVersion::as_str);
        let dimensions = [
            ("FunctionName", self.alias.function.to_string()),
            ("Resource", self.alias.to_string()),
            ("ExecutedVersion", version.to_owned()),
        ];
        Series {
            namespace: "AWS/Lambda".to_owned(),
            metric: metric.to_owned(),
            dimensions: dimensions.map(|(name, value)| (name.to_owned(), value)).into(),
            stat: stat.to_owned(),
        }
    }
}

/// Both of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Variants {
    pub(crate) candidate: Variant,
    pub(crate) stable: Variant,
}

impl Variant {
    fn each(&self, of: impl Fn(&RuleArn, &TargetGroupArn) -> Vec<Series>) -> Vec<Series> {
        // Several rules of one load balancer share the metric.
        let series: BTreeSet<Series> = self.behind.iter().flat_map(|(rule, group)| of(rule, group)).collect();
        series.into_iter().collect()
    }

    fn requests(&self) -> Vec<Series> {
        let behind = self.each(|rule, group| Series::requests(rule, group).into_iter().collect());
        behind.into_iter().chain(self.executed.iter().map(|it| it.series("Invocations", "Sum"))).collect()
    }

    fn errors(&self) -> Vec<Series> {
        let behind = self.each(Series::errors);
        behind.into_iter().chain(self.executed.iter().map(|it| it.series("Errors", "Sum"))).collect()
    }

    /// Amazon CloudWatch counts values within bounds: answers of load balancers are in seconds, durations of functions in milliseconds.
    fn slower_than(&self, over: Millis) -> Vec<Series> {
        let behind =
            self.each(|rule, group| Series::slower_than(rule, group, over.secs()).into_iter().collect());
        let stat = format!("TC({}:)", over.secs() * 1000.0);
        behind.into_iter().chain(self.executed.iter().map(|it| it.series("Duration", &stat))).collect()
    }

    /// Its numbers for a comparison; `None` where nothing tells them apart.
    fn arm(&self, compare: &Compare) -> Option<Arm> {
        let requests = self.requests();
        match compare {
            Compare::Errors | Compare::Slow(_) if requests.is_empty() => None,
            Compare::Errors => Some(Arm { requests, bad: self.errors() }),
            Compare::Slow(slow) => Some(Arm { requests, bad: self.slower_than(slow.over?) }),
            Compare::Metric(CompareMetric { namespace, name, per, dimensions }) => {
                let dimensions = self.filled(dimensions)?;
                let series = |metric: &String| Series {
                    namespace: namespace.clone(),
                    metric: metric.clone(),
                    dimensions: dimensions.clone(),
                    stat: "Sum".to_owned(),
                };
                Some(Arm { requests: vec![series(per)], bad: vec![series(name)] })
            }
        }
    }

    /// Dimensions with what stands for this version.
    fn filled(&self, dimensions: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
        let filled = |(name, value): (&String, &String)| Some((name.clone(), self.fill(value)?));
        dimensions.iter().map(filled).collect()
    }

    fn fill(&self, value: &str) -> Option<String> {
        let mut parts = value.split('{');
        let mut filled = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('}')?;
            match name.split_once(':') {
                None if name == "service" => filled.push_str(&self.service),
                None => filled.push_str(self.digests.values().next()?.as_str()),
                Some((_, container)) => {
                    let digest = self.digests.iter().find(|(name, _)| name.as_str() == container)?.1;
                    filled.push_str(digest.as_str());
                }
            }
            filled.push_str(rest);
        }
        Some(filled)
    }
}

impl Variants {
    /// What the policy asks for that can be seen; `None` where that is nothing. `compares`: whether both versions have traffic at once.
    pub(crate) fn evidence(&self, policy: &Policy, compares: bool) -> Option<Evidence> {
        let asked = &policy.evidence;
        let requests = self.candidate.requests();
        let compare = if compares { asked.compare(!requests.is_empty()) } else { &[] };
        let comparison = |compare: &Compare| {
            Some(Comparison {
                of: Compared::of(compare)?,
                candidate: self.candidate.arm(compare)?,
                stable: self.stable.arm(compare)?,
            })
        };
        let evidence = Evidence {
            min_requests: if requests.is_empty() { 0 } else { asked.min_requests() },
            traffic: requests.iter().cloned().chain(self.stable.requests()).collect(),
            requests,
            wait_secs: policy.evidence_wait_secs(),
            comparisons: compare.iter().filter_map(comparison).collect(),
            limits: asked.limits.iter().filter_map(|limit| self.limit(limit)).collect(),
            tolerate: asked.tolerate.unwrap_or(Ratio::ONE_AND_A_HALF),
            false_alarms: asked.false_alarms.unwrap_or(Chance::ONE_PERCENT),
            every_secs: asked.every_secs(),
            dry_run: asked.dry_run,
        };
        let judges =
            evidence.min_requests > 0 || !evidence.comparisons.is_empty() || !evidence.limits.is_empty();
        judges.then_some(evidence)
    }

    fn limit(&self, limit: &policy::Limit) -> Option<Limit> {
        let LimitMetric { namespace, name, dimensions } = &limit.metric;
        let series = Series {
            namespace: namespace.clone(),
            metric: name.clone(),
            dimensions: self.candidate.filled(dimensions)?,
            stat: limit.stat.clone(),
        };
        let bound = limit.max.map(Bound::Max).or_else(|| limit.min.map(Bound::Min))?;
        Some(Limit { series, bound, lasting_secs: limit.lasting.secs() })
    }
}

impl Evidence {
    /// With the candidate's version, where it was not known when the plan was made.
    #[must_use]
    pub fn of_version(&self, version: &str) -> Self {
        let mut evidence = self.clone();
        let candidates = evidence.comparisons.iter_mut().map(|it| &mut it.candidate);
        let arms = candidates.flat_map(|arm| arm.requests.iter_mut().chain(&mut arm.bad));
        let all =
            arms.chain(&mut evidence.requests).chain(evidence.limits.iter_mut().map(|it| &mut it.series));
        for value in all.flat_map(|series| series.dimensions.values_mut()).filter(|it| *it == TO_BE_PUBLISHED)
        {
            version.clone_into(value);
        }
        evidence
    }

    /// The test of each comparison: all together keep what the policy says of false alarms.
    pub fn test(&self) -> Test {
        Test::new(self.tolerate.as_f64(), self.false_alarms.as_f64()).one_of(self.comparisons.len())
    }

    /// The comparison that judges the requests which are counted; none, where only metrics of the user's own are compared.
    pub fn judged(&self) -> Option<usize> {
        self.comparisons.iter().position(|it| it.candidate.requests == self.requests)
    }

    /// Everything that is read for it.
    pub fn series(&self) -> BTreeSet<Series> {
        let arms = self.comparisons.iter().flat_map(|it| [&it.candidate, &it.stable]);
        let compared = arms.flat_map(|arm| arm.requests.iter().chain(&arm.bad));
        let limits = self.limits.iter().map(|limit| &limit.series);
        self.requests.iter().chain(compared).chain(limits).cloned().collect()
    }
}
