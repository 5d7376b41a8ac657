//! IO: the ECR adapter: tags resolved to digests, and whether a digest is there and stays there.
//!
//! Only private ECR registries can be asked. Registries of other accounts are asked with the home account's credentials; their
//! repository policy has to allow `ecr:DescribeImages`, `ecr:GetLifecyclePolicy`, and for the platforms of the released image
//! `ecr:BatchGetImage` and `ecr:GetDownloadUrlForLayer`, which whoever pulls it needs as well.

mod lifecycle;
mod platforms;
mod scan;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use aws_sdk_ecr::Client;
use aws_sdk_ecr::config::Region;
use aws_sdk_ecr::primitives::DateTime;
use aws_sdk_ecr::types::{
    DescribeImagesFilter, ImageDetail, ImageIdentifier, ImageStatus, ImageStatusFilter, TagStatus,
};
use jiff::Timestamp;
use tidegate_aws::{Downloads, SdkConfig, port_error};
use tidegate_core::container_image::MediaTypes;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::ids::{Digest, Image, RepositoryName, Tag};
use tidegate_core::ports::{ImageDescribed, Images};
use tidegate_core::reference::Pick;
use tidegate_core::registry::{EcrRegistry, Registry};
use tidegate_core::seen::Seen;
use tidegate_core::vocab::ecr::{ImageSeen, ScanSeen, Stored};

use crate::lifecycle::{LifecyclePolicy, Subject, Verdict};

const DESCRIBE_IMAGES: &str = "ecr:DescribeImages";
const GET_LIFECYCLE_POLICY: &str = "ecr:GetLifecyclePolicy";
/// The largest page of `DescribeImages`.
const PAGE: i32 = 1000;

/// ECR by way of the official SDK, one client for each region.
#[derive(Debug)]
pub struct EcrAdapter {
    installation: SdkConfig,
    clients: Mutex<HashMap<String, Client>>,
    downloads: Downloads,
}

impl EcrAdapter {
    /// With the home account's configuration.
    pub fn new(installation: SdkConfig) -> Self {
        Self { installation, clients: Mutex::default(), downloads: Downloads::default() }
    }

    /// The same, with documents from this connector.
    #[cfg(test)]
    fn downloading(self, connector: aws_smithy_runtime_api::client::http::SharedHttpConnector) -> Self {
        Self { downloads: Downloads::by(connector), ..self }
    }

    /// The repository; `None` when the registry is not one of ECR's.
    fn repository<'a>(&self, registry: &str, name: &'a RepositoryName) -> Option<Repository<'a>> {
        let registry = Registry::parse(registry).as_ecr()?.clone();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let client = clients.entry(registry.region.to_string()).or_insert_with(|| {
            let region = Region::new(registry.region.to_string());
            Client::new(&self.installation.to_builder().region(region).build())
        });
        Some(Repository { client: client.clone(), registry, name })
    }
}

#[async_trait]
impl Images for EcrAdapter {
    async fn image(&self, image: &Image) -> Result<Option<ImageSeen>, PortError> {
        let Stored::There(seen) = self.stored(image).await? else { return Ok(None) };
        let repository = self.repository(&image.registry, &image.repository);
        let Some(repository) = repository.filter(|_| !seen.archived) else { return Ok(Some(seen)) };
        let account = repository.registry.account.as_str();
        let from = platforms::From { client: &repository.client, downloads: &self.downloads, account };
        Ok(Some(ImageSeen { parts: platforms::parts(from, image).await.into(), ..seen }))
    }

    async fn stored(&self, image: &Image) -> Result<Stored, PortError> {
        let Some(repository) = self.repository(&image.registry, &image.repository) else {
            return Ok(Stored::Elsewhere);
        };
        let id = ImageIdentifier::builder().image_digest(image.digest.as_str()).build();
        // Left out, the filter hides archived images; it is not certain that it may go with a digest, so it comes second.
        let found = match repository.one(id.clone(), None).await? {
            Some(found) => Some(found),
            None => repository.archived(id).await?,
        };
        let Some(found) = found else { return Ok(Stored::Gone) };
        let archived = is_archived(&found);
        let expiring = !archived && repository.takes_away(&found, Timestamp::now()).await?;
        let digest = image.digest.clone();
        Ok(Stored::There(ImageSeen { digest, expiring, archived, parts: Seen::NotAsked }))
    }

