//! One release in every phase, as the core makes it: the policy of the README, a steady service behind an ALB.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tidegate_cli::render::Clock;
use tidegate_core::actor::Actor;
use tidegate_core::approval::{ApprovalGate, Approver, Opened, Vote};
use tidegate_core::change::Change;
use tidegate_core::course::Course;
use tidegate_core::effect::Action;
use tidegate_core::engine::ecs_native::compile;
use tidegate_core::engine::ecs_native::ground::Ground;
use tidegate_core::finding::{Finding, FindingCode};
use tidegate_core::history::{Deadline, DeadlineAction, Entry, Event, Fact, Report, StageResult, WaitingOn};
use tidegate_core::ids::{AccountId, ContainerName, Image, Region, ReleaseId};
use tidegate_core::intent::{Deployed, EcsDeployed};
use tidegate_core::intent::{Intent, Provenance};
use tidegate_core::outcome::{Cause, Outcome};
use tidegate_core::plan::{Plan, PlanRequest, Preparation, Stage};
use tidegate_core::policy::{self, Approval, Percent, Person, Policy};
use tidegate_core::registry::ecr_registry;
use tidegate_core::release::state::{self, State};
use tidegate_core::release::{Phase, Progress, Release, RollingBack, Step, Wake};
use tidegate_core::service::ServiceRecord;
use tidegate_core::vocab::cloudwatch::{AlarmSeen, AlarmState};
use tidegate_core::vocab::ecs::RunningSeen;
use tidegate_core::vocab::ecs::{DeploymentStatus, LoadBalancerSeen, ServiceSeen, TaskDefinitionSeen};
use tidegate_core::vocab::elb::RuleSeen;
use tidegate_core::vocab::tasks::{FailedTask, Failure, LogStream, StopCode};
use tidegate_view::Live;

pub(crate) const POLICY: &str = r#"
service: checkout
from:     { ecr: { repository: shop/checkout, tags: ["main-*", "v[0-9]*"] } }
to:       { ecs: { cluster: prod, service: checkout, container: app } }
strategy: { canary: { percent: 10, bake: 5m }, bake: 15m }
rollback: { alarms: [checkout-5xx, checkout-p99] }
on_newer: queue
"#;

const PERSON: &str = "arn:aws:sts::111122223333:assumed-role/developer/ann";

/// Seconds after the release was created.
pub(crate) fn at(secs: i64) -> Timestamp {
    "2026-03-02T09:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(secs)
}

pub(crate) fn clock(secs: i64) -> Clock {
    Clock { now: at(secs), zone: TimeZone::UTC }
}

pub(crate) fn account() -> AccountId {
    "111122223333".parse().unwrap()
}

pub(crate) fn region() -> Region {
    "eu-central-1".parse().unwrap()
}

pub(crate) fn policy() -> Policy {
    policy::parse("checkout.yaml", POLICY).unwrap()
}

pub(crate) fn head() -> ServiceRecord {
    ServiceRecord::new(policy(), at(-3600))
}

pub(crate) fn id(number: u32) -> ReleaseId {
    format!("01kjpq{number:04}{}", "0".repeat(16)).parse().unwrap()
}

pub(crate) fn change(tag: &str, fill: char) -> Change {
    Change::one(ContainerName::new("app").unwrap(), image(tag, fill))
}

pub(crate) fn image(tag: &str, digit: char) -> Image {
    Image {
        registry: ecr_registry(&account(), &region()),
        repository: "shop/checkout".parse().unwrap(),
        digest: format!("sha256:{}", digit.to_string().repeat(64)).parse().unwrap(),
        tag: Some(tag.parse().unwrap()),
    }
}

fn group(name: &str) -> tidegate_core::ids::TargetGroupArn {
    format!("arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/{name}/0123456789abcdef")
        .parse()
        .unwrap()
}

