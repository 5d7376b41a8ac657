//! Application Auto Scaling for ECS services: scalable targets, what is suspended on them, and a demand for tasks that stands for their policies.
//!
//! Exists because a release that holds the capacity of a service has to hold it against somebody. No metric scales here: a scenario says how
//! many tasks the policies want ([`AutoScaling::demand`]), and they go on wanting that many until they have them. So a demand that meets a
//! suspension acts at once when the suspension ends, as AWS documents, and one that meets a deployment waits for its end.
//!
//! Left out on purpose, and refused rather than pretended: scaling policies and scheduled actions as resources, every namespace but `ecs`.

mod api;
mod model;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::Router;
use axum::routing::get;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::model::{Model, Target};
use crate::ports::{AwsError, Caller, ScalableServices, Service};

/// How often a demand is looked at. AWS looks once a minute.
const EVALUATE: Duration = Duration::from_millis(200);

/// Where the targets are, and what AWS leaves open.
#[derive(Debug, Clone)]
pub struct Options {
    /// Account in ARNs.
    pub account: String,
    /// Region in ARNs.
    pub region: String,
    /// What a member of `SuspendedState` that is left out means.
    pub omitted_suspension: OmittedSuspension,
    /// How long a change of a target is pending. Meanwhile another one is refused with `ConcurrentUpdateException`; AWS names the error and
    /// not the time.
    pub pending: Duration,
}

impl Options {
    /// A place, with everything else as AWS most likely has it.
    pub fn new(account: impl Into<String>, region: impl Into<String>) -> Self {
        Self {
            account: account.into(),
            region: region.into(),
            omitted_suspension: OmittedSuspension::default(),
            pending: Duration::ZERO,
        }
    }
}

/// What a member that is left out of a `SuspendedState` means. AWS says that parameters which are not given do not change, and that `false` is the
/// default of these members.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OmittedSuspension {
    /// It stays as it is.
    #[default]
    Kept,
    /// It is resumed.
    Resumed,
}

/// How many tasks the policies of a target want.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Demand {
    /// `service/<cluster>/<service>`.
    pub resource: String,
    /// So many tasks; `None` when they want nothing any more.
    pub tasks: Option<u32>,
}

/// What came of a demand when it was last looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// The desired count was changed.
    Scaled {
        /// Before.
        from: u32,
        /// Since.
        to: u32,
    },
    /// Nothing was to be done.
    Satisfied,
    /// It may not be changed now.
    Held {
        /// Why.
        why: Held,
    },
}

/// Why a demand is not met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// Scaling in this direction is suspended.
    Suspended,
    /// ECS runs a deployment of the service, and scaling in waits for its end.
    Deployment,
    /// The service is being deleted, or is gone.
    NotActive,
}

/// The scalable targets of the sandbox. Cheap to clone.
#[derive(Clone)]
pub struct AutoScaling {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    services: Arc<dyn ScalableServices>,
    model: Mutex<Model>,
}

impl AutoScaling {
    /// Starts it. Must be called within a tokio runtime, on which demands are then looked at.
    pub fn start(options: Options, services: Arc<dyn ScalableServices>) -> Self {
        let inner = Arc::new(Inner { options, services, model: Mutex::default() });
        tokio::spawn(evaluate(Arc::downgrade(&inner)));
        Self { inner }
    }

    /// Says how many tasks the policies of a registered target want from now on, and looks at once.
    ///
    /// # Errors
    /// `ObjectNotFoundException` when the target is not registered.
    pub fn demand(&self, demand: &Demand) -> Result<Outcome, AwsError> {
        let mut model = self.inner.model();
        let target =
            model.targets.get_mut(&demand.resource).ok_or_else(|| api::not_registered(&demand.resource))?;
        target.demand = demand.tasks;
        Ok(self.inner.meet(&mut model, &demand.resource))
    }

