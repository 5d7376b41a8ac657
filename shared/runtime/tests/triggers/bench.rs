//! A ledger and an ECR in memory; CodeBuild, S3 and CodePipeline as simple as they can be.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tidegate_core::actor::Actor;
use tidegate_core::commit::{Commit, ReleaseWrite, ServiceWrite};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::history::{Entry, Event};
use tidegate_core::ids::{Region, ReleaseId, Target};
use tidegate_core::outcome::Outcome;
use tidegate_core::policy::{PipelineAction, parse};
use tidegate_core::ports::{
    Artifacts, BuildMade, BuildOutputs, JobAnswer, ObjectAt, ObjectNow, Objects, Pipelines, TaskDefinitions,
    WaitingApproval,
};
use tidegate_core::release::{Phase, Release};
use tidegate_runtime::triggers::Sources;
use tidegate_runtime::visits::{Pace, Rotation};
use tidegate_runtime::{Context, Installation};
use tidegate_testkit::fakes::{Caller, Quality, Universe};
use tidegate_testkit::names;

/// Everything a test of the triggers needs.
pub(crate) struct Bench {
    pub(crate) universe: Universe,
    pub(crate) context: Context,
    pub(crate) builds: FakeBuilds,
    pub(crate) bucket: FakeBucket,
    pub(crate) pipelines: FakePipelines,
    pub(crate) definition: Value,
    rotation: Rotation,
}

pub(crate) const POLICY: &str = r#"
service: checkout
from:
  ecr: { repository: shop/checkout }
  codebuild: { project: checkout }
  s3: { bucket: releases, prefix: checkout/ }
  pipeline: { names: [checkout] }
  requests: { sources: [shop.ci, x, y] }
to: { ecs: { cluster: prod, service: checkout, container: app } }
strategy: { canary: { percent: 10, bake: 1m }, bake: 1m }
"#;

impl Bench {
    pub(crate) async fn with(policy: &str) -> Self {
        let universe = Universe::quiet();
        let context = universe.context(Caller { id: 1, name: "test".into() }, true);
        let policy = parse("policy.yaml", policy).unwrap();
        context.installation.apply(&policy, &Actor::Person { name: "tester".into() }).await.unwrap();
        let bench = Self {
            universe,
            context,
            builds: FakeBuilds::default(),
            bucket: FakeBucket::default(),
            pipelines: FakePipelines::default(),
            definition: Value::Null,
            rotation: Rotation::default(),
        };
        for build in 2..6 {
            // Before the policy, one after the other.
            let pushed_at = names::at(i64::from(build) - 100);
            bench.universe.state().aws.push(build, Quality::Good, pushed_at);
        }
        bench
    }

    pub(crate) async fn new() -> Self {
        Self::with(POLICY).await
    }

    pub(crate) fn installation(&self) -> &Installation {
        &self.context.installation
    }

