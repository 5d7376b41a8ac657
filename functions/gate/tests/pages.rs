//! What the pages say, whole; a change of a page shows in review.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

#[expect(dead_code, reason = "the other test files use the rest of it")]
mod common;

use common::{Fixture, Got, filled};
use jiff::SignedDuration;
use tidegate_core::ids::ReleaseId;

/// The page without what is different each time, a tag a line.
fn told(fixture: &Fixture, id: &ReleaseId, page: &Got) -> String {
    let (_, token) = fixture.link(id, "anna");
    let text = page.body.replace(id.as_str(), "RELEASE").replace(&token, "TOKEN");
    // What goes into a plan is another test's business.
    let plan = fixture.stored(id).plan.unwrap().hash();
    let text = text.replace(&plan, "PLAN").replace(&plan[..12], "PLAN");
    let text = masked(&masked(&text, r#"name="csrf" value=""#, "CSRF"), "?sig=", "SIGNATURE");
    let body = text.split_once("</head>").unwrap().1;
    format!("{}\n{}", page.status, body.replace("><", ">\n<"))
}

/// What stands between each `start` and the next quotation mark, replaced.
fn masked(text: &str, start: &str, name: &str) -> String {
    let mut parts = text.split(start);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + start + name + &part[part.find('"').unwrap()..])
}

#[tokio::test]
async fn the_question() {
    let (fixture, id) = Fixture::waiting(2).await;
    insta::assert_snapshot!("the_question", told(&fixture, &id, &fixture.open(&id, "anna").await));
}

#[tokio::test]
async fn the_question_with_a_mistyped_name() {
    let (fixture, id) = Fixture::waiting(1).await;
    let got = fixture.answer(&id, "anna", "approve", "shop", "go").await;
    insta::assert_snapshot!("the_question_with_a_mistyped_name", told(&fixture, &id, &got));
}

#[tokio::test]
async fn short_answers() {
    let (fixture, id) = Fixture::waiting(2).await;
    let page = fixture.open(&id, "anna").await;
    let approved = fixture.answer(&id, "anna", "approve", "checkout", "go").await;
    insta::assert_snapshot!("approved", told(&fixture, &id, &approved));
    let replay = fixture.post(&id, &filled(&page.body, "approve", "checkout", "")).await;
    insta::assert_snapshot!("decided_before", told(&fixture, &id, &replay));
    fixture.pass(SignedDuration::from_hours(5));
    insta::assert_snapshot!("too_late", told(&fixture, &id, &fixture.open(&id, "ben").await));
    let forged = fixture.get(&format!("/approve/{id}"), "token=forged").await;
    insta::assert_snapshot!("not_valid", told(&fixture, &id, &forged));
}
