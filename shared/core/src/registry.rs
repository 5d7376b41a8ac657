//! Registries by their host: which are private ECR registries, and which hosts are the same one.
//!
//! One ECR registry has several hosts: the usual one, one for FIPS, and dual-stack ones for IPv4 and IPv6. What a registry *is* is its
//! account and region, so that is what is compared; the host is kept, because a network may reach only one of them.

use std::fmt;

use crate::ids::{AccountId, Image, Region};

/// The usual host of a private ECR registry.
pub fn ecr_registry(account: &AccountId, region: &Region) -> String {
    Registry::ecr(account, region).host().to_owned()
}

/// A registry, with the host it was named by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    host: String,
    ecr: Option<EcrRegistry>,
}

/// A private ECR registry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct EcrRegistry {
    /// The account it belongs to.
    pub account: AccountId,
    pub region: Region,
    /// Which of its hosts was named.
    pub endpoint: Endpoint,
}

/// The kinds of host an ECR registry has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `ACCOUNT.dkr.ecr.REGION.amazonaws.com`
    Standard,
    /// `ACCOUNT.dkr.ecr-fips.REGION.amazonaws.com`
    Fips,
    /// `ACCOUNT.dkr-ecr.REGION.on.aws`
    DualStack,
    /// `ACCOUNT.dkr-ecr-fips.REGION.on.aws`
    DualStackFips,
}

/// The domains of AWS's partitions: regions by prefix, the domain, and that of dual-stack hosts.
///
/// As the ECR credential helper of AWS reads hosts; the dual-stack domains of the isolated partitions are not documented.
const DOMAINS: &[(&str, &str, Option<&str>)] = &[
    ("cn-", "amazonaws.com.cn", Some("on.amazonwebservices.com.cn")),
    ("us-iso-", "c2s.ic.gov", None),
    ("us-isob-", "sc2s.sgov.gov", None),
    ("us-isof-", "csp.hci.ic.gov", None),
    ("eu-isoe-", "cloud.adc-e.uk", None),
    ("eusc-", "amazonaws.eu", Some("on.amazonwebservices.eu")),
    ("", "amazonaws.com", Some("on.aws")),
];

fn domains(region: &str) -> (&'static str, Option<&'static str>) {
    let found = DOMAINS.iter().find(|(prefix, ..)| region.starts_with(prefix));
    found.map_or(("amazonaws.com", Some("on.aws")), |(_, domain, dual_stack)| (domain, *dual_stack))
}

impl Registry {
    /// Reads a host, as it stands before the first slash of an image reference.
    pub fn parse(host: &str) -> Self {
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix(":443").unwrap_or(&host).to_owned();
        let ecr = EcrRegistry::parse(&host);
        Self { host, ecr }
    }

    /// The private ECR registry of an account and region, by its usual host.
    pub fn ecr(account: &AccountId, region: &Region) -> Self {
        let host = format!("{account}.dkr.ecr.{region}.{}", domains(region.as_str()).0);
        let ecr =
            EcrRegistry { account: account.clone(), region: region.clone(), endpoint: Endpoint::Standard };
        Self { host, ecr: Some(ecr) }
    }

    /// The host it was named by.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The private ECR registry it is; `None` for any other.
    pub fn as_ecr(&self) -> Option<&EcrRegistry> {
        self.ecr.as_ref()
    }

    /// Whether both hosts are of one registry.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.ecr, &other.ecr) {
            (Some(one), Some(other)) => one.account == other.account && one.region == other.region,
            (None, None) => canonical(&self.host) == canonical(&other.host),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)
    }
}

/// Docker Hub goes by several names.
fn canonical(host: &str) -> &str {
    match host {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => "docker.io",
        other => other,
    }
}

impl EcrRegistry {
    fn parse(host: &str) -> Option<Self> {
        let (account, rest) = host.split_once('.')?;
        let (endpoint, rest) = [
            ("dkr.ecr.", Endpoint::Standard),
            ("dkr.ecr-fips.", Endpoint::Fips),
            ("dkr-ecr.", Endpoint::DualStack),
            ("dkr-ecr-fips.", Endpoint::DualStackFips),
        ]
        .into_iter()
        .find_map(|(prefix, endpoint)| Some((endpoint, rest.strip_prefix(prefix)?)))?;
        let (region, domain) = rest.split_once('.')?;
        let (standard, dual_stack) = domains(region);
        let right = match endpoint {
            Endpoint::Standard | Endpoint::Fips => domain == standard,
            Endpoint::DualStack | Endpoint::DualStackFips => Some(domain) == dual_stack,
        };
        let (account, region) = (AccountId::new(account).ok()?, Region::new(region).ok()?);
        right.then_some(Self { account, region, endpoint })
    }
}

