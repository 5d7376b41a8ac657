//! What a call to AWS failed with: by kind, because throttled, not found, refused and not answered are different things.

/// What kind of failure a call met: each asks for another answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Too many calls; later it will work.
    Throttled,
    /// The service or the network did not answer; later it may work.
    Unavailable,
    /// A condition did not hold: reload and decide again.
    Conflict,
    /// There is no such thing.
    NotFound,
    /// Not allowed; a person has to grant it.
    Denied,
    /// The request is wrong; trying again does not help.
    Invalid,
}

impl ErrorKind {
    /// Whether the same call may succeed later without anyone changing anything.
    pub fn is_transient(self) -> bool {
        match self {
            Self::Throttled | Self::Unavailable | Self::Conflict => true,
            Self::NotFound | Self::Denied | Self::Invalid => false,
        }
    }
}

/// A call that failed, with AWS's code and request id kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {code}: {message}{}", request_id.as_ref().map(|id| format!(" (request {id})")).unwrap_or_default())]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct PortError {
    pub kind: ErrorKind,
    /// `ecs:DescribeServices`.
    pub operation: String,
    /// AWS's error code, or ours when the call never got there.
    pub code: String,
    /// AWS's message.
    pub message: String,
    /// AWS's request id.
    pub request_id: Option<String>,
}

impl PortError {
    /// An error without request id.
    pub fn new(
        kind: ErrorKind,
        operation: impl Into<String>,
        code: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            operation: operation.into(),
            code: code.into(),
            message: message.into(),
            request_id: None,
        }
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
        "lambda" => "AWS Lambda",
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

/// An error and everything that caused it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
