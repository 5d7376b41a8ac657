//! Resolving images without waiting.

use std::sync::Arc;

use super::background::Background;
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
    background: Background<Result<ImageSpec, AwsError>>,
}

impl BackgroundPulls {
    pub(super) fn new(images: Arc<dyn Images>) -> Self {
        Self { images, background: Background::default() }
    }
}

impl ImagePulls for BackgroundPulls {
    fn pull(&self, ticket: &str, image: &str) -> Option<Result<ImageSpec, AwsError>> {
        self.background.ask(format!("{ticket} {image}"), || {
            let (images, image) = (Arc::clone(&self.images), image.to_owned());
            async move { images.resolve(&image).await }
        })
    }
}
