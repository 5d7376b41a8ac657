//! From YAML text to a [`Policy`], with errors that name the place.

use std::fmt;

use super::Policy;
use super::explain::{Explained, explain, is_blank};

/// A policy file that cannot be used: where, what was found, what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError {
    /// The file as it was named.
    pub file: String,
    /// Line, from 1; 0 when unknown.
    pub line: u64,
    /// Column, from 1; 0 when unknown.
    pub column: u64,
    /// The path of the field: `strategy.canary.percent`; `.` for the whole file.
    pub path: String,
    /// What was found and what is allowed.
    pub problem: String,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, path, problem } = self;
        write!(f, "{file}:{line}:{column}: ")?;
        // What is wrong with the whole file, or names its field itself, needs no path in front.
        if path == "." || problem.starts_with(&format!("{path} ")) {
            f.write_str(problem)
        } else {
            write!(f, "{path}: {problem}")
        }
    }
}

impl std::error::Error for PolicyError {}

/// Parses a policy; `file` is only for messages. A byte order mark, as Windows' editors write it, is no part of the text.
pub fn parse(file: &str, text: &str) -> Result<Policy, PolicyError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let told = |explained: Explained| {
        let Explained { line, column, path, problem } = explained;
        let path = if path.is_empty() { ".".to_owned() } else { path };
        PolicyError { file: file.to_owned(), line, column, path, problem }
    };
    if is_blank(text) {
        return Err(told(Explained {
            line: 1,
            column: 1,
            path: String::new(),
            problem: "the file is empty".into(),
        }));
    }
    let mut path = ".".to_owned();
    serde_saphyr::with_deserializer_from_str(text, |deserializer| {
        let mut track = serde_path_to_error::Track::new();
        let tracked = serde_path_to_error::Deserializer::new(deserializer, &mut track);
        <Policy as serde::Deserialize>::deserialize(tracked).inspect_err(|_| path = track.path().to_string())
    })
    .map_err(|error| told(explain(text, &path, &error)))
}

