//! One look at the world: everything a decision needs, asked for at the same time where nothing depends on anything.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use tidegate_core::decide;
use tidegate_core::engine::ecs_native::running::image_of;
use tidegate_core::fault::PortError;
use tidegate_core::ids::{AlarmName, Target};
use tidegate_core::observation::{EffectResult, Entropy, Hint, Needs, Observation, Refusal};
use tidegate_core::release::Release;
use tidegate_core::seen::Seen;
use tidegate_core::service::ServiceRecord;
use tidegate_core::vocab::cloudwatch::AlarmSeen;
use tidegate_core::vocab::ecr::Stored;

use crate::context::Context;

/// In how many rounds a look asks at most. What depends on what was seen is asked in the next round, and nothing depends on more than this.
const ROUNDS_MAX: u32 = 8;

/// What is known without looking: what the event said, and what became of the effects performed just before.
#[derive(Debug, Clone, Default)]
pub struct Feedback {
    /// Facts of the event that woke us.
    pub hints: Vec<Hint>,
    /// What AWS refused for good.
    pub refused: Vec<Refusal>,
    /// What was brought about and shows nowhere in AWS.
    pub results: Vec<EffectResult>,
}

/// Fresh randomness from the operating system. Without any, tokens must not be made, so nothing may continue.
fn entropy() -> Entropy {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    Entropy(bytes)
}

/// Looks at what the decision about a release needs, until it needs nothing more. Errors are part of the answer.
pub async fn observe(
    context: &Context,
    release: &Release,
    head: Option<ServiceRecord>,
    feedback: &Feedback,
) -> Observation {
    let mut seen = Observation {
        at: context.installation.time.now(),
        head,
        alarms: Seen::Known(BTreeMap::new()),
        own_alarms: Seen::Known(BTreeMap::new()),
        entropy: entropy(),
        hints: feedback.hints.clone(),
        refused: feedback.refused.clone(),
        results: feedback.results.clone(),
        ..Observation::default()
    };
    let mut asked = Needs::default();
    for _ in 0..ROUNDS_MAX {
        let wanted = decide::needs(release, &seen);
        let needs = wanted.clone().without(&asked);
        if needs.is_empty() {
            break;
        }
        look(context, release, &needs, &mut seen).await;
        asked = wanted;
    }
    seen
}

/// Asks for all of it at the same time.
async fn look(context: &Context, release: &Release, needs: &Needs, seen: &mut Observation) {
    let target = &release.target;
    let at = seen.at;
    let (ecs, elb, alarms, own_alarms, scan, build, requests, new_image, stored) = tokio::join!(
        context.ecs.observe(target, &needs.ecs),
        context.elb.observe(target, &needs.elb),
        alarms(context, target, &needs.alarms),
        alarms(context, target, needs.own_alarms.as_deref().unwrap_or_default()),
        Seen::ask(needs.scan.then_some(()), |()| context.images.scan(&release.image)),
        Seen::ask(needs.build.as_ref(), |build| context.builds.build(build)),
        Seen::ask(needs.requests.as_ref(), |asked| context.metrics.requests(target, asked, at)),
        Seen::ask(needs.new_image.then_some(()), |()| context.images.image(&release.image)),
        stored(context, &needs.stored),
    );
    seen.ecs.merge(ecs);
    seen.elb.merge(elb);
    seen.alarms.merge(alarms);
    seen.own_alarms.merge(own_alarms);
    seen.scan.merge(scan);
    seen.build.merge(build);
    seen.requests.merge(requests);
    seen.new_image.merge(new_image);
    seen.stored.extend(stored);
}

async fn alarms(
    context: &Context,
    target: &Target,
    names: &[AlarmName],
) -> Seen<BTreeMap<AlarmName, AlarmSeen>> {
    let asked: Option<&[AlarmName]> = (!names.is_empty()).then_some(names);
    Seen::ask(asked, |names| context.alarms.states(target, names)).await
}

/// Images in their registries, all at the same time: a task has few containers.
async fn stored(context: &Context, references: &BTreeSet<String>) -> BTreeMap<String, Seen<Stored>> {
    let one = |reference: String| async move {
        let stored: Result<Stored, PortError> = match image_of(&reference) {
            Some(image) => context.images.stored(&image).await,
            // Without a registry's host it is Docker Hub's.
            None => Ok(Stored::Elsewhere),
        };
        (reference, stored.into())
    };
    join_all(references.iter().cloned().map(one)).await.into_iter().collect()
}
