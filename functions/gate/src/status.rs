//! The status page behind a signed, read-only link.

use http::StatusCode;
use tidegate_core::approval::same_secret;
use tidegate_core::fault::PortError;
use tidegate_core::ids::ReleaseId;
use tidegate_core::listing::Damaged;
use tidegate_pages::StatusView;

use crate::call::{Call, Reply};
use crate::gate::Gate;
use crate::keys::status_signature;
use crate::secrets::Keeper;

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
    let (history, damaged) = gate.installation.ledger.history(&id).await?.split();
    told(&damaged);
    let view = StatusView {
        release: &release,
        history: &history,
        unreadable: damaged.len(),
        now: gate.installation.time.now(),
    };
    Ok(Reply::page(StatusCode::OK, tidegate_pages::status(&view)))
}
