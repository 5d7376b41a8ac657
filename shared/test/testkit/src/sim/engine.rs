//! The machinery: invocations as futures polled in a drawn order, one virtual clock, and everything that wakes a function.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Wake, Waker};

use jiff::{SignedDuration, Timestamp};
use tidegate_core::actor::Actor;
use tidegate_core::admission::ReleaseRequest;
use tidegate_core::change::Change;
use tidegate_core::fault::chain;
use tidegate_core::ids::{AlarmName, EcsServiceName, Image, ReleaseId, RepositoryName, ServiceName};
use tidegate_core::observation::Hint;
use tidegate_core::plan::Stage;
use tidegate_core::ports::Watched;
use tidegate_core::release::Phase;
use tidegate_core::release::state::State as Progressed;
use tidegate_core::requests::Ask;
use tidegate_core::rollback::RollbackTo;
use tidegate_runtime::Context;
use tidegate_runtime::arrivals::Pushed;
use tidegate_runtime::requests::{Asking, RequestError};
use tidegate_runtime::tell::Call;
use tidegate_runtime::visits::{Listed, Pace, Rotation};

use super::checks;
use super::scenario::{Action, Meddling, Scenario, Spoilt};
use crate::fakes::{Aws, Caller, Delivery, Emitted, Performed, Row, State, Universe, in_seconds};
use crate::names;

/// Of the sentinel and the conductor; intake has less and needs less.
const TIME_LIMIT: SignedDuration = SignedDuration::from_secs(60);
/// What a function keeps for answering.
const RESERVE: SignedDuration = SignedDuration::from_secs(3);
/// When a message comes back that was not deleted.
const VISIBILITY: SignedDuration = SignedDuration::from_secs(360);
/// How often a message is received, or an event delivered, before it is a dead letter.
const RECEIVES: u32 = 5;
const EVENT_TRIES: u32 = 3;
/// How long everything may take after the last thing anyone did.
const PATIENCE: SignedDuration = SignedDuration::from_hours(7);
/// A simulation that polls this often goes round in circles.
const POLLS_MAX: u64 = 2_000_000;

/// Whoever tells takes no part in what is drawn, so that a release is the same with them and without.
const TELLS: &str = "herald";

/// What came of a simulation.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What was broken; empty when everything held.
    pub broken: Vec<String>,
    /// What happened.
    pub trace: Vec<String>,
    /// How many port calls were made.
    pub calls: u64,
    /// The effects that were performed.
    pub performed: Vec<Performed>,
    /// When the first release entered each stage of its plan.
    pub entered: Vec<(Stage, Timestamp)>,
    /// How the releases ended, oldest first.
    pub outcomes: Vec<String>,
    /// How long it took, in the simulation.
    pub took: SignedDuration,
    /// How long functions of each kind ran, and how often: what is billed, and what places are held.
    pub ran: BTreeMap<String, (u32, SignedDuration)>,
    /// How many transactions were asked for.
    pub commits: u64,
    /// How many of them lost the race for their rows.
    pub lost_commits: u64,
    /// How often a version was claimed, and how often somebody else had claimed it before.
    pub claims: (u64, u64),
}

impl Report {
    /// Panics, with the trace, unless everything held.
    pub fn expect_sound(self) -> Self {
        assert!(
            self.broken.is_empty(),
            "{}\n\nseed {} broke:\n  {}\nrun it alone with TIDEGATE_SEED={}",
            self.trace.join("\n"),
            self.seed,
            self.broken.join("\n  "),
            self.seed,
        );
        self
    }
}

/// Something that comes at its time.
#[derive(Debug, Clone)]
enum Event {
    Deliver(Told),
    Act(ServiceName, Action),
    TimeLimit(u64),
    Minute,
    Second,
}

/// What a function is told, and how often it has been.
#[derive(Debug, Clone)]
struct Told {
    delivery: Delivery,
    /// Whose AWS says so.
    of: ServiceName,
    attempt: u32,
    id: u64,
}

type Outcome = Result<(), String>;

struct Task {
    kind: String,
    began: Timestamp,
    future: Pin<Box<dyn Future<Output = Outcome>>>,
    name: String,
    told: Option<Told>,
}

struct Wakes {
    task: u64,
    ready: Arc<Mutex<Vec<u64>>>,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if !ready.contains(&self.task) {
            ready.push(self.task);
        }
    }
}

