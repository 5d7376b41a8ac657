//! What a release is meant to do, where it comes from, and what was asked of it since.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::actor::Actor;
use crate::ids::{ContainerName, FunctionVersion, ReleaseId, TaskDefinitionArn};

/// Where an image comes from, as far as was said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The commit it was built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// When that commit was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed_at: Option<Timestamp>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Where the build is read about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// What a release is meant to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Intent {
    /// Bring a new image.
    Deploy,
    /// Bring what runs already, as far as the end of the first bake, and roll it back on purpose.
    Drill,
    /// Bring a release promoted before again, on a person's word.
    Rollback {
        /// The release gone back from; `None` when what ran was deployed outside Tidegate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<ReleaseId>,
        /// The release gone back to.
        to: ReleaseId,
        /// What that release had deployed.
        deployed: Deployed,
    },
}

impl Intent {
    /// What a rollback release brings back; none, where a release goes forward.
    pub fn deployed(&self) -> Option<&Deployed> {
        match self {
            Self::Rollback { deployed, .. } => Some(deployed),
            Self::Deploy | Self::Drill => None,
        }
    }

    /// Whether an image is brought by every step of the policy, rather than back.
    pub fn goes_forward(&self) -> bool {
        match self {
            Self::Deploy | Self::Drill => true,
            Self::Rollback { .. } => false,
        }
    }
}

/// What a promoted release has deployed: what is deployed again to bring it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Deployed {
    /// To an ECS service.
    Ecs(EcsDeployed),
    /// To a Lambda function.
    Lambda(Box<LambdaDeployed>),
}

/// What an alias of a Lambda function was pointed at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LambdaDeployed {
    /// The version.
    pub version: FunctionVersion,
    /// Its name for people: `thumbnails:41`.
    pub name: String,
    /// The image it runs, by digest.
    pub image: String,
}

/// What was deployed to an ECS service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcsDeployed {
    /// The task definition.
    pub task_definition: TaskDefinitionArn,
    /// The images its containers ran, by digest where that is known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<ContainerName, String>,
}

impl Deployed {
    /// The image a container ran, as it was deployed.
    pub fn image(&self, container: &ContainerName) -> Option<&str> {
        match self {
            Self::Ecs(deployed) => deployed.images.get(container).map(String::as_str),
            Self::Lambda(deployed) => Some(&deployed.image),
        }
    }

    /// Its name for people: `checkout:41`.
    pub fn name(&self) -> &str {
        match self {
            Self::Ecs(deployed) => deployed.task_definition.short(),
            Self::Lambda(deployed) => &deployed.name,
        }
    }

    /// What was deployed to an ECS service, where it was one.
    pub fn ecs(&self) -> Option<&EcsDeployed> {
        match self {
            Self::Ecs(deployed) => Some(deployed),
            Self::Lambda(_) => None,
        }
    }

    /// What an alias was pointed at, where it was one.
    pub fn lambda(&self) -> Option<&LambdaDeployed> {
        match self {
            Self::Lambda(deployed) => Some(deployed),
            Self::Ecs(_) => None,
        }
    }
}

/// What was asked of a release after it had started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Roll back.
    Rollback {
        /// Who.
        by: Actor,
        /// Why.
        why: String,
    },
    /// Break off: before traffic has moved it ends as cancelled; after that it is rolled back first.
    Cancel {
        /// Who.
        by: Actor,
        /// Why.
        why: String,
    },
    /// Make room for a newer release.
    Supersede {
        /// Which.
        by: ReleaseId,
    },
}

/// That a person holds a release where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Pause {
    pub by: Actor,
    pub why: String,
    pub since: Timestamp,
    /// Until when it may last: then the release is rolled back.
    pub until: Timestamp,
}

/// That a person lets a release take its remaining stages without waiting for the end of their bakes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct PromoteNow {
    pub by: Actor,
    pub why: String,
    pub at: Timestamp,
}
