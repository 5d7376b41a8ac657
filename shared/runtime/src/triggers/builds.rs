//! Builds: one that succeeded releases the image it made; one that did not is recorded.

use jiff::{SignedDuration, Timestamp};
use tidegate_core::actor::Actor;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{AccountId, ContainerName, Region, ServiceName};
use tidegate_core::intent::Provenance;
use tidegate_core::policy::{BuildOrigin, Policy};
use tidegate_core::ports::{BuildMade, Watched};
use tidegate_core::reference::{Reference, Selection};
use tidegate_core::release::Release;
use tidegate_core::service::ServiceRecord;
use tidegate_core::trigger::{Reason, Refusal, Subject, Trigger};
use tidegate_wire::artifact;

use super::{Attempt, ImageRequest, Sources, TriggerError, TriggerResult};
use crate::arrivals::settled_until;
use crate::context::Installation;
use crate::unfinished::Unfinished;
use crate::visits::{Looked, Pace};

const SUCCEEDED: &str = "SUCCEEDED";
/// The event of a build has this long before the build counts as missed.
const EVENT_GRACE: SignedDuration = SignedDuration::from_secs(120);
/// What is older was missed for good: deliveries are remembered for a week, and a release of last week's build would surprise.
const LOOK_BACK: SignedDuration = SignedDuration::from_hours(24);
/// How many builds are looked at: the newest one that succeeded and that the policy lets in is wanted. A batch alone has many.
const BUILDS_SEEN: usize = 30;
/// How many releases back it is looked whether a person decided otherwise.
const RELEASES_SEEN: u32 = 50;

/// A build that changed its state.
#[derive(Debug, Clone)]
pub struct BuildChanged {
    /// Its account.
    pub account: AccountId,
    /// Its region.
    pub region: Region,
    /// The project.
    pub project: String,
    /// Its id: `project:uuid`.
    pub build: String,
    /// How it went, as AWS spells it.
    pub status: String,
    /// Where its log is read.
    pub log_url: Option<String>,
    /// When the event happened.
    pub at: Timestamp,
    /// Who says so.
    pub by: Actor,
}

impl Installation {
    /// Handles a build that changed its state, for every service that releases the project's builds. Returns what became of it, by service.
    pub async fn build_changed(
        &self,
        sources: Sources<'_>,
        change: &BuildChanged,
    ) -> Result<Vec<(ServiceName, &'static str)>, TriggerError> {
        let watched =
            Watched::BuildProject(change.account.clone(), change.region.clone(), change.project.clone());
        let mut failed = Vec::new();
        let services = self.ledger.watchers(&watched).await?.tell(&mut failed);
        if change.status == "IN_PROGRESS" || services.is_empty() {
            return Ok(Unfinished::or(failed, Vec::new())?);
        }
        if change.status != SUCCEEDED {
            let recorded = self.record_failure(&services, change, &mut failed).await;
            return Ok(Unfinished::or(failed, recorded)?);
        }
        let made = sources.builds.made(&change.build).await?.ok_or_else(|| {
            let what = format!("build {} does not exist", change.build);
            PortError::new(ErrorKind::NotFound, "codebuild:BatchGetBuilds", "NoBuild", what)
        })?;
        let mut outcomes = Vec::new();
        for service in services {
            match self.release_build(sources, &service, &made, &change.by).await {
                Ok(taken) => outcomes.extend(taken.map(|taken| (service, taken.word()))),
                Err(error) => failed.push(format!("service {service}: {error}")),
            }
        }
        Ok(Unfinished::or(failed, outcomes)?)
    }

    async fn record_failure(
        &self,
        services: &[ServiceName],
        change: &BuildChanged,
        failed: &mut Vec<String>,
    ) -> Vec<(ServiceName, &'static str)> {
        let mut outcomes = Vec::new();
        for service in services {
            match self.record_failure_of(service, change).await {
                Ok(true) => outcomes.push((service.clone(), "recorded")),
                Ok(false) => {}
                Err(error) => failed.push(format!("service {service}: {error}")),
            }
        }
        outcomes
    }

