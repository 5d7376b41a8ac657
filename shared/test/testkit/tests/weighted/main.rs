//! Weights of our own, played to the end against a small world: a service, a second one beside it, a rule, what scales the service. The
//! world is a model of what AWS documents; what really happens at a load balancer is tried in the scenarios.
#![expect(clippy::unwrap_used, reason = "a test that cannot continue has failed")]

mod pace;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tidegate_core::actor::Actor;
use tidegate_core::decide::{Decision, decide};
use tidegate_core::effect::Effect;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::history::Event;
use tidegate_core::ids::{EcsServiceName, TargetGroupArn, TaskDefinitionArn};
use tidegate_core::invariants::check_decision;
use tidegate_core::observation::Observation;
use tidegate_core::outcome::{Cause, Outcome};
use tidegate_core::plan::Stage;
use tidegate_core::policy::{self, Percent};
use tidegate_core::release::{Phase, Release};
use tidegate_core::requests::{self, Ask};
use tidegate_core::seen::Seen;
use tidegate_core::vocab::autoscaling::{self, ScalableTarget, Suspended};
use tidegate_core::vocab::cloudwatch::AlarmState;
use tidegate_core::vocab::ecs::{
    self, LatticeSeen, LoadBalancerSeen, Management, Scheduling, ServiceSeen, SourceSeen,
};
use tidegate_core::vocab::elb::{self, GroupSeen, Health, RuleSeen};
use tidegate_testkit::build::Fixture;
use tidegate_testkit::names;

const POLICY: &str = "service: checkout\n\
    from: { ecr: { repository: shop/checkout, tags: [\"main-*\"] } }\n\
    to: { ecs: { cluster: prod, service: checkout, container: app, canary: CANARY } }\n\
    strategy: { steps: [{ percent: 1, bake: 2m }, { percent: 10, bake: 2m }, { percent: 50, bake: 2m }], bake: 2m }\n\
    rollback: { alarms: [checkout-5xx] }\n\
    evidence: { min_requests: 0, compare: [] }\n\
    pause: 1h\n";

/// How long a task takes to start and be healthy.
const TASK_STARTS: SignedDuration = SignedDuration::from_secs(20);
/// The longest a release may take here.
const LONGEST: SignedDuration = SignedDuration::from_hours(4);

#[derive(Debug, Clone)]
struct Fleet {
    task_definition: TaskDefinitionArn,
    before: TaskDefinitionArn,
    desired: u32,
    /// So many ran before the last change, and run until it has taken effect.
    ran: u32,
    changed_at: Timestamp,
}

impl Fleet {
    fn is_settled(&self, now: Timestamp) -> bool {
        now.duration_since(self.changed_at) >= TASK_STARTS
    }

    fn running(&self, now: Timestamp) -> u32 {
        if self.is_settled(now) { self.desired } else { self.ran }
    }
}

#[derive(Debug, Clone)]
struct World {
    now: Timestamp,
    stable: Fleet,
    configuration: serde_json::Value,
    canary: Option<Fleet>,
    /// No task of the candidate is healthy any more.
    sick: bool,
    /// Until when reads do not show the candidate's service.
    hidden_until: Timestamp,
    weights: Vec<(TargetGroupArn, u32)>,
    suspended: Suspended,
    registered: bool,
    alarm: AlarmState,
    balanced: bool,
    source: SourceSeen,
    kind: ecs::Kind,
    /// The policy names the default rule of a listener.
    default_rule: bool,
    /// The candidate's share after each change of the weights.
    shares: Vec<u16>,
    created: Vec<EcsServiceName>,
}

