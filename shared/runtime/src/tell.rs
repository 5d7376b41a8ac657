//! Telling everyone what happened to a release: whatever each receiver has not been told yet, in order. Level-triggered like everything else:
//! a record of the table's stream is a hint that a release moved, and what is missing is found by comparing its history with what was told.
//!
//! Nothing of a release waits for it: the herald reads releases and writes rows of its own. No receiver waits for another.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use tidegate_core::actor::Actor;
use tidegate_core::commit::{ALREADY_HANDLED, Commit, IdempotencyKey, ServiceWrite};
use tidegate_core::fault::{ErrorKind, PortError};
use tidegate_core::history::{Entry, Event};
use tidegate_core::ids::{ReleaseId, ServiceName};
use tidegate_core::notify::{
    About, CLAIM, Failure, Message, NotSent, Notice, Step, Told, Trial, Tried, notices, untold,
};
use tidegate_core::policy::{Channel, Policy};
use tidegate_core::ports::{Notebook, Postpone, Receivers};
use tidegate_core::service::ServiceRecord;

use crate::context::Installation;

/// What telling one message may take: a message that is begun later than this before the end of the invocation would be cut off.
const TELLING: SignedDuration = SignedDuration::from_secs(30);
/// How many releases are told of at the same time.
const AT_ONCE: usize = 16;
/// When a release is looked at again whose rows could not be read.
const AGAIN_SECS: u32 = 10;
/// How often a row is written that the ledger does not take just now.
const WRITES: u32 = 5;

/// Whoever tells.
#[derive(Clone)]
pub struct Herald {
    /// Tidegate's own ground. Its wake-ups come back to the herald.
    pub installation: Installation,
    /// What was told.
    pub notebook: Arc<dyn Notebook>,
    /// Whom.
    pub receivers: Arc<dyn Receivers>,
    /// The channels of every service whose policy names none.
    pub defaults: Vec<Channel>,
}

/// A hint of the table's stream, or a message of the herald's queue: a release that is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named after what they hold")]
pub struct Call {
    /// By which it is given back when it failed.
    pub id: String,
    pub release: ReleaseId,
    /// By which a message of the queue is put off.
    pub receipt: Option<String>,
}

impl Herald {
    /// Tells what each release that moved has to be told. What is left over is sent to the herald's own queue, so the stream never waits.
    /// Answers the calls that failed even so.
    pub async fn moved(&self, calls: Vec<Call>, until: Timestamp) -> Vec<String> {
        let mut releases: BTreeMap<ReleaseId, Vec<String>> = BTreeMap::new();
        for call in calls {
            releases.entry(call.release).or_default().push(call.id);
        }
        let told = releases.into_iter().map(|(release, ids)| async move {
            let delay_secs = match self.tell(&release, until).await {
                Ok(None) => return Vec::new(),
                Ok(Some(at)) => self.secs_until(at).min(900),
                Err(error) => {
                    tracing::error!(release.id = %release, error = %error, "not everyone was told");
                    AGAIN_SECS
                }
            };
            match self.later(&release, delay_secs).await {
                Ok(()) => Vec::new(),
                Err(error) => {
                    tracing::error!(release.id = %release, error = %error, "telling it later could not be arranged");
                    ids
                }
            }
        });
        futures::stream::iter(told).buffer_unordered(AT_ONCE).concat().await
    }

    /// The same for messages of the herald's own queue: one that is not done is put off and given back.
    pub async fn again(&self, queue: &dyn Postpone, calls: Vec<Call>, until: Timestamp) -> Vec<String> {
        let told = calls.into_iter().map(|call| async move {
            let next = match self.tell(&call.release, until).await {
                Ok(None) => return Vec::new(),
                Ok(Some(at)) => self.secs_until(at),
                Err(error) => {
                    tracing::error!(release.id = %call.release, error = %error, "not everyone was told");
                    return vec![call.id];
                }
            };
            if let Some(receipt) = &call.receipt
                && let Err(error) = queue.postpone(receipt, next).await
            {
                tracing::warn!(release.id = %call.release, error = %error, "the message comes again sooner than it has to");
            }
            vec![call.id]
        });
        futures::stream::iter(told).buffer_unordered(AT_ONCE).concat().await
    }

    /// Tries each channel of a service with a message that says that it is a test, and keeps what came of it.
    pub async fn try_out(&self, service: &ServiceName, id: &str) -> Result<(), PortError> {
        let record = self.installation.ledger.service(service).await?;
        let channels = record.as_ref().map_or(&[][..], |record| self.channels(&record.policy));
        let tried = channels.iter().map(|channel| async {
            Tried::new(channel.to.name(), self.receivers.test(&channel.to, service, id).await)
        });
        let tried = futures::future::join_all(tried).await;
        let trial = Trial { id: id.to_owned(), at: self.installation.time.now(), tried };
        self.notebook.put_trial(service, &trial).await
    }

