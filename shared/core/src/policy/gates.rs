//! What a release has to pass beside its alarms: people who approve, times of freeze, scans, and verification builds.

use std::collections::BTreeMap;

use jiff::civil::{DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

use super::Span;
use crate::ids::{AwsPattern, SlackMember};

/// Where in the plan a person, or a build, is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Before {
    /// Before anything is changed.
    Deploy,
    /// When the candidate runs, before it gets production traffic.
    Shift,
    /// When all traffic has moved and baked, before the stable version is terminated.
    Promote,
}

impl std::fmt::Display for Before {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Deploy => "deploy",
            Self::Shift => "shift",
            Self::Promote => "promote",
        })
    }
}

/// People have to approve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Where in the plan.
    pub before: Before,
    /// Who may: names of `people` or `groups`.
    #[schemars(length(min = 1))]
    #[serde(deserialize_with = "super::scalars::non_empty")]
    pub by: Vec<String>,
    /// How many have to. Default 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 20))]
    pub count: u8,
    /// How long is waited. Default 4h.
    #[serde(default = "Span::four_hours")]
    pub expires: Span,
    /// What happens then. Default reject.
    #[serde(default)]
    pub on_expiry: OnExpiry,
    /// Whoever asked for the release may not approve it. Default true.
    #[serde(default = "yes")]
    pub not_by_requester: bool,
    /// A release that none of `people` is known to have asked for is refused. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_requester: bool,
    /// A manual approval action of a pipeline in Tidegate's own account and region, which gets the same answer. It is answered for the
    /// pipeline execution that started the release, by Tidegate's Lambda action with `execution` in its parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<PipelineAction>,
}

/// A manual approval action of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineAction {
    /// The pipeline's name.
    pub name: String,
    /// The stage.
    pub stage: String,
    /// The action.
    pub action: String,
}

impl std::fmt::Display for PipelineAction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.name, self.stage, self.action)
    }
}

fn one() -> u8 {
    1
}

fn yes() -> bool {
    true
}

/// What happens when nobody has decided in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnExpiry {
    /// The release ends.
    #[default]
    Reject,
    /// The release continues.
    Approve,
}

/// How a person is reached, and known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// The SNS topic their link is sent to; only they should be subscribed to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sns: Option<String>,
    /// Their AWS identities, with `*`: who may approve with IAM, and who counts as the requester. A role stands for all of its sessions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aws: Vec<AwsPattern>,
    /// Their Slack member id, e.g. `U0123ABCDEF`: how they are mentioned, and known when they press a button.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slack: Option<SlackMember>,
    /// Their GitHub logins; one, or a list. Who has one of these names counts as the requester; nobody can approve with one.
    #[serde(default, deserialize_with = "one_or_many_texts", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "super::OneOrMany<String>")]
    pub github: Vec<String>,
    /// Their mail addresses; one, or a list. Only for knowing them as the requester.
    #[serde(default, deserialize_with = "one_or_many_texts", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "super::OneOrMany<String>")]
    pub email: Vec<String>,
    /// Other names they go by, at a build server for example; one, or a list. Only for knowing them as the requester.
    #[serde(default, deserialize_with = "one_or_many_texts", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "super::OneOrMany<String>")]
    pub aliases: Vec<String>,
}

impl Person {
    /// The topic their link is published to.
    pub fn topic(&self) -> Option<&str> {
        self.sns.as_deref()
    }
}

/// When nothing is released. Rollback is never held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// The time zone of all windows, e.g. `Europe/Berlin`.
    pub time_zone: Zone,
    /// Every week.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weekly: Vec<Weekly>,
    /// Once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dated: Vec<Dated>,
    /// Whether a release waits or is refused. Default wait.
    #[serde(default)]
    pub then: FreezeThen,
}

/// What becomes of a release within a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FreezeThen {
    /// It waits for the window's end.
    #[default]
    Wait,
    /// It ends.
    Refuse,
}

