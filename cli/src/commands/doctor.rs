//! `doctor`: whether Tidegate itself works: its ledger, its queues, its secret, the events that have to reach it, what its functions may do and were
//! refused, the alarms its policies name. One line each, the remedy beside it. What could not be seen is unavailable, and never fine.

mod allowed;

use jiff::SignedDuration;
use serde::Serialize;
use tidegate_core::actor::Actor;
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::history::Fact;
use tidegate_core::ids::{AlarmName, ServiceName};
use tidegate_core::release::Release;
use tidegate_core::service::ServiceRecord;
use tidegate_core::vocab::cloudwatch::{AlarmSeen, AlarmState};
use tidegate_core::words::span;

use crate::connect::Connection;
use crate::exit::Exit;
use crate::line::{Line, Tone};
use crate::output::Output;
use crate::stack::SecretState;

/// A release that has to be woken is looked at every minute by the clock; so late, nobody does.
const LATE: SignedDuration = SignedDuration::from_mins(3);
/// How many of a service's newest releases tell how they came to be.
const LOOKED_THROUGH: u32 = 5;
/// So many messages are worked off in no time.
const MANY: u64 = 100;

/// What came of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// It was seen, and is as it should be.
    Ok,
    /// It was seen, and is not.
    Bad,
    /// It could not be seen.
    Unavailable,
    /// This command does not look at it.
    NotLooked,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
struct Check {
    what: String,
    verdict: Verdict,
    found: String,
    /// What to do about it.
    remedy: Option<String>,
}

impl Check {
    fn new(verdict: Verdict, what: impl Into<String>, found: impl Into<String>) -> Self {
        Self { what: what.into(), verdict, found: found.into(), remedy: None }
    }

    fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    fn unavailable(what: impl Into<String>, error: &PortError) -> Self {
        let remedy = match error.kind {
            ErrorKind::Denied => {
                format!("allow {} to whoever runs this, or ask somebody who may", error.operation)
            }
            ErrorKind::NotFound => {
                "is this the account, the region and the --stack Tidegate is installed as?".to_owned()
            }
            ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::Conflict | ErrorKind::Invalid => {
                "try again".to_owned()
            }
        };
        Self::new(Verdict::Unavailable, what, error.told()).remedy(remedy)
    }
}

#[derive(Serialize)]
struct Answer {
    /// Whether everything that was looked at could be seen and is as it should be.
    healthy: bool,
    checks: Vec<Check>,
}

/// Looks at everything and tells.
pub async fn run(connection: &Connection, out: &mut Output) -> anyhow::Result<Exit> {
    let mut checks = Vec::new();
    let services = ledger(connection, &mut checks).await;
    queues(connection, &mut checks).await?;
    checks.push(secret(connection).await?);
    open_releases(connection, &mut checks).await;
    for (service, head) in &services {
        events(connection, service, &mut checks).await;
        alarms(connection, service, head, &mut checks).await;
    }
    checks.extend(allowed::look(connection, &services).await?);
    checks.extend(not_looked(&services));
    let healthy = checks.iter().all(|it| matches!(it.verdict, Verdict::Ok | Verdict::NotLooked));
    if out.is_json() {
        out.object(&Answer { healthy, checks })?;
    } else {
        let lines: Vec<Line> = checks.iter().flat_map(lines).collect();
        out.lines(&lines)?;
    }
    Ok(if healthy { Exit::Ok } else { Exit::Error })
}

fn lines(check: &Check) -> Vec<Line> {
    let (tone, mark) = match check.verdict {
        Verdict::Ok => (Tone::Good, "ok          "),
        Verdict::Bad => (Tone::Bad, "bad         "),
        Verdict::Unavailable => (Tone::Warn, "unavailable "),
        Verdict::NotLooked => (Tone::Faint, "not looked  "),
    };
    let first = Line::of(tone, mark)
        .add(Tone::Strong, check.what.clone())
        .add(Tone::Plain, format!(": {}", check.found));
    let remedy = check.remedy.iter().map(|remedy| Line::of(Tone::Faint, format!("            {remedy}")));
    std::iter::once(first).chain(remedy).collect()
}

