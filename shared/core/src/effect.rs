//! The complete list of what Tidegate can do to the world. Every effect is an "ensure …": performing it again, or when it has already
//! been done, changes nothing.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::approval::Token;
use crate::change::Change;
use crate::ids::{DeploymentArn, EcsServiceName, ReleaseId, RuleArn, TaskDefinitionArn};
use crate::policy::Percent;
use crate::reference::digest_of;
use crate::vocab::{autoscaling, ecs, elb, lambda};

/// How long after its own commit an executor may still begin an effect. After that it reloads: someone else may have decided
/// otherwise since, and AWS's calls have no conditions.
pub const LEASE: SignedDuration = SignedDuration::from_secs(4);

/// How long one AWS call of an effect may take, retries included.
pub const CALL_LIMIT: SignedDuration = SignedDuration::from_secs(4);

/// How long after the last effect was decided a final state may be declared: the lease and the longest call have surely run
/// out, and reads that lag some seconds behind show what they left, so what is observed now is not changed by a stale executor any more.
pub const SETTLE: SignedDuration = SignedDuration::from_secs(15);

/// How long an effect that shows no result is given before it is performed again.
pub const RETRY_AFTER: SignedDuration = SignedDuration::from_secs(6);

/// One thing to do to the world.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// To an ECS service.
    Ecs(ecs::Effect),
    /// To a load balancer.
    Elb(elb::Effect),
    /// To what scales a service.
    AutoScaling(autoscaling::Effect),
    /// To a Lambda function.
    Lambda(lambda::Effect),
    /// Have an approver's link delivered.
    Invite {
        /// What it is about.
        invite: Box<Invite>,
    },
    /// Ensure that a build that tries the candidate has been started.
    StartBuild {
        /// The stage, which together with the release makes the build one of its kind.
        stage: usize,
        /// The release.
        release: ReleaseId,
        /// The CodeBuild project.
        project: String,
        /// Environment variables the build gets.
        environment: std::collections::BTreeMap<String, String>,
    },
}

impl From<elb::Effect> for Effect {
    fn from(effect: elb::Effect) -> Self {
        Self::Elb(effect)
    }
}

impl From<autoscaling::Effect> for Effect {
    fn from(effect: autoscaling::Effect) -> Self {
        Self::AutoScaling(effect)
    }
}

impl From<lambda::Effect> for Effect {
    fn from(effect: lambda::Effect) -> Self {
        Self::Lambda(effect)
    }
}

impl From<ecs::Effect> for Effect {
    fn from(effect: ecs::Effect) -> Self {
        Self::Ecs(effect)
    }
}

/// What kind of effect: what AWS refuses, and logs and tests name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectKind {
    /// [`ecs::Effect::RegisterTaskDefinition`].
    RegisterTaskDefinition,
    /// [`ecs::Effect::StartDeployment`].
    StartDeployment,
    /// [`ecs::Effect::ContinueHook`].
    ContinueHook,
    /// [`ecs::Effect::StopDeployment`].
    StopDeployment,
    /// [`ecs::Effect::ReturnTo`].
    ReturnTo,
    /// [`ecs::Effect::RestoreConfiguration`].
    RestoreConfiguration,
    /// [`ecs::Effect::CreateCanary`].
    CreateCanary,
    /// [`ecs::Effect::ScaleCanary`].
    ScaleCanary,
    /// [`ecs::Effect::DeleteCanary`].
    DeleteCanary,
    /// [`elb::Effect::SetWeights`].
    SetWeights,
    /// [`autoscaling::Effect::Suspend`].
    Suspend,
    /// [`lambda::Effect::UpdateCode`].
    UpdateCode,
    /// [`lambda::Effect::Publish`].
    Publish,
    /// [`lambda::Effect::Route`].
    Route,
    /// [`Effect::Invite`].
    Invite,
    /// [`Effect::StartBuild`].
    StartBuild,
}

