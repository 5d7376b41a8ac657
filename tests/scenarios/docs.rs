//! The documentation cannot rot: policies it shows parse, errors it quotes are the errors one gets, and links lead somewhere.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tidegate_core::effect::{CALL_LIMIT, LEASE, RETRY_AFTER, SETTLE};
use tidegate_core::policy::{self, Shift};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Markdown file of the project, by its path within it.
fn pages() -> Vec<PathBuf> {
    let (root, mut found, mut directories) = (root(), Vec::new(), vec![PathBuf::new()]);
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(root.join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = directory.join(&name);
            let is_ours = !name.starts_with('.') && name != "target";
            if entry.file_type().unwrap().is_dir() && is_ours {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(found.contains(&PathBuf::from("README.md")), "the walk has missed the project: {found:?}");
    found
}

/// A line of a page, and whether it is within a fenced block; the fences themselves count as within.
fn lines(text: &str) -> impl Iterator<Item = (&str, bool)> {
    let mut fenced = false;
    text.lines().map(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        let within = fenced || is_fence;
        fenced ^= is_fence;
        (line, within)
    })
}

/// The fenced blocks with this information string: the number of their first line, and their text.
fn blocks(text: &str, info: &str) -> Vec<(usize, String)> {
    let mut blocks: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), blocks.last_mut().filter(|_| open)) {
            (Some(_), Some(_)) => open = false,
            (Some(of), None) if of == info => {
                blocks.push((number + 2, String::new()));
                open = true;
            }
            (None, Some((_, block))) => {
                block.push_str(line);
                block.push('\n');
            }
            (Some(_) | None, None) => {}
        }
    }
    blocks
}

#[test]
fn every_policy_shown_parses() {
    let mut kinds = BTreeSet::new();
    for page in pages() {
        let page = page.display().to_string();
        for (line, block) in blocks(&read(&page), "yaml policy") {
            let policy = policy::parse(&page, &block)
                .unwrap_or_else(|error| panic!("the policy at {page}:{line}: {error}"));
            let exported = policy::parse(&page, &policy::to_yaml(&policy));
            assert_eq!(exported.as_ref(), Ok(&policy), "the policy at {page}:{line}, exported");
            kinds.insert(match policy.strategy.shift {
                Shift::Canary { .. } => "canary",
                Shift::Linear { .. } => "linear",
                Shift::Steps { .. } => "steps",
                Shift::BlueGreen => "blue_green",
                Shift::Rolling => "rolling",
            });
        }
    }
    assert_eq!(kinds.len(), 5, "a complete example of each strategy is shown; found {kinds:?}");
}