/// One simulation.
pub struct Simulation {
    universe: Universe,
    scenario: Scenario,
    rng: fastrand::Rng,
    tasks: BTreeMap<u64, Task>,
    ready: Arc<Mutex<Vec<u64>>>,
    events: BTreeMap<(Timestamp, u64), Event>,
    numbers: u64,
    polls: u64,
    last_act: Timestamp,
    /// Who looks on, for each service.
    watches: Vec<checks::Watch>,
    /// The engine's own findings.
    broken: Vec<String>,
    damaged: Vec<Row>,
    ran: BTreeMap<String, (u32, SignedDuration)>,
}

impl Simulation {
    /// Ready to run.
    pub fn new(scenario: Scenario) -> Self {
        // Ids and jitter are drawn from the thread's generator; with it seeded, everything is.
        fastrand::seed(scenario.seed);
        let own = scenario.own_configuration.clone();
        let aws = Aws::new(scenario.balancing, own, scenario.habits.clone(), scenario.seed);
        let universe = Universe::new(aws, scenario.conditions.clone(), scenario.seed, true);
        universe.state().post.down = scenario.receivers_down.clone();
        let mut watches = vec![checks::Watch::new(names::service(), &scenario)];
        if let Some(neighbour) = &scenario.neighbour {
            let service = neighbour.policy.service.clone();
            let own = scenario.own_configuration.clone();
            let alarm = AlarmName::new(format!("{service}-5xx")).expect("a name");
            let aws = Aws::new(scenario.balancing, own, scenario.habits.clone(), scenario.seed ^ 0x9e1f);
            universe.state().neighbours.insert(service.to_string(), aws.with_alarm(alarm));
            watches.push(checks::Watch::new(service, &scenario));
        }
        let mut simulation = Self {
            universe,
            rng: fastrand::Rng::with_seed(scenario.seed ^ 0x5eed),
            tasks: BTreeMap::new(),
            ready: Arc::default(),
            events: BTreeMap::new(),
            numbers: 0,
            polls: 0,
            last_act: names::start(),
            watches,
            broken: Vec::new(),
            damaged: Vec::new(),
            ran: BTreeMap::new(),
            scenario,
        };
        simulation.set_up();
        simulation
    }

    fn set_up(&mut self) {
        let first = (self.scenario.policy.clone(), self.scenario.script.clone());
        let neighbour = self.scenario.neighbour.clone().map(|neighbour| (neighbour.policy, neighbour.script));
        for (policy, script) in std::iter::once(first).chain(neighbour) {
            let service = policy.service.clone();
            let by = Actor::Person { name: "setup".into() };
            let head = tidegate_core::admission::apply(None, policy, by, names::start());
            let commit = tidegate_core::commit::Commit { head, ..Default::default() };
            self.state().rows.commit(&commit, names::start()).expect("the ledger takes a policy");
            for (at, action) in script {
                self.last_act = self.last_act.max(at);
                self.later(at, Event::Act(service.clone(), action));
            }
        }
        self.later(names::at(60), Event::Minute);
        self.later(names::at(1), Event::Second);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.universe.state()
    }

    fn now(&self) -> Timestamp {
        self.state().now
    }

    fn later(&mut self, at: Timestamp, event: Event) {
        self.numbers += 1;
        self.events.insert((at, self.numbers), event);
    }

    /// Runs to the end and says what was broken.
    pub fn run(mut self) -> Report {
        let mut pushed_again = !self.scenario.push_again;
        loop {
            self.run_ready();
            self.collect();
            if self.is_at_rest() {
                if pushed_again {
                    break;
                }
                pushed_again = true;
                self.push_rolled_back_again();
                continue;
            }
            if self.now().duration_since(self.last_act) > PATIENCE || self.polls > POLLS_MAX {
                let open: Vec<String> = self
                    .state()
                    .rows
                    .releases()
                    .filter(|release| !release.is_over())
                    .map(|release| format!("{}: {}", release.id, release.summary()))
                    .collect();
                self.broken.push(format!("every release ends within {PATIENCE:#}: {open:?}"));
                break;
            }
            if !self.found().is_empty() {
                break;
            }
            self.next();
        }
        self.finish()
    }

