//! The errors ECS answers with, by their codes on the wire.

use crate::ports::AwsError;

pub(super) fn client(message: impl Into<String>) -> AwsError {
    AwsError::new("ClientException", message)
}

pub(super) fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new("InvalidParameterException", message)
}

pub(super) fn unsupported(message: impl Into<String>) -> AwsError {
    AwsError::new("UnsupportedFeatureException", message)
}

pub(super) fn serialization(message: impl Into<String>) -> AwsError {
    AwsError::new("SerializationException", message)
}

pub(super) fn conflict(message: impl Into<String>) -> AwsError {
    AwsError::new("ConflictException", message)
}

pub(super) fn cluster_not_found() -> AwsError {
    AwsError::new("ClusterNotFoundException", "Cluster not found.")
}

pub(super) fn service_not_found() -> AwsError {
    AwsError::new("ServiceNotFoundException", "Service not found.")
}

pub(super) fn service_not_active() -> AwsError {
    AwsError::new("ServiceNotActiveException", "Service was not ACTIVE.")
}

pub(super) fn service_deployment_not_found() -> AwsError {
    AwsError::new("ServiceDeploymentNotFoundException", "Service deployment not found.")
}
