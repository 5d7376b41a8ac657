//! Rows as DynamoDB holds them: from values to items and back, with what a row claims about itself checked both ways.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tidegate_core::announced::Awaited;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::history::Entry;
use tidegate_core::ids::{ReleaseId, ServiceName, Target};
use tidegate_core::invariants;
use tidegate_core::listing::Damaged;
use tidegate_core::notify::{Told, Trial};
use tidegate_core::plan::Plan;
use tidegate_core::ports::{Due, UnderWay};
use tidegate_core::refusals::RefusalLog;
use tidegate_core::release::Release;
use tidegate_core::service::ServiceRecord;
use tidegate_core::sweep::TagsSeen;

use crate::keys::{self, Key};

/// The schema this version writes, and the newest it reads; see the crate's documentation for what raises it.
pub const SCHEMA: u32 = 1;

/// DynamoDB's limit for one item, bytes.
const LARGEST_ITEM: usize = 400 * 1024;

const BODY: &str = "body";
/// When the release's plan was made: the key of its row.
const PLANNED: &str = "planned";
const SCHEMA_ATTRIBUTE: &str = "schema";
pub(crate) const VERSION: &str = "version";
pub(crate) const OWNER: &str = "owner";
pub(crate) const EXPIRES_AT: &str = "expires_at";

pub(crate) type Item = HashMap<String, AttributeValue>;

/// A row that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RowError {
    #[error(
        "row {key}: {problem}; it was damaged, or written by a newer version of Tidegate: compare it with its history, or with a \
         point-in-time recovery of the table"
    )]
    Corrupt { key: Key, problem: String },
    #[error(
        "row {key} has schema {found} and this version reads up to {SCHEMA}: finish deploying the newer version of Tidegate, which \
         wrote it"
    )]
    NewerSchema { key: Key, found: u32 },
    #[error("row {key} breaks an invariant: {}", broken.join("; "))]
    Invariant { key: Key, broken: Vec<String> },
    #[error("row {key} would be {size} bytes and DynamoDB takes {LARGEST_ITEM}")]
    TooLarge { key: Key, size: usize },
}

impl RowError {
    /// As the entry of a list.
    pub(crate) fn in_list(self, operation: &'static str) -> Damaged {
        let (Self::Corrupt { key, .. }
        | Self::NewerSchema { key, .. }
        | Self::Invariant { key, .. }
        | Self::TooLarge { key, .. }) = &self;
        Damaged {
            name: key.name(),
            service: key.service(),
            release: key.release(),
            problem: self.at(operation),
        }
    }

    /// As the port's error.
    pub(crate) fn at(self, operation: &'static str) -> PortError {
        let code = match &self {
            Self::Corrupt { .. } => "CorruptRow",
            Self::NewerSchema { .. } => "NewerSchema",
            Self::Invariant { .. } => "Invariant",
            Self::TooLarge { .. } => "TooLarge",
        };
        PortError::new(ErrorKind::Invalid, operation, code, self.to_string())
    }
}

pub(crate) fn release(release: &Release) -> Result<Item, RowError> {
    let key = keys::release(&release.id);
    check(&key, invariants::check_release(release))?;
    // The plan has a row of its own: it does not change, and is not paid for again with every look.
    let bare = Release { plan: None, ..release.clone() };
    let mut item = document(&key, release.version, &bare)?;
    if let Some(plan) = &release.plan {
        set(&mut item, PLANNED, plan_key(&release.id, plan).sk);
    }
    set(&mut item, keys::GSI1PK, keys::head(&release.service).pk);
    set(&mut item, keys::GSI1SK, release.id.to_string());
    if let Some(wake) = &release.wake {
        set(&mut item, keys::GSI2PK, keys::OPEN.into());
        set(&mut item, keys::GSI2SK, keys::wake(wake, &release.id));
    }
    fits(key, item)
}

fn plan_key(id: &ReleaseId, plan: &Plan) -> Key {
    keys::plan(id, plan.made_at)
}

/// The plan of a release, made by its change to `version`.
pub(crate) fn plan(id: &ReleaseId, version: u64, plan: &Plan) -> Result<Item, RowError> {
    let key = plan_key(id, plan);
    let item = document(&key, version, plan)?;
    fits(key, item)
}

pub(crate) fn head(service: &ServiceName, head: &ServiceRecord) -> Result<Item, RowError> {
    let key = keys::head(service);
    check(&key, invariants::check_head(head))?;
    check_name(service, head).map_err(|problem| invariant(&key, problem))?;
    let mut item = document(&key, head.version, head)?;
    set(&mut item, keys::GSI1PK, keys::ALL_SERVICES.into());
    set(&mut item, keys::GSI1SK, service.to_string());
    fits(key, item)
}

