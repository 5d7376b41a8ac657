//! Ledger, AWS, queue and clock in one place, and the handle callers reach them by.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use jiff::{SignedDuration, Timestamp};
use tidegate_core::effect::{CALL_LIMIT, Effect, Invite};
use tidegate_core::ids::Target;
use tidegate_core::ids::{AlarmName, Digest, ReleaseId, RepositoryName, Tag};
use tidegate_core::vocab::cloudwatch::AlarmSeen;
use tidegate_core::vocab::tasks::StoppedTask;
use tidegate_runtime::together::Together;
use tidegate_runtime::{Context, Installation};

use super::aws::{Aws, Balancing, EcsHabits};
use super::conditions::{Conditions, Fault, Faults};
use super::herald::Post;
use super::ledger::Rows;
use super::ports::Port;
use crate::names;

/// Something that wakes a function.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// A message of the wake queue.
    Wake(ReleaseId),
    /// An alarm changed its state.
    Alarm(AlarmName, AlarmSeen),
    /// Something happened to the ECS service.
    Service(String),
    /// A task failed.
    Task(Box<StoppedTask>),
    /// An image was pushed.
    Push(Digest, Tag, Timestamp),
    /// The clock's schedule.
    Round,
    /// Something happened to a release, or somebody could not be told of it.
    Moved(ReleaseId),
}

/// Who calls.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The invocation.
    pub id: u64,
    /// For traces: `conductor-12`.
    pub name: String,
}

/// An effect that was performed.
#[derive(Debug, Clone)]
pub struct Performed {
    /// Who performed it.
    pub by: Caller,
    /// When the executor began.
    pub begun: Timestamp,
    /// When it took effect.
    pub applied: Timestamp,
    /// Where.
    pub place: Target,
    /// What.
    pub effect: Effect,
    /// For which release: the one the executor wrote last.
    pub release: Option<ReleaseId>,
}

/// How often the SDK sends a request in all.
const SDK_TRIES: u32 = 4;

/// Everything there is.
#[derive(Debug)]
pub struct State {
    /// The time.
    pub now: Timestamp,
    /// AWS, as far as it is about the first service.
    pub aws: Aws,
    /// The same for each other service that has one of its own, by its name.
    pub neighbours: BTreeMap<String, Aws>,
    /// The ledger.
    pub rows: Rows,
    /// How the world treats its callers.
    pub conditions: Conditions,
    /// Messages sent to the wake queue, with the time they come out of it.
    pub queue: Vec<(Timestamp, Delivery)>,
    /// Callers that died.
    pub crashed: Vec<u64>,
    /// Effects that were performed.
    pub performed: Vec<Performed>,
    /// Links that were handed over for delivery.
    pub invites: Vec<Invite>,
    /// Who is told of releases.
    pub post: Post,
    /// Builds that were started, and when.
    pub builds: BTreeMap<String, Timestamp>,
    /// What happened, line by line.
    pub trace: Vec<String>,
    /// How many calls were made.
    pub calls: u64,
    /// How many are under way, and how many were at most.
    pub under_way: (u32, u32),
    /// How many transactions were asked for.
    pub commits: u64,
    /// How many of them lost the race for their rows: they are paid for as if they had written.
    pub lost_commits: u64,
    /// How often a version was claimed.
    pub claims: u64,
    /// How often somebody else had claimed it before.
    pub refused_claims: u64,
    rng: fastrand::Rng,
    timers: BTreeMap<(Timestamp, u64), Waker>,
    timer: u64,
    by_hand: bool,
}

/// What becomes of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fate {
    pub(super) before: SignedDuration,
    pub(super) after: SignedDuration,
    pub(super) fault: Option<Fault>,
    pub(super) lag: SignedDuration,
}

impl State {
    /// Writes a line of the trace, and what AWS has to tell before it.
    pub fn trace(&mut self, who: &str, what: &str) {
        let first = self.aws.take_told().into_iter().map(|line| ("aws".to_owned(), line));
        let others = self.neighbours.iter_mut().flat_map(|(service, aws)| {
            aws.take_told().into_iter().map(move |line| (format!("aws {service}"), line))
        });
        let told: Vec<(String, String)> = first.chain(others).collect();
        for (aws, line) in told {
            self.line(&aws, &line);
        }
        self.line(who, what);
    }

    fn line(&mut self, who: &str, what: &str) {
        let since = self.now.duration_since(names::start());
        let (minutes, secs, millis) = (since.as_secs() / 60, since.as_secs() % 60, since.subsec_millis());
        self.trace.push(format!("{minutes:>4}:{secs:02}.{millis:03}  {who:<14} {what}"));
    }

