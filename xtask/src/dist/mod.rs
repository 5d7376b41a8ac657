//! Everything a release of Tidegate consists of, in one directory that is copied into a bucket and attached to a tag as it is:
//!
//! | file | what |
//! |---|---|
//! | `template.yaml` | deploys by its S3 address, without a toolchain |
//! | `FUNCTION-ARCH.zip` | a function's code |
//! | `tidegate-linux-ARCH.zip` | the command line |
//! | `sbom.cdx.json` | which crates are in it, CycloneDX |
//! | `THIRD-PARTY-LICENSES.txt` | their licences' texts |
//! | `SHA256SUMS` | a checksum for each of the others |
//!
//! The same source, toolchain and lock file give the same bytes. Nothing is left behind by a run that fails.

mod archive;
mod crates;
mod licences;
mod sbom;
mod template;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use crate::workspace::Workspace;
use crate::{Arch, elf, shipped};
use archive::Entry;
use crates::Crates;
use template::{Place, REGION};

/// The one source of the version: the workspace's.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const CHECKSUMS: &str = "SHA256SUMS";

/// What is published, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An instruction set; may be repeated. Both when none is named, and then an error if one of them cannot be built here.
    #[arg(long, value_enum)]
    arch: Vec<Arch>,
    /// The directory it is laid into. What an earlier run laid there is replaced; any other directory is left alone, and is an error.
    #[arg(long, value_name = "DIR", default_value = "target/dist")]
    out: PathBuf,
    /// The S3 bucket that the template takes the functions' code from. Lambda takes code only from a bucket of its own region: {region} in the name
    /// stands for it. Without this, whoever deploys has to say it.
    #[arg(long, value_name = "NAME", value_parser = bucket)]
    bucket: Option<String>,
    /// What the keys in that bucket begin with [default: tidegate/VERSION/]
    #[arg(long, value_name = "PREFIX", value_parser = prefix)]
    prefix: Option<String>,
    /// Takes binaries that were built elsewhere: DIR/ARCH/FUNCTION/bootstrap and DIR/ARCH/tidegate. They are looked at like our own.
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
}

/// A bucket's name, with the region in it or without.
fn bucket(name: &str) -> Result<String, String> {
    let plain = name.replacen(REGION, "eu-central-1", 1);
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if (3..=63).contains(&plain.len()) && plain.chars().all(allowed) {
        return Ok(name.to_owned());
    }
    Err(format!("allowed: 3 to 63 lower-case letters, digits, dots and hyphens, and once {REGION}"))
}

/// What keys begin with; it ends with a slash, or is empty.
fn prefix(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "!_.*'()/-".contains(c);
    if !text.chars().all(allowed) || text.starts_with('/') {
        return Err("allowed: letters, digits and !_.*'()/-, not a slash at the beginning".into());
    }
    Ok(if text.is_empty() || text.ends_with('/') { text.to_owned() } else { format!("{text}/") })
}

/// The packages of what is shipped.
fn packages(functions: &[String]) -> Vec<String> {
    let cli = std::iter::once("tidegate-cli".to_owned());
    functions.iter().map(|function| format!("tidegate-{function}")).chain(cli).collect()
}

/// Builds it all and lays it out.
pub(crate) fn dist(workspace: &Workspace, args: &Args, no_build: bool) -> Result<ExitCode> {
    let out = workspace.root.join(&args.out);
    check_out(&out)?;
    let functions = workspace.functions()?;
    let arches = if args.arch.is_empty() { vec![Arch::Arm64, Arch::X86_64] } else { args.arch.clone() };
    if args.binaries.is_none() && !no_build {
        build(workspace, &arches, &functions)?;
    }
    let prefix = args.prefix.clone().unwrap_or_else(|| format!("tidegate/{VERSION}/"));
    let place = Place { version: VERSION, bucket: args.bucket.as_deref(), prefix: &prefix, arches: &arches };

    let new = out.with_extension("new");
    start_anew(&new)?;
    let crates = Crates::of(workspace, &arches, &packages(&functions))?;
    let licences = licences::text(&crates)?;
    for arch in &arches {
        lay_out(workspace, *arch, &functions, args.binaries.as_deref(), &licences, &new)?;
    }
    let mut bom = serde_json::to_string_pretty(&sbom::document(&crates, VERSION)?)
        .context("failed to write the SBOM")?;
    bom.push('\n');
    write(&new, "sbom.cdx.json", bom.as_bytes())?;
    write(&new, "THIRD-PARTY-LICENSES.txt", licences.as_bytes())?;
    let source = workspace.root.join("template.yaml");
    let source =
        std::fs::read_to_string(&source).with_context(|| format!("failed to read {}", source.display()))?;
    write(&new, "template.yaml", template::packaged(&source, &functions, &place)?.as_bytes())?;
    crate::template::check(workspace, Some(&new.join("template.yaml")))?;
    write(&new, CHECKSUMS, checksums(&new)?.as_bytes())?;
    if out.exists() {
        std::fs::remove_dir_all(&out).with_context(|| format!("failed to remove {}", out.display()))?;
    }
    std::fs::rename(&new, &out).with_context(|| format!("failed to write {}", out.display()))?;
    tell(&out, &place)?;
    Ok(ExitCode::SUCCESS)
}

/// Nothing that is not ours is removed.
fn check_out(out: &Path) -> Result<()> {
    let Ok(mut entries) = std::fs::read_dir(out) else { return Ok(()) };
    ensure!(
        out.join(CHECKSUMS).is_file() || entries.next().is_none(),
        "{} is there, and is not what an earlier run laid out (it has no {CHECKSUMS}): name another directory with --out",
        out.display()
    );
    Ok(())
}

