//! What each sample in `events/` is read as.

/// Which door a sample comes in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// EventBridge.
    Event,
    /// A CloudWatch alarm invokes the function itself.
    AlarmAction,
    /// Amazon ECS invokes the function as a lifecycle hook.
    LifecycleHook,
}

/// What comes of it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expected {
    /// It is read as this.
    Reads(&'static str),
    /// It is refused with this.
    Refused(&'static str),
}

use Expected::{Reads, Refused};
use Way::{AlarmAction, Event, LifecycleHook};

/// Every sample.
pub(crate) const EXPECTED: &[(&str, Way, Expected)] = &[
    ("alarm-anomaly", Event, Reads("alarm checkout p99 anomaly is ALARM")),
    (
        "alarm-composite-muted-and-suppressed",
        Event,
        Reads(
            "composite alarm checkout-unwell is ALARM, muted by the rule load-test until 2026-08-20T16:00:00Z",
        ),
    ),
    ("alarm-composite-in-alarm", Event, Reads("composite alarm checkout-unwell is ALARM")),
    (
        "alarm-composite-suppressed",
        Event,
        Reads(
            "composite alarm checkout-unwell is ALARM, suppressed (WaitPeriod): Actions suppressed by WaitPeriod",
        ),
    ),
    (
        "alarm-configuration-change",
        Event,
        Reads("CloudWatch Alarm Configuration Change of aws.cloudwatch, ignored"),
    ),
    ("alarm-contributor", Event, Reads("contributor 6d442278dba546f6 of any-target-group-5xx is ALARM")),
    ("alarm-direct-invocation", AlarmAction, Reads("action of alarm checkout-5xx in ALARM")),
    ("alarm-from-the-future", Event, Reads("alarm checkout-5xx is DEGRADED, suppressed (Composite)")),
    ("alarm-green", Event, Reads("alarm checkout-5xx is OK")),
    ("alarm-many-series", Event, Reads("alarm any-target-group-5xx is ALARM")),
    ("alarm-metric-math", Event, Reads("alarm checkout-error-rate is ALARM")),
    ("alarm-no-data", Event, Reads("alarm checkout-5xx is INSUFFICIENT_DATA")),
    ("alarm-in-alarm", Event, Reads("alarm checkout-5xx is ALARM")),
    (
        "alarm-in-alarm-muted",
        Event,
        Reads("alarm checkout-5xx is ALARM, muted by the rule load-test until 2026-08-20T16:00:00Z"),
    ),
    ("alarm-set-by-hand", Event, Reads("alarm checkout-5xx is ALARM")),
    ("codebuild-batch", Event, Reads("CodeBuild Build State Change of aws.codebuild, ignored")),
    ("codebuild-failed", Event, Reads("build 13 of checkout is FAILED")),
    ("codebuild-in-progress", Event, Reads("build 12 of checkout is IN_PROGRESS")),
    ("codebuild-succeeded", Event, Reads("build ? of checkout is SUCCEEDED")),
    ("codebuild-succeeded-image-only", Event, Reads("build 12 of checkout is SUCCEEDED")),
    (
        "codepipeline-action-failed",
        Event,
        Reads("pipeline checkout/Deploy/Deploy version 4 is FAILED: JobFailed"),
    ),
    ("codepipeline-action-succeeded", Event, Reads("pipeline checkout/Source/Image version 4 is SUCCEEDED")),
    ("codepipeline-stage-started", Event, Reads("pipeline checkout/Prod version 1 is STARTED")),
    ("codepipeline-started", Event, Reads("pipeline checkout version 1 is STARTED")),
    ("codepipeline-superseded", Event, Reads("pipeline checkout version 1 is SUPERSEDED")),
    ("ecr-archive", Event, Reads("UPDATE_STORAGE_CLASS SUCCESS of shop/checkout@27cd534d4dbe without a tag")),
    ("ecr-delete", Event, Reads("DELETE SUCCESS of shop/checkout@77c047dd0a50 tagged main-12")),
    ("ecr-pull-through-cache", Event, Reads("ECR Pull Through Cache Action of aws.ecr, ignored")),
    ("ecr-push", Event, Reads("PUSH SUCCESS of shop/checkout@367e806bba13 tagged main-42")),
    ("ecr-push-attestation", Event, Reads("PUSH SUCCESS of shop/checkout@5974d1e0cf29 without a tag")),
    ("ecr-push-failed", Event, Reads("PUSH FAILURE of shop/checkout@97f72bf88a75 tagged main-43")),
    ("ecr-push-from-the-future", Event, Reads("SEAL PARTIAL of shop/checkout@b770d21c2f8c tagged main-44")),
    ("ecr-push-multi-arch-child", Event, Reads("PUSH SUCCESS of shop/checkout@b94e4c566c34 without a tag")),
    ("ecr-push-multi-arch-index", Event, Reads("PUSH SUCCESS of shop/checkout@1cf887de9e8d tagged v2.0.0")),
    (
        "ecr-replication",
        Event,
        Reads(
            "REPLICATE SUCCESS of shop/checkout@367e806bba13 tagged main-42 from 111122223333 in eu-west-1",
        ),
    ),
    ("ecr-restore", Event, Reads("UPDATE_STORAGE_CLASS SUCCESS of shop/checkout@27cd534d4dbe without a tag")),
    ("ecr-scan", Event, Reads("scan COMPLETE of shop/checkout@367e806bba13: 10 critical, 0 high")),
    (
        "ecr-scan-clean-untagged",
        Event,
        Reads("scan COMPLETE of shop/checkout@b94e4c566c34: 0 critical, 0 high"),
    ),
    ("ecs-container-instance", Event, Reads("ECS Container Instance State Change of aws.ecs, ignored")),
    (
        "ecs-deployment-completed",
        Event,
        Reads(
            "SERVICE_DEPLOYMENT_COMPLETED ecs-svc/4311672418839471152 of prod/checkout: ECS deployment ecs-svc/4311672418839471152 completed.",
        ),
    ),
    (
        "ecs-deployment-failed-alarm",
        Event,
        Reads(
            "SERVICE_DEPLOYMENT_FAILED ecs-svc/4311672418839471152 of prod/checkout: alarm detected: checkout-5xx",
        ),
    ),
    (
        "ecs-deployment-failed-circuit-breaker",
        Event,
        Reads(
            "SERVICE_DEPLOYMENT_FAILED ecs-svc/4311672418839471152 of prod/checkout: ECS deployment circuit breaker: task failed to start.",
        ),
    ),
    (
        "ecs-deployment-from-the-future",
        Event,
        Reads(
            "SERVICE_DEPLOYMENT_THROTTLED ecs-svc/4311672418839471152 of prod/checkout: Waiting for capacity.",
        ),
    ),
    (
        "ecs-deployment-in-progress",
        Event,
        Reads(
            "SERVICE_DEPLOYMENT_IN_PROGRESS ecs-svc/4311672418839471152 of prod/checkout: ECS deployment ecs-svc/4311672418839471152 in progress.",
        ),
    ),
    (
        "ecs-deployment-rolling-back",
        Event,
        Reads(
            "SERVICE_DEPLOYMENT_IN_PROGRESS ecs-svc/8702153314879342011 of prod/checkout: ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/8702153314879342011.",
        ),
    ),
    (
        "ecs-deployment-short-arn",
        Event,
        Reads(
            "SERVICE_DEPLOYMENT_COMPLETED ecs-svc/4311672418839471152 of checkout: ECS deployment ecs-svc/4311672418839471152 completed.",
        ),
    ),
    (
        "ecs-hook-awaiting-bake",
        Event,
        Reads(
            "HOOK_AWAITING_ACTION at POST_PRODUCTION_TRAFFIC_SHIFT of prod/checkout (0EYSiB0qap8xf0N76FsbE)",
        ),
    ),
    (
        "ecs-hook-awaiting-shift",
        Event,
        Reads(
            "HOOK_AWAITING_ACTION at PRE_PRODUCTION_TRAFFIC_SHIFT of prod/checkout (0EYSiB0qap8xf0N76FsbE)",
        ),
    ),
    (
        "ecs-hook-continued",
        Event,
        Reads("HOOK_SUCCEEDED at PRE_PRODUCTION_TRAFFIC_SHIFT of prod/checkout (0EYSiB0qap8xf0N76FsbE)"),
    ),
    (
        "ecs-hook-from-the-future",
        Event,
        Reads("HOOK_ESCALATED at POST_CLEAN_UP of prod/checkout (0EYSiB0qap8xf0N76FsbE)"),
    ),
    (
        "ecs-hook-lambda-in-progress",
        Event,
        Reads("HOOK_IN_PROGRESS at POST_TEST_TRAFFIC_SHIFT of prod/checkout (0EYSiB0qap8xf0N76FsbE)"),
    ),
    (
        "ecs-hook-rolled-back",
        Event,
        Reads("HOOK_FAILED at PRE_PRODUCTION_TRAFFIC_SHIFT of prod/checkout (0EYSiB0qap8xf0N76FsbE)"),
    ),
    (
        "ecs-hook-short-service-arn",
        Event,
        Reads(
            "HOOK_AWAITING_ACTION at PRE_PRODUCTION_TRAFFIC_SHIFT of prod/checkout (0EYSiB0qap8xf0N76FsbE)",
        ),
    ),
    (
        "ecs-hook-timed-out",
        Event,
        Reads("HOOK_TIMED_OUT at PRE_PRODUCTION_TRAFFIC_SHIFT of prod/checkout (0EYSiB0qap8xf0N76FsbE)"),
    ),
    (
        "ecs-lifecycle-hook-canary-step",
        LifecycleHook,
        Reads("hook at PRODUCTION_TRAFFIC_SHIFT of 0EYSiB0qap8xf0N76FsbE"),
    ),
    (
        "ecs-lifecycle-hook-pre-production-shift",
        LifecycleHook,
        Reads("hook at PRE_PRODUCTION_TRAFFIC_SHIFT of 0EYSiB0qap8xf0N76FsbE"),
    ),
    (
        "ecs-lifecycle-hook-pre-scale-up",
        LifecycleHook,
        Reads("hook at PRE_SCALE_UP of 0EYSiB0qap8xf0N76FsbE"),
    ),
    (
        "ecs-lifecycle-hook-production-shift",
        LifecycleHook,
        Reads("hook at PRODUCTION_TRAFFIC_SHIFT of 0EYSiB0qap8xf0N76FsbE"),
    ),
    (
        "ecs-lifecycle-hook-rollback",
        LifecycleHook,
        Reads("hook at PRODUCTION_TRAFFIC_SHIFT of 0EYSiB0qap8xf0N76FsbE, rolling back"),
    ),
    (
        "ecs-lifecycle-hook-test-shift",
        LifecycleHook,
        Reads("hook at TEST_TRAFFIC_SHIFT of 0EYSiB0qap8xf0N76FsbE"),
    ),
    ("ecs-service-from-the-future", Event, Reads("SERVICE_TASK_MIGRATED of prod/checkout")),
    (
        "ecs-service-placement-failure",
        Event,
        Reads("SERVICE_TASK_PLACEMENT_FAILURE of prod/checkout: RESOURCE:FARGATE"),
    ),
    ("ecs-service-start-impaired", Event, Reads("SERVICE_TASK_START_IMPAIRED of prod/checkout")),
    ("ecs-service-steady-state", Event, Reads("SERVICE_STEADY_STATE of prod/checkout")),
    ("ecs-service-steady-state-short-arn", Event, Reads("SERVICE_STEADY_STATE of prod/checkout")),
    ("ecs-service-taskset-steady-state", Event, Reads("TASKSET_STEADY_STATE of prod/checkout")),
    (
        "ecs-task-failed-to-start",
        Event,
        Reads("task 4082c0f4a0f24c5a8f5b5a4d5f6e7d8c of checkout:42 is STOPPED: Task failed to start"),
    ),
    ("ecs-task-running", Event, Reads("task 4082c0f4a0f24c5a8f5b5a4d5f6e7d8c of checkout:42 is RUNNING")),
    (
        "ecs-task-stopped",
        Event,
        Reads(
            "task 4082c0f4a0f24c5a8f5b5a4d5f6e7d8c of checkout:42 is STOPPED: Essential container in task exited",
        ),
    ),
    (
        "inspector2-finding",
        Event,
        Reads("ACTIVE CRITICAL CVE-2026-0001 - openssl in shop/checkout@367e806bba13"),
    ),
    (
        "inspector2-scan",
        Event,
        Reads("scan INITIAL_SCAN_COMPLETE of shop/checkout@367e806bba13: 7 critical, 61 high"),
    ),
    (
        "refused-detail-is-text",
        Event,
        Refused(
            r#"read event: detail: invalid type: string "{\"result\": \"SUCCESS\", \"repository-name\": \"shop/checkout\", \"image-digest\": \"sha256:367e8…afd56402d52bfcb529e0044\", \"action-type\": \"PUSH\", \"image-tag\": \"main-42\"}", expected a map at line 10 column 229"#,
        ),
    ),
    (
        "refused-foreign-service",
        Event,
        Refused(
            r#"read ECS Deployment State Change e6a97aae-c5ae-5cdb-9e1a-50c66db6ec9e: resources[0]: found "arn:aws:ecs:eu-central-1:444455556666:service/prod/checkout", allowed an ARN of the event's own 111122223333 in eu-central-1"#,
        ),
    ),
    (
        "refused-hook-of-other-account",
        LifecycleHook,
        Refused(
            "read lifecycle hook invocation d1107f96-9053-5c83-8d98-8c2628cf458f: account: found 444455556666, allowed 111122223333",
        ),
    ),
    (
        "refused-no-repository",
        Event,
        Refused(
            "read ECR Image Action fefbd2b6-9c5b-5cf1-89df-0b531291d3ba: detail: missing field `repository-name`",
        ),
    ),
    (
        "refused-other-account",
        Event,
        Refused(
            "read ECR Image Action 56c75c27-90c5-5164-bb7e-e21870243ceb: account: found 444455556666, allowed 111122223333",
        ),
    ),
    (
        "refused-other-region",
        Event,
        Refused(
            "read ECR Image Action 77e4f88d-a7bc-506d-b7dc-a7e0d399b781: region: found us-east-1, allowed in account 111122223333: eu-central-1",
        ),
    ),
    (
        "refused-short-digest",
        Event,
        Refused(
            r#"read ECR Image Action 00dcc795-91e7-5cbe-b8f1-7fa642ef6b16: detail.image-digest: "sha256:7f5b" is not a valid image digest: sha256: followed by 64 lower-case hexadecimal digits"#,
        ),
    ),
    ("s3-object-created", Event, Reads("s3://shop-releases/checkout/release candidate+1.json was written")),
    (
        "s3-object-created-versioned",
        Event,
        Reads("s3://shop-releases/checkout/release candidate+1.json was written"),
    ),
];