impl World {
    fn new() -> Self {
        let stable = names::task_definition(1);
        let changed_at = names::at(-3600);
        Self {
            now: names::start(),
            stable: Fleet {
                task_definition: stable.clone(),
                before: stable,
                desired: 10,
                ran: 10,
                changed_at,
            },
            configuration: json!({ "strategy": "CANARY", "canaryConfiguration": { "canaryPercent": 5.0 },
                "maximumPercent": 200, "minimumHealthyPercent": 100 }),
            canary: None,
            sick: false,
            hidden_until: names::start(),
            weights: vec![(names::blue(), 1)],
            suspended: Suspended { scale_in: false, scale_out: true, scheduled: false },
            registered: false,
            alarm: AlarmState::Ok,
            balanced: true,
            source: SourceSeen::default(),
            kind: ecs::Kind::default(),
            default_rule: false,
            shares: Vec::new(),
            created: Vec::new(),
        }
    }

    /// The candidate's healthy targets. Those of a group that no rule names are unused: nothing checks them.
    fn healthy(&self) -> u32 {
        let named = self.weights.iter().any(|(group, _)| *group == names::green());
        let checked = self.canary.as_ref().filter(|_| !self.sick && (named || !self.balanced));
        checked.map_or(0, |canary| canary.running(self.now))
    }

    fn share(&self) -> Percent {
        let rule = RuleSeen { arn: names::rule(), weights: self.weights.clone(), is_default: false };
        rule.share(&names::green()).unwrap_or(Percent::NONE)
    }

    fn service(&self, fleet: &Fleet, group: &TargetGroupArn, like: &ServiceSeen) -> ServiceSeen {
        let settled = fleet.is_settled(self.now);
        let balancer = LoadBalancerSeen {
            target_group: Some(group.clone()),
            alternate_target_group: None,
            production_rule: None,
            test_rule: None,
            role_given: false,
        };
        ServiceSeen {
            task_definition: fleet.task_definition.clone(),
            desired: fleet.desired,
            running: fleet.running(self.now),
            other_tasks: u32::from(!settled),
            steady: settled,
            deployment_configuration: self.configuration.clone(),
            load_balancers: if self.balanced { vec![balancer] } else { Vec::new() },
            kind: self.kind.clone(),
            ..like.clone()
        }
    }

    fn look(&self, base: &Observation, release: &Release) -> Observation {
        let like = base.ecs.service.known().unwrap().clone().unwrap();
        let runs =
            if self.stable.is_settled(self.now) { &self.stable.task_definition } else { &self.stable.before };
        let build = if *runs == names::task_definition(2) { 2 } else { 1 };
        let alarm = |mut seen: tidegate_core::vocab::cloudwatch::AlarmSeen| {
            seen.state = self.alarm.clone();
            seen.since = Some(self.now);
            seen
        };
        let alarms = base.alarms.known().unwrap().clone();
        let is_default = self.default_rule;
        let rules = RuleSeen { arn: names::rule(), weights: self.weights.clone(), is_default };
        let canary = self.canary.as_ref();
        let mut running = base.ecs.running.known().unwrap().clone();
        running.digests.insert(names::container(), vec![names::digest(build)]);
        let head = base.head.clone().map(|mut head| {
            head.active = (!matches!(release.phase, Phase::Queued)).then(|| release.id.clone());
            head
        });
        Observation {
            at: self.now,
            head,
            ecs: ecs::Observation {
                service: Seen::Known(Some(self.service(&self.stable, &names::blue(), &like))),
                task_definition: base.ecs.task_definition.clone(),
                revision: Seen::Known(self.registered.then(|| names::task_definition(2))),
                running: Seen::Known(running),
                deployments: Seen::Known(Vec::new()),
                canary: Seen::Known(
                    canary
                        .filter(|_| self.now >= self.hidden_until)
                        .map(|canary| self.service(canary, &names::green(), &like)),
                ),
                source: Seen::Known(self.source.clone()),
                ..ecs::Observation::default()
            },
            elb: elb::Observation {
                weights: Seen::Known(if self.balanced { vec![rules] } else { Vec::new() }),
                health: Seen::Known(BTreeMap::from([
                    (names::blue(), Health { healthy: self.stable.desired, registered: self.stable.desired }),
                    (
                        names::green(),
                        Health {
                            healthy: self.healthy(),
                            registered: canary.map_or(0, |canary| canary.desired),
                        },
                    ),
                ])),
                groups: Seen::Known(vec![GroupSeen { arn: names::green(), load_balancers: Vec::new() }]),
            },
            autoscaling: autoscaling::Observation {
                target: Seen::Known(Some(ScalableTarget { suspended: self.suspended })),
            },
            alarms: Seen::Known(alarms.into_iter().map(|(name, seen)| (name, alarm(seen))).collect()),
            ..base.clone()
        }
    }

