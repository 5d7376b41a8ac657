//! The licence texts of what is linked: most licences let a binary be passed on only with theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use super::crates::{Crate, Crates, Id};

/// What the files of licences and notices begin with.
const NAMES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"];

/// A line that no licence has.
const APART: &str = "=^=^=^=^=^=^=^=^=^=^=^=^=^=^=^=^=^=^=^=^=^=^=^=^=^=^=^=^=^=^=^=";

/// One text: which crate has which licence, then each text once, with the crates it is from.
pub(super) fn text(crates: &Crates) -> Result<String> {
    let others = |(_, one): &(&Id, &Crate)| one.linked && one.checksum.is_some();
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut all = String::from("Tidegate's binaries contain these crates:\n\n");
    for ((name, version), one) in crates.all.iter().filter(others) {
        let found = files(&one.dir)?;
        let note = if found.is_empty() { "; its package has no text of it" } else { "" };
        writeln!(all, "{name} {version}: {}{note}", one.licence)?;
        for text in found {
            texts.entry(text).or_default().insert(format!("{name} {version}"));
        }
    }
    for (text, of) in texts {
        let of = of.into_iter().collect::<Vec<_>>().join(", ");
        write!(all, "\n{APART}\n{of}\n\n{text}\n")?;
    }
    Ok(all)
}

/// The texts in a crate's directory, in the order of their names.
fn files(dir: &Path) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("failed to list {}", dir.display()))? {
        let entry = entry.with_context(|| format!("failed to list {}", dir.display()))?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        if NAMES.iter().any(|begins| name.starts_with(begins)) && entry.path().is_file() {
            paths.push(entry.path());
        }
    }
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let bytes = std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).replace("\r\n", "\n").trim_end().to_owned())
    };
    paths.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dist::crates::tests::shipped;

    #[test]
    fn every_linked_crate_is_named_and_every_text_is_there_once() {
        let crates = shipped();
        let text = text(crates).unwrap();
        for ((name, version), one) in &crates.all {
            let named = text.contains(&format!("\n{name} {version}: "));
            assert_eq!(named, one.linked && one.checksum.is_some(), "{name} {version}");
        }
        assert!(
            text.contains("Redistribution and use in source and binary forms"),
            "a BSD licence's text is there"
        );
        let apart = format!("\n{APART}\n");
        let texts: Vec<&str> =
            text.split(&apart).skip(1).map(|part| part.split_once("\n\n").unwrap().1).collect();
        assert!(texts.len() > 10);
        assert_eq!(texts.iter().collect::<BTreeSet<_>>().len(), texts.len());
    }
}
