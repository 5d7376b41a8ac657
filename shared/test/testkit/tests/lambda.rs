//! Releases to an alias of a Lambda function, played to the end against a small world: `$LATEST`, published versions, an alias whose changes
//! AWS takes only from who has seen the one before. The world is a model of what AWS documents.
#![expect(clippy::unwrap_used, reason = "a test that cannot continue has failed")]

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use tidegate_core::change::Change;
use tidegate_core::decide::{Decision, decide};
use tidegate_core::effect::{Effect, EffectKind};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::finding::FindingCode;
use tidegate_core::ids::{ContainerName, FunctionVersion};
use tidegate_core::intent::Intent;
use tidegate_core::invariants::check_decision;
use tidegate_core::observation::{EffectResult, Observation, Refusal};
use tidegate_core::outcome::{Cause, Outcome};
use tidegate_core::plan::Stage;
use tidegate_core::policy::{self, Percent, Policy};
use tidegate_core::release::Release;
use tidegate_core::seen::Seen;
use tidegate_core::vocab::cloudwatch::AlarmState;
use tidegate_core::vocab::ecr::{ImageSeen, Stored};
use tidegate_core::vocab::lambda::{
    self, AliasSeen, Around, CodeSeen, CodeState, Effect as Done, Routing, Update,
};
use tidegate_testkit::build::Fixture;
use tidegate_testkit::names;

const POLICY: &str = "service: thumbnails\n\
    from: { ecr: { repository: shop/checkout, tags: [\"main-*\"] } }\n\
    to: { lambda: { function: thumbnails, alias: live } }\n\
    strategy: { steps: [{ percent: 1, bake: 2m }, { percent: 12.5, bake: 2m }, { percent: 50, bake: 2m }], bake: 2m }\n\
    rollback: { alarms: [checkout-5xx] }\n\
    evidence: { min_requests: 0, compare: [] }\n";

/// How long AWS takes to take an image.
const UPDATE_TAKES: SignedDuration = SignedDuration::from_secs(30);
/// The longest a release may take here.
const LONGEST: SignedDuration = SignedDuration::from_hours(4);

fn version(number: u32) -> FunctionVersion {
    FunctionVersion::new(number.to_string()).unwrap()
}

#[derive(Debug, Clone)]
struct World {
    now: Timestamp,
    /// The build that `$LATEST` runs, its revision, and when it was changed.
    latest: (u32, u32, Timestamp),
    /// The build that each version runs.
    versions: BTreeMap<u32, u32>,
    alias: Option<Routing>,
    alias_revision: u32,
    alarm: AlarmState,
    around: Around,
    /// What differs between `$LATEST` and the stable version.
    role: &'static str,
    package: &'static str,
    region: &'static str,
    is_index: bool,
    /// Every routing the alias had.
    routings: Vec<String>,
    /// What the calls brought about, until it is told.
    results: Vec<EffectResult>,
    refused: Vec<Refusal>,
    /// AWS refuses to change the alias.
    denied: bool,
    /// The alias cannot be read.
    blind: bool,
}

impl World {
    fn new() -> Self {
        Self {
            now: names::start(),
            latest: (1, 1, names::at(-3600)),
            versions: BTreeMap::from([(40, 7), (41, 1)]),
            alias: Some(Routing::all(version(41))),
            alias_revision: 1,
            alarm: AlarmState::Ok,
            around: Around::default(),
            role: "r",
            package: "Image",
            region: "eu-central-1",
            is_index: false,
            routings: Vec::new(),
            results: Vec::new(),
            refused: Vec::new(),
            denied: false,
            blind: false,
        }
    }

    fn is_updating(&self) -> bool {
        self.now.duration_since(self.latest.2) < UPDATE_TAKES
    }

    fn code(&self, build: u32, revision: u32, role: &str) -> CodeSeen {
        CodeSeen {
            package: self.package.into(),
            image: Some(names::image(build).pinned()),
            state: CodeState::Ready,
            update: Update::Done,
            code_sha256: format!("code-{build}"),
            revision: format!("latest-{revision}"),
            architecture: Some("x86_64".into()),
            settings: BTreeMap::from([("Role".to_owned(), role.to_owned())]),
            snap_start: false,
        }
    }

    /// Somebody else changes the alias.
    fn meddle(&mut self, to: Routing) {
        self.alias = Some(to);
        self.alias_revision += 1;
    }

