//! One way to decode JSON, so that every refusal names the path of the field.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Where in a document decoding stopped, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The path of the field, `.` for the whole document.
    pub(crate) path: String,
    /// What was found and what is allowed.
    pub(crate) problem: String,
}

/// Decodes a whole document; anything but white space after it is an error.
pub(crate) fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Place> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| place("", error))?;
    json.end().map_err(|error| Place { path: ".".into(), problem: error.to_string() })?;
    Ok(value)
}

/// Decodes a part of a document that is found at `at`.
pub(crate) fn from_value<T: DeserializeOwned>(at: &str, value: &Value) -> Result<T, Place> {
    serde_path_to_error::deserialize(value).map_err(|error| place(at, error))
}

fn place(at: &str, error: serde_path_to_error::Error<serde_json::Error>) -> Place {
    let path = error.path().to_string();
    let path = match (at, path.as_str()) {
        ("", path) => path.to_owned(),
        (at, ".") => at.to_owned(),
        (at, path) => format!("{at}.{path}"),
    };
    Place { path, problem: error.into_inner().to_string() }
}