    fn finish(mut self) -> Report {
        if self.found().is_empty() {
            let state = self.universe.state();
            for watch in &mut self.watches {
                watch.at_the_end(&state, &self.scenario);
            }
        }
        let broken = self.found();
        let state = self.universe.state();
        let outcomes = state.rows.releases().map(|release| release.summary()).collect();
        Report {
            seed: self.scenario.seed,
            broken,
            trace: state.trace.clone(),
            calls: state.calls,
            performed: state.performed.clone(),
            entered: entered(&state),
            outcomes,
            took: state.now.duration_since(names::start()),
            ran: self.ran.clone(),
            commits: state.commits,
            lost_commits: state.lost_commits,
            claims: (state.claims, state.refused_claims),
        }
    }

    /// What was broken so far.
    fn found(&self) -> Vec<String> {
        let state = self.universe.state();
        let seen = self.watches.iter().flat_map(|watch| &watch.broken);
        let rows = state.rows.broken().iter();
        let aws = std::iter::once(&state.aws).chain(state.neighbours.values()).flat_map(Aws::broken);
        self.broken.iter().chain(seen).chain(rows).chain(aws).cloned().collect()
    }

    /// Everything was done, nothing is under way, and nothing stale can act any more.
    fn is_at_rest(&self) -> bool {
        let state = self.state();
        let quiet = SignedDuration::from_secs(400);
        let over = state.rows.releases().all(|release| release.is_over());
        over && self.tasks.is_empty()
            && state.now.duration_since(self.last_act) > quiet
            && self.watches.iter().all(|watch| watch.quiet_since(state.now) > SignedDuration::from_secs(70))
            && is_quiet(&state)
    }

    fn push_rolled_back_again(&mut self) {
        let builds: Vec<u32> = (2..8).filter(|build| self.watches[0].was_rolled_back(*build)).collect();
        let now = self.now();
        for build in builds {
            let releases = self.state().rows.releases().count();
            self.watches[0].refuse(build, releases);
            self.state().aws.push_again(build, now);
        }
        self.last_act = now;
    }

    // --- invocations ---

    fn run_ready(&mut self) {
        loop {
            let ready = std::mem::take(&mut *self.ready.lock().unwrap_or_else(PoisonError::into_inner));
            if ready.is_empty() {
                return;
            }
            let tells = |id: &u64| self.tasks.get(id).is_some_and(|task| task.kind == TELLS);
            let (heralds, mut ready): (Vec<u64>, Vec<u64>) = ready.into_iter().partition(tells);
            self.rng.shuffle(&mut ready);
            for task in heralds.into_iter().chain(ready) {
                self.poll(task);
            }
        }
    }

