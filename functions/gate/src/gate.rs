//! What the routes need, and which of them a copy of the function has.

use std::sync::Arc;

use tidegate_core::ports::Images;
use tidegate_runtime::Installation;

use crate::secrets::Keeper;

/// Which of its two Function URLs a copy of this function stands behind.
#[derive(Debug)]
pub enum Door {
    /// Anyone can reach it: links and webhooks, which prove themselves with secrets.
    Public(Keeper),
    /// AWS has checked the caller's identity (AuthType AWS_IAM): answers, and links to the dashboard.
    Api(Desk),
}

/// What links to the dashboard are made with.
#[derive(Debug)]
pub struct Desk {
    /// The key they are signed with.
    pub keeper: Keeper,
    /// Where the public door is: `https://….on.aws`, or a domain of one's own.
    pub public_url: String,
}

/// What the routes need.
pub struct Gate {
    /// Tidegate's own ground.
    pub installation: Installation,
    /// ECR.
    pub images: Arc<dyn Images>,
    /// Where the callers come in.
    pub door: Door,
}
