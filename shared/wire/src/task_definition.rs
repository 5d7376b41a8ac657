//! How a task definition in an artifact differs from the one that runs, beyond the images that are released.
//!
//! Tidegate registers the running task definition with only those images changed. A file that wants more must not be followed
//! half: its differences are named instead. Amazon ECS returns what was registered with its own defaults filled in, empty lists
//! added, and fields that are newer than any list of them here, which is no difference.

use serde_json::{Map, Value};
use tidegate_core::ids::ContainerName;
use tidegate_core::vocab::ecs::TASK_DEFINITION_RESPONSE_ONLY;

/// More are not listed; the message is for a person.
const LISTED_MAX: usize = 10;

/// The paths of the fields that differ, at most eleven, the last one saying how many more there are.
pub fn differences(file: &Map<String, Value>, running: &Value, released: &[&ContainerName]) -> Vec<String> {
    let mut found = Vec::new();
    let without = |map: &Map<String, Value>| {
        let mut kept = map.clone();
        // In what Amazon ECS returns and in no file, or of no meaning for what runs.
        kept.retain(|field, _| field != "tags" && !TASK_DEFINITION_RESPONSE_ONLY.contains(&field.as_str()));
        replaced(&mut kept, released);
        Value::Object(kept)
    };
    let running = running.as_object().map(&without).unwrap_or_default();
    compare("", &without(file), &running, &mut found);
    let more = found.len().saturating_sub(LISTED_MAX);
    found.truncate(LISTED_MAX);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    found
}

/// The images that may differ.
fn replaced(document: &mut Map<String, Value>, released: &[&ContainerName]) {
    let containers = document.get_mut("containerDefinitions").and_then(Value::as_array_mut);
    for found in containers
        .into_iter()
        .flatten()
        .filter(|found| released.iter().any(|name| found["name"] == name.as_str()))
    {
        found["image"] = "the image".into();
    }
}

fn compare(path: &str, file: &Value, running: &Value, found: &mut Vec<String>) {
    match (file, running) {
        (Value::Object(file), Value::Object(running)) => {
            for (field, wanted) in file {
                compare(&at(path, field), wanted, running.get(field).unwrap_or(&Value::Null), found);
            }
            let extra = running.iter().filter(|(field, _)| !file.contains_key(*field));
            for (field, value) in extra.filter(|(field, value)| is_left_out(path, field, value)) {
                compare(&at(path, field), &Value::Null, value, found);
            }
        }
        (Value::Array(file), Value::Array(running)) => lists(path, file, running, found),
        (file, running) if same(file, running) => {}
        _ => found.push(path.to_owned()),
    }
}

/// Things that have names are compared by name: Amazon ECS returns them in another order than they were given.
fn lists(path: &str, file: &[Value], running: &[Value], found: &mut Vec<String>) {
    let named = |list: &[Value]| list.iter().all(|item| item["name"].is_string());
    if named(file) && named(running) {
        for item in file {
            let of_it = running.iter().find(|other| other["name"] == item["name"]).unwrap_or(&Value::Null);
            compare(&format!("{path}[{}]", text(&item["name"])), item, of_it, found);
        }
        let gone = running.iter().filter(|item| !file.iter().any(|other| other["name"] == item["name"]));
        found.extend(gone.map(|item| format!("{path}[{}]", text(&item["name"]))));
    } else if file.len() == running.len() {
        for (index, (file, running)) in file.iter().zip(running).enumerate() {
            compare(&format!("{path}[{index}]"), file, running, found);
        }
    } else {
        found.push(path.to_owned());
    }
}

/// Nothing, empty, zero and false are the same; so are a number and the same number as text (`cpu`).
fn same(file: &Value, running: &Value) -> bool {
    (is_nothing(file) && is_nothing(running)) || text(file) == text(running)
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_nothing),
    }
}

/// What a person writes into a task definition or a container, and Amazon ECS never does by itself: a file without it means to do
/// without it.
const WRITTEN: &[&str] = &[
    "command",
    "containerDefinitions",
    "cpu",
    "credentialSpecs",
    "dependsOn",
    "dnsSearchDomains",
    "dnsServers",
    "dockerLabels",
    "dockerSecurityOptions",
    "entryPoint",
    "environment",
    "environmentFiles",
    "ephemeralStorage",
    "executionRoleArn",
    "extraHosts",
    "firelensConfiguration",
    "healthCheck",
    "hostname",
    "inferenceAccelerators",
    "links",
    "linuxParameters",
    "logConfiguration",
    "memory",
    "memoryReservation",
    "mountPoints",
    "placementConstraints",
    "portMappings",
    "proxyConfiguration",
    "repositoryCredentials",
    "requiresCompatibilities",
    "resourceRequirements",
    "restartPolicy",
    "runtimePlatform",
    "secrets",
    "systemControls",
    "taskRoleArn",
    "ulimits",
    "user",
    "volumes",
    "volumesFrom",
    "workingDirectory",
];
/// Maps whose fields are all a person's own.
const MAPS: &[&str] = &["dockerLabels", "driverOpts", "labels", "options"];

/// Whether a field that only the running side has was left out on purpose. What Amazon ECS fills in (its defaults, and fields that it
/// learns after this was written) is inside structures that the file has, and no difference.
fn is_left_out(path: &str, field: &str, value: &Value) -> bool {
    if is_nothing(value) {
        return false;
    }
    let last = path.rsplit('.').next().unwrap_or(path);
    // The document itself, or one of its containers.
    let is_outer = path.is_empty() || last.starts_with("containerDefinitions[");
    if is_outer { WRITTEN.contains(&field) } else { MAPS.contains(&last) }
}

