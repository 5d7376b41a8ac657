//! How executions move on. Time is an argument; what touches the world is handed out as [`Effect`]s, whose results come back
//! through `api`. An action that ended between two looks is told of in the look that notices it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::Options;
use super::declaration::{Action, Declaration, Kind};
use super::model::{
    ActionRun, ActionStatus, Artifact, Execution, Job, JobState, Pipeline, Site, StageRun, State, Status,
    Work,
};
use super::render;
use crate::ids::uuid;
use crate::ports::ServiceEvent;

/// Seven days, the default of manual approvals.
const APPROVAL_MINUTES: u32 = 7 * 24 * 60;

/// Something to be done outside.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Effect {
    /// Copies a source's object into the artifact store.
    Fetch { site: Site, role: String, bucket: String, key: String, to: Artifact },
    /// Invokes the function of a job.
    Invoke { job: String },
    /// Publishes an approval's message.
    Publish { role: String, topic: String, message: String },
}

/// What a look at everything came to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) effects: Vec<Effect>,
    pub(super) events: Vec<ServiceEvent>,
}

struct Look<'a> {
    options: &'a Options,
    now: Timestamp,
    jobs: &'a mut BTreeMap<String, Job>,
    out: Outcome,
}

/// Moves everything on as far as time allows.
pub(super) fn tick(state: &mut State, options: &Options, now: Timestamp) -> Outcome {
    let mut look = Look { options, now, jobs: &mut state.jobs, out: Outcome::default() };
    for pipeline in state.pipelines.values_mut() {
        while look.pipeline(pipeline) {}
    }
    look.out
}

/// When something happens by itself next.
pub(super) fn next_wake(state: &State) -> Option<Timestamp> {
    let executions = state.pipelines.values().flat_map(|pipeline| &pipeline.executions);
    let active = executions.filter(|execution| execution.status.is_active());
    let actions =
        active.flat_map(|execution| execution.runs.get(execution.stage)).flat_map(|run| &run.actions);
    let in_progress = actions.filter(|action| action.status == ActionStatus::InProgress);
    let times = in_progress.filter_map(|action| match &action.work {
        Work::None | Work::Source => None,
        Work::PassThrough { until, .. } => Some(*until),
        Work::Approval { expires, .. } => Some(*expires),
        Work::Lambda { job, ends } => match state.jobs.get(job)?.state {
            JobState::Queued(at) | JobState::InProgress(at) => Some(at.min(*ends)),
            JobState::Succeeded | JobState::Failed | JobState::TimedOut => Some(*ends),
        },
    });
    times.min()
}

