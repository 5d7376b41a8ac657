//! A pipeline as it was declared, checked once: what is run later cannot be wrong in these ways.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use crate::ports::AwsError;

/// The most characters a value of an action's configuration may have.
const CONFIGURATION_VALUE: usize = 1000;

/// A pipeline.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Declaration {
    pub(super) name: String,
    pub(super) role_arn: String,
    /// The artifact store.
    pub(super) bucket: String,
    pub(super) stages: Vec<Stage>,
}

/// A stage.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stage {
    pub(super) name: String,
    pub(super) actions: Vec<Action>,
}

/// An action.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Action {
    pub(super) name: String,
    pub(super) action_type: ActionType,
    pub(super) run_order: u32,
    pub(super) configuration: BTreeMap<String, String>,
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
    pub(super) timeout_minutes: Option<u32>,
    pub(super) role_arn: Option<String>,
    pub(super) kind: Kind,
}

/// `actionTypeId`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct ActionType {
    pub(super) category: String,
    pub(super) owner: String,
    pub(super) provider: String,
    pub(super) version: String,
}

/// What an action does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// Takes an object from S3.
    S3Source { bucket: String, key: String },
    /// Waits for a person.
    Approval,
    /// Invokes a function, which answers with the job's result.
    Lambda { function: String },
    /// Takes its time and ends as its configuration says.
    PassThrough { secs: f64, fails: bool },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPipeline {
    name: String,
    role_arn: String,
    artifact_store: Option<RawStore>,
    stages: Vec<RawStage>,
}

#[derive(Deserialize)]
struct RawStore {
    location: String,
}

