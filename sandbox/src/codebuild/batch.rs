//! A batch build as a state machine: it reads what its buildspec wants built, starts one build after the other or side by side, and
//! ends as they do. Time comes from outside; the builds are started and stopped by whoever steps it.
//!
//! <https://docs.aws.amazon.com/codebuild/latest/userguide/batch-build.html>

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::course::{Course, Status};

/// The build that reads the batch's buildspec out of its source. It is one of the batch's builds, and makes nothing.
pub(super) const SOURCE: &str = "DOWNLOAD_SOURCE";

/// `batch` of a buildspec. Matrices and fan-outs are not played: they come down to lists.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Spec {
    #[serde(default)]
    fast_fail: bool,
    #[serde(default)]
    build_graph: Vec<Task>,
    #[serde(default)]
    build_list: Vec<Task>,
}

/// One build of a batch.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Task {
    pub(super) identifier: String,
    /// The script of this build; that of the batch when not given.
    pub(super) buildspec: Option<Value>,
    #[serde(default)]
    depend_on: Vec<String>,
    #[serde(default)]
    ignore_failure: bool,
    #[serde(default)]
    pub(super) env: Env,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Env {
    pub(super) variables: BTreeMap<String, String>,
}

impl Spec {
    /// What it wants built.
    ///
    /// # Errors
    /// What is wrong with it.
    fn tasks(&self) -> Result<&[Task], String> {
        let tasks = match (self.build_graph.as_slice(), self.build_list.as_slice()) {
            (tasks, []) | ([], tasks) if !tasks.is_empty() => tasks,
            ([], []) => return Err("batch has no builds: give it a build-list or a build-graph".into()),
            _ => return Err("batch has a build-list and a build-graph, expected one of them".into()),
        };
        if let Some(task) = self.build_list.iter().find(|task| !task.depend_on.is_empty()) {
            return Err(format!("{} is in a build-list and depends on others", task.identifier));
        }
        let names: BTreeSet<&str> = tasks.iter().map(|task| task.identifier.as_str()).collect();
        if names.len() < tasks.len() || names.contains(SOURCE) {
            return Err("identifiers of builds are not unique".into());
        }
        // Whatever can be built in some order is taken away, until nothing is left or nothing can be.
        let mut built = BTreeSet::new();
        while built.len() < tasks.len() {
            let ready = |task: &&Task| {
                !built.contains(task.identifier.as_str())
                    && task.depend_on.iter().all(|name| built.contains(name.as_str()))
            };
            let Some(next) = tasks.iter().find(ready) else {
                return Err("depend-on names no build of the batch, or builds wait for each other".into());
            };
            built.insert(next.identifier.as_str());
        }
        Ok(tasks)
    }
}

/// `phaseType` of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum BatchPhase {
    Submitted,
    DownloadBatchspec,
    InProgress,
    CombineArtifacts,
    Succeeded,
    Failed,
    Stopped,
}

impl BatchPhase {
    /// Whether it is an end rather than a time.
    pub(super) fn is_end(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Stopped => true,
            Self::Submitted | Self::DownloadBatchspec | Self::InProgress | Self::CombineArtifacts => false,
        }
    }
}

/// A build of the batch, from before it runs.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) task: Task,
    pub(super) run: Option<Run>,
}

#[derive(Debug, Clone)]
pub(super) struct Run {
    /// `project:uuid`.
    pub(super) build: String,
    pub(super) started: Timestamp,
    pub(super) status: Status,
}

impl Group {
    pub(super) fn depends_on(&self) -> &[String] {
        &self.task.depend_on
    }

    pub(super) fn ignores_failure(&self) -> bool {
        self.task.ignore_failure
    }

    fn status(&self) -> Option<Status> {
        self.run.as_ref().map(|run| run.status)
    }

    fn runs(&self) -> bool {
        self.status() == Some(Status::InProgress)
    }

    /// Failed, and the batch with it.
    fn failed(&self) -> bool {
        !self.task.ignore_failure
            && self.status().is_some_and(|status| status != Status::InProgress && status != Status::Succeeded)
    }

    /// Over, so that those who depend on it may go on.
    fn done(&self) -> bool {
        self.status().is_some() && !self.runs() && !self.failed()
    }
}

/// With what a batch is started.
#[derive(Debug, Clone)]
pub(super) struct BatchStart {
    pub(super) project: String,
    pub(super) uuid: String,
    pub(super) number: u64,
    pub(super) initiator: String,
    pub(super) source_version: Option<String>,
    pub(super) source: Value,
    pub(super) environment: Value,
    pub(super) service_role: Value,
    /// `buildBatchConfig` with the overrides in it.
    pub(super) config: Value,
    pub(super) timeout_minutes: i64,
    pub(super) deadline: Timestamp,
    /// The request, for the builds.
    pub(super) request: Value,
    /// What is to be built, or why it cannot be read.
    pub(super) spec: Result<Spec, String>,
}

