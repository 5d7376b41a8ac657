//! Finding what a person named: a release by its id or the beginning of it, or by its service.

use std::str::FromStr;

use anyhow::{Context as _, bail};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tidegate_core::fault::PortError;
use tidegate_core::ids::{ReleaseId, ServiceName};
use tidegate_core::ports::Ledger;
use tidegate_core::release::Release;
use tidegate_core::service::ServiceRecord;

use crate::exit::Exit;
use crate::fault::Refusal;
use crate::words;

/// Shorter beginnings of an id name nothing: they are years wide.
const PREFIX_MIN: usize = 4;
/// How many releases an abbreviation that is too short is shown to mean.
const SHOWN: usize = 4;
/// How many services are searched at the same time.
const AT_ONCE: usize = 16;

/// A release by its id or the beginning of it, or a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseArg {
    id: Option<ReleaseId>,
    prefix: Option<String>,
    service: ServiceName,
}

impl FromStr for ReleaseArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let service = ServiceName::new(text)
            .map_err(|_| format!("{text:?} is neither a release id nor the name of a service"))?;
        let lower = text.to_lowercase();
        let id = ReleaseId::new(lower.clone()).ok();
        let like_an_id = (PREFIX_MIN..26).contains(&lower.len())
            && lower.starts_with(|first: char| first.is_ascii_digit())
            && lower.chars().all(|c| c.is_ascii_alphanumeric());
        Ok(Self { id, prefix: like_an_id.then_some(lower), service })
    }
}

/// A release, and how it was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// The release.
    pub release: Release,
    /// It was found by the service's name.
    pub by_service: bool,
    /// The other open release of the service: the one that waits.
    pub other: Option<Release>,
}

/// The releases a service's name can mean.
#[derive(Debug)]
struct Candidates {
    active: Option<Release>,
    waiting: Option<Release>,
    newest: Option<Release>,
}

/// Finds a release to look at. A service means its active release, then the one that waits, then its newest.
pub async fn release(ledger: &dyn Ledger, wanted: &ReleaseArg) -> anyhow::Result<Found> {
    match named(ledger, wanted).await? {
        Named::Release(release) => Ok(Found { release: *release, by_service: false, other: None }),
        Named::Service(service, head) => {
            let Candidates { active, waiting, newest } = candidates(ledger, &service, &head).await?;
            let other = active.as_ref().and(waiting.clone());
            match active.or(waiting).or(newest) {
                Some(release) => Ok(Found { release, by_service: true, other }),
                None => Err(Refusal::new(format!("service {service} has no release yet"))
                    .remedy(format!("push an image, or type: tidegate release {service} IMAGE"))
                    .into()),
            }
        }
    }
}

/// Finds a release to `verb`. Where a service has an active release and another one that waits, either could be meant, and nothing is done.
pub async fn to_change(ledger: &dyn Ledger, wanted: &ReleaseArg, verb: &str) -> anyhow::Result<Found> {
    let found = release(ledger, wanted).await?;
    match &found.other {
        Some(waiting) => Err(two_meant(&found.release, waiting, verb).into()),
        None => Ok(found),
    }
}

fn two_meant(active: &Release, waiting: &Release, verb: &str) -> Refusal {
    Refusal::new(format!(
        "{} has two releases that could be meant, so nothing was done: {} is under way ({}), and {} waits for it",
        active.service,
        words::release(active),
        words::summary(active),
        words::release(waiting),
    ))
    .remedy(format!(
        "name one of them: tidegate {verb} {}  or  tidegate {verb} {}",
        active.id.short(),
        waiting.id.short()
    ))
    .exit(Exit::Usage)
}

/// What was named.
enum Named {
    Release(Box<Release>),
    Service(ServiceName, Box<ServiceRecord>),
}

async fn named(ledger: &dyn Ledger, wanted: &ReleaseArg) -> anyhow::Result<Named> {
    if let Some(id) = &wanted.id
        && let Some(release) = by_id(ledger, id).await?
    {
        return Ok(Named::Release(Box::new(release)));
    }
    let name = &wanted.service;
    let head = ledger.service(name).await.with_context(|| format!("failed to read service {name}"))?;
    if let Some(head) = head {
        return Ok(Named::Service(name.clone(), Box::new(head)));
    }
    if let Some(id) = &wanted.id {
        return Err(Refusal::new(format!("there is no release and no service {id}"))
            .remedy("tidegate releases  lists the releases")
            .into());
    }
    match &wanted.prefix {
        Some(prefix) => by_prefix(ledger, prefix).await.map(|release| Named::Release(Box::new(release))),
        None => Err(no_service(ledger, name).await.into()),
    }
}

/// What was named, by its name alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meant {
    /// A release.
    Release(ReleaseId),
    /// A service.
    Service(ServiceName),
}

/// Finds what was named: a release by its id or the beginning of it, else a service.
pub async fn meant(ledger: &dyn Ledger, wanted: &ReleaseArg) -> anyhow::Result<Meant> {
    Ok(match named(ledger, wanted).await? {
        Named::Release(release) => Meant::Release(release.id),
        Named::Service(service, _) => Meant::Service(service),
    })
}

