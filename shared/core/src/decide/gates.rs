//! The stages in which something else than traffic decides: people, times, scans, builds.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{Flow, look_until, rollback, running::advance, wait};
use crate::actor::Actor;
use crate::approval::{ApprovalGate, Approver, Invitation, Opened, Token};
use crate::effect::{Effect, Invite, RETRY_AFTER};
use crate::gate::{ScanVerdict, asked_by, eligible, judge, requester};
use crate::history::{AlarmStands, Event, Fact, StageResult, Unseen, WaitingOn};
use crate::ids::{ContainerName, Image};
use crate::observation::{AlarmSeen, BuildStatus, EffectResult};
use crate::outcome::{Cause, GateKind};
use crate::people::Requester;
use crate::plan::{Plan, Stage};
use crate::policy::{FreezeThen, OnExpiry};
use crate::release::Release;
use crate::turn::{LOOK_EVERY, LOOK_SOON, Turn};

/// A link that was not handed over is made anew after this.
const INVITE_RETRY_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// A build that was asked for shows up within this time; the same request is answered with the same build.
const BUILD_RETRY_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// People approve. Their links are made here, from randomness that is given; only hashes are kept.
pub(super) fn approve(turn: &mut Turn<'_>, plan: &Plan, stage: usize, gate: usize) -> Flow {
    let Some(gate) = plan.gates.approvals.get(gate) else {
        return advance(turn, plan, stage, StageResult::NothingToDo);
    };
    let eligible = eligible(turn.old, gate);
    let Some(opened) = turn.next.gates.get(&stage).cloned() else {
        return open(turn, stage, gate, &eligible);
    };
    if let Some(no) = opened.votes.iter().find(|vote| !vote.approve) {
        let by = Actor::Person { name: no.approver.clone() };
        let why = no.comment.clone().unwrap_or_else(|| "no comment was given".to_owned());
        return rollback::begin(turn, Cause::Rejected { by, why }, Some(stage));
    }
    let yes = opened.votes.iter().filter(|vote| vote.approve).count();
    if yes >= usize::from(gate.approval.count) {
        let approvers = opened.votes.iter().map(|vote| vote.approver.clone()).collect();
        return advance(turn, plan, stage, StageResult::Approved { approvers });
    }
    if turn.now >= opened.expires_at {
        let needed = gate.approval.count;
        return match gate.approval.on_expiry {
            OnExpiry::Approve => {
                advance(turn, plan, stage, StageResult::ApprovalExpired { given: yes, needed })
            }
            OnExpiry::Reject => {
                let why = format!("{yes} of {needed} approvals came in time");
                rollback::begin(turn, Cause::Rejected { by: Actor::Tidegate, why }, Some(stage))
            }
        };
    }
    note_requester(turn);
    note_alarms(turn, plan);
    invite(turn, stage, gate, &eligible);
    // Once something of the candidate runs, weights and alarms are looked at as in a bake.
    let every = if turn.next.is_started() { LOOK_EVERY } else { LOOK_EVERY * 5 };
    let next_look = look_until(turn, every, opened.expires_at);
    let missing = usize::from(gate.approval.count) - yes;
    let of = names(&eligible);
    let waiting_on = WaitingOn::Approvals { missing, of, until: opened.expires_at };
    if turn.effects.is_empty() {
        Flow::Rest(next_look, waiting_on)
    } else {
        wait(turn, RETRY_AFTER, waiting_on)
    }
}

fn open(turn: &mut Turn<'_>, stage: usize, gate: &ApprovalGate, eligible: &[&Approver]) -> Flow {
    let requester = requester(turn.old);
    if let Some(detail) = requester.refused_by(&gate.approval) {
        return rollback::begin(turn, Cause::Gate { gate: GateKind::Approval, detail }, Some(stage));
    }
    if eligible.len() < usize::from(gate.approval.count) {
        let detail = format!(
            "{} approvals are needed, but without whoever asked for the release only {} may approve",
            gate.approval.count,
            eligible.len()
        );
        return rollback::begin(turn, Cause::Gate { gate: GateKind::Approval, detail }, Some(stage));
    }
    let (at, expires) = (turn.now, gate.approval.expires.duration());
    let expires_at = at.saturating_add(expires).unwrap_or(at);
    turn.next.gates.insert(stage, Opened { at, expires_at, invitations: Vec::new(), votes: Vec::new() });
    turn.tell(Event::ApprovalAsked {
        approvers: names(eligible),
        before: gate.approval.before.to_string(),
        because: gate.because.clone(),
    });
    if gate.approval.not_by_requester && !matches!(requester, Requester::People(_)) {
        turn.saw(Fact::Requester { told: requester.to_string(), unrestricted: true });
    }
    invite(turn, stage, gate, eligible);
    wait(turn, RETRY_AFTER, WaitingOn::Invitations)
}

fn names(people: &[&Approver]) -> Vec<String> {
    people.iter().map(|person| person.name.clone()).collect()
}

