//! One build as a state machine: it moves through CodeBuild's phases as time passes. Time comes from outside, and what
//! touches the world ([`Task`]) is handed out and its result handed back.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::course::{Course, Status};
use super::script::{Artifact, HttpCheck, Script, expand};

/// `phaseType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Phase {
    Submitted,
    Queued,
    Provisioning,
    DownloadSource,
    Install,
    PreBuild,
    Build,
    PostBuild,
    UploadArtifacts,
    Finalizing,
    Completed,
}

impl Phase {
    fn next(self) -> Self {
        match self {
            Self::Submitted => Self::Queued,
            Self::Queued => Self::Provisioning,
            Self::Provisioning => Self::DownloadSource,
            Self::DownloadSource => Self::Install,
            Self::Install => Self::PreBuild,
            Self::PreBuild => Self::Build,
            Self::Build => Self::PostBuild,
            Self::PostBuild => Self::UploadArtifacts,
            Self::UploadArtifacts => Self::Finalizing,
            Self::Finalizing | Self::Completed => Self::Completed,
        }
    }

    /// Where a build goes on after a phase failed. After BUILD, POST_BUILD and the upload still run: a failed build may
    /// leave artifacts. <https://docs.aws.amazon.com/codebuild/latest/userguide/view-build-details.html>
    fn next_after_failure(self) -> Self {
        match self {
            Self::Build => Self::PostBuild,
            Self::DownloadSource
            | Self::Install
            | Self::PreBuild
            | Self::PostBuild
            | Self::UploadArtifacts => Self::Finalizing,
            Self::Submitted | Self::Queued | Self::Provisioning | Self::Finalizing | Self::Completed => {
                Self::Completed
            }
        }
    }

    /// The part of the script's time this phase takes.
    fn share(self) -> f64 {
        match self {
            Self::Provisioning => 0.2,
            Self::Build => 0.7,
            Self::PostBuild => 0.1,
            Self::Submitted
            | Self::Queued
            | Self::DownloadSource
            | Self::Install
            | Self::PreBuild
            | Self::UploadArtifacts
            | Self::Finalizing
            | Self::Completed => 0.0,
        }
    }
}

/// Something a build does to the world.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Task {
    /// Makes requests and compares the answers.
    Check(HttpCheck),
    /// Writes files to S3.
    Upload(Upload),
}

/// What is written to S3.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Upload {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) zipped: bool,
    pub(super) files: BTreeMap<String, String>,
}

/// What was written to S3.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stored {
    pub(super) location: String,
    pub(super) md5: String,
    pub(super) sha256: String,
}

/// What a task came to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Done {
    /// Everything was as expected.
    Checked,
    /// The files are there.
    Stored(Stored),
    /// It did not work: the message.
    Failed(String),
}

/// What is to happen next with a build.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Nothing until then.
    Wait(Timestamp),
    /// This; the result goes to [`Build::done`].
    Do(Task),
    /// A task is under way, which has to be done by then.
    Busy(Timestamp),
    /// Nothing any more.
    Over,
}

/// With what a build is started.
#[derive(Debug, Clone)]
pub(super) struct Start {
    pub(super) project: String,
    pub(super) uuid: String,
    pub(super) number: u64,
    pub(super) initiator: String,
    pub(super) source_version: Option<String>,
    pub(super) source: Value,
    pub(super) artifacts: Value,
    /// With the overrides in it.
    pub(super) environment: Value,
    pub(super) service_role: Value,
    pub(super) timeout_minutes: i64,
    /// When the timeout is over.
    pub(super) deadline: Timestamp,
    /// Plain-text environment variables and those CodeBuild sets itself.
    pub(super) variables: BTreeMap<String, String>,
    /// The script, or why it cannot be read.
    pub(super) script: Result<Script, String>,
    /// The ARN of the batch it is a part of.
    pub(super) batch: Option<String>,
}

/// A build.
#[derive(Debug, Clone)]
pub(super) struct Build {
    pub(super) start: Start,
    pub(super) course: Course<Phase>,
    pub(super) exported: BTreeMap<String, String>,
    pub(super) stored: Option<Stored>,
    phase_ends: Timestamp,
    task: Option<Task>,
    busy: bool,
}

