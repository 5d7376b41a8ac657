//! What the invoke URL has to stand: each of ten kinds of hostile input, against the handler, a ledger in memory, and the real core.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

#[expect(dead_code, reason = "the other test files use the rest of it")]
mod common;

use common::{ANNA, Fixture, Got, event, filled, form_event, provenance, through, with};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tidegate_core::actor::Actor;
use tidegate_core::gate::waiting_at;
use tidegate_core::ids::ReleaseId;
use tidegate_core::intent::Provenance;
use tidegate_core::outcome::Outcome;
use tidegate_testkit::names;

/// The ledger as it is: no test of "nothing changed" looks at less.
fn ledger(fixture: &Fixture) -> String {
    let releases = fixture.releases();
    let history: Vec<_> = releases.iter().map(|release| fixture.history(&release.id)).collect();
    serde_json::to_string(&(releases, history)).unwrap()
}

fn given(fixture: &Fixture, id: &ReleaseId) -> Vec<(String, bool)> {
    let release = fixture.stored(id);
    release
        .gates
        .values()
        .flat_map(|opened| &opened.votes)
        .map(|vote| (vote.approver.clone(), vote.approve))
        .collect()
}

#[tokio::test]
async fn an_approver_opens_the_link_types_the_name_and_approves() {
    let (fixture, id) = Fixture::waiting(1).await;
    let page = fixture.open(&id, "anna").await;
    assert_eq!(page.status, 200, "{}", page.body);
    for shown in [
        "checkout",
        "main-2",
        "carla",
        "dora",
        "4f2a9c1",
        "checkout-5xx",
        "10% of users for 5m",
        "4h",
        "0 findings",
    ] {
        assert!(page.body.contains(shown), "{shown} is not on the page: {}", page.body);
    }
    let done = fixture.answer(&id, "anna", "approve", " checkout ", "looks good").await;
    assert_eq!(done.status, 200, "{}", done.body);
    assert!(done.body.contains("Approved"), "{}", done.body);
    assert_eq!(given(&fixture, &id), [("anna".to_owned(), true)]);
    let history = fixture.history(&id);
    let entry = history.last().unwrap();
    assert_eq!(
        (entry.event.to_string().as_str(), entry.event.why().as_str()),
        ("approved by anna", "looks good")
    );
    // The conductor is woken, and the release continues.
    assert!(!fixture.universe.state().queue.is_empty());
    fixture.context.drive(&id, &[], names::at(3600)).await.unwrap();
    assert!(waiting_at(&fixture.stored(&id)).is_none());
}

#[tokio::test]
async fn a_rejection_ends_the_release_and_says_who() {
    let (fixture, id) = Fixture::waiting(1).await;
    let done = fixture.answer(&id, "ben", "reject", "checkout", "").await;
    assert_eq!(done.status, 200, "{}", done.body);
    fixture.drive(&id).await;
    let by = Actor::Person { name: "ben".into() };
    let expected = Outcome::Cancelled { by, why: "rejected: no comment was given".into() };
    assert_eq!(fixture.stored(&id).outcome(), Some(&expected));
}

// --- 1. forged ---------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_forged_link_is_refused_like_one_of_a_release_that_does_not_exist() {
    let (fixture, id) = Fixture::waiting(1).await;
    let before = ledger(&fixture);
    let nowhere = names::release(99);
    let forged = "token=00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let mut answers: Vec<(u64, String, SignedDuration)> = Vec::new();
    for release in [&id, &nowhere] {
        for method in ["GET", "HEAD", "POST"] {
            let began = fixture.universe.state().now;
            let body = if method == "POST" { forged.as_bytes() } else { b"" };
            let query = if method == "POST" { "" } else { forged };
            let got = fixture.send(event(method, &format!("/approve/{release}"), query, &[], body)).await;
            let took = fixture.universe.state().now.duration_since(began);
            answers.push((got.status, if method == "HEAD" { String::new() } else { got.body }, took));
        }
    }
    let (existing, missing) = answers.split_at(3);
    assert_eq!(existing, missing);
    for (status, body, took) in &answers {
        assert_eq!((*status, *took), (404, SignedDuration::from_millis(250)));
        assert!(!body.contains("checkout"), "{body}");
    }
    assert_eq!(ledger(&fixture), before);
}

