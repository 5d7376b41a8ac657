//! The ledger: one DynamoDB table holding policies, releases and their history.
//!
//! It exists to make every change one conditional transaction: releases, the service row, their history entries, the rows by which
//! events find services, and the mark of a handled delivery are written together or not at all, each under the version it
//! was decided on. No lock is ever held.
//!
//! # Rows
//!
//! | row | `pk` | `sk` | indexes |
//! |---|---|---|---|
//! | a service: policy, active release, queue | `SERVICE#<name>` | `HEAD` | `by-service`: `SERVICES`, `<name>` |
//! | a service's own history | `SERVICE#<name>` | `HISTORY#<version>` | |
//! | the tags seen in a service's repository | `SERVICE#<name>` | `TAGS` | |
//! | what a service's triggers were refused, counted | `SERVICE#<name>` | `REFUSALS` | |
//! | the image a service waits for | `SERVICE#<name>` | `AWAITED` | |
//! | a release | `RELEASE#<id>` | `STATE` | `by-service`: `SERVICE#<name>`, `<id>`; while it has a wake-up, `by-wake`: `OPEN`, `<time>#<id>`, with `#soon` when something is expected any moment |
//! | its plan, written once with the change that makes it and named by the release's row | `RELEASE#<id>` | `PLAN#<time>` | |
//! | a release's history | `RELEASE#<id>` | `HISTORY#<version>` | |
//! | what a receiver of `notify` was told of a release, and what is in the way | `RELEASE#<id>` | `TOLD#<receiver>` | |
//! | that a trial of a service's channels was asked for, and what came of it | `SERVICE#<name>` | `NOTIFY_TEST#<id>`, `NOTIFY_TESTED#<id>` | expire by `expires_at` |
//! | which version of a release is about to be written | `RELEASE#<id>` | `CLAIM` | expires by `expires_at` |
//! | which service releases from something, or to an ECS service | `WATCH#<kind>#<account>#<region>#<name>` | `SERVICE#<name>` | |
//! | which release under way an alarm or an ECS service concerns | `WATCH#<kind>#<account>#<region>#<name>` | `RELEASE#<id>` | |
//! | who alone releases to a target | `OWNER#ecs#<account>#<region>#<cluster>#<service>` | `OWNER` | |
//! | a handled delivery | `SEEN#<key>` | `ONCE` | expires by the TTL attribute `expires_at` |
//!
//! Both indexes hold keys only: what is looked at every minute and changes nothing but its wake-up pays for one small row and one small index
//! entry, not for the plan and not three times. Who lists reads the rows that the keys name, in batches.
//!
//! Versions in keys have 20 digits and times nine decimals, so that the order of the text is the order of the values. The value
//! is JSON in `body`, with its `version`; every row carries `schema`.
//!
//! # Two versions of the functions at once
//!
//! While a deployment is under way, old and new functions read and write the same rows. A new optional field does not raise
//! [`SCHEMA`] as long as an old function may ignore it *and drop it when it writes the row*; unknown fields are skipped when reading.
//! Any other change raises the schema. A row above the schema a function knows is an error that says so (`NewerSchema`): the
//! release waits for the new version, nothing is guessed.
//!
//! # Rows that cannot be read
//!
//! A damaged row (`CorruptRow`), and one of a newer schema, stops only itself. Read alone it is an error that names its keys. In a list
//! it is told beside the rows that can be read ([`tidegate_core::listing::Listing`]), and never skipped in silence. What its keys alone
//! say still counts where acting on it is harmless: a watch row finds its service, a broken wake-up key wakes its release at once.
//!
//! # Consistency
//!
//! Rows and histories are read consistently. `services`, `releases`, `open` and `due` take their keys from indexes, which lag a moment behind:
//! a row may be missing, or one more be there, but what is read of a row is what it says now.
//! A release and its plan are read by one query. It is no snapshot; but the plan is written in the transaction that names it and never changes,
//! so the release's row alone says what is true.

mod batch;
mod commit;
mod keys;
mod notebook;
mod row;
mod watches;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{SignedDuration, Timestamp};
use tidegate_aws::port_error;
use tidegate_core::announced::Awaited;
use tidegate_core::commit::Commit;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::history::Entry;
use tidegate_core::ids::{AccountId, Region, ReleaseId, ServiceName};
use tidegate_core::listing::{Damaged, Listing};
use tidegate_core::ports::{Due, Ledger, UnderWay, Watched};
use tidegate_core::refusals::RefusalLog;
use tidegate_core::release::Release;
use tidegate_core::service::ServiceRecord;
use tidegate_core::sweep::TagsSeen;

