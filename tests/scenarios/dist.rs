//! What is published of a version installs by its address in S3 and works, without a toolchain: made by the very command, checked, uploaded,
//! deployed, used.
//!
//! Needs what `cargo xtask test` builds and names in the environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, anyhow, ensure};
use http::{HeaderMap, Method, StatusCode};
use tidegate_sandbox::local::{ACCOUNT, Local, Options, REGION};
use tidegate_sandbox::ministack;

const FUNCTIONS: [&str; 7] = ["clock", "conductor", "gate", "herald", "intake", "pipeline", "sentinel"];
const PREFIX: &str = "published/1/";

fn given(variable: &str, default: &str) -> PathBuf {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = std::env::var_os(variable).map_or_else(|| workspace.join(default), PathBuf::from);
    assert!(
        path.exists(),
        "{} is not there ({variable}); run the tests with `cargo xtask test`",
        path.display()
    );
    path
}

fn run(command: &mut Command) -> Result<Output> {
    let output =
        command.output().with_context(|| format!("failed to run {}", command.get_program().display()))?;
    ensure!(output.status.success(), "{}", said(&output));
    Ok(output)
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]].iter().map(|text| String::from_utf8_lossy(text)).collect()
}

/// Binaries as another machine would have built them. The gate and the command line are the real ones, the others do nothing: each real one
/// of a development build takes many seconds to compress.
fn binaries(dir: &Path) -> Result<PathBuf> {
    let all = dir.join("binaries");
    let own = all.join("x86_64");
    std::fs::create_dir_all(&own)?;
    let (source, idle) = (dir.join("idle.rs"), dir.join("idle"));
    std::fs::write(&source, "fn main() {}")?;
    run(Command::new("rustc").args(["-Copt-level=1", "-Cstrip=symbols", "-o"]).args([&idle, &source]))?;
    for function in FUNCTIONS {
        std::fs::create_dir(own.join(function))?;
        let real = given("TIDEGATE_FUNCTIONS", "target/sandbox/functions").join(function).join("bootstrap");
        let from = if function == "gate" { &real } else { &idle };
        std::fs::copy(from, own.join(function).join("bootstrap"))?;
    }
    let cli = given("TIDEGATE_BIN", "target/debug/tidegate");
    run(Command::new("strip").arg("-o").arg(own.join("tidegate")).arg(cli))?;
    Ok(all)
}

