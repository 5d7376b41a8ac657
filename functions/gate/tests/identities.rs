//! Who may approve: never whoever asked for the release, under none of their names; and each as themselves, however patterns overlap.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

#[expect(dead_code, reason = "the other test files use the rest of it")]
mod common;

use common::{Fixture, Got, event, through};
use serde_json::json;
use tidegate_core::actor::Actor;
use tidegate_core::admission::Admission;
use tidegate_core::gate::waiting_at;
use tidegate_core::ids::ReleaseId;
use tidegate_core::intent::Provenance;

const ANNA: &str = "arn:aws:sts::111122223333:assumed-role/engineer/anna";
const BEN: &str = "arn:aws:sts::111122223333:assumed-role/engineer/ben-from-home";
const LEAD: &str = "arn:aws:sts::111122223333:assumed-role/lead/whatever-carla-likes";
const ZOE: &str = "arn:aws:sts::111122223333:assumed-role/engineer/zoe";

/// Ben's pattern fits Anna and Zoe as well; Zoe may approve nothing; Carla is whoever has the role of a lead.
fn policy(approval: &str) -> String {
    format!(
        r#"
service: checkout
from: {{ ecr: {{ repository: shop/checkout, tags: ["main-*"] }}, requests: {{ sources: [acme.deploy] }} }}
to: {{ ecs: {{ cluster: prod, service: checkout, container: app }} }}
strategy: {{ canary: {{ percent: 10, bake: 5m }}, bake: 15m }}
approval: {{ before: deploy, by: [anna, ben, carla], {approval} }}
people:
  anna: {{ aws: ["{ANNA}", "arn:aws:iam::111122223333:user/anna"], github: Anna-Berg, email: anna@example.com, aliases: [jenkins-anna] }}
  ben: {{ aws: ["arn:aws:sts::111122223333:assumed-role/engineer/*"] }}
  carla: {{ aws: ["arn:aws:iam::111122223333:role/people/lead"] }}
  zoe: {{ aws: ["{ZOE}"] }}
"#
    )
}

fn person(name: &str) -> Actor {
    Actor::Person { name: name.into() }
}

fn push() -> Actor {
    Actor::Event { source: "aws.ecr".into(), id: "2b7c".into() }
}

fn made_by(author: &str) -> Provenance {
    Provenance { author: Some(author.into()), ..Provenance::default() }
}

async fn waiting(approval: &str, by: Actor, provenance: Provenance) -> (Fixture, ReleaseId) {
    let fixture = Fixture::with_policy(&policy(approval)).await;
    let admission = fixture.admission(2, by, provenance).await;
    let Admission::Created { release, .. } = admission else { panic!("{admission:?}") };
    fixture.drive(&release).await;
    (fixture, release)
}

async fn approve(fixture: &Fixture, id: &ReleaseId, arn: &str) -> Got {
    let mut event = event("POST", &format!("/releases/{id}/approve"), "", &[], b"");
    event["requestContext"]["authorizer"] = json!({ "iam": { "userArn": arn } });
    through(&fixture.api, event).await
}

fn given(fixture: &Fixture, id: &ReleaseId) -> Vec<String> {
    let release = fixture.stored(id);
    release.gates.values().flat_map(|opened| &opened.votes).map(|vote| vote.approver.clone()).collect()
}

#[tokio::test]
async fn whoever_asked_does_not_approve_under_any_of_their_names() {
    let cases = [
        (person(ANNA), Provenance::default()),
        (person("arn:aws:iam::111122223333:user/anna"), Provenance::default()),
        (person("anna"), Provenance::default()),
        (push(), made_by("anna-berg")),
        (push(), made_by("@Anna-Berg")),
        (push(), made_by("Anna <ANNA@example.com>")),
        (push(), made_by("jenkins-anna")),
        (push(), made_by("engineer/anna")),
        (person(LEAD), made_by("anna-berg")),
    ];
    for (by, provenance) in cases {
        let (fixture, id) = waiting("count: 1", by.clone(), provenance.clone()).await;
        let refused = approve(&fixture, &id, ANNA).await;
        assert_eq!(refused.status, 403, "{by:?} {provenance:?}: {}", refused.body);
        assert!(refused.body.contains("asked for this release"), "{}", refused.body);
        assert_eq!(given(&fixture, &id), Vec::<String>::new());
        let counted = approve(&fixture, &id, BEN).await;
        assert_eq!(counted.status, 200, "{by:?} {provenance:?}: {}", counted.body);
        assert_eq!(given(&fixture, &id), ["ben"]);
    }
}

