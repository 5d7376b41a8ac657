//! The small values of a policy: percent, spans of time, tag patterns.

use std::fmt;

use globset::{GlobBuilder, GlobMatcher};
use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::ids::{AlarmName, RepositoryName, Tag};

/// A share of traffic in tenths of a percent, the resolution of Amazon ECS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u16);

impl Percent {
    /// 0%.
    pub const NONE: Self = Self(0);
    /// 100%.
    pub const ALL: Self = Self(1000);
    /// ECS takes linear steps of 3% and more.
    pub const MINIMUM_LINEAR_STEP: Self = Self(30);

    /// From tenths of a percent; more than 1000 is 100%.
    pub const fn from_tenths(tenths: u16) -> Self {
        Self(if tenths > 1000 { 1000 } else { tenths })
    }

    /// From percent; `None` unless 0 to 100 in multiples of 0.1.
    pub fn from_f64(value: f64) -> Option<Self> {
        let tenths = value * 10.0;
        let rounded = tenths.round();
        let exact = (tenths - rounded).abs() < 1e-6 && (0.0..=1000.0).contains(&rounded);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be 0 to 1000 just above"
        )]
        exact.then_some(Self(rounded as u16))
    }

    /// Whether a measured share is `wanted` as a load balancer can have it. Weights are whole numbers up to 999. AWS does not say how it
    /// makes them: out of 100, a fraction of a percent is rounded by less than one; out of 999 or 1000, anything by less than a tenth and
    /// shown to a tenth. Nothing and everything are exact, and a share of some is never shown as none.
    pub const fn is_rounded(self, wanted: Self) -> bool {
        if wanted.0 == 0 || wanted.0 == Self::ALL.0 || self.0 == 0 {
            return self.0 == wanted.0;
        }
        let allowed = if wanted.0.is_multiple_of(10) { 1 } else { 9 };
        self.0.abs_diff(wanted.0) <= allowed
    }

    /// What is left of everything.
    #[must_use]
    pub const fn rest(self) -> Self {
        Self(Self::ALL.0 - self.0)
    }

    /// In tenths of a percent.
    pub const fn tenths(self) -> u16 {
        self.0
    }

    /// In percent.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 10.0
    }

    /// This much more, at most 100%.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self::from_tenths(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_f64())
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(10) {
            serializer.serialize_u16(self.0 / 10)
        } else {
            serializer.serialize_f64(self.as_f64())
        }
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Percent;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number from 0.1 to 100 in steps of 0.1, without a percent sign")
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Percent, E> {
                Percent::from_f64(value)
                    .ok_or_else(|| E::custom(format!("found {value}, allowed 0.1 to 100 in steps of 0.1")))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Percent, E> {
                #[expect(clippy::cast_precision_loss, reason = "values above 100 are refused either way")]
                self.visit_f64(value as f64)
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Percent, E> {
                #[expect(clippy::cast_precision_loss, reason = "values below 0 are refused either way")]
                self.visit_f64(value as f64)
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<Percent, E> {
                Err(E::custom(format!(
                    "found {value:?}, allowed a number from 0.1 to 100, without a percent sign"
                )))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Percent".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "number", "minimum": 0.1, "maximum": 100, "multipleOf": 0.1, "examples": [10],
            "description": "A share of traffic in percent, in steps of 0.1."
        })
    }
}

/// A share a policy asks for is more than nothing. Shares that are stored, set or measured may be 0%, so the type itself allows it.
pub(super) fn some_percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Percent, D::Error> {
    match Percent::deserialize(deserializer)? {
        Percent::NONE => Err(de::Error::custom("found 0, allowed 0.1 to 100 in steps of 0.1")),
        percent => Ok(percent),
    }
}

/// A span of time in whole seconds, written `90s`, `5m`, `1h 30m`; at most 23 h, because Amazon ECS ends a stage of a deployment
/// after 24 h.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u32);

impl Span {
    /// The longest: 23 hours.
    pub const MAX_SECS: u32 = 23 * 3600;

    /// From seconds; `None` above 23 h.
    pub const fn from_secs(secs: u32) -> Option<Self> {
        if secs <= Self::MAX_SECS { Some(Self(secs)) } else { None }
    }

    /// How long an approval is waited for when nothing else is said.
    pub const fn four_hours() -> Self {
        Self(4 * 3600)
    }