    async fn scan(&self, image: &Image) -> Result<ScanSeen, PortError> {
        let registry = &image.registry;
        let repository = self.repository(registry, &image.repository).ok_or_else(|| not_ecr(registry))?;
        scan::findings(&repository.client, repository.registry.account.as_str(), image).await
    }

    async fn resolve(
        &self,
        registry: &str,
        name: &RepositoryName,
        tag: &Tag,
    ) -> Result<Option<Digest>, PortError> {
        let repository = self.repository(registry, name).ok_or_else(|| not_ecr(registry))?;
        let id = ImageIdentifier::builder().image_tag(tag.as_str()).build();
        let found = repository.one(id, None).await?;
        found.as_ref().map(digest).transpose()
    }

    async fn described(
        &self,
        registry: &str,
        name: &RepositoryName,
        pick: &Pick,
    ) -> Result<Option<ImageDescribed>, PortError> {
        let repository = self.repository(registry, name).ok_or_else(|| not_ecr(registry))?;
        let id = ImageIdentifier::builder();
        let id = match pick {
            Pick::Tag(tag) => id.image_tag(tag.as_str()),
            Pick::Digest(digest, _) => id.image_digest(digest.as_str()),
        };
        let found = repository.one(id.build(), None).await?;
        found.as_ref().map(described).transpose()
    }

    async fn tagged(&self, registry: &str, name: &RepositoryName) -> Result<Vec<ImageDescribed>, PortError> {
        let repository = self.repository(registry, name).ok_or_else(|| not_ecr(registry))?;
        let mut all = Vec::new();
        let mut next = None;
        loop {
            let Some(page) = repository.page(Some(TagStatus::Tagged), next).await? else {
                return Ok(Vec::new());
            };
            for image in page.images.iter().filter(|image| !is_archived(image)) {
                all.push(described(image)?);
            }
            next = page.next;
            if next.is_none() {
                return Ok(all);
            }
        }
    }
}

/// One repository and the client to ask with.
struct Repository<'a> {
    client: Client,
    registry: EcrRegistry,
    name: &'a RepositoryName,
}

struct Page {
    images: Vec<ImageDetail>,
    next: Option<String>,
}

impl Repository<'_> {
    /// One image; `None` when there is none, or no such repository.
    async fn one(
        &self,
        id: ImageIdentifier,
        filter: Option<DescribeImagesFilter>,
    ) -> Result<Option<ImageDetail>, PortError> {
        let call = self
            .client
            .describe_images()
            .registry_id(self.registry.account.as_str())
            .repository_name(self.name.as_str())
            .image_ids(id)
            .set_filter(filter);
        let sent = call.send().await.map_err(|error| port_error(DESCRIBE_IMAGES, error));
        Ok(unless_missing(sent)?
            .and_then(|answer| answer.image_details.unwrap_or_default().into_iter().next()))
    }

    /// An image of any status. Where that cannot be asked for, there is none.
    async fn archived(&self, id: ImageIdentifier) -> Result<Option<ImageDetail>, PortError> {
        let filter = DescribeImagesFilter::builder().image_status(ImageStatusFilter::Any).build();
        match self.one(id, Some(filter)).await {
            Err(error) if error.kind == ErrorKind::Invalid => Ok(None),
            other => other,
        }
    }

    /// A page of the repository's images that can be pulled; `None` when there is no such repository.
    async fn page(&self, tags: Option<TagStatus>, next: Option<String>) -> Result<Option<Page>, PortError> {
        let filter = tags.map(|status| DescribeImagesFilter::builder().tag_status(status).build());
        let call = self
            .client
            .describe_images()
            .registry_id(self.registry.account.as_str())
            .repository_name(self.name.as_str())
            .set_filter(filter)
            .set_next_token(next)
            .max_results(PAGE);
        let sent = call.send().await.map_err(|error| port_error(DESCRIBE_IMAGES, error));
        Ok(unless_missing(sent)?.map(|answer| Page {
            images: answer.image_details.unwrap_or_default(),
            next: answer.next_token.filter(|token| !token.is_empty()),
        }))
    }

    /// Whether the repository's lifecycle policy is about to take the image away.
    async fn takes_away(&self, image: &ImageDetail, now: Timestamp) -> Result<bool, PortError> {
        let Some(policy) = self.lifecycle_policy().await? else { return Ok(false) };
        let Some(image) = subject(image) else { return Ok(false) };
        let (count, rule) = match policy.verdict(&image, now) {
            Verdict::Stays => return Ok(false),
            Verdict::Goes => return Ok(true),
            Verdict::GoesBehind(count, rule) => (count, rule),
        };
        let mut newer = 0;
        let mut next = None;
        loop {
            let Some(page) = self.page(None, next).await? else { return Ok(false) };
            let others = page.images.iter().filter_map(subject);
            newer += others.filter(|other| other.pushed_at > image.pushed_at && rule.selects(other)).count();
            next = page.next;
            if newer >= count || next.is_none() {
                return Ok(newer >= count);
            }
        }
    }

    async fn lifecycle_policy(&self) -> Result<Option<LifecyclePolicy>, PortError> {
        let call = self
            .client
            .get_lifecycle_policy()
            .registry_id(self.registry.account.as_str())
            .repository_name(self.name.as_str());
        let sent = call.send().await.map_err(|error| port_error(GET_LIFECYCLE_POLICY, error));
        let Some(text) = unless_missing(sent)?.and_then(|answer| answer.lifecycle_policy_text) else {
            return Ok(None);
        };
        LifecyclePolicy::parse(&text).map(Some).map_err(|error| {
            PortError::new(ErrorKind::Invalid, GET_LIFECYCLE_POLICY, "UnexpectedAnswer", error.to_string())
        })
    }
}

