//! Work that takes time, for a state machine that never waits: the scheduler asks again at its next tick.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

/// Results of work under way, by ticket. A result is handed out once: asking again begins again.
pub(super) struct Background<T> {
    results: Arc<Mutex<HashMap<String, Option<T>>>>,
}

impl<T> Default for Background<T> {
    fn default() -> Self {
        Self { results: Arc::default() }
    }
}

impl<T: Send + 'static> Background<T> {
    /// The result for this ticket; `None` while the work goes on, which begins with the first question.
    pub(super) fn ask<F>(&self, ticket: String, work: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        match results.get(&ticket) {
            Some(None) => None,
            Some(Some(_)) => results.remove(&ticket).flatten(),
            None => {
                results.insert(ticket.clone(), None);
                let (work, results) = (work(), Arc::clone(&self.results));
                tokio::spawn(async move {
                    let done = work.await;
                    results.lock().unwrap_or_else(PoisonError::into_inner).insert(ticket, Some(done));
                });
                None
            }
        }
    }
}
