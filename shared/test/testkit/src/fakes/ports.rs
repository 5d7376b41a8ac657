//! The core's ports over the universe, with a fate for every call.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use tidegate_core::announced::Awaited;
use tidegate_core::commit::Commit;
use tidegate_core::effect::{Effect, Invite};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::history::Entry;
use tidegate_core::ids::{
    AlarmName, Digest, EcsServiceName, FunctionVersion, Image, ReleaseId, RepositoryName, RuleArn,
    ServiceName, Tag, Target, TargetGroupArn, TaskDefinitionArn,
};
use tidegate_core::listing::Listing;
use tidegate_core::ports::{
    Alarms, AutoScaling, Builds, Due, Ecs, Elb, ImageDescribed, Images, Lambda, Ledger, Messenger, Metrics,
    UnderWay, WakeUp, Waker, Watched,
};
use tidegate_core::reference::Pick;
use tidegate_core::refusals::RefusalLog;
use tidegate_core::release::Release;
use tidegate_core::seen::Seen;
use tidegate_core::service::ServiceRecord;
use tidegate_core::sweep::TagsSeen;
use tidegate_core::vocab::cloudwatch::{AlarmSeen, MetricsAsked, MetricsSeen};
use tidegate_core::vocab::codebuild::{BuildSeen, BuildStatus};
use tidegate_core::vocab::ecr::{ScanSeen, ScanStatus, Stored};
use tidegate_core::vocab::ecs::{DeploymentSeen, ServiceSeen, TaskDefinitionSeen};
use tidegate_core::vocab::ecs::{DerivedRevision, RunningSeen, SourceSeen, StoppedNeeds};
use tidegate_core::vocab::elb::RuleSeen;
use tidegate_core::vocab::tasks::StoppedTask;
use tidegate_core::vocab::{autoscaling, ecs, elb, lambda};
use tidegate_runtime::time::Time;

use super::conditions::Fault;
use super::ledger::Row;
use super::universe::{Caller, Delivery, Performed, State, Universe};
use crate::names::{self, service_of};

/// What a transaction is refused with whose row has changed meanwhile; DynamoDB charges for it all the same.
const LOST_RACE: &str = "ConditionalCheckFailed";
/// SQS's limit for the entries of a batch.
const BATCH: usize = 10;
/// How many requests of the adapter are under way at a time.
const AT_ONCE: usize = 25;
/// Every build succeeds after this long.
const BUILD_TAKES: SignedDuration = SignedDuration::from_secs(25);

/// One caller's ports.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) universe: Universe,
    pub(super) caller: Caller,
    /// The release this caller wrote last.
    release: Mutex<Option<ReleaseId>>,
}

/// A call that has not ended, whatever becomes of its caller.
struct UnderWayCall<'a>(&'a Universe);

impl<'a> UnderWayCall<'a> {
    fn begin(universe: &'a Universe) -> Self {
        let mut state = universe.state();
        state.under_way.0 += 1;
        state.under_way.1 = state.under_way.1.max(state.under_way.0);
        Self(universe)
    }
}

impl Drop for UnderWayCall<'_> {
    fn drop(&mut self) {
        self.0.state().under_way.0 -= 1;
    }
}

impl Port {
    pub(super) fn new(universe: Universe, caller: Caller) -> Self {
        Self { universe, caller, release: Mutex::default() }
    }

    async fn read<T>(
        &self,
        operation: &str,
        see: impl FnOnce(&State, Timestamp) -> T,
    ) -> Result<T, PortError> {
        self.call(operation, false, |state, seen_at| Ok(see(state, seen_at))).await
    }

