//! IAM for the services the sandbox answers itself: which action on which resource a call needs, and whether a set of
//! policies allows it. A function with too narrow a role must fail here as it would on AWS.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::protocol::wildcard;

/// One thing a call must be allowed to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) action: String,
    pub(super) resource: String,
    /// Condition keys of the request.
    pub(super) context: BTreeMap<String, Vec<String>>,
}

/// Where ARNs are made for.
pub(super) struct Home<'a> {
    pub(super) region: &'a str,
    pub(super) account: &'a str,
}

impl Home<'_> {
    fn arn(&self, service: &str, resource: &str) -> String {
        format!("arn:aws:{service}:{}:{}:{resource}", self.region, self.account)
    }

    fn cluster(&self, input: &Value) -> String {
        let cluster = input["cluster"].as_str().unwrap_or("default");
        if cluster.starts_with("arn:") {
            cluster.to_owned()
        } else {
            self.arn("ecs", &format!("cluster/{cluster}"))
        }
    }

    fn service(&self, input: &Value, name: &Value) -> String {
        let name = name.as_str().unwrap_or("*");
        if name.starts_with("arn:") {
            return name.to_owned();
        }
        let cluster = self.cluster(input);
        let cluster = cluster.rsplit('/').next().unwrap_or_default();
        self.arn("ecs", &format!("service/{cluster}/{name}"))
    }
}

/// What a call needs, by the Service Authorization Reference.
pub(super) fn needs(home: &Home<'_>, service: &str, operation: &str, input: &Value) -> Vec<Need> {
    match service {
        "ecs" => ecs(home, operation, input),
        "elasticloadbalancing" => load_balancing(operation, input),
        "monitoring" => cloudwatch(home, operation, input),
        "codebuild" => codebuild(home, operation, input),
        "codepipeline" => codepipeline(home, operation, input),
        "ecr" => {
            let repository = input["repositoryName"].as_str().unwrap_or("*");
            vec![need(format!("ecr:{operation}"), home.arn("ecr", &format!("repository/{repository}")))]
        }
        "sqs" => sqs(home, operation, input),
        "application-autoscaling" => autoscaling(home, operation, input),
        _ => vec![need(format!("{service}:{operation}"), "*")],
    }
}

/// The permission for one message is the one for a batch; batches have none of their own.
fn sqs(home: &Home<'_>, operation: &str, input: &Value) -> Vec<Need> {
    let action = operation.strip_suffix("Batch").unwrap_or(operation);
    let queue = input["QueueUrl"].as_str().and_then(|url| url.rsplit('/').next()).unwrap_or("*");
    vec![need(format!("sqs:{action}"), home.arn("sqs", queue))]
}

/// What is changed is a scalable target, whose id AWS makes; reading knows no resources.
fn autoscaling(home: &Home<'_>, operation: &str, input: &Value) -> Vec<Need> {
    let action = format!("application-autoscaling:{operation}");
    if operation.starts_with("Describe") {
        return vec![need(action, "*")];
    }
    let context = BTreeMap::from([
        ("application-autoscaling:service-namespace".to_owned(), texts(&input["ServiceNamespace"])),
        ("application-autoscaling:scalable-dimension".to_owned(), texts(&input["ScalableDimension"])),
    ]);
    let resource = home.arn("application-autoscaling", "scalable-target/*");
    vec![Need { action, resource, context }]
}

fn codebuild(home: &Home<'_>, operation: &str, input: &Value) -> Vec<Need> {
    let named =
        ["name", "names", "projectName", "id", "ids"].into_iter().flat_map(|name| texts(&input[name]));
    let projects = named.map(|name| {
        // A build is `project:uuid`, or an ARN that ends so.
        let name = name.rsplit_once('/').map_or(name.as_str(), |(_, name)| name);
        home.arn("codebuild", &format!("project/{}", name.split(':').next().unwrap_or_default()))
    });
    let mut resources: Vec<String> = projects.collect();
    if resources.is_empty() {
        resources.push("*".to_owned());
    }
    resources.into_iter().map(|resource| need(format!("codebuild:{operation}"), resource)).collect()
}