/// The history entry of `of`, which must be for the version the change leads to.
pub(crate) fn entry(of: &Key, version: u64, entry: &Entry) -> Result<Item, RowError> {
    let key = keys::entry(of, version);
    if entry.version != version {
        return Err(invariant(&key, format!("the entry is for version {}", entry.version)));
    }
    let item = document(&key, version, entry)?;
    fits(key, item)
}

/// What has a row of its own beside a service's, so that it does not get in the way of whoever changes that.
pub(crate) trait Beside: Serialize + DeserializeOwned {
    /// Its sort key.
    const NAME: &'static str;
    /// For people, before the service's name.
    const WHAT: &'static str;
    fn version(&self) -> u64;
}

impl Beside for TagsSeen {
    const NAME: &'static str = keys::TAGS;
    const WHAT: &'static str = "the tags seen for";
    fn version(&self) -> u64 {
        self.version
    }
}

impl Beside for RefusalLog {
    const NAME: &'static str = keys::REFUSALS;
    const WHAT: &'static str = "the refusals of";
    fn version(&self) -> u64 {
        self.version
    }
}

impl Beside for Awaited {
    const NAME: &'static str = keys::AWAITED;
    const WHAT: &'static str = "the image awaited for";
    fn version(&self) -> u64 {
        self.version
    }
}

pub(crate) fn beside<T: Beside>(service: &ServiceName, row: &T) -> Result<Item, RowError> {
    let key = keys::beside(service, T::NAME);
    let item = document(&key, row.version(), row)?;
    fits(key, item)
}

pub(crate) fn read_beside<T: Beside>(item: &Item) -> Result<T, RowError> {
    let key = key_of(item)?;
    let row: T = read(&key, item)?;
    check_version(&key, item, row.version())?;
    Ok(row)
}

/// What a receiver was told of a release.
pub(crate) fn told(id: &ReleaseId, told: &Told) -> Result<Item, RowError> {
    let key = keys::told(id, &told.receiver);
    let item = document(&key, told.version, told)?;
    fits(key, item)
}

pub(crate) fn read_told(item: &Item) -> Result<Told, RowError> {
    let key = key_of(item)?;
    let told: Told = read(&key, item)?;
    check_version(&key, item, told.version)?;
    Ok(told)
}

/// What came of a trial of a service's channels.
pub(crate) fn trial(key: &Key, trial: &Trial, until: Timestamp) -> Result<Item, RowError> {
    let mut item = document(key, 0, trial)?;
    item.extend(delivery(key, until));
    fits(key.clone(), item)
}

pub(crate) fn read_trial(item: &Item) -> Result<Trial, RowError> {
    read(&key_of(item)?, item)
}

pub(crate) fn watch(key: &Key) -> Item {
    bare(key)
}

/// By which events find a release, whose it is and where it goes, so that what else is needed can be asked for beside it.
pub(crate) fn concerns(key: &Key, release: &Release) -> Result<Item, RowError> {
    let mut item = owner(key, &release.service);
    let target = serde_json::to_string(&release.target).map_err(|error| invariant(key, error.to_string()))?;
    set(&mut item, BODY, target);
    Ok(item)
}

pub(crate) fn owner(key: &Key, service: &ServiceName) -> Item {
    let mut item = bare(key);
    set(&mut item, OWNER, service.to_string());
    item
}

pub(crate) fn delivery(key: &Key, until: Timestamp) -> Item {
    let mut item = bare(key);
    // TTL knows whole seconds; never forgotten before the time.
    let expires_at = until.as_second().saturating_add(1);
    item.insert(EXPIRES_AT.into(), AttributeValue::N(expires_at.to_string()));
    item
}

/// That a version of a release is about to be written.
pub(crate) fn claim(key: &Key, version: u64, until: Timestamp) -> Item {
    let mut item = delivery(key, until);
    item.insert(VERSION.into(), AttributeValue::N(version.to_string()));
    item
}

/// The key of the plan that a release's row names.
pub(crate) fn plan_of(item: &Item) -> Option<Key> {
    let key = key_of(item).ok()?;
    Some(Key { sk: text(item, PLANNED)?.to_owned(), ..key })
}

/// A release from its row and, where that names one, its plan's.
pub(crate) fn read_release(item: &Item, plan: Option<&Item>) -> Result<Release, RowError> {
    let key = key_of(item)?;
    let bare: Release = read(&key, item)?;
    if key != keys::release(&bare.id) {
        return Err(corrupt(&key, format!("its body is release {}", bare.id)));
    }
    check_version(&key, item, bare.version)?;
    let plan = match (plan_of(item), plan) {
        (None, _) => None,
        (Some(_), Some(plan)) => Some(read_plan(&bare.id, plan)?),
        (Some(named), None) => return Err(corrupt(&named, "it is gone, and its release goes by it".into())),
    };
    let release = Release { plan, ..bare };
    check(&key, invariants::check_release(&release))?;
    Ok(release)
}