    /// A call: its way there, what it does, its way back, and what goes wrong on the way.
    pub(super) async fn call<T>(
        &self,
        operation: &str,
        effect: bool,
        work: impl FnOnce(&mut State, Timestamp) -> Result<T, PortError>,
    ) -> Result<T, PortError> {
        let _under_way = UnderWayCall::begin(&self.universe);
        let fate = self.universe.state().fate(operation, effect);
        let failed = |kind, code: &str, what: &str| Err(PortError::new(kind, operation, code, what));
        if let Some(fault) = fate.fault {
            self.universe.state().trace(&self.caller.name, &format!("{operation}: {fault:?}"));
        }
        self.universe.sleep(fate.before).await;
        match fate.fault {
            Some(Fault::CrashBefore) => self.die().await,
            Some(Fault::Throttled) => {
                return failed(ErrorKind::Throttled, "ThrottlingException", "rate exceeded");
            }
            Some(Fault::Denied) => return failed(ErrorKind::Denied, "AccessDeniedException", "no"),
            Some(Fault::Unavailable) => {
                return failed(ErrorKind::Unavailable, "DispatchFailure", "connection reset");
            }
            Some(Fault::CrashAfter | Fault::AnswerLost | Fault::StallBefore(_) | Fault::StallAfter(_))
            | None => {}
        }
        let result = {
            let mut state = self.universe.state();
            let now = state.now;
            state.advance(now);
            let seen_at = now.saturating_sub(fate.lag).unwrap_or(now);
            work(&mut state, seen_at)
        };
        self.universe.sleep(fate.after).await;
        match fate.fault {
            Some(Fault::CrashAfter) => self.die().await,
            Some(Fault::AnswerLost) => {
                return failed(ErrorKind::Unavailable, "TimeoutError", "no answer came");
            }
            Some(
                Fault::CrashBefore
                | Fault::Throttled
                | Fault::Denied
                | Fault::Unavailable
                | Fault::StallBefore(_)
                | Fault::StallAfter(_),
            )
            | None => {}
        }
        result
    }

    /// One request; what was not sent is returned.
    async fn send(&self, batch: &[WakeUp]) -> Vec<(ReleaseId, PortError)> {
        let sent = self.call("sqs:SendMessageBatch", false, |state, _| {
            for wake in batch {
                let delay = SignedDuration::from_secs(i64::from(wake.delay_secs.min(900)));
                let at = state.now.saturating_add(delay).unwrap_or(state.now);
                state.queue.extend(wake.releases().map(|release| (at, Delivery::Wake(release.clone()))));
            }
            Ok(())
        });
        match sent.await {
            Ok(()) => Vec::new(),
            Err(error) => {
                let releases = batch.iter().flat_map(WakeUp::releases);
                releases.map(|release| (release.clone(), error.clone())).collect()
            }
        }
    }

    /// The invocation ends here: nothing of it runs any more.
    async fn die(&self) {
        self.universe.state().crashed.push(self.caller.id);
        std::future::pending().await
    }

    fn told(&self, commit: &Commit, result: &Result<(), PortError>) -> String {
        let mut line = String::from("commit");
        for write in &commit.releases {
            let release = &write.release;
            let id = &release.id.as_str()[20..];
            let _ = write!(line, " · {id} v{} {}", release.version, release.summary());
            if let Some(entry) = &write.entry {
                let _ = write!(line, " ({}: {})", entry.event, entry.event.why());
            }
            if let Some(wake) = &release.wake {
                let _ = write!(line, " -> {} at {}", release.report.waiting_on, wake.at);
            }
        }
        if let Some(entry) = commit.head.as_ref().and_then(|head| head.entry.as_ref()) {
            let _ = write!(line, " · service: {} ({})", entry.event, entry.event.why());
        }
        if let Err(error) = result {
            let _ = write!(line, " · {error}");
        }
        line
    }
}

#[async_trait]
impl Ledger for Port {
    async fn service_row(&self, name: &ServiceName) -> Result<Option<ServiceRecord>, PortError> {
        self.call("dynamodb:GetItem", false, |state, _| {
            let head = state.rows.head(name).cloned();
            state.rows.read(Row::Service(name.clone()), head).map_err(|damaged| damaged.problem)
        })
        .await
    }

    async fn service_rows(&self) -> Result<Listing<(ServiceName, ServiceRecord)>, PortError> {
        self.read("dynamodb:Query services", |state, seen_at| {
            let heads = state.rows.heads_until(seen_at).into_iter();
            heads.map(|head| state.rows.read(Row::Service(head.0.clone()), head)).collect()
        })
        .await
    }

