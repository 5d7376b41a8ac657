//! Fixtures named by state: a release in a phase, with an observation of the world that fits it. What differs from that is said by the
//! test: `Fixture::baking(10).breached()`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use tidegate_core::actor::Actor;
use tidegate_core::commit::Commit;
use tidegate_core::course::Course;
use tidegate_core::decide::{Decision, decide};
use tidegate_core::effect::EffectKind;
use tidegate_core::engine::ecs_native::pauses::{PAUSE_BEFORE_PROMOTION, PAUSE_BEFORE_SHIFT};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::history::{Report, WaitingOn};
use tidegate_core::ids::{EcsService, Resource, ServiceName, Target, TaskDefinitionArn};
use tidegate_core::intent::{Intent, Provenance, Request};
use tidegate_core::invariants::check_decision;
use tidegate_core::observation::{Hint, Observation, Refusal};
use tidegate_core::outcome::{Cause, Outcome};
use tidegate_core::plan::Stage;
use tidegate_core::policy::{self, Percent, Policy};
use tidegate_core::release::{Phase, Progress, Release, Step, Wake};
use tidegate_core::requests::{self, Ask, NotPossible};
use tidegate_core::seen::Seen;
use tidegate_core::service::ServiceRecord;
use tidegate_core::vocab::cloudwatch::Series;
use tidegate_core::vocab::cloudwatch::{AlarmSeen, AlarmState};
use tidegate_core::vocab::ecr::ImageSeen;
use tidegate_core::vocab::ecs::{DeploymentSeen, DeploymentStatus, HookSeen};
use tidegate_core::vocab::elb::RuleSeen;
use tidegate_core::vocab::tasks::{StopCode, StoppedContainer, StoppedTask};
use tidegate_core::vocab::{ecs, elb};

use crate::fakes::Universe;
use crate::names;

/// Canary 10% for 5 minutes, then everything for 15; one alarm.
pub fn policy() -> Policy {
    let text = "service: checkout\n\
                from: { ecr: { repository: shop/checkout, tags: [\"main-*\"] } }\n\
                to: { ecs: { cluster: prod, service: checkout, container: app } }\n\
                strategy: { canary: { percent: 10, bake: 5m }, bake: 15m }\n\
                rollback: { alarms: [checkout-5xx] }\n";
    policy::parse("fixture.yaml", text).expect("a policy")
}

/// The release of build 2, queued.
pub fn release() -> Release {
    Release {
        id: names::release(1),
        service: names::service(),
        target: names::target(),
        change: names::change(2),
        carried: BTreeSet::new(),
        intent: Intent::Deploy,
        provenance: Provenance::default(),
        bypass_freeze: None,
        gates: Default::default(),
        requested_by: Actor::Event { source: "aws.ecr".into(), id: "event-1".into() },
        created_at: names::start(),
        version: 0,
        phase: Phase::Queued,
        plan: None,
        progress: Progress::default(),
        course: Course::default(),
        request: None,
        pause: None,
        promote_now: None,
        acted_at: None,
        wake: Some(Wake::new(names::start())),
        report: Report::waiting_on(WaitingOn::Turn { behind: None }),
    }
}

/// So many services in a universe moved by hand, each with a release that bakes at 10%, all judged by one alarm, which is red.
pub fn crowd(universe: &Universe, count: u32) {
    crowd_of(universe, count, |_, _| {});
}

/// The same, each changed by its number.
pub fn crowd_of(universe: &Universe, count: u32, change: impl Fn(u32, &mut Release)) {
    let built = Fixture::baking(10).breached();
    let policy = built.seen.head.clone().expect("a service").policy;
    let mut state = universe.state();
    state.aws.set_alarm(true, built.now);
    for number in 0..count {
        let service: ServiceName = format!("service-{number:03}").parse().expect("a name");
        let cluster = names::target().ecs().expect("an ECS service").cluster.clone();
        let of_its_own = EcsService { cluster, service: service.as_str().parse().expect("a name") };
        let target = Target { resource: Resource::EcsService(of_its_own), ..names::target() };
        let id = names::release(number + 1);
        let active = Some(id.clone());
        let mut policy = policy.clone();
        policy.service = service.clone();
        names::to_ecs(&mut policy).service = service.as_str().parse().expect("a name");
        let mut release = Release { id, service, target, version: 0, ..built.release.clone() };
        change(number, &mut release);
        let head = ServiceRecord { active, ..ServiceRecord::new(policy, built.now) };
        let now = state.now;
        state.rows.seed(release, head, now);
    }
}