    /// Whom a policy names, or the installation.
    fn channels<'a>(&'a self, policy: &'a Policy) -> &'a [Channel] {
        policy.notify.as_deref().unwrap_or(&self.defaults)
    }

    fn secs_until(&self, at: Timestamp) -> u32 {
        let pause = at.duration_since(self.installation.time.now());
        u32::try_from(pause.as_secs().max(0)).unwrap_or(u32::MAX).saturating_add(1)
    }

    async fn later(&self, release: &ReleaseId, delay_secs: u32) -> Result<(), PortError> {
        match &self.installation.waker {
            Some(queue) => queue.wake(release, delay_secs, "not everyone was told").await,
            None => Err(PortError::new(
                ErrorKind::Invalid,
                "sqs:SendMessage",
                "NoQueue",
                "the herald has no queue",
            )),
        }
    }

    /// Tells everyone what is missing of one release. Answers when to come again, if anybody could not be told yet.
    pub async fn tell(&self, id: &ReleaseId, until: Timestamp) -> Result<Option<Timestamp>, PortError> {
        let ledger = &self.installation.until(until).ledger;
        let (release, history, told) =
            tokio::try_join!(ledger.release(id), ledger.history(id), self.notebook.told(id))?;
        let Some(release) = release else { return Ok(None) };
        let Some(ServiceRecord { policy, .. }) = ledger.service(&release.service).await? else {
            return Ok(None);
        };
        let channels = self.channels(&policy);
        if channels.is_empty() {
            return Ok(None);
        }
        let (history, damaged) = history.split();
        let (told, unread) = told.split();
        for damaged in &damaged {
            tracing::error!(release.id = %id, error = %damaged, "what this entry says is told to nobody");
        }
        let notices = notices(&history);
        let story = Story { about: About::of(&release), notices: &notices, until };
        let telling = channels.iter().map(|channel| {
            let row = told.iter().find(|row| row.receiver == channel.to.name());
            let (story, unread) = (&story, &unread);
            let mention = mentioned(&policy, channel);
            async move {
                match row {
                    Some(row) => self.tell_one(story, channel, mention, row.clone()).await,
                    // Which receiver a row that cannot be read is about is not known: who has none is not told everything once more.
                    None if !unread_of(unread, &channel.to.name()) => {
                        self.tell_one(story, channel, mention, Told::nothing(channel.to.name())).await
                    }
                    None => Ok(None),
                }
            }
        });
        let done = futures::future::join_all(telling).await;
        let next: Option<Timestamp> = done.iter().flatten().flatten().min().copied();
        for result in done {
            result?;
        }
        match unread.into_iter().next() {
            Some(damaged) => Err(damaged.problem),
            None => Ok(next),
        }
    }

    /// Tells one receiver what is missing, one message after the other.
    async fn tell_one(
        &self,
        story: &Story<'_>,
        channel: &Channel,
        mention: Vec<String>,
        told: Told,
    ) -> Result<Option<Timestamp>, PortError> {
        let (id, time) = (&story.about.release, &self.installation.time);
        let untold: Vec<&Notice> = untold(story.notices, channel, told.through).collect();
        let (Some(first), Some(last)) = (untold.first(), untold.last().map(|notice| notice.mark)) else {
            return Ok(None);
        };
        if !story.has_time(time.now()) {
            return Ok(Some(time.now()));
        }
        let mut told = match told.step(first.mark, time.now()) {
            Step::Wait(until) => return Ok(Some(until)),
            Step::Tell(claimed) => claimed,
        };
        if !self.note(id, &told).await? {
            return Ok(Some(in_a_claim(time.now())));
        }
        for (at, notice) in untold.iter().enumerate() {
            let message = story.message(channel, notice, &mention, told.memory.clone());
            let memory = match self.receivers.tell(&message).await {
                Ok(memory) => memory,
                Err(error) => return self.not_sent(story, &told, &error, last).await,
            };
            let now = time.now();
            let next = untold.get(at + 1).map(|next| next.mark).filter(|_| story.has_time(now));
            told = told.sent(notice.mark, memory, next, now);
            if !self.note(id, &told).await? {
                return Ok(Some(in_a_claim(now)));
            }
            if next.is_none() {
                return Ok((notice.mark != last).then_some(now));
            }
        }
        Ok(None)
    }

