//! Names, identifiers and ARNs as types of their own: a tag, a digest, an ARN and a name are never mixed up.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A value that does not have the form its type asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a valid {what}: {allowed}")]
pub struct InvalidId {
    /// What was expected, e.g. `image digest`.
    pub what: &'static str,
    /// What was found.
    pub found: String,
    /// What is allowed.
    pub allowed: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $allowed:literal, $pattern:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "description": concat!($what, ": ", $allowed) })
            }
        }

        impl $name {
            /// Checks the form and wraps the value.
            pub fn new(value: impl Into<String>) -> Result<Self, InvalidId> {
                let value = value.into();
                let valid: fn(&str) -> bool = $check;
                if valid(&value) {
                    Ok(Self(value))
                } else {
                    Err(InvalidId { what: $what, found: value, allowed: $allowed })
                }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(value: &str) -> Result<Self, InvalidId> {
                Self::new(value)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(value: String) -> Result<Self, InvalidId> {
                Self::new(value)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }
    };
}

fn name_like(value: &str, max: usize) -> bool {
    !value.is_empty()
        && value.len() <= max
        && value.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

fn is_arn(value: &str, service: &str) -> bool {
    let mut parts = value.splitn(6, ':');
    parts.next() == Some("arn")
        && parts.next().is_some_and(|partition| partition.starts_with("aws"))
        && parts.next() == Some(service)
        && parts.nth(2).is_some_and(|resource| !resource.is_empty())
}

id!(
    /// The name Tidegate knows a service by: the `service:` of its policy.
    ServiceName, "service name", "1 to 128 letters, digits, '-' or '_', starting with a letter or digit",
    r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$", |v| name_like(v, 128) && v.starts_with(|c: char| c.is_ascii_alphanumeric())
);
id!(
    /// A release: a ULID in lower case, so that ids sort by the time of creation.
    ReleaseId, "release id", "26 lower-case letters and digits (a ULID)",
    r"^[0-9a-z]{26}$", |v| v.len() == 26 && v.chars().all(|c| c.is_ascii_digit() || c.is_ascii_lowercase())
);
impl ReleaseId {
    /// When it was made: the first ten characters of a ULID are milliseconds since 1970. `None` for what is no ULID.
    pub fn made_at(&self) -> Option<jiff::Timestamp> {
        const CROCKFORD: &str = "0123456789abcdefghjkmnpqrstvwxyz";
        let mut digits =
            self.as_str().chars().take(10).map(|c| CROCKFORD.find(c).and_then(|at| i64::try_from(at).ok()));
        let millis = digits.try_fold(0_i64, |millis, digit| Some(millis * 32 + digit?))?;
        jiff::Timestamp::from_millisecond(millis).ok()
    }
}
id!(
    /// An AWS account id.
    AccountId, "AWS account id", "12 digits", r"^[0-9]{12}$", |v| v.len() == 12 && v.chars().all(|c| c.is_ascii_digit())
);
id!(
    /// An AWS region, e.g. `eu-central-1`.
    Region, "AWS region", "lower-case letters, digits and '-', e.g. eu-central-1",
    r"^[a-z]{2,}-[a-z0-9-]+$",
    |v| v.contains('-') && v.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
);
id!(
    /// The digest an image is pinned by. Only this ever reaches ECS.
    Digest, "image digest", "sha256: followed by 64 lower-case hexadecimal digits",
    r"^sha256:[0-9a-f]{64}$",
    |v| v.strip_prefix("sha256:").is_some_and(|h| h.len() == 64 && h.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c)))
);
id!(
    /// An image tag. Tags select and inform; they never reach ECS.
    Tag, "image tag", "1 to 128 letters, digits, '_', '.' or '-', not starting with '.' or '-'",
    r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$",
    |v| !v.is_empty() && v.len() <= 128 && !v.starts_with(['.', '-']) && v.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
);
id!(
    /// An ECR repository name, without registry: `shop/checkout`.
    RepositoryName, "ECR repository name", "2 to 256 lower-case letters, digits, '-', '_', '.' and '/'",
    r"^[a-z0-9][a-z0-9._/-]{1,255}$",
    |v| v.len() >= 2 && v.len() <= 256 && v.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && v.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_./".contains(c))
);
id!(
    /// An ECS cluster name.
    ClusterName, "ECS cluster name", "1 to 255 letters, digits, '-' or '_'",
    r"^[A-Za-z0-9_-]{1,255}$", |v| name_like(v, 255)
);
id!(
    /// An ECS service name, without cluster.
    EcsServiceName, "ECS service name", "1 to 255 letters, digits, '-' or '_'",
    r"^[A-Za-z0-9_-]{1,255}$", |v| name_like(v, 255)
);
id!(
    /// The name of a container within a task definition.
    ContainerName, "container name", "1 to 255 letters, digits, '-' or '_'",
    r"^[A-Za-z0-9_-]{1,255}$", |v| name_like(v, 255)
);
id!(
    /// A Lambda function's name, without account and qualifier.
    FunctionName, "Lambda function name", "1 to 64 letters, digits, '-' or '_'",
    r"^[A-Za-z0-9_-]{1,64}$", |v| name_like(v, 64)
);
id!(
    /// An alias of a Lambda function.
    AliasName, "Lambda alias name", "1 to 128 letters, digits, '-' or '_', not digits alone",
    r"^(?!^[0-9]+$)[A-Za-z0-9_-]{1,128}$", |v| name_like(v, 128) && !v.chars().all(|c| c.is_ascii_digit())
);
id!(
    /// A published version of a Lambda function. `$LATEST` is none: it changes.
    FunctionVersion, "published version of a Lambda function", "1 to 20 digits",
    r"^[0-9]{1,20}$", |v| !v.is_empty() && v.len() <= 20 && v.chars().all(|c| c.is_ascii_digit())
);
id!(
    /// A CloudWatch alarm name, metric or composite.
    AlarmName, "CloudWatch alarm name", "1 to 255 characters",
    r"^.{1,255}$", |v| !v.is_empty() && v.chars().count() <= 255 && !v.chars().any(char::is_control)
);
id!(
    /// The ARN of one task definition revision.
    TaskDefinitionArn, "task definition ARN", "arn:aws:ecs:REGION:ACCOUNT:task-definition/FAMILY:REVISION",
    r"^arn:aws[a-z-]*:ecs:.*:task-definition/.+:[0-9]+$", |v| is_arn(v, "ecs") && v.contains(":task-definition/")
);
id!(
    /// The ARN of an ECS service deployment.
    DeploymentArn, "service deployment ARN", "arn:aws:ecs:REGION:ACCOUNT:service-deployment/CLUSTER/SERVICE/ID",
    r"^arn:aws[a-z-]*:ecs:.*:service-deployment/.+$", |v| is_arn(v, "ecs") && v.contains(":service-deployment/")
);
id!(
    /// The ARN of an ECS service revision: what a service's tasks were started from.
    ServiceRevisionArn, "service revision ARN", "arn:aws:ecs:REGION:ACCOUNT:service-revision/CLUSTER/SERVICE/ID",
    r"^arn:aws[a-z-]*:ecs:.*:service-revision/.+$", |v| is_arn(v, "ecs") && v.contains(":service-revision/")
);
id!(
    /// The ARN of a task.
    TaskArn, "ECS task ARN", "arn:aws:ecs:REGION:ACCOUNT:task/CLUSTER/ID",
    r"^arn:aws[a-z-]*:ecs:.*:task/.+$", |v| is_arn(v, "ecs") && v.contains(":task/")
);
id!(
    /// The ARN of a listener rule (ALB) or a listener (NLB): what carries the weights.
    RuleArn, "listener or rule ARN", "arn:aws:elasticloadbalancing:REGION:ACCOUNT:listener… or listener-rule…",
    r"^arn:aws[a-z-]*:elasticloadbalancing:.*$", |v| is_arn(v, "elasticloadbalancing")
);
id!(
    /// The ARN of a target group.
    TargetGroupArn, "target group ARN", "arn:aws:elasticloadbalancing:REGION:ACCOUNT:targetgroup/NAME/ID",
    r"^arn:aws[a-z-]*:elasticloadbalancing:.*:targetgroup/.+$", |v| is_arn(v, "elasticloadbalancing") && v.contains(":targetgroup/")
);
id!(
    /// The id of one lifecycle hook of one deployment: `ecs-{type}-{id}`.
    HookId, "lifecycle hook id", "1 to 255 characters",
    r"^.{1,255}$", |v| !v.is_empty() && v.len() <= 255
);
id!(
    /// The ARN of an SNS topic.
    TopicArn, "ARN of an SNS topic", "arn:aws:sns:REGION:ACCOUNT:NAME",
    r"^arn:[^:]+:sns:[^:]+:[0-9]{12}:.+$", |v| is_arn(v, "sns") && v.split(':').count() == 6
);
id!(
    /// The ARN of an EventBridge bus.
    EventBusArn, "ARN of an event bus", "arn:aws:events:REGION:ACCOUNT:event-bus/NAME",
    r"^arn:[^:]+:events:[^:]+:[0-9]{12}:event-bus/.+$",
    |v| is_arn(v, "events") && v.splitn(6, ':').nth(5).is_some_and(|name| name.starts_with("event-bus/"))
);
id!(
    /// A Slack channel, by name or by id.
    SlackChannel, "Slack channel", "#name, or the channel's id, e.g. C0123ABCDEF",
    r"^#[^A-Z\s]{1,80}$|^[CDG][A-Z0-9]{8,}$",
    |v| match v.strip_prefix('#') {
        Some(name) => !name.is_empty() && name.len() <= 80 && !name.chars().any(|c| c.is_whitespace() || c.is_ascii_uppercase()),
        None => v.len() >= 9 && v.starts_with(['C', 'D', 'G']) && v.chars().all(|c| c.is_ascii_digit() || c.is_ascii_uppercase()),
    }
);
id!(
    /// A member of a Slack workspace.
    SlackMember, "Slack member id", "U or W and letters and digits, e.g. U0123ABCDEF",
    r"^[UW][A-Z0-9]{8,}$",
    |v| v.len() >= 9 && v.starts_with(['U', 'W']) && v.chars().all(|c| c.is_ascii_digit() || c.is_ascii_uppercase())
);
id!(
    /// A GitHub repository with its owner.
    GitHubRepository, "GitHub repository", "OWNER/NAME, e.g. acme/shop",
    r"^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$",
    |v| v.split_once('/').is_some_and(|(owner, name)| {
        let allowed = |text: &str, more: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
        allowed(owner, "-") && allowed(name, "-_.") && name != "." && name != ".."
    })
);
id!(
    /// The name of a receiver in the secret that holds addresses and keys.
    ReceiverName, "name of a receiver", "1 to 64 letters, digits, '-' or '_'",
    r"^[A-Za-z0-9_-]{1,64}$", |v| name_like(v, 64)
);
id!(
    /// A role to assume for a target outside the home account.
    RoleArn, "IAM role ARN", "arn:aws:iam::ACCOUNT:role/NAME",
    r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$", |v| is_arn(v, "iam") && v.contains(":role/")
);

