//! The addition for Terraform.

use super::{Alarm, Dialect, ERROR_RATE, Missing, group_name};

pub(super) const DIALECT: Dialect = Dialect { comment: "#", begins: "", group, role: ROLE, alarm, changes };

/// `Checkout2` as `checkout2`: what resources are called by.
fn label(id: &str) -> String {
    id.to_lowercase()
}

fn group(it: &Missing<'_>) -> String {
    let around = &it.balancer.around;
    let port = around.port.map_or_else(String::new, |port| format!("  port        = {port}\n"));
    let vpc = around.vpc.as_ref().map_or_else(String::new, |vpc| format!("  vpc_id      = \"{vpc}\"\n"));
    let path = around.health.path.as_ref().map(|path| format!("    path                = \"{path}\"\n"));
    let numbers = [
        ("interval           ", around.health.interval_secs),
        ("timeout            ", around.health.timeout_secs),
        ("healthy_threshold  ", around.health.healthy_threshold),
        ("unhealthy_threshold", around.health.unhealthy_threshold),
    ];
    let numbers = numbers.iter().filter_map(|(name, value)| Some(format!("    {name} = {}\n", (*value)?)));
    let inside: String = path.into_iter().chain(numbers).collect();
    let health = if inside.is_empty() { inside } else { format!("\n  health_check {{\n{inside}  }}\n") };
    format!(
        "\nresource \"aws_lb_target_group\" \"{}_second\" {{\n  name        = \"{}\"\n  protocol    = \"{}\"\n{port}{vpc}  target_type = \"{}\"\n{health}}}\n",
        label(&it.id),
        group_name(&it.name),
        around.protocol,
        around.target_type
    )
}

const ROLE: &str = r#"
# Amazon ECS changes the weights with it. Give its ARN to Tidegate's stack, too: InfrastructureRoleArns.
resource "aws_iam_role" "ecs_infrastructure" {
  name = "ecs-infrastructure"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Principal = { Service = "ecs.amazonaws.com" }, Action = "sts:AssumeRole" }]
  })
}

resource "aws_iam_role_policy_attachment" "ecs_infrastructure" {
  role       = aws_iam_role.ecs_infrastructure.name
  policy_arn = "arn:aws:iam::aws:policy/AmazonECSInfrastructureRolePolicyForLoadBalancers"
}
"#;

fn alarm(alarm: &Alarm) -> String {
    let Alarm { id, name, namespace, load_balancer, group } = alarm;
    let group = match group {
        Some(group) => format!("\"{group}\""),
        None => {
            format!("aws_lb_target_group.{}_second.arn_suffix", label(id.trim_end_matches("SecondAlarm")))
        }
    };
    let dimensions = format!("{{ LoadBalancer = \"{load_balancer}\", TargetGroup = {group} }}");
    let head = format!(
        "\nresource \"aws_cloudwatch_metric_alarm\" \"{}\" {{\n  alarm_name          = \"{name}\"\n  comparison_operator = \"GreaterThanThreshold\"\n  \
         evaluation_periods  = 1\n  treat_missing_data  = \"notBreaching\"\n",
        label(id)
    );
    if *namespace == "AWS/NetworkELB" {
        return format!(
            "{head}  threshold           = 0\n  namespace           = \"{namespace}\"\n  metric_name         = \"UnHealthyHostCount\"\n  \
             statistic           = \"Maximum\"\n  period              = 60\n  dimensions          = {dimensions}\n}}\n"
        );
    }
    let metric = |id: &str, name: &str| {
        format!(
            "\n  metric_query {{\n    id = \"{id}\"\n    metric {{\n      namespace   = \"{namespace}\"\n      metric_name = \"{name}\"\n      \
             stat        = \"Sum\"\n      period      = 60\n      dimensions  = {dimensions}\n    }}\n  }}\n"
        )
    };
    format!(
        "{head}  # More than 5% of the answers of a minute with more than 20 requests are errors.\n  threshold           = 5\n\n  metric_query {{\n    \
         id          = \"rate\"\n    expression  = \"{ERROR_RATE}\"\n    return_data = true\n  }}\n{}{}}}\n",
        metric("errors", "HTTPCode_Target_5XX_Count"),
        metric("requests", "RequestCount")
    )
}

fn changes(it: &Missing<'_>) -> String {
    let first = &it.balancer.around.group;
    let second = match &it.balancer.second {
        Some(second) => format!("\"{second}\""),
        None => format!("aws_lb_target_group.{}_second.arn", label(&it.id)),
    };
    let rule = it.balancer.rule.as_ref().map_or_else(|| "THE_RULE".to_owned(), ToString::to_string);
    let first_change = format!(
        "\n# In what is there already:\n#\n# 1. The listener rule (with a Network Load Balancer the listener) {rule}\n#    names both target groups. Amazon ECS changes the weights, so Terraform has to leave them alone:\n\
         #      action {{\n#        type = \"forward\"\n#        forward {{\n#          target_group {{\n#            arn    = \"{first}\"\n#            weight = 100\n#          }}\n#          target_group {{\n\
         #            arn    = {second}\n#            weight = 0\n#          }}\n#        }}\n#      }}\n#      lifecycle {{\n#        ignore_changes = [action]\n#      }}\n"
    );
    if !it.role {
        return first_change;
    }
    format!(
        "{first_change}#\n\
         # 2. The aws_ecs_service, in its load_balancer block; Tidegate deploys task definitions and sets the deployment configuration, so both are ignored:\n\
         #      advanced_configuration {{\n#        alternate_target_group_arn = {second}\n#        production_listener_rule   = \"{rule}\"\n#        role_arn                   = aws_iam_role.ecs_infrastructure.arn\n#      }}\n\
         #      lifecycle {{\n#        ignore_changes = [task_definition, deployment_configuration]\n#      }}\n"
    )
}
