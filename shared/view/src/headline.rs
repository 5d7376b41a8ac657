//! One line that says it all: where a release is or how it ended, and which version its users are on.

use jiff::{SignedDuration, Timestamp};
use tidegate_core::history::{Entry, Event};
use tidegate_core::outcome::{Outcome, Successor};
use tidegate_core::plan::Stage;
use tidegate_core::policy::Percent;
use tidegate_core::release::{Phase, Release, RollingBack};
use tidegate_core::service::Promoted;
use tidegate_core::words::span;

use crate::release::waiting_approval;

/// The line. `stable` is the name of the version the release replaces.
pub fn headline(release: &Release, history: &[Entry], stable: Option<&str>, now: Timestamp) -> String {
    let said = Said { release, history, stable, now };
    match &release.phase {
        Phase::Queued => "Waits for its turn. Nothing of it is released yet.".to_owned(),
        Phase::Preparing { since } => {
            format!("In preflight for {}. Nothing is changed yet.", span(now.duration_since(*since)))
        }
        Phase::Running { stage, since, .. } => said.running(*stage, *since),
        Phase::RollingBack(back) => said.rolling_back(back),
        Phase::Settling { outcome: Outcome::Promoted, .. } => {
            format!(
                "All traffic is on {}; the service's own configuration is being restored.",
                release.change.label()
            )
        }
        Phase::Settling { outcome, .. } => {
            format!(
                "Will be {}; the service's own configuration is being restored. {}",
                outcome.word(),
                said.back()
            )
        }
        Phase::Ended { outcome, at, restored_at } => said.ended(outcome, restored_at.unwrap_or(*at), *at),
    }
}

/// What the version that a release replaces is called: as it was promoted, where it was, else as its target's owner names it.
pub fn stable_name(release: &Release, promoted: &[Promoted]) -> Option<String> {
    let images = release.plan.as_ref().map(|plan| plan.rollback_target().images)?;
    let was = |one: &&Promoted| {
        one.change.iter().all(|(container, image)| {
            images.get(container).is_some_and(|running| running.digests.contains(&image.digest))
        })
    };
    let promoted = promoted.iter().find(was).map(|one| one.change.label());
    promoted.or_else(|| release.rollback_name().map(str::to_owned))
}

struct Said<'a> {
    release: &'a Release,
    history: &'a [Entry],
    stable: Option<&'a str>,
    now: Timestamp,
}

