//! The ledger in memory. Every version of every row is kept, so that index reads can lag behind as DynamoDB's do, and so that a test
//! can ask what was true when.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tidegate_core::announced::Awaited;
use tidegate_core::commit::{ALREADY_HANDLED, Commit, IdempotencyKey, ReleaseWrite, RowWrite, ServiceWrite};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::history::Entry;
use tidegate_core::ids::{AccountId, Region, ReleaseId, ServiceName};
use tidegate_core::invariants::{check_head, check_release, check_step};
use tidegate_core::listing::{Damaged, Listing};
use tidegate_core::notify::Told;
use tidegate_core::policy::{Destination, Policy};
use tidegate_core::ports::{Due, UnderWay, Watched};
use tidegate_core::refusals::RefusalLog;
use tidegate_core::release::{Release, Wake};
use tidegate_core::service::ServiceRecord;
use tidegate_core::sweep::TagsSeen;

use crate::names;

const READ: &str = "dynamodb:Query";
const WRITE: &str = "dynamodb:TransactWriteItems";

/// A row as it was written at a time.
#[derive(Debug, Clone)]
pub struct Written<T> {
    /// When.
    pub at: Timestamp,
    /// What.
    pub value: T,
}

/// The ledger's rows.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    heads: BTreeMap<ServiceName, Vec<Written<ServiceRecord>>>,
    releases: BTreeMap<ReleaseId, Vec<Written<Release>>>,
    history: BTreeMap<ReleaseId, Vec<Entry>>,
    service_history: BTreeMap<ServiceName, Vec<Entry>>,
    refusals: BTreeMap<ServiceName, RefusalLog>,
    tags: BTreeMap<ServiceName, TagsSeen>,
    awaited: BTreeMap<ServiceName, Awaited>,
    once: BTreeMap<String, Timestamp>,
    claims: BTreeMap<ReleaseId, u64>,
    told: BTreeMap<(ReleaseId, String), Told>,
    /// The releases of which a history entry was written, since somebody asked last: the table's stream.
    moved: Vec<ReleaseId>,
    broken: Vec<String>,
    damage: BTreeMap<Row, &'static str>,
}

/// A row that can be damaged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// A service's.
    Service(ServiceName),
    /// A release.
    Release(ReleaseId),
    /// The sort key of a release in the index of wake-ups.
    Wake(ReleaseId),
    /// The rows by which events find a service and its release under way.
    Watch(ServiceName),
    /// A history entry of a release.
    Entry(ReleaseId, u64),
    /// A history entry of a service.
    ServiceEntry(ServiceName, u64),
}

impl Row {
    fn damaged(&self, code: &str) -> Damaged {
        let (name, service, release) = match self {
            Self::Service(name) => (format!("service {name}"), Some(name), None),
            Self::Release(id) => (format!("release {id}"), None, Some(id)),
            Self::Wake(id) => (format!("the wake-up of release {id}"), None, Some(id)),
            Self::Watch(name) => (format!("the watch row of service {name}"), Some(name), None),
            Self::Entry(id, version) => {
                (format!("entry {version} of the history of release {id}"), None, Some(id))
            }
            Self::ServiceEntry(name, version) => {
                (format!("entry {version} of the history of service {name}"), Some(name), None)
            }
        };
        let problem = PortError::new(ErrorKind::Invalid, READ, code, format!("row {self:?} is damaged"));
        Damaged { name, service: service.cloned(), release: release.cloned(), problem }
    }
}

impl Rows {
    /// The invariants that were broken by what was written, in words.
    pub fn broken(&self) -> &[String] {
        &self.broken
    }

    /// Damages a row: from now on reading it fails with this code (`CorruptRow`, `NewerSchema`).
    pub fn damage(&mut self, row: Row, code: &'static str) {
        self.damage.insert(row, code);
    }

    /// Mends a row.
    pub fn fix(&mut self, row: &Row) {
        self.damage.remove(row);
    }

    fn damage_of(&self, row: &Row) -> Option<Damaged> {
        self.damage.get(row).map(|code| row.damaged(code))
    }

