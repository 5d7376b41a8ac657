//! What the core asks of the world, in its own words. Adapters implement these; no SDK type crosses them.

use crate::commit::Commit;
use crate::fault::PortError;
use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::announced::Awaited;
use crate::container_image::MediaTypes;
use crate::effect::Invite;
use crate::history::Entry;
use crate::ids::{
    AccountId, AlarmName, Digest, EcsService, EcsServiceName, FunctionName, FunctionVersion, Image,
    LambdaAlias, Region, ReleaseId, RepositoryName, Resource, ServiceName, Tag, Target, TargetGroupArn,
};
use crate::listing::Listing;
use crate::notify::{Message, NotSent, Told, Trial};
use crate::policy::{PipelineAction, Receiver};
use crate::reference::Pick;
use crate::refusals::RefusalLog;
use crate::release::Release;
use crate::service::ServiceRecord;
use crate::sweep::TagsSeen;
use crate::vocab::cloudwatch::{AlarmSeen, MetricsAsked, MetricsSeen};
use crate::vocab::codebuild::BuildSeen;
use crate::vocab::ecr::{ImageSeen, ScanSeen, Stored};
use crate::vocab::{autoscaling, ecs, elb, lambda};

/// What is watched: how an event finds the services that release from it, and the releases under way that it concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watched {
    /// An ECR repository.
    Repository(AccountId, Region, RepositoryName),
    /// A CloudWatch alarm.
    Alarm(AccountId, Region, AlarmName),
    /// An ECS service by name, in whichever cluster: events of services that still have the old, short ARN do not name it, and looking at a
    /// release once more changes nothing.
    EcsService(AccountId, Region, EcsServiceName),
    /// A Lambda function, whichever alias: `$LATEST`, which is published, is one for all of them.
    LambdaFunction(AccountId, Region, FunctionName),
    /// A CodeBuild project whose builds are released.
    BuildProject(AccountId, Region, String),
    /// A bucket that release manifests are written to.
    Bucket(String),
}

impl Watched {
    /// What is released to: who else releases there is found by it, and what events tell of it.
    pub fn of_target(target: &Target) -> Self {
        let Target { account, region, resource, .. } = target;
        match resource {
            Resource::EcsService(EcsService { service, .. }) => {
                Self::EcsService(account.clone(), region.clone(), service.clone())
            }
            Resource::LambdaAlias(LambdaAlias { function, .. }) => {
                Self::LambdaFunction(account.clone(), region.clone(), function.clone())
            }
        }
    }

    /// What the events of a release under way are about: the target it goes to and the alarms of its plan.
    pub fn of_release(release: &Release) -> Vec<Self> {
        if release.is_over() || release.progress.started_at.is_none() {
            return Vec::new();
        }
        let Target { account, region, .. } = &release.target;
        let mut watched = vec![Self::of_target(&release.target)];
        for alarm in release.plan.iter().flat_map(|plan| &plan.alarms) {
            let alarm = Self::Alarm(account.clone(), region.clone(), alarm.clone());
            if !watched.contains(&alarm) {
                watched.push(alarm);
            }
        }
        watched
    }
}

/// A release under way that an event concerns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnderWay {
    /// Which.
    pub release: ReleaseId,
    /// Of which service and where it goes, as far as that can be read: what else is needed can be asked for beside the release itself.
    pub of: Option<(ServiceName, Target)>,
}

