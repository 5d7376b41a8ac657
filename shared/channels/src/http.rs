//! One request over HTTPS, its answer, and what it means when it is no good one. No URL is shown: some of them are the secret.

use std::sync::OnceLock;
use std::time::Duration;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Connector, tls};
use aws_smithy_runtime_api::client::http::{HttpConnector as _, HttpConnectorSettings, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use serde_json::Value;
use tidegate_core::notify::NotSent;

/// How long a request and its answer may take. A message takes six requests at most (the first one to GitHub, by an app), and is claimed for longer than that.
const LIMIT: Duration = Duration::from_secs(4);
/// What is read of an answer, bytes.
const LARGEST_ANSWER: usize = 256 * 1024;
/// A receiver that asks for a longer pause is called again after this one, seconds.
const LONGEST_PAUSE_SECS: u32 = 3600;

/// The client.
#[derive(Debug, Default)]
pub struct Http(OnceLock<SharedHttpConnector>);

/// A request.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// Whom it is for, in errors: `Slack`.
    pub(crate) whom: &'a str,
    pub(crate) method: &'static str,
    pub(crate) url: &'a str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Option<String>,
}

impl<'a> Request<'a> {
    pub(crate) fn post(whom: &'a str, url: &'a str, body: &Value) -> Self {
        let headers = vec![("content-type", "application/json; charset=utf-8".to_owned())];
        Self { whom, method: "POST", url, headers, body: Some(body.to_string()) }
    }

    pub(crate) fn get(whom: &'a str, url: &'a str) -> Self {
        Self { whom, method: "GET", url, headers: Vec::new(), body: None }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// How long the receiver asks not to be called, seconds.
    pub(crate) retry_after_secs: Option<u32>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Whether it was taken.
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// An answer that is no success, as an error: with what the receiver says, cut short, when it says something.
    pub(crate) fn refusal(&self, whom: &str, said: Option<&str>) -> NotSent {
        let status = self.status;
        let said = said.map(|said| tidegate_core::text::visible_line(said).into_owned()).unwrap_or_default();
        let said = tidegate_core::text::beginning(&said, 200);
        let why = match (status, said.is_empty()) {
            (429, _) => format!("{whom} takes no more messages for a moment (HTTP 429)"),
            (_, true) => format!("{whom} refused the message (HTTP {status})"),
            (_, false) => format!("{whom} refused the message (HTTP {status}: {said})"),
        };
        NotSent { retry_after_secs: self.retry_after_secs, ..NotSent::new(why) }
    }
}

/// Whether an address may be called: encrypted, or on this very machine.
pub(crate) fn is_address(url: &str) -> bool {
    let host = |rest: &str| rest.split(['/', '?', '#']).next().unwrap_or_default().to_owned();
    if let Some(rest) = url.strip_prefix("https://") {
        return !host(rest).is_empty() && !host(rest).contains('@');
    }
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let host = host(rest);
    ["127.0.0.1", "localhost", "[::1]"]
        .iter()
        .any(|local| host.strip_prefix(local).is_some_and(|port| port.is_empty() || port.starts_with(':')))
}

impl Http {
    /// Sends a request. What is answered is an answer, whatever its status; an error when none came.
    pub(crate) async fn send(&self, request: Request<'_>) -> Result<Answer, NotSent> {
        let whom = request.whom.to_owned();
        if !is_address(request.url) {
            let why = format!("the address of {whom} is no https:// address");
            return Err(NotSent::new(why).remedy("Correct it in Tidegate's notification secret."));
        }
        let answer = tokio::time::timeout(LIMIT, self.call(request)).await;
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(why)) => Err(NotSent::new(format!("{whom} could not be reached: {why}"))),
            Err(_) => Err(NotSent::new(format!("{whom} did not answer within {} s", LIMIT.as_secs()))),
        }
    }

    async fn call(&self, request: Request<'_>) -> Result<Answer, String> {
        let mut http = HttpRequest::new(request.body.map_or_else(SdkBody::empty, SdkBody::from));
        http.set_method(request.method).map_err(|_| "the request could not be made".to_owned())?;
        http.set_uri(request.url).map_err(|_| "its address is no address".to_owned())?;
        http.headers_mut().insert("user-agent", "tidegate");
        for (name, value) in request.headers {
            if http.headers_mut().try_insert(name, value).is_err() {
                return Err(format!("the {name} header cannot hold what the secret says"));
            }
        }
        let answer = self.0.get_or_init(connector).call(http).await;
        let answer = answer.map_err(|error| unreachable(&error))?;
        let status = answer.status().as_u16();
        let retry_after_secs = retry_after(|name| answer.headers().get(name));
        let mut body = ByteStream::new(answer.into_body());
        let mut bytes = Vec::new();
        while let Some(more) = body.next().await {
            bytes.extend_from_slice(&more.map_err(|_| "the answer broke off".to_owned())?);
            if bytes.len() > LARGEST_ANSWER {
                return Err("its answer is too long".to_owned());
            }
        }
        Ok(Answer { status, retry_after_secs, body: bytes })
    }
}

/// `Retry-After` in seconds; GitHub also says when its hour begins anew.
fn retry_after<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<u32> {
    let asked = header("retry-after").and_then(|secs| secs.trim().parse::<u32>().ok());
    let used_up = header("x-ratelimit-remaining") == Some("0");
    let reset = || {
        let at: i64 = header("x-ratelimit-reset").filter(|_| used_up)?.parse().ok()?;
        u32::try_from((at - jiff::Timestamp::now().as_second()).max(1)).ok()
    };
    asked.or_else(reset).map(|secs| secs.min(LONGEST_PAUSE_SECS))
}

