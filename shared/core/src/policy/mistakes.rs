//! Every mistake people make in a policy file, with what they are told: one snapshot, to be read as a whole.

use std::fmt::Write as _;

use super::parse;

const GOOD: &str = r#"service: checkout
from:
  ecr: { repository: shop/checkout, tags: ["main-*"] }
to:
  ecs: { cluster: prod, service: checkout, container: app }
strategy: { canary: { percent: 10, bake: 5m }, bake: 15m }
rollback: { alarms: [checkout-5xx] }
approval: { before: deploy, by: [ann] }
people: { ann: { aws: ["arn:aws:iam::111122223333:role/ann"] } }
"#;

/// 91 of them.
const MANY_ALARMS: &str = concat!(
    "[a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, ",
    "d0, d1, d2, d3, d4, d5, d6, d7, d8, d9, e0, e1, e2, e3, e4, e5, e6, e7, e8, e9, f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, ",
    "g0, g1, g2, g3, g4, g5, g6, g7, g8, g9, h0, h1, h2, h3, h4, h5, h6, h7, h8, h9, i0, i1, i2, i3, i4, i5, i6, i7, i8, i9, j0]",
);

/// What is replaced in the good policy, by what.
const MISTAKES: &[(&str, &str)] = &[
    // A scalar where a list, or a mapping, is meant; and the other way round.
    (r#"["main-*"]"#, r#""main-*""#),
    ("[checkout-5xx]", "checkout-5xx"),
    ("by: [ann]", "by: ann"),
    ("strategy: { canary: { percent: 10, bake: 5m }, bake: 15m }", "strategy: canary"),
    ("canary: { percent: 10, bake: 5m }", "canary: 10"),
    ("canary: { percent: 10, bake: 5m }", "blue_green: true"),
    ("ecs: { cluster: prod, service: checkout, container: app }", "ecs: prod/checkout"),
    ("service: checkout\nfrom", "service: [checkout]\nfrom"),
    ("service: checkout\nfrom", "service:\nfrom"),
    ("rollback: { alarms: [checkout-5xx] }", "rollback: [checkout-5xx]"),
    ("people: { ann: { aws: [\"arn:aws:iam::111122223333:role/ann\"] } }", "people: [ann]"),
    ("percent: 10", "percent: ten"),
    ("percent: 10", "percent: [10]"),
    ("percent: 10", "percent: true"),
    ("bake: 15m", "bake: true"),
    ("before: deploy", "before: [deploy]"),
    // Out of range.
    ("percent: 10", "percent: 101"),
    ("percent: 10", "percent: -1"),
    ("percent: 10", "percent: 100"),
    ("percent: 10", "percent: .nan"),
    ("by: [ann]", "by: [ann], count: 0"),
    ("by: [ann]", "by: [ann], count: 300"),
    ("by: [ann]", "by: [ann], count: -1"),
    ("by: [ann]", "by: [ann], count: two"),
    ("by: [ann]", "by: []"),
    ("by: [ann]", "by: [bob]"),
    ("bake: 5m", "bake: 25h"),
    ("bake: 5m", "bake: 5"),
    ("bake: 5m", "bake: 5 minutes and a bit"),
    ("[checkout-5xx]", MANY_ALARMS),
    // Names.
    ("rollback:", "rollbacks:"),
    ("percent: 10", "per_cent: 10"),
    ("container: app", "containers: app"),
    ("tags:", "tag:"),
    ("rollback:", "completely_different:"),
    ("before: deploy", "before: deployment"),
    ("canary: { percent: 10, bake: 5m }", "blue_green: { bake: 5m }"),
    // What is missing.
    ("from:\n  ecr: { repository: shop/checkout, tags: [\"main-*\"] }\n", ""),
    ("strategy: { canary: { percent: 10, bake: 5m }, bake: 15m }\n", ""),
    (", container: app", ""),
    ("repository: shop/checkout, ", ""),
    ("canary: { percent: 10, bake: 5m }, ", ""),
    // Twice.
    ("rollback:", "service: search\nrollback:"),
    ("container: app", "container: app, cluster: prod"),
    ("  ecs: {", "  ecs: { cluster: a, service: b, container: c }\n  ecs: {"),
    // YAML.
    ("  ecr:", "\tecr:"),
    ("rollback:", "---\nservice: search\nrollback:"),
    (r#"["main-*"]"#, "[*]"),
    (r#"["main-*"]"#, "[main-*, *-rc]"),
    (r#"["main-*"]"#, "[&a]"),
    (r#"["main-*"]"#, "[@main]"),
    (r#"["main-*"]"#, r#"["main-*""#),
    (r#"["main-*"]"#, r#"["main-*]"#),
    ("service: checkout\nfrom", "service checkout\nfrom"),
    ("to:\n", "to: x: y\n"),
    // What could never match.
    ("shop/checkout,", "111122223333.dkr.ecr.eu-central-1.amazonaws.com/shop/checkout,"),
    ("shop/checkout,", "\"shop/checkout:main\","),
    ("shop/checkout,", "https://111122223333.dkr.ecr.eu-central-1.amazonaws.com/shop/checkout,"),
    ("shop/checkout,", "ghcr.io/shop/checkout,"),
    ("shop/checkout,", "Shop/Checkout,"),
    (r#""main-*""#, r#""^main-.*$""#),
    (r#""main-*""#, r#"'^v\d+\.\d+$'"#),
    (r#""main-*""#, r#""(main|dev)-.*""#),
    (r#""main-*""#, r#""shop/checkout:main-*""#),
    (r#""main-*""#, r#""main *""#),
    (r#""main-*""#, r#""v[0-9""#),
    (r#""main-*""#, r#""""#),
    ("[checkout-5xx]", "[\"arn:aws:cloudwatch:eu-central-1:111122223333:alarm:checkout-5xx\"]"),
    ("cluster: prod", "cluster: arn:aws:ecs:eu-central-1:111122223333:cluster/prod"),
    (
        "service: checkout, container",
        "service: arn:aws:ecs:eu-central-1:111122223333:service/prod/checkout, container",
    ),
    ("arn:aws:iam::111122223333:role/ann", "ann@example.com"),
];

fn told(text: &str) -> String {
    match parse("p.yaml", text) {
        Ok(_) => "VALID".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn mistakes_are_told_in_the_words_of_whoever_wrote_the_file() {
    let library =
        ["expected sequence", "expected mapping", "Options", "from_multiple", "struct ", "deserialize", "u8"];
    let mut all = String::new();
    let mut wrong = Vec::new();
    for (good, bad) in MISTAKES {
        assert!(GOOD.contains(good), "{good}");
        let told = told(&GOOD.replacen(good, bad, 1));
        writeln!(all, "{good:?} → {bad:?}\n    {told}").unwrap();
        if told == "VALID" || library.iter().any(|word| told.contains(word)) {
            wrong.push(format!("{bad}: {told}"));
        }
    }
    insta::assert_snapshot!(all);
    assert_eq!(wrong, Vec::<String>::new());
    for empty in ["", "\n\n", "# nothing yet\n", "---\n"] {
        let told = told(empty);
        assert_eq!(told, "p.yaml:1:1: the file is empty", "{empty:?}");
    }
}

#[test]
fn what_windows_writes_is_a_policy_too() {
    assert_eq!(told(GOOD), "VALID");
    assert_eq!(told(&GOOD.replace('\n', "\r\n")), "VALID");
    assert_eq!(told(&format!("\u{feff}{GOOD}")), "VALID");
    assert_eq!(told(&format!("---\n{GOOD}...\n")), "VALID");
}

#[test]
fn an_anchor_is_no_mistake() {
    let text = GOOD.replacen("bake: 5m }", "bake: &bake 5m }", 1).replacen("bake: 15m", "bake: *bake", 1);
    assert_eq!(told(&text), "VALID");
}