pub(crate) fn plan() -> Plan {
    let rule: tidegate_core::ids::RuleArn =
        "arn:aws:elasticloadbalancing:eu-central-1:111122223333:listener-rule/app/shop/1/2/3"
            .parse()
            .unwrap();
    let running = "arn:aws:ecs:eu-central-1:111122223333:task-definition/checkout:41";
    let service = ServiceSeen {
        status: "ACTIVE".into(),
        controller: "ECS".into(),
        task_definition: running.parse().unwrap(),
        deployment_configuration: json!({ "strategy": "ROLLING", "maximumPercent": 200, "minimumHealthyPercent": 100 }),
        desired: 4,
        running: 4,
        pending: 0,
        other_tasks: 0,
        steady: true,
        load_balancers: vec![LoadBalancerSeen {
            target_group: Some(group("checkout-blue")),
            alternate_target_group: Some(group("checkout-green")),
            production_rule: Some(rule.clone()),
            test_rule: None,
            role_given: true,
        }],
        service_connect: false,
        revisions: Vec::new(),
        kind: Default::default(),
    };
    let old = image("main-41", 'a');
    let task_definition = TaskDefinitionSeen {
        arn: running.parse().unwrap(),
        active: true,
        images: BTreeMap::from([("app".parse().unwrap(), old.pinned())]),
        floating: Default::default(),
        platform: None,
        tags: 1,
    };
    let weights = [RuleSeen {
        arn: rule,
        weights: vec![(group("checkout-blue"), 1), (group("checkout-green"), 0)],
        is_default: false,
    }];
    let ground = Ground {
        gateway: None,
        service: &service,
        task_definition: &task_definition,
        weights: &weights,
        running: &RunningSeen::default(),
        stored: &BTreeMap::new(),
        released: None,
        destination: None,
        left_behind: None,
    };
    let policy = policy();
    let target = policy.target(&account(), &region());
    let asked = PlanRequest { intent: &Intent::Deploy, bypass_freeze: None };
    compile(&policy, &target, &change("main-42", 'b'), asked, ground, at(5))
}

pub(crate) fn queued() -> Release {
    Release {
        id: id(42),
        service: "checkout".parse().unwrap(),
        target: policy().target(&account(), &region()),
        change: change("main-42", 'b'),
        carried: BTreeSet::new(),
        intent: Intent::Deploy,
        requested_by: Actor::Event { source: "aws.ecr".into(), id: "13cde686".into() },
        created_at: at(0),
        version: 0,
        phase: Phase::Queued,
        plan: None,
        course: Course::default(),
        progress: Progress::default(),
        gates: BTreeMap::new(),
        provenance: Provenance::default(),
        bypass_freeze: None,
        request: None,
        pause: None,
        promote_now: None,
        acted_at: None,
        wake: Some(Wake::new(at(300))),
        report: Report::waiting_on(WaitingOn::Turn { behind: Some(id(41)) }),
    }
}

pub(crate) fn preparing() -> Release {
    let problem = "alarm checkout-p99 has no data, so it cannot tell good from bad";
    let finding = Finding::blocking(FindingCode::AlarmWithoutData, problem.into());
    let waiting_on = WaitingOn::Findings { findings: vec![finding.clone()], within_secs: 600 };
    Release {
        version: 2,
        phase: Phase::Preparing { since: at(2) },
        wake: Some(Wake::new(at(20))),
        report: Report::waiting_on(waiting_on).fact(Fact::Finding { finding }),
        ..queued()
    }
}