    fn poll(&mut self, id: u64) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        self.polls += 1;
        let waker = Waker::from(Arc::new(Wakes { task: id, ready: self.ready.clone() }));
        let drawn = fastrand::get_seed();
        let polled = task.future.as_mut().poll(&mut std::task::Context::from_waker(&waker));
        if task.kind == TELLS {
            fastrand::seed(drawn);
        }
        let crashed = std::mem::take(&mut self.state().crashed);
        match polled {
            Poll::Ready(outcome) => self.ended(id, outcome),
            Poll::Pending if crashed.contains(&id) => self.ended(id, Err("the invocation died".into())),
            Poll::Pending => {}
        }
        self.look();
    }

    fn look(&mut self) {
        let state = self.universe.state();
        for watch in &mut self.watches {
            watch.look(&state, &self.scenario);
        }
    }

    fn ended(&mut self, id: u64, outcome: Outcome) {
        let Some(task) = self.tasks.remove(&id) else { return };
        let took = self.now().duration_since(task.began);
        let ran = self.ran.entry(task.kind).or_default();
        *ran = (ran.0 + 1, ran.1 + took);
        let Err(error) = outcome else { return };
        self.state().trace(&task.name, &format!("failed: {error}"));
        let Some(told) = task.told else { return };
        let (again, most) = match &told.delivery {
            Delivery::Wake(_) | Delivery::Moved(_) => (VISIBILITY, RECEIVES),
            Delivery::Alarm(..) | Delivery::Service(_) | Delivery::Task(_) | Delivery::Push(..) => {
                (SignedDuration::from_secs(60 * i64::from(told.attempt)), EVENT_TRIES)
            }
            Delivery::Round => return,
        };
        if told.attempt < most {
            let at = self.now().saturating_add(again).expect("within range");
            self.later(at, Event::Deliver(Told { attempt: told.attempt + 1, ..told }));
        }
    }

    fn spawn(
        &mut self,
        kind: &str,
        told: Option<Told>,
        make: impl FnOnce(Universe, Caller, Timestamp) -> Pin<Box<dyn Future<Output = Outcome>>>,
    ) {
        self.numbers += 1;
        let id = self.numbers;
        let name = format!("{kind}-{id}");
        let ends = self.now().saturating_add(TIME_LIMIT).expect("within range");
        let until = ends.saturating_sub(RESERVE).expect("within range");
        let future = make(self.universe.clone(), Caller { id, name: name.clone() }, until);
        let began = self.now();
        self.tasks.insert(id, Task { kind: kind.to_owned(), began, future, name, told });
        self.later(ends, Event::TimeLimit(id));
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    }

    fn deliver(&mut self, told: Told) {
        let Told { delivery, of, id, .. } = told.clone();
        let told = Some(told);
        let service = EcsServiceName::new(of.as_str()).expect("a name");
        match delivery {
            Delivery::Wake(release) => self.spawn("conductor", told, move |universe, caller, until| {
                let context = universe.context(caller, false);
                Box::pin(async move {
                    context.woken(&release, until).await.map(|_| ()).map_err(|error| chain(&error))
                })
            }),
            Delivery::Alarm(name, seen) => {
                let watched = Watched::Alarm(names::account(), names::region(), name.clone());
                self.sentinel(told, watched, Hint::Alarm { name, seen });
            }
            Delivery::Service(_) => {
                let watched = Watched::EcsService(names::account(), names::region(), service);
                self.sentinel(told, watched, Hint::Look);
            }
            Delivery::Task(task) => {
                let watched = Watched::EcsService(names::account(), names::region(), service);
                self.sentinel(told, watched, Hint::Task(task));
            }
            Delivery::Push(digest, tag, pushed_at) => {
                self.spawn("intake", told, move |universe, caller, until| {
                    let context = universe.context(caller, true).until(until);
                    let pushed = Pushed {
                        account: names::account(),
                        region: names::region(),
                        repository: repository(&of),
                        tag,
                        digest,
                        tagged_at: pushed_at,
                        media: Default::default(),
                        by: Actor::Event { source: "aws.ecr".into(), id: format!("event-{id}") },
                        delivery: Some(format!("event-{id}")),
                    };
                    Box::pin(async move {
                        let handled = context.installation.image_pushed(&*context.images, &pushed).await;
                        handled.map(|_| ()).map_err(|error| chain(&error))
                    })
                })
            }
            Delivery::Moved(release) => self.spawn("herald", told, |universe, caller, until| {
                let herald = universe.herald(caller, Vec::new());
                Box::pin(async move {
                    let call = Call { id: release.to_string(), release, receipt: None };
                    let failed = herald.moved(vec![call], until).await;
                    if failed.is_empty() {
                        Ok(())
                    } else {
                        Err("it could not be arranged to tell it later".into())
                    }
                })
            }),
            Delivery::Round => self.spawn("clock", told, |universe, caller, until| {
                let context = universe.context(caller, true).until(until);
                Box::pin(async move {
                    let pace = Pace { listed: &Listed::default(), rotation: &Rotation::default(), until };
                    let (woken, lost) = futures::join!(
                        context.installation.wake_until(until),
                        context.installation.find_lost_pushes(&*context.images, pace),
                    );
                    let failed = [woken.failed, lost.failed].concat();
                    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
                })
            }),
        }
    }

    fn sentinel(&mut self, told: Option<Told>, watched: Watched, hint: Hint) {
        self.spawn("sentinel", told, move |universe, caller, until| {
            let context = universe.context(caller, true);
            Box::pin(async move {
                context.noticed(&watched, hint, until).await.map(|_| ()).map_err(|error| chain(&error))
            })
        });
    }

    fn act(&mut self, of: ServiceName, action: Action) {
        let now = self.now();
        self.state().trace("people", &format!("{action:?} ({of})"));
        for watch in &mut self.watches {
            watch.acted(&of, &action, now);
        }
        match action {
            Action::Push(..)
            | Action::PushAgain(_)
            | Action::Deploy { .. }
            | Action::Weights(_)
            | Action::Alarm(_)
            | Action::DeleteImage(_)
            | Action::Deregister(_)
            | Action::Mute(_)
            | Action::GoOn
            | Action::Meddle(_)
            | Action::Configure(_) => act_on(self.state().aws_of_mut(of.as_str()), action, now),
            Action::Look => {
                self.numbers += 1;
                let delivery = Delivery::Service("the service has reached a steady state".into());
                self.deliver(Told { delivery, of, attempt: 1, id: self.numbers });
            }
            Action::Answer(_)
            | Action::Insist(_)
            | Action::RollBack
            | Action::Cancel
            | Action::Steer(_)
            | Action::Apply(_) => {
                self.ask(of, action);
            }
            Action::Damage(spoilt) => self.damage(&of, spoilt),
            Action::Mend => {
                for row in std::mem::take(&mut self.damaged) {
                    self.state().rows.fix(&row);
                }
            }
        }
    }

    fn damage(&mut self, of: &ServiceName, spoilt: Spoilt) {
        let active = self.state().rows.head(of).and_then(|head| head.active.clone());
        let row = match spoilt {
            Spoilt::Service => Some(Row::Service(of.clone())),
            Spoilt::Watch => Some(Row::Watch(of.clone())),
            Spoilt::Release => active.map(Row::Release),
            Spoilt::Wake => active.map(Row::Wake),
        };
        if let Some(row) = row {
            self.state().rows.damage(row.clone(), "CorruptRow");
            self.damaged.push(row);
        }
    }

    /// A person asks something of Tidegate.
    fn ask(&mut self, of: ServiceName, action: Action) {
        let active = self.state().rows.head(&of).and_then(|head| head.active.clone());
        match action {
            Action::Answer(approve) => {
                let Some(active) = active else { return };
                self.spawn("person", None, move |universe, caller, _| {
                    let installation = universe.context(caller, true).installation;
                    let by = tidegate_core::gate::By::Identity(super::scenario::ANA.into());
                    let answer =
                        tidegate_runtime::answers::Answer { by, approve, plan_hash: None, comment: None };
                    // What does not count is an answer, too.
                    Box::pin(async move {
                        installation.answer(&active, &answer).await.map_or_else(|_| Ok(()), |_| Ok(()))
                    })
                });
            }
            Action::Insist(build) => self.spawn("person", None, move |universe, caller, _| {
                let installation = universe.context(caller, true).installation;
                let image = Image { repository: repository(&of), ..names::image(build) };
                let change = Change::one(names::container(), image);
                let request = ReleaseRequest {
                    why: Some("it is right after all".into()),
                    force: true,
                    ..ReleaseRequest::by_hand(of, change, Actor::Person { name: "ana".into() })
                };
                Box::pin(async move {
                    installation
                        .release_image(request, |_| true)
                        .await
                        .map(|_| ())
                        .map_err(|error| chain(&error))
                })
            }),
            Action::RollBack => self.spawn("person", None, move |universe, caller, _| {
                let context = universe.context(caller, true);
                Box::pin(async move { asked(roll_back(&context, &of).await) })
            }),
            Action::Cancel => self.ask_active(active, Ask::Cancel),
            Action::Steer(ask) => self.ask_active(active, ask),
            Action::Apply(policy) => self.spawn("person", None, move |universe, caller, _| {
                let installation = universe.context(caller, true).installation;
                let by = Actor::Person { name: "ben".into() };
                Box::pin(async move { asked(installation.apply(&policy, &by).await.map(|_| ())) })
            }),
            Action::Push(..)
            | Action::PushAgain(_)
            | Action::Deploy { .. }
            | Action::Weights(_)
            | Action::Alarm(_)
            | Action::DeleteImage(_)
            | Action::Deregister(_)
            | Action::Mute(_)
            | Action::GoOn
            | Action::Meddle(_)
            | Action::Configure(_)
            | Action::Look
            | Action::Damage(_)
            | Action::Mend => {}
        }
    }

    /// A person asks something of the release under way.
    fn ask_active(&mut self, active: Option<ReleaseId>, ask: Ask) {
        let Some(active) = active else { return };
        self.spawn("person", None, move |universe, caller, _| {
            let installation = universe.context(caller, true).installation;
            let by = Actor::Person { name: "ben".into() };
            Box::pin(async move { asked(installation.ask(&active, ask, &by, "not today").await) })
        });
    }

    // --- time ---

    /// What AWS emitted and callers sent goes on its way.
    fn collect(&mut self) {
        self.collect_for_the_herald();
        let (emitted, queue, now) = {
            let mut state = self.universe.state();
            let mut emitted = Vec::new();
            for watch in &self.watches {
                let of = watch.service();
                let new = state.aws_of_mut(of.as_str()).take_emitted();
                emitted.extend(new.into_iter().map(|emitted| (of.clone(), emitted)));
            }
            (emitted, std::mem::take(&mut state.queue), state.now)
        };
        for (of, emitted) in emitted {
            let delivery = match emitted {
                Emitted::Alarm(name, seen) => Delivery::Alarm(name, seen),
                Emitted::Service(what) => Delivery::Service(what),
                Emitted::Task(task) => Delivery::Task(task),
                Emitted::Push(digest, tag) => Delivery::Push(digest, tag, in_seconds(now)),
            };
            let times = match self.chance(self.scenario.delivering.lost) {
                true => 0,
                false => 1 + u32::from(self.chance(self.scenario.delivering.doubled)),
            };
            self.numbers += 1;
            let id = self.numbers;
            for _ in 0..times {
                let mut millis = self.rng.u64(200..1_500);
                if self.chance(self.scenario.delivering.late) {
                    millis += self.rng.u64(0..=self.scenario.delivering.late_millis);
                }
                self.deliver_later(
                    now,
                    millis,
                    Told { delivery: delivery.clone(), of: of.clone(), attempt: 1, id },
                );
            }
        }
        for (at, delivery) in queue {
            self.numbers += 1;
            let id = self.numbers;
            let times = 1 + u32::from(self.chance(self.scenario.delivering.doubled));
            for _ in 0..times {
                let millis = self.rng.u64(20..500) + self.scenario.delivering.queue_millis;
                let told = Told { delivery: delivery.clone(), of: names::service(), attempt: 1, id };
                self.deliver_later(at, millis, told);
            }
        }
    }

    /// What the herald is told travels without a draw, so that a release is the same with it and without.
    fn collect_for_the_herald(&mut self) {
        let (moved, again, now) = {
            let mut state = self.universe.state();
            (state.rows.take_moved(), std::mem::take(&mut state.post.queue), state.now)
        };
        if self.scenario.policy.notify.is_none() {
            return;
        }
        for (at, release) in moved.into_iter().map(|release| (now, release)).chain(again) {
            let delivery = Delivery::Moved(release);
            self.deliver_later(at, 300, Told { delivery, of: names::service(), attempt: 1, id: 0 });
        }
    }

    fn deliver_later(&mut self, from: Timestamp, millis: u64, told: Told) {
        let millis = SignedDuration::from_millis(i64::try_from(millis).expect("within range"));
        let at = from.saturating_add(millis).expect("within range");
        self.later(at, Event::Deliver(told));
    }

    fn chance(&mut self, per_mille: u32) -> bool {
        self.rng.u32(0..1000) < per_mille
    }

    /// On to the next moment at which something happens.
    fn next(&mut self) {
        let now = self.now();
        let own = self.state().next_at().filter(|at| *at > now);
        let timer = self.state().next_timer();
        let event = self.events.keys().next().map(|(at, _)| *at);
        let Some(at) = [timer, own, event].into_iter().flatten().min() else { return };
        let due = {
            let mut state = self.universe.state();
            state.advance(at);
            state.take_due()
        };
        due.into_iter().for_each(Waker::wake);
        let now = self.now();
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= now) {
            let event = entry.remove();
            self.happen(event);
        }
        self.look();
    }

    fn happen(&mut self, event: Event) {
        let now = self.now();
        let in_a = |secs| now.saturating_add(SignedDuration::from_secs(secs)).expect("within range");
        match event {
            Event::Deliver(told) => self.deliver(told),
            Event::Act(of, action) => self.act(of, action),
            Event::TimeLimit(task) => self.ended(task, Err("the time limit was reached".into())),
            Event::Minute => {
                self.later(in_a(60), Event::Minute);
                let stands = self.scenario.delivering.clock_stands;
                if stands.is_none_or(|(from, to)| now < from || to < now) {
                    self.numbers += 1;
                    let round = Told {
                        delivery: Delivery::Round,
                        of: names::service(),
                        attempt: 1,
                        id: self.numbers,
                    };
                    self.deliver(round);
                }
            }
            // AWS looks at itself at least this often; alarms have no timer of their own.
            Event::Second => self.later(in_a(1), Event::Second),
        }
    }
}