/// A release, the world as seen, and the time.
#[derive(Debug, Clone)]
pub struct Fixture {
    /// The release.
    pub release: Release,
    /// The world.
    pub seen: Observation,
    /// The time; the look began just then.
    pub now: Timestamp,
}

impl Fixture {
    /// Waits for its turn, which has come.
    pub fn queued() -> Self {
        Self::queued_with(policy())
    }

    /// The same, with this policy.
    pub fn queued_with(policy: Policy) -> Self {
        let universe = Universe::quiet();
        let state = universe.state();
        let scene = state.aws.as_of(names::start());
        let head =
            ServiceRecord { waiting: Some(names::release(1)), ..ServiceRecord::new(policy, names::start()) };
        let seen = Observation {
            at: names::start(),
            head: Some(head),
            ecs: ecs::Observation {
                service: Seen::Known(Some(scene.service())),
                task_definition: Seen::Known(
                    scene.task_definition(&names::task_definition(1)).expect("it is registered"),
                ),
                revision: Seen::Known(None),
                running: Seen::Known(scene.running()),
                deployments: Seen::Known(Vec::new()),
                ..ecs::Observation::default()
            },
            elb: elb::Observation { weights: Seen::Known(vec![scene.rule()]), ..elb::Observation::default() },
            stored: [names::image(1)].map(|image| (image.pinned(), Seen::Known(scene.stored(&image)))).into(),
            alarms: Seen::Known(scene.alarms(&[names::alarm()])),
            new_images: Seen::Known(BTreeMap::from([(
                names::digest(2),
                Some(ImageSeen::there(names::digest(2))),
            )])),
            ..Observation::default()
        };
        Self { release: release(), seen, now: names::start() }
    }

    /// As [`Fixture::queued`], but the running task definition names the tag `latest`, which ECS resolved to build 1.
    pub fn tagged() -> Self {
        let mut fixture = Self::queued();
        if let Seen::Known(seen) = &mut fixture.seen.ecs.task_definition {
            let latest = format!("{}/{}:latest", names::registry(), names::repository());
            seen.images.insert(names::container(), latest);
        }
        fixture
    }

    /// The revision that was looked for is this one.
    #[must_use]
    pub fn found(mut self, revision: u32) -> Self {
        self.seen.ecs.revision = Seen::Known(Some(names::task_definition(revision)));
        self
    }

    /// The service's active release, before preflight.
    pub fn preparing() -> Self {
        Self::queued().decided()
    }

    /// Preflight has passed; the task definition is registered next.
    pub fn registering() -> Self {
        Self::preparing().decided()
    }

    /// Revision 2 is registered; its deployment is started next.
    pub fn starting() -> Self {
        let mut fixture = Self::registering();
        fixture.seen.ecs.revision = Seen::Known(Some(names::task_definition(2)));
        fixture.decided()
    }

    /// With a gate at every place: a freeze, approvals before everything, a build that tries the candidate. It waits at the one meant.
    pub fn gated(meant: impl Fn(&Stage) -> bool) -> Self {
        let text = "service: checkout\n\
                    from: { ecr: { repository: shop/checkout, tags: [\"main-*\"] } }\n\
                    to: { ecs: { cluster: prod, service: checkout, container: app } }\n\
                    strategy: { canary: { percent: 10, bake: 5m }, bake: 15m }\n\
                    rollback: { alarms: [checkout-5xx] }\n\
                    people: { ana: { sns: \"arn:aws:sns:eu-central-1:111122223333:ana\" } }\n\
                    approval:\n\
                    - { before: deploy, by: [ana] }\n\
                    - { before: shift, by: [ana] }\n\
                    - { before: promote, by: [ana] }\n\
                    freeze: { time_zone: UTC, weekly: [{ from: \"Mon 00:00\", to: \"Sun 23:59\", why: always }] }\n\
                    verify: { codebuild: smoke, at: first_shift, timeout: 10m }\n";
        let policy = policy::parse("gated.yaml", text).expect("a policy");
        Self::queued_with(policy).decided().decided().in_stage(meant)
    }

