//! Which image a task runs: what its tag meant when its revision was resolved, or what it means when the task starts.

use serde_json::{Value, json};

use super::{Lab, definition, service};

impl Lab {
    /// From now on the tag means this version.
    fn tag(&self, tag: &str, version: &str) {
        self.fakes.tags.lock().unwrap().insert(tag.into(), version.into());
    }

    /// A steady rolling service of tag `latest`, which means `v1`.
    fn tagged(&self, consistency: &str) {
        self.tag("latest", "v1");
        let mut described = definition("latest");
        described["containerDefinitions"][0]["versionConsistency"] = consistency.into();
        self.call("RegisterTaskDefinition", described);
        self.call("CreateService", service(json!({})));
        self.until("steady", |lab| lab.statuses() == ["SUCCESSFUL"]);
    }

    fn replace_one(&self, version: &str) {
        self.fakes.kill_one(version);
        self.pass(10);
    }

    /// The digests of the service's tasks, and of its revision.
    fn digests(&self) -> (Vec<Value>, Value) {
        let listed = self.call("ListTasks", json!({"cluster": "prod", "serviceName": "shop"}));
        let tasks = self.call("DescribeTasks", json!({"cluster": "prod", "tasks": listed["taskArns"]}));
        let of_tasks = tasks["tasks"].as_array().unwrap().iter();
        let arn = self.describe()["currentServiceRevisions"][0]["arn"].clone();
        let revisions = self.call("DescribeServiceRevisions", json!({"serviceRevisionArns": [arn]}));
        let of_revision = revisions["serviceRevisions"][0]["containerImages"][0]["imageDigest"].clone();
        (of_tasks.map(|task| task["containers"][0]["imageDigest"].clone()).collect(), of_revision)
    }
}

#[test]
fn a_tag_is_resolved_once_for_a_revision_and_again_by_the_next_deployment() {
    let lab = Lab::new();
    lab.tagged("enabled");
    lab.tag("latest", "v2");
    lab.replace_one("v1");
    assert_eq!(lab.versions(), [("v1".into(), 2)]);
    let first = json!("sha256:digest-of-v1");
    assert_eq!(lab.digests(), (vec![first.clone(), first.clone()], first));
    let again = json!({"cluster": "prod", "service": "shop", "forceNewDeployment": true});
    lab.call("UpdateService", again);
    lab.until("again", |lab| lab.statuses()[0] == "SUCCESSFUL");
    assert_eq!(lab.versions(), [("v2".into(), 2)], "the same task definition brings another image");
}

#[test]
fn without_version_consistency_every_task_asks_the_tag_and_the_revision_tells_no_digest() {
    let lab = Lab::new();
    lab.tagged("disabled");
    lab.tag("latest", "v2");
    lab.replace_one("v1");
    assert_eq!(lab.versions(), [("v1".into(), 1), ("v2".into(), 1)]);
    let (tasks, revision) = lab.digests();
    assert_eq!(revision, Value::Null);
    assert_eq!(tasks, ["sha256:digest-of-v1", "sha256:digest-of-v2"]);
}

#[test]
fn an_image_that_was_deleted_starts_no_task_even_of_a_revision_that_was_resolved() {
    let lab = Lab::new();
    lab.tagged("enabled");
    lab.fakes.deleted.lock().unwrap().insert("v1".into());
    lab.replace_one("v1");
    assert_eq!(lab.versions(), [("v1".into(), 1)]);
    let log = lab.describe()["events"].to_string();
    assert!(log.contains("CannotPullContainerError"), "{log}");
}

#[test]
fn a_container_from_elsewhere_has_the_digest_of_what_it_is_called() {
    let lab = Lab::new();
    let mut described = definition("v1");
    let sidecars = [
        json!({"name": "envoy", "image": "public.ecr.aws/x/envoy:2"}),
        json!({"name": "log", "image": "fluent@sha256:1"}),
    ];
    described["containerDefinitions"].as_array_mut().unwrap().extend(sidecars);
    lab.call("RegisterTaskDefinition", described);
    lab.call("CreateService", service(json!({})));
    lab.until("steady", |lab| lab.statuses() == ["SUCCESSFUL"]);
    let arn = lab.describe()["currentServiceRevisions"][0]["arn"].clone();
    let revisions = lab.call("DescribeServiceRevisions", json!({"serviceRevisionArns": [arn]}));
    let images = &revisions["serviceRevisions"][0]["containerImages"];
    assert!(images[1]["imageDigest"].as_str().unwrap().len() > 60, "{images}");
    assert_eq!(images[2]["imageDigest"], "sha256:1");
}
