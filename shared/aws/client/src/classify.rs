//! From an SDK error to the core's [`PortError`]: what kind of failure it is, with AWS's code and request id kept.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::request_id::RequestId;
use tidegate_core::fault::{ErrorKind, PortError};

/// Longer messages are cut; AWS repeats the request in some of them.
const LONGEST_MESSAGE: usize = 1000;

/// AWS spells "too many calls" differently in nearly every service.
const THROTTLING: &[&str] = &[
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "KmsThrottled",
    "OverLimit",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceeded",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingError",
    "ThrottlingException",
    "TooManyRequests",
    "TooManyRequestsException",
    "TransactionThrottled",
];

/// Not allowed, or not who one claims to be. A signature error is here too: only a person can fix keys or a clock.
const DENIED: &[&str] = &[
    "AuthFailure",
    "BlockedException",
    "ExpiredToken",
    "ExpiredTokenException",
    "Forbidden",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "NotAuthorized",
    "NotAuthorizedException",
    "OperationNotPermitted",
    "OperationNotPermittedException",
    "OptInRequired",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "SubscriptionRequiredException",
    "UnauthorizedException",
    "UnauthorizedOperation",
    "UnrecognizedClientException",
];

/// Somebody else was faster, or something else is still going on.
const CONFLICT: &[&str] = &[
    "ConcurrentModificationException",
    "ConditionalCheckFailed",
    "ConditionalCheckFailedException",
    "Conflict",
    "ConflictException",
    "OperationAbortedException",
    "OptimisticLockException",
    "PreconditionFailedException",
    "ResourceConflictException",
    "ResourceInUse",
    "ResourceInUseException",
    "TransactionConflict",
    "TransactionConflictException",
    "TransactionInProgressException",
    "UpdateInProgressException",
];

/// The service is at fault, whatever the HTTP status says.
const UNAVAILABLE: &[&str] = &[
    "InternalError",
    "InternalFailure",
    "InternalServerError",
    "InternalServerException",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServerException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
];

/// Turns an SDK error into the core's error. `operation` is the IAM action, e.g. `ecs:DescribeServices`.
///
/// The message never holds the request: a timed-out or undecodable call is told by the chain of its causes, and the messages of
/// signature errors, which repeat the session token, are replaced.
pub fn port_error<E>(operation: &'static str, error: SdkError<E, HttpResponse>) -> PortError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let request_id = error.request_id().map(str::to_owned);
    let (kind, code, message) = match &error {
        SdkError::ServiceError(failed) => answered(failed.err(), failed.raw().status().as_u16()),
        SdkError::ResponseError(failed) => {
            // An answer of 200 that cannot be read may come from a proxy in between; the call may have had its effect.
            let status = failed.raw().status().as_u16();
            let kind = if status < 300 { ErrorKind::Unavailable } else { kind_of_status(status) };
            (kind, format!("Http{status}"), format!("the answer cannot be read: {}", chain(&error)))
        }
        SdkError::TimeoutError(_) => (ErrorKind::Unavailable, "TimedOut".into(), chain(&error)),
        SdkError::DispatchFailure(_) => not_sent(&error),
        SdkError::ConstructionFailure(_) => (ErrorKind::Invalid, "NotSent".into(), chain(&error)),
        // `SdkError` is non-exhaustive; a failure yet unknown may pass.
        _ => (ErrorKind::Unavailable, "Unknown".into(), chain(&error)),
    };
    PortError { request_id, ..PortError::new(kind, operation, code, cut(message)) }
}

/// The kind of an error code; `status` (HTTP) decides when the code says nothing. Also for codes inside successful answers, such
/// as the failed entries of a batch.
pub fn kind_of(code: &str, message: &str, status: u16) -> ErrorKind {
    if code == "TransactionCanceledException" {
        return kind_of_cancellation(message);
    }
    let listed = |codes: &[&str]| codes.contains(&code);
    if listed(THROTTLING) {
        ErrorKind::Throttled
    } else if listed(DENIED) || code.contains("AccessDenied") {
        ErrorKind::Denied
    } else if listed(CONFLICT) {
        ErrorKind::Conflict
    } else if listed(UNAVAILABLE) {
        ErrorKind::Unavailable
    } else if is_not_found(code) {
        ErrorKind::NotFound
    } else if code.is_empty() || status >= 500 || status == 429 {
        kind_of_status(status)
    } else {
        ErrorKind::Invalid
    }
}

fn is_not_found(code: &str) -> bool {
    code.contains("NotFound")
        || code.contains("DoesNotExist")
        || code.contains("NonExistent")
        || code.starts_with("NoSuch")
}

