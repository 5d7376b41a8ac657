//! Figures of what has just happened, for CloudWatch: in its embedded metric format, a line of the log that CloudWatch makes metrics of. No call is
//! made for it, and nothing waits for it.
//!
//! The format: docs.aws.amazon.com, Amazon CloudWatch user guide, "Specification: Embedded metric format".

use std::sync::OnceLock;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tidegate_core::figures::{lead_time_of, time_to_restore};
use tidegate_core::outcome::Outcome;
use tidegate_core::release::Release;

/// Under which target the lines are logged; they go out as they are.
pub(crate) const TARGET: &str = "tidegate_metrics";
/// The field that holds the line.
pub(crate) const DOCUMENT: &str = "document";
const NAMESPACE: &str = "Tidegate";

/// What the installation is called, for the metrics' dimension.
static INSTALLATION: OnceLock<String> = OnceLock::new();

/// Says what the installation is called. Where nobody has, no metric is told: what is driven from a laptop is no figure of a stack's functions.
pub(crate) fn of_installation(name: String) {
    let _told_before = INSTALLATION.set(name);
}

/// Tells what a change that was written means for the figures.
pub(crate) fn tell(before: &Release, after: &Release, now: Timestamp) {
    let Some(installation) = INSTALLATION.get() else { return };
    if let Some(document) = embedded(installation, before, after, now) {
        tracing::info!(target: TARGET, document = %document);
    }
}

/// The line; `None` when nothing has come about that figures are made of.
fn embedded(installation: &str, before: &Release, after: &Release, now: Timestamp) -> Option<Value> {
    let values = values(before, after);
    if values.is_empty() {
        return None;
    }
    let metrics: Vec<Value> =
        values.iter().map(|(name, unit, _)| json!({ "Name": name, "Unit": unit })).collect();
    let mut document = Map::new();
    let about = json!({
        "Timestamp": now.as_millisecond(),
        "CloudWatchMetrics": [{
            "Namespace": NAMESPACE,
            "Dimensions": [["Installation"], ["Installation", "Service"]],
            "Metrics": metrics,
        }],
    });
    document.insert("_aws".into(), about);
    document.insert("Installation".into(), installation.into());
    document.insert("Service".into(), after.service.as_str().into());
    document.insert("release.id".into(), after.id.as_str().into());
    document.extend(values.into_iter().map(|(name, _, value)| (name.to_owned(), value.into())));
    Some(Value::Object(document))
}

/// The name, the unit and the value of each metric.
fn values(before: &Release, after: &Release) -> Vec<(&'static str, &'static str, u64)> {
    let mut values = Vec::new();
    if time_to_restore(before).is_none()
        && let Some(secs) = time_to_restore(after)
    {
        values.push(("TimeToRestore", "Seconds", secs));
    }
    let ended = after.outcome().filter(|_| !before.is_over());
    if let Some(outcome) = ended {
        let name = match outcome {
            Outcome::Promoted => "Promoted",
            Outcome::RolledBack { .. } => "RolledBack",
            Outcome::Failed { .. } => "Failed",
            Outcome::Superseded { .. } => "Superseded",
            Outcome::Cancelled { .. } => "Cancelled",
        };
        values.push((name, "Count", 1));
        if *outcome == Outcome::Promoted
            && let Some((_, secs)) = lead_time_of(after)
        {
            values.push(("LeadTime", "Seconds", secs));
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use tidegate_core::course::RollbackBegan;
    use tidegate_core::release::{Phase, RollingBack};
    use tidegate_testkit::build::{Fixture, alarm_cause};
    use tidegate_testkit::names;

    use super::*;

    fn after(secs: i64) -> Timestamp {
        names::start().saturating_add(jiff::SignedDuration::from_secs(secs)).unwrap()
    }

    /// What the specification asks of a line: every dimension a text and every metric a number at the root, units that CloudWatch knows.
    fn follows_the_specification(document: &Value) {
        let directive = &document["_aws"]["CloudWatchMetrics"][0];
        assert!(document["_aws"]["Timestamp"].is_i64() || document["_aws"]["Timestamp"].is_u64());
        assert!(!directive["Namespace"].as_str().unwrap().is_empty());
        for dimension in
            directive["Dimensions"].as_array().unwrap().iter().flat_map(|set| set.as_array().unwrap())
        {
            assert!(document[dimension.as_str().unwrap()].is_string(), "{dimension}: {document}");
        }
        for metric in directive["Metrics"].as_array().unwrap() {
            assert!(document[metric["Name"].as_str().unwrap()].is_number(), "{metric}: {document}");
            assert!(["Seconds", "Count"].contains(&metric["Unit"].as_str().unwrap()), "{metric}");
        }
    }

    #[test]
    fn a_rollback_tells_once_how_long_users_waited_and_once_that_it_has_ended() {
        let mut rolling_back = Fixture::queued().release;
        let mut back = RollingBack::new(alarm_cause(), after(2), None);
        rolling_back.phase = Phase::RollingBack(back.clone());
        rolling_back.course.rollback = Some(RollbackBegan { breach_at: after(0), at: after(2) });
        back.restored_at = Some(after(6));
        let restored = Release { phase: Phase::RollingBack(back), ..rolling_back.clone() };
        let told = embedded("tidegate", &rolling_back, &restored, after(6)).unwrap();
        follows_the_specification(&told);
        assert_eq!((&told["TimeToRestore"], &told["Installation"]), (&json!(6), &json!("tidegate")));
        assert_eq!(told["Service"], json!(restored.service.as_str()));
        assert!(told.get("RolledBack").is_none(), "it has not ended: {told}");

        let outcome = Outcome::RolledBack { cause: alarm_cause() };
        let phase = Phase::Ended { outcome, at: after(60), restored_at: Some(after(6)) };
        let ended = Release { phase, ..restored.clone() };
        let told = embedded("tidegate", &restored, &ended, after(60)).unwrap();
        follows_the_specification(&told);
        assert_eq!(told["RolledBack"], json!(1));
        assert!(told.get("TimeToRestore").is_none(), "it was told before: {told}");
        assert_eq!(embedded("tidegate", &ended, &ended, after(61)), None);
    }

    #[test]
    fn a_promotion_tells_its_lead_time() {
        let release = Fixture::queued().release;
        let mut ended = release.clone();
        ended.course.pushed_at = Some(after(-60));
        ended.course.all_traffic_at = Some(after(240));
        ended.phase = Phase::Ended { outcome: Outcome::Promoted, at: after(300), restored_at: None };
        let told = embedded("tidegate", &release, &ended, after(300)).unwrap();
        follows_the_specification(&told);
        assert_eq!((&told["Promoted"], &told["LeadTime"]), (&json!(1), &json!(300)));
        assert_eq!(embedded("tidegate", &release, &release, after(0)), None, "nothing has come about");
    }
}