/// In the bake of the canary, which began 52 s after the creation.
pub(crate) fn baking() -> Release {
    let percent = Percent::from_tenths(100);
    Release {
        version: 9,
        phase: Phase::Running { stage: 3, since: at(52), step: Step::Entered },
        plan: Some(plan()),
        course: Course::default(),
        progress: Progress {
            started_at: Some(at(2)),
            state: State::EcsNative(state::EcsNative {
                task_definition: Some(
                    "arn:aws:ecs:eu-central-1:111122223333:task-definition/checkout:42".parse().unwrap(),
                ),
                deployment: Some(
                    "arn:aws:ecs:eu-central-1:111122223333:service-deployment/prod/checkout/DEPLOYMENT1"
                        .parse()
                        .unwrap(),
                ),
                ..state::EcsNative::default()
            }),
            set: Some(Percent::from_tenths(100)),
            measured: Some(Percent::from_tenths(100)),
            ..Progress::default()
        },
        wake: Some(Wake::new(at(172))),
        report: Report::waiting_on(WaitingOn::Bake { percent, until: at(352), missing: None }),
        ..queued()
    }
}

/// Its tasks crash while they start.
pub(crate) fn crashing() -> Release {
    let failed = |number: u32, secs: i64| FailedTask {
        task: format!("arn:aws:ecs:eu-central-1:111122223333:task/prod/{number}").parse().unwrap(),
        failure: Failure::Exited,
        at: Some(at(secs)),
        container: Some("app".parse().unwrap()),
        exit_code: Some(1),
        stop_code: Some(StopCode::EssentialContainerExited),
        reason: Some("Essential container in task exited".into()),
        log: Some(LogStream {
            region: region(),
            group: "/ecs/checkout".into(),
            stream: Some(format!("checkout/app/{number}")),
        }),
    };
    let mut release = baking();
    release.phase = Phase::Running { stage: 1, since: at(12), step: Step::Entered };
    release.progress.failed_tasks = vec![failed(1, 40), failed(2, 70)];
    (release.progress.set, release.progress.measured) = (None, None);
    let deadline = Deadline { at: at(12 + 1800), then: DeadlineAction::RollBack };
    Release {
        report: Report { deadline: Some(deadline), ..Report::waiting_on(WaitingOn::CandidateTasks) },
        ..release
    }
}

/// Waits for two of three people before anything is changed; one has answered.
pub(crate) fn approving() -> Release {
    let person = |name: &str| Approver { name: name.into(), person: Person::default() };
    let approval = json!({ "before": "deploy", "by": ["release-managers"], "count": 2, "expires": "4h" });
    let approval: Approval = serde_json::from_value(approval).unwrap();
    let mut plan = plan();
    let approvers = vec![person("ann"), person("bob"), person("eve")];
    plan.gates.approvals.push(ApprovalGate { approval, approvers, because: None });
    plan.stages.insert(0, Stage::Approve { gate: 0 });
    let vote = Vote {
        approver: "ann".into(),
        approve: true,
        comment: Some("the numbers look good".into()),
        at: at(100),
        via: "link".into(),
    };
    let opened =
        Opened { at: at(6), expires_at: at(6 + 4 * 3600), invitations: Vec::new(), votes: vec![vote] };
    let of = ["ann", "bob", "eve"].map(ToOwned::to_owned).to_vec();
    let waiting_on = WaitingOn::Approvals { missing: 1, of, until: opened.expires_at };
    Release {
        version: 4,
        phase: Phase::Running { stage: 0, since: at(5), step: Step::Entered },
        plan: Some(plan),
        course: Course::default(),
        progress: Progress { started_at: Some(at(2)), ..Progress::default() },
        gates: BTreeMap::from([(0, opened)]),
        wake: Some(Wake::new(at(306))),
        report: Report::waiting_on(waiting_on),
        ..queued()
    }
}

pub(crate) fn alarm_cause() -> Cause {
    Cause::Alarm {
        alarm: "checkout-5xx".parse().unwrap(),
        reason: "Threshold Crossed: 1 datapoint [7.0] was greater than the threshold (1.0).".into(),
        at: Some(at(180)),
    }
}

