//! The approval page and the answers given on it.
//!
//! - Reading changes nothing: neither GET nor HEAD writes, whatever the link.
//! - An answer needs the link's token, the form's proof, and the service's name typed by hand: what fetches links, or posts forms it finds,
//!   cannot give it.
//! - A link that is not known gets one and the same answer after one and the same time, whether or not there is such a release.
//! - Only who holds a known link can have an attempt written down, and only some of them (`Home::attempted`); what comes with an unknown
//!   link is a line in the log.

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use tidegate_core::approval::{Token, same_secret};
use tidegate_core::fault::PortError;
use tidegate_core::gate::{self, By, NotCounted};
use tidegate_core::ids::ReleaseId;
use tidegate_core::outcome::{Outcome, Successor};
use tidegate_core::release::{Phase, Release};
use tidegate_core::text::REASON_MAX;
use tidegate_pages::{ApprovalView, Form, Message, Tone};
use tidegate_runtime::answers::{Answer, AnswerError};

use crate::api::status_of;
use crate::call::{Call, Reply};
use crate::form;
use crate::gate::Gate;
use crate::keys::csrf;
use crate::secrets::Keeper;
use crate::status;

/// The longest comment, characters.
pub(crate) const COMMENT_MAX: usize = REASON_MAX;
/// How long a refusal of an unknown link takes: longer than the read of the ledger, so that how long it took says nothing.
const REFUSAL_TAKES: SignedDuration = SignedDuration::from_millis(250);

/// What a link leads to.
enum Link {
    /// A release, and the caller holds the link to it.
    Known(Box<Known>),
    /// It could be a link, and is none.
    Unknown,
    /// Nothing that Tidegate ever made. The ledger was not asked.
    Garbage,
}

/// A release whose link the caller holds.
struct Known {
    id: ReleaseId,
    release: Release,
    token: Token,
}

async fn known(gate: &Gate, id: &str, token: Option<String>) -> Result<Link, PortError> {
    let (Ok(id), Some(token)) = (ReleaseId::new(id), Token::received(token.unwrap_or_default())) else {
        return Ok(Link::Garbage);
    };
    let release = gate.installation.ledger.release(&id).await?;
    let release = release.filter(|release| gate::holder(release, &token).is_some());
    Ok(release.map_or(Link::Unknown, |release| Link::Known(Box::new(Known { id, release, token }))))
}

/// `GET` and `HEAD`.
pub(crate) async fn show(gate: &Gate, keeper: &Keeper, call: &Call, id: &str) -> Result<Reply, PortError> {
    let began = gate.installation.time.now();
    let secrets = keeper.secrets().await?;
    let known = match known(gate, id, call.query("token")).await? {
        Link::Known(known) => known,
        Link::Unknown => return Ok(unknown_link(gate, began).await),
        Link::Garbage => return Ok(not_valid()),
    };
    let plan_hash = known.release.plan.as_ref().map(|plan| plan.hash()).unwrap_or_default();
    // The same judgement as for an answer, without anything being written.
    let by = By::Link(known.token.clone());
    match gate::give(&known.release, &by, true, Some(&plan_hash), None, gate.installation.time.now()) {
        Ok(_) => {
            page(gate, &secrets.link_key, &known, StatusCode::OK, Form { plan_hash, ..Form::default() }).await
        }
        Err(why @ NotCounted::AlreadyGiven { .. }) => {
            Ok(Reply::message(StatusCode::OK, &not_counted(&secrets.link_key, &known.release, &why)))
        }
        Err(why) => {
            Ok(Reply::message(status_of(&why), &not_counted(&secrets.link_key, &known.release, &why)))
        }
    }
}

/// What the form sends.
#[derive(Default)]
struct Sent {
    token: Option<String>,
    csrf: String,
    plan: String,
    service: String,
    comment: String,
    decision: String,
}

impl Sent {
    /// `None` when it is not UTF-8.
    fn parse(body: &[u8]) -> Option<Self> {
        let mut sent = Self::default();
        for (name, value) in form::fields(body)? {
            match name.as_str() {
                "token" => sent.token = Some(value),
                "csrf" => sent.csrf = value,
                "plan" => sent.plan = value,
                "service" => sent.service = value,
                "comment" => sent.comment = value,
                "decision" => sent.decision = value,
                _ => {}
            }
        }
        Some(sent)
    }
}