pub use commit::ALREADY_HANDLED;
pub use row::SCHEMA;
use row::{Item, RowError};
pub use watches::watched_by;

/// The index over services and the releases of a service.
const BY_SERVICE: &str = "by-service";
/// The index over releases that have not ended, by wake-up time.
const BY_WAKE: &str = "by-wake";
/// No release sleeps this long; a key of a later time is damaged.
const FARTHEST_WAKE: SignedDuration = SignedDuration::from_hours(24);
/// DynamoDB never evaluates more items for one page than this is likely to bring; it only bounds what `limit` asks for.
const LARGEST_PAGE: u32 = 1000;

/// The ledger in DynamoDB.
#[derive(Debug, Clone)]
pub struct DynamoLedger {
    client: Client,
    table: String,
    installation: Installation,
}

/// Where Tidegate is installed: what a policy means when it names no account or region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// The account.
    pub account: AccountId,
    /// The region.
    pub region: Region,
}

impl DynamoLedger {
    /// A ledger in an existing table.
    pub fn new(client: Client, table: impl Into<String>, installation: Installation) -> Self {
        Self { client, table: table.into(), installation }
    }

    async fn get(&self, key: &keys::Key) -> Result<Option<Item>, PortError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .key(keys::PK, AttributeValue::S(key.pk.clone()))
            .key(keys::SK, AttributeValue::S(key.sk.clone()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| port_error(GET, error))?;
        Ok(answer.item)
    }

    /// A release and its plan.
    async fn release_at(&self, key: keys::Key) -> Result<Option<Release>, PortError> {
        let query = self
            .partition(None, keys::PK, key.pk)
            .key_condition_expression("#partition = :partition AND #sort BETWEEN :plan AND :state")
            .expression_attribute_names("#sort", keys::SK)
            .expression_attribute_values(":plan", AttributeValue::S(keys::PLAN.into()))
            .expression_attribute_values(":state", AttributeValue::S(key.sk.clone()));
        let mut items = all(query).await?;
        let Some(state) = items.iter().position(|item| is_at(item, &key.sk)).map(|at| items.swap_remove(at))
        else {
            return Ok(None);
        };
        let plan = match row::plan_of(&state) {
            None => None,
            Some(named) => match items.into_iter().find(|item| is_at(item, &named.sk)) {
                Some(plan) => Some(plan),
                // A query reads row after row: the plan may have come between. It was written with what names it.
                None => self.get(&named).await?,
            },
        };
        row::read_release(&state, plan.as_ref()).map(Some).map_err(|error| error.at(QUERY))
    }

    /// The releases whose rows an index names, in its order.
    async fn releases_of(&self, named: Vec<Item>) -> Result<Listing<Release>, PortError> {
        let (keys, unnamed) = keys_of(&named);
        let states = self.get_all(keys).await?;
        let plans = self.get_all(states.iter().filter_map(row::plan_of).collect()).await?;
        let plan = |state: &Item| plans.iter().find(|plan| row::plan_of(state) == row::key_of(plan).ok());
        let read = |state: &Item| {
            row::read_release(state, plan(state)).map_err(|error| Box::new(error.in_list(GET_ALL)))
        };
        Ok(states.iter().map(read).collect::<Listing<_>>().and(Listing::new(Vec::new(), unnamed)))
    }

    /// A row of its own beside a service's.
    async fn beside<T: row::Beside>(&self, service: &ServiceName) -> Result<Option<T>, PortError> {
        let item = self.get(&keys::beside(service, T::NAME)).await?;
        item.map(|item| row::read_beside(&item)).transpose().map_err(|error| error.at(GET))
    }

    /// A query for one partition of the table or of an index.
    fn partition(
        &self,
        index: Option<&str>,
        attribute: &str,
        value: impl Into<String>,
    ) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table)
            .set_index_name(index.map(str::to_owned))
            // An index cannot be read consistently.
            .consistent_read(index.is_none())
            .key_condition_expression("#partition = :partition")
            .expression_attribute_names("#partition", attribute)
            .expression_attribute_values(":partition", AttributeValue::S(value.into()))
    }

    /// The keys of wake-ups before or after a sort key.
    fn wakes(&self, compare: &str, sort: String) -> QueryFluentBuilder {
        self.partition(Some(BY_WAKE), keys::GSI2PK, keys::OPEN)
            .key_condition_expression(format!("#partition = :partition AND #sort {compare} :sort"))
            .projection_expression("#sort, #pk, #sk")
            .expression_attribute_names("#sort", keys::GSI2SK)
            .expression_attribute_names("#pk", keys::PK)
            .expression_attribute_names("#sk", keys::SK)
            .expression_attribute_values(":sort", AttributeValue::S(sort))
    }

    /// The rows by which events of this find services, or releases.
    fn watch_rows(&self, watched: &Watched, whom: &str) -> QueryFluentBuilder {
        self.partition(None, keys::PK, keys::watched(watched))
            .key_condition_expression("#partition = :partition AND begins_with(#sort, :whom)")
            .expression_attribute_names("#sort", keys::SK)
            .expression_attribute_values(":whom", AttributeValue::S(whom.into()))
    }

    /// All history entries of `pk`, oldest first unless `newest_first`.
    fn history_of(&self, pk: String, newest_first: bool) -> QueryFluentBuilder {
        self.partition(None, keys::PK, pk)
            .key_condition_expression("#partition = :partition AND begins_with(#sort, :history)")
            .expression_attribute_names("#sort", keys::SK)
            .expression_attribute_values(":history", AttributeValue::S(keys::HISTORY.into()))
            .scan_index_forward(!newest_first)
    }
}

