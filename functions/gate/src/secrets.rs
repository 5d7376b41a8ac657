//! The gate's secrets: one JSON document, read once and kept for some minutes. Never logged, never in an error.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use tidegate_core::fault::{ErrorKind, PortError};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long the secrets are used before they are read again: a webhook's new secret counts after this time.
const FRESH: Duration = Duration::from_secs(5 * 60);
/// A shorter key could be guessed; the template makes one of 64 characters.
const LINK_KEY_MIN: usize = 32;
/// A webhook's secret that is shorter could be guessed, and an empty one is known to everybody: it counts as absent.
const WEBHOOK_SECRET_MIN: usize = 16;
/// While a secret is replaced, the new and the old one.
const ACCEPTED_MAX: usize = 2;
/// When a proof fails, the secret may have been replaced a moment ago: it is read again, but for nobody more often than this.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Where the document is.
#[async_trait]
pub trait Vault: Send + Sync {
    /// The document.
    async fn document(&self) -> Result<String, PortError>;
}

#[async_trait]
impl Vault for tidegate_secretsmanager::Secret {
    async fn document(&self) -> Result<String, PortError> {
        self.text().await
    }
}

/// What the document says.
#[derive(Clone, Deserialize)]
pub struct Secrets {
    /// Signs status links and forms. A new one voids the status links that were given out; approvers' links stay good.
    pub link_key: String,
    /// The secrets of webhooks by service.
    #[serde(default)]
    pub webhooks: BTreeMap<String, Webhooks>,
    /// The Slack app whose buttons are pressed.
    #[serde(default)]
    pub slack: SlackApp,
}

/// The Slack app whose buttons are pressed.
#[derive(Clone, Deserialize)]
pub struct SlackApp {
    /// What Slack signs with.
    #[serde(default)]
    pub signing_secret: Accepted,
    /// How the addresses begin at which Slack takes answers to whoever pressed.
    #[serde(default = "slack_replies")]
    pub replies: String,
}

fn slack_replies() -> String {
    "https://hooks.slack.com/".to_owned()
}

impl Default for SlackApp {
    fn default() -> Self {
        Self { signing_secret: Accepted::default(), replies: slack_replies() }
    }
}

/// The secrets of one service's webhooks.
#[derive(Clone, Default, Deserialize)]
pub struct Webhooks {
    /// What GitHub signs with.
    #[serde(default)]
    pub github: Accepted,
    /// What Jenkins signs with.
    #[serde(default)]
    pub jenkins: Accepted,
    /// What is in the path Docker Hub calls.
    #[serde(default)]
    pub docker_hub: Accepted,
}

/// The secrets that are accepted from one sender: one, or the new and the old one while it is being replaced.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Accepted(Vec<String>);

impl Accepted {
    /// The secrets, none of them short; empty where none is set.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Takes out what anybody could guess. Returns whether there was any.
    fn drop_weak(&mut self) -> bool {
        let all = self.0.len();
        self.0.retain(|secret| secret.chars().count() >= WEBHOOK_SECRET_MIN);
        self.0.truncate(ACCEPTED_MAX);
        self.0.len() != all
    }
}

impl<'de> Deserialize<'de> for Accepted {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            One(String),
            Several(Vec<String>),
        }
        Ok(match Option::<Written>::deserialize(deserializer)? {
            None => Self::default(),
            Some(Written::One(secret)) => Self(vec![secret]),
            Some(Written::Several(secrets)) => Self(secrets),
        })
    }
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Accepted(…)")
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

impl fmt::Debug for SlackApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SlackApp(…)")
    }
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Webhooks(…)")
    }
}

impl Secrets {
    fn parse(document: &str) -> Result<Self, PortError> {
        let invalid =
            |what: &str| PortError::new(ErrorKind::Invalid, "read the gate's secret", "Malformed", what);
        // serde's own message could quote the document.
        let mut secrets: Self = serde_json::from_str(document).map_err(|_| {
            invalid(r#"it has to be JSON: {"link_key": "…", "webhooks": {"SERVICE": {"github": "…", "jenkins": ["new", "old"], "docker_hub": "…"}}}"#)
        })?;
        for (service, webhooks) in &mut secrets.webhooks {
            let Webhooks { github, jenkins, docker_hub } = webhooks;
            for (sender, accepted) in [("github", github), ("jenkins", jenkins), ("docker_hub", docker_hub)] {
                if accepted.drop_weak() {
                    tracing::error!(
                        service,
                        sender,
                        "a webhook's secret has fewer than {WEBHOOK_SECRET_MIN} characters, or there are more than {ACCEPTED_MAX}; it counts as absent"
                    );
                }
            }
        }
        if secrets.slack.signing_secret.drop_weak() {
            tracing::error!(
                "Slack's signing secret has fewer than {WEBHOOK_SECRET_MIN} characters; it counts as absent"
            );
        }
        if secrets.link_key.len() < LINK_KEY_MIN {
            return Err(invalid("link_key has to have 32 characters or more"));
        }
        Ok(secrets)
    }

    /// The secrets of one service's webhooks; empty ones when there are none, so that the same work follows.
    pub(crate) fn of(&self, service: &str) -> Webhooks {
        self.webhooks.get(service).cloned().unwrap_or_default()
    }
}

/// The secrets, read when they are first needed and again when they are no longer fresh.
pub struct Keeper {
    vault: Arc<dyn Vault>,
    fresh: Duration,
    again: Duration,
    kept: Mutex<Option<(Instant, Arc<Secrets>)>>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keeper(…)")
    }
}