    /// `false`: the policy names another project.
    async fn record_failure_of(
        &self,
        service: &ServiceName,
        change: &BuildChanged,
    ) -> Result<bool, PortError> {
        let Some(head) = self.ledger.service(service).await? else { return Ok(false) };
        if head.policy.from.codebuild.as_ref().is_none_or(|build| build.project != change.project) {
            return Ok(false);
        }
        let why = match &change.log_url {
            Some(log) => format!("nothing is released; its log: {log}"),
            None => "nothing is released".to_owned(),
        };
        let delivery = delivery(&change.build, &change.status);
        let attempt = Attempt {
            service,
            trigger: Trigger::Build,
            by: &change.by,
            subject: Subject::FailedBuild {
                build: change.build.to_string(),
                status: change.status.to_string(),
            },
            delivery: Some(&delivery),
        };
        self.refuse(&attempt, Refusal::new(Reason::Failed, why)).await?;
        Ok(true)
    }

    /// Releases what a build made. `None`: the policy names another project.
    async fn release_build(
        &self,
        sources: Sources<'_>,
        service: &ServiceName,
        made: &BuildMade,
        by: &Actor,
    ) -> Result<Option<TriggerResult>, TriggerError> {
        let Some(head) = self.ledger.service(service).await? else { return Ok(None) };
        if head.policy.from.codebuild.as_ref().is_none_or(|build| build.project != made.project) {
            return Ok(None);
        }
        let delivery = delivery(&made.id, SUCCEEDED);
        let attempt = Attempt {
            service,
            trigger: Trigger::Build,
            by,
            subject: Subject::Build { build: made.id.to_string() },
            delivery: Some(&delivery),
        };
        // Before anything it made is read.
        if let Some(refusal) = refused(&head.policy, made) {
            return Ok(Some(self.refuse(&attempt, refusal).await?));
        }
        let images = match images_of(sources, &head, made).await? {
            Ok(images) => images,
            Err(why) => {
                let refusal = Refusal::new(Reason::Unreadable, why);
                return Ok(Some(self.refuse(&attempt, refusal).await?));
            }
        };
        let wanted = ImageRequest {
            service: service.clone(),
            images,
            by: by.clone(),
            why: format!("build {} succeeded", made.id),
            provenance: Provenance {
                commit: made.commit.clone().or_else(|| made.source_version.clone()),
                committed_at: committed_at(made),
                author: made.initiator.clone(),
                url: made.log_url.clone(),
            },
            delivery: Some(delivery.clone()),
            announcing: None,
        };
        let refused = |policy: &Policy| refused(policy, made);
        self.want(sources.images, &wanted, Trigger::Build, refused).await.map(Some)
    }

    /// CodeBuild's events may be lost: the newest build of each project that succeeded within a day, and whose event has had its time, is
    /// handled as if its event had come. One that was handled before is known by its delivery. What the policy refuses hides nothing behind
    /// it: a project builds pull requests and batches as well, and the newest of them is seldom the lost one.
    pub async fn find_lost_builds(&self, sources: Sources<'_>, pace: Pace<'_>) -> Result<Looked, PortError> {
        let mut failed = Vec::new();
        let builds = |head: &ServiceRecord| head.policy.from.codebuild.is_some();
        let built = pace.services(&*self.ledger, &mut failed, builds).await?;
        let what = "look for lost builds";
        let looked = pace
            .visit(&*self.time, what, built, |service, head| async move {
                let found = self.find_lost_build(sources, &service, &head).await;
                found.map_err(|error| format!("{what} of {service}: {error}"))
            })
            .await;
        Ok(Looked { done: looked.done, failed: [failed, looked.failed].concat() })
    }

    async fn find_lost_build(
        &self,
        sources: Sources<'_>,
        service: &ServiceName,
        head: &ServiceRecord,
    ) -> Result<bool, TriggerError> {
        let Some(source) = &head.policy.from.codebuild else { return Ok(false) };
        let builds = sources.builds.newest(&source.project, BUILDS_SEEN).await?;
        let wanted = |build: &BuildMade| build.status == SUCCEEDED && refused(&head.policy, build).is_none();
        let newest = builds.into_iter().find(wanted);
        let Some((made, ended)) = newest.and_then(|build| build.ended_at.map(|ended| (build, ended))) else {
            return Ok(false);
        };
        let age = self.time.now().duration_since(ended);
        if age < EVENT_GRACE || age > LOOK_BACK || ended < head.watching_since {
            return Ok(false);
        }
        let releases = settled_until(self.ledger.releases(service, RELEASES_SEEN).await?, ended)?;
        // What a person asked for later than the build would have been found stands. Until then nobody could know of the build.
        let findable = ended.saturating_add(EVENT_GRACE).unwrap_or(ended);
        let overruled = |release: &Release| release.created_at > findable && asked_by_a_person(release);
        if releases.iter().any(overruled) {
            return Ok(false);
        }
        let by = Actor::Event { source: "tidegate.clock".into(), id: made.id.clone() };
        let taken = self.release_build(sources, service, &made, &by).await?;
        let found = matches!(taken, Some(TriggerResult::Admitted(..)));
        if found {
            tracing::warn!(service = %service, build = %made.id, "the event of a build was lost; the clock found it");
        }
        Ok(found)
    }
}

