//! The dashboard, read.

use serde_json::{Value, json};
use thirtyfour::prelude::*;
use tidegate_core::ids::ReleaseId;
use tidegate_core::release::Phase;
use tidegate_testkit::fakes::Quality;

use crate::common::{ANNA, Fixture, provenance};
use crate::machine::{Browser, Site};

/// Phone and desktop, as they are usual.
const WIDTHS: [u32; 2] = [390, 1280];

/// Everything a reader does.
pub(crate) async fn all(browser: &Browser) {
    Box::pin(every_page_on_every_screen(browser)).await;
    Box::pin(from_page_to_page(browser)).await;
    Box::pin(with_the_keyboard_alone(browser)).await;
}

/// A shop: one service bakes, one waits, one was rolled back, one is frozen.
async fn shop() -> (Site, ReleaseId) {
    let fixture = Fixture::new(1).await;
    promoted(&fixture, 2).await;
    fixture.copy("billing", |head| head.quarantine.clear()).await;
    fixture.copy("search", |head| head.promoted.clear()).await;
    let bad = Quality::Bad { from_percent: 10, alarm_after_secs: 20 };
    fixture.push_of(3, bad);
    let id = fixture.release(3, provenance()).await;
    fixture.answer(&id, "anna", "approve", "checkout", "").await;
    fixture.drive_until(&id, |_| false).await;
    let baking = fixture.release(4, provenance()).await;
    fixture.answer(&baking, "anna", "approve", "checkout", "Tested on staging.").await;
    let bakes = |release: &tidegate_core::release::Release| {
        matches!(release.phase, Phase::Running { .. }) && release.summary().starts_with("bake at 10%")
    };
    fixture.drive_until(&baking, bakes).await;
    (Site::open(fixture).await, baking)
}

async fn promoted(fixture: &Fixture, build: u32) -> ReleaseId {
    let id = fixture.release(build, provenance()).await;
    fixture.answer(&id, "anna", "approve", "checkout", "").await;
    fixture.drive_until(&id, |_| false).await;
    assert_eq!(fixture.stored(&id).summary(), "promoted");
    id
}

async fn link(site: &Site, body: Value) -> String {
    format!("{}{}", site.address, site.fixture.dashboard(ANNA, &body).await)
}

async fn every_page_on_every_screen(browser: &Browser) {
    let (site, id) = shop().await;
    let pages = [
        ("services", link(&site, json!({})).await),
        ("service", link(&site, json!({ "service": "checkout" })).await),
        ("release", link(&site, json!({ "release": id })).await),
    ];
    for (name, url) in pages {
        for width in WIDTHS {
            for dark in [false, true] {
                browser.screen(width).await;
                browser.dark(dark).await;
                browser.driver.goto(&url).await.unwrap();
                browser.is_well_made(&format!("{name} at {width}")).await;
                let scheme = if dark { "dark" } else { "light" };
                browser.picture(&format!("{name}-{width}-{scheme}")).await;
            }
        }
    }
    browser.phone(false).await;
    browser.dark(false).await;
}

async fn from_page_to_page(browser: &Browser) {
    let (site, id) = shop().await;
    browser.driver.goto(link(&site, json!({})).await).await.unwrap();
    browser.shows(&["Services", "1 release under way", "checkout", "billing"]).await;
    browser.driver.find(By::LinkText("checkout")).await.unwrap().click().await.unwrap();
    browser.shows(&["Who approves", "Promoted versions", "Quarantine"]).await;
    browser.driver.find(By::LinkText("main-4")).await.unwrap().click().await.unwrap();
    browser.shows(&["The plan", "History"]).await;
    let here = browser.driver.current_url().await.unwrap();
    assert_eq!(here.path(), format!("/releases/{id}"));
    let fetched = browser.script("return performance.getEntriesByType('resource').map(r => r.name)").await;
    assert_eq!(fetched, json!([]));
}

/// Whatever can be followed is reached with the Tab key, and shows that it is.
async fn with_the_keyboard_alone(browser: &Browser) {
    let (site, _) = shop().await;
    browser.driver.goto(link(&site, json!({})).await).await.unwrap();
    let links = browser.script("return document.querySelectorAll('a[href]').length").await.as_u64().unwrap();
    let mut reached = 0;
    for _ in 0..200 {
        browser.driver.action_chain().send_keys(Key::Tab).perform().await.unwrap();
        let now = browser
            .script("const e = document.activeElement; return [e.tagName, getComputedStyle(e).outlineStyle]")
            .await;
        if now[0] == "BODY" {
            break;
        }
        assert_eq!(now[1], "solid", "the focus shows: {now}");
        reached += u64::from(now[0] == "A");
    }
    assert_eq!(reached, links);
}