    /// The same with deployment 1 under way and this share set and measured.
    #[must_use]
    pub fn carrying(mut self, percent: u16) -> Self {
        self.release.progress.state.ecs_native_mut().task_definition = Some(names::task_definition(2));
        self.release.progress.state.ecs_native_mut().deployment = Some(names::deployment(1));
        self.release.progress.set = Some(Percent::from_tenths(percent * 10));
        if percent == 100 { self.waiting_for_promotion() } else { self.waiting(1) }.weight(percent)
    }

    /// Deployment 1 waits at its first pause, before the shift to 10%.
    pub fn shifting() -> Self {
        let mut fixture = Self::starting();
        fixture.release.progress.state.ecs_native_mut().deployment = Some(names::deployment(1));
        fixture.release.progress.asked_at = Some(fixture.now);
        fixture
            .in_stage(|stage| matches!(stage, Stage::Shift { percent } if *percent < Percent::ALL))
            .waiting(1)
    }

    /// The shift to 10% has been continued.
    pub fn shifted() -> Self {
        Self::shifting().decided()
    }

    /// The bake at this share, 10 or 100, has just begun.
    pub fn baking(percent: u16) -> Self {
        let share = Percent::from_tenths(percent * 10);
        let mut fixture = Self::shifted();
        fixture.release.progress.set = Some(share);
        let fixture =
            if share == Percent::ALL { fixture.waiting_for_promotion() } else { fixture.waiting(2) };
        fixture
            .weight(percent)
            .in_stage(|stage| matches!(stage, Stage::Bake { percent, .. } if *percent == share))
    }

    /// Everything has baked; the stable version is terminated next.
    pub fn promoting() -> Self {
        Self::baking(100).in_stage(|stage| *stage == Stage::Promote)
    }

    /// Turned back by the alarm at 10%; deployment 1 has been told to stop.
    pub fn rolling_back() -> Self {
        Self::baking(10).breached().decided()
    }

    /// Will end as promoted; the configuration is still ours.
    pub fn settling() -> Self {
        let mut fixture = Self::promoting().status(DeploymentStatus::Successful).runs(2).runs_image(2);
        fixture.release.phase =
            Phase::Settling { outcome: Outcome::Promoted, since: fixture.now, restored_at: None };
        fixture
    }

    /// Decides now.
    pub fn decide(&self) -> Decision {
        decide(&self.release, &self.seen, self.now)
    }

    /// What is decided now, which must be a decision that may be made: `phase | effects | next look`.
    pub fn in_words(&self) -> String {
        let decision = self.decide();
        check_decision(&self.release, &decision).expect("it may be decided");
        let effects: Vec<String> = decision.effects.iter().map(ToString::to_string).collect();
        let wake = decision.release.wake.as_ref().map_or_else(
            || "never".to_owned(),
            |wake| format!("+{}s", wake.at.duration_since(self.now).as_secs()),
        );
        format!("{} | {} | {wake}", decision.release.summary(), effects.join(", "))
    }

    /// As it is once what is decided now has been committed.
    #[must_use]
    pub fn decided(mut self) -> Self {
        let decision = self.decide();
        self.release = decision.release;
        if decision.head.is_some() {
            self.seen.head = decision.head;
        }
        self
    }

    /// In the first stage of the plan that is meant.
    #[must_use]
    pub fn in_stage(mut self, meant: impl Fn(&Stage) -> bool) -> Self {
        let plan = self.release.plan.as_ref().expect("preflight has passed");
        let stage = plan.stages.iter().position(meant).expect("the plan has the stage");
        self.release.phase = Phase::Running { stage, since: self.now, step: Step::Entered };
        self.seen.metrics = Seen::Known(BTreeMap::new());
        self.requests(1000)
    }

    /// So much later, with a new look.
    #[must_use]
    pub fn later(mut self, secs: i64) -> Self {
        self.now = self.now.saturating_add(SignedDuration::from_secs(secs)).expect("within range");
        self.seen.at = self.now;
        self
    }

    /// The alarm is in ALARM.
    #[must_use]
    pub fn breached(self) -> Self {
        self.alarm(AlarmState::Alarm)
    }

    /// The alarm is in this state.
    #[must_use]
    pub fn alarm(mut self, state: AlarmState) -> Self {
        let seen = AlarmSeen {
            state,
            since: Some(self.now),
            reason: "5% errors".into(),
            silenced: None,
            unproven: None,
        };
        self.seen.alarms = Seen::Known([(names::alarm(), seen)].into());
        self
    }

