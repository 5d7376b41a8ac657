//! Events of AWS services on their way to the product's functions.
//!
//! No emulator emits the events of services it does not have, and ministack refuses `aws.*` sources in `PutEvents`, as AWS
//! does. So this dispatcher reads rules and targets from ministack, matches the events itself, and invokes the targets with
//! the documented semantics of EventBridge and of asynchronous invocation: at least once, two further tries after a
//! function's error, then the dead-letter queue. Tests make it duplicate, delay, drop and reorder.

pub mod bus;
pub mod pattern;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use self::bus::{Bus, Failure, Rule, Target};
use crate::ports::{AwsError, EventSink, ServiceEvent};

/// Deliveries the log remembers.
const LOG_LENGTH: usize = 2000;

/// Where events come from and how patient their delivery is.
#[derive(Debug, Clone)]
pub struct Options {
    /// Account in the envelope.
    pub account: String,
    /// Region in the envelope.
    pub region: String,
    /// Pauses before the second and the third try of a function; AWS waits one and two minutes.
    pub retries: [Duration; 2],
    /// How long throttled and unavailable functions are tried again; AWS does so for six hours.
    pub patience: Duration,
    /// How long rules are remembered.
    pub rules_fresh: Duration,
}

impl Options {
    /// The usual patience of a local machine.
    pub fn new(account: &str, region: &str) -> Self {
        Self {
            account: account.to_owned(),
            region: region.to_owned(),
            retries: [Duration::from_millis(500), Duration::from_secs(1)],
            patience: Duration::from_secs(30),
            rules_fresh: Duration::from_secs(1),
        }
    }
}

/// What goes wrong with events on their way, for tests. All of it is documented AWS behaviour.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Disturbance {
    /// Only events whose source or detail-type contains this are disturbed; all when empty.
    pub only: String,
    /// Further copies of each event.
    pub duplicates: u32,
    /// Every event is late by this.
    pub delay_ms: u64,
    /// Every event is late by up to this, at random: they overtake each other.
    pub jitter_ms: u64,
    /// Of the events, how many are lost: 0 to 1. AWS loses events of "best effort" sources.
    pub lost: f64,
}

/// One delivery, for the log.
#[derive(Debug, Clone, Serialize)]
pub struct Delivery {
    /// When it was over.
    pub time: Timestamp,
    /// The event's id.
    pub event_id: String,
    /// The event's source.
    pub source: String,
    /// The event's detail-type.
    pub detail_type: String,
    /// What the event is about, by ARN.
    pub resources: Vec<String>,
    /// The rule that matched.
    pub rule: String,
    /// The target's ARN.
    pub target: String,
    /// Tries it took.
    pub tries: usize,
    /// From the event to the end of the delivery.
    pub latency_ms: u64,
    /// How it ended: `delivered`, `dead_letter`, `lost`, or `no_rule`.
    pub outcome: String,
    /// The last error, if there was one.
    pub error: Option<String>,
}

/// Delivers events. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    bus: Arc<dyn Bus>,
    runtime: Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rules: Option<(Instant, Arc<Vec<Rule>>)>,
    disturbance: Disturbance,
    log: VecDeque<Delivery>,
    pending: usize,
}

impl Dispatcher {
    /// A dispatcher over a bus. Must be called within a tokio runtime, on which deliveries then run.
    pub fn new(options: Options, bus: Arc<dyn Bus>) -> Self {
        Self { inner: Arc::new(Inner { options, bus, runtime: Handle::current(), state: Mutex::default() }) }
    }

    /// Sets what goes wrong from now on.
    pub fn disturb(&self, disturbance: Disturbance) {
        self.inner.lock().disturbance = disturbance;
    }

    /// The deliveries so far, oldest first.
    pub fn log(&self) -> Vec<Delivery> {
        self.inner.lock().log.iter().cloned().collect()
    }

    /// Events that are still being delivered.
    pub fn pending(&self) -> usize {
        self.inner.lock().pending
    }

    /// `GET /_sandbox/events` is the log; `PUT` and `DELETE /_sandbox/events/disturbance`; `POST /_sandbox/events` emits.
    pub fn admin(&self) -> Router {
        let (log, set, clear, emit) = (self.clone(), self.clone(), self.clone(), self.clone());
        Router::new()
            .route(
                "/_sandbox/events",
                get(async move || axum::Json(json!({"pending": log.pending(), "deliveries": log.log()})))
                    .post(async move |axum::Json(event): axum::Json<Emitted>| emit.emit(event.into_event())),
            )
            .route(
                "/_sandbox/events/disturbance",
                axum::routing::put(async move |axum::Json(wanted): axum::Json<Disturbance>| {
                    set.disturb(wanted)
                })
                .delete(async move || clear.disturb(Disturbance::default())),
            )
    }
}

