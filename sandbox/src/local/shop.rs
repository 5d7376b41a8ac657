//! A shop to release to: a repository, a load balancer with two target groups, an ECS service and an alarm on the errors its users see.

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

use super::{ACCOUNT, EXECUTION_ROLE, INFRASTRUCTURE_ROLE, Local, REGION, TASK_ROLE};
use crate::images::{Behaviour, Push, ensure_repository, push};
use crate::ports::{AwsError, Caller, LoadBalancers as _, Service};

const UP_WITHIN: Duration = Duration::from_secs(60);

/// What shop to open.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The ECS service's name; everything else is named after it.
    pub name: String,
    /// The repository.
    pub repository: String,
    /// Tasks.
    pub tasks: u32,
    /// `application`, `network`, or none at all.
    pub balancer: Balancer,
    /// Amazon ECS may move traffic between two target groups of the service. Otherwise its rule names one group, and the service says nothing of
    /// rules: as most services are.
    pub shifting: bool,
    /// The service's own `deploymentConfiguration`.
    pub configuration: Value,
    /// Its traffic comes by the default action of its listener: there is no rule.
    pub default_action: bool,
    /// One task on each instance, instead of as many as are asked for.
    pub daemon: bool,
    /// The least and the most tasks that Application Auto Scaling may give it; none when it is not scaled.
    pub scaled: Option<(u32, u32)>,
}

/// What stands in front of the shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balancer {
    /// An Application Load Balancer: weights in a rule.
    Application,
    /// A Network Load Balancer: weights in a listener.
    Network,
    /// Nothing.
    None,
}

impl Plan {
    /// `checkout`, with two tasks behind an Application Load Balancer.
    pub fn checkout() -> Self {
        Self {
            name: "checkout".into(),
            repository: "shop/checkout".into(),
            tasks: 2,
            balancer: Balancer::Application,
            shifting: true,
            configuration: json!({ "strategy": "ROLLING", "maximumPercent": 200, "minimumHealthyPercent": 100 }),
            default_action: false,
            daemon: false,
            scaled: None,
        }
    }
}

/// An open shop.
#[derive(Debug, Clone)]
pub struct Shop {
    /// What was asked for.
    pub plan: Plan,
    /// Where its customers come in; `None` without a load balancer.
    pub address: Option<SocketAddr>,
    /// The rule or listener with the weights.
    pub rule: String,
    /// The target group of the service, and the one Amazon ECS may shift to; without shifting nobody uses the second.
    pub groups: [String; 2],
    /// A third one for a canary of somebody's own. No rule names it and no service uses it.
    pub canary: String,
    /// The alarm on the errors its users see.
    pub alarm: String,
}

/// The cluster all shops are in.
pub const CLUSTER: &str = "demo";

