//! What starts a release: every trigger a policy can open, and whether it lets one particular sender, branch or build pass.
//!
//! Every trigger is closed until the policy names it, and within an open one only what is named passes. The rules are pure functions of
//! what a sender says about itself, so that whoever receives it (a webhook, an event, the clock) asks the same one.

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::scalars::{self, NamePattern, TagPattern};
use crate::ids::{RepositoryName, Tag};
use crate::trigger::{Reason, Refusal, Trigger};

/// What starts a release. Whatever does, the image is one of the ECR repository's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The repository the images are in, and which pushes to it start a release.
    pub ecr: EcrSource,
    /// A build that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codebuild: Option<BuildSource>,
    /// A release manifest written to a bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<BucketSource>,
    /// A CodePipeline action.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "pipeline")]
    pub pipeline: Option<PipelineSource>,
    /// The event `tidegate.release.requested` on the default event bus.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "requests")]
    pub requests: Option<RequestSource>,
    /// Webhooks on the invoke URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhooks: Option<WebhookSource>,
}

/// The repository the images are in, and which pushes to it start a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EcrSource {
    /// The repository, without registry: `shop/checkout`.
    #[serde(deserialize_with = "scalars::repository")]
    pub repository: RepositoryName,
    /// Glob patterns; one must match the whole tag. `*`, `?`, `[0-9]`, `[!a]` and `{a,b}` are understood. They hold for every trigger that
    /// has no `tags` of its own. Empty: pushes start nothing.
    #[serde(default)]
    pub tags: Vec<TagPattern>,
}

/// A CodeBuild build that succeeded, in Tidegate's own account and region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BuildSource {
    /// The project.
    pub project: String,
    /// The exported environment variable with the image, by tag or digest. Default `IMAGE_URI`. Without it, `imageDetail.json` or
    /// `imagedefinitions.json` of the build's artifact is read.
    #[serde(default = "image_uri")]
    pub variable: String,
    /// The branches whose builds are released. A build without a source version is of the project's own branch and needs no name here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<NamePattern>,
    /// Source versions, as CodeBuild shows them, whose builds are released: `refs/tags/v*`, or `*` where the project's own filters decide.
    /// Pull requests need a pattern that begins with `pr/`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<NamePattern>,
    /// Who may have started the build, as CodeBuild names them: `codepipeline/shop`, `GitHub-Hookshot/*`. Default: anyone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub initiators: Vec<NamePattern>,
    /// The tags its builds may release. Default: those of `from.ecr.tags`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "scalars::some_non_empty")]
    pub tags: Option<Vec<TagPattern>>,
}

fn image_uri() -> String {
    "IMAGE_URI".to_owned()
}

/// A release manifest written to a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BucketSource {
    /// The bucket.
    pub bucket: String,
    /// What the key has to begin with.
    #[serde(default)]
    pub prefix: String,
    /// The tags manifests may release. Default: those of `from.ecr.tags`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "scalars::some_non_empty")]
    pub tags: Option<Vec<TagPattern>>,
}

/// Pipelines whose Lambda action may release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineSource {
    /// The pipelines' names. The action's parameters have to name the execution, which has to be one of theirs and running.
    #[serde(deserialize_with = "scalars::non_empty")]
    pub names: Vec<String>,
    /// The tags they may release. Default: those of `from.ecr.tags`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "scalars::some_non_empty")]
    pub tags: Option<Vec<TagPattern>>,
}

/// Who may ask with the event `tidegate.release.requested`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestSource {
    /// The `source` of the event. IAM's condition `events:source` decides who may use which.
    #[serde(deserialize_with = "scalars::non_empty")]
    pub sources: Vec<NamePattern>,
    /// What `by` in the event's detail may be. Default: anything, or nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<NamePattern>,
    /// The tags requests may release. Default: those of `from.ecr.tags`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "scalars::some_non_empty")]
    pub tags: Option<Vec<TagPattern>>,
}

/// Webhooks on the invoke URL. Their secrets are in Tidegate's secret, not here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookSource {
    /// GitHub's `deployment` and `workflow_run` events.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "github")]
    pub github: Option<GitHubSource>,
    /// Jenkins, or anyone with the HMAC secret.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "jenkins")]
    #[schemars(with = "Option<BoolOr<JenkinsSource>>")]
    pub jenkins: Option<JenkinsSource>,
    /// Docker Hub's pushes. The image of the same tag in the ECR repository is released; a pull-through cache or a mirror brings it there.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "docker_hub")]
    #[schemars(with = "Option<TextOr<DockerHubSource>>")]
    pub docker_hub: Option<DockerHubSource>,
}

