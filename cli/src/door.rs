//! The way to `gate-api`, the function behind IAM that makes links to the dashboard. The request is signed as every call of AWS is, so that AWS
//! says who asks: what signs links never leaves the account's secret.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Connector, tls};
use aws_smithy_runtime_api::client::http::{HttpConnector as _, HttpConnectorSettings};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_aws::SdkConfig;
use tidegate_core::ids::{ReleaseId, ServiceName};

use crate::fault::Refusal;

/// How long an answer may take: the function may have to start first.
const LIMIT: Duration = Duration::from_secs(15);
const LONGEST_ANSWER: usize = 64 * 1024;
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

/// A request before it is signed.
struct Request<'a> {
    method: &'static str,
    url: &'a str,
    body: String,
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
        let region = self.region()?;
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let endpoint = self
            .aws
            .endpoint_url()
            .map_or_else(|| format!("https://lambda.{region}.{domain}"), str::to_owned);
        let url = format!("{}/2021-10-31/functions/{}/url", endpoint.trim_end_matches('/'), self.function);
        let (status, body) = self.send(Request { method: "GET", url: &url, body: String::new() }).await?;
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

    async fn signed(&self, request: &Request<'_>) -> anyhow::Result<HttpRequest> {
        let provider = self.aws.credentials_provider().context("no AWS credentials are configured")?;
        let credentials = provider.provide_credentials().await.map_err(|error| {
            Refusal::new(format!("there are no AWS credentials: {error}"))
                .remedy("set AWS_PROFILE or --profile, or sign in: aws sso login")
        })?;
        let identity = credentials.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region()?)
            .name(SERVICE)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .context("failed to sign the request")?
            .into();
        let headers = [("content-type", "application/json")];
        let body = SignableBody::Bytes(request.body.as_bytes());
        let signable = SignableRequest::new(request.method, request.url, headers.into_iter(), body)
            .context("failed to sign the request")?;
        let (instructions, _) = sign(signable, &params).context("failed to sign the request")?.into_parts();
        let mut http = HttpRequest::new(SdkBody::from(request.body.clone()));
        http.set_method(request.method).context("the request could not be made")?;
        http.set_uri(request.url).context("the request could not be made")?;
        for (name, value) in headers.into_iter().chain(instructions.headers()) {
            http.headers_mut()
                .try_insert(name.to_owned(), value.to_owned())
                .context("the request could not be made")?;
        }
        Ok(http)
    }

    /// Sends it; the answer is JSON, or nothing.
    async fn send(&self, request: Request<'_>) -> anyhow::Result<(u16, Value)> {
        let unreachable = |why: String| {
            Refusal::new(format!("{} could not be reached: {why}", self.function))
                .remedy("check the network, the region and the endpoint, then try again")
        };
        let http = self.signed(&request).await?;
        let settings = HttpConnectorSettings::builder().connect_timeout(LIMIT).build();
        let connector = Connector::builder()
            .connector_settings(settings)
            .proxy_config(ProxyConfig::from_env())
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc))
            .build();
        let exchange = async {
            let answer = connector.call(http).await.map_err(|_| "nothing answers there".to_owned())?;
            let status = answer.status().as_u16();
            let mut body = ByteStream::new(answer.into_body());
            let mut bytes = Vec::new();
            while let Some(more) = body.next().await {
                bytes.extend_from_slice(&more.map_err(|_| "the answer broke off".to_owned())?);
                if bytes.len() > LONGEST_ANSWER {
                    return Err("the answer is too long".to_owned());
                }
            }
            Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()))
        };
        match tokio::time::timeout(LIMIT, exchange).await {
            Ok(answer) => Ok(answer.map_err(unreachable)?),
            Err(_) => Err(unreachable(format!("it did not answer within {} s", LIMIT.as_secs())).into()),
        }
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
        let (status, body) = self.send(Request { method: "POST", url: &url, body }).await?;
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