const GET: &str = "dynamodb:GetItem";
const GET_ALL: &str = "dynamodb:BatchGetItem";
const QUERY: &str = "dynamodb:Query";

/// Whether the item has this sort key.
fn is_at(item: &Item, sk: &str) -> bool {
    item.get(keys::SK).and_then(|value| value.as_s().ok()).is_some_and(|found| found == sk)
}

/// The keys of the rows that an index names, and what is damaged in it.
fn keys_of(named: &[Item]) -> (Vec<keys::Key>, Vec<Damaged>) {
    let (keys, damaged): (Vec<_>, Vec<_>) = named.iter().map(row::key_of).partition(Result::is_ok);
    let damaged = damaged.into_iter().filter_map(Result::err).map(|error| error.in_list(QUERY)).collect();
    (keys.into_iter().flatten().collect(), damaged)
}

/// Reads every page.
async fn all(query: QueryFluentBuilder) -> Result<Vec<Item>, PortError> {
    let mut pages = query.into_paginator().send();
    let mut items = Vec::new();
    while let Some(page) = pages.next().await {
        items.extend(page.map_err(|error| port_error(QUERY, error))?.items.unwrap_or_default());
    }
    Ok(items)
}

/// Reads pages until there are `limit` items.
async fn first(query: QueryFluentBuilder, limit: u32) -> Result<Vec<Item>, PortError> {
    let limit_items = usize::try_from(limit).unwrap_or(usize::MAX);
    let page = i32::try_from(limit.min(LARGEST_PAGE)).unwrap_or(i32::MAX);
    let mut items = Vec::new();
    if limit == 0 {
        return Ok(items);
    }
    let mut pages = query.limit(page).into_paginator().send();
    while let Some(page) = pages.next().await {
        items.extend(page.map_err(|error| port_error(QUERY, error))?.items.unwrap_or_default());
        if items.len() >= limit_items {
            break;
        }
    }
    items.truncate(limit_items);
    Ok(items)
}

/// Reads every item; what cannot be read is told beside the others.
fn each<T>(items: &[Item], read: fn(&Item) -> Result<T, RowError>) -> Listing<T> {
    items.iter().map(|item| read(item).map_err(|error| Box::new(error.in_list(QUERY)))).collect()
}

/// Reads every item of which something can be known even if it is damaged.
fn each_known<T>(items: &[Item], read: fn(&Item) -> (Option<T>, Option<RowError>)) -> Listing<T> {
    let (known, wrong): (Vec<_>, Vec<_>) = items.iter().map(read).unzip();
    let damaged = wrong.into_iter().flatten().map(|error| error.in_list(QUERY)).collect();
    Listing::new(known.into_iter().flatten().collect(), damaged)
}

#[async_trait]
impl Ledger for DynamoLedger {
    async fn service_row(&self, name: &ServiceName) -> Result<Option<ServiceRecord>, PortError> {
        let item = self.get(&keys::head(name)).await?;
        item.map(|item| row::read_head(&item).map(|(_, head)| head)).transpose().map_err(|e| e.at(GET))
    }

    async fn service_rows(&self) -> Result<Listing<(ServiceName, ServiceRecord)>, PortError> {
        let named = all(self.partition(Some(BY_SERVICE), keys::GSI1PK, keys::ALL_SERVICES)).await?;
        let (keys, unnamed) = keys_of(&named);
        let items = self.get_all(keys).await?;
        Ok(each(&items, row::read_head).and(Listing::new(Vec::new(), unnamed)))
    }

    async fn release(&self, id: &ReleaseId) -> Result<Option<Release>, PortError> {
        self.release_at(keys::release(id)).await
    }

