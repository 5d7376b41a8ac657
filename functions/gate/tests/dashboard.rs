//! The dashboard: who gets a link, what it opens, and that it does nothing else.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod common;

use common::{ANNA, Fixture, Got, LINK_KEY, PUBLIC, event, filled, form_event, provenance, through, with};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tidegate_core::ids::ReleaseId;
use tidegate_core::intent::Provenance;
use tidegate_testkit::fakes::{Quality, Row};
use tidegate_testkit::names;

const ZOE: &str = "arn:aws:sts::111122223333:assumed-role/reader/zoe";

/// A service with a release under way, and another service beside it.
async fn two_services() -> (Fixture, ReleaseId) {
    let (fixture, id) = Fixture::waiting(1).await;
    fixture.copy("search", |_| {}).await;
    (fixture, id)
}

/// A release that its alarm rolled back.
async fn rolled_back() -> (Fixture, ReleaseId) {
    let fixture = Fixture::new(1).await;
    fixture.push_of(2, Quality::Bad { from_percent: 10, alarm_after_secs: 6 });
    let id = fixture.release(2, provenance()).await;
    assert_eq!(fixture.answer(&id, "anna", "approve", "checkout", "").await.status, 200);
    fixture.drive_until(&id, |_| false).await;
    assert_eq!(fixture.stored(&id).summary(), "rolled back");
    (fixture, id)
}

fn key(link: &str) -> String {
    link.split_once("key=").unwrap().1.to_owned()
}

fn ledger(fixture: &Fixture) -> String {
    let state = fixture.universe.state();
    let releases: Vec<_> =
        state.rows.releases().map(|release| (release, state.rows.history(&release.id))).collect();
    format!("{releases:?} {:?}", state.rows.head(&names::service()))
}

// --- who gets a link, and what for ------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_link_is_made_for_whom_aws_has_checked_and_leads_to_the_public_door() {
    let (fixture, id) = two_services().await;
    let got = fixture.ask_link(ZOE, &json!({})).await;
    let given: Value = serde_json::from_str(&got.body).unwrap();
    assert_eq!((got.status, &given["may"], &given["by"]), (200, &json!("look"), &json!(ZOE)));
    let url = given["url"].as_str().unwrap();
    assert!(url.starts_with(&format!("{PUBLIC}services?key=look.")), "{url}");
    assert!(!got.body.contains(LINK_KEY));
    for (body, path) in [
        (json!({ "service": "search" }), "/services/search?".to_owned()),
        (json!({ "release": id }), format!("/releases/{id}?")),
        (json!({ "release": id, "secs": 60 }), format!("/releases/{id}?")),
    ] {
        let link = fixture.dashboard(ZOE, &body).await;
        assert!(link.starts_with(&path), "{link}");
    }
}

#[tokio::test]
async fn a_link_that_cannot_be_made_says_why() {
    let (fixture, id) = two_services().await;
    for (body, status, said) in [
        (json!({ "service": "nothing" }), 404, "there is no service nothing"),
        (json!({ "release": names::release(99) }), 404, "there is no release"),
        (json!({ "service": "search", "release": id }), 404, "name one of them"),
        (json!({ "service": "no/service" }), 400, "service name"),
        (json!({ "what": 1 }), 400, "the body has to be"),
        (json!({ "secs": 0 }), 422, "1 second to 168 hours"),
        (json!({ "secs": 8 * 24 * 3600 }), 422, "1 second to 168 hours"),
        (json!({ "secs": u64::MAX }), 422, "1 second to 168 hours"),
    ] {
        let got = fixture.ask_link(ANNA, &body).await;
        assert_eq!(got.status, status, "{body}: {}", got.body);
        assert!(got.body.contains(said), "{body}: {}", got.body);
    }
}

