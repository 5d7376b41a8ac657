//! Words that everything says the same way: spans of time, who asked, what a failed call means.

use jiff::SignedDuration;

use crate::history::Actor;
use crate::ports::{ErrorKind, PortError};
use crate::release::Release;

/// A span of time in its two largest units, `1h 30m`; never below zero, and rounded up: what has `0s` left is over.
pub fn span(duration: SignedDuration) -> String {
    let mut secs = duration.as_secs().max(0);
    if duration.is_positive() && duration.subsec_nanos() > 0 {
        secs += 1;
    }
    let mut parts = Vec::new();
    for (size, unit) in [(86_400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')] {
        if secs >= size {
            parts.push(format!("{}{unit}", secs / size));
            secs %= size;
        } else if !parts.is_empty() {
            // The second unit is none: `1h`, not `1h 5s`.
            break;
        }
    }
    parts.truncate(2);
    if parts.is_empty() { "0s".into() } else { parts.join(" ") }
}

/// How long a bake takes, as a policy says it: `10m`.
pub(crate) fn bake_span(secs: u32) -> String {
    crate::policy::Span::from_secs(secs).map_or_else(|| format!("{secs}s"), |span| span.to_string())
}

/// `1 task`, `3 tasks`.
pub(crate) fn tasks(count: u32) -> String {
    if count == 1 { "1 task".to_owned() } else { format!("{count} tasks") }
}

/// Who or what asked for a release: `push of main-2`.
pub fn requester(release: &Release) -> String {
    let label = release.image.label();
    match &release.requested_by {
        Actor::Event { source, .. } if source == "aws.ecr" => format!("push of {label}"),
        Actor::Event { source, id } if source == "tidegate.clock" && id.starts_with("pushed at ") => {
            format!("push of {label}, found by the clock")
        }
        by @ (Actor::Event { .. } | Actor::Person { .. } | Actor::Tidegate) => by.to_string(),
    }
}

/// What an event is to people; its id only where it names something.
pub(crate) fn event(source: &str, id: &str) -> String {
    match source {
        "aws.ecr" => "a push to ECR".to_owned(),
        "aws.codebuild" => format!("build {id}"),
        "aws.s3" => format!("manifest {id}"),
        "aws.codepipeline" => format!("pipeline execution {id}"),
        "tidegate.clock" if id.starts_with("pushed at ") => "the clock, which found a push".to_owned(),
        "tidegate.clock" => format!("the clock, which found build {id}"),
        "github" | "jenkins" | "docker_hub" => format!("webhook of {source}"),
        _ => format!("event of {source}"),
    }
}

impl PortError {
    /// What happened, for people: AWS's own message where AWS answered, and never the inside of a library.
    pub fn told(&self) -> String {
        let service = service(&self.operation);
        match (self.kind, self.code.as_str()) {
            (_, "NoCredentials") => "no AWS credentials were found".to_owned(),
            (_, "ExpiredToken" | "ExpiredTokenException" | "RequestExpired") => {
                "the AWS session has expired".to_owned()
            }
            (_, "InvalidClientTokenId" | "UnrecognizedClientException" | "InvalidAccessKeyId") => {
                "AWS does not know these credentials".to_owned()
            }
            (_, "TimedOut") => format!("{service} did not answer in time"),
            (_, "CredentialsUnavailable") => {
                format!("the AWS credentials could not be fetched: {}", innermost(&self.message))
            }
            (_, "NotReached" | "NotSent") => {
                format!("{service} could not be reached: {}", unreachable(&self.message))
            }
            (_, code) if code.starts_with("Http") => {
                let status = code.trim_start_matches("Http");
                format!("what answered is not {service}, or is out of order: HTTP status {status}")
            }
            (ErrorKind::Throttled, _) => format!("{service} takes no more calls for a moment"),
            (_, _) => format!("{} ({}: {})", plain(&self.message), self.operation, self.code),
        }
    }
}

fn service(operation: &str) -> String {
    let name = match operation.split(':').next().unwrap_or_default() {
        "sts" => "AWS STS",
        "dynamodb" => "Amazon DynamoDB",
        "sqs" => "Amazon SQS",
        "sns" => "Amazon SNS",
        "ecr" => "Amazon ECR",
        "ecs" => "Amazon ECS",
        "elasticloadbalancing" => "Elastic Load Balancing",
        "cloudwatch" => "Amazon CloudWatch",
        "codebuild" => "AWS CodeBuild",
        "codepipeline" => "AWS CodePipeline",
        "s3" => "Amazon S3",
        other => return format!("AWS ({other})"),
    };
    name.to_owned()
}

/// Why there was no connection.
fn unreachable(message: &str) -> String {
    let said = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if said(&["dns error", "failed to lookup"]) {
        "its host name is not known here".to_owned()
    } else if said(&["Connection refused"]) {
        "nothing listens at its address".to_owned()
    } else if said(&["TLS", "certificate", "UnknownIssuer", "tls"]) {
        format!("no encrypted connection could be made ({})", innermost(message))
    } else if said(&["timed out", "timeout"]) {
        "the connection took too long".to_owned()
    } else {
        innermost(message)
    }
}

/// The innermost of a chain of causes.
fn innermost(message: &str) -> String {
    plain(message.rsplit(": ").find(|part| !part.trim().is_empty()).unwrap_or(message))
}

/// Without what only programs read.
fn plain(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    let end = first.find('{').map_or(first.len(), |at| first[..at].rfind(' ').unwrap_or(at));
    let end = first[..end].find(" (os error ").unwrap_or(end);
    let text = first[..end].trim_end_matches([' ', ':', '`']);
    if text.is_empty() { "no reason was given".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_their_two_largest_units() {
        let told = |millis: i64| span(SignedDuration::from_millis(millis));
        assert_eq!(told(-5000), "0s");
        assert_eq!(told(-500), "0s");
        assert_eq!(told(0), "0s");
        assert_eq!(told(400), "1s");
        assert_eq!(told(60_000), "1m");
        assert_eq!(told(3_605_000), "1h");
        assert_eq!(told(3_723_000), "1h 2m");
        assert_eq!(told(90_000_000), "1d 1h");
    }

    #[test]
    fn a_failed_call_is_told_without_the_inside_of_a_library() {
        let told = |operation: &str, code: &str, message: &str| {
            PortError::new(ErrorKind::Unavailable, operation, code, message).told()
        };
        let debug = "dispatch failure: other: failed to apply endpoint `localhost:1` to request `Request { body: SdkBody { inner: Once(None) }, uri: Uri { as_string: \"/\" } }`: endpoint must contain scheme";
        let cases = [
            ("NotReached", debug, "AWS STS could not be reached: endpoint must contain scheme"),
            (
                "NotReached",
                "dispatch failure: io error: client error (Connect): dns error: failed to lookup address information: Name or service not known",
                "AWS STS could not be reached: its host name is not known here",
            ),
            (
                "NotReached",
                "dispatch failure: io error: client error (Connect): tcp connect error: Connection refused (os error 111)",
                "AWS STS could not be reached: nothing listens at its address",
            ),
            (
                "NotReached",
                "dispatch failure: io error: client error (Connect): TLS handshake failed: received corrupt message of type InvalidContentType",
                "AWS STS could not be reached: no encrypted connection could be made (received corrupt message of type InvalidContentType)",
            ),
            (
                "NoCredentials",
                "no credentials found in chain. Attempted:\n  Environment: …",
                "no AWS credentials were found",
            ),
            (
                "ExpiredToken",
                "The security token included in the request is expired",
                "the AWS session has expired",
            ),
            (
                "Http501",
                "answered with HTTP status 501 and no message",
                "what answered is not AWS STS, or is out of order: HTTP status 501",
            ),
            ("ValidationError", "Thing { a: 1 } is wrong", "Thing (sts:GetCallerIdentity: ValidationError)"),
            ("ValidationError", "{}", "no reason was given (sts:GetCallerIdentity: ValidationError)"),
        ];
        for (code, message, expected) in cases {
            assert_eq!(told("sts:GetCallerIdentity", code, message), expected);
        }
    }

    #[test]
    fn what_an_event_is_to_people_holds_no_event_id() {
        for source in ["aws.ecr", "github", "shop.ci"] {
            assert!(!event(source, "edcccf36-1c6f-4d2f").contains("edcccf36"), "{source}");
        }
        assert_eq!(event("aws.codebuild", "checkout:4"), "build checkout:4");
    }
}