/// A window of every week: `{ from: Fri 16:00, to: Mon 08:00 }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Weekly {
    /// Its begin.
    pub from: WeekTime,
    /// Its end.
    pub to: WeekTime,
    /// Why; shown to everyone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A window that is once: `{ from: 2026-12-20T00:00, to: 2027-01-02T00:00 }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dated {
    /// Its begin, in the freeze's time zone.
    #[schemars(with = "String")]
    pub from: DateTime,
    /// Its end.
    #[schemars(with = "String")]
    pub to: DateTime,
    /// Why; shown to everyone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// When a drill may be held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Drill {
    /// The time zone of all windows, e.g. `Europe/Berlin`.
    pub time_zone: Zone,
    /// Every week; at least one.
    #[serde(deserialize_with = "some_windows")]
    #[schemars(length(min = 1))]
    pub weekly: Vec<Weekly>,
}

fn some_windows<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Weekly>, D::Error> {
    let windows = Vec::deserialize(deserializer)?;
    if windows.is_empty() {
        return Err(serde::de::Error::custom(
            "found no window, at least one is needed; without the whole field `drill` there are no drills",
        ));
    }
    Ok(windows)
}

impl Drill {
    /// The window that is open at `now`.
    pub fn at(&self, now: Timestamp) -> Option<Frozen> {
        let windows = Freeze {
            time_zone: self.time_zone.clone(),
            weekly: self.weekly.clone(),
            dated: Vec::new(),
            then: FreezeThen::Wait,
        };
        windows.at(now)
    }
}

impl std::fmt::Display for Drill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let windows: Vec<String> =
            self.weekly.iter().map(|window| format!("{} to {}", window.from, window.to)).collect();
        let zone = self.time_zone.0.iana_name().unwrap_or("UTC");
        write!(f, "{} ({zone})", windows.join(", "))
    }
}

/// An IANA time zone that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Serialize for Zone {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        TimeZone::get(&name).map(Self).map_err(|_| {
            de::Error::custom(format!(
                "found {name:?}, allowed the name of an IANA time zone such as Europe/Berlin or UTC"
            ))
        })
    }
}

impl JsonSchema for Zone {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TimeZone".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["Europe/Berlin", "UTC"], "description": "The name of an IANA time zone." })
    }
}

/// A moment of the week: `Fri 16:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeekTime {
    day: Weekday,
    time: Time,
}

const DAYS: [(&str, Weekday); 7] = [
    ("Mon", Weekday::Monday),
    ("Tue", Weekday::Tuesday),
    ("Wed", Weekday::Wednesday),
    ("Thu", Weekday::Thursday),
    ("Fri", Weekday::Friday),
    ("Sat", Weekday::Saturday),
    ("Sun", Weekday::Sunday),
];

impl WeekTime {
    fn parse(text: &str) -> Option<Self> {
        let (day, time) = text.split_once(' ')?;
        let day = DAYS.iter().find(|(name, _)| name.eq_ignore_ascii_case(day)).map(|(_, day)| *day)?;
        let (hour, minute) = time.split_once(':')?;
        let time = Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()?;
        Some(Self { day, time })
    }
}

impl std::fmt::Display for WeekTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let day = DAYS.iter().find(|(_, day)| *day == self.day).map_or("", |(name, _)| name);
        write!(f, "{day} {:02}:{:02}", self.time.hour(), self.time.minute())
    }
}

impl Serialize for WeekTime {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WeekTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom(format!("found {text:?}, allowed a day and a time such as Fri 16:00 (Mon, Tue, Wed, Thu, Fri, Sat, Sun)"))
        })
    }
}

impl JsonSchema for WeekTime {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "WeekTime".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "pattern": "^(Mon|Tue|Wed|Thu|Fri|Sat|Sun) [0-9]{1,2}:[0-9]{2}$", "examples": ["Fri 16:00"],
            "description": "A day and a time in the freeze's time zone."
        })
    }
}

/// A window that is open now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// Until when.
    pub until: Timestamp,
    /// The window, for people.
    pub window: String,
}

impl Freeze {
    /// The window that is open at `now`, the one that ends last when there are several.
    pub fn at(&self, now: Timestamp) -> Option<Frozen> {
        let weekly = self.weekly.iter().filter_map(|window| self.weekly_at(window, now));
        let dated = self.dated.iter().filter_map(|window| self.dated_at(window, now));
        weekly.chain(dated).max_by_key(|frozen| frozen.until)
    }

    fn dated_at(&self, window: &Dated, now: Timestamp) -> Option<Frozen> {
        let from = self.time_zone.0.to_timestamp(window.from).ok()?;
        let until = self.time_zone.0.to_timestamp(window.to).ok()?;
        let text = described(&format!("{} to {}", window.from, window.to), window.why.as_deref());
        (from <= now && now < until).then_some(Frozen { until, window: text })
    }