    fn perform(&mut self, effect: &Effect) {
        match effect {
            Effect::Ecs(ecs::Effect::RegisterTaskDefinition { .. }) => self.registered = true,
            Effect::Ecs(ecs::Effect::CreateCanary { name, task_definition, desired, .. }) => {
                let in_rule = self.weights.iter().any(|(group, _)| *group == names::green());
                assert!(
                    in_rule || !self.balanced,
                    "targets of a group that no rule names never become healthy"
                );
                if !self.created.contains(name) {
                    self.created.push(name.clone());
                }
                self.canary.get_or_insert(Fleet {
                    task_definition: task_definition.clone(),
                    before: task_definition.clone(),
                    desired: *desired,
                    ran: 0,
                    changed_at: self.now,
                });
            }
            Effect::Ecs(ecs::Effect::ScaleCanary { desired, .. }) => {
                let now = self.now;
                let canary = self.canary.as_mut().expect("there is a second service");
                canary.ran = canary.running(now);
                (canary.desired, canary.changed_at) = (*desired, now);
            }
            Effect::Ecs(ecs::Effect::DeleteCanary { .. }) => {
                assert_eq!(self.share(), Percent::NONE, "the tasks that are taken away carry traffic");
                self.canary = None;
            }
            Effect::Ecs(
                ecs::Effect::StartDeployment { task_definition, configuration }
                | ecs::Effect::ReturnTo { task_definition, configuration },
            ) => {
                if self.stable.task_definition != *task_definition {
                    self.stable.before = self.stable.task_definition.clone();
                    self.stable.task_definition = task_definition.clone();
                    self.stable.changed_at = self.now;
                }
                self.configuration = configuration.clone();
            }
            Effect::Ecs(ecs::Effect::RestoreConfiguration { configuration }) => {
                self.configuration = configuration.clone();
            }
            Effect::Elb(elb::Effect::SetWeights { weights, .. }) => {
                let (healthy, before) = (self.healthy(), self.share());
                self.weights = weights.clone();
                let share = self.share();
                assert!(healthy > 0 || share <= before, "traffic goes to a fleet that is not healthy");
                self.shares.push(share.tenths());
            }
            Effect::AutoScaling(autoscaling::Effect::Suspend { suspended }) => self.suspended = *suspended,
            Effect::Ecs(ecs::Effect::ContinueHook { .. } | ecs::Effect::StopDeployment { .. })
            | Effect::Lambda(_)
            | Effect::Invite { .. }
            | Effect::StartBuild { .. } => panic!("not an effect of this engine: {effect}"),
        }
    }
}

/// The policy of a world.
fn policy_of(world: &World) -> policy::Policy {
    let canary = if world.balanced {
        format!("{{ target_group: \"{}\", rules: [\"{}\"] }}", names::green(), names::rule())
    } else {
        "{ min_tasks: 1 }".to_owned()
    };
    policy::parse("weighted.yaml", &POLICY.replace("CANARY", &canary)).unwrap()
}

struct Play {
    world: World,
    base: Observation,
    release: Release,
    told: Vec<Event>,
    /// Effects so far, and which of them nobody performs: the executor died before it.
    effects: usize,
    lost: Option<usize>,
    breached_at: Option<Percent>,
}