/// Whoever sends what Tidegate never made cannot hold a copy of the function: its answer takes no time.
#[tokio::test]
async fn garbage_is_answered_at_once_and_asks_the_ledger_nothing() {
    let (fixture, id) = Fixture::waiting(1).await;
    let before = ledger(&fixture);
    let (path, token) = fixture.link(&id, "anna");
    let good = format!("token={token}");
    let shapes = [
        ("/approve/x".to_owned(), good.clone()),
        (path.clone(), String::new()),
        (path.clone(), "token=".to_owned()),
        (path.clone(), format!("{good}0")),
        (path.clone(), good.to_uppercase()),
        (path.clone(), format!("token={}", "z".repeat(64))),
        ("/status/x".to_owned(), good.clone()),
        ("/hooks/github/checkout".to_owned(), String::new()),
        ("/".to_owned(), String::new()),
    ];
    let calls = fixture.universe.state().calls;
    for (path, query) in shapes {
        for (method, query, body) in [("GET", query.as_str(), ""), ("POST", "", query.as_str())] {
            let began = fixture.universe.state().now;
            let got = fixture.send(event(method, &path, query, &[], body.as_bytes())).await;
            let took = fixture.universe.state().now.duration_since(began);
            assert!(matches!(got.status, 401 | 404 | 405), "{method} {path}?{query}: {}", got.status);
            assert_eq!(took, SignedDuration::ZERO, "{method} {path}?{query}{body}");
        }
    }
    assert_eq!(fixture.universe.state().calls, calls);
    assert_eq!(ledger(&fixture), before);
}

#[tokio::test]
async fn what_cannot_be_seen_is_shown_on_every_page() {
    let fixture = Fixture::new(2).await;
    let evil = "gnp.\u{202e}exe\u{200b}\u{2066}\u{1b}[31m";
    let provenance = Provenance {
        commit: Some(evil.into()),
        committed_at: None,
        author: Some(evil.into()),
        url: Some(evil.into()),
    };
    let id = fixture.release(2, provenance).await;
    // A U+FFFD that somebody typed is a character like others.
    let comment = fixture.answer(&id, "anna", "approve", "checkout", &format!("\u{fffd} {evil}")).await;
    assert_eq!(comment.status, 200, "{}", comment.body);
    let pages = [
        fixture.open(&id, "ben").await,
        fixture.answer(&id, "ben", "approve", "wrong", evil).await,
        fixture.get(&status_path(&comment), &status_query(&comment)).await,
    ];
    assert_eq!(pages.each_ref().map(|page| page.status), [200, 422, 200]);
    for page in &pages {
        assert!(page.body.contains("gnp.‹U+202E›exe‹U+200B›‹U+2066›‹U+001B›[31m"), "{}", page.body);
        assert!(!page.body.contains(['\u{202e}', '\u{200b}', '\u{2066}', '\u{1b}']), "{}", page.body);
    }
    assert!(pages[0].body.contains('\u{fffd}'));
}

#[tokio::test]
async fn a_form_without_the_pages_proof_decides_nothing() {
    let (fixture, id) = Fixture::waiting(1).await;
    let form = filled(&fixture.open(&id, "anna").await.body, "approve", "checkout", "");
    let before = ledger(&fixture);
    for csrf in ["", "0", &"0".repeat(64)] {
        let got = fixture.post(&id, &with(form.clone(), "csrf", csrf)).await;
        assert_eq!(got.status, 403, "{}", got.body);
    }
    assert_eq!(ledger(&fixture), before);
}

// --- 2. replayed -------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_replay_is_told_who_decided_and_when() {
    let (fixture, id) = Fixture::waiting(2).await;
    let form = filled(&fixture.open(&id, "anna").await.body, "approve", "checkout", "");
    assert_eq!(fixture.post(&id, &form).await.status, 200);
    for form in [form.clone(), with(form, "decision", "reject")] {
        let replay = fixture.post(&id, &form).await;
        assert_eq!(replay.status, 409, "{}", replay.body);
        assert!(replay.body.contains("anna approved this release on 2026-03-02 09:"), "{}", replay.body);
    }
    assert_eq!(given(&fixture, &id), [("anna".to_owned(), true)]);
    let page = fixture.open(&id, "anna").await;
    assert_eq!(page.status, 200);
    assert!(
        page.body.contains("anna approved this release") && !page.body.contains("<form"),
        "{}",
        page.body
    );
}

