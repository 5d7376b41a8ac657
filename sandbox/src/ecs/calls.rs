//! Calling the functions of AWS_LAMBDA hooks without waiting: what they are told, and what their answers mean.
//!
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/lambda-lifecycle-hooks.html>

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::background::Background;
use super::model::{Call, Deployment, HookRun, Service, Stage, Step};
use crate::ports::{AwsError, Functions};

/// Calls functions in the background.
pub(super) trait FunctionCalls: Send + Sync {
    /// The function's answer for this ticket; `None` while it is being called. An answer is handed out once: asking again calls again.
    fn call(&self, ticket: &str, call: &Call, event: &Value) -> Option<Result<Value, AwsError>>;
}

/// Calls with tokio tasks.
pub(super) struct BackgroundCalls {
    functions: Arc<dyn Functions>,
    background: Background<Result<Value, AwsError>>,
}

impl BackgroundCalls {
    pub(super) fn new(functions: Arc<dyn Functions>) -> Self {
        Self { functions, background: Background::default() }
    }
}

impl FunctionCalls for BackgroundCalls {
    fn call(&self, ticket: &str, call: &Call, event: &Value) -> Option<Result<Value, AwsError>> {
        self.background.ask(ticket.to_owned(), || {
            let (functions, call, event) = (Arc::clone(&self.functions), call.clone(), event.clone());
            async move { functions.invoke(&call.role, &call.function, &event).await }
        })
    }
}

/// In how many seconds a function that is not done yet is called again, when it does not say.
const CALL_AGAIN: f64 = 30.0;

/// What a function's answer means.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Succeeded,
    /// It says so, it cannot be called, it fails, or what it answers is no `hookStatus`: why.
    Failed(String),
    /// It is called again after this, with these details beside those it was called with.
    Again(Duration, Map<String, Value>),
}

impl Answer {
    pub(super) fn read(answered: Result<Value, AwsError>) -> Self {
        let answer = match answered {
            Ok(answer) => answer,
            Err(error) => return Self::Failed(format!("{}: {}", error.code, error.message)),
        };
        match answer["hookStatus"].as_str() {
            Some("SUCCEEDED") => Self::Succeeded,
            Some("FAILED") => Self::Failed("its function answered FAILED".to_owned()),
            Some("IN_PROGRESS") => {
                let after = answer["callBackDelay"].as_f64().unwrap_or(CALL_AGAIN);
                let after = Duration::try_from_secs_f64(after).unwrap_or(Duration::from_secs_f64(CALL_AGAIN));
                Self::Again(after, answer["hookDetails"].as_object().cloned().unwrap_or_default())
            }
            Some(other) => Self::Failed(format!("its function answered the hookStatus {other:?}")),
            None => Self::Failed("its function answered no hookStatus".to_owned()),
        }
    }
}

/// What a function is told. Weights are those of the stage, and of the stages about traffic only.
pub(super) fn event(service: &Service, deployment: &Deployment, hook: &HookRun, call: &Call) -> Value {
    let weights = |percent: f64| {
        let of = |id: Option<_>, weight: f64| id.map(|id| (service.revision(id).arn.clone(), json!(weight)));
        let both = [of(Some(deployment.target), percent), of(deployment.source, 100.0 - percent)];
        Value::Object(both.into_iter().flatten().collect())
    };
    let (test, production) = match hook.stage {
        Stage::TestTrafficShift => (weights(deployment.test_percent), json!({})),
        Stage::PreProductionTrafficShift | Stage::ProductionTrafficShift => {
            (json!({}), weights(deployment.production_percent))
        }
        Stage::ReconcileService
        | Stage::PreScaleUp
        | Stage::ScaleUp
        | Stage::PostScaleUp
        | Stage::PostTestTrafficShift
        | Stage::PostProductionTrafficShift
        | Stage::BakeTime
        | Stage::CleanUp => (json!({}), json!({})),
    };
    let mut event = json!({
        "executionId": call.execution,
        "lifecycleStage": hook.stage.name(),
        "resourceArn": deployment.arn,
        "executionDetails": {
            "serviceArn": service.arn,
            "targetServiceRevisionArn": service.revision(deployment.target).arn,
            "testTrafficWeights": test,
            "productionTrafficWeights": production,
        },
    });
    if !call.details.is_empty() {
        event["hookDetails"] = Value::Object(call.details.clone());
    }
    event
}

/// The stages whose functions are asked during the rollback as well, of those this deployment has passed or would have.
pub(super) fn asked_again(steps: &[Step]) -> impl Iterator<Item = Step> + '_ {
    let both = [Stage::TestTrafficShift, Stage::ProductionTrafficShift].map(Step::Hooks);
    both.into_iter().filter(|step| steps.contains(step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_one_of_three_or_a_failure() {
        let read = |answer: Value| Answer::read(Ok(answer));
        assert_eq!(read(json!({"hookStatus": "SUCCEEDED", "more": 1})), Answer::Succeeded);
        let again = |secs: u64, details: Value| {
            Answer::Again(Duration::from_secs(secs), details.as_object().cloned().unwrap_or_default())
        };
        assert_eq!(read(json!({"hookStatus": "IN_PROGRESS"})), again(30, json!({})));
        let asked = json!({"hookStatus": "IN_PROGRESS", "callBackDelay": 60, "hookDetails": {"asked": true}});
        assert_eq!(read(asked), again(60, json!({"asked": true})));
        // One page of the guide names it callBackDelaySeconds; all samples and the API do not.
        assert_eq!(
            read(json!({"hookStatus": "IN_PROGRESS", "callBackDelaySeconds": 60})),
            again(30, json!({}))
        );
        for wrong in [
            json!({"hookStatus": "FAILED"}),
            json!({"hookStatus": "DONE"}),
            json!({}),
            json!(null),
            json!("ok"),
        ] {
            assert!(matches!(read(wrong.clone()), Answer::Failed(_)), "{wrong}");
        }
        let denied = Answer::read(Err(AwsError::new("AccessDeniedException", "not allowed")));
        assert_eq!(denied, Answer::Failed("AccessDeniedException: not allowed".into()));
    }
}
