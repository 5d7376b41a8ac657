//! Names of things: ARNs and the random ids ECS gives to deployments, revisions, tasks and hooks.

/// The account and region every ARN carries.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Twelve digits.
    pub account: String,
    /// `eu-central-1`, …
    pub region: String,
}

impl Identity {
    fn arn(&self, rest: &str) -> String {
        format!("arn:aws:ecs:{}:{}:{rest}", self.region, self.account)
    }

    pub(super) fn cluster(&self, cluster: &str) -> String {
        self.arn(&format!("cluster/{cluster}"))
    }

    pub(super) fn service(&self, cluster: &str, service: &str) -> String {
        self.arn(&format!("service/{cluster}/{service}"))
    }

    pub(super) fn service_deployment(&self, cluster: &str, service: &str, id: &str) -> String {
        self.arn(&format!("service-deployment/{cluster}/{service}/{id}"))
    }

    pub(super) fn service_revision(&self, cluster: &str, service: &str, id: &str) -> String {
        self.arn(&format!("service-revision/{cluster}/{service}/{id}"))
    }

    pub(super) fn task(&self, cluster: &str, id: &str) -> String {
        self.arn(&format!("task/{cluster}/{id}"))
    }

    pub(super) fn container(&self, cluster: &str, task: &str, id: &str) -> String {
        self.arn(&format!("container/{cluster}/{task}/{id}"))
    }

    pub(super) fn task_definition(&self, family: &str, revision: u32) -> String {
        self.arn(&format!("task-definition/{family}:{revision}"))
    }
}

/// The part of an ARN after `kind/`, or the text itself when it is not an ARN.
pub(super) fn resource<'a>(arn_or_name: &'a str, kind: &str) -> &'a str {
    if !arn_or_name.starts_with("arn:") {
        return arn_or_name;
    }
    let rest = arn_or_name.splitn(6, ':').nth(5).unwrap_or(arn_or_name);
    rest.strip_prefix(kind).and_then(|rest| rest.strip_prefix('/')).unwrap_or(rest)
}

fn random(alphabet: &[u8], length: usize) -> String {
    (0..length).map(|_| char::from(alphabet[fastrand::usize(..alphabet.len())])).collect()
}

const ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The last part of a service deployment's ARN.
pub(super) fn service_deployment_id() -> String {
    random(ALPHANUMERIC, 21)
}

/// The last part of a service revision's ARN, and of an `ecs-svc/…` deployment id.
pub(super) fn number() -> String {
    format!("{}{}", fastrand::u8(1..=9), random(b"0123456789", 18))
}

/// The last part of a task's ARN.
pub(super) fn task_id() -> String {
    random(b"0123456789abcdef", 32)
}

/// A hook id as `ContinueServiceDeployment` takes it.
pub(super) fn hook_id(kind: &str) -> String {
    format!("ecs-{kind}-{}", random(ALPHANUMERIC, 43))
}

/// A version 4 UUID, which service events carry.
pub(super) fn uuid() -> String {
    let hex = task_id();
    format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_and_names_are_both_understood() {
        assert_eq!(resource("arn:aws:ecs:eu-west-1:1:service/c/s", "service"), "c/s");
        assert_eq!(resource("s", "service"), "s");
        assert_eq!(resource("arn:aws:ecs:eu-west-1:1:task-definition/f:3", "task-definition"), "f:3");
    }
}
