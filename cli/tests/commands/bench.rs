//! A service of the testkit, and a person who types commands.

use std::io::Write;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use clap::Parser as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tidegate_cli::args::Cli;
use tidegate_cli::commands::run_with;
use tidegate_cli::connect::{Caller as Asking, Connection, Identity};
use tidegate_cli::door::{Door, Given, Wanted};
use tidegate_cli::fault;
use tidegate_cli::output::Output;
use tidegate_cli::queues::{Depth, Queues};
use tidegate_cli::stack::{Call, SecretState, Stack};
use tidegate_cli::wakes::Wakes;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{ReleaseId, Target, TargetGroupArn};
use tidegate_core::ports::{LoadBalancing, Metrics, Waker};
use tidegate_core::vocab::elb::{HealthCheck, Surroundings};
use tidegate_runtime::time::Time;
use tidegate_runtime::{Context, Installation};
use tidegate_testkit::buffer::Buffer;
use tidegate_testkit::fakes::{Caller, Quality, Universe};
use tidegate_testkit::names;

pub(crate) const POLICY: &str = r#"
service: checkout
from:     { ecr: { repository: shop/checkout, tags: ["main-*"] } }
to:       { ecs: { cluster: prod, service: checkout, container: app } }
strategy: { canary: { percent: 10, bake: 1m }, bake: 2m }
rollback: { alarms: [checkout-5xx] }
"#;

pub(crate) const ANN: &str = "arn:aws:sts::111122223333:assumed-role/developer/ann";
pub(crate) const BAD: Quality = Quality::Bad { from_percent: 10, alarm_after_secs: 20 };

/// The test's world: a universe, and a person at a terminal.
pub(crate) struct Bench {
    pub(crate) universe: Universe,
    pub(crate) door: Asked,
    /// How many messages wait in each queue; `None`: nobody may look.
    pub(crate) letters: Option<u64>,
    /// A CloudWatch that remembers days; the universe's own begins with the test.
    pub(crate) metrics: Option<Arc<dyn Metrics>>,
    /// What is known of the gate's secret, and what IAM says.
    pub(crate) account: Account,
}

/// What the stack has in its account.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) secret: Result<SecretState, ErrorKind>,
    /// The actions that roles are not allowed; `Err`: nobody may ask, or nothing answers.
    pub(crate) denied: Result<Vec<&'static str>, ErrorKind>,
}

impl Default for Account {
    fn default() -> Self {
        Self { secret: Ok(SecretState::Valued), denied: Ok(Vec::new()) }
    }
}

fn failed(kind: ErrorKind, operation: &'static str) -> PortError {
    PortError::new(kind, operation, "AccessDenied", "it was not answered")
}

#[async_trait]
impl Stack for Account {
    async fn secret(&self, name: &str) -> Result<SecretState, PortError> {
        assert_eq!(name, "gate");
        self.secret.map_err(|kind| failed(kind, "secretsmanager:DescribeSecret"))
    }

    async fn denied(&self, function: &str, calls: &[Call]) -> Result<Vec<Call>, PortError> {
        assert!(["conductor", "sentinel", "intake", "clock"].contains(&function), "{function}");
        let denied = self.denied.clone().map_err(|kind| failed(kind, "iam:SimulatePrincipalPolicy"))?;
        Ok(calls.iter().filter(|call| denied.contains(&call.action)).cloned().collect())
    }
}

/// Every target group is behind one load balancer with one rule.
struct Around;

#[async_trait]
impl LoadBalancing for Around {
    async fn around(
        &self,
        _place: &Target,
        group: &TargetGroupArn,
    ) -> Result<Option<Surroundings>, PortError> {
        Ok(Some(Surroundings {
            group: group.clone(),
            protocol: "HTTP".into(),
            port: Some(80),
            vpc: Some("vpc-1".into()),
            target_type: "ip".into(),
            health: HealthCheck::default(),
            load_balancer: Some(
                "arn:aws:elasticloadbalancing:eu-central-1:111122223333:loadbalancer/app/shop/1".into(),
            ),
            senders: vec![names::rule()],
        }))
    }
}

