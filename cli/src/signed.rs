//! Calls of AWS that are signed here, where an SDK of its own for one call would be a long build and a large binary: Lambda's own API and function
//! URLs, and IAM.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Connector, tls};
use aws_smithy_runtime_api::client::http::{HttpConnector as _, HttpConnectorSettings};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use tidegate_aws::SdkConfig;

use crate::fault::Refusal;

/// How long an answer may take: a function may have to start first.
const LIMIT: Duration = Duration::from_secs(15);
const LONGEST_ANSWER: usize = 256 * 1024;

/// A request before it is signed.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// What it is signed for: `lambda`, `iam`.
    pub(crate) service: &'static str,
    pub(crate) region: &'a str,
    pub(crate) method: &'static str,
    pub(crate) url: &'a str,
    /// The body's media type.
    pub(crate) kind: &'static str,
    pub(crate) body: String,
}

/// The endpoint of Lambda's API in a region, without a slash at its end.
pub(crate) fn lambda(aws: &SdkConfig, region: &str) -> String {
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    let of_region = || format!("https://lambda.{region}.{domain}");
    aws.endpoint_url().map_or_else(of_region, |url| url.trim_end_matches('/').to_owned())
}

/// IAM's endpoint and the region it is signed for. There is one in each partition: <https://docs.aws.amazon.com/general/latest/gr/iam-service.html>.
pub(crate) fn iam(aws: &SdkConfig, region: &str) -> (String, &'static str) {
    let (own, signed_for) = if region.starts_with("cn-") {
        ("https://iam.cn-north-1.amazonaws.com.cn", "cn-north-1")
    } else if region.starts_with("us-gov-") {
        ("https://iam.us-gov.amazonaws.com", "us-gov-west-1")
    } else {
        ("https://iam.amazonaws.com", "us-east-1")
    };
    let endpoint = aws.endpoint_url().unwrap_or(own).trim_end_matches('/').to_owned();
    (format!("{endpoint}/"), signed_for)
}

/// Sends it; the answer's status and body. `whom` is what did not answer, when nothing does.
pub(crate) async fn send(
    aws: &SdkConfig,
    request: &Request<'_>,
    whom: &str,
) -> anyhow::Result<(u16, Vec<u8>)> {
    let unreachable = |why: String| {
        Refusal::new(format!("{whom} could not be reached: {why}"))
            .remedy("check the network, the region and the endpoint, then try again")
    };
    let http = signed(aws, request).await?;
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
        Ok((status, bytes))
    };
    match tokio::time::timeout(LIMIT, exchange).await {
        Ok(answer) => Ok(answer.map_err(unreachable)?),
        Err(_) => Err(unreachable(format!("it did not answer within {} s", LIMIT.as_secs())).into()),
    }
}

async fn signed(aws: &SdkConfig, request: &Request<'_>) -> anyhow::Result<HttpRequest> {
    let provider = aws.credentials_provider().context("no AWS credentials are configured")?;
    let credentials = provider.provide_credentials().await.map_err(|error| {
        Refusal::new(format!("there are no AWS credentials: {error}"))
            .remedy("set AWS_PROFILE or --profile, or sign in: aws sso login")
    })?;
    let identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(request.region)
        .name(request.service)
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .context("failed to sign the request")?
        .into();
    let headers = [("content-type", request.kind)];
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
