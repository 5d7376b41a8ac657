//! Functions of a service's own: made from a few lines of Python, and invoked as Amazon ECS invokes those at its hooks.

use std::io::{Cursor, Write as _};
use std::path::Path;

use async_trait::async_trait;
use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

use super::{Client, Session};
use crate::ports::{AwsError, Functions};

/// The function's frame: `handle(event)` comes from whoever makes it, and `aws(service)` makes clients with the function's role.
const FRAME: &str = r#"
import json, os, urllib.request
import botocore.session
api = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"
def aws(service, **keys):
    return botocore.session.get_session().create_client(service, **keys)
"#;

const LOOP: &str = r#"
while True:
    with urllib.request.urlopen(f"{api}/next") as r:
        request_id, event = r.headers["Lambda-Runtime-Aws-Request-Id"], json.load(r)
    try:
        path, answer = "response", handle(event)
    except Exception as e:
        path, answer = "error", {"errorType": type(e).__name__, "errorMessage": str(e)}
    body = json.dumps(answer).encode()
    urllib.request.urlopen(urllib.request.Request(f"{api}/{request_id}/{path}", data=body, method="POST")).close()
"#;

/// Creates a role that `services` and the account's root may assume, with one policy. Returns its ARN.
///
/// # Errors
/// What IAM answers.
pub async fn create_role(
    aws: &Client,
    account: &str,
    name: &str,
    services: &[&str],
    statements: Value,
) -> Result<String, AwsError> {
    let root = format!("arn:aws:iam::{account}:root");
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": {"Service": services, "AWS": root}}]});
    let policy = json!({"Version": "2012-10-17", "Statement": statements});
    let (trust, policy) = (trust.to_string(), policy.to_string());
    let (version, role) = (("Version", "2010-05-08"), ("RoleName", name));
    let create = [version, ("Action", "CreateRole"), role, ("AssumeRolePolicyDocument", &trust)];
    aws.query("iam", &create).await?;
    let put = [version, ("Action", "PutRolePolicy"), role, ("PolicyName", "p"), ("PolicyDocument", &policy)];
    aws.query("iam", &put).await?;
    Ok(format!("arn:aws:iam::{account}:role/{name}"))
}

/// Creates a function whose code defines `handle(event)` in Python, run by the Python environment at `venv`. Returns its ARN.
///
/// # Errors
/// What Lambda answers.
pub async fn create_function(
    aws: &Client,
    venv: &Path,
    name: &str,
    role: &str,
    code: &str,
) -> Result<String, AwsError> {
    let archive = archive(venv, code).map_err(|error| AwsError::new("InvalidZipFile", error.to_string()))?;
    let archive = base64::engine::general_purpose::STANDARD.encode(archive);
    let input = json!({"FunctionName": name, "Runtime": "provided.al2023", "Handler": "bootstrap", "Timeout": 30,
        "Role": role, "Code": {"ZipFile": archive}});
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    let path = "/2015-03-31/functions";
    let answer = aws.rest("lambda", Method::POST, path, headers, Bytes::from(input.to_string())).await?;
    let created: Value = serde_json::from_slice(answer.body())
        .map_err(|error| AwsError::new("SerializationException", error.to_string()))?;
    Ok(created["FunctionArn"].as_str().unwrap_or_default().to_owned())
}

fn archive(venv: &Path, code: &str) -> zip::result::ZipResult<Vec<u8>> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().unix_permissions(0o755);
    zip.start_file("bootstrap", options)?;
    write!(zip, "#!{}{FRAME}{code}{LOOP}", venv.join("bin/python").display())?;
    Ok(zip.finish()?.into_inner())
}

/// Lambda, for Amazon ECS: with the hook's role. `client` has to be root's. One call may take a minute.
pub struct HookFunctions(pub Client);

#[async_trait]
impl Functions for HookFunctions {
    async fn invoke(&self, role: &str, function: &str, event: &Value) -> Result<Value, AwsError> {
        let role = Session::assume(&self.0, "Amazon ECS", role, None).await?.client(&self.0);
        let path = format!("/2015-03-31/functions/{}/invocations", function.replace('/', "%2F"));
        let body = Bytes::from(event.to_string());
        let answer = role.rest("lambda", Method::POST, &path, HeaderMap::new(), body).await?;
        let payload: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        if answer.headers().contains_key("x-amz-function-error") {
            let message = payload["errorMessage"].as_str().unwrap_or("the function failed");
            return Err(AwsError::new("FunctionError", message));
        }
        Ok(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::ACCOUNT;
    use crate::local::testing::Stage;

    #[tokio::test]
    async fn a_hooks_function_is_called_with_the_hooks_role_and_nothing_else() {
        let stage = Stage::up(|_| {}).await;
        let code = "def handle(event):\n    if event['fail']:\n        raise ValueError('as asked')\n    return {'got': event}\n";
        let function = stage.function("smoke", code, json!([])).await;
        let ecs = ["ecs.amazonaws.com"];
        let allowed = json!([{"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": function}]);
        let other = json!([{"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": format!("{function}-2")}]);
        let may = stage.role("may", &ecs, allowed).await;
        let may_not = stage.role("may-not", &ecs, other).await;
        let functions = HookFunctions(stage.local.client.clone());
        let call = async |role: &str, function: &str, fail: bool| {
            functions.invoke(role, function, &json!({"fail": fail})).await.map_err(|error| error.code)
        };
        assert_eq!(call(&may, &function, false).await, Ok(json!({"got": {"fail": false}})));
        assert_eq!(call(&may, &function, true).await, Err("FunctionError".into()));
        assert_eq!(call(&may_not, &function, false).await, Err("AccessDeniedException".into()));
        let nobody = format!("arn:aws:iam::{ACCOUNT}:role/nobody");
        assert_eq!(call(&nobody, &function, false).await, Err("AccessDenied".into()));
        let gone = function.replace("smoke", "gone");
        assert!(call(&may, &gone, false).await.is_err());
        stage.local.stop().await.unwrap();
    }
}
