//! What a release would do, for people.

use jiff::SignedDuration;

use super::{forecast, span};
use crate::line::{Line, Tone};
use tidegate_view::{PlanView, PlannedView, RollbackTargetView, RollbackView};

pub(super) const LABEL: usize = 12;
const STAGE: usize = 34;

/// The plan, the rollback target, the findings with their remedies.
pub fn plan(view: &PlanView) -> Vec<Line> {
    let mut lines = vec![
        Line::plain("release ")
            .add(Tone::Strong, view.images.to_string())
            .add(Tone::Plain, format!(" to {}", view.target)),
    ];
    if let Some(planned) = &view.plan {
        lines.extend(stages(planned));
        lines.push(Line::of(Tone::Strong, "the rollback target"));
        lines.push(label("moved by", moved_by(planned)));
        lines.extend(rollback_target(&planned.rollback_target));
    }
    lines.extend(view.forecast.iter().flat_map(forecast::lines));
    lines.extend(view.no_forecast.iter().map(|why| {
        Line::of(Tone::Faint, format!("what its numbers will be able to say is not known: {why}"))
    }));
    lines.extend(findings(view));
    lines.extend(view.notes.iter().map(|note| Line::of(Tone::Warn, "note  ").add(Tone::Plain, note.clone())));
    lines.push(if view.blocked {
        Line::of(Tone::Bad, "blocked: the release would not start")
    } else {
        Line::of(Tone::Good, "nothing blocks this release")
    });
    lines
}

pub(super) fn label(name: &str, text: impl Into<String>) -> Line {
    Line::plain("  ").column(Tone::Faint, name, LABEL).add(Tone::Plain, text)
}

pub(super) fn secs(secs: u64) -> String {
    span(SignedDuration::from_secs(i64::try_from(secs).unwrap_or(i64::MAX)))
}

fn stages(plan: &PlannedView) -> Vec<Line> {
    let several = if plan.containers.len() == 1 { "container" } else { "containers" };
    let mut lines = Vec::new();
    lines.extend((!plan.containers.is_empty()).then(|| label(several, plan.containers.join(", "))));
    lines.push(label("plan", plan.hash.chars().take(12).collect::<String>()));
    lines.push(Line::of(Tone::Strong, format!("stages, {} at least", secs(plan.at_least_secs))));
    lines.extend(plan.stages.iter().map(|stage| {
        Line::plain(format!("  {:>2}. ", stage.number))
            .column(Tone::Plain, &stage.text, STAGE)
            .add(Tone::Faint, format!("from +{}", secs(stage.earliest_secs)))
    }));
    lines
}

/// What a rollback would do.
pub fn rollback(view: &RollbackView) -> Vec<Line> {
    let to = view.to_name.as_deref().unwrap_or("the stable version");
    let (from, service) = (&view.from_name, &view.service);
    let mut lines = Vec::new();
    lines.extend(view.unseen.iter().map(|why| {
        Line::of(Tone::Warn, "! ").add(
            Tone::Plain,
            format!("what {service} runs could not be seen ({why}); {from} was promoted last"),
        )
    }));
    lines.extend(view.supersedes.iter().map(|waiting| {
        Line::of(Tone::Warn, "! ")
            .add(Tone::Plain, format!("release {}, which waits, would be superseded", waiting.short()))
    }));
    match &view.plan {
        Some(planned) => {
            lines.push(
                Line::plain("roll back ")
                    .add(Tone::Strong, service.to_string())
                    .add(Tone::Plain, format!(" from {from} to {to}; {from} is quarantined")),
            );
            lines.extend(plan(planned));
        }
        None => {
            lines.push(
                Line::plain("roll back ")
                    .add(Tone::Strong, from.clone())
                    .add(Tone::Plain, format!(" of {service}, which is under way, to {to}")),
            );
            match &view.rollback_target {
                Some(back) => lines.extend(rollback_target(back)),
                None => lines.push(Line::plain("  nothing has been changed yet, so the release just ends")),
            }
        }
    }
    lines
}

fn moved_by(plan: &PlannedView) -> String {
    let alarms = if plan.alarms.is_empty() {
        plan.own_checks
            .map_or_else(|| "no alarm: only you".to_owned(), |own| format!("no alarm: only {own}, and you"))
    } else {
        plan.alarms.join(", ")
    };
    let mut by = vec![alarms];
    by.extend((plan.failed_tasks > 0).then(|| format!("{} failed tasks", plan.failed_tasks)));
    by.extend(plan.judged_by.iter().cloned());
    by.join("; ")
}

fn rollback_target(back: &RollbackTargetView) -> Vec<Line> {
    let short = &back.name;
    let mut lines = vec![label("version", short)];
    if back.pinned_first {
        lines.push(label("", "registered again first, with every image by digest"));
    }
    lines
        .extend(back.images.iter().map(|(container, image)| label("image", format!("{container}: {image}"))));
    lines.extend(back.traffic.iter().map(|at| {
        let weights: Vec<String> =
            at.shares.iter().map(|share| format!("{} {}", share.name, share.weight)).collect();
        label("weights", weights.join(", "))
    }));
    lines.extend(back.strategy.iter().map(|strategy| label("strategy", format!("{strategy}, as it is now"))));
    lines
}

fn findings(view: &PlanView) -> Vec<Line> {
    let mut lines = Vec::new();
    for finding in &view.findings {
        let (mark, tone) = if finding.blocking { ("✗ ", Tone::Bad) } else { ("! ", Tone::Warn) };
        lines.push(Line::of(tone, mark).add(Tone::Plain, finding.problem.clone()));
        lines.push(Line::plain(format!("    {}", finding.remedy)));
    }
    for unseen in &view.unseen {
        lines.push(Line::of(Tone::Bad, "✗ not seen").add(Tone::Plain, format!(": {unseen}")));
    }
    lines
}