#[derive(Deserialize)]
struct RawStage {
    name: String,
    actions: Vec<RawAction>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAction {
    name: String,
    action_type_id: ActionType,
    #[serde(default = "first")]
    run_order: u32,
    #[serde(default)]
    configuration: BTreeMap<String, String>,
    #[serde(default)]
    input_artifacts: Vec<Named>,
    #[serde(default)]
    output_artifacts: Vec<Named>,
    timeout_in_minutes: Option<u32>,
    role_arn: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

fn first() -> u32 {
    1
}

impl Declaration {
    /// Reads the member `pipeline` of a request.
    ///
    /// # Errors
    /// What CodePipeline refuses, with its codes.
    pub(super) fn parse(pipeline: &Value) -> Result<Self, AwsError> {
        let raw: RawPipeline =
            serde_json::from_value(pipeline.clone()).map_err(|error| validation(error.to_string()))?;
        let good = |c: char| c.is_ascii_alphanumeric() || ".@-_".contains(c);
        if !(1..=100).contains(&raw.name.len()) || !raw.name.chars().all(good) {
            return Err(validation(format!("pipeline name {:?} is not valid", raw.name)));
        }
        let store = raw.artifact_store.ok_or_else(|| structure("the pipeline has no artifact store"))?;
        let stages = raw.stages.into_iter().map(stage).collect::<Result<Vec<_>, _>>()?;
        check_structure(&stages)?;
        Ok(Self { name: raw.name, role_arn: raw.role_arn, bucket: store.location, stages })
    }
}

fn stage(raw: RawStage) -> Result<Stage, AwsError> {
    if raw.actions.is_empty() {
        let message = format!("stage {} has no actions", raw.name);
        return Err(AwsError::new("InvalidStageDeclarationException", message));
    }
    let actions = raw.actions.into_iter().map(action).collect::<Result<Vec<_>, _>>()?;
    let names: BTreeSet<&str> = actions.iter().map(|action| action.name.as_str()).collect();
    if names.len() < actions.len() {
        return Err(structure(&format!("stage {} has two actions of one name", raw.name)));
    }
    Ok(Stage { name: raw.name, actions })
}

fn action(raw: RawAction) -> Result<Action, AwsError> {
    if let Some((name, _)) =
        raw.configuration.iter().find(|(_, value)| value.chars().count() > CONFIGURATION_VALUE)
    {
        return Err(wrong(&raw.name, &format!("{name} has more than {CONFIGURATION_VALUE} characters")));
    }
    if raw.timeout_in_minutes.is_some_and(|minutes| !(5..=86_400).contains(&minutes)) {
        return Err(wrong(&raw.name, "timeoutInMinutes has to be 5 to 86400"));
    }
    let kind = kind(&raw)?;
    Ok(Action {
        name: raw.name,
        action_type: raw.action_type_id,
        run_order: raw.run_order,
        configuration: raw.configuration,
        inputs: raw.input_artifacts.into_iter().map(|artifact| artifact.name).collect(),
        outputs: raw.output_artifacts.into_iter().map(|artifact| artifact.name).collect(),
        timeout_minutes: raw.timeout_in_minutes,
        role_arn: raw.role_arn,
        kind,
    })
}

fn kind(raw: &RawAction) -> Result<Kind, AwsError> {
    let needed = |name: &str| {
        let value = raw.configuration.get(name).cloned();
        value.ok_or_else(|| wrong(&raw.name, &format!("the configuration lacks {name}")))
    };
    match (raw.action_type_id.category.as_str(), raw.action_type_id.provider.as_str()) {
        ("Source", "S3") => {
            if raw.output_artifacts.len() != 1 || !raw.input_artifacts.is_empty() {
                return Err(wrong(&raw.name, "an S3 source has one output artifact and no input"));
            }
            Ok(Kind::S3Source { bucket: needed("S3Bucket")?, key: needed("S3ObjectKey")? })
        }
        ("Approval", "Manual") => Ok(Kind::Approval),
        ("Invoke", "Lambda") if raw.input_artifacts.len() > 5 || raw.output_artifacts.len() > 5 => {
            Err(wrong(&raw.name, "a Lambda action has at most 5 input and 5 output artifacts"))
        }
        ("Invoke", "Lambda") => Ok(Kind::Lambda { function: needed("FunctionName")? }),
        ("Build" | "Test" | "Deploy", _) => {
            let secs = raw.configuration.get("Secs").map_or(Ok(0.0), |text| text.parse());
            let secs = secs.ok().filter(|secs| (0.0..=86_400.0).contains(secs));
            let secs = secs.ok_or_else(|| wrong(&raw.name, "Secs is not a number of seconds"))?;
            Ok(Kind::PassThrough {
                secs,
                fails: raw.configuration.get("Result").is_some_and(|text| text == "FAILED"),
            })
        }
        (category, provider) => {
            Err(wrong(&raw.name, &format!("the sandbox knows no {category} action of {provider}")))
        }
    }
}

/// At least two stages; sources in the first and only there; every input made by an earlier action.
fn check_structure(stages: &[Stage]) -> Result<(), AwsError> {
    if stages.len() < 2 {
        return Err(structure("the pipeline has fewer than two stages"));
    }
    let names: BTreeSet<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
    if names.len() < stages.len() {
        return Err(structure("two stages have one name"));
    }
    let mut made = BTreeSet::new();
    for (number, stage) in stages.iter().enumerate() {
        let mut actions: Vec<&Action> = stage.actions.iter().collect();
        actions.sort_by_key(|action| action.run_order);
        for action in actions {
            if (action.action_type.category == "Source") != (number == 0) {
                return Err(structure("the first stage holds source actions, and only the first"));
            }
            if let Some(input) = action.inputs.iter().find(|input| !made.contains(*input)) {
                return Err(structure(&format!("no action before {} makes {input}", action.name)));
            }
            for output in &action.outputs {
                if !made.insert(output.clone()) {
                    return Err(structure(&format!("two actions make {output}")));
                }
            }
        }
    }
    Ok(())
}

/// `ValidationException`.
pub(super) fn validation(message: String) -> AwsError {
    AwsError::new("ValidationException", message)
}

fn structure(message: &str) -> AwsError {
    AwsError::new("InvalidStructureException", message)
}

fn wrong(action: &str, message: &str) -> AwsError {
    AwsError::new("InvalidActionDeclarationException", format!("action {action}: {message}"))
}
