//! Every way a release starts beside a push, against the local AWS with the functions that are deployed to the real one: builds,
//! manifests, requests, pipelines; and pipelines that wait for Tidegate.
//!
//! Needs what `cargo xtask test` builds and names in the environment.

#[path = "releases/runner.rs"]
mod runner;
#[expect(dead_code, reason = "the scenarios of releases use more of it")]
#[path = "releases/stage.rs"]
mod stage;
#[expect(dead_code, reason = "the scenarios of releases use more of it")]
#[path = "releases/story.rs"]
mod story;

#[path = "releases/used.rs"]
mod used;

#[path = "triggers/builds.rs"]
mod builds;
#[path = "triggers/house.rs"]
mod house;
#[path = "triggers/messages.rs"]
mod messages;
#[path = "triggers/pipelines.rs"]
mod pipelines;
#[path = "triggers/webhooks.rs"]
mod webhooks;

use stage::Stage;
use tidegate_sandbox::codebuild::BatchEvents;
use used::Part;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_trigger_leads_to_a_release() {
    // AWS documents no event of a batch of builds; should there be one, it looks like a build's.
    let stage = Stage::start(|options| options.builds.batch_events = BatchEvents::AsBuild)
        .await
        .expect("the local AWS starts");
    house::prepare(&stage).await.expect("buckets and roles");
    let scenarios = [pipelines::all(), builds::all(), messages::all(), webhooks::all()];
    runner::play(&stage, Some(Part::WaysIn), scenarios.into_iter().flatten().collect()).await;
}
