//! The dashboard: services, a service, a release, each opened by a signed pass ([`crate::pass`]).
//!
//! - Nothing is read before the pass has been checked, and nothing is written.
//! - A view reads so much and no more: the rows of the services (as `tidegate services` does), and for each service on the page its
//!   newest releases.
//! - A row that cannot be read is shown as such, and hides no other.

use futures::stream::{self, StreamExt as _};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::figures::{Figures, Period};
use tidegate_core::ids::{ReleaseId, ServiceName};
use tidegate_core::release::Release;
use tidegate_core::service::ServiceRecord;
use tidegate_pages::{Doing, Message, ServicePageView, ServicesView, Tone, Visit, Ways, Whose};
use tidegate_view::{ReleaseRow, ServiceView};

use crate::act;
use crate::call::{Call, Reply};
use crate::gate::Gate;
use crate::pass::{May, Pass, Void};
use crate::secrets::Keeper;
use crate::status;

/// How many services stand on a page.
const SERVICES: usize = 60;
/// How many services are looked at at the same time.
const AT_ONCE: usize = 16;
/// How many of its newest releases are read for a service's card: the open ones and the one that ended last are among them.
const NEWEST: u32 = 5;
/// How many releases stand on a service's page.
const RELEASES: u32 = 20;
/// How far back the figures on a service's page reach.
const FIGURES: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How many entries of a service's own history do.
const ENTRIES: u32 = 15;

/// A request whose pass has been checked.
pub(crate) struct Visitor<'a> {
    pub(crate) pass: Pass,
    /// The pass as it was sent: every link of a page carries it on.
    key: String,
    call: &'a Call,
    pub(crate) now: Timestamp,
}

impl<'a> Visitor<'a> {
    /// Checks the pass a request brings; the error is what is answered.
    pub(crate) async fn admitted(
        gate: &Gate,
        keeper: &Keeper,
        call: &'a Call,
        key: Option<String>,
    ) -> Result<Result<Self, Reply>, PortError> {
        let now = gate.installation.time.now();
        let secrets = keeper.secrets().await?;
        let key = key.unwrap_or_default();
        Ok(match Pass::opened(&secrets.link_key, &key, now) {
            Ok(pass) => Ok(Self { pass, key, call, now }),
            Err(Void::Unknown) => Err(Reply::nothing_here()),
            Err(Void::Expired(pass)) => Err(expired(&pass)),
        })
    }

    /// Whether the reader has stopped the page.
    fn is_still(&self) -> bool {
        self.call.query("still").is_some()
    }

    fn visit(&self) -> Visit {
        let still = self.is_still();
        let from = self.call.query("from").map(|from| format!("&from={from}")).unwrap_or_default();
        let other = if still { "" } else { "&still=1" };
        Visit {
            whose: Some(Whose {
                by: self.pass.by.clone(),
                until: self.pass.until,
                acts: self.pass.may == May::Act,
            }),
            other_way: format!("{}?key={}{from}{other}", self.call.path, self.key),
            still,
        }
    }

    /// The pass as it was sent.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// An address with the pass.
    pub(crate) fn address(&self, path: &str) -> String {
        format!("{path}?key={}", self.key)
    }
}

impl std::fmt::Debug for Visitor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Visitor(…)")
    }
}

impl Ways for Visitor<'_> {
    fn services(&self) -> Option<String> {
        self.pass.opens_services().then(|| self.address("/services"))
    }

    fn service(&self, service: &ServiceName) -> Option<String> {
        self.pass.opens_service(service).then(|| self.address(&format!("/services/{service}")))
    }

    fn release(&self, service: &ServiceName, release: &ReleaseId) -> Option<String> {
        self.pass.opens_release(service, release).then(|| self.address(&format!("/releases/{release}")))
    }
}

/// That a pass was good once, and how another one is had.
fn expired(pass: &Pass) -> Reply {
    let until = pass.until.strftime("%Y-%m-%d %H:%M:%S UTC");
    let message = Message {
        lines: vec![format!("It was good until {until}. A new one: {}", pass.command())],
        ..Message::new(Tone::Plain, "This link has expired", "")
    };
    Reply::message(StatusCode::GONE, &message)
}