    async fn release(&self, id: &ReleaseId) -> Result<Option<Release>, PortError> {
        self.call("dynamodb:GetItem", false, |state, _| {
            let release = state.rows.release(id).cloned();
            state.rows.read(Row::Release(id.clone()), release).map_err(|damaged| damaged.problem)
        })
        .await
    }

    async fn releases(&self, service: &ServiceName, limit: u32) -> Result<Listing<Release>, PortError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.read("dynamodb:Query releases", |state, seen_at| {
            let of = |release: &Release| release.service == *service;
            let releases = state.rows.releases_until(seen_at).into_iter().filter(of).take(limit);
            releases.map(|release| state.rows.read(Row::Release(release.id.clone()), release)).collect()
        })
        .await
    }

    async fn ids_beginning(
        &self,
        service: &ServiceName,
        prefix: &str,
        limit: u32,
    ) -> Result<Listing<ReleaseId>, PortError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.read("dynamodb:Query releases", |state, seen_at| {
            let of =
                |release: &Release| release.service == *service && release.id.as_str().starts_with(prefix);
            let found = state.rows.releases_until(seen_at).into_iter().rev().filter(of);
            Listing::from(found.take(limit).map(|release| release.id).collect::<Vec<_>>())
        })
        .await
    }

    async fn open(&self) -> Result<Listing<Release>, PortError> {
        self.read("dynamodb:Query open", |state, seen_at| {
            let releases =
                state.rows.releases_until(seen_at).into_iter().filter(|release| !release.is_over());
            releases.map(|release| state.rows.read(Row::Release(release.id.clone()), release)).collect()
        })
        .await
    }

    async fn due(&self, until: Timestamp) -> Result<Listing<Due>, PortError> {
        self.read("dynamodb:Query due", |state, seen_at| {
            let releases = state.rows.releases_until(seen_at).into_iter();
            let wakes = releases.filter_map(|release| Some((release.id, release.wake?)));
            state.rows.wakes(wakes, until)
        })
        .await
    }

    async fn watchers(&self, watched: &Watched) -> Result<Listing<ServiceName>, PortError> {
        self.read("dynamodb:Query watchers", |state, _| {
            state.rows.watchers(watched, &names::account(), &names::region())
        })
        .await
    }

    async fn under_way(&self, watched: &Watched) -> Result<Listing<UnderWay>, PortError> {
        self.read("dynamodb:Query under way", |state, _| state.rows.under_way(watched)).await
    }

    async fn history(&self, id: &ReleaseId) -> Result<Listing<Entry>, PortError> {
        self.read("dynamodb:Query history", |state, _| {
            let entries = state.rows.history(id).iter().cloned();
            entries.map(|entry| state.rows.read(Row::Entry(id.clone(), entry.version), entry)).collect()
        })
        .await
    }

    async fn tags_seen(&self, name: &ServiceName) -> Result<Option<TagsSeen>, PortError> {
        self.read("dynamodb:GetItem", |state, _| state.rows.tags(name).cloned()).await
    }

    async fn refusals(&self, name: &ServiceName) -> Result<Option<RefusalLog>, PortError> {
        self.read("dynamodb:GetItem", |state, _| state.rows.refusals(name).cloned()).await
    }

    async fn awaited(&self, name: &ServiceName) -> Result<Option<Awaited>, PortError> {
        self.read("dynamodb:GetItem", |state, _| state.rows.awaited(name).cloned()).await
    }

    async fn service_history(&self, name: &ServiceName, limit: u32) -> Result<Listing<Entry>, PortError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.read("dynamodb:Query history", |state, _| {
            let entries = state.rows.service_history(name).iter().rev().take(limit).cloned();
            let listing: Listing<Entry> = entries
                .map(|entry| state.rows.read(Row::ServiceEntry(name.clone(), entry.version), entry))
                .collect();
            let (mut entries, damaged) = listing.split();
            entries.splice(..0, state.rows.beside(name));
            entries.sort_by_key(|entry| std::cmp::Reverse(entry.at));
            Listing::new(entries, damaged)
        })
        .await
    }

    async fn claim(&self, release: &ReleaseId, version: u64) -> Result<bool, PortError> {
        self.call("dynamodb:PutItem claim", false, |state, _| {
            let claimed = state.rows.claim(release, version);
            state.claims += 1;
            state.refused_claims += u64::from(!claimed);
            if !claimed {
                let what = format!("finds v{version} of {} claimed", &release.as_str()[20..]);
                state.trace(&self.caller.name, &what);
            }
            Ok(claimed)
        })
        .await
    }

    async fn commit(&self, commit: Commit) -> Result<(), PortError> {
        let entry = commit.releases.first().and_then(|write| write.entry.as_ref());
        let name = entry.map_or("dynamodb:TransactWriteItems".to_owned(), |entry| entry.event.to_string());
        self.call(&name, false, |state, _| {
            let now = state.now;
            let result = state.rows.commit(&commit, now);
            state.commits += 1;
            state.lost_commits += u64::from(result.as_ref().is_err_and(|error| error.code == LOST_RACE));
            if let (Ok(()), Some(write)) = (&result, commit.releases.first()) {
                let id = write.release.id.clone();
                *self.release.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
            }
            let told = self.told(&commit, &result);
            state.trace(&self.caller.name, &told);
            result
        })
        .await
    }
}