impl Keeper {
    /// Over a vault.
    pub fn new(vault: Arc<dyn Vault>) -> Self {
        Self { vault, fresh: FRESH, again: READ_AGAIN_AFTER, kept: Mutex::new(None) }
    }

    /// The secrets. Those of before serve on while the vault does not answer: an approval must not wait for it.
    pub async fn secrets(&self) -> Result<Arc<Secrets>, PortError> {
        self.not_older_than(self.fresh).await
    }

    /// The secrets as they are now, for a proof that failed against `known`: it may have been made with one that was set a moment ago.
    /// `None` when they are the same, or were read so lately that whoever sends garbage could not have them read for each request.
    pub(crate) async fn newer_than(&self, known: &Arc<Secrets>) -> Result<Option<Arc<Secrets>>, PortError> {
        let now = self.not_older_than(self.again.min(self.fresh)).await?;
        Ok((!Arc::ptr_eq(&now, known)).then_some(now))
    }

    async fn not_older_than(&self, age: Duration) -> Result<Arc<Secrets>, PortError> {
        let mut kept = self.kept.lock().await;
        if let Some((read_at, secrets)) = kept.as_ref()
            && read_at.elapsed() < age
        {
            return Ok(secrets.clone());
        }
        let read = self.vault.document().await.and_then(|document| Secrets::parse(&document));
        match (read, kept.as_ref()) {
            (Ok(secrets), _) => {
                let secrets = Arc::new(secrets);
                *kept = Some((Instant::now(), secrets.clone()));
                Ok(secrets)
            }
            (Err(error), Some((_, before))) => {
                tracing::warn!(error = %error, "the secrets could not be read again; those of before serve on");
                let before = before.clone();
                // Not asked again with the next request, nor with each of a flood.
                *kept = Some((Instant::now(), before.clone()));
                Ok(before)
            }
            (Err(error), None) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    struct Counting(AtomicU32);

    #[async_trait]
    impl Vault for Counting {
        async fn document(&self) -> Result<String, PortError> {
            match self.0.fetch_add(1, Ordering::SeqCst) {
                0 => Ok(format!(r#"{{"link_key": "{}"}}"#, "k".repeat(64))),
                1 => Err(PortError::new(ErrorKind::Unavailable, "get", "Timeout", "no answer")),
                _ => Ok(format!(r#"{{"link_key": "{}"}}"#, "n".repeat(64))),
            }
        }
    }

    #[tokio::test]
    async fn the_vault_is_asked_once_in_a_while_and_its_failure_is_survived() {
        let vault = Arc::new(Counting(AtomicU32::new(0)));
        let mut keeper = Keeper::new(vault.clone());
        let first = async |keeper: &Keeper| keeper.secrets().await.unwrap().link_key.chars().next();
        assert_eq!((first(&keeper).await, first(&keeper).await), (Some('k'), Some('k')));
        assert_eq!(vault.0.load(Ordering::SeqCst), 1);
        keeper.fresh = Duration::ZERO;
        assert_eq!(first(&keeper).await, Some('k'), "the vault did not answer");
        assert_eq!(first(&keeper).await, Some('n'));
        assert_eq!(vault.0.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn a_secret_that_could_be_guessed_counts_as_absent() {
        let document = json!({ "link_key": "k".repeat(64), "webhooks": {
            "a": { "github": "", "jenkins": "fifteen letters", "docker_hub": "sixteen letters." },
            "b": { "github": ["the new one, long enough", "", "the old one, long enough", "one too many, long enough"], "jenkins": null },
        }});
        let secrets = Secrets::parse(&document.to_string()).unwrap();
        let count = |accepted: &Accepted| accepted.secrets().count();
        let (a, b) = (secrets.of("a"), secrets.of("b"));
        assert_eq!([count(&a.github), count(&a.jenkins), count(&a.docker_hub)], [0, 0, 1]);
        assert_eq!([count(&b.github), count(&b.jenkins), count(&b.docker_hub)], [2, 0, 0]);
        assert!(b.github.secrets().eq(["the new one, long enough", "the old one, long enough"]));
    }

    #[tokio::test]
    async fn a_failed_proof_has_the_secret_read_again_but_not_each_of_a_flood() {
        let vault = Arc::new(Counting(AtomicU32::new(2)));
        let mut keeper = Keeper::new(vault.clone());
        let known = keeper.secrets().await.unwrap();
        for _ in 0..100 {
            assert!(keeper.newer_than(&known).await.unwrap().is_none());
        }
        assert_eq!(vault.0.load(Ordering::SeqCst), 3, "read a moment ago");
        keeper.again = Duration::ZERO;
        assert!(keeper.newer_than(&known).await.unwrap().is_some());
        assert_eq!(vault.0.load(Ordering::SeqCst), 4);
    }

    #[test]
    fn a_wrong_document_is_refused_without_being_quoted() {
        for document in [r#"{"link_key": "hunter2"}"#, r#"{"link_key": 7, "x": "hunter2"}"#, "hunter2"] {
            let error = Secrets::parse(document).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let secrets = Secrets::parse(&format!(r#"{{"link_key": "{}"}}"#, "hunter2".repeat(9))).unwrap();
        assert!(!format!("{secrets:?}").contains("hunter2"));
    }
}
