//! One look at the world: everything a decision needs, asked for at the same time where nothing depends on anything.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{join_all, try_join_all};
use jiff::Timestamp;
use tidegate_core::decide;
use tidegate_core::engine;
use tidegate_core::fault::PortError;
use tidegate_core::ids::{AlarmName, Digest, Image, Target};
use tidegate_core::observation::{EffectResult, Entropy, Hint, Needs, Observation, Refusal};
use tidegate_core::plan::Plan;
use tidegate_core::reference::image_of;
use tidegate_core::release::{Phase, Release};
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

impl Feedback {
    /// Whether there is nothing to hand on.
    pub(crate) fn is_empty(&self) -> bool {
        self.hints.is_empty() && self.refused.is_empty() && self.results.is_empty()
    }
}

/// What CloudWatch says of alarms, and when it was asked.
pub(crate) struct Alarming {
    at: Timestamp,
    alarms: BTreeMap<AlarmName, AlarmSeen>,
}

/// Asks CloudWatch about the alarms that an event says are in ALARM: it may have been delivered late, or again.
pub(crate) async fn alarming(context: &Context, target: &Target, hints: &[Hint]) -> Option<Alarming> {
    let in_alarm = hints.iter().filter_map(|hint| match hint {
        Hint::Alarm { name, seen } => seen.is_breach().then(|| name.clone()),
        Hint::Task(_) | Hint::Look => None,
    });
    let in_alarm: Vec<AlarmName> = in_alarm.collect();
    let at = context.installation.time.now();
    let seen = alarms(context, target, &in_alarm).await;
    seen.known().map(|alarms| Alarming { at, alarms: alarms.clone() })
}

/// What is enough to roll a release back: an alarm of its plan is in ALARM, and the deployment to stop is known. Nothing else has to be
/// seen for that, and the look follows. Anything less is a look like any other.
pub(crate) fn confirmed(
    release: &Release,
    head: Option<&ServiceRecord>,
    Alarming { at, alarms }: Alarming,
) -> Option<Observation> {
    let (Phase::Running { .. }, true, Some(plan)) = (&release.phase, release.is_started(), &release.plan)
    else {
        return None;
    };
    let in_alarm = alarms.iter().any(|(name, alarm)| alarm.is_breach() && plan.alarms.contains(name));
    let (head, alarms) = (head.cloned(), Seen::Known(alarms));
    in_alarm.then(|| Observation { at, head, alarms, entropy: entropy(), ..Observation::default() })
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
        // In a box of its own: everything that is asked at once is too much for a small stack.
        Box::pin(look(context, release, &needs, &mut seen)).await;
        asked = wanted;
    }
    seen
}

/// Looks at the candidate's share and nothing else: what people are shown beside the ledger.
pub async fn share(context: &Context, release: &Release, plan: &Plan) -> Observation {
    let mut seen = Observation { at: context.installation.time.now(), ..Observation::default() };
    Box::pin(look(context, release, &engine::share_needs(plan), &mut seen)).await;
    seen
}

/// Asks for all of it at the same time.
async fn look(context: &Context, release: &Release, needs: &Needs, seen: &mut Observation) {
    let target = &release.target;
    let at = seen.at;
    let (ecs, elb, autoscaling, lambda, alarms, own_alarms, scans, build, metrics, new_images, stored) = tokio::join!(
        context.ecs.observe(target, &needs.ecs),
        context.elb.observe(target, &needs.elb),
        context.autoscaling.observe(target, &needs.autoscaling),
        context.lambda.observe(target, &needs.lambda),
        alarms(context, target, &needs.alarms),
        alarms(context, target, needs.own_alarms.as_deref().unwrap_or_default()),
        Seen::ask(needs.scans.then_some(()), |()| each(release, |image| context.images.scan(image))),
        Seen::ask(needs.build.as_ref(), |build| context.builds.build(build)),
        Seen::ask(needs.metrics.as_ref(), |asked| context.metrics.observe(target, asked, at)),
        Seen::ask(needs.new_images.then_some(()), |()| each(release, |image| context.images.image(image))),
        stored(context, &needs.stored),
    );
    seen.ecs.merge(ecs);
    seen.elb.merge(elb);
    seen.autoscaling.merge(autoscaling);
    seen.lambda.merge(lambda);
    seen.alarms.merge(alarms);
    seen.own_alarms.merge(own_alarms);
    seen.scans.merge(scans);
    seen.build.merge(build);
    seen.metrics.merge(metrics);
    seen.new_images.merge(new_images);
    seen.stored.extend(stored);
}

/// Asks the same of every image of a release, all at the same time.
async fn each<'a, T, F>(
    release: &'a Release,
    ask: impl Fn(&'a Image) -> F,
) -> Result<BTreeMap<Digest, T>, PortError>
where
    F: Future<Output = Result<T, PortError>>,
{
    let images = release.change.images();
    let seen = try_join_all(images.iter().map(|image| ask(image))).await?;
    Ok(images.into_iter().map(|image| image.digest.clone()).zip(seen).collect())
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