impl Image {
    /// The same image by the host another reference to its registry names: a network that reaches one host of a registry need not reach the
    /// others, and what runs there shows which one it reaches. A reference to another registry changes nothing.
    #[must_use]
    pub fn on_the_host_of(&self, reference: &str) -> Self {
        let host = reference.split_once('/').map_or("", |(host, _)| host);
        let other = Registry::parse(host);
        if other.as_ecr().is_some() && other.is_same(&Registry::parse(&self.registry)) {
            return Self { registry: other.host, ..self.clone() };
        }
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RepositoryName;

    fn home() -> Registry {
        Registry::ecr(&AccountId::new("111122223333").unwrap(), &Region::new("eu-central-1").unwrap())
    }

    #[test]
    fn every_host_of_a_registry_is_the_same_registry() {
        for (host, endpoint) in [
            ("111122223333.dkr.ecr.eu-central-1.amazonaws.com", Endpoint::Standard),
            ("111122223333.dkr.ecr-fips.eu-central-1.amazonaws.com", Endpoint::Fips),
            ("111122223333.dkr-ecr.eu-central-1.on.aws", Endpoint::DualStack),
            ("111122223333.dkr-ecr-fips.eu-central-1.on.aws", Endpoint::DualStackFips),
            ("111122223333.DKR.ecr.eu-central-1.amazonaws.com:443", Endpoint::Standard),
        ] {
            let registry = Registry::parse(host);
            assert!(registry.is_same(&home()), "{host}");
            assert_eq!(registry.as_ecr().unwrap().endpoint, endpoint, "{host}");
        }
    }

    #[test]
    fn each_partition_has_its_domains() {
        for host in [
            "111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn",
            "111122223333.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn",
            "111122223333.dkr.ecr.us-gov-west-1.amazonaws.com",
            "111122223333.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
            "111122223333.dkr-ecr.us-gov-west-1.on.aws",
            "111122223333.dkr.ecr.us-iso-east-1.c2s.ic.gov",
            "111122223333.dkr.ecr.us-isob-east-1.sc2s.sgov.gov",
            "111122223333.dkr.ecr.us-isof-south-1.csp.hci.ic.gov",
            "111122223333.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk",
            "111122223333.dkr.ecr.eusc-de-east-1.amazonaws.eu",
        ] {
            let registry = Registry::parse(host);
            let ecr = registry.as_ecr().unwrap_or_else(|| panic!("{host}"));
            assert!(Registry::ecr(&ecr.account, &ecr.region).is_same(&registry), "{host}");
        }
    }

    #[test]
    fn other_hosts_are_other_registries() {
        for host in [
            "999988887777.dkr.ecr.eu-central-1.amazonaws.com",
            "111122223333.dkr.ecr.us-east-1.amazonaws.com",
            "111122223333.dkr.ecr.eu-central-1.amazonaws.com.cn",
            "111122223333.dkr.ecr.cn-north-1.amazonaws.com",
            "111122223333.dkr.ecr.eu-central-1.on.aws",
            "111122223333.dkr-ecr.eu-central-1.amazonaws.com",
            "111122223333.dkr.ecr.eu-central-1.amazonaws.com.example.org",
            "111122223333.dkr.gcr.eu-central-1.amazonaws.com",
            "11112222.dkr.ecr.eu-central-1.amazonaws.com",
            "111122223333.dkr.ecr.eu-central-1",
            "public.ecr.aws",
            "docker.io",
            "ghcr.io",
            "localhost:5000",
            "",
        ] {
            assert!(!Registry::parse(host).is_same(&home()), "{host}");
        }
        assert!(Registry::parse("index.docker.io").is_same(&Registry::parse("docker.io")));
        assert!(!Registry::parse("public.ecr.aws").is_same(&Registry::parse("docker.io")));
    }

    #[test]
    fn an_image_goes_by_the_host_of_what_runs() {
        let image = Image {
            registry: home().to_string(),
            repository: RepositoryName::new("shop/checkout").unwrap(),
            digest: crate::ids::Digest::new(format!("sha256:{}", "a".repeat(64))).unwrap(),
            tag: None,
        };
        let dual_stack = "111122223333.dkr-ecr.eu-central-1.on.aws";
        assert_eq!(image.on_the_host_of(&format!("{dual_stack}/shop/other:v1")).registry, dual_stack);
        for other in [
            "nginx:1",
            "docker.io/shop/checkout:v1",
            "999988887777.dkr-ecr.eu-central-1.on.aws/shop/checkout:v1",
            "",
        ] {
            assert_eq!(image.on_the_host_of(other), image, "{other}");
        }
    }
}