/// Something is done to AWS, and not to Tidegate.
fn act_on(aws: &mut Aws, action: Action, now: Timestamp) {
    match action {
        Action::Push(build, quality) => aws.push(build, quality, now),
        Action::PushAgain(build) => aws.push_again(build, now),
        Action::Deploy { revision, own_configuration } => {
            aws.deploy_by_someone(revision, own_configuration.then(super::scenario::their_own), now);
        }
        Action::Weights(weights) => aws.set_weights_by_someone(weights, now),
        Action::Alarm(red) => aws.set_alarm(red, now),
        Action::DeleteImage(build) => aws.delete_image(build, now),
        Action::Deregister(revision) => aws.deregister(revision, now),
        Action::Mute(muted) => aws.mute_alarm(muted, now),
        Action::GoOn => aws.go_on_by_someone(now),
        Action::Configure(own) => aws.configure_by_owner(own, now),
        Action::Meddle(Meddling::ResetRule) => aws.reset_rule_by_someone(now),
        Action::Meddle(Meddling::Scale(tasks)) => aws.scale_by_someone(tasks, now),
        Action::Meddle(Meddling::DeleteCandidate) => aws.delete_second_by_someone(now),
        Action::Answer(_)
        | Action::Insist(_)
        | Action::RollBack
        | Action::Cancel
        | Action::Steer(_)
        | Action::Apply(_)
        | Action::Look
        | Action::Damage(_)
        | Action::Mend => {}
    }
}