/// A batch.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) start: BatchStart,
    pub(super) course: Course<BatchPhase>,
    pub(super) groups: Vec<Group>,
}

/// What is to happen next with the builds of a batch.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Turn {
    /// The identifiers of those to start; [`Batch::is_started`] is told of each.
    pub(super) start: Vec<String>,
    /// The ids of those to stop.
    pub(super) stop: Vec<String>,
}

impl Batch {
    /// A batch that was submitted just now.
    pub(super) fn new(start: BatchStart, now: Timestamp) -> Self {
        let source = Task {
            identifier: SOURCE.to_owned(),
            buildspec: None,
            depend_on: Vec::new(),
            ignore_failure: false,
            env: Env::default(),
        };
        let course = Course::new(&start.project, &start.uuid, BatchPhase::Submitted, now);
        Self { start, course, groups: vec![Group { task: source, run: None }] }
    }

    /// The phase it is in.
    pub(super) fn phase(&self) -> BatchPhase {
        self.course.phases.last().map_or(BatchPhase::Submitted, |record| record.phase)
    }

    /// What is wrong with what it is to build, if anything.
    pub(super) fn problem(&self) -> Option<String> {
        let tasks = self.start.spec.as_ref().map_err(String::clone).and_then(Spec::tasks);
        let allowed = self.start.config["restrictions"]["maximumBuildsAllowed"].as_u64().unwrap_or(100);
        match tasks {
            Err(problem) => Some(problem),
            Ok(tasks) if tasks.len() as u64 > allowed => {
                Some(format!("the batch has {} builds, and the project allows {allowed}", tasks.len()))
            }
            Ok(_) => None,
        }
    }

    /// A build of it was started.
    pub(super) fn is_started(&mut self, identifier: &str, build: String, now: Timestamp) {
        if let Some(group) = self.groups.iter_mut().find(|group| group.task.identifier == identifier) {
            group.run = Some(Run { build, started: now, status: Status::InProgress });
        }
    }

    /// Moves on as its builds did.
    pub(super) fn step(&mut self, status_of: impl Fn(&str) -> Option<Status>, now: Timestamp) -> Turn {
        if self.course.is_complete() {
            return Turn::default();
        }
        for run in self.groups.iter_mut().filter_map(|group| group.run.as_mut()) {
            run.status = status_of(&run.build).unwrap_or(Status::Fault);
        }
        if now >= self.start.deadline {
            return self.give_up(Status::TimedOut, now);
        }
        match self.phase() {
            BatchPhase::Submitted => {
                self.course.close(Status::Succeeded, None, now);
                self.course.enter(BatchPhase::DownloadBatchspec, now);
                Turn { start: vec![SOURCE.to_owned()], stop: Vec::new() }
            }
            BatchPhase::DownloadBatchspec => self.read_spec(now),
            BatchPhase::InProgress => self.go_on(now),
            BatchPhase::CombineArtifacts => self.end(Status::Succeeded, now),
            BatchPhase::Succeeded | BatchPhase::Failed | BatchPhase::Stopped => Turn::default(),
        }
    }

    /// Someone stops it, or its time is over.
    pub(super) fn give_up(&mut self, status: Status, now: Timestamp) -> Turn {
        if self.course.is_complete() {
            return Turn::default();
        }
        let stop = self.groups.iter().filter(|group| group.runs()).filter_map(|group| group.run.as_ref());
        let stop = stop.map(|run| run.build.clone()).collect();
        self.course.close(status, None, now);
        self.complete(status, now);
        Turn { start: Vec::new(), stop }
    }

    fn read_spec(&mut self, now: Timestamp) -> Turn {
        match self.groups.first().and_then(Group::status) {
            None | Some(Status::InProgress) => Turn::default(),
            Some(Status::Succeeded) => {
                let tasks = self.start.spec.as_ref().ok().and_then(|spec| spec.tasks().ok());
                let tasks = tasks.unwrap_or_default().to_vec();
                self.groups.extend(tasks.into_iter().map(|task| Group { task, run: None }));
                self.course.close(Status::Succeeded, None, now);
                self.course.enter(BatchPhase::InProgress, now);
                self.go_on(now)
            }
            Some(Status::Failed | Status::Fault | Status::TimedOut | Status::Stopped) => {
                let problem = self.problem().unwrap_or_else(|| format!("{SOURCE} did not succeed"));
                self.course.close(Status::Failed, Some(("YAML_FILE_ERROR".to_owned(), problem)), now);
                self.complete(Status::Failed, now);
                Turn::default()
            }
        }
    }