    /// A value read from its row, unless that is damaged.
    pub(super) fn read<T>(&self, row: Row, value: T) -> Result<T, Box<Damaged>> {
        self.damage_of(&row).map_or(Ok(value), |damaged| Err(Box::new(damaged)))
    }

    /// The keys of wake-ups as the ledger reads them: a release whose key is damaged is due since ever, and told.
    pub(super) fn wakes(
        &self,
        wakes: impl Iterator<Item = (ReleaseId, Wake)>,
        until: Timestamp,
    ) -> Listing<Due> {
        let (mut due, mut damaged) = (Vec::new(), Vec::new());
        for (release, wake) in wakes {
            match self.damage_of(&Row::Wake(release.clone())) {
                Some(damage) => {
                    damaged.push(damage);
                    due.push(Due { release, at: Timestamp::UNIX_EPOCH, soon: false });
                }
                None if wake.due_at() <= until => {
                    due.push(Due { release, at: wake.due_at(), soon: wake.soon });
                }
                None => {}
            }
        }
        Listing::new(due, damaged)
    }

    /// A service's row.
    pub fn head(&self, name: &ServiceName) -> Option<&ServiceRecord> {
        Some(&self.heads.get(name)?.last()?.value)
    }

    /// A release.
    pub fn release(&self, id: &ReleaseId) -> Option<&Release> {
        Some(&self.releases.get(id)?.last()?.value)
    }

    /// All versions of a release, oldest first.
    pub fn versions(&self, id: &ReleaseId) -> &[Written<Release>] {
        self.releases.get(id).map_or(&[], Vec::as_slice)
    }

    /// All releases, oldest first.
    pub fn releases(&self) -> impl DoubleEndedIterator<Item = &Release> {
        self.releases.values().filter_map(|versions| Some(&versions.last()?.value))
    }

    /// A release's history, oldest first.
    pub fn history(&self, id: &ReleaseId) -> &[Entry] {
        self.history.get(id).map_or(&[], Vec::as_slice)
    }

    /// A service's own history, oldest first.
    pub fn service_history(&self, name: &ServiceName) -> &[Entry] {
        self.service_history.get(name).map_or(&[], Vec::as_slice)
    }

    /// The tags seen for a service.
    pub fn tags(&self, name: &ServiceName) -> Option<&TagsSeen> {
        self.tags.get(name)
    }

    /// What waits for its image.
    pub fn awaited(&self, name: &ServiceName) -> Option<&Awaited> {
        self.awaited.get(name)
    }

    /// What a service's triggers were refused.
    pub fn refusals(&self, name: &ServiceName) -> Option<&RefusalLog> {
        self.refusals.get(name)
    }

    /// A service's own history with what its triggers were refused, oldest first.
    pub fn told(&self, name: &ServiceName) -> Vec<Entry> {
        let mut entries = self.service_history(name).to_vec();
        entries.extend(self.beside(name));
        entries.sort_by_key(|entry| entry.at);
        entries
    }

    /// What the rows beside a service's tell in its history.
    pub(super) fn beside(&self, name: &ServiceName) -> Vec<Entry> {
        let mut entries: Vec<Entry> =
            self.refusals.get(name).into_iter().flat_map(RefusalLog::entries).collect();
        entries.extend(self.awaited.get(name).and_then(|row| row.entry(name)));
        entries
    }

    /// All heads as an index shows them that has seen what was written until `seen`.
    pub(super) fn heads_until(&self, seen: Timestamp) -> Vec<(ServiceName, ServiceRecord)> {
        let until = |(name, versions): (&ServiceName, &Vec<Written<ServiceRecord>>)| {
            Some((name.clone(), as_of(versions, seen)?.clone()))
        };
        self.heads.iter().filter_map(until).collect()
    }

    /// All releases, newest first, as an index shows them that has seen what was written until `seen`.
    pub(super) fn releases_until(&self, seen: Timestamp) -> Vec<Release> {
        self.releases.values().rev().filter_map(|versions| as_of(versions, seen).cloned()).collect()
    }