/// That a pass opens something else. It is said before anything is looked up, or as if nothing had been found.
pub(crate) fn other_place() -> Reply {
    let message = Message {
        lines: vec![
            "It was made for another page.".to_owned(),
            "A link that opens every page is printed by: tidegate open".to_owned(),
        ],
        ..Message::new(Tone::Plain, "This link does not open that page", "")
    };
    Reply::message(StatusCode::FORBIDDEN, &message)
}

/// `GET /services`
pub(crate) async fn services(gate: &Gate, keeper: &Keeper, call: &Call) -> Result<Reply, PortError> {
    let visitor = match Visitor::admitted(gate, keeper, call, call.query("key")).await? {
        Ok(visitor) => visitor,
        Err(reply) => return Ok(reply),
    };
    if !visitor.pass.opens_services() {
        return Ok(other_place());
    }
    let mut unreadable = Vec::new();
    let mut all = gate.installation.ledger.services().await?.tell(&mut unreadable);
    all.sort_by(|a, b| a.0.cmp(&b.0));
    let total = all.len() + unreadable.len();
    let from = call.query("from").and_then(|from| ServiceName::new(from).ok());
    let mut shown = all.into_iter().filter(|(name, _)| from.as_ref().is_none_or(|from| name >= from));
    let here: Vec<_> = shown.by_ref().take(SERVICES).collect();
    let further = shown.next().map(|(name, _)| format!("{}&from={name}", visitor.address("/services")));
    let looked: Vec<Looked> = stream::iter(here)
        .map(async |(name, head)| look(gate, &name, &head, NEWEST, visitor.now).await)
        .buffered(AT_ONCE)
        .collect()
        .await;
    let services = looked.into_iter().map(|looked| {
        unreadable.extend(looked.unreadable);
        looked.view
    });
    let view = ServicesView {
        services: services.collect(),
        total,
        further,
        first: from.and_then(|_| visitor.services()),
        unreadable,
        now: visitor.now,
        visit: visitor.visit(),
        ways: &visitor,
    };
    tell(&view.unreadable);
    Ok(Reply::page(StatusCode::OK, tidegate_pages::services(&view)))
}

/// `GET /services/NAME`
pub(crate) async fn service(
    gate: &Gate,
    keeper: &Keeper,
    call: &Call,
    name: &str,
) -> Result<Reply, PortError> {
    let visitor = match Visitor::admitted(gate, keeper, call, call.query("key")).await? {
        Ok(visitor) => visitor,
        Err(reply) => return Ok(reply),
    };
    let Ok(name) = ServiceName::new(name) else { return Ok(Reply::nothing_here()) };
    if !visitor.pass.opens_service(&name) {
        return Ok(other_place());
    }
    let ledger = &gate.installation.ledger;
    let head = match ledger.service(&name).await {
        Ok(Some(head)) => head,
        Ok(None) => return Ok(Reply::nothing_here()),
        Err(error) if error.kind == ErrorKind::Invalid => {
            return Ok(damaged(&format!("Service {name}"), &error));
        }
        Err(error) => return Err(error),
    };
    let Looked { view: service, releases, mut unreadable } =
        look(gate, &name, &head, RELEASES, visitor.now).await;
    let history = match ledger.service_history(&name, ENTRIES).await {
        Ok(listing) => listing.tell(&mut unreadable),
        Err(error) => {
            unreadable.push(format!("the history of service {name}: {}", error.told()));
            Vec::new()
        }
    };
    let view = ServicePageView {
        service,
        head: &head,
        releases: releases.iter().map(ReleaseRow::from).collect(),
        figures: figures(&releases, visitor.now),
        history: &history,
        unreadable,
        now: visitor.now,
        visit: visitor.visit(),
        doing: Doing {
            actions: act::of_service(&visitor, &name, &head),
            how: (visitor.pass.may == May::Look).then(|| format!("tidegate open {name} --act")),
        },
        ways: &visitor,
    };
    tell(&view.unreadable);
    Ok(Reply::page(StatusCode::OK, tidegate_pages::service(&view)))
}

