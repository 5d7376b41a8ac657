//! `plan`: what a release would do and what speaks against it, from the same look at AWS and the same preflight that the conductor
//! takes. Nothing is changed.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use tidegate_core::actor::Actor;
use tidegate_core::change::Change;
use tidegate_core::course::Course;
use tidegate_core::engine::{self, Preflight};
use tidegate_core::fault::PortError;
use tidegate_core::finding::{Finding, FindingCode};
use tidegate_core::forecast::{self, Forecast};
use tidegate_core::history::{Report, WaitingOn};
use tidegate_core::ids::{ReleaseId, ServiceName, Target};
use tidegate_core::intent::{Intent, Provenance};
use tidegate_core::observation::Observation;
use tidegate_core::plan::Plan;
use tidegate_core::release::{Phase, Progress, Release};
use tidegate_core::rollback::Choice;
use tidegate_core::service::ServiceRecord;
use tidegate_runtime::Context;
use tidegate_runtime::observe::{Feedback, observe};

use crate::connect::Connection;
use crate::exit::Exit;
use crate::find;
use crate::image::{self, ImageArg};
use crate::output::Output;
use crate::render;
use tidegate_view::{FindingView, PlanView, PlannedView, RollbackView};

/// The arguments of `plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service
    pub service: ServiceName,
    /// A tag, a digest (sha256:…), or REGISTRY/REPOSITORY:TAG or @DIGEST; for one container of several CONTAINER=IMAGE
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<ImageArg>,
}

/// Looks and tells.
pub async fn run(args: &Args, connection: &Connection, out: &mut Output) -> anyhow::Result<Exit> {
    let context = &connection.context;
    let installation = &context.installation;
    let head = find::service(&*installation.ledger, &args.service).await?;
    let change = image::change(&args.images, &head.policy, connection.registry()).await?;
    let (mut view, plan) = planned(context, &args.service, &head, change, Intent::Deploy).await?;
    if let Some(plan) = plan {
        (view.forecast, view.no_forecast) = expected(context, &view.target, &plan).await;
    }
    if out.is_json() {
        out.object(&view)?;
    } else {
        out.lines(&render::plan(&view))?;
    }
    Ok(if view.blocked { Exit::Blocked } else { Exit::Ok })
}

/// Shows what a rollback would do; changes nothing.
pub async fn rollback(
    connection: &Connection,
    service: &ServiceName,
    choice: &Choice,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    let context = &connection.context;
    let ledger = &*context.installation.ledger;
    let view = match choice {
        Choice::UnderWay { release, .. } => {
            let release = find::by_id(ledger, release).await?;
            let release =
                release.with_context(|| format!("a release of {service} is gone from the ledger"))?;
            RollbackView::under_way(&release)
        }
        Choice::Earlier { from, to, supersedes } => {
            let head = find::service(ledger, service).await?;
            let intent = Intent::Rollback {
                from: from.release.clone(),
                to: to.release.clone(),
                deployed: to.deployed.clone(),
            };
            let planned = look(context, service, &head, head.version_of(to), intent).await?;
            RollbackView::earlier(from, to, supersedes.as_ref(), planned)
        }
    };
    if out.is_json() {
        out.object(&view)?;
    } else {
        out.lines(&render::rollback(&view))?;
    }
    Ok(if view.blocked() { Exit::Blocked } else { Exit::Ok })
}

/// What the plan's numbers will be able to say, from the traffic of the last day. Nothing depends on it.
async fn expected(context: &Context, target: &Target, plan: &Plan) -> (Option<Forecast>, Option<String>) {
    let Some((asked, until)) = forecast::asked(plan, context.installation.time.now()) else {
        return (None, None);
    };
    match context
        .metrics
        .observe(target, &asked, until)
        .await
        .map(|seen| forecast::forecast(plan, &seen, until))
    {
        Ok(Some(forecast)) => (Some(forecast), None),
        Ok(None) => (None, Some("there were no requests in the last 24 hours".to_owned())),
        Err(error) => (None, Some(error.told())),
    }
}

