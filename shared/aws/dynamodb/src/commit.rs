//! Writing a change: one transaction, and what its refusal means.

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, CancellationReason, Delete, Put, TransactWriteItem};
use jiff::{SignedDuration, Timestamp};
use tidegate_aws::{kind_of, port_error};
use tidegate_core::commit::{Commit, IdempotencyKey, ReleaseWrite, RowWrite, ServiceWrite};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{ReleaseId, ServiceName};
use tidegate_core::ports::Ledger as _;

use crate::keys::{self, Key};
use crate::row::{self, Item, RowError};
use crate::{DynamoLedger, watches};

const WRITE: &str = "dynamodb:TransactWriteItems";
/// DynamoDB's limit for the actions of one transaction.
const MOST_ACTIONS: usize = 100;
/// How long a claim is kept: longer than anybody takes from it to their write, and gone some time after the release has ended.
const CLAIMS_KEPT: SignedDuration = SignedDuration::from_hours(24);
const CONDITION_FAILED: &str = "ConditionalCheckFailed";

/// The code of the conflict that means: this delivery was handled before.
pub const ALREADY_HANDLED: &str = "AlreadyHandled";

/// One action of the transaction, with what it expects in words.
struct Action {
    item: TransactWriteItem,
    idempotency: bool,
    expects: String,
}

/// What must hold for a row to be written.
enum Condition {
    /// There is no row.
    Absent,
    /// The row has this version.
    Version(u64),
    /// There is no row, or it has expired and TTL has not removed it yet (which may take days).
    AbsentOrExpired(Timestamp),
    /// There is no row, or it says that it is this service's.
    Own(ServiceName),
    /// Nothing: the row is guarded by another row of the transaction.
    Guarded,
}

impl DynamoLedger {
    pub(crate) async fn write(&self, commit: Commit, now: Timestamp) -> Result<(), PortError> {
        let actions = self.actions(&commit, now).await?;
        if actions.is_empty() {
            return Ok(());
        }
        if actions.len() > MOST_ACTIONS {
            let message = format!(
                "the change takes {} actions and DynamoDB takes {MOST_ACTIONS} in one transaction",
                actions.len()
            );
            return Err(PortError::new(ErrorKind::Invalid, WRITE, "TooLarge", message));
        }
        // The SDK adds a client request token: repeating the call after a lost answer does not meet its own write as a conflict.
        let items = actions.iter().map(|action| action.item.clone()).collect();
        let written = self.client.transact_write_items().set_transact_items(Some(items)).send().await;
        written.map(|_| ()).map_err(|error| {
            let refusal = error.as_service_error().and_then(|error| refusal_in(error, &actions));
            let told = port_error(WRITE, error);
            match refusal {
                Some(refusal) => PortError { request_id: told.request_id, ..refusal },
                None => told,
            }
        })
    }

