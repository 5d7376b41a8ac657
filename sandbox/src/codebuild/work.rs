//! What builds do to the world: HTTP requests to what they verify, and files into S3.

use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use sha2::{Digest as _, Sha256};

use super::build::{Done, Stored, Task, Upload};
use super::script::HttpCheck;
use crate::ministack::Client;

/// How long one request of a check may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Performs a task; whatever goes wrong is a failure of the build.
pub(super) async fn perform(task: Task, aws: &Client) -> Done {
    let done = match task {
        Task::Check(check) => self::check(&check).await.map(|()| Done::Checked),
        Task::Upload(upload) => self::upload(upload, aws).await.map(Done::Stored),
    };
    done.unwrap_or_else(Done::Failed)
}

async fn check(check: &HttpCheck) -> Result<(), String> {
    let http: Http<HttpConnector, Empty<Bytes>> = Http::builder(TokioExecutor::new()).build_http();
    for number in 1..=check.requests {
        tokio::time::timeout(PATIENCE, one_request(&http, check))
            .await
            .unwrap_or_else(|_| Err(format!("no answer in {PATIENCE:?}")))
            .map_err(|error| format!("GET {} ({number} of {}): {error}", check.url, check.requests))?;
    }
    Ok(())
}

async fn one_request(http: &Http<HttpConnector, Empty<Bytes>>, check: &HttpCheck) -> Result<(), String> {
    let mut request = Request::builder().uri(&check.url);
    for (name, value) in &check.headers {
        request = request.header(name, value);
    }
    let request = request.body(Empty::new()).map_err(|error| error.to_string())?;
    let answer = http.request(request).await.map_err(|error| error.to_string())?;
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    if parts.status.as_u16() != check.expect_status {
        return Err(format!("answered {}, expected {}", parts.status.as_u16(), check.expect_status));
    }
    let version = parts.headers.get("x-version").and_then(|value| value.to_str().ok());
    if let Some(expected) = &check.expect_version
        && version != Some(expected)
    {
        return Err(format!("answered by version {}, expected {expected}", version.unwrap_or("unknown")));
    }
    match &check.expect_body {
        Some(expected) if !String::from_utf8_lossy(&body).contains(expected) => {
            Err(format!("the answer does not contain {expected:?}"))
        }
        Some(_) | None => Ok(()),
    }
}

async fn upload(upload: Upload, aws: &Client) -> Result<Stored, String> {
    let location = format!("arn:aws:s3:::{}/{}", upload.bucket, upload.key);
    let failed = |error: String| format!("cannot upload to {location}: {error}");
    if upload.zipped {
        let archive = zipped(&upload.files).map_err(|error| failed(error.to_string()))?;
        let sha256 = hex::encode(Sha256::digest(&archive));
        let md5 = put(aws, &upload.bucket, &upload.key, archive.into()).await.map_err(failed)?;
        return Ok(Stored { location, md5, sha256 });
    }
    for (name, content) in upload.files {
        let key = format!("{}/{name}", upload.key);
        put(aws, &upload.bucket, &key, content.into()).await.map_err(failed)?;
    }
    // Without packaging there is no one file to have a sum.
    Ok(Stored { location, md5: String::new(), sha256: String::new() })
}

fn zipped(files: &BTreeMap<String, String>) -> zip::result::ZipResult<Vec<u8>> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        archive.start_file(name, zip::write::SimpleFileOptions::default())?;
        archive.write_all(content.as_bytes())?;
    }
    Ok(archive.finish()?.into_inner())
}

/// Writes an object and returns its ETag, which of a plain object is its MD5.
async fn put(aws: &Client, bucket: &str, key: &str, body: Bytes) -> Result<String, String> {
    let path = crate::ministack::object_path(bucket, key);
    let answer = aws
        .rest("s3", Method::PUT, &path, HeaderMap::new(), body)
        .await
        .map_err(|error| format!("{} {}", error.code, error.message))?;
    let etag = answer.headers().get("etag").and_then(|value| value.to_str().ok()).unwrap_or_default();
    Ok(etag.trim_matches('"').to_owned())
}