/// An event by hand, e.g. an ECR push without an image.
#[derive(Debug, Deserialize)]
struct Emitted {
    source: String,
    #[serde(rename = "detail-type")]
    detail_type: String,
    #[serde(default)]
    resources: Vec<String>,
    detail: Value,
}

impl Emitted {
    fn into_event(self) -> ServiceEvent {
        let Self { source, detail_type, resources, detail } = self;
        ServiceEvent { source, detail_type, resources, detail, time: Timestamp::now() }
    }
}

impl EventSink for Dispatcher {
    fn emit(&self, event: ServiceEvent) {
        let disturbance = self.inner.lock().disturbance.clone();
        let disturbed =
            event.source.contains(&disturbance.only) || event.detail_type.contains(&disturbance.only);
        let disturbance = if disturbed { disturbance } else { Disturbance::default() };
        let envelope = self.inner.envelope(&event);
        if fastrand::f64() < disturbance.lost {
            self.inner.note(
                Note { envelope: &envelope, since: event.time, rule: "", target: "" },
                0,
                "lost",
                None,
            );
            return;
        }
        for _ in 0..=disturbance.duplicates {
            let jitter =
                if disturbance.jitter_ms == 0 { 0 } else { fastrand::u64(0..=disturbance.jitter_ms) };
            let wait = Duration::from_millis(disturbance.delay_ms + jitter);
            let (inner, envelope, since) = (self.inner.clone(), envelope.clone(), event.time);
            self.inner.lock().pending += 1;
            self.inner.runtime.spawn(async move {
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
                inner.deliver(&envelope, since).await;
                inner.lock().pending -= 1;
            });
        }
    }
}

