//! A GitHub repository: a deployment with its statuses, and a commit status, so that a workflow can wait for the release and fail with it.
//!
//! Sources: GitHub REST API, "Deployments", "Deployment statuses" and "Commit statuses": descriptions have 140 characters at most;
//! "Generating a JSON Web Token for a GitHub App" (RS256, ten minutes at most); "Rate limits for the REST API": 403 or 429 with `retry-after`,
//! or with `x-ratelimit-remaining: 0` and `x-ratelimit-reset`.

use std::collections::BTreeMap;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer};
use serde_json::{Value, json};
use tidegate_core::ids::GitHubRepository;
use tidegate_core::notify::{Message, NotSent, headline, paragraphs};
use tidegate_core::policy::Moment;
use tidegate_core::text::visible_line;
use tokio::sync::Mutex;

use crate::Memory;
use crate::http::{Answer, Http, Request};
use crate::secrets;

const WHOM: &str = "GitHub";
const LONGEST_DESCRIPTION: usize = 140;
/// An app's token is replaced so long before it expires, seconds.
const SPARE_SECS: i64 = 300;
/// How long an app's own proof counts, seconds; GitHub allows 600.
const PROOF_SECS: i64 = 540;

/// Tokens of the app's installations, by repository, and until when they are good.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<BTreeMap<String, (String, Timestamp)>>);

pub(crate) struct GitHub<'a> {
    pub(crate) http: &'a Http,
    pub(crate) tokens: &'a Tokens,
    pub(crate) secret: &'a secrets::GitHub,
}

/// What a moment is to GitHub: the state of the deployment, and of the commit.
fn states(message: &Message) -> (&'static str, &'static str) {
    match message.notice.moment {
        Moment::Created => ("queued", "pending"),
        Moment::Promoted => ("success", "success"),
        // Whoever waits for a release that did not end well fails with it.
        Moment::RolledBack | Moment::Failed | Moment::Cancelled | Moment::Superseded => {
            ("failure", "failure")
        }
        Moment::Asked
        | Moment::Started
        | Moment::Planned
        | Moment::Replanned
        | Moment::ApprovalRequested
        | Moment::Approved
        | Moment::Rejected
        | Moment::VerificationStarted
        | Moment::DeploymentStarted
        | Moment::Shifting
        | Moment::StageDone
        | Moment::TasksFailed
        | Moment::WeightsRepaired
        | Moment::WouldRollBack
        | Moment::Promoting
        | Moment::RollingBack
        | Moment::TrafficRestored
        | Moment::Redeploying
        | Moment::InterventionRequired
        | Moment::GivingWay
        | Moment::Settling => ("in_progress", "pending"),
    }
}

fn description(message: &Message) -> String {
    let why = paragraphs(message).into_iter().next().unwrap_or_default();
    let text = visible_line(&format!("{}. {why}", headline(message))).into_owned();
    let mut cut: String = text.chars().take(LONGEST_DESCRIPTION).collect();
    if cut.len() < text.len() {
        cut.pop();
        cut.push('…');
    }
    cut
}

/// The whole name of a commit; GitHub takes a commit status for nothing less.
fn commit(message: &Message) -> Option<&str> {
    let commit = message.about.provenance.commit.as_deref()?;
    (commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit())).then_some(commit)
}