/// Why there was no connection, without the address.
fn unreachable(error: &aws_smithy_runtime_api::client::result::ConnectorError) -> String {
    let mut causes = Vec::new();
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    let all = causes.join(": ");
    let said = |words: &[&str]| words.iter().any(|word| all.contains(word));
    if said(&["dns error", "failed to lookup"]) {
        "its host name is not known".to_owned()
    } else if said(&["Connection refused"]) {
        "nothing listens at its address".to_owned()
    } else if said(&["certificate", "UnknownIssuer", "TLS", "tls"]) {
        "no encrypted connection could be made".to_owned()
    } else if said(&["timed out", "timeout"]) {
        "the connection took too long".to_owned()
    } else {
        "the connection was lost".to_owned()
    }
}

fn connector() -> SharedHttpConnector {
    let mode = tls::rustls_provider::CryptoMode::AwsLc;
    let settings = HttpConnectorSettings::builder().connect_timeout(LIMIT).build();
    let connector = Connector::builder()
        .connector_settings(settings)
        .proxy_config(ProxyConfig::from_env())
        .tls_provider(tls::Provider::Rustls(mode))
        .build();
    SharedHttpConnector::new(connector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_encrypted_addresses_and_this_machine_are_called() {
        for good in [
            "https://hooks.example.com/x?sig=y",
            "http://127.0.0.1:8080/x",
            "http://localhost",
            "http://[::1]:9/",
        ] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "http://hooks.example.com/",
            "http://127.0.0.1.example.com/",
            "http://localhost.example.com",
            "https://",
            "https://user@example.com/",
            "ftp://127.0.0.1",
            "",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }

    #[test]
    fn a_receiver_says_how_long_it_wants_to_be_left_alone() {
        let asked = |pairs: &[(&str, &'static str)]| {
            let pairs: Vec<_> = pairs.to_vec();
            retry_after(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| *value))
        };
        assert_eq!(asked(&[("retry-after", "30")]), Some(30));
        assert_eq!(asked(&[("retry-after", "999999")]), Some(3600));
        assert_eq!(asked(&[("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")]), None);
        assert_eq!(asked(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1")]), Some(1));
        assert_eq!(asked(&[("x-ratelimit-remaining", "5"), ("x-ratelimit-reset", "1")]), None);
    }

    #[tokio::test]
    async fn an_address_that_cannot_be_reached_is_told_without_being_shown() {
        let http = Http::default();
        let told = async |url: &str| http.send(Request::get("Teams", url)).await.unwrap_err();
        let nobody = told("http://127.0.0.1:1/?sig=secret").await;
        assert_eq!(nobody.why, "Teams could not be reached: nothing listens at its address");
        let open = told("http://example.com/?sig=secret").await;
        assert_eq!(open.why, "the address of Teams is no https:// address");
        assert!(open.remedy.is_some());
    }
}

/// Messages for the tests of what is made of them.
#[cfg(test)]
pub(crate) mod tests_support {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use tidegate_core::actor::Actor;
    use tidegate_core::change::Change;
    use tidegate_core::history::Event;
    use tidegate_core::ids::{Digest, Image, RepositoryName, Tag};
    use tidegate_core::intent::Provenance;
    use tidegate_core::notify::{About, Mark, Message, Notice, moment};
    use tidegate_core::outcome::{Cause, Outcome};
    use tidegate_core::policy::Receiver;

    pub(crate) fn of(to: Receiver, events: Vec<Event>) -> Message {
        let image = Image {
            registry: "111122223333.dkr.ecr.eu-central-1.amazonaws.com".into(),
            repository: RepositoryName::new("shop/checkout").unwrap(),
            digest: Digest::new(format!("sha256:{}", "a".repeat(64))).unwrap(),
            tag: Some(Tag::new("main-2").unwrap()),
        };
        let about = About {
            release: "01k9zq3v8wd4x5n6p7r8s9t0ab".parse().unwrap(),
            service: "checkout".parse().unwrap(),
            account: "111122223333".parse().unwrap(),
            region: "eu-central-1".parse().unwrap(),
            target: "ECS service prod/checkout".into(),
            label: image.label(),
            change: Change::one("app".parse().unwrap(), image),
            requested_by: "push of main-2".into(),
            provenance: Provenance { commit: Some("c".repeat(40)), ..Provenance::default() },
            plan: Some("p".repeat(64)),
        };
        let at: Timestamp = "2026-03-02T09:00:00Z".parse().unwrap();
        let mut notices: Vec<Notice> = (1..)
            .zip(events)
            .map(|(version, event)| Notice {
                mark: Mark { version, index: 0 },
                moment: moment(&event).unwrap(),
                at,
                actor: Actor::Tidegate,
                event,
                measured: None,
            })
            .collect();
        let notice = notices.pop().unwrap();
        Message { to, about, notice, before: notices, mention: Vec::new(), memory: BTreeMap::new() }
    }

    pub(crate) fn message(to: Receiver, why: &str) -> Message {
        let cause = Box::new(Cause::Inconclusive { detail: why.into() });
        of(to, vec![Event::Started, Event::RollingBack { cause }])
    }

    pub(crate) fn ended(to: Receiver, needs: Option<&str>) -> Message {
        let outcome = match needs {
            None => Outcome::Promoted,
            Some(needs) => {
                Outcome::Failed { cause: Cause::Deployment { reason: "gone".into() }, needs: needs.into() }
            }
        };
        of(to, vec![Event::Ended { outcome: Box::new(outcome), restore_pending: None }])
    }
}
