//! Who is behind an access key, and what the role of that caller may do, both asked from ministack's Lambda and IAM.
//!
//! With `AUTH=true` ministack gives each function a session whose access key id is derived from the function's and its
//! role's ARN, and keeps no way to ask for it, so the derivation is repeated here. Sessions from `AssumeRole` are learnt as
//! the answers pass by. Its policy simulator knows no condition keys of the request, so policies are evaluated here.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::policy::{self, Home, Need};
use crate::ministack::Client;
use crate::ports::{AwsError, Caller};

/// Policies and functions are asked for again after this long: long enough to keep calls fast, short enough for a person who
/// changes a role by hand.
const FRESH: Duration = Duration::from_secs(5);
/// A key that nobody knows is looked for again after this long.
const RETRY: Duration = Duration::from_millis(500);
const IAM_VERSION: (&str, &str) = ("Version", "2010-05-08");

/// Decides for the endpoint who may call what.
pub struct Iam {
    client: Client,
    account: String,
    state: Mutex<State>,
    /// Held while functions are listed, so that a new function's first calls all wait for the one look.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// Access key id to the assumed role's ARN.
    sessions: HashMap<String, String>,
    unknown: HashMap<String, Instant>,
    policies: HashMap<String, (Instant, Vec<Value>)>,
}

impl Iam {
    /// IAM by the roles and functions of the ministack behind `client`, which has to be root's.
    pub fn new(client: Client, account: &str) -> Self {
        Self {
            client,
            account: account.to_owned(),
            state: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
        }
    }

    /// The ARN behind an access key; `None` for root and for keys nobody knows.
    pub(super) async fn arn_of(&self, access_key_id: &str) -> Option<String> {
        if is_root(access_key_id) {
            return None;
        }
        if let Some(known) = self.known(access_key_id) {
            return known;
        }
        let _one_at_a_time = self.looking.lock().await;
        if let Some(known) = self.known(access_key_id) {
            return known;
        }
        match self.function_sessions().await {
            Ok(sessions) => self.lock().sessions.extend(sessions),
            Err(error) => tracing::warn!(error.code, error.message, "cannot list functions to find a caller"),
        }
        let mut state = self.lock();
        let found = state.sessions.get(access_key_id).cloned();
        if found.is_none() {
            state.unknown.insert(access_key_id.to_owned(), Instant::now());
        }
        found
    }

    /// What is known without asking: an ARN, or that there was none a moment ago.
    fn known(&self, access_key_id: &str) -> Option<Option<String>> {
        let state = self.lock();
        match state.sessions.get(access_key_id) {
            Some(arn) => Some(Some(arn.clone())),
            None => state.unknown.get(access_key_id).filter(|at| at.elapsed() < RETRY).map(|_| None),
        }
    }

    /// Learns the session in an answer of STS.
    pub(super) fn learn(&self, answer: &[u8]) {
        let xml = String::from_utf8_lossy(answer);
        let first = |tag: &str| texts_of(&xml, tag).into_iter().next();
        if let (Some(key), Some(arn)) = (first("AccessKeyId"), first("Arn")) {
            self.lock().sessions.insert(key, arn);
        }
    }

