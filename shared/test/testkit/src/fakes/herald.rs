//! Who is told of releases: receivers that keep what they were told, and can be down; the herald's queue.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tidegate_core::fault::PortError;
use tidegate_core::ids::{ReleaseId, ServiceName};
use tidegate_core::listing::Listing;
use tidegate_core::notify::{Mark, Message, NotSent, Told, Trial};
use tidegate_core::policy::{Channel, Moment, Receiver};
use tidegate_core::ports::{Notebook, Postpone, Receivers, Waker};
use tidegate_runtime::Installation;
use tidegate_runtime::tell::Herald;

use super::ports::Port;
use super::universe::{Caller, Universe};

/// What a receiver was told.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Tiding {
    pub at: Timestamp,
    pub receiver: String,
    pub release: ReleaseId,
    pub mark: Mark,
    pub moment: Moment,
    /// What the receiver had said it calls what it was told before.
    pub memory: BTreeMap<String, String>,
}

/// Everybody who is told.
#[derive(Debug, Clone, Default)]
pub struct Post {
    /// What they were told, in order.
    pub tidings: Vec<Tiding>,
    /// Receivers that are down: how their names begin, from when, until when, and how long they ask not to be called.
    pub down: Vec<(String, Timestamp, Timestamp, Option<u32>)>,
    /// How long receivers take for a message.
    pub lag: SignedDuration,
    /// How often receivers were called.
    pub calls: u32,
    /// Messages of the herald's queue, with the time they come out of it.
    pub queue: Vec<(Timestamp, ReleaseId)>,
    /// Until when messages of the queue were put off, by their receipts.
    pub postponed: BTreeMap<String, u32>,
    /// Trials that were asked for.
    pub asked: Vec<(ServiceName, String)>,
    /// What came of them.
    pub trials: BTreeMap<(ServiceName, String), Trial>,
}

#[async_trait]
impl Notebook for Port {
    async fn told(&self, release: &ReleaseId) -> Result<Listing<Told>, PortError> {
        let rows = self.call("dynamodb:Query told", false, |state, _| Ok(state.rows.told_of(release)));
        Ok(Listing::new(rows.await?, Vec::new()))
    }

    async fn note(&self, release: &ReleaseId, told: &Told) -> Result<(), PortError> {
        self.call("dynamodb:PutItem told", false, |state, _| state.rows.note(release, told)).await
    }

    async fn ask_trial(&self, service: &ServiceName, id: &str, _: Timestamp) -> Result<(), PortError> {
        self.call("dynamodb:PutItem trial", false, |state, _| {
            state.post.asked.push((service.clone(), id.to_owned()));
            Ok(())
        })
        .await
    }

    async fn put_trial(&self, service: &ServiceName, trial: &Trial) -> Result<(), PortError> {
        self.call("dynamodb:PutItem trial", false, |state, _| {
            state.post.trials.insert((service.clone(), trial.id.clone()), trial.clone());
            Ok(())
        })
        .await
    }

    async fn trial(&self, service: &ServiceName, id: &str) -> Result<Option<Trial>, PortError> {
        let key = (service.clone(), id.to_owned());
        self.call("dynamodb:GetItem trial", false, |state, _| Ok(state.post.trials.get(&key).cloned())).await
    }
}

#[async_trait]
impl Receivers for Port {
    async fn tell(&self, message: &Message) -> Result<BTreeMap<String, String>, NotSent> {
        let receiver = message.to.name();
        let lag = self.universe.state().post.lag;
        self.universe.sleep(lag).await;
        let told = self.call("tell", false, |state, _| {
            state.post.calls += 1;
            let now = state.now;
            let is_down = |(name, from, to, _): &&(String, Timestamp, Timestamp, Option<u32>)| {
                receiver.starts_with(name.as_str()) && *from <= now && now < *to
            };
            if let Some((.., retry_after_secs)) = state.post.down.iter().find(is_down) {
                return Ok(Err(NotSent {
                    retry_after_secs: *retry_after_secs,
                    ..NotSent::new("it is down")
                }));
            }
            let tiding = Tiding {
                at: now,
                receiver: receiver.clone(),
                release: message.about.release.clone(),
                mark: message.notice.mark,
                moment: message.notice.moment,
                memory: message.memory.clone(),
            };
            state.post.tidings.push(tiding);
            let first = message.memory.get("first").cloned();
            let first = first.unwrap_or_else(|| message.notice.mark.to_string());
            Ok(Ok(BTreeMap::from([("first".to_owned(), first)])))
        });
        told.await.unwrap_or_else(|error| Err(NotSent::new(error.code)))
    }

    async fn test(&self, to: &Receiver, _: &ServiceName, _: &str) -> Result<(), NotSent> {
        let (receiver, now) = (to.name(), self.universe.state().now);
        let state = self.universe.state();
        let is_down = state
            .post
            .down
            .iter()
            .any(|(name, from, to, _)| receiver.starts_with(name.as_str()) && *from <= now && now < *to);
        if is_down { Err(NotSent::new("it is down").remedy("turn it on")) } else { Ok(()) }
    }
}

/// The herald's queue, for what is sent to it.
struct TellQueue(Arc<Port>);

#[async_trait]
impl Waker for TellQueue {
    async fn wake(&self, release: &ReleaseId, delay_secs: u32, _: &str) -> Result<(), PortError> {
        let sent = self.0.call("sqs:SendMessage tell", false, |state, _| {
            let delay = SignedDuration::from_secs(i64::from(delay_secs.min(900)));
            let at = state.now.saturating_add(delay).unwrap_or(state.now);
            state.post.queue.push((at, release.clone()));
            Ok(())
        });
        sent.await
    }
}

#[async_trait]
impl Postpone for Port {
    async fn postpone(&self, receipt: &str, delay_secs: u32) -> Result<(), PortError> {
        let put_off = self.call("sqs:ChangeMessageVisibility", false, |state, _| {
            state.post.postponed.insert(receipt.to_owned(), delay_secs);
            Ok(())
        });
        put_off.await
    }
}

impl Universe {
    /// A herald, with the channels of services whose policy names none.
    pub fn herald(&self, caller: Caller, defaults: Vec<Channel>) -> Herald {
        let port = Arc::new(Port::new(self.clone(), caller.clone()));
        let installation = self.context(caller, false).installation;
        Herald {
            installation: Installation { waker: Some(Arc::new(TellQueue(port.clone()))), ..installation },
            notebook: port.clone(),
            receivers: port,
            defaults,
        }
    }

    /// What was told, as the command line and the herald have it.
    pub fn notebook(&self, caller: Caller) -> Arc<dyn Notebook> {
        Arc::new(Port::new(self.clone(), caller))
    }

    /// The herald's queue, for putting messages off.
    pub fn tell_queue(&self, caller: Caller) -> Arc<dyn Postpone> {
        Arc::new(Port::new(self.clone(), caller))
    }
}