impl Play {
    fn new(world: World) -> Self {
        let policy = policy_of(&world);
        let fixture = Fixture::queued_with(policy);
        let Fixture { release, seen, .. } = fixture;
        Self { world, base: seen, release, told: Vec::new(), effects: 0, lost: None, breached_at: None }
    }

    /// One decision, and what it does.
    fn turn(&mut self) -> Decision {
        let seen = self.world.look(&self.base, &self.release);
        let decision = decide(&self.release, &seen, self.world.now);
        check_decision(&self.release, &decision).unwrap_or_else(|broken| {
            panic!("{}: {}\n{:?}", self.release.summary(), broken.join("; "), decision.effects)
        });
        if let Some(entry) = &decision.entry {
            self.told.extend(entry.events().cloned());
        }
        if let Some(head) = &decision.head {
            self.base.head = Some(head.clone());
        }
        let goes_back = decision.release.cause().is_some();
        for effect in &decision.effects {
            self.effects += 1;
            if self.lost != Some(self.effects) {
                self.world.perform(effect);
            }
        }
        if goes_back {
            let share = self.world.share();
            let before = *self.breached_at.get_or_insert(share);
            assert!(share <= before, "after a breach the share rises from {before}% to {share}%");
            self.breached_at = Some(share);
        }
        self.release = decision.release.clone();
        decision
    }

    /// Plays on until this holds, or the release has ended.
    fn until(&mut self, holds: impl Fn(&Self) -> bool) -> &mut Self {
        let end = self.world.now.saturating_add(LONGEST).unwrap();
        while !self.release.is_over() && !holds(self) {
            assert!(
                self.world.now < end,
                "{} does not end: {:?}",
                self.release.summary(),
                self.release.report
            );
            let decision = self.turn();
            let Some(wake) = decision.release.wake else { break };
            // After an effect it is looked at once more at once.
            let soon = self.world.now.saturating_add(SignedDuration::from_secs(1)).unwrap();
            let next = if decision.effects.is_empty() { wake.at.max(soon) } else { soon };
            self.world.now = next;
        }
        self
    }

    fn bakes_at(&self, percent: u16) -> bool {
        matches!(self.release.stage(), Some(Stage::Bake { percent: at, .. }) if *at == Percent::from_tenths(percent * 10))
    }

    fn end(&mut self) -> Outcome {
        self.until(|_| false);
        self.release.outcome().unwrap().clone()
    }

    /// Nothing of the release is left, and the service runs this revision.
    #[track_caller]
    fn is_clean(&self, revision: u32) {
        let fresh = World::new();
        assert_eq!(self.world.stable.task_definition, names::task_definition(revision));
        assert!(self.world.canary.is_none(), "the second service is still there");
        assert_eq!(self.world.weights, fresh.weights, "the rule is not as it was");
        assert_eq!(self.world.suspended, fresh.suspended, "what scales the service is not as it was read");
        let own = &fresh.configuration;
        assert_eq!(self.world.configuration["strategy"], own["strategy"], "{}", self.world.configuration);
        assert!(self.world.created.len() <= 1, "one second service is made: {:?}", self.world.created);
    }
}

#[test]
fn a_good_candidate_takes_every_step_and_comes_home() {
    let mut play = Play::new(World::new());
    assert_eq!(play.end(), Outcome::Promoted, "{:?}", play.release.report);
    play.is_clean(2);
    // At weight 0 first; everything; home; and the rule as it was.
    assert_eq!(play.world.shares, [0, 10, 100, 500, 1000, 0, 0]);
    assert!(play.told.contains(&Event::TrafficHome));
    let name = play.world.created[0].as_str();
    assert!(name.starts_with("checkout-canary-"), "{name}");
}

