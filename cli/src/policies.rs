//! Policy files: read, parsed, and compared field by field.

use std::io::{self, Read as _};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value;
use tidegate_core::people::Warning;
use tidegate_core::policy::{self, Policy, PolicyError};

use crate::line::{Line, Tone};

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
    let bytes = if file == "-" {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(file)
    };
    let bytes = bytes.with_context(|| format!("failed to read {file}"))?;
    let policy = match String::from_utf8(bytes) {
        Ok(text) => policy::parse(file, &text),
        Err(error) => Err(not_utf8(file, error.as_bytes())),
    };
    Ok(PolicyFile { file: file.to_owned(), policy })
}

/// Text in another encoding: most often UTF-16, which PowerShell's `>` writes.
fn not_utf8(file: &str, bytes: &[u8]) -> PolicyError {
    let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let found = if utf16 { "found UTF-16" } else { "found bytes that are no text" };
    let problem = format!("{found}, allowed UTF-8: save the file with that encoding");
    PolicyError { file: file.to_owned(), line: 1, column: 1, path: ".".into(), problem }
}

/// What is allowed in a policy and yet holds less than it seems to, for a terminal.
pub fn warned(warnings: &[Warning]) -> impl Iterator<Item = Line> + '_ {
    warnings.iter().map(|warning| Line::of(Tone::Warn, "  ! ").add(Tone::Plain, warning.to_string()))
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
