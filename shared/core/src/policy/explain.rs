//! Mistakes in a policy file, told to whoever wrote it: where, what was found, what is allowed. What is allowed is read from the JSON Schema of
//! the policy, so that it is true for every field there is.

use serde_json::Value;
use serde_saphyr::{Error, UserMessageFormatter};

use super::schema::Schemas;

/// A mistake, told.
#[derive(Debug)]
pub(super) struct Explained {
    pub(super) line: u64,
    pub(super) column: u64,
    pub(super) path: String,
    pub(super) problem: String,
}

/// Whether there is nothing in the file that could be a policy.
pub(super) fn is_blank(text: &str) -> bool {
    text.lines()
        .map(str::trim)
        .all(|line| line.is_empty() || line.starts_with('#') || line == "---" || line == "...")
}

/// Explains an error of the parser, or of a type's own checks; `path` is where it came up.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the parser's errors about types are many, and told alike"
)]
pub(super) fn explain(text: &str, path: &str, error: &Error) -> Explained {
    let error = error.without_snippet();
    let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
    let path = path.trim_end_matches(['?', '.']).to_owned();
    let told = |path: String, problem: String| Explained { line, column, path, problem };
    match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            told(join(parent(&path, field), field), unknown_field(field, expected))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            told(path, unknown_variant(variant, expected))
        }
        Error::SerdeMissingField { field, .. } => {
            let top = path.is_empty();
            let path = join(&path, field);
            let example = Schemas::new().at(&path).example();
            let problem = format!("{path} is missing; add {field}: {example}");
            if top { Explained { line: 1, column: 1, path, problem } } else { told(path, problem) }
        }
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.clone().unwrap_or_else(|| "a field".to_owned());
            told(join(&path, &key), twice(text, &key, line, column))
        }
        Error::MultipleDocuments { .. } => {
            let second = second_document(text).unwrap_or(line);
            let problem = format!("one policy a file; a second one begins in line {second}");
            Explained { line: second, column: 1, path, problem }
        }
        Error::ExternalMessage { .. } | Error::UnknownAnchor { .. } | Error::Eof { .. } => {
            told(path, syntax(text, line, &spoken(error)))
        }
        Error::Message { .. } | Error::SerdeVariantId { .. } => {
            own(text, path, (line, column), &spoken(error))
        }
        _ => told(path.clone(), wrong_type(text, &path, error).unwrap_or_else(|| broken(error))),
    }
}

/// The parser's message for users, without its place: that is said once, in front.
fn spoken(error: &Error) -> String {
    let mut text = error.render_with_formatter(&UserMessageFormatter);
    if let Some(at) = text.find(" at line ") {
        text.truncate(at);
    }
    text
}

/// What our own checks say. What is checked across fields names the field itself, and has no place of its own.
fn own(text: &str, path: String, (mut line, mut column): (u64, u64), problem: &str) -> Explained {
    let mut told = Explained { line, column, path, problem: named_by_arn(problem) };
    let field = problem.split_once(": ").filter(|_| line == 0);
    if let Some((field, rest)) = field {
        let top = field.split(['.', '[']).next().unwrap_or(field);
        let begins =
            |line: &str| line.strip_prefix(top).is_some_and(|rest| rest.trim_start().starts_with(':'));
        if let Some(index) = text.lines().position(begins) {
            (line, column) = (index as u64 + 1, 1);
            told = Explained { line, column, path: field.to_owned(), problem: rest.to_owned() };
        }
    }
    told
}

/// AWS gives ARNs where a policy takes names.
fn named_by_arn(problem: &str) -> String {
    let found = problem.split('"').nth(1).filter(|found| found.starts_with("arn:"));
    match found.and_then(|arn| arn.rsplit(['/', ':']).next()) {
        Some(name)
            if problem.contains(" is not a valid ") && !problem.contains(" ARN:") && !name.is_empty() =>
        {
            format!("{problem}; without the rest of the ARN: {name}")
        }
        _ => problem.to_owned(),
    }
}

fn unknown_field(field: &str, expected: &[&str]) -> String {
    let near = match nearest(field, expected) {
        Some(near) => format!("; did you mean {near}?"),
        None => String::new(),
    };
    if expected.is_empty() {
        return format!("found the field {field}, allowed none: {{}}");
    }
    format!("there is no field {field} here{near} Allowed: {}", expected.join(", ")).replacen(
        "here Allowed",
        "here. Allowed",
        1,
    )
}

fn unknown_variant(variant: &str, expected: &[&str]) -> String {
    let near = nearest(variant, expected).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    format!("found {variant:?}, allowed {}{near}", or(expected))
}

/// `a, b or c`.
pub(super) fn or<T: AsRef<str>>(words: &[T]) -> String {
    match words.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => last.as_ref().to_owned(),
        Some((last, rest)) => {
            let rest: Vec<&str> = rest.iter().map(AsRef::as_ref).collect();
            format!("{} or {}", rest.join(", "), last.as_ref())
        }
    }
}

fn nearest<'a>(found: &str, allowed: &[&'a str]) -> Option<&'a str> {
    let near = allowed.iter().map(|word| (strsim::jaro_winkler(found, word), *word));
    near.filter(|(alike, _)| *alike > 0.8)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, word)| word)
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

/// The path without the field, should it already end with it.
fn parent<'a>(path: &'a str, field: &str) -> &'a str {
    match path.strip_suffix(field) {
        Some("") => "",
        Some(parent) => parent.strip_suffix('.').unwrap_or(path),
        None => path,
    }
}

