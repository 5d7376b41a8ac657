//! The whole local AWS, put together: ministack, the endpoint in front of it, ECS, load balancers, CloudWatch, the event bus, and
//! Tidegate deployed into it from its own template.
//!
//! Whose the ways into Tidegate are:
//!
//! | what | who |
//! |---|---|
//! | events of ECR pushes, CodeBuild, CodePipeline, ECS, alarms | the sandbox's [`Dispatcher`], to the rules in ministack |
//! | `Object Created` of a bucket with `EventBridgeConfiguration` | ministack, to its own rules (the dispatcher never sees it) |
//! | `PutEvents` with a source other than `aws.*` | ministack, to its own rules |
//! | SNS to SQS, to functions | ministack |
//! | function URLs | ministack; the endpoint passes them on by their Host header |
//! | schedules, DynamoDB streams, SQS to functions | ministack |
//!
//! What somebody else does to a release, a scenario does with [`Local::somebody`] (any call), [`Elb::reset_rule`] (the next `terraform apply`)
//! and [`AutoScaling::demand`]; people do the same over the admin API.
//!
//! A function URL `https://ID.lambda-url.REGION.on.aws/` is reached at the endpoint as `http://ID.lambda-url.REGION.localhost:PORT/`:
//! browsers resolve every name below `localhost` to this machine. Clients that do not can send the Host header themselves, or
//! use `http://127.0.0.1:PORT/_aws/lambda-url/ID/`.

pub mod admin;
pub mod shop;
pub mod web;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::sync::Notify;

use crate::autoscaling::{self, AutoScaling};
use crate::cloudwatch::{self, CloudWatch};
use crate::codebuild::{self, CodeBuild};
use crate::codepipeline::{self, CodePipeline};
use crate::ecs::{Ecs, Identity, Ports, Settings};
use crate::elb::{self, Elb};
use crate::endpoint::{Endpoint, Iam};
use crate::events::bus::MinistackBus;
use crate::events::{self, Dispatcher};
use crate::images::{EcrImages, blobs, scan};
use crate::ministack::functions::HookFunctions;
use crate::ministack::{self, Client, Deployed, Deployment, batches};
use crate::ports::AwsError;
use crate::tasks::ProcessLauncher;

/// The account everything lives in, as AWS's own examples name it.
pub const ACCOUNT: &str = "111122223333";
/// The region everything lives in.
pub const REGION: &str = "eu-central-1";
/// The role the sandbox's services name as infrastructure role.
pub const INFRASTRUCTURE_ROLE: &str = "arn:aws:iam::111122223333:role/ecs-infrastructure";

/// The role the sandbox's tasks run as.
pub const TASK_ROLE: &str = "arn:aws:iam::111122223333:role/shop-task";
/// The role ECS pulls the sandbox's images and writes its logs with; AWS wants one for every private image on Fargate.
pub const EXECUTION_ROLE: &str = "arn:aws:iam::111122223333:role/shop-execution";

/// The role Amazon ECS calls the functions of lifecycle hooks with; names that begin so may be handed to it as well.
pub const HOOK_ROLE: &str = "arn:aws:iam::111122223333:role/ecs-hooks";

/// The user behind the calls of somebody else.
pub const SOMEBODY: &str = "arn:aws:iam::111122223333:user/somebody-else";

