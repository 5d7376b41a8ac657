//! What a way costs: the calls it makes, and the rounds they take one after the other until what it is for is done. The real loop over the
//! testkit's fakes, in which every call takes 20 ms of a clock of its own: the network's share of the time, without the machine's. Baseline:
//! the calls that nobody could do without, at the same latency.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tidegate_core::actor::Actor;
use tidegate_core::admission::ReleaseRequest;
use tidegate_core::ids::ReleaseId;
use tidegate_core::observation::Hint;
use tidegate_core::policy;
use tidegate_core::ports::Watched;
use tidegate_runtime::Context;
use tidegate_testkit::build::{Fixture, crowd};
use tidegate_testkit::fakes::{Aws, Balancing, Caller, Conditions, EcsHabits, Quality, Universe};
use tidegate_testkit::names;

use crate::Row;

/// How long every call takes, milliseconds.
const CALL_MILLIS: u64 = 20;
/// An effect counts when it reaches AWS: half of its call.
const HALF: Duration = Duration::from_millis(CALL_MILLIS / 2);
/// How often a canary is looked at until it is promoted.
const LOOKS_MAX: usize = 200;
/// The most that a function may take.
const INVOCATION: SignedDuration = SignedDuration::from_secs(57);

const POLICY: &str = "
service: checkout
from:     { ecr: { repository: shop/checkout, tags: [\"main-*\"] } }
to:       { ecs: { cluster: prod, service: checkout, container: app } }
strategy: { canary: { percent: 10, bake: 1m }, bake: 1m }
rollback: { alarms: [checkout-5xx] }
";

/// How many releases one alarm concerns, and how many are due at once.
pub(crate) struct Sizes {
    pub(crate) alarmed: &'static [u32],
    pub(crate) due: &'static [u32],
}

pub(crate) const ALL: Sizes = Sizes { alarmed: &[1, 10, 100, 1_000], due: &[10, 100, 1_000, 10_000] };
pub(crate) const QUICK: Sizes = Sizes { alarmed: &[1, 10], due: &[10] };

/// Every way.
pub(crate) fn measure(sizes: &Sizes) -> Result<Vec<Row>> {
    let mut rows = canary()?;
    for count in sizes.alarmed {
        rows.push(alarm(*count)?);
    }
    for count in sizes.due {
        rows.push(due(*count)?);
    }
    Ok(rows)
}

/// What one way took until it was there, and the calls of the whole invocation.
struct Way {
    name: String,
    calls: u64,
    took: Duration,
}

impl Way {
    fn beside(self, baseline_name: &'static str, baseline: Duration) -> Row {
        let rounds = self.took.as_millis().div_ceil(u128::from(CALL_MILLIS));
        Row {
            name: format!("{}: {} calls, {rounds} rounds", self.name, self.calls),
            median: self.took,
            baseline_name,
            baseline,
        }
    }
}

fn calls(count: u32) -> Duration {
    Duration::from_millis(CALL_MILLIS) * count
}

fn universe() -> Universe {
    let own = json!({ "strategy": "ROLLING", "maximumPercent": 200, "minimumHealthyPercent": 100 });
    let aws = Aws::new(Balancing::LoadBalancer, own, EcsHabits::default(), 1);
    let conditions = Conditions { latency: (CALL_MILLIS, CALL_MILLIS), ..Conditions::default() };
    Universe::new(aws, conditions, 1, true)
}

fn context(universe: &Universe) -> Context {
    universe.context(Caller { id: 4, name: "bench".into() }, false)
}

fn now(universe: &Universe) -> Timestamp {
    universe.state().now
}

fn made(universe: &Universe) -> u64 {
    universe.state().calls
}

fn until(universe: &Universe) -> Timestamp {
    let now = now(universe);
    now.saturating_add(INVOCATION).unwrap_or(now)
}

fn since(began: Timestamp, at: Timestamp) -> Duration {
    at.duration_since(began).try_into().unwrap_or_default()
}

/// From an alarm's event until the last of its releases has been told to stop.
fn alarm(count: u32) -> Result<Row> {
    let universe = universe();
    crowd(&universe, count);
    let seen = Fixture::baking(10).breached().seen;
    let alarms = seen.alarms.known().context("the alarms are seen")?;
    let seen = alarms.get(&names::alarm()).context("the alarm is seen")?.clone();
    let watched = Watched::Alarm(names::account(), names::region(), names::alarm());
    let (began, before) = (now(&universe), made(&universe));
    let hint = Hint::Alarm { name: names::alarm(), seen };
    let deadline = began.saturating_add(SignedDuration::from_secs(5)).context("a time")?;
    universe.run(context(&universe).noticed(&watched, hint, deadline)).context("not all were driven")?;
    let stopped =
        universe.state().performed.iter().map(|done| done.applied).max().context("nothing was stopped")?;
    let way = Way {
        name: format!("alarm to stop, {count} releases"),
        calls: made(&universe) - before,
        took: since(began, stopped),
    };
    Ok(way.beside("a query, a transaction, a stop", calls(2) + HALF))
}

/// One round of the clock, with so many releases of which something is expected any moment.
fn due(count: u32) -> Result<Row> {
    let universe = universe();
    crowd(&universe, count);
    let installation = universe.context(Caller { id: 4, name: "clock".into() }, true).installation;
    universe.run(installation.time.sleep(SignedDuration::from_secs(60)));
    let (began, before) = (now(&universe), made(&universe));
    let woken = universe.run(installation.wake_due());
    if woken.done != count {
        bail!("{} of {count} were woken: {:?}", woken.done, woken.failed);
    }
    let made = made(&universe) - before;
    let way = Way { name: format!("clock, {count} due"), calls: made, took: since(began, now(&universe)) };
    Ok(way.beside("the same calls one at a time", calls(u32::try_from(made).context("calls")?)))
}

/// A canary there and back, by the messages that wake it: from the beginning of an invocation until it does this to ECS.
fn canary() -> Result<Vec<Row>> {
    let universe = universe();
    let context = context(&universe);
    let by = Actor::Person { name: "bench".into() };
    let policy = policy::parse("bench.yaml", POLICY)?;
    universe.run(context.installation.apply(&policy, &by)).context("the policy is not stored")?;
    let at = now(&universe);
    universe.state().aws.push(2, Quality::Good, at);
    let request = ReleaseRequest::by_hand(policy.service.clone(), names::change(2), by);
    universe.run(context.installation.release_image(request, |_| true)).context("it is not let in")?;
    let id = universe.state().rows.releases().next().context("no release")?.id.clone();
    let last = course(&universe, &context, &id)?;
    let row = |name: &str, effect: &str| -> Result<Row> {
        let (calls, took) = last.get(effect).with_context(|| format!("{effect} was not seen"))?;
        let way = Way { name: name.into(), calls: *calls, took: *took };
        Ok(way.beside("a read, a transaction, the call", self::calls(2) + HALF))
    };
    Ok(vec![
        row("push to UpdateService", "start_deployment")?,
        row("bake over to continue", "continue_hook")?,
    ])
}

/// The last time that each effect was performed: how many calls its invocation made, and after how long it reached AWS.
fn course(
    universe: &Universe,
    context: &Context,
    id: &ReleaseId,
) -> Result<BTreeMap<&'static str, (u64, Duration)>> {
    let mut seen = BTreeMap::new();
    for _ in 0..LOOKS_MAX {
        let (began, before) = (now(universe), made(universe));
        let already = universe.state().performed.len();
        let driven = universe.run(context.woken(id, until(universe))).context("it was not driven")?;
        let made = made(universe) - before;
        for done in universe.state().performed.iter().skip(already) {
            seen.insert(done.effect.name(), (made, since(began, done.applied)));
        }
        let Some(wake) = driven.wake_at else { return Ok(seen) };
        let wait = wake.duration_since(now(universe)).max(SignedDuration::from_millis(1));
        universe.run(context.installation.time.sleep(wait));
    }
    bail!("the canary was not promoted within {LOOKS_MAX} looks")
}
