//! Finding what a person named.

use std::str::FromStr;

use anyhow::{Context as _, bail};
use tidegate_core::ids::{ReleaseId, ServiceName};
use tidegate_core::observation::ServiceHead;
use tidegate_core::ports::Ledger;
use tidegate_core::release::Release;

/// A release by its id, or a service, meaning its newest release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseArg {
    id: Option<ReleaseId>,
    service: ServiceName,
}

impl FromStr for ReleaseArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let service = ServiceName::new(text)
            .map_err(|_| format!("{text:?} is neither a release id nor the name of a service"))?;
        Ok(Self { id: ReleaseId::new(text.to_lowercase()).ok(), service })
    }
}

/// A release, and whether it was found as the newest of a service.
#[derive(Debug, Clone)]
pub struct Found {
    /// The release.
    pub release: Release,
    /// It was found by the service's name.
    pub by_service: bool,
}

/// Finds a release.
pub async fn release(ledger: &dyn Ledger, wanted: &ReleaseArg) -> anyhow::Result<Found> {
    if let Some(id) = &wanted.id
        && let Some(release) = by_id(ledger, id).await?
    {
        return Ok(Found { release, by_service: false });
    }
    let service = &wanted.service;
    let head = ledger.service(service).await.with_context(|| format!("failed to read service {service}"))?;
    let Some(head) = head else {
        if wanted.id.is_some() {
            bail!("there is no release and no service {service}; `tidegate releases` lists the releases");
        }
        bail!("there is no service {service}; `tidegate services` lists the services");
    };
    match newest(ledger, service, &head).await? {
        Some(release) => Ok(Found { release, by_service: true }),
        None => bail!(
            "service {service} has no release yet; push an image, or use `tidegate release {service} IMAGE`"
        ),
    }
}

/// A release by its id.
pub async fn by_id(ledger: &dyn Ledger, id: &ReleaseId) -> anyhow::Result<Option<Release>> {
    ledger.release(id).await.with_context(|| format!("failed to read release {id}"))
}

/// The row of a service.
pub async fn service(ledger: &dyn Ledger, name: &ServiceName) -> anyhow::Result<ServiceHead> {
    let head = ledger.service(name).await.with_context(|| format!("failed to read service {name}"))?;
    head.with_context(|| format!("there is no service {name}: store its policy with `tidegate apply`"))
}

/// The newest release. The list lags a moment behind the service's row, which also names the newest ones.
async fn newest(
    ledger: &dyn Ledger,
    service: &ServiceName,
    head: &ServiceHead,
) -> anyhow::Result<Option<Release>> {
    let listed = ledger.releases(service, 1).await;
    let listed = listed.with_context(|| format!("failed to list the releases of {service}"))?;
    let (listed, damaged) = listed.split();
    let newest = listed.into_iter().next();
    // Ids sort by the time they were made.
    let named = head.waiting.iter().chain(&head.active).max();
    // Never an older one in place of one that cannot be read; what the service's row names is read by itself.
    if let (None, None, Some(row)) = (&newest, named, damaged.into_iter().next()) {
        bail!("{row}");
    }
    match named.filter(|id| newest.as_ref().is_none_or(|newest| **id > newest.id)) {
        Some(id) => Ok(by_id(ledger, id).await?.or(newest)),
        None => Ok(newest),
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
}