impl Look<'_> {
    /// Whether anything moved.
    fn pipeline(&mut self, pipeline: &mut Pipeline) -> bool {
        let declaration = pipeline.declaration.clone();
        let mut moved = false;
        for index in 0..pipeline.executions.len() {
            let occupied = is_occupied(&pipeline.executions, index);
            let overtaken = is_overtaken(&pipeline.executions, index);
            let version = pipeline.version;
            let Some(execution) = pipeline.executions.get_mut(index) else { continue };
            if !execution.status.is_active() {
                continue;
            }
            if execution.status == Status::Stopping && !execution.stop_told {
                execution.stop_told = true;
                self.tell(render::pipeline_event(self.options, &declaration, version, execution, self.now));
            }
            moved |= if execution.entered {
                self.stage(&declaration, version, execution)
            } else if execution.status == Status::Stopping {
                self.end(&declaration, version, execution, Status::Stopped)
            } else if !occupied {
                self.enter(&declaration, version, execution)
            } else if overtaken {
                self.end(&declaration, version, execution, Status::Superseded)
            } else {
                false
            };
        }
        moved
    }

    fn enter(&mut self, declaration: &Declaration, version: u32, execution: &mut Execution) -> bool {
        if execution.stage == 0 {
            self.tell(render::pipeline_event(self.options, declaration, version, execution, self.now));
        }
        execution.entered = true;
        let now = self.now;
        let actions = declaration.stages[execution.stage].actions.iter();
        let actions = actions.map(|_| ActionRun::waiting(now)).collect();
        execution.runs.push(StageRun { status: Some(Status::InProgress), actions });
        self.tell_stage(declaration, version, execution, Status::InProgress);
        true
    }

    fn stage(&mut self, declaration: &Declaration, version: u32, execution: &mut Execution) -> bool {
        let mut moved = self.finish_actions(declaration, version, execution);
        let stage = execution.stage;
        let Some(run) = execution.runs.get(stage) else { return moved };
        let any = |status: ActionStatus| run.actions.iter().any(|action| action.status == status);
        if any(ActionStatus::InProgress) {
            // A further action of the same run order cannot appear: all of them start together.
            return moved;
        }
        if any(ActionStatus::Failed) {
            return self.leave(declaration, version, execution, Status::Failed);
        }
        if execution.status == Status::Stopping {
            return self.leave(declaration, version, execution, Status::Stopped);
        }
        let declared = &declaration.stages[stage].actions;
        let left =
            declared.iter().zip(&run.actions).filter(|(_, run)| run.status == ActionStatus::NotStarted);
        let Some(order) = left.map(|(action, _)| action.run_order).min() else {
            return self.leave(declaration, version, execution, Status::Succeeded);
        };
        for (index, action) in declared.iter().enumerate().filter(|(_, action)| action.run_order == order) {
            self.start(declaration, version, execution, index, action);
            moved = true;
        }
        moved
    }

    /// Ends actions whose time is over, dispatches jobs that are due, and tells of all that ended since the last look.
    fn finish_actions(&mut self, declaration: &Declaration, version: u32, execution: &mut Execution) -> bool {
        let stage = execution.stage;
        let Some(run) = execution.runs.get_mut(stage) else { return false };
        let mut ended = Vec::new();
        for (index, action) in run.actions.iter_mut().enumerate() {
            if action.status == ActionStatus::InProgress {
                self.look_after(&declaration.stages[stage].actions[index], action);
            }
            let over = !matches!(action.status, ActionStatus::InProgress | ActionStatus::NotStarted);
            if over && !action.told {
                action.told = true;
                ended.push(index);
                if action.status == ActionStatus::Succeeded {
                    let made = action.outputs.iter().cloned();
                    execution.artifacts.extend(made.map(|artifact| (artifact.name.clone(), artifact)));
                }
            }
        }
        for &index in &ended {
            self.tell_action(declaration, version, execution, index);
        }
        !ended.is_empty()
    }

    /// What time does to an action in progress.
    fn look_after(&mut self, declared: &Action, action: &mut ActionRun) {
        let now = self.now;
        match action.work.clone() {
            Work::None | Work::Source => {}
            Work::PassThrough { until, .. } if now < until => {}
            Work::PassThrough { fails: true, .. } => action.fail("JobFailed", "it failed as configured", now),
            Work::PassThrough { fails: false, .. } => action.succeed(now),
            Work::Approval { expires, .. } if now >= expires => {
                action.fail("JobFailed", "Failed approval: it was not answered in time", now);
            }
            Work::Approval { .. } => {}
            Work::Lambda { job, ends } => self.look_after_job(declared, action, &job, ends),
        }
    }

    fn look_after_job(&mut self, declared: &Action, action: &mut ActionRun, job: &str, ends: Timestamp) {
        let now = self.now;
        let Some(job) = self.jobs.get_mut(job) else { return };
        let answer_by = match job.state {
            JobState::Queued(at) if now >= at && now < ends => {
                let by = now + signed(self.options.job_timeout);
                job.state = JobState::InProgress(by);
                self.out.effects.push(Effect::Invoke { job: job.id.clone() });
                by
            }
            JobState::Queued(_) | JobState::Succeeded | JobState::Failed | JobState::TimedOut => ends,
            JobState::InProgress(by) => by.min(ends),
        };
        if now >= answer_by {
            job.state = JobState::TimedOut;
            let function = match &declared.kind {
                Kind::Lambda { function } => function.as_str(),
                Kind::S3Source { .. } | Kind::Approval | Kind::PassThrough { .. } => "",
            };
            let message = format!(
                "The AWS Lambda function {function} failed to return a result. Check the function to verify that it has \
                 permission to call the PutJobSuccessResult action and that it made a call to PutJobSuccessResult."
            );
            action.fail("JobFailed", message, now);
        }
    }

    fn start(
        &mut self,
        declaration: &Declaration,
        version: u32,
        execution: &mut Execution,
        index: usize,
        declared: &Action,
    ) {
        let site = Site {
            pipeline: declaration.name.clone(),
            execution: execution.id.clone(),
            stage: execution.stage,
            action: index,
        };
        let outputs: Vec<Artifact> =
            (declared.outputs.iter()).map(|name| new_artifact(declaration, name, self.now)).collect();
        let work = self.begin(declaration, declared, &site, &outputs);
        if let Some(run) = execution.runs.get_mut(site.stage).and_then(|run| run.actions.get_mut(index)) {
            run.status = ActionStatus::InProgress;
            (run.started, run.changed) = (self.now, self.now);
            run.work = work;
            run.outputs = outputs;
        }
        self.tell_action(declaration, version, execution, index);
    }

    fn begin(
        &mut self,
        declaration: &Declaration,
        declared: &Action,
        site: &Site,
        outputs: &[Artifact],
    ) -> Work {
        let now = self.now;
        let role = declared.role_arn.clone().unwrap_or_else(|| declaration.role_arn.clone());
        match &declared.kind {
            Kind::S3Source { bucket, key } => {
                let (bucket, key, site) = (bucket.clone(), key.clone(), site.clone());
                if let Some(to) = outputs.first().cloned() {
                    self.out.effects.push(Effect::Fetch { site, role, bucket, key, to });
                }
                Work::Source
            }
            Kind::PassThrough { secs, fails } => {
                Work::PassThrough { until: now + SignedDuration::from_secs_f64(*secs), fails: *fails }
            }
            Kind::Approval => {
                let minutes = declared.timeout_minutes.unwrap_or(APPROVAL_MINUTES);
                let life = signed(self.options.minute.saturating_mul(minutes));
                let (token, expires) = (uuid(), now + life);
                if let Some(topic) = declared.configuration.get("NotificationArn") {
                    let stage = &declaration.stages[site.stage].name;
                    let asked = render::Asked { pipeline: &declaration.name, stage, action: declared };
                    let message = asked.message(self.options, &token, expires).to_string();
                    self.out.effects.push(Effect::Publish { role, topic: topic.clone(), message });
                }
                Work::Approval { token, expires }
            }
            Kind::Lambda { .. } => {
                let job = queue(self.jobs, site.clone(), None, now);
                Work::Lambda { job, ends: now + signed(self.options.action_timeout) }
            }
        }
    }

    /// Leaves a stage, for the next one or for the end.
    fn leave(
        &mut self,
        declaration: &Declaration,
        version: u32,
        execution: &mut Execution,
        status: Status,
    ) -> bool {
        let stage = execution.stage;
        if let Some(run) = execution.runs.get_mut(stage) {
            run.status = Some(status);
        }
        self.tell_stage(declaration, version, execution, status);
        if status == Status::Succeeded && stage + 1 < declaration.stages.len() {
            execution.stage += 1;
            execution.entered = false;
            return true;
        }
        self.end(declaration, version, execution, status)
    }

    fn end(
        &mut self,
        declaration: &Declaration,
        version: u32,
        execution: &mut Execution,
        status: Status,
    ) -> bool {
        execution.status = status;
        self.tell(render::pipeline_event(self.options, declaration, version, execution, self.now));
        true
    }

    fn tell(&mut self, event: ServiceEvent) {
        self.out.events.push(event);
    }

    fn tell_stage(&mut self, declaration: &Declaration, version: u32, execution: &Execution, status: Status) {
        let event = render::stage_event(self.options, declaration, version, execution, status, self.now);
        self.tell(event);
    }

    fn tell_action(&mut self, declaration: &Declaration, version: u32, execution: &Execution, index: usize) {
        let event = render::action_event(self.options, declaration, version, execution, index, self.now);
        self.tell(event);
    }
}