/// For the JSON Schema alone: a yes or no, or its settings.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum BoolOr<T> {
    Bool(bool),
    Settings(T),
}

/// For the JSON Schema alone: a name, or its settings.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum TextOr<T> {
    Text(String),
    Settings(T),
}

/// What of a GitHub repository starts a release. Its deployments do, or its workflow runs, or both; what is not named starts nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GitHubSource {
    /// The repository: `owner/name`.
    pub repository: String,
    /// Which deployments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployments: Option<GitHubDeployments>,
    /// Which workflow runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<GitHubRuns>,
    /// The tags they may release. Default: those of `from.ecr.tags`. A run releases the tag that is its commit id.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "scalars::some_non_empty")]
    pub tags: Option<Vec<TagPattern>>,
}

/// Which of a GitHub repository's deployments start a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GitHubDeployments {
    /// The environments, as GitHub names them.
    #[serde(deserialize_with = "scalars::non_empty")]
    pub environments: Vec<String>,
    /// The branches, tags or commits that may be deployed. Default: all; the environment's own rules in GitHub decide.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<NamePattern>,
}

/// Which of a GitHub repository's workflow runs start a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GitHubRuns {
    /// The workflow, by its file (`build.yml`) or its name.
    pub workflow: String,
    /// The branches. Default: the repository's default branch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<NamePattern>,
    /// What may have started the run. Default: `push` alone.
    #[serde(default = "push", deserialize_with = "scalars::non_empty")]
    pub events: Vec<String>,
    /// Whether a run that somebody started again counts. Default: no.
    #[serde(default)]
    pub reruns: bool,
}

fn push() -> Vec<String> {
    vec!["push".to_owned()]
}

/// Jenkins, or anyone with the HMAC secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JenkinsSource {
    /// The tags it may release. Default: those of `from.ecr.tags`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "scalars::some_non_empty")]
    pub tags: Option<Vec<TagPattern>>,
}

/// A Docker Hub repository whose pushes start a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DockerHubSource {
    /// The repository: `owner/name`.
    pub repository: String,
    /// The tags whose push starts a release. Default: those of `from.ecr.tags`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "scalars::some_non_empty")]
    pub tags: Option<Vec<TagPattern>>,
}

/// Settings that people may try to shorten: a yes or no, a name, or the settings themselves.
struct Short<T> {
    of_bool: fn(bool) -> Result<Option<T>, String>,
    of_text: fn(&str) -> Result<T, String>,
    allowed: &'static str,
}

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Short<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.allowed)
    }
    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Option<T>, E> {
        (self.of_bool)(value).map_err(E::custom)
    }
    fn visit_str<E: de::Error>(self, value: &str) -> Result<Option<T>, E> {
        (self.of_text)(value).map(Some).map_err(E::custom)
    }
    fn visit_unit<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }
    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Some)
    }
}

const PIPELINE_FORM: &str = "{ names: [PIPELINE, …] }, the pipelines that may release";
const REQUESTS_FORM: &str = "{ sources: [SOURCE, …] }, the event sources that may ask";
const GITHUB_FORM: &str = "{ repository: OWNER/NAME, deployments: { environments: [production] } } or { repository: OWNER/NAME, runs: { workflow: build.yml } }";

fn pipeline<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PipelineSource>, D::Error> {
    deserializer.deserialize_any(Short {
        of_bool: |open| if open { Err(format!("found true, allowed {PIPELINE_FORM}")) } else { Ok(None) },
        of_text: |text| Err(format!("found {text:?}, allowed {PIPELINE_FORM}")),
        allowed: PIPELINE_FORM,
    })
}

fn requests<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RequestSource>, D::Error> {
    deserializer.deserialize_any(Short {
        of_bool: |open| if open { Err(format!("found true, allowed {REQUESTS_FORM}")) } else { Ok(None) },
        of_text: |text| Err(format!("found {text:?}, allowed {REQUESTS_FORM}")),
        allowed: REQUESTS_FORM,
    })
}