    fn look(&mut self, base: &Observation, release: &Release) -> Observation {
        let (build, revision, _) = self.latest;
        let update = if self.is_updating() { Update::UnderWay } else { Update::Done };
        let latest = CodeSeen { update, ..self.code(build, revision, self.role) };
        let versions =
            self.versions.iter().map(|(number, build)| (version(*number), Some(self.code(*build, 0, "r"))));
        let mut versions: BTreeMap<_, _> = versions.collect();
        let known = release.progress.state.lambda_alias().version.clone();
        if let Some(gone) = known {
            versions.entry(gone).or_insert(None);
        }
        let alias = self.alias.clone().map(|routing| AliasSeen {
            version: Some(routing.version),
            weights: routing.other.into_iter().collect(),
            revision: format!("alias-{}", self.alias_revision),
        });
        let unreadable = PortError::new(ErrorKind::Denied, "lambda:GetAlias", "AccessDeniedException", "no");
        let alarm = |mut seen: tidegate_core::vocab::cloudwatch::AlarmSeen| {
            seen.state = self.alarm.clone();
            seen.since = Some(self.now);
            seen
        };
        let alarms = base.alarms.known().unwrap().clone();
        let digest = names::digest(2);
        let mut image = ImageSeen::there(digest.clone());
        if self.is_index {
            let part = tidegate_core::vocab::ecr::ImagePart { digest: names::digest(9), platform: None };
            image.parts = Seen::Known(vec![part]);
        }
        Observation {
            at: self.now,
            lambda: lambda::Observation {
                alias: if self.blind { Seen::Unknown(unreadable) } else { Seen::Known(alias) },
                latest: Seen::Known(Some(latest)),
                versions: Seen::Known(versions),
                around: Seen::Known(self.around.clone()),
            },
            new_images: Seen::Known(BTreeMap::from([(digest, Some(image))])),
            stored: [1, 7]
                .map(names::image)
                .map(|image| {
                    (image.pinned(), Seen::Known(Stored::There(ImageSeen::there(image.digest.clone()))))
                })
                .into(),
            alarms: Seen::Known(alarms.into_iter().map(|(name, seen)| (name, alarm(seen))).collect()),
            results: std::mem::take(&mut self.results),
            refused: std::mem::take(&mut self.refused),
            ..base.clone()
        }
    }

    /// As the adapter does it: what was done before is no conflict, and what somebody else has changed is.
    fn perform(&mut self, effect: &Effect) {
        let Effect::Lambda(effect) = effect else { panic!("not an effect of this engine: {effect}") };
        match effect {
            Done::UpdateCode { image, seen } => {
                let build = if *image == names::image(1).pinned() { 1 } else { 2 };
                if self.is_updating() || *seen != format!("latest-{}", self.latest.1) {
                    return;
                }
                self.latest = (build, self.latest.1 + 1, self.now);
            }
            Done::Publish { code_sha256, seen, .. } => {
                let (build, revision, _) = self.latest;
                if self.is_updating()
                    || (code_sha256, seen) != (&format!("code-{build}"), &format!("latest-{revision}"))
                {
                    return;
                }
                let newest =
                    self.versions.iter().next_back().map(|(number, build)| (*number, *build)).unwrap();
                let number = if newest.1 == build { newest.0 } else { newest.0 + 1 };
                self.versions.insert(number, build);
                self.results.push(EffectResult::VersionPublished { version: version(number) });
            }
            Done::Route { .. } if self.denied => {
                let error =
                    PortError::new(ErrorKind::Denied, "lambda:UpdateAlias", "AccessDeniedException", "no");
                self.refused.push(Refusal { effect: EffectKind::Route, error });
            }
            Done::Route { to, seen, .. } => {
                if *seen != format!("alias-{}", self.alias_revision) {
                    return;
                }
                let names = [Some(&to.version), to.other.as_ref().map(|(other, _)| other)];
                for name in names.into_iter().flatten() {
                    assert!(
                        self.versions.contains_key(&name.as_str().parse().unwrap()),
                        "{name} does not exist"
                    );
                }
                self.routings.push(to.to_string());
                self.meddle(to.clone());
            }
        }
    }

    fn share(&self) -> Percent {
        self.alias.as_ref().map_or(Percent::NONE, |alias| alias.share(&version(42)))
    }
}

fn policy() -> Policy {
    policy::parse("lambda.yaml", POLICY).unwrap()
}

struct Play {
    world: World,
    base: Observation,
    release: Release,
    /// Effects so far, and which of them nobody performs: the executor died before it. Or its answer is lost.
    effects: usize,
    lost: Option<usize>,
    unheard: Option<usize>,
    breached_at: Option<Percent>,
}

