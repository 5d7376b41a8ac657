//! What reads of rules and listeners see: the rules as they were a while ago. AWS does not say whether they lag, and whoever compares weights with
//! those it has just set has to hold either way.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::model::Rule;

/// Rules as they were, oldest first.
#[derive(Debug, Default)]
pub(super) struct Past(VecDeque<(Instant, Vec<Rule>)>);

impl Past {
    /// Keeps the rules as they are from now on, and forgets what no read can see any more.
    pub(super) fn remember(&mut self, rules: &[Rule], lag: Duration, now: Instant) {
        if lag.is_zero() {
            return;
        }
        self.0.push_back((now, rules.to_vec()));
        while self.0.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= lag) {
            self.0.pop_front();
        }
    }

    /// The rules as reads see them; nothing when they see the present.
    pub(super) fn as_of(&self, lag: Duration, now: Instant) -> Option<&[Rule]> {
        let old_enough = |(at, _): &&(Instant, Vec<Rule>)| now.duration_since(*at) >= lag;
        let found = self.0.iter().rev().find(old_enough).or_else(|| self.0.front());
        found.filter(|_| !lag.is_zero()).map(|(_, rules)| rules.as_slice())
    }
}
