//! A Slack channel, by a bot: one message a release that evolves, its steps in the thread, buttons while people are asked to approve.
//!
//! Sources: Slack API, `chat.postMessage`, `chat.update`, "Rate limits" (429 with `Retry-After`; a message a second and channel), "Block Kit":
//! a section's text has 3,000 characters at most, a header's 150, a button's value 2,000. Errors come with HTTP status 200 and `"ok": false`.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidegate_core::ids::{ServiceName, SlackChannel};
use tidegate_core::notify::{Message, NotSent, Notice, headline, paragraphs};
use tidegate_core::policy::Moment;
use tidegate_core::text::{beginning, visible_line};

use crate::Memory;
use crate::http::{Http, Request};
use crate::secrets::Slack;

const WHOM: &str = "Slack";
/// Below the limit of a section, with what escaping adds.
const LONGEST_TEXT: usize = 1000;
/// How many steps the message itself lists; all of them are in its thread.
const STEPS_SHOWN: usize = 12;

/// By which the gate knows what was pressed.
const APPROVE: &str = "tidegate_approve";
const REJECT: &str = "tidegate_reject";

pub(crate) async fn tell(
    http: &Http,
    secret: &Slack,
    channel: &SlackChannel,
    message: &Message,
) -> Result<Memory, NotSent> {
    let api = Api { http, secret, channel };
    let shown = json!({ "text": escaped(&headline(message)), "blocks": blocks(message) });
    let known = message.memory.get("channel").zip(message.memory.get("ts"));
    let updated = match known {
        None => None,
        Some((id, ts)) => api.update(id, ts, &shown).await?.then(|| (id.clone(), ts.clone())),
    };
    let is_first = updated.is_none();
    let (id, ts) = match updated {
        Some(updated) => updated,
        None => api.post(channel.as_str(), None, &shown).await?,
    };
    let mentions = mentions(message);
    if !is_first || !mentions.is_empty() {
        let text = format!("{mentions}{}", in_thread(message));
        api.post(&id, Some(&ts), &json!({ "text": text })).await?;
    }
    Ok(BTreeMap::from([("channel".to_owned(), id), ("ts".to_owned(), ts)]))
}

pub(crate) async fn test(
    http: &Http,
    secret: &Slack,
    channel: &SlackChannel,
    service: &ServiceName,
) -> Result<(), NotSent> {
    let text = format!("Test message of Tidegate for {service}. Nothing happened.");
    Api { http, secret, channel }.post(channel.as_str(), None, &json!({ "text": text })).await.map(drop)
}

/// Source: Slack API, "Handling user interaction": a message to the `response_url`, which is good for 30 minutes and five answers.
pub(crate) async fn answer(http: &Http, url: &str, text: &str) -> Result<(), NotSent> {
    let body = json!({ "response_type": "ephemeral", "replace_original": false, "text": escaped(text) });
    let answer = http.send(Request::post(WHOM, url, &body)).await?;
    if answer.is_success() { Ok(()) } else { Err(answer.refusal(WHOM, None)) }
}

struct Api<'a> {
    http: &'a Http,
    secret: &'a Slack,
    channel: &'a SlackChannel,
}