/// Where a service's images are pushed to.
fn repository(service: &ServiceName) -> RepositoryName {
    RepositoryName::new(format!("shop/{service}")).expect("a name")
}

/// When the first release entered each stage of its plan.
fn entered(state: &State) -> Vec<(Stage, Timestamp)> {
    let Some(first) = state.rows.releases().next() else { return Vec::new() };
    let mut entered = Vec::new();
    for written in state.rows.versions(&first.id) {
        if let (Phase::Running { since, .. }, Some(stage)) = (&written.value.phase, written.value.stage())
            && entered.last().is_none_or(|(_, at)| at != since)
        {
            entered.push((stage.clone(), *since));
        }
    }
    entered
}

/// Whether nothing is deployed any more, or what is never gets healthy and is no candidate's: then nobody has to roll it back.
fn is_quiet(state: &State) -> bool {
    let services = std::iter::once((names::service().to_string(), &state.aws));
    let mut services = services.chain(state.neighbours.iter().map(|(name, aws)| (name.clone(), aws)));
    services.all(|(service, aws)| {
        let live = aws.state();
        let Some(arn) = live.under_way else { return true };
        let mut releases = state.rows.releases().filter(|release| release.service.as_str() == service);
        let candidates = releases.any(|release| match &release.progress.state {
            Progressed::NotBegun | Progressed::LambdaAlias(_) => false,
            Progressed::EcsNative(native) => native.deployment.as_ref() == Some(&arn),
            Progressed::EcsWeighted(own) => {
                own.promoting_since.is_some() && own.task_definition.as_ref() == Some(&live.task_definition)
            }
        });
        !candidates && aws.is_stuck()
    })
}

/// A person who rolls back whatever the command line offers.
async fn roll_back(context: &Context, service: &ServiceName) -> Result<(), RequestError> {
    let by = Actor::Person { name: "ana".into() };
    let choice = context.rollback_choice(service, RollbackTo::Before).await?;
    let asking = Asking { by: &by, why: "it looks wrong" };
    context.roll_back(service, RollbackTo::Before, &choice, asking).await.map(|_| ())
}

/// What is not possible is an answer, not a failure.
fn asked(result: Result<(), RequestError>) -> Outcome {
    match result {
        Ok(())
        | Err(
            RequestError::NotPossible(_)
            | RequestError::NotLifted(_)
            | RequestError::NoDrill { .. }
            | RequestError::Changed,
        ) => Ok(()),
        Err(
            error @ (RequestError::Ledger(_)
            | RequestError::NoRelease(_)
            | RequestError::NoService(_)
            | RequestError::SameTarget { .. }),
        ) => Err(chain(&error)),
    }
}