/// What the releases that stand on a service's page come to, over a month or as far as they reach.
fn figures(releases: &[Release], now: Timestamp) -> Figures {
    let mut since = now.saturating_sub(FIGURES).unwrap_or(now);
    if releases.len() >= usize::try_from(RELEASES).unwrap_or(usize::MAX)
        && let Some(oldest) = releases.iter().map(|release| release.created_at).min()
    {
        since = since.max(oldest);
    }
    Figures::of(releases, Period { since, until: now })
}

/// `GET /releases/ID`
pub(crate) async fn release(gate: &Gate, keeper: &Keeper, call: &Call, id: &str) -> Result<Reply, PortError> {
    let visitor = match Visitor::admitted(gate, keeper, call, call.query("key")).await? {
        Ok(visitor) => visitor,
        Err(reply) => return Ok(reply),
    };
    let Ok(id) = ReleaseId::new(id) else { return Ok(Reply::nothing_here()) };
    let release = match gate.installation.ledger.release(&id).await {
        Ok(release) => release,
        Err(error) if error.kind == ErrorKind::Invalid && visitor.pass.opens_services() => {
            return Ok(damaged(&format!("Release {id}"), &error));
        }
        Err(error) => return Err(error),
    };
    // Of a release that is not there nothing is said but what is said of one of another service.
    let Some(release) = release.filter(|release| visitor.pass.opens_release(&release.service, &id)) else {
        return Ok(other_place());
    };
    let actions = act::of_release(&visitor, &release);
    let how =
        (visitor.pass.may == May::Look && !release.is_over()).then(|| format!("tidegate open {id} --act"));
    status::page(gate, &release, &visitor, visitor.visit(), Doing { actions, how }).await
}

/// What was looked at of a service.
struct Looked {
    view: ServiceView,
    /// Its newest releases, newest first.
    releases: Vec<Release>,
    unreadable: Vec<String>,
}

/// Looks at a service's newest releases, and at those its row names that are not among them. What cannot be read now is told, and the rest
/// is shown.
async fn look(gate: &Gate, name: &ServiceName, head: &ServiceRecord, newest: u32, now: Timestamp) -> Looked {
    let installation = &gate.installation;
    let mut unreadable = Vec::new();
    let releases = match installation.ledger.releases(name, newest).await {
        Ok(listing) => listing.tell(&mut unreadable),
        Err(error) => {
            unreadable.push(format!("the releases of service {name}: {}", error.told()));
            Vec::new()
        }
    };
    let mut known = releases.clone();
    let named = [
        head.active.as_ref(),
        head.waiting.as_ref(),
        head.promoted.first().map(|promoted| &promoted.release),
    ];
    for id in named.into_iter().flatten() {
        if known.iter().any(|release| release.id == *id) {
            continue;
        }
        match installation.ledger.release(id).await {
            Ok(release) => known.extend(release),
            // A damaged one has been told by the list, where it is among the newest.
            Err(error) if !unreadable.iter().any(|line| line.contains(id.as_str())) => {
                unreadable.push(format!("release {id} of service {name}: {}", error.told()));
            }
            Err(_) => {}
        }
    }
    let place = (&installation.account, &installation.region);
    Looked { view: ServiceView::new(name, head, &known, place, now), releases, unreadable }
}

/// A page about a row that is there and cannot be read.
fn damaged(what: &str, error: &PortError) -> Reply {
    tracing::error!(error = %error, "a row cannot be read");
    let message = Message {
        lines: vec![
            format!("{what} is there, and its row in the ledger cannot be read: {}.", error.message),
            "Nothing else is affected. What to do: see “Damaged rows” in the operations guide.".to_owned(),
        ],
        ..Message::new(Tone::Bad, "This row cannot be read", "")
    };
    Reply::message(StatusCode::INTERNAL_SERVER_ERROR, &message)
}

fn tell(unreadable: &[String]) {
    for row in unreadable {
        tracing::error!(row, "a row was passed over");
    }
}
