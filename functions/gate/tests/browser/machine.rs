//! chromedriver, the site and the browser.

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
use serde_json::{Value, json};
use thirtyfour::prelude::*;
use tidegate_core::ids::ReleaseId;
use tokio::sync::mpsc;

use crate::common::{Fixture, Got, event};

pub(crate) const MISSING: &str = "no Chromium: install Debian's packages chromium and chromium-driver";

const SHOWN_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// chromedriver; ended with the test.
pub(crate) struct Driver {
    process: Child,
    pub(crate) url: String,
}

impl Driver {
    /// `None` when it is not installed.
    pub(crate) fn start() -> Option<Self> {
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

pub(crate) fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path).flat_map(|dir| names.map(|name| dir.join(name))).find(|file| file.is_file())
}

/// The gate behind an address a browser can open, as a Function URL would be.
pub(crate) struct Site {
    pub(crate) fixture: Arc<Fixture>,
    pub(crate) address: String,
}

impl Site {
    pub(crate) async fn open(fixture: Fixture) -> Self {
        let fixture = Arc::new(fixture);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let app = axum::Router::new().fallback(answer).with_state(desk(fixture.clone()));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { fixture, address }
    }

    pub(crate) fn link(&self, id: &ReleaseId, approver: &str) -> String {
        let (path, token) = self.fixture.link(id, approver);
        format!("{}{path}?token={token}", self.address)
    }
}

/// A request, and who waits for its answer.
type Asked = (Value, tokio::sync::oneshot::Sender<Got>);

/// A copy of the function: one request after the other, on a thread of its own, as Lambda has it.
fn desk(fixture: Arc<Fixture>) -> mpsc::UnboundedSender<Asked> {
    let (ask, mut asked) = mpsc::unbounded_channel::<Asked>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            while let Some((event, answer)) = asked.recv().await {
                // Whoever asked may have gone to another page.
                let _ = answer.send(fixture.send(event).await);
            }
        });
    });
    ask
}

async fn answer(
    State(desk): State<mpsc::UnboundedSender<Asked>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let headers: Vec<(&str, &str)> =
        headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect();
    let event = event(method.as_str(), uri.path(), uri.query().unwrap_or_default(), &headers, &body);
    let (answer, answered) = tokio::sync::oneshot::channel();
    desk.send((event, answer)).unwrap();
    let got = answered.await.unwrap();
    let status = StatusCode::from_u16(u16::try_from(got.status).unwrap()).unwrap();
    let mut response = (status, got.body).into_response();
    for (name, value) in got.headers.as_object().unwrap() {
        let name: axum::http::HeaderName = name.parse().unwrap();
        response.headers_mut().insert(name, value.as_str().unwrap().parse().unwrap());
    }
    response
}

/// Faults of the page's structure, one line each.
const WELL_MADE: &str = r#"
const faults = [];
const root = document.documentElement;
if (root.scrollWidth > root.clientWidth) faults.push(`wider than the screen: ${root.scrollWidth}`);
let rank = 0;
for (const heading of document.querySelectorAll('h1, h2, h3, h4')) {
  const own = Number(heading.tagName[1]);
  if (own > rank + 1) faults.push(`heading skipped before: ${heading.textContent}`);
  rank = own;
}
if (document.querySelectorAll('h1').length !== 1) faults.push('not one h1');
for (const table of document.querySelectorAll('table')) {
  if (!table.caption || !table.caption.textContent.trim()) faults.push('a table without caption');
  for (const th of table.querySelectorAll('th')) if (!th.scope) faults.push(`a heading cell without scope: ${th.textContent}`);
}
const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push(`twice: ${id}`);
for (const e of document.querySelectorAll('[aria-labelledby], [aria-describedby]'))
  for (const id of ((e.getAttribute('aria-labelledby') || '') + ' ' + (e.getAttribute('aria-describedby') || '')).trim().split(/\s+/))
    if (!document.getElementById(id)) faults.push(`names nothing: ${id}`);
