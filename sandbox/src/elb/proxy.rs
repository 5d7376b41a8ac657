//! The data plane: accepts connections on a listener's port and carries each request to a target.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_TYPE, COOKIE, HOST, HeaderValue, LOCATION, SET_COOKIE, TRANSFER_ENCODING,
};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::model::Model;
use super::rules::{self, Forward, Outcome, Seen};
use super::stats::{Sent, Served, ServedBy};
use super::weights::Rotation;
use super::{Inner, lock};
use crate::ports::TargetHealth;

/// How long a client's connection may be idle. AWS's default is an hour; hyper's half minute would close connections
/// under clients that are about to use them.
const KEEP_ALIVE: Duration = Duration::from_secs(3600);

/// A listener at work.
pub(super) struct Plane {
    listener_arn: String,
    load_balancer: String,
    nodes: Mutex<Vec<Node>>,
    closed: watch::Sender<bool>,
}

/// One load balancer node: what it believes the rules are, and its turn in each of them.
struct Node {
    view: Arc<View>,
    coming: VecDeque<(Instant, Arc<View>)>,
    rotations: HashMap<String, Rotation>,
}

/// The rules of a listener in the order they are tried; the default rule is last and has no conditions.
pub(super) struct View {
    rules: Vec<ViewRule>,
}

struct ViewRule {
    arn: String,
    conditions: Vec<Value>,
    outcome: Option<Outcome>,
}

impl View {
    pub(super) fn of(model: &Model, listener_arn: &str) -> Self {
        let mut rules: Vec<_> = model.rules.iter().filter(|rule| rule.listener_arn == listener_arn).collect();
        rules.sort_by_key(|rule| rule.priority.unwrap_or(u32::MAX));
        let compiled = rules.into_iter().map(|rule| ViewRule {
            arn: rule.arn.clone(),
            conditions: rule.conditions.clone(),
            outcome: rules::outcome(&rule.actions),
        });
        Self { rules: compiled.collect() }
    }
}

impl Node {
    /// Takes over the changes that have reached this node.
    fn catch_up(&mut self, now: Instant) {
        while let Some((_, view)) = self.coming.pop_front_if(|(when, _)| *when <= now) {
            self.view = view;
        }
    }
}

impl Plane {
    pub(super) fn close(&self) {
        self.closed.send_replace(true);
    }
}

/// What was decided for a request.
enum Choice {
    Target { group: String, address: SocketAddr, in_flight: InFlight, cookie: Option<String> },
    NoTarget { group: Option<String> },
    Own(Response<Full<Bytes>>),
}

/// A request under way to a target, counted so that draining can be waited for.
struct InFlight {
    inner: Arc<Inner>,
    group: String,
    address: SocketAddr,
    generation: u64,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut model = self.inner.model();
        let group = model.target_group_mut(&self.group);
        let target = group.and_then(|group| {
            group.targets.iter_mut().find(|t| t.address == self.address && t.generation == self.generation)
        });
        if let Some(target) = target {
            target.in_flight = target.in_flight.saturating_sub(1);
        }
    }
}

