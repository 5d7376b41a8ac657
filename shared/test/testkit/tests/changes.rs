//! A release that changes several containers: what is proven, deployed, judged, remembered and quarantined is every image of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use jiff::SignedDuration;
use tidegate_core::actor::Actor;
use tidegate_core::admission::{Admission, Current, ReleaseRequest, admit};
use tidegate_core::change::Change;
use tidegate_core::effect::Effect;
use tidegate_core::ids::{ContainerName, Digest, Image, ReleaseId, RepositoryName};
use tidegate_core::intent::{Deployed, EcsDeployed, Intent};
use tidegate_core::observation::{ScanSeen, ScanStatus};
use tidegate_core::outcome::Outcome;
use tidegate_core::policy::{self, OnNewer, Policy};
use tidegate_core::release::{Phase, Release};
use tidegate_core::rollback::{Choice, RollbackTo, Running, Situation, choose};
use tidegate_core::seen::Seen;
use tidegate_core::service::{Promoted, Quarantined, ServiceRecord};
use tidegate_core::vocab::ecr::ImageSeen;
use tidegate_core::vocab::ecs::DeploymentStatus;
use tidegate_testkit::build::Fixture;
use tidegate_testkit::names;

fn policy_with(more: &str) -> Policy {
    let text = format!(
        "service: checkout\n\
         from: {{ ecr: {{ repository: shop/checkout, tags: [\"main-*\"] }} }}\n\
         to: {{ ecs: {{ cluster: prod, service: checkout, containers: {{ app: {{}}, sidecar: {{ repository: shop/proxy }} }} }} }}\n\
         strategy: {{ canary: {{ percent: 10, bake: 5m }}, bake: 15m }}\n{more}"
    );
    policy::parse("fixture.yaml", &text).unwrap()
}

fn proxy(build: u32) -> Image {
    Image { repository: RepositoryName::new("shop/proxy").unwrap(), ..names::image(build) }
}

/// Build 2 in `app`, build 7 in `sidecar`.
fn both() -> Change {
    Change::new([(names::container(), names::image(2)), (names::sidecar(), proxy(7))].into()).unwrap()
}

fn queued(policy: Policy) -> Fixture {
    let mut fixture = Fixture::queued_with(policy);
    fixture.release.change = both();
    let there = |build: u32| (names::digest(build), Some(ImageSeen::there(names::digest(build))));
    fixture.seen.new_images = Seen::Known(BTreeMap::from([there(2), there(7)]));
    fixture
}

/// What runs in a container.
fn runs(fixture: &mut Fixture, container: &str, build: u32) {
    let Seen::Known(seen) = &mut fixture.seen.ecs.running else { panic!("what runs was not seen") };
    seen.digests.insert(container.parse().unwrap(), vec![names::digest(build)]);
    let Seen::Known(definition) = &mut fixture.seen.ecs.task_definition else { panic!("it was not seen") };
    let reference = definition.images.get_mut(&container.parse::<ContainerName>().unwrap()).unwrap();
    *reference = tidegate_core::reference::pinned(reference, &names::digest(build));
}

/// The registration that is asked for.
fn registered(fixture: &Fixture) -> BTreeMap<String, String> {
    let decision = fixture.decide();
    let images = decision.effects.iter().find_map(|effect| match effect {
        Effect::Ecs(tidegate_core::vocab::ecs::Effect::RegisterTaskDefinition { revision, .. }) => {
            Some(revision.images.clone())
        }
        Effect::Ecs(_)
        | Effect::Elb(_)
        | Effect::AutoScaling(_)
        | Effect::Lambda(_)
        | Effect::Invite { .. }
        | Effect::StartBuild { .. } => None,
    });
    let images = images.expect("a revision is registered").into_iter();
    images.map(|(container, image)| (container.to_string(), image)).collect()
}

#[test]
fn both_images_are_deployed_by_digest_in_one_revision() {
    let fixture = queued(policy_with("")).decided().decided();
    let images = registered(&fixture);
    assert!(images["app"].ends_with(&format!("shop/checkout@{}", names::digest(2))), "{images:?}");
    assert!(images["sidecar"].ends_with(&format!("shop/proxy@{}", names::digest(7))), "{images:?}");
    let plan = fixture.release.plan.as_ref().unwrap();
    assert_eq!(plan.expected()[&names::sidecar()], [names::digest(7)]);
}

