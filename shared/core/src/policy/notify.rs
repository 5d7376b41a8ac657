//! Who is told of a release, and of what.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{EventBusArn, GitHubRepository, ReceiverName, SlackChannel, TopicArn};

/// What happens to a release, as far as it is told. Its name is the last part of the event's `detail-type`: `tidegate.release.promoted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// The release came to be.
    Created,
    /// Somebody asked it to stop, to roll back, to make room, to pause, to continue or to promote now.
    Asked,
    /// It became the service's active release.
    Started,
    /// The plan is made, and its rollback target proven.
    Planned,
    /// The plan is made anew.
    Replanned,
    /// People are asked to approve.
    ApprovalRequested,
    /// Somebody approved.
    Approved,
    /// Somebody rejected.
    Rejected,
    /// A build tries the candidate.
    VerificationStarted,
    /// The deployment is under way.
    DeploymentStarted,
    /// Traffic is being shifted.
    Shifting,
    /// A stage of the plan is over.
    StageDone,
    /// Tasks of the candidate failed.
    TasksFailed,
    /// Weights that something else had changed are set again.
    WeightsRepaired,
    /// What its numbers would have led to, if they were not only tried (`evidence.dry_run`).
    WouldRollBack,
    /// The stable version is being terminated.
    Promoting,
    /// It is being rolled back.
    RollingBack,
    /// The stable version has all traffic again.
    TrafficRestored,
    /// The stable version is being deployed again.
    Redeploying,
    /// A person has to do something.
    InterventionRequired,
    /// Somebody else deployed, and the release gives way.
    GivingWay,
    /// Traffic is where it belongs; the last look is made.
    Settling,
    /// It ended: all traffic is on the new version.
    Promoted,
    /// It ended: the service is what it was before.
    RolledBack,
    /// It ended: something newer took its place.
    Superseded,
    /// It ended: a person cancelled it.
    Cancelled,
    /// It ended as failed.
    Failed,
}

impl Moment {
    /// Its name, as it is written in a policy and in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Asked => "asked",
            Self::Started => "started",
            Self::Planned => "planned",
            Self::Replanned => "replanned",
            Self::ApprovalRequested => "approval_requested",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::VerificationStarted => "verification_started",
            Self::DeploymentStarted => "deployment_started",
            Self::Shifting => "shifting",
            Self::StageDone => "stage_done",
            Self::TasksFailed => "tasks_failed",
            Self::WeightsRepaired => "weights_repaired",
            Self::WouldRollBack => "would_roll_back",
            Self::Promoting => "promoting",
            Self::RollingBack => "rolling_back",
            Self::TrafficRestored => "traffic_restored",
            Self::Redeploying => "redeploying",
            Self::InterventionRequired => "intervention_required",
            Self::GivingWay => "giving_way",
            Self::Settling => "settling",
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled_back",
            Self::Superseded => "superseded",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// What people want to hear of unless they say otherwise.
    fn is_chief(self) -> bool {
        match self {
            Self::Started
            | Self::ApprovalRequested
            | Self::Rejected
            | Self::RollingBack
            | Self::WouldRollBack
            | Self::InterventionRequired
            | Self::Promoted
            | Self::RolledBack
            | Self::Cancelled
            | Self::Failed => true,
            Self::Created
            | Self::Asked
            | Self::Planned
            | Self::Replanned
            | Self::Approved
            | Self::VerificationStarted
            | Self::DeploymentStarted
            | Self::Shifting
            | Self::StageDone
            | Self::TasksFailed
            | Self::WeightsRepaired
            | Self::Promoting
            | Self::TrafficRestored
            | Self::Redeploying
            | Self::GivingWay
            | Self::Settling
            | Self::Superseded => false,
        }
    }
}

/// What else GitHub shows: the beginning and the way; whoever waits there waits for every end.
fn is_githubs(moment: Moment) -> bool {
    matches!(moment, Moment::Created | Moment::Shifting | Moment::Superseded)
}

/// Where people, or programs, are told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Receiver {
    /// An EventBridge bus.
    EventBus(EventBusArn),
    /// An SNS topic, in plain text.
    Sns(TopicArn),
    /// An SNS topic that Amazon Q Developer in chat applications reads: Slack and Teams without any token.
    AmazonQ(TopicArn),
    /// A Slack channel, by a bot.
    Slack(SlackChannel),
    /// A GitHub repository: deployments and commit statuses.
    GitHub(GitHubRepository),
    /// A workflow of Microsoft Teams, by its name in the secret.
    Teams(ReceiverName),
    /// An address that takes signed requests, by its name in the secret.
    Webhook(ReceiverName),
    /// A PagerDuty service, by its name in the secret.
    PagerDuty(ReceiverName),
}

