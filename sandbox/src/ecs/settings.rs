//! How fast this ECS is. AWS counts bakes and hook timeouts in whole minutes; locally a minute may be shorter.

use std::time::Duration;

use jiff::Timestamp;

/// What AWS does not document. The local ECS can play each possibility, and Tidegate has to hold under all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Undocumented {
    /// What becomes of a block of `deploymentConfiguration` when the strategy it belongs to is changed.
    pub stale_blocks: StaleBlocks,
    /// What `lifecycleStage` is while a deployment waits at a pause hook.
    pub pause_stage: PauseStage,
    /// Whether a service that is scaled to 0, and whose tasks still run, can be deleted without force.
    pub delete_running: DeleteRunning,
    /// How long a service that is gone can be described.
    pub gone_services: GoneServices,
}

/// What `DeleteService` without `force` does to a service that is scaled to 0 and whose last tasks still run. Its description says both: that it
/// needs a service without running tasks, and that what still runs drains.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum DeleteRunning {
    /// It drains.
    #[default]
    Drain,
    /// It is refused.
    Refuse,
}

/// What becomes of a service that is INACTIVE. AWS keeps the right to purge it, and does not say when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum GoneServices {
    /// It can be described for as long as anybody looks.
    #[default]
    Kept,
    /// It is MISSING as soon as its last task has stopped.
    Purged,
}

/// What `lifecycleStage` of `DescribeServiceDeployments` is while a deployment waits at a pause hook. Its enumeration lacks
/// `PRE_PRODUCTION_TRAFFIC_SHIFT`, where hooks may stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum PauseStage {
    /// The stage the hook stands at.
    #[default]
    Hook,
    /// Nothing.
    Absent,
    /// The last stage before it that the enumeration has.
    Before,
    /// A word that no service model has.
    Unknown,
}

/// What becomes of `canaryConfiguration`, `linearConfiguration` and `earlySuccessCriteria` when the strategy is changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum StaleBlocks {
    /// They stay, and mean nothing.
    #[default]
    Keep,
    /// They go.
    Drop,
}

/// The timing of the local ECS.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Length of ECS's minutes (bakes, hook timeouts, the limits of stages) in seconds. 60 is real.
    pub seconds_per_minute: f64,
    /// From a task's creation until its process is started (placement, network, image pull).
    pub task_start: Duration,
    /// From a task's failure until the scheduler tries the next one.
    pub task_retry: Duration,
    /// How often `SERVICE_STEADY_STATE` is repeated for a service that stays steady. AWS: six hours.
    pub steady_state_interval: Duration,
    /// How often a deployment's alarms are polled. AWS does not document it.
    pub alarm_poll_interval: Duration,
    /// How long a deregistered task may finish its requests before it is stopped. AWS: an attribute of the target
    /// group, 300 s by default.
    pub deregistration_delay: Duration,
    /// Age of what `Describe*` and `List*` of services and deployments return: eventual consistency. 0 is none.
    pub read_lag: Duration,
    /// How often the scheduler looks at everything.
    pub tick: Duration,
    /// What AWS does not document.
    pub undocumented: Undocumented,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seconds_per_minute: 60.0,
            task_start: Duration::from_millis(500),
            task_retry: Duration::from_millis(500),
            steady_state_interval: Duration::from_secs(6 * 60 * 60),
            alarm_poll_interval: Duration::from_secs(5),
            deregistration_delay: Duration::from_secs(300),
            read_lag: Duration::ZERO,
            tick: Duration::from_millis(50),
            undocumented: Undocumented::default(),
        }
    }
}

impl Settings {
    /// So much of ECS's time.
    pub(super) fn scaled(&self, time: Duration) -> Duration {
        let seconds = time.as_secs_f64() / 60.0 * self.seconds_per_minute;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// So many of ECS's minutes.
    pub(super) fn minutes(&self, minutes: u32) -> Duration {
        Duration::try_from_secs_f64(f64::from(minutes) * self.seconds_per_minute).unwrap_or(Duration::MAX)
    }
}

/// How long ago `then` was; nothing when it is in the future.
pub(super) fn since(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or(Duration::ZERO)
}

/// `after` later than `then`, at most the end of time.
pub(super) fn later(then: Timestamp, after: Duration) -> Timestamp {
    then.checked_add(after).unwrap_or(Timestamp::MAX)
}
