//! What AWS Lambda answers, in our words.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_lambda::operation::get_function::GetFunctionOutput;
use aws_sdk_lambda::types::{
    Architecture, EventSourceMappingConfiguration, FunctionConfiguration, LastUpdateStatus, SnapStartApplyOn,
    State,
};
use sha2::{Digest as _, Sha256};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::FunctionVersion;
use tidegate_core::policy::Percent;
use tidegate_core::vocab::lambda::{AliasSeen, CodeSeen, CodeState, Update};

fn unexpected(operation: &'static str, message: String) -> PortError {
    PortError::new(ErrorKind::Invalid, operation, "UnexpectedAnswer", message)
}

/// The number of a version.
pub(crate) fn version(operation: &'static str, found: Option<&str>) -> Result<FunctionVersion, PortError> {
    FunctionVersion::new(found.unwrap_or_default()).map_err(|error| unexpected(operation, error.to_string()))
}

/// An alias. Shares are rounded to a tenth of a percent: no share of ours is finer.
pub(crate) fn alias(
    points_at: Option<&str>,
    weights: Option<&HashMap<String, f64>>,
    revision: Option<&str>,
) -> Result<AliasSeen, PortError> {
    const OPERATION: &str = "lambda:GetAlias";
    let share = |(other, weight): (&String, &f64)| {
        let percent = Percent::from_f64((weight * 1000.0).round() / 10.0)
            .ok_or_else(|| unexpected(OPERATION, format!("a weight of {weight} is none")))?;
        Ok::<_, PortError>((version(OPERATION, Some(other))?, percent))
    };
    let weights = weights.into_iter().flatten().filter(|(_, weight)| **weight > 0.0);
    Ok(AliasSeen {
        version: match points_at {
            Some("$LATEST") => None,
            found => Some(version(OPERATION, found)?),
        },
        weights: weights.map(share).collect::<Result<BTreeMap<_, _>, _>>()?,
        revision: revision.unwrap_or_default().to_owned(),
    })
}

/// `$LATEST`, or a version.
pub(crate) fn code(operation: &'static str, answer: &GetFunctionOutput) -> Result<CodeSeen, PortError> {
    let configuration = answer
        .configuration()
        .ok_or_else(|| unexpected(operation, "the answer has no configuration".to_owned()))?;
    Ok(CodeSeen {
        package: configuration.package_type().map(|it| it.as_str().to_owned()).unwrap_or_default(),
        image: answer.code().and_then(|code| code.resolved_image_uri()).map(str::to_owned),
        state: state(configuration),
        update: update(configuration),
        code_sha256: configuration.code_sha256().unwrap_or_default().to_owned(),
        revision: configuration.revision_id().unwrap_or_default().to_owned(),
        architecture: configuration.architectures().first().map(Architecture::as_str).map(str::to_owned),
        settings: settings(configuration),
        snap_start: configuration
            .snap_start()
            .and_then(|it| it.apply_on())
            .is_some_and(|on| *on == SnapStartApplyOn::PublishedVersions),
    })
}

fn reason(said: Option<&str>) -> String {
    said.unwrap_or("AWS gives no reason").to_owned()
}

/// A state that is not known is taken for one that passes: it is looked at again, and a stage has its limit.
fn state(configuration: &FunctionConfiguration) -> CodeState {
    match configuration.state() {
        Some(State::Failed) => CodeState::Failed(reason(configuration.state_reason())),
        Some(State::Active | State::Inactive) | None => CodeState::Ready,
        Some(_) => CodeState::Pending,
    }
}

fn update(configuration: &FunctionConfiguration) -> Update {
    match configuration.last_update_status() {
        Some(LastUpdateStatus::Failed) => Update::Failed(reason(configuration.last_update_status_reason())),
        Some(LastUpdateStatus::Successful) | None => Update::Done,
        Some(_) => Update::UnderWay,
    }
}

/// What a version keeps beside its code. Environment variables may be secret, so only their hash is kept.
fn settings(of: &FunctionConfiguration) -> BTreeMap<String, String> {
    let environment = of.environment().and_then(|it| it.variables()).map(|variables| {
        let sorted: BTreeMap<&String, &String> = variables.iter().collect();
        hex(&Sha256::digest(format!("{sorted:?}")))
    });
    let told = [
        ("Role", of.role().map(str::to_owned)),
        ("DeadLetterConfig", of.dead_letter_config().and_then(|it| it.target_arn()).map(str::to_owned)),
        ("Timeout", of.timeout().map(|it| it.to_string())),
        ("MemorySize", of.memory_size().map(|it| it.to_string())),
        ("Environment", environment),
        (
            "VpcConfig",
            of.vpc_config().map(|it| format!("{:?} {:?}", it.subnet_ids(), it.security_group_ids())),
        ),
        (
            "ImageConfig",
            of.image_config_response().and_then(|it| it.image_config()).map(|it| format!("{it:?}")),
        ),
        ("TracingConfig", of.tracing_config().and_then(|it| it.mode()).map(|it| it.as_str().to_owned())),
        ("EphemeralStorage", of.ephemeral_storage().map(|it| it.size().to_string())),
        (
            "FileSystemConfigs",
            (!of.file_system_configs().is_empty()).then(|| format!("{:?}", of.file_system_configs())),
        ),
        ("KMSKeyArn", of.kms_key_arn().map(str::to_owned)),
        ("LoggingConfig", of.logging_config().map(|it| format!("{it:?}"))),
        ("Architectures", of.architectures().first().map(|it| it.as_str().to_owned())),
    ];
    told.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The source of a mapping that sends events to the function itself, or to `$LATEST`.
pub(crate) fn past_alias(mapping: &EventSourceMappingConfiguration) -> Option<String> {
    let function = mapping.function_arn()?;
    // arn:aws:lambda:REGION:ACCOUNT:function:NAME, with a qualifier after it.
    let qualifier = function.split(':').nth(7);
    let is_past = qualifier.is_none_or(|qualifier| qualifier == "$LATEST");
    let is_on = !matches!(mapping.state(), Some("Disabled" | "Disabling" | "Deleting"));
    let source = mapping.event_source_arn().or_else(|| mapping.uuid())?;
    (is_past && is_on).then(|| source.rsplit_once(':').map_or(source, |(_, name)| name).to_owned())
}
