//! What an engine needs to know to do what a plan says, and to undo it: made by its preflight, never changed afterwards.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::change::StableImage;
use crate::ids::{
    ContainerName, Digest, EcsServiceName, FunctionVersion, RuleArn, TargetGroupArn, TaskDefinitionArn,
};
use crate::vocab::autoscaling::Suspended;
use crate::vocab::ecs::DerivedRevision;
use crate::vocab::elb::RuleSeen;

/// How a plan is carried out: by which engine, and what it needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "engine", rename_all = "snake_case")]
pub enum Setup {
    /// Amazon ECS shifts the traffic of a service itself.
    EcsNative(EcsNative),
    /// Tidegate sets the weights; the candidate runs on a second, small service.
    EcsWeighted(EcsWeighted),
    /// Tidegate sets the weights of a Lambda function's alias.
    LambdaAlias(LambdaAlias),
}

/// What a release to an alias of a Lambda function does, and what undoes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LambdaAlias {
    /// The image that is released, by digest, as the one image of the target.
    pub images: BTreeMap<ContainerName, String>,
    /// What undoes it.
    pub rollback_target: LambdaRollbackTarget,
}

/// What must be done to restore exactly what was there of an alias and its function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LambdaRollbackTarget {
    /// The version the alias pointed at.
    pub version: FunctionVersion,
    /// Its name for people: `thumbnails:41`.
    pub name: String,
    /// The image it runs.
    pub images: BTreeMap<ContainerName, StableImage>,
    /// What `$LATEST` ran, by digest: whoever invokes the function without the alias gets it again.
    pub latest: String,
    /// The alias, as `function:alias`.
    pub alias: String,
}

impl LambdaRollbackTarget {
    /// As every target has it.
    fn told(&self) -> RollbackTarget<'_> {
        let share = Share { to: self.version.as_str(), name: &self.name, weight: 100 };
        RollbackTarget {
            version: self.version.as_str(),
            name: &self.name,
            images: &self.images,
            pinned_first: false,
            strategy: None,
            traffic: vec![(self.alias.as_str(), vec![share])],
        }
    }
}

/// What a release with weights of our own does, and what undoes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EcsWeighted {
    /// The revision that is deployed: the image in its container, everything else as it is.
    pub candidate: DerivedRevision,
    /// What undoes it. Its weights are those of the rules that are set.
    pub rollback_target: EcsRollbackTarget,
    /// The second service, which carries the candidate.
    pub canary: EcsServiceName,
    /// The target groups of both; none without a load balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Groups>,
    /// How many tasks the candidate has at least.
    pub min_tasks: u32,
    /// What was suspended of what scales the service; none where nothing scales it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Suspended>,
    /// The `deploymentConfiguration` while the service itself is updated.
    pub configuration: Value,
}

/// The target groups of both versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Groups {
    /// Of the service itself.
    pub stable: TargetGroupArn,
    /// Of the second service.
    pub canary: TargetGroupArn,
}

/// What a release by ECS's own deployment does, and what undoes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EcsNative {
    /// The revision that is deployed: the image in its container, everything else as it is.
    pub candidate: DerivedRevision,
    /// What undoes it.
    pub rollback_target: EcsRollbackTarget,
    /// The `deploymentConfiguration` while the release is under way.
    pub configuration: Value,
    /// Where the candidate's share is measured: the rule, and the target group the candidate gets.
    pub measured_at: Vec<(RuleArn, TargetGroupArn)>,
}

impl Setup {
    /// What a release by ECS's own deployment needs.
    pub fn ecs_native(&self) -> Option<&EcsNative> {
        match self {
            Self::EcsNative(native) => Some(native),
            Self::EcsWeighted(_) | Self::LambdaAlias(_) => None,
        }
    }

    /// What undoes a release to an ECS service.
    pub fn ecs_rollback_target(&self) -> Option<&EcsRollbackTarget> {
        match self {
            Self::EcsNative(native) => Some(&native.rollback_target),
            Self::EcsWeighted(weighted) => Some(&weighted.rollback_target),
            Self::LambdaAlias(_) => None,
        }
    }