fn at(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn running() -> Value {
        json!({
            "taskDefinitionArn": "arn:aws:ecs:eu-central-1:111122223333:task-definition/web:7", "revision": 7, "status": "ACTIVE",
            "family": "web", "networkMode": "awsvpc", "cpu": "256", "memory": "512", "volumes": [], "placementConstraints": [],
            "requiresCompatibilities": ["FARGATE"], "compatibilities": ["EC2", "FARGATE"],
            "containerDefinitions": [
                {"name": "app", "image": "old", "cpu": 0, "essential": true, "mountPoints": [], "volumesFrom": [], "systemControls": [],
                 "portMappings": [{"containerPort": 8080, "hostPort": 8080, "protocol": "tcp"}],
                 "environment": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]},
                {"name": "log", "image": "fluent:1", "cpu": 0, "essential": false, "environment": []}
            ]
        })
    }

    fn file() -> Value {
        json!({
            "family": "web", "networkMode": "awsvpc", "cpu": 256, "memory": "512", "requiresCompatibilities": ["FARGATE"],
            "containerDefinitions": [
                {"name": "app", "image": "<IMAGE1_NAME>", "portMappings": [{"containerPort": 8080}],
                 "environment": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
                {"name": "log", "image": "fluent:1", "essential": false}
            ]
        })
    }

    fn check(change: impl FnOnce(&mut Value), expected: &[&str]) {
        let mut file = file();
        change(&mut file);
        let container = ContainerName::new("app").unwrap();
        assert_eq!(differences(file.as_object().unwrap(), &running(), &[&container]), expected);
    }

    #[test]
    fn the_same_with_another_image_does_not_differ() {
        check(|_| {}, &[]);
        check(|file| file["tags"] = json!([{"key": "a", "value": "b"}]), &[]);
        check(|file| file["volumes"] = json!([]), &[]);
    }

    #[test]
    fn whatever_else_differs_is_named() {
        check(|file| file["memory"] = "1024".into(), &["memory"]);
        check(|file| file["taskRoleArn"] = "arn:x".into(), &["taskRoleArn"]);
        check(
            |file| file["containerDefinitions"][0]["environment"][0]["value"] = "9".into(),
            &["containerDefinitions[app].environment[A].value"],
        );
        check(
            |file| file["containerDefinitions"][1]["image"] = "fluent:2".into(),
            &["containerDefinitions[log].image"],
        );
        check(
            |file| file["containerDefinitions"][0]["portMappings"][0]["containerPort"] = 9090.into(),
            &[
                "containerDefinitions[app].portMappings[0].containerPort",
                // The running one's host port is no default for that port any more, but it was for its own.
            ],
        );
        check(
            |file| file["containerDefinitions"] = json!([]),
            &["containerDefinitions[app]", "containerDefinitions[log]"],
        );
        check(
            |file| {
                for index in 0..14 {
                    file[format!("new{index:02}")] = 1.into();
                }
            },
            &[
                "new00",
                "new01",
                "new02",
                "new03",
                "new04",
                "new05",
                "new06",
                "new07",
                "new08",
                "new09",
                "and 4 more",
            ],
        );
    }

    /// What DescribeTaskDefinition answers although nobody registered it.
    #[test]
    fn what_ecs_fills_in_or_learns_later_is_no_difference() {
        let mut running = running();
        let app = &mut running["containerDefinitions"][0];
        app["healthCheck"] = json!({"command": ["CMD", "true"], "interval": 30, "timeout": 5, "retries": 3});
        app["startupProfile"] = json!({"kind": "not yet invented"});
        app["portMappings"][0]["appProtocol"] = "http".into();
        app["logConfiguration"] =
            json!({"logDriver": "awslogs", "options": {"awslogs-group": "g", "mode": "non-blocking"}});
        running["volumes"] = json!([{"name": "data", "efsVolumeConfiguration": {"fileSystemId": "fs-1", "rootDirectory": "/"}}]);
        running["newFeature"] = "ENABLED".into();
        running["enableFaultInjection"] = false.into();
        let mut file = file();
        let app = &mut file["containerDefinitions"][0];
        app["healthCheck"] = json!({"command": ["CMD", "true"]});
        app["logConfiguration"] = json!({"logDriver": "awslogs", "options": {"awslogs-group": "g"}});
        file["volumes"] = json!([{"name": "data", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]);
        let container = ContainerName::new("app").unwrap();
        // An option is a person's own, so leaving it out means something.
        let expected = ["containerDefinitions[app].logConfiguration.options.mode"];
        assert_eq!(differences(file.as_object().unwrap(), &running, &[&container]), expected);
        file["containerDefinitions"][0]["logConfiguration"]["options"]["mode"] = "non-blocking".into();
        assert_eq!(differences(file.as_object().unwrap(), &running, &[&container]), [""; 0]);
        // What both have is compared, deep down too.
        file["containerDefinitions"][0]["healthCheck"]["interval"] = 10.into();
        assert_eq!(
            differences(file.as_object().unwrap(), &running, &[&container]),
            ["containerDefinitions[app].healthCheck.interval"]
        );
    }

    #[test]
    fn what_the_file_leaves_out_would_be_lost_and_is_named() {
        check(
            |file| {
                file.as_object_mut().unwrap().remove("memory");
            },
            &["memory"],
        );
        check(
            |file| {
                file["containerDefinitions"][0].as_object_mut().unwrap().remove("environment");
            },
            &["containerDefinitions[app].environment"],
        );
    }
}