#[async_trait]
impl Ecs for Port {
    async fn observe(&self, place: &Target, needs: &ecs::Needs) -> ecs::Observation {
        let (
            service,
            task_definition,
            revision,
            destination,
            running,
            deployments,
            stopped_tasks,
            canary,
            source,
        ) = tokio::join!(
            Seen::ask(needs.service.then_some(()), |()| self.service(place)),
            Seen::ask(needs.task_definition.as_ref(), |arn| self.running_task_definition(place, arn)),
            Seen::ask(needs.revision.as_ref(), |revision| self.find_revision(place, revision)),
            Seen::ask(needs.destination.as_ref(), |arn| self.task_definition(place, arn)),
            Seen::ask(needs.running.as_ref(), |_| self.running(place)),
            Seen::ask(needs.deployments_since, |since| self.deployments(place, since)),
            Seen::ask(needs.stopped_tasks.as_ref(), |asked| self.stopped_tasks(place, asked)),
            Seen::ask(needs.canary.as_ref(), |name| self.second(place, name)),
            Seen::ask(needs.source.then_some(()), |()| self.source(place)),
        );
        ecs::Observation {
            service,
            task_definition,
            revision,
            destination,
            running,
            deployments,
            stopped_tasks,
            canary,
            source,
            ..ecs::Observation::default()
        }
    }

    async fn perform(&self, place: &Target, effect: &ecs::Effect) -> Result<(), PortError> {
        let name = match effect {
            ecs::Effect::ContinueHook { hook, .. } => format!("ecs:{} {hook}", effect.kind().as_str()),
            ecs::Effect::RegisterTaskDefinition { .. }
            | ecs::Effect::StartDeployment { .. }
            | ecs::Effect::StopDeployment { .. }
            | ecs::Effect::ReturnTo { .. }
            | ecs::Effect::RestoreConfiguration { .. }
            | ecs::Effect::CreateCanary { .. }
            | ecs::Effect::ScaleCanary { .. }
            | ecs::Effect::DeleteCanary { .. } => format!("ecs:{}", effect.kind().as_str()),
        };
        self.perform_effect(place, &name, effect.clone().into()).await
    }
}

impl Port {
    /// Performs an effect, and writes down that it was.
    async fn perform_effect(&self, place: &Target, name: &str, effect: Effect) -> Result<(), PortError> {
        let begun = self.universe.state().now;
        self.call(name, true, |state, seen_at| {
            state.trace(&self.caller.name, &format!("performs: {effect}"));
            let now = state.now;
            let by = self.caller.clone();
            let release = self.release.lock().unwrap_or_else(PoisonError::into_inner).clone();
            state.performed.push(Performed {
                by,
                begun,
                applied: now,
                place: place.clone(),
                effect: effect.clone(),
                release,
            });
            state.aws_of_mut(service_of(place)).perform(&effect, now, seen_at)
        })
        .await
    }

