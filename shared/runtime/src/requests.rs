//! What people ask: roll back, cancel, store a policy.

use std::collections::BTreeSet;

use tidegate_core::actor::Actor;
use tidegate_core::admission::{self, Current};
use tidegate_core::commit::Commit;
use tidegate_core::drill::{self, NoDrill};
use tidegate_core::fault::PortError;
use tidegate_core::ids::{ContainerName, Digest, ReleaseId, Resource, ServiceName, Target};
use tidegate_core::outcome::Outcome;
use tidegate_core::policy::Policy;
use tidegate_core::ports::Watched;
use tidegate_core::quarantine::{self, NotLifted};
use tidegate_core::release::Release;
use tidegate_core::requests::{self, Ask, NotPossible};
use tidegate_core::rollback::{self, Choice, NoRollback, RollbackTo, Running, Situation};
use tidegate_core::seen::Seen;
use tidegate_core::service::ServiceRecord;
use tidegate_core::vocab::ecs::{self, RunningNeeds, RunningSeen};
use tidegate_core::vocab::lambda::{self, AliasSeen};

use crate::context::{Context, Installation};

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The ledger did not answer, or refused.
    #[error("the ledger could not be used")]
    Ledger(#[source] PortError),
    /// It is not possible now.
    #[error(transparent)]
    NotPossible(#[from] NotPossible),
    /// What should be released again is not quarantined.
    #[error(transparent)]
    NotLifted(#[from] NotLifted),
    /// There is no such release.
    #[error("there is no release {0}")]
    NoRelease(ReleaseId),
    /// Another policy releases to the same target.
    #[error(
        "service {other} already releases to {target}; a target can have one policy: change that one, or name another target"
    )]
    SameTarget {
        /// Whose policy.
        other: ServiceName,
        /// What both release to.
        target: Box<Target>,
    },
    /// There is no such service.
    #[error("there is no service {0}; store its policy with `tidegate apply` first")]
    NoService(ServiceName),
    /// No drill is held.
    #[error("no drill of {service}: {why}")]
    NoDrill {
        /// Of what.
        service: ServiceName,
        /// Why.
        why: NoDrill,
    },
    /// What was confirmed is not what would be done now.
    #[error("the service changed while you answered; nothing was done")]
    Changed,
}

impl From<NoRollback> for RequestError {
    fn from(why: NoRollback) -> Self {
        Self::NotPossible(why.into())
    }
}

/// How many of a service's newest releases are looked through for the one that ended last: those that only waited are passed over.
const LOOKED_THROUGH: u32 = 10;

/// Who asks for a rollback, and why.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// Who.
    pub by: &'a Actor,
    /// Why.
    pub why: &'a str,
}

/// What was looked at for a rollback.
struct Looked {
    head: ServiceRecord,
    active: Option<Release>,
    waiting: Option<Release>,
    last: Option<Release>,
    running: Running,
}

impl Looked {
    fn current(&self) -> Current<'_> {
        Current { head: &self.head, active: self.active.as_ref(), waiting: self.waiting.as_ref() }
    }

    fn choose(&self, service: &ServiceName, wanted: RollbackTo<'_>) -> Result<Choice, RequestError> {
        let seen = Situation { current: self.current(), last: self.last.as_ref(), running: &self.running };
        Ok(rollback::choose(seen, service, wanted)?)
    }
}

impl Installation {
    /// Releases what runs again, to be rolled back on purpose. Returns the release to follow.
    pub async fn drill(&self, service: &ServiceName, asking: Asking<'_>) -> Result<ReleaseId, RequestError> {
        let Asking { by, why } = asking;
        let id = self.new_id();
        self.attempt(async || {
            let head = self.ledger.service(service).await.map_err(RequestError::Ledger)?;
            let head = head.ok_or_else(|| RequestError::NoService(service.clone()))?;
            let target = head.policy.target(&self.account, &self.region);
            let ask = drill::Ask { service, target, by, why, id: id.clone(), now: self.time.now() };
            drill::commit(Current { head: &head, active: None, waiting: None }, ask)
                .map_err(|why| RequestError::NoDrill { service: service.clone(), why })
        })
        .await?;
        self.wake_now(&id, "it was created").await;
        Ok(id)
    }
}