impl Inner {
    /// Starts serving a listener.
    pub(super) fn serve(self: &Arc<Self>, listener_arn: &str, load_balancer: String, socket: TcpListener) {
        self.changed();
        let view = Arc::new(View::of(&self.model(), listener_arn));
        let node = || Node { view: view.clone(), coming: VecDeque::new(), rotations: HashMap::new() };
        let (closed, mut closing) = watch::channel(false);
        let plane = Arc::new(Plane {
            listener_arn: listener_arn.to_owned(),
            load_balancer,
            nodes: Mutex::new((0..self.options.nodes.max(1)).map(|_| node()).collect()),
            closed,
        });
        lock(&self.planes).insert(listener_arn.to_owned(), plane.clone());
        let inner = self.clone();
        self.runtime.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = socket.accept() => accepted,
                    _ = closing.wait_for(|closed| *closed) => return,
                };
                match accepted {
                    Ok((stream, peer)) => inner.connection(&plane, stream, peer),
                    // Out of file descriptors, mostly: wait for some to be closed.
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        });
    }

    /// Sends a listener's present rules to its nodes.
    pub(super) fn publish(&self, listener_arn: &str) {
        self.changed();
        let view = Arc::new(View::of(&self.model(), listener_arn));
        let Some(plane) = lock(&self.planes).get(listener_arn).cloned() else { return };
        let mut nodes = lock(&plane.nodes);
        let (now, count) = (Instant::now(), u32::try_from(nodes.len()).unwrap_or(u32::MAX));
        for (step, node) in (1..).zip(nodes.iter_mut()) {
            node.coming.push_back((now + self.options.weight_propagation * step / count, view.clone()));
        }
    }

    fn connection(self: &Arc<Self>, plane: &Arc<Plane>, stream: TcpStream, peer: SocketAddr) {
        let _ = stream.set_nodelay(true);
        let node = self.next_node.fetch_add(1, Ordering::Relaxed) % self.options.nodes.max(1);
        let (inner, plane) = (self.clone(), plane.clone());
        let mut closing = plane.closed.subscribe();
        self.runtime.spawn(async move {
            let service = service_fn(|request| {
                let (inner, plane) = (inner.clone(), plane.clone());
                async move { Ok::<_, Infallible>(inner.handle(&plane, node, peer, request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(KEEP_ALIVE)
                .serve_connection(TokioIo::new(stream), service);
            // An error here is a client that went away.
            tokio::select! {
                _ = connection => {}
                _ = closing.wait_for(|closed| *closed) => {}
            }
        });
    }

    async fn handle(
        self: &Arc<Self>,
        plane: &Plane,
        node: usize,
        peer: SocketAddr,
        request: Request<Incoming>,
    ) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let Ok(body) = body.collect().await else { return plain(StatusCode::BAD_REQUEST) };
        let choice = self.choose(plane, node, peer, &parts);
        let own = ServedBy::LoadBalancer;
        let (group, by, sent, target_time, mut response) = match choice {
            Choice::Own(response) => (None, own, Sent::Not, None, response),
            Choice::NoTarget { group } => {
                (group, own, Sent::Not, None, plain(StatusCode::SERVICE_UNAVAILABLE))
            }
            Choice::Target { group, address, in_flight, cookie } => {
                let started = Instant::now();
                let sent = self.send(plane, address, peer, parts, body.to_bytes()).await;
                drop(in_flight);
                match sent {
                    Ok(mut response) => {
                        if let Some(cookie) = cookie.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
                            response.headers_mut().append(SET_COOKIE, cookie);
                        }
                        (Some(group), ServedBy::Target, Sent::Taken, Some(started.elapsed()), response)
                    }
                    Err((status, sent)) => (Some(group), own, sent, None, plain(status)),
                }
            }
        };
        let version =
            response.headers().get("x-version").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let target_group = group.map(|arn| arn.rsplit(':').next().unwrap_or_default().to_owned());
        if by == ServedBy::LoadBalancer {
            response.headers_mut().insert("server", HeaderValue::from_static("awselb/2.0"));
        }
        self.served(&Served {
            at: Timestamp::now(),
            load_balancer: plane.load_balancer.clone(),
            target_group,
            status: response.status().as_u16(),
            by,
            sent,
            target_time,
            version,
        });
        response
    }

    /// Finds the rule, then the group, then the target.
    fn choose(
        self: &Arc<Self>,
        plane: &Plane,
        number: usize,
        peer: SocketAddr,
        request: &http::request::Parts,
    ) -> Choice {
        let seen = Seen {
            method: request.method.as_str(),
            host: request.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
            path: request.uri.path(),
            query: request.uri.query().unwrap_or_default(),
            headers: &request.headers,
            source: peer.ip(),
        };
        let mut nodes = lock(&plane.nodes);
        let node = &mut nodes[number];
        node.catch_up(Instant::now());
        let view = node.view.clone();
        let Some(rule) = view.rules.iter().find(|rule| rules::matches(&rule.conditions, &seen)) else {
            return Choice::NoTarget { group: None };
        };
        match &rule.outcome {
            None => Choice::NoTarget { group: None },
            Some(Outcome::FixedResponse { status, content_type, body }) => {
                let mut response = Response::new(Full::from(body.clone()));
                *response.status_mut() = StatusCode::from_u16(*status).unwrap_or(StatusCode::OK);
                if let Ok(kind) = HeaderValue::from_str(content_type) {
                    response.headers_mut().insert(CONTENT_TYPE, kind);
                }
                Choice::Own(response)
            }
            Some(Outcome::Redirect { status, location }) => {
                let mut response = plain(StatusCode::from_u16(*status).unwrap_or(StatusCode::FOUND));
                let port =
                    self.model().listener(&plane.listener_arn).map_or(80, |listener| listener.bound.port());
                if let Ok(url) = HeaderValue::from_str(&location.url(&seen, port)) {
                    response.headers_mut().insert(LOCATION, url);
                }
                Choice::Own(response)
            }
            Some(Outcome::Forward(forward)) => {
                let held = self.held_by_cookie(forward, request);
                let group = match held {
                    Some(group) => Some(group),
                    None => node.rotations.entry(rule.arn.clone()).or_default().next(&forward.groups),
                };
                drop(nodes);
                let Some(group) = group else { return Choice::NoTarget { group: None } };
                let cookie = forward
                    .sticky_secs
                    .map(|secs| format!("AWSALBTG={}; Max-Age={secs}; Path=/", cookie_of(&group)));
                match self.take_target(&group) {
                    Some(in_flight) => {
                        Choice::Target { address: in_flight.address, group, in_flight, cookie }
                    }
                    // Between the choice of the group and that of its target the rule was changed and the group was emptied. AWS takes seconds for
                    // what happened here within a moment.
                    None if !Arc::ptr_eq(&view, &lock(&plane.nodes)[number].view) => {
                        self.choose(plane, number, peer, request)
                    }
                    // Never another group: AWS does not fail over between the groups of a rule.
                    None => Choice::NoTarget { group: Some(group) },
                }
            }
        }
    }

    /// The group a client is held to by its stickiness cookie.
    fn held_by_cookie(&self, forward: &Forward, request: &http::request::Parts) -> Option<String> {
        forward.sticky_secs?;
        let cookies = request.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let held = (cookies.flat_map(|line| line.split(';')))
            .find_map(|cookie| cookie.trim().strip_prefix("AWSALBTG=").map(str::to_owned))?;
        let (group, weight) = forward.groups.iter().find(|(group, _)| cookie_of(group) == held)?;
        (*weight > 0 || self.options.sticky_at_zero).then(|| group.clone())
    }

    /// The next healthy target of a group, round robin.
    fn take_target(self: &Arc<Self>, group_arn: &str) -> Option<InFlight> {
        let mut model = self.model();
        let group = model.target_group_mut(group_arn)?;
        let in_state = |wanted: TargetHealth| {
            let with = group.targets.iter().enumerate().filter(move |(_, target)| target.health == wanted);
            with.map(|(index, _)| index).collect::<Vec<_>>()
        };
        let mut usable = in_state(TargetHealth::Healthy);
        if usable.is_empty() && self.options.fail_open {
            usable = in_state(TargetHealth::Unhealthy);
        }
        if usable.is_empty() {
            return None;
        }
        group.turn = group.turn.wrapping_add(1);
        let target = &mut group.targets[usable[group.turn % usable.len()]];
        target.in_flight += 1;
        Some(InFlight {
            inner: self.clone(),
            group: group_arn.to_owned(),
            address: target.address,
            generation: target.generation,
        })
    }

    fn idle_timeout(&self, plane: &Plane) -> Duration {
        let model = self.model();
        let lb = model.listener(&plane.listener_arn).and_then(|l| model.load_balancer(&l.load_balancer_arn));
        let secs =
            lb.and_then(|lb| lb.attributes.get("idle_timeout.timeout_seconds")?.parse().ok()).unwrap_or(60);
        self.scaled(secs)
    }

    /// Carries a request to a target and its whole answer back.
    async fn send(
        &self,
        plane: &Plane,
        target: SocketAddr,
        peer: SocketAddr,
        mut parts: http::request::Parts,
        body: Bytes,
    ) -> Result<Response<Full<Bytes>>, (StatusCode, Sent)> {
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = Uri::builder()
            .scheme("http")
            .authority(target.to_string())
            .path_and_query(path)
            .build()
            .map_err(|_| (StatusCode::BAD_REQUEST, Sent::Not))?;
        parts.version = http::Version::HTTP_11;
        let headers = &mut parts.headers;
        headers.remove(CONNECTION);
        headers.remove(TRANSFER_ENCODING);
        headers.append("x-forwarded-for", ip_header(peer));
        headers.insert("x-forwarded-proto", HeaderValue::from_static("http"));
        if !headers.contains_key("x-amzn-trace-id") {
            let trace =
                format!("Root=1-{:08x}-{:024x}", Timestamp::now().as_second(), fastrand::u128(..) >> 32);
            headers.insert(
                "x-amzn-trace-id",
                HeaderValue::from_str(&trace).unwrap_or(HeaderValue::from_static("")),
            );
        }
        let exchange = async {
            let answer =
                self.client.request(Request::from_parts(parts, Full::new(body))).await.map_err(|error| {
                    tracing::debug!(%target, %error, "target did not answer");
                    let sent = if error.is_connect() { Sent::NotTaken } else { Sent::Taken };
                    (StatusCode::BAD_GATEWAY, sent)
                })?;
            let (mut parts, body) = answer.into_parts();
            let body = body.collect().await.map_err(|_| (StatusCode::BAD_GATEWAY, Sent::Taken))?.to_bytes();
            parts.headers.remove(CONNECTION);
            parts.headers.remove(TRANSFER_ENCODING);
            Ok(Response::from_parts(parts, Full::new(body)))
        };
        tokio::time::timeout(self.idle_timeout(plane), exchange)
            .await
            .unwrap_or(Err((StatusCode::GATEWAY_TIMEOUT, Sent::Taken)))
    }
}

/// A load balancer's own page.
fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let page = format!(
        "<html><head><title>{status}</title></head><body><center><h1>{status}</h1></center></body></html>\n"
    );
    let mut response = Response::new(Full::from(page));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    response
}

/// The cookie names the group without telling its ARN.
fn cookie_of(group: &str) -> String {
    hex::encode(&Sha256::digest(group.as_bytes())[..16])
}

fn ip_header(peer: SocketAddr) -> HeaderValue {
    HeaderValue::from_str(&peer.ip().to_string()).unwrap_or(HeaderValue::from_static("127.0.0.1"))
}