id!(
    /// AWS identities by pattern: an ARN of a role, user or assumed role, in which `*` stands for anything.
    AwsPattern, "AWS identity", "an ARN such as arn:aws:iam::111122223333:role/alice or arn:aws:sts::111122223333:assumed-role/admin/*",
    r"^arn:.+$", |v| v.starts_with("arn:") && v.len() <= 2048
);

/// How closely a pattern fits an identity; the larger says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Closeness {
    whole: bool,
    characters: usize,
}

impl Closeness {
    fn of(pattern: &str, text: &str) -> Option<Self> {
        stars_match(pattern, text).then(|| Self {
            whole: !pattern.contains('*'),
            characters: pattern.chars().filter(|c| *c != '*').count(),
        })
    }
}

impl ReleaseId {
    /// The time it was made, which is enough to tell it from others: for people, and accepted wherever a release is named.
    pub fn short(&self) -> &str {
        &self.0[..10]
    }
}

impl AwsPattern {
    /// Whether the identity is meant. A role means all of its sessions: that is how a caller who assumed it appears.
    pub fn matches(&self, arn: &str) -> bool {
        self.closeness(arn).is_some()
    }

    /// How closely it fits the identity; `None` when the identity is not meant.
    pub fn closeness(&self, arn: &str) -> Option<Closeness> {
        Closeness::of(&self.0, arn).or_else(|| Closeness::of(&self.sessions()?, arn))
    }