fn github<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<GitHubSource>, D::Error> {
    deserializer.deserialize_any(Short {
        of_bool: |open| if open { Err(format!("found true, allowed {GITHUB_FORM}")) } else { Ok(None) },
        of_text: |text| Err(format!("found {text:?}, allowed {GITHUB_FORM}")),
        allowed: GITHUB_FORM,
    })
}

fn jenkins<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<JenkinsSource>, D::Error> {
    deserializer.deserialize_any(Short {
        of_bool: |open| Ok(open.then(JenkinsSource::default)),
        of_text: |text| Err(format!("found {text:?}, allowed true or {{ tags: [PATTERN, …] }}")),
        allowed: "true or { tags: [PATTERN, …] }",
    })
}

fn docker_hub<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DockerHubSource>, D::Error> {
    const FORM: &str = "OWNER/NAME or { repository: OWNER/NAME, tags: [PATTERN, …] }";
    deserializer.deserialize_any(Short {
        of_bool: |open| if open { Err(format!("found true, allowed {FORM}")) } else { Ok(None) },
        of_text: |text| Ok(DockerHubSource { repository: text.to_owned(), tags: None }),
        allowed: FORM,
    })
}

impl Source {
    /// What only shows when the triggers are seen together. The errors name the field.
    pub(super) fn check(&self) -> Result<(), String> {
        let webhooks = self.webhooks.as_ref();
        if let Some(webhooks) = webhooks {
            if webhooks.github.is_none() && webhooks.jenkins.is_none() && webhooks.docker_hub.is_none() {
                return Err("from.webhooks: found none, allowed github, jenkins and docker_hub".into());
            }
            if webhooks.github.as_ref().is_some_and(|it| it.deployments.is_none() && it.runs.is_none()) {
                return Err("from.webhooks.github: found neither deployments nor runs, so nothing would start a release; allowed \
                            deployments: { environments: [production] }, runs: { workflow: build.yml }, or both"
                    .into());
            }
            // Of one Docker Hub repository only the tag tells production from anything else.
            if webhooks.docker_hub.as_ref().is_some_and(|it| it.tags.is_none()) && self.ecr.tags.is_empty() {
                return Err("from.webhooks.docker_hub: found no tags, and from.ecr.tags is empty, so every tag that is pushed would be \
                            released; allowed { repository: OWNER/NAME, tags: [PATTERN, …] }"
                    .into());
            }
        }
        let other = Trigger::ALL.iter().any(|trigger| *trigger != Trigger::Push && self.opens(*trigger));
        if self.ecr.tags.is_empty() && !other {
            return Err("from.ecr.tags: found an empty list, allowed one entry or more unless another way under from starts releases".into());
        }
        Ok(())
    }

    /// Whether the policy opens a trigger at all.
    pub fn opens(&self, trigger: Trigger) -> bool {
        let webhooks = self.webhooks.as_ref();
        match trigger {
            Trigger::Push => !self.ecr.tags.is_empty(),
            Trigger::Build => self.codebuild.is_some(),
            Trigger::Manifest => self.s3.is_some(),
            Trigger::Pipeline => self.pipeline.is_some(),
            Trigger::Request => self.requests.is_some(),
            Trigger::GitHub => webhooks.is_some_and(|it| it.github.is_some()),
            Trigger::Jenkins => webhooks.is_some_and(|it| it.jenkins.is_some()),
            Trigger::DockerHub => webhooks.is_some_and(|it| it.docker_hub.is_some()),
        }
    }

    /// The tags a trigger may release; empty when the policy names none for it.
    pub fn tags(&self, trigger: Trigger) -> &[TagPattern] {
        let webhooks = self.webhooks.as_ref();
        let own = match trigger {
            Trigger::Push => None,
            Trigger::Build => self.codebuild.as_ref().and_then(|it| it.tags.as_ref()),
            Trigger::Manifest => self.s3.as_ref().and_then(|it| it.tags.as_ref()),
            Trigger::Pipeline => self.pipeline.as_ref().and_then(|it| it.tags.as_ref()),
            Trigger::Request => self.requests.as_ref().and_then(|it| it.tags.as_ref()),
            Trigger::GitHub => webhooks.and_then(|it| it.github.as_ref()?.tags.as_ref()),
            Trigger::Jenkins => webhooks.and_then(|it| it.jenkins.as_ref()?.tags.as_ref()),
            Trigger::DockerHub => webhooks.and_then(|it| it.docker_hub.as_ref()?.tags.as_ref()),
        };
        own.unwrap_or(&self.ecr.tags)
    }