/// The policy as a file that parses to the same. Comments, and fields that say what is so by default, are not kept.
pub fn to_yaml(policy: &Policy) -> String {
    // A policy is text, numbers, lists and maps with names: there is nothing in it that YAML cannot say.
    serde_saphyr::to_string(policy).expect("a policy can be written as YAML")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Tag;
    use crate::policy::{OnNewer, Percent, Shift, Span};

    const GOOD: &str = r#"
service: checkout
from:     { ecr: { repository: shop/checkout, tags: ["main-*", "v[0-9]*"] } }
to:       { ecs: { cluster: prod, service: checkout, container: app } }
strategy: { canary: { percent: 10, bake: 5m }, bake: 15m }
rollback: { alarms: [checkout-5xx, checkout-p99] }
on_newer: queue
"#;

    #[test]
    fn the_example_of_the_readme_parses() {
        let policy = parse("checkout.yaml", GOOD).unwrap();
        assert_eq!(
            policy.strategy.shift,
            Shift::Canary { percent: Percent::from_tenths(100), bake: Span::from_secs(300).unwrap() }
        );
        assert_eq!(policy.strategy.bake.secs(), 900);
        assert_eq!(policy.on_newer, OnNewer::Queue);
        assert!(policy.selects(&policy.from.ecr.repository, &Tag::new("main-4f2c1").unwrap()));
        assert!(policy.selects(&policy.from.ecr.repository, &Tag::new("v2.1").unwrap()));
        assert!(!policy.selects(&policy.from.ecr.repository, &Tag::new("version").unwrap()));
        assert!(!policy.selects(&policy.from.ecr.repository, &Tag::new("xmain-1").unwrap()));
    }

    #[test]
    fn a_policy_survives_being_stored() {
        let policy = parse("checkout.yaml", GOOD).unwrap();
        let stored = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&stored).unwrap(), policy);
    }

    #[test]
    fn how_much_has_to_be_seen_is_a_hundred_requests_unless_it_is_said() {
        let with = |evidence: &str| parse("p.yaml", &format!("{GOOD}{evidence}\n"));
        let seen = |evidence: &str| {
            let policy = with(evidence).unwrap();
            (policy.evidence.min_requests(), policy.evidence.wait_secs())
        };
        assert_eq!(seen(""), (100, 1800));
        assert_eq!(seen("evidence: { min_requests: 0 }"), (0, 1800));
        assert_eq!(seen("evidence: { min_requests: 20, wait: 2h }"), (20, 7200));
        let error = with("evidence: { max_requests: 1 }").unwrap_err().to_string();
        assert!(error.contains("max_requests"), "{error}");
        let error = with("evidence: { wait: 23h 31m }").unwrap_err().to_string();
        assert!(error.contains("evidence.wait"), "{error}");
        let rolling = GOOD.replace("canary: { percent: 10, bake: 5m }", "rolling: {}");
        assert!(parse("p.yaml", &rolling).is_ok());
        let error = parse("p.yaml", &format!("{rolling}evidence: {{ min_requests: 5 }}\n")).unwrap_err();
        assert_eq!(error.path, "evidence.min_requests");
    }

    #[test]
    fn what_is_exported_parses_to_the_same() {
        let odd =
            GOOD.replace(r#"["main-*", "v[0-9]*"]"#, r#"["1.0", "yes", "*", "null", "0x1f", "2026-01-01"]"#);
        for text in [GOOD, &odd, &format!("{GOOD}pause: 20m\nnotify: []\n")] {
            let policy = parse("p.yaml", text).unwrap();
            assert_eq!(parse("exported.yaml", &to_yaml(&policy)).unwrap(), policy, "{}", to_yaml(&policy));
        }
    }

    #[track_caller]
    fn refused(from: &str, to: &str, expected: &str) {
        assert!(GOOD.contains(from));
        let error = parse("p.yaml", &GOOD.replace(from, to)).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn errors_name_file_line_path_found_and_allowed() {
        refused(
            "percent: 10,",
            "percent: 10%,",
            r#"p.yaml:5:32: strategy.canary.percent: found "10%", allowed a number from 0.1 to 100, without a percent sign"#,
        );
        refused(
            "percent: 10,",
            "percent: 0.05,",
            "p.yaml:5:32: strategy.canary.percent: found 0.05, allowed 0.1 to 100 in steps of 0.1",
        );
        refused(
            "percent: 10,",
            "percent: 0,",
            "p.yaml:5:32: strategy.canary.percent: found 0, allowed 0.1 to 100 in steps of 0.1",
        );
        refused(
            r#"["main-*", "v[0-9]*"]"#,
            "[]",
            "p.yaml:3:1: from.ecr.tags: found an empty list, allowed one entry or more unless another way under from starts releases",
        );
        refused(
            r#""v[0-9]*""#,
            r#""v[0-9""#,
            r#"p.yaml:3:64: from.ecr.tags[1]: found "v[0-9", which is not a glob such as main-* or v[0-9]*: unclosed character class; missing ']'"#,
        );
        refused(
            "bake: 15m",
            "bake: 15",
            "p.yaml:5:54: strategy.bake: found 15 without a unit, allowed for example 15s or 15m",
        );
        refused(
            "bake: 15m",
            "bake: 25h",
            r#"p.yaml:5:54: strategy.bake: found "25h", allowed a span of time such as 90s, 5m or 1h 30m, whole seconds, at most 23h"#,
        );
        refused(
            "canary: { percent: 10, bake: 5m }, ",
            "",
            "p.yaml:5:11: strategy: exactly one of canary, linear, steps, blue_green and rolling is needed, found none",
        );
        refused(
            "on_newer: queue",
            "on_newer: drop",
            "p.yaml:7:11: on_newer: found \"drop\", allowed queue or replace",
        );
        refused(
            "on_newer: queue",
            "on_never: queue",
            "p.yaml:7:1: on_never: there is no field on_never here; did you mean on_newer? Allowed: service, from, to, strategy, rollback, evidence, pause, on_newer, approval, people, groups, freeze, scan, verify, drill, notify",
        );
        refused("service: checkout\n", "", "p.yaml:1:1: service is missing; add service: …");
    }
}