    /// The alarm is silenced.
    #[must_use]
    pub fn silenced(mut self) -> Self {
        if let Seen::Known(alarms) = &mut self.seen.alarms {
            alarms.values_mut().for_each(|alarm| alarm.silenced = Some("a mute rule".into()));
        }
        self
    }

    /// An event tells that the alarm went to ALARM at this second of the test.
    #[must_use]
    pub fn told_of_alarm(mut self, since: i64) -> Self {
        let seen = AlarmSeen {
            state: AlarmState::Alarm,
            since: Some(names::at(since)),
            reason: "5% errors".into(),
            silenced: None,
            unproven: None,
        };
        self.seen.hints.push(Hint::Alarm { name: names::alarm(), seen });
        self
    }

    /// So many of deployment 1's tasks are seen to have crashed, one a second from now back.
    #[must_use]
    pub fn crashed(mut self, count: u32) -> Self {
        let tasks = (1..=count).map(|number| stopped_task(number, self.now));
        self.seen.ecs.stopped_tasks = Seen::Known(tasks.collect());
        self
    }

    /// An event tells of this stopped task.
    #[must_use]
    pub fn told_of_task(mut self, task: StoppedTask) -> Self {
        self.seen.hints.push(Hint::Task(Box::new(task)));
        self
    }

    /// Its plan asks for no numbers.
    #[must_use]
    pub fn without_evidence(mut self) -> Self {
        self.release.plan.as_mut().expect("preflight has passed").evidence = None;
        self
    }

    /// So many requests were counted in the first whole window of the bake, and nine times as many of the stable version.
    #[must_use]
    pub fn requests(self, count: u32) -> Self {
        self.window(0, (f64::from(count), 0.0), (9.0 * f64::from(count), 0.0))
    }

    /// What both versions did in a whole window of the stage, beside those told before: requests, and how many of them failed.
    #[must_use]
    pub fn window(mut self, number: i64, candidate: (f64, f64), stable: (f64, f64)) -> Self {
        let Phase::Running { since, .. } = &self.release.phase else { panic!("it is in a stage") };
        let Some(evidence) = self.release.plan.as_ref().and_then(|plan| plan.evidence.as_deref()) else {
            return self;
        };
        let every = i64::from(evidence.every_secs);
        let first = since.as_second().div_euclid(every) + i64::from(since.as_second().rem_euclid(every) > 0);
        let at = Timestamp::from_second((first + number) * every).expect("within range");
        let mut seen = self.seen.metrics.known().cloned().unwrap_or_default();
        let mut tell = |series: Option<&Series>, value: f64| {
            if let Some(series) = series {
                seen.entry(series.clone()).or_default().insert(at, value);
            }
        };
        tell(evidence.requests.first(), candidate.0);
        for comparison in &evidence.comparisons {
            for (arm, (requests, bad)) in [(&comparison.candidate, candidate), (&comparison.stable, stable)] {
                tell(arm.requests.first(), requests);
                tell(arm.bad.first(), bad);
            }
        }
        self.seen.metrics = Seen::Known(seen);
        self
    }

    /// Someone asks something of it.
    #[must_use]
    pub fn asked(mut self, request: Request) -> Self {
        self.release.request = Some(request);
        self
    }

    /// Ana asks this of it, which is possible.
    #[must_use]
    pub fn told_to(mut self, ask: Ask) -> Self {
        let asked = self.ask(ask).unwrap_or_else(|why| panic!("{ask:?}: {why}"));
        let [write] = &asked.releases[..] else { panic!("one release is written: {asked:?}") };
        self.release = write.release.clone();
        self
    }

    /// What comes of asking this of it.
    pub fn ask(&self, ask: Ask) -> Result<Commit, NotPossible> {
        let by = Actor::Person { name: "ana".into() };
        requests::ask(&self.release, ask, by, "to have a look".into(), self.now)
    }

    /// AWS refused this effect for good.
    #[must_use]
    pub fn refused(mut self, effect: EffectKind) -> Self {
        self.seen.refused.push(Refusal { effect, error: denied() });
        self
    }

