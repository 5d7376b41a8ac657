//! What AWS hands out by a link instead of an answer: fetched whole, up to a limit.
//!
//! The SDK has no call for it. Which authorities are trusted matters little, because whoever asks for such a document compares its digest:
//! so these are the operating system's, read when the first link is followed, and not Amazon's alone.

use std::sync::OnceLock;
use std::time::Duration;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Connector, tls};
use aws_smithy_runtime_api::client::http::{HttpConnector as _, HttpConnectorSettings, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use tidegate_core::fault::{ErrorKind, PortError};

/// How long a document may take.
const LIMIT: Duration = Duration::from_millis(2500);

/// Fetches documents.
#[derive(Debug, Default)]
pub struct Downloads(OnceLock<SharedHttpConnector>);

impl Downloads {
    /// By way of this connector, instead of the network.
    pub fn by(connector: SharedHttpConnector) -> Self {
        Self(OnceLock::from(connector))
    }

    /// The document at `url`, which `operation` answered. A larger one than `max_bytes` is [`ErrorKind::Invalid`]. No error shows the link:
    /// whoever has it may fetch the document.
    pub async fn get(
        &self,
        operation: &'static str,
        url: &str,
        max_bytes: usize,
    ) -> Result<Vec<u8>, PortError> {
        let fetched = tokio::time::timeout(LIMIT, self.fetch(url, max_bytes)).await;
        fetched.unwrap_or_else(|_| Err(Failed::Unreachable(format!("no answer within {LIMIT:?}")))).map_err(
            |failed| {
                let (kind, code, why) = match failed {
                    Failed::Unreachable(why) => (ErrorKind::Unavailable, "DownloadFailed", why),
                    Failed::Refused(status) => {
                        (ErrorKind::Unavailable, "DownloadRefused", format!("HTTP {status}"))
                    }
                    Failed::Unusable(why) => (ErrorKind::Invalid, "UnexpectedAnswer", why),
                };
                PortError::new(kind, operation, code, format!("the document behind its link: {why}"))
            },
        )
    }

    async fn fetch(&self, url: &str, max_bytes: usize) -> Result<Vec<u8>, Failed> {
        let mut request = HttpRequest::new(SdkBody::empty());
        request.set_uri(url).map_err(|_| Failed::Unusable("it is no link".into()))?;
        let answer = self.0.get_or_init(connector).call(request).await;
        let answer = answer.map_err(|error| Failed::Unreachable(error.to_string()))?;
        if !answer.status().is_success() {
            return Err(Failed::Refused(answer.status().as_u16()));
        }
        let mut body = ByteStream::new(answer.into_body());
        let mut bytes = Vec::new();
        while let Some(more) = body.next().await {
            bytes.extend_from_slice(&more.map_err(|error| Failed::Unreachable(error.to_string()))?);
            if bytes.len() > max_bytes {
                return Err(Failed::Unusable(format!("it has more than {max_bytes} bytes")));
            }
        }
        Ok(bytes)
    }
}

enum Failed {
    Unreachable(String),
    Refused(u16),
    Unusable(String),
}

fn connector() -> SharedHttpConnector {
    let mode = tls::rustls_provider::CryptoMode::AwsLc;
    let settings = HttpConnectorSettings::builder().connect_timeout(LIMIT).read_timeout(LIMIT).build();
    let connector = Connector::builder()
        .connector_settings(settings)
        .proxy_config(ProxyConfig::from_env())
        .tls_provider(tls::Provider::Rustls(mode))
        .build();
    SharedHttpConnector::new(connector)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A server that gives one answer.
    async fn server(answer: &'static str) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/layer?X-Amz-Signature=secret", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        url
    }

    async fn get(answer: &'static str) -> Result<Vec<u8>, PortError> {
        Downloads::default().get("ecr:GetDownloadUrlForLayer", &server(answer).await, 5).await
    }

    #[tokio::test]
    async fn a_document_is_fetched_whole_or_not_at_all() {
        let hello = get("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
        assert_eq!(hello.unwrap(), b"hello");
        let long = get("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello!").await.unwrap_err();
        assert_eq!(long.kind, ErrorKind::Invalid);
        let cut = get("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").await.unwrap_err();
        assert_eq!(cut.kind, ErrorKind::Unavailable);
    }

    #[tokio::test]
    async fn what_is_not_given_out_is_unavailable_and_the_link_is_not_told() {
        let refused = get("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await.unwrap_err();
        let nobody = Downloads::default().get("ecr", "http://127.0.0.1:1/?X-Amz-Signature=secret", 5).await;
        let nonsense = Downloads::default().get("ecr", "no link: secret", 5).await.unwrap_err();
        let nobody = nobody.unwrap_err();
        assert_eq!((refused.kind, nobody.kind), (ErrorKind::Unavailable, ErrorKind::Unavailable));
        assert_eq!(nonsense.kind, ErrorKind::Invalid);
        for error in [refused, nobody, nonsense] {
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