    /// `arn:aws:iam::1:role/path/NAME` as `arn:aws:sts::1:assumed-role/NAME/*`: sessions do not tell the role's path.
    fn sessions(&self) -> Option<String> {
        let (start, role) = self.0.split_once(":role/")?;
        let start = start.replacen(":iam:", ":sts:", 1);
        Some(format!("{start}:assumed-role/{}/*", role.rsplit('/').next()?))
    }

    /// How closely it fits a name without an ARN, as AWS services call an identity: `ROLE/SESSION`, or a user's name.
    pub(crate) fn closeness_to_name(&self, name: &str) -> Option<Closeness> {
        let session = self.0.split_once(":assumed-role/").map(|(_, session)| session);
        let user = self.0.split_once(":user/").and_then(|(_, user)| user.rsplit('/').next());
        let tail = session.or(user).filter(|tail| !tail.trim_matches(['*', '/']).is_empty())?;
        Closeness::of(tail, name)
    }

    /// The session name that this pattern takes for a person, when it is one the caller chose. IAM Identity Center sets the names of its
    /// sessions itself.
    pub fn chosen_session(&self) -> Option<&str> {
        let (_, session) = self.0.split_once(":assumed-role/")?;
        let (role, session) = session.split_once('/')?;
        (session.chars().any(|c| c != '*') && !role.starts_with("AWSReservedSSO_")).then_some(session)
    }
}