/// The ledger. A single row that cannot be read is [`crate::fault::ErrorKind::Invalid`]; in a list it is told beside the rows that can.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// A service's row, consistently read, also when its policy was removed.
    async fn service_row(&self, name: &ServiceName) -> Result<Option<ServiceRecord>, PortError>;
    /// The rows of all services by name, also of those whose policy was removed.
    async fn service_rows(&self) -> Result<Listing<(ServiceName, ServiceRecord)>, PortError>;
    /// A service that has a policy, consistently read.
    async fn service(&self, name: &ServiceName) -> Result<Option<ServiceRecord>, PortError> {
        Ok(self.service_row(name).await?.filter(|row| row.removed_at.is_none()))
    }
    /// All services that have a policy, by name.
    async fn services(&self) -> Result<Listing<(ServiceName, ServiceRecord)>, PortError> {
        Ok(self.service_rows().await?.filter(|(_, row)| row.removed_at.is_none()))
    }
    /// A release, consistently read.
    async fn release(&self, id: &ReleaseId) -> Result<Option<Release>, PortError>;
    /// A service's releases, newest first.
    async fn releases(&self, service: &ServiceName, limit: u32) -> Result<Listing<Release>, PortError>;
    /// The ids of a service's releases that begin with `prefix`, oldest first, at most `limit`: what a person abbreviates.
    async fn ids_beginning(
        &self,
        service: &ServiceName,
        prefix: &str,
        limit: u32,
    ) -> Result<Listing<ReleaseId>, PortError>;
    /// All releases that have not ended.
    async fn open(&self) -> Result<Listing<Release>, PortError>;
    /// Releases to be woken at `until` or before, with the time. One whose wake-up time cannot be read is due at once, and told.
    async fn due(&self, until: Timestamp) -> Result<Listing<Due>, PortError>;
    /// The services that watch this. A row that is damaged but still names its service counts, and is told: to look is harmless.
    async fn watchers(&self, watched: &Watched) -> Result<Listing<ServiceName>, PortError>;
    /// The releases under way that this concerns, consistently read. A row that is damaged but still names its release counts, and is told: to
    /// look is harmless.
    async fn under_way(&self, watched: &Watched) -> Result<Listing<UnderWay>, PortError>;
    /// A release's history, oldest first.
    async fn history(&self, id: &ReleaseId) -> Result<Listing<Entry>, PortError>;
    /// What a service's triggers were refused, consistently read.
    async fn refusals(&self, name: &ServiceName) -> Result<Option<RefusalLog>, PortError>;
    /// What was seen in a service's repository last, consistently read.
    async fn tags_seen(&self, name: &ServiceName) -> Result<Option<TagsSeen>, PortError>;
    /// What waits for its image, consistently read.
    async fn awaited(&self, name: &ServiceName) -> Result<Option<Awaited>, PortError>;
    /// A service's own history (policies applied, …), newest first: at most `limit` entries, and among them what its triggers were refused
    /// and what waits for its image, which take no entry's place.
    async fn service_history(&self, name: &ServiceName, limit: u32) -> Result<Listing<Entry>, PortError>;
    /// Says that one is about to write this version of a release; `false` when somebody has said so before. A courtesy: it is refused for less
    /// than a transaction is, and nothing rests on it.
    async fn claim(&self, release: &ReleaseId, version: u64) -> Result<bool, PortError>;
    /// Writes a change; [`crate::fault::ErrorKind::Conflict`] when any condition does not hold.
    async fn commit(&self, commit: Commit) -> Result<(), PortError>;
}

/// What a build made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildMade {
    /// Its id: `project:uuid`.
    pub id: String,
    /// The project.
    pub project: String,
    /// How it went, as AWS spells it: `SUCCEEDED`, …
    pub status: String,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The variables its buildspec exports.
    pub exported: BTreeMap<String, String>,
    /// The commit it was made from, as far as CodeBuild found it out.
    pub commit: Option<String>,
    /// What it was asked to build: a branch, a tag, a commit, `pr/7`; none for the project's own branch.
    pub source_version: Option<String>,
    /// The batch it is a part of, by ARN.
    pub batch: Option<String>,
    /// Who or what started it.
    pub initiator: Option<String>,
    /// Where its log is read.
    pub log_url: Option<String>,
    /// Where its artifacts are, the first one first.
    pub artifacts: Vec<ObjectAt>,
}

/// An image as its registry describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageDescribed {
    /// Its digest.
    pub digest: Digest,
    /// All its tags.
    pub tags: Vec<Tag>,
    /// When it was pushed. A tag that is put on it later does not change that.
    pub pushed_at: Option<Timestamp>,
    /// What kind of thing it is.
    pub media: MediaTypes,
}

impl ImageDescribed {
    /// Why it is no container image, if it is not.
    pub fn is_no_image(&self) -> Option<String> {
        self.media.is_no_image(&self.tags)
    }
}

