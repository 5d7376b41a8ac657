//! Releases from the push to the end, against the local AWS with the very functions that are deployed to the real one: what Tidegate
//! promises, tried with everything that is known to go wrong.
//!
//! Needs what `cargo xtask test` builds and names in the environment. `TIDEGATE_SCENARIO` plays only the scenarios whose name
//! contains it.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test fails on whatever else it finds")]

#[path = "releases/alarms.rs"]
mod alarms;
#[path = "releases/containers.rs"]
mod containers;
#[path = "releases/digests.rs"]
mod digests;
#[path = "releases/engines.rs"]
mod engines;
#[path = "releases/faults.rs"]
mod faults;
#[path = "releases/first_hour.rs"]
mod first_hour;
#[path = "releases/hooks.rs"]
mod hooks;
#[path = "releases/images.rs"]
mod images;
#[path = "releases/letters.rs"]
mod letters;
#[path = "releases/people.rs"]
mod people;
#[path = "releases/runner.rs"]
mod runner;
#[path = "releases/stage.rs"]
mod stage;
#[path = "releases/steer.rs"]
mod steer;
#[path = "releases/story.rs"]
mod story;
#[path = "releases/strategies.rs"]
mod strategies;

#[path = "releases/told.rs"]
mod told;
#[path = "releases/trouble.rs"]
mod trouble;
#[path = "releases/used.rs"]
mod used;

use std::sync::Arc;
use std::time::Duration;

use stage::{Stage, given};
use tidegate_sandbox::ecs::{DeleteRunning, GoneServices, PauseStage, StaleBlocks, Undocumented};
use used::Part;

/// Everything that can share one local AWS because it concerns one service only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_promise_holds() {
    let stage = Stage::start(|_| {}).await.expect("the local AWS starts");
    // Those that wait longest go first.
    let scenarios = [
        engines::all(),
        images::all(),
        containers::all(),
        digests::all(),
        strategies::all(),
        people::all(),
        steer::all(),
        faults::all(),
        alarms::all(),
        letters::all(),
        hooks::all(),
        told::all(),
        first_hour::all(),
    ];
    runner::play(&stage, Some(Part::Releases), scenarios.into_iter().flatten().collect()).await;
}

/// Everything fails a little, all at the same time, and what is read is old.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_is_survived() {
    let stage = Stage::start(|options| {
        options.ecs.seconds_per_minute = 6.0;
        options.ecs.read_lag = Duration::from_millis(1500);
        options.rule_read_lag = Duration::from_millis(1500);
        options.ecs.undocumented.pause_stage = PauseStage::Before;
    })
    .await
    .expect("the local AWS starts");
    let _storm = trouble::storm(&stage);
    let clock = tokio::spawn(trouble::clock(stage.clone()));
    runner::play(&stage, None, trouble::in_the_storm()).await;
    clock.abort();
}

/// An Amazon ECS whose minutes are short: its hooks time out soon, and what takes it ten minutes is bearable. Where AWS does not say what
/// it does, this one does the other thing than that of the other tests.
async fn short_minutes() -> Arc<Stage> {
    Stage::start(|options| {
        options.ecs.seconds_per_minute = 2.0;
        options.ecs.undocumented = Undocumented {
            stale_blocks: StaleBlocks::Drop,
            pause_stage: PauseStage::Absent,
            delete_running: DeleteRunning::Refuse,
            gone_services: GoneServices::Purged,
        };
    })
    .await
    .expect("the local AWS starts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_moves_in_minutes_too() {
    runner::play(&short_minutes().await, None, strategies::in_short_minutes()).await;
}

/// Tidegate is gone in the middle of a release, and comes back; and messages that nobody can read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tidegate_may_be_gone() {
    let stage = short_minutes().await;
    let clock = tokio::spawn(trouble::clock(stage.clone()));
    runner::play(&stage, None, trouble::gone()).await;
    runner::play(&stage, None, trouble::poison()).await;
    clock.abort();
}

#[tokio::test]
async fn nothing_is_left_behind() {
    let binaries = [
        given("TIDEGATE_SANDBOX_BIN", "target/debug/tidegate-sandbox"),
        given("TIDEGATE_VENV", ".venv"),
        given("TIDEGATE_TEMPLATE", "template.yaml"),
        given("TIDEGATE_FUNCTIONS", "target/sandbox/functions"),
        given("TIDEGATE_BIN", "target/debug/tidegate"),
    ]
    .map(|path| path.expect("`cargo xtask test` names it"));
    trouble::nothing_is_left_behind(binaries).await.expect("nothing is left behind");
}
