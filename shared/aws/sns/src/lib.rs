//! IO: the SNS adapter: approvers' links on their way, and what happens to releases.

mod notices;

pub use notices::Topics;

use async_trait::async_trait;
use aws_sdk_sns::Client;
use aws_sdk_sns::config::Region;
use tidegate_aws::{SdkConfig, port_error};
use tidegate_core::effect::Invite;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ports::Messenger;
use tidegate_core::text::visible;

const PUBLISH: &str = "sns:Publish";
/// SNS takes subjects of at most 100 ASCII characters.
const SUBJECT_MAX: usize = 100;

/// SNS, each topic in its own region.
#[derive(Debug, Clone)]
pub struct SnsMessenger {
    installation: SdkConfig,
    /// Where the gate listens: `https://….lambda-url.REGION.on.aws`, without a slash at the end.
    gate_url: Option<String>,
}

impl SnsMessenger {
    /// With the home account's configuration. Without the gate's URL no link can be made, and every invitation is refused.
    pub fn new(installation: SdkConfig, gate_url: Option<String>) -> Self {
        Self { installation, gate_url: gate_url.map(|url| url.trim_end_matches('/').to_owned()) }
    }
}

#[async_trait]
impl Messenger for SnsMessenger {
    async fn invite(&self, invite: &Invite) -> Result<(), PortError> {
        let gate_url = self.gate_url.as_deref().ok_or_else(|| {
            PortError::new(
                ErrorKind::Invalid,
                PUBLISH,
                "NoGateUrl",
                "TIDEGATE_GATE_URL is not set, so no link can be made",
            )
        })?;
        let region = invite.topic.split(':').nth(3).unwrap_or_default().to_owned();
        let config = self.installation.to_builder().region(Region::new(region)).build();
        Client::new(&config)
            .publish()
            .topic_arn(&invite.topic)
            .subject(subject(invite))
            .message(message(invite, gate_url))
            .send()
            .await
            .map_err(|error| port_error(PUBLISH, error))?;
        Ok(())
    }
}

fn subject(invite: &Invite) -> String {
    format!("Approve {} before {}?", invite.service, invite.before)
        .chars()
        .filter(|c| c.is_ascii_graphic() || *c == ' ')
        .take(SUBJECT_MAX)
        .collect()
}

/// Plain text: the link stands alone on its line, so that every mail program makes it one.
fn message(invite: &Invite, gate_url: &str) -> String {
    let text = format!(
        "{approver}, your approval is requested.\n\n\
         Service   {service}\nImage     {image}\nBefore    {before}\nAsked by  {by}\nUntil     {until:.0}\n\n\
         {gate_url}/approve/{release}?token={token}\n\n\
         The link is yours alone and works once. Opening it changes nothing.\n",
        approver = invite.approver,
        service = invite.service,
        image = invite.change,
        before = invite.before,
        by = invite.requested_by,
        until = invite.expires_at,
        release = invite.release,
        token = invite.token.reveal(),
    );
    visible(&text).into_owned()
}
