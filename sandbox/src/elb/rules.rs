//! Listener rules as the data plane sees them: conditions that are matched, and the one action that ends a rule.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use crate::protocol::wildcard;

/// A request, as far as rules can see it.
#[derive(Debug, Clone)]
pub(super) struct Seen<'a> {
    pub(super) method: &'a str,
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) headers: &'a http::HeaderMap,
    pub(super) source: IpAddr,
}

/// What a rule or listener does with a request in the end. Authentication actions before it are kept in the rule's data but
/// not performed: nothing local could log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Forward(Forward),
    FixedResponse { status: u16, content_type: String, body: String },
    Redirect { status: u16, location: RedirectTo },
}

/// A forward action.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Forward {
    /// Target groups and weights in the order of the rule.
    pub(super) groups: Vec<(String, u32)>,
    /// Seconds of the group stickiness cookie, when enabled.
    pub(super) sticky_secs: Option<u64>,
}

/// The parts of a redirect, with `#{host}` and the like still in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RedirectTo {
    protocol: String,
    host: String,
    port: String,
    path: String,
    query: String,
}

impl RedirectTo {
    pub(super) fn url(&self, seen: &Seen<'_>, listener_port: u16) -> String {
        let host = seen.host.split(':').next().unwrap_or_default();
        let port = listener_port.to_string();
        let fill = |text: &str| {
            text.replace("#{protocol}", "HTTP")
                .replace("#{host}", host)
                .replace("#{port}", &port)
                .replace("#{path}", seen.path.trim_start_matches('/'))
                .replace("#{query}", seen.query)
        };
        let query = fill(&self.query);
        let mark = if query.is_empty() { "" } else { "?" };
        format!(
            "{}://{}:{}{}{mark}{query}",
            fill(&self.protocol).to_lowercase(),
            fill(&self.host),
            fill(&self.port),
            fill(&self.path)
        )
    }
}

/// The last action by `Order`, which is the one that ends the rule.
pub(super) fn outcome(actions: &[Value]) -> Option<Outcome> {
    let last = actions.iter().max_by_key(|action| action["Order"].as_i64().unwrap_or(i64::MAX))?;
    match last["Type"].as_str()? {
        "forward" => Some(Outcome::Forward(forward(last))),
        "fixed-response" => {
            let config = &last["FixedResponseConfig"];
            Some(Outcome::FixedResponse {
                status: text(config, "StatusCode", "200").parse().unwrap_or(200),
                content_type: text(config, "ContentType", "text/plain"),
                body: text(config, "MessageBody", ""),
            })
        }
        "redirect" => {
            let config = &last["RedirectConfig"];
            Some(Outcome::Redirect {
                status: if config["StatusCode"] == "HTTP_301" { 301 } else { 302 },
                location: RedirectTo {
                    protocol: text(config, "Protocol", "#{protocol}"),
                    host: text(config, "Host", "#{host}"),
                    port: text(config, "Port", "#{port}"),
                    path: text(config, "Path", "/#{path}"),
                    query: text(config, "Query", "#{query}"),
                },
            })
        }
        _ => None,
    }
}

/// The target groups of a forward action, however it was written.
pub(super) fn forward(action: &Value) -> Forward {
    let config = &action["ForwardConfig"];
    let mut groups: Vec<(String, u32)> = (config["TargetGroups"].as_array().into_iter().flatten())
        .filter_map(|group| {
            let weight = group["Weight"].as_u64().unwrap_or(1);
            Some((group["TargetGroupArn"].as_str()?.to_owned(), u32::try_from(weight).ok()?))
        })
        .collect();
    if groups.is_empty()
        && let Some(arn) = action["TargetGroupArn"].as_str()
    {
        groups.push((arn.to_owned(), 1));
    }
    let stickiness = &config["TargetGroupStickinessConfig"];
    let sticky_secs =
        (stickiness["Enabled"] == true).then(|| stickiness["DurationSeconds"].as_u64().unwrap_or(3600));
    Forward { groups, sticky_secs }
}

/// Whether all conditions of a rule hold.
pub(super) fn matches(conditions: &[Value], seen: &Seen<'_>) -> bool {
    conditions.iter().all(|condition| holds(condition, seen))
}