    /// The window began on the last `from` day at or before now, at most a week ago.
    fn weekly_at(&self, window: &Weekly, now: Timestamp) -> Option<Frozen> {
        let today = now.to_zoned(self.time_zone.0.clone()).date();
        let back = i64::from(window.from.day.until(today.weekday()));
        let length = i64::from(window.from.day.until(window.to.day));
        [back, back + 7].into_iter().find_map(|back| {
            let begin_day = today.checked_sub(back.days()).ok()?;
            let same_day_backwards = length == 0 && window.to.time <= window.from.time;
            let end_day =
                begin_day.checked_add((length + if same_day_backwards { 7 } else { 0 }).days()).ok()?;
            let from = self.time_zone.0.to_timestamp(begin_day.to_datetime(window.from.time)).ok()?;
            let until = self.time_zone.0.to_timestamp(end_day.to_datetime(window.to.time)).ok()?;
            let text = described(&format!("{} to {}", window.from, window.to), window.why.as_deref());
            (from <= now && now < until).then_some(Frozen { until, window: text })
        })
    }
}

fn described(window: &str, why: Option<&str>) -> String {
    why.map_or_else(|| window.to_owned(), |why| format!("{window}: {why}"))
}

/// The image's scan has to be good enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scan {
    /// How many findings of each severity are allowed, by name (`critical`, `high`, `medium`, `low`, `informational`, `undefined`). A
    /// severity that is not named is not limited.
    #[serde(default = "no_critical")]
    pub max: BTreeMap<SeverityName, u32>,
    /// Findings that are accepted for a time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Allowed>,
    /// How long the scan is waited for. Default 15m.
    #[serde(default = "fifteen_minutes")]
    pub wait: Span,
}

fn no_critical() -> BTreeMap<SeverityName, u32> {
    BTreeMap::from([(SeverityName::Critical, 0)])
}

const fn fifteen_minutes() -> Span {
    Span::of_secs(15 * 60)
}

/// The severities ECR and Amazon Inspector know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SeverityName {
    /// Worst.
    Critical,
    /// Bad.
    High,
    /// Not good.
    Medium,
    /// Slight.
    Low,
    /// Hardly.
    Informational,
    /// Not rated: `UNDEFINED` and `UNTRIAGED`, and whatever AWS may add.
    Undefined,
}

impl SeverityName {
    /// From the wire; what is not known is not rated.
    pub fn from_wire(text: &str) -> Self {
        match text {
            "CRITICAL" => Self::Critical,
            "HIGH" => Self::High,
            "MEDIUM" => Self::Medium,
            "LOW" => Self::Low,
            "INFORMATIONAL" => Self::Informational,
            _ => Self::Undefined,
        }
    }

    /// In lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
            Self::Informational => "informational",
            Self::Undefined => "undefined",
        }
    }
}

/// A finding that is accepted until a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    /// Its name: `CVE-2026-1234`.
    pub id: String,
    /// The last day (UTC) it is accepted on.
    #[schemars(with = "String")]
    pub until: jiff::civil::Date,
    /// Why; shown to everyone.
    pub why: String,
}

impl Allowed {
    /// Whether it is accepted at `now`.
    pub fn holds(&self, now: Timestamp) -> bool {
        now.to_zoned(TimeZone::UTC).date() <= self.until
    }
}

/// A CodeBuild build that tries the candidate decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// Where in the plan: before production traffic, or after its first share.
    pub at: VerifyAt,
    /// The CodeBuild project, in Tidegate's own account and region.
    pub codebuild: String,
    /// Where the candidate is reached: the address of the test listener. Given to the build as `TIDEGATE_TEST_URL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_url: Option<String>,
    /// How long the build may take. Default 20m.
    #[serde(default = "twenty_minutes")]
    pub timeout: Span,
}

impl Verify {
    /// The project that is built to try the candidate.
    pub fn project(&self) -> &str {
        &self.codebuild
    }
}

const fn twenty_minutes() -> Span {
    Span::of_secs(20 * 60)
}

/// When the candidate is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerifyAt {
    /// When its tasks run, before production traffic.
    Candidate,
    /// After the first shift.
    FirstShift,
}

