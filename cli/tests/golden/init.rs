//! What `init` writes: the policy, and what is lacking in each language.

use insta::assert_snapshot;
use tidegate_cli::init::{Balancer, Ground, Language};
use tidegate_core::finding::FindingCode;
use tidegate_core::ids::{EcsService, RuleArn, Tag, TargetGroupArn};
use tidegate_core::policy;
use tidegate_core::vocab::elb::{HealthCheck, Surroundings};

fn ground() -> Ground {
    let arn = |rest: &str| format!("arn:aws:elasticloadbalancing:eu-central-1:111122223333:{rest}");
    Ground {
        service: "checkout".parse().unwrap(),
        account: tidegate_testkit::names::account(),
        region: tidegate_testkit::names::region(),
        at: EcsService { cluster: "prod".parse().unwrap(), service: "checkout".parse().unwrap() },
        is_home: true,
        container: "app".parse().unwrap(),
        repository: "shop/checkout".parse().unwrap(),
        tag: Some(Tag::new("main-41").unwrap()),
        balancers: vec![Balancer {
            around: Surroundings {
                group: TargetGroupArn::new(arn("targetgroup/checkout/73e2d6bc24d8a067")).unwrap(),
                protocol: "HTTP".into(),
                port: Some(8080),
                vpc: Some("vpc-0a1b2c3d".into()),
                target_type: "ip".into(),
                health: HealthCheck {
                    path: Some("/health".into()),
                    interval_secs: Some(10),
                    timeout_secs: Some(5),
                    healthy_threshold: Some(3),
                    unhealthy_threshold: Some(2),
                },
                load_balancer: Some(arn("loadbalancer/app/shop/50dc6c495c0c9188")),
                senders: Vec::new(),
            },
            second: None,
            rule: Some(
                RuleArn::new(arn(
                    "listener-rule/app/shop/50dc6c495c0c9188/f2f7dc8efc522ab2/9683b2d02a6cabee",
                ))
                .unwrap(),
            ),
            role_given: false,
        }],
        lacks: [FindingCode::NoSecondTargetGroup, FindingCode::AlarmMissing].into(),
    }
}

#[test]
fn the_policy_is_valid_and_says_what_was_found() {
    let text = ground().policy();
    assert_snapshot!(text);
    let parsed = policy::parse("checkout.yaml", &text).unwrap();
    assert_eq!(parsed.rollback.alarms.len(), 2);
    let mut bare = ground();
    bare.balancers.clear();
    bare.tag = None;
    bare.is_home = false;
    let parsed = policy::parse("checkout.yaml", &bare.policy()).unwrap();
    assert!(matches!(parsed.strategy.shift, policy::Shift::Rolling));
    assert!(parsed.to.ecs().is_some_and(|to| to.account.is_some()));
}

#[test]
fn what_is_lacking_is_written_in_each_language() {
    assert_snapshot!("cloudformation", ground().addition(Language::Cloudformation));
    assert_snapshot!("terraform", ground().addition(Language::Terraform));
    assert_snapshot!("cdk", ground().addition(Language::Cdk));
}

#[test]
fn what_is_there_is_not_added_again() {
    let mut ready = ground();
    ready.lacks.clear();
    ready.balancers[0].second = Some(ready.balancers[0].around.group.clone());
    assert!(!ready.is_lacking());
    let mut alarms = ready.clone();
    alarms.lacks = [FindingCode::AlarmMissing].into();
    assert!(alarms.is_lacking());
    for language in [Language::Cloudformation, Language::Terraform, Language::Cdk] {
        let text = alarms.addition(language);
        assert!(!text.contains("AmazonECSInfrastructureRolePolicyForLoadBalancers"), "{text}");
        assert!(text.contains("checkout-second-group"), "{text}");
    }
}
