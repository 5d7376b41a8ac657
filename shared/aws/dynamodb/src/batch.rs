//! Many rows at once, by their keys.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use futures::stream::{StreamExt as _, TryStreamExt as _};
use tidegate_aws::port_error;
use tidegate_core::fault::{ErrorKind, PortError};

use crate::keys::{self, Key};
use crate::row::{self, Item};
use crate::{DynamoLedger, GET_ALL};

/// DynamoDB's limit for the keys of one request.
const MOST_KEYS: usize = 100;
/// How many requests are under way at a time.
const AT_ONCE: usize = 8;

impl DynamoLedger {
    /// The rows of these keys as they are now, in this order. One that is gone meanwhile is left out: it was named by an index, which lags.
    pub(crate) async fn get_all(&self, keys: Vec<Key>) -> Result<Vec<Item>, PortError> {
        let requests: Vec<_> = keys.chunks(MOST_KEYS).map(|some| self.get_some(some)).collect();
        let read: Vec<Vec<Item>> = futures::stream::iter(requests).buffered(AT_ONCE).try_collect().await?;
        let mut rows: HashMap<Key, Item> =
            read.into_iter().flatten().filter_map(|item| Some((row::key_of(&item).ok()?, item))).collect();
        Ok(keys.iter().filter_map(|key| rows.remove(key)).collect())
    }

    /// DynamoDB answers as much as fits; the rest is asked again as long as it answers something.
    async fn get_some(&self, keys: &[Key]) -> Result<Vec<Item>, PortError> {
        let mut items = Vec::new();
        let mut wanted: Vec<Item> = keys.iter().map(primary).collect();
        while !wanted.is_empty() {
            let asked = KeysAndAttributes::builder().consistent_read(true).set_keys(Some(wanted)).build();
            let asked = asked.map_err(|error| failed(error.to_string()))?;
            let answer = self.client.batch_get_item().request_items(&self.table, asked).send().await;
            let answer = answer.map_err(|error| port_error(GET_ALL, error))?;
            let read: Vec<Item> =
                answer.responses.into_iter().flatten().flat_map(|(_, items)| items).collect();
            let unread = answer.unprocessed_keys.into_iter().flatten().flat_map(|(_, rest)| rest.keys);
            wanted = unread.collect();
            if read.is_empty() && !wanted.is_empty() {
                return Err(failed(format!("none of {} rows was read", wanted.len())));
            }
            items.extend(read);
        }
        Ok(items)
    }
}

/// It passes by itself: the table is busy.
fn failed(message: String) -> PortError {
    PortError::new(ErrorKind::Throttled, GET_ALL, "UnprocessedKeys", message)
}

fn primary(key: &Key) -> Item {
    let part = |name: &str, value: &str| (name.to_owned(), AttributeValue::S(value.to_owned()));
    HashMap::from([part(keys::PK, &key.pk), part(keys::SK, &key.sk)])
}
