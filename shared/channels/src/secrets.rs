//! Addresses, tokens and keys: one JSON document, read when it is first needed and again after a minute. Never logged, never in an error.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use tidegate_core::fault::PortError;
use tidegate_core::ids::ReceiverName;
use tidegate_core::notify::NotSent;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::http::is_address;

/// How long the document is used before it is read again: a new token counts after this time.
const FRESH: Duration = Duration::from_secs(60);
/// A shorter key could be guessed.
const WEBHOOK_SECRET_MIN: usize = 32;

/// Where the document is.
#[async_trait]
pub trait Vault: Send + Sync {
    /// The document.
    async fn document(&self) -> Result<String, PortError>;
}

/// The document.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    #[serde(default)]
    slack: Option<Slack>,
    #[serde(default)]
    github: Option<GitHub>,
    #[serde(default)]
    teams: BTreeMap<String, String>,
    #[serde(default)]
    webhooks: BTreeMap<String, Webhook>,
    #[serde(default)]
    pagerduty: BTreeMap<String, PagerDuty>,
}

/// A bot's token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Slack {
    pub(crate) token: String,
    #[serde(default = "slack_url")]
    pub(crate) url: String,
}

/// A token, or an app's key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GitHub {
    #[serde(default)]
    pub(crate) token: Option<String>,
    #[serde(default)]
    pub(crate) app_id: Option<String>,
    #[serde(default)]
    pub(crate) private_key: Option<String>,
    #[serde(default = "github_url")]
    pub(crate) url: String,
}

/// An address, and what requests to it are signed with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhook {
    pub(crate) url: String,
    pub(crate) secret: String,
}

/// An integration key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PagerDuty {
    pub(crate) routing_key: String,
    #[serde(default = "pagerduty_url")]
    pub(crate) url: String,
}

fn slack_url() -> String {
    "https://slack.com/api".to_owned()
}

fn github_url() -> String {
    "https://api.github.com".to_owned()
}

