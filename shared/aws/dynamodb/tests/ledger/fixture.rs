//! A table for each test, and the values tests put into it.

use std::sync::OnceLock;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
    Projection, ProjectionType, ScalarAttributeType,
};
use jiff::Timestamp;
use tidegate_core::actor::Actor;
use tidegate_core::change::Change;
use tidegate_core::commit::{Commit, ReleaseWrite, ServiceWrite};
use tidegate_core::course::Course;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::history::{Entry, Event, Report, WaitingOn};
use tidegate_core::ids::{
    AccountId, ContainerName, Digest, Image, Region, ReleaseId, RepositoryName, ServiceName,
};
use tidegate_core::intent::Intent;
use tidegate_core::outcome::{Cause, Outcome};
use tidegate_core::policy::{self, Policy};
use tidegate_core::ports::{Due, Ledger};
use tidegate_core::release::{Phase, Progress, Release, Wake};
use tidegate_core::service::ServiceRecord;
use tidegate_dynamodb::{DynamoLedger, Installation};
use tidegate_testkit::ministack::{ACCOUNT, Ministack, REGION};

static MINISTACK: OnceLock<Ministack> = OnceLock::new();

/// A ledger in a table of its own.
pub(crate) struct Fixture {
    pub(crate) ledger: DynamoLedger,
    pub(crate) client: Client,
    pub(crate) table: String,
}

impl Fixture {
    pub(crate) async fn new(table: &str) -> Self {
        let client = Client::new(&MINISTACK.get_or_init(Ministack::start).config().await);
        create_table(&client, table).await;
        Self::of(client, table)
    }

    pub(crate) fn of(client: Client, table: &str) -> Self {
        let ledger = DynamoLedger::new(client.clone(), table, installation());
        Self { ledger, client, table: table.to_owned() }
    }

    /// Creates releases, each with its first history entry.
    pub(crate) async fn create(&self, releases: &[Release]) {
        for release in releases {
            self.ledger.commit(writes([create(release)])).await.unwrap();
        }
    }

    pub(crate) async fn put_head(&self, write: ServiceWrite) {
        self.ledger.commit(Commit { head: Some(write), ..Commit::default() }).await.unwrap();
    }

    /// Changes a row behind the ledger's back.
    pub(crate) async fn damage(&self, pk: &str, sk: &str, attribute: &str, value: AttributeValue) {
        self.client
            .update_item()
            .table_name(&self.table)
            .key("pk", AttributeValue::S(pk.into()))
            .key("sk", AttributeValue::S(sk.into()))
            .update_expression("SET #a = :v")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_names("#a", attribute)
            .expression_attribute_values(":v", value)
            .send()
            .await
            .unwrap();
    }

    /// How many rows the table has.
    pub(crate) async fn rows(&self) -> i32 {
        self.client.scan().table_name(&self.table).send().await.unwrap().count()
    }
}

/// The table as `template.yaml` defines it.
async fn create_table(client: &Client, table: &str) {
    let attribute = |name: &str| {
        AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(ScalarAttributeType::S)
            .build()
            .unwrap()
    };
    let key =
        |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap();
    let index = |name: &str, pk, sk| {
        GlobalSecondaryIndex::builder()
            .index_name(name)
            .key_schema(key(pk, KeyType::Hash))
            .key_schema(key(sk, KeyType::Range))
            .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
            .build()
            .unwrap()
    };
    let names = ["pk", "sk", "gsi1pk", "gsi1sk", "gsi2pk", "gsi2sk"];
    let created = client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(names.map(attribute).into()))
        .key_schema(key("pk", KeyType::Hash))
        .key_schema(key("sk", KeyType::Range))
        .global_secondary_indexes(index("by-service", "gsi1pk", "gsi1sk"))
        .global_secondary_indexes(index("by-wake", "gsi2pk", "gsi2sk"))
        .send()
        .await;
    // Every test has a table of its own name, so one that is there is this one, made by a call whose answer came too late.
    if let Err(error) = created {
        let error = error.into_service_error();
        assert!(error.is_resource_in_use_exception(), "{error:?}");
    }
}

pub(crate) fn installation() -> Installation {
    Installation { account: AccountId::new(ACCOUNT).unwrap(), region: Region::new(REGION).unwrap() }
}