    /// Whether nobody has claimed this version of a release, or a later one, before.
    pub(crate) async fn put_claim(
        &self,
        id: &ReleaseId,
        version: u64,
        now: Timestamp,
    ) -> Result<bool, PortError> {
        let until = now.saturating_add(CLAIMS_KEPT).unwrap_or(now);
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(row::claim(&keys::claim(id), version, until)))
            .condition_expression("attribute_not_exists(pk) OR #version < :version")
            .expression_attribute_names("#version", row::VERSION)
            .expression_attribute_values(":version", AttributeValue::N(version.to_string()));
        match put.send().await {
            Ok(_) => Ok(true),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(PutItemError::is_conditional_check_failed_exception) =>
            {
                Ok(false)
            }
            Err(error) => Err(port_error("dynamodb:PutItem", error)),
        }
    }

    async fn actions(&self, commit: &Commit, now: Timestamp) -> Result<Vec<Action>, PortError> {
        let mut actions = Vec::new();
        for write in &commit.releases {
            self.release_actions(write, &mut actions).map_err(|error| error.at(WRITE))?;
        }
        if let Some(write) = &commit.head {
            self.head_actions(write, &mut actions).map_err(|error| error.at(WRITE))?;
            self.watch_actions(write, &mut actions).await?;
        }
        self.beside_action(commit.refusals.as_ref(), &mut actions).map_err(|error| error.at(WRITE))?;
        self.beside_action(commit.tags.as_ref(), &mut actions).map_err(|error| error.at(WRITE))?;
        self.beside_action(commit.awaited.as_ref(), &mut actions).map_err(|error| error.at(WRITE))?;
        if let Some(IdempotencyKey { key, until }) = &commit.idempotency_key {
            let row = row::delivery(&keys::delivery(key), *until);
            let expects = format!("delivery {key} has not been handled yet");
            let action = self.put(row, Condition::AbsentOrExpired(now), expects);
            actions.push(Action { idempotency: true, ..action });
        }
        Ok(actions)
    }

    fn release_actions(&self, write: &ReleaseWrite, actions: &mut Vec<Action>) -> Result<(), RowError> {
        let release = &write.release;
        let key = keys::release(&release.id);
        let condition = version_condition(&key, write.expected(), release.version)?;
        let expects = expectation(&format!("release {}", release.id), write.expected());
        actions.push(self.put(row::release(release)?, condition, expects));
        if let Some(plan) = write.new_plan() {
            let row = row::plan(&release.id, release.version, plan)?;
            let expects = format!("release {} has no plan made at {}", release.id, plan.made_at);
            actions.push(self.put(row, Condition::Absent, expects));
        }
        if let Some(entry) = &write.entry {
            actions.push(self.put_entry(&key, row::entry(&key, release.version, entry)?));
        }
        let (added, dropped) = watches::of_release(write);
        for watched in added {
            let row = row::concerns(&keys::concerns(&watched, &release.id), release)?;
            actions.push(self.put(row, Condition::Guarded, String::new()));
        }
        for watched in dropped {
            actions.push(self.delete(&keys::concerns(&watched, &release.id)));
        }
        Ok(())
    }

    fn head_actions(&self, write: &ServiceWrite, actions: &mut Vec<Action>) -> Result<(), RowError> {
        let key = keys::head(&write.service);
        let condition = version_condition(&key, write.expected, write.head.version)?;
        let expects = expectation(&format!("service {}", write.service), write.expected);
        actions.push(self.put(row::head(&write.service, &write.head)?, condition, expects));
        if let Some(entry) = &write.entry {
            actions.push(self.put_entry(&key, row::entry(&key, write.head.version, entry)?));
        }
        Ok(())
    }

    fn beside_action<T: row::Beside>(
        &self,
        write: Option<&RowWrite<T>>,
        actions: &mut Vec<Action>,
    ) -> Result<(), RowError> {
        let Some(RowWrite { service, expected, row }) = write else { return Ok(()) };
        let condition = version_condition(&keys::beside(service, T::NAME), *expected, row.version())?;
        let expects = expectation(&format!("{} service {service}", T::WHAT), *expected);
        actions.push(self.put(row::beside(service, row)?, condition, expects));
        Ok(())
    }

    /// The rows by which events find the service, and the one that says whose an ECS service is, follow its policy. The policy read here is the one replaced: the head's version
    /// condition fails if it changes in between.
    async fn watch_actions(&self, write: &ServiceWrite, actions: &mut Vec<Action>) -> Result<(), PortError> {
        let current = self.service(&write.service).await?;
        let (added, dropped) = watches::change(current.as_ref(), &write.head, &self.installation);
        for watched in added {
            let row = row::watch(&keys::watch(&watched, &write.service));
            actions.push(self.put(row, Condition::Guarded, String::new()));
        }
        for watched in dropped {
            actions.push(self.delete(&keys::watch(&watched, &write.service)));
        }
        let (taken, left) = watches::taken(current.as_ref(), &write.head, &self.installation);
        for owned in taken {
            let row = row::owner(&keys::owner(&owned), &write.service);
            let expects = format!("no other policy releases to ECS service {}", owned.resource);
            actions.push(self.put(row, Condition::Own(write.service.clone()), expects));
        }
        for owned in left {
            actions.push(self.delete(&keys::owner(&owned)));
        }
        Ok(())
    }

    fn put_entry(&self, of: &Key, row: Item) -> Action {
        self.put(row, Condition::Absent, format!("the history of {} has no entry of this version", of.pk))
    }

    fn put(&self, row: Item, condition: Condition, expects: String) -> Action {
        let put = Put::builder().table_name(&self.table).set_item(Some(row));
        let put = match condition {
            Condition::Absent => put.condition_expression("attribute_not_exists(pk)"),
            Condition::Version(version) => put
                .condition_expression("#version = :expected")
                .expression_attribute_names("#version", row::VERSION)
                .expression_attribute_values(":expected", AttributeValue::N(version.to_string())),
            Condition::AbsentOrExpired(now) => put
                .condition_expression("attribute_not_exists(pk) OR #expires < :now")
                .expression_attribute_names("#expires", row::EXPIRES_AT)
                .expression_attribute_values(":now", AttributeValue::N(now.as_second().to_string())),
            Condition::Own(service) => put
                .condition_expression("attribute_not_exists(pk) OR #owner = :owner")
                .expression_attribute_names("#owner", row::OWNER)
                .expression_attribute_values(":owner", AttributeValue::S(service.to_string())),
            Condition::Guarded => put,
        };
        // Table and item are set, which is all the builder checks; an empty action would be refused by DynamoDB.
        let item = TransactWriteItem::builder().set_put(put.build().ok()).build();
        Action { item, idempotency: false, expects }
    }

    fn delete(&self, key: &Key) -> Action {
        let delete = Delete::builder()
            .table_name(&self.table)
            .key(keys::PK, AttributeValue::S(key.pk.clone()))
            .key(keys::SK, AttributeValue::S(key.sk.clone()))
            .build();
        let item = TransactWriteItem::builder().set_delete(delete.ok()).build();
        Action { item, idempotency: false, expects: String::new() }
    }
}