    /// For defaults within the limit.
    pub(super) const fn of_secs(secs: u32) -> Self {
        Self(secs)
    }

    /// In seconds.
    pub const fn secs(self) -> u32 {
        self.0
    }

    /// As a duration.
    pub fn duration(self) -> SignedDuration {
        SignedDuration::from_secs(i64::from(self.0))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "found {text:?}, allowed a span of time such as 90s, 5m or 1h 30m, whole seconds, at most 23h"
            )
        };
        // A bare number would silently be seconds to one reader and minutes to another.
        let span: SignedDuration = text.parse().map_err(|_| refused())?;
        if span.subsec_nanos() != 0 {
            return Err(refused());
        }
        u32::try_from(span.as_secs()).ok().and_then(Self::from_secs).ok_or_else(refused)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hours, minutes, secs) = (self.0 / 3600, self.0 / 60 % 60, self.0 % 60);
        let parts: Vec<String> = [(hours, 'h'), (minutes, 'm'), (secs, 's')]
            .iter()
            .filter(|(amount, _)| *amount > 0)
            .map(|(amount, unit)| format!("{amount}{unit}"))
            .collect();
        if parts.is_empty() { f.write_str("0s") } else { f.write_str(&parts.join(" ")) }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a span of time with its unit, such as 90s, 5m or 1h 30m")
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<Span, E> {
                Span::parse(value).map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Span, E> {
                Err(E::custom(format!(
                    "found {value} without a unit, allowed for example {value}s or {value}m"
                )))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "pattern": "^[0-9]+ ?(s|m|h)[0-9smh ]*$", "examples": ["5m", "90s", "1h 30m"],
            "description": "A span of time with its unit, at most 23h."
        })
    }
}

pub(super) const fn one() -> u32 {
    1
}

pub(super) fn five_percent() -> Percent {
    Percent::from_tenths(50)
}

pub(super) fn ten_percent() -> Percent {
    Percent::from_tenths(100)
}

pub(super) const fn six_minutes() -> Span {
    Span(360)
}

pub(super) const fn ten_minutes() -> Span {
    Span(600)
}

/// A glob over tags. `*` matches any characters; the whole tag must match.
#[derive(Debug, Clone)]
pub struct TagPattern {
    text: String,
    matcher: GlobMatcher,
}

impl TagPattern {
    /// Compiles the pattern.
    pub fn new(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        if text.is_empty() {
            return Err("found an empty tag pattern, allowed a glob such as main-* or v[0-9]*".into());
        }
        can_match_a_tag(&text)?;
        let glob = GlobBuilder::new(&text).build().map_err(|error| {
            format!("found {text:?}, which is not a glob such as main-* or v[0-9]*: {}", error.kind())
        })?;
        Ok(Self { matcher: glob.compile_matcher(), text })
    }