/// `POST`.
pub(crate) async fn take(gate: &Gate, keeper: &Keeper, call: &Call, id: &str) -> Result<Reply, PortError> {
    let began = gate.installation.time.now();
    let Some(sent) = Sent::parse(&call.body) else {
        let message =
            Message::new(Tone::Bad, "Not readable", "What was sent is not UTF-8. Nothing was decided.");
        return Ok(Reply::message(StatusCode::BAD_REQUEST, &message));
    };
    let secrets = keeper.secrets().await?;
    let known = match known(gate, id, sent.token.clone()).await? {
        Link::Known(known) => known,
        Link::Unknown => return Ok(unknown_link(gate, began).await),
        Link::Garbage => return Ok(not_valid()),
    };
    let right = csrf(&secrets.link_key, &known.id, &known.token.hash(), &sent.plan);
    if !same_secret(&right, &sent.csrf) {
        let message = Message::new(
            Tone::Bad,
            "Not from the page",
            "This answer does not come from the approval page. Nothing was decided; open your link again.",
        );
        return Ok(Reply::message(StatusCode::FORBIDDEN, &message));
    }
    let approve = sent.decision == "approve";
    let answer = Answer {
        by: By::Link(known.token.clone()),
        approve,
        plan_hash: Some(sent.plan.clone()),
        comment: comment(&sent.comment),
    };
    let (by, now) = (&answer.by, gate.installation.time.now());
    if let Err(why) = gate::give(&known.release, by, approve, Some(&sent.plan), None, now) {
        return refused(gate, &secrets.link_key, &known.release, &why).await;
    }
    let form = checked(&known.release, &sent);
    if form.name_problem.is_some() || form.comment_problem.is_some() {
        return page(gate, &secrets.link_key, &known, StatusCode::UNPROCESSABLE_ENTITY, form).await;
    }
    match gate.installation.answer(&known.id, &answer).await {
        Ok(release) => {
            tracing::info!(release.id = %known.id, decision = %sent.decision, "an approver answered by link");
            Ok(Reply::message(StatusCode::OK, &thanks(&secrets.link_key, &release, &known.token, approve)))
        }
        Err(AnswerError::Ledger(error)) => Err(error),
        Err(AnswerError::NoRelease(_)) => Ok(unknown_link(gate, began).await),
        Err(AnswerError::NotCounted(why)) => refused(gate, &secrets.link_key, &known.release, &why).await,
    }
}