    /// The alarms cannot be read.
    #[must_use]
    pub fn blind_to_alarms(mut self) -> Self {
        self.seen.alarms = Seen::Unknown(denied());
        self
    }

    /// The deployments cannot be read.
    #[must_use]
    pub fn blind_to_deployments(mut self) -> Self {
        self.seen.ecs.deployments = Seen::Unknown(denied());
        self
    }

    /// The candidate has this share on the load balancer.
    #[must_use]
    pub fn weight(mut self, percent: u16) -> Self {
        let percent = u32::from(percent);
        let weights = vec![(names::blue(), 100 - percent), (names::green(), percent)];
        self.seen.elb.weights =
            Seen::Known(vec![RuleSeen { arn: names::rule(), weights, is_default: false }]);
        self
    }

    /// Deployment 1 is seen, and waits nowhere.
    #[must_use]
    pub fn deployed(mut self) -> Self {
        let created_at = self.release.progress.started_at.unwrap_or(self.now);
        self.seen.ecs.deployments = Seen::Known(vec![deployment(1, &names::task_definition(2), created_at)]);
        if let Seen::Known(Some(service)) = &mut self.seen.ecs.service {
            service.task_definition = names::task_definition(2);
            if let Some(plan) = &self.release.plan {
                service.deployment_configuration =
                    plan.setup.ecs_native().expect("ECS shifts the traffic").configuration.clone();
            }
        }
        self
    }

    /// Deployment 1, of this revision, is seen.
    #[must_use]
    pub fn deployed_revision(self, revision: u32) -> Self {
        let mut fixture = self.deployed().runs(revision);
        if let Seen::Known(deployments) = &mut fixture.seen.ecs.deployments {
            deployments[0].task_definition = Some(names::task_definition(revision));
        }
        fixture
    }

    /// Deployment 1 has this status, and everything else is as it was.
    #[must_use]
    pub fn status_of(mut self, status: DeploymentStatus) -> Self {
        if let Seen::Known(deployments) = &mut self.seen.ecs.deployments {
            deployments[0].status = status;
        }
        self
    }

    /// Deployment 2 has brought this revision back.
    #[must_use]
    pub fn returned(mut self, revision: u32) -> Self {
        let mut back = deployment(2, &names::task_definition(revision), self.now);
        back.status = DeploymentStatus::Successful;
        if let Seen::Known(deployments) = &mut self.seen.ecs.deployments {
            deployments.insert(0, back);
        }
        self.runs(revision)
    }

    /// Deployment 1 waits at this pause before a shift.
    #[must_use]
    pub fn waiting(self, hook: u32) -> Self {
        self.deployed().pausing(hook, PAUSE_BEFORE_SHIFT)
    }

    /// Deployment 1 waits before its promotion.
    #[must_use]
    pub fn waiting_for_promotion(self) -> Self {
        self.deployed().pausing(3, PAUSE_BEFORE_PROMOTION)
    }

    /// The deployment says it is in this stage, whatever stage it waits at.
    #[must_use]
    pub fn saying(mut self, stage: Option<&str>) -> Self {
        if let Seen::Known(deployments) = &mut self.seen.ecs.deployments {
            for deployment in deployments {
                deployment.stage = stage.map(str::to_owned);
                deployment.hooks.iter_mut().for_each(|hook| hook.stage = stage.map(str::to_owned));
            }
        }
        self
    }

    /// The service has this in its deployment configuration.
    #[must_use]
    pub fn configured(mut self, member: &str, value: serde_json::Value) -> Self {
        if let Seen::Known(Some(service)) = &mut self.seen.ecs.service {
            service.deployment_configuration[member] = value;
        }
        self
    }

    fn pausing(mut self, hook: u32, stage: &str) -> Self {
        if let Seen::Known(deployments) = &mut self.seen.ecs.deployments {
            deployments[0].stage = Some(stage.to_owned());
            deployments[0].hooks.push(HookSeen {
                id: names::hook(hook),
                pause: true,
                stage: Some(stage.to_owned()),
                awaiting: true,
                expires_at: None,
                timeout_action: Some("ROLLBACK".into()),
            });
        }
        self
    }

    /// Deployment 1 has this status and waits nowhere.
    #[must_use]
    pub fn status(mut self, status: DeploymentStatus) -> Self {
        self = self.deployed();
        if let Seen::Known(deployments) = &mut self.seen.ecs.deployments {
            deployments[0].status = status;
        }
        self
    }