fn pagerduty_url() -> String {
    "https://events.pagerduty.com".to_owned()
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

fn missing(what: &str, example: &str) -> NotSent {
    NotSent::new(format!("Tidegate's notification secret holds no {what}"))
        .remedy(format!("Add it to the secret: {example}"))
}

impl Secrets {
    /// Reads the document.
    pub(crate) fn parse(document: &str) -> Result<Self, NotSent> {
        // serde's own message could quote the document.
        let mut secrets: Self = serde_json::from_str(document).map_err(|error| {
            NotSent::new(format!(
                "Tidegate's notification secret cannot be read (line {}, column {})",
                error.line(),
                error.column()
            ))
            .remedy("docs/notifications.md shows its form.")
        })?;
        for url in [
            secrets.slack.as_mut().map(|slack| &mut slack.url),
            secrets.github.as_mut().map(|github| &mut github.url),
        ]
        .into_iter()
        .flatten()
        .chain(secrets.pagerduty.values_mut().map(|pagerduty| &mut pagerduty.url))
        {
            url.truncate(url.trim_end_matches('/').len());
        }
        Ok(secrets)
    }

    pub(crate) fn slack(&self) -> Result<&Slack, NotSent> {
        self.slack.as_ref().ok_or_else(|| missing("Slack token", r#"{"slack": {"token": "xoxb-…"}}"#))
    }

    pub(crate) fn github(&self) -> Result<&GitHub, NotSent> {
        let example = r#"{"github": {"app_id": "…", "private_key": "…"}} or {"github": {"token": "…"}}"#;
        self.github.as_ref().ok_or_else(|| missing("GitHub app or token", example))
    }

    pub(crate) fn teams(&self, name: &ReceiverName) -> Result<&str, NotSent> {
        let found = self.teams.get(name.as_str()).filter(|url| is_address(url));
        let example = || format!(r#"{{"teams": {{"{name}": "https://…"}}}}"#);
        found.map(String::as_str).ok_or_else(|| missing(&format!("Teams workflow {name}"), &example()))
    }

    pub(crate) fn webhook(&self, name: &ReceiverName) -> Result<&Webhook, NotSent> {
        let example = || format!(r#"{{"webhooks": {{"{name}": {{"url": "https://…", "secret": "…"}}}}}}"#);
        let found = self.webhooks.get(name.as_str());
        let found = found.ok_or_else(|| missing(&format!("webhook {name}"), &example()))?;
        if found.secret.len() < WEBHOOK_SECRET_MIN {
            let why = format!("the secret of webhook {name} is shorter than {WEBHOOK_SECRET_MIN} characters");
            return Err(
                NotSent::new(why).remedy("Replace it by a random one, for example of: openssl rand -hex 32")
            );
        }
        Ok(found)
    }

    pub(crate) fn pagerduty(&self, name: &ReceiverName) -> Result<&PagerDuty, NotSent> {
        let example = || format!(r#"{{"pagerduty": {{"{name}": {{"routing_key": "…"}}}}}}"#);
        let found = self.pagerduty.get(name.as_str());
        found.ok_or_else(|| missing(&format!("PagerDuty service {name}"), &example()))
    }
}

/// The document, kept for a minute.
pub struct Keeper {
    vault: Arc<dyn Vault>,
    kept: Mutex<Option<(Instant, Arc<Secrets>)>>,
}

impl Keeper {
    /// Reads nothing yet.
    pub fn new(vault: Arc<dyn Vault>) -> Self {
        Self { vault, kept: Mutex::new(None) }
    }

    /// The secrets.
    pub(crate) async fn get(&self) -> Result<Arc<Secrets>, NotSent> {
        let mut kept = self.kept.lock().await;
        if let Some((_, secrets)) = kept.as_ref().filter(|(read_at, _)| read_at.elapsed() < FRESH) {
            return Ok(secrets.clone());
        }
        let document = self.vault.document().await.map_err(|error| {
            NotSent::new(format!("Tidegate's notification secret could not be read: {}", error.told()))
        })?;
        let secrets = Arc::new(Secrets::parse(&document)?);
        *kept = Some((Instant::now(), secrets.clone()));
        Ok(secrets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_document_has_nothing_and_says_what_to_add() {
        let secrets = Secrets::parse("{}").unwrap();
        let name = ReceiverName::new("shop").unwrap();
        for error in [
            secrets.slack().map(drop).unwrap_err(),
            secrets.github().map(drop).unwrap_err(),
            secrets.teams(&name).map(drop).unwrap_err(),
            secrets.webhook(&name).map(drop).unwrap_err(),
            secrets.pagerduty(&name).map(drop).unwrap_err(),
        ] {
            assert!(error.remedy.unwrap().starts_with("Add it to the secret: {\""));
        }
    }

    #[test]
    fn no_error_shows_what_the_document_holds() {
        let broken =
            Secrets::parse(r#"{"slack": {"token": "xoxb-secret", "tokn": "xoxb-secret"}}"#).unwrap_err();
        assert!(!format!("{broken:?}").contains("xoxb"), "{broken:?}");
        let short = Secrets::parse(r#"{"webhooks": {"a": {"url": "https://x", "secret": "hush"}}}"#).unwrap();
        let error = short.webhook(&ReceiverName::new("a").unwrap()).map(drop).unwrap_err();
        assert!(error.why.contains("shorter than 32") && !format!("{error:?}").contains("hush"));
        assert_eq!(format!("{short:?}"), "Secrets(…)");
    }

    #[test]
    fn an_address_may_end_in_a_slash() {
        let text = r#"{"github": {"token": "t", "url": "https://github.example.com/api/v3/"}}"#;
        assert_eq!(Secrets::parse(text).unwrap().github().unwrap().url, "https://github.example.com/api/v3");
    }
}
