//! IO: the EventBridge adapter: what happens to releases, as events on a bus.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::config::Region;
use aws_sdk_eventbridge::primitives::DateTime;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use jiff::Timestamp;
use tidegate_aws::{SdkConfig, port_error};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::EventBusArn;

const PUT: &str = "events:PutEvents";
/// What the events' `source` says.
pub const SOURCE: &str = "tidegate";

/// Buses, each in its own region.
#[derive(Debug)]
pub struct EventBuses {
    home: SdkConfig,
    clients: Mutex<HashMap<String, Client>>,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct BusEvent {
    pub detail_type: String,
    /// JSON.
    pub detail: String,
    pub at: Timestamp,
}

impl EventBuses {
    /// With the home account's configuration.
    pub fn new(home: SdkConfig) -> Self {
        Self { home, clients: Mutex::default() }
    }

    fn client(&self, bus: &EventBusArn) -> Client {
        let region = bus.as_str().split(':').nth(3).unwrap_or_default().to_owned();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || Client::new(&self.home.to_builder().region(Region::new(region.clone())).build());
        clients.entry(region.clone()).or_insert_with(make).clone()
    }

    /// Puts one event on a bus. An entry that EventBridge did not take is an error with its code, whatever the call itself answered.
    ///
    /// # Errors
    /// What EventBridge answers.
    pub async fn put(&self, bus: &EventBusArn, event: BusEvent) -> Result<(), PortError> {
        let entry = PutEventsRequestEntry::builder()
            .event_bus_name(bus.as_str())
            .source(SOURCE)
            .detail_type(event.detail_type)
            .detail(event.detail)
            .time(DateTime::from_secs(event.at.as_second()))
            .build();
        let answer = self.client(bus).put_events().entries(entry).send().await;
        let answer = answer.map_err(|error| port_error(PUT, error))?;
        if answer.failed_entry_count() == 0 {
            return Ok(());
        }
        let failed = answer.entries().iter().find(|entry| entry.error_code().is_some());
        let told = |get: fn(&aws_sdk_eventbridge::types::PutEventsResultEntry) -> Option<&str>| {
            failed.and_then(get).unwrap_or("no reason was given").to_owned()
        };
        let (code, message) = (told(|entry| entry.error_code()), told(|entry| entry.error_message()));
        let kind = tidegate_aws::kind_of(&code, &message, 400);
        // What fails inside EventBridge passes.
        let kind = if code == "InternalFailure" { ErrorKind::Unavailable } else { kind };
        Err(PortError::new(kind, PUT, code, message))
    }
}