/// DynamoDB lists one reason for each action of a cancelled transaction, in the message too: `… [None, ConditionalCheckFailed]`.
/// A reason that does not pass by itself outweighs the others.
fn kind_of_cancellation(message: &str) -> ErrorKind {
    if message.contains("ValidationError") || message.contains("ItemCollectionSizeLimitExceeded") {
        ErrorKind::Invalid
    } else if message.contains("ConditionalCheckFailed") || message.contains("TransactionConflict") {
        ErrorKind::Conflict
    } else if message.contains("Throttling") || message.contains("ThroughputExceeded") {
        ErrorKind::Throttled
    } else {
        ErrorKind::Unavailable
    }
}

fn kind_of_status(status: u16) -> ErrorKind {
    match status {
        429 => ErrorKind::Throttled,
        401 | 403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        409 | 412 => ErrorKind::Conflict,
        408 | 500.. => ErrorKind::Unavailable,
        _ => ErrorKind::Invalid,
    }
}

fn answered<E: ProvideErrorMetadata>(error: &E, status: u16) -> (ErrorKind, String, String) {
    let code = error.code().unwrap_or_default();
    let message = error.message().unwrap_or_default();
    let kind = kind_of(code, message, status);
    let told = if code.contains("Signature") {
        "the signature was not accepted: check the credentials and this machine's clock".to_owned()
    } else if message.is_empty() {
        format!("answered with HTTP status {status} and no message")
    } else {
        message.to_owned()
    };
    let code = if code.is_empty() { format!("Http{status}") } else { code.to_owned() };
    (kind, code, told)
}

