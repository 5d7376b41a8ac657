//! The one AWS endpoint: every AWS call of every local process comes here. It answers the sandbox's own services, passes
//! everything else on to ministack as it came, and so is the one place where calls can be recorded, counted, delayed,
//! throttled and refused.
//!
//! The service is told by the signature's credential scope. Signatures are not checked for the sandbox's own services;
//! ministack checks them for its own. The admin API is below `/_sandbox/`, which no AWS service uses.

mod faults;
mod iam;
mod policy;
mod record;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::{get, put};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_ENCODING, EXPECT, HeaderMap, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

pub use self::faults::{Action, Fault};
pub use self::iam::Iam;

use self::faults::{Effect, Target};
use self::iam::Refusal;
use self::record::{Entry, Recorder};
use crate::ports::{AwsError, Caller, Service};
use crate::protocol::{self, Call, Protocol};

/// The endpoint. Cheap to clone; it serves until [`Endpoint::shutdown`].
#[derive(Clone)]
pub struct Endpoint {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: AbortHandle,
}

/// One operation of a service (by signing name) that is answered here, while the rest of the service is not.
type Operation = (String, &'static str, Arc<dyn Service>);

struct Shared {
    services: RwLock<HashMap<String, Arc<dyn Service>>>,
    operations: RwLock<Vec<Operation>>,
    upstream: RwLock<Option<SocketAddr>>,
    iam: RwLock<Option<(Arc<Iam>, bool)>>,
    recorder: RwLock<Option<Arc<Recorder>>>,
    admin: RwLock<Router>,
    faults: Mutex<Vec<Fault>>,
    counts: Mutex<BTreeMap<String, Count>>,
    client: Client<HttpConnector, Full<Bytes>>,
    started: Instant,
}

#[derive(Debug, Clone, Default)]
struct Count {
    calls: u64,
    errors: u64,
    by_caller: BTreeMap<String, u64>,
}

/// The connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is dropped by a fault")]
struct Dropped;

impl Endpoint {
    /// Starts serving. Port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        let shared = Arc::new(Shared {
            services: RwLock::default(),
            operations: RwLock::default(),
            upstream: RwLock::default(),
            iam: RwLock::default(),
            recorder: RwLock::default(),
            admin: RwLock::default(),
            faults: Mutex::default(),
            counts: Mutex::default(),
            client: Client::builder(TokioExecutor::new())
                .pool_idle_timeout(Duration::from_secs(20))
                .build_http(),
            started: Instant::now(),
        });
        let accepting = tokio::spawn(accept(shared.clone(), socket)).abort_handle();
        let endpoint = Self { shared, address, accepting };
        endpoint.mount(endpoint.own_admin());
        Ok(endpoint)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The value for `AWS_ENDPOINT_URL`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers the service with this signing name (`ecs`, `elasticloadbalancing`, `monitoring`) from now on.
    pub fn register(&self, signing_name: &str, service: Arc<dyn Service>) {
        write(&self.shared.services).insert(signing_name.to_owned(), service);
    }

    /// Answers this one operation of a service that is ministack's otherwise.
    pub fn register_operation(&self, signing_name: &str, operation: &'static str, service: Arc<dyn Service>) {
        write(&self.shared.operations).push((signing_name.to_owned(), operation, service));
    }

    /// Passes all other calls on to this address.
    pub fn set_upstream(&self, ministack: SocketAddr) {
        *write(&self.shared.upstream) = Some(ministack);
    }

    /// Names callers by their roles, and with `enforce` refuses what the roles do not allow on the sandbox's own services.
    pub fn set_iam(&self, iam: Iam, enforce: bool) {
        *write(&self.shared.iam) = Some((Arc::new(iam), enforce));
    }

    /// Records every call from now on, one JSON line each.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn record(&self, path: &Path) -> io::Result<()> {
        *write(&self.shared.recorder) = Some(Arc::new(Recorder::create(path)?));
        Ok(())
    }

    /// Adds routes to the admin API; they must begin with `/_sandbox/`.
    pub fn mount(&self, routes: Router) {
        let mut admin = write(&self.shared.admin);
        *admin = admin.clone().merge(routes);
    }

    /// Replaces all faults.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        let fresh = faults.into_iter().map(|fault| Fault { happened: 0, ..fault });
        *lock(&self.shared.faults) = fresh.collect();
    }

    /// Adds a fault to those there are.
    pub fn add_fault(&self, fault: Fault) {
        lock(&self.shared.faults).push(Fault { happened: 0, ..fault });
    }

    /// Removes the faults that `is_over` picks.
    pub fn remove_faults(&self, mut is_over: impl FnMut(&Fault) -> bool) {
        lock(&self.shared.faults).retain(|fault| !is_over(fault));
    }

    /// The faults with how often each happened.
    pub fn faults(&self) -> Vec<Fault> {
        lock(&self.shared.faults).clone()
    }

    /// How often an operation was called, e.g. `calls("ecs", "UpdateService")`.
    pub fn calls(&self, service: &str, operation: &str) -> u64 {
        lock(&self.shared.counts).get(&format!("{service}.{operation}")).map_or(0, |count| count.calls)
    }

    /// Has one of the sandbox's own services answer a call of this user, who may do everything; neither counted nor recorded.
    ///
    /// # Errors
    /// What the service answers; when it is ministack's.
    pub async fn call_as(
        &self,
        arn: &str,
        service: &str,
        operation: &str,
        input: Value,
    ) -> Result<Value, AwsError> {
        let own = self.shared.own(service, operation).ok_or_else(|| {
            AwsError::new(
                "UnknownOperationException",
                format!("the sandbox itself does not answer {service}:{operation}"),
            )
        })?;
        let caller = Caller { access_key_id: "test".to_owned(), arn: Some(arn.to_owned()) };
        own.call(operation, input, &caller).await
    }

    /// Stops accepting connections.
    pub fn shutdown(&self) {
        self.accepting.abort();
    }

    fn own_admin(&self) -> Router {
        let (health, calls, forget) = (self.clone(), self.clone(), self.clone());
        let (set, list, clear) = (self.clone(), self.clone(), self.clone());
        Router::new()
            .route("/_sandbox/health", get(async move || axum::Json(health.health())))
            .route(
                "/_sandbox/calls",
                get(async move || axum::Json(calls.counts()))
                    .delete(async move || lock(&forget.shared.counts).clear()),
            )
            .route(
                "/_sandbox/faults",
                put(async move |axum::Json(faults): axum::Json<Vec<Fault>>| {
                    set.set_faults(faults);
                    axum::Json(set.faults())
                })
                .get(async move || axum::Json(list.faults()))
                .delete(async move || clear.set_faults(Vec::new())),
            )
    }

    fn health(&self) -> Value {
        let mut services: Vec<String> = read(&self.shared.services).keys().cloned().collect();
        services.sort();
        json!({
            "status": "ok",
            "services": services,
            "upstream": read(&self.shared.upstream).map(|address| address.to_string()),
            "uptime_secs": self.shared.started.elapsed().as_secs(),
        })
    }

    fn counts(&self) -> Value {
        let counts = lock(&self.shared.counts);
        let described: Map<String, Value> = (counts.iter())
            .map(|(name, count)| {
                let value =
                    json!({"calls": count.calls, "errors": count.errors, "by_caller": count.by_caller});
                (name.clone(), value)
            })
            .collect();
        Value::Object(described)
    }
}

