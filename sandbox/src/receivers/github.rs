//! GitHub's REST API, as far as deployments and statuses go: for the repository `acme/shop`, with a token, or with an app's proof and the token it
//! gets for it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Answer, Call, Keys, answer};

#[derive(Debug, Default)]
pub(super) struct GitHub {
    deployments: Vec<Value>,
    statuses: Vec<Value>,
    app_tokens: u32,
}

const REPOSITORY: &str = "acme/shop";

impl GitHub {
    pub(super) fn shown(&self) -> Value {
        json!({ "deployments": self.deployments, "statuses": self.statuses, "app_tokens": self.app_tokens })
    }

    pub(super) fn take(&mut self, keys: &Keys, call: &Call<'_>) -> Answer {
        let message = |status: u16, text: &str| answer(status, json!({ "message": text }));
        if call.header("user-agent").is_empty() {
            return message(
                403,
                "Request forbidden by administrative rules. Please make sure your request has a User-Agent header",
            );
        }
        if call.header("accept") != "application/vnd.github+json"
            || call.header("x-github-api-version") != "2022-11-28"
        {
            return message(400, "the sandbox asks for Accept and X-GitHub-Api-Version");
        }
        let bearer = call.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        let segments: Vec<&str> = call.path.split('/').skip(1).collect();
        if let ["repos", _, _, "installation"] | ["app", "installations", _, "access_tokens"] =
            segments.as_slice()
        {
            return self.as_app(keys, call, bearer, &segments);
        }
        if bearer != keys.github_token {
            return message(401, "Bad credentials");
        }
        let ["repos", owner, name, rest @ ..] = segments.as_slice() else { return message(404, "Not Found") };
        if format!("{owner}/{name}") != REPOSITORY {
            return message(404, "Not Found");
        }
        match (call.method.as_str(), rest) {
            ("GET", ["deployments"]) => self.list(call),
            ("POST", ["deployments"]) => self.create(&call.json()),
            ("POST", ["deployments", id, "statuses"]) => self.set(id, &call.json()),
            ("POST", ["statuses", commit]) => self.set_commit(commit, &call.json()),
            _ => message(404, "Not Found"),
        }
    }

    fn as_app(&mut self, keys: &Keys, call: &Call<'_>, proof: &str, segments: &[&str]) -> Answer {
        if let Some(wrong) = wrong_in_proof(keys, proof) {
            return answer(401, json!({ "message": wrong }));
        }
        if segments[0] == "repos" {
            return answer(200, json!({ "id": 7, "app_id": 12345 }));
        }
        if call.json()["repositories"] != json!(["shop"]) {
            return answer(422, json!({ "message": "There is at least one repository that does not exist" }));
        }
        self.app_tokens += 1;
        let expires_at = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1)).to_string();
        answer(201, json!({ "token": keys.github_token, "expires_at": expires_at }))
    }

    fn list(&self, call: &Call<'_>) -> Answer {
        let sha = call.query.split('&').find_map(|pair| pair.strip_prefix("sha="));
        let meant = |deployment: &&Value| sha.is_none_or(|sha| deployment["sha"] == sha);
        answer(200, self.deployments.iter().filter(meant).cloned().collect())
    }

    fn create(&mut self, body: &Value) -> Answer {
        let Some(sha) = body["ref"].as_str().filter(|it| it.len() == 40) else {
            return answer(422, json!({ "message": "No ref found for: it" }));
        };
        // Without these GitHub merges the default branch first, or waits for checks.
        if body["auto_merge"] != json!(false) || body["required_contexts"] != json!([]) {
            return answer(409, json!({ "message": "Conflict merging into the branch, or required checks" }));
        }
        if too_long(body) {
            return answer(422, json!({ "message": "description is too long (maximum is 140 characters)" }));
        }
        let id = self.deployments.len() + 1;
        let made = json!({ "id": id, "sha": sha, "environment": body["environment"], "payload": body["payload"],
            "description": body["description"], "statuses": [] });
        self.deployments.push(made.clone());
        answer(201, made)
    }

    fn set(&mut self, id: &str, body: &Value) -> Answer {
        let states = ["error", "failure", "inactive", "in_progress", "queued", "pending", "success"];
        let known = id.parse::<usize>().ok().and_then(|id| self.deployments.get_mut(id.checked_sub(1)?));
        let Some(deployment) = known else { return answer(404, json!({ "message": "Not Found" })) };
        if !states.iter().any(|state| body["state"] == *state) || too_long(body) {
            return answer(422, json!({ "message": "Validation Failed" }));
        }
        if let Some(statuses) = deployment["statuses"].as_array_mut() {
            statuses.push(json!({ "state": body["state"], "description": body["description"] }));
        }
        answer(201, json!({ "id": 1, "state": body["state"] }))
    }

    fn set_commit(&mut self, commit: &str, body: &Value) -> Answer {
        let known = ["error", "failure", "pending", "success"].iter().any(|state| body["state"] == *state);
        if commit.len() != 40 || !known || too_long(body) {
            return answer(422, json!({ "message": "Validation Failed" }));
        }
        self.statuses.push(json!({ "sha": commit, "state": body["state"], "context": body["context"], "description": body["description"] }));
        answer(201, json!({ "id": 1, "state": body["state"] }))
    }
}

fn too_long(body: &Value) -> bool {
    body["description"].as_str().is_some_and(|text| text.chars().count() > 140)
}

/// What GitHub asks of a JSON Web Token, but for the signature: whose key it is the sandbox is not told.
fn wrong_in_proof(keys: &Keys, proof: &str) -> Option<&'static str> {
    let parts: Vec<&str> = proof.split('.').collect();
    let [head, claims, signature] = parts.as_slice() else {
        return Some("A JSON web token could not be decoded");
    };
    let read = |part: &str| -> Value {
        let bytes = URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    };
    let (head, claims) = (read(head), read(claims));
    let now = jiff::Timestamp::now().as_second();
    let time = |name: &str| claims[name].as_i64().unwrap_or_default();
    if head["alg"] != "RS256" || URL_SAFE_NO_PAD.decode(signature).map_or(0, |it| it.len()) < 256 {
        return Some("A JSON web token could not be decoded");
    }
    if claims["iss"] != json!(keys.github_app) {
        return Some("Integration not found");
    }
    if time("iat") > now {
        return Some(
            "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued",
        );
    }
    (time("exp") <= now || time("exp") > now + 600)
        .then_some("'Expiration time' claim ('exp') is too far in the future")
}
