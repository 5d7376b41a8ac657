//! The JSON Schema of a policy: for editors, and for what an error says is allowed.

use serde_json::Value;

use super::Policy;
use super::explain::{Segment, or, segments};

/// The JSON Schema of a policy file, generated from the types.
pub fn json_schema() -> Value {
    let mut schema = schemars::schema_for!(Policy);
    schema.insert("title".into(), "Tidegate policy".into());
    schema.to_value()
}

/// The whole schema, with its definitions.
pub(super) struct Schemas(Value);

/// The schema of one field.
pub(super) struct Field<'a> {
    root: &'a Value,
    schema: &'a Value,
}

impl Schemas {
    pub(super) fn new() -> Self {
        Self(json_schema())
    }

    /// The schema of the field at a path; of anything where there is none.
    pub(super) fn at(&self, path: &str) -> Field<'_> {
        let root = &self.0;
        let mut schema = root;
        for segment in segments(path) {
            schema = step(root, schema, &segment).unwrap_or(&Value::Null);
        }
        Field { root, schema }
    }
}

/// What the entries of a map are, whose names have a form of their own.
fn entries(schema: &Value) -> Option<&Value> {
    schema.get("patternProperties")?.as_object()?.values().next()
}

fn step<'a>(root: &'a Value, schema: &'a Value, segment: &Segment<'_>) -> Option<&'a Value> {
    let schema = resolved(root, schema);
    let own = match segment {
        Segment::Field(name) => schema
            .get("properties")
            .and_then(|fields| fields.get(name))
            .or_else(|| entries(schema))
            .or_else(|| schema.get("additionalProperties")),
        Segment::Index(_) => schema.get("items"),
    };
    own.or_else(|| schema.get("anyOf")?.as_array()?.iter().find_map(|one| step(root, one, segment)))
}

/// Follows references, and what may also be absent to what it is when it is there.
fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let mut schema = schema;
    loop {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            schema = root.pointer(name.trim_start_matches('#')).unwrap_or(&Value::Null);
            continue;
        }
        let nullable = schema.get("anyOf").and_then(Value::as_array).filter(|among| {
            among.len() == 2 && among.iter().any(|one| one.get("type") == Some(&Value::from("null")))
        });
        match nullable.and_then(|among| among.first()) {
            Some(one) => schema = one,
            None => return schema,
        }
    }
}

impl Field<'_> {
    /// What is allowed instead of `found`.
    pub(super) fn allowed(&self, found: &Value) -> String {
        let schema = resolved(self.root, self.schema);
        if let Some(words) = words(schema) {
            return or(&words);
        }
        match kind(schema) {
            "array" => {
                let items = schema.get("items").map(|items| resolved(self.root, items));
                // What was meant to be the only entry.
                let entry = (found.is_string() || found.is_number())
                    && items.is_some_and(|items| kind(items) == "string");
                if entry { format!("a list: [{found}]") } else { format!("a list: {}", self.example()) }
            }
            "boolean" => "true or false".to_owned(),
            "integer" | "number" => match (schema.get("minimum"), schema.get("maximum")) {
                (Some(minimum), Some(maximum)) => format!("a number from {minimum} to {maximum}"),
                (_, _) => "a number".to_owned(),
            },
            "string" => {
                match schema.get("examples").and_then(|examples| examples.get(0)).and_then(Value::as_str) {
                    Some(example) => format!("text such as {example}"),
                    None => "text".to_owned(),
                }
            }
            _ => self.example(),
        }
    }

    /// The field as it could be written.
    pub(super) fn example(&self) -> String {
        example(self.root, self.schema)
    }
}

fn kind(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        // `["string", "null"]`
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str).unwrap_or_default(),
        _ => "",
    }
}

/// The words of an enumeration.
fn words(schema: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return words.iter().map(text).collect();
    }
    let among = schema.get("oneOf")?.as_array()?;
    among.iter().map(|one| one.get("const").and_then(text)).collect()
}

fn example(root: &Value, schema: &Value) -> String {
    let schema = resolved(root, schema);
    if let Some(example) = schema.get("examples").and_then(|examples| examples.get(0)) {
        return example.as_str().map_or_else(|| example.to_string(), str::to_owned);
    }
    if let Some(word) = words(schema).and_then(|words| words.into_iter().next()) {
        return word;
    }
    match kind(schema) {
        "array" => {
            format!("[{}]", schema.get("items").map_or_else(|| "…".to_owned(), |items| example(root, items)))
        }
        "boolean" => "true".to_owned(),
        "object" => object(root, schema),
        _ => match schema.get("anyOf").and_then(|among| among.get(0)) {
            Some(first) => example(root, first),
            None => "…".to_owned(),
        },
    }
}

/// The required fields, with those of the first alternative where there are several; the first two where none is required.
fn object(root: &Value, schema: &Value) -> String {
    let names = |list: Option<&Value>| -> Vec<String> {
        let list = list.and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|name| name.as_str().map(str::to_owned)).collect()
    };
    let mut wanted = names(schema.get("required"));
    wanted.extend(names(schema.pointer("/oneOf/0/required")));
    let fields = schema.get("properties");
    let any = entries(schema).map(|value| ("NAME", value));
    let any =
        any.or_else(|| Some(("…", schema.get("additionalProperties").filter(|value| value.is_object())?)));
    if let (None, Some((name, value))) = (fields, any) {
        return format!("{{ {name}: {} }}", example(root, value));
    }
    if wanted.is_empty() {
        wanted = fields
            .and_then(Value::as_object)
            .map(|all| all.keys().take(2).cloned().collect())
            .unwrap_or_default();
    }
    let shown: Vec<String> = wanted
        .iter()
        .filter_map(|name| Some(format!("{name}: {}", example(root, fields?.get(name)?))))
        .collect();
    if shown.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", shown.join(", ")) }
}