pub(crate) fn name(service: &str) -> ServiceName {
    ServiceName::new(service).unwrap()
}

pub(crate) fn id(n: usize) -> ReleaseId {
    ReleaseId::new(format!("{n:026}")).unwrap()
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

pub(crate) fn policy(service: &str, alarms: &[&str]) -> Policy {
    let text = format!(
        "service: {service}\n\
         from: {{ ecr: {{ repository: shop/{service}, tags: [\"v*\"] }} }}\n\
         to: {{ ecs: {{ cluster: prod, service: {service}-web, container: app }} }}\n\
         strategy: {{ canary: {{ percent: 10, bake: 5m }}, bake: 15m }}\n\
         rollback: {{ alarms: {alarms:?} }}\n"
    );
    policy::parse("policy.yaml", &text).unwrap()
}

/// A queued release of `service`, to be woken at second `n`.
pub(crate) fn release(n: usize, service: &str) -> Release {
    let target = policy(service, &[]).target(&installation().account, &installation().region);
    let digest = Digest::new(format!("sha256:{n:064}")).unwrap();
    Release {
        id: id(n),
        service: name(service),
        target,
        change: Change::one(
            ContainerName::new("app").unwrap(),
            Image {
                registry: "111122223333.dkr.ecr.eu-central-1.amazonaws.com".into(),
                repository: RepositoryName::new(format!("shop/{service}")).unwrap(),
                digest,
                tag: None,
            },
        ),
        carried: std::collections::BTreeSet::new(),
        intent: Intent::Deploy,
        requested_by: Actor::Event { source: "aws.ecr".into(), id: format!("event-{n}") },
        created_at: at(0),
        version: 0,
        phase: Phase::Queued,
        plan: None,
        progress: Progress::default(),
        course: Course::default(),
        gates: std::collections::BTreeMap::new(),
        provenance: tidegate_core::intent::Provenance::default(),
        bypass_freeze: None,
        request: None,
        pause: None,
        promote_now: None,
        acted_at: None,
        wake: Some(Wake::new(at(i64::try_from(n).unwrap()))),
        report: Report::waiting_on(WaitingOn::Turn { behind: None }),
    }
}

/// The same release a version later, ended.
pub(crate) fn ended(mut release: Release) -> Release {
    release.version += 1;
    release.wake = None;
    let cause = Cause::Deployment { reason: "circuit breaker".into() };
    release.phase = Phase::Ended { outcome: Outcome::RolledBack { cause }, at: at(9), restored_at: None };
    release
}

/// The same release a version later, with another report.
pub(crate) fn next(mut release: Release, report: &str) -> Release {
    release.version += 1;
    release.report = Report::waiting_on(WaitingOn::Scan { why: report.to_owned() });
    release
}

pub(crate) fn entry(version: u64, why: &str) -> Entry {
    Entry::new(version, at(0), Actor::Tidegate, Event::AnswerNotCounted { why: why.to_owned() })
}

pub(crate) fn create(release: &Release) -> ReleaseWrite {
    ReleaseWrite { before: None, release: release.clone(), entry: Some(entry(0, "created")) }
}

/// The write of `release`, decided on the version before it.
pub(crate) fn update(release: &Release) -> ReleaseWrite {
    let before = Release { version: release.version - 1, ..release.clone() };
    ReleaseWrite {
        before: Some(Box::new(before)),
        release: release.clone(),
        entry: Some(entry(release.version, "changed")),
    }
}

pub(crate) fn writes(releases: impl IntoIterator<Item = ReleaseWrite>) -> Commit {
    Commit { releases: releases.into_iter().collect(), ..Commit::default() }
}

pub(crate) fn apply(policy: &Policy, version: u64) -> ServiceWrite {
    ServiceWrite {
        service: policy.service.clone(),
        expected: version.checked_sub(1),
        head: ServiceRecord { version, ..ServiceRecord::new(policy.clone(), at(0)) },
        entry: Some(entry(version, "policy applied")),
    }
}

pub(crate) fn pairs(due: Vec<Due>) -> Vec<(ReleaseId, Timestamp)> {
    due.into_iter().map(|due| (due.release, due.at)).collect()
}

#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(
    result: Result<T, PortError>,
    kind: ErrorKind,
    code: &str,
) -> PortError {
    let error = result.unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (kind, code), "{error}");
    error
}