    /// Refuses an image none of whose tags the trigger may release. Where the policy names no tags for it, any passes.
    pub fn refuses_tags(&self, trigger: Trigger, tags: &[Tag]) -> Option<Refusal> {
        refuses_tags(self.tags(trigger), trigger.tags_field(), tags)
    }
}

/// Refuses an image none of whose tags fits the patterns of a field. Without patterns any passes.
pub(super) fn refuses_tags(patterns: &[TagPattern], field: &str, tags: &[Tag]) -> Option<Refusal> {
    if patterns.is_empty() || tags.iter().any(|tag| patterns.iter().any(|it| it.matches(tag))) {
        return None;
    }
    let found = match tags {
        [] => "the image has no tag".to_owned(),
        [one] => format!("the image's tag is {one}"),
        [first, rest @ ..] => {
            let rest: Vec<&str> = rest.iter().take(5).map(Tag::as_str).collect();
            format!("the image's tags are {first}, {}", rest.join(", "))
        }
    };
    let allowed = listed(patterns.iter().map(TagPattern::as_str));
    let why = format!("{found}, and the policy allows {allowed} ({field})");
    Some(Refusal::new(Reason::Tag, why))
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.as_slice() {
        [] => "none".to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn patterns(patterns: &[NamePattern]) -> String {
    listed(patterns.iter().map(NamePattern::as_str))
}

fn any(patterns: &[NamePattern], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}

/// A workflow run, as GitHub describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GitHubRun<'a> {
    /// The workflow's file: `.github/workflows/build.yml`.
    pub path: Option<&'a str>,
    /// The workflow's name.
    pub name: Option<&'a str>,
    /// What started it: `push`, …
    pub event: &'a str,
    /// The branch.
    pub branch: Option<&'a str>,
    /// The repository's default branch.
    pub default_branch: Option<&'a str>,
    /// Which attempt it is, from 1.
    pub attempt: u64,
    /// Whether the branch is known to be the repository's own, not that of a fork.
    pub own: bool,
}

impl GitHubRuns {
    /// Why a run starts no release, if it does not.
    pub fn refuses(&self, run: &GitHubRun<'_>) -> Option<Refusal> {
        const FIELD: &str = "from.webhooks.github.runs";
        let sender = |why: String| Some(Refusal::new(Reason::Sender, why));
        // Whoever can fork the repository can have workflows succeed in the fork.
        if !run.own {
            return sender("the run is of a fork, and a fork never starts a release".into());
        }
        if !self.is_workflow(run) {
            let found = run.path.or(run.name).unwrap_or("a workflow without a name");
            return Some(Refusal::new(
                Reason::Workflow,
                format!(
                    "the run is of workflow {found}, and the policy names {} ({FIELD}.workflow)",
                    self.workflow
                ),
            ));
        }
        if !self.events.iter().any(|event| event == run.event) {
            let allowed = listed(self.events.iter().map(String::as_str));
            return sender(format!(
                "the run was started by {}, and the policy allows {allowed} ({FIELD}.events)",
                run.event
            ));
        }
        let Some(branch) = run.branch else {
            return sender("the run names no branch".into());
        };
        let allowed = if self.branches.is_empty() {
            run.default_branch == Some(branch)
        } else {
            any(&self.branches, branch)
        };
        if !allowed {
            let allowed = match (self.branches.as_slice(), run.default_branch) {
                ([], Some(default)) => format!("the default branch {default}"),
                ([], None) => "the default branch, which GitHub did not name".to_owned(),
                (named, _) => patterns(named),
            };
            let why =
                format!("the run is of branch {branch}, and the policy allows {allowed} ({FIELD}.branches)");
            return Some(Refusal::new(Reason::Branch, why));
        }
        if run.attempt != 1 && !self.reruns {
            let attempt = run.attempt;
            return sender(format!(
                "it is attempt {attempt} of the run, and the policy takes no reruns ({FIELD}.reruns)"
            ));
        }
        None
    }

    fn is_workflow(&self, run: &GitHubRun<'_>) -> bool {
        let wanted = self.workflow.as_str();
        let by_file = [".yml", ".yaml"].iter().any(|ending| wanted.ends_with(ending));
        if !by_file {
            return run.name == Some(wanted);
        }
        // Some events say `FILE@REF`.
        let path = run.path.map(|path| path.split('@').next().unwrap_or(path));
        path.is_some_and(|path| path == wanted || path.strip_prefix(".github/workflows/") == Some(wanted))
    }
}

impl GitHubDeployments {
    /// Why a deployment starts no release, if it does not.
    pub fn refuses(&self, environment: Option<&str>, reference: Option<&str>) -> Option<Refusal> {
        const FIELD: &str = "from.webhooks.github.deployments";
        let named = environment.unwrap_or_default();
        // GitHub's environments are the same in upper and lower case.
        if !self.environments.iter().any(|it| it.eq_ignore_ascii_case(named)) {
            let found = environment.map_or("no environment".to_owned(), |it| format!("environment {it}"));
            let allowed = listed(self.environments.iter().map(String::as_str));
            let why = format!(
                "the deployment is to {found}, and the policy allows {allowed} ({FIELD}.environments)"
            );
            return Some(Refusal::new(Reason::Environment, why));
        }
        let reference = reference.unwrap_or_default();
        let bare = ["refs/heads/", "refs/tags/"].iter().find_map(|prefix| reference.strip_prefix(prefix));
        if !self.refs.is_empty() && !any(&self.refs, bare.unwrap_or(reference)) && !any(&self.refs, reference)
        {
            let allowed = patterns(&self.refs);
            let why =
                format!("the deployment is of {reference}, and the policy allows {allowed} ({FIELD}.refs)");
            return Some(Refusal::new(Reason::Branch, why));
        }
        None
    }
}

/// What a build was made for, as CodeBuild describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildOrigin<'a> {
    /// What it was asked to build: a branch, a tag, a commit, `pr/7`; none for the project's own branch.
    pub source_version: Option<&'a str>,
    /// The branch a webhook started it for, when the build exports `CODEBUILD_WEBHOOK_HEAD_REF`.
    pub head_ref: Option<&'a str>,
    /// Who or what started it.
    pub initiator: Option<&'a str>,
    /// The batch it is a part of.
    pub batch: Option<&'a str>,
}

