//! A person's word that what was rolled back may be released again. Nothing is released by it: the next push, or a person, does that.

use jiff::Timestamp;

use crate::actor::Actor;
use crate::commit::ServiceWrite;
use crate::history::{Entry, Event};
use crate::ids::{Digest, ReleaseId, ServiceName};
use crate::service::ServiceRecord;

/// Fewer characters of a digest name nothing.
const PREFIX_MIN: usize = 4;

/// Why nothing was lifted; fits "nothing was lifted: {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub enum NotLifted {
    /// Nothing that is quarantined has that name.
    #[error("nothing that is quarantined for {service} is called {named}")]
    Nothing { service: ServiceName, named: String },
    /// It could mean several.
    #[error("{named} is the beginning of several: {}", found.join(", "))]
    Several { named: String, found: Vec<String> },
    /// The reason is too long.
    #[error("the reason is too long: {0}")]
    LongReason(crate::text::TooLong),
}

/// The digests a person names: by one of them or its beginning, or by the release that was rolled back, or the beginning of that: then all it brought.
pub fn named(head: &ServiceRecord, service: &ServiceName, named: &str) -> Result<Vec<Digest>, NotLifted> {
    let lower = named.to_lowercase();
    let hex = lower.strip_prefix("sha256:").unwrap_or(&lower);
    let nothing = || NotLifted::Nothing { service: service.clone(), named: named.to_owned() };
    if hex.len() < PREFIX_MIN {
        return Err(nothing());
    }
    let is_it = |digest: &&Digest| digest.as_str().trim_start_matches("sha256:").starts_with(hex);
    let digests: Vec<&Digest> = head.quarantine.keys().filter(is_it).collect();
    let brought = |(digest, entry): (&Digest, &crate::service::Quarantined)| {
        entry.release.as_str().starts_with(&lower).then(|| (entry.release.clone(), digest.clone()))
    };
    let of_releases: Vec<(ReleaseId, Digest)> = head.quarantine.iter().filter_map(brought).collect();
    let mut releases: Vec<&ReleaseId> = of_releases.iter().map(|(release, _)| release).collect();
    releases.sort();
    releases.dedup();
    match (digests.as_slice(), releases.as_slice()) {
        ([], []) => Err(nothing()),
        ([digest], []) => Ok(vec![(*digest).clone()]),
        ([], [_]) => Ok(of_releases.into_iter().map(|(_, digest)| digest).collect()),
        (digests, releases) => {
            let digests = digests.iter().map(ToString::to_string);
            let found = digests.chain(releases.iter().map(|release| format!("release {release}"))).collect();
            Err(NotLifted::Several { named: named.to_owned(), found })
        }
    }
}

/// Lets these digests be released again, all of them or none.
pub fn lift(
    head: &ServiceRecord,
    service: &ServiceName,
    digests: &[Digest],
    by: Actor,
    why: String,
    now: Timestamp,
) -> Result<ServiceWrite, NotLifted> {
    crate::text::reason(&why).map_err(NotLifted::LongReason)?;
    let version = head.version + 1;
    let mut next = ServiceRecord { version, ..head.clone() };
    let mut release = None;
    for digest in digests {
        let entry = next.quarantine.remove(digest);
        let nothing = || NotLifted::Nothing { service: service.clone(), named: digest.to_string() };
        release = Some(entry.ok_or_else(nothing)?.release);
    }
    let Some(release) = release else {
        return Err(NotLifted::Nothing { service: service.clone(), named: "nothing".into() });
    };
    let event = Event::QuarantineLifted { digests: digests.to_vec(), release, why };
    let entry = Entry::new(version, now, by, event);
    Ok(ServiceWrite {
        service: service.clone(),
        expected: Some(head.version),
        head: next,
        entry: Some(entry),
    })
}