/// Queues that hold so many messages each.
struct Letters(Option<u64>);

#[async_trait]
impl Queues for Letters {
    async fn depth(&self, _name: &str) -> Result<Depth, PortError> {
        let denied =
            || PortError::new(ErrorKind::Denied, "sqs:GetQueueAttributes", "AccessDenied", "not allowed");
        self.0.map(|waiting| Depth { waiting }).ok_or_else(denied)
    }
}

/// Makes links, and keeps what was asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked(pub(crate) Arc<Mutex<Vec<Wanted>>>);

#[async_trait]
impl Door for Asked {
    async fn link(&self, wanted: &Wanted) -> anyhow::Result<Given> {
        self.0.lock().unwrap().push(wanted.clone());
        let until = "2026-03-02T21:00:00Z".parse().unwrap();
        Ok(Given {
            url: "https://gate.example.com/services?key=look.x.y".into(),
            may: "look".into(),
            by: ANN.into(),
            until,
        })
    }
}

pub(crate) struct Answer {
    pub(crate) code: u8,
    pub(crate) out: String,
}

/// The universe's time; whenever somebody waits, the conductor first does what there is to do.
struct WorkingTime {
    conductor: Context,
}

#[async_trait]
impl Time for WorkingTime {
    fn now(&self) -> Timestamp {
        self.conductor.installation.time.now()
    }

    async fn sleep(&self, duration: SignedDuration) {
        for release in self.conductor.installation.ledger.open().await.unwrap().whole().unwrap() {
            self.conductor.drive(&release.id, &[], self.now()).await.unwrap();
        }
        self.conductor.installation.time.sleep(duration).await;
    }
}

struct ByPort(Arc<dyn Waker>);

#[async_trait]
impl Waker for ByPort {
    async fn wake(&self, release: &ReleaseId, delay_secs: u32, why: &str) -> Result<(), PortError> {
        self.0.wake(release, delay_secs, why).await
    }
}

pub(crate) fn caller(id: u64, name: &str) -> Caller {
    Caller { id, name: name.into() }
}

impl Bench {
    /// The service runs build 1, and there is no policy.
    pub(crate) fn empty(universe: Universe) -> Self {
        let (door, account) = (Asked::default(), Account::default());
        Self { universe, door, letters: Some(0), metrics: None, account }
    }

    /// The service runs build 1, and its policy is stored.
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// The same, with more in its policy.
    pub(crate) async fn with(fields: &str) -> Self {
        let bench = Self::empty(Universe::quiet());
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(format!("{POLICY}{fields}").as_bytes()).unwrap();
        let stored = bench.run(&["apply", file.path().to_str().unwrap()]).await;
        assert_eq!(
            (stored.code, stored.out.as_str()),
            (
                0,
                "+ checkout: stored (canary 10% for 1m, then 2m)\n    see what a release would do: tidegate plan checkout IMAGE\n"
            )
        );
        bench
    }

    pub(crate) fn push(&self, build: u32, quality: Quality) {
        let mut state = self.universe.state();
        let now = state.now;
        state.aws.push(build, quality, now);
    }

    pub(crate) fn connection(&self) -> Connection {
        let context = self.universe.context(caller(1, "person"), true);
        let conductor = self.universe.context(caller(2, "conductor"), false);
        let wakes = Wakes::new(Box::new(ByPort(context.installation.waker.clone().unwrap())));
        let installation = Installation { time: Arc::new(WorkingTime { conductor }), ..context.installation };
        let asking = Asking::known(Identity { account: names::account(), arn: ANN.into() });
        let metrics = self.metrics.clone().unwrap_or_else(|| context.metrics.clone());
        Connection::with(Context { installation, metrics, ..context }, wakes, asking)
            .with_notebook(self.universe.notebook(caller(3, "person")))
            .with_balancing(Arc::new(Around))
            .with_queues(Arc::new(Letters(self.letters)))
            .with_stack(Arc::new(self.account.clone()))
            .with_door(Arc::new(self.door.clone()))
    }

