//! PURE: what the host of a registry says about where to ask.

/// A private ECR registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registry<'a> {
    /// The account it belongs to.
    pub(crate) account: &'a str,
    /// Its region.
    pub(crate) region: &'a str,
}

impl<'a> Registry<'a> {
    /// From a host: `ACCOUNT.dkr.ecr.REGION.amazonaws.com`, or dual-stack `ACCOUNT.dkr-ecr.REGION.on.aws`; each may be FIPS. The
    /// domain differs by partition. `None` for any other registry.
    pub(crate) fn parse(host: &'a str) -> Option<Self> {
        let mut parts = host.split('.');
        let account =
            parts.next().filter(|text| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()))?;
        match parts.next()? {
            "dkr" => matches!(parts.next()?, "ecr" | "ecr-fips").then_some(())?,
            "dkr-ecr" | "dkr-ecr-fips" => {}
            _ => return None,
        }
        let region = parts.next().filter(|region| region.contains('-'))?;
        parts.next().map(|_| Self { account, region })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_of_ecr() {
        for host in [
            "111122223333.dkr.ecr.eu-central-1.amazonaws.com",
            "111122223333.dkr.ecr-fips.eu-central-1.amazonaws.com",
            "111122223333.dkr.ecr.eu-central-1.amazonaws.com.cn",
            "111122223333.dkr-ecr.eu-central-1.on.aws",
        ] {
            let registry = Registry { account: "111122223333", region: "eu-central-1" };
            assert_eq!(Registry::parse(host), Some(registry), "{host}");
        }
    }

    #[test]
    fn other_hosts() {
        for host in [
            "docker.io",
            "public.ecr.aws",
            "registry.example.com:5000",
            "11112222.dkr.ecr.eu-central-1.amazonaws.com",
            "111122223333.dkr.gcr.eu-central-1.amazonaws.com",
            "111122223333.dkr.ecr.eu-central-1",
            "",
        ] {
            assert_eq!(Registry::parse(host), None, "{host}");
        }
    }
}