#[test]
fn a_breach_at_any_step_is_one_change_of_weights_and_leaves_nothing() {
    for percent in [1, 10, 50, 100] {
        let mut play = Play::new(World::new());
        play.until(|play| play.bakes_at(percent));
        assert_eq!(play.world.share(), Percent::from_tenths(percent * 10));
        play.world.alarm = AlarmState::Alarm;
        let decision = play.turn();
        let [Effect::Elb(elb::Effect::SetWeights { share, .. })] = &decision.effects[..] else {
            panic!("{:?}", decision.effects)
        };
        assert_eq!((*share, play.world.share()), (Percent::NONE, Percent::NONE), "in the very same decision");
        assert!(matches!(play.end(), Outcome::RolledBack { .. }), "{:?}", play.release.report);
        play.is_clean(1);
    }
}

/// Ana asks this of the release.
fn ask(play: &mut Play, ask: Ask) {
    let by = Actor::Person { name: "ana".into() };
    let commit = requests::ask(&play.release, ask, by, "to have a look".into(), play.world.now).unwrap();
    play.release = commit.releases[0].release.clone();
}

#[test]
fn a_paused_release_keeps_its_share_also_when_somebody_resets_the_rule() {
    let mut play = Play::new(World::new());
    play.until(|play| play.bakes_at(10));
    ask(&mut play, Ask::Pause);
    let until = play.world.now.saturating_add(SignedDuration::from_mins(50)).unwrap();
    play.until(|play| play.world.now >= until);
    assert_eq!((play.world.shares.last(), play.bakes_at(10)), (Some(&100), true));
    play.world.weights = vec![(names::blue(), 1)];
    let until = play.world.now.saturating_add(SignedDuration::from_mins(2)).unwrap();
    play.until(|play| play.world.now >= until);
    assert_eq!(play.world.share(), Percent::from_tenths(100), "what was set stays set");
    assert!(play.bakes_at(10));
    ask(&mut play, Ask::Continue);
    assert_eq!(play.end(), Outcome::Promoted, "{:?}", play.release.report);
    play.is_clean(2);
}

#[test]
fn a_paused_release_is_rolled_back_by_an_alarm_and_at_the_end_of_its_hour() {
    for breached in [true, false] {
        let mut play = Play::new(World::new());
        play.until(|play| play.bakes_at(10));
        ask(&mut play, Ask::Pause);
        let since = play.world.now;
        play.turn();
        if breached {
            play.world.alarm = AlarmState::Alarm;
        }
        let outcome = play.end();
        let Outcome::RolledBack { cause } = &outcome else { panic!("{outcome:?}") };
        assert_eq!(matches!(cause, Cause::Alarm { .. }), breached, "{cause}");
        assert_eq!(play.world.now.duration_since(since) >= SignedDuration::from_hours(1), !breached);
        play.is_clean(1);
    }
}

#[test]
fn promoting_now_takes_every_step_without_its_bake() {
    let mut play = Play::new(World::new());
    play.until(|play| play.bakes_at(1));
    ask(&mut play, Ask::PromoteNow);
    let since = play.world.now;
    play.until(|play| play.told.contains(&Event::Promoting));
    assert!(play.world.now.duration_since(since) < SignedDuration::from_mins(3), "{}", play.world.now);
    assert_eq!(play.end(), Outcome::Promoted, "{:?}", play.release.report);
    assert_eq!(play.world.shares, [0, 10, 100, 500, 1000, 0, 0], "every share is set, and seen");
    play.is_clean(2);
}

#[test]
fn a_breach_in_the_middle_of_the_promotion_brings_the_service_itself_back_too() {
    let promoting = |play: &Play| play.told.contains(&Event::Promoting);
    let home = |play: &Play| play.told.contains(&Event::TrafficHome);
    for moment in [&promoting as &dyn Fn(&Play) -> bool, &home] {
        let mut play = Play::new(World::new());
        play.until(moment);
        assert!(moment(&play), "{}", play.release.summary());
        play.world.alarm = AlarmState::Alarm;
        let ended = play.end();
        assert!(matches!(ended, Outcome::RolledBack { .. }), "{ended:?}");
        play.is_clean(1);
    }
}

