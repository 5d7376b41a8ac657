//! What a build does. A real build runs a buildspec's commands in a container; here the buildspec, or else the project's
//! description, is a JSON object that says how long the build takes, how it ends and what it leaves behind. Any other
//! buildspec succeeds at once and leaves nothing.
//!
//! Texts may name the build's environment variables as `${NAME}`: a build's results then depend on how it was started.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::batch::Spec;
use super::build::Phase;
use super::course::Status;

/// The script of a build.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Script {
    /// How long it takes altogether.
    pub(super) secs: f64,
    /// How it ends, if nothing it does fails before.
    pub(super) status: Status,
    /// The phase in which it ends when it does not succeed.
    pub(super) failed_phase: Phase,
    /// Exported environment variables.
    pub(super) exported: BTreeMap<String, String>,
    /// The resolved source version; the source version it was started with when not given.
    pub(super) revision: Option<String>,
    /// Files for S3.
    pub(super) artifact: Option<Artifact>,
    /// A request the build makes: it fails when the answer is not as expected.
    pub(super) http_check: Option<HttpCheck>,
    /// What a batch build of it builds; a plain build passes it by.
    pub(super) batch: Option<Spec>,
}

/// Files a build leaves in S3; bucket and key are those of the project's artifacts when not given.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Artifact {
    pub(super) bucket: Option<String>,
    pub(super) key: Option<String>,
    /// File name to content; what is not a text is written as JSON.
    pub(super) files: BTreeMap<String, Value>,
}

/// A real HTTP check, for builds that verify a candidate.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpCheck {
    /// Where to; usually `${SOME_VARIABLE}`.
    pub(super) url: String,
    /// Request headers.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    /// The answer's `x-version`.
    #[serde(default)]
    pub(super) expect_version: Option<String>,
    /// A text in the answer's body.
    #[serde(default)]
    pub(super) expect_body: Option<String>,
    /// The answer's status.
    #[serde(default = "ok")]
    pub(super) expect_status: u16,
    /// How many requests are made; each has to be answered as expected.
    #[serde(default = "one")]
    pub(super) requests: u32,
}

fn ok() -> u16 {
    200
}

fn one() -> u32 {
    1
}

impl Default for Script {
    fn default() -> Self {
        Self {
            secs: 0.0,
            status: Status::Succeeded,
            failed_phase: Phase::Build,
            exported: BTreeMap::new(),
            revision: None,
            artifact: None,
            http_check: None,
            batch: None,
        }
    }
}

impl Script {
    /// Reads the script out of a buildspec or a description, whichever begins with a brace.
    ///
    /// # Errors
    /// A JSON object that is not a script: the build must not pretend that it ran.
    pub(super) fn of(buildspec: &str, description: &str) -> Result<Self, String> {
        let Some(text) = [buildspec, description].into_iter().find(|text| text.trim_start().starts_with('{'))
        else {
            return Ok(Self::default());
        };
        let script: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if !(0.0..=86_400.0).contains(&script.secs) {
            return Err(format!("secs is {}, expected 0 to 86400", script.secs));
        }
        if script.status == Status::InProgress {
            return Err("status is IN_PROGRESS, expected a final one".to_owned());
        }
        Ok(script)
    }
}

/// Replaces each `${NAME}`; unknown names become nothing, as in a shell.
pub(super) fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        match after.split_once('}') {
            Some((name, after)) => {
                out.push_str(variables.get(name).map_or("", String::as_str));
                rest = after;
            }
            None => {
                out.push_str("${");
                rest = after;
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_script_is_read_from_buildspec_or_description() {
        let spec = r#"{"secs": 2, "status": "FAILED", "exported": {"IMAGE_URI": "${REPO}@sha256:1"}}"#;
        let script = Script::of(spec, "").unwrap();
        assert_eq!((script.secs, script.status), (2.0, Status::Failed));
        assert_eq!(Script::of("version: 0.2", spec).unwrap(), script);
        assert_eq!(Script::of("version: 0.2", "builds the shop").unwrap(), Script::default());
        for wrong in [r#"{"sec": 2}"#, r#"{"secs": -1}"#, r#"{"status": "IN_PROGRESS"}"#] {
            assert!(Script::of(wrong, "").is_err(), "{wrong}");
        }
        let files = json!({"artifact": {"files": {"imageDetail.json": {"ImageURI": "x"}}}}).to_string();
        assert_eq!(Script::of(&files, "").unwrap().artifact.unwrap().files.len(), 1);
    }

    #[test]
    fn variables_are_expanded() {
        let variables = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        assert_eq!(expand("${A}-${B}-$A ${A", &variables), "1--$A ${A");
    }
}
