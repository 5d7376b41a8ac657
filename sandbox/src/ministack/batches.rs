//! `SendMessageBatch`. On AWS the permission for it is `sqs:SendMessage` and nothing else; ministack asks for an action of that name, which
//! no policy can give. So who may call is decided here, and ministack is asked in root's name.

use async_trait::async_trait;
use serde_json::Value;

use super::Client;
use crate::ports::{AwsError, Caller, Service};

/// The operation; every other one of SQS's is ministack's.
pub const OPERATION: &str = "SendMessageBatch";

/// Batches for the queues behind `client`, which has to be root's.
pub struct Batches(pub Client);

#[async_trait]
impl Service for Batches {
    async fn call(&self, operation: &str, input: Value, _caller: &Caller) -> Result<Value, AwsError> {
        self.0.json("sqs", &format!("AmazonSQS.{operation}"), input).await
    }
}