impl GitHub<'_> {
    /// A release whose commit is not known is nothing GitHub could show.
    pub(crate) async fn tell(
        &self,
        repository: &GitHubRepository,
        message: &Message,
    ) -> Result<Memory, NotSent> {
        let Some(commit) = commit(message) else { return Ok(message.memory.clone()) };
        let (deployment_state, commit_state) = states(message);
        let about = &message.about;
        let deployment = match message.memory.get("deployment") {
            Some(id) => id.clone(),
            None => self.deployment(repository, commit, message).await?,
        };
        let description = description(message);
        let mut status =
            json!({ "state": deployment_state, "description": description, "auto_inactive": true });
        let mut of_commit = json!({ "state": commit_state, "description": description, "context": format!("tidegate/{}", about.service) });
        if let Some(url) = about.provenance.url.as_deref().filter(|url| url.starts_with("https://")) {
            status["log_url"] = json!(url);
            of_commit["target_url"] = json!(url);
        }
        let path = format!("/repos/{repository}/deployments/{deployment}/statuses");
        self.post(repository, &path, &status).await?;
        self.post(repository, &format!("/repos/{repository}/statuses/{commit}"), &of_commit).await?;
        Ok(BTreeMap::from([("deployment".to_owned(), deployment)]))
    }

    /// Whether the repository can be seen, and deployments of it.
    pub(crate) async fn test(&self, repository: &GitHubRepository) -> Result<(), NotSent> {
        let path = format!("/repos/{repository}/deployments?per_page=1");
        self.call(repository, "GET", &path, None).await.map(drop)
    }

    /// The release's deployment, made where there is none: one that was made and not noted is found by the release it names.
    async fn deployment(
        &self,
        repository: &GitHubRepository,
        commit: &str,
        message: &Message,
    ) -> Result<String, NotSent> {
        let about = &message.about;
        let environment = about.service.as_str();
        let path =
            format!("/repos/{repository}/deployments?sha={commit}&environment={environment}&per_page=50");
        let listed = self.call(repository, "GET", &path, None).await?;
        let ours = |deployment: &&Value| deployment["payload"]["tidegate_release"] == json!(about.release);
        let found = listed.as_array().into_iter().flatten().find(ours);
        let made = match found {
            Some(found) => found.clone(),
            None => {
                let body = json!({
                    "ref": commit,
                    "task": "deploy",
                    // Tidegate decides what is deployed: GitHub is told, and merges and checks nothing.
                    "auto_merge": false,
                    "required_contexts": [],
                    "environment": environment,
                    "description": description(message),
                    "payload": { "tidegate_release": about.release },
                });
                self.post(repository, &format!("/repos/{repository}/deployments"), &body).await?
            }
        };
        let id = made["id"].as_u64().map(|id| id.to_string());
        id.ok_or_else(|| NotSent::new("GitHub's answer names no deployment"))
    }

    async fn post(&self, repository: &GitHubRepository, path: &str, body: &Value) -> Result<Value, NotSent> {
        self.call(repository, "POST", path, Some(body)).await
    }

    async fn call(
        &self,
        repository: &GitHubRepository,
        method: &'static str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, NotSent> {
        let token = self.token(repository).await?;
        let answer = self.request(method, path, &token, body).await?;
        if answer.is_success() {
            return Ok(answer.json());
        }
        if answer.status == 401 {
            self.tokens.0.lock().await.remove(repository.as_str());
        }
        Err(refused(repository, &answer))
    }

    async fn request(
        &self,
        method: &'static str,
        path: &str,
        token: &str,
        body: Option<&Value>,
    ) -> Result<Answer, NotSent> {
        let url = format!("{}{path}", self.secret.url);
        let request = match body {
            Some(body) => Request::post(WHOM, &url, body),
            None => Request::get(WHOM, &url),
        };
        let request = Request { method, ..request }
            .header("authorization", format!("Bearer {token}"))
            .header("accept", "application/vnd.github+json")
            .header("x-github-api-version", "2022-11-28");
        self.http.send(request).await
    }

    /// The token of the secret, or the one of the app's installation in the repository.
    async fn token(&self, repository: &GitHubRepository) -> Result<String, NotSent> {
        if let Some(token) = &self.secret.token {
            return Ok(token.clone());
        }
        let (Some(app), Some(key)) = (&self.secret.app_id, &self.secret.private_key) else {
            return Err(NotSent::new(
                "Tidegate's notification secret holds neither a GitHub token nor an app",
            )
            .remedy("Give github either token, or app_id and private_key."));
        };
        let mut tokens = self.tokens.0.lock().await;
        let now = Timestamp::now();
        if let Some((token, until)) = tokens.get(repository.as_str())
            && now.as_second() < until.as_second() - SPARE_SECS
        {
            return Ok(token.clone());
        }
        let proof = proof(app, key, now)?;
        let path = format!("/repos/{repository}/installation");
        let installation = self.as_app(repository, "GET", &path, &proof, None).await?;
        let Some(id) = installation["id"].as_u64() else {
            return Err(NotSent::new("GitHub's answer names no installation of the app"));
        };
        let name = repository.as_str().split('/').next_back().unwrap_or_default();
        let wanted =
            json!({ "repositories": [name], "permissions": { "deployments": "write", "statuses": "write" } });
        let path = format!("/app/installations/{id}/access_tokens");
        let made = self.as_app(repository, "POST", &path, &proof, Some(&wanted)).await?;
        let until = made["expires_at"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
        let (Some(token), Some(until)) = (made["token"].as_str(), until) else {
            return Err(NotSent::new("GitHub's answer holds no token"));
        };
        tokens.insert(repository.to_string(), (token.to_owned(), until));
        Ok(token.to_owned())
    }

    async fn as_app(
        &self,
        repository: &GitHubRepository,
        method: &'static str,
        path: &str,
        proof: &str,
        body: Option<&Value>,
    ) -> Result<Value, NotSent> {
        let answer = self.request(method, path, proof, body).await?;
        if answer.is_success() {
            return Ok(answer.json());
        }
        let refusal = refused(repository, &answer);
        Err(match answer.status {
            401 => {
                refusal.remedy("Compare app_id and private_key in the secret with the GitHub App's settings.")
            }
            404 => refusal.remedy(format!("Install the GitHub App in {repository}.")),
            422 => refusal.remedy(
                "Give the GitHub App the permissions Deployments and Commit statuses, both read and write.",
            ),
            _ => refusal,
        })
    }
}

