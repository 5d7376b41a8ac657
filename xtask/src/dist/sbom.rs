//! What the shipped binaries are made of, as a CycloneDX document: <https://cyclonedx.org/docs/1.6/json/>.
//!
//! Written here, because the library for it enables features of crates that the product uses too, and so would change what all of the workspace
//! compiles. No time and no serial number: the same lock file gives the same document.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::crates::{Crate, Crates, Id};

/// The document.
///
/// # Errors
/// When a crate is listed that needs one that is not.
pub(super) fn document(crates: &Crates, version: &str) -> Result<Value> {
    let components: Vec<Value> = crates.all.iter().map(|(id, one)| component(id, one, crates)).collect();
    let this = format!("tidegate@{version}");
    let mut dependencies =
        vec![json!({ "ref": this, "dependsOn": references(crates.roots.iter(), crates)? })];
    for (id, one) in &crates.all {
        dependencies
            .push(json!({ "ref": reference(id, one), "dependsOn": references(one.needs.iter(), crates)? }));
    }
    Ok(json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": {
            "type": "application", "bom-ref": this, "name": "tidegate", "version": version,
            "licenses": [{ "expression": env!("CARGO_PKG_LICENSE") }],
        }},
        "components": components,
        "dependencies": dependencies,
    }))
}

fn component(id: &Id, one: &Crate, crates: &Crates) -> Value {
    let (name, version) = id;
    let mut component = json!({
        "type": if crates.roots.contains(id) { "application" } else { "library" },
        "bom-ref": reference(id, one),
        "name": name,
        "version": version,
        // What helped to build a binary and is not in it.
        "scope": if one.linked { "required" } else { "excluded" },
        "licenses": [{ "expression": one.licence }],
    });
    if let Some(checksum) = &one.checksum {
        component["purl"] = json!(purl(id));
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    if let Some(repository) = &one.repository {
        component["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
    }
    component
}

fn references<'a>(ids: impl Iterator<Item = &'a Id>, crates: &Crates) -> Result<BTreeSet<String>> {
    ids.map(|id| match crates.all.get(id) {
        Some(one) => Ok(reference(id, one)),
        None => bail!("{} {} is needed and not listed", id.0, id.1),
    })
    .collect()
}

/// A crate of a registry is named by its package URL; one of this workspace is published nowhere and has none.
fn reference(id: &Id, one: &Crate) -> String {
    if one.checksum.is_some() { purl(id) } else { format!("{}@{}", id.0, id.1) }
}

/// <https://github.com/package-url/purl-spec>: a `+` in a version is escaped.
fn purl((name, version): &Id) -> String {
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dist::crates::tests::{asked, shipped};

    #[test]
    fn it_lists_every_crate_once_with_licence_and_package_url() {
        let crates = shipped();
        let document = document(crates, "1.2.3").unwrap();
        let components = document["components"].as_array().unwrap();
        assert_eq!(components.len(), crates.all.len());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let refs: BTreeSet<String> = components.iter().map(|one| text(&one["bom-ref"])).collect();
        assert_eq!(refs.len(), components.len(), "every reference is one of its own");
        for one in components {
            assert!(!text(&one["licenses"][0]["expression"]).is_empty(), "{one}");
            let ours = text(&one["name"]).starts_with("tidegate-");
            assert_eq!(one["purl"].is_null(), ours, "{one}");
            assert!(ours || text(&one["purl"]).starts_with("pkg:cargo/"), "{one}");
            assert!(ours || text(&one["hashes"][0]["content"]).len() == 64, "{one}");
        }
        let applications = components.iter().filter(|one| one["type"] == "application").count();
        assert_eq!(applications, 8);
    }

    #[test]
    fn every_dependency_is_a_component_and_the_first_is_this() {
        let crates = shipped();
        let document = document(crates, "1.2.3").unwrap();
        let dependencies = document["dependencies"].as_array().unwrap();
        assert_eq!(dependencies[0]["ref"], document["metadata"]["component"]["bom-ref"]);
        assert_eq!(dependencies[0]["dependsOn"].as_array().unwrap().len(), 8);
        let components = document["components"].as_array().unwrap();
        let known: BTreeSet<&str> = components.iter().filter_map(|one| one["bom-ref"].as_str()).collect();
        let named = dependencies.iter().flat_map(|one| one["dependsOn"].as_array().unwrap());
        assert!(named.clone().count() > 500);
        for name in named {
            assert!(known.contains(name.as_str().unwrap()), "{name}");
        }
    }

    #[test]
    fn the_same_crates_give_the_same_text() {
        let once = document(shipped(), "1.2.3").unwrap().to_string();
        assert_eq!(once, document(&asked(), "1.2.3").unwrap().to_string());
    }
}