impl Play {
    fn new(world: World) -> Self {
        let Fixture { mut release, seen, .. } = Fixture::queued_with(policy());
        release.target = policy().target(&names::account(), &names::region());
        release.service = policy().service;
        release.change = Change::one(ContainerName::new("image").unwrap(), names::image(2));
        release.target.region = world.region.parse().unwrap();
        let mut base = seen;
        if let Some(head) = &mut base.head {
            head.policy = policy();
            names::to_lambda(&mut head.policy).region = Some(world.region.parse().unwrap());
        }
        Self { world, base, release, effects: 0, lost: None, unheard: None, breached_at: None }
    }

    fn turn(&mut self) -> Decision {
        let seen = self.world.look(&self.base, &self.release);
        let decision = decide(&self.release, &seen, self.world.now);
        check_decision(&self.release, &decision).unwrap_or_else(|broken| {
            panic!("{}: {}\n{:?}", self.release.summary(), broken.join("; "), decision.effects)
        });
        if let Some(head) = &decision.head {
            self.base.head = Some(head.clone());
        }
        let goes_back = decision.release.cause().is_some();
        for effect in &decision.effects {
            self.effects += 1;
            if self.lost != Some(self.effects) {
                self.world.perform(effect);
            }
            if self.unheard == Some(self.effects) {
                self.world.results.clear();
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
            let soon = self.world.now.saturating_add(SignedDuration::from_secs(1)).unwrap();
            self.world.now = if decision.effects.is_empty() { wake.at.max(soon) } else { soon };
        }
        self
    }

    fn bakes_at(&self, tenths: u16) -> bool {
        matches!(self.release.stage(), Some(Stage::Bake { percent, .. }) if *percent == Percent::from_tenths(tenths))
    }

    fn end(&mut self) -> Outcome {
        self.until(|_| false);
        self.release.outcome().unwrap().clone()
    }

    /// Everything is as it was before the release.
    #[track_caller]
    fn is_clean(&self) {
        assert_eq!(self.world.alias, Some(Routing::all(version(41))), "{:?}", self.release.report);
        assert_eq!(self.world.latest.0, 1, "$LATEST does not run again what it ran");
    }

    fn findings(&mut self) -> Vec<FindingCode> {
        let outcome = self.end();
        let Outcome::Failed { cause: Cause::Preflight { findings }, .. } = outcome else {
            panic!("{outcome:?}")
        };
        assert!(self.world.routings.is_empty() && self.world.latest.0 == 1, "something was changed");
        findings.into_iter().map(|finding| finding.code).collect()
    }
}

#[test]
fn a_good_candidate_takes_every_step_and_the_alias_points_at_it() {
    let mut play = Play::new(World::new());
    assert_eq!(play.end(), Outcome::Promoted, "{:?}", play.release.report);
    let steps = ["1%", "12.5%", "50%", "100%"];
    let mut expected: Vec<String> =
        steps.iter().map(|share| format!("version 41 and {share} to version 42")).collect();
    expected.push("version 42".to_owned());
    assert_eq!(play.world.routings, expected);
    // One change of the code, one version, five of the alias.
    assert_eq!(play.effects, 7);
    let promoted = &play.base.head.as_ref().unwrap().promoted[0];
    assert_eq!((promoted.deployed.name(), promoted.change.label().as_str()), ("thumbnails:42", "main-2"));
}

#[test]
fn a_breach_at_any_step_is_one_change_of_the_alias() {
    for tenths in [10, 125, 500, 1000] {
        let mut play = Play::new(World::new());
        play.until(|play| play.bakes_at(tenths));
        assert_eq!(play.world.share(), Percent::from_tenths(tenths));
        play.world.alarm = AlarmState::Alarm;
        let decision = play.turn();
        let [Effect::Lambda(Done::Route { to, .. })] = &decision.effects[..] else {
            panic!("{:?}", decision.effects)
        };
        assert_eq!(
            (to, play.world.share()),
            (&Routing::all(version(41)), Percent::NONE),
            "in the very same decision"
        );
        assert!(matches!(play.end(), Outcome::RolledBack { .. }), "{:?}", play.release.report);
        play.is_clean();
    }
}

#[test]
fn the_fast_path_needs_no_look_at_the_alias() {
    let mut play = Play::new(World::new());
    play.until(|play| play.bakes_at(125));
    play.turn();
    (play.world.alarm, play.world.blind) = (AlarmState::Alarm, true);
    play.turn();
    assert_eq!(play.world.alias, Some(Routing::all(version(41))));
    play.world.blind = false;
    assert!(matches!(play.end(), Outcome::RolledBack { .. }));
    play.is_clean();
}

#[test]
fn an_executor_may_die_before_any_effect_and_any_answer_may_be_lost() {
    for breached in [false, true] {
        for number in 1..=9 {
            for dies in [true, false] {
                let mut play = Play::new(World::new());
                if dies {
                    play.lost = Some(number)
                } else {
                    play.unheard = Some(number)
                }
                if breached {
                    play.until(|play| play.bakes_at(500));
                    play.world.alarm = AlarmState::Alarm;
                }
                let outcome = play.end();
                if breached {
                    assert!(matches!(outcome, Outcome::RolledBack { .. }), "{number}: {outcome:?}");
                    play.is_clean();
                } else {
                    assert_eq!(outcome, Outcome::Promoted, "{number} {dies}: {:?}", play.release.report);
                    assert_eq!(play.world.alias, Some(Routing::all(version(42))));
                }
            }
        }
    }
}

#[test]
fn what_somebody_else_makes_of_the_alias_is_theirs() {
    let theirs = [
        Routing::all(version(40)),
        Routing::all(version(41)),
        Routing { version: version(41), other: Some((version(40), Percent::from_tenths(100))) },
        Routing { version: version(41), other: Some((version(42), Percent::from_tenths(300))) },
    ];
    for routing in theirs {
        let mut play = Play::new(World::new());
        play.until(|play| play.bakes_at(125));
        play.world.meddle(routing.clone());
        let before = play.world.routings.len();
        let outcome = play.end();
        let Outcome::Failed { cause: Cause::ExternalDeployment { .. }, .. } = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(
            (play.world.alias, play.world.routings.len()),
            (Some(routing), before),
            "nothing is fought over"
        );
    }
}

#[test]
fn a_rollback_does_not_overwrite_what_somebody_else_has_set() {
    let mut play = Play::new(World::new());
    play.until(|play| play.bakes_at(125));
    play.turn();
    play.world.meddle(Routing::all(version(40)));
    (play.world.alarm, play.world.blind) = (AlarmState::Alarm, true);
    play.turn();
    assert_eq!(play.world.alias, Some(Routing::all(version(40))), "the revision is another");
    play.world.blind = false;
    assert!(matches!(play.end(), Outcome::Failed { cause: Cause::ExternalDeployment { .. }, .. }));
    assert_eq!(play.world.alias, Some(Routing::all(version(40))));
}

#[test]
fn code_that_somebody_else_updates_before_it_is_published_is_theirs() {
    let mut play = Play::new(World::new());
    play.until(|play| play.world.latest.0 == 2);
    play.world.latest = (7, play.world.latest.1 + 1, names::at(-3600));
    let outcome = play.end();
    assert!(
        matches!(outcome, Outcome::Failed { cause: Cause::ExternalDeployment { .. }, .. }),
        "{outcome:?}"
    );
    assert_eq!((play.world.latest.0, play.world.routings.len()), (7, 0));
}

#[test]
fn a_version_that_somebody_deletes_before_it_got_an_invocation_is_given_way_to() {
    let mut play = Play::new(World::new());
    play.until(|play| play.release.stage() == Some(&Stage::Start));
    play.world.versions.remove(&42);
    let outcome = play.end();
    let Outcome::Failed { cause: Cause::ExternalDeployment { detail }, .. } = &outcome else {
        panic!("{outcome:?}")
    };
    assert!(detail.contains("was deleted"), "{detail}");
    play.is_clean();
}

#[test]
fn a_version_that_runs_something_else_gets_no_invocation() {
    let mut play = Play::new(World::new());
    play.until(|play| play.release.stage() == Some(&Stage::Start));
    play.world.versions.insert(42, 7);
    let outcome = play.end();
    assert!(
        matches!(&outcome, Outcome::Failed { cause: Cause::ExternalDeployment { .. }, .. }),
        "{outcome:?}"
    );
    assert!(play.world.routings.is_empty());
}

#[test]
fn a_refused_change_of_the_alias_ends_the_release_where_it_was() {
    let mut play = Play::new(World { denied: true, ..World::new() });
    let outcome = play.end();
    let (Outcome::Failed { cause, .. } | Outcome::RolledBack { cause }) = &outcome else {
        panic!("{outcome:?}")
    };
    assert!(matches!(cause, Cause::Refused { effect: EffectKind::Route, .. }), "{cause}");
    play.is_clean();
}

#[test]
fn preflight_names_what_cannot_be_released_to() {
    let with = |change: fn(&mut World)| {
        let mut world = World::new();
        change(&mut world);
        Play::new(world).findings()
    };
    assert_eq!(with(|world| world.alias = None), [FindingCode::AliasMissing]);
    let routed = |world: &mut World| {
        world.alias =
            Some(Routing { version: version(41), other: Some((version(40), Percent::from_tenths(50))) });
    };
    assert_eq!(with(routed), [FindingCode::AliasHasWeights]);
    assert_eq!(with(|world| world.package = "Zip"), [FindingCode::NoImageFunction]);
    assert_eq!(with(|world| world.around.provisioned = Some(5)), [FindingCode::AliasIsProvisioned]);
    assert_eq!(with(|world| world.role = "another"), [FindingCode::VersionsUnlike]);
    assert_eq!(with(|world| world.is_index = true), [FindingCode::ImageIsIndex]);
    assert_eq!(with(|world| world.region = "us-east-1"), [FindingCode::ImageElsewhere]);
}

#[test]
fn a_drill_is_refused_because_nothing_would_be_published() {
    let mut play = Play::new(World::new());
    play.release.intent = Intent::Drill;
    assert_eq!(play.findings(), [FindingCode::NoSecondVersion]);
}

#[test]
fn what_runs_already_is_not_released_again() {
    let mut play = Play::new(World { versions: BTreeMap::from([(41, 2)]), ..World::new() });
    let outcome = play.end();
    assert!(matches!(outcome, Outcome::Cancelled { .. }), "{outcome:?}");
}

#[test]
fn a_plan_that_is_no_longer_true_is_made_anew() {
    let mut play = Play::new(World::new());
    play.until(|play| play.release.plan.is_some());
    assert!(play.release.progress.asked_at.is_none());
    play.world.meddle(Routing::all(version(40)));
    assert_eq!(play.end(), Outcome::Promoted, "{:?}", play.release.report);
    assert_eq!(play.release.progress.replanned, 1);
    assert!(play.world.routings[0].starts_with("version 40 and 1% to"), "{:?}", play.world.routings);
}

#[test]
fn an_earlier_version_is_brought_back_without_publishing_it_again() {
    let mut play = Play::new(World::new());
    assert_eq!(play.end(), Outcome::Promoted);
    let deployed = play.base.head.as_ref().unwrap().promoted[0].deployed.clone();
    let mut back = Play::new(World::new());
    back.world.versions.insert(42, 2);
    back.world.alarm = AlarmState::Alarm;
    back.release.intent = Intent::Rollback { from: None, to: play.release.id.clone(), deployed };
    assert_eq!(back.end(), Outcome::Promoted, "{:?}", back.release.report);
    assert_eq!(back.world.routings, ["version 41 and 100% to version 42", "version 42"]);
    assert_eq!((back.effects, back.world.latest.0), (2, 1), "$LATEST is nobody's business of a rollback");
}

#[test]
fn the_numbers_are_those_of_the_executed_version_once_it_is_known() {
    let mut play = Play::new(World::new());
    if let Some(head) = &mut play.base.head {
        head.policy.evidence =
            policy::parse("p.yaml", &POLICY.replace("evidence: { min_requests: 0, compare: [] }\n", ""))
                .unwrap()
                .evidence;
    }
    play.until(|play| play.bakes_at(10));
    let planned = play.release.plan.as_ref().unwrap().evidence.as_ref().unwrap();
    let of = |evidence: &tidegate_core::plan::Evidence| {
        evidence.comparisons[0].candidate.requests[0].dimensions["ExecutedVersion"].clone()
    };
    assert_eq!(of(planned), "{candidate}");
    let at = play.world.now.saturating_add(SignedDuration::from_mins(5)).unwrap();
    let asked = tidegate_core::decide::needs(&play.release, &Observation { at, ..play.base.clone() });
    let series = asked.metrics.unwrap().series;
    let versions: Vec<&str> =
        series.iter().map(|series| series.dimensions["ExecutedVersion"].as_str()).collect();
    assert!(versions.contains(&"42") && !versions.contains(&"{candidate}"), "{versions:?}");
    assert!(series.iter().all(|series| series.dimensions["Resource"] == "thumbnails:live"));
}
