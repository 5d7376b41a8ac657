//! Triggers, and why one started nothing.

use serde::{Deserialize, Serialize};

use crate::change::Change;
use crate::text;

/// What can start a release, beside a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A push to the ECR repository.
    Push,
    /// A CodeBuild build.
    Build,
    /// A manifest in a bucket.
    Manifest,
    /// A CodePipeline action.
    Pipeline,
    /// The event `tidegate.release.requested`.
    Request,
    /// A webhook of GitHub.
    GitHub,
    /// A webhook of Jenkins.
    Jenkins,
    /// A webhook of Docker Hub.
    DockerHub,
}

impl Trigger {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Push,
        Self::Build,
        Self::Manifest,
        Self::Pipeline,
        Self::Request,
        Self::GitHub,
        Self::Jenkins,
        Self::DockerHub,
    ];

    /// The policy's field that opens it.
    pub fn field(self) -> &'static str {
        match self {
            Self::Push => "from.ecr",
            Self::Build => "from.codebuild",
            Self::Manifest => "from.s3",
            Self::Pipeline => "from.pipeline",
            Self::Request => "from.requests",
            Self::GitHub => "from.webhooks.github",
            Self::Jenkins => "from.webhooks.jenkins",
            Self::DockerHub => "from.webhooks.docker_hub",
        }
    }

    /// The policy's field that says which tags it may release.
    pub fn tags_field(self) -> &'static str {
        match self {
            Self::Push => "from.ecr.tags",
            Self::Build => "from.codebuild.tags",
            Self::Manifest => "from.s3.tags",
            Self::Pipeline => "from.pipeline.tags",
            Self::Request => "from.requests.tags",
            Self::GitHub => "from.webhooks.github.tags",
            Self::Jenkins => "from.webhooks.jenkins.tags",
            Self::DockerHub => "from.webhooks.docker_hub.tags",
        }
    }

    /// For people: `a push`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Push => "a push",
            Self::Build => "a build",
            Self::Manifest => "a manifest",
            Self::Pipeline => "a pipeline",
            Self::Request => "a request",
            Self::GitHub => "GitHub",
            Self::Jenkins => "Jenkins",
            Self::DockerHub => "Docker Hub",
        }
    }
}

/// What kind of reason kept a trigger from starting a release: the same kind again is counted, not told again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The policy does not open the trigger.
    Closed,
    /// The sender is not one the policy names.
    Sender,
    /// None of the policy's people is known to have asked for it.
    Requester,
    /// Another workflow.
    Workflow,
    /// Another branch, tag or pull request.
    Branch,
    /// Another environment.
    Environment,
    /// One build of a batch.
    Batch,
    /// What was sent names no image that can be followed.
    Unreadable,
    /// An image of another repository.
    Repository,
    /// A tag the policy does not allow.
    Tag,
    /// There is no such image.
    Missing,
    /// It is no container image.
    NotAnImage,
    /// Older than what was let in.
    Older,
    /// It was rolled back before.
    Quarantined,
    /// The build failed.
    Failed,
}

/// Why a trigger started nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of reason.
    pub reason: Reason,
    /// The reason, for people.
    pub why: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(reason: Reason, why: impl Into<String>) -> Self {
        Self { reason, why: why.into() }
    }
}

/// What a trigger that started nothing was about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "subject", rename_all = "snake_case")]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub enum Subject {
    /// Images that were found, and not let in.
    Found { change: Box<Change> },
    /// An image that was to be released.
    Image { reference: String },
    /// A push to the repository.
    Push { repository: String, tag: String },
    /// A build that ended well.
    Build { build: String },
    /// A build that did not.
    FailedBuild { build: String, status: String },
    /// A webhook that names no image.
    Webhook { sender: String },
    /// Something that only a newer version of Tidegate knows.
    #[serde(other)]
    Unknown,
}

impl Subject {
    /// What a sender writes is kept by its beginning.
    pub(crate) fn cut(&self) -> Self {
        match self.clone() {
            Self::Found { change } => Self::Found { change },
            Self::Image { reference } => Self::Image { reference: cut(&reference) },
            Self::Push { repository, tag } => Self::Push { repository: cut(&repository), tag: cut(&tag) },
            Self::Build { build } => Self::Build { build: cut(&build) },
            Self::FailedBuild { build, status } => {
                Self::FailedBuild { build: cut(&build), status: cut(&status) }
            }
            Self::Webhook { sender } => Self::Webhook { sender: cut(&sender) },
            Self::Unknown => Self::Unknown,
        }
    }
}

/// What did not happen.
impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Found { change } => write!(f, "refused {change}"),
            Self::Image { reference } => write!(f, "did not release {reference}"),
            Self::Push { repository, tag } => write!(f, "passed over the push of {repository}:{tag}"),
            Self::Build { build } => write!(f, "released nothing of build {build}"),
            Self::FailedBuild { build, status } => write!(f, "build {build} ended as {status}"),
            Self::Webhook { sender } => write!(f, "did not follow a webhook of {sender}"),
            Self::Unknown => f.write_str("something this version of Tidegate does not know"),
        }
    }
}

/// What a sender writes is kept by its beginning.
pub(crate) fn cut(text: &str) -> String {
    text::beginning(text, 600)
}
