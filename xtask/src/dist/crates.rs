//! Which crates the shipped binaries are made of.
//!
//! `cargo tree` is asked, which resolves features for the selected packages as the build does. `cargo metadata` does it for the whole
//! workspace, tests included, and would list crates that no binary links.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::Arch;
use crate::workspace::{Workspace, cargo};

/// A crate: its name and version.
pub(super) type Id = (String, String);

/// What is known of a crate.
#[derive(Debug, Clone)]
pub(super) struct Crate {
    /// An SPDX expression.
    pub(super) licence: String,
    pub(super) repository: Option<String>,
    /// The SHA-256 of its package; `None` for a crate of this workspace.
    pub(super) checksum: Option<String>,
    /// Where its source is.
    pub(super) dir: PathBuf,
    /// Its code is in a binary; otherwise it only helped to build one.
    pub(super) linked: bool,
    /// What it needs for that, normal and build dependencies.
    pub(super) needs: BTreeSet<Id>,
}

/// The crates of some packages, for all of the instruction sets together.
#[derive(Debug)]
pub(super) struct Crates {
    pub(super) roots: Vec<Id>,
    pub(super) all: BTreeMap<Id, Crate>,
}

impl Crates {
    /// Asks cargo.
    pub(super) fn of(workspace: &Workspace, arches: &[Arch], packages: &[String]) -> Result<Self> {
        let (mut edges, mut linked) = (BTreeMap::new(), BTreeMap::new());
        for arch in arches {
            read_tree(&tree(workspace, *arch, packages, "normal,build")?, &mut edges)?;
            read_tree(&tree(workspace, *arch, packages, "normal,no-proc-macro")?, &mut linked)?;
        }
        let described = described(workspace)?;
        let mut checksums = checksums(workspace)?;
        let mut all = BTreeMap::new();
        for (id, needs) in edges {
            let package = described
                .get(&id)
                .with_context(|| format!("cargo metadata does not know {} {}", id.0, id.1))?;
            let of = |key: &str| package[key].as_str().map(str::to_owned);
            let Some(licence) = of("license") else { bail!("the crate {} {} names no licence", id.0, id.1) };
            let manifest = PathBuf::from(of("manifest_path").context("a package has a manifest")?);
            let one = Crate {
                licence: spdx(&licence)?,
                repository: of("repository"),
                checksum: checksums.remove(&id),
                dir: manifest.parent().context("a manifest has a directory")?.to_owned(),
                linked: linked.contains_key(&id),
                needs,
            };
            all.insert(id, one);
        }
        let is_root = |(name, _): &&Id| packages.contains(name);
        Ok(Self { roots: all.keys().filter(is_root).cloned().collect(), all })
    }
}

/// A licence as crates name it, as an SPDX expression: `MIT/Apache-2.0` is how it was written once.
fn spdx(licence: &str) -> Result<String> {
    let canonical = spdx::Expression::canonicalize(licence);
    let canonical = canonical.with_context(|| format!("{licence:?} is no licence"))?;
    Ok(canonical.unwrap_or_else(|| licence.to_owned()))
}

fn tree(workspace: &Workspace, arch: Arch, packages: &[String], edges: &str) -> Result<String> {
    let mut tree = cargo();
    tree.current_dir(&workspace.root)
        .args(["tree", "--locked", "--quiet", "--prefix", "depth", "--format", "{p}"]);
    tree.args(["--target", arch.target(), "--edges", edges]);
    tree.args(packages.iter().flat_map(|package| ["-p", package]));
    stdout(tree, "cargo tree")
}

fn stdout(mut command: std::process::Command, what: &str) -> Result<String> {
    let output = command.output().with_context(|| format!("failed to run {what}"))?;
    if !output.status.success() {
        bail!("{what} failed: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{what} printed no text"))
}

/// Reads lines such as `2async-stream v0.3.6 (*)`: the depth, the crate, and that what it needs stands elsewhere.
fn read_tree(text: &str, edges: &mut BTreeMap<Id, BTreeSet<Id>>) -> Result<()> {
    let mut path: Vec<Id> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let digits = line.find(|c: char| !c.is_ascii_digit()).unwrap_or(line.len());
        let depth: usize = line[..digits].parse().with_context(|| format!("cargo tree printed {line:?}"))?;
        let mut words = line[digits..].split(' ');
        let (name, version) = (words.next(), words.next().and_then(|version| version.strip_prefix('v')));
        let (Some(name), Some(version)) = (name, version) else { bail!("cargo tree printed {line:?}") };
        let id = (name.to_owned(), version.to_owned());
        path.truncate(depth);
        edges.entry(id.clone()).or_default();
        if let Some(parent) = path.last() {
            edges.entry(parent.clone()).or_default().insert(id.clone());
        }
        path.push(id);
    }
    Ok(())
}