    pub(crate) fn sources(&self) -> Sources<'_> {
        Sources {
            images: self.context.images.as_ref(),
            builds: &self.builds,
            objects: &self.bucket,
            artifacts: &self.bucket,
        }
    }

    /// Time enough for everything, for the looks of one round.
    pub(crate) fn pace(&self) -> Pace<'_> {
        let until = self.now().saturating_add(SignedDuration::from_secs(47)).unwrap();
        // For as long as the test lives: whoever has the pace shares it.
        Pace { listed: Box::leak(Box::default()), rotation: &self.rotation, until }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.universe.state().now
    }

    pub(crate) fn later(&self, secs: i64) {
        let to = self.now().saturating_add(SignedDuration::from_secs(secs)).unwrap();
        self.universe.state().advance(to);
    }

    /// The releases, oldest first.
    pub(crate) fn releases(&self) -> Vec<Release> {
        self.universe.state().rows.releases().cloned().collect()
    }

    /// What the service's history tells, oldest first, without the policy's own entries.
    pub(crate) fn told(&self) -> Vec<Entry> {
        let state = self.universe.state();
        let history = state.rows.told(&names::service());
        history
            .into_iter()
            .filter(|entry| !matches!(entry.event, Event::PolicyStored | Event::PolicyChanged))
            .collect()
    }

    /// Rewrites a release, as its course would have.
    pub(crate) async fn turn(&self, id: &ReleaseId, change: impl FnOnce(&mut Release)) {
        let old = self.installation().ledger.release(id).await.unwrap().unwrap();
        let mut release = old.clone();
        release.version += 1;
        change(&mut release);
        let event = Event::Acted { actions: Vec::new(), again: false };
        let entry = Entry::new(release.version, self.now(), Actor::Tidegate, event);
        let over = release.is_over();
        let write = ReleaseWrite { before: Some(Box::new(old)), release, entry: Some(entry) };
        let mut commit = Commit { releases: vec![write], ..Commit::default() };
        if over {
            let head = self.installation().ledger.service(&names::service()).await.unwrap().unwrap();
            let mut next = head.clone();
            next.version += 1;
            next.waiting = next.waiting.filter(|waiting| waiting != id);
            let service = names::service();
            commit.head =
                Some(ServiceWrite { service, expected: Some(head.version), head: next, entry: None });
        }
        self.installation().ledger.commit(commit).await.unwrap();
    }

    /// Ends a release.
    pub(crate) async fn end(&self, id: &ReleaseId, outcome: Outcome) {
        let at = self.now();
        self.turn(id, |release| {
            release.phase = Phase::Ended { outcome, at, restored_at: None };
            release.wake = None;
        })
        .await;
    }
}

/// CodeBuild.
#[derive(Default)]
pub(crate) struct FakeBuilds(pub(crate) Mutex<Vec<BuildMade>>);

impl FakeBuilds {
    pub(crate) fn add(&self, build: BuildMade) {
        self.0.lock().unwrap().push(build);
    }
}

#[async_trait]
impl BuildOutputs for FakeBuilds {
    async fn made(&self, id: &str) -> Result<Option<BuildMade>, PortError> {
        Ok(self.0.lock().unwrap().iter().find(|build| build.id == id).cloned())
    }

    async fn newest(&self, project: &str, limit: usize) -> Result<Vec<BuildMade>, PortError> {
        let builds = self.0.lock().unwrap();
        Ok(builds.iter().rev().filter(|build| build.project == project).take(limit).cloned().collect())
    }
}

/// One object of the bucket.
#[derive(Debug, Clone)]
struct Stored {
    bytes: Vec<u8>,
    etag: String,
    version: Option<String>,
}

/// S3: all versions of each object, and files of artifacts by the object they are in.
#[derive(Default)]
pub(crate) struct FakeBucket {
    objects: Mutex<BTreeMap<(String, String), Vec<Stored>>>,
    artifacts: Mutex<BTreeMap<String, BTreeMap<String, Vec<u8>>>>,
    pub(crate) fails: Mutex<Option<PortError>>,
    pub(crate) reads: Mutex<u32>,
}

impl FakeBucket {
    /// Writes, and answers what the event would say.
    pub(crate) fn put(&self, key: &str, text: &str, version: Option<&str>) -> ObjectAt {
        let mut objects = self.objects.lock().unwrap();
        let versions = objects.entry(("releases".into(), key.into())).or_default();
        let etag = format!("etag-{}", versions.len());
        let version = version.map(str::to_owned);
        versions.push(Stored {
            bytes: text.as_bytes().to_vec(),
            etag: etag.clone(),
            version: version.clone(),
        });
        ObjectAt { bucket: "releases".into(), key: key.into(), version, etag: Some(etag) }
    }

    pub(crate) fn artifact(&self, key: &str, files: &[(&str, &str)]) -> ObjectAt {
        let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
        self.artifacts.lock().unwrap().insert(format!("s3://builds/{key}"), files);
        ObjectAt { bucket: "builds".into(), key: key.into(), ..ObjectAt::default() }
    }

