//! One decision. Baseline: writing the release it decides on as JSON once, which every commit has to do anyway.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};
use tidegate_core::change::Change;
use tidegate_core::vocab::{ecs, elb};

use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tidegate_core::actor::Actor;
use tidegate_core::admission::{Admission, Current, ReleaseRequest, admit};
use tidegate_core::decide::decide;
use tidegate_core::ids::{Digest, Image, ReleaseId};
use tidegate_core::observation::Observation;
use tidegate_core::policy;
use tidegate_core::release::Release;
use tidegate_core::seen::Seen;
use tidegate_core::service::ServiceRecord;
use tidegate_core::vocab::cloudwatch::{AlarmSeen, AlarmState};
use tidegate_core::vocab::ecr::{ImageSeen, Stored};
use tidegate_core::vocab::ecs::RunningSeen;
use tidegate_core::vocab::ecs::{LoadBalancerSeen, ServiceSeen, TaskDefinitionSeen};
use tidegate_core::vocab::elb::RuleSeen;

use crate::{Row, median};

/// How often each case is measured.
pub(crate) const ROUNDS: usize = 200;
const CALLS: u32 = 500;

const POLICY: &str = "
service: checkout
from:     { ecr: { repository: shop/checkout, tags: [\"main-*\"] } }
to:       { ecs: { cluster: prod, service: checkout, container: app } }
strategy: { canary: { percent: 10, bake: 5m }, bake: 15m }
rollback: { alarms: [checkout-5xx, checkout-p99] }
";

/// A queued release, one in preflight, and one in its first stage.
pub(crate) fn measure(rounds: usize) -> Result<Vec<Row>> {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().context("not a time")?;
    let (queued, mut seen) = queued(now)?;
    let preparing = decide(&queued, &seen, now);
    seen.head = preparing.head.clone();
    let running = decide(&preparing.release, &seen, now);
    if running.release.plan.is_none() {
        bail!("preflight did not pass: {:?}", running.release.report);
    }
    let cases = [
        ("decide: queued", &queued),
        ("decide: preflight", &preparing.release),
        ("decide: running", &running.release),
    ];
    let rows = cases.map(|(name, release)| Row {
        name: name.into(),
        median: time(rounds, || {
            black_box(decide(black_box(release), black_box(&seen), now));
        }),
        baseline_name: "its JSON written once",
        baseline: time(rounds, || {
            black_box(serde_json::to_string(black_box(release)).unwrap_or_default());
        }),
    });
    Ok(rows.into())
}

fn time(rounds: usize, mut call: impl FnMut()) -> Duration {
    let rounds = (0..rounds).map(|_| {
        let started = Instant::now();
        for _ in 0..CALLS {
            call();
        }
        started.elapsed() / CALLS
    });
    median(rounds.collect())
}

fn queued(now: Timestamp) -> Result<(Release, Observation)> {
    let policy = policy::parse("bench.yaml", POLICY)?;
    let target = policy.target(&"111122223333".parse()?, &"eu-central-1".parse()?);
    let head = ServiceRecord::new(policy.clone(), now);
    let request = ReleaseRequest::by_hand(
        policy.service.clone(),
        Change::one("app".parse()?, image('b')?),
        Actor::Tidegate,
    );
    let id = ReleaseId::new("0".repeat(26))?;
    let current = Current { head: &head, active: None, waiting: None };
    let Admission::Created { commit, .. } = admit(current, &request, target, id, now) else {
        bail!("the image was not admitted")
    };
    let release = commit.releases.into_iter().next().context("no release")?.release;
    let head = commit.head.context("no service row")?.head;
    Ok((release, observation(now, head)?))
}

fn image(letter: char) -> Result<Image> {
    Ok(Image {
        registry: "111122223333.dkr.ecr.eu-central-1.amazonaws.com".into(),
        repository: "shop/checkout".parse()?,
        digest: Digest::new(format!("sha256:{}", letter.to_string().repeat(64)))?,
        tag: None,
    })
}

fn observation(now: Timestamp, head: ServiceRecord) -> Result<Observation> {
    let elb = "arn:aws:elasticloadbalancing:eu-central-1:111122223333";
    let (blue, green) = (format!("{elb}:targetgroup/blue/1").parse()?, format!("{elb}:targetgroup/green/2"));
    let green: tidegate_core::ids::TargetGroupArn = green.parse()?;
    let rule: tidegate_core::ids::RuleArn = format!("{elb}:listener-rule/app/shop/1/2/3").parse()?;
    let arn: tidegate_core::ids::TaskDefinitionArn =
        "arn:aws:ecs:eu-central-1:111122223333:task-definition/checkout:1".parse()?;
    let balancer = LoadBalancerSeen {
        target_group: Some(blue),
        alternate_target_group: Some(green.clone()),
        production_rule: Some(rule.clone()),
        test_rule: None,
        role_given: true,
    };
    let weights = vec![(balancer.target_group.clone().context("blue")?, 100), (green, 0)];
    let old = image('a')?;
    let service = ServiceSeen {
        status: "ACTIVE".into(),
        controller: "ECS".into(),
        task_definition: arn.clone(),
        deployment_configuration: json!({ "maximumPercent": 200, "minimumHealthyPercent": 100 }),
        desired: 2,
        running: 2,
        pending: 0,
        other_tasks: 0,
        steady: true,
        load_balancers: vec![balancer],
        service_connect: false,
        revisions: Vec::new(),
        kind: Default::default(),
    };
    let ok = || AlarmSeen {
        state: AlarmState::Ok,
        since: None,
        reason: String::new(),
        silenced: None,
        unproven: None,
    };
    let there = |image: &Image| ImageSeen::there(image.digest.clone());
    Ok(Observation {
        at: now.saturating_add(SignedDuration::ZERO).context("time")?,
        head: Some(head),
        ecs: ecs::Observation {
            service: Seen::Known(Some(service)),
            task_definition: Seen::Known(TaskDefinitionSeen {
                arn,
                active: true,
                images: BTreeMap::from([("app".parse()?, old.pinned())]),
                floating: Default::default(),
                platform: None,
                tags: 1,
            }),
            running: Seen::Known(RunningSeen {
                digests: BTreeMap::from([("app".parse()?, vec![old.digest.clone()])]),
            }),
            deployments: Seen::Known(Vec::new()),
            ..ecs::Observation::default()
        },
        elb: elb::Observation {
            weights: Seen::Known(vec![RuleSeen { arn: rule, weights, is_default: false }]),
            ..elb::Observation::default()
        },
        alarms: Seen::Known(BTreeMap::from([
            ("checkout-5xx".parse()?, ok()),
            ("checkout-p99".parse()?, ok()),
        ])),
        stored: BTreeMap::from([(old.pinned(), Seen::Known(Stored::There(there(&old))))]),
        new_images: Seen::Known(BTreeMap::from([(image('b')?.digest, Some(there(&image('b')?)))])),
        ..Observation::default()
    })
}