#[tokio::test]
async fn two_copies_of_one_answer_at_the_same_time_count_once() {
    let (fixture, id) = Fixture::waiting(2).await;
    let form = filled(&fixture.open(&id, "anna").await.body, "approve", "checkout", "");
    let (first, second) = tokio::join!(fixture.post(&id, &form), fixture.post(&id, &form));
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    assert_eq!(given(&fixture, &id).len(), 1);
}

#[tokio::test]
async fn replays_do_not_fill_the_ledger() {
    let (fixture, id) = Fixture::waiting(2).await;
    let form = filled(&fixture.open(&id, "anna").await.body, "approve", "checkout", "");
    fixture.post(&id, &form).await;
    for _ in 0..50 {
        assert_eq!(fixture.post(&id, &form).await.status, 409);
    }
    let kept = fixture
        .history(&id)
        .iter()
        .filter(|entry| entry.event.to_string() == "an answer did not count")
        .count();
    assert_eq!(kept, 10);
}

// --- 3. expired --------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_answer_after_the_time_ran_out_is_too_late() {
    let (fixture, id) = Fixture::waiting(1).await;
    let form = filled(&fixture.open(&id, "anna").await.body, "approve", "checkout", "");
    fixture.pass(SignedDuration::from_hours(4));
    let page = fixture.open(&id, "anna").await;
    assert_eq!(page.status, 410, "{}", page.body);
    assert!(page.body.contains("Too late"), "{}", page.body);
    assert_eq!(fixture.post(&id, &form).await.status, 410);
    assert_eq!(given(&fixture, &id), []);
    assert_eq!(fixture.history(&id).last().unwrap().event.to_string(), "an answer did not count");
}

// --- 4. of another release ---------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_link_of_another_release_is_not_known_here() {
    let (fixture, first) = Fixture::waiting(1).await;
    fixture.answer(&first, "anna", "reject", "checkout", "").await;
    fixture.drive(&first).await;
    let second = fixture.release(3, provenance()).await;
    assert!(waiting_at(&fixture.stored(&second)).is_some(), "{:?}", fixture.stored(&second).phase);
    let before = ledger(&fixture);
    let (_, token) = fixture.link(&first, "anna");
    let got = fixture.get(&format!("/approve/{second}"), &format!("token={token}")).await;
    assert_eq!(got.status, 404);
    assert!(!got.body.contains("checkout"));
    let form = filled(&fixture.open(&second, "anna").await.body, "approve", "checkout", "");
    assert_eq!(fixture.post(&second, &with(form, "token", &token)).await.status, 404);
    assert_eq!(ledger(&fixture), before);
}

// --- 5. of another approver --------------------------------------------------------------------------------------------------

#[tokio::test]
async fn one_approvers_form_does_not_fit_anothers_link() {
    let (fixture, id) = Fixture::waiting(2).await;
    let anna = filled(&fixture.open(&id, "anna").await.body, "approve", "checkout", "");
    let (_, bens) = fixture.link(&id, "ben");
    assert_eq!(fixture.post(&id, &with(anna.clone(), "token", &bens)).await.status, 403);
    assert_eq!(given(&fixture, &id), []);
    // And nobody counts twice: two are needed, and Anna is one.
    fixture.post(&id, &anna).await;
    fixture.drive(&id).await;
    assert!(waiting_at(&fixture.stored(&id)).is_some());
}

// --- 6. superseded -----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_plan_that_is_not_the_one_shown_cannot_be_approved() {
    let (fixture, id) = Fixture::waiting(1).await;
    let form = filled(&fixture.open(&id, "anna").await.body, "approve", "checkout", "");
    // The proof is of the plan shown, so another plan's hash does not even come with a proof.
    let got = fixture.post(&id, &with(form, "plan", &"0".repeat(64))).await;
    assert_eq!(got.status, 403);
    assert_eq!(given(&fixture, &id), []);
}