#[test]
fn an_executor_that_dies_before_any_effect_changes_nothing_but_the_time() {
    let mut whole = Play::new(World::new());
    whole.end();
    assert!(whole.effects >= 14, "{}", whole.effects);
    for lost in 1..=whole.effects {
        let mut play = Play::new(World::new());
        play.lost = Some(lost);
        assert_eq!(play.end(), Outcome::Promoted, "effect {lost}: {:?}", play.release.report);
        play.is_clean(2);
    }
}

#[test]
fn a_rollback_whose_executor_dies_comes_to_its_end() {
    let breached = |lost: Option<usize>| {
        let mut play = Play::new(World::new());
        play.until(|play| play.bakes_at(10));
        play.lost = lost;
        play.world.alarm = AlarmState::Alarm;
        let before = play.effects;
        assert!(matches!(play.end(), Outcome::RolledBack { .. }), "{lost:?}: {:?}", play.release.report);
        play.is_clean(1);
        (before, play.effects)
    };
    let (first, last) = breached(None);
    for lost in first + 1..=last {
        breached(Some(lost));
    }
}

#[test]
fn weights_that_something_else_changes_are_set_again_three_times_and_then_it_is_rolled_back() {
    let mut play = Play::new(World::new());
    play.until(|play| play.bakes_at(10));
    let reset = |play: &mut Play| play.world.weights = vec![(names::blue(), 1)];
    for times in 1..=3 {
        reset(&mut play);
        play.until(|play| play.world.share() == Percent::from_tenths(100));
        let repairs = play.told.iter().filter(|event| matches!(event, Event::WeightsRepaired { .. })).count();
        assert_eq!(repairs, times);
    }
    reset(&mut play);
    let Outcome::RolledBack { cause } = play.end() else { panic!("{}", play.release.summary()) };
    assert!(cause.to_string().contains("CloudTrail"), "{cause}");
    play.is_clean(1);
}

#[test]
fn weights_that_were_set_again_three_times_do_not_take_a_promotion_back() {
    let mut play = Play::new(World::new());
    for percent in [1, 10, 50] {
        play.until(|play| play.bakes_at(percent));
        play.world.weights = vec![(names::blue(), 1)];
    }
    assert_eq!(play.end(), Outcome::Promoted, "{:?}", play.release.report);
    assert_eq!(play.release.progress.state.ecs_weighted().repaired, 3);
    play.is_clean(2);
}

#[test]
fn a_candidate_without_a_load_balancer_is_deleted_in_the_decision_that_rolls_it_back_whatever_is_seen() {
    let mut play = Play::new(World { balanced: false, ..World::new() });
    play.until(|play| play.bakes_at(50));
    play.world.alarm = AlarmState::Alarm;
    let mut seen = play.world.look(&play.base, &play.release);
    let error =
        PortError::new(ErrorKind::Unavailable, "ecs:DescribeServices", "TimeoutError", "no answer came");
    seen.ecs.canary = Seen::Unknown(error);
    let decision = decide(&play.release, &seen, play.world.now);
    let [Effect::Ecs(ecs::Effect::DeleteCanary { .. })] = &decision.effects[..] else {
        panic!("{:?}", decision.effects)
    };
    assert!(matches!(play.end(), Outcome::RolledBack { .. }), "{:?}", play.release.report);
    play.is_clean(1);
}