impl Api<'_> {
    /// Posts a message; answers the channel's id and the message's.
    async fn post(
        &self,
        channel: &str,
        thread: Option<&str>,
        shown: &Value,
    ) -> Result<(String, String), NotSent> {
        let mut body = shown.clone();
        body["channel"] = json!(channel);
        body["unfurl_links"] = json!(false);
        if let Some(thread) = thread {
            body["thread_ts"] = json!(thread);
        }
        let answer = self.call("chat.postMessage", &body).await?.map_err(|code| self.refused(&code))?;
        let text = |member: &str| answer[member].as_str().map(str::to_owned);
        text("channel").zip(text("ts")).ok_or_else(|| NotSent::new("Slack's answer names no message"))
    }

    /// Changes a message; `false` when somebody has deleted it.
    async fn update(&self, channel: &str, ts: &str, shown: &Value) -> Result<bool, NotSent> {
        let mut body = shown.clone();
        body["channel"] = json!(channel);
        body["ts"] = json!(ts);
        match self.call("chat.update", &body).await? {
            Ok(_) => Ok(true),
            Err(code) if ["message_not_found", "channel_not_found"].contains(&code.as_str()) => Ok(false),
            Err(code) => Err(self.refused(&code)),
        }
    }

    /// What Slack answers: the answer, or the code of its error.
    async fn call(&self, method: &str, body: &Value) -> Result<Result<Value, String>, NotSent> {
        let url = format!("{}/{method}", self.secret.url);
        let request =
            Request::post(WHOM, &url, body).header("authorization", format!("Bearer {}", self.secret.token));
        let answer = self.http.send(request).await?;
        if !answer.is_success() {
            return Err(answer.refusal(WHOM, None));
        }
        let answered = answer.json();
        if answered["ok"] == json!(true) {
            return Ok(Ok(answered));
        }
        match answered["error"].as_str() {
            Some(code @ ("ratelimited" | "rate_limited")) => {
                let wait = Some(answer.retry_after_secs.unwrap_or(30));
                Err(NotSent {
                    retry_after_secs: wait,
                    ..NotSent::new(format!("Slack takes no more messages for a moment ({code})"))
                })
            }
            Some(code) => Ok(Err(code.to_owned())),
            None => Err(NotSent::new("what answered is not Slack")),
        }
    }

    fn refused(&self, code: &str) -> NotSent {
        let channel = self.channel;
        let code = visible_line(code);
        let error = NotSent::new(format!("Slack refused the message: {}", beginning(&code, 100)));
        match &*code {
            "channel_not_found" | "not_in_channel" => {
                error.remedy(format!("Invite the bot: type /invite and its name in {channel}. A private channel is named by its id."))
            }
            "is_archived" => error.remedy(format!("{channel} is archived; name another channel.")),
            "not_authed" | "invalid_auth" | "token_revoked" | "token_expired" | "account_inactive" => {
                error.remedy("Put the bot token of the installed app into Tidegate's notification secret (slack.token).")
            }
            "missing_scope" => error.remedy("Give the app the scope chat:write and install it anew."),
            _ => error,
        }
    }
}

/// Whom a rollback and a failure call.
fn mentions(message: &Message) -> String {
    let calls = message.notice.needs().is_some()
        || [Moment::RollingBack, Moment::Failed, Moment::InterventionRequired]
            .contains(&message.notice.moment);
    if !calls {
        return String::new();
    }
    message.mention.iter().map(|member| format!("<@{member}> ")).collect()
}

fn in_thread(message: &Message) -> String {
    let notice = &message.notice;
    let lines = [format!("*{}*", escaped(&words(notice)))]
        .into_iter()
        .chain(paragraphs(message).into_iter().map(|text| escaped(&beginning(&text, LONGEST_TEXT))));
    lines.collect::<Vec<_>>().join("\n")
}

fn words(notice: &Notice) -> String {
    visible_line(&notice.event.to_string()).into_owned()
}

fn blocks(message: &Message) -> Value {
    let about = &message.about;
    let section = |text: String| json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } });
    let told: Vec<String> =
        paragraphs(message).iter().map(|text| escaped(&beginning(text, LONGEST_TEXT))).collect();
    let mut blocks =
        vec![section(format!("{} *{}*\n{}", sign(message), escaped(&headline(message)), told.join("\n")))];
    let steps: Vec<&Notice> = message.so_far().collect();
    let shown = steps.iter().skip(steps.len().saturating_sub(STEPS_SHOWN));
    let shown: Vec<String> = shown
        .map(|notice| {
            format!(
                "<!date^{}^{{time_secs}}|{:.0}> {}",
                notice.at.as_second(),
                notice.at,
                escaped(&beginning(&words(notice), 150))
            )
        })
        .collect();
    blocks.push(json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": shown.join("\n") }] }));
    let commit =
        about.provenance.commit.as_deref().map(|commit| format!(" · commit {}", beginning(commit, 12)));
    let about_it =
        format!("release {} · {}{}", about.release, about.requested_by, commit.unwrap_or_default());
    let about_it = escaped(&beginning(&visible_line(&about_it), LONGEST_TEXT));
    blocks.push(json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": about_it }] }));
    if let Some(plan) = about.plan.as_ref().filter(|_| message.asks_for_approval()) {
        // What was shown is what is answered: the gate compares all three.
        let value =
            json!({ "release": about.release, "plan": plan, "digests": about.change.digests() }).to_string();
        let button = |action: &str, text: &str, style: &str| {
            json!({ "type": "button", "action_id": action, "style": style, "value": value,
                "text": { "type": "plain_text", "text": text },
                "confirm": { "title": { "type": "plain_text", "text": format!("{text}?") },
                    "text": { "type": "mrkdwn", "text": escaped(&beginning(&headline(message), 250)) },
                    "confirm": { "type": "plain_text", "text": text }, "deny": { "type": "plain_text", "text": "Not yet" } } })
        };
        let elements = [button(APPROVE, "Approve", "primary"), button(REJECT, "Reject", "danger")];
        blocks.push(json!({ "type": "actions", "block_id": format!("tidegate-{}", about.release), "elements": elements }));
    }
    Value::Array(blocks)
}

fn sign(message: &Message) -> &'static str {
    if message.notice.needs().is_some() {
        return ":rotating_light:";
    }
    match message.notice.moment {
        Moment::Promoted => ":white_check_mark:",
        Moment::RollingBack | Moment::TrafficRestored | Moment::Redeploying => ":leftwards_arrow_with_hook:",
        Moment::RolledBack | Moment::Failed | Moment::Rejected | Moment::Cancelled => ":x:",
        Moment::InterventionRequired => ":rotating_light:",
        Moment::ApprovalRequested => ":raised_hand:",
        Moment::Superseded | Moment::GivingWay => ":heavy_minus_sign:",
        Moment::Created
        | Moment::Asked
        | Moment::Started
        | Moment::Planned
        | Moment::Replanned
        | Moment::Approved
        | Moment::VerificationStarted
        | Moment::DeploymentStarted
        | Moment::Shifting
        | Moment::StageDone
        | Moment::TasksFailed
        | Moment::WeightsRepaired
        | Moment::WouldRollBack
        | Moment::Promoting
        | Moment::Settling => ":ocean:",
    }
}

