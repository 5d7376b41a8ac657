//! `check-layers`: who may import whom. The crates of `shared/` lie in layers, and the modules of tidegate-core below each other: a change in
//! one place never has to be understood in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::workspace::Workspace;

/// Layers from the bottom: a crate imports only crates of layers below its own. What stands in no layer is an adapter of one AWS service.
const BELOW_ADAPTERS: &[&[&str]] = &[&["tidegate-core"], &["tidegate-aws", "tidegate-view", "tidegate-wire"]];
/// Above the adapters.
const ABOVE_ADAPTERS: &[&[&str]] =
    &[&["tidegate-pages", "tidegate-runtime"], &["tidegate-assembly", "tidegate-replay", "tidegate-testkit"]];

/// Says what is out of order.
pub(crate) fn check(workspace: &Workspace) -> Result<ExitCode> {
    let broken = broken(&workspace.root)?;
    for line in &broken {
        eprintln!("{line}");
    }
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn broken(root: &Path) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    let crates = crates(&root.join("shared"))?;
    ensure!(crates.contains_key("tidegate-core"), "no crates were found under shared/");
    for (name, imports) in &crates {
        for import in imports.iter().filter(|import| rank(import) >= rank(name)) {
            broken.push(format!("{name} imports {import}, which is not below it"));
        }
    }
    let modules = modules(&root.join("shared/core/src"))?;
    ensure!(modules.contains_key("decide"), "no modules were found in tidegate-core");
    broken.extend(circle(&modules).map(|circle| {
        format!("modules of tidegate-core import each other in a circle: {}", circle.join(" → "))
    }));
    Ok(broken)
}

fn rank(name: &str) -> usize {
    let at = |layers: &[&[&str]]| layers.iter().position(|layer| layer.contains(&name));
    at(BELOW_ADAPTERS)
        .or_else(|| at(ABOVE_ADAPTERS).map(|above| BELOW_ADAPTERS.len() + 1 + above))
        .unwrap_or(BELOW_ADAPTERS.len())
}

/// The crates below a folder, each with those of ours it is built from; what only its tests use does not count.
fn crates(folder: &Path) -> Result<BTreeMap<String, Vec<String>>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("failed to read {}", folder.display()))? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        let Ok(manifest) = std::fs::read_to_string(path.join("Cargo.toml")) else {
            found.extend(crates(&path)?);
            continue;
        };
        let mut section = "";
        let (mut name, mut imports) = (None, Vec::new());
        for line in manifest.lines() {
            if line.starts_with('[') {
                section = line;
            } else if let ("[package]", Some(value)) = (section, line.strip_prefix("name = ")) {
                name = Some(value.trim_matches('"').to_owned());
            } else if section == "[dependencies]" && line.starts_with("tidegate-") {
                imports.extend(line.split(['.', ' ', '=']).next().map(ToOwned::to_owned));
            }
        }
        let name = name.with_context(|| format!("{} names no package", path.display()))?;
        found.insert(name, imports);
    }
    Ok(found)
}

/// The modules of a crate, each with those it imports; what only its tests use does not count.
fn modules(source: &Path) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(source).with_context(|| format!("failed to read {}", source.display()))? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        if name != "lib" {
            let imports = found.entry(name.clone()).or_default();
            imports_of(&path, imports)?;
            imports.remove(&name);
        }
    }
    Ok(found)
}

fn imports_of(path: &Path, imports: &mut BTreeSet<String>) -> Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            imports_of(&entry?.path(), imports)?;
        }
        return Ok(());
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    let product = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    for line in product.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for rest in line.split("crate::").skip(1) {
            let name: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            imports.insert(name);
        }
    }
    Ok(())
}

/// A circle, if there is one: its modules in order, the first one again at the end.
fn circle(modules: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn walk<'a>(
        name: &'a str,
        modules: &'a BTreeMap<String, BTreeSet<String>>,
        path: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<String>> {
        if let Some(at) = path.iter().position(|passed| *passed == name) {
            let circle = path[at..].iter().chain([&name]);
            return Some(circle.map(|name| (*name).to_owned()).collect());
        }
        if !done.insert(name) {
            return None;
        }
        path.push(name);
        for import in modules.get(name).into_iter().flatten() {
            if let Some(circle) = walk(import, modules, path, done) {
                return Some(circle);
            }
        }
        path.pop();
        None
    }
    let mut done = BTreeSet::new();
    modules.keys().find_map(|name| walk(name, modules, &mut Vec::new(), &mut done))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        edges.iter().map(|(name, imports)| ((*name).to_owned(), owned(imports))).collect()
    }

    #[test]
    fn the_workspace_is_in_order() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        assert_eq!(broken(root).unwrap(), [""; 0]);
    }

    #[test]
    fn a_circle_is_found_wherever_it_is() {
        assert_eq!(circle(&graph(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])])), None);
        let round = graph(&[("a", &["b"]), ("b", &["c"]), ("c", &["d"]), ("d", &["b"])]);
        assert_eq!(circle(&round).unwrap().join(" "), "b c d b");
    }

    #[test]
    fn an_adapter_imports_no_other_and_nobody_imports_upwards() {
        let may = |name: &str, import: &str| rank(import) < rank(name);
        assert!(may("tidegate-ecs", "tidegate-aws") && may("tidegate-assembly", "tidegate-ecs"));
        assert!(!may("tidegate-ecs", "tidegate-dynamodb") && !may("tidegate-core", "tidegate-view"));
        assert!(!may("tidegate-ecs", "tidegate-runtime") && !may("tidegate-view", "tidegate-pages"));
    }
}