    /// Draws what becomes of a call.
    pub(super) fn fate(&mut self, operation: &str, effect: bool) -> Fate {
        let call = self.calls;
        self.calls += 1;
        let (from, to) = self.conditions.latency;
        let (before, mut after) = (self.millis(from / 2, to / 2), self.millis(from / 2, to / 2));
        let mut before = before;
        let lag = self.millis(0, self.conditions.read_lag);
        let denied = |(name, from, to): &(String, Timestamp, Timestamp)| {
            operation.starts_with(name.as_str()) && *from <= self.now && self.now < *to
        };
        let denied = self.conditions.denied.iter().any(denied);
        let planned = self.conditions.faults.take_planned(operation, self.now);
        let fault = match self.conditions.faults {
            _ if denied => Some(Fault::Denied),
            Faults::None => None,
            Faults::At { call: at, fault } => (at == call).then_some(fault),
            Faults::Planned(_) => planned,
            Faults::Only { per_mille, fault } => {
                // What changes nothing, or is known by its token, the SDK asks again before its caller hears of it; an effect is sent once.
                let tries = if effect { 1 } else { SDK_TRIES };
                (0..tries).all(|_| self.rng.u32(0..1000) < per_mille).then_some(fault)
            }
            Faults::Random { per_mille } => (self.rng.u32(0..1000) < per_mille).then(|| self.draw()),
        };
        match fault {
            // All calls of an effect share one limit; what has not reached AWS by then never does.
            Some(Fault::StallBefore(stall)) if effect => before = stall.min(CALL_LIMIT),
            Some(Fault::StallBefore(stall)) => before += stall,
            Some(Fault::StallAfter(stall)) => after += stall,
            Some(
                Fault::CrashBefore
                | Fault::CrashAfter
                | Fault::AnswerLost
                | Fault::Throttled
                | Fault::Denied
                | Fault::Unavailable,
            )
            | None => {}
        }
        Fate { before, after, fault, lag }
    }

    fn draw(&mut self) -> Fault {
        let stall = SignedDuration::from_millis(self.rng.i64(500..60_000));
        let short = SignedDuration::from_millis(self.rng.i64(500..5_000));
        match self.rng.u32(0..9) {
            0 => Fault::CrashBefore,
            1 => Fault::CrashAfter,
            2 => Fault::AnswerLost,
            3 => Fault::Throttled,
            4 => Fault::Unavailable,
            5 => Fault::StallBefore(short),
            6 => Fault::StallAfter(stall),
            7 => Fault::StallBefore(stall),
            _ => Fault::StallAfter(short),
        }
    }

    fn millis(&mut self, from: u64, to: u64) -> SignedDuration {
        let drawn = self.rng.u64(from..=to.max(from));
        SignedDuration::from_millis(i64::try_from(drawn).unwrap_or(i64::MAX))
    }

    /// The time of the next timer.
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.timers.keys().next().map(|(at, _)| *at)
    }

    /// Moves the time on, and lets AWS do what is due.
    pub fn advance(&mut self, to: Timestamp) {
        while let Some(next) = self.next_at().filter(|next| *next < to) {
            self.advance_aws(next);
        }
        self.advance_aws(to);
    }

    /// When something happens in AWS by itself.
    pub fn next_at(&self) -> Option<Timestamp> {
        std::iter::once(&self.aws).chain(self.neighbours.values()).filter_map(Aws::next_at).min()
    }

    fn advance_aws(&mut self, to: Timestamp) {
        self.now = self.now.max(to);
        for aws in std::iter::once(&mut self.aws).chain(self.neighbours.values_mut()) {
            aws.advance(self.now);
        }
    }

    /// AWS as far as it is about this service; the first service's for one that has none of its own.
    pub fn aws_of(&self, service: &str) -> &Aws {
        self.neighbours.get(service).unwrap_or(&self.aws)
    }

    /// The same, to change it.
    pub fn aws_of_mut(&mut self, service: &str) -> &mut Aws {
        self.neighbours.get_mut(service).unwrap_or(&mut self.aws)
    }

    /// AWS as far as it is about the service that is built into this repository: its name is the last part.
    pub(super) fn aws_behind(&self, repository: &RepositoryName) -> &Aws {
        let name = repository.as_str();
        self.aws_of(name.rsplit_once('/').map_or(name, |(_, last)| last))
    }

    /// The callers whose timers are due.
    pub fn take_due(&mut self) -> Vec<Waker> {
        let later = self.timers.split_off(&(self.now, u64::MAX));
        std::mem::replace(&mut self.timers, later).into_values().collect()
    }
}