/// The request never left, or no answer came. Missing credentials are told apart: trying again does not bring them.
fn not_sent(error: &(dyn Error + 'static)) -> (ErrorKind, String, String) {
    let message = chain(error);
    match causes(error).find_map(|cause| cause.downcast_ref::<CredentialsError>()) {
        Some(CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_)) => {
            (ErrorKind::Denied, "NoCredentials".into(), message)
        }
        // STS's refusal to assume a role is only found in the text of the cause.
        Some(_) if message.contains("AccessDenied") => (ErrorKind::Denied, "AccessDenied".into(), message),
        Some(_) => (ErrorKind::Unavailable, "CredentialsUnavailable".into(), message),
        None => (ErrorKind::Unavailable, "NotReached".into(), message),
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

/// What each cause says, outermost first, without saying anything twice.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in causes(error) {
        let text = cause.to_string();
        // Some of the SDK's errors hold the whole request, and its body may be secret.
        if text.contains("SdkBody") {
            continue;
        }
        if !text.is_empty() && !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ")
}

fn cut(mut message: String) -> String {
    if message.len() > LONGEST_MESSAGE {
        let end = (0..=LONGEST_MESSAGE).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
        message.truncate(end);
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::operation::get_item::GetItemError;
    use aws_smithy_runtime_api::client::result::ConnectorError;
    use aws_smithy_types::body::SdkBody;
    use aws_smithy_types::error::ErrorMetadata;

    use super::*;

    type Failed = SdkError<GetItemError, HttpResponse>;

    fn response(status: u16) -> HttpResponse {
        let response = http::Response::builder()
            .status(status)
            .header("x-amzn-requestid", "REQ-1")
            .body(SdkBody::from("secret body"))
            .unwrap();
        HttpResponse::try_from(response).unwrap()
    }

    fn service(status: u16, code: &str, message: &str) -> Failed {
        let meta = ErrorMetadata::builder().code(code).message(message).build();
        SdkError::service_error(GetItemError::generic(meta), response(status))
    }

    #[track_caller]
    fn check(error: Failed, kind: ErrorKind, code: &str) -> PortError {
        let error = port_error("dynamodb:GetItem", error);
        assert_eq!((error.kind, error.code.as_str()), (kind, code), "{error}");
        error
    }

    #[test]
    fn every_service_code_has_its_kind() {
        let cases: &[(ErrorKind, u16, &[&str])] = &[
            (
                ErrorKind::Throttled,
                400,
                &["ThrottlingException", "Throttling", "ProvisionedThroughputExceededException", "SlowDown"],
            ),
            (
                ErrorKind::Throttled,
                400,
                &["TooManyRequestsException", "RequestLimitExceeded", "RequestThrottled"],
            ),
            (ErrorKind::Denied, 400, &["AccessDeniedException", "AccessDenied", "UnauthorizedOperation"]),
            (ErrorKind::Denied, 400, &["NotAuthorized", "ExpiredTokenException", "KMSAccessDeniedException"]),
            (ErrorKind::NotFound, 400, &["ResourceNotFoundException", "TargetGroupNotFound", "NoSuchBucket"]),
            (ErrorKind::NotFound, 400, &["AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"]),
            (ErrorKind::Conflict, 400, &["ConditionalCheckFailedException", "ConflictException"]),
            (ErrorKind::Conflict, 400, &["ResourceInUseException", "TransactionConflictException"]),
            (ErrorKind::Unavailable, 500, &["InternalServerError", "SomethingNew"]),
            (ErrorKind::Unavailable, 400, &["ServerException", "ServiceUnavailable"]),
            (ErrorKind::Invalid, 400, &["ValidationException", "InvalidParameterException", "SomethingNew"]),
        ];
        for (kind, status, codes) in cases {
            for code in *codes {
                let error = check(service(*status, code, "as AWS says"), *kind, code);
                assert_eq!(error.message, "as AWS says");
                assert_eq!(error.request_id.as_deref(), Some("REQ-1"));
            }
        }
    }

    #[test]
    fn a_cancelled_transaction_is_what_its_reasons_are() {
        let cases = [
            ("[None, ConditionalCheckFailed]", ErrorKind::Conflict),
            ("[TransactionConflict, None]", ErrorKind::Conflict),
            ("[ThrottlingError, None]", ErrorKind::Throttled),
            ("[ProvisionedThroughputExceeded]", ErrorKind::Throttled),
            ("[ConditionalCheckFailed, ValidationError]", ErrorKind::Invalid),
            ("[None]", ErrorKind::Unavailable),
        ];
        for (reasons, kind) in cases {
            let message = format!("Transaction cancelled, please refer cancellation reasons {reasons}");
            check(
                service(400, "TransactionCanceledException", &message),
                kind,
                "TransactionCanceledException",
            );
        }
    }

    #[test]
    fn without_a_code_the_status_decides() {
        let cases = [
            (429, ErrorKind::Throttled, "Http429"),
            (403, ErrorKind::Denied, "Http403"),
            (404, ErrorKind::NotFound, "Http404"),
            (409, ErrorKind::Conflict, "Http409"),
            (503, ErrorKind::Unavailable, "Http503"),
            (400, ErrorKind::Invalid, "Http400"),
        ];
        for (status, kind, code) in cases {
            check(service(status, "", ""), kind, code);
        }
    }

    #[test]
    fn what_never_arrived_may_work_later() {
        check(SdkError::timeout_error("operation timed out"), ErrorKind::Unavailable, "TimedOut");
        let io = ConnectorError::io("connection refused".into());
        let error = check(SdkError::dispatch_failure(io), ErrorKind::Unavailable, "NotReached");
        assert!(error.message.contains("connection refused"), "{error}");
        assert_eq!(error.request_id, None);
    }

    #[test]
    fn missing_credentials_do_not_come_by_trying_again() {
        let missing = CredentialsError::not_loaded("no providers in chain provided credentials");
        let other = ConnectorError::other(missing.into(), None);
        check(SdkError::dispatch_failure(other), ErrorKind::Denied, "NoCredentials");
        let slow = CredentialsError::provider_error("STS answered 503");
        let other = ConnectorError::other(slow.into(), None);
        check(SdkError::dispatch_failure(other), ErrorKind::Unavailable, "CredentialsUnavailable");
        let refused = CredentialsError::provider_error("unhandled error (AccessDenied)");
        let other = ConnectorError::other(refused.into(), None);
        check(SdkError::dispatch_failure(other), ErrorKind::Denied, "AccessDenied");
    }

    #[test]
    fn a_request_that_cannot_be_built_is_invalid() {
        let error = SdkError::construction_failure("field `table_name` is missing");
        check(error, ErrorKind::Invalid, "NotSent");
    }

    #[test]
    fn an_unreadable_answer_is_not_repeated_in_the_message() {
        let error =
            check(SdkError::response_error("not JSON", response(200)), ErrorKind::Unavailable, "Http200");
        assert!(error.message.contains("not JSON") && !error.message.contains("secret"), "{error}");
        check(SdkError::response_error("not JSON", response(502)), ErrorKind::Unavailable, "Http502");
        check(SdkError::response_error("not JSON", response(403)), ErrorKind::Denied, "Http403");
    }

    #[test]
    fn a_request_that_is_told_with_an_error_is_not_told() {
        let inner: Box<dyn Error + Send + Sync> = "endpoint must contain scheme".into();
        let error = check(SdkError::construction_failure(inner), ErrorKind::Invalid, "NotSent");
        assert!(error.message.contains("endpoint must contain scheme"), "{error}");
        let whole = "failed to apply endpoint to request `Request { body: SdkBody { inner: SECRET } }`";
        let error = check(SdkError::construction_failure(whole), ErrorKind::Invalid, "NotSent");
        assert!(!error.message.contains("SECRET"), "{error}");
    }

    #[test]
    fn the_session_token_in_a_signature_error_is_not_told() {
        let message = "The Canonical String for this request should have been\nx-amz-security-token:SECRET";
        let error =
            check(service(403, "SignatureDoesNotMatch", message), ErrorKind::Denied, "SignatureDoesNotMatch");
        assert!(!error.to_string().contains("SECRET"), "{error}");
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let error = check(service(400, "X", &"é".repeat(900)), ErrorKind::Invalid, "X");
        assert!(error.message.len() <= LONGEST_MESSAGE + '…'.len_utf8() && error.message.ends_with('…'));
    }
}