/// Jobs have no ARN; approvals are given on the action.
fn codepipeline(home: &Home<'_>, operation: &str, input: &Value) -> Vec<Need> {
    let text = |member: &str| input[member].as_str();
    let name = text("pipelineName").or(text("name")).or(input["pipeline"]["name"].as_str());
    let parts = [name, text("stageName"), text("actionName")];
    let resource = match name {
        None => "*".to_owned(),
        Some(_) => home.arn("codepipeline", &parts.into_iter().flatten().collect::<Vec<_>>().join("/")),
    };
    vec![need(format!("codepipeline:{operation}"), resource)]
}

fn need(action: impl Into<String>, resource: impl Into<String>) -> Need {
    Need { action: action.into(), resource: resource.into(), context: BTreeMap::new() }
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

fn ecs(home: &Home<'_>, operation: &str, input: &Value) -> Vec<Need> {
    let action = format!("ecs:{operation}");
    let cluster = home.cluster(input);
    let resources = match operation {
        "CreateService" => vec![home.service(input, &input["serviceName"])],
        "UpdateService" | "DeleteService" | "ListServiceDeployments" | "UpdateServicePrimaryTaskSet" => {
            vec![home.service(input, &input["service"])]
        }
        "DescribeServices" => {
            input["services"].as_array().into_iter().flatten().map(|name| home.service(input, name)).collect()
        }
        "StopServiceDeployment" | "ContinueServiceDeployment" | "DescribeServiceDeployments" => {
            let mut arns = texts(&input["serviceDeploymentArn"]);
            arns.extend(texts(&input["serviceDeploymentArns"]));
            arns.iter().flat_map(|arn| [arn.clone(), parent_service(arn)]).collect()
        }
        "DescribeServiceRevisions" => {
            let arns = texts(&input["serviceRevisionArns"]);
            arns.iter().flat_map(|arn| [arn.clone(), parent_service(arn)]).collect()
        }
        "CreateTaskSet" | "UpdateTaskSet" | "DeleteTaskSet" | "DescribeTaskSets" => {
            vec![home.service(input, &input["service"]).replace(":service/", ":task-set/") + "/*"]
        }
        "RegisterTaskDefinition" => {
            let family = input["family"].as_str().unwrap_or("*");
            vec![home.arn("ecs", &format!("task-definition/{family}:*"))]
        }
        "DescribeClusters" => match texts(&input["clusters"]) {
            names if names.is_empty() => vec![home.arn("ecs", "cluster/default")],
            names => names.iter().map(|name| home.cluster(&serde_json::json!({"cluster": name}))).collect(),
        },
        "DescribeTasks" | "StopTask" => {
            let mut tasks = texts(&input["tasks"]);
            tasks.extend(texts(&input["task"]));
            let name = cluster.rsplit('/').next().unwrap_or_default();
            let full = |id: String| {
                if id.starts_with("arn:") { id } else { home.arn("ecs", &format!("task/{name}/{id}")) }
            };
            tasks.into_iter().map(full).collect()
        }
        "TagResource" | "UntagResource" | "ListTagsForResource" => texts(&input["resourceArn"]),
        _ => vec!["*".to_owned()],
    };
    let mut needs: Vec<Need> = resources.into_iter().map(|resource| need(action.clone(), resource)).collect();
    for need in &mut needs {
        need.context = ecs_context(&cluster, need, input);
    }
    needs.extend(passed_roles(operation, input));
    needs.extend(tagging(operation, &needs, input));
    needs
}

/// What is created with tags needs the permission to tag it, whatever creates it.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/supported-iam-actions-tagging.html>
fn tagging(operation: &str, needs: &[Need], input: &Value) -> Option<Need> {
    let creates = operation.starts_with("Create") || operation.starts_with("Register");
    let tagged = input["tags"].as_array().is_some_and(|tags| !tags.is_empty());
    let resource = needs.first().filter(|_| creates && tagged)?.resource.clone();
    let context = BTreeMap::from([("ecs:CreateAction".to_owned(), vec![operation.to_owned()])]);
    Some(Need { action: "ecs:TagResource".to_owned(), resource, context })
}

/// `…:service-deployment/cluster/service/id` belongs to `…:service/cluster/service`.
fn parent_service(arn: &str) -> String {
    let service = arn.replace(":service-deployment/", ":service/").replace(":service-revision/", ":service/");
    service.rsplit_once('/').map_or(service.clone(), |(parent, _)| parent.to_owned())
}

fn ecs_context(cluster: &str, need: &Need, input: &Value) -> BTreeMap<String, Vec<String>> {
    let mut context = BTreeMap::new();
    let mut parts = need.resource.split('/');
    let kind = parts.next().unwrap_or_default();
    // What names a service names its cluster, whatever the request's cluster member says.
    let of_service = ["service", "service-deployment", "service-revision", "task-set"]
        .iter()
        .any(|wanted| kind.ends_with(&format!(":{wanted}")));
    match (of_service, parts.next(), parts.next(), kind.rsplit_once(':')) {
        (true, Some(name), service, Some((prefix, _))) => {
            context.insert("ecs:cluster".to_owned(), vec![format!("{prefix}:cluster/{name}")]);
            if let Some(service) = service {
                context.insert("ecs:service".to_owned(), vec![format!("{prefix}:service/{name}/{service}")]);
            }
        }
        _ => {
            context.insert("ecs:cluster".to_owned(), vec![cluster.to_owned()]);
        }
    }
    let definition = texts(&input["taskDefinition"]);
    if !definition.is_empty() {
        context.insert("ecs:task-definition".to_owned(), definition);
    }
    context
}

/// Roles that a request hands to AWS need `iam:PassRole`.
fn passed_roles(operation: &str, input: &Value) -> Vec<Need> {
    let (mut roles, receiver) = match operation {
        "RegisterTaskDefinition" => (
            [&input["taskRoleArn"], &input["executionRoleArn"]]
                .into_iter()
                .flat_map(texts)
                .collect::<Vec<_>>(),
            "ecs-tasks.amazonaws.com",
        ),
        "CreateService" | "UpdateService" => {
            let balancers = input["loadBalancers"].as_array().into_iter().flatten();
            let hooks = input["deploymentConfiguration"]["lifecycleHooks"].as_array().into_iter().flatten();
            let roles = balancers
                .flat_map(|balancer| texts(&balancer["advancedConfiguration"]["roleArn"]))
                .chain(hooks.flat_map(|hook| texts(&hook["roleArn"])));
            (roles.collect(), "ecs.amazonaws.com")
        }
        _ => return Vec::new(),
    };
    roles.sort();
    roles.dedup();
    let context = BTreeMap::from([("iam:PassedToService".to_owned(), vec![receiver.to_owned()])]);
    (roles.into_iter())
        .map(|resource| Need { action: "iam:PassRole".to_owned(), resource, context: context.clone() })
        .collect()
}

fn load_balancing(operation: &str, input: &Value) -> Vec<Need> {
    let action = format!("elasticloadbalancing:{operation}");
    let member = match operation {
        "ModifyRule" | "DeleteRule" => "RuleArn",
        "CreateRule" | "ModifyListener" | "DeleteListener" => "ListenerArn",
        "CreateListener" | "DeleteLoadBalancer" | "ModifyLoadBalancerAttributes" => "LoadBalancerArn",
        "RegisterTargets"
        | "DeregisterTargets"
        | "ModifyTargetGroup"
        | "ModifyTargetGroupAttributes"
        | "DeleteTargetGroup" => "TargetGroupArn",
        "AddTags" | "RemoveTags" => "ResourceArns",
        // Describe* knows no resources.
        _ => return vec![need(action, "*")],
    };
    texts(&input[member]).into_iter().map(|arn| need(action.clone(), arn)).collect()
}

fn cloudwatch(home: &Home<'_>, operation: &str, input: &Value) -> Vec<Need> {
    let action = format!("cloudwatch:{operation}");
    let alarm = |name: &str| home.arn("cloudwatch", &format!("alarm:{name}"));
    let resources: Vec<String> = match operation {
        "DescribeAlarms" => match texts(&input["AlarmNames"]) {
            names if names.is_empty() => vec![alarm("*")],
            names => names.iter().map(|name| alarm(name)).collect(),
        },
        "DeleteAlarms" | "EnableAlarmActions" | "DisableAlarmActions" => {
            texts(&input["AlarmNames"]).iter().map(|name| alarm(name)).collect()
        }
        "PutMetricAlarm" | "SetAlarmState" => {
            texts(&input["AlarmName"]).iter().map(|name| alarm(name)).collect()
        }
        _ => vec!["*".to_owned()],
    };
    let context = BTreeMap::from([("cloudwatch:namespace".to_owned(), texts(&input["Namespace"]))]);
    (resources.into_iter())
        .map(|resource| Need { action: action.clone(), resource, context: context.clone() })
        .collect()
}

/// Whether policy documents allow something: an explicit deny wins, nothing is allowed by default.
pub(super) fn allows(policies: &[Value], need: &Need) -> bool {
    let statements = policies.iter().flat_map(|policy| {
        let statement = &policy["Statement"];
        statement.as_array().map_or_else(|| std::slice::from_ref(statement), Vec::as_slice)
    });
    let mut allowed = false;
    for statement in statements.filter(|statement| applies(statement, need)) {
        match statement["Effect"].as_str() {
            Some("Deny") => return false,
            Some("Allow") => allowed = true,
            _ => {}
        }
    }
    allowed
}

fn applies(statement: &Value, need: &Need) -> bool {
    let action = need.action.to_lowercase();
    let action_fits = |pattern: &String| wildcard::matches(&pattern.to_lowercase(), &action);
    let resource_fits = |pattern: &String| wildcard::matches(pattern, &need.resource);
    let by_action = match (&statement["Action"], &statement["NotAction"]) {
        (Value::Null, Value::Null) => false,
        (Value::Null, not) => !texts(not).iter().any(action_fits),
        (actions, _) => texts(actions).iter().any(action_fits),
    };
    let by_resource = match (&statement["Resource"], &statement["NotResource"]) {
        (Value::Null, Value::Null) => false,
        (Value::Null, not) => !texts(not).iter().any(resource_fits),
        (resources, _) => texts(resources).iter().any(resource_fits),
    };
    by_action && by_resource && conditions_hold(&statement["Condition"], need)
}

fn conditions_hold(conditions: &Value, need: &Need) -> bool {
    let Value::Object(operators) = conditions else { return true };
    operators.iter().all(|(operator, keys)| {
        let Value::Object(keys) = keys else { return false };
        keys.iter().all(|(key, expected)| condition_holds(operator, key, &texts(expected), need))
    })
}

fn condition_holds(operator: &str, key: &str, expected: &[String], need: &Need) -> bool {
    let (all, operator) = match operator.split_once(':') {
        Some(("ForAllValues", rest)) => (true, rest),
        Some(("ForAnyValue", rest)) => (false, rest),
        _ => (false, operator),
    };
    let actual =
        need.context.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, values)| values);
    let actual = actual.filter(|values| !values.is_empty());
    let (operator, if_exists) = match operator.strip_suffix("IfExists") {
        Some(operator) => (operator, true),
        None => (operator, false),
    };
    if operator == "Null" {
        return expected.iter().any(|value| (value == "true") == actual.is_none());
    }
    let (operator, negated) = match operator {
        "StringNotEquals" => ("StringEquals", true),
        "StringNotLike" => ("StringLike", true),
        "ArnNotEquals" | "ArnNotLike" => ("ArnLike", true),
        other => (other, false),
    };
    let Some(actual) = actual else { return if_exists || negated || all };
    let fits = |value: &String| {
        expected.iter().any(|expected| match operator {
            "StringEquals" => value == expected,
            "Bool" => value.eq_ignore_ascii_case(expected),
            "StringEqualsIgnoreCase" => value.eq_ignore_ascii_case(expected),
            "StringLike" | "ArnLike" | "ArnEquals" => wildcard::matches(expected, value),
            // An operator that is not understood never lets anything through.
            _ => false,
        })
    };
    let held = if all { actual.iter().all(fits) } else { actual.iter().any(fits) };
    held != negated
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HOME: Home<'static> = Home { region: "eu-west-1", account: "1" };

    fn allowed(policy: &Value, operation: &str, input: &Value) -> bool {
        let needs = needs(&HOME, "ecs", operation, input);
        !needs.is_empty() && needs.iter().all(|need| allows(std::slice::from_ref(policy), need))
    }

    #[test]
    fn a_policy_for_one_cluster_does_not_reach_another() {
        let policy = json!({"Statement": {
            "Effect": "Allow",
            "Action": ["ecs:UpdateService", "ecs:describe*"],
            "Resource": "arn:aws:ecs:*:*:service/prod/*",
        }});
        assert!(allowed(&policy, "UpdateService", &json!({"cluster": "prod", "service": "web"})));
        assert!(!allowed(&policy, "UpdateService", &json!({"cluster": "test", "service": "web"})));
        assert!(!allowed(&policy, "UpdateService", &json!({"service": "web"})));
        assert!(!allowed(&policy, "DeleteService", &json!({"cluster": "prod", "service": "web"})));
        assert!(allowed(&policy, "DescribeServices", &json!({"cluster": "prod", "services": ["a", "b"]})));
        let arn = "arn:aws:ecs:eu-west-1:1:service/test/b";
        assert!(!allowed(&policy, "DescribeServices", &json!({"cluster": "prod", "services": ["a", arn]})));
    }

    #[test]
    fn builds_and_approvals_are_named_by_what_they_belong_to() {
        let needed = |service: &str, operation: &str, input: Value| {
            let needs = needs(&HOME, service, operation, &input).into_iter();
            needs.map(|need| format!("{} {}", need.action, need.resource)).collect::<Vec<_>>()
        };
        let project = "arn:aws:codebuild:eu-west-1:1:project/shop";
        for id in ["shop:1-2", "arn:aws:codebuild:eu-west-1:1:build/shop:1-2"] {
            let builds = needed("codebuild", "BatchGetBuilds", json!({"ids": [id]}));
            assert_eq!(builds, [format!("codebuild:BatchGetBuilds {project}")]);
        }
        let started = needed("codebuild", "StartBuild", json!({"projectName": "shop"}));
        assert_eq!(started, [format!("codebuild:StartBuild {project}")]);
        let approval = json!({"pipelineName": "p", "stageName": "s", "actionName": "a", "token": "t"});
        let approved = needed("codepipeline", "PutApprovalResult", approval);
        assert_eq!(approved, ["codepipeline:PutApprovalResult arn:aws:codepipeline:eu-west-1:1:p/s/a"]);
        let answered = needed("codepipeline", "PutJobSuccessResult", json!({"jobId": "1"}));
        assert_eq!(answered, ["codepipeline:PutJobSuccessResult *"]);
    }

    /// What operations.md tells approvers to be given, and the template's ApproverPolicy gives.
    #[test]
    fn an_approver_may_use_the_url_and_never_writes_an_event_of_their_own() {
        let page = include_str!("../../../docs/operations.md");
        let shown = page.split("```json\n").find(|block| block.contains("InvokedViaFunctionUrl")).unwrap();
        let shown = shown.split("```").next().unwrap().replace("GATE_API_ARN", "arn:gate-api");
        let approver = json!({ "Statement": serde_json::from_str::<Value>(&shown).unwrap() });
        let everything =
            json!({ "Statement": [{ "Effect": "Allow", "Action": "lambda:*", "Resource": "*" }] });
        let call = |resource: &str, through_url: Option<&str>| Need {
            context: through_url
                .map(|said| ("lambda:InvokedViaFunctionUrl".to_owned(), vec![said.to_owned()]))
                .into_iter()
                .collect(),
            ..need("lambda:InvokeFunction", resource)
        };
        for policies in [vec![approver.clone()], vec![approver.clone(), everything.clone()]] {
            assert!(allows(&policies, &call("arn:gate-api", Some("true"))));
            for directly in [None, Some("false")] {
                assert!(!allows(&policies, &call("arn:gate-api", directly)));
                assert!(!allows(&policies, &call("arn:gate-api:1", directly)));
            }
        }
        // Without it, whoever may invoke everything may also pretend to be anybody.
        assert!(allows(&[everything], &call("arn:gate-api", None)));
        let url = |auth: &str| Need {
            context: BTreeMap::from([("lambda:FunctionUrlAuthType".to_owned(), vec![auth.to_owned()])]),
            ..need("lambda:InvokeFunctionUrl", "arn:gate-api")
        };
        assert!(
            allows(std::slice::from_ref(&approver), &url("AWS_IAM")) && !allows(&[approver], &url("NONE"))
        );
        let template = include_str!("../../../template.yaml");
        for condition in [
            r#"Bool: { "lambda:InvokedViaFunctionUrl": "true" }"#,
            r#"BoolIfExists: { "lambda:InvokedViaFunctionUrl": "false" }"#,
            r#"StringEquals: { "lambda:FunctionUrlAuthType": AWS_IAM }"#,
        ] {
            assert!(template.contains(condition), "{condition}");
        }
    }

    #[test]
    fn a_batch_needs_what_one_message_needs_of_its_queue_alone() {
        let home = Home { region: "eu-central-1", account: "111122223333" };
        let input = json!({ "QueueUrl": "http://sqs.example/111122223333/tide-wake", "Entries": [] });
        let needed = needs(&home, "sqs", "SendMessageBatch", &input);
        assert_eq!(needed, [need("sqs:SendMessage", "arn:aws:sqs:eu-central-1:111122223333:tide-wake")]);
        let policy = |action: &str, queue: &str| {
            let resource = home.arn("sqs", queue);
            json!({ "Statement": [{ "Effect": "Allow", "Action": action, "Resource": resource }] })
        };
        assert!(allows(&[policy("sqs:SendMessage", "tide-wake")], &needed[0]));
        assert!(!allows(&[policy("sqs:SendMessage", "tide-commands")], &needed[0]));
        assert!(!allows(&[policy("sqs:SendMessageBatch", "tide-wake")], &needed[0]));
    }

    #[test]
    fn scalable_targets_are_changed_by_namespace_and_dimension_and_read_without_a_resource() {
        let input = json!({"ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount",
            "ResourceId": "service/prod/web"});
        let policy = |action: &str, namespace: &str| {
            let resource = HOME.arn("application-autoscaling", "scalable-target/*");
            json!({"Statement": [{"Effect": "Allow", "Action": action, "Resource": resource,
                "Condition": {"StringEquals": {"application-autoscaling:service-namespace": namespace}}}]})
        };
        let register = needs(&HOME, "application-autoscaling", "RegisterScalableTarget", &input);
        let own = "application-autoscaling:RegisterScalableTarget";
        assert!(allows(&[policy(own, "ecs")], &register[0]));
        assert!(!allows(&[policy(own, "dynamodb")], &register[0]));
        assert!(!allows(&[policy("application-autoscaling:DeregisterScalableTarget", "ecs")], &register[0]));
        let read = needs(&HOME, "application-autoscaling", "DescribeScalableTargets", &input);
        assert_eq!(read, [need("application-autoscaling:DescribeScalableTargets", "*")]);
    }

    #[test]
    fn what_is_created_with_tags_needs_the_permission_to_tag_it() {
        let tagged = json!({"family": "web", "tags": [{"key": "team", "value": "shop"}]});
        let policy = |action: &str| {
            let tag = json!({"Effect": "Allow", "Action": "ecs:TagResource",
                "Resource": "arn:aws:ecs:eu-west-1:1:task-definition/*:*", "Condition": {"StringEquals": {"ecs:CreateAction": action}}});
            json!({"Statement": [{"Effect": "Allow", "Action": "ecs:RegisterTaskDefinition", "Resource": "*"}, tag]})
        };
        assert!(allowed(&policy("RegisterTaskDefinition"), "RegisterTaskDefinition", &tagged));
        assert!(!allowed(&policy("CreateService"), "RegisterTaskDefinition", &tagged));
        let bare = json!({"family": "web", "tags": []});
        assert!(allowed(&policy("CreateService"), "RegisterTaskDefinition", &bare));
    }

    #[test]
    fn conditions_deny_and_pass_role() {
        let policy = json!({"Statement": [
            {
                "Effect": "Allow",
                "Action": "ecs:*",
                "Resource": "*",
                "Condition": {"ArnEquals": {"ecs:cluster": "arn:aws:ecs:eu-west-1:1:cluster/prod"}},
            },
            {"Effect": "Deny", "Action": "ecs:UpdateService", "Resource": "*/frozen"},
        ]});
        let stop = json!({"serviceDeploymentArn": "arn:aws:ecs:eu-west-1:1:service-deployment/prod/web/x"});
        assert!(allowed(&policy, "StopServiceDeployment", &stop));
        let other = json!({"serviceDeploymentArn": "arn:aws:ecs:eu-west-1:1:service-deployment/test/web/x"});
        assert!(!allowed(&policy, "StopServiceDeployment", &other));
        assert!(!allowed(&policy, "UpdateService", &json!({"cluster": "prod", "service": "frozen"})));

        let register = json!({"family": "web", "cluster": "prod", "taskRoleArn": "arn:aws:iam::1:role/task"});
        let needed = needs(&HOME, "ecs", "RegisterTaskDefinition", &register);
        assert_eq!(needed[0].resource, "arn:aws:ecs:eu-west-1:1:task-definition/web:*");
        let pass = |service: &str| {
            json!({"Statement": [{
                "Effect": "Allow",
                "Action": "iam:PassRole",
                "Resource": "arn:aws:iam::1:role/*",
                "Condition": {"StringEquals": {"iam:PassedToService": service}},
            }]})
        };
        assert!(allows(&[pass("ecs-tasks.amazonaws.com")], &needed[1]));
        assert!(!allows(&[pass("ecs.amazonaws.com")], &needed[1]));
    }
}