#[tokio::test]
async fn a_link_is_void_once_the_release_is_over() {
    let (fixture, id) = Fixture::waiting(1).await;
    let form = filled(&fixture.open(&id, "ben").await.body, "approve", "checkout", "");
    fixture.answer(&id, "anna", "reject", "checkout", "").await;
    fixture.drive(&id).await;
    assert!(fixture.stored(&id).is_over(), "{:?}", fixture.stored(&id).phase);
    let before = ledger(&fixture);
    let page = fixture.open(&id, "ben").await;
    assert_eq!(page.status, 410, "{}", page.body);
    assert!(page.body.contains("This link is void"));
    assert_eq!(fixture.post(&id, &form).await.status, 410);
    assert_eq!(ledger(&fixture), before);
}

#[tokio::test]
async fn a_newer_image_voids_the_links_of_the_one_it_replaces() {
    let fixture = Fixture::new(1).await;
    let policy = common::POLICY.replace("COUNT", "1") + "on_newer: replace\n";
    let policy = tidegate_core::policy::parse("checkout.yaml", &policy).unwrap();
    let ops = tidegate_core::actor::Actor::Person { name: "ops".into() };
    fixture.context.installation.apply(&policy, &ops).await.unwrap();
    let old = fixture.release(2, provenance()).await;
    let form = filled(&fixture.open(&old, "anna").await.body, "approve", "checkout", "");
    let new = fixture.release(3, provenance()).await;
    assert_ne!(old, new);
    fixture.drive(&old).await;
    for _ in 0..5 {
        fixture.context.drive(&old, &[], names::at(7200)).await.unwrap();
        fixture.pass(SignedDuration::from_secs(60));
    }
    let page = fixture.open(&old, "anna").await;
    assert_eq!(page.status, 410, "{}", page.body);
    assert!(page.body.contains("A newer image has taken the place"), "{}", page.body);
    assert_eq!(fixture.post(&old, &form).await.status, 410);
}

// --- 7. prefetched -----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_thousand_prefetches_change_nothing() {
    let (fixture, id) = Fixture::waiting(1).await;
    let before = (ledger(&fixture), fixture.universe.state().queue.clone());
    let (path, token) = fixture.link(&id, "anna");
    for index in 0..1000 {
        let method = if index % 2 == 0 { "GET" } else { "HEAD" };
        let got = fixture.send(event(method, &path, &format!("token={token}"), &[], b"")).await;
        assert_eq!((got.status, got.body.is_empty()), (200, method == "HEAD"));
    }
    assert_eq!((ledger(&fixture), fixture.universe.state().queue.clone()), before);
}

#[tokio::test]
async fn a_scanner_that_posts_the_form_as_it_finds_it_decides_nothing() {
    let (fixture, id) = Fixture::waiting(1).await;
    let page = fixture.open(&id, "anna").await.body;
    let before = ledger(&fixture);
    for typed in ["", "test", "Checkout", "checkout2"] {
        let got = fixture.post(&id, &filled(&page, "approve", typed, "kept")).await;
        assert_eq!(got.status, 422, "{}", got.body);
        assert!(got.body.contains(r#"aria-invalid="true""#) && got.body.contains("kept"), "{}", got.body);
    }
    let undecided = fixture.post(&id, &filled(&page, "maybe", "checkout", "")).await;
    assert_eq!(undecided.status, 422);
    let (path, token) = fixture.link(&id, "anna");
    for body in ["", &format!("token={token}")] {
        let got = fixture.send(event("POST", &path, &format!("token={token}"), &[], body.as_bytes())).await;
        assert!(matches!(got.status, 403 | 404), "{}", got.status);
    }
    assert_eq!(ledger(&fixture), before);
}

// --- 8. too large ------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_body_of_ten_megabytes_is_not_read() {
    let (fixture, id) = Fixture::waiting(1).await;
    let before = ledger(&fixture);
    let large = vec![b'a'; 10 * 1024 * 1024];
    for path in [format!("/approve/{id}"), "/hooks/github/checkout".to_owned()] {
        let got = fixture.send(event("POST", &path, "", &[], &large)).await;
        assert_eq!(got.status, 413);
    }
    let comment = "x".repeat(1001);
    let got = fixture.answer(&id, "anna", "approve", "checkout", &comment).await;
    assert_eq!(got.status, 422, "{}", got.body);
    assert_eq!(ledger(&fixture), before);
}

// --- 9. not UTF-8 ------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn what_is_not_utf_8_is_refused_wherever_it_is() {
    let (fixture, id) = Fixture::waiting(1).await;
    let before = ledger(&fixture);
    let path = format!("/approve/{id}");
    for body in [&b"token=\xff\xfe"[..], b"token=%ff%fe", b"comment=%C3%28&decision=approve"] {
        let got = fixture.send(event("POST", &path, "", &[], body)).await;
        assert_eq!(got.status, 400, "{}", got.body);
    }
    for query in ["token=%ff%fe", "%ff=%fe", "token=\u{0}", "&&=&token"] {
        assert_eq!(fixture.get(&path, query).await.status, 404);
    }
    for path in
        ["/approve/%ff", "/approve/../approve", "/approve/", "//", "", "/status/%00", "/hooks/github/%ff"]
    {
        assert!(matches!(fixture.get(path, "").await.status, 404 | 405), "{path}");
    }
    assert_eq!(ledger(&fixture), before);
}