impl std::fmt::Display for VerifyAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Candidate => "candidate",
            Self::FirstShift => "first shift",
        })
    }
}

/// One text, or a list of them; none of them empty.
fn one_or_many_texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Visitor;
    impl<'de> de::Visitor<'de> for Visitor {
        type Value = Vec<String>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a name, or a list of names")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<String>, E> {
            Ok(vec![text.to_owned()])
        }
        fn visit_seq<A: de::SeqAccess<'de>>(self, seq: A) -> Result<Vec<String>, A::Error> {
            Vec::deserialize(de::value::SeqAccessDeserializer::new(seq))
        }
    }
    let texts = deserializer.deserialize_any(Visitor)?;
    if texts.iter().any(|text| text.trim().is_empty()) {
        return Err(de::Error::custom("found an empty name, allowed one character or more"));
    }
    Ok(texts)
}

/// One value, or a list of them.
pub(super) fn one_or_many<'de, D: Deserializer<'de>, T: de::DeserializeOwned>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct Visitor<T>(std::marker::PhantomData<T>);
    impl<'de, T: de::DeserializeOwned> de::Visitor<'de> for Visitor<T> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("one of these, or a list of them")
        }
        fn visit_seq<A: de::SeqAccess<'de>>(self, seq: A) -> Result<Vec<T>, A::Error> {
            Vec::deserialize(de::value::SeqAccessDeserializer::new(seq))
        }
        fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
            T::deserialize(de::value::MapAccessDeserializer::new(map)).map(|one| vec![one])
        }
    }
    deserializer.deserialize_any(Visitor(std::marker::PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn freeze(yaml: &str) -> Freeze {
        serde_saphyr::from_str(yaml).unwrap()
    }

    #[test]
    fn a_weekly_window_over_the_weekend_is_open_and_ends_on_monday() {
        let freeze = freeze(
            "{ time_zone: Europe/Berlin, weekly: [{ from: Fri 16:00, to: Mon 08:00, why: weekend }] }",
        );
        let at = |text: &str| freeze.at(text.parse().unwrap()).map(|frozen| frozen.until.to_string());
        // 2026-11-20 is a Friday; Berlin is one hour ahead of UTC in November.
        assert_eq!(at("2026-11-20T14:59:59Z"), None);
        assert_eq!(at("2026-11-20T15:00:00Z").as_deref(), Some("2026-11-23T07:00:00Z"));
        assert_eq!(at("2026-11-22T12:00:00Z").as_deref(), Some("2026-11-23T07:00:00Z"));
        assert_eq!(at("2026-11-23T06:59:59Z").as_deref(), Some("2026-11-23T07:00:00Z"));
        assert_eq!(at("2026-11-23T07:00:00Z"), None);
    }

    #[test]
    fn a_window_keeps_its_local_time_when_the_clocks_change() {
        let freeze = freeze("{ time_zone: Europe/Berlin, weekly: [{ from: Sat 20:00, to: Sun 20:00 }] }");
        // The clocks go back on Sunday 2026-10-25.
        let frozen = freeze.at("2026-10-24T18:30:00Z".parse().unwrap()).unwrap();
        assert_eq!(frozen.until.to_string(), "2026-10-25T19:00:00Z");
    }

    #[test]
    fn a_window_on_one_day_that_ends_before_it_begins_lasts_almost_a_week() {
        let freeze = freeze("{ time_zone: UTC, weekly: [{ from: Mon 12:00, to: Mon 08:00 }] }");
        let at = |text: &str| freeze.at(text.parse().unwrap()).is_some();
        assert!(at("2026-11-23T13:00:00Z"));
        assert!(at("2026-11-29T13:00:00Z"));
        assert!(!at("2026-11-23T09:00:00Z"));
    }

    #[test]
    fn a_dated_window_is_in_the_freezes_time_zone() {
        let freeze = freeze(
            "{ time_zone: America/New_York, dated: [{ from: 2026-12-20T00:00, to: 2027-01-02T00:00 }] }",
        );
        let at = |text: &str| freeze.at(text.parse().unwrap()).is_some();
        assert!(!at("2026-12-20T04:59:00Z"));
        assert!(at("2026-12-20T05:00:00Z"));
        assert!(!at("2027-01-02T05:00:00Z"));
    }
}
