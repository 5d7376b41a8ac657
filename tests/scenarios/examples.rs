//! The files under `examples/` are what the code takes: read by the very parsers, or run.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::path::PathBuf;
use std::process::Command;

use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tidegate_core::ids::{AccountId, Region};
use tidegate_core::policy;
use tidegate_wire::envelope::Origins;
use tidegate_wire::event::Event;
use tidegate_wire::request::{ActionParameters, RequestDocument};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn json_of(name: &str) -> Value {
    serde_json::from_str(&read(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn yaml_of(name: &str) -> Value {
    serde_saphyr::from_str(&read(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn the_manifest_is_one() {
    let request = RequestDocument::from_manifest(read("manifest/release.json").as_bytes()).unwrap();
    assert_eq!(request.to_string(), "main-42 of checkout");
    assert!(request.provenance.commit.is_some() && request.provenance.url.is_some());
}

#[test]
fn the_entries_become_the_event_tidegate_knows() {
    let entry = json_of("events/entries.json")[0].clone();
    // What EventBridge makes of an entry.
    let detail: Value = serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
    let event = json!({
        "version": "0", "id": "1", "detail-type": entry["DetailType"], "source": entry["Source"], "account": "111122223333",
        "time": "2026-08-20T14:02:31Z", "region": "eu-central-1", "resources": [], "detail": detail,
    });
    let origins =
        Origins::home(AccountId::new("111122223333").unwrap(), Region::new("eu-central-1").unwrap());
    let (_, event) = Event::from_value(&event, &origins).unwrap();
    let Event::ReleaseRequested(request) = event else { panic!("{event}") };
    assert_eq!(request.delivery.as_deref(), Some("checkout-42"));
}

#[test]
fn the_buildspec_exports_what_policies_read_by_default() {
    let buildspec = yaml_of("codebuild/buildspec.yml");
    let text = "service: checkout\nfrom: { ecr: { repository: shop/checkout }, codebuild: { project: checkout } }\n\
                to: { ecs: { cluster: prod, service: checkout, container: app } }\nstrategy: { blue_green: {} }\n";
    let policy = policy::parse("policy.yaml", text).unwrap();
    let variable = policy.from.codebuild.unwrap().variable;
    assert_eq!(buildspec["env"]["exported-variables"], json!([variable, "CODEBUILD_WEBHOOK_HEAD_REF"]));
    let commands = buildspec["phases"]["post_build"]["commands"].as_array().unwrap();
    let set = commands
        .iter()
        .any(|line| line.as_str().is_some_and(|line| line.starts_with(&format!("export {variable}="))));
    assert!(set, "{commands:?}");
}

#[test]
fn the_pipelines_parameters_are_read_and_short_enough() {
    for (file, waits) in [("codepipeline/pipeline.json", true), ("codepipeline/approval.json", false)] {
        let pipeline = json_of(file);
        let release = &pipeline["stages"][1]["actions"][0];
        assert_eq!(release["actionTypeId"]["provider"], "Lambda");
        let text = release["configuration"]["UserParameters"].as_str().unwrap();
        assert!(text.len() <= 1000);
        let parameters = ActionParameters::parse(text).unwrap();
        assert_eq!((parameters.service.as_str(), parameters.wait), ("checkout", waits), "{file}");
        assert_eq!(parameters.execution.as_deref(), Some("#{codepipeline.PipelineExecutionId}"));
    }
    let approve = &json_of("codepipeline/approval.json")["stages"][1]["actions"][1];
    assert_eq!(
        (&approve["name"], &approve["actionTypeId"]["provider"]),
        (&json!("Approve"), &json!("Manual"))
    );
}

#[test]
fn the_policies_in_the_guides_are_policies() {
    // Each `from:` in the guides, in a policy that is whole otherwise.
    let mut seen = 0;
    for guide in ["manifest", "events", "codebuild", "codepipeline", "jenkins"] {
        let text = read(&format!("{guide}/README.md")).replace('\n', " ");
        for part in text.split("`from: ").skip(1) {
            let from = part.split('`').next().unwrap();
            let policy = format!(
                "service: checkout\nfrom: {from}\nto: {{ ecs: {{ cluster: prod, service: checkout, container: app }} }}\n\
                 strategy: {{ blue_green: {{}} }}\n"
            );
            policy::parse("policy.yaml", &policy).unwrap_or_else(|error| panic!("{guide}: {from}: {error}"));
            seen += 1;
        }
    }
    assert!(seen >= 5, "{seen}");
}

#[test]
fn the_workflow_trusts_by_the_immutable_subject_and_may_do_what_it_does() {
    let workflow = yaml_of("github-actions/release.yml");
    assert_eq!(workflow["permissions"], json!({"contents": "read", "id-token": "write"}));
    let steps = workflow["jobs"]["release"]["steps"].as_array().unwrap();
    let asks = run_of(steps, "Ask for the release");
    let detail_type = "tidegate.release.requested";
    assert!(asks.contains(detail_type) && asks.contains("FailedEntryCount"));
    // The job ends as the release of this very image does.
    let last = steps.last().unwrap()["run"].as_str().unwrap();
    assert!(last.contains(r#"watch "$SERVICE" --image "$GITHUB_SHA" --timeout"#), "{last}");

    let trust = json_of("github-actions/trust-policy.json");
    let condition = &trust["Statement"][0]["Condition"]["StringEquals"];
    assert_eq!(condition["token.actions.githubusercontent.com:aud"], "sts.amazonaws.com");
    let subject = condition["token.actions.githubusercontent.com:sub"].as_str().unwrap();
    let ids = subject.split('@').skip(1).all(|part| part.starts_with(|c: char| c.is_ascii_digit()));
    assert!(subject.matches('@').count() == 2 && ids && !subject.contains('*'), "{subject}");

    let allowed = json_of("github-actions/permissions.json");
    let events = allowed["Statement"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["Action"] == "events:PutEvents")
        .unwrap();
    assert_eq!(events["Condition"]["StringEquals"]["events:detail-type"], detail_type);
}

/// The script of the workflow that waits, with a `gh` that answers what Tidegate has told GitHub.
#[test]
fn the_workflow_that_waits_ends_as_the_release_does() {
    let workflow = yaml_of("github-actions/wait.yml");
    let script = run_of(workflow["jobs"]["wait"]["steps"].as_array().unwrap(), "Wait for the release");
    assert!(workflow["env"]["CONTEXT"].as_str().unwrap().starts_with("tidegate/"));
    let dir = tempfile::tempdir().unwrap();
    let tool = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        assert!(Command::new("chmod").arg("755").arg(&path).status().unwrap().success());
    };
    tool("sleep", "#!/bin/sh\n");
    let ends = |states: &[&str]| {
        let told: Vec<String> = states.iter().map(|state| format!("{state} checkout main-2")).collect();
        std::fs::write(dir.path().join("told"), told.join("\n") + "\n").unwrap();
        // One line a call; the last one again and again.
        tool(
            "gh",
            "#!/bin/sh\ncd \"$(dirname \"$0\")\"\nhead -n 1 told\ntest \"$(wc -l < told)\" = 1 || sed -i 1d told\n",
        );
        let search = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
        let mut bash = Command::new("bash");
        bash.args(["-e", "-c", script])
            .env("PATH", search)
            .env("MINUTES", "1")
            .env("CONTEXT", "tidegate/checkout");
        bash.env("GITHUB_SHA", "c0ffee").env("GITHUB_REPOSITORY", "acme/shop").output().unwrap().status.code()
    };
    assert_eq!(ends(&["null null", "pending", "success"]), Some(0));
    assert_eq!(ends(&["pending", "failure"]), Some(1));
    assert_eq!(ends(&["pending"]), Some(1), "not over in time");
}

fn run_of<'a>(steps: &'a [Value], name: &str) -> &'a str {
    let step = steps.iter().find(|step| step["name"] == name);
    step.and_then(|step| step["run"].as_str()).unwrap_or_else(|| panic!("no step {name}"))
}

/// What the workflow builds with jq is what Tidegate reads.
#[test]
fn the_workflows_request_is_read() {
    let workflow = yaml_of("github-actions/release.yml");
    let asks = run_of(workflow["jobs"]["release"]["steps"].as_array().unwrap(), "Ask for the release");
    let object = asks.split("'{").nth(1).and_then(|rest| rest.split("}'").next()).unwrap();
    let detail: serde_json::Map<String, Value> = object
        .split(',')
        .map(|pair| (pair.split(':').next().unwrap().trim().to_owned(), Value::String("x1".into())))
        .collect();
    let mut detail = detail;
    detail.insert("url".into(), "https://github.com/x".into());
    RequestDocument::from_manifest(Value::Object(detail).to_string().as_bytes()).unwrap();
}

/// The script of the Jenkins example, with a `curl` that only shows what it would send.
#[test]
fn the_webhook_is_signed_as_the_gate_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let (curl, body) = (dir.path().join("curl"), dir.path().join("body.json"));
    std::fs::write(&curl, "#!/bin/sh\nfor argument in \"$@\"; do printf '%s\\n' \"$argument\"; done\n")
        .unwrap();
    assert!(Command::new("chmod").arg("755").arg(&curl).status().unwrap().success());
    let text = "{\"image\":\"shop/checkout:main-42\",\"by\":\"j\u{e9}nkins\"}\n";
    std::fs::write(&body, text).unwrap();
    let search = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let output = Command::new(path("jenkins/release.sh"))
        .args(["checkout", body.to_str().unwrap(), "build-42"])
        .env("PATH", search)
        .env("TIDEGATE_GATE_URL", "https://gate.example.com/")
        .env("TIDEGATE_WEBHOOK_SECRET", "s3cret 'with' \"quotes\"")
        .output()
        .unwrap();
    let sent = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{sent}{}", String::from_utf8_lossy(&output.stderr));
    let header = |name: &str| {
        let prefix = format!("{name}: ");
        sent.lines()
            .find_map(|line| line.strip_prefix(&prefix))
            .unwrap_or_else(|| panic!("no {name}: {sent}"))
            .to_owned()
    };
    assert!(!sent.contains("s3cret"), "the secret is on no command line");
    assert!(sent.lines().any(|line| line == "https://gate.example.com/hooks/jenkins/checkout"), "{sent}");
    let signed = format!("{}.{}.{text}", header("X-Tidegate-Timestamp"), header("X-Tidegate-Delivery"));
    let mut mac = Hmac::<Sha256>::new_from_slice(b"s3cret 'with' \"quotes\"").unwrap();
    mac.update(signed.as_bytes());
    assert_eq!(header("X-Tidegate-Signature"), hex::encode(mac.finalize().into_bytes()));
}

/// Programs that stand in for others, first in the search path of what is run.
struct Tools(tempfile::TempDir);

impl Tools {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn tool(&self, name: &str, script: &str) {
        std::fs::write(self.path(name), format!("#!/bin/bash\n{script}\n")).unwrap();
        assert!(Command::new("chmod").arg("755").arg(self.path(name)).status().unwrap().success());
    }

    /// Runs a step as GitHub does; whether it succeeded, and what it printed.
    fn step(&self, script: &str, environment: &[(&str, &str)]) -> (bool, String) {
        let search = format!("{}:{}", self.0.path().display(), std::env::var("PATH").unwrap());
        let mut bash = Command::new("bash");
        bash.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script]).env("PATH", search);
        let output = bash.envs(environment.iter().copied()).current_dir(self.0.path()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }
}

fn publish_step(name: &str) -> String {
    let workflow = yaml_of("github-actions/publish.yml");
    run_of(workflow["jobs"]["publish"]["steps"].as_array().unwrap(), name).to_owned()
}

#[test]
fn only_a_tag_that_is_the_version_is_published() {
    let tools = Tools::new();
    let env = tools.path("env");
    tools.tool("cargo", "test \"$*\" = 'pkgid --package xtask' && echo 'path+file:///x/xtask#1.2.3'");
    let script = publish_step("The tag is the version");
    let of =
        |tag: &str| tools.step(&script, &[("GITHUB_REF_NAME", tag), ("GITHUB_ENV", env.to_str().unwrap())]);
    let (refused, said) = of("v1.2.4");
    assert!(!refused && said.contains("the tag is v1.2.4, Cargo.toml has version 1.2.3"), "{said}");
    assert!(!env.exists());
    assert!(of("v1.2.3").0);
    assert_eq!(std::fs::read_to_string(&env).unwrap(), "VERSION=1.2.3\n");
}

/// The script that publishes, with an `aws` whose buckets are directories.
#[test]
fn what_is_published_is_never_written_over_and_the_checksums_come_last() {
    let tools = Tools::new();
    let script = publish_step("Publish in every region");
    tools.tool(
        "aws",
        r#"shift; verb=$1; shift; left=()
while [ $# -gt 0 ]; do case "$1" in --region|--exclude) shift 2 ;; --*) shift ;; *) left+=("$1"); shift ;; esac; done
from="${left[0]/#s3:\/\//buckets/}"; to="${left[1]/#s3:\/\//buckets/}"
echo "$verb ${left[*]}" >> calls
mkdir -p "$(dirname "$to")"
if [ "$verb" = cp ]; then cp "$from" "$to" 2>/dev/null; else mkdir -p "$to"; find "$from" -type f ! -name SHA256SUMS -exec cp {} "$to" \;; fi"#,
    );
    let environment =
        [("BUCKET", "acme-{region}"), ("REGIONS", "eu-central-1 us-east-1"), ("VERSION", "1.2.3")];
    let built = |text: &str| {
        std::fs::create_dir_all(tools.path("target/dist")).unwrap();
        for name in ["SHA256SUMS", "template.yaml"] {
            std::fs::write(tools.path("target/dist").join(name), text).unwrap();
        }
    };
    let calls = || std::fs::read_to_string(tools.path("calls")).unwrap_or_default();
    let there =
        |region: &str, name: &str| tools.path(&format!("buckets/acme-{region}/tidegate/1.2.3/{name}"));

    built("one");
    let (done, said) = tools.step(&script, &environment);
    assert!(done, "{said}");
    for region in ["eu-central-1", "us-east-1"] {
        assert_eq!(std::fs::read_to_string(there(region, "template.yaml")).unwrap(), "one");
        assert!(there(region, "SHA256SUMS").exists());
        let calls = calls();
        let place = format!("s3://acme-{region}/tidegate/1.2.3/");
        let at = |call: String| calls.lines().position(|line| line == call).unwrap();
        let (sync, last) =
            (format!("sync target/dist {place}"), format!("cp target/dist/SHA256SUMS {place}SHA256SUMS"));
        assert!(at(sync) < at(last), "{calls}");
    }
    // A run that broke off goes on.
    std::fs::remove_file(there("us-east-1", "SHA256SUMS")).unwrap();
    let before = calls().len();
    let (done, said) = tools.step(&script, &environment);
    let again = calls().split_off(before);
    assert!(
        done && again.matches("sync").count() == 1 && again.contains("sync target/dist s3://acme-us-east-1"),
        "{said}{again}"
    );
    // Another one of the same version.
    built("two");
    let (done, said) = tools.step(&script, &environment);
    assert!(
        !done && said.contains("version 1.2.3 is published in eu-central-1, and is another one"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(there("eu-central-1", "template.yaml")).unwrap(), "one");
}

#[test]
fn the_release_on_github_has_its_part_of_the_changelog() {
    let tools = Tools::new();
    tools.tool("gh", "echo \"$@\" > asked");
    std::fs::write(
        tools.path("CHANGELOG.md"),
        "# Changelog\n\n## 1.2.3, 1 May\n\n- new\n\n## 1.2.2\n\n- old\n",
    )
    .unwrap();
    let script = publish_step("Release on GitHub");
    let (done, said) = tools.step(&script, &[("VERSION", "1.2.3"), ("GITHUB_REF_NAME", "v1.2.3")]);
    assert!(done, "{said}");
    assert_eq!(std::fs::read_to_string(tools.path("notes.md")).unwrap().trim(), "- new");
    assert!(
        std::fs::read_to_string(tools.path("asked"))
            .unwrap()
            .starts_with("release create v1.2.3 --verify-tag")
    );
}

#[test]
fn the_workflow_that_publishes_may_do_what_it_does_and_no_more() {
    let workflow = yaml_of("github-actions/publish.yml");
    assert_eq!(
        workflow["permissions"],
        json!({ "contents": "write", "id-token": "write", "attestations": "write" })
    );
    assert!(publish_step("Build").contains("cargo xtask dist --bucket \"$BUCKET\""));
    assert!(workflow["env"]["BUCKET"].as_str().unwrap().contains("{region}"));
}

/// The parameters, outputs and capabilities of the Terraform module are the template's.
#[test]
fn the_terraform_module_names_what_the_template_has() {
    let module = read("terraform/main.tf");
    let template = std::fs::read_to_string(path("../template.yaml")).unwrap();
    let part = |name: &str| {
        let rest = template.split(&format!("\n{name}:\n")).nth(1).unwrap();
        let lines = rest.lines().take_while(|line| line.is_empty() || line.starts_with([' ', '#']));
        lines.collect::<Vec<_>>().join("\n")
    };
    let entries = |text: &str| -> Vec<(String, bool)> {
        let mut found: Vec<(String, bool)> = Vec::new();
        for line in text.lines() {
            match line.strip_prefix("  ").filter(|rest| !rest.starts_with([' ', '#', '-'])) {
                Some(name) if !name.is_empty() => found.push((name.trim_end_matches(':').to_owned(), false)),
                _ => {
                    if let Some(last) = found.last_mut() {
                        last.1 |= line.trim().starts_with("Default:");
                    }
                }
            }
        }
        found
    };
    let given: Vec<&str> = module
        .lines()
        .filter_map(|line| line.trim().split_once('='))
        .map(|(name, _)| name.trim())
        .filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase()))
        .collect();
    let parameters = entries(&part("Parameters"));
    assert!(parameters.len() > 20, "{parameters:?}");
    // Those of a packaged template, which `cargo xtask dist` adds.
    let added = ["ArtifactsBucket", "ArtifactsPrefix"];
    for name in &given {
        assert!(
            added.contains(name) || parameters.iter().any(|(known, _)| known == name),
            "there is no parameter {name}"
        );
    }
    for name in
        parameters.iter().filter(|(_, has_default)| !has_default).map(|(name, _)| name.as_str()).chain(added)
    {
        assert!(given.contains(&name), "{name} has no default, and is not given");
    }
    let outputs = entries(&part("Outputs"));
    let asked: Vec<&str> =
        module.split("outputs[\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(
        asked.len() > 1 && asked.iter().all(|name| outputs.iter().any(|(known, _)| known == name)),
        "{asked:?}"
    );
    assert!(module.contains(r#"capabilities = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]"#));
}