/// A comment as it is kept: what is only white space is none.
pub(crate) fn comment(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The form as it is shown again, with what was wrong with it.
fn checked(release: &Release, sent: &Sent) -> Form {
    let service = release.service.as_str();
    let name_problem = match sent.service.trim() {
        typed if typed == service => None,
        "" => Some("The name of the service was not typed.".to_owned()),
        _ => Some("What was typed is not the name of this service.".to_owned()),
    };
    let name_problem = name_problem.or_else(|| {
        (!matches!(sent.decision.as_str(), "approve" | "reject"))
            .then(|| "Choose Approve or Reject.".to_owned())
    });
    let too_long = sent.comment.chars().count() > COMMENT_MAX;
    Form {
        plan_hash: sent.plan.clone(),
        comment: sent.comment.chars().take(COMMENT_MAX).collect(),
        name_problem,
        comment_problem: too_long.then(|| format!("It had more than {COMMENT_MAX} characters and was cut.")),
        ..Form::default()
    }
}

async fn page(
    gate: &Gate,
    link_key: &str,
    known: &Known,
    status: StatusCode,
    form: Form,
) -> Result<Reply, PortError> {
    let Known { id, release, token } = known;
    let (Some((_, at_gate, opened)), Some(plan), Some((_, _, approver))) =
        (gate::waiting_at(release), release.plan.as_ref(), gate::holder(release, token))
    else {
        let why = NotCounted::NotWaiting { state: release.summary() };
        return Ok(Reply::message(StatusCode::GONE, &not_counted(link_key, release, &why)));
    };
    let (history, damaged) = gate.installation.ledger.history(id).await?.split();
    status::told(&damaged);
    let form = Form {
        action: format!("/approve/{id}"),
        token: token.reveal().to_owned(),
        csrf: csrf(link_key, id, &token.hash(), &form.plan_hash),
        comment_max: COMMENT_MAX,
        ..form
    };
    let stable = status::stable(gate, release).await;
    let view = ApprovalView {
        release,
        stable,
        plan,
        history: &history,
        unreadable: damaged.len(),
        gate: at_gate,
        opened,
        approver,
        now: gate.installation.time.now(),
        form,
        status: status::link(link_key, id),
    };
    Ok(Reply::page(status, tidegate_pages::approval(&view)))
}

/// The answer to every link that is not known. How long it takes does not tell what the ledger was asked for; where nothing was asked
/// nothing can be told, and nobody holds a copy of this function for the price of a request.
async fn unknown_link(gate: &Gate, began: Timestamp) -> Reply {
    tracing::warn!("a link that is not known was tried");
    let left = REFUSAL_TAKES - gate.installation.time.now().duration_since(began);
    if left > SignedDuration::ZERO {
        gate.installation.time.sleep(left).await;
    }
    not_valid()
}

fn not_valid() -> Reply {
    let message = Message {
        lines: vec![
            "It may have been replaced by a newer one: the last message you were sent has the link that counts.".into(),
            "Nothing was decided.".into(),
        ],
        ..Message::new(Tone::Plain, "This link is not valid", "")
    };
    Reply::message(StatusCode::NOT_FOUND, &message)
}

/// A known link whose answer does not count: told to its holder, and kept.
async fn refused(
    gate: &Gate,
    link_key: &str,
    release: &Release,
    why: &NotCounted,
) -> Result<Reply, PortError> {
    tracing::warn!(release.id = %release.id, why = %why, "an answer did not count");
    if let Err(error) = gate.installation.attempted(release, why).await {
        tracing::warn!(release.id = %release.id, error = %error, "the attempt could not be kept");
    }
    Ok(Reply::message(status_of(why), &not_counted(link_key, release, why)))
}

/// Why an answer does not count, for the holder of a link of this release.
fn not_counted(link_key: &str, release: &Release, why: &NotCounted) -> Message {
    let at = |at: &Timestamp| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let (title, lines) = match why {
        NotCounted::NoSuchLink | NotCounted::NotAnApprover { .. } => {
            ("This link is not valid", vec!["Nothing was decided.".to_owned()])
        }
        NotCounted::AskedForIt { approver } => {
            let line = format!("{approver} asked for this release, or made it, and the policy lets nobody approve their own.");
            ("Not by you", vec![line, "Nothing was decided.".to_owned()])
        }
        NotCounted::AlreadyGiven { approver, approved, at: given_at } => {
            let word = if *approved { "approved" } else { "rejected" };
            let line = format!("{approver} {word} this release on {}. An answer counts once.", at(given_at));
            ("It has been decided", vec![line, format!("The release is now at: {}.", release.summary())])
        }
        NotCounted::NotWaiting { state } => ("This link is void", vec![void(release, state)]),
        NotCounted::Expired { at: expired_at } => {
            ("Too late", vec![format!("The time to answer ran out on {}. Nothing was decided.", at(expired_at))])
        }
        NotCounted::TooLong(problem) => {
            ("The comment is too long", vec![format!("{problem}. Nothing was decided; open your link again.")])
        }
        NotCounted::OtherPlan => (
            "The plan has changed",
            vec!["What you were shown is not what would be done now. Nothing was decided; open your link again.".into()],
        ),
    };
    Message {
        lines,
        about: Some(release.service.to_string()),
        status: Some(status::link(link_key, &release.id)),
        ..Message::new(Tone::Plain, title, "")
    }
}

fn void(release: &Release, state: &str) -> String {
    match &release.phase {
        Phase::Ended { outcome: Outcome::Superseded { by: Successor::Release(by) }, .. } => {
            format!("A newer image has taken the place of this one: release {by}. Nothing was decided.")
        }
        Phase::Ended { outcome: Outcome::Superseded { by: Successor::Policy }, .. } => {
            "The service's releases go somewhere else now: its policy has another target. Nothing was decided.".to_owned()
        }
        Phase::Queued
        | Phase::Preparing { .. }
        | Phase::Running { .. }
        | Phase::RollingBack(_)
        | Phase::Settling { .. }
        | Phase::Ended { .. } => format!("The release does not wait for this approval: it is at: {state}."),
    }
}

fn thanks(link_key: &str, release: &Release, token: &Token, approve: bool) -> Message {
    let approver =
        gate::holder(release, token).map(|(_, _, approver)| approver.to_owned()).unwrap_or_default();
    let missing = gate::waiting_at(release).map_or(0, |(_, gate, opened)| {
        let yes = opened.votes.iter().filter(|vote| vote.approve).count();
        usize::from(gate.approval.count).saturating_sub(yes)
    });
    let (tone, title, line) = match (approve, missing) {
        (false, _) => {
            (Tone::Bad, "Rejected", "The release ends, and whatever it has done is undone.".to_owned())
        }
        (true, 0) => (Tone::Good, "Approved", "The release continues.".to_owned()),
        (true, 1) => (Tone::Good, "Approved", "One more approval is needed.".to_owned()),
        (true, more) => (Tone::Good, "Approved", format!("{more} more approvals are needed.")),
    };
    Message {
        lines: vec![format!("Thank you, {approver}. {line}")],
        about: Some(release.service.to_string()),
        status: Some(status::link(link_key, &release.id)),
        ..Message::new(tone, title, "")
    }
}