/// What a log entry is about.
#[derive(Clone, Copy)]
struct Note<'a> {
    envelope: &'a Value,
    since: Timestamp,
    rule: &'a str,
    target: &'a str,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The event as EventBridge sends it.
    fn envelope(&self, event: &ServiceEvent) -> Value {
        let id = fastrand::u128(..);
        let hex = format!("{id:032x}");
        let id = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
        json!({
            "version": "0",
            "id": id,
            "detail-type": event.detail_type,
            "source": event.source,
            "account": self.options.account,
            // EventBridge writes whole seconds.
            "time": event.time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "region": self.options.region,
            "resources": event.resources,
            "detail": event.detail,
        })
    }

    async fn deliver(&self, envelope: &Value, since: Timestamp) {
        let mut rules = self.rules().await;
        for pause in self.options.retries {
            if rules.is_ok() {
                break;
            }
            tokio::time::sleep(pause).await;
            rules = self.rules().await;
        }
        let rules = match rules {
            Ok(rules) => rules,
            Err(error) => {
                let error = format!("cannot read the rules: {} {}", error.code, error.message);
                tracing::warn!(error, "event not delivered");
                self.note(Note { envelope, since, rule: "", target: "" }, 0, "lost", Some(error));
                return;
            }
        };
        let deliveries: Vec<(&Rule, &Target)> = (rules.iter())
            .filter(|rule| pattern::matches(&rule.pattern, envelope))
            .flat_map(|rule| rule.targets.iter().map(move |target| (rule, target)))
            .collect();
        if deliveries.is_empty() {
            self.note(Note { envelope, since, rule: "", target: "" }, 0, "no_rule", None);
        }
        let sent =
            deliveries.into_iter().map(|(rule, target)| self.deliver_to(envelope, since, rule, target));
        futures::future::join_all(sent).await;
    }

    async fn rules(&self) -> Result<Arc<Vec<Rule>>, AwsError> {
        if let Some((read, rules)) = &self.lock().rules
            && read.elapsed() < self.options.rules_fresh
        {
            return Ok(rules.clone());
        }
        let rules = Arc::new(self.bus.rules().await?);
        self.lock().rules = Some((Instant::now(), rules.clone()));
        Ok(rules)
    }

    async fn deliver_to(&self, envelope: &Value, since: Timestamp, rule: &Rule, target: &Target) {
        let note = Note { envelope, since, rule: &rule.name, target: &target.arn };
        let payload = payload(envelope, target);
        let (tries, failure) = if target.arn.contains(":lambda:") {
            self.invoke(&target.arn, &payload).await
        } else if target.arn.contains(":sqs:") {
            let sent = self.bus.send(&target.arn, &payload.to_string(), &[]).await;
            (1, sent.err().map(Failure::Invoke))
        } else {
            let kind =
                AwsError::new("UnsupportedTarget", "the sandbox delivers to functions and queues only");
            (1, Some(Failure::Invoke(kind)))
        };
        let Some(failure) = failure else {
            self.note(note, tries, "delivered", None);
            return;
        };
        let error = match &failure {
            Failure::Function(payload) => payload.to_string(),
            Failure::Invoke(error) => format!("{} {}", error.code, error.message),
        };
        tracing::warn!(rule = rule.name, target = target.arn, error, "event failed for good");
        let outcome = match self.dead_letter(&payload, rule, target, &failure, &error).await {
            Ok(true) => "dead_letter",
            Ok(false) => "lost",
            Err(problem) => {
                tracing::error!(problem.code, problem.message, "dead-letter queue did not take the event");
                "lost"
            }
        };
        self.note(note, tries, outcome, Some(error));
    }

    /// Up to three tries, as an asynchronous invocation has. Throttling and a service that is not there do not count.
    async fn invoke(&self, function_arn: &str, payload: &Value) -> (usize, Option<Failure>) {
        let mut pauses = self.options.retries.iter();
        let patience_ends = Instant::now() + self.options.patience;
        let mut tries = 0;
        loop {
            tries += 1;
            let Err(failure) = self.bus.invoke(function_arn, payload).await else { return (tries, None) };
            let pause = if is_passing(&failure) && Instant::now() < patience_ends {
                Some(&self.options.retries[0])
            } else {
                pauses.next()
            };
            let Some(pause) = pause else { return (tries, Some(failure)) };
            tokio::time::sleep(*pause).await;
        }
    }

    /// A function's error goes where the function says; an event that could not be handed over, where the rule says. Each
    /// stands in for the other when it is not set. Whether there was a queue.
    async fn dead_letter(
        &self,
        payload: &Value,
        rule: &Rule,
        target: &Target,
        failure: &Failure,
        error: &str,
    ) -> Result<bool, AwsError> {
        let is_function = target.arn.contains(":lambda:");
        let of_function = if is_function { self.bus.failure_destination(&target.arn).await } else { None };
        let queue = match failure {
            Failure::Function(_) => of_function.or(target.dead_letter_arn.clone()),
            Failure::Invoke(_) => target.dead_letter_arn.clone().or(of_function),
        };
        let Some(queue) = queue else { return Ok(false) };
        let code = match failure {
            Failure::Function(_) => "200".to_owned(),
            Failure::Invoke(error) => error.code.clone(),
        };
        let message: String = error.chars().take(1024).collect();
        let attributes = [
            ("RULE_ARN", rule.name.clone()),
            ("TARGET_ARN", target.arn.clone()),
            ("ERROR_CODE", code),
            ("ERROR_MESSAGE", message),
        ];
        self.bus.send(&queue, &payload.to_string(), &attributes).await.map(|()| true)
    }

    fn note(&self, about: Note<'_>, tries: usize, outcome: &str, error: Option<String>) {
        let text = |member: &str| about.envelope[member].as_str().unwrap_or_default().to_owned();
        let resources = about.envelope["resources"].as_array().into_iter().flatten();
        let time = Timestamp::now();
        let delivery = Delivery {
            time,
            event_id: text("id"),
            source: text("source"),
            detail_type: text("detail-type"),
            resources: resources.filter_map(Value::as_str).map(str::to_owned).collect(),
            rule: about.rule.to_owned(),
            target: about.target.to_owned(),
            tries,
            latency_ms: u64::try_from(time.duration_since(about.since).as_millis()).unwrap_or(0),
            outcome: outcome.to_owned(),
            error,
        };
        let mut state = self.lock();
        if state.log.len() >= LOG_LENGTH {
            state.log.pop_front();
        }
        state.log.push_back(delivery);
    }
}

/// Whether the function was not even asked, for a reason that passes.
fn is_passing(failure: &Failure) -> bool {
    match failure {
        Failure::Function(_) => false,
        Failure::Invoke(error) => error.status == 429 || error.status >= 500,
    }
}

/// What the target gets: the event, a part of it, or a constant.
fn payload(envelope: &Value, target: &Target) -> Value {
    if let Some(input) = &target.input {
        return serde_json::from_str(input).unwrap_or_else(|_| input.clone().into());
    }
    match target.input_path.as_deref().and_then(|path| path.strip_prefix('$')) {
        None | Some("") => envelope.clone(),
        Some(path) => {
            let parts = path.split('.').filter(|part| !part.is_empty());
            parts.fold(envelope, |value, part| &value[part]).clone()
        }
    }
}

#[cfg(test)]
mod tests;
