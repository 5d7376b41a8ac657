//! The dashboard: who gets a link, what it opens, and that it does nothing else.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

#[expect(dead_code, reason = "the other test files use the rest of it")]
mod common;

use common::{ANNA, Fixture, Got, LINK_KEY, PUBLIC, event, provenance, through};
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
    let provenance =
        Provenance { commit: Some(evil.into()), author: Some(evil.into()), url: Some(evil.into()) };
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