#[test]
fn a_container_that_the_change_does_not_name_keeps_what_it_runs() {
    let mut fixture = queued(policy_with(""));
    fixture.release.change = Change::one(names::sidecar(), proxy(7));
    let fixture = fixture.decided().decided();
    let images = registered(&fixture);
    assert!(images["app"].ends_with(names::digest(1).as_str()), "{images:?}");
    assert!(images["sidecar"].ends_with(names::digest(7).as_str()), "{images:?}");
}

#[test]
fn it_runs_already_only_when_every_container_does() {
    let mut one = queued(policy_with(""));
    runs(&mut one, "sidecar", 7);
    let one = one.decided().decided();
    assert!(one.release.plan.is_some(), "{}", one.release.summary());
    let mut all = queued(policy_with("")).decided();
    runs(&mut all, "sidecar", 7);
    runs(&mut all, "app", 2);
    let all = all.decided();
    assert!(matches!(all.release.outcome(), Some(Outcome::Cancelled { .. })), "{}", all.release.summary());
}

#[test]
fn one_image_that_is_gone_stops_the_release_and_is_named() {
    let mut fixture = queued(policy_with("")).decided();
    let Seen::Known(found) = &mut fixture.seen.new_images else { panic!("they were not seen") };
    found.insert(names::digest(7), None);
    let ended = fixture.decided().later(60).decided();
    let why = ended.release.cause().map(ToString::to_string).unwrap_or_default();
    assert!(why.contains("shop/proxy"), "{why}");
}

#[test]
fn every_image_is_scanned_and_the_worst_one_decides() {
    let scanning = || {
        let scan = "scan: { wait: 5m }\n";
        queued(policy_with(scan)).decided().decided()
    };
    let scan = |status: ScanStatus| ScanSeen { status, findings: Vec::new() };
    let with = |app: Option<ScanStatus>, sidecar: Option<ScanStatus>| {
        let mut fixture = scanning();
        let mut scans = BTreeMap::new();
        scans.extend(app.map(|status| (names::digest(2), scan(status))));
        scans.extend(sidecar.map(|status| (names::digest(7), scan(status))));
        fixture.seen.scans = Seen::Known(scans);
        fixture.decided().release.summary()
    };
    let passed = with(Some(ScanStatus::Complete), Some(ScanStatus::Complete));
    for waits in
        [with(Some(ScanStatus::Complete), Some(ScanStatus::Pending)), with(Some(ScanStatus::Complete), None)]
    {
        assert!(waits.contains("scan") && waits != passed, "{waits}; {passed}");
    }
    let failed = with(Some(ScanStatus::Complete), Some(ScanStatus::Failed("not supported".into())));
    assert!(!failed.contains("scan of") && failed != passed, "{failed}; {passed}");
}

#[test]
fn rolled_back_all_of_its_digests_are_quarantined() {
    let over = Fixture::rolling_back().status(DeploymentStatus::RollbackSuccessful).weight(0).later(30);
    let mut fixture = over.runs(1).own_configuration();
    fixture.release.change = both();
    if let Some(plan) = &mut fixture.release.plan {
        plan.change = both();
    }
    let ended = fixture.decide();
    assert!(ended.release.is_over(), "{}", ended.release.summary());
    let head = ended.head.unwrap();
    assert!(
        [2, 7].iter().all(|build| head.quarantine.contains_key(&names::digest(*build))),
        "{:?}",
        head.quarantine
    );
}

fn record(policy: Policy) -> ServiceRecord {
    ServiceRecord::new(policy, names::start())
}

fn request(change: Change) -> ReleaseRequest {
    ReleaseRequest::by_hand(names::service(), change, Actor::Tidegate)
}

fn admitted(head: &ServiceRecord, active: Option<&Release>, change: Change) -> Admission {
    let current = Current { head, active, waiting: None };
    admit(current, &request(change), names::target(), names::release(9), names::at(60))
}

fn created(admission: &Admission) -> &Release {
    let Admission::Created { commit, .. } = admission else { panic!("{admission:?}") };
    &commit.releases[0].release
}