/// The condition for a row, and the check that the new version follows the expected one.
fn version_condition(key: &Key, expected: Option<u64>, new: u64) -> Result<Condition, RowError> {
    let follows = expected.map_or(0, |version| version.saturating_add(1));
    if new != follows {
        let broken = vec![format!("its new version is {new} and must be {follows}")];
        return Err(RowError::Invariant { key: key.clone(), broken });
    }
    Ok(expected.map_or(Condition::Absent, Condition::Version))
}

fn expectation(what: &str, expected: Option<u64>) -> String {
    match expected {
        Some(version) => format!("{what} is at version {version}"),
        None => format!("{what} does not exist yet"),
    }
}

fn refusal_in(error: &TransactWriteItemsError, actions: &[Action]) -> Option<PortError> {
    if let TransactWriteItemsError::TransactionCanceledException(cancelled) = error {
        refusal(cancelled.cancellation_reasons(), actions)
    } else {
        None
    }
}

/// What the reasons of a cancelled transaction, one for each action, mean. `None` when they do not say.
fn refusal(reasons: &[CancellationReason], actions: &[Action]) -> Option<PortError> {
    let failed: Vec<(&str, &CancellationReason, &Action)> = reasons
        .iter()
        .zip(actions)
        .filter_map(|(reason, action)| Some((reason.code()?, reason, action)))
        .filter(|(code, ..)| *code != "None")
        .collect();
    let error = |kind, code: &str, message: String| Some(PortError::new(kind, WRITE, code, message));
    // A delivery handled before is told first: its first handling is what changed the other rows.
    if let Some((.., action)) =
        failed.iter().find(|(code, _, action)| action.idempotency && *code == CONDITION_FAILED)
    {
        return error(
            ErrorKind::Conflict,
            ALREADY_HANDLED,
            format!("it does not hold that {}", action.expects),
        );
    }
    // What does not pass by itself outweighs what does.
    let weight = |kind: ErrorKind| match kind {
        ErrorKind::Invalid | ErrorKind::Denied | ErrorKind::NotFound => 0,
        ErrorKind::Conflict => 1,
        ErrorKind::Throttled | ErrorKind::Unavailable => 2,
    };
    let kind =
        |code: &str, reason: &CancellationReason| kind_of(code, reason.message().unwrap_or_default(), 400);
    let (code, reason, _) = failed.iter().min_by_key(|(code, reason, _)| weight(kind(code, reason)))?;
    let told: Vec<String> = failed
        .iter()
        .filter(|(other, ..)| other == code)
        .map(|(_, reason, action)| match *code {
            CONDITION_FAILED => format!("it does not hold that {}", action.expects),
            _ => reason.message().unwrap_or("the transaction was cancelled").to_owned(),
        })
        .collect();
    error(kind(code, reason), code, told.join("; "))
}