    pub(crate) async fn try_run(&self, args: &[&str]) -> anyhow::Result<Answer> {
        self.answering(args, None).await
    }

    /// With a person at a terminal who answers what is asked.
    pub(crate) async fn answering(
        &self,
        args: &[&str],
        answer: Option<&'static str>,
    ) -> anyhow::Result<Answer> {
        let cli = Cli::try_parse_from([&["tidegate"], args].concat()).unwrap();
        let buffer = Buffer::default();
        let out = Output::to(Box::new(buffer.clone()), cli.global.json);
        let mut out = match answer {
            Some(answer) => out.answered_by(Box::new(answer.as_bytes())),
            None => out,
        };
        let exit = run_with(&cli.command, &self.connection(), &mut out).await?;
        let out = buffer.text();
        Ok(Answer { code: exit.code(), out })
    }

    pub(crate) async fn run(&self, args: &[&str]) -> Answer {
        self.try_run(args).await.unwrap()
    }

    pub(crate) async fn json(&self, args: &[&str]) -> (u8, Value) {
        let answer = self.run(&[args, &["--json"]].concat()).await;
        (answer.code, serde_json::from_str(&answer.out).unwrap())
    }

    pub(crate) async fn promote(&self, build: u32) {
        self.push(build, Quality::Good);
        let answer = self.run(&["release", "checkout", &format!("main-{build}"), "--watch"]).await;
        assert_eq!(answer.code, 0, "{}", answer.out);
    }

    /// What is said when a command is refused: what happened, what to type instead, and the exit code.
    pub(crate) async fn refused(&self, args: &[&str]) -> (String, String, u8) {
        let error = self.try_run(args).await.err().unwrap();
        (fault::chain(&error), fault::remedy(&error).unwrap_or_default(), fault::exit(&error).code())
    }

    /// The short id of the newest release.
    pub(crate) async fn newest(&self) -> String {
        self.newest_id().await[..10].to_owned()
    }

    /// The id of the newest release.
    pub(crate) async fn newest_id(&self) -> String {
        let (_, list) = self.json(&["releases", "checkout", "--limit", "1"]).await;
        list["releases"][0]["release"].as_str().unwrap().to_owned()
    }

    /// A release by whoever pushed it, followed to its end.
    pub(crate) async fn release(&self, build: u32, quality: Quality) -> u8 {
        self.push(build, quality);
        self.run(&["release", "checkout", &format!("main-{build}"), "--watch"]).await.code
    }

    /// The tag of what was promoted last.
    pub(crate) async fn runs(&self) -> String {
        let (_, services) = self.json(&["services"]).await;
        services["services"][0]["promoted"]["images"]["app"]["tag"].as_str().unwrap().to_owned()
    }

    /// A release of build 2 by Ann that waits for whoever `approver` is said to be.
    pub(crate) async fn waiting_for_approval(approver: &str) -> (Self, String) {
        let bench = Self::new().await;
        let gate = format!(
            "approval: {{ before: deploy, by: [boss], not_by_requester: false }}\npeople: {{ boss: {{ aws: ['{approver}'] }} }}\n"
        );
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(format!("{POLICY}{gate}").as_bytes()).unwrap();
        bench.run(&["apply", file.path().to_str().unwrap()]).await;
        bench.push(2, Quality::Good);
        let (_, created) = bench.json(&["release", "checkout", "main-2"]).await;
        let id = created["release"].as_str().unwrap().to_owned();
        bench.conduct(&id).await;
        (bench, id)
    }

    /// The conductor works on a release for half a minute.
    pub(crate) async fn conduct(&self, id: &str) {
        let conductor = self.universe.context(caller(2, "conductor"), false);
        let until = conductor.installation.time.now().checked_add(SignedDuration::from_secs(30)).unwrap();
        conductor.drive(&id.parse().unwrap(), &[], until).await.unwrap();
    }
}