/// What the local AWS is made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// The Python environment with ministack.
    pub venv: PathBuf,
    /// Its own directory, for logs and temporary files.
    pub dir: PathBuf,
    /// Tidegate's template and the directory with its functions; `None` for an AWS without Tidegate.
    pub tidegate: Option<Tidegate>,
    /// Records every AWS call into this file.
    pub record: Option<PathBuf>,
    /// The binary that is started as a task; the running one when `None`.
    pub task_binary: Option<PathBuf>,
    /// The timing of ECS.
    pub ecs: Settings,
    /// How long a minute of an alarm's period takes.
    pub alarm_seconds_per_minute: f64,
    /// How long a minute of the load balancers' metrics takes, seconds; the last of its numbers arrives as long after it.
    pub load_balancer_secs: u32,
    /// Changes of weights reach the last load balancer node this late.
    pub weight_propagation: Duration,
    /// A stickiness cookie keeps its client on a target group of weight 0. AWS does not say.
    pub sticky_at_zero: bool,
    /// Age of what is read of rules and their weights.
    pub rule_read_lag: Duration,
    /// A target group with only unhealthy targets gets the traffic all the same, as AWS has it. Off, it answers 503, which shows a wrong shift
    /// at once.
    pub fail_open: bool,
    /// What Application Auto Scaling leaves open.
    pub autoscaling: autoscaling::Options,
    /// The level the functions log at.
    pub log_level: String,
    /// The timing of CodePipeline.
    pub pipelines: codepipeline::Options,
    /// The limits of CodeBuild, and what AWS does not document of it.
    pub builds: codebuild::Options,
}

/// What of Tidegate is deployed.
#[derive(Debug, Clone)]
pub struct Tidegate {
    /// `template.yaml`.
    pub template: PathBuf,
    /// The directory with `<function>/bootstrap`.
    pub functions: PathBuf,
    /// The stack's name.
    pub stack: String,
}

impl Options {
    /// A local AWS as the demo has it: short waits, everything else as documented.
    pub fn new(venv: PathBuf, dir: PathBuf) -> Self {
        let ecs = Settings {
            deregistration_delay: Duration::from_secs(5),
            steady_state_interval: Duration::from_secs(60),
            ..Settings::default()
        };
        Self {
            venv,
            dir,
            tidegate: None,
            record: None,
            task_binary: None,
            ecs,
            alarm_seconds_per_minute: 5.0,
            load_balancer_secs: 5,
            weight_propagation: Duration::ZERO,
            sticky_at_zero: false,
            rule_read_lag: Duration::ZERO,
            fail_open: false,
            autoscaling: autoscaling::Options::new(ACCOUNT, REGION),
            log_level: "INFO".into(),
            pipelines: codepipeline::Options::new(ACCOUNT, REGION),
            builds: codebuild::Options::new(ACCOUNT, REGION),
        }
    }
}

/// The running local AWS. Dropping it ends every process it started.
pub struct Local {
    /// The one endpoint.
    pub endpoint: Endpoint,
    /// ministack, as root.
    pub client: Client,
    /// ECS.
    pub ecs: Ecs,
    /// The load balancers.
    pub elb: Elb,
    /// Application Auto Scaling.
    pub autoscaling: AutoScaling,
    /// CloudWatch.
    pub cloudwatch: CloudWatch,
    /// The event bus.
    pub events: Dispatcher,
    /// What scans of images found.
    pub scans: scan::Scans,
    /// The outputs of Tidegate's stack, when it was deployed.
    pub deployed: Option<Deployed>,
    /// Notified when someone asks over the admin API that everything ends.
    pub down: Arc<Notify>,
    ministack: ministack::Process,
    alarms: tokio::task::AbortHandle,
}

