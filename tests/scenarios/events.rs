//! Every sample in `events/` is read, so that samples cannot rot; and every one is broken in every place, so that nothing that
//! arrives broken can be taken for something it is not.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, its helpers too, and on whatever else it finds"
)]

use std::collections::BTreeSet;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_core::ids::{AccountId, Region};
use tidegate_wire::alarm::AlarmInvocation;
use tidegate_wire::ecs_hook::HookInvocation;
use tidegate_wire::{Envelope, Event, EventError, Origins, parse_event};

#[path = "events/expected.rs"]
mod expected;
#[path = "events/meaning.rs"]
mod meaning;

use expected::{EXPECTED, Expected, Way};

/// What was read, without the parts nothing looks at.
#[derive(Debug, PartialEq)]
enum Read {
    Event(Box<(Envelope, Event)>),
    AlarmAction(Box<AlarmInvocation>),
    LifecycleHook(Box<HookInvocation>),
}

impl Read {
    fn event((mut envelope, event): (Envelope, Event)) -> Self {
        envelope.detail = Value::Null;
        envelope.resources.clear();
        Self::Event(Box::new((envelope, event)))
    }

    fn line(&self) -> String {
        match self {
            Self::Event(read) => read.1.to_string(),
            Self::AlarmAction(read) => {
                format!("action of alarm {} in {}", read.change.name, read.change.state.value.as_str())
            }
            Self::LifecycleHook(read) => {
                let back = if read.is_rollback() { ", rolling back" } else { "" };
                format!("hook at {} of {}{back}", read.stage, read.deployment.short())
            }
        }
    }
}

fn installation() -> Origins {
    Origins::home(AccountId::new("111122223333").unwrap(), Region::new("eu-central-1").unwrap())
}