    /// Someone else's deployment of revision 9 is seen, newer than ours.
    #[must_use]
    pub fn with_someone_elses(mut self) -> Self {
        let created_at = self.now;
        if let Seen::Known(deployments) = &mut self.seen.ecs.deployments {
            deployments.insert(0, deployment(9, &names::task_definition(9), created_at));
        }
        self
    }

    /// A deployment is listed, newer than ours, and what it brings is not described.
    #[must_use]
    pub fn with_undescribed(mut self) -> Self {
        let created_at = self.now;
        if let Seen::Known(deployments) = &mut self.seen.ecs.deployments {
            let unknown = deployment(8, &names::task_definition(8), created_at);
            deployments.insert(0, DeploymentSeen { task_definition: None, ..unknown });
        }
        self
    }

    /// The weights cannot be read.
    #[must_use]
    pub fn blind_to_weights(mut self) -> Self {
        self.seen.elb.weights = Seen::Unknown(denied());
        self
    }

    /// CloudWatch does not evaluate the alarm, whatever its state.
    #[must_use]
    pub fn unproven(mut self) -> Self {
        if let Seen::Known(alarms) = &mut self.seen.alarms {
            alarms.values_mut().for_each(|alarm| alarm.unproven = Some("it warms up".into()));
        }
        self
    }

    /// The service is set to this revision.
    #[must_use]
    pub fn runs(mut self, revision: u32) -> Self {
        if let Seen::Known(Some(service)) = &mut self.seen.ecs.service {
            service.task_definition = names::task_definition(revision);
        }
        self
    }

    /// The tasks run this build.
    #[must_use]
    pub fn runs_image(mut self, build: u32) -> Self {
        if let Seen::Known(running) = &mut self.seen.ecs.running {
            running.digests.insert(names::container(), vec![names::digest(build)]);
        }
        self
    }

    /// The release settles, to end as rolled back.
    #[must_use]
    pub fn in_phase_settling(mut self) -> Self {
        let outcome = Outcome::RolledBack { cause: alarm_cause() };
        self.release.phase = Phase::Settling { outcome, since: self.now, restored_at: None };
        self
    }

    /// The service has its own deployment configuration.
    #[must_use]
    pub fn own_configuration(mut self) -> Self {
        if let (Seen::Known(Some(service)), Some(plan)) = (&mut self.seen.ecs.service, &self.release.plan) {
            service.deployment_configuration =
                plan.setup.ecs_rollback_target().expect("an ECS service").configuration.clone();
        }
        self
    }
}

/// The nth task of revision 2: created just now, and crashed.
pub fn stopped_task(number: u32, now: Timestamp) -> StoppedTask {
    StoppedTask {
        task: names::task(number),
        task_definition: names::task_definition(2),
        created_at: Some(now),
        stopped_at: Some(now),
        code: Some(StopCode::EssentialContainerExited),
        reason: Some("Essential container in task exited".into()),
        containers: vec![StoppedContainer {
            name: names::container(),
            exit_code: Some(1),
            reason: None,
            log: None,
        }],
    }
}

/// What a person asks.
pub fn rollback_asked() -> Request {
    Request::Rollback { by: Actor::Person { name: "ana".into() }, why: "it looks wrong".into() }
}

/// What a cancellation is.
pub fn cancel_asked() -> Request {
    Request::Cancel { by: Actor::Person { name: "ben".into() }, why: "not today".into() }
}

/// A cause for tests of ends.
pub fn alarm_cause() -> Cause {
    Cause::Alarm { alarm: names::alarm(), reason: "5% errors".into(), at: None }
}

fn denied() -> PortError {
    PortError::new(ErrorKind::Denied, "aws:Anything", "AccessDeniedException", "not allowed")
}

fn deployment(number: u32, of: &TaskDefinitionArn, created_at: Timestamp) -> DeploymentSeen {
    DeploymentSeen {
        arn: names::deployment(number),
        created_at,
        status: DeploymentStatus::InProgress,
        reason: None,
        stage: Some("SCALE_UP".into()),
        task_definition: Some(of.clone()),
        weight: None,
        tasks: (2, 2, 0),
        hooks: Vec::new(),
        configuration: serde_json::Value::Null,
        triggered_alarms: Vec::new(),
    }
}