/// The approvers are told when nobody can be kept from approving their own release.
fn note_requester(turn: &mut Turn<'_>) {
    let requester = requester(turn.old);
    if !matches!(requester, Requester::People(_)) {
        turn.note(Fact::Requester { told: requester.to_string(), unrestricted: false });
    }
}

/// The approvers are shown how the alarms stand.
fn note_alarms(turn: &mut Turn<'_>, plan: &Plan) {
    let known = turn.seen.alarms.known();
    for name in &plan.alarms {
        let stands = |alarm: &AlarmSeen| AlarmStands::Is(alarm.state.clone());
        let state = known.map(|known| known.get(name).map_or(AlarmStands::Gone, stands));
        turn.note(Fact::Alarm { name: name.clone(), state });
    }
}

/// Sends each approver who has not answered a link, and again one that was never handed over. A new link voids the one before.
fn invite(turn: &mut Turn<'_>, stage: usize, gate: &ApprovalGate, eligible: &[&Approver]) {
    let Some(mut opened) = turn.next.gates.remove(&stage) else { return };
    for person in eligible {
        let Some(topic) = person.person.topic() else { continue };
        if opened.votes.iter().any(|vote| vote.approver == person.name) {
            continue;
        }
        let done = turn.seen.results.contains(&EffectResult::Invited { approver: person.name.clone() });
        match opened.invitations.iter_mut().find(|invitation| invitation.approver == person.name) {
            Some(invitation) if invitation.sent_at.is_some() => continue,
            Some(invitation) if done => {
                invitation.sent_at = Some(turn.now);
                turn.tell(Event::LinkSent { approver: person.name.clone() });
                continue;
            }
            Some(invitation) if turn.now.duration_since(invitation.made_at) < INVITE_RETRY_AFTER => continue,
            Some(_) | None => {}
        }
        let token = Token::make(&turn.seen.entropy.0, &format!("{}/{stage}/{}", turn.old.id, person.name));
        opened.invitations.retain(|invitation| invitation.approver != person.name);
        opened.invitations.push(Invitation {
            approver: person.name.clone(),
            token_hash: token.hash(),
            made_at: turn.now,
            sent_at: None,
        });
        let invite = Invite {
            release: turn.old.id.clone(),
            service: turn.old.service.clone(),
            change: turn.old.change.clone(),
            before: gate.approval.before.to_string(),
            approver: person.name.clone(),
            topic: topic.to_owned(),
            token,
            expires_at: opened.expires_at,
            requested_by: asked_by(turn.old),
        };
        turn.act(Effect::Invite { invite: Box::new(invite) });
    }
    turn.next.gates.insert(stage, opened);
}

/// No freeze window is open.
pub(super) fn freeze(turn: &mut Turn<'_>, plan: &Plan, stage: usize) -> Flow {
    let Some(frozen) = plan.gates.freeze.as_ref().and_then(|freeze| freeze.at(turn.now)) else {
        return advance(turn, plan, stage, StageResult::NotFrozen);
    };
    let then = plan.gates.freeze.as_ref().map(|freeze| freeze.then).unwrap_or_default();
    match then {
        FreezeThen::Refuse => {
            let detail = format!("{} (until {:.0})", frozen.window, frozen.until);
            rollback::begin(turn, Cause::Gate { gate: GateKind::Freeze, detail }, Some(stage))
        }
        FreezeThen::Wait => {
            turn.note(Fact::Frozen { window: frozen.window.clone(), until: frozen.until });
            // A look in between, so that a changed clock or a long window is never waited for in one piece.
            let next_look = look_until(turn, SignedDuration::from_hours(1), frozen.until);
            Flow::Rest(next_look, WaitingOn::FreezeEnd { window: frozen.window, until: frozen.until })
        }
    }
}

/// The scans of all images are good enough.
pub(super) fn scan(turn: &mut Turn<'_>, plan: &Plan, stage: usize, since: Timestamp) -> Flow {
    let Some(policy) = &plan.gates.scan else { return advance(turn, plan, stage, StageResult::NothingToDo) };
    let verdict = match &turn.seen.scans {
        crate::seen::Seen::Known(seen) => {
            let images = plan.change.images();
            let told = |image: &Image, why: String| {
                if images.len() == 1 { why } else { format!("{}: {why}", image.repository) }
            };
            let one = |image: &&Image| match seen.get(&image.digest) {
                Some(scan) => judge(policy, scan, turn.now).map(|why| told(image, why)),
                None => ScanVerdict::Wait(told(image, "the scan has not been read yet".into())),
            };
            let verdict = images.iter().map(one).fold(None, ScanVerdict::with);
            verdict.unwrap_or(ScanVerdict::Wait("the scan has not been read yet".into()))
        }
        crate::seen::Seen::Unknown(error) => {
            ScanVerdict::Wait(format!("the scan could not be read: {error}"))
        }
        crate::seen::Seen::NotAsked => ScanVerdict::Wait("the scan has not been read yet".into()),
    };
    match verdict {
        ScanVerdict::Pass(why) => advance(turn, plan, stage, StageResult::ScanPassed { why }),
        ScanVerdict::Fail(detail) => {
            rollback::begin(turn, Cause::Gate { gate: GateKind::Scan, detail }, Some(stage))
        }
        ScanVerdict::Wait(why) if turn.now.duration_since(since) < policy.wait.duration() => {
            wait(turn, LOOK_SOON, WaitingOn::Scan { why })
        }
        ScanVerdict::Wait(why) => {
            let detail = format!("{why} after {}", policy.wait);
            rollback::begin(turn, Cause::Gate { gate: GateKind::Scan, detail }, Some(stage))
        }
    }
}

