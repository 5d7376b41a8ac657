use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use serde_json::{Value, json};

use super::*;
use crate::endpoint::Endpoint;
use crate::ministack::Client;
use crate::ports::Scale;

const SHOP: &str = "service/prod/shop";

/// Services by cluster and name.
#[derive(Default)]
struct Services(Mutex<BTreeMap<String, Scale>>);

impl Services {
    fn put(&self, desired: u32, deploying: bool, active: bool) {
        self.0.lock().unwrap().insert(SHOP.to_owned(), Scale { desired, deploying, active });
    }

    fn desired(&self) -> u32 {
        self.0.lock().unwrap()[SHOP].desired
    }
}

impl ScalableServices for Services {
    fn scale(&self, cluster: &str, service: &str) -> Option<Scale> {
        self.0.lock().unwrap().get(&format!("service/{cluster}/{service}")).copied()
    }

    fn set_desired(&self, cluster: &str, service: &str, desired: u32) {
        self.0.lock().unwrap().get_mut(&format!("service/{cluster}/{service}")).unwrap().desired = desired;
    }
}

/// A service `shop` with four tasks, and Application Auto Scaling.
fn lab(options: Options) -> (AutoScaling, Arc<Services>) {
    let services = Arc::new(Services::default());
    services.put(4, false, true);
    (AutoScaling::start(options, services.clone()), services)
}

fn options() -> Options {
    Options::new("111122223333", "eu-central-1")
}

/// A request about the shop's target.
fn of_shop(more: Value) -> Value {
    let mut input = json!({"ServiceNamespace": "ecs", "ResourceId": SHOP, "ScalableDimension": "ecs:service:DesiredCount"});
    input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    input
}

fn suspended(scaling_in: bool, scaling_out: bool, scheduled: bool) -> Value {
    json!({"DynamicScalingInSuspended": scaling_in, "DynamicScalingOutSuspended": scaling_out, "ScheduledScalingSuspended": scheduled})
}

async fn register(scaling: &AutoScaling, more: Value) -> Result<Value, AwsError> {
    scaling.call("RegisterScalableTarget", of_shop(more), &Caller::default()).await
}

async fn target(scaling: &AutoScaling) -> Value {
    let input = json!({"ServiceNamespace": "ecs", "ResourceIds": [SHOP], "ScalableDimension": "ecs:service:DesiredCount"});
    let answer = scaling.call("DescribeScalableTargets", input, &Caller::default()).await.unwrap();
    answer["ScalableTargets"][0].clone()
}

fn wants(scaling: &AutoScaling, tasks: Option<u32>) -> Outcome {
    scaling.demand(&Demand { resource: SHOP.to_owned(), tasks }).unwrap()
}

#[tokio::test]
async fn an_update_changes_only_what_it_is_given() {
    let (scaling, services) = lab(options());
    let first = register(&scaling, json!({"MinCapacity": 2, "MaxCapacity": 8})).await.unwrap();
    register(&scaling, json!({"SuspendedState": suspended(true, false, true)})).await.unwrap();
    let found = target(&scaling).await;
    assert_eq!((&found["MinCapacity"], &found["MaxCapacity"]), (&json!(2), &json!(8)));
    assert_eq!(found["SuspendedState"], suspended(true, false, true));
    let again = register(&scaling, json!({"MaxCapacity": 9})).await.unwrap();
    assert_eq!(again["ScalableTargetARN"], first["ScalableTargetARN"]);
    let found = target(&scaling).await;
    assert_eq!((&found["MinCapacity"], &found["MaxCapacity"]), (&json!(2), &json!(9)));
    assert_eq!(found["SuspendedState"], suspended(true, false, true));
    assert_eq!(services.desired(), 4, "within its bounds nothing is changed");
}

#[tokio::test]
async fn what_a_suspension_leaves_out_is_kept_or_resumed() {
    for (omitted_suspension, out) in [(OmittedSuspension::Kept, true), (OmittedSuspension::Resumed, false)] {
        let (scaling, _) = lab(Options { omitted_suspension, ..options() });
        let state = suspended(false, true, true);
        register(&scaling, json!({"MinCapacity": 1, "MaxCapacity": 8, "SuspendedState": state}))
            .await
            .unwrap();
        register(&scaling, json!({"SuspendedState": {"DynamicScalingInSuspended": true}})).await.unwrap();
        assert_eq!(target(&scaling).await["SuspendedState"], suspended(true, out, out));
    }
}