/// The answer of `plan`, without what its numbers will be able to say.
pub(super) async fn look(
    context: &Context,
    service: &ServiceName,
    head: &ServiceRecord,
    change: Change,
    intent: Intent,
) -> anyhow::Result<PlanView> {
    Ok(planned(context, service, head, change, intent).await?.0)
}

async fn planned(
    context: &Context,
    service: &ServiceName,
    head: &ServiceRecord,
    change: Change,
    intent: Intent,
) -> anyhow::Result<(PlanView, Option<Plan>)> {
    let release = imagined(context, service, head, change, intent)?;
    let seen = observe(context, &release, Some(head.clone()), &Feedback::default()).await;
    let (mut findings, unseen, plan) = judge(context, head, &release, &seen);
    findings.extend(quarantined(head, &release));
    let view = PlanView {
        service: service.clone(),
        target: release.target,
        blocked: plan.is_none() || findings.iter().any(|finding| finding.blocking),
        findings: findings.into_iter().map(FindingView::from).collect(),
        unseen,
        notes: notes(head),
        plan: plan.as_ref().map(PlannedView::from),
        images: release.change,
        forecast: None,
        no_forecast: None,
    };
    Ok((view, plan))
}

fn judge(
    context: &Context,
    head: &ServiceRecord,
    release: &Release,
    seen: &Observation,
) -> (Vec<Finding>, Vec<String>, Option<Plan>) {
    match engine::preflight(&head.policy, release, seen, context.installation.time.now()) {
        Preflight::Pass(plan, findings) => (findings, Vec::new(), Some(*plan)),
        Preflight::Blocked(findings) => (findings, Vec::new(), None),
        Preflight::CannotSee(errors) => {
            let errors = errors.iter().map(PortError::told).collect();
            (Vec::new(), errors, None)
        }
    }
}

/// The release that would be: only what the look and the plan depend on is meant.
pub(super) fn imagined(
    context: &Context,
    service: &ServiceName,
    head: &ServiceRecord,
    change: Change,
    intent: Intent,
) -> anyhow::Result<Release> {
    let now = context.installation.time.now();
    Ok(Release {
        id: ReleaseId::new("0".repeat(26)).context("failed to imagine a release")?,
        service: service.clone(),
        target: head.policy.target(&context.installation.account, &context.installation.region),
        change,
        carried: BTreeSet::new(),
        intent,
        requested_by: Actor::Tidegate,
        created_at: now,
        version: 0,
        phase: Phase::Preparing { since: now },
        plan: None,
        progress: Progress::default(),
        course: Course::default(),
        gates: BTreeMap::new(),
        provenance: Provenance::default(),
        bypass_freeze: None,
        request: None,
        pause: None,
        promote_now: None,
        acted_at: None,
        wake: None,
        report: Report::waiting_on(WaitingOn::Turn { behind: None }),
    })
}

/// A digest that was rolled back is not released again, which preflight does not ask.
fn quarantined(head: &ServiceRecord, release: &Release) -> Option<Finding> {
    let image =
        release.change.images().into_iter().find(|image| head.quarantine.contains_key(&image.digest))?;
    let quarantined = head.quarantine.get(&image.digest).filter(|_| release.intent == Intent::Deploy)?;
    let problem = format!(
        "{} ({}) was rolled back by release {} ({})",
        image.label(),
        image.digest,
        quarantined.release.short(),
        quarantined.why
    );
    Some(Finding::blocking(FindingCode::Quarantined, problem))
}

/// What the ledger says that does not block.
fn notes(head: &ServiceRecord) -> Vec<String> {
    let active = head.active.iter().map(|active| {
        let active = active.short();
        format!("release {active} is under way; this one would wait, or replace it, as on_newer says")
    });
    active.collect()
}
