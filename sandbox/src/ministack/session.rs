//! A service of AWS acts with a role that it is handed: it assumes the role, and calls with the keys it gets.
//!
//! ministack lets nobody assume a role as a service, so the role's trust policy has to name the account's root beside the service.

use serde_json::{Value, json};

use super::{Client, client::records};
use crate::ports::AwsError;

/// Temporary keys.
pub struct Session {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
}

impl Session {
    /// The role's keys, narrowed by `policy`. `who` is named when the role may not be assumed.
    ///
    /// # Errors
    /// What STS answers.
    pub async fn assume(
        aws: &Client,
        who: &str,
        role: &str,
        policy: Option<&Value>,
    ) -> Result<Self, AwsError> {
        let policy = policy.map(Value::to_string);
        let name = who.replace(' ', "-");
        let mut form = vec![
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("RoleArn", role),
            ("RoleSessionName", &name),
        ];
        form.extend(policy.as_deref().map(|policy| ("Policy", policy)));
        let answer = aws.query("sts", &form).await.map_err(|error| AwsError {
            message: format!(
                "{who} is not authorized to perform AssumeRole on role {role}: {}",
                error.message
            ),
            ..error
        })?;
        let leaves = records(&answer);
        let leaf = |name: &str| {
            let found = leaves.iter().find_map(|record| record.get(name).cloned());
            found.ok_or_else(|| AwsError::new("InternalFailure", format!("AssumeRole answered no {name}")))
        };
        Ok(Self {
            access_key_id: leaf("AccessKeyId")?,
            secret_access_key: leaf("SecretAccessKey")?,
            session_token: leaf("SessionToken")?,
        })
    }

    /// As CodePipeline's jobs carry it.
    pub fn credentials(&self) -> Value {
        json!({
            "accessKeyId": self.access_key_id,
            "secretAccessKey": self.secret_access_key,
            "sessionToken": self.session_token,
        })
    }

    /// A client that calls with it.
    pub fn client(&self, aws: &Client) -> Client {
        aws.with_session(&self.access_key_id, &self.secret_access_key, &self.session_token)
    }
}