fn refused(repository: &GitHubRepository, answer: &Answer) -> NotSent {
    let answered = answer.json();
    let refusal = answer.refusal(WHOM, answered["message"].as_str());
    match answer.status {
        401 => refusal.remedy(
            "Put a valid token, or the GitHub App's id and key, into Tidegate's notification secret.",
        ),
        403 if answer.retry_after_secs.is_none() => refusal
            .remedy("Give the token the permissions Deployments and Commit statuses, both read and write."),
        404 => refusal.remedy(format!("Look whether {repository} exists and the token may reach it.")),
        422 => refusal.remedy(format!("Look whether the commit is in {repository}.")),
        _ => refusal,
    }
}

/// The app's proof of itself: a JSON Web Token.
fn proof(app: &str, private_key: &str, now: Timestamp) -> Result<String, NotSent> {
    let wrong = || {
        NotSent::new("the private key of the GitHub App cannot be used")
            .remedy("private_key has to be the whole PEM file of the app, with \\n for its line ends.")
    };
    let pem = private_key.as_bytes();
    let key = match PrivatePkcs1KeyDer::from_pem_slice(pem) {
        Ok(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        Err(_) => match PrivateKeyDer::from_pem_slice(pem).map_err(|_| wrong())? {
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(_) | PrivateKeyDer::Sec1(_) | _ => return Err(wrong()),
        },
    }
    .map_err(|_| wrong())?;
    // A minute back, for clocks that differ.
    let claims = json!({ "iat": now.as_second() - 60, "exp": now.as_second() + PROOF_SECS - 60, "iss": app });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({ "alg": "RS256", "typ": "JWT" })), part(&claims));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_| wrong())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests_support::{ended, message};
    use tidegate_core::policy::Receiver;

    fn github() -> Receiver {
        Receiver::GitHub("acme/shop".parse().unwrap())
    }

    #[test]
    fn a_release_that_did_not_end_well_is_a_failure() {
        assert_eq!(states(&ended(github(), None)), ("success", "success"));
        assert_eq!(states(&ended(github(), Some("x"))), ("failure", "failure"));
        assert_eq!(states(&message(github(), "x")), ("in_progress", "pending"));
    }

    #[test]
    fn a_description_is_cut_to_what_github_takes() {
        let long = description(&message(github(), &"ü".repeat(500)));
        assert_eq!(long.chars().count(), 140);
        assert!(long.starts_with("checkout main-2: rolling back. ") && long.ends_with('…'), "{long}");
    }

    #[test]
    fn only_a_whole_commit_is_one() {
        let mut message = ended(github(), None);
        assert!(commit(&message).is_some());
        for other in [None, Some("c0ffee".to_owned()), Some("../../x".repeat(10))] {
            message.about.provenance.commit = other;
            assert_eq!(commit(&message), None);
        }
    }

    #[test]
    fn a_key_that_is_none_is_told_without_being_shown() {
        let error = proof(
            "1",
            "-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0\n-----END RSA PRIVATE KEY-----\n",
            Timestamp::UNIX_EPOCH,
        );
        let error = error.unwrap_err();
        assert!(!format!("{error:?}").contains("c2VjcmV0") && error.remedy.is_some());
    }
}
