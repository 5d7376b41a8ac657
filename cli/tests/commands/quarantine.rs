//! `quarantine list` and `quarantine lift`.

use tidegate_testkit::names;

use crate::bench::{ANN, BAD, Bench};

#[tokio::test]
async fn a_digest_is_released_again_once_a_person_has_lifted_it_and_not_before() {
    let bench = Bench::new().await;
    for build in [2, 3] {
        assert_eq!(bench.release(build, BAD).await, 3);
    }
    let digest = names::image(2).digest;
    let listed = bench.run(&["quarantine", "list"]).await;
    for told in [digest.as_str(), "checkout", "alarm checkout-5xx went off"] {
        assert!(listed.out.contains(told), "{told}:\n{}", listed.out);
    }
    let (code, refused) = bench.json(&["release", "checkout", "main-2"]).await;
    assert_eq!((code, &refused["outcome"]), (7, &"refused".into()));

    let (said, remedy, _) =
        bench.refused(&["quarantine", "lift", "checkout", "sha256:ffff", "--reason", "x"]).await;
    assert!(said.contains("nothing that is quarantined for checkout is called sha256:ffff"), "{said}");
    assert!(remedy.contains("tidegate quarantine list checkout"), "{remedy}");
    let args = ["quarantine", "lift", "checkout", digest.as_str(), "--reason", "the alarm was wrong"];
    let lifted = bench.run(&args).await;
    assert!(lifted.out.contains("may be released to checkout again"), "{}", lifted.out);
    let (_, left) = bench.json(&["quarantine", "list", "checkout"]).await;
    let left = left["quarantined"].as_array().unwrap();
    assert_eq!(
        (left.len(), &left[0]["digest"]),
        (1, &names::image(3).digest.as_str().into()),
        "the other stays"
    );

    let (_, why) = bench.json(&["why", "checkout"]).await;
    let entry = &why["service_history"][0];
    assert_eq!((&entry["why"], &entry["by"]), (&"the alarm was wrong".into(), &ANN.into()));
    assert_eq!(entry["event"]["event"], "quarantine_lifted");
    let (code, created) = bench.json(&["release", "checkout", "main-2"]).await;
    assert_eq!((code, &created["outcome"]), (0, &"created".into()));
    // Lifted is lifted once.
    let (said, _, _) = bench.refused(&args).await;
    assert!(said.contains("nothing was lifted"), "{said}");
}

#[tokio::test]
async fn a_beginning_or_a_release_names_a_digest_unless_it_could_mean_several() {
    let bench = Bench::new().await;
    assert_eq!(bench.release(2, BAD).await, 3);
    let release = bench.newest().await;
    let digest = names::image(2).digest;
    let (said, _, _) = bench.refused(&["quarantine", "lift", "checkout", "sha", "--reason", "x"]).await;
    assert!(said.contains("nothing that is quarantined"), "{said}");
    let (code, lifted) =
        bench.json(&["quarantine", "lift", "checkout", &release, "--reason", "a bad day"]).await;
    assert_eq!((code, &lifted["lifted"][0]), (0, &digest.as_str().into()));
}