fn read_plan(id: &ReleaseId, item: &Item) -> Result<Plan, RowError> {
    let key = key_of(item)?;
    let plan: Plan = read(&key, item)?;
    if key != plan_key(id, &plan) {
        return Err(corrupt(&key, format!("its body is the plan made at {}", plan.made_at)));
    }
    Ok(plan)
}

pub(crate) fn read_head(item: &Item) -> Result<(ServiceName, ServiceRecord), RowError> {
    let key = key_of(item)?;
    let head: ServiceRecord = read(&key, item)?;
    let service = service_in(&key, &key.pk)?;
    check_name(&service, &head).map_err(|problem| corrupt(&key, problem))?;
    check_version(&key, item, head.version)?;
    check(&key, invariants::check_head(&head))?;
    Ok((service, head))
}

pub(crate) fn read_entry(item: &Item) -> Result<Entry, RowError> {
    let key = key_of(item)?;
    let entry: Entry = read(&key, item)?;
    if key.sk != keys::history_sort(entry.version) {
        return Err(corrupt(&key, format!("its body is the entry of version {}", entry.version)));
    }
    Ok(entry)
}

/// Who watches, from the keys alone, and what is wrong with the row: the name counts as long as it can be read.
pub(crate) fn read_watcher(item: &Item) -> (Option<ServiceName>, Option<RowError>) {
    let read = || {
        let key = key_of(item)?;
        let service = service_in(&key, &key.sk)?;
        Ok((service, check_schema(&key, item).err()))
    };
    match read() {
        Ok((service, wrong)) => (Some(service), wrong),
        Err(wrong) => (None, Some(wrong)),
    }
}

/// Which release an event concerns, from the keys alone, of which service, and what is wrong with the row.
pub(crate) fn read_under_way(item: &Item) -> (Option<UnderWay>, Option<RowError>) {
    let read = || {
        let key = key_of(item)?;
        let release = key.release().ok_or_else(|| corrupt(&key, "its sort key names no release".into()))?;
        let owner = text(item, OWNER).unwrap_or_default();
        let service = ServiceName::new(owner).map_err(|error| corrupt(&key, format!("{OWNER}: {error}")));
        let of = service.and_then(|service| Ok((service, self::read::<Target>(&key, item)?)));
        let wrong = of.as_ref().err().cloned();
        Ok((UnderWay { release, of: of.ok() }, wrong))
    };
    match read() {
        Ok((under_way, wrong)) => (Some(under_way), wrong),
        Err(wrong) => (None, Some(wrong)),
    }
}

/// A release's id, from the keys of `by-service` alone.
pub(crate) fn read_id(item: &Item) -> Result<ReleaseId, RowError> {
    let key = key_of(item)?;
    ReleaseId::new(text(item, keys::GSI1SK).unwrap_or_default())
        .map_err(|error| corrupt(&key, error.to_string()))
}

/// Release and time of a wake-up, from keys alone, and what is wrong with them. A release whose time cannot be read is due since ever:
/// looking at it early changes nothing, and writes the time anew.
pub(crate) fn read_wake(item: &Item) -> (Option<Due>, Option<RowError>) {
    match key_of(item).map(|key| (wake_in(&key, item), key)) {
        Ok((Ok(wake), _)) => (Some(wake), None),
        Ok((Err(wrong), key)) => (
            key.release().map(|release| Due { release, at: Timestamp::UNIX_EPOCH, soon: false }),
            Some(wrong),
        ),
        Err(wrong) => (None, Some(wrong)),
    }
}

/// A wake-up later than any release sleeps: damaged, whatever its time says.
pub(crate) fn read_wake_too_late(item: &Item) -> (Option<Due>, Option<RowError>) {
    let (wake, wrong) = read_wake(item);
    let wrong = wrong.or_else(|| {
        let sort = text(item, keys::GSI2SK).unwrap_or_default();
        key_of(item)
            .ok()
            .map(|key| corrupt(&key, format!("{} is {sort:?}, later than any release sleeps", keys::GSI2SK)))
    });
    (wake.map(|due| Due { at: Timestamp::UNIX_EPOCH, ..due }), wrong)
}

