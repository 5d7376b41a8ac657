//! What people do from the dashboard: approve, reject, roll back, cancel, pause, continue, promote now.
//!
//! - An action needs a pass that acts, made for one person and one service or release; the form's proof, bound to that pass, the action and what
//!   was shown; the service's name typed by hand; and that the policy, as it is now, knows this identity among its people.
//! - An answer to an approval counts by the same rules as everywhere (`core::gate`); everything else is asked by the same functions as the
//!   command line asks (`core::requests`, `core::rollback`).
//! - GET changes nothing.

use http::StatusCode;
use tidegate_core::actor::Actor;
use tidegate_core::approval::same_secret;
use tidegate_core::fault::PortError;
use tidegate_core::gate::{self, By};
use tidegate_core::ids::{ReleaseId, ServiceName};
use tidegate_core::intent::Request;
use tidegate_core::people::People;
use tidegate_core::release::Release;
use tidegate_core::requests::{self, Ask};
use tidegate_core::rollback::{Choice, RollbackTo};
use tidegate_core::service::ServiceRecord;
use tidegate_core::text::REASON_MAX;
use tidegate_pages::{ActForm, ActView, Action, Message, Tone, Ways as _};
use tidegate_runtime::answers::{Answer, AnswerError};
use tidegate_runtime::requests::{Asking, RequestError};

use crate::api::status_of;
use crate::approve::comment;
use crate::call::{Call, Reply};
use crate::dashboard::{Visitor, other_place};
use crate::form;
use crate::gate::Gate;
use crate::keys::act_form;
use crate::pass::{May, Pass};
use crate::secrets::Keeper;

/// What is kept when nobody says why.
const NO_REASON: &str = "no reason given";

/// What can be done about a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Approve,
    Reject,
    Rollback,
    Cancel,
    Pause,
    Continue,
    Promote,
}

impl Verb {
    const ALL: [Self; 7] = [
        Self::Approve,
        Self::Reject,
        Self::Rollback,
        Self::Pause,
        Self::Continue,
        Self::Promote,
        Self::Cancel,
    ];

    pub(crate) fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.word() == word)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Rollback => "rollback",
            Self::Cancel => "cancel",
            Self::Pause => "pause",
            Self::Continue => "continue",
            Self::Promote => "promote",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Approve => "Approve",
            Self::Reject => "Reject",
            Self::Rollback => "Roll back",
            Self::Cancel => "Cancel",
            Self::Pause => "Pause",
            Self::Continue => "Continue",
            Self::Promote => "Promote now",
        }
    }

    fn stops(self) -> bool {
        matches!(self, Self::Reject | Self::Rollback | Self::Cancel)
    }

    /// What is asked of the release; `None` for an answer to its approval.
    fn ask(self) -> Option<Ask> {
        match self {
            Self::Approve | Self::Reject => None,
            Self::Rollback => Some(Ask::Rollback),
            Self::Cancel => Some(Ask::Cancel),
            Self::Pause => Some(Ask::Pause),
            Self::Continue => Some(Ask::Continue),
            Self::Promote => Some(Ask::PromoteNow),
        }
    }

    fn question(self, release: &Release) -> String {
        let (label, service) = (release.change.label(), &release.service);
        match self {
            Self::Approve => format!("Approve {label} for {service}?"),
            Self::Reject => format!("Reject {label} for {service}?"),
            Self::Rollback => format!("Roll {label} of {service} back?"),
            Self::Cancel => format!("Cancel {label} for {service}?"),
            Self::Pause => format!("Pause {label} of {service}?"),
            Self::Continue => format!("Continue {label} of {service}?"),
            Self::Promote => format!("Promote {label} of {service} now?"),
        }
    }

    /// What comes of it.
    fn outcome(self) -> &'static str {
        match self {
            Self::Approve => {
                "Your approval counts for this plan and this image. The release continues once there are enough."
            }
            Self::Reject => "The release ends, and whatever it has done is undone.",
            Self::Rollback => {
                "All traffic goes back to the version before, at once, and this image is quarantined."
            }
            Self::Cancel => "The release ends; traffic that has moved is moved back first.",
            Self::Pause => {
                "Nothing moves forward until it is continued. Alarms still roll it back, and so does a pause that lasts longer than the policy allows."
            }
            Self::Continue => "The pause ends; a bake has as much to go as before.",
            Self::Promote => {
                "The remaining bakes are not waited for. Alarms, the requests that have to be seen, approvals, freezes and builds still count."
            }
        }
    }
}

