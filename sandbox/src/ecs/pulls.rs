//! Resolving images without waiting: the scheduler asks again at its next tick.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::ports::{AwsError, ImageSpec, Images};

/// Resolves images in the background.
pub(super) trait ImagePulls: Send + Sync {
    /// The image as it resolved for this ticket; `None` while that is still going on. A result is handed out once: asking
    /// again resolves again.
    fn pull(&self, ticket: &str, image: &str) -> Option<Result<ImageSpec, AwsError>>;
}

/// Resolves with tokio tasks.
pub(super) struct BackgroundPulls {
    images: Arc<dyn Images>,
    results: Arc<Mutex<Results>>,
}

type Results = HashMap<(String, String), Option<Result<ImageSpec, AwsError>>>;

impl BackgroundPulls {
    pub(super) fn new(images: Arc<dyn Images>) -> Self {
        Self { images, results: Arc::default() }
    }
}

impl ImagePulls for BackgroundPulls {
    fn pull(&self, ticket: &str, image: &str) -> Option<Result<ImageSpec, AwsError>> {
        let key = (ticket.to_owned(), image.to_owned());
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        match results.get(&key) {
            Some(None) => None,
            Some(Some(_)) => results.remove(&key).flatten(),
            None => {
                results.insert(key.clone(), None);
                let (images, results) = (Arc::clone(&self.images), Arc::clone(&self.results));
                tokio::spawn(async move {
                    let resolved = images.resolve(&key.1).await;
                    results.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Some(resolved));
                });
                None
            }
        }
    }
}