/// Where an object is, and which of its versions is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectAt {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The version; the newest without.
    pub version: Option<String>,
    /// The entity tag it must have.
    pub etag: Option<String>,
}

impl std::fmt::Display for ObjectAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

/// What an object is now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectNow {
    /// Its version, in a bucket that keeps versions.
    pub version: Option<String>,
    /// Its entity tag.
    pub etag: Option<String>,
}

/// An answer to a CodePipeline job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobAnswer {
    /// Not over: CodePipeline asks again, with this token.
    Continue {
        /// What is asked again with.
        token: String,
        /// For people.
        summary: String,
        /// The release, when there is one.
        release: Option<ReleaseId>,
        /// How far it is.
        percent: u8,
    },
    /// Over, and well.
    Succeed {
        /// For people.
        summary: String,
        /// The release.
        release: ReleaseId,
        /// What later actions can use.
        variables: BTreeMap<String, String>,
    },
    /// Over, and not well.
    Fail {
        /// What kind of failure.
        kind: JobFailure,
        /// For people.
        message: String,
        /// The release, when there is one.
        release: Option<ReleaseId>,
    },
}

/// The kinds of failure CodePipeline knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobFailure {
    /// The release did not end well.
    JobFailed,
    /// The action, the artifact or the policy has to be corrected.
    Configuration,
    /// A permission is missing.
    Permission,
    /// A newer revision took its place.
    OutOfSync,
    /// The artifact is gone.
    RevisionUnavailable,
    /// AWS did not answer.
    SystemUnavailable,
}

/// A manual approval that waits for its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingApproval {
    /// The execution of the pipeline that waits.
    pub execution: String,
    /// What the answer has to name.
    pub token: String,
}

/// Amazon ECS. Whatever cannot be seen is part of the answer.
#[async_trait]
pub trait Ecs: Send + Sync {
    /// Looks at what is asked for.
    async fn observe(&self, place: &Target, needs: &ecs::Needs) -> ecs::Observation;
    /// Performs an effect.
    async fn perform(&self, place: &Target, effect: &ecs::Effect) -> Result<(), PortError>;
}

/// Elastic Load Balancing. Whatever cannot be seen is part of the answer.
#[async_trait]
pub trait Elb: Send + Sync {
    /// Looks at what is asked for.
    async fn observe(&self, place: &Target, needs: &elb::Needs) -> elb::Observation;
    /// Performs an effect.
    async fn perform(&self, place: &Target, effect: &elb::Effect) -> Result<(), PortError>;
}

/// What stands around a target group: for whoever prepares a service, not for a release.
#[async_trait]
pub trait LoadBalancing: Send + Sync {
    /// The target group with what sends it requests; `None` when there is no such one.
    async fn around(
        &self,
        place: &Target,
        group: &TargetGroupArn,
    ) -> Result<Option<elb::Surroundings>, PortError>;
}

/// AWS Lambda. Whatever cannot be seen is part of the answer.
#[async_trait]
pub trait Lambda: Send + Sync {
    /// What is asked about a function.
    async fn observe(&self, place: &Target, needs: &lambda::Needs) -> lambda::Observation;
    /// Performs an effect; what it brought about, where nothing shows it afterwards.
    async fn perform(
        &self,
        place: &Target,
        effect: &lambda::Effect,
    ) -> Result<Option<FunctionVersion>, PortError>;
}

/// Application Auto Scaling. Whatever cannot be seen is part of the answer.
#[async_trait]
pub trait AutoScaling: Send + Sync {
    /// Looks at what is asked for.
    async fn observe(&self, place: &Target, needs: &autoscaling::Needs) -> autoscaling::Observation;
    /// Performs an effect.
    async fn perform(&self, place: &Target, effect: &autoscaling::Effect) -> Result<(), PortError>;
}

/// CloudWatch alarms: observe.
#[async_trait]
pub trait Alarms: Send + Sync {
    /// The alarms that exist among these.
    async fn states(
        &self,
        target: &Target,
        names: &[AlarmName],
    ) -> Result<BTreeMap<AlarmName, AlarmSeen>, PortError>;
}