impl EffectKind {
    /// Its name in logs and tests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RegisterTaskDefinition => "register_task_definition",
            Self::StartDeployment => "start_deployment",
            Self::ContinueHook => "continue_hook",
            Self::StopDeployment => "stop_deployment",
            Self::ReturnTo => "return_to",
            Self::RestoreConfiguration => "restore_configuration",
            Self::CreateCanary => "create_canary",
            Self::ScaleCanary => "scale_canary",
            Self::DeleteCanary => "delete_canary",
            Self::SetWeights => "set_weights",
            Self::Suspend => "suspend",
            Self::UpdateCode => "update_code",
            Self::Publish => "publish",
            Self::Route => "route",
            Self::Invite => "invite",
            Self::StartBuild => "start_build",
        }
    }
}

/// Fits "AWS refused to …".
impl std::fmt::Display for EffectKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::RegisterTaskDefinition => "register the task definition",
            Self::StartDeployment => "start the deployment",
            Self::ContinueHook => "continue the deployment",
            Self::StopDeployment => "roll the deployment back",
            Self::ReturnTo => "deploy the stable version again",
            Self::RestoreConfiguration => "restore the deployment configuration",
            Self::CreateCanary => "create the candidate's service",
            Self::ScaleCanary => "scale the candidate's service",
            Self::DeleteCanary => "delete the candidate's service",
            Self::SetWeights => "set the weights",
            Self::Suspend => "hold or resume the scaling of the service",
            Self::UpdateCode => "update the function's code",
            Self::Publish => "publish a version",
            Self::Route => "change the alias",
            Self::Invite => "send an approver a link",
            Self::StartBuild => "start the build",
        })
    }
}

/// An effect as the history keeps it: what was done to what, without documents and secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub enum Action {
    /// [`ecs::Effect::RegisterTaskDefinition`].
    RegisterTaskDefinition { revision: String },
    /// [`ecs::Effect::StartDeployment`].
    StartDeployment { task_definition: TaskDefinitionArn },
    /// [`ecs::Effect::ContinueHook`].
    ContinueHook { deployment: DeploymentArn },
    /// [`ecs::Effect::StopDeployment`].
    StopDeployment { deployment: DeploymentArn },
    /// [`ecs::Effect::ReturnTo`].
    ReturnTo { task_definition: TaskDefinitionArn },
    /// [`ecs::Effect::RestoreConfiguration`].
    RestoreConfiguration,
    /// [`ecs::Effect::CreateCanary`].
    CreateCanary { name: EcsServiceName, desired: u32 },
    /// [`ecs::Effect::ScaleCanary`].
    ScaleCanary { name: EcsServiceName, desired: u32 },
    /// [`ecs::Effect::DeleteCanary`].
    DeleteCanary { name: EcsServiceName },
    /// [`elb::Effect::SetWeights`].
    SetWeights { rule: RuleArn, share: Percent },
    /// [`autoscaling::Effect::Suspend`].
    Suspend { scale_in: bool },
    /// [`lambda::Effect::UpdateCode`].
    UpdateCode { image: String },
    /// [`lambda::Effect::Publish`].
    Publish,
    /// [`lambda::Effect::Route`].
    Route { to: String, share: Percent },
    /// [`Effect::Invite`].
    Invite { approver: String },
    /// [`Effect::StartBuild`].
    StartBuild { project: String },
    /// Something that only a newer version of Tidegate does.
    #[serde(other)]
    Unknown,
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::RegisterTaskDefinition { revision } => write!(f, "register {revision}"),
            Self::StartDeployment { task_definition } => {
                write!(f, "start the deployment of {}", task_definition.short())
            }
            Self::ContinueHook { deployment } => write!(f, "continue deployment {}", deployment.short()),
            Self::StopDeployment { deployment } => write!(f, "roll deployment {} back", deployment.short()),
            Self::ReturnTo { task_definition } => write!(f, "deploy {} again", task_definition.short()),
            Self::RestoreConfiguration => f.write_str("restore the service's deployment configuration"),
            Self::CreateCanary { name, desired } => {
                write!(f, "create service {name} with {}", crate::words::tasks(*desired))
            }
            Self::ScaleCanary { name, desired } => {
                write!(f, "scale service {name} to {}", crate::words::tasks(*desired))
            }
            Self::DeleteCanary { name } => write!(f, "delete service {name}"),
            Self::SetWeights { share, .. } => write!(f, "set the candidate's share to {share}%"),
            Self::Suspend { scale_in: true } => f.write_str("hold scaling in"),
            Self::Suspend { scale_in: false } => f.write_str("let the service scale in again"),
            Self::UpdateCode { image } => {
                let digest = digest_of(image);
                let short = digest.as_ref().map_or(image.as_str(), |digest| digest.short());
                write!(f, "update the function's code to {short}")
            }
            Self::Publish => f.write_str("publish a version"),
            Self::Route { to, .. } => write!(f, "send the alias's invocations to {to}"),
            Self::Invite { approver } => write!(f, "send {approver} a link to approve"),
            Self::StartBuild { project } => write!(f, "start build {project}"),
            Self::Unknown => f.write_str("something this version of Tidegate does not know"),
        }
    }
}

