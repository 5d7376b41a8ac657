//! Trying whom a service is told to: one line a channel, and an exit code for scripts.

use tidegate_core::notify::{Trial, Tried};
use tidegate_testkit::names;

use crate::bench::Bench;

/// What the herald will have answered.
fn answered(bench: &Bench, tried: Vec<Tried>) {
    let mut state = bench.universe.state();
    let (id, at) = (state.now.as_nanosecond().to_string(), state.now);
    state.post.trials.insert((names::service(), id.clone()), Trial { id, at, tried });
}

fn tried(receiver: &str, problem: Option<&str>, remedy: Option<&str>) -> Tried {
    Tried { receiver: receiver.into(), problem: problem.map(Into::into), remedy: remedy.map(Into::into) }
}

#[tokio::test]
async fn each_channel_has_a_line_and_what_failed_its_remedy() {
    let bench = Bench::new().await;
    let down = tried("teams deploys", Some("it is down"), Some("Turn it on."));
    answered(&bench, vec![tried("slack #deploys", None, None), down]);
    let answer = bench.run(&["notify", "test", "checkout"]).await;
    assert_eq!(answer.out, "ok      slack #deploys\nfailed  teams deploys: it is down. Turn it on.\n");
    assert_eq!(answer.code, 1);
    assert_eq!(bench.universe.state().post.asked.len(), 1);
    answered(&bench, vec![tried("slack #deploys", None, None)]);
    let (code, answer) = bench.json(&["notify", "test", "checkout"]).await;
    assert_eq!((code, &answer["tried"][0]["receiver"]), (0, &"slack #deploys".into()));
}

#[tokio::test]
async fn whoever_tells_nobody_is_told_so() {
    let bench = Bench::new().await;
    answered(&bench, Vec::new());
    let answer = bench.run(&["notify", "test", "checkout"]).await;
    assert_eq!(
        answer.out,
        "nobody is told of checkout: neither its policy nor the installation names anybody\n"
    );
    assert_eq!(answer.code, 0);
}

#[tokio::test]
async fn a_herald_that_does_not_answer_is_no_success() {
    let bench = Bench::new().await;
    let (said, remedy, code) = bench.refused(&["notify", "test", "checkout"]).await;
    assert_eq!((said.as_str(), code), ("the herald has not answered within 90 s", 1));
    assert!(remedy.contains("HeraldErrors"), "{remedy}");
    let (said, ..) = bench.refused(&["notify", "test", "search"]).await;
    assert_eq!(said, "there is no service search");
}