    fn go_on(&mut self, now: Timestamp) -> Turn {
        let failed = self.groups.iter().any(Group::failed);
        let fast = self.start.spec.as_ref().is_ok_and(|spec| spec.fast_fail);
        let done =
            |name: &String| self.groups.iter().any(|group| group.task.identifier == *name && group.done());
        let ready = self.groups.iter().filter(|group| group.run.is_none());
        let ready = ready.filter(|group| group.task.depend_on.iter().all(done));
        let start: Vec<String> = match failed && fast {
            true => Vec::new(),
            false => ready.map(|group| group.task.identifier.clone()).collect(),
        };
        let running = self.groups.iter().filter(|group| group.runs()).filter_map(|group| group.run.as_ref());
        let running: Vec<String> = running.map(|run| run.build.clone()).collect();
        if failed && fast && !running.is_empty() {
            return Turn { start, stop: running };
        }
        // What waits for one that failed is never started.
        if !running.is_empty() || !start.is_empty() {
            return Turn { start, stop: Vec::new() };
        }
        if failed {
            return self.end(Status::Failed, now);
        }
        if self.start.config["combineArtifacts"] == true {
            self.course.close(Status::Succeeded, None, now);
            self.course.enter(BatchPhase::CombineArtifacts, now);
            return Turn::default();
        }
        self.end(Status::Succeeded, now)
    }

    fn end(&mut self, status: Status, now: Timestamp) -> Turn {
        self.course.close(status, None, now);
        self.complete(status, now);
        Turn::default()
    }

    fn complete(&mut self, status: Status, now: Timestamp) {
        // A batch has three ends; one whose time was over is among those that failed.
        let phase = match status {
            Status::Succeeded => BatchPhase::Succeeded,
            Status::Stopped => BatchPhase::Stopped,
            Status::Failed | Status::Fault | Status::TimedOut | Status::InProgress => BatchPhase::Failed,
        };
        self.course.complete(phase, status, status, now);
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use serde_json::json;

    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(secs)
    }

    /// A batch with the builds it started, all of which one can end.
    struct Lab {
        batch: Batch,
        ends: BTreeMap<String, Status>,
        now: i64,
    }

    impl Lab {
        fn new(batch: Value, config: Value) -> Self {
            let start = BatchStart {
                project: "shop".into(),
                uuid: "b1".into(),
                number: 1,
                initiator: "root".into(),
                source_version: None,
                source: json!({}),
                environment: json!({}),
                service_role: json!("role"),
                config,
                timeout_minutes: 1,
                deadline: at(60),
                request: json!({}),
                spec: serde_json::from_value(batch).map_err(|error| error.to_string()),
            };
            Self { batch: Batch::new(start, at(0)), ends: BTreeMap::new(), now: 0 }
        }

        /// Steps until nothing is started or stopped any more; what was.
        fn pass(&mut self) -> (Vec<String>, Vec<String>) {
            let (mut started, mut stopped) = (Vec::new(), Vec::new());
            for _ in 0..8 {
                let ends = self.ends.clone();
                let turn = self
                    .batch
                    .step(|id| Some(ends.get(id).copied().unwrap_or(Status::InProgress)), at(self.now));
                for identifier in turn.start {
                    self.batch.is_started(&identifier, identifier.clone(), at(self.now));
                    started.push(identifier);
                }
                for id in turn.stop {
                    self.ends.insert(id.clone(), Status::Stopped);
                    stopped.push(id);
                }
            }
            (started, stopped)
        }

        fn end(&mut self, build: &str, status: Status) -> Vec<String> {
            self.ends.insert(build.to_owned(), status);
            self.pass().0
        }

        fn phases(&self) -> Vec<BatchPhase> {
            self.batch.course.phases.iter().map(|record| record.phase).collect()
        }
    }

    fn graph() -> Value {
        json!({"build-graph": [
            {"identifier": "amd64"}, {"identifier": "arm64", "ignore-failure": true},
            {"identifier": "index", "depend-on": ["amd64", "arm64"]},
        ]})
    }

