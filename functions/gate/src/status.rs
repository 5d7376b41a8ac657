//! The status page behind a signed, read-only link.

use http::StatusCode;
use tidegate_core::approval::same_secret;
use tidegate_core::fault::PortError;
use tidegate_core::ids::ReleaseId;
use tidegate_core::listing::Damaged;
use tidegate_core::release::Release;
use tidegate_pages::{Doing, Nowhere, StatusView, Visit, Ways};

use crate::call::{Call, Reply};
use crate::gate::Gate;
use crate::keys::status_signature;
use crate::secrets::Keeper;

/// Among how many of the newest releases the ones before and after are looked for.
const LOOKED_THROUGH: u32 = 20;

/// The link, from the root of the gate's URL.
pub(crate) fn link(link_key: &str, release: &ReleaseId) -> String {
    format!("/status/{release}?sig={}", status_signature(link_key, release.as_str()))
}

/// What cannot be read is shown as missing, and named in the log.
pub(crate) fn told(damaged: &[Damaged]) {
    for row in damaged {
        tracing::error!(damaged = %row, "a row was passed over");
    }
}

pub(crate) async fn show(gate: &Gate, keeper: &Keeper, call: &Call, id: &str) -> Result<Reply, PortError> {
    let secrets = keeper.secrets().await?;
    let right = status_signature(&secrets.link_key, id);
    // Nothing is read before the signature has been checked, so nothing shows what exists.
    if !same_secret(&right, &call.query("sig").unwrap_or_default()) {
        return Ok(Reply::nothing_here());
    }
    let Ok(id) = ReleaseId::new(id) else { return Ok(Reply::nothing_here()) };
    let Some(release) = gate.installation.ledger.release(&id).await? else {
        return Ok(Reply::nothing_here());
    };
    let still = call.query("still").is_some();
    let other = if still { "" } else { "&still=1" };
    let visit = Visit { whose: None, other_way: format!("{}{other}", link(&secrets.link_key, &id)), still };
    page(gate, &release, &Nowhere, visit, Doing::default()).await
}

/// The page of a release. What its service's row and list say more about it is left out where they cannot be read now.
pub(crate) async fn page(
    gate: &Gate,
    release: &Release,
    ways: &dyn Ways,
    visit: Visit,
    doing: Doing,
) -> Result<Reply, PortError> {
    let ledger = &gate.installation.ledger;
    let (history, damaged) = ledger.history(&release.id).await?.split();
    told(&damaged);
    // A link to one release leads to no other one.
    let (before, after) = match ways.service(&release.service) {
        Some(_) => neighbours(gate, release).await,
        None => (None, None),
    };
    let view = StatusView {
        release,
        history: &history,
        unreadable: damaged.len(),
        stable: stable(gate, release).await,
        before,
        after,
        now: gate.installation.time.now(),
        ways,
        visit,
        doing,
    };
    Ok(Reply::page(StatusCode::OK, tidegate_pages::status(&view)))
}

/// What the version that a release replaces is called. A name that cannot be looked up is no reason to show nothing.
pub(crate) async fn stable(gate: &Gate, release: &Release) -> Option<String> {
    let promoted = match gate.installation.ledger.service(&release.service).await {
        Ok(head) => head.map(|head| head.promoted).unwrap_or_default(),
        Err(error) => {
            tracing::warn!(error = %error, "the row of a release's service could not be read");
            Vec::new()
        }
    };
    tidegate_view::stable_name(release, &promoted)
}

/// A release with what it brings.
type Neighbour = Option<(ReleaseId, String)>;

/// The releases of the service before and after this one, where it is among the newest.
async fn neighbours(gate: &Gate, release: &Release) -> (Neighbour, Neighbour) {
    let listed = match gate.installation.ledger.releases(&release.service, LOOKED_THROUGH).await {
        Ok(listing) => listing.split().0,
        Err(error) => {
            tracing::warn!(error = %error, "the releases beside one could not be read");
            return (None, None);
        }
    };
    let Some(at) = listed.iter().position(|other| other.id == release.id) else { return (None, None) };
    let one = |index: Option<usize>| {
        index.and_then(|index| listed.get(index)).map(|other| (other.id.clone(), other.change.label()))
    };
    (one(Some(at + 1)), one(at.checked_sub(1)))
}