/// The one release whose id begins so.
async fn by_prefix(ledger: &dyn Ledger, prefix: &str) -> anyhow::Result<Release> {
    let (services, unreadable) = ledger.services().await.context("failed to list the services")?.split();
    let named = unreadable.into_iter().filter_map(|row| row.service);
    let services: Vec<ServiceName> = services.into_iter().map(|(service, _)| service).chain(named).collect();
    let limit = u32::try_from(SHOWN + 1).unwrap_or(u32::MAX);
    let found: Vec<Vec<ReleaseId>> = stream::iter(services)
        .map(async |service| {
            let found = ledger.ids_beginning(&service, prefix, limit).await?;
            // An id that cannot be read cannot be abbreviated either.
            Ok::<_, PortError>(found.split().0)
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
        .context("failed to look for the release")?;
    let mut ids: Vec<ReleaseId> = found.into_iter().flatten().collect();
    ids.sort();
    match ids.as_slice() {
        [] => Err(Refusal::new(format!(
            "there is no release whose id begins with {prefix}, and no such service"
        ))
        .remedy("tidegate releases  lists the releases")
        .into()),
        [id] => by_id(ledger, id).await?.with_context(|| format!("release {id} is gone from the ledger")),
        several => Err(too_short(ledger, prefix, several).await?.into()),
    }
}

async fn too_short(ledger: &dyn Ledger, prefix: &str, ids: &[ReleaseId]) -> anyhow::Result<Refusal> {
    let mut told = Vec::new();
    for id in ids.iter().take(SHOWN) {
        let release = by_id(ledger, id).await?;
        told.extend(release.map(|release| {
            format!(
                "{} ({} of {}, {})",
                release.id,
                release.change.label(),
                release.service,
                words::summary(&release)
            )
        }));
    }
    let more = if ids.len() > SHOWN { ", and more" } else { "" };
    Ok(Refusal::new(format!("{prefix} is the beginning of several release ids: {}{more}", told.join(", ")))
        .remedy("type more of the one you mean")
        .exit(Exit::Usage))
}

/// A release by its id.
pub async fn by_id(ledger: &dyn Ledger, id: &ReleaseId) -> anyhow::Result<Option<Release>> {
    ledger.release(id).await.with_context(|| format!("failed to read release {id}"))
}

/// The row of a service.
pub async fn service(ledger: &dyn Ledger, name: &ServiceName) -> anyhow::Result<ServiceRecord> {
    let head = ledger.service(name).await.with_context(|| format!("failed to read service {name}"))?;
    match head {
        Some(head) => Ok(head),
        None => Err(no_service(ledger, name).await.into()),
    }
}

/// That there is no such service, and which one may be meant. The names are only a help: that they cannot be listed is not told.
async fn no_service(ledger: &dyn Ledger, name: &ServiceName) -> Refusal {
    let services = ledger.services().await.map(|listing| listing.split().0).unwrap_or_default();
    let names = services.iter().map(|(name, _)| name.as_str());
    let refusal = Refusal::new(format!("there is no service {name}"));
    match words::nearest(name.as_str(), names) {
        Some(near) => refusal.remedy(format!("did you mean {near}?")),
        None => refusal
            .remedy("tidegate services  lists them; tidegate apply FILE  stores the policy of a new one"),
    }
}

async fn candidates(
    ledger: &dyn Ledger,
    service: &ServiceName,
    head: &ServiceRecord,
) -> anyhow::Result<Candidates> {
    let (active, waiting) =
        tokio::try_join!(open(ledger, head.active.as_ref()), open(ledger, head.waiting.as_ref()))?;
    if active.is_some() || waiting.is_some() {
        return Ok(Candidates { active, waiting, newest: None });
    }
    let listed = ledger.releases(service, 1).await;
    let listed = listed.with_context(|| format!("failed to list the releases of {service}"))?;
    let (listed, damaged) = listed.split();
    // Never an older one in place of one that cannot be read.
    if let (None, Some(row)) = (listed.first(), damaged.into_iter().next()) {
        bail!("{row}");
    }
    // The list lags behind; the row is what it is.
    let newest = match listed.into_iter().next() {
        Some(newest) => by_id(ledger, &newest.id).await?,
        None => None,
    };
    Ok(Candidates { active, waiting, newest })
}

/// A release the service's row names, unless it has ended meanwhile.
async fn open(ledger: &dyn Ledger, id: Option<&ReleaseId>) -> anyhow::Result<Option<Release>> {
    let Some(id) = id else { return Ok(None) };
    Ok(by_id(ledger, id).await?.filter(|release| !release.is_over()))
}

/// The service that was named, where only a service makes sense.
pub async fn service_of(ledger: &dyn Ledger, wanted: &ReleaseArg) -> anyhow::Result<ServiceName> {
    match named(ledger, wanted).await? {
        Named::Service(service, _) => Ok(service),
        Named::Release(release) => Err(Refusal::new(
            "--image names a release by its image, so a service has to be named, not a release",
        )
        .remedy(format!(
            "tidegate watch {} --image …  or  tidegate watch {}",
            release.service,
            release.id.short()
        ))
        .exit(Exit::Usage)
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_in_any_case_may_be_a_service_too() {
        let arg: ReleaseArg = "01JD0000000000000000000000".parse().unwrap();
        assert_eq!(arg.id.unwrap().as_str(), "01jd0000000000000000000000");
        assert_eq!(arg.service.as_str(), "01JD0000000000000000000000");
        assert_eq!("checkout".parse::<ReleaseArg>().unwrap().id, None);
        assert!("no/service".parse::<ReleaseArg>().is_err());
    }

    #[test]
    fn the_beginning_of_an_id_is_told_from_a_name() {
        let prefix = |text: &str| text.parse::<ReleaseArg>().unwrap().prefix;
        assert_eq!(prefix("01M8BTV6").as_deref(), Some("01m8btv6"));
        assert_eq!(prefix("01m"), None, "years wide");
        assert_eq!(prefix("checkout"), None);
        assert_eq!(prefix("0-day"), None);
    }
}