    /// Whether the whole tag matches.
    pub fn matches(&self, tag: &Tag) -> bool {
        self.matcher.is_match(tag.as_str())
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A pattern that no tag can ever match is a mistake, most often a regular expression or a whole image reference.
fn can_match_a_tag(text: &str) -> Result<(), String> {
    let of_regex =
        text.starts_with('^') || text.ends_with('$') || text.contains(['(', ')', '|', '+', '\\', '$']);
    if of_regex {
        return Err(format!(
            "found {text:?}, which is a regular expression; a tag pattern is a glob: {:?}",
            as_glob(text)
        ));
    }
    if let Some((_, tag)) = text.rsplit_once(':') {
        return Err(format!("found {text:?}, allowed a pattern of the tag alone: {tag:?}"));
    }
    match text.chars().find(|c| !c.is_ascii_alphanumeric() && !"_.-*?[]{}!,^".contains(*c)) {
        Some(never) => Err(format!(
            "found {text:?}, which matches no tag: tags hold no {never:?}. Allowed is a glob such as main-* or v[0-9]*"
        )),
        None => Ok(()),
    }
}

/// What the regular expression means as a glob, where that can be said.
fn as_glob(text: &str) -> String {
    let mut glob = text.trim_start_matches('^').trim_end_matches('$').to_owned();
    for (regex, wildcard) in
        [("\\.", "."), (".*", "*"), (".+", "?*"), ("\\d+", "[0-9]*"), ("[0-9]+", "[0-9]*"), ("\\d", "[0-9]")]
    {
        glob = glob.replace(regex, wildcard);
    }
    if glob.contains(['(', ')', '|', '+', '\\', '$', '^']) || glob.is_empty() {
        "main-*".to_owned()
    } else {
        glob
    }
}

/// A repository's name. ECR lets it look like a registry's address, which is never what is meant.
pub(super) fn repository<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RepositoryName, D::Error> {
    let found = String::deserialize(deserializer)?;
    let text = found.trim_start_matches("https://").trim_start_matches("http://");
    let name = text.split_once('/').filter(|(host, _)| is_registry(host)).map(|(_, name)| name);
    let name = name.or_else(|| (text.contains([':', '@']) || text.len() < found.len()).then_some(text));
    if let Some(name) = name {
        let alone = name.split([':', '@']).next().unwrap_or(name);
        return Err(de::Error::custom(format!(
            "found {found:?}, allowed the repository's name alone, without registry and tag: {alone}"
        )));
    }
    RepositoryName::new(text).map_err(de::Error::custom)
}

fn is_registry(host: &str) -> bool {
    let known = [
        ".amazonaws.",
        ".on.aws",
        "public.ecr.aws",
        "docker.io",
        "ghcr.io",
        "gcr.io",
        "quay.io",
        "localhost",
    ];
    known.iter().any(|part| host.contains(part)) || host.contains(':')
}

/// The name of an alarm, not its ARN.
struct PolicyAlarm(AlarmName);

impl<'de> Deserialize<'de> for PolicyAlarm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.starts_with("arn:") {
            let name = text.split_once(":alarm:").map_or("checkout-5xx", |(_, name)| name);
            return Err(de::Error::custom(format!("found {text:?}, allowed the alarm's name alone: {name}")));
        }
        AlarmName::new(text).map(Self).map_err(de::Error::custom)
    }
}

/// How many alarms a release can be judged by: each has a row by which its events find the release, and all are written in one transaction,
/// which takes 100.
const ALARMS_MAX: usize = 90;

/// The names of alarms.
pub(super) fn alarms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<AlarmName>, D::Error> {
    let alarms = Vec::<PolicyAlarm>::deserialize(deserializer)?;
    if alarms.len() > ALARMS_MAX {
        return Err(de::Error::custom(format!(
            "found {} alarms, allowed at most {ALARMS_MAX}: a release is written together with what it is judged by; gather several in a composite alarm",
            alarms.len()
        )));
    }
    Ok(alarms.into_iter().map(|PolicyAlarm(name)| name).collect())
}

impl PartialEq for TagPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for TagPattern {}

impl Serialize for TagPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for TagPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl JsonSchema for TagPattern {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TagPattern".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "minLength": 1, "examples": ["main-*", "v[0-9]*"],
            "description": "A glob; the whole tag must match."
        })
    }
}

/// A glob over names that are not tags: branches, environments, builds' sources. `*` matches any characters, a slash too; the whole name
/// must match.
#[derive(Debug, Clone)]
pub struct NamePattern {
    text: String,
    matcher: GlobMatcher,
}

impl NamePattern {
    /// Compiles the pattern.
    pub fn new(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        if text.is_empty() {
            return Err("found an empty pattern, allowed a name or a glob such as main or release-*".into());
        }
        let glob = GlobBuilder::new(&text).build().map_err(|error| {
            format!("found {text:?}, which is neither a name nor a glob such as release-*: {}", error.kind())
        })?;
        Ok(Self { matcher: glob.compile_matcher(), text })
    }

    /// Whether the whole name matches.
    pub fn matches(&self, name: &str) -> bool {
        self.matcher.is_match(name)
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for NamePattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for NamePattern {}

impl Serialize for NamePattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for NamePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl JsonSchema for NamePattern {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "NamePattern".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "minLength": 1, "examples": ["main", "release-*"],
            "description": "A name, or a glob; the whole name must match."
        })
    }
}

/// A list that selects something must not be empty: an empty one would silently never match.
pub(super) fn non_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let list = Vec::<T>::deserialize(deserializer)?;
    if list.is_empty() {
        Err(de::Error::custom("found an empty list, allowed one entry or more"))
    } else {
        Ok(list)
    }
}

/// The same for a list that may be left out.
pub(super) fn some_non_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    non_empty(deserializer).map(Some)
}