// --- 10. HTML in every field -------------------------------------------------------------------------------------------------

#[tokio::test]
async fn html_in_what_others_wrote_is_text_on_the_page() {
    let fixture = Fixture::new(2).await;
    let evil = r#""><script>alert(1)</script><img src=x onerror=alert(1)>'&"#;
    let provenance = Provenance {
        commit: Some(evil.into()),
        committed_at: None,
        author: Some(evil.into()),
        url: Some(format!("javascript:alert(1)//{evil}")),
    };
    let id = fixture.release(2, provenance).await;
    let comment = fixture.answer(&id, "anna", "approve", "checkout", evil).await;
    assert_eq!(comment.status, 200, "{}", comment.body);
    let pages = [
        fixture.open(&id, "ben").await,
        fixture.answer(&id, "ben", "approve", evil, evil).await,
        fixture.get(&status_path(&comment), &status_query(&comment)).await,
    ];
    assert_eq!(pages.each_ref().map(|page| page.status), [200, 422, 200]);
    for page in &pages {
        assert!(page.body.contains("&lt;script&gt;"), "it is shown: {}", page.body);
        for never in ["<script", "<img", "onerror=alert(1)>'", r#"href="javascript:"#] {
            assert!(!page.body.contains(never), "{never}: {}", page.body);
        }
    }
}

fn status_link(page: &Got) -> String {
    let rest = page.body.split_once(r#"href="/status/"#).unwrap().1;
    format!("/status/{}", rest.split_once('"').unwrap().0)
}

fn status_path(page: &Got) -> String {
    status_link(page).split_once('?').unwrap().0.to_owned()
}

fn status_query(page: &Got) -> String {
    status_link(page).split_once('?').unwrap().1.to_owned()
}

// --- what every page is sent with, and the other routes -------------------------------------------------------------------------

#[tokio::test]
async fn every_page_is_sent_with_headers_that_let_nothing_in() {
    let (fixture, id) = Fixture::waiting(1).await;
    let pages =
        [fixture.open(&id, "anna").await, fixture.get("/approve/x", "").await, fixture.get("/", "").await];
    for page in &pages {
        let header = |name: &str| page.headers[name].as_str().unwrap_or_default().to_owned();
        let csp = header("content-security-policy");
        for part in [
            "default-src 'none'",
            "style-src 'sha256-",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(csp.contains(part), "{csp}");
        }
        assert!(!csp.contains("unsafe"), "{csp}");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("referrer-policy"), "no-referrer");
        assert_eq!(header("x-content-type-options"), "nosniff");
        for fetched in ["<script", "<link", "<img", " src=", "@import", "url("] {
            assert!(!page.body.contains(fetched), "{fetched}");
        }
    }
}

#[tokio::test]
async fn other_methods_are_told_what_is_allowed() {
    let (fixture, id) = Fixture::waiting(1).await;
    for (method, path, allow) in [
        ("PUT", format!("/approve/{id}"), "GET, HEAD, POST"),
        ("POST", format!("/status/{id}"), "GET, HEAD"),
        ("GET", "/hooks/jenkins/checkout".to_owned(), "POST"),
    ] {
        let got = fixture.send(event(method, &path, "", &[], b"")).await;
        assert_eq!((got.status, got.headers["allow"].as_str()), (405, Some(allow)));
    }
    let broken = fixture.send(json!({ "what": "ever" })).await;
    assert_eq!(broken.status, 400);
}

