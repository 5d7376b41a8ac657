//! How an error is told: what happened with its whole chain of causes, once, and what to do about it.

use std::io::{self, Write as _};

use serde_json::json;
use tidegate_core::ports::{ErrorKind, PortError};

/// Prints an error to the standard error stream: a line, and another one with what to do; or one JSON object.
pub fn report(error: &anyhow::Error, json: bool) {
    let mut err = io::stderr().lock();
    // There is nobody left to tell when this fails.
    let _ = if json {
        writeln!(err, "{}", json!({ "error": chain(error), "remedy": remedy(error), "exit_code": 1 }))
    } else {
        match remedy(error) {
            Some(remedy) => writeln!(err, "tidegate: {}\n  {remedy}", chain(error)),
            None => writeln!(err, "tidegate: {}", chain(error)),
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

/// Every cause, outermost first; one that a cause before it already repeats is not said again.
pub fn chain(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ")
}

/// What to do about a failure of AWS, where that is known.
pub fn remedy(error: &anyhow::Error) -> Option<String> {
    if error.chain().any(|cause| cause.downcast_ref::<tidegate_aws::ConfigError>().is_some()) {
        return Some("or name one with --region".into());
    }
    let port = error.chain().find_map(|cause| cause.downcast_ref::<PortError>())?;
    let remedy = match port.kind {
        ErrorKind::NotFound if port.operation.starts_with("dynamodb:") => {
            "is Tidegate installed in this account and region, and under this name? see --stack, --region and --profile"
        }
        ErrorKind::NotFound => return None,
        ErrorKind::Denied if port.code == "NoCredentials" => {
            "no AWS credentials were found: set AWS_PROFILE or --profile, or sign in with `aws sso login`"
        }
        ErrorKind::Denied => "sign in again if the session has expired, or have the action allowed to you",
        ErrorKind::Unavailable => "check the network, the region and the endpoint, then try again",
        ErrorKind::Throttled => "try again in a moment",
        ErrorKind::Conflict => "others changed it at the same time; try again",
        ErrorKind::Invalid if port.code == "NewerSchema" => {
            "update this tidegate: the ledger is written by a newer one"
        }
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
            "failed to read the ledger: dynamodb:GetItem: ResourceNotFoundException: no table"
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
