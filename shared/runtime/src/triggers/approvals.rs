//! Manual approvals of pipelines, answered with what came of Tidegate's own approval gate.
//!
//! Nothing is remembered and nothing is sent once: every minute it is looked which approvals wait, and what the gate of the release
//! that the same pipeline execution started has come to. So a lost answer is given again, and an approval is never answered for
//! another execution's release.

use tidegate_core::actor::Actor;
use tidegate_core::fault::PortError;
use tidegate_core::gate;
use tidegate_core::history::Event;
use tidegate_core::ids::ServiceName;
use tidegate_core::outcome::Outcome;
use tidegate_core::policy::PipelineAction;
use tidegate_core::ports::Pipelines;
use tidegate_core::release::Release;
use tidegate_core::service::ServiceRecord;

use super::jobs::Started;
use crate::context::Installation;
use crate::visits::{Looked, Pace};

/// How many releases back the one of the waiting execution is looked for.
const RELEASES_SEEN: u32 = 50;

impl Installation {
    /// Answers every manual approval that waits for a gate that has been decided.
    pub async fn answer_pipelines(
        &self,
        pipelines: &dyn Pipelines,
        pace: Pace<'_>,
    ) -> Result<Looked, PortError> {
        let mut failed = Vec::new();
        let asks =
            |head: &ServiceRecord| head.policy.approval.iter().any(|approval| approval.pipeline.is_some());
        let asked = pace.services(&*self.ledger, &mut failed, asks).await?;
        let looked = pace
            .visit(&*self.time, "answer pipelines", asked, |service, head| async move {
                self.answer_pipelines_of(pipelines, &service, &head).await
            })
            .await;
        Ok(Looked { done: looked.done, failed: [failed, looked.failed].concat() })
    }

    async fn answer_pipelines_of(
        &self,
        pipelines: &dyn Pipelines,
        service: &ServiceName,
        head: &ServiceRecord,
    ) -> Result<bool, String> {
        let (mut answered, mut failed) = (false, Vec::new());
        for action in head.policy.approval.iter().filter_map(|approval| approval.pipeline.as_ref()) {
            match self.answer_pipeline(pipelines, service, action).await {
                Ok(now) => answered |= now,
                Err(error) => failed.push(format!("answer {action} for {service}: {error}")),
            }
        }
        if failed.is_empty() { Ok(answered) } else { Err(failed.join("; ")) }
    }

    async fn answer_pipeline(
        &self,
        pipelines: &dyn Pipelines,
        service: &ServiceName,
        action: &PipelineAction,
    ) -> Result<bool, PortError> {
        let Some(waiting) = pipelines.waiting(action).await? else { return Ok(false) };
        let (releases, damaged) = self.ledger.releases(service, RELEASES_SEEN).await?.split();
        let of_it = releases.iter().find(|release| {
            let started = Started::of(&release.requested_by);
            started.and_then(|started| started.execution).as_ref() == Some(&waiting.execution)
        });
        // The execution's release may be the one that cannot be read; the approval waits, and it is told.
        if let (None, Some(row)) = (of_it, damaged.into_iter().next()) {
            return Err(row.problem);
        }
        let Some((release, (approved, why))) =
            of_it.and_then(|release| Some((release, verdict(release, action)?)))
        else {
            return Ok(false);
        };
        let summary = format!("release {}: {why}", release.id);
        if !pipelines.approve(action, &waiting.token, approved, &summary).await? {
            return Ok(false);
        }
        let word = if approved { "approved" } else { "rejected" };
        tracing::info!(service = %service, release.id = %release.id, pipeline = %action, word, "answered a pipeline");
        let event = Event::PipelineAnswered {
            action: action.to_string(),
            execution: waiting.execution.to_string(),
            approved,
            why: summary,
        };
        self.note(service, &Actor::Tidegate, event, None).await?;
        Ok(true)
    }
}

/// What the pipeline is told; `None` while the gate is open.
fn verdict(release: &Release, action: &PipelineAction) -> Option<(bool, String)> {
    let gates = release.plan.iter().flat_map(|plan| &plan.gates.approvals);
    let gate = gates.enumerate().find(|(_, gate)| gate.approval.pipeline.as_ref() == Some(action));
    if let Some((gate, _)) = gate {
        return gate::decided(release, gate);
    }
    // It ended before there was a plan, or its plan was made before the policy named the pipeline: only a bad end is clear then.
    let outcome = release.outcome().filter(|outcome| **outcome != Outcome::Promoted)?;
    Some((false, release.cause().map_or_else(|| outcome.word().to_owned(), ToString::to_string)))
}
