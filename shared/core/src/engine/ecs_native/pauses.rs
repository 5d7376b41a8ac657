//! Which pause hooks are Tidegate's: in a configuration, and among those a deployment waits at.
//!
//! AWS lets nothing be written into a `PAUSE` hook (`hookDetails` "is not used for PAUSE hooks"), and a deployment that waits does not say
//! which hook of its configuration it waits at: `DescribeServiceDeployments` gives an id that is new at every step, the time it expires
//! and what happens then. So ours are marked by their timeouts: minutes that nobody chooses by hand (`MODULUS`), far enough from those
//! of the service's own hooks that the time of expiry tells one from the other.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::vocab::ecs::{DeploymentSeen, HookSeen};

/// The timeouts of our hooks leave a remainder of their own when divided by this. People choose multiples of five.
const MODULUS: u64 = 30;
/// The longest timeout ECS takes: 14 days.
const LONGEST_MINUTES: u64 = 20_160;
/// How far our timeouts are from those of the service's own hooks: longer than a deployment may take to reach its first pause, so that a
/// pause that is ours would have begun before its deployment if it were the service's.
const APART_MINUTES: u64 = 45;
/// How exactly the time of expiry is known.
const EXACT: SignedDuration = SignedDuration::from_mins(2);

/// Where our pause hooks stand: before every shift of production traffic, and before the stable version is terminated.
pub const PAUSE_BEFORE_SHIFT: &str = "PRE_PRODUCTION_TRAFFIC_SHIFT";
/// The pause the final bake happens in: all traffic is on the new version, both versions run.
pub const PAUSE_BEFORE_PROMOTION: &str = "POST_PRODUCTION_TRAFFIC_SHIFT";

/// One of our two pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// Before every shift of production traffic.
    BeforeShift,
    /// Before the stable version is terminated.
    BeforePromotion,
}

impl Pause {
    const ALL: [Self; 2] = [Self::BeforeShift, Self::BeforePromotion];

    /// The lifecycle stage it stands at.
    pub fn stage(self) -> &'static str {
        match self {
            Self::BeforeShift => PAUSE_BEFORE_SHIFT,
            Self::BeforePromotion => PAUSE_BEFORE_PROMOTION,
        }
    }

    fn remainder(self) -> u64 {
        match self {
            Self::BeforeShift => 17,
            Self::BeforePromotion => 19,
        }
    }

    /// The hook, which waits at least so many minutes before ECS rolls back. `others` are the hooks of the service's own.
    pub fn hook(self, at_least_minutes: u64, others: &[Value]) -> Value {
        let theirs: Vec<u64> = others.iter().filter_map(Theirs::of).map(|hook| hook.minutes).collect();
        json!({
            "targetType": "PAUSE",
            "lifecycleStages": [self.stage()],
            "timeoutConfiguration": { "timeoutInMinutes": self.minutes(at_least_minutes, &theirs), "action": "ROLLBACK" },
        })
    }

    fn minutes(self, at_least: u64, theirs: &[u64]) -> u64 {
        let ours = |minutes: &u64| minutes % MODULUS == self.remainder();
        let apart = |minutes: &u64| theirs.iter().all(|theirs| theirs.abs_diff(*minutes) >= APART_MINUTES);
        let longer = (at_least.min(LONGEST_MINUTES)..=LONGEST_MINUTES).find(|it| ours(it) && apart(it));
        // Ten hooks of the service's own cannot cover 14 days.
        longer.or_else(|| (1..=LONGEST_MINUTES).rev().find(|it| ours(it) && apart(it))).unwrap_or(at_least)
    }

    /// Which of our pauses a hook of a configuration is, by the look of it.
    fn looks_like(hook: &Value) -> Option<Self> {
        let stages = hook["lifecycleStages"].as_array()?;
        Self::ALL.into_iter().find(|pause| {
            is_pause(hook)
                && matches!(stages.as_slice(), [only] if only == pause.stage())
                && minutes_of(hook) % MODULUS == pause.remainder()
                && action_of(hook) == "ROLLBACK"
        })
    }
}

fn is_pause(hook: &Value) -> bool {
    hook["targetType"] == "PAUSE"
}

