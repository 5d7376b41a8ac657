//! The pages in a real, headless Chromium: seen, answered, replayed, too late, prefetched; by keyboard, on a phone, in the dark.
//!
//! Needs Debian's `chromium` and `chromium-driver`. Where they are missing the test says so and passes, except in CI (`CI=true`).
//! `TIDEGATE_SCREENSHOTS=1` writes the main states to `docs/screenshots/`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod approvals;
#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "the other test files use the rest of it")]
mod common;
mod dashboard;
mod machine;

use machine::{Browser, Driver, MISSING, chromium};

/// A browser, or nothing where there is none; that is an error in CI.
async fn browser() -> Option<(Driver, Browser)> {
    let (Some(chromium), Some(server)) = (chromium(), Driver::start()) else {
        let in_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!in_ci, "{MISSING}");
        eprintln!("skipped: {MISSING}");
        return None;
    };
    let browser = Browser::open(&server, &chromium).await;
    Some((server, browser))
}

// The session is ended by a drop that blocks, also when an assertion fails: another thread has to go on meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn approvers_use_the_pages_in_a_browser() {
    let Some((_server, browser)) = browser().await else { return };
    approvals::all(&browser).await;
    browser.driver.clone().quit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_reads_the_dashboard_in_a_browser() {
    let Some((_server, browser)) = browser().await else { return };
    dashboard::all(&browser).await;
    browser.driver.clone().quit().await.unwrap();
}