/// The rows of services: those that can be read, with what cannot.
async fn ledger(connection: &Connection, checks: &mut Vec<Check>) -> Vec<(ServiceName, ServiceRecord)> {
    match connection.installation().ledger.services().await {
        Ok(listing) => {
            let (services, damaged) = listing.split();
            let count = services.len();
            if damaged.is_empty() {
                checks.push(Check::new(
                    Verdict::Ok,
                    "ledger",
                    format!("{count} services, every row can be read"),
                ));
            }
            checks.extend(damaged.into_iter().map(|row| {
                Check::new(Verdict::Bad, format!("ledger, {}", row.name), row.problem.told())
                    .remedy("docs/operations.md, \"A row cannot be read\"; a newer schema means: finish the deployment")
            }));
            services
        }
        Err(error) => {
            checks.push(Check::unavailable("ledger", &error));
            Vec::new()
        }
    }
}

async fn queues(connection: &Connection, checks: &mut Vec<Check>) -> anyhow::Result<()> {
    let queues = connection.queues()?;
    for name in ["commands", "wake", "tell"] {
        let what = format!("queue {name}");
        checks.push(match queues.depth(name).await {
            Ok(depth) if depth.waiting < MANY => {
                Check::new(Verdict::Ok, what, format!("{} messages wait", depth.waiting))
            }
            Ok(depth) => Check::new(Verdict::Bad, what, format!("{} messages wait", depth.waiting)).remedy(
                "see the log of the function that empties it, and whether its concurrency is limited",
            ),
            Err(error) => Check::unavailable(what, &error),
        });
    }
    for name in ["wake-dlq", "events-dlq"] {
        let what = format!("dead letters {name}");
        checks.push(match queues.depth(name).await {
            Ok(depth) if depth.waiting == 0 => Check::new(Verdict::Ok, what, "none"),
            Ok(depth) => Check::new(Verdict::Bad, what, format!("{} messages", depth.waiting))
                .remedy("read one with aws sqs receive-message; docs/operations.md says what each means"),
            Err(error) => Check::unavailable(what, &error),
        });
    }
    Ok(())
}

/// Whether the gate can sign links and know webhooks. What the secret says is not asked for.
async fn secret(connection: &Connection) -> anyhow::Result<Check> {
    let what = "secret gate";
    let restored = "see the stack's resource GateSecret; without it no approval, webhook or link works. The command line does without";
    Ok(match connection.stack()?.secret("gate").await {
        Ok(SecretState::Valued) => Check::new(Verdict::Ok, what, "it has a value, which was not read"),
        Ok(SecretState::Empty) => {
            Check::new(Verdict::Bad, what, "it is there, and holds nothing").remedy(restored)
        }
        Ok(SecretState::Deleted) => {
            Check::new(Verdict::Bad, what, "its deletion is scheduled, and nobody can read it any more")
                .remedy("take that back: aws secretsmanager restore-secret --secret-id STACK-gate")
        }
        Err(error) if error.kind == ErrorKind::NotFound => {
            Check::new(Verdict::Bad, what, "there is none").remedy(restored)
        }
        Err(error) if error.kind == ErrorKind::Denied => {
            Check::new(Verdict::NotLooked, what, format!("you may not ask ({})", error.operation))
                .remedy("allow it to whoever runs this; the value is not read")
        }
        Err(error) => Check::unavailable(what, &error),
    })
}

/// Releases that nobody looks at, and what the functions are refused.
async fn open_releases(connection: &Connection, checks: &mut Vec<Check>) {
    let installation = connection.installation();
    let now = installation.time.now();
    let open =
        match installation.ledger.open().await {
            Ok(listing) => {
                let (open, damaged) = listing.split();
                checks.extend(damaged.into_iter().map(|row| {
                    Check::new(Verdict::Bad, format!("ledger, {}", row.name), row.problem.told())
                }));
                open
            }
            Err(error) => return checks.push(Check::unavailable("open releases", &error)),
        };
    let late = |release: &&Release| {
        release.wake.as_ref().is_some_and(|wake| now.duration_since(wake.due_at()) > LATE)
    };
    for release in open.iter().filter(late) {
        let since =
            release.wake.as_ref().map(|wake| span(now.duration_since(wake.due_at()))).unwrap_or_default();
        let found = format!("nobody has looked at it for {since} longer than it asked for");
        checks.push(
            Check::new(Verdict::Bad, format!("release {} of {}", release.id.short(), release.service), found)
                .remedy("see the logs of clock and conductor, and their alarms"),
        );
    }
    for release in &open {
        let refused = release.report.facts.iter().filter(|fact| is_refused(fact));
        checks.extend(refused.map(|fact| {
            let what = format!("permissions, release {} of {}", release.id.short(), release.service);
            Check::new(Verdict::Bad, what, fact.to_string())
                .remedy("allow it to the function's role: docs/operations.md lists what each role needs")
        }));
    }
    if !open.iter().any(|release| late(&release)) {
        checks.push(Check::new(
            Verdict::Ok,
            "open releases",
            format!("{}, all looked at in time", open.len()),
        ));
    }
}

