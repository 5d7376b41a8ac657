//! Where a release goes: one kind of target, each with its own fields.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::containers::ContainerSource;
use super::{EcsDestination, explain};
use crate::ids::{
    AccountId, AliasName, ContainerName, EcsService, FunctionName, LambdaAlias, Region, Resource, RoleArn,
    Target,
};

/// Where the release goes: exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "RawDestination", into = "RawDestination")]
#[schemars(with = "RawDestination")]
pub enum Destination {
    /// An Amazon ECS service.
    Ecs(EcsDestination),
    /// An AWS Lambda function made from an image, by an alias.
    Lambda(LambdaDestination),
}

/// An AWS Lambda function made from an image, by an alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LambdaDestination {
    /// The function's name.
    pub function: FunctionName,
    /// The alias whose invocations are shared out between the stable version and the candidate.
    pub alias: AliasName,
    /// The account of the function. Default: the account Tidegate is installed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The region of the function. Default: the region Tidegate is installed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// A role to assume for the function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleArn>,
}

/// What stands for the image of a target that has one image and no name for it.
static ONE_IMAGE: LazyLock<BTreeMap<ContainerName, ContainerSource>> = LazyLock::new(|| {
    let name = ContainerName::new("image").expect("it is a name");
    BTreeMap::from([(name, ContainerSource::default())])
});

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Destination")]
#[schemars(rename = "Destination", extend("oneOf" = [{"required": ["ecs"]}, {"required": ["lambda"]}]))]
struct RawDestination {
    /// An Amazon ECS service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ecs: Option<EcsDestination>,
    /// An AWS Lambda function made from an image, by an alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lambda: Option<LambdaDestination>,
}

impl TryFrom<RawDestination> for Destination {
    type Error = String;

    fn try_from(raw: RawDestination) -> Result<Self, String> {
        let RawDestination { ecs, lambda } = raw;
        let found: Vec<Self> = ecs.map(Self::Ecs).into_iter().chain(lambda.map(Self::Lambda)).collect();
        <[Self; 1]>::try_from(found).map(|[only]| only).map_err(|found| {
            let names: Vec<&str> = found.iter().map(Self::kind).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(" and ") };
            format!(
                "exactly one kind of target is needed, found {names}, allowed {}",
                explain::or(&Self::KINDS)
            )
        })
    }
}

impl From<Destination> for RawDestination {
    fn from(to: Destination) -> Self {
        match to {
            Destination::Ecs(ecs) => Self { ecs: Some(ecs), ..Self::default() },
            Destination::Lambda(lambda) => Self { lambda: Some(lambda), ..Self::default() },
        }
    }
}

impl Destination {
    /// Every kind there is, as it is written.
    const KINDS: [&str; 2] = ["ecs", "lambda"];

    /// As it is written: `ecs`.
    fn kind(&self) -> &'static str {
        match self {
            Self::Ecs(_) => "ecs",
            Self::Lambda(_) => "lambda",
        }
    }

    /// The field that says it: `to.ecs`.
    pub fn field(&self) -> String {
        format!("to.{}", self.kind())
    }

    /// The ECS service, where it is one.
    pub fn ecs(&self) -> Option<&EcsDestination> {
        match self {
            Self::Ecs(ecs) => Some(ecs),
            Self::Lambda(_) => None,
        }
    }

    /// What gets an image, and where its images come from.
    pub fn containers(&self) -> &BTreeMap<ContainerName, ContainerSource> {
        match self {
            Self::Ecs(ecs) => &ecs.containers,
            Self::Lambda(_) => &ONE_IMAGE,
        }
    }

    /// Their names, for people: `app`, `app and proxy`.
    pub fn container_names(&self) -> String {
        let names: Vec<&str> = self.containers().keys().map(ContainerName::as_str).collect();
        names.join(" and ")
    }

    /// Whether a role of another account, or one that may do less, is assumed for it.
    pub fn has_role(&self) -> bool {
        match self {
            Self::Ecs(ecs) => ecs.role.is_some(),
            Self::Lambda(lambda) => lambda.role.is_some(),
        }
    }

    /// Whether both go to the same place, whichever containers and role they name.
    pub fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ecs(one), Self::Ecs(other)) => {
                (&one.account, &one.region, &one.cluster, &one.service)
                    == (&other.account, &other.region, &other.cluster, &other.service)
            }
            (Self::Lambda(one), Self::Lambda(other)) => {
                (&one.account, &one.region, &one.function) == (&other.account, &other.region, &other.function)
            }
            (Self::Ecs(_) | Self::Lambda(_), _) => false,
        }
    }

    /// The complete target, with the home account and region where none is named.
    pub fn target(&self, home_account: &AccountId, home_region: &Region) -> Target {
        let (account, region, role, resource) = match self {
            Self::Ecs(to) => {
                let (cluster, service) = (to.cluster.clone(), to.service.clone());
                let resource = Resource::EcsService(EcsService { cluster, service });
                (&to.account, &to.region, &to.role, resource)
            }
            Self::Lambda(to) => {
                let (function, alias) = (to.function.clone(), to.alias.clone());
                (&to.account, &to.region, &to.role, Resource::LambdaAlias(LambdaAlias { function, alias }))
            }
        };
        Target {
            account: account.clone().unwrap_or_else(|| home_account.clone()),
            region: region.clone().unwrap_or_else(|| home_region.clone()),
            resource,
            role: role.clone(),
        }
    }
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ecs(to) => write!(f, "ECS service {}", to.service),
            Self::Lambda(to) => write!(f, "Lambda function {}", to.function),
        }
    }
}

/// What carries the releases of a policy out, and where they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineFor<'p> {
    /// Amazon ECS, with a deployment strategy of its own.
    EcsNative(&'p EcsDestination),
    /// Tidegate sets the weights; the candidate runs on a second, small ECS service.
    EcsWeighted(&'p EcsDestination),
    /// Tidegate sets the weights of a Lambda function's alias.
    LambdaAlias(&'p LambdaDestination),
}