#[test]
fn what_is_replaced_is_carried_over_unless_it_was_rolled_back_and_never_from_one_that_only_goes_on() {
    let replace = Policy { on_newer: OnNewer::Replace, ..policy_with("") };
    let mut active = Fixture::baking(10).release;
    active.change = Change::one(names::container(), names::image(2));
    let newer = Change::one(names::sidecar(), proxy(7));
    let head = ServiceRecord { active: Some(active.id.clone()), ..record(replace.clone()) };
    assert!(created(&admitted(&head, Some(&active), newer.clone())).change.is_same(&both()));
    // It goes on to its end, and what is released after it finds its image running.
    let queueing = ServiceRecord { policy: policy_with(""), ..head.clone() };
    assert!(created(&admitted(&queueing, Some(&active), newer.clone())).change.is_same(&newer));
    let mut known_bad = head.clone();
    known_bad.quarantine.insert(names::digest(2), quarantined());
    assert!(created(&admitted(&known_bad, Some(&active), newer.clone())).change.is_same(&newer));
    // The policy does not release that container any more.
    let text = serde_json::to_string(&replace)
        .unwrap()
        .replace("\"sidecar\":{\"repository\":\"shop/proxy\"}", "\"proxy\":{\"repository\":\"shop/proxy\"}");
    let renamed = ServiceRecord { policy: serde_json::from_str(&text).unwrap(), ..head };
    active.change = both();
    let carried =
        created(&admitted(&renamed, Some(&active), Change::one(names::container(), names::image(3))))
            .change
            .clone();
    assert!(carried.is_same(&Change::one(names::container(), names::image(3))), "{carried}");
}

fn quarantined() -> Quarantined {
    Quarantined { release: names::release(1), why: "it was bad".into(), at: names::start() }
}

#[test]
fn one_quarantined_image_refuses_the_whole_change_and_force_lets_it_in() {
    let mut head = record(policy_with(""));
    head.quarantine.insert(names::digest(7), quarantined());
    let Admission::Refused { why, .. } = admitted(&head, None, both()) else { panic!("it was let in") };
    assert!(
        why.contains(names::digest(7).as_str()) && why.contains("app=") && why.contains("--force"),
        "{why}"
    );
    let forced = ReleaseRequest { force: true, ..request(both()) };
    let current = Current { head: &head, active: None, waiting: None };
    let admission = admit(current, &forced, names::target(), names::release(9), names::at(60));
    let Admission::Created { commit, .. } = admission else { panic!("{admission:?}") };
    assert!(commit.head.unwrap().head.quarantine.is_empty());
}

#[test]
fn what_was_carried_over_and_rolled_back_since_ends_the_release_at_its_turn_and_says_how_to_go_on() {
    let mut fixture = queued(policy_with(""));
    fixture.release.carried = [names::container()].into();
    if let Some(head) = &mut fixture.seen.head {
        head.quarantine.insert(names::digest(2), quarantined());
    }
    let ended = fixture.decided();
    let Some(Outcome::Cancelled { why, .. }) = ended.release.outcome() else {
        panic!("{}", ended.release.summary())
    };
    assert!(why.contains("container app") && why.contains("tidegate release checkout"), "{why}");
    // What somebody asked for though it is quarantined is released.
    let mut asked = queued(policy_with(""));
    if let Some(head) = &mut asked.seen.head {
        head.quarantine.insert(names::digest(2), quarantined());
    }
    assert!(matches!(asked.decided().release.phase, Phase::Preparing { .. }));
}

#[test]
fn a_policy_that_takes_a_container_from_elsewhere_supersedes_what_was_asked_before() {
    let mut fixture = queued(policy_with(""));
    if let Some(head) = &mut fixture.seen.head {
        let text = serde_json::to_string(&head.policy).unwrap().replace("shop/proxy", "shop/other");
        head.policy = serde_json::from_str(&text).unwrap();
    }
    assert!(matches!(fixture.decided().release.outcome(), Some(Outcome::Superseded { .. })));
}

#[test]
fn a_version_that_ran_comes_back_though_the_policy_takes_its_images_from_elsewhere_by_now() {
    let mut fixture = queued(policy_with(""));
    fixture.release.intent = Intent::Rollback {
        from: None,
        to: names::release(3),
        deployed: Deployed::Ecs(EcsDeployed {
            task_definition: names::task_definition(1),
            images: BTreeMap::new(),
        }),
    };
    if let Some(head) = &mut fixture.seen.head {
        let text = serde_json::to_string(&head.policy).unwrap().replace("shop/proxy", "shop/other");
        head.policy = serde_json::from_str(&text).unwrap();
    }
    let taken = fixture.decided();
    assert!(matches!(taken.release.phase, Phase::Preparing { .. }), "{}", taken.release.summary());
}