fn read(way: Way, bytes: &[u8]) -> Result<Read, EventError> {
    match way {
        Way::Event => parse_event(bytes, &installation()).map(Read::event),
        Way::AlarmAction => {
            AlarmInvocation::parse(bytes, &installation()).map(|read| Read::AlarmAction(Box::new(read)))
        }
        Way::LifecycleHook => {
            HookInvocation::parse(bytes, &installation()).map(|read| Read::LifecycleHook(Box::new(read)))
        }
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../events")
}

fn sample(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(format!("{name}.json"))).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The samples that are read, with what they are read as.
fn good() -> impl Iterator<Item = (&'static str, Way, Value, Read)> {
    EXPECTED.iter().filter(|(.., expected)| matches!(expected, Expected::Reads(_))).map(|(name, way, _)| {
        let bytes = sample(name);
        let read = read(*way, &bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        (*name, *way, serde_json::from_slice(&bytes).unwrap(), read)
    })
}

#[test]
fn every_sample_is_expected_and_in_the_index() {
    let there: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
        .collect();
    let expected: BTreeSet<String> = EXPECTED.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(there, expected, "files in events/ and their expectations differ");

    let index = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let missing: Vec<_> = there.iter().filter(|name| !index.contains(&format!("| `{name}` |"))).collect();
    assert!(missing.is_empty(), "not in events/README.md: {missing:?}");
}

#[test]
fn every_sample_reads_as_expected() {
    let mut wrong = String::new();
    for (name, way, expected) in EXPECTED {
        let found = read(*way, &sample(name)).map(|read| read.line()).map_err(|error| error.to_string());
        let right = match (expected, &found) {
            (Expected::Reads(line), Ok(found)) => line == found,
            (Expected::Refused(error), Err(found)) => error == found,
            (Expected::Reads(_), Err(_)) | (Expected::Refused(_), Ok(_)) => false,
        };
        if !right {
            wrong.push_str(&format!("{name}:\n  expected {expected:?}\n  found    {found:?}\n"));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn every_truncation_of_every_sample_is_refused() {
    for (name, way, _) in EXPECTED {
        let bytes = sample(name);
        let bytes = bytes.trim_ascii_end();
        for end in 0..bytes.len() {
            let error = read(*way, &bytes[..end]).expect_err(name);
            assert!(matches!(error, EventError::Malformed { .. }), "{name} cut at {end}: {error}");
        }
    }
}

/// Fields that inform and never refuse: whatever is in them, the event is heard.
const LENIENT: &[&str] = &["reasonData", "hookDetails"];

#[test]
fn a_field_of_a_wrong_type_is_refused_by_its_path_or_not_used_at_all() {
    let odd = [Value::Null, json!(true), json!(7.25), json!("odd"), json!(["odd"]), json!({"odd": 1})];
    for (name, way, value, original) in good() {
        for pointer in pointers(&value) {
            let there = value.pointer(&pointer).unwrap();
            for odd in odd.iter().filter(|odd| kind(odd) != kind(there)) {
                let mut broken = value.clone();
                *broken.pointer_mut(&pointer).unwrap() = odd.clone();
                let context = || format!("{name}: {} = {odd}", path(&pointer));
                match read_both(way, &broken) {
                    Err(error) => {
                        let EventError::Malformed { path: found, problem, .. } = &error else {
                            panic!("{}: {error}", context());
                        };
                        assert_eq!(*found, path(&pointer), "{}: {error}", context());
                        assert!(problem.contains("expected") || problem.contains("allowed"), "{error}");
                        assert!(error.to_string().contains(&path(&pointer)), "{error}");
                    }
                    // Null is a field left out.
                    Ok(read) if read != original && !odd.is_null() => {
                        let lenient =
                            LENIENT.iter().any(|field| pointer.split('/').any(|part| part == *field));
                        assert!(lenient, "{} changed the event to {read:?}", context());
                    }
                    Ok(_) => {}
                }
            }
        }
    }
}

#[test]
fn a_missing_field_is_refused_by_its_name_or_not_needed() {
    let mut needed = BTreeSet::new();
    for (name, way, value, _) in good() {
        for pointer in pointers(&value) {
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            let field = unescape(field);
            let mut broken = value.clone();
            let Some(object) = broken.pointer_mut(parent).and_then(Value::as_object_mut) else { continue };
            object.remove(&field);
            if let Err(error) = read_both(way, &broken) {
                let text = error.to_string();
                assert!(
                    text.contains(&format!("missing field `{field}`")),
                    "{name} without {pointer}: {text}"
                );
                assert!(
                    parent.is_empty() || text.contains(&path(parent)),
                    "{name} without {pointer}: {text}"
                );
                needed.insert(path(&pointer));
            }
        }
    }
    for field in ["account", "region", "source", "detail", "detail.image-digest", "detail.state.value"] {
        assert!(needed.contains(field), "{field} is needed");
    }
}

#[test]
fn a_list_of_values_is_not_taken_for_an_event() {
    for (name, way, value, _) in good() {
        let values = Value::Array(value.as_object().unwrap().values().cloned().collect());
        let error = read_both(way, &values).expect_err(name);
        assert!(error.to_string().contains("expected a JSON object"), "{name}: {error}");
    }
}

/// Objects whose keys are names, not fields: a key more is a thing more.
const MAPS: &[&str] =
    &["finding-severity-counts", "testTrafficWeights", "productionTrafficWeights", "hookDetails"];

#[test]
fn unknown_fields_change_nothing() {
    for (name, way, value, original) in good() {
        for pointer in pointers(&value).into_iter().chain([String::new()]) {
            if MAPS.iter().any(|map| pointer.ends_with(map)) {
                continue;
            }
            let mut more = value.clone();
            let Some(object) = more.pointer_mut(&pointer).and_then(Value::as_object_mut) else { continue };
            object.insert("zz-added-later".into(), json!({"deep": [1, null, "text", {"er": 2.5}]}));
            assert_eq!(read_both(way, &more).as_ref(), Ok(&original), "{name}: {}", path(&pointer));
        }
    }
}

/// The fields AWS lists values for, by the last part of their path.
const ENUMERATIONS: &[&str] = &[
    "detail/action-type",
    "detail/result",
    "detail/scan-status",
    "detail/severity",
    "detail/status",
    "state/value",
    "previousState/value",
    "actionsSuppressedBy",
    "eventType",
    "eventName",
    "hookType",
    "lifecycleStage",
    "lastStatus",
    "desiredStatus",
    "stopCode",
    "build-status",
    "detail/state",
    "detail/reason",
];

#[test]
fn unknown_values_of_enumerations_are_accepted_and_kept() {
    let mut tried = BTreeSet::new();
    for (name, way, value, _) in good() {
        for pointer in pointers(&value) {
            let Some(field) = ENUMERATIONS.iter().find(|field| pointer.ends_with(*field)) else { continue };
            if !value.pointer(&pointer).unwrap().is_string() {
                continue;
            }
            tried.insert(*field);
            let mut newer = value.clone();
            *newer.pointer_mut(&pointer).unwrap() = json!("ADDED_LATER");
            let read = read_both(way, &newer).unwrap_or_else(|error| panic!("{name}: {error}"));
            let used = !matches!(&read, Read::Event(read) if matches!(read.1, Event::Ignored { .. }));
            assert!(!used || format!("{read:?}").contains("ADDED_LATER"), "{name}: {pointer} was lost");
        }
    }
    assert_eq!(tried.len(), ENUMERATIONS.len(), "no sample has one of {ENUMERATIONS:?}");
}

proptest! {
    /// Bytes changed on the way are read or refused; neither panics, and what is read is from home.
    #[test]
    fn damaged_bytes_never_panic(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (name, way, _) = EXPECTED[which.index(EXPECTED.len())];
        let mut bytes = sample(name);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(Read::Event(read)) = read(way, &bytes) {
            prop_assert_eq!(read.0.account.as_str(), "111122223333");
            prop_assert_eq!(read.0.region.as_str(), "eu-central-1");
        }
    }

    /// Nothing that is not an event is taken for one.
    #[test]
    fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for way in [Way::Event, Way::AlarmAction, Way::LifecycleHook] {
            prop_assert!(read(way, &bytes).is_err());
        }
    }

    /// Whatever follows the event makes it something else than an event.
    #[test]
    fn what_follows_an_event_is_refused(which in any::<prop::sample::Index>(), more in "[^ \t\r\n]{1,8}") {
        let (name, way, _) = EXPECTED[which.index(EXPECTED.len())];
        let mut bytes = sample(name);
        bytes.extend_from_slice(more.as_bytes());
        prop_assert!(read(way, &bytes).is_err());
    }
}

/// Reads the JSON as bytes and, where there is that way, as a parsed value; both must agree but for line and column.
fn read_both(way: Way, value: &Value) -> Result<Read, EventError> {
    let from_bytes = read(way, value.to_string().as_bytes());
    if way == Way::Event {
        let from_value = Event::from_value(value, &installation()).map(Read::event);
        match (&from_bytes, &from_value) {
            (Ok(bytes), Ok(value)) => assert_eq!(bytes, value),
            (Err(EventError::Malformed { path: a, .. }), Err(EventError::Malformed { path: b, .. })) => {
                assert_eq!(a, b);
            }
            (Err(a), Err(b)) => assert_eq!(a, b),
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => panic!("{from_bytes:?} but {from_value:?}"),
        }
    }
    from_bytes
}

/// The JSON pointers of everything below the root.
fn pointers(value: &Value) -> Vec<String> {
    fn walk(value: &Value, at: &str, found: &mut Vec<String>) {
        let children: Vec<(String, &Value)> = match value {
            Value::Object(fields) => fields
                .iter()
                .map(|(name, child)| (name.replace('~', "~0").replace('/', "~1"), child))
                .collect(),
            Value::Array(items) => {
                items.iter().enumerate().map(|(i, child)| (i.to_string(), child)).collect()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
        };
        for (name, child) in children {
            let pointer = format!("{at}/{name}");
            found.push(pointer.clone());
            walk(child, &pointer, found);
        }
    }
    let mut found = Vec::new();
    walk(value, "", &mut found);
    found
}

/// `/detail/containers/0/name` as errors write it: `detail.containers[0].name`.
fn path(pointer: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').skip(1) {
        match part.parse::<usize>() {
            Ok(index) => path.push_str(&format!("[{index}]")),
            Err(_) if path.is_empty() => path = unescape(part),
            Err(_) => path.push_str(&format!(".{}", unescape(part))),
        }
    }
    path
}

fn unescape(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