#[test]
fn a_group_that_no_rule_names_gets_no_share_whatever_an_older_read_says_of_its_health() {
    let mut play = Play::new(World::new());
    play.until(|play| play.bakes_at(10));
    play.world.now = play.world.now.saturating_add(SignedDuration::from_secs(60)).unwrap();
    // The targets are seen as they were before the rule was changed.
    let healthy = play.world.look(&play.base, &play.release).elb.health;
    play.world.weights = vec![(names::blue(), 1)];
    let mut seen = play.world.look(&play.base, &play.release);
    seen.elb.health = healthy;
    let decision = decide(&play.release, &seen, seen.at);
    let [Effect::Elb(elb::Effect::SetWeights { weights, .. })] = &decision.effects[..] else {
        panic!("{:?}", decision.effects)
    };
    assert!(weights.contains(&(names::green(), 0)), "{weights:?}");
}

#[test]
fn weights_are_not_set_again_on_a_look_that_is_too_old() {
    let mut play = Play::new(World::new());
    play.until(|play| play.bakes_at(10));
    play.world.now = play.world.now.saturating_add(SignedDuration::from_secs(60)).unwrap();
    play.world.weights = vec![(names::blue(), 100), (names::green(), 0)];
    let seen = play.world.look(&play.base, &play.release);
    let after = |secs| seen.at.saturating_add(SignedDuration::from_secs(secs)).unwrap();
    assert_eq!(decide(&play.release, &seen, after(1)).effects.len(), 1);
    assert_eq!(decide(&play.release, &seen, after(20)).effects, []);
}

#[test]
fn a_share_that_was_raised_by_somebody_is_taken_back() {
    let mut play = Play::new(World::new());
    play.until(|play| play.bakes_at(10));
    play.world.weights = vec![(names::blue(), 20), (names::green(), 80)];
    play.until(|play| play.world.share() == Percent::from_tenths(100));
    assert_eq!(play.end(), Outcome::Promoted);
}

#[test]
fn what_somebody_else_deploys_is_given_way_to_with_all_traffic_on_it() {
    let mut play = Play::new(World::new());
    play.until(|play| play.bakes_at(50));
    play.world.stable.task_definition = names::task_definition(7);
    let Outcome::Failed { cause, .. } = play.end() else { panic!("{}", play.release.summary()) };
    assert!(matches!(cause, tidegate_core::outcome::Cause::ExternalDeployment { .. }), "{cause}");
    play.is_clean(7);
}

#[test]
fn a_candidate_whose_service_is_deleted_is_rolled_back() {
    let mut play = Play::new(World::new());
    play.until(|play| play.bakes_at(10));
    play.world.canary = None;
    let Outcome::RolledBack { cause } = play.end() else { panic!("{}", play.release.summary()) };
    assert!(cause.to_string().contains("deleted"), "{cause}");
    play.is_clean(1);
}

#[test]
fn a_candidate_of_which_no_task_is_healthy_while_it_has_traffic_is_rolled_back() {
    let mut play = Play::new(World::new());
    play.until(|play| play.bakes_at(10));
    play.world.sick = true;
    let Outcome::RolledBack { cause } = play.end() else { panic!("{}", play.release.summary()) };
    assert!(cause.to_string().contains("no task of the candidate is healthy"), "{cause}");
    play.is_clean(1);
}

#[test]
fn a_service_that_was_just_made_and_that_one_read_does_not_show_was_not_deleted() {
    let mut play = Play::new(World::new());
    // The first try to make it is lost, so that it is made long after the start was begun.
    play.lost = Some(4);
    play.until(|play| play.world.canary.is_some());
    play.turn();
    assert!(play.release.progress.state.ecs_weighted().created);
    let soon = |at: Timestamp, secs| at.saturating_add(SignedDuration::from_secs(secs)).unwrap();
    play.world.hidden_until = soon(play.world.now, 5);
    play.world.now = soon(play.world.now, 2);
    play.turn();
    assert_eq!(play.end(), Outcome::Promoted);
    assert_eq!(play.world.created.len(), 1, "{:?}", play.world.created);
    play.is_clean(2);
}

