//! `sim`: the simulator's adverse worlds, and what they are worth. With `--mutants`, rules of the core are removed one at a time in a copy of
//! the workspace, and each must break a world within the number that is stated for it. The product itself knows nothing of this.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};

use crate::workspace::{Workspace, cargo};

/// A rule, and how it is removed.
struct Mutation {
    name: &'static str,
    file: &'static str,
    /// What is found there exactly once.
    rule: &'static str,
    /// What takes its place.
    without: &'static str,
    /// Within how many worlds it must be noticed.
    within: u32,
}

const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "an executor's lease runs out",
        file: "shared/core/src/effect.rs",
        rule: "        now < self.until\n",
        without: "        now < self.until || self.until <= now\n",
        within: 60,
    },
    Mutation {
        name: "stalled executors are waited out",
        file: "shared/core/src/decide/settle.rs",
        rule: "        Some(safe) if turn.seen.at < safe => ",
        without: "        Some(safe) if turn.seen.at < safe && safe < turn.seen.at => ",
        within: 60,
    },
    Mutation {
        name: "weights are compared with what was set",
        file: "shared/core/src/engine/ecs_native/weights.rs",
        rule: "    if setup.measured_at.is_empty() {\n        return Traffic::AsSet;",
        without: "    if share <= Percent::ALL {\n        return Traffic::AsSet;",
        within: 60,
    },
    Mutation {
        name: "nothing is continued without evidence of the alarms",
        file: "shared/core/src/decide/evidence.rs",
        rule: "    if alarms.is_empty() {\n        return None;\n    }\n    if let Some(error)",
        without: "    if alarms.len() < usize::MAX {\n        return None;\n    }\n    if let Some(error)",
        within: 60,
    },
    Mutation {
        name: "alarms are looked at, not only told of",
        file: "shared/core/src/decide/evidence.rs",
        rule: "let observed = seen.alarms.known().into_iter().flatten();",
        without: "let observed = seen.alarms.known().into_iter().flatten().take(0);",
        within: 60,
    },
    Mutation {
        name: "an alarm of the stable version cancels nothing before the start",
        file: "shared/core/src/decide/running.rs",
        rule: "breach(turn, plan).filter(|_| is_begun(turn))",
        without: "breach(turn, plan).filter(|_| is_begun(turn) || !is_begun(turn))",
        within: 60,
    },
    Mutation {
        name: "a deployment that started after all is rolled back",
        file: "shared/core/src/engine/ecs_native/restore.rs",
        rule: "        && (!turn.next.is_started() || !is_failed(outcome))",
        without: "        && gives_way",
        within: 60,
    },
    Mutation {
        name: "an external deployment is given way to",
        file: "shared/core/src/engine/ecs_native/mod.rs",
        rule: "            && let Some(foreign) = deployments::external(turn)\n",
        without: "            && let Some(foreign) = deployments::external(turn).filter(|foreign| foreign.created_at > turn.now)\n",
        within: 60,
    },
    Mutation {
        name: "the look that ends a bake is made after its end",
        file: "shared/core/src/decide/running.rs",
        rule: "    if turn.seen.at < end {",
        without: "    if turn.now < end {",
        within: 60,
    },
    Mutation {
        name: "what was not answered was not refused",
        file: "shared/core/src/fault.rs",
        rule: "            Self::Throttled | Self::Unavailable | Self::Conflict => true,\n            Self::NotFound",
        without: "            Self::Throttled | Self::Conflict => true,\n            Self::Unavailable | Self::NotFound",
        within: 60,
    },
    Mutation {
        name: "a deployment that is not described yet is nobody's",
        file: "shared/core/src/engine/ecs_native/deployments.rs",
        rule: "    deployment.task_definition.is_none() && turn.now",
        without: "    deployment.task_definition.is_none() && deployment.created_at > turn.now && turn.now",
        within: 60,
    },
    Mutation {
        name: "the world is looked at again before the start",
        file: "shared/core/src/engine/ecs_native/forward.rs",
        rule: "    if turn.next.progress.asked_at.is_none() {\n        match preflight::check_again",
        without: "    if turn.next.progress.asked_at.is_none() && at.plan.stages.is_empty() {\n        match preflight::check_again",
        within: 60,
    },
    Mutation {
        name: "what others deployed after a start in vain is given way to",
        file: "shared/core/src/engine/ecs_native/deployments.rs",
        rule: "asked.is_some_and(|at| deployment.created_at > at)",
        without: "asked.is_some_and(|at| deployment.created_at > at && at > turn.now)",
        within: 60,
    },
    Mutation {
        name: "an approval counts for the plan it was given for",
        file: "shared/core/src/decide/start.rs",
        rule: "                && !turn.next.gates.is_empty()\n",
        without: "                && turn.next.gates.is_empty()\n",
        within: 60,
    },
    Mutation {
        name: "an approval that does not come in time is none",
        file: "shared/core/src/decide/gates.rs",
        rule: "        return match gate.approval.on_expiry {",
        without: "        return match OnExpiry::Approve {",
        within: 60,
    },
    Mutation {
        name: "nobody approves what they asked for",
        file: "shared/core/src/gate.rs",
        rule: "    if !eligible(release, gate).iter().any(|known| known.name == approver) {",
        without: "    if eligible(release, gate).is_empty() {",
        within: 60,
    },
    Mutation {
        name: "a freeze window holds the start",
        file: "shared/core/src/decide/gates.rs",
        rule: ".and_then(|freeze| freeze.at(turn.now)) else",
        without: ".and_then(|freeze| freeze.at(turn.now)).filter(|frozen| frozen.until < turn.now) else",
        within: 60,
    },
    Mutation {
        name: "what was rolled back is not released again",
        file: "shared/core/src/admission.rs",
        rule: "        let quarantined = head.quarantine.get(digest)?;",
        without: "        let quarantined = head.quarantine.get(digest).filter(|_| request.force)?;",
        within: 60,
    },
    Mutation {
        name: "an older push does not overtake a newer one",
        file: "shared/core/src/admission.rs",
        rule: "        let why = times.until(now).older(head.newest(container))?;",
        without: "        let why = times.until(now).older(head.newest(container)).filter(|_| request.force)?;",
        within: 60,
    },
    Mutation {
        name: "one release of a service is under way",
        file: "shared/core/src/decide/start.rs",
        rule: "        (Some(active), _) if *active != id => {",
        without: "        (Some(active), _) if *active != id && turn.now < turn.old.created_at => {",
        within: 60,
    },
    Mutation {
        name: "a person who cancels is obeyed",
        file: "shared/core/src/decide/running.rs",
        rule: "    match &turn.old.request {\n        Some(Request::Rollback",
        without: "    match &turn.old.request.clone().filter(|request| !matches!(request, Request::Cancel { .. })) {\n        Some(Request::Rollback",
        within: 60,
    },
    Mutation {
        name: "an event of before the candidate is not its breach",
        file: "shared/core/src/decide/evidence.rs",
        rule: "seen.since.is_none_or(|since| since >= proven_at)",
        without: "seen.since.is_none_or(|since| since >= proven_at || since < proven_at)",
        within: 60,
    },
    Mutation {
        name: "an old look is no ground to continue",
        file: "shared/core/src/decide/evidence.rs",
        rule: "    if turn.now.duration_since(turn.seen.at) > LOOK_HOLDS {",
        without: "    if turn.now.duration_since(turn.seen.at) > LOOK_HOLDS && turn.now < turn.seen.at {",
        within: 60,
    },
    Mutation {
        name: "a bake lasts as long as the plan says",
        file: "shared/core/src/decide/running.rs",
        rule: "    let end = since.saturating_add(SignedDuration::from_secs(i64::from(secs))).unwrap_or(since);\n    release.promote_now",
        without: "    let end = since.saturating_add(SignedDuration::from_secs(i64::from(secs) / 2)).unwrap_or(since);\n    release.promote_now",
        within: 60,
    },
    Mutation {
        name: "a bake that saw no requests proves nothing",
        file: "shared/core/src/decide/evidence.rs",
        rule: "    needed == 0 || seen(release).is_some_and(|seen| seen.count >= needed)",
        without: "    needed < u64::MAX || seen(release).is_some_and(|seen| seen.count >= needed)",
        within: 60,
    },
    Mutation {
        name: "a candidate that fails more often than the stable version is not promoted",
        file: "shared/core/src/evidence.rs",
        rule: ".find(|(tally, _)| tally.is_bad(&test))?;",
        without: ".find(|(tally, _)| tally.is_bad(&test) && plan.comparisons.is_empty())?;",
        within: 100,
    },
    Mutation {
        name: "numbers that cannot be read hold a release",
        file: "shared/core/src/decide/evidence.rs",
        rule: "    if let Some(error) = turn.seen.metrics.error() {\n        return Some(Missing::Numbers",
        without: "    if let Some(error) = turn.seen.metrics.error().filter(|_| judged.dry_run) {\n        return Some(Missing::Numbers",
        within: 100,
    },
    Mutation {
        name: "tasks of the candidate that fail roll it back",
        file: "shared/core/src/decide/evidence.rs",
        rule: "    (plan.failed_tasks > 0 && count >=",
        without: "    (plan.failed_tasks > count && count >=",
        within: 60,
    },
    Mutation {
        name: "a rollback that was not done is asked for again",
        file: "shared/core/src/turn.rs",
        rule: "        begins || self.next.acted_at.is_none_or(|at| self",
        without: "        begins || self.next.acted_at.is_none_or(|at| at > self.now && self",
        within: 60,
    },
    Mutation {
        name: "what a release ends as is compared digest by digest",
        file: "shared/core/src/engine/ecs_native/mod.rs",
        rule: "    if idle || turn.old.progress.asked_at.is_none() {",
        without: "    if idle || turn.old.progress.asked_at.is_none() || !expected.is_empty() {",
        within: 60,
    },
    Mutation {
        name: "the service's own configuration is restored",
        file: "shared/core/src/engine/ecs_native/restore.rs",
        rule: "    if !configuration::is_set(&own, &service.deployment_configuration) {",
        without: "    if turn.now < end.since && !configuration::is_set(&own, &service.deployment_configuration) {",
        within: 60,
    },
    Mutation {
        name: "a claim of somebody who died is passed by",
        file: "shared/runtime/src/drive.rs",
        rule: "{ Claim::Gone } else { Claim::Ours };",
        without: "{ Claim::Gone } else { Claim::Anothers };",
        within: 60,
    },
    Mutation {
        name: "what waits is not released where the policy sends nothing any more",
        file: "shared/core/src/decide/start.rs",
        rule: "    head.policy.target(&target.account, &target.region) != *target || ",
        without: "    (head.policy.target(&target.account, &target.region) != *target && release.plan.is_some()) || ",
        within: 60,
    },
    Mutation {
        name: "an alarm reaches a service whose watch row is damaged",
        file: "shared/runtime/src/sentinel.rs",
        rule: "        let hints = [hint];\n",
        without: "        let hints = [hint];\n        if !damaged.is_empty() {\n            return Err(SentinelError::Damaged(damaged));\n        }\n",
        within: 60,
    },
    Mutation {
        name: "a rollback needs nothing of the service's row",
        file: "shared/runtime/src/drive.rs",
        rule: "        Err(error) if error.kind == ErrorKind::Invalid => {\n",
        without: "        Err(error) if error.kind == ErrorKind::Invalid && error.code.is_empty() => {\n",
        within: 60,
    },
    Mutation {
        name: "a damaged row hides no other",
        file: "shared/core/src/listing.rs",
        rule: "        self.rows\n    }\n\n    /// All rows or",
        without: "        if failed.is_empty() { self.rows } else { Vec::new() }\n    }\n\n    /// All rows or",
        within: 60,
    },
    Mutation {
        name: "a deployment that ECS breaks off is noticed",
        file: "shared/core/src/engine/ecs_native/forward.rs",
        rule: "    ours.status.is_broken_off().then(|| {",
        without: "    (ours.status.is_broken_off() && !ours.status.is_broken_off()).then(|| {",
        within: 100,
    },
    Mutation {
        name: "a pause that waits no more was continued",
        file: "shared/core/src/engine/ecs_native/forward.rs",
        rule: "    refusal.effect == EffectKind::ContinueHook && ours(turn)",
        without: "    refusal.effect != EffectKind::ContinueHook && ours(turn)",
        within: 100,
    },
    Mutation {
        name: "the candidate's fleet is as large as its share before it gets it",
        file: "shared/core/src/engine/ecs_weighted/forward.rs",
        rule: "        Some(ready) if ready < needed => {",
        without: "        Some(ready) if ready < needed.min(1) => {",
        within: 100,
    },
    Mutation {
        name: "the candidate's tasks are healthy before weights are set again",
        file: "shared/core/src/engine/ecs_weighted/fleet.rs",
        rule: "    let effects = if ready { set(setup, turn, share) }",
        without: "    let effects = if ready || !ready { set(setup, turn, share) }",
        within: 100,
    },
    Mutation {
        name: "a group that no rule names is named before it is waited for",
        file: "shared/core/src/engine/ecs_weighted/forward.rs",
        rule: "    if rules.iter().all(stands) {",
        without: "    if rules.iter().all(stands) || !rules.iter().all(stands) {",
        within: 100,
    },
    Mutation {
        name: "weights of our own are compared with what was set",
        file: "shared/core/src/engine/ecs_weighted/fleet.rs",
        rule: "        (live != Some(share)).then(|| {",
        without: "        (live != Some(share) && live > Some(Percent::ALL)).then(|| {",
        within: 100,
    },
    Mutation {
        name: "weights that something else resets are set again",
        file: "shared/core/src/engine/ecs_weighted/fleet.rs",
        rule: "            if state.repaired >= REPAIRS_MAX\n",
        without: "            if state.repaired < REPAIRS_MAX\n",
        within: 100,
    },
    Mutation {
        name: "weights are set again three times, and not for ever",
        file: "shared/core/src/engine/ecs_weighted/mod.rs",
        rule: "const REPAIRS_MAX: u32 = 3;",
        without: "const REPAIRS_MAX: u32 = 300;",
        within: 100,
    },
    Mutation {
        name: "the service itself is touched once the candidate has carried everything",
        file: "shared/core/src/plan/mod.rs",
        rule: "            steps.chain([(Percent::ALL, strategy.bake)]).collect()",
        without: "            steps.collect()",
        within: 100,
    },
    Mutation {
        name: "traffic comes home to a service that is whole",
        file: "shared/core/src/engine/ecs_weighted/forward.rs",
        rule: "    if !service.is_all_replaced() || !service.steady || !is_healthy(turn, at, service) {",
        without: "    if !service.is_all_replaced() && !service.steady && !is_healthy(turn, at, service) && service.desired == 0 {",
        within: 100,
    },
    Mutation {
        name: "the service is not scaled in while its traffic is with the candidate",
        file: "shared/core/src/engine/ecs_weighted/forward.rs",
        rule: "        Some(Some(target)) if !target.suspended.scale_in => {",
        without: "        Some(Some(target)) if !target.suspended.scale_in && turn.seen.at > turn.now => {",
        within: 100,
    },
    Mutation {
        name: "what is suspended is restored as it was read",
        file: "shared/core/src/engine/ecs_weighted/back.rs",
        rule: "        Some(Some(target)) if target.suspended != before => {\n            if turn.is_due(RETRY_AFTER) {\n                turn.note_refusals();\n                turn.act(autoscaling::Effect::Suspend { suspended: before }.into());",
        without: "        Some(Some(target)) if target.suspended.scale_in => {\n            if turn.is_due(RETRY_AFTER) {\n                turn.note_refusals();\n                let suspended = autoscaling::Suspended { scale_out: before.scale_in, ..Default::default() };\n                turn.act(autoscaling::Effect::Suspend { suspended }.into());",
        within: 100,
    },
    Mutation {
        name: "the candidate is deleted once its requests have ended",
        file: "shared/core/src/engine/ecs_weighted/back.rs",
        rule: "    (canary.is_some_and(is_serving) && turn.seen.at < until)",
        without: "    (canary.is_some_and(is_serving) && turn.seen.at < until && until < home_at)",
        within: 100,
    },
    Mutation {
        name: "what somebody else deploys meanwhile is given way to",
        file: "shared/core/src/engine/ecs_weighted/fleet.rs",
        rule: "        if !setup.is_stable(&turn.next, set) && !promoted {",
        without: "        if !setup.is_stable(&turn.next, set) && !promoted && turn.seen.at > turn.now {",
        within: 100,
    },
    Mutation {
        name: "the rules are left as they were",
        file: "shared/core/src/engine/ecs_weighted/back.rs",
        rule: "        if weights != rule.weights && weights.iter()",
        without: "        if weights.len() > rule.weights.len() && weights.iter()",
        within: 100,
    },
];

