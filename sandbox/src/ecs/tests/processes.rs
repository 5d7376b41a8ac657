//! ECS with its own scheduler, on the real clock, with real processes as tasks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::fakes::Fakes;
use super::{definition, service};
use crate::ecs::{Ecs, Identity, Ports, Settings};
use crate::ports::{Caller, Service as _};

struct Live {
    ecs: Ecs,
    fakes: Arc<Fakes>,
}

impl Live {
    async fn call(&self, operation: &str, input: Value) -> Value {
        self.ecs.call(operation, input, &Caller::default()).await.unwrap()
    }

    async fn status(&self) -> Value {
        let list = json!({"cluster": "prod", "service": "shop"});
        self.call("ListServiceDeployments", list).await["serviceDeployments"][0]["status"].clone()
    }

    async fn until_successful(&self) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(40);
        while self.status().await != "SUCCESSFUL" {
            assert!(tokio::time::Instant::now() < deadline, "not in time: {}", self.status().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The versions that the registered targets answer with.
    async fn versions(&self) -> Vec<String> {
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let targets: Vec<_> =
            self.fakes.targets.lock().unwrap().iter().map(|(_, address)| *address).collect();
        let mut versions = Vec::new();
        for address in targets {
            let answer = client.get(format!("http://{address}/").parse().unwrap()).await.unwrap();
            versions.push(answer.headers()["x-version"].to_str().unwrap().to_owned());
        }
        versions
    }
}

#[tokio::test]
async fn a_release_replaces_real_processes() {
    let fakes = Fakes::new();
    // The fake load balancer believes that whatever listens is healthy.
    *fakes.all_healthy.lock().unwrap() = true;
    let ports = Ports {
        balancers: fakes.clone(),
        events: fakes.clone(),
        alarms: fakes.clone(),
        images: fakes.clone(),
        launcher: Arc::new(crate::tasks::test_launcher()),
    };
    let settings = Settings {
        seconds_per_minute: 0.05,
        task_start: Duration::from_millis(10),
        tick: Duration::from_millis(10),
        ..Settings::default()
    };
    let identity = Identity { account: "111122223333".into(), region: "eu-west-1".into() };
    let live = Live { ecs: Ecs::start(ports, identity, settings), fakes };
    live.call("CreateCluster", json!({"clusterName": "prod"})).await;
    live.call("RegisterTaskDefinition", definition("v1")).await;
    let configuration = json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 1});
    live.call("CreateService", service(json!({"deploymentConfiguration": configuration}))).await;
    live.until_successful().await;
    assert_eq!(live.versions().await, ["v1", "v1"]);

    live.call("RegisterTaskDefinition", definition("v2")).await;
    live.call("UpdateService", json!({"cluster": "prod", "service": "shop", "taskDefinition": "shop"})).await;
    live.until_successful().await;
    assert_eq!(live.versions().await, ["v2", "v2"]);
}
