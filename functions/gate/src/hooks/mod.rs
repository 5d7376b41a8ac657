//! Webhooks: whoever proves to know the service's secret asks for an image to be released.
//!
//! The order is the same for all: the proof first, then what was sent, then the policy, then the image, and last the one call that
//! admits it. What has proven itself and is not followed is told in the service's history, as with every other trigger. Before the proof nothing is read from the ledger, and a service that does not exist is refused like a wrong signature. What
//! is released is always an image of the policy's ECR repository, by digest.

mod docker_hub;
mod github;
mod jenkins;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_core::actor::Actor;
use tidegate_core::admission::Admission;
use tidegate_core::fault::PortError;
use tidegate_core::ids::ServiceName;
use tidegate_core::intent::Provenance;
use tidegate_core::policy::{GitHubRun, Policy};
use tidegate_core::reference::{Reference, ReferenceError, Selection};
use tidegate_core::trigger::{Reason, Refusal, Subject, Trigger};
use tidegate_runtime::triggers::{Announcing, Attempt, ImageRequest, TriggerError, TriggerResult};

use crate::call::{Call, Reply};
use crate::gate::Gate;
use crate::secrets::{Keeper, Secrets};

/// Which webhook, from the path behind `/hooks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook<'a> {
    /// `/hooks/github/SERVICE`
    GitHub(&'a str),
    /// `/hooks/jenkins/SERVICE`
    Jenkins(&'a str),
    /// `/hooks/dockerhub/SERVICE/SECRET`
    DockerHub(&'a str, &'a str),
}

impl<'a> Hook<'a> {
    pub(crate) fn of(segments: &[&'a str]) -> Option<Self> {
        match segments {
            ["github", service] => Some(Self::GitHub(service)),
            ["jenkins", service] => Some(Self::Jenkins(service)),
            ["dockerhub", service, secret] => Some(Self::DockerHub(service, secret)),
            _ => None,
        }
    }

    fn service(self) -> &'a str {
        match self {
            Self::GitHub(service) | Self::Jenkins(service) | Self::DockerHub(service, _) => service,
        }
    }

    fn trigger(self) -> Trigger {
        match self {
            Self::GitHub(_) => Trigger::GitHub,
            Self::Jenkins(_) => Trigger::Jenkins,
            Self::DockerHub(..) => Trigger::DockerHub,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::GitHub(_) => "github",
            Self::Jenkins(_) => "jenkins",
            Self::DockerHub(..) => "docker_hub",
        }
    }
}

/// What a webhook that has proven itself says.
#[derive(Debug)]
enum Said {
    /// A release is asked for.
    Release(Box<Wish>),
    /// Nothing is to be done, and why.
    Nothing(String),
}

/// The release that is asked for.
#[derive(Debug)]
struct Wish {
    image: Result<Reference, ReferenceError>,
    provenance: Provenance,
    delivery: String,
    /// When what it tells of came to be, as the sender says.
    announcing: Announcing,
    /// The sender's repository, as the policy has to name it.
    sender: String,
    about: About,
}

/// What the sender did, as far as the policy has a say in it.
#[derive(Debug)]
enum About {
    /// It names an image, and nothing more.
    Image,
    /// It deployed.
    Deployment { environment: Option<String>, reference: Option<String> },
    /// It ran a workflow.
    Run(Box<Run>),
}

#[derive(Debug)]
struct Run {
    path: Option<String>,
    name: Option<String>,
    event: String,
    branch: Option<String>,
    default_branch: Option<String>,
    attempt: u64,
    own: bool,
}

impl Run {
    fn facts(&self) -> GitHubRun<'_> {
        GitHubRun {
            path: self.path.as_deref(),
            name: self.name.as_deref(),
            event: &self.event,
            branch: self.branch.as_deref(),
            default_branch: self.default_branch.as_deref(),
            attempt: self.attempt,
            own: self.own,
        }
    }
}

/// Why a webhook is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    status: StatusCode,
    why: String,
}