if (document.querySelectorAll('script, img, link, iframe').length) faults.push('something is fetched');
return faults;
"#;

/// A browser with an empty profile.
pub(crate) struct Browser {
    pub(crate) driver: WebDriver,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub(crate) async fn open(server: &Driver, chromium: &Path) -> Self {
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

    pub(crate) async fn tell(&self, command: &str, parameters: Value) -> Value {
        self.driver.cdp().send_raw(command, parameters).await.unwrap()
    }

    /// Waits until the page says all of this. A click is answered before the page it leads to is there.
    pub(crate) async fn shows(&self, expected: &[&str]) -> String {
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

    pub(crate) async fn script(&self, script: &str) -> Value {
        self.driver.execute(script, vec![]).await.unwrap().json().clone()
    }

    pub(crate) async fn decide(&self, typed: &str, comment: &str, button: &str) {
        let open = "document.querySelectorAll('details').forEach(details => details.open = true)";
        self.script(open).await;
        for (field, text) in [("service", typed), ("comment", comment)] {
            let field = self.driver.find(By::Id(field)).await.unwrap();
            field.clear().await.unwrap();
            field.send_keys(text).await.unwrap();
        }
        let button = format!("button[value={button}]");
        self.driver.find(By::Css(button.as_str())).await.unwrap().click().await.unwrap();
    }

    pub(crate) async fn dark(&self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": value }]);
        self.tell("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    pub(crate) async fn phone(&self, phone: bool) {
        if phone {
            let metrics = json!({ "width": 375, "height": 812, "deviceScaleFactor": 1, "mobile": true });
            self.tell("Emulation.setDeviceMetricsOverride", metrics).await;
        } else {
            self.tell("Emulation.clearDeviceMetricsOverride", json!({})).await;
        }
    }

    /// A screen so wide.
    pub(crate) async fn screen(&self, width: u32) {
        let metrics = json!({ "width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.tell("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// What makes a page readable for everybody: nothing runs out of the screen, one heading of the first rank and none skipped, landmarks, tables
    /// with captions and scopes, names for whatever can be followed or pressed, and ids that are there once.
    pub(crate) async fn is_well_made(&self, page: &str) {
        let found = self.script(WELL_MADE).await;
        assert_eq!(found, json!([]), "{page}");
        let tree = self.tell("Accessibility.getFullAXTree", json!({})).await;
        let nodes = tree["nodes"].as_array().unwrap();
        let role = |node: &Value| node["role"]["value"].as_str().unwrap_or_default().to_owned();
        let named = |node: &Value| !node["name"]["value"].as_str().unwrap_or_default().trim().is_empty();
        let heard = || nodes.iter().filter(|node| node["ignored"] != true);
        for landmark in ["banner", "main", "contentinfo"] {
            assert_eq!(heard().filter(|node| role(node) == landmark).count(), 1, "{page}: {landmark}");
        }
        for node in heard() {
            let must =
                ["link", "button", "heading", "table", "region", "textbox", "navigation", "img", "article"];
            assert!(!must.contains(&role(node).as_str()) || named(node), "{page}: no name: {node}");
        }
    }

    /// The whole page as a picture, where pictures are asked for.
    pub(crate) async fn picture(&self, name: &str) {
        self.take(name, json!({ "format": "png", "captureBeyondViewport": true })).await;
    }

    /// What is seen of it without scrolling.
    pub(crate) async fn first_screen(&self, name: &str) {
        self.take(name, json!({ "format": "png" })).await;
    }

    async fn take(&self, name: &str, parameters: Value) {
        if std::env::var_os("TIDEGATE_SCREENSHOTS").is_none() {
            return;
        }
        let picture = self.tell("Page.captureScreenshot", parameters).await;
        let picture =
            base64::engine::general_purpose::STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/screenshots");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(format!("{name}.png")), picture).unwrap();
    }
}
