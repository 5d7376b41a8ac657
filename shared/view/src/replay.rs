//! The verdicts of a release, decided again from its history: by its own plan, or as if its policy had said something else.

use jiff::Timestamp;
use serde::Serialize;
use tidegate_core::evidence::Replay;
use tidegate_core::history::{Entry, Event, Fact};
use tidegate_core::ids::ReleaseId;
use tidegate_core::plan::Evidence;

use crate::comparison::ComparisonView;

/// A release's verdicts, decided again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReplayView {
    /// The release.
    pub release: ReleaseId,
    /// So many times the stable version's rate would be no regression.
    pub tolerate: f64,
    /// The probability of a false alarm over all comparisons.
    pub false_alarms: f64,
    /// Whether that is what the release was judged by.
    pub as_it_was: bool,
    /// Each time what was counted was told, oldest first.
    pub verdicts: Vec<VerdictView>,
    /// Every verdict is the one of then. Only asked where it was judged by the same.
    pub same: Option<bool>,
    /// When it would have been rolled back for the first time.
    pub rolled_back_at: Option<Timestamp>,
}

/// One verdict.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VerdictView {
    /// When it was told.
    pub at: Timestamp,
    /// What happened then, for people.
    pub what: String,
    /// The same as data.
    pub event: Event,
    /// How many windows were told with it.
    pub windows: usize,
    /// What was said then.
    pub told: Vec<ComparisonView>,
    /// What the same windows say now.
    pub again: Vec<ComparisonView>,
}

/// Decides again. `own`: what the release was judged by; `by`: what it is judged by now.
pub fn replay(release: &ReleaseId, own: &Evidence, by: &Evidence, history: &[Entry]) -> ReplayView {
    let as_it_was = own == by;
    let mut counted = Replay::default();
    let (mut verdicts, mut same) = (Vec::new(), true);
    for entry in history {
        for fact in &entry.saw {
            let Fact::Evidence { windows, measured } = fact else { continue };
            counted.add(windows);
            let again = counted.measured(by);
            same &= again == *measured;
            verdicts.push(VerdictView {
                at: entry.at,
                what: entry.event.to_string(),
                event: entry.event.clone(),
                windows: windows.len(),
                told: measured.iter().map(|it| ComparisonView::new(it, own)).collect(),
                again: again.iter().map(|it| ComparisonView::new(it, by)).collect(),
            });
        }
    }
    let bad = verdicts.iter().find(|verdict| verdict.again.iter().any(|it| it.is_bad && !it.dry_run));
    ReplayView {
        release: release.clone(),
        tolerate: by.tolerate.as_f64(),
        false_alarms: by.false_alarms.as_f64(),
        as_it_was,
        same: as_it_was.then_some(same),
        rolled_back_at: bad.map(|verdict| verdict.at),
        verdicts,
    }
}