fn minutes_of(hook: &Value) -> u64 {
    hook["timeoutConfiguration"]["timeoutInMinutes"].as_u64().unwrap_or(1440)
}

fn action_of(hook: &Value) -> &str {
    hook["timeoutConfiguration"]["action"].as_str().unwrap_or("ROLLBACK")
}

/// Takes our hooks apart from others. One alone might be somebody's who likes odd numbers: ours come as a pair.
pub fn apart(hooks: &[Value]) -> (Vec<&Value>, Vec<&Value>) {
    let there = |pause: Pause| hooks.iter().any(|hook| Pause::looks_like(hook) == Some(pause));
    if !Pause::ALL.into_iter().all(there) {
        return (Vec::new(), hooks.iter().collect());
    }
    hooks.iter().partition(|hook| Pause::looks_like(hook).is_some())
}

/// The hooks of a configuration.
pub fn hooks(configuration: &Value) -> &[Value] {
    configuration["lifecycleHooks"].as_array().map_or(&[], Vec::as_slice)
}

/// A pause of the service's own.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Theirs {
    minutes: u64,
    action: String,
    stages: Vec<String>,
}

impl Theirs {
    fn of(hook: &Value) -> Option<Self> {
        let stages = hook["lifecycleStages"].as_array().into_iter().flatten();
        is_pause(hook).then(|| Self {
            minutes: minutes_of(hook),
            action: action_of(hook).to_owned(),
            stages: stages.filter_map(Value::as_str).map(str::to_owned).collect(),
        })
    }
}

/// The stages of the service's own pauses.
pub fn own_stages(configuration: &Value) -> Vec<String> {
    let (_, others) = apart(hooks(configuration));
    others.into_iter().filter_map(Theirs::of).flat_map(|hook| hook.stages).collect()
}

/// Whose a pause is that a deployment waits at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Tidegate's.
    Ours,
    /// The service's own: for whoever configured it to answer.
    Theirs,
    /// It cannot be told, so nobody answers it for them.
    Unclear,
}

/// The pauses a deployment has to pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pauses {
    ours: Vec<u64>,
    theirs: Vec<Theirs>,
}

impl Pauses {
    /// Those of a configuration.
    pub fn of(configuration: &Value) -> Self {
        let (ours, others) = apart(hooks(configuration));
        Self {
            ours: ours.into_iter().map(minutes_of).collect(),
            theirs: others.into_iter().filter_map(Theirs::of).collect(),
        }
    }

    /// Those of a deployment, which keeps the configuration it was started with; `otherwise` where AWS does not tell it.
    pub fn of_deployment(deployment: &DeploymentSeen, otherwise: &Value) -> Self {
        let told = deployment.configuration["lifecycleHooks"].is_array();
        Self::of(if told { &deployment.configuration } else { otherwise })
    }

    /// Whose this pause is, seen to wait at `at`.
    ///
    /// The stage helps where it is one of ours or none of theirs. Which stage a deployment names while it waits is not documented (the
    /// enumeration lacks the one before a shift), so any other proves nothing.
    pub fn whose(&self, deployment: &DeploymentSeen, hook: &HookSeen, at: Timestamp) -> Whose {
        if self.ours.is_empty() {
            return Whose::Theirs;
        }
        let same_action =
            |theirs: &&Theirs| hook.timeout_action.as_ref().is_none_or(|action| *action == theirs.action);
        let theirs: Vec<&Theirs> = self.theirs.iter().filter(same_action).collect();
        let ours_possible = hook.timeout_action.as_deref().is_none_or(|action| action == "ROLLBACK");
        if !ours_possible {
            return Whose::Theirs;
        }
        let stage = hook.stage.as_deref().or(deployment.stage.as_deref());
        let ours_by_stage = stage.is_some_and(|stage| {
            Pause::ALL.iter().any(|pause| pause.stage() == stage)
                && !theirs.iter().any(|theirs| theirs.stages.iter().any(|at| at == stage))
        });
        if theirs.is_empty() || ours_by_stage {
            return Whose::Ours;
        }
        let Some(expires_at) = hook.expires_at else { return Whose::Unclear };
        let may_have_begun = |minutes: u64| {
            began(expires_at, minutes).is_some_and(|began| {
                began.saturating_add(EXACT).is_ok_and(|began| began >= deployment.created_at)
                    && began.saturating_sub(EXACT).is_ok_and(|began| began <= at)
            })
        };
        let ours = self.ours.iter().any(|minutes| may_have_begun(*minutes));
        let theirs = theirs.iter().any(|theirs| may_have_begun(theirs.minutes));
        match (ours, theirs) {
            (true, false) => Whose::Ours,
            (false, _) => Whose::Theirs,
            (true, true) => Whose::Unclear,
        }
    }
}