impl Receiver {
    /// What it is called in the ledger and to people: `slack #deploys`.
    pub fn name(&self) -> String {
        match self {
            Self::EventBus(arn) => format!("event_bus {arn}"),
            Self::Sns(arn) => format!("sns {arn}"),
            Self::AmazonQ(arn) => format!("amazon_q {arn}"),
            Self::Slack(channel) => format!("slack {channel}"),
            Self::GitHub(repository) => format!("github {repository}"),
            Self::Teams(name) => format!("teams {name}"),
            Self::Webhook(name) => format!("webhook {name}"),
            Self::PagerDuty(name) => format!("pagerduty {name}"),
        }
    }
}

/// One entry of `notify`: where, and of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "RawChannel", into = "RawChannel")]
#[schemars(with = "RawChannel")]
pub struct Channel {
    /// Where.
    pub to: Receiver,
    /// Of what; none for what the receiver is told by default.
    pub on: Option<BTreeSet<Moment>>,
    /// Whom a rollback and a failure mention: names of `people` or `groups`.
    pub mention: Vec<String>,
}

impl Channel {
    /// Whether this is told there. What needs a person is told wherever that was asked for, whatever else it is.
    pub fn wants(&self, moment: Moment, needs_person: bool) -> bool {
        let told = |moment: Moment| match (&self.on, &self.to) {
            (Some(on), _) => on.contains(&moment),
            (None, Receiver::EventBus(_) | Receiver::Webhook(_)) => true,
            (None, Receiver::GitHub(_)) => moment.is_chief() || is_githubs(moment),
            (None, Receiver::PagerDuty(_)) => {
                matches!(moment, Moment::InterventionRequired | Moment::Promoted | Moment::RolledBack)
            }
            // One message that evolves: its thread has the steps.
            (None, Receiver::Slack(_)) => moment.is_chief() || is_step(moment),
            (None, Receiver::Sns(_) | Receiver::AmazonQ(_) | Receiver::Teams(_)) => moment.is_chief(),
        };
        told(moment) || (needs_person && told(Moment::InterventionRequired))
    }
}

fn is_step(moment: Moment) -> bool {
    matches!(
        moment,
        Moment::Approved
            | Moment::Shifting
            | Moment::StageDone
            | Moment::TasksFailed
            | Moment::TrafficRestored
    )
}

/// Exactly one receiver, and of what it is told.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Channel", extend("oneOf" = [
    {"required": ["event_bus"]}, {"required": ["sns"]}, {"required": ["amazon_q"]}, {"required": ["slack"]},
    {"required": ["github"]}, {"required": ["teams"]}, {"required": ["webhook"]}, {"required": ["pagerduty"]}
]))]
struct RawChannel {
    /// The ARN of an EventBridge bus: every transition, as `tidegate.release.*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_bus: Option<EventBusArn>,
    /// The ARN of an SNS topic: plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sns: Option<TopicArn>,
    /// The ARN of an SNS topic that Amazon Q Developer in chat applications reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    amazon_q: Option<TopicArn>,
    /// A Slack channel: `#deploys`, or its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slack: Option<SlackChannel>,
    /// A GitHub repository: `acme/shop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    github: Option<GitHubRepository>,
    /// The name of a Teams workflow in Tidegate's secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    teams: Option<ReceiverName>,
    /// The name of a signed webhook in Tidegate's secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    webhook: Option<ReceiverName>,
    /// The name of a PagerDuty service in Tidegate's secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pagerduty: Option<ReceiverName>,
    /// Of what; default: what the receiver is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on: Option<BTreeSet<Moment>>,
    /// With `slack`: whom a rollback and a failure mention, names of `people` or `groups`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mention: Vec<String>,
}

impl TryFrom<RawChannel> for Channel {
    type Error = String;