/// What can be done about a release with this pass, now.
pub(crate) fn of_release(visitor: &Visitor<'_>, release: &Release) -> Vec<Action> {
    if visitor.pass.may != May::Act {
        return Vec::new();
    }
    let by = Actor::Person { name: visitor.pass.by.clone() };
    let possible = |verb: &Verb| match verb.ask() {
        None => {
            let identity = By::Identity(visitor.pass.by.clone());
            gate::give(release, &identity, *verb == Verb::Approve, None, None, visitor.now).is_ok()
        }
        Some(ask) => {
            !is_asked(release, ask)
                && requests::ask(release, ask, by.clone(), String::new(), visitor.now).is_ok()
        }
    };
    let action = |verb: Verb| Action {
        label: verb.label(),
        address: visitor.address(&format!("/releases/{}/{}", release.id, verb.word())),
        stops: verb.stops(),
    };
    Verb::ALL.into_iter().filter(possible).map(action).collect()
}

/// Whether the same was asked before and is still to be done: a form that is sent twice asks once.
fn is_asked(release: &Release, ask: Ask) -> bool {
    matches!(
        (&release.request, ask),
        (Some(Request::Rollback { .. }), Ask::Rollback) | (Some(Request::Cancel { .. }), Ask::Cancel)
    )
}

/// What can be done about a service with this pass, now.
pub(crate) fn of_service(visitor: &Visitor<'_>, service: &ServiceName, head: &ServiceRecord) -> Vec<Action> {
    if visitor.pass.may != May::Act || head.active.is_some() || head.promoted.is_empty() {
        return Vec::new();
    }
    let address = visitor.address(&format!("/services/{service}/rollback"));
    vec![Action { label: "Roll back", address, stops: true }]
}

/// Whether the policy knows whom a pass was made for.
pub(crate) fn is_known(head: &ServiceRecord, by: &str) -> bool {
    !People::of_policy(&head.policy).with_identity(by).is_empty()
}

/// What the form sends.
struct Sent {
    csrf: String,
    shown: String,
    service: String,
    reason: String,
}

/// Someone whom the policy knows, and what they sent.
struct Comer<'a> {
    visitor: Visitor<'a>,
    link_key: String,
    sent: Option<Sent>,
}

/// What is asked about, and how it is asked.
struct Asked {
    path: String,
    service: ServiceName,
    verb: &'static str,
    /// What was shown: the answer counts for nothing else.
    shown: String,
    title: String,
    lines: Vec<String>,
    button: &'static str,
    stops: bool,
    back: String,
}

/// `GET` and `POST` of `/releases/ID/VERB`.
pub(crate) async fn release(
    gate: &Gate,
    keeper: &Keeper,
    call: &Call,
    id: &str,
    verb: Verb,
    posts: bool,
) -> Result<Reply, PortError> {
    let (visitor, sent) = match came(gate, keeper, call, posts).await? {
        Ok(came) => came,
        Err(reply) => return Ok(reply),
    };
    let Ok(id) = ReleaseId::new(id) else { return Ok(Reply::nothing_here()) };
    let release = gate.installation.ledger.release(&id).await?;
    let Some(release) = release.filter(|release| visitor.pass.opens_release(&release.service, &id)) else {
        return Ok(other_place());
    };
    let comer = match known(gate, keeper, visitor, sent, &release.service).await? {
        Ok(comer) => comer,
        Err(reply) => return Ok(reply),
    };
    let asked = Asked {
        path: format!("/releases/{id}/{}", verb.word()),
        service: release.service.clone(),
        verb: verb.word(),
        shown: release.plan.as_ref().map(|plan| plan.hash()).unwrap_or_default(),
        title: verb.question(&release),
        lines: vec![format!("It is at: {}.", release.summary()), verb.outcome().to_owned()],
        button: verb.label(),
        stops: verb.stops(),
        back: comer.visitor.address(&format!("/releases/{id}")),
    };
    let reason = match confirmed(&comer, &asked) {
        Ok(reason) => reason,
        Err(reply) => return Ok(*reply),
    };
    carry_out(gate, &comer.visitor.pass, &release, verb, &asked, reason).await
}

async fn carry_out(
    gate: &Gate,
    pass: &Pass,
    release: &Release,
    verb: Verb,
    asked: &Asked,
    reason: Option<String>,
) -> Result<Reply, PortError> {
    let (id, back) = (&release.id, asked.back.clone());
    let done = match verb.ask() {
        None => {
            let answer = Answer {
                by: By::Identity(pass.by.clone()),
                approve: verb == Verb::Approve,
                plan_hash: Some(asked.shown.clone()),
                comment: reason,
            };
            match gate.installation.answer(id, &answer).await {
                Ok(_) => Ok(()),
                Err(AnswerError::Ledger(error)) => return Err(error),
                Err(AnswerError::NoRelease(_)) => return Ok(other_place()),
                Err(AnswerError::NotCounted(why)) => Err((status_of(&why), why.to_string())),
            }
        }
        Some(ask) if is_asked(release, ask) => {
            Err((StatusCode::CONFLICT, "it was asked for already, and is under way".to_owned()))
        }
        Some(ask) => {
            let by = Actor::Person { name: pass.by.clone() };
            let why = reason.unwrap_or_else(|| NO_REASON.to_owned());
            match gate.installation.ask(id, ask, &by, &why).await {
                Ok(()) => Ok(()),
                Err(RequestError::Ledger(error)) => return Err(error),
                Err(why) => Err((StatusCode::CONFLICT, why.to_string())),
            }
        }
    };
    let service = release.service.to_string();
    Ok(match done {
        Ok(()) => {
            tracing::info!(release.id = %id, action = verb.word(), "a person acted from the dashboard");
            done_page(verb.label(), service, back)
        }
        Err((status, why)) => not_done(status, &why, service, back),
    })
}