/// No image, no repository and no policy are answers.
fn unless_missing<T>(result: Result<T, PortError>) -> Result<Option<T>, PortError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether ECS cannot pull it: archived, on its way back from the archive, or in a state yet unknown.
fn is_archived(image: &ImageDetail) -> bool {
    image.image_status.as_ref().is_some_and(|status| *status != ImageStatus::Active)
}

fn media(image: &ImageDetail) -> MediaTypes {
    let text = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    MediaTypes {
        manifest: text(image.image_manifest_media_type()),
        artifact: text(image.artifact_media_type()),
    }
}

fn described(image: &ImageDetail) -> Result<ImageDescribed, PortError> {
    Ok(ImageDescribed {
        digest: digest(image)?,
        tags: image.image_tags().iter().filter_map(|tag| Tag::new(tag).ok()).collect(),
        pushed_at: image.image_pushed_at.as_ref().and_then(timestamp),
        media: media(image),
    })
}

fn digest(image: &ImageDetail) -> Result<Digest, PortError> {
    let text = image.image_digest().unwrap_or_default();
    Digest::new(text).map_err(|error| {
        PortError::new(ErrorKind::Invalid, DESCRIBE_IMAGES, "UnexpectedAnswer", error.to_string())
    })
}

/// `None` when ECR does not say when it was pushed.
fn subject(image: &ImageDetail) -> Option<Subject> {
    Some(Subject {
        tags: image.image_tags().to_vec(),
        pushed_at: image.image_pushed_at.as_ref().and_then(timestamp)?,
        pulled_at: image.last_recorded_pull_time.as_ref().and_then(timestamp),
    })
}

fn timestamp(time: &DateTime) -> Option<Timestamp> {
    Timestamp::new(time.secs(), i32::try_from(time.subsec_nanos()).ok()?).ok()
}

