//! What somebody else does to a running sandbox, over its admin API.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::testing::Stage;
use crate::ports::LoadBalancers as _;

impl Stage {
    async fn admin(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/_sandbox/{path}", self.local.endpoint.url()))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap();
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let answer = client.request(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn somebody(&self, service: &str, operation: &str, input: Value) -> (u16, Value) {
        let request = json!({"service": service, "operation": operation, "input": input});
        self.admin(Method::POST, "call", request).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_scales_and_deletes_a_service_resets_weights_and_wants_more_tasks() {
    let stage = Stage::up(|_| {}).await;
    let elb = "elasticloadbalancing";
    let made = async |operation: &str, input: Value, place: &str| {
        let (status, answer) = stage.somebody(elb, operation, input).await;
        assert_eq!(status, 200, "{operation}: {answer}");
        answer.pointer(place).unwrap().as_str().unwrap().to_owned()
    };
    let balancer =
        made("CreateLoadBalancer", json!({"Name": "shop"}), "/LoadBalancers/0/LoadBalancerArn").await;
    let place = "/TargetGroups/0/TargetGroupArn";
    let stable = made("CreateTargetGroup", json!({"Name": "stable", "TargetType": "ip"}), place).await;
    let canary = made("CreateTargetGroup", json!({"Name": "canary", "TargetType": "ip"}), place).await;
    let forward = |groups: &[(&String, u32)]| {
        let groups = groups.iter().map(|(arn, weight)| json!({"TargetGroupArn": arn, "Weight": weight}));
        json!([{"Type": "forward", "ForwardConfig": {"TargetGroups": groups.collect::<Vec<_>>()}}])
    };
    let listener =
        json!({"LoadBalancerArn": balancer, "Port": 0, "DefaultActions": forward(&[(&stable, 1)])});
    let listener = made("CreateListener", listener, "/Listeners/0/ListenerArn").await;

    // Terraform knows of one target group, and says so after a canary was put beside it.
    let actions =
        json!({"ListenerArn": listener, "DefaultActions": forward(&[(&stable, 90), (&canary, 10)])});
    assert_eq!(stage.somebody(elb, "ModifyListener", actions).await.0, 200);
    assert_eq!(stage.admin(Method::POST, "terraform", json!({"rule": listener})).await.0, 204);
    assert_eq!(stage.local.elb.forward_weights(&listener).unwrap(), [(stable, 1)]);
    let (status, answer) = stage.admin(Method::POST, "terraform", json!({"rule": "arn:nobody"})).await;
    assert_eq!((status, &answer["code"]), (400, &json!("RuleNotFound")));

    let container = json!({"name": "app", "image": "111122223333.dkr.ecr.eu-central-1.amazonaws.com/shop:1"});
    let definition = json!({"family": "shop", "containerDefinitions": [container]});
    let network = json!({"awsvpcConfiguration": {"subnets": ["subnet-1"]}});
    let service = json!({"serviceName": "shop", "taskDefinition": "shop", "desiredCount": 0, "networkConfiguration": network});
    for (operation, input) in
        [("CreateCluster", json!({})), ("RegisterTaskDefinition", definition), ("CreateService", service)]
    {
        let (status, answer) = stage.somebody("ecs", operation, input).await;
        assert_eq!(status, 200, "{operation}: {answer}");
    }
    let described = async || {
        let answer = stage.local.somebody("ecs", "DescribeServices", json!({"services": ["shop"]})).await;
        answer.unwrap()["services"][0].clone()
    };
    assert_eq!(described().await["createdBy"], "arn:aws:iam::111122223333:user/somebody-else");
    let target = json!({"ServiceNamespace": "ecs", "ResourceId": "service/default/shop",
        "ScalableDimension": "ecs:service:DesiredCount", "MinCapacity": 0, "MaxCapacity": 3});
    assert_eq!(stage.somebody("application-autoscaling", "RegisterScalableTarget", target).await.0, 200);
    let wants = json!({"resource": "service/default/shop", "tasks": 5});
    let scaled = json!({"outcome": "scaled", "from": 0, "to": 3});
    assert_eq!(stage.admin(Method::PUT, "autoscaling", wants).await, (200, scaled));
    assert_eq!(described().await["desiredCount"], 3);
    let overview = stage.admin(Method::GET, "autoscaling", Value::Null).await.1;
    assert_eq!(overview["targets"][0]["demand"], 5);

    let (status, answer) = stage.somebody("ecs", "DeleteService", json!({"service": "shop"})).await;
    assert_eq!((status, &answer["code"]), (400, &json!("InvalidParameterException")));
    assert_eq!(
        stage.somebody("ecs", "DeleteService", json!({"service": "shop", "force": true})).await.0,
        200
    );
    assert_ne!(described().await["status"], "ACTIVE");
    let (status, answer) = stage.somebody("s3", "PutObject", json!({})).await;
    assert_eq!((status, &answer["code"]), (400, &json!("UnknownOperationException")));
}