/// `GET` and `POST` of `/services/NAME/rollback`: what was promoted before comes back. What runs is not looked at from here, so what was promoted
/// last is taken to run; the release that brings the earlier version back proves what is there.
pub(crate) async fn service(
    gate: &Gate,
    keeper: &Keeper,
    call: &Call,
    name: &str,
    posts: bool,
) -> Result<Reply, PortError> {
    let (visitor, sent) = match came(gate, keeper, call, posts).await? {
        Ok(came) => came,
        Err(reply) => return Ok(reply),
    };
    let Ok(name) = ServiceName::new(name) else { return Ok(Reply::nothing_here()) };
    if !visitor.pass.opens_service(&name) {
        return Ok(other_place());
    }
    let comer = match known(gate, keeper, visitor, sent, &name).await? {
        Ok(comer) => comer,
        Err(reply) => return Ok(reply),
    };
    let back = comer.visitor.address(&format!("/services/{name}"));
    let choice = match gate.installation.rollback_choice(&name, RollbackTo::Before).await {
        Ok(choice) => choice,
        Err(RequestError::Ledger(error)) => return Err(error),
        Err(why) => return Ok(not_done(StatusCode::CONFLICT, &why.to_string(), name.to_string(), back)),
    };
    let Choice::Earlier { from, to, supersedes } = &choice else {
        let why = "a release is under way: roll that one back on its own page";
        return Ok(not_done(StatusCode::CONFLICT, why, name.to_string(), back));
    };
    let mut lines = vec![format!(
        "{} was promoted last and is taken to run. {} comes back, and {} is quarantined.",
        from.label,
        to.change.label(),
        from.label
    )];
    lines.extend(
        supersedes.iter().map(|waiting| format!("Release {}, which waits, is superseded.", waiting.short())),
    );
    let waiting = supersedes.as_ref().map(ToString::to_string).unwrap_or_default();
    let left = from.release.as_ref().map(ToString::to_string).unwrap_or_default();
    let asked = Asked {
        path: format!("/services/{name}/rollback"),
        service: name.clone(),
        verb: Verb::Rollback.word(),
        shown: format!("{left} {} {waiting}", to.release),
        title: format!("Roll {name} back from {} to {}?", from.label, to.change.label()),
        lines,
        button: Verb::Rollback.label(),
        stops: true,
        back: back.clone(),
    };
    let reason = match confirmed(&comer, &asked) {
        Ok(reason) => reason,
        Err(reply) => return Ok(*reply),
    };
    let by = Actor::Person { name: comer.visitor.pass.by.clone() };
    let why = reason.unwrap_or_else(|| NO_REASON.to_owned());
    let asking = Asking { by: &by, why: &why };
    match gate.installation.roll_back(&name, RollbackTo::Before, &choice, asking).await {
        Ok(id) => {
            tracing::info!(release.id = %id, action = "rollback", "a person acted from the dashboard");
            let follow = comer.visitor.release(&name, &id).unwrap_or(back);
            Ok(done_page("Roll back", name.to_string(), follow))
        }
        Err(RequestError::Ledger(error)) => Err(error),
        Err(why) => Ok(not_done(StatusCode::CONFLICT, &why.to_string(), name.to_string(), back)),
    }
}