pub(crate) fn rolling_back() -> Release {
    let deployment = baking().progress.state.ecs_native().deployment.clone().unwrap();
    let status = DeploymentStatus::RollbackInProgress;
    let stage = Some("PRODUCTION_TRAFFIC_SHIFT".to_owned());
    Release {
        version: 10,
        phase: Phase::RollingBack(RollingBack::new(alarm_cause(), at(181), Some(3))),
        wake: Some(Wake::new(at(187))),
        report: Report::waiting_on(WaitingOn::Rollback { asked: false }).fact(Fact::DeploymentStatus {
            deployment,
            status,
            stage,
        }),
        ..baking()
    }
}

fn ended(outcome: Outcome, secs: i64, restored_at: Option<Timestamp>) -> Release {
    Release {
        version: 14,
        phase: Phase::Ended { outcome, at: at(secs), restored_at },
        wake: None,
        report: Report::waiting_on(WaitingOn::Nothing),
        ..baking()
    }
}

pub(crate) fn rolled_back() -> Release {
    let mut release = ended(Outcome::RolledBack { cause: alarm_cause() }, 240, Some(at(183)));
    release.progress.set = Some(Percent::NONE);
    release.progress.measured = Some(Percent::NONE);
    release
}

pub(crate) fn settling() -> Release {
    Release {
        phase: Phase::Settling { outcome: Outcome::Promoted, since: at(1300), restored_at: None },
        wake: Some(Wake::new(at(1310))),
        report: Report::waiting_on(WaitingOn::InFlightCalls { until: at(1310) }),
        ..promoted()
    }
}

pub(crate) fn promoted() -> Release {
    let mut release = ended(Outcome::Promoted, 1310, None);
    release.progress.set = Some(Percent::ALL);
    release.progress.measured = Some(Percent::ALL);
    release
}

pub(crate) fn failed() -> Release {
    let cause = Cause::ExternalDeployment { detail: "deployment OTHER of checkout:43".into() };
    let needs = "see who deployed and whether what runs now is meant to; then release again".into();
    ended(Outcome::Failed { cause, needs }, 200, None)
}

pub(crate) fn cancelled() -> Release {
    let by = Actor::Person { name: PERSON.into() };
    let mut release = ended(Outcome::Cancelled { by, why: "wrong branch".into() }, 20, None);
    release.plan = None;
    release.progress = Progress::default();
    release
}

pub(crate) fn superseded() -> Release {
    Release {
        phase: Phase::Ended {
            outcome: Outcome::Superseded { by: id(43).into() },
            at: at(30),
            restored_at: None,
        },
        ..cancelled()
    }
}

pub(crate) fn returning() -> Release {
    let task_definition = plan().setup.ecs_rollback_target().expect("an ECS service").task_definition.clone();
    let deployed = Deployed::Ecs(EcsDeployed { task_definition, images: BTreeMap::new() });
    Release {
        intent: Intent::Rollback { from: Some(id(42)), to: id(41), deployed },
        change: change("main-41", 'a'),
        requested_by: Actor::Person { name: PERSON.into() },
        ..preparing()
    }
}

fn entry(version: u64, secs: i64, event: Event) -> Entry {
    Entry::new(version, at(secs), Actor::Tidegate, event)
}

fn done(stage: Stage, result: StageResult) -> Event {
    Event::StageDone { stage, result }
}