#[tokio::test]
async fn every_registration_brings_the_desired_count_within_its_bounds() {
    let (scaling, services) = lab(options());
    register(&scaling, json!({"MinCapacity": 6, "MaxCapacity": 8})).await.unwrap();
    assert_eq!(services.desired(), 6);
    // Also one that names no bounds.
    services.put(20, false, true);
    register(&scaling, json!({"SuspendedState": suspended(true, true, true)})).await.unwrap();
    assert_eq!(services.desired(), 8);
    let asked = json!({"ServiceNamespace": "ecs", "ResourceId": SHOP});
    let done = scaling.call("DescribeScalingActivities", asked, &Caller::default()).await.unwrap();
    let said: Vec<_> =
        done["ScalingActivities"].as_array().unwrap().iter().map(|it| it["Cause"].clone()).collect();
    assert_eq!(said, ["maximum capacity was set to 8", "minimum capacity was set to 6"]);
    // A service that is being deleted is left alone.
    services.put(0, false, false);
    register(&scaling, json!({"MinCapacity": 7})).await.unwrap();
    assert_eq!(services.desired(), 0);
}

#[tokio::test]
async fn a_demand_waits_for_suspensions_and_a_scale_in_for_deployments() {
    let (scaling, services) = lab(options());
    register(&scaling, json!({"MinCapacity": 2, "MaxCapacity": 8})).await.unwrap();
    assert_eq!(wants(&scaling, Some(4)), Outcome::Satisfied);
    assert_eq!(wants(&scaling, Some(1)), Outcome::Scaled { from: 4, to: 2 }, "no less than the minimum");
    assert_eq!(wants(&scaling, Some(50)), Outcome::Scaled { from: 2, to: 8 }, "no more than the maximum");

    register(&scaling, json!({"SuspendedState": suspended(true, false, false)})).await.unwrap();
    assert_eq!(wants(&scaling, Some(3)), Outcome::Held { why: Held::Suspended });
    tokio::time::sleep(EVALUATE * 2).await;
    assert_eq!(services.desired(), 8);
    // It acts at once when the suspension ends.
    register(&scaling, json!({"SuspendedState": suspended(false, true, false)})).await.unwrap();
    assert_eq!(services.desired(), 3);
    assert_eq!(wants(&scaling, Some(5)), Outcome::Held { why: Held::Suspended });
    register(&scaling, json!({"SuspendedState": suspended(false, false, false)})).await.unwrap();
    assert_eq!(services.desired(), 5);

    services.put(5, true, true);
    assert_eq!(wants(&scaling, Some(6)), Outcome::Scaled { from: 5, to: 6 }, "scaling out does not wait");
    assert_eq!(wants(&scaling, Some(2)), Outcome::Held { why: Held::Deployment });
    services.put(6, false, true);
    tokio::time::sleep(EVALUATE * 3).await;
    assert_eq!(services.desired(), 2, "nobody has to ask again");
    assert_eq!(wants(&scaling, None), Outcome::Satisfied);
    services.put(7, false, true);
    tokio::time::sleep(EVALUATE * 2).await;
    assert_eq!(services.desired(), 7);
    services.put(7, false, false);
    assert_eq!(wants(&scaling, Some(2)), Outcome::Held { why: Held::NotActive });
}

