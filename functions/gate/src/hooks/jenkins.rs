//! Jenkins, and anyone else with the HMAC secret: `X-Tidegate-Signature` is HMAC-SHA256, in hexadecimal, over
//! `TIMESTAMP.DELIVERY.BODY`, with the values of `X-Tidegate-Timestamp` (Unix seconds) and `X-Tidegate-Delivery`.
//!
//! The delivery id is signed too, so that a request that was overheard cannot be sent again as another one.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use tidegate_core::intent::Provenance;
use tidegate_core::reference::Reference;
use tidegate_runtime::triggers::Announcing;

use super::{About, Refused, Said, Wish, short};
use crate::call::Call;
use crate::keys::signed;
use crate::secrets::Accepted;

/// How far the timestamp may be from now: clocks differ, and networks wait.
const WINDOW: SignedDuration = SignedDuration::from_secs(5 * 60);
const DELIVERY_MAX: usize = 128;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    image: Option<String>,
    tag: Option<String>,
    digest: Option<String>,
    commit: Option<String>,
    committed_at: Option<Timestamp>,
    by: Option<String>,
    url: Option<String>,
}

pub(super) fn read(call: &Call, secrets: &Accepted, now: Timestamp) -> Result<Said, Refused> {
    let header = |name: &str| call.header(name).unwrap_or_default();
    let (timestamp, delivery) = (header("x-tidegate-timestamp"), header("x-tidegate-delivery"));
    let parts: [&[u8]; 5] = [timestamp.as_bytes(), b".", delivery.as_bytes(), b".", &call.body];
    if !signed(secrets, &parts, header("x-tidegate-signature")) {
        return Err(Refused::unproven());
    }
    if delivery.is_empty() || delivery.len() > DELIVERY_MAX || !delivery.chars().all(|c| c.is_ascii_graphic())
    {
        let why = format!(
            "X-Tidegate-Delivery has to be 1 to {DELIVERY_MAX} printable ASCII characters without spaces"
        );
        return Err(Refused::malformed(why));
    }
    let sent_at = timestamp.parse().ok().and_then(|secs| Timestamp::from_second(secs).ok());
    let Some(at) = sent_at.filter(|sent_at| now.duration_since(*sent_at).abs() <= WINDOW) else {
        return Err(Refused::malformed(
            "X-Tidegate-Timestamp (Unix seconds) is more than five minutes from now",
        ));
    };
    let body: Body = serde_json::from_slice(&call.body).map_err(|error| {
        Refused::malformed(format!(
            "the body has to be {{image | tag | digest, commit, committed_at, by, url}}: {error}"
        ))
    })?;
    let named: Vec<&String> = [&body.image, &body.tag, &body.digest].into_iter().flatten().collect();
    let [named] = named.as_slice() else {
        return Err(Refused::malformed("exactly one of image, tag and digest is needed"));
    };
    Ok(Said::Release(Box::new(Wish {
        image: Reference::named(named),
        provenance: Provenance {
            commit: short(body.commit),
            committed_at: body.committed_at,
            author: short(body.by),
            url: short(body.url),
        },
        delivery: format!("jenkins/{delivery}"),
        announcing: Announcing { at, is_push: false },
        sender: "jenkins".to_owned(),
        about: About::Image,
    })))
}