fn promoted(build: u32, change: Change, app: u32, sidecar: u32) -> Promoted {
    let images =
        [(names::container(), names::image(app).pinned()), (names::sidecar(), proxy(sidecar).pinned())];
    let deployed = EcsDeployed { task_definition: names::task_definition(build), images: images.into() };
    Promoted { release: names::release(build), change, deployed: Deployed::Ecs(deployed), at: names::start() }
}

/// `app` 1, then `sidecar` 7, then `app` 2: each release changed one container.
fn one_by_one() -> ServiceRecord {
    let app = |build: u32| Change::one(names::container(), names::image(build));
    let head = record(policy_with(""));
    let last = promoted(3, app(2), 2, 7);
    let second = promoted(2, Change::one(names::sidecar(), proxy(7)), 1, 7);
    ServiceRecord { promoted: vec![last, second, promoted(1, app(1), 1, 6)], ..head }
}

fn back(head: &ServiceRecord, app: u32, sidecar: u32) -> (ReleaseId, Vec<Digest>, Change) {
    let runs = [(names::container(), names::digest(app)), (names::sidecar(), names::digest(sidecar))];
    let running = Running::Digests(runs.into());
    let current = Current { head, active: None, waiting: None };
    let situation = Situation { current, last: None, running: &running };
    let choice = choose(situation, &names::service(), RollbackTo::Before).unwrap();
    let Choice::Earlier { from, to, .. } = choice else { panic!("{choice:?}") };
    let ask = tidegate_core::rollback::Ask {
        service: &names::service(),
        target: &names::target(),
        by: &Actor::Tidegate,
        why: "test",
        id: names::release(9),
        now: names::start().saturating_add(SignedDuration::from_secs(1)).unwrap(),
    };
    let commit = tidegate_core::rollback::commit(current, &from, &to, ask);
    let left = commit.head.unwrap().head.quarantine.into_keys().collect();
    (to.release, left, commit.releases[0].release.change.clone())
}

#[test]
fn a_rollback_brings_every_container_of_the_version_before_and_quarantines_only_what_is_left() {
    let (to, left, change) = back(&one_by_one(), 2, 7);
    assert_eq!((to, left), (names::release(2), vec![names::digest(2)]));
    assert_eq!(change.image(&names::container()).map(|image| image.digest.clone()), Some(names::digest(1)));
    assert_eq!(change.image(&names::sidecar()).map(|image| image.digest.clone()), Some(names::digest(7)));
    // The one before it: only the sidecar changes.
    let mut there = one_by_one();
    there.promoted.remove(0);
    let (to, left, change) = back(&there, 1, 7);
    assert_eq!((to, left), (names::release(1), vec![names::digest(7)]));
    assert_eq!(change.image(&names::sidecar()).map(|image| image.digest.clone()), Some(names::digest(6)));
}

#[test]
fn what_the_version_that_comes_back_runs_too_is_not_quarantined_with_what_is_left() {
    let mut head = one_by_one();
    head.promoted = vec![promoted(3, both(), 2, 7)];
    // Somebody deployed another application outside Tidegate, beside the proxy that is known.
    let (to, left, _) = back(&head, 5, 7);
    assert_eq!((to, left), (names::release(3), vec![names::digest(5)]));
}

#[test]
fn a_version_of_which_one_image_was_rolled_back_is_not_brought_back() {
    let mut head = one_by_one();
    head.quarantine.insert(names::digest(7), quarantined());
    // The second version has the quarantined sidecar, so it is passed over for the first.
    let (to, _, _) = back(&head, 2, 7);
    assert_eq!(to, names::release(1));
}

#[test]
fn what_runs_since_the_last_promotion_is_not_released_again() {
    let head = one_by_one();
    let runs =
        Change::new([(names::container(), names::image(2)), (names::sidecar(), proxy(7))].into()).unwrap();
    assert!(matches!(admitted(&head, None, runs), Admission::Runs { .. }));
    let other = Change::one(names::sidecar(), proxy(6));
    assert!(matches!(admitted(&head, None, other), Admission::Created { .. }));
}
