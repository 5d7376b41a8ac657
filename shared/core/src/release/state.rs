//! What an engine has learnt of a release on the way, beside what every release keeps.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::effect::Effect;
use crate::ids::{DeploymentArn, FunctionVersion, HookId, TaskDefinitionArn};
use crate::plan::Preparation;
use crate::vocab::ecs;

/// How far an engine is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "engine", rename_all = "snake_case")]
pub enum State {
    /// No engine has begun.
    #[default]
    NotBegun,
    /// Amazon ECS shifts the traffic of a service itself.
    EcsNative(EcsNative),
    /// Tidegate sets the weights.
    EcsWeighted(EcsWeighted),
    /// Tidegate sets the weights of a Lambda function's alias.
    LambdaAlias(LambdaAlias),
}

/// How far a release to an alias of a Lambda function is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LambdaAlias {
    /// The version that carries the release's image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<FunctionVersion>,
    /// When `$LATEST` was asked to run the release's image last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_asked_at: Option<Timestamp>,
    /// The alias's revision that was seen last and is known: every change of ours names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// When the alias was changed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_at: Option<Timestamp>,
    /// Whether the alias was asked to point at the new version itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub promoting: bool,
}

static LAMBDA_ALIAS: LambdaAlias =
    LambdaAlias { version: None, code_asked_at: None, revision: None, set_at: None, promoting: false };

/// How far a release with weights of our own is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcsWeighted {
    /// The revision that carries the release's image.
    #[serde(default)]
    pub task_definition: Option<TaskDefinitionArn>,
    /// The revision to roll back to when the one that ran does not name every image by digest: the same document, pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<TaskDefinitionArn>,
    /// When the second service was asked for last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_asked_at: Option<Timestamp>,
    /// Whether the second service was seen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub created: bool,
    /// When weights were set last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_at: Option<Timestamp>,
    /// How often weights that something else had changed were set again.
    #[serde(default, skip_serializing_if = "is_none")]
    pub repaired: u32,
    /// Whether its target group was named again at weight 0 for its targets to be checked, and waits for its share.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub standing: bool,
    /// When the service itself was asked to become the new version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoting_since: Option<Timestamp>,
    /// When all traffic was sent to the service itself again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home_at: Option<Timestamp>,
    /// Whether a rollback was taken up again because the last look saw other images than those of before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub corrected: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_none(count: &u32) -> bool {
    *count == 0
}

static ECS_WEIGHTED: EcsWeighted = EcsWeighted {
    task_definition: None,
    stable: None,
    create_asked_at: None,
    created: false,
    set_at: None,
    repaired: 0,
    standing: false,
    promoting_since: None,
    home_at: None,
    corrected: false,
};

/// How far a release by ECS's own deployment is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcsNative {
    /// The revision that carries the release's image.
    #[serde(default)]
    pub task_definition: Option<TaskDefinitionArn>,
    /// The revision to roll back to when the one that ran does not name every image by digest: the same document, pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<TaskDefinitionArn>,
    /// Whether a rollback was taken up again because the last look saw other images than those of before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub corrected: bool,
    /// Whether AWS refused to deploy the revision to roll back to: it is looked for, and registered again when it is gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rollback_refused: bool,
    /// The deployment.
    #[serde(default)]
    pub deployment: Option<DeploymentArn>,
    /// Pause hooks that were continued, the last one last; each is continued for one stage only.
    #[serde(default)]
    pub continued: Vec<HookId>,
    /// How far its rollback is.
    #[serde(default)]
    pub back: EcsNativeBack,
}

/// How far the rollback of a release by ECS's own deployment is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcsNativeBack {
    /// The deployment of the stable version, when ECS had none to roll back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redeployment: Option<DeploymentArn>,
    /// When that deployment was first decided; from then on only its end ends the rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redeployed_at: Option<Timestamp>,
    /// When the release's own deployment was first seen to be over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_at: Option<Timestamp>,
    /// Since when the images that run are seen not to be those of before, though the rollback has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differs_since: Option<Timestamp>,
}

static ECS_NATIVE: EcsNative = EcsNative {
    task_definition: None,
    stable: None,
    corrected: false,
    rollback_refused: false,
    deployment: None,
    continued: Vec::new(),
    back: EcsNativeBack { redeployment: None, redeployed_at: None, over_at: None, differs_since: None },
};

impl State {
    /// Whether something of the candidate was seen to be under way.
    pub fn is_started(&self) -> bool {
        match self {
            Self::NotBegun => false,
            Self::EcsNative(native) => native.deployment.is_some(),
            Self::EcsWeighted(weighted) => weighted.created,
            Self::LambdaAlias(lambda) => lambda.set_at.is_some(),
        }
    }