/// Whether the last look, or the last effect, was refused for want of a permission.
fn is_refused(fact: &Fact) -> bool {
    let told =
        if let Fact::Unseen { error } | Fact::Refused { error, .. } = fact { error } else { return false };
    ["AccessDenied", "not allowed", "UnauthorizedOperation"].iter().any(|word| told.contains(word))
}

/// A push whose event was lost is found by the clock: once is bad luck, and more often the event does not arrive at all.
async fn events(connection: &Connection, service: &ServiceName, checks: &mut Vec<Check>) {
    let what = format!("events of {service}");
    let releases = match connection.installation().ledger.releases(service, LOOKED_THROUGH).await {
        Ok(listing) => listing.split().0,
        Err(error) => return checks.push(Check::unavailable(what, &error)),
    };
    let source = |release: &Release| {
        if let Actor::Event { source, .. } = &release.requested_by { Some(source.clone()) } else { None }
    };
    let sources: Vec<String> = releases.iter().filter_map(source).collect();
    let lost = sources.iter().filter(|source| *source == "tidegate.clock").count();
    checks.push(match (sources.len(), lost) {
        (0, _) => Check::new(Verdict::NotLooked, what, "no event has started a release of it yet"),
        (_, 0) => Check::new(Verdict::Ok, what, format!("the last {} came by themselves", sources.len())),
        (all, lost) => Check::new(Verdict::Bad, what, format!("{lost} of the last {all} were found by the clock"))
            .remedy("see whether the EventBridge rule for its source is enabled and reaches intake, and the dead letters"),
    });
}

async fn alarms(
    connection: &Connection,
    service: &ServiceName,
    head: &ServiceRecord,
    checks: &mut Vec<Check>,
) {
    let what = format!("alarms of {service}");
    let names = &head.policy.rollback.alarms;
    if names.is_empty() {
        let found = "the policy names none: only crashing tasks, Amazon ECS or a person roll a release back";
        return checks.push(Check::new(Verdict::Bad, what, found).remedy("name some in rollback.alarms"));
    }
    let installation = connection.installation();
    let target = head.policy.target(&installation.account, &installation.region);
    match connection.context.alarms.states(&target, names).await {
        Err(error) => checks.push(Check::unavailable(what, &error)),
        Ok(seen) => {
            let wrong: Vec<String> = names.iter().filter_map(|name| wrong(name, seen.get(name))).collect();
            checks.push(if wrong.is_empty() {
                Check::new(Verdict::Ok, what, format!("{} alarms, all OK", names.len()))
            } else {
                Check::new(Verdict::Bad, what, wrong.join("; ")).remedy(
                    "no release starts or continues while this is so; correct the alarm, or rollback.alarms",
                )
            });
        }
    }
}

fn wrong(name: &AlarmName, seen: Option<&AlarmSeen>) -> Option<String> {
    let Some(seen) = seen else { return Some(format!("{name} does not exist")) };
    match (&seen.state, &seen.silenced) {
        (_, Some(by)) => Some(format!("{name} is silenced ({by})")),
        (AlarmState::Ok, None) => seen.unproven.as_ref().map(|why| format!("{name} proves nothing: {why}")),
        (AlarmState::Alarm | AlarmState::InsufficientData | AlarmState::Other(_), None) => {
            Some(format!("{name} is {}", seen.state.as_str()))
        }
    }
}

/// What this command cannot know, with who can.
fn not_looked(services: &[(ServiceName, ServiceRecord)]) -> Vec<Check> {
    let hooked: Vec<&str> = services
        .iter()
        .filter(|(_, head)| head.policy.from.webhooks.is_some())
        .map(|(service, _)| service.as_str())
        .collect();
    let mut checks = Vec::new();
    if !hooked.is_empty() {
        let found = format!(
            "what the gate's secret says is not read here; {} release from webhooks",
            hooked.join(", ")
        );
        checks.push(
            Check::new(Verdict::NotLooked, "webhooks", found)
                .remedy("send one: what is refused stands in the service's history (tidegate why SERVICE)"),
        );
    }
    checks
}