    async fn second(&self, target: &Target, name: &EcsServiceName) -> Result<Option<ServiceSeen>, PortError> {
        self.read("ecs:DescribeServices", |state, at| state.aws_of(service_of(target)).as_of(at).second(name))
            .await
    }

    async fn source(&self, target: &Target) -> Result<SourceSeen, PortError> {
        self.read("ecs:DescribeServiceRevisions", |state, at| {
            state.aws_of(service_of(target)).as_of(at).source()
        })
        .await
    }

    async fn service(&self, target: &Target) -> Result<Option<ServiceSeen>, PortError> {
        self.read("ecs:DescribeServices", |state, at| {
            Some(state.aws_of(service_of(target)).as_of(at).service())
        })
        .await
    }

    async fn running_task_definition(
        &self,
        target: &Target,
        arn: &TaskDefinitionArn,
    ) -> Result<TaskDefinitionSeen, PortError> {
        self.task_definition(target, arn).await?.ok_or_else(|| {
            let what = format!("there is no task definition {}", arn.short());
            PortError::new(ErrorKind::NotFound, "ecs:DescribeTaskDefinition", "ClientException", what)
        })
    }

    async fn task_definition(
        &self,
        target: &Target,
        arn: &TaskDefinitionArn,
    ) -> Result<Option<TaskDefinitionSeen>, PortError> {
        self.read("ecs:DescribeTaskDefinition", |state, at| {
            state.aws_of(service_of(target)).as_of(at).task_definition(arn)
        })
        .await
    }

    async fn find_revision(
        &self,
        target: &Target,
        revision: &DerivedRevision,
    ) -> Result<Option<TaskDefinitionArn>, PortError> {
        self.read("ecs:ListTaskDefinitions", |state, at| {
            state.aws_of(service_of(target)).as_of(at).revision(revision)
        })
        .await
    }

    async fn running(&self, target: &Target) -> Result<RunningSeen, PortError> {
        self.read("ecs:DescribeServiceRevisions", |state, at| {
            state.aws_of(service_of(target)).as_of(at).running()
        })
        .await
    }

    async fn deployments(&self, target: &Target, since: Timestamp) -> Result<Vec<DeploymentSeen>, PortError> {
        self.read("ecs:ListServiceDeployments", |state, at| {
            state.aws_of(service_of(target)).as_of(at).deployments(since, at)
        })
        .await
    }

    async fn stopped_tasks(
        &self,
        target: &Target,
        asked: &StoppedNeeds,
    ) -> Result<Vec<StoppedTask>, PortError> {
        self.read("ecs:ListTasks", |state, at| {
            let seen = state.aws_of(service_of(target)).as_of(at);
            match &asked.of {
                Some(name) => seen.stopped_beside(name, &asked.task_definition),
                None => seen.stopped_tasks(&asked.task_definition),
            }
        })
        .await
    }

    async fn rules(&self, target: &Target, rules: &BTreeSet<RuleArn>) -> Result<Vec<RuleSeen>, PortError> {
        if rules.is_empty() {
            return Ok(Vec::new());
        }
        self.read("elasticloadbalancing:DescribeRules", |state, seen_at| {
            let rule = state.aws_of(service_of(target)).as_of(seen_at).rule();
            rules.iter().filter(|arn| **arn == rule.arn).map(|_| rule.clone()).collect()
        })
        .await
    }
}

