use tidegate_core::actor::Actor;
use tidegate_core::approval::{Opened, Vote};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::ReleaseId;
use tidegate_core::outcome::{Cause, Outcome};
use tidegate_core::plan::Stage;
use tidegate_core::ports::WaitingApproval;
use tidegate_core::reference::Selection;
use tidegate_core::release::{Phase, RollingBack, Step};
use tidegate_core::trigger::Trigger;
use tidegate_runtime::triggers::ImageRequest;
use tidegate_runtime::triggers::jobs::Started;
use tidegate_testkit::names;

use crate::bench::{Bench, POLICY};

const APPROVAL: &str = r#"
approval:
  before: deploy
  by: [alice]
  pipeline: { name: checkout, stage: Deploy, action: Approve }
people: { alice: { aws: ["arn:aws:iam::111122223333:role/alice"] } }
"#;

/// A release that was started by an execution and waits at its gate.
async fn at_the_gate(bench: &Bench, execution: &str) -> ReleaseId {
    let wanted = ImageRequest {
        service: names::service(),
        images: Selection::One(tidegate_core::reference::Reference::tag(names::tag(3))),
        by: Started { execution: Some(execution.into()), job: "j-1".into() }.actor(),
        why: "a pipeline asked for it".into(),
        provenance: Default::default(),
        delivery: None,
        announcing: None,
    };
    let images = bench.context.images.as_ref();
    bench.installation().want(images, &wanted, Trigger::Pipeline, |_| None).await.unwrap();
    let id = bench.releases()[0].id.clone();
    // As far as it goes before a person is asked.
    let deadline = names::at(60);
    bench.context.drive(&id, &[], deadline).await.unwrap();
    let release = bench.installation().ledger.release(&id).await.unwrap().unwrap();
    assert!(matches!(release.stage(), Some(Stage::Approve { .. })), "{}", release.summary());
    id
}

fn waits(bench: &Bench, execution: &str) {
    *bench.pipelines.waiting.lock().unwrap() =
        Some(WaitingApproval { execution: execution.into(), token: format!("t-{execution}") });
}

async fn answered(bench: &Bench) -> Vec<(String, bool, String)> {
    bench.installation().answer_pipelines(&bench.pipelines, bench.pace()).await.unwrap();
    bench.pipelines.approved.lock().unwrap().clone()
}

async fn pass(bench: &Bench, id: &ReleaseId) {
    let at = bench.now();
    bench
        .turn(id, |release| {
            let Phase::Running { stage, .. } = release.phase else { panic!("it runs") };
            let vote =
                Vote { approver: "alice".into(), approve: true, comment: None, at, via: "link".into() };
            let opened = Opened { at, expires_at: at, invitations: Vec::new(), votes: vec![vote] };
            release.gates.insert(stage, opened);
            release.phase = Phase::Running { stage: stage + 1, since: at, step: Step::Entered };
        })
        .await;
}

#[tokio::test]
async fn an_approval_is_given_to_the_execution_that_started_the_release_and_to_no_other() {
    let bench = Bench::with(&format!("{POLICY}{APPROVAL}")).await;
    let id = at_the_gate(&bench, "e-1").await;
    waits(&bench, "e-1");
    assert!(answered(&bench).await.is_empty(), "nobody has decided yet");
    pass(&bench, &id).await;
    waits(&bench, "e-2");
    assert!(answered(&bench).await.is_empty(), "another execution's approval is not ours to give");
    waits(&bench, "e-1");
    let given = answered(&bench).await;
    assert_eq!(given.len(), 1);
    assert!(given[0].1 && given[0].2.contains("approved by alice"), "{given:?}");
    assert_eq!(answered(&bench).await.len(), 1, "once is enough");
    let told = bench.told();
    assert_eq!(told.last().unwrap().event.to_string(), "approved checkout/Deploy/Approve of execution e-1");
}

#[tokio::test]
async fn a_release_that_is_turned_back_is_a_rejection() {
    let bench = Bench::with(&format!("{POLICY}{APPROVAL}")).await;
    let id = at_the_gate(&bench, "e-1").await;
    let (since, at) = (bench.now(), bench.now());
    bench
        .turn(&id, |release| {
            let cause =
                Cause::Rejected { by: Actor::Person { name: "alice".into() }, why: "not on a Friday".into() };
            release.phase = Phase::RollingBack(RollingBack {
                restored_at: Some(at),
                ..RollingBack::new(cause, since, Some(0))
            });
        })
        .await;
    waits(&bench, "e-1");
    let given = answered(&bench).await;
    assert!(!given[0].1 && given[0].2.contains("alice rejected it: not on a Friday"), "{given:?}");
}

#[tokio::test]
async fn a_release_that_ended_before_its_gate_is_a_rejection() {
    let bench = Bench::with(&format!("{POLICY}{APPROVAL}")).await;
    let wanted = ImageRequest {
        service: names::service(),
        images: Selection::One(tidegate_core::reference::Reference::tag(names::tag(3))),
        by: Started { execution: Some("e-1".into()), job: "j-1".into() }.actor(),
        why: "a pipeline asked for it".into(),
        provenance: Default::default(),
        delivery: None,
        announcing: None,
    };
    let images = bench.context.images.as_ref();
    bench.installation().want(images, &wanted, Trigger::Pipeline, |_| None).await.unwrap();
    let id = bench.releases()[0].id.clone();
    bench.end(&id, Outcome::Superseded { by: names::release(9).into() }).await;
    waits(&bench, "e-1");
    let given = answered(&bench).await;
    assert!(!given[0].1 && given[0].2.contains("superseded"), "{given:?}");
}

#[tokio::test]
async fn a_pipeline_that_cannot_be_asked_is_told_and_asked_again() {
    let bench = Bench::with(&format!("{POLICY}{APPROVAL}")).await;
    let denied = PortError::new(ErrorKind::Denied, "codepipeline:GetPipelineState", "AccessDenied", "no");
    *bench.pipelines.fails.lock().unwrap() = Some(denied);
    let looked = bench.installation().answer_pipelines(&bench.pipelines, bench.pace()).await.unwrap();
    assert_eq!(looked.done, 0);
    assert!(looked.failed[0].contains("checkout/Deploy/Approve for checkout"), "{looked:?}");
}
