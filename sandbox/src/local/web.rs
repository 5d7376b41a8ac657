//! Function URLs as they are reached on this machine: a link in a message of Tidegate, opened by a browser or by a program.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::Local;

/// What came back, and how long it took.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The status code.
    pub status: StatusCode,
    /// The page.
    pub body: String,
    /// From the request to the last byte.
    pub took: Duration,
}

impl Local {
    /// `https://ID.lambda-url.REGION.on.aws/…` as `http://ID.lambda-url.REGION.localhost:PORT/…`; browsers resolve every name below
    /// `localhost` to this machine. Every other address stays as it is.
    pub fn reachable(&self, url: &str) -> String {
        reachable(url, self.endpoint.address().port())
    }

    /// The same for clients that resolve no names below `localhost`: `http://127.0.0.1:PORT/_aws/lambda-url/ID/`. `None` for what is no function URL.
    pub fn plainly(&self, url: &str) -> Option<String> {
        let id = url.strip_prefix("https://")?.split_once(".lambda-url.")?.0;
        Some(format!("{}/_aws/lambda-url/{id}", self.endpoint.url()))
    }

    /// Sends a request to an address of [`Local::reachable`]. A form is sent when there is one.
    ///
    /// # Errors
    /// When the address is not one, or nothing answers.
    pub async fn open(&self, url: &str, form: Option<String>) -> Result<Opened> {
        let uri: http::Uri =
            self.reachable(url).parse().with_context(|| format!("{url} is not an address"))?;
        let authority = uri.authority().with_context(|| format!("{url} names no host"))?.to_string();
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        // The name stays in the Host header; not every resolver knows names below localhost.
        let request = Request::builder()
            .method(if form.is_some() { Method::POST } else { Method::GET })
            .uri(format!("{}{path}", self.endpoint.url()))
            .header(http::header::HOST, authority)
            .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(form.unwrap_or_default())))
            .context("the request cannot be made")?;
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let began = Instant::now();
        let response = client.request(request).await.with_context(|| format!("{url} does not answer"))?;
        let status = response.status();
        let body = response.into_body().collect().await.context("the answer broke off")?.to_bytes();
        Ok(Opened { status, body: String::from_utf8_lossy(&body).into_owned(), took: began.elapsed() })
    }
}

/// A function URL as it is reached at this port of this machine; every other address stays as it is.
pub fn reachable(url: &str, port: u16) -> String {
    let Some((host, rest)) = url.strip_prefix("https://").and_then(|rest| rest.split_once(".on.aws")) else {
        return url.to_owned();
    };
    if !host.contains(".lambda-url.") || host.contains('/') {
        return url.to_owned();
    }
    format!("http://{host}.localhost:{port}{rest}")
}

#[cfg(test)]
mod tests {
    use super::reachable;

    #[test]
    fn a_function_url_is_reached_below_localhost_and_nothing_else_is_touched() {
        let there = "https://abc.lambda-url.eu-central-1.on.aws/approve/1?token=2";
        assert_eq!(
            reachable(there, 8080),
            "http://abc.lambda-url.eu-central-1.localhost:8080/approve/1?token=2"
        );
        for other in
            ["https://example.com/a.lambda-url.b.on.aws/", "http://127.0.0.1:1/", "https://x.on.aws/"]
        {
            assert_eq!(reachable(other, 8080), other);
        }
    }
}
