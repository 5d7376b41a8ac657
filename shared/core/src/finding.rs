//! What preflight can find: a closed list, each with its remedy.

use serde::{Deserialize, Serialize};

/// What kind of thing was found. Its name is stable: `alarm_in_alarm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the problem of the finding and its remedy say what each means")]
pub enum FindingCode {
    ServiceMissing,
    ServiceNotActive,
    ControllerNotEcs,
    ServiceNotSteady,
    NoTasksWanted,
    TaskDefinitionInactive,
    ContainerMissing,
    TooManyTags,
    RequestsNotCounted,
    NotToldApart,
    NothingIsSlowYet,
    LeftoverConfiguration,
    LeftoverOfUnknown,
    OwnPauseHooks,
    OwnPauseHooksElsewhere,
    TooManyPauseHooks,
    NothingToShift,
    NoSecondTargetGroup,
    NoInfrastructureRole,
    RuleMissing,
    RuleWithoutBothGroups,
    MoreThanOneWeight,
    DefaultRule,
    RuleOfAnother,
    ServiceIsDaemon,
    EcsAnywhere,
    ExpressMode,
    ServiceKindUnknown,
    VpcLattice,
    LatticeNotMeasured,
    LatticeWithoutSecondGroup,
    EcsGateway,
    GatewayWithoutSecondGroup,
    ConnectServer,
    SharedRegistry,
    FixedHostPorts,
    UnknownServiceField,
    NoCanaryPlace,
    CanaryGroupMissing,
    CanaryGroupElsewhere,
    CanaryGroupInUse,
    SameTargetGroup,
    SharesAreOfTasks,
    OwnAlarmInAlarm,
    NoAlarms,
    AlarmMissing,
    AlarmSilenced,
    AlarmNotEvaluated,
    AlarmInAlarm,
    AlarmWithoutData,
    AlarmStateUnknown,
    AlreadyRunning,
    NotRunning,
    ImageMissing,
    ImageArchived,
    PlatformUnproven,
    WrongPlatform,
    RunningDigestUnknown,
    RunningImagesDiffer,
    StableImageMissing,
    StableImageArchived,
    StableImageExpiring,
    StableImageElsewhere,
    StableImageUnreadable,
    FunctionMissing,
    AliasMissing,
    AliasAtLatest,
    AliasHasWeights,
    NoImageFunction,
    FunctionBusy,
    FunctionUnwell,
    StableVersionUnwell,
    AliasIsProvisioned,
    SnapStartIsOn,
    EventsPassAlias,
    VersionsUnlike,
    SettingsGoAlong,
    NoSecondVersion,
    ImageElsewhere,
    ImageIsIndex,
    StableIsQuarantined,
    OtherContainersStay,
    DestinationMissing,
    DestinationInactive,
    DestinationImageMissing,
    Unseen,
    Quarantined,
    KeepsChanging,
    /// Something that only a newer version of Tidegate finds.
    #[serde(other)]
    Unknown,
}