fn not_ecr(registry: &str) -> PortError {
    let message = format!("{registry:?} is not a private ECR registry");
    PortError::new(ErrorKind::Invalid, DESCRIBE_IMAGES, "NotEcr", message)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_replay::{Answer, Replay};

    use super::*;

    const REGISTRY: &str = "444455556666.dkr.ecr.us-west-2.amazonaws.com";

    fn hash(fill: char) -> String {
        format!("sha256:{}", String::from(fill).repeat(64))
    }

    fn image(registry: &str) -> Image {
        Image {
            registry: registry.into(),
            repository: RepositoryName::new("shop/checkout").unwrap(),
            digest: Digest::new(hash('a')).unwrap(),
            tag: None,
        }
    }

    fn detail(fill: char, tags: &[&str], pushed_at: i64) -> Value {
        json!({ "imageDigest": hash(fill), "imageTags": tags, "imagePushedAt": pushed_at, "imageStatus": "ACTIVE" })
    }

    fn lifecycle(replay: &Replay, selection: Value) {
        let policy = json!({ "rules": [{ "rulePriority": 1, "selection": selection, "action": { "type": "expire" } }] });
        replay.json("GetLifecyclePolicy", json!({ "lifecyclePolicyText": policy.to_string() }));
    }

    fn no_lifecycle(replay: &Replay) {
        replay.answer("GetLifecyclePolicy", Answer::error(400, "LifecyclePolicyNotFoundException", "none"));
    }

    fn images(replay: &Replay, details: &[Value]) {
        replay.json("DescribeImages", json!({ "imageDetails": details }));
    }

    async fn seen(replay: &Replay) -> Option<(bool, bool)> {
        let seen = EcrAdapter::new(replay.config()).image(&image(REGISTRY)).await.unwrap();
        seen.map(|seen| (seen.expiring, seen.archived))
    }

    #[tokio::test]
    async fn an_image_is_asked_for_in_its_own_registry() {
        let replay = Replay::new();
        images(&replay, &[detail('a', &["v1"], 1_760_000_000)]);
        no_lifecycle(&replay);
        assert_eq!(seen(&replay).await, Some((false, false)));
        let [call] = replay.calls("DescribeImages").try_into().unwrap();
        assert!(call.uri.contains("us-west-2"), "{}", call.uri);
        let expected = json!({ "registryId": "444455556666", "repositoryName": "shop/checkout",
            "imageIds": [{ "imageDigest": hash('a') }] });
        assert_eq!(call.json(), expected);
    }

    #[tokio::test]
    async fn an_image_that_is_gone_is_none_and_so_is_one_of_another_registry() {
        for code in ["ImageNotFoundException", "RepositoryNotFoundException"] {
            let replay = Replay::new();
            replay.answer("DescribeImages", Answer::error(400, code, "gone"));
            assert_eq!(seen(&replay).await, None);
        }
        let replay = Replay::new();
        let ecr = EcrAdapter::new(replay.config());
        assert_eq!(ecr.stored(&image("docker.io")).await.unwrap(), Stored::Elsewhere);
        assert!(ecr.image(&image("docker.io")).await.unwrap().is_none() && replay.operations().is_empty());
    }

    #[tokio::test]
    async fn an_archived_image_is_there_and_cannot_be_pulled() {
        for status in ["ARCHIVED", "ACTIVATING", "IN_LIMBO"] {
            let mut archived = detail('a', &["v1"], 0);
            archived["imageStatus"] = status.into();
            let replay = Replay::new();
            replay.answer("DescribeImages", Answer::error(400, "ImageNotFoundException", "not active"));
            images(&replay, &[archived]);
            assert_eq!(seen(&replay).await, Some((false, true)), "{status}");
            assert_eq!(replay.calls("DescribeImages")[1].json()["filter"], json!({ "imageStatus": "ANY" }));
        }
    }

    #[tokio::test]
    async fn where_archives_are_not_known_there_are_none() {
        let replay = Replay::new();
        replay
            .answer("DescribeImages", Answer::error(400, "ImageNotFoundException", "gone"))
            .answer("DescribeImages", Answer::error(400, "InvalidParameterException", "no filter with ids"));
        assert_eq!(seen(&replay).await, None);
    }

    #[tokio::test]
    async fn an_stable_image_is_expiring() {
        let replay = Replay::new();
        images(&replay, &[detail('a', &["v1"], 0)]);
        lifecycle(
            &replay,
            json!({ "tagStatus": "any", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 30 }),
        );
        assert_eq!(seen(&replay).await, Some((true, false)));
    }

    #[tokio::test]
    async fn an_image_is_expiring_behind_enough_newer_ones() {
        let of = |count: u32| async move {
            let replay = Replay::new();
            images(&replay, &[detail('a', &["main-1"], 100)]);
            lifecycle(
                &replay,
                json!({ "tagStatus": "tagged", "tagPrefixList": ["main-"], "countType": "imageCountMoreThan", "countNumber": count }),
            );
            let first =
                [detail('b', &["main-2"], 200), detail('c', &["main-0"], 50), detail('a', &["main-1"], 100)];
            replay.json("DescribeImages", json!({ "imageDetails": first, "nextToken": "more" }));
            images(&replay, &[detail('d', &["other"], 300), detail('e', &["main-3", "x"], 300)]);
            seen(&replay).await
        };
        assert_eq!(of(1).await, Some((true, false)));
        assert_eq!(of(2).await, Some((true, false)), "two newer ones are kept");
        assert_eq!(of(3).await, Some((false, false)), "it is the third");
    }

    #[tokio::test]
    async fn a_policy_that_may_not_be_read_is_told() {
        let replay = Replay::new();
        images(&replay, &[detail('a', &["v1"], 0)]);
        replay.answer("GetLifecyclePolicy", Answer::error(400, "AccessDeniedException", "no"));
        let error = EcrAdapter::new(replay.config()).image(&image(REGISTRY)).await.unwrap_err();
        assert_eq!((error.kind, error.operation.as_str()), (ErrorKind::Denied, "ecr:GetLifecyclePolicy"));
    }

    #[tokio::test]
    async fn a_tag_is_resolved() {
        let replay = Replay::new();
        images(&replay, &[detail('a', &["v1"], 0)]);
        replay.answer("DescribeImages", Answer::error(400, "ImageNotFoundException", "gone"));
        let ecr = EcrAdapter::new(replay.config());
        let (name, tag) = (RepositoryName::new("shop/checkout").unwrap(), Tag::new("v1").unwrap());
        assert_eq!(ecr.resolve(REGISTRY, &name, &tag).await.unwrap().unwrap().as_str(), hash('a'));
        assert_eq!(replay.calls("DescribeImages")[0].json()["imageIds"], json!([{ "imageTag": "v1" }]));
        assert_eq!(ecr.resolve(REGISTRY, &name, &tag).await.unwrap(), None);
        let error = ecr.resolve("docker.io", &name, &tag).await.unwrap_err();
        assert_eq!(
            (error.kind, error.message.as_str()),
            (ErrorKind::Invalid, "\"docker.io\" is not a private ECR registry")
        );
    }

    #[tokio::test]
    async fn every_tagged_image_that_can_be_pulled_is_listed_with_what_it_is() {
        let replay = Replay::new();
        let mut archived = detail('b', &["main-2"], 200);
        archived["imageStatus"] = "ARCHIVED".into();
        let mut cache = detail('c', &["main-cache"], 900);
        cache["imageManifestMediaType"] = "application/vnd.oci.image.manifest.v1+json".into();
        cache["artifactMediaType"] = "application/vnd.buildkit.cacheconfig.v0".into();
        let first = [detail('a', &["main-1", "prod-1"], 100), archived];
        replay.json("DescribeImages", json!({ "imageDetails": first, "nextToken": "more" }));
        images(&replay, &[cache]);
        let ecr = EcrAdapter::new(replay.config());
        let name = RepositoryName::new("shop/checkout").unwrap();
        let found = ecr.tagged(REGISTRY, &name).await.unwrap();
        let tags: Vec<Vec<&str>> =
            found.iter().map(|image| image.tags.iter().map(Tag::as_str).collect()).collect();
        assert_eq!(tags, [vec!["main-1", "prod-1"], vec!["main-cache"]]);
        assert_eq!(found[0].pushed_at.unwrap().as_second(), 100);
        assert_eq!(found[0].is_no_image(), None);
        assert!(found[1].is_no_image().unwrap().contains("buildkit"));
        let calls = replay.calls("DescribeImages");
        assert_eq!(calls[0].json()["filter"], json!({ "tagStatus": "TAGGED" }));
        assert_eq!(calls[1].json()["nextToken"], "more");
        let gone = Replay::new();
        gone.answer("DescribeImages", Answer::error(400, "RepositoryNotFoundException", "gone"));
        assert_eq!(EcrAdapter::new(gone.config()).tagged(REGISTRY, &name).await.unwrap(), []);
    }
}
