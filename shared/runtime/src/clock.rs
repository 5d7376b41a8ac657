//! The guarantee: everything due within the next minute is woken at its second, and triggers that were lost are found.

use jiff::{SignedDuration, Timestamp};
use tidegate_core::history::Actor;
use tidegate_core::ids::{ServiceName, ecr_registry};
use tidegate_core::observation::ServiceHead;
use tidegate_core::ports::{Images, PortError};
use tidegate_core::release::Release;

use crate::arrivals::{Pushed, settled_until};
use crate::world::Home;

/// The clock comes every minute; what is due until the next round is sent now.
const ROUND: SignedDuration = SignedDuration::from_secs(60);
/// How long the event of a push has before the push counts as missed.
const EVENT_GRACE: SignedDuration = SignedDuration::from_secs(120);
/// How many releases back it is looked whether a digest has been released before.
const LOOK_BACK: u32 = 50;

/// What one round did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Round {
    /// Wake-ups sent.
    pub woken: u32,
    /// Releases started for pushes whose event was lost.
    pub found: u32,
    /// What failed; the next round tries again.
    pub failed: Vec<String>,
}

impl Home {
    /// One round. A service that fails does not keep the others from their turn.
    pub async fn round(&self, images: &dyn Images) -> Result<Round, PortError> {
        let now = self.time.now();
        let mut round = Round::default();
        let until = now.saturating_add(ROUND).unwrap_or(now);
        for (release, at) in self.ledger.due(until).await?.tell(&mut round.failed) {
            let delay = at.duration_since(now).max(SignedDuration::ZERO);
            let secs = u32::try_from(delay.as_secs()).unwrap_or(0) + u32::from(delay.subsec_nanos() > 0);
            let Some(waker) = &self.waker else { break };
            match waker.wake(&release, secs, "it is due").await {
                Ok(()) => round.woken += 1,
                Err(error) => round.failed.push(format!("wake {release}: {error}")),
            }
        }
        for (service, head) in self.ledger.services().await?.tell(&mut round.failed) {
            match self.find_lost(images, &service, &head, now).await {
                Ok(found) => round.found += u32::from(found),
                Err(error) => round.failed.push(format!("look for lost pushes of {service}: {error}")),
            }
        }
        Ok(round)
    }

    /// ECR's events may be lost: the newest image the policy selects that was never released is released now.
    async fn find_lost(
        &self,
        images: &dyn Images,
        service: &ServiceName,
        head: &ServiceHead,
        now: Timestamp,
    ) -> Result<bool, PortError> {
        // Where pushes start nothing, none can be lost, and the repository need not be read.
        if head.policy.from.ecr.tags.is_empty() {
            return Ok(false);
        }
        let registry = ecr_registry(&self.account, &self.region);
        let Some((tag, digest, pushed_at)) = images.newest(&registry, &head.policy).await? else {
            return Ok(false);
        };
        let fresh = now.duration_since(pushed_at) < EVENT_GRACE;
        let overtaken = head.newest_push.is_some_and(|newest| newest > pushed_at);
        if fresh || overtaken || pushed_at < head.watching_since || head.quarantine.contains_key(&digest) {
            return Ok(false);
        }
        let releases = settled_until(self.ledger.releases(service, LOOK_BACK).await?, pushed_at)?;
        // What a person asked for after the push stands; what another, older push led to does not.
        let overruled = |release: &Release| release.created_at > pushed_at && is_asked_for(release);
        if releases.iter().any(|release| release.image.digest == digest || overruled(release)) {
            return Ok(false);
        }
        tracing::warn!(service = %service, image.digest = %digest, "the event of a push was lost; the clock found it");
        let pushed = Pushed {
            account: self.account.clone(),
            region: self.region.clone(),
            repository: head.policy.from.ecr.repository.clone(),
            tag,
            digest,
            pushed_at,
            by: Actor::Event { source: "tidegate.clock".into(), id: format!("pushed at {pushed_at}") },
            delivery: None,
        };
        Ok(self.image_pushed_to(service, &pushed).await?.is_some())
    }
}

fn is_asked_for(release: &Release) -> bool {
    match &release.requested_by {
        Actor::Person { .. } => true,
        Actor::Tidegate | Actor::Event { .. } => false,
    }
}
