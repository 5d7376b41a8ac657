//! Looks at alarms that several releases make at the same time are one call: CloudWatch answers nine such calls a second for a whole account,
//! which ECS's own watch shares, and takes a hundred names a call.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tidegate_core::fault::PortError;
use tidegate_core::ids::{AccountId, AlarmName, Region, RoleArn, Target};
use tidegate_core::ports::Alarms;
use tidegate_core::vocab::cloudwatch::AlarmSeen;

type Answer = Result<Arc<BTreeMap<AlarmName, AlarmSeen>>, PortError>;
type Place = (AccountId, Region, Option<RoleArn>);

/// Alarms that are asked for together. Whoever asks while a call is under way joins the next one, so no answer ever comes from a call that
/// began before it was asked for: what is seen is as fresh as if everybody had asked alone. Who asks alone is not held up.
pub struct Together {
    inner: Arc<dyn Alarms>,
    places: Mutex<BTreeMap<Place, Arc<Line>>>,
}

impl fmt::Debug for Together {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Together").finish_non_exhaustive()
    }
}

/// Those who ask one place, one call at a time.
#[derive(Default)]
struct Line {
    turn: tokio::sync::Mutex<()>,
    asked: Mutex<Asked>,
}

#[derive(Default)]
struct Asked {
    numbers: u64,
    waiting: BTreeMap<u64, Vec<AlarmName>>,
    answered: BTreeMap<u64, Answer>,
}

/// Somebody's place in the line. Whoever leaves it takes everything of theirs along.
struct Ticket<'a> {
    line: &'a Line,
    number: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut asked = self.line.asked();
        asked.waiting.remove(&self.number);
        asked.answered.remove(&self.number);
    }
}

impl Line {
    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, names: &[AlarmName]) -> Ticket<'_> {
        let mut asked = self.asked();
        asked.numbers += 1;
        let number = asked.numbers;
        asked.waiting.insert(number, names.to_vec());
        Ticket { line: self, number }
    }

    async fn states(&self, inner: &dyn Alarms, target: &Target, names: &[AlarmName]) -> Answer {
        let ticket = self.ask(names);
        let _turn = self.turn.lock().await;
        let mut waiting = {
            let mut asked = self.asked();
            if let Some(answer) = asked.answered.remove(&ticket.number) {
                return answer;
            }
            std::mem::take(&mut asked.waiting)
        };
        // Whoever took these names along before has left without an answer.
        waiting.entry(ticket.number).or_insert_with(|| names.to_vec());
        let all: BTreeSet<&AlarmName> = waiting.values().flatten().collect();
        let all: Vec<AlarmName> = all.into_iter().cloned().collect();
        let answer: Answer = inner.states(target, &all).await.map(Arc::new);
        waiting.remove(&ticket.number);
        let mut asked = self.asked();
        asked.answered.extend(waiting.into_keys().map(|number| (number, answer.clone())));
        drop(asked);
        answer
    }
}

impl Together {
    /// Around what asks CloudWatch.
    pub fn new(inner: Arc<dyn Alarms>) -> Self {
        Self { inner, places: Mutex::default() }
    }

    fn line(&self, target: &Target) -> Arc<Line> {
        let place = (target.account.clone(), target.region.clone(), target.role.clone());
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.entry(place).or_default().clone()
    }
}

#[async_trait]
impl Alarms for Together {
    async fn states(
        &self,
        target: &Target,
        names: &[AlarmName],
    ) -> Result<BTreeMap<AlarmName, AlarmSeen>, PortError> {
        let line = self.line(target);
        let seen = line.states(&*self.inner, target, names).await?;
        let mine = |name: &AlarmName| seen.get(name).map(|alarm| (name.clone(), alarm.clone()));
        Ok(names.iter().filter_map(mine).collect())
    }
}
