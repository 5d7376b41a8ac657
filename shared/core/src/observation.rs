//! What was seen of the world in one look: the inventory [`crate::decide`] works on. Whatever could not be seen is said so, with
//! the reason; nothing is ever guessed to be fine.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::effect::EffectKind;
use crate::fault::PortError;
use crate::ids::{AlarmName, Digest, FunctionVersion};
use crate::seen::Seen;
use crate::service::ServiceRecord;
use crate::vocab::ecr::{ImageSeen, Stored};
use crate::vocab::tasks::StoppedTask;
use crate::vocab::{autoscaling, ecs, elb, lambda};

// What a release is judged by is the same wherever it goes, and known by these names.
pub use crate::vocab::cloudwatch::{AlarmSeen, AlarmState, MetricsAsked, MetricsSeen, Series};
pub use crate::vocab::codebuild::{BuildSeen, BuildStatus};
pub use crate::vocab::ecr::{ScanSeen, ScanStatus};

/// Everything seen in one look.
#[derive(Debug, Clone, Default)]
pub struct Observation {
    /// When the look began, before the first call. What is decided from it is at least this true.
    pub at: Timestamp,
    /// The service's row in the ledger.
    pub head: Option<ServiceRecord>,
    /// Amazon ECS.
    pub ecs: ecs::Observation,
    /// Elastic Load Balancing.
    pub elb: elb::Observation,
    /// Application Auto Scaling.
    pub autoscaling: autoscaling::Observation,
    /// AWS Lambda.
    pub lambda: lambda::Observation,
    /// The alarms asked for; one that is missing here does not exist.
    pub alarms: Seen<BTreeMap<AlarmName, AlarmSeen>>,
    /// The alarms that the service's own deployment configuration names, before the release.
    pub own_alarms: Seen<BTreeMap<AlarmName, AlarmSeen>>,
    /// The images that run, and those that would, in their registries: by reference, with the digest.
    pub stored: BTreeMap<String, Seen<Stored>>,
    /// The release's own images in their registries; `None` for one that is gone.
    pub new_images: Seen<BTreeMap<Digest, Option<ImageSeen>>>,
    /// Facts the event that woke us brought with it.
    pub hints: Vec<Hint>,
    /// The scans of the release's images.
    pub scans: Seen<BTreeMap<Digest, ScanSeen>>,
    /// The verification build of the current stage.
    pub build: Seen<Option<BuildSeen>>,
    /// The numbers of both versions, as far as they are known yet.
    pub metrics: Seen<MetricsSeen>,
    /// What the effects performed just before brought about, where nothing in AWS shows it.
    pub results: Vec<EffectResult>,
    /// Fresh randomness for tokens; never used twice, never kept.
    pub entropy: Entropy,
    /// Effects of this release that AWS refused for good in this invocation.
    pub refused: Vec<Refusal>,
}

/// What an effect brought about, where nothing in AWS shows it afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EffectResult {
    /// A link was handed over for delivery.
    Invited {
        /// To whom.
        approver: String,
    },
    /// A version of a function was published.
    VersionPublished {
        /// Which.
        version: FunctionVersion,
    },
    /// A build was started.
    BuildStarted {
        /// The stage it is for.
        stage: usize,
        /// Its id.
        build: String,
    },
}

/// 32 random bytes that are never printed.
#[derive(Clone, Copy, Default)]
pub struct Entropy(pub [u8; 32]);

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entropy(…)")
    }
}

/// An effect AWS refused in a way that trying again does not fix.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The effect.
    pub effect: EffectKind,
    /// What AWS said.
    pub error: PortError,
}

/// What a decision about a release needs to see, so that nothing is asked for in vain. Some of it is known only once other things have been
/// seen, so it is asked until nothing more is needed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Needs {
    /// Of Amazon ECS.
    pub ecs: ecs::Needs,
    /// Of Elastic Load Balancing.
    pub elb: elb::Needs,
    /// Of Application Auto Scaling.
    pub autoscaling: autoscaling::Needs,
    /// Of AWS Lambda.
    pub lambda: lambda::Needs,
    /// The alarms the release is judged by.
    pub alarms: Vec<AlarmName>,
    /// The alarms that the target's own configuration names; none as long as that is not known.
    pub own_alarms: Option<Vec<AlarmName>>,
    /// The scans of the release's images.
    pub scans: bool,
    /// This build.
    pub build: Option<String>,
    /// The release's own images in their registries.
    pub new_images: bool,
    /// These images in their registries.
    pub stored: BTreeSet<String>,
    /// The numbers of both versions.
    pub metrics: Option<MetricsAsked>,
}

impl Needs {
    /// What of it has not been asked for yet.
    #[must_use]
    pub fn without(self, asked: &Self) -> Self {
        let fresh = |names: Vec<AlarmName>, asked: &[AlarmName]| {
            names.into_iter().filter(|name| !asked.contains(name)).collect::<Vec<_>>()
        };
        Self {
            ecs: self.ecs.without(&asked.ecs),
            elb: self.elb.without(&asked.elb),
            autoscaling: autoscaling::Needs { target: self.autoscaling.target && !asked.autoscaling.target },
            lambda: self.lambda.without(&asked.lambda),
            alarms: fresh(self.alarms, &asked.alarms),
            own_alarms: self.own_alarms.filter(|_| asked.own_alarms.is_none()),
            scans: self.scans && !asked.scans,
            build: self.build.filter(|_| asked.build.is_none()),
            new_images: self.new_images && !asked.new_images,
            stored: self.stored.difference(&asked.stored).cloned().collect(),
            metrics: self.metrics.filter(|_| asked.metrics.is_none()),
        }
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A fact an event brought: a hint to look, and evidence of what may already have passed when we look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// An alarm changed its state.
    Alarm {
        /// Which.
        name: AlarmName,
        /// To what.
        seen: AlarmSeen,
    },
    /// A task has stopped, or is being stopped.
    Task(Box<StoppedTask>),
    /// Something happened; look.
    Look,
}