/// A change to a policy that is right, and what the documentation says comes of it.
const MISTAKES: [(&str, &str, &str); 13] = [
    (
        "service: checkout\n",
        "service: \"check out\"\n",
        r#"service: "check out" is not a valid service name: 1 to 128 letters, digits, '-' or '_', starting with a letter or digit"#,
    ),
    (
        r#"["main-*"]"#,
        "[]",
        "from.ecr.tags: found an empty list, allowed one entry or more unless another way under from starts releases",
    ),
    (
        r#"["main-*"]"#,
        r#"["v[0-9"]"#,
        r#"from.ecr.tags[0]: found "v[0-9", which is not a glob such as main-* or v[0-9]*: unclosed character class; missing ']'"#,
    ),
    (
        "percent: 10,",
        "percent: 10%,",
        r#"strategy.canary.percent: found "10%", allowed a number from 0.1 to 100, without a percent sign"#,
    ),
    (
        "percent: 10,",
        "percent: 100,",
        "strategy: canary.percent: found 100, allowed 0.1 to 99.9; for everything at once use blue_green",
    ),
    (
        "canary: { percent: 10, bake: 5m }",
        "linear: { percent: 2 }",
        "strategy.linear.percent: found 2, allowed 3 to 100 (Amazon ECS's limit for steps)",
    ),
    (
        "canary: { percent: 10, bake: 5m }",
        "blue_green: {}, rolling: {}",
        "strategy: exactly one of canary, linear, steps, blue_green and rolling is needed, found blue_green and rolling",
    ),
    ("bake: 15m", "bake: 15", "strategy.bake: found 15 without a unit, allowed for example 15s or 15m"),
    (
        "bake: 15m",
        "bake: 24h",
        r#"strategy.bake: found "24h", allowed a span of time such as 90s, 5m or 1h 30m, whole seconds, at most 23h"#,
    ),
    ("by: [alice]", "by: [bob]", r#"approval[0].by: found "bob", allowed the names in people and groups"#),
    (
        "by: [alice]",
        "by: [alice], count: 2",
        "approval[0].count: found 2, allowed 1 to 1, as many people as may approve",
    ),
    (
        "canary: { percent: 10, bake: 5m }",
        "rolling: {}",
        "approval[0].before: found shift, allowed deploy: a rolling strategy holds no traffic back",
    ),
    (
        "time_zone: UTC",
        "time_zone: Berlin",
        r#"freeze.time_zone: found "Berlin", allowed the name of an IANA time zone such as Europe/Berlin or UTC"#,
    ),
];

const RIGHT: &str = r#"
service: checkout
from:     { ecr: { repository: shop/checkout, tags: ["main-*"] } }
to:       { ecs: { cluster: prod, service: checkout, container: app } }
strategy: { canary: { percent: 10, bake: 5m }, bake: 15m }
approval: { before: shift, by: [alice] }
people:   { alice: {} }
freeze:   { time_zone: UTC }
"#;

#[test]
fn the_errors_quoted_are_the_errors_one_gets() {
    let page = read("docs/policy.md");
    policy::parse("p.yaml", RIGHT).expect("the policy is right before it is spoilt");
    for (from, to, message) in MISTAKES {
        assert!(RIGHT.contains(from), "{from:?} is not in the policy");
        let error = policy::parse("p.yaml", &RIGHT.replace(from, to)).expect_err(to);
        let path = if error.path == "." { String::new() } else { format!("{}: ", error.path) };
        // What names its own field has no path of its own.
        let said = if error.problem.starts_with(&path) {
            error.problem.clone()
        } else {
            format!("{path}{}", error.problem)
        };
        assert_eq!(said, message);
        assert!(page.contains(message), "docs/policy.md does not quote {message:?}");
    }
}

/// The targets of a page's links, without those in code.
fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    for (line, within_code) in lines(text) {
        if within_code {
            continue;
        }
        // Every second part stands between backticks.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        let parts = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        links.extend(parts.map(|(target, _)| target.to_owned()));
    }
    links
}

/// What a heading is linked by, as GitHub makes it.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = lines(text)
        .filter(|(line, within_code)| !within_code && line.starts_with('#'))
        .map(|(line, _)| line.trim_start_matches('#').trim());
    headings
        .map(|heading| {
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_');
            kept.collect::<String>().to_lowercase().replace(' ', "-")
        })
        .collect()
}

#[test]
fn every_relative_link_leads_somewhere() {
    let root = root();
    let mut followed = 0;
    for page in pages() {
        let text = read(&page.display().to_string());
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = link.split_once('#').map_or((link.as_str(), None), |(f, a)| (f, Some(a)));
            let target =
                if file.is_empty() { root.join(&page) } else { root.join(page.parent().unwrap()).join(file) };
            assert!(target.exists(), "{}: the link {link} leads nowhere", page.display());
            if let Some(anchor) = anchor {
                let there = anchors(&std::fs::read_to_string(&target).unwrap());
                assert!(
                    there.contains(anchor),
                    "{}: {link}: there is no such heading among {there:?}",
                    page.display()
                );
            }
            followed += 1;
        }
    }
    assert!(followed > 20, "only {followed} links were found");
}

/// The rows of tables whose first cell is a number.
/// Where a path in a page may begin: at the project, or where the reader has just been led.
const FOLDERS: [&str; 4] = ["", "shared", "shared/test", "shared/aws"];

/// The paths of the project that a page names in passing, in `code`.
fn named_paths(text: &str) -> Vec<String> {
    let prose =
        lines(text).filter(|(_, fenced)| !fenced).map(|(line, _)| line).collect::<Vec<_>>().join("\n");
    let code = prose.split('`').skip(1).step_by(2);
    let is_path = |word: &&str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/_-.".contains(c);
        let ours = [
            "shared/",
            "functions/",
            "sandbox/",
            "tests/",
            "cli/",
            "xtask/",
            "events/",
            "examples/",
            "docs/",
        ];
        word.chars().all(plain)
            && word.contains('/')
            && (word.ends_with(".rs") || ours.iter().any(|folder| word.starts_with(folder)))
    };
    code.filter(is_path).map(ToOwned::to_owned).collect()
}