/// The build of the verification a release is in, once it has been started.
pub(super) fn build_of(release: &Release) -> Option<String> {
    let crate::release::Phase::Running { stage, .. } = &release.phase else { return None };
    match release.stage()? {
        Stage::Verify { .. } => release.progress.builds.get(stage).cloned(),
        Stage::Prepare { .. }
        | Stage::Start
        | Stage::Shift { .. }
        | Stage::Bake { .. }
        | Stage::Approve { .. }
        | Stage::Freeze
        | Stage::Scan
        | Stage::RollOut
        | Stage::Promote => None,
    }
}

/// A build tries the candidate.
pub(super) fn verify(
    turn: &mut Turn<'_>,
    plan: &Plan,
    stage: usize,
    since: Timestamp,
    verify: usize,
) -> Flow {
    let Some(policy) = plan.gates.verifies.get(verify) else {
        return advance(turn, plan, stage, StageResult::NothingToDo);
    };
    let started = turn.seen.results.iter().find_map(|done| match done {
        EffectResult::BuildStarted { stage: of, build } if *of == stage => Some(build.clone()),
        EffectResult::BuildStarted { .. }
        | EffectResult::Invited { .. }
        | EffectResult::VersionPublished { .. } => None,
    });
    if let Some(build) = started {
        turn.tell(Event::VerificationStarted { build: build.clone() });
        turn.next.progress.builds.insert(stage, build);
        return wait(turn, LOOK_SOON, WaitingOn::Build);
    }
    let late = turn.now.duration_since(since) >= policy.timeout.duration();
    let fail = |turn: &mut Turn<'_>, detail: String| {
        rollback::begin(turn, Cause::Gate { gate: GateKind::Verification, detail }, Some(stage))
    };
    let Some(build) = turn.next.progress.builds.get(&stage).cloned() else {
        if late {
            return fail(turn, format!("the build could not be started within {}", policy.timeout));
        }
        let due = turn
            .next
            .acted_at
            .is_none_or(|at| at < since || turn.now.duration_since(at) >= BUILD_RETRY_AFTER);
        if due {
            let environment = environment(turn.old, plan, policy.test_url.as_deref());
            turn.act(Effect::StartBuild {
                stage,
                release: turn.old.id.clone(),
                project: policy.project().to_owned(),
                environment,
            });
        }
        return wait(turn, RETRY_AFTER, WaitingOn::BuildStart);
    };
    match turn.seen.build.known() {
        Some(Some(seen)) => {
            let url = &seen.log_url;
            let log = url.as_deref().unwrap_or("no log");
            let told = |under_way| Fact::BuildLog { build: build.clone(), under_way, log: url.clone() };
            match &seen.status {
                BuildStatus::Succeeded => {
                    turn.saw(told(false));
                    advance(turn, plan, stage, StageResult::BuildSucceeded { build })
                }
                BuildStatus::Failed(status) => {
                    turn.saw(told(false));
                    let detail = format!("build {build} ended as {status}; its log: {log}");
                    fail(turn, detail)
                }
                BuildStatus::InProgress if late => {
                    fail(turn, format!("build {build} took longer than {}; its log: {log}", policy.timeout))
                }
                BuildStatus::InProgress => {
                    turn.note(told(true));
                    wait(turn, LOOK_SOON, WaitingOn::Build)
                }
            }
        }
        Some(None) => fail(turn, format!("build {build} does not exist any more")),
        None if late => fail(turn, format!("build {build} could not be seen for {}", policy.timeout)),
        None => wait(turn, LOOK_SOON, WaitingOn::Look { unseen: Unseen::Build }),
    }
}

/// A container's name as part of an environment variable's.
fn variable(container: &ContainerName) -> String {
    let of = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    container.as_str().chars().map(of).collect()
}

fn environment(release: &Release, plan: &Plan, test_url: Option<&str>) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::from([
        ("TIDEGATE_RELEASE".to_owned(), release.id.to_string()),
        ("TIDEGATE_SERVICE".to_owned(), release.service.to_string()),
    ]);
    // What a build tries is one image, or by its container one of several.
    if let Some(image) = plan.change.single() {
        environment.insert("TIDEGATE_IMAGE".to_owned(), image.pinned());
        environment.insert("TIDEGATE_DIGEST".to_owned(), image.digest.to_string());
    }
    for (container, image) in plan.change.iter() {
        environment.insert(format!("TIDEGATE_IMAGE_{}", variable(container)), image.pinned());
    }
    if let Some(url) = test_url {
        environment.insert("TIDEGATE_TEST_URL".to_owned(), url.to_owned());
    }
    environment
}