    fn try_from(raw: RawChannel) -> Result<Self, String> {
        let receivers = [
            raw.event_bus.map(|arn| ("event_bus", Receiver::EventBus(arn))),
            raw.sns.map(|arn| ("sns", Receiver::Sns(arn))),
            raw.amazon_q.map(|arn| ("amazon_q", Receiver::AmazonQ(arn))),
            raw.slack.map(|channel| ("slack", Receiver::Slack(channel))),
            raw.github.map(|repository| ("github", Receiver::GitHub(repository))),
            raw.teams.map(|name| ("teams", Receiver::Teams(name))),
            raw.webhook.map(|name| ("webhook", Receiver::Webhook(name))),
            raw.pagerduty.map(|name| ("pagerduty", Receiver::PagerDuty(name))),
        ];
        let mut given: Vec<_> = receivers.into_iter().flatten().collect();
        if given.len() != 1 {
            let found: Vec<&str> = given.iter().map(|(name, _)| *name).collect();
            let found = if found.is_empty() { "none".to_owned() } else { found.join(" and ") };
            return Err(format!(
                "exactly one of event_bus, sns, amazon_q, slack, github, teams, webhook and pagerduty is needed, found {found}"
            ));
        }
        let (name, to) = given.remove(0);
        if raw.on.is_some() && matches!(to, Receiver::GitHub(_) | Receiver::PagerDuty(_)) {
            return Err(format!("on: found with {name}, which follows a release whole; leave it out"));
        }
        if raw.on.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err(
                "on: found an empty list, allowed one entry or more; without on, the chief ones are told"
                    .into(),
            );
        }
        if !raw.mention.is_empty() && !matches!(to, Receiver::Slack(_)) {
            return Err(format!("mention: found with {name}, allowed with slack"));
        }
        Ok(Self { to, on: raw.on, mention: raw.mention })
    }
}

impl From<Channel> for RawChannel {
    fn from(channel: Channel) -> Self {
        let mut raw = Self { on: channel.on, mention: channel.mention, ..Self::default() };
        match channel.to {
            Receiver::EventBus(arn) => raw.event_bus = Some(arn),
            Receiver::Sns(arn) => raw.sns = Some(arn),
            Receiver::AmazonQ(arn) => raw.amazon_q = Some(arn),
            Receiver::Slack(channel) => raw.slack = Some(channel),
            Receiver::GitHub(repository) => raw.github = Some(repository),
            Receiver::Teams(name) => raw.teams = Some(name),
            Receiver::Webhook(name) => raw.webhook = Some(name),
            Receiver::PagerDuty(name) => raw.pagerduty = Some(name),
        }
        raw
    }
}

/// No receiver stands there twice: what it was told is kept by its name. Whom a channel mentions is known, and how.
pub(super) fn check(channels: &[Channel], reached: impl Fn(&str) -> Option<bool>) -> Result<(), String> {
    for (index, channel) in channels.iter().enumerate() {
        for name in &channel.mention {
            match reached(name) {
                Some(true) => {}
                Some(false) => {
                    return Err(format!(
                        "notify[{index}].mention: found {name:?}, who has no slack in people; add their member id"
                    ));
                }
                None => {
                    return Err(format!(
                        "notify[{index}].mention: found {name:?}, allowed the names in people and groups"
                    ));
                }
            }
        }
        if channels.iter().take(index).any(|before| before.to == channel.to) {
            return Err(format!(
                "notify[{index}]: found {} a second time, allowed once; put what both tell into one on",
                channel.to.name()
            ));
        }
    }
    Ok(())
}

