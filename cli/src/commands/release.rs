//! `release`: asks for the release of an image, by a person and for a reason.

use anyhow::{Context as _, bail};
use serde::Serialize;
use tidegate_core::admission::Admission;
use tidegate_core::admission::ReleaseRequest;
use tidegate_core::change::Change;
use tidegate_core::ids::{Image, ReleaseId, ServiceName};
use tidegate_core::ports::Images;

use super::watch::{self, Until};
use crate::connect::Connection;
use crate::exit::Exit;
use crate::find;
use crate::image::{self, ImageArg};
use crate::line::{Line, Tone};
use crate::output::Output;

/// The arguments of `release`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service
    pub service: ServiceName,
    /// A tag, a digest (sha256:…), or REGISTRY/REPOSITORY:TAG or @DIGEST; for one container of several CONTAINER=IMAGE
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<ImageArg>,
    /// Release it although it was rolled back before, or already runs
    #[arg(long)]
    pub force: bool,
    /// Why; kept in the history
    #[arg(long, value_name = "TEXT", value_parser = super::reason)]
    pub reason: Option<String>,
    /// Release it although a freeze window is open: a second person has to approve; needs --reason
    #[arg(long, requires = "reason")]
    pub bypass_freeze: bool,
    /// Follow the release until it has ended
    #[arg(long)]
    pub watch: bool,
}

#[derive(Debug, Serialize)]
struct Answer {
    /// `created`, `known` (it is being released already), `runs` (it is what runs), `refused` (quarantined).
    outcome: &'static str,
    service: ServiceName,
    images: Change,
    release: Option<ReleaseId>,
    why: Option<String>,
    conductor_told: bool,
}

/// Asks.
pub async fn run(args: &Args, connection: &Connection, out: &mut Output) -> anyhow::Result<Exit> {
    let installation = connection.installation();
    let head = find::service(&*installation.ledger, &args.service).await?;
    let registry = connection.registry();
    let change = image::change(&args.images, &head.policy, registry).await?;
    for image in change.images() {
        must_exist(registry.images, image).await?;
    }
    let request = ReleaseRequest {
        why: args.reason.clone(),
        force: args.force,
        bypass_freeze: args.reason.clone().filter(|_| args.bypass_freeze),
        ..ReleaseRequest::by_hand(args.service.clone(), change.clone(), connection.actor().await?)
    };
    let admission = installation.release_image(request, |_| true).await;
    let admission = admission.with_context(|| format!("failed to release {change} to {}", args.service))?;
    let Some(admission) = admission else { bail!("service {} is gone from the ledger", args.service) };
    let conductor_told = connection.conductor_told(out);
    let answer = answer(&admission, args, change, conductor_told);
    let follow = match &admission {
        Admission::Created { release, .. } | Admission::Known { release } if args.watch => {
            Some(release.clone())
        }
        Admission::Created { .. }
        | Admission::Known { .. }
        | Admission::Runs { .. }
        | Admission::Refused { .. } => None,
    };
    // With --watch the JSON is that of the watched release alone.
    if !out.is_json() {
        out.lines(&lines(&answer, args.watch))?;
    } else if follow.is_none() {
        out.object(&answer)?;
    }
    match (follow, &admission) {
        (Some(release), _) => watch::follow(connection, &release, Until::Ended, out).await,
        (None, Admission::Refused { .. }) => Ok(Exit::Blocked),
        (None, Admission::Created { .. } | Admission::Known { .. } | Admission::Runs { .. }) => Ok(Exit::Ok),
    }
}

/// A digest with a typing mistake is told at once. Whoever may not read the repository leaves that to preflight.
async fn must_exist(images: &dyn Images, image: &Image) -> anyhow::Result<()> {
    match images.image(image).await {
        Ok(None) => bail!("there is no image {} in {}/{}", image.digest, image.registry, image.repository),
        Ok(Some(_)) | Err(_) => Ok(()),
    }
}

fn answer(admission: &Admission, args: &Args, images: Change, conductor_told: bool) -> Answer {
    let (release, why) = match admission {
        Admission::Created { release, .. } | Admission::Known { release } | Admission::Runs { release } => {
            (Some(release.clone()), None)
        }
        Admission::Refused { why, .. } => (None, Some(why.clone())),
    };
    Answer { outcome: admission.word(), service: args.service.clone(), images, release, why, conductor_told }
}

fn lines(answer: &Answer, watched: bool) -> Vec<Line> {
    let id = answer.release.as_ref().map(|id| id.short().to_owned()).unwrap_or_default();
    let (service, images) = (&answer.service, &answer.images);
    let line = match answer.outcome {
        "created" => Line::of(Tone::Good, format!("created release {id}"))
            .add(Tone::Plain, format!(" of {images} to {service}")),
        "known" => Line::plain(format!("release {id} already brings {images} to {service}")),
        "runs" => Line::plain(format!(
            "{service} already runs {images}, since release {id}; --force releases it again"
        )),
        _ => Line::of(Tone::Bad, "refused: ").add(Tone::Plain, answer.why.clone().unwrap_or_default()),
    };
    let mut lines = vec![line];
    if !watched && matches!(answer.outcome, "created" | "known") {
        lines.push(Line::of(Tone::Faint, format!("follow it with: tidegate watch {id}")));
    }
    lines
}