/// The handle.
#[derive(Debug, Clone)]
pub struct Universe {
    state: Arc<Mutex<State>>,
}

impl Universe {
    /// A universe in which time only moves when it is moved, or, `by_hand` false, when a caller waits: then waiting takes no real time.
    pub fn new(aws: Aws, conditions: Conditions, seed: u64, by_hand: bool) -> Self {
        let state = State {
            now: names::start(),
            aws,
            neighbours: BTreeMap::new(),
            rows: Rows::default(),
            conditions,
            queue: Vec::new(),
            crashed: Vec::new(),
            performed: Vec::new(),
            invites: Vec::new(),
            post: Post::default(),
            builds: BTreeMap::new(),
            trace: Vec::new(),
            calls: 0,
            under_way: (0, 0),
            commits: 0,
            lost_commits: 0,
            claims: 0,
            refused_claims: 0,
            rng: fastrand::Rng::with_seed(seed),
            timers: BTreeMap::new(),
            timer: 0,
            by_hand,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// A quiet universe for tests of single steps: no faults, no latency, a load balancer, and waiting that takes no real time.
    pub fn quiet() -> Self {
        Self::behind(Balancing::LoadBalancer)
    }

    /// The same, with what sends the service its requests.
    pub fn behind(balancing: Balancing) -> Self {
        let own =
            serde_json::json!({ "strategy": "ROLLING", "maximumPercent": 200, "minimumHealthyPercent": 100 });
        let aws = Aws::new(balancing, own, EcsHabits::default(), 1);
        Self::new(aws, Conditions::default(), 1, false)
    }

    /// The state. Never held across an await.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ports for one caller; without a waker for what the wake queue itself wakes.
    pub fn context(&self, caller: Caller, with_waker: bool) -> Context {
        let port = Arc::new(Port::new(self.clone(), caller));
        Context {
            installation: Installation {
                account: names::account(),
                region: names::region(),
                ledger: port.clone(),
                waker: with_waker.then(|| port.clone() as _),
                time: port.clone(),
            },
            ecs: port.clone(),
            elb: port.clone(),
            autoscaling: port.clone(),
            lambda: port.clone(),
            alarms: Arc::new(Together::new(port.clone())),
            metrics: port.clone(),
            images: port.clone(),
            messenger: port.clone(),
            builds: port,
        }
    }

    /// Runs one caller to its end, or until it dies, in a universe moved by hand. `None` when it died.
    pub fn run_or_die<T>(&self, id: u64, caller: impl Future<Output = T>) -> Option<T> {
        let mut caller = std::pin::pin!(caller);
        loop {
            if let Poll::Ready(done) =
                caller.as_mut().poll(&mut std::task::Context::from_waker(Waker::noop()))
            {
                return Some(done);
            }
            let due = {
                let mut state = self.state();
                if state.crashed.contains(&id) {
                    return None;
                }
                let next = state.next_timer().expect("the caller waits for a time");
                state.advance(next);
                state.take_due()
            };
            due.into_iter().for_each(Waker::wake);
        }
    }

    /// Runs one caller to its end in a universe moved by hand: the time goes on only when nothing else can.
    ///
    /// # Panics
    ///
    /// When the caller waits for nothing that ever comes.
    pub fn run<T>(&self, caller: impl Future<Output = T>) -> T {
        let mut caller = std::pin::pin!(caller);
        loop {
            if let Poll::Ready(done) =
                caller.as_mut().poll(&mut std::task::Context::from_waker(Waker::noop()))
            {
                return done;
            }
            let due = {
                let mut state = self.state();
                let next = state.next_timer().expect("the caller waits for a time");
                state.advance(next);
                state.take_due()
            };
            due.into_iter().for_each(Waker::wake);
        }
    }

    /// Waits.
    pub(super) async fn sleep(&self, duration: SignedDuration) {
        let until = {
            let mut state = self.state();
            let until = state.now.saturating_add(duration.max(SignedDuration::ZERO)).unwrap_or(state.now);
            if !state.by_hand {
                state.advance(until);
            }
            until
        };
        Sleep { universe: self.clone(), until }.await;
    }
}

struct Sleep {
    universe: Universe,
    until: Timestamp,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<()> {
        let mut state = self.universe.state();
        if state.now >= self.until {
            return Poll::Ready(());
        }
        state.timer += 1;
        let key = (self.until, state.timer);
        state.timers.insert(key, context.waker().clone());
        Poll::Pending
    }
}