/// The channels of every service whose policy names none: a list as in a policy, from the installation's settings.
///
/// # Errors
/// What is wrong with it, for people.
pub fn parse_channels(text: &str) -> Result<Vec<Channel>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let channels: Vec<Channel> =
        serde_saphyr::from_str(text).map_err(|error| error.without_snippet().to_string())?;
    check(&channels, |_| None)?;
    Ok(channels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::parse;

    const POLICY: &str = "service: a\nfrom: { ecr: { repository: a/a, tags: ['*'] } }\nto: { ecs: { cluster: a, service: a, container: a } }\n\
         strategy: { rolling: {} }\nnotify:\n";

    #[track_caller]
    fn refused(entries: &str, expected: &str) {
        let error = parse("p.yaml", &format!("{POLICY}{entries}")).unwrap_err().to_string();
        assert_eq!(error, expected);
    }

    #[test]
    fn every_receiver_is_read_and_survives_being_stored() {
        let text = format!(
            "{POLICY}  - {{ slack: '#deploys' }}\n  - {{ slack: C0123ABCDEF }}\n  - {{ github: acme/shop }}\n  \
             - {{ sns: 'arn:aws:sns:eu-central-1:111122223333:ops', on: [rolled_back, failed] }}\n  \
             - {{ amazon_q: 'arn:aws:sns:eu-central-1:111122223333:chat' }}\n  - {{ teams: deploys }}\n  - {{ webhook: audit }}\n  \
             - {{ pagerduty: shop }}\n  - {{ event_bus: 'arn:aws:events:eu-central-1:111122223333:event-bus/deploys' }}\n"
        );
        let policy = parse("p.yaml", &text).unwrap();
        let channels = policy.notify.clone().unwrap();
        assert_eq!(channels.len(), 9);
        assert_eq!(channels[0].to.name(), "slack #deploys");
        let stored = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<crate::policy::Policy>(&stored).unwrap(), policy);
        // A policy that says nothing is told as the installation says; an empty list is told nowhere.
        let silent = POLICY.replace("notify:\n", "");
        assert_eq!(parse("p.yaml", &silent).unwrap().notify, None);
        assert_eq!(parse("p.yaml", &format!("{silent}notify: []\n")).unwrap().notify, Some(Vec::new()));
    }

    #[test]
    fn mistakes_name_the_place() {
        refused(
            "  - { slack: deploys }\n",
            r##"p.yaml:6:14: notify[0].slack: "deploys" is not a valid Slack channel: #name, or the channel's id, e.g. C0123ABCDEF"##,
        );
        refused(
            "  - { webhook: audit }\n  - { on: [failed] }\n",
            "p.yaml:7:5: notify[1]: exactly one of event_bus, sns, amazon_q, slack, github, teams, webhook and pagerduty is needed, found none",
        );
        refused(
            "  - { webhook: audit, teams: a }\n",
            "p.yaml:6:5: notify[0]: exactly one of event_bus, sns, amazon_q, slack, github, teams, webhook and pagerduty is needed, found teams and webhook",
        );
        refused(
            "  - { pagerduty: shop, on: [failed] }\n",
            "p.yaml:6:5: notify[0]: on: found with pagerduty, which follows a release whole; leave it out",
        );
        refused(
            "  - { webhook: audit, on: [failed] }\n  - { webhook: audit }\n",
            "p.yaml:5:1: notify[1]: found webhook audit a second time, allowed once; put what both tell into one on",
        );
        refused(
            "  - { slack: '#a', mention: [anna] }\n",
            r#"p.yaml:5:1: notify[0].mention: found "anna", allowed the names in people and groups"#,
        );
        refused(
            "  - { slack: '#a', mention: [anna] }\npeople: { anna: {} }\n",
            r#"p.yaml:5:1: notify[0].mention: found "anna", who has no slack in people; add their member id"#,
        );
        let error = parse("p.yaml", &format!("{POLICY}  - {{ webhook: audit, on: [fail] }}\n")).unwrap_err();
        assert!(error.path == "notify[0].on[0]" && error.problem.contains("failed"), "{error}");
    }

    #[test]
    fn what_needs_a_person_is_told_wherever_that_was_asked_for() {
        let of = |text: &str| parse_channels(text).unwrap().remove(0);
        let topic = "sns: 'arn:aws:sns:eu-central-1:111122223333:ops'";
        let chief = of(&format!("[{{ {topic} }}]"));
        assert!(chief.wants(Moment::RolledBack, false) && !chief.wants(Moment::StageDone, false));
        let narrow = of(&format!("[{{ {topic}, on: [intervention_required] }}]"));
        assert!(narrow.wants(Moment::Promoted, true) && !narrow.wants(Moment::Promoted, false));
        let pager = of("[{ pagerduty: shop }]");
        assert!(pager.wants(Moment::Failed, true) && !pager.wants(Moment::Failed, false));
        assert!(of("[{ webhook: x }]").wants(Moment::Settling, false));
        assert_eq!(parse_channels(" ").unwrap(), []);
        assert!(parse_channels("[{ sns: x }]").unwrap_err().contains("SNS topic"));
    }

    #[test]
    fn every_moment_is_called_the_same_everywhere() {
        for name in ["created", "approval_requested", "rolled_back", "intervention_required", "failed"] {
            let moment: Moment = serde_json::from_value(name.into()).unwrap();
            assert_eq!(moment.name(), name);
        }
    }
}
