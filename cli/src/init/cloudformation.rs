//! The addition as an AWS CloudFormation template.

use super::{Alarm, Dialect, ERROR_RATE, Missing, group_name};

pub(super) const DIALECT: Dialect =
    Dialect { comment: "#", begins: "Resources:\n", group, role: ROLE, alarm, changes };

fn group(it: &Missing<'_>) -> String {
    let around = &it.balancer.around;
    let mut text = format!(
        "  {}SecondGroup:\n    Type: AWS::ElasticLoadBalancingV2::TargetGroup\n    Properties:\n      Name: {}\n      Protocol: {}\n      TargetType: {}\n",
        it.id,
        group_name(&it.name),
        around.protocol,
        around.target_type
    );
    let port = around.port.map(|port| format!("      Port: {port}\n"));
    let vpc = around.vpc.as_ref().map(|vpc| format!("      VpcId: {vpc}\n"));
    let path = around.health.path.as_ref().map(|path| format!("      HealthCheckPath: \"{path}\"\n"));
    text.extend([port, vpc, path].into_iter().flatten());
    let health = &around.health;
    let numbers = [
        ("HealthCheckIntervalSeconds", health.interval_secs),
        ("HealthCheckTimeoutSeconds", health.timeout_secs),
        ("HealthyThresholdCount", health.healthy_threshold),
        ("UnhealthyThresholdCount", health.unhealthy_threshold),
    ];
    text.extend(numbers.iter().filter_map(|(name, value)| Some(format!("      {name}: {}\n", (*value)?))));
    text
}

const ROLE: &str = r#"  # Amazon ECS changes the weights with it. Give its ARN to Tidegate's stack, too: InfrastructureRoleArns.
  EcsInfrastructureRole:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument:
        Version: "2012-10-17"
        Statement:
          - { Effect: Allow, Principal: { Service: ecs.amazonaws.com }, Action: "sts:AssumeRole" }
      ManagedPolicyArns:
        - arn:aws:iam::aws:policy/AmazonECSInfrastructureRolePolicyForLoadBalancers
"#;

fn alarm(alarm: &Alarm) -> String {
    let Alarm { id, name, namespace, load_balancer, group } = alarm;
    let group = match group {
        Some(group) => group.clone(),
        None => format!("!GetAtt {}SecondGroup.TargetGroupFullName", id.trim_end_matches("SecondAlarm")),
    };
    let dimensions = format!(
        "[{{ Name: LoadBalancer, Value: {load_balancer} }}, {{ Name: TargetGroup, Value: {group} }}]"
    );
    let head =
        format!("  {id}:\n    Type: AWS::CloudWatch::Alarm\n    Properties:\n      AlarmName: {name}\n");
    if *namespace == "AWS/NetworkELB" {
        return format!(
            "{head}      Namespace: {namespace}\n      MetricName: UnHealthyHostCount\n      Dimensions: {dimensions}\n      Statistic: Maximum\n      Period: 60\n      \
             EvaluationPeriods: 1\n      Threshold: 0\n      ComparisonOperator: GreaterThanThreshold\n      TreatMissingData: notBreaching\n"
        );
    }
    let metric = |id: &str, name: &str| {
        format!(
            "        - Id: {id}\n          ReturnData: false\n          MetricStat:\n            Stat: Sum\n            Period: 60\n            Metric:\n              \
             Namespace: {namespace}\n              MetricName: {name}\n              Dimensions: {dimensions}\n"
        )
    };
    format!(
        "{head}      # More than 5% of the answers of a minute with more than 20 requests are errors.\n      EvaluationPeriods: 1\n      Threshold: 5\n      \
         ComparisonOperator: GreaterThanThreshold\n      TreatMissingData: notBreaching\n      Metrics:\n        - Id: rate\n          \
         Expression: \"{ERROR_RATE}\"\n{}{}",
        metric("errors", "HTTPCode_Target_5XX_Count"),
        metric("requests", "RequestCount")
    )
}

fn changes(it: &Missing<'_>) -> String {
    let first = &it.balancer.around.group;
    let second = match &it.balancer.second {
        Some(second) => second.to_string(),
        None => format!("!Ref {}SecondGroup", it.id),
    };
    let rule = it.balancer.rule.as_ref().map_or_else(|| "THE_RULE".to_owned(), ToString::to_string);
    let first_change = format!(
        "\n# In what is there already:\n#\n# 1. The listener rule (with a Network Load Balancer the listener) {rule}\n#    names both target groups:\n#      Actions:\n#        - Type: forward\n#          \
         ForwardConfig:\n#            TargetGroups:\n#              - {{ TargetGroupArn: {first}, Weight: 100 }}\n#              - {{ TargetGroupArn: {second}, Weight: 0 }}\n"
    );
    if !it.role {
        return first_change;
    }
    format!(
        "{first_change}#\n\
         # 2. The AWS::ECS::Service, beside TargetGroupArn in LoadBalancers:\n#      AdvancedConfiguration:\n#        AlternateTargetGroupArn: {second}\n#        \
         ProductionListenerRule: {rule}\n#        RoleArn: !GetAtt EcsInfrastructureRole.Arn\n"
    )
}