impl Shop {
    /// Opens the shop with version `v1` and waits until it serves.
    ///
    /// # Errors
    /// What AWS answers; that it is not up in time.
    pub async fn open(local: &Local, plan: Plan) -> Result<Self> {
        let uri = ensure_repository(&local.client, &plan.repository).await.map_err(aws)?;
        let first = Push::new(&plan.repository, "v1", Behaviour::healthy("v1"));
        // Pushed before anybody watches the repository, so nothing is released by it.
        let digest = push(&local.client, &local.events, &first).await.map_err(aws)?;
        let front = match plan.balancer {
            Balancer::None => Front::default(),
            Balancer::Application | Balancer::Network => balancer(local, &plan).await?,
        };
        let Front { rule, groups, canary, address, name: balancer_name } = front;
        call(&local.ecs, "CreateCluster", json!({ "clusterName": CLUSTER })).await?;
        let container = json!({
            "name": "app", "image": format!("{uri}@{digest}"), "essential": true,
            "portMappings": [{ "containerPort": 8080, "protocol": "tcp" }],
            "environment": [{ "name": "SHOP", "value": plan.name }],
        });
        let definition = json!({
            "family": plan.name, "networkMode": "awsvpc",
            "requiresCompatibilities": [if plan.daemon { "EC2" } else { "FARGATE" }],
            "cpu": "256", "memory": "512", "containerDefinitions": [container],
            "taskRoleArn": TASK_ROLE, "executionRoleArn": EXECUTION_ROLE,
            "tags": [{ "key": "team", "value": "shop" }],
        });
        call(&local.ecs, "RegisterTaskDefinition", definition).await?;
        let mut service = json!({
            "cluster": CLUSTER, "serviceName": plan.name, "taskDefinition": plan.name,
            "desiredCount": plan.tasks, "launchType": "FARGATE", "deploymentConfiguration": plan.configuration,
            "networkConfiguration": { "awsvpcConfiguration": {
                "subnets": ["subnet-0a", "subnet-0b"], "securityGroups": ["sg-0shop"], "assignPublicIp": "DISABLED",
            }},
        });
        if plan.daemon {
            service["launchType"] = json!("EC2");
            service["schedulingStrategy"] = json!("DAEMON");
            service["desiredCount"] = Value::Null;
        }
        if plan.balancer != Balancer::None {
            let mut balancer =
                json!({ "targetGroupArn": groups[0], "containerName": "app", "containerPort": 8080 });
            if plan.shifting {
                balancer["advancedConfiguration"] = json!({
                    "alternateTargetGroupArn": groups[1], "productionListenerRule": rule, "roleArn": INFRASTRUCTURE_ROLE,
                });
            }
            service["loadBalancers"] = json!([balancer]);
        }
        call(&local.ecs, "CreateService", service).await?;
        if let Some((least, most)) = plan.scaled {
            let target = json!({
                "ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount",
                "ResourceId": resource(&plan), "MinCapacity": least, "MaxCapacity": most,
            });
            call(&local.autoscaling, "RegisterScalableTarget", target).await?;
        }
        let alarm = format!("{}-5xx", plan.name);
        let metric = json!({
            "AlarmName": alarm, "AlarmDescription": "the errors its users see",
            "Namespace": "AWS/ApplicationELB", "MetricName": "HTTPCode_Target_5XX_Count",
            "Dimensions": [{ "Name": "LoadBalancer", "Value": balancer_name }],
            "Statistic": "Sum", "Period": 60, "EvaluationPeriods": 1, "Threshold": 2.0,
            "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "notBreaching",
        });
        call(&local.cloudwatch, "PutMetricAlarm", metric).await?;
        let shop = Self { plan, address, rule, groups, canary, alarm };
        shop.wait_until_steady(local).await?;
        Ok(shop)
    }

    /// The policy of the shop, as a person would write it.
    pub fn policy(&self, strategy: &str) -> String {
        format!(
            "service: {name}\nfrom:     {{ ecr: {{ repository: {repository}, tags: [\"main-*\"] }} }}\n\
             to:       {{ ecs: {{ cluster: {CLUSTER}, service: {name}, container: app }} }}\n\
             strategy: {strategy}\nrollback: {{ alarms: [{alarm}] }}\non_newer: queue\n",
            name = self.plan.name,
            repository = self.plan.repository,
            alarm = self.alarm,
        )
    }

    /// The same for a shop with one target group: a candidate runs beside it, on the third one.
    pub fn weighted_policy(&self, strategy: &str) -> String {
        let place = match self.plan.balancer {
            Balancer::None => "{ min_tasks: 1 }".to_owned(),
            Balancer::Application | Balancer::Network => {
                format!("{{ target_group: \"{}\", rules: [\"{}\"] }}", self.canary, self.rule)
            }
        };
        self.policy(strategy).replace("container: app", &format!("container: app, canary: {place}"))
    }

    /// The service as Application Auto Scaling names it.
    pub fn resource(&self) -> String {
        resource(&self.plan)
    }

    /// Pushes an image with the events ECR emits. Returns its digest.
    ///
    /// # Errors
    /// What ECR answers.
    pub async fn push(&self, local: &Local, tag: &str, behaviour: Behaviour) -> Result<String> {
        push(&local.client, &local.events, &Push::new(&self.plan.repository, tag, behaviour))
            .await
            .map_err(aws)
    }

    /// The service as `DescribeServices` has it.
    ///
    /// # Errors
    /// What ECS answers.
    pub async fn service(&self, local: &Local) -> Result<Value> {
        let input = json!({ "cluster": CLUSTER, "services": [self.plan.name] });
        Ok(call(&local.ecs, "DescribeServices", input).await?["services"][0].clone())
    }