impl Refused {
    /// The one answer to everything that has not proven itself.
    fn unproven() -> Self {
        Self { status: StatusCode::UNAUTHORIZED, why: "the signature does not verify".to_owned() }
    }

    fn malformed(why: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, why: why.into() }
    }
}

/// Takes a webhook.
pub(crate) async fn take(
    gate: &Gate,
    keeper: &Keeper,
    call: &Call,
    hook: Hook<'_>,
) -> Result<Reply, PortError> {
    let secrets = keeper.secrets().await?;
    let now = gate.installation.time.now();
    let mut said = read(call, hook, &secrets, now);
    if matches!(&said, Err(refused) if *refused == Refused::unproven())
        && let Some(secrets) = keeper.newer_than(&secrets).await?
    {
        said = read(call, hook, &secrets, now);
    }
    let outcome = match said {
        Ok(Said::Release(wish)) => ask(gate, hook, *wish).await?,
        Ok(Said::Nothing(why)) => Ok(done(nothing(&why))),
        Err(refused) => Err(refused),
    };
    Ok(match outcome {
        Ok((status, body)) => {
            tracing::info!(hook = hook.name(), service = hook.service(), outcome = %body["outcome"], "a webhook was taken");
            Reply::json(status, &body)
        }
        Err(Refused { status, why }) => {
            tracing::warn!(hook = hook.name(), http.status = status.as_u16(), why, "a webhook was refused");
            Reply::error(status, why)
        }
    })
}

fn read(call: &Call, hook: Hook<'_>, secrets: &Secrets, now: Timestamp) -> Result<Said, Refused> {
    let secrets = secrets.of(hook.service());
    match hook {
        Hook::GitHub(_) => github::read(call, &secrets.github, now),
        Hook::Jenkins(_) => jenkins::read(call, &secrets.jenkins, now),
        Hook::DockerHub(_, secret) => docker_hub::read(call, &secrets.docker_hub, secret, now),
    }
}

/// What the sender is answered.
type Answer = Result<(StatusCode, Value), Refused>;

fn done(body: Value) -> (StatusCode, Value) {
    (StatusCode::OK, body)
}

fn nothing(why: &str) -> Value {
    json!({ "outcome": "nothing", "why": why })
}

async fn ask(gate: &Gate, hook: Hook<'_>, wish: Wish) -> Result<Answer, PortError> {
    let Ok(service) = ServiceName::new(hook.service()) else { return Ok(Err(Refused::unproven())) };
    let Some(head) = gate.installation.ledger.service(&service).await? else {
        let why = format!("service {service} has no policy; store it with `tidegate apply`");
        return Ok(Err(Refused { status: StatusCode::NOT_FOUND, why }));
    };
    let by = Actor::Event { source: hook.name().to_owned(), id: wish.delivery.clone() };
    let against = |policy: &Policy| against(policy, hook, &wish);
    let image = match (against(&head.policy), &wish.image) {
        (None, Ok(image)) => image.clone(),
        (refusal, image) => {
            let unreadable = |error: &ReferenceError| Refusal::new(Reason::Unreadable, error.to_string());
            let refusal = refusal.or_else(|| image.as_ref().err().map(unreadable));
            let attempt = Attempt {
                service: &service,
                trigger: hook.trigger(),
                by: &by,
                subject: Subject::Webhook { sender: wish.sender.to_string() },
                delivery: Some(&wish.delivery),
            };
            let Some(refusal) = refusal else { return Ok(Ok(done(nothing("nothing was asked for")))) };
            return Ok(told(gate.installation.refuse(&attempt, refusal).await?));
        }
    };
    let wanted = ImageRequest {
        service,
        images: Selection::One(image),
        by,
        why: format!("a webhook of {} asked for it", wish.sender),
        provenance: wish.provenance.clone(),
        delivery: Some(wish.delivery.clone()),
        announcing: Some(wish.announcing),
    };
    match gate.installation.want(&*gate.images, &wanted, hook.trigger(), against).await {
        Ok(taken) => Ok(told(taken)),
        Err(TriggerError::Port(error)) => Err(error),
        Err(
            error @ (TriggerError::NoService(_)
            | TriggerError::Unreadable { .. }
            | TriggerError::Unfinished(_)),
        ) => Ok(Err(Refused { status: StatusCode::NOT_FOUND, why: error.to_string() })),
    }
}