    async fn releases(&self, service: &ServiceName, limit: u32) -> Result<Listing<Release>, PortError> {
        let query = self.partition(Some(BY_SERVICE), keys::GSI1PK, keys::head(service).pk);
        self.releases_of(first(query.scan_index_forward(false), limit).await?).await
    }

    async fn ids_beginning(
        &self,
        service: &ServiceName,
        prefix: &str,
        limit: u32,
    ) -> Result<Listing<ReleaseId>, PortError> {
        let query = self
            .partition(Some(BY_SERVICE), keys::GSI1PK, keys::head(service).pk)
            .key_condition_expression("#partition = :partition AND begins_with(#sort, :prefix)")
            .projection_expression("#sort, #pk, #sk")
            .expression_attribute_names("#sort", keys::GSI1SK)
            .expression_attribute_names("#pk", keys::PK)
            .expression_attribute_names("#sk", keys::SK)
            .expression_attribute_values(":prefix", AttributeValue::S(prefix.to_owned()));
        Ok(each(&first(query, limit).await?, row::read_id))
    }

    async fn open(&self) -> Result<Listing<Release>, PortError> {
        self.releases_of(all(self.partition(Some(BY_WAKE), keys::GSI2PK, keys::OPEN)).await?).await
    }

    async fn due(&self, until: Timestamp) -> Result<Listing<Due>, PortError> {
        let farthest = until.saturating_add(FARTHEST_WAKE).unwrap_or(until);
        let due = all(self.wakes("<=", keys::wake_until(until))).await?;
        // A damaged key may sort behind every time: such a release would sleep for ever.
        let never = all(self.wakes(">", keys::wake_until(farthest))).await?;
        Ok(each_known(&due, row::read_wake).and(each_known(&never, row::read_wake_too_late)))
    }

    async fn watchers(&self, watched: &Watched) -> Result<Listing<ServiceName>, PortError> {
        let items = all(self.watch_rows(watched, keys::SERVICE_PREFIX)).await?;
        Ok(each_known(&items, row::read_watcher))
    }

    async fn under_way(&self, watched: &Watched) -> Result<Listing<UnderWay>, PortError> {
        let items = all(self.watch_rows(watched, keys::RELEASE_PREFIX)).await?;
        Ok(each_known(&items, row::read_under_way))
    }

    async fn history(&self, id: &ReleaseId) -> Result<Listing<Entry>, PortError> {
        let items = all(self.history_of(keys::release(id).pk, false)).await?;
        Ok(each(&items, row::read_entry))
    }

    async fn refusals(&self, name: &ServiceName) -> Result<Option<RefusalLog>, PortError> {
        self.beside(name).await
    }

    async fn tags_seen(&self, name: &ServiceName) -> Result<Option<TagsSeen>, PortError> {
        self.beside(name).await
    }

    async fn awaited(&self, name: &ServiceName) -> Result<Option<Awaited>, PortError> {
        self.beside(name).await
    }

    async fn service_history(&self, name: &ServiceName, limit: u32) -> Result<Listing<Entry>, PortError> {
        let items = first(self.history_of(keys::head(name).pk, true), limit).await?;
        let (mut entries, mut damaged) = each(&items, row::read_entry).split();
        let damage = |what: &str, problem| Damaged {
            name: format!("{what} service {name}"),
            service: Some(name.clone()),
            release: None,
            problem,
        };
        // Before what has the same time: a refusal comes after the change that made it one.
        match self.refusals(name).await {
            Ok(log) => {
                entries.splice(..0, log.iter().flat_map(RefusalLog::entries));
            }
            Err(problem) if problem.kind == ErrorKind::Invalid => {
                damaged.push(damage("what was refused to the triggers of", problem));
            }
            Err(error) => return Err(error),
        }
        match self.awaited(name).await {
            Ok(row) => {
                entries.splice(..0, row.and_then(|row| row.entry(name)));
            }
            Err(problem) if problem.kind == ErrorKind::Invalid => {
                damaged.push(damage("the image awaited for", problem));
            }
            Err(error) => return Err(error),
        }
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.at));
        Ok(Listing::new(entries, damaged))
    }

    /// A condition that does not hold is a `Conflict` whose code is AWS's reason (`ConditionalCheckFailed`,
    /// `TransactionConflict`), or [`ALREADY_HANDLED`] when `once` was there already, whatever else did not hold. What must not or
    /// cannot be written is `Invalid`, with code `Invariant` or `TooLarge`.
    async fn claim(&self, release: &ReleaseId, version: u64) -> Result<bool, PortError> {
        self.put_claim(release, version, Timestamp::now()).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), PortError> {
        self.write(commit, Timestamp::now()).await
    }
}
