//! What the functions make of the samples: the questions they ask, answered for the events that matter.

use jiff::Timestamp;
use tidegate_core::ids::{AccountId, ClusterName, EcsServiceName, Region, Target};
use tidegate_core::ids::{EcsService, Resource};
use tidegate_core::vocab::cloudwatch::{AlarmSeen, AlarmState};
use tidegate_wire::ecs::ServiceRef;
use tidegate_wire::{Event, parse_event};

use super::{installation, sample};

fn event(name: &str) -> Event {
    parse_event(&sample(name), &installation()).unwrap().1
}

fn alarm(name: &str) -> AlarmSeen {
    match event(name) {
        Event::Alarm(change) => change.seen().1,
        other => panic!("{name} is {other}"),
    }
}

#[test]
fn only_a_push_that_worked_and_has_a_tag_brings_an_image() {
    let brings = |name: &str| {
        let (envelope, event) = parse_event(&sample(name), &installation()).unwrap();
        match event {
            Event::EcrImage(action) => action.pushed(&envelope),
            other => panic!("{name} is {other}"),
        }
    };
    let image = brings("ecr-push").unwrap();
    assert_eq!(
        image.pinned(),
        "111122223333.dkr.ecr.eu-central-1.amazonaws.com/shop/checkout@\
         sha256:367e806bba13d2d1f7fbc3dfd4206f3eca29305c9afd56402d52bfcb529e0044"
    );
    assert_eq!(image.tag.unwrap().as_str(), "main-42");
    assert_eq!(brings("ecr-push-multi-arch-index").unwrap().tag.unwrap().as_str(), "v2.0.0");
    for name in [
        "ecr-push-multi-arch-child",
        "ecr-push-attestation",
        "ecr-push-failed",
        "ecr-push-from-the-future",
        "ecr-delete",
        "ecr-archive",
        "ecr-restore",
    ] {
        assert_eq!(brings(name), None, "{name}");
    }
}

#[test]
fn an_alarm_is_a_breach_when_it_is_red_and_cloudwatch_would_act_on_it() {
    for name in [
        "alarm-in-alarm",
        "alarm-set-by-hand",
        "alarm-metric-math",
        "alarm-anomaly",
        "alarm-composite-in-alarm",
        "alarm-many-series",
    ] {
        assert!(alarm(name).is_breach(), "{name}");
    }
    for name in ["alarm-green", "alarm-no-data", "alarm-from-the-future"] {
        let seen = alarm(name);
        assert!(!seen.is_breach(), "{name}");
        assert_ne!(seen.state, AlarmState::Alarm, "{name}");
    }
    for name in ["alarm-in-alarm-muted", "alarm-composite-suppressed", "alarm-composite-muted-and-suppressed"]
    {
        let seen = alarm(name);
        assert!(!seen.is_breach() && seen.state == AlarmState::Alarm, "{name}");
    }
}

#[test]
fn an_alarm_says_since_when_and_why() {
    let seen = alarm("alarm-in-alarm");
    assert_eq!(seen.since, Some("2026-08-20T14:02:30.989Z".parse::<Timestamp>().unwrap()));
    assert!(seen.reason.starts_with("Threshold Crossed: 1 out of the last 1 datapoints [31.0"));
    // A time written in a new way is no reason not to hear the alarm.
    assert_eq!(alarm("alarm-from-the-future").since, None);
}

#[test]
fn a_composite_alarm_names_the_alarms_behind_it() {
    let Event::Alarm(change) = event("alarm-composite-in-alarm") else { panic!("not an alarm") };
    assert!(change.is_composite());
    assert_eq!(change.triggered_by(), ["arn:aws:cloudwatch:eu-central-1:111122223333:alarm:checkout-5xx"]);
    let Event::Alarm(change) = event("alarm-in-alarm") else { panic!("not an alarm") };
    assert!(!change.is_composite() && change.triggered_by().is_empty());
}

#[test]
fn a_contributor_is_never_taken_for_its_alarm() {
    assert!(matches!(event("alarm-contributor"), Event::AlarmContributor(_)));
}

fn target(cluster: &str) -> Target {
    Target {
        account: AccountId::new("111122223333").unwrap(),
        region: Region::new("eu-central-1").unwrap(),
        resource: Resource::EcsService(EcsService {
            cluster: ClusterName::new(cluster).unwrap(),
            service: EcsServiceName::new("checkout").unwrap(),
        }),
        role: None,
    }
}

fn service(name: &str) -> ServiceRef {
    match event(name) {
        Event::EcsDeployment(change) => change.service,
        Event::EcsHook(change) => change.service,
        Event::EcsServiceAction(action) => action.service,
        Event::EcsTask(change) => change.service.unwrap(),
        other => panic!("{name} is {other}"),
    }
}

#[test]
fn ecs_events_name_the_service_whatever_the_format_of_its_arn() {
    for name in [
        "ecs-deployment-completed",
        "ecs-hook-awaiting-shift",
        "ecs-hook-short-service-arn",
        "ecs-service-steady-state",
        "ecs-service-steady-state-short-arn",
        "ecs-task-stopped",
    ] {
        let service = service(name);
        assert_eq!(service.to_string(), "prod/checkout", "{name}");
        assert!(service.is(&target("prod")) && !service.is(&target("test")), "{name}");
    }
    // Here the event does not tell the cluster: it can be any service of that name.
    let short = service("ecs-deployment-short-arn");
    assert_eq!(short.cluster, None);
    assert!(short.is(&target("prod")) && short.is(&target("test")));
}

#[test]
fn a_hook_event_says_what_to_continue() {
    let Event::EcsHook(change) = event("ecs-hook-awaiting-shift") else { panic!("not a hook") };
    assert_eq!(change.hook.as_str(), "ecs-pause-e7tK9G_WRJqNF_EOMjztDXfKenlJuEUVjsNStf4WLKw");
    assert_eq!(
        change.deployment.as_str(),
        "arn:aws:ecs:eu-central-1:111122223333:service-deployment/prod/checkout/0EYSiB0qap8xf0N76FsbE"
    );
    assert_eq!(change.expires_at, Some("2026-08-21T14:02:31Z".parse::<Timestamp>().unwrap()));
}

#[test]
fn a_build_tells_its_number_and_start_however_they_are_written() {
    for (name, number) in [
        ("codebuild-in-progress", Some(12)),
        ("codebuild-succeeded", None),
        ("codebuild-succeeded-image-only", Some(12)),
        ("codebuild-failed", Some(13)),
    ] {
        let Event::CodeBuild(change) = event(name) else { panic!("not a build") };
        assert_eq!(change.number, number, "{name}");
        assert_eq!(change.started_at, Some("2026-08-20T14:00:29Z".parse::<Timestamp>().unwrap()), "{name}");
        assert_eq!(change.build, "checkout:8745a7a9-c340-456a-9166-edf953571bee", "{name}");
    }
}

#[test]
fn another_account_is_served_once_it_is_named() {
    let refused = |name: &str| parse_event(&sample(name), &installation()).is_err();
    assert!(refused("refused-other-account") && refused("refused-other-region"));
    let wider = installation()
        .and(AccountId::new("444455556666").unwrap(), Region::new("eu-central-1").unwrap())
        .and(AccountId::new("111122223333").unwrap(), Region::new("us-east-1").unwrap());
    for name in ["refused-other-account", "refused-other-region"] {
        assert!(parse_event(&sample(name), &wider).is_ok(), "{name}");
    }
    // Being served does not let an account speak for another one's services.
    assert!(parse_event(&sample("refused-foreign-service"), &wider).is_err());
}