async fn accept(shared: Arc<Shared>, socket: TcpListener) {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => serve(shared.clone(), stream),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

fn serve(shared: Arc<Shared>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    tokio::spawn(async move {
        let service = service_fn(move |request| {
            let shared = shared.clone();
            async move { shared.handle(request).await }
        });
        // No timer: an idle connection is never closed under a client that is about to use it.
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection ended");
        }
    });
}

impl Shared {
    async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Dropped> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Dropped)?.to_bytes();
        if parts.uri.path().starts_with("/_sandbox/") {
            return Ok(self.admin(parts, body).await);
        }
        let (time, started) = (Timestamp::now(), Instant::now());
        let (service, caller) = self.identify(&parts).await;
        let call = protocol::identify(&service, &parts.method, parts.uri.path(), &parts.headers, &body);
        let effect = {
            let target =
                Target { service: &service, operation: &call.operation, caller: &caller, body: &body };
            faults::draw(&mut lock(&self.faults), &target, call.protocol, fastrand::f64)
        };
        let recorder = read(&self.recorder).clone();
        let line = recorder.as_ref().map(|_| parts.clone());
        let answer = self.answer(&service, &call, &caller, parts, body.clone(), &effect).await;
        let status = answer.as_ref().map(|answer| answer.status().as_u16());
        self.count(&service, &call, &caller, status);
        if let (Some(recorder), Some(line)) = (recorder, line) {
            recorder.write(&Entry {
                time,
                duration: started.elapsed(),
                caller: &caller,
                service: &service,
                call: &call,
                method: &line.method,
                uri: &line.uri,
                headers: &line.headers,
                request: &body,
                response: answer.as_ref().map_or(&[], |answer| answer.body()),
                status,
            });
        }
        match answer {
            Some(answer) if !effect.drop_after => Ok(answer.map(Full::new)),
            Some(_) | None => Err(Dropped),
        }
    }

    async fn admin(&self, parts: Parts, body: Bytes) -> Response<Full<Bytes>> {
        let router = TowerToHyperService::new(read(&self.admin).clone());
        let answered =
            hyper::service::Service::call(&router, Request::from_parts(parts, Full::new(body))).await;
        let (parts, body) = match answered {
            Ok(response) => response.into_parts(),
            Err(never) => match never {},
        };
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Response::from_parts(parts, Full::new(body))
    }

    /// Service and caller by the signature; no service for unsigned calls, e.g. of function URLs.
    async fn identify(&self, parts: &Parts) -> (String, Caller) {
        let Some((access_key_id, service)) = credential_scope(parts) else {
            return (record::UNSIGNED.to_owned(), Caller::default());
        };
        let iam = read(&self.iam).clone();
        let arn = match iam {
            Some((iam, _)) => iam.arn_of(&access_key_id).await,
            None => None,
        };
        (service, Caller { access_key_id, arn })
    }

    /// The answer; `None` when the connection is to be closed without the call having been performed.
    async fn answer(
        &self,
        service: &str,
        call: &Call,
        caller: &Caller,
        parts: Parts,
        body: Bytes,
        effect: &Effect,
    ) -> Option<Response<Bytes>> {
        let request_id = request_id();
        if !effect.delay.is_zero() {
            tokio::time::sleep(effect.delay).await;
        }
        if effect.drop_before {
            return None;
        }
        if let Some(error) = &effect.error {
            return Some(protocol::encode_error(service, call, error, &request_id));
        }
        let own = self.own(service, &call.operation);
        Some(match own {
            Some(own) => match self.perform(&*own, service, call, caller, &parts.headers, &body).await {
                Ok(output) => protocol::encode(service, call, &output, &request_id),
                Err(error) => protocol::encode_error(service, call, &error, &request_id),
            },
            None => self.pass_on(service, call, parts, body).await.unwrap_or_else(|error| {
                let message = format!("the sandbox cannot reach ministack: {error}");
                let error = AwsError { code: "ServiceUnavailable".to_owned(), message, status: 503 };
                protocol::encode_error(service, call, &error, &request_id)
            }),
        })
    }

    /// Who answers here.
    fn own(&self, service: &str, operation: &str) -> Option<Arc<dyn Service>> {
        let operations = read(&self.operations);
        let alone = operations.iter().find(|(name, own, _)| name == service && *own == operation);
        alone.map(|(.., own)| own.clone()).or_else(|| read(&self.services).get(service).cloned())
    }

    async fn perform(
        &self,
        own: &dyn Service,
        service: &str,
        call: &Call,
        caller: &Caller,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Value, AwsError> {
        let plain = plain_body(headers, body)?;
        let input = protocol::decode(service, call, &plain)?;
        let iam = read(&self.iam).clone();
        if let Some((iam, true)) = iam {
            let checked = iam.check(caller, service, &call.operation, &input).await;
            checked.map_err(|refusal| refused(refusal, call.protocol))?;
        }
        own.call(&call.operation, input, caller).await
    }

    async fn pass_on(
        &self,
        service: &str,
        call: &Call,
        mut parts: Parts,
        body: Bytes,
    ) -> Result<Response<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
        let upstream = *read(&self.upstream);
        let upstream = upstream.ok_or("there is none")?;
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri =
            Uri::builder().scheme("http").authority(upstream.to_string()).path_and_query(path).build()?;
        // What concerns the connection to us only. The Host stays: it is signed, and names function URLs.
        for header in [CONNECTION, TRANSFER_ENCODING, EXPECT] {
            parts.headers.remove(header);
        }
        let answer = self.client.request(Request::from_parts(parts, Full::new(body))).await?;
        let (mut parts, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        parts.headers.remove(CONNECTION);
        parts.headers.remove(TRANSFER_ENCODING);
        if service == "sts" && call.operation.starts_with("AssumeRole") && parts.status.is_success() {
            let iam = read(&self.iam).clone();
            if let Some((iam, _)) = iam {
                iam.learn(&body);
            }
        }
        Ok(Response::from_parts(parts, body))
    }

    fn count(&self, service: &str, call: &Call, caller: &Caller, status: Option<u16>) {
        let who =
            caller.arn.as_deref().and_then(|arn| arn.rsplit('/').next()).unwrap_or(&caller.access_key_id);
        let mut counts = lock(&self.counts);
        let count = counts.entry(format!("{service}.{}", call.operation)).or_default();
        count.calls += 1;
        count.errors += u64::from(status.is_none_or(|status| status >= 400));
        *count.by_caller.entry(who.to_owned()).or_default() += 1;
    }
}