    /// The weights of the two target groups, as they are live.
    ///
    /// # Errors
    /// When the rule is gone.
    pub fn weights(&self, local: &Local) -> Result<[u32; 2]> {
        let live = local.elb.forward_weights(&self.rule).map_err(aws)?;
        let weight =
            |group: &String| live.iter().find(|(arn, _)| arn == group).map_or(0, |(_, weight)| *weight);
        let second = if self.plan.shifting { &self.groups[1] } else { &self.canary };
        Ok([weight(&self.groups[0]), weight(second)])
    }

    async fn wait_until_steady(&self, local: &Local) -> Result<()> {
        let deadline = Instant::now() + UP_WITHIN;
        loop {
            // Reads may lag behind: not even the cluster is there at first.
            let service = match self.service(local).await {
                Ok(service) => service,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => json!({}),
            };
            let done = service["deployments"][0]["rolloutState"] == "COMPLETED";
            if done && service["runningCount"] == json!(self.plan.tasks) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(anyhow!("the shop was not up within {UP_WITHIN:?}: {service:#}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn resource(plan: &Plan) -> String {
    format!("service/{CLUSTER}/{}", plan.name)
}

/// What stands in front of a shop.
#[derive(Debug, Default)]
struct Front {
    rule: String,
    groups: [String; 2],
    canary: String,
    address: Option<SocketAddr>,
    /// Its name in metrics.
    name: String,
}

/// A load balancer with two target groups, all traffic on the first, and a third group beside.
async fn balancer(local: &Local, plan: &Plan) -> Result<Front> {
    let network = plan.balancer == Balancer::Network;
    let kind = if network { "network" } else { "application" };
    let elb = &local.elb;
    let created = call(elb, "CreateLoadBalancer", json!({ "Name": plan.name, "Type": kind })).await?;
    let lb = text(&created["LoadBalancers"][0]["LoadBalancerArn"])?;
    let mut groups = Vec::new();
    for colour in ["blue", "green", "canary"] {
        let input = json!({
            "Name": format!("{}-{colour}", plan.name), "Protocol": if network { "TCP" } else { "HTTP" }, "Port": 80,
            "TargetType": "ip", "HealthCheckProtocol": "HTTP", "HealthCheckPath": "/health",
            "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 4, "HealthyThresholdCount": 2,
        });
        let created = call(elb, "CreateTargetGroup", input).await?;
        groups.push(text(&created["TargetGroups"][0]["TargetGroupArn"])?);
    }
    let forward = match plan.shifting {
        true => json!([{ "Type": "forward", "ForwardConfig": { "TargetGroups": [
            { "TargetGroupArn": groups[0], "Weight": 100 }, { "TargetGroupArn": groups[1], "Weight": 0 },
        ]}}]),
        false => json!([{ "Type": "forward", "TargetGroupArn": groups[0] }]),
    };
    let protocol = if network { "TCP" } else { "HTTP" };
    let input = json!({ "LoadBalancerArn": lb, "Port": 0, "Protocol": protocol, "DefaultActions": forward });
    let created = call(elb, "CreateListener", input).await?;
    let listener = text(&created["Listeners"][0]["ListenerArn"])?;
    let rule = if network || plan.default_action {
        listener.clone()
    } else {
        let input = json!({
            "ListenerArn": listener, "Priority": 10, "Actions": forward,
            "Conditions": [{ "Field": "path-pattern", "Values": ["/*"] }],
        });
        text(&call(elb, "CreateRule", input).await?["Rules"][0]["RuleArn"])?
    };
    let [blue, green, canary] =
        <[String; 3]>::try_from(groups).map_err(|_| anyhow!("three groups were created"))?;
    let name = lb.split_once(":loadbalancer/").map(|(_, name)| name.to_owned()).unwrap_or_default();
    Ok(Front { rule, groups: [blue, green], canary, address: elb.listener_address(&listener), name })
}

/// One call, as root.
///
/// # Errors
/// What the service answers.
pub async fn call(service: &dyn Service, operation: &str, input: Value) -> Result<Value> {
    let caller = Caller { access_key_id: "test".into(), arn: Some(format!("arn:aws:iam::{ACCOUNT}:root")) };
    service
        .call(operation, input, &caller)
        .await
        .map_err(aws)
        .with_context(|| format!("{operation} in {REGION}"))
}

fn aws(error: AwsError) -> anyhow::Error {
    anyhow!("{}: {}", error.code, error.message)
}

fn text(value: &Value) -> Result<String> {
    value.as_str().map(str::to_owned).with_context(|| format!("expected a text, found {value}"))
}