#[tokio::test]
async fn nobody_without_an_identity_gets_a_link_and_the_public_door_makes_none() {
    let (fixture, _) = two_services().await;
    let bare = event("POST", "/links", "", &[], b"{}");
    let mut claimed = bare.clone();
    claimed["requestContext"]["authorizer"] = json!({ "iam": { "userArn": ANNA } });
    assert_eq!(through(&fixture.api, bare.clone()).await.status, 403);
    assert_eq!(fixture.send(bare).await.status, 404);
    assert_eq!(
        fixture.send(claimed).await.status,
        404,
        "what an event claims at the public door is believed nowhere"
    );
    assert_eq!(through(&fixture.api, event("GET", "/links", "", &[], b"")).await.status, 405);
    let link = fixture.dashboard(ZOE, &json!({})).await;
    let (path, query) = link.split_once('?').unwrap();
    assert_eq!(through(&fixture.api, event("GET", path, query, &[], b"")).await.status, 404);
}

// --- what a link opens --------------------------------------------------------------------------------------------------------

async fn statuses(fixture: &Fixture, key: &str, id: &ReleaseId) -> [u64; 4] {
    let mut found = [0; 4];
    let paths = [
        "/services".to_owned(),
        "/services/checkout".into(),
        "/services/search".into(),
        format!("/releases/{id}"),
    ];
    for (status, path) in found.iter_mut().zip(paths) {
        *status = fixture.get(&path, &format!("key={key}")).await.status;
    }
    found
}

#[tokio::test]
async fn a_link_opens_what_it_was_made_for_and_nothing_else() {
    let (fixture, id) = two_services().await;
    for (body, opens) in [
        (json!({}), [200, 200, 200, 200]),
        (json!({ "service": "checkout" }), [403, 200, 403, 200]),
        (json!({ "service": "search" }), [403, 403, 200, 403]),
        (json!({ "release": id }), [403, 403, 403, 200]),
    ] {
        let link = fixture.dashboard(ZOE, &body).await;
        assert_eq!(statuses(&fixture, &key(&link), &id).await, opens, "{body}");
        let page = fixture.follow(&link).await;
        assert_eq!(page.status, 200);
        // Whatever a page links to, its own link opens.
        for there in page.body.split("href=\"/").skip(1).map(|rest| rest.split_once('"').unwrap().0) {
            let got = fixture.follow(&format!("/{there}")).await;
            assert_eq!(got.status, 200, "{body}: /{there}");
        }
    }
}

#[tokio::test]
async fn a_link_to_a_release_opens_no_other_one_of_the_same_service() {
    let (fixture, id) = two_services().await;
    let other = fixture.release(3, provenance()).await;
    for act in [false, true] {
        let link = fixture.dashboard(ANNA, &json!({ "release": id, "act": act })).await;
        let query = format!("key={}", key(&link));
        assert_eq!(fixture.get(&format!("/releases/{id}"), &query).await.status, 200);
        for path in ["", "/cancel"] {
            let got = fixture.get(&format!("/releases/{other}{path}"), &query).await;
            assert_eq!((got.status, got.body.contains("main-3")), (403, false), "{path}: {}", got.body);
        }
    }
}

#[tokio::test]
async fn what_a_link_does_not_open_looks_the_same_whether_or_not_it_exists() {
    let (fixture, id) = two_services().await;
    let link = fixture.dashboard(ZOE, &json!({ "service": "search" })).await;
    let query = format!("key={}", key(&link));
    let there = fixture.get(&format!("/releases/{id}"), &query).await;
    let nowhere = fixture.get(&format!("/releases/{}", names::release(99)), &query).await;
    assert_eq!((there.status, there.body), (nowhere.status, nowhere.body));
    let there = fixture.get("/services/checkout", &query).await;
    let nowhere = fixture.get("/services/nothing", &query).await;
    assert_eq!((there.status, there.body), (nowhere.status, nowhere.body));
}

#[tokio::test]
async fn an_expired_link_says_so_and_how_another_one_is_had() {
    let (fixture, id) = two_services().await;
    let usual = fixture.dashboard(ZOE, &json!({ "service": "checkout" })).await;
    let short = fixture.dashboard(ZOE, &json!({ "release": id, "secs": 60 })).await;
    fixture.pass(SignedDuration::from_secs(61));
    let got = fixture.follow(&short).await;
    assert_eq!(got.status, 410);
    assert!(
        got.body.contains("This link has expired") && got.body.contains(&format!("tidegate open {id}")),
        "{}",
        got.body
    );
    assert!(!got.body.contains("main-2"), "{}", got.body);
    assert_eq!(fixture.follow(&usual).await.status, 200);
    fixture.pass(SignedDuration::from_hours(12));
    let got = fixture.follow(&usual).await;
    assert_eq!((got.status, got.body.contains("tidegate open checkout")), (410, true), "{}", got.body);
}

