//! One release, followed from the push to its end: what Tidegate says, beside what the load balancer really does.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::Instant;

use super::narrate::Narrator;
use crate::images::Behaviour;
use crate::load::{Load, Snapshot};
use crate::local::Local;
use crate::local::shop::Shop;
use crate::ports::{AlarmState, Alarms as _};

/// How long a release may take in the demo.
pub(super) const LIMIT: Duration = Duration::from_secs(240);
const POLL: Duration = Duration::from_millis(20);
const SAY_EVERY: Duration = Duration::from_secs(5);

/// The command line, as a person would use it.
pub(super) struct Tidegate {
    binary: PathBuf,
    environment: Vec<(String, String)>,
    /// How long a release may take.
    pub(super) patience: Duration,
}

impl Tidegate {
    pub(super) fn new(binary: &Path, local: &Local) -> Self {
        let environment = local.environment();
        Self { binary: binary.to_owned(), environment, patience: LIMIT }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(args).envs(self.environment.iter().cloned()).kill_on_drop(true).stdin(Stdio::null());
        command
    }

    /// Runs a command and quotes what it prints; it has to succeed, or to say the release did not.
    pub(super) async fn show(&self, args: &[&str], narrator: &Narrator) -> Result<()> {
        narrator.say(&format!("$ tidegate {}", args.join(" ")));
        let output = self
            .command(args)
            .output()
            .await
            .with_context(|| format!("failed to run {}", self.binary.display()))?;
        narrator.quote(&String::from_utf8_lossy(&output.stdout));
        // `why` of a release that was rolled back says so with its exit code, as every command does.
        if !output.status.success() && args.first() != Some(&"why") {
            bail!("tidegate {} failed: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Waits until the bake of the newest release is over by its time and held because nobody has talked to its candidate; what it waits for.
    pub(super) async fn held_for_requests(&self, service: &str, limit: Duration) -> Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            let told = self.json(&["why", service]).await?;
            let waits = &told["release"]["next"];
            let waiting_on = &waits["waiting_on"];
            if waiting_on["waiting_on"] == "held" && waiting_on["missing"]["missing"] == "requests" {
                return Ok(waits["what"].as_str().unwrap_or_default().to_owned());
            }
            if Instant::now() > deadline {
                bail!("the release was not held for requests: {waits}");
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// A link to the dashboard, as a browser on this machine reaches it.
    pub(super) async fn dashboard(&self, local: &Local) -> Result<String> {
        let given = self.json(&["open", "--print"]).await?;
        let url = given["url"].as_str().with_context(|| format!("tidegate open gave no link: {given}"))?;
        Ok(local.reachable(url))
    }

    /// Runs a command for its JSON.
    pub(super) async fn json(&self, args: &[&str]) -> Result<Value> {
        let output = self.command(args).arg("--json").output().await.context("failed to run tidegate")?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            format!(
                "tidegate {} did not answer with JSON: {}",
                args.join(" "),
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }
}

/// What became of a release, and what was measured beside it.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) id: String,
    pub(super) version: String,
    /// The exit code of `tidegate watch`.
    pub(super) exit: Option<i32>,
    /// When the alarm went off.
    pub(super) alarm_at: Option<Timestamp>,
    /// When the load balancer sent the candidate nothing any more.
    pub(super) restored_at: Option<Timestamp>,
    /// The highest weight the candidate had, percent.
    pub(super) peak: u32,
    /// What the candidate served at each weight it had beside the stable version.
    pub(super) shares: Vec<Share>,
    pub(super) took: Duration,
}

/// What a candidate served while it had a weight.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Share {
    /// The weight, percent.
    pub(super) set: u32,
    /// Requests answered meanwhile.
    pub(super) answered: u64,
    /// How many of them the candidate answered.
    pub(super) by_candidate: u64,
}

impl Share {
    /// In percent.
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    pub(super) fn measured(&self) -> f64 {
        100.0 * self.by_candidate as f64 / self.answered.max(1) as f64
    }

    /// Whether the candidate served what was set, within a point; fewer requests than these say nothing.
    pub(super) fn is_kept(&self) -> Option<bool> {
        (self.answered >= JUDGED_FROM).then(|| (self.measured() - f64::from(self.set)).abs() <= 1.0)
    }
}

/// A share is judged over so many requests.
const JUDGED_FROM: u64 = 2000;

/// Pushes the image and follows its release to the end.
pub(super) async fn follow(
    local: &Local,
    shop: &Shop,
    tidegate: &Tidegate,
    load: &Load,
    narrator: &Narrator,
    tag: &str,
    behaviour: Behaviour,
) -> Result<Followed> {
    let started = Instant::now();
    let version = behaviour.version.clone();
    let before = shop.weights(local)?;
    let digest = shop.push(local, tag, behaviour).await?;
    narrator.say(&format!("pushed {}:{tag} ({})", shop.plan.repository, &digest[..19]));
    let id = release_of(tidegate, shop, &digest).await?;
    let mut watch = tidegate
        .command(&["watch", &id])
        .stdout(Stdio::piped())
        .spawn()
        .context("failed to run tidegate watch")?;
    let output = watch.stdout.take().context("the output of tidegate watch is not there")?;
    let mut lines = BufReader::new(output).lines();
    let mut seen = Measured::new(&version, before, load.snapshot());
    let mut ticks = tokio::time::interval(POLL);
    let mut spoken = Instant::now();
    loop {
        tokio::select! {
            line = lines.next_line() => match line.context("tidegate watch broke off")? {
                Some(line) => narrator.quote(&line),
                None => break,
            },
            _ = ticks.tick() => {
                seen.look(local, shop, load, narrator)?;
                if spoken.elapsed() >= SAY_EVERY {
                    spoken = Instant::now();
                    seen.say_traffic(load.snapshot(), narrator);
                }
                if started.elapsed() > tidegate.patience {
                    bail!("the release was not over within {:?}", tidegate.patience);
                }
            }
        }
    }
    let status = watch.wait().await.context("tidegate watch did not end")?;
    Ok(Followed {
        id,
        version,
        exit: status.code(),
        alarm_at: seen.alarm_at,
        restored_at: seen.restored_at,
        peak: seen.peak,
        shares: seen.shares,
        took: started.elapsed(),
    })
}

/// The release the push started: nobody but the event told Tidegate of it.
async fn release_of(tidegate: &Tidegate, shop: &Shop, digest: &str) -> Result<String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let releases = tidegate.json(&["releases", &shop.plan.name]).await?;
        let list = releases["releases"].as_array().or(releases.as_array()).cloned().unwrap_or_default();
        let brings = |release: &&Value| {
            let images = release["images"].as_object();
            images.into_iter().flat_map(|images| images.values()).any(|image| image["digest"] == digest)
        };
        let found = list.iter().find(brings);
        if let Some(id) = found.and_then(|release| release["release"].as_str()) {
            return Ok(id.to_owned());
        }
        if Instant::now() > deadline {
            bail!("no release was started for {digest}: {releases}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What the sandbox itself measures, beside what Tidegate says.
struct Measured {
    /// The target group that is idle at first: the candidate's.
    candidate: usize,
    weights: [u32; 2],
    peak: u32,
    alarm_at: Option<Timestamp>,
    restored_at: Option<Timestamp>,
    traffic: Snapshot,
    /// The candidate's version, as answers name it.
    version: String,
    /// The traffic when the weights were last changed.
    since: Snapshot,
    shares: Vec<Share>,
}

impl Measured {
    fn new(version: &str, weights: [u32; 2], traffic: Snapshot) -> Self {
        let candidate = usize::from(weights[1] == 0);
        let (version, since) = (version.to_owned(), traffic.clone());
        Self {
            candidate,
            weights,
            peak: 0,
            alarm_at: None,
            restored_at: None,
            traffic,
            version,
            since,
            shares: Vec::new(),
        }
    }

    /// The weights are about to be others: what the candidate served with those it had.
    fn end_share(&mut self, now: Snapshot, narrator: &Narrator) {
        let set = self.weights[self.candidate];
        let of = |snapshot: &Snapshot| snapshot.total.by_version.get(&self.version).copied().unwrap_or(0);
        let share = Share {
            set,
            answered: now.total.answered().saturating_sub(self.since.total.answered()),
            by_candidate: of(&now).saturating_sub(of(&self.since)),
        };
        // Beside nothing, and beside the same version, a share says nothing.
        if (1..100).contains(&set) {
            let (measured, answered) = (share.measured(), share.answered);
            narrator.say(&format!("share: set {set}%, measured {measured:.1}% of {answered} requests"));
            self.shares.push(share);
        }
        self.since = now;
    }

    fn look(&mut self, local: &Local, shop: &Shop, load: &Load, narrator: &Narrator) -> Result<()> {
        // Before the candidate has traffic it speaks of the one before.
        let serves = self.weights[self.candidate] > 0;
        if serves && self.alarm_at.is_none() && local.cloudwatch.state(&shop.alarm) == Some(AlarmState::Alarm)
        {
            self.alarm_at = Some(Timestamp::now());
            narrator.say(&format!("ALARM {}", shop.alarm));
        }
        let weights = shop.weights(local)?;
        if weights != self.weights {
            self.end_share(load.snapshot(), narrator);
            self.weights = weights;
            let candidate = weights[self.candidate];
            self.peak = self.peak.max(candidate);
            narrator.say(&format!("load balancer: old {}, new {candidate}", weights[1 - self.candidate]));
            if candidate == 0 && self.alarm_at.is_some() && self.restored_at.is_none() {
                self.restored_at = Some(Timestamp::now());
            }
        }
        Ok(())
    }

    /// The traffic since it was last said.
    fn say_traffic(&mut self, now: Snapshot, narrator: &Narrator) {
        let answered = now.total.answered().saturating_sub(self.traffic.total.answered()).max(1);
        let versions: Vec<String> = now
            .total
            .by_version
            .iter()
            .filter_map(|(version, count)| {
                let new = count - self.traffic.total.by_version.get(version).copied().unwrap_or(0);
                #[expect(clippy::cast_precision_loss, reason = "a share for people")]
                let share = 100.0 * new as f64 / answered as f64;
                (new > 0).then(|| format!("{version} {share:.1}%"))
            })
            .collect();
        let errors = now.total.errors().saturating_sub(self.traffic.total.errors());
        narrator.say(&format!(
            "traffic: {answered} answers, {}, {errors} errors, {} lost",
            versions.join(", "),
            now.total.lost()
        ));
        self.traffic = now;
    }
}

#[cfg(test)]
mod tests {
    use super::Share;

    #[test]
    fn a_share_is_judged_by_enough_requests_and_within_a_point() {
        let share = |set, answered, by_candidate| Share { set, answered, by_candidate }.is_kept();
        assert_eq!(share(10, 2000, 200), Some(true));
        assert_eq!(share(10, 2000, 220), Some(true));
        assert_eq!(share(10, 2000, 221), Some(false));
        assert_eq!(share(1, 3000, 0), Some(true), "one point off");
        assert_eq!(share(50, 3000, 1400), Some(false));
        assert_eq!(share(10, 1999, 0), None);
    }
}
