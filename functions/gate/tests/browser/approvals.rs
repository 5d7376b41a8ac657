//! Approvers at work.

use jiff::SignedDuration;
use serde_json::json;
use thirtyfour::prelude::*;
use tidegate_core::ids::ReleaseId;

use crate::common::{Fixture, provenance};
use crate::machine::{Browser, Site};

/// Everything an approver does.
pub(crate) async fn all(browser: &Browser) {
    // Each part drives releases, and without optimisation all of them in one future are too much for a test's stack.
    Box::pin(viewed_and_approved(browser)).await;
    Box::pin(replayed(browser)).await;
    Box::pin(rejected(browser)).await;
    Box::pin(too_late(browser)).await;
    Box::pin(prefetched(browser)).await;
    Box::pin(on_a_phone_and_in_the_dark(browser)).await;
    Box::pin(with_the_keyboard_alone(browser)).await;
    Box::pin(on_the_first_screen_of_a_phone(browser)).await;
}

async fn waiting(count: u32) -> (Site, ReleaseId) {
    let (fixture, id) = Box::pin(Fixture::waiting(count)).await;
    (Site::open(fixture).await, id)
}

async fn viewed_and_approved(browser: &Browser) {
    let (site, id) = waiting(1).await;
    browser.driver.goto(site.link(&id, "anna")).await.unwrap();
    let title = browser.driver.title().await.unwrap();
    assert_eq!(title, "Approve deploying checkout main-2? · Tidegate");
    // The one style sheet is let through by its hash, and nothing else has to be.
    let background = browser.script("return getComputedStyle(document.body).backgroundColor").await;
    assert_eq!(background, "rgb(246, 247, 249)");
    let fetched = browser.script("return performance.getEntriesByType('resource').map(r => r.name)").await;
    assert_eq!(fetched, json!([]));
    browser.picture("approval-light").await;

    browser.decide("shop", "", "approve").await;
    browser.shows(&["What was typed is not the name of this service."]).await;
    browser.picture("approval-name-mistyped").await;
    assert!(browser.driver.find(By::Css("#service[aria-invalid=true]")).await.is_ok());

    browser.decide("checkout", "Basket tested on staging. <b>Go.</b>", "approve").await;
    browser.shows(&["Approved", "Thank you, anna. The release continues."]).await;
    browser.picture("approved").await;
    let entry = site.fixture.history(&id).last().unwrap().clone();
    assert_eq!(
        (entry.event.to_string().as_str(), entry.event.why().as_str()),
        ("approved by anna", "Basket tested on staging. <b>Go.</b>")
    );

    browser.driver.find(By::LinkText("Follow the release")).await.unwrap().click().await.unwrap();
    browser.shows(&["under way", "Basket tested on staging. <b>Go.</b>"]).await;
}

async fn replayed(browser: &Browser) {
    let (site, id) = waiting(2).await;
    browser.driver.goto(site.link(&id, "anna")).await.unwrap();
    let filled = "document.getElementById('service').setAttribute('value', 'checkout'); return document.forms[0].outerHTML";
    let form = browser.script(filled).await.as_str().unwrap().to_owned();
    browser.decide("checkout", "", "approve").await;
    browser.shows(&["One more approval is needed."]).await;
    // The form that was sent is sent again, as a reload of the answer would.
    browser.script(&format!("document.body.innerHTML = `{form}`; document.forms[0].submit()")).await;
    browser.shows(&["It has been decided", "anna approved this release on"]).await;
    browser.picture("decided").await;
    let given = site.fixture.stored(&id).gates.values().map(|opened| opened.votes.len()).sum::<usize>();
    assert_eq!(given, 1);
}

async fn rejected(browser: &Browser) {
    let (site, id) = waiting(1).await;
    browser.driver.goto(site.link(&id, "ben")).await.unwrap();
    browser.decide("checkout", "Not before the sale.", "reject").await;
    browser.shows(&["Rejected"]).await;
    site.fixture.drive(&id).await;
    assert_eq!(site.fixture.stored(&id).summary(), "cancelled");
    browser.driver.find(By::LinkText("Follow the release")).await.unwrap().click().await.unwrap();
    browser.shows(&["Cancelled at", "Nothing was changed.", "ben: rejected: Not before the sale."]).await;
    browser.picture("status-rejected").await;
}

async fn too_late(browser: &Browser) {
    let (site, id) = waiting(1).await;
    browser.driver.goto(site.link(&id, "anna")).await.unwrap();
    site.fixture.pass(SignedDuration::from_hours(5));
    browser.decide("checkout", "", "approve").await;
    browser.shows(&["Too late"]).await;
    browser.driver.goto(site.link(&id, "anna")).await.unwrap();
    browser.shows(&["Too late"]).await;
    browser.picture("too-late").await;
    browser.driver.goto(format!("{}/approve/{id}?token=forged", site.address)).await.unwrap();
    let text = browser.shows(&["This link is not valid"]).await;
    assert!(!text.contains("checkout"), "{text}");
}

