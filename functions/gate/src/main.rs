//! `gate`: behind Lambda Function URLs. Approval pages, webhooks and status pages for everyone who proves to be entitled; answers for
//! callers with AWS identities.

use std::sync::Arc;

use jiff::SignedDuration;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use tidegate_ecr::EcrAdapter;
use tidegate_gate::handler::handle;
use tidegate_gate::secrets::Keeper;
use tidegate_gate::{Desk, Door, Gate};
use tidegate_runtime::config::ConfigError;
use tidegate_secretsmanager::Secret;
use tidegate_start::Start;

/// How long a call of the ledger is repeated while somebody waits for the answer.
const PATIENCE: SignedDuration = SignedDuration::from_secs(3);

#[tokio::main]
async fn main() -> Result<(), Error> {
    tidegate_runtime::telemetry::init();
    let start = Start::from_env().await?;
    let keeper = Keeper::new(Arc::new(Secret::new(&start.aws, setting("TIDEGATE_SECRET_ARN")?)));
    let door = match setting("TIDEGATE_DOOR")?.as_str() {
        "public" => {
            // Read while AWS waits for the function to start, so that the first caller need not.
            if let Err(error) = keeper.secrets().await {
                tracing::error!(error = %error, "the secret could not be read; it is tried again with each request");
            }
            Door::Public(keeper)
        }
        "api" => Door::Api(Desk { keeper, public_url: setting("TIDEGATE_GATE_URL")? }),
        other => return Err(format!("TIDEGATE_DOOR: found {other:?}, allowed public and api").into()),
    };
    let gate = Gate {
        installation: start.installation().patient(PATIENCE),
        images: Arc::new(EcrAdapter::new(start.aws.clone())),
        door,
    };
    run(service_fn(async |event: LambdaEvent<Value>| Ok::<_, Error>(handle(&gate, event).await))).await
}

fn setting(name: &'static str) -> Result<String, Error> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    Ok(value.ok_or(ConfigError::Missing(name))?)
}
