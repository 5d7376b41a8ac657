//! What receivers were told, one row for each beside the release. Nobody else writes or reads them, so telling is in nobody's way.

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use tidegate_aws::port_error;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{ReleaseId, ServiceName};
use tidegate_core::listing::Listing;
use tidegate_core::notify::{TRIALS_KEPT, Told, Trial};
use tidegate_core::ports::Notebook;

use crate::{DynamoLedger, GET, all, each, keys, row};

const PUT: &str = "dynamodb:PutItem";

#[async_trait]
impl Notebook for DynamoLedger {
    async fn told(&self, release: &ReleaseId) -> Result<Listing<Told>, PortError> {
        let query = self
            .partition(None, keys::PK, keys::release(release).pk)
            .key_condition_expression("#partition = :partition AND begins_with(#sort, :told)")
            .expression_attribute_names("#sort", keys::SK)
            .expression_attribute_values(":told", AttributeValue::S(keys::TOLD.into()));
        Ok(each(&all(query).await?, row::read_told))
    }

    async fn note(&self, release: &ReleaseId, told: &Told) -> Result<(), PortError> {
        let item = row::told(release, told).map_err(|error| error.at(PUT))?;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let put = match told.expected() {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(version) => put
                .condition_expression("#version = :expected")
                .expression_attribute_names("#version", row::VERSION)
                .expression_attribute_values(":expected", AttributeValue::N(version.to_string())),
        };
        let written = put.send().await;
        let refused = |error: &PutItemError| error.is_conditional_check_failed_exception();
        written.map(drop).map_err(|error| {
            let conflict = error.as_service_error().is_some_and(refused);
            let told = port_error(PUT, error);
            if conflict { PortError { kind: ErrorKind::Conflict, ..told } } else { told }
        })
    }

    async fn ask_trial(&self, service: &ServiceName, id: &str, now: Timestamp) -> Result<(), PortError> {
        let row = row::delivery(&keys::trial_asked(service, id), until(now));
        self.put_row(row).await
    }

    async fn put_trial(&self, service: &ServiceName, trial: &Trial) -> Result<(), PortError> {
        let key = keys::trial(service, &trial.id);
        self.put_row(row::trial(&key, trial, until(trial.at)).map_err(|error| error.at(PUT))?).await
    }

    async fn trial(&self, service: &ServiceName, id: &str) -> Result<Option<Trial>, PortError> {
        let item = self.get(&keys::trial(service, id)).await?;
        item.map(|item| row::read_trial(&item)).transpose().map_err(|error| error.at(GET))
    }
}

impl DynamoLedger {
    /// Writes a row that nobody else writes.
    async fn put_row(&self, row: row::Item) -> Result<(), PortError> {
        let put = self.client.put_item().table_name(&self.table).set_item(Some(row));
        put.send().await.map(drop).map_err(|error| port_error(PUT, error))
    }
}

fn until(now: Timestamp) -> Timestamp {
    now.saturating_add(TRIALS_KEPT).unwrap_or(now)
}