/// What the sender is answered. That a policy passes something over is no error of the sender's.
fn told(taken: TriggerResult) -> Answer {
    match taken {
        TriggerResult::Admitted(admission, _) => Ok(done(match *admission {
            Admission::Created { release, .. } => json!({ "outcome": "created", "release": release }),
            Admission::Known { release } => json!({ "outcome": "known", "release": release }),
            Admission::Runs { release } => json!({ "outcome": "runs", "release": release }),
            Admission::Refused { why, .. } => json!({ "outcome": "refused", "why": why }),
        })),
        TriggerResult::Before(_) => Ok(done(json!({ "outcome": "handled before" }))),
        TriggerResult::Noted { why, until } => {
            let why = format!(
                "{why} yet; it is looked for every minute until {until:.0}, and released when it is there, unless something newer is"
            );
            Ok((StatusCode::ACCEPTED, json!({ "outcome": "noted", "why": why })))
        }
        TriggerResult::Refused(Refusal { reason, why }) => match reason {
            Reason::Closed => Err(Refused { status: StatusCode::FORBIDDEN, why }),
            Reason::Unreadable => Err(Refused { status: StatusCode::BAD_REQUEST, why }),
            Reason::Repository | Reason::Missing => {
                Err(Refused { status: StatusCode::UNPROCESSABLE_ENTITY, why })
            }
            Reason::Sender
            | Reason::Requester
            | Reason::Workflow
            | Reason::Branch
            | Reason::Environment
            | Reason::Batch
            | Reason::Tag
            | Reason::NotAnImage
            | Reason::Older
            | Reason::Quarantined
            | Reason::Failed => Ok(done(json!({ "outcome": "refused", "why": why }))),
        },
    }
}

/// What the policy has against the webhook of this sender.
fn against(policy: &Policy, hook: Hook<'_>, wish: &Wish) -> Option<Refusal> {
    let trigger = hook.trigger();
    let named = match (hook, policy.from.webhooks.as_ref()) {
        (Hook::GitHub(_), Some(source)) => source.github.as_ref().map(|it| it.repository.as_str()),
        (Hook::DockerHub(..), Some(source)) => source.docker_hub.as_ref().map(|it| it.repository.as_str()),
        (Hook::Jenkins(_), Some(source)) => source.jenkins.as_ref().map(|_| wish.sender.as_str()),
        (_, None) => None,
    };
    let (service, sender) = (&policy.service, &wish.sender);
    // GitHub and Docker Hub names are the same in upper and lower case. A secret that is used for another repository opens nothing.
    if !named.is_some_and(|named| named.eq_ignore_ascii_case(sender)) {
        let why =
            format!("the policy of {service} ({}) does not take webhooks of {sender:?}", trigger.field());
        return Some(Refusal::new(Reason::Closed, why));
    }
    let github = policy.from.webhooks.as_ref()?.github.as_ref();
    let unnamed = |field: &str| {
        let why = format!("the policy of {service} names no {field} ({}.{field})", trigger.field());
        Some(Refusal::new(Reason::Closed, why))
    };
    match &wish.about {
        About::Image => None,
        About::Deployment { environment, reference } => match github.and_then(|it| it.deployments.as_ref()) {
            Some(policy) => policy.refuses(environment.as_deref(), reference.as_deref()),
            None => unnamed("deployments"),
        },
        About::Run(run) => match github.and_then(|it| it.runs.as_ref()) {
            Some(policy) => policy.refuses(&run.facts()),
            None => unnamed("runs"),
        },
    }
}

/// Text of a sender as it is kept: one line of bounded length. Names and commits are shorter; what is not is none of these.
fn short(text: Option<String>) -> Option<String> {
    text.map(|text| text.chars().filter(|c| !c.is_control()).take(200).collect::<String>())
        .filter(|text| !text.trim().is_empty())
}
