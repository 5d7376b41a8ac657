//! The vocabulary of deployments: the stages of their life cycle, their statuses, and the steps they are made of.

/// The stages of a deployment's life cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    ReconcileService,
    PreScaleUp,
    ScaleUp,
    PostScaleUp,
    TestTrafficShift,
    PostTestTrafficShift,
    PreProductionTrafficShift,
    ProductionTrafficShift,
    PostProductionTrafficShift,
    BakeTime,
    CleanUp,
}

impl Stage {
    const ALL: [Self; 11] = [
        Self::ReconcileService,
        Self::PreScaleUp,
        Self::ScaleUp,
        Self::PostScaleUp,
        Self::TestTrafficShift,
        Self::PostTestTrafficShift,
        Self::PreProductionTrafficShift,
        Self::ProductionTrafficShift,
        Self::PostProductionTrafficShift,
        Self::BakeTime,
        Self::CleanUp,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ReconcileService => "RECONCILE_SERVICE",
            Self::PreScaleUp => "PRE_SCALE_UP",
            Self::ScaleUp => "SCALE_UP",
            Self::PostScaleUp => "POST_SCALE_UP",
            Self::TestTrafficShift => "TEST_TRAFFIC_SHIFT",
            Self::PostTestTrafficShift => "POST_TEST_TRAFFIC_SHIFT",
            Self::PreProductionTrafficShift => "PRE_PRODUCTION_TRAFFIC_SHIFT",
            Self::ProductionTrafficShift => "PRODUCTION_TRAFFIC_SHIFT",
            Self::PostProductionTrafficShift => "POST_PRODUCTION_TRAFFIC_SHIFT",
            Self::BakeTime => "BAKE_TIME",
            Self::CleanUp => "CLEAN_UP",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.name() == name)
    }

    /// Whether an AWS_LAMBDA hook may be configured for it.
    pub(super) fn may_call(self) -> bool {
        self.may_pause() || matches!(self, Self::TestTrafficShift | Self::ProductionTrafficShift)
    }

    /// Whether a PAUSE hook may be configured for it.
    pub(super) fn may_pause(self) -> bool {
        match self {
            Self::ReconcileService
            | Self::PreScaleUp
            | Self::PostScaleUp
            | Self::PostTestTrafficShift
            | Self::PreProductionTrafficShift
            | Self::PostProductionTrafficShift => true,
            Self::ScaleUp
            | Self::TestTrafficShift
            | Self::ProductionTrafficShift
            | Self::BakeTime
            | Self::CleanUp => false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeploymentStatus {
    Pending,
    InProgress,
    StopRequested,
    RollbackRequested,
    RollbackInProgress,
    Successful,
    Stopped,
    RollbackSuccessful,
    RollbackFailed,
}

impl DeploymentStatus {
    const ALL: [Self; 9] = [
        Self::Pending,
        Self::InProgress,
        Self::StopRequested,
        Self::RollbackRequested,
        Self::RollbackInProgress,
        Self::Successful,
        Self::Stopped,
        Self::RollbackSuccessful,
        Self::RollbackFailed,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::InProgress => "IN_PROGRESS",
            Self::StopRequested => "STOP_REQUESTED",
            Self::RollbackRequested => "ROLLBACK_REQUESTED",
            Self::RollbackInProgress => "ROLLBACK_IN_PROGRESS",
            Self::Successful => "SUCCESSFUL",
            Self::Stopped => "STOPPED",
            Self::RollbackSuccessful => "ROLLBACK_SUCCESSFUL",
            Self::RollbackFailed => "ROLLBACK_FAILED",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    pub(super) fn is_terminal(self) -> bool {
        match self {
            Self::Pending
            | Self::InProgress
            | Self::StopRequested
            | Self::RollbackRequested
            | Self::RollbackInProgress => false,
            Self::Successful | Self::Stopped | Self::RollbackSuccessful | Self::RollbackFailed => true,
        }
    }
}

/// One thing a deployment does before the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    /// Bring the service back to one revision after an interrupted deployment.
    Reconcile,
    /// Wait for the hooks of a stage.
    Hooks(Stage),
    ScaleUp,
    TestShift,
    ProductionShift {
        percent: f64,
    },
    PartialBake {
        minutes: u32,
    },
    Bake {
        minutes: u32,
    },
    CleanUp,
    /// Replace tasks a few at a time (ROLLING).
    Roll,
    /// First step of the rollback: all traffic to the source.
    RestoreTraffic,
    /// Second step of the rollback: the target's fleet goes.
    RemoveTarget,
    /// The rollback of ROLLING.
    RollBack,
}

impl Step {
    pub(super) fn stage(self) -> Option<Stage> {
        match self {
            Self::Reconcile => Some(Stage::ReconcileService),
            Self::Hooks(stage) => Some(stage),
            Self::ScaleUp => Some(Stage::ScaleUp),
            Self::TestShift => Some(Stage::TestTrafficShift),
            Self::ProductionShift { .. } | Self::PartialBake { .. } | Self::RestoreTraffic => {
                Some(Stage::ProductionTrafficShift)
            }
            Self::Bake { .. } => Some(Stage::BakeTime),
            Self::CleanUp | Self::RemoveTarget => Some(Stage::CleanUp),
            Self::Roll | Self::RollBack => None,
        }
    }
}