impl Context {
    /// What a rollback of the service would do now; nothing is written.
    pub async fn rollback_choice(
        &self,
        service: &ServiceName,
        wanted: RollbackTo<'_>,
    ) -> Result<Choice, RequestError> {
        self.look_back(service).await?.choose(service, wanted)
    }

    async fn look_back(&self, service: &ServiceName) -> Result<Looked, RequestError> {
        self.installation.look_back(service, Sight::World(self)).await
    }

    /// Rolls the service back as `confirmed`, or not at all when that is not what a rollback would do any more. Returns the release to follow.
    pub async fn roll_back(
        &self,
        service: &ServiceName,
        wanted: RollbackTo<'_>,
        confirmed: &Choice,
        asking: Asking<'_>,
    ) -> Result<ReleaseId, RequestError> {
        self.installation.roll_back_seeing(Sight::World(self), service, wanted, confirmed, asking).await
    }

    /// What the service runs.
    async fn running(&self, head: &ServiceRecord) -> Running {
        let target = head.policy.target(&self.installation.account, &self.installation.region);
        match &target.resource {
            Resource::EcsService(_) => self.running_in_ecs(head, &target).await,
            Resource::LambdaAlias(_) => self.running_by_alias(head, &target).await,
        }
    }

    /// What an alias points at.
    async fn running_by_alias(&self, head: &ServiceRecord, target: &Target) -> Running {
        let unseen = |error: PortError| Running::Unseen(error.told());
        let asked = lambda::Needs { alias: true, ..lambda::Needs::default() };
        let version = match self.lambda.observe(target, &asked).await.alias {
            Seen::Known(Some(AliasSeen { version: Some(version), .. })) => version,
            Seen::Known(_) | Seen::NotAsked => {
                return Running::Unseen(format!("there is no alias {target} that points at a version"));
            }
            Seen::Unknown(error) => return unseen(error),
        };
        let asked = lambda::Needs { versions: [version.clone()].into(), ..lambda::Needs::default() };
        let digest = match self.lambda.observe(target, &asked).await.versions {
            Seen::Known(mut found) => found.remove(&version).flatten().and_then(|code| code.digest()),
            Seen::NotAsked => None,
            Seen::Unknown(error) => return unseen(error),
        };
        match digest {
            Some(digest) => {
                let names = head.policy.to.containers().keys();
                Running::Digests(names.map(|name| (name.clone(), digest.clone())).collect())
            }
            None => Running::Unseen(format!("AWS tells no digest of version {version}")),
        }
    }

    /// What the tasks of an ECS service run.
    async fn running_in_ecs(&self, head: &ServiceRecord, target: &Target) -> Running {
        let unseen = |error: PortError| Running::Unseen(error.told());
        let asked = ecs::Needs { service: true, ..ecs::Needs::default() };
        let service = match self.ecs.observe(target, &asked).await.service {
            Seen::Known(Some(service)) => service,
            Seen::Known(None) | Seen::NotAsked => {
                return Running::Unseen(format!("there is no Amazon ECS service {target}"));
            }
            Seen::Unknown(error) => return unseen(error),
        };
        let containers: BTreeSet<ContainerName> = head.policy.to.containers().keys().cloned().collect();
        let running = RunningNeeds { service, containers: containers.clone() };
        let asked = ecs::Needs { running: Some(running), ..ecs::Needs::default() };
        let told = match self.ecs.observe(target, &asked).await.running {
            Seen::Known(seen) => seen,
            Seen::NotAsked => RunningSeen::default(),
            Seen::Unknown(error) => return unseen(error),
        };
        // Most tasks run the first; where they differ, that is the version people mean.
        let first =
            |container: &ContainerName| Some((container.clone(), told.of(container).first()?.clone()));
        match containers.iter().find(|container| first(container).is_none()) {
            Some(container) => Running::Unseen(format!("AWS tells no digest of container {container}")),
            None => Running::Digests(containers.iter().filter_map(first).collect()),
        }
    }
}