    /// `GET /_sandbox/autoscaling`: the targets and what their policies want; `PUT` a [`Demand`] changes that.
    pub fn admin(&self) -> Router {
        let (list, demand) = (self.clone(), self.clone());
        let list = get(async move || axum::Json(list.inner.model().overview()));
        let demand = async move |axum::Json(wanted): axum::Json<Demand>| match demand.demand(&wanted) {
            Ok(outcome) => (http::StatusCode::OK, axum::Json(json!(outcome))),
            Err(error) => {
                let told = json!({"code": error.code, "message": error.message});
                (http::StatusCode::BAD_REQUEST, axum::Json(told))
            }
        };
        Router::new().route("/_sandbox/autoscaling", list.put(demand))
    }
}

#[async_trait]
impl Service for AutoScaling {
    async fn call(&self, operation: &str, input: Value, _caller: &Caller) -> Result<Value, AwsError> {
        self.inner.answer(operation, &input)
    }
}

async fn evaluate(inner: Weak<Inner>) {
    let mut ticks = tokio::time::interval(EVALUATE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        let mut model = inner.model();
        let resources: Vec<String> = model.targets.keys().cloned().collect();
        for resource in resources {
            inner.meet(&mut model, &resource);
        }
    }
}

impl Inner {
    /// Nothing panics while it holds the lock; if it did, the data is still whole.
    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the demand for a target.
    fn meet(&self, model: &mut Model, resource: &str) -> Outcome {
        let Some(target) = model.targets.get(resource) else { return Outcome::Satisfied };
        let outcome = self.decide(target);
        if let Outcome::Scaled { to, .. } = outcome {
            let cause = "monitor alarm of the sandbox in state ALARM triggered policy of the sandbox";
            self.set(model, resource, to, cause);
        }
        if let Some(target) = model.targets.get_mut(resource) {
            target.outcome = Some(outcome);
        }
        outcome
    }

    fn decide(&self, target: &Target) -> Outcome {
        let Some(wanted) = target.demand else { return Outcome::Satisfied };
        let Some(scale) = self.services.scale(&target.cluster, &target.service).filter(|scale| scale.active)
        else {
            return Outcome::Held { why: Held::NotActive };
        };
        let wanted = wanted.clamp(target.min, target.max);
        let (suspended, waits) = match wanted.cmp(&scale.desired) {
            std::cmp::Ordering::Equal => return Outcome::Satisfied,
            std::cmp::Ordering::Less => (target.suspended.scaling_in, scale.deploying),
            std::cmp::Ordering::Greater => (target.suspended.scaling_out, false),
        };
        match (suspended, waits) {
            (true, _) => Outcome::Held { why: Held::Suspended },
            (false, true) => Outcome::Held { why: Held::Deployment },
            (false, false) => Outcome::Scaled { from: scale.desired, to: wanted },
        }
    }

    /// Sets the desired count, with an entry in the activities.
    fn set(&self, model: &mut Model, resource: &str, desired: u32, cause: &str) {
        let Some(target) = model.targets.get(resource) else { return };
        self.services.set_desired(&target.cluster, &target.service, desired);
        model.note(resource, desired, cause, Timestamp::now());
    }

    /// Brings the desired count of an active service within its target's bounds, which every registration does.
    fn adjust(&self, model: &mut Model, resource: &str) {
        let Some(target) = model.targets.get(resource) else { return };
        let Some(scale) = self.services.scale(&target.cluster, &target.service).filter(|scale| scale.active)
        else {
            return;
        };
        let within = scale.desired.clamp(target.min, target.max);
        let cause = match within.cmp(&scale.desired) {
            std::cmp::Ordering::Equal => return,
            std::cmp::Ordering::Less => format!("maximum capacity was set to {}", target.max),
            std::cmp::Ordering::Greater => format!("minimum capacity was set to {}", target.min),
        };
        self.set(model, resource, within, &cause);
    }

    /// Whether a change of this target is still pending.
    fn is_pending(&self, target: &Target) -> bool {
        target.changed.is_some_and(|changed: Instant| changed.elapsed() < self.options.pending)
    }
}