#[test]
fn every_path_of_the_project_that_is_named_exists() {
    let exists = |path: &str| FOLDERS.iter().any(|folder| root().join(folder).join(path).exists());
    let mut seen = 0;
    for page in pages() {
        for path in named_paths(&read(page.to_str().unwrap())) {
            seen += 1;
            // A file of the core is named by its place in it.
            let found = exists(&path) || exists(&format!("core/src/{path}"));
            assert!(found, "{}: there is no {path}", page.display());
        }
    }
    assert!(seen > 40, "only {seen} paths were found");
    assert_eq!(named_paths("`core/src/plan.rs` and `a/b` and\n```\n`cli/x`\n```\n"), ["core/src/plan.rs"]);
}

fn numbered_rows(text: &str) -> Vec<&str> {
    let rows = text.lines().filter(|line| {
        let first = line.strip_prefix("| ").and_then(|line| line.split(' ').next());
        first.is_some_and(|cell| cell.parse::<u8>().is_ok())
    });
    rows.collect()
}

#[test]
fn the_exit_codes_are_the_same_everywhere() {
    let (readme, reference, code) = (read("README.md"), read("docs/cli.md"), read("cli/src/exit.rs"));
    let rows = numbered_rows(&reference);
    assert_eq!(numbered_rows(&readme), rows, "README.md and docs/cli.md have the same table");
    let told: BTreeSet<u8> = rows.iter().map(|row| row.split(' ').nth(1).unwrap().parse().unwrap()).collect();
    // `Self::RolledBack => 3,`
    let given: BTreeSet<u8> = code
        .lines()
        .filter_map(|line| {
            line.trim().strip_prefix("Self::")?.split_once(" => ")?.1.strip_suffix(',')?.parse().ok()
        })
        .collect();
    assert!(given.len() > 2, "the codes were not found in cli/src/exit.rs");
    assert_eq!(told, given, "the tables tell of the codes the command line gives");
}

#[test]
fn the_time_limits_told_are_those_that_hold() {
    let page = read("docs/ARCHITECTURE.md");
    let limits =
        [("LEASE", LEASE), ("CALL_LIMIT", CALL_LIMIT), ("SETTLE", SETTLE), ("RETRY_AFTER", RETRY_AFTER)];
    for (name, limit) in limits {
        let row = format!("| `{name}` | {} s |", limit.as_secs());
        assert!(page.contains(&row), "docs/ARCHITECTURE.md does not say {row:?}");
    }
}

#[test]
fn the_list_of_decisions_is_complete() {
    let list = read("docs/decisions/README.md");
    let mut numbers = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("docs/decisions")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name == "README.md" {
            continue;
        }
        assert!(list.contains(&format!("]({name})")), "docs/decisions/README.md does not list {name}");
        assert!(numbers.insert(name[..4].parse::<u32>().unwrap()), "two decisions have the number of {name}");
        let text = read(&format!("docs/decisions/{name}"));
        for part in ["## Context", "## Decision", "## Consequences"] {
            assert!(text.contains(part), "{name} has no part {part:?}");
        }
    }
    assert!(!numbers.is_empty());
}

/// The words in a text that begin with the name of the stack, as it is called everywhere in the documentation.
fn resources(text: &str) -> BTreeSet<String> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let words = text.split(|c: char| !part(c)).filter(|word| word.starts_with("tidegate-"));
    words.map(ToOwned::to_owned).collect()
}

#[test]
fn resources_of_the_stack_are_called_what_the_template_calls_them() {
    let template = read("template.yaml").replace("${AWS::StackName}-", "tidegate-");
    let made = resources(&template);
    assert!(made.contains("tidegate-ledger"), "the template's names were not found: {made:?}");
    // What a person is told to make besides, and the command line as it is published.
    let theirs = ["tidegate-ledger-restored", "tidegate-linux-x86_64"];
    let mut seen = 0;
    for page in ["README.md", "docs/operations.md", "examples/github-actions/permissions.json"] {
        for name in resources(&read(page)) {
            seen += 1;
            let known = made.contains(&name) || theirs.contains(&name.as_str());
            assert!(known, "{page}: the stack has nothing called {name}; it has {made:?}");
        }
    }
    assert!(seen > 8, "only {seen} names were found");
}

#[test]
fn the_changelog_tells_of_the_version_that_is_built() {
    let manifest = read("Cargo.toml");
    let version =
        manifest.lines().find_map(|line| line.strip_prefix("version = ")).unwrap().trim_matches('"');
    let changelog = read("CHANGELOG.md");
    let newest = changelog.lines().find_map(|line| line.strip_prefix("## ")).unwrap();
    let told = newest.split(',').next().unwrap();
    assert_eq!(
        told, version,
        "the newest part of CHANGELOG.md is {newest:?}, Cargo.toml has version {version}"
    );
}