fn began(expires_at: Timestamp, minutes: u64) -> Option<Timestamp> {
    let minutes = SignedDuration::from_mins(i64::try_from(minutes).ok()?);
    expires_at.checked_sub(minutes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::HookId;
    use crate::vocab::ecs::DeploymentStatus;

    fn theirs(stage: &str, minutes: u64, action: &str) -> Value {
        json!({ "targetType": "PAUSE", "lifecycleStages": [stage],
            "timeoutConfiguration": { "timeoutInMinutes": minutes, "action": action } })
    }

    /// A configuration with our hooks for these times beside others.
    fn with_ours(others: &[Value]) -> Value {
        let mut hooks = others.to_vec();
        hooks.push(Pause::BeforeShift.hook(20, others));
        hooks.push(Pause::BeforePromotion.hook(30, others));
        json!({ "lifecycleHooks": hooks })
    }

    #[test]
    fn our_hooks_are_known_by_themselves() {
        let lambda = json!({ "hookTargetArn": "arn:f", "lifecycleStages": [PAUSE_BEFORE_SHIFT] });
        let own = [theirs("PRE_SCALE_UP", 60, "ROLLBACK"), lambda];
        let configuration = with_ours(&own);
        let (ours, others) = apart(hooks(&configuration));
        assert_eq!((ours.len(), others), (2, own.iter().collect::<Vec<_>>()));
        assert_eq!(own_stages(&configuration), ["PRE_SCALE_UP"]);
        // What a person configures at the same stages is not ours, with any of these timeouts.
        for minutes in [1, 5, 10, 15, 30, 60, 90, 120, 240, 720, 1440, 2880, 20_160] {
            let theirs =
                [PAUSE_BEFORE_SHIFT, PAUSE_BEFORE_PROMOTION].map(|stage| theirs(stage, minutes, "ROLLBACK"));
            assert_eq!(apart(&theirs).0.len(), 0, "{minutes}");
        }
        // Nor is one alone, with whatever number, nor one that continues, nor one at two stages.
        let [shift, promotion] = [Pause::BeforeShift, Pause::BeforePromotion].map(|it| it.hook(20, &[]));
        assert_eq!(apart(std::slice::from_ref(&shift)).0.len(), 0);
        let mut continues = promotion.clone();
        continues["timeoutConfiguration"]["action"] = "CONTINUE".into();
        assert_eq!(apart(&[shift.clone(), continues]).0.len(), 0);
        let mut both = promotion;
        both["lifecycleStages"] = json!([PAUSE_BEFORE_SHIFT, PAUSE_BEFORE_PROMOTION]);
        assert_eq!(apart(&[shift, both]).0.len(), 0);
    }

    #[test]
    fn timeouts_are_long_enough_short_enough_and_apart_from_others() {
        for at_least in [1, 16, 17, 18, 1395, 1440, 20_150, 20_161, 90_000] {
            for pause in Pause::ALL {
                let minutes = pause.minutes(at_least, &[1440, 60]);
                assert!((1..=LONGEST_MINUTES).contains(&minutes));
                assert!(minutes >= at_least.min(20_100), "{minutes} for {at_least}");
                assert!(minutes.abs_diff(1440) >= APART_MINUTES && minutes.abs_diff(60) >= APART_MINUTES);
            }
        }
        assert_eq!(Pause::BeforeShift.minutes(16, &[]), 17);
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_780_000_000 + minutes * 60).unwrap()
    }

    /// A deployment of minute 0, and a pause of it that began at this minute with this timeout.
    fn waiting(began: i64, timeout: u64, stage: Option<&str>) -> (DeploymentSeen, HookSeen) {
        let stage = stage.map(str::to_owned);
        let deployment = DeploymentSeen {
            arn: "arn:aws:ecs:eu-central-1:111122223333:service-deployment/prod/web/d1".parse().unwrap(),
            created_at: at(0),
            status: DeploymentStatus::InProgress,
            reason: None,
            stage: stage.clone(),
            task_definition: None,
            weight: None,
            tasks: (2, 2, 0),
            hooks: Vec::new(),
            configuration: Value::Null,
            triggered_alarms: Vec::new(),
        };
        let hook = HookSeen {
            id: HookId::new("ecs-pause-1").unwrap(),
            pause: true,
            stage,
            awaiting: true,
            expires_at: Some(at(began + i64::try_from(timeout).unwrap())),
            timeout_action: Some("ROLLBACK".into()),
        };
        (deployment, hook)
    }

    const STAGES: [Option<&str>; 6] = [
        None,
        Some(PAUSE_BEFORE_SHIFT),
        Some("POST_TEST_TRAFFIC_SHIFT"),
        Some("PRODUCTION_TRAFFIC_SHIFT"),
        Some("SCALE_UP"),
        Some("A_WORD_OF_NEXT_YEAR"),
    ];

    #[test]
    fn without_pauses_of_its_own_every_pause_is_ours_whatever_stage_aws_names() {
        let pauses = Pauses::of(&with_ours(&[]));
        for stage in STAGES {
            let (deployment, mut hook) = waiting(3, 17, stage);
            assert_eq!(pauses.whose(&deployment, &hook, at(3)), Whose::Ours, "{stage:?}");
            hook.expires_at = None;
            assert_eq!(pauses.whose(&deployment, &hook, at(3)), Whose::Ours, "{stage:?}");
        }
        let (deployment, hook) = waiting(3, 17, Some(PAUSE_BEFORE_SHIFT));
        assert_eq!(Pauses::of(&json!({})).whose(&deployment, &hook, at(3)), Whose::Theirs);
    }

    #[test]
    fn the_services_own_pauses_are_told_from_ours_by_the_time_they_expire() {
        let own = [theirs("POST_TEST_TRAFFIC_SHIFT", 60, "ROLLBACK")];
        let configuration = with_ours(&own);
        let ours = minutes_of(&hooks(&configuration)[1]);
        let pauses = Pauses::of(&configuration);
        for stage in STAGES {
            let (deployment, hook) = waiting(5, ours, stage);
            assert_eq!(pauses.whose(&deployment, &hook, at(6)), Whose::Ours, "{stage:?}");
            let (deployment, hook) = waiting(5, 60, stage);
            let expected = if stage == Some(PAUSE_BEFORE_SHIFT) { Whose::Ours } else { Whose::Theirs };
            assert_eq!(pauses.whose(&deployment, &hook, at(6)), expected, "{stage:?}");
            let (deployment, mut hook) = waiting(5, 60, Some("POST_TEST_TRAFFIC_SHIFT"));
            hook.expires_at = None;
            assert_eq!(pauses.whose(&deployment, &hook, at(6)), Whose::Unclear);
        }
        // One that begins so late that it could be either is nobody's to answer.
        let (deployment, hook) = waiting(500, 60, None);
        assert_ne!(pauses.whose(&deployment, &hook, at(501)), Whose::Ours);
        let (deployment, hook) = waiting(500, ours, None);
        assert_ne!(pauses.whose(&deployment, &hook, at(900)), Whose::Ours);
    }

    #[test]
    fn a_pause_that_continues_by_itself_is_never_ours() {
        let pauses = Pauses::of(&with_ours(&[theirs("POST_SCALE_UP", 20, "CONTINUE")]));
        let (deployment, mut hook) = waiting(1, 17, None);
        assert_eq!(pauses.whose(&deployment, &hook, at(2)), Whose::Ours);
        hook.timeout_action = Some("CONTINUE".into());
        assert_eq!(pauses.whose(&deployment, &hook, at(2)), Whose::Theirs);
    }
}
