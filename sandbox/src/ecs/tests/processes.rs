//! ECS with its own scheduler, on the real clock, with real processes behind a real load balancer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::fakes::Fakes;
use super::{canary, definition, pauses, service};
use crate::ecs::{Ecs, Identity, Ports, Settings};
use crate::elb::{self, Elb, Served, TrafficObserver};
use crate::ports::{Caller, Service};

struct Unobserved;

impl TrafficObserver for Unobserved {
    fn served(&self, _: &Served) {}
}

async fn call(service: &dyn Service, operation: &str, input: Value) -> Value {
    match service.call(operation, input, &Caller::default()).await {
        Ok(answer) => answer,
        Err(error) => panic!("{operation}: {error:?}"),
    }
}

struct Live {
    ecs: Ecs,
    elb: Elb,
    url: String,
    rule: String,
    blue: String,
    green: String,
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl Live {
    /// A load balancer with a rule over two target groups, and an empty cluster.
    async fn new() -> Self {
        let options = elb::Options { seconds_scale: 0.04, ..elb::Options::default() };
        let elb = Elb::new(options, Arc::new(Unobserved));
        let balancer = call(&elb, "CreateLoadBalancer", json!({"Name": "shop"})).await;
        let balancer = balancer["LoadBalancers"][0]["LoadBalancerArn"].clone();
        let mut groups = Vec::new();
        for name in ["blue", "green"] {
            let input = json!({"Name": name, "Protocol": "HTTP", "Port": 80, "TargetType": "ip",
                "HealthCheckPath": "/health", "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 4});
            let group = call(&elb, "CreateTargetGroup", input).await;
            groups.push(group["TargetGroups"][0]["TargetGroupArn"].as_str().unwrap().to_owned());
        }
        let forward = |groups: &[String]| {
            json!([{"Type": "forward", "ForwardConfig": {"TargetGroups": [
                {"TargetGroupArn": groups[0], "Weight": 1}, {"TargetGroupArn": groups[1], "Weight": 0},
            ]}}])
        };
        let input = json!({"LoadBalancerArn": balancer, "Port": 0, "DefaultActions": forward(&groups)});
        let listener = call(&elb, "CreateListener", input).await["Listeners"][0].clone();
        let input = json!({
            "ListenerArn": listener["ListenerArn"], "Priority": 1,
            "Conditions": [{"Field": "path-pattern", "Values": ["/*"]}], "Actions": forward(&groups),
        });
        let rule = call(&elb, "CreateRule", input).await["Rules"][0]["RuleArn"].as_str().unwrap().to_owned();

        let fakes = Fakes::new();
        let ports = Ports {
            balancers: Arc::new(elb.clone()),
            events: fakes.clone(),
            alarms: fakes.clone(),
            images: fakes.clone(),
            launcher: Arc::new(crate::tasks::test_launcher()),
            functions: fakes.clone(),
        };
        let settings = Settings {
            seconds_per_minute: 0.1,
            task_start: Duration::from_millis(10),
            tick: Duration::from_millis(10),
            ..Settings::default()
        };
        let identity = Identity { account: "111122223333".into(), region: "eu-west-1".into() };
        let ecs = Ecs::start(ports, identity, settings);
        call(&ecs, "CreateCluster", json!({"clusterName": "prod"})).await;
        let url = format!("http://127.0.0.1:{}/", listener["Port"]);
        let client = Client::builder(TokioExecutor::new()).build_http();
        let [blue, green] = <[String; 2]>::try_from(groups).unwrap();
        Self { ecs, elb, url, rule, blue, green, client }
    }

    /// Creates the service at `v1` and waits for it.
    async fn service(&self, configuration: Value) {
        call(&self.ecs, "RegisterTaskDefinition", definition("v1")).await;
        let balancer = json!({
            "targetGroupArn": self.blue, "containerName": "app", "containerPort": 8080,
            "advancedConfiguration": {
                "alternateTargetGroupArn": self.green, "productionListenerRule": self.rule, "roleArn": "arn:role",
            },
        });
        let request = service(json!({"loadBalancers": [balancer], "deploymentConfiguration": configuration}));
        call(&self.ecs, "CreateService", request).await;
        self.until("v1", |deployment| deployment["status"] == "SUCCESSFUL").await;
    }

    async fn hold_every_shift(&self) {
        let hooks = json!({"lifecycleHooks": pauses(&["PRE_PRODUCTION_TRAFFIC_SHIFT"])});
        let update = json!({"cluster": "prod", "service": "shop", "deploymentConfiguration": hooks});
        call(&self.ecs, "UpdateService", update).await;
    }

    async fn release(&self, version: &str) {
        call(&self.ecs, "RegisterTaskDefinition", definition(version)).await;
        let update = json!({"cluster": "prod", "service": "shop", "taskDefinition": "shop"});
        call(&self.ecs, "UpdateService", update).await;
    }

    async fn deployment(&self) -> Value {
        let list =
            call(&self.ecs, "ListServiceDeployments", json!({"cluster": "prod", "service": "shop"})).await;
        let arn = list["serviceDeployments"][0]["serviceDeploymentArn"].clone();
        let described =
            call(&self.ecs, "DescribeServiceDeployments", json!({"serviceDeploymentArns": [arn]})).await;
        described["serviceDeployments"][0].clone()
    }

    async fn until(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(40);
        loop {
            let deployment = self.deployment().await;
            if condition(&deployment) {
                return deployment;
            }
            assert!(tokio::time::Instant::now() < deadline, "not in time: {what}: {deployment:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn waiting_hook(&self) -> Value {
        let waits = |deployment: &Value| deployment["lifecycleHookDetails"][0]["status"] == "AWAITING_ACTION";
        self.until("a hook", waits).await
    }

    async fn continue_hook(&self) {
        let deployment = self.waiting_hook().await;
        let input = json!({
            "serviceDeploymentArn": deployment["serviceDeploymentArn"],
            "hookId": deployment["lifecycleHookDetails"][0]["hookId"],
        });
        call(&self.ecs, "ContinueServiceDeployment", input).await;
    }

    /// Who answers, or the status when it is not 200.
    async fn get(&self) -> String {
        match self.client.get(self.url.parse().unwrap()).await {
            Ok(answer) if answer.status() == 200 => {
                let version = answer.headers()["x-version"].to_str().unwrap().to_owned();
                answer.into_body().collect().await.map_or("broken off".to_owned(), |_| version)
            }
            Ok(answer) => answer.status().to_string(),
            Err(error) => error.to_string(),
        }
    }

    async fn count(&self, requests: usize) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for _ in 0..requests {
            *counts.entry(self.get().await).or_default() += 1;
        }
        counts
    }
}

fn counts<const N: usize>(counts: [(&str, usize); N]) -> BTreeMap<String, usize> {
    counts.into_iter().map(|(version, count)| (version.to_owned(), count)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_canary_carries_its_share_and_no_request_is_lost_forward_or_back() {
    let live = Live::new().await;
    live.service(json!({
        "strategy": "CANARY",
        "canaryConfiguration": {"canaryPercent": 10, "canaryBakeTimeInMinutes": 0},
    }))
    .await;
    live.hold_every_shift().await;
    assert_eq!(live.count(20).await, counts([("v1", 20)]));

    let (seen, stop) = (Mutex::new(BTreeMap::<String, usize>::new()), AtomicBool::new(false));
    let load = async {
        while !stop.load(Ordering::Relaxed) {
            let answer = live.get().await;
            *seen.lock().unwrap().entry(answer).or_default() += 1;
        }
    };
    let story = async {
        live.release("v2").await;
        live.continue_hook().await;
        live.until("the canary", |deployment| {
            deployment["targetServiceRevision"]["requestedProductionTrafficWeight"] == 10.0
        })
        .await;
        let second = live.waiting_hook().await;
        assert_eq!(second["lifecycleStage"], "PRE_PRODUCTION_TRAFFIC_SHIFT");
        let arn = second["serviceDeploymentArn"].clone();
        call(&live.ecs, "StopServiceDeployment", json!({"serviceDeploymentArn": arn})).await;
        live.until("rolled back", |deployment| deployment["status"] == "ROLLBACK_SUCCESSFUL").await;

        live.release("v3").await;
        live.continue_hook().await;
        live.until("10%", |deployment| {
            deployment["targetServiceRevision"]["requestedProductionTrafficWeight"] == 10.0
        })
        .await;
        live.continue_hook().await;
        live.until("v3", |deployment| deployment["status"] == "SUCCESSFUL").await;
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(load, story);
    assert_eq!(live.count(20).await, counts([("v3", 20)]));
    let seen = seen.into_inner().unwrap();
    assert!(seen.keys().all(|answer| ["v1", "v2", "v3"].contains(&answer.as_str())), "{seen:?}");
    live.elb.shutdown();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_gets_exactly_its_weight() {
    let live = Live::new().await;
    live.service(canary()).await;
    live.hold_every_shift().await;
    live.release("v2").await;
    live.continue_hook().await;
    live.until("the second hook", |deployment| {
        deployment["targetServiceRevision"]["requestedProductionTrafficWeight"] == 10.0
            && deployment["lifecycleHookDetails"][0]["status"] == "AWAITING_ACTION"
    })
    .await;
    assert_eq!(live.count(100).await, counts([("v1", 90), ("v2", 10)]));
    live.elb.shutdown();
}

impl Live {
    /// A third target group, and the rule with these weights for blue and for it.
    async fn canary_group(&self) -> String {
        let input = json!({"Name": "canary", "Protocol": "HTTP", "Port": 80, "TargetType": "ip",
            "HealthCheckPath": "/health", "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 4});
        let group = call(&self.elb, "CreateTargetGroup", input).await;
        group["TargetGroups"][0]["TargetGroupArn"].as_str().unwrap().to_owned()
    }

    async fn set_weights(&self, canary: &str, stable: u32, share: u32) {
        let groups = json!([{"TargetGroupArn": self.blue, "Weight": stable}, {"TargetGroupArn": canary, "Weight": share}]);
        let actions = json!([{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]);
        call(&self.elb, "ModifyRule", json!({"RuleArn": self.rule, "Actions": actions})).await;
    }

    /// Waits until a service has so many tasks, all of them steady.
    async fn steady(&self, service: &str, tasks: u32) {
        let input = json!({"cluster": "prod", "services": [service]});
        let deadline = tokio::time::Instant::now() + Duration::from_secs(40);
        loop {
            let described = call(&self.ecs, "DescribeServices", input.clone()).await["services"][0].clone();
            let rolled = described["deployments"].as_array().unwrap().len() == 1
                && described["deployments"][0]["rolloutState"] == "COMPLETED";
            if rolled && described["runningCount"] == tasks && described["pendingCount"] == 0 {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{service} is not steady: {described:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_of_ours_move_traffic_to_a_second_service_and_home_and_no_request_is_lost() {
    let live = Live::new().await;
    live.service(json!({})).await;
    let canary = live.canary_group().await;
    call(&live.ecs, "RegisterTaskDefinition", definition("v2")).await;
    let request = json!({
        "serviceName": "shop-canary-1", "desiredCount": 1,
        "loadBalancers": [{"targetGroupArn": canary, "containerName": "app", "containerPort": 8080}],
    });
    let refused =
        live.ecs.call("CreateService", service(request.clone()), &Caller::default()).await.unwrap_err();
    assert!(refused.message.ends_with("does not have an associated load balancer."), "{refused:?}");
    live.set_weights(&canary, 100, 0).await;
    call(&live.ecs, "CreateService", service(request)).await;
    live.steady("shop-canary-1", 1).await;
    assert_eq!(live.count(20).await, counts([("v1", 20)]), "at weight 0 there is nothing");

    let (seen, stop) = (Mutex::new(BTreeMap::<String, usize>::new()), AtomicBool::new(false));
    let load = async {
        while !stop.load(Ordering::Relaxed) {
            let answer = live.get().await;
            *seen.lock().unwrap().entry(answer).or_default() += 1;
        }
    };
    let story = async {
        live.set_weights(&canary, 90, 10).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        call(
            &live.ecs,
            "UpdateService",
            json!({"cluster": "prod", "service": "shop-canary-1", "desiredCount": 2}),
        )
        .await;
        live.steady("shop-canary-1", 2).await;
        live.set_weights(&canary, 0, 100).await;
        live.release("v2").await;
        live.steady("shop", 2).await;
        live.set_weights(&canary, 100, 0).await;
        call(
            &live.ecs,
            "UpdateService",
            json!({"cluster": "prod", "service": "shop-canary-1", "desiredCount": 0}),
        )
        .await;
        live.steady("shop-canary-1", 0).await;
        call(&live.ecs, "DeleteService", json!({"cluster": "prod", "service": "shop-canary-1"})).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(load, story);
    let seen = seen.into_inner().unwrap();
    assert!(seen.keys().all(|answer| ["v1", "v2"].contains(&answer.as_str())), "{seen:?}");
    let gone =
        call(&live.ecs, "DescribeServices", json!({"cluster": "prod", "services": ["shop-canary-1"]})).await;
    assert_eq!(gone["services"][0]["status"], "INACTIVE");
    live.elb.shutdown();
}
