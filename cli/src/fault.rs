//! How an error is told: what happened with its whole chain of causes, once, and what to do about it.

use std::io::{self, Write as _};

use serde_json::json;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::text::{visible, visible_json};

use crate::exit::Exit;

/// What is not done, why, and what to type instead: an answer to the person rather than a failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct Refusal {
    problem: String,
    remedy: Option<String>,
    exit: Exit,
}

impl Refusal {
    /// Nothing was done, because of this.
    pub fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: None, exit: Exit::Error }
    }

    /// With what to do instead.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    /// With another exit code than 1.
    #[must_use]
    pub fn exit(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }
}

/// What the process ends with.
pub fn exit(error: &anyhow::Error) -> Exit {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Refusal>())
        .map_or(Exit::Error, |refusal| refusal.exit)
}

/// Prints an error to the standard error stream: a line, and another one with what to do; or one JSON object.
pub fn report(error: &anyhow::Error, json: bool) {
    let mut err = io::stderr().lock();
    // There is nobody left to tell when this fails.
    let _ = if json {
        let object =
            json!({ "error": chain(error), "remedy": remedy(error), "exit_code": exit(error) }).to_string();
        writeln!(err, "{}", visible_json(&object))
    } else {
        match remedy(error) {
            Some(remedy) => writeln!(err, "tidegate: {}\n  {remedy}", visible(&chain(error))),
            None => writeln!(err, "tidegate: {}", visible(&chain(error))),
        }
    };
}

/// Whether the reader of our output went away.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Every cause, outermost first; one that a cause before it already repeats is not said again. That there are no credentials is the whole
/// answer, whatever was about to be done.
pub fn chain(error: &anyhow::Error) -> String {
    if let Some(port) = port(error).filter(|port| port.code == "NoCredentials") {
        return port.told();
    }
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = match cause.downcast_ref::<PortError>() {
            Some(port) => port.told(),
            None => cause.to_string(),
        };
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ")
}

fn port(error: &anyhow::Error) -> Option<&PortError> {
    error.chain().find_map(|cause| cause.downcast_ref::<PortError>())
}

/// What to do about a failure of AWS, where that is known.
pub fn remedy(error: &anyhow::Error) -> Option<String> {
    if let Some(refusal) = error.chain().find_map(|cause| cause.downcast_ref::<Refusal>()) {
        return refusal.remedy.clone();
    }
    if error.chain().any(|cause| cause.downcast_ref::<tidegate_aws::ConfigError>().is_some()) {
        return Some("or name one with --region".into());
    }
    let port = port(error)?;
    let remedy = match port.kind {
        ErrorKind::NotFound if port.operation.starts_with("dynamodb:") => {
            "is Tidegate installed in this account and region, and under this name? see --stack, --region and --profile"
        }
        ErrorKind::NotFound => return None,
        ErrorKind::Denied if port.code == "NoCredentials" => {
            "set AWS_PROFILE or --profile, or sign in: aws sso login"
        }
        ErrorKind::Denied if port.code.contains("Expired") => "sign in again: aws sso login",
        ErrorKind::Denied => "sign in again, or have the action allowed to you",
        ErrorKind::Unavailable => "check the network, the region and the endpoint, then try again",
        ErrorKind::Throttled => "try again in a moment",
        ErrorKind::Conflict => "others changed it at the same time; try again",
        ErrorKind::Invalid if port.code == "NewerSchema" => {
            "update this tidegate: the ledger is written by a newer one"
        }
        ErrorKind::Invalid if port.code == "NotSent" => "check the region and the endpoint",
        ErrorKind::Invalid => return None,
    };
    Some(remedy.to_owned())
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn every_cause_is_said_once() {
        let port =
            PortError::new(ErrorKind::NotFound, "dynamodb:GetItem", "ResourceNotFoundException", "no table");
        let error = Err::<(), _>(port).context("failed to read the ledger").unwrap_err();
        assert_eq!(
            chain(&error),
            "failed to read the ledger: no table (dynamodb:GetItem: ResourceNotFoundException)"
        );
        assert!(remedy(&error).unwrap().contains("--stack"));
    }

    #[test]
    fn a_closed_pipe_is_told_from_other_failures() {
        let closed =
            anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("failed to print");
        assert!(is_closed_pipe(&closed));
        assert!(!is_closed_pipe(&io::Error::from(io::ErrorKind::NotFound).into()));
    }
}
