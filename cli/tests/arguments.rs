//! The binary as scripts meet it, for everything that needs no AWS: arguments, exit codes, policy files, closed pipes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use assert_cmd::Command;
use serde_json::Value;

const GOOD: &str = r#"
service: checkout
from:     { ecr: { repository: shop/checkout, tags: ["main-*"] } }
to:       { ecs: { cluster: prod, service: checkout, container: app } }
strategy: { canary: { percent: 10, bake: 5m }, bake: 15m }
"#;

/// Without any AWS configuration of the machine the test runs on.
fn tidegate(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("tidegate").unwrap();
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") || name.to_string_lossy().starts_with("TIDEGATE_") {
            command.env_remove(name);
        }
    }
    command
        .env("AWS_CONFIG_FILE", "/nonexistent/config")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/credentials")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .args(args);
    command
}

struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

fn ended(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn wrong_arguments_end_with_2() {
    let cases: &[&[&str]] = &[
        &[],
        &["nonsense"],
        &["validate"],
        &["plan", "checkout"],
        &["plan", "no/service", "v1"],
        &["release", "checkout", "shop/checkout"],
        &["release", "checkout", "sha256:abc"],
        &["release", "checkout", "v1", "--bypass-freeze"],
        &["releases", "--limit", "0"],
        &["watch", "checkout", "--timeout", "soon"],
        &["watch", "checkout", "--timeout", "5m", "--once"],
        &["services", "--region", "Frankfurt"],
        &["services", "--account", "42"],
        &["services", "--stack", "-x"],
        &["services", "--endpoint-url", "localhost:1"],
        &["services", "--endpoint-url", ""],
        &["watch", "checkout", "--image", "main-2", "--once"],
    ];
    for case in cases {
        let ended = ended(&mut tidegate(case));
        assert_eq!(ended.code, Some(2), "{case:?}: {}", ended.err);
        assert_eq!(ended.out, "", "{case:?}");
    }
}

#[test]
fn help_tells_the_exit_codes() {
    let ended = ended(&mut tidegate(&["--help"]));
    assert_eq!(ended.code, Some(0));
    assert!(ended.out.contains("3  the release was rolled back"), "{}", ended.out);
}

#[test]
fn help_is_a_command_too() {
    let ended = ended(&mut tidegate(&["help", "rollback"]));
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.out.contains("--dry-run") && ended.out.contains("--to"), "{}", ended.out);
}

/// Whatever keeps a call from AWS, a person reads a sentence and what to do, never the inside of a library.
#[test]
fn no_failure_shows_the_inside_of_a_library() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Whoever connects is hung up on, which no TLS handshake survives.
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let refused = "http://127.0.0.1:1".to_owned();
    let unknown = "https://no-such-host.invalid".to_owned();
    let broken = format!("https://127.0.0.1:{port}");
    for (url, said) in [(refused, "nothing listens"), (unknown, "could not be reached"), (broken, "AWS STS")]
    {
        let mut command = tidegate(&["services", "--region", "eu-central-1", "--endpoint-url", &url]);
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        plain(&ended(&mut command), said);
    }
    let mut command = tidegate(&["services", "--region", "eu-central-1"]);
    command
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_ENDPOINT_URL", "localhost:1");
    plain(
        &ended(&mut command),
        "the endpoint \"localhost:1\" of the environment or the profile cannot be used",
    );
    let missing = ended(&mut tidegate(&["services", "--region", "eu-central-1"]));
    plain(
        &missing,
        "tidegate: no AWS credentials were found\n  set AWS_PROFILE or --profile, or sign in: aws sso login\n",
    );
}

#[track_caller]
fn plain(ended: &Ended, said: &str) {
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(ended.err.contains(said), "{said}: {}", ended.err);
    assert_eq!(ended.err.lines().count(), 2, "what happened, and what to do: {}", ended.err);
    let inside = ["{", "dispatch failure", "SdkBody", "panicked", "os error"];
    assert!(!inside.iter().any(|word| ended.err.contains(word)), "{}", ended.err);
}

#[test]
fn a_good_policy_is_valid() {
    let policy = file(GOOD);
    let path = policy.path().to_str().unwrap();
    let ended = ended(&mut tidegate(&["validate", path]));
    assert_eq!(
        (ended.code, ended.out),
        (Some(0), format!("✓ {path}: checkout, canary 10% for 5m, then 15m\n"))
    );
}

#[test]
fn a_policy_can_come_from_the_standard_input() {
    let ended = ended(tidegate(&["validate", "-"]).write_stdin(GOOD));
    assert_eq!(ended.code, Some(0), "{}", ended.err);
}