/// What a source version names.
#[derive(Debug, PartialEq, Eq)]
enum Version<'a> {
    Own,
    PullRequest,
    Branch(&'a str),
    Other(&'a str),
}

impl<'a> BuildOrigin<'a> {
    fn version(&self) -> Version<'a> {
        let Some(text) = self.source_version.filter(|text| !text.is_empty()) else {
            return self.head_ref.map_or(Version::Own, Self::of_ref);
        };
        if ["pr/", "mr/", "refs/pull/", "refs/merge-requests/"].iter().any(|prefix| text.starts_with(prefix))
        {
            return Version::PullRequest;
        }
        // `refs/heads/main^{COMMIT}` is a branch at a commit.
        let text = text.split("^{").next().unwrap_or(text);
        match Self::of_ref(text) {
            // A webhook's build names the commit; its branch is known only when the build exports it.
            Version::Other(_) if is_commit(text) => self.head_ref.map_or(Version::Other(text), Self::of_ref),
            Version::Other(name) if !name.contains(':') && !name.starts_with("refs/") && !is_commit(name) => {
                Version::Branch(name)
            }
            other @ (Version::Own | Version::PullRequest | Version::Branch(_) | Version::Other(_)) => other,
        }
    }

    fn of_ref(text: &'a str) -> Version<'a> {
        text.strip_prefix("refs/heads/").map_or(Version::Other(text), Version::Branch)
    }
}

fn is_commit(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl BuildSource {
    /// Why a build that succeeded starts no release, if it does not.
    pub fn refuses(&self, build: &BuildOrigin<'_>) -> Option<Refusal> {
        if let Some(batch) = build.batch {
            let why = format!(
                "it is one build of batch {batch}, which may have others that run or fail; a batch is released by what ends it: \
                 a push, a manifest or a request for the image it made as a whole"
            );
            return Some(Refusal::new(Reason::Batch, why));
        }
        let initiator = build.initiator.unwrap_or_default();
        if !self.initiators.is_empty() && !any(&self.initiators, initiator) {
            let allowed = patterns(&self.initiators);
            let why = format!(
                "{initiator} started the build, and the policy allows {allowed} (from.codebuild.initiators)"
            );
            return Some(Refusal::new(Reason::Sender, why));
        }
        let text = build.source_version.unwrap_or_default();
        let version = build.version();
        let named = self.versions.iter().any(|it| {
            it.matches(text)
                && (version != Version::PullRequest
                    || it.as_str().starts_with("pr/")
                    || it.as_str().starts_with("mr/"))
        });
        // A pipeline hands its own source over; where the policy names the pipeline, that is the source.
        let by_pipeline = initiator.starts_with("codepipeline/") && any(&self.initiators, initiator);
        if named || (by_pipeline && version != Version::PullRequest) {
            return None;
        }
        let why = match version {
            Version::Own => return None,
            Version::Branch(branch) if any(&self.branches, branch) => return None,
            Version::Branch(branch) if self.branches.is_empty() => {
                format!(
                    "the build is of branch {branch}, and the policy names no branch (from.codebuild.branches)"
                )
            }
            Version::Branch(branch) => {
                format!(
                    "the build is of branch {branch}, and the policy allows {} (from.codebuild.branches)",
                    patterns(&self.branches)
                )
            }
            Version::PullRequest => {
                format!(
                    "the build is of pull request {text}, and a pull request starts no release unless from.codebuild.versions names it"
                )
            }
            Version::Other(_) => format!(
                "the build is of {text}, which is no branch the policy names; let the build export CODEBUILD_WEBHOOK_HEAD_REF and name \
                 its branch (from.codebuild.branches), or allow such versions (from.codebuild.versions)"
            ),
        };
        Some(Refusal::new(Reason::Branch, why))
    }
}

impl RequestSource {
    /// Why a request starts no release, if it does not.
    pub fn refuses(&self, source: &str, by: Option<&str>) -> Option<Refusal> {
        if !any(&self.sources, source) {
            let allowed = patterns(&self.sources);
            let why = format!("{source} asked, and the policy allows {allowed} (from.requests.sources)");
            return Some(Refusal::new(Reason::Sender, why));
        }
        if !self.by.is_empty() && !any(&self.by, by.unwrap_or_default()) {
            let (found, allowed) = (by.unwrap_or("nobody"), patterns(&self.by));
            let why =
                format!("the request is by {found}, and the policy allows {allowed} (from.requests.by)");
            return Some(Refusal::new(Reason::Sender, why));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(yaml: &str) -> Result<Source, String> {
        let source: Source =
            serde_saphyr::from_str(yaml).map_err(|error| error.without_snippet().to_string())?;
        source.check()?;
        Ok(source)
    }

    #[track_caller]
    fn refused(yaml: &str, expected: &str) {
        let error = source(yaml).unwrap_err();
        assert!(error.contains(expected), "{yaml}: {error}");
    }

    #[test]
    fn an_open_trigger_names_whom_it_is_open_to() {
        refused(
            "{ ecr: { repository: a/b }, pipeline: true }",
            "found true, allowed { names: [PIPELINE, …] }",
        );
        refused(
            "{ ecr: { repository: a/b }, requests: true }",
            "found true, allowed { sources: [SOURCE, …] }",
        );
        refused("{ ecr: { repository: a/b }, requests: {} }", "missing field `sources`");
        refused("{ ecr: { repository: a/b }, pipeline: { names: [] } }", "found an empty list");
        refused(
            "{ ecr: { repository: a/b }, webhooks: { github: a/b } }",
            "deployments: { environments: [production] }",
        );
        refused(
            "{ ecr: { repository: a/b }, webhooks: { github: { repository: a/b } } }",
            "neither deployments nor runs",
        );
        refused(
            "{ ecr: { repository: a/b }, webhooks: { github: { repository: a/b, runs: {} } } }",
            "missing field `workflow`",
        );
        refused(
            "{ ecr: { repository: a/b }, webhooks: { github: { repository: a/b, deployments: {} } } }",
            "missing field `environments`",
        );
        refused("{ ecr: { repository: a/b }, webhooks: { docker_hub: a/b } }", "every tag that is pushed");
        refused("{ ecr: { repository: a/b }, webhooks: {} }", "from.webhooks: found none");
        refused("{ ecr: { repository: a/b } }", "from.ecr.tags: found an empty list");
        refused(
            "{ ecr: { repository: a/b }, pipeline: false, webhooks: { jenkins: false } }",
            "from.webhooks: found none",
        );
    }

    #[test]
    fn what_is_stored_is_read_again() {
        let yaml = "{ ecr: { repository: a/b, tags: [x] }, codebuild: { project: p, branches: [main], tags: [y] }, pipeline: { names: [p] }, \
                    requests: { sources: [s], by: [me] }, webhooks: { github: { repository: o/n, deployments: { environments: [production] }, \
                    runs: { workflow: build.yml, reruns: true } }, jenkins: true, docker_hub: o/n } }";
        let source = source(yaml).unwrap();
        let stored = serde_json::to_string(&source).unwrap();
        assert_eq!(serde_json::from_str::<Source>(&stored).unwrap(), source);
    }

    #[test]
    fn the_tags_of_the_repository_hold_for_every_trigger_that_has_none_of_its_own() {
        let source = source(
            "{ ecr: { repository: a/b, tags: [\"main-*\"] }, requests: { sources: [s] }, pipeline: { names: [p], tags: [\"rc-*\"] }, \
             webhooks: { jenkins: true } }",
        )
        .unwrap();
        let tag = |text: &str| vec![Tag::new(text).unwrap()];
        for trigger in [Trigger::Push, Trigger::Request, Trigger::Jenkins] {
            assert_eq!(source.refuses_tags(trigger, &tag("main-1")), None);
            assert!(source.refuses_tags(trigger, &tag("rc-1")).is_some(), "{trigger:?}");
            assert!(source.refuses_tags(trigger, &[]).is_some(), "{trigger:?}");
        }
        assert_eq!(source.refuses_tags(Trigger::Pipeline, &tag("rc-1")), None);
        let refusal = source.refuses_tags(Trigger::Pipeline, &tag("main-1")).unwrap();
        assert_eq!(refusal.why, "the image's tag is main-1, and the policy allows rc-* (from.pipeline.tags)");
        // One of several is enough.
        let both = [tag("rc-1"), tag("main-1")].concat();
        assert_eq!(source.refuses_tags(Trigger::Request, &both), None);
    }

    fn runs(yaml: &str) -> GitHubRuns {
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn run() -> GitHubRun<'static> {
        GitHubRun {
            path: Some(".github/workflows/build.yml"),
            name: Some("Build"),
            event: "push",
            branch: Some("main"),
            default_branch: Some("main"),
            attempt: 1,
            own: true,
        }
    }

    #[test]
    fn only_the_named_workflow_of_the_named_branch_passes() {
        let policy = runs("{ workflow: build.yml }");
        assert_eq!(policy.refuses(&run()), None);
        for (wrong, expected) in [
            (
                GitHubRun { path: Some(".github/workflows/lint.yml"), ..run() },
                "workflow .github/workflows/lint.yml",
            ),
            // A workflow of another file may call itself the same.
            (GitHubRun { path: None, name: Some("build.yml"), ..run() }, "workflow build.yml"),
            (GitHubRun { path: Some("dynamic/build.yml"), ..run() }, "workflow dynamic/build.yml"),
            (
                GitHubRun { branch: Some("feature/x"), ..run() },
                "branch feature/x, and the policy allows the default branch main",
            ),
            (GitHubRun { branch: None, ..run() }, "names no branch"),
            (GitHubRun { default_branch: None, ..run() }, "did not name"),
            (GitHubRun { event: "schedule", ..run() }, "started by schedule"),
            (GitHubRun { event: "pull_request", ..run() }, "started by pull_request"),
            (GitHubRun { event: "workflow_dispatch", ..run() }, "started by workflow_dispatch"),
            (GitHubRun { attempt: 2, ..run() }, "attempt 2"),
            (GitHubRun { attempt: 0, ..run() }, "attempt 0"),
            (GitHubRun { own: false, ..run() }, "fork"),
        ] {
            let refusal = policy.refuses(&wrong).unwrap_or_else(|| panic!("{wrong:?}"));
            assert!(refusal.why.contains(expected), "{}", refusal.why);
        }
    }

    #[test]
    fn more_passes_when_the_policy_says_so() {
        let policy = runs(
            "{ workflow: Build, branches: [main, \"release/*\"], events: [push, workflow_dispatch], reruns: true }",
        );
        for right in [
            run(),
            GitHubRun { branch: Some("release/2"), ..run() },
            GitHubRun { event: "workflow_dispatch", ..run() },
            GitHubRun { attempt: 3, ..run() },
            GitHubRun { path: None, ..run() },
        ] {
            assert_eq!(policy.refuses(&right), None);
        }
        // A fork never.
        assert!(policy.refuses(&GitHubRun { own: false, ..run() }).is_some());
        assert!(policy.refuses(&GitHubRun { branch: Some("releases"), ..run() }).is_some());
        assert_eq!(runs("{ workflow: .github/workflows/build.yml }").refuses(&run()), None);
        let with_ref = GitHubRun { path: Some(".github/workflows/build.yml@refs/heads/main"), ..run() };
        assert_eq!(runs("{ workflow: build.yml }").refuses(&with_ref), None);
    }

    #[test]
    fn only_the_named_environment_is_deployed_to() {
        let policy: GitHubDeployments =
            serde_saphyr::from_str("{ environments: [production], refs: [main, \"v*\"] }").unwrap();
        assert_eq!(policy.refuses(Some("Production"), Some("main")), None);
        assert_eq!(policy.refuses(Some("production"), Some("refs/tags/v2")), None);
        for (environment, reference) in [
            (Some("staging"), Some("main")),
            (Some("github-pages"), Some("main")),
            (Some("production-eu"), Some("main")),
            (None, Some("main")),
            (Some("production"), Some("feature/x")),
            (Some("production"), None),
        ] {
            assert!(policy.refuses(environment, reference).is_some(), "{environment:?} {reference:?}");
        }
    }

    #[test]
    fn what_a_build_was_made_for_counts() {
        let build = |yaml: &str| serde_saphyr::from_str::<BuildSource>(yaml).unwrap();
        let of =
            |version: &'static str| BuildOrigin { source_version: Some(version), ..BuildOrigin::default() };
        const COMMIT: &str = "4f1c2d3e5a6b7c8d9e0f4f1c2d3e5a6b7c8d9e0f";
        let closed = build("{ project: p }");
        assert_eq!(closed.refuses(&BuildOrigin::default()), None, "the project's own branch");
        for version in ["pr/7", "main", "refs/heads/main", "refs/tags/v1", COMMIT, "arn:aws:s3:::b/k"] {
            assert!(closed.refuses(&of(version)).is_some(), "{version}");
        }
        let main = build("{ project: p, branches: [main] }");
        for version in ["main", "refs/heads/main", "refs/heads/main^{4f1c2d3e5a6b7c8d9e0f}"] {
            assert_eq!(main.refuses(&of(version)), None, "{version}");
        }
        let webhook = |head| BuildOrigin { head_ref: Some(head), ..of(COMMIT) };
        assert_eq!(main.refuses(&webhook("refs/heads/main")), None);
        for wrong in [
            of("feature/x"),
            of("refs/heads/feature/x"),
            of(COMMIT),
            of("pr/7"),
            webhook("refs/heads/feature/x"),
            webhook("refs/tags/main"),
            BuildOrigin { head_ref: Some("refs/heads/main"), ..of("pr/7") },
            BuildOrigin { batch: Some("p:1"), ..of("main") },
            BuildOrigin { head_ref: Some("refs/heads/feature/x"), ..BuildOrigin::default() },
        ] {
            assert!(main.refuses(&wrong).is_some(), "{wrong:?}");
        }
        let any = build("{ project: p, versions: [\"*\"] }");
        assert_eq!(any.refuses(&of(COMMIT)), None);
        assert!(any.refuses(&of("pr/7")).is_some(), "a pull request has to be meant");
        assert_eq!(build("{ project: p, versions: [\"pr/*\"] }").refuses(&of("pr/7")), None);
        let pipeline = build("{ project: p, initiators: [codepipeline/shop] }");
        let by = |initiator| BuildOrigin { initiator: Some(initiator), ..of("arn:aws:s3:::b/k") };
        assert_eq!(pipeline.refuses(&by("codepipeline/shop")), None);
        assert!(pipeline.refuses(&by("codepipeline/other")).is_some());
        assert!(
            pipeline.refuses(&BuildOrigin { initiator: Some("alice"), ..BuildOrigin::default() }).is_some()
        );
    }

    #[test]
    fn requests_name_their_senders() {
        let policy: RequestSource =
            serde_saphyr::from_str("{ sources: [shop.ci, \"team.*\"], by: [alice] }").unwrap();
        assert_eq!(policy.refuses("shop.ci", Some("alice")), None);
        assert_eq!(policy.refuses("team.a", Some("alice")), None);
        for (sender, by) in [
            ("shop.cix", Some("alice")),
            ("other", Some("alice")),
            ("shop.ci", Some("bob")),
            ("shop.ci", None),
        ] {
            assert!(policy.refuses(sender, by).is_some(), "{sender} {by:?}");
        }
    }
}
