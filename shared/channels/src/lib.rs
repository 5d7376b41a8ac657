//! IO: whom Tidegate tells over HTTP. Each module is one receiver: what is sent is made by pure functions, and its documented limits are kept.
//!
//! Addresses, tokens and keys come from one secret; none of them is ever part of an error or a log line.

mod github;
mod http;
mod pagerduty;
mod secrets;
mod signing;
mod slack;
mod teams;
mod webhook;

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_core::ids::ServiceName;
use tidegate_core::notify::{Message, NotSent};
use tidegate_core::policy::Receiver;

pub use http::Http;
pub use secrets::{Keeper, Secrets, Vault};
pub use signing::signature;

/// Answers whoever pressed a button in Slack; only they see it.
pub async fn answer_in_slack(http: &Http, url: &str, text: &str) -> Result<(), NotSent> {
    slack::answer(http, url, text).await
}

/// What a receiver calls what it was told.
type Memory = BTreeMap<String, String>;

/// The receivers that are reached over HTTP.
pub struct Channels {
    http: Http,
    secrets: Keeper,
    github: github::Tokens,
}

impl Channels {
    /// With the secret that holds addresses and keys.
    pub fn new(vault: Arc<dyn Vault>) -> Self {
        Self { http: Http::default(), secrets: Keeper::new(vault), github: github::Tokens::default() }
    }

    /// Tells one message. `None` when the receiver is not one of these.
    pub async fn tell(&self, message: &Message) -> Option<Result<Memory, NotSent>> {
        let secrets = match &message.to {
            Receiver::EventBus(_) | Receiver::Sns(_) | Receiver::AmazonQ(_) => return None,
            Receiver::Slack(_)
            | Receiver::GitHub(_)
            | Receiver::Teams(_)
            | Receiver::Webhook(_)
            | Receiver::PagerDuty(_) => match self.secrets.get().await {
                Ok(secrets) => secrets,
                Err(error) => return Some(Err(error)),
            },
        };
        Some(self.tell_with(&secrets, message).await)
    }

    async fn tell_with(&self, secrets: &Secrets, message: &Message) -> Result<Memory, NotSent> {
        let done = |()| message.memory.clone();
        match &message.to {
            Receiver::EventBus(_) | Receiver::Sns(_) | Receiver::AmazonQ(_) => Ok(message.memory.clone()),
            Receiver::Slack(channel) => slack::tell(&self.http, secrets.slack()?, channel, message).await,
            Receiver::GitHub(repository) => {
                let github =
                    github::GitHub { http: &self.http, tokens: &self.github, secret: secrets.github()? };
                github.tell(repository, message).await
            }
            Receiver::Teams(name) => teams::tell(&self.http, secrets.teams(name)?, message).await.map(done),
            Receiver::Webhook(name) => {
                webhook::tell(&self.http, secrets.webhook(name)?, message).await.map(done)
            }
            Receiver::PagerDuty(name) => {
                pagerduty::tell(&self.http, secrets.pagerduty(name)?, message).await.map(done)
            }
        }
    }

    /// Tries a receiver with a message that says that it is a test. `None` when the receiver is not one of these.
    pub async fn test(&self, to: &Receiver, service: &ServiceName, id: &str) -> Option<Result<(), NotSent>> {
        let secrets = match self.secrets.get().await {
            Ok(secrets) => secrets,
            Err(error) => return Some(Err(error)),
        };
        Some(match to {
            Receiver::EventBus(_) | Receiver::Sns(_) | Receiver::AmazonQ(_) => return None,
            Receiver::Slack(channel) => match secrets.slack() {
                Ok(secret) => slack::test(&self.http, secret, channel, service).await,
                Err(error) => Err(error),
            },
            Receiver::GitHub(repository) => match secrets.github() {
                Ok(secret) => {
                    github::GitHub { http: &self.http, tokens: &self.github, secret }.test(repository).await
                }
                Err(error) => Err(error),
            },
            Receiver::Teams(name) => match secrets.teams(name) {
                Ok(url) => teams::test(&self.http, url, service).await,
                Err(error) => Err(error),
            },
            Receiver::Webhook(name) => match secrets.webhook(name) {
                Ok(secret) => webhook::test(&self.http, secret, service, id).await,
                Err(error) => Err(error),
            },
            Receiver::PagerDuty(name) => match secrets.pagerduty(name) {
                Ok(secret) => pagerduty::test(&self.http, secret, service, id).await,
                Err(error) => Err(error),
            },
        })
    }
}
