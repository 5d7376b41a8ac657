//! The operations, with the checks and error codes of AWS.

use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::model::{DIMENSION, NAMESPACE, Suspended, Target};
use super::{Inner, OmittedSuspension};
use crate::ports::AwsError;

type Answer = Result<Value, AwsError>;

/// The namespaces AWS knows.
const NAMESPACES: [&str; 15] = [
    "ecs",
    "elasticmapreduce",
    "ec2",
    "appstream",
    "dynamodb",
    "rds",
    "sagemaker",
    "custom-resource",
    "comprehend",
    "lambda",
    "cassandra",
    "kafka",
    "elasticache",
    "neptune",
    "workspaces",
];

fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new("ValidationException", message)
}

fn constraint(value: &str, member: &str, constraint: &str) -> AwsError {
    invalid(format!(
        "1 validation error detected: Value {value} at '{member}' failed to satisfy constraint: Member must {constraint}"
    ))
}

/// The error for a target that nobody registered.
pub(super) fn not_registered(resource: &str) -> AwsError {
    let message = format!(
        "No scalable target found for service namespace: {NAMESPACE}, resource ID: {resource}, scalable dimension: {DIMENSION}"
    );
    AwsError::new("ObjectNotFoundException", message)
}

fn typed<'a, T>(
    input: &'a Value,
    member: &str,
    read: impl Fn(&'a Value) -> Option<T>,
) -> Result<Option<T>, AwsError> {
    let given = &input[member];
    if given.is_null() {
        return Ok(None);
    }
    let wrong =
        || AwsError::new("SerializationException", format!("member {member} has the wrong type: {given}"));
    read(given).map(Some).ok_or_else(wrong)
}

fn text<'a>(input: &'a Value, member: &str) -> Result<Option<&'a str>, AwsError> {
    typed(input, member, Value::as_str)
}

fn required<'a>(input: &'a Value, member: &str) -> Result<&'a str, AwsError> {
    text(input, member)?.ok_or_else(|| constraint("null", &lower(member), "not be null"))
}