impl Build {
    /// A build that was submitted just now.
    pub(super) fn new(start: Start, now: Timestamp) -> Self {
        let course = Course::new(&start.project, &start.uuid, Phase::Submitted, now);
        let mut build = Self {
            start,
            course,
            exported: BTreeMap::new(),
            stored: None,
            phase_ends: now,
            task: None,
            busy: false,
        };
        build.entered(Phase::Submitted, now);
        build
    }

    /// The phase it is in.
    pub(super) fn phase(&self) -> Phase {
        self.course.phases.last().map_or(Phase::Submitted, |record| record.phase)
    }

    /// The source version it really built.
    pub(super) fn revision(&self) -> Option<String> {
        let of_script = self.script().revision.map(|text| expand(&text, &self.start.variables));
        of_script.or_else(|| self.start.source_version.clone())
    }

    /// Moves on as far as time allows.
    pub(super) fn step(&mut self, now: Timestamp) -> Step {
        loop {
            if self.course.is_complete() {
                return Step::Over;
            }
            if now >= self.start.deadline {
                self.end(Status::TimedOut, now);
                return Step::Over;
            }
            if let Some(task) = self.task.take() {
                self.busy = true;
                return Step::Do(task);
            }
            if self.busy {
                return Step::Busy(self.start.deadline);
            }
            if now < self.phase_ends {
                return Step::Wait(self.phase_ends.min(self.start.deadline));
            }
            self.leave(now);
        }
    }

    /// A task is done. It is forgotten when the build ended meanwhile.
    pub(super) fn done(&mut self, done: Done, now: Timestamp) {
        if self.course.is_complete() || !self.busy {
            return;
        }
        self.busy = false;
        match done {
            Done::Checked => {}
            Done::Stored(stored) => self.stored = Some(stored),
            Done::Failed(message) => {
                let code = if self.phase() == Phase::UploadArtifacts {
                    "CLIENT_ERROR"
                } else {
                    "COMMAND_EXECUTION_ERROR"
                };
                self.fail(code, message, now);
            }
        }
    }

    /// Someone stops it. Nothing happens when it ended already.
    pub(super) fn stop(&mut self, now: Timestamp) {
        if !self.course.is_complete() {
            self.end(Status::Stopped, now);
        }
    }

    fn script(&self) -> Script {
        self.start.script.clone().unwrap_or_default()
    }

    fn enter(&mut self, phase: Phase, now: Timestamp) {
        self.course.enter(phase, now);
        self.entered(phase, now);
    }

    /// How long the phase takes, and what is done in it.
    fn entered(&mut self, phase: Phase, now: Timestamp) {
        let script = self.script();
        self.phase_ends = now + SignedDuration::from_secs_f64(script.secs * phase.share());
        self.task = if phase == Phase::Build {
            script.http_check.map(|check| Task::Check(self.expanded(check)))
        } else if phase == Phase::UploadArtifacts {
            self.upload(script.artifact).map(Task::Upload)
        } else {
            None
        };
    }

    /// The current phase's time is over.
    fn leave(&mut self, now: Timestamp) {
        let (phase, script) = (self.phase(), self.script());
        if let (Phase::DownloadSource, Err(message)) = (phase, &self.start.script) {
            let message = format!("the buildspec is not a script: {message}");
            return self.fail("YAML_FILE_ERROR", message, now);
        }
        if phase == Phase::Finalizing {
            let failed = self.course.phases.iter().any(|record| record.status == Status::Failed);
            return self.end(if failed { Status::Failed } else { Status::Succeeded }, now);
        }
        if phase == script.failed_phase && script.status != Status::Succeeded {
            if script.status != Status::Failed {
                return self.end(script.status, now);
            }
            let message = "Error while executing command: make. Reason: exit status 1".to_owned();
            return self.fail("COMMAND_EXECUTION_ERROR", message, now);
        }
        if phase == Phase::PostBuild {
            let expanded = script.exported.iter();
            self.exported =
                expanded.map(|(name, value)| (name.clone(), expand(value, &self.start.variables))).collect();
        }
        self.course.close(Status::Succeeded, None, now);
        self.enter(phase.next(), now);
    }

