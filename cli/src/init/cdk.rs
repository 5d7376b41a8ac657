//! The addition for the AWS CDK, in TypeScript.

use super::{Alarm, Dialect, ERROR_RATE, Missing, group_name};

pub(super) const DIALECT: Dialect = Dialect {
    comment: "//",
    begins: "import { aws_cloudwatch as cloudwatch, aws_elasticloadbalancingv2 as elbv2, aws_iam as iam } from 'aws-cdk-lib';\n",
    group,
    role: ROLE,
    alarm,
    changes,
};

/// `Checkout2` as `checkout2`.
fn variable(id: &str) -> String {
    let mut letters = id.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

fn group(it: &Missing<'_>) -> String {
    let around = &it.balancer.around;
    let port = around.port.map_or_else(String::new, |port| format!("  port: {port},\n"));
    let vpc = around.vpc.as_ref().map_or_else(String::new, |vpc| format!("  vpcId: '{vpc}',\n"));
    let path = around.health.path.as_ref().map(|path| format!("  healthCheckPath: '{path}',\n"));
    let numbers = [
        ("healthCheckIntervalSeconds", around.health.interval_secs),
        ("healthCheckTimeoutSeconds", around.health.timeout_secs),
        ("healthyThresholdCount", around.health.healthy_threshold),
        ("unhealthyThresholdCount", around.health.unhealthy_threshold),
    ];
    let numbers = numbers.iter().filter_map(|(name, value)| Some(format!("  {name}: {},\n", (*value)?)));
    let path: String = path.into_iter().chain(numbers).collect();
    format!(
        "\nconst {}SecondGroup = new elbv2.CfnTargetGroup(this, '{}SecondGroup', {{\n  name: '{}',\n  protocol: '{}',\n{port}{vpc}  targetType: '{}',\n{path}}});\n",
        variable(&it.id),
        it.id,
        group_name(&it.name),
        around.protocol,
        around.target_type
    )
}

const ROLE: &str = r"
// Amazon ECS changes the weights with it. Give its ARN to Tidegate's stack, too: InfrastructureRoleArns.
const ecsInfrastructureRole = new iam.Role(this, 'EcsInfrastructureRole', {
  assumedBy: new iam.ServicePrincipal('ecs.amazonaws.com'),
  managedPolicies: [
    iam.ManagedPolicy.fromAwsManagedPolicyName('AmazonECSInfrastructureRolePolicyForLoadBalancers'),
  ],
});
";

fn alarm(alarm: &Alarm) -> String {
    let Alarm { id, name, namespace, load_balancer, group } = alarm;
    let group = match group {
        Some(group) => format!("'{group}'"),
        None => {
            format!("{}SecondGroup.attrTargetGroupFullName", variable(id.trim_end_matches("SecondAlarm")))
        }
    };
    let dimensions = format!(
        "[{{ name: 'LoadBalancer', value: '{load_balancer}' }}, {{ name: 'TargetGroup', value: {group} }}]"
    );
    let head = format!(
        "\nnew cloudwatch.CfnAlarm(this, '{id}', {{\n  alarmName: '{name}',\n  comparisonOperator: 'GreaterThanThreshold',\n  evaluationPeriods: 1,\n  \
         treatMissingData: 'notBreaching',\n"
    );
    if *namespace == "AWS/NetworkELB" {
        return format!(
            "{head}  threshold: 0,\n  namespace: '{namespace}',\n  metricName: 'UnHealthyHostCount',\n  statistic: 'Maximum',\n  period: 60,\n  dimensions: {dimensions},\n}});\n"
        );
    }
    let metric = |id: &str, name: &str| {
        format!(
            "    {{\n      id: '{id}',\n      returnData: false,\n      metricStat: {{\n        stat: 'Sum',\n        period: 60,\n        \
             metric: {{ namespace: '{namespace}', metricName: '{name}', dimensions: {dimensions} }},\n      }},\n    }},\n"
        )
    };
    format!(
        "{head}  // More than 5% of the answers of a minute with more than 20 requests are errors.\n  threshold: 5,\n  metrics: [\n    \
         {{ id: 'rate', expression: '{ERROR_RATE}' }},\n{}{}  ],\n}});\n",
        metric("errors", "HTTPCode_Target_5XX_Count"),
        metric("requests", "RequestCount")
    )
}

fn changes(it: &Missing<'_>) -> String {
    let first = &it.balancer.around.group;
    let second = match &it.balancer.second {
        Some(second) => format!("'{second}'"),
        None => format!("{}SecondGroup.ref", variable(&it.id)),
    };
    let rule = it.balancer.rule.as_ref().map_or_else(|| "THE_RULE".to_owned(), ToString::to_string);
    let first_change = format!(
        "\n// In what is there already:\n//\n// 1. The listener rule (with a Network Load Balancer the listener) {rule}\n//    names both target groups:\n//      \
         actions: [{{ type: 'forward', forwardConfig: {{ targetGroups: [\n//        {{ targetGroupArn: '{first}', weight: 100 }},\n//        {{ targetGroupArn: {second}, weight: 0 }},\n//      ] }} }}]\n"
    );
    if !it.role {
        return first_change;
    }
    format!(
        "{first_change}//\n\
         // 2. The CfnService, beside targetGroupArn in loadBalancers:\n//      advancedConfiguration: {{\n//        alternateTargetGroupArn: {second},\n//        productionListenerRule: '{rule}',\n//        \
         roleArn: ecsInfrastructureRole.roleArn,\n//      }}\n"
    )
}