#[async_trait]
impl Elb for Port {
    async fn observe(&self, place: &Target, needs: &elb::Needs) -> elb::Observation {
        let some = |groups: &'_ BTreeSet<TargetGroupArn>| (!groups.is_empty()).then(|| groups.clone());
        let (weights, health, groups) = tokio::join!(
            Seen::ask(needs.rules.as_ref(), |rules| self.rules(place, rules)),
            Seen::ask(some(&needs.health), |groups| self.health(place, groups)),
            Seen::ask(some(&needs.groups), |groups| self.groups(place, groups)),
        );
        elb::Observation { weights, health, groups }
    }

    async fn perform(&self, place: &Target, effect: &elb::Effect) -> Result<(), PortError> {
        let effect = Effect::from(effect.clone());
        self.perform_effect(place, &format!("elasticloadbalancing:{}", effect.name()), effect).await
    }
}

impl Port {
    async fn health(
        &self,
        target: &Target,
        groups: BTreeSet<TargetGroupArn>,
    ) -> Result<BTreeMap<TargetGroupArn, elb::Health>, PortError> {
        self.read("elasticloadbalancing:DescribeTargetHealth", |state, at| {
            let seen = state.aws_of(service_of(target)).as_of(at);
            groups.into_iter().map(|group| (group.clone(), seen.health(&group))).collect()
        })
        .await
    }

    async fn groups(
        &self,
        target: &Target,
        groups: BTreeSet<TargetGroupArn>,
    ) -> Result<Vec<elb::GroupSeen>, PortError> {
        self.read("elasticloadbalancing:DescribeTargetGroups", |state, at| {
            let seen = state.aws_of(service_of(target)).as_of(at);
            groups.iter().map(|group| seen.group(group)).collect()
        })
        .await
    }

    async fn scalable_target(
        &self,
        target: &Target,
    ) -> Result<Option<autoscaling::ScalableTarget>, PortError> {
        self.read("application-autoscaling:DescribeScalableTargets", |state, at| {
            state.aws_of(service_of(target)).as_of(at).scalable_target()
        })
        .await
    }
}

/// A world of ECS services has no functions: that is what it answers, should anybody ask.
#[async_trait]
impl Lambda for Port {
    async fn observe(&self, _place: &Target, needs: &lambda::Needs) -> lambda::Observation {
        let none = || self.read("lambda:GetFunction", |_, _| None);
        let (alias, latest) = tokio::join!(
            Seen::ask(needs.alias.then_some(()), |()| none()),
            Seen::ask(needs.latest.then_some(()), |()| self.read("lambda:GetFunction", |_, _| None)),
        );
        lambda::Observation { alias, latest, ..lambda::Observation::default() }
    }

    async fn perform(
        &self,
        place: &Target,
        effect: &lambda::Effect,
    ) -> Result<Option<FunctionVersion>, PortError> {
        let effect = Effect::from(effect.clone());
        self.perform_effect(place, &format!("lambda:{}", effect.name()), effect).await.map(|()| None)
    }
}

#[async_trait]
impl AutoScaling for Port {
    async fn observe(&self, place: &Target, needs: &autoscaling::Needs) -> autoscaling::Observation {
        let target = Seen::ask(needs.target.then_some(()), |()| self.scalable_target(place)).await;
        autoscaling::Observation { target }
    }

    async fn perform(&self, place: &Target, effect: &autoscaling::Effect) -> Result<(), PortError> {
        let effect = Effect::from(*effect);
        self.perform_effect(place, &format!("application-autoscaling:{}", effect.name()), effect).await
    }
}

#[async_trait]
impl Alarms for Port {
    async fn states(
        &self,
        target: &Target,
        wanted: &[AlarmName],
    ) -> Result<BTreeMap<AlarmName, AlarmSeen>, PortError> {
        self.read("cloudwatch:DescribeAlarms", |state, at| {
            state.aws_of(service_of(target)).as_of(at).alarms(wanted)
        })
        .await
    }
}

#[async_trait]
impl Metrics for Port {
    async fn observe(
        &self,
        target: &Target,
        asked: &MetricsAsked,
        _: Timestamp,
    ) -> Result<MetricsSeen, PortError> {
        self.read("cloudwatch:GetMetricData", |state, at| {
            let aws = state.aws_of(service_of(target));
            asked.series.iter().map(|series| (series.clone(), aws.metric(series, asked, at))).collect()
        })
        .await
    }
}