/// Whose pass it is, and what was sent. A pass in the address of a `POST` counts for nothing: forms carry it in their body.
async fn came<'a>(
    gate: &Gate,
    keeper: &Keeper,
    call: &'a Call,
    posts: bool,
) -> Result<Result<(Visitor<'a>, Option<Sent>), Reply>, PortError> {
    let (key, sent) = if posts {
        let Some(fields) = form::fields(&call.body) else {
            let message =
                Message::new(Tone::Bad, "Not readable", "What was sent is not UTF-8. Nothing was done.");
            return Ok(Err(Reply::message(StatusCode::BAD_REQUEST, &message)));
        };
        let field = |name: &str| {
            fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let sent = Sent {
            csrf: field("csrf"),
            shown: field("shown"),
            service: field("service"),
            reason: field("reason"),
        };
        (Some(field("key")), Some(sent))
    } else {
        (call.query("key"), None)
    };
    let visitor = match Visitor::admitted(gate, keeper, call, key).await? {
        Ok(visitor) => visitor,
        Err(reply) => return Ok(Err(reply)),
    };
    if visitor.pass.may != May::Act {
        let line =
            format!("It only reads. One that acts, in your own name: {} --act", visitor.pass.command());
        let message = Message::new(Tone::Plain, "This link does not act", line);
        return Ok(Err(Reply::message(StatusCode::FORBIDDEN, &message)));
    }
    Ok(Ok((visitor, sent)))
}

/// Lets through whom the service's policy knows now; it may have been another one when the pass was made.
async fn known<'a>(
    gate: &Gate,
    keeper: &Keeper,
    visitor: Visitor<'a>,
    sent: Option<Sent>,
    service: &ServiceName,
) -> Result<Result<Comer<'a>, Reply>, PortError> {
    let Some(head) = gate.installation.ledger.service(service).await? else {
        return Ok(Err(Reply::nothing_here()));
    };
    if !is_known(&head, &visitor.pass.by) {
        tracing::warn!(service = %service, "someone whom the policy does not know tried to act from the dashboard");
        let line = format!(
            "{} is none of the people of this service's policy: people.NAME.aws says whose identity it is. Nothing was done.",
            visitor.pass.by
        );
        let message = Message::new(Tone::Plain, "Not by you", line);
        return Ok(Err(Reply::message(StatusCode::FORBIDDEN, &message)));
    }
    let link_key = keeper.secrets().await?.link_key.clone();
    Ok(Ok(Comer { visitor, link_key, sent }))
}

/// The reason, when it was confirmed; else the page that asks, or why it does not count.
fn confirmed(comer: &Comer<'_>, asked: &Asked) -> Result<Option<String>, Box<Reply>> {
    let Comer { visitor, link_key, sent, .. } = comer;
    let proof = |shown: &str| act_form(link_key, asked.verb, &asked.path, visitor.key(), shown);
    let ask = |status: StatusCode, form: ActForm| {
        let form = ActForm {
            action: asked.path.clone(),
            key: visitor.key().to_owned(),
            csrf: proof(&asked.shown),
            shown: asked.shown.clone(),
            reason_max: REASON_MAX,
            ..form
        };
        let view = ActView {
            title: asked.title.clone(),
            lines: asked.lines.clone(),
            button: asked.button,
            stops: asked.stops,
            service: asked.service.to_string(),
            by: visitor.pass.by.clone(),
            back: asked.back.clone(),
            form,
        };
        Box::new(Reply::page(status, tidegate_pages::act(&view)))
    };
    let Some(sent) = sent else { return Err(ask(StatusCode::OK, ActForm::default())) };
    if !same_secret(&proof(&sent.shown), &sent.csrf) {
        let line = "This does not come from the page that asks. Nothing was done; open your link again.";
        return Err(Box::new(Reply::message(
            StatusCode::FORBIDDEN,
            &Message::new(Tone::Bad, "Not from the page", line),
        )));
    }
    if sent.shown != asked.shown {
        let why = "what you were shown is not what would be done now";
        return Err(Box::new(not_done(
            StatusCode::CONFLICT,
            why,
            asked.service.to_string(),
            asked.back.clone(),
        )));
    }
    let name_problem = match sent.service.trim() {
        typed if typed == asked.service.as_str() => None,
        "" => Some("The name of the service was not typed.".to_owned()),
        _ => Some("What was typed is not the name of this service.".to_owned()),
    };
    let too_long = sent.reason.chars().count() > REASON_MAX;
    let form = ActForm {
        reason: sent.reason.chars().take(REASON_MAX).collect(),
        name_problem,
        reason_problem: too_long.then(|| format!("It had more than {REASON_MAX} characters and was cut.")),
        ..ActForm::default()
    };
    if form.has_problem() {
        Err(ask(StatusCode::UNPROCESSABLE_ENTITY, form))
    } else {
        Ok(comment(&sent.reason))
    }
}

fn done_page(label: &str, service: String, follow: String) -> Reply {
    let message = Message {
        about: Some(service),
        status: Some(follow),
        ..Message::new(Tone::Good, format!("{label}: asked"), "It is written down and under way.")
    };
    Reply::message(StatusCode::OK, &message)
}

fn not_done(status: StatusCode, why: &str, service: String, back: String) -> Reply {
    let message = Message {
        about: Some(service),
        status: Some(back),
        ..Message::new(Tone::Plain, "Nothing was done", format!("It is not possible: {why}."))
    };
    Reply::message(status, &message)
}