    /// What undoes the release.
    pub fn rollback_target(&self) -> RollbackTarget<'_> {
        match self {
            Self::EcsNative(native) => native.rollback_target.told(),
            Self::EcsWeighted(weighted) => weighted.rollback_target.told(),
            Self::LambdaAlias(lambda) => lambda.rollback_target.told(),
        }
    }

    /// The images that run once the release is promoted, by container, each by digest.
    pub fn candidate_images(&self) -> &BTreeMap<ContainerName, String> {
        match self {
            Self::EcsNative(native) => &native.candidate.images,
            Self::EcsWeighted(weighted) => &weighted.candidate.images,
            Self::LambdaAlias(lambda) => &lambda.images,
        }
    }

    /// What the target calls what the frame has only general words for.
    pub fn words(&self) -> Words {
        match self {
            Self::EcsNative(_) | Self::EcsWeighted(_) => Words {
                changes: None,
                unchanged: "nothing else of the task definition",
                restored: "its weights and its own deployment configuration",
                own_checks: Some("Amazon ECS's own checks"),
            },
            Self::LambdaAlias(_) => Words {
                changes: Some(
                    "The image of the function, published as a new version with the settings that $LATEST has.",
                ),
                unchanged: "nothing else of the function",
                restored: "the alias without weights and the image of $LATEST",
                own_checks: None,
            },
        }
    }
}

/// What a target calls what the frame has only general words for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    /// What is released, where it is one image without a name of its own.
    pub changes: Option<&'static str>,
    /// Fits "The image of container app, and …".
    pub unchanged: &'static str,
    /// Fits "Version checkout:41, … are restored".
    pub restored: &'static str,
    /// Who judges a candidate beside Tidegate; none where nobody does.
    pub own_checks: Option<&'static str>,
}

/// What undoes a release, as every target has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollbackTarget<'a> {
    /// The version that ran, as the target's owner names it.
    pub version: &'a str,
    /// Its name for people: `checkout:41`.
    pub name: &'a str,
    /// The image that ran in each container.
    pub images: &'a BTreeMap<ContainerName, StableImage>,
    /// Whether it names a tag, so that a copy of it with every image by digest is what a rollback brings.
    pub pinned_first: bool,
    /// How its target is deployed to by itself: what is restored. None where it has nothing like that.
    pub strategy: Option<&'a str>,
    /// Where traffic went: at every place that shares it out, to whom and with which weight. Empty where nothing does.
    pub traffic: Vec<(&'a str, Vec<Share<'a>>)>,
}

impl RollbackTarget<'_> {
    /// The image that ran in a container: by digest, or as it was written when no digest is known.
    pub fn image(&self, container: &ContainerName) -> Option<String> {
        let image = self.images.get(container)?;
        Some(image.pinned().unwrap_or_else(|| image.reference.clone()))
    }
}

/// What share of traffic went where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share<'a> {
    /// To whom.
    pub to: &'a str,
    /// Its name for people.
    pub name: &'a str,
    /// With which weight.
    pub weight: u32,
}

/// What must be done to restore exactly what was there in an ECS service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EcsRollbackTarget {
    /// The task definition that ran.
    pub task_definition: TaskDefinitionArn,
    /// The image that ran in each container.
    pub images: BTreeMap<ContainerName, StableImage>,
    /// The service's own `deploymentConfiguration`, with what AWS left out said explicitly, so that sending it undoes ours.
    pub configuration: Value,
    /// The weights that were live.
    pub weights: Vec<RuleSeen>,
}

impl EcsRollbackTarget {
    /// As every target has it.
    fn told(&self) -> RollbackTarget<'_> {
        let traffic = self.weights.iter().map(|rule| {
            let shares = rule.weights.iter().map(|(group, weight)| Share {
                to: group.as_str(),
                name: group.short(),
                weight: *weight,
            });
            (rule.arn.as_str(), shares.collect())
        });
        RollbackTarget {
            version: self.task_definition.as_str(),
            name: self.task_definition.short(),
            images: &self.images,
            pinned_first: self.pinned().is_some(),
            strategy: Some(self.configuration["strategy"].as_str().unwrap_or("ROLLING")),
            traffic: traffic.collect(),
        }
    }

    /// The task definition that ran with every image by its digest, when that is another one than the one that ran.
    pub fn pinned(&self) -> Option<DerivedRevision> {
        let floats = self.images.values().any(|image| !image.is_pinned());
        floats.then(|| self.copy())
    }

    /// The task definition that ran, registered once more with every image by its digest: what is deployed when the revision to roll back to
    /// was deregistered.
    pub fn copy(&self) -> DerivedRevision {
        let pinned =
            |(container, image): (&ContainerName, &StableImage)| Some((container.clone(), image.pinned()?));
        DerivedRevision {
            from: self.task_definition.clone(),
            images: self.images.iter().filter_map(pinned).collect(),
            apart: false,
        }
    }

    /// The image that ran in a container: by digest, or as the task definition writes it when no digest is known.
    pub fn image(&self, container: &ContainerName) -> Option<String> {
        let image = self.images.get(container)?;
        Some(image.pinned().unwrap_or_else(|| image.reference.clone()))
    }

    /// The digests that have to run again after a rollback.
    pub fn digests(&self) -> BTreeMap<ContainerName, Vec<Digest>> {
        self.images.iter().map(|(container, image)| (container.clone(), image.digests.clone())).collect()
    }
}