    /// The services that watch this.
    pub(super) fn watchers(
        &self,
        watched: &Watched,
        account: &AccountId,
        region: &Region,
    ) -> Listing<ServiceName> {
        let watches = |head: &ServiceRecord| {
            if head.removed_at.is_some() {
                return false;
            }
            let mut targets = head.open.iter().flat_map(|open| &open.targets);
            let open = targets.any(|to| Watched::of_target(&to.target(account, region)) == *watched);
            open || watched_by(&head.policy, account, region).contains(watched)
        };
        let names: Vec<ServiceName> =
            self.heads.keys().filter(|name| self.head(name).is_some_and(watches)).cloned().collect();
        // The key still names the service.
        let damaged = names.iter().filter_map(|name| self.damage_of(&Row::Watch(name.clone()))).collect();
        Listing::new(names, damaged)
    }

    /// The releases under way that this concerns.
    pub(super) fn under_way(&self, watched: &Watched) -> Listing<UnderWay> {
        let concerned = |release: &&Release| Watched::of_release(release).contains(watched);
        let (mut found, mut damaged) = (Vec::new(), Vec::new());
        for release in self.releases().filter(concerned) {
            // The key still names the release.
            let damage = self.damage_of(&Row::Watch(release.service.clone()));
            let of = damage.is_none().then(|| (release.service.clone(), release.target.clone()));
            found.push(UnderWay { release: release.id.clone(), of });
            damaged.extend(damage);
        }
        Listing::new(found, damaged)
    }

    /// Whether nobody has claimed this version, or a later one, before.
    pub(super) fn claim(&mut self, release: &ReleaseId, version: u64) -> bool {
        let claimed = self.claims.entry(release.clone()).or_default();
        let ours = *claimed < version;
        *claimed = version.max(*claimed);
        ours
    }

    /// Puts a release under way there as it is, without what a change is held to, which takes the longer the more there are.
    pub fn seed(&mut self, release: Release, head: ServiceRecord, now: Timestamp) {
        let service = release.service.clone();
        self.releases.entry(release.id.clone()).or_default().push(Written { at: now, value: release });
        self.heads.entry(service).or_default().push(Written { at: now, value: head });
    }

    /// Puts a history there, as it is.
    pub fn seed_history(&mut self, id: &ReleaseId, entries: Vec<Entry>) {
        self.history.insert(id.clone(), entries);
    }

    /// The releases of which a history entry was written since this was asked last.
    pub fn take_moved(&mut self) -> Vec<ReleaseId> {
        std::mem::take(&mut self.moved)
    }

    /// What the receivers were told of a release.
    pub fn told_of(&self, id: &ReleaseId) -> Vec<Told> {
        self.told.iter().filter(|((release, _), _)| release == id).map(|(_, told)| told.clone()).collect()
    }

    /// Writes what a receiver was told.
    pub(super) fn note(&mut self, id: &ReleaseId, told: &Told) -> Result<(), PortError> {
        let key = (id.clone(), told.receiver.clone());
        if self.told.get(&key).map(|row| row.version) != told.expected() {
            let message = format!("what {} was told is at another version", told.receiver);
            return Err(PortError::new(
                ErrorKind::Conflict,
                "dynamodb:PutItem",
                "ConditionalCheckFailed",
                message,
            ));
        }
        if !survives(told) {
            self.broken.push("what a receiver was told must survive being stored".into());
        }
        self.told.insert(key, told.clone());
        Ok(())
    }

