//! IO: the SNS adapter: approvers' links on their way, and what happens to releases.

mod notices;

pub use notices::Topics;

use async_trait::async_trait;
use aws_sdk_sns::Client;
use aws_sdk_sns::config::Region;
use jiff::{SignedDuration, Timestamp};
use tidegate_aws::{SdkConfig, port_error};
use tidegate_core::approval::question;
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
            .subject(subject(invite, Timestamp::now()))
            .message(message(invite, gate_url))
            .send()
            .await
            .map_err(|error| port_error(PUBLISH, error))?;
        Ok(())
    }
}

/// The question and the time left for it. The time is kept where the question is too long for a subject.
fn subject(invite: &Invite, now: Timestamp) -> String {
    let left = left(invite.expires_at.duration_since(now));
    let ascii = |text: String| text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect::<String>();
    let asked = ascii(question(invite.service.as_str(), &invite.change.label(), &invite.before));
    let room = SUBJECT_MAX - left.len() - 1;
    let asked = if asked.len() > room { format!("{}...", &asked[..room - 3]) } else { asked };
    format!("{asked} {left}")
}

/// `59 min left`, rounded down: nobody is promised more than there is.
fn left(span: SignedDuration) -> String {
    let minutes = span.as_mins().max(0);
    match (minutes / (24 * 60), minutes / 60, minutes) {
        (days @ 2.., ..) => format!("{days} days left"),
        (_, hours @ 2.., _) => format!("{hours} h left"),
        (_, 1, minutes) => format!("1 h {} min left", minutes - 60),
        (.., 1..) => format!("{minutes} min left"),
        _ => "less than a minute left".to_owned(),
    }
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

#[cfg(test)]
mod tests {
    use tidegate_core::approval::Token;
    use tidegate_core::change::Change;
    use tidegate_core::ids::{ContainerName, Digest, Image, ReleaseId, RepositoryName, ServiceName, Tag};

    use super::*;

    fn invite(service: &str, before: &str) -> Invite {
        let image = Image {
            registry: "111122223333.dkr.ecr.eu-central-1.amazonaws.com".into(),
            repository: RepositoryName::new("shop/checkout").unwrap(),
            digest: Digest::new(format!("sha256:{}", "0".repeat(64))).unwrap(),
            tag: Some(Tag::new("main-2").unwrap()),
        };
        Invite {
            release: ReleaseId::new("01kj0000000000000000000001").unwrap(),
            service: ServiceName::new(service).unwrap(),
            change: Change::one(ContainerName::new("app").unwrap(), image),
            before: before.into(),
            approver: "anna".into(),
            topic: "arn:aws:sns:eu-central-1:111122223333:anna".into(),
            token: Token::make(&[0; 32], "x"),
            expires_at: Timestamp::from_second(4 * 3600).unwrap(),
            requested_by: "carla".into(),
        }
    }

    #[test]
    fn the_subject_asks_and_says_how_long_there_is() {
        let subject = |service: &str, before: &str, left: i64| {
            super::subject(&invite(service, before), Timestamp::from_second(4 * 3600 - left).unwrap())
        };
        assert_eq!(
            subject("checkout", "shift", 3599),
            "Approve checkout main-2 for production traffic? 59 min left"
        );
        assert_eq!(subject("checkout", "deploy", 4 * 3600), "Approve deploying checkout main-2? 4 h left");
        assert_eq!(
            subject("checkout", "promote", 90 * 60),
            "Approve promoting checkout main-2? 1 h 30 min left"
        );
        assert_eq!(
            subject("checkout", "promote", -5),
            "Approve promoting checkout main-2? less than a minute left"
        );
        let long = subject(&"x".repeat(128), "shift", 3599);
        assert!(long.len() == SUBJECT_MAX && long.ends_with("... 59 min left"), "{long}");
    }
}