impl ecs::Effect {
    /// What kind it is.
    pub fn kind(&self) -> EffectKind {
        match self {
            Self::RegisterTaskDefinition { .. } => EffectKind::RegisterTaskDefinition,
            Self::StartDeployment { .. } => EffectKind::StartDeployment,
            Self::ContinueHook { .. } => EffectKind::ContinueHook,
            Self::StopDeployment { .. } => EffectKind::StopDeployment,
            Self::ReturnTo { .. } => EffectKind::ReturnTo,
            Self::RestoreConfiguration { .. } => EffectKind::RestoreConfiguration,
            Self::CreateCanary { .. } => EffectKind::CreateCanary,
            Self::ScaleCanary { .. } => EffectKind::ScaleCanary,
            Self::DeleteCanary { .. } => EffectKind::DeleteCanary,
        }
    }

    fn action(&self) -> Action {
        match self {
            Self::RegisterTaskDefinition { revision, .. } => {
                Action::RegisterTaskDefinition { revision: revision.to_string() }
            }
            Self::StartDeployment { task_definition, .. } => {
                Action::StartDeployment { task_definition: task_definition.clone() }
            }
            Self::ContinueHook { deployment, .. } => Action::ContinueHook { deployment: deployment.clone() },
            Self::StopDeployment { deployment } => Action::StopDeployment { deployment: deployment.clone() },
            Self::ReturnTo { task_definition, .. } => {
                Action::ReturnTo { task_definition: task_definition.clone() }
            }
            Self::RestoreConfiguration { .. } => Action::RestoreConfiguration,
            Self::CreateCanary { name, desired, .. } => {
                Action::CreateCanary { name: name.clone(), desired: *desired }
            }
            Self::ScaleCanary { name, desired } => {
                Action::ScaleCanary { name: name.clone(), desired: *desired }
            }
            Self::DeleteCanary { name } => Action::DeleteCanary { name: name.clone() },
        }
    }
}

impl lambda::Effect {
    fn kind(&self) -> EffectKind {
        match self {
            Self::UpdateCode { .. } => EffectKind::UpdateCode,
            Self::Publish { .. } => EffectKind::Publish,
            Self::Route { .. } => EffectKind::Route,
        }
    }

    fn action(&self) -> Action {
        match self {
            Self::UpdateCode { image, .. } => Action::UpdateCode { image: image.clone() },
            Self::Publish { .. } => Action::Publish,
            Self::Route { to, share, .. } => Action::Route { to: to.to_string(), share: *share },
        }
    }
}

impl Effect {
    /// What kind it is.
    pub fn kind(&self) -> EffectKind {
        match self {
            Self::Lambda(effect) => effect.kind(),
            Self::Ecs(effect) => effect.kind(),
            Self::Elb(elb::Effect::SetWeights { .. }) => EffectKind::SetWeights,
            Self::AutoScaling(autoscaling::Effect::Suspend { .. }) => EffectKind::Suspend,
            Self::Invite { .. } => EffectKind::Invite,
            Self::StartBuild { .. } => EffectKind::StartBuild,
        }
    }