    fn failure(&self) -> Result<(), PortError> {
        self.fails.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

fn failed(kind: ErrorKind, code: &str) -> PortError {
    PortError::new(kind, "s3:GetObject", code, "no")
}

#[async_trait]
impl Objects for FakeBucket {
    async fn read(&self, at: &ObjectAt, max_bytes: u64) -> Result<Vec<u8>, PortError> {
        self.failure()?;
        *self.reads.lock().unwrap() += 1;
        let objects = self.objects.lock().unwrap();
        let versions = objects.get(&(at.bucket.clone(), at.key.clone()));
        let versions = versions.ok_or_else(|| failed(ErrorKind::NotFound, "NoSuchKey"))?;
        let stored = match &at.version {
            Some(version) => versions.iter().find(|stored| stored.version.as_ref() == Some(version)),
            None => versions.last(),
        };
        let stored = stored.ok_or_else(|| failed(ErrorKind::NotFound, "NoSuchVersion"))?;
        if at.etag.as_ref().is_some_and(|etag| *etag != stored.etag) {
            return Err(failed(ErrorKind::Invalid, "PreconditionFailed"));
        }
        assert!(stored.bytes.len() as u64 <= max_bytes, "tests read nothing large here");
        Ok(stored.bytes.clone())
    }

    async fn current(&self, bucket: &str, key: &str) -> Result<Option<ObjectNow>, PortError> {
        self.failure()?;
        let objects = self.objects.lock().unwrap();
        let newest = objects.get(&(bucket.to_owned(), key.to_owned())).and_then(|versions| versions.last());
        Ok(newest
            .map(|stored| ObjectNow { version: stored.version.clone(), etag: Some(stored.etag.clone()) }))
    }
}

#[async_trait]
impl Artifacts for FakeBucket {
    async fn files(&self, at: &ObjectAt, names: &[&str]) -> Result<BTreeMap<String, Vec<u8>>, PortError> {
        self.failure()?;
        let artifacts = self.artifacts.lock().unwrap();
        let files = artifacts.get(&at.to_string()).ok_or_else(|| failed(ErrorKind::NotFound, "NoSuchKey"))?;
        let wanted = files.iter().filter(|(name, _)| names.contains(&name.as_str()));
        Ok(wanted.map(|(name, bytes)| (name.clone(), bytes.clone())).collect())
    }
}

#[async_trait]
impl TaskDefinitions for Bench {
    async fn current(&self, target: &Target) -> Result<Option<Value>, PortError> {
        assert_eq!(target.region, Region::new("eu-central-1").unwrap());
        Ok((!self.definition.is_null()).then(|| self.definition.clone()))
    }
}

/// CodePipeline: one manual approval, and what was answered.
#[derive(Default)]
pub(crate) struct FakePipelines {
    pub(crate) waiting: Mutex<Option<WaitingApproval>>,
    pub(crate) approved: Mutex<Vec<(String, bool, String)>>,
    pub(crate) fails: Mutex<Option<PortError>>,
}

#[async_trait]
impl Pipelines for FakePipelines {
    async fn answer(&self, _: &str, _: &JobAnswer) -> Result<bool, PortError> {
        unreachable!("jobs are answered by the function")
    }

    async fn is_running(&self, pipeline: &str, execution: &str) -> Result<bool, PortError> {
        self.fails.lock().unwrap().clone().map_or(Ok(()), Err)?;
        Ok(pipeline == "checkout" && execution.starts_with("e-"))
    }

    async fn waiting(&self, _: &PipelineAction) -> Result<Option<WaitingApproval>, PortError> {
        self.fails.lock().unwrap().clone().map_or(Ok(()), Err)?;
        Ok(self.waiting.lock().unwrap().clone())
    }

    async fn approve(
        &self,
        _: &PipelineAction,
        token: &str,
        approved: bool,
        summary: &str,
    ) -> Result<bool, PortError> {
        let mut waiting = self.waiting.lock().unwrap();
        if waiting.as_ref().is_none_or(|waiting| waiting.token != token) {
            return Ok(false);
        }
        *waiting = None;
        self.approved.lock().unwrap().push((token.to_owned(), approved, summary.to_owned()));
        Ok(true)
    }
}