fn wake_in(key: &Key, item: &Item) -> Result<Due, RowError> {
    let sort = text(item, keys::GSI2SK).unwrap_or_default();
    let (at, id) = sort
        .split_once('#')
        .ok_or_else(|| corrupt(key, format!("{} is {sort:?}, not a time and a release", keys::GSI2SK)))?;
    let at = at.parse().map_err(|error| corrupt(key, format!("{}: {error}", keys::GSI2SK)))?;
    let (id, soon) = id.strip_suffix(keys::SOON).map_or((id, false), |id| (id, true));
    let release = ReleaseId::new(id).map_err(|error| corrupt(key, error.to_string()))?;
    if key.release().as_ref() != Some(&release) {
        return Err(corrupt(key, format!("{} is of release {release}", keys::GSI2SK)));
    }
    Ok(Due { release, at, soon })
}

fn document<T: Serialize>(key: &Key, version: u64, value: &T) -> Result<Item, RowError> {
    let body = serde_json::to_string(value).map_err(|error| invariant(key, error.to_string()))?;
    let mut item = bare(key);
    item.insert(VERSION.into(), AttributeValue::N(version.to_string()));
    set(&mut item, BODY, body);
    Ok(item)
}

fn bare(key: &Key) -> Item {
    let mut item = Item::new();
    set(&mut item, keys::PK, key.pk.clone());
    set(&mut item, keys::SK, key.sk.clone());
    item.insert(SCHEMA_ATTRIBUTE.into(), AttributeValue::N(SCHEMA.to_string()));
    item
}

fn set(item: &mut Item, name: &str, value: String) {
    item.insert(name.into(), AttributeValue::S(value));
}

/// DynamoDB counts names and values in UTF-8; numbers take less than their digits, so this never counts too little.
fn fits(key: Key, item: Item) -> Result<Item, RowError> {
    let value = |value: &AttributeValue| match value.as_s().or_else(|_| value.as_n()) {
        Ok(text) => text.len(),
        Err(_) => 0,
    };
    let size: usize = item.iter().map(|(name, attribute)| name.len() + value(attribute)).sum();
    if size > LARGEST_ITEM { Err(RowError::TooLarge { key, size }) } else { Ok(item) }
}

fn read<T: DeserializeOwned>(key: &Key, item: &Item) -> Result<T, RowError> {
    check_schema(key, item)?;
    let body = text(item, BODY).ok_or_else(|| corrupt(key, format!("it has no text attribute {BODY}")))?;
    let mut deserializer = serde_json::Deserializer::from_str(body);
    let value = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| corrupt(key, format!("{BODY}: {}: {}", error.path(), error.inner())))?;
    deserializer.end().map_err(|error| corrupt(key, format!("{BODY}: {error}")))?;
    Ok(value)
}

fn check_schema(key: &Key, item: &Item) -> Result<(), RowError> {
    match number(item, SCHEMA_ATTRIBUTE).map(u32::try_from) {
        Some(Ok(found)) if (1..=SCHEMA).contains(&found) => Ok(()),
        Some(Ok(found)) if found > SCHEMA => Err(RowError::NewerSchema { key: key.clone(), found }),
        Some(_) | None => {
            Err(corrupt(key, format!("its attribute {SCHEMA_ATTRIBUTE} is not a schema number")))
        }
    }
}

/// The attribute conditions are checked against must be what the body says.
fn check_version(key: &Key, item: &Item, in_body: u64) -> Result<(), RowError> {
    match number(item, VERSION) {
        Some(version) if version == in_body => Ok(()),
        found => {
            Err(corrupt(key, format!("its attribute {VERSION} is {found:?} and its body says {in_body}")))
        }
    }
}

fn check_name(service: &ServiceName, head: &ServiceRecord) -> Result<(), String> {
    if head.policy.service == *service {
        return Ok(());
    }
    Err(format!("its policy is for service {}", head.policy.service))
}

fn check(key: &Key, result: Result<(), Vec<String>>) -> Result<(), RowError> {
    result.map_err(|broken| RowError::Invariant { key: key.clone(), broken })
}

fn service_in(key: &Key, part: &str) -> Result<ServiceName, RowError> {
    let name = part.strip_prefix(keys::SERVICE_PREFIX).unwrap_or(part);
    ServiceName::new(name).map_err(|error| corrupt(key, error.to_string()))
}

pub(crate) fn key_of(item: &Item) -> Result<Key, RowError> {
    let part = |name| text(item, name).unwrap_or_default().to_owned();
    let key = Key { pk: part(keys::PK), sk: part(keys::SK) };
    if key.pk.is_empty() || key.sk.is_empty() {
        return Err(corrupt(&key, "its keys are not text".into()));
    }
    Ok(key)
}

fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

fn number(item: &Item, name: &str) -> Option<u64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

fn corrupt(key: &Key, problem: String) -> RowError {
    RowError::Corrupt { key: key.clone(), problem }
}

fn invariant(key: &Key, problem: String) -> RowError {
    RowError::Invariant { key: key.clone(), broken: vec![problem] }
}