    /// Whether what an effect changes is the candidate's. Another deployment that inherited our pauses is continued all the same.
    pub fn is_candidates(&self, effect: &Effect) -> bool {
        match (self, effect) {
            (Self::EcsNative(native), Effect::Ecs(ecs::Effect::ContinueHook { deployment, .. })) => {
                native.deployment.as_ref() == Some(deployment)
            }
            (
                Self::NotBegun | Self::EcsNative(_) | Self::EcsWeighted(_) | Self::LambdaAlias(_),
                Effect::Ecs(_)
                | Effect::Lambda(_)
                | Effect::Elb(_)
                | Effect::AutoScaling(_)
                | Effect::Invite { .. }
                | Effect::StartBuild { .. },
            ) => true,
        }
    }

    /// The name of what was made to roll back to, where the stable version as it was could not be.
    pub fn pinned_name(&self) -> Option<&str> {
        match self {
            Self::NotBegun | Self::LambdaAlias(_) => None,
            Self::EcsNative(native) => native.stable.as_ref().map(TaskDefinitionArn::short),
            Self::EcsWeighted(weighted) => weighted.stable.as_ref().map(TaskDefinitionArn::short),
        }
    }

    /// How far ECS's own deployment is; nowhere, when it is not that.
    pub fn ecs_native(&self) -> &EcsNative {
        match self {
            Self::EcsNative(native) => native,
            Self::NotBegun | Self::EcsWeighted(_) | Self::LambdaAlias(_) => &ECS_NATIVE,
        }
    }

    /// How far weights of our own are; nowhere, when it is not that.
    pub fn ecs_weighted(&self) -> &EcsWeighted {
        match self {
            Self::EcsWeighted(weighted) => weighted,
            Self::NotBegun | Self::EcsNative(_) | Self::LambdaAlias(_) => &ECS_WEIGHTED,
        }
    }

    /// How far a release to an alias is; nowhere, when it is not that.
    pub fn lambda_alias(&self) -> &LambdaAlias {
        match self {
            Self::LambdaAlias(lambda) => lambda,
            Self::NotBegun | Self::EcsNative(_) | Self::EcsWeighted(_) => &LAMBDA_ALIAS,
        }
    }

    /// The same, to be rewritten: from now on the release is one to an alias.
    pub fn lambda_alias_mut(&mut self) -> &mut LambdaAlias {
        if !matches!(self, Self::LambdaAlias(_)) {
            *self = Self::LambdaAlias(LambdaAlias::default());
        }
        match self {
            Self::LambdaAlias(lambda) => lambda,
            Self::NotBegun | Self::EcsNative(_) | Self::EcsWeighted(_) => {
                unreachable!("it has just been made so")
            }
        }
    }

    /// What the candidate is called where its numbers are counted, once that is known.
    pub fn candidate_version(&self) -> Option<&str> {
        match self {
            Self::NotBegun | Self::EcsNative(_) | Self::EcsWeighted(_) => None,
            Self::LambdaAlias(lambda) => lambda.version.as_ref().map(FunctionVersion::as_str),
        }
    }

    /// Keeps the revision that was registered for this. An engine that has not begun has nothing to keep it in, and nothing to register.
    pub(crate) fn keep_registered(&mut self, what: Preparation, arn: TaskDefinitionArn) {
        let (stable, candidate) = match self {
            Self::NotBegun | Self::LambdaAlias(_) => return,
            Self::EcsNative(state) => (&mut state.stable, &mut state.task_definition),
            Self::EcsWeighted(state) => (&mut state.stable, &mut state.task_definition),
        };
        match what {
            Preparation::RollbackTarget => *stable = Some(arn),
            Preparation::Candidate => *candidate = Some(arn),
        }
    }

    /// The same, to be rewritten: from now on the release is one with weights of our own.
    pub fn ecs_weighted_mut(&mut self) -> &mut EcsWeighted {
        if !matches!(self, Self::EcsWeighted(_)) {
            *self = Self::EcsWeighted(EcsWeighted::default());
        }
        match self {
            Self::EcsWeighted(weighted) => weighted,
            Self::NotBegun | Self::EcsNative(_) | Self::LambdaAlias(_) => {
                unreachable!("it has just been made so")
            }
        }
    }

    /// The same, to be rewritten: from now on the release is one of ECS's own deployment.
    pub fn ecs_native_mut(&mut self) -> &mut EcsNative {
        if !matches!(self, Self::EcsNative(_)) {
            *self = Self::EcsNative(EcsNative::default());
        }
        match self {
            Self::EcsNative(native) => native,
            Self::NotBegun | Self::EcsWeighted(_) | Self::LambdaAlias(_) => {
                unreachable!("it has just been made so")
            }
        }
    }
}