/// What is known of what runs.
#[derive(Clone, Copy)]
enum Sight<'a> {
    /// What is seen of the world.
    World(&'a Context),
    /// Only what the ledger says.
    Ledger,
}

/// Why nothing is seen of what runs by whoever may not look.
const NOT_LOOKED: &str = "it is not looked at from here";

impl Installation {
    /// What a rollback of the service would do now, by the ledger's word on what runs; nothing is written.
    pub async fn rollback_choice(
        &self,
        service: &ServiceName,
        wanted: RollbackTo<'_>,
    ) -> Result<Choice, RequestError> {
        self.look_back(service, Sight::Ledger).await?.choose(service, wanted)
    }

    /// Rolls the service back as `confirmed`, by the ledger's word on what runs, or not at all when that is not what a rollback would do any more.
    pub async fn roll_back(
        &self,
        service: &ServiceName,
        wanted: RollbackTo<'_>,
        confirmed: &Choice,
        asking: Asking<'_>,
    ) -> Result<ReleaseId, RequestError> {
        self.roll_back_seeing(Sight::Ledger, service, wanted, confirmed, asking).await
    }

    /// Everything a rollback is chosen from.
    async fn look_back(&self, service: &ServiceName, sight: Sight<'_>) -> Result<Looked, RequestError> {
        let head = self.ledger.service(service).await.map_err(RequestError::Ledger)?;
        let head = head.ok_or_else(|| RequestError::NoService(service.clone()))?;
        let (active, waiting) = self.current(&head).await.map_err(RequestError::Ledger)?;
        let last = self.last_ended(service).await.map_err(RequestError::Ledger)?;
        let running = match sight {
            Sight::World(context) => context.running(&head).await,
            Sight::Ledger => Running::Unseen(NOT_LOOKED.to_owned()),
        };
        Ok(Looked { head, active, waiting, last, running })
    }

    async fn roll_back_seeing(
        &self,
        sight: Sight<'_>,
        service: &ServiceName,
        wanted: RollbackTo<'_>,
        confirmed: &Choice,
        asking: Asking<'_>,
    ) -> Result<ReleaseId, RequestError> {
        let Asking { by, why } = asking;
        let (from, to) = match confirmed {
            Choice::UnderWay { release, .. } => {
                self.ask(release, Ask::Rollback, by, why).await?;
                return Ok(release.clone());
            }
            Choice::Earlier { from, to, .. } => (from, to),
        };
        let id = self.new_id();
        self.attempt(async || {
            // Looked at anew for every attempt: a lost race means that something happened.
            let looked = self.look_back(service, sight).await?;
            if looked.choose(service, wanted)? != *confirmed {
                return Err(RequestError::Changed);
            }
            let target = looked.head.policy.target(&self.account, &self.region);
            let now = self.time.now();
            let ask = rollback::Ask { service, target: &target, by, why, id: id.clone(), now };
            Ok(rollback::commit(looked.current(), from, to, ask))
        })
        .await?;
        self.wake_now(&id, "it was created").await;
        Ok(id)
    }

    /// The newest release that has ended after its turn had come, and that no newer one superseded.
    pub async fn last_ended(&self, service: &ServiceName) -> Result<Option<Release>, PortError> {
        // A release that cannot be read does not keep anybody from rolling back.
        let (releases, _) = self.ledger.releases(service, LOOKED_THROUGH).await?.split();
        for listed in releases {
            // The list may lag behind, and how the last one ended is what matters here.
            let release =
                if listed.is_over() { Some(listed) } else { self.ledger.release(&listed.id).await? };
            let ended = release.filter(|release| release.progress.started_at.is_some());
            match ended.as_ref().and_then(Release::outcome) {
                None | Some(Outcome::Superseded { .. }) => {}
                Some(
                    Outcome::Promoted
                    | Outcome::RolledBack { .. }
                    | Outcome::Cancelled { .. }
                    | Outcome::Failed { .. },
                ) => return Ok(ended),
            }
        }
        Ok(None)
    }
}

