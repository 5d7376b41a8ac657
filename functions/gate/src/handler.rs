//! Decode, one call, encode.

use http::{Method, StatusCode};
use lambda_runtime::LambdaEvent;
use serde_json::Value;
use tidegate_core::fault::PortError;
use tidegate_pages::{Message, Tone};

use crate::act::{self, Verb};
use crate::call::{Call, IdentityChecks, Reply};
use crate::gate::{Door, Gate};
use crate::{api, approve, dashboard, hooks, slack, status};

/// Handles one request. Every request is answered; nothing is thrown back at Lambda, which would answer 502.
pub async fn handle(gate: &Gate, event: LambdaEvent<Value>) -> Value {
    let checks = match gate.door {
        Door::Public(_) => IdentityChecks::Nobody,
        Door::Api(_) => IdentityChecks::Aws,
    };
    let reply = match Call::decode(event.payload, checks) {
        Ok(call) => {
            let reply = answered(gate, &call).await;
            // Neither query nor body: tokens are in them. A path may hold Docker Hub's secret.
            tracing::info!(http.method = %call.method, http.route = route_name(&call.path), http.status = reply.status.as_u16(), "answered");
            if call.method == Method::HEAD { Reply { body: String::new(), ..reply } } else { reply }
        }
        Err(unreadable) => unreadable.into(),
    };
    reply.encode()
}

fn route_name(path: &str) -> &str {
    match path.split('/').nth(1) {
        Some(first @ ("approve" | "status" | "hooks" | "releases" | "services" | "links" | "slack")) => first,
        Some(_) | None => "none",
    }
}

async fn answered(gate: &Gate, call: &Call) -> Reply {
    routed(gate, call).await.unwrap_or_else(|error| {
        tracing::error!(error = %error, "the request could not be answered");
        let message =
            Message::new(Tone::Bad, "Not possible just now", "Nothing was changed. Try again in a minute.");
        Reply::message(StatusCode::SERVICE_UNAVAILABLE, &message)
    })
}

async fn routed(gate: &Gate, call: &Call) -> Result<Reply, PortError> {
    let segments: Vec<&str> = call.path.split('/').skip(1).collect();
    let reads = call.method == Method::GET || call.method == Method::HEAD;
    let posts = call.method == Method::POST;
    match (&gate.door, segments.as_slice()) {
        (Door::Public(keeper), ["approve", release]) => match (reads, posts) {
            (true, _) => approve::show(gate, keeper, call, release).await,
            (_, true) => approve::take(gate, keeper, call, release).await,
            (false, false) => Ok(Reply::method_not_allowed("GET, HEAD, POST")),
        },
        (Door::Public(keeper), ["status", release]) => {
            if reads {
                status::show(gate, keeper, call, release).await
            } else {
                Ok(Reply::method_not_allowed("GET, HEAD"))
            }
        }
        (Door::Public(keeper), ["services"]) if reads => dashboard::services(gate, keeper, call).await,
        (Door::Public(keeper), ["services", name]) if reads => {
            dashboard::service(gate, keeper, call, name).await
        }
        (Door::Public(keeper), ["releases", id]) if reads => dashboard::release(gate, keeper, call, id).await,
        (Door::Public(keeper), ["releases", id, verb]) => match Verb::of(verb) {
            Some(verb) if reads || posts => act::release(gate, keeper, call, id, verb, posts).await,
            Some(_) => Ok(Reply::method_not_allowed("GET, HEAD, POST")),
            None => Ok(Reply::nothing_here()),
        },
        (Door::Public(keeper), ["services", name, "rollback"]) if reads || posts => {
            act::service(gate, keeper, call, name, posts).await
        }
        (Door::Public(_), ["services", _, "rollback"]) => Ok(Reply::method_not_allowed("GET, HEAD, POST")),
        (Door::Public(_), ["services"] | ["services" | "releases", _]) => {
            Ok(Reply::method_not_allowed("GET, HEAD"))
        }
        (Door::Public(keeper), ["hooks", hook @ ..]) => match hooks::Hook::of(hook) {
            Some(hook) if posts => hooks::take(gate, keeper, call, hook).await,
            Some(_) => Ok(Reply::method_not_allowed("POST")),
            None => Ok(Reply::nothing_here()),
        },
        (Door::Public(keeper), ["slack", "actions"]) => {
            if posts {
                slack::take(gate, keeper, call).await
            } else {
                Ok(Reply::method_not_allowed("POST"))
            }
        }
        (Door::Api(desk), ["links"]) => {
            if posts {
                api::link(gate, desk, call).await
            } else {
                Ok(Reply::method_not_allowed("POST"))
            }
        }
        (Door::Api(_), ["releases", release, verb @ ("approve" | "reject")]) => {
            if posts {
                api::take(gate, call, release, *verb == "approve").await
            } else {
                Ok(Reply::method_not_allowed("POST"))
            }
        }
        (Door::Public(_), _) => Ok(Reply::nothing_here()),
        (Door::Api(_), _) => Ok(Reply::error(StatusCode::NOT_FOUND, "there is nothing here")),
    }
}