fn asked_by_a_person(release: &Release) -> bool {
    match &release.requested_by {
        Actor::Person { .. } => true,
        Actor::Tidegate | Actor::Event { .. } => false,
    }
}

/// The variable in which a build may say when its commit was made.
const COMMITTED_AT: &str = "COMMITTED_AT";
/// The variable in which a webhook's build knows its branch.
const HEAD_REF: &str = "CODEBUILD_WEBHOOK_HEAD_REF";

/// What the policy has against a build.
fn refused(policy: &Policy, made: &BuildMade) -> Option<Refusal> {
    let origin = BuildOrigin {
        source_version: made.source_version.as_deref(),
        head_ref: made.exported.get(HEAD_REF).map(String::as_str).filter(|head| !head.is_empty()),
        initiator: made.initiator.as_deref(),
        batch: made.batch.as_deref(),
    };
    policy.from.codebuild.as_ref()?.refuses(&origin)
}

fn delivery(build: &str, status: &str) -> String {
    format!("build/{build}/{status}")
}

/// Other containers that the artifact gives an image of a repository that is released: releasing the policy's containers alone would follow
/// it half. What runs in them is not looked at here, nor what images of other repositories are meant for.
fn half_followed(files: &artifact::Files, policy: &Policy) -> Option<String> {
    let containers: Vec<&ContainerName> = policy.to.containers().keys().collect();
    let others = artifact::other_images(files, &containers).ok()?;
    let repositories = policy.repositories();
    let of_it = |text: &String| {
        let repository = Reference::parse(text).ok().and_then(|other| other.repository);
        repositories.iter().any(|ours| repository.as_deref() == Some(ours.as_str()))
    };
    let names: Vec<&str> =
        others.iter().filter(|(_, text)| of_it(text)).map(|(name, _)| name.as_str()).collect();
    (!names.is_empty()).then(|| {
        format!(
            "imagedefinitions.json names an image of the same repository for {} too, and the policy releases container {} only: name the others \
             in to.ecs.containers, or leave their entries out, or export the image as a variable",
            names.join(" and "),
            policy.to.container_names()
        )
    })
}

/// When the build's commit was made, if it says so.
fn committed_at(made: &BuildMade) -> Option<Timestamp> {
    let text = made.exported.get(COMMITTED_AT).filter(|text| !text.is_empty())?;
    let read = text.parse();
    if let Err(error) = &read {
        tracing::warn!(build.id = %made.id, error = %error, "the variable {COMMITTED_AT} is passed over: it is no time with a zone");
    }
    read.ok()
}

/// The images a build made: its exported variable, else what its artifacts name. What nobody can fix by waiting is a reason.
async fn images_of(
    sources: Sources<'_>,
    head: &ServiceRecord,
    made: &BuildMade,
) -> Result<Result<Selection, String>, PortError> {
    let variable =
        head.policy.from.codebuild.as_ref().map(|build| build.variable.as_str()).unwrap_or_default();
    if let Some(text) = made.exported.get(variable).filter(|text| !text.is_empty()) {
        return Ok(Reference::parse(text)
            .map(Selection::One)
            .map_err(|error| format!("its variable {variable}: {error}")));
    }
    let containers: Vec<&ContainerName> = head.policy.to.containers().keys().collect();
    let mut problems = vec![format!("it exports no variable {variable}")];
    for at in &made.artifacts {
        match sources.artifacts.files(at, artifact::FILES).await {
            Ok(files) => match artifact::images_of(&files, &containers) {
                Ok(images) => match half_followed(&files, &head.policy) {
                    None => return Ok(Ok(images)),
                    Some(problem) => problems.push(format!("{at}: {problem}")),
                },
                Err(error) => problems.push(format!("{at}: {error}")),
            },
            Err(error) if matches!(error.kind, ErrorKind::Invalid | ErrorKind::NotFound) => {
                problems.push(error.message);
            }
            Err(error) => return Err(error),
        }
    }
    if made.artifacts.is_empty() {
        problems.push("it has no artifact in S3".into());
    }
    Ok(Err(problems.join("; ")))
}