fn described(workspace: &Workspace) -> Result<BTreeMap<Id, Value>> {
    let mut metadata = cargo();
    metadata.current_dir(&workspace.root).args(["metadata", "--locked", "--format-version=1"]);
    let text = stdout(metadata, "cargo metadata")?;
    let mut metadata: Value = serde_json::from_str(&text).context("failed to read cargo metadata")?;
    let Value::Array(packages) = metadata["packages"].take() else { bail!("cargo metadata has no packages") };
    let id = |package: &Value| {
        Some((package["name"].as_str()?.to_owned(), package["version"].as_str()?.to_owned()))
    };
    Ok(packages.into_iter().filter_map(|package| Some((id(&package)?, package))).collect())
}

/// The checksums of Cargo.lock.
fn checksums(workspace: &Workspace) -> Result<BTreeMap<Id, String>> {
    let path = workspace.root.join("Cargo.lock");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let found = text.split("[[package]]").filter_map(|package| {
        let of = |key: &str| {
            let prefix = format!("{key} = \"");
            let value = package.lines().find_map(|line| line.strip_prefix(&prefix))?;
            Some(value.trim_end_matches('"').to_owned())
        };
        Some(((of("name")?, of("version")?), of("checksum")?))
    });
    Ok(found.collect())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The crates of what is shipped, for both instruction sets; cargo is asked once, since each answer takes it seconds.
    pub(in crate::dist) fn shipped() -> &'static Crates {
        static SHIPPED: std::sync::OnceLock<Crates> = std::sync::OnceLock::new();
        SHIPPED.get_or_init(asked)
    }

    pub(in crate::dist) fn asked() -> Crates {
        let workspace = Workspace::find().unwrap();
        let packages = crate::dist::packages(&workspace.functions().unwrap());
        Crates::of(&workspace, &[Arch::X86_64, Arch::Arm64], &packages).unwrap()
    }

    #[test]
    fn what_is_linked_is_listed_and_what_only_tests_or_developers_use_is_not() {
        let crates = shipped();
        assert_eq!(crates.roots.len(), 8, "seven functions and the command line: {:?}", crates.roots);
        let linked =
            |name: &str| crates.all.iter().find(|((of, _), _)| of == name).map(|(_, one)| one.linked);
        for name in ["tidegate-core", "lambda_runtime", "aws-sdk-ecs", "aws-lc-sys", "clap", "maud", "libc"] {
            assert_eq!(linked(name), Some(true), "{name}");
        }
        for name in ["cc", "syn", "serde_derive", "async-trait"] {
            assert_eq!(linked(name), Some(false), "{name} builds and is not linked");
        }
        for name in [
            "tidegate-testkit",
            "tidegate-sandbox",
            "xtask",
            "thirtyfour",
            "insta",
            "proptest",
            "axum",
            "elf",
        ] {
            assert_eq!(linked(name), None, "{name} is in no binary");
        }
    }

    /// `cargo metadata` knows the same graph by another way; it may know more, since it enables what tests enable.
    #[test]
    fn every_crate_is_needed_by_one_that_is_listed() {
        let crates = shipped();
        let needed: BTreeSet<&Id> =
            crates.all.values().flat_map(|one| &one.needs).chain(&crates.roots).collect();
        assert_eq!(needed, crates.all.keys().collect());
        for (id, one) in &crates.all {
            let ours = id.0.starts_with("tidegate-");
            assert_eq!(one.checksum.is_none(), ours, "{id:?}: what was downloaded has a checksum");
        }
    }

    #[test]
    fn the_licences_are_those_that_deny_toml_allows() {
        let workspace = Workspace::find().unwrap();
        let text = std::fs::read_to_string(workspace.root.join("deny.toml")).unwrap();
        let list = text.split("allow = [").nth(1).and_then(|rest| rest.split(']').next()).unwrap();
        let allowed: BTreeSet<&str> = list.split('"').skip(1).step_by(2).collect();
        assert!(allowed.len() > 5, "{allowed:?}");
        let is_allowed = |licence: &str, allowed: &BTreeSet<&str>| {
            let expression = spdx::Expression::parse(licence).unwrap();
            expression.evaluate(|wanted| {
                wanted.addition.is_none() && allowed.contains(&*wanted.license.to_string())
            })
        };
        let crates = shipped();
        for (id, one) in &crates.all {
            assert!(is_allowed(&one.licence, &allowed), "{id:?} has the licence {}", one.licence);
        }
        // The check can fail.
        let fewer = allowed.iter().copied().filter(|licence| *licence != "Apache-2.0").collect();
        assert!(crates.all.values().any(|one| !is_allowed(&one.licence, &fewer)));
    }

    #[test]
    fn a_tree_is_read_by_its_depths() {
        let mut edges = BTreeMap::new();
        read_tree(
            "0a v1.0.0 (/x)\n1b v2.0.0 (proc-macro)\n2c v3.0.0\n1c v3.0.0 (*)\n\n0c v3.0.0\n",
            &mut edges,
        )
        .unwrap();
        let id = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        let (a, b, c) = (id("a", "1.0.0"), id("b", "2.0.0"), id("c", "3.0.0"));
        assert_eq!(edges[&a], BTreeSet::from([b.clone(), c.clone()]));
        assert_eq!(edges[&b], BTreeSet::from([c.clone()]));
        assert_eq!(edges[&c], BTreeSet::new());
        assert!(read_tree("error", &mut edges).is_err());
    }
}