    /// Keeps that a receiver was not told; after a day, says so where people look.
    async fn not_sent(
        &self,
        story: &Story<'_>,
        told: &Told,
        error: &NotSent,
        last: tidegate_core::notify::Mark,
    ) -> Result<Option<Timestamp>, PortError> {
        let now = self.installation.time.now();
        let id = &story.about.release;
        tracing::warn!(release.id = %id, receiver = %told.receiver, error = %error, "a receiver was not told");
        match told.not_sent(error, last, now) {
            Failure::Again { told, next_at } => {
                let ours = self.note(id, &told).await?;
                Ok(Some(if ours { next_at } else { in_a_claim(now) }))
            }
            Failure::GivenUp { told, since } => {
                let why = match &error.remedy {
                    Some(remedy) => format!("{error}. {remedy}"),
                    None => error.to_string(),
                };
                let event =
                    Event::NotTold { receiver: told.receiver.clone(), release: id.clone(), since, why };
                let key = format!("not-told#{id}#{}#{last}", told.receiver);
                self.say(&story.about.service, event, key).await?;
                let ours = self.note(id, &told).await?;
                Ok((!ours).then(|| in_a_claim(now)))
            }
        }
    }

    /// Writes a row; `false` when somebody else wrote it meanwhile. A write whose answer was lost is looked for: a message that was told and is
    /// not noted would be told again.
    async fn note(&self, id: &ReleaseId, told: &Told) -> Result<bool, PortError> {
        let mut pause = 50;
        for attempt in 1.. {
            let error = match self.notebook.note(id, told).await {
                Ok(()) => return Ok(true),
                Err(error) => error,
            };
            match error.kind {
                ErrorKind::Conflict if attempt == 1 => return Ok(false),
                ErrorKind::Conflict => {
                    let (rows, _) = self.notebook.told(id).await?.split();
                    return Ok(rows.contains(told));
                }
                ErrorKind::Throttled | ErrorKind::Unavailable if attempt < WRITES => {
                    self.installation.time.sleep(SignedDuration::from_millis(pause)).await;
                    pause *= 2;
                }
                ErrorKind::Throttled
                | ErrorKind::Unavailable
                | ErrorKind::NotFound
                | ErrorKind::Denied
                | ErrorKind::Invalid => return Err(error),
            }
        }
        Ok(false)
    }

    /// Writes into the history of a service, once.
    async fn say(&self, service: &ServiceName, event: Event, key: String) -> Result<(), PortError> {
        let installation = &self.installation;
        let mut attempts = installation.attempts();
        loop {
            let now = installation.time.now();
            let Some(record) = installation.ledger.service(service).await? else { return Ok(()) };
            let (expected, version) = (record.version, record.version + 1);
            let write = ServiceWrite {
                service: service.clone(),
                expected: Some(expected),
                head: ServiceRecord { version, ..record },
                entry: Some(Entry::new(version, now, Actor::Tidegate, event.clone())),
            };
            let until = now.saturating_add(SignedDuration::from_hours(7 * 24)).unwrap_or(now);
            let idempotency_key = Some(IdempotencyKey { key: key.clone(), until });
            let commit = Commit { head: Some(write), idempotency_key, ..Commit::default() };
            match attempts.commit(commit).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if error.code == ALREADY_HANDLED => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// A release, as it is told.
struct Story<'a> {
    about: About,
    notices: &'a [Notice],
    until: Timestamp,
}

impl Story<'_> {
    fn has_time(&self, now: Timestamp) -> bool {
        now.saturating_add(TELLING).is_ok_and(|end| end <= self.until)
    }

    fn message(
        &self,
        channel: &Channel,
        notice: &Notice,
        mention: &[String],
        memory: BTreeMap<String, String>,
    ) -> Message {
        let before = self.notices.iter().filter(|before| before.mark < notice.mark);
        Message {
            to: channel.to.clone(),
            about: self.about.clone(),
            notice: notice.clone(),
            before: before.cloned().collect(),
            mention: mention.to_vec(),
            memory,
        }
    }
}

fn unread_of(unread: &[tidegate_core::listing::Damaged], receiver: &str) -> bool {
    unread.iter().any(|damaged| damaged.name.contains(receiver))
}

fn mentioned(policy: &Policy, channel: &Channel) -> Vec<String> {
    let members = policy.members(&channel.mention).filter_map(|person| person.slack.as_ref());
    members.map(ToString::to_string).collect()
}

fn in_a_claim(now: Timestamp) -> Timestamp {
    now.saturating_add(CLAIM).unwrap_or(now)
}