fn dist(binaries: &Path, out: &Path) -> Result<Output> {
    let mut dist = Command::new(given("TIDEGATE_XTASK_BIN", "target/debug/xtask"));
    dist.args(["dist", "--arch", "x86_64", "--bucket", "acme-{region}", "--prefix", PREFIX, "--binaries"])
        .arg(binaries);
    dist.arg("--out").arg(out).output().context("failed to run xtask")
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let mut names = std::fs::read_dir(dir)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// A local AWS with buckets in two regions.
async fn aws(dir: &Path) -> Result<Local> {
    let mut options = Options::new(given("TIDEGATE_VENV", ".venv"), dir.to_owned());
    options.task_binary = Some(given("TIDEGATE_SANDBOX_BIN", "target/debug/tidegate-sandbox"));
    let local = Local::start(options).await?;
    for region in [REGION, "us-west-2"] {
        let place = format!(
            "<CreateBucketConfiguration><LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
        );
        s3(&local, region, "", place.into_bytes()).await?;
    }
    Ok(local)
}

/// Puts into the bucket of a region, at that region's endpoint; without a key, the bucket itself.
async fn s3(local: &Local, region: &str, key: &str, body: Vec<u8>) -> Result<()> {
    let there = ministack::Client::new(local.endpoint.address(), region, "test", "test");
    let path = format!("/acme-{region}{key}");
    let put = there.rest("s3", Method::PUT, &path, HeaderMap::new(), body.into()).await;
    put.map(drop).map_err(|error| anyhow!("{path}: {}: {}", error.code, error.message))
}

/// `aws s3 sync`.
async fn publish(local: &Local, dist: &Path, region: &str) -> Result<()> {
    for name in names(dist)? {
        s3(local, region, &format!("/{PREFIX}{name}"), std::fs::read(dist.join(&name))?).await?;
    }
    Ok(())
}

/// What a user does: the address of the template and the two parameters that have no default.
async fn install(local: &Local, stack: &str, more: &[(&str, &str)]) -> Result<ministack::Deployed> {
    let address = format!("https://s3.{REGION}.amazonaws.com/acme-{REGION}/{PREFIX}template.yaml");
    let clusters = format!("arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/*");
    let repositories = format!("arn:aws:ecr:{REGION}:{ACCOUNT}:repository/*");
    let required = [("ClusterArns", clusters.as_str()), ("RepositoryArns", &repositories)];
    let parameters: BTreeMap<String, String> =
        required.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    ministack::create(&local.client, stack, &address, &parameters).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_installs_by_its_address_and_answers() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (binaries, out) = (binaries(dir.path())?, dir.path().join("dist"));
    let made = dist(&binaries, &out)?;
    ensure!(made.status.success(), "{}", said(&made));
    let zips = FUNCTIONS.map(|function| format!("{function}-x86_64.zip"));
    let mut wanted = vec![
        "SHA256SUMS",
        "THIRD-PARTY-LICENSES.txt",
        "sbom.cdx.json",
        "template.yaml",
        "tidegate-linux-x86_64.zip",
    ];
    wanted.extend(zips.iter().map(String::as_str));
    wanted.sort_unstable();
    assert_eq!(names(&out)?, wanted);
    run(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&out))?;

    let local = aws(dir.path()).await?;
    publish(&local, &out, REGION).await?;
    let deployed = install(&local, "tidegate", &[]).await?;
    let page = local.open(&format!("{}dashboard", deployed.output("GateUrl")?), None).await?;
    assert_eq!(page.status, StatusCode::NOT_FOUND, "{}", page.body);
    assert!(page.body.contains("There is nothing here · Tidegate"), "the gate itself answers: {}", page.body);

    // The command line of the zip, against what was installed.
    let mut zip = zip::ZipArchive::new(std::fs::File::open(out.join("tidegate-linux-x86_64.zip"))?)?;
    zip.extract(dir.path().join("cli"))?;
    let cli = dir.path().join("cli/tidegate");
    let mut services = Command::new(&cli);
    let listed = run(services.arg("services").envs(local.environment()))?;
    assert!(said(&listed).contains("no service"), "{}", said(&listed));

    // Lambda takes no code of another region.
    publish(&local, &out, "us-west-2").await?;
    let refused = install(&local, "elsewhere", &[("ArtifactsBucket", "acme-us-west-2")]).await;
    let refused = refused.err().context("code of another region is refused")?.to_string();
    assert!(refused.contains("PermanentRedirect"), "{refused}");
    local.stop().await
}

#[test]
fn the_same_binaries_are_published_as_the_same_bytes_and_a_broken_one_not_at_all() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let all = binaries(dir.path())?;
    // Small ones: what is compared is not how long compressing takes.
    for name in ["gate/bootstrap", "tidegate"] {
        std::fs::copy(dir.path().join("idle"), all.join("x86_64").join(name))?;
    }
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    for out in [&one, &other] {
        let made = dist(&all, out)?;
        ensure!(made.status.success(), "{}", said(&made));
    }
    for name in names(&one)? {
        assert!(std::fs::read(one.join(&name))? == std::fs::read(other.join(&name))?, "{name} differs");
    }
    // What is checked can fail.
    std::fs::write(other.join("template.yaml"), "Resources: {}\n")?;
    let check =
        Command::new("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).current_dir(&other).output()?;
    assert!(!check.status.success() && said(&check).contains("template.yaml"), "{}", said(&check));

    std::fs::write(all.join("x86_64/clock/bootstrap"), "#!/bin/sh\n")?;
    let before = names(&one)?;
    let refused = dist(&all, &one)?;
    assert!(!refused.status.success(), "{}", said(&refused));
    assert!(said(&refused).contains("no ELF binary"), "{}", said(&refused));
    assert_eq!(names(&one)?, before, "what was there stays as it was");
    Ok(())
}