/// Access key id and service of a SigV4 signature, in the header or, presigned, in the query.
fn credential_scope(parts: &Parts) -> Option<(String, String)> {
    let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let credential = match header.and_then(|header| header.split_once("Credential=")) {
        Some((_, rest)) => rest.split([',', ' ']).next()?.to_owned(),
        None => {
            let query = parts.uri.query()?;
            let value = query.split('&').find_map(|pair| pair.strip_prefix("X-Amz-Credential="))?;
            protocol::percent_decode(value)
        }
    };
    let mut scope = credential.split('/');
    let (key, _date, _region, service) = (scope.next()?, scope.next()?, scope.next()?, scope.next()?);
    Some((key.to_owned(), service.to_owned()))
}

fn refused(refusal: Refusal, protocol: Protocol) -> AwsError {
    match refusal {
        Refusal::NotAllowed(message) => protocol::denied(protocol, message),
        Refusal::UnknownKey => AwsError {
            code: "UnrecognizedClientException".to_owned(),
            message: "The security token included in the request is invalid.".to_owned(),
            status: 403,
        },
        Refusal::Unavailable(error) => AwsError {
            code: "ServiceUnavailable".to_owned(),
            message: format!("cannot read the caller's policies: {} {}", error.code, error.message),
            status: 503,
        },
    }
}

/// SDKs compress long metric data.
fn plain_body(headers: &HeaderMap, body: &[u8]) -> Result<Bytes, AwsError> {
    if headers.get(CONTENT_ENCODING).is_none_or(|encoding| encoding != "gzip") {
        return Ok(Bytes::copy_from_slice(body));
    }
    let mut plain = Vec::new();
    io::Read::read_to_end(&mut flate2::read::GzDecoder::new(body), &mut plain)
        .map_err(|error| AwsError::new("SerializationException", format!("invalid gzip: {error}")))?;
    Ok(plain.into())
}

fn request_id() -> String {
    let id = fastrand::u128(..);
    let part =
        |shift: u32, digits: usize| format!("{:0digits$x}", (id >> shift) & ((1_u128 << (4 * digits)) - 1));
    [part(96, 8), part(80, 4), part(64, 4), part(48, 4), part(0, 12)].join("-")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod ministack_tests;
#[cfg(test)]
mod tests;