pub(crate) fn history_until_bake() -> Vec<Entry> {
    let ten = Percent::from_tenths(100);
    let release = baking();
    let deployment = release.progress.state.ecs_native().deployment.clone().unwrap();
    let register = Action::RegisterTaskDefinition {
        revision: plan().setup.ecs_native().expect("ECS shifts").candidate.to_string(),
    };
    let why = "tag main-42 was pushed".to_owned();
    vec![
        Entry {
            actor: Actor::Event { source: "aws.ecr".into(), id: "13cde686".into() },
            ..entry(0, 0, Event::Created { change: release.change, why })
        },
        entry(1, 2, Event::Started),
        entry(2, 5, Event::PreflightPassed { rollback_target: plan().rollback_target().name.to_owned() }),
        Entry {
            actions: vec![register.clone()],
            ..entry(3, 5, Event::Acted { actions: vec![register], again: true })
        },
        entry(4, 12, done(Stage::Prepare { what: Preparation::Candidate }, StageResult::Registered)),
        Entry {
            also: vec![done(Stage::Start, StageResult::CandidateHealthy)],
            ..entry(6, 40, Event::DeploymentFound { deployment: deployment.clone() })
        },
        Entry {
            actions: vec![Action::ContinueHook { deployment }],
            ..entry(7, 41, Event::Shifting { percent: ten })
        },
        Entry {
            saw: vec![Fact::Weights { set: ten, measured: Some(ten) }],
            measured: Some(ten),
            ..entry(8, 52, done(Stage::Shift { percent: ten }, StageResult::Shifted { percent: ten }))
        },
    ]
}

pub(crate) fn history_of_rollback() -> Vec<Entry> {
    let mut history = history_until_bake();
    let deployment = baking().progress.state.ecs_native().deployment.clone().unwrap();
    let outcome = Box::new(Outcome::RolledBack { cause: alarm_cause() });
    history.extend([
        Entry {
            actions: vec![Action::StopDeployment { deployment }],
            ..entry(10, 181, Event::RollingBack { cause: Box::new(alarm_cause()) })
        },
        entry(11, 183, Event::TrafficRestored),
        entry(12, 229, Event::Settling { outcome: outcome.clone() }),
        entry(14, 240, Event::Ended { outcome, restore_pending: None }),
    ]);
    history
}

fn baked(percent: Percent, secs: u32) -> Event {
    done(Stage::Bake { percent, secs }, StageResult::Baked { percent, secs, requests: None })
}

pub(crate) fn history_of_promotion() -> Vec<Entry> {
    let mut history = history_until_bake();
    let all = Percent::ALL;
    history.extend([
        entry(10, 352, baked(Percent::from_tenths(100), 300)),
        entry(11, 370, done(Stage::Shift { percent: all }, StageResult::Shifted { percent: all })),
        entry(12, 1270, baked(all, 900)),
        entry(13, 1300, done(Stage::Promote, StageResult::Completed)),
    ]);
    history
}

fn alarm(state: AlarmState, reason: &str) -> AlarmSeen {
    AlarmSeen { state, since: Some(at(-600)), reason: reason.into(), silenced: None, unproven: None }
}

pub(crate) fn live() -> Live {
    Live {
        measured: Some(Percent::from_tenths(98)),
        alarms: Some(BTreeMap::from([
            ("checkout-5xx".parse().unwrap(), alarm(AlarmState::Ok, "fine")),
            ("checkout-p99".parse().unwrap(), alarm(AlarmState::Ok, "fine")),
        ])),
        unseen: Vec::new(),
    }
}

pub(crate) fn live_full() -> Live {
    Live { measured: Some(Percent::ALL), ..live() }
}

pub(crate) fn live_red() -> Live {
    let mut live = live();
    let red = AlarmSeen {
        since: Some(at(180)),
        ..alarm(
            AlarmState::Alarm,
            "Threshold Crossed: 1 datapoint [7.0] was greater than the threshold (1.0).",
        )
    };
    let muted = AlarmSeen { silenced: Some("mute rule nightly".into()), ..alarm(AlarmState::Alarm, "slow") };
    live.alarms = Some(BTreeMap::from([
        ("checkout-5xx".parse().unwrap(), red),
        ("checkout-p99".parse().unwrap(), muted),
    ]));
    live
}

pub(crate) fn live_denied() -> Live {
    Live {
        unseen: vec![
            "the live weights could not be read: elasticloadbalancing:DescribeRules: AccessDenied: not allowed".into(),
            "the alarms could not be read: cloudwatch:DescribeAlarms: AccessDenied: not allowed".into(),
        ],
        ..Live::default()
    }
}