/// `service stands twice (lines 1 and 9)`: the first is the nearest line before it with the same key, as deep.
fn twice(text: &str, key: &str, line: u64, column: u64) -> String {
    let before = usize::try_from(line).unwrap_or(usize::MAX).saturating_sub(1);
    let indent = usize::try_from(column).unwrap_or(1).saturating_sub(1);
    let is_it = |line: &str| {
        let (spaces, rest) = line.split_at(line.len() - line.trim_start().len());
        let rest = rest.trim_start_matches(['"', '\'']);
        let follows = |rest: &str| rest.trim_start_matches(['"', '\'']).trim_start().starts_with(':');
        spaces.len() == indent && rest.strip_prefix(key).is_some_and(follows)
    };
    match text.lines().take(before).collect::<Vec<_>>().iter().rposition(|line| is_it(line)) {
        Some(first) => format!("{key} stands twice (lines {} and {line}); keep one", first + 1),
        None => format!("{key} stands twice; keep one"),
    }
}

fn second_document(text: &str) -> Option<u64> {
    let mut content = false;
    for (index, line) in text.lines().enumerate() {
        if line == "---" || line.starts_with("--- ") {
            if content {
                return Some(index as u64 + 1);
            }
        } else if !line.trim().is_empty() && !line.starts_with('#') && line != "..." {
            content = true;
        }
    }
    None
}

/// A file that cannot be read far enough to say what was found.
fn broken(error: &Error) -> String {
    let said = spoken(error);
    if said.contains("mapping") {
        "found something else than fields; a field is a name, a colon, a space and a value, on a line of its own".to_owned()
    } else {
        format!("this is not YAML: {said}")
    }
}

/// What is not YAML, with what is meant most often.
fn syntax(text: &str, line: u64, problem: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let at = usize::try_from(line).unwrap_or(0).saturating_sub(1);
    let indented = |line: &&&str| line.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t');
    if problem.contains("tab")
        && let Some(index) =
            (at..lines.len()).chain(0..at).find(|index| lines.get(*index).as_ref().is_some_and(indented))
    {
        return format!("line {} is indented with a tab; use spaces", index + 1);
    }
    let here = lines.get(at).copied().unwrap_or_default();
    let before = lines.get(at.wrapping_sub(1)).copied().unwrap_or_default();
    if let Some(word) = [here, before].into_iter().find_map(|line| unquoted(line, '*')) {
        return format!(
            "found {word} without quotes, which YAML takes for an alias; quote patterns: [\"{word}\"]"
        );
    }
    for sign in ['&', '!', '%', '@', '`'] {
        if let Some(word) = unquoted(here, sign) {
            return format!(
                "found {word} without quotes, which YAML takes for something else; quote it: \"{word}\""
            );
        }
    }
    format!("this is not YAML: {problem}")
}

/// The word that begins with `sign` where a value does.
fn unquoted(line: &str, sign: char) -> Option<&str> {
    line.match_indices(sign).find_map(|(index, _)| {
        let before = &line[..index];
        let text = before.trim_end();
        // `main-*` and `a:*` hold the sign; only after a space do a dash and a colon end before a value.
        let spaced = text.len() < before.len() && text.ends_with([':', '-']);
        let begins = text.is_empty() || text.ends_with(['[', '{', ',']) || spaced;
        let word = &line[index..];
        let end = word.find([',', ']', '}', ' ']).unwrap_or(word.len());
        begins.then(|| word[..end].trim_end())
    })
}

/// `found "canary", allowed { canary: { percent: 10, bake: 5m } }`.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only two of the parser's errors hold what a type expects"
)]
fn wrong_type(text: &str, path: &str, error: &Error) -> Option<String> {
    let said = match error {
        // The types of a policy that say what they expect say it well; serde's own words are about Rust.
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => {
            let of_rust = [
                "struct ",
                "a sequence",
                "a map",
                "a string",
                "a boolean",
                "variant ",
                "field ",
                "u8",
                "u32",
                "enum ",
            ];
            Some(expected.clone()).filter(|said| !of_rust.iter().any(|word| said.starts_with(word)))
        }
        _ => None,
    };
    let file: Value = serde_saphyr::from_str(text).ok()?;
    let found = at(&file, path)?;
    let allowed = said.unwrap_or_else(|| Schemas::new().at(path).allowed(found));
    Some(format!("found {}, allowed {allowed}", shown(found)))
}

fn shown(found: &Value) -> String {
    match found {
        Value::Null => "nothing".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => found.to_string(),
    }
}

/// The value at `strategy.canary.percent` or `approval[1].by`.
fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    segments(path).into_iter().try_fold(value, |value, segment| match segment {
        Segment::Field(name) => value.get(name),
        Segment::Index(index) => value.get(index),
    })
}

/// A step of a path.
pub(super) enum Segment<'a> {
    Field(&'a str),
    Index(usize),
}

pub(super) fn segments(path: &str) -> Vec<Segment<'_>> {
    let mut found = Vec::new();
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let mut pieces = part.split('[');
        found.extend(pieces.next().filter(|name| !name.is_empty()).map(Segment::Field));
        found.extend(pieces.filter_map(|piece| piece.strip_suffix(']')?.parse().ok()).map(Segment::Index));
    }
    found
}