    /// Writes all of it or nothing.
    pub fn commit(&mut self, commit: &Commit, now: Timestamp) -> Result<(), PortError> {
        let conflict = |code: &str, what: String| PortError::new(ErrorKind::Conflict, WRITE, code, what);
        if let Some(IdempotencyKey { key, .. }) = &commit.idempotency_key
            && self.once.get(key).is_some_and(|until| *until >= now)
        {
            return Err(conflict(ALREADY_HANDLED, format!("delivery {key} was handled before")));
        }
        let mut broken = Vec::new();
        for write in &commit.releases {
            let current = self.release(&write.release.id);
            if current.map(|release| release.version) != write.expected() {
                return Err(conflict(
                    "ConditionalCheckFailed",
                    format!("release {} is at another version", write.release.id),
                ));
            }
            broken.extend(self.faults_of(write, current));
        }
        if let Some(write) = &commit.head {
            let current = self.head(&write.service);
            if current.map(|head| head.version) != write.expected {
                return Err(conflict(
                    "ConditionalCheckFailed",
                    format!("service {} is at another version", write.service),
                ));
            }
            let in_force = |head: &ServiceRecord| (head.policy.clone(), head.removed_at);
            let stays = current.is_some_and(|head| in_force(head) == in_force(&write.head));
            if !stays && write.head.removed_at.is_none() && self.is_taken(write) {
                return Err(conflict(
                    "ConditionalCheckFailed",
                    format!("another policy releases to the ECS service of {}", write.service),
                ));
            }
            broken.extend(faults_of_head(write));
        }
        let tags = commit.tags.as_ref().map(|write| Beside::of(write, &self.tags, |row| row.version));
        let refusals =
            commit.refusals.as_ref().map(|write| Beside::of(write, &self.refusals, |row| row.version));
        let awaited =
            commit.awaited.as_ref().map(|write| Beside::of(write, &self.awaited, |row| row.version));
        for beside in [tags, refusals, awaited].into_iter().flatten() {
            if !beside.is_expected {
                return Err(conflict(
                    "ConditionalCheckFailed",
                    "a row beside a service's is at another version".into(),
                ));
            }
            if !beside.is_next {
                broken.push("a row must survive being stored, one version after the other".into());
            }
        }
        if !broken.is_empty() {
            let message = broken.join("; ");
            self.broken.extend(broken);
            return Err(PortError::new(ErrorKind::Invalid, WRITE, "Invariant", message));
        }
        self.write(commit, now);
        Ok(())
    }

    /// Whether another service releases, or still has a release under way, to the target this policy names.
    fn is_taken(&self, write: &ServiceWrite) -> bool {
        let target = |to: &Destination| to.target(&names::account(), &names::region());
        let wanted = target(&write.head.policy.to);
        let others = self.heads.keys().filter(|name| **name != write.service);
        let policies = others.filter_map(|name| self.head(name)).filter(|head| head.removed_at.is_none());
        policies.into_iter().any(|head| {
            let open = head.open.iter().flat_map(|open| &open.targets);
            std::iter::once(&head.policy.to).chain(open).any(|to| target(to).is_same_resource(&wanted))
        })
    }

    fn write(&mut self, commit: &Commit, now: Timestamp) {
        for write in &commit.releases {
            let id = write.release.id.clone();
            let written = Written { at: now, value: write.release.clone() };
            self.releases.entry(id.clone()).or_default().push(written);
            if let Some(entry) = &write.entry {
                self.moved.push(id.clone());
                self.history.entry(id).or_default().push(entry.clone());
            }
        }
        if let Some(write) = &commit.head {
            let name = write.service.clone();
            let written = Written { at: now, value: write.head.clone() };
            self.heads.entry(name.clone()).or_default().push(written);
            if let Some(entry) = &write.entry {
                self.service_history.entry(name).or_default().push(entry.clone());
            }
        }
        if let Some(write) = &commit.tags {
            self.tags.insert(write.service.clone(), write.row.clone());
        }
        if let Some(write) = &commit.refusals {
            self.refusals.insert(write.service.clone(), write.row.clone());
        }
        if let Some(write) = &commit.awaited {
            self.awaited.insert(write.service.clone(), write.row.clone());
        }
        if let Some(IdempotencyKey { key, until }) = &commit.idempotency_key {
            self.once.insert(key.clone(), *until);
        }
        let named = commit.releases.iter().map(|write| &write.release.service);
        let named = named.chain(commit.head.iter().map(|write| &write.service)).collect();
        self.check_active(&named);
    }

