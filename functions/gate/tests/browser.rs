//! The pages in a real, headless Chromium: seen, answered, replayed, too late, prefetched; by keyboard, on a phone, in the dark.
//!
//! Needs Debian's `chromium` and `chromium-driver`. Where they are missing the test says so and passes, except in CI (`CI=true`).
//! `TIDEGATE_SCREENSHOTS=1` writes the main states to `docs/screenshots/`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

#[expect(dead_code, reason = "the other test files use the rest of it")]
mod common;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use common::{Fixture, event, provenance};
use jiff::SignedDuration;
use serde_json::{Value, json};
use thirtyfour::prelude::*;
use tidegate_core::ids::ReleaseId;

const MISSING: &str = "no Chromium: install Debian's packages chromium and chromium-driver";

const SHOWN_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// chromedriver; ended with the test.
struct Driver {
    process: Child,
    url: String,
}

impl Driver {
    /// `None` when it is not installed.
    fn start() -> Option<Self> {
        let spawned =
            Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut process = spawned.ok()?;
        let lines = BufReader::new(process.stdout.take()?).lines();
        let port = lines.map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        })?;
        Some(Self { process, url: format!("http://127.0.0.1:{port}") })
    }
}

impl Drop for Driver {
    /// Asked to end, chromedriver ends the browser with it; killed, it would leave it behind.
    fn drop(&mut self) {
        let asked = Command::new("kill").arg(self.process.id().to_string()).status();
        let deadline = Instant::now() + SHOWN_WITHIN;
        while asked.is_ok() && Instant::now() < deadline {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(POLL);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path).flat_map(|dir| names.map(|name| dir.join(name))).find(|file| file.is_file())
}

/// The gate behind an address a browser can open, as a Function URL would be.
struct Site {
    fixture: Arc<Fixture>,
    address: String,
}

impl Site {
    async fn open(fixture: Fixture) -> Self {
        let fixture = Arc::new(fixture);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let app = axum::Router::new().fallback(answer).with_state(fixture.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { fixture, address }
    }

    fn link(&self, id: &ReleaseId, approver: &str) -> String {
        let (path, token) = self.fixture.link(id, approver);
        format!("{}{path}?token={token}", self.address)
    }
}

async fn answer(
    State(fixture): State<Arc<Fixture>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let headers: Vec<(&str, &str)> =
        headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect();
    let event = event(method.as_str(), uri.path(), uri.query().unwrap_or_default(), &headers, &body);
    let got = fixture.send(event).await;
    let status = StatusCode::from_u16(u16::try_from(got.status).unwrap()).unwrap();
    let mut response = (status, got.body).into_response();
    for (name, value) in got.headers.as_object().unwrap() {
        let name: axum::http::HeaderName = name.parse().unwrap();
        response.headers_mut().insert(name, value.as_str().unwrap().parse().unwrap());
    }
    response
}

/// A browser with an empty profile.
struct Browser {
    driver: WebDriver,
    _profile: tempfile::TempDir,
}

impl Browser {
    async fn open(server: &Driver, chromium: &Path) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut capabilities = DesiredCapabilities::chrome();
        capabilities.set_binary(chromium.to_str().unwrap()).unwrap();
        let profile_arg = format!("--user-data-dir={}", profile.path().display());
        for arg in [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1000,900",
            &profile_arg,
        ] {
            capabilities.add_arg(arg).unwrap();
        }
        Self { driver: WebDriver::new(&server.url, capabilities).await.unwrap(), _profile: profile }
    }

    async fn tell(&self, command: &str, parameters: Value) -> Value {
        self.driver.cdp().send_raw(command, parameters).await.unwrap()
    }

    /// Waits until the page says all of this. A click is answered before the page it leads to is there.
    async fn shows(&self, expected: &[&str]) -> String {
        let deadline = Instant::now() + SHOWN_WITHIN;
        loop {
            // The body may be that of the page that is just being left.
            let text = match self.driver.find(By::Tag("body")).await {
                Ok(body) => body.text().await.unwrap_or_default(),
                Err(_) => String::new(),
            };
            if expected.iter().all(|part| text.contains(part)) {
                return text;
            }
            assert!(Instant::now() < deadline, "{expected:?} is not shown, but: {text}");
            tokio::time::sleep(POLL).await;
        }
    }

    async fn script(&self, script: &str) -> Value {
        self.driver.execute(script, vec![]).await.unwrap().json().clone()
    }

    async fn decide(&self, typed: &str, comment: &str, button: &str) {
        for (field, text) in [("service", typed), ("comment", comment)] {
            let field = self.driver.find(By::Id(field)).await.unwrap();
            field.clear().await.unwrap();
            field.send_keys(text).await.unwrap();
        }
        let button = format!("button[value={button}]");
        self.driver.find(By::Css(button.as_str())).await.unwrap().click().await.unwrap();
    }

    async fn dark(&self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": value }]);
        self.tell("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    async fn phone(&self, phone: bool) {
        if phone {
            let metrics = json!({ "width": 375, "height": 812, "deviceScaleFactor": 1, "mobile": true });
            self.tell("Emulation.setDeviceMetricsOverride", metrics).await;
        } else {
            self.tell("Emulation.clearDeviceMetricsOverride", json!({})).await;
        }
    }

    /// The whole page as a picture, where pictures are asked for.
    async fn picture(&self, name: &str) {
        if std::env::var_os("TIDEGATE_SCREENSHOTS").is_none() {
            return;
        }
        let parameters = json!({ "format": "png", "captureBeyondViewport": true });
        let picture = self.tell("Page.captureScreenshot", parameters).await;
        let picture =
            base64::engine::general_purpose::STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/screenshots");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(format!("{name}.png")), picture).unwrap();
    }
}

// The session is ended by a drop that blocks, also when an assertion fails: another thread has to go on meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn approvers_use_the_pages_in_a_browser() {
    let (Some(chromium), Some(server)) = (chromium(), Driver::start()) else {
        let in_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!in_ci, "{MISSING}");
        eprintln!("skipped: {MISSING}");
        return;
    };
    let browser = Browser::open(&server, &chromium).await;
    // Each part drives releases, and without optimisation all of them in one future are too much for a test's stack.
    Box::pin(viewed_and_approved(&browser)).await;
    Box::pin(replayed(&browser)).await;
    Box::pin(rejected(&browser)).await;
    Box::pin(too_late(&browser)).await;
    Box::pin(prefetched(&browser)).await;
    Box::pin(on_a_phone_and_in_the_dark(&browser)).await;
    Box::pin(with_the_keyboard_alone(&browser)).await;
    browser.driver.clone().quit().await.unwrap();
}

async fn waiting(count: u32) -> (Site, ReleaseId) {
    let (fixture, id) = Box::pin(Fixture::waiting(count)).await;
    (Site::open(fixture).await, id)
}

async fn viewed_and_approved(browser: &Browser) {
    let (site, id) = waiting(1).await;
    browser.driver.goto(site.link(&id, "anna")).await.unwrap();
    let title = browser.driver.title().await.unwrap();
    assert_eq!(title, "Approve checkout before anything is changed? · Tidegate");
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
    browser.shows(&["It is under way", "Basket tested on staging. <b>Go.</b>"]).await;
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
    browser.shows(&["It is cancelled", "ben: rejected: Not before the sale."]).await;
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
