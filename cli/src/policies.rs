//! Policy files: read, parsed, and compared field by field.

use std::io::Read as _;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value;
use tidegate_core::policy::{self, Policy, PolicyError};

/// A policy file that was read.
#[derive(Debug)]
pub struct PolicyFile {
    /// As it was named; `-` is the standard input.
    pub file: String,
    /// The policy, or why it cannot be used.
    pub policy: Result<Policy, PolicyError>,
}

/// Reads and parses a file. Only a file that cannot be read is an error here.
pub fn read(file: &str) -> anyhow::Result<PolicyFile> {
    let text = if file == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let text = text.with_context(|| format!("failed to read {file}"))?;
    Ok(PolicyFile { file: file.to_owned(), policy: policy::parse(file, &text) })
}

/// A field that differs between two policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `strategy.canary.percent`.
    pub path: String,
    /// Before; null when it was not there.
    pub from: Option<Value>,
    /// After; null when it is not there any more.
    pub to: Option<Value>,
}

/// What differs, in the order of the fields.
pub fn changes(from: &Policy, to: &Policy) -> Vec<Change> {
    let mut found = Vec::new();
    let value = |policy: &Policy| serde_json::to_value(policy).unwrap_or_default();
    compare("", Some(&value(from)), Some(&value(to)), &mut found);
    found
}

fn compare(path: &str, from: Option<&Value>, to: Option<&Value>, found: &mut Vec<Change>) {
    if from == to {
        return;
    }
    if let (Some(Value::Object(old)), Some(Value::Object(new))) = (from, to) {
        let mut names: Vec<&String> = old.keys().collect();
        names.extend(new.keys().filter(|name| !old.contains_key(*name)));
        for name in names {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            compare(&path, old.get(name), new.get(name), found);
        }
        return;
    }
    found.push(Change { path: path.to_owned(), from: from.cloned(), to: to.cloned() });
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
service: checkout
from:     { ecr: { repository: shop/checkout, tags: ["main-*"] } }
to:       { ecs: { cluster: prod, service: checkout, container: app } }
strategy: { canary: { percent: 10, bake: 5m }, bake: 15m }
"#;

    #[test]
    fn changes_are_named_by_the_path_of_the_field() {
        let old = policy::parse("p", TEXT).unwrap();
        let new = TEXT.replace("percent: 10", "percent: 5").replace("prod", "live");
        let told: Vec<String> = changes(&old, &policy::parse("p", &new).unwrap())
            .iter()
            .map(|change| format!("{} {:?} {:?}", change.path, change.from, change.to))
            .collect();
        assert_eq!(
            told,
            [
                r#"to.ecs.cluster Some(String("prod")) Some(String("live"))"#,
                "strategy.canary.percent Some(Number(10)) Some(Number(5))"
            ]
        );
        assert_eq!(changes(&old, &old), []);
    }
}