impl FindingCode {
    /// Its name, as machines read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServiceMissing => "service_missing",
            Self::ServiceNotActive => "service_not_active",
            Self::ControllerNotEcs => "controller_not_ecs",
            Self::ServiceNotSteady => "service_not_steady",
            Self::NoTasksWanted => "no_tasks_wanted",
            Self::TaskDefinitionInactive => "task_definition_inactive",
            Self::ContainerMissing => "container_missing",
            Self::TooManyTags => "too_many_tags",
            Self::RequestsNotCounted => "requests_not_counted",
            Self::NotToldApart => "not_told_apart",
            Self::NothingIsSlowYet => "nothing_is_slow_yet",
            Self::LeftoverConfiguration => "leftover_configuration",
            Self::LeftoverOfUnknown => "leftover_of_unknown",
            Self::OwnPauseHooks => "own_pause_hooks",
            Self::OwnPauseHooksElsewhere => "own_pause_hooks_elsewhere",
            Self::TooManyPauseHooks => "too_many_pause_hooks",
            Self::NothingToShift => "nothing_to_shift",
            Self::NoSecondTargetGroup => "no_second_target_group",
            Self::NoInfrastructureRole => "no_infrastructure_role",
            Self::RuleMissing => "rule_missing",
            Self::RuleWithoutBothGroups => "rule_without_both_groups",
            Self::MoreThanOneWeight => "more_than_one_weight",
            Self::DefaultRule => "default_rule",
            Self::RuleOfAnother => "rule_of_another",
            Self::ServiceIsDaemon => "service_is_daemon",
            Self::EcsAnywhere => "ecs_anywhere",
            Self::ExpressMode => "express_mode",
            Self::ServiceKindUnknown => "service_kind_unknown",
            Self::VpcLattice => "vpc_lattice",
            Self::LatticeNotMeasured => "lattice_not_measured",
            Self::LatticeWithoutSecondGroup => "lattice_without_second_group",
            Self::EcsGateway => "ecs_gateway",
            Self::GatewayWithoutSecondGroup => "gateway_without_second_group",
            Self::ConnectServer => "connect_server",
            Self::SharedRegistry => "shared_registry",
            Self::FixedHostPorts => "fixed_host_ports",
            Self::UnknownServiceField => "unknown_service_field",
            Self::NoCanaryPlace => "no_canary_place",
            Self::CanaryGroupMissing => "canary_group_missing",
            Self::CanaryGroupElsewhere => "canary_group_elsewhere",
            Self::CanaryGroupInUse => "canary_group_in_use",
            Self::SameTargetGroup => "same_target_group",
            Self::SharesAreOfTasks => "shares_are_of_tasks",
            Self::OwnAlarmInAlarm => "own_alarm_in_alarm",
            Self::NoAlarms => "no_alarms",
            Self::AlarmMissing => "alarm_missing",
            Self::AlarmSilenced => "alarm_silenced",
            Self::AlarmNotEvaluated => "alarm_not_evaluated",
            Self::AlarmInAlarm => "alarm_in_alarm",
            Self::AlarmWithoutData => "alarm_without_data",
            Self::AlarmStateUnknown => "alarm_state_unknown",
            Self::AlreadyRunning => "already_running",
            Self::NotRunning => "not_running",
            Self::ImageMissing => "image_missing",
            Self::ImageArchived => "image_archived",
            Self::PlatformUnproven => "platform_unproven",
            Self::WrongPlatform => "wrong_platform",
            Self::RunningDigestUnknown => "running_digest_unknown",
            Self::RunningImagesDiffer => "running_images_differ",
            Self::StableImageMissing => "stable_image_missing",
            Self::StableImageArchived => "stable_image_archived",
            Self::StableImageExpiring => "stable_image_expiring",
            Self::StableImageElsewhere => "stable_image_elsewhere",
            Self::StableImageUnreadable => "stable_image_unreadable",
            Self::FunctionMissing => "function_missing",
            Self::AliasMissing => "alias_missing",
            Self::AliasAtLatest => "alias_at_latest",
            Self::AliasHasWeights => "alias_has_weights",
            Self::NoImageFunction => "no_image_function",
            Self::FunctionBusy => "function_busy",
            Self::FunctionUnwell => "function_unwell",
            Self::StableVersionUnwell => "stable_version_unwell",
            Self::AliasIsProvisioned => "alias_is_provisioned",
            Self::SnapStartIsOn => "snap_start_is_on",
            Self::EventsPassAlias => "events_pass_alias",
            Self::VersionsUnlike => "versions_unlike",
            Self::SettingsGoAlong => "settings_go_along",
            Self::NoSecondVersion => "no_second_version",
            Self::ImageElsewhere => "image_elsewhere",
            Self::ImageIsIndex => "image_is_index",
            Self::StableIsQuarantined => "stable_is_quarantined",
            Self::OtherContainersStay => "other_containers_stay",
            Self::DestinationMissing => "destination_missing",
            Self::DestinationInactive => "destination_inactive",
            Self::DestinationImageMissing => "destination_image_missing",
            Self::Unseen => "unseen",
            Self::Quarantined => "quarantined",
            Self::KeepsChanging => "keeps_changing",
            Self::Unknown => "unknown",
        }
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::ServiceMissing => "create it, or correct to.ecs in the policy",
            Self::ServiceNotActive => "release to an ACTIVE service",
            Self::ControllerNotEcs => {
                "the native engine needs the ECS controller; UpdateService can change the controller"
            }
            Self::ServiceNotSteady => {
                "wait until it is steady, or end the other deployment; then release again"
            }
            Self::NoTasksWanted => "set a desired count",
            Self::TaskDefinitionInactive => "register the running task definition again and deploy it once",
            Self::ContainerMissing => "correct to.ecs.container, or containers, in the policy",
            Self::TooManyTags => "remove tags from the task definition that runs",
            Self::NotToldApart => {
                "remove it from evidence in the policy, or compare a metric of your own by {digest}"
            }
            Self::NothingIsSlowYet => {
                "say in the policy from when on a request is slow: slow: { over: 500ms }"
            }
            Self::RequestsNotCounted => "remove evidence.min_requests from the policy, or set it to 0",
            Self::LeftoverConfiguration => {
                "nothing to do: this release restores the configuration the service had before that one"
            }
            Self::LeftoverOfUnknown => {
                "this release removes the hooks; strategy, bake time and alarms may be left over as well: set them as you want them"
            }
            Self::OwnPauseHooks => {
                "remove the hook and let the policy ask for the approval (approval.before: shift or promote), or use strategy rolling"
            }
            Self::OwnPauseHooksElsewhere => {
                "answer them yourself while the candidate starts, within 30 minutes; Tidegate leaves them alone"
            }
            Self::TooManyPauseHooks => "remove some of them",
            Self::NothingToShift => "use strategy blue_green or rolling, or add a load balancer",
            Self::NoSecondTargetGroup => {
                "add advancedConfiguration to every load balancer of the service, or use strategy rolling"
            }
            Self::NoInfrastructureRole => {
                "give a role with AmazonECSInfrastructureRolePolicyForLoadBalancers"
            }
            Self::RuleMissing => "correct productionListenerRule of the service",
            Self::RuleWithoutBothGroups => "attach both target groups to the rule, one with weight 0",
            Self::MoreThanOneWeight => {
                "see that exactly one target group has a weight above 0 when a release starts"
            }
            Self::DefaultRule => {
                "name the ARN of the listener instead, in to.ecs.canary.rules and in the stack's CanaryRuleArns"
            }
            Self::RuleOfAnother => {
                "name the rules that send the service itself its requests in to.ecs.canary.rules"
            }
            Self::OwnAlarmInAlarm => "fix what it reports first, for Amazon ECS to be the second line",
            Self::FunctionMissing => "create it, or correct to.lambda in the policy",
            Self::AliasMissing => {
                "create it and point it at a published version, or correct to.lambda in the policy"
            }
            Self::AliasAtLatest => {
                "publish a version and point the alias at it: aws lambda publish-version, then aws lambda update-alias"
            }
            Self::AliasHasWeights => {
                "finish or undo that first; a release begins with an alias that points at one version"
            }
            Self::NoImageFunction => "release to a function whose package type is Image",
            Self::FunctionBusy => "wait until it is done",
            Self::FunctionUnwell => "nothing to do: this release changes it again",
            Self::StableVersionUnwell => "point the alias at a version that can be invoked",
            Self::AliasIsProvisioned => {
                "remove it from the alias; provision the version instead, or scale with on-demand environments"
            }
            Self::SnapStartIsOn => "nothing to do",
            Self::EventsPassAlias => "have these event source mappings name the alias instead",
            Self::VersionsUnlike => "publish a version with these settings first and point the alias at it",
            Self::SettingsGoAlong => "see that these settings are meant to go along",
            Self::NoSecondVersion => {
                "roll a release back by hand to see how it goes: tidegate rollback SERVICE"
            }
            Self::ImageElsewhere => "replicate the repository to that region and release from there",
            Self::ImageIsIndex => {
                "push the image of one platform by itself: docker buildx build --provenance=false --platform linux/arm64 …"
            }
            Self::StableIsQuarantined => "point the alias at a version that is good, or lift the quarantine",
            Self::NoAlarms => "name alarms in rollback.alarms",
            Self::AlarmMissing => "create it, or correct rollback.alarms",
            Self::AlarmSilenced => "end the mute, or release later",
            Self::AlarmNotEvaluated => "wait until CloudWatch evaluates it again, or correct the alarm",
            Self::AlarmInAlarm => "fix what it reports first",
            Self::AlarmWithoutData => "send it traffic, or treat missing data as not breaching",
            Self::AlarmStateUnknown => "update Tidegate",
            Self::AlreadyRunning => "nothing to do",
            Self::NotRunning => {
                "find out who deployed what runs, then release what should run; a drill can be held after that"
            }
            Self::ImageMissing => "push the image again",
            Self::ImageArchived => "restore the image in ECR",
            Self::PlatformUnproven => {
                "allow ecr:BatchGetImage and ecr:GetDownloadUrlForLayer on the repository"
            }
            Self::WrongPlatform => {
                "build and push the image for that platform, or correct runtimePlatform of the task definition"
            }
            Self::RunningDigestUnknown => "deploy the service once with the image by digest",
            Self::RunningImagesDiffer => {
                "deploy the service once with the image by digest, so that all its tasks run one"
            }
            Self::StableImageMissing => {
                "push it again, or deploy an image that stays, and protect it in the repository's lifecycle policy"
            }
            Self::StableImageArchived => "restore it in ECR",
            Self::StableImageExpiring => "exclude it in the lifecycle policy",
            Self::StableImageElsewhere => "keep a copy in ECR",
            Self::StableImageUnreadable => {
                "allow Tidegate's role to read the repository, or keep a copy in one it may read"
            }
            Self::OtherContainersStay => {
                "see that both versions work side by side, or name the other container in to.ecs.containers"
            }
            Self::DestinationMissing => {
                "release the image itself, which registers a new revision: tidegate release SERVICE DIGEST --force"
            }
            Self::DestinationInactive => "nothing to do",
            Self::DestinationImageMissing => "push the image again or restore it, or release another image",
            Self::Unseen => "make what preflight asks for readable to Tidegate's role, then release again",
            Self::KeepsChanging => "see who or what changes the service, then release again",
            Self::Quarantined => {
                "release a fixed image, or this one all the same: tidegate release SERVICE DIGEST --force"
            }
            Self::ServiceIsDaemon => {
                "use strategy rolling: one task on each instance leaves no room for a second version beside it"
            }
            Self::EcsAnywhere => "use strategy rolling; alarms and the circuit breaker work with it",
            Self::ExpressMode => {
                "update it with UpdateExpressGatewayService, or release to a service that is made with CreateService"
            }
            Self::ServiceKindUnknown => "update Tidegate",
            Self::VpcLattice => {
                "use the engine native, which lets Amazon ECS shift VPC Lattice's traffic, or strategy rolling"
            }
            Self::LatticeNotMeasured => {
                "nothing to do: the share is taken from what Amazon ECS says; let alarms watch VPC Lattice's own metrics"
            }
            Self::LatticeWithoutSecondGroup => {
                "add advancedConfiguration to every VPC Lattice target group of the service, or use strategy rolling"
            }
            Self::EcsGateway => "use the engine native, which lets Amazon ECS shift the gateway's traffic",
            Self::GatewayWithoutSecondGroup => {
                "deploy the service once with strategy BLUE_GREEN, for the gateway to make them, or use strategy rolling"
            }
            Self::ConnectServer => "use the engine native: Service Connect gives a name to one service only",
            Self::SharedRegistry => "use the engine native, or put the service behind a load balancer",
            Self::FixedHostPorts => "use dynamic host ports or awsvpc, or the engine native",
            Self::UnknownServiceField => "use the engine native, or update Tidegate",
            Self::NoCanaryPlace => "name a second target group and the rules in to.ecs.canary",
            Self::CanaryGroupMissing => "create it, or correct to.ecs.canary.target_group",
            Self::CanaryGroupElsewhere => "create a target group on the load balancer of the rules",
            Self::CanaryGroupInUse => "give the candidate a target group that nothing else uses",
            Self::SameTargetGroup => "give the candidate a target group of its own",
            Self::SharesAreOfTasks => {
                "put the service behind a load balancer if shares of requests are meant"
            }
            Self::Unknown => "update Tidegate",
        }
    }

    /// Whether it can pass without a person: alarms recover, services settle.
    pub fn may_pass(self) -> bool {
        matches!(
            self,
            // Targets of the release before may still be draining.
            Self::CanaryGroupInUse
                | Self::ServiceNotSteady
                | Self::AlarmInAlarm
                | Self::AlarmWithoutData
                | Self::AlarmNotEvaluated
                | Self::FunctionBusy
        )
    }

    /// Whether it is about the version a rollback release leaves, so that it never holds one: a version that crashes is never steady, and
    /// nobody wants to come back to it.
    pub(crate) fn is_about_what_is_left(self) -> bool {
        matches!(
            self,
            Self::ServiceNotSteady
                | Self::TaskDefinitionInactive
                | Self::StableImageMissing
                | Self::StableImageArchived
                | Self::StableImageExpiring
                | Self::RunningDigestUnknown
                | Self::RunningImagesDiffer
                | Self::StableVersionUnwell
                | Self::StableIsQuarantined
        )
    }
}

/// One thing preflight found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What kind of thing.
    pub code: FindingCode,
    /// Whether the release cannot start.
    pub blocking: bool,
    /// What was found.
    pub problem: String,
}

impl Finding {
    /// One that keeps the release from starting.
    pub fn blocking(code: FindingCode, problem: String) -> Self {
        Self { code, blocking: true, problem }
    }

    /// One that is only told.
    pub(crate) fn note(code: FindingCode, problem: String) -> Self {
        Self { code, blocking: false, problem }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.problem, self.code.remedy())
    }
}
