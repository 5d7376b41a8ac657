//! What the tests of this module share: ministack as they run it, and the project's stack in it with functions in Python.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::{Client, Deployed, Deployment, Options, Process, deploy};

pub(super) const FUNCTIONS: [&str; 4] = ["intake", "conductor", "sentinel", "clock"];
const TASK_ROLE: &str = "arn:aws:iam::111122223333:role/task";

/// A Lambda function: answers its environment, fails, or calls AWS with the event's service, operation and input and answers the
/// error code that came of it.
const BOOTSTRAP: &str = r#"
import json, os, urllib.request
import botocore.session, botocore.exceptions
api = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"
def handle(event):
    if "Records" in event:
        return {"batchItemFailures": []}
    if "operation" not in event:
        return {**os.environ, "PID": str(os.getpid())}
    client = botocore.session.get_session().create_client(event["service"])
    try:
        client._make_api_call(event["operation"], event.get("input", {}))
        return {"code": "OK"}
    except botocore.exceptions.ClientError as e:
        return {"code": e.response["Error"]["Code"]}
while True:
    with urllib.request.urlopen(f"{api}/next") as r:
        request_id, event = r.headers["Lambda-Runtime-Aws-Request-Id"], json.load(r)
    print(json.dumps(event), flush=True)
    if "fail" in event:
        path, answer = "error", {"errorType": "Failed", "errorMessage": event["fail"]}
    else:
        path, answer = "response", handle(event)
    body = json.dumps(answer).encode()
    urllib.request.urlopen(urllib.request.Request(f"{api}/{request_id}/{path}", data=body, method="POST")).close()
"#;

/// ministack as the tests run it; the virtual environment is the one `cargo xtask test` makes.
pub(super) fn options(dir: &Path) -> Options {
    Options {
        venv: venv(),
        dir: dir.to_owned(),
        endpoint_url: None,
        account_id: "111122223333".to_owned(),
        region: "eu-central-1".to_owned(),
        log_level: "INFO".to_owned(),
    }
}

fn venv() -> PathBuf {
    let default = workspace().join(".venv");
    let venv = std::env::var_os("TIDEGATE_VENV").map_or(default, PathBuf::from);
    assert!(venv.join("bin/python").exists(), "{} is missing: run `cargo xtask test`", venv.display());
    venv
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The project's stack, deployed as `tide`.
pub(super) struct Stack {
    pub(super) process: Process,
    pub(super) client: Client,
    pub(super) deployed: Deployed,
    _dir: tempfile::TempDir,
}

impl Stack {
    pub(super) async fn deploy() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let functions = dir.path().join("functions");
        for function in FUNCTIONS.into_iter().chain(["gate", "pipeline", "herald"]) {
            std::fs::create_dir_all(functions.join(function)).unwrap();
            let shebang = format!("#!{}", venv().join("bin/python").display());
            std::fs::write(functions.join(function).join("bootstrap"), shebang + BOOTSTRAP).unwrap();
        }
        let process = Process::start(&options(dir.path())).await.unwrap();
        let client = process.root_client();
        let parameters = [
            ("ClusterArns", "arn:aws:ecs:eu-central-1:111122223333:cluster/prod"),
            ("RepositoryArns", "arn:aws:ecr:eu-central-1:111122223333:repository/shop/*"),
            ("TaskRoleArns", TASK_ROLE),
            ("Architecture", "x86_64"),
        ];
        let parameters = BTreeMap::from(parameters.map(|(key, value)| (key.to_owned(), value.to_owned())));
        let template = workspace().join("template.yaml");
        let deployment = Deployment { stack: "tide".to_owned(), template, functions, parameters };
        let deployed = deploy(&client, &deployment).await.unwrap();
        Self { process, client, deployed, _dir: dir }
    }

    pub(super) async fn invoke(&self, function: &str, event: Value) -> Value {
        let answer = self.invocation(function, event, "RequestResponse").await;
        serde_json::from_slice(&answer).unwrap()
    }

    pub(super) async fn invoke_later(&self, function: &str, event: Value) {
        self.invocation(function, event, "Event").await;
    }

    /// What an AWS call of the function ends in: `OK` or an error code.
    pub(super) async fn code(&self, function: &str, service: &str, operation: &str, input: Value) -> String {
        let event = json!({ "service": service, "operation": operation, "input": input });
        self.invoke(function, event).await["code"].as_str().unwrap().to_owned()
    }

    pub(super) async fn wait_for_log(&self, function: &str, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let filter = json!({ "logGroupName": format!("/aws/lambda/tide-{function}") });
        loop {
            let found =
                self.client.json("logs", "Logs_20140328.FilterLogEvents", filter.clone()).await.unwrap();
            if found["events"].to_string().contains(text) {
                return;
            }
            assert!(Instant::now() < deadline, "{text:?} is not in the log of {function}: {found:#}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn invocation(&self, function: &str, event: Value, kind: &'static str) -> Bytes {
        let path = format!("/2015-03-31/functions/tide-{function}/invocations");
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-invocation-type", http::HeaderValue::from_static(kind));
        let body = Bytes::from(event.to_string());
        self.client.rest("lambda", Method::POST, &path, headers, body).await.unwrap().into_body()
    }
}