    fn faults_of(&self, write: &ReleaseWrite, current: Option<&Release>) -> Vec<String> {
        let release = &write.release;
        let mut faults = check_release(release).err().unwrap_or_default();
        if current != write.before.as_deref() {
            faults.push("a write must be decided on what is in the ledger".into());
        }
        if let Some(current) = current {
            faults.extend(check_step(current, release).err().unwrap_or_default());
            let told = write.entry.is_some();
            if !told && step_of(current) != step_of(release) {
                faults.push("a change of phase or stage must be told in the history".into());
            }
        } else if write.entry.is_none() {
            faults.push("the creation of a release must be told in the history".into());
        }
        if write.entry.as_ref().is_some_and(|entry| entry.version != release.version) {
            faults.push("the history entry must carry the version it led to".into());
        }
        // Looks alone change nothing that is worth the time.
        if write.entry.is_some() && !survives(release) {
            faults.push("a release must survive being stored".into());
        }
        faults.into_iter().map(|fault| format!("release {}: {fault}", release.id)).collect()
    }

    /// Invariant: at most one active release per service, and the service's row names it.
    fn check_active(&mut self, named: &BTreeSet<&ServiceName>) {
        for (name, versions) in self.heads.iter().filter(|(name, _)| named.contains(name)) {
            let Some(head) = versions.last() else { continue };
            let active: Vec<&ReleaseId> = self
                .releases()
                .filter(|release| release.service == *name && is_active(release))
                .map(|release| &release.id)
                .collect();
            let expected: Vec<&ReleaseId> = head.value.active.iter().collect();
            if active != expected {
                self.broken.push(format!(
                    "service {name}: the row names {expected:?} as active, under way are {active:?}"
                ));
            }
        }
    }
}

fn is_active(release: &Release) -> bool {
    !release.is_over() && release.progress.started_at.is_some()
}

fn faults_of_head(write: &ServiceWrite) -> Vec<String> {
    let mut faults = check_head(&write.head).err().unwrap_or_default();
    if !survives(&write.head) {
        faults.push("a service's row must survive being stored".into());
    }
    faults.into_iter().map(|fault| format!("service {}: {fault}", write.service)).collect()
}

fn step_of(release: &Release) -> String {
    let name = std::mem::discriminant(&release.phase);
    format!("{name:?} {:?}", release.stage())
}

/// How the write of a row beside a service's stands to what is there.
struct Beside {
    is_expected: bool,
    is_next: bool,
}

impl Beside {
    fn of<T: Serialize + DeserializeOwned + PartialEq>(
        write: &RowWrite<T>,
        rows: &BTreeMap<ServiceName, T>,
        version: fn(&T) -> u64,
    ) -> Self {
        let next = write.expected.map_or(0, |version| version + 1);
        Self {
            is_expected: rows.get(&write.service).map(version) == write.expected,
            is_next: survives(&write.row) && version(&write.row) == next,
        }
    }
}

fn survives<T: Serialize + DeserializeOwned + PartialEq>(value: &T) -> bool {
    serde_json::to_string(value)
        .ok()
        .and_then(|text| serde_json::from_str::<T>(&text).ok())
        .is_some_and(|read| read == *value)
}

fn as_of<T>(versions: &[Written<T>], seen: Timestamp) -> Option<&T> {
    Some(&versions.iter().rev().find(|written| written.at <= seen)?.value)
}

fn watched_by(policy: &Policy, account: &AccountId, region: &Region) -> Vec<Watched> {
    let target = policy.target(account, region);
    let repositories = policy.repositories().into_iter();
    let mut watched: Vec<Watched> = repositories
        .map(|repository| Watched::Repository(account.clone(), region.clone(), repository.clone()))
        .collect();
    watched.push(Watched::of_target(&target));
    let builds = policy.from.codebuild.iter();
    watched.extend(
        builds.map(|build| Watched::BuildProject(account.clone(), region.clone(), build.project.clone())),
    );
    watched.extend(policy.from.s3.iter().map(|manifests| Watched::Bucket(manifests.bucket.clone())));
    watched
}
