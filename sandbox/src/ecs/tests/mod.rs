//! Stories of deployments on a clock that the tests move.

mod api;
mod configuration;
mod fakes;
mod images;
mod kinds;
mod processes;
mod rollback;
mod second;
mod strategies;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use self::fakes::{BLUE, Fakes, GREEN, PRODUCTION};
use super::{Ecs, Identity, Ports, Settings, Work};
use crate::ports::{AwsError, Caller};

/// An ECS with one cluster, whose clock stands still unless told to move.
struct Lab {
    ecs: Ecs,
    fakes: Arc<Fakes>,
    millis: Arc<AtomicI64>,
}

const START_MILLIS: i64 = 1_780_000_000_000;

impl Lab {
    fn new() -> Self {
        Self::with(Settings { task_start: Duration::from_secs(1), ..Settings::default() })
    }

    fn with(settings: Settings) -> Self {
        let fakes = Fakes::new();
        let millis = Arc::new(AtomicI64::new(START_MILLIS));
        let now = Arc::clone(&millis);
        let ports = Ports {
            balancers: fakes.clone(),
            events: fakes.clone(),
            alarms: fakes.clone(),
            images: fakes.clone(),
            launcher: fakes.clone(),
            functions: fakes.clone(),
        };
        let identity = Identity { account: "111122223333".into(), region: "eu-west-1".into() };
        let clock = Box::new(move || Timestamp::from_millisecond(now.load(Ordering::SeqCst)).unwrap());
        let work = Work { pulls: Box::new(Arc::clone(&fakes)), calls: Box::new(Arc::clone(&fakes)) };
        let ecs = Ecs::new(ports, work, identity, settings, clock);
        let lab = Self { ecs, fakes, millis };
        lab.call("CreateCluster", json!({"clusterName": "prod"}));
        lab
    }

    fn try_call(&self, operation: &str, input: Value) -> Result<Value, AwsError> {
        self.ecs.inner.answer(operation, &input, &Caller::default())
    }

    #[track_caller]
    fn call(&self, operation: &str, input: Value) -> Value {
        match self.try_call(operation, input) {
            Ok(answer) => answer,
            Err(error) => panic!("{operation}: {error:?}"),
        }
    }

    #[track_caller]
    fn refused(&self, operation: &str, input: Value) -> String {
        match self.try_call(operation, input) {
            Ok(answer) => panic!("{operation} was accepted: {answer}"),
            Err(error) => error.code,
        }
    }

    /// Moves the clock, ticking ten times a second.
    fn pass(&self, seconds: u32) {
        for _ in 0..seconds * 10 {
            self.pass_millis(100);
        }
    }

    /// Moves the clock and ticks once.
    fn pass_millis(&self, millis: i64) {
        self.millis.fetch_add(millis, Ordering::SeqCst);
        self.ecs.inner.tick();
    }

    fn pass_minutes(&self, minutes: u32) {
        for _ in 0..minutes * 60 {
            self.millis.fetch_add(1000, Ordering::SeqCst);
            self.ecs.inner.tick();
        }
    }