#[test]
fn the_fleet_of_the_candidate_is_as_large_as_its_share_before_it_gets_it() {
    for (percent, tasks) in [(1, 1), (10, 1), (50, 5), (100, 10)] {
        let mut play = Play::new(World::new());
        play.until(|play| play.bakes_at(percent));
        assert_eq!(play.world.canary.as_ref().unwrap().desired, tasks, "at {percent}%");
        assert!(
            play.world.suspended.scale_in && play.world.suspended.scale_out,
            "scaling in is held, the rest as it was"
        );
    }
}

#[test]
fn without_a_load_balancer_the_share_is_one_of_tasks() {
    // On ECS Anywhere there is none.
    let kind = ecs::Kind { is_anywhere: true, ..ecs::Kind::default() };
    let mut play =
        Play::new(World { kind, balanced: false, weights: vec![(names::blue(), 1)], ..World::new() });
    play.until(|play| play.bakes_at(50));
    assert_eq!(play.world.canary.as_ref().unwrap().desired, 5);
    assert_eq!(play.release.progress.measured, None, "nobody measures it");
    assert_eq!(play.end(), Outcome::Promoted, "{:?}", play.release.report);
    play.is_clean(2);
}

/// What preflight says about a world.
#[track_caller]
fn blocked(world: World) -> String {
    let mut play = Play::new(world);
    play.until(|play| play.release.is_over() || play.release.plan.is_some());
    let Some(Outcome::Failed { cause, .. }) = play.release.outcome() else {
        panic!("{}", play.release.summary())
    };
    assert_eq!(play.effects, 0, "nothing was changed");
    cause.to_string()
}

#[test]
fn what_cannot_be_done_is_refused_by_name_before_anything_is_changed() {
    let source = |change: &dyn Fn(&mut SourceSeen)| {
        let mut world = World::new();
        change(&mut world.source);
        blocked(world)
    };
    assert!(
        source(&|source| source.gateway = true).contains("an Amazon ECS gateway sends the service requests")
    );
    assert!(source(&|source| source.registries = 1).contains("service registry"));
    assert!(source(&|source| source.connect_server = true).contains("Service Connect"));
    assert!(source(&|source| source.host_ports = vec![8080]).contains("port 8080 of their host"));
    assert!(source(&|source| source.unknown = vec!["tidalLock".into()]).contains("tidalLock"));
    let kind = |kind: ecs::Kind| blocked(World { kind, ..World::new() });
    let plain = ecs::Kind::default;
    assert!(
        kind(ecs::Kind { scheduling: Scheduling::Daemon, ..plain() }).contains("the service is a DAEMON")
    );
    assert!(
        kind(ecs::Kind { scheduling: Scheduling::Other("TIDAL".into()), ..plain() }).contains("is TIDAL")
    );
    assert!(kind(ecs::Kind { management: Management::Ecs, ..plain() }).contains("in Express Mode"));
    assert!(kind(ecs::Kind { is_anywhere: true, ..plain() }).contains("ECS Anywhere"));
    let lattice = vec![LatticeSeen { target_group: "arn:lattice".into(), can_shift: true }];
    assert!(kind(ecs::Kind { lattice, ..plain() }).contains("VPC Lattice sends the service requests"));
    let default = blocked(World { default_rule: true, ..World::new() });
    assert!(default.contains("is the default rule of its listener"), "{default}");
    let other: TargetGroupArn = names::blue().as_str().replace("blue", "other").parse().unwrap();
    assert_ne!(other, names::blue());
    let another = blocked(World { weights: vec![(other, 1)], ..World::new() });
    assert!(another.contains("which is not the service's"), "{another}");
    let own = blocked(World { weights: vec![(names::green(), 1)], ..World::new() });
    assert!(own.contains("the service's own"), "{own}");
    let two = blocked(World { weights: vec![(names::blue(), 1), (names::green(), 1)], ..World::new() });
    assert!(two.contains("sends traffic to 2 target groups"), "{two}");
}
