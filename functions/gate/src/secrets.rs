//! The gate's secrets: one JSON document, read once and kept for some minutes. Never logged, never in an error.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use tidegate_core::ports::{ErrorKind, PortError};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long the secrets are used before they are read again: a webhook's new secret counts after this time.
const FRESH: Duration = Duration::from_secs(5 * 60);
/// A shorter key could be guessed; the template makes one of 64 characters.
const LINK_KEY_MIN: usize = 32;

/// Where the document is.
#[async_trait]
pub trait Vault: Send + Sync {
    /// The document.
    async fn document(&self) -> Result<String, PortError>;
}

#[async_trait]
impl Vault for tidegate_secrets::Secret {
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
}

/// The secrets of one service's webhooks.
#[derive(Clone, Default, Deserialize)]
pub struct Webhooks {
    /// The secret GitHub signs with.
    #[serde(default)]
    pub github: Option<String>,
    /// The secret Jenkins signs with.
    #[serde(default)]
    pub jenkins: Option<String>,
    /// The secret in the path Docker Hub calls.
    #[serde(default)]
    pub docker_hub: Option<String>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
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
        let secrets: Self = serde_json::from_str(document).map_err(|_| {
            invalid(r#"it has to be JSON: {"link_key": "…", "webhooks": {"SERVICE": {"github": "…", "jenkins": "…", "docker_hub": "…"}}}"#)
        })?;
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
        Self { vault, fresh: FRESH, kept: Mutex::new(None) }
    }

    /// The secrets. Those of before serve on while the vault does not answer: an approval must not wait for it.
    pub async fn secrets(&self) -> Result<Arc<Secrets>, PortError> {
        let mut kept = self.kept.lock().await;
        if let Some((read_at, secrets)) = kept.as_ref()
            && read_at.elapsed() < self.fresh
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
                Ok(before.clone())
            }
            (Err(error), None) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
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
    fn a_wrong_document_is_refused_without_being_quoted() {
        for document in [r#"{"link_key": "hunter2"}"#, r#"{"link_key": 7, "x": "hunter2"}"#, "hunter2"] {
            let error = Secrets::parse(document).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let secrets = Secrets::parse(&format!(r#"{{"link_key": "{}"}}"#, "hunter2".repeat(9))).unwrap();
        assert!(!format!("{secrets:?}").contains("hunter2"));
    }
}
