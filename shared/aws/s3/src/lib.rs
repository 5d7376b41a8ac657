//! IO: the S3 adapter: release manifests, and the artifacts of builds and pipelines. Everything is read within limits, because
//! whoever writes an artifact is not whoever runs Tidegate.

mod archive;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use tidegate_aws::{SdkConfig, port_error};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ports::{Artifacts, ObjectAt, ObjectNow, Objects};

pub use archive::{ARCHIVE_MAX, ENTRY_MAX};

const GET: &str = "s3:GetObject";
/// A body that trickles in is given up; the SDK's own limits end with the headers.
const BODY_LIMIT: Duration = Duration::from_secs(10);

/// S3 by way of the official SDK.
#[derive(Debug, Clone)]
pub struct S3Reader {
    client: Client,
}

impl S3Reader {
    /// With the home account's configuration.
    pub fn new(installation: &SdkConfig) -> Self {
        Self { client: Client::new(installation) }
    }

    /// With temporary keys that were handed over, and nothing of our own. `home` gives region, endpoint and time limits.
    pub fn with_keys(installation: &SdkConfig, id: &str, secret: &str, session_token: Option<&str>) -> Self {
        let keys = Credentials::new(id, secret, session_token.map(str::to_owned), None, "CodePipeline job");
        let config =
            installation.to_builder().credentials_provider(SharedCredentialsProvider::new(keys)).build();
        Self { client: Client::new(&config) }
    }

    async fn get(&self, at: &ObjectAt, max_bytes: u64) -> Result<Vec<u8>, PortError> {
        let answer = self
            .client
            .get_object()
            .bucket(&at.bucket)
            .key(&at.key)
            .set_version_id(at.version.clone())
            .set_if_match(at.etag.clone())
            .send()
            .await
            .map_err(|error| named(at, port_error(GET, error)))?;
        let reading = tokio::time::timeout(BODY_LIMIT, body(answer, max_bytes)).await;
        reading
            .unwrap_or_else(|_| Err(unavailable("the object came too slowly")))
            .map_err(|error| named(at, error))
    }

    /// Every one of `names` in a folder.
    async fn folder(&self, at: &ObjectAt, names: &[&str]) -> Result<BTreeMap<String, Vec<u8>>, PortError> {
        let mut files = BTreeMap::new();
        for name in names {
            let key = format!("{}/{name}", at.key.trim_end_matches('/'));
            let at = ObjectAt { bucket: at.bucket.clone(), key, ..ObjectAt::default() };
            match self.get(&at, ENTRY_MAX).await {
                Ok(bytes) => {
                    files.insert((*name).to_owned(), bytes);
                }
                Err(error) if error.kind == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }
}

#[async_trait]
impl Objects for S3Reader {
    async fn read(&self, at: &ObjectAt, max_bytes: u64) -> Result<Vec<u8>, PortError> {
        self.get(at, max_bytes).await
    }

    async fn current(&self, bucket: &str, key: &str) -> Result<Option<ObjectNow>, PortError> {
        match self.client.head_object().bucket(bucket).key(key).send().await {
            Ok(head) => Ok(Some(ObjectNow {
                version: head.version_id().map(str::to_owned),
                etag: head.e_tag().map(|etag| etag.trim_matches('"').to_owned()),
            })),
            Err(error) => {
                let error = port_error(GET, error);
                // An answer to HEAD has no body, so without a code the status alone says what it was.
                if error.kind == ErrorKind::NotFound { Ok(None) } else { Err(error) }
            }
        }
    }
}

#[async_trait]
impl Artifacts for S3Reader {
    /// The object is a zip archive, whatever its name; or one of the files itself; or, when there is no such object, a folder.
    async fn files(&self, at: &ObjectAt, names: &[&str]) -> Result<BTreeMap<String, Vec<u8>>, PortError> {
        let bytes = match self.get(at, ARCHIVE_MAX).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind == ErrorKind::NotFound && at.version.is_none() => {
                let files = self.folder(at, names).await?;
                return if files.is_empty() { Err(error) } else { Ok(files) };
            }
            Err(error) => return Err(error),
        };
        if archive::is_archive(&bytes) {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            // Inflating is work for the processor; it must not hold up the runtime.
            let inflated = tokio::task::spawn_blocking(move || archive::files(&bytes, &names)).await;
            let inflated = inflated.map_err(|error| unavailable(&error.to_string()))?;
            return inflated.map_err(|error| refused(at, &error.to_string()));
        }
        let name = at.key.rsplit('/').next().unwrap_or_default();
        match names.iter().find(|known| **known == name) {
            Some(name) if bytes.len() as u64 <= ENTRY_MAX => {
                Ok(BTreeMap::from([((*name).to_owned(), bytes)]))
            }
            Some(name) => Err(refused(at, &format!("{name} has {} bytes, allowed {ENTRY_MAX}", bytes.len()))),
            None => Err(refused(at, "it is neither a zip archive nor one of the files of an image")),
        }
    }
}

/// The body, given up as soon as it is longer than allowed.
async fn body(answer: GetObjectOutput, max_bytes: u64) -> Result<Vec<u8>, PortError> {
    let too_large = |found: u64| {
        PortError::new(
            ErrorKind::Invalid,
            GET,
            "TooLarge",
            format!("it has {found} bytes or more, allowed {max_bytes}"),
        )
    };
    if let Some(length) = answer.content_length().and_then(|length| u64::try_from(length).ok())
        && length > max_bytes
    {
        return Err(too_large(length));
    }
    let (mut body, mut bytes) = (answer.body, Vec::new());
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| unavailable(&error.to_string()))?;
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > max_bytes {
            return Err(too_large(bytes.len() as u64));
        }
    }
    Ok(bytes)
}

fn named(at: &ObjectAt, error: PortError) -> PortError {
    PortError { message: format!("{at}: {}", error.message), ..error }
}

fn unavailable(message: &str) -> PortError {
    PortError::new(ErrorKind::Unavailable, GET, "Unreadable", message)
}

fn refused(at: &ObjectAt, problem: &str) -> PortError {
    PortError::new(ErrorKind::Invalid, GET, "Artifact", format!("{at}: {problem}"))
}