fn holds(condition: &Value, seen: &Seen<'_>) -> bool {
    match condition["Field"].as_str().unwrap_or_default() {
        "path-pattern" => any(condition, "PathPatternConfig", |value| wildcard::matches(value, seen.path)),
        "host-header" => {
            let host = seen.host.split(':').next().unwrap_or_default().to_lowercase();
            any(condition, "HostHeaderConfig", |value| wildcard::matches(&value.to_lowercase(), &host))
        }
        "http-request-method" => any(condition, "HttpRequestMethodConfig", |value| value == seen.method),
        "http-header" => {
            let name = condition["HttpHeaderConfig"]["HttpHeaderName"].as_str().unwrap_or_default();
            let present: Vec<String> = seen
                .headers
                .get_all(name)
                .iter()
                .filter_map(|value| Some(value.to_str().ok()?.to_lowercase()))
                .collect();
            any(condition, "HttpHeaderConfig", |value| {
                present.iter().any(|header| wildcard::matches(&value.to_lowercase(), header))
            })
        }
        "query-string" => query_string(&condition["QueryStringConfig"]["Values"], seen.query),
        "source-ip" => any(condition, "SourceIpConfig", |value| in_network(value, seen.source)),
        // An unknown field cannot hold: better a rule that is never taken than one taken by mistake.
        _ => false,
    }
}

fn any(condition: &Value, config: &str, test: impl Fn(&str) -> bool) -> bool {
    let values = condition[config]["Values"].as_array().or_else(|| condition["Values"].as_array());
    values.into_iter().flatten().filter_map(Value::as_str).any(test)
}

fn query_string(values: &Value, query: &str) -> bool {
    let pairs: Vec<(&str, &str)> =
        query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
    values.as_array().into_iter().flatten().any(|wanted| {
        let key = wanted["Key"].as_str();
        let value = wanted["Value"].as_str().unwrap_or_default();
        pairs
            .iter()
            .any(|(k, v)| key.is_none_or(|key| wildcard::matches(key, k)) && wildcard::matches(value, v))
    })
}

fn in_network(cidr: &str, address: IpAddr) -> bool {
    let (network, bits) = cidr.split_once('/').unwrap_or((cidr, "32"));
    let (Ok(network), Ok(bits), IpAddr::V4(address)) =
        (network.parse::<Ipv4Addr>(), bits.parse::<u32>(), address)
    else {
        return false;
    };
    let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits)).unwrap_or(0);
    u32::from(network) & mask == u32::from(address) & mask
}

fn text(config: &Value, member: &str, default: &str) -> String {
    config[member].as_str().unwrap_or(default).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(condition: &Value, expected: bool) {
        let mut headers = http::HeaderMap::new();
        headers.insert("x-canary", "Yes-please".parse().unwrap());
        let seen = Seen {
            method: "GET",
            host: "Shop.Example.com:8080",
            path: "/api/v1/things",
            query: "debug=1&x=y",
            headers: &headers,
            source: IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        assert_eq!(matches(std::slice::from_ref(condition), &seen), expected, "{condition}");
    }

    #[test]
    fn conditions() {
        check(&json!({"Field": "path-pattern", "Values": ["/api/*"]}), true);
        check(&json!({"Field": "path-pattern", "PathPatternConfig": {"Values": ["/API/*"]}}), false);
        check(&json!({"Field": "host-header", "Values": ["*.example.COM"]}), true);
        check(&json!({"Field": "host-header", "HostHeaderConfig": {"Values": ["other.com"]}}), false);
        check(
            &json!({"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-Canary", "Values": ["yes*"]}}),
            true,
        );
        check(
            &json!({"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-Other", "Values": ["*"]}}),
            false,
        );
        check(
            &json!({"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["POST"]}}),
            false,
        );
        let query = |key: &str, value: &str| json!({"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": key, "Value": value}]}});
        check(&query("debug", "1"), true);
        check(&query("debug", "2"), false);
        check(&json!({"Field": "source-ip", "SourceIpConfig": {"Values": ["127.0.0.0/8"]}}), true);
        check(&json!({"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8"]}}), false);
        check(&json!({"Field": "something-new", "Values": ["*"]}), false);
    }

    #[test]
    fn the_action_with_the_highest_order_ends_the_rule() {
        let actions = [
            json!({"Type": "forward", "Order": 2, "TargetGroupArn": "a"}),
            json!({"Type": "authenticate-oidc", "Order": 1}),
        ];
        let Some(Outcome::Forward(forward)) = outcome(&actions) else { panic!("a forward") };
        assert_eq!(forward.groups, [("a".to_owned(), 1)]);
    }
}