#[tokio::test]
async fn what_aws_refuses() {
    let (scaling, services) = lab(Options { pending: Duration::from_millis(300), ..options() });
    let bounds = json!({"MinCapacity": 1, "MaxCapacity": 4});
    let with = |member: &str, value: Value| {
        let mut input = of_shop(bounds.clone());
        input[member] = value;
        input
    };
    let refused = async |operation: &str, input: Value| {
        let refused = scaling.call(operation, input.clone(), &Caller::default()).await;
        refused.expect_err(&format!("{operation} {input}"))
    };
    for (input, words) in [
        (of_shop(json!({"MinCapacity": 1})), "MinCapacity and MaxCapacity are required"),
        (with("MinCapacity", json!(5)), "Maximum capacity cannot be less than minimum capacity"),
        (with("MinCapacity", json!(-1)), "MinCapacity must be between"),
        (
            with("ServiceNamespace", json!("ecz")),
            "1 validation error detected: Value 'ecz' at 'serviceNamespace'",
        ),
        (with("ServiceNamespace", json!("dynamodb")), "the sandbox scales nothing"),
        (
            with("ResourceId", json!("service/shop")),
            "Unsupported service namespace, resource type or scalable dimension",
        ),
        (with("ScalableDimension", json!("ecs:service:Desired")), "Unsupported service namespace"),
        (with("ResourceId", Value::Null), "1 validation error detected: Value null at 'resourceId'"),
        (with("ResourceId", json!("service/prod/nobody")), "ECS service doesn't exist: service/prod/nobody"),
    ] {
        let error = refused("RegisterScalableTarget", input.clone()).await;
        assert!(
            error.code == "ValidationException" && error.message.starts_with(words),
            "{input}: {error:?}"
        );
    }
    assert_eq!(
        refused("RegisterScalableTarget", with("MaxCapacity", json!("4"))).await.code,
        "SerializationException"
    );
    assert!(target(&scaling).await.is_null(), "nothing was registered");
    assert_eq!(
        scaling.demand(&Demand { resource: SHOP.into(), tasks: Some(1) }).unwrap_err().code,
        "ObjectNotFoundException"
    );
    assert_eq!(refused("DeregisterScalableTarget", of_shop(json!({}))).await.code, "ObjectNotFoundException");
    let alone = json!({"ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount"});
    assert_eq!(refused("DescribeScalableTargets", alone).await.code, "ValidationException");
    let token = json!({"ServiceNamespace": "ecs", "NextToken": "x"});
    assert_eq!(refused("DescribeScalableTargets", token).await.code, "InvalidNextTokenException");
    assert_eq!(refused("PutScalingPolicy", json!({})).await.code, "UnknownOperationException");

    // A refused change of one that is there changes nothing, and while one is pending another is refused.
    register(&scaling, bounds.clone()).await.unwrap();
    assert_eq!(
        register(&scaling, json!({"MaxCapacity": 9})).await.unwrap_err().code,
        "ConcurrentUpdateException"
    );
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(register(&scaling, json!({"MinCapacity": 9})).await.unwrap_err().code, "ValidationException");
    assert_eq!((&target(&scaling).await["MinCapacity"], services.desired()), (&json!(1), 4));
    scaling.call("DeregisterScalableTarget", of_shop(json!({})), &Caller::default()).await.unwrap();
    assert!(target(&scaling).await.is_null());
}

#[tokio::test]
async fn it_is_spoken_to_as_aws_is_and_people_can_look_and_demand() {
    let (scaling, services) = lab(options());
    let endpoint = Endpoint::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    endpoint.register("application-autoscaling", Arc::new(scaling.clone()));
    endpoint.mount(scaling.admin());
    let client = Client::new(endpoint.address(), "eu-central-1", "test", "test");
    let target = |operation: &str| format!("AnyScaleFrontendService.{operation}");
    let input = of_shop(json!({"MinCapacity": 1, "MaxCapacity": 4}));
    let arn = client.json("application-autoscaling", &target("RegisterScalableTarget"), input).await.unwrap();
    let arn = arn["ScalableTargetARN"].as_str().unwrap().to_owned();
    assert!(
        arn.starts_with("arn:aws:application-autoscaling:eu-central-1:111122223333:scalable-target/0ec5"),
        "{arn}"
    );
    let all = json!({"ServiceNamespace": "ecs"});
    let found =
        client.json("application-autoscaling", &target("DescribeScalableTargets"), all).await.unwrap();
    assert_eq!(found["ScalableTargets"][0]["ScalableTargetARN"], arn);
    assert_eq!(endpoint.calls("application-autoscaling", "RegisterScalableTarget"), 1);

    let demand = async |body: Value| {
        let request = http::Request::put(format!("{}/_sandbox/autoscaling", endpoint.url()))
            .header("content-type", "application/json")
            .body(http_body_util::Full::new(bytes::Bytes::from(body.to_string())))
            .unwrap();
        let client =
            hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
        let answer = client.request(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
        (status, serde_json::from_slice::<Value>(&body).unwrap_or_default())
    };
    let scaled = json!({"outcome": "scaled", "from": 4, "to": 2});
    assert_eq!(demand(json!({"resource": SHOP, "tasks": 2})).await, (200, scaled));
    assert_eq!(services.desired(), 2);
    assert_eq!(demand(json!({"resource": "service/prod/x", "tasks": 2})).await.0, 400);
    endpoint.shutdown();
}