    #[track_caller]
    fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        for _ in 0..600 {
            if condition(self) {
                return;
            }
            self.pass(1);
        }
        panic!("not within 10 minutes: {what}\n{}", self.deployment());
    }

    /// Registers a task definition of family `shop` whose image is this version.
    fn register(&self, version: &str) -> String {
        let answer = self.call("RegisterTaskDefinition", definition(version));
        answer["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned()
    }

    /// A service `shop` with two tasks behind a load balancer, deployed and steady at version `v1`.
    fn service(&self, configuration: Value) {
        self.register("v1");
        self.call("CreateService", service(json!({"deploymentConfiguration": configuration})));
        // Hooks fire in the first deployment, too.
        self.until("first deployment", |lab| {
            lab.continue_hooks();
            lab.statuses() == ["SUCCESSFUL"]
        });
        self.pass(1);
        self.fakes.journal.lock().unwrap().clear();
        self.fakes.events.lock().unwrap().clear();
    }

    /// Answers every hook that waits; how many there were.
    fn continue_hooks(&self) -> usize {
        let hooks = self.waiting_hooks();
        for hook in &hooks {
            self.answer_hook(hook, "CONTINUE");
        }
        hooks.len()
    }

    fn answer_hook(&self, hook: &str, action: &str) {
        let arn = self.deployment()["serviceDeploymentArn"].clone();
        let input = json!({"serviceDeploymentArn": arn, "hookId": hook, "action": action});
        self.call("ContinueServiceDeployment", input);
    }

    fn waiting_hooks(&self) -> Vec<String> {
        let deployment = self.deployment();
        let hooks = deployment["lifecycleHookDetails"].as_array().unwrap();
        let waiting = hooks.iter().filter(|hook| hook["status"] == "AWAITING_ACTION");
        waiting.map(|hook| hook["hookId"].as_str().unwrap().to_owned()).collect()
    }

    /// Starts a deployment of this version.
    fn release(&self, version: &str) {
        let definition = self.register(version);
        self.call(
            "UpdateService",
            json!({"cluster": "prod", "service": "shop", "taskDefinition": definition}),
        );
    }

    fn stop(&self) {
        let arn = self.deployment()["serviceDeploymentArn"].clone();
        self.call("StopServiceDeployment", json!({"serviceDeploymentArn": arn, "stopType": "ROLLBACK"}));
    }

    fn describe(&self) -> Value {
        let answer = self.call("DescribeServices", json!({"cluster": "prod", "services": ["shop"]}));
        answer["services"][0].clone()
    }

    /// All service deployments, newest first.
    fn deployments(&self) -> Vec<Value> {
        let list = self.call("ListServiceDeployments", json!({"cluster": "prod", "service": "shop"}));
        list["serviceDeployments"].as_array().unwrap().clone()
    }

    /// Their statuses, newest first.
    fn statuses(&self) -> Vec<String> {
        self.deployments().iter().map(|brief| brief["status"].as_str().unwrap().to_owned()).collect()
    }

    /// The newest service deployment.
    fn deployment(&self) -> Value {
        let arn = self.deployments()[0]["serviceDeploymentArn"].clone();
        let answer = self.call("DescribeServiceDeployments", json!({"serviceDeploymentArns": [arn]}));
        answer["serviceDeployments"][0].clone()
    }

    fn stage(&self) -> String {
        self.deployment()["lifecycleStage"].as_str().unwrap_or_default().to_owned()
    }

    fn weights(&self) -> (u32, u32) {
        self.fakes.weights(PRODUCTION)
    }

    fn versions(&self) -> Vec<(String, usize)> {
        self.fakes.versions().into_iter().collect()
    }

    fn journal(&self) -> Vec<String> {
        self.fakes.journal.lock().unwrap().clone()
    }
}

fn definition(version: &str) -> Value {
    json!({
        "family": "shop",
        "containerDefinitions": [{
            "name": "app",
            "image": format!("111122223333.dkr.ecr.eu-west-1.amazonaws.com/shop:{version}"),
            "portMappings": [{"containerPort": 8080}],
        }],
        "tags": [{"key": "team", "value": "checkout"}],
    })
}

fn network() -> Value {
    json!({"awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"]}})
}

fn balancer() -> Value {
    json!({
        "targetGroupArn": BLUE, "containerName": "app", "containerPort": 8080,
        "advancedConfiguration": {
            "alternateTargetGroupArn": GREEN,
            "productionListenerRule": PRODUCTION,
            "roleArn": "arn:aws:iam::111122223333:role/ecs-infrastructure",
        },
    })
}

/// A `CreateService` request, with some members replaced.
fn service(replace: Value) -> Value {
    let mut request = json!({
        "cluster": "prod", "serviceName": "shop", "taskDefinition": "shop", "desiredCount": 2,
        "loadBalancers": [balancer()], "networkConfiguration": network(),
    });
    request.as_object_mut().unwrap().extend(replace.as_object().unwrap().clone());
    request
}

fn pauses(stages: &[&str]) -> Value {
    json!([{"targetType": "PAUSE", "lifecycleStages": stages, "timeoutConfiguration": {"timeoutInMinutes": 30}}])
}

fn canary() -> Value {
    json!({"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 10, "canaryBakeTimeInMinutes": 2}})
}

fn with(mut configuration: Value, name: &str, value: Value) -> Value {
    configuration[name] = value;
    configuration
}