/// Makes a job that is dispatched at a time, and returns its id.
pub(super) fn queue(
    jobs: &mut BTreeMap<String, Job>,
    site: Site,
    continuation: Option<String>,
    at: Timestamp,
) -> String {
    let id = uuid();
    let job = Job { id: id.clone(), site, state: JobState::Queued(at), continuation };
    jobs.insert(id.clone(), job);
    id
}

pub(super) fn signed(duration: std::time::Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// A place in the artifact store, named as CodePipeline does.
fn new_artifact(declaration: &Declaration, name: &str, now: Timestamp) -> Artifact {
    let short = |text: &str, length: usize| text.chars().take(length).collect::<String>();
    let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(7).collect();
    Artifact {
        name: name.to_owned(),
        bucket: declaration.bucket.clone(),
        key: format!("{}/{}/{random}", short(&declaration.name, 20), short(name, 10)),
        revision: None,
        created: now,
    }
}

/// Whether another execution is in the stage this one is in or waits for.
fn is_occupied(executions: &[Execution], index: usize) -> bool {
    let stage = executions[index].stage;
    let others = executions.iter().enumerate().filter(|(other, _)| *other != index);
    others
        .map(|(_, other)| other)
        .any(|other| other.status.is_active() && other.entered && other.stage == stage)
}

/// Whether a newer execution waits for the same stage.
fn is_overtaken(executions: &[Execution], index: usize) -> bool {
    let stage = executions[index].stage;
    executions[index + 1..]
        .iter()
        .any(|newer| newer.status.is_active() && !newer.entered && newer.stage == stage)
}