/// AWS writes members with a small first letter in its messages.
fn lower(member: &str) -> String {
    let mut letters = member.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// The namespace of a request: one AWS knows, and here only the one the sandbox plays.
fn check_namespace(input: &Value) -> Result<(), AwsError> {
    let namespace = required(input, "ServiceNamespace")?;
    if !NAMESPACES.contains(&namespace) {
        let known = format!("satisfy enum value set: [{}]", NAMESPACES.join(", "));
        return Err(constraint(&format!("'{namespace}'"), "serviceNamespace", &known));
    }
    if namespace != NAMESPACE {
        return Err(invalid(format!("the sandbox scales nothing in the namespace {namespace}")));
    }
    Ok(())
}

/// A capacity: not negative, and no more than ECS takes.
fn capacity(input: &Value, member: &str) -> Result<Option<u32>, AwsError> {
    let Some(number) = typed(input, member, Value::as_i64)? else { return Ok(None) };
    match u32::try_from(number) {
        Ok(number) if number <= 5000 => Ok(Some(number)),
        Ok(_) | Err(_) => Err(invalid(format!("{member} must be between 0 and 5000, got {number}"))),
    }
}

/// Resource id, cluster and service of a request.
fn resource(input: &Value) -> Result<(&str, &str, &str), AwsError> {
    check_namespace(input)?;
    let (resource, dimension) = (required(input, "ResourceId")?, required(input, "ScalableDimension")?);
    let parts: Vec<&str> = resource.split('/').collect();
    match parts.as_slice() {
        ["service", cluster, service]
            if dimension == DIMENSION && !cluster.is_empty() && !service.is_empty() =>
        {
            Ok((resource, cluster, service))
        }
        _ => Err(invalid("Unsupported service namespace, resource type or scalable dimension")),
    }
}

impl Suspended {
    /// What a request makes of it.
    fn changed(self, input: &Value, omitted: OmittedSuspension) -> Result<Self, AwsError> {
        if typed(input, "SuspendedState", Value::as_object)?.is_none() {
            return Ok(self);
        }
        let given = &input["SuspendedState"];
        let member = |name: &str, present: bool| {
            let left_out = match omitted {
                OmittedSuspension::Kept => present,
                OmittedSuspension::Resumed => false,
            };
            Ok::<_, AwsError>(typed(given, name, Value::as_bool)?.unwrap_or(left_out))
        };
        Ok(Self {
            scaling_in: member("DynamicScalingInSuspended", self.scaling_in)?,
            scaling_out: member("DynamicScalingOutSuspended", self.scaling_out)?,
            scheduled: member("ScheduledScalingSuspended", self.scheduled)?,
        })
    }
}

impl Inner {
    pub(super) fn answer(&self, operation: &str, input: &Value) -> Answer {
        match operation {
            "RegisterScalableTarget" => self.register(input),
            "DescribeScalableTargets" => self.describe(input),
            "DeregisterScalableTarget" => self.deregister(input),
            "DescribeScalingActivities" => self.activities(input),
            other => Err(AwsError::new(
                "UnknownOperationException",
                format!("the sandbox does not have the Application Auto Scaling operation {other}"),
            )),
        }
    }

    fn arn(&self, rest: &str) -> String {
        format!("arn:aws:application-autoscaling:{}:{}:{rest}", self.options.region, self.options.account)
    }

    /// A target as it is before its first registration changes it.
    fn fresh(&self, cluster: &str, service: &str) -> Target {
        let linked = "aws-service-role/ecs.application-autoscaling.amazonaws.com/AWSServiceRoleForApplicationAutoScaling_ECSService";
        Target {
            arn: self.arn(&format!("scalable-target/0ec5{:032x}", fastrand::u128(..))),
            cluster: cluster.to_owned(),
            service: service.to_owned(),
            role: format!("arn:aws:iam::{}:role/{linked}", self.options.account),
            min: 0,
            max: 0,
            suspended: Suspended::default(),
            created: Timestamp::now(),
            changed: None,
            demand: None,
            outcome: None,
        }
    }

    fn register(&self, input: &Value) -> Answer {
        let (resource, cluster, service) = resource(input)?;
        let (min, max) = (capacity(input, "MinCapacity")?, capacity(input, "MaxCapacity")?);
        let mut model = self.model();
        let present = model.targets.get(resource);
        if present.is_none() && (min.is_none() || max.is_none()) {
            return Err(invalid(
                "MinCapacity and MaxCapacity are required to register a new scalable target",
            ));
        }
        if present.is_some_and(|target| self.is_pending(target)) {
            return Err(AwsError::new(
                "ConcurrentUpdateException",
                "You already have a pending update to an Auto Scaling resource.",
            ));
        }
        if self.services.scale(cluster, service).is_none() {
            return Err(invalid(format!("ECS service doesn't exist: {resource}")));
        }
        let mut target = present.cloned().unwrap_or_else(|| self.fresh(cluster, service));
        target.min = min.unwrap_or(target.min);
        target.max = max.unwrap_or(target.max);
        if target.min > target.max {
            return Err(invalid("Maximum capacity cannot be less than minimum capacity"));
        }
        target.suspended = target.suspended.changed(input, self.options.omitted_suspension)?;
        if let Some(role) = text(input, "RoleARN")? {
            role.clone_into(&mut target.role);
        }
        target.changed = Some(Instant::now());
        let arn = target.arn.clone();
        model.targets.insert(resource.to_owned(), target);
        self.adjust(&mut model, resource);
        // What was suspended until now acts at once.
        self.meet(&mut model, resource);
        Ok(json!({"ScalableTargetARN": arn}))
    }

    fn describe(&self, input: &Value) -> Answer {
        check_namespace(input)?;
        let wanted = typed(input, "ResourceIds", Value::as_array)?;
        if let Some(dimension) = text(input, "ScalableDimension")? {
            if wanted.is_none() {
                return Err(invalid("A resource ID is required when a scalable dimension is specified"));
            }
            if dimension != DIMENSION {
                return Err(invalid("Unsupported service namespace, resource type or scalable dimension"));
            }
        }
        let model = self.model();
        let is_wanted =
            |resource: &str| wanted.is_none_or(|wanted| wanted.iter().any(|wanted| wanted == resource));
        let found = model.targets.iter().filter(|(resource, _)| is_wanted(resource));
        let found = found.map(|(resource, target)| target.describe(resource)).collect();
        page(input, "ScalableTargets", found)
    }

    fn deregister(&self, input: &Value) -> Answer {
        let (resource, ..) = resource(input)?;
        let removed = self.model().targets.remove(resource);
        removed.map(|_| json!({})).ok_or_else(|| not_registered(resource))
    }

    fn activities(&self, input: &Value) -> Answer {
        check_namespace(input)?;
        let wanted = text(input, "ResourceId")?;
        let model = self.model();
        let of_wanted =
            |activity: &&Value| wanted.is_none_or(|wanted| activity["ResourceId"].as_str() == Some(wanted));
        page(input, "ScalingActivities", model.activities.iter().filter(of_wanted).cloned().collect())
    }
}

/// One page of a listing.
fn page(input: &Value, member: &str, items: Vec<Value>) -> Answer {
    let size = match typed(input, "MaxResults", Value::as_u64)? {
        None => 50,
        Some(size @ 1..=50) => usize::try_from(size).unwrap_or(50),
        Some(_) => return Err(invalid("MaxResults must be between 1 and 50")),
    };
    let start = match text(input, "NextToken")? {
        None => 0,
        Some(token) => {
            token.strip_prefix("page-").and_then(|offset| offset.parse::<usize>().ok()).ok_or_else(|| {
                AwsError::new("InvalidNextTokenException", "The next token supplied is not valid")
            })?
        }
    };
    let more = items.len() > start.saturating_add(size);
    let mut answer = Map::new();
    answer.insert(member.to_owned(), items.into_iter().skip(start).take(size).collect());
    if more {
        answer.insert("NextToken".to_owned(), json!(format!("page-{}", start + size)));
    }
    Ok(Value::Object(answer))
}