fn stars_match(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(between) = last.replace(part) {
            let Some(at) = rest.find(between) else { return false };
            rest = &rest[at + between.len()..];
        }
    }
    last.map_or(rest.is_empty(), |end: &str| rest.ends_with(end))
}

impl Digest {
    /// The first twelve hexadecimal digits, for people.
    pub fn short(&self) -> &str {
        &self.0["sha256:".len().."sha256:".len() + 12]
    }
}

impl TaskDefinitionArn {
    /// `family:revision`, for people and for finding the family.
    pub fn short(&self) -> &str {
        self.0.rsplit_once('/').map_or(self.0.as_str(), |(_, short)| short)
    }

    /// The family.
    pub fn family(&self) -> &str {
        self.short().rsplit_once(':').map_or(self.short(), |(family, _)| family)
    }
}

impl DeploymentArn {
    /// The id at the end, for people.
    pub fn short(&self) -> &str {
        self.0.rsplit_once('/').map_or(self.0.as_str(), |(_, short)| short)
    }
}

impl TaskArn {
    /// The id at the end, for people and for log streams.
    pub fn short(&self) -> &str {
        self.0.rsplit_once('/').map_or(self.0.as_str(), |(_, short)| short)
    }
}

impl RuleArn {
    /// The Application Load Balancer as Amazon CloudWatch names it: `app/NAME/ID`. `None` for a Network Load Balancer, which counts no requests.
    pub fn application_load_balancer(&self) -> Option<String> {
        let (_, rest) = self.0.split_once(":listener-rule/").or_else(|| self.0.split_once(":listener/"))?;
        let mut parts = rest.split('/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("app"), Some(name), Some(id)) => Some(format!("app/{name}/{id}")),
            _ => None,
        }
    }
}

impl TargetGroupArn {
    /// As Amazon CloudWatch names it: `targetgroup/NAME/ID`.
    pub fn metric_name(&self) -> &str {
        self.0.rsplit_once(':').map_or(self.0.as_str(), |(_, name)| name)
    }

    /// The target group's name, for people.
    pub fn short(&self) -> &str {
        self.0.split('/').nth(1).unwrap_or(self.0.as_str())
    }
}

/// Where a release goes: a target is complete from the first day, so that waves over accounts need no new ledger.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Target {
    /// The account the service runs in.
    pub account: AccountId,
    /// The region the service runs in.
    pub region: Region,
    /// What is released to there.
    pub resource: Resource,
    /// A role to assume; none in the home account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleArn>,
}

/// What can be released to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Resource {
    /// A service of Amazon ECS.
    EcsService(EcsService),
    /// A Lambda function, by one of its aliases.
    LambdaAlias(LambdaAlias),
}

/// A Lambda function, by the alias that its callers use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LambdaAlias {
    /// The function.
    pub function: FunctionName,
    /// The alias.
    pub alias: AliasName,
}

impl fmt::Display for LambdaAlias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.function, self.alias)
    }
}