fn start_anew(dir: &Path) -> Result<()> {
    if dir.exists() {
        std::fs::remove_dir_all(dir).with_context(|| format!("failed to remove {}", dir.display()))?;
    }
    std::fs::create_dir_all(dir).with_context(|| format!("failed to create {}", dir.display()))
}

/// All of it, or nothing: what cannot be built here is known before anything is.
fn build(workspace: &Workspace, arches: &[Arch], functions: &[String]) -> Result<()> {
    let missing: Vec<String> =
        arches.iter().filter_map(|arch| arch.check().err()).map(|error| format!("{error:#}")).collect();
    if !missing.is_empty() {
        bail!("{}. Binaries that another machine built are taken by --binaries", missing.join("\n"));
    }
    arches.iter().try_for_each(|arch| shipped::build(workspace, *arch, &packages(functions)))
}

/// The zips of one instruction set.
fn lay_out(
    workspace: &Workspace,
    arch: Arch,
    functions: &[String],
    binaries: Option<&Path>,
    licences: &str,
    dir: &Path,
) -> Result<()> {
    let name = arch.name();
    let from = binaries.map_or_else(|| arch.binaries(workspace), |dir| dir.join(name));
    let of_function = |function: &str| match binaries {
        Some(_) => from.join(function).join("bootstrap"),
        None => from.join(function),
    };
    let zip = |function: &String| {
        let bytes = checked(&of_function(function), arch)?;
        let zip = archive::zipped(&[Entry { name: "bootstrap", bytes: &bytes, executable: true }])?;
        write(dir, &template::zip_name(function, name), &zip)
    };
    at_once(functions, &zip)?;
    let licence = workspace.root.join("LICENSE");
    let licence = std::fs::read(&licence).with_context(|| format!("failed to read {}", licence.display()))?;
    let cli = archive::zipped(&[
        Entry { name: "tidegate", bytes: &checked(&from.join("tidegate"), arch)?, executable: true },
        Entry { name: "LICENSE", bytes: &licence, executable: false },
        Entry { name: "THIRD-PARTY-LICENSES.txt", bytes: licences.as_bytes(), executable: false },
    ])?;
    write(dir, &format!("tidegate-linux-{name}.zip"), &cli)
}

/// Does the same for all of them; compressing is what takes the time.
fn at_once<T: Sync>(all: &[T], work: &(impl Fn(&T) -> Result<()> + Sync)) -> Result<()> {
    std::thread::scope(|scope| {
        let started: Vec<_> = all.iter().map(|one| scope.spawn(move || work(one))).collect();
        started.into_iter().try_for_each(|one| one.join().unwrap_or_else(|_| bail!("a thread panicked")))
    })
}

fn checked(binary: &Path, arch: Arch) -> Result<Vec<u8>> {
    elf::check(binary, arch)?;
    std::fs::read(binary).with_context(|| format!("failed to read {}", binary.display()))
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = dir.join(name);
    std::fs::write(&path, bytes).with_context(|| format!("failed to write {}", path.display()))
}

/// What `sha256sum --check` reads.
fn checksums(dir: &Path) -> Result<String> {
    let mut text = String::new();
    for name in files(dir)? {
        let path = dir.join(&name);
        let bytes = std::fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
        writeln!(text, "{}  {name}", hex::encode(Sha256::digest(&bytes)))?;
    }
    Ok(text)
}

fn files(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("failed to list {}", dir.display()))? {
        let entry = entry.with_context(|| format!("failed to list {}", dir.display()))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// What there is now, and what to do with it.
fn tell(out: &Path, place: &Place<'_>) -> Result<()> {
    for name in files(out)? {
        let size = out.join(&name).metadata().map_or(0, |m| m.len()) / 1024;
        eprintln!("{} ({size} KiB)", out.join(&name).display());
    }
    let bucket = place.bucket.unwrap_or("BUCKET");
    eprintln!("to publish: aws s3 sync {} s3://{bucket}/{} (docs/release.md)", out.display(), place.prefix);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_buckets_and_prefixes_are_checked() {
        for name in ["acme", "acme-{region}", "{region}-acme.x"] {
            assert_eq!(bucket(name).as_deref(), Ok(name));
        }
        for name in ["ac", "Acme", "acme_x", "{region}{region}", "acme/tidegate", "acme-{zone}"] {
            assert!(bucket(name).is_err(), "{name}");
        }
        assert!(bucket(&"a".repeat(64)).is_err());
        for (given, kept) in [("", ""), ("tidegate/1", "tidegate/1/"), ("tidegate/1/", "tidegate/1/")] {
            assert_eq!(prefix(given).as_deref(), Ok(kept));
        }
        for text in ["/tidegate", "tide gate", "a\"b"] {
            assert!(prefix(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_directory_of_somebody_elses_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        check_out(&dir.path().join("not-there")).unwrap();
        check_out(dir.path()).unwrap();
        std::fs::write(dir.path().join("thesis.tex"), "").unwrap();
        assert!(check_out(dir.path()).unwrap_err().to_string().contains("--out"));
        std::fs::write(dir.path().join(CHECKSUMS), "").unwrap();
        check_out(dir.path()).unwrap();
    }

    #[test]
    fn a_binary_that_lambda_cannot_start_ends_it_all() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("binaries");
        std::fs::create_dir_all(from.join("x86_64/clock")).unwrap();
        std::fs::write(from.join("x86_64/clock/bootstrap"), "#!/bin/sh\n").unwrap();
        let workspace = Workspace::find().unwrap();
        let into = dir.path().join("out");
        let error = lay_out(&workspace, Arch::X86_64, &["clock".into()], Some(&from), "", &into).unwrap_err();
        assert!(format!("{error:#}").contains("no ELF binary"), "{error:#}");
        assert!(!into.exists());
    }
}