#[tokio::test]
async fn an_identity_speaks_for_the_person_whose_pattern_says_most_about_it() {
    let (fixture, id) = waiting("count: 2", person(LEAD), Provenance::default()).await;
    // Zoe fits Ben's pattern, and is Zoe, who may approve nothing.
    assert_eq!(approve(&fixture, &id, ZOE).await.status, 403);
    assert_eq!(approve(&fixture, &id, BEN).await.status, 200);
    // Anna fits the pattern of Ben, who has answered; she is not locked out, and does not answer for him.
    assert_eq!(approve(&fixture, &id, ANNA).await.status, 200);
    assert_eq!(given(&fixture, &id), ["ben", "anna"]);
    // Carla asked for it: every session of her role is Carla.
    let (fixture, id) = waiting("count: 1", person(LEAD), Provenance::default()).await;
    let other_session = "arn:aws:sts::111122223333:assumed-role/lead/another";
    assert_eq!(approve(&fixture, &id, other_session).await.status, 403);
}

#[tokio::test]
async fn one_identity_answers_once_even_when_it_fits_two_people_alike() {
    let shared = r#"
  anna: { aws: ["arn:aws:sts::111122223333:assumed-role/engineer/*"] }
  ben: { aws: ["arn:aws:sts::111122223333:assumed-role/engineer/*"] }
"#;
    let policy = policy("count: 2");
    let (start, _) = policy.split_once("people:").unwrap();
    let start = start.replace(", carla]", "]");
    let fixture = Fixture::with_policy(&format!("{start}people:{shared}")).await;
    let admission = fixture.admission(2, push(), Provenance::default()).await;
    let Admission::Created { release: id, .. } = admission else { panic!("{admission:?}") };
    fixture.drive(&id).await;
    assert_eq!(approve(&fixture, &id, ANNA).await.status, 200);
    assert_eq!(approve(&fixture, &id, ANNA).await.status, 409, "the same identity again");
    assert_eq!(given(&fixture, &id), ["anna"]);
    assert_eq!(approve(&fixture, &id, BEN).await.status, 200);
    assert_eq!(given(&fixture, &id), ["anna", "ben"]);
}

#[tokio::test]
async fn that_nobody_is_known_to_have_asked_is_told_and_can_be_refused() {
    let (fixture, id) = waiting("count: 1", push(), Provenance::default()).await;
    let known = |fixture: &Fixture| {
        fixture.stored(&id).report.facts.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let asked = "nobody is known to have asked for this release";
    assert!(
        fixture.history(&id).iter().any(|entry| entry.details().iter().any(|fact| fact.starts_with(asked)))
    );
    fixture.context.drive(&id, &[], tidegate_testkit::names::at(3600)).await.unwrap();
    assert!(known(&fixture).contains(asked), "{}", known(&fixture));
    assert!(waiting_at(&fixture.stored(&id)).is_some());

    let strict = "require_requester: true";
    let refused = [
        (push(), Provenance::default(), asked),
        (push(), made_by("stranger"), "stranger asked for this release"),
        (
            person("arn:aws:iam::111122223333:user/stranger"),
            Provenance::default(),
            "none of the policy's people",
        ),
    ];
    for (by, provenance, expected) in refused {
        let fixture = Fixture::with_policy(&policy(strict)).await;
        let admission = fixture.admission(2, by, provenance).await;
        let Admission::Refused { why, .. } = admission else { panic!("{admission:?}") };
        assert!(why.contains(expected), "{why}");
        assert_eq!(fixture.releases().len(), 0);
    }
    let (fixture, id) = waiting(strict, push(), made_by("anna-berg")).await;
    assert_eq!(approve(&fixture, &id, BEN).await.status, 200);
}
