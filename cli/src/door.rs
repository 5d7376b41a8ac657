//! The way to `gate-api`, the function behind IAM that makes links to the dashboard. The request is signed as every call of AWS is, so that AWS
//! says who asks: what signs links never leaves the account's secret.

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_aws::SdkConfig;
use tidegate_core::ids::{ReleaseId, ServiceName};

use crate::fault::Refusal;
use crate::signed::{self, Request};

/// What both calls are signed for: Lambda's own API, and its function URLs.
const SERVICE: &str = "lambda";

/// What a link is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Wanted {
    /// A service's page and those of its releases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// A release's page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseId>,
    /// Whether its holder may act.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub act: bool,
    /// How long it is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secs: Option<u64>,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// The address.
    pub url: String,
    /// `look` or `act`.
    pub may: String,
    /// Whom it was made for.
    pub by: String,
    /// Until when it is good.
    pub until: jiff::Timestamp,
}

/// Whoever makes links.
#[async_trait]
pub trait Door: Send + Sync {
    /// Has one made.
    async fn link(&self, wanted: &Wanted) -> anyhow::Result<Given>;
}

/// The function `gate-api` behind its URL.
#[derive(Debug)]
pub struct GateApi {
    aws: SdkConfig,
    function: String,
}

impl GateApi {
    /// The function of a stack.
    pub fn new(aws: SdkConfig, stack: &str) -> Self {
        Self { aws, function: format!("{stack}-gate-api") }
    }

    /// The function's URL: as `TIDEGATE_GATE_API_URL` says, else as Lambda does.
    async fn url(&self) -> anyhow::Result<String> {
        if let Some(url) = std::env::var("TIDEGATE_GATE_API_URL").ok().filter(|url| !url.is_empty()) {
            crate::global::endpoint(&url)
                .map_err(|wrong| Refusal::new(format!("TIDEGATE_GATE_API_URL cannot be used: {wrong}")))?;
            return Ok(url);
        }
        let endpoint = signed::lambda(&self.aws, self.region()?);
        let url = format!("{endpoint}/2021-10-31/functions/{}/url", self.function);
        let (status, body) = self.send("GET", &url, String::new()).await?;
        match (status, body["FunctionUrl"].as_str()) {
            (200, Some(url)) => Ok(url.to_owned()),
            (403, _) => bail!(
                Refusal::new(format!("you may not ask for the URL of {}{}", self.function, said(&body))).remedy(
                    "have the policy in the stack's output ApproverPolicyArn attached to you, or set TIDEGATE_GATE_API_URL to the stack's output GateApiUrl"
                )
            ),
            (404, _) => bail!(
                Refusal::new(format!("there is no function {} with a URL in this account and region", self.function))
                    .remedy("is Tidegate installed here, and under this name? see --stack, --region and --profile")
            ),
            (status, _) => bail!("the URL of {} could not be found: HTTP {status}{}", self.function, said(&body)),
        }
    }

    fn region(&self) -> anyhow::Result<&str> {
        self.aws.region().map(AsRef::as_ref).context("no AWS region is set")
    }

    /// Sends it; the answer is JSON, or nothing.
    async fn send(&self, method: &'static str, url: &str, body: String) -> anyhow::Result<(u16, Value)> {
        let region = self.region()?;
        let request = Request { service: SERVICE, region, method, url, kind: "application/json", body };
        let (status, bytes) = signed::send(&self.aws, &request, &self.function).await?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()))
    }
}

/// What an answer says beside its number, as AWS and the gate spell it.
fn said(body: &Value) -> String {
    let text = ["error", "Message", "message"].iter().find_map(|field| body[*field].as_str());
    text.map(|text| format!(": {text}")).unwrap_or_default()
}

#[async_trait]
impl Door for GateApi {
    async fn link(&self, wanted: &Wanted) -> anyhow::Result<Given> {
        let url = format!("{}/links", self.url().await?.trim_end_matches('/'));
        let body = serde_json::to_string(wanted)?;
        let (status, body) = self.send("POST", &url, body).await?;
        match status {
            200 => serde_json::from_value(body)
                .context("gate-api answered what this tidegate does not understand"),
            403 if body["error"].is_null() => bail!(
                Refusal::new(format!("you may not call {}{}", self.function, said(&body)))
                    .remedy("have the policy in the stack's output ApproverPolicyArn attached to you")
            ),
            status => bail!(Refusal::new(format!(
                "no link was made{}",
                match said(&body).as_str() {
                    "" => format!(": HTTP {status}"),
                    said => said.to_owned(),
                }
            ))),
        }
    }
}