#[tokio::test]
async fn a_changed_link_and_proofs_of_other_purposes_open_nothing() {
    let (fixture, id) = two_services().await;
    let link = fixture.dashboard(ZOE, &json!({})).await;
    let own = key(&link);
    let approval = fixture.open(&id, "anna").await;
    let status = approval.body.split_once("?sig=").unwrap().1.split_once('"').unwrap().0.to_owned();
    let (_, token) = fixture.link(&id, "anna");
    let last = own.chars().last().unwrap();
    let changed = format!("{}{}", &own[..own.len() - 1], if last == '0' { '1' } else { '0' });
    let as_acting = own.replacen("look", "act", 1);
    let cut = own.rsplit_once('.').unwrap().0;
    for wrong in
        [changed.as_str(), &as_acting, cut, &status, &token, &format!("{cut}.{status}"), "", "look.."]
    {
        assert_eq!(statuses(&fixture, wrong, &id).await, [404; 4], "{wrong}");
    }
    // Nor does a link to the dashboard pass for anything else.
    let signature = own.rsplit_once('.').unwrap().1;
    for (path, query) in [
        (format!("/status/{id}"), format!("sig={own}")),
        (format!("/status/{id}"), format!("sig={signature}")),
        (format!("/approve/{id}"), format!("token={signature}")),
    ] {
        assert_eq!(fixture.get(&path, &query).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn looking_writes_nothing_whatever_the_method() {
    let (fixture, id) = two_services().await;
    let link = fixture.dashboard(ZOE, &json!({})).await;
    let (query, before) = (format!("key={}", key(&link)), ledger(&fixture));
    for path in ["/services".to_owned(), "/services/checkout".into(), format!("/releases/{id}")] {
        for (method, status) in [("GET", 200), ("HEAD", 200), ("POST", 405), ("PUT", 405), ("DELETE", 405)] {
            let got = fixture.send(event(method, &path, &query, &[], b"")).await;
            assert_eq!(got.status, status, "{method} {path}");
        }
    }
    assert_eq!(ledger(&fixture), before);
}

// --- who acts -------------------------------------------------------------------------------------------------------------------

/// What the page that asks sends when its button is pressed.
fn pressed(page: &Got, typed: &str, reason: &str) -> Vec<(String, String)> {
    let hidden = |name: &str| {
        let start = format!(r#"name="{name}" value=""#);
        let rest =
            page.body.split_once(&start).unwrap_or_else(|| panic!("no field {name} in {}", page.body)).1;
        rest.split_once('"').unwrap().0.to_owned()
    };
    let fields = [("key", hidden("key")), ("csrf", hidden("csrf")), ("shown", hidden("shown"))];
    let typed = [("service", typed.to_owned()), ("reason", reason.to_owned())];
    fields.into_iter().chain(typed).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Opens the page that asks, and presses.
async fn act(fixture: &Fixture, key: &str, path: &str, typed: &str, reason: &str) -> Got {
    let page = fixture.get(path, &format!("key={key}")).await;
    assert_eq!(page.status, 200, "{path}: {}", page.body);
    fixture.send(form_event(path, &pressed(&page, typed, reason))).await
}

async fn acting(fixture: &Fixture, body: Value) -> String {
    let mut body = body;
    body["act"] = true.into();
    key(&fixture.dashboard(ANNA, &body).await)
}

fn told(fixture: &Fixture, id: &ReleaseId) -> Vec<String> {
    fixture
        .history(id)
        .iter()
        .map(|entry| format!("{}: {} ({})", entry.actor, entry.event, entry.event.why()))
        .collect()
}

#[tokio::test]
async fn a_link_that_acts_is_for_people_of_the_policy_and_for_one_place() {
    let (fixture, id) = two_services().await;
    for (arn, body, status, said) in [
        (ZOE, json!({ "act": true, "release": id }), 403, "none of the people"),
        (ZOE, json!({ "act": true, "service": "checkout" }), 403, "none of the people"),
        (ANNA, json!({ "act": true }), 422, "one service or one release"),
        (ANNA, json!({ "act": true, "release": id, "secs": 9 * 3600 }), 422, "1 second to 8 hours"),
        (ANNA, json!({ "act": true, "release": id }), 200, "releases/"),
        (ANNA, json!({ "act": true, "service": "checkout" }), 200, "services/checkout"),
    ] {
        let got = fixture.ask_link(arn, &body).await;
        assert_eq!(got.status, status, "{arn} {body}: {}", got.body);
        assert!(got.body.contains(said), "{arn} {body}: {}", got.body);
    }
}

#[tokio::test]
async fn each_action_is_done_once_it_is_confirmed_and_in_the_persons_name() {
    let (fixture, id) = two_services().await;
    let key = acting(&fixture, json!({ "release": id })).await;
    let page = fixture.get(&format!("/releases/{id}"), &format!("key={key}")).await;
    for label in ["Approve…", "Reject…", "Cancel…", "Roll back…", "Pause…"] {
        assert!(page.body.contains(label), "{label}: {}", page.body);
    }
    assert!(!page.body.contains("Continue…"), "it is not paused: {}", page.body);
    let done = act(&fixture, &key, &format!("/releases/{id}/approve"), "checkout", "tested").await;
    assert_eq!(done.status, 200, "{}", done.body);
    assert!(
        told(&fixture, &id).contains(&"anna: approved by anna (tested)".to_owned()),
        "{:?}",
        told(&fixture, &id)
    );
    let bakes = |release: &tidegate_core::release::Release| release.summary().starts_with("bake at 10%");
    fixture.drive_until(&id, bakes).await;
    for (verb, said) in [
        ("pause", "paused"),
        ("continue", "continued"),
        ("promote", "asked to promote now"),
        ("pause", "paused"),
        ("rollback", "asked to roll back"),
    ] {
        let before = fixture.history(&id).len();
        let done = act(&fixture, &key, &format!("/releases/{id}/{verb}"), "checkout", "because").await;
        assert_eq!(done.status, 200, "{verb}: {}", done.body);
        let told = told(&fixture, &id);
        let last = &told[before];
        assert!(last.starts_with(&format!("{ANNA}: ")) && last.contains("because"), "{verb} {said}: {last}");
    }
    fixture.drive_until(&id, |_| false).await;
    assert_eq!(fixture.stored(&id).summary(), "rolled back");
    let late = act_page(&fixture, &key, &format!("/releases/{id}/cancel")).await;
    let sent =
        fixture.send(form_event(&format!("/releases/{id}/cancel"), &pressed(&late, "checkout", ""))).await;
    assert_eq!(sent.status, 409, "{}", sent.body);
}

async fn act_page(fixture: &Fixture, key: &str, path: &str) -> Got {
    fixture.get(path, &format!("key={key}")).await
}

#[tokio::test]
async fn a_release_is_rejected_and_another_one_cancelled() {
    for (verb, summary) in [("reject", "cancelled"), ("cancel", "cancelled")] {
        let (fixture, id) = two_services().await;
        let key = acting(&fixture, json!({ "service": "checkout" })).await;
        let done = act(&fixture, &key, &format!("/releases/{id}/{verb}"), "checkout", "").await;
        assert_eq!(done.status, 200, "{}", done.body);
        fixture.drive_until(&id, |_| false).await;
        assert_eq!(fixture.stored(&id).summary(), summary, "{verb}");
    }
}

/// A service with builds 2 and 3 promoted one after the other, and a link that acts on it.
async fn promoted_twice() -> (Fixture, String) {
    let fixture = Fixture::new(1).await;
    for build in [2, 3] {
        let id = fixture.release(build, provenance()).await;
        fixture.answer(&id, "anna", "approve", "checkout", "").await;
        fixture.drive_until(&id, |_| false).await;
    }
    let key = acting(&fixture, json!({ "service": "checkout" })).await;
    (fixture, key)
}

#[tokio::test]
async fn a_service_goes_back_to_what_was_promoted_before_as_it_was_shown_or_not_at_all() {
    let (fixture, key) = promoted_twice().await;
    let path = "/services/checkout/rollback";
    let page = act_page(&fixture, &key, path).await;
    assert!(page.body.contains("Roll checkout back from main-3 to main-2?"), "{}", page.body);
    let form = pressed(&page, "checkout", "customers complain");
    // A release that waits now would be superseded: that was not shown.
    let other = fixture.release(4, provenance()).await;
    let got = fixture.send(form_event(path, &form)).await;
    assert_eq!(got.status, 409, "{}", got.body);
    fixture.answer(&other, "anna", "reject", "checkout", "").await;
    fixture.drive_until(&other, |_| false).await;
    // Nothing is gone back from by accident: what ended last was not this version.
    assert_eq!(act_page(&fixture, &key, path).await.status, 409);
}

#[tokio::test]
async fn a_service_goes_back_in_the_persons_name_and_once() {
    let (fixture, key) = promoted_twice().await;
    let path = "/services/checkout/rollback";
    let service = fixture.get("/services/checkout", &format!("key={key}")).await;
    assert!(service.body.contains("Roll back…"), "{}", service.body);
    let form = pressed(&act_page(&fixture, &key, path).await, "checkout", "customers complain");
    let before = fixture.releases().len();
    let done = fixture.send(form_event(path, &form)).await;
    assert_eq!((done.status, fixture.releases().len()), (200, before + 1), "{}", done.body);
    let made = fixture.releases().into_iter().last().unwrap();
    assert_eq!((made.requested_by.to_string().as_str(), made.change.label().as_str()), (ANNA, "main-2"));
    assert_eq!(fixture.send(form_event(path, &form)).await.status, 409, "sent again");
    assert_eq!(fixture.releases().len(), before + 1);
}

#[tokio::test]
async fn what_only_reads_never_acts() {
    let (fixture, id) = two_services().await;
    let look = key(&fixture.dashboard(ANNA, &json!({ "release": id })).await);
    let acts = acting(&fixture, json!({ "release": id })).await;
    let before = ledger(&fixture);
    let page = fixture.get(&format!("/releases/{id}"), &format!("key={look}")).await;
    assert!(
        !page.body.contains("Cancel…") && page.body.contains(&format!("tidegate open {id} --act")),
        "{}",
        page.body
    );
    for verb in ["approve", "reject", "rollback", "cancel", "pause", "continue", "promote"] {
        let path = format!("/releases/{id}/{verb}");
        assert_eq!(fixture.get(&path, &format!("key={look}")).await.status, 403, "{verb}");
        // The form of a page that acts, with the pass of one that reads, and with one made to look as if it acted.
        let form = pressed(&act_page(&fixture, &acts, &path).await, "checkout", "");
        for (wrong, status) in
            [(look.clone(), 403), (look.replacen("look", "act", 1), 404), (String::new(), 404)]
        {
            let got = fixture.send(form_event(&path, &with(form.clone(), "key", &wrong))).await;
            assert_eq!(got.status, status, "{verb}: {}", got.body);
        }
        // A pass in the address of a POST is no pass.
        let bare = with(form.clone(), "key", "");
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&bare).finish();
        let got = fixture.send(event("POST", &path, &format!("key={acts}"), &[], body.as_bytes())).await;
        assert_eq!(got.status, 404, "{verb}");
    }
    assert_eq!(ledger(&fixture), before);
}

#[tokio::test]
async fn a_form_that_is_not_this_ones_or_was_not_confirmed_does_nothing() {
    let (fixture, id) = two_services().await;
    let acts = acting(&fixture, json!({ "release": id })).await;
    let later = {
        fixture.pass(SignedDuration::from_secs(1));
        acting(&fixture, json!({ "release": id })).await
    };
    assert_ne!(acts, later);
    let path = format!("/releases/{id}/cancel");
    let form = pressed(&act_page(&fixture, &acts, &path).await, "checkout", "");
    let other_verb =
        pressed(&act_page(&fixture, &acts, &format!("/releases/{id}/pause")).await, "checkout", "");
    let csrf = |form: &[(String, String)]| form.iter().find(|(name, _)| name == "csrf").unwrap().1.clone();
    let before = ledger(&fixture);
    for (wrong, status, why) in [
        (with(form.clone(), "csrf", ""), 403, "no proof"),
        (with(form.clone(), "csrf", &csrf(&other_verb)), 403, "the proof of another action"),
        (with(form.clone(), "key", &later), 403, "the proof of another pass"),
        (with(form.clone(), "shown", "another plan"), 403, "another plan than the proof is for"),
        (with(form.clone(), "service", ""), 422, "no name"),
        (with(form.clone(), "service", "search"), 422, "another name"),
        (with(form.clone(), "reason", &"x".repeat(1001)), 422, "too long a reason"),
    ] {
        let got = fixture.send(form_event(&path, &wrong)).await;
        assert_eq!(got.status, status, "{why}: {}", got.body);
    }
    let approval = fixture.open(&id, "anna").await;
    let token_form = filled(&approval.body, "approve", "checkout", "");
    assert_eq!(fixture.send(form_event(&path, &token_form)).await.status, 404, "an approver's form");
    assert_eq!(ledger(&fixture), before);
    assert_eq!(fixture.send(form_event(&path, &form)).await.status, 200);
    assert_eq!(fixture.send(form_event(&path, &form)).await.status, 409, "sent again");
}

#[tokio::test]
async fn a_plan_that_has_changed_is_not_acted_on() {
    let (fixture, id) = two_services().await;
    let acts = acting(&fixture, json!({ "release": id })).await;
    for verb in ["approve", "cancel", "rollback"] {
        let path = format!("/releases/{id}/{verb}");
        let form = pressed(&act_page(&fixture, &acts, &path).await, "checkout", "");
        let before = fixture.history(&id).len();
        fixture.replan(&id);
        let got = fixture.send(form_event(&path, &form)).await;
        assert_eq!(got.status, 409, "{verb}: {}", got.body);
        assert!(got.body.contains("not what would be done now"), "{}", got.body);
        assert_eq!(fixture.history(&id).len(), before, "{verb}");
    }
}

#[tokio::test]
async fn whom_the_policy_no_longer_knows_does_nothing_with_a_link_of_before() {
    let (fixture, id) = two_services().await;
    let acts = acting(&fixture, json!({ "service": "checkout" })).await;
    let path = format!("/releases/{id}/cancel");
    let form = pressed(&act_page(&fixture, &acts, &path).await, "checkout", "");
    let policy = common::POLICY
        .replace("COUNT", "1")
        .replace(r#", aws: ["arn:aws:sts::111122223333:assumed-role/engineer/anna"]"#, "");
    fixture.apply(&policy).await;
    let before = ledger(&fixture);
    assert_eq!(fixture.get(&path, &format!("key={acts}")).await.status, 403);
    let got = fixture.send(form_event(&path, &form)).await;
    assert_eq!((got.status, got.body.contains("none of the people")), (403, true), "{}", got.body);
    assert_eq!(fixture.get("/services/checkout/rollback", &format!("key={acts}")).await.status, 403);
    assert_eq!(ledger(&fixture), before);
}

#[tokio::test]
async fn a_link_that_acts_does_so_in_its_own_place_and_time_only() {
    let (fixture, id) = two_services().await;
    fixture.copy("billing", |_| {}).await;
    let other = acting(&fixture, json!({ "service": "billing" })).await;
    let before = ledger(&fixture);
    let acts = acting(&fixture, json!({ "release": id })).await;
    let path = format!("/releases/{id}/cancel");
    let form = pressed(&act_page(&fixture, &acts, &path).await, "checkout", "");
    assert_eq!(fixture.get(&path, &format!("key={other}")).await.status, 403);
    assert_eq!(fixture.send(form_event(&path, &with(form.clone(), "key", &other))).await.status, 403);
    assert_eq!(
        fixture.get("/services/checkout/rollback", &format!("key={acts}")).await.status,
        403,
        "a release's link"
    );
    fixture.pass(SignedDuration::from_hours(1));
    assert_eq!(fixture.send(form_event(&path, &form)).await.status, 410);
    assert_eq!(ledger(&fixture), before);
}

#[tokio::test]
async fn nobody_approves_what_they_made_from_the_dashboard_either() {
    let fixture = Fixture::new(1).await;
    let id = fixture.release(2, Provenance { author: Some("anna".into()), ..Provenance::default() }).await;
    let acts = acting(&fixture, json!({ "release": id })).await;
    let page = fixture.get(&format!("/releases/{id}"), &format!("key={acts}")).await;
    assert!(!page.body.contains("Approve…") && page.body.contains("Cancel…"), "{}", page.body);
    let got = act(&fixture, &acts, &format!("/releases/{id}/approve"), "checkout", "").await;
    assert_eq!((got.status, got.body.contains("asked for this release")), (403, true), "{}", got.body);
}

#[tokio::test]
async fn the_first_line_says_it_all() {
    let (fixture, id) = two_services().await;
    let link = fixture.dashboard(ZOE, &json!({ "release": id })).await;
    let line = async |fixture: &Fixture| {
        let page = fixture.follow(&link).await;
        page.body.split_once(r#"<p class="headline">"#).unwrap().1.split_once("</p>").unwrap().0.to_owned()
    };
    assert_eq!(line(&fixture).await, "Waits for an approval by anna, ben: 4h left. Users are on checkout:1.");
    fixture.answer(&id, "anna", "approve", "checkout", "").await;
    fixture.drive_until(&id, |release| release.summary().starts_with("bake at 10%")).await;
    assert_eq!(
        line(&fixture).await,
        "Bakes at 10%: 5m left. 10% of users are on main-2, the others on checkout:1."
    );
    fixture.drive_until(&id, |_| false).await;
    let promoted = line(&fixture).await;
    assert!(promoted.starts_with("Promoted at ") && promoted.ends_with("Users are on main-2."), "{promoted}");
    let (fixture, id) = rolled_back().await;
    let link = fixture.dashboard(ZOE, &json!({ "release": id })).await;
    let page = fixture.follow(&link).await;
    assert!(
        page.body.contains("Rolled back at ")
            && page.body.contains(" after reaching 10%. Users are on checkout:1."),
        "{}",
        page.body
    );
}

// --- what the pages say ---------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_damaged_row_is_shown_as_such_and_hides_no_other() {
    let (fixture, id) = two_services().await;
    let all = fixture.dashboard(ZOE, &json!({})).await;
    let damage = |row| fixture.universe.state().rows.damage(row, "CorruptRow");
    damage(Row::Release(id.clone()));
    let page = fixture.follow(&all).await;
    let told = |page: &Got, parts: &[&str]| {
        assert_eq!(page.status, 200);
        for part in parts {
            assert!(page.body.contains(part), "{part}: {}", page.body);
        }
    };
    told(&page, &["Not everything could be read", id.as_str(), ">checkout</a>", ">search</a>"]);
    let query = format!("key={}", key(&all));
    told(
        &fixture.get("/services/checkout", &query).await,
        &["Not everything could be read", id.as_str(), "Policy"],
    );
    let gone = fixture.get(&format!("/releases/{id}"), &query).await;
    assert_eq!((gone.status, gone.body.contains("cannot be read")), (500, true), "{}", gone.body);

    damage(Row::Service(names::service()));
    told(
        &fixture.follow(&all).await,
        &["Not everything could be read", "service checkout", ">search</a>", "2 services"],
    );
    let gone = fixture.get("/services/checkout", &query).await;
    assert_eq!((gone.status, gone.body.contains("cannot be read")), (500, true), "{}", gone.body);
    told(&fixture.get("/services/search", &query).await, &["Policy"]);
}

#[tokio::test]
async fn pages_fetch_and_run_nothing_and_refresh_until_they_are_stopped() {
    let (fixture, id) = two_services().await;
    let link = fixture.dashboard(ZOE, &json!({})).await;
    let query = format!("key={}", key(&link));
    for path in ["/services", "/services/checkout"] {
        let page = fixture.get(path, &query).await;
        for never in
            ["<script", "<link", "<img", " src=", "@import", "url(", "http-equiv=\"refresh\" content=\"0"]
        {
            assert!(!page.body.contains(never), "{path} {never}");
        }
        assert!(page.body.contains(r#"http-equiv="refresh" content="10""#), "{path}");
        let csp = page.headers["content-security-policy"].as_str().unwrap();
        assert!(csp.contains("default-src 'none'") && !csp.contains("unsafe"), "{csp}");
        assert_eq!(page.headers["referrer-policy"], "no-referrer");
        assert_eq!(page.headers["cache-control"], "no-store");
        let still = fixture.get(path, &format!("{query}&still=1")).await;
        assert!(!still.body.contains("http-equiv") && still.body.contains("Refresh by itself"), "{path}");
    }
    let quiet = fixture.get("/services/search", &query).await;
    assert!(quiet.body.contains(r#"http-equiv="refresh" content="60""#), "nothing is under way");
    let _ = id;
}

#[tokio::test]
async fn what_others_wrote_is_text() {
    let fixture = Fixture::new(1).await;
    let evil = r#""><script>alert(1)</script>"#;
    let provenance = Provenance {
        commit: Some(evil.into()),
        committed_at: None,
        author: Some(evil.into()),
        url: Some(evil.into()),
    };
    let id = fixture.release(2, provenance).await;
    fixture.answer(&id, "anna", "reject", "checkout", evil).await;
    fixture.drive(&id).await;
    let link = fixture.dashboard(ZOE, &json!({})).await;
    for path in ["/services".to_owned(), "/services/checkout".into(), format!("/releases/{id}")] {
        let page = fixture.get(&path, &format!("key={}", key(&link))).await;
        assert_eq!(page.status, 200);
        assert!(
            !page.body.contains("<script") && page.body.contains("&lt;script&gt;"),
            "{path}: {}",
            page.body
        );
    }
}

#[tokio::test]
async fn many_services_stand_on_several_pages() {
    let fixture = Fixture::new(1).await;
    for number in 0..130 {
        fixture.copy(&format!("service-{number:03}"), |_| {}).await;
    }
    let mut link = fixture.dashboard(ZOE, &json!({})).await;
    let mut seen = Vec::new();
    for _ in 0..5 {
        let page = fixture.follow(&link).await;
        assert!(page.body.contains("131 services"), "{}", page.body);
        let cards = page.body.split(r#"aria-labelledby="service-"#).skip(1);
        seen.extend(cards.map(|rest| rest.split_once('"').unwrap().0.to_owned()));
        let Some((before, _)) = page.body.split_once("\">The services that follow") else { break };
        before.rsplit_once("href=\"").unwrap().1.clone_into(&mut link);
    }
    assert_eq!(seen.len(), 131);
    assert!(seen.is_sorted());
}

#[tokio::test]
async fn the_pages_in_words() {
    let (fixture, id) = rolled_back().await;
    fixture.copy("search", |head| head.promoted.clear()).await;
    let link = fixture.dashboard(ZOE, &json!({})).await;
    let query = format!("key={}", key(&link));
    for (path, parts) in [
        (
            "/services",
            vec![
                "2 services",
                "Last:",
                "rolled back",
                "1 image quarantined",
                "alarm checkout-5xx went off",
                "Nothing was promoted here yet",
            ],
        ),
        (
            "/services/checkout",
            vec![
                "No release is under way",
                "Before anything is changed",
                "1 of anna, ben",
                "checkout-5xx",
                "Quarantine",
                "policy stored",
                "shop/checkout",
                "change failure rate",
                "1 of 1 deployed changes failed",
                "from the breach until traffic was back; 1 rollback",
                "waiting for approval",
            ],
        ),
    ] {
        let page = fixture.get(path, &query).await;
        for part in parts {
            assert!(page.body.contains(part), "{path}: {part}: {}", page.body);
        }
        assert!(!page.body.contains("Some("), "{path}");
    }
    let _ = id;
}