#[async_trait]
impl Images for Port {
    async fn stored(&self, image: &Image) -> Result<Stored, PortError> {
        self.read("ecr:DescribeImages", |state, at| {
            state.aws_behind(&image.repository).as_of(at).stored(image)
        })
        .await
    }

    async fn scan(&self, _: &Image) -> Result<ScanSeen, PortError> {
        self.read("ecr:DescribeImageScanFindings", |_, _| ScanSeen {
            status: ScanStatus::Complete,
            findings: Vec::new(),
        })
        .await
    }

    async fn resolve(
        &self,
        _: &str,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Option<Digest>, PortError> {
        self.read("ecr:DescribeImages", |state, seen_at| {
            let images = state.aws_behind(repository).as_of(seen_at).images();
            images.iter().rev().find(|(name, ..)| name == tag).map(|(_, digest, _)| digest.clone())
        })
        .await
    }

    async fn described(
        &self,
        _: &str,
        repository: &RepositoryName,
        pick: &Pick,
    ) -> Result<Option<ImageDescribed>, PortError> {
        self.read("ecr:DescribeImages", |state, seen_at| {
            state.aws_behind(repository).as_of(seen_at).described(pick)
        })
        .await
    }

    async fn tagged(&self, _: &str, repository: &RepositoryName) -> Result<Vec<ImageDescribed>, PortError> {
        self.read("ecr:DescribeImages", |state, seen_at| state.aws_behind(repository).as_of(seen_at).tagged())
            .await
    }
}

#[async_trait]
impl Messenger for Port {
    async fn invite(&self, invite: &Invite) -> Result<(), PortError> {
        self.call("sns:Publish", true, |state, _| {
            state.invites.push(invite.clone());
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl Builds for Port {
    async fn start(
        &self,
        project: &str,
        token: &str,
        _: &BTreeMap<String, String>,
    ) -> Result<String, PortError> {
        self.call("codebuild:StartBuild", true, |state, _| {
            let id = format!("{project}:{token}");
            let now = state.now;
            state.builds.entry(id.clone()).or_insert(now);
            Ok(id)
        })
        .await
    }

    async fn build(&self, id: &str) -> Result<Option<BuildSeen>, PortError> {
        self.read("codebuild:BatchGetBuilds", |state, _| {
            let started = state.builds.get(id)?;
            let over = state.now.duration_since(*started) >= BUILD_TAKES;
            let status = if over { BuildStatus::Succeeded } else { BuildStatus::InProgress };
            Some(BuildSeen { id: id.to_owned(), status, log_url: None })
        })
        .await
    }
}

#[async_trait]
impl Waker for Port {
    async fn wake(&self, release: &ReleaseId, delay_secs: u32, _: &str) -> Result<(), PortError> {
        self.call("sqs:SendMessage", false, |state, _| {
            let delay = SignedDuration::from_secs(i64::from(delay_secs.min(900)));
            let at = state.now.saturating_add(delay).unwrap_or(state.now);
            state.queue.push((at, Delivery::Wake(release.clone())));
            Ok(())
        })
        .await
    }

    async fn wake_all(&self, wakes: &[WakeUp]) -> Vec<(ReleaseId, PortError)> {
        let batches: Vec<_> = wakes.chunks(BATCH).map(|batch| self.send(batch)).collect();
        futures::stream::iter(batches).buffered(AT_ONCE).concat().await
    }
}

#[async_trait]
impl Time for Port {
    fn now(&self) -> Timestamp {
        let state = self.universe.state();
        let skew = state.conditions.skew;
        // Each caller has a clock of its own, off by as much as its number says.
        let steps = i64::try_from(self.caller.id % 9).unwrap_or(0) - 4;
        state.now.saturating_add(SignedDuration::from_millis(skew * steps / 4)).unwrap_or(state.now)
    }

    async fn sleep(&self, duration: SignedDuration) {
        self.universe.sleep(duration).await;
    }
}
