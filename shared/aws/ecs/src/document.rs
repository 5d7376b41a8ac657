//! The task definition that runs, as a document: what a file from a build can be compared with.

use async_trait::async_trait;
use serde_json::Value;
use tidegate_core::fault::PortError;
use tidegate_core::ids::Target;
use tidegate_core::ports::TaskDefinitions;

use crate::EcsAdapter;
use crate::adapter::{describe_service, describe_task_definition};

#[async_trait]
impl TaskDefinitions for EcsAdapter {
    async fn current(&self, target: &Target) -> Result<Option<Value>, PortError> {
        let client = self.client(target).await;
        let Some(service) = describe_service(&client, target).await? else { return Ok(None) };
        let running = service.seen()?.task_definition;
        let mut described = describe_task_definition(&client, running.as_str()).await?;
        Ok(Some(described["taskDefinition"].take()))
    }
}