    /// Checks that a caller may make a call.
    ///
    /// # Errors
    /// The message AWS gives, and the code of the reason: not known, or not allowed.
    pub(super) async fn check(
        &self,
        caller: &Caller,
        service: &str,
        operation: &str,
        input: &Value,
    ) -> Result<(), Refusal> {
        if is_root(&caller.access_key_id) {
            return Ok(());
        }
        let Some(arn) = &caller.arn else { return Err(Refusal::UnknownKey) };
        let role = arn.split('/').nth(1).unwrap_or_default();
        let policies = self.policies_of(role).await.map_err(Refusal::Unavailable)?;
        let home = Home { region: self.client.region(), account: &self.account };
        let needs = policy::needs(&home, service, operation, input);
        match needs.into_iter().find(|need| !policy::allows(&policies, need)) {
            None => Ok(()),
            Some(Need { action, resource, .. }) => Err(Refusal::NotAllowed(format!(
                "User: {arn} is not authorized to perform: {action} on resource: {resource} because no identity-based \
                 policy allows the {action} action"
            ))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn function_sessions(&self) -> Result<HashMap<String, String>, AwsError> {
        let mut sessions = HashMap::new();
        let mut marker = String::new();
        loop {
            let path = format!("/2015-03-31/functions/?MaxItems=50{marker}");
            let answer =
                self.client.rest("lambda", Method::GET, &path, HeaderMap::new(), Bytes::new()).await?;
            let page: Value = serde_json::from_slice(answer.body())
                .map_err(|error| AwsError::new("SerializationException", error.to_string()))?;
            for function in page["Functions"].as_array().into_iter().flatten() {
                let text = |member: &str| function[member].as_str().unwrap_or_default();
                let role = text("Role").rsplit('/').next().unwrap_or_default();
                let arn =
                    format!("arn:aws:sts::{}:assumed-role/{role}/{}", self.account, text("FunctionName"));
                sessions.insert(session_key(text("FunctionArn"), text("Role")), arn);
            }
            match page["NextMarker"].as_str() {
                Some(next) if !next.is_empty() => marker = format!("&Marker={next}"),
                _ => return Ok(sessions),
            }
        }
    }

    /// The policies of a role, each a document.
    ///
    /// # Errors
    /// What IAM answers.
    pub async fn policies_of(&self, role: &str) -> Result<Vec<Value>, AwsError> {
        if let Some((at, policies)) = self.lock().policies.get(role)
            && at.elapsed() < FRESH
        {
            return Ok(policies.clone());
        }
        let mut policies = Vec::new();
        for name in self.ask("ListRolePolicies", &[("RoleName", role)], "member").await? {
            let names = [("RoleName", role), ("PolicyName", &name)];
            policies.extend(documents(&self.ask("GetRolePolicy", &names, "PolicyDocument").await?));
        }
        for arn in self.ask("ListAttachedRolePolicies", &[("RoleName", role)], "PolicyArn").await? {
            let versions = self.ask("GetPolicy", &[("PolicyArn", &arn)], "DefaultVersionId").await?;
            let version = versions.first().map_or("v1", String::as_str);
            let of = [("PolicyArn", arn.as_str()), ("VersionId", version)];
            policies.extend(documents(&self.ask("GetPolicyVersion", &of, "Document").await?));
        }
        self.lock().policies.insert(role.to_owned(), (Instant::now(), policies.clone()));
        Ok(policies)
    }

    /// Calls IAM and takes the texts of one element out of the answer.
    async fn ask(
        &self,
        action: &str,
        params: &[(&str, &str)],
        element: &str,
    ) -> Result<Vec<String>, AwsError> {
        let mut form = vec![("Action", action), IAM_VERSION];
        form.extend_from_slice(params);
        Ok(texts_of(&self.client.query("iam", &form).await?, element))
    }
}

/// Why a call is refused.
#[derive(Debug)]
pub(super) enum Refusal {
    UnknownKey,
    NotAllowed(String),
    Unavailable(AwsError),
}

/// ministack's rule for root: its own key, and account numbers.
fn is_root(access_key_id: &str) -> bool {
    access_key_id.is_empty()
        || access_key_id == "test"
        || (access_key_id.len() == 12 && access_key_id.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The access key id ministack gives a function.
fn session_key(function_arn: &str, role_arn: &str) -> String {
    let digest = hex::encode(Sha256::digest(format!("{function_arn}:{role_arn}")));
    format!("ASIA{}", digest[..16].to_uppercase())
}

/// Policy documents come URL-encoded.
fn documents(texts: &[String]) -> Vec<Value> {
    let parsed = texts.iter().map(|text| {
        let decoded =
            if text.starts_with('%') { crate::protocol::percent_decode(text) } else { text.clone() };
        serde_json::from_str(&decoded)
    });
    parsed
        .filter_map(|document| document.inspect_err(|error| tracing::warn!(%error, "unreadable policy")).ok())
        .collect()
}

/// The texts of all elements with this name.
fn texts_of(xml: &str, element: &str) -> Vec<String> {
    let mut reader = Reader::from_str(xml);
    let (mut texts, mut inside) = (Vec::new(), None::<String>);
    loop {
        match reader.read_event() {
            Ok(Event::Start(tag)) if tag.local_name().as_ref() == element => inside = Some(String::new()),
            Ok(Event::End(tag)) if tag.local_name().as_ref() == element => texts.extend(inside.take()),
            Ok(Event::Text(text)) => {
                if let Some(inside) = &mut inside {
                    inside.push_str(&text);
                }
            }
            Ok(Event::GeneralRef(entity)) => {
                if let Some(inside) = &mut inside {
                    match quick_xml::escape::unescape(&format!("&{};", &*entity)) {
                        Ok(text) => inside.push_str(&text),
                        Err(error) => tracing::warn!(%error, "unknown entity in an answer of IAM"),
                    }
                }
            }
            Ok(Event::Eof) | Err(_) => return texts,
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_documents() {
        let xml =
            "<R><P><member>a</member><member>b&amp;c</member></P><D>%7B%22Statement%22%3A%5B%5D%7D</D></R>";
        assert_eq!(texts_of(xml, "member"), ["a", "b&c"]);
        assert_eq!(documents(&texts_of(xml, "D")), [serde_json::json!({"Statement": []})]);
        assert_eq!(
            documents(&texts_of("<D>{&quot;Statement&quot;:1}</D>", "D")),
            [serde_json::json!({"Statement": 1})]
        );
    }

    #[test]
    fn root_keys() {
        assert!(is_root("test") && is_root("123456789012") && !is_root("ASIA0123456789ABCDEF"));
    }
}