async fn prefetched(browser: &Browser) {
    let (site, id) = waiting(1).await;
    let before = (site.fixture.stored(&id), site.fixture.history(&id));
    for _ in 0..10 {
        browser.driver.goto(site.link(&id, "anna")).await.unwrap();
    }
    assert_eq!((site.fixture.stored(&id), site.fixture.history(&id)), before);
}

async fn on_a_phone_and_in_the_dark(browser: &Browser) {
    let (fixture, id) = Fixture::waiting(1).await;
    let done = fixture.answer(&id, "anna", "approve", "checkout", "Tested on staging.").await;
    assert_eq!(done.status, 200);
    let status = done.body.split_once(r#"href="/status/"#).unwrap().1.split_once('"').unwrap().0.to_owned();
    promote(&fixture, &id).await;
    let (other, waits) = waiting(2).await;
    let site = Site::open(fixture).await;
    let pages =
        [(other.link(&waits, "anna"), "approval"), (format!("{}/status/{status}", site.address), "status")];
    for (url, name) in pages {
        for (phone, dark) in [(false, false), (false, true), (true, false), (true, true)] {
            browser.phone(phone).await;
            browser.dark(dark).await;
            browser.driver.goto(&url).await.unwrap();
            let background = browser.script("return getComputedStyle(document.body).backgroundColor").await;
            assert_eq!(background, if dark { "rgb(16, 22, 28)" } else { "rgb(246, 247, 249)" });
            let too_wide =
                "return document.documentElement.scrollWidth > document.documentElement.clientWidth";
            assert_eq!(browser.script(too_wide).await, json!(false), "{name}, phone {phone}");
            let place = if phone { "-phone" } else { "" };
            browser.picture(&format!("{name}{place}-{}", if dark { "dark" } else { "light" })).await;
        }
    }
    browser.phone(false).await;
    browser.dark(false).await;
}

/// Lets the release go its way to the end.
async fn promote(fixture: &Fixture, id: &ReleaseId) {
    for _ in 0..400 {
        let deadline = fixture.universe.state().now + SignedDuration::from_mins(5);
        Box::pin(fixture.context.drive(id, &[], deadline)).await.unwrap();
        if fixture.stored(id).is_over() {
            break;
        }
        fixture.pass(SignedDuration::from_secs(10));
    }
    assert_eq!(fixture.stored(id).summary(), "promoted");
}

/// Every control is reached with the Tab key, in the order of the page, and shows that it is.
async fn with_the_keyboard_alone(browser: &Browser) {
    let (fixture, _) = Fixture::waiting(1).await;
    drop(fixture);
    let fixture = Fixture::new(1).await;
    let id = fixture.release(2, provenance()).await;
    let site = Site::open(fixture).await;
    browser.driver.goto(site.link(&id, "anna")).await.unwrap();
    let mut reached = Vec::new();
    for _ in 0..20 {
        browser.driver.action_chain().send_keys(Key::Tab).perform().await.unwrap();
        let script = "const e = document.activeElement; return [e.value && e.tagName == 'BUTTON' ? e.value : e.id || e.className || e.tagName, getComputedStyle(e).outlineStyle]";
        let now = browser.script(script).await;
        if now[0] == "BODY" {
            break;
        }
        if now[0] == "SUMMARY" {
            browser.driver.action_chain().send_keys(Key::Enter).perform().await.unwrap();
        }
        assert_eq!(now[1], "solid", "the focus shows: {now}");
        reached.push(now[0].as_str().unwrap().to_owned());
    }
    let controls: Vec<&str> = reached
        .iter()
        .map(String::as_str)
        .filter(|name| ["skip", "service", "comment", "approve", "reject"].contains(name))
        .collect();
    assert_eq!(controls, ["skip", "service", "comment", "approve", "reject"]);
    // What a screen reader announces: every field has a name.
    let unnamed = "return [...document.querySelectorAll('input:not([type=hidden]), textarea, button')].filter(e => !(e.labels && e.labels.length) && !e.textContent.trim()).length";
    assert_eq!(browser.script(unnamed).await, json!(0));
}

/// What changes, the time left and both buttons are seen without scrolling.
async fn on_the_first_screen_of_a_phone(browser: &Browser) {
    let (site, id) = waiting(1).await;
    browser.screen(390).await;
    browser.driver.goto(site.link(&id, "anna")).await.unwrap();
    for selector in ["h1", ".swap", ".time", "#service", "button[value=approve]", "button[value=reject]"] {
        let script = format!(
            "const r = document.querySelector('{selector}').getBoundingClientRect(); return [r.top, r.bottom]"
        );
        let place = browser.script(&script).await;
        assert!(
            place[0].as_f64().unwrap() >= 0.0 && place[1].as_f64().unwrap() <= 844.0,
            "{selector}: {place}"
        );
    }
    browser.is_well_made("approval at 390").await;
    browser.picture("approval-390-light").await;
    browser.screen(1280).await;
    browser.driver.goto(site.link(&id, "anna")).await.unwrap();
    browser.is_well_made("approval at 1280").await;
    browser.phone(false).await;
}
