//! `watch --image`: the release that is to come, not the one before.

use tidegate_core::actor::Actor;
use tidegate_core::trigger::{Reason, Refusal, Subject, Trigger};
use tidegate_runtime::triggers::Attempt;
use tidegate_testkit::fakes::Quality;
use tidegate_testkit::names;

use crate::bench::{BAD, Bench};

#[tokio::test]
async fn the_release_before_is_not_taken_for_the_one_that_is_waited_for() {
    let bench = Bench::new().await;
    bench.promote(2).await;
    bench.push(3, Quality::Good);
    let (said, remedy, code) =
        bench.refused(&["watch", "checkout", "--image", "main-3", "--timeout", "1m"]).await;
    assert_eq!(said, "no release of main-3 to checkout has appeared within 1m");
    assert_eq!((remedy.as_str(), code), ("see what Tidegate knows: tidegate why checkout", 1));
}

#[tokio::test]
async fn it_ends_as_the_release_of_that_image_ends() {
    let bench = Bench::new().await;
    bench.promote(2).await;
    bench.push(3, BAD);
    bench.run(&["release", "checkout", "main-3"]).await;
    let answer = bench.run(&["watch", "checkout", "--image", "main-3", "--timeout", "30m"]).await;
    assert_eq!(answer.code, 3, "{}", answer.out);
    let answer = bench.run(&["watch", "checkout", "--image", "main-2"]).await;
    assert_eq!(answer.code, 0, "{}", answer.out);
    bench.push(4, Quality::Good);
    bench.run(&["release", "checkout", "main-4"]).await;
    let answer = bench.run(&["watch", "checkout", "--image", "main-4", "--timeout", "40s"]).await;
    assert_eq!(answer.code, 6, "{}", answer.out);
}

#[tokio::test]
async fn an_image_that_is_refused_ends_the_waiting_with_its_reason() {
    let bench = Bench::new().await;
    bench.promote(2).await;
    bench.push(3, Quality::Good);
    let by = Actor::Event { source: "aws.ecr".into(), id: "late".into() };
    let attempt = Attempt {
        service: &names::service(),
        trigger: Trigger::Push,
        by: &by,
        subject: Subject::Found { change: Box::new(names::change(3)) },
        delivery: None,
    };
    let older = Refusal::new(Reason::Older, "a newer image was let in");
    bench.connection().context.installation.refuse(&attempt, older).await.unwrap();
    let (said, _, code) = bench.refused(&["watch", "checkout", "--image", "main-3", "--timeout", "1m"]).await;
    assert!(said.starts_with("Tidegate refused ") && said.contains("a newer image was let in"), "{said}");
    assert_eq!(code, 7);
}

#[tokio::test]
async fn an_image_that_was_rolled_back_before_ends_as_its_release_did() {
    let bench = Bench::new().await;
    bench.promote(2).await;
    assert_eq!(bench.release(3, BAD).await, 3);
    // The very image again: it ends as its release did.
    let answer = bench.run(&["watch", "checkout", "--image", "main-3"]).await;
    assert_eq!(answer.code, 3, "{}", answer.out);
}

#[tokio::test]
async fn a_tag_that_is_not_pushed_and_a_tag_that_starts_nothing_are_told_apart() {
    let bench = Bench::new().await;
    let (_, remedy, _) = bench.refused(&["watch", "checkout", "--image", "main-9", "--timeout", "10s"]).await;
    assert_eq!(remedy, "there is no such image in shop/checkout: was the push successful?");
}

#[tokio::test]
async fn an_image_is_waited_for_of_a_service() {
    let bench = Bench::new().await;
    bench.promote(2).await;
    let id = bench.newest().await;
    let (said, _, code) = bench.refused(&["watch", &id, "--image", "main-2"]).await;
    assert!(said.contains("a service has to be named"), "{said}");
    assert_eq!(code, 2);
}
