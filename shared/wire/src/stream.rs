//! What wakes the herald: records of the ledger's stream, and messages of its own queue. Both only name a release; what is to be told is in
//! the ledger.

use serde::Deserialize;
use serde_json::Value;
use tidegate_core::ids::{ReleaseId, ServiceName};

use crate::decode;
use crate::wake::WakeMessage;

/// One invocation's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Batch {
    /// Of the stream, in their order.
    Stream(Vec<Moved>),
    /// Of the queue. What cannot be read is given back alone, and ends in the dead-letter queue.
    Queue(Vec<Result<Again, (String, String)>>),
}

/// A record of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Its sequence number.
    pub id: String,
    /// What it is about; none for a row that nobody is told of.
    pub row: Option<Row>,
}

/// A row that somebody is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// An entry of a release's history.
    Release(ReleaseId),
    /// A request to try the channels of a service.
    Test(ServiceName, String),
}

/// A message of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    /// Its id.
    pub id: String,
    /// By which it is put off.
    pub receipt: String,
    /// The release it names.
    pub release: ReleaseId,
}

/// A batch that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read the batch: {path}: {problem}")]
pub struct BatchError {
    /// The path of the field.
    pub path: String,
    /// What was found and what is allowed.
    pub problem: String,
}

/// What the sort keys of requests to try a service's channels begin with.
pub const TEST: &str = "NOTIFY_TEST#";

#[derive(Deserialize)]
struct RawBatch {
    #[serde(rename = "Records")]
    records: Vec<RawRecord>,
}

#[derive(Deserialize)]
#[serde(tag = "eventSource")]
enum RawRecord {
    #[serde(rename = "aws:dynamodb")]
    Stream { dynamodb: RawChange },
    #[serde(rename = "aws:sqs", rename_all = "camelCase")]
    Queue { message_id: String, receipt_handle: String, body: String },
}

#[derive(Deserialize)]
struct RawChange {
    #[serde(rename = "SequenceNumber")]
    sequence_number: String,
    #[serde(rename = "Keys")]
    keys: RawKeys,
}

#[derive(Deserialize)]
struct RawKeys {
    pk: RawText,
    sk: RawText,
}

#[derive(Deserialize)]
struct RawText {
    #[serde(rename = "S")]
    text: String,
}

impl Batch {
    /// Reads an invocation's payload.
    ///
    /// # Errors
    /// [`BatchError`] when it is no batch of the table's stream or of a queue.
    pub fn from_value(payload: &Value) -> Result<Self, BatchError> {
        let told = |decode::Place { path, problem }| BatchError { path, problem };
        let RawBatch { records } = decode::from_value("", payload).map_err(told)?;
        let (mut moved, mut again) = (Vec::new(), Vec::new());
        for record in records {
            match record {
                RawRecord::Stream { dynamodb: RawChange { sequence_number: id, keys } } => {
                    moved.push(Moved { id, row: row(&keys.pk.text, &keys.sk.text) });
                }
                RawRecord::Queue { message_id: id, receipt_handle: receipt, body } => {
                    again.push(match WakeMessage::parse(&body) {
                        Ok(WakeMessage { release, .. }) => Ok(Again { id, receipt, release }),
                        Err(error) => Err((id, error.to_string())),
                    });
                }
            }
        }
        if again.is_empty() { Ok(Self::Stream(moved)) } else { Ok(Self::Queue(again)) }
    }
}

fn row(pk: &str, sk: &str) -> Option<Row> {
    if let Some(id) = pk.strip_prefix("RELEASE#").filter(|_| sk.starts_with("HISTORY#")) {
        return ReleaseId::new(id).ok().map(Row::Release);
    }
    let test = sk.strip_prefix(TEST)?;
    let service = ServiceName::new(pk.strip_prefix("SERVICE#")?).ok()?;
    Some(Row::Test(service, test.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "01k9zq3v8wd4x5n6p7r8s9t0ab";

    fn change(pk: &str, sk: &str) -> Value {
        json!({ "eventID": "1", "eventName": "INSERT", "eventVersion": "1.1", "eventSource": "aws:dynamodb", "awsRegion": "eu-central-1",
            "dynamodb": { "ApproximateCreationDateTime": 1772442000, "Keys": { "pk": { "S": pk }, "sk": { "S": sk } },
                "SequenceNumber": "111", "SizeBytes": 26, "StreamViewType": "KEYS_ONLY" },
            "eventSourceARN": "arn:aws:dynamodb:eu-central-1:111122223333:table/tide-ledger/stream/2026-03-02T09:00:00.000" })
    }

    fn row_of(pk: &str, sk: &str) -> Option<Row> {
        match Batch::from_value(&json!({ "Records": [change(pk, sk)] })).unwrap() {
            Batch::Stream(moved) => moved[0].row.clone(),
            Batch::Queue(_) => panic!("it is no queue"),
        }
    }

    #[test]
    fn only_what_happened_to_a_release_is_told() {
        let release = format!("RELEASE#{ID}");
        let id = ReleaseId::new(ID).unwrap();
        assert_eq!(row_of(&release, "HISTORY#00000000000000000003"), Some(Row::Release(id)));
        for (pk, sk) in [
            (release.as_str(), "STATE"),
            (&release, "TOLD#slack #deploys"),
            (&release, "PLAN#2026"),
            ("SERVICE#checkout", "HEAD"),
            ("SERVICE#checkout", "HISTORY#00000000000000000003"),
            ("RELEASE#x", "HISTORY#00000000000000000003"),
            ("WATCH#alarm#1#2#3", "RELEASE#x"),
            ("SEEN#x", "ONCE"),
        ] {
            assert_eq!(row_of(pk, sk), None, "{pk} {sk}");
        }
        let service = ServiceName::new("checkout").unwrap();
        assert_eq!(row_of("SERVICE#checkout", "NOTIFY_TEST#7"), Some(Row::Test(service, "7".into())));
    }

    #[test]
    fn a_message_that_cannot_be_read_is_given_back_alone() {
        let message = |id: &str, body: &str| json!({ "eventSource": "aws:sqs", "messageId": id, "receiptHandle": "r", "body": body });
        let good = format!(r#"{{"schema":1,"release":"{ID}","why":"not everyone was told"}}"#);
        let batch = json!({ "Records": [message("1", &good), message("2", "{}")] });
        let Batch::Queue(messages) = Batch::from_value(&batch).unwrap() else { panic!("it is a queue") };
        let release = ReleaseId::new(ID).unwrap();
        assert_eq!(messages[0], Ok(Again { id: "1".into(), receipt: "r".into(), release }));
        assert_eq!(messages[1].as_ref().unwrap_err().0, "2");
    }

    #[test]
    fn what_is_no_batch_is_refused_with_its_place() {
        let refused = |payload: Value| Batch::from_value(&payload).unwrap_err().to_string();
        assert_eq!(refused(json!({})), "read the batch: .: missing field `Records`");
        let stranger = refused(json!({ "Records": [{ "eventSource": "aws:kinesis" }] }));
        assert!(stranger.starts_with("read the batch: Records[0]"), "{stranger}");
    }
}
