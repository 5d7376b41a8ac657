//! ARNs taken apart.

use tidegate_core::ids::{AccountId, InvalidId, Region};

/// The parts of an ARN that has an account and a region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arn<'a> {
    /// `ecs`.
    pub(crate) service: &'a str,
    pub(crate) region: Region,
    pub(crate) account: AccountId,
    /// Everything after the account: `service/prod/checkout`.
    pub(crate) resource: &'a str,
}

impl<'a> Arn<'a> {
    /// Takes an ARN apart.
    pub(crate) fn parse(text: &'a str) -> Result<Self, String> {
        let mut parts = text.splitn(6, ':');
        let mut part = || parts.next().unwrap_or_default();
        let (scheme, partition, service, region, account, resource) =
            (part(), part(), part(), part(), part(), part());
        if scheme != "arn" || !partition.starts_with("aws") || resource.is_empty() {
            return Err(format!("found {text:?}, allowed an ARN"));
        }
        let invalid = |error: InvalidId| format!("in {text:?}: {error}");
        Ok(Self {
            service,
            region: Region::new(region).map_err(invalid)?,
            account: AccountId::new(account).map_err(invalid)?,
            resource,
        })
    }

    /// The resource's parts when it is of this kind: `arn.parts("ecs", "service")` of `service/prod/checkout` is
    /// `prod/checkout`.
    pub(crate) fn resource_of(&self, service: &str, kind: &str) -> Option<&'a str> {
        (self.service == service).then_some(self.resource)?.strip_prefix(kind)?.strip_prefix('/')
    }
}