impl Installation {
    /// Asks a release under way to roll back or to stop.
    pub async fn ask(&self, id: &ReleaseId, ask: Ask, by: &Actor, why: &str) -> Result<(), RequestError> {
        self.attempt(async || {
            let release = self.ledger.release(id).await.map_err(RequestError::Ledger)?;
            let release = release.ok_or_else(|| RequestError::NoRelease(id.clone()))?;
            Ok(requests::ask(&release, ask, by.clone(), why.to_owned(), self.time.now())?)
        })
        .await?;
        self.wake_now(id, "a person asked something of it").await;
        Ok(())
    }

    /// Stores a policy. Returns whether anything changed.
    pub async fn apply(&self, policy: &Policy, by: &Actor) -> Result<bool, RequestError> {
        let changed = self
            .attempt(async || {
                self.has_its_target_alone(policy).await?;
                let head = self.ledger.service_row(&policy.service).await.map_err(RequestError::Ledger)?;
                let head = admission::apply(head.as_ref(), policy.clone(), by.clone(), self.time.now());
                Ok(Commit { head, ..Commit::default() })
            })
            .await?;
        Ok(changed)
    }

    /// Removes a policy.
    pub async fn remove(&self, service: &ServiceName, by: &Actor, why: &str) -> Result<(), RequestError> {
        self.attempt(async || {
            let head = self.ledger.service(service).await.map_err(RequestError::Ledger)?;
            let head = head.ok_or_else(|| RequestError::NoService(service.clone()))?;
            let now = self.time.now();
            let head = requests::remove_policy(&head, service, by.clone(), why.to_owned(), now)?;
            Ok(Commit { head: Some(head), ..Commit::default() })
        })
        .await?;
        Ok(())
    }

    /// Lets these digests be released again, all of them or none.
    pub async fn lift(
        &self,
        service: &ServiceName,
        digests: &[Digest],
        by: &Actor,
        why: &str,
    ) -> Result<(), RequestError> {
        self.attempt(async || {
            let head = self.ledger.service(service).await.map_err(RequestError::Ledger)?;
            let head = head.ok_or_else(|| RequestError::NoService(service.clone()))?;
            let now = self.time.now();
            let head = quarantine::lift(&head, service, digests, by.clone(), why.to_owned(), now)?;
            Ok(Commit { head: Some(head), ..Commit::default() })
        })
        .await?;
        Ok(())
    }

    /// Two policies for one target would take what the other set for the target's own, and roll each other back. That two are stored at the
    /// same moment is refused by the ledger; here it is told whose the target is.
    async fn has_its_target_alone(&self, policy: &Policy) -> Result<(), RequestError> {
        let target = policy.target(&self.account, &self.region);
        // A damaged row of somebody else is no reason to refuse this policy; one of the same target is told where it is read.
        let watched = Watched::of_target(&target);
        let (others, _) = self.ledger.watchers(&watched).await.map_err(RequestError::Ledger)?.split();
        for other in others {
            if other == policy.service {
                continue;
            }
            let head = self.ledger.service(&other).await.map_err(RequestError::Ledger)?;
            if head.is_some_and(|head| self.releases_to(&head, &target)) {
                return Err(RequestError::SameTarget { other, target: Box::new(target) });
            }
        }
        Ok(())
    }

    /// Whether this is the target of its policy, or that of a release under way whose policy has changed since.
    fn releases_to(&self, head: &ServiceRecord, target: &Target) -> bool {
        let open = head.open.iter().flat_map(|open| &open.targets);
        std::iter::once(&head.policy.to)
            .chain(open)
            .any(|to| to.target(&self.account, &self.region).is_same_resource(target))
    }

    /// Makes a commit and writes it, again when others were faster. Returns whether anything was written.
    async fn attempt(
        &self,
        make: impl AsyncFn() -> Result<Commit, RequestError>,
    ) -> Result<bool, RequestError> {
        let mut attempts = self.attempts();
        loop {
            let commit = make().await?;
            if commit.releases.is_empty() && commit.head.is_none() {
                return Ok(false);
            }
            if attempts.commit(commit).await.map_err(RequestError::Ledger)? {
                return Ok(true);
            }
        }
    }
}
