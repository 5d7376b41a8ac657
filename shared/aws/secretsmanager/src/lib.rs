//! IO: the Secrets Manager adapter: one secret, read whole.

use aws_sdk_secretsmanager::Client;
use tidegate_aws::{SdkConfig, port_error};
use tidegate_core::fault::{ErrorKind, PortError};

const GET: &str = "secretsmanager:GetSecretValue";

/// One secret. Its value passes through and is kept nowhere here.
#[derive(Debug, Clone)]
pub struct Secret {
    client: Client,
    arn: String,
}

impl Secret {
    /// The secret of this ARN, with the home account's configuration.
    pub fn new(installation: &SdkConfig, arn: impl Into<String>) -> Self {
        Self { client: Client::new(installation), arn: arn.into() }
    }

    /// Its current value. A secret that holds bytes instead of text is [`ErrorKind::Invalid`].
    pub async fn text(&self) -> Result<String, PortError> {
        let answer = self.client.get_secret_value().secret_id(&self.arn).send().await;
        let answer = answer.map_err(|error| port_error(GET, error))?;
        answer.secret_string.ok_or_else(|| {
            PortError::new(
                ErrorKind::Invalid,
                GET,
                "NoText",
                "the secret holds bytes; it has to be JSON text",
            )
        })
    }
}