impl Local {
    /// Starts everything and waits until it answers.
    ///
    /// # Errors
    /// When ministack does not start, or Tidegate's template cannot be deployed.
    pub async fn start(options: Options) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let endpoint = Endpoint::bind(address).await.context("failed to open the endpoint")?;
        if let Some(path) = &options.record {
            endpoint.record(path).with_context(|| format!("failed to record into {}", path.display()))?;
        }
        let ministack = ministack::Process::start(&ministack::Options {
            venv: options.venv.clone(),
            dir: options.dir.join("ministack"),
            endpoint_url: Some(endpoint.url()),
            account_id: ACCOUNT.into(),
            region: REGION.into(),
            log_level: options.log_level.clone(),
        })
        .await?;
        let client = ministack.root_client();
        endpoint.set_upstream(ministack.addr());
        endpoint.set_iam(Iam::new(client.clone(), ACCOUNT), true);
        let events = Dispatcher::new(
            events::Options::new(ACCOUNT, REGION),
            Arc::new(MinistackBus::new(client.clone())),
        );
        let place = cloudwatch::Options {
            seconds_per_minute: options.alarm_seconds_per_minute,
            load_balancer_secs: options.load_balancer_secs,
            lateness: Duration::from_secs(options.load_balancer_secs.into()),
            ..cloudwatch::Options::new(ACCOUNT, REGION)
        };
        let cloudwatch = CloudWatch::new(place, Arc::new(events.clone()));
        let alarms = cloudwatch.run();
        let elb = Elb::new(
            elb::Options {
                account: ACCOUNT.into(),
                region: REGION.into(),
                nodes: if options.weight_propagation.is_zero() { 1 } else { 3 },
                weight_propagation: options.weight_propagation,
                seconds_scale: 0.1,
                sticky_at_zero: options.sticky_at_zero,
                read_lag: options.rule_read_lag,
                fail_open: options.fail_open,
            },
            Arc::new(cloudwatch.clone()),
        );
        let ecs = start_ecs(&options, &client, &events, &cloudwatch, &elb)?;
        let autoscaling = AutoScaling::start(options.autoscaling.clone(), Arc::new(ecs.clone()));
        endpoint.register("ecs", Arc::new(ecs.clone()));
        endpoint.register("application-autoscaling", Arc::new(autoscaling.clone()));
        endpoint.register("elasticloadbalancing", Arc::new(elb.clone()));
        endpoint.register("monitoring", Arc::new(cloudwatch.clone()));
        let builds = options.builds.clone();
        endpoint.register(
            "codebuild",
            Arc::new(CodeBuild::new(builds, client.clone(), Arc::new(events.clone()))),
        );
        let scans = scan::Scans::new(Arc::new(client.clone()), ACCOUNT);
        endpoint.register_operation("ecr", scan::OPERATION, Arc::new(scans.clone()));
        let blobs = blobs::Blobs::new(Arc::new(client.clone()), &endpoint.url());
        endpoint.register_operation("ecr", blobs::OPERATION, Arc::new(blobs));
        endpoint.register_operation("sqs", batches::OPERATION, Arc::new(batches::Batches(client.clone())));
        let pipelines = options.pipelines.clone();
        endpoint.register(
            "codepipeline",
            Arc::new(CodePipeline::start(pipelines, client.clone(), Arc::new(events.clone()))),
        );
        endpoint.mount(elb.admin());
        endpoint.mount(autoscaling.admin());
        endpoint.mount(cloudwatch.admin());
        endpoint.mount(events.admin());
        let down = Arc::new(Notify::new());
        let deployed = match &options.tidegate {
            Some(tidegate) => Some(deploy(&client, tidegate).await.context("failed to deploy Tidegate")?),
            None => None,
        };
        let local = Self {
            endpoint,
            client,
            ecs,
            elb,
            autoscaling,
            cloudwatch,
            events,
            scans,
            deployed,
            down,
            ministack,
            alarms,
        };
        local.endpoint.mount(admin::routes(&local));
        Ok(local)
    }

    /// Where ministack writes what it and the functions log.
    pub fn log(&self) -> PathBuf {
        self.ministack.log().to_owned()
    }

    /// A call of somebody else, who has every permission: a colleague at the console, another tool. `service` is a signing name, as in `ecs`.
    ///
    /// # Errors
    /// What the service answers; when the sandbox does not answer it itself.
    pub async fn somebody(&self, service: &str, operation: &str, input: Value) -> Result<Value, AwsError> {
        self.endpoint.call_as(SOMEBODY, service, operation, input).await
    }

    /// The environment of a process that is to use this AWS, as root.
    pub fn environment(&self) -> Vec<(String, String)> {
        let endpoint = self.endpoint.url();
        let mut environment = vec![
            ("AWS_ENDPOINT_URL", endpoint.clone()),
            ("AWS_REGION", REGION.to_owned()),
            // The AWS CLI and the Python SDK read the region from here only.
            ("AWS_DEFAULT_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ];
        // Function URLs are reached below localhost here, which not every resolver knows.
        let door = self.deployed.as_ref().and_then(|deployed| deployed.output("GateApiUrl").ok());
        environment.extend(door.and_then(|url| self.plainly(url)).map(|url| ("TIDEGATE_GATE_API_URL", url)));
        environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Ends everything in order: no more events, no more tasks, then ministack and its functions.
    ///
    /// # Errors
    /// When ministack does not end.
    pub async fn stop(self) -> Result<()> {
        self.alarms.abort();
        self.ecs.stop_all();
        self.endpoint.shutdown();
        self.elb.shutdown();
        self.ministack.stop().await
    }
}

fn start_ecs(
    options: &Options,
    client: &Client,
    events: &Dispatcher,
    cloudwatch: &CloudWatch,
    elb: &Elb,
) -> Result<Ecs> {
    let launcher = match &options.task_binary {
        Some(binary) => ProcessLauncher::new(binary.clone(), vec!["task".into()]),
        None => ProcessLauncher::of_current_exe().context("failed to find the running binary")?,
    };
    let ports = Ports {
        balancers: Arc::new(elb.clone()),
        events: Arc::new(events.clone()),
        alarms: Arc::new(cloudwatch.clone()),
        images: Arc::new(EcrImages::new(Arc::new(client.clone()), ACCOUNT, REGION)),
        launcher: Arc::new(launcher),
        functions: Arc::new(HookFunctions(client.clone())),
    };
    let identity = Identity { account: ACCOUNT.into(), region: REGION.into() };
    Ok(Ecs::start(ports, identity, options.ecs.clone()))
}

async fn deploy(client: &Client, tidegate: &Tidegate) -> Result<Deployed> {
    let parameters = [
        ("ClusterArns", format!("arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/*")),
        ("RepositoryArns", format!("arn:aws:ecr:{REGION}:{ACCOUNT}:repository/*")),
        ("TaskRoleArns", format!("{TASK_ROLE},{EXECUTION_ROLE}")),
        ("InfrastructureRoleArns", format!("{INFRASTRUCTURE_ROLE},{HOOK_ROLE}*")),
        (
            "CanaryRuleArns",
            format!(
                "arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:listener-rule/*,arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:listener/*"
            ),
        ),
        ("ApproverTopicArns", format!("arn:aws:sns:{REGION}:{ACCOUNT}:approver-*")),
        ("NotifyTopicArns", format!("arn:aws:sns:{REGION}:{ACCOUNT}:told*")),
        ("EventBusArns", format!("arn:aws:events:{REGION}:{ACCOUNT}:event-bus/told*")),
        ("VerifyProjectArns", format!("arn:aws:codebuild:{REGION}:{ACCOUNT}:project/*")),
        ("BuildProjectArns", format!("arn:aws:codebuild:{REGION}:{ACCOUNT}:project/*")),
        ("BuildArtifactBucketArns", "arn:aws:s3:::builds".to_owned()),
        ("ManifestBucketArns", "arn:aws:s3:::releases".to_owned()),
        ("PipelineArns", format!("arn:aws:codepipeline:{REGION}:{ACCOUNT}:*")),
        ("Architecture", "x86_64".to_owned()),
    ];
    let deployment = Deployment {
        stack: tidegate.stack.clone(),
        template: tidegate.template.clone(),
        functions: tidegate.functions.clone(),
        parameters: parameters
            .map(|(name, value)| (name.to_owned(), value))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
    };
    ministack::deploy(client, &deployment).await
}

#[cfg(test)]
mod somebody_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod trigger_tests;
