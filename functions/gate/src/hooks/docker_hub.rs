//! Docker Hub signs nothing: the secret is the last part of the path. What it says is taken as a hint that a tag was pushed; the digest
//! is resolved from the policy's ECR repository, where a pull-through cache or a mirror has brought the image.

use jiff::Timestamp;
use serde::Deserialize;
use tidegate_core::approval::same_secret;
use tidegate_core::intent::Provenance;
use tidegate_core::reference::Reference;
use tidegate_runtime::triggers::Announcing;

use super::{About, Refused, Said, Wish, short};
use crate::call::Call;
use crate::secrets::Accepted;

#[derive(Debug, Deserialize)]
struct Event {
    push_data: PushData,
    repository: Repository,
}

#[derive(Debug, Deserialize)]
struct PushData {
    tag: String,
    pusher: Option<String>,
    /// Seconds since 1970.
    pushed_at: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Repository {
    repo_name: String,
}

pub(super) fn read(call: &Call, secrets: &Accepted, given: &str, now: Timestamp) -> Result<Said, Refused> {
    // Compared with a secret in every case, so that none takes no less time than a wrong one.
    let nobodys = same_secret("no secret: the same work, and never right", given);
    let known = secrets.secrets().fold(false, |known, secret| known | same_secret(secret, given));
    if !known || nobodys {
        return Err(Refused::unproven());
    }
    let event: Event = serde_json::from_slice(&call.body)
        .map_err(|error| Refused::malformed(format!("the body is not Docker Hub's JSON: {error}")))?;
    let image = Reference::named(&event.push_data.tag);
    // Docker Hub sends no delivery id; a push is known by its tag and its second.
    let delivery =
        format!("docker_hub/{}@{}", event.push_data.tag, event.push_data.pushed_at.unwrap_or_default());
    #[expect(clippy::cast_possible_truncation, reason = "whole seconds; what is out of range is no time")]
    let pushed_at = event.push_data.pushed_at.and_then(|secs| Timestamp::from_second(secs as i64).ok());
    Ok(Said::Release(Box::new(Wish {
        image,
        provenance: Provenance { author: short(event.push_data.pusher), ..Provenance::default() },
        delivery,
        announcing: Announcing { at: pushed_at.unwrap_or(now), is_push: pushed_at.is_some() },
        sender: event.repository.repo_name,
        about: About::Image,
    })))
}
