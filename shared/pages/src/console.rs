//! Pages of others about what a release does: the AWS console, the commit. Nothing is fetched from there; a link is followed by whoever wants to.

use maud::{Markup, html};
use tidegate_core::ids::{EcsService, LambdaAlias, Region, Resource, Target};
use tidegate_core::intent::Provenance;
use tidegate_view::AlarmView;

/// The console's host in a region.
fn host(region: &Region) -> String {
    let region = region.as_str();
    let host = if region.starts_with("cn-") {
        "console.amazonaws.cn"
    } else if region.starts_with("us-gov-") {
        "console.amazonaws-us-gov.com"
    } else {
        "console.aws.amazon.com"
    };
    format!("{region}.{host}")
}

/// A part of an address, with everything but letters and digits escaped.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The target, and what it is called.
fn page(target: &Target) -> (String, &'static str) {
    let (host, region) = (host(&target.region), &target.region);
    match &target.resource {
        Resource::EcsService(EcsService { cluster, service }) => {
            let (cluster, service) = (escaped(cluster.as_str()), escaped(service.as_str()));
            let path = format!("ecs/v2/clusters/{cluster}/services/{service}/deployments");
            (format!("https://{host}/{path}?region={region}"), "deployments in Amazon ECS")
        }
        Resource::LambdaAlias(LambdaAlias { function, alias }) => {
            let (function, alias) = (escaped(function.as_str()), escaped(alias.as_str()));
            let path = format!("lambda/home?region={region}#/functions/{function}/aliases/{alias}");
            (format!("https://{host}/{path}"), "alias in AWS Lambda")
        }
    }
}

/// An alarm.
pub(crate) fn alarm(target: &Target, name: &str) -> String {
    let (host, region) = (host(&target.region), &target.region);
    format!("https://{host}/cloudwatch/home?region={region}#alarmsV2:alarm/{}", escaped(name))
}

/// Where to look on.
pub(crate) fn links(target: &Target, alarms: &[AlarmView]) -> Markup {
    let (address, called) = page(target);
    html! {
        a href=(address) rel="noreferrer" { (called) }
        @for alarm_of in alarms.iter().take(1) {
            ", " a href=(alarm(target, &alarm_of.name)) rel="noreferrer" { "alarm in CloudWatch" }
        }
    }
}

/// The page of a commit, where its build says which repository it is of: an address at github.com names owner and repository.
pub(crate) fn commit(provenance: &Provenance) -> Option<String> {
    let commit = provenance.commit.as_deref()?;
    let hexadecimal = (7..=64).contains(&commit.len()) && commit.chars().all(|c| c.is_ascii_hexdigit());
    let mut parts = provenance.url.as_deref()?.strip_prefix("https://github.com/")?.split('/');
    let name = |part: &&str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let (owner, repository) = (parts.next().filter(name)?, parts.next().filter(name)?);
    hexadecimal.then(|| format!("https://github.com/{owner}/{repository}/commit/{commit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_linked_only_where_the_build_names_its_repository() {
        let of = |commit: &str, url: &str| {
            self::commit(&Provenance {
                commit: Some(commit.into()),
                url: Some(url.into()),
                author: None,
                committed_at: None,
            })
        };
        let build = "https://github.com/shop/checkout/actions/runs/17";
        assert_eq!(of("4f2a9c1", build).as_deref(), Some("https://github.com/shop/checkout/commit/4f2a9c1"));
        for (commit, url) in [
            ("main", build),
            ("4f2a9c1/../..", build),
            ("4f2a9c1", "https://github.com/shop"),
            ("4f2a9c1", "https://github.com//checkout/x"),
            ("4f2a9c1", "https://github.com.example.com/shop/checkout"),
            ("4f2a9c1", "javascript:alert(1)//https://github.com/shop/checkout"),
            ("4f2a9c1", "https://github.com/sh\"op/checkout"),
        ] {
            assert_eq!(of(commit, url), None, "{commit} {url}");
        }
    }

    #[test]
    fn names_cannot_leave_their_place_in_an_address() {
        assert_eq!(escaped("a/b?c#d e\"é"), "a%2Fb%3Fc%23d%20e%22%C3%A9");
    }

    #[test]
    fn each_partition_has_its_own_console() {
        for (region, wanted) in [
            ("eu-central-1", "eu-central-1.console.aws.amazon.com"),
            ("cn-north-1", "cn-north-1.console.amazonaws.cn"),
            ("us-gov-west-1", "us-gov-west-1.console.amazonaws-us-gov.com"),
        ] {
            assert_eq!(host(&Region::new(region).unwrap()), wanted);
        }
    }
}