    /// The effect's name in logs and tests.
    pub fn name(&self) -> &'static str {
        self.kind().as_str()
    }

    /// As the history keeps it.
    pub fn action(&self) -> Action {
        match self {
            Self::Ecs(effect) => effect.action(),
            Self::Lambda(effect) => effect.action(),
            Self::Elb(elb::Effect::SetWeights { rule, share, .. }) => {
                Action::SetWeights { rule: rule.clone(), share: *share }
            }
            Self::AutoScaling(autoscaling::Effect::Suspend { suspended }) => {
                Action::Suspend { scale_in: suspended.scale_in }
            }
            Self::Invite { invite } => Action::Invite { approver: invite.approver.clone() },
            Self::StartBuild { project, .. } => Action::StartBuild { project: project.clone() },
        }
    }

    /// Whether it starts a deployment.
    pub fn deploys(&self) -> bool {
        match self.kind() {
            EffectKind::StartDeployment | EffectKind::ReturnTo => true,
            EffectKind::RegisterTaskDefinition
            | EffectKind::ContinueHook
            | EffectKind::StopDeployment
            | EffectKind::RestoreConfiguration
            | EffectKind::CreateCanary
            | EffectKind::ScaleCanary
            | EffectKind::DeleteCanary
            | EffectKind::SetWeights
            | EffectKind::Suspend
            | EffectKind::UpdateCode
            | EffectKind::Publish
            | EffectKind::Route
            | EffectKind::Invite
            | EffectKind::StartBuild => false,
        }
    }

    /// Whether the effect can give the candidate more traffic; after a breach none of these is ever decided.
    pub fn is_forward(&self) -> bool {
        match self {
            Self::Ecs(
                ecs::Effect::StartDeployment { .. }
                | ecs::Effect::ContinueHook { .. }
                | ecs::Effect::CreateCanary { .. }
                | ecs::Effect::ScaleCanary { .. },
            ) => true,
            Self::Elb(elb::Effect::SetWeights { share, .. })
            | Self::Lambda(lambda::Effect::Route { share, .. }) => *share > Percent::NONE,
            // A revision that is registered gets no traffic, and the one to roll back to may have to be.
            Self::Ecs(
                ecs::Effect::RegisterTaskDefinition { .. }
                | ecs::Effect::StopDeployment { .. }
                | ecs::Effect::ReturnTo { .. }
                | ecs::Effect::RestoreConfiguration { .. }
                | ecs::Effect::DeleteCanary { .. },
            )
            // What is published gets no invocation before the alias sends it some, and what `$LATEST` ran has to come back.
            | Self::Lambda(lambda::Effect::UpdateCode { .. } | lambda::Effect::Publish { .. })
            | Self::AutoScaling(_)
            | Self::Invite { .. }
            | Self::StartBuild { .. } => false,
        }
    }
}

impl std::fmt::Display for Effect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.action().fmt(f)
    }
}

/// An approver's link, and what the message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// The release.
    pub release: ReleaseId,
    /// The service.
    pub service: crate::ids::ServiceName,
    /// The image.
    pub change: Change,
    /// What is to be approved: `shift`, …
    pub before: String,
    /// Who.
    pub approver: String,
    /// Where it is published: the topic of the person.
    pub topic: String,
    /// The secret of the link.
    pub token: Token,
    /// Until when.
    pub expires_at: Timestamp,
    /// Who asked for the release.
    pub requested_by: String,
}

/// Permission to perform: the version an effect was decided at, and until when it may be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The release's version after the commit.
    pub version: u64,
    /// The commit's time plus [`LEASE`].
    pub until: Timestamp,
}

impl Lease {
    /// The lease a commit at `committed_at` gives.
    pub fn after(version: u64, committed_at: Timestamp) -> Self {
        Self { version, until: committed_at.saturating_add(LEASE).unwrap_or(committed_at) }
    }

    /// Whether an effect may still be begun.
    pub fn holds(&self, now: Timestamp) -> bool {
        now < self.until
    }
}