/// A service of Amazon ECS.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EcsService {
    /// The cluster.
    pub cluster: ClusterName,
    /// The service.
    pub service: EcsServiceName,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EcsService(EcsService { cluster, service }) => write!(f, "{cluster}/{service}"),
            Self::LambdaAlias(at) => at.fmt(f),
        }
    }
}

impl Target {
    /// The ECS service, where it is one.
    pub fn ecs(&self) -> Option<&EcsService> {
        match &self.resource {
            Resource::EcsService(service) => Some(service),
            Resource::LambdaAlias(_) => None,
        }
    }

    /// The function and its alias, where it is one.
    pub fn lambda(&self) -> Option<&LambdaAlias> {
        match &self.resource {
            Resource::LambdaAlias(at) => Some(at),
            Resource::EcsService(_) => None,
        }
    }

    /// Whether a release to the one changes the other, whichever role they are reached with. What is published is one for all aliases of a
    /// function.
    pub fn is_same_resource(&self, other: &Self) -> bool {
        let same = match (&self.resource, &other.resource) {
            (Resource::LambdaAlias(one), Resource::LambdaAlias(other)) => one.function == other.function,
            (one, other) => one == other,
        };
        same && (&self.account, &self.region) == (&other.account, &other.region)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.resource, self.account, self.region)
    }
}

/// An image in a registry, pinned by digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Image {
    /// The registry's host: `111122223333.dkr.ecr.eu-central-1.amazonaws.com`.
    pub registry: String,
    /// The repository.
    pub repository: RepositoryName,
    /// What runs.
    pub digest: Digest,
    /// The tag that selected it, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
}

impl Image {
    /// The reference that reaches ECS: always by digest.
    pub fn pinned(&self) -> String {
        format!("{}/{}@{}", self.registry, self.repository, self.digest)
    }

    /// What people call it: its tag, else the beginning of its digest.
    pub fn label(&self) -> String {
        self.tag.as_ref().map_or_else(|| self.digest.short().to_owned(), ToString::to_string)
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tag {
            Some(tag) => write!(f, "{}:{} ({})", self.repository, tag, self.digest.short()),
            None => write!(f, "{}@{}", self.repository, self.digest.short()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_not_a_tag_and_a_tag_is_not_a_digest() {
        assert!(Digest::new("v1.2.3").is_err());
        assert!(Tag::new(format!("sha256:{}", "0".repeat(64))).is_err());
        let error = Digest::new("sha256:XYZ").unwrap_err().to_string();
        assert_eq!(
            error,
            r#""sha256:XYZ" is not a valid image digest: sha256: followed by 64 lower-case hexadecimal digits"#
        );
    }

    #[test]
    fn identities_match_whole_arns_with_stars_for_anything() {
        let matches = |pattern: &str, arn: &str| AwsPattern::new(pattern).unwrap().matches(arn);
        assert!(matches("arn:aws:iam::1:role/a", "arn:aws:iam::1:role/a"));
        assert!(!matches("arn:aws:iam::1:role/a", "arn:aws:iam::1:role/ab"));
        assert!(matches("arn:aws:sts::1:assumed-role/admin/*", "arn:aws:sts::1:assumed-role/admin/me"));
        assert!(matches("arn:*:assumed-role/*/me", "arn:aws:sts::1:assumed-role/admin/me"));
        assert!(!matches("arn:*:assumed-role/*/me", "arn:aws:sts::1:assumed-role/admin/you"));
        assert!(matches("arn:aws:iam::1:role/team/a", "arn:aws:sts::1:assumed-role/a/whoever"));
        assert!(!matches("arn:aws:iam::1:role/team/a", "arn:aws:sts::1:assumed-role/ab/a"));
        assert!(!matches("arn:aws:iam::1:role/team/a", "arn:aws:sts::2:assumed-role/a/whoever"));
        assert!(!matches("arn:aws:iam::1:user/a", "arn:aws:sts::1:assumed-role/a/a"));
    }

    #[test]
    fn short_forms_are_cut_at_the_right_place() {
        let arn =
            TaskDefinitionArn::new("arn:aws:ecs:eu-central-1:111122223333:task-definition/web:41").unwrap();
        assert_eq!((arn.short(), arn.family()), ("web:41", "web"));
    }
}