    fn fail(&mut self, code: &str, message: String, now: Timestamp) {
        let next = self.phase().next_after_failure();
        self.course.close(Status::Failed, Some((code.to_owned(), message)), now);
        if next == Phase::Completed { self.complete(Status::Failed, now) } else { self.enter(next, now) }
    }

    /// The end, wherever the build is. A phase that ran to its end keeps that.
    fn end(&mut self, status: Status, now: Timestamp) {
        let of_phase = if status == Status::Failed { Status::Succeeded } else { status };
        self.course.close(of_phase, None, now);
        self.complete(status, now);
    }

    fn complete(&mut self, status: Status, now: Timestamp) {
        self.course.complete(Phase::Completed, Status::Succeeded, status, now);
        self.task = None;
        self.busy = false;
    }

    fn expanded(&self, check: HttpCheck) -> HttpCheck {
        let expand = |text: String| expand(&text, &self.start.variables);
        HttpCheck {
            url: expand(check.url),
            headers: check.headers.into_iter().map(|(name, value)| (name, expand(value))).collect(),
            expect_version: check.expect_version.map(expand),
            expect_body: check.expect_body.map(expand),
            ..check
        }
    }

    /// Where the files go: what the script says, or what the project says.
    fn upload(&self, artifact: Option<Artifact>) -> Option<Upload> {
        let artifact = artifact?;
        let of_project = |member: &str| self.start.artifacts[member].as_str().filter(|text| !text.is_empty());
        let bucket = artifact.bucket.or_else(|| {
            of_project("location").map(|location| location.trim_start_matches("arn:aws:s3:::").to_owned())
        })?;
        let key = artifact.key.unwrap_or_else(|| {
            let id = (of_project("namespaceType") == Some("BUILD_ID")).then_some(self.start.uuid.as_str());
            let name = of_project("name").unwrap_or(&self.start.project);
            let path = of_project("path").map(|path| path.trim_matches('/'));
            [path, id, Some(name)].into_iter().flatten().collect::<Vec<_>>().join("/")
        });
        let files = artifact.files.into_iter().map(|(name, content)| {
            let text = content.as_str().map_or_else(|| content.to_string(), str::to_owned);
            (name, expand(&text, &self.start.variables))
        });
        Some(Upload {
            bucket,
            key: expand(&key, &self.start.variables),
            zipped: of_project("packaging") != Some("NONE"),
            files: files.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(secs: f64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs_f64(secs)
    }

    fn build(script: Value) -> Build {
        let start = Start {
            project: "shop".into(),
            uuid: "1".into(),
            number: 7,
            initiator: "root".into(),
            source_version: Some("abc".into()),
            source: json!({}),
            artifacts: json!({"type": "S3", "location": "out", "path": "/builds/", "name": "shop.zip", "packaging": "ZIP"}),
            environment: json!({}),
            service_role: json!("arn:aws:iam::1:role/build"),
            timeout_minutes: 1,
            deadline: at(60.0),
            variables: BTreeMap::from([("URL".to_owned(), "http://candidate".to_owned())]),
            script: Script::of(&script.to_string(), ""),
            batch: None,
        };
        Build::new(start, at(0.0))
    }

    fn phases(build: &Build) -> Vec<(Phase, Status)> {
        build.course.phases.iter().map(|record| (record.phase, record.status)).collect()
    }

    #[test]
    fn a_build_goes_through_its_phases_as_time_passes() {
        let mut build = build(
            json!({"secs": 10, "exported": {"U": "${URL}"}, "artifact": {"files": {"a": {"b": "${URL}"}}}}),
        );
        assert_eq!(build.course.announcement(), Some(Status::InProgress));
        assert_eq!(build.step(at(0.0)), Step::Wait(at(2.0)));
        assert_eq!(build.phase(), Phase::Provisioning);
        assert_eq!(build.step(at(2.0)), Step::Wait(at(9.0)));
        assert_eq!(build.phase(), Phase::Build);
        assert_eq!(build.step(at(9.0)), Step::Wait(at(10.0)));
        assert!(build.exported.is_empty());
        let Step::Do(Task::Upload(upload)) = build.step(at(10.0)) else { panic!("{build:?}") };
        assert_eq!(
            (upload.bucket.as_str(), upload.key.as_str(), upload.zipped),
            ("out", "builds/shop.zip", true)
        );
        assert_eq!(upload.files["a"], r#"{"b":"http://candidate"}"#);
        assert_eq!(build.step(at(11.0)), Step::Busy(at(60.0)));
        let stored = Stored { location: "x".into(), md5: "m".into(), sha256: "s".into() };
        build.done(Done::Stored(stored.clone()), at(12.0));
        assert_eq!(build.step(at(12.0)), Step::Over);
        assert_eq!(
            (build.course.status, build.course.ended, build.stored.clone()),
            (Status::Succeeded, Some(at(12.0)), Some(stored))
        );
        assert_eq!(build.exported["U"], "http://candidate");
        assert_eq!(build.revision().as_deref(), Some("abc"));
        assert_eq!(
            (build.course.announcement(), build.course.announcement()),
            (Some(Status::Succeeded), None)
        );
        assert!(phases(&build).iter().all(|(_, status)| *status == Status::Succeeded), "{build:?}");
    }

    #[test]
    fn a_failed_check_fails_the_build_and_its_artifacts_are_there_all_the_same() {
        let check =
            json!({"http_check": {"url": "${URL}/", "expect_version": "2"}, "artifact": {"files": {}}});
        let mut build = build(check);
        let Step::Do(Task::Check(check)) = build.step(at(0.0)) else { panic!("{build:?}") };
        assert_eq!(check.url, "http://candidate/");
        build.done(Done::Failed("version 1, expected 2".into()), at(1.0));
        assert!(matches!(build.step(at(1.0)), Step::Do(Task::Upload(_))));
        build.done(Done::Failed("no bucket".into()), at(1.0));
        assert_eq!(build.step(at(1.0)), Step::Over);
        assert_eq!(build.course.status, Status::Failed);
        let failed: Vec<_> =
            build.course.phases.iter().filter(|record| record.status == Status::Failed).collect();
        assert_eq!(
            failed.iter().map(|record| record.phase).collect::<Vec<_>>(),
            [Phase::Build, Phase::UploadArtifacts]
        );
        assert_eq!(failed[0].context.as_ref().unwrap().1, "version 1, expected 2");
    }

    #[test]
    fn it_ends_as_the_script_says_or_when_time_is_up_or_someone_stops_it() {
        for (status, expected) in
            [("FAILED", Status::Failed), ("FAULT", Status::Fault), ("TIMED_OUT", Status::TimedOut)]
        {
            let mut build = build(json!({"status": status, "failed_phase": "PRE_BUILD"}));
            assert_eq!(build.step(at(0.0)), Step::Over);
            assert_eq!(build.course.status, expected);
            assert!(!phases(&build).iter().any(|(phase, _)| *phase == Phase::Build));
        }
        let mut late = build(json!({"secs": 1000}));
        assert_eq!(late.step(at(0.0)), Step::Wait(at(60.0)));
        assert_eq!(late.step(at(60.0)), Step::Over);
        assert_eq!((late.course.status, late.phase()), (Status::TimedOut, Phase::Completed));

        let mut stopped = build(json!({"secs": 10}));
        stopped.step(at(3.0));
        stopped.stop(at(4.0));
        stopped.stop(at(5.0));
        stopped.done(Done::Checked, at(6.0));
        assert_eq!((stopped.course.status, stopped.course.ended), (Status::Stopped, Some(at(4.0))));

        let mut unreadable = build(json!({"no": "script"}));
        assert_eq!(unreadable.step(at(0.0)), Step::Over);
        assert_eq!(unreadable.course.status, Status::Failed);
        let context = unreadable.course.phases.iter().find_map(|record| record.context.clone()).unwrap();
        assert_eq!(context.0, "YAML_FILE_ERROR");
    }
}
