//! `check-layers`: who may import whom, and who may speak of what. The crates of `shared/` lie in layers, and the modules of tidegate-core below
//! each other: a change in one place never has to be understood in a circle. What is the same wherever a release goes says nothing of AWS.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::workspace::Workspace;

/// Layers from the bottom: a crate imports only crates of layers below its own. What stands in no layer is an adapter of one AWS service.
const BELOW_ADAPTERS: &[&[&str]] =
    &[&["tidegate-stats"], &["tidegate-core"], &["tidegate-aws", "tidegate-view", "tidegate-wire"]];
/// Above the adapters.
const ABOVE_ADAPTERS: &[&[&str]] = &[
    &["tidegate-pages", "tidegate-runtime"],
    &["tidegate-replay", "tidegate-start", "tidegate-testkit"],
    &["tidegate-assembly"],
];

/// The frame and what is shown of it: the same wherever a release goes, so that an engine can be added without a look at them.
const WITHOUT_AWS: &[&str] =
    &["shared/core/src/decide", "shared/core/src/turn.rs", "shared/stats/src", "shared/view/src"];
/// AWS's words, in singular and lower case, with what the frame says instead. What an engine or an adapter has to say is said there.
const WORDS_OF_AWS: &[(&str, &str)] = &[
    ("alb", "load balancer"),
    ("amazon", "the target"),
    ("arn", "name"),
    ("aws", "the target"),
    ("cloudformation", "engine"),
    ("cloudwatch", "alarm, metric"),
    ("cluster", "target"),
    ("codebuild", "build"),
    ("codepipeline", "pipeline"),
    ("dynamodb", "ledger"),
    ("ecr", "registry"),
    ("ecs", "target, engine"),
    ("elb", "load balancer"),
    ("eventbridge", "event"),
    ("fargate", "target"),
    ("hook", "pause"),
    ("lambda", "function, engine"),
    ("listener", "traffic"),
    ("nlb", "load balancer"),
    ("service revision", "version"),
    ("sns", "topic"),
    ("sqs", "queue"),
    ("target group", "candidate, stable"),
    ("task definition", "version"),
];

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
    for (name, Crate { imports, .. }) in &crates {
        for import in imports.iter().filter(|import| rank(import) >= rank(name)) {
            broken.push(format!("{name} imports {import}, which is not below it"));
        }
    }
    let functions = self::crates(&root.join("functions"))?;
    for (name, Crate { folder, imports }) in crates.iter().chain(&functions) {
        let sources: String = sources(&folder.join("src"))?.into_iter().map(|(_, text)| text).collect();
        broken.extend(unnamed(&sources, imports).map(|import| {
            format!("{name} is built with {import} and does not name it: take it out of its Cargo.toml")
        }));
    }
    let modules = modules(&root.join("shared/core/src"))?;
    ensure!(modules.contains_key("decide"), "no modules were found in tidegate-core");
    broken.extend(circle(&modules).map(|circle| {
        format!("modules of tidegate-core import each other in a circle: {}", circle.join(" → "))
    }));
    for place in WITHOUT_AWS {
        for (path, text) in sources(&root.join(place))? {
            let path = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            broken.extend(spoken_of(&text).into_iter().map(|Spoken { line, word, instead }| {
                format!("{path}:{line} says {word:?}, which only engines and adapters do; say {instead}")
            }));
        }
    }
    Ok(broken)
}

