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
    Box::pin(a_comparison(browser)).await;
    Box::pin(from_page_to_page(browser)).await;
    Box::pin(with_the_keyboard_alone(browser)).await;
    Box::pin(every_action(browser)).await;
}

/// A shop: one service bakes, one waits, one was rolled back, one is frozen.
async fn shop() -> (Site, [ReleaseId; 2]) {
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
    (Site::open(fixture).await, [baking, id])
}

async fn promoted(fixture: &Fixture, build: u32) -> ReleaseId {
    let id = fixture.release(build, provenance()).await;
    fixture.answer(&id, "anna", "approve", "checkout", "").await;
    fixture.drive_until(&id, |_| false).await;
    assert_eq!(fixture.stored(&id).summary(), "promoted");
    id
}

/// A release whose candidate fails 60 times as often as what ran.
async fn regressed() -> (Site, ReleaseId) {
    let fixture = Fixture::new(1).await;
    fixture.universe.state().aws.habits_mut().errors = [1, 60];
    let id = fixture.release(2, provenance()).await;
    fixture.answer(&id, "anna", "approve", "checkout", "").await;
    fixture.drive_until(&id, |_| false).await;
    assert_eq!(fixture.stored(&id).summary(), "rolled back");
    (Site::open(fixture).await, id)
}

async fn link(site: &Site, body: Value) -> String {
    format!("{}{}", site.address, site.fixture.dashboard(ANNA, &body).await)
}

async fn every_page_on_every_screen(browser: &Browser) {
    let (site, [id, bad]) = Box::pin(shop()).await;
    let pages = [
        ("release-rolled-back", link(&site, json!({ "release": bad })).await),
        ("services", link(&site, json!({})).await),
        ("service", link(&site, json!({ "service": "checkout" })).await),
        ("release", link(&site, json!({ "release": id })).await),
    ];
    for (name, url) in pages {
        on_every_screen(browser, name, &url).await;
    }
}

async fn on_every_screen(browser: &Browser, name: &str, url: &str) {
    for width in WIDTHS {
        for dark in [false, true] {
            browser.screen(width).await;
            browser.dark(dark).await;
            browser.driver.goto(url).await.unwrap();
            browser.is_well_made(&format!("{name} at {width}")).await;
            let scheme = if dark { "dark" } else { "light" };
            browser.picture(&format!("{name}-{width}-{scheme}")).await;
            if name == "release-rolled-back" && width == 1280 && !dark {
                browser.first_screen("first-screen").await;
            }
        }
    }
    browser.phone(false).await;
    browser.dark(false).await;
}

/// A candidate that did worse, beside what it was compared with.
async fn a_comparison(browser: &Browser) {
    let (site, id) = Box::pin(regressed()).await;
    let url = link(&site, json!({ "release": id })).await;
    browser.driver.goto(&url).await.unwrap();
    let shown = [
        "does worse than the stable version",
        "Beside the stable version",
        "6.0% against 0.10%",
        "1.5 times is tolerated",
    ];
    browser.shows(&shown).await;
    on_every_screen(browser, "release-regressed", &url).await;
}

async fn from_page_to_page(browser: &Browser) {
    let (site, [id, bad]) = Box::pin(shop()).await;
    browser.driver.goto(link(&site, json!({})).await).await.unwrap();
    browser.shows(&["Services", "1 release under way", "checkout", "billing"]).await;
    browser.driver.find(By::LinkText("checkout")).await.unwrap().click().await.unwrap();
    browser.shows(&["Who approves", "Promoted versions", "Quarantine"]).await;
    browser.driver.find(By::LinkText("main-4")).await.unwrap().click().await.unwrap();
    browser
        .shows(&["Bakes at 10%", "10% of users are on main-4, the others on main-2.", "The plan", "History"])
        .await;
    let here = browser.driver.current_url().await.unwrap();
    assert_eq!(here.path(), format!("/releases/{id}"));
    browser.driver.find(By::LinkText("Before: main-3")).await.unwrap().click().await.unwrap();
    browser
        .shows(&[
            "Rolled back at",
            "after reaching 10%. Users are on main-2.",
            "alarm checkout-5xx went off",
            "After: main-4",
        ])
        .await;
    assert_eq!(browser.driver.current_url().await.unwrap().path(), format!("/releases/{bad}"));
    let fetched = browser.script("return performance.getEntriesByType('resource').map(r => r.name)").await;
    assert_eq!(fetched, json!([]));
}

/// Whatever can be followed is reached with the Tab key, and shows that it is.
async fn with_the_keyboard_alone(browser: &Browser) {
    let (site, _) = Box::pin(shop()).await;
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

async fn press(browser: &Browser, label: &str, typed: &str, reason: &str) {
    browser.driver.find(By::LinkText(label)).await.unwrap().click().await.unwrap();
    browser.shows(&["Type the name of the service", "Go back, and do nothing"]).await;
    browser.is_well_made(label).await;
    for (field, text) in [("service", typed), ("reason", reason)] {
        let field = browser.driver.find(By::Id(field)).await.unwrap();
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }
    browser.driver.find(By::Css("form button")).await.unwrap().click().await.unwrap();
}

/// Pause, continue, promote now, roll back; a mistyped name; and a service that goes back.
async fn every_action(browser: &Browser) {
    let (site, [id, _]) = Box::pin(shop()).await;
    let url = link(&site, json!({ "release": id, "act": true })).await;
    browser.screen(390).await;
    browser.driver.goto(&url).await.unwrap();
    browser.shows(&["Roll back", "Pause", "Promote now", "Cancel"]).await;
    browser.is_well_made("a release to act on").await;
    browser.picture("release-acting-390-light").await;
    press(browser, "Roll back…", "shop", "").await;
    browser.shows(&["Nothing was done", "What was typed is not the name of this service."]).await;
    browser.picture("act-390-light").await;
    browser.driver.find(By::LinkText("Go back, and do nothing")).await.unwrap().click().await.unwrap();
    for (label, history) in [
        ("Pause…", "paused"),
        ("Continue…", "continued"),
        ("Promote now…", "promoting without waiting"),
        ("Roll back…", "asked to roll back"),
    ] {
        browser.shows(&["History"]).await;
        press(browser, label, "checkout", "by hand").await;
        browser.shows(&["asked", "It is written down and under way."]).await;
        let told = site.fixture.history(&id);
        let last = told.last().unwrap();
        assert!(
            last.event.to_string().contains(history) && last.actor.to_string() == ANNA,
            "{label}: {}",
            last.event
        );
        browser.driver.find(By::LinkText("Follow the release")).await.unwrap().click().await.unwrap();
    }
    browser.phone(false).await;
}