#[test]
fn a_mistake_is_told_with_its_place_and_every_file_is_checked() {
    let (good, bad) = (file(GOOD), file(&GOOD.replace("percent: 10", "percent: 10%")));
    let path = bad.path().to_str().unwrap();
    let ended = ended(&mut tidegate(&["validate", path, good.path().to_str().unwrap()]));
    assert_eq!(ended.code, Some(1));
    let expected = format!(
        r#"✗ {path}:5:32: strategy.canary.percent: found "10%", allowed a number from 0.1 to 100, without a percent sign"#
    );
    assert!(ended.out.starts_with(&expected), "{}", ended.out);
    assert!(ended.out.contains("✓"), "{}", ended.out);
}

#[test]
fn a_mistake_is_told_to_scripts_too() {
    let bad = file(&GOOD.replace("percent: 10", "percent: 10%"));
    let path = bad.path().to_str().unwrap();
    let ended = ended(&mut tidegate(&["validate", "--json", path]));
    let answer: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(ended.code, Some(1));
    assert_eq!(answer["valid"], false);
    assert_eq!(answer["files"][0]["error"]["path"], "strategy.canary.percent");
    assert_eq!(answer["files"][0]["error"]["line"], 5);
}

#[test]
fn a_file_that_is_not_there_is_an_error_with_its_cause() {
    let ended = ended(&mut tidegate(&["validate", "/nonexistent/p.yaml"]));
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.starts_with("tidegate: failed to read /nonexistent/p.yaml: "), "{}", ended.err);
}

#[test]
fn apply_reads_every_file_before_it_asks_aws_for_anything() {
    let (good, bad) = (file(GOOD), file("service: x"));
    let paths = [good.path().to_str().unwrap(), bad.path().to_str().unwrap()];
    let wrong = ended(&mut tidegate(&["apply", paths[0], paths[1]]));
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.err.contains("nothing was stored") && wrong.err.contains(paths[1]), "{}", wrong.err);
    let twice = ended(&mut tidegate(&["apply", paths[0], paths[0]]));
    assert!(twice.err.contains("are both policies of service checkout"), "{}", twice.err);
}

#[test]
fn without_a_region_it_says_what_to_do() {
    let human = ended(&mut tidegate(&["services"]));
    assert_eq!(human.code, Some(1));
    assert!(human.err.contains("no AWS region is set") && human.err.contains("--region"), "{}", human.err);
    let json = ended(&mut tidegate(&["services", "--json"]));
    let error: Value = serde_json::from_str(&json.err).unwrap();
    assert_eq!((error["exit_code"].as_u64(), json.out.as_str()), (Some(1), ""));
}

#[test]
fn the_committed_schema_is_the_one_of_the_code() {
    let ended = ended(&mut tidegate(&["schema"]));
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/policy.schema.json");
    assert_eq!(ended.code, Some(0));
    assert!(
        ended.out == std::fs::read_to_string(committed).unwrap(),
        "regenerate it: cargo run -p tidegate-cli -- schema >docs/policy.schema.json"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("tidegate"))
        .arg("schema")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Closed before anything can be read; the schema is printed by a process that still has to start.
    drop(child.stdout.take());
    let status = child.wait().unwrap();
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!((status.code(), told.as_str()), (Some(141), ""));
}

#[test]
fn no_colour_where_there_is_no_terminal() {
    let ended = ended(tidegate(&["validate", "-"]).write_stdin(GOOD));
    assert!(!ended.out.contains('\u{1b}'));
}

#[test]
fn a_shell_and_man_are_told_every_command() {
    let commands = ["apply", "pause", "continue", "promote", "policy", "quarantine", "services"];
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = ended(&mut tidegate(&["completions", shell]));
        assert_eq!(said.code, Some(0), "{}", said.err);
        let missing: Vec<_> = commands.iter().filter(|command| !said.out.contains(**command)).collect();
        assert!(missing.is_empty(), "{shell}: {missing:?}");
    }
    assert_eq!(ended(&mut tidegate(&["completions", "nosh"])).code, Some(2));
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man1");
    let said = ended(&mut tidegate(&["man", pages.to_str().unwrap()]));
    assert_eq!(said.code, Some(0), "{}", said.err);
    for page in ["tidegate.1", "tidegate-pause.1", "tidegate-policy-remove.1", "tidegate-quarantine-lift.1"] {
        let text = std::fs::read_to_string(pages.join(page)).unwrap();
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
}