#[tokio::test]
async fn the_status_page_needs_its_signature() {
    let (fixture, id) = Fixture::waiting(1).await;
    let page = fixture.open(&id, "anna").await;
    let status = fixture.get(&status_path(&page), &status_query(&page)).await;
    assert_eq!(status.status, 200);
    assert!(status.body.contains("<svg") && status.body.contains("History"), "{}", status.body);
    let refused = [
        fixture.get(&status_path(&page), "").await,
        fixture.get(&status_path(&page), &format!("sig={}", "0".repeat(64))).await,
        fixture.get(&format!("/status/{}", names::release(99)), &status_query(&page)).await,
    ];
    for got in refused {
        assert_eq!(got.status, 404);
        assert!(!got.body.contains("checkout"), "{}", got.body);
    }
}

// --- with an AWS identity ----------------------------------------------------------------------------------------------------

fn api(id: &str, verb: &str, identity: Option<&str>, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut event = event("POST", &format!("/releases/{id}/{verb}"), "", &[], body.as_bytes());
    if let Some(arn) = identity {
        event["requestContext"]["authorizer"] =
            json!({ "iam": { "userArn": arn, "accountId": "111122223333" } });
    }
    event
}

#[tokio::test]
async fn an_identity_of_the_policys_people_approves_and_no_other() {
    let (fixture, id) = Fixture::waiting(2).await;
    let stranger = "arn:aws:sts::111122223333:assumed-role/engineer/zoe";
    let cases = [
        (api(id.as_str(), "approve", None, &Value::Null), 403),
        (api(id.as_str(), "approve", Some(stranger), &Value::Null), 403),
        (api("nonsense", "approve", Some(ANNA), &Value::Null), 404),
        (api(names::release(99).as_str(), "approve", Some(ANNA), &Value::Null), 404),
        (api(id.as_str(), "approve", Some(ANNA), &json!({ "plan": "another" })), 409),
        (api(id.as_str(), "approve", Some(ANNA), &json!({ "what": 1 })), 400),
        (api(id.as_str(), "approve", Some(ANNA), &json!({ "comment": "fine" })), 200),
        (api(id.as_str(), "reject", Some(ANNA), &Value::Null), 409),
    ];
    for (event, status) in cases {
        let got = through(&fixture.api, event.clone()).await;
        assert_eq!(got.status, status, "{event}: {}", got.body);
    }
    assert_eq!(given(&fixture, &id), [("anna".to_owned(), true)]);
    let entry = fixture
        .history(&id)
        .into_iter()
        .rev()
        .find(|entry| entry.event.to_string() == "approved by anna")
        .unwrap();
    assert_eq!(
        (entry.event.why().as_str(), entry.details()[0].as_str()),
        ("fine", format!("through {ANNA}").as_str())
    );
}

#[tokio::test]
async fn whoever_made_it_does_not_approve_it() {
    let fixture = Fixture::new(1).await;
    let id = fixture.release(2, Provenance { author: Some("anna".into()), ..Provenance::default() }).await;
    let got = through(&fixture.api, api(id.as_str(), "approve", Some(ANNA), &Value::Null)).await;
    assert_eq!(got.status, 403, "{}", got.body);
    assert_eq!(given(&fixture, &id), []);
    assert_eq!(fixture.answer(&id, "ben", "approve", "checkout", "").await.status, 200);
}

#[tokio::test]
async fn each_door_serves_its_own_routes() {
    let (fixture, id) = Fixture::waiting(1).await;
    let at_public = fixture.send(api(id.as_str(), "approve", Some(ANNA), &Value::Null)).await;
    let (path, token) = fixture.link(&id, "anna");
    let at_api = through(&fixture.api, event("GET", &path, &format!("token={token}"), &[], b"")).await;
    assert_eq!((at_public.status, at_api.status), (404, 404));
    let form = filled(&fixture.open(&id, "anna").await.body, "approve", "checkout", "");
    assert_eq!(through(&fixture.api, form_event(&path, &form)).await.status, 404);
    assert_eq!(given(&fixture, &id), []);
}