/// The Rust files at or below a path.
fn sources(path: &Path) -> Result<Vec<(PathBuf, String)>> {
    if !path.is_dir() {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
        return Ok(vec![(path.to_owned(), text)]);
    }
    let mut found = Vec::new();
    let entries = std::fs::read_dir(path).with_context(|| format!("failed to read {}", path.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() || path.extension().is_some_and(|extension| extension == "rs") {
            found.extend(sources(&path)?);
        }
    }
    Ok(found)
}

/// A word of AWS where it does not belong.
#[derive(Debug, PartialEq, Eq)]
struct Spoken {
    line: usize,
    word: &'static str,
    instead: &'static str,
}

/// The words of AWS in code, comments and strings: by themselves, and as parts of names.
fn spoken_of(text: &str) -> Vec<Spoken> {
    let mut spoken = Vec::new();
    for (line, words) in text.lines().map(words).enumerate() {
        for (word, instead) in WORDS_OF_AWS {
            // `CloudWatch` is two words, `cloudwatch` is one.
            let whole = word.replace(' ', "");
            if (1..=2).any(|parts| words.windows(parts).any(|found| found.concat() == whole)) {
                spoken.push(Spoken { line: line + 1, word, instead });
            }
        }
    }
    spoken
}

/// What a line is made of, in lower case and without the plural's s: `TaskDefinitionArns`, `task_definition` and "task definitions" all begin
/// with the words task and definition.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for letter in line.chars() {
        let begins = letter.is_uppercase() && !before.is_uppercase();
        if !letter.is_alphanumeric() || begins {
            words.push(String::new());
        }
        if letter.is_alphanumeric() {
            words.last_mut().expect("there is one").extend(letter.to_lowercase());
        }
        before = letter;
    }
    let singular = |word: String| match word.as_str() {
        "aws" | "ecs" | "sns" | "sqs" => word,
        _ => word.strip_suffix('s').map(ToOwned::to_owned).unwrap_or(word),
    };
    words.into_iter().filter(|word| !word.is_empty()).map(singular).collect()
}

fn rank(name: &str) -> usize {
    let at = |layers: &[&[&str]]| layers.iter().position(|layer| layer.contains(&name));
    at(BELOW_ADAPTERS)
        .or_else(|| at(ABOVE_ADAPTERS).map(|above| BELOW_ADAPTERS.len() + 1 + above))
        .unwrap_or(BELOW_ADAPTERS.len())
}

/// What a crate is built from that it has no word of. A function is built from the adapters it uses, and no others.
fn unnamed<'a>(sources: &str, imports: &'a [String]) -> impl Iterator<Item = &'a String> {
    imports.iter().filter(move |import| !sources.contains(&import.replace('-', "_")))
}

/// A crate of ours.
struct Crate {
    folder: PathBuf,
    /// Those of ours it is built from; what only its tests use does not count.
    imports: Vec<String>,
}

/// The crates below a folder.
fn crates(folder: &Path) -> Result<BTreeMap<String, Crate>> {
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
        found.insert(name, Crate { folder: path, imports });
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
    fn words_of_aws_are_found_in_code_comments_and_strings() {
        let found = |text: &str| spoken_of(text).iter().map(|it| it.word).collect::<Vec<_>>().join(", ");
        assert_eq!(found("/// Amazon ECS tells no weights."), "amazon, ecs");
        assert_eq!(found("use crate::ids::TaskDefinitionArn;"), "arn, task definition");
        assert_eq!(found("let task_definitions = seen.ecs.service;"), "ecs, task definition");
        assert_eq!(found("wait(\"the target groups' listeners\")"), "listener, target group");
        assert_eq!(found("Setup::EcsNative(setup) => setup.hooks.len()"), "ecs, hook");
        assert_eq!(found("person.person.sns"), "sns");
        assert_eq!(found("the alarms of AWS; a Lambda; every cluster"), "aws, cluster, lambda");
        let told = spoken_of("fn shown() {}\n// As CloudWatch has it.\n");
        assert_eq!(told, [Spoken { line: 2, word: "cloudwatch", instead: "alarm, metric" }]);
    }

    #[test]
    fn the_frames_own_words_are_not_taken_for_them() {
        let own = [
            "/// The target's owner names it, and a group of tasks is seen.",
            "let definition = task(target, revision);",
            "warning learnt second hooked records unclear",
            "pub(super) fn traffic(&self, share: Percent) -> Traffic;",
        ];
        for line in own {
            assert_eq!(spoken_of(line), [], "{line}");
        }
    }

    #[test]
    fn what_a_crate_is_built_from_in_vain_is_found() {
        let imports = ["tidegate-ecs".to_owned(), "tidegate-ecr".to_owned()];
        let found: Vec<_> = unnamed("use tidegate_ecr::EcrAdapter;", &imports).collect();
        assert_eq!(found, ["tidegate-ecs"]);
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
        assert!(may("tidegate-ecs", "tidegate-aws") && may("tidegate-assembly", "tidegate-start"));
        assert!(!may("tidegate-ecs", "tidegate-dynamodb") && !may("tidegate-core", "tidegate-view"));
        assert!(!may("tidegate-ecs", "tidegate-runtime") && !may("tidegate-view", "tidegate-pages"));
        assert!(may("tidegate-core", "tidegate-stats") && !may("tidegate-stats", "tidegate-core"));
    }
}