    #[test]
    fn builds_are_started_when_those_they_wait_for_are_done_and_the_batch_ends_with_the_last() {
        let mut lab = Lab::new(graph(), json!({"combineArtifacts": true}));
        assert_eq!(lab.pass().0, [SOURCE]);
        assert_eq!(lab.batch.groups.len(), 1, "what is to be built is not known yet");
        assert_eq!(lab.end(SOURCE, Status::Succeeded), ["amd64", "arm64"]);
        assert!(lab.end("amd64", Status::Succeeded).is_empty());
        assert_eq!(lab.end("arm64", Status::Failed), ["index"], "its failure is ignored");
        assert_eq!(lab.batch.course.announcement(), Some(Status::InProgress));
        lab.end("index", Status::Succeeded);
        assert_eq!(lab.batch.course.status, Status::Succeeded);
        assert_eq!(
            (lab.batch.course.announcement(), lab.batch.course.announcement()),
            (Some(Status::Succeeded), None)
        );
        use BatchPhase::{CombineArtifacts, DownloadBatchspec, InProgress, Submitted, Succeeded};
        assert_eq!(lab.phases(), [Submitted, DownloadBatchspec, InProgress, CombineArtifacts, Succeeded]);
    }

    #[test]
    fn what_waits_for_a_build_that_failed_is_never_started_and_the_batch_fails() {
        let mut lab = Lab::new(graph(), json!({}));
        lab.pass();
        lab.end(SOURCE, Status::Succeeded);
        assert!(lab.end("amd64", Status::Failed).is_empty());
        assert!(!lab.batch.course.is_complete(), "the other one is waited for");
        assert!(lab.end("arm64", Status::Succeeded).is_empty());
        assert_eq!((lab.batch.course.status, lab.batch.phase()), (Status::Failed, BatchPhase::Failed));
        assert!(lab.batch.groups[3].run.is_none());
    }

    #[test]
    fn fast_fail_and_whoever_stops_it_stop_what_runs() {
        let list = json!({"fast-fail": true, "build-list": [{"identifier": "a"}, {"identifier": "b"}]});
        let mut lab = Lab::new(list.clone(), json!({}));
        lab.pass();
        lab.end(SOURCE, Status::Succeeded);
        lab.ends.insert("a".into(), Status::Failed);
        assert_eq!(lab.pass().1, ["b"]);
        assert_eq!(lab.batch.course.status, Status::Failed);

        let mut lab = Lab::new(list.clone(), json!({}));
        lab.pass();
        lab.end(SOURCE, Status::Succeeded);
        assert_eq!(lab.batch.give_up(Status::Stopped, at(1)).stop, ["a", "b"]);
        assert_eq!((lab.batch.course.status, lab.batch.phase()), (Status::Stopped, BatchPhase::Stopped));

        let mut lab = Lab::new(list, json!({}));
        lab.pass();
        lab.end(SOURCE, Status::Succeeded);
        lab.now = 60;
        assert_eq!(lab.pass().1, ["a", "b"]);
        assert_eq!((lab.batch.course.status, lab.batch.phase()), (Status::TimedOut, BatchPhase::Failed));
    }

    #[test]
    fn what_cannot_be_built_fails_while_it_is_read() {
        let one = json!([{"identifier": "a"}]);
        for (spec, config, problem) in [
            (json!({}), json!({}), "no builds"),
            (json!({"build-matrix": {}}), json!({}), "unknown field"),
            (json!({"build-list": one, "build-graph": one}), json!({}), "one of them"),
            (json!({"build-list": [{"identifier": "a"}, {"identifier": "a"}]}), json!({}), "not unique"),
            (json!({"build-list": [{"identifier": SOURCE}]}), json!({}), "not unique"),
            (
                json!({"build-list": [{"identifier": "a", "depend-on": ["b"]}]}),
                json!({}),
                "depends on others",
            ),
            (json!({"build-graph": [{"identifier": "a", "depend-on": ["b"]}]}), json!({}), "names no build"),
            (
                json!({"build-graph": [
                    {"identifier": "a", "depend-on": ["b"]}, {"identifier": "b", "depend-on": ["a"]}]}),
                json!({}),
                "wait for each other",
            ),
            (
                json!({"build-list": [{"identifier": "a"}, {"identifier": "b"}]}),
                json!({"restrictions": {"maximumBuildsAllowed": 1}}),
                "allows 1",
            ),
        ] {
            let mut lab = Lab::new(spec.clone(), config);
            let found = lab.batch.problem().unwrap_or_default();
            assert!(found.contains(problem), "{spec}: {found}");
            lab.pass();
            lab.end(SOURCE, Status::Failed);
            assert_eq!(lab.batch.course.status, Status::Failed, "{spec}");
        }
        assert_eq!(Lab::new(graph(), json!({})).batch.problem(), None);
    }
}
