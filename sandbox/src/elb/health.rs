//! Health checks: one loop a target, from its registration until it is gone.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use jiff::Timestamp;
use tokio::net::TcpStream;

use super::Inner;
use super::model::HealthCheck;
use super::stats::Hosts;
use crate::ports::TargetHealth;

/// How soon a loop notices what no settings announce: a group coming into use, a target leaving.
const GLANCE: Duration = Duration::from_millis(50);

pub(super) fn watch(inner: &Arc<Inner>, target_group_arn: &str, address: SocketAddr, generation: u64) {
    let weak = Arc::downgrade(inner);
    let arn = target_group_arn.to_owned();
    inner.runtime.spawn(async move {
        let mut next_check = Instant::now();
        while let Some(step) = next_step(&weak, &arn, address, generation) {
            let now = Instant::now();
            let until_next = match step {
                Step::Wait => GLANCE,
                Step::Check(check) => {
                    if now >= next_check {
                        let Some(inner) = weak.upgrade() else { return };
                        next_check = now + inner.scaled(check.interval_secs);
                        let result = probe(&inner, &check, address).await;
                        inner.checked(&arn, address, generation, &check, result);
                    }
                    next_check.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
                }
            };
            tokio::time::sleep(GLANCE.min(until_next)).await;
        }
    });
}

/// How often the numbers of hosts are told; AWS does it once a minute.
const REPORT: Duration = Duration::from_secs(1);

/// Tells the observer the numbers of hosts from now on, as long as the load balancers exist.
pub(super) fn report(inner: &Arc<Inner>) {
    let weak = Arc::downgrade(inner);
    inner.runtime.spawn(async move {
        let mut ticks = tokio::time::interval(REPORT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(inner) = weak.upgrade() else { return };
            for hosts in inner.hosts() {
                inner.observer.hosts(&hosts);
            }
        }
    });
}

enum Step {
    Wait,
    Check(HealthCheck),
}

/// What to do next about a target; `None` when it is gone. Also forgets a target whose draining is over.
fn next_step(weak: &Weak<Inner>, arn: &str, address: SocketAddr, generation: u64) -> Option<Step> {
    let inner = weak.upgrade()?;
    let mut model = inner.model();
    let used = !model.users_of(arn).is_empty();
    let group = model.target_group_mut(arn)?;
    let index = group.targets.iter().position(|t| t.address == address && t.generation == generation)?;
    if let Some(until) = group.targets[index].drain_until {
        if Instant::now() < until {
            return Some(Step::Wait);
        }
        group.targets.remove(index);
        return None;
    }
    if used {
        return Some(Step::Check(group.check.clone()));
    }
    // AWS does not check targets of a group that no load balancer uses, so nothing is known about them when one does again.
    let target = &mut group.targets[index];
    target.health = TargetHealth::Initial;
    target.streak = 0;
    target.reason = Some(("Elb.InitialHealthChecking", "Initial health checks in progress".to_owned()));
    Some(Step::Wait)
}

async fn probe(inner: &Inner, check: &HealthCheck, target: SocketAddr) -> Result<(), (&'static str, String)> {
    let port = check.port.parse().unwrap_or(target.port());
    let address = SocketAddr::new(target.ip(), port);
    let timeout = inner.scaled(check.timeout_secs);
    let attempt = async {
        if !check.protocol.starts_with("HTTP") {
            return TcpStream::connect(address).await.map(|_| None).map_err(|error| error.to_string());
        }
        let request = http::Request::get(format!("http://{address}{}", check.path))
            .header("user-agent", "ELB-HealthChecker/2.0")
            .body(Full::<Bytes>::default())
            .map_err(|error| error.to_string())?;
        let answer = inner.client.request(request).await.map_err(|error| error.to_string())?;
        Ok(Some(answer.status().as_u16()))
    };
    match tokio::time::timeout(timeout, attempt).await {
        Err(_) => Err(("Target.Timeout", "Request timed out".to_owned())),
        Ok(Err(error)) => Err(("Target.FailedHealthChecks", format!("Health checks failed: {error}"))),
        Ok(Ok(Some(status))) if !check.accepts(status) => {
            Err(("Target.ResponseCodeMismatch", format!("Health checks failed with these codes: [{status}]")))
        }
        Ok(Ok(_)) => Ok(()),
    }
}

impl Inner {
    /// The numbers of hosts of every group in use.
    fn hosts(&self) -> Vec<Hosts> {
        let model = self.model();
        let mut found = Vec::new();
        for group in &model.target_groups {
            let count = |health: TargetHealth| {
                u64::try_from(group.targets.iter().filter(|target| target.health == health).count())
                    .unwrap_or(u64::MAX)
            };
            for lb in model.users_of(&group.arn).iter().filter_map(|arn| model.load_balancer(arn)) {
                found.push(Hosts {
                    at: Timestamp::now(),
                    load_balancer: lb.dimension(),
                    target_group: group.arn.rsplit(':').next().unwrap_or_default().to_owned(),
                    healthy: count(TargetHealth::Healthy),
                    unhealthy: count(TargetHealth::Unhealthy),
                });
            }
        }
        found
    }

    /// Takes one check's result into account. A new target is healthy after its first good check, as AWS documents.
    fn checked(
        &self,
        arn: &str,
        address: SocketAddr,
        generation: u64,
        check: &HealthCheck,
        result: Result<(), (&'static str, String)>,
    ) {
        let mut model = self.model();
        let Some(group) = model.target_group_mut(arn) else { return };
        let target = group.targets.iter_mut().find(|t| t.address == address && t.generation == generation);
        let Some(target) = target else { return };
        let (needed, next) = match (target.health, result.is_ok()) {
            (TargetHealth::Initial, true) => (1, TargetHealth::Healthy),
            (TargetHealth::Unhealthy | TargetHealth::Unused, true) => {
                (check.healthy_threshold, TargetHealth::Healthy)
            }
            (TargetHealth::Initial | TargetHealth::Healthy | TargetHealth::Unused, false) => {
                (check.unhealthy_threshold, TargetHealth::Unhealthy)
            }
            (TargetHealth::Healthy, true) | (TargetHealth::Unhealthy, false) => {
                target.streak = 0;
                target.reason = result.err();
                return;
            }
            (TargetHealth::Draining, _) => return,
        };
        target.streak += 1;
        if target.streak >= needed {
            target.streak = 0;
            target.health = next;
            target.reason = result.err();
            tracing::debug!(target.address = %address, target.health = ?next, "target health changed");
        }
    }
}