/// Runs the worlds, or, with `mutants`, the worlds against every rule that is removed: all of them, or those with one of the words of `only` in
/// their names.
pub(crate) fn sim(workspace: &Workspace, mutants: bool, only: &[String]) -> Result<ExitCode> {
    if !mutants {
        let mut tests = cargo();
        tests.args(["test", "--workspace", "--test", "simulation"]);
        let done = tests.current_dir(&workspace.root).status().context("failed to run cargo test")?;
        return Ok(if done.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let chosen: Vec<&Mutation> = MUTATIONS.iter().filter(|mutation| is_chosen(mutation, only)).collect();
    ensure!(!chosen.is_empty(), "no rule has one of these in its name: {}", only.join(", "));
    let copy = copied(workspace)?;
    compiles_without(&copy, &chosen)?;
    copied(workspace)?;
    let whole = broken(&copy).context("the copy with every rule in place")?;
    ensure!(whole.is_none(), "worlds break though every rule is in place: run the test simulation");
    let mut missed = 0;
    for mutation in chosen {
        let (file, original) = mutated(&copy, mutation)?;
        let noticed = broken(&copy).with_context(|| format!("without: {}", mutation.name));
        std::fs::write(&file, original).with_context(|| format!("failed to write {}", file.display()))?;
        match noticed? {
            Some(Broken { first, of_all }) if first <= mutation.within => {
                eprintln!("noticed after {first:>3} worlds, {of_all}: {}", mutation.name);
            }
            Some(Broken { first, of_all }) => {
                missed += 1;
                eprintln!("LATE: after {first} worlds, not {}, {of_all}: {}", mutation.within, mutation.name);
            }
            None => {
                missed += 1;
                eprintln!("NOT NOTICED: {}", mutation.name);
            }
        }
    }
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn is_chosen(mutation: &Mutation, only: &[String]) -> bool {
    only.is_empty() || only.iter().any(|words| mutation.name.contains(words.as_str()))
}

/// A copy of the checkout's files as they are now, so that nothing is ever removed from the checkout itself.
fn copied(workspace: &Workspace) -> Result<PathBuf> {
    let copy = workspace.target.join("mutants");
    let listed = std::process::Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(&workspace.root)
        .output()
        .context("failed to list the files of the checkout")?;
    ensure!(listed.status.success(), "git could not list the files of the checkout");
    let names = String::from_utf8(listed.stdout).context("a file name is not UTF-8")?;
    let names: BTreeSet<&str> = names.split('\0').filter(|name| !name.is_empty()).collect();
    remove_others(&copy, &copy, &names)?;
    for name in names {
        let (from, to) = (workspace.root.join(name), copy.join(name));
        let Ok(wanted) = std::fs::read(&from) else { continue };
        // What is equal keeps its time, so that cargo builds only what differs.
        if std::fs::read(&to).is_ok_and(|there| there == wanted) {
            continue;
        }
        let parent = to.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).with_context(|| format!("failed to make {}", parent.display()))?;
        std::fs::write(&to, wanted).with_context(|| format!("failed to write {}", to.display()))?;
    }
    Ok(copy)
}

/// Removes what the checkout does not have any more from its copy, which has a target directory of its own.
fn remove_others(copy: &Path, folder: &Path, names: &BTreeSet<&str>) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry.with_context(|| format!("failed to read {}", folder.display()))?.path();
        let name = path.strip_prefix(copy).context("it is in the copy")?;
        if name == Path::new("target") {
            continue;
        }
        if path.is_dir() {
            remove_others(copy, &path, names)?;
        } else if !name.to_str().is_some_and(|name| names.contains(name)) {
            std::fs::remove_file(&path).with_context(|| format!("failed to remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Removes a rule; answers the file and what it was.
fn mutated(root: &Path, mutation: &Mutation) -> Result<(PathBuf, String)> {
    let file = root.join(mutation.file);
    let text =
        std::fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
    let found = text.matches(mutation.rule).count();
    ensure!(found == 1, "the rule \"{}\" is found {found} times in {}", mutation.name, mutation.file);
    std::fs::write(&file, text.replacen(mutation.rule, mutation.without, 1))
        .with_context(|| format!("failed to write {}", file.display()))?;
    Ok((file, text))
}

/// The copy without any of the rules compiles, so that one that cannot be removed as stated is not found out after half an hour.
fn compiles_without(copy: &Path, chosen: &[&Mutation]) -> Result<()> {
    for mutation in chosen {
        mutated(copy, mutation)?;
    }
    let output = cargo()
        .args(["check", "--quiet", "--package", "tidegate-testkit"])
        .args(["--target-dir".as_ref(), copy.join("target").as_os_str()])
        .current_dir(copy)
        .output()
        .context("failed to run cargo check")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "without these rules the copy does not compile:\n{said}");
    Ok(())
}

/// What the worlds notice.
struct Broken {
    /// After how many the first one breaks.
    first: u32,
    /// How many break of all, in words.
    of_all: String,
}

/// Which worlds break; `None` when all hold.
fn broken(copy: &Path) -> Result<Option<Broken>> {
    let output = cargo()
        .args(["test", "--package", "tidegate-testkit", "--test", "simulation", "what_breaks"])
        // A target directory of its own: cargo would take what was built of a copy without a rule for the checkout's.
        .args(["--target-dir".as_ref(), copy.join("target").as_os_str()])
        .args(["--", "--ignored", "--nocapture"])
        // The worlds take longer than to build them does.
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
        .current_dir(copy)
        .output()
        .context("failed to run cargo test")?;
    let said = String::from_utf8_lossy(&output.stdout);
    if said.contains("nothing broke") {
        return Ok(None);
    }
    let parsed = said.lines().find_map(|line| {
        let (first, of_all) = line.strip_prefix("broken after ")?.split_once(" worlds, ")?;
        Some(Broken { first: first.parse().ok()?, of_all: of_all.to_owned() })
    });
    match parsed {
        Some(broken) => Ok(Some(broken)),
        None => bail!("the worlds could not be run:\n{}", String::from_utf8_lossy(&output.stderr)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_that_is_removed_is_there_once() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        for mutation in MUTATIONS {
            let text = std::fs::read_to_string(root.join(mutation.file)).expect(mutation.file);
            assert_eq!(text.matches(mutation.rule).count(), 1, "{}", mutation.name);
            assert_ne!(mutation.rule, mutation.without);
        }
    }
}