impl Said<'_> {
    fn running(&self, stage: usize, since: Timestamp) -> String {
        let candidate = self.release.change.label();
        let what = self.release.plan.as_ref().and_then(|plan| plan.stages.get(stage));
        let first = match what {
            Some(Stage::Approve { .. }) => match waiting_approval(self.release) {
                Some(asked) => {
                    let missing = usize::from(asked.count)
                        .saturating_sub(asked.votes.iter().filter(|vote| vote.approved).count());
                    let left = span(asked.expires_at.duration_since(self.now));
                    let many =
                        if missing == 1 { "an approval".to_owned() } else { format!("{missing} approvals") };
                    format!("Waits for {many} by {}: {left} left.", asked.approvers.join(", "))
                }
                None => "Waits for approval.".to_owned(),
            },
            Some(Stage::Bake { percent, secs }) => {
                let passed = self.now.duration_since(since);
                let left = SignedDuration::from_secs(i64::from(*secs)) - passed;
                if left.is_positive() {
                    format!("Bakes at {percent}%: {} left.", span(left))
                } else {
                    format!("Baked at {percent}% for {}.", span(passed))
                }
            }
            Some(Stage::Shift { percent }) => format!("Moves to {percent}%."),
            Some(Stage::Start) => "The candidate starts.".to_owned(),
            Some(Stage::RollOut) => "Tasks are replaced one after another.".to_owned(),
            Some(Stage::Promote) => format!("{candidate} is being promoted."),
            Some(Stage::Freeze) => "Waits for the end of a freeze.".to_owned(),
            Some(Stage::Scan) => "Waits for the scan of the image.".to_owned(),
            Some(Stage::Verify { .. }) => "A build tries the candidate.".to_owned(),
            Some(Stage::Prepare { .. }) | None => "Is being prepared.".to_owned(),
        };
        format!("{first} {}", self.shared())
    }

    /// Who is on which version while traffic moves.
    fn shared(&self) -> String {
        let candidate = self.release.change.label();
        let progress = &self.release.progress;
        let share = progress.measured.or(progress.set).unwrap_or(Percent::NONE);
        match (share, self.stable) {
            (Percent::NONE, Some(stable)) => format!("Users are on {stable}."),
            (Percent::NONE, None) => "Users are on the version before.".to_owned(),
            (Percent::ALL, _) => format!("Users are on {candidate}."),
            (share, stable) => {
                format!(
                    "{share}% of users are on {candidate}, the others on {}.",
                    stable.unwrap_or("the version before")
                )
            }
        }
    }

    fn rolling_back(&self, back: &RollingBack) -> String {
        let when = self.time(back.since);
        let reached = self.after_reaching(back.since, back.since);
        match back.restored_at {
            Some(at) => {
                format!("Rolling back since {when}{reached}. {} again since {}.", self.users(), self.time(at))
            }
            None => format!(
                "Rolling back since {when}{reached}. Traffic is on its way back to {}.",
                self.stable.unwrap_or("the version before")
            ),
        }
    }

    fn ended(&self, outcome: &Outcome, restored_at: Timestamp, at: Timestamp) -> String {
        let when = self.time(at);
        match outcome {
            Outcome::Promoted => {
                let took = span(at.duration_since(self.release.created_at));
                format!(
                    "Promoted at {when}, {took} after it was asked for. Users are on {}.",
                    self.release.change.label()
                )
            }
            Outcome::RolledBack { .. } => {
                let began = self.rollback_began().unwrap_or(restored_at);
                format!(
                    "Rolled back at {}{}. {}",
                    self.time(restored_at),
                    self.after_reaching(began, restored_at),
                    self.back()
                )
            }
            Outcome::Superseded { by: Successor::Release(by) } => {
                format!("Superseded at {when} by release {}. {}", by.short(), self.back())
            }
            Outcome::Superseded { by: Successor::Policy } => {
                format!("Superseded at {when} by a policy with another target. {}", self.back())
            }
            Outcome::Cancelled { .. } => format!("Cancelled at {when}. {}", self.back()),
            Outcome::Failed { .. } => {
                format!("Failed at {when}: manual intervention required. Look at what users are on.")
            }
        }
    }

    fn back(&self) -> String {
        if self.release.progress.asked_at.is_none() {
            return "Nothing was changed.".to_owned();
        }
        format!("{}.", self.users())
    }

    fn users(&self) -> String {
        format!("Users are on {}", self.stable.unwrap_or("the version before"))
    }

    fn rollback_began(&self) -> Option<Timestamp> {
        let begins = |event: &Event| matches!(event, Event::RollingBack { .. });
        self.history.iter().find(|entry| entry.events().any(begins)).map(|entry| entry.at)
    }

    /// `, 6s after reaching 10%`, counted until `at`; nothing where no traffic had moved before the rollback `began`.
    fn after_reaching(&self, began: Timestamp, at: Timestamp) -> String {
        let shift = |event: &Event| {
            if let Event::StageDone { stage: Stage::Shift { percent }, .. } = event {
                Some(*percent)
            } else {
                None
            }
        };
        let reached = self
            .history
            .iter()
            .rev()
            .filter(|entry| entry.at <= began)
            .find_map(|entry| Some((entry.at, entry.events().find_map(shift)?)));
        reached.map_or_else(String::new, |(since, percent)| {
            format!(", {} after reaching {percent}%", span(at.duration_since(since)))
        })
    }

    /// The time of the day; with the day where that is another one.
    fn time(&self, at: Timestamp) -> String {
        let same_day = self.now.strftime("%F").to_string() == at.strftime("%F").to_string();
        at.strftime(if same_day { "%H:%M:%S UTC" } else { "%Y-%m-%d %H:%M:%S UTC" }).to_string()
    }
}