/// Metrics: observe.
#[async_trait]
pub trait Metrics: Send + Sync {
    /// The values of metrics in the windows until `until`. Metrics come late: a window may turn out to have had more. An answer that is not
    /// complete is none.
    async fn observe(
        &self,
        place: &Target,
        asked: &MetricsAsked,
        until: Timestamp,
    ) -> Result<MetricsSeen, PortError>;
}

/// ECR: observe.
#[async_trait]
pub trait Images: Send + Sync {
    /// An image by digest; `None` when it is gone, or of no private ECR registry.
    async fn image(&self, image: &Image) -> Result<Option<ImageSeen>, PortError> {
        Ok(match self.stored(image).await? {
            Stored::There(seen) => Some(seen),
            Stored::Gone | Stored::Elsewhere => None,
        })
    }
    /// What its registry says of an image, by digest.
    async fn stored(&self, image: &Image) -> Result<Stored, PortError>;
    /// What a scan of the image found; basic scanning or Amazon Inspector.
    async fn scan(&self, image: &Image) -> Result<ScanSeen, PortError>;
    /// The digest a tag points at now.
    async fn resolve(
        &self,
        registry: &str,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Option<Digest>, PortError>;
    /// An image as its registry describes it, by tag or digest; `None` when there is none.
    async fn described(
        &self,
        registry: &str,
        repository: &RepositoryName,
        pick: &Pick,
    ) -> Result<Option<ImageDescribed>, PortError>;
    /// Every tagged image of a repository that can be pulled; none when there is no such repository.
    async fn tagged(
        &self,
        registry: &str,
        repository: &RepositoryName,
    ) -> Result<Vec<ImageDescribed>, PortError>;
}

/// Messages to people.
#[async_trait]
pub trait Messenger: Send + Sync {
    /// Hands an approver's link over for delivery.
    async fn invite(&self, invite: &Invite) -> Result<(), PortError>;
}

/// Builds that try a candidate.
#[async_trait]
pub trait Builds: Send + Sync {
    /// Starts a build and answers its id. The same `token` within minutes is answered with the same build.
    async fn start(
        &self,
        project: &str,
        token: &str,
        environment: &BTreeMap<String, String>,
    ) -> Result<String, PortError>;
    /// A build; `None` when there is none of that id.
    async fn build(&self, id: &str) -> Result<Option<BuildSeen>, PortError>;
}

/// What builds made, and of which there are.
#[async_trait]
pub trait BuildOutputs: Send + Sync {
    /// What a build made; `None` when there is none of that id.
    async fn made(&self, id: &str) -> Result<Option<BuildMade>, PortError>;
    /// The newest builds of a project, newest first.
    async fn newest(&self, project: &str, limit: usize) -> Result<Vec<BuildMade>, PortError>;
}

/// Objects in buckets.
#[async_trait]
pub trait Objects: Send + Sync {
    /// Reads an object of at most `max_bytes`; a larger one is [`crate::fault::ErrorKind::Invalid`], one that is gone [`crate::fault::ErrorKind::NotFound`].
    async fn read(&self, at: &ObjectAt, max_bytes: u64) -> Result<Vec<u8>, PortError>;
    /// The version (in a bucket that keeps versions) or the entity tag that is the object now.
    async fn current(&self, bucket: &str, key: &str) -> Result<Option<ObjectNow>, PortError>;
}

/// The files of an artifact, by their names at its top: a zip archive, or a folder of files.
#[async_trait]
pub trait Artifacts: Send + Sync {
    /// Those of `names` that are there. What is too large, or cannot be what it says, is [`crate::fault::ErrorKind::Invalid`].
    async fn files(&self, at: &ObjectAt, names: &[&str]) -> Result<BTreeMap<String, Vec<u8>>, PortError>;
}

/// CodePipeline: jobs are answered, and manual approvals.
#[async_trait]
pub trait Pipelines: Send + Sync {
    /// Answers a job. A job that has been answered, or is over, is left as it is; `false` then.
    async fn answer(&self, job: &str, answer: &JobAnswer) -> Result<bool, PortError>;
    /// Whether this is an execution of the pipeline that is in progress. `false` also when there is no such pipeline or execution.
    async fn is_running(&self, pipeline: &str, execution: &str) -> Result<bool, PortError>;
    /// The approval that waits at an action; `None` when none does.
    async fn waiting(&self, action: &PipelineAction) -> Result<Option<WaitingApproval>, PortError>;
    /// Answers the approval. One that has been answered meanwhile is left as it is; `false` then.
    async fn approve(
        &self,
        action: &PipelineAction,
        token: &str,
        approved: bool,
        summary: &str,
    ) -> Result<bool, PortError>;
}

/// Task definitions as documents.
#[async_trait]
pub trait TaskDefinitions: Send + Sync {
    /// The task definition the service runs now, as JSON with every field; `None` when there is no such service.
    async fn current(&self, target: &Target) -> Result<Option<serde_json::Value>, PortError>;
}

/// Wake-ups.
#[async_trait]
pub trait Waker: Send + Sync {
    /// Has the release looked at after `delay_secs` (at most 900).
    async fn wake(&self, release: &ReleaseId, delay_secs: u32, why: &str) -> Result<(), PortError>;
    /// Has many releases looked at. Every one is tried; those that were not sent are returned, each with its error.
    async fn wake_all(&self, wakes: &[WakeUp]) -> Vec<(ReleaseId, PortError)> {
        let mut unsent = Vec::new();
        for wake in wakes {
            for release in wake.releases() {
                if let Err(error) = self.wake(release, wake.delay_secs, &wake.why).await {
                    unsent.push((release.clone(), error));
                }
            }
        }
        unsent
    }
}

/// What receivers were told, kept beside the releases.
#[async_trait]
pub trait Notebook: Send + Sync {
    /// What each receiver was told of a release, consistently read.
    async fn told(&self, release: &ReleaseId) -> Result<Listing<Told>, PortError>;
    /// Writes what one receiver was told; [`crate::fault::ErrorKind::Conflict`] when somebody else wrote it meanwhile.
    async fn note(&self, release: &ReleaseId, told: &Told) -> Result<(), PortError>;
    /// Asks for a trial of a service's channels.
    async fn ask_trial(&self, service: &ServiceName, id: &str, now: Timestamp) -> Result<(), PortError>;
    /// Writes what came of a trial.
    async fn put_trial(&self, service: &ServiceName, trial: &Trial) -> Result<(), PortError>;
    /// What came of a trial; none as long as it has not been made.
    async fn trial(&self, service: &ServiceName, id: &str) -> Result<Option<Trial>, PortError>;
}

/// Whoever is told. Each call ends within [`crate::notify::CLAIM`], whatever the receiver does.
#[async_trait]
pub trait Receivers: Send + Sync {
    /// Tells one message; answers what the receiver calls what it was told by now.
    async fn tell(&self, message: &Message) -> Result<BTreeMap<String, String>, NotSent>;
    /// Tries a receiver with a message that says that it is a test.
    async fn test(&self, to: &Receiver, service: &ServiceName, id: &str) -> Result<(), NotSent>;
}

/// A queue whose messages can be put off: no message is sent anew for it, so AWS does not take it for a loop.
#[async_trait]
pub trait Postpone: Send + Sync {
    /// Has a message that is being handled come again after `delay_secs` (at most 12 hours), once it is given back as failed.
    async fn postpone(&self, receipt: &str, delay_secs: u32) -> Result<(), PortError>;
}

/// One of many wake-ups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WakeUp {
    /// The release to look at.
    pub release: ReleaseId,
    /// More of them, to be looked at together.
    pub also: Vec<ReleaseId>,
    /// After how long, seconds.
    pub delay_secs: u32,
    /// Why.
    pub why: String,
}

impl WakeUp {
    /// One release.
    pub fn of(release: ReleaseId, delay_secs: u32, why: impl Into<String>) -> Self {
        Self { release, also: Vec::new(), delay_secs, why: why.into() }
    }

    /// All releases to look at.
    pub fn releases(&self) -> impl Iterator<Item = &ReleaseId> {
        std::iter::once(&self.release).chain(&self.also)
    }
}

/// A release that is to be woken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    /// Which.
    pub release: ReleaseId,
    /// When.
    pub at: Timestamp,
    /// Something is expected any moment.
    pub soon: bool,
}