/// Slack's markup reads these three; everything else is text. What others wrote mentions nobody and makes no link.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests_support::{ended, message, of};
    use tidegate_core::history::{Event, StageResult};
    use tidegate_core::plan::Stage;
    use tidegate_core::policy::Receiver;

    fn slack() -> Receiver {
        Receiver::Slack("#deploys".parse().unwrap())
    }

    fn actions(message: &Message) -> Option<Value> {
        blocks(message).as_array().unwrap().iter().find(|block| block["type"] == "actions").cloned()
    }

    #[test]
    fn buttons_stand_there_exactly_while_people_are_asked() {
        let asked =
            || Event::ApprovalAsked { approvers: vec!["anna".into()], before: "shift".into(), because: None };
        let answered = Event::Answered { approver: "anna".into(), approved: true, comment: None };
        let done = Event::StageDone { stage: Stage::Approve { gate: 0 }, result: StageResult::NothingToDo };
        let shown = actions(&of(slack(), vec![Event::Started, asked()])).unwrap();
        let value: Value = serde_json::from_str(shown["elements"][0]["value"].as_str().unwrap()).unwrap();
        assert_eq!(value["plan"], "p".repeat(64));
        assert_eq!(value["digests"], json!([format!("sha256:{}", "a".repeat(64))]));
        assert!(actions(&of(slack(), vec![asked(), answered.clone()])).is_some());
        assert!(actions(&of(slack(), vec![asked(), answered, done])).is_none());
        assert!(actions(&of(slack(), vec![Event::Started])).is_none());
        assert!(actions(&ended(slack(), None)).is_none());
    }

    #[test]
    fn what_others_wrote_mentions_nobody_and_stays_below_the_limits() {
        let message = message(slack(), &format!("<!channel> <@U1> {}", "&".repeat(5000)));
        for block in blocks(&message).as_array().unwrap() {
            let text =
                block["text"]["text"].as_str().or(block["elements"][0]["text"].as_str()).unwrap_or_default();
            assert!(
                text.chars().count() <= 7000 && !text.contains("<!channel") && !text.contains("<@"),
                "{text}"
            );
        }
        assert!(in_thread(&message).contains("&lt;!channel&gt;"));
    }

    #[test]
    fn a_rollback_mentions_whom_the_policy_names_and_a_promotion_nobody() {
        let with = |message: Message| Message { mention: vec!["U0123ABCDEF".into()], ..message };
        assert_eq!(mentions(&with(message(slack(), "x"))), "<@U0123ABCDEF> ");
        assert_eq!(mentions(&with(ended(slack(), Some("do it")))), "<@U0123ABCDEF> ");
        assert_eq!(mentions(&with(ended(slack(), None))), "");
    }
}
